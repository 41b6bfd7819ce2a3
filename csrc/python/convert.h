/* Arguments into what the core takes, results into what Python takes. */
#ifndef NORI_PYTHON_CONVERT_H
#define NORI_PYTHON_CONVERT_H

#include "python/binding.h"

/* ---------------------------------------------------------------- arguments by position and name */

struct py_signature {
    const char *function;
    const char *const *names; /* Of all parameters, in order. */
    Py_ssize_t count;
    Py_ssize_t positional_only; /* The first so many have no name. */
    Py_ssize_t positional;      /* So many may be given by position. */
    Py_ssize_t required;        /* The first so many. */
};

/* Fills values[count] with borrowed references, NULL where nothing is given. */
int py_arguments(const struct py_signature *signature, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                 PyObject **values);
/* For functions without names: TypeError unless least <= nargs <= most. */
int py_check_count(const char *function, Py_ssize_t nargs, Py_ssize_t least, Py_ssize_t most);

/* ---------------------------------------------------------------- bytes */

/* The bytes of an argument. bytes are borrowed as they are: the caller of the method holds them, and nobody changes
 * them. Any other buffer is held, and copied before the GIL is released. */
struct py_bytes {
    nori_slice slice;
    enum { PY_BYTES_BORROWED, PY_BYTES_VIEW, PY_BYTES_COPY } kind;
    Py_buffer view;
    void *copy;
};

int py_bytes_init_slow(struct py_bytes *self, PyObject *object);
void py_bytes_clear_slow(struct py_bytes *self);
int py_raise_key_too_large(size_t size);
int py_raise_value_too_large(size_t size);
/* Whatever changes or ends outside the GIL is copied. */
int py_bytes_own(struct py_bytes *self);

static inline int py_bytes_init(struct py_bytes *self, PyObject *object)
{
    if (PyBytes_CheckExact(object)) {
        self->kind = PY_BYTES_BORROWED;
        self->slice.data = (const uint8_t *)PyBytes_AS_STRING(object);
        self->slice.size = (size_t)PyBytes_GET_SIZE(object);
        return 0;
    }
    return py_bytes_init_slow(self, object);
}

static inline void py_bytes_clear(struct py_bytes *self)
{
    if (self->kind != PY_BYTES_BORROWED) py_bytes_clear_slow(self);
}

/* A key, a value: of a size that can be stored. On failure nothing is held. */
static inline int py_key_init(struct py_bytes *self, PyObject *object)
{
    if (py_bytes_init(self, object) < 0) return -1;
    if (self->slice.size <= NORI_MAX_KEY_BYTES) return 0;
    py_bytes_clear(self);
    return py_raise_key_too_large(self->slice.size);
}

static inline int py_value_init(struct py_bytes *self, PyObject *object)
{
    if (py_bytes_init(self, object) < 0) return -1;
    if (self->slice.size <= NORI_MAX_VALUE_BYTES) return 0;
    py_bytes_clear(self);
    return py_raise_value_too_large(self->slice.size);
}

/* A bound: NULL and None are none; then 'self' is cleared as if it were empty, and the result of py_bound is NULL. */
struct py_bound {
    struct py_bytes bytes;
    bool is_given;
};
int py_bound_init(struct py_bound *self, PyObject *object);
static inline void py_bound_clear(struct py_bound *self)
{
    if (self->is_given) py_bytes_clear(&self->bytes);
}
static inline const nori_slice *py_bound(const struct py_bound *self)
{
    return self->is_given ? &self->bytes.slice : NULL;
}

/* ---------------------------------------------------------------- numbers */

int py_sync_from(PyObject *object, int *sync_out);       /* NULL, None: -1. */
int py_ttl_from(PyObject *object, double *ttl_secs_out); /* NULL, None: -1; ValueError unless > 0. */
/* Puts the value into the dict, and gives its reference back. NULL: -1 with the exception there is. */
int py_set_new(PyObject *dict, const char *name, PyObject *value);
int py_flag_from(PyObject *object, bool *flag);           /* NULL: as it is. */
int py_limit_from(PyObject *object, uint64_t *limit_out); /* NULL, None: UINT64_MAX. */
int py_u64_from(PyObject *object, const char *name, uint64_t least, uint64_t *value_out);

/* ---------------------------------------------------------------- results */

/* Receives a value from the core: as bytes at once where the GIL is held, else as a copy. */
struct py_value {
    PyObject *object;
    uint8_t *copy; /* NULL, own_room, or memory of its own. */
    size_t size;
    uint8_t own_room[512];
};

static inline void py_value_begin(struct py_value *self)
{
    self->object = NULL;
    self->copy = NULL;
}
bool py_value_make(void *arg, nori_slice value); /* nori_value_fn, with the GIL. */
bool py_value_copy(void *arg, nori_slice value); /* nori_value_fn, without it. */
/* The value as bytes, a new reference; what was received is given back. NULL with MemoryError. */
PyObject *py_value_finish(struct py_value *self);
void py_value_clear(struct py_value *self);

#endif

#include "python/convert.h"

#include <math.h>
#include <string.h>

/* ---------------------------------------------------------------- arguments by position and name */

static Py_ssize_t find_name(const struct py_signature *signature, PyObject *name)
{
    for (Py_ssize_t i = signature->positional_only; i < signature->count; i++) {
        if (PyUnicode_CompareWithASCIIString(name, signature->names[i]) == 0) return i;
    }
    return -1;
}

static int fail_count(const struct py_signature *signature, Py_ssize_t nargs)
{
    PyErr_Format(PyExc_TypeError, "%s() takes at most %zd positional argument%s (%zd given)", signature->function,
                 signature->positional, signature->positional == 1 ? "" : "s", nargs);
    return -1;
}

int py_arguments(const struct py_signature *signature, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                 PyObject **values)
{
    if (nargs > signature->positional) return fail_count(signature, nargs);
    for (Py_ssize_t i = 0; i < signature->count; i++) values[i] = i < nargs ? args[i] : NULL;
    Py_ssize_t named = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        Py_ssize_t place = find_name(signature, name);
        if (place < 0) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", signature->function, name);
            return -1;
        }
        if (values[place]) {
            PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%U'", signature->function, name);
            return -1;
        }
        values[place] = args[nargs + i];
    }
    for (Py_ssize_t i = 0; i < signature->required; i++) {
        if (values[i]) continue;
        PyErr_Format(PyExc_TypeError, "%s() missing required argument '%s' (pos %zd)", signature->function,
                     signature->names[i], i + 1);
        return -1;
    }
    return 0;
}

int py_check_count(const char *function, Py_ssize_t nargs, Py_ssize_t least, Py_ssize_t most)
{
    if (nargs >= least && nargs <= most) return 0;
    Py_ssize_t bound = nargs < least ? least : most;
    PyErr_Format(PyExc_TypeError, "%s expected %s%zd argument%s, got %zd", function,
                 least == most ? "" : (nargs < least ? "at least " : "at most "), bound, bound == 1 ? "" : "s", nargs);
    return -1;
}

/* ---------------------------------------------------------------- bytes */

/* Some exporters (numpy) raise ValueError where they cannot be one run of bytes; others raise it for reasons of their
 * own (a released memoryview). The first can still be had with strides. */
static void make_buffer_error(PyObject *object)
{
    PyObject *kind, *value, *traceback;
    Py_buffer view;
    if (!PyErr_ExceptionMatches(PyExc_ValueError)) return;
    PyErr_Fetch(&kind, &value, &traceback);
    if (PyObject_GetBuffer(object, &view, PyBUF_FULL_RO) == 0) {
        PyBuffer_Release(&view);
        PyErr_SetString(PyExc_BufferError, "the buffer is not contiguous");
        Py_XDECREF(kind);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
    } else {
        PyErr_Clear();
        PyErr_Restore(kind, value, traceback);
    }
}

int py_bytes_init_slow(struct py_bytes *self, PyObject *object)
{
    if (PyObject_GetBuffer(object, &self->view, PyBUF_SIMPLE) < 0) {
        make_buffer_error(object);
        return -1;
    }
    self->kind = PY_BYTES_VIEW;
    self->slice.data = self->view.buf;
    self->slice.size = (size_t)self->view.len;
    if (!PY_HAS_GIL && py_bytes_own(self) < 0) {
        py_bytes_clear_slow(self);
        return -1;
    }
    return 0;
}

void py_bytes_clear_slow(struct py_bytes *self)
{
    if (self->kind == PY_BYTES_VIEW)
        PyBuffer_Release(&self->view);
    else
        PyMem_RawFree(self->copy);
    self->kind = PY_BYTES_BORROWED;
}

int py_bytes_own(struct py_bytes *self)
{
    if (self->kind != PY_BYTES_VIEW) return 0;
    void *copy = PyMem_RawMalloc(self->slice.size ? self->slice.size : 1);
    if (!copy) {
        PyErr_NoMemory();
        return -1;
    }
    if (self->slice.size) memcpy(copy, self->slice.data, self->slice.size);
    PyBuffer_Release(&self->view);
    self->kind = PY_BYTES_COPY;
    self->copy = copy;
    self->slice.data = copy;
    return 0;
}

int py_raise_key_too_large(size_t size)
{
    PyErr_Format(PyExc_ValueError, "a key has at most %u bytes, not %zu", NORI_MAX_KEY_BYTES, size);
    return -1;
}

int py_raise_value_too_large(size_t size)
{
    PyErr_Format(PyExc_ValueError, "a value has at most %u bytes, not %zu", NORI_MAX_VALUE_BYTES, size);
    return -1;
}

int py_bound_init(struct py_bound *self, PyObject *object)
{
    self->is_given = false;
    if (!object || object == Py_None) return 0;
    if (py_key_init(&self->bytes, object) < 0) return -1;
    self->is_given = true;
    return 0;
}

/* ---------------------------------------------------------------- numbers */

int py_sync_from(PyObject *object, int *sync_out)
{
    *sync_out = -1;
    if (!object || object == Py_None) return 0;
    *sync_out = PyObject_IsTrue(object);
    return *sync_out < 0 ? -1 : 0;
}

int py_ttl_from(PyObject *object, double *ttl_secs_out)
{
    *ttl_secs_out = -1.0;
    if (!object || object == Py_None) return 0;
    double ttl_secs = PyFloat_AsDouble(object);
    if (ttl_secs == -1.0 && PyErr_Occurred()) return -1;
    if (!(ttl_secs > 0)) {
        PyErr_Format(PyExc_ValueError, "ttl must be above 0 seconds, not %R", object);
        return -1;
    }
    *ttl_secs_out = ttl_secs;
    return 0;
}

int py_flag_from(PyObject *object, bool *flag)
{
    if (!object) return 0;
    int truth = PyObject_IsTrue(object);
    *flag = truth > 0;
    return truth < 0 ? -1 : 0;
}

int py_u64_from(PyObject *object, const char *name, uint64_t least, uint64_t *value_out)
{
    PyObject *number = PyNumber_Index(object);
    if (!number) return -1;
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
    Py_DECREF(number);
    if (value == -1 && PyErr_Occurred()) return -1;
    if (overflow < 0 || (overflow == 0 && (value < 0 || (uint64_t)value < least))) {
        PyErr_Format(PyExc_ValueError, "%s must be at least %llu", name, (unsigned long long)least);
        return -1;
    }
    *value_out = overflow > 0 ? UINT64_MAX : (uint64_t)value;
    return 0;
}

int py_limit_from(PyObject *object, uint64_t *limit_out)
{
    *limit_out = UINT64_MAX;
    if (!object || object == Py_None) return 0;
    return py_u64_from(object, "limit", 0, limit_out);
}

/* ---------------------------------------------------------------- results */

bool py_value_make(void *arg, nori_slice value)
{
    struct py_value *self = arg;
    py_value_clear(self); /* Another writer came between: the newer value takes its place. */
    self->object = PyBytes_FromStringAndSize((const char *)value.data, (Py_ssize_t)value.size);
    return self->object != NULL;
}

bool py_value_copy(void *arg, nori_slice value)
{
    struct py_value *self = arg;
    if (self->copy != self->own_room) PyMem_RawFree(self->copy);
    self->copy = value.size <= sizeof self->own_room ? self->own_room : PyMem_RawMalloc(value.size);
    if (!self->copy) return false;
    self->size = value.size;
    if (value.size) memcpy(self->copy, value.data, value.size);
    return true;
}

void py_value_clear(struct py_value *self)
{
    Py_CLEAR(self->object);
    if (self->copy != self->own_room) PyMem_RawFree(self->copy);
    self->copy = NULL;
}

PyObject *py_value_finish(struct py_value *self)
{
    if (!self->object && self->copy)
        self->object = PyBytes_FromStringAndSize((const char *)self->copy, (Py_ssize_t)self->size);
    PyObject *object = self->object;
    self->object = NULL;
    py_value_clear(self);
    return object;
}

int py_set_new(PyObject *dict, const char *name, PyObject *value)
{
    int rc = value ? PyDict_SetItemString(dict, name, value) : -1;
    Py_XDECREF(value);
    return rc;
}

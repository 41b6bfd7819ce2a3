/* Writes of single keys and ranges. Each is tried with the GIL held, and where it has to wait done again without it. */
#include "python/calls.h"
#include "python/convert.h"

/* Whether to try with the GIL at all: a sync has to wait, large values take their time to copy. */
static bool is_quick(const struct nori_write_options *options, const struct py_bytes *value)
{
    return options->sync <= 0 && (!value || value->slice.size <= PY_LARGE_BYTES);
}

/* 'rc' of the try with the GIL: 0 done, -1 failed with an exception, 1 to be done again without the GIL. */
static int judge(struct py_engine *self, nori_status rc, const struct nori_error *error)
{
    if (rc == NORI_OK) return 0;
    return rc == NORI_AGAIN ? 1 : py_raise_write(self, rc, error);
}

static const struct nori_write_options defaults = {.sync = -1, .ttl_secs = -1.0};

/* ---------------------------------------------------------------- put */

static int put_slow(struct py_engine *self, struct py_bytes *key, struct py_bytes *value,
                    struct nori_write_options *options)
{
    struct py_call call;
    if (py_bytes_own(key) < 0 || py_bytes_own(value) < 0) return -1;
    options->flags = 0;
    py_call_begin(&call, self->reader.state, self);
    nori_status rc = nori_put(self->reader.core, key->slice, value->slice, options, &call.error);
    return py_call_end_write(&call, rc);
}

static int put(struct py_engine *self, PyObject *key_object, PyObject *value_object, struct nori_write_options options)
{
    struct nori_error error;
    struct py_bytes key, value;
    int rc = -1;
    if (py_key_init(&key, key_object) < 0) return -1;
    if (py_value_init(&value, value_object) < 0) goto out;
    options.flags = NORI_NO_WAIT;
    error.outcome = NORI_NOT_APPLIED;
    rc = is_quick(&options, &value)
             ? judge(self, nori_put(self->reader.core, key.slice, value.slice, &options, &error), &error)
             : 1;
    if (rc > 0) rc = put_slow(self, &key, &value, &options);
    py_bytes_clear(&value);
out:
    py_bytes_clear(&key);
    return rc;
}

PyObject *py_engine_put(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"key", "value", "sync", "ttl"};
    static const struct py_signature signature = {"put", names, 4, 2, 2, 2};
    struct nori_write_options options = defaults;
    PyObject *values[4];
    if (!kwnames && nargs == 2) {
        if (put((struct py_engine *)self, args[0], args[1], options) < 0) return NULL;
        Py_RETURN_NONE;
    }
    if (py_arguments(&signature, args, nargs, kwnames, values) < 0) return NULL;
    if (py_sync_from(values[2], &options.sync) < 0 || py_ttl_from(values[3], &options.ttl_secs) < 0) return NULL;
    if (put((struct py_engine *)self, values[0], values[1], options) < 0) return NULL;
    Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- delete, pop */

static int delete_key(struct py_engine *self, PyObject *key_object, struct nori_write_options options)
{
    struct nori_error error;
    struct py_bytes key;
    int rc = 1;
    if (py_key_init(&key, key_object) < 0) return -1;
    options.flags = NORI_NO_WAIT;
    error.outcome = NORI_NOT_APPLIED;
    if (is_quick(&options, NULL)) rc = judge(self, nori_delete(self->reader.core, key.slice, &options, &error), &error);
    if (rc > 0 && (rc = py_bytes_own(&key)) == 0) {
        struct py_call call;
        options.flags = 0;
        py_call_begin(&call, self->reader.state, self);
        nori_status slow = nori_delete(self->reader.core, key.slice, &options, &call.error);
        rc = py_call_end_write(&call, slow);
    }
    py_bytes_clear(&key);
    return rc;
}

PyObject *py_engine_delete(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"key", "sync"};
    static const struct py_signature signature = {"delete", names, 2, 1, 1, 1};
    struct nori_write_options options = defaults;
    PyObject *values[2];
    if (py_arguments(&signature, args, nargs, kwnames, values) < 0) return NULL;
    if (py_sync_from(values[1], &options.sync) < 0) return NULL;
    if (delete_key((struct py_engine *)self, values[0], options) < 0) return NULL;
    Py_RETURN_NONE;
}

/* What is popped becomes an object before it is removed: without memory nothing has happened. */
struct popped {
    struct py_call call;
    PyObject *key, *value; /* Owned. */
};

static bool make_popped_key(void *arg, nori_slice key)
{
    struct popped *popped = arg;
    return py_call_make_bytes(&popped->call, key, &popped->key);
}

static bool make_popped_value(void *arg, nori_slice value)
{
    struct popped *popped = arg;
    return py_call_make_bytes(&popped->call, value, &popped->value);
}

static int pop_slow(struct py_engine *self, struct py_bytes *key, PyObject **value, bool *is_found)
{
    struct popped popped = {.value = NULL};
    if (py_bytes_own(key) < 0) return -1;
    py_call_begin(&popped.call, self->reader.state, self);
    nori_status rc = nori_pop(self->reader.core, key->slice, &defaults, value ? make_popped_value : NULL, &popped,
                              is_found, &popped.call.error);
    int failed = py_call_end_write(&popped.call, rc);
    if (value) *value = popped.value;
    return failed;
}

/* 1: it was there, 0: not, -1: an exception. 'value' NULL: it is not wanted. */
static int pop(struct py_engine *self, PyObject *key_object, struct py_value *value)
{
    struct nori_write_options options = defaults;
    struct nori_error error;
    struct py_bytes key;
    bool is_found = false;
    if (py_key_init(&key, key_object) < 0) return -1;
    if (value) py_value_begin(value);
    options.flags = NORI_NO_WAIT;
    error.outcome = NORI_NOT_APPLIED;
    int rc = judge(
        self, nori_pop(self->reader.core, key.slice, &options, value ? py_value_make : NULL, value, &is_found, &error),
        &error);
    if (rc > 0) {
        if (value) py_value_clear(value);
        rc = pop_slow(self, &key, value ? &value->object : NULL, &is_found);
    }
    py_bytes_clear(&key);
    if ((rc < 0 || !is_found) && value) py_value_clear(value);
    return rc < 0 ? -1 : is_found;
}

int py_engine_ass_subscript(PyObject *object, PyObject *key, PyObject *value)
{
    struct py_engine *self = (struct py_engine *)object;
    if (value) return put(self, key, value, defaults);
    int found = pop(self, key, NULL);
    if (found == 0) PyErr_SetObject(PyExc_KeyError, key);
    return found > 0 ? 0 : -1;
}

PyObject *py_engine_pop(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct py_value value;
    if (py_check_count("pop", nargs, 1, 2) < 0) return NULL;
    int found = pop((struct py_engine *)self, args[0], &value);
    if (found > 0) return py_value_finish(&value);
    if (found == 0 && nargs == 2) return Py_NewRef(args[1]);
    if (found == 0) PyErr_SetObject(PyExc_KeyError, args[0]);
    return NULL;
}

/* ---------------------------------------------------------------- popitem */

PyObject *py_engine_popitem(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct py_engine *self = (struct py_engine *)object;
    struct popped popped = {.key = NULL};
    bool is_found = false;
    PyObject *pair = PyTuple_New(2);
    if (!pair) return NULL;
    PyObject_GC_UnTrack(pair); /* Nobody is to find it while it is empty. */
    py_call_begin(&popped.call, self->reader.state, self);
    nori_status rc = nori_pop_last(self->reader.core, &defaults, make_popped_key, make_popped_value, &popped, &is_found,
                                   &popped.call.error);
    int failed = py_call_end_write(&popped.call, rc);
    if (failed < 0 || !is_found) {
        if (failed == 0) PyErr_SetString(PyExc_KeyError, "popitem(): the database is empty");
        Py_XDECREF(popped.key);
        Py_XDECREF(popped.value);
        Py_DECREF(pair);
        return NULL;
    }
    PyTuple_SET_ITEM(pair, 0, popped.key);
    PyTuple_SET_ITEM(pair, 1, popped.value);
    PyObject_GC_Track(pair);
    return pair;
}

/* ---------------------------------------------------------------- setdefault */

static int set_default_slow(struct py_engine *self, struct py_bytes *key, struct py_bytes *fallback,
                            struct py_value *value, bool *is_found)
{
    struct py_call call;
    if (py_bytes_own(key) < 0 || py_bytes_own(fallback) < 0) return -1;
    py_value_clear(value);
    py_call_begin(&call, self->reader.state, self);
    nori_status rc = nori_set_default(self->reader.core, key->slice, fallback->slice, &defaults, py_value_copy, value,
                                      is_found, &call.error);
    return py_call_end_write(&call, rc);
}

/* As bytes: what was given where that is bytes already. */
static PyObject *as_bytes(PyObject *object, const struct py_bytes *bytes)
{
    if (bytes->kind == PY_BYTES_BORROWED) return Py_NewRef(object);
    return PyBytes_FromStringAndSize((const char *)bytes->slice.data, (Py_ssize_t)bytes->slice.size);
}

PyObject *py_engine_setdefault(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    struct py_engine *self = (struct py_engine *)object;
    struct nori_write_options options = defaults;
    struct nori_error error;
    struct py_bytes key, fallback;
    struct py_value value;
    bool is_found = false;
    PyObject *fallback_object, *result = NULL;
    if (py_check_count("setdefault", nargs, 2, 2) < 0 || py_key_init(&key, args[0]) < 0) return NULL;
    if (py_value_init(&fallback, args[1]) < 0) goto out;
    fallback_object = as_bytes(args[1], &fallback); /* Before it is put: without memory nothing has happened. */
    if (!fallback_object) goto clear;
    py_value_begin(&value);
    options.flags = NORI_NO_WAIT;
    error.outcome = NORI_NOT_APPLIED;
    int rc = judge(self,
                   nori_set_default(self->reader.core, key.slice, fallback.slice, &options, py_value_make, &value,
                                    &is_found, &error),
                   &error);
    if (rc > 0) rc = set_default_slow(self, &key, &fallback, &value, &is_found);
    if (rc == 0 && is_found)
        result = py_value_finish(&value);
    else if (rc == 0)
        result = Py_NewRef(fallback_object);
    else
        py_value_clear(&value);
    Py_DECREF(fallback_object);
clear:
    py_bytes_clear(&fallback);
out:
    py_bytes_clear(&key);
    return result;
}

/* ---------------------------------------------------------------- ranges */

static int delete_range(struct py_engine *self, struct py_bound *start, struct py_bound *stop,
                        struct nori_write_options options)
{
    struct nori_error error;
    struct py_call call;
    int rc = 1;
    options.flags = NORI_NO_WAIT;
    error.outcome = NORI_NOT_APPLIED;
    if (is_quick(&options, NULL))
        rc = judge(self, nori_delete_range(self->reader.core, py_bound(start), py_bound(stop), &options, &error),
                   &error);
    if (rc <= 0) return rc;
    if (start->is_given && py_bytes_own(&start->bytes) < 0) return -1;
    if (stop->is_given && py_bytes_own(&stop->bytes) < 0) return -1;
    options.flags = 0;
    py_call_begin(&call, self->reader.state, self);
    nori_status slow = nori_delete_range(self->reader.core, py_bound(start), py_bound(stop), &options, &call.error);
    return py_call_end_write(&call, slow);
}

PyObject *py_engine_delete_range(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"start", "stop", "sync"};
    static const struct py_signature signature = {"delete_range", names, 3, 2, 2, 2};
    struct nori_write_options options = defaults;
    struct py_bound start, stop;
    PyObject *values[3];
    int rc = -1;
    if (py_arguments(&signature, args, nargs, kwnames, values) < 0) return NULL;
    if (py_sync_from(values[2], &options.sync) < 0 || py_bound_init(&start, values[0]) < 0) return NULL;
    if (py_bound_init(&stop, values[1]) == 0) {
        rc = delete_range((struct py_engine *)self, &start, &stop, options);
        py_bound_clear(&stop);
    }
    py_bound_clear(&start);
    if (rc < 0) return NULL;
    Py_RETURN_NONE;
}

PyObject *py_engine_clear(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct py_bound none = {.is_given = false};
    if (delete_range((struct py_engine *)self, &none, &none, defaults) < 0) return NULL;
    Py_RETURN_NONE;
}

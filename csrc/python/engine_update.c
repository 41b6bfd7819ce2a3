/* update() and |=: dict.update's protocol, written in atomic batches of about 1 MiB. */
#include "python/calls.h"
#include "python/convert.h"

#define BATCH_BYTES ((size_t)1 << 20)

struct update {
    struct py_engine *engine;
    struct nori_batch *batch;
};

static int write_out(struct update *update)
{
    uint64_t sequence;
    enum nori_outcome outcome;
    if (nori_batch_count(update->batch) == 0) return 0;
    int rc = py_commit(update->engine, update->batch, -1, &sequence, &outcome);
    nori_batch_clear(update->batch);
    return rc;
}

static int add(struct update *update, PyObject *key_object, PyObject *value_object)
{
    struct py_bytes key, value;
    struct nori_error error;
    int rc = -1;
    if (py_key_init(&key, key_object) < 0) return -1;
    if (py_value_init(&value, value_object) < 0) goto out;
    /* Each pair that was taken before an exception is as old as the batch it is in, so the default ttl counts from
     * here. */
    uint64_t expires_at_ms = nori_expiry(update->engine->reader.core, -1.0);
    nori_status status = nori_batch_put(update->batch, key.slice, value.slice, expires_at_ms, &error);
    if (status != NORI_OK) py_raise(update->engine->reader.state, NULL, status, &error);
    rc = status == NORI_OK ? 0 : -1;
    py_bytes_clear(&value);
out:
    py_bytes_clear(&key);
    return rc == 0 && nori_batch_bytes(update->batch) >= BATCH_BYTES ? write_out(update) : rc;
}

/* One element of an iterable of pairs, as dict.update takes it. */
static int add_pair(struct update *update, PyObject *pair, Py_ssize_t position)
{
    PyObject *fast = PySequence_Fast(pair, "");
    int rc = -1;
    if (!fast) {
        if (PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_Format(PyExc_TypeError, "cannot convert update sequence element #%zd to a sequence", position);
        return -1;
    }
    Py_ssize_t size = PySequence_Fast_GET_SIZE(fast);
    if (size != 2) {
        PyErr_Format(PyExc_ValueError, "update sequence element #%zd has length %zd; 2 is required", position, size);
    } else {
        /* A list may change while a buffer is taken from it. */
        PyObject *key = Py_NewRef(PySequence_Fast_GET_ITEM(fast, 0));
        PyObject *value = Py_NewRef(PySequence_Fast_GET_ITEM(fast, 1));
        rc = add(update, key, value);
        Py_DECREF(key);
        Py_DECREF(value);
    }
    Py_DECREF(fast);
    return rc;
}

/* Takes the reference of 'pairs'; NULL: the error is set already. */
static int add_pairs(struct update *update, PyObject *pairs)
{
    PyObject *iterator = pairs ? PyObject_GetIter(pairs) : NULL, *pair;
    int rc = 0;
    Py_XDECREF(pairs);
    if (!iterator) return -1;
    for (Py_ssize_t position = 0; rc == 0 && (pair = PyIter_Next(iterator)); position++) {
        rc = add_pair(update, pair, position);
        Py_DECREF(pair);
    }
    Py_DECREF(iterator);
    return PyErr_Occurred() ? -1 : rc;
}

static int add_mapping(struct update *update, PyObject *mapping, PyObject *keys_method)
{
    PyObject *keys = PyObject_CallNoArgs(keys_method);
    PyObject *iterator = keys ? PyObject_GetIter(keys) : NULL, *key;
    int rc = 0;
    Py_XDECREF(keys);
    if (!iterator) return -1;
    while (rc == 0 && (key = PyIter_Next(iterator))) {
        PyObject *value = PyObject_GetItem(mapping, key);
        rc = value ? add(update, key, value) : -1;
        Py_XDECREF(value);
        Py_DECREF(key);
    }
    Py_DECREF(iterator);
    return PyErr_Occurred() ? -1 : rc;
}

static int add_all(struct update *update, PyObject *other)
{
    struct py_state *state = update->engine->reader.state;
    PyObject *keys_method;
    int rc;
    /* What these hold comes in one pass, and an engine's is of one moment. */
    if (PyDict_CheckExact(other)) return add_pairs(update, PyObject_CallMethod(other, "items", NULL));
    if (py_is_reader(state, other))
        return add_pairs(update, py_reader_iterate((struct py_reader *)other, PY_PART_ITEMS, false));
    keys_method = PyObject_GetAttrString(other, "keys");
    if (!keys_method) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) return -1;
        PyErr_Clear();
        return add_pairs(update, Py_NewRef(other));
    }
    rc = add_mapping(update, other, keys_method);
    Py_DECREF(keys_method);
    return rc;
}

static int update_from(struct py_engine *self, PyObject *other)
{
    struct update update = {.engine = self};
    struct nori_error error;
    if (py_check_usable(self) < 0) return -1;
    nori_status status = nori_batch_create(&update.batch, &error);
    if (status != NORI_OK) {
        py_raise(self->reader.state, NULL, status, &error);
        return -1;
    }
    int rc = add_all(&update, other);
    if (rc == 0) rc = write_out(&update);
    nori_batch_destroy(update.batch);
    return rc;
}

PyObject *py_engine_update(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (py_check_count("update", nargs, 0, 1) < 0) return NULL;
    if (nargs == 1 && update_from((struct py_engine *)self, args[0]) < 0) return NULL;
    Py_RETURN_NONE;
}

PyObject *py_engine_inplace_or(PyObject *self, PyObject *other)
{
    return update_from((struct py_engine *)self, other) < 0 ? NULL : Py_NewRef(self);
}

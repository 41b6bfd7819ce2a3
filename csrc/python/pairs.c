#include "python/pairs.h"

#include "python/calls.h"
#include "python/convert.h"

int py_pairs_init(struct py_pairs *pairs, struct py_engine *engine, const char *what,
                  int (*hand_on)(struct py_pairs *pairs))
{
    struct nori_error error;
    *pairs = (struct py_pairs){.engine = engine, .what = what, .hand_on = hand_on};
    nori_status status = nori_batch_create(&pairs->batch, &error);
    if (status != NORI_OK) py_raise(engine->reader.state, NULL, status, &error);
    return status == NORI_OK ? 0 : -1;
}

void py_pairs_clear(struct py_pairs *pairs)
{
    nori_batch_destroy(pairs->batch);
    pairs->batch = NULL;
}

int py_pairs_hand_on(struct py_pairs *pairs)
{
    if (nori_batch_count(pairs->batch) == 0) return 0;
    int rc = pairs->hand_on(pairs);
    nori_batch_clear(pairs->batch);
    return rc;
}

static int add(struct py_pairs *pairs, PyObject *key_object, PyObject *value_object)
{
    struct py_bytes key, value;
    struct nori_error error;
    int rc = -1;
    if (py_key_init(&key, key_object) < 0) return -1;
    if (py_value_init(&value, value_object) < 0) goto out;
    /* Each pair that was taken before an exception is as old as the batch it is in, so the default ttl counts from
     * here. */
    uint64_t expires_at_ms = nori_expiry(pairs->engine->reader.core, -1.0);
    nori_status status = nori_batch_put(pairs->batch, key.slice, value.slice, expires_at_ms, &error);
    if (status != NORI_OK) py_raise(pairs->engine->reader.state, NULL, status, &error);
    rc = status == NORI_OK ? 0 : -1;
    py_bytes_clear(&value);
out:
    py_bytes_clear(&key);
    return rc == 0 && nori_batch_bytes(pairs->batch) >= PY_PAIRS_BATCH_BYTES ? py_pairs_hand_on(pairs) : rc;
}

/* One element of an iterable of pairs, as dict.update takes it. */
static int add_pair(struct py_pairs *pairs, PyObject *pair, Py_ssize_t position)
{
    PyObject *fast = PySequence_Fast(pair, "");
    int rc = -1;
    if (!fast) {
        if (PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_Format(PyExc_TypeError, "cannot convert %s sequence element #%zd to a sequence", pairs->what,
                         position);
        return -1;
    }
    Py_ssize_t size = PySequence_Fast_GET_SIZE(fast);
    if (size != 2) {
        PyErr_Format(PyExc_ValueError, "%s sequence element #%zd has length %zd; 2 is required", pairs->what, position,
                     size);
    } else {
        /* A list may change while a buffer is taken from it. */
        PyObject *key = Py_NewRef(PySequence_Fast_GET_ITEM(fast, 0));
        PyObject *value = Py_NewRef(PySequence_Fast_GET_ITEM(fast, 1));
        rc = add(pairs, key, value);
        Py_DECREF(key);
        Py_DECREF(value);
    }
    Py_DECREF(fast);
    return rc;
}

/* Takes the reference of 'source'; NULL: the error is set already. */
static int add_source(struct py_pairs *pairs, PyObject *source)
{
    PyObject *iterator = source ? PyObject_GetIter(source) : NULL, *pair;
    int rc = 0;
    Py_XDECREF(source);
    if (!iterator) return -1;
    for (Py_ssize_t position = 0; rc == 0 && (pair = PyIter_Next(iterator)); position++) {
        rc = add_pair(pairs, pair, position);
        Py_DECREF(pair);
    }
    Py_DECREF(iterator);
    return PyErr_Occurred() ? -1 : rc;
}

static int add_mapping(struct py_pairs *pairs, PyObject *mapping, PyObject *keys_method)
{
    PyObject *keys = PyObject_CallNoArgs(keys_method);
    PyObject *iterator = keys ? PyObject_GetIter(keys) : NULL, *key;
    int rc = 0;
    Py_XDECREF(keys);
    if (!iterator) return -1;
    while (rc == 0 && (key = PyIter_Next(iterator))) {
        PyObject *value = PyObject_GetItem(mapping, key);
        rc = value ? add(pairs, key, value) : -1;
        Py_XDECREF(value);
        Py_DECREF(key);
    }
    Py_DECREF(iterator);
    return PyErr_Occurred() ? -1 : rc;
}

/* '*method_out' is NULL where there is none. */
static int find_method(PyObject *object, const char *name, PyObject **method_out)
{
    *method_out = PyObject_GetAttrString(object, name);
    if (*method_out) return 0;
    if (!PyErr_ExceptionMatches(PyExc_AttributeError)) return -1;
    PyErr_Clear();
    return 0;
}

static int add_all(struct py_pairs *pairs, PyObject *other)
{
    struct py_state *state = pairs->engine->reader.state;
    PyObject *arrow_method, *keys_method;
    int rc;
    /* What these hold comes in one pass, and an engine's is of one moment. */
    if (PyDict_CheckExact(other)) return add_source(pairs, PyObject_CallMethod(other, "items", NULL));
    if (py_is_reader(state, other))
        return add_source(pairs, py_reader_iterate((struct py_reader *)other, PY_PART_ITEMS, false));
    /* Tables before mappings: some have keys(), which are the names of their columns. */
    if (find_method(other, "__arrow_c_stream__", &arrow_method) < 0) return -1;
    if (arrow_method) {
        rc = py_pairs_add_arrow(pairs, arrow_method);
        Py_DECREF(arrow_method);
        return rc;
    }
    if (find_method(other, "keys", &keys_method) < 0) return -1;
    if (!keys_method) return add_source(pairs, Py_NewRef(other));
    rc = add_mapping(pairs, other, keys_method);
    Py_DECREF(keys_method);
    return rc;
}

int py_pairs_add_all(struct py_pairs *pairs, PyObject *other)
{
    return add_all(pairs, other) < 0 ? -1 : py_pairs_hand_on(pairs);
}

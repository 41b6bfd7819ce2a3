/* get_many(): its own references to the keys, and a buffer for the values where the GIL is released. */
#include "python/calls.h"
#include "python/convert.h"

#include <string.h>

/* Beyond so many keys the GIL is released from the start. */
#define FEW_KEYS 8

struct found_value {
    size_t offset; /* In values.bytes. */
    size_t size;
    bool is_found;
};

struct values {
    struct found_value *found; /* One for each key. */
    uint8_t *bytes;
    size_t size, capacity;
};

static bool make_item(void *arg, size_t position, nori_slice value)
{
    PyObject *list = arg;
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)value.data, (Py_ssize_t)value.size);
    if (bytes) PyList_SET_ITEM(list, (Py_ssize_t)position, bytes);
    return bytes != NULL;
}

static bool copy_item(void *arg, size_t position, nori_slice value)
{
    struct values *values = arg;
    if (value.size > values->capacity - values->size) {
        size_t capacity = values->capacity + (values->capacity > value.size ? values->capacity : value.size) + 4096;
        uint8_t *grown = PyMem_RawRealloc(values->bytes, capacity);
        if (!grown) return false;
        values->bytes = grown;
        values->capacity = capacity;
    }
    if (value.size) memcpy(values->bytes + values->size, value.data, value.size);
    values->found[position] = (struct found_value){values->size, value.size, true};
    values->size += value.size;
    return true;
}

/* A private list of the keys as bytes. */
static PyObject *collect_keys(PyObject *keys)
{
    PyObject *list = PySequence_List(keys);
    if (!list) return NULL;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
        PyObject *key = PyList_GET_ITEM(list, i), *copy;
        struct py_bytes bytes;
        if (py_key_init(&bytes, key) < 0) goto fail;
        if (bytes.kind == PY_BYTES_BORROWED) continue;
        copy = PyBytes_FromStringAndSize((const char *)bytes.slice.data, (Py_ssize_t)bytes.slice.size);
        py_bytes_clear(&bytes);
        if (!copy || PyList_SetItem(list, i, copy) < 0) goto fail;
    }
    return list;
fail:
    Py_DECREF(list);
    return NULL;
}

/* NULL without an exception: the core would have to wait. */
static PyObject *try_now(struct py_reader *self, const nori_slice *keys, size_t count)
{
    struct nori_error error;
    PyObject *list = PyList_New((Py_ssize_t)count);
    if (!list) return NULL;
    nori_status rc = nori_get_many(self->core, self->snapshot, keys, count, NORI_NO_WAIT, make_item, list, &error);
    if (rc == NORI_OK) {
        for (size_t i = 0; i < count; i++) {
            if (!PyList_GET_ITEM(list, (Py_ssize_t)i)) PyList_SET_ITEM(list, (Py_ssize_t)i, Py_NewRef(Py_None));
        }
        return list;
    }
    Py_DECREF(list);
    if (rc != NORI_AGAIN) py_raise(self->state, nori_path(self->core), rc, &error);
    return NULL;
}

static PyObject *make_list(const struct values *values, size_t count)
{
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list && i < count; i++) {
        const struct found_value *found = &values->found[i];
        PyObject *item = found->is_found ? PyBytes_FromStringAndSize((const char *)values->bytes + found->offset,
                                                                     (Py_ssize_t)found->size)
                                         : Py_NewRef(Py_None);
        if (item)
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
        else
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *wait_for_all(struct py_reader *self, const nori_slice *keys, size_t count)
{
    struct values values = {.found = PyMem_RawCalloc(count, sizeof *values.found)};
    struct py_call call;
    PyObject *list = NULL;
    if (!values.found) return PyErr_NoMemory();
    py_call_begin(&call, self->state, self->engine);
    nori_status rc = nori_get_many(self->core, self->snapshot, keys, count, 0, copy_item, &values, &call.error);
    if (py_call_end(&call, rc) == 0) list = make_list(&values, count);
    PyMem_RawFree(values.bytes);
    PyMem_RawFree(values.found);
    return list;
}

PyObject *py_reader_get_many(PyObject *object, PyObject *keys)
{
    struct py_reader *self = (struct py_reader *)object;
    PyObject *result = NULL, *own_keys = collect_keys(keys);
    if (!own_keys) return NULL;
    size_t count = (size_t)PyList_GET_SIZE(own_keys);
    nori_slice *slices = PyMem_RawMalloc((count + 1) * sizeof *slices);
    if (!slices) {
        PyErr_NoMemory();
        goto out;
    }
    for (size_t i = 0; i < count; i++) {
        PyObject *key = PyList_GET_ITEM(own_keys, (Py_ssize_t)i);
        slices[i] = (nori_slice){(const uint8_t *)PyBytes_AS_STRING(key), (size_t)PyBytes_GET_SIZE(key)};
    }
    if (py_reader_enter(self) < 0) goto out;
    if (count <= FEW_KEYS) result = try_now(self, slices, count);
    if (!result && !PyErr_Occurred()) result = wait_for_all(self, slices, count);
    py_reader_leave(self);
out:
    PyMem_RawFree(slices);
    Py_DECREF(own_keys);
    return result;
}

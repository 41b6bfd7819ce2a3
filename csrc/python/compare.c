/* == between a reader and a mapping: both in key order, until they differ. */
#include "python/calls.h"

static PyObject *all_items(PyObject *reader)
{
    return py_reader_iterate((struct py_reader *)reader, PY_PART_ITEMS, false);
}

/* 1: equal, 0: not, -1: an exception. */
static int compare_readers(PyObject *left, PyObject *right)
{
    PyObject *left_items = all_items(left), *right_items = left_items ? all_items(right) : NULL;
    int result = -1;
    while (right_items) {
        PyObject *left_item = PyIter_Next(left_items);
        PyObject *right_item = left_item || !PyErr_Occurred() ? PyIter_Next(right_items) : NULL;
        if (PyErr_Occurred())
            result = -1;
        else if (left_item && right_item)
            result = PyObject_RichCompareBool(left_item, right_item, Py_EQ);
        else
            result = !left_item && !right_item;
        bool is_last = !left_item || !right_item || result != 1;
        Py_XDECREF(left_item);
        Py_XDECREF(right_item);
        if (is_last) break;
    }
    Py_XDECREF(left_items);
    Py_XDECREF(right_items);
    return result;
}

/* The mapping's keys in order; NULL without an exception if they have none, and so are not all bytes. */
static PyObject *sort_keys(PyObject *mapping)
{
    PyObject *keys = PySequence_List(mapping);
    if (!keys || PyList_Sort(keys) == 0) return keys;
    if (PyErr_ExceptionMatches(PyExc_TypeError)) PyErr_Clear();
    Py_DECREF(keys);
    return NULL;
}

static int compare_entry(PyObject *item, PyObject *mapping, PyObject *key)
{
    if (PyUnicode_Check(key)) return 0; /* Not even asked: bytes and str compare with a warning under -b. */
    int same = PyObject_RichCompareBool(PyTuple_GET_ITEM(item, 0), key, Py_EQ);
    if (same <= 0) return same;
    PyObject *value = PyObject_GetItem(mapping, key);
    if (!value) return -1;
    same = PyUnicode_Check(value) ? 0 : PyObject_RichCompareBool(PyTuple_GET_ITEM(item, 1), value, Py_EQ);
    Py_DECREF(value);
    return same;
}

static int compare_mapping(PyObject *reader, PyObject *mapping)
{
    PyObject *keys = sort_keys(mapping);
    if (!keys) return PyErr_Occurred() ? -1 : 0;
    PyObject *items = all_items(reader);
    Py_ssize_t count = PyList_GET_SIZE(keys), i = 0;
    int result = items ? 1 : -1;
    while (result == 1) {
        PyObject *item = PyIter_Next(items);
        if (!item) {
            result = PyErr_Occurred() ? -1 : i == count;
            break;
        }
        result = i < count ? compare_entry(item, mapping, PyList_GET_ITEM(keys, i)) : 0;
        i++;
        Py_DECREF(item);
    }
    Py_XDECREF(items);
    Py_DECREF(keys);
    return result;
}

PyObject *py_reader_compare(PyObject *self, PyObject *other, int operation)
{
    struct py_state *state = ((struct py_reader *)self)->state;
    int result = 1;
    if (operation != Py_EQ && operation != Py_NE) Py_RETURN_NOTIMPLEMENTED;
    if (self != other) {
        if (py_is_reader(state, other)) {
            result = compare_readers(self, other);
        } else {
            int is_mapping = PyDict_Check(other) ? 1 : PyObject_IsInstance(other, state->mapping_abc);
            if (is_mapping < 0) return NULL;
            if (!is_mapping) Py_RETURN_NOTIMPLEMENTED;
            result = compare_mapping(self, other);
        }
        if (result < 0) return NULL;
    }
    return PyBool_FromLong(operation == Py_EQ ? result : !result);
}

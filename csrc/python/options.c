/* Options as pairs of dotted name and text: what the package's Config is checked with and made from. */
#include "python/binding.h"

int py_overrides_from(PyObject *pairs, struct nori_override **overrides_out, size_t *count_out, PyObject **owner_out)
{
    *overrides_out = NULL;
    *owner_out = PySequence_Tuple(pairs); /* Of its own: the list may change. */
    if (!*owner_out) return -1;
    Py_ssize_t count = PyTuple_GET_SIZE(*owner_out);
    struct nori_override *overrides = PyMem_Calloc((size_t)count + 1, sizeof *overrides);
    if (!overrides) {
        PyErr_NoMemory();
        goto fail;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *pair = PyTuple_GET_ITEM(*owner_out, i);
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2 || !PyUnicode_Check(PyTuple_GET_ITEM(pair, 0)) ||
            !PyUnicode_Check(PyTuple_GET_ITEM(pair, 1))) {
            PyErr_Format(PyExc_TypeError, "an option must be a tuple of two str, not %R", pair);
            goto fail;
        }
        overrides[i].name = PyUnicode_AsUTF8(PyTuple_GET_ITEM(pair, 0));
        overrides[i].value = PyUnicode_AsUTF8(PyTuple_GET_ITEM(pair, 1));
        if (!overrides[i].name || !overrides[i].value) goto fail;
    }
    *overrides_out = overrides;
    *count_out = (size_t)count;
    return 0;
fail:
    PyMem_Free(overrides);
    Py_CLEAR(*owner_out);
    return -1;
}

int py_options_from(PyObject *module, PyObject *pairs, struct nori_options *options_out)
{
    struct nori_override *overrides;
    struct nori_error error;
    size_t count;
    PyObject *owner;
    nori_status rc = NORI_OK;
    if (py_overrides_from(pairs, &overrides, &count, &owner) < 0) return -1;
    nori_options_init(options_out);
    for (size_t i = 0; rc == NORI_OK && i < count; i++)
        rc = nori_options_set(options_out, overrides[i].name, overrides[i].value, &error);
    if (rc == NORI_OK) rc = nori_options_check(options_out, &error);
    PyMem_Free(overrides);
    Py_DECREF(owner);
    if (rc == NORI_OK) return 0;
    py_raise(PyModule_GetState(module), NULL, rc, &error);
    return -1;
}

static void append_pair(void *arg, const char *name, const char *value)
{
    PyObject *list = arg, *pair;
    if (PyErr_Occurred()) return;
    pair = Py_BuildValue("(ss)", name, value);
    if (!pair) return;
    (void)PyList_Append(list, pair); /* A failure is noticed by its exception. */
    Py_DECREF(pair);
}

PyObject *py_options_list(const struct nori_options *options)
{
    PyObject *list = PyList_New(0);
    if (!list) return NULL;
    nori_options_each(options, append_pair, list);
    if (PyErr_Occurred()) Py_CLEAR(list);
    return list;
}

PyObject *py_options_check(PyObject *module, PyObject *pairs)
{
    struct nori_options options;
    return py_options_from(module, pairs, &options) < 0 ? NULL : py_options_list(&options);
}

PyObject *py_options_default(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    struct nori_options options;
    nori_options_init(&options);
    return py_options_list(&options);
}

/* Iterators over parts of a scan: what only_keys(), only_values() and batches() return, and iter() of readers and
 * views. */
#include "python/calls.h"

struct scan_iterator {
    PyObject_HEAD struct py_scan *scan; /* Owned; NULL once an owner is at the end. */
    size_t size;                        /* Of a batch. */
    enum py_part part;
    bool is_owner;
};

PyObject *py_scan_iterator_create(PyObject *scan, enum py_part part, size_t size, bool is_owner)
{
    if (!scan) return NULL;
    /* A scan's type is a heap type of this module: it leads to the state. */
    struct py_state *state = PyModule_GetState(PyType_GetModule(Py_TYPE(scan)));
    struct scan_iterator *self =
        (struct scan_iterator *)state->scan_iterator_type->tp_alloc(state->scan_iterator_type, 0);
    if (!self) {
        Py_DECREF(scan);
        return NULL;
    }
    self->scan = (struct py_scan *)scan;
    self->size = size;
    self->part = part;
    self->is_owner = is_owner;
    return (PyObject *)self;
}

static PyObject *iterator_next(PyObject *object)
{
    struct scan_iterator *self = (struct scan_iterator *)object;
    if (!self->scan) return NULL;
    PyObject *scan = Py_NewRef((PyObject *)self->scan); /* Another thread may come to the end first. */
    PyObject *result = py_scan_take((struct py_scan *)scan, self->part, self->size);
    if (!result && self->is_owner && !PyErr_Occurred()) {
        /* The end: what the scan holds is let go at once. */
        struct py_scan *own = self->scan;
        self->scan = NULL;
        Py_XDECREF(own);
    }
    Py_DECREF(scan);
    return result;
}

static int iterator_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct scan_iterator *self = (struct scan_iterator *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->scan);
    return 0;
}

static void iterator_dealloc(PyObject *object)
{
    struct scan_iterator *self = (struct scan_iterator *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_XDECREF(self->scan);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *iterator_refuse_copy(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(args))
{
    return py_refuse_copy("an iterator", "it reads from an open database; iterate anew instead");
}

static PyMethodDef iterator_methods[] = {
    PY_REFUSE_COPY_METHODS(iterator_refuse_copy),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot iterator_slots[] = {
    {Py_tp_dealloc, iterator_dealloc}, {Py_tp_traverse, iterator_traverse}, {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, iterator_next},   {Py_tp_methods, iterator_methods},   {0, NULL},
};

PyType_Spec py_scan_iterator_spec = {"nori_lsm._core._ScanIterator", sizeof(struct scan_iterator), 0, PY_TYPE_FLAGS,
                                     iterator_slots};

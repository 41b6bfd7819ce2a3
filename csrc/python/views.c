/* keys(), values() and items(): live views. Each iteration is one moment of its own. They have no length, so that
 * list(db.items()) does not count first; set operations make sets, as those of dict's views do. */
#include "python/calls.h"

struct view {
    PyObject_HEAD struct py_reader *reader; /* Owned. */
    enum py_part part;
};

static PyObject *create(PyTypeObject *type, PyObject *reader, enum py_part part)
{
    struct view *self = (struct view *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->reader = (struct py_reader *)Py_NewRef(reader);
    self->part = part;
    return (PyObject *)self;
}

/* A view may be asked for only while its reader can be read. */
static int check_open(PyObject *object)
{
    struct py_reader *reader = (struct py_reader *)object;
    if (py_check_usable(reader->engine) < 0 || py_reader_enter(reader) < 0) return -1;
    py_reader_leave(reader);
    return 0;
}

PyObject *py_view_keys(PyObject *reader, PyObject *Py_UNUSED(ignored))
{
    if (check_open(reader) < 0) return NULL;
    return create(((struct py_reader *)reader)->state->keys_type, reader, PY_PART_KEYS);
}

PyObject *py_view_values(PyObject *reader, PyObject *Py_UNUSED(ignored))
{
    if (check_open(reader) < 0) return NULL;
    return create(((struct py_reader *)reader)->state->values_type, reader, PY_PART_VALUES);
}

PyObject *py_view_items(PyObject *reader, PyObject *Py_UNUSED(ignored))
{
    if (check_open(reader) < 0) return NULL;
    return create(((struct py_reader *)reader)->state->items_type, reader, PY_PART_ITEMS);
}

/* ---------------------------------------------------------------- iteration and membership */

static PyObject *view_iter(PyObject *object)
{
    struct view *self = (struct view *)object;
    return py_reader_iterate(self->reader, self->part, false);
}

static PyObject *view_reversed(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct view *self = (struct view *)object;
    return py_reader_iterate(self->reader, self->part, true);
}

static int keys_contains(PyObject *object, PyObject *key)
{
    return py_reader_contains((PyObject *)((struct view *)object)->reader, key);
}

static int values_contains(PyObject *object, PyObject *wanted)
{
    PyObject *values = view_iter(object), *value;
    int found = 0;
    if (!values) return -1;
    while (found == 0 && (value = PyIter_Next(values))) {
        found = PyObject_RichCompareBool(value, wanted, Py_EQ);
        Py_DECREF(value);
    }
    Py_DECREF(values);
    return PyErr_Occurred() ? -1 : found;
}

static int items_contains(PyObject *object, PyObject *item)
{
    if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) != 2) return 0;
    PyObject *value = py_reader_find(((struct view *)object)->reader, PyTuple_GET_ITEM(item, 0));
    if (!value) return PyErr_Occurred() ? -1 : 0;
    int same = PyObject_RichCompareBool(value, PyTuple_GET_ITEM(item, 1), Py_EQ);
    Py_DECREF(value);
    return same;
}

/* ---------------------------------------------------------------- set operations */

/* A new set of 'left', changed by 'method' with 'right'. */
static PyObject *operate(PyObject *left, PyObject *right, const char *method)
{
    PyObject *set = PySet_New(left);
    PyObject *result = set ? PyObject_CallMethod(set, method, "O", right) : NULL;
    if (!result) Py_CLEAR(set);
    Py_XDECREF(result);
    return set;
}

static PyObject *view_and(PyObject *left, PyObject *right)
{
    return operate(left, right, "intersection_update");
}

static PyObject *view_or(PyObject *left, PyObject *right)
{
    return operate(left, right, "update");
}

static PyObject *view_subtract(PyObject *left, PyObject *right)
{
    return operate(left, right, "difference_update");
}

static PyObject *view_xor(PyObject *left, PyObject *right)
{
    return operate(left, right, "symmetric_difference_update");
}

static PyObject *view_compare(PyObject *self, PyObject *other, int operation)
{
    struct py_state *state = ((struct view *)self)->reader->state;
    PyObject *left, *right, *result = NULL;
    int is_set = PyAnySet_Check(other) ? 1 : PyObject_IsInstance(other, state->set_abc);
    if (is_set < 0) return NULL;
    if (!is_set) Py_RETURN_NOTIMPLEMENTED;
    left = PySet_New(self);
    right = left ? (PyAnySet_Check(other) ? Py_NewRef(other) : PySet_New(other)) : NULL;
    if (right) result = PyObject_RichCompare(left, right, operation);
    Py_XDECREF(left);
    Py_XDECREF(right);
    return result;
}

static PyObject *view_isdisjoint(PyObject *self, PyObject *other)
{
    PyObject *items = NULL, *item, *others = PyAnySet_Check(other) ? Py_NewRef(other) : PySet_New(other);
    int found = 0;
    if (!others || !(items = view_iter(self))) {
        Py_XDECREF(others);
        return NULL;
    }
    while (found == 0 && (item = PyIter_Next(items))) {
        found = PySet_Contains(others, item);
        Py_DECREF(item);
    }
    Py_DECREF(items);
    Py_DECREF(others);
    return PyErr_Occurred() ? NULL : PyBool_FromLong(!found);
}

/* ---------------------------------------------------------------- the types */

static PyObject *view_repr(PyObject *object)
{
    static const char *const names[] = {
        [PY_PART_KEYS] = "keys", [PY_PART_VALUES] = "values", [PY_PART_ITEMS] = "items"};
    struct view *self = (struct view *)object;
    return PyUnicode_FromFormat("<%s of %R>", names[self->part], (PyObject *)self->reader);
}

static PyObject *view_refuse_copy(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(args))
{
    return py_refuse_copy("a view", "it shows an open database; list(view) copies what it shows");
}

static int view_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((struct view *)object)->reader);
    return 0;
}

static void view_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_XDECREF((PyObject *)((struct view *)object)->reader);
    type->tp_free(object);
    Py_DECREF(type);
}

#define VIEW_METHODS                                                                                                   \
    PY_METHOD("__reversed__", view_reversed, METH_NOARGS, "($self, /)", "From the last key to the first."),            \
        PY_REFUSE_COPY_METHODS(view_refuse_copy)

static PyMethodDef set_methods[] = {
    VIEW_METHODS,
    PY_METHOD("isdisjoint", view_isdisjoint, METH_O, "($self, other, /)", "Whether no element is in other."),
    {NULL, NULL, 0, NULL},
};

static PyMethodDef values_methods[] = {
    VIEW_METHODS,
    {NULL, NULL, 0, NULL},
};

#define VIEW_SLOTS                                                                                                     \
    {Py_tp_dealloc, view_dealloc}, {Py_tp_traverse, view_traverse}, {Py_tp_repr, view_repr},                           \
    {                                                                                                                  \
        Py_tp_iter, view_iter                                                                                          \
    }
#define SET_SLOTS                                                                                                      \
    {Py_tp_methods, set_methods}, {Py_tp_richcompare, view_compare}, {Py_tp_hash, PyObject_HashNotImplemented},        \
        {Py_nb_and, view_and}, {Py_nb_or, view_or}, {Py_nb_subtract, view_subtract},                                   \
    {                                                                                                                  \
        Py_nb_xor, view_xor                                                                                            \
    }

static PyType_Slot keys_slots[] = {VIEW_SLOTS,
                                   SET_SLOTS,
                                   {Py_tp_doc, "The keys of an engine or a snapshot."},
                                   {Py_sq_contains, keys_contains},
                                   {0, NULL}};
static PyType_Slot items_slots[] = {VIEW_SLOTS,
                                    SET_SLOTS,
                                    {Py_tp_doc, "The entries of an engine or a snapshot."},
                                    {Py_sq_contains, items_contains},
                                    {0, NULL}};
static PyType_Slot values_slots[] = {VIEW_SLOTS,
                                     {Py_tp_methods, values_methods},
                                     {Py_tp_doc, "The values of an engine or a snapshot."},
                                     {Py_sq_contains, values_contains},
                                     {0, NULL}};

PyType_Spec py_keys_spec = {"nori_lsm._core.KeysView", sizeof(struct view), 0, PY_TYPE_FLAGS, keys_slots};
PyType_Spec py_values_spec = {"nori_lsm._core.ValuesView", sizeof(struct view), 0, PY_TYPE_FLAGS, values_slots};
PyType_Spec py_items_spec = {"nori_lsm._core.ItemsView", sizeof(struct view), 0, PY_TYPE_FLAGS, items_slots};

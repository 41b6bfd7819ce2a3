/* Snapshot: one moment of an engine. */
#include "python/calls.h"

PyObject *py_snapshot_create(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct py_engine *engine = (struct py_engine *)object;
    struct py_state *state = engine->reader.state;
    struct py_snapshot *self = (struct py_snapshot *)state->snapshot_type->tp_alloc(state->snapshot_type, 0);
    struct nori_error error;
    if (!self) return NULL;
    self->is_closed = true;
    self->reader.state = state;
    self->reader.core = engine->reader.core;
    self->reader.engine = (struct py_engine *)Py_NewRef(object);
    self->reader.fork_generation = engine->reader.fork_generation;
    self->reader.is_snapshot = true;
    nori_status rc = nori_snapshot_create(self->reader.core, NORI_NO_WAIT, &self->reader.snapshot, &error);
    if (rc == NORI_AGAIN) {
        struct py_call call;
        py_call_begin(&call, state, engine);
        rc = nori_snapshot_create(self->reader.core, 0, &self->reader.snapshot, &call.error);
        if (py_call_end(&call, rc) < 0) goto fail;
    } else if (rc != NORI_OK) {
        py_raise(state, nori_path(self->reader.core), rc, &error);
        goto fail;
    }
    self->sequence = nori_snapshot_sequence(self->reader.snapshot);
    self->reader.users = 1;
    self->is_closed = false;
    return (PyObject *)self;
fail:
    Py_DECREF(self);
    return NULL;
}

/* A call that still reads from it keeps it a little longer. In a forked child it is the parent's. */
static void close_snapshot(struct py_snapshot *self)
{
    if (self->reader.fork_generation != atomic_load(&py_fork_generation)) return;
    if (!atomic_exchange(&self->is_closed, true)) py_reader_leave(&self->reader);
}

static PyObject *snapshot_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    close_snapshot((struct py_snapshot *)self);
    Py_RETURN_NONE;
}

static PyObject *snapshot_enter(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct py_snapshot *self = (struct py_snapshot *)object;
    if (py_check_usable(self->reader.engine) < 0) return NULL;
    if (atomic_load(&self->is_closed)) return py_raise_closed(self->reader.state, "snapshot");
    return Py_NewRef(object);
}

static PyObject *snapshot_exit(PyObject *self, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(nargs))
{
    close_snapshot((struct py_snapshot *)self);
    Py_RETURN_NONE;
}

static PyObject *snapshot_get_sequence(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(((struct py_snapshot *)self)->sequence);
}

static PyObject *snapshot_get_closed(PyObject *object, void *Py_UNUSED(closure))
{
    struct py_snapshot *self = (struct py_snapshot *)object;
    return PyBool_FromLong(atomic_load(&self->is_closed) || nori_is_closed(self->reader.core));
}

static PyObject *snapshot_repr(PyObject *object)
{
    struct py_snapshot *self = (struct py_snapshot *)object;
    PyObject *path = PyUnicode_DecodeFSDefault(nori_path(self->reader.core));
    if (!path) return NULL;
    PyObject *repr =
        PyUnicode_FromFormat("<nori_lsm.Snapshot of %R at sequence %llu%s>", path, (unsigned long long)self->sequence,
                             atomic_load(&self->is_closed) ? ", closed" : "");
    Py_DECREF(path);
    return repr;
}

static PyObject *snapshot_refuse_copy(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(args))
{
    return py_refuse_copy("a Snapshot", "it is a moment of an open database; dict(snapshot) copies what it holds");
}

static int snapshot_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((struct py_snapshot *)object)->reader.engine);
    return 0;
}

static void snapshot_dealloc(PyObject *object)
{
    struct py_snapshot *self = (struct py_snapshot *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->reader.weak_references) PyObject_ClearWeakRefs(object);
    close_snapshot(self);
    Py_XDECREF((PyObject *)self->reader.engine);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef snapshot_methods[] = {
    PY_READER_METHODS,
    PY_METHOD("close", snapshot_close, METH_NOARGS, "($self, /)", "Lets the moment go."),
    PY_METHOD("__enter__", snapshot_enter, METH_NOARGS, "($self, /)", "The snapshot itself."),
    PY_METHOD("__exit__", snapshot_exit, PY_FAST, "($self, /, *exc)", "Closes the snapshot."),
    PY_REFUSE_COPY_METHODS(snapshot_refuse_copy),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef snapshot_properties[] = {
    {"sequence", snapshot_get_sequence, NULL, "The sequence number of the last write it shows.", NULL},
    {"closed", snapshot_get_closed, NULL, "Whether it, or its engine, is closed.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef snapshot_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct py_reader, weak_references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot snapshot_slots[] = {
    {Py_tp_doc, "One moment of an engine, for as long as it is open. A read-only mapping."},
    {Py_tp_dealloc, snapshot_dealloc},
    {Py_tp_traverse, snapshot_traverse},
    {Py_tp_repr, snapshot_repr},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {Py_tp_richcompare, py_reader_compare},
    {Py_tp_iter, py_reader_iter},
    {Py_tp_methods, snapshot_methods},
    {Py_tp_members, snapshot_members},
    {Py_tp_getset, snapshot_properties},
    {Py_mp_length, py_reader_length},
    {Py_mp_subscript, py_reader_subscript},
    {Py_sq_contains, py_reader_contains},
    {Py_nb_bool, py_reader_bool},
    {0, NULL},
};

PyType_Spec py_snapshot_spec = {"nori_lsm.Snapshot", sizeof(struct py_snapshot), 0, PY_TYPE_FLAGS | Py_TPFLAGS_MAPPING,
                                snapshot_slots};

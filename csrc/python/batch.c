/* Batch: writes that happen together. */
#include "python/calls.h"
#include "python/convert.h"

struct py_batch {
    PyObject_HEAD struct py_engine *engine; /* Owned. */
    struct nori_batch *core;
    struct py_guard guard;
    int sync;        /* As in nori_write_options. */
    bool is_entered; /* Between __enter__ and __exit__. */
    PyObject *weak_references;
};

PyObject *py_batch_create(struct py_engine *engine, int sync)
{
    struct py_state *state = engine->reader.state;
    struct nori_error error;
    if (py_check_usable(engine) < 0) return NULL;
    struct py_batch *self = (struct py_batch *)state->batch_type->tp_alloc(state->batch_type, 0);
    if (!self) return NULL;
    self->engine = (struct py_engine *)Py_NewRef((PyObject *)engine);
    self->sync = sync;
    if (py_guard_init(&self->guard) < 0) goto fail;
    nori_status rc = nori_batch_create(&self->core, &error);
    if (rc == NORI_OK) return (PyObject *)self;
    py_raise(state, NULL, rc, &error);
fail:
    Py_DECREF(self);
    return NULL;
}

int py_commit(struct py_engine *engine, struct nori_batch *batch, int sync, uint64_t *sequence_out,
              enum nori_outcome *outcome_out)
{
    struct nori_write_options options = {.sync = sync, .ttl_secs = -1.0, .flags = NORI_NO_WAIT};
    struct py_call call;
    nori_status rc = NORI_AGAIN;
    *outcome_out = NORI_NOT_APPLIED;
    if (sync <= 0 && nori_batch_bytes(batch) <= PY_LARGE_BYTES) {
        call.error.outcome = NORI_NOT_APPLIED;
        rc = nori_write(engine->reader.core, batch, &options, sequence_out, &call.error);
        if (rc == NORI_OK) return 0;
        if (rc != NORI_AGAIN) {
            *outcome_out = call.error.outcome;
            return py_raise_write(engine, rc, &call.error);
        }
    }
    options.flags = 0;
    py_call_begin(&call, engine->reader.state, engine);
    rc = nori_write(engine->reader.core, batch, &options, sequence_out, &call.error);
    int ended = py_call_end_write(&call, rc);
    *outcome_out = call.error.outcome;
    return ended;
}

/* ---------------------------------------------------------------- filling it */

static int enter(struct py_batch *self)
{
    if (py_check_usable(self->engine) < 0) return -1;
    return py_guard_is_free(&self->guard) ? 0 : py_guard_enter(&self->guard, "Batch");
}

/* What is in memory needs no more than the GIL where nobody is inside: 'was_free' from before enter(). */
static void leave(struct py_batch *self, bool was_free)
{
    if (!was_free) py_guard_leave(&self->guard);
}

static int finish(struct py_batch *self, nori_status rc, const struct nori_error *error)
{
    if (rc != NORI_OK) py_raise(self->engine->reader.state, NULL, rc, error);
    return rc == NORI_OK ? 0 : -1;
}

static int put(struct py_batch *self, PyObject *key_object, PyObject *value_object, double ttl_secs)
{
    struct py_bytes key, value;
    struct nori_error error;
    int rc = -1;
    if (py_key_init(&key, key_object) < 0) return -1;
    if (py_value_init(&value, value_object) < 0) goto out;
    bool was_free = py_guard_is_free(&self->guard);
    if (enter(self) == 0) {
        uint64_t expires_at_ms = nori_expiry(self->engine->reader.core, ttl_secs);
        rc = finish(self, nori_batch_put(self->core, key.slice, value.slice, expires_at_ms, &error), &error);
        leave(self, was_free);
    }
    py_bytes_clear(&value);
out:
    py_bytes_clear(&key);
    return rc;
}

static int delete_key(struct py_batch *self, PyObject *key_object)
{
    struct py_bytes key;
    struct nori_error error;
    int rc = -1;
    if (py_key_init(&key, key_object) < 0) return -1;
    bool was_free = py_guard_is_free(&self->guard);
    if (enter(self) == 0) {
        rc = finish(self, nori_batch_delete(self->core, key.slice, &error), &error);
        leave(self, was_free);
    }
    py_bytes_clear(&key);
    return rc;
}

static PyObject *batch_put(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"key", "value", "ttl"};
    static const struct py_signature signature = {"put", names, 3, 2, 2, 2};
    PyObject *values[3];
    double ttl_secs;
    if (py_arguments(&signature, args, nargs, kwnames, values) < 0) return NULL;
    if (py_ttl_from(values[2], &ttl_secs) < 0) return NULL;
    if (put((struct py_batch *)self, values[0], values[1], ttl_secs) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *batch_delete(PyObject *self, PyObject *key)
{
    if (delete_key((struct py_batch *)self, key) < 0) return NULL;
    Py_RETURN_NONE;
}

static int batch_ass_subscript(PyObject *self, PyObject *key, PyObject *value)
{
    return value ? put((struct py_batch *)self, key, value, -1.0) : delete_key((struct py_batch *)self, key);
}

static PyObject *batch_delete_range(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    struct py_batch *self = (struct py_batch *)object;
    struct py_bound start, stop;
    struct nori_error error;
    int rc = -1;
    if (py_check_count("delete_range", nargs, 2, 2) < 0) return NULL;
    if (py_bound_init(&start, args[0]) < 0) return NULL;
    if (py_bound_init(&stop, args[1]) < 0) goto out;
    bool was_free = py_guard_is_free(&self->guard);
    if (enter(self) == 0) {
        rc = finish(self, nori_batch_delete_range(self->core, py_bound(&start), py_bound(&stop), &error), &error);
        leave(self, was_free);
    }
    py_bound_clear(&stop);
out:
    py_bound_clear(&start);
    if (rc < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *batch_clear(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct py_batch *self = (struct py_batch *)object;
    bool was_free = py_guard_is_free(&self->guard);
    if (enter(self) < 0) return NULL;
    nori_batch_clear(self->core);
    leave(self, was_free);
    Py_RETURN_NONE;
}

static Py_ssize_t batch_length(PyObject *object)
{
    return (Py_ssize_t)nori_batch_count(((struct py_batch *)object)->core);
}

/* ---------------------------------------------------------------- ending it */

static PyObject *batch_commit(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct py_batch *self = (struct py_batch *)object;
    enum nori_outcome outcome;
    uint64_t sequence = 0;
    if (py_check_usable(self->engine) < 0) {
        py_set_outcome(NORI_NOT_APPLIED);
        return NULL;
    }
    if (py_guard_enter(&self->guard, "Batch") < 0) return NULL;
    int rc = py_commit(self->engine, self->core, self->sync, &sequence, &outcome);
    /* What may have happened is not to be tried again. */
    if (rc == 0 || outcome == NORI_INDETERMINATE) nori_batch_clear(self->core);
    py_guard_leave(&self->guard);
    return rc < 0 ? NULL : PyLong_FromUnsignedLongLong(sequence);
}

static PyObject *batch_enter(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct py_batch *self = (struct py_batch *)object;
    if (py_check_usable(self->engine) < 0) return NULL;
    if (self->is_entered) {
        PyErr_SetString(PyExc_RuntimeError, "this Batch is in a with statement already");
        return NULL;
    }
    self->is_entered = true;
    return Py_NewRef(object);
}

static PyObject *batch_exit(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    struct py_batch *self = (struct py_batch *)object;
    self->is_entered = false;
    if (self->engine->reader.fork_generation != atomic_load(&py_fork_generation)) Py_RETURN_NONE;
    if (nargs == 0 || args[0] == Py_None) {
        PyObject *sequence = batch_commit(object, NULL);
        if (!sequence) return NULL;
        Py_DECREF(sequence);
    } else {
        if (py_guard_enter(&self->guard, "Batch") < 0) {
            py_chain_exit_error(args, nargs);
            return NULL;
        }
        nori_batch_clear(self->core);
        py_guard_leave(&self->guard);
    }
    Py_RETURN_NONE;
}

static PyObject *batch_repr(PyObject *object)
{
    struct py_batch *self = (struct py_batch *)object;
    unsigned long long count = nori_batch_count(self->core);
    return PyUnicode_FromFormat("<nori_lsm.Batch of %llu operation%s>", count, count == 1 ? "" : "s");
}

static PyObject *batch_refuse_copy(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(args))
{
    return py_refuse_copy("a Batch", "it belongs to an open database");
}

static int batch_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((struct py_batch *)object)->engine);
    return 0;
}

static void batch_dealloc(PyObject *object)
{
    struct py_batch *self = (struct py_batch *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weak_references) PyObject_ClearWeakRefs(object);
    nori_batch_destroy(self->core);
    py_guard_clear(&self->guard);
    Py_XDECREF((PyObject *)self->engine);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef batch_methods[] = {
    PY_METHOD("put", batch_put, PY_FAST_KEYWORDS, "($self, key, value, /, *, ttl=None)", "Adds a put."),
    PY_METHOD("delete", batch_delete, METH_O, "($self, key, /)", "Adds a blind delete."),
    PY_METHOD("delete_range", batch_delete_range, PY_FAST, "($self, start, stop, /)",
              "Adds the deletion of all keys from start up to, not including, stop. None: without bound."),
    PY_METHOD("clear", batch_clear, METH_NOARGS, "($self, /)", "Drops the operations."),
    PY_METHOD("commit", batch_commit, METH_NOARGS, "($self, /)",
              "Writes all of it, empties the batch, and returns the sequence number of the last write."),
    PY_METHOD("__enter__", batch_enter, METH_NOARGS, "($self, /)", "The batch itself."),
    PY_METHOD("__exit__", batch_exit, PY_FAST, "($self, /, *exc)", "Commits; discards where there is an exception."),
    PY_REFUSE_COPY_METHODS(batch_refuse_copy),
    {NULL, NULL, 0, NULL},
};

static PyMemberDef batch_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct py_batch, weak_references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot batch_slots[] = {
    {Py_tp_doc, "Writes that become visible and durable together, or not at all."},
    {Py_tp_dealloc, batch_dealloc},
    {Py_tp_traverse, batch_traverse},
    {Py_tp_repr, batch_repr},
    {Py_tp_methods, batch_methods},
    {Py_tp_members, batch_members},
    {Py_mp_length, batch_length},
    {Py_mp_ass_subscript, batch_ass_subscript},
    {0, NULL},
};

PyType_Spec py_batch_spec = {"nori_lsm.Batch", sizeof(struct py_batch), 0, PY_TYPE_FLAGS, batch_slots};

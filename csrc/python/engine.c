/* Engine: the type. Its methods are in the files named engine_*. */
#include "python/calls.h"
#include "python/convert.h"

static bool is_forked(const struct py_engine *self)
{
    return self->reader.fork_generation != atomic_load(&py_fork_generation);
}

/* ---------------------------------------------------------------- methods */

static PyObject *engine_batch(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"sync"};
    static const struct py_signature signature = {"batch", names, 1, 0, 0, 0};
    PyObject *value;
    int sync;
    if (py_arguments(&signature, args, nargs, kwnames, &value) < 0 || py_sync_from(value, &sync) < 0) return NULL;
    return py_batch_create((struct py_engine *)self, sync);
}

static PyObject *engine_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (py_engine_close((struct py_engine *)self, true) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *engine_enter(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return py_check_usable((struct py_engine *)self) < 0 ? NULL : Py_NewRef(self);
}

static PyObject *engine_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (py_engine_close((struct py_engine *)self, true) < 0) {
        py_chain_exit_error(args, nargs);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *engine_html(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct py_engine *self = (struct py_engine *)object;
    if (self->reader.state->makers[PY_MAKE_ENGINE_HTML])
        return py_make_from_one(self->reader.state, PY_MAKE_ENGINE_HTML, object);
    PyObject *html = PyImport_ImportModule("html"), *repr = html ? PyObject_Repr(object) : NULL;
    PyObject *escaped = repr ? PyObject_CallMethod(html, "escape", "O", repr) : NULL;
    PyObject *result = escaped ? PyUnicode_FromFormat("<code>%U</code>", escaped) : NULL;
    Py_XDECREF(escaped);
    Py_XDECREF(repr);
    Py_XDECREF(html);
    return result;
}

static PyObject *engine_refuse_copy(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(args))
{
    return py_refuse_copy("an Engine", "it is an open database, of this process; pass its path instead");
}

/* ---------------------------------------------------------------- properties */

static PyObject *engine_get_path(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_DecodeFSDefault(nori_path(((struct py_reader *)self)->core));
}

static PyObject *engine_get_config(PyObject *object, void *Py_UNUSED(closure))
{
    struct py_engine *self = (struct py_engine *)object;
    if (!self->config) {
        PyObject *pairs = py_options_list(nori_options_of(self->reader.core));
        PyObject *config = pairs ? py_make_from_one(self->reader.state, PY_MAKE_CONFIG, pairs) : NULL;
        Py_XDECREF(pairs);
        if (!config) return NULL;
        if (self->config)
            Py_DECREF(config); /* Another thread was faster. */
        else
            self->config = config;
    }
    return Py_NewRef(self->config);
}

static PyObject *engine_get_closed(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(nori_is_closed(((struct py_engine *)self)->reader.core));
}

static PyObject *engine_get_read_only(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(nori_is_read_only(((struct py_reader *)self)->core));
}

static PyObject *engine_repr(PyObject *object)
{
    struct py_engine *self = (struct py_engine *)object;
    PyObject *path = engine_get_path(object, NULL);
    if (!path) return NULL;
    PyObject *repr = PyUnicode_FromFormat("<nori_lsm.Engine %R%s%s>", path,
                                          nori_is_read_only(self->reader.core) ? ", read-only" : "",
                                          nori_is_closed(self->reader.core) ? ", closed" : "");
    Py_DECREF(path);
    return repr;
}

/* ---------------------------------------------------------------- life */

static int engine_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct py_engine *self = (struct py_engine *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->config);
    Py_VISIT(self->env);
    Py_VISIT(self->watcher);
    return 0;
}

static int engine_clear(PyObject *object)
{
    Py_CLEAR(((struct py_engine *)object)->config);
    Py_CLEAR(((struct py_engine *)object)->watcher);
    return 0;
}

static void engine_finalize(PyObject *object)
{
    struct py_engine *self = (struct py_engine *)object;
    PyObject *kind, *value, *traceback;
    if (!self->reader.core || is_forked(self) || nori_is_closed(self->reader.core)) return;
    PyErr_Fetch(&kind, &value, &traceback);
    py_engine_close_forgotten(self);
    PyErr_Restore(kind, value, traceback);
}

static void engine_dealloc(PyObject *object)
{
    struct py_engine *self = (struct py_engine *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (PyObject_CallFinalizerFromDealloc(object) < 0) return;
    PyObject_GC_UnTrack(object);
    if (self->reader.weak_references) PyObject_ClearWeakRefs(object);
    py_engine_unlist(self);
    /* In a forked child the parent's memory stays as it is: its locks may be taken, its threads are not here. So does
     * the disk it may lie on. */
    if (!is_forked(self)) {
        struct nori_engine *core = self->reader.core;
        Py_BEGIN_ALLOW_THREADS nori_destroy(core);
        Py_END_ALLOW_THREADS Py_XDECREF(self->env);
    }
    Py_XDECREF(self->config);
    Py_XDECREF(self->watcher);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---------------------------------------------------------------- the type */

static PyMethodDef engine_methods[] = {
    PY_READER_METHODS,
    PY_METHOD("put", py_engine_put, PY_FAST_KEYWORDS, "($self, key, value, /, *, sync=None, ttl=None)",
              "Stores the value. sync: on disk before it returns. ttl: seconds until it expires."),
    PY_METHOD("delete", py_engine_delete, PY_FAST_KEYWORDS, "($self, key, /, *, sync=None)",
              "Deletes the key; no error where it is absent."),
    PY_METHOD("delete_range", py_engine_delete_range, PY_FAST_KEYWORDS, "($self, start, stop, /, *, sync=None)",
              "Deletes all keys from start up to, not including, stop. None: without bound."),
    PY_METHOD("clear", py_engine_clear, METH_NOARGS, "($self, /)", "Deletes all keys."),
    PY_METHOD("pop", py_engine_pop, PY_FAST, "($self, key, default=..., /)",
              "Removes the key and returns its value; where it is absent default, or KeyError."),
    PY_METHOD("popitem", py_engine_popitem, METH_NOARGS, "($self, /)", "Removes and returns the last entry."),
    PY_METHOD("setdefault", py_engine_setdefault, PY_FAST, "($self, key, default, /)",
              "The value of the key, which is default from now on where it was absent."),
    PY_METHOD("update", py_engine_update, PY_FAST, "($self, other=(), /)",
              "Stores all of a mapping, a table or an iterable of pairs, in atomic batches of about 1 MiB."),
    PY_METHOD("ingest", py_engine_ingest, PY_FAST_KEYWORDS, "($self, items, /, *, sorted=False, progress=None)",
              "Stores all of a mapping, a table or an iterable of pairs at once, past the log: quick for much."),
    PY_METHOD("batch", engine_batch, PY_FAST_KEYWORDS, "($self, *, sync=None)",
              "A batch to fill: writes that happen together, or not at all."),
    PY_METHOD("snapshot", py_snapshot_create, METH_NOARGS, "($self, /)",
              "This moment, to read from as long as it is open."),
    PY_METHOD("sync", py_engine_sync, METH_NOARGS, "($self, /)", "All that was written is on disk when it returns."),
    PY_METHOD("flush", py_engine_flush, METH_NOARGS, "($self, /)", "The memtable becomes level 0 files."),
    PY_METHOD("compact", py_engine_compact, PY_FAST_KEYWORDS, "($self, start=None, stop=None, *, progress=None)",
              "Returns when all of the range lies in slots."),
    PY_METHOD("checkpoint", py_engine_checkpoint, PY_FAST_KEYWORDS, "($self, path, /, *, progress=None)",
              "A complete database of this moment at path, or none."),
    PY_METHOD("verify", py_engine_verify, PY_FAST_KEYWORDS, "($self, *, progress=None)",
              "Checks every checksum of every file, and every invariant."),
    PY_METHOD("stats", py_engine_stats, METH_NOARGS, "($self, /)", "Counters since open, and gauges now."),
    PY_METHOD("slots", py_engine_slots, METH_NOARGS, "($self, /)", "The slots of levels 1 and deeper."),
    PY_METHOD("decisions", py_engine_decisions, METH_NOARGS, "($self, /)",
              "The last choices of what to compact, and what came of them."),
    PY_METHOD("events", py_engine_events, PY_FAST_KEYWORDS, "($self, *, follow=True)",
              "What the engine does, from the oldest event kept on; follow: until it closes."),
    PY_METHOD("subscribe", py_engine_subscribe, PY_FAST_KEYWORDS, "($self, callback, /)",
              "Calls back with each event from now on, in order. Returns what ends it."),
    PY_METHOD("record", py_engine_record, PY_FAST_KEYWORDS, "($self, interval=1.0, *, keep=3600)",
              "A recorder: stats and slots over time, every interval seconds while its with block runs."),
    PY_METHOD("_read_events", py_engine_read_events, METH_O, "($self, cursor, /)",
              "Events behind the cursor (None: from now on), the next cursor, and how many were dropped."),
    PY_METHOD("_latency_counts", py_engine_latency_counts, METH_NOARGS, "($self, /)",
              "Times of each operation, counted by latency_bounds(), the rest last."),
    PY_METHOD("close", engine_close, METH_NOARGS, "($self, /)",
              "Stops the workers, flushes, syncs, and gives everything back. Idempotent."),
    PY_METHOD("shutdown", engine_close, METH_NOARGS, "($self, /)", "The same as close()."),
    PY_METHOD("__enter__", engine_enter, METH_NOARGS, "($self, /)", "The engine itself."),
    PY_METHOD("__exit__", engine_exit, PY_FAST, "($self, /, *exc)", "Closes the engine."),
    PY_METHOD("_repr_html_", engine_html, METH_NOARGS, "($self, /)", "For notebooks."),
    PY_REFUSE_COPY_METHODS(engine_refuse_copy),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef engine_properties[] = {
    {"path", engine_get_path, NULL, "Its directory: absolute, as of open.", NULL},
    {"config", engine_get_config, NULL, "All options, as of open.", NULL},
    {"closed", engine_get_closed, NULL, "Whether close() was called.", NULL},
    {"read_only", engine_get_read_only, NULL, "Whether it was opened for reading only.", NULL},
    {"_watcher", py_engine_get_watcher, py_engine_set_watcher, "What delivers events; the package's.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef engine_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct py_reader, weak_references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot engine_slots[] = {
    {Py_tp_doc, "An open database: a mutable mapping of bytes to bytes, in key order. Made by nori_lsm.open()."},
    {Py_tp_dealloc, engine_dealloc},
    {Py_tp_finalize, engine_finalize},
    {Py_tp_traverse, engine_traverse},
    {Py_tp_clear, engine_clear},
    {Py_tp_repr, engine_repr},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {Py_tp_richcompare, py_reader_compare},
    {Py_tp_iter, py_reader_iter},
    {Py_tp_methods, engine_methods},
    {Py_tp_members, engine_members},
    {Py_tp_getset, engine_properties},
    {Py_mp_length, py_reader_length},
    {Py_mp_subscript, py_reader_subscript},
    {Py_mp_ass_subscript, py_engine_ass_subscript},
    {Py_sq_contains, py_reader_contains},
    {Py_nb_bool, py_reader_bool},
    {Py_nb_inplace_or, py_engine_inplace_or},
    {0, NULL},
};

PyType_Spec py_engine_spec = {"nori_lsm.Engine", sizeof(struct py_engine), 0, PY_TYPE_FLAGS | Py_TPFLAGS_MAPPING,
                              engine_slots};

/* The exception classes, and what each status of the core raises. */
#include "python/calls.h"

#include <errno.h>
#include <string.h>

static const struct {
    const char *name, *doc;
} classes[PY_ERROR_COUNT] = {
    [PY_ERROR] = {"nori_lsm.Error", "What nori_lsm raises of its own."},
    [PY_CLOSED_ERROR] = {"nori_lsm.ClosedError", "Used after close."},
    [PY_LOCKED_ERROR] = {"nori_lsm.LockedError", "Another handle, here or in another process, has the database open."},
    [PY_READ_ONLY_ERROR] = {"nori_lsm.ReadOnlyError", "A write to a read-only engine."},
    [PY_CORRUPTION_ERROR] = {"nori_lsm.CorruptionError", "A file is damaged: path, offset, kind."},
    [PY_FORMAT_ERROR] = {"nori_lsm.FormatError", "Made by a newer version, or not ours."},
    [PY_STALE_ERROR] = {"nori_lsm.StaleError", "Open for reading only, and the writer has removed a table."},
    [PY_POISONED_ERROR] = {"nori_lsm.PoisonedError",
                           "An earlier write or sync of the log or manifest failed; reads go on."},
    [PY_BACKPRESSURE_ERROR] = {"nori_lsm.BackpressureError",
                               "Stalled longer than stall_timeout_secs; nothing was written."},
    [PY_FORKED_ERROR] = {"nori_lsm.ForkedError", "A handle opened before fork(), used in the child."},
};

/* The class besides Error that each derives from. */
static PyObject *second_base(enum py_error_kind kind)
{
    switch (kind) {
    case PY_ERROR:
    case PY_FORKED_ERROR:
        return NULL;
    case PY_CLOSED_ERROR:
        return PyExc_ValueError;
    case PY_BACKPRESSURE_ERROR:
        return PyExc_TimeoutError;
    default:
        return PyExc_OSError;
    }
}

static PyObject *make_class(struct py_state *state, enum py_error_kind kind)
{
    PyObject *attributes = NULL, *bases = NULL, *class = NULL;
    PyObject *second = second_base(kind);
    if (kind == PY_ERROR)
        attributes = Py_BuildValue("{s:O}", "outcome", Py_None);
    else if (kind == PY_CORRUPTION_ERROR)
        attributes = Py_BuildValue("{s:O,s:O,s:O}", "path", Py_None, "offset", Py_None, "kind", Py_None);
    else
        attributes = PyDict_New();
    if (kind == PY_ERROR)
        bases = Py_NewRef(PyExc_Exception);
    else
        bases = second ? PyTuple_Pack(2, state->errors[PY_ERROR], second) : Py_NewRef(state->errors[PY_ERROR]);
    if (attributes && bases)
        class = PyErr_NewExceptionWithDoc(classes[kind].name, classes[kind].doc, bases, attributes);
    Py_XDECREF(attributes);
    Py_XDECREF(bases);
    return class;
}

int py_errors_add(PyObject *module, struct py_state *state)
{
    for (int kind = 0; kind < PY_ERROR_COUNT; kind++) {
        state->errors[kind] = make_class(state, (enum py_error_kind)kind);
        if (!state->errors[kind]) return -1;
        if (PyModule_AddObjectRef(module, strrchr(classes[kind].name, '.') + 1, state->errors[kind]) < 0) return -1;
    }
    return 0;
}

/* The class for a status, and the errno it has where the system gave none. */
static PyObject *class_of(struct py_state *state, nori_status rc, int *default_errno_out)
{
    static const struct {
        int kind; /* -1: a class of Python's. */
        int default_errno;
    } table[] = {
        [NORI_CORRUPTION] = {PY_CORRUPTION_ERROR, EBADMSG},
        [NORI_FORMAT] = {PY_FORMAT_ERROR, EINVAL},
        [NORI_LOCKED] = {PY_LOCKED_ERROR, EAGAIN},
        [NORI_READ_ONLY] = {PY_READ_ONLY_ERROR, EROFS},
        [NORI_POISONED] = {PY_POISONED_ERROR, EIO},
        [NORI_STALE] = {PY_STALE_ERROR, ESTALE},
        [NORI_BACKPRESSURE] = {PY_BACKPRESSURE_ERROR, ETIMEDOUT},
        [NORI_IO] = {-1, EIO},
    };
    *default_errno_out = 0;
    switch (rc) {
    case NORI_INVALID:
        return PyExc_ValueError;
    case NORI_NO_MEMORY:
        return PyExc_MemoryError;
    case NORI_CLOSED:
        return state->errors[PY_CLOSED_ERROR];
    case NORI_FORKED:
        return state->errors[PY_FORKED_ERROR];
    case NORI_OK:
    case NORI_INTERRUPTED:
    case NORI_AGAIN:
        return PyExc_SystemError;
    default:
        *default_errno_out = table[rc].default_errno;
        return table[rc].kind < 0 ? PyExc_OSError : state->errors[table[rc].kind];
    }
}

static PyObject *decode_text(const char *text)
{
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "surrogateescape");
}

static int set_corruption_attributes(PyObject *exception, const struct nori_error *error)
{
    int rc = 0;
    PyObject *path = error->path[0] ? PyUnicode_DecodeFSDefault(error->path) : Py_NewRef(Py_None);
    PyObject *offset = error->offset >= 0 ? PyLong_FromLongLong(error->offset) : Py_NewRef(Py_None);
    PyObject *kind = error->kind[0] ? decode_text(error->kind) : Py_NewRef(Py_None);
    if (!path || PyObject_SetAttrString(exception, "path", path) < 0) rc = -1;
    if (rc < 0 || !offset || PyObject_SetAttrString(exception, "offset", offset) < 0) rc = -1;
    if (rc < 0 || !kind || PyObject_SetAttrString(exception, "kind", kind) < 0) rc = -1;
    Py_XDECREF(path);
    Py_XDECREF(offset);
    Py_XDECREF(kind);
    return rc;
}

static PyObject *make_os_error(PyObject *class, int sys_errno, const char *path, const struct nori_error *error)
{
    /* OSError's own habit for its own class: the system's words. Ours say more. */
    const char *words = class == PyExc_OSError || !error->text[0] ? strerror(sys_errno) : error->text;
    if (error->path[0]) path = error->path;
    PyObject *text = decode_text(words), *exception = NULL;
    PyObject *filename = path ? PyUnicode_DecodeFSDefault(path) : Py_NewRef(Py_None);
    if (text && filename) exception = PyObject_CallFunction(class, "iOO", sys_errno, text, filename);
    Py_XDECREF(text);
    Py_XDECREF(filename);
    return exception;
}

PyObject *py_raise(struct py_state *state, const char *path, nori_status rc, const struct nori_error *error)
{
    int default_errno;
    PyObject *class = class_of(state, rc, &default_errno), *exception;
    if (rc == NORI_NO_MEMORY) {
        if (!PyErr_Occurred()) PyErr_NoMemory(); /* A callback of ours has said so. */
        return NULL;
    }
    if (default_errno) {
        /* What a damaged database makes of a missing file is not "no such file". */
        bool is_cause = error->sys_errno && rc != NORI_CORRUPTION && rc != NORI_FORMAT;
        exception = make_os_error(class, is_cause ? error->sys_errno : default_errno, path, error);
    } else {
        PyObject *text = decode_text(error->text[0] ? error->text : nori_status_name(rc));
        exception = text ? PyObject_CallOneArg(class, text) : NULL;
        Py_XDECREF(text);
    }
    if (exception && rc == NORI_CORRUPTION && set_corruption_attributes(exception, error) < 0) Py_CLEAR(exception);
    if (exception) PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_XDECREF(exception);
    return NULL;
}

/* Does what PyErr_Fetch and PyErr_Restore around it would, without losing the traceback. */
void py_set_outcome(enum nori_outcome outcome)
{
    PyObject *kind, *value, *traceback;
    PyErr_Fetch(&kind, &value, &traceback);
    PyErr_NormalizeException(&kind, &value, &traceback);
    PyObject *text = PyUnicode_FromString(outcome == NORI_INDETERMINATE ? "indeterminate" : "not_applied");
    /* An exception of a signal handler may have no room for it. */
    if (!text || PyObject_SetAttrString(value, "outcome", text) < 0) PyErr_Clear();
    Py_XDECREF(text);
    PyErr_Restore(kind, value, traceback);
}

int py_raise_write(struct py_engine *engine, nori_status rc, const struct nori_error *error)
{
    py_raise(engine->reader.state, nori_path(engine->reader.core), rc, error);
    py_set_outcome(error->outcome);
    return -1;
}

PyObject *py_raise_closed(struct py_state *state, const char *what)
{
    return PyErr_Format(state->errors[PY_CLOSED_ERROR], "the %s is closed", what);
}

int py_check_usable(struct py_engine *engine)
{
    struct py_reader *reader = &engine->reader;
    if (reader->fork_generation != atomic_load_explicit(&py_fork_generation, memory_order_relaxed)) {
        PyErr_Format(reader->state->errors[PY_FORKED_ERROR], "%s was opened before fork(); open it anew in the child",
                     nori_path(reader->core));
        return -1;
    }
    if (nori_is_closed(reader->core)) {
        PyErr_Format(reader->state->errors[PY_CLOSED_ERROR], "%s is closed", nori_path(reader->core));
        return -1;
    }
    return 0;
}

PyObject *py_refuse_copy(const char *name, const char *reason)
{
    return PyErr_Format(PyExc_TypeError, "cannot pickle or copy %s: %s", name, reason);
}

void py_chain_exit_error(PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *under_way = nargs > 1 ? args[1] : Py_None;
    PyObject *kind, *value, *traceback;
    if (!PyExceptionInstance_Check(under_way)) return;
    PyErr_Fetch(&kind, &value, &traceback);
    PyErr_NormalizeException(&kind, &value, &traceback);
    if (value && value != under_way) {
        PyObject *context = PyException_GetContext(value);
        if (!context) PyException_SetContext(value, Py_NewRef(under_way));
        Py_XDECREF(context);
    }
    PyErr_Restore(kind, value, traceback);
}

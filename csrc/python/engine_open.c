/* open(), and the ways an engine ends: close(), being forgotten, the interpreter's exit. */
#include <math.h>
#include <string.h>

#include "python/calls.h"
#include "python/convert.h"

/* ---------------------------------------------------------------- the list of open engines */

static void enlist(struct py_engine *self)
{
    struct py_state *state = self->reader.state;
    self->next = state->open_engines;
    if (self->next) self->next->previous = self;
    state->open_engines = self;
    self->is_listed = true;
}

void py_engine_unlist(struct py_engine *self)
{
    if (!self->is_listed) return;
    if (self->previous)
        self->previous->next = self->next;
    else
        self->reader.state->open_engines = self->next;
    if (self->next) self->next->previous = self->previous;
    self->previous = self->next = NULL;
    self->is_listed = false;
}

/* ---------------------------------------------------------------- open */

struct open_arguments {
    struct nori_open_params params;
    struct nori_options options;
    struct nori_override *overrides;
    PyObject *overrides_owner;
    PyObject *path; /* bytes */
};

enum { PATH, OPTIONS, OVERRIDES, CREATE, EXIST_OK, READ_ONLY, WAIT, ENV, ARGUMENT_COUNT };

static int convert_flags(struct nori_open_params *params, PyObject *const *values)
{
    bool create = true, exist_ok = true;
    if (py_flag_from(values[CREATE], &create) < 0 || py_flag_from(values[EXIST_OK], &exist_ok) < 0) return -1;
    if (py_flag_from(values[READ_ONLY], &params->read_only) < 0) return -1;
    params->must_exist = !create;
    params->must_not_exist = !exist_ok;
    if (!values[WAIT]) return 0;
    params->wait_secs = PyFloat_AsDouble(values[WAIT]);
    if (params->wait_secs == -1.0 && PyErr_Occurred()) return -1;
    if (params->wait_secs >= 0) return 0;
    PyErr_Format(PyExc_ValueError, "wait must be at least 0 seconds, not %R", values[WAIT]);
    return -1;
}

static int convert(PyObject *module, struct open_arguments *arguments, PyObject *const *values)
{
    struct py_state *state = PyModule_GetState(module);
    struct nori_open_params *params = &arguments->params;
    memset(arguments, 0, sizeof *arguments);
    if (convert_flags(params, values) < 0) return -1;
    if (py_env_from(state, values[ENV], &params->env) < 0) return -1;
    if (values[OPTIONS] && values[OPTIONS] != Py_None) {
        if (py_options_from(module, values[OPTIONS], &arguments->options) < 0) return -1;
        params->options = &arguments->options;
    }
    if (values[OVERRIDES] && py_overrides_from(values[OVERRIDES], &arguments->overrides, &params->override_count,
                                               &arguments->overrides_owner) < 0)
        return -1;
    params->overrides = arguments->overrides;
    return PyUnicode_FSConverter(values[PATH], &arguments->path) ? 0 : -1;
}

/* A signal handler raised after the engine was open, so nobody gets it. */
static void drop_opened(struct py_engine *self)
{
    struct py_call call;
    PyObject *kind, *value, *traceback;
    PyErr_Fetch(&kind, &value, &traceback);
    py_call_begin_uninterruptible(&call, self->reader.state, NULL);
    (void)!nori_close(self->reader.core, &call.error);
    (void)py_call_end(&call, NORI_OK);
    PyErr_Restore(kind, value, traceback);
}

static int open_core(struct py_engine *self, const struct open_arguments *arguments)
{
    struct py_call call;
    const char *path = PyBytes_AS_STRING(arguments->path);
    py_call_begin(&call, self->reader.state, NULL);
    nori_status rc = nori_open(path, &arguments->params, &self->reader.core, &call.error);
    if (rc != NORI_OK && !call.error.path[0] && strlen(path) < sizeof call.error.path) strcpy(call.error.path, path);
    if (py_call_end(&call, rc) == 0) return 0;
    if (self->reader.core) drop_opened(self);
    return -1;
}

PyObject *py_engine_open(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"path",     "options",   "overrides", "create",
                                        "exist_ok", "read_only", "wait",      "env"};
    static const struct py_signature signature = {"open", names, ARGUMENT_COUNT, 0, ARGUMENT_COUNT, 1};
    struct py_state *state = PyModule_GetState(module);
    struct open_arguments arguments;
    struct py_engine *self = NULL;
    PyObject *values[ARGUMENT_COUNT];
    if (py_arguments(&signature, args, nargs, kwnames, values) < 0) return NULL;
    if (convert(module, &arguments, values) < 0) goto out;
    self = (struct py_engine *)state->engine_type->tp_alloc(state->engine_type, 0);
    if (!self) goto out;
    self->reader.state = state;
    self->reader.engine = self;
    self->reader.fork_generation = atomic_load(&py_fork_generation);
    if (arguments.params.env) self->env = Py_NewRef(values[ENV]);
    if (open_core(self, &arguments) < 0)
        Py_CLEAR(self);
    else
        enlist(self);
out:
    Py_XDECREF(arguments.path);
    Py_XDECREF(arguments.overrides_owner);
    PyMem_Free(arguments.overrides);
    return (PyObject *)self;
}

/* ---------------------------------------------------------------- close */

int py_engine_close(struct py_engine *self, bool is_interruptible)
{
    struct py_call call;
    if (self->reader.fork_generation != atomic_load(&py_fork_generation)) return 0;
    PyObject *watcher = Py_XNewRef(self->watcher);
    if (watcher && !nori_is_closed(self->reader.core) &&
        py_watcher_tell(watcher, self, "closing", is_interruptible) < 0)
        PyErr_WriteUnraisable(watcher);
    if (is_interruptible)
        py_call_begin(&call, self->reader.state, self);
    else
        py_call_begin_uninterruptible(&call, self->reader.state, self);
    nori_status rc = nori_close(self->reader.core, &call.error);
    int ended = py_call_end(&call, rc);
    if (nori_is_closed(self->reader.core)) {
        py_engine_unlist(self);
        /* What happened to the last is delivered; callbacks run with nothing of the core held. */
        if (watcher && py_watcher_tell(watcher, self, "finish", is_interruptible) < 0) ended = -1;
    }
    Py_XDECREF(watcher);
    return ended;
}

void py_engine_close_forgotten(struct py_engine *self)
{
    PyObject *object = (PyObject *)self;
    if (PyErr_ResourceWarning(object, 1, "unclosed %R", object) < 0) PyErr_WriteUnraisable(object);
    if (py_engine_close(self, false) < 0) PyErr_WriteUnraisable(object);
}

/* events, decisions, subscriptions: copies out of the core's rings. Threads and iterators are the package's. */
#include <string.h>

#include "python/calls.h"
#include "python/convert.h"

#define MAX_EVENTS_AT_ONCE 256

/* ---------------------------------------------------------------- events */

static int set_new(PyObject *dict, const char *name, PyObject *value)
{
    int rc = value ? PyDict_SetItemString(dict, name, value) : -1;
    Py_XDECREF(value);
    return rc;
}

static PyObject *make_value(double value, int type)
{
    if (type == NORI_VALUE_REAL) return PyFloat_FromDouble(value);
    return type == NORI_VALUE_FLAG ? PyBool_FromLong(value != 0) : PyLong_FromDouble(value);
}

static int fill_fields(PyObject *fields, const struct nori_event *event, const struct nori_event_shape *shape)
{
    for (int i = 0; i < NORI_EVENT_VALUES && shape->values[i].name; i++)
        if (set_new(fields, shape->values[i].name, make_value(event->values[i], shape->values[i].type)) < 0) return -1;
    if (shape->has_key &&
        set_new(fields, "key", PyBytes_FromStringAndSize((const char *)event->key, (Py_ssize_t)event->key_bytes)) < 0)
        return -1;
    if (!shape->text_name) return 0;
    return set_new(fields, shape->text_name,
                   PyUnicode_DecodeUTF8(event->text, (Py_ssize_t)strlen(event->text), "surrogateescape"));
}

static PyObject *make_event(struct py_state *state, const struct nori_event *event)
{
    const struct nori_event_shape *shape = nori_event_shape(event->kind);
    PyObject *fields = PyDict_New(), *all = NULL;
    if (fields && fill_fields(fields, event, shape) == 0)
        all = Py_BuildValue("{s:s,s:d,s:O,s:K}", "name", shape->name, "seconds", (double)event->monotonic_us / 1e6,
                            "fields", fields, "number", (unsigned long long)event->number);
    Py_XDECREF(fields);
    return py_make_from_fields(state, PY_MAKE_EVENT, all);
}

PyObject *py_engine_read_events(PyObject *object, PyObject *cursor_object)
{
    struct py_engine *self = (struct py_engine *)object;
    struct nori_error error;
    uint64_t cursor = UINT64_MAX, dropped = 0;
    size_t count = 0;
    nori_status rc;
    if (cursor_object != Py_None && py_u64_from(cursor_object, "cursor", 0, &cursor) < 0) return NULL;
    struct nori_event *events = PyMem_Malloc(MAX_EVENTS_AT_ONCE * sizeof *events);
    if (!events) return PyErr_NoMemory();
    /* Not a call of the engine: it works after close, too. */
    Py_BEGIN_ALLOW_THREADS rc =
        nori_events_read(self->reader.core, &cursor, events, MAX_EVENTS_AT_ONCE, &count, &dropped, &error);
    Py_END_ALLOW_THREADS PyObject *list = rc == NORI_OK ? PyList_New((Py_ssize_t)count) : NULL;
    if (rc != NORI_OK) py_raise(self->reader.state, nori_path(self->reader.core), rc, &error);
    for (size_t i = 0; list && i < count; i++) {
        PyObject *event = make_event(self->reader.state, &events[i]);
        if (event)
            PyList_SET_ITEM(list, (Py_ssize_t)i, event);
        else
            Py_CLEAR(list);
    }
    PyMem_Free(events);
    return list ? Py_BuildValue("NKK", list, (unsigned long long)cursor, (unsigned long long)dropped) : NULL;
}

/* ---------------------------------------------------------------- decisions */

static PyObject *make_decision(struct py_state *state, const struct nori_decision *decision)
{
    PyObject *fields = NULL, *context = PyDict_New();
    for (unsigned i = 0; context && i < NORI_DECISION_FEATURES; i++)
        if (set_new(context, nori_decision_feature(i), PyFloat_FromDouble(decision->context[i])) < 0) Py_CLEAR(context);
    if (context) {
        fields = Py_BuildValue(
            "{s:K,s:d,s:K,s:I,s:y#,s:s,s:O,s:d,s:d,s:O,s:K,s:K,s:O}", "sequence", (unsigned long long)decision->id,
            "seconds", (double)decision->monotonic_us / 1e6, "slot_id", (unsigned long long)decision->slot_id, "level",
            (unsigned)decision->level, "start", (const char *)decision->start, (Py_ssize_t)decision->start_bytes,
            "action", decision->action, "explored", decision->is_explored ? Py_True : Py_False, "predicted_reward",
            decision->predicted_reward, "realised_reward", decision->realised_reward, "done",
            decision->is_done ? Py_True : Py_False, "bytes", (unsigned long long)decision->bytes, "micros",
            (unsigned long long)decision->micros, "context", context);
    }
    Py_XDECREF(context);
    return py_make_from_fields(state, PY_MAKE_DECISION, fields);
}

PyObject *py_engine_decisions(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct py_engine *self = (struct py_engine *)object;
    struct nori_decision *decisions = NULL;
    struct py_call call;
    size_t count = 0;
    py_call_begin(&call, self->reader.state, self);
    nori_status rc = nori_decisions(self->reader.core, &decisions, &count, &call.error);
    if (py_call_end(&call, rc) < 0) {
        nori_free(decisions);
        return NULL;
    }
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list && i < count; i++) {
        PyObject *decision = make_decision(self->reader.state, &decisions[i]);
        if (decision)
            PyList_SET_ITEM(list, (Py_ssize_t)i, decision);
        else
            Py_CLEAR(list);
    }
    nori_free(decisions);
    return list;
}

/* ---------------------------------------------------------------- latencies */

PyObject *py_latency_bounds(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyObject *bounds = PyTuple_New(NORI_LATENCY_BUCKETS);
    for (Py_ssize_t i = 0; bounds && i < NORI_LATENCY_BUCKETS; i++) {
        PyObject *bound = PyFloat_FromDouble(nori_latency_bounds()[i]);
        if (bound)
            PyTuple_SET_ITEM(bounds, i, bound);
        else
            Py_CLEAR(bounds);
    }
    return bounds;
}

static PyObject *make_counts(const uint64_t *counts)
{
    PyObject *list = PyList_New(NORI_LATENCY_BUCKETS + 1);
    for (Py_ssize_t i = 0; list && i <= NORI_LATENCY_BUCKETS; i++) {
        PyObject *count = PyLong_FromUnsignedLongLong(counts[i]);
        if (count)
            PyList_SET_ITEM(list, i, count);
        else
            Py_CLEAR(list);
    }
    return list;
}

PyObject *py_engine_latency_counts(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    static const char *const names[NORI_LATENCY_COUNT] = {
        [NORI_LATENCY_GET] = "get",   [NORI_LATENCY_PUT] = "put",   [NORI_LATENCY_DELETE] = "delete",
        [NORI_LATENCY_SCAN] = "scan", [NORI_LATENCY_SYNC] = "sync",
    };
    struct py_engine *self = (struct py_engine *)object;
    uint64_t counts[NORI_LATENCY_COUNT][NORI_LATENCY_BUCKETS + 1];
    struct py_call call;
    nori_status rc = NORI_OK;
    py_call_begin(&call, self->reader.state, self);
    for (int op = 0; op < NORI_LATENCY_COUNT && rc == NORI_OK; op++)
        rc = nori_latency_counts(self->reader.core, op, counts[op], &call.error);
    if (py_call_end(&call, rc) < 0) return NULL;
    PyObject *result = PyDict_New();
    for (int op = 0; result && op < NORI_LATENCY_COUNT; op++)
        if (set_new(result, names[op], make_counts(counts[op])) < 0) Py_CLEAR(result);
    return result;
}

/* ---------------------------------------------------------------- what the package does */

/* The package's function with the engine put before the arguments. */
static PyObject *call_package(PyObject *object, enum py_maker maker, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *kwnames)
{
    struct py_engine *self = (struct py_engine *)object;
    PyObject *function = self->reader.state->makers[maker];
    Py_ssize_t count = nargs + (kwnames ? PyTuple_GET_SIZE(kwnames) : 0);
    if (py_check_usable(self) < 0) return NULL;
    if (!function) {
        PyErr_SetString(PyExc_RuntimeError, "import nori_lsm, not nori_lsm._core alone");
        return NULL;
    }
    PyObject **all = PyMem_Malloc(((size_t)count + 1) * sizeof *all);
    if (!all) return PyErr_NoMemory();
    all[0] = object;
    if (count > 0) memcpy(all + 1, args, (size_t)count * sizeof *all);
    PyObject *result = PyObject_Vectorcall(function, all, (size_t)nargs + 1, kwnames);
    PyMem_Free(all);
    return result;
}

PyObject *py_engine_events(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return call_package(self, PY_MAKE_EVENTS, args, nargs, kwnames);
}

PyObject *py_engine_subscribe(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return call_package(self, PY_MAKE_SUBSCRIPTION, args, nargs, kwnames);
}

PyObject *py_engine_record(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return call_package(self, PY_MAKE_RECORDER, args, nargs, kwnames);
}

PyObject *py_engine_get_watcher(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *watcher = ((struct py_engine *)self)->watcher;
    return Py_NewRef(watcher ? watcher : Py_None);
}

int py_engine_set_watcher(PyObject *self, PyObject *watcher, void *Py_UNUSED(closure))
{
    Py_XSETREF(((struct py_engine *)self)->watcher, Py_XNewRef(watcher));
    return 0;
}

int py_watcher_tell(PyObject *watcher, struct py_engine *engine, const char *method, bool may_wait)
{
    PyObject *kind, *value, *traceback;
    PyErr_Fetch(&kind, &value, &traceback);
    PyObject *result = PyObject_CallMethod(watcher, method, "OO", (PyObject *)engine, may_wait ? Py_True : Py_False);
    int rc = result ? 0 : -1;
    Py_XDECREF(result);
    if (kind) {
        if (rc < 0) PyErr_WriteUnraisable(watcher);
        PyErr_Restore(kind, value, traceback);
        rc = -1;
    }
    return rc;
}

PyObject *py_report_unraisable(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    if (py_check_count("_report_unraisable", nargs, 2, 2) < 0) return NULL;
    if (!PyExceptionInstance_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "_report_unraisable() wants an exception");
        return NULL;
    }
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(args[0])), Py_NewRef(args[0]), PyException_GetTraceback(args[0]));
    PyErr_WriteUnraisable(args[1]);
    Py_RETURN_NONE;
}

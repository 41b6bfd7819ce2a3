#include "python/calls.h"

#include <pthread.h>

_Atomic unsigned py_fork_generation;

static _Thread_local struct py_call *innermost;
/* The main thread of the process, as Python sees it: after a fork it is the one that forked. */
static _Atomic unsigned long main_thread;
static pthread_once_t start_once = PTHREAD_ONCE_INIT;

static void notice_fork(void)
{
    atomic_fetch_add(&py_fork_generation, 1);
    /* The chain of calls stays: a signal handler may fork inside one, and come back. */
    atomic_store(&main_thread, PyThread_get_thread_ident());
}

static void start(void)
{
    pthread_atfork(NULL, NULL, notice_fork);
}

int py_calls_start(struct py_state *state)
{
    pthread_once(&start_once, start);
    state->is_main_interpreter = PyInterpreterState_Get() == PyInterpreterState_Main();
    if (!state->is_main_interpreter) return 0;
    PyObject *threading = PyImport_ImportModule("threading");
    PyObject *thread = threading ? PyObject_CallMethod(threading, "main_thread", NULL) : NULL;
    PyObject *ident = thread ? PyObject_GetAttrString(thread, "ident") : NULL;
    int rc = -1;
    if (ident) {
        unsigned long value = PyLong_AsUnsignedLong(ident);
        if (!PyErr_Occurred()) {
            atomic_store(&main_thread, value);
            rc = 0;
        }
    }
    Py_XDECREF(ident);
    Py_XDECREF(thread);
    Py_XDECREF(threading);
    return rc;
}

/* ---------------------------------------------------------------- exceptions kept for later */

static void keep_exception(struct py_call *call)
{
#if PY_VERSION_HEX >= 0x030C0000
    call->exception = PyErr_GetRaisedException();
#else
    PyObject *kind, *value, *traceback;
    PyErr_Fetch(&kind, &value, &traceback);
    PyErr_NormalizeException(&kind, &value, &traceback);
    if (traceback) PyException_SetTraceback(value, traceback);
    Py_XDECREF(kind);
    Py_XDECREF(traceback);
    call->exception = value;
#endif
}

static void raise_kept(struct py_call *call)
{
    PyObject *exception = call->exception;
    call->exception = NULL;
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(exception);
#else
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(exception)), exception, PyException_GetTraceback(exception));
#endif
}

/* ---------------------------------------------------------------- calls */

/* The core's hook: the GIL is released, no lock of the core is held, the call does not count as inside. 1: stop. */
static int run_signal_handlers(void *arg)
{
    struct py_call *call = innermost;
    (void)arg; /* One hook for all calls, so that the core keeps its pace from call to call. */
    if (call->exception) return 1;
    PyEval_RestoreThread(call->thread);
    if (PyErr_CheckSignals() < 0) keep_exception(call);
    call->thread = PyEval_SaveThread();
    return call->exception != NULL;
}

static void begin(struct py_call *call, struct py_state *state, struct py_engine *engine, bool is_interruptible)
{
    call->error.outcome = NORI_NOT_APPLIED;
    call->state = state;
    call->engine = engine;
    call->exception = NULL;
    call->outer = innermost;
    call->is_interruptible = is_interruptible && state->is_main_interpreter &&
                             PyThread_get_thread_ident() == atomic_load_explicit(&main_thread, memory_order_relaxed);
    innermost = call;
    call->thread = PyEval_SaveThread();
    nori_set_interrupt(call->is_interruptible ? run_signal_handlers : NULL, NULL);
}

void py_call_begin(struct py_call *call, struct py_state *state, struct py_engine *engine)
{
    begin(call, state, engine, true);
}

void py_call_begin_uninterruptible(struct py_call *call, struct py_state *state, struct py_engine *engine)
{
    begin(call, state, engine, false);
}

static int end(struct py_call *call, nori_status rc, bool is_write)
{
    struct py_engine *engine = call->engine;
    bool is_outer_interruptible = call->outer && call->outer->is_interruptible;
    nori_set_interrupt(is_outer_interruptible ? run_signal_handlers : NULL, NULL);
    PyEval_RestoreThread(call->thread);
    innermost = call->outer;
    if (call->exception) {
        /* It came from inside: it goes first, whatever became of the call. */
        raise_kept(call);
        if (rc == NORI_OK) call->error.outcome = NORI_INDETERMINATE;
    } else if (rc != NORI_OK) {
        py_raise(call->state, engine ? nori_path(engine->reader.core) : NULL, rc, &call->error);
    }
    if (is_write && PyErr_Occurred()) py_set_outcome(call->error.outcome);
    return PyErr_Occurred() ? -1 : 0;
}

int py_call_end(struct py_call *call, nori_status rc)
{
    return end(call, rc, false);
}

int py_call_end_write(struct py_call *call, nori_status rc)
{
    return end(call, rc, true);
}

bool py_call_make_bytes(struct py_call *call, nori_slice bytes, PyObject **object)
{
    PyEval_RestoreThread(call->thread);
    Py_XSETREF(*object, PyBytes_FromStringAndSize((const char *)bytes.data, (Py_ssize_t)bytes.size));
    bool is_made = *object != NULL;
    if (!is_made) PyErr_Clear(); /* The core returns NORI_NO_MEMORY, with the outcome. */
    call->thread = PyEval_SaveThread();
    return is_made;
}

int py_progress_from(PyObject *callback, struct py_progress *progress, struct py_call *call)
{
    progress->call = call;
    progress->callback = callback == Py_None ? NULL : callback;
    if (!progress->callback || PyCallable_Check(progress->callback)) return 0;
    PyErr_Format(PyExc_TypeError, "progress must be callable or None, not %.200s", Py_TYPE(callback)->tp_name);
    return -1;
}

int py_progress_report(void *arg, const struct nori_progress *progress)
{
    struct py_progress *self = arg;
    struct py_call *call = self->call;
    if (call->exception) return 1;
    PyEval_RestoreThread(call->thread);
    PyObject *fields =
        Py_BuildValue("{s:K,s:K,s:s,s:s}", "done", (unsigned long long)progress->done, "total",
                      (unsigned long long)progress->total, "unit", progress->unit, "phase", progress->phase);
    PyObject *report = py_make_from_fields(call->state, PY_MAKE_PROGRESS, fields);
    PyObject *result = report ? PyObject_CallOneArg(self->callback, report) : NULL;
    if (!result) keep_exception(call);
    Py_XDECREF(result);
    Py_XDECREF(report);
    call->thread = PyEval_SaveThread();
    return call->exception != NULL;
}

/* ---------------------------------------------------------------- guards */

int py_guard_init(struct py_guard *guard)
{
    guard->owner = 0;
    guard->lock = PyThread_allocate_lock();
    if (!guard->lock) PyErr_NoMemory();
    return guard->lock ? 0 : -1;
}

void py_guard_clear(struct py_guard *guard)
{
    if (guard->lock) PyThread_free_lock(guard->lock);
    guard->lock = NULL;
}

#define WAIT_TURN_US 100000

int py_guard_enter(struct py_guard *guard, const char *what)
{
    unsigned long self = PyThread_get_thread_ident();
    PyLockStatus status = PyThread_acquire_lock_timed(guard->lock, 0, 0);
    if (status != PY_LOCK_ACQUIRED && atomic_load(&guard->owner) == self) {
        PyErr_Format(PyExc_RuntimeError, "this thread is inside a call of this %s already", what);
        return -1;
    }
    while (status != PY_LOCK_ACQUIRED) {
        Py_BEGIN_ALLOW_THREADS status = PyThread_acquire_lock_timed(guard->lock, WAIT_TURN_US, 0);
        Py_END_ALLOW_THREADS if (status != PY_LOCK_ACQUIRED && PyErr_CheckSignals() < 0) return -1;
    }
    atomic_store(&guard->owner, self);
    return 0;
}

void py_guard_leave(struct py_guard *guard)
{
    atomic_store(&guard->owner, 0);
    PyThread_release_lock(guard->lock);
}

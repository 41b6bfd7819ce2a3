/* Calls that release the GIL, and guards.
 *
 * A py_call stands on the stack of its thread and in that thread's chain of calls: a hook of the core (signal handlers,
 * progress) may run Python, which may call in again. The call it came from does not count as inside meanwhile: Python
 * code may close the engine, or wait for another thread that does; the call then ends with ClosedError.
 *
 * In the main thread of the main interpreter a call runs pending signal handlers while it waits. What a handler or a
 * callback raises is kept in the call, and raised when it ends. */
#ifndef NORI_PYTHON_CALLS_H
#define NORI_PYTHON_CALLS_H

#include "python/binding.h"

struct py_call {
    struct nori_error error; /* For the core to fill in. */
    struct py_state *state;
    struct py_engine *engine; /* Borrowed; NULL where there is none (yet). */
    PyThreadState *thread;    /* Saved while the GIL is released. */
    struct py_call *outer;    /* Of the same thread. */
    PyObject *exception;      /* Owned: what Python code inside raised. */
    bool is_interruptible;
};

/* Before anything else; noticed fork()s by one more than before. */
int py_calls_start(struct py_state *state);
extern _Atomic unsigned py_fork_generation;

/* Releases the GIL. No Python object is touched until the end. */
void py_call_begin(struct py_call *call, struct py_state *state, struct py_engine *engine);
void py_call_begin_uninterruptible(struct py_call *call, struct py_state *state, struct py_engine *engine);
/* Takes the GIL again, and raises what went wrong: 0, or -1 with an exception. */
int py_call_end(struct py_call *call, nori_status rc);
/* Likewise for a write: the exception has its outcome, which call->error.outcome keeps. */
int py_call_end_write(struct py_call *call, nori_status rc);
/* In a call, from a callback of the core that runs outside of it: takes the GIL for as long as it takes to make 'bytes'
 * an object, in place of '*object' (NULL: none yet). False without memory, and without an exception. */
bool py_call_make_bytes(struct py_call *call, nori_slice bytes, PyObject **object);

/* For nori_progress_fn. 'callback' NULL: none, and the core gets no function. */
struct py_progress {
    struct py_call *call;
    PyObject *callback; /* Borrowed. */
};
int py_progress_report(void *arg, const struct nori_progress *progress);
/* From an argument: NULL and None, and no progress is wanted. -1 with an exception if it is not callable. */
int py_progress_from(PyObject *callback, struct py_progress *progress, struct py_call *call);
/* The core's function for it. */
static inline nori_progress_fn py_progress_fn(const struct py_progress *progress)
{
    return progress->callback ? py_progress_report : NULL;
}

/* Serialises the calls of a scan or a batch among threads. Entered with the GIL held: tried, and else waited for with
 * the GIL released. Entered again in the same thread (by a callback or a signal handler): RuntimeError. */
struct py_guard {
    PyThread_type_lock lock;
    _Atomic unsigned long owner; /* Thread; 0: none. */
};
int py_guard_init(struct py_guard *guard);
void py_guard_clear(struct py_guard *guard);
int py_guard_enter(struct py_guard *guard, const char *what);
void py_guard_leave(struct py_guard *guard);
/* True if nobody is inside, and nobody can be until this thread releases the GIL. */
static inline bool py_guard_is_free(const struct py_guard *guard)
{
    return PY_HAS_GIL && atomic_load_explicit(&guard->owner, memory_order_relaxed) == 0;
}

#endif

/* What the files of the binding share.
 *
 * The rules (design 7). The GIL is kept for what is in memory and released for what waits: a call first asks the core
 * with NORI_NO_WAIT, and on NORI_AGAIN releases the GIL and asks again. While the GIL is held nothing of the core is
 * waited for. Python code (buffers, iterators, callbacks, signal handlers) never runs inside the core's own work, only
 * in hooks the core calls with no lock held. Children (snapshots, scans, batches, views) hold the Engine; its memory
 * goes with its tp_dealloc.
 *
 * calls.h has the calls that release the GIL and the guards of scans and batches, convert.h arguments and results. */
#ifndef NORI_PYTHON_BINDING_H
#define NORI_PYTHON_BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "nori.h"

#ifdef Py_GIL_DISABLED
#define PY_HAS_GIL 0
#else
#define PY_HAS_GIL 1
#endif

/* Beyond this a write's bytes are not copied with the GIL held. */
#define PY_LARGE_BYTES ((size_t)256 << 10)

enum py_error_kind {
    PY_ERROR,
    PY_CLOSED_ERROR,
    PY_LOCKED_ERROR,
    PY_READ_ONLY_ERROR,
    PY_CORRUPTION_ERROR,
    PY_FORMAT_ERROR,
    PY_STALE_ERROR,
    PY_POISONED_ERROR,
    PY_BACKPRESSURE_ERROR,
    PY_FORKED_ERROR,
    PY_ERROR_COUNT,
};

/* What results are made with: callables of the package, NULL until it registers them. */
enum py_maker {
    PY_MAKE_CONFIG,
    PY_MAKE_STATS,
    PY_MAKE_SLOT,
    PY_MAKE_SLOT_LIST,
    PY_MAKE_VERIFY_REPORT,
    PY_MAKE_FINDING,
    PY_MAKE_REPAIR_REPORT,
    PY_MAKE_REPAIR_FINDING,
    PY_MAKE_CHECKPOINT,
    PY_MAKE_PROGRESS,
    PY_MAKE_ENGINE_HTML,
    PY_MAKE_EVENT,
    PY_MAKE_DECISION,
    PY_MAKE_EVENTS,
    PY_MAKE_SUBSCRIPTION,
    PY_MAKE_RECORDER,
    PY_MAKE_COUNT,
};

struct py_engine;

/* The module's state, one for each interpreter. Outlives every object: instances hold their type, types the module. */
struct py_state {
    PyObject *errors[PY_ERROR_COUNT];
    PyObject *makers[PY_MAKE_COUNT];
    PyObject *mapping_abc; /* collections.abc.Mapping */
    PyObject *set_abc;     /* collections.abc.Set */
    PyTypeObject *engine_type;
    PyTypeObject *snapshot_type;
    PyTypeObject *batch_type;
    PyTypeObject *scan_type;
    PyTypeObject *scan_iterator_type;
    PyTypeObject *keys_type;
    PyTypeObject *values_type;
    PyTypeObject *items_type;
    PyTypeObject *simdisk_type;
    struct py_engine *open_engines; /* Borrowed; a list through their 'next'. What the atexit hook closes. */
    bool is_main_interpreter;
};

/* An Engine or a Snapshot, to what they share. */
struct py_reader {
    PyObject_HEAD struct py_state *state;
    struct nori_engine *core;
    struct py_engine *engine;       /* An Engine's is itself, borrowed; a Snapshot owns a reference. */
    struct nori_snapshot *snapshot; /* NULL in an Engine. */
    _Atomic size_t users;           /* Of a snapshot: its owner, until close(), and the calls that read from it. */
    unsigned fork_generation;
    bool is_snapshot;
    PyObject *weak_references;
};

struct py_engine {
    struct py_reader reader;
    PyObject *env;     /* A SimDisk, or NULL. */
    PyObject *config;  /* NULL until asked for. */
    PyObject *watcher; /* Of the package: delivers events. NULL until there is somebody to deliver to. */
    struct py_engine *previous, *next;
    bool is_listed;
};

struct py_snapshot {
    struct py_reader reader;
    uint64_t sequence;
    atomic_bool is_closed;
};

static inline bool py_is_engine(const struct py_state *state, PyObject *object)
{
    return Py_IS_TYPE(object, state->engine_type);
}

static inline bool py_is_reader(const struct py_state *state, PyObject *object)
{
    return Py_IS_TYPE(object, state->engine_type) || Py_IS_TYPE(object, state->snapshot_type);
}

/* ---------------------------------------------------------------- module.c */

extern struct PyModuleDef py_module;

/* The callable's result for 'fields', a new dict whose reference is taken; the dict itself where none is registered.
 * NULL 'fields' is NULL: the error is set already. */
PyObject *py_make_from_fields(struct py_state *state, enum py_maker maker, PyObject *fields);
/* Likewise, with 'argument' as the one positional argument. */
PyObject *py_make_from_one(struct py_state *state, enum py_maker maker, PyObject *argument);

/* ---------------------------------------------------------------- errors.c */

int py_errors_add(PyObject *module, struct py_state *state);
/* Raises what 'rc' stands for. 'path' (may be NULL) is the file name where the error has none. Returns NULL. */
PyObject *py_raise(struct py_state *state, const char *path, nori_status rc, const struct nori_error *error);
/* Likewise for a write: the exception has its outcome. Always -1. */
int py_raise_write(struct py_engine *engine, nori_status rc, const struct nori_error *error);
/* Sets .outcome of the exception that is set. */
void py_set_outcome(enum nori_outcome outcome);
/* For what does not enter the core: ForkedError or ClosedError, and -1. */
int py_check_usable(struct py_engine *engine);
PyObject *py_raise_closed(struct py_state *state, const char *what);

/* ---------------------------------------------------------------- types */

extern PyType_Spec py_engine_spec, py_snapshot_spec, py_batch_spec, py_scan_spec, py_scan_iterator_spec, py_keys_spec,
    py_values_spec, py_items_spec, py_simdisk_spec;

/* Final, made by methods only, and not to be changed: what Py_TPFLAGS_MAPPING asks for. */
#define PY_TYPE_FLAGS                                                                                                  \
    (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION)

/* __reduce__, __copy__ and __deepcopy__ that raise TypeError: "cannot pickle or copy a Scan: it is ...". */
PyObject *py_refuse_copy(const char *name, const char *reason);
#define PY_REFUSE_COPY_METHODS(function)                                                                               \
    {"__reduce__", function, METH_VARARGS, "__reduce__($self, /)\n--\n\nRaises TypeError."},                           \
        {"__copy__", function, METH_VARARGS, "__copy__($self, /)\n--\n\nRaises TypeError."},                           \
    {                                                                                                                  \
        "__deepcopy__", function, METH_VARARGS, "__deepcopy__($self, memo, /)\n--\n\nRaises TypeError."                \
    }
/* After an __exit__ failed: the exception that was under way becomes the context of the new one. */
void py_chain_exit_error(PyObject *const *args, Py_ssize_t nargs);

#define PY_METHOD(name, function, flags, signature, text)                                                              \
    {                                                                                                                  \
        name, (PyCFunction)(void (*)(void))(function), flags, name signature "\n--\n\n" text                           \
    }
#define PY_FAST METH_FASTCALL
#define PY_FAST_KEYWORDS (METH_FASTCALL | METH_KEYWORDS)

/* ---------------------------------------------------------------- options.c */

PyObject *py_options_check(PyObject *module, PyObject *pairs);
PyObject *py_options_default(PyObject *module, PyObject *ignored);
/* All options as a list of (name, text). */
PyObject *py_options_list(const struct nori_options *options);
/* 'pairs' over the defaults. ValueError names what is wrong. */
int py_options_from(PyObject *module, PyObject *pairs, struct nori_options *options_out);
/* An array of 'pairs', which borrows from '*owner_out'; both are given back by the caller (PyMem_Free). */
int py_overrides_from(PyObject *pairs, struct nori_override **overrides_out, size_t *count_out, PyObject **owner_out);

/* ---------------------------------------------------------------- simulate.c */

PyObject *py_simulate(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

/* repair.c */
PyObject *py_repair(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);

/* ---------------------------------------------------------------- engine.c */

PyObject *py_engine_open(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
/* Closes with the GIL released. Raises the first error, but has let go of all. */
int py_engine_close(struct py_engine *self, bool is_interruptible);
/* Warns, and closes; errors go to sys.unraisablehook. */
void py_engine_close_forgotten(struct py_engine *self);

extern PyMethodDef py_engine_methods[];
void py_engine_unlist(struct py_engine *self);

/* engine_write.c */
PyObject *py_engine_put(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *py_engine_delete(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *py_engine_delete_range(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *py_engine_clear(PyObject *self, PyObject *ignored);
PyObject *py_engine_pop(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *py_engine_popitem(PyObject *self, PyObject *ignored);
PyObject *py_engine_setdefault(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
int py_engine_ass_subscript(PyObject *self, PyObject *key, PyObject *value);

/* engine_update.c */
PyObject *py_engine_update(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *py_engine_inplace_or(PyObject *self, PyObject *other);

/* engine_ingest.c */
PyObject *py_engine_ingest(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);

/* engine_house.c */
PyObject *py_engine_sync(PyObject *self, PyObject *ignored);
PyObject *py_engine_flush(PyObject *self, PyObject *ignored);
PyObject *py_engine_compact(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *py_engine_checkpoint(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *py_finding_fields(const struct nori_finding *finding); /* A dict; NULL with an exception. */
PyObject *py_engine_verify(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
/* engine_report.c */
PyObject *py_engine_stats(PyObject *self, PyObject *ignored);
PyObject *py_engine_slots(PyObject *self, PyObject *ignored);

/* engine_watch.c */
PyObject *py_engine_decisions(PyObject *self, PyObject *ignored);
PyObject *py_engine_events(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *py_engine_subscribe(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *py_engine_record(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *py_engine_read_events(PyObject *self, PyObject *cursor);
PyObject *py_engine_latency_counts(PyObject *self, PyObject *ignored);
PyObject *py_latency_bounds(PyObject *module, PyObject *ignored);
PyObject *py_engine_get_watcher(PyObject *self, void *closure);
int py_engine_set_watcher(PyObject *self, PyObject *watcher, void *closure);
/* Calls a method of the engine's watcher, with the engine and whether it may wait. An exception that is set stays, and
 * goes first. */
int py_watcher_tell(PyObject *watcher, struct py_engine *engine, const char *method, bool may_wait);
PyObject *py_report_unraisable(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

/* ---------------------------------------------------------------- snapshot.c */

PyObject *py_snapshot_create(PyObject *engine, PyObject *ignored);

/* A call that reads from a reader: keeps a snapshot from being freed by a close() meanwhile. -1: ClosedError. */
static inline bool py_reader_try_enter(struct py_reader *self)
{
    if (!self->is_snapshot) return true;
    size_t users = atomic_load_explicit(&self->users, memory_order_relaxed);
    while (users > 0) {
        if (atomic_compare_exchange_weak(&self->users, &users, users + 1)) return true;
    }
    return false;
}
int py_reader_enter(struct py_reader *self);
void py_reader_leave_last(struct py_reader *self);
static inline void py_reader_leave(struct py_reader *self)
{
    if (self->is_snapshot && atomic_fetch_sub(&self->users, 1) == 1) py_reader_leave_last(self);
}

/* ---------------------------------------------------------------- reader.c, reader_many.c, compare.c */

PyObject *py_reader_subscript(PyObject *self, PyObject *key);
int py_reader_contains(PyObject *self, PyObject *key);
/* The value, a new reference; NULL without an error where absent. */
PyObject *py_reader_find(struct py_reader *self, PyObject *key);
PyObject *py_reader_get(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *py_reader_get_many(PyObject *self, PyObject *keys);
Py_ssize_t py_reader_length(PyObject *self);
int py_reader_bool(PyObject *self);
PyObject *py_reader_estimate_len(PyObject *self, PyObject *ignored);
PyObject *py_reader_iter(PyObject *self);
PyObject *py_reader_reversed(PyObject *self, PyObject *ignored);
PyObject *py_reader_scan(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *py_reader_compare(PyObject *self, PyObject *other, int operation);

/* What Engine and Snapshot list first among their methods. */
#define PY_READER_METHODS                                                                                              \
    PY_METHOD("get", py_reader_get, PY_FAST_KEYWORDS, "($self, key, /, default=None)",                                 \
              "The value of the key, or default where it is absent."),                                                 \
        PY_METHOD("get_many", py_reader_get_many, METH_O, "($self, keys, /)",                                          \
                  "The values of the keys, None where absent, all of one moment."),                                    \
        PY_METHOD("scan", py_reader_scan, PY_FAST_KEYWORDS,                                                            \
                  "($self, start=None, stop=None, *, prefix=None, reverse=False, limit=None, include_start=True, "     \
                  "include_stop=False)",                                                                               \
                  "Entries in key order, as of now. start and stop are the lower and the upper bound, with reverse "   \
                  "too."),                                                                                             \
        PY_METHOD("keys", py_view_keys, METH_NOARGS, "($self, /)", "A live view of the keys."),                        \
        PY_METHOD("values", py_view_values, METH_NOARGS, "($self, /)", "A live view of the values."),                  \
        PY_METHOD("items", py_view_items, METH_NOARGS, "($self, /)", "A live view of the entries."),                   \
        PY_METHOD("estimate_len", py_reader_estimate_len, METH_NOARGS, "($self, /)",                                   \
                  "About how many keys there are, without reading."),                                                  \
        PY_METHOD("__reversed__", py_reader_reversed, METH_NOARGS, "($self, /)", "The keys, descending.")

/* ---------------------------------------------------------------- batch.c */

PyObject *py_batch_create(struct py_engine *engine, int sync);
/* Writes the batch: without waiting if that goes, else with the GIL released. On failure '*outcome_out' says what came
 * of it. */
int py_commit(struct py_engine *engine, struct nori_batch *batch, int sync, uint64_t *sequence_out,
              enum nori_outcome *outcome_out);

/* ---------------------------------------------------------------- scan.c, scan_iterator.c */

struct py_scan;
enum py_part { PY_PART_KEYS, PY_PART_VALUES, PY_PART_ITEMS, PY_PART_BATCHES };

/* Takes what the scan needs from 'params', but its limit: that is the binding's. */
PyObject *py_scan_create(struct py_reader *reader, struct nori_scan_params *params, uint64_t limit);
/* The next entry's part(s); NULL without an error at the end. PY_PART_BATCHES makes a list of up to 'size' pairs. */
PyObject *py_scan_take(struct py_scan *scan, enum py_part part, size_t size);
int py_scan_close(struct py_scan *scan);
/* An iterator over parts of 'scan', whose reference it takes (NULL: the error is set already). 'is_owner' closes the
 * scan at its end. */
PyObject *py_scan_iterator_create(PyObject *scan, enum py_part part, size_t size, bool is_owner);
/* All of the reader, as of now. */
PyObject *py_reader_iterate(struct py_reader *reader, enum py_part part, bool reverse);

/* ---------------------------------------------------------------- views.c */

PyObject *py_view_keys(PyObject *reader, PyObject *ignored);
PyObject *py_view_values(PyObject *reader, PyObject *ignored);
PyObject *py_view_items(PyObject *reader, PyObject *ignored);

/* ---------------------------------------------------------------- simdisk.c */

struct nori_env *py_simdisk_env(PyObject *simdisk);
/* From an argument; NULL and None: '*env' as it is. */
int py_env_from(const struct py_state *state, PyObject *object, struct nori_env **env);

#endif

/* The inside of a Scan, for those who take entries from it. */
#ifndef NORI_PYTHON_SCAN_H
#define NORI_PYTHON_SCAN_H

#include "python/calls.h"

struct py_scan {
    PyObject_HEAD struct py_engine *engine; /* Owned. */
    struct py_state *state;
    struct nori_scan *core; /* NULL: closed. */
    struct py_guard guard;
    const struct nori_entry *entries; /* The chunk: the core's memory until its next call, or 'kept'. */
    size_t next, count;
    void *kept;         /* Owned: what was left of a chunk when the core's memory was needed. */
    uint64_t remaining; /* Of the limit: entries that may yet be handed out, those in the chunk included. */
    size_t chunk_count; /* To ask for next. */
    PyObject *pair;     /* Handed out last; used again when nobody else holds it. */
    PyObject *weak_references;
};

/* Into the guard of a scan that is open, or -1 with an exception. */
int py_scan_enter(struct py_scan *self);
static inline void py_scan_leave(struct py_scan *self)
{
    py_guard_leave(&self->guard);
}

/* Inside the guard and a py_call, without the GIL: the next chunk in place of the last one. An empty one is the end. */
NORI_WARN_UNUSED nori_status py_scan_read_chunk(struct py_scan *self, size_t max_count, size_t max_bytes,
                                                struct nori_error *error);

/* Likewise, with an empty chunk: entries are shown instead of read, and count as handed out (nori_scan_show). */
NORI_WARN_UNUSED nori_status py_scan_show(struct py_scan *self, size_t max_count, nori_entries_fn fn, void *arg,
                                          size_t *count_out, struct nori_error *error);

/* Inside the guard: 'count' entries of the chunk were handed out. */
static inline void py_scan_advance(struct py_scan *self, size_t count)
{
    self->next += count;
    if (self->remaining != UINT64_MAX) self->remaining -= count;
}

#endif

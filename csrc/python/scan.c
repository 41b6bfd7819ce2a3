/* Scan: one range of one moment, one cursor.
 *
 * The core's cursor runs ahead of ours by the entries that were read and not yet handed out. So the limit is kept here,
 * not in the core, count() adds what is left of the chunk, and seek() drops it.
 *
 * While nobody is inside the guard, a chunk's entries may be taken with the GIL alone: nothing on that way gives it up.
 */
#include "python/scan.h"

#include "python/arrow.h"
#include "python/convert.h"

#include <string.h>

#define FIRST_CHUNK 16
#define MOST_FIRST_CHUNK 256 /* Where the limit says how many there are to be. */
#define MOST_CHUNK 1024
#define CHUNK_BYTES ((size_t)1 << 20)

static size_t first_chunk(const struct py_scan *self)
{
    return self->remaining <= MOST_FIRST_CHUNK ? (size_t)self->remaining : FIRST_CHUNK;
}

PyObject *py_scan_create(struct py_reader *reader, struct nori_scan_params *params, uint64_t limit)
{
    struct py_state *state = reader->state;
    struct py_call call;
    struct py_scan *self = (struct py_scan *)state->scan_type->tp_alloc(state->scan_type, 0);
    if (!self) return NULL;
    self->state = state;
    self->engine = (struct py_engine *)Py_NewRef((PyObject *)reader->engine);
    self->remaining = limit;
    self->chunk_count = first_chunk(self);
    if (py_guard_init(&self->guard) < 0 || py_reader_enter(reader) < 0) goto fail;
    params->snapshot = reader->snapshot;
    params->limit = UINT64_MAX;
    py_call_begin(&call, state, self->engine);
    nori_status rc = nori_scan_open(reader->core, params, &self->core, &call.error);
    int ended = py_call_end(&call, rc);
    py_reader_leave(reader);
    if (ended < 0) goto fail;
    return (PyObject *)self;
fail:
    Py_DECREF(self);
    return NULL;
}

/* ---------------------------------------------------------------- chunks */

static void drop_chunk(struct py_scan *self)
{
    self->entries = NULL;
    self->next = self->count = 0;
    PyMem_RawFree(self->kept);
    self->kept = NULL;
}

int py_scan_enter(struct py_scan *self)
{
    if (py_check_usable(self->engine) < 0 || py_guard_enter(&self->guard, "Scan") < 0) return -1;
    if (self->core) return 0;
    py_scan_leave(self);
    py_raise_closed(self->state, "scan");
    return -1;
}

nori_status py_scan_read_chunk(struct py_scan *self, size_t max_count, size_t max_bytes, struct nori_error *error)
{
    const struct nori_entry *entries = NULL;
    size_t count = 0;
    drop_chunk(self);
    if (max_count > self->remaining) max_count = (size_t)self->remaining;
    if (max_count == 0) return NORI_OK;
    nori_status rc = nori_scan_next(self->core, max_count, max_bytes, &entries, &count, error);
    if (rc != NORI_OK) return rc;
    self->entries = entries;
    self->count = count;
    return NORI_OK;
}

nori_status py_scan_show(struct py_scan *self, size_t max_count, nori_entries_fn fn, void *arg, size_t *count_out,
                         struct nori_error *error)
{
    *count_out = 0;
    drop_chunk(self);
    if (max_count > self->remaining) max_count = (size_t)self->remaining;
    if (max_count == 0) return NORI_OK;
    nori_status rc = nori_scan_show(self->core, max_count, fn, arg, count_out, error);
    if (self->remaining != UINT64_MAX) self->remaining -= *count_out;
    return rc;
}

/* Inside the guard. With 0 and an empty chunk the scan is at its end. */
static int fill(struct py_scan *self)
{
    struct py_call call;
    if (self->remaining == 0) {
        drop_chunk(self);
        return 0;
    }
    py_call_begin(&call, self->state, self->engine);
    nori_status rc = py_scan_read_chunk(self, self->chunk_count, CHUNK_BYTES, &call.error);
    if (py_call_end(&call, rc) < 0) return -1;
    if (self->chunk_count < MOST_CHUNK) self->chunk_count *= 2;
    return 0;
}

/* ---------------------------------------------------------------- entries as objects */

static PyObject *make_bytes(nori_slice slice)
{
    return PyBytes_FromStringAndSize((const char *)slice.data, (Py_ssize_t)slice.size);
}

/* A tuple of the two, whose references it takes. Reuses the last one where nobody else has it, as zip() does. */
static PyObject *make_pair(struct py_scan *self, PyObject *key, PyObject *value)
{
    PyObject *pair = self->pair;
    if (PY_HAS_GIL && pair && Py_REFCNT(pair) == 1) {
        PyObject *old_key = PyTuple_GET_ITEM(pair, 0), *old_value = PyTuple_GET_ITEM(pair, 1);
        PyTuple_SET_ITEM(pair, 0, key);
        PyTuple_SET_ITEM(pair, 1, value);
#if PY_VERSION_HEX >= 0x030E0000
        ((PyTupleObject *)pair)->ob_hash = -1;
#endif
        Py_DECREF(old_key);
        Py_DECREF(old_value);
        return Py_NewRef(pair);
    }
    pair = PyTuple_New(2);
    if (!pair) {
        Py_DECREF(key);
        Py_DECREF(value);
        return NULL;
    }
    PyTuple_SET_ITEM(pair, 0, key);
    PyTuple_SET_ITEM(pair, 1, value);
    if (PY_HAS_GIL && !self->pair) self->pair = Py_NewRef(pair);
    return pair;
}

/* Takes one entry from the chunk, which has one. The cursor moves before a tuple is made: that may run other code
 * (garbage collection), which may use the scan. */
static PyObject *take_entry(struct py_scan *self, enum py_part part, bool is_reusing)
{
    const struct nori_entry *entry = &self->entries[self->next];
    PyObject *key = NULL, *value = NULL;
    if (part != PY_PART_VALUES && !(key = make_bytes(entry->key))) return NULL;
    if (part != PY_PART_KEYS && !(value = make_bytes(entry->value))) {
        Py_XDECREF(key);
        return NULL;
    }
    py_scan_advance(self, 1);
    if (part == PY_PART_KEYS) return key;
    if (part == PY_PART_VALUES) return value;
    if (is_reusing) return make_pair(self, key, value);
    PyObject *pair = PyTuple_New(2);
    if (!pair) {
        Py_DECREF(key);
        Py_DECREF(value);
        return NULL;
    }
    PyTuple_SET_ITEM(pair, 0, key);
    PyTuple_SET_ITEM(pair, 1, value);
    return pair;
}

/* Inside the guard. An empty list is the end. */
static PyObject *take_batch(struct py_scan *self, size_t size)
{
    PyObject *list = PyList_New(0);
    while (list && (size_t)PyList_GET_SIZE(list) < size) {
        if (self->next == self->count && fill(self) < 0) goto fail;
        if (self->next == self->count) return list;
        PyObject *pair = take_entry(self, PY_PART_ITEMS, false);
        int rc = pair ? PyList_Append(list, pair) : -1;
        Py_XDECREF(pair);
        if (rc < 0) goto fail;
    }
    return list;
fail:
    Py_XDECREF(list);
    return NULL;
}

PyObject *py_scan_take(struct py_scan *self, enum py_part part, size_t size)
{
    PyObject *result = NULL;
    if (part != PY_PART_BATCHES && self->next < self->count && py_guard_is_free(&self->guard)) {
        if (py_check_usable(self->engine) < 0) return NULL;
        return take_entry(self, part, true);
    }
    if (py_scan_enter(self) < 0) return NULL;
    if (part == PY_PART_BATCHES) {
        result = take_batch(self, size);
        if (result && PyList_GET_SIZE(result) == 0) Py_CLEAR(result);
    } else if (self->next < self->count || (fill(self) == 0 && self->next < self->count)) {
        result = take_entry(self, part, true);
    }
    py_scan_leave(self);
    return result;
}

/* ---------------------------------------------------------------- seek and count */

static PyObject *scan_seek(PyObject *object, PyObject *target)
{
    struct py_scan *self = (struct py_scan *)object;
    struct py_bytes key;
    struct py_call call;
    int ended = -1;
    if (py_key_init(&key, target) < 0) return NULL;
    if (py_bytes_own(&key) == 0 && py_scan_enter(self) == 0) {
        drop_chunk(self);
        self->chunk_count = first_chunk(self);
        py_call_begin(&call, self->state, self->engine);
        nori_status rc = nori_scan_seek(self->core, key.slice, &call.error);
        ended = py_call_end(&call, rc);
        py_scan_leave(self);
    }
    py_bytes_clear(&key);
    if (ended < 0) return NULL;
    Py_RETURN_NONE;
}

/* Moves what is left of the chunk into memory of the scan's own. */
static int keep_chunk(struct py_scan *self)
{
    size_t left = self->count - self->next, bytes = left * sizeof(struct nori_entry);
    if (self->kept || left == 0) return 0;
    for (size_t i = self->next; i < self->count; i++) bytes += self->entries[i].key.size + self->entries[i].value.size;
    struct nori_entry *entries = PyMem_RawMalloc(bytes);
    if (!entries) {
        PyErr_NoMemory();
        return -1;
    }
    uint8_t *to = (uint8_t *)(entries + left);
    for (size_t i = 0; i < left; i++) {
        const struct nori_entry *from = &self->entries[self->next + i];
        entries[i] = (struct nori_entry){{to, from->key.size}, {to + from->key.size, from->value.size}};
        if (from->key.size) memcpy(to, from->key.data, from->key.size);
        to += from->key.size;
        if (from->value.size) memcpy(to, from->value.data, from->value.size);
        to += from->value.size;
    }
    self->kept = entries;
    self->entries = entries;
    self->next = 0;
    self->count = left;
    return 0;
}

/* Without the GIL: how many entries the core has left, 'most' at most. The cursor goes there and back. */
static nori_status count_some(struct nori_scan *core, uint64_t most, uint64_t *count_out, struct nori_error *error)
{
    const struct nori_entry *entries;
    size_t count, first_size = 0;
    uint64_t total = 0;
    nori_status rc = NORI_OK;
    uint8_t *first = PyMem_RawMalloc(NORI_MAX_KEY_BYTES); /* Before the cursor moves: it must get back. */
    if (!first) return NORI_NO_MEMORY;
    while (total < most) {
        size_t wanted = most - total < MOST_CHUNK ? (size_t)(most - total) : MOST_CHUNK;
        rc = nori_scan_next(core, wanted, CHUNK_BYTES, &entries, &count, error);
        if (rc != NORI_OK || count == 0) break;
        if (total == 0) {
            first_size = entries[0].key.size;
            memcpy(first, entries[0].key.data, first_size);
        }
        total += count;
    }
    if (total > 0) {
        struct nori_error seek_error;
        nori_status back = nori_scan_seek(core, (nori_slice){first, first_size}, rc == NORI_OK ? error : &seek_error);
        if (rc == NORI_OK) rc = back;
    }
    PyMem_RawFree(first);
    *count_out = total;
    return rc;
}

/* Inside the guard. */
static int count_rest(struct py_scan *self, uint64_t *count_out)
{
    struct py_call call;
    uint64_t in_chunk = self->count - self->next, behind = 0;
    *count_out = self->remaining;
    if (self->remaining <= in_chunk) return 0;
    if (keep_chunk(self) < 0) return -1;
    py_call_begin(&call, self->state, self->engine);
    nori_status rc = self->remaining == UINT64_MAX
                         ? nori_scan_count(self->core, &behind, &call.error)
                         : count_some(self->core, self->remaining - in_chunk, &behind, &call.error);
    if (py_call_end(&call, rc) < 0) return -1;
    *count_out = in_chunk + behind;
    return 0;
}

static PyObject *scan_count(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct py_scan *self = (struct py_scan *)object;
    uint64_t count = 0;
    if (py_scan_enter(self) < 0) return NULL;
    int rc = count_rest(self, &count);
    py_scan_leave(self);
    return rc < 0 ? NULL : PyLong_FromUnsignedLongLong(count);
}

/* ---------------------------------------------------------------- its parts, its end */

static PyObject *scan_only_keys(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return py_scan_iterator_create(Py_NewRef(self), PY_PART_KEYS, 0, false);
}

static PyObject *scan_only_values(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return py_scan_iterator_create(Py_NewRef(self), PY_PART_VALUES, 0, false);
}

static PyObject *scan_batches(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"size"};
    static const struct py_signature signature = {"batches", names, 1, 0, 1, 0};
    PyObject *value;
    uint64_t size = 1024;
    if (py_arguments(&signature, args, nargs, kwnames, &value) < 0) return NULL;
    if (value && py_u64_from(value, "size", 1, &size) < 0) return NULL;
    return py_scan_iterator_create(Py_NewRef(self), PY_PART_BATCHES, size > SIZE_MAX ? SIZE_MAX : (size_t)size, false);
}

/* It takes locks of the core, and may be the last to hold a version. */
static void destroy_core(struct py_scan *self)
{
    struct nori_scan *core = self->core;
    self->core = NULL;
    if (!core) return;
    Py_BEGIN_ALLOW_THREADS nori_scan_destroy(core);
    Py_END_ALLOW_THREADS
}

int py_scan_close(struct py_scan *self)
{
    struct py_engine *engine = self->engine;
    if (engine->reader.fork_generation != atomic_load(&py_fork_generation)) return 0;
    if (py_guard_enter(&self->guard, "Scan") < 0) return -1;
    drop_chunk(self);
    destroy_core(self);
    py_scan_leave(self);
    return 0;
}

static PyObject *scan_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (py_scan_close((struct py_scan *)self) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *scan_enter(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct py_scan *self = (struct py_scan *)object;
    if (py_check_usable(self->engine) < 0) return NULL;
    if (!self->core) return py_raise_closed(self->state, "scan");
    return Py_NewRef(object);
}

static PyObject *scan_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (py_scan_close((struct py_scan *)self) < 0) {
        py_chain_exit_error(args, nargs);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *scan_next(PyObject *self)
{
    return py_scan_take((struct py_scan *)self, PY_PART_ITEMS, 0);
}

static PyObject *scan_refuse_copy(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(args))
{
    return py_refuse_copy("a Scan", "it reads from an open database; scan again instead");
}

static int scan_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct py_scan *self = (struct py_scan *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->engine);
    Py_VISIT(self->pair);
    return 0;
}

static void scan_dealloc(PyObject *object)
{
    struct py_scan *self = (struct py_scan *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weak_references) PyObject_ClearWeakRefs(object);
    /* A forked child leaves the parent's scan alone: its thread may be inside. */
    if (self->core && self->engine->reader.fork_generation == atomic_load(&py_fork_generation)) destroy_core(self);
    PyMem_RawFree(self->kept);
    py_guard_clear(&self->guard);
    Py_XDECREF(self->pair);
    Py_XDECREF(self->engine);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef scan_methods[] = {
    PY_METHOD("only_keys", scan_only_keys, METH_NOARGS, "($self, /)", "The keys alone; moves the scan's cursor."),
    PY_METHOD("only_values", scan_only_values, METH_NOARGS, "($self, /)", "The values alone; moves the scan's cursor."),
    PY_METHOD("batches", scan_batches, PY_FAST_KEYWORDS, "($self, size=1024)",
              "Lists of up to size entries; moves the scan's cursor."),
    PY_METHOD("seek", scan_seek, METH_O, "($self, key, /)",
              "Next is the first key at or behind key, in the scan's direction and within its bounds; backwards too."),
    PY_METHOD("count", scan_count, METH_NOARGS, "($self, /)", "How many entries are left. The cursor does not move."),
    PY_METHOD("__arrow_c_stream__", py_scan_arrow_stream, PY_FAST_KEYWORDS, "($self, requested_schema=None)",
              "A capsule of an Arrow stream of what is left, as columns key and value; moves the scan's cursor."),
    PY_METHOD("close", scan_close, METH_NOARGS, "($self, /)", "Gives back what the scan holds."),
    PY_METHOD("__enter__", scan_enter, METH_NOARGS, "($self, /)", "The scan itself."),
    PY_METHOD("__exit__", scan_exit, PY_FAST, "($self, /, *exc)", "Closes the scan."),
    PY_REFUSE_COPY_METHODS(scan_refuse_copy),
    {NULL, NULL, 0, NULL},
};

static PyMemberDef scan_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct py_scan, weak_references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot scan_slots[] = {
    {Py_tp_doc, "A range, in key order, as of the moment the scan was made."},
    {Py_tp_dealloc, scan_dealloc},
    {Py_tp_traverse, scan_traverse},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, scan_next},
    {Py_tp_methods, scan_methods},
    {Py_tp_members, scan_members},
    {0, NULL},
};

PyType_Spec py_scan_spec = {"nori_lsm.Scan", sizeof(struct py_scan), 0, PY_TYPE_FLAGS, scan_slots};

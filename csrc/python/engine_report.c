/* stats() and slots(): the core's numbers as Python objects. What follows from them is computed in the package. */
#include "python/calls.h"

static int set_new(PyObject *dict, const char *name, PyObject *value)
{
    int rc = value ? PyDict_SetItemString(dict, name, value) : -1;
    Py_XDECREF(value);
    return rc;
}

static const struct {
    const char *name;
    size_t offset;
} counters[] = {
#define COUNTER(name)                                                                                                  \
    {                                                                                                                  \
#name, offsetof(struct nori_stats, name)                                                                       \
    }
    COUNTER(user_bytes_written),
    COUNTER(wal_bytes_written),
    COUNTER(flush_bytes_written),
    COUNTER(compaction_bytes_written),
    COUNTER(manifest_bytes_written),
    COUNTER(compaction_bytes_read),
    COUNTER(bytes_on_disk),
    COUNTER(live_bytes),
    COUNTER(snapshot_pinned_bytes),
    COUNTER(view_pinned_bytes),
    COUNTER(gets),
    COUNTER(puts),
    COUNTER(deletes),
    COUNTER(scans),
    COUNTER(runs_probed),
    COUNTER(blocks_read),
    COUNTER(filter_negatives),
    COUNTER(filter_false_positives),
    COUNTER(block_cache_hits),
    COUNTER(block_cache_misses),
    COUNTER(l0_files),
    COUNTER(memtable_bytes),
    COUNTER(immutable_memtables),
    COUNTER(wal_segments),
    COUNTER(wal_segments_deleted),
    COUNTER(stall_micros),
    COUNTER(delay_micros),
    COUNTER(stalls),
    COUNTER(writes_delayed),
    COUNTER(zone_changes),
    COUNTER(sequence),
    COUNTER(synced_sequence),
#undef COUNTER
};

static PyObject *make_latencies(const struct nori_stats *stats)
{
    static const char *const names[NORI_LATENCY_COUNT] = {
        [NORI_LATENCY_GET] = "get",   [NORI_LATENCY_PUT] = "put",   [NORI_LATENCY_DELETE] = "delete",
        [NORI_LATENCY_SCAN] = "scan", [NORI_LATENCY_SYNC] = "sync",
    };
    PyObject *latencies = PyDict_New();
    for (int op = 0; latencies && op < NORI_LATENCY_COUNT; op++) {
        const struct nori_latency *latency = &stats->latency[op];
        PyObject *one =
            Py_BuildValue("{s:d,s:d,s:d,s:d,s:d,s:K}", "p50", latency->p50, "p95", latency->p95, "p99", latency->p99,
                          "p999", latency->p999, "max", latency->max, "count", (unsigned long long)latency->count);
        if (set_new(latencies, names[op], one) < 0) Py_CLEAR(latencies);
    }
    return latencies;
}

static int fill_stats(PyObject *fields, const struct nori_stats *stats)
{
    static const char *const zones[] = {[NORI_ZONE_GREEN] = "green",
                                        [NORI_ZONE_YELLOW] = "yellow",
                                        [NORI_ZONE_ORANGE] = "orange",
                                        [NORI_ZONE_RED] = "red"};
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
        uint64_t value;
        memcpy(&value, (const char *)stats + counters[i].offset, sizeof value);
        if (set_new(fields, counters[i].name, PyLong_FromUnsignedLongLong(value)) < 0) return -1;
    }
    if (set_new(fields, "pressure", PyFloat_FromDouble(stats->pressure)) < 0) return -1;
    if (set_new(fields, "zone", PyUnicode_FromString(zones[stats->zone])) < 0) return -1;
    if (set_new(fields, "latency_micros", make_latencies(stats)) < 0) return -1;
    PyObject *poisoned =
        stats->poisoned
            ? PyUnicode_DecodeUTF8(stats->poisoned_text, (Py_ssize_t)strlen(stats->poisoned_text), "surrogateescape")
            : Py_NewRef(Py_None);
    return set_new(fields, "poisoned", poisoned);
}

PyObject *py_engine_stats(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct py_engine *self = (struct py_engine *)object;
    struct nori_stats stats;
    struct py_call call;
    py_call_begin(&call, self->reader.state, self);
    nori_status rc = nori_stats(self->reader.core, &stats, &call.error);
    if (py_call_end(&call, rc) < 0) return NULL;
    PyObject *fields = PyDict_New();
    if (fields && fill_stats(fields, &stats) < 0) Py_CLEAR(fields);
    PyObject *result = fields ? py_make_from_one(self->reader.state, PY_MAKE_STATS, fields) : NULL;
    Py_XDECREF(fields);
    return result;
}

/* ---------------------------------------------------------------- slots */

static PyObject *make_slot(struct py_state *state, const struct nori_slot *slot)
{
    static const char *const modes[] = {
        [NORI_MODE_LEVELED] = "leveled", [NORI_MODE_HYBRID] = "hybrid", [NORI_MODE_TIERED] = "tiered"};
    PyObject *start = PyBytes_FromStringAndSize((const char *)slot->start.data, (Py_ssize_t)slot->start.size);
    PyObject *stop = slot->stop.data
                         ? PyBytes_FromStringAndSize((const char *)slot->stop.data, (Py_ssize_t)slot->stop.size)
                         : Py_NewRef(Py_None);
    PyObject *fields = NULL;
    if (start && stop) {
        fields =
            Py_BuildValue("{s:I,s:K,s:O,s:O,s:K,s:K,s:K,s:K,s:K,s:d,s:d,s:d,s:d,s:d,s:s,s:d,s:d,s:K}", "level",
                          (unsigned)slot->level, "slot_id", (unsigned long long)slot->slot_id, "start", start, "stop",
                          stop, "runs", (unsigned long long)slot->runs, "k_max", (unsigned long long)slot->k_max,
                          "files", (unsigned long long)slot->files, "bytes", (unsigned long long)slot->bytes, "entries",
                          (unsigned long long)slot->entries, "tombstone_density", slot->tombstone_density, "heat",
                          slot->heat, "read_heat", slot->read_heat, "write_heat", slot->write_heat, "scan_heat",
                          slot->scan_heat, "mode", modes[slot->mode], "write_amp", slot->write_amp, "read_amp",
                          slot->read_amp, "reads", (unsigned long long)slot->reads);
    }
    Py_XDECREF(start);
    Py_XDECREF(stop);
    return py_make_from_fields(state, PY_MAKE_SLOT, fields);
}

PyObject *py_engine_slots(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct py_engine *self = (struct py_engine *)object;
    struct nori_slot *slots = NULL;
    struct py_call call;
    size_t count = 0;
    py_call_begin(&call, self->reader.state, self);
    nori_status rc = nori_slots(self->reader.core, &slots, &count, &call.error);
    if (py_call_end(&call, rc) < 0) return NULL;
    PyObject *result = NULL, *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list && i < count; i++) {
        PyObject *slot = make_slot(self->reader.state, &slots[i]);
        if (slot)
            PyList_SET_ITEM(list, (Py_ssize_t)i, slot);
        else
            Py_CLEAR(list);
    }
    nori_free(slots);
    if (list) result = py_make_from_one(self->reader.state, PY_MAKE_SLOT_LIST, list);
    Py_XDECREF(list);
    return result;
}

/* What Engine and Snapshot share: point reads, counts, and where iteration begins. */
#include "python/calls.h"
#include "python/convert.h"

int py_reader_enter(struct py_reader *self)
{
    if (py_reader_try_enter(self)) return 0;
    py_raise_closed(self->state, "snapshot");
    return -1;
}

void py_reader_leave_last(struct py_reader *self)
{
    struct nori_snapshot *snapshot = self->snapshot;
    self->snapshot = NULL;
    Py_BEGIN_ALLOW_THREADS nori_snapshot_destroy(snapshot);
    Py_END_ALLOW_THREADS
}

/* ---------------------------------------------------------------- one key */

struct finding {
    struct py_reader *self;
    struct py_value *value;
    struct py_call call;
    bool has_waited;
};

/* The disk, or a lock, has to be waited for. */
static void begin_to_wait(void *arg)
{
    struct finding *finding = arg;
    finding->has_waited = true;
    py_call_begin(&finding->call, finding->self->state, finding->self->engine);
}

static bool take_value(void *arg, nori_slice value)
{
    struct finding *finding = arg;
    if (!finding->value) return true;
    return finding->has_waited ? py_value_copy(finding->value, value) : py_value_make(finding->value, value);
}

/* 1: found, 0: not, -1: an exception. 'value' NULL: only whether it is there. */
static int find(struct py_reader *self, PyObject *object, struct py_value *value)
{
    struct py_bytes key;
    struct finding finding;
    bool is_found = false;
    if (py_key_init(&key, object) < 0) return -1;
    if (py_bytes_own(&key) < 0) {
        py_bytes_clear(&key);
        return -1;
    }
    if (!py_reader_try_enter(self)) {
        py_bytes_clear(&key);
        py_raise_closed(self->state, "snapshot");
        return -1;
    }
    if (value) py_value_begin(value);
    finding.self = self;
    finding.value = value;
    finding.has_waited = false;
    nori_status rc = nori_get_patient(self->core, self->snapshot, key.slice, begin_to_wait, take_value, &finding,
                                      &is_found, &finding.call.error);
    if (finding.has_waited) {
        if (py_call_end(&finding.call, rc) < 0) rc = NORI_INVALID;
    } else if (rc != NORI_OK) {
        py_raise(self->state, nori_path(self->core), rc, &finding.call.error);
    }
    py_reader_leave(self);
    py_bytes_clear(&key);
    if (rc == NORI_OK) return is_found;
    if (value) py_value_clear(value);
    return -1;
}

PyObject *py_reader_find(struct py_reader *self, PyObject *key)
{
    struct py_value value;
    return find(self, key, &value) > 0 ? py_value_finish(&value) : NULL;
}

PyObject *py_reader_subscript(PyObject *self, PyObject *key)
{
    struct py_value value;
    int found = find((struct py_reader *)self, key, &value);
    if (found > 0) return py_value_finish(&value);
    if (found == 0) PyErr_SetObject(PyExc_KeyError, key);
    return NULL;
}

int py_reader_contains(PyObject *self, PyObject *key)
{
    return find((struct py_reader *)self, key, NULL);
}

PyObject *py_reader_get(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"key", "default"};
    static const struct py_signature signature = {"get", names, 2, 1, 2, 1};
    PyObject *values[2] = {NULL, NULL};
    struct py_value value;
    if (!kwnames && (nargs == 1 || nargs == 2)) {
        values[0] = args[0];
        if (nargs == 2) values[1] = args[1];
    } else if (py_arguments(&signature, args, nargs, kwnames, values) < 0) {
        return NULL;
    }
    int found = find((struct py_reader *)self, values[0], &value);
    if (found > 0) return py_value_finish(&value);
    return found < 0 ? NULL : Py_NewRef(values[1] ? values[1] : Py_None);
}

/* ---------------------------------------------------------------- counting */

Py_ssize_t py_reader_length(PyObject *object)
{
    struct py_reader *self = (struct py_reader *)object;
    struct py_call call;
    uint64_t count = 0;
    if (py_reader_enter(self) < 0) return -1;
    py_call_begin(&call, self->state, self->engine);
    nori_status rc = nori_count(self->core, self->snapshot, &count, &call.error);
    int ended = py_call_end(&call, rc);
    py_reader_leave(self);
    if (ended < 0) return -1;
    if (count <= (uint64_t)PY_SSIZE_T_MAX) return (Py_ssize_t)count;
    PyErr_SetString(PyExc_OverflowError, "too many keys to count");
    return -1;
}

int py_reader_bool(PyObject *object)
{
    struct py_reader *self = (struct py_reader *)object;
    struct nori_scan_params params = {.limit = 1};
    const struct nori_entry *entries;
    struct nori_scan *scan = NULL;
    struct py_call call;
    size_t count = 0;
    if (py_reader_enter(self) < 0) return -1;
    params.snapshot = self->snapshot;
    py_call_begin(&call, self->state, self->engine);
    nori_status rc = nori_scan_open(self->core, &params, &scan, &call.error);
    if (rc == NORI_OK) rc = nori_scan_next(scan, 1, 1, &entries, &count, &call.error);
    nori_scan_destroy(scan);
    int ended = py_call_end(&call, rc);
    py_reader_leave(self);
    return ended < 0 ? -1 : count > 0;
}

PyObject *py_reader_estimate_len(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct py_reader *self = (struct py_reader *)object;
    struct py_call call;
    uint64_t count = 0;
    if (py_reader_enter(self) < 0) return NULL;
    py_call_begin(&call, self->state, self->engine);
    nori_status rc = nori_estimate_count(self->core, &count, &call.error);
    int ended = py_call_end(&call, rc);
    py_reader_leave(self);
    return ended < 0 ? NULL : PyLong_FromUnsignedLongLong(count);
}

/* ---------------------------------------------------------------- iteration */

PyObject *py_reader_iterate(struct py_reader *self, enum py_part part, bool reverse)
{
    struct nori_scan_params params = {.reverse = reverse};
    return py_scan_iterator_create(py_scan_create(self, &params, UINT64_MAX), part, 0, true);
}

PyObject *py_reader_iter(PyObject *self)
{
    return py_reader_iterate((struct py_reader *)self, PY_PART_KEYS, false);
}

PyObject *py_reader_reversed(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return py_reader_iterate((struct py_reader *)self, PY_PART_KEYS, true);
}

/* sync, flush, compact, checkpoint, verify: all wait, so all release the GIL. */
#include "python/calls.h"
#include "python/convert.h"

PyObject *py_engine_sync(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct py_engine *self = (struct py_engine *)object;
    struct py_call call;
    py_call_begin(&call, self->reader.state, self);
    nori_status rc = nori_sync(self->reader.core, &call.error);
    if (py_call_end(&call, rc) < 0) return NULL;
    Py_RETURN_NONE;
}

PyObject *py_engine_flush(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct py_engine *self = (struct py_engine *)object;
    struct py_call call;
    py_call_begin(&call, self->reader.state, self);
    nori_status rc = nori_flush(self->reader.core, &call.error);
    if (py_call_end(&call, rc) < 0) return NULL;
    Py_RETURN_NONE;
}

static int compact(struct py_engine *self, struct py_bound *start, struct py_bound *stop, PyObject *callback)
{
    struct py_progress progress;
    struct py_call call;
    if (py_progress_from(callback, &progress, &call) < 0) return -1;
    if (start->is_given && py_bytes_own(&start->bytes) < 0) return -1;
    if (stop->is_given && py_bytes_own(&stop->bytes) < 0) return -1;
    py_call_begin(&call, self->reader.state, self);
    nori_status rc = nori_compact(self->reader.core, py_bound(start), py_bound(stop), py_progress_fn(&progress),
                                  &progress, &call.error);
    return py_call_end(&call, rc);
}

PyObject *py_engine_compact(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"start", "stop", "progress"};
    static const struct py_signature signature = {"compact", names, 3, 0, 2, 0};
    struct py_bound start, stop;
    PyObject *values[3];
    int rc = -1;
    if (py_arguments(&signature, args, nargs, kwnames, values) < 0) return NULL;
    if (py_bound_init(&start, values[0]) < 0) return NULL;
    if (py_bound_init(&stop, values[1]) == 0) {
        rc = compact((struct py_engine *)self, &start, &stop, values[2]);
        py_bound_clear(&stop);
    }
    py_bound_clear(&start);
    if (rc < 0) return NULL;
    Py_RETURN_NONE;
}

PyObject *py_engine_checkpoint(PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"path", "progress"};
    static const struct py_signature signature = {"checkpoint", names, 2, 1, 1, 1};
    struct py_engine *self = (struct py_engine *)object;
    struct nori_checkpoint checkpoint;
    struct py_progress progress;
    struct py_call call;
    PyObject *values[2], *path, *text, *fields = NULL;
    if (py_arguments(&signature, args, nargs, kwnames, values) < 0) return NULL;
    if (py_progress_from(values[1], &progress, &call) < 0 || !PyUnicode_FSConverter(values[0], &path)) return NULL;
    py_call_begin(&call, self->reader.state, self);
    nori_status rc = nori_checkpoint(self->reader.core, PyBytes_AS_STRING(path), py_progress_fn(&progress), &progress,
                                     &checkpoint, &call.error);
    if (py_call_end(&call, rc) == 0 && (text = PyUnicode_DecodeFSDefault(PyBytes_AS_STRING(path)))) {
        fields =
            Py_BuildValue("{s:N,s:K,s:K,s:K,s:K}", "path", text, "sequence", (unsigned long long)checkpoint.sequence,
                          "files", (unsigned long long)checkpoint.files, "bytes", (unsigned long long)checkpoint.bytes,
                          "linked", (unsigned long long)checkpoint.linked);
    }
    Py_DECREF(path);
    return py_make_from_fields(self->reader.state, PY_MAKE_CHECKPOINT, fields);
}

/* ---------------------------------------------------------------- verify */

PyObject *py_finding_fields(const struct nori_finding *finding)
{
    PyObject *path = PyUnicode_DecodeFSDefault(finding->path);
    PyObject *offset = finding->offset >= 0 ? PyLong_FromLongLong(finding->offset) : Py_NewRef(Py_None);
    PyObject *message = PyUnicode_DecodeUTF8(finding->message, (Py_ssize_t)strlen(finding->message), "surrogateescape");
    PyObject *fields = NULL;
    if (path && offset && message) {
        fields = Py_BuildValue("{s:O,s:O,s:s,s:O}", "path", path, "offset", offset, "kind", finding->kind, "message",
                               message);
    }
    Py_XDECREF(path);
    Py_XDECREF(offset);
    Py_XDECREF(message);
    return fields;
}

static PyObject *make_report(struct py_state *state, const struct nori_verify_report *report)
{
    PyObject *fields, *findings = PyTuple_New((Py_ssize_t)report->finding_count);
    for (size_t i = 0; findings && i < report->finding_count; i++) {
        PyObject *finding = py_make_from_fields(state, PY_MAKE_FINDING, py_finding_fields(&report->findings[i]));
        if (finding)
            PyTuple_SET_ITEM(findings, (Py_ssize_t)i, finding);
        else
            Py_CLEAR(findings);
    }
    if (!findings) return NULL;
    fields = Py_BuildValue("{s:O,s:K,s:K,s:K,s:N}", "ok", report->finding_count ? Py_False : Py_True, "files",
                           (unsigned long long)report->files, "blocks", (unsigned long long)report->blocks, "entries",
                           (unsigned long long)report->entries, "findings", findings);
    return py_make_from_fields(state, PY_MAKE_VERIFY_REPORT, fields);
}

PyObject *py_engine_verify(PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"progress"};
    static const struct py_signature signature = {"verify", names, 1, 0, 0, 0};
    struct py_engine *self = (struct py_engine *)object;
    struct nori_verify_report report = {.findings = NULL};
    struct py_progress progress;
    struct py_call call;
    PyObject *callback, *result = NULL;
    if (py_arguments(&signature, args, nargs, kwnames, &callback) < 0) return NULL;
    if (py_progress_from(callback, &progress, &call) < 0) return NULL;
    py_call_begin(&call, self->reader.state, self);
    nori_status rc = nori_verify(self->reader.core, py_progress_fn(&progress), &progress, &report, &call.error);
    if (py_call_end(&call, rc) == 0) result = make_report(self->reader.state, &report);
    nori_free(report.findings);
    return result;
}

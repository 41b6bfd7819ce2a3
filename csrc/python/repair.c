/* repair(): like open() a call of the module, for there is no engine. */
#include "python/calls.h"
#include "python/convert.h"

enum { PATH, INTO, KEEP_DOUBTFUL, PROGRESS, ENV, ARGUMENT_COUNT };

static PyObject *make_key(const nori_slice *key)
{
    if (!key->data) return Py_NewRef(Py_None);
    return PyBytes_FromStringAndSize((const char *)key->data, (Py_ssize_t)key->size);
}

static PyObject *make_finding(struct py_state *state, const struct nori_repair_finding *finding)
{
    PyObject *fields = py_finding_fields(&finding->what);
    if (!fields) return NULL;
    if (py_set_new(fields, "start", make_key(&finding->start)) < 0 ||
        py_set_new(fields, "stop", make_key(&finding->stop)) < 0 ||
        py_set_new(fields, "dropped", PyLong_FromUnsignedLongLong(finding->dropped)) < 0)
        Py_CLEAR(fields);
    return py_make_from_fields(state, PY_MAKE_REPAIR_FINDING, fields);
}

static PyObject *make_report(struct py_state *state, PyObject *into, const struct nori_repair_report *report)
{
    static const char *const bases[] = {"manifest", "prefix", "tables"};
    PyObject *findings = PyTuple_New((Py_ssize_t)report->finding_count);
    PyObject *path = PyUnicode_DecodeFSDefault(PyBytes_AS_STRING(into)), *fields = NULL;
    for (size_t i = 0; findings && i < report->finding_count; i++) {
        PyObject *finding = make_finding(state, &report->findings[i]);
        if (finding)
            PyTuple_SET_ITEM(findings, (Py_ssize_t)i, finding);
        else
            Py_CLEAR(findings);
    }
    if (findings && path)
        fields = Py_BuildValue("{s:O,s:O,s:s,s:K,s:K,s:K,s:K,s:K,s:K,s:O,s:K}", "ok",
                               report->finding_count ? Py_False : Py_True, "path", path, "basis", bases[report->basis],
                               "sequence", (unsigned long long)report->sequence, "files",
                               (unsigned long long)report->files, "blocks", (unsigned long long)report->blocks,
                               "lost_blocks", (unsigned long long)report->lost_blocks, "entries",
                               (unsigned long long)report->entries, "dropped", (unsigned long long)report->dropped,
                               "findings", findings, "unlisted", (unsigned long long)report->unlisted);
    Py_XDECREF(findings);
    Py_XDECREF(path);
    return py_make_from_fields(state, PY_MAKE_REPAIR_REPORT, fields);
}

PyObject *py_repair(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"path", "into", "keep_doubtful", "progress", "env"};
    static const struct py_signature signature = {"repair", names, ARGUMENT_COUNT, 0, ARGUMENT_COUNT, 2};
    struct py_state *state = PyModule_GetState(module);
    struct nori_repair_report report = {.findings = NULL};
    struct nori_env *env = NULL;
    struct py_progress progress;
    struct py_call call;
    PyObject *values[ARGUMENT_COUNT], *path = NULL, *into = NULL, *result = NULL;
    bool keep_doubtful = false;

    if (py_arguments(&signature, args, nargs, kwnames, values) < 0) return NULL;
    if (py_flag_from(values[KEEP_DOUBTFUL], &keep_doubtful) < 0) return NULL;
    if (py_progress_from(values[PROGRESS], &progress, &call) < 0 || py_env_from(state, values[ENV], &env) < 0)
        return NULL;
    if (!PyUnicode_FSConverter(values[PATH], &path) || !PyUnicode_FSConverter(values[INTO], &into)) goto out;
    py_call_begin(&call, state, NULL);
    nori_status rc = nori_repair(env, PyBytes_AS_STRING(path), PyBytes_AS_STRING(into), keep_doubtful,
                                 py_progress_fn(&progress), &progress, &report, &call.error);
    if (py_call_end(&call, rc) == 0) result = make_report(state, into, &report);
    nori_repair_report_clear(&report);
out:
    Py_XDECREF(path);
    Py_XDECREF(into);
    return result;
}

/* ingest(): a bulk load. The pairs are gathered with the GIL, and become tables without it. */
#include "python/calls.h"
#include "python/convert.h"
#include "python/pairs.h"

struct ingest {
    struct py_pairs pairs;
    struct nori_ingest *core; /* Owned. */
    PyObject *progress;       /* Borrowed; NULL: none. */
    uint64_t done, total;     /* Pairs. */
};

static int tell(struct ingest *ingest, const char *phase)
{
    if (!ingest->progress) return 0;
    PyObject *fields = Py_BuildValue("{s:K,s:K,s:s,s:s}", "done", (unsigned long long)ingest->done, "total",
                                     (unsigned long long)ingest->total, "unit", "pairs", "phase", phase);
    PyObject *report = py_make_from_fields(ingest->pairs.engine->reader.state, PY_MAKE_PROGRESS, fields);
    PyObject *result = report ? PyObject_CallOneArg(ingest->progress, report) : NULL;
    Py_XDECREF(report);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static int hand_on(struct py_pairs *pairs)
{
    struct ingest *ingest = (struct ingest *)pairs;
    struct py_call call;
    py_call_begin(&call, pairs->engine->reader.state, pairs->engine);
    nori_status rc = nori_ingest_add(ingest->core, pairs->batch, &call.error);
    if (py_call_end_write(&call, rc) < 0) return -1;
    ingest->done += nori_batch_count(pairs->batch);
    ingest->total = ingest->total < ingest->done ? ingest->done : ingest->total;
    return tell(ingest, "read");
}

static int begin(struct ingest *ingest, bool sorted)
{
    struct py_engine *engine = ingest->pairs.engine;
    struct py_call call;
    py_call_begin(&call, engine->reader.state, engine);
    nori_status rc = nori_ingest_create(engine->reader.core, sorted, &ingest->core, &call.error);
    return py_call_end_write(&call, rc);
}

static int commit(struct ingest *ingest)
{
    struct py_engine *engine = ingest->pairs.engine;
    struct nori_ingest_result result;
    struct py_call call;
    py_call_begin(&call, engine->reader.state, engine);
    nori_status rc = nori_ingest_commit(ingest->core, &result, &call.error);
    return py_call_end_write(&call, rc);
}

/* Tables that were not committed are given back, which may wait. */
static void end(struct ingest *ingest)
{
    if (ingest->core) {
        Py_BEGIN_ALLOW_THREADS nori_ingest_destroy(ingest->core);
        Py_END_ALLOW_THREADS
    }
    py_pairs_clear(&ingest->pairs);
}

static PyObject *ingest_from(struct py_engine *self, PyObject *items, bool sorted, PyObject *progress)
{
    struct ingest ingest = {.progress = progress == Py_None ? NULL : progress};
    Py_ssize_t hint = PyObject_LengthHint(items, 0);
    PyObject *result = NULL;
    if (hint < 0) return NULL;
    ingest.total = (uint64_t)hint;
    if (py_pairs_init(&ingest.pairs, self, "ingest", hand_on) < 0) return NULL;
    if (begin(&ingest, sorted) == 0 && py_pairs_add_all(&ingest.pairs, items) == 0) {
        ingest.total = ingest.done;
        if (tell(&ingest, "commit") == 0 && commit(&ingest) == 0)
            result = PyLong_FromUnsignedLongLong((unsigned long long)ingest.done);
    }
    end(&ingest);
    return result;
}

PyObject *py_engine_ingest(PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"items", "sorted", "progress"};
    static const struct py_signature signature = {"ingest", names, 3, 1, 1, 1};
    struct py_engine *self = (struct py_engine *)object;
    PyObject *values[3];
    if (py_arguments(&signature, args, nargs, kwnames, values) < 0 || py_check_usable(self) < 0) return NULL;
    int sorted = values[1] ? PyObject_IsTrue(values[1]) : 0;
    if (sorted < 0) return NULL;
    PyObject *progress = values[2] ? values[2] : Py_None;
    if (progress != Py_None && !PyCallable_Check(progress))
        return PyErr_Format(PyExc_TypeError, "progress must be callable or None, not %.200s",
                            Py_TYPE(progress)->tp_name);
    return ingest_from(self, values[0], sorted, progress);
}

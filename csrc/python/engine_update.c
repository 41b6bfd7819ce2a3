/* update() and |=: dict.update's protocol, written in atomic batches of about 1 MiB. */
#include "python/calls.h"
#include "python/convert.h"
#include "python/pairs.h"

static int write_out(struct py_pairs *pairs)
{
    uint64_t sequence;
    enum nori_outcome outcome;
    return py_commit(pairs->engine, pairs->batch, -1, &sequence, &outcome);
}

static int update_from(struct py_engine *self, PyObject *other)
{
    struct py_pairs pairs;
    if (py_check_usable(self) < 0 || py_pairs_init(&pairs, self, "update", write_out) < 0) return -1;
    int rc = py_pairs_add_all(&pairs, other);
    py_pairs_clear(&pairs);
    return rc;
}

PyObject *py_engine_update(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (py_check_count("update", nargs, 0, 1) < 0) return NULL;
    if (nargs == 1 && update_from((struct py_engine *)self, args[0]) < 0) return NULL;
    Py_RETURN_NONE;
}

PyObject *py_engine_inplace_or(PyObject *self, PyObject *other)
{
    return update_from((struct py_engine *)self, other) < 0 ? NULL : Py_NewRef(self);
}

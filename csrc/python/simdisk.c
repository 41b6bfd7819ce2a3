/* SimDisk: the simulated disk (design 8). Engines on it hold it. */
#include <math.h>
#include <string.h>

#include "python/calls.h"
#include "python/convert.h"

struct py_simdisk {
    PyObject_HEAD struct py_state *state;
    struct nori_env *env;
    unsigned fork_generation;
    PyObject *weak_references;
};

struct nori_env *py_simdisk_env(PyObject *simdisk)
{
    return ((struct py_simdisk *)simdisk)->env;
}

int py_env_from(const struct py_state *state, PyObject *object, struct nori_env **env)
{
    if (!object || object == Py_None) return 0;
    if (!Py_IS_TYPE(object, state->simdisk_type)) {
        PyErr_Format(PyExc_TypeError, "env must be a SimDisk or None, not %.200s", Py_TYPE(object)->tp_name);
        return -1;
    }
    *env = py_simdisk_env(object);
    return 0;
}

static struct nori_env *env_of(PyObject *simdisk)
{
    return ((struct py_simdisk *)simdisk)->env;
}

static PyObject *finish(PyObject *simdisk, nori_status rc, const struct nori_error *error)
{
    if (rc != NORI_OK) return py_raise(((struct py_simdisk *)simdisk)->state, NULL, rc, error);
    Py_RETURN_NONE;
}

static PyObject *simdisk_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"seed", "sector", "threads", NULL};
    struct nori_error error;
    unsigned long long seed = 0;
    unsigned int sector = 512;
    int threads = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|K$Ip:SimDisk", names, &seed, &sector, &threads)) return NULL;
    struct py_simdisk *self = (struct py_simdisk *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->state = PyType_GetModuleState(type);
    self->fork_generation = atomic_load(&py_fork_generation);
    nori_status rc = nori_simdisk_create(seed, sector, threads, &self->env, &error);
    if (rc == NORI_OK) return (PyObject *)self;
    py_raise(self->state, NULL, rc, &error);
    Py_DECREF(self);
    return NULL;
}

/* ---------------------------------------------------------------- crashes and faults */

static PyObject *simdisk_crash(PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"keep"};
    static const struct py_signature signature = {"crash", names, 1, 0, 1, 0};
    struct py_simdisk *self = (struct py_simdisk *)object;
    struct py_call call;
    PyObject *value;
    double keep = -1.0;
    if (py_arguments(&signature, args, nargs, kwnames, &value) < 0) return NULL;
    if (value && value != Py_None) {
        keep = PyFloat_AsDouble(value);
        if (keep == -1.0 && PyErr_Occurred()) return NULL;
        if (!(keep >= 0.0 && keep <= 1.0)) return PyErr_Format(PyExc_ValueError, "keep must be 0 to 1, not %R", value);
    }
    py_call_begin(&call, self->state, NULL);
    nori_status rc = nori_simdisk_crash(self->env, keep, &call.error);
    if (py_call_end(&call, rc) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *simdisk_kill(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct py_simdisk *self = (struct py_simdisk *)object;
    Py_BEGIN_ALLOW_THREADS nori_simdisk_kill(self->env);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

static PyObject *simdisk_fail(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"op", "nth", "errno", "short", NULL};
    struct nori_error error;
    const char *op;
    PyObject *nth_object;
    uint64_t nth;
    int sys_errno, is_short = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sOi|$p:fail", names, &op, &nth_object, &sys_errno, &is_short))
        return NULL;
    if (py_u64_from(nth_object, "nth", 1, &nth) < 0) return NULL;
    return finish(self, nori_simdisk_fail(env_of(self), op, nth, sys_errno, is_short, &error), &error);
}

static PyObject *simdisk_stop_at(PyObject *self, PyObject *nth_object)
{
    uint64_t nth;
    if (py_u64_from(nth_object, "nth", 0, &nth) < 0) return NULL;
    nori_simdisk_stop_at(env_of(self), nth);
    Py_RETURN_NONE;
}

static PyObject *simdisk_clear_faults(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    nori_simdisk_clear_faults(env_of(self));
    Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- counts and clocks */

static PyObject *simdisk_get_operations(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(nori_simdisk_operations(env_of(self), NULL));
}

static PyObject *simdisk_get_stopped(PyObject *self, void *Py_UNUSED(closure))
{
    const char *name = nori_simdisk_stopped(env_of(self));
    if (!name) Py_RETURN_NONE;
    return PyUnicode_FromString(name);
}

static PyObject *simdisk_get_now(PyObject *self, void *Py_UNUSED(closure))
{
    return PyFloat_FromDouble((double)nori_simdisk_wall_ms(env_of(self)) / 1000.0);
}

static PyObject *simdisk_get_op_names(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    PyObject *names, *list = PyList_New(0);
    for (unsigned i = 0; list && nori_simdisk_op_name(i); i++) {
        PyObject *name = PyUnicode_FromString(nori_simdisk_op_name(i));
        if (!name || PyList_Append(list, name) < 0) Py_CLEAR(list);
        Py_XDECREF(name);
    }
    if (!list) return NULL;
    names = PyList_AsTuple(list);
    Py_DECREF(list);
    return names;
}

static PyObject *simdisk_count(PyObject *self, PyObject *op_object)
{
    const char *op = PyUnicode_AsUTF8(op_object);
    if (!op) return NULL;
    for (unsigned i = 0; nori_simdisk_op_name(i); i++) {
        if (strcmp(op, nori_simdisk_op_name(i)) == 0)
            return PyLong_FromUnsignedLongLong(nori_simdisk_operations(env_of(self), op));
    }
    return PyErr_Format(PyExc_ValueError, "there is no operation %R; see op_names", op_object);
}

/* Seconds, within what the clocks can count. */
static int seconds_from(PyObject *object, double least, double *seconds_out)
{
    *seconds_out = PyFloat_AsDouble(object);
    if (*seconds_out == -1.0 && PyErr_Occurred()) return -1;
    if (*seconds_out >= least && *seconds_out <= 1e12) return 0;
    PyErr_Format(PyExc_ValueError, "a clock cannot move by %R seconds", object);
    return -1;
}

static PyObject *simdisk_advance(PyObject *self, PyObject *object)
{
    double seconds;
    if (seconds_from(object, 0, &seconds) < 0) return NULL;
    nori_simdisk_advance(env_of(self), (int64_t)llround(seconds * 1e6), (int64_t)llround(seconds * 1e3));
    Py_RETURN_NONE;
}

static PyObject *simdisk_advance_wall(PyObject *self, PyObject *object)
{
    double seconds;
    if (seconds_from(object, -1e12, &seconds) < 0) return NULL;
    nori_simdisk_advance(env_of(self), 0, (int64_t)llround(seconds * 1e3));
    Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- files */

static PyObject *simdisk_read_file(PyObject *self, PyObject *path_object)
{
    struct nori_error error;
    PyObject *path, *result = NULL;
    uint8_t *data = NULL;
    size_t size = 0;
    if (!PyUnicode_FSConverter(path_object, &path)) return NULL;
    nori_status rc = nori_simdisk_read_file(env_of(self), PyBytes_AS_STRING(path), &data, &size, &error);
    if (rc == NORI_OK)
        result = PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)size);
    else
        finish(self, rc, &error);
    nori_free(data);
    Py_DECREF(path);
    return result;
}

static PyObject *simdisk_write_file(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct nori_error error;
    struct py_bytes data;
    PyObject *path, *result = NULL;
    if (py_check_count("write_file", nargs, 2, 2) < 0 || !PyUnicode_FSConverter(args[0], &path)) return NULL;
    if (py_bytes_init(&data, args[1]) == 0) {
        result =
            finish(self, nori_simdisk_write_file(env_of(self), PyBytes_AS_STRING(path), data.slice, &error), &error);
        py_bytes_clear(&data);
    }
    Py_DECREF(path);
    return result;
}

static PyObject *simdisk_remove_file(PyObject *self, PyObject *path_object)
{
    struct nori_error error;
    PyObject *path;
    if (!PyUnicode_FSConverter(path_object, &path)) return NULL;
    PyObject *result = finish(self, nori_simdisk_remove_file(env_of(self), PyBytes_AS_STRING(path), &error), &error);
    Py_DECREF(path);
    return result;
}

static void append_name(void *arg, const char *name)
{
    PyObject *text = PyErr_Occurred() ? NULL : PyUnicode_DecodeFSDefault(name);
    if (text) (void)PyList_Append(arg, text); /* A failure is noticed by its exception. */
    Py_XDECREF(text);
}

static PyObject *simdisk_list(PyObject *self, PyObject *path_object)
{
    struct nori_error error;
    PyObject *path, *list;
    if (!PyUnicode_FSConverter(path_object, &path)) return NULL;
    list = PyList_New(0);
    if (list) {
        nori_status rc = nori_simdisk_list(env_of(self), PyBytes_AS_STRING(path), append_name, list, &error);
        if (rc != NORI_OK && !PyErr_Occurred()) finish(self, rc, &error);
        if (PyErr_Occurred()) Py_CLEAR(list);
    }
    Py_DECREF(path);
    return list;
}

/* ---------------------------------------------------------------- the type */

static PyObject *simdisk_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<nori_lsm.testing.SimDisk at %p, %llu operations>", (void *)self,
                                (unsigned long long)nori_simdisk_operations(env_of(self), NULL));
}

static PyObject *simdisk_refuse_copy(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(args))
{
    return py_refuse_copy("a SimDisk", "engines may be open on it");
}

static int simdisk_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    return 0;
}

static void simdisk_dealloc(PyObject *object)
{
    struct py_simdisk *self = (struct py_simdisk *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weak_references) PyObject_ClearWeakRefs(object);
    if (self->fork_generation == atomic_load(&py_fork_generation)) nori_simdisk_destroy(self->env);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef simdisk_methods[] = {
    PY_METHOD("crash", simdisk_crash, PY_FAST_KEYWORDS, "($self, keep=None)",
              "Cuts the power. keep: the chance of what was not synced to survive; None: drawn from the seed."),
    PY_METHOD("kill", simdisk_kill, METH_NOARGS, "($self, /)", "Like kill -9: what was written stays."),
    PY_METHOD("fail", simdisk_fail, METH_VARARGS | METH_KEYWORDS, "($self, op, nth, errno, *, short=False)",
              "The nth operation of kind op from now fails with errno."),
    PY_METHOD("stop_at", simdisk_stop_at, METH_O, "($self, nth, /)",
              "From the nth operation from now on nothing works, until crash() or kill(). 0 takes it back."),
    PY_METHOD("clear_faults", simdisk_clear_faults, METH_NOARGS, "($self, /)", "Takes back what fail() said."),
    PY_METHOD("count", simdisk_count, METH_O, "($self, op, /)", "How many operations of kind op there were."),
    PY_METHOD("advance", simdisk_advance, METH_O, "($self, seconds, /)", "Moves both clocks forward."),
    PY_METHOD("advance_wall", simdisk_advance_wall, METH_O, "($self, seconds, /)",
              "Moves the wall clock alone, back too."),
    PY_METHOD("read_file", simdisk_read_file, METH_O, "($self, path, /)", "A whole file."),
    PY_METHOD("write_file", simdisk_write_file, PY_FAST, "($self, path, data, /)", "Replaces a file, durably."),
    PY_METHOD("remove_file", simdisk_remove_file, METH_O, "($self, path, /)", "Removes a file, durably."),
    PY_METHOD("list", simdisk_list, METH_O, "($self, path, /)", "The names in a directory."),
    PY_REFUSE_COPY_METHODS(simdisk_refuse_copy),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef simdisk_properties[] = {
    {"operations", simdisk_get_operations, NULL, "How many operations there were.", NULL},
    {"stopped", simdisk_get_stopped, NULL, "The kind of the operation that stop_at() stopped first; None: it works.",
     NULL},
    {"now", simdisk_get_now, NULL, "The wall clock, in seconds since 1970, as engines here see it.", NULL},
    {"op_names", simdisk_get_op_names, NULL, "The kinds of operations.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef simdisk_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct py_simdisk, weak_references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot simdisk_slots[] = {
    {Py_tp_doc, "SimDisk(seed=0, *, sector=512, threads=False)\n--\n\n"
                "A disk in memory that can lose power, fail, and be damaged. Same seed, same run."},
    {Py_tp_new, simdisk_new},
    {Py_tp_dealloc, simdisk_dealloc},
    {Py_tp_traverse, simdisk_traverse},
    {Py_tp_repr, simdisk_repr},
    {Py_tp_methods, simdisk_methods},
    {Py_tp_members, simdisk_members},
    {Py_tp_getset, simdisk_properties},
    {0, NULL},
};

PyType_Spec py_simdisk_spec = {"nori_lsm._core.SimDisk", sizeof(struct py_simdisk), 0,
                               Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, simdisk_slots};

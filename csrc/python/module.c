/* nori_lsm._core: the module. Multi-phase, its state apart for each interpreter. */
#include <string.h>

#include "python/calls.h"

static struct py_state *state_of(PyObject *module)
{
    return PyModule_GetState(module);
}

/* ---------------------------------------------------------------- results the package makes */

PyObject *py_make_from_one(struct py_state *state, enum py_maker maker, PyObject *argument)
{
    PyObject *callable = state->makers[maker];
    return callable ? PyObject_CallOneArg(callable, argument) : Py_NewRef(argument);
}

PyObject *py_make_from_fields(struct py_state *state, enum py_maker maker, PyObject *fields)
{
    PyObject *callable = state->makers[maker], *none, *result;
    if (!fields || !callable) return fields;
    none = PyTuple_New(0);
    result = none ? PyObject_Call(callable, none, fields) : NULL;
    Py_XDECREF(none);
    Py_DECREF(fields);
    return result;
}

static PyObject *module_register(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static const char *const names[PY_MAKE_COUNT] = {
        [PY_MAKE_CONFIG] = "config_from_pairs",
        [PY_MAKE_STATS] = "stats",
        [PY_MAKE_SLOT] = "slot",
        [PY_MAKE_SLOT_LIST] = "slot_list",
        [PY_MAKE_VERIFY_REPORT] = "verify_report",
        [PY_MAKE_FINDING] = "finding",
        [PY_MAKE_REPAIR_REPORT] = "repair_report",
        [PY_MAKE_REPAIR_FINDING] = "repair_finding",
        [PY_MAKE_CHECKPOINT] = "checkpoint",
        [PY_MAKE_PROGRESS] = "progress",
        [PY_MAKE_ENGINE_HTML] = "engine_html",
        [PY_MAKE_EVENT] = "event",
        [PY_MAKE_DECISION] = "decision",
        [PY_MAKE_EVENTS] = "events",
        [PY_MAKE_SUBSCRIPTION] = "subscribe",
        [PY_MAKE_RECORDER] = "record",
    };
    struct py_state *state = state_of(module);
    PyObject *name, *callable;
    Py_ssize_t position = 0;
    if (PyTuple_GET_SIZE(args) > 0) {
        PyErr_SetString(PyExc_TypeError, "_register() takes no positional arguments");
        return NULL;
    }
    while (kwargs && PyDict_Next(kwargs, &position, &name, &callable)) {
        int maker = 0;
        while (maker < PY_MAKE_COUNT && PyUnicode_CompareWithASCIIString(name, names[maker]) != 0) maker++;
        if (maker == PY_MAKE_COUNT)
            return PyErr_Format(PyExc_TypeError, "_register() got an unexpected keyword argument '%U'", name);
        if (!PyCallable_Check(callable)) return PyErr_Format(PyExc_TypeError, "%U must be callable", name);
        Py_XSETREF(state->makers[maker], Py_NewRef(callable));
    }
    Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- the interpreter's exit */

static PyObject *close_open_engines(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    struct py_state *state = state_of(module);
    while (state->open_engines) {
        struct py_engine *engine = state->open_engines;
        Py_INCREF((PyObject *)engine);
        py_engine_unlist(engine);
        if (engine->reader.fork_generation == atomic_load(&py_fork_generation)) py_engine_close_forgotten(engine);
        Py_DECREF((PyObject *)engine);
    }
    Py_RETURN_NONE;
}

static int register_exit(PyObject *module)
{
    PyObject *atexit = PyImport_ImportModule("atexit");
    PyObject *hook = atexit ? PyObject_GetAttrString(module, "_close_open_engines") : NULL;
    PyObject *result = hook ? PyObject_CallMethod(atexit, "register", "O", hook) : NULL;
    Py_XDECREF(atexit);
    Py_XDECREF(hook);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* ---------------------------------------------------------------- setting up */

static PyTypeObject *add_type(PyObject *module, PyType_Spec *spec)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    if (type && PyModule_AddObjectRef(module, strrchr(spec->name, '.') + 1, (PyObject *)type) < 0) Py_CLEAR(type);
    return type;
}

static int add_types(PyObject *module, struct py_state *state)
{
    const struct {
        PyTypeObject **type;
        PyType_Spec *spec;
    } types[] = {
        {&state->engine_type, &py_engine_spec},   {&state->snapshot_type, &py_snapshot_spec},
        {&state->batch_type, &py_batch_spec},     {&state->scan_type, &py_scan_spec},
        {&state->keys_type, &py_keys_spec},       {&state->values_type, &py_values_spec},
        {&state->items_type, &py_items_spec},     {&state->scan_iterator_type, &py_scan_iterator_spec},
        {&state->simdisk_type, &py_simdisk_spec},
    };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        *types[i].type = add_type(module, types[i].spec);
        if (!*types[i].type) return -1;
    }
    return 0;
}

static int register_types(struct py_state *state)
{
    const struct {
        const char *abc;
        PyTypeObject *type;
    } registrations[] = {
        {"MutableMapping", state->engine_type},  {"Mapping", state->snapshot_type}, {"Iterator", state->scan_type},
        {"Iterator", state->scan_iterator_type}, {"KeysView", state->keys_type},    {"ValuesView", state->values_type},
        {"ItemsView", state->items_type},
    };
    PyObject *abcs = PyImport_ImportModule("collections.abc");
    int rc = abcs ? 0 : -1;
    for (size_t i = 0; rc == 0 && i < sizeof registrations / sizeof registrations[0]; i++) {
        PyObject *abc = PyObject_GetAttrString(abcs, registrations[i].abc);
        PyObject *result = abc ? PyObject_CallMethod(abc, "register", "O", registrations[i].type) : NULL;
        if (!result) rc = -1;
        Py_XDECREF(result);
        Py_XDECREF(abc);
    }
    if (rc == 0 && !(state->mapping_abc = PyObject_GetAttrString(abcs, "Mapping"))) rc = -1;
    if (rc == 0 && !(state->set_abc = PyObject_GetAttrString(abcs, "Set"))) rc = -1;
    Py_XDECREF(abcs);
    return rc;
}

static int module_exec(PyObject *module)
{
    struct py_state *state = state_of(module);
    if (py_calls_start(state) < 0 || py_errors_add(module, state) < 0) return -1;
    if (add_types(module, state) < 0 || register_types(state) < 0 || register_exit(module) < 0) return -1;
    return PyModule_AddStringConstant(module, "__version__", nori_version());
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct py_state *state = state_of(module);
    for (int i = 0; i < PY_ERROR_COUNT; i++) Py_VISIT(state->errors[i]);
    for (int i = 0; i < PY_MAKE_COUNT; i++) Py_VISIT(state->makers[i]);
    Py_VISIT(state->mapping_abc);
    Py_VISIT(state->set_abc);
    Py_VISIT(state->engine_type);
    Py_VISIT(state->snapshot_type);
    Py_VISIT(state->batch_type);
    Py_VISIT(state->scan_type);
    Py_VISIT(state->scan_iterator_type);
    Py_VISIT(state->keys_type);
    Py_VISIT(state->values_type);
    Py_VISIT(state->items_type);
    Py_VISIT(state->simdisk_type);
    return 0;
}

static int module_clear(PyObject *module)
{
    struct py_state *state = state_of(module);
    for (int i = 0; i < PY_ERROR_COUNT; i++) Py_CLEAR(state->errors[i]);
    for (int i = 0; i < PY_MAKE_COUNT; i++) Py_CLEAR(state->makers[i]);
    Py_CLEAR(state->mapping_abc);
    Py_CLEAR(state->set_abc);
    Py_CLEAR(state->engine_type);
    Py_CLEAR(state->snapshot_type);
    Py_CLEAR(state->batch_type);
    Py_CLEAR(state->scan_type);
    Py_CLEAR(state->scan_iterator_type);
    Py_CLEAR(state->keys_type);
    Py_CLEAR(state->values_type);
    Py_CLEAR(state->items_type);
    Py_CLEAR(state->simdisk_type);
    return 0;
}

static void module_free(void *module)
{
    (void)module_clear(module);
}

static PyMethodDef module_methods[] = {
    PY_METHOD(
        "open", py_engine_open, PY_FAST_KEYWORDS,
        "($module, path, options=None, overrides=(), create=True, exist_ok=True, read_only=False, wait=0.0, env=None)",
        "Opens a database; options and overrides are pairs of dotted name and text."),
    PY_METHOD("check_options", py_options_check, METH_O, "($module, pairs, /)",
              "All options in normal form: the defaults with pairs set over them."),
    PY_METHOD("default_options", py_options_default, METH_NOARGS, "($module, /)",
              "All options as they are by default."),
    PY_METHOD("latency_bounds", py_latency_bounds, METH_NOARGS, "($module, /)",
              "Upper bounds, in microseconds, by which Engine._latency_counts() counts."),
    PY_METHOD("simulate", py_simulate, PY_FAST, "($module, options, numbers, ranges, progress, /)",
              "What the engine would do: see nori_lsm.simulate."),
    PY_METHOD("repair", py_repair, PY_FAST_KEYWORDS,
              "($module, path, into, keep_doubtful=False, progress=None, env=None)",
              "Salvages what is whole of a damaged database into a new one: see nori_lsm.repair."),
    PY_METHOD("_report_unraisable", py_report_unraisable, PY_FAST, "($module, exception, source, /)",
              "Hands an exception that nobody can catch to sys.unraisablehook."),
    PY_METHOD("_register", module_register, METH_VARARGS | METH_KEYWORDS, "($module, /, **makers)",
              "Tells what to build results with."),
    PY_METHOD("_close_open_engines", close_open_engines, METH_NOARGS, "($module, /)", "For the interpreter's exit."),
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

struct PyModuleDef py_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "nori_lsm._core",
    .m_doc = "The binding of the C core.",
    .m_size = sizeof(struct py_state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&py_module);
}

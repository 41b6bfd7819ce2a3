/* simulate(): what the engine would do. Numbers by name in, numbers by name out; nori_lsm/simulate.py gives them
 * form. */
#include <stddef.h>
#include <string.h>

#include "nori_simulate.h"
#include "python/calls.h"
#include "python/convert.h"

/* ---------------------------------------------------------------- what is asked */

enum kind { KIND_U64, KIND_U32, KIND_REAL, KIND_INT };

static const struct {
    const char *name;
    size_t offset;
    enum kind kind;
} parameters[] = {
#define PARAMETER(name, kind)                                                                                          \
    {                                                                                                                  \
#name, offsetof(struct nori_simulation, name), kind                                                            \
    }
    PARAMETER(keys, KIND_U64),
    PARAMETER(key_bytes, KIND_U32),
    PARAMETER(value_bytes, KIND_U32),
    PARAMETER(stored_share, KIND_REAL),
    PARAMETER(memtable_entries, KIND_U64),
    PARAMETER(load_bytes_per_sec, KIND_REAL),
    PARAMETER(write_bytes_per_sec, KIND_REAL),
    PARAMETER(reads_per_sec, KIND_REAL),
    PARAMETER(scans_per_sec, KIND_REAL),
    PARAMETER(delete_share, KIND_REAL),
    PARAMETER(write_bytes, KIND_U64),
    PARAMETER(warm_up_bytes, KIND_U64),
    PARAMETER(merge_bytes_per_sec, KIND_REAL),
    PARAMETER(edit_secs, KIND_REAL),
    PARAMETER(probe_ns, KIND_REAL),
    PARAMETER(rewrite_ns, KIND_REAL),
    PARAMETER(wait_at_depth, KIND_U64),
    PARAMETER(rotate_secs, KIND_REAL),
    PARAMETER(start, KIND_INT),
    PARAMETER(seed, KIND_U64),
#undef PARAMETER
};

static int refuse(const char *name, PyObject *value)
{
    PyErr_Clear();
    PyErr_Format(PyExc_ValueError, "%s is %R, which is out of range", name, value);
    return -1;
}

static int set_parameter(struct nori_simulation *simulation, size_t index, PyObject *value)
{
    void *field = (char *)simulation + parameters[index].offset;
    if (parameters[index].kind == KIND_REAL) {
        double number = PyFloat_AsDouble(value);
        if (PyErr_Occurred()) return refuse(parameters[index].name, value);
        memcpy(field, &number, sizeof number);
        return 0;
    }
    unsigned long long number = PyLong_Check(value) ? PyLong_AsUnsignedLongLong(value) : ULLONG_MAX;
    bool is_small = parameters[index].kind != KIND_U64;
    if (PyErr_Occurred() || !PyLong_Check(value) || (is_small && number > INT32_MAX))
        return refuse(parameters[index].name, value);
    uint64_t wide = number;
    uint32_t narrow = (uint32_t)number;
    if (is_small)
        memcpy(field, &narrow, sizeof narrow);
    else
        memcpy(field, &wide, sizeof wide);
    return 0;
}

static int set_parameters(struct nori_simulation *simulation, PyObject *numbers)
{
    PyObject *name, *value;
    Py_ssize_t position = 0;
    if (!PyDict_Check(numbers)) {
        PyErr_SetString(PyExc_TypeError, "simulate() takes its numbers as a dict");
        return -1;
    }
    while (PyDict_Next(numbers, &position, &name, &value)) {
        size_t index = 0, count = sizeof parameters / sizeof parameters[0];
        while (index < count && PyUnicode_CompareWithASCIIString(name, parameters[index].name) != 0) index++;
        if (index == count) {
            PyErr_Format(PyExc_TypeError, "simulate() knows no %R", name);
            return -1;
        }
        if (set_parameter(simulation, index, value) < 0) return -1;
    }
    return 0;
}

/* Three numbers each. '*count_out' is at most NORI_SIMULATED_RANGES. */
static int ranges_from(PyObject *sequence, struct nori_simulated_range *ranges, size_t *count_out)
{
    PyObject *list = PySequence_Tuple(sequence);
    if (!list) return -1;
    int rc = 0;
    *count_out = (size_t)PyTuple_GET_SIZE(list);
    if (*count_out > NORI_SIMULATED_RANGES) {
        PyErr_Format(PyExc_ValueError, "ranges: %zu are more than %d", *count_out, NORI_SIMULATED_RANGES);
        rc = -1;
    }
    for (size_t i = 0; rc == 0 && i < *count_out; i++) {
        PyObject *range = PyTuple_GET_ITEM(list, (Py_ssize_t)i);
        if (!PyTuple_Check(range)) {
            PyErr_SetString(PyExc_TypeError, "ranges: each must be a tuple of three numbers");
            rc = -1;
        } else if (!PyArg_ParseTuple(range, "ddd;ranges: each must be a tuple of three numbers", &ranges[i].keys,
                                     &ranges[i].writes, &ranges[i].reads)) {
            rc = -1;
        }
    }
    Py_DECREF(list);
    return rc;
}

/* ---------------------------------------------------------------- what came of it */

static const struct {
    const char *name;
    size_t offset;
    bool is_real;
} results[] = {
#define RESULT(name, is_real)                                                                                          \
    {                                                                                                                  \
#name, offsetof(struct nori_simulation_report, name), is_real                                                  \
    }
    RESULT(seconds, true),
    RESULT(wall_seconds, true),
    RESULT(user_bytes, false),
    RESULT(flush_bytes, false),
    RESULT(compaction_bytes, false),
    RESULT(manifest_bytes, false),
    RESULT(edits, false),
    RESULT(load_write_amp, true),
    RESULT(write_amp, true),
    RESULT(max_write_amp, true),
    RESULT(read_amp, true),
    RESULT(max_read_amp, true),
    RESULT(blocks_per_read, true),
    RESULT(space_amp, true),
    RESULT(max_space_amp, true),
    RESULT(stall_share, true),
    RESULT(waited_share, true),
    RESULT(table_bytes, false),
    RESULT(files, false),
    RESULT(peak_files, false),
    RESULT(peak_slots, false),
    RESULT(filter_bytes, false),
    RESULT(index_bytes, false),
    RESULT(memory_bytes, false),
    RESULT(snapshot_bytes, false),
    RESULT(open_seconds, true),
    RESULT(planning_seconds, true),
    RESULT(installing_seconds, true),
    RESULT(plans, false),
#undef RESULT
};

static PyObject *make_level(const struct nori_simulated_level *level)
{
    return Py_BuildValue("{s:K,s:K,s:K,s:K,s:K,s:d}", "slots", (unsigned long long)level->slots, "runs",
                         (unsigned long long)level->runs, "files", (unsigned long long)level->files, "bytes",
                         (unsigned long long)level->bytes, "most_runs", (unsigned long long)level->most_runs, "mean_k",
                         level->mean_k);
}

static PyObject *make_sample(const struct nori_simulated_sample *sample)
{
    return Py_BuildValue("{s:d,s:d,s:d,s:d,s:d,s:K,s:K,s:K}", "seconds", sample->seconds, "write_amp",
                         sample->write_amp, "space_amp", sample->space_amp, "read_amp", sample->read_amp,
                         "blocks_per_read", sample->blocks_per_read, "l0_depth", (unsigned long long)sample->l0_depth,
                         "files", (unsigned long long)sample->files, "slots", (unsigned long long)sample->slots);
}

static PyObject *make_action(const struct nori_simulated_action *action)
{
    return Py_BuildValue("{s:s,s:K,s:K}", "action", action->name, "count", (unsigned long long)action->count, "bytes",
                         (unsigned long long)action->bytes);
}

typedef PyObject *(*make_fn)(const struct nori_simulation_report *report, size_t index);

static PyObject *level_at(const struct nori_simulation_report *report, size_t index)
{
    return make_level(&report->levels[index]);
}
static PyObject *sample_at(const struct nori_simulation_report *report, size_t index)
{
    return make_sample(&report->samples[index]);
}
static PyObject *action_at(const struct nori_simulation_report *report, size_t index)
{
    return make_action(&report->actions[index]);
}
static PyObject *range_at(const struct nori_simulation_report *report, size_t index)
{
    return PyFloat_FromDouble(report->range_read_amp[index]);
}

static PyObject *make_list(const struct nori_simulation_report *report, size_t count, make_fn make)
{
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list && i < count; i++) {
        PyObject *item = make(report, i);
        if (item)
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
        else
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *make_report(const struct nori_simulation_report *report, size_t range_count)
{
    PyObject *dict = PyDict_New();
    int rc = dict ? 0 : -1;
    for (size_t i = 0; rc == 0 && i < sizeof results / sizeof results[0]; i++) {
        const char *field = (const char *)report + results[i].offset;
        double real;
        uint64_t number;
        memcpy(&real, field, sizeof real);
        memcpy(&number, field, sizeof number);
        rc = py_set_new(dict, results[i].name,
                        results[i].is_real ? PyFloat_FromDouble(real) : PyLong_FromUnsignedLongLong(number));
    }
    if (rc == 0) rc = py_set_new(dict, "levels", make_list(report, report->level_count, level_at));
    if (rc == 0) rc = py_set_new(dict, "actions", make_list(report, report->action_count, action_at));
    if (rc == 0) rc = py_set_new(dict, "samples", make_list(report, report->sample_count, sample_at));
    if (rc == 0)
        rc = py_set_new(dict, "range_read_amp", make_list(report, range_count > 0 ? range_count : 1, range_at));
    if (rc < 0) Py_CLEAR(dict);
    return dict;
}

PyObject *py_simulate(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    struct nori_options options;
    struct nori_simulated_range ranges[NORI_SIMULATED_RANGES];
    struct nori_simulation simulation;
    struct py_call call;
    if (py_check_count("simulate", nargs, 4, 4) < 0) return NULL;
    nori_simulation_init(&simulation);
    if (py_options_from(module, args[0], &options) < 0 || set_parameters(&simulation, args[1]) < 0) return NULL;
    if (ranges_from(args[2], ranges, &simulation.range_count) < 0) return NULL;
    struct nori_simulation_report *report = PyMem_RawMalloc(sizeof *report);
    if (!report) return PyErr_NoMemory();
    struct py_progress progress = {&call, args[3] == Py_None ? NULL : args[3]};
    simulation.options = &options;
    simulation.ranges = ranges;
    simulation.progress = progress.callback ? py_progress_report : NULL;
    simulation.progress_arg = &progress;
    py_call_begin(&call, PyModule_GetState(module), NULL);
    nori_status rc = nori_simulate(&simulation, report, &call.error);
    PyObject *result = py_call_end(&call, rc) < 0 ? NULL : make_report(report, simulation.range_count);
    PyMem_RawFree(report);
    return result;
}

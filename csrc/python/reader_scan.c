/* scan(): its bounds. */
#include "python/calls.h"
#include "python/convert.h"

#include <string.h>

static int compare(nori_slice a, nori_slice b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    int order = size ? memcmp(a.data, b.data, size) : 0;
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* Writes the first key behind all that begin with 'prefix' into 'room' (of prefix.size bytes). False: there is none. */
static bool make_successor(nori_slice prefix, uint8_t *room, nori_slice *successor_out)
{
    size_t size = prefix.size;
    while (size > 0 && prefix.data[size - 1] == 0xff) size--;
    if (size == 0) return false;
    memcpy(room, prefix.data, size);
    room[size - 1]++;
    *successor_out = (nori_slice){room, size};
    return true;
}

/* Narrows the bounds of 'params' to the keys that begin with 'prefix'. What they point to stays the callers'. */
static void intersect_prefix(struct nori_scan_params *params, const nori_slice *prefix, uint8_t *room,
                             nori_slice *successor)
{
    if (!params->start || compare(*params->start, *prefix) < 0) {
        params->start = prefix;
        params->exclude_start = false;
    }
    if (make_successor(*prefix, room, successor) && (!params->stop || compare(*params->stop, *successor) >= 0)) {
        params->stop = successor;
        params->include_stop = false;
    }
}

struct scan_arguments {
    struct py_bound start, stop, prefix;
    struct nori_scan_params params;
    uint64_t limit;
};

enum { START, STOP, PREFIX, REVERSE, LIMIT, INCLUDE_START, INCLUDE_STOP, ARGUMENT_COUNT };

/* Flags and numbers first, then the buffers: nothing to give back on the way. */
static int convert(struct scan_arguments *arguments, PyObject *const *values)
{
    bool include_start = true;
    memset(&arguments->params, 0, sizeof arguments->params);
    if (py_flag_from(values[REVERSE], &arguments->params.reverse) < 0) return -1;
    if (py_flag_from(values[INCLUDE_START], &include_start) < 0) return -1;
    if (py_flag_from(values[INCLUDE_STOP], &arguments->params.include_stop) < 0) return -1;
    arguments->params.exclude_start = !include_start;
    if (py_limit_from(values[LIMIT], &arguments->limit) < 0) return -1;
    if (py_bound_init(&arguments->start, values[START]) < 0) return -1;
    if (py_bound_init(&arguments->stop, values[STOP]) < 0) goto fail_stop;
    if (py_bound_init(&arguments->prefix, values[PREFIX]) < 0) goto fail_prefix;
    return 0;
fail_prefix:
    py_bound_clear(&arguments->stop);
fail_stop:
    py_bound_clear(&arguments->start);
    return -1;
}

static PyObject *open_scan(struct py_reader *self, struct scan_arguments *arguments)
{
    struct nori_scan_params *params = &arguments->params;
    const nori_slice *prefix = py_bound(&arguments->prefix);
    nori_slice successor;
    uint8_t *room = NULL;
    PyObject *scan;
    if (arguments->start.is_given && py_bytes_own(&arguments->start.bytes) < 0) return NULL;
    if (arguments->stop.is_given && py_bytes_own(&arguments->stop.bytes) < 0) return NULL;
    if (prefix && py_bytes_own(&arguments->prefix.bytes) < 0) return NULL;
    params->start = py_bound(&arguments->start);
    params->stop = py_bound(&arguments->stop);
    if (prefix) {
        room = PyMem_RawMalloc(prefix->size + 1);
        if (!room) return PyErr_NoMemory();
        intersect_prefix(params, prefix, room, &successor);
    }
    scan = py_scan_create(self, params, arguments->limit);
    PyMem_RawFree(room);
    return scan;
}

PyObject *py_reader_scan(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"start", "stop", "prefix", "reverse", "limit", "include_start", "include_stop"};
    static const struct py_signature signature = {"scan", names, ARGUMENT_COUNT, 0, 2, 0};
    PyObject *values[ARGUMENT_COUNT], *scan;
    struct scan_arguments arguments;
    if (py_arguments(&signature, args, nargs, kwnames, values) < 0) return NULL;
    if (convert(&arguments, values) < 0) return NULL;
    scan = open_scan((struct py_reader *)self, &arguments);
    py_bound_clear(&arguments.start);
    py_bound_clear(&arguments.stop);
    py_bound_clear(&arguments.prefix);
    return scan;
}

/* Scan.__arrow_c_stream__: what is left of a scan as a stream of Arrow arrays.
 *
 * The stream's callbacks are called by any thread, with or without the GIL. They take it (PyGILState_Ensure) for the
 * scan's guard, its references and exceptions, and leave it while entries are read and copied. PyGILState is of the
 * main interpreter: elsewhere there are no such streams. While the interpreter ends a thread that comes for the GIL
 * does not return, as ever; when it has ended the stream answers with an error, and its release lets the scan be.
 *
 * Signal handlers do not run in a callback: their exception would have to pass through the consumer's code, which knows
 * none. It is raised when the consumer is back in Python. */
#include "python/arrow_columns.h"
#include "python/convert.h"
#include "python/scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* An array ends at whichever comes first; a single row may be larger. */
#define ARRAY_ROWS ((size_t)64 << 10)
#define ARRAY_BYTES ((size_t)8 << 20)
/* Of a failure no more than so many rows before it are left to the next array. */
#define ROWS_AT_ONCE ((size_t)4096)

struct stream {
    struct py_scan *scan; /* Owned. */
    enum py_arrow_layout layouts[PY_ARROW_COLUMN_COUNT];
    size_t last_rows, last_bytes[PY_ARROW_COLUMN_COUNT]; /* Of the last array: the next one may be like it. */
    char message[640];                                   /* Of the last error; empty: none. */
};

/* ---------------------------------------------------------------- errors */

static int errno_of(PyObject *exception)
{
    int value = 0;
    if (PyErr_GivenExceptionMatches(exception, PyExc_MemoryError)) return ENOMEM;
    if (PyErr_GivenExceptionMatches(exception, PyExc_ValueError)) return EINVAL;
    if (PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt)) return EINTR;
    if (PyErr_GivenExceptionMatches(exception, PyExc_OSError)) {
        PyObject *number = PyObject_GetAttrString(exception, "errno");
        if (number && PyLong_Check(number)) value = (int)PyLong_AsLong(number);
        Py_XDECREF(number);
        PyErr_Clear();
    }
    return value > 0 ? value : EIO;
}

/* Takes the exception that is set into the stream's message: "ClosedError: the scan is closed". Its errno. */
static int note_exception(struct stream *stream)
{
    PyObject *kind, *value, *traceback;
    PyErr_Fetch(&kind, &value, &traceback);
    PyErr_NormalizeException(&kind, &value, &traceback);
    int number = errno_of(value);
    PyObject *text = PyObject_Str(value);
    PyObject *bytes = text ? PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace") : NULL;
    const char *name = strrchr(Py_TYPE(value)->tp_name, '.');
    snprintf(stream->message, sizeof stream->message, "%s: %s", name ? name + 1 : Py_TYPE(value)->tp_name,
             bytes ? PyBytes_AS_STRING(bytes) : "");
    PyErr_Clear();
    Py_XDECREF(bytes);
    Py_XDECREF(text);
    Py_XDECREF(kind);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return number;
}

static int fail(struct stream *stream, int number, const char *message)
{
    snprintf(stream->message, sizeof stream->message, "%s", message);
    return number;
}

/* ---------------------------------------------------------------- an array's rows */

/* How many of the entries still go in. */
static size_t count_fitting(const struct py_arrow_columns *columns, const struct nori_entry *entries, size_t most)
{
    size_t rows = py_arrow_columns_rows(columns), bytes = py_arrow_columns_bytes(columns), count = 0;
    if (most > ARRAY_ROWS - rows) most = ARRAY_ROWS - rows;
    while (count < most) {
        bytes += entries[count].key.size + entries[count].value.size;
        if (bytes > ARRAY_BYTES && rows + count > 0) break;
        count++;
    }
    return count;
}

/* Where entries go as they are shown. */
struct sink {
    struct py_arrow_columns *columns;
    bool is_out_of_memory;
};

static size_t take_entries(void *arg, const struct nori_entry *entries, size_t count)
{
    struct sink *sink = arg;
    size_t fitting = count_fitting(sink->columns, entries, count);
    sink->is_out_of_memory = fitting > 0 && !py_arrow_columns_append(sink->columns, entries, fitting);
    return sink->is_out_of_memory ? 0 : fitting;
}

/* What an earlier reader of the scan left in its chunk. */
static nori_status gather_left(struct py_scan *scan, struct sink *sink)
{
    size_t count = take_entries(sink, scan->entries + scan->next, scan->count - scan->next);
    py_scan_advance(scan, count);
    return sink->is_out_of_memory ? NORI_NO_MEMORY : NORI_OK;
}

static bool reserve(const struct stream *stream, struct py_arrow_columns *columns)
{
    for (int i = 0; i < PY_ARROW_COLUMN_COUNT; i++) {
        if (!py_arrow_column_reserve(&columns->column[i], stream->last_rows, stream->last_bytes[i])) return false;
    }
    return true;
}

/* Inside the guard, without the GIL. What does not go in stays in the scan, after a failure too. */
static nori_status gather(struct py_scan *scan, struct py_arrow_columns *columns, struct nori_error *error)
{
    struct sink sink = {.columns = columns};
    nori_status rc = scan->next < scan->count ? gather_left(scan, &sink) : NORI_OK;
    bool is_more = scan->next == scan->count;
    while (rc == NORI_OK && is_more && py_arrow_columns_rows(columns) < ARRAY_ROWS) {
        struct py_arrow_mark mark = py_arrow_columns_mark(columns);
        size_t wanted = ARRAY_ROWS - mark.rows, count;
        if (wanted > ROWS_AT_ONCE) wanted = ROWS_AT_ONCE;
        rc = py_scan_show(scan, wanted, take_entries, &sink, &count, error);
        if (rc != NORI_OK) py_arrow_columns_return(columns, mark);
        if (rc == NORI_OK && sink.is_out_of_memory) rc = NORI_NO_MEMORY;
        is_more = count == wanted;
    }
    return rc;
}

/* Inside the guard: '*out' is the next array; at the end it is left as it is, released. */
static int make_array(struct stream *stream, struct ArrowArray *out)
{
    struct py_scan *scan = stream->scan;
    struct py_arrow_columns columns;
    struct py_call call;
    nori_status rc = NORI_NO_MEMORY;
    py_arrow_columns_init(&columns, stream->layouts);
    py_call_begin_uninterruptible(&call, scan->state, scan->engine);
    if (reserve(stream, &columns)) rc = gather(scan, &columns, &call.error);
    size_t rows = py_arrow_columns_rows(&columns);
    /* What was read before a failure goes out; the next call meets it again. */
    if (rows > 0) {
        stream->last_rows = rows;
        for (int i = 0; i < PY_ARROW_COLUMN_COUNT; i++) stream->last_bytes[i] = columns.column[i].data_bytes;
        rc = py_arrow_columns_export(&columns, out) ? NORI_OK : NORI_NO_MEMORY;
    }
    py_arrow_columns_clear(&columns);
    return py_call_end(&call, rc);
}

/* ---------------------------------------------------------------- the stream's callbacks */

static int stream_get_schema(struct ArrowArrayStream *self, struct ArrowSchema *out)
{
    struct stream *stream = self->private_data;
    stream->message[0] = 0;
    out->release = NULL;
    return py_arrow_schema_export(stream->layouts, out) ? 0 : fail(stream, ENOMEM, "MemoryError: no memory");
}

static int stream_get_next(struct ArrowArrayStream *self, struct ArrowArray *out)
{
    struct stream *stream = self->private_data;
    PyObject *kind, *value, *traceback; /* Of the caller, if it has one. */
    int rc = 0;
    stream->message[0] = 0;
    out->release = NULL;
    if (!Py_IsInitialized()) return fail(stream, EINVAL, "the interpreter has ended");
    PyGILState_STATE gil = PyGILState_Ensure();
    PyErr_Fetch(&kind, &value, &traceback);
    int ended = py_scan_enter(stream->scan);
    if (ended == 0) {
        ended = make_array(stream, out);
        py_scan_leave(stream->scan);
    }
    if (ended < 0) rc = note_exception(stream);
    PyErr_Restore(kind, value, traceback);
    PyGILState_Release(gil);
    return rc;
}

static const char *stream_get_last_error(struct ArrowArrayStream *self)
{
    struct stream *stream = self->private_data;
    return stream->message[0] ? stream->message : NULL;
}

static void stream_release(struct ArrowArrayStream *self)
{
    struct stream *stream = self->private_data;
    self->release = NULL;
    self->private_data = NULL;
    if (Py_IsInitialized()) {
        PyObject *kind, *value, *traceback;
        PyGILState_STATE gil = PyGILState_Ensure();
        PyErr_Fetch(&kind, &value, &traceback);
        Py_DECREF(stream->scan);
        PyErr_Restore(kind, value, traceback);
        PyGILState_Release(gil);
    }
    free(stream);
}

/* ---------------------------------------------------------------- the method */

static int malformed(const char *what)
{
    PyErr_Format(PyExc_ValueError, "requested_schema is malformed: %s", what);
    return -1;
}

/* What can be had of 'requested', a capsule, which keeps its schema: the layouts of its columns key and value. Anything
 * else is passed over, as the specification allows. */
static int choose_layouts(PyObject *requested, enum py_arrow_layout *layouts)
{
    const struct ArrowSchema *schema = PyCapsule_GetPointer(requested, PY_ARROW_SCHEMA_CAPSULE);
    if (!schema) return -1;
    if (!schema->release) return malformed("it was released");
    if (!schema->format) return malformed("no format");
    if (schema->n_children < 0 || (schema->n_children > 0 && !schema->children)) return malformed("its children");
    if (strcmp(schema->format, "+s") != 0) return 0;
    for (int64_t i = 0; i < schema->n_children; i++) {
        const struct ArrowSchema *child = schema->children[i];
        if (!child || !child->release || !child->format) return malformed("a child without a format");
        if (!child->name || child->dictionary) continue;
        if (strcmp(child->name, "key") == 0) py_arrow_layout_from(child->format, &layouts[PY_ARROW_KEY]);
        if (strcmp(child->name, "value") == 0) py_arrow_layout_from(child->format, &layouts[PY_ARROW_VALUE]);
    }
    return 0;
}

/* A capsule that nobody took the stream from. */
static void capsule_destructor(PyObject *capsule)
{
    struct ArrowArrayStream *stream = PyCapsule_GetPointer(capsule, PY_ARROW_STREAM_CAPSULE);
    if (!stream) {
        PyErr_WriteUnraisable(capsule); /* Somebody renamed it, and owns what is in it. */
        return;
    }
    if (stream->release) stream->release(stream);
    free(stream);
}

static PyObject *make_capsule(struct py_scan *scan, const enum py_arrow_layout *layouts)
{
    struct ArrowArrayStream *exported = calloc(1, sizeof *exported);
    struct stream *stream = calloc(1, sizeof *stream);
    PyObject *capsule = NULL;
    if (!exported || !stream)
        PyErr_NoMemory();
    else
        capsule = PyCapsule_New(exported, PY_ARROW_STREAM_CAPSULE, capsule_destructor);
    if (!capsule) {
        free(exported);
        free(stream);
        return NULL;
    }
    memcpy(stream->layouts, layouts, sizeof stream->layouts);
    stream->scan = (struct py_scan *)Py_NewRef((PyObject *)scan);
    *exported = (struct ArrowArrayStream){
        .get_schema = stream_get_schema,
        .get_next = stream_get_next,
        .get_last_error = stream_get_last_error,
        .release = stream_release,
        .private_data = stream,
    };
    return capsule;
}

PyObject *py_scan_arrow_stream(PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"requested_schema"};
    static const struct py_signature signature = {"__arrow_c_stream__", names, 1, 0, 1, 0};
    struct py_scan *self = (struct py_scan *)object;
    enum py_arrow_layout layouts[PY_ARROW_COLUMN_COUNT] = {PY_ARROW_BINARY, PY_ARROW_BINARY};
    PyObject *requested;
    if (py_arguments(&signature, args, nargs, kwnames, &requested) < 0) return NULL;
    if (py_check_usable(self->engine) < 0) return NULL;
    if (!self->core) return py_raise_closed(self->state, "scan");
    if (!self->state->is_main_interpreter) {
        PyErr_SetString(PyExc_NotImplementedError,
                        "Arrow streams are of the main interpreter alone: any thread reads them");
        return NULL;
    }
    if (requested && requested != Py_None && choose_layouts(requested, layouts) < 0) return NULL;
    return make_capsule(self, layouts);
}

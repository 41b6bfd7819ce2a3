/* Pairs from whatever has __arrow_c_stream__: two columns, keys and values.
 *
 * What a producer hands over is checked as far as the interface permits: it says how many rows and buffers there are,
 * not how many bytes a buffer has (but for views). The stream is called, and its arrays read, without the GIL: a
 * producer may need it elsewhere, and its callbacks take it where they want it. Errors met there are noted, and raised
 * later. */
#include "python/arrow.h"
#include "python/pairs.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* No array is larger; places in buffers cannot overflow then. */
#define MOST_ROWS ((int64_t)1 << 48)

enum kind { KIND_BINARY, KIND_LARGE_BINARY, KIND_FIXED, KIND_VIEW };

struct column {
    int64_t child; /* Of the struct's. */
    enum kind kind;
    int64_t width;      /* KIND_FIXED: bytes of a row. */
    const char *name;   /* Borrowed from the schema. */
    int64_t first;      /* The array's first row in the buffers. The rest is of the array that is read, too. */
    const void *places; /* Offsets or views. */
    const uint8_t *data;
    const void *const *view_data; /* KIND_VIEW: the data buffers, and how many bytes each has. */
    const int64_t *view_data_bytes;
    int64_t view_data_count;
};

struct import {
    struct py_pairs *pairs; /* Borrowed. */
    struct ArrowArrayStream stream;
    struct ArrowSchema schema;
    struct ArrowArray array;
    struct column key, value;
    int64_t row_count; /* Of the arrays before this one. */
    /* What went wrong without the GIL: a class of Python's with a text or an errno, or a status of the core. */
    PyObject *error_class; /* Borrowed; NULL: none. */
    int error_errno;       /* 0: none. */
    char error_text[512];
    nori_status status;
    struct nori_error error;
};

/* ---------------------------------------------------------------- errors */

/* Always false. */
__attribute__((format(printf, 3, 4))) static bool refuse(struct import *import, PyObject *class, const char *format,
                                                         ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(import->error_text, sizeof import->error_text, format, args);
    va_end(args);
    import->error_class = class;
    return false;
}

static bool refuse_malformed(struct import *import, const struct column *column, const char *what)
{
    return refuse(import, PyExc_ValueError, "malformed Arrow data: column '%.100s' has %s", column->name, what);
}

static bool refuse_row(struct import *import, const struct column *column, int64_t row, const char *what)
{
    return refuse(import, PyExc_ValueError, "malformed Arrow data: row %lld of column '%.100s' has %s",
                  (long long)(import->row_count + row), column->name, what);
}

/* What a callback of the stream failed with. */
static bool refuse_errno(struct import *import, int number)
{
    const char *text = import->stream.get_last_error ? import->stream.get_last_error(&import->stream) : NULL;
    if (number == ENOMEM) return refuse(import, PyExc_MemoryError, "%s", text ? text : "");
    import->error_errno = number == EINVAL ? 0 : number;
    return refuse(import, number == EINVAL ? PyExc_ValueError : PyExc_OSError, "the Arrow stream failed: %.450s",
                  text ? text : strerror(number));
}

static int raise_noted(const struct import *import)
{
    if (import->status != NORI_OK) {
        py_raise(import->pairs->engine->reader.state, NULL, import->status, &import->error);
        return -1;
    }
    PyObject *text = PyUnicode_DecodeUTF8(import->error_text, (Py_ssize_t)strlen(import->error_text), "replace");
    PyObject *exception = !text ? NULL
                          : import->error_errno
                              ? PyObject_CallFunction(import->error_class, "iO", import->error_errno, text)
                              : PyObject_CallOneArg(import->error_class, text);
    if (exception) PyErr_SetObject(import->error_class, exception);
    Py_XDECREF(exception);
    Py_XDECREF(text);
    return -1;
}

/* ---------------------------------------------------------------- the schema */

/* A format for people: "int64 (Arrow format 'l')". */
static void describe(const struct ArrowSchema *schema, char *out, size_t size)
{
    static const struct {
        const char *start, *name;
    } names[] = {
        {"n", "null"},
        {"b", "boolean"},
        {"c", "int8"},
        {"C", "uint8"},
        {"s", "int16"},
        {"S", "uint16"},
        {"i", "int32"},
        {"I", "uint32"},
        {"l", "int64"},
        {"L", "uint64"},
        {"e", "float16"},
        {"f", "float32"},
        {"g", "float64"},
        {"d:", "decimal"},
        {"td", "date"},
        {"tt", "time"},
        {"ts", "timestamp"},
        {"tD", "duration"},
        {"ti", "interval"},
        {"+l", "list"},
        {"+L", "large list"},
        {"+v", "list view"},
        {"+w", "fixed-size list"},
        {"+s", "struct"},
        {"+m", "map"},
        {"+u", "union"},
        {"+r", "run-end encoded"},
    };
    const char *name = schema->dictionary ? "dictionary" : "unknown";
    for (size_t i = 0; !schema->dictionary && i < sizeof names / sizeof *names; i++) {
        if (strncmp(schema->format, names[i].start, strlen(names[i].start)) == 0) name = names[i].name;
    }
    snprintf(out, size, "%s (Arrow format '%.40s')", name, schema->format);
}

static bool read_format(struct column *column, const char *format)
{
    static const struct {
        const char *format;
        enum kind kind;
    } kinds[] = {{"z", KIND_BINARY},       {"u", KIND_BINARY}, {"Z", KIND_LARGE_BINARY},
                 {"U", KIND_LARGE_BINARY}, {"vz", KIND_VIEW},  {"vu", KIND_VIEW}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(format, kinds[i].format) == 0) {
            column->kind = kinds[i].kind;
            return true;
        }
    }
    if (strncmp(format, "w:", 2) != 0 || format[2] < '0' || format[2] > '9') return false;
    char *end;
    errno = 0;
    column->width = strtoll(format + 2, &end, 10);
    column->kind = KIND_FIXED;
    return *end == 0 && errno == 0;
}

static bool read_column_schema(struct import *import, struct column *column, int64_t child)
{
    const struct ArrowSchema *schema = import->schema.children[child];
    char found[128];
    column->child = child;
    if (!schema || !schema->format)
        return refuse(import, PyExc_ValueError, "malformed Arrow schema: column %lld has no format", (long long)child);
    column->name = schema->name ? schema->name : "";
    if (!schema->dictionary && read_format(column, schema->format)) return true;
    describe(schema, found, sizeof found);
    return refuse(import, PyExc_TypeError, "%s takes columns of binary or string types; column '%.100s' is %s",
                  import->pairs->what, column->name, found);
}

static bool is_named(const struct ArrowSchema *schema, const char *name)
{
    return schema && schema->name && strcmp(schema->name, name) == 0;
}

/* Without the GIL. The first column is the keys, unless their names say otherwise. */
static bool read_schema(struct import *import)
{
    struct ArrowSchema *schema = &import->schema;
    char found[128];
    int number = import->stream.get_schema(&import->stream, schema);
    if (number != 0) {
        schema->release = NULL;
        return refuse_errno(import, number);
    }
    if (!schema->release || !schema->format || (schema->n_children > 0 && !schema->children))
        return refuse(import, PyExc_ValueError, "malformed Arrow schema: it has no format, or no children");
    if (strcmp(schema->format, "+s") != 0 || schema->dictionary) {
        describe(schema, found, sizeof found);
        return refuse(import, PyExc_TypeError, "%s takes a table of two columns, keys and values, not a column of %s",
                      import->pairs->what, found);
    }
    if (schema->n_children != 2)
        return refuse(import, PyExc_TypeError, "%s takes a table of two columns, keys and values, not of %lld",
                      import->pairs->what, (long long)schema->n_children);
    int64_t key = is_named(schema->children[0], "value") && is_named(schema->children[1], "key");
    return read_column_schema(import, &import->key, key) && read_column_schema(import, &import->value, 1 - key);
}

/* ---------------------------------------------------------------- an array */

/* The first of 'count' bits from 'first' on that is not set, or 'count'. */
static int64_t find_zero(const uint8_t *bitmap, int64_t first, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        int64_t bit = first + i;
        if (!(bitmap[bit >> 3] >> (bit & 7) & 1)) return i;
    }
    return count;
}

static bool check_nulls(struct import *import, const struct ArrowArray *array, int64_t first, int64_t count,
                        const char *name)
{
    const uint8_t *bitmap = array->n_buffers > 0 ? array->buffers[0] : NULL;
    if (array->null_count == 0 || count == 0) return true;
    if (!bitmap) {
        if (array->null_count < 0) return true;
        return refuse(import, PyExc_ValueError, "malformed Arrow data: %.100s has nulls and no bitmap",
                      name ? name : "an array");
    }
    int64_t null = find_zero(bitmap, first, count);
    if (null == count) return true;
    long long row = (long long)(import->row_count + null);
    if (!name) return refuse(import, PyExc_ValueError, "row %lld is null", row);
    return refuse(import, PyExc_ValueError, "row %lld of column '%.100s' is null", row, name);
}

static bool has_sane_size(const struct ArrowArray *array)
{
    return array->length >= 0 && array->offset >= 0 && array->length <= MOST_ROWS && array->offset <= MOST_ROWS;
}

static bool open_buffers(struct import *import, struct column *column, const struct ArrowArray *array, int64_t count)
{
    static const int64_t least[] = {[KIND_BINARY] = 3, [KIND_LARGE_BINARY] = 3, [KIND_FIXED] = 2, [KIND_VIEW] = 3};
    const void *const *buffers = array->buffers;
    if (count == 0) return true;
    if (array->n_buffers < least[column->kind] || (column->kind != KIND_VIEW && array->n_buffers > least[column->kind]))
        return refuse_malformed(import, column, "a wrong number of buffers");
    if (!buffers) return refuse_malformed(import, column, "no buffers");
    column->places = column->kind == KIND_FIXED ? NULL : buffers[1];
    column->data = column->kind == KIND_FIXED ? buffers[1] : column->kind == KIND_VIEW ? NULL : buffers[2];
    if (column->kind != KIND_FIXED && !column->places)
        return refuse_malformed(import, column, "no buffer of offsets or views");
    if (column->kind == KIND_FIXED && column->width > NORI_MAX_VALUE_BYTES)
        return refuse(import, PyExc_ValueError, "the rows of column '%.100s' have %lld bytes, the limit is %u",
                      column->name, (long long)column->width, NORI_MAX_VALUE_BYTES);
    if (column->kind == KIND_FIXED && column->width > 0 && column->first + count > INT64_MAX / column->width)
        return refuse_malformed(import, column, "too many rows");
    if (column->kind == KIND_VIEW) {
        column->view_data_count = array->n_buffers - 3;
        column->view_data = buffers + 2;
        column->view_data_bytes = buffers[array->n_buffers - 1];
        if (column->view_data_count > 0 && !column->view_data_bytes)
            return refuse_malformed(import, column, "no buffer of its buffers' sizes");
    }
    return true;
}

static bool open_column(struct import *import, struct column *column)
{
    const struct ArrowArray *parent = &import->array, *array = parent->children[column->child];
    if (!array) return refuse_malformed(import, column, "no array");
    if (!has_sane_size(array)) return refuse_malformed(import, column, "a length or an offset that cannot be");
    if (array->length < parent->offset + parent->length)
        return refuse_malformed(import, column, "fewer rows than the array it is in");
    column->first = array->offset + parent->offset;
    return open_buffers(import, column, array, parent->length) &&
           check_nulls(import, array, column->first, parent->length, column->name);
}

/* Without the GIL: the next array in place of the last one; at the stream's end it is released. */
static bool read_array(struct import *import)
{
    struct ArrowArray *array = &import->array;
    if (array->release) {
        import->row_count += array->length;
        array->release(array);
    }
    array->release = NULL;
    int number = import->stream.get_next(&import->stream, array);
    if (number != 0) {
        array->release = NULL;
        return refuse_errno(import, number);
    }
    if (!array->release) return true;
    if (!has_sane_size(array) || array->n_children != 2 || !array->children ||
        (array->n_buffers > 0 && !array->buffers))
        return refuse(import, PyExc_ValueError, "malformed Arrow data: an array that is not of the stream's schema");
    return check_nulls(import, array, array->offset, array->length, NULL) && open_column(import, &import->key) &&
           open_column(import, &import->value);
}

/* ---------------------------------------------------------------- rows */

/* Wherever they lie: alignment is only recommended. */
static inline int64_t load_i32(const void *places, int64_t at)
{
    int32_t loaded;
    memcpy(&loaded, (const uint8_t *)places + at * (int64_t)sizeof loaded, sizeof loaded);
    return loaded;
}

static inline int64_t load_i64(const void *places, int64_t at)
{
    int64_t loaded;
    memcpy(&loaded, (const uint8_t *)places + at * (int64_t)sizeof loaded, sizeof loaded);
    return loaded;
}

static bool read_view(struct import *import, const struct column *column, int64_t row, nori_slice *out)
{
    struct py_arrow_view view;
    const uint8_t *place = (const uint8_t *)column->places + (column->first + row) * (int64_t)sizeof view;
    memcpy(&view, place, sizeof view);
    if (view.size < 0) return refuse_row(import, column, row, "a negative length");
    out->size = (size_t)view.size;
    if (view.size <= PY_ARROW_INLINE_BYTES) {
        out->data = place + offsetof(struct py_arrow_view, at);
        return true;
    }
    int64_t buffer = view.at.place.buffer, offset = view.at.place.offset;
    if (buffer < 0 || buffer >= column->view_data_count || offset < 0 || !column->view_data[buffer] ||
        offset + view.size > load_i64(column->view_data_bytes, buffer))
        return refuse_row(import, column, row, "a view outside of its buffers");
    out->data = (const uint8_t *)column->view_data[buffer] + offset;
    return true;
}

static inline bool read_bytes(struct import *import, const struct column *column, int64_t row, nori_slice *out)
{
    int64_t at = column->first + row, start, stop;
    switch (column->kind) {
    case KIND_VIEW:
        return read_view(import, column, row, out);
    case KIND_BINARY:
        start = load_i32(column->places, at);
        stop = load_i32(column->places, at + 1);
        break;
    case KIND_LARGE_BINARY:
        start = load_i64(column->places, at);
        stop = load_i64(column->places, at + 1);
        break;
    default:
        start = at * column->width;
        stop = start + column->width;
        break;
    }
    if (start < 0 || stop < start) return refuse_row(import, column, row, "offsets that descend");
    if (stop > start && !column->data) return refuse_row(import, column, row, "bytes in a buffer that is not there");
    out->data = stop > start ? column->data + start : NULL;
    out->size = (size_t)(stop - start);
    return true;
}

/* Without the GIL: rows from '*row' on, until the array or the batch is full. */
static bool add_rows(struct import *import, int64_t *row)
{
    struct nori_batch *batch = import->pairs->batch;
    /* Of all rows of a batch the lifetime counts from the same moment. */
    uint64_t expires_at_ms = nori_expiry(import->pairs->engine->reader.core, -1.0);
    while (*row < import->array.length && nori_batch_bytes(batch) < PY_PAIRS_BATCH_BYTES) {
        nori_slice key, value;
        if (!read_bytes(import, &import->key, *row, &key) || !read_bytes(import, &import->value, *row, &value))
            return false;
        import->status = nori_batch_put(batch, key, value, expires_at_ms, &import->error);
        if (import->status != NORI_OK) return false;
        ++*row;
    }
    return true;
}

/* ---------------------------------------------------------------- the stream */

/* All rows of the array that was read. */
static int add_array(struct import *import)
{
    for (int64_t row = 0; row < import->array.length;) {
        bool is_fine;
        Py_BEGIN_ALLOW_THREADS is_fine = add_rows(import, &row);
        Py_END_ALLOW_THREADS if (!is_fine) return raise_noted(import);
        if (nori_batch_bytes(import->pairs->batch) >= PY_PAIRS_BATCH_BYTES && py_pairs_hand_on(import->pairs) < 0)
            return -1;
        if (PyErr_CheckSignals() < 0) return -1;
    }
    return 0;
}

static int add_all(struct import *import)
{
    bool is_fine;
    Py_BEGIN_ALLOW_THREADS is_fine = read_schema(import);
    Py_END_ALLOW_THREADS while (is_fine)
    {
        Py_BEGIN_ALLOW_THREADS is_fine = read_array(import);
        Py_END_ALLOW_THREADS if (is_fine && !import->array.release) return 0;
        if (is_fine && add_array(import) < 0) return -1;
    }
    return raise_noted(import);
}

static void release_all(struct import *import)
{
    if (import->array.release) import->array.release(&import->array);
    if (import->schema.release) import->schema.release(&import->schema);
    if (import->stream.release) import->stream.release(&import->stream);
}

int py_pairs_add_arrow(struct py_pairs *pairs, PyObject *method)
{
    struct import import = {.pairs = pairs, .status = NORI_OK};
    PyObject *capsule = PyObject_CallNoArgs(method);
    struct ArrowArrayStream *source = capsule ? PyCapsule_GetPointer(capsule, PY_ARROW_STREAM_CAPSULE) : NULL;
    int rc = -1;
    if (!source) goto out;
    if (!source->release || !source->get_schema || !source->get_next) {
        PyErr_Format(PyExc_ValueError, "%s: the Arrow stream was consumed already", pairs->what);
        goto out;
    }
    import.stream = *source;
    source->release = NULL; /* Moved. */
    rc = add_all(&import);
    PyObject *kind, *value, *traceback;
    PyErr_Fetch(&kind, &value, &traceback); /* A producer may run Python to release. */
    Py_BEGIN_ALLOW_THREADS release_all(&import);
    Py_END_ALLOW_THREADS PyErr_Restore(kind, value, traceback);
out:
    Py_XDECREF(capsule);
    return rc;
}

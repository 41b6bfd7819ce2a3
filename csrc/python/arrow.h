/* Arrow's C data, stream and PyCapsule interfaces: the structures as they are specified, and what the binding makes of
 * them. Public: other libraries see the same bytes, so names and order are not ours.
 *
 * Whoever holds a structure calls its 'release' once. NULL there means released, or moved: copied elsewhere, the copy
 * holds it now. A parent's release gives back the children that are still with it. */
#ifndef NORI_PYTHON_ARROW_H
#define NORI_PYTHON_ARROW_H

#include "python/binding.h"

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

struct ArrowSchema {
    const char *format;   /* The type, in the specification's letters. */
    const char *name;     /* May be NULL. */
    const char *metadata; /* May be NULL. */
    int64_t flags;
    int64_t n_children;
    struct ArrowSchema **children;
    struct ArrowSchema *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};

struct ArrowArray {
    int64_t length;     /* Rows. */
    int64_t null_count; /* -1: not known. */
    int64_t offset;     /* Rows in the buffers before the first. */
    int64_t n_buffers;
    int64_t n_children;
    const void **buffers;
    struct ArrowArray **children;
    struct ArrowArray *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};

#endif

#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE

struct ArrowArrayStream {
    int (*get_schema)(struct ArrowArrayStream *, struct ArrowSchema *out); /* 0, or an errno. */
    int (*get_next)(struct ArrowArrayStream *, struct ArrowArray *out);    /* A released array is the end. */
    const char *(*get_last_error)(struct ArrowArrayStream *);              /* Until the next call; may be NULL. */
    void (*release)(struct ArrowArrayStream *);
    void *private_data;
};

#endif

#define PY_ARROW_SCHEMA_CAPSULE "arrow_schema"
#define PY_ARROW_STREAM_CAPSULE "arrow_array_stream"

/* Views: 16 bytes a row. Up to 12 bytes stand in the view itself. */
#define PY_ARROW_INLINE_BYTES 12
struct py_arrow_view {
    int32_t size;
    union {
        uint8_t bytes[PY_ARROW_INLINE_BYTES];
        struct {
            uint8_t prefix[4];
            int32_t buffer; /* Which of the data buffers. */
            int32_t offset;
        } place;
    } at;
};
_Static_assert(sizeof(struct py_arrow_view) == 16, "a view is 16 bytes");

/* arrow_export.c */
PyObject *py_scan_arrow_stream(PyObject *scan, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);

#endif

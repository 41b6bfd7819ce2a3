/* Entries as Arrow columns: two that grow row by row, and then become an array that owns them.
 *
 * Nothing in here touches Python: arrays outlive the stream they came from, and are released by any thread, with or
 * without the GIL, after the interpreter's end too. So their memory is the C library's, not Python's. */
#ifndef NORI_PYTHON_ARROW_COLUMNS_H
#define NORI_PYTHON_ARROW_COLUMNS_H

#include "python/arrow.h"

enum py_arrow_layout {
    PY_ARROW_BINARY,       /* Offsets of 32 bits: a column holds less than 2 GiB. */
    PY_ARROW_LARGE_BINARY, /* Offsets of 64 bits. */
    PY_ARROW_BINARY_VIEW,  /* Views, into one data buffer that holds less than 2 GiB. */
};

struct py_arrow_column {
    enum py_arrow_layout layout;
    void *places; /* Owned: offsets, one more than rows, or views. */
    size_t row_count, row_capacity;
    uint8_t *data; /* Owned. */
    size_t data_bytes, data_capacity_bytes;
};

enum { PY_ARROW_KEY, PY_ARROW_VALUE, PY_ARROW_COLUMN_COUNT };

struct py_arrow_columns {
    struct py_arrow_column column[PY_ARROW_COLUMN_COUNT];
};

/* The layout that 'format' stands for; false if there is none. */
bool py_arrow_layout_from(const char *format, enum py_arrow_layout *layout_out);

/* Empty columns, without memory of their own yet. */
void py_arrow_columns_init(struct py_arrow_columns *columns, const enum py_arrow_layout *layouts);
void py_arrow_columns_clear(struct py_arrow_columns *columns);
/* Room for so many rows and bytes in all. False without memory: what there is stays. */
bool py_arrow_column_reserve(struct py_arrow_column *column, size_t rows, size_t data_bytes);
/* The keys and the values of entries. False without memory: no row was added. */
bool py_arrow_columns_append(struct py_arrow_columns *columns, const struct nori_entry *entries, size_t count);
/* Takes rows away again, the last ones: there were 'rows' of that many bytes in each column's data. */
struct py_arrow_mark {
    size_t rows, data_bytes[PY_ARROW_COLUMN_COUNT];
};
struct py_arrow_mark py_arrow_columns_mark(const struct py_arrow_columns *columns);
void py_arrow_columns_return(struct py_arrow_columns *columns, struct py_arrow_mark mark);
static inline size_t py_arrow_columns_rows(const struct py_arrow_columns *columns)
{
    return columns->column[PY_ARROW_KEY].row_count;
}
static inline size_t py_arrow_columns_bytes(const struct py_arrow_columns *columns)
{
    return columns->column[PY_ARROW_KEY].data_bytes + columns->column[PY_ARROW_VALUE].data_bytes;
}

/* '*array_out' is a struct array that owns the columns, which are empty then. False without memory: nothing changed. */
bool py_arrow_columns_export(struct py_arrow_columns *columns, struct ArrowArray *array_out);
/* The type of such arrays. False without memory. */
bool py_arrow_schema_export(const enum py_arrow_layout *layouts, struct ArrowSchema *schema_out);

#endif

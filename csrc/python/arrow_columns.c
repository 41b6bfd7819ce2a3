#include "python/arrow_columns.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* What the specification recommends. */
#define ALIGNMENT ((size_t)64)
#define HUGE_BYTES ((size_t)2 << 20)

static const char *const formats[] = {
    [PY_ARROW_BINARY] = "z",
    [PY_ARROW_LARGE_BINARY] = "Z",
    [PY_ARROW_BINARY_VIEW] = "vz",
};
static const size_t place_bytes[] = {
    [PY_ARROW_BINARY] = sizeof(int32_t),
    [PY_ARROW_LARGE_BINARY] = sizeof(int64_t),
    [PY_ARROW_BINARY_VIEW] = sizeof(struct py_arrow_view),
};
static const char *const names[PY_ARROW_COLUMN_COUNT] = {[PY_ARROW_KEY] = "key", [PY_ARROW_VALUE] = "value"};

bool py_arrow_layout_from(const char *format, enum py_arrow_layout *layout_out)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (strcmp(format, formats[i]) == 0) {
            *layout_out = (enum py_arrow_layout)i;
            return true;
        }
    }
    return false;
}

/* ---------------------------------------------------------------- columns that grow */

void py_arrow_columns_init(struct py_arrow_columns *columns, const enum py_arrow_layout *layouts)
{
    memset(columns, 0, sizeof *columns);
    for (int i = 0; i < PY_ARROW_COLUMN_COUNT; i++) columns->column[i].layout = layouts[i];
}

void py_arrow_columns_clear(struct py_arrow_columns *columns)
{
    for (int i = 0; i < PY_ARROW_COLUMN_COUNT; i++) {
        struct py_arrow_column *column = &columns->column[i];
        free(column->places);
        free(column->data);
        *column = (struct py_arrow_column){.layout = column->layout};
    }
}

/* In pages of 4 KiB the system's part of new memory takes longer than copying the entries into it. */
static void *allocate(size_t bytes)
{
    size_t alignment = bytes >= HUGE_BYTES ? HUGE_BYTES : ALIGNMENT;
    void *memory;
    if (posix_memalign(&memory, alignment, bytes) != 0) return NULL;
#ifdef MADV_HUGEPAGE
    if (alignment == HUGE_BYTES) madvise(memory, bytes, MADV_HUGEPAGE); /* A wish: without it all is as correct. */
#endif
    return memory;
}

/* A block in place of 'old', of which 'used' bytes are kept; NULL without memory, and 'old' stays. */
static void *make_larger(void *old, size_t used, size_t bytes)
{
    void *larger = allocate((bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    if (!larger) return NULL;
    if (used) memcpy(larger, old, used);
    free(old);
    return larger;
}

static size_t next_capacity(size_t capacity, size_t wanted)
{
    return capacity * 4 > wanted ? capacity * 4 : wanted;
}

bool py_arrow_column_reserve(struct py_arrow_column *column, size_t rows, size_t data_bytes)
{
    size_t each = place_bytes[column->layout];
    if (!column->places || rows > column->row_capacity) {
        size_t capacity = next_capacity(column->row_capacity, rows);
        void *places =
            make_larger(column->places, column->places ? (column->row_count + 1) * each : 0, (capacity + 1) * each);
        if (!places) return false;
        if (!column->places) memset(places, 0, each); /* The first offset. */
        column->places = places;
        column->row_capacity = capacity;
    }
    /* Never NULL, though the specification allows that for data of no bytes: not all consumers do. */
    if (!column->data || data_bytes > column->data_capacity_bytes) {
        size_t capacity = next_capacity(column->data_capacity_bytes, data_bytes ? data_bytes : 1);
        uint8_t *data = make_larger(column->data, column->data_bytes, capacity);
        if (!data) return false;
        column->data = data;
        column->data_capacity_bytes = capacity;
    }
    return true;
}

static inline nori_slice part_of(const struct nori_entry *entry, int part)
{
    return part == PY_ARROW_KEY ? entry->key : entry->value;
}

static inline uint8_t *copy(uint8_t *to, nori_slice slice)
{
    if (slice.size) memcpy(to, slice.data, slice.size);
    return to + slice.size;
}

static inline void append_binary(struct py_arrow_column *column, const struct nori_entry *entries, size_t count,
                                 int part)
{
    int32_t *ends = (int32_t *)column->places + column->row_count + 1;
    uint8_t *to = column->data + column->data_bytes;
    for (size_t i = 0; i < count; i++) {
        to = copy(to, part_of(&entries[i], part));
        ends[i] = (int32_t)(to - column->data);
    }
}

static inline void append_large_binary(struct py_arrow_column *column, const struct nori_entry *entries, size_t count,
                                       int part)
{
    int64_t *ends = (int64_t *)column->places + column->row_count + 1;
    uint8_t *to = column->data + column->data_bytes;
    for (size_t i = 0; i < count; i++) {
        to = copy(to, part_of(&entries[i], part));
        ends[i] = (int64_t)(to - column->data);
    }
}

/* What stands in its view is not in the data: there is room for it that stays unused. */
static size_t append_views(struct py_arrow_column *column, const struct nori_entry *entries, size_t count, int part)
{
    struct py_arrow_view *views = (struct py_arrow_view *)column->places + column->row_count;
    uint8_t *to = column->data + column->data_bytes;
    for (size_t i = 0; i < count; i++) {
        nori_slice slice = part_of(&entries[i], part);
        struct py_arrow_view view = {.size = (int32_t)slice.size};
        if (slice.size <= PY_ARROW_INLINE_BYTES) {
            copy(view.at.bytes, slice);
        } else {
            memcpy(view.at.place.prefix, slice.data, sizeof view.at.place.prefix);
            view.at.place.offset = (int32_t)(to - column->data);
            to = copy(to, slice);
        }
        views[i] = view;
    }
    return (size_t)(to - column->data) - column->data_bytes;
}

/* There is room. */
static inline void append(struct py_arrow_column *column, const struct nori_entry *entries, size_t count, int part,
                          size_t bytes)
{
    switch (column->layout) {
    case PY_ARROW_BINARY:
        append_binary(column, entries, count, part);
        break;
    case PY_ARROW_LARGE_BINARY:
        append_large_binary(column, entries, count, part);
        break;
    case PY_ARROW_BINARY_VIEW:
        bytes = append_views(column, entries, count, part);
        break;
    }
    column->data_bytes += bytes;
    column->row_count += count;
}

bool py_arrow_columns_append(struct py_arrow_columns *columns, const struct nori_entry *entries, size_t count)
{
    struct py_arrow_column *keys = &columns->column[PY_ARROW_KEY], *values = &columns->column[PY_ARROW_VALUE];
    size_t rows = keys->row_count + count, key_bytes = 0, value_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        key_bytes += entries[i].key.size;
        value_bytes += entries[i].value.size;
    }
    if (!py_arrow_column_reserve(keys, rows, keys->data_bytes + key_bytes)) return false;
    if (!py_arrow_column_reserve(values, rows, values->data_bytes + value_bytes)) return false;
    append(keys, entries, count, PY_ARROW_KEY, key_bytes);
    append(values, entries, count, PY_ARROW_VALUE, value_bytes);
    return true;
}

struct py_arrow_mark py_arrow_columns_mark(const struct py_arrow_columns *columns)
{
    struct py_arrow_mark mark = {.rows = py_arrow_columns_rows(columns)};
    for (int i = 0; i < PY_ARROW_COLUMN_COUNT; i++) mark.data_bytes[i] = columns->column[i].data_bytes;
    return mark;
}

void py_arrow_columns_return(struct py_arrow_columns *columns, struct py_arrow_mark mark)
{
    for (int i = 0; i < PY_ARROW_COLUMN_COUNT; i++) {
        columns->column[i].row_count = mark.rows;
        columns->column[i].data_bytes = mark.data_bytes[i];
    }
}

/* ---------------------------------------------------------------- arrays */

/* What an exported column's private_data is: it may be moved away from its parent, and outlive it. */
struct owned_column {
    const void *buffers[4]; /* No validity bitmap; places; data; with views the data's size. */
    int64_t data_bytes;
};

/* An exported struct array's. */
struct owned_parent {
    struct ArrowArray columns[PY_ARROW_COLUMN_COUNT];
    struct ArrowArray *children[PY_ARROW_COLUMN_COUNT];
    const void *buffers[1];
};

static void release_column(struct ArrowArray *array)
{
    struct owned_column *owned = array->private_data;
    free((void *)owned->buffers[1]);
    free((void *)owned->buffers[2]);
    free(owned);
    array->release = NULL;
}

static void release_parent(struct ArrowArray *array)
{
    for (int64_t i = 0; i < array->n_children; i++) {
        if (array->children[i]->release) array->children[i]->release(array->children[i]);
    }
    free(array->private_data);
    array->release = NULL;
}

static void export_column(struct py_arrow_column *column, struct owned_column *owned, struct ArrowArray *array_out)
{
    owned->data_bytes = (int64_t)column->data_bytes;
    owned->buffers[0] = NULL;
    owned->buffers[1] = column->places;
    owned->buffers[2] = column->data;
    owned->buffers[3] = &owned->data_bytes;
    *array_out = (struct ArrowArray){
        .length = (int64_t)column->row_count,
        .n_buffers = column->layout == PY_ARROW_BINARY_VIEW ? 4 : 3,
        .buffers = owned->buffers,
        .release = release_column,
        .private_data = owned,
    };
    *column = (struct py_arrow_column){.layout = column->layout};
}

bool py_arrow_columns_export(struct py_arrow_columns *columns, struct ArrowArray *array_out)
{
    struct owned_parent *parent = calloc(1, sizeof *parent);
    struct owned_column *keys = malloc(sizeof *keys), *values = malloc(sizeof *values);
    if (!parent || !keys || !values) {
        free(parent);
        free(keys);
        free(values);
        return false;
    }
    int64_t row_count = (int64_t)py_arrow_columns_rows(columns);
    export_column(&columns->column[PY_ARROW_KEY], keys, &parent->columns[PY_ARROW_KEY]);
    export_column(&columns->column[PY_ARROW_VALUE], values, &parent->columns[PY_ARROW_VALUE]);
    for (int i = 0; i < PY_ARROW_COLUMN_COUNT; i++) parent->children[i] = &parent->columns[i];
    *array_out = (struct ArrowArray){
        .length = row_count,
        .n_buffers = 1,
        .n_children = PY_ARROW_COLUMN_COUNT,
        .buffers = parent->buffers,
        .children = parent->children,
        .release = release_parent,
        .private_data = parent,
    };
    return true;
}

/* ---------------------------------------------------------------- the type */

struct owned_schema {
    struct ArrowSchema columns[PY_ARROW_COLUMN_COUNT];
    struct ArrowSchema *children[PY_ARROW_COLUMN_COUNT];
};

/* It owns nothing: its texts are constant. */
static void release_column_schema(struct ArrowSchema *schema)
{
    schema->release = NULL;
}

static void release_schema(struct ArrowSchema *schema)
{
    for (int64_t i = 0; i < schema->n_children; i++) {
        if (schema->children[i]->release) schema->children[i]->release(schema->children[i]);
    }
    free(schema->private_data);
    schema->release = NULL;
}

bool py_arrow_schema_export(const enum py_arrow_layout *layouts, struct ArrowSchema *schema_out)
{
    struct owned_schema *owned = calloc(1, sizeof *owned);
    if (!owned) return false;
    for (int i = 0; i < PY_ARROW_COLUMN_COUNT; i++) {
        owned->columns[i] = (struct ArrowSchema){
            .format = formats[layouts[i]],
            .name = names[i],
            .release = release_column_schema,
        };
        owned->children[i] = &owned->columns[i];
    }
    *schema_out = (struct ArrowSchema){
        .format = "+s",
        .name = "",
        .n_children = PY_ARROW_COLUMN_COUNT,
        .children = owned->children,
        .release = release_schema,
        .private_data = owned,
    };
    return true;
}

/* Edits as bytes. FORMAT.md is the specification.
 *
 * A payload is operations one after the other, each a kind and its fields; numbers are varints, keys and texts sized. A
 * run is its id, its count of slices, and the slices: table number, flags, start and end where the flags do not give
 * them, bytes, entries, deletes, ranges. */
#include "version/edit_ops.h"

#include "base/alloc.h"
#include "base/coding.h"

enum { START_IS_SMALLEST = 1, END_IS_FILES = 2, END_IS_INFINITE = 4, SLICE_FLAGS_KNOWN = 7 };
#define MIN_SLICE_BYTES 6
#define MIN_RUN_BYTES (2 + MIN_SLICE_BYTES)
#define MIN_GUARD_BYTES 1
#define MIN_SHAPE_BYTES 3

/* ---------------------------------------------------------------- encoding */

static nori_status put_numbers(struct nr_buffer *out, const uint64_t *numbers, size_t count, struct nori_error *err)
{
    for (size_t i = 0; i < count; i++) {
        nori_status rc = nr_buffer_append_varint(out, numbers[i], err);
        if (rc != NORI_OK) return rc;
    }
    return NORI_OK;
}

static nori_status put_bound(struct nr_buffer *out, struct nr_bound bound, struct nori_error *err)
{
    nori_status rc = nr_buffer_append_varint(out, bound.infinite, err);
    if (rc == NORI_OK && !bound.infinite) rc = nr_buffer_append_sized(out, bound.key, err);
    return rc;
}

static nori_status put_slice(struct nr_buffer *out, const struct nr_table_slice *slice, struct nori_error *err)
{
    nori_status rc;
    const struct nr_table_properties *properties = &slice->file->properties;
    uint64_t flags = 0;

    if (nr_slice_equal(slice->start, properties->smallest)) flags |= START_IS_SMALLEST;
    if (nr_bound_compare(slice->end, properties->end) == 0)
        flags |= END_IS_FILES;
    else if (slice->end.infinite)
        flags |= END_IS_INFINITE;
    const uint64_t head[] = {slice->file->number, flags};
    const uint64_t counts[] = {slice->bytes, slice->entries, slice->deletes, slice->ranges};
    NR_CHECK(put_numbers(out, head, NR_ARRAY_LEN(head), err));
    if (!(flags & START_IS_SMALLEST)) NR_CHECK(nr_buffer_append_sized(out, slice->start, err));
    if (!(flags & (END_IS_FILES | END_IS_INFINITE))) NR_CHECK(nr_buffer_append_sized(out, slice->end.key, err));
    NR_CHECK(put_numbers(out, counts, NR_ARRAY_LEN(counts), err));
out:
    return rc;
}

static nori_status put_runs(struct nr_buffer *out, const struct nr_edit_op *op, struct nori_error *err)
{
    nori_status rc;

    NR_CHECK(nr_buffer_append_varint(out, op->run_count, err));
    for (size_t i = 0; i < op->run_count; i++) {
        const struct nr_run *run = op->runs[i];
        const uint64_t head[] = {run->run_id, run->slice_count};
        NR_CHECK(put_numbers(out, head, NR_ARRAY_LEN(head), err));
        for (size_t j = 0; j < run->slice_count; j++) NR_CHECK(put_slice(out, &run->slices[j], err));
    }
out:
    return rc;
}

static nori_status put_shape(struct nr_buffer *out, const struct nr_edit_op *op, struct nori_error *err)
{
    nori_status rc;

    NR_CHECK(nr_buffer_append_varint(out, op->shape_count, err));
    for (size_t i = 0; i < op->shape_count; i++) {
        const struct nr_edit_shape *shape = &op->shape[i];
        NR_CHECK(nr_buffer_append_sized(out, shape->start, err));
        if (op->kind != NR_EDIT_SET_SHAPE) continue;
        const uint64_t numbers[] = {shape->slot_id, shape->k_max};
        NR_CHECK(put_numbers(out, numbers, NR_ARRAY_LEN(numbers), err));
    }
out:
    return rc;
}

static nori_status put_op(struct nr_buffer *out, const struct nr_edit_op *op, struct nori_error *err)
{
    nori_status rc;
    const uint64_t levels[] = {op->level, op->k_max}, ids[] = {op->first_id, op->last_id};

    NR_CHECK(nr_buffer_append_varint(out, op->kind, err));
    switch (op->kind) {
    case NR_EDIT_ADD_FILE:
        NR_CHECK(put_numbers(out, (const uint64_t[]){op->file->number, op->file->file_bytes}, 2, err));
        NR_CHECK(nr_properties_encode(&op->file->properties, out, err));
        break;
    case NR_EDIT_PUSH_L0:
        NR_CHECK(put_runs(out, op, err));
        break;
    case NR_EDIT_SUBTRACT_L0:
        NR_CHECK(put_numbers(out, ids, 1, err));
        NR_CHECK(nr_buffer_append_sized(out, op->start, err));
        NR_CHECK(put_bound(out, op->end, err));
        break;
    case NR_EDIT_MERGE_L0:
        NR_CHECK(put_numbers(out, ids, 2, err));
        NR_CHECK(put_runs(out, op, err));
        break;
    case NR_EDIT_SET_SLOT:
        NR_CHECK(put_numbers(out, levels, 2, err));
        NR_CHECK(nr_buffer_append_sized(out, op->start, err));
        NR_CHECK(put_runs(out, op, err));
        break;
    case NR_EDIT_SET_GUARDS:
        NR_CHECK(put_numbers(out, levels, 2, err));
        NR_CHECK(put_numbers(out, ids, 1, err));
        NR_CHECK(put_shape(out, op, err));
        break;
    case NR_EDIT_ADD_GUARDS:
        NR_CHECK(put_numbers(out, levels, 1, err));
        NR_CHECK(put_numbers(out, ids, 1, err));
        NR_CHECK(put_shape(out, op, err));
        break;
    case NR_EDIT_REMOVE_GUARDS:
    case NR_EDIT_SET_SHAPE:
        NR_CHECK(put_numbers(out, levels, 1, err));
        NR_CHECK(put_shape(out, op, err));
        break;
    case NR_EDIT_COUNTERS:
    case NR_EDIT_OPTIONS:
        break; /* Not kept as operations. */
    }
out:
    return rc;
}

nori_status nr_edit_encode(const struct nr_edit *edit, struct nr_buffer *out, struct nori_error *err)
{
    nori_status rc;
    const struct nr_counters *counters = &edit->counters;
    const uint64_t numbers[] = {NR_EDIT_COUNTERS,       counters->next_file_number, counters->next_run_id,
                                counters->next_slot_id, counters->flushed_sequence, counters->log_number,
                                counters->ttl_clock_ms};

    NR_CHECK(put_numbers(out, numbers, NR_ARRAY_LEN(numbers), err));
    if (edit->has_options) {
        NR_CHECK(nr_buffer_append_varint(out, NR_EDIT_OPTIONS, err));
        NR_CHECK(nr_buffer_append_sized(out, nr_buffer_slice(&edit->options), err));
    }
    for (size_t i = 0; i < edit->op_count; i++) NR_CHECK(put_op(out, &edit->ops[i], err));
out:
    return rc;
}

/* ---------------------------------------------------------------- decoding */

struct decoder {
    nori_slice rest;
    nr_find_file_fn find_file;
    void *arg;
    struct nr_edit *edit;
};

static nori_status malformed(const char *what, struct nori_error *err)
{
    return nr_fail_corrupt(err, NULL, -1, "manifest", "an edit's %s is malformed", what);
}

static bool take_number32(nori_slice *input, uint32_t *number_out)
{
    uint64_t number;
    if (!nr_take_varint(input, &number) || number > UINT32_MAX) return false;
    *number_out = (uint32_t)number;
    return true;
}

static bool take_key(nori_slice *input, size_t most_bytes, nori_slice *key_out)
{
    return nr_take_sized(input, key_out) && key_out->size <= most_bytes;
}

static bool take_bound(nori_slice *input, struct nr_bound *bound_out)
{
    uint64_t infinite;
    *bound_out = nr_bound_infinite();
    if (!nr_take_varint(input, &infinite) || infinite > 1) return false;
    bound_out->infinite = infinite;
    return infinite || take_key(input, NORI_MAX_KEY_BYTES + 1, &bound_out->key);
}

/* A count of things of at least 'min_bytes' each, all of which must still fit. */
static bool take_count(nori_slice *input, size_t min_bytes, size_t *count_out)
{
    uint64_t count;
    if (!nr_take_varint(input, &count) || count > input->size / min_bytes) return false;
    *count_out = (size_t)count;
    return true;
}

/* '*slice_out' borrows its keys and refs its file, if it has one, also on failure. */
static nori_status take_slice(struct decoder *decoder, struct nr_table_slice *slice_out, struct nori_error *err)
{
    nori_status rc;
    nori_slice *rest = &decoder->rest;
    uint64_t number, flags;

    if (!nr_take_varint(rest, &number) || !nr_take_varint(rest, &flags) || (flags & ~(uint64_t)SLICE_FLAGS_KNOWN))
        return malformed("slice", err);
    NR_CHECK(decoder->find_file(decoder->arg, number, 0, NULL, &slice_out->file, err));
    const struct nr_table_properties *properties = &slice_out->file->properties;
    bool is_whole = true;
    slice_out->start = properties->smallest;
    slice_out->end = flags & END_IS_FILES ? properties->end : nr_bound_infinite();
    if (!(flags & START_IS_SMALLEST)) is_whole = take_key(rest, NORI_MAX_KEY_BYTES, &slice_out->start);
    if (is_whole && !(flags & (END_IS_FILES | END_IS_INFINITE))) {
        slice_out->end.infinite = false;
        is_whole = take_key(rest, NORI_MAX_KEY_BYTES + 1, &slice_out->end.key);
    }
    if (!is_whole || !nr_take_varint(rest, &slice_out->bytes) || !nr_take_varint(rest, &slice_out->entries) ||
        !nr_take_varint(rest, &slice_out->deletes) || !nr_take_varint(rest, &slice_out->ranges))
        return malformed("slice", err);
    if (!nr_bound_above(slice_out->end, slice_out->start) ||
        nr_slice_compare(slice_out->start, properties->smallest) < 0 ||
        nr_bound_compare(slice_out->end, properties->end) > 0 || slice_out->bytes > NR_NUMBER_LIMIT ||
        slice_out->entries > NR_NUMBER_LIMIT || slice_out->deletes > NR_NUMBER_LIMIT ||
        slice_out->ranges > NR_NUMBER_LIMIT)
        rc = malformed("slice", err);
out:
    return rc;
}

static nori_status take_run(struct decoder *decoder, struct nr_run **run_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_table_slice *slices = NULL;
    uint64_t run_id;
    size_t count;

    if (!nr_take_varint(&decoder->rest, &run_id) || !take_count(&decoder->rest, MIN_SLICE_BYTES, &count) || count == 0)
        return malformed("run", err);
    slices = nr_calloc(count, sizeof(*slices));
    if (!slices) return nr_fail_memory(err, count * sizeof(*slices));
    for (size_t i = 0; i < count; i++) {
        NR_CHECK(take_slice(decoder, &slices[i], err));
        if (i > 0 && nr_bound_above(slices[i - 1].end, slices[i].start)) {
            rc = malformed("run", err);
            goto out;
        }
    }
    NR_CHECK(nr_run_create(run_id, slices, count, run_out, err));
out:
    for (size_t i = 0; i < count; i++) nr_table_file_unref(slices[i].file);
    nr_free(slices);
    return rc;
}

/* The runs of an operation; to be given back with put_back_runs, also on failure. */
static nori_status take_runs(struct decoder *decoder, size_t most, struct nr_run ***runs_out, size_t *count_out,
                             struct nori_error *err)
{
    nori_status rc = NORI_OK;
    size_t count;

    *runs_out = NULL;
    *count_out = 0;
    if (!take_count(&decoder->rest, MIN_RUN_BYTES, &count) || count > most) return malformed("list of runs", err);
    if (count == 0) goto out;
    *runs_out = nr_calloc(count, sizeof(**runs_out));
    if (!*runs_out) return nr_fail_memory(err, count * sizeof(**runs_out));
    for (; *count_out < count; ++*count_out) NR_CHECK(take_run(decoder, &(*runs_out)[*count_out], err));
out:
    return rc;
}

static void put_back_runs(struct nr_run **runs, size_t count)
{
    for (size_t i = 0; i < count; i++) nr_run_unref(runs[i]);
    nr_free(runs);
}

static nori_status take_file(struct decoder *decoder, struct nori_error *err)
{
    uint64_t number, file_bytes;
    struct nr_table_properties properties;
    struct nr_table_file *file = NULL;

    if (!nr_take_varint(&decoder->rest, &number) || !nr_take_varint(&decoder->rest, &file_bytes) ||
        !nr_properties_decode(&decoder->rest, &properties) || !nr_bound_above(properties.end, properties.smallest) ||
        number >= NR_NUMBER_LIMIT)
        return malformed("table", err);
    nori_status rc = decoder->find_file(decoder->arg, number, file_bytes, &properties, &file, err);
    if (rc != NORI_OK) return rc;
    rc = nr_edit_add_file(decoder->edit, file, err);
    nr_table_file_unref(file);
    return rc;
}

static nori_status take_level0(struct decoder *decoder, enum nr_edit_kind kind, struct nori_error *err)
{
    nori_status rc;
    uint64_t newest = 0, oldest = 0;
    struct nr_run **runs = NULL;
    size_t count = 0;

    if (kind == NR_EDIT_MERGE_L0 &&
        (!nr_take_varint(&decoder->rest, &newest) || !nr_take_varint(&decoder->rest, &oldest)))
        return malformed("merge", err);
    NR_CHECK(take_runs(decoder, 1, &runs, &count, err));
    if (kind == NR_EDIT_MERGE_L0) {
        rc = nr_edit_merge_l0(decoder->edit, newest, oldest, count > 0 ? runs[0] : NULL, err);
    } else {
        rc = count > 0 ? nr_edit_push_l0(decoder->edit, runs[0], err) : malformed("new run", err);
    }
out:
    put_back_runs(runs, count);
    return rc;
}

static nori_status take_subtract(struct decoder *decoder, struct nori_error *err)
{
    uint64_t run_id;
    nori_slice start;
    struct nr_bound end;

    if (!nr_take_varint(&decoder->rest, &run_id) || !take_key(&decoder->rest, NORI_MAX_KEY_BYTES, &start) ||
        !take_bound(&decoder->rest, &end))
        return malformed("subtraction", err);
    return nr_edit_subtract_l0(decoder->edit, run_id, start, end, err);
}

static bool take_level(struct decoder *decoder, uint32_t *level_out)
{
    return take_number32(&decoder->rest, level_out) && *level_out >= 1 && *level_out < NORI_MAX_LEVELS;
}

static nori_status take_slot(struct decoder *decoder, struct nori_error *err)
{
    nori_status rc;
    uint32_t level, k_max;
    nori_slice start;
    struct nr_run **runs = NULL;
    size_t count = 0;

    if (!take_level(decoder, &level) || !take_number32(&decoder->rest, &k_max) ||
        !take_key(&decoder->rest, NORI_MAX_KEY_BYTES, &start))
        return malformed("slot", err);
    NR_CHECK(take_runs(decoder, SIZE_MAX, &runs, &count, err));
    rc = nr_edit_set_slot(decoder->edit, level, start, k_max, runs, count, err);
out:
    put_back_runs(runs, count);
    return rc;
}

static nori_status take_guards(struct decoder *decoder, enum nr_edit_kind kind, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    uint32_t level, k_max = 0;
    uint64_t first_slot_id = 0;
    size_t count;
    nori_slice *guards;

    bool is_whole = take_level(decoder, &level);
    if (kind == NR_EDIT_SET_GUARDS) is_whole = is_whole && take_number32(&decoder->rest, &k_max);
    if (kind != NR_EDIT_REMOVE_GUARDS) is_whole = is_whole && nr_take_varint(&decoder->rest, &first_slot_id);
    if (!is_whole || !take_count(&decoder->rest, MIN_GUARD_BYTES, &count)) return malformed("list of guards", err);
    guards = nr_calloc(count, sizeof(*guards));
    if (!guards) return nr_fail_memory(err, count * sizeof(*guards));
    for (size_t i = 0; i < count; i++) {
        if (take_key(&decoder->rest, NORI_MAX_KEY_BYTES, &guards[i])) continue;
        rc = malformed("guard", err);
        goto out;
    }
    if (kind == NR_EDIT_SET_GUARDS)
        rc = nr_edit_set_guards(decoder->edit, level, guards, count, first_slot_id, k_max, err);
    else if (kind == NR_EDIT_ADD_GUARDS)
        rc = nr_edit_add_guards(decoder->edit, level, guards, count, first_slot_id, err);
    else
        rc = nr_edit_remove_guards(decoder->edit, level, guards, count, err);
out:
    nr_free(guards);
    return rc;
}

static nori_status take_shape(struct decoder *decoder, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    uint32_t level;
    size_t count;
    struct nr_edit_shape *shape;

    if (!take_level(decoder, &level) || !take_count(&decoder->rest, MIN_SHAPE_BYTES, &count))
        return malformed("list of slots", err);
    shape = nr_calloc(count, sizeof(*shape));
    if (!shape) return nr_fail_memory(err, count * sizeof(*shape));
    for (size_t i = 0; i < count; i++) {
        if (take_key(&decoder->rest, NORI_MAX_KEY_BYTES, &shape[i].start) &&
            nr_take_varint(&decoder->rest, &shape[i].slot_id) && take_number32(&decoder->rest, &shape[i].k_max))
            continue;
        rc = malformed("slot", err);
        goto out;
    }
    rc = nr_edit_set_shape(decoder->edit, level, shape, count, err);
out:
    nr_free(shape);
    return rc;
}

static nori_status take_counters(struct decoder *decoder, struct nori_error *err)
{
    struct nr_counters counters;
    uint64_t *const numbers[] = {&counters.next_file_number, &counters.next_run_id, &counters.next_slot_id,
                                 &counters.flushed_sequence, &counters.log_number,  &counters.ttl_clock_ms};

    for (size_t i = 0; i < NR_ARRAY_LEN(numbers); i++) {
        if (!nr_take_varint(&decoder->rest, numbers[i])) return malformed("list of counters", err);
    }
    if (counters.next_file_number >= NR_NUMBER_LIMIT || counters.next_run_id >= NR_NUMBER_LIMIT ||
        counters.next_slot_id >= NR_NUMBER_LIMIT || counters.log_number >= NR_NUMBER_LIMIT ||
        counters.flushed_sequence > NR_MAX_SEQUENCE)
        return malformed("list of counters", err);
    nr_edit_set_counters(decoder->edit, &counters);
    return NORI_OK;
}

static nori_status take_op(struct decoder *decoder, struct nori_error *err)
{
    uint64_t kind;
    nori_slice text;

    if (!nr_take_varint(&decoder->rest, &kind)) return malformed("operation", err);
    switch (kind) {
    case NR_EDIT_COUNTERS:
        return take_counters(decoder, err);
    case NR_EDIT_OPTIONS:
        if (!nr_take_sized(&decoder->rest, &text)) return malformed("options", err);
        return nr_edit_set_options(decoder->edit, text, err);
    case NR_EDIT_ADD_FILE:
        return take_file(decoder, err);
    case NR_EDIT_PUSH_L0:
    case NR_EDIT_MERGE_L0:
        return take_level0(decoder, (enum nr_edit_kind)kind, err);
    case NR_EDIT_SUBTRACT_L0:
        return take_subtract(decoder, err);
    case NR_EDIT_SET_SLOT:
        return take_slot(decoder, err);
    case NR_EDIT_SET_GUARDS:
    case NR_EDIT_ADD_GUARDS:
    case NR_EDIT_REMOVE_GUARDS:
        return take_guards(decoder, (enum nr_edit_kind)kind, err);
    case NR_EDIT_SET_SHAPE:
        return take_shape(decoder, err);
    default:
        return malformed("operation", err);
    }
}

nori_status nr_edit_decode(nori_slice payload, nr_find_file_fn find_file, void *arg, struct nr_edit **edit_out,
                           struct nori_error *err)
{
    nori_status rc;
    struct decoder decoder = {.rest = payload, .find_file = find_file, .arg = arg};

    *edit_out = NULL;
    NR_CHECK(nr_edit_create(&decoder.edit, err));
    while (decoder.rest.size > 0) NR_CHECK(take_op(&decoder, err));
    *edit_out = decoder.edit;
    decoder.edit = NULL;
out:
    nr_edit_destroy(decoder.edit);
    return rc;
}

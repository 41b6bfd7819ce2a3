#include "version/edit_ops.h"

#include "base/alloc.h"

/* ---------------------------------------------------------------- life */

nori_status nr_edit_create(struct nr_edit **edit_out, struct nori_error *err)
{
    *edit_out = nr_calloc(1, sizeof(**edit_out));
    return *edit_out ? NORI_OK : nr_fail_memory(err, sizeof(**edit_out));
}

static void clear_op(struct nr_edit_op *op)
{
    nr_table_file_unref(op->file);
    for (size_t i = 0; i < op->run_count; i++) nr_run_unref(op->runs[i]);
    nr_free(op->runs);
    nr_free(op->shape);
    nr_free(op->keys);
    nr_free(op->shape_keys);
}

void nr_edit_destroy(struct nr_edit *edit)
{
    if (!edit) return;
    for (size_t i = 0; i < edit->op_count; i++) clear_op(&edit->ops[i]);
    nr_free(edit->ops);
    nr_buffer_clear(&edit->options);
    nr_free(edit);
}

void nr_counters_merge(struct nr_counters *into, const struct nr_counters *from)
{
    into->next_file_number = NR_MAX(into->next_file_number, from->next_file_number);
    into->next_run_id = NR_MAX(into->next_run_id, from->next_run_id);
    into->next_slot_id = NR_MAX(into->next_slot_id, from->next_slot_id);
    into->flushed_sequence = NR_MAX(into->flushed_sequence, from->flushed_sequence);
    into->log_number = NR_MAX(into->log_number, from->log_number);
    into->ttl_clock_ms = NR_MAX(into->ttl_clock_ms, from->ttl_clock_ms);
}

void nr_edit_set_counters(struct nr_edit *edit, const struct nr_counters *counters)
{
    nr_counters_merge(&edit->counters, counters);
}

nori_status nr_edit_set_options(struct nr_edit *edit, nori_slice text, struct nori_error *err)
{
    nori_status rc = nr_buffer_assign(&edit->options, text, err);
    if (rc == NORI_OK) edit->has_options = true;
    return rc;
}

const struct nr_counters *nr_edit_counters(const struct nr_edit *edit)
{
    return &edit->counters;
}

nori_slice nr_edit_options(const struct nr_edit *edit)
{
    if (!edit->has_options) return nr_slice(NULL, 0);
    return edit->options.data ? nr_buffer_slice(&edit->options) : nr_slice("", 0);
}

size_t nr_edit_levels_needed(const struct nr_edit *edit)
{
    size_t needed = NR_MAX(edit->level_count, (size_t)1);
    for (size_t i = 0; i < edit->op_count; i++) needed = NR_MAX(needed, (size_t)edit->ops[i].level + 1);
    return needed;
}

/* ---------------------------------------------------------------- building */

/* A new last operation, to be filled in; settle_op takes it back where that failed. */
static nori_status add_op(struct nr_edit *edit, enum nr_edit_kind kind, struct nr_edit_op **op_out,
                          struct nori_error *err)
{
    if (edit->op_count == edit->op_capacity) {
        size_t capacity = edit->op_capacity ? edit->op_capacity * 2 : 4;
        struct nr_edit_op *ops = nr_realloc(edit->ops, capacity * sizeof(*ops));
        if (!ops) return nr_fail_memory(err, capacity * sizeof(*ops));
        edit->ops = ops;
        edit->op_capacity = capacity;
    }
    struct nr_edit_op *op = &edit->ops[edit->op_count++];
    *op = (struct nr_edit_op){.kind = kind};
    *op_out = op;
    return NORI_OK;
}

static nori_status settle_op(struct nr_edit *edit, nori_status rc)
{
    if (rc != NORI_OK) clear_op(&edit->ops[--edit->op_count]);
    return rc;
}

static nori_status set_bounds(struct nr_edit_op *op, nori_slice start, struct nr_bound end, struct nori_error *err)
{
    size_t end_bytes = end.infinite ? 0 : end.key.size;

    op->keys = nr_alloc(start.size + end_bytes);
    if (!op->keys) return nr_fail_memory(err, start.size + end_bytes);
    if (start.size > 0) memcpy(op->keys, start.data, start.size);
    if (end_bytes > 0) memcpy(op->keys + start.size, end.key.data, end_bytes);
    op->start = nr_slice(op->keys, start.size);
    op->end = end.infinite ? nr_bound_infinite() : nr_bound_key(nr_slice(op->keys + start.size, end_bytes));
    return NORI_OK;
}

static nori_status set_runs(struct nr_edit_op *op, struct nr_run *const *runs, size_t run_count, struct nori_error *err)
{
    if (run_count == 0) return NORI_OK;
    op->runs = nr_calloc(run_count, sizeof(*op->runs));
    if (!op->runs) return nr_fail_memory(err, run_count * sizeof(*op->runs));
    for (size_t i = 0; i < run_count; i++) op->runs[i] = nr_run_ref(runs[i]);
    op->run_count = run_count;
    return NORI_OK;
}

static nori_status set_shape(struct nr_edit_op *op, const struct nr_edit_shape *shape, size_t count,
                             struct nori_error *err)
{
    size_t key_bytes = 0;

    if (count == 0) return NORI_OK;
    for (size_t i = 0; i < count; i++) key_bytes += shape[i].start.size;
    op->shape = nr_calloc(count, sizeof(*op->shape));
    op->shape_keys = nr_alloc(key_bytes);
    if (!op->shape || !op->shape_keys) return nr_fail_memory(err, count * sizeof(*op->shape) + key_bytes);
    uint8_t *keys = op->shape_keys;
    for (size_t i = 0; i < count; i++) {
        op->shape[i] = shape[i];
        op->shape[i].start.data = keys;
        if (shape[i].start.size > 0) memcpy(keys, shape[i].start.data, shape[i].start.size);
        keys += shape[i].start.size;
    }
    op->shape_count = count;
    return NORI_OK;
}

nori_status nr_edit_add_file(struct nr_edit *edit, struct nr_table_file *file, struct nori_error *err)
{
    struct nr_edit_op *op = NULL;
    nori_status rc = add_op(edit, NR_EDIT_ADD_FILE, &op, err);
    if (rc == NORI_OK) op->file = nr_table_file_ref(file);
    return rc;
}

nori_status nr_edit_push_l0(struct nr_edit *edit, struct nr_run *run, struct nori_error *err)
{
    struct nr_edit_op *op = NULL;
    nori_status rc = add_op(edit, NR_EDIT_PUSH_L0, &op, err);
    if (rc != NORI_OK) return rc;
    return settle_op(edit, set_runs(op, &run, 1, err));
}

nori_status nr_edit_subtract_l0(struct nr_edit *edit, uint64_t run_id, nori_slice start, struct nr_bound end,
                                struct nori_error *err)
{
    struct nr_edit_op *op = NULL;
    nori_status rc = add_op(edit, NR_EDIT_SUBTRACT_L0, &op, err);
    if (rc != NORI_OK) return rc;
    op->first_id = run_id;
    return settle_op(edit, set_bounds(op, start, end, err));
}

nori_status nr_edit_merge_l0(struct nr_edit *edit, uint64_t newest_run_id, uint64_t oldest_run_id, struct nr_run *run,
                             struct nori_error *err)
{
    struct nr_edit_op *op = NULL;
    nori_status rc = add_op(edit, NR_EDIT_MERGE_L0, &op, err);
    if (rc != NORI_OK) return rc;
    op->first_id = newest_run_id;
    op->last_id = oldest_run_id;
    return settle_op(edit, set_runs(op, &run, run ? 1 : 0, err));
}

nori_status nr_edit_set_slot(struct nr_edit *edit, uint32_t level, nori_slice start, uint32_t k_max,
                             struct nr_run *const *runs, size_t run_count, struct nori_error *err)
{
    struct nr_edit_op *op = NULL;
    nori_status rc = add_op(edit, NR_EDIT_SET_SLOT, &op, err);
    if (rc != NORI_OK) return rc;
    op->level = level;
    op->k_max = k_max;
    rc = set_bounds(op, start, nr_bound_infinite(), err);
    if (rc == NORI_OK) rc = set_runs(op, runs, run_count, err);
    return settle_op(edit, rc);
}

static nori_status add_guards_op(struct nr_edit *edit, enum nr_edit_kind kind, uint32_t level, const nori_slice *guards,
                                 size_t guard_count, uint64_t first_slot_id, uint32_t k_max, struct nori_error *err)
{
    struct nr_edit_op *op = NULL;
    struct nr_edit_shape *shape = NULL;
    nori_status rc = add_op(edit, kind, &op, err);
    if (rc != NORI_OK) return rc;
    op->level = level;
    op->first_id = first_slot_id;
    op->k_max = k_max;
    if (guard_count > 0) {
        shape = nr_calloc(guard_count, sizeof(*shape));
        if (!shape) return settle_op(edit, nr_fail_memory(err, guard_count * sizeof(*shape)));
        for (size_t i = 0; i < guard_count; i++) shape[i].start = guards[i];
    }
    rc = settle_op(edit, set_shape(op, shape, guard_count, err));
    nr_free(shape);
    return rc;
}

nori_status nr_edit_set_guards(struct nr_edit *edit, uint32_t level, const nori_slice *guards, size_t guard_count,
                               uint64_t first_slot_id, uint32_t k_max, struct nori_error *err)
{
    return add_guards_op(edit, NR_EDIT_SET_GUARDS, level, guards, guard_count, first_slot_id, k_max, err);
}

nori_status nr_edit_add_guards(struct nr_edit *edit, uint32_t level, const nori_slice *guards, size_t guard_count,
                               uint64_t first_slot_id, struct nori_error *err)
{
    return add_guards_op(edit, NR_EDIT_ADD_GUARDS, level, guards, guard_count, first_slot_id, 0, err);
}

nori_status nr_edit_remove_guards(struct nr_edit *edit, uint32_t level, const nori_slice *guards, size_t guard_count,
                                  struct nori_error *err)
{
    return add_guards_op(edit, NR_EDIT_REMOVE_GUARDS, level, guards, guard_count, 0, 0, err);
}

nori_status nr_edit_set_shape(struct nr_edit *edit, uint32_t level, const struct nr_edit_shape *shape, size_t count,
                              struct nori_error *err)
{
    struct nr_edit_op *op = NULL;
    nori_status rc = add_op(edit, NR_EDIT_SET_SHAPE, &op, err);
    if (rc != NORI_OK) return rc;
    op->level = level;
    return settle_op(edit, set_shape(op, shape, count, err));
}

/* ---------------------------------------------------------------- snapshots */

static nori_status snapshot_file(void *arg, struct nr_table_file *file, struct nori_error *err)
{
    return nr_edit_add_file(arg, file, err);
}

static nori_status snapshot_shape(struct nr_edit *edit, uint32_t number, const struct nr_level *level,
                                  struct nori_error *err)
{
    struct nr_edit_shape *shape = nr_calloc(level->slot_count, sizeof(*shape));
    if (!shape) return nr_fail_memory(err, level->slot_count * sizeof(*shape));
    for (size_t i = 0; i < level->slot_count; i++) {
        const struct nr_slot *slot = nr_level_slot(level, i);
        shape[i] = (struct nr_edit_shape){slot->start, slot->slot_id, slot->k_max};
    }
    nori_status rc = nr_edit_set_shape(edit, number, shape, level->slot_count, err);
    nr_free(shape);
    return rc;
}

static nori_status snapshot_level(struct nr_edit *edit, uint32_t number, const struct nr_level *level,
                                  struct nori_error *err)
{
    nori_status rc = NORI_OK;

    NR_CHECK(snapshot_shape(edit, number, level, err));
    for (size_t i = 0; i < level->slot_count; i++) {
        const struct nr_slot *slot = nr_level_slot(level, i);
        if (slot->run_count == 0) continue;
        NR_CHECK(nr_edit_set_slot(edit, number, slot->start, slot->k_max, slot->runs, slot->run_count, err));
    }
out:
    return rc;
}

nori_status nr_edit_snapshot(const struct nr_version *version, const struct nr_counters *counters, nori_slice options,
                             struct nr_edit **edit_out, struct nori_error *err)
{
    nori_status rc;
    struct nr_edit *edit = NULL;
    const struct nr_slot *level0 = nr_version_level0(version);

    *edit_out = NULL;
    NR_CHECK(nr_edit_create(&edit, err));
    edit->level_count = version->level_count;
    nr_edit_set_counters(edit, counters);
    if (options.data) NR_CHECK(nr_edit_set_options(edit, options, err));
    NR_CHECK(nr_version_each_file(version, snapshot_file, edit, err));
    for (size_t i = level0->run_count; i-- > 0;) NR_CHECK(nr_edit_push_l0(edit, level0->runs[i], err));
    for (uint32_t i = 1; i < version->level_count; i++) NR_CHECK(snapshot_level(edit, i, version->levels[i], err));
    *edit_out = edit;
    edit = NULL;
out:
    nr_edit_destroy(edit);
    return rc;
}

#include "version/edit_ops.h"

#include "base/alloc.h"
#include "version/level.h"
#include "version/level0.h"

static bool fits(const struct nr_run *run, const struct nr_slot *slot)
{
    return nr_slice_compare(slot->start, run->slices[0].start) <= 0 &&
           nr_bound_compare(run->slices[run->slice_count - 1].end, slot->end) <= 0;
}

/* The slot keeps its bounds, its id and its activity. */
static nori_status replace_runs(struct nr_version *version, uint32_t level, size_t index, uint32_t k_max,
                                struct nr_run *const *runs, size_t run_count, struct nori_error *err)
{
    nori_status rc;
    struct nr_slot *slot = NULL;
    const struct nr_slot *old = nr_level_slot(version->levels[level], index);

    NR_CHECK(nr_slot_create_with(old->activity, level, old->slot_id, old->start, old->end, k_max, runs, run_count,
                                 &slot, err));
    NR_CHECK(nr_level_replace(&version->levels[level], index, slot, err));
out:
    nr_slot_unref(slot);
    return rc;
}

static nori_status set_slot(const struct nr_edit_op *op, struct nr_version *version, struct nori_error *err)
{
    const struct nr_level *level = version->levels[op->level];
    size_t index = nr_level_seek(level, op->start);
    const struct nr_slot *slot = nr_level_slot(level, index);

    if (!nr_slice_equal(slot->start, op->start))
        return NR_FAIL(err, NORI_CORRUPTION, "level %" PRIu32 " has no slot at the guard that is to change", op->level);
    for (size_t i = 0; i < op->run_count; i++) {
        if (!fits(op->runs[i], slot))
            return NR_FAIL(err, NORI_CORRUPTION, "run %" PRIu64 " leaves its slot of level %" PRIu32,
                           op->runs[i]->run_id, op->level);
    }
    return replace_runs(version, op->level, index, op->k_max, op->runs, op->run_count, err);
}

static nori_status apply(const struct nr_edit_op *op, struct nr_version *version, struct nr_level0 *level0,
                         struct nori_error *err)
{
    bool is_deep = op->kind >= NR_EDIT_SET_SLOT;

    if (is_deep && (op->level < 1 || op->level >= version->level_count))
        return NR_FAIL(err, NORI_CORRUPTION, "an edit names level %" PRIu32 " of %zu", op->level, version->level_count);
    switch (op->kind) {
    case NR_EDIT_PUSH_L0:
        return nr_level0_push(level0, op->runs[0], err);
    case NR_EDIT_SUBTRACT_L0:
        return nr_level0_subtract(level0, op->first_id, op->start, op->end, err);
    case NR_EDIT_MERGE_L0:
        return nr_level0_merge(level0, op->first_id, op->last_id, op->run_count > 0 ? op->runs[0] : NULL, err);
    case NR_EDIT_SET_SLOT:
        return set_slot(op, version, err);
    case NR_EDIT_SET_GUARDS:
    case NR_EDIT_ADD_GUARDS:
    case NR_EDIT_REMOVE_GUARDS:
        return nr_guards_apply(op, &version->levels[op->level], err);
    case NR_EDIT_SET_SHAPE:
        return nr_shape_apply(op, &version->levels[op->level], err);
    case NR_EDIT_COUNTERS:
    case NR_EDIT_OPTIONS:
    case NR_EDIT_ADD_FILE:
        break; /* Nothing in the tree. */
    }
    return NORI_OK;
}

nori_status nr_edit_replay(const struct nr_edit *edit, struct nr_version *base, struct nr_level0 *level0,
                           struct nr_version **version_out, struct nori_error *err)
{
    nori_status rc;
    struct nr_version *version = NULL;

    *version_out = NULL;
    NR_CHECK(nr_version_copy(base, base->level_count, &version, err));
    for (size_t i = 0; i < edit->op_count; i++) NR_CHECK(apply(&edit->ops[i], version, level0, err));
    *version_out = version;
    version = NULL;
out:
    nr_version_unref(version);
    return rc;
}

static bool changes_level0(const struct nr_edit *edit)
{
    bool changes = false;
    for (size_t i = 0; i < edit->op_count; i++)
        changes |= edit->ops[i].kind >= NR_EDIT_PUSH_L0 && edit->ops[i].kind <= NR_EDIT_MERGE_L0;
    return changes;
}

nori_status nr_edit_apply(const struct nr_edit *edit, struct nr_version *base, struct nr_version **version_out,
                          struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_level0 *level0 = NULL;
    struct nr_version *version = NULL;

    *version_out = NULL;
    if (changes_level0(edit)) NR_CHECK(nr_level0_create(base, &level0, err));
    NR_CHECK(nr_edit_replay(edit, base, level0, &version, err));
    if (level0) NR_CHECK(nr_level0_store(level0, version, err));
    *version_out = version;
    version = NULL;
out:
    nr_level0_destroy(level0);
    nr_version_unref(version);
    return rc;
}

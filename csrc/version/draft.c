#include "version/draft.h"

#include "base/alloc.h"
#include "version/edit_ops.h"
#include "version/level.h"
#include "version/level0.h"

struct nr_draft {
    struct nr_version *version;                  /* Nobody else refers to it. */
    struct nr_level0 *level0;                    /* NULL: as in the version. */
    struct nr_slot_list *lists[NORI_MAX_LEVELS]; /* NULL: as in the version. */
};

nori_status nr_draft_create(const struct nr_version *base, struct nr_draft **draft_out, struct nori_error *err)
{
    *draft_out = NULL;
    struct nr_draft *draft = nr_calloc(1, sizeof(*draft));
    if (!draft) return nr_fail_memory(err, sizeof(*draft));
    nori_status rc = nr_version_copy(base, base->level_count, &draft->version, err);
    if (rc != NORI_OK) {
        nr_draft_destroy(draft);
        return rc;
    }
    draft->version->number = base->number;
    *draft_out = draft;
    return NORI_OK;
}

void nr_draft_destroy(struct nr_draft *draft)
{
    if (!draft) return;
    for (size_t i = 0; i < NORI_MAX_LEVELS; i++) nr_slot_list_destroy(draft->lists[i]);
    nr_level0_destroy(draft->level0);
    nr_version_unref(draft->version);
    nr_free(draft);
}

nori_status nr_draft_deepen(struct nr_draft *draft, size_t level_count, struct nori_error *err)
{
    struct nr_version *deeper;
    if (level_count <= draft->version->level_count) return NORI_OK;
    nori_status rc = nr_version_copy(draft->version, level_count, &deeper, err);
    if (rc != NORI_OK) return rc;
    deeper->number = draft->version->number;
    nr_version_unref(draft->version);
    draft->version = deeper;
    return NORI_OK;
}

/* ---------------------------------------------------------------- operations */

static nori_status apply_level0(struct nr_draft *draft, const struct nr_edit_op *op, struct nori_error *err)
{
    nori_status rc = draft->level0 ? NORI_OK : nr_level0_create(draft->version, &draft->level0, err);
    if (rc != NORI_OK) return rc;
    if (op->kind == NR_EDIT_PUSH_L0) return nr_level0_push(draft->level0, op->runs[0], err);
    if (op->kind == NR_EDIT_SUBTRACT_L0)
        return nr_level0_subtract(draft->level0, op->first_id, op->start, op->end, err);
    return nr_level0_merge(draft->level0, op->first_id, op->last_id, op->run_count > 0 ? op->runs[0] : NULL, err);
}

static bool fits(const struct nr_run *run, const struct nr_slot *slot)
{
    return nr_slice_compare(slot->start, run->slices[0].start) <= 0 &&
           nr_bound_compare(run->slices[run->slice_count - 1].end, slot->end) <= 0;
}

/* The slot keeps its bounds, its id and its activity. */
static nori_status remake_slot(const struct nr_edit_op *op, const struct nr_slot *old, struct nr_slot **slot_out,
                               struct nori_error *err)
{
    *slot_out = NULL;
    if (!nr_slice_equal(old->start, op->start))
        return NR_FAIL(err, NORI_CORRUPTION, "level %" PRIu32 " has no slot at the guard that is to change", op->level);
    for (size_t i = 0; i < op->run_count; i++) {
        if (!fits(op->runs[i], old))
            return NR_FAIL(err, NORI_CORRUPTION, "run %" PRIu64 " leaves its slot of level %" PRIu32,
                           op->runs[i]->run_id, op->level);
    }
    return nr_slot_create_with(old->activity, op->level, old->slot_id, old->start, old->end, op->k_max, op->runs,
                               op->run_count, slot_out, err);
}

static nori_status set_slot(struct nr_draft *draft, const struct nr_edit_op *op, struct nori_error *err)
{
    nori_status rc;
    struct nr_slot *slot = NULL;
    struct nr_slot_list *list = draft->lists[op->level];
    struct nr_level **level = &draft->version->levels[op->level];

    if (list) {
        struct nr_slot_place place = nr_slot_list_find(list, op->start);
        NR_CHECK(remake_slot(op, nr_slot_list_at(list, place), &slot, err));
        NR_CHECK(nr_slot_list_replace(list, place, 1, &slot, 1, err));
    } else {
        size_t index = nr_level_seek(*level, op->start);
        NR_CHECK(remake_slot(op, nr_level_slot(*level, index), &slot, err));
        NR_CHECK(nr_level_replace(level, index, slot, err));
    }
out:
    nr_slot_unref(slot);
    return rc;
}

static nori_status move_guards(struct nr_draft *draft, const struct nr_edit_op *op, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_slot_list **list = &draft->lists[op->level];
    if (!*list) NR_CHECK(nr_slot_list_create(draft->version->levels[op->level], list, err));
    NR_CHECK(nr_guards_apply(op, *list, err));
out:
    return rc;
}

static nori_status store_list(struct nr_draft *draft, size_t level, struct nori_error *err)
{
    if (!draft->lists[level]) return NORI_OK;
    nori_status rc = nr_slot_list_store(draft->lists[level], &draft->version->levels[level], err);
    if (rc != NORI_OK) return rc;
    nr_slot_list_destroy(draft->lists[level]);
    draft->lists[level] = NULL;
    return NORI_OK;
}

static nori_status set_shape(struct nr_draft *draft, const struct nr_edit_op *op, struct nori_error *err)
{
    nori_status rc = store_list(draft, op->level, err);
    return rc == NORI_OK ? nr_shape_apply(op, &draft->version->levels[op->level], err) : rc;
}

static nori_status apply(struct nr_draft *draft, const struct nr_edit_op *op, struct nori_error *err)
{
    bool is_deep = op->kind >= NR_EDIT_SET_SLOT;
    size_t level_count = draft->version->level_count;

    if (is_deep && (op->level < 1 || op->level >= level_count))
        return NR_FAIL(err, NORI_CORRUPTION, "an edit names level %" PRIu32 " of %zu", op->level, level_count);
    switch (op->kind) {
    case NR_EDIT_PUSH_L0:
    case NR_EDIT_SUBTRACT_L0:
    case NR_EDIT_MERGE_L0:
        return apply_level0(draft, op, err);
    case NR_EDIT_SET_SLOT:
        return set_slot(draft, op, err);
    case NR_EDIT_SET_GUARDS:
    case NR_EDIT_ADD_GUARDS:
    case NR_EDIT_REMOVE_GUARDS:
        return move_guards(draft, op, err);
    case NR_EDIT_SET_SHAPE:
        return set_shape(draft, op, err);
    case NR_EDIT_COUNTERS:
    case NR_EDIT_OPTIONS:
    case NR_EDIT_ADD_FILE:
        break; /* Nothing in the tree. */
    }
    return NORI_OK;
}

nori_status nr_draft_apply(struct nr_draft *draft, const struct nr_edit *edit, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    draft->version->number++;
    for (size_t i = 0; i < edit->op_count; i++) NR_CHECK(apply(draft, &edit->ops[i], err));
out:
    return rc;
}

nori_status nr_draft_finish(struct nr_draft *draft, struct nr_version **version_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    *version_out = NULL;
    if (draft->level0) NR_CHECK(nr_level0_store(draft->level0, draft->version, err));
    for (size_t i = 0; i < draft->version->level_count; i++) NR_CHECK(store_list(draft, i, err));
    *version_out = draft->version;
    draft->version = NULL;
out:
    return rc;
}

nori_status nr_edit_apply(const struct nr_edit *edit, struct nr_version *base, struct nr_version **version_out,
                          struct nori_error *err)
{
    nori_status rc;
    struct nr_draft *draft = NULL;

    *version_out = NULL;
    NR_CHECK(nr_draft_create(base, &draft, err));
    NR_CHECK(nr_draft_apply(draft, edit, err));
    NR_CHECK(nr_draft_finish(draft, version_out, err));
out:
    nr_draft_destroy(draft);
    return rc;
}

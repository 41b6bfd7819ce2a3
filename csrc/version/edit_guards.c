/* New slots in the place of old ones. */
#include "version/edit_ops.h"

#include "base/alloc.h"
#include "version/key_place.h"
#include "version/level.h"

/* What an old slot gives to a new one. */
struct part {
    struct nr_run *run; /* Refs. */
    size_t depth;       /* Place among the old slot's parts, from the oldest. */
};

/* Neighbouring slots that become others over the same keys. */
struct recut {
    const struct nr_edit_op *op;
    struct nr_slot **old; /* Owned array; borrows. */
    size_t old_count, old_capacity;
    nori_slice *guards; /* Owned, with room for all of the operation's; keys borrowed. Within the old slots. */
    size_t guard_count;
    uint64_t next_slot_id;
    struct nr_slot **slots; /* Owned array of refs: the new ones. */
    size_t count;
    struct part *parts; /* Owned: of the slot under way, in key order of the old slots. */
    size_t part_count, part_capacity;
    struct nr_run **runs; /* Owned array with room for any slot's; refs. */
    size_t run_count;
    struct nr_run **row; /* Owned, as large as 'parts'. Borrows: those of one depth. */
};

static void clear_slot(struct recut *recut)
{
    for (size_t i = 0; i < recut->part_count; i++) nr_run_unref(recut->parts[i].run);
    for (size_t i = 0; i < recut->run_count; i++) nr_run_unref(recut->runs[i]);
    recut->part_count = recut->run_count = 0;
}

/* Ready for other slots. */
static void clear_slots(struct recut *recut)
{
    clear_slot(recut);
    for (size_t i = 0; i < recut->count; i++) nr_slot_unref(recut->slots[i]);
    nr_free(recut->slots);
    nr_free(recut->runs);
    recut->slots = NULL;
    recut->runs = NULL;
    recut->count = recut->old_count = recut->guard_count = 0;
}

static void clear_recut(struct recut *recut)
{
    clear_slots(recut);
    nr_free(recut->old);
    nr_free(recut->guards);
    nr_free(recut->parts);
    nr_free(recut->row);
}

static nori_status reserve_parts(struct recut *recut, size_t more, struct nori_error *err)
{
    size_t capacity = recut->part_count + more;
    if (capacity <= recut->part_capacity) return NORI_OK;
    capacity = NR_MAX(capacity, recut->part_capacity * 2);
    void *parts = nr_realloc(recut->parts, capacity * sizeof(*recut->parts));
    if (parts) recut->parts = parts;
    void *row = parts ? nr_realloc(recut->row, capacity * sizeof(*recut->row)) : NULL;
    if (!row) return nr_fail_memory(err, capacity * sizeof(*recut->parts));
    recut->row = row;
    recut->part_capacity = capacity;
    return NORI_OK;
}

/* The runs of 'source' in [start, end), into recut->parts. In a new slot they get ids of its own: 'seen' is the count
 * of runs in the sources before. */
static nori_status clip_runs(struct recut *recut, const struct nr_slot *source, nori_slice start, struct nr_bound end,
                             uint64_t slot_id, bool is_new, size_t seen, struct nori_error *err)
{
    size_t first = recut->part_count;
    nori_status rc = reserve_parts(recut, source->run_count, err);
    if (rc != NORI_OK) return rc;
    for (size_t i = 0; i < source->run_count; i++) {
        struct nr_run *run = source->runs[i], *part;
        uint64_t run_id = is_new ? NR_CUT_RUN_BIT | slot_id << 16 | (seen + i) : run->run_id;
        if (!nr_run_overlaps(run, start, end)) continue;
        if (is_new && (slot_id > NR_MAX_CUT_SLOT_ID || seen + i > NR_MAX_CUT_RUN_INDEX))
            return NR_FAIL(err, NORI_CORRUPTION, "new guards: slot id %" PRIu64 " or a run's place is too large",
                           slot_id);
        rc = nr_run_clip(run, start, end, run_id, &part, err);
        if (rc != NORI_OK) return rc;
        recut->parts[recut->part_count++].run = part;
    }
    for (size_t i = first; i < recut->part_count; i++) recut->parts[i].depth = recut->part_count - 1 - i;
    return NORI_OK;
}

static bool has_runs_in(const struct nr_slot *slot, nori_slice start, struct nr_bound end)
{
    for (size_t i = 0; i < slot->run_count; i++) {
        if (nr_run_overlaps(slot->runs[i], start, end)) return true;
    }
    return false;
}

/* Where 'key' lies in the slot: 0 to 1. */
static double place_in(const struct nr_slot *slot, nori_slice key)
{
    struct nr_key_place place = nr_key_place_find(slot->start, slot->end, key);
    return (double)place.part / (double)place.whole;
}

/* How much of 'old' lies in the new slot: of its bytes, or of its keys where it has none. */
static double part_of(const struct nr_slot *old, const struct nr_slot *slot)
{
    uint64_t bytes = 0;
    if (old->bytes > 0) {
        for (size_t i = 0; i < old->run_count; i++) bytes += nr_run_bytes_in(old->runs[i], slot->start, slot->end);
        return (double)bytes / (double)old->bytes;
    }
    bool begins_inside = nr_slice_compare(slot->start, old->start) > 0;
    bool ends_inside = nr_bound_compare(slot->end, old->end) < 0;
    double from = begins_inside ? place_in(old, slot->start) : 0;
    return (ends_inside ? place_in(old, slot->end.key) : 1) - from;
}

/* Of all old slots that 'slot' overlaps, from 'first' on. */
static void share_activity(const struct recut *recut, struct nr_slot *slot, size_t first)
{
    for (size_t i = first; i < recut->old_count; i++) {
        const struct nr_slot *old = recut->old[i];
        if (!nr_bound_above(slot->end, old->start)) break;
        nr_activity_share(slot->activity, old->activity, part_of(old, slot));
    }
}

/* The parts as runs, newest first: those of the same depth one behind the other. */
static nori_status join_parts(struct recut *recut, struct nori_error *err)
{
    size_t depth = 0;
    for (size_t i = 0; i < recut->part_count; i++) depth = NR_MAX(depth, recut->parts[i].depth + 1);
    while (depth-- > 0) {
        size_t count = 0;
        for (size_t i = 0; i < recut->part_count; i++) {
            if (recut->parts[i].depth == depth) recut->row[count++] = recut->parts[i].run;
        }
        nori_status rc =
            nr_run_concatenate(recut->row, count, recut->row[0]->run_id, &recut->runs[recut->run_count], err);
        if (rc != NORI_OK) return rc;
        recut->run_count++;
    }
    return NORI_OK;
}

/* The new slot [start, end). 'first': index of the old slot that covers its start. */
static nori_status make_slot(struct recut *recut, nori_slice start, struct nr_bound end, size_t first,
                             struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_slot *old = recut->old[first];
    size_t seen = 0;
    bool is_new = !nr_slice_equal(old->start, start);
    uint64_t slot_id = is_new ? recut->next_slot_id++ : old->slot_id;

    if (!is_new && nr_bound_compare(old->end, end) == 0) {
        recut->slots[recut->count++] = nr_slot_ref(old);
        goto out;
    }
    for (size_t i = first; i < recut->old_count; i++) {
        const struct nr_slot *source = recut->old[i];
        if (!nr_bound_above(end, source->start)) break;
        if (!has_runs_in(source, start, end)) continue;
        NR_CHECK(clip_runs(recut, source, start, end, slot_id, is_new, seen, err));
        seen += source->run_count;
    }
    NR_CHECK(join_parts(recut, err));
    uint32_t k_max = recut->op->k_max ? recut->op->k_max : old->k_max;
    NR_CHECK(nr_slot_create(recut->op->level, slot_id, start, end, k_max, recut->runs, recut->run_count,
                            &recut->slots[recut->count], err));
    share_activity(recut, recut->slots[recut->count++], first);
out:
    clear_slot(recut);
    return rc;
}

static nori_status check_ascending(const struct nr_edit_shape *shape, size_t count, bool first_is_empty,
                                   struct nori_error *err)
{
    for (size_t i = 0; i < count; i++) {
        bool is_right = i > 0 ? nr_slice_compare(shape[i - 1].start, shape[i].start) < 0
                              : (shape[0].start.size == 0) == first_is_empty;
        if (!is_right) return NR_FAIL(err, NORI_CORRUPTION, "guards are not in order");
    }
    return NORI_OK;
}

static struct nr_bound end_of(const struct nr_edit_shape *shape, size_t count, size_t index)
{
    return index + 1 < count ? nr_bound_key(shape[index + 1].start) : nr_bound_infinite();
}

static nori_status add_old(struct recut *recut, struct nr_slot *slot, struct nori_error *err)
{
    if (recut->old_count == recut->old_capacity) {
        size_t capacity = NR_MAX(recut->old_capacity * 2, (size_t)4);
        struct nr_slot **old = nr_realloc(recut->old, capacity * sizeof(*old));
        if (!old) return nr_fail_memory(err, capacity * sizeof(*old));
        recut->old = old;
        recut->old_capacity = capacity;
    }
    recut->old[recut->old_count++] = slot;
    return NORI_OK;
}

/* Puts slots cut at recut->guards in the place of the old ones, which stand in the list from 'place' on. */
static nori_status cut(struct recut *recut, struct nr_slot_list *list, struct nr_slot_place place,
                       struct nori_error *err)
{
    nori_status rc;
    size_t most_runs = 0, first = 0;
    struct nr_bound last_end = recut->old[recut->old_count - 1]->end;

    for (size_t i = 0; i < recut->old_count; i++) most_runs = NR_MAX(most_runs, recut->old[i]->run_count);
    recut->slots = nr_calloc(recut->guard_count + 1, sizeof(*recut->slots));
    recut->runs = nr_calloc(most_runs + 1, sizeof(*recut->runs));
    if (!recut->slots || !recut->runs) {
        rc = nr_fail_memory(err, recut->guard_count * sizeof(*recut->slots));
        goto out;
    }
    for (size_t i = 0; i <= recut->guard_count; i++) {
        nori_slice start = i > 0 ? recut->guards[i - 1] : recut->old[0]->start;
        struct nr_bound end = i < recut->guard_count ? nr_bound_key(recut->guards[i]) : last_end;
        while (!nr_bound_above(recut->old[first]->end, start)) first++;
        NR_CHECK(make_slot(recut, start, end, first, err));
    }
    NR_CHECK(nr_slot_list_replace(list, place, recut->old_count, recut->slots, recut->count, err));
out:
    clear_slots(recut);
    return rc;
}

static nori_status set_guards(struct recut *recut, struct nr_slot_list *list, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_slot_place place = {0, 0};
    for (; nr_slot_list_at(list, place); place = nr_slot_list_next(list, place))
        NR_CHECK(add_old(recut, nr_slot_list_at(list, place), err));
    for (size_t i = 0; i < recut->op->shape_count; i++) recut->guards[recut->guard_count++] = recut->op->shape[i].start;
    NR_CHECK(cut(recut, list, (struct nr_slot_place){0, 0}, err));
out:
    return rc;
}

/* Slot by slot that guards lie in. */
static nori_status add_guards(struct recut *recut, struct nr_slot_list *list, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    const struct nr_edit_op *op = recut->op;
    for (size_t i = 0; i < op->shape_count;) {
        struct nr_slot_place place = nr_slot_list_find(list, op->shape[i].start);
        struct nr_slot *slot = nr_slot_list_at(list, place);
        for (; i < op->shape_count && nr_bound_above(slot->end, op->shape[i].start); i++) {
            bool is_there = nr_slice_equal(slot->start, op->shape[i].start);
            if (!is_there) recut->guards[recut->guard_count++] = op->shape[i].start;
        }
        if (recut->guard_count == 0) continue;
        NR_CHECK(add_old(recut, slot, err));
        NR_CHECK(cut(recut, list, place, err));
    }
out:
    return rc;
}

/* Neighbours that lose their guards go into the slot before them. */
static nori_status remove_guards(struct recut *recut, struct nr_slot_list *list, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    const struct nr_edit_op *op = recut->op;
    for (size_t i = 0; i < op->shape_count;) {
        struct nr_slot_place next = nr_slot_list_find(list, op->shape[i].start);
        struct nr_slot *slot = nr_slot_list_at(list, next);
        if (!nr_slice_equal(slot->start, op->shape[i].start))
            return NR_FAIL(err, NORI_CORRUPTION, "a guard that is to go is not there");
        struct nr_slot_place place = nr_slot_list_previous(list, next);
        NR_CHECK(add_old(recut, nr_slot_list_at(list, place), err));
        for (; slot && i < op->shape_count && nr_slice_equal(slot->start, op->shape[i].start); i++) {
            NR_CHECK(add_old(recut, slot, err));
            next = nr_slot_list_next(list, next);
            slot = nr_slot_list_at(list, next);
        }
        NR_CHECK(cut(recut, list, place, err));
    }
out:
    return rc;
}

nori_status nr_guards_apply(const struct nr_edit_op *op, struct nr_slot_list *list, struct nori_error *err)
{
    nori_status rc;
    struct recut recut = {.op = op, .next_slot_id = op->first_id};

    NR_CHECK(check_ascending(op->shape, op->shape_count, false, err));
    recut.guards = nr_calloc(op->shape_count + 1, sizeof(*recut.guards));
    if (!recut.guards) return nr_fail_memory(err, op->shape_count * sizeof(*recut.guards));
    if (op->kind == NR_EDIT_SET_GUARDS)
        rc = set_guards(&recut, list, err);
    else if (op->kind == NR_EDIT_ADD_GUARDS)
        rc = add_guards(&recut, list, err);
    else
        rc = remove_guards(&recut, list, err);
out:
    clear_recut(&recut);
    return rc;
}

nori_status nr_shape_apply(const struct nr_edit_op *op, struct nr_level **level, struct nori_error *err)
{
    nori_status rc;
    struct nr_level *made = NULL;
    struct nr_slot **slots = NULL;
    size_t count = 0;

    if ((*level)->max_run_count > 0 || op->shape_count == 0)
        return NR_FAIL(err, NORI_CORRUPTION, "level %" PRIu32 " is given slots, but has data", op->level);
    NR_CHECK(check_ascending(op->shape, op->shape_count, true, err));
    slots = nr_calloc(op->shape_count, sizeof(*slots));
    if (!slots) {
        rc = nr_fail_memory(err, op->shape_count * sizeof(*slots));
        goto out;
    }
    for (; count < op->shape_count; count++) {
        const struct nr_edit_shape *shape = &op->shape[count];
        NR_CHECK(nr_slot_create(op->level, shape->slot_id, shape->start, end_of(op->shape, op->shape_count, count),
                                shape->k_max, NULL, 0, &slots[count], err));
    }
    NR_CHECK(nr_level_create(slots, count, &made, err));
    nr_level_unref(*level);
    *level = made;
out:
    for (size_t i = 0; i < count; i++) nr_slot_unref(slots[i]);
    nr_free(slots);
    return rc;
}

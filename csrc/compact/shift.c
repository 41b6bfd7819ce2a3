#include "compact/shift.h"

#include "base/alloc.h"

/* What 'source' has in the slot 'target', or in the one that will be like it, to 'level'. */
static nori_status move_slot(struct nr_edit *edit, const struct nr_slot *source, const struct nr_slot *target,
                             uint32_t level, uint64_t (*next_run_id)(void *arg), void *arg, struct nori_error *err)
{
    size_t count = 0;
    nori_status rc = NORI_OK;
    struct nr_run **runs = nr_calloc(source->run_count + 1, sizeof *runs);
    if (!runs) return nr_fail_memory(err, source->run_count * sizeof *runs);
    for (size_t i = 0; i < source->run_count; i++) {
        NR_CHECK(nr_run_clip(source->runs[i], target->start, target->end, next_run_id(arg), &runs[count], err));
        count += runs[count] != NULL;
    }
    if (count > 0) NR_CHECK(nr_edit_set_slot(edit, level, target->start, source->k_max, runs, count, err));
out:
    for (size_t i = 0; i < count; i++) nr_run_unref(runs[i]);
    nr_free(runs);
    return rc;
}

/* Of the level's guards every one that a level above has, and of the others as many as cut its bytes into the parts
 * wanted. Slots that took from above at different paces stay apart: what is merged over both would stand before newer
 * data in one of them. 'guards' has room for all. */
static size_t choose_guards(const struct nr_version *version, uint32_t level, size_t wanted_slots, nori_slice *guards)
{
    const struct nr_level *slots = version->levels[level];
    const struct nr_level *above = level > 1 ? version->levels[level - 1] : NULL;
    uint64_t part = slots->bytes / NR_MAX(wanted_slots, 1) + 1, seen = 0;
    nori_slice start = nr_level_slot(slots, 0)->start;
    size_t count = 0;
    for (size_t i = 1; i < slots->slot_count; i++) {
        const struct nr_slot *slot = nr_level_slot(slots, i);
        bool is_fixed = above && nr_slice_equal(nr_level_find(above, slot->start)->start, slot->start);
        seen += nr_level_slot(slots, i - 1)->bytes;
        if (!is_fixed && seen < part && nr_version_may_join(version, level, start, slot->end)) continue;
        guards[count++] = start = slot->start;
        seen = 0;
    }
    return count;
}

/* Levels are cut when data comes to them: no guards are kept where nothing lies. */
static nori_status cut_next(struct nr_edit *edit, const struct nr_level *from, uint32_t level, uint64_t first_slot_id,
                            nori_slice *guards, struct nori_error *err)
{
    for (size_t i = 1; i < from->slot_count; i++) guards[i - 1] = nr_level_slot(from, i)->start;
    return nr_edit_set_guards(edit, level + 1, guards, from->slot_count - 1, first_slot_id, 0, err);
}

nori_status nr_shift_edit(struct nr_edit *edit, const struct nr_version *version, uint32_t level, size_t wanted_slots,
                          uint64_t first_slot_id, uint64_t (*next_run_id)(void *arg), void *arg, struct nori_error *err)
{
    const struct nr_level *from = version->levels[level], *to = version->levels[level + 1];
    nori_status rc = NORI_OK;
    nori_slice *guards = nr_alloc((from->slot_count + 1) * sizeof *guards);
    if (!guards) return nr_fail_memory(err, from->slot_count * sizeof *guards);
    if (to->slot_count == 1) {
        NR_CHECK(cut_next(edit, from, level, first_slot_id, guards, err));
        to = from;
    }
    for (size_t i = 0; i < to->slot_count; i++) {
        const struct nr_slot *target = nr_level_slot(to, i);
        NR_CHECK(move_slot(edit, nr_level_find(from, target->start), target, level + 1, next_run_id, arg, err));
    }
    for (size_t i = 0; i < from->slot_count; i++) {
        const struct nr_slot *slot = nr_level_slot(from, i);
        if (slot->run_count > 0) NR_CHECK(nr_edit_set_slot(edit, level, slot->start, slot->k_max, NULL, 0, err));
    }
    size_t count = choose_guards(version, level, wanted_slots, guards);
    NR_CHECK(nr_edit_set_guards(edit, level, guards, count, NR_FIRST_SLOT_ID, 0, err));
out:
    nr_free(guards);
    return rc;
}

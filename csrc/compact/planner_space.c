/* The space bound (design 5): bytes that are not in bottom runs stay at or below (max_space_amp - 1) x the bottom's.
 *
 * A merge of all of a bottom slot's runs writes the whole slot for its newer part, so what it costs is the whole over
 * the newer part: the headroom is spent where slots are left to gather, and always the slot with the greatest newer
 * part is merged. So slots are merged at about twice the mean. */
#include "compact/planner_state.h"

/* Merges begin before the bound is reached: they take time. */
#define BEGIN_PART 0.9
#define MAX_URGENCY 8.0
/* Newer runs of bottom slots below this part of the bound are not what takes the space. */
#define WORTHWHILE_PART 0.25

/* 'at': for each level where the slot before ended there; slots come in order. */
static bool has_data_below(const struct nr_version *version, const struct nr_slot *slot, size_t *at)
{
    for (size_t level = slot->level + 1u; level < version->level_count; level++) {
        const struct nr_level *below = version->levels[level];
        if (below->max_run_count == 0) continue;
        for (; at[level] < below->slot_count; at[level]++) {
            const struct nr_slot *other = nr_level_slot(below, at[level]);
            if (!nr_bound_above(other->end, slot->start)) continue;
            if (!nr_bound_above(slot->end, other->start)) break;
            if (other->run_count > 0) return true;
        }
    }
    return false;
}

static uint64_t headroom(const struct nori_options *options, uint64_t bottom_bytes)
{
    /* Level 0 is left alone up to its depth, so a small database may hold that much beside its bottom. */
    uint64_t least = NR_L0_ADMIT_DEPTH * (uint64_t)options->memtable.flush_trigger_bytes;
    double room = (options->max_space_amp - 1) * (double)bottom_bytes;
    if (options->strategy != NORI_STRATEGY_ATLL || room >= 9e18) return UINT64_MAX;
    return NR_MAX(least, (uint64_t)NR_MAX(room, 0));
}

void nr_planner_measure_space(const struct nr_plan_view *view, struct nr_space *space_out)
{
    const struct nr_version *version = view->version;
    uint64_t total = nr_version_level0(version)->bytes + view->unreferenced_bytes;
    space_out->bottom_bytes = 0;
    for (size_t level = 1; level < version->level_count; level++) {
        const struct nr_level *slots = version->levels[level];
        size_t at[NORI_MAX_LEVELS] = {0};
        for (size_t i = 0; i < slots->slot_count && slots->max_run_count > 0; i++) {
            const struct nr_slot *slot = nr_level_slot(slots, i);
            if (slot->run_count == 0) continue;
            total += slot->bytes;
            if (has_data_below(version, slot, at)) continue;
            /* A merge under way counts as done: its inputs are capped by how many merges run. */
            bool is_busy = slot->run_count > 1 && nr_planner_is_busy(view, slot->level, slot->slot_id);
            space_out->bottom_bytes += is_busy ? slot->bytes : slot->oldest_bytes;
        }
    }
    space_out->above_bytes = total - NR_MIN(total, space_out->bottom_bytes);
    space_out->bound_bytes = headroom(view->options, space_out->bottom_bytes);
}

static uint64_t newer_bytes(const struct nr_slot *slot)
{
    return slot->bytes - slot->oldest_bytes;
}

void nr_planner_consider_space(struct nr_planner *planner)
{
    const struct nr_space *space = &planner->space;
    const struct nr_level *slots = planner->version->levels[planner->bottom_level];
    double fill = (double)space->above_bytes / (double)NR_MAX(space->bound_bytes, 1), urgency = 0;
    uint64_t newer = 0;
    if (space->bound_bytes == UINT64_MAX || slots->max_run_count < 2) return;
    for (size_t i = 0; i < slots->slot_count; i++) newer += newer_bytes(nr_level_slot(slots, i));
    if (fill >= BEGIN_PART && (double)newer >= WORTHWHILE_PART * (double)space->bound_bytes)
        urgency = NR_MIN(fill < 1 ? 0.5 + (fill - BEGIN_PART) * 5 : 1 + (fill - 1) * 15, MAX_URGENCY);
    for (size_t i = 0; i < slots->slot_count; i++) {
        struct nr_slot *slot = nr_level_slot(slots, i);
        uint64_t bytes = newer_bytes(slot), oldest = slot->bytes - bytes;
        bool is_over_share = (double)bytes > 2 * (planner->options->max_space_amp - 1) * (double)oldest &&
                             space->above_bytes > NR_L0_ADMIT_DEPTH * planner->options->memtable.flush_trigger_bytes;
        if (bytes == 0 || (urgency <= 0 && !is_over_share)) continue;
        (void)nr_planner_offer_tier(planner, NR_ACTION_SPACE, slot, 0, is_over_share ? NR_MAX(urgency, 1) : urgency);
    }
}

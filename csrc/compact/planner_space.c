/* The space bound (design 5): bytes that are not in bottom runs stay at or below (max_space_amp - 1) x the bottom's.
 *
 * What newer runs of a bottom slot have of keys that nothing older has (fresh.h) is as live as the oldest run, and
 * counts like it: 'newer' is the rest, which may hide as much of what is older.
 *
 * A merge of all of a bottom slot's runs writes the whole slot for its newer part, so what it costs is the whole over
 * the newer part: the headroom is spent where slots are left to gather, and always the slot with the greatest newer
 * part is merged. So slots are merged at about twice the mean.
 *
 * To the newer part belongs what the slot's slices hold of files to which little else refers (references.h). Where two
 * slots share a table, the first to be merged frees nothing of it, but leaves all the more to the other. */
#include <math.h>

#include "compact/planner_state.h"
#include "version/references.h"

/* Merges begin before the bound is reached: they take time. */
#define BEGIN_PART 0.9
/* A little over that they come before the depth that level 0 has at full speed: else the bound is kept only where there
 * is time for it. Writers wait for level 0 then. */
#define STEEPNESS 60.0
#define MAX_URGENCY 8.0
/* A single run is written anew for what it holds of its tables from here on. More than a merge leaves
 * (nr_merge_leaves), so that it is not written again. */
#define LEAST_HELD_PART 0.3
/* Newer parts of bottom slots below this part of the bound are not what takes the space. */
#define WORTHWHILE_PART 0.25

static bool has_data_below(const struct nr_version *version, const struct nr_slot *slot)
{
    for (size_t level = slot->level + 1u; level < version->level_count; level++) {
        const struct nr_level *below = version->levels[level];
        if (below->max_run_count == 0) continue;
        for (size_t i = nr_level_seek(below, slot->start); i < below->slot_count; i++) {
            const struct nr_slot *other = nr_level_slot(below, i);
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

static uint64_t oldest_of_bottom(const struct nr_level *bottom)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < bottom->chunk_count; i++) bytes += bottom->chunks[i]->bottom_bytes;
    return bytes;
}

/* Of a level's slots, those over nothing: what is in their oldest runs. Each lies over an empty one of the bottom, of
 * which there are few. */
static uint64_t oldest_over_nothing(const struct nr_version *version, uint32_t level, const struct nr_level *bottom)
{
    uint64_t bytes = 0;
    size_t next = 0; /* Of the level's slots: those before were looked at. */
    for (size_t i = 0; i < bottom->chunk_count; i++) {
        const struct nr_slot_chunk *chunk = bottom->chunks[i];
        for (size_t j = 0; j < chunk->count && chunk->empty_count > 0; j++) {
            if (chunk->slots[j]->run_count > 0) continue;
            size_t index = nr_level_seek(version->levels[level], chunk->slots[j]->start);
            const struct nr_slot *slot = nr_level_slot(version->levels[level], index);
            if (index < next) continue;
            next = index + 1;
            if (slot->run_count > 0 && !has_data_below(version, slot)) bytes += slot->bottom_bytes;
        }
    }
    return bytes;
}

/* A merge under way counts as done: its inputs are capped by how many merges run. */
static uint64_t newer_under_way(const struct nr_plan_view *view)
{
    const struct nr_version *version = view->version;
    uint64_t bytes = 0;
    for (size_t i = 0; i < view->busy_count; i++) {
        const struct nr_busy_slot *busy = &view->busy[i];
        if (busy->level == 0 || busy->level >= version->level_count) continue;
        const struct nr_slot *slot = nr_level_find(version->levels[busy->level], busy->start);
        if (slot->slot_id == busy->slot_id && slot->run_count > 1 && !has_data_below(version, slot))
            bytes += slot->bytes - slot->bottom_bytes;
    }
    return bytes;
}

void nr_planner_measure_space(const struct nr_plan_view *view, struct nr_space *space_out)
{
    const struct nr_version *version = view->version;
    uint32_t bottom = nr_planner_bottom_level(version);
    uint64_t total = view->unreferenced_bytes;
    space_out->bottom_bytes = newer_under_way(view) + oldest_of_bottom(version->levels[bottom]);
    for (uint32_t level = 0; level < version->level_count; level++) total += version->levels[level]->bytes;
    for (uint32_t level = 1; level < bottom; level++)
        space_out->bottom_bytes += oldest_over_nothing(version, level, version->levels[bottom]);
    space_out->above_bytes = total - NR_MIN(total, space_out->bottom_bytes);
    space_out->bound_bytes = headroom(view->options, space_out->bottom_bytes);
}

static double urgency_of(double fill)
{
    if (fill < BEGIN_PART) return 0;
    return NR_MIN(0.5 + (fill - BEGIN_PART) * STEEPNESS, MAX_URGENCY);
}

/* Whether no slot of the chunk has a part that would be offered, or, where there is no more room, be taken. */
static bool is_passed(const struct nr_planner *planner, const struct nr_slot_chunk *chunk, double urgency,
                      double most_part)
{
    bool may_be_over = chunk->max_newer_part > most_part;
    double part = chunk->max_newer_part;
    struct nr_proposal best = {.urgency = may_be_over ? NR_MAX(urgency, 1) : urgency,
                               .gain = nr_planner_space_gain(part)};
    return part <= 0 || (urgency <= 0 && !may_be_over) || !nr_planner_would_keep(planner, &best);
}

/* A slot of which 'part' is not wanted, as much as 'most_part' at most if that is bounded. */
static void offer(struct nr_planner *planner, struct nr_slot *slot, double part, double most_part, double urgency)
{
    bool is_over_share = part > most_part;
    if (part <= 0 || (urgency <= 0 && !is_over_share)) return;
    if (slot->run_count == 1 && part < LEAST_HELD_PART) return;
    (void)nr_planner_offer_tier(planner, NR_ACTION_SPACE, slot, 0, is_over_share ? NR_MAX(urgency, 1) : urgency);
}

static void offer_newer(struct nr_planner *planner, const struct nr_level *slots, double most_part, double urgency)
{
    for (size_t i = 0; i < slots->chunk_count; i++) {
        const struct nr_slot_chunk *chunk = slots->chunks[i];
        if (is_passed(planner, chunk, urgency, most_part)) continue;
        for (size_t j = 0; j < chunk->count; j++)
            offer(planner, chunk->slots[j], nr_slot_newer_part(chunk->slots[j]), most_part, urgency);
    }
}

void nr_planner_consider_space(struct nr_planner *planner)
{
    const struct nr_space *space = &planner->space;
    const struct nr_level *slots = planner->version->levels[planner->bottom_level];
    double fill = (double)space->above_bytes / (double)NR_MAX(space->bound_bytes, 1);
    double worthwhile = WORTHWHILE_PART * (double)space->bound_bytes;
    if (space->bound_bytes == UINT64_MAX || slots->max_run_count == 0) return;
    bool is_much = space->above_bytes > NR_L0_ADMIT_DEPTH * planner->options->memtable.flush_trigger_bytes;
    double most_part = is_much ? 2 * (planner->options->max_space_amp - 1) : INFINITY;
    uint64_t newer = 0;
    for (size_t i = 0; i < slots->chunk_count; i++)
        newer += slots->chunks[i]->held_bytes - NR_MIN(slots->chunks[i]->held_bytes, slots->chunks[i]->bottom_bytes);
    offer_newer(planner, slots, most_part, (double)newer >= worthwhile ? urgency_of(fill) : 0);
}

#include "compact/arrivals.h"
#include "compact/planner_state.h"
#include "version/references.h"

#define SPLIT_MAX_PARTS 64
/* New guards cost nothing and make all that follows smaller. */
#define SPLIT_URGENCY 10.0
/* For its reads' sake, as the scheduler sees fit. */
#define LEVEL_URGENCY 0.5
/* Before level 0 is so deep that it hands down into the slot. */
#define FULL_URGENCY 0.6
/* A level far over its target still gives way to level 0 when that is deep. */
#define OVER_TARGET_MAX_URGENCY 4.0

/* Whether [start, end) of the run holds two keys, as far as its bounds tell. */
static bool has_two_keys(const struct nr_run *run, nori_slice start, struct nr_bound end)
{
    size_t index = nr_run_seek(run, start);
    if (index == run->slice_count || !nr_bound_above(end, run->slices[index].start)) return false;
    if (index + 1 < run->slice_count && nr_bound_above(end, run->slices[index + 1].start)) return true;
    const struct nr_table_slice *slice = &run->slices[index];
    nori_slice first = nr_slice_compare(slice->start, start) < 0 ? start : slice->start;
    struct nr_bound last = nr_bound_compare(slice->end, end) < 0 ? slice->end : end;
    bool is_successor = !last.infinite && last.key.size == first.size + 1 && last.key.data[first.size] == 0 &&
                        nr_slice_equal(nr_slice(last.key.data, first.size), first);
    return !is_successor;
}

static bool can_split(const struct nr_planner *planner, const struct nr_slot *slot)
{
    const struct nr_plan_view *view = planner->view;
    for (size_t i = 0; i < view->unsplittable_count; i++) {
        if (view->unsplittable[i] == slot->slot_id) return false;
    }
    for (size_t i = 0; i < slot->run_count; i++) {
        if (has_two_keys(slot->runs[i], slot->start, slot->end)) return true;
    }
    if (slot->level > 1) return false;
    const struct nr_slot *level0 = nr_version_level0(planner->version);
    for (size_t i = 0; i < level0->run_count; i++) {
        if (has_two_keys(level0->runs[i], slot->start, slot->end)) return true;
    }
    return false;
}

/* A level that is passed through needs no more slots than its target asks for, twice over: the finer it is cut, the
 * smaller is what arrives below at a time. */
static bool has_enough_slots(const struct nr_planner *planner, uint32_t level)
{
    uint64_t wanted = nr_planner_level_target(planner->version, planner->options, level) / planner->share_bytes[level];
    return level < planner->bottom_level && planner->version->levels[level]->slot_count >= 2 * wanted + 2;
}

bool nr_planner_offer_split(struct nr_planner *planner, struct nr_slot *slot, uint64_t bytes, double urgency)
{
    uint64_t parts = bytes / planner->split_bytes[slot->level];
    if (!can_split(planner, slot) || has_enough_slots(planner, slot->level)) return false;
    /* The levels below are cut by the same guards. */
    if (nr_planner_is_any_busy(planner, slot->level, slot->start, slot->end)) return false;
    struct nr_proposal proposal = {.action = NR_ACTION_SPLIT, .slot = slot, .urgency = urgency};
    proposal.split_count = (size_t)NR_MIN(NR_MAX(parts, 2), SPLIT_MAX_PARTS);
    nr_planner_offer(planner, &proposal);
    return true;
}

bool nr_planner_offer_tier(struct nr_planner *planner, enum nr_action action, struct nr_slot *slot, size_t most,
                           double urgency)
{
    struct nr_proposal proposal = {.action = action, .slot = slot, .urgency = urgency};
    if (slot->run_count == 0 || nr_planner_is_busy(planner->view, slot)) return false;
    proposal.run_count = NR_MIN(slot->run_count, (size_t)NR_PLAN_MAX_RUNS);
    if (slot->run_count > NR_PLAN_MAX_RUNS)
        proposal.first_run = slot->run_count - NR_PLAN_MAX_RUNS;
    else if (most > 0 && slot->run_count > most)
        proposal.run_count = nr_planner_count_similar(planner, slot, 0, slot->run_count - most + 1);
    uint64_t kept = slot->runs[proposal.first_run + proposal.run_count - 1]->bytes;
    for (size_t i = 0; i < proposal.run_count; i++) proposal.bytes += slot->runs[proposal.first_run + i]->bytes;
    proposal.probes = action == NR_ACTION_SPACE ? 0 : proposal.run_count - 1;
    proposal.gain = (double)(proposal.bytes - NR_MIN(kept, proposal.bytes)) / (double)(proposal.bytes + 1);
    if (action == NR_ACTION_SPACE) proposal.gain = nr_planner_space_gain(nr_slot_newer_part(slot));
    nr_planner_offer(planner, &proposal);
    return true;
}

bool nr_planner_offer_relief(struct nr_planner *planner, struct nr_slot *slot, double urgency)
{
    uint32_t level = slot->level, k_max = nr_planner_slot_k(planner->options, slot);
    bool is_above_target = planner->version->levels[level]->bytes > planner->target_bytes[level];
    bool is_large = slot->bytes > planner->share_bytes[level];
    if (level < planner->last_level && (is_above_target || (is_large && k_max > 1)) &&
        nr_planner_offer_promote(planner, slot, urgency))
        return true;
    if (slot->run_count < 2) return false;
    return nr_planner_offer_tier(planner, NR_ACTION_TIER, slot, k_max > 1 ? k_max - 1 : 1, urgency);
}

/* Of a whole level, looked at once. */
static double arrival_rate(struct nr_planner *planner, uint32_t level)
{
    const struct nr_level *slots = planner->version->levels[level];
    double *rate = &planner->arrival_rate[level];
    for (size_t i = 0; i < slots->slot_count && !planner->is_rate_known[level]; i++)
        *rate += nr_arrivals_rate(&nr_level_slot(slots, i)->activity->state);
    planner->is_rate_known[level] = true;
    return *rate;
}

/* About what arrives in the slot at a time, 0 if nobody knows: its part of what the level above hands down in a turn.
 * No less than a quarter of what slots get on average: one that writes have left is not to go down for the least of
 * them. */
static uint64_t expected_arrival(struct nr_planner *planner, const struct nr_slot *slot)
{
    const struct nr_level *slots = planner->version->levels[slot->level];
    double level_rate = arrival_rate(planner, slot->level);
    if (level_rate <= 0) return 0;
    double part = nr_arrivals_rate(&slot->activity->state) / level_rate, least = 0.25 / (double)slots->slot_count;
    return (uint64_t)((double)planner->target_bytes[slot->level - 1] * NR_MAX(part, least));
}

/* A slot below level 1, where the next run that arrives would be merged with those that are there, hands down before
 * that if this is better. What lies over level 1 goes along when it arrives. */
static void consider_ripe(struct nr_planner *planner, struct nr_slot *slot)
{
    uint32_t k_max = nr_planner_arrival_k(planner->options, slot);
    if (slot->level == 1 || slot->level >= planner->bottom_level || slot->run_count < k_max) return;
    uint64_t arriving = k_max > 1 ? 0 : expected_arrival(planner, slot);
    if (k_max > 1 || arriving > 0) (void)nr_planner_offer_ripe(planner, slot, 0, 0, arriving, FULL_URGENCY);
}

/* Under the bound a slot keeps what it has; over it, it has to hand down or merge. */
static void consider_slot(struct nr_planner *planner, struct nr_slot *slot, double over_target)
{
    uint32_t k_max = nr_planner_slot_k(planner->options, slot);
    double base = nr_planner_is_manual(planner->view, slot->start, slot->end) ? NR_PLAN_MANUAL_URGENCY : 0;
    if (slot->bytes / 2 > planner->split_bytes[slot->level])
        (void)nr_planner_offer_split(planner, slot, slot->bytes, base + SPLIT_URGENCY);
    if (slot->run_count > k_max && k_max == 1)
        (void)nr_planner_offer_tier(planner, NR_ACTION_LEVEL, slot, 0, base + LEVEL_URGENCY);
    else if (slot->run_count > k_max)
        (void)nr_planner_offer_relief(planner, slot, base + (double)slot->run_count / (double)k_max);
    consider_ripe(planner, slot);
    if (over_target > 1)
        (void)nr_planner_offer_promote(planner, slot, NR_MIN(0.5 + 2 * (over_target - 1), OVER_TARGET_MAX_URGENCY));
}

/* Whether nothing can be said of any slot of a bottom level's chunk. */
static bool is_quiet(const struct nr_planner *planner, const struct nr_slot_chunk *chunk, uint32_t level)
{
    size_t k_global = (size_t)NR_MAX(planner->options->k_global, 1);
    size_t most = planner->options->strategy == NORI_STRATEGY_LEVELED ? 1 : k_global;
    bool may_be_over_k =
        chunk->max_run_count > most || (planner->options->strategy == NORI_STRATEGY_ATLL && chunk->is_over_k);
    return !may_be_over_k && chunk->max_bytes / 2 <= planner->split_bytes[level];
}

void nr_planner_consider_level(struct nr_planner *planner, uint32_t level)
{
    const struct nr_level *slots = planner->version->levels[level];
    double over_target = (double)slots->bytes / (double)planner->target_bytes[level];
    bool is_bottom = level >= planner->bottom_level;
    if (is_bottom) over_target = 0; /* The bottom goes down as a whole, or not at all. */
    if (slots->max_run_count == 0) return;
    uint64_t random = planner->view->random;
    for (size_t i = 0; i < slots->chunk_count; i++) {
        const struct nr_slot_chunk *chunk = slots->chunks[(i + random) % slots->chunk_count];
        if (is_bottom && !planner->view->is_manual && is_quiet(planner, chunk, level)) continue;
        for (size_t j = 0; j < chunk->count; j++) {
            struct nr_slot *slot = chunk->slots[(j + random) % chunk->count];
            if (slot->run_count > 0) consider_slot(planner, slot, over_target);
        }
    }
}

/* From one level to the next. A move costs nothing, so it comes first; what has to be merged is merged slot by slot of
 * the level below, where the most goes down for what is rewritten. */
#include "compact/planner_state.h"

/* What lies under a slot's oldest run. */
struct below {
    size_t count, busy_count;
    size_t full_count;    /* Tiered slots without room for a run. */
    size_t leveled_count; /* With a run that has to join. */
    uint64_t leveled_bytes;
};

static bool is_leveled(const struct nr_planner *planner, const struct nr_slot *target)
{
    return nr_planner_slot_k(planner->options, target) == 1 && target->run_count > 0;
}

static bool is_full(const struct nr_planner *planner, const struct nr_slot *target)
{
    uint32_t k_max = nr_planner_slot_k(planner->options, target);
    return k_max > 1 && target->run_count >= k_max;
}

static bool overlaps_any(const struct nr_slot *slot, size_t first, const struct nr_slot *target)
{
    for (size_t i = first; i < slot->run_count; i++)
        if (nr_run_overlaps(slot->runs[i], target->start, target->end)) return true;
    return false;
}

static struct below look_below(const struct nr_planner *planner, const struct nr_slot *slot, size_t first)
{
    const struct nr_level *next = planner->version->levels[slot->level + 1];
    struct below below = {0};
    for (size_t i = nr_level_seek(next, slot->start); i < next->slot_count; i++) {
        const struct nr_slot *target = nr_level_slot(next, i);
        if (!nr_bound_above(slot->end, target->start)) break;
        if (!overlaps_any(slot, first, target)) continue;
        below.count++;
        below.busy_count += nr_planner_is_busy(planner->view, target->level, target->slot_id);
        below.full_count += is_full(planner, target);
        if (!is_leveled(planner, target)) continue;
        below.leveled_count++;
        below.leveled_bytes += target->bytes;
    }
    return below;
}

/* A move writes an edit and no more: nothing has to wait for it. */
#define MOVE_URGENCY 9.0

static void offer_handover(struct nr_planner *planner, struct nr_proposal *proposal, uint64_t bytes, uint64_t rewritten)
{
    if (proposal->is_move) proposal->urgency = NR_MAX(proposal->urgency, MOVE_URGENCY);
    proposal->bytes = proposal->is_move ? 0 : bytes + rewritten;
    /* The largest moves first; of merges those that hand down the most for what they write. */
    double share = (double)planner->share_bytes[proposal->slot->level];
    proposal->gain =
        proposal->is_move ? 1 + NR_MIN((double)bytes / share, 1) : (double)bytes / (double)(bytes + rewritten + 1);
    nr_planner_offer(planner, proposal);
}

/* All runs over the slots below, merged with what is there. */
static void offer_whole(struct nr_planner *planner, struct nr_slot *slot, const struct below *below, double urgency)
{
    struct nr_proposal proposal = {.action = NR_ACTION_PROMOTE, .slot = slot, .urgency = urgency};
    proposal.run_count = NR_MIN(slot->run_count, (size_t)NR_PLAN_MAX_RUNS);
    proposal.first_run = slot->run_count - proposal.run_count;
    proposal.is_move = proposal.run_count == 1 && below->leveled_count == 0 && below->full_count == 0;
    offer_handover(planner, &proposal, slot->bytes, below->leveled_bytes);
}

/* A full slot's oldest run goes on down where there is room; else runs are merged. */
static bool offer_room(struct nr_planner *planner, struct nr_slot *target, double urgency)
{
    uint32_t k_max = nr_planner_slot_k(planner->options, target);
    bool is_above_target = planner->version->levels[target->level]->bytes > planner->target_bytes[target->level];
    if (target->level < planner->bottom_level && is_above_target) {
        struct below below = look_below(planner, target, target->run_count - 1);
        if (below.busy_count == 0 && below.full_count == 0 && below.leveled_count == 0) {
            struct nr_proposal move = {
                .action = NR_ACTION_PROMOTE, .slot = target, .urgency = urgency, .is_move = true};
            move.first_run = target->run_count - 1;
            move.run_count = 1;
            offer_handover(planner, &move, target->runs[move.first_run]->bytes, 0);
            return true;
        }
    }
    return nr_planner_offer_tier(planner, NR_ACTION_TIER, target, k_max - 1, urgency);
}

/* What lies over one slot below. */
static bool offer_part(struct nr_planner *planner, struct nr_slot *slot, struct nr_slot *target, double urgency)
{
    struct nr_proposal proposal = {.action = NR_ACTION_PROMOTE, .slot = slot, .target = target, .urgency = urgency};
    uint64_t bytes = 0;
    if (nr_planner_is_busy(planner->view, target->level, target->slot_id)) return false;
    if (is_full(planner, target)) {
        return offer_room(planner, target, urgency);
    }
    /* Where all is rewritten all runs go; else the oldest that lies over the slot is moved. */
    bool is_merged = is_leveled(planner, target);
    size_t first = is_merged ? 0 : slot->run_count - 1;
    while (!is_merged && first > 0 && !nr_run_overlaps(slot->runs[first], target->start, target->end)) first--;
    if (!overlaps_any(slot, first, target) || slot->run_count - first > NR_PLAN_MAX_RUNS) return false;
    proposal.first_run = first;
    proposal.run_count = is_merged ? slot->run_count : 1;
    proposal.is_move = !is_merged;
    for (size_t i = first; i < first + proposal.run_count; i++)
        bytes += nr_run_bytes_in(slot->runs[i], target->start, target->end);
    offer_handover(planner, &proposal, bytes, target->bytes);
    return true;
}

static bool offer_parts(struct nr_planner *planner, struct nr_slot *slot, double urgency)
{
    const struct nr_level *next = planner->version->levels[slot->level + 1];
    bool is_offered = false;
    for (size_t i = nr_level_seek(next, slot->start); i < next->slot_count; i++) {
        struct nr_slot *target = nr_level_slot(next, i);
        if (!nr_bound_above(slot->end, target->start)) break;
        if (overlaps_any(slot, 0, target)) is_offered |= offer_part(planner, slot, target, urgency);
    }
    return is_offered;
}

bool nr_planner_offer_promote(struct nr_planner *planner, struct nr_slot *slot, bool is_whole, double urgency)
{
    if (slot->level >= planner->bottom_level || slot->run_count == 0) return false;
    if (nr_planner_is_busy(planner->view, slot->level, slot->slot_id)) return false;
    struct below oldest = look_below(planner, slot, slot->run_count - 1);
    struct below all = look_below(planner, slot, 0);
    if (all.count > NR_PLAN_MAX_TARGETS) {
        if (nr_planner_offer_split(planner, slot, slot->bytes, urgency)) return true;
        return slot->run_count > 1 && nr_planner_offer_tier(planner, NR_ACTION_TIER, slot, 0, urgency);
    }
    if (!is_whole && oldest.busy_count == 0 && oldest.full_count == 0 && oldest.leveled_count == 0) {
        struct nr_proposal proposal = {.action = NR_ACTION_PROMOTE, .slot = slot, .urgency = urgency, .is_move = true};
        proposal.first_run = slot->run_count - 1;
        proposal.run_count = 1;
        offer_handover(planner, &proposal, slot->runs[proposal.first_run]->bytes, 0);
        return true;
    }
    if (all.busy_count == 0 && (is_whole || all.leveled_count == all.count)) {
        offer_whole(planner, slot, &all, urgency);
        return true;
    }
    return offer_parts(planner, slot, urgency);
}

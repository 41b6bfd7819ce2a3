/* From one level to the next: a slot hands down all it has, so that what arrives below comes in runs as large as can
 * be. A single run is moved where there is room for it below; several become one on the way, and join what lies in
 * slots below that are leveled.
 *
 * A full slot of level 1 takes along what lies over it in level 0: two levels' runs become one by being written once,
 * and what arrives in level 2 is twice as large. */
#include "compact/planner_state.h"

/* What lies under a slot's runs. */
struct below {
    size_t count, busy_count;
    size_t joining_count; /* With runs that have to join: leveled ones, and such without room. */
    uint64_t joining_bytes;
    uint64_t bytes; /* In all. */
};

bool nr_planner_is_under(const struct nr_planner *planner, const struct nr_slot *slot, size_t first_run,
                         size_t l0_first, size_t l0_count, const struct nr_slot *target)
{
    const struct nr_slot *level0 = nr_version_level0(planner->version);
    for (size_t i = first_run; i < slot->run_count; i++)
        if (nr_run_overlaps(slot->runs[i], target->start, target->end)) return true;
    for (size_t i = l0_first; i < l0_first + l0_count; i++)
        if (nr_run_overlaps(level0->runs[i], target->start, target->end)) return true;
    return false;
}

static struct below look_below(const struct nr_planner *planner, const struct nr_slot *slot, size_t l0_first,
                               size_t l0_count)
{
    const struct nr_level *next = planner->version->levels[slot->level + 1];
    struct below below = {0};
    for (size_t i = nr_level_seek(next, slot->start); i < next->slot_count; i++) {
        const struct nr_slot *target = nr_level_slot(next, i);
        if (!nr_bound_above(slot->end, target->start)) break;
        if (!nr_planner_is_under(planner, slot, 0, l0_first, l0_count, target)) continue;
        uint32_t k_max = nr_planner_arrival_k(planner->options, target);
        below.count++;
        below.bytes += target->bytes;
        below.busy_count += nr_planner_is_busy(planner->view, target);
        if (target->run_count == 0 || target->run_count < k_max) continue;
        below.joining_count++;
        below.joining_bytes += k_max == 1 ? target->bytes : target->bytes / target->run_count;
    }
    return below;
}

bool nr_planner_offer_promote_with(struct nr_planner *planner, struct nr_slot *slot, size_t l0_first, size_t l0_count,
                                   uint64_t bytes, double urgency)
{
    struct nr_proposal proposal = {.action = NR_ACTION_PROMOTE, .slot = slot, .urgency = urgency};
    bytes += slot->bytes;
    if (slot->level >= planner->bottom_level || slot->run_count == 0) return false;
    if (nr_planner_is_busy(planner->view, slot)) return false;
    struct below below = look_below(planner, slot, l0_first, l0_count);
    if (below.busy_count > 0) return false;
    if (below.count > NR_PLAN_MAX_TARGETS) {
        if (nr_planner_offer_split(planner, slot, slot->bytes, urgency)) return true;
        return slot->run_count > 1 && nr_planner_offer_tier(planner, NR_ACTION_TIER, slot, 0, urgency);
    }
    proposal.run_count = NR_MIN(slot->run_count, (size_t)NR_PLAN_MAX_RUNS);
    proposal.first_run = slot->run_count - proposal.run_count;
    proposal.l0_first = l0_first;
    proposal.l0_count = l0_count;
    proposal.is_move = proposal.run_count == 1 && l0_count == 0 && below.joining_count == 0;
    proposal.bytes = proposal.is_move ? 0 : bytes + below.joining_bytes;
    /* A move writes an edit and no more: nothing has to wait for it. Of moves the largest comes first, of merges the
     * one that hands down the most for what it writes; a slot that is small yet gathers more. */
    double fill = NR_MIN((double)bytes / (double)planner->share_bytes[slot->level], 1);
    if (proposal.is_move) proposal.urgency = NR_MAX(urgency, NR_PLAN_MOVE_URGENCY);
    proposal.gain = proposal.is_move ? 1 + fill : fill * (double)bytes / (double)(proposal.bytes + 1);
    nr_planner_offer(planner, &proposal);
    return true;
}

bool nr_planner_offer_promote(struct nr_planner *planner, struct nr_slot *slot, double urgency)
{
    return nr_planner_offer_promote_with(planner, slot, 0, 0, 0, urgency);
}

/* A slot gathers until so many of its like fill the headroom of what lies below: what arrives there in smaller parts is
 * rewritten for each, or merged with others before. A level below that has less than its target counts as if it had
 * that: it is to be as many times as large as this one, or the levels together would not reach from the memtable to the
 * bottom. */
static bool is_enough(const struct nr_planner *planner, const struct nr_slot *slot, const struct below *below,
                      double bytes)
{
    const struct nr_level *next = planner->version->levels[slot->level + 1];
    double headroom = NR_MIN(planner->options->max_space_amp - 1, 1), arrivals = (double)planner->options->k_global - 1;
    double wanted = 0;
    if (slot->level + 1u < planner->bottom_level)
        wanted = (double)nr_planner_level_target(planner->version, planner->options, slot->level + 1) *
                 (double)below->count / (double)next->slot_count;
    return bytes * NR_MAX(arrivals, 1) >= headroom * NR_MAX(wanted, (double)below->bytes);
}

/* A byte that stays is rewritten with what arrives after it; one that goes down rewrites what it has to join there.
 * In a slot of one run of S bytes where 'a' arrive at a time, and J join below, that is S / 2a rewrites a byte and
 * J / S: together least at S^2 = 2aJ. With more runs a byte is rewritten once at most when S doubles: least about where
 * S is J. */
static bool is_ripe(const struct nr_planner *planner, const struct nr_slot *slot, const struct below *below,
                    double arriving)
{
    double bytes = (double)slot->bytes, joining = (double)below->joining_bytes;
    if (nr_planner_arrival_k(planner->options, slot) > 1) return bytes + arriving >= joining;
    return bytes * bytes >= 2 * arriving * joining;
}

bool nr_planner_offer_ripe(struct nr_planner *planner, struct nr_slot *slot, size_t l0_first, size_t l0_count,
                           uint64_t bytes, double urgency)
{
    if (slot->level >= planner->bottom_level || slot->run_count == 0) return false;
    struct below below = look_below(planner, slot, l0_first, l0_count);
    uint64_t along = l0_count > 0 ? bytes : 0;
    return is_ripe(planner, slot, &below, (double)bytes) &&
           is_enough(planner, slot, &below, (double)(slot->bytes + along)) &&
           nr_planner_offer_promote_with(planner, slot, l0_first, l0_count, along, urgency);
}

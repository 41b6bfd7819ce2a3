/* The planner's parts: planner.c collects proposals and builds plans, planner_targets.c knows sizes and K,
 * planner_space.c the space bound, planner_l0.c level 0, planner_slots.c the levels below, planner_promote.c the way
 * from one to the next, planner_clean.c tombstones and expired entries, planner_join.c guards as they are learned. An
 * 'offer' function proposes what it stands for if that is possible now; false: nothing was proposed. */
#ifndef NR_COMPACT_PLANNER_STATE_H
#define NR_COMPACT_PLANNER_STATE_H

#include "compact/planner.h"

struct nr_planner {
    const struct nr_plan_view *view; /* Borrowed. */
    const struct nr_version *version;
    const struct nori_options *options;
    struct nr_proposal *proposals; /* Borrowed; room for NR_PLAN_MAX_PROPOSALS. */
    size_t count;
    uint32_t last_level, bottom_level;
    uint64_t share_bytes[NORI_MAX_LEVELS];
    uint64_t split_bytes[NORI_MAX_LEVELS]; /* Slots with twice as much are cut. */
    uint64_t target_bytes[NORI_MAX_LEVELS];
    struct nr_space space;
    /* What all slots of a level are to be given a second; where it is known. */
    double arrival_rate[NORI_MAX_LEVELS];
    bool is_rate_known[NORI_MAX_LEVELS];
};

/* A manual compaction outranks all else. */
#define NR_PLAN_MANUAL_URGENCY 1000.0
#define NR_PLAN_MOVE_URGENCY 9.0

/* The deepest level with data; 1 if none has. */
uint32_t nr_planner_bottom_level(const struct nr_version *version);
bool nr_planner_is_busy(const struct nr_plan_view *view, const struct nr_slot *slot);
/* Whether a slot of 'level' or below that overlaps [start, end) is busy. */
bool nr_planner_is_any_busy(const struct nr_planner *planner, uint32_t level, nori_slice start, struct nr_bound end);
bool nr_planner_is_manual(const struct nr_plan_view *view, nori_slice start, struct nr_bound end);

/* Keeps the proposal, if it is among the best. */
void nr_planner_offer(struct nr_planner *planner, const struct nr_proposal *proposal);
/* Whether it would, so that what costs time to find out is not asked in vain. */
bool nr_planner_would_keep(const struct nr_planner *planner, const struct nr_proposal *proposal);
/* How many of the slot's newest runs a merge takes: at least 'least', and older ones as long as none is larger than
 * all that it is merged with, 'bytes' that come from outside included. So each merge about doubles what a byte is in.
 * Of what expires, runs that are old are left alone: what joins them would be rewritten each time that a part of them
 * goes. */
size_t nr_planner_count_similar(const struct nr_planner *planner, const struct nr_slot *slot, uint64_t bytes,
                                size_t least);

void nr_planner_consider_l0(struct nr_planner *planner);
void nr_planner_consider_level(struct nr_planner *planner, uint32_t level);
void nr_planner_consider_space(struct nr_planner *planner);
void nr_planner_consider_cleaning(struct nr_planner *planner, uint32_t level);
/* How urgent it is that what has expired in level 0 over [start, end) comes to where it can be cleaned; 0: not at all.
 */
double nr_planner_l0_due(const struct nr_planner *planner, nori_slice start, struct nr_bound end);
/* Only where nothing else is to be done; of a large level a part at a time. */
void nr_planner_consider_guards(struct nr_planner *planner, uint32_t level);

/* Guards in a slot whose data comes to 'bytes', with what is to arrive. */
bool nr_planner_offer_split(struct nr_planner *planner, struct nr_slot *slot, uint64_t bytes, double urgency);
/* What is merged for space is chosen by what that frees of the bytes it holds; 'part' of what stays. */
static inline double nr_planner_space_gain(double part)
{
    return part / (1 + part);
}
/* The slot's newest runs into one, so that 'most' are left at most (0: all into one). */
bool nr_planner_offer_tier(struct nr_planner *planner, enum nr_action action, struct nr_slot *slot, size_t most,
                           double urgency);
/* Makes room in a slot that is full: merges runs, or hands them down. */
bool nr_planner_offer_relief(struct nr_planner *planner, struct nr_slot *slot, double urgency);
/* All that the slot has to the level below. */
bool nr_planner_offer_promote(struct nr_planner *planner, struct nr_slot *slot, double urgency);
/* The same of a slot of level 1, and with it 'bytes' that lie over it in level 0 runs [l0_first, l0_first + l0_count).
 */
bool nr_planner_offer_promote_with(struct nr_planner *planner, struct nr_slot *slot, size_t l0_first, size_t l0_count,
                                   uint64_t bytes, double urgency);
/* The same, if rewriting what it has to join below is better than gathering more: where 'bytes' arrive at a time, those
 * of level 0 (l0_count > 0), which go along, or others to come. */
bool nr_planner_offer_ripe(struct nr_planner *planner, struct nr_slot *slot, size_t l0_first, size_t l0_count,
                           uint64_t bytes, double urgency);
/* Whether the slot's runs from 'first_run' on, or those of level 0, reach into a slot of the level below. */
bool nr_planner_is_under(const struct nr_planner *planner, const struct nr_slot *slot, size_t first_run,
                         size_t l0_first, size_t l0_count, const struct nr_slot *target);

#endif

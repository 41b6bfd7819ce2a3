/* The planner's parts: planner.c chooses, planner_targets.c knows sizes and K, planner_l0.c level 0, planner_slots.c
 * the levels below, planner_clean.c tombstones and expired entries, planner_join.c guards
 * as they are learned. A 'try' function fills the plan if what it stands
 * for is possible now and more urgent than the plan so far. */
#ifndef NR_COMPACT_PLANNER_STATE_H
#define NR_COMPACT_PLANNER_STATE_H

#include "compact/planner.h"

struct nr_planner {
    const struct nr_plan_view *view; /* Borrowed. */
    const struct nr_version *version;
    const struct nori_options *options;
    struct nr_plan *plan; /* The most urgent so far. */
    uint32_t last_level;
    uint32_t k_max[NORI_MAX_LEVELS];
    uint64_t share_bytes[NORI_MAX_LEVELS];
    uint64_t target_bytes[NORI_MAX_LEVELS];
};

/* A manual compaction outranks all else. */
#define NR_PLAN_MANUAL_SCORE 1000.0

bool nr_planner_is_busy(const struct nr_plan_view *view, uint32_t level, uint64_t slot_id);
/* Whether a slot of 'level' or below that overlaps [start, end) is busy. */
bool nr_planner_is_any_busy(const struct nr_planner *planner, uint32_t level, nori_slice start, struct nr_bound end);
bool nr_planner_is_manual(const struct nr_plan_view *view, nori_slice start, struct nr_bound end);
/* Empties the plan but for these. */
void nr_planner_begin_plan(struct nr_planner *planner, enum nr_action action, struct nr_slot *slot, double score);

void nr_planner_consider_l0(struct nr_planner *planner);
void nr_planner_consider_level(struct nr_planner *planner, uint32_t level);
void nr_planner_consider_cleaning(struct nr_planner *planner, uint32_t level);
/* Only where nothing else is to be done. */
void nr_planner_consider_guards(struct nr_planner *planner, uint32_t level);

/* Guards in a slot whose data comes to 'bytes', with what is to arrive. */
bool nr_planner_try_split(struct nr_planner *planner, struct nr_slot *slot, uint64_t bytes, double score);
/* Makes room in a slot that is full: merges its runs, or hands the oldest down. */
bool nr_planner_try_relieve(struct nr_planner *planner, struct nr_slot *slot, double score);

/* All runs of a slot into one. */
bool nr_planner_try_join_runs(struct nr_planner *planner, enum nr_action action, struct nr_slot *slot, double score);
/* The oldest run goes down; all runs with 'is_whole', where there can be but one, or where runs below have to be
 * rewritten for it: the more goes down at once, the less is rewritten per byte. */
bool nr_planner_try_promote(struct nr_planner *planner, struct nr_slot *slot, bool is_whole, double score);

#endif

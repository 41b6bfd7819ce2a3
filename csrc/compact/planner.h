/* Planner: decides what to compact next, and how.
 *
 * Pure: reads an immutable version and what is busy, returns a plan. It does no I/O, takes no lock and asks no clock,
 * so tests drive it from tables (tests/c/data/planner). The engine carries plans out.
 *
 * Every plan keeps the age order (design 5): admission takes, for one slot of level 1, the oldest level 0 slices over
 * it, never skipping an older one; tier merges neighbours in age; promote takes the oldest runs. What is taken joins
 * the newest runs of its target slots, or becomes their newest run. */
#ifndef NR_COMPACT_PLANNER_H
#define NR_COMPACT_PLANNER_H

#include "compact/sketch.h"
#include "version/version.h"

enum nr_action {
    NR_ACTION_NONE,
    NR_ACTION_MERGE_L0, /* Small neighbouring level 0 runs into one, inside level 0. */
    NR_ACTION_ADMIT,    /* Level 0 slices over one slot of level 1 into it. */
    NR_ACTION_TIER,     /* Neighbouring runs of a slot into one. */
    NR_ACTION_PROMOTE,  /* The oldest runs of a slot to the slots below. */
    NR_ACTION_CLEAN,    /* All runs of a slot into one, for its tombstones or expired entries. */
    NR_ACTION_SPLIT,    /* New guards in a slot that outgrew its share (a manifest edit, no rewriting). */
    NR_ACTION_JOIN,     /* Neighbouring slots that shrank become one (likewise). */
};
const char *nr_action_name(enum nr_action action);

/* A slot that a running job has locked. Level 0: its whole merge is locked, admissions are not. */
struct nr_busy_slot {
    uint32_t level;
    uint64_t slot_id;
};

struct nr_plan_view {
    struct nr_version *version;
    const struct nori_options *options;
    const struct nr_busy_slot *busy;
    size_t busy_count;
    bool is_l0_merge_running; /* A MERGE_L0 locks the runs it merges: no admission takes them. */
    uint64_t l0_merge_newest_id, l0_merge_oldest_id;
    uint64_t now_ms; /* TTL clock of the oldest moment (open snapshot, else the present), for expired tables. */
    uint64_t oldest_moment_sequence; /* Below it no snapshot is open: what tombstones hide below it can go. */
    /* A manual compaction: everything of level 0 in [start, end) is to be admitted, and slots there brought within
     * their k_max. */
    bool is_manual;
    nori_slice manual_start;
    struct nr_bound manual_end;
    uint64_t random; /* Breaks ties. */
    /* Ids of slots in which no key was found to cut at: SPLIT passes them by. The engine forgets them when a slot
     * changes. */
    const uint64_t *unsplittable;
    size_t unsplittable_count;
    /* By key, what was flushed, in bytes, and a sample of the gets that came to the levels; borrowed, only asked. NULL:
     * guards are not learned: nothing is joined, or cut for its heat. */
    struct nr_sketch *writes, *reads;
};

#define NR_PLAN_MAX_RUNS 256
#define NR_PLAN_MAX_TARGETS 512

struct nr_plan_target {
    struct nr_slot *slot; /* Borrowed from the version. */
    size_t join_count;    /* So many of its newest runs join the merge. */
};

struct nr_plan {
    enum nr_action action;
    uint32_t source_level;
    uint32_t target_level; /* Same as the source's for TIER, CLEAN, MERGE_L0, SPLIT, JOIN. */
    struct nr_slot *slot;  /* The source slot (ADMIT: the level 1 slot). Borrowed. */
    nori_slice start;      /* The job's range: source runs are clipped to it. */
    struct nr_bound end;
    /* Source runs: neighbours [first_run, first_run + run_count) of their slot (ADMIT, MERGE_L0: of level 0), newest
     * first; those that do not overlap the range are skipped. A slot's own runs are taken whole: the range is the
     * slot's. */
    size_t first_run;
    size_t run_count;
    bool is_move; /* No merge: what of the source run (one) lies in a target becomes its newest run, as it is. */
    size_t target_count;
    struct nr_plan_target targets[NR_PLAN_MAX_TARGETS]; /* ADMIT, PROMOTE. */
    size_t split_count;                                 /* SPLIT: into so many parts of about equal work. */
    size_t join_count;                                  /* JOIN: so many slots from 'slot' on, [start, end). */
    uint64_t input_bytes;
    double score; /* Why it was chosen: urgency, >= 1 must be done. */
};

/* The most urgent plan whose slots are not busy; NR_ACTION_NONE when all is within bounds (or busy). Bounded work. */
void nr_planner_choose(const struct nr_plan_view *view, struct nr_plan *plan_out);

/* Whether anything in the manual range still has to be done (also when it is busy). */
bool nr_planner_manual_pending(const struct nr_plan_view *view);

/* Design 5: targets derive from the bottom's size. Bytes aimed at for a level; a slot's share of it. */
uint64_t nr_planner_level_target(const struct nr_version *version, const struct nori_options *options, uint32_t level);
uint64_t nr_planner_slot_share(const struct nori_options *options, uint32_t level);
/* K for slots of a level under the options' strategy. */
uint32_t nr_planner_k_max(const struct nr_version *version, const struct nori_options *options, uint32_t level);

#define NR_L0_ADMIT_DEPTH 4 /* Level 0 stacks this deep are admitted; sooner where writers stall sooner. */

#endif

/* Planner: decides what to compact next, and how.
 *
 * Pure: reads an immutable version and what is busy, returns proposals, and turns the one that is taken into a plan. It
 * does no I/O, takes no lock and asks no clock, so tests drive it from tables (tests/c/data/planner). The scheduler
 * chooses among the proposals, the engine carries plans out.
 *
 * Every plan keeps the age order (design 5): admission takes, for one slot of level 1, the oldest level 0 slices over
 * it, never skipping an older one; tier merges neighbours in age; promote takes all runs, from a full slot of level 1
 * together with the oldest level 0 slices over it. What is taken joins the newest runs of its target slots, or becomes
 * their newest run. */
#ifndef NR_COMPACT_PLANNER_H
#define NR_COMPACT_PLANNER_H

#include "compact/action.h"
#include "compact/sketch.h"
#include "version/version.h"

/* A slot that a running job has locked. Level 0: its whole merge is locked, admissions are not. */
struct nr_busy_slot {
    uint32_t level;
    uint64_t slot_id;
    nori_slice start; /* Its range. Borrowed. */
    struct nr_bound end;
};

/* Slots that a running job has locked because their guards move: all in [start, end), on 'level' and below. */
struct nr_busy_range {
    uint32_t level;
    nori_slice start; /* Borrowed. */
    struct nr_bound end;
};

/* By level and id. */
void nr_busy_sort(struct nr_busy_slot *busy, size_t count);
bool nr_busy_range_covers(const struct nr_busy_range *range, uint32_t level, nori_slice start, struct nr_bound end);

struct nr_plan_view {
    struct nr_version *version;
    const struct nori_options *options;
    const struct nr_busy_slot *busy; /* As nr_busy_sort leaves them. */
    size_t busy_count;
    const struct nr_busy_range *ranges;
    size_t range_count;
    bool is_l0_merge_running; /* A MERGE_L0 locks the runs it merges: no admission takes them. */
    uint64_t l0_merge_newest_id, l0_merge_oldest_id;
    uint64_t now_ms; /* TTL clock of the oldest moment (open snapshot, else the present), for expired tables. */
    uint64_t oldest_moment_sequence; /* Below it no snapshot is open: what tombstones hide below it can go. */
    uint64_t unreferenced_bytes;     /* Of table files, on disk, that no slice refers to. */
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

/* Something that may be done now: none of its slots is busy. Slots are borrowed from the version. */
struct nr_proposal {
    enum nr_action action;
    struct nr_slot *slot; /* The source slot (ADMIT: the level 1 slot). */
    size_t first_run;     /* Source runs, as in the plan. */
    size_t run_count;
    bool is_move;
    size_t join_count; /* ADMIT: so many of the slot's newest runs join. */
    size_t l0_first;   /* PROMOTE from level 1: what of these level 0 runs lies over the slot goes along. */
    size_t l0_count;
    size_t split_count;  /* SPLIT: parts; SHIFT: slots that are to be left. */
    size_t slot_count;   /* JOIN: so many slots, from 'slot' to 'end'. */
    struct nr_bound end; /* JOIN. */
    uint64_t bytes;      /* That it will write, about. */
    double urgency;      /* >= 1: must be done, the greatest first. */
    double gain;     /* Among equals in urgency the greatest first: bytes handed on for each byte written, or such. */
    uint64_t probes; /* Fewer runs for a read of the slot to look at, once it is done. */
};

#define NR_PLAN_MAX_PROPOSALS 64
#define NR_PLAN_MAX_RUNS 256
#define NR_PLAN_MAX_TARGETS 512

struct nr_plan_target {
    struct nr_slot *slot; /* Borrowed from the version. */
    size_t join_count;    /* So many of its newest runs join the merge. */
};

struct nr_plan {
    enum nr_action action;
    uint32_t source_level;
    uint32_t target_level; /* The source's but for ADMIT and PROMOTE. */
    struct nr_slot *slot;  /* The source slot (ADMIT: the level 1 slot). Borrowed. */
    nori_slice start;      /* The job's range: source runs are clipped to it. */
    struct nr_bound end;
    /* Source runs: neighbours [first_run, first_run + run_count) of their slot (ADMIT, MERGE_L0: of level 0), newest
     * first; those that do not overlap the range are skipped. */
    size_t first_run;
    size_t run_count;
    /* PROMOTE from level 1: level 0 runs [l0_first, l0_first + l0_count), the oldest over the slot, go along. */
    size_t l0_first;
    size_t l0_count;
    bool is_move;      /* No merge: what of the source runs lies in a target becomes its newest runs, as they are. */
    bool counts_fresh; /* The merge is to say how many of its keys are new: the space bound asks for it. */
    size_t target_count;
    struct nr_plan_target targets[NR_PLAN_MAX_TARGETS]; /* ADMIT, PROMOTE. */
    size_t split_count;                                 /* SPLIT: into so many parts of about equal work. */
    size_t join_count;                                  /* JOIN: so many slots from 'slot' on, [start, end). */
    uint64_t input_bytes;
    double score; /* Its urgency. */
};

/* What may be done, the best of it if there is more than NR_PLAN_MAX_PROPOSALS, in no order; none when all is within
 * bounds, or busy. Bounded work. */
size_t nr_planner_propose(const struct nr_plan_view *view, struct nr_proposal *proposals);
/* The plan of a proposal made for the same view. */
void nr_planner_build(const struct nr_plan_view *view, const struct nr_proposal *proposal, struct nr_plan *plan_out);
/* The most urgent plan; NR_ACTION_NONE if nothing is proposed. */
void nr_planner_choose(const struct nr_plan_view *view, struct nr_plan *plan_out);

/* Whether anything in the manual range still has to be done (also when it is busy). */
bool nr_planner_manual_pending(const struct nr_plan_view *view);

/* Design 5: targets derive from the bottom's size. Bytes aimed at for a level; a slot's share of it. */
uint64_t nr_planner_level_target(const struct nr_version *version, const struct nori_options *options, uint32_t level);
uint64_t nr_planner_slot_share(const struct nori_options *options, uint32_t level);
/* Most runs that a slot may hold under the options' strategy. */
uint32_t nr_planner_slot_k(const struct nori_options *options, const struct nr_slot *slot);
/* To how many what arrives is merged: fewer, where that is wanted, which costs nothing before. Under the engine's lock.
 */
uint32_t nr_planner_arrival_k(const struct nori_options *options, const struct nr_slot *slot);

/* Design 5, the space bound: what lies in bottom runs or is of keys of which a bottom slot has nothing older; what does
 * not; how much that may be. */
struct nr_space {
    uint64_t bottom_bytes;
    uint64_t above_bytes;
    uint64_t bound_bytes;
};
void nr_planner_measure_space(const struct nr_plan_view *view, struct nr_space *space_out);

#define NR_L0_ADMIT_DEPTH 4 /* Level 0 stacks this deep are admitted; sooner where writers stall sooner. */

#endif

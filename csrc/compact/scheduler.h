/* Scheduler: which of the slots that need something comes next (design 5), and what its rewards teach.
 *
 * Pure: candidates, a random source and what was learned go in, a choice comes out. It does no I/O, takes no lock, asks
 * no clock and allocates nothing, so tests drive it from tables (tests/c/data/scheduler). The caller guards it.
 *
 * What must be done comes first under every policy, by urgency: no arm waits while writes stall. The others are ranked
 * by predicted reward times (learned ratio + c x spread x bonus): the ratio corrects predictions that are wrong in the
 * same way again and again, the bonus is that of bandit.h or linear_ucb.h, the spread that of all ratios seen, because
 * a bonus of order 1 next to ratios of another scale decides alone. With probability epsilon an arm is drawn instead.
 *
 * Nothing starves: epsilon draws each arm that has a candidate alike often; without it, the bandit's bonus of an arm
 * passed by outgrows all others. 'contextual' without epsilon has no such promise, its widths being bounded, nor has
 * 'greedy'. */
#ifndef NR_COMPACT_SCHEDULER_H
#define NR_COMPACT_SCHEDULER_H

#include "base/buffer.h"
#include "base/random.h"
#include "compact/bandit.h"
#include "compact/linear_ucb.h"

struct nr_candidate {
    enum nr_action action;
    uint32_t level;
    uint64_t slot_id;
    uint64_t bytes;                    /* That it will write. */
    double predicted;                  /* (Fall in probes and blocks per read x reads) per byte written. >= 0. */
    double urgency;                    /* >= 1: must be done. */
    double features[NR_FEATURE_COUNT]; /* enum nr_feature, each 0..1. */
};

#define NR_CHOICE_NONE SIZE_MAX

struct nr_choice {
    size_t index;  /* Of the candidate; NR_CHOICE_NONE if there are none. */
    bool explored; /* Drawn, not ranked. */
    uint32_t arm;  /* Its number (bandit.h). */
    double ratio;  /* Expected, of realised to predicted reward. */
    double score;  /* What it was ranked by: for urgent ones the urgency. */
};

/* What is kept of a choice until its reward is known. */
struct nr_choice_record {
    uint32_t arm;
    double predicted;
    double features[NR_FEATURE_COUNT];
};

/* The ratios of all arms: the prior of those that learned nothing, and the scale of bonuses. */
struct nr_ratio_spread {
    double weight; /* Faded count. */
    double mean;
    double variance;
};

struct nr_scheduler {
    int policy; /* enum nori_scheduler. These four are the options'. */
    double epsilon, ucb_c, alpha;
    /* Learned. */
    struct nr_bandit bandit;
    struct nr_linear_model models[NR_ACTION_COUNT];
    struct nr_ratio_spread spread;
    /* Round robin: what it chose last; the first one after it, by (level, slot, action), is next. */
    uint32_t cursor_level;
    uint64_t cursor_slot_id;
    uint32_t cursor_action;
};

#define NR_RATIO_LEAST_MEAN 0x1p-10
#define NR_RATIO_MAX 0x1p10

void nr_scheduler_init(struct nr_scheduler *scheduler, const struct nori_options *options);
/* Forgets what was learned. */
void nr_scheduler_reset(struct nr_scheduler *scheduler);

/* Chooses, and counts the choice. Predictions and features that are no numbers or out of bounds are brought within.
 * The same state, candidates and random source give the same choice. */
struct nr_choice nr_scheduler_choose(struct nr_scheduler *scheduler, const struct nr_candidate *candidates,
                                     size_t count, struct nr_random *random);
struct nr_choice_record nr_scheduler_record(const struct nr_candidate *candidate, const struct nr_choice *choice);
/* Learns what a choice brought, in the units of its prediction. At most once per choice; one that failed is not
 * reported. */
void nr_scheduler_reward(struct nr_scheduler *scheduler, const struct nr_choice_record *record, double realised);

/* Standard deviation of the ratios, but a tenth of their mean at least: without it, arms of steady rewards would never
 * be compared again. */
double nr_ratio_spread_deviation(const struct nr_ratio_spread *spread);

/* scheduler_code.c: what was learned as bytes (FORMAT.md, 18), appended to 'out'. */
NORI_WARN_UNUSED nori_status nr_scheduler_encode(const struct nr_scheduler *scheduler, struct nr_buffer *out,
                                                 struct nori_error *err);
/* Replaces what 'scheduler', which was initialised, has learned; its options stay. Bytes that are damaged, cut off or
 * of another version leave it as one that has learned nothing, and answer false. */
bool nr_scheduler_decode(struct nr_scheduler *scheduler, nori_slice bytes);

#endif

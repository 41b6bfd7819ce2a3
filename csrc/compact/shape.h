/* Shape: how many runs a slot may hold, from what happens in it (design 5, K per slot).
 *
 * Pure: numbers in, K out; costs are measured by who calls, constants in tests. Two policies.
 *
 * "cost": the K for which reads x cost of the runs they look at + bytes arriving x cost of rewriting is least. A slot
 * that takes K runs has (K + 1) / 2 on average, of which a get looks into the first, and into that part of the others
 * that gets looked into of late. A byte that arrives is written once, and the slot's other bytes are
 * rewritten with it: with one run half of the ratio of what is there to what arrives, with K runs a Kth part of that.
 * Rates that rise are those that were seen last: the folded ones take intervals to follow, and K changes once in an
 * interval.
 *
 * A K that is wanted rewrites nothing: what arrives next is merged with what is there, as it would be in a slot that
 * always had it. To merge before that costs the bytes for nothing but the reads of the time between: the slot's K falls
 * only where these are worth it.
 *
 * "heat": k = 1 + round(clamp((0.8 - heat) / 0.6, 0, 1) x (k_global - 1)), kept while a margin of 0.05 explains it. */
#ifndef NR_COMPACT_SHAPE_H
#define NR_COMPACT_SHAPE_H

#include "base/status.h"

struct nr_shape_costs {
    double probe_ns; /* Of a run more that a get looks at. */
    double scan_ns;  /* Of a run more that a scan opens. */
    double byte_ns;  /* Of a byte rewritten. */
};

#define NR_SHAPE_DEFAULT_COSTS ((struct nr_shape_costs){500, 5000, 10})

struct nr_shape_slot {
    uint64_t bytes;
    uint64_t run_count;
    uint32_t k;                                     /* As it is; 0: not decided. */
    double read_rate;                               /* Searches per second; so are the next two. */
    double sheltered_rate;                          /* Of its keys' gets, those that end above. */
    double scan_rate;                               /* */
    double write_rate;                              /* Bytes arriving per second. */
    double heat;                                    /* 0..1 */
    double ratio;                                   /* How many times as large as what arrives at a time. */
    double recent_reads, recent_scans, recent_secs; /* As in nr_activity_state. */
    double probed_part;                             /* Of runs that there are, beyond the first, by a get. 0..1 */
};

/* For each level from the first one on, how many times as much it has as what arrives in it at a time: what the level
 * above has, and in the first one 'arriving_bytes'. Levels without bytes are passed over. 1..most */
void nr_shape_ratios(const uint64_t *level_bytes, size_t level_count, uint64_t arriving_bytes, double most,
                     double *ratios_out);

/* The K wanted. */
uint32_t nr_shape_by_cost(const struct nr_shape_slot *slot, const struct nr_shape_costs *costs, uint32_t k_global);
uint32_t nr_shape_by_heat(const struct nr_shape_slot *slot, uint32_t k_global);

/* Whether to rewrite 'bytes', so that the slot has k runs, is worth more than to wait for what arrives next: by the
 * reads until then, or of so long as they are taken to go on if that is shorter. */
bool nr_shape_is_worth_merging(const struct nr_shape_slot *slot, const struct nr_shape_costs *costs, uint32_t k,
                               uint64_t bytes, double horizon_secs);

/* When K is looked at again. Each hint says that something was read many times. */
struct nr_shape_watch {
    double round_us; /* Without hints. */
    double look_us;  /* What it took last. */
    uint64_t hints;  /* Since then. */
    uint64_t many_hints;
};

/* After how long: with hints after a second, with many after a fifth of one; never more than a hundredth of the time is
 * spent on it, unless rounds are as short as that. */
double nr_shape_due_us(const struct nr_shape_watch *watch);

#endif

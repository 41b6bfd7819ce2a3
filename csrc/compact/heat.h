/* Heat: how often a slot's keys are read, written and scanned, compared with the rest of its level (design 5).
 *
 * Pure: counts and a time in, rates out; rates of a level in, heat out. Rates fade by elapsed time, not by how often
 * they are folded, so it does not matter when the engine finds time for it. */
#ifndef NR_COMPACT_HEAT_H
#define NR_COMPACT_HEAT_H

#include "version/activity.h"

/* Fewer accesses than this tell no rate: they wait for more, or for the end of the interval. */
#define NR_HEAT_FEW_ACCESSES 8
/* Rising rates are believed so many times sooner than falling ones. */
#define NR_HEAT_RISING_WEIGHT 4

/* The weight of what happened in 'elapsed_us', beside all before. 0..1 */
double nr_heat_weight(uint64_t elapsed_us, double alpha, double interval_secs);
/* Takes what was counted into the state of a slot that has 'run_count' runs. False if it is carried over, or no time
 * has passed. An activity that was never folded begins to count at 'now_us'. Under the engine's lock. */
bool nr_heat_fold(struct nr_activity *activity, size_t run_count, uint64_t now_us, double alpha, double interval_secs);
/* Of the runs beyond the first, the part that a search looks into: it ends in the run that has the key, and passes
 * those whose bounds do not cover it. While there are none, what is remembered of them counts half, and all of them for
 * the other half: what became one run stays one unless it is clearly too dear. */
double nr_heat_probed_part(const struct nr_activity_state *state, size_t run_count);

/* Of one slot. */
struct nr_heat_rates {
    uint64_t bytes;
    double read, write, scan; /* Per second; writes in bytes. */
};
/* 0 to 1: accesses per byte over the byte-weighted 95th percentile of the level. */
struct nr_heat {
    double heat; /* The greater of read and scan. */
    double read, write, scan;
};
struct nr_heat_density {
    double per_byte;
    double bytes;
};

struct nr_heat_rates nr_heat_rates_of(const struct nr_activity_state *state, uint64_t bytes);
/* The slots of a level. A slot without bytes counts as one of the level's mean size. 'scratch' has room for 'count'. */
void nr_heat_normalise(const struct nr_heat_rates *slots, size_t count, struct nr_heat_density *scratch,
                       struct nr_heat *heats_out);

#endif

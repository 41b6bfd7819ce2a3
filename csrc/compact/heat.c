#include "compact/heat.h"

#include <math.h>
#include <stdlib.h>

#define PERCENTILE 0.95
/* What is not known counts as if so many runs had been there, and that part of them looked into: less than all, so that
 * a slot comes to have two, and it is learned. */
#define FEW_RUNS 20
#define UNKNOWN_PART 0.5

double nr_heat_weight(uint64_t elapsed_us, double alpha, double interval_secs)
{
    return 1.0 - pow(1.0 - alpha, (double)elapsed_us / (interval_secs * 1e6));
}

static double blend(double rate, double now, double weight)
{
    if (now > rate) weight = NR_MIN(1.0, weight * NR_HEAT_RISING_WEIGHT);
    return rate + weight * (now - rate);
}

/* Two standard deviations below what was counted. */
static double at_least(uint64_t count)
{
    return NR_MAX((double)count - 2 * sqrt((double)count), 0);
}

static void fold_probes(struct nr_activity_state *state, const struct nr_activity_counts *counts, size_t run_count,
                        double kept)
{
    double searches = (double)counts->searches, runs = NR_MAX((double)run_count, 1);
    double probes = NR_MIN(NR_MAX((double)counts->runs_probed, searches), searches * runs);
    if (runs < 2 || searches < 1) return; /* What was learned stands until there is something to learn from. */
    state->extra_probes = state->extra_probes * kept + probes - searches;
    state->extra_runs = state->extra_runs * kept + searches * (runs - 1);
}

double nr_heat_probed_part(const struct nr_activity_state *state, size_t run_count)
{
    double part = (state->extra_probes + UNKNOWN_PART * FEW_RUNS) / (state->extra_runs + FEW_RUNS);
    return run_count < 2 ? (1 + part) / 2 : part;
}

bool nr_heat_fold(struct nr_activity *activity, size_t run_count, uint64_t now_us, double alpha, double interval_secs)
{
    struct nr_activity_state *state = &activity->state;
    if (state->folded_at_us == 0) state->folded_at_us = now_us;
    if (now_us <= state->folded_at_us) return false;
    uint64_t elapsed_us = now_us - state->folded_at_us;
    double seconds = (double)elapsed_us / 1e6;
    struct nr_activity_counts counts = nr_activity_peek(activity);
    uint64_t accesses = counts.searches + counts.sheltered + counts.scans;
    /* Bytes arrive in thousands, by flushes and promotions. */
    if (accesses < NR_HEAT_FEW_ACCESSES && counts.bytes_arrived == 0 && seconds < interval_secs) return false;

    double weight = nr_heat_weight(elapsed_us, alpha, interval_secs);
    counts = nr_activity_take(activity);
    state->read_rate = blend(state->read_rate, (double)(counts.searches + counts.sheltered) / seconds, weight);
    state->sheltered_rate = blend(state->sheltered_rate, (double)counts.sheltered / seconds, weight);
    state->write_rate = blend(state->write_rate, (double)counts.bytes_arrived / seconds, weight);
    state->mean_write_rate += weight * ((double)counts.bytes_arrived / seconds - state->mean_write_rate);
    state->scan_rate = blend(state->scan_rate, (double)counts.scans / seconds, weight);
    state->recent_reads = at_least(counts.searches);
    state->recent_scans = at_least(counts.scans);
    state->recent_secs = seconds;
    fold_probes(state, &counts, run_count, exp(-seconds / interval_secs));
    if (counts.searches > 0) {
        double probes = (double)counts.runs_probed / (double)counts.searches;
        /* Nothing was measured before: what is, counts in full. */
        if (state->probes_per_read == 0) weight = 1;
        state->probes_per_read += weight * (probes - state->probes_per_read);
    }
    state->searches += counts.searches;
    state->bytes_arrived += counts.bytes_arrived;
    state->folded_at_us = now_us;
    return true;
}

struct nr_heat_rates nr_heat_rates_of(const struct nr_activity_state *state, uint64_t bytes)
{
    return (struct nr_heat_rates){bytes, state->read_rate, state->write_rate, state->scan_rate};
}

static int compare_densities(const void *a, const void *b)
{
    double x = ((const struct nr_heat_density *)a)->per_byte, y = ((const struct nr_heat_density *)b)->per_byte;
    return x < y ? -1 : x > y;
}

/* The density at or below which lie 95 % of the bytes. Sorts. */
static double find_percentile(struct nr_heat_density *slots, size_t count)
{
    double total = 0, below = 0;
    size_t index = 0;
    qsort(slots, count, sizeof(*slots), compare_densities);
    for (size_t i = 0; i < count; i++) total += slots[i].bytes;
    while (index + 1 < count && (below += slots[index].bytes) < PERCENTILE * total) index++;
    return slots[index].per_byte;
}

static double compare_with(double per_byte, double percentile)
{
    if (per_byte <= 0) return 0;
    return per_byte < percentile ? per_byte / percentile : 1;
}

enum kind { READ, WRITE, SCAN, KIND_COUNT };

static double rate_of(const struct nr_heat_rates *slot, enum kind kind)
{
    return kind == READ ? slot->read : kind == WRITE ? slot->write : slot->scan;
}

void nr_heat_normalise(const struct nr_heat_rates *slots, size_t count, struct nr_heat_density *scratch,
                       struct nr_heat *heats_out)
{
    double total = 0, percentiles[KIND_COUNT];
    for (size_t i = 0; i < count; i++) total += (double)slots[i].bytes;
    double mean = NR_MAX(total / (double)NR_MAX(count, 1), 1);

    for (enum kind kind = READ; kind < KIND_COUNT && count > 0; kind++) {
        for (size_t i = 0; i < count; i++) {
            double bytes = slots[i].bytes ? (double)slots[i].bytes : mean;
            scratch[i] = (struct nr_heat_density){rate_of(&slots[i], kind) / bytes, bytes};
        }
        percentiles[kind] = find_percentile(scratch, count);
    }
    for (size_t i = 0; i < count; i++) {
        double bytes = slots[i].bytes ? (double)slots[i].bytes : mean;
        struct nr_heat *heat = &heats_out[i];
        heat->read = compare_with(slots[i].read / bytes, percentiles[READ]);
        heat->write = compare_with(slots[i].write / bytes, percentiles[WRITE]);
        heat->scan = compare_with(slots[i].scan / bytes, percentiles[SCAN]);
        heat->heat = NR_MAX(heat->read, heat->scan);
    }
}

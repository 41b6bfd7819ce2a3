#include "base/histogram.h"

#include <string.h>

/* Below 16 a bucket for each value; above, 16 buckets for each power of two. */
#define STEP_BITS 4
#define STEPS (1u << STEP_BITS)

static unsigned find_bucket(uint64_t nanoseconds)
{
    unsigned shift, bucket;
    if (nanoseconds < STEPS) return (unsigned)nanoseconds;
    shift = 63 - (unsigned)__builtin_clzll(nanoseconds) - STEP_BITS;
    bucket = shift * STEPS + (unsigned)(nanoseconds >> shift);
    return NR_MIN(bucket, NR_HISTOGRAM_BUCKETS - 1u);
}

static double middle_of(unsigned bucket)
{
    unsigned shift = bucket < 2 * STEPS ? 0 : bucket / STEPS - 1;
    uint64_t low = (uint64_t)(bucket - shift * STEPS) << shift;
    return (double)low + (double)((1ull << shift) - 1) / 2;
}

void nr_histogram_record(struct nr_histogram *histogram, uint64_t nanoseconds)
{
    uint64_t max_ns = atomic_load_explicit(&histogram->max_ns, memory_order_relaxed);
    while (nanoseconds > max_ns && !atomic_compare_exchange_weak_explicit(&histogram->max_ns, &max_ns, nanoseconds,
                                                                          memory_order_relaxed, memory_order_relaxed)) {
    }
    atomic_fetch_add_explicit(&histogram->buckets[find_bucket(nanoseconds)], 1, memory_order_relaxed);
}

void nr_histogram_summary(const struct nr_histogram *histogram, struct nori_latency *latency_out)
{
    static const double shares[] = {0.5, 0.95, 0.99, 0.999};
    double *const results[] = {&latency_out->p50, &latency_out->p95, &latency_out->p99, &latency_out->p999};
    double max_ns = (double)atomic_load_explicit(&histogram->max_ns, memory_order_relaxed);
    uint64_t counts[NR_HISTOGRAM_BUCKETS], sample_count = 0, below = 0;
    unsigned bucket = 0;

    *latency_out = (struct nori_latency){.count = atomic_load_explicit(&histogram->count, memory_order_relaxed)};
    /* One look at each counter: others go on counting, and the ranks must fit the sum. */
    for (unsigned i = 0; i < NR_HISTOGRAM_BUCKETS; i++) {
        counts[i] = atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
        sample_count += counts[i];
    }
    if (sample_count == 0) return;
    for (size_t i = 0; i < NR_ARRAY_LEN(shares); i++) {
        uint64_t rank = (uint64_t)(shares[i] * (double)(sample_count - 1));
        while (bucket < NR_HISTOGRAM_BUCKETS - 1 && below + counts[bucket] <= rank) below += counts[bucket++];
        *results[i] = NR_MIN(middle_of(bucket), max_ns) / 1000;
    }
    latency_out->max = max_ns / 1000;
}

double nr_histogram_quantile_ns(const struct nr_histogram *histogram, double share)
{
    uint64_t count = 0, below = 0;
    for (unsigned i = 0; i < NR_HISTOGRAM_BUCKETS; i++)
        count += atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
    for (unsigned i = 0; i < NR_HISTOGRAM_BUCKETS && count > 0; i++) {
        below += atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
        if ((double)below > share * (double)(count - 1)) return middle_of(i);
    }
    return 0;
}

const double *nori_latency_bounds(void)
{
    static const double bounds_us[NORI_LATENCY_BUCKETS] = {0.25, 0.5,  1,    2,     4,     8,     16,  32,
                                                           64,   128,  256,  512,   1e3,   2e3,   4e3, 8e3,
                                                           16e3, 32e3, 64e3, 128e3, 256e3, 512e3, 1e6, 10e6};
    return bounds_us;
}

void nr_histogram_counts(const struct nr_histogram *histogram, uint64_t counts_out[NORI_LATENCY_BUCKETS + 1])
{
    const double *bounds_us = nori_latency_bounds();
    unsigned bound = 0;
    memset(counts_out, 0, (NORI_LATENCY_BUCKETS + 1) * sizeof *counts_out);
    for (unsigned i = 0; i < NR_HISTOGRAM_BUCKETS; i++) {
        while (bound < NORI_LATENCY_BUCKETS && middle_of(i) > bounds_us[bound] * 1000) bound++;
        counts_out[bound] += atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
    }
}

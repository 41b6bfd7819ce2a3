/* Latency histograms: log-linear buckets, 1/16 relative width, relaxed counters.
 *
 * Counts are exact; recording a time may be sampled by the caller. */
#ifndef NR_BASE_HISTOGRAM_H
#define NR_BASE_HISTOGRAM_H

#include <stdatomic.h>

#include "base/status.h"

#define NR_HISTOGRAM_BUCKETS 640 /* Nanoseconds from 0 to above 2^40. */

struct nr_histogram {
    _Atomic uint64_t count;  /* Operations, timed or not. Relaxed. */
    _Atomic uint64_t max_ns; /* Relaxed. */
    _Atomic uint64_t buckets[NR_HISTOGRAM_BUCKETS];
};

void nr_histogram_record(struct nr_histogram *histogram, uint64_t nanoseconds); /* Does not touch 'count'. */
/* Microseconds. All zero without samples. */
void nr_histogram_summary(const struct nr_histogram *histogram, struct nori_latency *latency_out);
/* The time up to which 'share' (0..1) of the samples lie; 0 without any. */
double nr_histogram_quantile_ns(const struct nr_histogram *histogram, double share);
/* By nori_latency_bounds, the rest last. */
void nr_histogram_counts(const struct nr_histogram *histogram, uint64_t counts_out[NORI_LATENCY_BUCKETS + 1]);

#endif

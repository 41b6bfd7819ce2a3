/* What filters a level's tables get: pure.
 *
 * As long as the filters of all tables fit their budget, the options say it. Where they do not, bits go where they turn
 * away most reads (Monkey, Dayan and others, 2017): a probe of a small level costs what one of the largest does, but
 * its filter takes few bits. With false positives of e^(-rate * bits) for each of the probes, and bits paid for each of
 * the entries, the sum of false positives is least where every level has as many of them, weighted by probes, as it has
 * entries. */
#ifndef NR_COMPACT_FILTER_BITS_H
#define NR_COMPACT_FILTER_BITS_H

#include "base/slice.h"
#include "nori.h"

/* No level gets more than this above what is configured. */
#define NR_FILTER_BITS_ABOVE 2.0
/* Less turns away too little to be asked: none then. */
#define NR_FILTER_BITS_LEAST 1.0
/* Ribbon filters from here on: there is most of the data, seldom rewritten. */
#define NR_FILTER_RIBBON_LEVEL 2

/* What was written for a level, wherever it has been moved since. */
struct nr_filter_level {
    uint64_t entries;
    double probes;        /* How often its filters are asked, in any unit common to all levels. */
    double fixed_bits;    /* Given by the level's own option. Negative: to be chosen. */
    double bytes_per_bit; /* Of filter, for each entry and bit: nr_filter_bytes_per_bit. */
};

/* The kind of filter of a level's tables: enum nori_filter_kind. */
int nr_filter_kind_of(int configured_kind, uint32_t level);
double nr_filter_bytes_per_bit(int kind);

/* Bits per key of each level. */
void nr_filter_bits_choose(const struct nr_filter_level *levels, size_t count, double configured_bits,
                           uint64_t budget_bytes, double *bits_out);

#endif

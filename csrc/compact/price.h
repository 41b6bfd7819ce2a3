/* Price: what the time of reads counts for beside that of merges (design 5, K per slot).
 *
 * A caller waits for a read, and nobody for a merge: so reads have an aim. What is read most is to look into hardly
 * more runs than it would if all slots were leveled. The price is the lowest at which K by cost comes to that, and at
 * most the costs that are given, so that a few reads do not have all of a database merged for their sake. Within
 * that it does not matter how quick a get is beside a merge, which differs from machine to machine and from cache to
 * cache.
 *
 * K says how many runs a slot may have; there are more while it has just fallen, and fewer where little arrives. By how
 * much what there is differs from what K says is taken to stay. And the aim is one for some time: while shapes follow
 * what is read now, reads look into more, and into less afterwards.
 *
 * Pure: what is known of slots in, a price out. */
#ifndef NR_COMPACT_PRICE_H
#define NR_COMPACT_PRICE_H

#include "compact/shape.h"

/* The slots of a level, or samples of them. */
struct nr_price_level {
    struct nr_shape_slot *slots; /* Borrowed. Sorted by reads a byte, most first. */
    size_t count;
    double slots_per_sample;
};

struct nr_price {
    double part;           /* Of the costs of reading; 0: not known yet. */
    double probes_per_get; /* Runs that gets look into, of late. */
    double overdrawn; /* By how much more than the aim that was of late, as a part of what leveled slots would take. */
};

/* Moves price->part towards what the slots ask for, all of the way if it is not known. 'levels' begins with level 1 and
 * has 'level_count' <= NORI_MAX_LEVELS; 'intervals' of heat have passed since the last time. Without reads it is 1. */
void nr_price_follow(struct nr_price *price, struct nr_price_level *levels, size_t level_count,
                     const struct nr_shape_costs *costs, uint32_t k_global, double intervals);

static inline struct nr_shape_costs nr_price_costs(const struct nr_price *price, struct nr_shape_costs costs)
{
    return (struct nr_shape_costs){price->part * costs.probe_ns, price->part * costs.scan_ns, costs.byte_ns};
}

#endif

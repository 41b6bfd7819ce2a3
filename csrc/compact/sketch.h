/* Sketch: where the weight of a stream of keys lies, in bounded memory.
 *
 * A weighted KLL sketch (Karnin, Lang, Liberty 2016). It keeps some of the keys, each at a level: one at level h stands
 * for the weight 'unit' << h. A level that is full is sorted, and of each two neighbours one goes up a level, the first
 * of all pairs or the second; that moves any key's rank by at most one item's weight, as often up as down. A weight is
 * added as its binary digits, an item for each. When the top level is full the unit doubles.
 *
 * Long keys are kept up to a prefix. The same seed and the same calls give the same sketch. Not thread-safe; asking
 * sorts what was added since. */
#ifndef NR_COMPACT_SKETCH_H
#define NR_COMPACT_SKETCH_H

#include "base/buffer.h"

#define NR_SKETCH_KEY_BYTES 64 /* A prefix of a key is a fine guard, too. */
/* Weights above it count as this. */
#define NR_SKETCH_MAX_WEIGHT (1ull << 44)

struct nr_sketch;

/* 'seed': of the coins it tosses. */
NORI_WARN_UNUSED nori_status nr_sketch_create(uint64_t seed, struct nr_sketch **sketch_out, struct nori_error *err);
void nr_sketch_destroy(struct nr_sketch *sketch); /* NULL is fine. */

void nr_sketch_add(struct nr_sketch *sketch, nori_slice key, uint64_t weight);
void nr_sketch_merge(struct nr_sketch *into, const struct nr_sketch *from);
/* Halves all weights, so that what comes counts more than what was. */
void nr_sketch_decay(struct nr_sketch *sketch);

/* The sum of all weights, about: what is lost below the unit evens out. 0: empty. */
uint64_t nr_sketch_total(const struct nr_sketch *sketch);
/* The weight of the keys below 'key'. */
uint64_t nr_sketch_rank(struct nr_sketch *sketch, nori_slice key);
/* The weight of the keys in [start, end). */
uint64_t nr_sketch_between(struct nr_sketch *sketch, nori_slice start, struct nr_bound end);
/* The smallest key up to and with which lies 'fraction' (0..1) of the weight. Borrowed until the sketch changes; data
 * NULL if it is empty. */
nori_slice nr_sketch_quantile(struct nr_sketch *sketch, double fraction);
/* How far two sketches differ within [start, end): the greatest difference of the parts of their weight there that lie
 * below a key, 0..1. 0 where one has none. */
double nr_sketch_distance(struct nr_sketch *a, struct nr_sketch *b, nori_slice start, struct nr_bound end);

/* Its bytes, for a file that has checksums. */
NORI_WARN_UNUSED nori_status nr_sketch_encode(struct nr_sketch *sketch, struct nr_buffer *out, struct nori_error *err);
/* NORI_CORRUPTION for bytes that none encodes to. */
NORI_WARN_UNUSED nori_status nr_sketch_decode(nori_slice bytes, uint64_t seed, struct nr_sketch **sketch_out,
                                              struct nori_error *err);

#endif

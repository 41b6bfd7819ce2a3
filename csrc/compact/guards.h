/* Guards: where slots are cut, and which of them become one again (design 5: guards are learned).
 *
 * Pure: plain numbers and samples in, keys and yes or no out. Work is a slot's part of the bytes and its part of the
 * reads. A slot is cut when it has twice its share of bytes, or when it is hot and its inside is unequally so; slots
 * are joined when together they have less than half a share of either. So what was joined has to grow fourfold before
 * it is cut, and the parts of a cut are too large to be joined. */
#ifndef NR_COMPACT_GUARDS_H
#define NR_COMPACT_GUARDS_H

#include "compact/sketch.h"

#define NR_GUARDS_MAX_PARTS 64 /* Of one cut, or of one join. */

#define NR_GUARDS_MIN_READS 256 /* Sampled ones. Fewer say nothing of where reads lie. */
/* Of a slot with a smaller part of the reads a sketch holds less than eight keys: how they lie inside is noise. */
#define NR_GUARDS_LEAST_HEAT 0.01

/* ---------------------------------------------------------------- whether */

struct nr_guard_slot {
    nori_slice start; /* Borrowed. */
    struct nr_bound end;
    uint64_t bytes; /* In it, or what it is expected to hold. */
    double heat;    /* Its part of the reads of its level, 0..1; 0 where that is not known. */
    double skew;    /* How differently reads and bytes lie inside, 0..1: nr_sketch_distance. */
    bool is_fixed;  /* Its guard is one of a shallower level: it cannot go. */
    bool is_busy;
};

struct nr_guard_share {
    uint64_t bytes; /* What a slot is to hold, >= 1. */
    double heat;    /* Its part of the reads when all are alike: 1 / slots wanted. */
};

/* How many parts the slot is to be cut into; 0: it stays. */
size_t nr_guards_parts(const struct nr_guard_slot *slot, const struct nr_guard_share *share);

/* Neighbours that are to become one. Zeroed: none yet. */
struct nr_guard_group {
    size_t count;
    nori_slice start; /* Borrowed from the slots. */
    struct nr_bound end;
    uint64_t bytes;
    double heat;
};
/* Begins a group with the slot; false if it is busy or too large for any. */
bool nr_guards_begin(struct nr_guard_group *group, const struct nr_guard_slot *slot,
                     const struct nr_guard_share *share);
/* Whether the slot, the next one, may go with the group; then it is in. */
bool nr_guards_extend(struct nr_guard_group *group, const struct nr_guard_slot *slot,
                      const struct nr_guard_share *share);

/* ---------------------------------------------------------------- where */

struct nr_guard_sample {
    nori_slice key; /* Owned by the caller. */
    uint64_t bytes; /* Between the sample before and this one. */
    double work;    /* Set by nr_guards_weigh. */
};

/* Sorts the samples and sets their work: bytes, and reads in the same places ('reads' NULL: not known), each in parts
 * of what the slot has. So a part of n has at most 2/n of the bytes. */
void nr_guards_weigh(struct nr_guard_sample *samples, size_t count, nori_slice start, struct nr_bound end,
                     struct nr_sketch *reads);
/* Of weighed samples at most 'parts' - 1 keys, ascending, at equal steps of work. They borrow from the samples. */
size_t nr_guards_cut(const struct nr_guard_sample *samples, size_t count, size_t parts, nori_slice *guards_out);

/* Keys at equal steps between the smallest and the largest key: of the eight bytes behind what these two share. Only
 * those above 'smallest'. Each takes 'nr_guards_uniform_bytes' of 'memory'. */
size_t nr_guards_uniform_bytes(nori_slice smallest, nori_slice largest);
size_t nr_guards_uniform(nori_slice smallest, nori_slice largest, size_t parts, uint8_t *memory,
                         nori_slice *guards_out);

#endif

/* The memtable's range tombstones: a stack of immutable sets, newest on top, each at least twice as heavy as the one
 * above it. A push merges what would break that, as a binary counter carries: n ranges cost O(n log n) in all, and a
 * lookup asks O(log n) sets.
 *
 * A stack is immutable too; a push makes a new one that shares the untouched sets. Readers find the newest by an atomic
 * pointer, inside the epoch through which the replaced ones are retired. */
#ifndef NR_MEMTABLE_RANGE_STACK_H
#define NR_MEMTABLE_RANGE_STACK_H

#include "base/epoch.h"
#include "iter/tombstones.h"

struct nr_range_layer {
    struct nr_tombstones *set; /* One reference. Its sequences are above those of all layers below. */
    uint64_t weight;           /* Ranges it was made of. */
};

struct nr_range_stack {
    struct nr_epoch_link link;            /* release destroys the stack. */
    size_t bytes;                         /* Of all sets and of their union, whether it has been asked for or not. */
    struct nr_tombstones *_Atomic merged; /* The union of the layers, made when first asked for. One reference. */
    size_t count;                         /* >= 1 */
    struct nr_range_layer layers[];       /* Oldest first. */
};

/* '*stack_out' is 'stack' (NULL: empty; borrowed) with 'ranges' on top, whose sequences are above all in it. */
NORI_WARN_UNUSED nori_status nr_range_stack_push(const struct nr_range_stack *stack, const struct nr_range *ranges,
                                                 size_t count, struct nr_range_stack **stack_out,
                                                 struct nori_error *err);
void nr_range_stack_destroy(struct nr_range_stack *stack); /* NULL is fine. */

/* The greatest sequence <= 'max_sequence' that covers the key; 0 if none. */
uint64_t nr_range_stack_covering(const struct nr_range_stack *stack, nori_slice key, uint64_t max_sequence);
/* Whether a range above 'since' meets [first, last] (last NULL: to the end). */
bool nr_range_stack_touched(const struct nr_range_stack *stack, nori_slice first, const nori_slice *last,
                            uint64_t since);
/* The union of the layers, one reference for the caller. */
NORI_WARN_UNUSED nori_status nr_range_stack_merged(struct nr_range_stack *stack, struct nr_tombstones **set_out,
                                                   struct nori_error *err);

#endif

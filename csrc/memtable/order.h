/* The entries of a memtable in order, for those who ask for it.
 *
 * A write looks for no place: point reads find its entry by the hash index, and in the queue of what was written it
 * waits for its place among others. Whoever needs order, a scan or a flush, gives all that wait theirs at once. They
 * are sorted, so that each is linked beside the one before: a fraction of what a search for each would cost, and no
 * writer waits for it. A memtable that nobody scans is sorted once, by its flush.
 *
 * One thread pushes. Others, one at a time, link: the list has one writer and any number of readers, as skiplist.h has
 * it. The list begins without knowledge of its keys; once there are some, a second one takes over, with a copy of what
 * was linked and with what its keys have in common. Iterators in the first stay there: they see all they have to. */
#ifndef NR_MEMTABLE_ORDER_H
#define NR_MEMTABLE_ORDER_H

#include "base/arena.h"
#include "base/lock.h"
#include "memtable/skiplist.h"

struct nr_order {
    struct nr_skiplist *_Atomic list; /* One of 'lists'. */
    _Atomic uint64_t linked_sequence; /* What was written up to here is in it. */
    struct nr_node *_Atomic first;    /* The queue. NULL: nothing was written. */

    struct nr_node *newest; /* The writer's. */

    struct nr_mutex lock;       /* Rank NR_RANK_LEAF. Of whoever links, and of all below. */
    struct nr_node *linked_end; /* The last of the queue that is linked; NULL: none. */
    uint64_t linked_count;      /* Entries in the list. */
    bool is_settled;            /* 'list' is the last one. */
    struct nr_arena arena;      /* Copies. Its sum may be read by any thread. */
    struct nr_skiplist lists[2];
    _Alignas(16) uint8_t heads[2][NR_SKIPLIST_HEAD_BYTES];
};

void nr_order_init(struct nr_order *order);
void nr_order_clear(struct nr_order *order);

/* The writer's. The node's sequence is above all that were pushed. */
void nr_order_push(struct nr_order *order, struct nr_node *node);

/* Links all that was written up to 'sequence', of which the caller knows that it was pushed. Does not fail: without
 * memory for sorting it takes longer. Without 'may_wait', false if another thread is at it. */
bool nr_order_link(struct nr_order *order, uint64_t sequence, bool may_wait);
static inline bool nr_order_is_linked(const struct nr_order *order, uint64_t sequence)
{
    return atomic_load_explicit(&order->linked_sequence, memory_order_acquire) >= sequence;
}
/* What is linked. */
static inline const struct nr_skiplist *nr_order_list(const struct nr_order *order)
{
    return atomic_load_explicit(&order->list, memory_order_acquire);
}

#endif

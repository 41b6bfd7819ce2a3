/* What the files of the memtable share. */
#ifndef NR_MEMTABLE_MEMTABLE_STATE_H
#define NR_MEMTABLE_MEMTABLE_STATE_H

#include "memtable/hash_index.h"
#include "memtable/memtable.h"
#include "memtable/node_pool.h"
#include "memtable/order.h"
#include "memtable/range_stack.h"

/* What an entry is taken to weigh, with its node. */
#define NR_MEMTABLE_ENTRY_BYTES 160
/* So many entries show that the memtable is in use. */
#define NR_MEMTABLE_SMALL_COUNT 1024

struct nr_memtable {
    /* Readers'. */
    struct nr_hash_index *_Atomic index;   /* One of 'indexes': the one that grows. Loaded anew for each search. */
    struct nr_range_stack *_Atomic ranges; /* NULL: none. Owned; replaced ones go to 'retired_ranges'. */
    struct nr_epoch *epoch;                /* Borrowed. */
    size_t expected_bytes;

    _Alignas(64) _Atomic uint64_t refs;

    /* The writer's. */
    _Alignas(64) struct nr_range_stack *pending_ranges; /* From reserve to insert. Owned. */
    struct nr_epoch_link *retired_ranges;               /* Owned. Of its own: a delete may not wait for a lock. */
    struct nr_node_pool pool;
    bool is_settled; /* 'index' is the last one. */

    /* The writer stores them; relaxed, but for the last sequence, which tells that what it stands for is in the queue.
     */
    _Alignas(64) _Atomic uint64_t entry_count;
    _Atomic uint64_t delete_count;
    _Atomic uint64_t first_sequence;
    _Atomic uint64_t last_sequence;
    _Atomic size_t range_bytes; /* Of 'ranges'. */

    _Alignas(64) struct nr_order order;

    /* A memtable begins with a small index; once it has some entries the second, of full size, takes over. What was
     * published before is in both; readers still in the first do not know of what came later. */
    struct nr_hash_index indexes[2];
};

static inline const struct nr_hash_index *nr_memtable_index(const struct nr_memtable *memtable)
{
    return atomic_load_explicit(&memtable->index, memory_order_acquire);
}
/* All that was written so far, in order. */
static inline const struct nr_skiplist *nr_memtable_ordered(struct nr_memtable *memtable)
{
    nr_order_link(&memtable->order, nr_memtable_last_sequence(memtable), true);
    return nr_order_list(&memtable->order);
}

#endif

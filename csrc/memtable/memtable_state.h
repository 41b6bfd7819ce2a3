/* What the files of the memtable share. */
#ifndef NR_MEMTABLE_MEMTABLE_STATE_H
#define NR_MEMTABLE_MEMTABLE_STATE_H

#include "memtable/hash_index.h"
#include "memtable/memtable.h"
#include "memtable/node_pool.h"
#include "memtable/range_stack.h"

/* What an entry is taken to weigh, with its node. */
#define NR_MEMTABLE_ENTRY_BYTES 160
/* How many entries show what keys have in common. Few enough that to copy them costs nothing. */
#define NR_MEMTABLE_SAMPLE_COUNT 1024

/* What point reads go through. Loaded anew for each search. */
struct nr_memtable_view {
    struct nr_skiplist *list;
    struct nr_hash_index index;
};

struct nr_memtable {
    /* Readers'. */
    struct nr_memtable_view *_Atomic view; /* One of 'views': the one that grows. */
    struct nr_range_stack *_Atomic ranges; /* NULL: none. Owned; replaced ones go to 'retired_ranges'. */
    struct nr_epoch *epoch;                /* Borrowed. */
    size_t expected_bytes;

    _Alignas(64) _Atomic uint64_t refs;

    /* The writer's. */
    _Alignas(64) struct nr_range_stack *pending_ranges; /* From reserve to insert. Owned. */
    struct nr_epoch_link *retired_ranges;               /* Owned. Of its own: a delete may not wait for a lock. */
    struct nr_node_pool pool;
    bool is_settled; /* 'view' is the last one. */

    /* Relaxed; the writer stores them. */
    _Alignas(64) _Atomic uint64_t entry_count;
    _Atomic uint64_t delete_count;
    _Atomic uint64_t first_sequence;
    _Atomic uint64_t last_sequence;
    _Atomic size_t index_bytes; /* Of both views. */
    _Atomic size_t range_bytes; /* Of 'ranges'. */

    /* A memtable begins with a small index and a list that knows nothing of its keys. Once it has some entries the
     * second view takes over: a full index, and a copy of the list with what its keys have in common. What was
     * published before is in both; readers still in the first do not know of what came later. */
    struct nr_memtable_view views[2];
    struct nr_skiplist lists[2];
};

/* Makes the second view the newest. The writer's, outside of an insertion. */
NORI_WARN_UNUSED nori_status nr_memtable_settle(struct nr_memtable *memtable, struct nori_error *err);

static inline const struct nr_memtable_view *nr_memtable_view(const struct nr_memtable *memtable)
{
    return atomic_load_explicit(&memtable->view, memory_order_acquire);
}
static inline const struct nr_skiplist *nr_memtable_list(const struct nr_memtable *memtable)
{
    return nr_memtable_view(memtable)->list;
}

#endif

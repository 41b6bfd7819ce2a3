/* Block cache: decompressed, verified blocks, by file number and offset, within a budget of bytes.
 *
 * Hits take no lock: the caller is inside the epoch, walks a bucket, and may use the block until it leaves, or takes a
 * reference. Insertion and eviction lock one shard; evicted blocks are retired to the epoch. Eviction is CLOCK with a
 * small count: a get makes a block hot, a scan does not, so that a scan does not throw out what gets hot. */
#ifndef NR_TABLE_BLOCK_CACHE_H
#define NR_TABLE_BLOCK_CACHE_H

#include "base/epoch.h"

#define NR_BLOCK_MAX_HEAT 3

struct nr_block_cache;
struct nr_cached_block;

/* An open table's shortcut to its blocks in the cache, by their numbers in its index: gets leave it to each other, so
 * that only the first looks a block up. What is evicted is taken out of it. Counted: the table's reference, and one of
 * each block that it leads to. */
struct nr_block_shortcut {
    _Atomic uint32_t refs;
    size_t block_count;
    _Alignas(64) _Atomic(struct nr_cached_block *)
        blocks[]; /* NULL: not known. Written under the lock of the block's shard. */
};

struct nr_cached_block {
    struct nr_epoch_link link;
    _Atomic uint32_t refs; /* The cache's, and those of iterators. */
    _Atomic uint8_t heat;  /* Up to NR_BLOCK_MAX_HEAT, for CLOCK. Relaxed. */
    uint64_t file_number;
    uint64_t offset;
    _Atomic(struct nr_cached_block *) next;              /* In the bucket. */
    struct nr_cached_block *clock_next, *clock_previous; /* By the shard's lock, as all below: the queue it is in, */
    struct nr_cached_block *file_next, *file_previous;   /* its file's blocks in the shard, */
    bool is_of_scan;                                     /* and which queue, */
    bool is_cached;                                      /* whether it is in one, */
    struct nr_block_shortcut *shortcut;                  /* what leads to it (NULL: nothing; refs), */
    size_t number;                                       /* and from where. */
    bool is_in_slab;                                     /* Immutable, as is all below. */
    size_t size;                                         /* Of data; the charge is this and the header. */
    uint8_t data[];
};

/* 'epoch' is borrowed. */
NORI_WARN_UNUSED nori_status nr_block_cache_create(struct nr_epoch *epoch, size_t budget_bytes,
                                                   struct nr_block_cache **cache_out, struct nori_error *err);
void nr_block_cache_destroy(struct nr_block_cache *cache);

/* A block with room for 'size' bytes, one reference, not in the cache yet. It takes its memory from 'cache', which is
 * to be its own; NULL: from elsewhere. NULL when memory runs out. */
struct nr_cached_block *nr_block_create(struct nr_block_cache *cache, uint64_t file_number, uint64_t offset,
                                        size_t size);
void nr_block_ref(struct nr_cached_block *block);
void nr_block_unref(struct nr_cached_block *block); /* NULL is fine. Any thread. */

/* Inside the epoch. NULL if it is not there. */
struct nr_cached_block *nr_block_cache_find(struct nr_block_cache *cache, uint64_t file_number, uint64_t offset,
                                            bool is_scan);
/* Room for the blocks of one table; one reference. NULL when memory runs out. */
struct nr_block_shortcut *nr_block_shortcut_create(size_t block_count);
void nr_block_shortcut_unref(struct nr_block_shortcut *shortcut); /* NULL is fine. */
/* Inside the epoch: from now on 'shortcut' leads to the block, which was found in the cache. Or not: a block that was
 * evicted meanwhile, or whose shard is busy, stays without. */
void nr_block_cache_shorten(struct nr_block_cache *cache, struct nr_cached_block *block,
                            struct nr_block_shortcut *shortcut, size_t number);
/* Inside the epoch. NULL: to be looked up. */
static inline struct nr_cached_block *nr_block_shortcut_follow(struct nr_block_shortcut *shortcut, size_t number)
{
    return atomic_load_explicit(&shortcut->blocks[number], memory_order_seq_cst);
}

/* A get reads the block. Hot blocks are not written to: their line stays shared among processors. */
static inline void nr_block_heat(struct nr_cached_block *block)
{
    uint8_t heat = atomic_load_explicit(&block->heat, memory_order_relaxed);
    if (heat < NR_BLOCK_MAX_HEAT) atomic_store_explicit(&block->heat, (uint8_t)(heat + 1), memory_order_relaxed);
}

/* What a search looks at first lies behind the header: it comes while the header does. */
static inline void nr_block_prefetch(const struct nr_cached_block *block)
{
    if (!block) return;
    for (size_t i = 0; i < 4; i++) __builtin_prefetch((const uint8_t *)block + 64 * i);
}

/* The cache takes a reference of its own. Another copy that is there already stays. May do nothing when the block does
 * not fit. Never waits for I/O. From then on 'shortcut' leads to it; NULL: none does. */
void nr_block_cache_insert(struct nr_block_cache *cache, struct nr_cached_block *block, bool is_scan,
                           struct nr_block_shortcut *shortcut, size_t number);
/* The same for what a get has read. Where there is no room it is taken the second time. */
void nr_block_cache_offer(struct nr_block_cache *cache, struct nr_cached_block *block, bool is_scan,
                          struct nr_block_shortcut *shortcut, size_t number);
/* Drops all blocks of a file that is gone. */
void nr_block_cache_drop_file(struct nr_block_cache *cache, uint64_t file_number);
size_t nr_block_cache_bytes(const struct nr_block_cache *cache);

#endif

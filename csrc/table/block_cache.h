/* Block cache: decompressed, verified blocks, by file number and offset, within a budget of bytes.
 *
 * Hits take no lock: the caller is inside the epoch, walks a bucket, and may use the block until it leaves, or takes a
 * reference. Insertion and eviction lock one shard; evicted blocks are retired to the epoch. Eviction is CLOCK with a
 * small count: a get makes a block hot, a scan does not, so that a scan does not throw out what gets hot. */
#ifndef NR_TABLE_BLOCK_CACHE_H
#define NR_TABLE_BLOCK_CACHE_H

#include "base/epoch.h"

struct nr_block_cache;

struct nr_cached_block {
    struct nr_epoch_link link;
    _Atomic uint32_t refs; /* The cache's, and those of iterators. */
    _Atomic uint8_t heat;  /* 0..3, for CLOCK. Relaxed. */
    uint64_t file_number;
    uint64_t offset;
    _Atomic(struct nr_cached_block *) next;              /* In the bucket. */
    struct nr_cached_block *clock_next, *clock_previous; /* By the shard's lock, as all below: the queue it is in, */
    struct nr_cached_block *file_next, *file_previous;   /* its file's blocks in the shard, */
    bool is_of_scan;                                     /* and which queue. */
    bool is_in_slab;                                     /* Immutable. */
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
/* Brings near what a find of the block will wait for: its bucket; asked again a little later, the block. Touches no
 * block, so there is no need to be inside the epoch. */
void nr_block_cache_prefetch(struct nr_block_cache *cache, uint64_t file_number, uint64_t offset, bool is_again);
/* The cache takes a reference of its own. Another copy that is there already stays. May do nothing when the block does
 * not fit. Never waits for I/O. */
void nr_block_cache_insert(struct nr_block_cache *cache, struct nr_cached_block *block, bool is_scan);
/* Drops all blocks of a file that is gone. */
void nr_block_cache_drop_file(struct nr_block_cache *cache, uint64_t file_number);
size_t nr_block_cache_bytes(const struct nr_block_cache *cache);

#endif

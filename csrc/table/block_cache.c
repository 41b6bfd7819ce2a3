#include "table/block_cache.h"

#include <string.h>

#include "base/alloc.h"
#include "base/slab.h"

/* Readers follow a bucket's list without a lock. A block is complete before it is published at the head of its bucket;
 * it is unlinked by one sequentially consistent store, keeps its own 'next', so that whoever stands on it goes on, and
 * is given back to the epoch.
 *
 * What is evicted is gathered in limbo and retired in chains, so that the epoch has few to look at.
 *
 * Each shard has two queues, oldest first. Blocks that gets brought in wait in the main queue: at the head a block that
 * was hit meanwhile loses some heat and goes to the end, any other is evicted. Blocks that scans brought in wait in a
 * queue of their own that has an eighth of the room, once room is short; a get moves them over when their turn comes.
 *
 * What gets bring in is taken once there is no room only if it was offered before, and not too many others since: a
 * block that is read as rarely as those that are evicted costs more to take than it saves. Of each offer a mark is left
 * in a table that has as many places as the cache has blocks, where a later one may take its place.
 *
 * A file that goes takes its blocks along: each shard keeps them in lists by file.
 */

#define MAX_SHARDS 16
#define MIN_SHARD_BYTES (1u << 20)
#define BYTES_PER_BUCKET 2048
#define SCAN_SHARE 8
#define BYTES_PER_OFFER 4096
#define FILE_LISTS 256
#define LIMBO_SHARE 32
#define LIMBO_BYTES (64u << 10)
/* Smaller caches would be a few large pages, and those not full. */
#define MIN_SLAB_BUDGET_BYTES (32u << 20)
/* An open and a few reads do not wait for a large page to be cleared. */
#define BYTES_BEFORE_SLAB (1u << 20)

struct queue {
    struct nr_cached_block *head, *tail;
    size_t bytes;
};

struct shard {
    _Alignas(64) struct nr_mutex lock;
    _Atomic(struct nr_cached_block *) *buckets;           /* Owned. Written under lock. */
    size_t bucket_mask;                                   /* Immutable. */
    size_t budget_bytes;                                  /* Immutable. */
    struct queue main NR_GUARDED;                         /* By lock. */
    struct queue scan NR_GUARDED;                         /* By lock. */
    _Atomic size_t bytes;                                 /* Of both queues. Written under lock. */
    struct queue limbo NR_GUARDED;                        /* By lock: evicted, to be retired. */
    struct nr_cached_block *files[FILE_LISTS] NR_GUARDED; /* By lock: blocks of files whose numbers are alike. */
};

struct nr_block_cache {
    struct nr_epoch *epoch;   /* Borrowed. */
    size_t shard_count;       /* A power of two. */
    struct shard *shards;     /* Owned. */
    struct nr_slab *slab;     /* Owned, but for its cells, which blocks may keep longer. NULL: a small cache. */
    _Atomic uint32_t *offers; /* Owned. Marks of blocks that were not taken; 0: none. Relaxed. */
    size_t offer_mask;        /* Immutable. */
};

/* The block heads a chain. */
static void release_chain(struct nr_epoch_link *link)
{
    struct nr_cached_block *block = (struct nr_cached_block *)link;
    while (block) {
        struct nr_cached_block *next = block->clock_next;
        nr_block_unref(block);
        block = next;
    }
}
_Static_assert(offsetof(struct nr_cached_block, link) == 0, "the link is the block");

struct nr_cached_block *nr_block_create(struct nr_block_cache *cache, uint64_t file_number, uint64_t offset,
                                        size_t size)
{
    struct nr_cached_block *block = NULL;
    if (size > SIZE_MAX - sizeof(*block)) return NULL;
    if (cache && cache->slab && nr_block_cache_bytes(cache) >= BYTES_BEFORE_SLAB)
        block = nr_slab_take(cache->slab, sizeof(*block) + size);
    bool is_in_slab = block != NULL;
    if (!block) block = nr_alloc(sizeof(*block) + size);
    if (!block) return NULL;
    block->is_in_slab = is_in_slab;
    block->link = (struct nr_epoch_link){NULL, release_chain, 0};
    atomic_init(&block->refs, 1);
    atomic_init(&block->heat, 0);
    block->file_number = file_number;
    block->offset = offset;
    atomic_init(&block->next, NULL);
    block->clock_next = block->clock_previous = NULL;
    block->file_next = block->file_previous = NULL;
    block->is_of_scan = block->is_cached = false;
    block->shortcut = NULL;
    block->number = 0;
    block->size = size;
    return block;
}

void nr_block_ref(struct nr_cached_block *block)
{
    atomic_fetch_add_explicit(&block->refs, 1, memory_order_relaxed);
}

void nr_block_unref(struct nr_cached_block *block)
{
    if (!block || atomic_fetch_sub_explicit(&block->refs, 1, memory_order_acq_rel) != 1) return;
    if (block->is_in_slab)
        nr_slab_give(block);
    else
        nr_free(block);
}

struct nr_block_shortcut *nr_block_shortcut_create(size_t block_count)
{
    struct nr_block_shortcut *shortcut;
    if (block_count > (SIZE_MAX - sizeof *shortcut) / sizeof shortcut->blocks[0]) return NULL;
    size_t bytes = sizeof *shortcut + block_count * sizeof shortcut->blocks[0];
    shortcut = nr_alloc_aligned(_Alignof(struct nr_block_shortcut), bytes);
    if (!shortcut) return NULL;
    memset(shortcut, 0, bytes);
    atomic_init(&shortcut->refs, 1);
    shortcut->block_count = block_count;
    return shortcut;
}

void nr_block_shortcut_unref(struct nr_block_shortcut *shortcut)
{
    if (shortcut && atomic_fetch_sub_explicit(&shortcut->refs, 1, memory_order_acq_rel) == 1) nr_free(shortcut);
}

/* By the shard's lock. */
static void cut_shortcut(struct nr_cached_block *block)
{
    if (!block->shortcut) return;
    atomic_store_explicit(&block->shortcut->blocks[block->number], NULL, memory_order_seq_cst);
    nr_block_shortcut_unref(block->shortcut);
    block->shortcut = NULL;
}

/* By the shard's lock. */
static void lay_shortcut(struct nr_cached_block *block, struct nr_block_shortcut *shortcut, size_t number)
{
    cut_shortcut(block); /* Of a table that was closed since. */
    atomic_fetch_add_explicit(&shortcut->refs, 1, memory_order_relaxed);
    block->shortcut = shortcut;
    block->number = number;
    atomic_store_explicit(&shortcut->blocks[number], block, memory_order_seq_cst);
}

static size_t charge_of(const struct nr_cached_block *block)
{
    return sizeof(*block) + block->size;
}

static inline uint64_t hash_place(uint64_t file_number, uint64_t offset)
{
    uint64_t hash = (offset + file_number * 0x9E3779B97F4A7C15ull) * 0xD6E8FEB86659FD93ull;
    return hash ^ hash >> 32;
}

static inline struct shard *find_shard(struct nr_block_cache *cache, uint64_t hash)
{
    return &cache->shards[hash & (cache->shard_count - 1)];
}

static inline _Atomic(struct nr_cached_block *) *find_bucket(struct shard *shard, uint64_t hash)
{
    return &shard->buckets[(hash >> 4) & shard->bucket_mask];
}

static size_t power_of_two_below(size_t n)
{
    size_t power = 1;
    while (power <= n / 2) power *= 2;
    return power;
}

nori_status nr_block_cache_create(struct nr_epoch *epoch, size_t budget_bytes, struct nr_block_cache **cache_out,
                                  struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_block_cache *cache = nr_calloc(1, sizeof(*cache));
    size_t shard_count = power_of_two_below(NR_MIN(budget_bytes / MIN_SHARD_BYTES, (size_t)MAX_SHARDS));

    *cache_out = NULL;
    if (!cache) return nr_fail_memory(err, sizeof(*cache));
    cache->epoch = epoch;
    /* What is not given back yet, and chunks that are not full, need some room above the budget. */
    if (budget_bytes >= MIN_SLAB_BUDGET_BYTES && !(cache->slab = nr_slab_create(budget_bytes + budget_bytes / 8))) {
        rc = nr_fail_memory(err, 1);
        goto out;
    }
    cache->shards = nr_alloc_aligned(64, shard_count * sizeof(*cache->shards));
    if (!cache->shards) {
        rc = nr_fail_memory(err, shard_count * sizeof(*cache->shards));
        goto out;
    }
    memset(cache->shards, 0, shard_count * sizeof(*cache->shards));
    for (size_t i = 0; i < shard_count; i++) {
        struct shard *shard = &cache->shards[i];
        size_t bucket_count = power_of_two_below(budget_bytes / shard_count / BYTES_PER_BUCKET);
        nr_mutex_init(&shard->lock, NR_RANK_BLOCK_CACHE);
        cache->shard_count = i + 1;
        shard->budget_bytes = budget_bytes / shard_count;
        shard->bucket_mask = bucket_count - 1;
        shard->buckets = nr_calloc(bucket_count, sizeof(*shard->buckets));
        if (!shard->buckets) {
            rc = nr_fail_memory(err, bucket_count * sizeof(*shard->buckets));
            goto out;
        }
    }
    size_t offer_count = power_of_two_below(budget_bytes / BYTES_PER_OFFER);
    cache->offer_mask = offer_count - 1;
    cache->offers = nr_calloc(offer_count, sizeof(*cache->offers));
    if (!cache->offers) {
        rc = nr_fail_memory(err, offer_count * sizeof(*cache->offers));
        goto out;
    }
    *cache_out = cache;
    cache = NULL;
out:
    nr_block_cache_destroy(cache);
    return rc;
}

static void release_queue(struct queue *queue)
{
    for (struct nr_cached_block *block = queue->head; block; block = block->clock_next) cut_shortcut(block);
    if (queue->head) release_chain(&queue->head->link);
}

void nr_block_cache_destroy(struct nr_block_cache *cache)
{
    if (!cache) return;
    for (size_t i = 0; i < cache->shard_count; i++) {
        struct shard *shard = &cache->shards[i];
        release_queue(&shard->main);
        release_queue(&shard->scan);
        if (shard->limbo.head) release_chain(&shard->limbo.head->link);
        nr_free(shard->buckets);
        nr_mutex_destroy(&shard->lock);
    }
    nr_slab_release(cache->slab);
    nr_free(cache->offers);
    nr_free(cache->shards);
    nr_free(cache);
}

static inline struct nr_cached_block *find_in_bucket(_Atomic(struct nr_cached_block *) *bucket, uint64_t file_number,
                                                     uint64_t offset)
{
    struct nr_cached_block *block = atomic_load_explicit(bucket, memory_order_seq_cst);
    nr_block_prefetch(block);
    while (block && (block->offset != offset || block->file_number != file_number))
        block = atomic_load_explicit(&block->next, memory_order_seq_cst);
    return block;
}

struct nr_cached_block *nr_block_cache_find(struct nr_block_cache *cache, uint64_t file_number, uint64_t offset,
                                            bool is_scan)
{
    uint64_t hash = hash_place(file_number, offset);
    struct nr_cached_block *block = find_in_bucket(find_bucket(find_shard(cache, hash), hash), file_number, offset);

    if (block && !is_scan) nr_block_heat(block);
    return block;
}

void nr_block_cache_shorten(struct nr_block_cache *cache, struct nr_cached_block *block,
                            struct nr_block_shortcut *shortcut, size_t number)
{
    struct shard *shard = find_shard(cache, hash_place(block->file_number, block->offset));
    if (!nr_mutex_trylock(&shard->lock)) return;
    if (block->is_cached && block->shortcut != shortcut) lay_shortcut(block, shortcut, number);
    nr_mutex_unlock(&shard->lock);
}

static void push(struct queue *queue, struct nr_cached_block *block)
{
    block->clock_next = NULL;
    block->clock_previous = queue->tail;
    if (queue->tail) {
        queue->tail->clock_next = block;
    } else {
        queue->head = block;
    }
    queue->tail = block;
    queue->bytes += charge_of(block);
}

static void take_out(struct queue *queue, struct nr_cached_block *block)
{
    if (block->clock_previous)
        block->clock_previous->clock_next = block->clock_next;
    else
        queue->head = block->clock_next;
    if (block->clock_next)
        block->clock_next->clock_previous = block->clock_previous;
    else
        queue->tail = block->clock_previous;
    queue->bytes -= charge_of(block);
}

static struct nr_cached_block *pop(struct queue *queue)
{
    struct nr_cached_block *block = queue->head;
    take_out(queue, block);
    return block;
}

static struct nr_cached_block **find_file_list(struct shard *shard, uint64_t file_number)
{
    return &shard->files[file_number % FILE_LISTS];
}

static void link_to_file_locked(struct shard *shard, struct nr_cached_block *block)
{
    struct nr_cached_block **list = find_file_list(shard, block->file_number);
    block->file_next = *list;
    block->file_previous = NULL;
    if (*list) (*list)->file_previous = block;
    *list = block;
}

static void unlink_from_file_locked(struct shard *shard, struct nr_cached_block *block)
{
    if (block->file_previous)
        block->file_previous->file_next = block->file_next;
    else
        *find_file_list(shard, block->file_number) = block->file_next;
    if (block->file_next) block->file_next->file_previous = block->file_previous;
}

/* Takes a block that has left its queue out of its bucket and from its file. */
static void unlink_locked(struct shard *shard, struct nr_cached_block *block)
{
    unlink_from_file_locked(shard, block);
    cut_shortcut(block);
    block->is_cached = false;
    _Atomic(struct nr_cached_block *) *at = find_bucket(shard, hash_place(block->file_number, block->offset));
    struct nr_cached_block *found;

    while ((found = atomic_load_explicit(at, memory_order_relaxed)) != block) at = &found->next;
    atomic_store_explicit(at, atomic_load_explicit(&block->next, memory_order_relaxed), memory_order_seq_cst);
    atomic_fetch_sub_explicit(&shard->bytes, charge_of(block), memory_order_relaxed);
    push(&shard->limbo, block);
}

/* What is to be retired once the lock is released: NULL while limbo is small. */
static struct nr_cached_block *take_limbo_locked(struct shard *shard, bool all)
{
    struct nr_cached_block *chain = shard->limbo.head;
    if (!all && shard->limbo.bytes < NR_MIN(LIMBO_BYTES, shard->budget_bytes / LIMBO_SHARE)) return NULL;
    shard->limbo = (struct queue){NULL, NULL, 0};
    return chain;
}

static void make_room_locked(struct shard *shard, size_t needed)
{
    while (atomic_load_explicit(&shard->bytes, memory_order_relaxed) + needed > shard->budget_bytes) {
        bool from_scan =
            shard->scan.head && (!shard->main.head || shard->scan.bytes > shard->budget_bytes / SCAN_SHARE);
        struct nr_cached_block *block = pop(from_scan ? &shard->scan : &shard->main);
        uint8_t heat = atomic_load_explicit(&block->heat, memory_order_relaxed);
        if (heat > 0) {
            atomic_store_explicit(&block->heat, (uint8_t)(heat - 1), memory_order_relaxed);
            push(&shard->main, block);
            block->is_of_scan = false;
        } else {
            unlink_locked(shard, block);
        }
    }
}

void nr_block_cache_insert(struct nr_block_cache *cache, struct nr_cached_block *block, bool is_scan,
                           struct nr_block_shortcut *shortcut, size_t number)
{
    uint64_t hash = hash_place(block->file_number, block->offset);
    struct shard *shard = find_shard(cache, hash);
    _Atomic(struct nr_cached_block *) *bucket = find_bucket(shard, hash);
    struct nr_cached_block *evicted;

    if (charge_of(block) > shard->budget_bytes) return;
    nr_mutex_lock(&shard->lock);
    if (!find_in_bucket(bucket, block->file_number, block->offset)) {
        make_room_locked(shard, charge_of(block));
        nr_block_ref(block);
        push(is_scan ? &shard->scan : &shard->main, block);
        block->is_of_scan = is_scan;
        block->is_cached = true;
        link_to_file_locked(shard, block);
        atomic_fetch_add_explicit(&shard->bytes, charge_of(block), memory_order_relaxed);
        atomic_store_explicit(&block->next, atomic_load_explicit(bucket, memory_order_relaxed), memory_order_relaxed);
        atomic_store_explicit(bucket, block, memory_order_seq_cst);
        if (shortcut) lay_shortcut(block, shortcut, number);
    }
    evicted = take_limbo_locked(shard, false);
    nr_mutex_unlock(&shard->lock);
    if (evicted) nr_epoch_retire(cache->epoch, &evicted->link);
}

/* Whether there is room, or the block was offered before. */
static bool is_wanted(struct nr_block_cache *cache, const struct nr_cached_block *block)
{
    uint64_t hash = hash_place(block->file_number, block->offset);
    struct shard *shard = find_shard(cache, hash);
    size_t bytes = atomic_load_explicit(&shard->bytes, memory_order_relaxed);
    if (bytes + charge_of(block) <= shard->budget_bytes) return true;
    _Atomic uint32_t *offer = &cache->offers[(hash >> 8) & cache->offer_mask];
    uint32_t mark = (uint32_t)(hash >> 32) | 1;
    bool was_offered = atomic_load_explicit(offer, memory_order_relaxed) == mark;
    atomic_store_explicit(offer, was_offered ? 0 : mark, memory_order_relaxed);
    return was_offered;
}

void nr_block_cache_offer(struct nr_block_cache *cache, struct nr_cached_block *block, bool is_scan,
                          struct nr_block_shortcut *shortcut, size_t number)
{
    if (is_scan || is_wanted(cache, block)) nr_block_cache_insert(cache, block, is_scan, shortcut, number);
}

static void drop_file_locked(struct shard *shard, uint64_t file_number)
{
    struct nr_cached_block *next, *block = *find_file_list(shard, file_number);
    for (; block; block = next) {
        next = block->file_next;
        if (block->file_number != file_number) continue;
        take_out(block->is_of_scan ? &shard->scan : &shard->main, block);
        unlink_locked(shard, block);
    }
}

void nr_block_cache_drop_file(struct nr_block_cache *cache, uint64_t file_number)
{
    for (size_t i = 0; i < cache->shard_count; i++) {
        struct shard *shard = &cache->shards[i];
        struct nr_cached_block *evicted;
        nr_mutex_lock(&shard->lock);
        drop_file_locked(shard, file_number);
        evicted = take_limbo_locked(shard, true);
        nr_mutex_unlock(&shard->lock);
        if (evicted) nr_epoch_retire(cache->epoch, &evicted->link);
    }
}

size_t nr_block_cache_bytes(const struct nr_block_cache *cache)
{
    size_t bytes = 0;
    for (size_t i = 0; i < cache->shard_count; i++)
        bytes += atomic_load_explicit(&cache->shards[i].bytes, memory_order_relaxed);
    return bytes;
}

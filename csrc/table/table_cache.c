#include "table/table_cache.h"

#include <errno.h>

#include "base/alloc.h"
#include "table/table_internal.h"

/* How many tables are given up when the process has no descriptor left. */
#define GIVE_BACK_COUNT 8
/* Bytes of filter that are loaded in the time of a get that looks into a block for nothing. */
#define BYTES_PER_BARE_GET 1024
#define RETRY_BARE_GETS 1000

struct nr_table_cache {
    struct nr_table_cache_params params; /* Immutable. */
    struct nr_mutex lock;
    struct nr_table_handle *hand NR_GUARDED; /* By lock: the ring's next to be looked at; NULL: the ring is empty. */
    struct nr_table_cache_stats stats NR_GUARDED; /* By lock. */
};

void nr_table_handle_init(struct nr_table_handle *handle, uint64_t number, uint64_t largest_sequence)
{
    handle->number = number;
    handle->largest_sequence = largest_sequence;
    atomic_init(&handle->table, NULL);
    atomic_init(&handle->is_used, false);
    atomic_init(&handle->bare_gets, 0);
    handle->previous = NULL;
    handle->next = NULL;
    handle->is_dropped = false;
}

nori_status nr_table_cache_create(const struct nr_table_cache_params *params, struct nr_table_cache **cache_out,
                                  struct nori_error *err)
{
    struct nr_table_cache *cache = nr_calloc(1, sizeof(*cache));
    *cache_out = cache;
    if (!cache) return nr_fail_memory(err, sizeof(*cache));
    cache->params = *params;
    nr_mutex_init(&cache->lock, NR_RANK_TABLE_CACHE);
    return NORI_OK;
}

void nr_table_cache_destroy(struct nr_table_cache *cache)
{
    if (!cache) return;
    NR_ASSERT(!cache->hand);
    nr_mutex_destroy(&cache->lock);
    nr_free(cache);
}

static struct nr_table *table_of_locked(const struct nr_table_handle *handle)
{
    return atomic_load_explicit(&handle->table, memory_order_relaxed);
}

static void link_locked(struct nr_table_cache *cache, struct nr_table_handle *handle, struct nr_table *table)
{
    if (cache->hand) {
        /* Right behind the hand: the last to be looked at. */
        handle->next = cache->hand;
        handle->previous = cache->hand->previous;
        handle->previous->next = handle;
        handle->next->previous = handle;
    } else {
        handle->next = handle->previous = handle;
        cache->hand = handle;
    }
    cache->stats.open_tables++;
    cache->stats.index_bytes += nr_table_index_bytes(table);
    cache->stats.filter_bytes += nr_table_filter_bytes(table);
    atomic_store_explicit(&handle->is_used, true, memory_order_relaxed);
    atomic_store_explicit(&handle->table, table, memory_order_seq_cst);
}

/* Returns the table, with the reference that the ring had. */
static struct nr_table *unlink_locked(struct nr_table_cache *cache, struct nr_table_handle *handle)
{
    struct nr_table *table = table_of_locked(handle);

    if (handle->next == handle) {
        cache->hand = NULL;
    } else {
        if (cache->hand == handle) cache->hand = handle->next;
        handle->previous->next = handle->next;
        handle->next->previous = handle->previous;
    }
    handle->next = handle->previous = NULL;
    cache->stats.open_tables--;
    cache->stats.index_bytes -= nr_table_index_bytes(table);
    cache->stats.filter_bytes -= nr_table_filter_bytes(table);
    atomic_store_explicit(&handle->table, NULL, memory_order_seq_cst);
    return table;
}

/* The handle whose turn it is, not 'spared', with a filter if that 'has_filter'; NULL if there is no other. */
static struct nr_table_handle *choose_locked(struct nr_table_cache *cache, const struct nr_table_handle *spared,
                                             bool has_filter)
{
    /* Twice round: the first time may find all of them used. Readers may set marks again meanwhile. */
    size_t left = 2 * cache->stats.open_tables;
    struct nr_table_handle *last = NULL;

    for (; left > 0; left--) {
        struct nr_table_handle *handle = cache->hand;
        cache->hand = handle->next;
        if (handle == spared || (has_filter && nr_table_filter_bytes(table_of_locked(handle)) == 0)) continue;
        last = handle;
        if (!atomic_load_explicit(&handle->is_used, memory_order_relaxed)) break;
        atomic_store_explicit(&handle->is_used, false, memory_order_relaxed);
    }
    return last;
}

static bool is_over_tables_locked(const struct nr_table_cache *cache)
{
    return cache->stats.open_tables > NR_MAX(cache->params.max_open_files, (size_t)1) ||
           cache->stats.index_bytes > cache->params.index_budget_bytes;
}

static bool is_over_filters_locked(const struct nr_table_cache *cache)
{
    return cache->stats.filter_bytes > cache->params.filter_budget_bytes;
}

static void evict_one_locked(struct nr_table_cache *cache, struct nr_table_handle *victim,
                             struct nr_epoch_link **evicted)
{
    struct nr_epoch_link *link = nr_table_link(unlink_locked(cache, victim));
    link->next = *evicted;
    *evicted = link;
}

static void retire_all(struct nr_table_cache *cache, struct nr_epoch_link *link)
{
    while (link) {
        struct nr_epoch_link *next = link->next;
        nr_epoch_defer(cache->params.epoch, link);
        link = next;
    }
}

/* Frees descriptors now: a table given up is closed at once unless somebody reads from its file. One who has found it
 * before, and wants to, is told that there are too many open files. */
static void give_back_descriptors(struct nr_table_cache *cache)
{
    struct nr_epoch_link *evicted = NULL;

    nr_mutex_lock(&cache->lock);
    for (int i = 0; i < GIVE_BACK_COUNT; i++) {
        struct nr_table_handle *victim = choose_locked(cache, NULL, false);
        if (!victim) break;
        evict_one_locked(cache, victim, &evicted);
    }
    nr_mutex_unlock(&cache->lock);
    for (struct nr_epoch_link *link = evicted; link; link = link->next) nr_table_give_back_file(nr_table_of_link(link));
    retire_all(cache, evicted);
}

static nori_status open_once(struct nr_table_cache *cache, const struct nr_table_handle *handle,
                             struct nr_table **table_out, struct nori_error *err)
{
    const struct nr_table_params params = {.dir = cache->params.dir,
                                           .blocks = cache->params.blocks,
                                           .epoch = cache->params.epoch,
                                           .database_id = cache->params.database_id,
                                           .number = handle->number,
                                           .largest_sequence = handle->largest_sequence};
    return nr_table_open(&params, table_out, err);
}

static nori_status open_table(struct nr_table_cache *cache, const struct nr_table_handle *handle,
                              struct nr_table **table_out, struct nori_error *err)
{
    struct nori_error own;
    nori_status rc = open_once(cache, handle, table_out, &own);

    if (rc == NORI_IO && (own.sys_errno == EMFILE || own.sys_errno == ENFILE)) {
        give_back_descriptors(cache);
        return open_once(cache, handle, table_out, err);
    }
    if (rc != NORI_OK && err) *err = own;
    return rc;
}

/* Without its filter where that has no room: none at all, or none that it may take from others. */
static void fit_filter_locked(const struct nr_table_cache *cache, struct nr_table_handle *handle,
                              struct nr_table *table, bool takes_room)
{
    size_t bytes = nr_table_filter_bytes(table), budget = cache->params.filter_budget_bytes;
    size_t used = takes_room ? 0 : cache->stats.filter_bytes;
    uint32_t gets = 0;

    if (bytes > budget || used > budget - bytes) {
        nr_table_drop_filter(table);
        if (bytes <= budget) gets = (uint32_t)NR_MIN(bytes / BYTES_PER_BARE_GET + 1, (size_t)UINT32_MAX);
    }
    atomic_store_explicit(&handle->bare_gets, gets, memory_order_relaxed);
}

static void evict_excess_locked(struct nr_table_cache *cache, const struct nr_table_handle *spared,
                                struct nr_epoch_link **evicted)
{
    struct nr_table_handle *victim;
    while (is_over_tables_locked(cache) && (victim = choose_locked(cache, spared, false)))
        evict_one_locked(cache, victim, evicted);
    while (is_over_filters_locked(cache) && (victim = choose_locked(cache, spared, true)))
        evict_one_locked(cache, victim, evicted);
}

/* Puts an open table under the handle, unless another thread did, or in the place of 'bare', the table that is there
 * without its filter (NULL: none): the table that stays. */
static struct nr_table *install(struct nr_table_cache *cache, struct nr_table_handle *handle, struct nr_table *table,
                                const struct nr_table *bare)
{
    struct nr_epoch_link *evicted = NULL;
    struct nr_table *present;

    nr_mutex_lock(&cache->lock);
    present = table_of_locked(handle);
    if (present && present == bare) {
        evict_one_locked(cache, handle, &evicted);
        present = NULL;
    }
    if (!present && handle->is_dropped) {
        /* The caller uses it until it leaves the epoch. */
        nr_table_link(table)->next = evicted;
        evicted = nr_table_link(table);
        present = table;
        table = NULL;
    } else if (!present) {
        fit_filter_locked(cache, handle, table, bare != NULL);
        link_locked(cache, handle, table);
        present = table;
        table = NULL;
        evict_excess_locked(cache, handle, &evicted);
    }
    nr_mutex_unlock(&cache->lock);
    nr_table_unref(table);
    retire_all(cache, evicted);
    return present;
}

/* Counts a get from a table without its filter; the one that makes it worth loading opens the table anew. A failure is
 * none: the table serves as it is. */
static struct nr_table *find_bare(struct nr_table_cache *cache, struct nr_table_handle *handle, struct nr_table *bare,
                                  struct nr_read *read)
{
    struct nr_table *table;
    uint32_t left = atomic_load_explicit(&handle->bare_gets, memory_order_relaxed);

    if (!read || read->is_scan || read->skip_cache || (left == 1 && read->no_wait)) return bare;
    while (left > 0 && !atomic_compare_exchange_weak_explicit(&handle->bare_gets, &left, left - 1, memory_order_relaxed,
                                                              memory_order_relaxed))
        ;
    if (left != 1) return bare;
    if (open_table(cache, handle, &table, NULL) != NORI_OK) {
        atomic_store_explicit(&handle->bare_gets, RETRY_BARE_GETS, memory_order_relaxed);
        return bare;
    }
    read->tables_opened++;
    return install(cache, handle, table, bare);
}

nori_status nr_table_cache_find(struct nr_table_cache *cache, struct nr_table_handle *handle, struct nr_read *read,
                                struct nr_table **table_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_table *table = atomic_load_explicit(&handle->table, memory_order_seq_cst);

    *table_out = table;
    if (NR_LIKELY(table)) {
        if (!atomic_load_explicit(&handle->is_used, memory_order_relaxed))
            atomic_store_explicit(&handle->is_used, true, memory_order_relaxed);
        if (NR_UNLIKELY(atomic_load_explicit(&handle->bare_gets, memory_order_relaxed)))
            *table_out = find_bare(cache, handle, table, read);
        goto out;
    }
    if (read && !nr_read_may_wait(read)) {
        rc = NR_FAIL(err, NORI_AGAIN, "table %" PRIu64 " is not open", handle->number);
        goto out;
    }
    NR_CHECK(open_table(cache, handle, &table, err));
    if (read) read->tables_opened++;
    *table_out = install(cache, handle, table, NULL);
out:
    return rc;
}

void nr_table_cache_warm(struct nr_table_cache *cache, struct nr_table_handle *handle)
{
    struct nr_table *table;

    nr_mutex_lock(&cache->lock);
    bool has_room = cache->stats.open_tables < cache->params.max_open_files &&
                    cache->stats.index_bytes < cache->params.index_budget_bytes &&
                    cache->stats.filter_bytes < cache->params.filter_budget_bytes;
    nr_mutex_unlock(&cache->lock);
    if (!has_room || open_once(cache, handle, &table, NULL) != NORI_OK) return;
    unsigned stripe = nr_epoch_enter(cache->params.epoch); /* For the table that stays. */
    (void)install(cache, handle, table, NULL);
    nr_epoch_leave(cache->params.epoch, stripe);
}

void nr_table_cache_drop(struct nr_table_cache *cache, struct nr_table_handle *handle, bool is_deleted)
{
    struct nr_table *table = NULL;

    nr_mutex_lock(&cache->lock);
    if (handle->next) table = unlink_locked(cache, handle);
    handle->is_dropped = true;
    nr_mutex_unlock(&cache->lock);
    if (table) nr_epoch_defer(cache->params.epoch, nr_table_link(table));
    if (is_deleted && cache->params.blocks) nr_block_cache_drop_file(cache->params.blocks, handle->number);
}

struct nr_block_cache *nr_table_cache_blocks(const struct nr_table_cache *cache)
{
    return cache->params.blocks;
}

void nr_table_cache_stats(struct nr_table_cache *cache, struct nr_table_cache_stats *stats_out)
{
    nr_mutex_lock(&cache->lock);
    *stats_out = cache->stats;
    nr_mutex_unlock(&cache->lock);
}

/* Open tables, within budgets: descriptors, bytes of indexes, bytes of filters.
 *
 * A table whose filter finds no room is open without it, until gets there have cost about what loading it would: then
 * it takes the room of others that are used less. So a filter larger than the budget is never kept, and filters that do
 * not fit together do not push each other out at every get.
 *
 * A handle is embedded in what stands for the file (version/); while its table is open, finding it is one load. Inside
 * the epoch the table stays valid until it is left, evicted or not. EMFILE: gives back its own descriptors and tries
 * again. */
#ifndef NR_TABLE_TABLE_CACHE_H
#define NR_TABLE_TABLE_CACHE_H

#include "table/table.h"

struct nr_table_cache;

struct nr_table_handle {
    uint64_t number;
    uint64_t largest_sequence;                          /* As the manifest says. */
    _Atomic(struct nr_table *) table;                   /* NULL: not open. Sequentially consistent stores. */
    _Atomic bool is_used;                               /* CLOCK; relaxed. */
    _Atomic uint32_t bare_gets;                         /* Left until the filter is loaded; relaxed. 0: not to be. */
    struct nr_table_handle *previous, *next NR_GUARDED; /* By the cache's lock: the clock's ring; NULL: not in it. */
    bool is_dropped NR_GUARDED; /* By the cache's lock. An open that was under way is not kept. */
};
void nr_table_handle_init(struct nr_table_handle *handle, uint64_t number, uint64_t largest_sequence);

struct nr_table_cache_params {
    struct nr_epoch *epoch; /* Borrowed, all. */
    struct nr_dir *dir;
    struct nr_block_cache *blocks;
    uint64_t database_id;
    size_t max_open_files;
    size_t index_budget_bytes;
    size_t filter_budget_bytes;
};
NORI_WARN_UNUSED nori_status nr_table_cache_create(const struct nr_table_cache_params *params,
                                                   struct nr_table_cache **cache_out, struct nori_error *err);
void nr_table_cache_destroy(struct nr_table_cache *cache); /* All handles were dropped. NULL is fine. */

/* Inside the epoch: the open table, opened now if need be (NORI_AGAIN with read->no_wait). */
NORI_WARN_UNUSED nori_status nr_table_cache_find(struct nr_table_cache *cache, struct nr_table_handle *handle,
                                                 struct nr_read *read, struct nr_table **table_out,
                                                 struct nori_error *err);
/* Opens the table of a file that is new, if there is room for it, so that the first get need not. A failure is none:
 * the first get tries again. */
void nr_table_cache_warm(struct nr_table_cache *cache, struct nr_table_handle *handle);
/* The cache of blocks that its tables use; NULL: none. */
struct nr_block_cache *nr_table_cache_blocks(const struct nr_table_cache *cache);
/* The handle goes away, or its file does: closes its table, drops its blocks if 'is_deleted'. */
void nr_table_cache_drop(struct nr_table_cache *cache, struct nr_table_handle *handle, bool is_deleted);

struct nr_table_cache_stats {
    size_t open_tables;
    size_t index_bytes;
    size_t filter_bytes;
};
void nr_table_cache_stats(struct nr_table_cache *cache, struct nr_table_cache_stats *stats_out);

#endif

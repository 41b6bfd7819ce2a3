/* An open table: footer, properties, filter, index and range tombstones in memory; blocks read on demand, never mapped.
 *
 * Immutable once open. Every byte used was covered by a verified checksum. */
#ifndef NR_TABLE_TABLE_H
#define NR_TABLE_TABLE_H

#include "base/epoch.h"
#include "io/env.h"
#include "iter/iter.h"
#include "iter/lookup.h"
#include "table/block.h"
#include "table/block_cache.h"
#include "table/properties.h"

struct nr_table;

/* How one call reads, what it must not do, and what it counts. Zeroed is a usable get. */
struct nr_read {
    bool no_wait;     /* NORI_AGAIN rather than a disk read, until 'waiting' was told. */
    bool is_scan;     /* Does not make blocks hot; reads ahead. */
    bool skip_cache;  /* Compaction and verify: looks into the cache, leaves it as it is. */
    bool index_first; /* Filters are expected to say maybe: both are fetched from memory at one time. */
    /* With no_wait: told before the first read that waits for the disk, which then is done. NULL: nobody. */
    void (*waiting)(void *arg);
    void *waiting_arg;
    uint64_t runs_probed;
    uint64_t tables_opened;
    uint64_t blocks_read; /* From disk. */
    uint64_t bytes_read;
    uint64_t cache_hits;
    uint64_t cache_misses;
    uint64_t filter_negatives;
    uint64_t filter_false_positives;
    uint64_t held_bytes;            /* Of blocks and buffers, by the iterators that borrow this, at most. */
    uint64_t accounted_bytes;       /* Of those, what whoever keeps accounts has been told. */
    struct nr_cached_block *pinned; /* A reference on the block that the lookup's value lies in, if the cache did not
                                     * take it; nr_read_clear gives it back. */
};
void nr_read_clear(struct nr_read *read);
/* To be asked before a disk read, or a wait for a lock. */
bool nr_read_may_wait(struct nr_read *read);

/* How to make the best of a damaged table: what it can do without is told to 'note' (a failure of which ends the call),
 * and then done without. */
struct nr_salvage {
    nori_status (*note)(void *arg, const struct nori_error *damage, struct nori_error *err);
    void *arg;
    const struct nr_table_properties *known; /* From elsewhere. Borrowed; NULL: nothing is known. */
};

struct nr_table_params {
    struct nr_dir *dir;            /* Borrowed until open returns. */
    struct nr_block_cache *blocks; /* Borrowed; NULL: no cache. */
    struct nr_epoch *epoch;        /* Borrowed; needed with a cache: iterators enter it to look blocks up. */
    uint64_t database_id;
    uint64_t number;
    uint64_t largest_sequence; /* As the manifest says. */
    /* Borrowed; NULL: damage is a failure. Else the table opens if its index and range tombstones can be read, without
     * its filter, and is for the functions of salvage alone. */
    const struct nr_salvage *salvage;
};

/* Opens and verifies footer, index, filter, tombstones, properties. One reference. CORRUPTION, FORMAT, IO (ENOENT ...).
 */
NORI_WARN_UNUSED nori_status nr_table_open(const struct nr_table_params *params, struct nr_table **table_out,
                                           struct nori_error *err);
struct nr_table *nr_table_ref(struct nr_table *table);
void nr_table_unref(struct nr_table *table); /* NULL is fine. */
/* For the table cache: a link to retire, whose release gives one reference back. */
struct nr_epoch_link *nr_table_link(struct nr_table *table);

const struct nr_table_properties *nr_table_properties(const struct nr_table *table);
struct nr_tombstones *nr_table_tombstones(const struct nr_table *table); /* Borrowed; NULL: none. */
uint64_t nr_table_file_bytes(const struct nr_table *table);
size_t nr_table_index_bytes(const struct nr_table *table); /* Memory, without the filter. */
size_t nr_table_filter_bytes(const struct nr_table *table);
/* Goes on without its filter: every key may be there. Before any other thread knows the table. */
void nr_table_drop_filter(struct nr_table *table);

/* What a get that misses pushes out of the caches cannot be freed before its own section ends: whoever had blocks_read
 * or tables_opened calls nr_epoch_sweep after leaving, or memory grows until somebody does.
 *
 * Inside the epoch (value and block stay valid until it is left; read->pinned until nr_read_clear). Adds range
 * tombstones over the key, then, if the filter says maybe, the newest entry at or below lookup->sequence. */
NORI_WARN_UNUSED nori_status nr_table_get(struct nr_table *table, struct nr_lookup *lookup, struct nr_read *read,
                                          struct nori_error *err);

/* The same in steps, each of which has fetched from memory what the next one looks at first: begin, seek, fetch, open,
 * take. Who has several lookups takes a step of each in turn, and so waits for memory once instead of once for each. */
struct nr_probe {
    struct nr_table *table; /* Borrowed, in the epoch, as all below. */
    size_t block;
    struct nr_cached_block *cached; /* NULL: to be looked up, or read. */
    struct nr_block_view view;
    const uint8_t *at; /* Where the search begins; NULL: damaged. */
};
void nr_probe_begin(struct nr_probe *probe, struct nr_table *table, const struct nr_lookup *lookup);
/* Range tombstones; filter and index: false if they say that there is no entry, and this was the last step. */
bool nr_probe_seek(struct nr_probe *probe, struct nr_lookup *lookup, struct nr_read *read);
void nr_probe_fetch(struct nr_probe *probe);
/* The block is found, or read. NORI_AGAIN with read->no_wait; a failed probe begins again, if at all. */
NORI_WARN_UNUSED nori_status nr_probe_open(struct nr_probe *probe, const struct nr_lookup *lookup, struct nr_read *read,
                                           struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_probe_take(struct nr_probe *probe, struct nr_lookup *lookup, struct nr_read *read,
                                           struct nori_error *err);

/* False: no entry has a key of that hash (XXH3-64). True where there is no filter. */
bool nr_table_may_hold(const struct nr_table *table, uint64_t hash);

/* Iterates the point entries with keys in [start, end). Refs the table; 'start' and 'end' are borrowed for its life,
 * and so is 'read', to which it adds its counts. */
NORI_WARN_UNUSED nori_status nr_table_iter_create(struct nr_table *table, nori_slice start, struct nr_bound end,
                                                  struct nr_read *read, struct nr_iter **iter_out,
                                                  struct nori_error *err);

/* About how many bytes of the file lie in [start, end), and how many entries; from the index. */
void nr_table_measure(const struct nr_table *table, nori_slice start, struct nr_bound end, uint64_t *bytes_out,
                      uint64_t *entries_out);
/* Keys that cut the table's data into 'count' parts of about equal bytes: count - 1 calls of 'fn', ascending, may
 * repeat. */
void nr_table_sample(const struct nr_table *table, size_t count, void (*fn)(void *arg, nori_slice key, uint64_t bytes),
                     void *arg);

/* Reads every block; checks every checksum, order, count, filter and bound. '*blocks_out' and '*entries_out' count on.
 * A finding is CORRUPTION. */
NORI_WARN_UNUSED nori_status nr_table_verify(struct nr_table *table, uint64_t *blocks_out, uint64_t *entries_out,
                                             struct nori_error *err);

/* Salvage (table_salvage.c): what is whole of a table that is not.
 *
 * Which blocks are damaged. */
struct nr_table_damage {
    uint8_t *bits; /* Owned: one for each block. */
    size_t block_count;
    size_t damaged_count;
};
static inline bool nr_table_damage_has(const struct nr_table_damage *damage, size_t block)
{
    return damage->bits[block / 8] >> (block % 8) & 1;
}
void nr_table_damage_clear(struct nr_table_damage *damage);
/* Reads every block and checks it as nr_table_verify does. The counts, of whole blocks, go on. What the properties say
 * otherwise than whole blocks is a note, too. */
NORI_WARN_UNUSED nori_status nr_table_examine(struct nr_table *table, const struct nr_salvage *salvage,
                                              struct nr_table_damage *damage_out, uint64_t *blocks_out,
                                              uint64_t *entries_out, struct nori_error *err);
uint64_t nr_table_block_offset(const struct nr_table *table, size_t block);
/* Which keys entries of the blocks from 'first' to 'last' can have: [*start, *end). */
NORI_WARN_UNUSED nori_status nr_table_block_span(const struct nr_table *table, size_t first, size_t last,
                                                 struct nr_buffer *start, struct nr_buffer *end,
                                                 struct nori_error *err);
/* Iterates the entries of whole blocks with keys in [start, end), forward only: seek_first and next. 'dropped' NULL:
 * all of them. Else a version behind a damaged block, which may have held newer ones of its key, is passed over and
 * counted there. Borrows all but the table, which it refs. */
NORI_WARN_UNUSED nori_status nr_table_salvage_iter_create(struct nr_table *table, const struct nr_table_damage *damage,
                                                          nori_slice start, struct nr_bound end, struct nr_read *read,
                                                          uint64_t *dropped, struct nr_iter **iter_out,
                                                          struct nori_error *err);

#endif

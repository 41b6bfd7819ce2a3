/* What the files of a table's reader share: the open table, and how its blocks are read. */
#ifndef NR_TABLE_TABLE_INTERNAL_H
#define NR_TABLE_TABLE_INTERNAL_H

#include <stddef.h>

#include "base/checksum.h"
#include "table/block.h"
#include "table/sections.h"
#include "table/table.h"

struct nr_table {
    /* Immutable. */
    struct nr_sections sections;
    bool keys_differ;                   /* No key has two entries. */
    struct nr_block_cache *blocks;      /* Borrowed; NULL: none. */
    struct nr_block_shortcut *shortcut; /* Refs; with 'blocks'. To what gets have found there. */
    struct nr_epoch *epoch;             /* Borrowed. */
    uint64_t database_id;
    uint64_t number;
    char *path; /* Owned; for messages. */

    struct nr_file *file; /* Owned; NULL once given back. Used between acquire and release only. */
    /* Users of the file; with FILE_GIVEN_BACK none come. */
    _Atomic uint32_t file_users;
    _Atomic uint32_t refs;
    struct nr_epoch_link link;
};

static inline struct nr_table *nr_table_of_link(struct nr_epoch_link *link)
{
    return (struct nr_table *)(void *)((uint8_t *)link - offsetof(struct nr_table, link));
}

/* The file stays open until release. Fails with EMFILE once the table cache has taken its descriptor. */
NORI_WARN_UNUSED nori_status nr_table_acquire_file(struct nr_table *table, struct nori_error *err);
void nr_table_release_file(struct nr_table *table);
/* For the table cache when descriptors run out: closes the file of a table that it has given up, unless it is in use.
 */
bool nr_table_give_back_file(struct nr_table *table);

/* Inside the epoch, with table->blocks: a block that has no shortcut, from the cache; from now on it has one. NULL if
 * it is not there. */
struct nr_cached_block *nr_table_block_find(const struct nr_table *table, size_t block, const struct nr_read *read);
/* The block whose stored bytes these are, verified and decompressed, its data led by a summary (table/block.h), an
 * empty one where 'is_passing': it is read once and not searched. One reference. */
NORI_WARN_UNUSED nori_status nr_table_block_create(const struct nr_table *table, size_t block, nori_slice stored,
                                                   bool is_passing, struct nr_cached_block **block_out,
                                                   struct nori_error *err);
/* The same, read from the file, which is acquired. Counts. */
NORI_WARN_UNUSED nori_status nr_table_block_read(const struct nr_table *table, size_t block, struct nr_read *read,
                                                 struct nr_cached_block **block_out, struct nori_error *err);
/* The same of a small block, if the system has it in memory; false: it is to be read, or what is wrong told, by the
 * other. Takes mutexes that are held for moments, by nobody who waits for what the caller holds. */
bool nr_table_block_read_now(const struct nr_table *table, size_t block, struct nr_read *read,
                             struct nr_cached_block **block_out);
NORI_WARN_UNUSED nori_status nr_table_fail_block(const struct nr_table *table, size_t block, const char *problem,
                                                 struct nori_error *err);

#endif

/* Writes a table in one pass: blocks, filter, range tombstones, index, properties, footer.
 *
 * Entries are added in order (keys ascending, tags descending). The file is synced by finish; its directory is the
 * caller's to sync. */
#ifndef NR_TABLE_BUILDER_H
#define NR_TABLE_BUILDER_H

#include "io/env.h"
#include "iter/tombstones.h"
#include "table/block_cache.h"
#include "table/properties.h"

struct nr_table_builder;

struct nr_table_builder_params {
    struct nr_dir *dir; /* Borrowed. */
    uint64_t database_id;
    uint64_t number;
    int compression;
    uint32_t block_bytes;
    double bits_per_key; /* 0: no filter. */
    int filter_kind;     /* enum nori_filter_kind. Ribbon: as good as a Bloom filter of so many bits. */
    uint32_t level;
    uint64_t slot_id;
    uint64_t created_ms;
    uint64_t lifetime_ms; /* Of what expires, as the inputs say; NR_LIFETIME_FROM_NOW: it begins with the table. */
    struct nr_block_cache *blocks; /* Borrowed: of nr_table_builder_keep. NULL: there is none. */
    bool writes_behind;            /* The disk begins before the table ends: who waits for its sync waits for less. */
    bool is_stamped;               /* The sequences of its entries are yet to be given, by the manifest: one for all. */
};
#define NR_LIFETIME_FROM_NOW UINT64_MAX

/* Creates the file. */
NORI_WARN_UNUSED nori_status nr_table_builder_create(const struct nr_table_builder_params *params,
                                                     struct nr_table_builder **builder_out, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_table_builder_add(struct nr_table_builder *builder, nori_slice key, uint64_t tag,
                                                  nori_slice value, struct nori_error *err);
/* Whether blocks that end from now on are put into the cache, too, as if they had been read; not at first. What cannot
 * be is not. A builder that is destroyed unfinished takes them out again. */
void nr_table_builder_keep(struct nr_table_builder *builder, bool is_kept);
/* The entry added last is of a key of which there is nothing older (nr_table_properties). */
void nr_table_builder_note_fresh(struct nr_table_builder *builder);
/* At any time before finish, once: range tombstones, clipped to [start, end). The set is refed. Widens the bounds. */
NORI_WARN_UNUSED nori_status nr_table_builder_add_tombstones(struct nr_table_builder *builder,
                                                             struct nr_tombstones *set, nori_slice start,
                                                             struct nr_bound end, struct nori_error *err);
/* What the file holds so far, about; where outputs are cut. */
uint64_t nr_table_builder_bytes(const struct nr_table_builder *builder);
/* Memory it takes now. */
size_t nr_table_builder_memory(const struct nr_table_builder *builder);
uint64_t nr_table_builder_entry_count(const struct nr_table_builder *builder);
bool nr_table_builder_is_empty(const struct nr_table_builder *builder); /* No entry and no tombstone. */
/* Completes and syncs the file. '*properties_out' borrows from the builder. The builder is only to be destroyed then.
 */
NORI_WARN_UNUSED nori_status nr_table_builder_finish(struct nr_table_builder *builder,
                                                     const struct nr_table_properties **properties_out,
                                                     uint64_t *file_bytes_out, struct nori_error *err);
/* Without finish (or after its failure) also unlinks the file. NULL is fine. */
void nr_table_builder_destroy(struct nr_table_builder *builder);

#endif

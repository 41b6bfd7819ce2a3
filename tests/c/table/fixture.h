/* What the tests of tables share: a disk, a cache, sorted entries to build tables from and to compare them with. */
#ifndef NR_TESTS_TABLE_FIXTURE_H
#define NR_TESTS_TABLE_FIXTURE_H

#include "harness.h"

#include <errno.h>

#include "base/checksum.h"
#include "base/coding.h"
#include "base/random.h"
#include "table/builder.h"
#include "table/table_cache.h"

#define DATABASE_ID 0x1234567890abcdefull

static struct nori_error err;

struct fixture {
    struct nori_env *env;
    struct nr_dir *dir;
    struct nr_epoch epoch;
    struct nr_block_cache *blocks;
};

static inline void fixture_init(struct fixture *fixture, size_t budget_bytes)
{
    EXPECT_OK(nori_simdisk_create(1, 4096, false, &fixture->env, &err), &err);
    EXPECT_OK(nr_dir_open(fixture->env, "/db", true, &fixture->dir, &err), &err);
    nr_epoch_init(&fixture->epoch);
    EXPECT_OK(nr_block_cache_create(&fixture->epoch, budget_bytes, &fixture->blocks, &err), &err);
}

static inline void fixture_clear(struct fixture *fixture)
{
    nr_block_cache_destroy(fixture->blocks);
    nr_epoch_destroy(&fixture->epoch);
    nr_dir_close(fixture->dir);
    nori_simdisk_destroy(fixture->env);
}

struct entry {
    nori_slice key;
    uint64_t tag;
    nori_slice value;
};

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return nr_entry_compare(x->key, x->tag, y->key, y->tag);
}

/* Sorts, and drops what is there twice. */
static inline size_t sort_entries(struct entry *entries, size_t count)
{
    size_t kept = 0;
    qsort(entries, count, sizeof(*entries), compare_entries);
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || compare_entries(&entries[kept - 1], &entries[i]) != 0) entries[kept++] = entries[i];
    }
    return kept;
}

static inline struct nr_table_builder_params builder_params(struct fixture *fixture, uint64_t number)
{
    return (struct nr_table_builder_params){.dir = fixture->dir,
                                            .database_id = DATABASE_ID,
                                            .number = number,
                                            .compression = NORI_COMPRESSION_LZ4,
                                            .block_bytes = 4096,
                                            .bits_per_key = 10,
                                            .level = 3,
                                            .slot_id = 77,
                                            .created_ms = 1234};
}

static inline nori_status try_build(const struct nr_table_builder_params *params, const struct entry *entries,
                                    size_t count, const struct nr_range *ranges, size_t range_count,
                                    struct nori_error *error)
{
    struct nr_table_builder *builder = NULL;
    struct nr_tombstones *set = NULL;
    const struct nr_table_properties *properties;
    uint64_t file_bytes;
    nori_status rc = NORI_OK;

    NR_CHECK(nr_table_builder_create(params, &builder, error));
    nr_table_builder_keep(builder, true); /* In params->blocks, where there is one. */
    if (range_count > 0) {
        NR_CHECK(nr_tombstones_build(ranges, range_count, &set, error));
        NR_CHECK(nr_table_builder_add_tombstones(builder, set, nr_slice(NULL, 0), nr_bound_infinite(), error));
    }
    for (size_t i = 0; i < count; i++)
        NR_CHECK(nr_table_builder_add(builder, entries[i].key, entries[i].tag, entries[i].value, error));
    NR_CHECK(nr_table_builder_finish(builder, &properties, &file_bytes, error));
out:
    nr_tombstones_unref(set);
    nr_table_builder_destroy(builder);
    return rc;
}

static inline void build(const struct nr_table_builder_params *params, const struct entry *entries, size_t count)
{
    EXPECT_OK(try_build(params, entries, count, NULL, 0, &err), &err);
}

static inline nori_status try_open(struct fixture *fixture, uint64_t number, struct nr_table **table_out,
                                   struct nori_error *error)
{
    struct nr_table_params params = {.dir = fixture->dir,
                                     .blocks = fixture->blocks,
                                     .epoch = &fixture->epoch,
                                     .database_id = DATABASE_ID,
                                     .number = number};
    return nr_table_open(&params, table_out, error);
}

static inline struct nr_table *open_table(struct fixture *fixture, uint64_t number)
{
    struct nr_table *table;
    EXPECT_OK(try_open(fixture, number, &table, &err), &err);
    return table;
}

static inline struct nr_lookup make_lookup(nori_slice key, uint64_t sequence)
{
    return (struct nr_lookup){.key = key, .hash = nr_hash_key(key), .sequence = sequence};
}

/* The newest entry of the key at or below the sequence, or NULL. */
static inline const struct entry *find_entry(const struct entry *entries, size_t count, nori_slice key,
                                             uint64_t sequence)
{
    for (size_t i = 0; i < count; i++) {
        if (nr_slice_equal(entries[i].key, key) && nr_tag_sequence(entries[i].tag) <= sequence) return &entries[i];
    }
    return NULL;
}

static inline bool is_entry(const struct nr_iter *iter, const struct entry *entry)
{
    return nr_slice_equal(iter->entry->key, entry->key) && iter->entry->tag == entry->tag &&
           nr_slice_equal(iter->entry->value, entry->value);
}

/* A key or value that lives as long as the program. */
static inline nori_slice keep_text(const char *format, unsigned number)
{
    static char pool[8 << 20];
    static size_t used;
    char *at = pool + used;
    size_t size = (size_t)snprintf(at, sizeof(pool) - used, format, number);
    EXPECT(used + size + 1 < sizeof(pool));
    used += size + 1;
    return nr_slice(at, size);
}

#endif

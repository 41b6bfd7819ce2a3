/* What the tests of flush and merge share: a disk, a table cache, memtables filled from operations, and readers over
 * runs. */
#ifndef NR_TESTS_MERGE_FIXTURE_H
#define NR_TESTS_MERGE_FIXTURE_H

#include "base/coding.h"
#include "base/random.h"
#include "compact/merge.h"
#include "harness.h"
#include "iter/merge.h"
#include "iter/visible.h"

#define DATABASE_ID 77

static struct nori_error err;

struct fixture {
    struct nori_env *env;
    struct nr_dir *dir;
    struct nr_epoch epoch;
    struct nr_block_cache *blocks;
    struct nr_table_cache *tables;
    struct nori_options options;
    struct nr_merge_context context;
    uint64_t next_number, next_run_id;
    uint64_t admitted_bytes, admit_count, fail_admit_at;
    size_t dropped_count; /* Files whose last reference went. */
};

static uint64_t take_number(void *arg)
{
    return ((struct fixture *)arg)->next_number++;
}

static uint64_t take_run_id(void *arg)
{
    return ((struct fixture *)arg)->next_run_id++;
}

static nori_status admit(void *arg, uint64_t bytes, struct nori_error *error)
{
    struct fixture *fixture = arg;
    fixture->admitted_bytes += bytes;
    if (++fixture->admit_count == fixture->fail_admit_at) return NR_FAIL(error, NORI_CLOSED, "the engine closes");
    return NORI_OK;
}

static void drop_file(void *arg, struct nr_table_file *file)
{
    struct fixture *fixture = arg;
    char name[NR_FILE_NAME_BYTES];
    nr_table_cache_drop(fixture->tables, &file->handle, true);
    nr_name_table(name, file->number);
    nori_status rc NR_UNUSED = nr_dir_unlink(fixture->dir, name, NULL);
    fixture->dropped_count++;
    nr_table_file_free(file);
}

static inline void fixture_init(struct fixture *fixture)
{
    memset(fixture, 0, sizeof *fixture);
    EXPECT_OK(nori_simdisk_create(1, 4096, false, &fixture->env, &err), &err);
    EXPECT_OK(nr_dir_open(fixture->env, "/db", true, &fixture->dir, &err), &err);
    nr_epoch_init(&fixture->epoch);
    EXPECT_OK(nr_block_cache_create(&fixture->epoch, 1 << 20, &fixture->blocks, &err), &err);
    struct nr_table_cache_params params = {.epoch = &fixture->epoch,
                                           .dir = fixture->dir,
                                           .blocks = fixture->blocks,
                                           .database_id = DATABASE_ID,
                                           .max_open_files = 100,
                                           .index_budget_bytes = 1 << 20,
                                           .filter_budget_bytes = 1 << 20};
    EXPECT_OK(nr_table_cache_create(&params, &fixture->tables, &err), &err);
    fixture->options.table_bytes = 8192;
    fixture->options.filters.bloom_bits_per_key = 10;
    fixture->options.level_count = 1;
    fixture->options.levels[0] = (struct nori_level_options){NORI_COMPRESSION_LZ4, 1024, -1};
    fixture->next_number = fixture->next_run_id = 1;
    fixture->context = (struct nr_merge_context){.env = fixture->env,
                                                 .dir = fixture->dir,
                                                 .database_id = DATABASE_ID,
                                                 .epoch = &fixture->epoch,
                                                 .tables = fixture->tables,
                                                 .options = &fixture->options,
                                                 .next_number = take_number,
                                                 .next_run_id = take_run_id,
                                                 .admit_bytes = admit,
                                                 .on_unreferenced = drop_file,
                                                 .arg = fixture};
}

static inline void fixture_clear(struct fixture *fixture)
{
    nr_table_cache_destroy(fixture->tables);
    nr_block_cache_destroy(fixture->blocks);
    nr_epoch_destroy(&fixture->epoch);
    nr_dir_close(fixture->dir);
    nori_simdisk_destroy(fixture->env);
}

static void count_name(void *arg, const char *name)
{
    uint64_t number;
    *(size_t *)arg += nr_name_parse(name, &number) == NR_FILE_TABLE;
}

static inline size_t count_tables(struct fixture *fixture)
{
    size_t count = 0;
    EXPECT_OK(nr_dir_list(fixture->dir, count_name, &count, &err), &err);
    return count;
}

/* One write of one operation. */
static inline void write_one(struct nr_memtable *memtable, unsigned type, nori_slice key, nori_slice value,
                             uint64_t sequence)
{
    EXPECT_OK(nr_memtable_reserve_one(memtable, key, value, &err), &err);
    nr_memtable_insert_one(memtable, type, key, value, sequence);
}

static inline void write_range(struct nr_memtable *memtable, nori_slice start, struct nr_bound stop, uint64_t sequence)
{
    struct nr_buffer payload = {0};
    uint8_t type = NR_TYPE_RANGE_DELETE, is_infinite = stop.infinite;
    EXPECT_OK(nr_buffer_append(&payload, nr_slice(&type, 1), &err), &err);
    EXPECT_OK(nr_buffer_append_sized(&payload, start, &err), &err);
    EXPECT_OK(nr_buffer_append_varint(&payload, 1 + (stop.infinite ? 0 : stop.key.size), &err), &err);
    EXPECT_OK(nr_buffer_append(&payload, nr_slice(&is_infinite, 1), &err), &err);
    if (!stop.infinite) EXPECT_OK(nr_buffer_append(&payload, stop.key, &err), &err);
    EXPECT_OK(nr_memtable_reserve(memtable, nr_buffer_slice(&payload), 1, sequence, &err), &err);
    nr_memtable_insert(memtable, nr_buffer_slice(&payload), 1, sequence);
    nr_buffer_clear(&payload);
}

static inline struct nr_memtable *memtable_create(struct fixture *fixture)
{
    struct nr_memtable *memtable = NULL;
    EXPECT_OK(nr_memtable_create(&fixture->epoch, 1 << 16, &memtable, &err), &err);
    return memtable;
}

/* A reader over the runs, newest first, at a moment. Ownership of the parts goes to the iterator. */
static inline struct nr_iter *reader_create(struct fixture *fixture, struct nr_run *const *runs, size_t count,
                                            struct nr_moment moment, struct nr_read *read)
{
    struct nr_iter *children[16], *merged = NULL, *visible = NULL;
    struct nr_tombstones *sets[16], *set = NULL;
    size_t opened = 0;
    for (size_t i = 0; i < count; i++) {
        if (!runs[i]) continue;
        EXPECT_OK(nr_run_iter_create(runs[i], nr_slice("", 0), nr_bound_infinite(), fixture->tables, &fixture->epoch,
                                     read, &children[opened], &err),
                  &err);
        EXPECT_OK(nr_run_tombstones(runs[i], nr_slice("", 0), nr_bound_infinite(), fixture->tables, &fixture->epoch,
                                    &sets[opened], &err),
                  &err);
        opened++;
    }
    EXPECT_OK(nr_merge_iter_create(children, opened, &merged, &err), &err);
    EXPECT_OK(nr_tombstones_merge(sets, NULL, opened, NR_MAX_SEQUENCE, &set, &err), &err);
    for (size_t i = 0; i < opened; i++) nr_tombstones_unref(sets[i]);
    EXPECT_OK(nr_visible_iter_create(merged, set, moment.sequence, moment.now_ms, &visible, &err), &err);
    nr_tombstones_unref(set);
    return visible;
}

#endif

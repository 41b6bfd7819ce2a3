#include "fixture.h"

#define TABLE_COUNT 12
#define ENTRY_COUNT 200

struct tables {
    struct fixture fixture;
    struct nr_table_cache *cache;
    struct nr_table_handle handles[TABLE_COUNT];
};

static struct entry entries[ENTRY_COUNT];

static void tables_init(struct tables *tables, size_t max_open_files, size_t index_bytes, size_t filter_bytes)
{
    fixture_init(&tables->fixture, 1 << 20);
    for (unsigned i = 0; i < ENTRY_COUNT; i++)
        entries[i] = (struct entry){keep_text("key%06u", i), nr_tag(i + 1, NR_TYPE_PUT), keep_text("value %u", i)};
    for (unsigned i = 0; i < TABLE_COUNT; i++) {
        struct nr_table_builder_params params = builder_params(&tables->fixture, i + 1);
        params.block_bytes = 512;
        build(&params, entries, ENTRY_COUNT);
        nr_table_handle_init(&tables->handles[i], i + 1, 0);
    }
    struct nr_table_cache_params params = {.epoch = &tables->fixture.epoch,
                                           .dir = tables->fixture.dir,
                                           .blocks = tables->fixture.blocks,
                                           .database_id = DATABASE_ID,
                                           .max_open_files = max_open_files,
                                           .index_budget_bytes = index_bytes,
                                           .filter_budget_bytes = filter_bytes};
    EXPECT_OK(nr_table_cache_create(&params, &tables->cache, &err), &err);
}

static void tables_clear(struct tables *tables)
{
    struct nr_table_cache_stats stats;
    for (unsigned i = 0; i < TABLE_COUNT; i++) nr_table_cache_drop(tables->cache, &tables->handles[i], i % 2);
    nr_table_cache_stats(tables->cache, &stats);
    EXPECT_EQ(stats.open_tables + stats.index_bytes + stats.filter_bytes, 0);
    nr_table_cache_destroy(tables->cache);
    fixture_clear(&tables->fixture);
}

static nori_status try_get(struct tables *tables, unsigned table_index, unsigned entry_index, bool no_wait,
                           struct nori_error *error)
{
    struct nr_read read = {.no_wait = no_wait};
    struct nr_table *table;
    struct nr_lookup lookup = make_lookup(entries[entry_index].key, NR_MAX_SEQUENCE);
    unsigned stripe = nr_epoch_enter(&tables->fixture.epoch);
    nori_status rc = NORI_OK;

    NR_CHECK(nr_table_cache_find(tables->cache, &tables->handles[table_index], &read, &table, error));
    NR_CHECK(nr_table_get(table, &lookup, &read, error));
    if (!lookup.found || !nr_slice_equal(lookup.value, entries[entry_index].value))
        rc = NR_FAIL(error, NORI_CORRUPTION, "a wrong value");
out:
    nr_epoch_leave(&tables->fixture.epoch, stripe);
    nr_read_clear(&read);
    return rc;
}

TEST(open_tables_and_their_memory_stay_within_the_budgets)
{
    static struct tables tables;
    struct nr_table_cache_stats stats;
    size_t index_bytes, filter_bytes;

    tables_init(&tables, 5, 1 << 20, 1 << 20);
    for (unsigned i = 0; i < 60; i++) {
        EXPECT_OK(try_get(&tables, i * 7 % TABLE_COUNT, i, false, &err), &err);
        nr_table_cache_stats(tables.cache, &stats);
        EXPECT(stats.open_tables <= 5);
    }
    EXPECT_EQ(stats.open_tables, 5);
    index_bytes = stats.index_bytes / 5;
    filter_bytes = stats.filter_bytes / 5;
    EXPECT(index_bytes > 0 && filter_bytes > 0);
    tables_clear(&tables);

    tables_init(&tables, 100, index_bytes * 3 + 10, 1 << 20);
    for (unsigned i = 0; i < 60; i++) EXPECT_OK(try_get(&tables, i * 7 % TABLE_COUNT, i, false, &err), &err);
    nr_table_cache_stats(tables.cache, &stats);
    EXPECT_EQ(stats.open_tables, 3);
    tables_clear(&tables);

    tables_init(&tables, 100, 1 << 20, filter_bytes * 3 + 10);
    for (unsigned i = 0; i < 60; i++) {
        EXPECT_OK(try_get(&tables, i * 7 % TABLE_COUNT, i, false, &err), &err);
        nr_table_cache_stats(tables.cache, &stats);
        EXPECT(stats.filter_bytes <= filter_bytes * 3 + 10);
    }
    EXPECT_EQ(stats.filter_bytes, filter_bytes * 3);
    tables_clear(&tables);
}

static size_t filter_bytes_of_one(struct tables *tables)
{
    struct nr_table_cache_stats stats;
    EXPECT_OK(try_get(tables, 0, 0, false, &err), &err);
    nr_table_cache_stats(tables->cache, &stats);
    EXPECT_EQ(stats.open_tables, 1);
    return stats.filter_bytes;
}

TEST(a_table_whose_filter_is_larger_than_the_budget_is_read_without_it)
{
    static struct tables tables;
    struct nr_table_cache_stats stats;
    uint64_t opens;

    tables_init(&tables, 100, 1 << 20, 100);
    for (unsigned i = 0; i < TABLE_COUNT; i++) EXPECT_OK(try_get(&tables, i, i, false, &err), &err);
    opens = nori_simdisk_operations(tables.fixture.env, "open");
    for (unsigned i = 0; i < 2000; i++)
        EXPECT_OK(try_get(&tables, i % TABLE_COUNT, i % ENTRY_COUNT, false, &err), &err);
    nr_table_cache_stats(tables.cache, &stats);
    EXPECT_EQ(stats.open_tables, TABLE_COUNT);
    EXPECT_EQ(stats.filter_bytes, 0);
    EXPECT_EQ(nori_simdisk_operations(tables.fixture.env, "open"), opens);
    tables_clear(&tables);
}

/* Gets of absent keys that the table's filter turns away, of 50. */
static uint64_t count_turned_away(struct tables *tables, unsigned table_index)
{
    struct nr_read read = {0};
    for (unsigned i = 0; i < 50; i++) {
        struct nr_table *table;
        struct nr_lookup lookup = make_lookup(keep_text("key%06ux", i), NR_MAX_SEQUENCE);
        unsigned stripe = nr_epoch_enter(&tables->fixture.epoch);
        EXPECT_OK(nr_table_cache_find(tables->cache, &tables->handles[table_index], &read, &table, &err), &err);
        EXPECT_OK(nr_table_get(table, &lookup, &read, &err), &err);
        EXPECT(!lookup.found);
        nr_epoch_leave(&tables->fixture.epoch, stripe);
    }
    nr_read_clear(&read);
    return read.filter_negatives;
}

TEST(filters_that_do_not_fit_together_go_to_the_tables_that_are_asked)
{
    static struct tables tables;
    struct nr_table_cache_stats stats;

    tables_init(&tables, 100, 1 << 20, 1 << 20);
    size_t filter_bytes = filter_bytes_of_one(&tables);
    tables_clear(&tables);

    tables_init(&tables, 100, 1 << 20, filter_bytes * 2);
    for (unsigned i = 0; i < 3; i++) EXPECT_OK(try_get(&tables, i, i, false, &err), &err);
    nr_table_cache_stats(tables.cache, &stats);
    EXPECT_EQ(stats.open_tables, 3);
    EXPECT_EQ(stats.filter_bytes, filter_bytes * 2);
    EXPECT(count_turned_away(&tables, 0) > 40);
    /* The third takes the room of another, once it has paid for it. */
    EXPECT(count_turned_away(&tables, 2) > 40);
    nr_table_cache_stats(tables.cache, &stats);
    EXPECT_EQ(stats.filter_bytes, filter_bytes * 2);
    for (unsigned i = 0; i < 3; i++) EXPECT_OK(try_get(&tables, i, i, false, &err), &err);
    tables_clear(&tables);
}

TEST(a_filter_that_cannot_be_loaded_again_is_gone_without)
{
    static struct tables tables;
    tables_init(&tables, 100, 1 << 20, 1 << 20);
    size_t filter_bytes = filter_bytes_of_one(&tables);
    tables_clear(&tables);

    tables_init(&tables, 100, 1 << 20, filter_bytes);
    for (unsigned i = 0; i < 2; i++) EXPECT_OK(try_get(&tables, i, i, false, &err), &err);
    EXPECT_OK(nori_simdisk_fail(tables.fixture.env, "open", 1, EIO, true, &err), &err);
    for (unsigned i = 0; i < 50; i++) EXPECT_OK(try_get(&tables, 1, i, false, &err), &err);
    nori_simdisk_clear_faults(tables.fixture.env);
    EXPECT_EQ(count_turned_away(&tables, 1), 0);
    tables_clear(&tables);
}

TEST(tables_in_use_are_kept_before_others)
{
    static struct tables tables;
    uint64_t opens;
    tables_init(&tables, 4, 1 << 20, 1 << 20);
    for (unsigned i = 0; i < 4; i++) EXPECT_OK(try_get(&tables, 0, i, false, &err), &err);
    opens = nori_simdisk_operations(tables.fixture.env, "open");
    for (unsigned i = 0; i < 50; i++) {
        EXPECT_OK(try_get(&tables, 0, i, false, &err), &err);
        EXPECT_OK(try_get(&tables, 1 + i % 3, i, false, &err), &err);
    }
    EXPECT_EQ(nori_simdisk_operations(tables.fixture.env, "open") - opens, 3);
    tables_clear(&tables);
}

TEST(a_failed_open_is_tried_again_by_the_next_call)
{
    static struct tables tables;
    tables_init(&tables, 4, 1 << 20, 1 << 20);
    EXPECT_STATUS(try_get(&tables, 0, 0, true, &err), NORI_AGAIN, &err);
    EXPECT_OK(nori_simdisk_fail(tables.fixture.env, "open", 1, EACCES, false, &err), &err);
    EXPECT_STATUS(try_get(&tables, 0, 0, false, &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, EACCES);
    EXPECT_OK(nori_simdisk_fail(tables.fixture.env, "read", 2, EIO, false, &err), &err);
    EXPECT_STATUS(try_get(&tables, 0, 0, false, &err), NORI_IO, &err);
    EXPECT_OK(try_get(&tables, 0, 0, false, &err), &err);
    EXPECT_OK(try_get(&tables, 0, 0, true, &err), &err);
    tables_clear(&tables);
}

TEST(without_descriptors_left_the_cache_gives_back_its_own_and_goes_on)
{
    static struct tables tables;
    struct nr_table_cache_stats stats;
    tables_init(&tables, 100, 1 << 20, 1 << 20);
    for (unsigned i = 0; i < TABLE_COUNT - 1; i++) EXPECT_OK(try_get(&tables, i, i, false, &err), &err);
    EXPECT_OK(nori_simdisk_fail(tables.fixture.env, "open", 1, EMFILE, false, &err), &err);
    EXPECT_OK(try_get(&tables, TABLE_COUNT - 1, 5, false, &err), &err);
    nr_table_cache_stats(tables.cache, &stats);
    EXPECT_EQ(stats.open_tables, TABLE_COUNT - 8);
    for (unsigned i = 0; i < TABLE_COUNT; i++) EXPECT_OK(try_get(&tables, i, i, false, &err), &err);
    tables_clear(&tables);
}

TEST(an_iterator_keeps_its_file_when_descriptors_run_out)
{
    static struct tables tables;
    struct nr_read read = {.is_scan = true};
    struct nr_iter *iter;
    struct nr_table *table;
    unsigned count = 0;

    tables_init(&tables, 100, 1 << 20, 1 << 20);
    unsigned stripe = nr_epoch_enter(&tables.fixture.epoch);
    EXPECT_OK(nr_table_cache_find(tables.cache, &tables.handles[0], &read, &table, &err), &err);
    EXPECT_OK(nr_table_iter_create(table, nr_slice(NULL, 0), nr_bound_infinite(), &read, &iter, &err), &err);
    nr_epoch_leave(&tables.fixture.epoch, stripe);
    EXPECT_OK(nori_simdisk_fail(tables.fixture.env, "open", 1, EMFILE, false, &err), &err);
    EXPECT_OK(try_get(&tables, 1, 5, false, &err), &err);
    nr_table_cache_drop(tables.cache, &tables.handles[0], true);
    EXPECT_OK(nr_iter_seek_first(iter, &err), &err);
    for (; iter->entry; count++) EXPECT_OK(nr_iter_next(iter, &err), &err);
    EXPECT_EQ(count, ENTRY_COUNT);
    nr_iter_destroy(iter);
    tables_clear(&tables);
}

TEST(a_dropped_handle_does_not_keep_a_table_that_is_opened_late)
{
    static struct tables tables;
    struct nr_table_cache_stats stats;
    tables_init(&tables, 100, 1 << 20, 1 << 20);
    nr_table_cache_drop(tables.cache, &tables.handles[3], false);
    EXPECT_OK(try_get(&tables, 3, 5, false, &err), &err);
    nr_table_cache_stats(tables.cache, &stats);
    EXPECT_EQ(stats.open_tables, 0);
    tables_clear(&tables);
}

TEST(new_tables_are_opened_ahead_of_gets_where_there_is_room)
{
    static struct tables tables;
    struct nr_table_cache_stats stats;
    tables_init(&tables, 2, 1 << 20, 1 << 20);
    EXPECT_STATUS(try_get(&tables, 3, 5, true, &err), NORI_AGAIN, &err);
    nr_table_cache_warm(tables.cache, &tables.handles[3]);
    nr_table_cache_warm(tables.cache, &tables.handles[3]);
    nr_table_cache_stats(tables.cache, &stats);
    EXPECT_EQ(stats.open_tables, 1);
    unsigned stripe = nr_epoch_enter(&tables.fixture.epoch);
    struct nr_table *table;
    EXPECT_OK(nr_table_cache_find(tables.cache, &tables.handles[3], &(struct nr_read){.no_wait = true}, &table, &err),
              &err);
    nr_epoch_leave(&tables.fixture.epoch, stripe);

    EXPECT_OK(nori_simdisk_fail(tables.fixture.env, "open", 1, EMFILE, false, &err), &err);
    nr_table_cache_warm(tables.cache, &tables.handles[4]); /* Nobody is told, and nobody's table is given up for it. */
    nr_table_cache_stats(tables.cache, &stats);
    EXPECT_EQ(stats.open_tables, 1);
    nr_table_cache_warm(tables.cache, &tables.handles[4]);
    nr_table_cache_warm(tables.cache, &tables.handles[5]);
    nr_table_cache_stats(tables.cache, &stats);
    EXPECT_EQ(stats.open_tables, 2);
    EXPECT_STATUS(try_get(&tables, 5, 5, true, &err), NORI_AGAIN, &err);
    tables_clear(&tables);
}

struct worker {
    struct tables *tables;
    uint64_t seed;
    unsigned failures;
};

static void scan(struct worker *worker, struct nr_random *random)
{
    struct tables *tables = worker->tables;
    struct nr_read read = {.is_scan = true};
    struct nr_iter *iter = NULL;
    struct nr_table *table;
    struct nori_error error;
    size_t count = 0;
    nori_status rc = NORI_OK;
    unsigned stripe = nr_epoch_enter(&tables->fixture.epoch);
    struct nr_table_handle *handle = &tables->handles[nr_random_below(random, TABLE_COUNT)];

    rc = nr_table_cache_find(tables->cache, handle, &read, &table, &error);
    if (rc == NORI_OK) rc = nr_table_iter_create(table, nr_slice(NULL, 0), nr_bound_infinite(), &read, &iter, &error);
    nr_epoch_leave(&tables->fixture.epoch, stripe);
    if (rc == NORI_OK) rc = nr_iter_seek_first(iter, &error);
    while (rc == NORI_OK && iter->entry) {
        worker->failures += !is_entry(iter, &entries[count++]);
        rc = nr_iter_next(iter, &error);
    }
    worker->failures += rc != NORI_OK || count != ENTRY_COUNT;
    nr_iter_destroy(iter);
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    struct nr_random random;
    struct nori_error error;
    nr_random_init(&random, worker->seed);
    for (unsigned i = 0; i < 800; i++) {
        unsigned table = (unsigned)nr_random_below(&random, TABLE_COUNT);
        unsigned entry = (unsigned)nr_random_below(&random, ENTRY_COUNT);
        worker->failures += try_get(worker->tables, table, entry, false, &error) != NORI_OK;
        if (i % 50 == 0) scan(worker, &random);
    }
    return NULL;
}

static void run_threads(size_t max_open_files, size_t filter_budget_bytes)
{
    static struct tables tables;
    struct worker workers[4];
    pthread_t threads[4];
    tables_init(&tables, max_open_files, 1 << 20, filter_budget_bytes);
    for (unsigned i = 0; i < 4; i++) {
        workers[i] = (struct worker){&tables, i + 1, 0};
        EXPECT(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        EXPECT_EQ(workers[i].failures, 0);
    }
    tables_clear(&tables);
}

TEST(threads_that_open_read_and_evict_get_right_answers)
{
    run_threads(3, 1 << 20);
}

TEST(threads_that_load_and_drop_filters_get_right_answers)
{
    run_threads(100, 1000);
}

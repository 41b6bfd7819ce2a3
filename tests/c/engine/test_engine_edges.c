/* What calls do at their edges: nothing to write, more than fits, snapshots that end early, a log larger than memory.
 */
#include "fixture.h"

static struct nori_env *make_disk(uint64_t seed)
{
    struct nori_env *env;
    struct nori_error error;
    EXPECT_OK(nori_simdisk_create(seed, 512, false, &env, &error), &error);
    return env;
}

static void end(struct nori_env *env, struct nori_engine *engine)
{
    struct nori_error error;
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

TEST(an_estimate_counts_what_is_there_where_nothing_was_overwritten)
{
    struct nori_env *env = make_disk(1);
    struct nori_engine *engine;
    struct nori_error error;
    uint64_t count;
    char key[16];
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    EXPECT_OK(nori_estimate_count(engine, &count, &error), &error);
    EXPECT_EQ(count, 0);
    for (int i = 0; i < 60; i++) {
        snprintf(key, sizeof key, "key%02d", i);
        EXPECT_OK(put_text(engine, key, "value", &error), &error);
        if (i == 40) EXPECT_OK(nori_flush(engine, &error), &error);
    }
    EXPECT_OK(nori_estimate_count(engine, &count, &error), &error);
    EXPECT_EQ(count, 60);
    EXPECT_OK(nori_delete(engine, nr_slice_text("key07"), NULL, &error), &error);
    EXPECT_OK(nori_estimate_count(engine, &count, &error), &error);
    EXPECT_EQ(count, 59);
    EXPECT_OK(nori_flush(engine, &error), &error);
    EXPECT_OK(nori_estimate_count(engine, &count, &error), &error);
    EXPECT_EQ(count, 59);
    end(env, engine);
}

TEST(a_batch_of_nothing_writes_nothing_but_syncs_what_came_before)
{
    struct nori_env *env = make_disk(2);
    struct nori_engine *engine, *reader;
    struct nori_error error;
    struct nori_batch *batch;
    struct nori_write_options synced = {.sync = 1, .ttl_secs = -1}, hasty = {.sync = 1, .ttl_secs = -1};
    struct nori_open_params read_only = {.env = env, .read_only = true};
    uint64_t first, second;
    struct nori_options options = small_options();
    struct nori_open_params params = {.options = &options, .env = env};
    hasty.flags = NORI_NO_WAIT;
    options.wal.durability = NORI_DURABILITY_OS;
    EXPECT_OK(nori_open("/db", &params, &engine, &error), &error);
    EXPECT_OK(nori_batch_create(&batch, &error), &error);
    EXPECT_OK(nori_write(engine, batch, NULL, &first, &error), &error);
    EXPECT_OK(put_text(engine, "a", "1", &error), &error);
    uint64_t appended = nori_simdisk_operations(env, "log_publish"), syncs = nori_simdisk_operations(env, "log_sync");
    EXPECT_OK(nori_write(engine, batch, NULL, &second, &error), &error);
    EXPECT_EQ(second, first + 1);
    EXPECT_EQ(nori_simdisk_operations(env, "log_publish"), appended);
    EXPECT_STATUS(nori_write(engine, batch, &hasty, &second, &error), NORI_AGAIN, &error);
    EXPECT_OK(nori_write(engine, batch, &synced, &second, &error), &error);
    EXPECT_EQ(nori_simdisk_operations(env, "log_sync"), syncs + 1);
    EXPECT_OK(nori_write(engine, batch, &synced, &second, &error), &error);
    EXPECT_EQ(nori_simdisk_operations(env, "log_sync"), syncs + 1);
    EXPECT_OK(nori_open("/db", &read_only, &reader, &error), &error);
    EXPECT_STATUS(nori_write(reader, batch, NULL, &second, &error), NORI_READ_ONLY, &error);
    EXPECT_OK(nori_close(reader, &error), &error);
    nori_destroy(reader);
    nori_batch_destroy(batch);
    EXPECT_OK(nori_simdisk_crash(env, 0.0, &error), &error);
    nori_destroy(engine);
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    EXPECT_VALUE(engine, NULL, "a", "1");
    end(env, engine);
}

TEST(a_reader_refuses_every_write_and_writes_nothing)
{
    struct nori_env *env = make_disk(3);
    struct nori_engine *engine, *reader;
    struct nori_error error;
    struct nori_ingest *ingest = NULL;
    struct nori_checkpoint result;
    struct nori_open_params read_only = {.env = env, .read_only = true};
    struct nori_write_options hasty = {.sync = -1, .ttl_secs = -1, .flags = NORI_NO_WAIT};
    nori_slice key = nr_slice_text("a");
    bool found;
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    EXPECT_OK(put_text(engine, "a", "1", &error), &error);
    EXPECT_OK(nori_open("/db", &read_only, &reader, &error), &error);
    uint64_t writes = nori_simdisk_operations(env, "write"), creates = nori_simdisk_operations(env, "create");
    EXPECT_STATUS(nori_put(reader, key, key, NULL, &error), NORI_READ_ONLY, &error);
    EXPECT_STATUS(nori_delete(reader, key, NULL, &error), NORI_READ_ONLY, &error);
    EXPECT_STATUS(nori_delete_range(reader, &key, NULL, NULL, &error), NORI_READ_ONLY, &error);
    EXPECT_STATUS(nori_pop(reader, key, NULL, NULL, NULL, &found, &error), NORI_READ_ONLY, &error);
    EXPECT_STATUS(nori_set_default(reader, key, key, NULL, NULL, NULL, &found, &error), NORI_READ_ONLY, &error);
    EXPECT_STATUS(nori_pop_last(reader, NULL, NULL, NULL, NULL, &found, &error), NORI_READ_ONLY, &error);
    EXPECT_STATUS(nori_pop_last(engine, &hasty, NULL, NULL, NULL, &found, &error), NORI_AGAIN, &error);
    EXPECT_STATUS(nori_sync(reader, &error), NORI_READ_ONLY, &error);
    EXPECT_STATUS(nori_flush(reader, &error), NORI_READ_ONLY, &error);
    EXPECT_STATUS(nori_compact(reader, NULL, NULL, NULL, NULL, &error), NORI_READ_ONLY, &error);
    EXPECT_STATUS(nori_ingest_create(reader, false, &ingest, &error), NORI_READ_ONLY, &error);
    EXPECT_STATUS(nori_checkpoint(reader, "/copy", NULL, NULL, &result, &error), NORI_READ_ONLY, &error);
    EXPECT_VALUE(reader, NULL, "a", "1");
    EXPECT_EQ(nori_simdisk_operations(env, "write"), writes);
    EXPECT_EQ(nori_simdisk_operations(env, "create"), creates);
    EXPECT_OK(nori_close(reader, &error), &error);
    nori_destroy(reader);
    end(env, engine);
}

TEST(a_scan_of_a_snapshot_outlives_it_and_stays_its_moment)
{
    struct nori_env *env = make_disk(4);
    struct nori_engine *engine;
    struct nori_error error;
    struct nori_snapshot *snapshot;
    struct nori_scan *scan;
    const struct nori_entry *entries;
    size_t count;
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    EXPECT_OK(put_text(engine, "a", "old", &error), &error);
    EXPECT_OK(nori_snapshot_create(engine, 0, &snapshot, &error), &error);
    EXPECT_OK(put_text(engine, "a", "new", &error), &error);
    struct nori_scan_params params = {.snapshot = snapshot, .limit = UINT64_MAX};
    EXPECT_OK(nori_scan_open(engine, &params, &scan, &error), &error);
    nori_snapshot_destroy(snapshot);
    EXPECT_OK(nori_flush(engine, &error), &error);
    EXPECT_OK(put_text(engine, "a", "newest", &error), &error);
    EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &error), &error);
    EXPECT_OK(nori_scan_next(scan, 10, SIZE_MAX, &entries, &count, &error), &error);
    EXPECT_EQ(count, 1);
    EXPECT_SLICE(entries[0].value, "old");
    nori_scan_destroy(scan);
    EXPECT_VALUE(engine, NULL, "a", "newest");
    end(env, engine);
}

#define MANY 40

TEST(every_one_of_many_snapshots_is_respected_by_merges)
{
    struct nori_env *env = make_disk(5);
    struct nori_engine *engine;
    struct nori_error error;
    struct nori_snapshot *snapshots[MANY];
    char value[16];
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    for (int i = 0; i < MANY; i++) {
        snprintf(value, sizeof value, "%d", i);
        EXPECT_OK(put_text(engine, "a", value, &error), &error);
        EXPECT_OK(put_text(engine, "b", "between", &error), &error);
        EXPECT_OK(nori_snapshot_create(engine, 0, &snapshots[i], &error), &error);
        if (i % 7 == 6) EXPECT_OK(nori_delete(engine, nr_slice_text("a"), NULL, &error), &error);
        if (i % 11 == 3) EXPECT_OK(nori_flush(engine, &error), &error);
    }
    EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &error), &error);
    for (int i = 0; i < MANY; i++) {
        snprintf(value, sizeof value, "%d", i);
        EXPECT_VALUE(engine, snapshots[i], "a", value);
        nori_snapshot_destroy(snapshots[i]);
    }
    expect_sound(engine);
    end(env, engine);
}

TEST(a_batch_larger_than_all_memtables_becomes_one_of_its_own)
{
    struct nori_env *env = make_disk(6);
    struct nori_engine *engine;
    struct nori_error error;
    struct nori_batch *batch;
    static char value[4000];
    char key[16];
    uint64_t sequence, count;
    struct nori_write_options hasty = {.sync = -1, .ttl_secs = -1, .flags = NORI_NO_WAIT};
    memset(value, 'v', sizeof value - 1);
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    EXPECT_OK(put_text(engine, "before", "1", &error), &error);
    EXPECT_OK(nori_batch_create(&batch, &error), &error);
    for (int i = 0; i < 400; i++) {
        snprintf(key, sizeof key, "key%03d", i);
        EXPECT_OK(nori_batch_put(batch, nr_slice_text(key), nr_slice_text(value), 0, &error), &error);
    }
    EXPECT_STATUS(nori_write(engine, batch, &hasty, &sequence, &error), NORI_AGAIN, &error);
    EXPECT_ABSENT(engine, NULL, "key000");
    EXPECT_OK(nori_write(engine, batch, NULL, &sequence, &error), &error);
    nori_batch_destroy(batch);
    nori_simdisk_kill(env);
    nori_destroy(engine);
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    EXPECT_OK(nori_count(engine, NULL, &count, &error), &error);
    EXPECT_EQ(count, 401);
    EXPECT_VALUE(engine, NULL, "key399", value);
    end(env, engine);
}

#define LOGGED_KEYS 320

static void put_logged(struct nori_env *env)
{
    struct nori_engine *engine;
    struct nori_error error;
    struct nori_options options = small_options();
    struct nori_open_params params = {.options = &options, .env = env};
    static char value[1000];
    char key[16];
    memset(value, 'v', sizeof value - 1);
    options.memtable.flush_trigger_bytes = 1 << 20;
    options.resources.memtables_mib = 4;
    EXPECT_OK(nori_open("/db", &params, &engine, &error), &error);
    for (int i = 0; i < LOGGED_KEYS; i++) {
        snprintf(key, sizeof key, "key%03d", i);
        EXPECT_OK(put_text(engine, key, value, &error), &error);
    }
    EXPECT_OK(nori_sync(engine, &error), &error);
    nori_simdisk_kill(env);
    nori_destroy(engine);
}

static void expect_logged(struct nori_env *env, uint64_t at)
{
    struct nori_engine *engine;
    struct nori_error error;
    uint64_t count;
    if (open_small(env, "/db", &engine, &error) != NORI_OK) FAIL("stopped at %" PRIu64 ": %s", at, error.text);
    EXPECT_OK(nori_count(engine, NULL, &count, &error), &error);
    EXPECT_EQ(count, LOGGED_KEYS);
    expect_sound(engine);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
}

/* The log of one large memtable becomes many small ones, of which some are flushed on the way. */
TEST(a_log_larger_than_memory_is_flushed_while_it_is_replayed_and_that_may_stop_anywhere)
{
    bool was_stopped = true;
    for (uint64_t at = 1; was_stopped; at += 3) {
        struct nori_env *env = make_disk(at);
        struct nori_engine *engine;
        struct nori_error error;
        put_logged(env);
        /* A table that was written and never named. */
        EXPECT_OK(nori_simdisk_write_file(env, "/db/000007.sst", nr_slice_text("x"), &error), &error);
        nori_simdisk_stop_at(env, at);
        nori_status rc = open_small(env, "/db", &engine, &error);
        was_stopped = nori_simdisk_stopped(env);
        if (!was_stopped) EXPECT_OK(rc, &error);
        if (at % 2)
            nori_simdisk_kill(env);
        else
            EXPECT_OK(nori_simdisk_crash(env, 0.0, &error), &error);
        nori_destroy(engine);
        expect_logged(env, at);
        nori_simdisk_destroy(env);
    }
}

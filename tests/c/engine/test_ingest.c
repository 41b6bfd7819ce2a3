/* Bulk loads: whole or not at all, the next write when they are committed, in tables that are written once if the keys
 * ascend. */
#include "ingest_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define PAIRS 3000

static void reopen(struct nori_env *env, struct nori_engine **engine)
{
    struct nori_error error;
    EXPECT_OK(nori_close(*engine, &error), &error);
    nori_destroy(*engine);
    EXPECT_OK(open_small(env, "/db", engine, &error), &error);
}

static void name_key(int number, char out[16])
{
    snprintf(out, 16, "key-%05d", number);
}

/* Some hundred bytes that begin with the number. */
static void make_value(int number, char out[160])
{
    memset(out, 'a' + number % 26, 150);
    out[150] = 0;
    out[snprintf(out, 12, "%d.", number)] = 'z';
}

static nori_status add(struct nori_ingest *ingest, const char *key, const char *value, struct nori_error *err)
{
    struct nori_batch *batch;
    nori_status rc = nori_batch_create(&batch, err);
    if (rc != NORI_OK) return rc;
    rc = nori_batch_put(batch, nr_slice_text(key), nr_slice_text(value), 0, err);
    if (rc == NORI_OK) rc = nori_ingest_add(ingest, batch, err);
    nori_batch_destroy(batch);
    return rc;
}

/* Key i of 'count' gets value i + first, in the order of i * stride modulo count. */
static void add_many(struct nori_ingest *ingest, int count, int stride, int first)
{
    char key[16], value[160];
    struct nori_batch *batch;
    struct nori_error error;
    EXPECT_OK(nori_batch_create(&batch, &error), &error);
    for (int i = 0; i < count; i++) {
        int number = (int)((long long)i * stride % count);
        name_key(number, key);
        make_value(number + first, value);
        EXPECT_OK(nori_batch_put(batch, nr_slice_text(key), nr_slice_text(value), 0, &error), &error);
        if (i % 100 == 99 || i + 1 == count) {
            EXPECT_OK(nori_ingest_add(ingest, batch, &error), &error);
            nori_batch_clear(batch);
        }
    }
    nori_batch_destroy(batch);
}

static uint64_t commit(struct nori_ingest *ingest, uint64_t pairs)
{
    struct nori_ingest_result result;
    struct nori_error error;
    EXPECT_OK(nori_ingest_commit(ingest, &result, &error), &error);
    EXPECT_EQ(result.pairs, pairs);
    nori_ingest_destroy(ingest);
    return result.sequence;
}

static void expect_many(struct nori_engine *engine, int count, int first)
{
    char key[16], value[160];
    struct nori_error error;
    uint64_t found;
    EXPECT_OK(nori_count(engine, NULL, &found, &error), &error);
    EXPECT_EQ(found, count);
    for (int i = 0; i < count; i++) {
        name_key(i, key);
        make_value(i + first, value);
        EXPECT_VALUE(engine, NULL, key, value);
    }
}

TEST(ingested_pairs_that_ascend_are_there_and_are_written_once)
{
    struct nori_engine *engine;
    struct nori_error error;
    struct nori_stats stats;
    struct nori_env *env = make_disk(false, &engine);
    struct nori_ingest *ingest = begin(engine, true);
    add_many(ingest, PAIRS, 1, 0);
    EXPECT_EQ(commit(ingest, PAIRS), 1); /* One write. */
    expect_many(engine, PAIRS, 0);
    EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &error), &error);
    EXPECT_OK(nori_stats(engine, &stats, &error), &error);
    EXPECT_EQ(stats.compaction_bytes_written, 0);
    EXPECT_EQ(stats.puts, PAIRS);
    reopen(env, &engine);
    expect_many(engine, PAIRS, 0);
    end(env, engine);
}

/* Piles of 16 KiB: more than are merged at a time. */
TEST(ingested_pairs_in_any_order_are_sorted)
{
    struct nori_engine *engine;
    struct nori_env *env = make_disk(false, &engine);
    struct nori_ingest *ingest = begin(engine, false);
    add_many(ingest, 5 * PAIRS, 7919, 0);
    commit(ingest, 5 * PAIRS);
    expect_many(engine, 5 * PAIRS, 0);
    reopen(env, &engine);
    expect_many(engine, 5 * PAIRS, 0);
    end(env, engine);
}

TEST(of_ingested_pairs_with_the_same_key_the_last_one_counts)
{
    struct nori_engine *engine;
    struct nori_error error;
    struct nori_env *env = make_disk(false, &engine);
    struct nori_ingest *ingest = begin(engine, true);
    EXPECT_OK(add(ingest, "a", "1", &error), &error);
    EXPECT_OK(add(ingest, "a", "2", &error), &error);
    EXPECT_OK(add(ingest, "b", "3", &error), &error);
    EXPECT_OK(add(ingest, "b", "4", &error), &error);
    commit(ingest, 4);
    EXPECT_VALUE(engine, NULL, "a", "2");
    EXPECT_VALUE(engine, NULL, "b", "4");
    ingest = begin(engine, false); /* First in order, then in piles, within a pile and across. */
    add_many(ingest, 1000, 1, 0);
    add_many(ingest, 1000, 7, 1);
    add_many(ingest, 1000, 1, 2);
    add_many(ingest, 10, 3, 3);
    add_many(ingest, 10, 7, 4);
    commit(ingest, 3020);
    char key[16], value[160];
    for (int i = 0; i < 1000; i++) {
        name_key(i, key);
        make_value(i + (i < 10 ? 4 : 2), value);
        EXPECT_VALUE(engine, NULL, key, value);
    }
    end(env, engine);
}

TEST(an_ingest_is_newer_than_what_was_written_and_older_than_what_comes)
{
    struct nori_engine *engine;
    struct nori_error error;
    struct nori_snapshot *before, *after;
    struct nori_env *env = make_disk(false, &engine);
    EXPECT_OK(put_text(engine, "key-00001", "old", &error), &error);
    EXPECT_OK(nori_flush(engine, &error), &error);
    EXPECT_OK(put_text(engine, "key-00002", "old", &error), &error);
    struct nori_ingest *ingest = begin(engine, true);
    add_many(ingest, 4, 1, 0);
    EXPECT_OK(put_text(engine, "key-00003", "written meanwhile", &error), &error);
    EXPECT_OK(nori_snapshot_create(engine, 0, &before, &error), &error);
    EXPECT_ABSENT(engine, NULL, "key-00000");
    EXPECT_EQ(commit(ingest, 4), 4);
    EXPECT_OK(nori_snapshot_create(engine, 0, &after, &error), &error);
    EXPECT_EQ(nori_snapshot_sequence(after), 4);
    EXPECT_OK(put_text(engine, "key-00001", "new", &error), &error);
    EXPECT_OK(nori_delete(engine, nr_slice_text("key-00002"), NULL, &error), &error);
    for (int round = 0; round < 3; round++) {
        char value[160];
        make_value(0, value);
        EXPECT_VALUE(engine, NULL, "key-00000", value);
        EXPECT_VALUE(engine, NULL, "key-00001", "new");
        EXPECT_ABSENT(engine, NULL, "key-00002");
        make_value(3, value);
        EXPECT_VALUE(engine, NULL, "key-00003", value);
        EXPECT_VALUE(engine, after, "key-00003", value);
        make_value(1, value);
        EXPECT_VALUE(engine, after, "key-00001", value);
        EXPECT_VALUE(engine, before, "key-00001", "old");
        EXPECT_VALUE(engine, before, "key-00003", "written meanwhile");
        EXPECT_ABSENT(engine, before, "key-00000");
        if (round == 0) EXPECT_OK(nori_flush(engine, &error), &error);
        if (round == 1) EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &error), &error);
    }
    nori_snapshot_destroy(before);
    nori_snapshot_destroy(after);
    end(env, engine);
}

TEST(keys_that_do_not_ascend_fail_a_sorted_ingest_and_nothing_of_it_remains)
{
    struct nori_engine *engine;
    struct nori_error error;
    struct nori_ingest_result result;
    struct nori_env *env = make_disk(false, &engine);
    struct nori_ingest *ingest = begin(engine, true);
    add_many(ingest, 1000, 1, 0);
    EXPECT(count_tables(env) > 0);
    EXPECT_STATUS(add(ingest, "key-00500", "1", &error), NORI_INVALID, &error);
    EXPECT(strstr(error.text, "pair 1000"));
    EXPECT_STATUS(add(ingest, "key-99999", "1", &error), NORI_INVALID, &error);
    EXPECT_STATUS(nori_ingest_commit(ingest, &result, &error), NORI_INVALID, &error);
    nori_ingest_destroy(ingest);
    expect_many(engine, 0, 0);
    reopen(env, &engine);
    EXPECT_EQ(count_tables(env), 0);
    expect_many(engine, 0, 0);
    end(env, engine);
}

TEST(an_ingest_takes_puts_only)
{
    struct nori_engine *engine;
    struct nori_error error;
    struct nori_batch *batch;
    struct nori_env *env = make_disk(false, &engine);
    struct nori_ingest *ingest = begin(engine, false);
    EXPECT_OK(nori_batch_create(&batch, &error), &error);
    EXPECT_OK(nori_batch_delete(batch, nr_slice_text("a"), &error), &error);
    EXPECT_STATUS(nori_ingest_add(ingest, batch, &error), NORI_INVALID, &error);
    nori_batch_destroy(batch);
    nori_ingest_destroy(ingest);
    end(env, engine);
}

TEST(an_ingest_of_nothing_writes_nothing)
{
    struct nori_engine *engine;
    struct nori_error error;
    struct nori_env *env = make_disk(false, &engine);
    EXPECT_OK(put_text(engine, "a", "1", &error), &error);
    EXPECT_EQ(commit(begin(engine, true), 0), 1);
    EXPECT_EQ(count_tables(env), 0);
    end(env, engine);
}

TEST(an_ingest_that_is_not_committed_leaves_nothing)
{
    struct nori_engine *engine;
    struct nori_env *env = make_disk(false, &engine);
    struct nori_ingest *ingest = begin(engine, false);
    add_many(ingest, PAIRS, 7919, 0);
    nori_ingest_destroy(ingest);
    expect_many(engine, 0, 0);
    reopen(env, &engine);
    EXPECT_EQ(count_tables(env), 0);
    end(env, engine);
}

TEST(closing_ends_an_ingest_that_is_under_way)
{
    struct nori_engine *engine;
    struct nori_error error;
    struct nori_ingest_result result;
    struct nori_env *env = make_disk(false, &engine);
    struct nori_ingest *streamed = begin(engine, true), *piled = begin(engine, false);
    add_many(streamed, PAIRS, 1, 0);
    add_many(piled, PAIRS, 7919, 0);
    EXPECT_OK(nori_close(engine, &error), &error);
    EXPECT_EQ(count_tables(env), 0);
    EXPECT_STATUS(add(streamed, "key-99999", "1", &error), NORI_CLOSED, &error);
    EXPECT_STATUS(nori_ingest_commit(piled, &result, &error), NORI_CLOSED, &error);
    nori_ingest_destroy(streamed);
    nori_ingest_destroy(piled);
    nori_destroy(engine);
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    expect_many(engine, 0, 0);
    end(env, engine);
}

/* Asked as often as it may be: no sooner than 100 ms after the last time. */
static int write_in_hook(void *arg)
{
    struct nori_error error;
    usleep(110000);
    EXPECT_OK(put_text(arg, "hook", "wrote", &error), &error);
    return 0;
}

/* While the gate is closed it would wait for its own thread. */
TEST(a_hook_in_the_commit_of_an_ingest_may_write)
{
    struct nori_engine *engine;
    struct nori_error error;
    struct nori_ingest_result result;
    struct nori_env *env = make_disk(false, &engine);
    struct nori_ingest *ingest = begin(engine, true);
    EXPECT_OK(add(ingest, "a", "1", &error), &error);
    EXPECT_OK(put_text(engine, "b", "2", &error), &error);
    nori_set_interrupt(write_in_hook, engine);
    nori_status rc = nori_ingest_commit(ingest, &result, &error);
    nori_set_interrupt(NULL, NULL);
    EXPECT_OK(rc, &error);
    nori_ingest_destroy(ingest);
    EXPECT_VALUE(engine, NULL, "a", "1");
    EXPECT_VALUE(engine, NULL, "hook", "wrote");
    end(env, engine);
}

TEST(expiring_pairs_are_ingested_with_their_expiry)
{
    struct nori_engine *engine;
    struct nori_error error;
    struct nori_batch *batch;
    struct nori_env *env = make_disk(false, &engine);
    struct nori_ingest *ingest = begin(engine, true);
    EXPECT_OK(nori_batch_create(&batch, &error), &error);
    uint64_t expiry = nori_expiry(engine, 10);
    EXPECT_OK(nori_batch_put(batch, nr_slice_text("a"), nr_slice_text("1"), expiry, &error), &error);
    EXPECT_OK(nori_batch_put(batch, nr_slice_text("b"), nr_slice_text("2"), 0, &error), &error);
    EXPECT_OK(nori_ingest_add(ingest, batch, &error), &error);
    nori_batch_destroy(batch);
    commit(ingest, 2);
    EXPECT_VALUE(engine, NULL, "a", "1");
    nori_simdisk_advance(env, 11000000, 11000);
    EXPECT_ABSENT(engine, NULL, "a");
    EXPECT_VALUE(engine, NULL, "b", "2");
    end(env, engine);
}

/* ---------------------------------------------------------------- failures */

/* Loads two rounds by ingest, with a put before and behind each; stops at the first failure. The last one that returned
 * successfully: 1 put, 2 ingest, 3 put, and so on; '*maybe_out' is the one that failed, if it may have happened. */
static int load_twice(struct nori_env *env, struct nori_engine **engine_out, int *maybe_out)
{
    struct nori_error error;
    struct nori_ingest_result result;
    int done = 0;
    *engine_out = NULL;
    *maybe_out = 0;
    if (open_small(env, "/db", engine_out, &error) != NORI_OK) return 0;
    for (int step = 1; step <= 5; step++) {
        char text[16], key[16], value[160];
        nori_status rc = NORI_OK;
        snprintf(text, sizeof text, "%d", step);
        if (step % 2) {
            rc = put_text(*engine_out, "step", text, &error);
        } else {
            struct nori_ingest *ingest = NULL;
            rc = nori_ingest_create(*engine_out, false, &ingest, &error);
            for (int i = 0; rc == NORI_OK && i < 300; i++) {
                name_key(i * 7 % 300, key);
                make_value(step, value);
                rc = add(ingest, key, value, &error);
            }
            if (rc == NORI_OK) rc = add(ingest, "step", text, &error);
            if (rc != NORI_OK) error.outcome = NORI_NOT_APPLIED;
            if (rc == NORI_OK) rc = nori_ingest_commit(ingest, &result, &error);
            nori_ingest_destroy(ingest);
        }
        if (rc != NORI_OK) {
            if (error.outcome == NORI_INDETERMINATE) *maybe_out = step;
            return done;
        }
        done = step;
    }
    return done;
}

/* The steps up to the one that 'step' names, whole. */
static int find_step(struct nori_engine *engine)
{
    struct text_value value;
    struct nori_error error;
    uint64_t count;
    bool found;
    EXPECT_OK(get_text(engine, NULL, "step", &value, &found, &error), &error);
    int step = found ? atoi(value.text) : 0, newest = step / 2 * 2;
    EXPECT_OK(nori_count(engine, NULL, &count, &error), &error);
    EXPECT_EQ(count, (newest ? 300 : 0) + found);
    for (int i = 0; i < 300 && newest; i += 7) {
        char key[16], expected[160];
        name_key(i, key);
        make_value(newest, expected);
        EXPECT_VALUE(engine, NULL, key, expected);
    }
    return step;
}

static void expect_step(struct nori_env *env, int least, int most, const char *what, uint64_t nth)
{
    struct nori_engine *engine;
    struct nori_error error;
    if (open_small(env, "/db", &engine, &error) != NORI_OK) FAIL("%s %" PRIu64 ": %s", what, nth, error.text);
    int step = find_step(engine);
    if (step < least || step > most) FAIL("%s %" PRIu64 ": step %d, not %d to %d", what, nth, step, least, most);
    expect_sound(engine);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
}

/* An ingest is durable when it returns, with all before it. */
TEST(an_ingest_is_whole_or_not_at_all_after_a_crash_anywhere)
{
    for (uint64_t at = 1;; at += 1 + at % 3) {
        struct nori_env *env;
        struct nori_error error;
        struct nori_engine *engine;
        int maybe;
        EXPECT_OK(nori_simdisk_create(at, 512, false, &env, &error), &error);
        nori_simdisk_stop_at(env, at);
        int done = load_twice(env, &engine, &maybe);
        bool is_power_cut = at % 2;
        if (is_power_cut)
            EXPECT_OK(nori_simdisk_crash(env, -1.0, &error), &error);
        else
            nori_simdisk_kill(env);
        nori_destroy(engine);
        expect_step(env, is_power_cut ? done / 2 * 2 : done, maybe ? maybe : done + (done < 5), "stopped at", at);
        nori_simdisk_destroy(env);
        if (done == 5) break;
    }
}

static void fail_each(const char *op, int sys_errno)
{
    for (uint64_t nth = 1;; nth++) {
        struct nori_env *env;
        struct nori_error error;
        struct nori_engine *engine;
        int maybe;
        EXPECT_OK(nori_simdisk_create(nth, 512, false, &env, &error), &error);
        EXPECT_OK(nori_simdisk_fail(env, op, nth, sys_errno, false, &error), &error);
        int done = load_twice(env, &engine, &maybe);
        nori_simdisk_clear_faults(env);
        if (engine) EXPECT_EQ(find_step(engine), done);
        nori_simdisk_kill(env);
        nori_destroy(engine);
        expect_step(env, done, maybe ? maybe : done, op, nth);
        nori_simdisk_destroy(env);
        if (done == 5) break;
    }
}

TEST(a_failed_operation_fails_an_ingest_whole)
{
    fail_each("sync", 5);
    fail_each("create", 28);
}

TEST(a_failed_allocation_fails_an_ingest_whole)
{
    for (uint64_t nth = 1;; nth += 1 + nth / 50) {
        struct nori_env *env;
        struct nori_error error;
        struct nori_engine *engine;
        int maybe;
        EXPECT_OK(nori_simdisk_create(nth, 512, false, &env, &error), &error);
        nr_alloc_fail_at(nth);
        uint64_t before = nr_alloc_count();
        int done = load_twice(env, &engine, &maybe);
        bool is_over = nr_alloc_count() - before < nth;
        nr_alloc_fail_at(0);
        if (engine) {
            EXPECT_EQ(find_step(engine), done);
            EXPECT_OK(nori_close(engine, &error), &error);
        }
        nori_destroy(engine);
        if (engine) expect_step(env, done, done, "allocation", nth);
        nori_simdisk_destroy(env);
        if (is_over) break;
    }
}

/* ---------------------------------------------------------------- threads */

/* Writers, readers and ingests side by side, on a real file system. */
struct crowd {
    struct nori_engine *engine;
    _Atomic bool is_over;
    _Atomic int failures;
    _Atomic long writes;
};

static void *write_on(void *arg)
{
    struct crowd *crowd = arg;
    struct nori_error error;
    char text[16];
    for (int i = 0; !atomic_load(&crowd->is_over); i++) {
        snprintf(text, sizeof text, "%d", i);
        if (put_text(crowd->engine, "writer", text, &error) != NORI_OK) atomic_fetch_add(&crowd->failures, 1);
        atomic_fetch_add(&crowd->writes, 1);
    }
    return NULL;
}

/* Every moment sees one ingest whole: all keys from the same one. */
static void *read_on(void *arg)
{
    struct crowd *crowd = arg;
    struct nori_error error;
    int newest = 0;
    while (!atomic_load(&crowd->is_over)) {
        struct nori_snapshot *snapshot;
        char key[16];
        int round = -1;
        if (nori_snapshot_create(crowd->engine, 0, &snapshot, &error) != NORI_OK) return NULL;
        for (int i = 0; i < 200; i += 13) {
            struct text_value value;
            bool found;
            name_key(i, key);
            if (get_text(crowd->engine, snapshot, key, &value, &found, &error) != NORI_OK)
                atomic_fetch_add(&crowd->failures, 1);
            int seen = found ? atoi(value.text) - i : 0;
            if (round < 0) round = seen;
            if (seen != round || seen < newest) atomic_fetch_add(&crowd->failures, 1);
        }
        newest = round;
        nori_snapshot_destroy(snapshot);
    }
    return NULL;
}

TEST(ingests_stand_beside_writers_and_readers)
{
    char path[64] = "/tmp/nori-ingest-XXXXXX", command[128];
    struct crowd crowd = {0};
    struct nori_error error;
    pthread_t writer, readers[2];
    EXPECT(mkdtemp(path) != NULL);
    EXPECT_OK(open_small(NULL, path, &crowd.engine, &error), &error);
    EXPECT_EQ(pthread_create(&writer, NULL, write_on, &crowd), 0);
    for (int i = 0; i < 2; i++) EXPECT_EQ(pthread_create(&readers[i], NULL, read_on, &crowd), 0);
    for (int round = 1; round <= 20; round++) {
        struct nori_ingest *ingest = begin(crowd.engine, round % 2);
        add_many(ingest, 200, round % 2 ? 1 : 7, 1000 * round);
        commit(ingest, 200);
    }
    atomic_store(&crowd.is_over, true);
    EXPECT_EQ(pthread_join(writer, NULL), 0);
    for (int i = 0; i < 2; i++) EXPECT_EQ(pthread_join(readers[i], NULL), 0);
    EXPECT_EQ(atomic_load(&crowd.failures), 0);
    EXPECT(atomic_load(&crowd.writes) > 0);
    struct text_value value;
    bool found;
    EXPECT_OK(get_text(crowd.engine, NULL, "writer", &value, &found, &error), &error);
    EXPECT_EQ(atoi(value.text), atomic_load(&crowd.writes) - 1);
    expect_sound(crowd.engine);
    EXPECT_OK(nori_close(crowd.engine, &error), &error);
    nori_destroy(crowd.engine);
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    EXPECT_EQ(system(command), 0);
}

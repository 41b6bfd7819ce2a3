/* The script with the n-th operation of the disk failing, and with the n-th allocation failing, for all n. */
#include "script.h"

#include <errno.h>

/* Runs the whole script, going on after failures; reads must agree with the model all along. */
static void run_through(struct nori_env *env, struct model *model, struct nori_engine **engine_out)
{
    struct nori_error error;
    memset(model, 0, sizeof *model);
    model->count = 1;
    *engine_out = NULL;
    nori_status rc = open_small(env, "/db", engine_out, &error);
    if (rc != NORI_OK) rc = open_small(env, "/db", engine_out, &error);
    EXPECT_OK(rc, &error);
    for (int step = 0; step < SCRIPT_STEPS; step++)
        if (script_step(*engine_out, model, step, &error) != NORI_OK && error.outcome == NORI_INDETERMINATE) return;
}

/* Any state from the acknowledged one on; a failed fsync may have left more behind than was acknowledged. */
static void expect_state(struct nori_engine *engine, const struct model *model, int oldest, const char *what,
                         uint64_t nth)
{
    if (model_find(engine, model, oldest) < 0)
        FAIL("%s %" PRIu64 ": no state from %d to %d", what, nth, oldest, model->count - 1);
}

static void fail_nth(const char *op, uint64_t nth, int sys_errno, bool is_short)
{
    struct nori_env *env;
    struct nori_error error;
    struct nori_engine *engine;
    struct model model;
    EXPECT_OK(nori_simdisk_create(nth, 512, false, &env, &error), &error);
    EXPECT_OK(nori_simdisk_fail(env, op, nth, sys_errno, is_short, &error), &error);
    run_through(env, &model, &engine);
    nori_simdisk_clear_faults(env);
    expect_state(engine, &model, model.acknowledged, op, nth);
    nori_status closed = nori_close(engine, &error);
    nori_destroy(engine);
    if (closed != NORI_OK) EXPECT(error.text[0]);
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    expect_state(engine, &model, model.acknowledged, op, nth);
    /* Then the power goes before anything was synced anew. */
    EXPECT_OK(nori_simdisk_crash(env, 0.0, &error), &error);
    nori_destroy(engine);
    if (open_small(env, "/db", &engine, &error) != NORI_OK) FAIL("%s %" PRIu64 ": %s", op, nth, error.text);
    expect_state(engine, &model, model.durable, op, nth);
    expect_sound(engine);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

static void fail_all(const char *op, int sys_errno, bool is_short)
{
    struct nori_env *env;
    struct nori_error error;
    struct nori_engine *engine;
    struct model model;
    EXPECT_OK(nori_simdisk_create(1, 512, false, &env, &error), &error);
    run_through(env, &model, &engine);
    EXPECT_OK(nori_close(engine, &error), &error);
    uint64_t operations = nori_simdisk_operations(env, op);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
    for (uint64_t nth = 1; nth <= operations; nth++) fail_nth(op, nth, sys_errno, is_short);
}

TEST(a_failed_sync_is_never_followed_by_a_false_promise)
{
    fail_all("sync", EIO, false);
    fail_all("log_sync", EIO, false);
    fail_all("dir_sync", EIO, false);
}

TEST(a_full_disk_loses_nothing)
{
    fail_all("write", ENOSPC, true);
    fail_all("create", ENOSPC, false);
    fail_all("log_reserve", ENOSPC, false);
}

TEST(failing_writes_and_names_lose_nothing)
{
    fail_all("write", EIO, true);
    fail_all("write", ENOSPC, true);
    fail_all("rename", EIO, false);
    fail_all("unlink", EIO, false);
    fail_all("mkdir", EIO, false);
    fail_all("list", EIO, false);
}

TEST(failing_reads_are_errors_and_never_absence)
{
    fail_all("read", EIO, false);
    fail_all("open", EMFILE, false);
}

TEST(after_the_log_has_failed_nothing_is_written_and_all_is_read)
{
    static const char *const ops[] = {"log_publish", "log_sync"};
    for (size_t i = 0; i < NR_ARRAY_LEN(ops); i++) {
        struct nori_env *env;
        struct nori_error error;
        struct nori_engine *engine;
        struct nori_write_options synced = {.sync = 1, .ttl_secs = -1};
        nori_slice key = nr_slice_text("b");
        EXPECT_OK(nori_simdisk_create(1, 512, false, &env, &error), &error);
        struct nori_options options = small_options();
        options.wal.mapped = NORI_MAPPED_FALSE; /* A mapped log's publishing cannot fail. */
        struct nori_open_params params = {.options = &options, .env = env};
        EXPECT_OK(nori_open("/db", &params, &engine, &error), &error);
        EXPECT_OK(put_text(engine, "a", "1", &error), &error);
        EXPECT_OK(nori_simdisk_fail(env, ops[i], 1, EIO, false, &error), &error);
        EXPECT_STATUS(nori_put(engine, key, key, &synced, &error), NORI_IO, &error);
        EXPECT_EQ(error.outcome, NORI_INDETERMINATE);
        uint64_t operations = nori_simdisk_operations(env, NULL);
        EXPECT_STATUS(nori_put(engine, key, key, NULL, &error), NORI_POISONED, &error);
        EXPECT_EQ(error.outcome, NORI_NOT_APPLIED);
        EXPECT_EQ(error.sys_errno, EIO);
        EXPECT_STATUS(nori_sync(engine, &error), NORI_POISONED, &error);
        EXPECT_STATUS(nori_flush(engine, &error), NORI_POISONED, &error);
        EXPECT_STATUS(nori_compact(engine, NULL, NULL, NULL, NULL, &error), NORI_POISONED, &error);
        EXPECT_VALUE(engine, NULL, "a", "1");
        EXPECT_EQ(nori_simdisk_operations(env, NULL), operations);
        EXPECT(nori_close(engine, &error) != NORI_OK);
        nori_destroy(engine);
        nori_simdisk_destroy(env);
    }
}

/* What was replayed and what was written since lie in two memtables when the engine closes. False if nothing failed. */
static bool fail_nth_of_close(const char *op, uint64_t nth, int sys_errno)
{
    struct nori_env *env;
    struct nori_error error;
    struct nori_engine *engine;
    EXPECT_OK(nori_simdisk_create(nth, 512, false, &env, &error), &error);
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    EXPECT_OK(put_text(engine, "replayed", "1", &error), &error);
    nori_simdisk_kill(env);
    nori_destroy(engine);
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    EXPECT_OK(nori_simdisk_fail(env, "create", 1, EIO, false, &error), &error); /* The flush of what was replayed. */
    EXPECT_OK(put_text(engine, "since", "2", &error), &error);
    nori_simdisk_clear_faults(env);
    EXPECT_OK(nori_simdisk_fail(env, op, nth, sys_errno, false, &error), &error);
    uint64_t before = nori_simdisk_operations(env, strcmp(op, "any") == 0 ? NULL : op);
    nori_status closed = nori_close(engine, &error);
    nori_destroy(engine);
    bool has_failed = nori_simdisk_operations(env, strcmp(op, "any") == 0 ? NULL : op) - before >= nth;
    nori_simdisk_clear_faults(env);
    if (closed == NORI_OK)
        EXPECT_OK(nori_simdisk_crash(env, 0.0, &error), &error);
    else
        nori_simdisk_kill(env);
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    EXPECT_VALUE(engine, NULL, "replayed", "1");
    EXPECT_VALUE(engine, NULL, "since", "2");
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
    return has_failed;
}

TEST(a_close_in_which_something_fails_loses_nothing)
{
    static const char *const ops[] = {"any", "sync", "dir_sync", "write", "log_sync"};
    for (size_t i = 0; i < NR_ARRAY_LEN(ops); i++) {
        uint64_t nth = 1;
        for (bool goes_on = true; goes_on; nth++) {
            goes_on = fail_nth_of_close(ops[i], nth, EIO);
            goes_on |= fail_nth_of_close(ops[i], nth, ENOSPC);
        }
    }
}

#define WAITING_PUTS 110

/* Puts that fill three memtables, while none can be flushed; then a flush that stops at its 'at'-th operation, and a
 * kill. False if it was not stopped. */
static bool stop_flush_of_many(uint64_t at)
{
    struct nori_env *env;
    struct nori_error error;
    struct nori_engine *engine;
    struct nori_stats stats;
    char key[16], value[1001];
    struct nori_options options = small_options();
    struct nori_open_params params = {.options = &options};
    options.memtable.flush_trigger_bytes = 48 << 10;
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = 0;
    EXPECT_OK(nori_simdisk_create(at, 512, false, &env, &error), &error);
    params.env = env;
    EXPECT_OK(nori_open("/db", &params, &engine, &error), &error);
    for (uint64_t nth = 1; nth <= 300; nth++)
        EXPECT_OK(nori_simdisk_fail(env, "write", nth, EIO, false, &error), &error);
    for (int i = 0; i < WAITING_PUTS; i++) {
        snprintf(key, sizeof key, "key%03d", i);
        EXPECT_OK(put_text(engine, key, value, &error), &error);
    }
    EXPECT_OK(nori_stats(engine, &stats, &error), &error);
    EXPECT(stats.wal_segments >= 2 && stats.immutable_memtables >= 2);
    nori_simdisk_clear_faults(env);
    nori_simdisk_stop_at(env, at);
    nori_status rc = nori_flush(engine, &error);
    bool was_stopped = nori_simdisk_stopped(env);
    if (!was_stopped) EXPECT_OK(rc, &error);
    nori_simdisk_kill(env);
    nori_destroy(engine);
    EXPECT_OK(nori_open("/db", &params, &engine, &error), &error);
    for (int i = 0; i < WAITING_PUTS; i++) {
        snprintf(key, sizeof key, "key%03d", i);
        EXPECT_VALUE(engine, NULL, key, value);
    }
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
    return was_stopped;
}

TEST(a_flush_of_the_oldest_memtable_keeps_the_log_of_the_newer_ones)
{
    for (uint64_t at = 1; stop_flush_of_many(at); at++) {
    }
}

TEST(any_allocation_may_fail)
{
    for (uint64_t nth = 1;; nth++) {
        struct nori_env *env;
        struct nori_error error;
        struct nori_engine *engine = NULL;
        struct model model;
        EXPECT_OK(nori_simdisk_create(nth, 512, false, &env, &error), &error);
        memset(&model, 0, sizeof model);
        model.count = 1;
        nr_alloc_fail_at(nth);
        uint64_t before = nr_alloc_count();
        nori_status rc = open_small(env, "/db", &engine, &error);
        for (int step = 0; rc == NORI_OK && step < SCRIPT_STEPS; step++) {
            nori_status stepped = script_step(engine, &model, step, &error);
            if (stepped != NORI_OK && stepped != NORI_NO_MEMORY) FAIL("allocation %" PRIu64 ": %s", nth, error.text);
            if (stepped != NORI_OK) EXPECT_EQ(error.outcome, NORI_NOT_APPLIED);
        }
        uint64_t used = nr_alloc_count() - before;
        nr_alloc_fail_at(0);
        if (engine) {
            expect_state(engine, &model, model.acknowledged, "allocation", nth);
            expect_sound(engine);
            EXPECT_OK(nori_close(engine, &error), &error);
            nori_destroy(engine);
        }
        EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
        expect_state(engine, &model, model.acknowledged, "allocation", nth);
        EXPECT_OK(nori_close(engine, &error), &error);
        nori_destroy(engine);
        nori_simdisk_destroy(env);
        if (used < nth) break;
    }
}

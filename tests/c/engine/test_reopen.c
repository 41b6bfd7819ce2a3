/* A session after an orderly close goes on in the manifest that it finds, where that is what it would write. */
#include "engine/engine.h"
#include "fixture.h"

#include <errno.h>

static struct nori_error err;

static struct nori_env *make_disk(uint64_t seed)
{
    struct nori_env *env;
    EXPECT_OK(nori_simdisk_create(seed, 512, false, &env, &err), &err);
    return env;
}

static uint64_t manifest_of(const struct nori_engine *engine)
{
    return nr_manifest_number(engine->manifest);
}

/* A database with something in it, closed in order; the number of its manifest is the next session's, or not. */
static struct nori_env *make_closed(uint64_t seed)
{
    struct nori_env *env = make_disk(seed);
    struct nori_engine *engine = open_again(env);
    EXPECT_OK(put_text(engine, "a", "1", &err), &err);
    close_it(engine);
    return env;
}

/* Of the manifest in a session that does nothing else; a sync leaves a mark in its log. */
static uint64_t look(struct nori_env *env)
{
    struct nori_engine *engine = open_again(env);
    uint64_t number = manifest_of(engine);
    EXPECT_VALUE(engine, NULL, "a", "1");
    EXPECT_OK(nori_sync(engine, &err), &err);
    close_it(engine);
    return number;
}

TEST(sessions_that_write_nothing_go_on_in_the_same_manifest)
{
    struct nori_env *env = make_closed(1);
    uint64_t number = look(env), before = nori_simdisk_operations(env, "create");
    for (int i = 0; i < 5; i++) EXPECT_EQ(look(env), number);
    EXPECT_EQ(nori_simdisk_operations(env, "create") - before, 10); /* A segment each, and a spare one. */
    struct nori_engine *engine = open_again(env);
    EXPECT_EQ(manifest_of(engine), number);
    EXPECT_EQ(nr_manifest_bytes_written(engine->manifest), 0);
    EXPECT_OK(put_text(engine, "b", "2", &err), &err);
    EXPECT_OK(nori_flush(engine, &err), &err);
    EXPECT(nr_manifest_bytes_written(engine->manifest) > 0);
    close_it(engine);
    EXPECT(look(env) > number);
    nori_simdisk_destroy(env);
}

TEST(a_power_cut_in_a_session_that_goes_on_loses_nothing_synced)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct nori_env *env = make_closed(seed);
        for (uint64_t i = 0; i < seed % 3; i++) (void)look(env);
        struct nori_engine *engine = open_again(env);
        EXPECT_OK(put_text(engine, "b", "2", &err), &err);
        if (seed % 2) EXPECT_OK(nori_flush(engine, &err), &err);
        EXPECT_OK(put_text(engine, "c", "3", &err), &err);
        EXPECT_OK(nori_sync(engine, &err), &err);
        uint64_t number = manifest_of(engine);
        EXPECT_OK(nori_simdisk_crash(env, seed % 5 ? -1.0 : 0.0, &err), &err);
        nori_destroy(engine);
        engine = open_again(env);
        EXPECT(manifest_of(engine) > number); /* What a crash left is written anew. */
        EXPECT_VALUE(engine, NULL, "a", "1");
        EXPECT_VALUE(engine, NULL, "b", "2");
        EXPECT_VALUE(engine, NULL, "c", "3");
        close_it(engine);
        nori_simdisk_destroy(env);
    }
}

/* Segments of a session that wrote nothing come back where their removal was not durable. */
TEST(an_empty_log_that_comes_back_is_an_empty_log)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct nori_env *env = make_closed(seed);
        uint64_t number = look(env);
        EXPECT_EQ(look(env), number);
        EXPECT_OK(nori_simdisk_crash(env, seed % 2 ? 0.0 : -1.0, &err), &err);
        struct nori_engine *engine = open_again(env);
        EXPECT_VALUE(engine, NULL, "a", "1");
        EXPECT_OK(put_text(engine, "b", "2", &err), &err);
        EXPECT_OK(nori_sync(engine, &err), &err);
        EXPECT_OK(nori_simdisk_crash(env, 0.0, &err), &err);
        nori_destroy(engine);
        engine = open_again(env);
        EXPECT_VALUE(engine, NULL, "b", "2");
        close_it(engine);
        nori_simdisk_destroy(env);
    }
}

TEST(other_options_or_levels_are_written_anew)
{
    struct nori_env *env = make_closed(1);
    uint64_t number = look(env);
    for (int i = 0; i < 2; i++) {
        struct nori_options options = small_options();
        struct nori_open_params params = {.options = &options, .env = env};
        struct nori_engine *engine;
        if (i == 0) options.fanout = 5;
        if (i == 1) options.max_levels = 6;
        EXPECT_OK(nori_open("/db", &params, &engine, &err), &err);
        EXPECT(manifest_of(engine) > number);
        number = manifest_of(engine);
        close_it(engine);
    }
    nori_simdisk_destroy(env);
}

TEST(what_has_seen_time_pass_says_so_at_close)
{
    struct nori_env *env = make_disk(1);
    struct nori_engine *engine = open_again(env);
    struct nori_write_options options = {.sync = -1, .ttl_secs = 100};
    EXPECT_OK(nori_put(engine, nr_slice_text("short"), nr_slice_text("lived"), &options, &err), &err);
    close_it(engine);
    engine = open_again(env);
    uint64_t number = manifest_of(engine);
    nori_simdisk_advance(env, 200000000, 200000);
    EXPECT_ABSENT(engine, NULL, "short");
    close_it(engine);
    nori_simdisk_advance(env, 0, -190000); /* The wall clock is set back. */
    engine = open_again(env);
    EXPECT(manifest_of(engine) > number);
    EXPECT_ABSENT(engine, NULL, "short");
    close_it(engine);
    nori_simdisk_destroy(env);
}

/* A sync of open fails, and what it did not write is taken for written from then on. */
static bool fail_sync_of_open(const char *op, uint64_t nth, int fanout)
{
    struct nori_env *env = make_closed(nth);
    struct nori_options options = small_options();
    struct nori_open_params params = {.options = &options, .env = env};
    struct nori_engine *engine;
    options.fanout = fanout;
    (void)look(env);
    EXPECT_OK(nori_simdisk_fail(env, op, nth, EIO, false, &err), &err);
    uint64_t before = nori_simdisk_operations(env, op);
    nori_status rc = nori_open("/db", &params, &engine, &err);
    bool has_failed = nori_simdisk_operations(env, op) - before >= nth;
    nori_simdisk_clear_faults(env);
    EXPECT(!has_failed || rc != NORI_OK);
    if (rc != NORI_OK) EXPECT_OK(nori_open("/db", &params, &engine, &err), &err);
    EXPECT_OK(put_text(engine, "b", "2", &err), &err);
    EXPECT_OK(nori_flush(engine, &err), &err);
    EXPECT_OK(put_text(engine, "c", "3", &err), &err);
    EXPECT_OK(nori_sync(engine, &err), &err);
    EXPECT_OK(nori_simdisk_crash(env, 0.0, &err), &err);
    nori_destroy(engine);
    engine = open_again(env);
    EXPECT_VALUE(engine, NULL, "a", "1");
    EXPECT_VALUE(engine, NULL, "b", "2");
    EXPECT_VALUE(engine, NULL, "c", "3");
    close_it(engine);
    nori_simdisk_destroy(env);
    return has_failed;
}

TEST(after_a_sync_of_open_has_failed_the_next_one_writes_all_anew)
{
    static const char *const ops[] = {"sync", "dir_sync", "log_sync"};
    for (size_t i = 0; i < NR_ARRAY_LEN(ops); i++)
        for (int fanout = 4; fanout <= 5; fanout++) /* With the options of before, and others. */
            for (uint64_t nth = 1; fail_sync_of_open(ops[i], nth, fanout); nth++) continue;
}

/* Where the file may not be written to, another takes its place, as always before. */
TEST(a_manifest_that_cannot_be_opened_for_writing_is_replaced)
{
    struct nori_env *env = make_closed(1);
    uint64_t number = look(env);
    bool is_replaced = false;
    for (uint64_t nth = 1; nth < 20 && !is_replaced; nth++) {
        struct nori_engine *engine;
        EXPECT_OK(nori_simdisk_fail(env, "open", nth, EACCES, false, &err), &err);
        nori_status rc = open_small(env, "/db", &engine, &err);
        nori_simdisk_clear_faults(env);
        if (rc != NORI_OK) continue;
        is_replaced = manifest_of(engine) > number;
        close_it(engine);
    }
    EXPECT(is_replaced);
    EXPECT(look(env) > number);
    nori_simdisk_destroy(env);
}

/* Cleaning by age: one run becomes two, of which the older one expires soon, and nothing is lost on the way. */
#include "base/alloc.h"
#include "engine/engine.h"
#include "fixture.h"

#define SERIES 20
#define STEPS 40
#define LIFE_MS 500000
#define STEP_MS (LIFE_MS / 50)

static struct nori_error err;

static struct nori_options make_options(void)
{
    struct nori_options options = small_options();
    options.memtable.flush_trigger_bytes = 512 << 10;
    options.memtable.wal_age_trigger_sec = 0;
    options.wal.segment_bytes = 1 << 20;
    options.level1_bytes = 4 << 20;
    options.resources.memtables_mib = 8;
    options.heat_decay_interval_secs = 86400; /* K stays as it is, whatever is read. */
    return options;
}

static nori_status open_it(struct nori_env *env, struct nori_engine **engine_out)
{
    struct nori_options options = make_options();
    struct nori_open_params params = {.options = &options, .env = env};
    return nori_open("/db", &params, engine_out, &err);
}

static void name_point(char key[32], char value[64], int series, int step)
{
    snprintf(key, 32, "series-%02d-%03d", series, step);
    snprintf(value, 64, "the value of step %d of series %d", step, series);
}

/* A point of each series at each step, all in one run of one slot, on a new disk. 'has_other': and a key that does not
 * expire. */
static struct nori_env *build(bool has_other, struct nori_engine **engine_out)
{
    struct nori_env *env;
    struct nori_write_options options = {.sync = 0, .ttl_secs = LIFE_MS / 1000};
    EXPECT_OK(nori_simdisk_create(5, 4096, false, &env, &err), &err);
    EXPECT_OK(open_it(env, engine_out), &err);
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < SERIES; i++) {
            char key[32], value[64];
            name_point(key, value, i, step);
            EXPECT_OK(nori_put(*engine_out, nr_slice_text(key), nr_slice_text(value), &options, &err), &err);
        }
        nori_simdisk_advance(env, (int64_t)STEP_MS * 1000, STEP_MS);
    }
    if (has_other) EXPECT_OK(put_text(*engine_out, "series-07-x", "stays", &err), &err);
    EXPECT_OK(nori_flush(*engine_out, &err), &err);
    EXPECT_OK(nori_compact(*engine_out, NULL, NULL, NULL, NULL, &err), &err);
    return env;
}

static void pass(struct nori_env *env, int steps)
{
    nori_simdisk_advance(env, (int64_t)steps * STEP_MS * 1000, steps * STEP_MS);
}

/* Points are there until they expire: those of step s after LIFE_MS / STEP_MS more. */
static void expect_points(struct nori_engine *engine, int now_step)
{
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < SERIES; i++) {
            char key[32], value[64];
            name_point(key, value, i, step);
            if (step + LIFE_MS / STEP_MS > now_step)
                EXPECT_VALUE(engine, NULL, key, value);
            else
                EXPECT_ABSENT(engine, NULL, key);
        }
    }
}

/* Runs of the only slot with data. */
static size_t count_runs(struct nori_engine *engine, uint64_t *fresh_bytes_out)
{
    struct nr_view *view = nr_view_acquire(engine);
    size_t count = 0;
    for (size_t level = 1; level < view->version->level_count; level++) {
        const struct nr_level *slots = view->version->levels[level];
        for (size_t i = 0; i < slots->slot_count; i++) {
            const struct nr_slot *slot = nr_level_slot(slots, i);
            if (slot->run_count == 0) continue;
            EXPECT_EQ(count, 0);
            count = slot->run_count;
            *fresh_bytes_out = slot->runs[0]->fresh_bytes;
            EXPECT_EQ(slot->bottom_bytes, slot->bytes);
            if (count == 2) EXPECT(slot->runs[0]->smallest_sequence > slot->runs[1]->largest_sequence);
        }
    }
    nr_view_release(view);
    return count;
}

TEST(what_is_cleaned_becomes_two_runs_of_which_the_older_expires_soon)
{
    struct nori_engine *engine;
    struct nori_stats before, after;
    struct nori_env *env = build(false, &engine);
    uint64_t fresh_bytes;
    EXPECT_EQ(count_runs(engine, &fresh_bytes), 1);
    pass(env, 15); /* Six steps have expired. */
    nr_workers_run_inline(engine);
    EXPECT_EQ(count_runs(engine, &fresh_bytes), 2);
    EXPECT(fresh_bytes > 0); /* The newer run is no garbage. */
    expect_points(engine, STEPS + 15);
    EXPECT_OK(nori_stats(engine, &before, &err), &err);
    pass(env, 6);
    nr_workers_run_inline(engine);
    EXPECT_OK(nori_stats(engine, &after, &err), &err);
    uint64_t written = after.compaction_bytes_written - before.compaction_bytes_written;
    EXPECT(written > 0 && written < before.bytes_on_disk / 2); /* Only the older one was written again. */
    expect_points(engine, STEPS + 21);
    expect_sound(engine);
    EXPECT_OK(nori_close(engine, &err), &err);
    nori_destroy(engine);
    EXPECT_OK(open_it(env, &engine), &err);
    expect_points(engine, STEPS + 21);
    EXPECT_OK(nori_close(engine, &err), &err);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

TEST(a_run_with_anything_that_does_not_expire_stays_one)
{
    struct nori_engine *engine;
    struct nori_env *env = build(true, &engine);
    uint64_t fresh_bytes;
    pass(env, 15);
    nr_workers_run_inline(engine);
    EXPECT_EQ(count_runs(engine, &fresh_bytes), 1);
    expect_points(engine, STEPS + 15);
    EXPECT_VALUE(engine, NULL, "series-07-x", "stays");
    EXPECT_OK(nori_close(engine, &err), &err);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

/* Stops the disk 'at' operations into the cleaning. */
static void stop_at(uint64_t at, bool is_power_cut)
{
    struct nori_engine *engine;
    struct nori_env *env = build(false, &engine);
    EXPECT_OK(nori_sync(engine, &err), &err);
    pass(env, 15);
    nori_simdisk_stop_at(env, at);
    nr_workers_run_inline(engine);
    if (is_power_cut)
        EXPECT_OK(nori_simdisk_crash(env, -1.0, &err), &err);
    else
        nori_simdisk_kill(env);
    nori_destroy(engine);
    EXPECT_OK(open_it(env, &engine), &err);
    expect_points(engine, STEPS + 15);
    nr_workers_run_inline(engine);
    expect_points(engine, STEPS + 15);
    expect_sound(engine);
    EXPECT_OK(nori_close(engine, &err), &err);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

TEST(a_cleaning_stopped_at_any_operation_loses_nothing)
{
    struct nori_engine *engine;
    struct nori_env *env = build(false, &engine);
    pass(env, 15);
    uint64_t before = nori_simdisk_operations(env, NULL);
    nr_workers_run_inline(engine);
    uint64_t operations = nori_simdisk_operations(env, NULL) - before;
    EXPECT_OK(nori_close(engine, &err), &err);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
    EXPECT(operations > 10);
    for (uint64_t at = 1; at <= operations + 2; at++) {
        stop_at(at, true);
        stop_at(at, false);
    }
}

TEST(a_cleaning_that_fails_at_any_allocation_is_done_again)
{
    for (uint64_t nth = 1;; nth++) {
        struct nori_engine *engine;
        struct nori_env *env = build(false, &engine);
        uint64_t fresh_bytes;
        pass(env, 15);
        nr_alloc_fail_at(nth);
        uint64_t before = nr_alloc_count();
        nr_workers_run_inline(engine);
        bool is_done = nr_alloc_count() - before < nth;
        nr_alloc_fail_at(0);
        pass(env, 1);
        nr_workers_run_inline(engine);
        EXPECT_EQ(count_runs(engine, &fresh_bytes), 2);
        expect_points(engine, STEPS + 16);
        EXPECT(atomic_load(&engine->file_bytes) < 1 << 20); /* Tables that were not installed do not count. */
        EXPECT_OK(nori_close(engine, &err), &err);
        nori_destroy(engine);
        nori_simdisk_destroy(env);
        if (is_done) break;
    }
}

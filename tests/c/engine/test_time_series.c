/* Time series that expire: keys of a series, then of time, appended to steadily for several lifetimes. */
#include "base/random.h"
#include "engine/engine.h"
#include "fixture.h"

#define SERIES 1000
#define STEP_MS 60000
#define LIFE_STEPS 40
#define LIFE_MS ((uint64_t)LIFE_STEPS * STEP_MS)
#define VALUE_BYTES 60

static struct nori_error err;

struct series {
    struct nori_env *env;
    struct nori_engine *engine;
    bool is_monotone;
    int step;
    uint64_t expires_at_ms; /* 0: a lifetime from when it is written. */
};

static void series_open(struct series *series, enum nori_strategy strategy)
{
    struct nori_options options = small_options();
    struct nori_open_params params = {.options = &options};
    options.strategy = strategy;
    options.memtable.flush_trigger_bytes = 512 << 10;
    options.wal.segment_bytes = 4 << 20;
    options.level1_bytes = 512 << 10;
    options.table_bytes = 64 << 10;
    options.l1_slot_count = 4;
    options.fanout = 10;
    options.max_levels = 4;
    options.resources.memtables_mib = 16;
    options.resources.block_cache_mib = 8;
    options.resources.max_open_files = 400;
    memset(series, 0, sizeof *series);
    EXPECT_OK(nori_simdisk_create(5, 4096, false, &series->env, &err), &err);
    params.env = series->env;
    EXPECT_OK(nori_open("/db", &params, &series->engine, &err), &err);
}

static void series_close(struct series *series)
{
    EXPECT_OK(nori_close(series->engine, &err), &err);
    nori_destroy(series->engine);
    nori_simdisk_destroy(series->env);
}

/* A point of each series, then the time of a step. */
static void append_step(struct series *series)
{
    struct nori_batch *batch;
    struct nr_random random;
    uint64_t sequence, expires_at_ms = series->expires_at_ms;
    char key[40], value[VALUE_BYTES];
    nr_random_init(&random, (uint64_t)series->step + 1);
    if (expires_at_ms == 0) expires_at_ms = nr_engine_now_ms(series->engine) + LIFE_MS;
    EXPECT_OK(nori_batch_create(&batch, &err), &err);
    for (int i = 0; i < SERIES; i++) {
        if (series->is_monotone)
            snprintf(key, sizeof key, "%08d-%04d", series->step, i);
        else
            snprintf(key, sizeof key, "series-%04d-%08d", i, series->step);
        for (size_t j = 0; j < sizeof value; j++) value[j] = (char)('!' + nr_random_below(&random, 90));
        EXPECT_OK(nori_batch_put(batch, nr_slice_text(key), nr_slice(value, sizeof value), expires_at_ms, &err), &err);
    }
    struct nori_write_options options = {.sync = 0, .ttl_secs = -1};
    EXPECT_OK(nori_write(series->engine, batch, &options, &sequence, &err), &err);
    nori_batch_destroy(batch);
    nori_simdisk_advance(series->env, (int64_t)STEP_MS * 1000, STEP_MS);
    nr_workers_run_inline(series->engine);
    series->step++;
}

/* What the tables hold, as they say. */
struct held {
    uint64_t bytes;
    uint64_t late_ms; /* How long ago the first entry of a table expired. */
};

static struct held look(struct series *series)
{
    struct nr_view *view = nr_view_acquire(series->engine);
    struct held held = {.bytes = nr_version_bytes_on_disk(view->version)};
    uint64_t now_ms = nr_engine_now_ms(series->engine);
    for (size_t level = 0; level < view->version->level_count; level++) {
        const struct nr_level *slots = view->version->levels[level];
        for (size_t i = 0; i < slots->slot_count; i++) {
            const struct nr_slot *slot = nr_level_slot(slots, i);
            for (size_t j = 0; j < slot->run_count; j++)
                for (size_t k = 0; k < slot->runs[j]->slice_count; k++) {
                    uint64_t since_ms = slot->runs[j]->slices[k].file->properties.smallest_expiry_ms;
                    held.late_ms = NR_MAX(held.late_ms, now_ms - NR_MIN(now_ms, since_ms));
                }
        }
    }
    nr_view_release(view);
    return held;
}

/* From the second lifetime on, when the size is steady. */
struct measured {
    double write_amp;  /* Of flushes and merges. */
    double most_late;  /* In lifetimes. */
    double most_bytes; /* Of what one lifetime's flushes wrote: the live entries. */
};

static struct measured measure(enum nori_strategy strategy, bool is_monotone)
{
    struct series series;
    struct nori_stats before, after;
    struct held most = {0};
    series_open(&series, strategy);
    series.is_monotone = is_monotone;
    while (series.step < 2 * LIFE_STEPS) append_step(&series);
    EXPECT_OK(nori_stats(series.engine, &before, &err), &err);
    while (series.step < 4 * LIFE_STEPS) {
        append_step(&series);
        struct held held = look(&series);
        most.late_ms = NR_MAX(most.late_ms, held.late_ms);
        most.bytes = NR_MAX(most.bytes, held.bytes);
    }
    EXPECT_OK(nori_stats(series.engine, &after, &err), &err);
    expect_sound(series.engine);
    series_close(&series);
    double flushed = (double)(after.flush_bytes_written - before.flush_bytes_written);
    double merged = (double)(after.compaction_bytes_written - before.compaction_bytes_written);
    double user = (double)(after.user_bytes_written - before.user_bytes_written);
    return (struct measured){(flushed + merged) / user, (double)most.late_ms / (double)LIFE_MS,
                             (double)most.bytes / (flushed / 2)};
}

TEST(a_time_series_that_expires_stays_at_steady_size_for_little_writing)
{
    struct measured adaptive = measure(NORI_STRATEGY_ATLL, false), leveled = measure(NORI_STRATEGY_LEVELED, false);
    EXPECT(adaptive.most_late <= 0.1 && leveled.most_late <= 0.1);
    EXPECT(adaptive.most_bytes <= 1.1 * 1.3);
    EXPECT(adaptive.write_amp <= 0.3 * leveled.write_amp); /* Measured 0.26. */
}

TEST(keys_that_rise_with_time_are_written_once_and_dropped_as_tables)
{
    struct measured measured = measure(NORI_STRATEGY_ATLL, true);
    EXPECT(measured.most_late <= 0.1);
    EXPECT(measured.most_bytes <= 1.1 * 1.3);
    EXPECT(measured.write_amp <= 1.2);
}

TEST(what_expires_goes_though_nothing_is_written)
{
    for (int is_monotone = 0; is_monotone < 2; is_monotone++) {
        struct series series;
        series_open(&series, NORI_STRATEGY_ATLL);
        series.is_monotone = is_monotone;
        while (series.step < LIFE_STEPS / 2) append_step(&series);
        EXPECT_OK(nori_flush(series.engine, &err), &err);
        EXPECT(look(&series).bytes > 0);
        for (int step = 0; step < 2 * LIFE_STEPS; step++) {
            nori_simdisk_advance(series.env, (int64_t)STEP_MS * 1000, STEP_MS);
            nr_workers_run_inline(series.engine);
            EXPECT(look(&series).late_ms <= LIFE_MS / 10);
        }
        EXPECT_EQ(look(&series).bytes, 0);
        series_close(&series);
    }
}

TEST(the_planner_is_woken_when_something_is_due)
{
    struct series series;
    series_open(&series, NORI_STRATEGY_LEVELED);
    append_step(&series);
    EXPECT_OK(nori_flush(series.engine, &err), &err);
    uint64_t round = series.engine->work_round, now_us = nr_env_monotonic_us(series.env);
    nr_expire_maintain(series.engine, now_us + 1);
    nr_expire_maintain(series.engine, now_us + 60000000);
    EXPECT_EQ(series.engine->work_round, round);
    nori_simdisk_advance(series.env, 0, (int64_t)(LIFE_MS + LIFE_MS / 10));
    nr_expire_maintain(series.engine, now_us + 120000000);
    EXPECT_EQ(series.engine->work_round, round + 1);
    series_close(&series);
}

TEST(a_snapshot_keeps_what_it_sees_and_what_it_pins_goes_after_it)
{
    struct series series;
    struct nori_snapshot *snapshot;
    uint64_t count;
    series_open(&series, NORI_STRATEGY_ATLL);
    while (series.step < LIFE_STEPS / 2) append_step(&series);
    EXPECT_OK(nori_flush(series.engine, &err), &err);
    EXPECT_OK(nori_snapshot_create(series.engine, 0, &snapshot, &err), &err);
    nori_simdisk_advance(series.env, (int64_t)LIFE_MS * 2000, (int64_t)LIFE_MS * 2);
    nr_workers_run_inline(series.engine);
    EXPECT_OK(nori_count(series.engine, snapshot, &count, &err), &err);
    EXPECT_EQ(count, (uint64_t)series.step * SERIES);
    nori_snapshot_destroy(snapshot);
    nr_workers_run_inline(series.engine);
    EXPECT_EQ(look(&series).bytes, 0);
    series_close(&series);
}

/* An expiry long past, as of a batch that came too late. */
TEST(entries_that_have_expired_on_arrival_make_no_work_without_end)
{
    struct series series;
    series_open(&series, NORI_STRATEGY_ATLL);
    series.expires_at_ms = 5;
    while (series.step < LIFE_STEPS) append_step(&series);
    struct nori_stats stats;
    EXPECT_OK(nori_stats(series.engine, &stats, &err), &err);
    EXPECT(stats.compaction_bytes_written < 4 * stats.flush_bytes_written);
    series_close(&series);
}

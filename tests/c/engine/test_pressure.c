/* Pressure: what it says from numbers, and what writers then do. */
#include "engine/engine.h"
#include "fixture.h"

#include <pthread.h>

#define MIB (1u << 20)

/* ---------------------------------------------------------------- numbers */

/* Limits: 12 files, 64 MiB of memory, so memtables of 16 MiB of which 48 MiB may wait. */
static struct nori_options plain_options(void)
{
    struct nori_options options;
    nori_options_init(&options);
    options.resources.memtables_mib = 64;
    return options;
}

static struct nr_pressure judge(const struct nori_options *options, const struct nr_pressure_input *input)
{
    struct nr_pressure pressure;
    nr_pressure_judge(options, input, &pressure);
    return pressure;
}

static void expect_above(const struct nr_pressure *now, const struct nr_pressure *before)
{
    EXPECT(now->score > before->score);
    EXPECT(now->zone >= before->zone);
    EXPECT(now->delay_us_per_mib >= before->delay_us_per_mib);
}

TEST(score_zone_and_delay_rise_with_each_dimension)
{
    struct nori_options options = plain_options();
    for (int dimension = 0; dimension < 4; dimension++) {
        struct nr_pressure_input input = {0};
        struct nr_pressure before = judge(&options, &input);
        EXPECT_EQ(before.zone, NORI_ZONE_GREEN);
        EXPECT_EQ(before.delay_us_per_mib, 0);
        for (int i = 1; i <= 20; i++) {
            if (dimension == 0) input.l0_depth++;
            if (dimension == 1) input.memory_bytes += 4 * MIB;
            if (dimension == 2) input.waiting_bytes += 4 * MIB;
            if (dimension == 3) input.waiting_count++;
            struct nr_pressure now = judge(&options, &input);
            expect_above(&now, &before);
            before = now;
        }
        EXPECT_EQ(before.zone, NORI_ZONE_RED);
    }
}

TEST(zones_and_delays_of_a_table)
{
    /* files, MiB in memory, MiB waiting, memtables waiting => zone, delay of a MiB in microseconds */
    static const char table[] = "0 0 0 0 => 0 0\n"
                                "5 31 23 7 => 0 0\n"
                                "6 0 0 0 => 1 0\n"
                                "7 0 0 0 => 1 16666\n"
                                "8 0 0 0 => 1 33333\n"
                                "9 0 0 0 => 2 50000\n"
                                "10 0 0 0 => 2 233305\n"
                                "11 0 0 0 => 3 800000\n"
                                "12 0 0 0 => 3 800000\n"
                                "40 0 0 0 => 3 800000\n"
                                "0 32 0 0 => 1 0\n"
                                "0 40 0 0 => 1 25000\n"
                                "0 48 0 0 => 2 50000\n"
                                "0 56 0 0 => 2 503968\n"
                                "0 58 0 0 => 3 800000\n"
                                "0 0 24 1 => 1 0\n"
                                "0 0 36 1 => 2 50000\n"
                                "0 0 44 1 => 3 800000\n"
                                "0 0 1 8 => 1 0\n"
                                "0 0 1 15 => 3 800000\n"
                                "8 40 0 0 => 1 33333\n";
    struct nori_options options = plain_options();
    for (const char *line = table; *line; line = strchr(line, '\n') + 1) {
        unsigned depth, memory, waiting, count, zone, delay;
        EXPECT_EQ(sscanf(line, "%u %u %u %u => %u %u", &depth, &memory, &waiting, &count, &zone, &delay), 6);
        struct nr_pressure_input input = {.l0_depth = depth,
                                          .memory_bytes = (uint64_t)memory * MIB,
                                          .waiting_bytes = (uint64_t)waiting * MIB,
                                          .waiting_count = count};
        struct nr_pressure got = judge(&options, &input);
        if ((unsigned)got.zone != zone || got.delay_us_per_mib + 1 < delay || got.delay_us_per_mib > delay + 1)
            FAIL("zone %d, delay %" PRIu64 " for %.*s", (int)got.zone, got.delay_us_per_mib,
                 (int)(strchr(line, '\n') - line), line);
    }
}

TEST(weights_above_one_make_the_score_the_worst)
{
    struct nori_options options = plain_options();
    struct nr_pressure_input input = {.l0_depth = 4, .memory_bytes = 20 * MIB};
    EXPECT_EQ(judge(&options, &input).zone, NORI_ZONE_GREEN);
    options.pressure.weights[0] = options.pressure.weights[1] = 1.5;
    EXPECT_EQ(judge(&options, &input).zone, NORI_ZONE_RED);
    EXPECT_EQ(judge(&options, &input).stall, NR_STALL_NONE);
    input.is_compaction_pending = true;
    EXPECT_EQ(judge(&options, &input).stall, NR_STALL_L0);
}

TEST(of_the_delay_of_level_0_and_that_of_the_zone_the_larger_counts)
{
    struct nori_options options = plain_options();
    struct nr_pressure_input input = {.l0_depth = 8};
    options.l0.soft_throttle_base_delay_ms = 10;
    EXPECT_EQ(judge(&options, &input).delay_us_per_mib, 33333);
    options.l0.soft_throttle_base_delay_ms = 20;
    EXPECT_EQ(judge(&options, &input).delay_us_per_mib, 40000);
    options.l0.soft_throttle_threshold = 1; /* In green, too. */
    input.l0_depth = 2;
    EXPECT_EQ(judge(&options, &input).delay_us_per_mib, 20000);
}

TEST(writes_stall_only_for_work_or_at_the_limit_of_level_0)
{
    struct nori_options options = plain_options();
    struct nr_pressure_input files = {.l0_depth = 11};
    EXPECT_EQ(judge(&options, &files).stall, NR_STALL_NONE);
    files.is_compaction_pending = true;
    EXPECT_EQ(judge(&options, &files).stall, NR_STALL_L0);
    files = (struct nr_pressure_input){.l0_depth = 12};
    EXPECT_EQ(judge(&options, &files).stall, NR_STALL_L0);
    /* Job buffers and scans fill memory: no flush helps, until a memtable has grown beside them. */
    struct nr_pressure_input memory = {.memory_bytes = 64 * MIB, .is_compaction_pending = true};
    EXPECT_EQ(judge(&options, &memory).stall, NR_STALL_NONE);
    memory.active_bytes = 7 * MIB;
    EXPECT_EQ(judge(&options, &memory).stall, NR_STALL_NONE);
    memory.active_bytes = 8 * MIB;
    EXPECT_EQ(judge(&options, &memory).stall, NR_STALL_MEMTABLES);
    EXPECT(judge(&options, &memory).wants_rotation);
    memory.waiting_count = 1;
    EXPECT_EQ(judge(&options, &memory).stall, NR_STALL_MEMTABLES);
    EXPECT(!judge(&options, &memory).wants_rotation);
}

TEST(a_memtable_is_full_at_a_quarter_of_memory_at_the_latest)
{
    struct nori_options options = plain_options();
    EXPECT_EQ(nr_pressure_memtable_bytes(&options), 16 * MIB);
    options.resources.memtables_mib = 512;
    EXPECT_EQ(nr_pressure_memtable_bytes(&options), 64 * MIB);
}

/* ---------------------------------------------------------------- writers, without threads */

static struct nori_engine *open_with(struct nori_env *env, const char *path, const struct nori_options *options)
{
    struct nori_engine *engine = NULL;
    struct nori_error error;
    struct nori_open_params params = {.options = options, .env = env};
    EXPECT_OK(nori_open(path, &params, &engine, &error), &error);
    return engine;
}

static struct nori_stats stats_of(struct nori_engine *engine)
{
    struct nori_stats stats;
    struct nori_error error;
    EXPECT_OK(nori_stats(engine, &stats, &error), &error);
    return stats;
}

static void pause_compaction(struct nori_engine *engine, bool is_paused)
{
    nr_mutex_lock(&engine->lock);
    engine->is_compaction_paused = is_paused;
    nr_mutex_unlock(&engine->lock);
    nr_workers_kick(engine);
}

static void add_level0_files(struct nori_engine *engine, int count)
{
    struct nori_error error;
    for (int i = 0; i < count; i++) {
        EXPECT_OK(put_text(engine, "a", "1", &error), &error);
        EXPECT_OK(put_text(engine, "z", "1", &error), &error);
        EXPECT_OK(nori_flush(engine, &error), &error);
    }
}

/* One file in level 0, for which a MiB owes 'ms'. */
static struct nori_engine *open_delayed(struct nori_env *env, const char *path, double ms)
{
    struct nori_options options;
    nori_options_init(&options);
    options.l0.soft_throttle_threshold = 0;
    options.l0.soft_throttle_base_delay_ms = ms;
    struct nori_engine *engine = open_with(env, path, &options);
    add_level0_files(engine, 1);
    EXPECT_EQ(atomic_load(&engine->delay_us_per_mib), (uint64_t)(ms * 1000));
    return engine;
}

static void close_now(struct nori_engine *engine)
{
    struct nori_error error;
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
}

/* What 100 puts have owed in all, in one batch or one by one. */
static uint64_t debt_of_puts(bool is_batch, uint64_t *delayed_out)
{
    struct nori_env *env = NULL;
    struct nori_error error;
    struct nori_batch *batch = NULL;
    char key[16];
    static uint8_t value[2000];
    EXPECT_OK(nori_simdisk_create(1, 512, false, &env, &error), &error);
    struct nori_engine *engine = open_delayed(env, "/db", 100);
    EXPECT_OK(nori_batch_create(&batch, &error), &error);
    for (int i = 0; i < 100; i++) {
        nori_slice v = {value, (size_t)(i * 20)};
        snprintf(key, sizeof key, "%d", i);
        if (is_batch)
            EXPECT_OK(nori_batch_put(batch, nr_slice_text(key), v, 0, &error), &error);
        else
            EXPECT_OK(nori_put(engine, nr_slice_text(key), v, NULL, &error), &error);
    }
    uint64_t sequence;
    if (is_batch) EXPECT_OK(nori_write(engine, batch, NULL, &sequence, &error), &error);
    struct nori_stats stats = stats_of(engine);
    *delayed_out = stats.writes_delayed;
    uint64_t owed = (stats.delay_micros << 20) + atomic_load(&engine->debt);
    EXPECT_EQ(stats.stall_micros, stats.delay_micros);
    nori_batch_destroy(batch);
    close_now(engine);
    nori_simdisk_destroy(env);
    return owed;
}

TEST(a_batch_and_its_single_puts_owe_alike)
{
    uint64_t delayed_batches, delayed_puts;
    uint64_t of_batch = debt_of_puts(true, &delayed_batches), of_puts = debt_of_puts(false, &delayed_puts);
    EXPECT_EQ(of_batch, of_puts);
    EXPECT_EQ(of_puts, (uint64_t)100000 * (99000 + 190));
    EXPECT_EQ(delayed_batches, 1);
    EXPECT(delayed_puts > 5 && delayed_puts < 11); /* Each for a millisecond or a little more. */
}

TEST(a_write_that_may_not_wait_owes_nothing_if_it_is_not_made)
{
    struct nori_env *env = NULL;
    struct nori_error error;
    static uint8_t value[4000];
    struct nori_write_options no_wait = {.sync = -1, .flags = NORI_NO_WAIT, .ttl_secs = -1};
    EXPECT_OK(nori_simdisk_create(1, 512, true, &env, &error), &error);
    struct nori_engine *engine = open_delayed(env, "/db", 1000);
    /* The first write measures pressure, which takes a lock. */
    EXPECT_STATUS(nori_put(engine, nr_slice_text("k"), nr_slice(value, 1), &no_wait, &error), NORI_AGAIN, &error);
    EXPECT_OK(nori_put(engine, nr_slice_text("k"), nr_slice(value, 1), NULL, &error), &error);
    uint64_t debt = atomic_load(&engine->debt);
    EXPECT_STATUS(nori_put(engine, nr_slice_text("k"), nr_slice(value, sizeof value), &no_wait, &error), NORI_AGAIN,
                  &error);
    EXPECT_EQ(atomic_load(&engine->debt), debt);
    nr_mutex_lock(&engine->commit_lock);
    EXPECT_STATUS(nori_put(engine, nr_slice_text("k"), nr_slice(value, 10), &no_wait, &error), NORI_AGAIN, &error);
    nr_mutex_unlock(&engine->commit_lock);
    EXPECT_EQ(atomic_load(&engine->debt), debt);
    nori_status rc = NORI_AGAIN;
    /* A worker may have to be woken first, and to make room in the log. */
    for (int i = 0; i < 1000 && rc == NORI_AGAIN; i++) {
        if (i > 0) nr_env_sleep_us(env, 1000);
        EXPECT_OK(nori_put(engine, nr_slice_text("k"), nr_slice(value, 1), NULL, &error), &error);
        debt = atomic_load(&engine->debt);
        rc = nori_put(engine, nr_slice_text("k"), nr_slice(value, 10), &no_wait, &error);
    }
    EXPECT_OK(rc, &error);
    EXPECT(atomic_load(&engine->debt) > debt);
    close_now(engine);
    nori_simdisk_destroy(env);
}

/* At the limit of level 0: told after the timeout, nothing written; once files are merged, by itself. */
static void stall_and_recover(struct nori_env *env, const char *path)
{
    struct nori_error error;
    struct nori_options options = small_options();
    options.l0.max_files = 3;
    options.l0.soft_throttle_threshold = 2;
    options.pressure.stall_timeout_secs = 0.3;
    struct nori_engine *engine = open_with(env, path, &options);
    pause_compaction(engine, true);
    add_level0_files(engine, 3);
    EXPECT_EQ(stats_of(engine).zone, NORI_ZONE_RED);
    uint64_t sequence = stats_of(engine).sequence;
    error.outcome = NORI_INDETERMINATE;
    EXPECT_STATUS(put_text(engine, "b", "1", &error), NORI_BACKPRESSURE, &error);
    EXPECT_EQ(error.outcome, NORI_NOT_APPLIED);
    EXPECT_EQ(stats_of(engine).sequence, sequence);
    EXPECT_EQ(stats_of(engine).stalls, 1);
    EXPECT(stats_of(engine).stall_micros >= 300000);
    EXPECT_ABSENT(engine, NULL, "b");
    /* Flushes get in all the same. */
    EXPECT_OK(nori_flush(engine, &error), &error);
    pause_compaction(engine, false);
    EXPECT_OK(put_text(engine, "b", "2", &error), &error);
    EXPECT_VALUE(engine, NULL, "b", "2");
    EXPECT(stats_of(engine).zone < NORI_ZONE_RED);
    EXPECT(stats_of(engine).zone_changes >= 2);
    close_now(engine);
}

TEST(a_stall_ends_with_an_error_and_nothing_written_or_by_itself)
{
    struct nori_env *env = NULL;
    struct nori_error error;
    EXPECT_OK(nori_simdisk_create(1, 512, false, &env, &error), &error);
    stall_and_recover(env, "/db");
    nori_simdisk_destroy(env);
}

/* Red by score, but too few files for a merge: writes would wait for ever. */
static void go_on_in_red(struct nori_env *env, const char *path)
{
    struct nori_error error;
    struct nori_options options = small_options();
    options.pressure.zones[0] = 0.05;
    options.pressure.zones[1] = 0.1;
    options.pressure.zones[2] = 0.2;
    options.pressure.stall_timeout_secs = 5;
    struct nori_engine *engine = open_with(env, path, &options);
    add_level0_files(engine, 3);
    for (int i = 0; i < 20; i++) EXPECT_OK(put_text(engine, "b", "2", &error), &error);
    EXPECT_EQ(stats_of(engine).zone, NORI_ZONE_RED);
    EXPECT(stats_of(engine).stalls < 10);
    EXPECT(stats_of(engine).stall_micros < 2000000);
    close_now(engine);
}

TEST(in_red_without_anything_to_wait_for_writes_go_on)
{
    struct nori_env *env = NULL;
    struct nori_error error;
    EXPECT_OK(nori_simdisk_create(1, 512, false, &env, &error), &error);
    go_on_in_red(env, "/db");
    nori_simdisk_destroy(env);
}

/* A batch nearly as large as memory: the next writer has it flushed. */
static void fill_memory_at_once(struct nori_env *env, const char *path)
{
    struct nori_error error;
    struct nori_batch *batch = NULL;
    uint64_t sequence;
    static uint8_t value[900 << 10];
    struct nori_options options;
    nori_options_init(&options);
    options.resources.memtables_mib = 1;
    options.pressure.stall_timeout_secs = 10;
    struct nori_engine *engine = open_with(env, path, &options);
    EXPECT_OK(nori_batch_create(&batch, &error), &error);
    EXPECT_OK(nori_batch_put(batch, nr_slice_text("large"), nr_slice(value, sizeof value), 0, &error), &error);
    EXPECT_OK(nori_write(engine, batch, NULL, &sequence, &error), &error);
    EXPECT_EQ(stats_of(engine).zone, NORI_ZONE_RED);
    EXPECT_EQ(stats_of(engine).immutable_memtables, 0);
    EXPECT_OK(put_text(engine, "small", "1", &error), &error);
    EXPECT_EQ(stats_of(engine).zone, NORI_ZONE_GREEN);
    EXPECT_EQ(stats_of(engine).l0_files, 1);
    EXPECT_EQ(stats_of(engine).stalls, 1);
    EXPECT_VALUE(engine, NULL, "small", "1");
    nori_batch_destroy(batch);
    close_now(engine);
}

TEST(a_memtable_that_alone_fills_memory_is_flushed_by_who_waits)
{
    struct nori_env *env = NULL;
    struct nori_error error;
    EXPECT_OK(nori_simdisk_create(1, 512, false, &env, &error), &error);
    fill_memory_at_once(env, "/db");
    nori_simdisk_destroy(env);
}

TEST(scans_and_jobs_are_counted_as_memory_and_give_it_back)
{
    struct nori_env *env = NULL;
    struct nori_error error;
    struct nori_scan *scan = NULL;
    const struct nori_entry *entries;
    size_t count;
    char key[16];
    static uint8_t value[1000];
    struct nori_scan_params params = {.limit = UINT64_MAX};
    struct nori_options options = small_options();
    options.memtable.flush_trigger_bytes = 1 << 20;
    options.resources.memtables_mib = 64;
    EXPECT_OK(nori_simdisk_create(1, 512, false, &env, &error), &error);
    struct nori_engine *engine = open_with(env, "/db", &options);
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof key, "%05d", i * 7919 % 3000);
        EXPECT_OK(nori_put(engine, nr_slice_text(key), nr_slice(value, sizeof value), NULL, &error), &error);
    }
    EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &error), &error);
    EXPECT_EQ(atomic_load(&engine->job_bytes), 0);
    EXPECT_OK(nori_scan_open(engine, &params, &scan, &error), &error);
    EXPECT_OK(nori_scan_next(scan, 64, SIZE_MAX, &entries, &count, &error), &error);
    EXPECT(atomic_load(&engine->scan_bytes) >= 1000);
    nori_scan_destroy(scan);
    EXPECT_EQ(atomic_load(&engine->scan_bytes), 0);
    close_now(engine);
    nori_simdisk_destroy(env);
}

/* ---------------------------------------------------------------- writers and threads */

struct directory {
    char path[64];
};

static void make_directory(struct directory *directory)
{
    snprintf(directory->path, sizeof directory->path, "/tmp/nori-pressure-XXXXXX");
    EXPECT(mkdtemp(directory->path) != NULL);
}

static void remove_directory(const struct directory *directory)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", directory->path);
    EXPECT_EQ(system(command), 0);
}

TEST(with_threads_stalls_end_the_same_way)
{
    void (*const plays[])(struct nori_env *, const char *) = {stall_and_recover, go_on_in_red, fill_memory_at_once};
    for (size_t i = 0; i < NR_ARRAY_LEN(plays); i++) {
        struct directory directory;
        make_directory(&directory);
        plays[i](NULL, directory.path);
        remove_directory(&directory);
    }
}

struct writer {
    struct nori_engine *engine;
    struct nori_error error;
    nori_status status;
    size_t value_bytes;
    int count;
    int number;
    bool is_interrupted; /* By its hook, at once. */
    uint64_t took_us;
};

static int interrupt_at_once(void *arg)
{
    (void)arg;
    return 1;
}

static void *write_some(void *arg)
{
    struct writer *writer = arg;
    char key[32];
    uint8_t *value = calloc(1, writer->value_bytes);
    uint64_t begun_us = nr_env_monotonic_us(writer->engine->env);
    if (writer->is_interrupted) nori_set_interrupt(interrupt_at_once, NULL);
    for (int i = 0; i < writer->count && writer->status == NORI_OK; i++) {
        snprintf(key, sizeof key, "writer%d:%d", writer->number, i);
        writer->status =
            nori_put(writer->engine, nr_slice_text(key), nr_slice(value, writer->value_bytes), NULL, &writer->error);
    }
    nori_set_interrupt(NULL, NULL);
    writer->took_us = nr_env_monotonic_us(writer->engine->env) - begun_us;
    free(value);
    return NULL;
}

/* A MiB would sleep a minute; or wait as long. */
static struct nori_engine *open_held_up(const char *path, bool is_stall)
{
    if (!is_stall) return open_delayed(NULL, path, 60000);
    struct nori_options options = small_options();
    options.l0.max_files = 2;
    options.l0.soft_throttle_threshold = 1;
    struct nori_engine *engine = open_with(NULL, path, &options);
    pause_compaction(engine, true);
    add_level0_files(engine, 2);
    return engine;
}

TEST(close_during_a_delay_and_during_a_stall_wakes_the_writer)
{
    for (int is_stall = 0; is_stall < 2; is_stall++) {
        struct directory directory;
        struct nori_error error;
        pthread_t thread;
        make_directory(&directory);
        struct writer writer = {.engine = open_held_up(directory.path, is_stall), .value_bytes = MIB, .count = 1};
        EXPECT_EQ(pthread_create(&thread, NULL, write_some, &writer), 0);
        while (stats_of(writer.engine).writes_delayed + stats_of(writer.engine).stalls == 0) nr_thread_yield();
        uint64_t begun_us = nr_env_monotonic_us(writer.engine->env);
        EXPECT_OK(nori_close(writer.engine, &error), &error);
        pthread_join(thread, NULL);
        EXPECT(nr_env_monotonic_us(writer.engine->env) - begun_us < 3000000);
        EXPECT_STATUS(writer.status, NORI_CLOSED, &writer.error);
        EXPECT_EQ(writer.error.outcome, NORI_NOT_APPLIED);
        nori_destroy(writer.engine);
        remove_directory(&directory);
    }
}

TEST(a_signal_during_a_delay_and_during_a_stall_ends_the_write)
{
    for (int is_stall = 0; is_stall < 2; is_stall++) {
        struct directory directory;
        pthread_t thread;
        make_directory(&directory);
        struct writer writer = {
            .engine = open_held_up(directory.path, is_stall), .value_bytes = MIB, .count = 1, .is_interrupted = true};
        EXPECT_EQ(pthread_create(&thread, NULL, write_some, &writer), 0);
        pthread_join(thread, NULL);
        EXPECT_STATUS(writer.status, NORI_INTERRUPTED, &writer.error);
        EXPECT(writer.took_us < 1000000);
        EXPECT_ABSENT(writer.engine, NULL, "writer0:0");
        EXPECT(atomic_load(&writer.engine->debt) < (uint64_t)2000 << 20); /* What was not written is not owed. */
        close_now(writer.engine);
        remove_directory(&directory);
    }
}

TEST(racing_writers_sleep_off_all_they_owe)
{
    enum { WRITERS = 4, PUTS = 50 };
    struct directory directory;
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    char key[32];
    make_directory(&directory);
    struct nori_engine *engine = open_delayed(NULL, directory.path, 1000);
    uint64_t before = atomic_load(&engine->debt);
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.engine = engine, .value_bytes = 500, .count = PUTS, .number = i};
        EXPECT_EQ(pthread_create(&threads[i], NULL, write_some, &writers[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        EXPECT_OK(writers[i].status, &writers[i].error);
    }
    uint64_t bytes = WRITERS * (PUTS * (500 + strlen("writer0:") + 2) - 10);
    EXPECT((stats_of(engine).delay_micros << 20) + atomic_load(&engine->debt) >= before + bytes * 1000000);
    EXPECT_EQ(stats_of(engine).puts, 2 + WRITERS * PUTS);
    for (int i = 0; i < WRITERS * PUTS; i++) {
        struct text_value value;
        struct nori_error error;
        bool found;
        snprintf(key, sizeof key, "writer%d:%d", i / PUTS, i % PUTS);
        EXPECT_OK(get_text(engine, NULL, key, &value, &found, &error), &error);
        EXPECT(found);
    }
    close_now(engine);
    remove_directory(&directory);
}

/* Large merges, installed in parts: what that leaves after a crash, what it does to the disk, and to what is urgent. */
#include "base/alloc.h"
#include "base/random.h"
#include "engine/engine.h"
#include "script.h"

#define KEYS 1500
/* Wide enough that merges ask in each part whether to go on. */
#define PART_BYTES (128 << 10)

static struct nori_error err;

/* Tables of a page, merged in parts of one or a few of them. */
static nori_status open_parts(struct nori_env *env, uint64_t part_bytes, struct nori_engine **engine_out)
{
    struct nori_options options = small_options();
    struct nori_open_params params = {.options = &options, .env = env};
    options.table_bytes = 4096;
    nori_status rc = nori_open("/db", &params, engine_out, &err);
    if (rc == NORI_OK) (*engine_out)->merging.part_bytes = part_bytes;
    return rc;
}

/* ---------------------------------------------------------------- crashes */

static void run_script(struct nori_env *env, uint64_t part_bytes, struct model *model, struct nori_engine **engine_out)
{
    memset(model, 0, sizeof *model);
    model->count = 1;
    *engine_out = NULL;
    if (open_parts(env, part_bytes, engine_out) != NORI_OK) return;
    for (int step = 0; step < SCRIPT_STEPS; step++)
        if (script_step(*engine_out, model, step, &err) != NORI_OK) return;
}

static uint64_t count_operations(uint64_t part_bytes)
{
    struct nori_env *env;
    struct nori_engine *engine;
    struct model model;
    EXPECT_OK(nori_simdisk_create(1, 512, false, &env, &err), &err);
    run_script(env, part_bytes, &model, &engine);
    EXPECT_EQ(model.acknowledged, model.count - 1);
    expect_sound(engine);
    uint64_t operations = nori_simdisk_operations(env, NULL);
    EXPECT_OK(nori_close(engine, &err), &err);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
    return operations;
}

static void stop_at(uint64_t at, bool is_power_cut)
{
    struct nori_env *env;
    struct nori_engine *engine;
    struct model model;
    EXPECT_OK(nori_simdisk_create(at, at % 2 ? 512 : 4096, false, &env, &err), &err);
    nori_simdisk_stop_at(env, at);
    run_script(env, 1, &model, &engine);
    int oldest = is_power_cut ? model.durable : model.acknowledged;
    if (is_power_cut)
        EXPECT_OK(nori_simdisk_crash(env, -1.0, &err), &err);
    else
        nori_simdisk_kill(env);
    nori_destroy(engine);
    EXPECT_OK(open_parts(env, 1, &engine), &err);
    int found = model_find(engine, &model, oldest);
    if (found < 0) {
        model_describe(engine, &model.states[oldest]);
        FAIL("stopped at %" PRIu64 ": no state from %d to %d", at, oldest, model.count - 1);
    }
    expect_sound(engine);
    EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &err), &err);
    EXPECT(model_matches(engine, NULL, &model.states[found]));
    EXPECT_OK(nori_close(engine, &err), &err);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

TEST(a_crash_at_any_operation_of_merges_in_parts_keeps_what_was_promised_and_a_prefix)
{
    uint64_t operations = count_operations(1);
    EXPECT(operations > count_operations(0)); /* There are parts. */
    for (uint64_t at = 1; at <= operations; at++) stop_at(at, at % 2);
}

/* ---------------------------------------------------------------- the disk */

static void put_all(struct nori_engine *engine, int round)
{
    char key[16], value[400];
    struct nr_random random;
    nr_random_init(&random, (uint64_t)round);
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "key-%05d", i * 7919 % KEYS);
        for (size_t j = 0; j + 1 < sizeof value; j++) value[j] = (char)('!' + nr_random_below(&random, 90));
        value[sizeof value - 1] = 0;
        EXPECT_OK(put_text(engine, key, value, &err), &err);
    }
}

/* What merges of the engine under test see when they ask to go on. */
static struct {
    struct nori_engine *engine;
    nori_status (*admit_bytes)(void *arg, uint64_t bytes, struct nori_error *err);
    bool is_measuring;
    uint64_t most_bytes; /* Of tables on the disk, if that is measured. */
    int files_to_add;    /* Of level 0, before the merge goes on. */
    int admits_left;     /* Until it is told that the engine closes. 0: it is not. */
} watch;

static void add_l0_file(struct nori_engine *engine)
{
    bool done;
    uint64_t last;
    EXPECT_OK(put_text(engine, "key-00000", "newer", &err), &err);
    EXPECT_OK(put_text(engine, "key-99999", "newer", &err), &err);
    EXPECT_OK(nr_engine_rotate(engine, &last, &err), &err);
    EXPECT_OK(nr_flush_once(engine, &done, &err), &err);
    EXPECT(done);
}

struct name_list {
    char **names; /* 512 of them. */
    size_t count;
};

static void keep_name(void *arg, const char *name)
{
    struct name_list *list = arg;
    EXPECT(list->count < 512);
    list->names[list->count++] = nr_strdup(name);
}

static void add_table_bytes(uint64_t *bytes, const char *name)
{
    char path[64];
    uint8_t *data;
    size_t size;
    uint64_t number;
    if (nr_name_parse(name, &number) != NR_FILE_TABLE) return;
    snprintf(path, sizeof path, "/db/%s", name);
    EXPECT_OK(nori_simdisk_read_file(watch.engine->env, path, &data, &size, &err), &err);
    nori_free(data);
    *bytes += size;
}

/* Of tables on the disk. */
static uint64_t measure_disk(void)
{
    char *names[512] = {0};
    struct name_list list = {names, 0};
    uint64_t bytes = 0;
    EXPECT_OK(nori_simdisk_list(watch.engine->env, "/db", keep_name, &list, &err), &err);
    for (size_t i = 0; i < list.count; i++) {
        add_table_bytes(&bytes, names[i]);
        nr_free(names[i]);
    }
    return bytes;
}

static nori_status watch_merge(void *arg, uint64_t bytes, struct nori_error *error)
{
    if (watch.is_measuring) watch.most_bytes = NR_MAX(watch.most_bytes, measure_disk());
    for (; watch.files_to_add > 0; watch.files_to_add--) add_l0_file(watch.engine);
    if (watch.admits_left > 0 && --watch.admits_left == 0) return nr_fail_closed(watch.engine, error);
    return watch.admit_bytes(arg, bytes, error);
}

/* An engine with one slot of three runs, all over all keys, the oldest of many tables; they are to become one. */
static struct nori_engine *make_wide_slot(struct nori_env **env_out, uint64_t part_bytes)
{
    struct nori_options options = small_options();
    struct nori_open_params params = {.options = &options};
    struct nori_engine *engine;
    EXPECT_OK(nori_simdisk_create(3, 4096, false, env_out, &err), &err);
    options.table_bytes = 16 << 10;
    options.l1_slot_count = 1;
    options.level1_bytes = 64 << 20;
    options.memtable.flush_trigger_bytes = 4 << 20;
    options.resources.memtables_mib = 64;
    options.strategy = NORI_STRATEGY_TIERED;
    params.env = *env_out;
    EXPECT_OK(nori_open("/db", &params, &engine, &err), &err);
    memset(&watch, 0, sizeof watch);
    watch.engine = engine;
    watch.admit_bytes = engine->merging.admit_bytes;
    engine->merging.admit_bytes = watch_merge;
    engine->merging.part_bytes = part_bytes;
    for (int round = 0; round < 4; round++) {
        put_all(engine, round);
        engine->options.strategy = round == 1 ? NORI_STRATEGY_LEVELED : NORI_STRATEGY_TIERED;
        EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &err), &err);
    }
    size_t count;
    struct nori_slot *slots;
    EXPECT_OK(nori_slots(engine, &slots, &count, &err), &err);
    EXPECT_EQ(slots[0].runs, 3);
    nori_free(slots);
    engine->options.strategy = NORI_STRATEGY_LEVELED; /* From now on one run is wanted. */
    return engine;
}

static size_t count_runs(struct nori_engine *engine)
{
    size_t count, runs = 0;
    struct nori_slot *slots;
    EXPECT_OK(nori_slots(engine, &slots, &count, &err), &err);
    for (size_t i = 0; i < count; i++) runs = NR_MAX(runs, slots[i].runs);
    nori_free(slots);
    return runs;
}

static void close_and_destroy(struct nori_engine *engine, struct nori_env *env)
{
    EXPECT_OK(nori_close(engine, &err), &err);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

/* Bytes of tables, at most, while all is merged into one run; and before. */
static uint64_t measure_peak(uint64_t part_bytes, uint64_t *before_out)
{
    struct nori_env *env;
    struct nori_engine *engine = make_wide_slot(&env, part_bytes);
    *before_out = measure_disk();
    watch.is_measuring = true;
    EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &err), &err);
    EXPECT_EQ(count_runs(engine), 1);
    expect_sound(engine);
    EXPECT(watch.most_bytes > 0);
    close_and_destroy(engine, env);
    return watch.most_bytes;
}

TEST(a_large_merge_frees_the_disk_as_it_goes)
{
    uint64_t before, in_parts = measure_peak(PART_BYTES, &before);
    EXPECT(in_parts <= before + 2 * PART_BYTES);
    EXPECT(measure_peak(0, &before) >= in_parts + 2 * PART_BYTES);
}

TEST(a_merge_that_is_stopped_keeps_the_parts_that_were_done)
{
    struct nori_env *env;
    struct nori_engine *engine = make_wide_slot(&env, PART_BYTES);
    uint64_t before = atomic_load(&engine->compaction_bytes_written);
    bool done;
    watch.admits_left = 4; /* One in a part. */
    EXPECT_STATUS(nr_compact_once(engine, &done, &err), NORI_CLOSED, &err);
    uint64_t kept = atomic_load(&engine->compaction_bytes_written) - before;
    EXPECT(kept > 2 * PART_BYTES);
    expect_sound(engine);
    watch.admits_left = 0;
    before = atomic_load(&engine->compaction_bytes_written);
    EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &err), &err);
    EXPECT_EQ(count_runs(engine), 1);
    /* What was done is taken over as it is. */
    EXPECT(atomic_load(&engine->compaction_bytes_written) - before < KEYS * 430 - kept / 2);
    close_and_destroy(engine, env);
}

TEST(a_long_merge_gives_way_to_a_deep_level_0_and_is_taken_up_again)
{
    struct nori_env *env;
    struct nori_engine *engine = make_wide_slot(&env, PART_BYTES);
    uint64_t merged = atomic_load(&engine->compaction_bytes_written), whole = atomic_load(&engine->file_bytes) / 3;
    bool done;
    watch.files_to_add = (int)engine->options.l0.soft_throttle_threshold + 2;
    EXPECT_OK(nr_compact_once(engine, &done, &err), &err);
    EXPECT(done);
    merged = atomic_load(&engine->compaction_bytes_written) - merged;
    EXPECT(merged > 0 && merged < whole / 2);
    EXPECT_EQ(count_runs(engine), 3);
    expect_sound(engine);
    EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &err), &err);
    EXPECT_EQ(count_runs(engine), 1);
    EXPECT_VALUE(engine, NULL, "key-00000", "newer");
    expect_sound(engine);
    close_and_destroy(engine, env);
}

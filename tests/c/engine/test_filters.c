/* Filters as the engine makes them: bits within the budget, either kind, and reads that stay right. */
#include "fixture.h"

#include "base/coding.h"
#include "engine/engine.h"

#define MANY 20000

static struct nori_error err;

static struct nori_options filter_options(int kind, double bits)
{
    struct nori_options options = small_options();
    options.filters.kind = kind;
    options.filters.bloom_bits_per_key = bits;
    options.memtable.flush_trigger_bytes = 512 << 10;
    options.wal.segment_bytes = 8 << 20;
    options.table_bytes = 64 << 10;
    options.resources.max_open_files = 100;
    return options;
}

static struct nori_engine *open_with(struct nori_env *env, const struct nori_options *options)
{
    struct nori_open_params params = {.options = options, .env = env};
    struct nori_engine *engine;
    EXPECT_OK(nori_open("/db", &params, &engine, &err), &err);
    return engine;
}

static nori_slice key_of(uint32_t number, uint8_t out[8])
{
    nr_put_fixed32(out, number * 2654435761u);
    nr_put_fixed32(out + 4, number);
    return nr_slice(out, 8);
}

static void fill(struct nori_engine *engine, uint32_t count)
{
    uint8_t key[8];
    for (uint32_t i = 0; i < count; i++)
        EXPECT_OK(nori_put(engine, key_of(i, key), nr_slice_text("v"), NULL, &err), &err);
    EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &err), &err);
    EXPECT_OK(nori_flush(engine, &err), &err);
}

static void expect_gets(struct nori_engine *engine, uint32_t count)
{
    struct text_value value;
    uint8_t key[8];
    for (uint32_t i = 0; i < 2 * count; i += 37) {
        bool found;
        EXPECT_OK(nori_get(engine, NULL, key_of(i, key), 0, take_text, &value, &found, &err), &err);
        EXPECT_EQ(found, i < count);
    }
}

static void close_both(struct nori_engine *engine, struct nori_env *env)
{
    EXPECT_OK(nori_close(engine, &err), &err);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

TEST(ribbons_and_blooms_answer_alike_and_ribbons_are_smaller)
{
    size_t filter_bytes[2];
    for (int kind = NORI_FILTER_BLOOM; kind <= NORI_FILTER_RIBBON; kind++) {
        struct nori_options options = filter_options(kind, 10);
        struct nr_table_cache_stats stats;
        options.level1_bytes = 32 << 10; /* So that most lies in level 2. */
        options.max_levels = 3;
        options.memtable.flush_trigger_bytes = 128 << 10;
        struct nori_env *env;
        EXPECT_OK(nori_simdisk_create(1, 4096, false, &env, &err), &err);
        struct nori_engine *engine = open_with(env, &options);
        /* Over and over, or tables of level 0 are moved down as they are. */
        for (int round = 0; round < 4; round++) fill(engine, MANY);
        expect_gets(engine, MANY);
        expect_sound(engine);
        nr_table_cache_stats(engine->tables, &stats);
        filter_bytes[kind] = stats.filter_bytes;
        close_both(engine, env);
    }
    EXPECT(filter_bytes[NORI_FILTER_RIBBON] < filter_bytes[NORI_FILTER_BLOOM] * 9 / 10);
}

TEST(bits_are_as_configured_until_the_budget_binds)
{
    struct nori_options options = filter_options(NORI_FILTER_BLOOM, 10);
    struct nori_env *env;
    EXPECT_OK(nori_simdisk_create(1, 4096, false, &env, &err), &err);
    struct nori_engine *engine = open_with(env, &options);
    fill(engine, 5000);
    for (uint32_t level = 0; level < 6; level++) EXPECT(nr_filters_bits(engine, level) == 10);
    close_both(engine, env);
}

TEST(over_the_budget_tables_get_fewer_bits_and_what_is_kept_fits)
{
    /* As many bits as may be: a budget of 1 MiB binds from some 115,000 keys on. */
    struct nori_options options = filter_options(NORI_FILTER_BLOOM, 64);
    struct nr_table_cache_stats stats;
    struct nori_env *env;
    uint32_t count = 7 * MANY;
    double least = 66, most = 0;

    EXPECT_OK(nori_simdisk_create(1, 4096, false, &env, &err), &err);
    struct nori_engine *engine = open_with(env, &options);
    fill(engine, count);
    for (uint32_t level = 0; level < 4; level++) {
        least = NR_MIN(least, nr_filters_bits(engine, level));
        most = NR_MAX(most, nr_filters_bits(engine, level));
    }
    EXPECT(least < 64 && least > 20 && most <= 66);
    expect_gets(engine, count);
    nr_table_cache_stats(engine->tables, &stats);
    EXPECT(stats.filter_bytes <= 1 << 20);
    close_both(engine, env);
}

static int count_maybes(struct nori_engine *engine)
{
    return atomic_load(&engine->stripes[nr_epoch_stripe_of_thread()].maybes);
}

TEST(gets_take_the_index_first_where_filters_say_maybe_and_the_filter_where_they_say_no)
{
    struct nori_options options = filter_options(NORI_FILTER_BLOOM, 10);
    struct text_value value;
    struct nori_env *env;
    uint8_t key[8];
    bool found;

    EXPECT_OK(nori_simdisk_create(1, 4096, false, &env, &err), &err);
    struct nori_engine *engine = open_with(env, &options);
    fill(engine, 5000);
    EXPECT_EQ(count_maybes(engine), 0);
    for (uint32_t i = 0; i < 100; i++)
        EXPECT_OK(nori_get(engine, NULL, key_of(i, key), 0, take_text, &value, &found, &err), &err);
    EXPECT_EQ(count_maybes(engine), NR_MOST_MAYBES);
    for (uint32_t i = 0; i < 100; i++)
        EXPECT_OK(nori_get(engine, NULL, key_of(5000 + i, key), 0, take_text, &value, &found, &err), &err);
    EXPECT(count_maybes(engine) <= 4);
    close_both(engine, env);
}

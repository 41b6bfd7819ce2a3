/* What the engine's tests share: small engines, keys and values as text, a model of what must be there. */
#ifndef NR_TESTS_ENGINE_FIXTURE_H
#define NR_TESTS_ENGINE_FIXTURE_H

#include "harness.h"
#include "nori.h"

/* Limits small enough that a hundred writes flush, compact and split. */
static inline struct nori_options small_options(void)
{
    struct nori_options options;
    nori_options_init(&options);
    options.memtable.flush_trigger_bytes = 16 << 10;
    options.wal.segment_bytes = 64 << 10;
    options.level1_bytes = 64 << 10;
    options.table_bytes = 16 << 10;
    options.l1_slot_count = 4;
    options.max_levels = 4;
    options.fanout = 4;
    options.resources.block_cache_mib = 1;
    options.resources.index_cache_mib = 1;
    options.resources.filters_mib = 1;
    options.resources.memtables_mib = 1;
    options.resources.max_open_files = 16;
    return options;
}

static inline nori_status open_small(struct nori_env *env, const char *path, struct nori_engine **engine_out,
                                     struct nori_error *err)
{
    struct nori_options options = small_options();
    struct nori_open_params params = {.options = &options, .env = env};
    return nori_open(path, &params, engine_out, err);
}

static inline struct nori_engine *open_again(struct nori_env *env)
{
    struct nori_engine *engine;
    struct nori_error error;
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    return engine;
}

static inline void close_it(struct nori_engine *engine)
{
    struct nori_error error;
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
}

static inline nori_status put_text(struct nori_engine *engine, const char *key, const char *value,
                                   struct nori_error *err)
{
    return nori_put(engine, nr_slice_text(key), nr_slice_text(value), NULL, err);
}

struct text_value {
    char text[4096];
    size_t size;
};

static inline bool take_text(void *arg, nori_slice value)
{
    struct text_value *out = arg;
    out->size = value.size < sizeof out->text - 1 ? value.size : sizeof out->text - 1;
    memcpy(out->text, value.data, out->size);
    out->text[out->size] = 0;
    return true;
}

/* The value of a key, "" with '*found' false where there is none. */
static inline nori_status get_text(struct nori_engine *engine, const struct nori_snapshot *snapshot, const char *key,
                                   struct text_value *value, bool *found, struct nori_error *err)
{
    value->text[0] = 0;
    value->size = 0;
    return nori_get(engine, snapshot, nr_slice_text(key), 0, take_text, value, found, err);
}

#define EXPECT_VALUE(engine, snapshot, key, expected)                                                                  \
    do {                                                                                                               \
        struct text_value got_value;                                                                                   \
        bool got_found;                                                                                                \
        struct nori_error got_error;                                                                                   \
        EXPECT_OK(get_text(engine, snapshot, key, &got_value, &got_found, &got_error), &got_error);                    \
        if (!got_found) FAIL("%s is absent, expected \"%s\"", key, expected);                                          \
        if (strcmp(got_value.text, expected) != 0)                                                                     \
            FAIL("%s is \"%s\", expected \"%s\"", key, got_value.text, expected);                                      \
    } while (0)
#define EXPECT_ABSENT(engine, snapshot, key)                                                                           \
    do {                                                                                                               \
        struct text_value got_value;                                                                                   \
        bool got_found;                                                                                                \
        struct nori_error got_error;                                                                                   \
        EXPECT_OK(get_text(engine, snapshot, key, &got_value, &got_found, &got_error), &got_error);                    \
        if (got_found) FAIL("%s is \"%s\", expected to be absent", key, got_value.text);                               \
    } while (0)

/* Expects verify() to find nothing. */
static inline void expect_sound(struct nori_engine *engine)
{
    struct nori_verify_report report;
    struct nori_error error;
    EXPECT_OK(nori_verify(engine, NULL, NULL, &report, &error), &error);
    char message[512] = "";
    if (report.finding_count > 0) snprintf(message, sizeof message, "%s", report.findings[0].message);
    size_t count = report.finding_count;
    nori_free(report.findings);
    if (count > 0) FAIL("verify finds %zu: %s", count, message);
}

#endif

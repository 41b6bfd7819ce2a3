/* get_many: whatever it does side by side, it answers, counts and fails as single gets do. */
#include "fixture.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/random.h"

#define KEYS 500
#define MOST 300
#define VALUE_BYTES 400

struct answers {
    size_t count;
    struct {
        bool found;
        size_t size;
        char bytes[VALUE_BYTES];
    } of[MOST];
};

static bool take_one(void *arg, size_t position, nori_slice value)
{
    struct answers *answers = arg;
    EXPECT(position < answers->count && !answers->of[position].found && value.size <= VALUE_BYTES);
    answers->of[position].found = true;
    answers->of[position].size = value.size;
    memcpy(answers->of[position].bytes, value.data, value.size);
    return true;
}

static nori_status get_many(struct nori_engine *engine, const struct nori_snapshot *snapshot, const nori_slice *keys,
                            size_t count, unsigned flags, struct answers *answers, struct nori_error *err)
{
    memset(answers, 0, sizeof *answers);
    answers->count = count;
    return nori_get_many(engine, snapshot, keys, count, flags, take_one, answers, err);
}

static bool take_only(void *arg, nori_slice value)
{
    return take_one(arg, 0, value);
}

static void expect_same_as_single(struct nori_engine *engine, const struct nori_snapshot *snapshot,
                                  const nori_slice *keys, const struct answers *answers)
{
    static struct answers single;
    struct nori_error error;
    for (size_t i = 0; i < answers->count; i++) {
        bool found;
        memset(&single, 0, sizeof single);
        single.count = 1;
        EXPECT_OK(nori_get(engine, snapshot, keys[i], 0, take_only, &single, &found, &error), &error);
        EXPECT_EQ(answers->of[i].found, found);
        EXPECT_EQ(answers->of[i].size, single.of[0].size);
        EXPECT(memcmp(answers->of[i].bytes, single.of[0].bytes, single.of[0].size) == 0);
    }
}

/* Every third key is never written. */
static nori_slice draw_key(struct nr_random *random, char text[16])
{
    snprintf(text, 16, "key%05u", (unsigned)nr_random_below(random, KEYS * 3 / 2));
    return nr_slice_text(text);
}

static void write_some(struct nori_engine *engine, struct nr_random *random, unsigned writes)
{
    struct nori_error error;
    char text[16], stop_text[16], bytes[VALUE_BYTES];
    for (unsigned i = 0; i < writes; i++) {
        unsigned number = (unsigned)nr_random_below(random, KEYS), kind = (unsigned)nr_random_below(random, 40);
        struct nori_write_options ttl = {.sync = -1, .ttl_secs = 1 + (double)nr_random_below(random, 100)};
        size_t size = nr_random_below(random, VALUE_BYTES);
        snprintf(text, sizeof text, "key%05u", number + number / 2);
        memset(bytes, (int)nr_random_below(random, 256), size);
        if (kind == 0) {
            snprintf(stop_text, sizeof stop_text, "key%05u", number + number / 2 + 20);
            nori_slice start = nr_slice_text(text), stop = nr_slice_text(stop_text);
            EXPECT_OK(nori_delete_range(engine, &start, &stop, NULL, &error), &error);
        } else if (kind < 5) {
            EXPECT_OK(nori_delete(engine, nr_slice_text(text), NULL, &error), &error);
        } else {
            EXPECT_OK(nori_put(engine, nr_slice_text(text), nr_slice(bytes, size), kind < 10 ? &ttl : NULL, &error),
                      &error);
        }
    }
}

static void open_it(struct nori_env *env, struct nori_engine **engine_out)
{
    struct nori_error error;
    EXPECT_OK(open_small(env, "/db", engine_out, &error), &error);
}

TEST(many_gets_answer_as_single_ones_in_every_state_of_the_tree)
{
    static const size_t counts[] = {0, 1, 2, 31, 32, 33, 100, MOST};
    static struct answers answers;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct nori_env *env;
        struct nori_engine *engine;
        struct nori_snapshot *snapshot = NULL;
        struct nori_error error;
        struct nr_random random;
        char texts[MOST][16];
        nori_slice keys[MOST];
        nr_random_init(&random, seed);
        EXPECT_OK(nori_simdisk_create(seed, 512, false, &env, &error), &error);
        open_it(env, &engine);
        for (unsigned round = 0; round < 24; round++) {
            write_some(engine, &random, 100);
            if (round == 8) EXPECT_OK(nori_snapshot_create(engine, 0, &snapshot, &error), &error);
            if (round == 16) {
                nori_snapshot_destroy(snapshot);
                snapshot = NULL;
                close_it(engine);
                open_it(env, &engine);
            }
            nori_simdisk_advance(env, 0, 3000);
            size_t count = counts[round % NR_ARRAY_LEN(counts)];
            for (size_t i = 0; i < count; i++) keys[i] = draw_key(&random, texts[i]);
            EXPECT_OK(get_many(engine, NULL, keys, count, 0, &answers, &error), &error);
            expect_same_as_single(engine, NULL, keys, &answers);
            if (!snapshot) continue;
            EXPECT_OK(get_many(engine, snapshot, keys, count, 0, &answers, &error), &error);
            expect_same_as_single(engine, snapshot, keys, &answers);
        }
        close_it(engine);
        nori_simdisk_destroy(env);
    }
}

TEST(many_gets_count_what_single_ones_count)
{
    static struct answers answers;
    struct nori_env *env;
    struct nori_engine *engine;
    struct nori_error error;
    struct nori_stats stats[3];
    struct nr_random random;
    char texts[MOST][16];
    nori_slice keys[MOST];
    nr_random_init(&random, 7);
    EXPECT_OK(nori_simdisk_create(7, 512, false, &env, &error), &error);
    open_it(env, &engine);
    write_some(engine, &random, 3000);
    for (size_t i = 0; i < MOST; i++) keys[i] = draw_key(&random, texts[i]);
    EXPECT_OK(get_many(engine, NULL, keys, MOST, 0, &answers, &error), &error);
    EXPECT_OK(nori_stats(engine, &stats[0], &error), &error);
    EXPECT_OK(get_many(engine, NULL, keys, MOST, NORI_NO_WAIT, &answers, &error), &error);
    EXPECT_OK(nori_stats(engine, &stats[1], &error), &error);
    expect_same_as_single(engine, NULL, keys, &answers);
    EXPECT_OK(nori_stats(engine, &stats[2], &error), &error);
#define EXPECT_SAME_GROWTH(member) EXPECT_EQ(stats[1].member - stats[0].member, stats[2].member - stats[1].member)
    EXPECT_SAME_GROWTH(gets);
    EXPECT_SAME_GROWTH(runs_probed);
    EXPECT_SAME_GROWTH(blocks_read);
    EXPECT_SAME_GROWTH(block_cache_hits);
    EXPECT_SAME_GROWTH(block_cache_misses);
    EXPECT_SAME_GROWTH(filter_negatives);
    EXPECT_SAME_GROWTH(filter_false_positives);
    EXPECT_EQ(stats[1].gets - stats[0].gets, MOST);
    EXPECT(stats[1].block_cache_hits > stats[0].block_cache_hits);
    EXPECT(stats[1].filter_negatives > stats[0].filter_negatives);
    close_it(engine);
    nori_simdisk_destroy(env);
}

TEST(a_read_or_an_allocation_that_fails_is_the_calls_error_and_the_next_call_answers)
{
    static struct answers answers;
    struct nori_env *env;
    struct nori_engine *engine;
    struct nori_error error;
    struct nr_random random;
    char texts[MOST][16];
    nori_slice keys[MOST];
    unsigned failed = 0;
    nr_random_init(&random, 9);
    EXPECT_OK(nori_simdisk_create(9, 512, false, &env, &error), &error);
    open_it(env, &engine);
    write_some(engine, &random, 1500);
    for (size_t i = 0; i < MOST; i++) keys[i] = draw_key(&random, texts[i]);
    for (unsigned nth = 1; nth < 40; nth += 1 + nth / 8) {
        for (unsigned kind = 0; kind < 2; kind++) {
            close_it(engine); /* So that nothing is cached. */
            open_it(env, &engine);
            EXPECT_STATUS(get_many(engine, NULL, keys, MOST, NORI_NO_WAIT, &answers, &error), NORI_AGAIN, &error);
            if (kind == 0)
                EXPECT_OK(nori_simdisk_fail(env, "read", nth, EIO, false, &error), &error);
            else
                nr_alloc_fail_at(nth);
            nori_status rc = get_many(engine, NULL, keys, MOST, 0, &answers, &error);
            nori_simdisk_clear_faults(env);
            nr_alloc_fail_at(0);
            failed += rc != NORI_OK;
            if (rc != NORI_OK) EXPECT_STATUS(rc, kind == 0 ? NORI_IO : NORI_NO_MEMORY, &error);
            EXPECT_OK(get_many(engine, NULL, keys, MOST, 0, &answers, &error), &error);
            expect_same_as_single(engine, NULL, keys, &answers);
        }
    }
    EXPECT(failed > 20);
    close_it(engine);
    nori_simdisk_destroy(env);
}

static void keep_table(void *arg, const char *name)
{
    size_t size = strlen(name);
    if (size > 4 && strcmp(name + size - 4, ".sst") == 0) snprintf(arg, 64, "/db/%s", name);
}

TEST(a_damaged_block_fails_the_calls_that_need_it_and_no_other)
{
    static struct answers answers;
    struct nori_env *env;
    struct nori_engine *engine;
    struct nori_error error, single;
    uint8_t *bytes;
    size_t size, damaged = 0;
    char path[64] = "", text[16];
    EXPECT_OK(nori_simdisk_create(11, 512, false, &env, &error), &error);
    open_it(env, &engine);
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(text, sizeof text, "key%05u", i);
        EXPECT_OK(put_text(engine, text, "a value of some bytes, so that there are blocks", &error), &error);
    }
    EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &error), &error);
    close_it(engine);
    EXPECT_OK(nori_simdisk_list(env, "/db", keep_table, path, &error), &error);
    EXPECT_OK(nori_simdisk_read_file(env, path, &bytes, &size, &error), &error);
    bytes[100] ^= 1;
    EXPECT_OK(nori_simdisk_write_file(env, path, nr_slice(bytes, size), &error), &error);
    nori_free(bytes);
    open_it(env, &engine);
    for (unsigned i = 0; i < KEYS; i += 10) {
        char texts[2][16];
        bool found;
        snprintf(texts[0], sizeof texts[0], "key%05u", i);
        snprintf(texts[1], sizeof texts[1], "none%05u", i);
        nori_slice keys[2] = {nr_slice_text(texts[1]), nr_slice_text(texts[0])};
        nori_status rc = get_many(engine, NULL, keys, 2, 0, &answers, &error);
        EXPECT_STATUS(nori_get(engine, NULL, keys[1], 0, NULL, NULL, &found, &single), rc, &single);
        if (rc == NORI_OK) {
            EXPECT(!answers.of[0].found && answers.of[1].found);
            continue;
        }
        EXPECT_STATUS(rc, NORI_CORRUPTION, &error);
        EXPECT(strcmp(error.path, path) == 0 && strcmp(error.text, single.text) == 0);
        damaged++;
    }
    EXPECT(damaged > 0 && damaged < KEYS / 10);
    close_it(engine);
    nori_simdisk_destroy(env);
}

/* Entries that a scan shows where they lie: the same as those it copies, whoever takes how many of them. */
#include "fixture.h"

#include <errno.h>

#include "base/random.h"

#define KEYS 600
#define MOST_AT_ONCE 150

static struct nori_error error;

static void name_key(int i, char key[16])
{
    snprintf(key, 16, "key%04d", i);
}

/* Two in three keys, in tables of several ages and the memtable. */
static struct nori_engine *open_filled(struct nori_env *env)
{
    struct nori_engine *engine;
    char key[16];
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    for (int round = 0; round < 4; round++) {
        for (int i = round; i < KEYS; i += 4) {
            name_key(i, key);
            EXPECT_OK(put_text(engine, key, key, &error), &error);
        }
        if (round < 3) EXPECT_OK(nori_flush(engine, &error), &error);
    }
    for (int i = 2; i < KEYS; i += 3) {
        name_key(i, key);
        EXPECT_OK(nori_delete(engine, nr_slice_text(key), NULL, &error), &error);
    }
    return engine;
}

static bool is_there(int i)
{
    return i % 3 != 2;
}

/* A reader that takes what it likes, and knows which key comes next. */
struct reader {
    struct nr_random random;
    int next, way;
    size_t left; /* Entries that it still takes in this call. */
    uint64_t taken;
};

static void skip_deleted(struct reader *reader)
{
    while (reader->next >= 0 && reader->next < KEYS && !is_there(reader->next)) reader->next += reader->way;
}

static void expect_next(struct reader *reader, const struct nori_entry *entry)
{
    char key[16];
    skip_deleted(reader);
    name_key(reader->next, key);
    EXPECT(nr_slice_equal(entry->key, nr_slice_text(key)));
    EXPECT(nr_slice_equal(entry->value, nr_slice_text(key)));
    reader->next += reader->way;
    reader->taken++;
}

static size_t take_some(void *arg, const struct nori_entry *entries, size_t count)
{
    struct reader *reader = arg;
    size_t taken = NR_MIN(count, reader->left);
    for (size_t i = 0; i < taken; i++) expect_next(reader, &entries[i]);
    reader->left -= taken;
    return taken;
}

static struct nori_scan *open_scan(struct nori_engine *engine, bool reverse, uint64_t limit)
{
    struct nori_scan *scan;
    struct nori_scan_params params = {.reverse = reverse, .limit = limit};
    EXPECT_OK(nori_scan_open(engine, &params, &scan, &error), &error);
    return scan;
}

static struct reader begin(uint64_t seed, bool reverse)
{
    struct reader reader = {.next = reverse ? KEYS - 1 : 0, .way = reverse ? -1 : 1};
    nr_random_init(&reader.random, seed);
    return reader;
}

/* One call, of either kind; false at the end. */
static bool read_some(struct nori_scan *scan, struct reader *reader)
{
    size_t max_count = 1 + nr_random_below(&reader->random, MOST_AT_ONCE), count = 0;
    uint64_t before = reader->taken;
    if (nr_random_below(&reader->random, 4) == 0) {
        const struct nori_entry *entries;
        EXPECT_OK(nori_scan_next(scan, max_count, SIZE_MAX, &entries, &count, &error), &error);
        for (size_t i = 0; i < count; i++) expect_next(reader, &entries[i]);
        return count > 0;
    }
    bool is_willing = nr_random_below(&reader->random, 2);
    reader->left = is_willing ? SIZE_MAX : nr_random_below(&reader->random, max_count + 1);
    EXPECT_OK(nori_scan_show(scan, max_count, take_some, reader, &count, &error), &error);
    EXPECT_EQ(count, reader->taken - before);
    EXPECT(count <= max_count);
    return count > 0 || !is_willing;
}

/* What moves the scan to another view, or elsewhere and back. */
static void disturb(struct nori_engine *engine, struct nori_scan *scan, struct reader *reader)
{
    char key[16];
    uint64_t left, expected = 0;
    switch (nr_random_below(&reader->random, 12)) {
    case 0:
        EXPECT_OK(put_text(engine, "later", "unseen", &error), &error);
        EXPECT_OK(nori_flush(engine, &error), &error);
        break;
    case 1:
        skip_deleted(reader);
        if (reader->next < 0 || reader->next >= KEYS) break;
        name_key(reader->next, key);
        EXPECT_OK(nori_scan_seek(scan, nr_slice_text(key), &error), &error);
        break;
    case 2:
        for (int i = reader->next; i >= 0 && i < KEYS; i += reader->way) expected += is_there(i);
        EXPECT_OK(nori_scan_count(scan, &left, &error), &error);
        EXPECT_EQ(left, expected);
        break;
    default:
        break;
    }
}

TEST(entries_are_shown_as_they_are_read_however_many_are_taken)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct nori_env *env;
        bool reverse = seed % 2;
        EXPECT_OK(nori_simdisk_create(seed, 512, false, &env, &error), &error);
        struct nori_engine *engine = open_filled(env);
        struct nori_scan *scan = open_scan(engine, reverse, UINT64_MAX);
        struct reader reader = begin(seed, reverse);
        while (read_some(scan, &reader)) disturb(engine, scan, &reader);
        EXPECT_EQ(reader.taken, KEYS / 3 * 2);
        nori_scan_destroy(scan);
        EXPECT_OK(nori_close(engine, &error), &error);
        nori_destroy(engine);
        nori_simdisk_destroy(env);
    }
}

TEST(what_was_shown_counts_against_the_limit)
{
    struct nori_env *env;
    size_t count;
    EXPECT_OK(nori_simdisk_create(1, 512, false, &env, &error), &error);
    struct nori_engine *engine = open_filled(env);
    for (int reverse = 0; reverse < 2; reverse++) {
        struct nori_scan *scan = open_scan(engine, reverse, 101);
        struct reader reader = begin(1, reverse);
        reader.left = 70;
        EXPECT_OK(nori_scan_show(scan, 1000, take_some, &reader, &count, &error), &error);
        EXPECT_EQ(count, 70);
        reader.left = SIZE_MAX;
        EXPECT_OK(nori_scan_show(scan, 1000, take_some, &reader, &count, &error), &error);
        EXPECT_EQ(count, 31);
        EXPECT_OK(nori_scan_show(scan, 1000, take_some, &reader, &count, &error), &error);
        EXPECT_EQ(count, 0);
        nori_scan_destroy(scan);
    }
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

/* A scan whose nth read of the disk fails, and what follows; false where there are not so many. */
static bool fail_a_read(uint64_t nth, bool reverse)
{
    struct nori_env *env;
    struct nori_engine *engine;
    size_t count = 1;
    EXPECT_OK(nori_simdisk_create(nth, 512, false, &env, &error), &error);
    engine = open_filled(env);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    EXPECT_OK(nori_simdisk_fail(env, "read", nth, EIO, false, &error), &error);
    struct nori_scan *scan = open_scan(engine, reverse, UINT64_MAX);
    struct reader reader = begin(nth, reverse);
    bool has_failed = false;
    while (count > 0) {
        struct reader before = reader;
        reader.left = SIZE_MAX;
        nori_status rc = nori_scan_show(scan, 100, take_some, &reader, &count, &error);
        if (rc == NORI_OK) continue;
        EXPECT_STATUS(rc, NORI_IO, &error);
        EXPECT(!has_failed);
        EXPECT_EQ(count, 0);
        has_failed = true;
        reader = before; /* All of the call comes once more. */
        count = 1;
    }
    EXPECT_EQ(reader.taken, KEYS / 3 * 2);
    nori_simdisk_clear_faults(env);
    nori_scan_destroy(scan);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
    return has_failed;
}

TEST(what_was_shown_before_a_failure_is_shown_again)
{
    for (int reverse = 0; reverse < 2; reverse++) {
        uint64_t nth = 1;
        while (fail_a_read(nth, reverse)) nth++;
        EXPECT(nth > 5);
    }
}

/* Guards come and go under readers that stay. */
#include "base/random.h"
#include "fixture.h"

#include <unistd.h>

#define OLD_COUNT 1000
#define KEPT_STEP 20

static struct nori_error error;

static struct nori_env *make_disk(uint64_t seed, bool threads)
{
    struct nori_env *env;
    EXPECT_OK(nori_simdisk_create(seed, 512, threads, &env, &error), &error);
    return env;
}

/* One level of one run, so that what is deleted is gone with the next compaction. */
static nori_status open_flat(struct nori_env *env, int guards, struct nori_engine **engine_out)
{
    struct nori_options options = small_options();
    options.max_levels = 2;
    options.strategy = NORI_STRATEGY_LEVELED;
    options.guards = guards;
    struct nori_open_params params = {.options = &options, .env = env};
    return nori_open("/db", &params, engine_out, &error);
}

/* Values that do not compress. */
static void put_random(struct nori_engine *engine, struct nr_random *random, const char *key, char value[601])
{
    for (int i = 0; i < 600; i++) value[i] = (char)('0' + nr_random_below(random, 75));
    value[600] = 0;
    EXPECT_OK(put_text(engine, key, value, &error), &error);
}

static void compact(struct nori_engine *engine)
{
    EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &error), &error);
}

/* Slots of all levels that begin below the key. */
static size_t count_slots(struct nori_engine *engine, const char *key)
{
    struct nori_slot *slots;
    size_t count, found = 0;
    EXPECT_OK(nori_slots(engine, &slots, &count, &error), &error);
    for (size_t i = 0; i < count; i++) found += nr_slice_compare(slots[i].start, nr_slice_text(key)) < 0;
    nori_free(slots);
    return found;
}

/* Old data in many slots, most of it deleted: slots shrink as the deletes are merged. */
static size_t fill_and_empty(struct nori_engine *engine, struct nr_random *random)
{
    char key[32], value[601];
    for (int i = 0; i < OLD_COUNT; i++) {
        snprintf(key, sizeof key, "old%05d", i * 7 % OLD_COUNT);
        put_random(engine, random, key, value);
    }
    compact(engine);
    size_t most = count_slots(engine, "p");
    for (int i = 0; i < OLD_COUNT; i++) {
        snprintf(key, sizeof key, "old%05d", i);
        if (i % KEPT_STEP == 0)
            EXPECT_OK(put_text(engine, key, "kept", &error), &error);
        else
            EXPECT_OK(nori_delete(engine, nr_slice_text(key), NULL, &error), &error);
    }
    return most;
}

static size_t scan_some(struct nori_scan *scan, size_t from, size_t limit)
{
    const struct nori_entry *entries;
    size_t count;
    char key[32];
    EXPECT_OK(nori_scan_next(scan, limit, SIZE_MAX, &entries, &count, &error), &error);
    for (size_t i = 0; i < count; i++) {
        snprintf(key, sizeof key, "old%05zu", (from + i) * KEPT_STEP);
        EXPECT_SLICE(entries[i].key, key);
        EXPECT_SLICE(entries[i].value, "kept");
    }
    return count;
}

static void expect_kept(struct nori_engine *engine, const struct nori_snapshot *snapshot)
{
    char key[32];
    for (int i = 0; i < OLD_COUNT; i += KEPT_STEP / 2) {
        snprintf(key, sizeof key, "old%05d", i);
        if (i % KEPT_STEP == 0)
            EXPECT_VALUE(engine, snapshot, key, "kept");
        else
            EXPECT_ABSENT(engine, snapshot, key);
    }
}

static void run(bool threads, uint64_t seed)
{
    struct nori_env *env = make_disk(seed, threads);
    struct nori_engine *engine;
    struct nori_snapshot *snapshot;
    struct nori_scan *scan;
    struct nr_random random;
    char key[32], value[601];
    nr_random_init(&random, seed);
    EXPECT_OK(open_flat(env, NORI_GUARDS_LEARNED, &engine), &error);
    size_t most = fill_and_empty(engine, &random), seen = 0;
    EXPECT_OK(nori_flush(engine, &error), &error);
    EXPECT(most > 8);
    EXPECT(count_slots(engine, "p") > most / 2);
    EXPECT_OK(nori_snapshot_create(engine, 0, &snapshot, &error), &error);
    struct nori_scan_params params = {.limit = UINT64_MAX};
    EXPECT_OK(nori_scan_open(engine, &params, &scan, &error), &error);
    seen += scan_some(scan, seen, 3);
    compact(engine);
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof key, "p%05d", (int)nr_random_below(&random, 1500));
        put_random(engine, &random, key, value);
        if (i % 200 == 0) seen += scan_some(scan, seen, 1);
        if (i % 500 == 499) expect_kept(engine, snapshot);
    }
    compact(engine);
    for (int i = 0; i < 500 && threads && count_slots(engine, "p") >= most / 4; i++) {
        usleep(20000);
        if (i % 50 != 49) continue;
        put_random(engine, &random, "p00000", value); /* Where there is nothing to do nobody looks. */
        EXPECT_OK(nori_flush(engine, &error), &error);
    }
    EXPECT(count_slots(engine, "p") < most / 4);
    expect_kept(engine, snapshot);
    expect_kept(engine, NULL);
    while (seen < OLD_COUNT / KEPT_STEP) seen += scan_some(scan, seen, OLD_COUNT / KEPT_STEP - seen);
    expect_sound(engine);
    nori_scan_destroy(scan);
    nori_snapshot_destroy(snapshot);
    nori_simdisk_kill(env);
    nori_destroy(engine);
    EXPECT_OK(open_flat(env, NORI_GUARDS_LEARNED, &engine), &error);
    expect_kept(engine, NULL);
    expect_sound(engine);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

TEST(slots_that_shrank_are_joined_while_scans_and_snapshots_go_on)
{
    run(false, 1);
}

TEST(and_so_they_are_by_threads)
{
    run(true, 2);
}

TEST(a_power_cut_while_slots_are_joined_loses_nothing)
{
    size_t fewest = SIZE_MAX, most = 0;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct nori_env *env = make_disk(seed, false);
        struct nori_engine *engine;
        struct nr_random random;
        nr_random_init(&random, seed);
        EXPECT_OK(open_flat(env, NORI_GUARDS_LEARNED, &engine), &error);
        (void)fill_and_empty(engine, &random);
        nori_simdisk_stop_at(env, seed * 150);
        nori_status rc = nori_flush(engine, &error);
        if (rc == NORI_OK) rc = nori_compact(engine, NULL, NULL, NULL, NULL, &error);
        if (rc == NORI_OK) rc = nori_sync(engine, &error); /* Work that is due is done in it. */
        size_t slots = count_slots(engine, "p");
        nori_destroy(engine);
        EXPECT_OK(nori_simdisk_crash(env, -1.0, &error), &error);
        EXPECT_OK(open_flat(env, NORI_GUARDS_LEARNED, &engine), &error);
        if (rc != NORI_OK) most = NR_MAX(most, slots);
        fewest = NR_MIN(fewest, slots);
        expect_kept(engine, NULL);
        expect_sound(engine);
        EXPECT_OK(nori_close(engine, &error), &error);
        nori_destroy(engine);
        nori_simdisk_destroy(env);
    }
    EXPECT(fewest < most);
}

/* Bytes of the slot that covers the key. */
static uint64_t slot_bytes(struct nori_engine *engine, const char *key)
{
    struct nori_slot *slots;
    size_t count;
    uint64_t bytes = 0;
    EXPECT_OK(nori_slots(engine, &slots, &count, &error), &error);
    for (size_t i = 0; i < count; i++)
        if (nr_slice_compare(slots[i].start, nr_slice_text(key)) <= 0) bytes = slots[i].bytes;
    nori_free(slots);
    return bytes;
}

static void read_often(struct nori_engine *engine, const char *key, int times)
{
    bool found = false;
    for (int i = 0; i < times; i++)
        EXPECT_OK(nori_get(engine, NULL, nr_slice_text(key), 0, NULL, NULL, &found, &error), &error);
    EXPECT(found);
}

TEST(a_slot_with_a_hot_key_is_cut_close_to_it)
{
    struct nori_env *env = make_disk(4, false);
    struct nori_engine *engine;
    struct nr_random random;
    char key[32], value[601];
    nr_random_init(&random, 4);
    EXPECT_OK(open_flat(env, NORI_GUARDS_LEARNED, &engine), &error);
    for (int i = 0; i < OLD_COUNT; i++) {
        snprintf(key, sizeof key, "old%05d", i * 7 % OLD_COUNT);
        put_random(engine, &random, key, value);
    }
    compact(engine);
    uint64_t before = slot_bytes(engine, "old00500");
    EXPECT(before >= 8 << 10); /* Half of a share. */
    read_often(engine, "old00500", 80000);
    put_random(engine, &random, "old00000", value);
    EXPECT_OK(nori_flush(engine, &error), &error); /* Where there is nothing to do nobody looks. */
    compact(engine);
    EXPECT(slot_bytes(engine, "old00500") < before / 2);
    expect_sound(engine);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

/* The n-th key: in crowds of fifty, far from each other. */
static void print_crowded(char key[32], int n)
{
    snprintf(key, 32, "old%04d/%06d", n / 50, n % 50);
}

/* How far what a slot says of its entries is from what there is, at worst. Each key was written once. */
static int64_t worst_count(struct nori_engine *engine, int key_count, size_t *slots_out)
{
    struct nori_slot *slots;
    char key[32];
    int64_t worst = 0;
    EXPECT_OK(nori_slots(engine, &slots, slots_out, &error), &error);
    for (size_t i = 0; i < *slots_out; i++) {
        int64_t off = (int64_t)slots[i].entries;
        for (int n = 0; n < key_count; n++) {
            print_crowded(key, n);
            nori_slice slice = nr_slice_text(key);
            bool is_above = slots[i].stop.data && nr_slice_compare(slice, slots[i].stop) >= 0;
            off -= nr_slice_compare(slice, slots[i].start) >= 0 && !is_above;
        }
        worst = NR_MAX(worst, off < 0 ? -off : off);
    }
    nori_free(slots);
    return worst;
}

TEST(slots_that_are_cut_know_what_they_hold)
{
    struct nori_env *env = make_disk(5, false);
    struct nori_engine *engine;
    struct nr_random random;
    char key[32], value[601];
    int64_t worst = 0;
    size_t slots = 0;
    nr_random_init(&random, 5);
    EXPECT_OK(open_flat(env, NORI_GUARDS_LEARNED, &engine), &error);
    for (int i = 0; i < OLD_COUNT; i++) {
        print_crowded(key, i * 7 % OLD_COUNT);
        put_random(engine, &random, key, value);
    }
    compact(engine);
    size_t before = count_slots(engine, "p");
    for (int round = 0; round < 8; round++) {
        /* One hot key after the other: slots are cut, and nothing is rewritten. */
        print_crowded(key, 60 + round * 100);
        read_often(engine, key, 40000);
        snprintf(key, sizeof key, "q%d", round);
        put_random(engine, &random, key, value);
        EXPECT_OK(nori_flush(engine, &error), &error);
        compact(engine);
        worst = NR_MAX(worst, worst_count(engine, OLD_COUNT, &slots));
    }
    EXPECT(slots > before);
    if (worst > 8) FAIL("a slot is %lld entries off", (long long)worst); /* That is a block of them, and the 'q's. */
    expect_sound(engine);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

TEST(uniform_guards_cut_into_equal_steps_and_lose_nothing)
{
    struct nori_env *env = make_disk(3, false);
    struct nori_engine *engine;
    struct nr_random random;
    char key[32], value[601];
    nr_random_init(&random, 3);
    EXPECT_OK(open_flat(env, NORI_GUARDS_UNIFORM, &engine), &error);
    size_t most = fill_and_empty(engine, &random);
    EXPECT(most > 8);
    expect_kept(engine, NULL);
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "p%05d", i);
        put_random(engine, &random, key, value);
    }
    compact(engine);
    EXPECT(count_slots(engine, "p") >= most); /* They never join. */
    expect_kept(engine, NULL);
    expect_sound(engine);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

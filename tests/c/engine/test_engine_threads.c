/* Threads on a real file system: readers while flushes and compactions run, writers against each other, close in
 * flight. */
#include "engine/engine.h"
#include "fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define KEYS 400
#define ROUNDS 30
#define READERS 3

struct directory {
    char path[64];
};

static void make_directory(struct directory *directory)
{
    snprintf(directory->path, sizeof directory->path, "/tmp/nori-threads-XXXXXX");
    EXPECT(mkdtemp(directory->path) != NULL);
}

static void remove_directory(const struct directory *directory)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", directory->path);
    EXPECT_EQ(system(command), 0);
}

/* Round r writes value r to every key in order, so a key's value is never below what was seen of it before, and a scan
 * sees round r up to some key and round r - 1 behind it. */
struct rounds {
    struct nori_engine *engine;
    _Atomic int done; /* Rounds completed: every key is at least this. */
    _Atomic bool is_over;
    _Atomic int failures;
    char message[256];
};

static void fail_round(struct rounds *rounds, const char *what, int expected, int got)
{
    if (atomic_fetch_add(&rounds->failures, 1) == 0)
        snprintf(rounds->message, sizeof rounds->message, "%s: expected %d, got %d", what, expected, got);
}

static void check_gets(struct rounds *rounds, unsigned *random)
{
    char key[32];
    struct text_value value;
    struct nori_error error;
    bool found;
    int least = atomic_load(&rounds->done);
    *random = *random * 1664525u + 1013904223u;
    snprintf(key, sizeof key, "key%04u", (*random >> 8) % KEYS);
    if (get_text(rounds->engine, NULL, key, &value, &found, &error) != NORI_OK)
        fail_round(rounds, error.text, 0, 0);
    else if (!found && least > 0)
        fail_round(rounds, "get finds nothing", least, 0);
    else if (found && atoi(value.text) < least)
        fail_round(rounds, "get is stale", least, atoi(value.text));
}

static void check_scan(struct rounds *rounds)
{
    struct nori_scan_params params = {.limit = UINT64_MAX};
    struct nori_scan *scan = NULL;
    const struct nori_entry *entries;
    struct nori_error error;
    size_t count = 1, total = 0;
    int least = atomic_load(&rounds->done), previous = -1;
    if (nori_scan_open(rounds->engine, &params, &scan, &error) != NORI_OK) {
        fail_round(rounds, error.text, 0, 0);
        return;
    }
    while (count > 0) {
        if (nori_scan_next(scan, 64, SIZE_MAX, &entries, &count, &error) != NORI_OK) {
            fail_round(rounds, error.text, 0, 0);
            break;
        }
        for (size_t i = 0; i < count; i++) {
            int value = atoi((const char *)entries[i].value.data);
            if (value < least) fail_round(rounds, "scan is stale", least, value);
            if (previous >= 0 && (value > previous || value < previous - 1))
                fail_round(rounds, "scan mixes moments", previous, value);
            previous = value;
        }
        total += count;
    }
    if (least > 0 && total != KEYS) fail_round(rounds, "scan loses keys", KEYS, (int)total);
    nori_scan_destroy(scan);
}

/* Heat is folded, and shared out to new slots, while others count. */
static void check_slots(struct rounds *rounds)
{
    struct nori_slot *slots = NULL;
    struct nori_error error;
    size_t count;
    if (nori_slots(rounds->engine, &slots, &count, &error) != NORI_OK) {
        fail_round(rounds, error.text, 0, 0);
        return;
    }
    for (size_t i = 0; i < count; i++)
        if (!(slots[i].heat >= 0 && slots[i].heat <= 1)) fail_round(rounds, "heat of slot", (int)i, (int)slots[i].heat);
    nori_free(slots);
}

static void *read_rounds(void *arg)
{
    struct rounds *rounds = arg;
    unsigned random = (unsigned)(uintptr_t)&random;
    while (!atomic_load(&rounds->is_over)) {
        for (int i = 0; i < 50; i++) check_gets(rounds, &random);
        check_scan(rounds);
        check_slots(rounds);
    }
    return NULL;
}

static void write_rounds(struct rounds *rounds)
{
    char key[32], value[200];
    struct nori_error error;
    memset(value, '.', sizeof value);
    value[sizeof value - 1] = 0;
    for (int round = 1; round <= ROUNDS; round++) {
        for (int i = 0; i < KEYS; i++) {
            snprintf(key, sizeof key, "key%04d", i);
            int size = snprintf(value, sizeof value, "%d", round);
            value[size] = ' ';
            if (put_text(rounds->engine, key, value, &error) != NORI_OK) fail_round(rounds, error.text, 0, 0);
        }
        atomic_store(&rounds->done, round);
        if (round % 10 == 0 && nori_compact(rounds->engine, NULL, NULL, NULL, NULL, &error) != NORI_OK)
            fail_round(rounds, error.text, 0, 0);
    }
}

/* Until K was looked at again, because of the readers alone. */
static void wait_for_hint(const struct rounds *rounds)
{
    uint64_t looked_us = atomic_load(&rounds->engine->shaped_us);
    for (int waits = 0; atomic_load(&rounds->engine->shaped_us) == looked_us; waits++) {
        EXPECT(waits < 6000);
        usleep(10000);
    }
}

static void read_while_writing(double heat_decay_interval_secs, int hints)
{
    struct directory directory;
    struct rounds rounds = {0};
    struct nori_error error;
    pthread_t readers[READERS];
    struct nori_options options = small_options();
    struct nori_open_params params = {.options = &options};
    options.heat_decay_interval_secs = heat_decay_interval_secs;
    make_directory(&directory);
    EXPECT_OK(nori_open(directory.path, &params, &rounds.engine, &error), &error);
    for (int i = 0; i < READERS; i++) EXPECT_EQ(pthread_create(&readers[i], NULL, read_rounds, &rounds), 0);
    write_rounds(&rounds);
    for (int i = 0; i < hints; i++) wait_for_hint(&rounds);
    atomic_store(&rounds.is_over, true);
    for (int i = 0; i < READERS; i++) pthread_join(readers[i], NULL);
    if (atomic_load(&rounds.failures)) FAIL("%d failures, first: %s", atomic_load(&rounds.failures), rounds.message);
    expect_sound(rounds.engine);
    EXPECT_OK(nori_close(rounds.engine, &error), &error);
    nori_destroy(rounds.engine);
    remove_directory(&directory);
}

TEST(readers_are_right_while_tables_are_flushed_and_merged)
{
    read_while_writing(0.01, 0);
}

TEST(readers_that_hint_are_right_while_shapes_follow_them)
{
    read_while_writing(3600, 2);
}

struct popping {
    struct nori_engine *engine;
    _Atomic int *won;
};

static bool keep_nothing(void *arg, nori_slice value)
{
    (void)arg;
    (void)value;
    return true;
}

static void *pop_all(void *arg)
{
    struct popping *popping = arg;
    struct nori_error error;
    char key[32];
    for (int i = 0; i < 1000; i++) {
        bool found = false;
        snprintf(key, sizeof key, "pop%04d", i);
        if (nori_pop(popping->engine, nr_slice_text(key), NULL, keep_nothing, NULL, &found, &error) == NORI_OK && found)
            atomic_fetch_add(&popping->won[i], 1);
    }
    return NULL;
}

TEST(of_eight_threads_popping_a_thousand_keys_one_wins_each)
{
    struct directory directory;
    struct nori_engine *engine;
    struct nori_error error;
    static _Atomic int won[1000];
    pthread_t threads[8];
    char key[32];
    make_directory(&directory);
    EXPECT_OK(open_small(NULL, directory.path, &engine, &error), &error);
    for (int i = 0; i < 1000; i++) {
        atomic_store(&won[i], 0);
        snprintf(key, sizeof key, "pop%04d", i);
        EXPECT_OK(put_text(engine, key, "x", &error), &error);
    }
    struct popping popping = {engine, won};
    for (int i = 0; i < 8; i++) EXPECT_EQ(pthread_create(&threads[i], NULL, pop_all, &popping), 0);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 1000; i++) EXPECT_EQ(atomic_load(&won[i]), 1);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    remove_directory(&directory);
}

#define BATCH_KEYS 64
#define BATCHES 1500

struct batches {
    struct nori_engine *engine;
    _Atomic bool is_over;
    _Atomic int halves, looks;
};

/* All keys have a value of the same batch, in every moment. */
static void *look_for_halves(void *arg)
{
    struct batches *batches = arg;
    struct nori_scan_params params = {.limit = UINT64_MAX};
    while (!atomic_load(&batches->is_over)) {
        struct nori_scan *scan = NULL;
        const struct nori_entry *entries;
        struct nori_error error;
        size_t count = 0;
        if (nori_scan_open(batches->engine, &params, &scan, &error) != NORI_OK ||
            nori_scan_next(scan, BATCH_KEYS, SIZE_MAX, &entries, &count, &error) != NORI_OK)
            atomic_fetch_add(&batches->halves, 1);
        for (size_t i = 1; i < count; i++)
            if (!nr_slice_equal(entries[i].value, entries[0].value)) atomic_fetch_add(&batches->halves, 1);
        if (count != 0 && count != BATCH_KEYS) atomic_fetch_add(&batches->halves, 1);
        nori_scan_destroy(scan);
        atomic_fetch_add(&batches->looks, 1);
    }
    return NULL;
}

TEST(a_batch_is_seen_whole_or_not_at_all)
{
    struct directory directory;
    struct batches batches = {0};
    struct nori_error error;
    struct nori_batch *batch;
    pthread_t threads[2];
    uint64_t sequence;
    char key[32], value[32];
    make_directory(&directory);
    EXPECT_OK(open_small(NULL, directory.path, &batches.engine, &error), &error);
    EXPECT_OK(nori_batch_create(&batch, &error), &error);
    for (int i = 0; i < 2; i++) EXPECT_EQ(pthread_create(&threads[i], NULL, look_for_halves, &batches), 0);
    for (int number = 1; number <= BATCHES; number++) {
        snprintf(value, sizeof value, "%06d", number);
        for (int i = 0; i < BATCH_KEYS; i++) {
            snprintf(key, sizeof key, "key%03d", i);
            EXPECT_OK(nori_batch_put(batch, nr_slice_text(key), nr_slice_text(value), 0, &error), &error);
        }
        EXPECT_OK(nori_write(batches.engine, batch, NULL, &sequence, &error), &error);
        nori_batch_clear(batch);
    }
    atomic_store(&batches.is_over, true);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    EXPECT_EQ(atomic_load(&batches.halves), 0);
    EXPECT(atomic_load(&batches.looks) > 0);
    nori_batch_destroy(batch);
    EXPECT_OK(nori_close(batches.engine, &error), &error);
    nori_destroy(batches.engine);
    remove_directory(&directory);
}

struct closing {
    struct nori_engine *engine;
    int number;
    int written;
};

static void *write_until_closed(void *arg)
{
    struct closing *closing = arg;
    struct nori_error error;
    char key[48];
    struct nori_write_options options = {.sync = closing->number % 2, .ttl_secs = -1};
    for (;;) {
        snprintf(key, sizeof key, "w%d-%06d", closing->number, closing->written);
        nori_status rc = nori_put(closing->engine, nr_slice_text(key), nr_slice_text(key), &options, &error);
        if (rc != NORI_OK) return rc == NORI_CLOSED ? NULL : arg;
        closing->written++;
    }
}

TEST(close_waits_for_writes_in_flight_and_loses_none)
{
    struct directory directory;
    struct nori_engine *engine;
    struct nori_error error;
    pthread_t threads[4];
    struct closing closing[4];
    char key[48];
    make_directory(&directory);
    for (int round = 0; round < 5; round++) {
        EXPECT_OK(open_small(NULL, directory.path, &engine, &error), &error);
        for (int i = 0; i < 4; i++) {
            closing[i] = (struct closing){engine, i + round * 4, 0};
            EXPECT_EQ(pthread_create(&threads[i], NULL, write_until_closed, &closing[i]), 0);
        }
        usleep(30000);
        nori_status closed = nori_close(engine, &error);
        for (int i = 0; i < 4; i++) {
            void *wrong;
            pthread_join(threads[i], &wrong);
            EXPECT(wrong == NULL);
        }
        EXPECT_OK(closed, &error);
        nori_destroy(engine);
        EXPECT_OK(open_small(NULL, directory.path, &engine, &error), &error);
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < closing[i].written; j++) {
                snprintf(key, sizeof key, "w%d-%06d", closing[i].number, j);
                EXPECT_VALUE(engine, NULL, key, key);
            }
        EXPECT_OK(nori_close(engine, &error), &error);
        nori_destroy(engine);
    }
    remove_directory(&directory);
}

struct destroying {
    struct nori_scan *scans[200];
    _Atomic bool may_go;
};

static void *destroy_scans(void *arg)
{
    struct destroying *destroying = arg;
    while (!atomic_load(&destroying->may_go)) continue;
    for (int i = 0; i < 200; i++) nori_scan_destroy(destroying->scans[i]);
    return NULL;
}

TEST(scans_may_be_destroyed_while_the_engine_closes)
{
    struct directory directory;
    struct nori_engine *engine;
    struct nori_error error;
    struct nori_scan_params params = {.limit = UINT64_MAX};
    const struct nori_entry *entries;
    size_t count;
    char key[32];
    make_directory(&directory);
    for (int round = 0; round < 10; round++) {
        struct destroying destroying = {0};
        pthread_t thread;
        EXPECT_OK(open_small(NULL, directory.path, &engine, &error), &error);
        for (int i = 0; i < 300; i++) {
            snprintf(key, sizeof key, "key%04d", i);
            EXPECT_OK(put_text(engine, key, "some value that takes a little room in its memtable", &error), &error);
        }
        for (int i = 0; i < 200; i++) {
            EXPECT_OK(nori_scan_open(engine, &params, &destroying.scans[i], &error), &error);
            EXPECT_OK(nori_scan_next(destroying.scans[i], 3, SIZE_MAX, &entries, &count, &error), &error);
        }
        EXPECT_EQ(pthread_create(&thread, NULL, destroy_scans, &destroying), 0);
        atomic_store(&destroying.may_go, true);
        nori_status closed = nori_close(engine, &error);
        pthread_join(thread, NULL);
        EXPECT_OK(closed, &error);
        nori_destroy(engine);
    }
    remove_directory(&directory);
}

struct lingering {
    struct nori_engine *engine;
    _Atomic bool is_inside, may_leave, is_closed;
    _Atomic int failures;
};

/* Takes the value, and stays until it may leave. */
static bool linger(void *arg, nori_slice value)
{
    struct lingering *lingering = arg;
    if (value.size != 5) atomic_fetch_add(&lingering->failures, 1);
    atomic_store(&lingering->is_inside, true);
    while (!atomic_load(&lingering->may_leave)) usleep(100);
    if (atomic_load(&lingering->is_closed)) atomic_fetch_add(&lingering->failures, 1);
    return true;
}

static void *get_slowly(void *arg)
{
    struct lingering *lingering = arg;
    struct nori_error error;
    bool found;
    nori_status rc = nori_get(lingering->engine, NULL, nr_slice_text("key"), 0, linger, lingering, &found, &error);
    if (rc != NORI_OK || !found) atomic_fetch_add(&lingering->failures, 1);
    return NULL;
}

static void *close_at_once(void *arg)
{
    struct lingering *lingering = arg;
    struct nori_error error;
    if (nori_close(lingering->engine, &error) != NORI_OK) atomic_fetch_add(&lingering->failures, 1);
    atomic_store(&lingering->is_closed, true);
    return NULL;
}

TEST(close_waits_for_the_calls_that_are_inside)
{
    struct directory directory;
    struct nori_error error;
    struct lingering lingering = {0};
    pthread_t reader, closer;
    make_directory(&directory);
    EXPECT_OK(open_small(NULL, directory.path, &lingering.engine, &error), &error);
    EXPECT_OK(put_text(lingering.engine, "key", "value", &error), &error);
    EXPECT_EQ(pthread_create(&reader, NULL, get_slowly, &lingering), 0);
    while (!atomic_load(&lingering.is_inside)) usleep(100);
    EXPECT_EQ(pthread_create(&closer, NULL, close_at_once, &lingering), 0);
    /* New calls are turned away from when it begins; it must not end. */
    while (put_text(lingering.engine, "other", "value", &error) == NORI_OK) usleep(100);
    usleep(200000);
    EXPECT(!atomic_load(&lingering.is_closed));
    atomic_store(&lingering.may_leave, true);
    pthread_join(reader, NULL);
    pthread_join(closer, NULL);
    EXPECT(atomic_load(&lingering.is_closed));
    EXPECT_EQ(atomic_load(&lingering.failures), 0);
    nori_destroy(lingering.engine);
    remove_directory(&directory);
}

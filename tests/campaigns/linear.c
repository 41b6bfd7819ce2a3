/* Records a history: linear folder seed threads rounds calls mapped|written. Many threads call get, put, delete, pop,
 * setdefault, batches and snapshots on a few keys, while one flushes and merges under them; each call is written to
 * standard output with the moments before and after it (struct call), for linear.py to judge. Between rounds all
 * threads wait for each other. A snapshot that does not answer twice alike ends the program. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/random.h"
#include "base/slice.h"

#define KEYS 6
#define VALUE_BYTES 180
#define MAX_THREADS 256

enum kind { GET, PUT, DELETE, POP, SETDEFAULT }; /* As in linearizability.py. */

struct call {
    uint32_t key;
    uint32_t kind;
    uint64_t began_ns;
    uint64_t ended_ns;
    uint64_t argument; /* Values are numbers, told apart; 0: none. */
    uint64_t result;
};

struct thread {
    pthread_t handle;
    unsigned number;
    struct nr_random random;
    struct call *calls;
    size_t count, capacity;
    uint64_t next_value;
};

static struct nori_engine *engine;
static pthread_barrier_t barrier;
static unsigned thread_count, round_count, call_count;
static _Atomic bool is_over;

static void fail(const char *what, const struct nori_error *err)
{
    fprintf(stderr, "%s: %s\n", what, err ? err->text : "");
    exit(3);
}

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static nori_slice key_of(uint32_t key, char out[16])
{
    return nr_slice(out, (size_t)snprintf(out, 16, "key-%u", key));
}

static nori_slice value_of(uint64_t number, uint8_t out[VALUE_BYTES])
{
    memset(out, (int)(number % 251), VALUE_BYTES);
    memcpy(out, &number, sizeof number);
    return nr_slice(out, VALUE_BYTES);
}

static bool take_number(void *arg, nori_slice value)
{
    uint8_t expected[VALUE_BYTES];
    memcpy(arg, value.data, sizeof(uint64_t));
    value_of(*(uint64_t *)arg, expected);
    if (!nr_slice_equal(value, nr_slice(expected, sizeof expected))) fail("a value that nobody wrote", NULL);
    return true;
}

static void note(struct thread *thread, struct call call)
{
    if (thread->count == thread->capacity) {
        thread->capacity = thread->capacity ? 2 * thread->capacity : 1024;
        thread->calls = realloc(thread->calls, thread->capacity * sizeof *thread->calls);
        if (!thread->calls) fail("out of memory", NULL);
    }
    thread->calls[thread->count++] = call;
}

static void read_snapshot(struct thread *thread)
{
    struct nori_snapshot *snapshot;
    struct nori_error err;
    char text[16];
    struct call call = {.kind = GET, .began_ns = now_ns()};
    if (nori_snapshot_create(engine, 0, &snapshot, &err) != NORI_OK) fail("snapshot", &err);
    call.ended_ns = now_ns();
    uint64_t seen[2][KEYS] = {{0}};
    for (int time = 0; time < 2; time++) {
        for (uint32_t key = 0; key < KEYS; key++) {
            bool found;
            if (nori_get(engine, snapshot, key_of(key, text), 0, take_number, &seen[time][key], &found, &err) !=
                NORI_OK)
                fail("get of a snapshot", &err);
            if (!found) seen[time][key] = 0;
        }
    }
    if (memcmp(seen[0], seen[1], sizeof seen[0]) != 0) fail("a snapshot moved", NULL);
    nori_snapshot_destroy(snapshot);
    for (call.key = 0; call.key < KEYS; call.key++) {
        call.result = seen[0][call.key];
        note(thread, call);
    }
}

/* A put of two keys at once, and maybe a delete of a third. */
static void write_batch(struct thread *thread, struct nori_write_options *options)
{
    struct nori_batch *batch;
    struct nori_error err;
    uint64_t sequence;
    uint8_t value[VALUE_BYTES];
    char text[16];
    uint32_t first = (uint32_t)nr_random_below(&thread->random, KEYS);
    struct call calls[3];

    if (nori_batch_create(&batch, &err) != NORI_OK) fail("batch", &err);
    for (uint32_t i = 0; i < 3; i++) {
        nori_status rc;
        calls[i] = (struct call){.key = (first + i) % KEYS, .kind = i < 2 ? PUT : DELETE};
        if (i < 2) calls[i].argument = ++thread->next_value;
        nori_slice key = key_of(calls[i].key, text);
        rc = i < 2 ? nori_batch_put(batch, key, value_of(calls[i].argument, value), 0, &err)
                   : nori_batch_delete(batch, key, &err);
        if (rc != NORI_OK) fail("batch", &err);
    }
    uint64_t began_ns = now_ns();
    if (nori_write(engine, batch, options, &sequence, &err) != NORI_OK) fail("write", &err);
    uint64_t ended_ns = now_ns();
    for (int i = 0; i < 3; i++) {
        calls[i].began_ns = began_ns;
        calls[i].ended_ns = ended_ns;
        note(thread, calls[i]);
    }
    nori_batch_destroy(batch);
}

/* Asks first without waiting, as the binding does, half of the time. */
static nori_status call_engine(struct call *call, nori_slice key, struct nori_write_options *options, bool *found,
                               struct nori_error *err)
{
    uint8_t value[VALUE_BYTES];
    switch ((enum kind)call->kind) {
    case GET:
        return nori_get(engine, NULL, key, options->flags, take_number, &call->result, found, err);
    case PUT:
        return nori_put(engine, key, value_of(call->argument, value), options, err);
    case DELETE:
        return nori_delete(engine, key, options, err);
    case POP:
        return nori_pop(engine, key, options, take_number, &call->result, found, err);
    case SETDEFAULT:
        return nori_set_default(engine, key, value_of(call->argument, value), options, take_number, &call->result,
                                found, err);
    }
    return NORI_INVALID;
}

static void call_once(struct thread *thread)
{
    struct nori_write_options options = {.sync = nr_random_below(&thread->random, 400) == 0, .ttl_secs = -1};
    struct nori_error err;
    char text[16];
    bool found = true;
    uint64_t chosen = nr_random_below(&thread->random, 100);

    if (chosen < 4) {
        read_snapshot(thread);
        return;
    }
    if (chosen < 12) {
        write_batch(thread, &options);
        return;
    }
    struct call call = {.key = (uint32_t)nr_random_below(&thread->random, KEYS)};
    call.kind = chosen < 45 ? GET : chosen < 65 ? PUT : chosen < 72 ? DELETE : chosen < 86 ? POP : SETDEFAULT;
    if (call.kind == PUT || call.kind == SETDEFAULT) call.argument = ++thread->next_value;
    if (nr_random_below(&thread->random, 2)) options.flags = NORI_NO_WAIT;
    nori_slice key = key_of(call.key, text);
    call.began_ns = now_ns();
    nori_status rc = call_engine(&call, key, &options, &found, &err);
    if (rc == NORI_AGAIN) {
        options.flags = 0;
        call.result = 0;
        rc = call_engine(&call, key, &options, &found, &err);
    }
    call.ended_ns = now_ns();
    if (rc != NORI_OK) fail("a call", &err);
    if (!found) call.result = 0;
    note(thread, call);
}

static void *run(void *arg)
{
    struct thread *thread = arg;
    for (unsigned round = 0; round < round_count; round++) {
        pthread_barrier_wait(&barrier);
        for (unsigned i = 0; i < call_count; i++) call_once(thread);
    }
    return NULL;
}

static void *disturb(void *arg)
{
    struct nori_error err;
    struct timespec pause = {.tv_nsec = 2000000};
    for (unsigned i = 0; !atomic_load(&is_over); i++) {
        if (nori_flush(engine, &err) != NORI_OK) fail("flush", &err);
        if (i % 8 == 7 && nori_compact(engine, NULL, NULL, NULL, NULL, &err) != NORI_OK) fail("compact", &err);
        nanosleep(&pause, NULL);
    }
    return arg;
}

static void open_engine(const char *folder, const char *log)
{
    static const struct nori_override small[] = {{"memtable.flush_trigger_bytes", "32768"},
                                                 {"wal.segment_bytes", "65536"},
                                                 {"level1_bytes", "65536"},
                                                 {"table_bytes", "16384"},
                                                 {"resources.block_cache_mib", "1"}};
    struct nori_override overrides[NR_ARRAY_LEN(small) + 1];
    struct nori_open_params params = {.overrides = overrides, .override_count = NR_ARRAY_LEN(overrides)};
    struct nori_error err;
    memcpy(overrides, small, sizeof small);
    overrides[NR_ARRAY_LEN(small)] =
        (struct nori_override){"wal.mapped", strcmp(log, "mapped") == 0 ? "true" : "false"};
    if (nori_open(folder, &params, &engine, &err) != NORI_OK) fail("open", &err);
}

int main(int argc, char **argv)
{
    static struct thread threads[MAX_THREADS];
    pthread_t disturber;
    struct nori_error err;

    if (argc != 7 || (thread_count = (unsigned)atoi(argv[3])) > MAX_THREADS) {
        fprintf(stderr, "usage: %s folder seed threads rounds calls mapped|written\n", argv[0]);
        return 2;
    }
    round_count = (unsigned)atoi(argv[4]);
    call_count = (unsigned)atoi(argv[5]);
    open_engine(argv[1], argv[6]);
    pthread_barrier_init(&barrier, NULL, thread_count);
    if (pthread_create(&disturber, NULL, disturb, NULL) != 0) fail("no thread", NULL);
    for (unsigned i = 0; i < thread_count; i++) {
        threads[i].number = i;
        threads[i].next_value = (uint64_t)(i + 1) << 32;
        nr_random_init(&threads[i].random, strtoull(argv[2], NULL, 10) * MAX_THREADS + i);
        if (pthread_create(&threads[i].handle, NULL, run, &threads[i]) != 0) fail("no thread", NULL);
    }
    for (unsigned i = 0; i < thread_count; i++) {
        pthread_join(threads[i].handle, NULL);
        fwrite(threads[i].calls, sizeof *threads[i].calls, threads[i].count, stdout);
        free(threads[i].calls);
    }
    atomic_store(&is_over, true);
    pthread_join(disturber, NULL);
    if (nori_close(engine, &err) != NORI_OK) fail("close", &err);
    nori_destroy(engine);
    return 0;
}

/* Calls with NORI_NO_WAIT, made while others hold the engine's locks: they answer, or say NORI_AGAIN. Debug builds
 * assert that they lock nothing; here they would hang. */
#include "fixture.h"

#include "engine/engine.h"

#include <pthread.h>
#include <unistd.h>

#define KEYS 3000
#define ROUNDS 4000

static const struct nori_write_options no_wait = {.sync = 0, .ttl_secs = -1.0, .flags = NORI_NO_WAIT};

static struct nori_engine *open_filled(char *path)
{
    struct nori_engine *engine = NULL;
    struct nori_error error;
    char key[32];
    EXPECT(mkdtemp(path) != NULL);
    struct nori_options options = small_options();
    options.wal.durability = NORI_DURABILITY_OS;
    struct nori_open_params params = {.options = &options};
    EXPECT_OK(nori_open(path, &params, &engine, &error), &error);
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "key%05d", i);
        EXPECT_OK(put_text(engine, key, key, &error), &error);
    }
    EXPECT_OK(nori_flush(engine, &error), &error);
    return engine;
}

static void close_and_remove(struct nori_engine *engine, const char *path)
{
    struct nori_error error;
    char command[128];
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    EXPECT_EQ(system(command), 0);
}

enum call { PUT, DELETE, DELETE_RANGE, POP, SET_DEFAULT, WRITE, GET, GET_MANY, SNAPSHOT, CALL_COUNT };

static bool ignore_value(void *arg, nori_slice value)
{
    return !arg && value.size > 0;
}

static bool ignore_values(void *arg, size_t position, nori_slice value)
{
    return !arg && position < 3 && value.size > 0;
}

static nori_status write_one(struct nori_engine *engine, nori_slice key, struct nori_error *err)
{
    struct nori_batch *batch = NULL;
    uint64_t sequence;
    nori_status rc = nori_batch_create(&batch, err);
    if (rc == NORI_OK) rc = nori_batch_put(batch, key, key, 0, err);
    if (rc == NORI_OK) rc = nori_batch_delete_range(batch, &key, &key, err);
    if (rc == NORI_OK) rc = nori_write(engine, batch, &no_wait, &sequence, err);
    nori_batch_destroy(batch);
    return rc;
}

static nori_status take_snapshot(struct nori_engine *engine, struct nori_error *err)
{
    struct nori_snapshot *snapshot = NULL;
    nori_status rc = nori_snapshot_create(engine, NORI_NO_WAIT, &snapshot, err);
    nori_snapshot_destroy(snapshot); /* May wait: bindings give up their lock for it. */
    return rc;
}

/* 'nth' chooses the key; values stand in memtables and in tables alike. */
static nori_status make(struct nori_engine *engine, enum call call, unsigned nth, struct nori_error *err)
{
    char text[32], last[32];
    bool found;
    snprintf(text, sizeof text, "key%05u", nth % KEYS);
    snprintf(last, sizeof last, "key%05u", nth % KEYS + 3);
    nori_slice key = nr_slice_text(text), stop = nr_slice_text(last);
    const nori_slice keys[3] = {key, stop, nr_slice_text("key")};
    switch (call) {
    case PUT:
        return nori_put(engine, key, key, &no_wait, err);
    case DELETE:
        return nori_delete(engine, key, &no_wait, err);
    case DELETE_RANGE:
        return nori_delete_range(engine, &key, &stop, &no_wait, err);
    case POP:
        return nori_pop(engine, key, &no_wait, ignore_value, NULL, &found, err);
    case SET_DEFAULT:
        return nori_set_default(engine, key, key, &no_wait, ignore_value, NULL, &found, err);
    case WRITE:
        return write_one(engine, key, err);
    case GET:
        return nori_get(engine, NULL, key, NORI_NO_WAIT, ignore_value, NULL, &found, err);
    case GET_MANY:
        return nori_get_many(engine, NULL, keys, 3, NORI_NO_WAIT, ignore_values, NULL, err);
    default:
        return take_snapshot(engine, err);
    }
}

static void *make_many(void *arg)
{
    struct nori_engine *engine = arg;
    struct nori_error error;
    unsigned random = 7;
    uintptr_t done = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        random = random * 1664525u + 1013904223u;
        enum call call = (random >> 8) % CALL_COUNT;
        nori_status rc = make(engine, call, random >> 12, &error);
        if (rc == NORI_OK)
            done++;
        else if (rc != NORI_AGAIN)
            return NULL;
        /* What it would have waited for, done by somebody who may: tables opened, the log prepared, workers woken. */
        if (rc == NORI_AGAIN &&
            nori_put(engine, nr_slice_text("other"), nr_slice_text("value"), NULL, &error) != NORI_OK)
            return NULL;
    }
    return (void *)done;
}

TEST(calls_that_may_not_wait_lock_nothing)
{
    char path[] = "/tmp/nori-no-wait-XXXXXX";
    struct nori_engine *engine = open_filled(path);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) EXPECT_EQ(pthread_create(&threads[i], NULL, make_many, engine), 0);
    for (int i = 0; i < 3; i++) {
        void *done = NULL;
        EXPECT_EQ(pthread_join(threads[i], &done), 0);
        EXPECT((uintptr_t)done > ROUNDS / 20); /* It is not that they all give up. */
    }
    expect_sound(engine);
    close_and_remove(engine, path);
}

struct patience {
    int waits;
    int waits_before_value;
    size_t value_size;
};

static void begin_to_wait(void *arg)
{
    ((struct patience *)arg)->waits++;
}

static bool take_size(void *arg, nori_slice value)
{
    struct patience *patience = arg;
    patience->waits_before_value = patience->waits;
    patience->value_size = value.size;
    return true;
}

static struct patience get_patiently(struct nori_engine *engine, const char *text, bool is_there)
{
    struct nori_error error;
    struct patience patience = {0};
    bool found;
    EXPECT_OK(nori_get_patient(engine, NULL, nr_slice_text(text), begin_to_wait, take_size, &patience, &found, &error),
              &error);
    EXPECT_EQ(found, is_there);
    return patience;
}

/* What the system says of its memory. */
static enum { NOT_IN_MEMORY, IN_MEMORY, OTHER_BYTES } memory;
static struct nr_env_ops memory_ops;
static struct nori_env memory_env;

static bool read_now(struct nr_file *file, uint64_t offset, uint8_t *data, size_t size)
{
    struct nori_error error;
    size_t got = 0;
    if (memory == NOT_IN_MEMORY) return false;
    EXPECT_OK(memory_ops.file_read_at(file, offset, data, size, &got, &error), &error);
    if (memory == OTHER_BYTES) data[size / 2] ^= 1;
    return got == size;
}

/* With no block in the cache, and no merge to come. */
static struct nori_engine *open_merged(char *path)
{
    struct nori_engine *engine = open_filled(path);
    struct nori_error error;
    EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &error), &error);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    memory_ops = *nori_env_default()->ops;
    memory_ops.file_read_now = read_now;
    memory_env = *nori_env_default();
    memory_env.ops = &memory_ops;
    memory = NOT_IN_MEMORY;
    EXPECT_OK(open_small(&memory_env, path, &engine, &error), &error);
    EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &error), &error);
    return engine;
}

TEST(a_patient_get_says_once_that_it_is_about_to_wait_and_goes_on)
{
    char path[] = "/tmp/nori-no-wait-XXXXXX";
    struct nori_engine *engine = open_merged(path);
    struct nori_error error;
    struct nori_stats before, after;

    EXPECT_OK(nori_stats(engine, &before, &error), &error);
    struct patience first = get_patiently(engine, "key00042", true); /* The table is to be opened. */
    EXPECT_EQ(first.waits, 1);
    EXPECT_EQ(first.waits_before_value, 1);
    EXPECT_EQ(first.value_size, 8);
    struct patience again = get_patiently(engine, "key00042", true);
    EXPECT_EQ(again.waits, 0);
    EXPECT_EQ(again.value_size, 8);
    EXPECT_EQ(get_patiently(engine, "kez", false).value_size, 0);
    EXPECT_OK(nori_stats(engine, &after, &error), &error);
    EXPECT_EQ(after.gets - before.gets, 3);
    EXPECT_EQ(after.blocks_read - before.blocks_read, 1);
    close_and_remove(engine, path);
}

TEST(a_patient_get_does_not_wait_for_what_the_system_has_in_memory)
{
    char path[] = "/tmp/nori-no-wait-XXXXXX";
    struct nori_engine *engine = open_merged(path);
    struct nori_error error;
    struct nori_stats before, after;

    /* Tables are opened for it, and filters say no. */
    static const char *const absent[] = {"key01000x", "key02000x", "key02900x"};
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++) (void)get_patiently(engine, absent[i], false);
    EXPECT_OK(nori_stats(engine, &before, &error), &error);
    memory = IN_MEMORY;
    struct patience found = get_patiently(engine, "key01000", true);
    EXPECT_EQ(found.waits, 0);
    EXPECT_EQ(found.value_size, 8);
    memory = NOT_IN_MEMORY;
    EXPECT_EQ(get_patiently(engine, "key01000", true).waits, 0); /* It is in the cache now. */
    found = get_patiently(engine, "key02000", true);
    EXPECT_EQ(found.waits, 1);
    EXPECT_EQ(found.value_size, 8);
    memory = OTHER_BYTES; /* Whatever comes of it, what is on the disk counts. */
    found = get_patiently(engine, "key02900", true);
    EXPECT_EQ(found.waits, 1);
    EXPECT_EQ(found.value_size, 8);
    EXPECT_OK(nori_stats(engine, &after, &error), &error);
    EXPECT_EQ(after.blocks_read - before.blocks_read, 3);
    EXPECT_EQ(after.block_cache_misses - before.block_cache_misses, 3);
    close_and_remove(engine, path);
}

struct attempt {
    struct nori_engine *engine;
    enum call call;
    nori_status rc;
};

static void *attempt(void *arg)
{
    struct attempt *self = arg;
    struct nori_error error;
    self->rc = make(self->engine, self->call, 17, &error);
    return NULL;
}

/* Each call while this thread has the lock. A call that waits for it hangs; the harness's alarm says so. */
static void expect_answers(struct nori_engine *engine, struct nr_mutex *lock)
{
    for (enum call call = 0; call < CALL_COUNT; call++) {
        struct attempt self = {engine, call, NORI_INVALID};
        pthread_t thread;
        if (call == SNAPSHOT && lock == &engine->pin_lock) continue; /* It answers, but to let it go may wait. */
        nr_mutex_lock(lock);
        EXPECT_EQ(pthread_create(&thread, NULL, attempt, &self), 0);
        EXPECT_EQ(pthread_join(thread, NULL), 0);
        nr_mutex_unlock(lock);
        EXPECT(self.rc == NORI_OK || self.rc == NORI_AGAIN);
    }
}

TEST(calls_that_may_not_wait_answer_while_any_lock_is_held)
{
    char path[] = "/tmp/nori-no-wait-XXXXXX";
    struct nori_engine *engine = open_filled(path);
    struct nr_mutex *locks[] = {&engine->lock,       &engine->commit_lock,      &engine->view_lock,
                                &engine->close_lock, &engine->maintenance_lock, &engine->obsolete_lock,
                                &engine->epoch.lock, &engine->events.lock,      &engine->decisions.lock};
    for (size_t i = 0; i < sizeof locks / sizeof locks[0]; i++) expect_answers(engine, locks[i]);
    nr_mutex_lock(&engine->pin_lock);
    struct attempt self = {engine, SNAPSHOT, NORI_OK};
    attempt(&self);
    nr_mutex_unlock(&engine->pin_lock);
    EXPECT_EQ(self.rc, NORI_AGAIN);
    expect_answers(engine, &engine->pin_lock);
    close_and_remove(engine, path);
}

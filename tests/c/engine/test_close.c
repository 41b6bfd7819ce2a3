/* close() and the calls inside. A call is held in the middle of its own read or sync, in an environment of the test's,
 * until close() has asked its hook on the way, as it does while it waits; nothing may end before the call has left. */
#include "fixture.h"

#include "engine/engine.h"
#include "io/env.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

static struct nori_error err;

/* ---------------------------------------------------------------- the environment */

static struct nr_env_ops holding_ops;
static struct nori_env holding_env;
static _Thread_local bool is_caller, is_closer;
static _Atomic bool is_held, may_leave;
static _Atomic int ended_count; /* What close() ended under the call. */

static void hold(void)
{
    if (!is_caller) return;
    is_caller = false; /* Once. */
    atomic_store(&is_held, true);
    while (!atomic_load(&may_leave)) usleep(500);
    atomic_store(&is_held, false);
}

/* A close that does not wait lets the call go, so that it fails here and does not hang. */
static void note_end(void)
{
    if (!is_closer || !atomic_load(&is_held)) return;
    atomic_fetch_add(&ended_count, 1);
    atomic_store(&may_leave, true);
}

static nori_status sync_log_held(struct nr_log *log, struct nori_error *error)
{
    hold();
    return nori_env_default()->ops->log_sync(log, error);
}

static nori_status read_held(struct nr_file *file, uint64_t offset, uint8_t *data, size_t size, size_t *got_out,
                             struct nori_error *error)
{
    hold();
    return nori_env_default()->ops->file_read_at(file, offset, data, size, got_out, error);
}

static void join_thread(struct nr_thread *thread)
{
    note_end();
    nori_env_default()->ops->thread_join(thread);
}

static void close_log(struct nr_log *log)
{
    note_end();
    nori_env_default()->ops->log_close(log);
}

static void close_file(struct nr_file *file)
{
    note_end();
    nori_env_default()->ops->file_close(file);
}

static void give_back_lock(struct nr_file *lock)
{
    note_end();
    nori_env_default()->ops->unlock(lock);
}

/* ---------------------------------------------------------------- the call, and close() beside it */

struct call {
    struct nori_engine *engine;
    bool is_verify; /* Else a synced put. */
    struct nori_verify_report report;
    _Atomic bool is_over;
    nori_status rc;
};

static void *make_call(void *arg)
{
    struct call *call = arg;
    const struct nori_write_options synced = {.sync = 1, .ttl_secs = -1.0};
    is_caller = true;
    if (call->is_verify)
        call->rc = nori_verify(call->engine, NULL, NULL, &call->report, NULL);
    else
        call->rc = nori_put(call->engine, nr_slice_text("last"), nr_slice_text("synced"), &synced, NULL);
    is_caller = false;
    atomic_store(&call->is_over, true);
    return NULL;
}

static int let_call_leave(void *arg)
{
    int *asked = arg;
    if (++*asked == 3) atomic_store(&may_leave, true);
    return 0;
}

static bool is_in_epoch(const struct nori_engine *engine)
{
    bool is_in = false;
    for (unsigned i = 0; i < NR_EPOCH_STRIPES; i++) is_in |= atomic_load(&engine->epoch.stripes[i].active) != 0;
    return is_in;
}

static struct nori_engine *open_holding(char *path)
{
    struct nori_engine *engine = NULL;
    EXPECT(mkdtemp(path) != NULL);
    holding_ops = *nori_env_default()->ops;
    holding_ops.log_sync = sync_log_held;
    holding_ops.file_read_at = read_held;
    holding_ops.thread_join = join_thread;
    holding_ops.log_close = close_log;
    holding_ops.file_close = close_file;
    holding_ops.unlock = give_back_lock;
    holding_env.ops = &holding_ops;
    EXPECT_OK(open_small(&holding_env, path, &engine, &err), &err);
    EXPECT_OK(put_text(engine, "first", "flushed", &err), &err);
    EXPECT_OK(nori_flush(engine, &err), &err);
    return engine;
}

/* Closes the engine while the call is held, and expects that it waited. */
static void close_beside(struct call *call)
{
    pthread_t thread;
    int asked = 0;
    atomic_store(&is_held, false);
    atomic_store(&may_leave, false);
    atomic_store(&ended_count, 0);
    EXPECT_EQ(pthread_create(&thread, NULL, make_call, call), 0);
    while (!atomic_load(&is_held) && !atomic_load(&call->is_over)) usleep(500);
    EXPECT(atomic_load(&is_held));
    /* The epoch, which close() waits for as well, must not be what it waits for here; workers are in it for moments. */
    while (is_in_epoch(call->engine)) usleep(100);
    nori_set_interrupt(let_call_leave, &asked);
    is_closer = true;
    nori_status rc = nori_close(call->engine, &err);
    is_closer = false;
    nori_set_interrupt(NULL, NULL);
    bool was_held = atomic_exchange(&may_leave, true) && atomic_load(&is_held);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    EXPECT_EQ(atomic_load(&ended_count), 0);
    EXPECT(!was_held);
    EXPECT(asked >= 3);
    EXPECT_OK(rc, &err);
    EXPECT(nori_is_closed(call->engine));
}

static void end(struct nori_engine *engine, const char *path, const char *key, const char *value)
{
    struct nori_engine *again;
    char command[128];
    nori_destroy(engine);
    EXPECT_OK(open_small(NULL, path, &again, &err), &err);
    EXPECT_VALUE(again, NULL, key, value);
    EXPECT_OK(nori_close(again, &err), &err);
    nori_destroy(again);
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    EXPECT_EQ(system(command), 0);
}

TEST(close_waits_for_a_write_that_syncs)
{
    char path[] = "/tmp/nori-close-XXXXXX";
    struct call call = {.engine = open_holding(path)};
    close_beside(&call);
    EXPECT_EQ(call.rc, NORI_OK);
    end(call.engine, path, "last", "synced");
}

/* verify() reads tables of its own, in no section of the epoch, and looks for "closed" behind each. */
TEST(close_waits_for_a_verify_that_reads)
{
    char path[] = "/tmp/nori-close-XXXXXX";
    struct call call = {.engine = open_holding(path), .is_verify = true};
    close_beside(&call);
    EXPECT_EQ(call.rc, NORI_CLOSED);
    nori_free(call.report.findings);
    end(call.engine, path, "first", "flushed");
}

/* ---------------------------------------------------------------- close() beside workers that begin
 *
 * What a worker does between two of its locks nothing of the environment shows. So the C library's unlock is put in the
 * place of itself by one that keeps a worker behind its first look whether the engine stops, until it does; and its
 * wait by one that tells of a worker that would sleep then. The thread sanitizer has its own in these places, and macOS
 * lets nobody. */
#if !defined(__SANITIZE_THREAD__) && !defined(__APPLE__)

#define WORKERS 32

struct worker {
    void (*fn)(void *arg);
    struct nori_engine *engine;
    bool is_kept_back;
};

static struct worker workers[WORKERS];
static size_t worker_count;
static const struct nr_env_ops *simulated_ops;
static _Thread_local pthread_mutex_t *kept_behind; /* NULL: the thread runs as it likes. */
static _Thread_local bool was_kept_back;
static _Atomic bool is_stopped;
static _Atomic int kept_back_count, asleep_count;

typedef int (*unlock_fn)(pthread_mutex_t *mutex);
typedef int (*wait_fn)(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *deadline);

int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    void *symbol = dlsym(RTLD_NEXT, "pthread_mutex_unlock");
    unlock_fn real;
    memcpy(&real, &symbol, sizeof real);
    int code = real(mutex);
    if (mutex != kept_behind) return code;
    kept_behind = NULL;
    was_kept_back = true;
    atomic_fetch_add(&kept_back_count, 1);
    while (!atomic_load(&is_stopped)) usleep(500);
    return code;
}

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *deadline)
{
    void *symbol = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    wait_fn real;
    memcpy(&real, &symbol, sizeof real);
    if (!was_kept_back) return real(cond, mutex, deadline);
    atomic_fetch_add(&asleep_count, 1);
    return ETIMEDOUT;
}

static void run_worker(void *arg)
{
    struct worker *worker = arg;
    if (worker->is_kept_back) kept_behind = &worker->engine->lock.mutex;
    worker->fn(worker->engine);
}

static nori_status start_watched(struct nori_env *env, const char *name, void (*fn)(void *arg), void *arg,
                                 struct nr_thread **thread_out, struct nori_error *error)
{
    EXPECT(worker_count < WORKERS);
    struct worker *worker = &workers[worker_count++];
    worker->fn = fn;
    worker->engine = arg;
    worker->is_kept_back = strcmp(name, "nori-log") == 0 || strcmp(name, "nori-prepare") == 0;
    return simulated_ops->thread_start(env, name, run_worker, worker, thread_out, error);
}

static void join_watched(struct nr_thread *thread)
{
    atomic_store(&is_stopped, true);
    simulated_ops->thread_join(thread);
}

TEST(workers_that_just_begin_do_not_sleep_once_they_are_told_to_stop)
{
    struct nori_env *disk = NULL;
    struct nori_engine *engine;
    EXPECT_OK(nori_simdisk_create(1, 4096, true, &disk, &err), &err);
    simulated_ops = disk->ops;
    struct nr_env_ops watched_ops = *simulated_ops;
    watched_ops.thread_start = start_watched;
    watched_ops.thread_join = join_watched;
    disk->ops = &watched_ops;
    EXPECT_OK(open_small(disk, "/db", &engine, &err), &err);
    while (atomic_load(&kept_back_count) < 2) usleep(500);
    EXPECT_OK(nori_close(engine, &err), &err);
    nori_destroy(engine);
    disk->ops = simulated_ops;
    nori_simdisk_destroy(disk);
    EXPECT_EQ(atomic_load(&asleep_count), 0);
}
#endif

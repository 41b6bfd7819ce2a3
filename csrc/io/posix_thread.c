/* Threads, clocks, and noticing a fork. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "io/posix.h"

static _Atomic uint64_t fork_generation = 1;
static pthread_mutex_t watch_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic bool is_watching;

uint64_t nr_fork_generation(void)
{
    return atomic_load_explicit(&fork_generation, memory_order_relaxed);
}

static void after_fork_in_child(void)
{
    atomic_fetch_add_explicit(&fork_generation, 1, memory_order_relaxed);
    nr_posix_locks_in_child();
}

void nr_posix_watch_forks(void)
{
    if (atomic_load_explicit(&is_watching, memory_order_acquire)) return;
    pthread_mutex_lock(&watch_lock);
    if (!atomic_load_explicit(&is_watching, memory_order_relaxed) &&
        pthread_atfork(nr_posix_locks_before_fork, nr_posix_locks_in_parent, after_fork_in_child) == 0)
        atomic_store_explicit(&is_watching, true, memory_order_release);
    pthread_mutex_unlock(&watch_lock);
}

uint64_t nr_posix_monotonic_us(struct nori_env *env NR_UNUSED)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t nr_posix_wall_ms(struct nori_env *env NR_UNUSED)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec < 0 ? 0 : (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void nr_posix_sleep_us(struct nori_env *env NR_UNUSED, uint64_t us)
{
    struct timespec left = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) continue;
}

struct posix_thread {
    struct nr_thread base;
    pthread_t thread;
    void (*fn)(void *arg);
    void *arg;
    char name[16];
};

static void *run(void *arg)
{
    struct posix_thread *thread = arg;
#ifdef __APPLE__
    pthread_setname_np(thread->name);
#else
    pthread_setname_np(pthread_self(), thread->name);
#endif
    thread->fn(thread->arg);
    return NULL;
}

nori_status nr_posix_thread_start(struct nori_env *env, const char *name, void (*fn)(void *arg), void *arg,
                                  struct nr_thread **thread_out, struct nori_error *err)
{
    struct posix_thread *thread = nr_calloc(1, sizeof(*thread));
    if (!thread) return nr_fail_memory(err, sizeof(*thread));
    thread->base.env = env;
    thread->fn = fn;
    thread->arg = arg;
    snprintf(thread->name, sizeof(thread->name), "%s", name);

    /* A thread inherits the mask: it must never run a handler of the program's, not even at its first instruction. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&thread->thread, NULL, run, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code != 0) {
        nr_free(thread);
        nori_status rc = NR_FAIL(err, NORI_IO, "cannot start thread %s: %s", name, strerror(code));
        if (err) err->sys_errno = code;
        return rc;
    }
    *thread_out = &thread->base;
    return NORI_OK;
}

void nr_posix_thread_join(struct nr_thread *base)
{
    struct posix_thread *thread = (struct posix_thread *)base;
    pthread_join(thread->thread, NULL);
    nr_free(thread);
}

unsigned nr_processor_count(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (unsigned)count : 1;
}

void nr_thread_set_batch(void)
{
#ifdef SCHED_BATCH
    struct sched_param param = {0};
    (void)sched_setscheduler(0, SCHED_BATCH, &param); /* 0: this thread. It needs no rights. */
#endif
}

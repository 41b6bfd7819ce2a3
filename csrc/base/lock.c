#include "base/lock.h"

#include <sched.h>

#include <errno.h>
#include <time.h>

/* ---------------------------------------------------------------- order */

#ifdef NR_DEBUG
#define MAX_HELD 16

/* What this thread holds, in the order taken. */
static _Thread_local struct {
    const struct nr_mutex *mutexes[MAX_HELD];
    unsigned count;
} held;

static void expect_rising(const struct nr_mutex *mutex)
{
    for (unsigned i = 0; i < held.count; i++) NR_ASSERT(held.mutexes[i]->rank < mutex->rank);
}

static void note_locked(const struct nr_mutex *mutex)
{
    NR_ASSERT(held.count < MAX_HELD);
    held.mutexes[held.count++] = mutex;
}

static void note_unlocked(const struct nr_mutex *mutex)
{
    unsigned i = held.count;
    while (i > 0 && held.mutexes[i - 1] != mutex) i--;
    NR_ASSERT(i > 0);
    for (; i < held.count; i++) held.mutexes[i - 1] = held.mutexes[i];
    held.count--;
}

/* A wait takes the mutex again, so nothing of a higher rank may be held meanwhile. */
static void expect_highest(const struct nr_mutex *mutex)
{
    bool is_held = false;
    for (unsigned i = 0; i < held.count; i++) {
        if (held.mutexes[i] == mutex)
            is_held = true;
        else
            NR_ASSERT(held.mutexes[i]->rank < mutex->rank);
    }
    NR_ASSERT(is_held);
}

static void expect_held_count(unsigned count)
{
    NR_ASSERT(held.count == count);
}

static _Thread_local bool is_try_only;

bool nr_try_only(bool is_set)
{
    bool before = is_try_only;
    is_try_only = is_set;
    return before;
}

static void expect_may_wait(const struct nr_mutex *mutex)
{
    NR_ASSERT(!is_try_only || mutex->rank == NR_RANK_ENV);
}
#else
static inline void expect_may_wait(NR_UNUSED const struct nr_mutex *mutex)
{
}
static inline void expect_rising(NR_UNUSED const struct nr_mutex *mutex)
{
}
static inline void note_locked(NR_UNUSED const struct nr_mutex *mutex)
{
}
static inline void note_unlocked(NR_UNUSED const struct nr_mutex *mutex)
{
}
static inline void expect_highest(NR_UNUSED const struct nr_mutex *mutex)
{
}
static inline void expect_held_count(NR_UNUSED unsigned count)
{
}
#endif

void nr_expect_unlocked(void)
{
    expect_held_count(0);
}

/* ---------------------------------------------------------------- mutexes */

/* These calls fail only on misuse: default attributes, no allocation. */
static inline void expect_done(NR_UNUSED int result)
{
    NR_ASSERT(result == 0);
}

void nr_mutex_init(struct nr_mutex *mutex, int rank)
{
    expect_done(pthread_mutex_init(&mutex->mutex, NULL));
    mutex->rank = rank;
}

void nr_mutex_destroy(struct nr_mutex *mutex)
{
    expect_done(pthread_mutex_destroy(&mutex->mutex));
}

void nr_mutex_lock(struct nr_mutex *mutex)
{
    expect_may_wait(mutex);
    expect_rising(mutex);
    expect_done(pthread_mutex_lock(&mutex->mutex));
    note_locked(mutex);
}

/* Does not wait, so it may be called in any order. */
bool nr_mutex_trylock(struct nr_mutex *mutex)
{
    if (pthread_mutex_trylock(&mutex->mutex) != 0) return false;
    note_locked(mutex);
    return true;
}

void nr_mutex_unlock(struct nr_mutex *mutex)
{
    note_unlocked(mutex);
    expect_done(pthread_mutex_unlock(&mutex->mutex));
}

/* ---------------------------------------------------------------- conditions */

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

void nr_cond_init(struct nr_cond *cond)
{
#ifdef __APPLE__
    expect_done(pthread_cond_init(&cond->cond, NULL));
#else
    pthread_condattr_t attributes;
    expect_done(pthread_condattr_init(&attributes));
    expect_done(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC));
    expect_done(pthread_cond_init(&cond->cond, &attributes));
    pthread_condattr_destroy(&attributes);
#endif
}

void nr_cond_destroy(struct nr_cond *cond)
{
    expect_done(pthread_cond_destroy(&cond->cond));
}

void nr_cond_signal(struct nr_cond *cond)
{
    pthread_cond_signal(&cond->cond);
}

void nr_cond_broadcast(struct nr_cond *cond)
{
    pthread_cond_broadcast(&cond->cond);
}

void nr_cond_wait(struct nr_cond *cond, struct nr_mutex *mutex)
{
    expect_highest(mutex);
    expect_done(pthread_cond_wait(&cond->cond, &mutex->mutex));
}

bool nr_cond_wait_for(struct nr_cond *cond, struct nr_mutex *mutex, uint64_t timeout_us)
{
    /* Ten years are as good as forever, and stay far from the end of time_t. */
    uint64_t capped_us = NR_MIN(timeout_us, 10ull * 366 * 86400 * 1000000);
    struct timespec until;
    int result;

    expect_highest(mutex);
#ifdef __APPLE__
    until.tv_sec = (time_t)(capped_us / 1000000u);
    until.tv_nsec = (long)(capped_us % 1000000u) * 1000;
    result = pthread_cond_timedwait_relative_np(&cond->cond, &mutex->mutex, &until);
#else
    uint64_t until_us = now_us() + capped_us;
    until.tv_sec = (time_t)(until_us / 1000000u);
    until.tv_nsec = (long)(until_us % 1000000u) * 1000;
    result = pthread_cond_timedwait(&cond->cond, &mutex->mutex, &until);
#endif
    NR_ASSERT(result == 0 || result == ETIMEDOUT);
    return result != ETIMEDOUT;
}

/* ---------------------------------------------------------------- interrupts */

static _Thread_local struct {
    nori_interrupt_fn fn;
    void *arg;
    nori_interrupt_fn asked_fn; /* Which hook 'asked_us' is of: one that is set anew for each call keeps its pace. */
    void *asked_arg;
    uint64_t asked_us; /* Monotonic. */
    bool is_held;
} hook;

static inline bool has_hook(void)
{
    return hook.fn && !hook.is_held;
}

bool nr_interrupt_hold(bool is_held)
{
    bool before = hook.is_held;
    hook.is_held = is_held;
    return before;
}

void nori_set_interrupt(nori_interrupt_fn fn, void *arg)
{
    hook.fn = fn;
    hook.arg = arg;
}

static _Thread_local struct nr_inside inside;

struct nr_inside nr_inside_get(void)
{
    return inside;
}

void nr_inside_set(struct nr_inside now)
{
    inside = now;
}

nori_status nr_outside_run(int (*fn)(void *arg), void *arg, struct nori_error *err)
{
    struct nr_inside left = inside;
    nr_expect_unlocked();
    if (left.arg) left.leave(left.arg);
    inside = (struct nr_inside){0};
    bool was_try_only = nr_try_only(false);
    int stop = fn(arg);
    nr_try_only(was_try_only);
    inside = left;
    nori_status rc = left.arg ? left.enter(left.arg, err) : NORI_OK;
    return stop ? NR_FAIL(err, NORI_INTERRUPTED, "interrupted") : rc;
}

static nori_status ask(uint64_t time_us, struct nori_error *err)
{
    hook.asked_fn = hook.fn;
    hook.asked_arg = hook.arg;
    hook.asked_us = time_us;
    return nr_outside_run(hook.fn, hook.arg, err);
}

nori_status nr_interrupt_ask(struct nori_error *err)
{
    return has_hook() ? ask(now_us(), err) : NORI_OK;
}

static bool is_due(uint64_t time_us)
{
    return hook.fn != hook.asked_fn || hook.arg != hook.asked_arg || time_us - hook.asked_us >= NR_INTERRUPT_TURN_US;
}

nori_status nr_interrupt_poll(struct nori_error *err)
{
    uint64_t time_us;
    if (!has_hook()) return NORI_OK;
    time_us = now_us();
    return is_due(time_us) ? ask(time_us, err) : NORI_OK;
}

/* A waiter that is woken asks only when it is due: the hook may be dear, and a commit is a wait for each of its
 * writers. */
nori_status nr_cond_wait_turn(struct nr_cond *cond, struct nr_mutex *mutex, uint64_t timeout_us, struct nori_error *err)
{
    nori_status rc;
    bool is_woken;

    expect_held_count(1);
    if (!has_hook()) {
        if (timeout_us == UINT64_MAX)
            nr_cond_wait(cond, mutex);
        else
            nr_cond_wait_for(cond, mutex, timeout_us);
        return NORI_OK;
    }
    is_woken = nr_cond_wait_for(cond, mutex, NR_MIN(timeout_us, (uint64_t)NR_INTERRUPT_TURN_US));
    if (is_woken && !is_due(now_us())) return NORI_OK;
    nr_mutex_unlock(mutex);
    rc = nr_interrupt_ask(err);
    nr_mutex_lock(mutex);
    return rc;
}

bool nr_interrupt_has_hook(void)
{
    return has_hook();
}

bool nr_interrupt_is_due(void)
{
    return has_hook() && is_due(now_us());
}

void nr_thread_yield(void)
{
    sched_yield();
}

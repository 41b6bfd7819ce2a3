/* Mutexes with a rank, and conditions whose waits can be interrupted.
 *
 * A thread takes mutexes in rising rank only; debug builds assert it. The table of ranks is in csrc/README.md. No lock
 * is held across I/O but the commit lock over the log's write. */
#ifndef NR_BASE_LOCK_H
#define NR_BASE_LOCK_H

#include <pthread.h>

#include "base/status.h"

enum nr_lock_rank {
    NR_RANK_INLINE = 5,    /* engine: background work inside calls, on an environment without threads */
    NR_RANK_ENGINE = 10,   /* engine.lock: state of jobs, versions to install, workers */
    NR_RANK_COMMIT = 20,   /* engine.commit_lock: the one writer */
    NR_RANK_WAL_SYNC = 30, /* wal: who syncs, how far */
    NR_RANK_WAL = 40,      /* wal: segments */
    NR_RANK_VIEW = 50,     /* engine: view exchange, snapshots */
    NR_RANK_TABLE_CACHE = 60,
    NR_RANK_BLOCK_CACHE = 70,
    NR_RANK_EPOCH = 80,
    NR_RANK_ENV = 90,
    NR_RANK_LEAF = 100,
};

/* The hook of a thread that waits is asked as often as this. */
#define NR_INTERRUPT_TURN_US 100000u

struct nr_mutex {
    pthread_mutex_t mutex;
    int rank;
};

struct nr_cond {
    pthread_cond_t cond;
};

void nr_mutex_init(struct nr_mutex *mutex, int rank);
void nr_mutex_destroy(struct nr_mutex *mutex);
void nr_mutex_lock(struct nr_mutex *mutex);
bool nr_mutex_trylock(struct nr_mutex *mutex);
void nr_mutex_unlock(struct nr_mutex *mutex);

/* While set, this thread may try mutexes but not wait for them: its caller holds what others need, Python's lock, say.
 * Asserted in debug builds; the environment's own mutexes are as a system call, and do not count. Returns what was
 * before. */
#ifdef NR_DEBUG
bool nr_try_only(bool is_set);
#else
static inline bool nr_try_only(NR_UNUSED bool is_set)
{
    return false;
}
#endif

/* Before calling what may wait for a lock that is not ours: this thread holds no mutex. Asserted in debug builds. */
void nr_expect_unlocked(void);

void nr_cond_init(struct nr_cond *cond);
void nr_cond_destroy(struct nr_cond *cond);
void nr_cond_signal(struct nr_cond *cond);
void nr_cond_broadcast(struct nr_cond *cond);
void nr_cond_wait(struct nr_cond *cond, struct nr_mutex *mutex);
/* Waits at most 'timeout_us' of real time; false when it ran out. */
bool nr_cond_wait_for(struct nr_cond *cond, struct nr_mutex *mutex, uint64_t timeout_us);
/* One turn of a wait that a caller of the API makes: until woken, or 'timeout_us', at most 100 ms. Then, if the thread
 * has an interrupt hook, asks it with the mutex released (a waiter must test its condition again).
 * NORI_INTERRUPTED if the hook says so; else NORI_OK. No other lock may be held. */
NORI_WARN_UNUSED nori_status nr_cond_wait_turn(struct nr_cond *cond, struct nr_mutex *mutex, uint64_t timeout_us,
                                               struct nori_error *err);
/* Lets other threads run. */
void nr_thread_yield(void);

/* What the thread is inside of, for as long as code that is not ours runs: 'leave' before it; 'enter' after it, which
 * may find that there is nothing to come back to. */
struct nr_inside {
    void (*leave)(void *arg);
    nori_status (*enter)(void *arg, struct nori_error *err);
    void *arg; /* NULL: inside of nothing. */
};
/* Of this thread. */
struct nr_inside nr_inside_get(void);
void nr_inside_set(struct nr_inside inside);

/* Runs 'fn', code that is not ours, outside of what the thread is inside of; it may make calls of its own. No lock may
 * be held. NORI_INTERRUPTED if it returns other than 0; else what 'enter' says. */
NORI_WARN_UNUSED nori_status nr_outside_run(int (*fn)(void *arg), void *arg, struct nori_error *err);

/* Asks the thread's interrupt hook now, outside, if 100 ms have passed since it was last asked. For loops. */
NORI_WARN_UNUSED nori_status nr_interrupt_poll(struct nori_error *err);
/* The same, at once. */
NORI_WARN_UNUSED nori_status nr_interrupt_ask(struct nori_error *err);
/* While held the thread's hook is not asked: its thread has work under way that nothing may come between. Returns what
 * was before. */
bool nr_interrupt_hold(bool is_held);
/* For waits that cannot be left to ask the hook: whether there is one, and whether it is due. */
bool nr_interrupt_has_hook(void);
bool nr_interrupt_is_due(void);

#endif

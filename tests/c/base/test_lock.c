#include "harness.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/lock.h"

static struct nr_mutex mutex;
static struct nr_cond cond;
static bool is_ready; /* By mutex. */

static void set_up(void)
{
    nr_mutex_init(&mutex, NR_RANK_LEAF);
    nr_cond_init(&cond);
    is_ready = false;
}

static void tear_down(void)
{
    nori_set_interrupt(NULL, NULL);
    nr_cond_destroy(&cond);
    nr_mutex_destroy(&mutex);
}

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static bool aborts(void (*misuse)(void))
{
    int status;
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        close(STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        misuse();
        _exit(0);
    }
    EXPECT(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void lock_falling(void)
{
    struct nr_mutex low, high;
    nr_mutex_init(&low, NR_RANK_ENGINE);
    nr_mutex_init(&high, NR_RANK_WAL);
    nr_mutex_lock(&high);
    nr_mutex_lock(&low);
}

static void lock_equal(void)
{
    struct nr_mutex one, other;
    nr_mutex_init(&one, NR_RANK_WAL);
    nr_mutex_init(&other, NR_RANK_WAL);
    nr_mutex_lock(&one);
    nr_mutex_lock(&other);
}

static void unlock_what_is_free(void)
{
    struct nr_mutex one;
    nr_mutex_init(&one, NR_RANK_WAL);
    nr_mutex_unlock(&one);
}

static void lock_rising(void)
{
    struct nr_mutex low, high;
    nr_mutex_init(&low, NR_RANK_ENGINE);
    nr_mutex_init(&high, NR_RANK_WAL);
    nr_mutex_lock(&low);
    nr_mutex_lock(&high);
    nr_mutex_unlock(&low);
    nr_mutex_unlock(&high);
    nr_mutex_lock(&low);
    nr_mutex_unlock(&low);
}

/* Coverage is counted without assertions. */
#ifdef NR_DEBUG
#define HAS_ASSERTIONS true
#else
#define HAS_ASSERTIONS false
#endif

TEST(taking_locks_out_of_order_is_caught)
{
    EXPECT_EQ(aborts(lock_falling), HAS_ASSERTIONS);
    EXPECT_EQ(aborts(lock_equal), HAS_ASSERTIONS);
    if (HAS_ASSERTIONS) EXPECT(aborts(unlock_what_is_free));
    EXPECT(!aborts(lock_rising));
}

static void *try_it(void *arg)
{
    bool *is_taken = arg;
    *is_taken = nr_mutex_trylock(&mutex);
    if (*is_taken) nr_mutex_unlock(&mutex);
    return NULL;
}

TEST(trylock_does_not_wait)
{
    pthread_t thread;
    bool is_taken = true;
    set_up();
    nr_mutex_lock(&mutex);
    EXPECT_EQ(pthread_create(&thread, NULL, try_it, &is_taken), 0);
    pthread_join(thread, NULL);
    EXPECT(!is_taken);
    nr_mutex_unlock(&mutex);
    try_it(&is_taken);
    EXPECT(is_taken);
    tear_down();
}

static void *make_ready(void *arg)
{
    (void)arg;
    nr_mutex_lock(&mutex);
    is_ready = true;
    nr_cond_broadcast(&cond);
    nr_mutex_unlock(&mutex);
    return NULL;
}

static int count_calls(void *arg)
{
    _Atomic int *calls = arg;
    bool is_free = nr_mutex_trylock(&mutex);
    if (!is_free) return 2;
    nr_mutex_unlock(&mutex);
    return ++*calls >= 3;
}

TEST(waiters_are_woken)
{
    for (int way = 0; way < 3; way++) {
        pthread_t thread;
        struct nori_error err;
        set_up();
        EXPECT_EQ(pthread_create(&thread, NULL, make_ready, NULL), 0);
        nr_mutex_lock(&mutex);
        while (!is_ready) {
            if (way == 0) nr_cond_wait(&cond, &mutex);
            if (way == 1) EXPECT(nr_cond_wait_for(&cond, &mutex, UINT64_MAX));
            if (way == 2) EXPECT_OK(nr_cond_wait_turn(&cond, &mutex, UINT64_MAX, &err), &err);
        }
        nr_mutex_unlock(&mutex);
        pthread_join(thread, NULL);
        tear_down();
    }
}

TEST(a_timed_wait_ends_after_its_time)
{
    struct nori_error err;
    uint64_t before_us = now_us();
    set_up();
    nr_mutex_lock(&mutex);
    EXPECT(!nr_cond_wait_for(&cond, &mutex, 20000));
    EXPECT(now_us() - before_us >= 20000);
    EXPECT(!nr_cond_wait_for(&cond, &mutex, 0));
    EXPECT_OK(nr_cond_wait_turn(&cond, &mutex, 20000, &err), &err);
    EXPECT(now_us() - before_us >= 40000);
    nr_mutex_unlock(&mutex);
    tear_down();
}

TEST(a_wait_asks_the_hook_with_the_mutex_free_at_least_every_100_ms)
{
    struct nori_error err;
    _Atomic int calls = 0;
    uint64_t before_us;
    nori_status rc;
    int turns = 0;

    set_up();
    nori_set_interrupt(count_calls, &calls);
    before_us = now_us();
    nr_mutex_lock(&mutex);
    do {
        rc = nr_cond_wait_turn(&cond, &mutex, UINT64_MAX, &err);
        turns++;
    } while (rc == NORI_OK);
    EXPECT(!nr_mutex_trylock(&mutex));
    nr_mutex_unlock(&mutex);
    EXPECT_EQ(rc, NORI_INTERRUPTED);
    EXPECT_EQ(err.code, NORI_INTERRUPTED);
    EXPECT_EQ(calls, 3);
    EXPECT(turns >= 3);
    EXPECT(now_us() - before_us < 5000000);
    tear_down();
}

TEST(a_poll_asks_a_hook_once_in_100_ms)
{
    struct nori_error err;
    /* The pace belongs to the hook and its argument: this address is no other test's. */
    static _Atomic int calls;
    uint64_t until_us;

    set_up();
    EXPECT_OK(nr_interrupt_poll(&err), &err);
    EXPECT_OK(nr_interrupt_ask(&err), &err);
    nori_set_interrupt(count_calls, &calls);
    EXPECT_OK(nr_interrupt_poll(&err), &err);
    EXPECT_EQ(calls, 1);
    nori_set_interrupt(NULL, NULL);
    nori_set_interrupt(count_calls, &calls);
    EXPECT_OK(nr_interrupt_poll(&err), &err);
    EXPECT_EQ(calls, 1);
    EXPECT_OK(nr_interrupt_ask(&err), &err);
    EXPECT_EQ(calls, 2);
    until_us = now_us() + 101000;
    while (now_us() < until_us) {
    }
    EXPECT_STATUS(nr_interrupt_poll(&err), NORI_INTERRUPTED, &err);
    tear_down();
}

#include "base/event.h"

#include <errno.h>
#include <time.h>

#ifdef NR_FUTEX_EVENTS

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel looks for a waiter by address and does not touch the memory: a late wake finds nobody, or somebody who
 * looks again. */
static void wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Returns early for any reason. 'until' is of the monotonic clock; NULL: never. False when it has passed. */
static bool sleep_while(_Atomic uint32_t *word, uint32_t value, const struct timespec *until)
{
    long result = syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value, until, NULL, FUTEX_BITSET_MATCH_ANY);
    return result == 0 || errno != ETIMEDOUT;
}

void nr_event_init(struct nr_event *event)
{
    atomic_init(&event->is_set, 0);
}

void nr_event_destroy(NR_UNUSED struct nr_event *event)
{
}

void nr_event_set(struct nr_event *event)
{
    atomic_store_explicit(&event->is_set, 1, memory_order_release);
    wake(&event->is_set);
}

static bool take(struct nr_event *event)
{
    return atomic_exchange_explicit(&event->is_set, 0, memory_order_acquire) != 0;
}

static bool wait_until(struct nr_event *event, const struct timespec *until)
{
    nr_expect_unlocked();
    while (!take(event)) {
        if (!sleep_while(&event->is_set, 0, until)) return take(event);
    }
    return true;
}

void nr_event_wait(struct nr_event *event)
{
    wait_until(event, NULL);
}

bool nr_event_wait_for(struct nr_event *event, uint64_t timeout_us)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t nanos = (uint64_t)until.tv_nsec + timeout_us % 1000000u * 1000;
    until.tv_sec += (time_t)(timeout_us / 1000000u + nanos / 1000000000u);
    until.tv_nsec = (long)(nanos % 1000000000u);
    return wait_until(event, &until);
}

#else

void nr_event_init(struct nr_event *event)
{
    nr_mutex_init(&event->mutex, NR_RANK_LEAF);
    nr_cond_init(&event->cond);
    event->is_set = false;
}

void nr_event_destroy(struct nr_event *event)
{
    nr_cond_destroy(&event->cond);
    nr_mutex_destroy(&event->mutex);
}

void nr_event_set(struct nr_event *event)
{
    nr_mutex_lock(&event->mutex);
    event->is_set = true;
    nr_cond_signal(&event->cond); /* Before the waiter can have the mutex, and be gone. */
    nr_mutex_unlock(&event->mutex);
}

void nr_event_wait(struct nr_event *event)
{
    nr_expect_unlocked();
    nr_mutex_lock(&event->mutex);
    while (!event->is_set) nr_cond_wait(&event->cond, &event->mutex);
    event->is_set = false;
    nr_mutex_unlock(&event->mutex);
}

bool nr_event_wait_for(struct nr_event *event, uint64_t timeout_us)
{
    bool is_in_time = true;
    nr_expect_unlocked();
    nr_mutex_lock(&event->mutex);
    while (!event->is_set && is_in_time) is_in_time = nr_cond_wait_for(&event->cond, &event->mutex, timeout_us);
    bool was_set = event->is_set;
    event->is_set = false;
    nr_mutex_unlock(&event->mutex);
    return was_set;
}

#endif

bool nr_event_wait_until_due(struct nr_event *event)
{
    while (nr_interrupt_has_hook()) {
        if (nr_event_wait_for(event, NR_INTERRUPT_TURN_US)) return true;
        if (nr_interrupt_is_due()) return false;
    }
    nr_event_wait(event);
    return true;
}

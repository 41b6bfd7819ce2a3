/* Events, whatever they are made of. */
#include <pthread.h>

#include "base/clock.h"
#include "base/event.h"
#include "harness.h"

#define TURNS 20000
#define SLEEPERS 8
#define ROUNDS 2000

TEST(an_event_is_set_for_one_wait)
{
    struct nr_event event;
    nr_event_init(&event);
    EXPECT(!nr_event_wait_for(&event, 1000));
    nr_event_set(&event);
    nr_event_wait(&event);
    EXPECT(!nr_event_wait_for(&event, 0));
    nr_event_set(&event);
    EXPECT(nr_event_wait_for(&event, 0));
    uint64_t begun_ns = nr_clock_ns();
    EXPECT(!nr_event_wait_for(&event, 20000));
    EXPECT(nr_clock_ns() - begun_ns > 10000000);
    nr_event_destroy(&event);
}

static struct nr_event ping, pong;
static int turns_taken; /* By who was woken last. */

static void *answer(void *arg)
{
    for (int i = 0; i < TURNS; i++) {
        nr_event_wait(&ping);
        turns_taken++;
        nr_event_set(&pong);
    }
    return arg;
}

TEST(two_threads_wake_each_other_and_see_what_was_done_before)
{
    pthread_t thread;
    nr_event_init(&ping);
    nr_event_init(&pong);
    turns_taken = 0;
    EXPECT_EQ(pthread_create(&thread, NULL, answer, NULL), 0);
    for (int i = 0; i < TURNS; i++) {
        EXPECT_EQ(turns_taken, i);
        nr_event_set(&ping);
        nr_event_wait(&pong);
    }
    pthread_join(thread, NULL);
    nr_event_destroy(&ping);
    nr_event_destroy(&pong);
}

/* Waits on an event of its own, which is gone with the call that made it. */
static _Atomic(struct nr_event *) offered[SLEEPERS];

static void offer_and_wait(size_t at)
{
    struct nr_event event;
    nr_event_init(&event);
    atomic_store(&offered[at], &event);
    nr_event_wait(&event);
    nr_event_destroy(&event);
    memset(&event, 0xff, sizeof(event)); /* Whoever used it now would go wrong. */
}

static void *sleep_again_and_again(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) offer_and_wait((size_t)(uintptr_t)arg);
    return NULL;
}

TEST(an_event_may_go_as_soon_as_its_waiter_is_awake)
{
    pthread_t threads[SLEEPERS];
    for (size_t i = 0; i < SLEEPERS; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, sleep_again_and_again, (void *)(uintptr_t)i), 0);
    for (int left = SLEEPERS * ROUNDS; left > 0;) {
        for (size_t i = 0; i < SLEEPERS; i++) {
            struct nr_event *event = atomic_exchange(&offered[i], NULL);
            if (!event) continue;
            nr_event_set(event);
            left--;
        }
        nr_thread_yield();
    }
    for (size_t i = 0; i < SLEEPERS; i++) pthread_join(threads[i], NULL);
}

static int count_questions(void *arg)
{
    ++*(int *)arg;
    return 0;
}

TEST(a_wait_ends_when_the_interrupt_hook_is_due)
{
    struct nr_event event;
    struct nori_error err;
    int questions = 0;
    nr_event_init(&event);
    nr_event_set(&event);
    EXPECT(nr_event_wait_until_due(&event)); /* Without a hook it waits for the event alone. */
    nori_set_interrupt(count_questions, &questions);
    EXPECT(!nr_event_wait_until_due(&event));
    EXPECT_EQ(questions, 0);
    EXPECT_OK(nr_interrupt_ask(&err), &err);
    EXPECT_EQ(questions, 1);
    nr_event_set(&event);
    EXPECT(nr_event_wait_until_due(&event));
    EXPECT(!nr_event_wait_for(&event, 0));
    nori_set_interrupt(NULL, NULL);
    nr_event_destroy(&event);
}

#include "harness.h"

#include "base/epoch.h"

#define ALIVE 0x600dull

struct object {
    struct nr_epoch_link link;
    _Atomic uint64_t *released_count;
    uint64_t state; /* ALIVE until it is released. Plain: a release too early is a race that the tools see. */
};

static struct nr_epoch epoch;

static void release(struct nr_epoch_link *link)
{
    struct object *object = (struct object *)link;
    atomic_fetch_add(object->released_count, 1);
    object->state = 0;
    nr_free(object);
}

static struct object *make(_Atomic uint64_t *released_count)
{
    struct object *object = nr_calloc(1, sizeof(*object));
    object->link.release = release;
    object->released_count = released_count;
    object->state = ALIVE;
    return object;
}

TEST(without_readers_an_object_goes_at_once)
{
    _Atomic uint64_t released = 0;
    nr_epoch_init(&epoch);
    nr_epoch_retire(&epoch, &make(&released)->link);
    EXPECT_EQ(released, 1);
    EXPECT_EQ(epoch.retired_count, 0);
    nr_epoch_destroy(&epoch);
}

TEST(a_reader_holds_what_was_retired_while_it_was_inside)
{
    _Atomic uint64_t released = 0;
    unsigned outer, inner;
    nr_epoch_init(&epoch);
    outer = nr_epoch_enter(&epoch);
    inner = nr_epoch_enter(&epoch);
    EXPECT_EQ(outer, inner);
    for (int i = 0; i < 5; i++) nr_epoch_retire(&epoch, &make(&released)->link);
    nr_epoch_leave(&epoch, inner);
    nr_epoch_collect(&epoch);
    EXPECT_EQ(released, 0);
    EXPECT_EQ(epoch.retired_count, 5);
    nr_epoch_leave(&epoch, outer);
    nr_epoch_collect(&epoch);
    EXPECT_EQ(released, 5);
    EXPECT_EQ(epoch.retired_count, 0);
    nr_epoch_collect(&epoch);
    nr_epoch_destroy(&epoch);
}

/* Stripes are seen empty at different times; the readers there now came later and cannot have the object. */
TEST(a_stripe_counts_as_empty_once_it_was_seen_so)
{
    _Atomic uint64_t released = 0;
    unsigned own = nr_epoch_stripe_of_thread(), other = (own + 1) % NR_EPOCH_STRIPES;
    nr_epoch_init(&epoch);
    nr_epoch_enter(&epoch);
    nr_epoch_retire(&epoch, &make(&released)->link);
    atomic_fetch_add(&epoch.stripes[other].active, 1);
    nr_epoch_leave(&epoch, own);
    nr_epoch_collect(&epoch);
    EXPECT_EQ(released, 1);
    nr_epoch_leave(&epoch, other);
    nr_epoch_destroy(&epoch);
}

TEST(what_is_deferred_is_collected_but_not_swept)
{
    _Atomic uint64_t light = 0, heavy = 0;
    nr_epoch_init(&epoch);
    unsigned stripe = nr_epoch_enter(&epoch);
    nr_epoch_retire(&epoch, &make(&light)->link);
    nr_epoch_defer(&epoch, &make(&heavy)->link);
    nr_epoch_leave(&epoch, stripe);
    nr_epoch_sweep(&epoch);
    EXPECT_EQ(light, 1);
    EXPECT_EQ(heavy, 0);
    nr_epoch_retire(&epoch, &make(&light)->link);
    EXPECT_EQ(heavy, 0);
    nr_epoch_collect(&epoch);
    EXPECT_EQ(light, 2);
    EXPECT_EQ(heavy, 1);
    EXPECT_EQ(epoch.deferred_count, 0);
    nr_epoch_destroy(&epoch);
}

TEST(what_nobody_collects_is_swept_in_the_end)
{
    _Atomic uint64_t heavy = 0;
    nr_epoch_init(&epoch);
    unsigned stripe = nr_epoch_enter(&epoch);
    for (int i = 0; i < 100; i++) nr_epoch_defer(&epoch, &make(&heavy)->link);
    nr_epoch_sweep(&epoch);
    EXPECT_EQ(heavy, 0);
    nr_epoch_leave(&epoch, stripe);
    nr_epoch_sweep(&epoch);
    EXPECT_EQ(heavy, 100);
    nr_epoch_destroy(&epoch);
}

TEST(what_others_collect_is_left_to_them_while_they_keep_up)
{
    _Atomic uint64_t heavy = 0;
    nr_epoch_init(&epoch);
    nr_epoch_leave_to_others(&epoch);
    for (int i = 0; i < 16; i++) nr_epoch_defer(&epoch, &make(&heavy)->link);
    EXPECT(!nr_epoch_is_behind(&epoch));
    for (int i = 16; i < 128; i++) nr_epoch_defer(&epoch, &make(&heavy)->link);
    nr_epoch_sweep(&epoch);
    EXPECT(nr_epoch_is_behind(&epoch));
    EXPECT_EQ(heavy, 0);
    nr_epoch_defer(&epoch, &make(&heavy)->link);
    nr_epoch_sweep(&epoch);
    EXPECT_EQ(heavy, 129);
    EXPECT(!nr_epoch_is_behind(&epoch));
    nr_epoch_destroy(&epoch);
}

TEST(destroying_releases_all)
{
    _Atomic uint64_t released = 0;
    unsigned stripe;
    nr_epoch_init(&epoch);
    stripe = nr_epoch_enter(&epoch);
    for (int i = 0; i < 3; i++) nr_epoch_retire(&epoch, &make(&released)->link);
    for (int i = 0; i < 3; i++) nr_epoch_defer(&epoch, &make(&released)->link);
    nr_epoch_leave(&epoch, stripe);
    nr_epoch_destroy(&epoch);
    EXPECT_EQ(released, 6);
}

#define READERS 3
#define WRITERS 2
#define REPLACEMENTS 3000

struct shared {
    _Atomic(struct object *) current;
    _Atomic uint64_t released;
    _Atomic uint64_t dead_count;
    _Atomic bool must_stop;
};

static void *read_on(void *arg)
{
    struct shared *shared = arg;
    while (!atomic_load_explicit(&shared->must_stop, memory_order_relaxed)) {
        unsigned outer = nr_epoch_enter(&epoch);
        struct object *object = atomic_load(&shared->current);
        unsigned inner = nr_epoch_enter(&epoch);
        if (object->state != ALIVE) atomic_fetch_add(&shared->dead_count, 1);
        nr_epoch_leave(&epoch, inner);
        if (object->state != ALIVE) atomic_fetch_add(&shared->dead_count, 1);
        nr_epoch_leave(&epoch, outer);
    }
    return NULL;
}

static void *replace_on(void *arg)
{
    struct shared *shared = arg;
    for (int i = 0; i < REPLACEMENTS; i++) {
        struct object *old = atomic_exchange(&shared->current, make(&shared->released));
        nr_epoch_retire(&epoch, &old->link);
        if (i % 16 == 0) nr_epoch_collect(&epoch);
    }
    return NULL;
}

TEST(readers_never_see_a_released_object)
{
    struct shared shared = {.current = NULL};
    pthread_t readers[READERS], writers[WRITERS];

    nr_epoch_init(&epoch);
    atomic_store(&shared.current, make(&shared.released));
    for (int i = 0; i < READERS; i++) EXPECT_EQ(pthread_create(&readers[i], NULL, read_on, &shared), 0);
    for (int i = 0; i < WRITERS; i++) EXPECT_EQ(pthread_create(&writers[i], NULL, replace_on, &shared), 0);
    for (int i = 0; i < WRITERS; i++) pthread_join(writers[i], NULL);
    atomic_store(&shared.must_stop, true);
    for (int i = 0; i < READERS; i++) pthread_join(readers[i], NULL);
    nr_epoch_collect(&epoch);
    EXPECT_EQ(shared.dead_count, 0);
    EXPECT_EQ(shared.released, WRITERS * REPLACEMENTS);
    nr_epoch_retire(&epoch, &atomic_load(&shared.current)->link);
    nr_epoch_destroy(&epoch);
}

static void *find_stripe(void *arg)
{
    *(unsigned *)arg = nr_epoch_stripe_of_thread();
    return NULL;
}

TEST(threads_started_one_after_another_share_no_stripe)
{
    unsigned stripes[NR_EPOCH_STRIPES];
    uint32_t seen = 0;
    for (int i = 0; i < NR_EPOCH_STRIPES; i++) {
        pthread_t thread;
        EXPECT_EQ(pthread_create(&thread, NULL, find_stripe, &stripes[i]), 0);
        pthread_join(thread, NULL);
        EXPECT(stripes[i] < NR_EPOCH_STRIPES);
        seen |= 1u << stripes[i];
    }
    EXPECT_EQ(seen, UINT32_MAX);
}

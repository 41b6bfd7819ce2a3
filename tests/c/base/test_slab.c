#include "harness.h"

#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "base/random.h"
#include "base/slab.h"

enum { MOST = 4000, MIB = 1 << 20 };

struct held {
    uint8_t *memory;
    size_t bytes;
    uint8_t mark;
};

static size_t some_size(struct nr_random *random)
{
    static const size_t centers[] = {2000, 4300, 5000, 16384};
    size_t center = centers[nr_random_below(random, NR_ARRAY_LEN(centers))];
    return center - nr_random_below(random, 150);
}

static void expect_whole(const struct held *held)
{
    EXPECT(held->memory[0] == held->mark && held->memory[held->bytes - 1] == held->mark);
    EXPECT(held->memory[held->bytes / 2] == held->mark);
}

TEST(cells_do_not_overlap_and_their_memory_is_used_again)
{
    static struct held held[MOST];
    struct nr_random random;
    struct nr_slab *slab = nr_slab_create(64 * (size_t)MIB);
    size_t count = 0, most_bytes = 0;
    nr_random_init(&random, 1);
    for (int step = 0; step < 60000; step++) {
        bool takes = count == 0 || (count < MOST && nr_random_below(&random, 2000) >= count / 2);
        if (takes) {
            struct held *new = &held[count];
            new->bytes = some_size(&random);
            new->mark = (uint8_t)step;
            new->memory = nr_slab_take(slab, new->bytes);
            EXPECT(new->memory && (uintptr_t) new->memory % 64 == 0);
            memset(new->memory, new->mark, new->bytes);
            count++;
        } else {
            size_t i = nr_random_below(&random, count);
            expect_whole(&held[i]);
            nr_slab_give(held[i].memory);
            held[i] = held[--count];
        }
        most_bytes = NR_MAX(most_bytes, nr_slab_bytes(slab));
    }
    EXPECT(most_bytes < 40 * (size_t)MIB);
    for (size_t i = 0; i < count; i++) {
        expect_whole(&held[i]);
        nr_slab_give(held[i].memory);
    }
    void *last = nr_slab_take(slab, 4000);  /* What was given back is found now. */
    EXPECT(nr_slab_bytes(slab) <= 4 * MIB); /* The chunk it is in, and a spare one. */
    nr_slab_give(last);
    nr_slab_release(slab);
}

TEST(what_does_not_fit_is_for_another_allocator)
{
    struct nr_slab *slab = nr_slab_create(3 * MIB), *none = nr_slab_create(MIB);
    EXPECT(!nr_slab_take(none, 4000));
    EXPECT(!nr_slab_take(slab, 0));
    EXPECT(!nr_slab_take(slab, 1000));
    EXPECT(!nr_slab_take(slab, 16385));
    EXPECT_EQ(nr_slab_bytes(slab), 0);
    void *cell = nr_slab_take(slab, 4000);
    EXPECT(cell);
    EXPECT(!nr_slab_take(slab, 8000)); /* Of another class, and there is no room for one more chunk. */
    nr_slab_give(cell);
    EXPECT(nr_slab_take(slab, 4096) == cell);
    nr_slab_give(cell);
    nr_slab_release(slab);
    nr_slab_release(none);
    nr_slab_release(NULL);
}

TEST(the_slab_goes_with_its_last_cell_and_bears_a_lack_of_memory)
{
    uint64_t live = nr_alloc_live();
    nr_alloc_fail_at(1);
    EXPECT(!nr_slab_create(64 * (size_t)MIB));
    struct nr_slab *slab = nr_slab_create(64 * (size_t)MIB);
    nr_alloc_fail_at(1);
    EXPECT(!nr_slab_take(slab, 4000));
    nr_alloc_fail_at(0);
    void *first = nr_slab_take(slab, 4000), *second = nr_slab_take(slab, 9000);
    nr_slab_release(slab);
    nr_slab_give(first);
    memset(second, 1, 9000);
    nr_slab_give(second);
    EXPECT_EQ(nr_alloc_live(), live);
}

struct giver {
    struct nr_slab *slab;
    uint64_t seed, wrong;
};

static void *take_and_give(void *arg)
{
    struct giver *giver = arg;
    struct nr_random random;
    struct held held[64];
    memset(held, 0, sizeof held);
    nr_random_init(&random, giver->seed);
    for (int step = 0; step < 20000; step++) {
        struct held *one = &held[nr_random_below(&random, NR_ARRAY_LEN(held))];
        if (one->memory) {
            giver->wrong += one->memory[0] != one->mark || one->memory[one->bytes - 1] != one->mark;
            nr_slab_give(one->memory);
            one->memory = NULL;
        } else {
            one->bytes = some_size(&random);
            one->mark = (uint8_t)(giver->seed * 50 + (uint64_t)step);
            one->memory = nr_slab_take(giver->slab, one->bytes);
            if (one->memory) memset(one->memory, one->mark, one->bytes);
        }
    }
    for (size_t i = 0; i < NR_ARRAY_LEN(held); i++)
        if (held[i].memory) nr_slab_give(held[i].memory);
    return NULL;
}

TEST(threads_take_and_give_at_once)
{
    struct giver givers[4];
    pthread_t threads[4];
    uint64_t live = nr_alloc_live();
    struct nr_slab *slab = nr_slab_create(8 * (size_t)MIB);
    for (size_t i = 0; i < 4; i++) {
        givers[i] = (struct giver){slab, i + 1, 0};
        EXPECT_EQ(pthread_create(&threads[i], NULL, take_and_give, &givers[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        EXPECT_EQ(givers[i].wrong, 0);
    }
    nr_slab_release(slab);
    EXPECT_EQ(nr_alloc_live(), live);
}

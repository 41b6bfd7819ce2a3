#include "harness.h"

TEST(the_nth_allocation_fails_once)
{
    void *blocks[4];
    nr_alloc_fail_at(3);
    for (size_t i = 0; i < 4; i++) blocks[i] = nr_alloc(16);
    for (size_t i = 0; i < 4; i++) EXPECT_EQ(blocks[i] == NULL, i == 2);
    for (size_t i = 0; i < 4; i++) nr_free(blocks[i]);
}

TEST(every_way_to_allocate_can_fail)
{
    void *block = nr_alloc(8);
    nr_alloc_fail_at(1);
    EXPECT(nr_calloc(1, 8) == NULL);
    nr_alloc_fail_at(1);
    EXPECT(nr_realloc(block, 100) == NULL);
    nr_alloc_fail_at(1);
    EXPECT(nr_alloc_aligned(64, 8) == NULL);
    nr_alloc_fail_at(1);
    EXPECT(nr_strdup("x") == NULL);
    nr_alloc_fail_at(1);
    nr_alloc_fail_at(0);
    block = nr_realloc(block, 100);
    EXPECT(block != NULL);
    nr_free(block);
}

TEST(live_blocks_are_counted)
{
    uint64_t before = nr_alloc_live();
    void *a = nr_alloc(0), *b = nr_realloc(NULL, 10), *c = nr_alloc_aligned(4096, 1);
    EXPECT(a && b && c);
    EXPECT_EQ((uintptr_t)c % 4096, 0);
    b = nr_realloc(b, 100000);
    EXPECT_EQ(nr_alloc_live() - before, 3);
    nr_free(NULL);
    nori_free(a);
    nr_free(b);
    nr_free(c);
    EXPECT_EQ(nr_alloc_live(), before);
}

TEST(calloc_checks_the_product)
{
    volatile size_t half = SIZE_MAX / 2;
    EXPECT(nr_calloc(half, 3) == NULL);
}

TEST(large_memory_begins_at_a_large_page_and_fails_like_any_other)
{
    static const size_t sizes[] = {1, 1000, 1u << 20, (2u << 20) - 16, 2u << 20, (5u << 20) + 7};
    for (size_t i = 0; i < NR_ARRAY_LEN(sizes); i++) {
        uint8_t *memory = nr_alloc_large(sizes[i]);
        EXPECT(memory != NULL);
        memory[0] = memory[sizes[i] - 1] = 7;
        if (sizes[i] > 1u << 20) EXPECT_EQ((uintptr_t)memory % (2u << 20), 0);
        nr_free(memory);
        nr_alloc_fail_at(1);
        EXPECT(nr_alloc_large(sizes[i]) == NULL);
        nr_alloc_fail_at(0);
    }
}

#include "harness.h"

#include "base/arena.h"

TEST(what_was_reserved_cannot_fail)
{
    static const size_t sums[] = {8, 64, 100, 1000, 1024, 1025, 70000};
    struct nr_arena arena;
    struct nori_error err;
    nr_arena_init(&arena, 1024);
    for (size_t i = 0; i < NR_ARRAY_LEN(sums); i++) {
        EXPECT_OK(nr_arena_reserve(&arena, sums[i], &err), &err);
        nr_alloc_fail_at(1);
        for (size_t taken = 0; taken + 8 <= sums[i]; taken += 8) EXPECT(nr_arena_alloc(&arena, 5) != NULL);
        nr_alloc_fail_at(0);
    }
    nr_arena_clear(&arena);
}

TEST(allocations_are_aligned_and_do_not_overlap)
{
    struct nr_arena arena;
    uint8_t *blocks[200];
    nr_arena_init(&arena, 512);
    for (size_t i = 0; i < NR_ARRAY_LEN(blocks); i++) {
        blocks[i] = nr_arena_alloc(&arena, i * 7);
        EXPECT(blocks[i] != NULL);
        EXPECT_EQ((uintptr_t)blocks[i] % 8, 0);
        if (i > 0) memset(blocks[i], (int)i, i * 7);
    }
    for (size_t i = 0; i < NR_ARRAY_LEN(blocks); i++) {
        for (size_t j = 0; j < i * 7; j++) EXPECT_EQ(blocks[i][j], (uint8_t)i);
    }
    nr_arena_clear(&arena);
    EXPECT_EQ(nr_arena_bytes(&arena), 0);
}

TEST(a_large_request_gets_a_chunk_that_fits)
{
    struct nr_arena arena;
    nr_arena_init(&arena, 256);
    EXPECT(nr_arena_alloc(&arena, 100000) != NULL);
    EXPECT(nr_arena_bytes(&arena) >= 100000);
    EXPECT(nr_arena_bytes(&arena) < 101000);
    EXPECT(nr_arena_alloc(&arena, 8) != NULL);
    nr_arena_clear(&arena);
}

TEST(a_failed_allocation_leaves_the_arena_usable)
{
    struct nr_arena arena;
    struct nori_error err;
    nr_arena_init(&arena, 256);
    nr_alloc_fail_at(1);
    EXPECT(nr_arena_alloc(&arena, 10) == NULL);
    EXPECT(nr_arena_alloc(&arena, 10) != NULL);
    nr_alloc_fail_at(1);
    EXPECT_STATUS(nr_arena_reserve(&arena, 300, &err), NORI_NO_MEMORY, &err);
    EXPECT_OK(nr_arena_reserve(&arena, 300, &err), &err);
    EXPECT(nr_arena_alloc(&arena, SIZE_MAX) == NULL);
    EXPECT(nr_arena_alloc(&arena, SIZE_MAX - 8) == NULL);
    EXPECT_STATUS(nr_arena_reserve(&arena, SIZE_MAX, &err), NORI_NO_MEMORY, &err);
    nr_arena_clear(&arena);
}

TEST(chunk_of_large_bytes_lies_in_a_large_page)
{
    struct nr_arena arena;
    nr_arena_init(&arena, 1000);
    for (int i = 0; i < 3; i++) {
        uintptr_t memory = (uintptr_t)nr_arena_alloc(&arena, NR_ARENA_LARGE_BYTES);
        EXPECT(memory != 0);
        EXPECT(memory % (2u << 20) < 64);
    }
    nr_arena_clear(&arena);
}

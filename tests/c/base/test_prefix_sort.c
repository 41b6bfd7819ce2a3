#include "harness.h"

#include "base/prefix_sort.h"
#include "base/random.h"

#define MOST 5000

static struct nr_sort_item items[MOST], scratch[MOST], expected[MOST];
static uint64_t compare_count;

/* Offsets stand for the rest of the keys. */
static int compare_offsets(const struct nr_sort_item *a, const struct nr_sort_item *b)
{
    compare_count++;
    return a->offset < b->offset ? -1 : 1;
}

static int compare_all(const void *a, const void *b)
{
    const struct nr_sort_item *x = a, *y = b;
    if (x->prefix != y->prefix) return x->prefix < y->prefix ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static void expect_sorted(size_t count)
{
    qsort(expected, count, sizeof *expected, compare_all);
    for (size_t i = 0; i < count; i++) {
        EXPECT_EQ(items[i].prefix, expected[i].prefix);
        EXPECT_EQ(items[i].offset, expected[i].offset);
    }
}

TEST(any_prefixes_are_sorted_and_equal_ones_keep_their_order)
{
    static const uint64_t masks[] = {UINT64_MAX, 0, 0xff, 0xff00000000000000, 0x0f000f00000f0001, 3};
    struct nr_random dice;
    nr_random_init(&dice, 3);
    for (int round = 0; round < 300; round++) {
        size_t count = round < 100 ? (size_t)round : nr_random_below(&dice, MOST);
        uint64_t mask = masks[round % NR_ARRAY_LEN(masks)];
        for (size_t i = 0; i < count; i++) {
            items[i] = (struct nr_sort_item){.prefix = nr_random_next(&dice) & mask, .offset = i};
            expected[i] = items[i];
        }
        nr_prefix_sort(items, scratch, count);
        expect_sorted(count);
    }
}

TEST(ties_are_sorted_by_the_rest_whatever_their_order)
{
    struct nr_random dice;
    nr_random_init(&dice, 4);
    for (int round = 0; round < 200; round++) {
        size_t count = nr_random_below(&dice, 300);
        for (size_t i = 0; i < count; i++) {
            size_t offset = round % 3 == 0 ? i : round % 3 == 1 ? count - i : nr_random_next(&dice) >> 8;
            items[i] = (struct nr_sort_item){.prefix = nr_random_below(&dice, 5), .offset = offset};
            expected[i] = items[i];
        }
        nr_prefix_sort(items, scratch, count);
        nr_prefix_sort_ties(items, count, compare_offsets);
        expect_sorted(count);
    }
}

TEST(ties_that_fall_cost_one_comparison_each)
{
    for (size_t i = 0; i < MOST; i++) items[i] = (struct nr_sort_item){.prefix = 7, .offset = MOST - i};
    compare_count = 0;
    nr_prefix_sort_ties(items, MOST, compare_offsets);
    EXPECT_EQ(compare_count, MOST - 1);
    for (size_t i = 0; i < MOST; i++) EXPECT_EQ(items[i].offset, i + 1);
}

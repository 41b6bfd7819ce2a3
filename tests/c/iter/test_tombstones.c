#include "universe.h"

#include "iter/tombstones.h"

enum { MAX_RANGES = 60 };

static struct nr_bound random_bound(struct nr_random *random)
{
    uint64_t i = nr_random_below(random, UNIVERSE_KEY_COUNT + 4);
    return i < UNIVERSE_KEY_COUNT ? nr_bound_key(universe_key(i)) : nr_bound_infinite();
}

static size_t random_ranges(struct nr_random *random, struct nr_range *ranges, uint64_t sequences)
{
    size_t count = nr_random_below(random, MAX_RANGES + 1);
    for (size_t i = 0; i < count; i++) {
        ranges[i].start = universe_key(nr_random_below(random, UNIVERSE_KEY_COUNT));
        ranges[i].end = random_bound(random);
        ranges[i].sequence = 1 + nr_random_below(random, sequences);
    }
    return count;
}

static uint64_t brute_covering(const struct nr_range *ranges, size_t count, nori_slice key, uint64_t max_sequence)
{
    uint64_t best = 0;
    for (size_t i = 0; i < count; i++) {
        const struct nr_range *range = &ranges[i];
        if (range->sequence > max_sequence || range->sequence < best) continue;
        if (nr_slice_compare(range->start, key) <= 0 && nr_bound_above(range->end, key)) best = range->sequence;
    }
    return best;
}

static void expect_well_formed(const struct nr_tombstones *set)
{
    for (size_t i = 0; set && i < set->fragment_count; i++) {
        const struct nr_fragment *fragment = &set->fragments[i], *before = i ? fragment - 1 : NULL;
        EXPECT(nr_bound_above(fragment->end, fragment->start));
        EXPECT(fragment->sequence_count >= 1);
        for (size_t s = 1; s < fragment->sequence_count; s++) {
            EXPECT(fragment->sequences[s - 1] > fragment->sequences[s]);
        }
        if (!before) continue;
        EXPECT(!nr_bound_above(before->end, fragment->start));
        EXPECT(!nr_slice_equal(before->end.key, fragment->start) ||
               before->sequence_count != fragment->sequence_count ||
               memcmp(before->sequences, fragment->sequences, fragment->sequence_count * sizeof(uint64_t)) != 0);
    }
}

static void expect_covers(const struct nr_tombstones *set, const struct nr_range *ranges, size_t count,
                          uint64_t sequences, struct nr_random *random)
{
    size_t hint = 0;
    expect_well_formed(set);
    EXPECT(set || brute_covering(ranges, count, universe_key(0), UINT64_MAX) == 0);
    for (size_t i = 0; i < UNIVERSE_KEY_COUNT; i++) {
        for (uint64_t max = 0; max <= sequences; max++) {
            uint64_t expected = brute_covering(ranges, count, universe_key(i), max);
            EXPECT_EQ(nr_tombstones_covering(set, universe_key(i), max), expected);
        }
    }
    for (int i = 0; i < 60; i++) {
        nori_slice key = universe_key(nr_random_below(random, UNIVERSE_KEY_COUNT));
        uint64_t max = nr_random_below(random, sequences + 1);
        if (nr_random_below(random, 20) == 0) hint = nr_random_below(random, 100);
        EXPECT_EQ(nr_tombstones_covering_near(set, key, max, &hint), brute_covering(ranges, count, key, max));
        EXPECT_EQ(nr_tombstones_seek(set, key, &hint), nr_tombstones_seek(set, key, NULL));
    }
}

TEST(a_built_set_covers_exactly_what_its_ranges_cover)
{
    struct nr_random random;
    struct nori_error err;
    nr_random_init(&random, 1);
    for (int round = 0; round < 400; round++) {
        struct nr_range ranges[MAX_RANGES];
        struct nr_tombstones *set;
        uint64_t sequences = 1 + nr_random_below(&random, 40);
        size_t count = random_ranges(&random, ranges, sequences);
        EXPECT_OK(nr_tombstones_build(ranges, count, &set, &err), &err);
        expect_covers(set, ranges, count, sequences, &random);
        nr_tombstones_unref(set);
    }
}

static bool clip_range(struct nr_range *range, const struct nr_clip *clip)
{
    if (nr_slice_compare(range->start, clip->start) < 0) range->start = clip->start;
    if (nr_bound_compare(range->end, clip->end) > 0) range->end = clip->end;
    return nr_bound_above(range->end, range->start);
}

TEST(a_merged_set_covers_what_the_clipped_sets_cover)
{
    enum { SETS = 4 };
    struct nr_random random;
    struct nori_error err;
    nr_random_init(&random, 2);
    for (int round = 0; round < 400; round++) {
        struct nr_range model[SETS * MAX_RANGES];
        struct nr_tombstones *sets[SETS], *merged;
        struct nr_clip clips[SETS];
        uint64_t sequences = 1 + nr_random_below(&random, 40), limit = nr_random_below(&random, sequences + 10);
        size_t set_count = nr_random_below(&random, SETS + 1), model_count = 0;
        bool is_clipped = nr_random_below(&random, 3) > 0;
        for (size_t s = 0; s < set_count; s++) {
            struct nr_range ranges[MAX_RANGES];
            size_t count = random_ranges(&random, ranges, sequences);
            EXPECT_OK(nr_tombstones_build(ranges, count, &sets[s], &err), &err);
            clips[s] =
                (struct nr_clip){universe_key(nr_random_below(&random, UNIVERSE_KEY_COUNT)), random_bound(&random)};
            for (size_t i = 0; i < count; i++) {
                if (ranges[i].sequence > limit) continue;
                if (!is_clipped || clip_range(&ranges[i], &clips[s])) model[model_count++] = ranges[i];
            }
        }
        EXPECT_OK(nr_tombstones_merge(sets, is_clipped ? clips : NULL, set_count, limit, &merged, &err), &err);
        for (size_t s = 0; s < set_count; s++) nr_tombstones_unref(sets[s]);
        expect_covers(merged, model, model_count, sequences, &random);
        nr_tombstones_unref(merged);
    }
}

TEST(ranges_that_touch_become_one_fragment)
{
    struct nori_error err;
    struct nr_tombstones *set;
    struct nr_range ranges[] = {
        {nr_slice_text("m"), nr_bound_key(nr_slice_text("p")), 7},
        {nr_slice_text("a"), nr_bound_key(nr_slice_text("m")), 7},
        {nr_slice_text("n"), nr_bound_key(nr_slice_text("n")), 9},
        {nr_slice_text("z"), nr_bound_key(nr_slice_text("b")), 9},
    };
    EXPECT_OK(nr_tombstones_build(ranges, 4, &set, &err), &err);
    EXPECT_EQ(set->fragment_count, 1);
    EXPECT_SLICE(set->fragments[0].start, "a");
    EXPECT_SLICE(set->fragments[0].end.key, "p");
    nr_tombstones_unref(set);
    EXPECT_OK(nr_tombstones_build(ranges + 2, 2, &set, &err), &err);
    EXPECT(!set);
}

TEST(a_single_set_kept_whole_is_shared)
{
    struct nori_error err;
    struct nr_tombstones *sets[2] = {NULL, NULL}, *merged;
    struct nr_range range = {nr_slice_text("a"), nr_bound_key(nr_slice_text("m")), 7};
    EXPECT_OK(nr_tombstones_build(&range, 1, &sets[1], &err), &err);
    EXPECT_OK(nr_tombstones_merge(sets, NULL, 2, 7, &merged, &err), &err);
    EXPECT(merged == sets[1]);
    nr_tombstones_unref(merged);
    EXPECT_OK(nr_tombstones_merge(sets, NULL, 2, 6, &merged, &err), &err);
    EXPECT(!merged);
    nr_tombstones_unref(sets[1]);
}

/* Four ways to delete ever more (or less) of one end of the key space. */
TEST(memory_of_trimming_deletes_grows_with_their_number_not_its_square)
{
    enum { RANGES = 3000 };
    static struct nr_range ranges[RANGES];
    static uint8_t keys[RANGES][4];
    struct nori_error err;
    for (int way = 0; way < 4; way++) {
        struct nr_tombstones *set, *merged;
        for (size_t i = 0; i < RANGES; i++) {
            size_t at = way & 1 ? RANGES - i : i + 1;
            keys[i][2] = (uint8_t)(at >> 8);
            keys[i][3] = (uint8_t)at;
            ranges[i].sequence = i + 1;
            ranges[i].start = way & 2 ? nr_slice(keys[i], 4) : nr_slice(NULL, 0);
            ranges[i].end = way & 2 ? nr_bound_infinite() : nr_bound_key(nr_slice(keys[i], 4));
        }
        EXPECT_OK(nr_tombstones_build(ranges, RANGES, &set, &err), &err);
        EXPECT_EQ(set->fragment_count, RANGES);
        EXPECT(set->bytes < RANGES * 100);
        struct nr_tombstones *sets[] = {set, set};
        EXPECT_OK(nr_tombstones_merge(sets, NULL, 2, UINT64_MAX, &merged, &err), &err);
        EXPECT_EQ(merged->fragment_count, RANGES);
        EXPECT_EQ(merged->bytes, set->bytes);
        for (size_t i = 0; i < RANGES; i += 7) {
            nori_slice key = nr_slice(keys[i], 4);
            for (uint64_t max = 0; max <= RANGES; max += 500) {
                uint64_t expected =
                    i % 49 ? nr_tombstones_covering(set, key, max) : brute_covering(ranges, RANGES, key, max);
                EXPECT_EQ(nr_tombstones_covering(merged, key, max), expected);
            }
        }
        nr_tombstones_unref(merged);
        nr_tombstones_unref(set);
    }
}

TEST(failed_allocations_are_reported_and_leave_nothing)
{
    struct nr_random random;
    struct nori_error err;
    struct nr_range ranges[MAX_RANGES];
    struct nr_tombstones *set = NULL, *merged = NULL;
    nr_random_init(&random, 5);
    size_t count;
    do count = random_ranges(&random, ranges, 50);
    while (count < 40);
    for (uint64_t nth = 1;; nth++) {
        nr_alloc_fail_at(nth);
        nori_status status = nr_tombstones_build(ranges, count, &set, &err);
        nr_alloc_fail_at(0);
        if (status == NORI_OK && nth > 4) break;
        EXPECT_EQ(status, NORI_NO_MEMORY);
        EXPECT(!set);
    }
    struct nr_tombstones *sets[] = {set, set};
    for (uint64_t nth = 1;; nth++) {
        nr_alloc_fail_at(nth);
        nori_status status = nr_tombstones_merge(sets, NULL, 2, 40, &merged, &err);
        nr_alloc_fail_at(0);
        if (status == NORI_OK && nth > 4) break;
        EXPECT_EQ(status, NORI_NO_MEMORY);
        EXPECT(!merged);
    }
    nr_tombstones_unref(merged);
    nr_tombstones_unref(set);
}

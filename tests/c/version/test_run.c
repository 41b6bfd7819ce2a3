#include "fixture.h"

/* A run of random slices; which file covers each key goes to 'numbers' (0: none). */
static struct nr_run *random_run(struct universe *universe, struct nr_random *random, uint64_t numbers[KEY_COUNT])
{
    struct nr_table_slice slices[KEY_COUNT];
    struct nr_run *run;
    size_t count = 0, at = (size_t)nr_random_below(random, 8);
    memset(numbers, 0, KEY_COUNT * sizeof(*numbers));
    while (at < KEY_COUNT) {
        size_t wanted = at + 1 + (size_t)nr_random_below(random, 9), last = NR_MIN(wanted, (size_t)KEY_COUNT);
        struct nr_table_file *file = make_file(universe, at, last, 1, 2, 1);
        slices[count++] = slice_of(file, at, last);
        for (size_t i = at; i < last; i++) numbers[i] = file->number;
        at = last + (size_t)nr_random_below(random, 3);
    }
    EXPECT_OK(nr_run_create(7, slices, count, &run, &err), &err);
    for (size_t i = 0; i < count; i++) nr_table_file_unref(slices[i].file);
    return run;
}

/* Whether the run covers exactly the keys in [first, last) ('inside') or out of it. */
static void expect_covers(const struct nr_run *run, const uint64_t numbers[KEY_COUNT], size_t first, size_t last,
                          bool inside)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        const struct nr_table_slice *slice = run ? nr_run_find(run, key_at(i)) : NULL;
        uint64_t expected = (i >= first && i < last) == inside ? numbers[i] : 0;
        EXPECT_EQ(slice ? slice->file->number : 0, expected);
    }
}

static uint64_t field(const struct nr_run *run, int index)
{
    if (!run) return 0;
    const uint64_t fields[] = {run->bytes, run->entries, run->deletes, run->ranges};
    return fields[index];
}

TEST(what_is_clipped_and_what_is_left_cover_the_run_once_and_add_up_to_it)
{
    static struct universe universe;
    struct nr_random random;
    nr_random_init(&random, 2);
    for (int round = 0; round < 400; round++) {
        uint64_t numbers[KEY_COUNT];
        struct nr_run *inside, *outside;
        struct nr_run *run = random_run(&universe, &random, numbers);
        size_t first = (size_t)nr_random_below(&random, KEY_COUNT);
        size_t last = first + (size_t)nr_random_below(&random, KEY_COUNT + 1 - first);
        EXPECT_OK(nr_run_clip(run, guard_at(first), bound_at(last), 9, &inside, &err), &err);
        EXPECT_OK(nr_run_subtract(run, guard_at(first), bound_at(last), &outside, &err), &err);
        expect_covers(inside, numbers, first, last, true);
        expect_covers(outside, numbers, first, last, false);
        for (int i = 0; i < 4; i++) EXPECT_EQ(field(inside, i) + field(outside, i), field(run, i));
        EXPECT_EQ(nr_run_overlaps(run, guard_at(first), bound_at(last)), inside != NULL);
        if (inside) EXPECT_EQ(inside->run_id, inside == run ? 7 : 9);
        if (outside) EXPECT_EQ(outside->run_id, 7);
        if (!outside) EXPECT(inside == run);
        if (!inside) EXPECT(outside == run);
        nr_run_unref(inside);
        nr_run_unref(outside);
        nr_run_unref(run);
    }
    EXPECT_EQ(universe.live_count, 0);
    universe.next_number = 0;
}

TEST(a_cut_gives_each_side_its_share_of_the_keys)
{
    static struct universe universe;
    struct nr_run *left, *run = make_run(&universe, 1, 0, 40, 1, 2, 1);
    EXPECT_OK(nr_run_clip(run, nr_slice("", 0), nr_bound_key(key_at(10)), 2, &left, &err), &err);
    EXPECT(left->bytes > 800 && left->bytes < 1200);
    nr_run_unref(left);
    nr_run_unref(run);
}

TEST(bounds_too_close_to_tell_are_cut_in_the_middle_and_open_ones_somewhere)
{
    struct nr_table_file *file;
    struct nr_run *run, *left, *right;
    struct nr_table_properties properties = {.smallest = nr_slice("", 0), .end = nr_bound_infinite()};
    static const char close[3][12] = {"a", "a\0\0\0\0\0\0\0\0", "a\0\0\0\0\0\0\0\0\0"};
    EXPECT_OK(nr_table_file_create(1, 1000, &properties, NULL, NULL, &file, &err), &err);
    struct nr_table_slice slices[] = {
        {.file = file, .start = nr_slice(close[0], 1), .end = nr_bound_key(nr_slice(close[2], 11)), .bytes = 100},
        {.file = file, .start = nr_slice("b", 1), .end = nr_bound_infinite(), .bytes = 1000}};
    EXPECT_OK(nr_run_create(1, slices, 2, &run, &err), &err);
    EXPECT_OK(nr_run_clip(run, nr_slice("", 0), nr_bound_key(nr_slice(close[1], 9)), 2, &left, &err), &err);
    EXPECT_EQ(left->bytes, 50);
    EXPECT_OK(nr_run_clip(run, nr_slice("\xff", 1), nr_bound_infinite(), 2, &right, &err), &err);
    EXPECT(right->bytes < 100 && right->slices[0].end.infinite);
    EXPECT(nr_run_find(run, nr_slice("zzz", 3)) == &run->slices[1]);
    EXPECT_EQ(nr_run_seek(run, nr_slice("\xff\xff", 2)), 1);
    nr_run_unref(left);
    nr_run_unref(right);
    nr_run_unref(run);
    nr_table_file_unref(file);
}

TEST(a_file_keeps_its_keys_and_goes_with_its_last_slice)
{
    static struct universe universe;
    struct nr_run *run = make_run(&universe, 1, 3, 9, 1, 2, 1), *part;
    EXPECT_SLICE(run->slices[0].file->properties.smallest, "tenant/user/0021");
    EXPECT_SLICE(run->slices[0].file->properties.end.key, "tenant/user/0063");
    EXPECT_OK(nr_run_clip(run, key_at(4), bound_at(5), 2, &part, &err), &err);
    nr_run_unref(run);
    EXPECT_EQ(universe.live_count, 1);
    nr_run_unref(part);
    EXPECT_EQ(universe.live_count, 0);
}

TEST(a_failed_allocation_leaves_the_run_as_it_was)
{
    static struct universe universe;
    struct nr_run *run = make_run(&universe, 1, 0, 40, 1, 2, 1), *part;
    for (uint64_t nth = 1;; nth++) {
        nr_alloc_fail_at(nth);
        nori_status rc = nr_run_clip(run, key_at(4), bound_at(20), 2, &part, &err);
        if (rc == NORI_OK) {
            nr_run_unref(part);
            rc = nr_run_subtract(run, key_at(4), bound_at(20), &part, &err);
        }
        nr_alloc_fail_at(0);
        /* What is left of a slice cut in its middle is two. */
        EXPECT_EQ(atomic_load(&run->slices[0].file->refs), rc == NORI_OK ? 3 : 1);
        nr_run_unref(part);
        if (rc == NORI_OK) break;
        EXPECT_EQ(rc, NORI_NO_MEMORY);
        EXPECT(part == NULL);
    }
    nr_run_unref(run);
}

#include "merge_fixture.h"

/* A run of three tables: keys 000, 002, ... in [0, 60), [60, 120), [120, 180). The middle one is cut to [70, 110). */
static struct nr_run *make_run(struct fixture *fixture)
{
    struct nr_table_slice slices[3];
    struct nr_run *parts[3], *run = NULL;
    struct nr_moment present = {NR_MAX_SEQUENCE, 0};
    uint64_t bytes;
    for (unsigned i = 0; i < 3; i++) {
        struct nr_memtable *memtable = memtable_create(fixture);
        for (unsigned j = 0; j < 30; j++) {
            char key[8];
            snprintf(key, sizeof key, "%03u", 60 * i + 2 * j);
            write_one(memtable, NR_TYPE_PUT, nr_slice_text(key), nr_slice_text(key), 1 + 30 * i + j);
        }
        if (i != 0) write_range(memtable, nr_slice_text("065"), nr_bound_key(nr_slice_text("125")), 1000 + i);
        EXPECT_OK(nr_flush_execute(&fixture->context, &memtable, 1, &present, 1, 5, &parts[i], &bytes, &err), &err);
        nr_memtable_unref(memtable);
        slices[i] = parts[i]->slices[0];
    }
    slices[1].start = nr_slice_text("070");
    slices[1].end = nr_bound_key(nr_slice_text("110"));
    slices[2].start = nr_slice_text("120");
    EXPECT_OK(nr_run_create(9, slices, 3, &run, &err), &err);
    for (size_t i = 0; i < 3; i++) nr_run_unref(parts[i]);
    return run;
}

static bool is_key(unsigned number, unsigned low, unsigned high)
{
    /* Range tombstones hid what the flush dropped: middle table [65, 120) all but 60..64, last table [120, 125). */
    bool is_first = number < 60, is_last = number >= 126 && number < 180;
    return number % 2 == 0 && (is_first || is_last) && number >= low && number < high;
}

TEST(a_run_iterates_over_its_slices_both_ways_and_from_any_key)
{
    struct fixture fixture;
    fixture_init(&fixture);
    struct nr_run *run = make_run(&fixture);
    static const unsigned bounds[][2] = {{0, 200}, {10, 130}, {61, 119}, {58, 127}, {150, 151}, {180, 199}, {0, 1}};
    for (size_t i = 0; i < NR_ARRAY_LEN(bounds); i++) {
        char low[8], high[8];
        struct nr_read read = {0};
        struct nr_iter *iter = NULL;
        snprintf(low, sizeof low, "%03u", bounds[i][0]);
        snprintf(high, sizeof high, "%03u", bounds[i][1]);
        EXPECT_OK(nr_run_iter_create(run, nr_slice_text(low), nr_bound_key(nr_slice_text(high)), fixture.tables,
                                     &fixture.epoch, &read, &iter, &err),
                  &err);
        unsigned count = 0, seen = 0;
        for (unsigned j = 0; j < 200; j++) count += is_key(j, bounds[i][0], bounds[i][1]);
        EXPECT_OK(nr_iter_seek_first(iter, &err), &err);
        for (; iter->entry; seen++) EXPECT_OK(nr_iter_next(iter, &err), &err);
        EXPECT_EQ(seen, count);
        EXPECT_OK(nr_iter_seek_last(iter, &err), &err);
        for (seen = 0; iter->entry; seen++) EXPECT_OK(nr_iter_prev(iter, &err), &err);
        EXPECT_EQ(seen, count);
        for (unsigned j = 0; j < 200; j++) {
            char key[8];
            unsigned above = j, below = j + 1;
            snprintf(key, sizeof key, "%03u", j);
            while (above < 200 && !is_key(above, bounds[i][0], bounds[i][1])) above++;
            while (below > 0 && !is_key(below - 1, bounds[i][0], bounds[i][1])) below--;
            EXPECT_OK(nr_iter_seek(iter, nr_slice_text(key), nr_tag_seek(NR_MAX_SEQUENCE), &err), &err);
            EXPECT_EQ(iter->entry != NULL, above < 200);
            if (iter->entry) EXPECT_EQ(strtoul((const char *)iter->entry->value.data, NULL, 10), above);
            EXPECT_OK(nr_iter_seek_back(iter, nr_slice_text(key), 0, &err), &err);
            EXPECT_EQ(iter->entry != NULL, below > 0);
            if (iter->entry) EXPECT_EQ(strtoul((const char *)iter->entry->value.data, NULL, 10), below - 1);
        }
        nr_iter_destroy(iter);
        nr_read_clear(&read);
    }
    nr_run_unref(run);
    fixture_clear(&fixture);
}

TEST(range_tombstones_of_a_run_are_clipped_to_its_slices_and_to_the_range_asked_for)
{
    struct fixture fixture;
    struct nr_tombstones *set = NULL;
    fixture_init(&fixture);
    struct nr_run *run = make_run(&fixture);
    EXPECT_OK(nr_run_tombstones(run, nr_slice("", 0), nr_bound_infinite(), fixture.tables, &fixture.epoch, &set, &err),
              &err);
    EXPECT_EQ(nr_tombstones_covering(set, nr_slice_text("068"), NR_MAX_SEQUENCE), 0);
    EXPECT_EQ(nr_tombstones_covering(set, nr_slice_text("070"), NR_MAX_SEQUENCE), 1001);
    EXPECT_EQ(nr_tombstones_covering(set, nr_slice_text("109"), NR_MAX_SEQUENCE), 1001);
    EXPECT_EQ(nr_tombstones_covering(set, nr_slice_text("110"), NR_MAX_SEQUENCE), 0);
    EXPECT_EQ(nr_tombstones_covering(set, nr_slice_text("124"), NR_MAX_SEQUENCE), 1002);
    nr_tombstones_unref(set);
    EXPECT_OK(nr_run_tombstones(run, nr_slice_text("100"), nr_bound_key(nr_slice_text("105")), fixture.tables,
                                &fixture.epoch, &set, &err),
              &err);
    EXPECT_EQ(set->fragment_count, 1);
    EXPECT_SLICE(set->fragments[0].start, "100");
    EXPECT_SLICE(set->fragments[0].end.key, "105");
    nr_tombstones_unref(set);
    EXPECT_OK(nr_run_tombstones(run, nr_slice("", 0), nr_bound_key(nr_slice_text("050")), fixture.tables,
                                &fixture.epoch, &set, &err),
              &err);
    EXPECT(!set);
    nr_run_unref(run);
    fixture_clear(&fixture);
}

TEST(a_reader_that_must_not_wait_is_told_so_and_can_seek_again)
{
    struct fixture fixture;
    struct nr_read read = {.no_wait = true};
    struct nr_iter *iter = NULL;
    fixture_init(&fixture);
    struct nr_run *run = make_run(&fixture);
    EXPECT_OK(nr_run_iter_create(run, nr_slice("", 0), nr_bound_infinite(), fixture.tables, &fixture.epoch, &read,
                                 &iter, &err),
              &err);
    EXPECT_STATUS(nr_iter_seek_first(iter, &err), NORI_AGAIN, &err);
    EXPECT(!iter->entry);
    read.no_wait = false;
    EXPECT_OK(nr_iter_seek_first(iter, &err), &err);
    EXPECT(iter->entry);
    nr_iter_destroy(iter);
    nr_read_clear(&read);
    nr_run_unref(run);
    fixture_clear(&fixture);
}

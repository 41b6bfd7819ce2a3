/* What readers find in the block cache, they find there when it has been merged. */
#include <errno.h>

#include "merge_script.h"

#define RUNS 3
#define OPERATIONS 400

struct merging {
    struct fixture fixture;
    struct nr_run *runs[RUNS];
    struct nr_run *merged;
};

static void begin(struct merging *merging)
{
    struct nr_random random;
    uint64_t sequence = 0;
    nr_random_init(&random, 17);
    fixture_init(&merging->fixture);
    merging->fixture.options.table_bytes = 2048;
    make_runs(&merging->fixture, &random, merging->runs, RUNS, OPERATIONS, &sequence);
}

/* How many blocks had to be read. */
static uint64_t read_through(struct merging *merging, struct nr_run **runs, size_t count)
{
    struct nr_read read = {0};
    struct nr_iter *iter =
        reader_create(&merging->fixture, runs, count, (struct nr_moment){NR_MAX_SEQUENCE, 1000}, &read);
    EXPECT_OK(nr_iter_seek_first(iter, &err), &err);
    while (iter->entry) EXPECT_OK(nr_iter_next(iter, &err), &err);
    nr_iter_destroy(iter);
    uint64_t blocks_read = read.blocks_read;
    nr_read_clear(&read);
    return blocks_read;
}

static nori_status merge(struct merging *merging)
{
    struct nr_merge_input inputs[RUNS];
    struct nr_moment present = {NR_MAX_SEQUENCE, 1000};
    struct nr_merge_target target = {1, nr_slice("", 0), nr_bound_infinite(), NULL};
    for (size_t i = 0; i < RUNS; i++)
        inputs[i] = (struct nr_merge_input){merging->runs[i], nr_slice("", 0), nr_bound_infinite()};
    struct nr_merge_job job = {
        .inputs = inputs, .input_count = RUNS, .targets = &target, .target_count = 1, .level = 1};
    job.moments = &present;
    job.moment_count = 1;
    nori_status rc = nr_merge_execute(&merging->fixture.context, &job, &err);
    merging->merged = target.run;
    return rc;
}

static void end(struct merging *merging)
{
    nr_run_unref(merging->merged);
    fixture_clear(&merging->fixture);
}

TEST(what_was_cached_stays_cached)
{
    struct merging merging;
    begin(&merging);
    EXPECT(read_through(&merging, merging.runs, RUNS) > 0);
    EXPECT_EQ(read_through(&merging, merging.runs, RUNS), 0);
    EXPECT_OK(merge(&merging), &err);
    unref_runs(merging.runs, RUNS);
    EXPECT(merging.merged->slice_count > 1);
    EXPECT_EQ(read_through(&merging, &merging.merged, 1), 0);
    end(&merging);
}

TEST(what_nobody_had_read_does_not_come_into_the_cache)
{
    struct merging merging;
    begin(&merging);
    EXPECT_OK(merge(&merging), &err);
    EXPECT_EQ(nr_block_cache_bytes(merging.fixture.blocks), 0);
    unref_runs(merging.runs, RUNS);
    EXPECT(read_through(&merging, &merging.merged, 1) > 0);
    end(&merging);
}

TEST(a_merge_that_fails_leaves_nothing_in_the_cache)
{
    struct merging merging;
    size_t failed = 0;
    for (uint64_t nth = 1; failed == nth - 1; nth++) {
        begin(&merging);
        (void)read_through(&merging, merging.runs, RUNS);
        size_t cached = nr_block_cache_bytes(merging.fixture.blocks);
        EXPECT_OK(nori_simdisk_fail(merging.fixture.env, "write", nth, ENOSPC, false, &err), &err);
        if (merge(&merging) != NORI_OK) {
            EXPECT_EQ(nr_block_cache_bytes(merging.fixture.blocks), cached);
            EXPECT(!merging.merged);
            failed++;
        }
        unref_runs(merging.runs, RUNS);
        end(&merging);
    }
    EXPECT(failed > 1);
}

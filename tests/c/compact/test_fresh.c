/* Fresh keys: what tables say of them is true of all that is older, and not far from all that could be said. */
#include "merge_script.h"

#define OPERATIONS 60

/* Which keys 'runs' hold anything of. */
static void mark_keys(struct fixture *fixture, struct nr_run *const *runs, size_t count, bool held[KEYS])
{
    memset(held, 0, KEYS * sizeof *held);
    for (size_t i = 0; i < count; i++) {
        struct nr_read read = {0};
        struct nr_iter *iter = NULL;
        EXPECT_OK(nr_run_iter_create(runs[i], nr_slice("", 0), nr_bound_infinite(), fixture->tables, &fixture->epoch,
                                     &read, &iter, &err),
                  &err);
        EXPECT_OK(nr_iter_seek_first(iter, &err), &err);
        while (iter->entry) {
            held[atoi((const char *)iter->entry->key.data + 3)] = true;
            EXPECT_OK(nr_iter_next(iter, &err), &err);
        }
        nr_iter_destroy(iter);
        nr_read_clear(&read);
    }
}

/* Keys of the slice whose newest entry is a put, and of which nothing is in 'held'. */
static uint64_t count_fresh(struct fixture *fixture, struct nr_run *run, const struct nr_table_slice *slice,
                            const bool held[KEYS])
{
    struct nr_read read = {0};
    struct nr_iter *iter = NULL;
    uint64_t count = 0;
    int last = -1;
    EXPECT_OK(nr_run_iter_create(run, slice->start, slice->end, fixture->tables, &fixture->epoch, &read, &iter, &err),
              &err);
    EXPECT_OK(nr_iter_seek_first(iter, &err), &err);
    while (iter->entry) {
        int number = atoi((const char *)iter->entry->key.data + 3);
        count += number != last && nr_tag_type(iter->entry->tag) != NR_TYPE_DELETE && !held[number];
        last = number;
        EXPECT_OK(nr_iter_next(iter, &err), &err);
    }
    nr_iter_destroy(iter);
    nr_read_clear(&read);
    return count;
}

TEST(what_tables_of_random_merges_count_as_fresh_is_fresh)
{
    struct nr_random random;
    uint64_t counted = 0, fresh = 0;
    nr_random_init(&random, 12);
    for (size_t round = 0; round < 20; round++) {
        struct fixture fixture;
        struct nr_run *runs[5];
        struct nr_merge_input inputs[3];
        struct nr_merge_target target = {7, nr_slice("", 0), nr_bound_infinite(), NULL};
        struct nr_moment moments[4];
        uint64_t sequence = 0;
        bool held[KEYS];
        fixture_init(&fixture);
        fixture.options.table_bytes = 2048;
        make_runs(&fixture, &random, runs, 5, OPERATIONS, &sequence); /* Two older ones stay. */
        for (size_t i = 0; i < 4; i++) moments[i] = (struct nr_moment){sequence * (i + 1) / 4, 20 * (i + 1)};
        for (size_t i = 0; i < 3; i++)
            inputs[i] = (struct nr_merge_input){runs[i], nr_slice("", 0), nr_bound_infinite()};
        struct nr_merge_job job = {.inputs = inputs, .input_count = 3, .targets = &target, .target_count = 1};
        job.older = &runs[3];
        job.older_count = 2;
        job.moments = moments + (round % 2 ? 0 : 3); /* With snapshots, and without. */
        job.moment_count = round % 2 ? 4 : 1;
        job.level = 1;
        job.counts_fresh = true;
        EXPECT_OK(nr_merge_execute(&fixture.context, &job, &err), &err);
        mark_keys(&fixture, &runs[3], 2, held);
        for (size_t i = 0; i < target.run->slice_count; i++) {
            const struct nr_table_slice *slice = &target.run->slices[i];
            uint64_t most = count_fresh(&fixture, target.run, slice, held);
            EXPECT(slice->file->properties.fresh_count <= most);
            counted += slice->file->properties.fresh_count;
            fresh += most;
        }
        nr_run_unref(target.run);
        unref_runs(runs, 5);
        fixture_clear(&fixture);
    }
    EXPECT(fresh > 1000 && counted * 100 > fresh * 95);
}

static struct nr_run *put_run(struct fixture *fixture, unsigned first, unsigned count, uint64_t sequence)
{
    struct nr_memtable *memtable = memtable_create(fixture);
    struct nr_moment present = {NR_MAX_SEQUENCE, 0};
    struct nr_run *run = NULL;
    uint64_t bytes;
    for (unsigned i = 0; i < count; i++) {
        char key[16];
        write_one(memtable, NR_TYPE_PUT, make_key(key, first + i), nr_slice("value", 5), sequence + i);
    }
    EXPECT_OK(nr_flush_execute(&fixture->context, &memtable, 1, &present, 1, 5, &run, &bytes, &err), &err);
    nr_memtable_unref(memtable);
    return run;
}

/* Of a merge of keys [first, first + count) over [100, 400), of which half are in a table of their own. */
static uint64_t count_over(unsigned first, unsigned count, bool has_filters, bool are_lost)
{
    struct fixture fixture;
    struct nr_moment present = {NR_MAX_SEQUENCE, 0};
    struct nr_merge_target target = {7, nr_slice("", 0), nr_bound_infinite(), NULL};
    char name[NR_FILE_NAME_BYTES];
    fixture_init(&fixture);
    fixture.options.table_bytes = 1 << 20;
    if (!has_filters) fixture.options.filters.bloom_bits_per_key = 0;
    struct nr_run *older[] = {put_run(&fixture, 250, 150, 300), put_run(&fixture, 100, 150, 100)};
    struct nr_run *run = put_run(&fixture, first, count, 1000);
    for (size_t i = 0; i < 2 && are_lost; i++) {
        nr_name_table(name, older[i]->slices[0].file->number);
        EXPECT_OK(nr_dir_unlink(fixture.dir, name, &err), &err);
    }
    struct nr_merge_input input = {run, nr_slice("", 0), nr_bound_infinite()};
    struct nr_merge_job job = {.inputs = &input, .input_count = 1, .targets = &target, .target_count = 1, .level = 1};
    job.older = older;
    job.older_count = 2;
    job.moments = &present;
    job.moment_count = 1;
    job.counts_fresh = true;
    EXPECT_OK(nr_merge_execute(&fixture.context, &job, &err), &err);
    EXPECT_EQ(target.run->entries, count);
    uint64_t fresh = target.run->slices[0].file->properties.fresh_count;
    EXPECT(fresh == count ? target.run->fresh_bytes == target.run->bytes : target.run->fresh_bytes < target.run->bytes);
    nr_run_unref(target.run);
    nr_run_unref(run);
    unref_runs(older, 2);
    fixture_clear(&fixture);
    return fresh;
}

TEST(keys_outside_of_what_is_older_are_fresh_whatever_filters_say)
{
    EXPECT_EQ(count_over(0, 100, false, false), 100);
    EXPECT_EQ(count_over(400, 300, false, false), 300);
    EXPECT_EQ(count_over(50, 100, false, true), 50);
}

TEST(what_has_no_filter_or_cannot_be_opened_may_hold_every_key)
{
    EXPECT_EQ(count_over(100, 300, false, false), 0);
    EXPECT_EQ(count_over(100, 300, true, false), 0);
    EXPECT_EQ(count_over(100, 300, true, true), 0);
}

TEST(where_the_first_keys_are_not_fresh_the_next_are_not_asked_for)
{
    EXPECT_EQ(count_over(140, 600, true, false), 0);   /* 260 that are not fresh, and 340 that are. */
    EXPECT_EQ(count_over(240, 600, true, false), 440); /* 160, and 440. */
}

#include <errno.h>

#include "merge_script.h"

#define ROUNDS 4
#define OPERATIONS 600

/* As an edit that could not be made would: their files go with the last reference. */
static void unref_targets(struct nr_merge_job *job)
{
    for (size_t i = 0; i < job->target_count; i++) {
        nr_run_unref(job->targets[i].run);
        job->targets[i].run = NULL;
    }
}

static void use_targets(struct nr_merge_job *job, struct nr_merge_target *targets)
{
    targets[0] = (struct nr_merge_target){7, nr_slice("", 0), nr_bound_key(nr_slice_text("key00150")), NULL};
    targets[1] = (struct nr_merge_target){8, nr_slice_text("key00150"), nr_bound_key(nr_slice_text("key00151")), NULL};
    targets[2] = (struct nr_merge_target){9, nr_slice_text("key00151"), nr_bound_infinite(), NULL};
    job->targets = targets;
    job->target_count = 3;
}

static void check_outputs(const struct nr_merge_job *job)
{
    for (size_t i = 0; i < job->target_count; i++) {
        const struct nr_run *run = job->targets[i].run;
        for (size_t j = 0; run && j < run->slice_count; j++) {
            const struct nr_table_slice *slice = &run->slices[j];
            EXPECT(nr_slice_compare(slice->start, job->targets[i].start) >= 0);
            EXPECT(nr_bound_compare(slice->end, job->targets[i].end) <= 0);
            EXPECT(nr_bound_above(slice->end, slice->start));
            if (j > 0) EXPECT(!nr_bound_above(run->slices[j - 1].end, slice->start));
            EXPECT_EQ(slice->bytes, slice->file->file_bytes);
            EXPECT_EQ(slice->file->properties.level, job->level);
            EXPECT_EQ(slice->file->properties.created_ms, job->created_ms);
            EXPECT_EQ(slice->file->properties.slot_id, job->targets[i].slot_id);
        }
    }
}

TEST(readers_see_the_same_over_the_outputs_of_random_merges)
{
    struct nr_random random;
    size_t most_slices = 0;
    nr_random_init(&random, 11);
    for (size_t round = 0; round < ROUNDS; round++) {
        struct fixture fixture;
        struct nr_run *runs[5];
        struct nr_merge_input inputs[3];
        struct nr_merge_target targets[3];
        struct nr_moment moments[4];
        uint64_t sequence = 0;
        fixture_init(&fixture);
        fixture.options.table_bytes = 2048;
        make_runs(&fixture, &random, runs, 5, OPERATIONS, &sequence); /* Two older ones stay. */
        for (size_t i = 0; i < 4; i++) moments[i] = (struct nr_moment){sequence * (i + 1) / 4, 20 * (i + 1)};
        for (size_t i = 0; i < 3; i++)
            inputs[i] = (struct nr_merge_input){runs[i], nr_slice("", 0), nr_bound_infinite()};
        size_t first_moment = round == 0 ? 3 : 0;
        struct nr_merge_job job = {.inputs = inputs, .input_count = 3, .level = 2, .created_ms = 9};
        job.older = &runs[3];
        job.older_count = 2;
        job.moments = moments + first_moment;
        job.moment_count = 4 - first_moment;
        use_targets(&job, targets);
        EXPECT_OK(nr_merge_execute(&fixture.context, &job, &err), &err);
        check_outputs(&job);
        EXPECT(job.entries_written < job.entries_read && job.bytes_read > 0 && job.bytes_written > 0);
        for (size_t i = 0; i < 3; i++)
            most_slices = NR_MAX(most_slices, targets[i].run ? targets[i].run->slice_count : 0);
        struct nr_run *all[5] = {targets[0].run, targets[1].run, targets[2].run, runs[3], runs[4]};
        for (size_t i = first_moment; i < 4; i++) expect_same(&fixture, runs, 5, all, 5, moments[i]);
        expect_same(&fixture, runs, 5, all, 5, (struct nr_moment){NR_MAX_SEQUENCE, 1000});
        for (size_t i = 0; i < 3; i++) nr_run_unref(targets[i].run);
        unref_runs(runs, 5);
        EXPECT_EQ(count_tables(&fixture), 0);
        fixture_clear(&fixture);
    }
    EXPECT(most_slices > 1);
}

TEST(a_merge_of_everything_leaves_no_tombstone)
{
    struct fixture fixture;
    struct nr_random random;
    struct nr_run *runs[3];
    struct nr_merge_input inputs[3];
    struct nr_merge_target target = {1, nr_slice("", 0), nr_bound_infinite(), NULL};
    uint64_t sequence = 0;
    nr_random_init(&random, 3);
    fixture_init(&fixture);
    make_runs(&fixture, &random, runs, 3, OPERATIONS, &sequence);
    struct nr_moment present = {sequence, 1000};
    for (size_t i = 0; i < 3; i++) inputs[i] = (struct nr_merge_input){runs[i], nr_slice("", 0), nr_bound_infinite()};
    struct nr_merge_job job = {.inputs = inputs, .input_count = 3, .targets = &target, .target_count = 1, .level = 1};
    job.moments = &present;
    job.moment_count = 1;
    EXPECT_OK(nr_merge_execute(&fixture.context, &job, &err), &err);
    EXPECT(target.run);
    EXPECT_EQ(target.run->deletes, 0);
    EXPECT_EQ(target.run->ranges, 0);
    for (size_t i = 0; i < target.run->slice_count; i++) {
        EXPECT_EQ(target.run->slices[i].file->properties.largest_expiry_ms, 0);
    }
    expect_same(&fixture, runs, 3, &target.run, 1, present);
    nr_run_unref(target.run);
    unref_runs(runs, 3);
    fixture_clear(&fixture);
}

TEST(a_merge_of_nothing_but_tombstones_over_nothing_gives_no_run)
{
    struct fixture fixture;
    struct nr_run *run = NULL;
    struct nr_moment present = {10, 0};
    uint64_t bytes;
    fixture_init(&fixture);
    struct nr_memtable *memtable = memtable_create(&fixture);
    write_one(memtable, NR_TYPE_DELETE, nr_slice_text("a"), nr_slice("", 0), 1);
    write_range(memtable, nr_slice_text("b"), nr_bound_infinite(), 2);
    EXPECT_OK(nr_flush_execute(&fixture.context, &memtable, 1, &present, 1, 5, &run, &bytes, &err), &err);
    EXPECT_EQ(run->slice_count, 1);
    EXPECT_EQ(run->deletes, 1);
    EXPECT_EQ(run->ranges, 1);
    EXPECT(run->slices[0].end.infinite);
    struct nr_merge_input input = {run, nr_slice("", 0), nr_bound_infinite()};
    struct nr_merge_target target = {1, nr_slice("", 0), nr_bound_infinite(), NULL};
    struct nr_merge_job job = {.inputs = &input, .input_count = 1, .targets = &target, .target_count = 1, .level = 1};
    job.moments = &present;
    job.moment_count = 1;
    EXPECT_OK(nr_merge_execute(&fixture.context, &job, &err), &err);
    EXPECT(!target.run);
    EXPECT_EQ(count_tables(&fixture), 1);
    nr_run_unref(run);
    nr_memtable_unref(memtable);
    fixture_clear(&fixture);
}

TEST(an_empty_memtable_flushes_to_no_run)
{
    struct fixture fixture;
    struct nr_run *run = NULL;
    struct nr_moment present = {10, 0};
    uint64_t bytes;
    fixture_init(&fixture);
    struct nr_memtable *memtable = memtable_create(&fixture);
    EXPECT_OK(nr_flush_execute(&fixture.context, &memtable, 1, &present, 1, 5, &run, &bytes, &err), &err);
    EXPECT(!run);
    EXPECT_EQ(count_tables(&fixture), 0);
    nr_memtable_unref(memtable);
    fixture_clear(&fixture);
}

/* A run of plain puts of 'count' keys from 'first' on. */
static struct nr_run *put_run(struct fixture *fixture, unsigned first, unsigned count, uint64_t first_sequence)
{
    struct nr_run *run = NULL;
    uint64_t bytes;
    uint8_t value[100];
    struct nr_random random;
    nr_random_init(&random, first);
    struct nr_memtable *memtable = memtable_create(fixture);
    for (unsigned i = 0; i < count; i++) {
        char key[16];
        for (size_t j = 0; j < sizeof value; j++) value[j] = (uint8_t)nr_random_next(&random);
        write_one(memtable, NR_TYPE_PUT, make_key(key, first + i), nr_slice(value, sizeof value), first_sequence + i);
    }
    struct nr_moment present = {NR_MAX_SEQUENCE, 0};
    EXPECT_OK(nr_flush_execute(&fixture->context, &memtable, 1, &present, 1, 5, &run, &bytes, &err), &err);
    nr_memtable_unref(memtable);
    return run;
}

TEST(tables_that_nothing_overlaps_are_taken_over_unwritten)
{
    struct fixture fixture;
    struct nr_moment present = {NR_MAX_SEQUENCE, 0};
    fixture_init(&fixture);
    struct nr_run *runs[] = {put_run(&fixture, 200, 100, 300), put_run(&fixture, 90, 20, 200),
                             put_run(&fixture, 0, 100, 1)};
    struct nr_merge_input inputs[3];
    for (size_t i = 0; i < 3; i++) inputs[i] = (struct nr_merge_input){runs[i], nr_slice("", 0), nr_bound_infinite()};
    struct nr_merge_target target = {1, nr_slice("", 0), nr_bound_infinite(), NULL};
    struct nr_merge_job job = {.inputs = inputs, .input_count = 3, .targets = &target, .target_count = 1, .level = 1};
    job.moments = &present;
    job.moment_count = 1;
    EXPECT_OK(nr_merge_execute(&fixture.context, &job, &err), &err);
    const struct nr_table_slice *last = &target.run->slices[target.run->slice_count - 1];
    EXPECT(last->file == runs[0]->slices[0].file);
    EXPECT(last->file->number < job.first_number);
    EXPECT_EQ(job.entries_read, 120);
    EXPECT_EQ(job.entries_written, 110);
    expect_same(&fixture, runs, 3, &target.run, 1, present);
    unref_targets(&job);
    EXPECT(!target.run);
    EXPECT_EQ(count_tables(&fixture), 3); /* What was taken over is still there. */
    unref_runs(runs, 3);
    fixture_clear(&fixture);
}

/* Merges the upper half of a table of 100 keys by itself; how many entries that writes. */
static uint64_t merge_half(bool is_for_space)
{
    struct fixture fixture;
    struct nr_moment present = {NR_MAX_SEQUENCE, 0};
    struct nr_run *half = NULL;
    fixture_init(&fixture);
    struct nr_run *run = put_run(&fixture, 0, 100, 1);
    EXPECT_OK(nr_run_clip(run, nr_slice_text("key00050"), nr_bound_infinite(), 99, &half, &err), &err);
    fixture.options.table_bytes = half->bytes;
    struct nr_merge_input input = {half, nr_slice("", 0), nr_bound_infinite()};
    struct nr_merge_target target = {1, nr_slice("", 0), nr_bound_infinite(), NULL};
    struct nr_merge_job job = {.inputs = &input, .input_count = 1, .targets = &target, .target_count = 1, .level = 1};
    job.moments = &present;
    job.moment_count = 1;
    job.is_for_space = is_for_space;
    EXPECT_OK(nr_merge_execute(&fixture.context, &job, &err), &err);
    EXPECT_EQ(target.run->slices[0].file == run->slices[0].file, !is_for_space);
    EXPECT(nr_merge_leaves(&job, &target.run->slices[0]));
    expect_same(&fixture, &half, 1, &target.run, 1, present);
    unref_targets(&job);
    nr_run_unref(half);
    nr_run_unref(run);
    fixture_clear(&fixture);
    return job.entries_written;
}

TEST(a_table_of_which_little_is_left_is_taken_over_but_not_for_space)
{
    EXPECT_EQ(merge_half(false), 0);
    EXPECT_EQ(merge_half(true), 50);
}

/* Merges keys 300 to 309, sequences from 'first_sequence' on, and 295 to 304, sequences from 1 on, into two slots that
 * meet at 300, over a run of sequences from 50 on in the second where the newer of the two is above that. Returns how
 * many tables that makes. */
static uint64_t merge_into_two(uint64_t first_sequence)
{
    struct fixture fixture;
    struct nr_moment present = {NR_MAX_SEQUENCE, 0};
    fixture_init(&fixture);
    struct nr_run *runs[] = {put_run(&fixture, 300, 10, first_sequence), put_run(&fixture, 295, 10, 1)};
    struct nr_run *older = put_run(&fixture, 300, 10, 50);
    struct nr_merge_input inputs[2];
    for (size_t i = 0; i < 2; i++) inputs[i] = (struct nr_merge_input){runs[i], nr_slice("", 0), nr_bound_infinite()};
    struct nr_merge_target targets[2] = {{1, nr_slice("", 0), nr_bound_key(nr_slice_text("key00300")), NULL},
                                         {2, nr_slice_text("key00300"), nr_bound_infinite(), NULL}};
    struct nr_merge_job job = {.inputs = inputs, .input_count = 2, .targets = targets, .target_count = 2, .level = 1};
    job.moments = &present;
    job.moment_count = 1;
    job.older = &older;
    job.older_count = older && first_sequence > 50;
    EXPECT_OK(nr_merge_execute(&fixture.context, &job, &err), &err);
    EXPECT(targets[0].run && targets[1].run);
    EXPECT(nr_bound_compare(targets[0].run->slices[0].end, targets[0].end) <= 0);
    EXPECT(nr_slice_compare(targets[1].run->slices[0].start, targets[1].start) >= 0);
    EXPECT_EQ(targets[0].run->entries, 5); /* Counted, not taken from where 300 lies between 295 and 309. */
    EXPECT_EQ(targets[1].run->entries, 10);
    struct nr_run *outputs[] = {targets[0].run, targets[1].run};
    expect_same(&fixture, runs, 2, outputs, 2, present);
    uint64_t count = 1 + (targets[0].run->slices[0].file != targets[1].run->slices[0].file);
    EXPECT_EQ(count_tables(&fixture), 3 + count);
    unref_targets(&job);
    EXPECT_EQ(count_tables(&fixture), 3);
    unref_runs(runs, 2);
    unref_runs(&older, 1);
    fixture_clear(&fixture);
    return count;
}

TEST(slots_share_small_tables_but_not_where_one_would_stand_behind_older_data)
{
    EXPECT_EQ(merge_into_two(11), 1);
    EXPECT_EQ(merge_into_two(100), 2);
}

/* A slot that was handed down before its neighbours has newer data under it than these have in them. */
TEST(the_age_of_one_slot_cuts_no_tables_of_another)
{
    struct fixture fixture;
    struct nr_moment present = {NR_MAX_SEQUENCE, 0};
    fixture_init(&fixture);
    struct nr_run *runs[] = {put_run(&fixture, 300, 30, 100), put_run(&fixture, 310, 20, 1)}, *older;
    struct nr_run *parts[] = {put_run(&fixture, 300, 5, 50), put_run(&fixture, 305, 5, 60)};
    struct nr_table_slice slices[] = {parts[0]->slices[0], parts[1]->slices[0]};
    EXPECT_OK(nr_run_create(fixture.next_run_id++, slices, 2, &older, &err), &err);
    struct nr_merge_input inputs[2];
    for (size_t i = 0; i < 2; i++) inputs[i] = (struct nr_merge_input){runs[i], nr_slice("", 0), nr_bound_infinite()};
    nori_slice second = nr_slice_text("key00310"), third = nr_slice_text("key00320");
    struct nr_merge_target targets[3] = {{1, nr_slice("", 0), nr_bound_key(second), NULL},
                                         {2, second, nr_bound_key(third), NULL},
                                         {3, third, nr_bound_infinite(), NULL}};
    struct nr_merge_job job = {.inputs = inputs, .input_count = 2, .targets = targets, .target_count = 3, .level = 1};
    job.moments = &present;
    job.moment_count = 1;
    job.older = &older;
    job.older_count = 1;
    EXPECT_OK(nr_merge_execute(&fixture.context, &job, &err), &err);
    EXPECT_EQ(targets[0].run->slice_count, 1);
    EXPECT(targets[0].run->slices[0].file->properties.smallest_sequence > older->largest_sequence);
    EXPECT(targets[0].run->slices[0].file != targets[1].run->slices[0].file);
    EXPECT(targets[1].run->slices[0].file == targets[2].run->slices[0].file);
    struct nr_run *outputs[] = {targets[0].run, targets[1].run, targets[2].run};
    expect_same(&fixture, runs, 2, outputs, 3, present);
    EXPECT_EQ(count_tables(&fixture), 4 + 2);
    unref_targets(&job);
    unref_runs(runs, 2);
    unref_runs(&older, 1);
    unref_runs(parts, 2);
    fixture_clear(&fixture);
}

/* Merges keys 5 to 9, of sequence 100 and on, and keys 20 to 29, of sequence 1 and on, beside a run of keys 'first' and
 * on, of sequence 50 and on, which is in order for each key. A tombstone of sequence 200 may lie over all. */
static void merge_beside(unsigned first, bool is_older, bool has_tombstone)
{
    struct fixture fixture;
    struct nr_moment moments[] = {{150, 0}, {NR_MAX_SEQUENCE, 0}};
    fixture_init(&fixture);
    struct nr_run *runs[] = {put_run(&fixture, 5, 5, 100), put_run(&fixture, 20, 10, 1), NULL};
    struct nr_run *beside = put_run(&fixture, first, 10, 50);
    if (has_tombstone) {
        struct nr_memtable *memtable = memtable_create(&fixture);
        uint64_t bytes = 0;
        write_range(memtable, nr_slice_text("key00000"), nr_bound_key(nr_slice_text("key00040")), 200);
        EXPECT_OK(nr_flush_execute(&fixture.context, &memtable, 1, &moments[1], 1, 5, &runs[2], &bytes, &err), &err);
        nr_memtable_unref(memtable);
    }
    size_t input_count = has_tombstone ? 3 : 2;
    struct nr_merge_input inputs[3];
    for (size_t i = 0; i < input_count; i++) { /* The tombstone is newer than all. */
        struct nr_run *run = runs[has_tombstone ? (i + 2) % 3 : i];
        inputs[i] = (struct nr_merge_input){run, nr_slice("", 0), nr_bound_infinite()};
    }
    struct nr_merge_target target = {1, nr_slice("", 0), nr_bound_infinite(), NULL};
    struct nr_merge_job job = {.inputs = inputs, .input_count = input_count, .targets = &target, .target_count = 1};
    job.level = 1;
    job.moments = moments;
    job.moment_count = 2;
    if (is_older) {
        job.older = &beside;
        job.older_count = 1;
    } else {
        job.newer = &beside;
        job.newer_count = 1;
    }
    fixture.options.table_bytes = 1 << 20; /* Small tables are not taken over. */
    EXPECT_OK(nr_merge_execute(&fixture.context, &job, &err), &err);
    EXPECT(target.run->slice_count >= 2);
    for (size_t i = 0; i < target.run->slice_count; i++) {
        const struct nr_table_slice *slice = &target.run->slices[i];
        if (!nr_run_overlaps(beside, slice->start, slice->end)) continue;
        if (is_older)
            EXPECT(slice->file->properties.smallest_sequence > beside->largest_sequence);
        else
            EXPECT(slice->file->properties.largest_sequence < beside->smallest_sequence);
    }
    unref_targets(&job);
    unref_runs(runs, 3);
    unref_runs(&beside, 1);
    fixture_clear(&fixture);
}

TEST(tables_end_where_one_over_both_sides_would_not_stand_in_the_order_of_age)
{
    merge_beside(1, true, false);
    merge_beside(0, true, true);
    merge_beside(22, false, false);
}

/* A table of keys [first, first + count), put at 'sequence' and on, that expire at 'expires_at_ms' and on. */
static struct nr_run *expiring_run(struct fixture *fixture, unsigned first, unsigned count, uint64_t sequence,
                                   uint64_t expires_at_ms)
{
    struct nr_memtable *memtable = memtable_create(fixture);
    struct nr_moment present = {NR_MAX_SEQUENCE, 0};
    struct nr_run *run = NULL;
    uint64_t bytes = 0;
    for (unsigned i = 0; i < count; i++) {
        char key[16];
        uint8_t value[64] = {0};
        nr_put_fixed64(value, expires_at_ms + i);
        write_one(memtable, NR_TYPE_PUT_EXPIRING, make_key(key, first + i), nr_slice(value, sizeof value),
                  sequence + i);
    }
    EXPECT_OK(nr_flush_execute(&fixture->context, &memtable, 1, &present, 1, 5, &run, &bytes, &err), &err);
    nr_memtable_unref(memtable);
    return run;
}

/* Merges two tables side by side, the first of which is all expired at 1000, over 'older' (NULL: nothing). Returns how
 * many entries were read. */
static uint64_t merge_expired(struct nr_moment moment, bool has_older, bool is_older_an_input)
{
    struct fixture fixture;
    struct nr_moment moments[] = {moment, {NR_MAX_SEQUENCE, 1000}};
    fixture_init(&fixture);
    struct nr_run *runs[] = {expiring_run(&fixture, 0, 100, 201, 500), expiring_run(&fixture, 200, 100, 301, 2000),
                             put_run(&fixture, 50, 10, 1)};
    struct nr_merge_input inputs[3];
    for (size_t i = 0; i < 3; i++) inputs[i] = (struct nr_merge_input){runs[i], nr_slice("", 0), nr_bound_infinite()};
    struct nr_merge_target target = {1, nr_slice("", 0), nr_bound_infinite(), NULL};
    struct nr_merge_job job = {.inputs = inputs, .targets = &target, .target_count = 1, .level = 1};
    job.input_count = is_older_an_input ? 3 : 2;
    job.older = &runs[2];
    job.older_count = has_older && !is_older_an_input;
    job.moments = moments;
    job.moment_count = 2;
    fixture.options.table_bytes = 1 << 20; /* Small tables are not taken over. */
    EXPECT_OK(nr_merge_execute(&fixture.context, &job, &err), &err);
    EXPECT_EQ(target.run->slices[0].file->properties.lifetime_ms, 2099 - 5);
    struct nr_run *before[] = {runs[0], runs[1], runs[2]}, *after[] = {target.run, runs[2]};
    size_t older_count = has_older && !is_older_an_input;
    for (size_t i = 0; i < 2; i++)
        expect_same(&fixture, before, 2 + (has_older || is_older_an_input), after, 1 + older_count, moments[i]);
    unref_targets(&job);
    unref_runs(runs, 3);
    fixture_clear(&fixture);
    return job.entries_read;
}

TEST(tables_that_have_expired_for_all_are_dropped_unread_if_they_hide_nothing)
{
    struct nr_moment present = {NR_MAX_SEQUENCE - 1, 1000}, earlier = {NR_MAX_SEQUENCE - 1, 550}, before = {250, 1000};
    EXPECT_EQ(merge_expired(present, false, false), 100);
    EXPECT_EQ(merge_expired(earlier, false, false), 200); /* A snapshot sees half of them. */
    EXPECT_EQ(merge_expired(before, false, false), 200);  /* Of half of them an older snapshot knows nothing. */
    EXPECT_EQ(merge_expired(present, true, false), 200);
    EXPECT_EQ(merge_expired(present, false, true), 210);
}

TEST(a_merge_inside_level_0_spans_no_hole_between_its_inputs)
{
    struct fixture fixture;
    struct nr_moment present = {NR_MAX_SEQUENCE, 0};
    fixture_init(&fixture);
    fixture.options.table_bytes = 1 << 20; /* Small tables are joined. */
    struct nr_run *runs[] = {put_run(&fixture, 200, 100, 300), put_run(&fixture, 0, 100, 1)};
    struct nr_merge_input inputs[2];
    for (size_t i = 0; i < 2; i++) inputs[i] = (struct nr_merge_input){runs[i], nr_slice("", 0), nr_bound_infinite()};
    struct nr_merge_target target = {0, nr_slice("", 0), nr_bound_infinite(), NULL};
    struct nr_merge_job job = {.inputs = inputs, .input_count = 2, .targets = &target, .target_count = 1, .level = 0};
    job.moments = &present;
    job.moment_count = 1;
    EXPECT_OK(nr_merge_execute(&fixture.context, &job, &err), &err);
    EXPECT_EQ(target.run->slice_count, 2);
    EXPECT(target.run->slices[0].file == target.run->slices[1].file);
    EXPECT(!nr_run_find(target.run, nr_slice_text("key00150")));
    expect_same(&fixture, runs, 2, &target.run, 1, present);
    nr_run_unref(target.run);
    unref_runs(runs, 2);
    fixture_clear(&fixture);
}

TEST(versions_of_one_key_stay_in_one_table)
{
    struct fixture fixture;
    struct nr_run *run = NULL;
    uint64_t bytes;
    uint8_t value[300];
    struct nr_moment moments[300];
    struct nr_random random;
    nr_random_init(&random, 5);
    fixture_init(&fixture);
    struct nr_memtable *memtable = memtable_create(&fixture);
    for (uint64_t i = 0; i < 300; i++) {
        char key[16];
        for (size_t j = 0; j < sizeof value; j++) value[j] = (uint8_t)nr_random_next(&random);
        write_one(memtable, NR_TYPE_PUT, make_key(key, (unsigned)(i / 100)), nr_slice(value, sizeof value), i + 1);
        moments[i] = (struct nr_moment){i + 1, 0};
    }
    EXPECT_OK(nr_flush_execute(&fixture.context, &memtable, 1, moments, 300, 5, &run, &bytes, &err), &err);
    EXPECT_EQ(run->slice_count, 1);
    struct nr_merge_input input = {run, nr_slice("", 0), nr_bound_infinite()};
    struct nr_merge_target target = {1, nr_slice("", 0), nr_bound_infinite(), NULL};
    struct nr_merge_job job = {.inputs = &input, .input_count = 1, .targets = &target, .target_count = 1, .level = 1};
    job.moments = moments;
    job.moment_count = 300;
    fixture.options.table_bytes = UINT64_MAX; /* Nothing is taken over as it is. */
    EXPECT_OK(nr_merge_execute(&fixture.context, &job, &err), &err);
    EXPECT_EQ(target.run->slice_count, 1);
    nr_run_unref(target.run);
    struct nr_run *other = put_run(&fixture, 0, 3, 1000); /* Overlaps: the first is rewritten. */
    struct nr_merge_input both[] = {{other, nr_slice("", 0), nr_bound_infinite()}, input};
    job.inputs = both;
    job.input_count = 2;
    fixture.options.table_bytes = 8192;
    EXPECT_OK(nr_merge_execute(&fixture.context, &job, &err), &err);
    EXPECT_EQ(target.run->slice_count, 3);
    EXPECT_EQ(target.run->entries, 303);
    nr_run_unref(target.run);
    nr_run_unref(other);
    nr_run_unref(run);
    nr_memtable_unref(memtable);
    fixture_clear(&fixture);
}

TEST(inputs_are_clipped_and_entries_outside_of_all_targets_are_refused)
{
    struct fixture fixture;
    struct nr_moment present = {NR_MAX_SEQUENCE, 0};
    fixture_init(&fixture);
    struct nr_run *run = put_run(&fixture, 0, 100, 1);
    struct nr_merge_input input = {run, nr_slice_text("key00010"), nr_bound_key(nr_slice_text("key00020"))};
    struct nr_merge_target target = {1, nr_slice_text("key00010"), nr_bound_key(nr_slice_text("key00020")), NULL};
    struct nr_merge_job job = {.inputs = &input, .input_count = 1, .targets = &target, .target_count = 1, .level = 1};
    job.moments = &present;
    job.moment_count = 1;
    EXPECT_OK(nr_merge_execute(&fixture.context, &job, &err), &err);
    EXPECT_EQ(target.run->entries, 10);
    nr_run_unref(target.run);
    target.end = nr_bound_key(nr_slice_text("key00019"));
    EXPECT_STATUS(nr_merge_execute(&fixture.context, &job, &err), NORI_CORRUPTION, &err);
    target.start = nr_slice_text("key00011");
    EXPECT_STATUS(nr_merge_execute(&fixture.context, &job, &err), NORI_CORRUPTION, &err);
    EXPECT(!target.run);
    EXPECT_EQ(count_tables(&fixture), 1);
    nr_run_unref(run);
    fixture_clear(&fixture);
}

/* ---------------------------------------------------------------- failures */

struct failing {
    struct fixture fixture;
    struct nr_run *runs[3];
    struct nr_merge_input inputs[3];
    struct nr_merge_target targets[3];
    struct nr_moment moments[2];
    struct nr_merge_job job;
};

static void failing_init(struct failing *failing, size_t operations)
{
    struct nr_random random;
    uint64_t sequence = 0;
    nr_random_init(&random, 21);
    memset(failing, 0, sizeof *failing);
    fixture_init(&failing->fixture);
    failing->fixture.options.table_bytes = 4096;
    make_runs(&failing->fixture, &random, failing->runs, 3, operations, &sequence);
    failing->moments[0] = (struct nr_moment){sequence / 2, 0};
    failing->moments[1] = (struct nr_moment){sequence, 0};
    for (size_t i = 0; i < 3; i++) {
        failing->inputs[i] = (struct nr_merge_input){failing->runs[i], nr_slice("", 0), nr_bound_infinite()};
    }
    failing->job = (struct nr_merge_job){.inputs = failing->inputs, .input_count = 2, .level = 1, .created_ms = 9};
    failing->job.older = &failing->runs[2];
    failing->job.older_count = 1;
    failing->job.moments = failing->moments;
    failing->job.moment_count = 2;
    use_targets(&failing->job, failing->targets);
}

static void failing_clear(struct failing *failing)
{
    unref_runs(failing->runs, 3);
    fixture_clear(&failing->fixture);
}

static void expect_nothing_left(struct failing *failing)
{
    for (size_t i = 0; i < 3; i++) EXPECT(!failing->targets[i].run);
    EXPECT_EQ(count_tables(&failing->fixture), 3);
}

TEST(the_failure_of_any_allocation_leaves_no_file)
{
    struct failing failing;
    failing_init(&failing, 120);
    for (uint64_t nth = 1;; nth++) {
        nr_alloc_fail_at(nth);
        nori_status rc = nr_merge_execute(&failing.fixture.context, &failing.job, &err);
        nr_alloc_fail_at(0);
        if (rc == NORI_OK) {
            unref_targets(&failing.job);
            expect_nothing_left(&failing);
            break;
        }
        EXPECT_STATUS(rc, NORI_NO_MEMORY, &err);
        expect_nothing_left(&failing);
    }
    failing_clear(&failing);
}

TEST(the_failure_of_any_allocation_of_a_flush_leaves_no_file)
{
    struct fixture fixture;
    struct nr_random random;
    uint64_t sequence = 0, bytes;
    nr_random_init(&random, 22);
    fixture_init(&fixture);
    struct nr_memtable *memtable = memtable_create(&fixture);
    fill(memtable, &random, &sequence, 100);
    struct nr_moment present = {sequence, 0};
    for (uint64_t nth = 1;; nth++) {
        struct nr_run *run = NULL;
        nr_alloc_fail_at(nth);
        nori_status rc = nr_flush_execute(&fixture.context, &memtable, 1, &present, 1, 5, &run, &bytes, &err);
        nr_alloc_fail_at(0);
        nr_run_unref(run);
        EXPECT_EQ(count_tables(&fixture), 0);
        if (rc == NORI_OK) break;
        EXPECT_STATUS(rc, NORI_NO_MEMORY, &err);
        EXPECT(!run);
    }
    nr_memtable_unref(memtable);
    fixture_clear(&fixture);
}

TEST(a_failed_write_or_sync_fails_the_merge_and_leaves_no_file)
{
    static const char *const names[] = {"create", "write", "sync", "dir_sync"};
    struct failing failing;
    size_t failures = 0;
    failing_init(&failing, 300);
    for (size_t i = 0; i < NR_ARRAY_LEN(names); i++) {
        for (uint64_t nth = 1;; nth++) {
            nori_status armed = nori_simdisk_fail(failing.fixture.env, names[i], nth, ENOSPC, false, &err);
            EXPECT_OK(armed, &err);
            nori_status rc = nr_merge_execute(&failing.fixture.context, &failing.job, &err);
            nori_simdisk_clear_faults(failing.fixture.env);
            if (rc == NORI_OK) unref_targets(&failing.job);
            expect_nothing_left(&failing);
            if (rc == NORI_OK) break;
            EXPECT_STATUS(rc, NORI_IO, &err);
            failures++;
        }
    }
    EXPECT(failures > NR_ARRAY_LEN(names));
    failing_clear(&failing);
}

TEST(a_merge_stops_when_the_engine_closes)
{
    struct failing failing;
    failing_init(&failing, 4000);
    failing.fixture.admit_count = failing.fixture.admitted_bytes = 0;
    EXPECT_OK(nr_merge_execute(&failing.fixture.context, &failing.job, &err), &err);
    EXPECT(failing.fixture.admit_count > 0);
    EXPECT(failing.fixture.admitted_bytes <= failing.job.bytes_written + 2 * failing.fixture.options.table_bytes);
    unref_targets(&failing.job);
    failing.fixture.fail_admit_at = failing.fixture.admit_count + 1;
    EXPECT_STATUS(nr_merge_execute(&failing.fixture.context, &failing.job, &err), NORI_CLOSED, &err);
    expect_nothing_left(&failing);
    failing_clear(&failing);
}

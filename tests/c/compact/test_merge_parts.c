/* Merges that end early, at a key where a table ends, and go on from there. */
#include "merge_script.h"

#define ROUNDS 4
#define OPERATIONS 600
#define MAX_PARTS 200

struct parts {
    struct fixture fixture;
    struct nr_run *runs[5]; /* Two older ones stay. */
    struct nr_moment moments[4];
    struct nr_run *outputs[MAX_PARTS];
    size_t output_count, part_count;
    struct nr_merge_target targets[3];
};

static void parts_init(struct parts *parts, struct nr_random *random, size_t operations)
{
    uint64_t sequence = 0;
    memset(parts, 0, sizeof *parts);
    fixture_init(&parts->fixture);
    parts->fixture.options.table_bytes = 2048;
    make_runs(&parts->fixture, random, parts->runs, 5, operations, &sequence);
    for (size_t i = 0; i < 4; i++) parts->moments[i] = (struct nr_moment){sequence * (i + 1) / 4, 20 * (i + 1)};
}

static void parts_clear(struct parts *parts)
{
    unref_runs(parts->outputs, parts->output_count);
    unref_runs(parts->runs, 5);
    EXPECT_EQ(count_tables(&parts->fixture), 0);
    fixture_clear(&parts->fixture);
}

/* The targets from 'start' on. */
static size_t list_targets(struct nr_merge_target *targets, nori_slice start)
{
    static const char *const guards[] = {"", "key00150", "key00151"};
    size_t count = 0;
    for (size_t i = 0; i < 3; i++) {
        struct nr_bound end = i < 2 ? nr_bound_key(nr_slice_text(guards[i + 1])) : nr_bound_infinite();
        nori_slice guard = nr_slice_text(guards[i]);
        if (!nr_bound_above(end, start)) continue;
        nori_slice from = nr_slice_compare(guard, start) < 0 ? start : guard;
        targets[count++] = (struct nr_merge_target){7 + i, from, end, NULL};
    }
    return count;
}

/* One part after the other, of so many bytes at least. */
static nori_status merge_in_parts(struct parts *parts, size_t first_moment, uint64_t part_bytes)
{
    struct nr_buffer start;
    nori_status rc = NORI_OK;
    struct nr_merge_job job = {.input_count = 3, .level = 2, .created_ms = 9, .part_bytes = part_bytes};
    nr_buffer_init(&start);
    nr_buffer_init(&job.part_end);
    do {
        struct nr_merge_input inputs[3];
        nori_slice from = nr_buffer_slice(&start);
        for (size_t i = 0; i < 3; i++) inputs[i] = (struct nr_merge_input){parts->runs[i], from, nr_bound_infinite()};
        job.inputs = inputs;
        job.targets = parts->targets;
        job.target_count = list_targets(parts->targets, from);
        job.older = &parts->runs[3];
        job.older_count = 2;
        job.moments = parts->moments + first_moment;
        job.moment_count = 4 - first_moment;
        rc = nr_merge_execute(&parts->fixture.context, &job, &err);
        if (rc != NORI_OK) break;
        for (size_t i = 0; i < job.target_count; i++) {
            const struct nr_run *run = parts->targets[i].run;
            if (!run) continue;
            EXPECT(nr_slice_compare(run->slices[0].start, from) >= 0);
            if (job.is_part) {
                struct nr_bound end = nr_bound_key(nr_buffer_slice(&job.part_end));
                EXPECT(nr_bound_compare(run->slices[run->slice_count - 1].end, end) <= 0);
            }
            parts->outputs[parts->output_count++] = parts->targets[i].run;
        }
        if (job.is_part) {
            EXPECT(job.bytes_written >= part_bytes);
            EXPECT(nr_slice_compare(nr_buffer_slice(&job.part_end), from) > 0);
            rc = nr_buffer_assign(&start, nr_buffer_slice(&job.part_end), &err);
        }
        parts->part_count++;
    } while (job.is_part && rc == NORI_OK);
    nr_buffer_clear(&start);
    nr_buffer_clear(&job.part_end);
    return rc;
}

TEST(the_parts_of_a_merge_make_up_the_whole)
{
    struct nr_random random;
    nr_random_init(&random, 31);
    for (size_t round = 0; round < ROUNDS; round++) {
        struct parts parts;
        struct nr_run *after[MAX_PARTS + 2];
        size_t first_moment = round == 0 ? 3 : 0;
        parts_init(&parts, &random, OPERATIONS);
        EXPECT_OK(merge_in_parts(&parts, first_moment, 1 + round * 1500), &err);
        EXPECT(parts.part_count > 1);
        for (size_t i = 0; i < parts.output_count; i++) after[i] = parts.outputs[i];
        after[parts.output_count] = parts.runs[3];
        after[parts.output_count + 1] = parts.runs[4];
        for (size_t i = first_moment; i < 4; i++)
            expect_same(&parts.fixture, parts.runs, 5, after, parts.output_count + 2, parts.moments[i]);
        struct nr_moment last = {NR_MAX_SEQUENCE, 1000};
        expect_same(&parts.fixture, parts.runs, 5, after, parts.output_count + 2, last);
        parts_clear(&parts);
    }
}

TEST(a_merge_that_is_not_to_end_early_is_one_part)
{
    struct nr_random random;
    struct parts parts;
    nr_random_init(&random, 32);
    parts_init(&parts, &random, OPERATIONS);
    EXPECT_OK(merge_in_parts(&parts, 0, 0), &err);
    EXPECT_EQ(parts.part_count, 1);
    parts_clear(&parts);
}

TEST(the_failure_of_any_allocation_in_any_part_leaves_no_file_of_it)
{
    struct nr_random random;
    struct parts parts;
    nr_random_init(&random, 33);
    parts_init(&parts, &random, 120);
    for (uint64_t nth = 1;; nth += 3) {
        nr_alloc_fail_at(nth);
        nori_status rc = merge_in_parts(&parts, 0, 1);
        nr_alloc_fail_at(0);
        if (rc == NORI_OK) break;
        EXPECT_STATUS(rc, NORI_NO_MEMORY, &err);
        unref_runs(parts.outputs, parts.output_count);
        parts.output_count = parts.part_count = 0;
        EXPECT_EQ(count_tables(&parts.fixture), 5);
    }
    EXPECT(parts.part_count > 2);
    parts_clear(&parts);
}

/* Level 0 as a list of runs, against an array of their ids. */
#include "version/level0.h"

#include "fixture.h"

#define STEPS 4000
#define MOST_RUNS 600

static struct universe universe;

/* Newest first. */
struct ids {
    uint64_t items[MOST_RUNS];
    size_t count;
};

static void remove_ids(struct ids *ids, size_t first, size_t count)
{
    memmove(&ids->items[first], &ids->items[first + count], (ids->count - first - count) * sizeof(ids->items[0]));
    ids->count -= count;
}

static void insert_id(struct ids *ids, size_t at, uint64_t id)
{
    memmove(&ids->items[at + 1], &ids->items[at], (ids->count - at) * sizeof(ids->items[0]));
    ids->items[at] = id;
    ids->count++;
}

/* Runs share files: what is in them does not matter here. */
static struct nr_run *run_of(struct nr_table_file *file, uint64_t run_id)
{
    struct nr_run *run;
    struct nr_table_slice slice = slice_of(file, 0, KEY_COUNT - 1);
    EXPECT_OK(nr_run_create(run_id, &slice, 1, &run, &err), &err);
    return run;
}

static void expect_ids(const struct nr_level0 *level0, const struct ids *ids)
{
    struct nr_version *version;
    EXPECT_OK(nr_version_create(2, &version, &err), &err);
    EXPECT_OK(nr_level0_store(level0, version, &err), &err);
    const struct nr_slot *slot = nr_version_level0(version);
    EXPECT_EQ(slot->run_count, ids->count);
    for (size_t i = 0; i < ids->count; i++) EXPECT_EQ(slot->runs[i]->run_id, ids->items[i]);
    nr_version_unref(version);
}

static void merge_some(struct nr_level0 *level0, struct ids *ids, struct nr_random *random, struct nr_run *run)
{
    size_t first = (size_t)nr_random_below(random, ids->count);
    size_t count = 1 + (size_t)nr_random_below(random, NR_MIN(ids->count - first, (size_t)6));
    bool is_replaced = nr_random_below(random, 3) > 0;
    EXPECT_OK(nr_level0_merge(level0, ids->items[first], ids->items[first + count - 1], is_replaced ? run : NULL, &err),
              &err);
    remove_ids(ids, first, count);
    if (is_replaced) insert_id(ids, first, run->run_id);
}

static void subtract_some(struct nr_level0 *level0, struct ids *ids, struct nr_random *random)
{
    size_t at = (size_t)nr_random_below(random, ids->count);
    bool is_all = nr_random_below(random, 2) > 0;
    EXPECT_OK(nr_level0_subtract(level0, ids->items[at], key_at(0), bound_at(is_all ? KEY_COUNT - 1 : 3), &err), &err);
    if (is_all) remove_ids(ids, at, 1);
}

TEST(the_list_holds_what_an_array_would_hold_whatever_is_done)
{
    struct ids ids = {.count = 0};
    struct nr_random random;
    struct nr_version *empty;
    struct nr_level0 *level0;
    struct nr_table_file *file = make_file(&universe, 0, KEY_COUNT - 1, 1, 2, 0);
    nr_random_init(&random, 7);
    EXPECT_OK(nr_version_create(2, &empty, &err), &err);
    EXPECT_OK(nr_level0_create(empty, &level0, &err), &err);
    nr_version_unref(empty);
    for (uint64_t step = 1; step <= STEPS; step++) {
        struct nr_run *run = run_of(file, step * step);
        uint64_t draw = nr_random_below(&random, 10);
        if (ids.count == 0 || (draw < 6 && ids.count < MOST_RUNS)) {
            EXPECT_OK(nr_level0_push(level0, run, &err), &err);
            insert_id(&ids, 0, run->run_id);
        } else if (draw < 8) {
            merge_some(level0, &ids, &random, run);
        } else {
            subtract_some(level0, &ids, &random);
        }
        nr_run_unref(run);
        if (step % 16 == 0) expect_ids(level0, &ids);
    }
    nr_level0_destroy(level0);
    nr_table_file_unref(file);
    EXPECT_EQ(universe.live_count, 0);
}

/* What is done to the list in a version of runs 3, 2, 1, from the newest. */
static nori_status do_wrong(int wrong, struct nr_level0 *level0, struct nr_run *known, struct nr_run *fresh)
{
    switch (wrong) {
    case 0:
        return nr_level0_push(level0, known, &err);
    case 1:
        return nr_level0_subtract(level0, 9, key_at(0), bound_at(2), &err);
    case 2: /* Upside down. */
        return nr_level0_merge(level0, 1, 3, fresh, &err);
    case 3:
        return nr_level0_merge(level0, 3, 9, fresh, &err);
    case 4:
        return nr_level0_merge(level0, 9, 1, fresh, &err);
    default: /* The run that comes is one that stays. */
        return nr_level0_merge(level0, 3, 2, known, &err);
    }
}

TEST(what_does_not_fit_is_corruption)
{
    struct nr_table_file *file = make_file(&universe, 0, KEY_COUNT - 1, 1, 2, 0);
    for (int wrong = 0; wrong < 6; wrong++) {
        struct nr_version *empty;
        struct nr_level0 *level0;
        EXPECT_OK(nr_version_create(2, &empty, &err), &err);
        EXPECT_OK(nr_level0_create(empty, &level0, &err), &err);
        for (uint64_t id = 1; id <= 3; id++) {
            struct nr_run *run = run_of(file, id);
            EXPECT_OK(nr_level0_push(level0, run, &err), &err);
            nr_run_unref(run);
        }
        struct nr_run *known = run_of(file, 1), *fresh = run_of(file, 4);
        EXPECT_STATUS(do_wrong(wrong, level0, known, fresh), NORI_CORRUPTION, &err);
        nr_run_unref(known);
        nr_run_unref(fresh);
        nr_level0_destroy(level0);
        nr_version_unref(empty);
    }
    nr_table_file_unref(file);
}

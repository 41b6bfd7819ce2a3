#include "planner_model.h"

#include "compact/shift.h"

static struct nori_error err;

static uint64_t count_up(void *arg)
{
    return ++*(uint64_t *)arg;
}

/* Level 1 with slots [..f), [f..m), [m..t), [t..), one run of 1000 bytes in each; level 2 is cut likewise, and at c. */
static struct nr_version *make_tree(void)
{
    static const char *const starts[] = {"", "f", "m", "t"}, *const below[] = {"", "c", "f", "m", "t"};
    struct nr_version *version = NULL;
    struct nr_slot *slots[5];
    EXPECT_OK(nr_version_create(4, &version, &err), &err);
    for (uint64_t i = 0; i < 4; i++) {
        struct model_run model = {.bytes = 1000, .entries = 10, .smallest_sequence = 5, .largest_sequence = 9};
        nori_slice start = i ? nr_slice_text(starts[i]) : nr_slice_text("a");
        struct nr_bound end = nr_bound_key(nr_slice_text(i < 3 ? starts[i + 1] : "z"));
        struct nr_table_slice slice = model_slice(&model, 100 + i, start, end, 1);
        struct nr_run *run = model_run_create(200 + i, &slice, 1);
        struct nr_bound bound = i < 3 ? nr_bound_key(nr_slice_text(starts[i + 1])) : nr_bound_infinite();
        slots[i] = model_slot_create(1, 20 + i, nr_slice_text(starts[i]), bound, i == 2 ? 1 : 0, &run, 1);
    }
    model_set_level(version, 1, slots, 4);
    for (uint32_t level = 2; level < 4; level++) {
        for (uint64_t i = 0; i < 5; i++) {
            struct nr_bound bound = i < 4 ? nr_bound_key(nr_slice_text(below[i + 1])) : nr_bound_infinite();
            slots[i] = model_slot_create(level, level * 20 + 20 + i, nr_slice_text(below[i]), bound, 0, NULL, 0);
        }
        model_set_level(version, level, slots, 5);
    }
    EXPECT_OK(nr_version_check(version, &err), &err);
    return version;
}

static nori_status shift(struct nr_version *version, size_t wanted_slots, struct nr_version **next)
{
    uint64_t run_id = 1000;
    struct nr_edit *edit = NULL;
    nori_status rc = NORI_OK;
    *next = NULL;
    NR_CHECK(nr_edit_create(&edit, &err));
    NR_CHECK(nr_shift_edit(edit, version, 1, wanted_slots, 500, count_up, &run_id, &err));
    NR_CHECK(nr_edit_apply(edit, version, next, &err));
out:
    nr_edit_destroy(edit);
    return rc;
}

TEST(all_runs_go_down_whole_and_a_coarse_level_is_left)
{
    struct nr_version *version = make_tree(), *next;
    EXPECT_OK(shift(version, 2, &next), &err);
    EXPECT_OK(nr_version_check(next, &err), &err);
    EXPECT_EQ(next->levels[1]->bytes, 0);
    EXPECT_EQ(next->levels[2]->bytes, 4000);
    EXPECT_EQ(next->levels[2]->slot_count, 5);
    EXPECT_EQ(next->levels[1]->slot_count, 2);
    EXPECT_SLICE(nr_level_slot(next->levels[1], 1)->start, "t");
    /* The run over c is cut there; the others are the same. K goes along. */
    EXPECT_EQ(nr_level_slot(next->levels[2], 0)->run_count, 1);
    EXPECT(nr_level_slot(next->levels[2], 0)->runs[0]->run_id > 1000);
    EXPECT_EQ(nr_level_slot(next->levels[2], 3)->runs[0]->run_id, 202);
    EXPECT_EQ(nr_level_slot(next->levels[2], 3)->k_max, 1);
    nr_version_unref(next);
    nr_version_unref(version);
}

TEST(a_level_that_is_not_cut_yet_gets_the_guards_with_the_data)
{
    struct nr_version *version = make_tree(), *next;
    for (uint32_t level = 2; level < 4; level++) {
        struct nr_slot *slot = model_slot_create(level, level, nr_slice_text(""), nr_bound_infinite(), 0, NULL, 0);
        model_set_level(version, level, &slot, 1);
    }
    EXPECT_OK(shift(version, 2, &next), &err);
    EXPECT_OK(nr_version_check(next, &err), &err);
    EXPECT_EQ(next->levels[1]->bytes, 0);
    EXPECT_EQ(next->levels[2]->slot_count, 4);
    EXPECT_EQ(next->levels[3]->slot_count, 1);
    for (size_t i = 0; i < 4; i++) {
        const struct nr_slot *from = nr_level_slot(version->levels[1], i), *to = nr_level_slot(next->levels[2], i);
        EXPECT(nr_slice_equal(from->start, to->start));
        EXPECT(to->runs[0] == from->runs[0]);
        EXPECT_EQ(to->k_max, from->k_max);
        EXPECT_EQ(to->slot_id, i > 0 ? 499 + i : 2);
    }
    nr_version_unref(next);
    nr_version_unref(version);
}

TEST(slots_whose_data_came_in_another_order_stay_apart)
{
    struct nr_version *version = make_tree(), *next;
    /* Level 0 over one slot is older than what its neighbours have taken: admitted to a slot of all of them, and merged
     * with what comes over the others, it would stand before newer data. */
    struct model_run model = {.bytes = 100, .entries = 1, .smallest_sequence = 7, .largest_sequence = 12};
    struct nr_table_slice slice = model_slice(&model, 300, nr_slice_text("g"), nr_bound_key(nr_slice_text("h")), 1);
    struct nr_run *run = model_run_create(301, &slice, 1);
    struct nr_edit *edit = NULL;
    struct nr_version *deeper = NULL;
    EXPECT_OK(nr_edit_create(&edit, &err), &err);
    EXPECT_OK(nr_edit_add_file(edit, run->slices[0].file, &err), &err);
    EXPECT_OK(nr_edit_push_l0(edit, run, &err), &err);
    EXPECT_OK(nr_edit_apply(edit, version, &deeper, &err), &err);
    nr_edit_destroy(edit);
    nr_run_unref(run);
    size_t together = 0;
    for (size_t i = 0; i + 1 < 4; i++) {
        const struct nr_slot *left = nr_level_slot(deeper->levels[1], i),
                             *right = nr_level_slot(deeper->levels[1], i + 1);
        together += nr_version_may_join(deeper, 1, left->start, right->end);
    }
    EXPECT_OK(shift(deeper, 1, &next), &err);
    EXPECT(next->levels[1]->slot_count >= 4 - together);
    nr_version_unref(next);
    nr_version_unref(deeper);
    nr_version_unref(version);
}

TEST(without_memory_at_any_point_nothing_shifts)
{
    struct nr_version *version = make_tree(), *next;
    nori_status rc = NORI_NO_MEMORY;
    for (uint64_t nth = 1; rc != NORI_OK; nth++) {
        nr_alloc_fail_at(nth);
        rc = shift(version, 2, &next);
        nr_alloc_fail_at(0);
        if (rc == NORI_OK) break;
        EXPECT_EQ(rc, NORI_NO_MEMORY);
        EXPECT(!next);
        EXPECT_EQ(version->levels[1]->bytes, 4000);
        EXPECT(nth < 10000);
    }
    nr_version_unref(next);
    nr_version_unref(version);
}

/* A draft: what many edits make of a version, at the cost of what they change. */
#include "version/draft.h"

#include "model.h"

#define MANY_GUARDS 4000
#define COMPARED_GUARDS 300

static struct model model;

static struct nr_version *make_empty(size_t level_count)
{
    struct nr_version *version;
    EXPECT_OK(nr_version_create(level_count, &version, &err), &err);
    return version;
}

static struct nr_draft *begin(const struct nr_version *base)
{
    struct nr_draft *draft;
    EXPECT_OK(nr_draft_create(base, &draft, &err), &err);
    return draft;
}

static struct nr_version *finish(struct nr_draft *draft)
{
    struct nr_version *version;
    EXPECT_OK(nr_draft_finish(draft, &version, &err), &err);
    nr_draft_destroy(draft);
    return version;
}

static void apply_to_version(const struct nr_edit *edit, struct nr_version **version)
{
    struct nr_version *next;
    EXPECT_OK(nr_edit_apply(edit, *version, &next, &err), &err);
    nr_version_unref(*version);
    *version = next;
}

TEST(a_draft_becomes_what_its_edits_make_one_by_one)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        model_init(&model, seed);
        struct nr_version *version = make_empty(MODEL_LEVELS);
        struct nr_draft *draft = begin(version);
        for (int step = 0; step < 60; step++) {
            struct nr_edit *edit = model_step(&model, version);
            EXPECT_OK(nr_draft_apply(draft, edit, &err), &err);
            apply_to_version(edit, &version);
            nr_edit_destroy(edit);
            expect_model(&model, version);
        }
        struct nr_version *drafted = finish(draft);
        EXPECT(same_versions(drafted, version));
        EXPECT_EQ(drafted->number, version->number);
        EXPECT_OK(nr_version_check(drafted, &err), &err);
        nr_version_unref(drafted);
        nr_version_unref(version);
        EXPECT_EQ(model.universe.live_count, 0);
    }
}

/* One guard more or less, or another K, of level 1. */
static struct nr_edit *make_edit(struct nr_random *random, bool *is_there, size_t count)
{
    struct nr_edit *edit;
    char text[16];
    size_t at = (size_t)nr_random_below(random, count);
    nori_slice guard = nr_slice(text, (size_t)snprintf(text, sizeof(text), "%06zu", at));
    EXPECT_OK(nr_edit_create(&edit, &err), &err);
    if (!is_there[at]) {
        EXPECT_OK(nr_edit_add_guards(edit, 1, &guard, 1, 1000 + at, &err), &err);
    } else if (nr_random_below(random, 3) == 0) {
        EXPECT_OK(nr_edit_remove_guards(edit, 1, &guard, 1, &err), &err);
    } else {
        uint32_t k_max = 1 + (uint32_t)nr_random_below(random, 7);
        EXPECT_OK(nr_edit_set_slot(edit, 1, guard, k_max, NULL, 0, &err), &err);
        return edit;
    }
    is_there[at] = !is_there[at];
    return edit;
}

TEST(guards_that_come_and_go_one_by_one_are_in_a_draft_what_they_are_in_versions)
{
    static bool is_there[COMPARED_GUARDS];
    struct nr_random random;
    nr_random_init(&random, 3);
    struct nr_version *version = make_empty(2);
    struct nr_draft *draft = begin(version);
    for (int step = 0; step < 3000; step++) {
        struct nr_edit *edit = make_edit(&random, is_there, COMPARED_GUARDS);
        EXPECT_OK(nr_draft_apply(draft, edit, &err), &err);
        apply_to_version(edit, &version);
        nr_edit_destroy(edit);
    }
    struct nr_version *drafted = finish(draft);
    EXPECT(drafted->levels[1]->slot_count > COMPARED_GUARDS / 3);
    EXPECT(same_versions(drafted, version));
    nr_version_unref(drafted);
    nr_version_unref(version);
}

/* Else reading a manifest would take a time that grows with the square of its edits. */
TEST(what_an_edit_allocates_does_not_grow_with_the_slots_and_runs_there_are)
{
    static bool is_there[MANY_GUARDS];
    struct nr_version *empty = make_empty(2);
    struct nr_draft *draft = begin(empty);
    struct nr_random random;
    struct nr_table_file *file = make_file(&model.universe, 0, KEY_COUNT - 1, 1, 2, 0);
    struct nr_table_slice slice = slice_of(file, 0, KEY_COUNT - 1); /* What is in the runs does not matter here. */
    nr_random_init(&random, 4);
    memset(is_there, 0, sizeof(is_there));
    for (uint64_t step = 1; step <= 3 * MANY_GUARDS; step++) {
        struct nr_run *run;
        struct nr_edit *edit = make_edit(&random, is_there, MANY_GUARDS);
        EXPECT_OK(nr_run_create(step, &slice, 1, &run, &err), &err);
        EXPECT_OK(nr_edit_push_l0(edit, run, &err), &err);
        uint64_t before = nr_alloc_count();
        EXPECT_OK(nr_draft_apply(draft, edit, &err), &err);
        EXPECT(nr_alloc_count() - before <= 16);
        nr_edit_destroy(edit);
        nr_run_unref(run);
    }
    struct nr_version *version = finish(draft);
    EXPECT(version->levels[1]->slot_count > MANY_GUARDS / 3);
    EXPECT_EQ(nr_version_level0(version)->run_count, 3 * MANY_GUARDS);
    nr_version_unref(version);
    nr_table_file_unref(file);
    nr_version_unref(empty);
}

TEST(without_memory_at_any_point_a_draft_can_still_be_destroyed)
{
    static bool is_there[COMPARED_GUARDS];
    struct nr_version *empty = make_empty(2);
    nori_status rc = NORI_NO_MEMORY;
    for (uint64_t nth = 1; rc == NORI_NO_MEMORY; nth++) {
        struct nr_edit *edits[40];
        struct nr_random random;
        struct nr_version *version = NULL;
        struct nr_draft *draft;
        nr_random_init(&random, 5);
        memset(is_there, 0, sizeof(is_there));
        for (size_t i = 0; i < NR_ARRAY_LEN(edits); i++) edits[i] = make_edit(&random, is_there, 20);
        uint64_t live = nr_alloc_live();
        nr_alloc_fail_at(nth);
        rc = nr_draft_create(empty, &draft, &err);
        if (rc == NORI_OK) rc = nr_draft_deepen(draft, 4, &err);
        for (size_t i = 0; i < NR_ARRAY_LEN(edits) && rc == NORI_OK; i++) rc = nr_draft_apply(draft, edits[i], &err);
        if (rc == NORI_OK) rc = nr_draft_finish(draft, &version, &err);
        nr_alloc_fail_at(0);
        nr_draft_destroy(draft);
        nr_version_unref(version);
        EXPECT_EQ(nr_alloc_live(), live);
        for (size_t i = 0; i < NR_ARRAY_LEN(edits); i++) nr_edit_destroy(edits[i]);
    }
    EXPECT_OK(rc, &err);
    nr_version_unref(empty);
}

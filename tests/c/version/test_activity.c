#include "fixture.h"

#define EXPECT_ABOUT(actual, expected)                                                                                 \
    do {                                                                                                               \
        double about_actual = (actual), about_expected = (expected);                                                   \
        if (about_actual < about_expected * 0.999 - 1e-9 || about_actual > about_expected * 1.001 + 1e-9)              \
            FAIL("%s is %g, expected about %g", #actual, about_actual, about_expected);                                \
    } while (0)

static struct universe universe;

/* Level 1 with guards at keys 16 and 32, a run over keys [0, 16), none in the other slots. */
static struct nr_version *make_version(void)
{
    struct nr_version *empty, *version;
    struct nr_edit *edit;
    nori_slice guards[] = {guard_at(16), guard_at(32)};
    struct nr_run *run = make_run(&universe, 1, 0, 16, 1, 2, 1);
    EXPECT_OK(nr_version_create(3, &empty, &err), &err);
    EXPECT_OK(nr_edit_create(&edit, &err), &err);
    EXPECT_OK(nr_edit_set_guards(edit, 1, guards, 2, 20, 3, &err), &err);
    EXPECT_OK(nr_edit_set_slot(edit, 1, guard_at(0), 3, &run, 1, &err), &err);
    EXPECT_OK(nr_edit_apply(edit, empty, &version, &err), &err);
    nr_edit_destroy(edit);
    nr_run_unref(run);
    nr_version_unref(empty);
    return version;
}

static struct nr_activity *activity_of(const struct nr_version *version, size_t slot)
{
    return nr_level_slot(version->levels[1], slot)->activity;
}

/* Edits 'version' by new guards of level 1. */
static struct nr_version *recut(struct nr_version *version, const nori_slice *guards, size_t count)
{
    struct nr_version *next;
    struct nr_edit *edit;
    EXPECT_OK(nr_edit_create(&edit, &err), &err);
    EXPECT_OK(nr_edit_set_guards(edit, 1, guards, count, 30, 3, &err), &err);
    EXPECT_OK(nr_edit_apply(edit, version, &next, &err), &err);
    nr_edit_destroy(edit);
    return next;
}

TEST(counts_of_all_stripes_are_summed_and_taken_once)
{
    struct nr_activity *activity;
    EXPECT_OK(nr_activity_create(&activity, &err), &err);
    for (unsigned stripe = 0; stripe < 11; stripe++) {
        nr_activity_count_search(activity, stripe, stripe);
        nr_activity_count_sheltered(activity, stripe, 64);
        nr_activity_count_scan(activity, stripe);
        nr_activity_count_arrived(activity, stripe, 1000);
    }
    for (int round = 0; round < 3; round++) {
        struct nr_activity_counts counts = round == 0 ? nr_activity_peek(activity) : nr_activity_take(activity);
        bool is_there = round < 2;
        EXPECT_EQ(counts.searches, is_there ? 11 : 0);
        EXPECT_EQ(counts.runs_probed, is_there ? 55 : 0);
        EXPECT_EQ(counts.sheltered, is_there ? 11 * 64 : 0);
        EXPECT_EQ(counts.scans, is_there ? 11 : 0);
        EXPECT_EQ(counts.bytes_arrived, is_there ? 11000 : 0);
    }
    nr_activity_unref(activity);
}

TEST(a_slot_keeps_its_activity_when_its_runs_change_and_level_0_has_none)
{
    struct nr_version *version = make_version(), *next;
    struct nr_edit *edit;
    EXPECT_OK(nr_edit_create(&edit, &err), &err);
    EXPECT_OK(nr_edit_set_slot(edit, 1, guard_at(0), 2, NULL, 0, &err), &err);
    EXPECT_OK(nr_edit_apply(edit, version, &next, &err), &err);
    EXPECT(nr_level_slot(version->levels[1], 0) != nr_level_slot(next->levels[1], 0));
    for (size_t i = 0; i < 3; i++) EXPECT(activity_of(version, i) == activity_of(next, i));
    EXPECT(activity_of(next, 0) != activity_of(next, 1));
    EXPECT(nr_version_level0(next)->activity == NULL);
    nr_edit_destroy(edit);
    nr_version_unref(version);
    nr_activity_count_scan(activity_of(next, 0), 0); /* Lives on without the version that made it. */
    nr_version_unref(next);
}

TEST(new_guards_share_the_activity_out_by_bytes_and_leave_other_slots_theirs)
{
    nori_slice guards[] = {guard_at(4), guard_at(16), guard_at(32)};
    struct nr_version *version = make_version();
    struct nr_activity *old = activity_of(version, 0);
    old->state = (struct nr_activity_state){.read_rate = 160,
                                            .write_rate = 1600,
                                            .scan_rate = 16,
                                            .probes_per_read = 2,
                                            .folded_at_us = 77,
                                            .k_changed_at_us = 55,
                                            .searches = 1600,
                                            .bytes_arrived = 16000,
                                            .bytes_rewritten = 32000};
    for (int i = 0; i < 160; i++) nr_activity_count_search(old, (unsigned)i, 3);
    nr_activity_count_arrived(old, 2, 800);
    struct nr_version *next = recut(version, guards, 3);
    EXPECT(activity_of(next, 2) == activity_of(version, 1));
    EXPECT(activity_of(next, 3) == activity_of(version, 2));
    uint64_t whole = nr_level_slot(version->levels[1], 0)->bytes, searches = 0, arrived = 0;
    double reads = 0;
    for (size_t i = 0; i < 2; i++) {
        const struct nr_activity *part = activity_of(next, i);
        double share = (double)nr_level_slot(next->levels[1], i)->bytes / (double)whole;
        EXPECT(part != old && share > 0.1 && share < 0.9);
        EXPECT_ABOUT(part->state.read_rate, 160 * share);
        EXPECT_ABOUT(part->state.write_rate, 1600 * share);
        EXPECT_ABOUT(part->state.scan_rate, 16 * share);
        EXPECT_ABOUT(part->state.probes_per_read, 2);
        EXPECT_EQ(part->state.folded_at_us, 77);
        EXPECT_EQ(part->state.k_changed_at_us, 55);
        searches += nr_activity_peek(part).searches;
        arrived += nr_activity_peek(part).bytes_arrived;
        reads += part->state.read_rate;
    }
    EXPECT_ABOUT(reads, 160);
    EXPECT_EQ(searches, 160);
    EXPECT_EQ(arrived, 800);
    EXPECT_EQ(nr_activity_peek(old).searches, 160);
    nr_version_unref(version);
    nr_version_unref(next);
}

TEST(a_slot_without_data_is_shared_out_by_keys_and_joined_slots_add_up)
{
    nori_slice halves[] = {guard_at(16), guard_at(24), guard_at(32)}, joined[] = {guard_at(16)};
    struct nr_version *version = make_version();
    activity_of(version, 1)->state.read_rate = 100;
    activity_of(version, 1)->state.probes_per_read = 1;
    activity_of(version, 2)->state.read_rate = 300;
    activity_of(version, 2)->state.probes_per_read = 3;
    struct nr_version *next = recut(version, halves, 3);
    double first = activity_of(next, 1)->state.read_rate, second = activity_of(next, 2)->state.read_rate;
    EXPECT_ABOUT(first + second, 100);
    EXPECT(first > 30 && first < 70);
    nr_version_unref(next);
    next = recut(version, joined, 1);
    EXPECT_ABOUT(activity_of(next, 1)->state.read_rate, 400);
    EXPECT_ABOUT(activity_of(next, 1)->state.probes_per_read, 2.5);
    nr_version_unref(next);
    nr_version_unref(version);
}

TEST(an_edit_that_finds_no_memory_leaves_all_activity_as_it_was)
{
    nori_slice guards[] = {guard_at(4), guard_at(16), guard_at(32)};
    struct nr_version *version = make_version(), *next = NULL;
    struct nr_activity *before[3];
    struct nr_edit *edit;
    for (size_t i = 0; i < 3; i++) {
        before[i] = activity_of(version, i);
        before[i]->state.read_rate = 10;
        nr_activity_count_scan(before[i], 1);
    }
    EXPECT_OK(nr_edit_create(&edit, &err), &err);
    EXPECT_OK(nr_edit_set_guards(edit, 1, guards, 3, 40, 3, &err), &err);
    EXPECT_OK(nr_edit_set_slot(edit, 1, guard_at(32), 3, NULL, 0, &err), &err);
    nori_status rc = NORI_NO_MEMORY;
    for (uint64_t nth = 1; rc != NORI_OK; nth++) {
        nr_alloc_fail_at(nth);
        rc = nr_edit_apply(edit, version, &next, &err);
        nr_alloc_fail_at(0);
        if (rc != NORI_OK) EXPECT_STATUS(rc, NORI_NO_MEMORY, &err);
        for (size_t i = 0; i < 3; i++) {
            EXPECT(activity_of(version, i) == before[i]);
            EXPECT_ABOUT(before[i]->state.read_rate, 10);
            EXPECT_EQ(nr_activity_peek(before[i]).scans, 1);
        }
    }
    nr_version_unref(next);
    nr_version_unref(version);
    nr_edit_destroy(edit);
}

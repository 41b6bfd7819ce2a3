#include "manifest_fixture.h"

#define EDIT_COUNT 7

static struct script script;

/* After a crash or a failure: what was acknowledged is there, at most one edit more, and all its tables. */
static uint64_t expect_recovered(void)
{
    enum nr_manifest_presence presence;
    uint64_t edits = 0, again = 0;
    EXPECT_OK(nr_dir_open(script.env, "/db", true, &script.dir, &err), &err);
    EXPECT_OK(nr_manifest_detect(script.dir, &presence, &err), &err);
    if (presence == NR_MANIFEST_ABSENT) {
        EXPECT(!script.is_created);
        return 0;
    }
    EXPECT_OK(recover_edits(script.dir, &edits, &err), &err);
    EXPECT(edits == script.done || edits == script.started);
    EXPECT_OK(recover_edits(script.dir, &again, &err), &err);
    EXPECT_EQ(again, edits);
    return edits;
}

/* As an engine that opens: a new manifest over what was found, and the table of an edit that did not come to be goes.
 */
static nori_status adopt(struct nori_error *error)
{
    nori_status rc;
    struct nr_manifest_state state;
    char orphan[NR_FILE_NAME_BYTES];
    bool has_orphan;
    NR_CHECK(nr_manifest_recover(script.dir, 3, NULL, NULL, &state, error));
    script.version = nr_version_ref(state.version);
    script.done = script.started = state.counters.flushed_sequence;
    script.manifest_number = NR_MAX(state.counters.next_file_number, script.manifest_number + 1);
    nr_manifest_state_clear(&state);
    nr_name_table(orphan, TABLE_BASE + script.done + 1);
    NR_CHECK(nr_dir_exists(script.dir, orphan, &has_orphan, error));
    if (has_orphan) NR_CHECK(nr_dir_unlink(script.dir, orphan, error));
    NR_CHECK(script_roll(&script, error));
out:
    return rc;
}

TEST(a_power_cut_at_any_operation_loses_no_edit_and_leaves_no_name_without_its_table)
{
    for (uint64_t seed = 1; seed <= 12; seed++) {
        bool is_whole = false;
        for (uint64_t stop = 1; !is_whole; stop++) {
            script_init(&script, seed * 1000 + stop);
            nori_simdisk_stop_at(script.env, stop);
            is_whole = script_run(&script, EDIT_COUNT, &err) == NORI_OK;
            script_drop(&script);
            EXPECT_OK(nori_simdisk_crash(script.env, seed % 3 == 0 ? 0.0 : -1.0, &err), &err);
            uint64_t edits = expect_recovered();
            if (is_whole) EXPECT_EQ(edits, EDIT_COUNT);
            script_clear(&script);
        }
    }
}

TEST(recovery_itself_may_be_cut_anywhere_and_what_it_dropped_stays_dropped)
{
    for (uint64_t first = 6; first < 100; first += 7) {
        bool is_whole = false;
        for (uint64_t second = 1; !is_whole; second++) {
            script_init(&script, first * 1000 + second);
            nori_simdisk_stop_at(script.env, first);
            nori_status rc = script_run(&script, EDIT_COUNT, &err);
            (void)rc;
            bool was_created = script.is_created;
            script_drop(&script);
            EXPECT_OK(nori_simdisk_crash(script.env, -1.0, &err), &err);
            uint64_t edits = expect_recovered();
            if (!was_created) {
                script_clear(&script);
                break;
            }
            script.done = script.started = edits;
            nori_simdisk_stop_at(script.env, second);
            rc = adopt(&err);
            if (rc == NORI_OK) rc = script_edit(&script, &err);
            is_whole = rc == NORI_OK;
            script_drop(&script);
            EXPECT_OK(nori_simdisk_crash(script.env, -1.0, &err), &err);
            edits = expect_recovered();
            if (is_whole) EXPECT_EQ(edits, script.done);
            script_clear(&script);
        }
    }
}

TEST(any_operation_that_fails_is_told_and_loses_nothing)
{
    for (int is_short = 0; is_short < 2; is_short++) {
        bool is_whole = false;
        for (uint64_t nth = 1; !is_whole; nth++) {
            script_init(&script, nth);
            EXPECT_OK(nori_simdisk_fail(script.env, "any", nth, EIO, is_short, &err), &err);
            nori_status rc = script_run(&script, EDIT_COUNT, &err);
            is_whole = nori_simdisk_operations(script.env, NULL) < nth;
            EXPECT(rc == NORI_OK || rc == NORI_IO || rc == NORI_POISONED);
            nori_simdisk_clear_faults(script.env);
            script_drop(&script);
            EXPECT_OK(nori_simdisk_crash(script.env, -1.0, &err), &err);
            expect_recovered();
            script_clear(&script);
        }
    }
}

TEST(a_failed_new_manifest_leaves_the_old_one_in_use_or_says_that_it_may_not_be)
{
    bool is_whole = false;
    for (uint64_t nth = 1; !is_whole; nth++) {
        script_init(&script, nth);
        EXPECT_OK(script_roll(&script, &err), &err);
        EXPECT_OK(script_edit(&script, &err), &err);
        EXPECT_OK(nori_simdisk_fail(script.env, "any", nth, EIO, false, &err), &err);
        uint64_t before = nori_simdisk_operations(script.env, NULL);
        nori_status rc = script_roll(&script, &err);
        is_whole = nori_simdisk_operations(script.env, NULL) - before < nth;
        bool is_open = rc != NORI_OK && err.outcome == NORI_INDETERMINATE;
        nori_simdisk_clear_faults(script.env);
        if (!is_open) EXPECT_OK(script_edit(&script, &err), &err);
        script_drop(&script);
        EXPECT_OK(nori_simdisk_crash(script.env, -1.0, &err), &err);
        expect_recovered();
        script_clear(&script);
    }
}

TEST(reads_that_fail_are_errors_and_never_the_end)
{
    uint64_t edits;
    script_init(&script, 3);
    EXPECT_OK(script_run(&script, EDIT_COUNT, &err), &err);
    for (uint64_t nth = 1;; nth++) {
        uint64_t before = nori_simdisk_operations(script.env, NULL);
        EXPECT_OK(nori_simdisk_fail(script.env, "any", nth, EIO, false, &err), &err);
        nori_status rc = recover_edits(script.dir, &edits, &err);
        nori_simdisk_clear_faults(script.env);
        if (rc == NORI_OK) {
            EXPECT(nori_simdisk_operations(script.env, NULL) - before < nth);
            EXPECT_EQ(edits, EDIT_COUNT);
            break;
        }
        EXPECT_EQ(rc, NORI_IO);
        EXPECT_EQ(err.sys_errno, EIO);
    }
    script_clear(&script);
}

TEST(without_memory_nothing_is_applied_and_the_manifest_goes_on)
{
    for (uint64_t nth = 1;; nth++) {
        nori_status rc, again = NORI_OK;
        script_init(&script, 4);
        EXPECT_OK(script_roll(&script, &err), &err);
        EXPECT_OK(script_edit(&script, &err), &err);
        EXPECT_OK(script_edit(&script, &err), &err);
        nr_alloc_fail_at(nth);
        rc = script_edit(&script, &err);
        if (rc == NORI_OK) rc = script_unlink(&script, &err);
        if (rc == NORI_OK) rc = script_roll(&script, &err);
        nr_alloc_fail_at(0);
        if (rc != NORI_OK) {
            EXPECT_EQ(rc, NORI_NO_MEMORY);
            char name[NR_FILE_NAME_BYTES];
            nr_name_table(name, TABLE_BASE + script.done + 1);
            nori_status ignored = nr_dir_unlink(script.dir, name, NULL);
            (void)ignored;
            again = script_edit(&script, &err);
        }
        EXPECT_OK(again, &err);
        EXPECT_OK(script_unlink(&script, &err), &err);
        script_drop(&script);
        EXPECT_OK(nori_simdisk_crash(script.env, 0.0, &err), &err);
        EXPECT_EQ(expect_recovered(), script.done);
        script_clear(&script);
        if (rc == NORI_OK) break;
    }
}

TEST(recovery_without_memory_fails_and_leaves_nothing_behind)
{
    uint64_t edits;
    script_init(&script, 5);
    EXPECT_OK(script_run(&script, EDIT_COUNT, &err), &err);
    for (uint64_t nth = 1;; nth++) {
        uint64_t live = nr_alloc_live();
        nr_alloc_fail_at(nth);
        nori_status rc = recover_edits(script.dir, &edits, &err);
        nr_alloc_fail_at(0);
        EXPECT_EQ(nr_alloc_live(), live);
        if (rc == NORI_OK) break;
        EXPECT_EQ(rc, NORI_NO_MEMORY);
    }
    EXPECT_EQ(edits, EDIT_COUNT);
    script_clear(&script);
}

#include "manifest_fixture.h"

static struct script script;

TEST(what_was_appended_is_recovered_with_its_counters_and_files)
{
    struct nr_manifest_state state;
    script_init(&script, 1);
    EXPECT_OK(script_run(&script, 7, &err), &err);
    EXPECT_OK(nr_manifest_recover(script.dir, 2, note_obsolete, &script, &state, &err), &err);
    EXPECT(same_versions(state.version, script.version));
    EXPECT_EQ(state.number, script.manifest_number);
    EXPECT_EQ(state.counters.flushed_sequence, 7);
    EXPECT_EQ(state.counters.next_file_number, TABLE_BASE + 8);
    EXPECT_EQ(state.counters.next_slot_id, NR_FIRST_SLOT_ID);
    EXPECT_EQ(script.obsolete_count, 0);
    nr_manifest_state_clear(&state);
    EXPECT_EQ(script.obsolete_count, 2);
    script_clear(&script);
}

TEST(file_numbers_begin_above_every_manifest_and_table_there_is)
{
    struct nr_manifest_state state;
    static const char *const names[] = {"/db/005000.sst", "/db/MANIFEST-006000", "/db/009000.sst.old"};
    script_init(&script, 1);
    EXPECT_OK(script_run(&script, 2, &err), &err);
    for (size_t i = 0; i < NR_ARRAY_LEN(names); i++) {
        EXPECT_OK(nori_simdisk_write_file(script.env, names[i], nr_slice_text("x"), &err), &err);
        EXPECT_OK(nr_manifest_recover(script.dir, 2, NULL, NULL, &state, &err), &err);
        EXPECT_EQ(state.counters.next_file_number, i == 0 ? 5001 : 6001);
        nr_manifest_state_clear(&state);
    }
    script_clear(&script);
}

TEST(there_is_a_database_where_current_is_and_corruption_where_only_data_is)
{
    enum nr_manifest_presence presence;
    struct nr_dir *wal;
    script_init(&script, 1);
    EXPECT_OK(nr_manifest_detect(script.dir, &presence, &err), &err);
    EXPECT_EQ(presence, NR_MANIFEST_ABSENT);
    EXPECT_OK(nori_simdisk_write_file(script.env, "/db/MANIFEST-000001", nr_slice_text("x"), &err), &err);
    EXPECT_OK(nr_dir_open_at(script.dir, "wal", true, &wal, &err), &err);
    nr_dir_close(wal);
    EXPECT_OK(nr_manifest_detect(script.dir, &presence, &err), &err);
    EXPECT_EQ(presence, NR_MANIFEST_ABSENT);
    static const char *const names[] = {"/db/000001.sst", "/db/wal/000001.log"};
    for (size_t i = 0; i < NR_ARRAY_LEN(names); i++) {
        EXPECT_OK(nori_simdisk_write_file(script.env, names[i], nr_slice_text("x"), &err), &err);
        EXPECT_STATUS(nr_manifest_detect(script.dir, &presence, &err), NORI_CORRUPTION, &err);
        EXPECT_SLICE(nr_slice_text(err.path), "/db/CURRENT");
        EXPECT_OK(nori_simdisk_remove_file(script.env, names[i], &err), &err);
    }
    EXPECT_OK(script_roll(&script, &err), &err);
    EXPECT_OK(nr_manifest_detect(script.dir, &presence, &err), &err);
    EXPECT_EQ(presence, NR_MANIFEST_PRESENT);
    script_clear(&script);
}

static void collect_names(void *arg, const char *name)
{
    uint64_t number;
    if (nr_name_parse(name, &number) == NR_FILE_MANIFEST) ++*(int *)arg;
}

TEST(a_new_manifest_takes_the_others_away_and_the_place_of_what_a_crash_left)
{
    int count = 0;
    script_init(&script, 1);
    EXPECT_OK(nori_simdisk_write_file(script.env, "/db/MANIFEST-000011", nr_slice_text("left"), &err), &err);
    EXPECT_OK(nori_simdisk_write_file(script.env, "/db/MANIFEST-000003", nr_slice_text("stray"), &err), &err);
    EXPECT_OK(script_run(&script, 4, &err), &err);
    EXPECT_OK(nr_dir_list(script.dir, collect_names, &count, &err), &err);
    EXPECT_EQ(count, 1);
    script_clear(&script);
}

TEST(a_missing_table_manifest_or_current_is_corruption_that_names_it)
{
    static const char *const names[] = {"/db/001004.sst", "/db/MANIFEST-000012", "/db/CURRENT"};
    uint64_t edits;
    for (size_t i = 0; i < NR_ARRAY_LEN(names); i++) {
        script_init(&script, 1);
        EXPECT_OK(script_run(&script, 4, &err), &err);
        EXPECT_OK(nori_simdisk_remove_file(script.env, names[i], &err), &err);
        EXPECT_STATUS(recover_edits(script.dir, &edits, &err), NORI_CORRUPTION, &err);
        EXPECT_SLICE(nr_slice_text(err.path), names[i]);
        EXPECT_EQ(err.sys_errno, ENOENT);
        script_clear(&script);
    }
}

TEST(a_table_of_the_wrong_size_is_corruption_that_names_it)
{
    uint64_t edits;
    script_init(&script, 1);
    EXPECT_OK(script_run(&script, 4, &err), &err);
    EXPECT_OK(nori_simdisk_write_file(script.env, "/db/001004.sst", nr_slice_text("short"), &err), &err);
    EXPECT_STATUS(recover_edits(script.dir, &edits, &err), NORI_CORRUPTION, &err);
    EXPECT_SLICE(nr_slice_text(err.path), "/db/001004.sst");
    script_clear(&script);
}

/* The manifest's bytes, and where each edit's record ends. */
struct image {
    uint8_t *data; /* nori_free */
    size_t size;
    uint64_t ends[8];
};

static void make_image(struct image *image, uint64_t edits)
{
    script_init(&script, 1);
    EXPECT_OK(script_roll(&script, &err), &err);
    image->ends[0] = nr_manifest_bytes_written(script.manifest);
    for (uint64_t i = 1; i <= edits; i++) {
        EXPECT_OK(script_edit(&script, &err), &err);
        EXPECT_OK(nr_manifest_settle(script.manifest, &err), &err);
        image->ends[i] = nr_manifest_bytes_written(script.manifest);
    }
    EXPECT_OK(nori_simdisk_read_file(script.env, "/db/MANIFEST-000011", &image->data, &image->size, &err), &err);
    EXPECT_EQ(image->size, image->ends[edits]);
}

static nori_status recover_image(const uint8_t *data, size_t size, uint64_t *edits_out)
{
    EXPECT_OK(nori_simdisk_write_file(script.env, "/db/MANIFEST-000011", nr_slice(data, size), &err), &err);
    return recover_edits(script.dir, edits_out, &err);
}

TEST(any_flipped_bit_of_a_settled_manifest_is_corruption_or_does_no_harm)
{
    struct image image;
    uint64_t edits, harmless_count = 0;
    make_image(&image, 2);
    for (size_t bit = 0; bit < image.size * 8; bit++) {
        image.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        nori_status rc = recover_image(image.data, image.size, &edits);
        image.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (rc == NORI_OK) {
            EXPECT_EQ(edits, 2);
            harmless_count++;
        } else {
            EXPECT(rc == NORI_CORRUPTION || rc == NORI_FORMAT);
            EXPECT_SLICE(nr_slice_text(err.path), "/db/MANIFEST-000011");
            EXPECT_SLICE(nr_slice_text(err.kind), "manifest");
            EXPECT(err.offset >= 0);
        }
    }
    /* Only those of the last mark, which nothing comes after. */
    EXPECT(harmless_count <= 8 * 32);
    nori_free(image.data);
    script_clear(&script);
}

TEST(a_manifest_cut_off_anywhere_ends_with_its_last_whole_record_and_never_before_a_promise)
{
    struct image image;
    uint64_t edits;
    make_image(&image, 4);
    for (size_t size = 0; size < image.size; size++) {
        nori_status rc = recover_image(image.data, size, &edits);
        EXPECT_EQ(rc, size < image.ends[0] ? NORI_CORRUPTION : NORI_OK);
        if (rc != NORI_OK) continue;
        EXPECT(size >= image.ends[edits] || edits > 0);
        EXPECT(edits == 4 || size < image.ends[edits + 1]);
        EXPECT(edits == 0 || size > image.ends[edits - 1]);
    }
    nori_free(image.data);
    script_clear(&script);
}

TEST(a_tail_is_not_dropped_where_the_rest_names_tables_that_are_gone)
{
    struct image image;
    uint64_t edits;
    make_image(&image, 3);
    EXPECT_OK(script_unlink(&script, &err), &err);
    EXPECT_OK(recover_image(image.data, image.size, &edits), &err);
    EXPECT_EQ(edits, 3);
    EXPECT_STATUS(recover_image(image.data, (size_t)image.ends[2], &edits), NORI_CORRUPTION, &err);
    EXPECT_SLICE(nr_slice_text(err.path), "/db/001001.sst");
    nori_free(image.data);
    script_clear(&script);
}

TEST(a_damaged_record_before_a_promise_is_corruption_at_its_place_and_a_torn_last_one_is_dropped)
{
    struct image image;
    uint64_t edits;
    make_image(&image, 3);
    image.data[image.ends[1] + 20] ^= 1;
    EXPECT_STATUS(recover_image(image.data, image.size, &edits), NORI_CORRUPTION, &err);
    EXPECT_EQ(err.offset, image.ends[1]);
    image.data[image.ends[1] + 20] ^= 1;
    image.data[image.ends[2] + 20] ^= 1;
    EXPECT_STATUS(recover_image(image.data, image.size, &edits), NORI_CORRUPTION, &err);
    EXPECT_OK(recover_image(image.data, (size_t)image.ends[3] - 40, &edits), &err);
    EXPECT_EQ(edits, 2);
    nori_free(image.data);
    script_clear(&script);
}

TEST(current_is_one_line_and_nothing_else_will_do)
{
    uint64_t number;
    script_init(&script, 1);
    EXPECT_OK(nr_current_write(script.dir, 5, &err), &err);
    EXPECT_OK(nr_current_read(script.dir, &number, &err), &err);
    EXPECT_EQ(number, 5);
    uint8_t *data;
    size_t size;
    EXPECT_OK(nori_simdisk_read_file(script.env, "/db/CURRENT", &data, &size, &err), &err);
    EXPECT(size > 22 && memcmp(data, "nori 1 MANIFEST-000005 ", 23) == 0 && data[size - 1] == '\n');
    for (size_t bit = 0; bit < size * 8; bit++) {
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        EXPECT_OK(nori_simdisk_write_file(script.env, "/db/CURRENT", nr_slice(data, size), &err), &err);
        EXPECT_STATUS(nr_current_read(script.dir, &number, &err), NORI_CORRUPTION, &err);
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t cut = 0; cut < size; cut++) {
        EXPECT_OK(nori_simdisk_write_file(script.env, "/db/CURRENT", nr_slice(data, cut), &err), &err);
        EXPECT_STATUS(nr_current_read(script.dir, &number, &err), NORI_CORRUPTION, &err);
    }
    EXPECT_SLICE(nr_slice_text(err.path), "/db/CURRENT");
    static const uint8_t much[4096];
    EXPECT_OK(nori_simdisk_write_file(script.env, "/db/CURRENT", nr_slice(much, sizeof(much)), &err), &err);
    EXPECT_STATUS(nr_current_read(script.dir, &number, &err), NORI_CORRUPTION, &err);
    nori_free(data);
    script_clear(&script);
}

TEST(a_manifest_that_failed_once_refuses_everything_with_the_first_cause)
{
    static const char *const ops[] = {"write", "sync"};
    for (size_t i = 0; i < NR_ARRAY_LEN(ops); i++) {
        struct nr_edit *edit;
        script_init(&script, 1);
        EXPECT_OK(script_roll(&script, &err), &err);
        EXPECT_OK(nr_edit_create(&edit, &err), &err);
        EXPECT_OK(nori_simdisk_fail(script.env, ops[i], 1, EIO, true, &err), &err);
        EXPECT_STATUS(append_durably(script.manifest, edit, &err), NORI_IO, &err);
        EXPECT_EQ(err.outcome, NORI_INDETERMINATE);
        for (int again = 0; again < 2; again++) {
            EXPECT_STATUS(append_durably(script.manifest, edit, &err), NORI_POISONED, &err);
            EXPECT_EQ(err.sys_errno, EIO);
            EXPECT_STATUS(nr_manifest_settle(script.manifest, &err), NORI_POISONED, &err);
        }
        nr_edit_destroy(edit);
        script_clear(&script);
    }
}

TEST(an_edit_whose_mark_cannot_be_written_stands_and_nothing_may_be_unlinked)
{
    struct nr_edit *edit;
    script_init(&script, 1);
    EXPECT_OK(script_roll(&script, &err), &err);
    EXPECT_OK(nr_edit_create(&edit, &err), &err);
    EXPECT_OK(nori_simdisk_fail(script.env, "write", 2, EIO, false, &err), &err);
    EXPECT(!nr_manifest_failure(script.manifest, &err));
    EXPECT_OK(append_durably(script.manifest, edit, &err), &err);
    EXPECT(nr_manifest_failure(script.manifest, &err));
    EXPECT_EQ(err.sys_errno, EIO);
    EXPECT_STATUS(nr_manifest_settle(script.manifest, &err), NORI_POISONED, &err);
    nr_edit_destroy(edit);
    script_clear(&script);
}

TEST(an_edit_that_is_settled_at_once_and_whose_mark_cannot_be_written_is_not_settled)
{
    struct nr_edit *edit;
    script_init(&script, 1);
    EXPECT_OK(script_roll(&script, &err), &err);
    EXPECT_OK(nr_edit_create(&edit, &err), &err);
    EXPECT_OK(nr_manifest_append(script.manifest, edit, &err), &err);
    EXPECT_OK(nori_simdisk_fail(script.env, "write", 1, EIO, true, &err), &err);
    EXPECT_STATUS(nr_manifest_settle(script.manifest, &err), NORI_POISONED, &err);
    EXPECT(nr_manifest_failure(script.manifest, &err));
    nr_edit_destroy(edit);
    script_clear(&script);
}

TEST(a_full_disk_tears_a_manifest_and_another_takes_its_place)
{
    for (uint64_t nth = 1; nth <= 2; nth++) { /* The record, its mark. */
        struct nr_edit *edit;
        struct nr_manifest_state state;
        script_init(&script, 1);
        EXPECT_OK(script_roll(&script, &err), &err);
        EXPECT_OK(nr_edit_create(&edit, &err), &err);
        EXPECT_OK(nori_simdisk_fail(script.env, "write", nth, nth == 1 ? ENOSPC : EDQUOT, true, &err), &err);
        nori_status rc = append_durably(script.manifest, edit, &err);
        if (nth == 1) EXPECT_EQ(err.outcome, NORI_NOT_APPLIED);
        EXPECT_EQ(rc, nth == 1 ? NORI_IO : NORI_OK);
        EXPECT(nr_manifest_is_torn(script.manifest));
        uint64_t before = nori_simdisk_operations(script.env, NULL);
        EXPECT_STATUS(append_durably(script.manifest, edit, &err), NORI_IO, &err);
        EXPECT_STATUS(nr_manifest_settle(script.manifest, &err), NORI_IO, &err);
        EXPECT_EQ(err.sys_errno, nth == 1 ? ENOSPC : EDQUOT);
        EXPECT_EQ(nori_simdisk_operations(script.env, NULL), before);
        EXPECT_OK(nr_manifest_recover(script.dir, 3, NULL, NULL, &state, &err), &err); /* As it is. */
        nr_manifest_state_clear(&state);
        EXPECT_OK(script_roll(&script, &err), &err);
        EXPECT(!nr_manifest_is_torn(script.manifest));
        EXPECT_OK(append_durably(script.manifest, edit, &err), &err);
        EXPECT_OK(nr_manifest_settle(script.manifest, &err), &err);
        nr_edit_destroy(edit);
        script_clear(&script);
    }
}

TEST(a_mark_that_finds_no_space_is_not_written_behind_a_part_of_itself)
{
    struct nr_edit *edit;
    script_init(&script, 1);
    EXPECT_OK(script_roll(&script, &err), &err);
    EXPECT_OK(nr_edit_create(&edit, &err), &err);
    EXPECT_OK(nr_manifest_append(script.manifest, edit, &err), &err);
    EXPECT_OK(nori_simdisk_fail(script.env, "write", 1, ENOSPC, true, &err), &err);
    uint64_t before = nori_simdisk_operations(script.env, "write");
    EXPECT_STATUS(nr_manifest_settle(script.manifest, &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, ENOSPC);
    EXPECT(nr_manifest_is_torn(script.manifest));
    EXPECT_EQ(nori_simdisk_operations(script.env, "write"), before + 1);
    nr_edit_destroy(edit);
    script_clear(&script);
}

/* Edits are numbered by their flushed sequence: the last one that a crash leaves which keeps what was synced. */
static uint64_t crash_and_find_last(void)
{
    struct nr_manifest_state state;
    script_drop(&script);
    EXPECT_OK(nori_simdisk_crash(script.env, 0.0, &err), &err);
    EXPECT_OK(nr_dir_open(script.env, "/db", true, &script.dir, &err), &err);
    EXPECT_OK(nr_manifest_recover(script.dir, 3, NULL, NULL, &state, &err), &err);
    uint64_t last = state.counters.flushed_sequence;
    nr_manifest_state_clear(&state);
    return last;
}

TEST(edits_share_the_sync_that_comes_after_them)
{
    enum { APPENDED, SYNCED, SETTLED };
    for (int until = APPENDED; until <= SETTLED; until++) {
        script_init(&script, 1);
        EXPECT_OK(script_roll(&script, &err), &err);
        uint64_t before = nori_simdisk_operations(script.env, "sync");
        for (uint64_t i = 1; i <= 5; i++) {
            struct nr_edit *edit;
            struct nr_counters counters = {.flushed_sequence = 100 + i};
            EXPECT_OK(nr_edit_create(&edit, &err), &err);
            nr_edit_set_counters(edit, &counters);
            EXPECT_OK(nr_manifest_append(script.manifest, edit, &err), &err);
            nr_edit_destroy(edit);
        }
        if (until == SYNCED) EXPECT_OK(nr_manifest_sync(script.manifest, &err), &err);
        for (int i = 0; i < 2 && until == SETTLED; i++) EXPECT_OK(nr_manifest_settle(script.manifest, &err), &err);
        EXPECT_EQ(nori_simdisk_operations(script.env, "sync"), before + (uint64_t)until);
        EXPECT_EQ(crash_and_find_last(), until == APPENDED ? 0 : 105);
        script_clear(&script);
    }
}

TEST(a_manifest_is_large_when_it_has_outgrown_four_mebibytes)
{
    struct nr_edit *edit;
    static uint8_t text[1 << 20];
    script_init(&script, 1);
    EXPECT_OK(script_roll(&script, &err), &err);
    EXPECT_OK(nr_edit_create(&edit, &err), &err);
    EXPECT_OK(nr_edit_set_options(edit, nr_slice(text, sizeof(text)), &err), &err);
    for (int i = 0; i < 4; i++) {
        EXPECT(!nr_manifest_is_large(script.manifest));
        EXPECT_OK(append_durably(script.manifest, edit, &err), &err);
    }
    EXPECT(nr_manifest_is_large(script.manifest));
    nr_edit_destroy(edit);
    struct nr_manifest_state state;
    EXPECT_OK(nr_manifest_recover(script.dir, 3, NULL, NULL, &state, &err), &err);
    EXPECT_EQ(state.options.size, sizeof(text));
    nr_manifest_state_clear(&state);
    script_clear(&script);
}

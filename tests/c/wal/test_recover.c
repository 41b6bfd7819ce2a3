#include "fixture.h"

static const bool both[] = {true, false};

/* Recovers, and expects records 1..count of this model and no damage. */
static void expect_recovered(struct fixture *f, uint64_t count)
{
    struct nr_wal_log log;
    struct nori_error err;
    EXPECT_OK(fixture_recover(f, &log, &err), &err);
    EXPECT(!f->is_wrong);
    EXPECT_EQ(f->found, count);
    EXPECT_EQ(log.last_sequence, NR_MAX(count, f->flushed));
    nr_wal_log_clear(&log);
}

static void expect_corrupt(struct fixture *f, uint64_t number)
{
    struct nr_wal_log log;
    struct nori_error err;
    char path[64];
    EXPECT_STATUS(fixture_recover(f, &log, &err), NORI_CORRUPTION, &err);
    segment_path(path, number);
    EXPECT_SLICE(nr_slice_text(err.path), path);
    EXPECT_SLICE(nr_slice_text(err.kind), "log");
    EXPECT(err.offset >= 0);
}

TEST(a_missing_directory_and_an_empty_one_are_an_empty_log)
{
    struct fixture f;
    struct nr_wal_log log;
    struct nr_dir *dir;
    struct nori_error err;
    fixture_init_sim(&f, 1, true, false);
    for (int round = 0; round < 2; round++) {
        f.log_number = 5, f.flushed = 9;
        EXPECT_OK(fixture_recover(&f, &log, &err), &err);
        EXPECT_EQ(log.part_count, 0);
        EXPECT_EQ(log.end.segment, 5);
        EXPECT_EQ(log.end.offset, 0);
        EXPECT_EQ(log.last_sequence, 9);
        EXPECT_EQ(log.next_segment, 6);
        nr_wal_log_clear(&log);
        EXPECT_OK(nr_dir_open_at(f.root, "wal", true, &dir, &err), &err);
        nr_dir_close(dir);
    }
    fixture_clear(&f);
}

TEST(what_was_appended_comes_back_after_a_kill_and_what_was_synced_after_a_power_cut)
{
    for (size_t m = 0; m < NR_ARRAY_LEN(both); m++) {
        struct fixture f;
        struct nori_error err;
        fixture_init_sim(&f, 2, both[m], false);
        EXPECT_OK(fixture_open(&f, &err), &err);
        for (int i = 0; i < 40; i++) EXPECT_OK(fixture_append(&f, &err), &err);
        EXPECT_OK(fixture_sync(&f, &err), &err);
        for (int i = 0; i < 40; i++) EXPECT_OK(fixture_append(&f, &err), &err);
        fixture_kill(&f);
        expect_recovered(&f, 80);
        EXPECT_OK(fixture_open(&f, &err), &err);
        for (int i = 0; i < 5; i++) EXPECT_OK(fixture_append(&f, &err), &err);
        fixture_kill(&f);
        expect_recovered(&f, 85);
        fixture_crash(&f, 0.0);
        expect_recovered(&f, 40);
        fixture_clear(&f);
    }
}

TEST(a_torn_last_record_is_dropped_and_never_comes_back)
{
    struct fixture f;
    struct nori_error err;
    fixture_init_sim(&f, 3, true, false);
    EXPECT_OK(fixture_open(&f, &err), &err);
    fixture_append_many(&f, 3, 100);
    size_t torn = (size_t)f.end.offset;
    fixture_append_many(&f, 3, 100);
    fixture_crash(&f, 1.0);
    damage_segment(&f, 1, torn + 30, 1);
    expect_recovered(&f, 3);

    /* The next session writes other records with the same sequences, syncs, and crashes. */
    EXPECT_OK(fixture_open(&f, &err), &err);
    EXPECT_EQ(f.next_sequence, 4);
    fixture_append_many(&f, 1, 100);
    EXPECT_OK(fixture_sync(&f, &err), &err);
    fixture_crash(&f, 0.5);
    damage_segment(&f, 1, torn + 30, 1); /* Whole again. */
    expect_recovered(&f, 4);
    fixture_clear(&f);
}

TEST(dropped_segments_stay_dropped_through_further_sessions)
{
    struct fixture f;
    struct nori_error err;
    struct nr_wal_log log;
    fixture_init_sim(&f, 4, true, false);
    EXPECT_OK(fixture_open(&f, &err), &err);
    fixture_append_many(&f, 30, 9000); /* Several segments. */
    EXPECT(f.end.segment > f.log_number + 3);
    uint64_t second = 2;
    fixture_crash(&f, 1.0);
    damage_segment(&f, second, NR_FILE_HEADER_BYTES + 9100, 8);
    EXPECT_OK(fixture_recover(&f, &log, &err), &err);
    uint64_t kept = f.found;
    EXPECT_EQ(log.end.segment, second);
    EXPECT(kept < 30);
    nr_wal_log_clear(&log);
    for (int session = 0; session < 3; session++) {
        EXPECT_OK(fixture_open(&f, &err), &err);
        EXPECT_EQ(f.next_sequence, kept + 1);
        fixture_append_many(&f, 10, 9000);
        kept += 10;
        EXPECT_OK(fixture_sync(&f, &err), &err);
        fixture_crash(&f, -1);
        expect_recovered(&f, kept);
    }
    fixture_clear(&f);
}

TEST(damage_before_a_promise_is_corruption)
{
    for (int kind = 0; kind < 3; kind++) {
        struct fixture f;
        struct nori_error err;
        fixture_init_sim(&f, 5, true, false);
        EXPECT_OK(fixture_open(&f, &err), &err);
        uint64_t number = f.end.segment;
        fixture_append_many(&f, 20, 500);
        EXPECT_OK(fixture_sync(&f, &err), &err);
        fixture_append_many(&f, 1, 500);
        fixture_kill(&f);
        struct bytes bytes = read_segment(&f, number);
        size_t at = 5120;
        if (kind == 0) memset(bytes.data + at, 0, 512);
        if (kind == 1) bytes.data[at] ^= 16;
        if (kind == 2) memset(bytes.data, 0, 512); /* The header. */
        write_segment(&f, number, bytes.data, bytes.size);
        nori_free(bytes.data);
        expect_corrupt(&f, kind == 2 ? 0 : number);
        fixture_clear(&f);
    }
}

TEST(a_missing_segment_before_a_promise_is_corruption)
{
    struct fixture f;
    struct nori_error err;
    char path[64];
    fixture_init_sim(&f, 6, true, false);
    EXPECT_OK(fixture_open(&f, &err), &err);
    uint64_t first = f.end.segment;
    fixture_append_many(&f, 30, 9000);
    EXPECT_OK(fixture_sync(&f, &err), &err);
    fixture_append_many(&f, 1, 20);
    uint64_t last = f.end.segment;
    fixture_kill(&f);
    f.log_number = first;
    for (uint64_t number = first; number < last; number++) {
        struct bytes bytes = read_segment(&f, number);
        segment_path(path, number);
        EXPECT_OK(nori_simdisk_remove_file(f.env, path, &err), &err);
        expect_corrupt(&f, number == first ? first : number - 1);
        write_segment(&f, number, bytes.data, bytes.size);
        nori_free(bytes.data);
    }
    expect_recovered(&f, 31);
    fixture_clear(&f);
}

TEST(a_log_below_the_log_number_is_not_looked_at)
{
    struct fixture f;
    struct nori_error err;
    fixture_init_sim(&f, 7, true, false);
    EXPECT_OK(fixture_open(&f, &err), &err);
    fixture_append_many(&f, 12, 9000);
    f.flushed = f.appended;
    f.log_number = f.end.segment;
    fixture_append_many(&f, 12, 9000);
    EXPECT_OK(fixture_sync(&f, &err), &err);
    fixture_kill(&f);
    for (uint64_t number = 1; number < f.log_number; number++) damage_segment(&f, number, 200, 1);
    expect_recovered(&f, 24);
    fixture_clear(&f);
}

TEST(a_newer_format_is_told_from_damage)
{
    struct fixture f;
    struct nori_error err;
    struct nr_wal_log log;
    uint8_t bytes[NR_FILE_HEADER_BYTES];
    fixture_init_sim(&f, 8, true, false);
    EXPECT_OK(fixture_open(&f, &err), &err);
    fixture_append_many(&f, 3, 100);
    uint64_t number = f.end.segment + 1;
    fixture_kill(&f);
    struct nr_file_header header = {.magic = NR_MAGIC_SEGMENT, .read_features = 1ull << 60, .number = number};
    header.extra[0] = number - 1;
    nr_file_header_encode(&header, bytes); /* Of another database. */
    write_segment(&f, number, bytes, sizeof(bytes));
    EXPECT_STATUS(fixture_recover(&f, &log, &err), NORI_CORRUPTION, &err);
    header.database_id = DATABASE_ID;
    nr_file_header_encode(&header, bytes);
    write_segment(&f, number, bytes, sizeof(bytes));
    EXPECT_STATUS(fixture_recover(&f, &log, &err), NORI_FORMAT, &err);
    fixture_clear(&f);
}

TEST(sequences_that_the_tables_hold_may_be_missing_and_no_others)
{
    for (uint64_t flushed = 3; flushed < 7; flushed++) {
        struct fixture f;
        struct nori_error err;
        struct nr_wal_log log;
        fixture_init_sim(&f, 9, true, false);
        EXPECT_OK(fixture_open(&f, &err), &err);
        fixture_append_many(&f, 3, 100);
        f.next_sequence = 6; /* 4 and 5 went into a table alone. */
        fixture_append_many(&f, 3, 100);
        fixture_kill(&f);
        f.flushed = flushed;
        EXPECT_OK(fixture_recover(&f, &log, &err), &err);
        EXPECT_EQ(log.last_sequence, flushed < 5 ? flushed : 8);
        nr_wal_log_clear(&log);
        fixture_clear(&f);
    }
}

/* Two small segments with syncs in both, and something after the last promise. */
static void write_small_log(struct fixture *f, uint64_t *second_out)
{
    struct nori_error err;
    EXPECT_OK(fixture_open(f, &err), &err);
    fixture_append_many(f, 3, 40);
    EXPECT_OK(fixture_sync(f, &err), &err);
    fixture_append_many(f, 2, 30);
    fixture_kill(f);
    EXPECT_OK(fixture_open(f, &err), &err);
    *second_out = f->end.segment;
    fixture_append_many(f, 2, 40);
    EXPECT_OK(fixture_sync(f, &err), &err);
    fixture_append_many(f, 2, 30);
    fixture_kill(f);
}

static void expect_prefix_or_corrupt(struct fixture *f, uint64_t least)
{
    struct nr_wal_log log;
    struct nori_error err;
    nori_status rc = fixture_recover(f, &log, &err);
    if (rc == NORI_CORRUPTION) return;
    EXPECT_OK(rc, &err);
    EXPECT(!f->is_wrong);
    EXPECT(f->found >= least);
    nr_wal_log_clear(&log);
}

TEST(every_flipped_bit_of_a_small_log_leaves_what_was_promised_or_is_corruption)
{
    struct fixture f;
    uint64_t second;
    fixture_init_sim(&f, 10, true, false);
    write_small_log(&f, &second);
    expect_recovered(&f, 9);
    for (uint64_t number = 1; number <= second; number++) {
        char path[64];
        struct bytes bytes;
        struct nori_error err;
        segment_path(path, number);
        if (nori_simdisk_read_file(f.env, path, &bytes.data, &bytes.size, &err) != NORI_OK) continue;
        size_t used = NR_MIN(bytes.size, (size_t)700);
        for (size_t bit = 0; bit < used * 8; bit++) {
            bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
            write_segment(&f, number, bytes.data, bytes.size);
            expect_prefix_or_corrupt(&f, 7);
            bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        write_segment(&f, number, bytes.data, bytes.size);
        nori_free(bytes.data);
    }
    expect_recovered(&f, 9);
    fixture_clear(&f);
}

TEST(every_truncation_of_a_small_log_leaves_what_was_promised_or_is_corruption)
{
    struct fixture f;
    uint64_t second;
    fixture_init_sim(&f, 11, false, false);
    write_small_log(&f, &second);
    struct bytes bytes = read_segment(&f, second);
    uint64_t promised = 7, without_promise = 3;
    for (size_t size = 0; size < NR_MIN(bytes.size, (size_t)700); size++) {
        write_segment(&f, second, bytes.data, size);
        /* Cut before the first promise of its own, the segment leaves only those of the one before. */
        expect_prefix_or_corrupt(&f, size > 400 ? promised : without_promise);
    }
    write_segment(&f, second, bytes.data, bytes.size);
    nori_free(bytes.data);
    expect_recovered(&f, 9);
    fixture_clear(&f);
}

TEST(recovery_fails_cleanly_at_every_failing_allocation_and_read)
{
    struct fixture f;
    uint64_t second;
    struct nr_wal_log log;
    struct nori_error err;
    fixture_init_sim(&f, 12, true, false);
    write_small_log(&f, &second);
    for (uint64_t nth = 1;; nth++) {
        uint64_t before = nr_alloc_count();
        nr_alloc_fail_at(nth);
        nori_status rc = fixture_recover(&f, &log, &err);
        nr_alloc_fail_at(0);
        if (rc == NORI_OK)
            nr_wal_log_clear(&log);
        else
            EXPECT_EQ(rc, NORI_NO_MEMORY);
        if (nr_alloc_count() - before < nth) break;
    }
    for (uint64_t nth = 1; nth < 200; nth++) {
        uint64_t before = nori_simdisk_operations(f.env, NULL);
        EXPECT_OK(nori_simdisk_fail(f.env, "any", nth, EIO, false, &err), &err);
        nori_status rc = fixture_recover(&f, &log, &err);
        bool fired = nori_simdisk_operations(f.env, NULL) - before >= nth;
        nori_simdisk_clear_faults(f.env);
        if (rc == NORI_OK) nr_wal_log_clear(&log);
        EXPECT_EQ(rc, fired ? NORI_IO : NORI_OK);
        if (!fired) break;
    }
    expect_recovered(&f, 9);
    fixture_clear(&f);
}

TEST(a_live_log_is_read_beside_its_writer)
{
    struct fixture f;
    struct nori_error err;
    struct nr_wal_log log;
    fixture_init_sim(&f, 13, true, false);
    EXPECT_OK(fixture_open(&f, &err), &err);
    for (int i = 0; i < 30; i++) {
        for (int j = 0; j < 5; j++) EXPECT_OK(fixture_append(&f, &err), &err);
        if (i % 3 == 0) EXPECT_OK(fixture_sync(&f, &err), &err);
        EXPECT_OK(nr_wal_prepare(f.wal, &err), &err);
        EXPECT_OK(nr_wal_examine(f.env, f.root, DATABASE_ID, 0, 0, true, &log, &err), &err);
        EXPECT_EQ(log.last_sequence, f.appended);
        nr_wal_log_clear(&log);
    }
    fixture_clear(&f);
}

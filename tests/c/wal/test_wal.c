#include <pthread.h>

#include "fixture.h"
#include "wal/wal_internal.h"

#define THREADS 8
#define RECORDS_PER_THREAD 60

static const bool both[] = {true, false};

static uint64_t count_segments(struct fixture *f)
{
    struct nr_wal_stats stats;
    nr_wal_stats(f->wal, &stats);
    return stats.segments;
}

TEST(a_record_larger_than_a_segment_gets_its_own)
{
    for (size_t m = 0; m < NR_ARRAY_LEN(both); m++) {
        struct fixture f;
        struct nori_error err;
        struct nr_wal_log log;
        fixture_init_sim(&f, 1, both[m], false);
        EXPECT_OK(fixture_open(&f, &err), &err);
        EXPECT_OK(nr_wal_prepare(f.wal, &err), &err); /* Its spare is overtaken. */
        for (size_t size = SMALL_SEGMENT_BYTES - 300; size < SMALL_SEGMENT_BYTES + 40; size += 13) {
            uint64_t before = f.end.segment;
            EXPECT_OK(fixture_append_size(&f, size, &err), &err);
            EXPECT(f.end.segment > before || before == 1);
            fixture_append_many(&f, 2, 100);
        }
        EXPECT_OK(fixture_append_size(&f, 128 << 10, &err), &err);
        fixture_append_many(&f, 2, 100);
        uint64_t appended = f.appended;
        EXPECT_OK(fixture_sync(&f, &err), &err);
        fixture_crash(&f, 0.0);
        EXPECT_OK(fixture_recover(&f, &log, &err), &err);
        EXPECT(!f.is_wrong);
        EXPECT_EQ(f.found, appended);
        nr_wal_log_clear(&log);
        fixture_clear(&f);
    }
}

/* Types of what stands in a segment, a letter each: full, first, middle, last, mark, next; a bar where a page begins.
 */
static void describe_segment(struct fixture *f, uint64_t number, char *out, size_t room)
{
    static const char letters[] = "?FfmlMn";
    struct bytes bytes = read_segment(f, number);
    size_t at = nr_record_start(NR_FILE_HEADER_BYTES), page = 0, length = 0;
    while (at + NR_FRAGMENT_HEADER_BYTES <= bytes.size && bytes.data[at + NR_FRAGMENT_TYPE_AT] != 0) {
        EXPECT(length + 3 < room);
        if (at / 4096 != page) out[length++] = '|';
        page = at / 4096;
        out[length++] = letters[bytes.data[at + NR_FRAGMENT_TYPE_AT]];
        at += NR_FRAGMENT_HEADER_BYTES + nr_get_fixed16(bytes.data + at + NR_FRAGMENT_LENGTH_AT);
        at = (size_t)nr_record_start(at);
    }
    out[length] = 0;
    nori_free(bytes.data);
}

TEST(a_record_has_a_head_where_a_page_begins_or_more_is_synced_or_the_sequence_does_not_go_on)
{
    for (size_t m = 0; m < NR_ARRAY_LEN(both); m++) {
        struct fixture f;
        struct nori_error err;
        char found[100];
        fixture_init_sim(&f, 1, both[m], false);
        EXPECT_OK(fixture_open(&f, &err), &err);
        fixture_append_many(&f, 5, 1000);
        describe_segment(&f, 1, found, sizeof found);
        EXPECT(strcmp(found, "Fnnn|F") == 0);
        EXPECT_OK(fixture_sync(&f, &err), &err);
        fixture_append_many(&f, 2, 1000);
        f.next_sequence += 2; /* Something that is not in the log. */
        fixture_append_many(&f, 2, 100);
        fixture_append_many(&f, 1, 70000);
        fixture_append_many(&f, 2, 100);
        describe_segment(&f, 1, found, sizeof found);
        EXPECT(strcmp(found, "Fnnn|FMnnFn") == 0);
        describe_segment(&f, f.end.segment, found, sizeof found);
        EXPECT(strcmp(found, "f|m|l|Fn") == 0);
        fixture_clear(&f);
    }
}

TEST(damage_of_the_page_in_which_the_synced_log_ends_is_not_taken_for_the_logs_end)
{
    struct fixture f;
    struct nori_error err;
    struct nr_wal_log log;
    static const uint8_t zeros[4096];
    fixture_init_sim(&f, 1, true, false);
    EXPECT_OK(fixture_open(&f, &err), &err);
    fixture_append_many(&f, 30, 500);
    EXPECT_OK(fixture_sync(&f, &err), &err);
    size_t page = (size_t)f.end.offset / sizeof zeros * sizeof zeros;
    fixture_append_many(&f, 9, 500);
    EXPECT(f.end.offset > page + sizeof zeros);
    struct bytes bytes = read_segment(&f, f.end.segment);
    memcpy(bytes.data + page, zeros, sizeof zeros);
    fixture_crash(&f, 1.0);
    write_segment(&f, f.end.segment, bytes.data, bytes.size);
    nori_free(bytes.data);
    EXPECT_STATUS(fixture_recover(&f, &log, &err), NORI_CORRUPTION, &err);
    fixture_clear(&f);
}

TEST(marks_always_fit_and_stand_once_after_each_sync)
{
    struct fixture f;
    struct nori_error err;
    struct nr_wal_stats stats;
    fixture_init_sim(&f, 2, true, false);
    EXPECT_OK(fixture_open(&f, &err), &err);
    for (size_t i = 0; i < 3000; i++) {
        EXPECT_OK(fixture_append_size(&f, 20 + i % 50, &err), &err);
        if (f.next_sequence == MODEL_LIMIT - 1) break;
        EXPECT_OK(fixture_sync(&f, &err), &err);
        nr_wal_stats(f.wal, &stats);
        uint64_t bytes = stats.bytes_appended, syncs = stats.syncs;
        EXPECT_OK(fixture_sync(&f, &err), &err);
        EXPECT_OK(nr_wal_sync(f.wal, nr_wal_end(f.wal, NULL), &(bool){false}, &err), &err);
        nr_wal_stats(f.wal, &stats);
        EXPECT_EQ(stats.bytes_appended, bytes);
        EXPECT_EQ(stats.syncs, syncs);
    }
    fixture_clear(&f);
}

TEST(end_and_synced_tell_the_position_with_its_sequence)
{
    struct fixture f;
    struct nori_error err;
    uint64_t sequence = 99;
    fixture_init_sim(&f, 3, true, false);
    EXPECT_OK(fixture_open(&f, &err), &err);
    EXPECT_EQ(nr_wal_synced(f.wal, &sequence).segment, 0);
    fixture_append_many(&f, 3, 100);
    EXPECT(nr_position_compare(nr_wal_end(f.wal, &sequence), f.end) == 0);
    EXPECT_EQ(sequence, 3);
    EXPECT_OK(fixture_sync(&f, &err), &err);
    EXPECT(nr_position_compare(nr_wal_synced(f.wal, &sequence), f.end) == 0);
    EXPECT_EQ(sequence, 3);
    EXPECT(nr_position_compare(nr_wal_end(f.wal, &sequence), f.end) == 0);
    fixture_clear(&f);
}

TEST(a_failed_sync_is_indeterminate_then_poisons_and_is_never_tried_again)
{
    static const char *const operations[] = {"log_sync", "dir_sync"};
    for (size_t i = 0; i < NR_ARRAY_LEN(operations); i++) {
        struct fixture f;
        struct nori_error err;
        fixture_init_sim(&f, 4, i == 0, false);
        EXPECT_OK(fixture_open(&f, &err), &err);
        fixture_append_many(&f, 12, 9000); /* Into a second segment. */
        EXPECT_OK(nori_simdisk_fail(f.env, operations[i], 1, EIO, false, &err), &err);
        EXPECT_STATUS(fixture_sync(&f, &err), NORI_IO, &err);
        EXPECT_EQ(err.sys_errno, EIO);
        EXPECT_EQ(err.outcome, NORI_INDETERMINATE);
        EXPECT(strstr(err.path, "wal") != NULL);
        uint64_t before = nori_simdisk_operations(f.env, NULL);
        EXPECT_STATUS(fixture_sync(&f, &err), NORI_POISONED, &err);
        EXPECT_EQ(err.sys_errno, EIO);
        EXPECT(strstr(err.path, "wal") != NULL);
        EXPECT_EQ(err.outcome, NORI_NOT_APPLIED);
        EXPECT_STATUS(fixture_append(&f, &err), NORI_POISONED, &err);
        EXPECT_STATUS(nr_wal_append(f.wal, f.next_sequence, 1, nr_slice_text("x"), &f.end, &err), NORI_POISONED, &err);
        EXPECT_OK(nr_wal_prepare(f.wal, &err), &err);
        EXPECT(!nr_wal_wants_prepare(f.wal));
        EXPECT_EQ(nori_simdisk_operations(f.env, NULL), before);
        fixture_clear(&f);
    }
}

TEST(a_failed_write_poisons_with_its_cause)
{
    for (int is_short = 0; is_short < 2; is_short++) {
        struct fixture f;
        struct nori_error err;
        fixture_init_sim(&f, 5, false, false);
        EXPECT_OK(fixture_open(&f, &err), &err);
        fixture_append_many(&f, 2, 100);
        EXPECT_OK(nori_simdisk_fail(f.env, "log_publish", 1, ENOSPC, is_short, &err), &err);
        EXPECT_STATUS(fixture_append_size(&f, 100, &err), NORI_IO, &err);
        EXPECT_EQ(err.outcome, NORI_INDETERMINATE);
        EXPECT_EQ(err.sys_errno, ENOSPC);
        EXPECT_STATUS(fixture_append_size(&f, 100, &err), NORI_POISONED, &err);
        EXPECT_EQ(err.sys_errno, ENOSPC);
        EXPECT_STATUS(fixture_sync(&f, &err), NORI_POISONED, &err);
        fixture_clear(&f);
    }
}

TEST(a_failed_mark_poisons_a_written_log_but_not_its_sync)
{
    struct fixture f;
    struct nori_error err;
    fixture_init_sim(&f, 6, false, false);
    EXPECT_OK(fixture_open(&f, &err), &err);
    fixture_append_many(&f, 2, 100);
    EXPECT_OK(nori_simdisk_fail(f.env, "log_publish", 1, EIO, false, &err), &err);
    EXPECT_OK(fixture_sync(&f, &err), &err);
    EXPECT_STATUS(fixture_append_size(&f, 100, &err), NORI_POISONED, &err);
    EXPECT_OK(fixture_sync(&f, &err), &err);
    fixture_clear(&f);
}

TEST(a_segment_that_cannot_be_created_has_lost_nothing)
{
    for (size_t m = 0; m < NR_ARRAY_LEN(both); m++) {
        struct fixture f;
        struct nori_error err;
        struct nr_wal_log log;
        fixture_init_sim(&f, 7, both[m], false);
        EXPECT_OK(fixture_open(&f, &err), &err);
        fixture_append_many(&f, 7, 9000); /* The segment is full. */
        EXPECT_EQ(f.end.segment, 1);
        EXPECT_OK(nori_simdisk_fail(f.env, "create", 1, ENOSPC, false, &err), &err);
        EXPECT_STATUS(fixture_append_size(&f, 9000, &err), NORI_IO, &err);
        EXPECT_EQ(err.sys_errno, ENOSPC);
        EXPECT_EQ(err.outcome, NORI_NOT_APPLIED);
        EXPECT_OK(nori_simdisk_fail(f.env, "log_reserve", 1, ENOSPC, false, &err), &err);
        EXPECT_STATUS(fixture_append_size(&f, 9000, &err), NORI_IO, &err);
        EXPECT_OK(fixture_append_size(&f, 9000, &err), &err);
        EXPECT_OK(fixture_sync(&f, &err), &err);
        fixture_crash(&f, 0.0);
        EXPECT_OK(fixture_recover(&f, &log, &err), &err);
        EXPECT_EQ(f.found, 8);
        nr_wal_log_clear(&log);
        fixture_clear(&f);
    }
}

/* No new file and no new block, until the faults are cleared. */
static void fill_disk(struct nori_env *env, int sys_errno)
{
    struct nori_error err;
    for (uint64_t nth = 1; nth <= 300; nth++) {
        EXPECT_OK(nori_simdisk_fail(env, "create", nth, sys_errno, false, &err), &err);
        EXPECT_OK(nori_simdisk_fail(env, "log_reserve", nth, sys_errno, false, &err), &err);
    }
}

/* As many records of 'size' as the log takes. */
static unsigned append_until_full(struct fixture *f, size_t size, enum nr_wal_use use, int sys_errno)
{
    struct nori_error err;
    nori_status rc;
    unsigned count = 0;
    while ((rc = fixture_append_use(f, size, use, &err)) == NORI_OK) count++;
    EXPECT_STATUS(rc, NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, sys_errno);
    EXPECT_EQ(err.outcome, NORI_NOT_APPLIED);
    return count;
}

TEST(a_full_disk_leaves_the_last_spare_segment_to_deletes_until_there_is_space)
{
    static const int codes[] = {ENOSPC, EDQUOT};
    for (size_t i = 0; i < 2 * NR_ARRAY_LEN(both); i++) {
        struct fixture f;
        struct nori_error err;
        struct nr_wal_log log;
        int code = codes[i / 2];
        fixture_init_sim(&f, 8, both[i % 2], false);
        EXPECT_OK(fixture_open(&f, &err), &err);
        EXPECT_OK(nr_wal_prepare(f.wal, &err), &err);
        fixture_append_many(&f, 4, 9000);
        EXPECT(nr_wal_wants_prepare(f.wal)); /* Half full. */
        EXPECT_OK(nr_wal_prepare(f.wal, &err), &err);
        fill_disk(f.env, code);
        append_until_full(&f, 9000, NR_WAL_PUTS, code);
        EXPECT_EQ(f.end.segment, 2); /* That one left one behind. */
        EXPECT(append_until_full(&f, 9000, NR_WAL_DELETES, code) >= 7);
        EXPECT_EQ(f.end.segment, 3);
        EXPECT_STATUS(fixture_append_size(&f, 100, &err), NORI_IO, &err);
        EXPECT_OK(fixture_append_use(&f, 100, NR_WAL_DELETES, &err), &err); /* What room is left is theirs. */
        EXPECT_OK(fixture_sync(&f, &err), &err);
        nori_simdisk_clear_faults(f.env);
        fixture_append_many(&f, 20, 9000);
        EXPECT_OK(fixture_sync(&f, &err), &err);
        fixture_crash(&f, 0.0);
        EXPECT_OK(fixture_recover(&f, &log, &err), &err);
        EXPECT_EQ(f.found, f.appended);
        nr_wal_log_clear(&log);
        fixture_clear(&f);
    }
}

TEST(puts_wait_for_a_spare_where_none_could_be_made_and_other_failures_do_not_hold_them)
{
    struct fixture f;
    struct nori_error err;
    fixture_init_sim(&f, 8, true, false);
    EXPECT_OK(fixture_open(&f, &err), &err);
    fill_disk(f.env, ENOSPC);
    EXPECT_STATUS(nr_wal_prepare(f.wal, &err), NORI_IO, &err);
    EXPECT_STATUS(fixture_append_size(&f, 10, &err), NORI_IO, &err);
    EXPECT_STATUS(nr_wal_reserve(f.wal, 10, NR_WAL_PUTS, false, &err), NORI_AGAIN, &err);
    EXPECT_OK(fixture_append_use(&f, 10, NR_WAL_DELETES, &err), &err);
    nori_simdisk_clear_faults(f.env);
    EXPECT_OK(nori_simdisk_fail(f.env, "create", 1, EIO, false, &err), &err);
    EXPECT_STATUS(fixture_append_size(&f, 10, &err), NORI_IO, &err);
    EXPECT_OK(fixture_append_size(&f, 10, &err), &err);
    for (uint64_t nth = 1; nth < 100; nth++) EXPECT_OK(nori_simdisk_fail(f.env, "create", nth, EIO, false, &err), &err);
    fixture_append_many(&f, 10, 9000); /* Into the one spare. */
    EXPECT(f.end.segment > 1);
    fixture_clear(&f);
}

TEST(who_may_not_wait_is_told_to_come_again_and_a_prepared_log_needs_no_wait_but_to_begin_a_segment)
{
    struct fixture f;
    struct nori_error err;
    struct nr_position end = {0};
    static uint8_t payload[9000];
    fixture_init_sim(&f, 9, true, false);
    EXPECT_OK(fixture_open(&f, &err), &err);
    EXPECT(nr_wal_wants_prepare(f.wal));
    nori_status rc = NORI_OK;
    uint64_t sequence = 1;
    for (; sequence < 10 && rc == NORI_OK; sequence++) {
        rc = nr_wal_reserve(f.wal, sizeof(payload), NR_WAL_PUTS, false, &err);
        if (rc == NORI_OK)
            EXPECT_OK(nr_wal_append(f.wal, sequence, 1, nr_slice(payload, sizeof(payload)), &end, &err), &err);
    }
    EXPECT_EQ(rc, NORI_AGAIN);
    sequence--;
    for (; sequence < 100; sequence++) {
        if (nr_wal_wants_prepare(f.wal)) EXPECT_OK(nr_wal_prepare(f.wal, &err), &err);
        uint64_t segment = end.segment == 0 ? nr_wal_end(f.wal, NULL).segment : end.segment;
        rc = nr_wal_reserve(f.wal, sizeof(payload), NR_WAL_PUTS, false, &err);
        bool begins = rc == NORI_AGAIN;
        if (begins) rc = nr_wal_reserve(f.wal, sizeof(payload), NR_WAL_PUTS, true, &err);
        EXPECT_OK(rc, &err);
        EXPECT_OK(nr_wal_append(f.wal, sequence, 1, nr_slice(payload, sizeof(payload)), &end, &err), &err);
        EXPECT_EQ(begins, end.segment != segment);
    }
    fixture_clear(&f);
}

TEST(collected_segments_go_but_one_which_is_recycled)
{
    struct fixture f;
    struct nori_error err;
    struct nr_wal_stats stats;
    fixture_init_sim(&f, 10, true, false);
    EXPECT_OK(fixture_open(&f, &err), &err);
    for (int round = 0; round < 10; round++) {
        fixture_append_many(&f, 30, 9000);
        EXPECT_OK(fixture_sync(&f, &err), &err);
        EXPECT_OK(fixture_flush(&f, &err), &err);
        EXPECT_EQ(count_segments(&f), 3); /* The current one, its spare, one to recycle. */
    }
    nr_wal_stats(f.wal, &stats);
    EXPECT(stats.segments_deleted >= 40);
    EXPECT_OK(nr_wal_prepare(f.wal, &err), &err);
    EXPECT_EQ(count_segments(&f), 3);
    EXPECT(nori_simdisk_operations(f.env, "rename") >= 9);

    /* Those of a former session go as well. */
    fixture_kill(&f);
    EXPECT_OK(fixture_open(&f, &err), &err);
    EXPECT_OK(fixture_flush(&f, &err), &err);
    EXPECT_EQ(count_segments(&f), 1);
    nr_wal_close(f.wal, true);
    f.wal = NULL;
    struct nr_wal_log log;
    EXPECT_OK(fixture_recover(&f, &log, &err), &err);
    EXPECT_EQ(log.part_count, 0);
    nr_wal_log_clear(&log);
    fixture_clear(&f);
}

TEST(a_log_at_rest_has_one_spare_segment_and_nothing_to_recycle_and_goes_on)
{
    struct fixture f;
    struct nori_error err;
    struct nr_wal_log log;
    fixture_init_sim(&f, 10, true, false);
    EXPECT_OK(fixture_open(&f, &err), &err);
    nr_wal_rest(f.wal);
    EXPECT_EQ(count_segments(&f), 1); /* There was nothing else. */
    for (int round = 0; round < 3; round++) {
        fixture_append_many(&f, 30, 9000);
        EXPECT_OK(fixture_sync(&f, &err), &err);
        EXPECT_OK(fixture_flush(&f, &err), &err);
        while (nr_wal_end(f.wal, NULL).offset < 40000) fixture_append_many(&f, 1, 9000);
        EXPECT_OK(nr_wal_prepare(f.wal, &err), &err);
        fixture_append_many(&f, 6, 9000); /* Out of one that is needed, too. */
        EXPECT_OK(nr_wal_prepare(f.wal, &err), &err);
        uint64_t before = count_segments(&f);
        EXPECT(!nr_wal_is_at_rest(f.wal));
        nr_wal_rest(f.wal);
        EXPECT(nr_wal_is_at_rest(f.wal));
        EXPECT(count_segments(&f) < before);
        EXPECT_EQ(count_segments(&f), 3); /* Two that are needed, and the spare. */
    }
    fixture_append_many(&f, 30, 9000);
    EXPECT_OK(fixture_sync(&f, &err), &err);
    fixture_crash(&f, 0.0);
    EXPECT_OK(fixture_recover(&f, &log, &err), &err);
    EXPECT_EQ(f.found, f.appended);
    nr_wal_log_clear(&log);
    fixture_clear(&f);
}

TEST(a_former_sessions_file_is_never_recycled)
{
    struct fixture f;
    struct nori_error err;
    fixture_init_sim(&f, 15, true, false);
    f.retain_bytes = 1;
    EXPECT_OK(fixture_open(&f, &err), &err);
    fixture_append_many(&f, 30, 9000);
    fixture_kill(&f);
    EXPECT_OK(fixture_open(&f, &err), &err);
    EXPECT_OK(fixture_flush(&f, &err), &err);
    EXPECT_OK(nr_wal_prepare(f.wal, &err), &err);
    EXPECT_EQ(nori_simdisk_operations(f.env, "rename"), 0);
    fixture_clear(&f);
}

TEST(a_new_session_is_durable_before_its_first_write)
{
    struct fixture f;
    struct nori_error err;
    struct nr_wal_log log;
    fixture_init_sim(&f, 16, true, false);
    EXPECT_OK(fixture_open(&f, &err), &err);
    struct nr_position begin = f.end;
    fixture_crash(&f, 0.0);
    EXPECT_OK(fixture_recover(&f, &log, &err), &err);
    EXPECT(nr_position_compare(log.end, begin) == 0);
    nr_wal_log_clear(&log);
    fixture_clear(&f);
}

TEST(segments_within_retain_bytes_are_kept)
{
    struct fixture f;
    struct nori_error err;
    fixture_init_sim(&f, 11, true, false);
    f.retain_bytes = 3 * SMALL_SEGMENT_BYTES;
    EXPECT_OK(fixture_open(&f, &err), &err);
    fixture_append_many(&f, 70, 9000);
    EXPECT_OK(fixture_flush(&f, &err), &err);
    EXPECT_EQ(count_segments(&f), 2 + 3 + 1); /* The current one, its spare, those retained, one to recycle. */
    fixture_clear(&f);
}

TEST(a_failed_unlink_is_told_and_tried_again)
{
    struct fixture f;
    struct nori_error err;
    fixture_init_sim(&f, 12, true, false);
    EXPECT_OK(fixture_open(&f, &err), &err);
    fixture_append_many(&f, 70, 9000);
    EXPECT_OK(nori_simdisk_fail(f.env, "unlink", 2, EIO, false, &err), &err);
    EXPECT_STATUS(fixture_flush(&f, &err), NORI_IO, &err);
    EXPECT_EQ(count_segments(&f), 4);
    EXPECT_OK(fixture_flush(&f, &err), &err);
    EXPECT_EQ(count_segments(&f), 3);
    EXPECT_OK(fixture_sync(&f, &err), &err);
    fixture_clear(&f);
}

TEST(a_log_that_cannot_be_opened_leaves_no_segment_and_no_memory)
{
    for (uint64_t nth = 1; nth < 20; nth++) {
        struct fixture f;
        struct nori_error err;
        struct nr_wal_log log;
        fixture_init_sim(&f, nth, true, false);
        EXPECT_OK(fixture_recover(&f, &log, &err), &err);
        EXPECT_OK(nori_simdisk_fail(f.env, "any", nth, ENOSPC, false, &err), &err);
        nori_status rc = fixture_begin(&f, &log, &err);
        nori_simdisk_clear_faults(f.env);
        if (rc != NORI_OK) {
            EXPECT_EQ(err.sys_errno, ENOSPC);
            EXPECT_OK(fixture_open(&f, &err), &err);
            EXPECT_EQ(count_segments(&f), 1);
        }
        fixture_clear(&f);
        if (rc == NORI_OK) break;
        EXPECT(nth < 15);
    }
}

/* ---------------------------------------------------------------- threads */

static int never_stop(void *arg)
{
    ++*(int *)arg;
    return 0;
}

TEST(a_writer_that_waits_for_anothers_sync_comes_back_when_its_hook_is_due)
{
    struct fixture f;
    struct nori_error err;
    int asked = 0;
    bool has_waited = false;
    fixture_init_sim(&f, 1, true, true);
    EXPECT_OK(fixture_open(&f, &err), &err);
    EXPECT_OK(fixture_append(&f, &err), &err);
    nr_mutex_lock(&f.wal->sync_lock);
    f.wal->is_syncing = true;
    nr_mutex_unlock(&f.wal->sync_lock);
    nori_set_interrupt(never_stop, &asked);
    EXPECT_EQ(nr_wal_sync(f.wal, f.end, &has_waited, &err), NORI_AGAIN);
    EXPECT(has_waited);
    EXPECT_EQ(asked, 0); /* The log's lock was held: whoever called asks. */
    nori_set_interrupt(NULL, NULL);
    nr_mutex_lock(&f.wal->sync_lock);
    f.wal->is_syncing = false;
    nr_mutex_unlock(&f.wal->sync_lock);
    EXPECT_OK(nr_wal_sync(f.wal, f.end, &has_waited, &err), &err);
    fixture_clear(&f);
}

struct group {
    struct fixture *f;
    _Atomic bool is_over;
    _Atomic uint64_t io_errors, poisoned, synced;
};

static void *write_and_sync(void *arg)
{
    struct group *group = arg;
    struct fixture *f = group->f;
    struct nori_error err;
    uint8_t payload[200];

    for (int i = 0; i < RECORDS_PER_THREAD; i++) {
        struct nr_position end = {0, 0};
        nr_mutex_lock(&f->append_lock);
        uint64_t sequence = f->next_sequence;
        size_t size = 24 + sequence % 100;
        payload_fill(payload, size, sequence, f->session);
        nori_status rc = nr_wal_reserve(f->wal, size, NR_WAL_PUTS, true, &err);
        if (rc == NORI_OK) rc = nr_wal_append(f->wal, sequence, 1, nr_slice(payload, size), &end, &err);
        if (rc == NORI_OK) {
            f->sessions[sequence] = f->session;
            f->next_sequence++;
        }
        nr_mutex_unlock(&f->append_lock);
        if (rc == NORI_OK) rc = nr_wal_sync(f->wal, end, &(bool){false}, &err);
        if (rc == NORI_OK && nr_position_compare(nr_wal_synced(f->wal, NULL), end) >= 0) group->synced++;
        if (rc == NORI_IO && err.outcome == NORI_INDETERMINATE && err.sys_errno == EIO) group->io_errors++;
        if (rc == NORI_POISONED) group->poisoned++;
    }
    return NULL;
}

static void *work_behind(void *arg)
{
    struct group *group = arg;
    while (!group->is_over) {
        if (nr_wal_wants_prepare(group->f->wal)) (void)!nr_wal_prepare(group->f->wal, NULL);
        (void)!nr_wal_collect(group->f->wal, 1, NULL);
        nr_wal_rest(group->f->wal);
        usleep(200);
    }
    return NULL;
}

static void run_group(struct group *group)
{
    pthread_t threads[THREADS + 1];
    for (size_t i = 0; i < THREADS; i++) EXPECT_EQ(pthread_create(&threads[i], NULL, write_and_sync, group), 0);
    EXPECT_EQ(pthread_create(&threads[THREADS], NULL, work_behind, group), 0);
    for (size_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    group->is_over = true;
    pthread_join(threads[THREADS], NULL);
}

TEST(writers_that_arrive_together_are_synced_together_and_all_survive)
{
    for (size_t m = 0; m < NR_ARRAY_LEN(both); m++) {
        struct fixture f;
        struct group group = {.f = &f};
        struct nori_error err;
        struct nr_wal_log log;
        struct nr_wal_stats stats;
        fixture_init_sim(&f, 13, both[m], true);
        EXPECT_OK(fixture_open(&f, &err), &err);
        run_group(&group);
        EXPECT_EQ(group.synced, THREADS * RECORDS_PER_THREAD);
        nr_wal_stats(f.wal, &stats);
        EXPECT(stats.syncs <= THREADS * RECORDS_PER_THREAD);
        fixture_crash(&f, 0.0);
        EXPECT_OK(fixture_recover(&f, &log, &err), &err);
        EXPECT(!f.is_wrong);
        EXPECT_EQ(f.found, THREADS * RECORDS_PER_THREAD);
        nr_wal_log_clear(&log);
        fixture_clear(&f);
    }
}

TEST(every_writer_of_a_group_learns_of_its_failed_sync)
{
    struct fixture f;
    struct group group = {.f = &f};
    struct nori_error err;
    struct nr_wal_log log;
    fixture_init_sim(&f, 14, true, true);
    EXPECT_OK(fixture_open(&f, &err), &err);
    EXPECT_OK(nori_simdisk_fail(f.env, "log_sync", 20, EIO, false, &err), &err);
    run_group(&group);
    EXPECT(group.io_errors >= 1 && group.io_errors <= THREADS);
    EXPECT_EQ(group.synced + group.io_errors + group.poisoned, THREADS * RECORDS_PER_THREAD);
    uint64_t synced = group.synced;
    fixture_crash(&f, -1);
    EXPECT_OK(fixture_recover(&f, &log, &err), &err);
    EXPECT(!f.is_wrong);
    EXPECT(f.found >= synced);
    nr_wal_log_clear(&log);
    fixture_clear(&f);
}

/* ---------------------------------------------------------------- a real disk */

static void remove_name(void *arg, const char *name)
{
    if (name[0] != '.') (void)!nr_dir_unlink(arg, name, NULL);
}

TEST(the_same_on_the_operating_systems_disk)
{
    for (size_t m = 0; m < NR_ARRAY_LEN(both); m++) {
        struct fixture f = {.env = nori_env_default(), .mapped = both[m], .segment_bytes = 256 << 10};
        struct group group = {.f = &f};
        struct nori_error err;
        struct nr_wal_log log;
        char path[] = "/tmp/nori-wal-XXXXXX";
        EXPECT(mkdtemp(path) != NULL);
        nr_mutex_init(&f.append_lock, NR_RANK_COMMIT);
        f.next_sequence = 1;
        fixture_open_root(&f, path);
        EXPECT_OK(fixture_open(&f, &err), &err);
        run_group(&group);
        EXPECT_EQ(group.synced, THREADS * RECORDS_PER_THREAD);
        for (int i = 0; i < 300; i++) {
            EXPECT_OK(fixture_append(&f, &err), &err);
            if (i % 100 == 50) EXPECT_OK(fixture_flush(&f, &err), &err);
        }
        fixture_close_log(&f);
        EXPECT_OK(fixture_open(&f, &err), &err);
        EXPECT(!f.is_wrong);
        EXPECT_EQ(f.next_sequence, THREADS * RECORDS_PER_THREAD + 301);
        fixture_append_many(&f, 10, 1000);
        EXPECT_OK(fixture_sync(&f, &err), &err);
        fixture_close_log(&f);
        EXPECT_OK(fixture_recover(&f, &log, &err), &err);
        EXPECT(!f.is_wrong);
        EXPECT_EQ(f.found, THREADS * RECORDS_PER_THREAD + 310);
        nr_wal_log_clear(&log);

        struct nr_dir *dir;
        EXPECT_OK(nr_dir_open_at(f.root, "wal", false, &dir, &err), &err);
        EXPECT_OK(nr_dir_list(dir, remove_name, dir, &err), &err);
        nr_dir_close(dir);
        EXPECT_OK(nr_dir_remove(f.root, "wal", &err), &err);
        nr_dir_close(f.root);
        EXPECT_EQ(rmdir(path), 0);
        nr_mutex_destroy(&f.append_lock);
    }
}

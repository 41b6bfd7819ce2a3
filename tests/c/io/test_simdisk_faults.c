#include "io/sim.h"

static void expect_io(nori_status status, int sys_errno)
{
    EXPECT_STATUS(status, NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, sys_errno);
}

TEST(the_nth_operation_of_a_kind_fails_once_and_changes_nothing)
{
    struct nori_env *env = make_disk(1);
    struct nr_dir *dir = enter(env);
    struct nr_file *file = create(dir, "file", "");
    EXPECT_OK(nori_simdisk_fail(env, "write", 2, ENOSPC, false, &err), &err);
    EXPECT_OK(nori_simdisk_fail(env, "unlink", 1, EACCES, false, &err), &err);
    EXPECT_OK(nr_file_append(file, nr_slice_text("one"), &err), &err);
    expect_io(nr_file_append(file, nr_slice_text("two"), &err), ENOSPC);
    EXPECT_OK(nr_file_append(file, nr_slice_text("three"), &err), &err);
    expect_file(dir, "file", "onethree");
    expect_io(nr_dir_unlink(dir, "file", &err), EACCES);
    EXPECT_OK(nr_dir_unlink(dir, "file", &err), &err);
    nr_file_close(file);
    nr_dir_close(dir);
    nori_simdisk_destroy(env);
}

TEST(any_counts_operations_of_all_kinds)
{
    struct nori_env *env = make_disk(2);
    struct nr_dir *dir = enter(env);
    struct nr_file *file;
    uint64_t before = nori_simdisk_operations(env, NULL);
    EXPECT_OK(nori_simdisk_fail(env, "any", 3, EIO, false, &err), &err);
    EXPECT_OK(nr_file_open(dir, "file", NR_OPEN_CREATE, &file, &err), &err);
    EXPECT_OK(nr_file_append(file, nr_slice_text("x"), &err), &err);
    expect_io(nr_dir_sync(dir, &err), EIO);
    EXPECT_OK(nr_dir_sync(dir, &err), &err);
    EXPECT_EQ(nori_simdisk_operations(env, NULL), before + 4);
    EXPECT_EQ(nori_simdisk_operations(env, "create"), 1);
    EXPECT_EQ(nori_simdisk_operations(env, "write"), 1);
    EXPECT_EQ(nori_simdisk_operations(env, "no such"), 0);
    nr_file_close(file);
    nr_dir_close(dir);
    nori_simdisk_destroy(env);
}

TEST(a_short_write_lets_part_through_and_then_fails)
{
    struct nori_env *env = make_disk(3);
    struct nr_dir *dir = enter(env);
    struct nr_file *file = create(dir, "file", "");
    uint64_t size;
    EXPECT_OK(nori_simdisk_fail(env, "write", 1, ENOSPC, true, &err), &err);
    expect_io(nr_file_append(file, nr_slice_text("0123456789"), &err), ENOSPC);
    EXPECT_OK(nr_file_size(file, &size, &err), &err);
    EXPECT(size >= 1 && size <= 9);
    nr_file_close(file);
    nr_dir_close(dir);
    nori_simdisk_destroy(env);
}

TEST(interrupted_and_short_transfers_are_resumed_but_an_interrupted_sync_is_not)
{
    struct nori_env *env = make_disk(4);
    struct nr_dir *dir = enter(env);
    struct nr_file *file = create(dir, "file", "");
    EXPECT_OK(nori_simdisk_fail(env, "write", 1, EINTR, true, &err), &err);
    EXPECT_OK(nori_simdisk_fail(env, "read", 1, 0, true, &err), &err);
    EXPECT_OK(nori_simdisk_fail(env, "sync", 1, EINTR, false, &err), &err);
    EXPECT_OK(nr_file_append(file, nr_slice_text("whole"), &err), &err);
    expect_file(dir, "file", "whole");
    expect_io(nr_file_sync(file, &err), EINTR);
    nr_file_close(file);
    nr_dir_close(dir);
    nori_simdisk_destroy(env);
}

TEST(after_a_failed_sync_a_later_one_does_not_save_the_data)
{
    for (int kind = 0; kind < 2; kind++) {
        struct nori_env *env = make_disk(5);
        struct nr_dir *dir = enter(env);
        struct nr_file *file = create(dir, "file", "synced");
        EXPECT_OK(nr_file_sync(file, &err), &err);
        EXPECT_OK(nr_dir_sync(dir, &err), &err);
        EXPECT_OK(nr_file_append(file, nr_slice_text(" lost"), &err), &err);
        EXPECT_OK(nori_simdisk_fail(env, "sync", 1, EIO, false, &err), &err);
        expect_io(nr_file_sync(file, &err), EIO);
        expect_file(dir, "file", "synced lost");
        if (kind == 1) EXPECT_OK(nr_file_append(file, nr_slice_text(" again"), &err), &err);
        EXPECT_OK(nr_file_sync(file, &err), &err);
        nr_file_close(file);
        dir = crash(dir, 0);
        struct nr_buffer data = {0};
        EXPECT_OK(nr_file_read_all(dir, "file", 100, &data, &err), &err);
        EXPECT_EQ(memcmp(data.data, kind ? "synced lost again" : "synced\0\0\0\0\0", data.size), 0);
        EXPECT_EQ(data.size, kind ? 17 : 11);
        nr_buffer_clear(&data);
        nr_dir_close(dir);
        nori_simdisk_destroy(env);
    }
}

TEST(from_the_stop_on_everything_fails_until_the_crash)
{
    struct nori_env *env = make_disk(6);
    struct nr_dir *dir = enter(env), *other;
    struct nr_file *file = create(dir, "file", "");
    struct nr_log *log;
    uint64_t size;
    EXPECT_OK(nr_log_create(dir, "log", NULL, 65536, true, &log, &err), &err);
    EXPECT_OK(nr_log_reserve(log, 100, true, &err), &err);
    nori_simdisk_stop_at(env, 1);
    nori_simdisk_stop_at(env, 0);
    EXPECT_OK(nr_file_append(file, nr_slice_text("a"), &err), &err);
    nori_simdisk_stop_at(env, 2);
    EXPECT_OK(nr_file_append(file, nr_slice_text("b"), &err), &err);
    EXPECT(!nori_simdisk_stopped(env));
    expect_io(nr_file_append(file, nr_slice_text("c"), &err), EIO);
    expect_io(nr_file_sync(file, &err), EIO);
    expect_io(nr_file_size(file, &size, &err), EIO);
    expect_io(nr_dir_open(env, "/db", true, &other, &err), EIO);
    expect_io(nr_log_reserve(log, 10, false, &err), EIO);
    expect_io(nr_log_publish(log, 0, nr_slice_text("x"), nr_slice(NULL, 0), &err), EIO);
    nr_file_close(file);
    nr_log_close(log);
    EXPECT_SLICE(nr_slice_text(nori_simdisk_stopped(env)), "write");
    dir = crash(dir, 1);
    EXPECT(!nori_simdisk_stopped(env));
    expect_file(dir, "file", "ab");
    nr_dir_close(dir);
    nori_simdisk_destroy(env);
}

TEST(publishing_fails_in_a_written_log_and_never_in_a_mapped_one)
{
    for (int mapped = 0; mapped < 2; mapped++) {
        struct nori_env *env = make_disk(7);
        struct nr_dir *dir = enter(env);
        struct nr_log *log;
        EXPECT_OK(nori_simdisk_fail(env, "create", 1, ENOSPC, false, &err), &err);
        expect_io(nr_log_create(dir, "log", NULL, 65536, mapped, &log, &err), ENOSPC);
        EXPECT(!has(dir, "log"));
        EXPECT_OK(nr_log_create(dir, "log", NULL, 65536, mapped, &log, &err), &err);
        EXPECT_OK(nori_simdisk_fail(env, "log_reserve", 1, ENOSPC, false, &err), &err);
        expect_io(nr_log_reserve(log, 100, true, &err), ENOSPC);
        EXPECT_STATUS(nr_log_reserve(log, 100, false, &err), NORI_AGAIN, &err);
        EXPECT_OK(nr_log_prepare(log, 100, &err), &err);
        EXPECT_OK(nori_simdisk_fail(env, "log_publish", 1, EIO, false, &err), &err);
        nori_status rc = nr_log_publish(log, 0, nr_slice_text("x"), nr_slice(NULL, 0), &err);
        if (mapped)
            EXPECT_OK(rc, &err);
        else
            expect_io(rc, EIO);
        EXPECT_EQ(nori_simdisk_operations(env, "log_publish"), 1);
        EXPECT_OK(nori_simdisk_fail(env, "log_sync", 1, EIO, false, &err), &err);
        expect_io(nr_log_sync(log, &err), EIO);
        EXPECT_OK(nr_log_sync(log, &err), &err);
        nr_log_close(log);
        nr_dir_close(dir);
        nori_simdisk_destroy(env);
    }
}

TEST(a_mapped_publish_below_the_reservation_needs_no_memory)
{
    struct nori_env *env = make_disk(8);
    struct nr_dir *dir = enter(env);
    struct nr_log *log;
    EXPECT_OK(nr_log_create(dir, "log", NULL, 65536, true, &log, &err), &err);
    EXPECT_OK(nr_log_reserve(log, 20000, true, &err), &err);
    uint64_t before = nr_alloc_count();
    for (uint64_t at = 0; at + 100 <= 20000; at += 100) {
        EXPECT_OK(nr_log_publish(log, at, nr_slice("0123456789", 10), nr_slice("0123456789", 10), &err), &err);
        if (at % 700 == 0) EXPECT_OK(nr_log_sync(log, &err), &err);
    }
    EXPECT_EQ(nr_alloc_count(), before);
    nr_log_close(log);
    nr_dir_close(dir);
    nori_simdisk_destroy(env);
}

TEST(bad_faults_are_refused_and_armed_ones_can_be_cleared)
{
    struct nori_env *env = make_disk(9), *other;
    struct nr_dir *dir = enter(env);
    EXPECT_STATUS(nori_simdisk_fail(env, "fsync", 1, EIO, false, &err), NORI_INVALID, &err);
    EXPECT_STATUS(nori_simdisk_fail(env, "sync", 0, EIO, false, &err), NORI_INVALID, &err);
    EXPECT_STATUS(nori_simdisk_fail(env, "sync", 1, 0, false, &err), NORI_INVALID, &err);
    EXPECT_STATUS(nori_simdisk_create(1, 1024, false, &other, &err), NORI_INVALID, &err);
    EXPECT_STATUS(nori_simdisk_crash(env, 1.5, &err), NORI_INVALID, &err);
    for (unsigned i = 0; i < NR_IO_OP_COUNT; i++)
        EXPECT_OK(nori_simdisk_fail(env, nori_simdisk_op_name(i), 1, EIO, false, &err), &err);
    EXPECT(nori_simdisk_op_name(NR_IO_OP_COUNT) == NULL);
    nori_simdisk_stop_at(env, 1);
    nori_simdisk_clear_faults(env);
    EXPECT_OK(nr_dir_sync(dir, &err), &err);
    nr_dir_close(dir);
    nori_simdisk_destroy(env);
}

TEST(replace_shows_the_old_or_the_new_content_wherever_it_stops)
{
    for (uint64_t stop = 1; stop < 30; stop++) {
        struct nori_env *env = make_disk(stop);
        struct nr_dir *dir = enter(env);
        struct nr_buffer data = {0};
        EXPECT_OK(nr_file_replace(dir, "tmp", "CURRENT", nr_slice_text("old"), &err), &err);
        nori_simdisk_stop_at(env, stop);
        nori_status rc = nr_file_replace(dir, "tmp", "CURRENT", nr_slice_text("new"), &err);
        dir = crash(dir, -1);
        EXPECT_OK(nr_file_read_all(dir, "CURRENT", 3, &data, &err), &err);
        if (rc == NORI_OK)
            EXPECT_SLICE(nr_buffer_slice(&data), "new");
        else
            EXPECT(memcmp(data.data, "old", 3) == 0 || memcmp(data.data, "new", 3) == 0);
        EXPECT_EQ(rc == NORI_OK, stop > 5);
        EXPECT_OK(nr_file_replace(dir, "tmp", "CURRENT", nr_slice_text("newer"), &err), &err);
        expect_file(dir, "CURRENT", "newer");
        nr_buffer_clear(&data);
        nr_dir_close(dir);
        nori_simdisk_destroy(env);
    }
}

static nori_status use_everything(struct nori_env *env)
{
    nori_status rc;
    struct nr_dir *dir = NULL, *below = NULL;
    struct nr_file *lock = NULL;
    struct nr_log *log = NULL;
    struct nr_buffer data = {0};
    NR_CHECK(nr_dir_open(env, "/db", true, &dir, &err));
    NR_CHECK(nr_dir_open_at(dir, "below", true, &below, &err));
    NR_CHECK(nr_dir_lock(dir, "LOCK", &lock, &err));
    NR_CHECK(nr_file_replace(dir, "tmp", "file", nr_slice_text("content"), &err));
    NR_CHECK(nr_dir_link(dir, "file", below, "link", &err));
    NR_CHECK(nr_log_create(below, "log", NULL, 65536, true, &log, &err));
    NR_CHECK(nr_log_reserve(log, 20000, true, &err));
    NR_CHECK(nr_log_publish(log, 10000, nr_slice_text("record"), nr_slice(NULL, 0), &err));
    NR_CHECK(nr_log_sync(log, &err));
    NR_CHECK(nr_dir_unlink(below, "link", &err));
    NR_CHECK(nr_file_read_all(dir, "file", 100, &data, &err));
    NR_CHECK(nori_simdisk_write_file(env, "/db/whole", nr_slice_text("whole"), &err));
    NR_CHECK(nori_simdisk_crash(env, 0.5, &err));
out:
    nr_buffer_clear(&data);
    nr_log_close(log);
    nr_dir_unlock(lock);
    nr_dir_close(below);
    nr_dir_close(dir);
    return rc;
}

TEST(the_nth_allocation_may_fail_and_the_disk_goes_on)
{
    nori_status rc = NORI_NO_MEMORY;
    for (uint64_t nth = 1; rc != NORI_OK; nth++) {
        struct nori_env *env = NULL;
        nr_alloc_fail_at(nth);
        rc = nori_simdisk_create(1, 512, false, &env, &err);
        if (rc == NORI_OK) rc = use_everything(env);
        nr_alloc_fail_at(0);
        if (rc != NORI_OK) EXPECT_EQ(rc, NORI_NO_MEMORY);
        if (env) {
            EXPECT_OK(nori_simdisk_crash(env, -1, &err), &err);
            struct nr_dir *dir = enter(env);
            if (!has(dir, "again")) create_synced(dir, "again", "x");
            expect_file(dir, "again", "x");
            nr_dir_close(dir);
        }
        nori_simdisk_destroy(env);
        EXPECT(nth < 200);
    }
}

/* Names and files in random order, with syncs and crashes between: what was synced is there, nothing is invented. */
static void random_run(uint64_t seed)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    struct nori_env *env = make_disk(seed);
    struct nr_dir *dir = enter(env);
    uint64_t state = seed * 2654435761u + 1;
    bool durable[4] = {false}, certain[4] = {true, true, true, true};
    for (int step = 0; step < 100; step++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        unsigned choice = (unsigned)(state >> 60), n = (unsigned)(state >> 40) & 3, m = (unsigned)(state >> 42) & 3;
        if (choice < 6) {
            if (!has(dir, names[n])) create_synced(dir, names[n], "content");
            certain[n] = false;
        } else if (choice < 9) {
            if (has(dir, names[n])) EXPECT_OK(nr_dir_unlink(dir, names[n], &err), &err);
            certain[n] = false;
        } else if (choice < 12) {
            if (has(dir, names[n])) EXPECT_OK(nr_dir_rename(dir, names[n], dir, names[m], &err), &err);
            certain[n] = certain[m] = false;
        } else if (choice < 14) {
            EXPECT_OK(nr_dir_sync(dir, &err), &err);
        } else {
            dir = crash(dir, -1);
        }
        for (unsigned i = 0; i < 4 && choice >= 12; i++) {
            if (choice >= 14 && certain[i]) EXPECT_EQ(has(dir, names[i]), durable[i]);
            durable[i] = has(dir, names[i]);
            certain[i] = true;
            if (durable[i]) expect_file(dir, names[i], "content");
        }
    }
    nr_dir_close(dir);
    nori_simdisk_destroy(env);
}

TEST(synced_names_stay_through_random_crashes)
{
    for (uint64_t seed = 0; seed < 50; seed++) random_run(seed);
}

#include "io/sim.h"

TEST(files_read_back_and_directories_list_their_names)
{
    struct nori_env *env = make_disk(1);
    struct nr_dir *dir = enter(env), *below;
    struct nr_file *file;
    create_synced(dir, "a", "A");
    EXPECT_STATUS(nr_file_open(dir, "a", NR_OPEN_CREATE, &file, &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, EEXIST);
    EXPECT(strcmp(err.path, "/db/a") == 0);
    EXPECT_STATUS(nr_file_open(dir, "b", NR_OPEN_READ, &file, &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, ENOENT);
    EXPECT_OK(nr_dir_open_at(dir, "wal", true, &below, &err), &err);
    EXPECT_STATUS(nr_file_open(dir, "wal", NR_OPEN_READ, &file, &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, EINVAL);
    EXPECT_OK(nr_dir_rename(dir, "a", below, "b", &err), &err);
    EXPECT_OK(nr_dir_link(below, "b", dir, "c", &err), &err);
    EXPECT_STATUS(nr_dir_remove(dir, "wal", &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, ENOTEMPTY);
    EXPECT_OK(nr_dir_unlink(below, "b", &err), &err);
    expect_file(dir, "c", "A");
    EXPECT_OK(nr_dir_remove(dir, "wal", &err), &err);
    EXPECT_STATUS(nr_file_open(below, "late", NR_OPEN_CREATE, &file, &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, ENOENT);
    nr_dir_close(below);
    nr_dir_close(dir);
    nori_simdisk_destroy(env);
}

TEST(a_directory_opened_by_path_needs_its_parent_and_lasts)
{
    struct nori_env *env = make_disk(1);
    struct nr_dir *dir;
    EXPECT_STATUS(nr_dir_open(env, "/a/b", true, &dir, &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, ENOENT);
    EXPECT_STATUS(nr_dir_open(env, "/a", false, &dir, &err), NORI_IO, &err);
    EXPECT_OK(nr_dir_open(env, "/a", true, &dir, &err), &err);
    nr_dir_close(dir);
    EXPECT_OK(nr_dir_open(env, "a//b/", true, &dir, &err), &err);
    nr_dir_close(dir);
    EXPECT_OK(nori_simdisk_crash(env, 0, &err), &err);
    EXPECT_OK(nr_dir_open(env, "/a/b", false, &dir, &err), &err);
    nr_dir_close(dir);
    nori_simdisk_destroy(env);
}

TEST(what_is_synced_with_its_name_survives_and_what_is_not_is_lost)
{
    struct nori_env *env = make_disk(2);
    struct nr_dir *dir = enter(env);
    create_synced(dir, "kept", "data");
    nr_file_close(create(dir, "empty", "never synced"));
    EXPECT_OK(nr_dir_sync(dir, &err), &err);
    create_synced(dir, "nameless", "data");
    dir = crash(dir, 0);
    expect_file(dir, "kept", "data");
    expect_file(dir, "empty", "");
    EXPECT(!has(dir, "nameless"));
    nr_dir_close(dir);
    nori_simdisk_destroy(env);
}

TEST(with_keep_one_everything_survives_a_crash)
{
    struct nori_env *env = make_disk(3);
    struct nr_dir *dir = enter(env);
    nr_file_close(create(dir, "a", "not synced"));
    nr_file_close(create(dir, "b", "neither"));
    EXPECT_OK(nr_dir_rename(dir, "a", dir, "c", &err), &err);
    EXPECT_OK(nr_dir_unlink(dir, "b", &err), &err);
    dir = crash(dir, 1);
    expect_file(dir, "c", "not synced");
    EXPECT(!has(dir, "a"));
    EXPECT(!has(dir, "b"));
    /* And then it is durable. */
    dir = crash(dir, 0);
    expect_file(dir, "c", "not synced");
    nr_dir_close(dir);
    nori_simdisk_destroy(env);
}

TEST(unsynced_removal_brings_the_file_back)
{
    struct nori_env *env = make_disk(4);
    struct nr_dir *dir = enter(env);
    create_synced(dir, "a", "A");
    create_synced(dir, "b", "B");
    EXPECT_OK(nr_dir_sync(dir, &err), &err);
    EXPECT_OK(nr_dir_unlink(dir, "a", &err), &err);
    EXPECT_OK(nr_dir_unlink(dir, "b", &err), &err);
    dir = crash(dir, 0);
    expect_file(dir, "a", "A");
    EXPECT_OK(nr_dir_unlink(dir, "a", &err), &err);
    EXPECT_OK(nr_dir_sync(dir, &err), &err);
    dir = crash(dir, 0);
    EXPECT(!has(dir, "a"));
    expect_file(dir, "b", "B");
    nr_dir_close(dir);
    nori_simdisk_destroy(env);
}

TEST(a_rename_survives_whole_or_not_at_all)
{
    int renamed = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct nori_env *env = make_disk(seed);
        struct nr_dir *dir = enter(env), *other;
        EXPECT_OK(nr_dir_open_at(dir, "other", true, &other, &err), &err);
        create_synced(dir, "tmp", "new");
        create_synced(other, "CURRENT", "old");
        EXPECT_OK(nr_dir_sync(dir, &err), &err);
        EXPECT_OK(nr_dir_sync(other, &err), &err);
        EXPECT_OK(nr_dir_rename(dir, "tmp", other, "CURRENT", &err), &err);
        nr_dir_close(other);
        dir = crash(dir, 0.5);
        EXPECT_OK(nr_dir_open_at(dir, "other", false, &other, &err), &err);
        bool is_old = has(dir, "tmp");
        expect_file(other, "CURRENT", is_old ? "old" : "new");
        renamed += !is_old;
        nr_dir_close(other);
        nr_dir_close(dir);
        nori_simdisk_destroy(env);
    }
    EXPECT(renamed > 10 && renamed < 50);
}

TEST(a_rename_between_directories_is_durable_with_the_sync_of_either)
{
    for (int which = 0; which < 2; which++) {
        struct nori_env *env = make_disk(5);
        struct nr_dir *dir = enter(env), *other;
        EXPECT_OK(nr_dir_open_at(dir, "other", true, &other, &err), &err);
        EXPECT_OK(nr_dir_sync(dir, &err), &err);
        create_synced(dir, "a", "A");
        EXPECT_OK(nr_dir_rename(dir, "a", other, "b", &err), &err);
        EXPECT_OK(nr_dir_sync(which ? dir : other, &err), &err);
        nr_dir_close(other);
        dir = crash(dir, 0);
        EXPECT_OK(nr_dir_open_at(dir, "other", false, &other, &err), &err);
        EXPECT(!has(dir, "a"));
        expect_file(other, "b", "A");
        nr_dir_close(other);
        nr_dir_close(dir);
        nori_simdisk_destroy(env);
    }
}

TEST(a_hard_link_keeps_the_data_when_the_first_name_goes)
{
    struct nori_env *env = make_disk(6);
    struct nr_dir *dir = enter(env);
    create_synced(dir, "a", "A");
    EXPECT_OK(nr_dir_link(dir, "a", dir, "b", &err), &err);
    EXPECT_OK(nr_dir_unlink(dir, "a", &err), &err);
    EXPECT_OK(nr_dir_sync(dir, &err), &err);
    dir = crash(dir, 0);
    EXPECT(!has(dir, "a"));
    expect_file(dir, "b", "A");
    nr_dir_close(dir);
    nori_simdisk_destroy(env);
}

/* What of 8 unsynced sectors survived, one bit each; the file as long as the last. */
static unsigned torn_sectors(uint64_t seed, uint32_t sector, double keep)
{
    struct nori_env *env;
    struct nr_buffer data = {0};
    struct nr_file *file;
    uint8_t block[4096];
    unsigned survived = 0;
    EXPECT_OK(nori_simdisk_create(seed, sector, false, &env, &err), &err);
    struct nr_dir *dir = enter(env);
    EXPECT_OK(nr_file_open(dir, "file", NR_OPEN_CREATE, &file, &err), &err);
    EXPECT_OK(nr_dir_sync(dir, &err), &err);
    for (int i = 0; i < 8; i++) {
        memset(block, i + 1, sector);
        EXPECT_OK(nr_file_append(file, nr_slice(block, sector), &err), &err);
    }
    nr_file_close(file);
    dir = crash(dir, keep);
    EXPECT_OK(nr_file_read_all(dir, "file", 8 * 4096, &data, &err), &err);
    for (size_t at = 0; at < data.size; at++) {
        unsigned i = (unsigned)(at / sector);
        EXPECT(data.data[at] == 0 || data.data[at] == i + 1);
        EXPECT_EQ(data.data[at], data.data[i * sector]);
        if (data.data[at] != 0) survived |= 1u << i;
    }
    EXPECT_EQ(data.size % sector, 0);
    EXPECT(data.size >> 3 <= sector && (survived >> (data.size / sector)) == 0);
    nr_buffer_clear(&data);
    nr_dir_close(dir);
    nori_simdisk_destroy(env);
    return survived;
}

TEST(unsynced_sectors_survive_one_by_one_in_any_order)
{
    static const uint32_t sectors[] = {512, 4096};
    for (size_t s = 0; s < NR_ARRAY_LEN(sectors); s++) {
        int holes = 0, all = 0, none = 0;
        for (uint64_t seed = 0; seed < 100; seed++) {
            unsigned survived = torn_sectors(seed, sectors[s], 0.5);
            holes += (survived & (survived + 1)) != 0;
            EXPECT_EQ(survived, torn_sectors(seed, sectors[s], 0.5));
            survived = torn_sectors(seed, sectors[s], -1);
            all += survived == 255;
            none += survived == 0;
        }
        EXPECT(holes > 80);
        EXPECT(all > 20 && none > 20 && all + none < 95);
    }
}

TEST(a_synced_sector_goes_back_to_its_synced_bytes)
{
    struct nori_env *env = make_disk(7);
    struct nr_dir *dir = enter(env);
    struct nr_file *file = create(dir, "file", "synced");
    EXPECT_OK(nr_file_sync(file, &err), &err);
    EXPECT_OK(nr_dir_sync(dir, &err), &err);
    EXPECT_OK(nr_file_append(file, nr_slice_text(" and not"), &err), &err);
    nr_file_close(file);
    dir = crash(dir, 0);
    expect_file(dir, "file", "synced");
    nr_dir_close(dir);
    nori_simdisk_destroy(env);
}

TEST(handles_of_before_the_crash_fail_and_change_nothing)
{
    for (int kill = 0; kill < 2; kill++) {
        struct nori_env *env = make_disk(8);
        struct nr_dir *dir = enter(env), *now, *below;
        struct nr_file *file = create(dir, "file", "data"), *lock, *second;
        struct nr_log *log;
        uint8_t byte;
        size_t got;
        uint64_t size;
        bool exists;
        EXPECT_OK(nr_dir_lock(dir, "LOCK", &lock, &err), &err);
        EXPECT_STATUS(nr_dir_lock(dir, "LOCK", &second, &err), NORI_LOCKED, &err);
        EXPECT_OK(nr_log_create(dir, "log", NULL, 65536, true, &log, &err), &err);
        EXPECT_OK(nr_log_reserve(log, 100, true, &err), &err);
        if (kill)
            nori_simdisk_kill(env);
        else
            EXPECT_OK(nori_simdisk_crash(env, 1, &err), &err);
        uint64_t before = nori_simdisk_operations(env, NULL);

#define EXPECT_DEAD(call)                                                                                              \
    do {                                                                                                               \
        EXPECT_STATUS(call, NORI_IO, &err);                                                                            \
        EXPECT_EQ(err.sys_errno, EIO);                                                                                 \
    } while (0)
        EXPECT_DEAD(nr_file_append(file, nr_slice_text("more"), &err));
        EXPECT_DEAD(nr_file_read_at(file, 0, &byte, 1, &got, &err));
        EXPECT_DEAD(nr_file_sync(file, &err));
        EXPECT_DEAD(nr_file_size(file, &size, &err));
        EXPECT_DEAD(nr_dir_unlink(dir, "file", &err));
        EXPECT_DEAD(nr_dir_rename(dir, "file", dir, "other", &err));
        EXPECT_DEAD(nr_dir_exists(dir, "file", &exists, &err));
        EXPECT_DEAD(nr_dir_sync(dir, &err));
        EXPECT_DEAD(nr_dir_open_at(dir, "below", true, &below, &err));
        EXPECT_DEAD(nr_log_reserve(log, 100, false, &err));
        EXPECT_DEAD(nr_log_publish(log, 0, nr_slice_text("x"), nr_slice(NULL, 0), &err));
        EXPECT_DEAD(nr_log_sync(log, &err));
        EXPECT_EQ(nori_simdisk_operations(env, NULL), before);

        now = enter(env);
        expect_file(now, "file", "data");
        EXPECT_OK(nr_dir_lock(now, "LOCK", &second, &err), &err);
        nr_dir_unlock(lock);
        EXPECT_STATUS(nr_dir_lock(now, "LOCK", &lock, &err), NORI_LOCKED, &err);
        nr_dir_unlock(second);
        nr_file_close(file);
        nr_log_close(log);
        nr_dir_close(dir);
        nr_dir_close(now);
        nori_simdisk_destroy(env);
    }
}

TEST(a_shared_lock_goes_with_others_keeps_exclusive_ones_out_and_makes_no_file)
{
    struct nori_env *env;
    struct nr_dir *dir;
    struct nr_file *lock, *first, *second;
    EXPECT_OK(nori_simdisk_create(1, 512, false, &env, &err), &err);
    EXPECT_OK(nr_dir_open(env, "/db", true, &dir, &err), &err);
    EXPECT_STATUS(nr_dir_lock_shared(dir, "LOCK", &first, &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, ENOENT);
    EXPECT_OK(nr_dir_lock(dir, "LOCK", &lock, &err), &err);
    EXPECT_STATUS(nr_dir_lock_shared(dir, "LOCK", &first, &err), NORI_LOCKED, &err);
    nr_dir_unlock(lock);
    EXPECT_OK(nr_dir_lock_shared(dir, "LOCK", &first, &err), &err);
    EXPECT_OK(nr_dir_lock_shared(dir, "LOCK", &second, &err), &err);
    nr_dir_unlock(first);
    EXPECT_STATUS(nr_dir_lock(dir, "LOCK", &lock, &err), NORI_LOCKED, &err);
    nr_dir_unlock(second);
    EXPECT_OK(nr_dir_lock(dir, "LOCK", &lock, &err), &err);
    nr_dir_unlock(lock);
    nr_dir_close(dir);
    nori_simdisk_destroy(env);
}

TEST(a_kill_keeps_what_was_written_and_a_crash_after_it_may_not)
{
    struct nori_env *env = make_disk(9);
    struct nr_dir *dir = enter(env);
    nr_file_close(create(dir, "file", "written"));
    nr_dir_close(dir);
    nori_simdisk_kill(env);
    dir = enter(env);
    expect_file(dir, "file", "written");
    dir = crash(dir, 0);
    EXPECT(!has(dir, "file"));
    nr_dir_close(dir);
    nori_simdisk_destroy(env);
}

TEST(a_log_behaves_like_written_bytes_until_it_is_synced)
{
    for (int mapped = 0; mapped < 2; mapped++) {
        struct nori_env *env = make_disk(10);
        struct nr_dir *dir = enter(env);
        struct nr_log *log;
        struct nr_buffer data = {0};
        EXPECT(nr_dir_can_map(dir));
        EXPECT_OK(nr_log_create(dir, "log", NULL, 65536, mapped, &log, &err), &err);
        EXPECT_EQ(nr_log_is_mapped(log), mapped);
        EXPECT_OK(nr_dir_sync(dir, &err), &err);
        EXPECT_STATUS(nr_log_reserve(log, 10, false, &err), NORI_AGAIN, &err);
        EXPECT_OK(nr_log_reserve(log, 10, true, &err), &err);
        EXPECT_OK(nr_log_publish(log, 0, nr_slice_text("ab"), nr_slice_text("cd"), &err), &err);
        EXPECT_OK(nr_log_sync(log, &err), &err);
        EXPECT_OK(nr_log_reserve(log, 5000, false, &err), &err);
        EXPECT_OK(nr_log_publish(log, 4, nr_slice_text("ef"), nr_slice(NULL, 0), &err), &err);
        EXPECT_OK(nr_file_read_all(dir, "log", 65536, &data, &err), &err);
        EXPECT_EQ(data.size, mapped ? 32768 : 6);
        EXPECT_EQ(memcmp(data.data, "abcdef", 6), 0);
        nr_log_close(log);
        dir = crash(dir, 0);
        EXPECT_OK(nr_file_read_all(dir, "log", 65536, &data, &err), &err);
        EXPECT_EQ(data.size, mapped ? 32768 : 4);
        EXPECT_EQ(memcmp(data.data, "abcd\0\0", mapped ? 6 : 4), 0);
        nr_buffer_clear(&data);
        nr_dir_close(dir);
        nori_simdisk_destroy(env);
    }
}

TEST(a_recycled_log_keeps_its_stale_bytes_under_the_new_name)
{
    struct nori_env *env = make_disk(11);
    struct nr_dir *dir = enter(env);
    struct nr_log *log;
    create_synced(dir, "old", "stale bytes");
    create_synced(dir, "taken", "");
    EXPECT_OK(nr_dir_sync(dir, &err), &err);
    EXPECT_STATUS(nr_log_create(dir, "taken", "old", 65536, false, &log, &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, EEXIST);
    EXPECT_STATUS(nr_log_create(dir, "new", "none", 65536, false, &log, &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, ENOENT);
    EXPECT_OK(nr_log_create(dir, "new", "old", 65536, false, &log, &err), &err);
    EXPECT(!has(dir, "old"));
    EXPECT_OK(nr_log_reserve(log, 5, false, &err), &err);
    EXPECT_OK(nr_log_publish(log, 0, nr_slice_text("fresh"), nr_slice(NULL, 0), &err), &err);
    expect_file(dir, "new", "fresh bytes");
    nr_log_close(log);
    dir = crash(dir, 0);
    expect_file(dir, "old", "stale bytes");
    nr_dir_close(dir);
    nori_simdisk_destroy(env);
}

TEST(clocks_stand_still_but_for_sleep_and_advance)
{
    struct nori_env *env = make_disk(12);
    EXPECT(env->inline_background);
    EXPECT_EQ(nr_env_monotonic_us(env), 1000000);
    EXPECT_EQ(nr_env_wall_ms(env), 1700000000000);
    nr_env_sleep_us(env, 1500);
    nr_env_sleep_us(env, 500);
    EXPECT_EQ(nr_env_monotonic_us(env), 1002000);
    EXPECT_EQ(nr_env_wall_ms(env), 1700000000002);
    nori_simdisk_advance(env, -5, -1000);
    nori_simdisk_advance(env, 10, 0);
    EXPECT_EQ(nr_env_monotonic_us(env), 1002010);
    EXPECT_EQ(nr_env_wall_ms(env), 1699999999002);
    nori_simdisk_advance(env, 0, INT64_MIN);
    EXPECT_EQ(nr_env_wall_ms(env), 0);
    nori_simdisk_destroy(env);
}

static void append_name(void *arg, const char *name)
{
    strcat(arg, name);
    strcat(arg, " ");
}

TEST(whole_files_can_be_read_replaced_removed_and_listed)
{
    struct nori_env *env = make_disk(13);
    struct nr_dir *dir = enter(env);
    uint8_t *data;
    size_t size;
    char names[64] = "";
    create_synced(dir, "a", "before");
    EXPECT_OK(nori_simdisk_read_file(env, "/db/a", &data, &size, &err), &err);
    EXPECT_SLICE(nr_slice(data, size), "before");
    nr_free(data);
    EXPECT_OK(nori_simdisk_write_file(env, "/db/a", nr_slice_text("x"), &err), &err);
    EXPECT_OK(nori_simdisk_write_file(env, "/db/b", nr_slice_text("new"), &err), &err);
    EXPECT_OK(nori_simdisk_list(env, "/db", append_name, names, &err), &err);
    EXPECT(strcmp(names, "a b ") == 0);
    dir = crash(dir, 0);
    expect_file(dir, "a", "x");
    expect_file(dir, "b", "new");
    EXPECT_OK(nori_simdisk_remove_file(env, "/db/a", &err), &err);
    dir = crash(dir, 0);
    EXPECT(!has(dir, "a"));
    EXPECT_STATUS(nori_simdisk_read_file(env, "/db/a", &data, &size, &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, ENOENT);
    EXPECT_STATUS(nori_simdisk_read_file(env, "/db", &data, &size, &err), NORI_IO, &err);
    EXPECT_STATUS(nori_simdisk_write_file(env, "/", nr_slice_text(""), &err), NORI_IO, &err);
    EXPECT_STATUS(nori_simdisk_list(env, "/db/b", append_name, names, &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, ENOTDIR);
    nr_dir_close(dir);
    nori_simdisk_destroy(env);
}

static void append_many(void *arg)
{
    struct nr_dir *dir = arg;
    struct nr_file *file;
    if (nr_file_open(dir, "other", NR_OPEN_CREATE, &file, NULL) != NORI_OK) return;
    for (int i = 0; i < 500; i++)
        if (nr_file_append(file, nr_slice_text("0123456789"), NULL) != NORI_OK) break;
    nr_file_close(file);
}

TEST(threads_share_a_disk_and_real_time_moves_its_clocks)
{
    struct nori_env *env;
    struct nr_thread *thread;
    EXPECT_OK(nori_simdisk_create(1, 4096, true, &env, &err), &err);
    EXPECT(!env->inline_background);
    struct nr_dir *dir = enter(env);
    EXPECT_OK(nr_thread_start(env, "appender", append_many, dir, &thread, &err), &err);
    struct nr_file *file = create(dir, "mine", "");
    for (int i = 0; i < 500; i++) EXPECT_OK(nr_file_append(file, nr_slice_text("abcdefghij"), &err), &err);
    uint64_t size, before = nr_env_monotonic_us(env);
    nr_env_sleep_us(env, 1000);
    EXPECT(nr_env_monotonic_us(env) >= before + 1000);
    nr_thread_join(thread);
    EXPECT_OK(nr_file_size(file, &size, &err), &err);
    EXPECT_EQ(size, 5000);
    nr_file_close(file);
    EXPECT_OK(nr_file_open(dir, "other", NR_OPEN_READ, &file, &err), &err);
    EXPECT_OK(nr_file_size(file, &size, &err), &err);
    EXPECT_EQ(size, 5000);
    nr_file_close(file);
    nr_dir_close(dir);
    nori_simdisk_destroy(env);
}

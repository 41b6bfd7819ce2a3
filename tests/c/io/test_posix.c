#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/env.h"

static struct nori_error err;
static char root[64];

static struct nr_dir *enter(void)
{
    struct nr_dir *dir;
    snprintf(root, sizeof(root), "/tmp/nori_io_XXXXXX");
    EXPECT(mkdtemp(root) != NULL);
    EXPECT_OK(nr_dir_open(nori_env_default(), root, false, &dir, &err), &err);
    return dir;
}

static void remove_one(void *arg, const char *name)
{
    if (unlinkat(*(int *)arg, name, 0) != 0) unlinkat(*(int *)arg, name, AT_REMOVEDIR);
}

static void leave_dir(struct nr_dir *dir)
{
    int fd = open(root, O_RDONLY | O_DIRECTORY);
    EXPECT_OK(nr_dir_list(dir, remove_one, &fd, &err), &err);
    close(fd);
    nr_dir_close(dir);
    EXPECT_EQ(rmdir(root), 0);
}

static void write_file(struct nr_dir *dir, const char *name, const char *text)
{
    struct nr_file *file;
    EXPECT_OK(nr_file_open(dir, name, NR_OPEN_CREATE, &file, &err), &err);
    EXPECT_OK(nr_file_append(file, nr_slice_text(text), &err), &err);
    EXPECT_OK(nr_file_sync(file, &err), &err);
    nr_file_close(file);
}

static void expect_file(struct nr_dir *dir, const char *name, const char *text)
{
    struct nr_buffer data;
    nr_buffer_init(&data);
    EXPECT_OK(nr_file_read_all(dir, name, 1000, &data, &err), &err);
    EXPECT_SLICE(nr_buffer_slice(&data), text);
    nr_buffer_clear(&data);
}

static int mode_of(const char *name)
{
    char path[128];
    struct stat status;
    snprintf(path, sizeof(path), "%s/%s", root, name);
    return stat(path, &status) == 0 ? (int)(status.st_mode & 07777) : -1;
}

TEST(modes_are_private_whatever_the_umask)
{
    struct nr_dir *dir = enter(), *below;
    struct nr_file *lock;
    static const mode_t masks[] = {0, 0277, 0777};
    for (size_t i = 0; i < NR_ARRAY_LEN(masks); i++) {
        mode_t before = umask(masks[i]);
        write_file(dir, "file", "x");
        EXPECT_OK(nr_dir_open_at(dir, "below", true, &below, &err), &err);
        EXPECT_OK(nr_dir_lock(dir, "LOCK", &lock, &err), &err);
        umask(before);
        EXPECT_EQ(mode_of("file"), 0600);
        EXPECT_EQ(mode_of("below"), 0700);
        EXPECT_EQ(mode_of("LOCK"), 0600);
        nr_dir_unlock(lock);
        nr_dir_close(below);
        EXPECT_OK(nr_dir_unlink(dir, "file", &err), &err);
        EXPECT_OK(nr_dir_unlink(dir, "LOCK", &err), &err);
        EXPECT_OK(nr_dir_remove(dir, "below", &err), &err);
    }
    leave_dir(dir);
}

TEST(only_regular_files_are_opened_and_a_fifo_does_not_hang)
{
    struct nr_dir *dir = enter();
    struct nr_file *file;
    char path[128];
    snprintf(path, sizeof(path), "%s/fifo", root);
    EXPECT_EQ(mkfifo(path, 0600), 0);
    EXPECT_STATUS(nr_file_open(dir, "fifo", NR_OPEN_READ, &file, &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, EINVAL);
    EXPECT(strstr(err.text, "is a FIFO") != NULL);
    EXPECT(strcmp(err.path, path) == 0);
    EXPECT_STATUS(nr_dir_lock(dir, "fifo", &file, &err), NORI_IO, &err);

    snprintf(path, sizeof(path), "%s/directory", root);
    EXPECT_EQ(mkdir(path, 0700), 0);
    EXPECT_STATUS(nr_file_open(dir, "directory", NR_OPEN_READ, &file, &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, EINVAL);
    EXPECT_STATUS(nr_dir_lock(dir, "directory", &file, &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, EINVAL);
    leave_dir(dir);
}

TEST(symlinks_are_followed_in_the_path_and_never_below_it)
{
    struct nr_dir *dir = enter(), *below;
    struct nr_file *file;
    char path[128];
    write_file(dir, "real", "x");
    snprintf(path, sizeof(path), "%s/link", root);
    EXPECT_EQ(symlink("real", path), 0);
    EXPECT_STATUS(nr_file_open(dir, "link", NR_OPEN_READ, &file, &err), NORI_IO, &err);
    EXPECT_STATUS(nr_file_open(dir, "link", NR_OPEN_CREATE, &file, &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, EEXIST);
    EXPECT_EQ(unlink(path), 0);
    EXPECT_EQ(symlink(".", path), 0);
    EXPECT_STATUS(nr_dir_open_at(dir, "link", true, &below, &err), NORI_IO, &err);
    EXPECT_OK(nr_dir_open(nori_env_default(), path, true, &below, &err), &err);
    expect_file(below, "real", "x");
    nr_dir_close(below);
    leave_dir(dir);
}

TEST(a_file_reads_back_what_was_appended_and_short_only_at_its_end)
{
    struct nr_dir *dir = enter();
    struct nr_file *file;
    uint8_t data[16];
    size_t got;
    uint64_t size;
    write_file(dir, "file", "hello world");
    EXPECT_STATUS(nr_file_open(dir, "file", NR_OPEN_CREATE, &file, &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, EEXIST);
    EXPECT_STATUS(nr_file_open(dir, "none", NR_OPEN_READ, &file, &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, ENOENT);
    EXPECT_OK(nr_file_open(dir, "file", NR_OPEN_READ, &file, &err), &err);
    nr_file_readahead(file, 0, 11);
    EXPECT_OK(nr_file_read_at(file, 6, data, sizeof(data), &got, &err), &err);
    EXPECT_SLICE(nr_slice(data, got), "world");
    EXPECT_OK(nr_file_read_at(file, 100, data, sizeof(data), &got, &err), &err);
    EXPECT_EQ(got, 0);
    EXPECT_OK(nr_file_size(file, &size, &err), &err);
    EXPECT_EQ(size, 11);
    nr_file_close(file);
    struct nr_buffer all = {0};
    EXPECT_STATUS(nr_file_read_all(dir, "file", 10, &all, &err), NORI_CORRUPTION, &err);
    leave_dir(dir);
}

TEST(a_read_that_does_not_wait_gives_all_or_says_no)
{
    struct nr_dir *dir = enter();
    struct nr_file *file;
    uint8_t data[8];
    size_t got;
    write_file(dir, "file", "12345678");
    EXPECT_OK(nr_file_open(dir, "file", NR_OPEN_READ, &file, &err), &err);
    for (int i = 0; i < 3; i++) {
        memset(data, 0, sizeof data);
        /* What was just written is in memory, where the file system says so at all. */
        if (nr_file_read_now(file, 2, data, 4)) EXPECT(memcmp(data, "3456", 4) == 0);
        EXPECT(!nr_file_read_now(file, 6, data, 4)); /* Beyond the end. */
        EXPECT(!nr_file_read_now(file, 100, data, 4));
    }
    nr_file_close(file);
    leave_dir(dir);
    /* A file system that has no such reads. */
    if (nr_dir_open(nori_env_default(), "/proc/self", false, &dir, &err) != NORI_OK) return;
    EXPECT_OK(nr_file_open(dir, "status", NR_OPEN_READ, &file, &err), &err);
    EXPECT(!nr_file_read_now(file, 0, data, sizeof data));
    EXPECT(!nr_file_read_now(file, 0, data, sizeof data));
    EXPECT_OK(nr_file_read_at(file, 0, data, sizeof data, &got, &err), &err);
    EXPECT_EQ(got, sizeof data);
    nr_file_close(file);
    nr_dir_close(dir);
}

TEST(a_short_write_is_gone_on_with_and_never_taken_for_whole)
{
    struct nr_dir *dir = enter();
    struct nr_file *file;
    struct rlimit before, limited;
    uint8_t data[3000] = {0};
    EXPECT_OK(nr_file_open(dir, "file", NR_OPEN_CREATE, &file, &err), &err);
    EXPECT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
    limited = before;
    limited.rlim_cur = 2000; /* write(2) then writes 2,000 bytes, and says so. */
    signal(SIGXFSZ, SIG_IGN);
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &limited), 0);
    nori_status rc = nr_file_append(file, nr_slice(data, sizeof data), &err);
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
    EXPECT_EQ(rc, NORI_IO);
    EXPECT_EQ(err.sys_errno, EFBIG);
    nr_file_close(file);
    leave_dir(dir);
}

TEST(replace_leaves_the_new_content_and_no_temporary)
{
    struct nr_dir *dir = enter();
    bool exists;
    write_file(dir, "CURRENT.tmp", "left by a crash");
    EXPECT_OK(nr_file_replace(dir, "CURRENT.tmp", "CURRENT", nr_slice_text("one"), &err), &err);
    EXPECT_OK(nr_file_replace(dir, "CURRENT.tmp", "CURRENT", nr_slice_text("two"), &err), &err);
    expect_file(dir, "CURRENT", "two");
    EXPECT_OK(nr_dir_exists(dir, "CURRENT.tmp", &exists, &err), &err);
    EXPECT(!exists);
    leave_dir(dir);
}

TEST(names_can_be_renamed_linked_listed_and_removed)
{
    struct nr_dir *dir = enter(), *below;
    bool exists;
    write_file(dir, "a", "A");
    EXPECT_STATUS(nr_dir_open_at(dir, "absent", false, &below, &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, ENOENT);
    EXPECT_OK(nr_dir_open_at(dir, "below", true, &below, &err), &err);
    EXPECT_OK(nr_dir_rename(dir, "a", below, "b", &err), &err);
    EXPECT_OK(nr_dir_link(below, "b", dir, "c", &err), &err);
    EXPECT_STATUS(nr_dir_link(below, "b", dir, "c", &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, EEXIST);
    EXPECT_OK(nr_dir_sync(below, &err), &err);
    expect_file(dir, "c", "A");
    EXPECT_STATUS(nr_dir_remove(dir, "below", &err), NORI_IO, &err);
    EXPECT_OK(nr_dir_unlink(below, "b", &err), &err);
    EXPECT_OK(nr_dir_exists(below, "b", &exists, &err), &err);
    EXPECT(!exists);
    nr_dir_close(below);
    EXPECT_OK(nr_dir_remove(dir, "below", &err), &err);
    leave_dir(dir);
}

TEST(a_lock_is_exclusive_within_the_process_and_given_back_by_unlock)
{
    struct nr_dir *dir = enter();
    struct nr_file *lock, *second;
    EXPECT_OK(nr_dir_lock(dir, "LOCK", &lock, &err), &err);
    EXPECT_STATUS(nr_dir_lock(dir, "LOCK", &second, &err), NORI_LOCKED, &err);
    EXPECT_EQ(err.sys_errno, EAGAIN);
    EXPECT(strstr(err.path, "/LOCK") != NULL);
    /* Closing another descriptor of the file drops nothing. */
    EXPECT_OK(nr_file_open(dir, "LOCK", NR_OPEN_READ, &second, &err), &err);
    nr_file_close(second);
    EXPECT_STATUS(nr_dir_lock(dir, "LOCK", &second, &err), NORI_LOCKED, &err);
    nr_dir_unlock(lock);
    EXPECT_OK(nr_dir_lock(dir, "LOCK", &second, &err), &err);
    nr_dir_unlock(second);
    leave_dir(dir);
}

/* What the child found: a bit for each thing that is wrong. */
TEST(a_shared_lock_keeps_exclusive_ones_out_and_writes_nothing)
{
    struct nr_dir *dir = enter();
    struct nr_file *lock, *first, *second;
    EXPECT_STATUS(nr_dir_lock_shared(dir, "LOCK", &first, &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, ENOENT);
    EXPECT_OK(nr_dir_lock(dir, "LOCK", &lock, &err), &err);
    EXPECT_STATUS(nr_dir_lock_shared(dir, "LOCK", &first, &err), NORI_LOCKED, &err);
    nr_dir_unlock(lock);
    char path[80];
    snprintf(path, sizeof(path), "%s/LOCK", root);
    EXPECT_EQ(chmod(path, 0400), 0);
    EXPECT_OK(nr_dir_lock_shared(dir, "LOCK", &first, &err), &err);
    EXPECT_OK(nr_dir_lock_shared(dir, "LOCK", &second, &err), &err);
    EXPECT_EQ(chmod(path, 0600), 0);
    nr_dir_unlock(first);
    EXPECT_STATUS(nr_dir_lock(dir, "LOCK", &lock, &err), NORI_LOCKED, &err);
    nr_dir_unlock(second);
    EXPECT_OK(nr_dir_lock(dir, "LOCK", &lock, &err), &err);
    nr_dir_unlock(lock);
    leave_dir(dir);
}

static int look_in_child(struct nr_dir *dir, struct nr_file *lock, uint64_t generation)
{
    struct nr_file *second;
    int wrong = 0;
    if (nr_fork_generation() == generation) wrong |= 1;
    if (nr_dir_lock(dir, "LOCK", &second, &err) != NORI_LOCKED) wrong |= 2;
    nr_dir_unlock(lock);
    if (nr_dir_lock(dir, "LOCK", &second, &err) != NORI_LOCKED) wrong |= 4;
    return wrong;
}

TEST(a_forked_child_has_no_copy_of_the_lock)
{
    struct nr_dir *dir = enter();
    struct nr_file *lock;
    int ready[2], status;
    uint64_t generation = nr_fork_generation();
    EXPECT_OK(nr_dir_lock(dir, "LOCK", &lock, &err), &err);
    EXPECT_EQ(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        uint8_t wrong = (uint8_t)look_in_child(dir, lock, generation);
        if (write(ready[1], &wrong, 1) == 1) pause();
        _exit(1);
    }
    uint8_t wrong = 0xff;
    EXPECT_EQ(read(ready[0], &wrong, 1), 1);
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(nr_fork_generation(), generation);
    /* The child lives, and holds nothing. */
    nr_dir_unlock(lock);
    EXPECT_OK(nr_dir_lock(dir, "LOCK", &lock, &err), &err);
    nr_dir_unlock(lock);
    kill(child, SIGKILL);
    EXPECT_EQ(waitpid(child, &status, 0), child);
    close(ready[0]);
    close(ready[1]);
    leave_dir(dir);
}

/* A process that takes the lock, leaves a child behind and goes. The child says its id once it runs. */
static void lock_and_leave_a_child(struct nr_dir *dir, int pipe_end)
{
    struct nr_file *lock;
    if (nr_dir_lock(dir, "LOCK", &lock, &err) != NORI_OK) _exit(1);
    pid_t child = fork();
    if (child == 0) {
        child = getpid();
        if (write(pipe_end, &child, sizeof child) == (ssize_t)sizeof child) pause();
        _exit(1);
    }
    _exit(0);
}

TEST(a_child_that_outlives_its_parent_keeps_no_lock)
{
    struct nr_dir *dir = enter();
    struct nr_file *lock;
    int ends[2], status;
    pid_t grandchild = 0;
    EXPECT_EQ(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) lock_and_leave_a_child(dir, ends[1]);
    EXPECT_EQ(read(ends[0], &grandchild, sizeof grandchild), sizeof grandchild);
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    nori_status rc = nr_dir_lock(dir, "LOCK", &lock, &err);
    kill(grandchild, SIGKILL);
    EXPECT_OK(rc, &err);
    nr_dir_unlock(lock);
    close(ends[0]);
    close(ends[1]);
    leave_dir(dir);
}

TEST(the_lock_goes_with_the_process)
{
    struct nr_dir *dir = enter();
    struct nr_file *lock;
    int status;
    pid_t child = fork();
    if (child == 0) _exit(nr_dir_lock(dir, "LOCK", &lock, &err) == NORI_OK ? 0 : 1);
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_OK(nr_dir_lock(dir, "LOCK", &lock, &err), &err);
    nr_dir_unlock(lock);
    leave_dir(dir);
}

static void check_log(bool mapped)
{
    struct nr_dir *dir = enter();
    struct nr_log *log, *second;
    struct nr_buffer data;
    const uint64_t size = 3u << 20;
    nr_buffer_init(&data);
    EXPECT_OK(nr_log_create(dir, "1.log", NULL, size, mapped, &log, &err), &err);
    EXPECT_STATUS(nr_log_create(dir, "1.log", NULL, size, mapped, &second, &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, EEXIST);
    EXPECT_EQ(nr_log_is_mapped(log), mapped);
    EXPECT_STATUS(nr_log_reserve(log, 100, false, &err), NORI_AGAIN, &err);
    EXPECT_OK(nr_log_reserve(log, 100, true, &err), &err);
    EXPECT_OK(nr_log_reserve(log, 200, false, &err), &err);
    EXPECT_OK(nr_log_publish(log, 0, nr_slice_text("hello "), nr_slice_text("world"), &err), &err);
    EXPECT_OK(nr_log_publish(log, 11, nr_slice(NULL, 0), nr_slice_text("!"), &err), &err);
    EXPECT_OK(nr_log_sync(log, &err), &err);
    EXPECT_OK(nr_log_prepare(log, size, &err), &err);
    EXPECT_OK(nr_log_reserve(log, size, false, &err), &err);
    EXPECT_OK(nr_log_publish(log, size - 1, nr_slice_text("e"), nr_slice(NULL, 0), &err), &err);
    nr_log_close(log);
    EXPECT_OK(nr_file_read_all(dir, "1.log", size, &data, &err), &err);
    EXPECT_EQ(data.size, size);
    EXPECT_EQ(memcmp(data.data, "hello world!\0", 13), 0);
    EXPECT_EQ(data.data[size - 1], 'e');
    nr_buffer_clear(&data);
    leave_dir(dir);
}

TEST(a_mapped_log_holds_what_was_published)
{
    check_log(true);
}
TEST(a_written_log_holds_what_was_published)
{
    check_log(false);
}

#ifdef __linux__
/* What of the file is in this process's mappings. */
static size_t count_mapped(const char *name)
{
    char line[512];
    size_t kib, start, end, sum = 0;
    bool is_it = false;
    FILE *maps = fopen("/proc/self/smaps", "r");
    EXPECT(maps != NULL);
    while (fgets(line, sizeof line, maps)) {
        size_t length = strcspn(line, "\n"), name_length = strlen(name);
        if (sscanf(line, "%zx-%zx ", &start, &end) == 2)
            is_it = length > name_length && memcmp(line + length - name_length, name, name_length) == 0;
        if (is_it && sscanf(line, "Rss: %zu kB", &kib) == 1) sum += kib << 10;
    }
    fclose(maps);
    return sum;
}

TEST(a_sync_takes_what_the_writer_has_passed_out_of_the_mapping)
{
    struct nr_dir *dir = enter();
    struct nr_log *log;
    struct nr_buffer data;
    static uint8_t page[4096];
    const uint64_t size = 2u << 20, stored = (1u << 20) + 100;
    nr_buffer_init(&data);
    EXPECT_OK(nr_log_create(dir, "passed.log", NULL, size, true, &log, &err), &err);
    EXPECT_OK(nr_log_reserve(log, stored, true, &err), &err);
    for (uint64_t at = 0; at < stored; at += sizeof page) {
        memset(page, (int)(1 + at / sizeof page % 200), sizeof page);
        size_t bytes = (size_t)NR_MIN(sizeof page, stored - at);
        EXPECT_OK(nr_log_publish(log, at, nr_slice(page, bytes), nr_slice(NULL, 0), &err), &err);
    }
    EXPECT(count_mapped("/passed.log") >= stored);
    EXPECT_OK(nr_log_sync(log, &err), &err);
    EXPECT(count_mapped("/passed.log") <= sizeof page);
    EXPECT_OK(nr_log_prepare(log, size, &err), &err); /* Ahead of the writer, not behind it. */
    EXPECT(count_mapped("/passed.log") <= size - stored + sizeof page);
    /* The writer goes on in the page where it was. */
    EXPECT_OK(nr_log_publish(log, stored, nr_slice_text("end"), nr_slice(NULL, 0), &err), &err);
    EXPECT_OK(nr_log_sync(log, &err), &err);
    nr_log_close(log);
    EXPECT_OK(nr_file_read_all(dir, "passed.log", size, &data, &err), &err);
    for (uint64_t at = 0; at < stored; at++) EXPECT_EQ(data.data[at], 1 + at / sizeof page % 200);
    EXPECT_EQ(memcmp(data.data + stored, "end\0", 4), 0);
    nr_buffer_clear(&data);
    leave_dir(dir);
}
#endif

TEST(a_mapped_log_ends_in_zeros_and_a_written_one_at_its_data)
{
    struct nr_dir *dir = enter();
    struct nr_log *log;
    struct nr_buffer data;
    nr_buffer_init(&data);
    for (int mapped = 0; mapped < 2; mapped++) {
        EXPECT_OK(nr_log_create(dir, mapped ? "m" : "w", NULL, 1u << 20, mapped, &log, &err), &err);
        EXPECT_OK(nr_log_reserve(log, 3, true, &err), &err);
        EXPECT_OK(nr_log_publish(log, 0, nr_slice_text("abc"), nr_slice(NULL, 0), &err), &err);
        nr_log_close(log);
        EXPECT_OK(nr_file_read_all(dir, mapped ? "m" : "w", 1u << 20, &data, &err), &err);
        EXPECT_EQ(data.size, mapped ? 64u << 10 : 3);
        EXPECT(memcmp(data.data, "abc", 3) == 0);
        if (mapped) EXPECT_EQ(data.data[3] | data.data[data.size - 1], 0);
    }
    nr_buffer_clear(&data);
    leave_dir(dir);
}

TEST(a_log_that_cannot_grow_keeps_what_it_has_and_grows_later)
{
    struct nr_dir *dir = enter();
    struct nr_log *log;
    struct rlimit before, limit;
    EXPECT_OK(nr_log_create(dir, "log", NULL, 2u << 20, true, &log, &err), &err);
    EXPECT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 300u << 10;
    signal(SIGXFSZ, SIG_IGN);
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    nori_status first = nr_log_reserve(log, 100u << 10, true, &err);
    nori_status whole = nr_log_reserve(log, 300u << 10, true, &err);
    nori_status beyond = nr_log_reserve(log, (300u << 10) + 1, true, &err);
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
    EXPECT_EQ(first, NORI_OK);
    EXPECT_EQ(whole, NORI_OK);
    EXPECT_EQ(beyond, NORI_IO);
    EXPECT_EQ(err.sys_errno, EFBIG);
    EXPECT_OK(nr_log_publish(log, (300u << 10) - 1, nr_slice_text("x"), nr_slice(NULL, 0), &err), &err);
    EXPECT_OK(nr_log_reserve(log, 2u << 20, true, &err), &err);
    EXPECT_OK(nr_log_sync(log, &err), &err);
    nr_log_close(log);
    leave_dir(dir);
}

TEST(a_recycled_log_has_its_blocks_at_once)
{
    struct nr_dir *dir = enter();
    struct nr_log *log;
    bool exists;
    for (int mapped = 0; mapped < 2; mapped++) {
        EXPECT_OK(nr_log_create(dir, "old", NULL, 1u << 20, true, &log, &err), &err);
        EXPECT_OK(nr_log_prepare(log, 1u << 20, &err), &err);
        nr_log_close(log);
        write_file(dir, "taken", "x");
        EXPECT_STATUS(nr_log_create(dir, "taken", "old", 1u << 20, mapped, &log, &err), NORI_IO, &err);
        EXPECT_EQ(err.sys_errno, EEXIST);
        EXPECT_OK(nr_dir_exists(dir, "old", &exists, &err), &err);
        EXPECT(exists);
        EXPECT_OK(nr_dir_link(dir, "old", dir, "other", &err), &err);
        EXPECT_STATUS(nr_log_create(dir, "new", "old", 1u << 20, mapped, &log, &err), NORI_IO, &err);
        EXPECT_EQ(err.sys_errno, EMLINK);
        EXPECT_OK(nr_dir_unlink(dir, "other", &err), &err);
        EXPECT_OK(nr_log_create(dir, "new", "old", 2u << 20, mapped, &log, &err), &err);
        EXPECT_OK(nr_dir_exists(dir, "old", &exists, &err), &err);
        EXPECT(!exists);
        EXPECT_OK(nr_log_reserve(log, 1u << 20, false, &err), &err);
        EXPECT_STATUS(nr_log_reserve(log, (1u << 20) + 1, false, &err), NORI_AGAIN, &err);
        EXPECT_OK(nr_log_reserve(log, (1u << 20) + 1, true, &err), &err);
        EXPECT_OK(nr_log_publish(log, 1u << 20, nr_slice_text("x"), nr_slice(NULL, 0), &err), &err);
        nr_log_close(log);
        EXPECT_OK(nr_dir_unlink(dir, "new", &err), &err);
        EXPECT_OK(nr_dir_unlink(dir, "taken", &err), &err);
    }
    leave_dir(dir);
}

TEST(a_forked_child_does_not_inherit_a_mapping)
{
    struct nr_dir *dir = enter();
    struct nr_log *log;
    int status;
    EXPECT_OK(nr_log_create(dir, "log", NULL, 1u << 20, true, &log, &err), &err);
    EXPECT_OK(nr_log_reserve(log, 100, true, &err), &err);
    pid_t child = fork();
    if (child == 0) {
        nr_log_close(log);
        _exit(0);
    }
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_OK(nr_log_publish(log, 0, nr_slice_text("still here"), nr_slice(NULL, 0), &err), &err);
    nr_log_close(log);
    leave_dir(dir);
}

struct preparer {
    struct nr_log *log;
    nori_status rc;
};

static void prepare_all(void *arg)
{
    struct preparer *preparer = arg;
    for (uint64_t end = 100000; preparer->rc == NORI_OK && end < preparer->log->size_bytes; end += 100000)
        preparer->rc = nr_log_prepare(preparer->log, end, NULL);
}

TEST(a_worker_prepares_while_the_writer_publishes)
{
    struct nr_dir *dir = enter();
    struct nr_log *log;
    struct nr_thread *thread;
    struct preparer preparer = {.rc = NORI_OK};
    uint8_t record[1000];
    memset(record, 7, sizeof(record));
    EXPECT_OK(nr_log_create(dir, "log", NULL, 4u << 20, true, &log, &err), &err);
    preparer.log = log;
    EXPECT_OK(nr_thread_start(dir->env, "preparer", prepare_all, &preparer, &thread, &err), &err);
    for (uint64_t at = 0; at + sizeof(record) <= log->size_bytes; at += sizeof(record)) {
        nori_status rc = nr_log_reserve(log, at + sizeof(record), false, &err);
        if (rc == NORI_AGAIN) rc = nr_log_reserve(log, at + sizeof(record), true, &err);
        EXPECT_OK(rc, &err);
        EXPECT_OK(nr_log_publish(log, at, nr_slice(record, 500), nr_slice(record, 500), &err), &err);
    }
    nr_thread_join(thread);
    EXPECT_EQ(preparer.rc, NORI_OK);
    nr_log_close(log);
    leave_dir(dir);
}

static void look_at_signals(void *arg)
{
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    *(int *)arg = sigismember(&blocked, SIGINT) && sigismember(&blocked, SIGTERM) ? 1 : -1;
}

TEST(threads_run_with_all_signals_blocked)
{
    struct nr_thread *thread;
    int seen = 0;
    sigset_t blocked;
    EXPECT_OK(nr_thread_start(nori_env_default(), "a long name of a thread", look_at_signals, &seen, &thread, &err),
              &err);
    nr_thread_join(thread);
    EXPECT_EQ(seen, 1);
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    EXPECT(!sigismember(&blocked, SIGINT));
}

static void look_at_scheduling(void *arg)
{
    nr_thread_set_batch();
    *(int *)arg = sched_getscheduler(0);
}

TEST(a_thread_whose_work_may_wait_runs_in_batches)
{
#ifdef SCHED_BATCH
    struct nr_thread *thread;
    int seen = -1;
    EXPECT_OK(nr_thread_start(nori_env_default(), "batch", look_at_scheduling, &seen, &thread, &err), &err);
    nr_thread_join(thread);
    EXPECT_EQ(seen, SCHED_BATCH);
    EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER); /* The others are as before. */
#endif
}

TEST(clocks_move_forwards_and_sleep_sleeps)
{
    struct nori_env *env = nori_env_default();
    uint64_t before = nr_env_monotonic_us(env);
    nr_env_sleep_us(env, 2000);
    EXPECT(nr_env_monotonic_us(env) >= before + 2000);
    EXPECT(nr_env_wall_ms(env) > 1600000000000ull);
}

static nori_status use_everything(const char *path)
{
    nori_status rc;
    struct nr_dir *dir = NULL, *below = NULL;
    struct nr_file *lock = NULL;
    struct nr_log *log = NULL;
    struct nr_buffer data;
    nr_buffer_init(&data);
    NR_CHECK(nr_dir_open(nori_env_default(), path, true, &dir, &err));
    NR_CHECK(nr_dir_open_at(dir, "below", true, &below, &err));
    NR_CHECK(nr_dir_lock(dir, "LOCK", &lock, &err));
    NR_CHECK(nr_file_replace(dir, "tmp", "file", nr_slice_text("content"), &err));
    NR_CHECK(nr_file_read_all(dir, "file", 100, &data, &err));
    NR_CHECK(nr_log_create(dir, "log", NULL, 65536, true, &log, &err));
    NR_CHECK(nr_log_reserve(log, 100, true, &err));
out:
    nr_buffer_clear(&data);
    nr_log_close(log);
    nr_dir_unlock(lock);
    nr_dir_close(below);
    nr_dir_close(dir);
    return rc;
}

TEST(the_nth_allocation_may_fail_and_nothing_leaks)
{
    nori_status rc = NORI_NO_MEMORY;
    for (uint64_t nth = 1; rc != NORI_OK; nth++) {
        struct nr_dir *dir = enter();
        nr_alloc_fail_at(nth);
        rc = use_everything(root);
        nr_alloc_fail_at(0);
        if (rc != NORI_OK) EXPECT_EQ(rc, NORI_NO_MEMORY);
        EXPECT(nth < 100);
        leave_dir(dir);
    }
}

/* Logs of the operating system.
 *
 * A mapped log is a shared mapping of its greatest size over a file that grows behind it. Bytes are stored only below
 * 'ready_bytes', where the file's blocks have been written (zeros, or what a recycled file held): a store beyond the
 * file's end is SIGBUS, and one into a hole is where a full disk would kill the process.
 *
 * A written log has its blocks allocated ahead, where the file system can, so that a full disk shows in a
 * reservation, before anything is lost. It ends at its data; a mapped one ends in zeros. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/lock.h"
#include "io/path.h"
#include "io/posix.h"

#define FIRST_STEP_BYTES (64u << 10) /* An open waits for these to be on disk. */
#define STEP_BYTES (1u << 20)
/* What is written at once comes to lie in one folio of the page cache, where the system has large ones, and a store to
 * a mapped folio makes all of it dirty: a sync would write a MiB for each record. */
#define ZERO_BYTES (32u << 10)
/* For less a call costs more than it saves. */
#define LEAST_UNMAPPED_BYTES (64u << 10)

/* Linux 5.14; older headers lack it, older kernels say EINVAL. */
#if defined(__linux__) && !defined(MADV_POPULATE_WRITE)
#define MADV_POPULATE_WRITE 23
#endif

struct posix_log {
    struct nr_log base;
    int fd;                          /* Immutable. */
    uint8_t *map;                    /* Immutable. NULL: a written log. base.size_bytes long. */
    uint64_t fork_generation;        /* Immutable. Under another the mapping is not ours. */
    _Atomic uint64_t ready_bytes;    /* Rises only. Stored under extend_lock, loaded by anyone. */
    uint64_t populated_bytes;        /* The worker's, in log_prepare. */
    _Atomic uint64_t stored_bytes;   /* Through the mapping: how far it is written. By the writer; relaxed. */
    _Atomic uint64_t unmapped_bytes; /* Below, pages have left the mapping. By who syncs; relaxed. */
    struct nr_mutex extend_lock;     /* One extends at a time, the writer or the worker. */
};

static uint8_t zeros[ZERO_BYTES];

/* Writes zeros from 'from' on; '*to' is how far it came. */
static int write_zeros(int fd, uint64_t from, uint64_t end, uint64_t *to)
{
    for (*to = from; *to < end;) {
        ssize_t written = pwrite(fd, zeros, (size_t)NR_MIN(end - *to, ZERO_BYTES - *to % ZERO_BYTES), (off_t)*to);
        if (written < 0 && errno != EINTR) return errno;
        if (written > 0) *to += (uint64_t)written;
    }
    return 0;
}

static int allocate_blocks(int fd, uint64_t from, uint64_t end)
{
#ifdef FALLOC_FL_KEEP_SIZE
    int code;
    do {
        code = fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(end - from)) == 0 ? 0 : errno;
    } while (code == EINTR);
    /* Where it cannot be done ahead, the write itself tells. */
    return code == ENOSPC || code == EDQUOT || code == EFBIG || code == EIO ? code : 0;
#else
    (void)fd, (void)from, (void)end;
    return 0;
#endif
}

static int extend_to(struct posix_log *log, uint64_t from, uint64_t target, uint64_t *reached)
{
    if (log->map) return write_zeros(log->fd, from, target, reached);
    int code = allocate_blocks(log->fd, from, target);
    *reached = code == 0 ? target : from;
    return code;
}

static nori_status extend(struct posix_log *log, uint64_t end, struct nori_error *err)
{
    int code = 0;
    nr_mutex_lock(&log->extend_lock);
    uint64_t ready = atomic_load_explicit(&log->ready_bytes, memory_order_relaxed);
    if (ready < end) {
        uint64_t step = ready == 0 ? FIRST_STEP_BYTES : STEP_BYTES;
        uint64_t target = NR_MIN(NR_MAX(end, ready + step), log->base.size_bytes);
        code = extend_to(log, ready, target, &ready);
        /* No room for a whole step is no reason to refuse what fits. */
        if (code != 0 && ready < end && target > end) code = extend_to(log, ready, end, &ready);
        atomic_store_explicit(&log->ready_bytes, ready, memory_order_release);
        if (ready >= end) code = 0;
    }
    nr_mutex_unlock(&log->extend_lock);
    return code == 0 ? NORI_OK : nr_path_fail(err, "extend", log->base.path, NULL, code);
}

/* A file to recycle: regular, ours alone. '*ready_out' is how many of its bytes have blocks. */
static nori_status open_recycled(struct nr_dir *dir, const char *name, uint64_t size_bytes, int *fd_out,
                                 uint64_t *ready_out, struct nori_error *err)
{
    nori_status rc;
    struct stat status;

    NR_CHECK(nr_posix_open_at(dir, name, O_RDWR, fd_out, err));
    if (fstat(*fd_out, &status) != 0) {
        rc = nr_path_fail(err, "look up", dir->path, name, errno);
        goto out;
    }
    if (status.st_nlink != 1) {
        rc = nr_path_refuse(err, NORI_IO, dir->path, name, EMLINK, "has other names, and cannot be recycled");
        goto out;
    }
    if ((uint64_t)status.st_size > size_bytes && ftruncate(*fd_out, (off_t)size_bytes) != 0) {
        rc = nr_path_fail(err, "truncate", dir->path, name, errno);
        goto out;
    }
    bool has_holes = (uint64_t)status.st_blocks * 512 < (uint64_t)status.st_size;
    *ready_out = has_holes ? 0 : NR_MIN((uint64_t)status.st_size, size_bytes);
out:
    return rc;
}

/* As rename, but EEXIST where the new name is taken. */
static int rename_new(int dir, const char *from, const char *to)
{
#if defined(__linux__) && defined(RENAME_NOREPLACE)
    if (renameat2(dir, from, dir, to, RENAME_NOREPLACE) == 0) return 0;
    if (errno != ENOSYS && errno != EINVAL) return errno;
#elif defined(__APPLE__)
    if (renameatx_np(dir, from, dir, to, RENAME_EXCL) == 0) return 0;
    if (errno != ENOTSUP) return errno;
#endif
    struct stat status;
    if (fstatat(dir, to, &status, AT_SYMLINK_NOFOLLOW) == 0) return EEXIST;
    return renameat(dir, from, dir, to) == 0 ? 0 : errno;
}

/* NULL where it cannot be mapped: the log is then a written one. */
static uint8_t *map_file(int fd, uint64_t size_bytes)
{
    if (size_bytes > SIZE_MAX / 2) return NULL;
    void *map = mmap(NULL, (size_t)size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) return NULL;
#ifdef MADV_DONTFORK
    madvise(map, (size_t)size_bytes, MADV_DONTFORK);
#endif
    return map;
}

static void destroy(struct posix_log *log)
{
    if (!log) return;
    if (log->map && log->fork_generation == nr_fork_generation()) munmap(log->map, (size_t)log->base.size_bytes);
    if (log->fd >= 0) close(log->fd);
    nr_mutex_destroy(&log->extend_lock);
    nr_free(log->base.path);
    nr_free(log);
}

static struct posix_log *allocate(struct nr_dir *dir, const char *name, uint64_t size_bytes)
{
    struct posix_log *log = nr_calloc(1, sizeof(*log));
    if (!log) return NULL;
    log->base.env = dir->env;
    log->base.size_bytes = size_bytes;
    log->fd = -1;
    log->fork_generation = nr_fork_generation();
    nr_mutex_init(&log->extend_lock, NR_RANK_ENV);
    log->base.path = nr_path_join(dir->path, name);
    if (log->base.path) return log;
    destroy(log);
    return NULL;
}

nori_status nr_posix_log_create(struct nr_dir *dir, const char *name, const char *recycle, uint64_t size_bytes,
                                bool mapped, struct nr_log **log_out, struct nori_error *err)
{
    nori_status rc;
    uint64_t ready = 0;
    struct posix_log *log = allocate(dir, name, size_bytes);
    if (!log) return nr_fail_memory(err, sizeof(*log));

    if (recycle) {
        NR_CHECK(open_recycled(dir, recycle, size_bytes, &log->fd, &ready, err));
        int code = rename_new(nr_posix_dir_fd(dir), recycle, name);
        if (code != 0) {
            rc = nr_path_fail(err, "create", dir->path, name, code);
            goto out;
        }
    } else {
        NR_CHECK(nr_posix_open_at(dir, name, O_RDWR | O_CREAT | O_EXCL, &log->fd, err));
    }
    /* Nothing fails from here on: the name is taken. */
    if (mapped && size_bytes > 0) log->map = map_file(log->fd, size_bytes);
    atomic_init(&log->ready_bytes, ready);
    *log_out = &log->base;
    log = NULL;
out:
    destroy(log);
    return rc;
}

nori_status nr_posix_log_reserve(struct nr_log *base, uint64_t end, bool may_wait, struct nori_error *err)
{
    struct posix_log *log = (struct posix_log *)base;
    NR_ASSERT(end <= base->size_bytes);
    if (NR_LIKELY(end <= atomic_load_explicit(&log->ready_bytes, memory_order_acquire))) return NORI_OK;
    if (end > base->size_bytes) return nr_path_fail(err, "extend", base->path, NULL, EFBIG);
    if (!may_wait) return NR_FAIL(err, NORI_AGAIN, "%s must be extended", base->path);
    return extend(log, end, err);
}

static nori_status write_vectors(struct posix_log *log, uint64_t offset, nori_slice first, nori_slice second,
                                 struct nori_error *err)
{
    while (first.size + second.size > 0) {
        struct iovec vectors[2] = {{(void *)(uintptr_t)first.data, first.size},
                                   {(void *)(uintptr_t)second.data, second.size}};
        int skipped = first.size == 0;
        ssize_t written = pwritev(log->fd, vectors + skipped, 2 - skipped, (off_t)offset);
        if (written < 0) {
            if (errno == EINTR) continue;
            return nr_path_fail(err, "write", log->base.path, NULL, errno);
        }
        size_t from_first = NR_MIN((size_t)written, first.size), from_second = (size_t)written - from_first;
        offset += (uint64_t)written;
        if (from_first > 0) first = nr_slice(first.data + from_first, first.size - from_first);
        if (from_second > 0) second = nr_slice(second.data + from_second, second.size - from_second);
    }
    return NORI_OK;
}

nori_status nr_posix_log_publish(struct nr_log *base, uint64_t offset, nori_slice first, nori_slice second,
                                 struct nori_error *err)
{
    struct posix_log *log = (struct posix_log *)base;
    NR_ASSERT(offset + first.size + second.size <= atomic_load(&log->ready_bytes));
    if (NR_UNLIKELY(!log->map)) return write_vectors(log, offset, first, second, err);
    if (first.size > 0) memcpy(log->map + offset, first.data, first.size);
    if (second.size > 0) memcpy(log->map + offset + first.size, second.data, second.size);
    atomic_store_explicit(&log->stored_bytes, offset + first.size + second.size, memory_order_relaxed);
    return NORI_OK;
}

/* Before the system writes a page that is mapped it takes away the right to store to it, page by page, and each time
 * interrupts the processors that may know of it. So pages that the writer has passed leave the mapping first, all at
 * once; they stay in the page cache, as dirty as they were. Nobody reads a log through its mapping. */
static void unmap_passed(struct posix_log *log)
{
#ifdef __linux__
    uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t end = atomic_load_explicit(&log->stored_bytes, memory_order_relaxed) / page_bytes * page_bytes;
    uint64_t begin = atomic_load_explicit(&log->unmapped_bytes, memory_order_relaxed);
    if (end < begin + LEAST_UNMAPPED_BYTES) return;
    atomic_store_explicit(&log->unmapped_bytes, end, memory_order_relaxed);
    madvise(log->map + begin, (size_t)(end - begin), MADV_DONTNEED);
#else
    (void)log;
#endif
}

nori_status nr_posix_log_sync(struct nr_log *base, struct nori_error *err)
{
    struct posix_log *log = (struct posix_log *)base;
    int code = 0;
#ifndef __linux__
    /* Elsewhere what is stored through a mapping reaches the file's cache only so. */
    uint64_t ready = atomic_load_explicit(&log->ready_bytes, memory_order_acquire);
    if (log->map && ready > 0 && msync(log->map, (size_t)ready, MS_SYNC) != 0) code = errno;
#endif
    if (log->map) unmap_passed(log);
    if (code == 0) code = nr_posix_sync_data(log->fd);
    return code == 0 ? NORI_OK : nr_path_fail(err, "sync", base->path, NULL, code);
}

nori_status nr_posix_log_prepare(struct nr_log *base, uint64_t end, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct posix_log *log = (struct posix_log *)base;
    end = NR_MIN(end, base->size_bytes);
    if (end > atomic_load_explicit(&log->ready_bytes, memory_order_acquire)) NR_CHECK(extend(log, end, err));
#ifdef MADV_POPULATE_WRITE
    /* Not behind the writer, if it was faster: what has left the mapping would come back. */
    uint64_t from = NR_MAX(log->populated_bytes, atomic_load_explicit(&log->stored_bytes, memory_order_relaxed));
    if (log->map && end > from) {
        from -= from % (uint64_t)sysconf(_SC_PAGESIZE);
        /* A kernel that does not know it leaves the faults to the writer. */
        madvise(log->map + from, (size_t)(end - from), MADV_POPULATE_WRITE);
        log->populated_bytes = end;
    }
#endif
out:
    return rc;
}

bool nr_posix_log_is_mapped(const struct nr_log *base)
{
    return ((const struct posix_log *)base)->map != NULL;
}

void nr_posix_log_close(struct nr_log *base)
{
    destroy((struct posix_log *)base);
}

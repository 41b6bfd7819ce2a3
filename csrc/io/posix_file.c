#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "io/path.h"
#include "io/posix.h"

struct posix_file {
    struct nr_file base;
    int fd;
    _Atomic bool never_now; /* Its file system does not know of reads that do not wait. */
};

static int file_fd(const struct nr_file *file)
{
    return ((const struct posix_file *)file)->fd;
}

static const char *kind_of(mode_t mode)
{
    if (S_ISDIR(mode)) return "is a directory, not a regular file";
    if (S_ISFIFO(mode)) return "is a FIFO, not a regular file";
    return "is not a regular file";
}

nori_status nr_posix_open_at(const struct nr_dir *dir, const char *name, int flags, int *fd_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct stat status;
    NR_ASSERT(!strchr(name, '/'));

    int fd = openat(nr_posix_dir_fd(dir), name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    while (fd < 0 && errno == EINTR)
        fd = openat(nr_posix_dir_fd(dir), name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    *fd_out = -1;
    if (fd < 0) {
        int code = errno;
        /* Opening a directory for writing, or a socket, fails before it can be looked at. */
        if (fstatat(nr_posix_dir_fd(dir), name, &status, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(status.st_mode) &&
            code != EEXIST)
            return nr_path_refuse(err, NORI_IO, dir->path, name, EINVAL, kind_of(status.st_mode));
        return nr_path_fail(err, flags & O_CREAT ? "create" : "open", dir->path, name, code);
    }
    if (fstat(fd, &status) != 0) {
        rc = nr_path_fail(err, "look up", dir->path, name, errno);
    } else if (!S_ISREG(status.st_mode)) {
        rc = nr_path_refuse(err, NORI_IO, dir->path, name, EINVAL, kind_of(status.st_mode));
    } else if ((flags & O_CREAT) && fchmod(fd, 0600) != 0) {
        rc = nr_path_fail(err, "create", dir->path, name, errno);
    }
    if (rc == NORI_OK)
        *fd_out = fd;
    else
        close(fd);
    return rc;
}

nori_status nr_posix_file_open(struct nr_dir *dir, const char *name, enum nr_open_mode mode, struct nr_file **file_out,
                               struct nori_error *err)
{
    nori_status rc;
    static const int flags[] = {[NR_OPEN_READ] = O_RDONLY,
                                [NR_OPEN_CREATE] = O_RDWR | O_APPEND | O_CREAT | O_EXCL,
                                [NR_OPEN_APPEND] = O_RDWR | O_APPEND};
    struct posix_file *file = nr_calloc(1, sizeof(*file));
    char *path = nr_path_join(dir->path, name);
    if (!file || !path) {
        rc = nr_fail_memory(err, sizeof(*file));
        goto out;
    }
    NR_CHECK(nr_posix_open_at(dir, name, flags[mode], &file->fd, err));
#ifdef O_NOATIME
    /* Nobody asks when it was read last. Another owner's file keeps its times. */
    (void)fcntl(file->fd, F_SETFL, O_NOATIME | (flags[mode] & O_APPEND));
#endif
    file->base.env = dir->env;
    file->base.path = path;
    *file_out = &file->base;
    return NORI_OK;
out:
    nr_free(path);
    nr_free(file);
    return rc;
}

nori_status nr_posix_file_read_at(struct nr_file *file, uint64_t offset, uint8_t *data, size_t size, size_t *got_out,
                                  struct nori_error *err)
{
    size_t got = 0;
    while (got < size) {
        ssize_t count = pread(file_fd(file), data + got, size - got, (off_t)(offset + got));
        if (count < 0) {
            if (errno == EINTR) continue;
            return nr_path_fail(err, "read", file->path, NULL, errno);
        }
        if (count == 0) break;
        got += (size_t)count;
    }
    *got_out = got;
    return NORI_OK;
}

bool nr_posix_file_read_now(struct nr_file *file, uint64_t offset, uint8_t *data, size_t size)
{
#ifdef RWF_NOWAIT
    struct posix_file *self = (struct posix_file *)file;
    struct iovec whole = {data, size};
    if (atomic_load_explicit(&self->never_now, memory_order_relaxed)) return false;
    ssize_t got = preadv2(self->fd, &whole, 1, (off_t)offset, RWF_NOWAIT);
    if (got < 0 && (errno == EOPNOTSUPP || errno == EINVAL || errno == ENOSYS))
        atomic_store_explicit(&self->never_now, true, memory_order_relaxed);
    return got == (ssize_t)size;
#else
    (void)file, (void)offset, (void)data, (void)size;
    return false;
#endif
}

nori_status nr_posix_file_append(struct nr_file *file, nori_slice data, struct nori_error *err)
{
    size_t done = 0;
    while (done < data.size) {
        ssize_t count = write(file_fd(file), data.data + done, data.size - done);
        if (count < 0) {
            if (errno == EINTR) continue;
            return nr_path_fail(err, "write", file->path, NULL, errno);
        }
        done += (size_t)count;
    }
    return NORI_OK;
}

int nr_posix_sync_data(int fd)
{
#ifdef F_FULLFSYNC
    if (fcntl(fd, F_FULLFSYNC) == 0) return 0;
    /* Only where the file system does not know the call does fsync serve. */
    if (errno != ENOTSUP && errno != EINVAL && errno != ENOTTY) return errno;
    return fsync(fd) == 0 ? 0 : errno;
#else
    return fdatasync(fd) == 0 ? 0 : errno;
#endif
}

nori_status nr_posix_file_sync(struct nr_file *file, struct nori_error *err)
{
    int code = nr_posix_sync_data(file_fd(file));
    return code == 0 ? NORI_OK : nr_path_fail(err, "sync", file->path, NULL, code);
}

nori_status nr_posix_file_size(struct nr_file *file, uint64_t *size_out, struct nori_error *err)
{
    struct stat status;
    if (fstat(file_fd(file), &status) != 0) return nr_path_fail(err, "look up", file->path, NULL, errno);
    *size_out = (uint64_t)status.st_size;
    return NORI_OK;
}

void nr_posix_file_readahead(struct nr_file *file, uint64_t offset, size_t size)
{
#ifdef POSIX_FADV_WILLNEED
    posix_fadvise(file_fd(file), (off_t)offset, (off_t)size, POSIX_FADV_WILLNEED);
#else
    (void)file, (void)offset, (void)size;
#endif
}

void nr_posix_file_write_behind(struct nr_file *file, uint64_t offset, uint64_t size)
{
    /* Failures of the disk are the sync's to tell. */
#ifdef SYNC_FILE_RANGE_WRITE
    (void)!sync_file_range(file_fd(file), (off64_t)offset, (off64_t)size, SYNC_FILE_RANGE_WRITE);
#else
    (void)file, (void)offset, (void)size;
#endif
}

void nr_posix_file_close(struct nr_file *base)
{
    struct posix_file *file = (struct posix_file *)base;
    close(file->fd);
    nr_free(file->base.path);
    nr_free(file);
}

/* The lock of a database: flock() on a file of its own description, so that a second opener in this process fails as
 * one in another does, and no close elsewhere in the process drops it. A description is shared with forked children,
 * though; so locks are listed, and a child closes its copies before it runs anything else. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "io/path.h"
#include "io/posix.h"

struct posix_lock {
    struct nr_file base;
    int fd;                        /* -1 in a forked child. Guarded by locks_mutex. */
    struct posix_lock *next;       /* Guarded by locks_mutex. */
    struct posix_lock **next_link; /* What points here. Guarded by locks_mutex. */
};

static pthread_mutex_t locks_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct posix_lock *locks;

void nr_posix_locks_before_fork(void)
{
    pthread_mutex_lock(&locks_mutex);
}

void nr_posix_locks_in_parent(void)
{
    pthread_mutex_unlock(&locks_mutex);
}

void nr_posix_locks_in_child(void)
{
    for (struct posix_lock *lock = locks; lock; lock = lock->next) {
        close(lock->fd);
        lock->fd = -1;
    }
    locks = NULL;
    pthread_mutex_unlock(&locks_mutex);
}

static nori_status open_lock_file(const struct nr_dir *dir, const char *name, bool is_shared, int *fd_out,
                                  struct nori_error *err)
{
    if (is_shared) return nr_posix_open_at(dir, name, O_RDONLY, fd_out, err);
    struct nori_error first;
    nr_error_clear(&first);
    nori_status rc = nr_posix_open_at(dir, name, O_RDWR, fd_out, &first);
    if (rc != NORI_IO || first.sys_errno != ENOENT) {
        if (rc != NORI_OK && err) *err = first;
        return rc;
    }
    /* Two may make it at once; both then lock the same file. */
    return nr_posix_open_at(dir, name, O_RDWR | O_CREAT, fd_out, err);
}

/* Whether 'name' still is the file behind 'fd'. */
static bool is_current(const struct nr_dir *dir, const char *name, int fd)
{
    struct stat named, opened;
    return fstatat(nr_posix_dir_fd(dir), name, &named, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &opened) == 0 &&
           named.st_dev == opened.st_dev && named.st_ino == opened.st_ino;
}

static nori_status take(const struct nr_dir *dir, const char *name, bool is_shared, int *fd_out, struct nori_error *err)
{
    nori_status rc;
    int fd = -1, code = 0;

    NR_CHECK(open_lock_file(dir, name, is_shared, &fd, err));
    while (flock(fd, (is_shared ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0 && (code = errno) == EINTR) code = 0;
    if (code == EWOULDBLOCK || code == EAGAIN) {
        rc = nr_path_refuse(err, NORI_LOCKED, dir->path, name, EAGAIN, "is locked by another handle");
    } else if (code != 0) {
        rc = nr_path_fail(err, "lock", dir->path, name, code);
    } else if (!is_current(dir, name, fd)) {
        /* Someone removed the file between our open and our lock: another may hold the name's new file. */
        rc = nr_path_refuse(err, NORI_LOCKED, dir->path, name, EAGAIN, "was replaced while it was being locked");
    }
out:
    if (rc != NORI_OK && fd >= 0) {
        close(fd);
        fd = -1;
    }
    *fd_out = fd;
    return rc;
}

nori_status nr_posix_lock(struct nr_dir *dir, const char *name, bool is_shared, struct nr_file **lock_out,
                          struct nori_error *err)
{
    nori_status rc;
    struct posix_lock *lock = nr_calloc(1, sizeof(*lock));
    char *path = nr_path_join(dir->path, name);
    if (!lock || !path) {
        rc = nr_fail_memory(err, sizeof(*lock));
        goto out;
    }
    /* From open to list without a fork in between. Nothing in here waits. */
    pthread_mutex_lock(&locks_mutex);
    rc = take(dir, name, is_shared, &lock->fd, err);
    if (rc == NORI_OK) {
        lock->next = locks;
        lock->next_link = &locks;
        if (locks) locks->next_link = &lock->next;
        locks = lock;
    }
    pthread_mutex_unlock(&locks_mutex);
    if (rc != NORI_OK) goto out;
    lock->base.env = dir->env;
    lock->base.path = path;
    *lock_out = &lock->base;
    return NORI_OK;
out:
    nr_free(path);
    nr_free(lock);
    return rc;
}

void nr_posix_unlock(struct nr_file *base)
{
    struct posix_lock *lock = (struct posix_lock *)base;
    pthread_mutex_lock(&locks_mutex);
    if (lock->fd >= 0) {
        *lock->next_link = lock->next;
        if (lock->next) lock->next->next_link = lock->next_link;
        /* A process spawned without fork handlers may hold a copy until its exec: give the lock back by name. */
        flock(lock->fd, LOCK_UN);
        close(lock->fd);
    }
    pthread_mutex_unlock(&locks_mutex);
    nr_free(lock->base.path);
    nr_free(lock);
}

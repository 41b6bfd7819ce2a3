#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/magic.h>
#include <sys/vfs.h>
#endif

#include "base/alloc.h"
#include "io/path.h"
#include "io/posix.h"

#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC)

int nr_posix_dir_fd(const struct nr_dir *dir)
{
    return ((const struct nr_posix_dir *)dir)->fd;
}

/* Takes 'fd' and 'path'. */
static nori_status make_handle(struct nori_env *env, int fd, char *path, struct nr_dir **dir_out,
                               struct nori_error *err)
{
    struct nr_posix_dir *dir = path ? nr_calloc(1, sizeof(*dir)) : NULL;
    if (!dir) {
        close(fd);
        nr_free(path);
        return nr_fail_memory(err, sizeof(*dir));
    }
    dir->base.env = env;
    dir->base.path = path;
    dir->fd = fd;
    *dir_out = &dir->base;
    return NORI_OK;
}

static int sync_dir(int fd)
{
    /* Some file systems have no such call for directories, and say EINVAL. */
    return fsync(fd) == 0 || errno == EINVAL ? 0 : errno;
}

/* The name of a database's directory must last as its content does, also where an earlier process made it and died. A
 * parent we may not read cannot be synced, by anyone like us. */
static int sync_parent(int fd)
{
    int parent = openat(fd, "..", DIR_FLAGS);
    if (parent < 0) return errno == EACCES ? 0 : errno;
    int code = sync_dir(parent);
    close(parent);
    return code == EACCES || code == EROFS ? 0 : code;
}

/* 'flags' besides the usual ones. A directory that is made here gets 0700 whatever the umask. */
static int open_dir(int parent, const char *path, bool create, int flags, int *fd_out)
{
    bool is_made = create && mkdirat(parent, path, 0700) == 0;
    int make_code = create && !is_made ? errno : 0;
    int fd = openat(parent, path, DIR_FLAGS | flags);
    if (fd < 0 && errno == EACCES && is_made && fchmodat(parent, path, 0700, 0) == 0)
        fd = openat(parent, path, DIR_FLAGS | O_NOFOLLOW);
    *fd_out = -1;
    if (fd < 0) return errno == ENOENT && make_code != 0 ? make_code : errno;
    if (is_made && fchmod(fd, 0700) != 0) {
        int code = errno;
        close(fd);
        return code;
    }
    *fd_out = fd;
    return 0;
}

nori_status nr_posix_dir_open(struct nori_env *env, const char *path, bool create, struct nr_dir **dir_out,
                              struct nori_error *err)
{
    int fd, code = open_dir(AT_FDCWD, path, create, 0, &fd);
    if (code != 0) return nr_path_fail(err, create ? "create" : "open", path, NULL, code);
    if (create && (code = sync_parent(fd)) != 0) {
        close(fd);
        return nr_path_fail(err, "sync the parent of", path, NULL, code);
    }
    return make_handle(env, fd, nr_strdup(path), dir_out, err);
}

nori_status nr_posix_dir_open_at(struct nr_dir *parent, const char *name, bool create, struct nr_dir **dir_out,
                                 struct nori_error *err)
{
    int fd, code = open_dir(nr_posix_dir_fd(parent), name, create, O_NOFOLLOW, &fd);
    if (code != 0) return nr_path_fail(err, create ? "create" : "open", parent->path, name, code);
    return make_handle(parent->env, fd, nr_path_join(parent->path, name), dir_out, err);
}

nori_status nr_posix_dir_sync(struct nr_dir *dir, struct nori_error *err)
{
    int code = sync_dir(nr_posix_dir_fd(dir));
    return code == 0 ? NORI_OK : nr_path_fail(err, "sync", dir->path, NULL, code);
}

nori_status nr_posix_dir_list(struct nr_dir *dir, void (*fn)(void *arg, const char *name), void *arg,
                              struct nori_error *err)
{
    /* A description of its own: the position of ours is shared by all who list. */
    int fd = openat(nr_posix_dir_fd(dir), ".", DIR_FLAGS);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (!stream) {
        int code = errno;
        if (fd >= 0) close(fd);
        return nr_path_fail(err, "list", dir->path, NULL, code);
    }
    int code = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(stream);
        if (!entry) {
            code = errno;
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) fn(arg, entry->d_name);
    }
    closedir(stream);
    return code == 0 ? NORI_OK : nr_path_fail(err, "list", dir->path, NULL, code);
}

void nr_posix_dir_close(struct nr_dir *base)
{
    struct nr_posix_dir *dir = (struct nr_posix_dir *)base;
    close(dir->fd);
    nr_free(dir->base.path);
    nr_free(dir);
}

nori_status nr_posix_dir_remove(struct nr_dir *parent, const char *name, struct nori_error *err)
{
    if (unlinkat(nr_posix_dir_fd(parent), name, AT_REMOVEDIR) == 0) return NORI_OK;
    return nr_path_fail(err, "remove", parent->path, name, errno);
}

nori_status nr_posix_rename(struct nr_dir *from, const char *from_name, struct nr_dir *to, const char *to_name,
                            struct nori_error *err)
{
    if (renameat(nr_posix_dir_fd(from), from_name, nr_posix_dir_fd(to), to_name) == 0) return NORI_OK;
    return nr_path_fail(err, "rename", from->path, from_name, errno);
}

nori_status nr_posix_link(struct nr_dir *from, const char *from_name, struct nr_dir *to, const char *to_name,
                          struct nori_error *err)
{
    if (linkat(nr_posix_dir_fd(from), from_name, nr_posix_dir_fd(to), to_name, 0) == 0) return NORI_OK;
    return nr_path_fail(err, "link", to->path, to_name, errno);
}

nori_status nr_posix_unlink(struct nr_dir *dir, const char *name, struct nori_error *err)
{
    if (unlinkat(nr_posix_dir_fd(dir), name, 0) == 0) return NORI_OK;
    return nr_path_fail(err, "unlink", dir->path, name, errno);
}

nori_status nr_posix_exists(struct nr_dir *dir, const char *name, bool *exists_out, struct nori_error *err)
{
    struct stat status;
    *exists_out = fstatat(nr_posix_dir_fd(dir), name, &status, AT_SYMLINK_NOFOLLOW) == 0;
    if (*exists_out || errno == ENOENT) return NORI_OK;
    return nr_path_fail(err, "look up", dir->path, name, errno);
}

bool nr_posix_can_map(struct nr_dir *dir)
{
#ifdef __linux__
    struct statfs status;
    if (fstatfs(nr_posix_dir_fd(dir), &status) != 0) return false;
    return status.f_type == EXT4_SUPER_MAGIC || status.f_type == 0x58465342 /* xfs */ || status.f_type == TMPFS_MAGIC;
#else
    (void)dir;
    return false;
#endif
}

bool nr_posix_may_create(struct nr_dir *dir)
{
    return faccessat(nr_posix_dir_fd(dir), ".", W_OK | X_OK, AT_EACCESS) == 0;
}

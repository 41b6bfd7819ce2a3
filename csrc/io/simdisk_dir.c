#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "io/path.h"
#include "io/simdisk.h"

static struct nr_sim_dir *dir_of(struct nr_dir *base)
{
    return (struct nr_sim_dir *)base;
}

/* Takes 'path'. */
static struct nr_sim_dir *allocate(struct nori_env *env, char *path)
{
    struct nr_sim_dir *dir = path ? nr_calloc(1, sizeof(*dir)) : NULL;
    if (!dir) {
        nr_free(path);
        return NULL;
    }
    dir->base.env = env;
    dir->base.path = path;
    return dir;
}

static void bind(struct nr_sim_disk *disk, struct nr_sim_dir *dir, struct nr_sim_inode *inode)
{
    dir->inode = nr_sim_inode_ref(inode);
    dir->generation = nr_env_generation(&disk->env);
}

/* Finds or makes a directory; two operations where it is made. */
static int open_in(struct nr_sim_disk *disk, uint64_t generation, struct nr_sim_inode *parent, const char *name,
                   bool create, struct nr_sim_inode **inode_out)
{
    int code = nr_sim_begin(disk, generation, NR_IO_OPEN_DIR).sys_errno;
    if (code != 0) return code;
    struct nr_sim_inode *inode = nr_sim_find(parent, name);
    if (inode && !inode->is_dir) return ENOTDIR;
    if (!inode) {
        if (!create) return ENOENT;
        code = nr_sim_begin(disk, generation, NR_IO_MKDIR).sys_errno;
        if (code == 0) code = nr_sim_create(disk, parent, name, true, &inode);
    }
    *inode_out = inode;
    return code;
}

static int open_path(struct nr_sim_disk *disk, const char *path, bool create, struct nr_sim_inode **inode_out)
{
    char last[256];
    struct nr_sim_inode *parent;
    int code = nr_sim_resolve(disk, path, last, &parent);
    if (code == 0 && last[0] == '\0') {
        *inode_out = disk->root;
        return nr_sim_begin(disk, nr_env_generation(&disk->env), NR_IO_OPEN_DIR).sys_errno;
    }
    if (code != 0) {
        int first = nr_sim_begin(disk, nr_env_generation(&disk->env), NR_IO_OPEN_DIR).sys_errno;
        return first != 0 ? first : code;
    }
    code = open_in(disk, nr_env_generation(&disk->env), parent, last, create, inode_out);
    if (code != 0 || !create) return code;
    code = nr_sim_begin(disk, nr_env_generation(&disk->env), NR_IO_DIR_SYNC).sys_errno;
    if (code == 0) nr_sim_dir_make_durable(disk, parent);
    return code;
}

nori_status nr_sim_dir_open(struct nori_env *env, const char *path, bool create, struct nr_dir **dir_out,
                            struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(env);
    struct nr_sim_inode *inode = NULL;
    struct nr_sim_dir *dir = allocate(env, nr_strdup(path));
    if (!dir) return nr_fail_memory(err, sizeof(*dir));
    nr_mutex_lock(&disk->mutex);
    int code = open_path(disk, path, create, &inode);
    if (code == 0) bind(disk, dir, inode);
    nr_mutex_unlock(&disk->mutex);
    if (code == 0)
        *dir_out = &dir->base;
    else
        nr_sim_dir_close(&dir->base);
    return nr_sim_result(err, code, create ? "create" : "open", path, NULL);
}

nori_status nr_sim_dir_open_at(struct nr_dir *parent, const char *name, bool create, struct nr_dir **dir_out,
                               struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(parent->env);
    struct nr_sim_inode *inode = NULL;
    struct nr_sim_dir *dir = allocate(parent->env, nr_path_join(parent->path, name));
    if (!dir) return nr_fail_memory(err, sizeof(*dir));
    nr_mutex_lock(&disk->mutex);
    int code = open_in(disk, dir_of(parent)->generation, dir_of(parent)->inode, name, create, &inode);
    if (code == 0) bind(disk, dir, inode);
    nr_mutex_unlock(&disk->mutex);
    if (code == 0)
        *dir_out = &dir->base;
    else
        nr_sim_dir_close(&dir->base);
    return nr_sim_result(err, code, create ? "create" : "open", parent->path, name);
}

nori_status nr_sim_dir_sync(struct nr_dir *dir, struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(dir->env);
    nr_mutex_lock(&disk->mutex);
    int code = nr_sim_begin(disk, dir_of(dir)->generation, NR_IO_DIR_SYNC).sys_errno;
    if (code == 0) nr_sim_dir_make_durable(disk, dir_of(dir)->inode);
    nr_mutex_unlock(&disk->mutex);
    return nr_sim_result(err, code, "sync", dir->path, NULL);
}

int nr_sim_names_of(const struct nr_sim_inode *dir, char **names_out, size_t *count_out)
{
    size_t bytes = 1, at = 0;
    for (size_t i = 0; i < dir->current.count; i++) bytes += strlen(dir->current.items[i].name->text) + 1;
    char *names = nr_alloc(bytes);
    if (!names) return ENOMEM;
    for (size_t i = 0; i < dir->current.count; i++) {
        size_t size = strlen(dir->current.items[i].name->text) + 1;
        memcpy(names + at, dir->current.items[i].name->text, size);
        at += size;
    }
    *names_out = names;
    *count_out = dir->current.count;
    return 0;
}

nori_status nr_sim_dir_list(struct nr_dir *dir, void (*fn)(void *arg, const char *name), void *arg,
                            struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(dir->env);
    char *names = NULL;
    size_t count = 0;
    nr_mutex_lock(&disk->mutex);
    int code = nr_sim_begin(disk, dir_of(dir)->generation, NR_IO_LIST).sys_errno;
    if (code == 0) code = nr_sim_names_of(dir_of(dir)->inode, &names, &count);
    nr_mutex_unlock(&disk->mutex);
    /* Told without the mutex: 'fn' may use the disk. */
    for (const char *name = names; count > 0; count--, name += strlen(name) + 1) fn(arg, name);
    nr_free(names);
    return nr_sim_result(err, code, "list", dir->path, NULL);
}

void nr_sim_dir_close(struct nr_dir *base)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(base->env);
    nr_mutex_lock(&disk->mutex);
    nr_sim_inode_unref(disk, dir_of(base)->inode);
    nr_mutex_unlock(&disk->mutex);
    nr_free(base->path);
    nr_free(base);
}

static nori_status remove_name(struct nr_dir *dir, const char *name, bool is_dir, struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(dir->env);
    nr_mutex_lock(&disk->mutex);
    int code = nr_sim_begin(disk, dir_of(dir)->generation, NR_IO_UNLINK).sys_errno;
    if (code == 0) code = nr_sim_remove(disk, dir_of(dir)->inode, name, is_dir);
    nr_mutex_unlock(&disk->mutex);
    return nr_sim_result(err, code, is_dir ? "remove" : "unlink", dir->path, name);
}

nori_status nr_sim_dir_remove(struct nr_dir *parent, const char *name, struct nori_error *err)
{
    return remove_name(parent, name, true, err);
}

nori_status nr_sim_dir_unlink(struct nr_dir *dir, const char *name, struct nori_error *err)
{
    return remove_name(dir, name, false, err);
}

nori_status nr_sim_dir_rename(struct nr_dir *from, const char *from_name, struct nr_dir *to, const char *to_name,
                              struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(from->env);
    nr_mutex_lock(&disk->mutex);
    int code = nr_sim_look(disk, dir_of(to)->generation);
    if (code == 0) code = nr_sim_begin(disk, dir_of(from)->generation, NR_IO_RENAME).sys_errno;
    if (code == 0) code = nr_sim_rename(disk, dir_of(from)->inode, from_name, dir_of(to)->inode, to_name, true);
    nr_mutex_unlock(&disk->mutex);
    return nr_sim_result(err, code, "rename", from->path, from_name);
}

static int link_in(struct nr_sim_disk *disk, const struct nr_sim_inode *from, const char *from_name,
                   struct nr_sim_inode *to, const char *to_name)
{
    struct nr_sim_inode *inode = nr_sim_find(from, from_name);
    if (!inode) return ENOENT;
    return inode->is_dir ? EPERM : nr_sim_insert(disk, to, to_name, inode);
}

nori_status nr_sim_dir_link(struct nr_dir *from, const char *from_name, struct nr_dir *to, const char *to_name,
                            struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(from->env);
    if (from->env != to->env) return nr_sim_result(err, EXDEV, "link", to->path, to_name);
    nr_mutex_lock(&disk->mutex);
    int code = nr_sim_look(disk, dir_of(to)->generation);
    if (code == 0) code = nr_sim_begin(disk, dir_of(from)->generation, NR_IO_LINK).sys_errno;
    if (code == 0) code = link_in(disk, dir_of(from)->inode, from_name, dir_of(to)->inode, to_name);
    nr_mutex_unlock(&disk->mutex);
    return nr_sim_result(err, code, "link", to->path, to_name);
}

nori_status nr_sim_dir_exists(struct nr_dir *dir, const char *name, bool *exists_out, struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(dir->env);
    nr_mutex_lock(&disk->mutex);
    int code = nr_sim_begin(disk, dir_of(dir)->generation, NR_IO_OPEN).sys_errno;
    if (code == 0) *exists_out = nr_sim_find(dir_of(dir)->inode, name) != NULL;
    nr_mutex_unlock(&disk->mutex);
    return nr_sim_result(err, code, "look up", dir->path, name);
}

bool nr_sim_dir_can_map(struct nr_dir *dir NR_UNUSED)
{
    return true;
}

bool nr_sim_dir_may_create(struct nr_dir *dir NR_UNUSED)
{
    return true;
}

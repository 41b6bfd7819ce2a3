#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "io/path.h"
#include "io/simdisk.h"

static struct nr_sim_file *file_of(struct nr_file *base)
{
    return (struct nr_sim_file *)base;
}

static struct nr_sim_file *allocate(const struct nr_dir *dir, const char *name)
{
    struct nr_sim_file *file = nr_calloc(1, sizeof(*file));
    if (!file) return NULL;
    file->base.env = dir->env;
    file->base.path = nr_path_join(dir->path, name);
    if (file->base.path) return file;
    nr_free(file);
    return NULL;
}

static int open_in(struct nr_sim_disk *disk, const struct nr_sim_dir *dir, const char *name, enum nr_open_mode mode,
                   struct nr_sim_inode **inode_out)
{
    bool create = mode == NR_OPEN_CREATE;
    int code = nr_sim_begin(disk, dir->generation, create ? NR_IO_CREATE : NR_IO_OPEN).sys_errno;
    if (code != 0) return code;
    if (create) return nr_sim_create(disk, dir->inode, name, false, inode_out);
    *inode_out = nr_sim_find(dir->inode, name);
    if (!*inode_out) return ENOENT;
    return (*inode_out)->is_dir ? EINVAL : 0;
}

nori_status nr_sim_file_open(struct nr_dir *dir, const char *name, enum nr_open_mode mode, struct nr_file **file_out,
                             struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(dir->env);
    struct nr_sim_inode *inode = NULL;
    struct nr_sim_file *file = allocate(dir, name);
    if (!file) return nr_fail_memory(err, sizeof(*file));
    nr_mutex_lock(&disk->mutex);
    int code = open_in(disk, (struct nr_sim_dir *)dir, name, mode, &inode);
    if (code == 0) file->inode = nr_sim_inode_ref(inode);
    file->generation = nr_env_generation(&disk->env);
    nr_mutex_unlock(&disk->mutex);
    if (code == 0)
        *file_out = &file->base;
    else
        nr_sim_file_close(&file->base);
    return nr_sim_result(err, code, mode == NR_OPEN_CREATE ? "create" : "open", dir->path, name);
}

nori_status nr_sim_file_read_at(struct nr_file *base, uint64_t offset, uint8_t *data, size_t size, size_t *got_out,
                                struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(base->env);
    struct nr_sim_file *file = file_of(base);
    nr_mutex_lock(&disk->mutex);
    struct nr_sim_verdict verdict = nr_sim_begin(disk, file->generation, NR_IO_READ);
    if (verdict.sys_errno == 0 || verdict.is_short) {
        uint64_t left = offset < file->inode->size_bytes ? file->inode->size_bytes - offset : 0;
        size_t got = (size_t)NR_MIN(left, size);
        if (verdict.is_short) got = nr_sim_part(disk, got);
        nr_sim_inode_read(file->inode, offset, data, got);
        *got_out = verdict.sys_errno == 0 ? got : 0;
    }
    nr_mutex_unlock(&disk->mutex);
    return nr_sim_result(err, verdict.sys_errno, "read", base->path, NULL);
}

nori_status nr_sim_file_append(struct nr_file *base, nori_slice data, struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(base->env);
    struct nr_sim_file *file = file_of(base);
    nr_mutex_lock(&disk->mutex);
    struct nr_sim_verdict verdict = nr_sim_begin(disk, file->generation, NR_IO_WRITE);
    int code = verdict.sys_errno;
    if (code == 0 || verdict.is_short) {
        struct nr_sim_inode *inode = file->inode;
        if (verdict.is_short) data.size = nr_sim_part(disk, data.size);
        int memory = nr_sim_pages_prepare(&inode->pages, inode->size_bytes, data.size, false);
        if (memory == 0) nr_sim_inode_write(disk, inode, inode->size_bytes, data);
        if (code == 0) code = memory;
    }
    nr_mutex_unlock(&disk->mutex);
    return nr_sim_result(err, code, "write", base->path, NULL);
}

nori_status nr_sim_file_sync(struct nr_file *base, struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(base->env);
    struct nr_sim_file *file = file_of(base);
    nr_mutex_lock(&disk->mutex);
    struct nr_sim_verdict verdict = nr_sim_begin(disk, file->generation, NR_IO_SYNC);
    int code = verdict.sys_errno;
    if (code == 0)
        code = nr_sim_inode_sync(disk, file->inode);
    else if (verdict.is_fault)
        nr_sim_inode_lose(file->inode);
    nr_mutex_unlock(&disk->mutex);
    return nr_sim_result(err, code, "sync", base->path, NULL);
}

nori_status nr_sim_file_size(struct nr_file *base, uint64_t *size_out, struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(base->env);
    nr_mutex_lock(&disk->mutex);
    int code = nr_sim_look(disk, file_of(base)->generation);
    if (code == 0) *size_out = file_of(base)->inode->size_bytes;
    nr_mutex_unlock(&disk->mutex);
    return nr_sim_result(err, code, "look up", base->path, NULL);
}

void nr_sim_file_readahead(struct nr_file *file NR_UNUSED, uint64_t offset NR_UNUSED, size_t size NR_UNUSED)
{
    /* All is in memory. */
}

void nr_sim_file_write_behind(struct nr_file *file NR_UNUSED, uint64_t offset NR_UNUSED, uint64_t size NR_UNUSED)
{
    /* What was not synced may be on the disk or not, at any time. */
}

void nr_sim_file_close(struct nr_file *base)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(base->env);
    nr_mutex_lock(&disk->mutex);
    nr_sim_inode_unref(disk, file_of(base)->inode);
    nr_mutex_unlock(&disk->mutex);
    nr_free(base->path);
    nr_free(base);
}

static int lock_in(struct nr_sim_disk *disk, const struct nr_sim_dir *dir, const char *name, bool is_shared,
                   struct nr_sim_inode **inode_out, bool *is_taken)
{
    int code = nr_sim_begin(disk, dir->generation, NR_IO_LOCK).sys_errno;
    if (code != 0) return code;
    struct nr_sim_inode *inode = nr_sim_find(dir->inode, name);
    if (!inode) code = is_shared ? ENOENT : nr_sim_create(disk, dir->inode, name, false, &inode);
    if (code != 0) return code;
    if (inode->is_dir) return EINVAL;
    bool is_held = inode->locked_by == nr_env_generation(&disk->env);
    *is_taken = is_held && !(is_shared && inode->shared_count > 0);
    if (!is_held) inode->shared_count = 0;
    if (!*is_taken) {
        inode->locked_by = nr_env_generation(&disk->env);
        inode->shared_count += is_shared;
    }
    *inode_out = inode;
    return 0;
}

nori_status nr_sim_lock(struct nr_dir *dir, const char *name, bool is_shared, struct nr_file **lock_out,
                        struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(dir->env);
    struct nr_sim_inode *inode = NULL;
    bool is_taken = false;
    struct nr_sim_file *lock = allocate(dir, name);
    if (!lock) return nr_fail_memory(err, sizeof(*lock));
    nr_mutex_lock(&disk->mutex);
    int code = lock_in(disk, (struct nr_sim_dir *)dir, name, is_shared, &inode, &is_taken);
    if (code == 0 && !is_taken) lock->inode = nr_sim_inode_ref(inode);
    lock->generation = nr_env_generation(&disk->env);
    nr_mutex_unlock(&disk->mutex);
    if (lock->inode) {
        *lock_out = &lock->base;
        return NORI_OK;
    }
    nr_sim_file_close(&lock->base);
    if (is_taken) return nr_path_refuse(err, NORI_LOCKED, dir->path, name, EAGAIN, "is locked by another handle");
    return nr_sim_result(err, code, "lock", dir->path, name);
}

void nr_sim_unlock(struct nr_file *base)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(base->env);
    struct nr_sim_file *lock = file_of(base);
    nr_mutex_lock(&disk->mutex);
    /* A lock of a generation that died is not its holder's any more. */
    if (lock->generation == nr_env_generation(&disk->env)) {
        if (lock->inode->shared_count > 0) lock->inode->shared_count--;
        if (lock->inode->shared_count == 0) lock->inode->locked_by = 0;
    }
    nr_mutex_unlock(&disk->mutex);
    nr_sim_file_close(base);
}

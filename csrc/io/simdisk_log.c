/* Logs on the simulated disk. A mapped one differs from a written one as on a real disk: it ends in zeros, and
 * publishing into it fails only when the disk is gone. */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "io/path.h"
#include "io/simdisk.h"

static struct nr_sim_log *log_of(struct nr_log *base)
{
    return (struct nr_sim_log *)base;
}

static int create_in(struct nr_sim_disk *disk, const struct nr_sim_dir *dir, const char *name, const char *recycle,
                     struct nr_sim_inode **inode_out)
{
    int code = nr_sim_begin(disk, dir->generation, recycle ? NR_IO_RENAME : NR_IO_CREATE).sys_errno;
    if (code != 0) return code;
    if (!recycle) return nr_sim_create(disk, dir->inode, name, false, inode_out);
    struct nr_sim_inode *inode = nr_sim_find(dir->inode, recycle);
    if (!inode) return ENOENT;
    if (inode->is_dir) return EINVAL;
    if (inode->links != 1) return EMLINK;
    *inode_out = inode;
    return nr_sim_rename(disk, dir->inode, recycle, dir->inode, name, false);
}

nori_status nr_sim_log_create(struct nr_dir *dir, const char *name, const char *recycle, uint64_t size_bytes,
                              bool mapped, struct nr_log **log_out, struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(dir->env);
    struct nr_sim_inode *inode = NULL;
    struct nr_sim_log *log = nr_calloc(1, sizeof(*log));
    char *path = nr_path_join(dir->path, name);
    if (!log || !path) {
        nr_free(path);
        nr_free(log);
        return nr_fail_memory(err, sizeof(*log));
    }
    log->base = (struct nr_log){.env = dir->env, .path = path, .size_bytes = size_bytes};
    log->mapped = mapped;
    nr_mutex_lock(&disk->mutex);
    int code = create_in(disk, (struct nr_sim_dir *)dir, name, recycle, &inode);
    if (code == 0) {
        log->inode = nr_sim_inode_ref(inode);
        log->ready_bytes = NR_MIN(inode->size_bytes, size_bytes);
        inode->keeps_buffers = true;
    }
    log->generation = nr_env_generation(&disk->env);
    nr_mutex_unlock(&disk->mutex);
    if (code == 0)
        *log_out = &log->base;
    else
        nr_sim_log_close(&log->base);
    return nr_sim_result(err, code, "create", dir->path, name);
}

static int reserve(struct nr_sim_disk *disk, struct nr_sim_log *log, uint64_t end, bool may_wait, bool *would_wait)
{
    int code = nr_sim_look(disk, log->generation);
    if (code != 0) return code;
    if (end > log->base.size_bytes) return EFBIG;
    if (end > log->ready_bytes) {
        *would_wait = !may_wait;
        if (!may_wait) return 0;
        code = nr_sim_begin(disk, log->generation, NR_IO_LOG_RESERVE).sys_errno;
        if (code != 0) return code;
        uint64_t steps = (end - 1) / NR_SIM_LOG_STEP_BYTES + 1;
        log->ready_bytes = NR_MIN(steps * NR_SIM_LOG_STEP_BYTES, log->base.size_bytes);
        if (log->mapped) log->inode->size_bytes = NR_MAX(log->inode->size_bytes, log->ready_bytes);
    }
    if (end > log->memory_bytes) {
        code = nr_sim_pages_prepare(&log->inode->pages, log->memory_bytes, end - log->memory_bytes, true);
        if (code != 0) return code;
        log->memory_bytes = (end - 1) / NR_SIM_PAGE_BYTES * NR_SIM_PAGE_BYTES + NR_SIM_PAGE_BYTES;
    }
    return 0;
}

nori_status nr_sim_log_reserve(struct nr_log *base, uint64_t end, bool may_wait, struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(base->env);
    bool would_wait = false;
    nr_mutex_lock(&disk->mutex);
    int code = reserve(disk, log_of(base), end, may_wait, &would_wait);
    nr_mutex_unlock(&disk->mutex);
    if (would_wait) return NR_FAIL(err, NORI_AGAIN, "%s must be extended", base->path);
    return nr_sim_result(err, code, "extend", base->path, NULL);
}

/* Also where nothing was reserved, as a write would; memory may run out then. */
static int write_joined(struct nr_sim_disk *disk, struct nr_sim_inode *inode, uint64_t offset, nori_slice first,
                        nori_slice second)
{
    int code = nr_sim_pages_prepare(&inode->pages, offset, (uint64_t)first.size + second.size, true);
    if (code != 0) return code;
    nr_sim_inode_write(disk, inode, offset, first);
    nr_sim_inode_write(disk, inode, offset + first.size, second);
    return 0;
}

nori_status nr_sim_log_publish(struct nr_log *base, uint64_t offset, nori_slice first, nori_slice second,
                               struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(base->env);
    struct nr_sim_log *log = log_of(base);
    nr_mutex_lock(&disk->mutex);
    struct nr_sim_verdict verdict = nr_sim_begin(disk, log->generation, NR_IO_LOG_PUBLISH);
    /* A store cannot fail: a fault meant for it passes by. */
    if (log->mapped && verdict.is_fault) verdict = (struct nr_sim_verdict){0};
    int code = verdict.sys_errno;
    if (code == 0 || verdict.is_short) {
        if (verdict.is_short) {
            size_t part = nr_sim_part(disk, first.size + second.size);
            first.size = NR_MIN(first.size, part);
            second.size = part - first.size;
        }
        int memory = write_joined(disk, log->inode, offset, first, second);
        if (code == 0) code = memory;
    }
    nr_mutex_unlock(&disk->mutex);
    return nr_sim_result(err, code, "write", base->path, NULL);
}

nori_status nr_sim_log_sync(struct nr_log *base, struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(base->env);
    struct nr_sim_log *log = log_of(base);
    nr_mutex_lock(&disk->mutex);
    struct nr_sim_verdict verdict = nr_sim_begin(disk, log->generation, NR_IO_LOG_SYNC);
    int code = verdict.sys_errno;
    if (code == 0)
        code = nr_sim_inode_sync(disk, log->inode);
    else if (verdict.is_fault)
        nr_sim_inode_lose(log->inode);
    nr_mutex_unlock(&disk->mutex);
    return nr_sim_result(err, code, "sync", base->path, NULL);
}

nori_status nr_sim_log_prepare(struct nr_log *base, uint64_t end, struct nori_error *err)
{
    return nr_sim_log_reserve(base, NR_MIN(end, base->size_bytes), true, err);
}

bool nr_sim_log_is_mapped(const struct nr_log *base)
{
    return ((const struct nr_sim_log *)base)->mapped;
}

void nr_sim_log_close(struct nr_log *base)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(base->env);
    nr_mutex_lock(&disk->mutex);
    nr_sim_inode_unref(disk, log_of(base)->inode);
    nr_mutex_unlock(&disk->mutex);
    nr_free(base->path);
    nr_free(base);
}

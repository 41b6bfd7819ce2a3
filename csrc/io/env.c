#include "io/env.h"

#include <errno.h>

nori_status nr_dir_open(struct nori_env *env, const char *path, bool create, struct nr_dir **dir_out,
                        struct nori_error *err)
{
    *dir_out = NULL;
    return env->ops->dir_open(env, path, create, dir_out, err);
}

nori_status nr_dir_open_at(struct nr_dir *parent, const char *name, bool create, struct nr_dir **dir_out,
                           struct nori_error *err)
{
    *dir_out = NULL;
    return parent->env->ops->dir_open_at(parent, name, create, dir_out, err);
}

nori_status nr_dir_sync(struct nr_dir *dir, struct nori_error *err)
{
    return dir->env->ops->dir_sync(dir, err);
}

nori_status nr_dir_list(struct nr_dir *dir, void (*fn)(void *arg, const char *name), void *arg, struct nori_error *err)
{
    return dir->env->ops->dir_list(dir, fn, arg, err);
}

void nr_dir_close(struct nr_dir *dir)
{
    if (dir) dir->env->ops->dir_close(dir);
}

nori_status nr_dir_remove(struct nr_dir *parent, const char *name, struct nori_error *err)
{
    return parent->env->ops->dir_remove(parent, name, err);
}

nori_status nr_dir_rename(struct nr_dir *from, const char *from_name, struct nr_dir *to, const char *to_name,
                          struct nori_error *err)
{
    return from->env->ops->rename(from, from_name, to, to_name, err);
}

nori_status nr_dir_link(struct nr_dir *from, const char *from_name, struct nr_dir *to, const char *to_name,
                        struct nori_error *err)
{
    return from->env->ops->link(from, from_name, to, to_name, err);
}

nori_status nr_dir_unlink(struct nr_dir *dir, const char *name, struct nori_error *err)
{
    return dir->env->ops->unlink(dir, name, err);
}

nori_status nr_dir_exists(struct nr_dir *dir, const char *name, bool *exists_out, struct nori_error *err)
{
    *exists_out = false;
    return dir->env->ops->exists(dir, name, exists_out, err);
}

nori_status nr_dir_lock(struct nr_dir *dir, const char *name, struct nr_file **lock_out, struct nori_error *err)
{
    *lock_out = NULL;
    return dir->env->ops->lock(dir, name, false, lock_out, err);
}

nori_status nr_dir_lock_shared(struct nr_dir *dir, const char *name, struct nr_file **lock_out, struct nori_error *err)
{
    *lock_out = NULL;
    return dir->env->ops->lock(dir, name, true, lock_out, err);
}

void nr_dir_unlock(struct nr_file *lock)
{
    if (lock) lock->env->ops->unlock(lock);
}

nori_status nr_file_open(struct nr_dir *dir, const char *name, enum nr_open_mode mode, struct nr_file **file_out,
                         struct nori_error *err)
{
    *file_out = NULL;
    return dir->env->ops->file_open(dir, name, mode, file_out, err);
}

nori_status nr_file_read_at(struct nr_file *file, uint64_t offset, uint8_t *data, size_t size, size_t *got_out,
                            struct nori_error *err)
{
    *got_out = 0;
    return file->env->ops->file_read_at(file, offset, data, size, got_out, err);
}

bool nr_file_read_now(struct nr_file *file, uint64_t offset, uint8_t *data, size_t size)
{
    const struct nr_env_ops *ops = file->env->ops;
    return ops->file_read_now && ops->file_read_now(file, offset, data, size);
}

nori_status nr_file_append(struct nr_file *file, nori_slice data, struct nori_error *err)
{
    return file->env->ops->file_append(file, data, err);
}

nori_status nr_file_sync(struct nr_file *file, struct nori_error *err)
{
    return file->env->ops->file_sync(file, err);
}

nori_status nr_file_size(struct nr_file *file, uint64_t *size_out, struct nori_error *err)
{
    *size_out = 0;
    return file->env->ops->file_size(file, size_out, err);
}

void nr_file_readahead(struct nr_file *file, uint64_t offset, size_t size)
{
    file->env->ops->file_readahead(file, offset, size);
}

void nr_file_write_behind(struct nr_file *file, uint64_t offset, uint64_t size)
{
    file->env->ops->file_write_behind(file, offset, size);
}

void nr_file_close(struct nr_file *file)
{
    if (file) file->env->ops->file_close(file);
}

nori_status nr_file_read_all(struct nr_dir *dir, const char *name, size_t limit, struct nr_buffer *data,
                             struct nori_error *err)
{
    nori_status rc;
    struct nr_file *file = NULL;
    uint64_t size;
    size_t got;

    nr_buffer_clear(data);
    NR_CHECK(nr_file_open(dir, name, NR_OPEN_READ, &file, err));
    NR_CHECK(nr_file_size(file, &size, err));
    if (size > limit) {
        rc = nr_fail_corrupt(err, file->path, -1, "file", "%s is %" PRIu64 " bytes, at most %zu are expected",
                             file->path, size, limit);
        goto out;
    }
    NR_CHECK(nr_buffer_reserve(data, (size_t)size, err));
    NR_CHECK(nr_file_read_at(file, 0, data->data, (size_t)size, &got, err));
    data->size = got;
out:
    nr_file_close(file);
    return rc;
}

/* A temporary that a crash left behind is of no use to anyone. */
static nori_status create_anew(struct nr_dir *dir, const char *name, struct nr_file **file_out, struct nori_error *err)
{
    nori_status rc;
    struct nori_error first;

    nr_error_clear(&first);
    rc = nr_file_open(dir, name, NR_OPEN_CREATE, file_out, &first);
    if (rc != NORI_IO || first.sys_errno != EEXIST) {
        if (rc != NORI_OK && err) *err = first;
        return rc;
    }
    NR_CHECK(nr_dir_unlink(dir, name, err));
    NR_CHECK(nr_file_open(dir, name, NR_OPEN_CREATE, file_out, err));
out:
    return rc;
}

static nori_status replace(struct nr_dir *dir, const char *temporary, const char *name, nori_slice data, bool is_synced,
                           struct nori_error *err)
{
    nori_status rc;
    struct nr_file *file = NULL;
    bool is_left = false;

    NR_CHECK(create_anew(dir, temporary, &file, err));
    is_left = true;
    NR_CHECK(nr_file_append(file, data, err));
    if (is_synced) NR_CHECK(nr_file_sync(file, err));
    NR_CHECK(nr_dir_rename(dir, temporary, dir, name, err));
    is_left = false;
    if (is_synced) NR_CHECK(nr_dir_sync(dir, err));
out:
    nr_file_close(file);
    if (is_left) {
        /* If this fails too, the next replacement takes it away; the first failure is the one to tell. */
        nori_status ignored = nr_dir_unlink(dir, temporary, NULL);
        (void)ignored;
    }
    return rc;
}

nori_status nr_file_replace(struct nr_dir *dir, const char *temporary, const char *name, nori_slice data,
                            struct nori_error *err)
{
    return replace(dir, temporary, name, data, true, err);
}

nori_status nr_file_replace_unsynced(struct nr_dir *dir, const char *temporary, const char *name, nori_slice data,
                                     struct nori_error *err)
{
    return replace(dir, temporary, name, data, false, err);
}

nori_status nr_log_create(struct nr_dir *dir, const char *name, const char *recycle, uint64_t size_bytes, bool mapped,
                          struct nr_log **log_out, struct nori_error *err)
{
    *log_out = NULL;
    return dir->env->ops->log_create(dir, name, recycle, size_bytes, mapped, log_out, err);
}

nori_status nr_log_reserve(struct nr_log *log, uint64_t end, bool may_wait, struct nori_error *err)
{
    return log->env->ops->log_reserve(log, end, may_wait, err);
}

nori_status nr_log_publish(struct nr_log *log, uint64_t offset, nori_slice first, nori_slice second,
                           struct nori_error *err)
{
    return log->env->ops->log_publish(log, offset, first, second, err);
}

nori_status nr_log_sync(struct nr_log *log, struct nori_error *err)
{
    return log->env->ops->log_sync(log, err);
}

nori_status nr_log_prepare(struct nr_log *log, uint64_t end, struct nori_error *err)
{
    return log->env->ops->log_prepare(log, end, err);
}

bool nr_log_is_mapped(const struct nr_log *log)
{
    return log->env->ops->log_is_mapped(log);
}

void nr_log_close(struct nr_log *log)
{
    if (log) log->env->ops->log_close(log);
}

bool nr_dir_can_map(struct nr_dir *dir)
{
    return dir->env->ops->can_map(dir);
}

bool nr_dir_may_create(struct nr_dir *dir)
{
    return dir->env->ops->may_create(dir);
}

uint64_t nr_env_monotonic_us(struct nori_env *env)
{
    return env->ops->monotonic_us(env);
}

uint64_t nr_env_wall_ms(struct nori_env *env)
{
    return env->ops->wall_ms(env);
}

void nr_env_sleep_us(struct nori_env *env, uint64_t us)
{
    env->ops->sleep_us(env, us);
}

nori_status nr_thread_start(struct nori_env *env, const char *name, void (*fn)(void *arg), void *arg,
                            struct nr_thread **thread_out, struct nori_error *err)
{
    *thread_out = NULL;
    return env->ops->thread_start(env, name, fn, arg, thread_out, err);
}

void nr_thread_join(struct nr_thread *thread)
{
    if (thread) thread->env->ops->thread_join(thread);
}

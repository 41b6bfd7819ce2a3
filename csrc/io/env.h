/* The environment: everything the engine asks of a system, behind one table of functions.
 *
 * Two implement it: the operating system's (io/posix_*.c) and the simulated disk (io/simdisk*.c). Reads and writes are
 * resumed after short counts and EINTR; sync and close are not. Names are relative to a directory handle and contain no
 * '/'; nothing below a directory follows a symlink. Every failure is NORI_IO with errno and path. Handles are freed by
 * close, which accepts NULL.
 *
 * A log is a file of fixed greatest size written from front to back at memory speed (wal/). Once nr_log_reserve has
 * said yes to an end, publishing bytes below that end cannot fail for a mapped log and needs no system call; for a
 * written log it is one write(2) and may fail. Bytes published survive the process; bytes synced survive the power. */
#ifndef NR_IO_ENV_H
#define NR_IO_ENV_H

#include <stdatomic.h>

#include "base/buffer.h"

struct nr_dir;
struct nr_file;
struct nr_log;
struct nr_thread;

enum nr_io_op {
    NR_IO_OPEN_DIR,
    NR_IO_MKDIR,
    NR_IO_LIST,
    NR_IO_CREATE,
    NR_IO_OPEN,
    NR_IO_READ,
    NR_IO_WRITE,
    NR_IO_SYNC,
    NR_IO_DIR_SYNC,
    NR_IO_RENAME,
    NR_IO_UNLINK,
    NR_IO_LINK,
    NR_IO_LOCK,
    NR_IO_LOG_RESERVE,
    NR_IO_LOG_PUBLISH,
    NR_IO_LOG_SYNC,
    NR_IO_OP_COUNT
};

enum nr_open_mode {
    NR_OPEN_READ,   /* Must exist. A regular file, or NORI_IO. */
    NR_OPEN_CREATE, /* For appending; must not exist (EEXIST). Mode 0600 whatever the umask. */
    NR_OPEN_APPEND, /* Must exist. */
};

struct nori_env {
    const struct nr_env_ops *ops;
    bool inline_background; /* No threads: work runs inside the calls that need it. */
    /* Rises when the power is cut or the process is killed, in a simulation: handles of before are dead. */
    _Atomic uint64_t generation;
};

struct nr_env_ops {
    /* Directories. 'path' may be or hold symlinks. 'create': make it (0700, parents not) if it is missing. */
    nori_status (*dir_open)(struct nori_env *env, const char *path, bool create, struct nr_dir **dir_out,
                            struct nori_error *err);
    /* A directory below 'parent', not followed if a symlink. */
    nori_status (*dir_open_at)(struct nr_dir *parent, const char *name, bool create, struct nr_dir **dir_out,
                               struct nori_error *err);
    nori_status (*dir_sync)(struct nr_dir *dir, struct nori_error *err);
    nori_status (*dir_list)(struct nr_dir *dir, void (*fn)(void *arg, const char *name), void *arg,
                            struct nori_error *err);
    void (*dir_close)(struct nr_dir *dir);
    nori_status (*dir_remove)(struct nr_dir *parent, const char *name, struct nori_error *err); /* rmdir */
    nori_status (*rename)(struct nr_dir *from, const char *from_name, struct nr_dir *to, const char *to_name,
                          struct nori_error *err); /* Atomic; replaces a file. A directory onto nothing, too. */
    nori_status (*link)(struct nr_dir *from, const char *from_name, struct nr_dir *to, const char *to_name,
                        struct nori_error *err); /* Hard link; EXDEV, EPERM where it cannot. */
    nori_status (*unlink)(struct nr_dir *dir, const char *name, struct nori_error *err);
    nori_status (*exists)(struct nr_dir *dir, const char *name, bool *exists_out, struct nori_error *err);
    /* Takes the exclusive lock of file 'name' (created if missing): NORI_LOCKED at once if another handle has it, in
     * this process or another. Goes with the process; unlock gives it back. 'is_shared': beside others that are
     * shared, too, and the file must be there: nothing is written, and nothing needs to be writable. */
    nori_status (*lock)(struct nr_dir *dir, const char *name, bool is_shared, struct nr_file **lock_out,
                        struct nori_error *err);
    void (*unlock)(struct nr_file *lock);

    /* Files. read_at: '*got_out' is less than size only at the end of the file. */
    nori_status (*file_open)(struct nr_dir *dir, const char *name, enum nr_open_mode mode, struct nr_file **file_out,
                             struct nori_error *err);
    nori_status (*file_read_at)(struct nr_file *file, uint64_t offset, uint8_t *data, size_t size, size_t *got_out,
                                struct nori_error *err);
    /* All of it, if it is in memory; false: it would have to wait for the disk, or that cannot be told. NULL: never. */
    bool (*file_read_now)(struct nr_file *file, uint64_t offset, uint8_t *data, size_t size);
    nori_status (*file_append)(struct nr_file *file, nori_slice data, struct nori_error *err);
    nori_status (*file_sync)(struct nr_file *file, struct nori_error *err); /* Data and size. */
    nori_status (*file_size)(struct nr_file *file, uint64_t *size_out, struct nori_error *err);
    void (*file_readahead)(struct nr_file *file, uint64_t offset, size_t size); /* A hint; may do nothing. */
    /* A hint as well: what was appended there may go to the disk from now on. A sync has to follow all the same. */
    void (*file_write_behind)(struct nr_file *file, uint64_t offset, uint64_t size);
    void (*file_close)(struct nr_file *file);

    /* Logs. Creates 'name', or renames 'recycle' (NULL: none; a file of this directory whose content does not matter)
     * to it and uses its blocks. EEXIST if 'name' is there. */
    nori_status (*log_create)(struct nr_dir *dir, const char *name, const char *recycle, uint64_t size_bytes,
                              bool mapped, struct nr_log **log_out, struct nori_error *err);
    /* Makes [0, end) ready to be published (end <= size_bytes). ENOSPC and the like: nothing is lost. With 'may_wait'
     * false, NORI_AGAIN where that takes a system call. */
    nori_status (*log_reserve)(struct nr_log *log, uint64_t end, bool may_wait, struct nori_error *err);
    /* Puts the bytes of both slices, joined, at 'offset' (reserved). One caller at a time, rising offsets. */
    nori_status (*log_publish)(struct nr_log *log, uint64_t offset, nori_slice first, nori_slice second,
                               struct nori_error *err);
    nori_status (*log_sync)(struct nr_log *log, struct nori_error *err); /* All that was published before the call. */
    /* A worker's call beside the writer's: blocks written and pages present up to 'end'. */
    nori_status (*log_prepare)(struct nr_log *log, uint64_t end, struct nori_error *err);
    bool (*log_is_mapped)(const struct nr_log *log);
    void (*log_close)(struct nr_log *log);
    bool (*can_map)(struct nr_dir *dir);    /* Writing through a mapping cannot fail here (ext4, xfs, tmpfs). */
    bool (*may_create)(struct nr_dir *dir); /* Permissions, and how it is mounted, let this process make files. */

    /* Clocks. */
    uint64_t (*monotonic_us)(struct nori_env *env);
    uint64_t (*wall_ms)(struct nori_env *env);
    void (*sleep_us)(struct nori_env *env, uint64_t us); /* A simulated one moves the clocks instead. */

    /* Threads; never asked where inline_background. The name is at most 15 bytes. All signals are blocked in it. */
    nori_status (*thread_start)(struct nori_env *env, const char *name, void (*fn)(void *arg), void *arg,
                                struct nr_thread **thread_out, struct nori_error *err);
    void (*thread_join)(struct nr_thread *thread); /* Frees it. */
};

/* Every handle begins with its environment. */
struct nr_dir {
    struct nori_env *env;
    char *path; /* Owned; for messages and children. */
};
struct nr_file {
    struct nori_env *env;
    char *path; /* Owned. */
};
struct nr_log {
    struct nori_env *env;
    char *path; /* Owned. */
    uint64_t size_bytes;
};
struct nr_thread {
    struct nori_env *env;
};

/* Thin wrappers (io/env.c), so that callers read well: nr_dir_open(env, ...), nr_file_read_at(file, ...), ... */
NORI_WARN_UNUSED nori_status nr_dir_open(struct nori_env *env, const char *path, bool create, struct nr_dir **dir_out,
                                         struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_dir_open_at(struct nr_dir *parent, const char *name, bool create,
                                            struct nr_dir **dir_out, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_dir_sync(struct nr_dir *dir, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_dir_list(struct nr_dir *dir, void (*fn)(void *arg, const char *name), void *arg,
                                         struct nori_error *err);
void nr_dir_close(struct nr_dir *dir);
NORI_WARN_UNUSED nori_status nr_dir_remove(struct nr_dir *parent, const char *name, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_dir_rename(struct nr_dir *from, const char *from_name, struct nr_dir *to,
                                           const char *to_name, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_dir_link(struct nr_dir *from, const char *from_name, struct nr_dir *to,
                                         const char *to_name, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_dir_unlink(struct nr_dir *dir, const char *name, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_dir_exists(struct nr_dir *dir, const char *name, bool *exists_out,
                                           struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_dir_lock(struct nr_dir *dir, const char *name, struct nr_file **lock_out,
                                         struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_dir_lock_shared(struct nr_dir *dir, const char *name, struct nr_file **lock_out,
                                                struct nori_error *err);
void nr_dir_unlock(struct nr_file *lock); /* NULL is fine. */

NORI_WARN_UNUSED nori_status nr_file_open(struct nr_dir *dir, const char *name, enum nr_open_mode mode,
                                          struct nr_file **file_out, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_file_read_at(struct nr_file *file, uint64_t offset, uint8_t *data, size_t size,
                                             size_t *got_out, struct nori_error *err);
bool nr_file_read_now(struct nr_file *file, uint64_t offset, uint8_t *data, size_t size);
NORI_WARN_UNUSED nori_status nr_file_append(struct nr_file *file, nori_slice data, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_file_sync(struct nr_file *file, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_file_size(struct nr_file *file, uint64_t *size_out, struct nori_error *err);
void nr_file_readahead(struct nr_file *file, uint64_t offset, size_t size);
void nr_file_write_behind(struct nr_file *file, uint64_t offset, uint64_t size);
void nr_file_close(struct nr_file *file);

/* A whole small file: CORRUPTION if it is larger than 'limit'. 'data' is cleared first. */
NORI_WARN_UNUSED nori_status nr_file_read_all(struct nr_dir *dir, const char *name, size_t limit,
                                              struct nr_buffer *data, struct nori_error *err);
/* Writes 'temporary', syncs it, renames it to 'name', syncs the directory. */
NORI_WARN_UNUSED nori_status nr_file_replace(struct nr_dir *dir, const char *temporary, const char *name,
                                             nori_slice data, struct nori_error *err);
/* The same without syncing anything, for what may be lost: after a power cut 'name' may hold anything. */
NORI_WARN_UNUSED nori_status nr_file_replace_unsynced(struct nr_dir *dir, const char *temporary, const char *name,
                                                      nori_slice data, struct nori_error *err);

NORI_WARN_UNUSED nori_status nr_log_create(struct nr_dir *dir, const char *name, const char *recycle,
                                           uint64_t size_bytes, bool mapped, struct nr_log **log_out,
                                           struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_log_reserve(struct nr_log *log, uint64_t end, bool may_wait, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_log_publish(struct nr_log *log, uint64_t offset, nori_slice first, nori_slice second,
                                            struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_log_sync(struct nr_log *log, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_log_prepare(struct nr_log *log, uint64_t end, struct nori_error *err);
bool nr_log_is_mapped(const struct nr_log *log);
void nr_log_close(struct nr_log *log);
bool nr_dir_can_map(struct nr_dir *dir);
bool nr_dir_may_create(struct nr_dir *dir);

static inline uint64_t nr_env_generation(const struct nori_env *env)
{
    return atomic_load_explicit(&env->generation, memory_order_relaxed);
}
uint64_t nr_env_monotonic_us(struct nori_env *env);
uint64_t nr_env_wall_ms(struct nori_env *env);
void nr_env_sleep_us(struct nori_env *env, uint64_t us);
NORI_WARN_UNUSED nori_status nr_thread_start(struct nori_env *env, const char *name, void (*fn)(void *arg), void *arg,
                                             struct nr_thread **thread_out, struct nori_error *err);
void nr_thread_join(struct nr_thread *thread);

unsigned nr_processor_count(void); /* Of the machine; at least 1. */
/* The calling thread's work is long and nobody waits for its next step: when it wakes up it does not push aside what
 * runs. Its share of the processor stays the same. A hint; a system without such a thing ignores it. */
void nr_thread_set_batch(void);

/* Rises in a forked child; a handle opened under another value is the parent's. */
uint64_t nr_fork_generation(void);

#endif

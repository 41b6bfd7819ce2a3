/* The operating system's environment, in parts: posix_dir.c, posix_file.c, posix_log.c, posix_thread.c; posix.c puts
 * them together. Only these, and the simulated disk for its threads, include this.
 *
 * Everything below a directory is reached from its descriptor. A descriptor that is opened is checked to be a regular
 * file, and opened so that a FIFO in its place cannot make the open wait. */
#ifndef NR_IO_POSIX_H
#define NR_IO_POSIX_H

#include "io/env.h"

struct nr_posix_dir {
    struct nr_dir base;
    int fd;
};

int nr_posix_dir_fd(const struct nr_dir *dir);

/* Opens 'name' below 'dir' with 'flags' (O_CLOEXEC and the like are added; O_CREAT makes mode 0600 whatever the umask).
 * NORI_IO with EINVAL if it is not a regular file. '*fd_out' is -1 on failure. */
NORI_WARN_UNUSED nori_status nr_posix_open_at(const struct nr_dir *dir, const char *name, int flags, int *fd_out,
                                              struct nori_error *err);
/* Data and size on the disk, or an errno. Never retried. */
int nr_posix_sync_data(int fd);

nori_status nr_posix_dir_open(struct nori_env *env, const char *path, bool create, struct nr_dir **dir_out,
                              struct nori_error *err);
nori_status nr_posix_dir_open_at(struct nr_dir *parent, const char *name, bool create, struct nr_dir **dir_out,
                                 struct nori_error *err);
nori_status nr_posix_dir_sync(struct nr_dir *dir, struct nori_error *err);
nori_status nr_posix_dir_list(struct nr_dir *dir, void (*fn)(void *arg, const char *name), void *arg,
                              struct nori_error *err);
void nr_posix_dir_close(struct nr_dir *dir);
nori_status nr_posix_dir_remove(struct nr_dir *parent, const char *name, struct nori_error *err);
nori_status nr_posix_rename(struct nr_dir *from, const char *from_name, struct nr_dir *to, const char *to_name,
                            struct nori_error *err);
nori_status nr_posix_link(struct nr_dir *from, const char *from_name, struct nr_dir *to, const char *to_name,
                          struct nori_error *err);
nori_status nr_posix_unlink(struct nr_dir *dir, const char *name, struct nori_error *err);
nori_status nr_posix_exists(struct nr_dir *dir, const char *name, bool *exists_out, struct nori_error *err);
bool nr_posix_can_map(struct nr_dir *dir);
bool nr_posix_may_create(struct nr_dir *dir);

nori_status nr_posix_lock(struct nr_dir *dir, const char *name, bool is_shared, struct nr_file **lock_out,
                          struct nori_error *err);
void nr_posix_unlock(struct nr_file *lock);

nori_status nr_posix_file_open(struct nr_dir *dir, const char *name, enum nr_open_mode mode, struct nr_file **file_out,
                               struct nori_error *err);
nori_status nr_posix_file_read_at(struct nr_file *file, uint64_t offset, uint8_t *data, size_t size, size_t *got_out,
                                  struct nori_error *err);
bool nr_posix_file_read_now(struct nr_file *file, uint64_t offset, uint8_t *data, size_t size);
nori_status nr_posix_file_append(struct nr_file *file, nori_slice data, struct nori_error *err);
nori_status nr_posix_file_sync(struct nr_file *file, struct nori_error *err);
nori_status nr_posix_file_size(struct nr_file *file, uint64_t *size_out, struct nori_error *err);
void nr_posix_file_readahead(struct nr_file *file, uint64_t offset, size_t size);
void nr_posix_file_write_behind(struct nr_file *file, uint64_t offset, uint64_t size);
void nr_posix_file_close(struct nr_file *file);

nori_status nr_posix_log_create(struct nr_dir *dir, const char *name, const char *recycle, uint64_t size_bytes,
                                bool mapped, struct nr_log **log_out, struct nori_error *err);
nori_status nr_posix_log_reserve(struct nr_log *log, uint64_t end, bool may_wait, struct nori_error *err);
nori_status nr_posix_log_publish(struct nr_log *log, uint64_t offset, nori_slice first, nori_slice second,
                                 struct nori_error *err);
nori_status nr_posix_log_sync(struct nr_log *log, struct nori_error *err);
nori_status nr_posix_log_prepare(struct nr_log *log, uint64_t end, struct nori_error *err);
bool nr_posix_log_is_mapped(const struct nr_log *log);
void nr_posix_log_close(struct nr_log *log);

/* 'env' is only what the thread's handle begins with (or NULL: not looked at). */
uint64_t nr_posix_monotonic_us(struct nori_env *env);
uint64_t nr_posix_wall_ms(struct nori_env *env);
void nr_posix_sleep_us(struct nori_env *env, uint64_t us);
nori_status nr_posix_thread_start(struct nori_env *env, const char *name, void (*fn)(void *arg), void *arg,
                                  struct nr_thread **thread_out, struct nori_error *err);
void nr_posix_thread_join(struct nr_thread *thread);

/* Makes nr_fork_generation rise from now on. Idempotent. */
void nr_posix_watch_forks(void);
/* What fork() does to locks (posix_lock.c): no lock is being taken while a process forks, and the child keeps none. */
void nr_posix_locks_before_fork(void);
void nr_posix_locks_in_parent(void);
void nr_posix_locks_in_child(void);

#endif

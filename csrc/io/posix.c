#include "io/posix.h"

static const struct nr_env_ops posix_ops = {
    .dir_open = nr_posix_dir_open,
    .dir_open_at = nr_posix_dir_open_at,
    .dir_sync = nr_posix_dir_sync,
    .dir_list = nr_posix_dir_list,
    .dir_close = nr_posix_dir_close,
    .dir_remove = nr_posix_dir_remove,
    .rename = nr_posix_rename,
    .link = nr_posix_link,
    .unlink = nr_posix_unlink,
    .exists = nr_posix_exists,
    .lock = nr_posix_lock,
    .unlock = nr_posix_unlock,
    .file_open = nr_posix_file_open,
    .file_read_at = nr_posix_file_read_at,
    .file_read_now = nr_posix_file_read_now,
    .file_append = nr_posix_file_append,
    .file_sync = nr_posix_file_sync,
    .file_size = nr_posix_file_size,
    .file_readahead = nr_posix_file_readahead,
    .file_write_behind = nr_posix_file_write_behind,
    .file_close = nr_posix_file_close,
    .log_create = nr_posix_log_create,
    .log_reserve = nr_posix_log_reserve,
    .log_publish = nr_posix_log_publish,
    .log_sync = nr_posix_log_sync,
    .log_prepare = nr_posix_log_prepare,
    .log_is_mapped = nr_posix_log_is_mapped,
    .log_close = nr_posix_log_close,
    .can_map = nr_posix_can_map,
    .may_create = nr_posix_may_create,
    .monotonic_us = nr_posix_monotonic_us,
    .wall_ms = nr_posix_wall_ms,
    .sleep_us = nr_posix_sleep_us,
    .thread_start = nr_posix_thread_start,
    .thread_join = nr_posix_thread_join,
};

static struct nori_env posix_env = {.ops = &posix_ops, .inline_background = false};

struct nori_env *nori_env_default(void)
{
    nr_posix_watch_forks();
    return &posix_env;
}

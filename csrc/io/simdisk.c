/* The disk itself: its beginning and end, operations and their faults, power loss, clocks. */
#include "io/simdisk.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "io/path.h"
#include "io/posix.h"

#define MONOTONIC_START_US 1000000ull
#define WALL_START_MS 1700000000000ull

static const char *const op_names[NR_IO_OP_COUNT] = {
    [NR_IO_OPEN_DIR] = "open_dir",
    [NR_IO_MKDIR] = "mkdir",
    [NR_IO_LIST] = "list",
    [NR_IO_CREATE] = "create",
    [NR_IO_OPEN] = "open",
    [NR_IO_READ] = "read",
    [NR_IO_WRITE] = "write",
    [NR_IO_SYNC] = "sync",
    [NR_IO_DIR_SYNC] = "dir_sync",
    [NR_IO_RENAME] = "rename",
    [NR_IO_UNLINK] = "unlink",
    [NR_IO_LINK] = "link",
    [NR_IO_LOCK] = "lock",
    [NR_IO_LOG_RESERVE] = "log_reserve",
    [NR_IO_LOG_PUBLISH] = "log_publish",
    [NR_IO_LOG_SYNC] = "log_sync",
};

const char *nori_simdisk_op_name(unsigned index)
{
    return index < NR_IO_OP_COUNT ? op_names[index] : NULL;
}

/* NR_IO_OP_COUNT if there is none of that name. */
static enum nr_io_op op_named(const char *name)
{
    unsigned op = 0;
    while (op < NR_IO_OP_COUNT && strcmp(op_names[op], name) != 0) op++;
    return (enum nr_io_op)op;
}

nori_status nr_sim_result(struct nori_error *err, int code, const char *verb, const char *directory, const char *name)
{
    if (NR_LIKELY(code == 0)) return NORI_OK;
    if (code == ENOMEM) return nr_fail_memory(err, NR_SIM_PAGE_BYTES);
    return nr_path_fail(err, verb, directory, name, code);
}

/* ---------------------------------------------------------------- operations and faults */

/* Counts all armed faults down; the first that is due is returned, and all that are due are spent. */
static struct nr_sim_verdict ask_faults(struct nr_sim_disk *disk, enum nr_io_op op)
{
    struct nr_sim_verdict verdict = {0};
    size_t kept = 0;
    for (size_t i = 0; i < disk->fault_count; i++) {
        struct nr_sim_fault fault = disk->faults[i];
        if ((fault.op == op || fault.op == NR_IO_OP_COUNT) && --fault.left == 0) {
            if (!verdict.is_fault)
                verdict = (struct nr_sim_verdict){fault.sys_errno, true, fault.is_short && fault.sys_errno != 0};
            continue;
        }
        disk->faults[kept++] = fault;
    }
    disk->fault_count = kept;
    return verdict;
}

struct nr_sim_verdict nr_sim_begin(struct nr_sim_disk *disk, uint64_t generation, enum nr_io_op op)
{
    if (generation != nr_env_generation(&disk->env)) return (struct nr_sim_verdict){.sys_errno = EIO};
    disk->operations[op]++;
    disk->operation_count++;
    if (disk->operation_count == disk->stop_count) disk->stopped_by = op;
    if (disk->operation_count >= disk->stop_count) return (struct nr_sim_verdict){.sys_errno = EIO};
    if (NR_LIKELY(disk->fault_count == 0)) return (struct nr_sim_verdict){0};
    struct nr_sim_verdict verdict = ask_faults(disk, op);
    /* Transfers are resumed after EINTR and after a short count without an error, so callers never see either. */
    bool is_transfer = op == NR_IO_READ || op == NR_IO_WRITE || op == NR_IO_LOG_PUBLISH;
    if (verdict.sys_errno == 0 || (is_transfer && verdict.sys_errno == EINTR)) return (struct nr_sim_verdict){0};
    if (!is_transfer) verdict.is_short = false;
    return verdict;
}

int nr_sim_look(const struct nr_sim_disk *disk, uint64_t generation)
{
    return generation != nr_env_generation(&disk->env) || disk->operation_count >= disk->stop_count ? EIO : 0;
}

size_t nr_sim_part(struct nr_sim_disk *disk, size_t size)
{
    return size <= 1 ? 0 : 1 + (size_t)nr_random_below(&disk->random, size - 1);
}

nori_status nori_simdisk_fail(struct nori_env *env, const char *op, uint64_t nth, int sys_errno, bool is_short,
                              struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(env);
    struct nr_sim_fault fault = {.op = op_named(op), .left = nth, .sys_errno = sys_errno, .is_short = is_short};
    if (fault.op == NR_IO_OP_COUNT && strcmp(op, "any") != 0)
        return NR_FAIL(err, NORI_INVALID, "op: there is no operation '%s'", op);
    if (nth == 0) return NR_FAIL(err, NORI_INVALID, "nth: must be at least 1");
    if (sys_errno < 0 || (sys_errno == 0 && !is_short)) return NR_FAIL(err, NORI_INVALID, "errno: must be positive");

    nori_status rc = NORI_OK;
    nr_mutex_lock(&disk->mutex);
    if (disk->fault_count == disk->fault_capacity) {
        size_t capacity = disk->fault_capacity + 8;
        struct nr_sim_fault *faults = nr_realloc(disk->faults, capacity * sizeof(*faults));
        if (!faults) {
            rc = nr_fail_memory(err, capacity * sizeof(*faults));
            goto out;
        }
        disk->faults = faults;
        disk->fault_capacity = capacity;
    }
    disk->faults[disk->fault_count++] = fault;
out:
    nr_mutex_unlock(&disk->mutex);
    return rc;
}

void nori_simdisk_stop_at(struct nori_env *env, uint64_t nth)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(env);
    nr_mutex_lock(&disk->mutex);
    bool is_never = nth == 0 || nth > UINT64_MAX - disk->operation_count;
    disk->stop_count = is_never ? UINT64_MAX : disk->operation_count + nth;
    nr_mutex_unlock(&disk->mutex);
}

const char *nori_simdisk_stopped(struct nori_env *env)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(env);
    nr_mutex_lock(&disk->mutex);
    const char *name = disk->operation_count >= disk->stop_count ? op_names[disk->stopped_by] : NULL;
    nr_mutex_unlock(&disk->mutex);
    return name;
}

void nori_simdisk_clear_faults(struct nori_env *env)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(env);
    nr_mutex_lock(&disk->mutex);
    disk->fault_count = 0;
    disk->stop_count = UINT64_MAX;
    nr_mutex_unlock(&disk->mutex);
}

uint64_t nori_simdisk_operations(struct nori_env *env, const char *op)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(env);
    enum nr_io_op index = op ? op_named(op) : NR_IO_OP_COUNT;
    uint64_t count = 0;
    nr_mutex_lock(&disk->mutex);
    if (!op)
        count = disk->operation_count;
    else if (index < NR_IO_OP_COUNT)
        count = disk->operations[index];
    nr_mutex_unlock(&disk->mutex);
    return count;
}

/* ---------------------------------------------------------------- power */

static double draw_keep(struct nr_sim_disk *disk)
{
    uint64_t kind = nr_random_below(&disk->random, 3);
    return kind == 0 ? 0.0 : kind == 1 ? 1.0 : nr_random_unit(&disk->random);
}

nori_status nori_simdisk_crash(struct nori_env *env, double keep, struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(env);
    if (!(keep <= 1.0)) return NR_FAIL(err, NORI_INVALID, "keep: must be at most 1.0");
    nr_mutex_lock(&disk->mutex);
    if (keep < 0) keep = draw_keep(disk);
    nr_sim_tree_crash(disk, keep);
    for (struct nr_sim_inode *inode = disk->inodes; inode; inode = inode->next)
        if (!inode->is_dir) nr_sim_inode_crash(disk, inode, keep);
    atomic_fetch_add(&disk->env.generation, 1);
    disk->stop_count = UINT64_MAX;
    nr_mutex_unlock(&disk->mutex);
    return NORI_OK;
}

void nori_simdisk_kill(struct nori_env *env)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(env);
    nr_mutex_lock(&disk->mutex);
    atomic_fetch_add(&disk->env.generation, 1);
    disk->stop_count = UINT64_MAX;
    nr_mutex_unlock(&disk->mutex);
}

/* ---------------------------------------------------------------- clocks */

/* What has passed, for both clocks. */
static uint64_t elapsed_us(struct nr_sim_disk *disk)
{
    uint64_t real = disk->env.inline_background ? 0 : nr_posix_monotonic_us(NULL) - disk->started_us;
    return real + atomic_load_explicit(&disk->slept_us, memory_order_relaxed);
}

static uint64_t monotonic_us(struct nori_env *env)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(env);
    return MONOTONIC_START_US + elapsed_us(disk) +
           atomic_load_explicit(&disk->monotonic_ahead_us, memory_order_relaxed);
}

static uint64_t wall_ms(struct nori_env *env)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(env);
    uint64_t unmoved = WALL_START_MS + elapsed_us(disk) / 1000;
    int64_t ahead = atomic_load_explicit(&disk->wall_ahead_ms, memory_order_relaxed);
    if (ahead >= 0) return unmoved + (uint64_t)ahead;
    uint64_t behind = 0 - (uint64_t)ahead;
    return behind < unmoved ? unmoved - behind : 0;
}

uint64_t nori_simdisk_wall_ms(struct nori_env *env)
{
    return wall_ms(env);
}

void nori_simdisk_advance(struct nori_env *env, int64_t monotonic_by_us, int64_t wall_by_ms)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(env);
    if (monotonic_by_us > 0) atomic_fetch_add(&disk->monotonic_ahead_us, (uint64_t)monotonic_by_us);
    nr_mutex_lock(&disk->mutex);
    int64_t ahead = atomic_load(&disk->wall_ahead_ms);
    if (__builtin_add_overflow(ahead, wall_by_ms, &ahead)) ahead = wall_by_ms < 0 ? INT64_MIN : INT64_MAX;
    atomic_store(&disk->wall_ahead_ms, ahead);
    nr_mutex_unlock(&disk->mutex);
}

static void sleep_us(struct nori_env *env, uint64_t us)
{
    /* Where threads run, real time moves the clocks. */
    if (env->inline_background)
        atomic_fetch_add(&nr_sim_disk_of(env)->slept_us, us);
    else
        nr_posix_sleep_us(env, us);
}

/* ---------------------------------------------------------------- beginning and end */

static const struct nr_env_ops sim_ops = {
    .dir_open = nr_sim_dir_open,
    .dir_open_at = nr_sim_dir_open_at,
    .dir_sync = nr_sim_dir_sync,
    .dir_list = nr_sim_dir_list,
    .dir_close = nr_sim_dir_close,
    .dir_remove = nr_sim_dir_remove,
    .rename = nr_sim_dir_rename,
    .link = nr_sim_dir_link,
    .unlink = nr_sim_dir_unlink,
    .exists = nr_sim_dir_exists,
    .lock = nr_sim_lock,
    .unlock = nr_sim_unlock,
    .file_open = nr_sim_file_open,
    .file_read_at = nr_sim_file_read_at,
    .file_append = nr_sim_file_append,
    .file_sync = nr_sim_file_sync,
    .file_size = nr_sim_file_size,
    .file_readahead = nr_sim_file_readahead,
    .file_write_behind = nr_sim_file_write_behind,
    .file_close = nr_sim_file_close,
    .log_create = nr_sim_log_create,
    .log_reserve = nr_sim_log_reserve,
    .log_publish = nr_sim_log_publish,
    .log_sync = nr_sim_log_sync,
    .log_prepare = nr_sim_log_prepare,
    .log_is_mapped = nr_sim_log_is_mapped,
    .log_close = nr_sim_log_close,
    .can_map = nr_sim_dir_can_map,
    .may_create = nr_sim_dir_may_create,
    .monotonic_us = monotonic_us,
    .wall_ms = wall_ms,
    .sleep_us = sleep_us,
    .thread_start = nr_posix_thread_start,
    .thread_join = nr_posix_thread_join,
};

nori_status nori_simdisk_create(uint64_t seed, uint32_t sector, bool threads, struct nori_env **env_out,
                                struct nori_error *err)
{
    *env_out = NULL;
    if (sector != 512 && sector != 4096) return NR_FAIL(err, NORI_INVALID, "sector: must be 512 or 4096");
    struct nr_sim_disk *disk = nr_calloc(1, sizeof(*disk));
    if (!disk) return nr_fail_memory(err, sizeof(*disk));
    disk->root = nr_sim_inode_create(disk, true);
    if (!disk->root) {
        nr_free(disk);
        return nr_fail_memory(err, sizeof(*disk->root));
    }
    nr_posix_watch_forks();
    disk->root->links = 1;
    disk->env = (struct nori_env){.ops = &sim_ops, .inline_background = !threads};
    nr_mutex_init(&disk->mutex, NR_RANK_ENV);
    nr_random_init(&disk->random, seed);
    disk->sector_bytes = sector;
    atomic_init(&disk->env.generation, 1);
    disk->stop_count = UINT64_MAX;
    disk->started_us = nr_posix_monotonic_us(NULL);
    *env_out = &disk->env;
    return NORI_OK;
}

void nori_simdisk_destroy(struct nori_env *env)
{
    if (!env) return;
    struct nr_sim_disk *disk = nr_sim_disk_of(env);
    nr_sim_tree_clear(disk);
    nr_free(disk->faults);
    nr_mutex_destroy(&disk->mutex);
    nr_free(disk);
}

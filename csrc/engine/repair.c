#include "engine/repair.h"

#include <errno.h>

#include "base/alloc.h"
#include "compact/output.h"

#define ARENA_CHUNK_BYTES 4096

/* The tables of the target that are read again are few. */
#define OPEN_TABLES 64
#define CACHE_BYTES (16u << 20)

/* ---------------------------------------------------------------- source and target */

static size_t without_slashes(const char *path)
{
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/') size--;
    return size;
}

struct neighbours {
    bool are_ours;
};

static void look_at(void *arg, const char *name)
{
    uint64_t number;
    enum nr_file_kind kind = nr_name_parse(name, &number);
    if (kind == NR_FILE_MANIFEST || kind == NR_FILE_TABLE || kind == NR_FILE_SEGMENT)
        ((struct neighbours *)arg)->are_ours = true;
}

/* The new database must not lie in a database: neither by its name, nor by what stands beside it. */
static nori_status check_target(struct nr_repair *repair, struct nori_error *err)
{
    size_t size = without_slashes(repair->path);
    struct neighbours neighbours = {false};
    bool is_within =
        strncmp(repair->into, repair->path, size) == 0 && (repair->path[size - 1] == '/' || repair->into[size] == '/');
    if (!is_within) {
        nori_status rc = nr_dir_list(repair->target.parent, look_at, &neighbours, err);
        if (rc != NORI_OK) return rc;
    }
    if (is_within || neighbours.are_ours)
        return NR_FAIL(err, NORI_INVALID, "%s lies inside of a database", repair->into);
    return NORI_OK;
}

/* Keeps writers out, if anything can. */
static nori_status lock_source(struct nr_repair *repair, struct nori_error *err)
{
    struct nori_error own;
    nr_error_clear(&own);
    nori_status rc = nr_dir_lock_shared(repair->source, NR_LOCK_NAME, &repair->lock, &own);
    if (rc == NORI_IO && own.sys_errno == ENOENT) return NORI_OK;
    if (rc != NORI_OK && err) *err = own;
    return rc;
}

static uint64_t next_number(void *arg)
{
    return ((struct nr_repair *)arg)->next_number++;
}

static uint64_t next_run_id(void *arg)
{
    return ((struct nr_repair *)arg)->next_run_id++;
}

static nori_status begin_target(struct nr_repair *repair, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    uint64_t database_id = nr_database_id_make(repair->env, repair->into, repair);
    NR_CHECK(nr_target_begin(&repair->target, database_id & UINT32_MAX, err));
    const struct nr_table_cache_params params = {.epoch = &repair->epoch,
                                                 .dir = repair->target.dir,
                                                 .database_id = database_id,
                                                 .max_open_files = OPEN_TABLES,
                                                 .index_budget_bytes = CACHE_BYTES,
                                                 .filter_budget_bytes = CACHE_BYTES};
    NR_CHECK(nr_table_cache_create(&params, &repair->cache, err));
    repair->merging = (struct nr_merge_context){.env = repair->env,
                                                .dir = repair->target.dir,
                                                .database_id = database_id,
                                                .epoch = &repair->epoch,
                                                .tables = repair->cache,
                                                .options = &repair->options,
                                                .next_number = next_number,
                                                .next_run_id = next_run_id,
                                                .arg = repair};
out:
    return rc;
}

/* ---------------------------------------------------------------- all of it */

static nori_status repair_all(struct nr_repair *repair, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    NR_CHECK(nr_dir_open(repair->env, repair->path, false, &repair->source, err));
    NR_CHECK(nr_target_find(&repair->target, repair->env, "create repaired database", repair->into, err));
    NR_CHECK(check_target(repair, err));
    NR_CHECK(lock_source(repair, err));
    NR_CHECK(nr_repair_find_tables(repair, err));
    NR_CHECK(nr_repair_examine(repair, err));
    NR_CHECK(begin_target(repair, err));
    NR_CHECK(nr_repair_replay(repair, err));
    NR_CHECK(nr_repair_link(repair, err));
    NR_CHECK(nr_repair_write(repair, err));
out:
    return rc;
}

static void clear(struct nr_repair *repair)
{
    nr_memtable_unref(repair->memtable);
    for (size_t i = 0; i < repair->run_count; i++) nr_output_discard(&repair->merging, repair->runs[i], 0);
    nr_run_unref(repair->run);
    for (size_t i = 0; i < repair->log_tombstone_count; i++) nr_tombstones_unref(repair->log_tombstones[i]);
    for (size_t i = 0; i < repair->chain_count; i++) nr_free(repair->chains[i].pieces);
    for (size_t i = 0; i < repair->table_count; i++) {
        nr_tombstones_unref(repair->tables[i].tombstones);
        nr_table_damage_clear(&repair->tables[i].damage);
        nr_table_file_unref(repair->tables[i].file);
    }
    nr_free(repair->runs);
    nr_free(repair->log_tombstones);
    nr_free(repair->chains);
    nr_free(repair->pieces);
    nr_free(repair->lost);
    nr_free(repair->ranges);
    nr_free(repair->tables);
    nr_arena_clear(&repair->arena);
    nr_manifest_state_clear(&repair->state);
    nr_table_cache_destroy(repair->cache);
    nr_epoch_destroy(&repair->epoch);
    nr_target_clear(&repair->target);
    nr_dir_unlock(repair->lock);
    nr_dir_close(repair->source);
}

nori_status nori_repair(struct nori_env *env, const char *path, const char *into, bool keep_doubtful,
                        nori_progress_fn fn, void *arg, struct nori_repair_report *report_out, struct nori_error *err)
{
    struct nr_repair repair = {.env = env ? env : nori_env_default(),
                               .path = path,
                               .into = into,
                               .keeps_doubtful = keep_doubtful,
                               .report = report_out,
                               .fn = fn,
                               .arg = arg,
                               .next_number = 1,
                               .next_run_id = 1};
    memset(report_out, 0, sizeof *report_out);
    if (!*path || !*into) return NR_FAIL(err, NORI_INVALID, "a path is empty");
    nori_options_init(&repair.options);
    nr_arena_init(&repair.arena, ARENA_CHUNK_BYTES);
    nr_epoch_init(&repair.epoch);
    nori_status rc = repair_all(&repair, err);
    clear(&repair);
    if (rc != NORI_OK) nori_repair_report_clear(report_out);
    return rc;
}

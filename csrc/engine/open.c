/* Opening: directory, lock, options, recovery, workers. */
#include "engine/engine.h"

#include <errno.h>

#include "base/alloc.h"

#define LOCK_POLL_US 10000u

static uint64_t next_number(void *arg)
{
    return atomic_fetch_add(&((struct nori_engine *)arg)->next_file_number, 1);
}

static uint64_t next_run_id(void *arg)
{
    return atomic_fetch_add(&((struct nori_engine *)arg)->next_run_id, 1);
}

/* Merges ask before they write on; they end early when the engine does. The rate limit is of all of them together. */
static nori_status admit_bytes(void *arg, uint64_t bytes, struct nori_error *err)
{
    struct nori_engine *engine = arg;
    double limit = engine->options.io.rate_limit_mib_s;
    uint64_t now_us = limit > 0 ? nr_env_monotonic_us(engine->env) : 0, due_us = now_us;
    nr_mutex_lock(&engine->lock);
    bool stopping = engine->is_stopping;
    if (limit > 0) {
        due_us = NR_MAX(engine->rate_due_us, now_us) + (uint64_t)((double)bytes / limit * 1e6 / 1048576.0);
        engine->rate_due_us = due_us;
    }
    nr_mutex_unlock(&engine->lock);
    if (stopping) return nr_fail_closed(engine, err);
    if (due_us > now_us) nr_env_sleep_us(engine->env, due_us - now_us);
    return NORI_OK;
}

static void init_locks(struct nori_engine *engine)
{
    nr_mutex_init(&engine->inline_lock, NR_RANK_INLINE);
    nr_mutex_init(&engine->lock, NR_RANK_ENGINE);
    nr_mutex_init(&engine->commit_lock, NR_RANK_COMMIT);
    nr_mutex_init(&engine->view_lock, NR_RANK_VIEW);
    nr_mutex_init(&engine->pin_lock, NR_RANK_VIEW);
    nr_mutex_init(&engine->close_lock, NR_RANK_LEAF);
    nr_mutex_init(&engine->obsolete_lock, NR_RANK_LEAF);
    nr_mutex_init(&engine->maintenance_lock, NR_RANK_LEAF);
    nr_cond_init(&engine->work_cond);
    nr_cond_init(&engine->done_cond);
    nr_cond_init(&engine->close_cond);
    nr_cond_init(&engine->maintenance_cond);
    nr_cond_init(&engine->preparation_cond);
    nr_epoch_init(&engine->epoch);
    engine->pins.previous = engine->pins.next = &engine->pins;
}

static struct nori_engine *engine_create(const char *path, const struct nori_open_params *params)
{
    struct nori_engine *engine = nr_alloc_aligned(64, sizeof *engine);
    if (!engine) return NULL;
    memset(engine, 0, sizeof *engine);
    engine->path = nr_strdup(path);
    if (!engine->path || !nr_events_init(&engine->events)) goto no_path;
    if (!nr_decisions_init(&engine->decisions)) goto no_decisions;
    engine->env = params->env ? params->env : nori_env_default();
    engine->is_read_only = params->read_only;
    engine->fork_generation = nr_fork_generation();
    engine->env_generation = nr_env_generation(engine->env);
    atomic_init(&engine->state, NR_STATE_OPEN);
    init_locks(engine);
    if (nr_engine_has_threads(engine)) nr_epoch_leave_to_others(&engine->epoch);
    nr_random_init(&engine->random, nr_checksum(nr_env_monotonic_us(engine->env), nr_slice_text(path)));
    return engine;
no_decisions:
    nr_events_clear(&engine->events);
no_path:
    nr_free(engine->path);
    nr_free(engine);
    return NULL;
}

/* The lock, tried until 'wait_secs' have passed. */
static nori_status take_lock(struct nori_engine *engine, double wait_secs, struct nori_error *err)
{
    uint64_t begun_us = nr_env_monotonic_us(engine->env);
    for (;;) {
        nori_status rc = nr_dir_lock(engine->dir, NR_LOCK_NAME, &engine->lock_file, err);
        if (rc != NORI_LOCKED) return rc;
        if ((double)(nr_env_monotonic_us(engine->env) - begun_us) >= wait_secs * 1e6) return rc;
        rc = nr_interrupt_poll(err);
        if (rc != NORI_OK) return rc;
        nr_env_sleep_us(engine->env, LOCK_POLL_US);
    }
}

static nori_status check_presence(struct nori_engine *engine, const struct nori_open_params *params,
                                  enum nr_manifest_presence *presence_out, struct nori_error *err)
{
    nori_status rc = nr_manifest_detect(engine->dir, presence_out, err);
    if (rc != NORI_OK) return rc;
    if (*presence_out == NR_MANIFEST_ABSENT && (params->must_exist || params->read_only))
        return nr_fail_io(err, "open database", engine->path, ENOENT);
    if (*presence_out == NR_MANIFEST_PRESENT && params->must_not_exist)
        return nr_fail_io(err, "create database", engine->path, EEXIST);
    return NORI_OK;
}

nori_status nr_caches_open(struct nori_engine *engine, struct nori_error *err)
{
    const struct nori_options *options = &engine->options;
    struct nr_table_cache_params params = {
        .epoch = &engine->epoch,
        .dir = engine->dir,
        .database_id = engine->database_id,
        .max_open_files = (size_t)options->resources.max_open_files,
        .index_budget_bytes = (size_t)options->resources.index_cache_mib << 20,
        .filter_budget_bytes = (size_t)options->resources.filters_mib << 20,
    };
    nori_status rc =
        nr_block_cache_create(&engine->epoch, (size_t)options->resources.block_cache_mib << 20, &engine->blocks, err);
    if (rc != NORI_OK) return rc;
    params.blocks = engine->blocks;
    rc = nr_table_cache_create(&params, &engine->tables, err);
    if (rc != NORI_OK) return rc;
    engine->merging = (struct nr_merge_context){
        .env = engine->env,
        .dir = engine->dir,
        .database_id = engine->database_id,
        .epoch = &engine->epoch,
        .tables = engine->tables,
        .options = options,
        .next_number = next_number,
        .next_run_id = next_run_id,
        .admit_bytes = admit_bytes,
        .filter_bits = nr_filters_bits,
        .on_unreferenced = nr_file_unreferenced,
        .part_bytes = (uint64_t)options->io.compaction_slice_mib << 20,
        .job_bytes = &engine->job_bytes,
        .arg = engine,
    };
    return NORI_OK;
}

/* The directory's name must last as its content does, also where an earlier process made it and died: to create it
 * syncs its parent. Who made the lock's file had done so. */
static nori_status open_directory(struct nori_engine *engine, const struct nori_open_params *params,
                                  struct nori_error *err)
{
    struct nori_error own;
    bool has_lock = false, may_create = !params->must_exist && !params->read_only;
    nori_status rc = nr_dir_open(engine->env, engine->path, false, &engine->dir, &own);
    if (rc != NORI_OK && !(may_create && rc == NORI_IO && own.sys_errno == ENOENT)) {
        if (err) *err = own;
        goto out;
    }
    if (rc == NORI_OK) NR_CHECK(nr_dir_exists(engine->dir, NR_LOCK_NAME, &has_lock, err));
    if (has_lock || params->read_only) goto out;
    nr_dir_close(engine->dir);
    engine->dir = NULL;
    NR_CHECK(nr_dir_open(engine->env, engine->path, true, &engine->dir, err));
out:
    return rc;
}

static nori_status open_locked(struct nori_engine *engine, const struct nori_open_params *params,
                               struct nori_error *err)
{
    enum nr_manifest_presence presence;
    nori_status rc = NORI_OK;
    NR_CHECK(open_directory(engine, params, err));
    NR_CHECK(check_presence(engine, params, &presence, err));
    if (!params->read_only) {
        NR_CHECK(take_lock(engine, params->wait_secs, err));
        NR_CHECK(check_presence(engine, params, &presence, err));
    }
    if (presence == NR_MANIFEST_ABSENT)
        NR_CHECK(nr_database_create(engine, params, err));
    else
        NR_CHECK(nr_database_recover(engine, params, err));
    nr_scheduler_init(&engine->scheduler, &engine->options);
    engine->shape_costs = NR_SHAPE_DEFAULT_COSTS;
    if (!params->read_only) NR_CHECK(nr_learn_open(engine, err));
    nr_heat_load(engine);
    if (!params->read_only) {
        nr_workers_kick(engine);
        nr_pressure_update(engine);
        NR_CHECK(nr_workers_start(engine, err));
    }
out:
    return rc;
}

/* Before anything is touched: each override by itself. */
static nori_status check_overrides(const struct nori_open_params *params, struct nori_error *err)
{
    struct nori_options options;
    nori_status rc = NORI_OK;
    nori_options_init(&options);
    for (size_t i = 0; i < params->override_count && rc == NORI_OK; i++)
        rc = nori_options_set(&options, params->overrides[i].name, params->overrides[i].value, err);
    if (rc == NORI_OK && params->options) rc = nori_options_check(params->options, err);
    return rc;
}

nori_status nori_open(const char *path, const struct nori_open_params *params, struct nori_engine **engine_out,
                      struct nori_error *err)
{
    static const struct nori_open_params no_params;
    if (!params) params = &no_params;
    *engine_out = NULL;
    if (!path || !*path) return NR_FAIL(err, NORI_INVALID, "the path is empty");
    nori_status rc = check_overrides(params, err);
    if (rc != NORI_OK) return rc;
    struct nori_engine *engine = engine_create(path, params);
    if (!engine) return nr_fail_memory(err, sizeof *engine);
    rc = open_locked(engine, params, err);
    if (rc != NORI_OK) {
        nori_destroy(engine);
        return rc;
    }
    *engine_out = engine;
    return NORI_OK;
}

const char *nori_path(const struct nori_engine *engine)
{
    return engine->path;
}

bool nori_is_closed(const struct nori_engine *engine)
{
    return atomic_load(&engine->state) == NR_STATE_CLOSED;
}

bool nori_is_read_only(const struct nori_engine *engine)
{
    return engine->is_read_only;
}

const struct nori_options *nori_options_of(const struct nori_engine *engine)
{
    return &engine->options;
}

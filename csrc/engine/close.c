/* The orderly end, in seven steps: compaction stops, log collection stops, workers are joined, memtables flushed, the
 * log synced, a manifest snapshot written, heat saved. Whatever fails on the way, everything is given back. */
#include "engine/engine.h"

#include "base/alloc.h"

#define POLL_US 2000u

static bool is_anyone_inside(struct nori_engine *engine)
{
    for (unsigned i = 0; i < NR_EPOCH_STRIPES; i++) {
        if (atomic_load(&engine->stripes[i].inside) != 0) return true;
        if (atomic_load(&engine->epoch.stripes[i].active) != 0) return true;
    }
    return false;
}

static void wake_all(struct nori_engine *engine)
{
    nr_mutex_lock(&engine->lock);
    nr_cond_broadcast(&engine->done_cond);
    nr_cond_broadcast(&engine->work_cond);
    nr_mutex_unlock(&engine->lock);
}

static void keep_first(nori_status *first, nori_status rc, struct nori_error *err, const struct nori_error *error)
{
    if (rc == NORI_OK || *first != NORI_OK) return;
    *first = rc;
    if (err) *err = *error;
}

/* All memtables into tables. An engine that gets poisoned on the way flushes nothing more, and has not done it. */
static nori_status flush_all(struct nori_engine *engine, struct nori_error *err)
{
    bool done = true;
    uint64_t last_sequence;
    nori_status rc = NORI_OK;
    while (rc == NORI_OK && done) rc = nr_flush_once(engine, &done, err);
    if (rc == NORI_OK) rc = nr_engine_rotate(engine, &last_sequence, err);
    for (done = true; rc == NORI_OK && done;) rc = nr_flush_once(engine, &done, err);
    if (rc == NORI_OK && atomic_load(&engine->is_poisoned)) rc = nr_fail_poisoned(engine, err);
    return rc;
}

/* Nobody else syncs any more, so there is nothing to wait for. */
static nori_status sync_all(struct nori_engine *engine, struct nori_error *err)
{
    bool has_waited = false;
    return nr_wal_sync(engine->wal, nr_wal_end(engine->wal, NULL), &has_waited, err);
}

/* Whether the manifest says what one written now would. Its log number need not be above that of a segment without a
 * record: should it come back because its removal was not durable, it is an empty log. */
static bool is_unchanged(struct nori_engine *engine)
{
    uint64_t last_sequence;
    (void)nr_wal_end(engine->wal, &last_sequence);
    return !nr_manifest_has_edits(engine->manifest) && engine->counters.log_number > 1 &&
           !atomic_load(&engine->has_expiring) && last_sequence == engine->counters.flushed_sequence;
}

/* What is written to disk at the end. True if the log is not needed any more. */
static bool write_end(struct nori_engine *engine, nori_status *first, struct nori_error *err)
{
    struct nori_error error;
    if (engine->env_generation != nr_env_generation(engine->env))
        return false; /* Died with its disk: nothing to end. */
    if (atomic_load(&engine->is_poisoned)) {
        /* Nothing more is written; writes that nobody was told about may be lost with the power. */
        keep_first(first, nr_fail_poisoned(engine, &error), err, &error);
        return false;
    }
    nori_status rc = flush_all(engine, &error);
    keep_first(first, rc, err, &error);
    if (rc != NORI_OK) {
        /* The tables could not be written; the log still can be made safe. */
        if (!atomic_load(&engine->is_poisoned) && !atomic_load(&engine->is_recovery_pending))
            keep_first(first, sync_all(engine, &error), err, &error);
        return false;
    }
    if (is_unchanged(engine)) {
        nr_heat_save(engine);
        return true;
    }
    struct nr_view *view = nr_view_acquire(engine);
    uint64_t former = engine->counters.log_number;
    engine->counters.log_number = nr_wal_next_segment(engine->wal);
    rc = nr_manifest_renew(engine, view->version, &error);
    if (rc != NORI_OK) engine->counters.log_number = former;
    nr_view_release(view);
    keep_first(first, rc, err, &error);
    if (rc == NORI_OK) nr_heat_save(engine);
    return rc == NORI_OK;
}

/* Files and the lock. What calls that are outside still refer to stays. */
static void end_storage(struct nori_engine *engine, bool remove_log)
{
    if (atomic_load(&engine->outside) == 0) nr_scans_release(engine);
    if (engine->tables && engine->manifest) nr_obsolete_unlink(engine);
    atomic_store(&engine->is_releasing, true);
    if (engine->wal) nr_wal_close(engine->wal, remove_log);
    engine->wal = NULL;
    nr_manifest_close(engine->manifest);
    engine->manifest = NULL;
    nr_dir_unlock(engine->lock_file);
    engine->lock_file = NULL;
    nr_dir_close(engine->dir);
    engine->dir = NULL;
}

/* The rest. Nobody is inside or outside, but a scan that is being destroyed in another thread holds tables until then.
 */
static void release_memory(struct nori_engine *engine)
{
    nr_scans_release(engine);
    while (is_anyone_inside(engine)) nr_env_sleep_us(engine->env, POLL_US / 10);
    if (atomic_load(&engine->view)) nr_view_end(engine);
    nr_epoch_collect(&engine->epoch);
    while (engine->obsolete) {
        struct nr_table_file *file = engine->obsolete;
        engine->obsolete = file->next;
        nr_table_cache_drop(engine->tables, &file->handle, false);
        nr_table_file_free(file);
    }
    nr_epoch_collect(&engine->epoch);
    nr_table_cache_destroy(engine->tables);
    engine->tables = NULL;
    if (engine->blocks) nr_block_cache_destroy(engine->blocks);
    engine->blocks = NULL;
    nr_buffer_clear(&engine->scratch);
    nr_buffer_clear(&engine->options_text);
    nr_rewards_drop(engine);
}

/* Whether the caller is the one to give back the memory: the engine has ended, and no call is outside. */
static bool takes_memory(struct nori_engine *engine)
{
    bool takes = engine->is_ended && !engine->is_released && atomic_load(&engine->outside) == 0;
    if (takes) engine->is_released = true;
    return takes;
}

void nr_close_after(struct nori_engine *engine)
{
    nr_mutex_lock(&engine->close_lock);
    atomic_fetch_sub(&engine->outside, 1);
    bool takes = takes_memory(engine);
    nr_mutex_unlock(&engine->close_lock);
    if (takes) release_memory(engine);
}

/* An open that failed after it began a segment: nothing is in it, and no manifest needs it. The log of before stays.
 * Where a sync of the manifest failed the segment stays, too: it tells the next open to write another. */
static void abandon_log(struct nori_engine *engine)
{
    char name[NR_FILE_NAME_BYTES];
    struct nr_dir *wal_dir = NULL;
    uint64_t segment = nr_wal_end(engine->wal, NULL).segment;
    nr_wal_close(engine->wal, false);
    engine->wal = NULL;
    nr_name_segment(name, segment);
    if (nr_dir_open_at(engine->dir, NR_WAL_DIRECTORY, false, &wal_dir, NULL) != NORI_OK) return;
    if (nr_dir_unlink(wal_dir, name, NULL) != NORI_OK) {
        /* It stays, empty; the next open reads over it. */
    }
    nr_dir_close(wal_dir);
}

/* The sole closer, when nobody is inside. */
static nori_status close_now(struct nori_engine *engine, bool is_orderly, struct nori_error *err)
{
    nori_status first = NORI_OK;
    bool remove_log = false;
    nr_workers_stop(engine);
    nr_ingests_release(engine);
    if (!is_orderly && engine->wal && !engine->manifest && !atomic_load(&engine->is_poisoned)) abandon_log(engine);
    if (is_orderly && engine->wal) remove_log = write_end(engine, &first, err);
    end_storage(engine, remove_log);
    nr_mutex_lock(&engine->close_lock);
    engine->is_ended = true;
    bool takes = takes_memory(engine);
    nr_mutex_unlock(&engine->close_lock);
    if (takes) release_memory(engine);
    atomic_store(&engine->state, NR_STATE_CLOSED);
    return first;
}

/* Waits until nobody is inside, and becomes the closer; '*is_closer_out' false if another one was quicker. The epoch
 * has workers' readers in it, too: they are short. The thread's hook is asked on the way, and may close the engine
 * itself. */
static nori_status become_closer(struct nori_engine *engine, bool *is_closer_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    bool is_over = false;
    *is_closer_out = false;
    while (rc == NORI_OK && !is_over) {
        wake_all(engine);
        nr_mutex_lock(&engine->close_lock);
        if (atomic_load(&engine->state) == NR_STATE_CLOSED) {
            is_over = true;
        } else if (!engine->is_closer_active && !is_anyone_inside(engine)) {
            engine->is_closer_active = *is_closer_out = is_over = true;
        } else {
            rc = nr_cond_wait_turn(&engine->close_cond, &engine->close_lock, POLL_US, err);
        }
        nr_mutex_unlock(&engine->close_lock);
    }
    return rc;
}

nori_status nori_close(struct nori_engine *engine, struct nori_error *err)
{
    int open_state = NR_STATE_OPEN;
    bool is_closer;
    if (engine->fork_generation != nr_fork_generation()) return NORI_OK;
    atomic_compare_exchange_strong(&engine->state, &open_state, NR_STATE_CLOSING);
    nori_status rc = become_closer(engine, &is_closer, err);
    if (rc != NORI_OK || !is_closer) return rc;
    rc = close_now(engine, true, err);
    nr_mutex_lock(&engine->close_lock);
    engine->is_closer_active = false;
    nr_cond_broadcast(&engine->close_cond);
    nr_mutex_unlock(&engine->close_lock);
    return rc;
}

void nori_destroy(struct nori_engine *engine)
{
    if (!engine) return;
    /* In a forked child locks and threads are the parent's, frozen: the memory is left alone. */
    if (engine->fork_generation != nr_fork_generation()) return;
    if (atomic_load(&engine->state) != NR_STATE_CLOSED) {
        atomic_store(&engine->state, NR_STATE_CLOSING);
        if (close_now(engine, false, NULL) != NORI_OK) {
            /* A disorderly close does not fail. */
        }
    }
    nr_epoch_destroy(&engine->epoch);
    nr_mutex_destroy(&engine->inline_lock);
    nr_mutex_destroy(&engine->lock);
    nr_mutex_destroy(&engine->commit_lock);
    nr_mutex_destroy(&engine->view_lock);
    nr_mutex_destroy(&engine->pin_lock);
    nr_mutex_destroy(&engine->close_lock);
    nr_mutex_destroy(&engine->obsolete_lock);
    nr_mutex_destroy(&engine->maintenance_lock);
    nr_cond_destroy(&engine->work_cond);
    nr_cond_destroy(&engine->done_cond);
    nr_cond_destroy(&engine->close_cond);
    nr_cond_destroy(&engine->maintenance_cond);
    nr_cond_destroy(&engine->preparation_cond);
    nr_events_clear(&engine->events);
    nr_decisions_clear(&engine->decisions);
    nr_learn_close(engine);
    nr_free(engine->path);
    nr_free(engine);
}

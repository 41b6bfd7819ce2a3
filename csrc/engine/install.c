/* Installing edits, one at a time, and letting go of what they release.
 *
 * The order is fixed: tables are on disk, then the edit is written, then the view changes. A flush's edit is synced at
 * once; those of compactions, which hold the same data as before, share the sync that comes before the unlinking of
 * what they release: files and log segments go when the edits and the mark that promises them are on disk. */
#include "engine/engine.h"

#include "base/alloc.h"
#include "version/references.h"

/* What a compaction releases waits for the next ones, whose edits are synced with its own, but not for more than that:
 * so many files, or as much as so many tables. */
#define OBSOLETE_FILES 32
#define OBSOLETE_TABLES 4

void nr_turn_take(struct nori_engine *engine)
{
    nr_mutex_lock(&engine->lock);
    while (engine->is_manifest_busy) nr_cond_wait(&engine->done_cond, &engine->lock);
    engine->is_manifest_busy = true;
    nr_mutex_unlock(&engine->lock);
}

void nr_turn_give(struct nori_engine *engine)
{
    nr_mutex_lock(&engine->lock);
    engine->is_manifest_busy = false;
    nr_cond_broadcast(&engine->done_cond);
    nr_mutex_unlock(&engine->lock);
}

/* Numbers that were given out must never be given out again. */
static struct nr_counters counters_now(struct nori_engine *engine)
{
    struct nr_counters counters = engine->counters;
    counters.next_file_number = atomic_load(&engine->next_file_number);
    counters.next_run_id = atomic_load(&engine->next_run_id);
    counters.next_slot_id = atomic_load(&engine->next_slot_id);
    counters.ttl_clock_ms = nr_engine_now_ms(engine);
    return counters;
}

nori_status nr_manifest_snapshot(struct nori_engine *engine, struct nr_version *version, struct nr_edit **snapshot_out,
                                 struct nori_error *err)
{
    struct nr_counters counters = counters_now(engine);
    return nr_edit_snapshot(version, &counters, nr_buffer_slice(&engine->options_text), snapshot_out, err);
}

nori_status nr_manifest_renew(struct nori_engine *engine, struct nr_version *version, struct nori_error *err)
{
    struct nr_edit *snapshot = NULL;
    struct nr_manifest *manifest = NULL;
    uint64_t number = atomic_fetch_add(&engine->next_file_number, 1);
    uint64_t old_number = engine->manifest ? nr_manifest_number(engine->manifest) : 0;
    struct nori_error own;
    if (!err) err = &own;
    nori_status rc = nr_manifest_snapshot(engine, version, &snapshot, err);
    if (rc == NORI_OK)
        rc = nr_manifest_create(engine->dir, engine->database_id, number, old_number, snapshot, &manifest, err);
    /* CURRENT may name the new one already: an edit appended to the old one would be lost. */
    if (rc != NORI_OK && err->outcome == NORI_INDETERMINATE) nr_engine_poison(engine, err);
    if (rc == NORI_OK) {
        if (engine->manifest)
            atomic_fetch_add(&engine->manifest_bytes_before, nr_manifest_bytes_written(engine->manifest));
        nr_manifest_close(engine->manifest);
        engine->manifest = manifest;
    }
    nr_edit_destroy(snapshot);
    return rc;
}

/* The manifest's own failure, not that of memory or space, ends all writing. */
static nori_status append(struct nori_engine *engine, const struct nr_edit *edit, bool is_durable,
                          struct nori_error *err)
{
    nori_status rc = nr_manifest_append(engine->manifest, edit, err);
    if (rc == NORI_OK && is_durable) rc = nr_manifest_sync(engine->manifest, err);
    if (rc != NORI_OK && rc != NORI_NO_MEMORY && !nr_manifest_is_torn(engine->manifest)) nr_engine_poison(engine, err);
    /* The mark behind the sync: the edit is durable, and the last one. */
    struct nori_error cause;
    if (rc == NORI_OK && nr_manifest_failure(engine->manifest, &cause)) nr_engine_poison(engine, &cause);
    return rc;
}

/* What is published with the edit, and whether that waits for the disk. */
struct publication {
    size_t flushed_layers;
    uint64_t sequence; /* 0: nothing new. */
    bool is_durable;
};

/* A job that sees the version must not begin before the sequence is published: it would take what was written with it
 * for older than readers of now. */
static void publish(struct nori_engine *engine, struct nr_view *spare, const struct nr_version *before,
                    struct nr_version *version, const struct publication *publication)
{
    nr_mutex_lock(&engine->lock);
    nr_references_update(before, version);
    nr_view_install(engine, spare, version, engine->counters.flushed_sequence, publication->flushed_layers);
    if (publication->sequence > 0) atomic_store(&engine->published_sequence, publication->sequence);
    nr_mutex_unlock(&engine->lock);
    atomic_store(&engine->flushed_sequence, engine->counters.flushed_sequence);
}

static nori_status install(struct nori_engine *engine, struct nr_edit *edit, const struct publication *publication,
                           struct nori_error *err)
{
    struct nr_view *view = nr_view_acquire(engine), *spare = NULL;
    struct nr_version *next = NULL;
    struct nori_error own;
    nori_status rc = NORI_OK;
    if (!err) err = &own;

    if (atomic_load(&engine->is_poisoned)) NR_CHECK(nr_fail_poisoned(engine, err));
    NR_CHECK(nr_view_prepare(&spare, err));
    struct nr_counters counters = counters_now(engine);
    counters.flushed_sequence = counters.log_number = 0; /* Only what the edit itself says. */
    nr_edit_set_counters(edit, &counters);
    nr_mutex_lock(&engine->lock);
    rc = nr_edit_apply(edit, view->version, &next, err);
    nr_mutex_unlock(&engine->lock);
    if (rc != NORI_OK) goto out;
#ifdef NR_DEBUG
    NR_CHECK(nr_version_check(next, err));
#endif
    if (nr_manifest_is_large(engine->manifest) || nr_manifest_is_torn(engine->manifest))
        NR_CHECK(nr_manifest_renew(engine, view->version, err));
    NR_CHECK(append(engine, edit, publication->is_durable, err));
    const struct nr_counters *edited = nr_edit_counters(edit);
    engine->counters.flushed_sequence = NR_MAX(engine->counters.flushed_sequence, edited->flushed_sequence);
    engine->counters.log_number = NR_MAX(engine->counters.log_number, edited->log_number);
    publish(engine, spare, view->version, next, publication);
    spare = NULL;
out:
    nr_free(spare);
    nr_version_unref(next);
    nr_view_release(view);
    return rc;
}

nori_status nr_install(struct nori_engine *engine, struct nr_edit *edit, size_t flushed_layers, struct nori_error *err)
{
    return install(engine, edit, &(struct publication){flushed_layers, 0, flushed_layers > 0}, err);
}

nori_status nr_install_stamped(struct nori_engine *engine, struct nr_edit *edit, uint64_t sequence,
                               struct nori_error *err)
{
    return install(engine, edit, &(struct publication){0, sequence, true}, err);
}

nori_status nr_edit_add_files(struct nori_engine *engine, struct nr_edit *edit, const struct nr_run *run,
                              uint64_t *first_number, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    for (size_t i = 0; run && i < run->slice_count && rc == NORI_OK; i++) {
        if (run->slices[i].file->number < *first_number) continue;
        *first_number = run->slices[i].file->number + 1;
        rc = nr_edit_add_file(edit, run->slices[i].file, err);
        if (rc != NORI_OK) break;
        run->slices[i].file->is_new = false;
        atomic_fetch_add(&engine->file_bytes, run->slices[i].file->file_bytes);
        if (!engine->merging.model) nr_table_cache_warm(engine->tables, &run->slices[i].file->handle);
    }
    return rc;
}

void nr_file_unreferenced(void *arg, struct nr_table_file *file)
{
    struct nori_engine *engine = arg;
    if (atomic_load(&engine->is_releasing)) {
        if (engine->tables) nr_table_cache_drop(engine->tables, &file->handle, false);
        nr_table_file_free(file);
        return;
    }
    /* Once it is on the list, and the lock is free, whoever unlinks may free it. */
    nr_mutex_lock(&engine->obsolete_lock);
    if (!file->is_new) atomic_fetch_sub(&engine->file_bytes, file->file_bytes);
    atomic_fetch_add(&engine->obsolete_count, 1);
    atomic_fetch_add(&engine->obsolete_bytes, file->file_bytes);
    file->next = engine->obsolete;
    engine->obsolete = file;
    nr_mutex_unlock(&engine->obsolete_lock);
}

/* In the turn. A manifest that a full disk has torn is replaced: the new one needs no marks. */
static nori_status settle_manifest(struct nori_engine *engine, struct nori_error *err)
{
    if (!nr_manifest_is_torn(engine->manifest)) {
        nori_status rc = nr_manifest_settle(engine->manifest, err);
        if (rc != NORI_OK && !nr_manifest_is_torn(engine->manifest)) nr_engine_poison(engine, err);
        return rc;
    }
    struct nr_view *view = nr_view_acquire(engine);
    nori_status rc = nr_manifest_renew(engine, view->version, err);
    nr_view_release(view);
    return rc;
}

/* The marks of all edits so far on disk. False: nothing may be unlinked. */
static bool settle(struct nori_engine *engine)
{
    struct nori_error error;
    if (atomic_load(&engine->is_poisoned)) return false;
    nr_turn_take(engine);
    nori_status rc = settle_manifest(engine, &error);
    nr_turn_give(engine);
    return rc == NORI_OK;
}

/* A later round tries again. */
static void put_back(struct nori_engine *engine, struct nr_table_file *file)
{
    uint64_t count = 0, bytes = 0;
    struct nr_table_file *last = NULL;
    for (struct nr_table_file *next = file; next; next = next->next) {
        last = next;
        bytes += next->file_bytes;
        count++;
    }
    nr_mutex_lock(&engine->obsolete_lock);
    last->next = engine->obsolete;
    engine->obsolete = file;
    nr_mutex_unlock(&engine->obsolete_lock);
    atomic_fetch_add(&engine->obsolete_count, count);
    atomic_fetch_add(&engine->obsolete_bytes, bytes);
}

void nr_obsolete_unlink_due(struct nori_engine *engine)
{
    uint64_t most_bytes = OBSOLETE_TABLES * (uint64_t)engine->options.table_bytes;
    nr_epoch_collect(&engine->epoch);
    if (atomic_load(&engine->obsolete_count) >= OBSOLETE_FILES || atomic_load(&engine->obsolete_bytes) >= most_bytes ||
        atomic_load_explicit(&engine->is_out_of_space, memory_order_relaxed))
        nr_obsolete_unlink(engine);
}

void nr_obsolete_unlink(struct nori_engine *engine)
{
    char name[NR_FILE_NAME_BYTES];
    nr_epoch_collect(&engine->epoch);
    if (atomic_load(&engine->obsolete_count) == 0) return;
    nr_mutex_lock(&engine->obsolete_lock);
    struct nr_table_file *file = engine->obsolete;
    engine->obsolete = NULL;
    atomic_store(&engine->obsolete_count, 0);
    atomic_store(&engine->obsolete_bytes, 0);
    nr_mutex_unlock(&engine->obsolete_lock);
    bool is_settled = settle(engine);
    if (file && !is_settled && !atomic_load(&engine->is_poisoned)) {
        put_back(engine, file);
        return;
    }
    /* Of a poisoned engine the files stay; the next open finds that nothing names them. */
    while (file) {
        struct nr_table_file *next = file->next;
        nr_table_cache_drop(engine->tables, &file->handle, true);
        nr_name_table(name, file->number);
        if (is_settled && nr_dir_unlink(engine->dir, name, NULL) != NORI_OK) {
            /* As above. */
        }
        nr_table_file_free(file);
        file = next;
    }
}

void nr_log_collect(struct nori_engine *engine)
{
    if (!engine->wal || !settle(engine)) return;
    nr_turn_take(engine);
    uint64_t log_number = engine->counters.log_number;
    bool is_held = atomic_load(&engine->log_holds) > 0;
    nr_turn_give(engine);
    if (is_held) return;
    struct nr_wal_stats before, after;
    uint64_t begun_us = nr_env_monotonic_us(engine->env);
    nr_wal_stats(engine->wal, &before);
    if (nr_wal_collect(engine->wal, log_number, NULL) != NORI_OK) {
        /* A segment that could not be unlinked is tried again at the next round. */
    }
    nr_wal_stats(engine->wal, &after);
    nr_event_note_log(engine);
    if (after.segments_deleted > before.segments_deleted)
        NR_EVENT_EMIT(engine, NORI_EVENT_WAL_SEGMENT, "deleted", nr_slice(NULL, 0), (double)after.segments,
                      (double)(after.segments_deleted - before.segments_deleted),
                      (double)(nr_env_monotonic_us(engine->env) - begun_us));
    nr_workers_let_rest(engine);
}

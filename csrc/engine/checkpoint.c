/* Checkpoints: tables linked, the log copied up to a synced position, a manifest of their own; built beside the target
 * and renamed to it when complete and durable. After a failure there is none. */
#include "engine/engine.h"

#include "base/alloc.h"
#include "engine/target.h"

#define COPY_BYTES (1u << 20)

struct checkpointing {
    struct nori_engine *engine;
    struct nr_view *view;
    struct nr_edit *snapshot;
    uint64_t log_number;
    struct nr_position end; /* Of the log: synced. */
    struct nr_target target;
    struct nr_dir *target_wal, *source_wal;
    struct nori_checkpoint *result;
    struct nori_progress progress;
    nori_progress_fn fn;
    void *arg;
};

static nori_status tell(struct checkpointing *job, struct nori_error *err)
{
    if (atomic_load(&job->engine->state) != NR_STATE_OPEN) return nr_fail_closed(job->engine, err);
    return nr_call_tell(job->fn, job->arg, &job->progress, err);
}

/* The moment: a version, the log segments beside it, and their end on disk. */
static nori_status fix_moment(struct checkpointing *job, struct nori_error *err)
{
    struct nori_engine *engine = job->engine;
    nr_turn_take(engine);
    job->view = nr_view_acquire(engine);
    job->log_number = engine->counters.log_number;
    nori_status rc = nr_manifest_snapshot(engine, job->view->version, &job->snapshot, err);
    nr_turn_give(engine);
    if (rc != NORI_OK) return rc;
    job->end = nr_wal_end(engine->wal, &job->result->sequence);
    job->progress.total = nr_version_bytes_on_disk(job->view->version);
    return nr_engine_sync(engine, job->end, err);
}

/* 'limit': how many bytes at most. */
static nori_status copy_file(struct checkpointing *job, struct nr_dir *from, struct nr_dir *to, const char *name,
                             uint64_t limit, struct nori_error *err)
{
    struct nr_file *source = NULL, *copy = NULL;
    uint64_t offset = 0;
    size_t got = 1;
    nori_status rc = NORI_OK;
    uint8_t *bytes = nr_alloc(COPY_BYTES);
    if (!bytes) return nr_fail_memory(err, COPY_BYTES);
    NR_CHECK(nr_file_open(from, name, NR_OPEN_READ, &source, err));
    NR_CHECK(nr_file_open(to, name, NR_OPEN_CREATE, &copy, err));
    while (offset < limit && got > 0) {
        NR_CHECK(nr_file_read_at(source, offset, bytes, (size_t)NR_MIN(limit - offset, COPY_BYTES), &got, err));
        if (got > 0) NR_CHECK(nr_file_append(copy, nr_slice(bytes, got), err));
        offset += got;
        NR_CHECK(tell(job, err));
    }
    NR_CHECK(nr_file_sync(copy, err));
    job->result->files++;
    job->result->bytes += offset;
out:
    nr_file_close(source);
    nr_file_close(copy);
    nr_free(bytes);
    return rc;
}

static nori_status add_table(void *arg, struct nr_table_file *file, struct nori_error *err)
{
    struct checkpointing *job = arg;
    char name[NR_FILE_NAME_BYTES];
    nr_name_table(name, file->number);
    nori_status rc = nr_dir_link(job->engine->dir, name, job->target.dir, name, NULL);
    if (rc == NORI_OK) {
        job->result->files++;
        job->result->linked++;
        job->result->bytes += file->file_bytes;
    } else {
        /* Another file system, or one without links. */
        rc = copy_file(job, job->engine->dir, job->target.dir, name, UINT64_MAX, err);
    }
    job->progress.done += file->file_bytes;
    return rc == NORI_OK ? tell(job, err) : rc;
}

static nori_status copy_log(struct checkpointing *job, struct nori_error *err)
{
    char name[NR_FILE_NAME_BYTES];
    bool exists;
    nori_status rc = NORI_OK;
    NR_CHECK(nr_dir_open_at(job->engine->dir, NR_WAL_DIRECTORY, false, &job->source_wal, err));
    NR_CHECK(nr_dir_open_at(job->target.dir, NR_WAL_DIRECTORY, true, &job->target_wal, err));
    for (uint64_t segment = job->log_number; segment <= job->end.segment; segment++) {
        nr_name_segment(name, segment);
        NR_CHECK(nr_dir_exists(job->source_wal, name, &exists, err));
        if (!exists) continue; /* A number that an earlier recovery skipped. */
        uint64_t limit = segment == job->end.segment ? job->end.offset : UINT64_MAX;
        NR_CHECK(copy_file(job, job->source_wal, job->target_wal, name, limit, err));
    }
    NR_CHECK(nr_dir_sync(job->target_wal, err));
out:
    return rc;
}

static nori_status build(struct checkpointing *job, struct nori_error *err)
{
    struct nr_manifest *manifest = NULL;
    uint64_t number = atomic_fetch_add(&job->engine->next_file_number, 1);
    struct nr_counters counters = {.next_file_number = number + 1};
    nori_status rc = NORI_OK;
    NR_CHECK(nr_target_begin(&job->target, atomic_fetch_add(&job->engine->next_file_number, 1), err));
    NR_CHECK(nr_version_each_file(job->view->version, add_table, job, err));
    NR_CHECK(copy_log(job, err));
    nr_edit_set_counters(job->snapshot, &counters);
    NR_CHECK(nr_manifest_create(job->target.dir, job->engine->database_id, number, 0, job->snapshot, &manifest, err));
    job->result->files += 2; /* Manifest and CURRENT. */
    job->result->bytes += nr_manifest_bytes_written(manifest);
    NR_CHECK(nr_target_commit(&job->target, err));
out:
    nr_manifest_close(manifest);
    return rc;
}

nori_status nori_checkpoint(struct nori_engine *engine, const char *path, nori_progress_fn fn, void *arg,
                            struct nori_checkpoint *checkpoint_out, struct nori_error *err)
{
    unsigned stripe;
    struct checkpointing job = {.engine = engine, .result = checkpoint_out, .fn = fn, .arg = arg};
    job.progress = (struct nori_progress){0, 0, "bytes", "copy"};
    memset(checkpoint_out, 0, sizeof *checkpoint_out);
    nori_status rc = nr_call_enter(engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    atomic_fetch_add(&engine->log_holds, 1);
    if (engine->is_read_only) NR_CHECK(NR_FAIL(err, NORI_READ_ONLY, "%s is open for reading only", engine->path));
    if (atomic_load(&engine->is_poisoned)) NR_CHECK(nr_fail_poisoned(engine, err));
    NR_CHECK(nr_target_find(&job.target, engine->env, "create checkpoint", path, err));
    NR_CHECK(fix_moment(&job, err));
    NR_CHECK(build(&job, err));
out:
    atomic_fetch_sub(&engine->log_holds, 1);
    nr_edit_destroy(job.snapshot);
    nr_view_release(job.view);
    nr_dir_close(job.source_wal);
    nr_dir_close(job.target_wal);
    nr_target_clear(&job.target);
    nr_call_leave(engine);
    return rc;
}

/* verify(): every live table read whole and compared with what the manifest says of it, the tree's invariants, the
 * manifest and the log as recovery would see them. */
#include "engine/engine.h"

#include <stdio.h>

#include "base/alloc.h"

struct verification {
    struct nori_engine *engine;
    struct nori_verify_report *report;
    struct nori_progress progress;
    nori_progress_fn fn;
    void *arg;
};

void nr_finding_fill(struct nori_finding *finding, const struct nori_error *error)
{
    memset(finding, 0, sizeof *finding);
    memcpy(finding->path, error->path, sizeof finding->path);
    memcpy(finding->kind, error->kind, sizeof finding->kind);
    memcpy(finding->message, error->text, sizeof finding->message);
    finding->offset = error->offset;
}

static nori_status add_finding(struct nori_verify_report *report, const struct nori_error *error,
                               struct nori_error *err)
{
    size_t bytes = (report->finding_count + 1) * sizeof *report->findings;
    struct nori_finding *grown = nr_realloc(report->findings, bytes);
    if (!grown) return nr_fail_memory(err, bytes);
    report->findings = grown;
    nr_finding_fill(&grown[report->finding_count++], error);
    return NORI_OK;
}

/* Damage is a finding; anything else that went wrong ends the verification. */
static nori_status judge(struct verification *verification, nori_status rc, const struct nori_error *error,
                         struct nori_error *err)
{
    if (rc == NORI_OK) return NORI_OK;
    if (rc == NORI_CORRUPTION || rc == NORI_FORMAT) return add_finding(verification->report, error, err);
    if (err) *err = *error;
    return rc;
}

/* Checksums say that the table is what was written; this, that it is what the tree takes it for. */
static nori_status check_known(const struct nr_table_file *file, const struct nr_table *table, const char *directory,
                               struct nori_error *error)
{
    char name[NR_FILE_NAME_BYTES], path[sizeof error->path];
    const char *difference = nr_properties_difference(nr_table_properties(table), &file->properties);
    if (!difference && nr_table_file_bytes(table) != file->file_bytes) difference = "size";
    if (!difference) return NORI_OK;
    nr_name_table(name, file->number);
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return nr_fail_corrupt(error, path, -1, "properties", "the table and the manifest differ in its %s", difference);
}

static nori_status verify_file(void *arg, struct nr_table_file *file, struct nori_error *err)
{
    struct verification *verification = arg;
    struct nori_engine *engine = verification->engine;
    struct nr_table_params params = {.dir = engine->dir,
                                     .database_id = engine->database_id,
                                     .number = file->number,
                                     .largest_sequence = file->properties.largest_sequence};
    struct nr_table *table = NULL;
    struct nori_error error;
    /* Opened anew, past the caches: what is on disk counts. */
    nori_status rc = nr_table_open(&params, &table, &error);
    if (rc == NORI_OK)
        rc = nr_table_verify(table, &verification->report->blocks, &verification->report->entries, &error);
    if (rc == NORI_OK) rc = check_known(file, table, engine->dir->path, &error);
    nr_table_unref(table);
    verification->report->files++;
    rc = judge(verification, rc, &error, err);
    if (rc != NORI_OK) return rc;
    verification->progress.done += file->file_bytes;
    if (atomic_load(&engine->state) != NR_STATE_OPEN) return nr_fail_closed(engine, err);
    return nr_call_tell(verification->fn, verification->arg, &verification->progress, err);
}

/* In the turn, so that the manifest rests. */
static nori_status verify_manifest(struct verification *verification, struct nori_error *err)
{
    struct nori_engine *engine = verification->engine;
    struct nr_manifest_state state = {0};
    struct nori_error error;
    nr_turn_take(engine);
    nori_status rc = nr_manifest_recover(engine->dir, 2, NULL, NULL, &state, &error);
    nr_turn_give(engine);
    nr_manifest_state_clear(&state);
    verification->report->files++;
    return judge(verification, rc, &error, err);
}

static nori_status verify_log(struct verification *verification, struct nori_error *err)
{
    struct nori_engine *engine = verification->engine;
    struct nr_wal_log log = {0};
    struct nori_error error;
    atomic_fetch_add(&engine->log_holds, 1);
    nr_turn_take(engine);
    struct nr_counters counters = engine->counters;
    nr_turn_give(engine);
    nori_status rc = nr_wal_examine(engine->env, engine->dir, engine->database_id, counters.log_number,
                                    counters.flushed_sequence, true, &log, &error);
    atomic_fetch_sub(&engine->log_holds, 1);
    verification->report->files += log.part_count;
    nr_wal_log_clear(&log);
    return judge(verification, rc, &error, err);
}

nori_status nori_verify(struct nori_engine *engine, nori_progress_fn fn, void *arg,
                        struct nori_verify_report *report_out, struct nori_error *err)
{
    unsigned stripe;
    struct nori_error error;
    memset(report_out, 0, sizeof *report_out);
    nori_status rc = nr_call_enter(engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    struct nr_view *view = nr_view_acquire(engine);
    struct verification verification = {.engine = engine, .report = report_out, .fn = fn, .arg = arg};
    verification.progress = (struct nori_progress){0, nr_version_bytes_on_disk(view->version), "bytes", "verify"};
    NR_CHECK(judge(&verification, nr_version_check(view->version, &error), &error, err));
    NR_CHECK(nr_version_each_file(view->version, verify_file, &verification, err));
    if (engine->manifest) NR_CHECK(verify_manifest(&verification, err));
    if (engine->wal) NR_CHECK(verify_log(&verification, err));
out:
    nr_view_release(view);
    nr_call_leave(engine);
    if (rc != NORI_OK) {
        nr_free(report_out->findings);
        memset(report_out, 0, sizeof *report_out);
    }
    return rc;
}

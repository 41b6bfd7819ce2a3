/* What the log holds beyond the tables: a prefix of the commits, without a hole. Where it is damaged nothing behind the
 * damage is taken, whether it can be read or not. */
#include "engine/repair.h"

#include <stdio.h>

#include "base/alloc.h"
#include "compact/output.h"

/* A memtable is full; more is a table. */
#define MAX_MEMTABLE_BYTES (64u << 20)

static nori_status take_tombstones(struct nr_repair *repair, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_tombstones *set = NULL;
    unsigned stripe = nr_epoch_enter(&repair->epoch);
    rc = nr_memtable_tombstones(repair->memtable, &set, err);
    nr_epoch_leave(&repair->epoch, stripe);
    if (rc != NORI_OK || !set) return rc;
    size_t count = repair->log_tombstone_count + 1;
    struct nr_tombstones **grown = nr_realloc(repair->log_tombstones, count * sizeof(struct nr_tombstones *));
    if (!grown) {
        nr_tombstones_unref(set);
        return nr_fail_memory(err, count * sizeof(struct nr_tombstones *));
    }
    repair->log_tombstones = grown;
    repair->log_tombstones[repair->log_tombstone_count++] = set;
    return NORI_OK;
}

/* The memtable as a table of the target, for as long as the merge needs it. */
static nori_status flush(struct nr_repair *repair, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    const struct nr_moment present = {NR_MAX_SEQUENCE, 0};
    struct nr_run *run = NULL;
    uint64_t bytes = 0;
    NR_CHECK(
        nr_repair_grow((void **)&repair->runs, repair->run_count, &repair->run_capacity, sizeof *repair->runs, err));
    NR_CHECK(take_tombstones(repair, err));
    NR_CHECK(nr_flush_execute(&repair->merging, &repair->memtable, 1, &present, 1, 0, &run, &bytes, err));
    if (run) repair->runs[repair->run_count++] = run;
    nr_memtable_unref(repair->memtable);
    repair->memtable = NULL;
out:
    return rc;
}

static nori_status insert(struct nr_repair *repair, const struct nr_record *record, struct nori_error *err)
{
    size_t limit = (size_t)NR_MIN(repair->options.memtable.flush_trigger_bytes, MAX_MEMTABLE_BYTES);
    nori_status rc = NORI_OK;
    if (repair->memtable && nr_memtable_bytes(repair->memtable) >= limit) NR_CHECK(flush(repair, err));
    if (!repair->memtable) NR_CHECK(nr_memtable_create(&repair->epoch, limit, &repair->memtable, err));
    NR_CHECK(nr_memtable_reserve(repair->memtable, record->payload, record->count, record->sequence, err));
    nr_memtable_insert(repair->memtable, record->payload, record->count, record->sequence);
out:
    return rc;
}

/* An nr_wal_replay_fn. A record that makes no sense ends the log. */
static nori_status replay_record(void *arg, const struct nr_record *record, struct nr_position position,
                                 struct nori_error *err)
{
    struct nr_repair *repair = arg;
    uint64_t last_sequence = record->sequence + record->count - 1;
    struct nori_error why;
    if (repair->is_log_ended || last_sequence <= repair->sequence) return NORI_OK;
    nori_status rc = NORI_OK;
    if (record->sequence <= repair->sequence) {
        char path[NR_REPAIR_PATH_BYTES];
        char name[NR_FILE_NAME_BYTES];
        nr_name_segment(name, position.segment);
        snprintf(path, sizeof path, "%s/" NR_WAL_DIRECTORY "/%s", repair->source->path, name);
        rc = nr_fail_corrupt(&why, path, (int64_t)record->offset, "log",
                             "a record of sequence %" PRIu64 " is partly in tables", record->sequence);
    } else {
        rc = insert(repair, record, &why);
    }
    if (rc == NORI_CORRUPTION) {
        repair->is_log_ended = true;
        return nr_repair_note(repair, &why, NULL, err);
    }
    if (rc == NORI_OK) repair->sequence = last_sequence;
    if (rc != NORI_OK && err) *err = why;
    return rc;
}

nori_status nr_repair_replay(struct nr_repair *repair, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_wal_log log = {0};
    struct nori_error damage;
    uint64_t log_number = repair->has_manifest ? repair->state.counters.log_number : 0;
    uint64_t in_tables = repair->has_manifest ? repair->flushed_sequence : NR_MAX_SEQUENCE;

    NR_CHECK(nr_wal_salvage(repair->source, repair->database_id, log_number, in_tables, !repair->has_manifest, &log,
                            &damage, err));
    if (damage.code != NORI_OK) NR_CHECK(nr_repair_note(repair, &damage, NULL, err));
    repair->report->files += log.part_count;
    NR_CHECK(nr_wal_replay(repair->env, repair->source, repair->database_id, &log, replay_record, repair, err));
    if (repair->memtable) NR_CHECK(take_tombstones(repair, err));
    if (repair->memtable) repair->entries_seen += nr_memtable_entry_count(repair->memtable);
    for (size_t i = 0; i < repair->run_count; i++) repair->entries_seen += repair->runs[i]->entries;
out:
    nr_wal_log_clear(&log);
    return rc;
}

/* The new database: everything that is whole, merged into one run, and a manifest that names it.
 *
 * All of it is older than what comes, and nothing is older than it: so deletes have done what they were for, and only
 * puts are written, with their sequences and expiries. */
#include "engine/repair.h"

#include "base/alloc.h"
#include "compact/output.h"
#include "iter/merge.h"

/* Entries between two tellings of progress. */
#define TELL_ENTRIES 4096
/* For keys that are in one run over nothing: as a bulk load's. */
#define OUTPUT_LEVEL 1

struct writing {
    struct nr_repair *repair;
    struct nr_iter *placed, *unplaced; /* Owned. */
    struct nr_tombstones *tombstones;  /* Refs; NULL: none. */
    struct nr_survive survive;
    struct nr_output output;
    struct nr_read read;
    struct nr_buffer key; /* Of an unplaced entry. */
    uint64_t passed;
};

/* ---------------------------------------------------------------- sources */

/* Of all that is whole; a lost table's are lost with it. */
static nori_status merge_tombstones(struct writing *writing, struct nori_error *err)
{
    const struct nr_repair *repair = writing->repair;
    size_t count = 0, capacity = repair->piece_count + repair->log_tombstone_count;
    nori_status rc = NORI_OK;
    struct nr_tombstones **sets = nr_calloc(capacity + 1, sizeof(struct nr_tombstones *));
    struct nr_clip *clips = nr_calloc(capacity + 1, sizeof *clips);
    if (!sets || !clips) {
        rc = nr_fail_memory(err, (capacity + 1) * sizeof *clips);
        goto out;
    }
    for (size_t i = 0; i < repair->piece_count; i++) {
        const struct nr_repair_piece *piece = &repair->pieces[i];
        if (!repair->tables[piece->table].tombstones) continue;
        sets[count] = repair->tables[piece->table].tombstones;
        clips[count++] = (struct nr_clip){piece->start, piece->end};
    }
    for (size_t i = 0; i < repair->log_tombstone_count; i++) {
        sets[count] = repair->log_tombstones[i];
        clips[count++] = (struct nr_clip){nr_slice("", 0), nr_bound_infinite()};
    }
    NR_CHECK(nr_tombstones_merge(sets, clips, count, NR_MAX_SEQUENCE, &writing->tombstones, err));
out:
    nr_free(sets);
    nr_free(clips);
    return rc;
}

static nori_status open_log(struct writing *writing, struct nr_iter **children, size_t *count, struct nori_error *err)
{
    struct nr_repair *repair = writing->repair;
    nori_status rc = NORI_OK;
    if (repair->memtable) NR_CHECK(nr_memtable_iter_create(repair->memtable, &children[(*count)++], err));
    for (size_t i = repair->run_count; i-- > 0;)
        NR_CHECK(nr_run_iter_create(repair->runs[i], nr_slice("", 0), nr_bound_infinite(), repair->cache,
                                    &repair->epoch, &writing->read, &children[(*count)++], err));
out:
    return rc;
}

/* Where each table's place is known, all chains and the log; else the chains of those whose place is not. */
static nori_status open_sources(struct writing *writing, bool is_unplaced, struct nr_iter **iter_out,
                                struct nori_error *err)
{
    struct nr_repair *repair = writing->repair;
    size_t count = 0, capacity = repair->chain_count + repair->run_count + 2;
    nori_status rc = NORI_OK;
    struct nr_iter **children = nr_calloc(capacity, sizeof(struct nr_iter *));
    if (!children) return nr_fail_memory(err, capacity * sizeof(struct nr_iter *));
    if (!is_unplaced) NR_CHECK(open_log(writing, children, &count, err));
    for (size_t i = 0; i < repair->chain_count; i++) {
        bool has_place = repair->has_manifest || repair->chains[i].rank != NR_REPAIR_RANK_UNPLACED;
        if (has_place == is_unplaced) continue;
        NR_CHECK(nr_repair_chain_iter_create(repair, &repair->chains[i], &children[count], err));
        count++;
    }
    rc = nr_merge_iter_create(children, count, iter_out, err);
    count = 0; /* It owns them, or has destroyed them. */
    if (rc == NORI_OK) rc = nr_iter_seek_first(*iter_out, err);
out:
    for (size_t i = 0; i < count; i++) nr_iter_destroy(children[i]);
    nr_free(children);
    return rc;
}

/* ---------------------------------------------------------------- entries */

static bool never_below(void *arg NR_UNUSED, nori_slice key NR_UNUSED)
{
    return false;
}

static nori_status step(struct writing *writing, struct nr_iter *iter, struct nori_error *err)
{
    struct nr_repair *repair = writing->repair;
    nori_status rc = NORI_OK;
    repair->progress.done++;
    if (++writing->passed % TELL_ENTRIES == 0) NR_CHECK(nr_repair_tell(repair, err));
    NR_CHECK(nr_iter_next(iter, err));
out:
    return rc;
}

static nori_status write_entry(struct writing *writing, const struct nr_iter *iter, uint64_t tag,
                               struct nori_error *err)
{
    struct nr_output *output = &writing->output;
    nori_status rc = NORI_OK;
    if (output->is_full) NR_CHECK(nr_output_cut(output, iter->entry->key, err));
    NR_CHECK(nr_output_add(output, iter->entry->key, tag, iter->entry->value, err));
    nr_table_builder_note_fresh(output->builder);
    writing->repair->report->entries++;
    writing->repair->sequence = NR_MAX(writing->repair->sequence, nr_tag_sequence(tag));
out:
    return rc;
}

/* The next key's entries of unplaced tables. Which of several is the newest is not known, nor whether one is older than
 * a range tombstone. */
static nori_status write_unplaced(struct writing *writing, bool is_contested, struct nori_error *err)
{
    struct nr_repair *repair = writing->repair;
    struct nr_iter *iter = writing->unplaced;
    nori_status rc = NORI_OK;
    uint64_t tag = nr_tag(1, (enum nr_entry_type)nr_tag_type(iter->entry->tag));
    bool is_hidden = nr_tombstones_covering(writing->tombstones, iter->entry->key, NR_MAX_SEQUENCE) > 0;
    bool is_doubtful = is_contested || is_hidden;

    NR_CHECK(nr_buffer_assign(&writing->key, iter->entry->key, err));
    if (!is_doubtful || (repair->keeps_doubtful && !is_contested))
        NR_CHECK(write_entry(writing, iter, tag, err));
    else
        nr_repair_drop(repair, NR_REPAIR_NO_FINDING, 1);
    do {
        NR_CHECK(step(writing, iter, err));
    } while (iter->entry && nr_slice_equal(iter->entry->key, nr_buffer_slice(&writing->key)));
out:
    return rc;
}

static nori_status write_placed(struct writing *writing, struct nori_error *err)
{
    struct nr_iter *iter = writing->placed;
    nori_status rc = NORI_OK;
    bool keep = false,
         is_contested = writing->unplaced->entry && nr_slice_equal(writing->unplaced->entry->key, iter->entry->key);
    NR_CHECK(nr_survive_judge(&writing->survive, iter->entry->key, iter->entry->tag, iter->entry->value, &keep, err));
    if (is_contested) NR_CHECK(write_unplaced(writing, true, err));
    if (keep && is_contested && !writing->repair->keeps_doubtful)
        nr_repair_drop(writing->repair, NR_REPAIR_NO_FINDING, 1);
    else if (keep)
        NR_CHECK(write_entry(writing, iter, iter->entry->tag, err));
    NR_CHECK(step(writing, iter, err));
out:
    return rc;
}

static nori_status write_entries(struct writing *writing, struct nori_error *err)
{
    const struct nr_iter *placed = writing->placed, *unplaced = writing->unplaced;
    nori_status rc = NORI_OK;
    while (placed->entry || unplaced->entry) {
        bool is_placed =
            !unplaced->entry || (placed->entry && nr_slice_compare(placed->entry->key, unplaced->entry->key) <= 0);
        if (is_placed)
            NR_CHECK(write_placed(writing, err));
        else
            NR_CHECK(write_unplaced(writing, false, err));
    }
out:
    return rc;
}

static nori_status write_run(struct nr_repair *repair, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    const struct nr_moment present = {NR_MAX_SEQUENCE, 0}; /* A time at which nothing has expired. */
    struct writing writing = {.repair = repair, .read = {.is_scan = true, .skip_cache = true}};

    nr_output_init(&writing.output, &repair->merging, NULL, OUTPUT_LEVEL, repair->options.table_bytes,
                   repair->state.counters.ttl_clock_ms);
    NR_CHECK(merge_tombstones(&writing, err));
    nr_survive_init(&writing.survive, &present, 1, writing.tombstones, never_below, NULL);
    NR_CHECK(open_sources(&writing, false, &writing.placed, err));
    NR_CHECK(open_sources(&writing, true, &writing.unplaced, err));
    NR_CHECK(nr_output_begin(&writing.output, 0, nr_slice("", 0), nr_bound_infinite(), err));
    NR_CHECK(write_entries(&writing, err));
    NR_CHECK(nr_output_end(&writing.output, &repair->run, err));
out:
    nr_output_clear(&writing.output);
    nr_survive_clear(&writing.survive);
    nr_iter_destroy(writing.placed);
    nr_iter_destroy(writing.unplaced);
    nr_tombstones_unref(writing.tombstones);
    nr_buffer_clear(&writing.key);
    nr_read_clear(&writing.read);
    return rc;
}

/* ---------------------------------------------------------------- manifest */

static nori_status make_version(struct nr_repair *repair, struct nr_version **version_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_version *empty = NULL;
    struct nr_edit *edit = NULL;
    size_t levels = repair->has_manifest ? repair->state.version->level_count : (size_t)repair->options.max_levels;

    NR_CHECK(nr_version_create(levels, &empty, err));
    NR_CHECK(nr_edit_create(&edit, err));
    for (size_t i = 0; repair->run && i < repair->run->slice_count; i++)
        NR_CHECK(nr_edit_add_file(edit, repair->run->slices[i].file, err));
    if (repair->run) NR_CHECK(nr_edit_push_l0(edit, repair->run, err));
    NR_CHECK(nr_edit_apply(edit, empty, version_out, err));
    NR_CHECK(nr_version_check(*version_out, err));
out:
    nr_edit_destroy(edit);
    nr_version_unref(empty);
    return rc;
}

static nori_status write_manifest(struct nr_repair *repair, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_version *version = NULL;
    struct nr_edit *snapshot = NULL;
    struct nr_manifest *manifest = NULL;
    uint64_t number = repair->next_number++;
    const struct nr_counters counters = {.next_file_number = repair->next_number,
                                         .next_run_id = repair->next_run_id,
                                         .next_slot_id = NORI_MAX_LEVELS + 1,
                                         .flushed_sequence = repair->sequence,
                                         .log_number = 1,
                                         .ttl_clock_ms = repair->state.counters.ttl_clock_ms};

    NR_CHECK(make_version(repair, &version, err));
    NR_CHECK(nr_edit_snapshot(version, &counters, nr_buffer_slice(&repair->state.options), &snapshot, err));
    NR_CHECK(nr_manifest_create(repair->target.dir, repair->merging.database_id, number, 0, snapshot, &manifest, err));
out:
    nr_manifest_close(manifest);
    nr_edit_destroy(snapshot);
    nr_version_unref(version);
    return rc;
}

nori_status nr_repair_write(struct nr_repair *repair, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    repair->progress = (struct nori_progress){0, repair->entries_seen, "entries", "write"};
    NR_CHECK(nr_repair_tell(repair, err));
    NR_CHECK(write_run(repair, err));
    for (size_t i = 0; i < repair->run_count; i++) nr_output_discard(&repair->merging, repair->runs[i], 0);
    repair->run_count = 0;
    for (size_t i = 0; i < repair->table_count; i++)
        nr_repair_drop(repair, repair->tables[i].finding, repair->tables[i].dropped);
    NR_CHECK(nr_dir_sync(repair->target.dir, err));
    NR_CHECK(write_manifest(repair, err));
    NR_CHECK(nr_target_commit(&repair->target, err));
    repair->report->sequence = repair->sequence;
out:
    return rc;
}

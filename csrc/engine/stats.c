/* What the engine is doing: one set of raw counters; ratios are made of them by who shows them (design 9). */
#include "engine/engine.h"

#include "base/alloc.h"

static void sum_stripes(struct nori_engine *engine, struct nori_stats *stats)
{
    struct nr_read_totals totals = nr_read_sum(engine);
    for (unsigned i = 0; i < NR_EPOCH_STRIPES; i++) stats->scans += atomic_load(&engine->stripes[i].scans);
    stats->gets = totals.gets;
    stats->runs_probed = totals.runs_probed;
    stats->blocks_read = totals.blocks_read;
    stats->block_cache_hits = totals.cache_hits;
    stats->block_cache_misses = totals.cache_misses;
    stats->filter_negatives = totals.filter_negatives;
    stats->filter_false_positives = totals.filter_false_positives;
}

static bool lies_over_older(const struct nr_version *version, size_t level, nori_slice start, struct nr_bound end)
{
    for (; level < version->level_count; level++) {
        const struct nr_level *below = version->levels[level];
        for (size_t i = nr_level_seek(below, start); i < below->slot_count; i++) {
            const struct nr_slot *slot = nr_level_slot(below, i);
            if (!nr_bound_above(end, slot->start)) break;
            for (size_t j = 0; j < slot->run_count; j++)
                if (nr_run_overlaps(slot->runs[j], start, end)) return true;
        }
    }
    return false;
}

/* Of a run, the bytes of slices over which nothing older lies, without what deletes take up. */
static uint64_t live_bytes_of_run(const struct nr_version *version, const struct nr_slot *slot, size_t index)
{
    const struct nr_run *run = slot->runs[index];
    uint64_t bytes = 0;
    for (size_t i = 0; i < run->slice_count; i++) {
        const struct nr_table_slice *slice = &run->slices[i];
        bool is_over = lies_over_older(version, slot->level + 1, slice->start, slice->end);
        for (size_t j = index + 1; j < slot->run_count && !is_over; j++)
            is_over = nr_run_overlaps(slot->runs[j], slice->start, slice->end);
        if (is_over || slice->entries == 0) continue;
        bytes += (uint64_t)((double)slice->bytes * (double)(slice->entries - NR_MIN(slice->deletes, slice->entries)) /
                            (double)slice->entries);
    }
    return bytes;
}

/* What a full merge would write, about: what lies lowest is live, what lies over older data replaces it. */
static uint64_t estimate_live_bytes(const struct nr_version *version)
{
    uint64_t bytes = 0;
    for (size_t level = 0; level < version->level_count; level++) {
        const struct nr_level *here = version->levels[level];
        for (size_t i = 0; i < here->slot_count && here->max_run_count > 0; i++) {
            const struct nr_slot *slot = nr_level_slot(here, i);
            for (size_t j = 0; j < slot->run_count; j++) bytes += live_bytes_of_run(version, slot, j);
        }
    }
    return bytes;
}

static void measure_tree(struct nori_engine *engine, struct nori_stats *stats)
{
    struct nr_view *view = nr_view_acquire(engine);
    stats->bytes_on_disk = nr_version_bytes_on_disk(view->version);
    stats->live_bytes = estimate_live_bytes(view->version);
    uint64_t file_bytes = atomic_load(&engine->file_bytes);
    stats->snapshot_pinned_bytes = file_bytes > stats->bytes_on_disk ? file_bytes - stats->bytes_on_disk : 0;
    stats->l0_files = nr_version_l0_depth(view->version);
    stats->memtable_bytes = nr_view_memtable_bytes(view, 0);
    stats->immutable_memtables = view->layer_count - 1;
    nr_view_release(view);
}

static void measure_writing(struct nori_engine *engine, struct nori_stats *stats)
{
    struct nr_wal_stats wal;
    if (!engine->wal) return;
    nr_wal_stats(engine->wal, &wal);
    stats->wal_bytes_written = wal.bytes_appended;
    stats->wal_segments = wal.segments;
    stats->wal_segments_deleted = wal.segments_deleted;
    nr_wal_synced(engine->wal, &stats->synced_sequence);
    /* What was replayed counts as unsynced until it is in tables. */
    if (atomic_load(&engine->is_recovery_pending)) stats->synced_sequence = atomic_load(&engine->flushed_sequence);
    nr_turn_take(engine);
    stats->manifest_bytes_written =
        atomic_load(&engine->manifest_bytes_before) + nr_manifest_bytes_written(engine->manifest);
    nr_turn_give(engine);
}

nori_status nori_stats(struct nori_engine *engine, struct nori_stats *stats_out, struct nori_error *err)
{
    unsigned stripe;
    struct nr_pressure pressure;
    nori_status rc = nr_call_enter(engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    memset(stats_out, 0, sizeof *stats_out);
    sum_stripes(engine, stats_out);
    nr_heat_fold_due(engine);
    measure_tree(engine, stats_out);
    measure_writing(engine, stats_out);
    stats_out->user_bytes_written = atomic_load(&engine->user_bytes_written);
    stats_out->puts = atomic_load(&engine->puts);
    stats_out->deletes = atomic_load(&engine->deletes);
    stats_out->flush_bytes_written = atomic_load(&engine->flush_bytes_written);
    stats_out->compaction_bytes_written = atomic_load(&engine->compaction_bytes_written);
    stats_out->compaction_bytes_read = atomic_load(&engine->compaction_bytes_read);
    stats_out->stall_micros = atomic_load(&engine->stall_micros);
    stats_out->sequence = atomic_load(&engine->published_sequence);
    nr_pressure_measure(engine, &pressure);
    stats_out->pressure = pressure.score;
    stats_out->zone = pressure.zone;
    stats_out->writes_delayed = atomic_load(&engine->writes_delayed);
    stats_out->delay_micros = atomic_load(&engine->delay_micros);
    stats_out->stalls = atomic_load(&engine->stalls);
    stats_out->zone_changes = atomic_load(&engine->zone_changes);
    for (int op = 0; op < NORI_LATENCY_COUNT; op++) nr_histogram_summary(&engine->latency[op], &stats_out->latency[op]);
    stats_out->latency[NORI_LATENCY_GET].count = stats_out->gets;
    stats_out->poisoned = atomic_load(&engine->is_poisoned);
    if (stats_out->poisoned) memcpy(stats_out->poisoned_text, engine->poison.text, sizeof stats_out->poisoned_text);
    nr_call_leave(engine);
    return NORI_OK;
}

nori_status nori_latency_counts(struct nori_engine *engine, int op, uint64_t counts_out[NORI_LATENCY_BUCKETS + 1],
                                struct nori_error *err)
{
    unsigned stripe;
    if (op < 0 || op >= NORI_LATENCY_COUNT) return NR_FAIL(err, NORI_INVALID, "no such operation: %d", op);
    nori_status rc = nr_call_enter(engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    nr_histogram_counts(&engine->latency[op], counts_out);
    nr_call_leave(engine);
    return NORI_OK;
}

/* ---------------------------------------------------------------- slots */

/* Files counted once in a slot; slices of one file are neighbours in a run. */
static uint64_t count_files(const struct nr_slot *slot)
{
    uint64_t files = 0;
    for (size_t i = 0; i < slot->run_count; i++)
        for (size_t j = 0; j < slot->runs[i]->slice_count; j++)
            files += j == 0 || slot->runs[i]->slices[j].file != slot->runs[i]->slices[j - 1].file;
    return files;
}

static nori_slice copy_key(uint8_t **keys, nori_slice key)
{
    nori_slice copy = nr_slice(*keys, key.size);
    if (key.size) memcpy(*keys, key.data, key.size);
    *keys += key.size;
    return copy;
}

/* Under the engine's lock: what activity says of the slots of a level. 'memory' has room for measure_bytes of them. */
static void measure_activity(const struct nr_level *level, void *memory, struct nori_slot *slots)
{
    struct nr_heat *heats = memory;
    struct nr_heat_rates *rates = (struct nr_heat_rates *)(heats + level->slot_count);
    struct nr_heat_density *scratch = (struct nr_heat_density *)(rates + level->slot_count);
    nr_heat_level_locked(level, rates, scratch, heats);
    for (size_t i = 0; i < level->slot_count; i++) {
        const struct nr_activity *activity = nr_level_slot(level, i)->activity;
        const struct nr_activity_state *state = &activity->state;
        struct nori_slot *out = &slots[i];
        out->heat = heats[i].heat;
        out->read_heat = heats[i].read;
        out->write_heat = heats[i].write;
        out->scan_heat = heats[i].scan;
        struct nr_activity_counts counts = nr_activity_peek(activity);
        uint64_t arrived = state->bytes_arrived + counts.bytes_arrived;
        out->write_amp = arrived ? (double)state->bytes_rewritten / (double)arrived : 0;
        out->reads = state->searches + counts.searches;
        out->read_amp = state->probes_per_read;
        if (out->read_amp == 0 && counts.searches > 0)
            out->read_amp = (double)counts.runs_probed / (double)counts.searches;
    }
}

static size_t measure_bytes(size_t slot_count)
{
    return slot_count * (sizeof(struct nr_heat) + sizeof(struct nr_heat_rates) + sizeof(struct nr_heat_density));
}

static void describe(struct nori_engine *engine, const struct nr_slot *slot, uint8_t **keys, struct nori_slot *out)
{
    uint64_t deletes = 0;
    const struct nori_options *options = &engine->options;
    for (size_t i = 0; i < slot->run_count; i++) deletes += slot->runs[i]->deletes + slot->runs[i]->ranges;
    *out = (struct nori_slot){.level = slot->level, .slot_id = slot->slot_id};
    out->start = copy_key(keys, slot->start);
    if (!slot->end.infinite) out->stop = copy_key(keys, slot->end.key);
    out->runs = slot->run_count;
    out->k_max = nr_planner_slot_k(options, slot);
    out->files = count_files(slot);
    out->bytes = slot->bytes;
    out->entries = slot->entries;
    out->tombstone_density = slot->entries ? (double)deletes / (double)slot->entries : 0;
    out->mode = out->k_max <= 1                             ? NORI_MODE_LEVELED
                : out->k_max >= (uint64_t)options->k_global ? NORI_MODE_TIERED
                                                            : NORI_MODE_HYBRID;
}

nori_status nori_slots(struct nori_engine *engine, struct nori_slot **slots_out, size_t *count_out,
                       struct nori_error *err)
{
    unsigned stripe;
    size_t count = 0, key_bytes = 0, widest = 0;
    struct nori_slot *slots = NULL;
    void *scratch = NULL;
    *slots_out = NULL;
    *count_out = 0;
    nori_status rc = nr_call_enter(engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    struct nr_view *view = nr_view_acquire(engine);
    const struct nr_version *version = view->version;
    for (size_t level = 1; level < version->level_count; level++) {
        if (version->levels[level]->max_run_count == 0) continue;
        widest = NR_MAX(widest, version->levels[level]->slot_count);
        for (size_t i = 0; i < version->levels[level]->slot_count; i++) {
            const struct nr_slot *slot = nr_level_slot(version->levels[level], i);
            key_bytes += slot->start.size + (slot->end.infinite ? 0 : slot->end.key.size) + 1;
            count++;
        }
    }
    slots = nr_alloc(count * sizeof *slots + key_bytes + 1);
    scratch = nr_alloc(measure_bytes(widest) + 1);
    if (!slots || !scratch) {
        nr_free(slots);
        rc = nr_fail_memory(err, count * sizeof *slots + key_bytes);
        goto out;
    }
    uint8_t *keys = (uint8_t *)(slots + count);
    size_t next = 0;
    nr_mutex_lock(&engine->lock);
    nr_heat_fold_locked(engine, version);
    for (size_t level = 1; level < version->level_count; level++) {
        const struct nr_level *here = version->levels[level];
        if (here->max_run_count == 0) continue;
        for (size_t i = 0; i < here->slot_count; i++) describe(engine, nr_level_slot(here, i), &keys, &slots[next + i]);
        measure_activity(here, scratch, &slots[next]);
        next += here->slot_count;
    }
    nr_mutex_unlock(&engine->lock);
    *slots_out = slots;
    *count_out = count;
out:
    nr_free(scratch);
    nr_view_release(view);
    nr_call_leave(engine);
    return rc;
}

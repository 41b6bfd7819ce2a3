/* What a simulation says of its tree: levels, memory, and what an open would read. */
#include "base/alloc.h"
#include "base/clock.h"
#include "engine/simulate.h"
#include "version/file_map.h"

/* Of an index in memory: an entry for each block beside its key. */
#define INDEX_ENTRY_BYTES 16

uint64_t nr_sim_manifest_bytes(struct nr_simulation *simulation)
{
    struct nori_engine *engine = simulation->engine;
    return atomic_load(&engine->manifest_bytes_before) + nr_manifest_bytes_written(engine->manifest);
}

uint64_t nr_sim_tree_bytes(struct nr_simulation *simulation)
{
    struct nori_engine *engine = simulation->engine;
    return atomic_load(&engine->flush_bytes_written) + atomic_load(&engine->compaction_bytes_written) +
           nr_sim_manifest_bytes(simulation);
}

static void describe_level(const struct nr_simulation *simulation, const struct nr_level *level,
                           struct nori_simulated_level *out, uint64_t *memory_bytes)
{
    double k = 0;
    out->slots = level->slot_count;
    out->bytes = level->bytes;
    out->most_runs = level->max_run_count;
    for (size_t i = 0; i < level->slot_count; i++) {
        const struct nr_slot *slot = nr_level_slot(level, i);
        out->runs += slot->run_count;
        k += nr_planner_slot_k(&simulation->options, slot);
        *memory_bytes += sizeof *slot + slot->run_count * sizeof slot->runs[0] + 2 * slot->start.size;
        *memory_bytes += slot->activity ? sizeof *slot->activity : 0;
        *memory_bytes += sizeof(nori_slice) + sizeof(uint64_t) + sizeof slot; /* Guard and place in a chunk. */
        for (size_t j = 0; j < slot->run_count; j++) {
            out->files += slot->runs[j]->slice_count;
            size_t slice_bytes = sizeof slot->runs[j]->slices[0] + nr_key_index_bytes(1) + 2 * NR_SIM_KEY_BYTES;
            *memory_bytes += sizeof *slot->runs[j] + slot->runs[j]->slice_count * slice_bytes;
        }
    }
    out->mean_k = level->slot_count > 0 ? k / (double)level->slot_count : 0;
}

static nori_status count_tables(void *arg, struct nr_table_file *file, struct nori_error *err)
{
    struct nori_simulation_report *report = arg;
    (void)err;
    report->files++;
    report->table_bytes += file->file_bytes;
    report->filter_bytes += file->properties.entry_count;
    report->index_bytes += file->properties.block_count;
    return NORI_OK;
}

/* As recovery finds files. */
static nori_status find_file(void *arg, uint64_t number, uint64_t file_bytes,
                             const struct nr_table_properties *properties, struct nr_table_file **file_out,
                             struct nori_error *err)
{
    struct nr_file_map *map = arg;
    struct nr_table_file *file = nr_file_map_find(map, number);
    *file_out = file ? nr_table_file_ref(file) : NULL;
    if (file) return NORI_OK;
    if (!properties) return NR_FAIL(err, NORI_CORRUPTION, "a slice of a table that was never added");
    nori_status rc = nr_table_file_create(number, file_bytes, properties, NULL, NULL, file_out, err);
    if (rc != NORI_OK) return rc;
    rc = nr_file_map_add(map, *file_out, err);
    if (rc == NORI_OK) return rc;
    nr_table_file_unref(*file_out);
    *file_out = NULL;
    return rc;
}

/* A snapshot written out, and the time that reading it back takes: as nr_manifest_recover, without the disk. */
static nori_status measure_open(struct nr_simulation *simulation, struct nr_version *version,
                                struct nori_simulation_report *report, struct nori_error *err)
{
    struct nr_edit *snapshot = NULL, *read = NULL;
    struct nr_version *empty = NULL, *made = NULL;
    struct nr_file_map map = {0};
    struct nr_buffer bytes;
    nori_status rc = NORI_OK;
    nr_buffer_init(&bytes);
    NR_CHECK(nr_manifest_snapshot(simulation->engine, version, &snapshot, err));
    NR_CHECK(nr_edit_encode(snapshot, &bytes, err));
    report->snapshot_bytes = bytes.size;
    uint64_t begun_ns = nr_clock_ns();
    NR_CHECK(nr_version_create(version->level_count, &empty, err));
    NR_CHECK(nr_edit_decode(nr_buffer_slice(&bytes), find_file, &map, &read, err));
    NR_CHECK(nr_edit_apply(read, empty, &made, err));
    report->open_seconds = (double)(nr_clock_ns() - begun_ns) / 1e9;
out:
    nr_version_unref(made);
    nr_version_unref(empty);
    nr_edit_destroy(read);
    nr_file_map_clear(&map);
    nr_edit_destroy(snapshot);
    nr_buffer_clear(&bytes);
    return rc;
}

static void describe_actions(const struct nr_simulation *simulation, struct nori_simulation_report *report)
{
    for (size_t i = 0; i < NR_ACTION_COUNT; i++) {
        if (simulation->action_counts[i] == 0) continue;
        struct nori_simulated_action *action = &report->actions[report->action_count++];
        const char *name = nr_action_name((enum nr_action)i);
        memcpy(action->name, name, NR_MIN(strlen(name), sizeof action->name - 1));
        action->count = simulation->action_counts[i];
        action->bytes = simulation->action_bytes[i];
    }
}

nori_status nr_sim_describe(struct nr_simulation *simulation, struct nori_simulation_report *report,
                            struct nori_error *err)
{
    struct nr_view *view = nr_view_acquire(simulation->engine);
    const struct nori_options *options = &simulation->options;
    nori_status rc = NORI_OK;
    report->level_count = view->version->level_count;
    for (size_t i = 0; i < view->version->level_count; i++)
        describe_level(simulation, view->version->levels[i], &report->levels[i], &report->memory_bytes);
    NR_CHECK(nr_version_each_file(view->version, count_tables, report, err));
    report->memory_bytes += report->files * (sizeof(struct nr_table_file) + 2 * simulation->params.key_bytes);
    report->filter_bytes = (uint64_t)((double)report->filter_bytes * options->filters.bloom_bits_per_key / 8);
    report->index_bytes *= simulation->params.key_bytes + INDEX_ENTRY_BYTES;
    describe_actions(simulation, report);
    report->edits = simulation->edits;
    report->plans = simulation->plans;
    report->planning_seconds = simulation->planning_seconds;
    report->installing_seconds = simulation->installing_seconds;
    report->peak_slots = simulation->peak_slots;
    report->peak_files = simulation->peak_files;
    rc = measure_open(simulation, view->version, report, err);
out:
    nr_view_release(view);
    return rc;
}

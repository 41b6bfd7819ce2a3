/* What writes become: a memtable's run at its flush, and the tree that a simulation may begin with. */
#include <math.h>

#include "base/alloc.h"
#include "engine/simulate.h"
#include "version/level.h"

/* A slot of a placed tree has so many shares of bytes: it is cut at two. */
#define PLACED_SHARES 1.4

double nr_sim_touched(const struct nr_simulation *simulation, size_t range, double writes)
{
    const struct nori_simulated_range *shares = &simulation->ranges[range];
    double keys = (double)simulation->params.keys * shares->keys;
    return keys > 0 ? 1 - exp(-writes * shares->writes / keys) : 0;
}

static uint64_t range_start(const struct nr_simulation *simulation, size_t range)
{
    return range > 0 ? simulation->range_ends[range - 1] : 0;
}

/* What of a range a memtable has. A load puts each key once, wherever it lies. */
static struct nr_sim_part part_of(const struct nr_simulation *simulation, size_t range, double writes, bool is_load)
{
    if (is_load) return (struct nr_sim_part){.loaded = NR_MIN(writes / (double)simulation->params.keys, 1)};
    return (struct nr_sim_part){.updated = nr_sim_touched(simulation, range, writes),
                                .deleted = simulation->params.delete_share};
}

/* The parts of the ranges in [from, to) that 'writes' leave. */
static nori_status add_ranges(const struct nr_simulation *simulation, struct nr_sim_output *output, uint64_t from,
                              uint64_t to, double writes, bool is_load, uint64_t smallest_sequence,
                              uint64_t largest_sequence, struct nori_error *err)
{
    for (size_t i = 0; i < simulation->range_count; i++) {
        struct nr_sim_part part = part_of(simulation, i, writes, is_load);
        part.smallest_sequence = smallest_sequence;
        part.largest_sequence = largest_sequence;
        uint64_t first = NR_MAX(from, range_start(simulation, i)), last = NR_MIN(to, simulation->range_ends[i]);
        if (first >= last) continue;
        nori_status rc = nr_sim_output_add(output, first, last, &part, err);
        if (rc != NORI_OK) return rc;
    }
    return NORI_OK;
}

/* ---------------------------------------------------------------- flushes */

nori_status nr_sim_flush_begin(struct nr_simulation *simulation, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_sim_output output;
    struct nr_sim_memtable memtable = simulation->waiting[0];
    uint64_t first = simulation->next_sequence;
    nr_sim_output_init(&output, simulation, 0, INFINITY);
    nr_sim_output_begin(&output, 0, nr_slice("", 0), nr_bound_infinite());
    simulation->next_sequence += (uint64_t)ceil(memtable.entries);
    NR_CHECK(add_ranges(simulation, &output, 0, NR_SIM_END, memtable.entries, memtable.is_load, first,
                        simulation->next_sequence - 1, err));
    NR_CHECK(nr_sim_output_end(&output, &simulation->flushed, err));
    simulation->flushed_bytes = output.bytes_written;
    simulation->flushing = memtable;
    simulation->is_flushing = true;
out:
    nr_sim_output_clear(&output);
    return rc;
}

/* Bytes by slot of level 1, as the entries lie. */
static void count_arrived(const struct nr_simulation *simulation, const struct nr_version *version)
{
    const struct nr_level *level = version->levels[1];
    const struct nr_table_file *file = simulation->flushed->slices[0].file;
    double all = nr_sim_entries(file, 0, NR_SIM_END);
    for (size_t i = 0; i < level->slot_count && all > 0; i++) {
        const struct nr_slot *slot = nr_level_slot(level, i);
        double part = nr_sim_entries(file, nr_sim_position(slot->start), nr_sim_end(slot->end)) / all;
        uint64_t bytes = (uint64_t)(part * (double)simulation->flushed_bytes + 0.5);
        if (bytes > 0) nr_activity_count_arrived(slot->activity, 0, bytes);
    }
}

nori_status nr_sim_flush_end(struct nr_simulation *simulation, struct nori_error *err)
{
    struct nori_engine *engine = simulation->engine;
    struct nr_run *run = simulation->flushed;
    struct nr_counters counters = {.flushed_sequence = simulation->next_sequence - 1};
    struct nr_edit *edit = NULL;
    struct nr_view *view = nr_view_acquire(engine);
    uint64_t first_number = 0;
    nori_status rc = NORI_OK;
    atomic_store(&engine->published_sequence, simulation->next_sequence - 1);
    NR_CHECK(nr_edit_create(&edit, err));
    if (run) {
        NR_CHECK(nr_edit_add_files(engine, edit, run, &first_number, err));
        NR_CHECK(nr_edit_push_l0(edit, run, err));
    }
    nr_edit_set_counters(edit, &counters);
    nr_turn_take(engine);
    rc = nr_install(engine, edit, 0, err);
    nr_turn_give(engine);
    if (rc != NORI_OK) goto out;
    atomic_fetch_add(&engine->flush_bytes_written, simulation->flushed_bytes);
    if (run && view->version->level_count > 1) count_arrived(simulation, view->version);
    nr_learn_flush(engine, run);
    nr_mutex_lock(&engine->lock);
    engine->unsplittable_count = engine->unsplittable_next = 0;
    nr_mutex_unlock(&engine->lock);
out:
    nr_run_unref(run);
    simulation->flushed = NULL;
    simulation->is_flushing = false;
    nr_edit_destroy(edit);
    nr_view_release(view);
    return rc;
}

/* ---------------------------------------------------------------- a placed tree */

struct placing {
    struct nr_simulation *simulation;
    struct nr_edit *edit;
    uint32_t bottom;
    size_t slot_counts[NORI_MAX_LEVELS];
    nori_slice *guards; /* Owned: of the bottom, but the first; equal steps of bytes. */
    uint8_t *keys;      /* Owned: their bytes. */
};

/* The level whose share of the data all of it is, and how many slots each level above has. */
static void plan_levels(struct placing *placing)
{
    const struct nr_simulation *simulation = placing->simulation;
    const struct nori_options *options = &simulation->options;
    double bytes = (double)simulation->params.keys * simulation->stored_bytes, level_bytes = 0;
    placing->bottom = 1;
    for (double most = (double)options->level1_bytes;
         most < bytes && placing->bottom + 1 < (uint32_t)options->max_levels; most *= (double)options->fanout)
        placing->bottom++;
    level_bytes = bytes;
    for (uint32_t level = placing->bottom; level >= 1; level--) {
        double share = (double)nr_planner_slot_share(options, level);
        placing->slot_counts[level] = (size_t)(level_bytes / share / PLACED_SHARES) + 1;
        if (level < placing->bottom)
            placing->slot_counts[level] = NR_MIN(placing->slot_counts[level], placing->slot_counts[level + 1]);
        level_bytes = NR_MAX(level_bytes / (double)options->fanout, (double)options->level1_bytes);
    }
}

/* Slot 'index' of a level begins at this slot of the bottom: guards of a level are among those of the next. */
static size_t bottom_index(const struct placing *placing, uint32_t level, size_t index)
{
    for (; level < placing->bottom; level++)
        index = index * placing->slot_counts[level + 1] / placing->slot_counts[level];
    return index;
}

static nori_status make_guards(struct placing *placing, struct nori_error *err)
{
    size_t count = placing->slot_counts[placing->bottom];
    placing->guards = nr_calloc(count, sizeof *placing->guards);
    placing->keys = nr_alloc(count * NR_SIM_KEY_BYTES);
    if (!placing->guards || !placing->keys) return nr_fail_memory(err, count * sizeof *placing->guards);
    for (size_t i = 1; i < count; i++) {
        uint8_t *key = placing->keys + i * NR_SIM_KEY_BYTES;
        nr_sim_key(key, (uint64_t)((double)NR_SIM_END * (double)i / (double)count));
        placing->guards[i] = nr_slice(key, NR_SIM_KEY_BYTES);
    }
    return NORI_OK;
}

static nori_status set_guards(struct placing *placing, uint32_t level, struct nori_error *err)
{
    size_t count = placing->slot_counts[level];
    nori_slice *guards = nr_calloc(count, sizeof *guards);
    if (!guards) return nr_fail_memory(err, count * sizeof *guards);
    for (size_t i = 1; i < count; i++) guards[i - 1] = placing->guards[bottom_index(placing, level, i)];
    uint64_t first_id = atomic_fetch_add(&placing->simulation->engine->next_slot_id, count);
    nori_status rc = nr_edit_set_guards(placing->edit, level, guards, count - 1, first_id, 0, err);
    nr_free(guards);
    return rc;
}

/* A level's runs, one for each slot: all keys at the bottom, above it what so many writes leave. */
static nori_status fill_level(struct placing *placing, uint32_t level, double writes, struct nori_error *err)
{
    struct nr_simulation *simulation = placing->simulation;
    bool is_bottom = level == placing->bottom;
    uint64_t first = simulation->next_sequence;
    struct nr_sim_output output;
    nori_status rc = NORI_OK;
    nr_sim_output_init(&output, simulation, level, (double)simulation->options.table_bytes);
    simulation->next_sequence += (uint64_t)ceil(writes) + 1;
    for (size_t i = 0; i < placing->slot_counts[level] && rc == NORI_OK; i++) {
        size_t from = bottom_index(placing, level, i), to = bottom_index(placing, level, i + 1);
        bool is_last = i + 1 == placing->slot_counts[level];
        nori_slice start = from > 0 ? placing->guards[from] : nr_slice("", 0);
        struct nr_bound end = is_last ? nr_bound_infinite() : nr_bound_key(placing->guards[to]);
        struct nr_run *run = NULL;
        uint64_t first_number = 0;
        nr_sim_output_begin(&output, 0, start, end);
        rc = add_ranges(simulation, &output, nr_sim_position(start), nr_sim_end(end), writes, is_bottom, first,
                        simulation->next_sequence - 1, err);
        if (rc == NORI_OK) rc = nr_sim_output_end(&output, &run, err);
        if (run) rc = nr_edit_add_files(simulation->engine, placing->edit, run, &first_number, err);
        if (run && rc == NORI_OK) rc = nr_edit_set_slot(placing->edit, level, start, 0, &run, 1, err);
        nr_run_unref(run);
    }
    nr_sim_output_clear(&output);
    return rc;
}

nori_status nr_sim_place(struct nr_simulation *simulation, struct nori_error *err)
{
    struct nori_engine *engine = simulation->engine;
    struct placing placing = {.simulation = simulation};
    nori_status rc = NORI_OK;
    plan_levels(&placing);
    NR_CHECK(make_guards(&placing, err));
    NR_CHECK(nr_edit_create(&placing.edit, err));
    for (uint32_t level = 1; level <= placing.bottom; level++) NR_CHECK(set_guards(&placing, level, err));
    double bytes = (double)simulation->params.keys * simulation->stored_bytes;
    NR_CHECK(fill_level(&placing, placing.bottom, (double)simulation->params.keys, err));
    for (uint32_t level = placing.bottom; level-- > 1;) {
        double target = bytes / pow((double)simulation->options.fanout, (double)(placing.bottom - level));
        NR_CHECK(fill_level(&placing, level, target / 2 / simulation->stored_bytes, err));
    }
    atomic_store(&engine->published_sequence, simulation->next_sequence - 1);
    nr_edit_set_counters(placing.edit, &(struct nr_counters){.flushed_sequence = simulation->next_sequence - 1});
    nr_turn_take(engine);
    rc = nr_install(engine, placing.edit, 0, err);
    nr_turn_give(engine);
out:
    nr_edit_destroy(placing.edit);
    nr_free(placing.guards);
    nr_free(placing.keys);
    return rc;
}

/* What reads find: the tree is gone through level by level, with what part of the reads of each slot is still looking
 * when it gets there. The same walk counts the slots' activity. */
#include <math.h>

#include "base/alloc.h"
#include "engine/simulate.h"

#define MAX_SAMPLES 256 /* For the sketch of reads, of one walk. */

struct walk {
    struct nr_simulation *simulation;
    const struct nr_version *version;
    double seconds;        /* Whose reads are counted; 0: none. */
    double *reach, *above; /* Owned: by slot, what is still looking there; of the level before. */
    struct nr_sim_reads found;
    double fp; /* A filter's false positives. */
};

/* The part of reads in [from, to), and by range. */
static double reads_in(const struct nr_simulation *simulation, uint64_t from, uint64_t to, size_t range)
{
    uint64_t first = range > 0 ? simulation->range_ends[range - 1] : 0, last = simulation->range_ends[range];
    uint64_t low = NR_MAX(from, first), high = NR_MIN(to, last);
    return high > low ? simulation->ranges[range].reads * (double)(high - low) / (double)(last - first) : 0;
}

static size_t first_range(const struct nr_simulation *simulation, uint64_t from)
{
    size_t low = 0, high = simulation->range_count - 1;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (simulation->range_ends[middle] > from)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The runs, newest first, of which 'reach' reads look into those that may have the key: what is left, and how many runs
 * were looked into. */
static double look_into(const struct walk *walk, struct nr_run *const *runs, size_t run_count, nori_slice start,
                        struct nr_bound end, double reach, double *probes)
{
    uint64_t from = nr_sim_position(start), to = nr_sim_end(end);
    double keys = nr_sim_keys(walk->simulation, from, to);
    for (size_t i = 0; i < run_count && reach > 1e-9 && keys > 0; i++) {
        const struct nr_run *run = runs[i];
        double entries = 0, covered = 0;
        for (size_t j = nr_run_seek(run, start); j < run->slice_count; j++) {
            const struct nr_table_slice *slice = &run->slices[j];
            if (!nr_bound_above(end, slice->start)) break;
            uint64_t first = NR_MAX(from, nr_sim_position(slice->start)), last = NR_MIN(to, nr_sim_end(slice->end));
            if (last <= first) continue;
            covered += (double)(last - first);
            entries += nr_sim_entries(slice->file, first, last);
        }
        double probed = reach * covered / (double)(to - from), hits = reach * NR_MIN(entries / keys, 1);
        *probes += probed;
        reach -= NR_MIN(hits, reach);
    }
    return reach;
}

static uint64_t round_at_random(struct nr_simulation *simulation, double number)
{
    return (uint64_t)(number + nr_random_unit(&simulation->random));
}

static void add(struct walk *walk, uint64_t from, uint64_t to, double probes, double hits)
{
    const struct nr_simulation *simulation = walk->simulation;
    for (size_t i = first_range(simulation, from); i < simulation->range_count; i++) {
        double part = reads_in(simulation, from, to, i);
        walk->found.range_probes[i] += part * probes;
        walk->found.probes += part * probes;
        walk->found.blocks += part * (hits + NR_MAX(probes - hits, 0) * walk->fp);
        if (simulation->range_ends[i] >= to) break;
    }
}

static double part_of_reads(const struct nr_simulation *simulation, uint64_t from, uint64_t to)
{
    double part = 0;
    for (size_t i = first_range(simulation, from); i < simulation->range_count; i++) {
        part += reads_in(simulation, from, to, i);
        if (simulation->range_ends[i] >= to) break;
    }
    return part;
}

static void count(struct walk *walk, const struct nr_slot *slot, double part, double reach, double probes)
{
    struct nr_simulation *simulation = walk->simulation;
    double reads = simulation->params.reads_per_sec * walk->seconds * part;
    double scans = simulation->params.scans_per_sec * walk->seconds * part;
    uint64_t searches = round_at_random(simulation, reads * reach);
    uint64_t probed = reach > 0 ? (uint64_t)((double)searches * probes / reach + 0.5) : 0;
    if (searches > 0)
        atomic_fetch_add_explicit(&slot->activity->stripes[0].searches, searches + (probed << NR_ACTIVITY_PROBES_SHIFT),
                                  memory_order_relaxed);
    uint64_t scanned = round_at_random(simulation, scans);
    if (scanned > 0) atomic_fetch_add_explicit(&slot->activity->stripes[0].scans, scanned, memory_order_relaxed);
    if (slot->level != 1) return;
    uint64_t sheltered = round_at_random(simulation, reads * NR_MAX(1 - reach, 0));
    if (sheltered > 0) nr_activity_count_sheltered(slot->activity, 0, sheltered);
}

/* Level 1 gets what memtables and level 0 have left; others what the slot above has. */
static double reach_of(struct walk *walk, uint32_t level, const struct nr_slot *slot)
{
    const struct nr_simulation *simulation = walk->simulation;
    if (level > 1) return walk->above[nr_level_seek(walk->version->levels[level - 1], slot->start)];
    uint64_t from = nr_sim_position(slot->start), to = nr_sim_end(slot->end);
    double reach = 1, probes = 0, writes = simulation->active.is_load ? 0 : simulation->active.entries;
    for (size_t i = 0; i < simulation->waiting_count; i++) writes += simulation->waiting[i].entries;
    reach -= nr_sim_touched(simulation, first_range(simulation, from), writes);
    double before = reach;
    const struct nr_slot *level0 = nr_version_level0(walk->version);
    reach = look_into(walk, level0->runs, level0->run_count, slot->start, slot->end, reach, &probes);
    add(walk, from, to, probes, before - reach);
    return reach;
}

static void walk_level(struct walk *walk, uint32_t number)
{
    const struct nr_level *level = walk->version->levels[number];
    bool has_data = level->max_run_count > 0;
    for (size_t i = 0; i < level->slot_count; i++) {
        const struct nr_slot *slot = nr_level_slot(level, i);
        double reach = reach_of(walk, number, slot), probes = 0;
        walk->reach[i] = reach;
        if (!has_data) continue;
        uint64_t from = nr_sim_position(slot->start), to = nr_sim_end(slot->end);
        walk->reach[i] = look_into(walk, slot->runs, slot->run_count, slot->start, slot->end, reach, &probes);
        if (probes > 0) add(walk, from, to, probes, reach - walk->reach[i]);
        double part = walk->seconds > 0 ? part_of_reads(walk->simulation, from, to) : 0;
        if (part > 0) count(walk, slot, part, reach, probes);
    }
    double *swapped = walk->above;
    walk->above = walk->reach;
    walk->reach = swapped;
}

/* What the engine would keep of the keys that gets asked for. */
static void learn(struct nr_simulation *simulation, double seconds)
{
    double wanted = simulation->params.reads_per_sec * seconds / NR_READ_SAMPLING;
    uint64_t samples = NR_MIN(round_at_random(simulation, wanted), MAX_SAMPLES);
    for (uint64_t n = 0; n < samples; n++) {
        double at = nr_random_unit(&simulation->random);
        size_t range = 0;
        uint8_t key[NR_SIM_KEY_BYTES];
        while (range + 1 < simulation->range_count && at >= simulation->ranges[range].reads)
            at -= simulation->ranges[range++].reads;
        uint64_t first = range > 0 ? simulation->range_ends[range - 1] : 0;
        uint64_t width = simulation->range_ends[range] - first;
        nr_sim_key(key, first + nr_random_below(&simulation->random, NR_MAX(width, 1)));
        nr_learn_read(simulation->engine, nr_slice(key, sizeof key));
    }
}

static void count_gets(const struct walk *walk)
{
    struct nr_read_counts *counts = &walk->simulation->engine->stripes[0].shared;
    double gets = walk->simulation->params.reads_per_sec * walk->seconds;
    atomic_fetch_add(&counts->gets, round_at_random(walk->simulation, gets));
    atomic_fetch_add(&counts->runs_probed, round_at_random(walk->simulation, gets * walk->found.probes));
}

/* Which range has which reads by now. */
static void turn_ranges(struct nr_simulation *simulation)
{
    const struct nori_simulation *params = &simulation->params;
    if (params->rotate_secs <= 0 || simulation->is_loading || params->range_count == 0) return;
    double secs = (double)(nr_env_monotonic_us(simulation->env) - simulation->traffic_us) / 1e6;
    size_t turns = (size_t)fmod(floor(secs / params->rotate_secs), (double)params->range_count);
    for (size_t i = 0; i < params->range_count; i++)
        simulation->ranges[(i + turns) % params->range_count].reads = params->ranges[i].reads;
}

nori_status nr_sim_read(struct nr_simulation *simulation, double seconds, struct nori_error *err)
{
    turn_ranges(simulation);
    struct nr_view *view = nr_view_acquire(simulation->engine);
    struct walk walk = {.simulation = simulation, .version = view->version, .seconds = seconds};
    nori_status rc = NORI_OK;
    size_t most = 1;
    uint32_t deepest = 0;
    for (uint32_t level = 1; level < view->version->level_count; level++) {
        most = NR_MAX(most, view->version->levels[level]->slot_count);
        if (level == 1 || view->version->levels[level]->max_run_count > 0) deepest = level;
    }
    walk.fp = pow(0.6185, simulation->options.filters.bloom_bits_per_key);
    walk.reach = nr_calloc(most, sizeof *walk.reach);
    walk.above = nr_calloc(most, sizeof *walk.above);
    if (!walk.reach || !walk.above) NR_CHECK(nr_fail_memory(err, most * sizeof *walk.reach));
    for (uint32_t level = 1; level <= deepest; level++) walk_level(&walk, level);
    if (seconds > 0) learn(simulation, seconds);
    if (seconds > 0) count_gets(&walk);
    simulation->reads = walk.found;
out:
    nr_free(walk.reach);
    nr_free(walk.above);
    nr_view_release(view);
    return rc;
}

/* nori_simulate: what it is asked, the load, the traffic, and what is measured of it. */
#include <math.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "engine/simulate.h"

#define SECTOR_BYTES 4096
#define MAX_KEYS 100000000000ull /* Well below the positions there are. */
#define MAX_REAL 1e18
#define SHARES_TOLERANCE 1e-6
/* Beside key and value, in a table and in a memtable; and what a memtable has at once. As measured. */
#define ENTRY_OVERHEAD_BYTES 4
#define NODE_OVERHEAD_BYTES 84
#define MEMTABLE_BASE_BYTES (208u << 10)
#define SMALL_MEMTABLE_OVERHEAD_BYTES 216
#define SCAN_PROBES 10 /* As in shape.c. */

void nori_simulation_init(struct nori_simulation *simulation)
{
    *simulation = (struct nori_simulation){
        .keys = 1000000,
        .key_bytes = 16,
        .value_bytes = 100,
        .stored_share = 1,
        .load_bytes_per_sec = 32 << 20,
        .write_bytes_per_sec = 8 << 20,
        .merge_bytes_per_sec = 200 << 20,
        .edit_secs = 0.002,
        .probe_ns = 500,
        .rewrite_ns = 10,
        .write_bytes = 0,
    };
}

/* ---------------------------------------------------------------- checking */

static nori_status check_real(const char *name, double value, double least, double most, struct nori_error *err)
{
    if (value >= least && value <= most) return NORI_OK;
    return NR_FAIL(err, NORI_INVALID, "%s is %g, must be %g to %g", name, value, least, most);
}

static nori_status check_ranges(const struct nori_simulation *params, struct nori_error *err)
{
    double keys = 0, writes = 0, reads = 0;
    nori_status rc = NORI_OK;
    if (params->range_count > NORI_SIMULATED_RANGES)
        return NR_FAIL(err, NORI_INVALID, "ranges: %zu are more than %d", params->range_count, NORI_SIMULATED_RANGES);
    for (size_t i = 0; i < params->range_count; i++) {
        const struct nori_simulated_range *range = &params->ranges[i];
        NR_CHECK(check_real("ranges: keys", range->keys, 1e-6, 1, err));
        NR_CHECK(check_real("ranges: writes", range->writes, 0, 1, err));
        NR_CHECK(check_real("ranges: reads", range->reads, 0, 1, err));
        keys += range->keys;
        writes += range->writes;
        reads += range->reads;
    }
    if (params->range_count == 0) return NORI_OK;
    NR_CHECK(check_real("ranges: the sum of keys", keys, 1 - SHARES_TOLERANCE, 1 + SHARES_TOLERANCE, err));
    NR_CHECK(check_real("ranges: the sum of writes", writes, 1 - SHARES_TOLERANCE, 1 + SHARES_TOLERANCE, err));
    NR_CHECK(check_real("ranges: the sum of reads", reads, 1 - SHARES_TOLERANCE, 1 + SHARES_TOLERANCE, err));
out:
    return rc;
}

static nori_status check(const struct nori_simulation *params, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    const struct {
        const char *name;
        double value, least, most;
    } reals[] = {
        {"keys", (double)params->keys, 1000, (double)MAX_KEYS},
        {"key_bytes", params->key_bytes, 1, NORI_MAX_KEY_BYTES},
        {"value_bytes", params->value_bytes, 0, NORI_MAX_VALUE_BYTES},
        {"stored_share", params->stored_share, 0.01, 10},
        {"memtable_entries", (double)params->memtable_entries, 0, 1e12},
        {"load_bytes_per_sec", params->load_bytes_per_sec, 1, MAX_REAL},
        {"write_bytes_per_sec", params->write_bytes_per_sec, params->write_bytes > 0 ? 1 : 0, MAX_REAL},
        {"reads_per_sec", params->reads_per_sec, 0, 1e9},
        {"scans_per_sec", params->scans_per_sec, 0, 1e9},
        {"delete_share", params->delete_share, 0, 0.99},
        {"write_bytes", (double)params->write_bytes, 0, MAX_REAL},
        {"warm_up_bytes", (double)params->warm_up_bytes, 0, (double)params->write_bytes},
        {"merge_bytes_per_sec", params->merge_bytes_per_sec, 1, MAX_REAL},
        {"edit_secs", params->edit_secs, 0, 3600},
        {"probe_ns", params->probe_ns, 0, 1e9},
        {"rewrite_ns", params->rewrite_ns, 0, 1e9},
        {"wait_at_depth", (double)params->wait_at_depth, 0, 1e9},
        {"rotate_secs", params->rotate_secs, 0, 1e9},
    };
    for (size_t i = 0; i < NR_ARRAY_LEN(reals); i++)
        NR_CHECK(check_real(reals[i].name, reals[i].value, reals[i].least, reals[i].most, err));
    if (params->start != NORI_START_WRITTEN && params->start != NORI_START_PLACED) {
        rc = NR_FAIL(err, NORI_INVALID, "start is %d, which is neither written nor placed", params->start);
        goto out;
    }
    NR_CHECK(check_ranges(params, err));
    if (params->options) NR_CHECK(nori_options_check(params->options, err));
out:
    return rc;
}

/* ---------------------------------------------------------------- beginning and end */

static double entries_of_memtable(const struct nr_simulation *simulation)
{
    double bytes = (double)nr_pressure_memtable_bytes(&simulation->options);
    double node = simulation->entry_bytes + NODE_OVERHEAD_BYTES;
    double small = simulation->entry_bytes + SMALL_MEMTABLE_OVERHEAD_BYTES;
    if (simulation->params.memtable_entries > 0) return (double)simulation->params.memtable_entries;
    return NR_MAX(NR_MAX((bytes - MEMTABLE_BASE_BYTES) / node, bytes / small), 16);
}

static void set_ranges(struct nr_simulation *simulation)
{
    static const struct nori_simulated_range all = {1, 1, 1};
    const struct nori_simulation *params = &simulation->params;
    double keys = 0;
    simulation->range_count = NR_MAX(params->range_count, 1);
    for (size_t i = 0; i < simulation->range_count; i++) {
        simulation->ranges[i] = params->range_count > 0 ? params->ranges[i] : all;
        keys += simulation->ranges[i].keys;
        simulation->range_ends[i] = (uint64_t)((double)NR_SIM_END * NR_MIN(keys, 1));
    }
    simulation->range_ends[simulation->range_count - 1] = NR_SIM_END;
}

/* The engine's own directory, log and caches take next to nothing. */
static nori_status open_engine(struct nr_simulation *simulation, struct nori_error *err)
{
    static const struct nori_override small[] = {
        {"wal.segment_bytes", "65536"},     {"wal.durability", "os"},       {"resources.block_cache_mib", "1"},
        {"resources.index_cache_mib", "1"}, {"resources.filters_mib", "1"},
    };
    struct nori_open_params params = {
        .options = &simulation->options, .overrides = small, .override_count = NR_ARRAY_LEN(small)};
    nori_status rc = nori_simdisk_create(simulation->params.seed, SECTOR_BYTES, false, &simulation->env, err);
    if (rc != NORI_OK) return rc;
    params.env = simulation->env;
    rc = nori_open("simulated", &params, &simulation->engine, err);
    if (rc != NORI_OK) return rc;
    simulation->engine->merging.model = &nr_sim_model;
    double probe_ns = simulation->params.probe_ns;
    simulation->engine->shape_costs =
        (struct nr_shape_costs){probe_ns, SCAN_PROBES * probe_ns, simulation->params.rewrite_ns};
    nr_random_init(&simulation->engine->random, simulation->params.seed);
    return NORI_OK;
}

static nori_status begin(struct nr_simulation *simulation, const struct nori_simulation *params, struct nori_error *err)
{
    *simulation = (struct nr_simulation){.params = *params, .next_sequence = 1};
    if (params->options)
        simulation->options = *params->options;
    else
        nori_options_init(&simulation->options);
    set_ranges(simulation);
    simulation->entry_bytes = (double)params->key_bytes + params->value_bytes;
    double more = ENTRY_OVERHEAD_BYTES + simulation->options.filters.bloom_bits_per_key / 8;
    simulation->stored_bytes = simulation->entry_bytes * params->stored_share + more;
    simulation->tombstone_bytes = (double)params->key_bytes * params->stored_share + more;
    simulation->memtable_entries = entries_of_memtable(simulation);
    nr_random_init(&simulation->random, params->seed + 1);
    simulation->worker_count = (size_t)simulation->options.io.max_background_jobs;
    simulation->workers = nr_calloc(simulation->worker_count, sizeof *simulation->workers);
    if (!simulation->workers) return nr_fail_memory(err, simulation->worker_count * sizeof *simulation->workers);
    nori_status rc = open_engine(simulation, err);
    if (rc == NORI_OK) simulation->read_us = simulation->maintained_us = nr_env_monotonic_us(simulation->env);
    return rc;
}

static void end(struct nr_simulation *simulation)
{
    for (size_t i = 0; i < simulation->worker_count && simulation->workers; i++) {
        struct nr_job *job = simulation->workers[i].job;
        if (!job) continue;
        nr_job_release(job);
        nr_job_end(simulation->engine, job, NORI_CLOSED, NULL);
    }
    nr_run_unref(simulation->flushed);
    nori_destroy(simulation->engine);
    nori_simdisk_destroy(simulation->env);
    nr_free(simulation->workers);
}

/* ---------------------------------------------------------------- measuring */

struct measuring {
    struct nr_simulation *simulation;
    struct nori_simulation_report *report;
    double begun_bytes, sample_bytes; /* Of user bytes: where measuring began, the last sample. */
    uint64_t begun_tree, sample_tree; /* Likewise, of the tree's. */
    uint64_t begun_us, traffic_us;
    struct nori_progress progress;
};

/* Each write deletes with the same chance, so a key that was written is gone with it. */
static double live_bytes(const struct nr_simulation *simulation)
{
    double keys = 0, writes = simulation->user_bytes / simulation->entry_bytes;
    for (size_t i = 0; i < simulation->range_count; i++) {
        double gone = nr_sim_touched(simulation, i, writes) * simulation->params.delete_share;
        keys += (double)simulation->params.keys * simulation->ranges[i].keys * (1 - gone);
    }
    return keys * simulation->stored_bytes;
}

/* Of installed tables: not of those that merges are making. */
static double space_amp(const struct measuring *measuring)
{
    const struct nr_simulation *simulation = measuring->simulation;
    return (double)atomic_load(&simulation->engine->file_bytes) / live_bytes(simulation);
}

static nori_status take_sample(struct measuring *measuring, struct nori_error *err)
{
    struct nr_simulation *simulation = measuring->simulation;
    struct nori_simulation_report *report = measuring->report;
    double user = simulation->user_bytes - measuring->sample_bytes;
    uint64_t tree = nr_sim_tree_bytes(simulation);
    if (report->sample_count == NORI_SIMULATED_SAMPLES || user <= 0) return NORI_OK;
    nori_status rc = nr_sim_read(simulation, 0, err);
    if (rc != NORI_OK) return rc;
    struct nr_view *view = nr_view_acquire(simulation->engine);
    struct nori_simulated_sample *sample = &report->samples[report->sample_count++];
    *sample = (struct nori_simulated_sample){
        .seconds = (double)(nr_env_monotonic_us(simulation->env) - measuring->traffic_us) / 1e6,
        .write_amp = (double)(tree - measuring->sample_tree) / user,
        .space_amp = space_amp(measuring),
        .read_amp = simulation->reads.probes,
        .blocks_per_read = simulation->reads.blocks,
        .l0_depth = nr_version_l0_depth(view->version),
        .files = simulation->file_count,
    };
    for (size_t level = 1; level < view->version->level_count; level++)
        sample->slots += view->version->levels[level]->slot_count;
    nr_view_release(view);
    for (size_t i = 0; i < simulation->range_count; i++)
        if (simulation->ranges[i].reads > 0)
            report->range_read_amp[i] += simulation->reads.range_probes[i] / simulation->ranges[i].reads;
    measuring->sample_bytes = simulation->user_bytes;
    measuring->sample_tree = tree;
    return NORI_OK;
}

static nori_status after_event(void *arg, struct nori_error *err)
{
    struct measuring *measuring = arg;
    const struct nori_simulation *params = &measuring->simulation->params;
    double step = (double)(params->write_bytes - params->warm_up_bytes) / NORI_SIMULATED_SAMPLES;
    nori_status rc = NORI_OK;
    if (measuring->begun_us > 0) {
        measuring->report->max_space_amp = NR_MAX(measuring->report->max_space_amp, space_amp(measuring));
        if (measuring->simulation->user_bytes - measuring->sample_bytes >= step) rc = take_sample(measuring, err);
    }
    if (rc != NORI_OK) return rc;
    measuring->progress.done = (uint64_t)measuring->simulation->user_bytes;
    return nr_call_tell(params->progress, params->progress_arg, &measuring->progress, err);
}

/* From now on. */
static void begin_measuring(struct measuring *measuring)
{
    struct nr_simulation *simulation = measuring->simulation;
    measuring->begun_us = nr_env_monotonic_us(simulation->env);
    measuring->begun_bytes = measuring->sample_bytes = simulation->user_bytes;
    measuring->begun_tree = measuring->sample_tree = nr_sim_tree_bytes(simulation);
    simulation->stall_us = simulation->waited_us = 0;
    memset(simulation->action_counts, 0, sizeof simulation->action_counts);
    memset(simulation->action_bytes, 0, sizeof simulation->action_bytes);
}

static void sum_up(struct measuring *measuring, uint64_t flush_before, uint64_t compaction_before,
                   uint64_t manifest_before)
{
    struct nr_simulation *simulation = measuring->simulation;
    struct nori_simulation_report *report = measuring->report;
    double user = simulation->user_bytes - measuring->begun_bytes, count = NR_MAX((double)report->sample_count, 1);
    uint64_t micros = NR_MAX(nr_env_monotonic_us(simulation->env) - measuring->begun_us, 1);
    report->seconds = (double)micros / 1e6;
    report->user_bytes = (uint64_t)user;
    report->flush_bytes = atomic_load(&simulation->engine->flush_bytes_written) - flush_before;
    report->compaction_bytes = atomic_load(&simulation->engine->compaction_bytes_written) - compaction_before;
    report->manifest_bytes = nr_sim_manifest_bytes(simulation) - manifest_before;
    if (user > 0) report->write_amp = (double)(nr_sim_tree_bytes(simulation) - measuring->begun_tree) / user;
    report->stall_share = (double)simulation->stall_us / (double)micros;
    report->waited_share = (double)simulation->waited_us / (double)micros;
    for (size_t i = 0; i < report->sample_count; i++) {
        const struct nori_simulated_sample *sample = &report->samples[i];
        report->max_write_amp = NR_MAX(report->max_write_amp, sample->write_amp);
        report->max_read_amp = NR_MAX(report->max_read_amp, sample->read_amp);
        report->read_amp += sample->read_amp / count;
        report->blocks_per_read += sample->blocks_per_read / count;
        report->space_amp += sample->space_amp / count;
    }
    for (size_t i = 0; i < simulation->range_count; i++) report->range_read_amp[i] /= count;
}

static nori_status load(struct measuring *measuring, struct nori_error *err)
{
    struct nr_simulation *simulation = measuring->simulation;
    const struct nori_simulation *params = &simulation->params;
    if (params->start == NORI_START_PLACED) return nr_sim_place(simulation, err);
    nori_status rc = nr_sim_run(simulation, (double)params->keys, params->load_bytes_per_sec, true, true, after_event,
                                measuring, err);
    measuring->report->load_write_amp =
        (double)nr_sim_tree_bytes(simulation) / ((double)params->keys * simulation->entry_bytes);
    return rc;
}

static nori_status simulate(struct nr_simulation *simulation, struct nori_simulation_report *report,
                            struct nori_error *err)
{
    const struct nori_simulation *params = &simulation->params;
    struct measuring measuring = {
        .simulation = simulation,
        .report = report,
        .progress = {.total = params->write_bytes, .unit = "bytes", .phase = "load"},
    };
    nori_status rc = NORI_OK;
    NR_CHECK(load(&measuring, err));
    measuring.progress.phase = "traffic";
    measuring.traffic_us = simulation->traffic_us = simulation->read_us = nr_env_monotonic_us(simulation->env);
    double warm_up = (double)params->warm_up_bytes / simulation->entry_bytes;
    double entries = (double)params->write_bytes / simulation->entry_bytes - warm_up;
    if (warm_up > 0)
        NR_CHECK(
            nr_sim_run(simulation, warm_up, params->write_bytes_per_sec, false, false, after_event, &measuring, err));
    begin_measuring(&measuring);
    uint64_t flush_before = atomic_load(&simulation->engine->flush_bytes_written);
    uint64_t compaction_before = atomic_load(&simulation->engine->compaction_bytes_written);
    uint64_t manifest_before = nr_sim_manifest_bytes(simulation);
    if (entries > 0)
        NR_CHECK(
            nr_sim_run(simulation, entries, params->write_bytes_per_sec, false, true, after_event, &measuring, err));
    if (report->sample_count == 0) NR_CHECK(take_sample(&measuring, err));
    sum_up(&measuring, flush_before, compaction_before, manifest_before);
    NR_CHECK(nr_sim_describe(simulation, report, err));
out:
    return rc;
}

nori_status nori_simulate(const struct nori_simulation *params, struct nori_simulation_report *report_out,
                          struct nori_error *err)
{
    struct nori_error own;
    uint64_t begun_ns = nr_clock_ns();
    if (!err) err = &own;
    memset(report_out, 0, sizeof *report_out);
    nori_status rc = check(params, err);
    if (rc != NORI_OK) return rc;
    struct nr_simulation *simulation = nr_alloc(sizeof *simulation);
    if (!simulation) return nr_fail_memory(err, sizeof *simulation);
    rc = begin(simulation, params, err);
    if (rc == NORI_OK) rc = simulate(simulation, report_out, err);
    end(simulation);
    nr_free(simulation);
    report_out->wall_seconds = (double)(nr_clock_ns() - begun_ns) / 1e9;
    return rc;
}

/* What pressure says, from plain numbers: score, zone, delay, and whether writers stall. No lock, no clock, no engine.
 */
#include <math.h>

#include "engine/engine.h"

#define YELLOW_DELAY_US 50000.0
#define ORANGE_DELAY_US 800000.0

uint64_t nr_pressure_memory_limit(const struct nori_options *options)
{
    return (uint64_t)options->resources.memtables_mib << 20;
}

uint64_t nr_pressure_memtable_bytes(const struct nori_options *options)
{
    return NR_MIN(options->memtable.flush_trigger_bytes, nr_pressure_memory_limit(options) / 4);
}

/* Waiting memtables have what the one that is written to leaves. Their number has a limit, too. */
static double fill_of_memtables(const struct nori_options *options, const struct nr_pressure_input *input)
{
    uint64_t limit = nr_pressure_memory_limit(options) - nr_pressure_memtable_bytes(options);
    double by_bytes = (double)input->waiting_bytes / (double)limit;
    return NR_MAX(by_bytes, (double)input->waiting_count / NR_STALL_LAYERS);
}

static enum nori_zone zone_of(const double *zones, double fill)
{
    if (fill >= zones[2]) return NORI_ZONE_RED;
    if (fill >= zones[1]) return NORI_ZONE_ORANGE;
    return fill >= zones[0] ? NORI_ZONE_YELLOW : NORI_ZONE_GREEN;
}

/* Red owes what orange ends with: writes that red lets pass, because there is nothing to wait for. */
static double delay_of(const double *zones, double fill)
{
    if (fill < zones[0]) return 0;
    if (fill < zones[1]) return YELLOW_DELAY_US * (fill - zones[0]) / (zones[1] - zones[0]);
    double part = (NR_MIN(fill, zones[2]) - zones[1]) / (zones[2] - zones[1]);
    return YELLOW_DELAY_US * pow(ORANGE_DELAY_US / YELLOW_DELAY_US, part);
}

static double delay_of_level0(const struct nori_options *options, size_t depth)
{
    size_t threshold = (size_t)options->l0.soft_throttle_threshold;
    return depth > threshold ? options->l0.soft_throttle_base_delay_ms * 1000.0 * (double)(depth - threshold) : 0;
}

/* A write waits only for work that ends what it waits for: what is red without such work would stay so until somebody
 * writes, or for ever, and every write would fail after its timeout. Merges empty level 0, flushes memory. Job buffers
 * and pinned blocks are given back by those who hold them; while they fill memory, each memtable that grows beside
 * them is flushed before writes go on. Level 0 at its limit stalls whether or not anything is under way. */
static enum nr_stall stall_of(const struct nori_options *options, const struct nr_pressure_input *input,
                              const struct nr_pressure *pressure)
{
    double red = options->pressure.zones[2];
    bool by_score = pressure->score >= red;
    bool by_memory = by_score || pressure->memory_fill >= red || pressure->memtable_fill >= red;
    bool by_level0 = by_score || pressure->l0_fill >= red;
    if (by_memory && (input->waiting_count > 0 || pressure->wants_rotation)) return NR_STALL_MEMTABLES;
    if (pressure->l0_fill >= 1 || (by_level0 && input->is_compaction_pending)) return NR_STALL_L0;
    return NR_STALL_NONE;
}

void nr_pressure_judge(const struct nori_options *options, const struct nr_pressure_input *input,
                       struct nr_pressure *pressure_out)
{
    const double *weights = options->pressure.weights, *zones = options->pressure.zones;
    double limit = (double)nr_pressure_memory_limit(options);
    struct nr_pressure *out = pressure_out;
    *out = (struct nr_pressure){
        .l0_fill = (double)input->l0_depth / (double)options->l0.max_files,
        .memory_fill = (double)input->memory_bytes / limit,
        .memtable_fill = fill_of_memtables(options, input),
    };
    out->score = weights[0] * out->l0_fill + weights[1] * out->memory_fill + weights[2] * out->memtable_fill;
    double worst = NR_MAX(NR_MAX(out->score, out->l0_fill), NR_MAX(out->memory_fill, out->memtable_fill));
    out->zone = zone_of(zones, worst);
    double delay_us = NR_MAX(delay_of(zones, worst), delay_of_level0(options, input->l0_depth));
    out->delay_us_per_mib = (uint64_t)delay_us;
    /* A memtable that is a small part of memory is not worth a table of its own. */
    bool by_memory = NR_MAX(out->score, out->memory_fill) >= zones[2];
    out->wants_rotation = by_memory && input->waiting_count == 0 && (double)input->active_bytes >= limit / 8;
    out->stall = stall_of(options, input, out);
}

#include "compact/shape.h"

#include <math.h>

#define HEAT_MARGIN 0.05
#define HINTED_GAP_US 1e6
#define SOONEST_GAP_US 0.2e6
#define LEAST_MANY_HINTS 32
#define GAP_PER_LOOK 100

/* Reads and scans, by what one run more costs them. A scan opens all that there are. */
static double reading_ns(const struct nr_shape_slot *slot, const struct nr_shape_costs *costs, double reads,
                         double scans)
{
    return reads * slot->probed_part * costs->probe_ns + scans * costs->scan_ns;
}

/* Nanoseconds per second that a run more takes. */
static double reading_rate(const struct nr_shape_slot *slot, const struct nr_shape_costs *costs)
{
    double rate = reading_ns(slot, costs, slot->read_rate, slot->scan_rate);
    if (slot->recent_secs <= 0) return rate;
    return NR_MAX(rate, reading_ns(slot, costs, slot->recent_reads, slot->recent_scans) / slot->recent_secs);
}

/* Nanoseconds per second that a slot of 'k' runs takes. */
static double cost_of(const struct nr_shape_slot *slot, const struct nr_shape_costs *costs, uint32_t k)
{
    double extra_runs = ((double)k - 1) / 2;
    double rewritten = 1 + slot->ratio / 2 / (double)k;
    return extra_runs * reading_rate(slot, costs) + slot->write_rate * rewritten * costs->byte_ns;
}

void nr_shape_ratios(const uint64_t *level_bytes, size_t level_count, uint64_t arriving_bytes, double most,
                     double *ratios_out)
{
    for (size_t i = 0; i < level_count; i++) {
        double ratio = (double)level_bytes[i] / (double)NR_MAX(arriving_bytes, 1);
        ratios_out[i] = NR_MIN(NR_MAX(ratio, 1), most);
        if (level_bytes[i] > 0) arriving_bytes = level_bytes[i];
    }
}

uint32_t nr_shape_by_cost(const struct nr_shape_slot *slot, const struct nr_shape_costs *costs, uint32_t k_global)
{
    uint32_t best = k_global;
    if (reading_rate(slot, costs) <= 0) return k_global;
    for (uint32_t k = k_global; k-- > 1;)
        if (cost_of(slot, costs, k) < cost_of(slot, costs, best)) best = k;
    return best;
}

/* Until the next arrival, as much as is to come at a time. */
static double secs_to_arrival(const struct nr_shape_slot *slot, double most)
{
    double arriving = (double)slot->bytes / NR_MAX(slot->ratio, 1);
    return slot->write_rate * most > arriving ? arriving / slot->write_rate : most;
}

bool nr_shape_is_worth_merging(const struct nr_shape_slot *slot, const struct nr_shape_costs *costs, uint32_t k,
                               uint64_t bytes, double horizon_secs)
{
    double fewer = (double)slot->run_count - (double)k, secs = secs_to_arrival(slot, horizon_secs);
    double run_ns = reading_ns(slot, costs, slot->read_rate, slot->scan_rate) * secs;
    /* No more than was read: what has just begun may end. */
    double recent_ns = reading_ns(slot, costs, slot->recent_reads, slot->recent_scans);
    if (slot->recent_secs > secs) recent_ns *= secs / slot->recent_secs;
    return fewer * NR_MAX(run_ns, recent_ns) > (double)bytes * costs->byte_ns;
}

static uint32_t k_of_heat(double heat, uint32_t k_global)
{
    double part = NR_MIN(NR_MAX((0.8 - heat) / 0.6, 0), 1);
    return 1 + (uint32_t)lround(part * (double)(k_global - 1));
}

uint32_t nr_shape_by_heat(const struct nr_shape_slot *slot, uint32_t k_global)
{
    uint32_t most = k_of_heat(slot->heat - HEAT_MARGIN, k_global),
             least = k_of_heat(slot->heat + HEAT_MARGIN, k_global);
    if (slot->k >= least && slot->k <= most) return slot->k;
    return k_of_heat(slot->heat, k_global);
}

double nr_shape_due_us(const struct nr_shape_watch *watch)
{
    if (watch->hints == 0) return watch->round_us;
    bool are_many = watch->hints >= NR_MAX(watch->many_hints, LEAST_MANY_HINTS);
    double gap_us = NR_MAX(GAP_PER_LOOK * watch->look_us, are_many ? SOONEST_GAP_US : HINTED_GAP_US);
    return NR_MIN(watch->round_us, gap_us);
}

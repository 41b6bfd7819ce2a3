#include "compact/shape.h"

#include <math.h>

#define HEAT_MARGIN 0.05

/* Reads and scans, by what one run more costs them. */
static double reading_ns(const struct nr_shape_costs *costs, double reads, double scans)
{
    return reads * costs->probe_ns + scans * costs->scan_ns;
}

/* Nanoseconds per second that a run more takes. */
static double reading_rate(const struct nr_shape_slot *slot, const struct nr_shape_costs *costs)
{
    double rate = reading_ns(costs, slot->read_rate, slot->scan_rate);
    if (slot->recent_secs <= 0) return rate;
    return NR_MAX(rate, reading_ns(costs, slot->recent_reads, slot->recent_scans) / slot->recent_secs);
}

/* Nanoseconds per second that a slot of 'k' runs takes. */
static double cost_of(const struct nr_shape_slot *slot, const struct nr_shape_costs *costs, uint32_t fanout, uint32_t k)
{
    double extra_runs = ((double)k - 1) / 2;
    double rewritten = 1 + (double)fanout / 2 / (double)k;
    return extra_runs * reading_rate(slot, costs) + slot->write_rate * rewritten * costs->byte_ns;
}

/* Whether becoming 'k' runs pays within the interval, by what was read in the last one. */
static bool is_worth_merging(const struct nr_shape_slot *slot, const struct nr_shape_costs *costs, uint32_t k,
                             double interval_secs)
{
    double fewer = ((double)slot->k - (double)k) / 2;
    double run_ns = NR_MAX(reading_ns(costs, slot->read_rate, slot->scan_rate) * interval_secs,
                           reading_ns(costs, slot->recent_reads, slot->recent_scans));
    return slot->run_count <= k || fewer * run_ns > (double)slot->bytes * costs->byte_ns;
}

uint32_t nr_shape_by_cost(const struct nr_shape_slot *slot, const struct nr_shape_costs *costs, uint32_t fanout,
                          uint32_t k_global, double interval_secs)
{
    uint32_t best = k_global, now = slot->k == 0 ? k_global : NR_MIN(slot->k, k_global);
    struct nr_shape_slot as_it_is = *slot;
    as_it_is.k = now;
    if (reading_rate(slot, costs) <= 0) return k_global;
    for (uint32_t k = k_global; k-- > 1;)
        if (cost_of(slot, costs, fanout, k) < cost_of(slot, costs, fanout, best)) best = k;
    if (best >= now) return best;
    return is_worth_merging(&as_it_is, costs, best, interval_secs) ? best : now;
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

#include "compact/price.h"

#include <math.h>
#include <stdlib.h>

#include "nori.h"

/* Probes beyond those of one run a slot, as a part of these. Reads of hot ranges may have a tenth more than they do
 * with all slots leveled, and slots have more runs than their K while it is learned. */
#define AIM 0.07
/* Where there are more runs than K says, or fewer, K is chosen for as little as the one and as much as the other. */
#define LEAST_AIM 0.01
#define MOST_AIM (2 * AIM)
/* What is read most: slots with at least this part of the reads a byte that half of a level's reads have. The others
 * follow by cost, and have no say in the price. */
#define URGENT_PART 0.125
#define LEAST_PRICE 0.12
/* In heat intervals: for how long what was too much is remembered; and how much of it is to be made good at a time. */
#define MEMORY 10.0
#define GOOD_PART 2.0
#define STEPS 8
#define FOLLOWING_PART 0.3

/* In gets. */
static double scans_of(const struct nr_shape_slot *slot, const struct nr_shape_costs *costs)
{
    return slot->scan_rate * costs->scan_ns / NR_MAX(costs->probe_ns, 1);
}

static double visits_of(const struct nr_shape_slot *slot, const struct nr_shape_costs *costs)
{
    return slot->read_rate + scans_of(slot, costs);
}

/* A second, of a run more. */
static double probes_of(const struct nr_shape_slot *slot, const struct nr_shape_costs *costs)
{
    return slot->read_rate * slot->probed_part + scans_of(slot, costs);
}

static double runs_beyond(const struct nr_shape_slot *slot)
{
    return slot->run_count > 1 ? (double)slot->run_count - 1 : 0;
}

static double density_of(const struct nr_shape_slot *slot)
{
    return (slot->read_rate + slot->scan_rate) / (double)NR_MAX(slot->bytes, 1);
}

static int compare_slots(const void *left, const void *right)
{
    double a = density_of(left), b = density_of(right);
    return (a < b) - (a > b);
}

/* The first slots of a level, those that are read most. */
struct urgent {
    const struct nr_shape_slot *slots;
    size_t count;
    double scale; /* As if all that visits the level visited them. */
};

static struct urgent find_urgent(const struct nr_price_level *level, const struct nr_shape_costs *costs)
{
    struct urgent urgent = {.slots = level->slots};
    double visits = 0, seen = 0, least = 0;
    for (size_t i = 0; i < level->count; i++) visits += visits_of(&level->slots[i], costs);
    if (visits <= 0) return urgent;
    while (urgent.count < level->count && (seen < visits / 2 || density_of(&level->slots[urgent.count]) >= least)) {
        const struct nr_shape_slot *slot = &level->slots[urgent.count++];
        if (seen < visits / 2) least = URGENT_PART * density_of(slot);
        seen += visits_of(slot, costs);
    }
    urgent.scale = visits / seen * level->slots_per_sample;
    return urgent;
}

/* Probes a second beyond those of one run a slot: with the runs that there are; and with K as it would be, of which a
 * slot has half on average. */
static double extra_now(const struct urgent *urgent, const struct nr_shape_costs *costs)
{
    double probes = 0;
    for (size_t i = 0; i < urgent->count; i++)
        probes += probes_of(&urgent->slots[i], costs) * runs_beyond(&urgent->slots[i]);
    return probes * urgent->scale;
}

static double extra_by_k(const struct urgent *urgent, const struct nr_shape_costs *costs, uint32_t k_global)
{
    double probes = 0;
    for (size_t i = 0; i < urgent->count; i++) {
        const struct nr_shape_slot *slot = &urgent->slots[i];
        probes += probes_of(slot, costs) * ((double)nr_shape_by_cost(slot, costs, k_global) - 1) / 2;
    }
    return probes * urgent->scale;
}

/* Probes a second if all slots had one run. All gets are those of the first level; of a later one, if it is empty. */
static double least_probes(const struct nr_price_level *levels, size_t level_count, double probes_per_get,
                           const struct nr_shape_costs *costs)
{
    double gets = 0, extra = 0, scans = 0;
    for (size_t i = 0; i < level_count; i++) {
        double level_gets = 0;
        for (size_t j = 0; j < levels[i].count; j++) {
            const struct nr_shape_slot *slot = &levels[i].slots[j];
            level_gets += (slot->read_rate + slot->sheltered_rate) * levels[i].slots_per_sample;
            extra += slot->read_rate * slot->probed_part * runs_beyond(slot) * levels[i].slots_per_sample;
            scans += scans_of(slot, costs) * levels[i].slots_per_sample;
        }
        gets = NR_MAX(gets, level_gets);
    }
    return NR_MAX(gets * probes_per_get - extra, 0) + scans;
}

static double sum_by_k(const struct urgent *urgent, size_t count, const struct nr_price *price,
                       const struct nr_shape_costs *costs, uint32_t k_global)
{
    struct nr_shape_costs priced = nr_price_costs(price, *costs);
    double probes = 0;
    for (size_t i = 0; i < count; i++) probes += extra_by_k(&urgent[i], &priced, k_global);
    return probes;
}

void nr_price_follow(struct nr_price *price, struct nr_price_level *levels, size_t level_count,
                     const struct nr_shape_costs *costs, uint32_t k_global, double intervals)
{
    struct urgent urgent[NORI_MAX_LEVELS];
    struct nr_price low = {.part = LEAST_PRICE}, high = {.part = 1};
    double now = 0, least = least_probes(levels, level_count, price->probes_per_get, costs);
    for (size_t i = 0; i < level_count; i++) {
        qsort(levels[i].slots, levels[i].count, sizeof *levels[i].slots, compare_slots);
        urgent[i] = find_urgent(&levels[i], costs);
        now += extra_now(&urgent[i], costs);
    }
    double beyond_k = price->part > 0 ? now - sum_by_k(urgent, level_count, price, costs, k_global) : 0;
    if (least > 0) price->overdrawn += (1 - exp(-intervals / MEMORY)) * (now / least - AIM - price->overdrawn);
    double aim = (AIM - GOOD_PART * NR_MAX(price->overdrawn, 0)) * least - beyond_k;
    aim = NR_MIN(NR_MAX(aim, LEAST_AIM * least), MOST_AIM * least);
    for (int step = 0; step < STEPS && least > 0; step++) {
        struct nr_price tried = {.part = sqrt(low.part * high.part)};
        bool is_enough = sum_by_k(urgent, level_count, &tried, costs, k_global) <= aim;
        *(is_enough ? &high : &low) = tried;
    }
    if (price->part > 0) high.part = price->part * pow(high.part / price->part, FOLLOWING_PART);
    price->part = high.part;
}

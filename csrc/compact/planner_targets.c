#include <stdlib.h>

#include "compact/expired.h"
#include "compact/planner_state.h"

/* Of a lifetime: runs whose first entry is older than this are not joined any more. A slot of four runs then holds a
 * lifetime in as many parts by age, of which the oldest is written again as it expires. */
#define WINDOW_PART 0.4

static uint64_t multiply(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

uint32_t nr_planner_bottom_level(const struct nr_version *version)
{
    for (uint32_t level = (uint32_t)version->level_count - 1; level > 1; level--) {
        if (version->levels[level]->max_run_count > 0) return level;
    }
    return 1;
}

uint32_t nr_planner_slot_k(const struct nori_options *options, const struct nr_slot *slot)
{
    uint32_t k_global = (uint32_t)NR_MAX(options->k_global, 1);
    if (options->strategy == NORI_STRATEGY_LEVELED) return 1;
    if (options->strategy == NORI_STRATEGY_TIERED || slot->k_max == 0) return k_global;
    return NR_MIN(slot->k_max, k_global);
}

uint32_t nr_planner_arrival_k(const struct nori_options *options, const struct nr_slot *slot)
{
    uint32_t k_max = nr_planner_slot_k(options, slot), wanted = slot->activity->state.wanted_k;
    return options->strategy == NORI_STRATEGY_ATLL && wanted > 0 ? NR_MIN(k_max, wanted) : k_max;
}

uint64_t nr_planner_slot_share(const struct nori_options *options, uint32_t level)
{
    uint64_t share = options->level1_bytes / (uint64_t)NR_MAX(options->l1_slot_count, 1);
    if (level > 1) share = NR_MAX(share, options->table_bytes);
    return NR_MAX(share, 1);
}

/* What level 'level' holds at most before it hands down, when it is the deepest one. */
static uint64_t bottom_target(const struct nori_options *options, uint32_t level)
{
    uint64_t target = options->level1_bytes;
    for (uint32_t i = 1; i < level; i++) target = multiply(target, (uint64_t)options->fanout);
    return target;
}

uint64_t nr_planner_level_target(const struct nr_version *version, const struct nori_options *options, uint32_t level)
{
    uint32_t bottom = nr_planner_bottom_level(version), last = (uint32_t)version->level_count - 1;
    uint64_t target = version->levels[bottom]->bytes, fanout = (uint64_t)NR_MAX(options->fanout, 2);
    if (level == 0) return options->level1_bytes;
    if (level >= bottom && level < last) { /* Never below what the level above may hold. */
        return NR_MAX(bottom_target(options, level), target / fanout);
    }
    for (uint32_t i = level; i < bottom; i++) target /= fanout;
    return NR_MAX(target, options->level1_bytes);
}

static int compare_busy(const void *left, const void *right)
{
    const struct nr_busy_slot *a = left, *b = right;
    if (a->level != b->level) return a->level < b->level ? -1 : 1;
    return (a->slot_id > b->slot_id) - (a->slot_id < b->slot_id);
}

void nr_busy_sort(struct nr_busy_slot *busy, size_t count)
{
    if (count > 1) qsort(busy, count, sizeof *busy, compare_busy);
}

bool nr_busy_range_covers(const struct nr_busy_range *range, uint32_t level, nori_slice start, struct nr_bound end)
{
    return level >= range->level && nr_bound_above(range->end, start) && nr_bound_above(end, range->start);
}

bool nr_planner_is_busy(const struct nr_plan_view *view, const struct nr_slot *slot)
{
    struct nr_busy_slot wanted = {.level = slot->level, .slot_id = slot->slot_id};
    for (size_t i = 0; i < view->range_count; i++)
        if (nr_busy_range_covers(&view->ranges[i], slot->level, slot->start, slot->end)) return true;
    return view->busy_count > 0 && bsearch(&wanted, view->busy, view->busy_count, sizeof wanted, compare_busy);
}

bool nr_planner_is_any_busy(const struct nr_planner *planner, uint32_t level, nori_slice start, struct nr_bound end)
{
    const struct nr_plan_view *view = planner->view;
    struct nr_busy_range asked = {level, start, end};
    for (size_t i = 0; i < view->busy_count; i++)
        if (nr_busy_range_covers(&asked, view->busy[i].level, view->busy[i].start, view->busy[i].end)) return true;
    /* Both go down to the last level. */
    for (size_t i = 0; i < view->range_count; i++)
        if (nr_busy_range_covers(&view->ranges[i], planner->last_level, start, end)) return true;
    return false;
}

bool nr_planner_is_manual(const struct nr_plan_view *view, nori_slice start, struct nr_bound end)
{
    return view->is_manual && nr_bound_above(end, view->manual_start) && nr_bound_above(view->manual_end, start);
}

size_t nr_planner_count_similar(const struct nr_planner *planner, const struct nr_slot *slot, uint64_t bytes,
                                size_t least)
{
    size_t count = 0;
    while (count < slot->run_count && count < NR_PLAN_MAX_RUNS) {
        const struct nr_run *run = slot->runs[count];
        if (count >= least && run->bytes > bytes) break;
        if (count >= least && nr_expired_soon(run, planner->view->now_ms, 1 - WINDOW_PART)) break;
        bytes += run->bytes;
        count++;
    }
    return count;
}

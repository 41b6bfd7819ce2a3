#include "compact/planner_state.h"

#define SPLIT_MAX_PARTS 64
/* New guards cost nothing and make all that follows smaller. */
#define SPLIT_SCORE 10.0
/* A level far over its target still gives way to level 0 when that is deep. */
#define OVER_TARGET_MAX_SCORE 4.0

/* Whether [start, end) of the run holds two keys, as far as its bounds tell. */
static bool has_two_keys(const struct nr_run *run, nori_slice start, struct nr_bound end)
{
    size_t index = nr_run_seek(run, start);
    if (index == run->slice_count || !nr_bound_above(end, run->slices[index].start)) return false;
    if (index + 1 < run->slice_count && nr_bound_above(end, run->slices[index + 1].start)) return true;
    const struct nr_table_slice *slice = &run->slices[index];
    nori_slice first = nr_slice_compare(slice->start, start) < 0 ? start : slice->start;
    struct nr_bound last = nr_bound_compare(slice->end, end) < 0 ? slice->end : end;
    bool is_successor = !last.infinite && last.key.size == first.size + 1 && last.key.data[first.size] == 0 &&
                        nr_slice_equal(nr_slice(last.key.data, first.size), first);
    return !is_successor;
}

static bool can_split(const struct nr_planner *planner, const struct nr_slot *slot)
{
    const struct nr_plan_view *view = planner->view;
    for (size_t i = 0; i < view->unsplittable_count; i++) {
        if (view->unsplittable[i] == slot->slot_id) return false;
    }
    for (size_t i = 0; i < slot->run_count; i++) {
        if (has_two_keys(slot->runs[i], slot->start, slot->end)) return true;
    }
    if (slot->level > 1) return false;
    const struct nr_slot *level0 = nr_version_level0(planner->version);
    for (size_t i = 0; i < level0->run_count; i++) {
        if (has_two_keys(level0->runs[i], slot->start, slot->end)) return true;
    }
    return false;
}

bool nr_planner_try_split(struct nr_planner *planner, struct nr_slot *slot, uint64_t bytes, double score)
{
    uint64_t parts = bytes / planner->share_bytes[slot->level];
    if (score <= planner->plan->score || !can_split(planner, slot)) return false;
    /* The levels below are cut by the same guards. */
    if (nr_planner_is_any_busy(planner, slot->level, slot->start, slot->end)) return false;
    nr_planner_begin_plan(planner, NR_ACTION_SPLIT, slot, score);
    planner->plan->split_count = (size_t)NR_MIN(NR_MAX(parts, 2), SPLIT_MAX_PARTS);
    return true;
}

bool nr_planner_try_join_runs(struct nr_planner *planner, enum nr_action action, struct nr_slot *slot, double score)
{
    if (score <= planner->plan->score || nr_planner_is_busy(planner->view, slot->level, slot->slot_id)) return false;
    struct nr_plan *plan = planner->plan;
    nr_planner_begin_plan(planner, action, slot, score);
    plan->run_count = NR_MIN(slot->run_count, (size_t)NR_PLAN_MAX_RUNS);
    plan->first_run = slot->run_count - plan->run_count;
    for (size_t i = plan->first_run; i < slot->run_count; i++) plan->input_bytes += slot->runs[i]->bytes;
    return true;
}

static size_t count_joined(const struct nr_planner *planner, const struct nr_slot *target)
{
    uint32_t k_max = planner->k_max[target->level];
    if (target->run_count < k_max) return 0;
    return k_max == 1 ? target->run_count : 1;
}

enum targets { TARGETS_FREE, TARGETS_BUSY, TARGETS_TOO_MANY };

/* The slots of the next level under runs [first, run_count) of the slot, into the plan's targets; with 'plan' NULL it
 * is only found out whether they can be. '*is_joined_out': any of the targets' runs have to join. */
static enum targets find_targets(const struct nr_planner *planner, const struct nr_slot *slot, size_t first,
                                 struct nr_plan *plan, bool *is_joined_out)
{
    const struct nr_level *next = planner->version->levels[slot->level + 1];
    size_t count = 0;
    *is_joined_out = false;
    for (size_t i = nr_level_seek(next, slot->start); i < next->slot_count; i++) {
        struct nr_slot *target = nr_level_slot(next, i);
        bool is_under = false;
        if (!nr_bound_above(slot->end, target->start)) break;
        for (size_t j = first; j < slot->run_count && !is_under; j++) {
            is_under = nr_run_overlaps(slot->runs[j], target->start, target->end);
        }
        if (!is_under) continue;
        if (count == NR_PLAN_MAX_TARGETS) return TARGETS_TOO_MANY;
        if (nr_planner_is_busy(planner->view, target->level, target->slot_id)) return TARGETS_BUSY;
        size_t join = count_joined(planner, target);
        *is_joined_out |= join > 0;
        if (plan) {
            plan->targets[count] = (struct nr_plan_target){target, join};
            for (size_t j = 0; j < join; j++) plan->input_bytes += target->runs[j]->bytes;
        }
        count++;
    }
    if (plan) plan->target_count = count;
    return TARGETS_FREE;
}

bool nr_planner_try_promote(struct nr_planner *planner, struct nr_slot *slot, bool is_whole, double score)
{
    bool is_joined = false;
    if (slot->level >= planner->last_level || slot->run_count == 0 || score <= planner->plan->score) return false;
    if (nr_planner_is_busy(planner->view, slot->level, slot->slot_id)) return false;
    size_t all = NR_MIN(slot->run_count, (size_t)NR_PLAN_MAX_RUNS);
    size_t count = is_whole || planner->k_max[slot->level] == 1 ? all : 1;
    enum targets targets = find_targets(planner, slot, slot->run_count - count, NULL, &is_joined);
    if (targets == TARGETS_FREE && is_joined && count < all) {
        count = all;
        targets = find_targets(planner, slot, slot->run_count - count, NULL, &is_joined);
    }
    if (targets == TARGETS_BUSY) return false;
    if (targets == TARGETS_TOO_MANY) {
        if (nr_planner_try_split(planner, slot, slot->bytes, score)) return true;
        return slot->run_count > 1 && nr_planner_try_join_runs(planner, NR_ACTION_TIER, slot, score);
    }
    struct nr_plan *plan = planner->plan;
    nr_planner_begin_plan(planner, NR_ACTION_PROMOTE, slot, score);
    plan->target_level = slot->level + 1;
    plan->run_count = count;
    plan->first_run = slot->run_count - count;
    for (size_t i = plan->first_run; i < slot->run_count; i++) plan->input_bytes += slot->runs[i]->bytes;
    (void)find_targets(planner, slot, plan->first_run, plan, &is_joined);
    plan->is_move = count == 1 && !is_joined;
    return true;
}

bool nr_planner_try_relieve(struct nr_planner *planner, struct nr_slot *slot, double score)
{
    uint32_t level = slot->level;
    uint64_t share = planner->share_bytes[level];
    bool is_bottom = level == planner->last_level;
    if (!is_bottom && planner->k_max[level] == 1) {
        is_bottom = planner->version->levels[level]->bytes <= planner->target_bytes[level];
    }
    if (slot->run_count > 1 && (is_bottom || slot->bytes <= share + share / 2)) {
        return nr_planner_try_join_runs(planner, NR_ACTION_TIER, slot, score);
    }
    return nr_planner_try_promote(planner, slot, false, score);
}

static void consider_slot(struct nr_planner *planner, struct nr_slot *slot, double over_target)
{
    uint64_t share = planner->share_bytes[slot->level];
    uint32_t k_max = planner->k_max[slot->level];
    double base = nr_planner_is_manual(planner->view, slot->start, slot->end) ? NR_PLAN_MANUAL_SCORE : 0;
    if (slot->bytes / 2 > share) {
        (void)nr_planner_try_split(planner, slot, slot->bytes,
                                   base + SPLIT_SCORE + (double)slot->bytes / (double)share);
    }
    if (slot->run_count > k_max) {
        (void)nr_planner_try_relieve(planner, slot, base + (double)slot->run_count / (double)k_max);
    }
    if (over_target > 1) {
        double part = (double)slot->bytes / (double)planner->version->levels[slot->level]->bytes;
        double score = NR_MIN(1 + (over_target - 1) / 2, OVER_TARGET_MAX_SCORE);
        (void)nr_planner_try_promote(planner, slot, false, score + 0.001 * part); /* The fullest slot first. */
    }
}

void nr_planner_consider_level(struct nr_planner *planner, uint32_t level)
{
    const struct nr_level *slots = planner->version->levels[level];
    double over_target = (double)slots->bytes / (double)planner->target_bytes[level];
    if (level == planner->last_level) over_target = 0;
    if (slots->max_run_count <= planner->k_max[level] && over_target <= 1 &&
        slots->bytes / 2 <= planner->share_bytes[level]) {
        return;
    }
    size_t offset = planner->view->random % slots->slot_count;
    for (size_t i = 0; i < slots->slot_count; i++) {
        struct nr_slot *slot = nr_level_slot(slots, (i + offset) % slots->slot_count);
        if (slot->run_count > 0) consider_slot(planner, slot, over_target);
    }
}

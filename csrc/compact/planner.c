#include "compact/planner_state.h"

const char *nr_action_name(enum nr_action action)
{
    static const char *const names[] = {
        [NR_ACTION_NONE] = "none",   [NR_ACTION_MERGE_L0] = "merge_l0", [NR_ACTION_ADMIT] = "admit",
        [NR_ACTION_TIER] = "tier",   [NR_ACTION_PROMOTE] = "promote",   [NR_ACTION_CLEAN] = "clean",
        [NR_ACTION_SPLIT] = "split", [NR_ACTION_JOIN] = "join",
    };
    return (size_t)action < NR_ARRAY_LEN(names) ? names[action] : "unknown";
}

void nr_planner_begin_plan(struct nr_planner *planner, enum nr_action action, struct nr_slot *slot, double score)
{
    struct nr_plan *plan = planner->plan;
    plan->action = action;
    plan->source_level = slot->level;
    plan->target_level = slot->level;
    plan->slot = slot;
    plan->start = slot->start;
    plan->end = slot->end;
    plan->first_run = 0;
    plan->run_count = 0;
    plan->is_move = false;
    plan->target_count = 0;
    plan->split_count = 0;
    plan->join_count = 0;
    plan->input_bytes = 0;
    plan->score = score;
}

void nr_planner_choose(const struct nr_plan_view *view, struct nr_plan *plan_out)
{
    struct nr_planner planner = {
        .view = view,
        .version = view->version,
        .options = view->options,
        .plan = plan_out,
        .last_level = (uint32_t)view->version->level_count - 1,
    };
    plan_out->action = NR_ACTION_NONE;
    plan_out->score = 0;
    for (uint32_t level = 0; level <= planner.last_level; level++) {
        planner.k_max[level] = nr_planner_k_max(view->version, view->options, level);
        planner.share_bytes[level] = nr_planner_slot_share(view->options, level);
        planner.target_bytes[level] = nr_planner_level_target(view->version, view->options, level);
    }
    nr_planner_consider_l0(&planner);
    for (uint32_t level = 1; level <= planner.last_level; level++) nr_planner_consider_level(&planner, level);
    if (plan_out->action != NR_ACTION_NONE) return;
    for (uint32_t level = 1; level <= planner.last_level; level++) nr_planner_consider_cleaning(&planner, level);
    for (uint32_t level = 1; level <= planner.last_level; level++) nr_planner_consider_guards(&planner, level);
}

bool nr_planner_manual_pending(const struct nr_plan_view *view)
{
    const struct nr_version *version = view->version;
    const struct nr_slot *level0 = nr_version_level0(version);
    if (!view->is_manual) return false;
    for (size_t i = 0; i < level0->run_count; i++) {
        if (nr_run_overlaps(level0->runs[i], view->manual_start, view->manual_end)) return true;
    }
    for (uint32_t level = 1; level < version->level_count; level++) {
        const struct nr_level *slots = version->levels[level];
        uint32_t k_max = nr_planner_k_max(version, view->options, level);
        if (slots->max_run_count <= k_max) continue;
        for (size_t i = nr_level_seek(slots, view->manual_start); i < slots->slot_count; i++) {
            const struct nr_slot *slot = nr_level_slot(slots, i);
            if (!nr_bound_above(view->manual_end, slot->start)) break;
            if (slot->run_count > k_max) return true;
        }
    }
    return false;
}

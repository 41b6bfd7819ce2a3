#include "compact/planner_state.h"

#define SHIFT_URGENCY 12.0
#define MAX_SHIFT_SLACK 1.5
#define GUARD_TURNS 4

const char *nr_action_name(enum nr_action action)
{
    static const char *const names[] = {
        [NR_ACTION_NONE] = "none",   [NR_ACTION_MERGE_L0] = "merge_l0", [NR_ACTION_ADMIT] = "admit",
        [NR_ACTION_TIER] = "tier",   [NR_ACTION_PROMOTE] = "promote",   [NR_ACTION_CLEAN] = "clean",
        [NR_ACTION_SPLIT] = "split", [NR_ACTION_LEVEL] = "level",       [NR_ACTION_SPACE] = "space",
        [NR_ACTION_JOIN] = "join",   [NR_ACTION_SHIFT] = "shift",
    };
    return (size_t)action < NR_ARRAY_LEN(names) ? names[action] : "unknown";
}

/* ---------------------------------------------------------------- proposals */

static bool is_better(const struct nr_proposal *a, const struct nr_proposal *b)
{
    if (a->urgency > b->urgency) return true;
    return !(a->urgency < b->urgency) && a->gain > b->gain;
}

static void swap(struct nr_proposal *a, struct nr_proposal *b)
{
    struct nr_proposal kept = *a;
    *a = *b;
    *b = kept;
}

/* The proposals are a heap with the worst on top: of hundreds of thousands of slots most are told by one look. */
static void sift_up(struct nr_proposal *heap, size_t at)
{
    for (size_t parent; at > 0 && is_better(&heap[parent = (at - 1) / 2], &heap[at]); at = parent)
        swap(&heap[parent], &heap[at]);
}

static void sift_down(struct nr_proposal *heap, size_t count)
{
    size_t at = 0, child;
    while ((child = 2 * at + 1) < count) {
        if (child + 1 < count && is_better(&heap[child], &heap[child + 1])) child++;
        if (!is_better(&heap[at], &heap[child])) return;
        swap(&heap[at], &heap[child]);
        at = child;
    }
}

bool nr_planner_would_keep(const struct nr_planner *planner, const struct nr_proposal *proposal)
{
    return planner->count < NR_PLAN_MAX_PROPOSALS || is_better(proposal, &planner->proposals[0]);
}

void nr_planner_offer(struct nr_planner *planner, const struct nr_proposal *proposal)
{
    struct nr_proposal *heap = planner->proposals;
    if (planner->count < NR_PLAN_MAX_PROPOSALS) {
        heap[planner->count] = *proposal;
        sift_up(heap, planner->count++);
    } else if (nr_planner_would_keep(planner, proposal)) {
        heap[0] = *proposal;
        sift_down(heap, planner->count);
    }
}

static struct nr_planner begin(const struct nr_plan_view *view, struct nr_proposal *proposals)
{
    struct nr_planner planner = {
        .view = view,
        .version = view->version,
        .options = view->options,
        .proposals = proposals,
        .last_level = (uint32_t)view->version->level_count - 1,
        .bottom_level = nr_planner_bottom_level(view->version),
    };
    for (uint32_t level = 0; level <= planner.last_level; level++) {
        planner.share_bytes[level] = nr_planner_slot_share(view->options, level);
        planner.target_bytes[level] = nr_planner_level_target(view->version, view->options, level);
    }
    return planner;
}

/* Upper levels leave at least half of the headroom to bottom slots, and all of it shrinks while the bound is passed. */
static void scale_targets(struct nr_planner *planner)
{
    const struct nr_space *space = &planner->space;
    double limit = (double)space->bound_bytes / 2, sum = 0;
    if (space->bound_bytes == UINT64_MAX) return;
    if (space->above_bytes > space->bound_bytes) limit *= (double)space->bound_bytes / (double)space->above_bytes;
    for (uint32_t level = 1; level < planner->bottom_level; level++) sum += (double)planner->target_bytes[level];
    for (uint32_t level = 1; level < planner->bottom_level && sum > limit; level++)
        planner->target_bytes[level] = (uint64_t)((double)planner->target_bytes[level] * limit / sum) + 1;
}

/* A level above the bottom that holds more than it should, because merges are behind, is not cut finer for it: the
 * guards would stay when the data has gone down. */
static void scale_splits(struct nr_planner *planner)
{
    for (uint32_t level = 1; level <= planner->last_level; level++) {
        double over = (double)planner->version->levels[level]->bytes / (double)planner->target_bytes[level];
        if (level >= planner->bottom_level || over < 1) over = 1;
        planner->split_bytes[level] = (uint64_t)((double)planner->share_bytes[level] * NR_MIN(over, 1e6));
    }
}

static bool is_level_busy(const struct nr_planner *planner, uint32_t level)
{
    for (size_t i = 0; i < planner->view->busy_count; i++)
        if (planner->view->busy[i].level == level) return true;
    for (size_t i = 0; i < planner->view->range_count; i++)
        if (planner->view->ranges[i].level <= level) return true;
    return false;
}

/* A bottom that outgrew its level goes one down as a whole. True: nothing else is begun in it or into it; what is under
 * way there comes to its end first. */
static bool consider_shift(struct nr_planner *planner)
{
    uint32_t bottom = planner->bottom_level;
    const struct nr_level *slots = planner->version->levels[bottom];
    struct nr_proposal proposal = {.action = NR_ACTION_SHIFT, .urgency = SHIFT_URGENCY};
    if (bottom >= planner->last_level || planner->view->is_manual) return false;
    /* Newer runs beside the bottom ones are no reason: they are merged with these before long. */
    double slack = NR_MIN(NR_MAX(planner->options->max_space_amp, 1), MAX_SHIFT_SLACK);
    if (planner->options->strategy != NORI_STRATEGY_ATLL) slack = 1;
    if ((double)slots->bytes <= slack * (double)planner->target_bytes[bottom]) return false;
    if (is_level_busy(planner, bottom) || is_level_busy(planner, bottom + 1)) return true;
    proposal.slot = nr_level_slot(slots, 0);
    proposal.split_count =
        (size_t)(slots->bytes / (uint64_t)NR_MAX(planner->options->fanout, 2) / planner->share_bytes[bottom]) + 1;
    nr_planner_offer(planner, &proposal);
    return true;
}

static bool has_urgent(const struct nr_planner *planner)
{
    for (size_t i = 0; i < planner->count; i++)
        if (planner->proposals[i].urgency >= 1) return true;
    return false;
}

/* Where nothing else is to be done, else now and then: to look at guards takes longer than all the rest. */
static bool is_turn_of_guards(const struct nr_planner *planner)
{
    return planner->count == 0 || (!has_urgent(planner) && (planner->view->random >> 32) % GUARD_TURNS == 0);
}

size_t nr_planner_propose(const struct nr_plan_view *view, struct nr_proposal *proposals)
{
    struct nr_planner planner = begin(view, proposals);
    nr_planner_measure_space(view, &planner.space);
    scale_targets(&planner);
    scale_splits(&planner);
    bool is_shifting = consider_shift(&planner);
    uint32_t deepest = is_shifting ? planner.bottom_level - 1 : planner.last_level;
    if (deepest > 0) nr_planner_consider_l0(&planner);
    if (!is_shifting) nr_planner_consider_space(&planner);
    /* The last of the levels above a shifting one would hand down into it. */
    for (uint32_t level = 1; level + is_shifting <= deepest; level++) nr_planner_consider_level(&planner, level);
    for (uint32_t level = 1; level + is_shifting <= deepest; level++) nr_planner_consider_cleaning(&planner, level);
    bool may_move_guards = !is_shifting && is_turn_of_guards(&planner);
    for (uint32_t level = 1; level <= planner.last_level && may_move_guards; level++)
        nr_planner_consider_guards(&planner, level);
    return planner.count;
}

/* ---------------------------------------------------------------- plans */

static void add_target(struct nr_plan *plan, struct nr_slot *target, size_t join)
{
    plan->targets[plan->target_count++] = (struct nr_plan_target){target, join};
    for (size_t i = 0; i < join; i++) plan->input_bytes += target->runs[i]->bytes;
}

/* How many runs of a slot below join what is merged into it. */
static size_t count_joined(const struct nr_planner *planner, const struct nr_plan *plan, const struct nr_slot *target)
{
    uint32_t k_max = nr_planner_arrival_k(planner->options, target);
    const struct nr_slot *level0 = nr_version_level0(planner->version);
    uint64_t bytes = 0;
    if (plan->is_move) return 0;
    if (k_max == 1 || target->run_count < k_max) return k_max == 1 ? target->run_count : 0;
    for (size_t i = 0; i < plan->run_count; i++)
        bytes += nr_run_bytes_in(plan->slot->runs[plan->first_run + i], target->start, target->end);
    for (size_t i = 0; i < plan->l0_count; i++)
        bytes += nr_run_bytes_in(level0->runs[plan->l0_first + i], target->start, target->end);
    return nr_planner_count_similar(planner, target, bytes, target->run_count - k_max + 1);
}

/* The slots of the next level under the source runs. */
static void add_targets(const struct nr_planner *planner, struct nr_plan *plan)
{
    const struct nr_slot *slot = plan->slot;
    const struct nr_level *next = planner->version->levels[slot->level + 1];
    for (size_t i = nr_level_seek(next, plan->start); i < next->slot_count; i++) {
        struct nr_slot *target = nr_level_slot(next, i);
        if (!nr_bound_above(plan->end, target->start) || plan->target_count == NR_PLAN_MAX_TARGETS) break;
        if (nr_planner_is_under(planner, slot, plan->first_run, plan->l0_first, plan->l0_count, target))
            add_target(plan, target, count_joined(planner, plan, target));
    }
}

void nr_planner_build(const struct nr_plan_view *view, const struct nr_proposal *proposal, struct nr_plan *plan)
{
    const struct nr_planner planner = begin(view, NULL);
    struct nr_slot *slot = proposal->slot;
    const struct nr_slot *source = proposal->action == NR_ACTION_ADMIT ? nr_version_level0(view->version) : slot;
    plan->action = proposal->action;
    plan->source_level = source->level;
    plan->target_level = slot->level + (proposal->action == NR_ACTION_PROMOTE);
    plan->slot = slot;
    plan->start = slot->start;
    plan->end = slot->end;
    plan->first_run = proposal->first_run;
    plan->run_count = proposal->run_count;
    plan->l0_first = proposal->l0_first;
    plan->l0_count = proposal->l0_count;
    plan->is_move = proposal->is_move;
    plan->counts_fresh = view->options->strategy == NORI_STRATEGY_ATLL && plan->target_level > 0;
    plan->split_count = proposal->split_count;
    plan->join_count = proposal->slot_count;
    plan->target_count = 0;
    plan->input_bytes = 0;
    plan->score = proposal->urgency;
    if (plan->action == NR_ACTION_JOIN) plan->end = proposal->end;
    if (plan->action == NR_ACTION_SHIFT) {
        plan->target_level = slot->level + 1;
        plan->start = nr_slice(NULL, 0);
        plan->end = nr_bound_infinite();
    }
    if (nr_action_moves_guards(plan->action)) return;
    for (size_t i = 0; i < plan->run_count; i++)
        plan->input_bytes += nr_run_bytes_in(source->runs[plan->first_run + i], plan->start, plan->end);
    for (size_t i = 0; i < plan->l0_count; i++)
        plan->input_bytes +=
            nr_run_bytes_in(nr_version_level0(view->version)->runs[plan->l0_first + i], plan->start, plan->end);
    if (plan->action == NR_ACTION_ADMIT)
        add_target(plan, slot, proposal->join_count);
    else if (plan->action == NR_ACTION_PROMOTE)
        add_targets(&planner, plan);
}

void nr_planner_choose(const struct nr_plan_view *view, struct nr_plan *plan_out)
{
    struct nr_proposal proposals[NR_PLAN_MAX_PROPOSALS];
    size_t count = nr_planner_propose(view, proposals), best = 0;
    plan_out->action = NR_ACTION_NONE;
    plan_out->score = 0;
    for (size_t i = 1; i < count; i++)
        if (is_better(&proposals[i], &proposals[best])) best = i;
    if (count > 0) nr_planner_build(view, &proposals[best], plan_out);
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
        if (slots->max_run_count <= 1) continue;
        for (size_t i = nr_level_seek(slots, view->manual_start); i < slots->slot_count; i++) {
            const struct nr_slot *slot = nr_level_slot(slots, i);
            if (!nr_bound_above(view->manual_end, slot->start)) break;
            if (slot->run_count > nr_planner_slot_k(view->options, slot)) return true;
        }
    }
    return false;
}

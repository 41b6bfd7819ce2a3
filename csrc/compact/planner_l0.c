#include "compact/planner_state.h"

/* So many neighbours are merged inside level 0, if each is below this part of a memtable. The table of a full one is
 * often no more than a quarter of it: nodes are larger than entries in blocks, which are compressed. */
#define MERGE_COUNT 4
#define SMALL_DIVISOR 16
/* Level 0 runs, however disjoint, that a get may have to look at. */
#define MANY_RUNS (4 * NR_L0_ADMIT_DEPTH)

/* A limit on level 0 below the usual depth is met before writers stall at it. */
static size_t admit_depth(const struct nori_options *options)
{
    return NR_MIN((size_t)NR_L0_ADMIT_DEPTH, (size_t)options->l0.max_files);
}

/* From where on writers are slowed down, admission comes before all that is for the good of reads. */
static size_t urgent_depth(const struct nori_options *options)
{
    return NR_MAX(admit_depth(options),
                  NR_MIN((size_t)options->l0.soft_throttle_threshold, (size_t)options->l0.max_files - 1));
}

static bool has_overlap(const struct nr_run *run, const struct nr_slot *slot)
{
    return nr_run_overlaps(run, slot->start, slot->end);
}

/* About how many bytes of a level 0 run lie over a slot of level 1: those of a slice count evenly for all slots under
 * it. */
static uint64_t bytes_over(const struct nr_planner *planner, const struct nr_run *run, const struct nr_slot *slot)
{
    const struct nr_level *level = planner->version->levels[1];
    uint64_t bytes = 0;
    for (size_t i = nr_run_seek(run, slot->start); i < run->slice_count; i++) {
        const struct nr_table_slice *slice = &run->slices[i];
        if (!nr_bound_above(slot->end, slice->start)) break;
        size_t first = nr_level_seek(level, slice->start);
        size_t last = slice->end.infinite ? level->slot_count - 1 : nr_level_seek(level, slice->end.key);
        bytes += slice->bytes / (last - first + 1);
    }
    return bytes;
}

/* The newest level 0 run that an admission to the slot may take: those that a running merge has locked, and all newer
 * ones, are out if one of them lies over the slot. */
static size_t first_free_run(const struct nr_planner *planner, const struct nr_slot *slot)
{
    const struct nr_plan_view *view = planner->view;
    const struct nr_slot *level0 = nr_version_level0(planner->version);
    bool is_locked = false, is_over = false;
    if (!view->is_l0_merge_running) return 0;
    for (size_t i = 0; i < level0->run_count; i++) {
        const struct nr_run *run = level0->runs[i];
        if (run->run_id == view->l0_merge_newest_id) is_locked = true;
        if (is_locked && has_overlap(run, slot)) is_over = true;
        if (is_locked && run->run_id == view->l0_merge_oldest_id) return is_over ? i + 1 : 0;
    }
    return 0;
}

/* The level 0 runs over a slot that may be admitted to it: 'most' of them, the oldest ones. */
struct stack {
    size_t first, behind; /* All lie in [first, behind), with others that do not overlap the slot. */
    size_t count;
    uint64_t bytes;
};

static struct stack find_stack(const struct nr_planner *planner, const struct nr_slot *slot, size_t most)
{
    const struct nr_slot *level0 = nr_version_level0(planner->version);
    struct stack stack = {.first = level0->run_count};
    size_t lowest = first_free_run(planner, slot);
    if (level0->run_count - lowest > NR_PLAN_MAX_RUNS) lowest = level0->run_count - NR_PLAN_MAX_RUNS;
    for (size_t i = level0->run_count; i-- > lowest && stack.count < most;) {
        if (!has_overlap(level0->runs[i], slot)) continue;
        stack.first = i;
        stack.behind = NR_MAX(stack.behind, i + 1);
        stack.count++;
        stack.bytes += bytes_over(planner, level0->runs[i], slot);
    }
    return stack;
}

/* A tiered slot takes as many as it has room for, as they are: they become one run when they go down. A leveled one
 * merges all with what it has. One without room hands down, or merges runs as large as what arrives with it. */
static bool offer_admission(struct nr_planner *planner, struct nr_slot *slot, double urgency)
{
    struct nr_proposal proposal = {.action = NR_ACTION_ADMIT, .slot = slot, .urgency = urgency};
    uint32_t k_max = nr_planner_arrival_k(planner->options, slot);
    uint64_t split_bytes = planner->split_bytes[1];
    size_t join = 0;

    if (nr_planner_is_busy(planner->view, slot)) return false;
    struct stack stack = find_stack(planner, slot, NR_PLAN_MAX_RUNS);
    if (stack.count == 0) return false;
    if ((slot->bytes + stack.bytes) / 2 > split_bytes &&
        nr_planner_offer_split(planner, slot, slot->bytes + stack.bytes, urgency))
        return true;
    if (slot->run_count >= k_max &&
        nr_planner_offer_ripe(planner, slot, stack.first, stack.behind - stack.first, stack.bytes, urgency))
        return true;
    if (k_max == 1) {
        join = slot->run_count;
        proposal.is_move = stack.count == 1 && join == 0;
    } else if (slot->run_count < k_max) {
        stack = find_stack(planner, slot, k_max - slot->run_count);
        proposal.is_move = true;
    } else {
        join = nr_planner_count_similar(planner, slot, stack.bytes, slot->run_count - k_max + 1);
    }
    proposal.first_run = stack.first;
    proposal.run_count = stack.behind - stack.first;
    proposal.join_count = join;
    proposal.bytes = proposal.is_move ? 0 : stack.bytes;
    for (size_t i = 0; i < join; i++) proposal.bytes += slot->runs[i]->bytes;
    proposal.probes = proposal.is_move ? 0 : join + stack.count - 1;
    proposal.gain = (double)stack.bytes / (double)(proposal.bytes + stack.bytes + 1);
    if (proposal.is_move) proposal.urgency = NR_MAX(urgency, NR_PLAN_MOVE_URGENCY);
    nr_planner_offer(planner, &proposal);
    return true;
}

/* Whether a manual compaction asks for what lies over the slot. */
static bool is_asked_for(const struct nr_planner *planner, const struct nr_slot *slot)
{
    const struct nr_plan_view *view = planner->view;
    const struct nr_slot *level0 = nr_version_level0(planner->version);
    if (!nr_planner_is_manual(view, slot->start, slot->end)) return false;
    nori_slice start = nr_slice_compare(slot->start, view->manual_start) < 0 ? view->manual_start : slot->start;
    struct nr_bound end = nr_bound_compare(slot->end, view->manual_end) < 0 ? slot->end : view->manual_end;
    for (size_t i = 0; i < level0->run_count; i++) {
        if (nr_run_overlaps(level0->runs[i], start, end)) return true;
    }
    return false;
}

static void consider_admission(struct nr_planner *planner)
{
    const struct nr_slot *level0 = nr_version_level0(planner->version);
    const struct nr_level *level = planner->version->levels[1];
    for (size_t n = 0; n < level->slot_count; n++) {
        struct nr_slot *slot =
            nr_level_slot(level, (n + planner->view->random % level->slot_count) % level->slot_count);
        size_t count = 0;
        double urgency = 0;
        for (size_t i = 0; i < level0->run_count; i++) count += has_overlap(level0->runs[i], slot);
        if (count == 0) continue;
        size_t depth = admit_depth(planner->view->options), urgent = urgent_depth(planner->view->options);
        if (count >= depth) urgency = (double)(count * count) / (double)(urgent * urgent);
        if (level0->run_count > MANY_RUNS && has_overlap(level0->runs[level0->run_count - 1], slot))
            urgency = NR_MAX(urgency, (double)level0->run_count / MANY_RUNS);
        urgency = NR_MAX(urgency, nr_planner_l0_due(planner, slot->start, slot->end));
        if (is_asked_for(planner, slot)) urgency = NR_PLAN_MANUAL_URGENCY + (double)count;
        if (urgency > 0) (void)offer_admission(planner, slot, urgency);
    }
}

/* Whether an admission may be taking from the run. */
static bool is_being_admitted(const struct nr_planner *planner, const struct nr_run *run)
{
    const struct nr_level *level = planner->version->levels[1];
    if (planner->view->busy_count + planner->view->range_count == 0) return false;
    for (size_t i = nr_level_seek(level, run->slices[0].start); i < level->slot_count; i++) {
        const struct nr_slot *slot = nr_level_slot(level, i);
        if (!nr_bound_above(run->slices[run->slice_count - 1].end, slot->start)) break;
        if (nr_planner_is_busy(planner->view, slot)) return true;
    }
    return false;
}

/* Small as a flush has left it. What admissions have left of a larger run is admitted, too, before long: merged, it
 * would be written once more. */
static bool is_small(const struct nr_run *run, uint64_t small_bytes)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < run->slice_count && bytes < small_bytes; i++)
        if (i == 0 || run->slices[i].file != run->slices[i - 1].file) bytes += run->slices[i].file->file_bytes;
    return bytes < small_bytes;
}

/* Neighbours [first, last): the oldest ones stay out while they are larger than all newer ones together, so that a byte
 * is not rewritten at every flush. */
static void offer_merge(struct nr_planner *planner, struct nr_slot *level0, size_t first, size_t last)
{
    uint64_t bytes = 0;
    for (size_t i = first; i < last; i++) bytes += level0->runs[i]->bytes;
    while (last - first >= MERGE_COUNT && level0->runs[last - 1]->bytes > bytes - level0->runs[last - 1]->bytes) {
        bytes -= level0->runs[--last]->bytes;
    }
    size_t count = last - first;
    if (count < MERGE_COUNT) return;
    struct nr_proposal proposal = {.action = NR_ACTION_MERGE_L0, .slot = level0, .first_run = first, .bytes = bytes};
    proposal.run_count = count;
    proposal.urgency = 1.1 * (double)(count * count) / (MERGE_COUNT * MERGE_COUNT);
    proposal.probes = count - 1;
    nr_planner_offer(planner, &proposal);
}

static void consider_merge(struct nr_planner *planner)
{
    struct nr_slot *level0 = nr_version_level0(planner->version);
    uint64_t small_bytes = planner->options->memtable.flush_trigger_bytes / SMALL_DIVISOR;
    size_t first = 0;
    if (planner->view->is_l0_merge_running || nr_planner_is_busy(planner->view, level0)) return;
    for (size_t i = 0; i <= level0->run_count; i++) {
        bool is_joined = i < level0->run_count && i - first < NR_PLAN_MAX_RUNS &&
                         is_small(level0->runs[i], small_bytes) && !is_being_admitted(planner, level0->runs[i]);
        if (is_joined) continue;
        offer_merge(planner, level0, first, i);
        first = i + 1;
    }
}

void nr_planner_consider_l0(struct nr_planner *planner)
{
    size_t run_count = nr_version_level0(planner->version)->run_count;
    bool is_manual = planner->view->is_manual;
    if (run_count == 0 || planner->version->level_count < 2) return;
    bool is_due = nr_planner_l0_due(planner, nr_slice("", 0), nr_bound_infinite()) > 0;
    if (is_manual || is_due || run_count >= admit_depth(planner->view->options)) consider_admission(planner);
    if (!is_manual && run_count >= MERGE_COUNT) consider_merge(planner);
}

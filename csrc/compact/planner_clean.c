/* Cleaning is planned only where a merge is sure to drop what it is for, so that the same plan does not come back: all
 * moments lie above the slot, and nothing older below it. Tombstones above older data are handed down instead. */
#include "compact/expired.h"
#include "compact/planner_state.h"

struct garbage {
    uint64_t ranges;
    uint64_t largest_sequence;
    /* Of expired entries: how many of the oldest runs have to be merged, and how much that is due. */
    size_t expired_count;
    double due; /* At least 1: now. */
};

/* At least 1 where something in the table is to go now. */
static double due_of(const struct nr_planner *planner, const struct nr_table_properties *properties)
{
    double due = nr_expired_overdue(properties, planner->view->now_ms) / NR_EXPIRED_DUE;
    return nr_expired_whole(properties, planner->view->now_ms) ? NR_MAX(due, 1) : due;
}

/* Before what is for the good of reads, and behind what writers wait for. */
static double urgency_of(double due)
{
    return NR_MIN(0.9 * due, 2);
}

static void find_expired(const struct nr_planner *planner, const struct nr_slot *slot, struct garbage *garbage)
{
    for (size_t i = 0; i < slot->run_count; i++) {
        double due = 0;
        if (slot->runs[i]->due_ms > planner->view->now_ms) continue;
        for (size_t j = 0; j < slot->runs[i]->slice_count; j++)
            due = NR_MAX(due, due_of(planner, &slot->runs[i]->slices[j].file->properties));
        if (due < 1) continue;
        if (garbage->expired_count == 0) garbage->expired_count = slot->run_count - i;
        garbage->due = NR_MAX(garbage->due, due);
    }
}

static struct garbage find_garbage(const struct nr_planner *planner, const struct nr_slot *slot)
{
    struct garbage garbage = {0};
    for (size_t i = 0; i < slot->run_count; i++) {
        const struct nr_run *run = slot->runs[i];
        garbage.ranges += run->ranges;
        garbage.largest_sequence = NR_MAX(garbage.largest_sequence, run->largest_sequence);
    }
    find_expired(planner, slot, &garbage);
    return garbage;
}

/* Whether deeper levels hold anything between the first and last key of the slot's 'count' oldest runs. */
static bool has_older_below(const struct nr_planner *planner, const struct nr_slot *slot, size_t count)
{
    for (size_t i = slot->run_count - count; i < slot->run_count; i++) {
        const struct nr_run *run = slot->runs[i];
        nori_slice start = run->slices[0].start;
        struct nr_bound end = run->slices[run->slice_count - 1].end;
        for (uint32_t level = slot->level + 1; level <= planner->last_level; level++) {
            const struct nr_level *slots = planner->version->levels[level];
            if (slots->max_run_count == 0) continue;
            for (size_t j = nr_level_seek(slots, start); j < slots->slot_count; j++) {
                const struct nr_slot *below = nr_level_slot(slots, j);
                if (!nr_bound_above(end, below->start)) break;
                for (size_t k = 0; k < below->run_count; k++) {
                    if (nr_run_overlaps(below->runs[k], start, end)) return true;
                }
            }
        }
    }
    return false;
}

/* The oldest runs into one. What is newer stays as it is: it expires later. */
static bool offer_expired(struct nr_planner *planner, struct nr_slot *slot, size_t count, double urgency)
{
    struct nr_proposal proposal = {.action = NR_ACTION_CLEAN, .slot = slot, .urgency = urgency};
    size_t first = slot->run_count - count;
    if (count > NR_PLAN_MAX_RUNS || nr_planner_is_busy(planner->view, slot)) return false;
    proposal.first_run = first;
    proposal.run_count = count;
    for (size_t i = first; i < slot->run_count; i++) {
        if (slot->runs[i]->largest_sequence > planner->view->oldest_moment_sequence) return false;
        proposal.bytes += slot->runs[i]->bytes;
    }
    proposal.probes = count - 1;
    nr_planner_offer(planner, &proposal);
    return true;
}

/* What has expired over older data goes down to it. */
static void consider_expired(struct nr_planner *planner, struct nr_slot *slot, const struct garbage *garbage)
{
    double urgency = urgency_of(garbage->due);
    if (garbage->expired_count == 0) return;
    if (!has_older_below(planner, slot, garbage->expired_count))
        (void)offer_expired(planner, slot, garbage->expired_count, urgency);
    else if (garbage->due > 1 && garbage->largest_sequence <= planner->view->oldest_moment_sequence)
        (void)nr_planner_offer_promote(planner, slot, urgency);
}

static void consider_slot(struct nr_planner *planner, struct nr_slot *slot)
{
    double density = (double)slot->tombstones / (double)NR_MAX(slot->entries, 1);
    bool is_dense = slot->tombstones > 0 && density > planner->options->tombstones.density_threshold;
    if (!is_dense && slot->due_ms > planner->view->now_ms) return;
    struct garbage garbage = find_garbage(planner, slot);
    consider_expired(planner, slot, &garbage);
    if (!is_dense || garbage.largest_sequence > planner->view->oldest_moment_sequence) return;
    double urgency = 0.9 * NR_MIN(density, 1);
    if (!has_older_below(planner, slot, slot->run_count)) {
        (void)nr_planner_offer_tier(planner, NR_ACTION_CLEAN, slot, 0, urgency);
    } else if (garbage.ranges > 0 || slot->bytes >= planner->share_bytes[slot->level] / 2) {
        (void)nr_planner_offer_promote(planner, slot, urgency); /* A few deletes alone are not worth it. */
    }
}

void nr_planner_consider_cleaning(struct nr_planner *planner, uint32_t level)
{
    const struct nr_level *slots = planner->version->levels[level];
    if (slots->max_run_count == 0) return;
    size_t offset = planner->view->random % slots->chunk_count;
    for (size_t i = 0; i < slots->chunk_count; i++) {
        const struct nr_slot_chunk *chunk = slots->chunks[(i + offset) % slots->chunk_count];
        if (chunk->tombstones == 0 && chunk->due_ms > planner->view->now_ms) continue;
        for (size_t j = 0; j < chunk->count; j++) consider_slot(planner, chunk->slots[j]);
    }
}

/* Slices of level 0 that are few over their slot would stay there for ever. */
double nr_planner_l0_due(const struct nr_planner *planner, nori_slice start, struct nr_bound end)
{
    const struct nr_slot *level0 = nr_version_level0(planner->version);
    double due = 0;
    for (size_t i = 0; i < level0->run_count; i++) {
        const struct nr_run *run = level0->runs[i];
        if (run->due_ms > planner->view->now_ms) continue;
        if (run->largest_sequence > planner->view->oldest_moment_sequence) continue;
        for (size_t j = nr_run_seek(run, start); j < run->slice_count; j++) {
            if (!nr_bound_above(end, run->slices[j].start)) break;
            due = NR_MAX(due, due_of(planner, &run->slices[j].file->properties));
        }
    }
    return due >= 1 ? urgency_of(due) : 0;
}

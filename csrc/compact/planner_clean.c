/* Cleaning is planned only where a merge is sure to drop what it is for, so that the same plan does not come back: all
 * moments lie above the slot, and nothing older below it. Tombstones above older data are handed down instead. */
#include "compact/planner_state.h"

struct garbage {
    uint64_t entries, tombstones, ranges;
    uint64_t largest_sequence;
    bool has_expired_table;
};

static bool is_expired_table(const struct nr_table_file *file, uint64_t now_ms)
{
    const struct nr_table_properties *properties = &file->properties;
    return properties->largest_expiry_ms > 0 && properties->largest_expiry_ms <= now_ms &&
           properties->unexpiring_count == 0;
}

static struct garbage find_garbage(const struct nr_planner *planner, const struct nr_slot *slot)
{
    struct garbage garbage = {0};
    for (size_t i = 0; i < slot->run_count; i++) {
        const struct nr_run *run = slot->runs[i];
        garbage.entries += run->entries;
        garbage.tombstones += run->deletes + run->ranges;
        garbage.ranges += run->ranges;
        garbage.largest_sequence = NR_MAX(garbage.largest_sequence, run->largest_sequence);
        for (size_t j = 0; j < run->slice_count && !garbage.has_expired_table; j++) {
            garbage.has_expired_table = is_expired_table(run->slices[j].file, planner->view->now_ms);
        }
    }
    return garbage;
}

/* Whether deeper levels hold anything between the first and last key of the slot's runs. */
static bool has_older_below(const struct nr_planner *planner, const struct nr_slot *slot)
{
    for (size_t i = 0; i < slot->run_count; i++) {
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

static void consider_slot(struct nr_planner *planner, struct nr_slot *slot)
{
    struct garbage garbage = find_garbage(planner, slot);
    double density = (double)garbage.tombstones / (double)NR_MAX(garbage.entries, 1);
    bool is_dense = garbage.tombstones > 0 && density > planner->options->tombstones.density_threshold;
    if (!is_dense && !garbage.has_expired_table) return;
    if (garbage.largest_sequence > planner->view->oldest_moment_sequence) return;
    double urgency = 0.9 * NR_MIN(garbage.has_expired_table ? 1 : density, 1);
    if (!has_older_below(planner, slot)) {
        (void)nr_planner_offer_tier(planner, NR_ACTION_CLEAN, slot, 0, urgency);
    } else if (is_dense && (garbage.ranges > 0 || slot->bytes >= planner->share_bytes[slot->level] / 2)) {
        (void)nr_planner_offer_promote(planner, slot, urgency); /* A few deletes alone are not worth it. */
    }
}

void nr_planner_consider_cleaning(struct nr_planner *planner, uint32_t level)
{
    const struct nr_level *slots = planner->version->levels[level];
    if (slots->max_run_count == 0) return;
    size_t offset = planner->view->random % slots->slot_count;
    for (size_t i = 0; i < slots->slot_count; i++) {
        struct nr_slot *slot = nr_level_slot(slots, (i + offset) % slots->slot_count);
        if (slot->run_count > 0) consider_slot(planner, slot);
    }
}

#include "compact/arrivals.h"

/* The slots below whose keys are the slot's, [first, last). Slots are asked for in order. */
struct children {
    const struct nr_level *level; /* NULL: there are none. */
    size_t first, last;
};

/* A level that was not cut yet, and has nothing, is passed over: its one slot is nobody's child. */
static bool is_cut(const struct nr_level *level)
{
    return level->bytes > 0 || level->slot_count > 1;
}

static struct children begin(const struct nr_version *version, uint32_t parent)
{
    uint32_t below = parent + 1;
    while (below < version->level_count && !is_cut(version->levels[below])) below++;
    return (struct children){below < version->level_count ? version->levels[below] : NULL, 0, 0};
}

static void find(struct children *children, const struct nr_slot *parent)
{
    children->first = children->last;
    if (!children->level) return;
    while (children->last < children->level->slot_count &&
           nr_bound_above(parent->end, nr_level_slot(children->level, children->last)->start))
        children->last++;
}

static struct nr_activity_state *state_of(const struct nr_level *level, size_t index)
{
    return &nr_level_slot(level, index)->activity->state;
}

static void sum_trees(const struct nr_version *version, uint32_t number)
{
    const struct nr_level *level = version->levels[number];
    struct children children = begin(version, number);
    for (size_t i = 0; i < level->slot_count; i++) {
        const struct nr_slot *slot = nr_level_slot(level, i);
        uint64_t bytes = slot->bytes;
        find(&children, slot);
        for (size_t j = children.first; j < children.last; j++) bytes += state_of(children.level, j)->tree_bytes;
        slot->activity->state.tree_bytes = bytes;
    }
}

static double mean_rate(const struct nr_level *level)
{
    double rate = 0;
    for (size_t i = 0; i < level->slot_count; i++) rate += state_of(level, i)->mean_write_rate;
    return rate;
}

/* Of what comes to a level the part that goes on to the next one. What is still there may. */
static double part_passed(const struct nr_level *level, const struct nr_level *below, double memory_secs)
{
    double came = mean_rate(level) * memory_secs, went = mean_rate(below) * memory_secs;
    return went + (double)level->bytes < came ? (went + (double)level->bytes) / came : 1;
}

static void share_rates(const struct nr_version *version, uint32_t number, double memory_secs)
{
    const struct nr_level *level = version->levels[number];
    struct children children = begin(version, number);
    double passed = children.level ? part_passed(level, children.level, memory_secs) : 0;
    for (size_t i = 0; i < level->slot_count; i++) {
        const struct nr_slot *slot = nr_level_slot(level, i);
        const struct nr_activity_state *state = &slot->activity->state;
        double below = (double)(state->tree_bytes - slot->bytes);
        find(&children, slot);
        for (size_t j = children.first; j < children.last; j++) {
            struct nr_activity_state *child = state_of(children.level, j);
            child->arrival_rate = below > 0 ? passed * state->arrival_rate * (double)child->tree_bytes / below : 0;
        }
    }
}

void nr_arrivals_expect(const struct nr_version *version, double memory_secs)
{
    for (uint32_t number = (uint32_t)version->level_count; number-- > 1;) sum_trees(version, number);
    for (size_t i = 0; version->level_count > 1 && i < version->levels[1]->slot_count; i++)
        state_of(version->levels[1], i)->arrival_rate = state_of(version->levels[1], i)->write_rate;
    for (uint32_t number = 1; number + 1 < version->level_count; number++)
        if (number == 1 || is_cut(version->levels[number])) share_rates(version, number, memory_secs);
}

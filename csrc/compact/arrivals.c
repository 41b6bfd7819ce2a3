#include "compact/arrivals.h"

/* The slots of the level below whose keys are the slot's, [first, last). Slots are asked for in order. */
struct children {
    const struct nr_level *level; /* NULL: there are none. */
    size_t first, last;
};

static struct children begin(const struct nr_version *version, uint32_t parent)
{
    bool has_below = parent + 1u < version->level_count && version->levels[parent + 1]->bytes > 0;
    return (struct children){has_below ? version->levels[parent + 1] : NULL, 0, 0};
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

static void share_rates(const struct nr_version *version, uint32_t number)
{
    const struct nr_level *level = version->levels[number];
    struct children children = begin(version, number);
    for (size_t i = 0; i < level->slot_count; i++) {
        const struct nr_slot *slot = nr_level_slot(level, i);
        const struct nr_activity_state *state = &slot->activity->state;
        double below = (double)(state->tree_bytes - slot->bytes);
        find(&children, slot);
        for (size_t j = children.first; j < children.last; j++) {
            struct nr_activity_state *child = state_of(children.level, j);
            child->arrival_rate = below > 0 ? state->arrival_rate * (double)child->tree_bytes / below : 0;
        }
    }
}

void nr_arrivals_expect(const struct nr_version *version)
{
    for (uint32_t number = (uint32_t)version->level_count; number-- > 1;) sum_trees(version, number);
    const struct nr_level *first = version->level_count > 1 ? version->levels[1] : NULL;
    for (size_t i = 0; first && i < first->slot_count; i++)
        state_of(first, i)->arrival_rate = state_of(first, i)->write_rate;
    for (uint32_t number = 1; number + 1 < version->level_count; number++) share_rates(version, number);
}

/* What the planner learns of guards when nothing else is to be done: slots that shrank are joined, hot ones with an
 * unequal inside are cut. */
#include "compact/guards.h"
#include "compact/planner_state.h"

/* Cutting for heat ends at so many times the slots that bytes alone ask for. */
#define MAX_SLOT_FACTOR 4
#define LEARNED_URGENCY 0.5

/* So many slots of a level are looked at in a plan, others in the next: a large level takes long. */
#define WINDOW_SLOTS 128

/* A level, measured once for all slots that are looked at. */
struct measure {
    const struct nr_planner *planner;
    uint32_t level;
    size_t first, last; /* The slots looked at. */
    struct nr_guard_share share;
    uint64_t full_bytes;     /* What the level holds when it is full; the bottom, what it has. */
    uint64_t above_bytes;    /* On their way to it. */
    uint64_t below_bytes;    /* Of all levels below. */
    uint64_t wanted;         /* Slots that its bytes ask for. */
    struct nr_sketch *reads; /* NULL: too few. */
};

static struct measure measure_level(const struct nr_planner *planner, uint32_t level)
{
    const struct nr_version *version = planner->version;
    struct measure measure = {.planner = planner, .level = level};
    size_t count = version->levels[level]->slot_count, window = NR_MIN(count, (size_t)WINDOW_SLOTS);
    measure.first = planner->view->random % (count - window + 1);
    measure.last = measure.first + window;
    for (uint32_t i = 0; i <= planner->last_level; i++) {
        uint64_t bytes = version->levels[i]->bytes;
        if (i < level) measure.above_bytes += bytes;
        if (i > level) measure.below_bytes += bytes;
    }
    bool is_bottom = measure.below_bytes == 0;
    measure.full_bytes = is_bottom ? version->levels[level]->bytes : planner->target_bytes[level];
    measure.share.bytes = planner->share_bytes[level];
    measure.wanted = measure.full_bytes / measure.share.bytes + 1;
    measure.share.heat = 1.0 / (double)measure.wanted;
    struct nr_sketch *reads = planner->view->reads;
    measure.reads = reads && nr_sketch_total(reads) >= NR_GUARDS_MIN_READS ? reads : NULL;
    return measure;
}

static double part_of(struct nr_sketch *sketch, const struct nr_slot *slot)
{
    uint64_t total = nr_sketch_total(sketch);
    return total == 0 ? 0 : (double)nr_sketch_between(sketch, slot->start, slot->end) / (double)total;
}

static uint64_t bytes_below(const struct measure *measure, const struct nr_slot *slot)
{
    const struct nr_version *version = measure->planner->version;
    uint64_t bytes = 0;
    for (uint32_t level = measure->level + 1; level < version->level_count; level++) {
        const struct nr_level *below = version->levels[level];
        if (below->bytes == 0) continue;
        size_t first = nr_level_seek(below, slot->start);
        size_t last = slot->end.infinite ? below->slot_count : nr_level_seek(below, slot->end.key);
        for (size_t i = first; i < last;) {
            bool is_chunk = i % NR_SLOT_CHUNK == 0 && last - i >= NR_SLOT_CHUNK;
            bytes += is_chunk ? below->chunks[i / NR_SLOT_CHUNK]->bytes : nr_level_slot(below, i)->bytes;
            i += is_chunk ? NR_SLOT_CHUNK : 1;
        }
    }
    return bytes;
}

/* A guard cannot go while a level above has it; one that was not cut has none. */
static bool is_guard_above(const struct nr_planner *planner, const struct nr_slot *slot)
{
    for (uint32_t level = 1; level < slot->level; level++) {
        if (nr_slice_equal(nr_level_find(planner->version->levels[level], slot->start)->start, slot->start))
            return true;
    }
    return false;
}

/* Levels fill and empty by turns: a slot counts what it holds, what it will when its level is full, as data below and
 * recent writes lie, or what is on its way, whichever is the most. */
static struct nr_guard_slot describe(const struct measure *measure, const struct nr_slot *slot)
{
    const struct nr_planner *planner = measure->planner;
    double written = part_of(planner->view->writes, slot), expected = written * (double)measure->full_bytes;
    struct nr_guard_slot out = {.start = slot->start, .end = slot->end};
    if (measure->below_bytes > 0) {
        double part = (double)bytes_below(measure, slot) / (double)measure->below_bytes;
        expected = NR_MAX(expected, part * (double)measure->full_bytes);
    }
    expected = NR_MAX(expected, (double)slot->bytes + written * (double)measure->above_bytes);
    out.bytes = (uint64_t)expected;
    out.heat = measure->reads ? part_of(measure->reads, slot) : 0;
    out.is_fixed = is_guard_above(planner, slot);
    out.is_busy = nr_planner_is_any_busy(planner, slot->level, slot->start, slot->end);
    return out;
}

static bool offer_join(struct nr_planner *planner, const struct measure *measure)
{
    const struct nr_level *slots = planner->version->levels[measure->level];
    struct nr_guard_group group = {0};
    struct nr_slot *first = NULL;
    for (size_t i = measure->first; i < measure->last; i++) {
        struct nr_slot *slot = nr_level_slot(slots, i);
        struct nr_guard_slot described = {.start = slot->start, .end = slot->end, .bytes = slot->bytes};
        struct nr_guard_group longer = {0};
        /* Most slots are too large as they are, whatever is expected of them. */
        if (nr_guards_begin(&longer, &described, &measure->share)) described = describe(measure, slot);
        longer = group;
        if (nr_guards_extend(&longer, &described, &measure->share) &&
            nr_version_may_join(planner->version, measure->level, longer.start, longer.end)) {
            group = longer;
            continue;
        }
        if (group.count > 1) break;
        first = slot;
        (void)nr_guards_begin(&group, &described, &measure->share);
    }
    if (group.count < 2) return false;
    struct nr_proposal proposal = {.action = NR_ACTION_JOIN, .slot = first, .urgency = LEARNED_URGENCY};
    proposal.slot_count = group.count;
    proposal.end = group.end;
    nr_planner_offer(planner, &proposal);
    return true;
}

static void offer_cut(struct nr_planner *planner, const struct measure *measure)
{
    const struct nr_plan_view *view = planner->view;
    const struct nr_level *slots = planner->version->levels[measure->level];
    if (!measure->reads || slots->slot_count >= measure->wanted * MAX_SLOT_FACTOR) return;
    for (size_t i = measure->first; i < measure->last; i++) {
        struct nr_slot *slot = nr_level_slot(slots, i);
        /* It is cut for what it has: an empty one gives no keys. */
        struct nr_guard_slot described = {.start = slot->start, .end = slot->end, .bytes = slot->bytes};
        described.skew = 1;
        described.heat = slot->bytes > 0 ? part_of(measure->reads, slot) : 0;
        if (nr_guards_parts(&described, &measure->share) == 0) continue;
        described.skew = nr_sketch_distance(view->reads, view->writes, slot->start, slot->end);
        if (nr_guards_parts(&described, &measure->share) == 0) continue;
        if (nr_planner_offer_split(planner, slot, slot->bytes, LEARNED_URGENCY)) return;
    }
}

void nr_planner_consider_guards(struct nr_planner *planner, uint32_t level)
{
    const struct nr_plan_view *view = planner->view;
    const struct nr_level *slots = planner->version->levels[level];
    /* Before a level's worth was written the sketch tells nothing. */
    if (!view->writes || nr_sketch_total(view->writes) < planner->options->level1_bytes) return;
    struct measure measure = measure_level(planner, level);
    if (slots->slot_count > 1 && offer_join(planner, &measure)) return;
    offer_cut(planner, &measure);
}

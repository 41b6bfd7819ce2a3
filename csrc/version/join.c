/* Whether neighbouring slots may become one.
 *
 * Each slot goes its own pace: what one has handed down already another still has above. The key that an entry belongs
 * to keeps its place in the age order whatever slots it is in, but a merge in the joined slot writes tables with
 * entries of all its parts, and the sequences of those tables must again be above those of all that is older in the
 * whole slot (check.c). So slots are joined only where all their sequences stand in that order already. */
#include "version/version.h"

struct span {
    nori_slice start;
    struct nr_bound end;
    uint64_t newest; /* Of all sequences so far. 0: there are none. */
};

/* The sequences of the files that 'run' has in the span: those of all must be above 'floor'. */
static bool rises(const struct nr_run *run, struct span *span, uint64_t floor)
{
    for (size_t i = nr_run_seek(run, span->start); i < run->slice_count; i++) {
        const struct nr_table_properties *properties = &run->slices[i].file->properties;
        if (!nr_bound_above(span->end, run->slices[i].start)) break;
        if (floor > 0 && properties->smallest_sequence <= floor) return false;
        span->newest = NR_MAX(span->newest, properties->largest_sequence);
    }
    return true;
}

/* What lies in the span of the runs at 'depth' from the oldest, SIZE_MAX: of all runs. False: not all above 'floor'. */
static bool level_rises(const struct nr_level *level, struct span *span, size_t depth, uint64_t floor)
{
    for (size_t i = nr_level_seek(level, span->start); i < level->slot_count; i++) {
        const struct nr_slot *slot = nr_level_slot(level, i);
        if (!nr_bound_above(span->end, slot->start)) break;
        for (size_t j = 0; j < slot->run_count; j++) {
            bool is_wanted = depth == SIZE_MAX || slot->run_count - 1 - j == depth;
            if (is_wanted && !rises(slot->runs[j], span, floor)) return false;
        }
    }
    return true;
}

bool nr_version_may_join(const struct nr_version *version, uint32_t level, nori_slice start, struct nr_bound end)
{
    struct span span = {start, end, 0};
    const struct nr_level *joined = version->levels[level];

    for (uint32_t i = level + 1; i < version->level_count; i++) {
        (void)level_rises(version->levels[i], &span, SIZE_MAX, 0);
    }
    for (size_t depth = 0; depth < joined->max_run_count; depth++) {
        if (!level_rises(joined, &span, depth, span.newest)) return false;
    }
    uint64_t floor = span.newest;
    for (uint32_t i = 0; i < level; i++) {
        if (!level_rises(version->levels[i], &span, SIZE_MAX, floor)) return false;
    }
    return true;
}

/* What is to be expected in a slot a second.
 *
 * Pure, and by structure: flushes tell what arrives in the slots of level 1, many times a minute. What a slot is handed
 * from above comes in few large parts, in a large tree an hour apart, and between them a folded rate says that nothing
 * is written. So it is expected to get what its parent gets, by its part of the parent's tree, less what vanishes in
 * merges on the way: overwritten, deleted, expired. */
#ifndef NR_COMPACT_ARRIVALS_H
#define NR_COMPACT_ARRIVALS_H

#include "version/version.h"

/* Sets 'arrival_rate' and 'tree_bytes' of all slots' activities. 'memory_secs': what mean rates are means of, the heat
 * interval by its alpha. Under the engine's lock. */
void nr_arrivals_expect(const struct nr_version *version, double memory_secs);

/* Bytes a second: what was expected, or measured if that is more. Under the engine's lock. */
static inline double nr_arrivals_rate(const struct nr_activity_state *state)
{
    return NR_MAX(state->mean_write_rate, state->arrival_rate);
}

#endif

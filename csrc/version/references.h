/* References: how much of each table file the newest version still refers to, and what a merge of a slot would free.
 *
 * A file goes with its last slice. Until then the bytes that no slice refers to are held by those that do: each slice
 * holds as much of the file as it has of what is referred to. What a slot's slices hold beyond the bytes of its bottom
 * is what its merge is worth in space, now or, where neighbours hold the same files, together with theirs.
 *
 * Kept in files, slots and chunks while versions are made: numbers to choose by, under the engine's lock, of the newest
 * version only. */
#ifndef NR_VERSION_REFERENCES_H
#define NR_VERSION_REFERENCES_H

#include "version/version.h"

/* 'after' is to be the newest version, after 'before' (NULL: the first one). Looks at slots that differ, and at their
 * neighbours. */
void nr_references_update(const struct nr_version *before, struct nr_version *after);

/* What of a slot's held bytes a merge is to free, over what stays. */
static inline double nr_slot_newer_part(const struct nr_slot *slot)
{
    uint64_t kept = NR_MIN(slot->bottom_bytes, slot->held_bytes);
    return (double)(slot->held_bytes - kept) / (double)NR_MAX(slot->bottom_bytes, 1);
}

#endif

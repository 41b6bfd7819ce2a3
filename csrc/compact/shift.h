/* Shift: the bottom has outgrown its level, and nothing lies below. The level goes down by one, as it is: its slots'
 * runs to the slots of the same keys, by one edit that rewrites nothing. What stays behind is empty, and is cut anew,
 * as coarsely as the little asks for that will pass through it from now on. */
#ifndef NR_COMPACT_SHIFT_H
#define NR_COMPACT_SHIFT_H

#include "version/edit.h"

/* The edit that moves all runs of 'level' to the next one, which has none. 'wanted_slots': how many slots are to be
 * left at 'level', about; the guards of the levels above stay. 'next_run_id' numbers runs that have to be clipped. The
 * next level, where it is not cut yet, gets the guards of this one, and slot ids from 'first_slot_id' on, at most as
 * many as this one has slots. */
NORI_WARN_UNUSED nori_status nr_shift_edit(struct nr_edit *edit, const struct nr_version *version, uint32_t level,
                                           size_t wanted_slots, uint64_t first_slot_id,
                                           uint64_t (*next_run_id)(void *arg), void *arg, struct nori_error *err);

#endif

/* Levels: making them, and replacing a slot at the cost of a path.
 *
 * What only one owner refers to may be changed in place: an edit copies a level and a chunk once, however many of their
 * slots it replaces. */
#ifndef NR_VERSION_LEVEL_H
#define NR_VERSION_LEVEL_H

#include "version/version.h"

/* nr_slot_create with an activity that is there already. Refs it; NULL in level 0. */
NORI_WARN_UNUSED nori_status nr_slot_create_with(struct nr_activity *activity, uint32_t level, uint64_t slot_id,
                                                 nori_slice start, struct nr_bound end, uint32_t k_max,
                                                 struct nr_run *const *runs, size_t run_count,
                                                 struct nr_slot **slot_out, struct nori_error *err);
/* The slots ascend without gap and are refed. */
NORI_WARN_UNUSED nori_status nr_level_create(struct nr_slot *const *slots, size_t count, struct nr_level **level_out,
                                             struct nori_error *err);
/* Puts 'slot' (refed), which has the bounds of the old one, at 'index' of '*level', which is replaced by a copy if
 * others refer to it. */
NORI_WARN_UNUSED nori_status nr_level_replace(struct nr_level **level, size_t index, struct nr_slot *slot,
                                              struct nori_error *err);
/* One empty slot over all keys, its id the level's number. */
NORI_WARN_UNUSED nori_status nr_level_create_empty(uint32_t number, struct nr_level **level_out,
                                                   struct nori_error *err);

/* A copy that refs the levels of 'version', its number one higher; at least 'level_count' levels, new ones empty. */
NORI_WARN_UNUSED nori_status nr_version_copy(const struct nr_version *version, size_t level_count,
                                             struct nr_version **version_out, struct nori_error *err);

#endif

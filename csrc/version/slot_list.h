/* The slots of a level while edits are applied to it, in parts of bounded size.
 *
 * A level is immutable and searched by an index over all its guards, so a guard more is a new level. A manifest that is
 * read has thousands of edits; where some of them move guards they are applied to this, and a level is made at the end.
 * An operation costs what it changes, and little for all the other slots. */
#ifndef NR_VERSION_SLOT_LIST_H
#define NR_VERSION_SLOT_LIST_H

#include "version/version.h"

struct nr_slot_list;

/* Where a slot stands, until the list changes. Zeroed: the first. */
struct nr_slot_place {
    size_t part, index;
};

/* Refs the level's slots. */
NORI_WARN_UNUSED nori_status nr_slot_list_create(const struct nr_level *level, struct nr_slot_list **list_out,
                                                 struct nori_error *err);
void nr_slot_list_destroy(struct nr_slot_list *list); /* NULL is fine. */

struct nr_slot_place nr_slot_list_find(const struct nr_slot_list *list, nori_slice key); /* The slot that covers it. */
struct nr_slot *nr_slot_list_at(const struct nr_slot_list *list, struct nr_slot_place place); /* NULL: past the last. */
struct nr_slot_place nr_slot_list_next(const struct nr_slot_list *list, struct nr_slot_place place);
struct nr_slot_place nr_slot_list_previous(const struct nr_slot_list *list, struct nr_slot_place place);

/* Puts 'slots' (refed; at least one), which cover the same keys, in the place of 'old_count' slots from 'place' on.
 * After a failure only destroy is left. */
NORI_WARN_UNUSED nori_status nr_slot_list_replace(struct nr_slot_list *list, struct nr_slot_place place,
                                                  size_t old_count, struct nr_slot *const *slots, size_t count,
                                                  struct nori_error *err);

/* Puts a level of these slots in the place of '*level'. */
NORI_WARN_UNUSED nori_status nr_slot_list_store(const struct nr_slot_list *list, struct nr_level **level,
                                                struct nori_error *err);

#endif

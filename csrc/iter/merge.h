/* Merges iterators: a loser tree over their keys' eight-byte prefixes, full compare on ties.
 *
 * Children are given newest first; an entry (key, tag) is in at most one of them. Both directions; turning around
 * repositions the children. */
#ifndef NR_ITER_MERGE_H
#define NR_ITER_MERGE_H

#include "iter/iter.h"

/* Owns the children (also on failure, when it destroys them). 'children' is copied. One child is returned as it is;
 * none gives an empty iterator. */
NORI_WARN_UNUSED nori_status nr_merge_iter_create(struct nr_iter **children, size_t count, struct nr_iter **iter_out,
                                                  struct nori_error *err);

/* An iterator over nothing. */
NORI_WARN_UNUSED nori_status nr_empty_iter_create(struct nr_iter **iter_out, struct nori_error *err);

#endif

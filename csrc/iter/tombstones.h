/* Range tombstones: which sequences deleted which keys.
 *
 * A set is immutable: fragments [start, end) that do not overlap, ascending, each with the sequences that cover it,
 * descending. Built from any ranges, or merged from sets. Keys are copied into the set. Counted: tables, memtables and
 * scans share them. */
#ifndef NR_ITER_TOMBSTONES_H
#define NR_ITER_TOMBSTONES_H

#include <stdatomic.h>

#include "base/slice.h"

struct nr_range {
    nori_slice start;
    struct nr_bound end; /* Exclusive. */
    uint64_t sequence;
};

struct nr_fragment {
    nori_slice start;
    struct nr_bound end;
    const uint64_t *sequences; /* Descending, no two alike. */
    size_t sequence_count;     /* >= 1 */
};

struct nr_tombstones {
    _Atomic uint32_t refs;
    size_t fragment_count;
    const struct nr_fragment *fragments;
    size_t bytes; /* Memory of the set. */
};

/* Ranges in any order; empty ones are left out. '*set_out' is NULL when nothing remains. One reference for the caller.
 */
NORI_WARN_UNUSED nori_status nr_tombstones_build(const struct nr_range *ranges, size_t count,
                                                 struct nr_tombstones **set_out, struct nori_error *err);
/* The union of 'count' sets (NULL entries are fine), each clipped to [clips[i].start, clips[i].end); clips NULL: whole.
 * Sequences above 'max_sequence' are left out. */
struct nr_clip {
    nori_slice start;
    struct nr_bound end;
};
NORI_WARN_UNUSED nori_status nr_tombstones_merge(struct nr_tombstones *const *sets, const struct nr_clip *clips,
                                                 size_t count, uint64_t max_sequence, struct nr_tombstones **set_out,
                                                 struct nori_error *err);
struct nr_tombstones *nr_tombstones_ref(struct nr_tombstones *set); /* NULL is fine. */
void nr_tombstones_unref(struct nr_tombstones *set);                /* NULL is fine. */

/* The greatest sequence <= 'max_sequence' that covers the key; 0 if none. NULL set: 0. */
uint64_t nr_tombstones_covering(const struct nr_tombstones *set, nori_slice key, uint64_t max_sequence);

/* The fragment that holds the key, else the first one behind it; fragment_count if none. With 'hint' (may be NULL) near
 * in the usual case of rising or falling keys. */
size_t nr_tombstones_seek(const struct nr_tombstones *set, nori_slice key, size_t *hint);

/* The same as nr_tombstones_covering, for a caller that goes through the keys in order: '*hint' begins as 0. */
uint64_t nr_tombstones_covering_near(const struct nr_tombstones *set, nori_slice key, uint64_t max_sequence,
                                     size_t *hint);

#endif

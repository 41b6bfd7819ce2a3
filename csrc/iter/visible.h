/* What a reader sees: of a merged iterator, for each key the newest entry at or below a sequence, if it is a put that
 * no visible range tombstone covers and that has not expired at 'now_ms'.
 *
 * The iterator's values come without their expiry, its tags are those of the entries. seek and seek_back ignore the tag
 * argument: they find the first key >= key, the last key <= key. */
#ifndef NR_ITER_VISIBLE_H
#define NR_ITER_VISIBLE_H

#include "iter/iter.h"
#include "iter/tombstones.h"

/* Owns 'source' (also on failure); refs 'tombstones' (NULL: none), the union of those of all of the source's parts.
 * Asks the thread's interrupt hook while it skips. */
NORI_WARN_UNUSED nori_status nr_visible_iter_create(struct nr_iter *source, struct nr_tombstones *tombstones,
                                                    uint64_t sequence, uint64_t now_ms, struct nr_iter **iter_out,
                                                    struct nori_error *err);

/* Splits the stored value of a put: '*value' loses the expiry if the type has one ('*expires_at_ms_out' 0: never).
 * False if the value is too short for its type. */
bool nr_entry_expiry(unsigned type, nori_slice *value, uint64_t *expires_at_ms_out);

#endif

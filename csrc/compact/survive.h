/* Which entries a merge keeps: the rules of tombstones, range tombstones, expiry and snapshots, in one place.
 *
 * Pure: fed with entries in order (keys ascending, tags descending), answers keep or drop for each. An entry survives
 * if some reader may need it: a snapshot, or a reader of the present. Readers are moments: a sequence and, for expiry,
 * a time.
 *
 *   - Of the versions of a key between two neighbouring moments only the newest is visible, the others go.
 *   - A version covered by a range tombstone that is visible at every moment that sees the version goes.
 *   - A put that has expired at the oldest moment that sees it is a tombstone: it hides what is older, and goes where
 * one may.
 *   - A tombstone goes where no older run can hold its key and no moment below it sees anything it hides in these
 * inputs. */
#ifndef NR_COMPACT_SURVIVE_H
#define NR_COMPACT_SURVIVE_H

#include "base/buffer.h"
#include "format/format.h"
#include "iter/tombstones.h"

/* One reader's moment. */
struct nr_moment {
    uint64_t sequence;
    uint64_t now_ms;
};

struct nr_survive {
    const struct nr_moment *moments; /* Borrowed. Ascending by sequence; the last is the present (greatest sequence). */
    size_t moment_count;
    const struct nr_tombstones *tombstones; /* Borrowed. Of all inputs. NULL: none. */
    size_t tombstone_hint;
    /* Whether data older than the inputs may hold the key. Asked with rising keys. */
    bool (*may_be_below)(void *arg, nori_slice key);
    void *arg;
    /* State of the current key. */
    struct nr_buffer key;
    bool has_key;
    uint64_t newer_sequence; /* Of the version met before, of the same key; NR_MAX_SEQUENCE + 1 at a new key. */
    bool is_below_known, is_below;
    bool is_newest; /* The entry judged last is the first of its key. */
};

void nr_survive_init(struct nr_survive *survive, const struct nr_moment *moments, size_t moment_count,
                     const struct nr_tombstones *tombstones, bool (*may_be_below)(void *arg, nori_slice key),
                     void *arg);
void nr_survive_clear(struct nr_survive *survive);
/* '*keep_out' false: drop the entry. NORI_CORRUPTION for a value too short for its type. */
NORI_WARN_UNUSED nori_status nr_survive_judge(struct nr_survive *survive, nori_slice key, uint64_t tag,
                                              nori_slice value, bool *keep_out, struct nori_error *err);

/* The range tombstones that the outputs must carry: those of 'set' without sequences that no moment distinguishes from
 * a newer one of the same fragment, and without fragments over which nothing older lies ('may_overlap_below' says no)
 * and no moment is below them. '*set_out' NULL: none. */
NORI_WARN_UNUSED nori_status nr_survive_tombstones(const struct nr_tombstones *set, const struct nr_moment *moments,
                                                   size_t moment_count,
                                                   bool (*may_overlap_below)(void *arg, nori_slice start,
                                                                             struct nr_bound end),
                                                   void *arg, struct nr_tombstones **set_out, struct nori_error *err);

#endif

/* Fresh keys: those of a merge of which nothing older is in the tree, as far as the filters of the older runs tell.
 *
 * A filter that says no is never wrong: what counts as fresh surely is, and stays it, as what is older only becomes
 * less. Of keys that are fresh about one in a hundred, for each older run, does not count. What cannot be opened, or
 * has no filter, may hold any key.
 *
 * Where few are fresh only a sample of the keys is asked for. */
#ifndef NR_COMPACT_FRESH_H
#define NR_COMPACT_FRESH_H

#include "compact/merge.h"

struct nr_fresh_run;

struct nr_fresh {
    const struct nr_merge_context *context; /* Borrowed. NULL: nothing was begun. */
    struct nr_fresh_run *runs;              /* Owned: by their first keys. */
    struct nr_fresh_run **over;             /* Owned: those that have begun and have not ended. */
    size_t run_count, next, over_count;
    uint64_t key_count, found_count; /* Of the stretch under way. */
    struct nr_read read;
};

/* For the job's older runs in [start, end). */
NORI_WARN_UNUSED nori_status nr_fresh_init(struct nr_fresh *fresh, const struct nr_merge_context *context,
                                           const struct nr_merge_job *job, nori_slice start, struct nr_bound end,
                                           struct nori_error *err);
void nr_fresh_clear(struct nr_fresh *fresh); /* Zeroed is fine. */
/* Whether the key is fresh. Asked with rising keys. */
bool nr_fresh_ask(struct nr_fresh *fresh, nori_slice key);

#endif

/* Fences: keys at which the tables of a merge have to end, so that each stands in the order of age.
 *
 * A table says of what sequences its entries are, for all of its keys together. Merges in parts, and slots that were
 * admitted at different times, may have left a run whose keys are newer on one side than what is merged now on the
 * other. Each entry is in order; a table over both sides would not be. So tables end where slices of such runs do.
 *
 * A table lies in one target, or in several that agree (nr_fences_are_between); so it is asked target by target. */
#ifndef NR_COMPACT_FENCES_H
#define NR_COMPACT_FENCES_H

#include "compact/output.h"

struct nr_fences {
    nori_slice *keys; /* Owned; ascending. The keys are the runs'. */
    size_t count;
    size_t next; /* Those before it have been passed. */
};

/* 'fences' is all zeros. Mostly there are none. */
NORI_WARN_UNUSED nori_status nr_fences_init(struct nr_fences *fences, const struct nr_merge_job *job,
                                            struct nori_error *err);
void nr_fences_clear(struct nr_fences *fences);
/* Whether a table over 'count' targets from the 'first' on would have to end between. */
bool nr_fences_are_between(const struct nr_merge_job *job, size_t first, size_t count);

/* Ends the table under way at the fences up to 'key', between the keys that were added and those to come. NULL: at all
 * that are left. */
NORI_WARN_UNUSED nori_status nr_fences_pass_slow(struct nr_fences *fences, struct nr_output *output,
                                                 const nori_slice *key, struct nori_error *err);
static inline nori_status nr_fences_pass(struct nr_fences *fences, struct nr_output *output, const nori_slice *key,
                                         struct nori_error *err)
{
    return NR_LIKELY(fences->next == fences->count) ? NORI_OK : nr_fences_pass_slow(fences, output, key, err);
}

#endif

/* Level 0 while edits are applied to it: its runs as a list, each found by its id.
 *
 * A slot is immutable, so one run more is a new slot with all the others. A manifest that is read has thousands of
 * edits, each of which changes little; they are applied to this, and a slot is made at the end. An operation costs what
 * it changes, whatever the number of runs. */
#ifndef NR_VERSION_LEVEL0_H
#define NR_VERSION_LEVEL0_H

#include "version/version.h"

struct nr_level0;

/* The runs of level 0 of 'version', which may go before it does. */
NORI_WARN_UNUSED nori_status nr_level0_create(const struct nr_version *version, struct nr_level0 **level0_out,
                                              struct nori_error *err);
void nr_level0_destroy(struct nr_level0 *level0); /* NULL is fine. */

/* The operations (FORMAT.md 10.3). CORRUPTION where one does not fit; after any failure only destroy is left. */
NORI_WARN_UNUSED nori_status nr_level0_push(struct nr_level0 *level0, struct nr_run *run, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_level0_subtract(struct nr_level0 *level0, uint64_t run_id, nori_slice start,
                                                struct nr_bound end, struct nori_error *err);
/* 'run' NULL: by nothing. */
NORI_WARN_UNUSED nori_status nr_level0_merge(struct nr_level0 *level0, uint64_t newest_id, uint64_t oldest_id,
                                             struct nr_run *run, struct nori_error *err);

/* Gives 'version', which nobody else refers to, a level 0 of these runs. */
NORI_WARN_UNUSED nori_status nr_level0_store(const struct nr_level0 *level0, struct nr_version *version,
                                             struct nori_error *err);

#endif

/* A version while edits are applied to it. Level 0, and levels whose guards move, are lists until it is finished, so
 * that reading a manifest takes a time in proportion to its edits. */
#ifndef NR_VERSION_DRAFT_H
#define NR_VERSION_DRAFT_H

#include "version/edit.h"

struct nr_draft;

/* Begins as 'base', which stays as it is. */
NORI_WARN_UNUSED nori_status nr_draft_create(const struct nr_version *base, struct nr_draft **draft_out,
                                             struct nori_error *err);
void nr_draft_destroy(struct nr_draft *draft); /* NULL is fine. */
/* New levels, empty, until there are so many. */
NORI_WARN_UNUSED nori_status nr_draft_deepen(struct nr_draft *draft, size_t level_count, struct nori_error *err);
/* CORRUPTION if the edit does not fit. After a failure only destroy is left. */
NORI_WARN_UNUSED nori_status nr_draft_apply(struct nr_draft *draft, const struct nr_edit *edit, struct nori_error *err);
/* The version that it has become. Only destroy is left then, after a failure too. */
NORI_WARN_UNUSED nori_status nr_draft_finish(struct nr_draft *draft, struct nr_version **version_out,
                                             struct nori_error *err);

#endif

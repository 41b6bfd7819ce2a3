/* Cover: the keys over which a set of runs may hold something, as ranges that ascend and do not touch. */
#ifndef NR_COMPACT_COVER_H
#define NR_COMPACT_COVER_H

#include "version/version.h"

struct nr_cover_range {
    nori_slice start; /* Borrowed from the runs. */
    struct nr_bound end;
};

struct nr_cover {
    struct nr_cover_range *ranges; /* Owned. */
    size_t count;
    size_t cursor; /* Ranges before it end at or below the key asked for last. */
};

/* Borrows the runs' keys. Only what overlaps [start, end) is looked at. */
NORI_WARN_UNUSED nori_status nr_cover_init(struct nr_cover *cover, struct nr_run *const *runs, size_t run_count,
                                           nori_slice start, struct nr_bound end, struct nori_error *err);
void nr_cover_clear(struct nr_cover *cover);
/* Whether a range holds the key; asked with rising keys. */
bool nr_cover_has_key(struct nr_cover *cover, nori_slice key);
/* Whether a range overlaps [start, end). */
bool nr_cover_overlaps(const struct nr_cover *cover, nori_slice start, struct nr_bound end);

#endif

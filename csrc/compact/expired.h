/* What has expired in tables, as far as their properties tell, without reading them. */
#ifndef NR_COMPACT_EXPIRED_H
#define NR_COMPACT_EXPIRED_H

#include "compact/merge.h"

/* Below this part of a lifetime (table/properties.h) a merge leaves a table as it is, if it can. */
#define NR_EXPIRED_TOLERATED (1.0 / 24)

/* Whether the table holds nothing but puts that have expired. */
bool nr_expired_whole(const struct nr_table_properties *properties, uint64_t now_ms);
/* How long ago its first entry expired, as a part of the lifetime. 0: none has, or the lifetime is not known. */
double nr_expired_overdue(const struct nr_table_properties *properties, uint64_t now_ms);
/* Whether most of the run expires, and the first of it within 'part' of a lifetime, or has. */
bool nr_expired_soon(const struct nr_run *run, uint64_t now_ms, double part);
/* The longest lifetime of the inputs' tables. */
uint64_t nr_expired_lifetime_ms(const struct nr_merge_input *inputs, size_t count);

/* Of the 'index'-th input of the job what has to be read, '*run_out' NULL if nothing: without slices of which
 * everything has expired for all moments, over nothing older. 'older' says where that lies, of what is no input. */
struct nr_cover;
NORI_WARN_UNUSED nori_status nr_expired_skip(const struct nr_merge_job *job, size_t index, const struct nr_cover *older,
                                             struct nr_run **run_out, struct nori_error *err);

#endif

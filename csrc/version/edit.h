/* Edits: what takes one version to the next, as it stands in a manifest record.
 *
 * An edit is a list of operations, applied in order, whole or not at all. Slots are named by level and guard; level 0's
 * runs by run id. A run is written out as its slices: file number and bounds. */
#ifndef NR_VERSION_EDIT_H
#define NR_VERSION_EDIT_H

#include "base/buffer.h"
#include "version/version.h"

/* What the manifest keeps beside the tree. Zero means: not in this edit. */
struct nr_counters {
    uint64_t next_file_number; /* Of tables and manifests. */
    uint64_t next_run_id;
    uint64_t next_slot_id;
    uint64_t flushed_sequence; /* All at or below it is in tables. */
    uint64_t log_number;       /* First segment still needed. */
    uint64_t ttl_clock_ms;
};

struct nr_edit; /* Built by the functions below, in memory. */
NORI_WARN_UNUSED nori_status nr_edit_create(struct nr_edit **edit_out, struct nori_error *err);
void nr_edit_destroy(struct nr_edit *edit); /* NULL is fine. */

/* Counters rise; each call merges into the edit's, the greater wins. */
void nr_edit_set_counters(struct nr_edit *edit, const struct nr_counters *counters);
NORI_WARN_UNUSED nori_status nr_edit_set_options(struct nr_edit *edit, nori_slice text, struct nori_error *err);
/* A file must be added before a run refers to it, by this edit or an earlier one. Refs the file. */
NORI_WARN_UNUSED nori_status nr_edit_add_file(struct nr_edit *edit, struct nr_table_file *file, struct nori_error *err);
/* Level 0: a new newest run; a run without what lies in [start, end); a run put in the place of neighbours in age (the
 * newest and the oldest of them given; NULL run: nothing is left of them). Runs are refed. */
NORI_WARN_UNUSED nori_status nr_edit_push_l0(struct nr_edit *edit, struct nr_run *run, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_edit_subtract_l0(struct nr_edit *edit, uint64_t run_id, nori_slice start,
                                                 struct nr_bound end, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_edit_merge_l0(struct nr_edit *edit, uint64_t newest_run_id, uint64_t oldest_run_id,
                                              struct nr_run *run, struct nori_error *err);
/* A slot's whole new content (level >= 1): the slot at guard 'start', its k_max and runs, newest first. Refs them. */
NORI_WARN_UNUSED nori_status nr_edit_set_slot(struct nr_edit *edit, uint32_t level, nori_slice start, uint32_t k_max,
                                              struct nr_run *const *runs, size_t run_count, struct nori_error *err);
/* New guards for a whole level (ascending, without the empty first one). A slot whose guard was there keeps its id, new
 * ones count on from 'first_slot_id', at most 'guard_count' of them. A slot whose bounds stay is left as it is;
 * others get 'k_max' (0: that of the old slot at their guard) and the runs of the old slots, clipped, in order of age.
 * A part in a slot that keeps its id keeps the run's; others get one of NR_CUT_RUN_BIT.
 *
 * Where a new slot covers several old ones that have runs, these are joined: their oldest runs, one behind the other in
 * key order, become its oldest run, the next ones its next, as far as there are any; so bottom runs join bottom runs.
 * Runs of different slots share no key, so the order of age is kept whatever stands beside what. A joined run has the
 * id of its first part. No data is rewritten. Slots whose bounds changed get new activities, into which those of the
 * old slots are shared out. Legal where nr_version_may_join says so. */
NORI_WARN_UNUSED nori_status nr_edit_set_guards(struct nr_edit *edit, uint32_t level, const nori_slice *guards,
                                                size_t guard_count, uint64_t first_slot_id, uint32_t k_max,
                                                struct nori_error *err);
/* The same, said by what is new or goes ('guards' ascending), so that an edit is not as long as the level. Added ones
 * that are there already stay; one that is to go has to be there. */
NORI_WARN_UNUSED nori_status nr_edit_add_guards(struct nr_edit *edit, uint32_t level, const nori_slice *guards,
                                                size_t guard_count, uint64_t first_slot_id, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_edit_remove_guards(struct nr_edit *edit, uint32_t level, const nori_slice *guards,
                                                   size_t guard_count, struct nori_error *err);

/* The version after 'base' with this edit; 'base' stays. CORRUPTION if the edit does not fit it. Reads activities:
 * under the engine's lock, once there is one. */
NORI_WARN_UNUSED nori_status nr_edit_apply(const struct nr_edit *edit, struct nr_version *base,
                                           struct nr_version **version_out, struct nori_error *err);

/* The record payload. */
NORI_WARN_UNUSED nori_status nr_edit_encode(const struct nr_edit *edit, struct nr_buffer *out, struct nori_error *err);
/* From a record's payload. Files are created through 'find_file', which gives a reference to the one file object for a
 * number: known already, or made from 'properties' (NULL: must be known, else CORRUPTION). */
typedef nori_status (*nr_find_file_fn)(void *arg, uint64_t number, uint64_t file_bytes,
                                       const struct nr_table_properties *properties, struct nr_table_file **file_out,
                                       struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_edit_decode(nori_slice payload, nr_find_file_fn find_file, void *arg,
                                            struct nr_edit **edit_out, struct nori_error *err);
const struct nr_counters *nr_edit_counters(const struct nr_edit *edit);
nori_slice nr_edit_options(const struct nr_edit *edit); /* data NULL: none. Borrowed. */

/* The edit that makes 'version' from an empty tree of the same level count. */
NORI_WARN_UNUSED nori_status nr_edit_snapshot(const struct nr_version *version, const struct nr_counters *counters,
                                              nori_slice options, struct nr_edit **edit_out, struct nori_error *err);

#endif

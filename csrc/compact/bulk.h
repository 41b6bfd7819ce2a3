/* Bulk: pairs in any order become one run of tables (design 4, 6: ingest).
 *
 * While keys ascend, tables are written as the pairs come. From the first pair on that does not ascend they are
 * gathered in a pile; a full pile is sorted and written as a run. Runs of about the same size are merged as soon as
 * there are many, and in the end all that there are. Of pairs with the same key the last one counts.
 *
 * The tables are stamped (NR_READ_FEATURE_STAMPED): their entries have one sequence, which is known when all are
 * written. Until then they bear the number of the run that they came with, so that a merge tells which is newer. */
#ifndef NR_COMPACT_BULK_H
#define NR_COMPACT_BULK_H

#include "base/prefix_sort.h"
#include "compact/output.h"
#include "memtable/batch.h"

/* So many runs of one tier are merged into one of the next. */
#define NR_BULK_FAN_IN 64

struct nr_bulk_params {
    const struct nr_merge_context *context; /* Borrowed. */
    uint32_t level;                         /* Of the tables: compression, block size, filter bits. */
    uint64_t pile_bytes;                    /* A pile is full. */
    uint64_t created_ms;
    bool must_ascend; /* A key below the one before is NORI_INVALID. */
};

struct nr_bulk_run {
    struct nr_run *run; /* Refs. */
    unsigned tier;
};

struct nr_bulk {
    struct nr_bulk_params params;
    struct nr_output output; /* The tables under way. */
    /* While keys ascend: the pair taken last, which another of its key may replace. */
    bool is_ascending, has_last;
    struct nr_operation last; /* Borrows from the payload under way, or from 'kept'. */
    struct nr_buffer kept;
    /* Later. */
    struct nr_buffer pile;        /* Operations, one after the other. */
    struct nr_sort_item *entries; /* Owned. The offset of each of them; for sorting, its place and prefix. */
    size_t entry_count, entry_capacity;
    struct nr_bulk_run *runs; /* Owned. Oldest first. */
    size_t run_count, run_capacity;
    uint64_t next_number; /* Of runs; the sequence of their entries until they are stamped. */
    /* Counts. */
    uint64_t pair_count, user_bytes, bytes_written;
};

NORI_WARN_UNUSED nori_status nr_bulk_init(struct nr_bulk *bulk, const struct nr_bulk_params *params,
                                          struct nori_error *err);
/* Gives all back; tables that no run refers to any more are unlinked. */
void nr_bulk_clear(struct nr_bulk *bulk);
/* The puts of a batch. NORI_INVALID for other operations. After a failure there is only clear. */
NORI_WARN_UNUSED nori_status nr_bulk_add(struct nr_bulk *bulk, nori_slice payload, struct nori_error *err);
/* All of it as one run (NULL: there were no pairs), owned by the caller. The tables and their directory are synced. May
 * ask the thread's interrupt hook, in which the engine may be closed and 'bulk' cleared: after NORI_CLOSED and
 * NORI_INTERRUPTED nothing of it was touched. */
NORI_WARN_UNUSED nori_status nr_bulk_finish(struct nr_bulk *bulk, struct nr_run **run_out, struct nori_error *err);
/* The same run with its files' entries at 'sequence'. No version knows it yet, and no table of it is open. */
NORI_WARN_UNUSED nori_status nr_bulk_stamp(struct nr_run *run, uint64_t sequence, uint64_t run_id,
                                           struct nr_run **stamped_out, struct nori_error *err);

#endif

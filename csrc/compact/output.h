/* Output of a merge or a flush: tables one after the other, and the run they make.
 *
 * Each target is a span of keys. Its tables cut it into spans of their own, from one cut to the next without a gap, and
 * each table carries the range tombstones of its span: together they carry those of the whole target. Between two
 * tables a slice of an input may be taken over as it is. */
#ifndef NR_COMPACT_OUTPUT_H
#define NR_COMPACT_OUTPUT_H

#include "compact/merge.h"
#include "table/builder.h"

struct nr_output {
    const struct nr_merge_context *context; /* Borrowed. */
    struct nr_tombstones *tombstones;       /* Borrowed; of all outputs. NULL: none. */
    uint32_t level;
    double bits_per_key;  /* Of filters. */
    uint64_t table_bytes; /* Tables are cut here. */
    uint64_t created_ms;
    uint64_t lifetime_ms; /* For the tables' properties. */
    /* The target under way. */
    uint64_t slot_id;
    struct nr_bound end;              /* Borrowed. */
    struct nr_buffer span_start;      /* Of the table under way. */
    struct nr_table_builder *builder; /* Owned. NULL: no table is under way. */
    uint64_t number;                  /* Of that table. */
    struct nr_table_slice *slices;    /* Owned; their files are refed, their keys borrowed from the files or inputs. */
    size_t slice_count, slice_capacity;
    /* Since the last admission, and in all. */
    uint64_t unadmitted_bytes; /* Entries' bytes passed through. */
    uint64_t admitted_bytes;   /* Of 'bytes_written' and the table under way. */
    uint64_t bytes_written;
    uint64_t entries_written;
    const struct nr_read *input;     /* Borrowed; of the inputs' iterators. NULL: memtables. */
    uint64_t seen_hits, seen_misses; /* Of the input, as far as 'warmth' knows them. */
    double warmth;                   /* How much of the input of late was in the block cache, 0..1. */
    uint64_t held_bytes;             /* The job's part of context->job_bytes. */
    bool writes_behind;              /* Somebody waits for the tables (table/builder.h). */
    bool is_stamped;                 /* The tables' sequences are yet to be given (table/builder.h). */
    bool is_full;                    /* The table under way is to be cut at the next key. */
    uint64_t first_number;           /* Of the files made; UINT64_MAX: none yet. Older ones were taken over. */
};

void nr_output_init(struct nr_output *output, const struct nr_merge_context *context, struct nr_tombstones *tombstones,
                    uint32_t level, uint64_t table_bytes, uint64_t created_ms);
/* What is not in a run yet is given back, and its files unlinked. */
void nr_output_clear(struct nr_output *output);

/* Targets ascend; begin and end alternate. 'end' is borrowed until nr_output_end. '*run_out' NULL: nothing survived. */
NORI_WARN_UNUSED nori_status nr_output_begin(struct nr_output *output, uint64_t slot_id, nori_slice start,
                                             struct nr_bound end, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_output_end(struct nr_output *output, struct nr_run **run_out, struct nori_error *err);
/* Ends the target early, below 'key', which no entry added so far has. */
NORI_WARN_UNUSED nori_status nr_output_stop(struct nr_output *output, nori_slice key, struct nr_run **run_out,
                                            struct nori_error *err);

NORI_WARN_UNUSED nori_status nr_output_add(struct nr_output *output, nori_slice key, uint64_t tag, nori_slice value,
                                           struct nori_error *err);
/* Ends the table under way below 'key', which no entry added so far has. */
NORI_WARN_UNUSED nori_status nr_output_cut(struct nr_output *output, nori_slice key, struct nori_error *err);
/* Whether the table under way may end here: it has at least half of what makes it full. */
bool nr_output_is_large(const struct nr_output *output);
/* Takes a slice over as it is; all entries added lie below it, all to come above. */
NORI_WARN_UNUSED nori_status nr_output_adopt(struct nr_output *output, const struct nr_table_slice *slice,
                                             struct nori_error *err);
/* Counts input that has passed, and at times asks the rate limit and whether to go on. */
NORI_WARN_UNUSED nori_status nr_output_admit(struct nr_output *output, uint64_t bytes, struct nori_error *err);

/* Gives a run back that no version will hold; unlinks its files from 'first_number' on. NULL is fine. */
void nr_output_discard(const struct nr_merge_context *context, struct nr_run *run, uint64_t first_number);

#endif

/* Merges runs into new runs: the work of every compaction, and of a flush.
 *
 * Execution is a worker's, without any lock. It reads the inputs through iterators of its own, judges each entry
 * (survive.h), writes tables cut at the targets' bounds and at table_bytes, and hands back one run per target. Nothing
 * is installed here: the caller makes the edit. On failure the files written so far are unlinked.
 *
 * A large merge ends early, at a key where a table ends, and says where: what it wrote stands for all of the inputs
 * below that key, and can take their place there while the rest is merged later, by another job or not at all. */
#ifndef NR_COMPACT_MERGE_H
#define NR_COMPACT_MERGE_H

#include "base/buffer.h"
#include "compact/survive.h"
#include "memtable/memtable.h"
#include "version/version.h"

struct nr_merge_context;
struct nr_merge_job;

/* Stands in for tables where these are only described: nori_simulate's. */
struct nr_merge_model {
    /* As nr_merge_execute. */
    nori_status (*execute)(const struct nr_merge_context *context, struct nr_merge_job *job, struct nori_error *err);
    /* As nr_table_sample. */
    void (*sample)(const struct nr_table_file *file, size_t count,
                   void (*fn)(void *arg, nori_slice key, uint64_t bytes), void *arg);
};

/* What all jobs of an engine share. Borrowed members; thread-safe callbacks. */
struct nr_merge_context {
    struct nori_env *env;
    struct nr_dir *dir;
    uint64_t database_id;
    struct nr_epoch *epoch;
    struct nr_table_cache *tables;
    const struct nori_options *options;
    uint64_t (*next_number)(void *arg); /* A new file number. */
    uint64_t (*next_run_id)(void *arg);
    /* Waits for the rate limit, and says whether to go on: NORI_CLOSED when the engine closes. NULL: neither. */
    nori_status (*admit_bytes)(void *arg, uint64_t bytes, struct nori_error *err);
    void (*on_unreferenced)(void *arg, struct nr_table_file *file); /* For the files made. */
    /* Bits per key of a level's next tables. NULL: as the options say. */
    double (*filter_bits)(void *arg, uint32_t level);
    uint64_t part_bytes;         /* io.compaction_slice_mib; tests lower it. */
    _Atomic uint64_t *job_bytes; /* Raised by the memory that a job takes, while it does. NULL: not counted. */
    void *arg;
    /* A flush says, in order of keys, what it writes. NULL: it does not. */
    void (*note_entry)(void *arg, nori_slice key, uint64_t bytes);
    void *note_arg;
    const struct nr_merge_model *model; /* NULL: there are tables. */
};

struct nr_merge_input {
    struct nr_run *run; /* Borrowed. */
    nori_slice start;   /* Only what lies in [start, end). */
    struct nr_bound end;
};

struct nr_merge_target {
    uint64_t slot_id;
    nori_slice start; /* Borrowed. Targets ascend and do not overlap. */
    struct nr_bound end;
    struct nr_run *run; /* Result: one reference, NULL if nothing survives there. */
};

struct nr_merge_job {
    const struct nr_merge_input *inputs; /* Newest first. */
    size_t input_count;
    struct nr_merge_target *targets;
    size_t target_count;
    uint32_t level; /* Of the outputs: compression, block size, filter bits. */
    struct nr_run *const
        *older; /* Runs that may hold older data of these keys: in the target slots behind the inputs, and below. */
    size_t older_count;
    struct nr_run *const *newer; /* Runs that hold newer data there: in the slots before the inputs, and above. */
    size_t newer_count;
    const struct nr_moment *moments; /* Of open snapshots, and last the present. */
    size_t moment_count;
    uint64_t created_ms;
    bool is_for_space; /* No slice is taken over that holds the rest of its table. */
    bool counts_fresh; /* Tables are to say of how many of their keys there is nothing older (fresh.h). */
    /* Only entries of sequences in [from, to] are kept; 0, 0: all. Another merge of the inputs keeps the others. There
     * are no range tombstones then, and no moments between the inputs' entries. */
    uint64_t from_sequence, to_sequence;
    uint64_t part_bytes; /* The merge may end early once it has written so much; 0: it does not. */
    /* Filled in: whether it did, and the first key that is left. Owned by the caller. */
    bool is_part;
    struct nr_buffer part_end;
    /* Counts, filled in. */
    uint64_t bytes_read, bytes_written, entries_read, entries_written;
    /* Files of the targets' runs from this number on are new; older ones are the inputs', taken over as they are where
     * nothing else of the inputs overlaps them. */
    uint64_t first_number;
};

/* Whether the job may leave the slice's bytes where they are. */
static inline bool nr_merge_leaves(const struct nr_merge_job *job, const struct nr_table_slice *slice)
{
    return !job->is_for_space || slice->bytes >= slice->file->file_bytes - slice->file->file_bytes / 8;
}

/* Fills the targets' runs; of a part, those of the targets behind it stay NULL. The files' directory has been synced
 * when it returns: the edit may name them. On failure there are no runs, and their files are unlinked. */
NORI_WARN_UNUSED nori_status nr_merge_execute(const struct nr_merge_context *context, struct nr_merge_job *job,
                                              struct nori_error *err);

/* Takes out of '*run', merged of the job's inputs, the holes between them where it must not span them (merge.c). */
NORI_WARN_UNUSED nori_status nr_merge_cut_to_inputs(const struct nr_merge_job *job, struct nr_run **run,
                                                    struct nori_error *err);

/* Memtables, newest first, into one level 0 run with one table; '*run_out' NULL if nothing survives. Synced like a
 * merge. Tombstones stay: older data may be below ('may_be_below' of everything). Filter bits and compression of level
 * 0. */
NORI_WARN_UNUSED nori_status nr_flush_execute(const struct nr_merge_context *context,
                                              struct nr_memtable *const *memtables, size_t memtable_count,
                                              const struct nr_moment *moments, size_t moment_count, uint64_t created_ms,
                                              struct nr_run **run_out, uint64_t *bytes_written_out,
                                              struct nori_error *err);

/* An iterator over the slices of a run within [start, end), opening one table at a time; scans and merges use it. Refs
 * the run; 'start', 'end' and 'read' are borrowed for its life. */
NORI_WARN_UNUSED nori_status nr_run_iter_create(struct nr_run *run, nori_slice start, struct nr_bound end,
                                                struct nr_table_cache *tables, struct nr_epoch *epoch,
                                                struct nr_read *read, struct nr_iter **iter_out,
                                                struct nori_error *err);
/* Its range tombstones, clipped to the slices and to [start, end); NULL if none. Opens the tables that have some. */
NORI_WARN_UNUSED nori_status nr_run_tombstones(struct nr_run *run, nori_slice start, struct nr_bound end,
                                               struct nr_table_cache *tables, struct nr_epoch *epoch,
                                               struct nr_tombstones **set_out, struct nori_error *err);

#endif

/* Repair: what is whole of a damaged database, as a new one.
 *
 * Found (repair_find.c): which tables count, by the manifest or, where none can be read, all there are. Examined
 * (repair_examine.c): each block of each of them; what is lost is kept as ranges of keys. Then everything that is whole
 * is merged into one run (repair_chain.c, repair_write.c), with what the log holds beyond the tables (repair_log.c).
 *
 * What is lost may have been newer than what is whole: a value that replaced another, or a delete. So entries of older
 * runs within a lost range are doubtful. They are left out, unless the caller wants them: better a key that is reported
 * missing than a deleted one that is back.
 *
 * The source is only read. All of it belongs to the one thread that repairs. */
#ifndef NR_ENGINE_REPAIR_H
#define NR_ENGINE_REPAIR_H

#include "base/arena.h"
#include "engine/engine.h"
#include "engine/target.h"

/* Findings that are listed; the rest is counted. */
#define NR_REPAIR_FINDINGS 10000
/* Ranges that are kept apart of one table; what lies between the rest counts as lost, too. */
#define NR_REPAIR_TABLE_RANGES 256
/* Without a manifest: tables whose place among the others is not known. */
#define NR_REPAIR_RANK_UNPLACED 1

#define NR_REPAIR_NO_FINDING SIZE_MAX
#define NR_REPAIR_PATH_BYTES 512

struct nr_repair_table {
    struct nr_table_file *file;       /* Refs. As the manifest says, or else the table. */
    struct nr_tombstones *tombstones; /* Refs; NULL: none. */
    struct nr_table_damage damage;    /* bits NULL: nothing can be read. */
    size_t first_range, range_count;  /* In repair->ranges: what is lost of the table. */
    size_t finding;                   /* The first of those. */
    uint64_t dropped;                 /* Entries of the table that are older than lost ones of its own. */
};

/* What counts of a table. */
struct nr_repair_piece {
    size_t table;
    uint64_t rank;    /* Of two pieces that share a key, the one with the smaller rank is newer. */
    nori_slice start; /* Borrowed from version or file. */
    struct nr_bound end;
};

/* Pieces of one rank, in key order: one table is open at a time. */
struct nr_repair_chain {
    uint64_t rank;
    size_t *pieces; /* Owned. */
    size_t count, capacity;
};

/* Keys of which newer entries may be lost. */
struct nr_repair_lost {
    nori_slice start; /* Borrowed from the arena, or as in the piece. */
    struct nr_bound end;
    size_t table;
    uint64_t rank;
    uint64_t largest_sequence; /* Of what is lost, at most. */
    size_t finding;
};

struct nr_repair_range {
    nori_slice start; /* Borrowed from the arena, or from a file. */
    struct nr_bound end;
    size_t finding;
};

struct nr_repair {
    struct nori_env *env;
    const char *path, *into;
    bool keeps_doubtful;
    struct nr_dir *source;
    struct nr_file *lock; /* NULL: there is none. */
    struct nr_target target;
    struct nori_repair_report *report;
    nori_progress_fn fn;
    void *arg;
    struct nori_progress progress;

    /* Found. */
    bool has_manifest;
    struct nr_manifest_state state;
    uint64_t database_id;
    struct nori_options options;
    struct nr_repair_table *tables; /* Owned, as are all arrays here. */
    size_t table_count, table_capacity;
    struct nr_repair_piece *pieces;
    size_t piece_count, piece_capacity;

    /* Examined. */
    struct nr_arena arena;
    struct nr_repair_range *ranges;
    size_t range_count, range_capacity;
    struct nr_repair_lost *lost; /* By start. */
    size_t lost_count;
    uint64_t entries_seen;

    /* From the log, newest last. */
    struct nr_epoch epoch;
    struct nr_memtable *memtable;
    struct nr_run **runs; /* Memtables that were full, as tables of the target. */
    struct nr_tombstones **log_tombstones;
    size_t run_count, run_capacity, log_tombstone_count;
    uint64_t flushed_sequence; /* Records up to it are in tables. */
    uint64_t sequence;         /* The last that was met. */
    bool is_log_ended;

    /* Written. */
    struct nr_table_cache *cache;
    struct nr_merge_context merging;
    uint64_t next_number, next_run_id;
    struct nr_repair_chain *chains; /* By rank. */
    size_t chain_count, chain_capacity;
    struct nr_run *run; /* NULL: nothing is left. */
};

/* Room for one more in an array of 'count', whose elements have 'size' bytes. */
NORI_WARN_UNUSED nori_status nr_repair_grow(void **array, size_t count, size_t *capacity, size_t size,
                                            struct nori_error *err);
/* Tells how far it is, and asks whether to go on. */
NORI_WARN_UNUSED nori_status nr_repair_tell(struct nr_repair *repair, struct nori_error *err);

void nr_repair_table_path(const struct nr_repair *repair, uint64_t number, char path_out[NR_REPAIR_PATH_BYTES]);
/* Adds a finding; its index in '*finding_out' (may be NULL), NR_REPAIR_NO_FINDING if it is only counted. */
NORI_WARN_UNUSED nori_status nr_repair_note(struct nr_repair *repair, const struct nori_error *damage,
                                            size_t *finding_out, struct nori_error *err);
/* The same, about keys in [start, end). */
NORI_WARN_UNUSED nori_status nr_repair_note_range(struct nr_repair *repair, const struct nori_error *damage,
                                                  nori_slice start, struct nr_bound end, size_t *finding_out,
                                                  struct nori_error *err);
/* An nr_salvage note of what is noted elsewhere. */
NORI_WARN_UNUSED nori_status nr_repair_pass_by(void *arg, const struct nori_error *damage, struct nori_error *err);
/* Entries were left out for the finding's sake. */
void nr_repair_drop(struct nr_repair *repair, size_t finding, uint64_t count);

NORI_WARN_UNUSED nori_status nr_repair_find_tables(struct nr_repair *repair, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_repair_examine(struct nr_repair *repair, struct nori_error *err);
/* Into memtables, and where these are full into tables of the target. */
NORI_WARN_UNUSED nori_status nr_repair_replay(struct nr_repair *repair, struct nori_error *err);
/* The pieces as chains. */
NORI_WARN_UNUSED nori_status nr_repair_link(struct nr_repair *repair, struct nori_error *err);
/* An iterator over what is whole in a chain, without what is doubtful. Forward only. */
NORI_WARN_UNUSED nori_status nr_repair_chain_iter_create(struct nr_repair *repair, const struct nr_repair_chain *chain,
                                                         struct nr_iter **iter_out, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_repair_write(struct nr_repair *repair, struct nori_error *err);

#endif

/* Simulation: the engine over tables that are described instead of made.
 *
 * An engine is opened on a simulated disk. All that decides is its own and unchanged: planner, scheduler, guards, heat,
 * K, edits, versions, the manifest with its bytes. Two things are replaced: a table is a profile, and a merge works out
 * which profile its inputs leave (compact/merge.h, nr_merge_model); and nothing is put, memtables are numbers that a
 * flush turns into profiles. Time is the disk's, moved from event to event: a job takes its bytes by the rate of one
 * worker.
 *
 * Keys are numbers of twelve digits, as whole as the engine's arithmetic on keys wants them, and spread evenly. A
 * profile says for each stretch of keys which part of them the table has. What was written at random is independent
 * from table to table, so a key is missing from a merge with the product of its chances to be missing from each input.
 * What was loaded, each key once, is in one table only: parts add up. A profile keeps the two apart. */
#ifndef NR_ENGINE_SIMULATE_H
#define NR_ENGINE_SIMULATE_H

#include "engine/engine.h"
#include "nori_simulate.h"

#define NR_SIM_KEY_BYTES 12
#define NR_SIM_END 999999999999ull /* Positions are below. */

/* From 'start' to the next part's: the parts of the keys there that the table has. 0..1 */
struct nr_sim_part {
    uint64_t start;
    double loaded;  /* Each key in one table at most. */
    double updated; /* Independent of what other tables have. */
    double deleted; /* Of 'updated', tombstones. */
    uint64_t smallest_sequence, largest_sequence;
};

struct nr_simulation;

/* Of a table file, whose 'arg' it is. */
struct nr_sim_profile {
    struct nr_simulation *simulation; /* Borrowed; outlives all files. */
    uint64_t end;
    size_t count; /* >= 1 */
    struct nr_sim_part parts[];
};

/* A memtable: how many entries were written to it, and which were the load's. */
struct nr_sim_memtable {
    double entries;
    bool is_load;
};

struct nr_sim_worker {
    struct nr_job *job; /* NULL: idle. */
    uint64_t done_us;
};

/* Reads of the tree as it stands, by expectation. */
struct nr_sim_reads {
    double probes, blocks; /* For one read. */
    double range_probes[NORI_SIMULATED_RANGES];
};

struct nr_simulation {
    struct nori_simulation params;
    struct nori_options options;
    struct nori_simulated_range ranges[NORI_SIMULATED_RANGES];
    uint64_t range_ends[NORI_SIMULATED_RANGES]; /* Positions. */
    size_t range_count;
    struct nori_env *env;       /* Owned, as is the engine. */
    struct nori_engine *engine; /* */
    struct nr_random random;    /* Rounds what is counted. */
    double entry_bytes;         /* Key and value. */
    double stored_bytes;        /* Of a put in a table, filter included; */
    double tombstone_bytes;     /* of a delete. */
    double memtable_entries;
    /* Tables. */
    uint64_t file_count;
    /* Writers and workers. */
    struct nr_sim_memtable active, waiting[NR_MAX_LAYERS];
    size_t waiting_count;
    bool is_flushing;
    struct nr_sim_memtable flushing;
    struct nr_run *flushed; /* Owned: until the flush ends. */
    uint64_t flushed_bytes, flush_done_us;
    struct nr_sim_worker *workers; /* Owned. */
    size_t worker_count;
    bool is_work_known; /* Since the last change no job was found. */
    uint64_t next_sequence;
    bool is_loading;         /* Nobody reads yet. */
    uint64_t traffic_us;     /* When the load had ended. */
    uint64_t read_us;        /* Until then reads were counted. */
    uint64_t maintained_us;  /* The last round. */
    uint64_t write_began_us; /* Of the memtable written to. */
    /* Level 0's depth, of the version it was measured for. */
    const struct nr_version *depth_of;
    uint64_t depth_number;
    size_t depth;
    /* Totals. */
    uint64_t stall_us, waited_us, plans, peak_slots, peak_files, edits;
    double user_bytes; /* Written by traffic. */
    double planning_seconds, installing_seconds;
    uint64_t action_counts[NR_ACTION_COUNT], action_bytes[NR_ACTION_COUNT];
    struct nr_sim_reads reads;
};

/* ---------------------------------------------------------------- tables (simulate_tables.c) */

void nr_sim_key(uint8_t out[NR_SIM_KEY_BYTES], uint64_t position);
uint64_t nr_sim_position(nori_slice key);
uint64_t nr_sim_end(struct nr_bound bound);
/* How many keys lie in [from, to). */
double nr_sim_keys(const struct nr_simulation *simulation, uint64_t from, uint64_t to);
static inline double nr_sim_density(const struct nr_sim_part *part)
{
    return part->updated + (1 - part->updated) * part->loaded;
}
/* How many entries a file has in [from, to). */
double nr_sim_entries(const struct nr_table_file *file, uint64_t from, uint64_t to);

/* The tables of one target, cut at 'table_bytes'. */
struct nr_sim_output {
    struct nr_simulation *simulation; /* Borrowed. */
    uint32_t level;
    uint64_t slot_id;
    double table_bytes;
    nori_slice start; /* The target. Borrowed. */
    struct nr_bound end;
    /* The table under way. */
    struct nr_sim_part *parts; /* Owned. */
    size_t part_count, part_capacity;
    uint64_t table_end;
    double entries, deletes, bytes;
    uint64_t smallest_sequence, largest_sequence;
    /* All so far. */
    struct nr_table_slice *slices; /* Owned; files refed. */
    size_t slice_count, slice_capacity;
    uint64_t first_number; /* Of the files made; UINT64_MAX: none. */
    uint64_t bytes_written;
};

void nr_sim_output_init(struct nr_sim_output *output, struct nr_simulation *simulation, uint32_t level,
                        double table_bytes);
void nr_sim_output_clear(struct nr_sim_output *output);
void nr_sim_output_begin(struct nr_sim_output *output, uint64_t slot_id, nori_slice start, struct nr_bound end);
/* The keys of [from, to). Ascending. */
NORI_WARN_UNUSED nori_status nr_sim_output_add(struct nr_sim_output *output, uint64_t from, uint64_t to,
                                               const struct nr_sim_part *part, struct nori_error *err);
/* A slice as it is. */
NORI_WARN_UNUSED nori_status nr_sim_output_adopt(struct nr_sim_output *output, const struct nr_table_slice *slice,
                                                 struct nori_error *err);
/* '*run_out' NULL: nothing is in it. */
NORI_WARN_UNUSED nori_status nr_sim_output_end(struct nr_sim_output *output, struct nr_run **run_out,
                                               struct nori_error *err);

/* ---------------------------------------------------------------- its parts */

/* simulate_merge.c: the model that stands in for tables. */
extern const struct nr_merge_model nr_sim_model;

/* simulate_write.c: a memtable's run, and what it brings about when it is installed. */
NORI_WARN_UNUSED nori_status nr_sim_flush_begin(struct nr_simulation *simulation, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_sim_flush_end(struct nr_simulation *simulation, struct nori_error *err);
/* The tree of NORI_START_PLACED. */
NORI_WARN_UNUSED nori_status nr_sim_place(struct nr_simulation *simulation, struct nori_error *err);
/* The part of a range's keys that 'writes' random writes touch. */
double nr_sim_touched(const struct nr_simulation *simulation, size_t range, double writes);

/* simulate_read.c: what reads find in the tree as it is; '*activity' counts those of 'seconds' where not 0. */
NORI_WARN_UNUSED nori_status nr_sim_read(struct nr_simulation *simulation, double seconds, struct nori_error *err);

/* simulate_report.c */
uint64_t nr_sim_tree_bytes(struct nr_simulation *simulation); /* Written since open: tables, and manifests. */
uint64_t nr_sim_manifest_bytes(struct nr_simulation *simulation);
/* The tree as it stands into the report. */
NORI_WARN_UNUSED nori_status nr_sim_describe(struct nr_simulation *simulation, struct nori_simulation_report *report,
                                             struct nori_error *err);

/* simulate_clock.c: from event to event, until 'entries' more are written, and with 'drain' all work is done. 'fn' is
 * called after each event. */
NORI_WARN_UNUSED nori_status nr_sim_run(struct nr_simulation *simulation, double entries, double bytes_per_sec,
                                        bool is_load, bool drain, nori_status (*fn)(void *arg, struct nori_error *err),
                                        void *arg, struct nori_error *err);

#endif

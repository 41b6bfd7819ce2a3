/* What an engine would do: its planner, scheduler and edits over tables that are described instead of made. The
 * conventions are those of nori.h. */
#ifndef NORI_SIMULATE_H
#define NORI_SIMULATE_H

#include "nori.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A part of the key space. Ranges lie one behind the other in key order; within each, keys are alike. */
struct nori_simulated_range {
    double keys, writes, reads; /* Its parts of them, 0 to 1; each sums to 1 over all ranges. */
};

enum nori_simulated_start {
    NORI_START_WRITTEN, /* Each key is put once, in random order, before traffic begins. */
    NORI_START_PLACED,  /* A tree that holds them, its upper levels about full. */
};

/* A load, and then traffic at an even pace: writes of random keys, reads of random keys that are there. */
struct nori_simulation {
    const struct nori_options *options;        /* NULL: the defaults. */
    const struct nori_simulated_range *ranges; /* NULL: one. */
    size_t range_count;
    uint64_t keys;
    uint32_t key_bytes, value_bytes;
    double stored_share;        /* Bytes of an entry in a table, without its filter, to those of key and value. */
    uint64_t memtable_entries;  /* That fill a memtable; 0: worked out from memtable.flush_trigger_bytes. */
    double load_bytes_per_sec;  /* Keys and values, as in all rates. */
    double write_bytes_per_sec; /* 0: no traffic. */
    double reads_per_sec;       /* Gets; may be 0. */
    double scans_per_sec;       /* Where reads are; may be 0. */
    double delete_share;        /* Of writes, 0 to below 1. */
    uint64_t write_bytes;       /* Of traffic in all; */
    uint64_t warm_up_bytes;     /* of which the first are not measured. */
    double merge_bytes_per_sec; /* What one background job reads. */
    double edit_secs;           /* What a manifest edit takes. */
    double probe_ns;            /* What K is chosen by: a run more that a get looks into (a scan opens: tenfold); */
    double rewrite_ns;          /* a byte rewritten. */
    uint64_t wait_at_depth;     /* Writers wait of themselves where level 0 is deeper; 0: they do not. */
    double rotate_secs;         /* After so many, each time, a range gets the reads of the one before; 0: never. */
    int start;                  /* enum nori_simulated_start */
    uint64_t seed;
    nori_progress_fn progress; /* NULL: none. Also asked whether to stop. */
    void *progress_arg;
};

struct nori_simulated_level {
    uint64_t slots, runs, files, bytes, most_runs;
    double mean_k; /* By slot. */
};

struct nori_simulated_action {
    char name[16];
    uint64_t count, bytes; /* Written. */
};

/* A stretch of the measured time. */
struct nori_simulated_sample {
    double seconds; /* At its end, since traffic began. */
    double write_amp, space_amp, read_amp, blocks_per_read;
    uint64_t l0_depth, files, slots;
};

#define NORI_SIMULATED_SAMPLES 64
#define NORI_SIMULATED_ACTIONS 16
#define NORI_SIMULATED_RANGES 64

struct nori_simulation_report {
    double seconds;      /* Simulated, of the measured traffic and its drain. */
    double wall_seconds; /* Of this call. */
    uint64_t user_bytes; /* Measured; so are the next four. The log is not counted. */
    uint64_t flush_bytes, compaction_bytes, manifest_bytes;
    uint64_t edits;                  /* Versions installed. */
    double load_write_amp;           /* Of the load. */
    double write_amp, max_write_amp; /* Bytes of tables and manifest to the user's; of a sample at most. */
    double read_amp, max_read_amp;   /* Runs looked into by a get, whatever their filters say. */
    double blocks_per_read;          /* That a get reads, nothing cached. */
    double space_amp, max_space_amp; /* Bytes of table files to those of one entry for each live key. */
    double stall_share;              /* Of the measured time that writers stalled or were delayed. */
    double waited_share;             /* And that they waited of themselves. */
    double range_read_amp[NORI_SIMULATED_RANGES];
    uint64_t table_bytes, files, peak_files, peak_slots; /* Now; at most. */
    uint64_t filter_bytes, index_bytes;                  /* Of all tables, were they all in memory. */
    uint64_t memory_bytes;                               /* Of the tree: slots, runs, files. */
    uint64_t snapshot_bytes;                             /* Of a manifest of the tree: what an open reads. */
    double open_seconds;                                 /* That reading it back took here. */
    double planning_seconds;                             /* Wall time that choosing jobs took; */
    double installing_seconds;                           /* and making, writing and applying edits. */
    uint64_t plans;                                      /* Times that jobs were looked for. */
    size_t level_count, action_count, sample_count;
    struct nori_simulated_level levels[NORI_MAX_LEVELS]; /* [0]: level 0. */
    struct nori_simulated_action actions[NORI_SIMULATED_ACTIONS];
    struct nori_simulated_sample samples[NORI_SIMULATED_SAMPLES];
};

/* Defaults: a million keys of 16 and 100 bytes, all alike. */
void nori_simulation_init(struct nori_simulation *simulation);
/* Runs the engine's own planner, scheduler and edits, in memory and in simulated time, over tables that are described
 * instead of made. The same simulation gives the same report, but for the wall times. NORI_INVALID names the field. */
NORI_WARN_UNUSED nori_status nori_simulate(const struct nori_simulation *simulation,
                                           struct nori_simulation_report *report_out, struct nori_error *error);

#ifdef __cplusplus
}
#endif

#endif

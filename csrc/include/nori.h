/* nori_lsm: an embedded, ordered, durable key-value store.
 *
 * The C API, complete in itself; nori_simulate.h adds what an engine would do. The Python binding includes no other
 * header of the core.
 *
 * Conventions. Every function that can fail returns a nori_status and describes the failure in '*error', which may be
 * NULL. "Not found" is a result, never an error. Keys order as unsigned bytes. Unless it says otherwise a function may
 * be called from any thread, and may wait: for a lock, for the disk, for room. A function that takes NORI_NO_WAIT in
 * its flags answers NORI_AGAIN instead of waiting or reading the disk; nothing has happened then, and the caller asks
 * again without the flag.
 *
 * A waiting call asks the thread's interrupt hook (nori_set_interrupt) at least every 100 ms, with no lock held. */
#ifndef NORI_H
#define NORI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NORI_WARN_UNUSED __attribute__((warn_unused_result))

/* ---------------------------------------------------------------- status and errors */

typedef enum nori_status {
    NORI_OK = 0,
    NORI_INVALID,      /* A bad argument or option; the text names it. */
    NORI_NO_MEMORY,    /* An allocation failed; nothing was applied. */
    NORI_IO,           /* The system said no: sys_errno, path. */
    NORI_CORRUPTION,   /* A file is damaged: path, offset, kind. */
    NORI_FORMAT,       /* Made by a newer version, or not ours. */
    NORI_LOCKED,       /* Another handle has the database open. */
    NORI_READ_ONLY,    /* A write to a read-only engine. */
    NORI_CLOSED,       /* Used after close. */
    NORI_POISONED,     /* An earlier write or sync of the log or manifest failed. */
    NORI_STALE,        /* Read-only, and the writer removed a table. */
    NORI_BACKPRESSURE, /* Stalled longer than the stall timeout; nothing was written. */
    NORI_FORKED,       /* A handle opened before fork(), used in the child. */
    NORI_INTERRUPTED,  /* The interrupt hook asked to stop. */
    NORI_AGAIN,        /* NORI_NO_WAIT, and the call would have to wait. */
} nori_status;

/* What became of a write that failed. */
enum nori_outcome { NORI_NOT_APPLIED = 0, NORI_INDETERMINATE = 1 };

struct nori_error {
    nori_status code;
    int sys_errno;             /* 0 where the system was not involved. */
    enum nori_outcome outcome; /* Meaningful for writes. */
    int64_t offset;            /* Byte in 'path', -1 if none. */
    char kind[24];             /* Corruption: what was damaged ("block", "footer", ...); else empty. */
    char path[512];            /* The file concerned, or empty. Cut when longer. */
    char text[512];            /* One sentence for a person. */
};

const char *nori_status_name(nori_status status);

/* ---------------------------------------------------------------- small types */

typedef struct nori_slice {
    const uint8_t *data;
    size_t size;
} nori_slice;

#define NORI_MAX_KEY_BYTES 65535u
#define NORI_MAX_VALUE_BYTES (1u << 30)
#define NORI_MAX_BATCH_BYTES (2ull << 30)
#define NORI_MAX_LEVELS 16

enum {
    NORI_NO_WAIT = 1u << 0, /* Answer NORI_AGAIN rather than wait or read the disk. */
};

/* Asked while a call of this thread waits or loops. Nonzero makes the call return NORI_INTERRUPTED. Called without any
 * lock of the core, and the call does not count as under way meanwhile: the function may make calls of its own, close
 * the engine, or wait for another thread that does; the call then returns NORI_CLOSED. It may not destroy the engine.
 * NULL (the default) never interrupts. Belongs to the calling thread. */
typedef int (*nori_interrupt_fn)(void *arg);
void nori_set_interrupt(nori_interrupt_fn fn, void *arg);

/* Progress of a long call. Called as the interrupt hook is. Nonzero stops the call: NORI_INTERRUPTED. */
struct nori_progress {
    uint64_t done;
    uint64_t total;
    const char *unit;  /* "bytes", "files", "jobs". */
    const char *phase; /* "flush", "compact", "copy", ... */
};
typedef int (*nori_progress_fn)(void *arg, const struct nori_progress *progress);

/* ---------------------------------------------------------------- options */

enum nori_durability { NORI_DURABILITY_SYNC, NORI_DURABILITY_INTERVAL, NORI_DURABILITY_OS };
enum nori_mapped { NORI_MAPPED_AUTO, NORI_MAPPED_TRUE, NORI_MAPPED_FALSE };
enum nori_compression { NORI_COMPRESSION_NONE, NORI_COMPRESSION_LZ4, NORI_COMPRESSION_ZSTD };
enum nori_k_policy { NORI_K_COST, NORI_K_HEAT };
enum nori_strategy { NORI_STRATEGY_ATLL, NORI_STRATEGY_LEVELED, NORI_STRATEGY_TIERED };
enum nori_guards { NORI_GUARDS_LEARNED, NORI_GUARDS_UNIFORM };
enum nori_scheduler {
    NORI_SCHEDULER_BANDIT,
    NORI_SCHEDULER_CONTEXTUAL,
    NORI_SCHEDULER_GREEDY,
    NORI_SCHEDULER_ROUND_ROBIN
};
enum nori_filter_kind { NORI_FILTER_BLOOM, NORI_FILTER_RIBBON };

struct nori_level_options {
    int compression;           /* enum nori_compression */
    uint32_t block_bytes;      /* Target of an uncompressed block. */
    double bloom_bits_per_key; /* Negative: filters.bloom_bits_per_key. */
};

/* Every knob. nori_options_init fills in the defaults; the names in brackets below are those of the text form, which
 * the manifest keeps and nori_options_set takes. The same names, ranges and defaults stand in the Python Config. */
struct nori_options {
    int64_t fanout;
    int64_t max_levels;
    int64_t l1_slot_count;
    uint64_t level1_bytes;
    uint64_t table_bytes;
    int64_t k_global;
    int k_policy; /* enum nori_k_policy */
    int strategy; /* enum nori_strategy */
    int guards;   /* enum nori_guards */
    double max_space_amp;
    double heat_alpha, heat_decay_interval_secs;
    int scheduler; /* enum nori_scheduler */
    double compaction_epsilon, compaction_ucb_c, compaction_reward_alpha;
    struct {
        int durability; /* enum nori_durability */
        int64_t sync_interval_ms;
        uint64_t segment_bytes;
        int mapped; /* enum nori_mapped */
        double gc_interval_secs;
        uint64_t retain_bytes;
    } wal;
    struct {
        uint64_t flush_trigger_bytes; /* At most a quarter of resources.memtables_mib counts. */
        double wal_age_trigger_sec;   /* 0: never. */
    } memtable;
    struct {
        int64_t max_files, soft_throttle_threshold;
        double soft_throttle_base_delay_ms;
    } l0;
    struct {
        double weights[3], zones[3];
        double stall_timeout_secs;
    } pressure;
    struct {
        double bloom_bits_per_key;
        int kind; /* enum nori_filter_kind */
    } filters;
    int64_t level_count; /* 1..NORI_MAX_LEVELS; levels[level_count - 1] serves all deeper levels. */
    struct nori_level_options levels[NORI_MAX_LEVELS];
    struct {
        int64_t block_cache_mib, index_cache_mib, memtables_mib, filters_mib, max_open_files;
    } resources;
    struct {
        int64_t max_background_jobs;
        double rate_limit_mib_s; /* 0: none. */
        int64_t compaction_slice_mib;
    } io;
    struct {
        double density_threshold;
        double ttl_default_secs; /* 0: none. */
    } tombstones;
};

void nori_options_init(struct nori_options *options);

/* Sets one option from its text form: "l0.max_files" to "8", "wal.durability" to "sync", "pressure.zones" to
 * "0.5,0.75,0.9", "levels" to "lz4/4096/none,zstd/16384/8" (compression/block_bytes/bits). NORI_INVALID names the
 * option when it is unknown or the value is out of range. */
NORI_WARN_UNUSED nori_status nori_options_set(struct nori_options *options, const char *name, const char *value,
                                              struct nori_error *error);
/* Checks what concerns several options at once (l0.max_files above l0.soft_throttle_threshold, zones ascending). */
NORI_WARN_UNUSED nori_status nori_options_check(const struct nori_options *options, struct nori_error *error);
/* Calls 'fn' for each option with its name and text form, in a fixed order. Both are valid during the call. */
void nori_options_each(const struct nori_options *options, void (*fn)(void *arg, const char *name, const char *value),
                       void *arg);

/* ---------------------------------------------------------------- environments */

struct nori_env;

struct nori_env *nori_env_default(void); /* The operating system's. Never fails, never destroyed. */

/* A file system in memory that keeps what would survive a power loss apart from what would not (design 8). 'sector' is
 * 512 or 4096: what is written atomically. With 'threads' false, background work runs inside the calls that need it,
 * so that the same seed is the same run. */
NORI_WARN_UNUSED nori_status nori_simdisk_create(uint64_t seed, uint32_t sector, bool threads,
                                                 struct nori_env **env_out, struct nori_error *error);
/* Frees the disk. Every engine on it must have been destroyed. NULL is fine. */
void nori_simdisk_destroy(struct nori_env *env);
/* Cuts the power: what was not synced survives in part, chosen by the seed. 'keep' is the chance of each unsynced
 * sector and name to survive, 0.0 to 1.0; negative draws the chance itself. Engines open on the disk are dead: all
 * their calls fail, their locks are gone. The disk can be opened again at once. Memory may run out: then nothing
 * happens. */
NORI_WARN_UNUSED nori_status nori_simdisk_crash(struct nori_env *env, double keep, struct nori_error *error);
/* Like kill -9: everything written stays, every open handle is dead. */
void nori_simdisk_kill(struct nori_env *env);
/* Makes the n-th operation from now of a kind fail with 'sys_errno' (n >= 1); 'op' is a name from
 * nori_simdisk_op_name or "any". A 'short' fault lets part of a write or read through first. */
NORI_WARN_UNUSED nori_status nori_simdisk_fail(struct nori_env *env, const char *op, uint64_t nth, int sys_errno,
                                               bool is_short, struct nori_error *error);
/* From the n-th operation from now on (of any kind) every operation fails with EIO and changes nothing, until
 * nori_simdisk_crash or nori_simdisk_kill. 0 takes it back. */
void nori_simdisk_stop_at(struct nori_env *env, uint64_t nth);
/* The name of the operation at which nori_simdisk_stop_at took effect; NULL while the disk works. */
const char *nori_simdisk_stopped(struct nori_env *env);
void nori_simdisk_clear_faults(struct nori_env *env);
/* Operations since creation; 'op' NULL counts all. */
uint64_t nori_simdisk_operations(struct nori_env *env, const char *op);
const char *nori_simdisk_op_name(unsigned index);    /* NULL past the last. */
uint64_t nori_simdisk_wall_ms(struct nori_env *env); /* The simulated wall clock, since 1970. */
/* Moves the simulated clocks: the monotonic one only forwards, the wall clock by any amount. */
void nori_simdisk_advance(struct nori_env *env, int64_t monotonic_us, int64_t wall_ms);
/* Whole files, for tests that damage them: read, replace (durable at once), list names under a directory. */
NORI_WARN_UNUSED nori_status nori_simdisk_read_file(struct nori_env *env, const char *path, uint8_t **data_out,
                                                    size_t *size_out, struct nori_error *error);
NORI_WARN_UNUSED nori_status nori_simdisk_write_file(struct nori_env *env, const char *path, nori_slice data,
                                                     struct nori_error *error);
NORI_WARN_UNUSED nori_status nori_simdisk_remove_file(struct nori_env *env, const char *path, struct nori_error *error);
NORI_WARN_UNUSED nori_status nori_simdisk_list(struct nori_env *env, const char *path,
                                               void (*fn)(void *arg, const char *name), void *arg,
                                               struct nori_error *error);

/* Frees memory that a function of this header handed over. NULL is fine. */
void nori_free(void *memory);

/* ---------------------------------------------------------------- opening and ending */

struct nori_engine;

struct nori_override {
    const char *name;
    const char *value;
};

struct nori_open_params {
    const struct nori_options *options;    /* NULL: as last opened, defaults when new. Replaces all of it. */
    const struct nori_override *overrides; /* Win over both. */
    size_t override_count;
    bool must_exist;      /* NORI_IO with ENOENT where there is no database. */
    bool must_not_exist;  /* NORI_IO with EEXIST where there is one. */
    bool read_only;       /* Write nothing, take no lock. */
    double wait_secs;     /* For the lock. */
    struct nori_env *env; /* NULL: the default. Borrowed; must outlive the engine. */
};

NORI_WARN_UNUSED nori_status nori_open(const char *path, const struct nori_open_params *params,
                                       struct nori_engine **engine_out, struct nori_error *error);
/* Orderly end: turns new calls away, wakes those that wait, waits for those inside, stops the workers, flushes, syncs,
 * writes a manifest snapshot, gives the lock back. Everything but memory is released whatever fails; the first error is
 * returned. Idempotent; a second caller waits for the first. Interrupted, the engine stays closing and another close
 * goes on. Does nothing in a forked child. Calls in the middle of which a hook or a progress function runs are not
 * waited for: they give back memory and open tables when they end. */
NORI_WARN_UNUSED nori_status nori_close(struct nori_engine *engine, struct nori_error *error);
/* Frees the memory of a closed engine. All its snapshots, scans, batches and ingests must be gone. Not closed: closes
 * it without the flush, as a crash would. NULL is fine. */
void nori_destroy(struct nori_engine *engine);

const char *nori_path(const struct nori_engine *engine); /* Absolute, as of open. */
bool nori_is_closed(const struct nori_engine *engine);
bool nori_is_read_only(const struct nori_engine *engine);
const struct nori_options *nori_options_of(const struct nori_engine *engine);

/* ---------------------------------------------------------------- writing */

struct nori_write_options {
    int sync;        /* Negative: as wal.durability says; 0: no; positive: on disk before the call returns. */
    double ttl_secs; /* Negative: the default of the options; 0 or infinite: never; else seconds from now. */
    unsigned flags;  /* NORI_NO_WAIT */
};

/* 'options' may be NULL for the defaults in all of these: sync and ttl as configured. */
NORI_WARN_UNUSED nori_status nori_put(struct nori_engine *engine, nori_slice key, nori_slice value,
                                      const struct nori_write_options *options, struct nori_error *error);
NORI_WARN_UNUSED nori_status nori_delete(struct nori_engine *engine, nori_slice key,
                                         const struct nori_write_options *options, struct nori_error *error);
/* Deletes [*start, *stop); NULL is without bound. An empty range writes nothing. */
NORI_WARN_UNUSED nori_status nori_delete_range(struct nori_engine *engine, const nori_slice *start,
                                               const nori_slice *stop, const struct nori_write_options *options,
                                               struct nori_error *error);

/* Writes that happen together. Not for use by several threads at once. */
struct nori_batch;
NORI_WARN_UNUSED nori_status nori_batch_create(struct nori_batch **batch_out, struct nori_error *error);
void nori_batch_destroy(struct nori_batch *batch);
/* 'expires_at_ms': absolute, from nori_expiry; 0 never. */
NORI_WARN_UNUSED nori_status nori_batch_put(struct nori_batch *batch, nori_slice key, nori_slice value,
                                            uint64_t expires_at_ms, struct nori_error *error);
NORI_WARN_UNUSED nori_status nori_batch_delete(struct nori_batch *batch, nori_slice key, struct nori_error *error);
NORI_WARN_UNUSED nori_status nori_batch_delete_range(struct nori_batch *batch, const nori_slice *start,
                                                     const nori_slice *stop, struct nori_error *error);
void nori_batch_clear(struct nori_batch *batch);
uint64_t nori_batch_count(const struct nori_batch *batch);
size_t nori_batch_bytes(const struct nori_batch *batch);
/* The absolute expiry, in TTL-clock milliseconds, of a put made now with this ttl_secs (as in nori_write_options). */
uint64_t nori_expiry(struct nori_engine *engine, double ttl_secs);
/* Applies the batch whole or not at all; it is left as it was. '*sequence_out' is that of its last write; for an empty
 * batch the engine's. options->ttl_secs is not looked at. */
NORI_WARN_UNUSED nori_status nori_write(struct nori_engine *engine, const struct nori_batch *batch,
                                        const struct nori_write_options *options, uint64_t *sequence_out,
                                        struct nori_error *error);

/* Bulk load: pairs become tables, past log and memtable, and appear all at once, or not at all, when they are
 * committed: as one write, newer than all that was written until then. Put in batches of some size; not for use by
 * several threads at once. Where keys ascend from first to last each pair is written once; others are sorted in parts,
 * which are merged. Of pairs with the same key the last one counts. */
struct nori_ingest;
struct nori_ingest_result {
    uint64_t pairs;    /* Taken. */
    uint64_t sequence; /* Of all of them; that of the engine if there were none. */
};
/* 'sorted': a key below the one before is NORI_INVALID. */
NORI_WARN_UNUSED nori_status nori_ingest_create(struct nori_engine *engine, bool sorted,
                                                struct nori_ingest **ingest_out, struct nori_error *error);
/* The batch, of puts only, is left as it was. It may be written while the caller goes on; what that fails with is the
 * result of the next call. After a failure there is only destroy. */
NORI_WARN_UNUSED nori_status nori_ingest_add(struct nori_ingest *ingest, const struct nori_batch *batch,
                                             struct nori_error *error);
/* On disk when it returns. Waits until all memtables are in tables; writers wait for the last of them. */
NORI_WARN_UNUSED nori_status nori_ingest_commit(struct nori_ingest *ingest, struct nori_ingest_result *result_out,
                                                struct nori_error *error);
/* Not committed: nothing remains of it. NULL is fine. Also after the engine's close. */
void nori_ingest_destroy(struct nori_ingest *ingest);

/* ---------------------------------------------------------------- reading */

struct nori_snapshot;
NORI_WARN_UNUSED nori_status nori_snapshot_create(struct nori_engine *engine, unsigned flags,
                                                  struct nori_snapshot **snapshot_out, struct nori_error *error);
uint64_t nori_snapshot_sequence(const struct nori_snapshot *snapshot);
/* NULL is fine. Also after the engine's close. */
void nori_snapshot_destroy(struct nori_snapshot *snapshot);

/* Receives a value, in memory valid during the call only; false if it ran out of memory (NORI_NO_MEMORY). */
typedef bool (*nori_value_fn)(void *arg, nori_slice value);

/* The newest value of the key, as of 'snapshot' or, NULL, now. Calls 'fn' (may be NULL) if '*found_out'. */
NORI_WARN_UNUSED nori_status nori_get(struct nori_engine *engine, const struct nori_snapshot *snapshot, nori_slice key,
                                      unsigned flags, nori_value_fn fn, void *arg, bool *found_out,
                                      struct nori_error *error);
/* The same, for a caller that holds what others need: calls 'waiting' once before it waits or reads the disk, if it has
 * to, and goes on where it is. 'fn' comes later, if at all; both get 'arg'. */
NORI_WARN_UNUSED nori_status nori_get_patient(struct nori_engine *engine, const struct nori_snapshot *snapshot,
                                              nori_slice key, void (*waiting)(void *arg), nori_value_fn fn, void *arg,
                                              bool *found_out, struct nori_error *error);
/* Like nori_get for 'count' keys, all as of one moment. 'fn' is called with the position of each key that is found. */
typedef bool (*nori_values_fn)(void *arg, size_t position, nori_slice value);
NORI_WARN_UNUSED nori_status nori_get_many(struct nori_engine *engine, const struct nori_snapshot *snapshot,
                                           const nori_slice *keys, size_t count, unsigned flags, nori_values_fn fn,
                                           void *arg, struct nori_error *error);

/* Atomic against all other writers. 'fn' receives the old value where there was one ('*found_out') before anything is
 * written; again, in place of what it received before, when another writer came between; for nothing, if the call then
 * fails or finds nothing. Where it is false nothing is written. */
NORI_WARN_UNUSED nori_status nori_pop(struct nori_engine *engine, nori_slice key,
                                      const struct nori_write_options *options, nori_value_fn fn, void *arg,
                                      bool *found_out, struct nori_error *error);
/* Puts 'value' unless the key is there; then 'fn' receives what is there. */
NORI_WARN_UNUSED nori_status nori_set_default(struct nori_engine *engine, nori_slice key, nori_slice value,
                                              const struct nori_write_options *options, nori_value_fn fn, void *arg,
                                              bool *found_out, struct nori_error *error);
/* Removes the last key. */
NORI_WARN_UNUSED nori_status nori_pop_last(struct nori_engine *engine, const struct nori_write_options *options,
                                           nori_value_fn key_fn, nori_value_fn value_fn, void *arg, bool *found_out,
                                           struct nori_error *error);

struct nori_scan_params {
    const struct nori_snapshot *snapshot; /* NULL: now. */
    const nori_slice *start;              /* Lower bound; NULL: none. Copied. */
    const nori_slice *stop;               /* Upper bound; NULL: none. Copied. */
    bool exclude_start;
    bool include_stop;
    bool reverse;
    uint64_t limit; /* UINT64_MAX: none. */
};

struct nori_entry {
    nori_slice key;
    nori_slice value;
};

/* One range of one moment, with a cursor. Not for use by several threads at once. */
struct nori_scan;
NORI_WARN_UNUSED nori_status nori_scan_open(struct nori_engine *engine, const struct nori_scan_params *params,
                                            struct nori_scan **scan_out, struct nori_error *error);
/* Up to 'max_count' next entries, fewer at the end or once 'max_bytes' are gathered; none at the end. They live in the
 * scan until its next call. */
NORI_WARN_UNUSED nori_status nori_scan_next(struct nori_scan *scan, size_t max_count, size_t max_bytes,
                                            const struct nori_entry **entries_out, size_t *count_out,
                                            struct nori_error *error);
/* The same entries without a copy of them: 'fn' is shown some at a time, and says how many it took; fewer than all end
 * the call. They are borrowed until it returns, and it calls nothing of the engine. '*count_out': all that were taken;
 * none where nothing is left. After a failure none were: the next call shows them again. */
typedef size_t (*nori_entries_fn)(void *arg, const struct nori_entry *entries, size_t count);
NORI_WARN_UNUSED nori_status nori_scan_show(struct nori_scan *scan, size_t max_count, nori_entries_fn fn, void *arg,
                                            size_t *count_out, struct nori_error *error);
/* Next is the first key >= 'key' (reverse: <=) within the bounds. What the limit has left stays. */
NORI_WARN_UNUSED nori_status nori_scan_seek(struct nori_scan *scan, nori_slice key, struct nori_error *error);
/* How many entries are left, limit included; the cursor does not move. */
NORI_WARN_UNUSED nori_status nori_scan_count(struct nori_scan *scan, uint64_t *count_out, struct nori_error *error);
/* NULL is fine. Also after the engine's close. Never waits for the disk. */
void nori_scan_destroy(struct nori_scan *scan);

/* The exact number of keys, by scanning; kept until the next write. 'snapshot' may be NULL. */
NORI_WARN_UNUSED nori_status nori_count(struct nori_engine *engine, const struct nori_snapshot *snapshot,
                                        uint64_t *count_out, struct nori_error *error);
/* A guess from the tables' properties, without I/O. */
NORI_WARN_UNUSED nori_status nori_estimate_count(struct nori_engine *engine, uint64_t *count_out,
                                                 struct nori_error *error);

/* ---------------------------------------------------------------- keeping house */

/* All that was written is on disk when it returns. */
NORI_WARN_UNUSED nori_status nori_sync(struct nori_engine *engine, struct nori_error *error);
/* The memtable becomes L0 files. */
NORI_WARN_UNUSED nori_status nori_flush(struct nori_engine *engine, struct nori_error *error);
/* Returns when all of [*start, *stop] lies in slots, within their k_max. NULL is without bound. */
NORI_WARN_UNUSED nori_status nori_compact(struct nori_engine *engine, const nori_slice *start, const nori_slice *stop,
                                          nori_progress_fn fn, void *arg, struct nori_error *error);

struct nori_checkpoint {
    uint64_t sequence, files, bytes;
    uint64_t linked; /* How many of 'files' are hard links. */
};
/* A complete database of this moment at 'path', or none. NORI_IO with EEXIST if something is there. */
NORI_WARN_UNUSED nori_status nori_checkpoint(struct nori_engine *engine, const char *path, nori_progress_fn fn,
                                             void *arg, struct nori_checkpoint *checkpoint_out,
                                             struct nori_error *error);

struct nori_finding {
    char path[512];
    int64_t offset;
    char kind[24];
    char message[512];
};
struct nori_verify_report {
    uint64_t files, blocks, entries;
    size_t finding_count;
    struct nori_finding *findings; /* Owned; nori_free. */
};
/* Every checksum of every live file and every invariant of the tree. Findings are a result, not an error. */
NORI_WARN_UNUSED nori_status nori_verify(struct nori_engine *engine, nori_progress_fn fn, void *arg,
                                         struct nori_verify_report *report_out, struct nori_error *error);

struct nori_repair_finding {
    struct nori_finding what;
    bool has_range;
    nori_slice start, stop; /* Of the keys concerned; stop.data NULL: without end. */
    uint64_t dropped;       /* Entries in it that may be older than what is lost. */
};
enum nori_repair_basis { NORI_REPAIR_MANIFEST, NORI_REPAIR_PREFIX, NORI_REPAIR_TABLES };
struct nori_repair_report {
    int basis;                              /* What told which tables count: a manifest, part of one, or nothing. */
    uint64_t sequence, files, blocks;       /* The last write that is in it; read; read and whole. */
    uint64_t entries, lost_blocks, dropped; /* Written; of tables that can be read in part; entries, for doubt. */
    uint64_t unlisted;                      /* Findings beyond the most that are listed. */
    size_t finding_count;
    struct nori_repair_finding *findings; /* Owned: nori_repair_report_clear. */
};
/* Salvages the closed database at 'path', of which nothing is changed, into a new one at 'into': whole, or not there.
 * Where something is lost, what may be older goes too, unless 'keep_doubtful'. NORI_IO with EEXIST if 'into' is there;
 * NORI_LOCKED while an engine has 'path' open. 'env' NULL: the default. What was lost is a result, not an error. */
NORI_WARN_UNUSED nori_status nori_repair(struct nori_env *env, const char *path, const char *into, bool keep_doubtful,
                                         nori_progress_fn fn, void *arg, struct nori_repair_report *report_out,
                                         struct nori_error *error);
void nori_repair_report_clear(struct nori_repair_report *report);

/* ---------------------------------------------------------------- what it is doing */

enum nori_latency_op {
    NORI_LATENCY_GET,
    NORI_LATENCY_PUT,
    NORI_LATENCY_DELETE,
    NORI_LATENCY_SCAN,
    NORI_LATENCY_SYNC,
    NORI_LATENCY_COUNT
};
enum nori_zone { NORI_ZONE_GREEN, NORI_ZONE_YELLOW, NORI_ZONE_ORANGE, NORI_ZONE_RED };

struct nori_latency {
    uint64_t count;                  /* Exact. */
    double p50, p95, p99, p999, max; /* Microseconds; may be sampled past the first 64. */
};

/* Counters since open, and gauges now; design 9 defines them. */
struct nori_stats {
    uint64_t user_bytes_written, wal_bytes_written, flush_bytes_written, compaction_bytes_written;
    uint64_t manifest_bytes_written, compaction_bytes_read, bytes_on_disk, live_bytes;
    uint64_t snapshot_pinned_bytes, view_pinned_bytes;
    uint64_t gets, puts, deletes, scans, runs_probed, blocks_read, filter_negatives, filter_false_positives;
    uint64_t block_cache_hits, block_cache_misses, l0_files, memtable_bytes, immutable_memtables;
    uint64_t wal_segments, wal_segments_deleted;
    uint64_t stall_micros; /* That writers waited, stalled and delayed. */
    uint64_t delay_micros; /* Of those, delayed. */
    uint64_t stalls, writes_delayed, zone_changes;
    double pressure;
    int zone; /* enum nori_zone */
    uint64_t sequence, synced_sequence;
    bool poisoned;
    char poisoned_text[512];
    struct nori_latency latency[NORI_LATENCY_COUNT];
};
NORI_WARN_UNUSED nori_status nori_stats(struct nori_engine *engine, struct nori_stats *stats_out,
                                        struct nori_error *error);

enum nori_mode { NORI_MODE_LEVELED, NORI_MODE_HYBRID, NORI_MODE_TIERED };

struct nori_slot {
    uint32_t level;
    uint64_t slot_id;
    nori_slice start;
    nori_slice stop; /* data NULL: without end. */
    uint64_t runs, k_max, files, bytes, entries;
    double tombstone_density;
    double heat, read_heat, write_heat, scan_heat; /* 0 to 1, within the level; heat is the greater of read and scan. */
    int mode;                                      /* enum nori_mode */
    uint64_t reads;                                /* That searched the slot, since open. */
    double write_amp;                              /* Bytes that merges wrote for it, per byte that came from above. */
    double read_amp; /* Runs probed per read that searched it, as measured; 0: none did. */
};
/* The slots of levels 1 and deeper, in order. '*slots_out' is one block of memory: nori_free. */
NORI_WARN_UNUSED nori_status nori_slots(struct nori_engine *engine, struct nori_slot **slots_out, size_t *count_out,
                                        struct nori_error *error);

/* What the engine does, as it does it: kinds of events, and what each says. */
enum nori_event_kind {
    NORI_EVENT_FLUSH,
    NORI_EVENT_COMPACTION,
    NORI_EVENT_ADMISSION, /* Level 0 into level 1. */
    NORI_EVENT_GUARD_MOVE,
    NORI_EVENT_BANDIT_SELECTION,
    NORI_EVENT_BANDIT_REWARD,
    NORI_EVENT_SLOT_HEAT,
    NORI_EVENT_PRESSURE_ZONE,
    NORI_EVENT_WAL_SEGMENT,
    NORI_EVENT_CACHE,
    NORI_EVENT_STALL,
    NORI_EVENT_BACKGROUND_ERROR,
    NORI_EVENT_KINDS
};
enum nori_value_type { NORI_VALUE_COUNT, NORI_VALUE_REAL, NORI_VALUE_FLAG };

#define NORI_EVENT_VALUES 8
#define NORI_EVENT_TEXT_BYTES 120

struct nori_event {
    uint64_t number; /* 1, 2, ...: a gap says that some were dropped. */
    uint64_t monotonic_us;
    double values[NORI_EVENT_VALUES];
    int kind; /* enum nori_event_kind */
    uint32_t key_bytes;
    uint8_t key[32]; /* Where the range concerned begins, cut to fit. */
    char text[NORI_EVENT_TEXT_BYTES];
};

/* The names of a kind's fields. */
struct nori_event_shape {
    const char *name;
    const char *text_name; /* NULL: no text. */
    bool has_key;
    struct {
        const char *name; /* NULL past the last. */
        int type;         /* enum nori_value_type */
    } values[NORI_EVENT_VALUES];
};
const struct nori_event_shape *nori_event_shape(int kind); /* NULL: no such kind. */

/* Up to 'max' events with numbers above '*cursor', which moves on; '*dropped_out' of them were overwritten unread. A
 * cursor of UINT64_MAX begins behind the newest. Never waits; works after close, until nori_destroy. */
NORI_WARN_UNUSED nori_status nori_events_read(struct nori_engine *engine, uint64_t *cursor,
                                              struct nori_event *events_out, size_t max, size_t *count_out,
                                              uint64_t *dropped_out, struct nori_error *error);

/* Choices of what to compact. */
#define NORI_DECISION_FEATURES 8
struct nori_decision {
    uint64_t id;           /* 1, 2, ... */
    uint64_t monotonic_us; /* When it was taken. */
    uint64_t slot_id;
    uint32_t level;
    uint32_t start_bytes;
    uint8_t start[32]; /* The key where its range begins, cut to fit. */
    char action[16];
    bool is_explored;                         /* By chance, not because it promised most. */
    bool is_done;                             /* 'bytes' and 'micros' are known. */
    double predicted_reward, realised_reward; /* NaN: not known. */
    uint64_t bytes;                           /* Written. */
    uint64_t micros;
    double context[NORI_DECISION_FEATURES]; /* What it was judged by; nori_decision_feature names them. */
};
const char *nori_decision_feature(unsigned index); /* NULL past the last. */
/* The last ones, oldest first. '*decisions_out' is one block of memory: nori_free. */
NORI_WARN_UNUSED nori_status nori_decisions(struct nori_engine *engine, struct nori_decision **decisions_out,
                                            size_t *count_out, struct nori_error *error);

/* How long operations took: counts by upper bounds, ascending; what was timed, see nori_latency. */
#define NORI_LATENCY_BUCKETS 24
const double *nori_latency_bounds(void); /* NORI_LATENCY_BUCKETS microseconds; above the last one lies the rest. */
NORI_WARN_UNUSED nori_status nori_latency_counts(struct nori_engine *engine, int op,
                                                 uint64_t counts_out[NORI_LATENCY_BUCKETS + 1],
                                                 struct nori_error *error);

const char *nori_version(void);

#ifdef __cplusplus
}
#endif

#endif

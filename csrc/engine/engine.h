/* The engine's inside: what its files share. Nothing outside engine/ includes this.
 *
 * Readers enter the epoch, load the view (memtables and version) and search it; they take no lock. One writer at a time
 * holds commit_lock: log, memtable, published sequence. Workers flush and compact; their results are installed one at a
 * time by who holds the manifest turn. csrc/README.md tells the life of a put, a get, a flush and a compaction. */
#ifndef NR_ENGINE_ENGINE_H
#define NR_ENGINE_ENGINE_H

#include <stdatomic.h>

#include "base/buffer.h"
#include "base/checksum.h"
#include "base/clock.h"
#include "base/epoch.h"
#include "base/histogram.h"
#include "base/random.h"
#include "compact/heat.h"
#include "compact/merge.h"
#include "compact/planner.h"
#include "compact/scheduler.h"
#include "compact/price.h"
#include "compact/shape.h"
#include "engine/decisions.h"
#include "engine/events.h"
#include "io/env.h"
#include "memtable/memtable.h"
#include "version/manifest.h"
#include "wal/recover.h"
#include "wal/wal.h"

/* A memtable, and the first log segment that may hold its writes. */
struct nr_layer {
    struct nr_memtable *memtable; /* Refs. */
    uint64_t log_segment;
};

/* What a read sees. Immutable and counted; replaced as a whole. */
struct nr_view {
    struct nr_epoch_link link;
    _Atomic uint32_t refs;
    uint64_t number;            /* Rises with each view. */
    struct nr_version *version; /* Refs. */
    uint64_t flushed_sequence;  /* What lies above it is in the layers. */
    size_t layer_count;         /* >= 1 */
    struct nr_layer layers[];   /* Newest first; [0] is written to. */
};

/* A reader's moment that merges must respect; in creation order, so by rising sequence. */
struct nr_pin {
    struct nr_moment moment;
    struct nr_pin *previous, *next NR_GUARDED; /* By pin_lock. */
};

#define NR_MAX_UNSPLITTABLE 256

enum nr_engine_state { NR_STATE_OPEN, NR_STATE_CLOSING, NR_STATE_CLOSED };

/* What reads count. Relaxed. */
struct nr_read_counts {
    _Atomic uint64_t gets, runs_probed, blocks_read, cache_hits, cache_misses, filter_negatives, filter_false_positives;
};
/* The same, summed. */
struct nr_read_totals {
    uint64_t gets, runs_probed, blocks_read, cache_hits, cache_misses, filter_negatives, filter_false_positives;
};

#define NR_MOST_MAYBES 16

/* Counters of one stripe of threads, on lines of its own. Relaxed. */
struct nr_stripe {
    _Alignas(64) _Atomic uint64_t inside; /* Calls of the API under way. Sequentially consistent. */
    struct nr_read_counts shared;         /* Added to by anyone. */
    /* Of gets that found nobody else inside the epoch's stripe: at most one at a time, which needs no read-modify-write
     * to count. */
    _Alignas(64) struct nr_read_counts alone;
    _Atomic uint8_t maybes; /* Up for a get whose filters said maybe often enough, down for others. Relaxed. */
    _Alignas(64) _Atomic uint64_t scans;
    _Atomic uint64_t sheltered; /* Reads that ended above level 1. Threads that share the stripe may lose some. */
    _Atomic uint32_t searches;  /* Of the levels; one in NR_READ_SAMPLING is learned from. */
};

#define NR_READ_SAMPLING 256

/* A compaction under way. */
struct nr_job {
    struct nr_plan plan;
    struct nr_plan *more; /* Owned. A move: others that are made by the same edit. */
    size_t more_count;
    struct nr_version *version; /* Refs: what the plans borrow from. */
    struct nr_busy_slot *busy;  /* Owned. */
    size_t busy_count;
    struct nr_busy_range range; /* Where guards move; it locks no slots one by one then. */
    bool has_range;
    struct nr_choice_record record; /* For the scheduler, once the reward is known. */
    bool is_rewarded;               /* It promised one. */
    uint64_t decision_id;
    struct nr_buffer from;                  /* Where the plan's start lies, once a part of the merge is installed. */
    uint64_t begun_us, bytes_in, bytes_out; /* What it came to. */
    struct nr_work *work;                   /* Of a merge that is not installed yet (compaction.c). */
    struct nr_job *next NR_GUARDED;         /* By lock. */
};

/* A choice whose reward is yet to be measured. */
#define NR_MAX_REWARDS 64
struct nr_reward {
    struct nr_activity *activity; /* Refs: of the slot. NULL: none. */
    struct nr_choice_record record;
    uint64_t decision_id;
    uint64_t due_us; /* Monotonic. */
    double probes_before, bytes;
};

/* A compact() call that waits. */
struct nr_manual {
    nori_slice start;
    struct nr_bound end;
    struct nr_manual *next NR_GUARDED; /* By lock. */
};

struct nori_engine {
    /* Fixed at open. */
    struct nori_env *env;
    char *path;
    struct nr_dir *dir;
    struct nr_file *lock_file;
    uint64_t database_id;
    uint64_t fork_generation;
    uint64_t env_generation; /* Another one later: the simulated power was cut. */
    bool is_read_only;
    struct nori_options options;
    struct nr_merge_context merging;
    struct nr_shape_costs shape_costs; /* Where they are not measured. */
    struct nr_block_cache *blocks;
    struct nr_table_cache *tables;

    /* Reading. */
    struct nr_epoch epoch;
    _Atomic(struct nr_view *) view;      /* Exchanged under view_lock. */
    _Atomic uint64_t published_sequence; /* All at or below it is visible. */
    _Atomic uint64_t flushed_sequence;   /* All at or below it is in tables. Raised after the view changed. */
    _Atomic uint64_t ttl_clock_ms;       /* Never goes back. */
    struct nr_mutex view_lock;
    struct nr_mutex pin_lock;
    struct nr_pin pins NR_GUARDED;          /* By pin_lock: ring, oldest first behind the head. */
    struct nori_scan *scans NR_GUARDED;     /* By pin_lock: all open ones. */
    struct nori_ingest *ingests NR_GUARDED; /* By pin_lock: those that have tables under way. */
    struct nr_stripe stripes[NR_EPOCH_STRIPES];

    /* Writing: by commit_lock. */
    struct nr_mutex commit_lock;
    struct nr_wal *wal;
    struct nr_memtable *active NR_GUARDED;  /* Borrowed from the view, whose layers[0] it is. */
    _Atomic size_t active_empty_bytes;      /* What it took before the first write. Stored under commit_lock. */
    size_t active_measure_bytes NR_GUARDED; /* From here on it is full, or pressure is to be measured again. */
    uint64_t last_sequence NR_GUARDED;
    struct nr_buffer scratch NR_GUARDED;
    _Atomic bool is_gated; /* Writers wait: an ingest is about to be the next write. Stored under commit_lock. */
    _Atomic uint64_t oldest_write_us; /* Of the memtable written to; 0: it is empty. */
    _Atomic bool is_recovery_pending; /* What was replayed is not in tables yet: no sync may be acknowledged. */
    uint64_t recovered_sequence;      /* Fixed at open: the last one replayed. */
    struct {
        uint64_t sequence, count;
        bool is_known;
    } counted NR_GUARDED;      /* By pin_lock: what nori_count found. */
    _Atomic bool has_expiring; /* Some put had a ttl: counts change by themselves. */

    /* Pressure. */
    _Atomic uint32_t stall_reason; /* 0: writes may go on; else enum nr_stall. */
    _Atomic bool is_out_of_space;  /* The last flush or compaction to speak of it found no space. Relaxed. */
    _Atomic uint64_t delay_us_per_mib;
    _Atomic uint64_t debt;          /* What writers owe and have not slept: microseconds times bytes per MiB. */
    _Atomic uint64_t job_bytes;     /* Buffers of flushes and merges. */
    _Atomic uint64_t scan_bytes;    /* Blocks and buffers that open scans hold. */
    enum nori_zone zone NR_GUARDED; /* By lock, like the next three: as measured last. */
    double pressure_score NR_GUARDED;
    bool wants_rotation NR_GUARDED; /* Who stalls is to make the memtable written to one that is flushed. */
    uint64_t idle_round NR_GUARDED; /* The last round of work in which compaction found nothing to do. */

    /* Life. */
    _Atomic int state; /* enum nr_engine_state. Sequentially consistent. */
    struct nr_mutex close_lock;
    struct nr_cond close_cond;
    bool is_closer_active NR_GUARDED; /* By close_lock. */
    bool is_ended NR_GUARDED;         /* By close_lock: nothing is left to close but memory, */
    bool is_released NR_GUARDED;      /* which somebody gives back, or has given back. */
    _Atomic uint64_t outside;         /* Calls in the middle of which code that is not ours runs. */
    _Atomic bool is_poisoned;
    struct nori_error poison NR_GUARDED; /* By lock; fixed once is_poisoned. */

    /* Jobs: by lock. */
    struct nr_mutex lock;
    struct nr_cond work_cond; /* Workers wait. */
    struct nr_cond done_cond; /* Those wait who want a flush, a compaction, room, the manifest turn. */
    bool is_stopping NR_GUARDED;
    bool is_manifest_busy NR_GUARDED; /* The manifest turn is taken. */
    bool is_flushing NR_GUARDED;
    bool is_compaction_paused NR_GUARDED;
    struct nr_job *jobs NR_GUARDED;
    struct nr_manual *manuals NR_GUARDED;
    uint64_t flush_attempts NR_GUARDED;  /* Ended ones. */
    nori_status flush_status NR_GUARDED; /* Of the last one. */
    struct nori_error flush_error NR_GUARDED;
    uint64_t compaction_attempts NR_GUARDED; /* Failed ones. */
    struct nori_error compaction_error NR_GUARDED;
    uint64_t flush_retry_us NR_GUARDED; /* Not before this time; 0: at once. */
    uint64_t compaction_retry_us NR_GUARDED;
    uint64_t rate_due_us NR_GUARDED;                       /* Until then the rate limit's bytes are spent. */
    uint64_t unsplittable[NR_MAX_UNSPLITTABLE] NR_GUARDED; /* Slots that have no key to be cut at. */
    size_t unsplittable_count NR_GUARDED, unsplittable_next NR_GUARDED; /* Forgotten with the next flush. */
    struct nr_random random NR_GUARDED;
    uint64_t heat_folded_us NR_GUARDED; /* The last round, or open. The state of slots' activities: by lock, too. */
    uint64_t heat_saved_us;             /* Of the maintenance round and close only. */
    uint64_t expiry_us;                 /* Of the maintenance round only: when to look for what has expired. */
    _Atomic uint64_t shaped_us;        /* Stored by the maintenance round only: when K was looked at. So is the next. */
    _Atomic uint64_t shape_look_us;    /* What that took. */
    uint64_t shape_done;               /* The maintenance round's, too: all that was done when it looked, */
    uint64_t shape_done_us;            /* and when it found more than before. */
    uint64_t shape_file_bytes;         /* What a flush makes, as level 0 has shown last; 0: it has not. */
    struct nr_price shape_price;       /* Of reads. The round's, like the next three. */
    uint64_t shape_gets, shape_probes; /* All gets, and the runs they looked into, by then. */
    uint64_t shape_priced_us;          /* When it was found; 0: never. */
    _Atomic uint64_t shape_many_hints; /* So many are enough to look again soon. */
    _Atomic uint32_t shape_hints;      /* Since then. */
    struct nr_scheduler scheduler NR_GUARDED;
    struct nr_reward rewards[NR_MAX_REWARDS] NR_GUARDED;
    size_t reward_next NR_GUARDED;
    struct nr_sketch *writes NR_GUARDED, *reads NR_GUARDED; /* What guards are learned from. NULL: read-only. */
    struct nr_counters counters NR_GUARDED;                 /* By the manifest turn, but for the numbers below. */
    _Atomic uint64_t next_file_number, next_run_id, next_slot_id;
    struct nr_manifest *manifest;  /* By the manifest turn. */
    struct nr_buffer options_text; /* What the manifest keeps. By the manifest turn. */
    struct nr_thread *threads[32];
    size_t thread_count;
    _Atomic bool wants_maintenance; /* The maintenance thread sleeps until kicked. */
    _Atomic bool is_maintenance_kicked, is_preparation_kicked;
    struct nr_mutex maintenance_lock;
    struct nr_cond maintenance_cond, preparation_cond;
    struct nr_mutex inline_lock;            /* Without threads: one caller works at a time. */
    _Atomic bool is_releasing;              /* Files are let go, not unlinked: the engine ends. */
    uint64_t work_round NR_GUARDED;         /* By lock: rises with each kick. */
    uint64_t last_sync_us, last_collect_us; /* Of the maintenance round only, as are the next two: */
    uint64_t appended_bytes, appended_us;   /* What the log had taken, and when that was first seen. */

    struct nr_mutex obsolete_lock;
    struct nr_table_file *obsolete NR_GUARDED; /* By obsolete_lock: unreferenced files, to be unlinked. */
    _Atomic uint64_t obsolete_count, obsolete_bytes;
    _Atomic uint64_t file_bytes; /* Of all table files, those only scans hold too. */
    _Atomic uint32_t log_holds;  /* Checkpoints that copy the log: it is not collected. */

    /* Counters. Relaxed. */
    _Atomic uint64_t user_bytes_written, puts, deletes, flush_bytes_written, compaction_bytes_written;
    _Atomic uint64_t compaction_bytes_read, compaction_cpu_ns, stall_micros, manifest_bytes_before;
    _Atomic uint64_t writes_delayed, delay_micros, stalls, zone_changes;
    struct nr_histogram latency[NORI_LATENCY_COUNT];
    struct nr_events events;
    struct nr_decisions decisions;
};

/* ---------------------------------------------------------------- calls (call.c) */

/* Begins a call of the API: NORI_CLOSED, NORI_FORKED. Ended by leave. '*stripe_out' goes to it. */
NORI_WARN_UNUSED nori_status nr_call_enter(struct nori_engine *engine, unsigned *stripe_out, struct nori_error *err);
void nr_call_leave(struct nori_engine *engine);
/* Keeps close() from freeing what the caller is about to give back, whatever the engine's state is. In a call or not;
 * nothing in between may wait for code that is not ours. */
unsigned nr_call_hold(struct nori_engine *engine);
void nr_call_release(struct nori_engine *engine, unsigned stripe);
/* Tells a caller's function ('fn' NULL: none) how far its call is, and asks the thread's hook if that is due: both
 * outside of the call, with no lock held. NORI_INTERRUPTED, or NORI_CLOSED if the engine was closed meanwhile; the call
 * then only gives back what it has. */
NORI_WARN_UNUSED nori_status nr_call_tell(nori_progress_fn fn, void *arg, const struct nori_progress *progress,
                                          struct nori_error *err);
/* The end of a call that was outside when the engine was closed: the last one gives back the engine's memory. */
void nr_close_after(struct nori_engine *engine);
NORI_WARN_UNUSED nori_status nr_fail_closed(struct nori_engine *engine, struct nori_error *err);
/* It is the parent's, before a fork; or it died with its simulated disk. No call of it goes on. */
static inline bool nr_is_gone(const struct nori_engine *engine)
{
    return engine->fork_generation != nr_fork_generation() || engine->env_generation != nr_env_generation(engine->env);
}
NORI_WARN_UNUSED nori_status nr_fail_gone(struct nori_engine *engine, struct nori_error *err);
/* What a failed read is for the caller: beside a live writer a table that is gone makes the view stale, not absent. */
NORI_WARN_UNUSED nori_status nr_judge_read(const struct nori_engine *engine, nori_status rc, struct nori_error *err);
/* Remembers the first cause; from now on writes raise NORI_POISONED. */
void nr_engine_poison(struct nori_engine *engine, const struct nori_error *cause);
NORI_WARN_UNUSED nori_status nr_fail_poisoned(struct nori_engine *engine, struct nori_error *err);
/* The engine's TTL clock: the wall clock, but never back. */
uint64_t nr_engine_now_ms(struct nori_engine *engine);
/* Whether an operation that was the n-th of its kind is timed: the first 64 always, then one in 64. */
static inline bool nr_is_timed(uint64_t nth)
{
    return nth < 64 || (nth & 63) == 0;
}

/* ---------------------------------------------------------------- opening (open.c, recover.c) */

/* A finding that says what the error does (verify.c). */
void nr_finding_fill(struct nori_finding *finding, const struct nori_error *error);
/* An id different from any other database's, so that a file of theirs is not taken for ours. 'owner': any address of
 * the caller's. */
uint64_t nr_database_id_make(struct nori_env *env, const char *path, const void *owner);
/* Options as the manifest keeps them, over those in 'options'. 'path': where they come from, for errors. */
NORI_WARN_UNUSED nori_status nr_options_parse_kept(struct nori_options *options, nori_slice text, const char *path,
                                                   struct nori_error *err);
/* In a directory without a database; in one with. Take the options from 'params'. */
NORI_WARN_UNUSED nori_status nr_database_create(struct nori_engine *engine, const struct nori_open_params *params,
                                                struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_database_recover(struct nori_engine *engine, const struct nori_open_params *params,
                                                 struct nori_error *err);
/* Block cache, table cache and what merges need. The database's id and the options are known. */
NORI_WARN_UNUSED nori_status nr_caches_open(struct nori_engine *engine, struct nori_error *err);

/* ---------------------------------------------------------------- views (view.c) */

/* At most so many memtables wait for their flush; writers stall before. */
#define NR_MAX_LAYERS 64
#define NR_STALL_LAYERS 16

struct nr_view *nr_view_acquire(struct nori_engine *engine); /* The current view, one reference. */
void nr_view_release(struct nr_view *view);                  /* NULL is fine. */
/* The current view, for as long as the caller is inside the epoch. */
static inline struct nr_view *nr_view_peek(struct nori_engine *engine)
{
    return atomic_load_explicit(&engine->view, memory_order_seq_cst);
}
/* The first view: 'version' (refed) and an empty memtable. */
NORI_WARN_UNUSED nori_status nr_view_begin(struct nori_engine *engine, struct nr_version *version, uint64_t log_segment,
                                           struct nori_error *err);
/* A new memtable in front. Under commit_lock. */
NORI_WARN_UNUSED nori_status nr_view_push(struct nori_engine *engine, uint64_t log_segment, struct nori_error *err);
/* Memory for the view to install, taken before the manifest is written, so that installing cannot fail. */
NORI_WARN_UNUSED nori_status nr_view_prepare(struct nr_view **spare_out, struct nori_error *err);
/* In the manifest turn: a new version (refed), without the oldest 'flushed_layers' memtables. Uses up 'spare'. */
void nr_view_install(struct nori_engine *engine, struct nr_view *spare, struct nr_version *version,
                     uint64_t flushed_sequence, size_t flushed_layers);
/* Drops the last view. No call is inside. */
void nr_view_end(struct nori_engine *engine);
size_t nr_view_memtable_bytes(const struct nr_view *view, size_t first); /* Of layers[first] and all older ones. */

/* ---------------------------------------------------------------- moments (snapshot.c) */

/* Registers the present as a moment that merges respect. */
NORI_WARN_UNUSED nori_status nr_pin_add(struct nori_engine *engine, struct nr_pin *pin, unsigned flags,
                                        struct nori_error *err);
void nr_pin_remove(struct nori_engine *engine, struct nr_pin *pin);
/* A second pin for a snapshot's moment. */
void nr_pin_copy(struct nori_engine *engine, const struct nori_snapshot *snapshot, struct nr_pin *pin);
struct nr_moment nr_snapshot_moment(const struct nori_snapshot *snapshot);
/* The oldest moment; the present if nothing is open. */
struct nr_moment nr_moment_oldest(struct nori_engine *engine);
/* All moments, ascending by sequence, the present last. '*moments_out': nr_free. */
NORI_WARN_UNUSED nori_status nr_moments_collect(struct nori_engine *engine, struct nr_moment **moments_out,
                                                size_t *count_out, struct nori_error *err);

/* ---------------------------------------------------------------- reading (read.c, scan.c) */

/* Searches memtables and tables for lookup->key, newest first. Inside the epoch. */
NORI_WARN_UNUSED nori_status nr_view_search(struct nori_engine *engine, const struct nr_view *view,
                                            struct nr_lookup *lookup, struct nr_read *read, struct nori_error *err);
/* Adds what a read counted to the stripe, and gives back what it pinned. */
void nr_read_account(struct nori_engine *engine, unsigned stripe, struct nr_read *read);
/* After a read that has missed, outside of its section: frees the blocks that others had to give way to. */
void nr_read_sweep(struct nori_engine *engine);
/* Of all stripes. */
struct nr_read_totals nr_read_sum(const struct nori_engine *engine);
/* All visible entries of 'view' in [start, end), at 'moment'. 'start', 'end' and 'read' are borrowed for the
 * iterator's life; the view's parts are refed. */
NORI_WARN_UNUSED nori_status nr_view_iter_create(struct nori_engine *engine, struct nr_view *view,
                                                 struct nr_moment moment, nori_slice start, struct nr_bound end,
                                                 struct nr_read *read, struct nr_iter **iter_out,
                                                 struct nori_error *err);
/* The slots of a level one after the other, each a merge of its runs; opens a slot when it is entered. */
NORI_WARN_UNUSED nori_status nr_level_iter_create(struct nori_engine *engine, struct nr_level *level, nori_slice start,
                                                  struct nr_bound end, struct nr_read *read, struct nr_iter **iter_out,
                                                  struct nori_error *err);
/* Drops what open scans hold; they answer NORI_CLOSED from then on. No call is inside. */
void nr_scans_release(struct nori_engine *engine);

/* ---------------------------------------------------------------- pressure (pressure_score.c, pressure.c) */

enum nr_stall { NR_STALL_NONE, NR_STALL_MEMTABLES, NR_STALL_L0 };

struct nr_pressure_input {
    size_t l0_depth;       /* Of the deepest stack over any key. */
    uint64_t memory_bytes; /* What cannot be evicted: memtables, blocks and buffers of scans and jobs. */
    uint64_t waiting_bytes;
    size_t waiting_count;       /* Memtables that wait for their flush, and their bytes. */
    uint64_t active_bytes;      /* Written to the one that does not. */
    bool is_compaction_pending; /* One runs, or may be found. */
};

struct nr_pressure {
    double l0_fill, memory_fill, memtable_fill; /* Of their limits. */
    double score;
    enum nori_zone zone; /* Of the worst of the four. */
    uint64_t delay_us_per_mib;
    enum nr_stall stall;
    bool wants_rotation; /* The memtable written to has to be flushed for the stall to end. */
};

/* Pure. */
void nr_pressure_judge(const struct nori_options *options, const struct nr_pressure_input *input,
                       struct nr_pressure *pressure_out);
uint64_t nr_pressure_memory_limit(const struct nori_options *options);
/* When a memtable is full: at flush_trigger_bytes, but also at a quarter of memory, lest one alone fills it. */
uint64_t nr_pressure_memtable_bytes(const struct nori_options *options);
/* How much the memtable written to grows until pressure is measured again. */
static inline uint64_t nr_pressure_step_bytes(const struct nori_options *options)
{
    return nr_pressure_memory_limit(options) / 64;
}

/* As of now; what stats report. Takes engine.lock. */
void nr_pressure_measure(struct nori_engine *engine, struct nr_pressure *pressure_out);
/* After the view changed, and workers were kicked: decides whether writers stall, and what they owe; wakes them. Not
 * under any lock but engine.lock's predecessors. */
void nr_pressure_update(struct nori_engine *engine);
/* A job has been installed: the same, and workers are kicked. Under engine.lock, before who waits for the job hears of
 * it: pressure is then what the job left behind. */
void nr_pressure_work_ended(struct nori_engine *engine);
/* Compaction looked for work in 'round' of engine.work_round, and found none. Takes engine.lock. */
void nr_pressure_note_idle(struct nori_engine *engine, uint64_t round);
/* Before a write of 'bytes': waits while writers stall, pays what is owed. '*charge_out': what stays owed for it. A
 * failure owes nothing: NORI_AGAIN with no_wait, NORI_BACKPRESSURE, NORI_CLOSED, NORI_INTERRUPTED, NORI_POISONED. A
 * full disk's stall lets deletes pass. */
NORI_WARN_UNUSED nori_status nr_pressure_admit(struct nori_engine *engine, uint64_t bytes, bool has_puts, bool no_wait,
                                               uint64_t *charge_out, struct nori_error *err);
/* A flush or a compaction has ended, with 'error' unless it went well. */
void nr_pressure_note_space(struct nori_engine *engine, nori_status status, const struct nori_error *error);
/* The write was not made after all. */
void nr_pressure_refund(struct nori_engine *engine, uint64_t charge);
/* What a scan's iterators hold now is memory in use. After each chunk, and at the end. */
void nr_scan_account(struct nori_engine *engine, struct nr_read *read);

/* ---------------------------------------------------------------- writing (commit.c, write.c, conditional.c) */

/* A write is applied only if no key in [first, last] (NULL: to the end) was written above 'since'. */
struct nr_condition {
    nori_slice first;
    const nori_slice *last;
    uint64_t since;
};

struct nr_commit {
    nori_slice payload; /* Operations as a log record holds them. data NULL: the single operation below. */
    uint64_t count;
    unsigned type; /* Single: PUT, PUT_EXPIRING or DELETE. */
    nori_slice key;
    nori_slice value; /* Without expiry. */
    uint64_t expires_at_ms;
    const struct nr_condition *condition; /* NULL: none. */
    uint64_t user_bytes;                  /* For the counters, with the next two. */
    uint64_t put_count;
    uint64_t delete_count;
    bool is_applied;             /* Out: false if the condition did not hold. */
    uint64_t sequence;           /* Out: of the last operation. */
    struct nr_position position; /* Out: the end in the log. */
};

/* The view's newest memtable becomes the one written to. Under commit_lock (or before there are writers). */
void nr_engine_activate(struct nori_engine *engine);
/* Whether it holds as much as it is to. */
static inline bool nr_engine_is_full(const struct nori_engine *engine)
{
    return nr_memtable_bytes(engine->active) - engine->active_empty_bytes >=
           nr_pressure_memtable_bytes(&engine->options);
}
/* Waits for room as pressure says, appends, inserts, publishes, and syncs if 'options' want it. Inside a call. */
NORI_WARN_UNUSED nori_status nr_commit_run(struct nori_engine *engine, struct nr_commit *commit,
                                           const struct nori_write_options *options, struct nori_error *err);
/* Whether a write with these options is on disk when it returns. */
bool nr_commit_wants_sync(const struct nori_engine *engine, const struct nori_write_options *options);
/* Everything up to 'position' on disk. Waits first until what recovery replayed is in tables. */
NORI_WARN_UNUSED nori_status nr_engine_sync(struct nori_engine *engine, struct nr_position position,
                                            struct nori_error *err);
/* From here to the ungate no write is begun, and the memtable written to is empty. '*last_sequence_out': the last write
 * before; the ones up to it may still be in memtables that wait. */
NORI_WARN_UNUSED nori_status nr_commit_gate(struct nori_engine *engine, uint64_t *last_sequence_out,
                                            struct nori_error *err);
/* Writes go on behind 'sequence'. */
void nr_commit_ungate(struct nori_engine *engine, uint64_t sequence);
/* The memtable becomes immutable, if it holds anything. Takes commit_lock. '*last_sequence_out': what it holds at most.
 */
NORI_WARN_UNUSED nori_status nr_engine_rotate(struct nori_engine *engine, uint64_t *last_sequence_out,
                                              struct nori_error *err);

/* ---------------------------------------------------------------- ingest (ingest.c) */

/* The engine ends, and nobody is inside: what ingests have under way is given back. */
void nr_ingests_release(struct nori_engine *engine);

/* ---------------------------------------------------------------- filters (filters.c) */

/* Bits per key of the next tables of a level, whose own option does not say; 'engine' as in nr_merge_context. */
double nr_filters_bits(void *engine, uint32_t level);

/* ---------------------------------------------------------------- heat (heat.c) */

/* Folds the activity of all slots if the last time is a tenth of an interval ago. Locked: under engine.lock. */
void nr_heat_fold_locked(struct nori_engine *engine, const struct nr_version *version);
void nr_heat_fold_due(struct nori_engine *engine);
/* For who asks for the latest: if the last time is half a second ago, or that tenth. */
void nr_heat_fold_now_locked(struct nori_engine *engine, const struct nr_version *version);
/* The heat of a level's slots. 'rates' and 'scratch' have room for all. Under engine.lock. */
void nr_heat_level_locked(const struct nr_level *level, struct nr_heat_rates *rates, struct nr_heat_density *scratch,
                          struct nr_heat *heats_out);

/* What a flush writes, by slots of level 1: noted entry by entry, counted once it is installed. */
struct nr_arrivals {
    const struct nr_level *level; /* Borrowed from the view. NULL: there is no level 1. */
    size_t slot_index;            /* Of the last key. */
    uint64_t *bytes;              /* Owned. Of entries, for each slot. */
    uint64_t total;
};
NORI_WARN_UNUSED nori_status nr_arrivals_begin(struct nr_arrivals *arrivals, const struct nr_version *version,
                                               struct nori_error *err);
void nr_arrivals_note(void *arrivals, nori_slice key, uint64_t bytes);
void nr_arrivals_count(const struct nr_arrivals *arrivals, uint64_t file_bytes);
void nr_arrivals_clear(struct nr_arrivals *arrivals);
/* A job was installed: what its slots got from above, and what was written for them ('first_number' as in
 * nr_merge_job). Its slots are still busy. */
void nr_heat_note_job(struct nori_engine *engine, const struct nr_job *job, const struct nr_merge_target *results,
                      size_t result_count, uint64_t first_number);
/* Likewise, of one that moves its runs. */
void nr_heat_note_move(struct nori_engine *engine, const struct nr_version *version, const struct nr_plan *plan);

/* The file HEAT. Nothing fails with it: lost heat is learned anew. Load: at the end of open, alone. */
void nr_heat_load(struct nori_engine *engine);
void nr_heat_save(struct nori_engine *engine);
/* A maintenance round: folds, and saves every few minutes. */
void nr_heat_maintain(struct nori_engine *engine, uint64_t now_us);

/* ---------------------------------------------------------------- jobs (install.c, flush.c, compaction.c, part.c,
 * worker.c)
 */

/* The manifest turn: one edit at a time. */
void nr_turn_take(struct nori_engine *engine);
void nr_turn_give(struct nori_engine *engine);
/* In the turn: applies, appends to the manifest, installs; what flushes (flushed_layers > 0) is made durable before it
 * is installed. Frees nothing of the edit. A failure of the manifest poisons. */
NORI_WARN_UNUSED nori_status nr_install(struct nori_engine *engine, struct nr_edit *edit, size_t flushed_layers,
                                        struct nori_error *err);
/* In the turn, behind the gate, all memtables flushed: a new newest run of level 0 whose files are stamped with
 * 'sequence', which is published with it. Durable when it returns. */
NORI_WARN_UNUSED nori_status nr_install_stamped(struct nori_engine *engine, struct nr_edit *edit, uint64_t sequence,
                                                struct nori_error *err);
/* The files of a new run (NULL: none) that are new themselves, with numbers from '*first_number' on, into an edit; then
 * the number is above them: the next run of the same merge may share the last of its files. */
NORI_WARN_UNUSED nori_status nr_edit_add_files(struct nori_engine *engine, struct nr_edit *edit,
                                               const struct nr_run *run, uint64_t *first_number,
                                               struct nori_error *err);
/* The snapshot edit of 'version', with the numbers of now. In the turn, or alone. */
NORI_WARN_UNUSED nori_status nr_manifest_snapshot(struct nori_engine *engine, struct nr_version *version,
                                                  struct nr_edit **snapshot_out, struct nori_error *err);
/* A new manifest with a snapshot of 'version'. In the turn, or alone. */
NORI_WARN_UNUSED nori_status nr_manifest_renew(struct nori_engine *engine, struct nr_version *version,
                                               struct nori_error *err);
/* For files: nothing refers to one any more. */
void nr_file_unreferenced(void *engine, struct nr_table_file *file);
/* Unlinks what nothing refers to, once the manifest's mark is durable. */
void nr_obsolete_unlink(struct nori_engine *engine);
/* The same if enough has come together, or space is short. */
void nr_obsolete_unlink_due(struct nori_engine *engine);
/* The log's segments that no memtable needs, likewise. */
void nr_log_collect(struct nori_engine *engine);

/* Flushes the oldest waiting memtables into one table. '*done_out' false: there were none, or another flushes. */
NORI_WARN_UNUSED nori_status nr_flush_once(struct nori_engine *engine, bool *done_out, struct nori_error *err);
/* Waits until all up to 'sequence' is in tables. */
NORI_WARN_UNUSED nori_status nr_flush_wait(struct nori_engine *engine, uint64_t sequence, struct nori_error *err);
/* Chooses what to compact next, and locks it. '*job_out' NULL: there is nothing, or not now. Ended by nr_job_end. */
NORI_WARN_UNUSED nori_status nr_job_begin(struct nori_engine *engine, struct nr_job **job_out, struct nori_error *err);
void nr_job_end(struct nori_engine *engine, struct nr_job *job, nori_status status, const struct nori_error *error);
/* What the planner is to know of 'version' now; '*busy_out', which the view borrows, is to be freed, also after a
 * failure. Under engine.lock. */
NORI_WARN_UNUSED nori_status nr_job_look_locked(struct nori_engine *engine, struct nr_version *version,
                                                struct nr_plan_view *view, void **busy_out, struct nori_error *err);
/* A part of the job's merge up to 'end', whose bytes it takes, is installed: the plan becomes that of the rest. */
void nr_part_advance(struct nori_engine *engine, struct nr_job *job, struct nr_buffer *end);
/* Whether the rest is left to be planned again: the engine stops, or writers are slowed down and the job is in the way
 * of what would help. */
bool nr_part_gives_way(struct nori_engine *engine, const struct nr_job *job);
/* Whether a running job has locked the slot. Under engine.lock. */
bool nr_job_is_busy(const struct nori_engine *engine, const struct nr_slot *slot);
/* Tells the scheduler what choices of an interval ago have brought. Under engine.lock. */
void nr_rewards_measure_locked(struct nori_engine *engine, uint64_t now_us);
void nr_rewards_drop(struct nori_engine *engine);
/* K of slots whose use has changed (design 5), at most once in a heat interval. Of the maintenance round. */
void nr_shape_update_due(struct nori_engine *engine);
/* Something was read many times: wakes the maintenance round if K is to be looked at for it. Does not wait. */
void nr_shape_hint(struct nori_engine *engine);
/* One in so many scans of a stripe, and in so many samples of searches, hints. */
#define NR_SCANS_PER_HINT 256
#define NR_SAMPLES_PER_HINT 16
#define NR_SEARCHES_PER_HINT (NR_READ_SAMPLING * NR_SAMPLES_PER_HINT)
/* Of the maintenance round: wakes the planner when something that has expired is to be cleaned. */
void nr_expire_maintain(struct nori_engine *engine, uint64_t now_us);
/* A job: the merge, which is all its I/O on tables, and the edit, then release, which gives back what was merged.
 * '*is_part_out' true: there is more of the job, and all of it again. */
NORI_WARN_UNUSED nori_status nr_job_merge(struct nori_engine *engine, struct nr_job *job, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_job_install(struct nori_engine *engine, struct nr_job *job, bool *is_part_out,
                                            struct nori_error *err);
void nr_job_release(struct nr_job *job);
/* Plans and carries out one compaction. '*done_out' false: nothing to do. */
NORI_WARN_UNUSED nori_status nr_compact_once(struct nori_engine *engine, bool *done_out, struct nori_error *err);
/* The edits of plans that need no merge of data: new guards. JOIN and SHIFT in the turn; SPLIT takes it. */
NORI_WARN_UNUSED nori_status nr_split_install(struct nori_engine *engine, const struct nr_plan *plan,
                                              struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_shift_install(struct nori_engine *engine, const struct nr_plan *plan,
                                              struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_join_install(struct nori_engine *engine, const struct nr_plan *plan,
                                             struct nori_error *err);

/* ---------------------------------------------------------------- cleaning by age (ages.c) */

/* The last sequence of what a job is to put apart as the older of two runs; 0: it makes one. */
uint64_t nr_ages_split(struct nori_engine *engine, const struct nr_job *job);

/* ---------------------------------------------------------------- cut runs (recount.c) */

/* The same run with the numbers that the tables' indexes tell, where its slices are parts of tables. Only memory can
 * fail. NULL stays. */
NORI_WARN_UNUSED nori_status nr_recount_run(struct nori_engine *engine, struct nr_run **run, struct nori_error *err);
/* Adds to the edit, which makes new guards, the slots that it changes in [start, end) with such numbers. */
NORI_WARN_UNUSED nori_status nr_recount_slots(struct nori_engine *engine, struct nr_version *version, nori_slice start,
                                              struct nr_bound end, struct nr_edit *edit, struct nori_error *err);

/* ---------------------------------------------------------------- learning (learn.c) */

NORI_WARN_UNUSED nori_status nr_learn_open(struct nori_engine *engine, struct nori_error *err);
void nr_learn_close(struct nori_engine *engine);
/* For HEAT: nothing of a sketch that is empty. Under engine.lock. */
NORI_WARN_UNUSED nori_status nr_learn_encode(struct nori_engine *engine, struct nr_buffer *writes,
                                             struct nr_buffer *reads, struct nori_error *err);
/* Takes up what was learned before; bytes that are damaged count as none. data NULL: none. At the end of open. */
void nr_learn_decode(struct nori_engine *engine, nori_slice writes, nori_slice reads);
/* What a flush wrote (NULL: nothing). It is read through the table cache; what cannot be read is not learned. */
void nr_learn_flush(struct nori_engine *engine, const struct nr_run *run);
/* Keys that cut the file's data into 'count' parts: nr_table_sample, through the table cache. */
NORI_WARN_UNUSED nori_status nr_learn_sample(struct nori_engine *engine, struct nr_table_file *file, size_t count,
                                             void (*fn)(void *arg, nori_slice key, uint64_t bytes), void *arg,
                                             struct nori_error *err);
/* A key that a get asked the levels for. Does not wait. */
void nr_learn_read(struct nori_engine *engine, nori_slice key);
/* One in NR_READ_SAMPLING of them. Threads that share a stripe may lose each other's counts. */
static inline void nr_learn_search(struct nori_engine *engine, nori_slice key)
{
    struct nr_stripe *stripe = &engine->stripes[nr_epoch_stripe_of_thread()];
    uint32_t count = atomic_load_explicit(&stripe->searches, memory_order_relaxed) + 1;
    atomic_store_explicit(&stripe->searches, count, memory_order_relaxed);
    if (NR_LIKELY(count % NR_READ_SAMPLING != 0)) return;
    nr_learn_read(engine, key);
    if (count / NR_READ_SAMPLING % NR_SAMPLES_PER_HINT == 0) nr_shape_hint(engine);
}

/* Whether work is done in the background: not on the simulated disk, nor by an engine that only reads. */
static inline bool nr_engine_has_threads(const struct nori_engine *engine)
{
    return !engine->env->inline_background && !engine->is_read_only;
}
/* How many compactions run at a time, at most. */
size_t nr_workers_compaction_count(const struct nori_engine *engine);
NORI_WARN_UNUSED nori_status nr_workers_start(struct nori_engine *engine, struct nori_error *err);
void nr_workers_stop(struct nori_engine *engine); /* Asks, wakes, joins. */
/* There may be something to flush or compact. Any thread, no lock held but commit_lock's successors. */
void nr_workers_kick(struct nori_engine *engine);
void nr_workers_kick_locked(struct nori_engine *engine);
/* Wakes the maintenance thread, unless that took a wait. */
void nr_workers_hint(struct nori_engine *engine);
/* Wakes maintenance where the log keeps more than it is to have at rest: who writes no more wakes nobody. */
void nr_workers_let_rest(struct nori_engine *engine);
/* After a commit: wakes the maintenance thread if it sleeps, or does its round. */
void nr_workers_after_write(struct nori_engine *engine);
/* Under commit_lock: whether a write must be followed by nr_workers_after_write. The next one is, if this changes. */
bool nr_workers_want_kick(struct nori_engine *engine);
/* Without threads: does all work that is due. With threads: nothing. */
void nr_workers_run_inline(struct nori_engine *engine);
/* A turn of a wait for something workers do, under engine.lock: NORI_INTERRUPTED, NORI_CLOSED when the engine stops. */
NORI_WARN_UNUSED nori_status nr_workers_wait_turn(struct nori_engine *engine, uint64_t timeout_us,
                                                  struct nori_error *err);

#endif

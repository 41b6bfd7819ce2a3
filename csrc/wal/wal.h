/* The write-ahead log: segments, written front to back by one writer, synced for many (design 3 and 4).
 *
 * Locks: the caller holds the append lock (engine.commit_lock, handed over at open) for reserve and append, and not for
 * anything else; nr_wal_sync takes it for the mark that follows a sync. Who syncs first syncs for all that wait.
 *
 * Segment n+1's header names n, its end and its last sequence. Before a sync in n+1 is acknowledged, n is synced, and
 * the name and header of n+1 are: the directory is synced once for each new segment. */
#ifndef NR_WAL_WAL_H
#define NR_WAL_WAL_H

#include "base/lock.h"
#include "wal/record.h"

struct nr_wal;

struct nr_wal_params {
    struct nori_env *env;
    struct nr_dir *root;          /* Borrowed: the database's directory; wal/ below it is made if missing. */
    struct nr_mutex *append_lock; /* Borrowed. */
    uint64_t database_id;
    uint64_t segment_bytes;
    bool mapped;
    uint64_t first_segment;      /* Number of the segment to begin with. Greater than any file in wal/. */
    struct nr_position previous; /* The log's end so far; {0, 0}: none. */
    uint64_t last_sequence;      /* At that end. */
    uint64_t retain_bytes;       /* Collected segments kept beyond need. */
};

/* Begins a new segment and makes it durable, name and header. The name of wal/ is the caller's to sync, before anything
 * counts on what is in it. */
NORI_WARN_UNUSED nori_status nr_wal_open(const struct nr_wal_params *params, struct nr_wal **wal_out,
                                         struct nori_error *err);
/* Frees it; syncs nothing. Calls in flight must have ended. With 'remove_segments' unlinks all of its segments first
 * (after an orderly close, when the manifest needs none). */
void nr_wal_close(struct nr_wal *wal, bool remove_segments);

/* What a record holds. The last room that a full disk leaves, a spare segment, is for those without a put. */
enum nr_wal_use { NR_WAL_PUTS, NR_WAL_DELETES };

/* Under the append lock. Makes sure that a record of 'payload_bytes' can be appended: goes on to the next segment where
 * it does not fit (a record larger than a segment gets one of its own). A record with puts must leave a spare segment
 * behind it: where there is none, and no space to make one, it fails, until there is space. Failure has changed
 * nothing: NORI_IO (ENOSPC ...) or NORI_NO_MEMORY, tried again on the next write. NORI_AGAIN if !may_wait and it takes
 * a system call or, to begin a segment, the log's own lock. */
NORI_WARN_UNUSED nori_status nr_wal_reserve(struct nr_wal *wal, size_t payload_bytes, enum nr_wal_use use,
                                            bool may_wait, struct nori_error *err);
/* Under the append lock, after reserve. A mapped log does not fail. A written one may: the outcome is indeterminate,
 * and the log has failed: every later call says NORI_POISONED with the first cause. */
NORI_WARN_UNUSED nori_status nr_wal_append(struct nr_wal *wal, uint64_t sequence, uint32_t count, nori_slice payload,
                                           struct nr_position *end_out, struct nori_error *err);
/* Returns once everything before 'position' is on disk: at once, by waiting for the sync under way, or by syncing up to
 * the end of what has been appended by then. A failed fsync is never tried again: all who wait for it get its error
 * (NORI_IO, indeterminate), later calls NORI_POISONED. NORI_AGAIN while it waits for another's sync and
 * the thread's interrupt hook is due, which cannot be asked in here: to be called again, with '*has_waited' (false at
 * first) as it was left. */
NORI_WARN_UNUSED nori_status nr_wal_sync(struct nr_wal *wal, struct nr_position position, bool *has_waited,
                                         struct nori_error *err);

/* Whether the log has failed; '*cause_out' is the error that later calls give. A sync may succeed and the mark behind
 * it fail: nothing of what was synced is lost, and nothing more is taken. */
bool nr_wal_failure(struct nr_wal *wal, struct nori_error *cause_out);

/* Under the append lock. Whether an append is a store: no system call, and it cannot fail. */
bool nr_wal_is_mapped(const struct nr_wal *wal);

/* What is complete: the end of the last append, and its last sequence. Any thread. */
struct nr_position nr_wal_end(struct nr_wal *wal, uint64_t *sequence_out);
/* A number above those of all segments, spare ones included. */
uint64_t nr_wal_next_segment(struct nr_wal *wal);
/* Framing and marks included, since open. Any thread; cheap. */
uint64_t nr_wal_appended_bytes(const struct nr_wal *wal);
/* What is on disk. Any thread; cheap. */
struct nr_position nr_wal_synced(struct nr_wal *wal, uint64_t *sequence_out);

/* A background worker's round: blocks and pages ahead of the writer, the next segment ready, and the one
 * after it, which a full disk leaves to deletes. Not under the append lock. Failure is not the log's: tried again next
 * time. */
NORI_WARN_UNUSED nori_status nr_wal_prepare(struct nr_wal *wal, struct nori_error *err);
/* True when the writer has used up enough of what was prepared for nr_wal_prepare to be worth a call. Any thread;
 * cheap. */
bool nr_wal_wants_prepare(const struct nr_wal *wal);

/* Segments below 'oldest_needed' (and beyond retain_bytes) go: one is kept for recycling, the others unlinked. Segments
 * of former sessions (numbers below first_segment) included. What is collected must not be needed by any durable
 * manifest. */
NORI_WARN_UNUSED nori_status nr_wal_collect(struct nr_wal *wal, uint64_t oldest_needed, struct nori_error *err);

/* For a writer that has stopped: what is kept ready beyond one spare segment goes, the file to be recycled too. Not
 * under the append lock. */
void nr_wal_rest(struct nr_wal *wal);
/* Whether there is nothing that it would let go. Any thread. */
bool nr_wal_is_at_rest(struct nr_wal *wal);

struct nr_wal_stats {
    uint64_t segments;         /* In the directory. */
    uint64_t segments_deleted; /* Collected since open (recycled ones too). */
    uint64_t bytes_appended;   /* With framing and marks. */
    uint64_t syncs;
};
void nr_wal_stats(struct nr_wal *wal, struct nr_wal_stats *stats_out);

#endif

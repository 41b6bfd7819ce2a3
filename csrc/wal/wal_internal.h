/* Inside the log: what wal.c (the writer), sync.c (who syncs) and segment.c (files) share.
 *
 * A segment's file is open from its creation until a sync in a later segment has synced it, or it is collected. Whoever
 * uses the handle outside the append lock pins the segment; the last pin closes the handle. No lock is held across I/O
 * but the caller's append lock. */
#ifndef NR_WAL_WAL_INTERNAL_H
#define NR_WAL_WAL_INTERNAL_H

#include <stdatomic.h>

#include "wal/record_format.h"
#include "wal/wal.h"

/* After any record there is room for two marks: that of a sync that ended after the record was written, and that of
 * the record's own sync. So a mark never needs another segment. */
#define NR_MARKS_ROOM_BYTES (2 * (uint64_t)NR_MARK_MAX_BYTES)

/* What a spare segment has ready from the start: room for many deletes on a full disk. */
#define NR_SPARE_READY_BYTES ((uint64_t)1 << 20)

struct nr_segment {
    struct nr_segment *next NR_GUARDED; /* By wal.lock. */
    uint64_t number;                    /* Immutable. */
    uint64_t size_bytes;                /* Immutable. Greatest size; of a former session's, its size then. */
    bool is_ours;                       /* Immutable. Of this session. */
    bool is_open NR_GUARDED;            /* By wal.lock. Holds a pin of its own: not yet known to be synced. */
    bool is_detached NR_GUARDED;        /* By wal.lock. In no list: freed with the last pin. */
    uint32_t pins NR_GUARDED;           /* By wal.lock. */
    struct nr_log *log NR_GUARDED;      /* By wal.lock; a pin holds it. NULL: closed. */
};

/* A position and a sequence that belong together. One writer at a time, any number of readers, no lock: readers try
 * again while the version is odd or moves. Stores release and loads acquire, so that a reader who sees a new member
 * sees the new version as well. */
struct nr_wal_mark {
    _Atomic uint64_t version;
    _Atomic uint64_t segment;
    _Atomic uint64_t offset;
    _Atomic uint64_t sequence;
};

static inline void nr_wal_mark_store(struct nr_wal_mark *mark, struct nr_position position, uint64_t sequence)
{
    uint64_t version = atomic_load_explicit(&mark->version, memory_order_relaxed);
    atomic_store_explicit(&mark->version, version + 1, memory_order_relaxed);
    atomic_store_explicit(&mark->segment, position.segment, memory_order_release);
    atomic_store_explicit(&mark->offset, position.offset, memory_order_release);
    atomic_store_explicit(&mark->sequence, sequence, memory_order_release);
    atomic_store_explicit(&mark->version, version + 2, memory_order_release);
}

static inline struct nr_position nr_wal_mark_load(struct nr_wal_mark *mark, uint64_t *sequence_out)
{
    struct nr_position position;
    uint64_t before, after, sequence;
    do {
        before = atomic_load_explicit(&mark->version, memory_order_acquire);
        position.segment = atomic_load_explicit(&mark->segment, memory_order_acquire);
        position.offset = atomic_load_explicit(&mark->offset, memory_order_acquire);
        sequence = atomic_load_explicit(&mark->sequence, memory_order_acquire);
        after = atomic_load_explicit(&mark->version, memory_order_relaxed);
    } while (NR_UNLIKELY(before != after || (before & 1)));
    if (sequence_out) *sequence_out = sequence;
    return position;
}

struct nr_sync_waiter; /* sync.c */

struct nr_wal {
    /* The writer's; under the append lock. */
    struct nr_segment *current NR_GUARDED; /* By the append lock and wal.lock to change, either to read. */
    struct nr_log *log NR_GUARDED;         /* current's. */
    uint64_t reserved_bytes NR_GUARDED;    /* Known to be publishable. */
    uint64_t last_sequence NR_GUARDED;
    struct nr_position written_promise NR_GUARDED; /* The greatest that stands in the log. */
    uint64_t head_offset NR_GUARDED;               /* Of current's last record with a head; UINT64_MAX: none. */
    uint8_t *scratch NR_GUARDED;                   /* 2 * NR_RECORD_BLOCK_BYTES. Owned. */
    _Atomic uint64_t write_offset;   /* Where the next record or mark goes. Stored under the append lock. */
    _Atomic uint64_t appended_bytes; /* Stored under the append lock. Relaxed. */
    struct nr_wal_mark end;          /* Of the last record. Stored under the append lock. */

    _Alignas(64) struct nr_wal_mark synced; /* Stored by the leader. */
    _Atomic bool has_failed;                /* 'cause' is final. */
    _Atomic bool
        is_for_deletes; /* Short, and no spare: what room is left is not for puts. Stored under lock. Relaxed. */
    _Atomic uint64_t prepare_at_bytes; /* nr_wal_prepare is wanted once appended_bytes is there. Relaxed. */
    _Atomic uint64_t sync_count;       /* Relaxed. */
    _Atomic uint64_t arrivals;         /* Calls that came for a sync. Relaxed. */
    uint64_t group_arrivals;           /* The leader's: 'arrivals' when the last group closed, */
    uint64_t group_size;               /* how many that one was, */
    uint64_t group_sync_ns;            /* and how long its sync took. */

    /* Immutable. */
    struct nr_dir *dir; /* wal/. Owned. */
    struct nr_mutex *append_lock;
    uint64_t database_id;
    uint64_t segment_bytes;
    uint64_t retain_bytes;
    bool mapped;

    struct nr_mutex sync_lock;
    struct nr_sync_waiter *waiters NR_GUARDED; /* By sync_lock. In the order they came; none without a leader. */
    bool is_syncing NR_GUARDED;                /* By sync_lock. There is a leader. */
    uint64_t durable_name NR_GUARDED;          /* The leader's. Names up to this segment's are on disk. */

    struct nr_mutex lock;
    struct nr_cond created;                   /* is_creating has ended. */
    struct nr_segment *segments NR_GUARDED;   /* By lock. Ascending, to current. Owned, as are the next two. */
    struct nr_segment *spares NR_GUARDED;     /* By lock. The next segments, ascending: no headers yet. */
    struct nr_segment *recyclable NR_GUARDED; /* By lock. A collected file. */
    uint64_t next_number NR_GUARDED;          /* By lock. */
    uint64_t prepare_ahead_bytes NR_GUARDED;  /* By lock. */
    uint64_t deleted_count NR_GUARDED;        /* By lock. */
    uint32_t spare_count NR_GUARDED;          /* By lock. Of spares. */
    bool is_creating NR_GUARDED;              /* By lock. Someone creates a segment. */
    bool is_short NR_GUARDED;                 /* By lock. No space was found for the last spare that was wanted. */
    bool is_preparing NR_GUARDED;             /* By lock. */
    struct nori_error cause;                  /* Written once, under lock, before has_failed. */
};

/* wal.c */

/* The log has failed for good; the first cause stays. */
void nr_wal_poison(struct nr_wal *wal, const struct nori_error *cause);
nori_status nr_wal_fail_poisoned(struct nr_wal *wal, struct nori_error *err);
static inline bool nr_wal_has_failed(const struct nr_wal *wal)
{
    return atomic_load_explicit(&wal->has_failed, memory_order_acquire);
}
/* Under the append lock. The mark that follows a sync; left out when a record carries as much already. Its failure is
 * the log's, not the sync's. */
void nr_wal_append_mark(struct nr_wal *wal);

/* segment.c */

/* Pins the first open segment numbered from 'least' to 'greatest'; NULL. */
struct nr_segment *nr_segment_pin(struct nr_wal *wal, uint64_t least, uint64_t greatest);
void nr_segment_unpin(struct nr_wal *wal, struct nr_segment *segment);
/* The segment is synced, and needs no handle of its own any more. The caller holds a pin. */
void nr_segment_end_use(struct nr_wal *wal, struct nr_segment *segment);
/* Creates the next segment's file, recycling one if there is one, with its first 'ready_bytes' publishable. Under
 * neither lock, and only by who has set is_creating. The caller owns it; its open pin is set. */
NORI_WARN_UNUSED nori_status nr_segment_create(struct nr_wal *wal, uint64_t size_bytes, uint64_t ready_bytes,
                                               struct nr_segment **segment_out, struct nori_error *err);
/* Writes the header that links it to 'previous'. */
NORI_WARN_UNUSED nori_status nr_segment_begin(struct nr_wal *wal, struct nr_segment *segment,
                                              struct nr_position previous, uint64_t last_sequence,
                                              struct nori_error *err);
/* The segment, in no list and with a pin of the caller's, goes: its file is kept for recycling or unlinked. On failure
 * it is as it was. */
NORI_WARN_UNUSED nori_status nr_segment_retire(struct nr_wal *wal, struct nr_segment *segment, struct nori_error *err);
/* Frees a segment that never was in a list, and unlinks its file if that can be done: a name that stays does no harm,
 * numbers are not used again. The caller's pin is its only one but for a worker's. */
void nr_segment_abandon(struct nr_wal *wal, struct nr_segment *segment);
/* Waits for its turn to create a segment; false if there are 'enough' spares by then. Ended by end_creating. */
bool nr_segment_begin_creating(struct nr_wal *wal, uint32_t enough);
void nr_segment_end_creating(struct nr_wal *wal);
/* Creates spares until there are 'count', each with 'ready_bytes' publishable. */
NORI_WARN_UNUSED nori_status nr_segment_make_spares(struct nr_wal *wal, uint32_t count, uint64_t ready_bytes,
                                                    struct nori_error *err);
/* Takes the first spare out of the list. */
struct nr_segment *nr_segment_take_spare_locked(struct nr_wal *wal);
/* Appends to the list, under wal.lock. */
void nr_segment_list_locked(struct nr_wal *wal, struct nr_segment *segment);
/* Lists the segments of former sessions. */
NORI_WARN_UNUSED nori_status nr_segment_find_former(struct nr_wal *wal, struct nori_error *err);
/* Frees all; with 'remove' unlinks their files first. */
void nr_segment_clear_all(struct nr_wal *wal, bool remove);

#endif

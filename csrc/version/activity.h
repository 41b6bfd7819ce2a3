/* Activity: what happens in a slot, and what was made of it so far.
 *
 * The one thing below a version that changes. All versions of a slot share it for as long as the slot's bounds stay;
 * slots that new guards make get activities of their own, into which the old ones' are shared out. Counters are striped
 * by thread, so that counting is one relaxed add on a line that few others write; folding (compact/heat.h) empties them
 * into the state. */
#ifndef NR_VERSION_ACTIVITY_H
#define NR_VERSION_ACTIVITY_H

#include <stdatomic.h>

#include "base/slice.h"

#define NR_ACTIVITY_STRIPES 4
#define NR_ACTIVITY_PROBES_SHIFT 32

/* Since the last fold. Relaxed. Folds come long before 2^32 reads; without any the halves run into each other, which
 * only makes a number wrong that is shown. */
struct nr_activity_stripe {
    _Alignas(64) _Atomic uint64_t searches; /* Low half: reads that searched the slot; high half: runs they probed. */
    _Atomic uint64_t sheltered;             /* Reads of its keys that ended above: sampled, and weighted. */
    _Atomic uint64_t scans;
    _Atomic uint64_t bytes_arrived; /* Level 1: written by flushes; deeper: come from the level above. */
};

/* The same, summed. */
struct nr_activity_counts {
    uint64_t searches, runs_probed, sheltered, scans, bytes_arrived;
};

/* All guarded by the engine's lock. */
struct nr_activity_state {
    double read_rate;         /* Per second. */
    double sheltered_rate;    /* Of these, reads that ended above. */
    double write_rate;        /* Bytes per second. */
    double scan_rate;         /* Per second. */
    double mean_write_rate;   /* The same, rising no faster than it falls: of few large parts the mean. */
    double arrival_rate;      /* Bytes per second to be expected (compact/arrivals.h). */
    uint32_t wanted_k;        /* Runs that are worth what they cost, of what arrives; 0: not decided. */
    uint64_t tree_bytes;      /* Of the slot and all below it, when that was set. */
    double recent_reads;      /* Searches that the last fold saw, as few as chance may have made many; so are scans. */
    double recent_scans;      /* */
    double recent_secs;       /* What that fold was over; 0: none. */
    double extra_probes;      /* Of late, runs beyond the first that searches looked into, */
    double extra_runs;        /* and those that there were. */
    double probes_per_read;   /* Of those that searched the slot; 0: not measured yet. */
    uint64_t folded_at_us;    /* Monotonic; 0: never. */
    uint64_t k_changed_at_us; /* Monotonic; 0: never. Set by who changes K. */
    uint64_t searches;        /* In all, as far as folded; so is the next. */
    uint64_t bytes_arrived;
    uint64_t bytes_rewritten; /* Written by merges for the slot, in all. */
};

struct nr_activity {
    struct nr_activity_stripe stripes[NR_ACTIVITY_STRIPES];
    struct nr_activity_state state NR_GUARDED; /* By the engine's lock. */
    _Atomic uint32_t refs;
};

/* Nothing counted yet; one reference. */
NORI_WARN_UNUSED nori_status nr_activity_create(struct nr_activity **activity_out, struct nori_error *err);
struct nr_activity *nr_activity_ref(struct nr_activity *activity);
void nr_activity_unref(struct nr_activity *activity); /* NULL is fine. */

/* 'stripe': any number, the same for a thread. */
static inline void nr_activity_count_search(struct nr_activity *activity, unsigned stripe, uint64_t runs_probed)
{
    atomic_fetch_add_explicit(&activity->stripes[stripe % NR_ACTIVITY_STRIPES].searches,
                              1 + (runs_probed << NR_ACTIVITY_PROBES_SHIFT), memory_order_relaxed);
}
static inline void nr_activity_count_sheltered(struct nr_activity *activity, unsigned stripe, uint64_t weight)
{
    atomic_fetch_add_explicit(&activity->stripes[stripe % NR_ACTIVITY_STRIPES].sheltered, weight, memory_order_relaxed);
}
static inline void nr_activity_count_scan(struct nr_activity *activity, unsigned stripe)
{
    atomic_fetch_add_explicit(&activity->stripes[stripe % NR_ACTIVITY_STRIPES].scans, 1, memory_order_relaxed);
}
static inline void nr_activity_count_arrived(struct nr_activity *activity, unsigned stripe, uint64_t bytes)
{
    atomic_fetch_add_explicit(&activity->stripes[stripe % NR_ACTIVITY_STRIPES].bytes_arrived, bytes,
                              memory_order_relaxed);
}

/* What was counted since the last fold. */
struct nr_activity_counts nr_activity_peek(const struct nr_activity *activity);
/* The same, and the counters begin at 0 again. Under the engine's lock. */
struct nr_activity_counts nr_activity_take(struct nr_activity *activity);
/* Adds the share 'part' (0 to 1) of what 'from' is and has counted; 'into' is seen by nobody yet. Under the engine's
 * lock. */
void nr_activity_share(struct nr_activity *into, const struct nr_activity *from, double part);

#endif

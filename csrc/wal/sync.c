/* Group commit. Whoever finds no leader becomes it: reads the end of what is complete, syncs up to there and wakes
 * the others; those whose record came later elect the next. A leader stays one until its mark is written, so at most
 * two marks follow a record. */
#include "wal/wal_internal.h"

#include "base/clock.h"

#define MAX_GATHER_NS 100000u

static nori_status sync_segment(struct nr_wal *wal, struct nr_segment *segment, bool is_last, struct nori_error *err)
{
    nori_status rc = nr_log_sync(segment->log, err);
    if (rc == NORI_OK && !is_last) nr_segment_end_use(wal, segment);
    nr_segment_unpin(wal, segment);
    return rc;
}

/* The leader's work, without a lock. A segment that is not found has been collected: the tables hold it. */
static nori_status sync_to(struct nr_wal *wal, struct nr_position target, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_segment *segment;

    while (target.segment > 0 && (segment = nr_segment_pin(wal, 0, target.segment - 1)) != NULL)
        NR_CHECK(sync_segment(wal, segment, false, err));
    if (wal->durable_name < target.segment) {
        NR_CHECK(nr_dir_sync(wal->dir, err));
        wal->durable_name = target.segment;
    }
    segment = nr_segment_pin(wal, target.segment, target.segment);
    if (segment) NR_CHECK(sync_segment(wal, segment, true, err));
    atomic_fetch_add_explicit(&wal->sync_count, 1, memory_order_relaxed);
out:
    return rc;
}

/* Writers that were woken together come back one after the other: the first waits for as many as there were last time,
 * at most half of what a sync takes, rather than sync for itself and keep the others waiting for two. */
static void gather(struct nr_wal *wal)
{
    uint64_t wanted = wal->group_arrivals + wal->group_size;
    uint64_t begun_ns = wal->group_size > 1 ? nr_clock_ns() : 0;
    uint64_t limit_ns = NR_MIN(wal->group_sync_ns / 2, MAX_GATHER_NS);
    while (begun_ns && atomic_load_explicit(&wal->arrivals, memory_order_relaxed) < wanted) {
        if (nr_clock_ns() - begun_ns >= limit_ns) break;
        nr_thread_yield();
    }
    uint64_t arrivals = atomic_load_explicit(&wal->arrivals, memory_order_relaxed);
    wal->group_size = arrivals - wal->group_arrivals;
    wal->group_arrivals = arrivals;
}

static void lead(struct nr_wal *wal)
{
    uint64_t sequence;
    struct nori_error own;

    nr_error_clear(&own);
    gather(wal);
    uint64_t begun_ns = nr_clock_ns();
    struct nr_position target = nr_wal_mark_load(&wal->end, &sequence);
    if (sync_to(wal, target, &own) != NORI_OK) {
        own.code = NORI_IO;
        own.outcome = NORI_INDETERMINATE;
        nr_wal_poison(wal, &own);
        return;
    }
    wal->group_sync_ns = nr_clock_ns() - begun_ns;
    nr_mutex_lock(&wal->sync_lock);
    nr_wal_mark_store(&wal->synced, target, sequence);
    nr_cond_broadcast(&wal->sync_changed);
    nr_mutex_unlock(&wal->sync_lock);

    nr_mutex_lock(wal->append_lock);
    nr_wal_append_mark(wal);
    nr_mutex_unlock(wal->append_lock);
}

static bool is_synced(struct nr_wal *wal, struct nr_position position)
{
    return nr_position_compare(position, nr_wal_mark_load(&wal->synced, NULL)) <= 0;
}

/* The error of those whose sync it was that failed, or who waited for it. */
static nori_status fail_group(struct nr_wal *wal, struct nori_error *err)
{
    if (err) {
        *err = wal->cause;
        err->outcome = NORI_INDETERMINATE;
    }
    return wal->cause.code;
}

nori_status nr_wal_sync(struct nr_wal *wal, struct nr_position position, bool *has_waited, struct nori_error *err)
{
    nori_status rc = NORI_OK;

    if (is_synced(wal, position)) return NORI_OK;
    if (!*has_waited) atomic_fetch_add_explicit(&wal->arrivals, 1, memory_order_relaxed);
    nr_mutex_lock(&wal->sync_lock);
    while (rc == NORI_OK && !is_synced(wal, position)) {
        if (nr_wal_has_failed(wal)) {
            rc = *has_waited ? fail_group(wal, err) : nr_wal_fail_poisoned(wal, err);
        } else if (wal->is_syncing) {
            *has_waited = true;
            if (!nr_cond_wait_until_due(&wal->sync_changed, &wal->sync_lock))
                rc = NR_FAIL(err, NORI_AGAIN, "the sync under way is not over");
        } else {
            *has_waited = true;
            wal->is_syncing = true;
            nr_mutex_unlock(&wal->sync_lock);
            lead(wal);
            nr_mutex_lock(&wal->sync_lock);
            wal->is_syncing = false;
            nr_cond_broadcast(&wal->sync_changed);
        }
    }
    nr_mutex_unlock(&wal->sync_lock);
    return rc;
}

/* Group commit. Whoever finds no leader becomes it: reads the end of what is complete, syncs up to there and wakes the
 * others whose records that were; of those that came later the first becomes its heir. A leader stays one until its
 * mark is written, so at most two marks follow a record.
 *
 * Who waits sleeps on an event of its own, and takes no lock when it is woken: of many that want one lock at the same
 * moment most would have to sleep again. */
#include "wal/wal_internal.h"

#include "base/clock.h"
#include "base/event.h"

#define MAX_GATHER_NS 100000u

/* A call that waits. Off the list it is woken by who took it off, and by nobody else. */
struct nr_sync_waiter {
    struct nr_sync_waiter *next;
    struct nr_position position;
    struct nr_event woken;
    bool is_listed; /* By sync_lock. */
    bool is_heir;   /* It leads next: is_syncing is set for it. Set before the event. */
};

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

static bool is_synced(struct nr_wal *wal, struct nr_position position)
{
    return nr_position_compare(position, nr_wal_mark_load(&wal->synced, NULL)) <= 0;
}

static void list_waiter_locked(struct nr_wal *wal, struct nr_sync_waiter *waiter)
{
    struct nr_sync_waiter **link = &wal->waiters;
    while (*link) link = &(*link)->next;
    waiter->next = NULL;
    waiter->is_listed = true;
    *link = waiter;
}

static void unlist_locked(struct nr_sync_waiter **link)
{
    struct nr_sync_waiter *waiter = *link;
    *link = waiter->next;
    waiter->is_listed = false;
}

/* Takes off the list all that need not wait any more, in the order they came. */
static struct nr_sync_waiter *take_done_locked(struct nr_wal *wal)
{
    struct nr_sync_waiter *done = NULL, **end = &done, **link = &wal->waiters;
    bool has_failed = nr_wal_has_failed(wal);
    while (*link) {
        struct nr_sync_waiter *waiter = *link;
        if (!has_failed && !is_synced(wal, waiter->position)) {
            link = &waiter->next;
            continue;
        }
        unlist_locked(link);
        *end = waiter;
        end = &waiter->next;
    }
    *end = NULL;
    return done;
}

/* They may be gone once their event is set. */
static void wake(struct nr_sync_waiter *waiter)
{
    while (waiter) {
        struct nr_sync_waiter *next = waiter->next;
        nr_event_set(&waiter->woken);
        waiter = next;
    }
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
    struct nr_sync_waiter *done = take_done_locked(wal);
    nr_mutex_unlock(&wal->sync_lock);
    wake(done);

    nr_mutex_lock(wal->append_lock);
    nr_wal_append_mark(wal);
    nr_mutex_unlock(wal->append_lock);
}

/* Under sync_lock, which it gives back: the first of those who still wait leads next. */
static void end_leading(struct nr_wal *wal)
{
    struct nr_sync_waiter *done = take_done_locked(wal), *heir = wal->waiters;
    wal->is_syncing = heir != NULL;
    if (heir) {
        unlist_locked(&wal->waiters);
        heir->next = NULL;
        heir->is_heir = true;
    }
    nr_mutex_unlock(&wal->sync_lock);
    wake(done);
    wake(heir);
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

/* On the list, until woken. NORI_AGAIN: the caller's interrupt hook is due first. */
static nori_status wait_until_woken(struct nr_wal *wal, struct nr_sync_waiter *waiter, struct nori_error *err)
{
    if (nr_event_wait_until_due(&waiter->woken)) return NORI_OK;
    nr_mutex_lock(&wal->sync_lock);
    bool is_leaving = waiter->is_listed;
    struct nr_sync_waiter **link = &wal->waiters;
    while (is_leaving && *link != waiter) link = &(*link)->next;
    if (is_leaving) unlist_locked(link);
    nr_mutex_unlock(&wal->sync_lock);
    if (is_leaving) return NR_FAIL(err, NORI_AGAIN, "the sync under way is not over");
    nr_event_wait(&waiter->woken); /* Somebody is about to set it. */
    return NORI_OK;
}

/* Leads, or waits for who does. What came true meanwhile is for the caller to find. */
static nori_status take_turn(struct nr_wal *wal, struct nr_sync_waiter *waiter, bool *has_waited,
                             struct nori_error *err)
{
    nr_mutex_lock(&wal->sync_lock);
    bool is_over = is_synced(wal, waiter->position) || nr_wal_has_failed(wal);
    bool is_leader = !is_over && (waiter->is_heir || !wal->is_syncing);
    if (is_leader) {
        wal->is_syncing = true;
        waiter->is_heir = false;
    } else if (!is_over) {
        list_waiter_locked(wal, waiter);
    }
    nr_mutex_unlock(&wal->sync_lock);
    if (is_over) return NORI_OK;
    *has_waited = true;
    if (!is_leader) return wait_until_woken(wal, waiter, err);
    lead(wal);
    nr_mutex_lock(&wal->sync_lock);
    end_leading(wal);
    return NORI_OK;
}

nori_status nr_wal_sync(struct nr_wal *wal, struct nr_position position, bool *has_waited, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_sync_waiter waiter = {.position = position};

    if (is_synced(wal, position)) return NORI_OK;
    if (!*has_waited) atomic_fetch_add_explicit(&wal->arrivals, 1, memory_order_relaxed);
    nr_event_init(&waiter.woken);
    while (rc == NORI_OK && !is_synced(wal, waiter.position)) {
        if (nr_wal_has_failed(wal))
            rc = *has_waited ? fail_group(wal, err) : nr_wal_fail_poisoned(wal, err);
        else
            rc = take_turn(wal, &waiter, has_waited, err);
    }
    if (waiter.is_heir) {
        nr_mutex_lock(&wal->sync_lock);
        end_leading(wal);
    }
    nr_event_destroy(&waiter.woken);
    return rc;
}

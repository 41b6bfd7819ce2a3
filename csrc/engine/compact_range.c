/* compact(): all of a range admitted to slots, and the slots within their k_max, by the workers. */
#include "engine/engine.h"

/* Bytes of level 0 in the range: what is still to be admitted. */
static uint64_t pending_bytes(const struct nr_version *version, const struct nr_manual *manual)
{
    uint64_t bytes = 0;
    const struct nr_slot *level0 = nr_version_level0(version);
    for (size_t i = 0; i < level0->run_count; i++)
        for (size_t j = 0; j < level0->runs[i]->slice_count; j++) {
            const struct nr_table_slice *slice = &level0->runs[i]->slices[j];
            if (nr_bound_above(manual->end, slice->start) && nr_bound_above(slice->end, manual->start))
                bytes += slice->bytes;
        }
    return bytes;
}

/* Whether work remains for the manual compaction; '*bytes_out' of it. */
static bool is_pending(struct nori_engine *engine, const struct nr_manual *manual, uint64_t *bytes_out)
{
    struct nr_view *view = nr_view_acquire(engine);
    struct nr_plan_view plan_view = {.version = view->version, .options = &engine->options, .is_manual = true};
    plan_view.manual_start = manual->start;
    plan_view.manual_end = manual->end;
    struct nr_moment oldest = nr_moment_oldest(engine);
    plan_view.oldest_moment_sequence = oldest.sequence;
    plan_view.now_ms = oldest.now_ms;
    bool pending = nr_planner_manual_pending(&plan_view);
    *bytes_out = pending_bytes(view->version, manual);
    nr_view_release(view);
    return pending;
}

static void link_manual(struct nori_engine *engine, struct nr_manual *manual)
{
    nr_mutex_lock(&engine->lock);
    manual->next = engine->manuals;
    engine->manuals = manual;
    engine->compaction_retry_us = 0;
    nr_mutex_unlock(&engine->lock);
}

static void unlink_manual(struct nori_engine *engine, struct nr_manual *manual)
{
    nr_mutex_lock(&engine->lock);
    struct nr_manual **link = &engine->manuals;
    while (*link != manual) link = &(*link)->next;
    *link = manual->next;
    nr_mutex_unlock(&engine->lock);
}

/* Waits for the workers until nothing is pending, telling 'fn' on the way. */
static nori_status wait_manual(struct nori_engine *engine, struct nr_manual *manual, nori_progress_fn fn, void *arg,
                               struct nori_error *err)
{
    uint64_t total = 0, pending = 0;
    nori_status rc = NORI_OK;
    nr_mutex_lock(&engine->lock);
    uint64_t attempts = engine->compaction_attempts;
    nr_mutex_unlock(&engine->lock);
    while (is_pending(engine, manual, &pending)) {
        total = NR_MAX(total, pending);
        struct nori_progress progress = {total - pending, total, "bytes", "compact"};
        rc = nr_call_tell(fn, arg, &progress, err);
        if (rc != NORI_OK) return rc;
        nr_workers_kick(engine);
        nr_mutex_lock(&engine->lock);
        if (atomic_load(&engine->is_poisoned)) {
            rc = nr_fail_poisoned(engine, err);
        } else if (engine->compaction_attempts > attempts) {
            if (err) *err = engine->compaction_error;
            rc = engine->compaction_error.code;
        } else {
            rc = nr_workers_wait_turn(engine, 100000, err);
        }
        nr_mutex_unlock(&engine->lock);
        if (rc != NORI_OK) return rc;
    }
    struct nori_progress progress = {total, total, "bytes", "compact"};
    return nr_call_tell(fn, arg, &progress, err);
}

nori_status nori_compact(struct nori_engine *engine, const nori_slice *start, const nori_slice *stop,
                         nori_progress_fn fn, void *arg, struct nori_error *err)
{
    unsigned stripe;
    struct nr_manual manual = {.end = stop ? nr_bound_key(*stop) : nr_bound_infinite()};
    if (start) manual.start = *start;
    nori_status rc = nori_flush(engine, err);
    if (rc == NORI_OK) rc = nr_call_enter(engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    link_manual(engine, &manual);
    rc = wait_manual(engine, &manual, fn, arg, err);
    unlink_manual(engine, &manual);
    nr_pressure_update(engine); /* The last job may not have ended yet, see nr_flush_wait. */
    nr_call_leave(engine);
    return rc;
}

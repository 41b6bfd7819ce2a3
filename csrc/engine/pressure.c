/* Pressure: how full memory and level 0 are, and what writers do about it (design 5).
 *
 * nr_pressure_update measures, whenever the view changed, the memtable grew by a step or the compaction threads ran out
 * of work, and leaves two numbers for writers: whether they stall, and what a MiB owes. In green both are 0, and that
 * is all a write looks at. Flushes do not come by here. */
#include "engine/engine.h"

#define TURN_US 100000u
/* Debt is counted in microseconds times bytes per MiB: nothing is lost to rounding, so a batch and its single puts owe
 * alike. */
#define DEBT_SHIFT 20
#define MICROSECOND ((uint64_t)1 << DEBT_SHIFT)
#define MIN_DEBT (1000 * MICROSECOND)

/* ---------------------------------------------------------------- measuring */

/* Under engine.lock. Pending too: compaction threads that have not looked at the newest round, and a failed job. */
static bool is_compaction_pending(struct nori_engine *engine)
{
    if (engine->jobs || engine->idle_round < engine->work_round) return true;
    return engine->compaction_retry_us != 0 && engine->compaction_retry_us > nr_env_monotonic_us(engine->env);
}

/* Under engine.lock. */
static void measure_locked(struct nori_engine *engine, struct nr_pressure *pressure_out)
{
    struct nr_pressure_input input = {.is_compaction_pending = is_compaction_pending(engine)};
    unsigned stripe = nr_epoch_enter(&engine->epoch);
    struct nr_view *view = nr_view_peek(engine);
    uint64_t active = nr_memtable_bytes(view->layers[0].memtable);
    uint64_t empty = atomic_load_explicit(&engine->active_empty_bytes, memory_order_relaxed);
    input.l0_depth = nr_version_l0_depth(view->version);
    input.waiting_count = view->layer_count - 1;
    input.waiting_bytes = nr_view_memtable_bytes(view, 1);
    nr_epoch_leave(&engine->epoch, stripe);
    input.active_bytes = active > empty ? active - empty : 0;
    input.memory_bytes = active + input.waiting_bytes + atomic_load_explicit(&engine->job_bytes, memory_order_relaxed) +
                         atomic_load_explicit(&engine->scan_bytes, memory_order_relaxed);
    nr_pressure_judge(&engine->options, &input, pressure_out);
}

void nr_pressure_measure(struct nori_engine *engine, struct nr_pressure *pressure_out)
{
    nr_mutex_lock(&engine->lock);
    measure_locked(engine, pressure_out);
    nr_mutex_unlock(&engine->lock);
}

/* Under engine.lock. */
static void update_locked(struct nori_engine *engine)
{
    struct nr_pressure now;
    measure_locked(engine, &now);
    enum nr_stall former_stall = atomic_exchange(&engine->stall_reason, now.stall);
    uint64_t former_delay = atomic_exchange(&engine->delay_us_per_mib, now.delay_us_per_mib);
    engine->wants_rotation = now.wants_rotation;
    engine->pressure_score = now.score;
    nr_event_note_pressure(engine, &now, former_stall);
    if (now.zone != engine->zone) {
        engine->zone = now.zone;
        atomic_fetch_add_explicit(&engine->zone_changes, 1, memory_order_relaxed);
    }
    bool is_eased = former_stall != now.stall || (former_delay != 0 && now.delay_us_per_mib == 0);
    if (is_eased) nr_cond_broadcast(&engine->done_cond);
}

void nr_pressure_update(struct nori_engine *engine)
{
    nr_mutex_lock(&engine->lock);
    update_locked(engine);
    nr_mutex_unlock(&engine->lock);
}

void nr_pressure_work_ended(struct nori_engine *engine)
{
    nr_workers_kick_locked(engine);
    update_locked(engine);
}

void nr_pressure_note_idle(struct nori_engine *engine, uint64_t round)
{
    nr_mutex_lock(&engine->lock);
    engine->idle_round = NR_MAX(engine->idle_round, round);
    if (atomic_load_explicit(&engine->stall_reason, memory_order_relaxed) != NR_STALL_NONE) update_locked(engine);
    nr_mutex_unlock(&engine->lock);
}

void nr_scan_account(struct nori_engine *engine, struct nr_read *read)
{
    if (read->held_bytes == read->accounted_bytes) return;
    /* Wraps where less is held than was accounted. */
    atomic_fetch_add_explicit(&engine->scan_bytes, read->held_bytes - read->accounted_bytes, memory_order_relaxed);
    read->accounted_bytes = read->held_bytes;
}

/* ---------------------------------------------------------------- stalls */

/* Under engine.lock, which is released meanwhile: who waits for memory that the memtable written to takes up makes it
 * one that is flushed; writers, who would, all wait. */
static nori_status rotate_unlocked(struct nori_engine *engine, struct nori_error *err)
{
    uint64_t last_sequence;
    nr_mutex_unlock(&engine->lock);
    nori_status rc = nr_engine_rotate(engine, &last_sequence, err);
    nr_mutex_lock(&engine->lock);
    return rc;
}

static nori_status fail_stalled(struct nori_engine *engine, uint64_t waited_us, struct nori_error *err)
{
    const char *cause =
        atomic_load(&engine->stall_reason) == NR_STALL_L0 ? "too many level 0 files" : "no memtable memory";
    return NR_FAIL(err, NORI_BACKPRESSURE, "writes have stalled for %.1f s: %s", (double)waited_us / 1e6, cause);
}

static nori_status wait_for_room(struct nori_engine *engine, struct nori_error *err)
{
    uint64_t begun_us = nr_env_monotonic_us(engine->env), waited_us = 0;
    uint64_t timeout_us = (uint64_t)(engine->options.pressure.stall_timeout_secs * 1e6);
    nori_status rc = NORI_OK;
    atomic_fetch_add_explicit(&engine->stalls, 1, memory_order_relaxed);
    nr_mutex_lock(&engine->lock);
    while (rc == NORI_OK && atomic_load(&engine->stall_reason) != NR_STALL_NONE) {
        waited_us = nr_env_monotonic_us(engine->env) - begun_us;
        if (atomic_load(&engine->is_poisoned))
            rc = nr_fail_poisoned(engine, err);
        else if (waited_us >= timeout_us)
            rc = fail_stalled(engine, waited_us, err);
        else if (engine->wants_rotation)
            rc = rotate_unlocked(engine, err);
        else
            rc = nr_workers_wait_turn(engine, NR_MIN(timeout_us - waited_us, TURN_US), err);
        /* What scans give back is announced by nobody. */
        if (rc == NORI_OK) update_locked(engine);
    }
    nr_mutex_unlock(&engine->lock);
    atomic_fetch_add_explicit(&engine->stall_micros, nr_env_monotonic_us(engine->env) - begun_us, memory_order_relaxed);
    return rc;
}

void nr_pressure_note_space(struct nori_engine *engine, nori_status status, const struct nori_error *error)
{
    if (status == NORI_OK || nr_error_is_of_space(status, error))
        atomic_store_explicit(&engine->is_out_of_space, status != NORI_OK, memory_order_relaxed);
}

/* Whether a stall lets deletes pass: what would end it finds no space on the disk, and deletes may make some. They have
 * what is left of the active memtable. */
static bool is_open_to_deletes(struct nori_engine *engine)
{
    if (!atomic_load_explicit(&engine->is_out_of_space, memory_order_relaxed)) return false;
    unsigned stripe = nr_epoch_enter(&engine->epoch);
    size_t bytes = nr_memtable_bytes(nr_view_peek(engine)->layers[0].memtable);
    nr_epoch_leave(&engine->epoch, stripe);
    return bytes < nr_pressure_memtable_bytes(&engine->options);
}

/* ---------------------------------------------------------------- delays */

/* Sleeps in turns, so that a signal and close are noticed; whatever is left when the pressure is gone is forgiven. */
static nori_status sleep_off(struct nori_engine *engine, uint64_t owed_us, uint64_t *slept_us_out,
                             struct nori_error *err)
{
    uint64_t begun_us = nr_env_monotonic_us(engine->env);
    nori_status rc = NORI_OK;
    *slept_us_out = 0;
    nr_mutex_lock(&engine->lock);
    while (rc == NORI_OK && *slept_us_out < owed_us && atomic_load(&engine->delay_us_per_mib) != 0 &&
           !atomic_load(&engine->is_poisoned)) {
        uint64_t turn_us = NR_MIN(owed_us - *slept_us_out, TURN_US);
        if (!engine->env->inline_background) {
            rc = nr_workers_wait_turn(engine, turn_us, err);
        } else {
            nr_mutex_unlock(&engine->lock);
            nr_env_sleep_us(engine->env, turn_us);
            rc = atomic_load(&engine->state) == NR_STATE_OPEN ? nr_interrupt_poll(err) : nr_fail_closed(engine, err);
            nr_mutex_lock(&engine->lock);
        }
        *slept_us_out = nr_env_monotonic_us(engine->env) - begun_us;
    }
    nr_mutex_unlock(&engine->lock);
    atomic_fetch_add_explicit(&engine->delay_micros, *slept_us_out, memory_order_relaxed);
    atomic_fetch_add_explicit(&engine->stall_micros, *slept_us_out, memory_order_relaxed);
    return rc;
}

/* Whoever brings the debt to a millisecond sleeps it off, for all who owe. */
static nori_status pay(struct nori_engine *engine, uint64_t charge, bool no_wait, uint64_t *charge_out,
                       struct nori_error *err)
{
    if (no_wait && atomic_load_explicit(&engine->debt, memory_order_relaxed) + charge >= MIN_DEBT)
        return NR_FAIL(err, NORI_AGAIN, "a delay is owed");
    *charge_out = charge;
    if (atomic_fetch_add_explicit(&engine->debt, charge, memory_order_relaxed) + charge < MIN_DEBT || no_wait)
        return NORI_OK;
    uint64_t slept_us, taken = atomic_exchange_explicit(&engine->debt, 0, memory_order_relaxed);
    *charge_out = 0;
    if (taken < MIN_DEBT) { /* Another one took it meanwhile. */
        atomic_fetch_add_explicit(&engine->debt, taken, memory_order_relaxed);
        return NORI_OK;
    }
    atomic_fetch_add_explicit(&engine->debt, taken & (MICROSECOND - 1), memory_order_relaxed);
    atomic_fetch_add_explicit(&engine->writes_delayed, 1, memory_order_relaxed);
    nori_status rc = sleep_off(engine, taken >> DEBT_SHIFT, &slept_us, err);
    if (rc == NORI_OK) return NORI_OK;
    /* Not written, so not owed; what others owe is still to be slept. */
    uint64_t left = taken - NR_MIN(taken, slept_us * MICROSECOND);
    if (left > charge) atomic_fetch_add_explicit(&engine->debt, left - charge, memory_order_relaxed);
    return rc;
}

nori_status nr_pressure_admit(struct nori_engine *engine, uint64_t bytes, bool has_puts, bool no_wait,
                              uint64_t *charge_out, struct nori_error *err)
{
    uint64_t delay = atomic_load_explicit(&engine->delay_us_per_mib, memory_order_relaxed);
    uint32_t stall = atomic_load_explicit(&engine->stall_reason, memory_order_relaxed);
    *charge_out = 0;
    if (NR_LIKELY(delay == 0 && stall == NR_STALL_NONE)) return NORI_OK;
    if (stall != NR_STALL_NONE) {
        if (!has_puts && is_open_to_deletes(engine)) return NORI_OK;
        if (no_wait) return NR_FAIL(err, NORI_AGAIN, "writes stall");
        nori_status rc = wait_for_room(engine, err);
        if (rc != NORI_OK) return rc;
        delay = atomic_load_explicit(&engine->delay_us_per_mib, memory_order_relaxed);
    }
    return delay ? pay(engine, delay * bytes, no_wait, charge_out, err) : NORI_OK;
}

void nr_pressure_refund(struct nori_engine *engine, uint64_t charge)
{
    uint64_t debt = atomic_load_explicit(&engine->debt, memory_order_relaxed);
    while (charge != 0 && !atomic_compare_exchange_weak_explicit(&engine->debt, &debt, debt - NR_MIN(debt, charge),
                                                                 memory_order_relaxed, memory_order_relaxed))
        continue;
}

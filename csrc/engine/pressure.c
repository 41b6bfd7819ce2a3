/* Pressure: how full memory and level 0 are, and what writers do about it (design 5). */
#include "engine/engine.h"

#define MIN_SLEEP_US 1000

double nr_pressure_score(const struct nori_options *options, const struct nr_pressure_view *view)
{
    const double *weights = options->pressure.weights;
    return weights[0] * view->l0_fill + weights[1] * view->memory_fill + weights[2] * view->memtable_fill;
}

enum nori_zone nr_pressure_zone(const struct nori_options *options, const struct nr_pressure_view *view)
{
    double worst = nr_pressure_score(options, view);
    const double *zones = options->pressure.zones;
    worst = NR_MAX(worst, view->l0_fill);
    worst = NR_MAX(worst, view->memory_fill);
    worst = NR_MAX(worst, view->memtable_fill);
    if (worst >= zones[2]) return NORI_ZONE_RED;
    if (worst >= zones[1]) return NORI_ZONE_ORANGE;
    return worst >= zones[0] ? NORI_ZONE_YELLOW : NORI_ZONE_GREEN;
}

void nr_pressure_measure(struct nori_engine *engine, struct nr_pressure_view *view_out)
{
    const struct nori_options *options = &engine->options;
    unsigned stripe = nr_epoch_enter(&engine->epoch);
    struct nr_view *view = nr_view_peek(engine);
    double memtables = (double)nr_view_memtable_bytes(view);
    view_out->l0_fill = (double)nr_version_l0_depth(view->version) / (double)options->l0.max_files;
    view_out->memory_fill = memtables / ((double)options->resources.memtables_mib * 1048576.0);
    view_out->memtable_fill = (double)(view->layer_count - 1) / NR_STALL_LAYERS;
    nr_epoch_leave(&engine->epoch, stripe);
}

void nr_pressure_update(struct nori_engine *engine)
{
    const struct nori_options *options = &engine->options;
    nr_mutex_lock(&engine->lock);
    unsigned stripe = nr_epoch_enter(&engine->epoch);
    struct nr_view *view = nr_view_peek(engine);
    size_t depth = nr_version_l0_depth(view->version);
    size_t memtable_bytes = nr_view_memtable_bytes(view), waiting = view->layer_count - 1;
    nr_epoch_leave(&engine->epoch, stripe);

    enum nr_stall stall = NR_STALL_NONE;
    if (depth >= (size_t)options->l0.max_files) stall = NR_STALL_L0;
    if (waiting > 0 &&
        (waiting >= NR_STALL_LAYERS || memtable_bytes >= (uint64_t)options->resources.memtables_mib << 20))
        stall = NR_STALL_MEMTABLES;
    double delay_ms = 0;
    if (depth > (size_t)options->l0.soft_throttle_threshold)
        delay_ms =
            options->l0.soft_throttle_base_delay_ms * (double)(depth - (size_t)options->l0.soft_throttle_threshold);
    atomic_store(&engine->stall_reason, stall);
    atomic_store(&engine->delay_us_per_mib, (uint64_t)(delay_ms * 1000.0));
    nr_cond_broadcast(&engine->done_cond);
    nr_mutex_unlock(&engine->lock);
    nr_event_note_pressure(engine);
}

static nori_status wait_for_room(struct nori_engine *engine, struct nori_error *err)
{
    uint64_t begun_us = nr_env_monotonic_us(engine->env), waited_us = 0;
    uint64_t timeout_us = (uint64_t)(engine->options.pressure.stall_timeout_secs * 1e6);
    nori_status rc = NORI_OK;
    atomic_fetch_add_explicit(&engine->writes_delayed, 1, memory_order_relaxed);
    nr_workers_kick(engine);
    nr_mutex_lock(&engine->lock);
    while (rc == NORI_OK && atomic_load(&engine->stall_reason) != NR_STALL_NONE) {
        if (atomic_load(&engine->is_poisoned)) {
            rc = nr_fail_poisoned(engine, err);
            break;
        }
        waited_us = nr_env_monotonic_us(engine->env) - begun_us;
        if (waited_us >= timeout_us) {
            rc = NR_FAIL(err, NORI_BACKPRESSURE, "writes have stalled for %.1f s: %s", (double)waited_us / 1e6,
                         atomic_load(&engine->stall_reason) == NR_STALL_L0 ? "too many level 0 files"
                                                                           : "no memtable memory");
            break;
        }
        rc = nr_workers_wait_turn(engine, timeout_us - waited_us, err);
    }
    nr_mutex_unlock(&engine->lock);
    atomic_fetch_add_explicit(&engine->stall_micros, nr_env_monotonic_us(engine->env) - begun_us, memory_order_relaxed);
    return rc;
}

nori_status nr_pressure_admit(struct nori_engine *engine, uint64_t bytes, bool no_wait, struct nori_error *err)
{
    uint64_t delay = atomic_load_explicit(&engine->delay_us_per_mib, memory_order_relaxed);
    if (NR_UNLIKELY(atomic_load_explicit(&engine->stall_reason, memory_order_acquire) != NR_STALL_NONE)) {
        if (no_wait) return NR_FAIL(err, NORI_AGAIN, "writes stall");
        nori_status rc = wait_for_room(engine, err);
        if (rc != NORI_OK) return rc;
    }
    if (NR_LIKELY(delay == 0)) return NORI_OK;
    /* In nanoseconds, so that small writes owe something, too. */
    uint64_t owed = atomic_load_explicit(&engine->debt_ns, memory_order_relaxed) + delay * bytes / 1049u;
    if (owed < MIN_SLEEP_US * 1000u) {
        atomic_store_explicit(&engine->debt_ns, owed, memory_order_relaxed);
        return NORI_OK;
    }
    if (no_wait) return NR_FAIL(err, NORI_AGAIN, "a delay is owed");
    atomic_store_explicit(&engine->debt_ns, 0, memory_order_relaxed);
    atomic_fetch_add_explicit(&engine->writes_delayed, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&engine->stall_micros, owed / 1000, memory_order_relaxed);
    nr_env_sleep_us(engine->env, NR_MIN(owed / 1000, 100000));
    return NORI_OK;
}

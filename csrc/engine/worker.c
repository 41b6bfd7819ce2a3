/* Workers: one thread flushes, some compact, one prepares the log ahead of the writer, one keeps house (syncs at
 * intervals, collects the log, rotates an old memtable, unlinks files). On an environment without threads the same
 * rounds run inside the calls. */
#include "engine/engine.h"

#define IDLE_US 1000000u
#define REST_SECS 2.0
#define MAX_INLINE_ROUNDS 100000

/* ---------------------------------------------------------------- maintenance */

static bool is_due_us(uint64_t now_us, uint64_t since_us, double seconds)
{
    /* 'since' may be later: a writer sets it after the round has begun. */
    return now_us > since_us && now_us - since_us >= (uint64_t)(seconds * 1e6);
}

/* Whether appended bytes wait for a sync at intervals. */
static bool wants_sync(struct nori_engine *engine)
{
    if (engine->options.wal.durability != NORI_DURABILITY_INTERVAL || atomic_load(&engine->is_poisoned)) return false;
    struct nr_position end = nr_wal_end(engine->wal, NULL), synced = nr_wal_synced(engine->wal, NULL);
    return nr_position_compare(synced, end) < 0;
}

static void rotate_if_old(struct nori_engine *engine, uint64_t now_us)
{
    uint64_t oldest_us = atomic_load(&engine->oldest_write_us), last_sequence;
    double age_secs = engine->options.memtable.wal_age_trigger_sec;
    if (oldest_us == 0 || age_secs <= 0 || !is_due_us(now_us, oldest_us, age_secs)) return;
    if (nr_engine_rotate(engine, &last_sequence, NULL) != NORI_OK) {
        /* Without memory now: the next round tries again. */
    }
}

/* The sooner of two times to wait, where 0 is "no need". */
static uint64_t sooner_us(uint64_t a, uint64_t b)
{
    return a == 0 ? b : b == 0 ? a : NR_MIN(a, b);
}

static uint64_t until_us(uint64_t now_us, uint64_t due_us)
{
    return due_us > now_us ? due_us - now_us : 1000;
}

static void sync_if_due(struct nori_engine *engine, uint64_t now_us)
{
    uint64_t interval_us = (uint64_t)engine->options.wal.sync_interval_ms * 1000u;
    struct nori_error error;
    if (!wants_sync(engine) || atomic_load(&engine->is_recovery_pending)) return;
    if (now_us - engine->last_sync_us < interval_us) return;
    engine->last_sync_us = now_us;
    if (nr_engine_sync(engine, nr_wal_end(engine->wal, NULL), &error) != NORI_OK) return; /* It poisoned. */
}

/* The log keeps files ready for its writer. They are not for one that has stopped. */
static void rest_if_idle(struct nori_engine *engine, uint64_t now_us)
{
    uint64_t appended_bytes = nr_wal_appended_bytes(engine->wal);
    if (appended_bytes != engine->appended_bytes) {
        engine->appended_bytes = appended_bytes;
        engine->appended_us = now_us;
    }
    if (is_due_us(now_us, engine->appended_us, REST_SECS)) nr_wal_rest(engine->wal);
}

/* How long the next round may wait; 0: until something is written. */
static uint64_t next_round_us(struct nori_engine *engine, uint64_t now_us)
{
    uint64_t sleep_us = 0, oldest_us = atomic_load(&engine->oldest_write_us);
    double age_secs = engine->options.memtable.wal_age_trigger_sec;
    if (wants_sync(engine))
        sleep_us = until_us(now_us, engine->last_sync_us + (uint64_t)engine->options.wal.sync_interval_ms * 1000u);
    if (oldest_us != 0 && age_secs > 0)
        sleep_us = sooner_us(sleep_us, until_us(now_us, oldest_us + (uint64_t)(age_secs * 1e6)));
    if (atomic_load(&engine->epoch.retired_count) + atomic_load(&engine->epoch.deferred_count) > 0)
        sleep_us = sooner_us(sleep_us, IDLE_US);
    if (!nr_wal_is_at_rest(engine->wal)) sleep_us = sooner_us(sleep_us, IDLE_US);
    if (atomic_load(&engine->has_expiring)) sleep_us = sooner_us(sleep_us, until_us(now_us, engine->expiry_us));
    /* Reads alone change shapes, too; a few of them announce themselves to nobody. */
    if (engine->options.strategy == NORI_STRATEGY_ATLL)
        sleep_us = sooner_us(sleep_us, (uint64_t)(engine->options.heat_decay_interval_secs * 1e6 / 4) + 1000);
    return sleep_us;
}

static void prepare_log(struct nori_engine *engine)
{
    if (nr_wal_wants_prepare(engine->wal) && nr_wal_prepare(engine->wal, NULL) != NORI_OK) {
        /* A full disk, perhaps: writers get its error when they need the space. */
    }
}

static void maintain(struct nori_engine *engine)
{
    uint64_t now_us = nr_env_monotonic_us(engine->env);
    sync_if_due(engine, now_us);
    rotate_if_old(engine, now_us);
    if (is_due_us(now_us, engine->last_collect_us, engine->options.wal.gc_interval_secs)) {
        engine->last_collect_us = now_us;
        nr_log_collect(engine);
        nr_event_note_cache(engine);
    }
    rest_if_idle(engine, now_us);
    nr_event_note_log(engine);
    nr_obsolete_unlink(engine);
    nr_heat_maintain(engine, now_us);
    nr_shape_update_due(engine);
    nr_expire_maintain(engine, now_us);
}

static bool is_stopping(struct nori_engine *engine)
{
    nr_mutex_lock(&engine->lock);
    bool stopping = engine->is_stopping;
    nr_mutex_unlock(&engine->lock);
    return stopping;
}

/* The kick is taken back before the look: who stops the engine says so first, and kicks then. */
static bool goes_on(struct nori_engine *engine, _Atomic bool *is_kicked)
{
    atomic_store(is_kicked, false);
    return !is_stopping(engine);
}

static void maintenance_thread(void *arg)
{
    struct nori_engine *engine = arg;
    while (goes_on(engine, &engine->is_maintenance_kicked)) {
        maintain(engine);
        /* Between two writes: a write either sees the flag before it is made, or is seen here. */
        nr_mutex_lock(&engine->commit_lock);
        uint64_t sleep_us = next_round_us(engine, nr_env_monotonic_us(engine->env));
        atomic_store(&engine->wants_maintenance, sleep_us == 0);
        nr_mutex_unlock(&engine->commit_lock);
        nr_mutex_lock(&engine->maintenance_lock);
        if (!atomic_load(&engine->is_maintenance_kicked))
            nr_cond_wait_for(&engine->maintenance_cond, &engine->maintenance_lock, sleep_us ? sleep_us : 60 * IDLE_US);
        nr_mutex_unlock(&engine->maintenance_lock);
        atomic_store(&engine->wants_maintenance, false);
    }
}

static void kick_maintenance(struct nori_engine *engine)
{
    if (atomic_exchange(&engine->is_maintenance_kicked, true)) return;
    nr_mutex_lock(&engine->maintenance_lock);
    nr_cond_signal(&engine->maintenance_cond);
    nr_mutex_unlock(&engine->maintenance_lock);
}

void nr_workers_hint(struct nori_engine *engine)
{
    if (atomic_load_explicit(&engine->is_maintenance_kicked, memory_order_relaxed)) return;
    if (!nr_mutex_trylock(&engine->maintenance_lock)) return;
    atomic_store(&engine->is_maintenance_kicked, true);
    nr_cond_signal(&engine->maintenance_cond);
    nr_mutex_unlock(&engine->maintenance_lock);
}

void nr_workers_let_rest(struct nori_engine *engine)
{
    if (nr_engine_has_threads(engine) && !nr_wal_is_at_rest(engine->wal)) nr_workers_hint(engine);
}

/* A thread of its own: a sync under way must not keep the log's next blocks from the writer. */
static void preparation_thread(void *arg)
{
    struct nori_engine *engine = arg;
    while (goes_on(engine, &engine->is_preparation_kicked)) {
        prepare_log(engine);
        nr_workers_let_rest(engine);
        nr_mutex_lock(&engine->maintenance_lock);
        if (!atomic_load(&engine->is_preparation_kicked))
            nr_cond_wait_for(&engine->preparation_cond, &engine->maintenance_lock, 60 * IDLE_US);
        nr_mutex_unlock(&engine->maintenance_lock);
    }
}

static void kick_preparation(struct nori_engine *engine)
{
    if (atomic_exchange(&engine->is_preparation_kicked, true)) return;
    nr_mutex_lock(&engine->maintenance_lock);
    nr_cond_signal(&engine->preparation_cond);
    nr_mutex_unlock(&engine->maintenance_lock);
}

static bool wants_maintenance_kick(struct nori_engine *engine)
{
    return atomic_load_explicit(&engine->wants_maintenance, memory_order_seq_cst) &&
           !atomic_load_explicit(&engine->is_maintenance_kicked, memory_order_relaxed);
}

static bool wants_preparation_kick(struct nori_engine *engine)
{
    return nr_wal_wants_prepare(engine->wal) &&
           !atomic_load_explicit(&engine->is_preparation_kicked, memory_order_relaxed);
}

bool nr_workers_want_kick(struct nori_engine *engine)
{
    return engine->env->inline_background || wants_maintenance_kick(engine) || wants_preparation_kick(engine);
}

void nr_workers_after_write(struct nori_engine *engine)
{
    if (NR_UNLIKELY(engine->env->inline_background)) {
        nr_workers_run_inline(engine);
        return;
    }
    if (NR_UNLIKELY(wants_maintenance_kick(engine))) kick_maintenance(engine);
    if (NR_UNLIKELY(wants_preparation_kick(engine))) kick_preparation(engine);
}

/* ---------------------------------------------------------------- flush and compaction threads */

/* Waits for another round of work, or until 'retry_us'. Returns the round; '*stop_out' when the engine ends. */
static uint64_t wait_for_round(struct nori_engine *engine, uint64_t seen_round, uint64_t *retry_us, bool *stop_out)
{
    nr_mutex_lock(&engine->lock);
    while (!engine->is_stopping && engine->work_round == seen_round) {
        uint64_t now_us = nr_env_monotonic_us(engine->env);
        if (*retry_us == 0)
            nr_cond_wait(&engine->work_cond, &engine->lock);
        else if (*retry_us > now_us)
            nr_cond_wait_for(&engine->work_cond, &engine->lock, *retry_us - now_us);
        else
            break;
    }
    *stop_out = engine->is_stopping;
    seen_round = engine->work_round;
    nr_mutex_unlock(&engine->lock);
    return seen_round;
}

static void flush_thread(void *arg)
{
    struct nori_engine *engine = arg;
    uint64_t round = 0;
    bool stop = false;
    while (!stop) {
        bool done = true;
        nr_mutex_lock(&engine->lock);
        uint64_t retry_us = engine->flush_retry_us;
        nr_mutex_unlock(&engine->lock);
        if (retry_us == 0 || nr_env_monotonic_us(engine->env) >= retry_us) {
            while (done && !is_stopping(engine))
                if (nr_flush_once(engine, &done, NULL) != NORI_OK) break;
        }
        nr_mutex_lock(&engine->lock);
        retry_us = engine->flush_retry_us;
        nr_mutex_unlock(&engine->lock);
        round = wait_for_round(engine, round, &retry_us, &stop);
    }
}

static void compaction_thread(void *arg)
{
    struct nori_engine *engine = arg;
    uint64_t round = 0;
    bool stop = false;
    nr_thread_set_batch();
    while (!stop) {
        bool done = true;
        nori_status rc = NORI_OK;
        while (rc == NORI_OK && done && !is_stopping(engine)) rc = nr_compact_once(engine, &done, NULL);
        if (rc == NORI_OK && !done) nr_pressure_note_idle(engine, round);
        nr_obsolete_unlink(engine);
        nr_mutex_lock(&engine->lock);
        uint64_t now_us = nr_env_monotonic_us(engine->env);
        uint64_t retry_us = engine->compaction_retry_us > now_us ? engine->compaction_retry_us : 0;
        nr_mutex_unlock(&engine->lock);
        round = wait_for_round(engine, round, &retry_us, &stop);
    }
}

void nr_workers_kick_locked(struct nori_engine *engine)
{
    engine->work_round++;
    nr_cond_broadcast(&engine->work_cond);
}

void nr_workers_kick(struct nori_engine *engine)
{
    nr_mutex_lock(&engine->lock);
    nr_workers_kick_locked(engine);
    nr_mutex_unlock(&engine->lock);
}

static nori_status start(struct nori_engine *engine, const char *name, void (*fn)(void *arg), struct nori_error *err)
{
    nori_status rc = nr_thread_start(engine->env, name, fn, engine, &engine->threads[engine->thread_count], err);
    if (rc == NORI_OK) engine->thread_count++;
    return rc;
}

size_t nr_workers_compaction_count(const struct nori_engine *engine)
{
    int64_t jobs = NR_MIN(engine->options.io.max_background_jobs, (int64_t)nr_processor_count());
    if (engine->env->inline_background) return 1;
    return (size_t)NR_MIN(NR_MAX(jobs, 1), (int64_t)NR_ARRAY_LEN(engine->threads) - 3);
}

nori_status nr_workers_start(struct nori_engine *engine, struct nori_error *err)
{
    size_t jobs = nr_workers_compaction_count(engine);
    nori_status rc = NORI_OK;
    if (engine->env->inline_background) return NORI_OK;
    NR_CHECK(start(engine, "nori-log", maintenance_thread, err));
    NR_CHECK(start(engine, "nori-prepare", preparation_thread, err));
    NR_CHECK(start(engine, "nori-flush", flush_thread, err));
    for (size_t i = 0; i < jobs; i++) NR_CHECK(start(engine, "nori-compact", compaction_thread, err));
out:
    if (rc != NORI_OK) nr_workers_stop(engine);
    return rc;
}

void nr_workers_stop(struct nori_engine *engine)
{
    nr_mutex_lock(&engine->lock);
    engine->is_stopping = true;
    nr_cond_broadcast(&engine->work_cond);
    nr_cond_broadcast(&engine->done_cond);
    nr_mutex_unlock(&engine->lock);
    nr_mutex_lock(&engine->maintenance_lock);
    atomic_store(&engine->is_maintenance_kicked, true);
    atomic_store(&engine->is_preparation_kicked, true);
    nr_cond_broadcast(&engine->maintenance_cond);
    nr_cond_broadcast(&engine->preparation_cond);
    nr_mutex_unlock(&engine->maintenance_lock);
    for (size_t i = 0; i < engine->thread_count; i++) nr_thread_join(engine->threads[i]);
    engine->thread_count = 0;
}

/* ---------------------------------------------------------------- without threads */

/* All work that is due now. True if there was some. */
static bool run_round(struct nori_engine *engine)
{
    bool is_flushed = false, is_compacted = false;
    uint64_t now_us = nr_env_monotonic_us(engine->env);
    nr_mutex_lock(&engine->lock);
    bool may_flush = engine->flush_retry_us <= now_us;
    uint64_t round = engine->work_round;
    nr_mutex_unlock(&engine->lock);
    if (may_flush && nr_flush_once(engine, &is_flushed, NULL) != NORI_OK) is_flushed = false;
    if (nr_compact_once(engine, &is_compacted, NULL) != NORI_OK)
        is_compacted = false;
    else if (!is_compacted)
        nr_pressure_note_idle(engine, round);
    maintain(engine);
    prepare_log(engine);
    return is_flushed || is_compacted;
}

void nr_workers_run_inline(struct nori_engine *engine)
{
    static _Thread_local bool is_inside_work; /* Work does not start work. */
    if (!engine->env->inline_background || is_inside_work || !engine->wal) return;
    nr_mutex_lock(&engine->inline_lock);
    is_inside_work = true;
    bool was_held = nr_interrupt_hold(true);
    for (int i = 0; i < MAX_INLINE_ROUNDS && run_round(engine); i++) continue;
    (void)nr_interrupt_hold(was_held);
    is_inside_work = false;
    nr_mutex_unlock(&engine->inline_lock);
}

nori_status nr_workers_wait_turn(struct nori_engine *engine, uint64_t timeout_us, struct nori_error *err)
{
    if (atomic_load(&engine->state) != NR_STATE_OPEN) return nr_fail_closed(engine, err);
    if (!engine->env->inline_background) return nr_cond_wait_turn(&engine->done_cond, &engine->lock, timeout_us, err);
    uint64_t round = engine->flush_attempts + engine->compaction_attempts;
    nr_mutex_unlock(&engine->lock);
    nr_workers_run_inline(engine);
    nori_status rc = nr_interrupt_poll(err);
    nr_mutex_lock(&engine->lock);
    /* Nothing ended: time passes until something may be tried again. */
    if (round == engine->flush_attempts + engine->compaction_attempts)
        nr_env_sleep_us(engine->env, NR_MIN(timeout_us, 10000));
    return rc;
}

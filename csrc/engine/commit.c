/* The commit: one write's way into log and memtable.
 *
 * Under commit_lock, in this order: memory and log space are reserved (which may fail: nothing has happened), the
 * record is appended to the log, the operations are inserted (which cannot fail), the sequence is published. A write
 * that wants a sync waits for it afterwards, without the lock. */
#include "engine/engine.h"

#define MAX_KEPT_SCRATCH_BYTES (1u << 20)
#define WAIT_US 10000

bool nr_commit_wants_sync(const struct nori_engine *engine, const struct nori_write_options *options)
{
    if (options && options->sync >= 0) return options->sync > 0;
    return engine->options.wal.durability == NORI_DURABILITY_SYNC;
}

void nr_engine_activate(struct nori_engine *engine)
{
    unsigned stripe = nr_epoch_enter(&engine->epoch);
    engine->active = nr_view_peek(engine)->layers[0].memtable;
    atomic_store_explicit(&engine->active_empty_bytes, nr_memtable_bytes(engine->active), memory_order_relaxed);
    nr_epoch_leave(&engine->epoch, stripe);
    engine->active_measure_bytes = 0;
}

/* Under commit_lock. */
static nori_status rotate_locked(struct nori_engine *engine, struct nori_error *err)
{
    unsigned stripe = nr_epoch_enter(&engine->epoch);
    size_t layer_count = nr_view_peek(engine)->layer_count;
    nr_epoch_leave(&engine->epoch, stripe);
    if (layer_count + 1 >= NR_MAX_LAYERS)
        return NR_FAIL(err, NORI_AGAIN, "%zu memtables wait for their flush", layer_count);
    nori_status rc = nr_view_push(engine, nr_wal_end(engine->wal, NULL).segment, err);
    if (rc != NORI_OK) return rc;
    nr_engine_activate(engine);
    atomic_store(&engine->oldest_write_us, 0);
    return NORI_OK;
}

/* The memtable written to is empty afterwards, and with 'gates' stays so. */
static nori_status rotate(struct nori_engine *engine, bool gates, uint64_t *last_sequence_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    for (;;) {
        nr_mutex_lock(&engine->commit_lock);
        bool is_free = !gates || !atomic_load(&engine->is_gated);
        if (is_free && !nr_memtable_is_empty(engine->active)) rc = rotate_locked(engine, err);
        if (is_free && gates && rc == NORI_OK) atomic_store(&engine->is_gated, true);
        *last_sequence_out = engine->last_sequence;
        nr_mutex_unlock(&engine->commit_lock);
        if (is_free && rc != NORI_AGAIN) break;
        /* Too many memtables: one has to be flushed first. Or another has the gate. */
        nr_workers_kick(engine);
        nr_mutex_lock(&engine->lock);
        rc = nr_workers_wait_turn(engine, WAIT_US, err);
        nr_mutex_unlock(&engine->lock);
        if (rc != NORI_OK) return rc;
    }
    if (rc != NORI_OK) return rc;
    nr_workers_kick(engine);
    nr_pressure_update(engine);
    return rc;
}

nori_status nr_engine_rotate(struct nori_engine *engine, uint64_t *last_sequence_out, struct nori_error *err)
{
    return rotate(engine, false, last_sequence_out, err);
}

nori_status nr_commit_gate(struct nori_engine *engine, uint64_t *last_sequence_out, struct nori_error *err)
{
    return rotate(engine, true, last_sequence_out, err);
}

/* Writers wait for the one that has the gate. Not under commit_lock. */
static nori_status await_gate(struct nori_engine *engine, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    if (NR_LIKELY(!atomic_load(&engine->is_gated))) return NORI_OK;
    nr_mutex_lock(&engine->lock);
    while (rc == NORI_OK && atomic_load(&engine->is_gated)) rc = nr_workers_wait_turn(engine, WAIT_US, err);
    nr_mutex_unlock(&engine->lock);
    return rc;
}

void nr_commit_ungate(struct nori_engine *engine, uint64_t sequence)
{
    nr_mutex_lock(&engine->commit_lock);
    engine->last_sequence = sequence;
    atomic_store(&engine->is_gated, false);
    nr_mutex_unlock(&engine->commit_lock);
    nr_mutex_lock(&engine->lock);
    nr_cond_broadcast(&engine->done_cond);
    nr_mutex_unlock(&engine->lock);
}

/* Whether a write above 'since' touched the condition's keys. Under commit_lock. */
static bool is_touched(struct nori_engine *engine, const struct nr_condition *condition)
{
    bool touched = false;
    if (engine->last_sequence == condition->since) return false;
    unsigned stripe = nr_epoch_enter(&engine->epoch);
    struct nr_view *view = nr_view_peek(engine);
    for (size_t i = 0; i < view->layer_count && !touched; i++) {
        struct nr_memtable *memtable = view->layers[i].memtable;
        if (nr_memtable_last_sequence(memtable) <= condition->since) continue; /* An empty one says 0. */
        touched = nr_memtable_touched(memtable, condition->first, condition->last, condition->since);
    }
    /* What was flushed meanwhile cannot be seen here any more: the caller reads again. */
    touched = touched || view->flushed_sequence > condition->since;
    nr_epoch_leave(&engine->epoch, stripe);
    return touched;
}

/* Under commit_lock: the single operation as a payload in engine->scratch. */
static nori_status encode_single(struct nori_engine *engine, const struct nr_commit *commit, struct nori_error *err)
{
    struct nr_buffer *scratch = &engine->scratch;
    scratch->size = 0;
    nori_status rc = nr_buffer_reserve(scratch, nr_operation_bytes(commit->key, commit->value), err);
    if (rc != NORI_OK) return rc;
    uint8_t *end = commit->type == NR_TYPE_DELETE
                       ? nr_operation_encode_delete(scratch->data, commit->key)
                       : nr_operation_encode_put(scratch->data, commit->key, commit->value, commit->expires_at_ms);
    scratch->size = (size_t)(end - scratch->data);
    return NORI_OK;
}

/* Under commit_lock. Failure other than of the append has changed nothing. */
static nori_status apply_locked(struct nori_engine *engine, struct nr_commit *commit, bool no_wait, bool *is_fatal,
                                struct nori_error *err)
{
    struct nr_operation single = {0};
    nori_slice payload = commit->payload;
    uint64_t sequence = engine->last_sequence + 1;
    bool is_single = !payload.data;
    nori_status rc = NORI_OK;

    if (sequence + commit->count > NR_MAX_SEQUENCE) return NR_FAIL(err, NORI_INVALID, "sequence numbers are used up");
    if (is_single) {
        NR_CHECK(encode_single(engine, commit, err));
        payload = nr_buffer_slice(&engine->scratch);
        nori_slice rest = payload;
        NR_CHECK(nr_operation_next(&rest, &single, err));
        NR_CHECK(nr_memtable_reserve_one(engine->active, single.key, single.value, err));
    } else {
        NR_CHECK(nr_memtable_reserve(engine->active, payload, commit->count, sequence, err));
    }
    enum nr_wal_use use = commit->put_count > 0 ? NR_WAL_PUTS : NR_WAL_DELETES;
    NR_CHECK(nr_wal_reserve(engine->wal, payload.size, use, !no_wait, err));
    rc = nr_wal_append(engine->wal, sequence, (uint32_t)commit->count, payload, &commit->position, err);
    if (rc != NORI_OK) {
        *is_fatal = true;
        if (err) err->outcome = NORI_INDETERMINATE;
        goto out;
    }
    if (is_single)
        nr_memtable_insert_one(engine->active, single.type, single.key, single.value, sequence);
    else
        nr_memtable_insert(engine->active, payload, commit->count, sequence);
    if (atomic_load_explicit(&engine->oldest_write_us, memory_order_relaxed) == 0)
        atomic_store(&engine->oldest_write_us, nr_env_monotonic_us(engine->env));
    engine->last_sequence += commit->count;
    commit->sequence = engine->last_sequence;
    commit->is_applied = true;
    atomic_store_explicit(&engine->published_sequence, engine->last_sequence, memory_order_seq_cst);
out:
    return rc;
}

/* Counters that only the holder of commit_lock changes: no read-modify-write is needed. */
static void add_owned(_Atomic uint64_t *counter, uint64_t more)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more, memory_order_relaxed);
}

static void count_locked(struct nori_engine *engine, const struct nr_commit *commit)
{
    add_owned(&engine->user_bytes_written, commit->user_bytes);
    add_owned(&engine->puts, commit->put_count);
    add_owned(&engine->deletes, commit->delete_count);
    if (engine->scratch.capacity > MAX_KEPT_SCRATCH_BYTES) nr_buffer_clear(&engine->scratch);
}

/* The memtable is at a mark, or the write is large: another one in front if it is full, else the next mark. */
static nori_status make_room_locked(struct nori_engine *engine, size_t payload_bytes, bool *is_rotated,
                                    struct nori_error *err)
{
    size_t full_bytes = nr_pressure_memtable_bytes(&engine->options);
    if ((nr_engine_is_full(engine) || payload_bytes >= full_bytes) && !nr_memtable_is_empty(engine->active)) {
        nori_status rc = rotate_locked(engine, err);
        if (rc != NORI_OK) return rc;
        *is_rotated = true;
    }
    size_t empty_bytes = atomic_load_explicit(&engine->active_empty_bytes, memory_order_relaxed);
    size_t next_bytes = nr_memtable_bytes(engine->active) + nr_pressure_step_bytes(&engine->options);
    engine->active_measure_bytes = NR_MIN(next_bytes, empty_bytes + full_bytes);
    return NORI_OK;
}

static nori_status commit_locked(struct nori_engine *engine, struct nr_commit *commit, bool no_wait, bool *is_rotated,
                                 bool *is_measured, bool *is_fatal, struct nori_error *err)
{
    size_t payload_bytes = commit->payload.data ? commit->payload.size : commit->value.size;
    nori_status rc = NORI_OK;
    if (NR_UNLIKELY(atomic_load_explicit(&engine->is_poisoned, memory_order_acquire)))
        return nr_fail_poisoned(engine, err);
    if (NR_UNLIKELY(atomic_load_explicit(&engine->is_gated, memory_order_relaxed)))
        return NR_FAIL(err, NORI_AGAIN, "an ingest is the next write");
    if (commit->condition && is_touched(engine, commit->condition)) return NORI_OK;
    if (no_wait && !nr_wal_is_mapped(engine->wal)) return NR_FAIL(err, NORI_AGAIN, "the log is written");
    if (no_wait && nr_workers_want_kick(engine)) return NR_FAIL(err, NORI_AGAIN, "a worker is to be woken");
    bool is_at_mark = payload_bytes >= nr_pressure_step_bytes(&engine->options) ||
                      nr_memtable_bytes(engine->active) >= engine->active_measure_bytes;
    if (NR_UNLIKELY(is_at_mark)) {
        /* What follows takes engine.lock. */
        if (no_wait) return NR_FAIL(err, NORI_AGAIN, "pressure is to be measured");
        *is_measured = true;
        rc = make_room_locked(engine, payload_bytes, is_rotated, err);
        if (rc != NORI_OK) return rc;
    }
    rc = apply_locked(engine, commit, no_wait, is_fatal, err);
    if (rc == NORI_OK) count_locked(engine, commit);
    return rc;
}

/* A batch larger than all memtables together may be waits until nothing waits for its flush. */
static nori_status admit_giant(struct nori_engine *engine, uint64_t bytes, bool no_wait, struct nori_error *err)
{
    uint64_t last_sequence;
    if (bytes <= (uint64_t)engine->options.resources.memtables_mib << 20) return NORI_OK;
    if (no_wait) return NR_FAIL(err, NORI_AGAIN, "a batch above the memtables' budget");
    nori_status rc = nr_engine_rotate(engine, &last_sequence, err);
    return rc == NORI_OK ? nr_flush_wait(engine, last_sequence, err) : rc;
}

static nori_status try_commit(struct nori_engine *engine, struct nr_commit *commit, bool no_wait,
                              struct nori_error *err)
{
    bool is_rotated = false, is_measured = false, is_fatal = false;
    struct nori_error own;
    uint64_t charge, bytes = commit->payload.data ? commit->payload.size : commit->key.size + commit->value.size;
    if (!err) err = &own; /* A failure of the log is remembered with its cause. */
    /* The user's bytes: a batch owes what its operations owe one by one. */
    nori_status rc = nr_pressure_admit(engine, commit->user_bytes, commit->put_count > 0, no_wait, &charge, err);
    if (rc != NORI_OK) return rc;
    rc = admit_giant(engine, bytes, no_wait, err);
    if (rc != NORI_OK) goto out;
    if (!no_wait) {
        nr_mutex_lock(&engine->commit_lock);
    } else if (!nr_mutex_trylock(&engine->commit_lock)) {
        rc = NR_FAIL(err, NORI_AGAIN, "another write is under way");
        goto out;
    }
    rc = commit_locked(engine, commit, no_wait, &is_rotated, &is_measured, &is_fatal, err);
    nr_mutex_unlock(&engine->commit_lock);
    if (NR_UNLIKELY(is_fatal)) {
        /* A store into memory cannot fail, but for a simulated disk that stops there. */
        bool was_try_only = nr_try_only(false);
        nr_engine_poison(engine, err);
        nr_try_only(was_try_only);
    }
    if (NR_UNLIKELY(is_rotated)) nr_workers_kick(engine);
    if (NR_UNLIKELY(is_measured)) nr_pressure_update(engine);
out:
    if (NR_UNLIKELY(charge != 0 && !commit->is_applied)) nr_pressure_refund(engine, charge);
    return rc;
}

static nori_status run(struct nori_engine *engine, struct nr_commit *commit, const struct nori_write_options *options,
                       bool no_wait, struct nori_error *err)
{
    bool is_synced = nr_commit_wants_sync(engine, options);
    enum nori_latency_op op =
        commit->type == NR_TYPE_DELETE && !commit->payload.data ? NORI_LATENCY_DELETE : NORI_LATENCY_PUT;
    struct nr_histogram *latency = &engine->latency[op];
    uint64_t begun_ns = 0;
    nori_status rc = NORI_OK;

    commit->is_applied = false;
    if (engine->is_read_only) return NR_FAIL(err, NORI_READ_ONLY, "%s is open for reading only", engine->path);
    if (is_synced && no_wait) return NR_FAIL(err, NORI_AGAIN, "the write waits for the disk");
    if (nr_is_timed(atomic_load_explicit(&latency->count, memory_order_relaxed))) begun_ns = nr_clock_ns();
    do {
        rc = no_wait ? NORI_OK : await_gate(engine, err);
        if (rc == NORI_OK) rc = try_commit(engine, commit, no_wait, err);
    } while (rc == NORI_AGAIN && !no_wait); /* Too many memtables waited: now the pressure is known, and holds it. */
    if (rc != NORI_OK || !commit->is_applied) return rc;
    if (is_synced) rc = nr_engine_sync(engine, commit->position, err);
    atomic_fetch_add_explicit(&latency->count, 1, memory_order_relaxed);
    if (begun_ns) nr_histogram_record(latency, nr_clock_ns() - begun_ns);
    if (!no_wait) nr_workers_after_write(engine);
    return rc;
}

nori_status nr_commit_run(struct nori_engine *engine, struct nr_commit *commit,
                          const struct nori_write_options *options, struct nori_error *err)
{
    bool no_wait = options && (options->flags & NORI_NO_WAIT);
    bool was_try_only = nr_try_only(no_wait);
    nori_status rc = run(engine, commit, options, no_wait, err);
    nr_try_only(was_try_only);
    return rc;
}

nori_status nr_engine_sync(struct nori_engine *engine, struct nr_position position, struct nori_error *err)
{
    struct nori_error own;
    if (!err) err = &own;
    uint64_t begun_ns = nr_clock_ns();
    bool has_waited = false;
    nori_status rc = NORI_OK;
    if (NR_UNLIKELY(atomic_load(&engine->is_recovery_pending))) {
        rc = nr_flush_wait(engine, engine->recovered_sequence, err);
        if (rc != NORI_OK) {
            err->outcome = NORI_INDETERMINATE;
            return rc;
        }
    }
    while ((rc = nr_wal_sync(engine->wal, position, &has_waited, err)) == NORI_AGAIN) {
        rc = nr_interrupt_ask(err);
        if (rc != NORI_OK) break;
    }
    if (rc != NORI_OK) {
        err->outcome = NORI_INDETERMINATE;
        if (rc != NORI_INTERRUPTED && rc != NORI_CLOSED && rc != NORI_NO_MEMORY) nr_engine_poison(engine, err);
        return rc;
    }
    if (NR_UNLIKELY(nr_wal_failure(engine->wal, &own))) nr_engine_poison(engine, &own);
    atomic_fetch_add_explicit(&engine->latency[NORI_LATENCY_SYNC].count, 1, memory_order_relaxed);
    nr_histogram_record(&engine->latency[NORI_LATENCY_SYNC], nr_clock_ns() - begun_ns);
    return NORI_OK;
}

nori_status nori_sync(struct nori_engine *engine, struct nori_error *err)
{
    unsigned stripe;
    nori_status rc = nr_call_enter(engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    if (engine->is_read_only)
        rc = NR_FAIL(err, NORI_READ_ONLY, "%s is open for reading only", engine->path);
    else if (atomic_load(&engine->is_poisoned))
        rc = nr_fail_poisoned(engine, err);
    else
        rc = nr_engine_sync(engine, nr_wal_end(engine->wal, NULL), err);
    if (rc == NORI_OK) nr_workers_run_inline(engine);
    nr_call_leave(engine);
    return rc;
}

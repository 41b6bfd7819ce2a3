/* Flushes: the oldest waiting memtables become a level 0 table, in sequence order. */
#include "engine/engine.h"

#include "base/alloc.h"

#define RETRY_US 100000

/* How many of the oldest waiting memtables go into one table: one, or several small ones. Where there was no space for
 * that, all every other time: what newer ones delete takes none. Only for who has is_flushing. */
static size_t choose_layers(const struct nori_engine *engine, const struct nr_view *view)
{
    size_t count = 0, bytes = 0;
    if (atomic_load_explicit(&engine->is_out_of_space, memory_order_relaxed) && engine->flush_attempts % 2 == 1)
        return view->layer_count - 1;
    for (size_t i = view->layer_count - 1; i >= 1; i--) {
        bytes += nr_memtable_bytes(view->layers[i].memtable);
        if (count > 0 && bytes > nr_pressure_memtable_bytes(&engine->options)) break;
        count++;
    }
    return count;
}

static nori_status install_flush(struct nori_engine *engine, const struct nr_view *view, size_t count,
                                 struct nr_run *run, uint64_t bytes, uint64_t begun_us, struct nori_error *err)
{
    size_t first = view->layer_count - count;
    struct nr_counters counters = {
        .flushed_sequence = nr_memtable_last_sequence(view->layers[first].memtable),
        .log_number = view->layers[first - 1].log_segment,
    };
    struct nr_edit *edit = NULL;
    uint64_t first_number = 0;
    nori_status rc = NORI_OK;
    NR_CHECK(nr_edit_create(&edit, err));
    if (run) {
        NR_CHECK(nr_edit_add_files(engine, edit, run, &first_number, err));
        NR_CHECK(nr_edit_push_l0(edit, run, err));
    }
    nr_edit_set_counters(edit, &counters);
    nr_turn_take(engine);
    rc = nr_install(engine, edit, count, err);
    /* In the turn, so that who waited for the flush finds its event. */
    if (rc == NORI_OK)
        NR_EVENT_EMIT(engine, NORI_EVENT_FLUSH, NULL, nr_slice(NULL, 0), (double)bytes, run ? (double)run->entries : 0,
                      (double)count, (double)(nr_env_monotonic_us(engine->env) - begun_us));
    nr_turn_give(engine);
out:
    nr_edit_destroy(edit);
    return rc;
}

static nori_status flush_layers(struct nori_engine *engine, const struct nr_view *view, size_t count,
                                struct nori_error *err)
{
    struct nr_memtable *memtables[NR_MAX_LAYERS];
    struct nr_moment *moments = NULL;
    struct nr_run *run = NULL;
    size_t moment_count = 0, first = view->layer_count - count;
    uint64_t bytes = 0, begun_us = nr_env_monotonic_us(engine->env);
    struct nr_merge_context context = engine->merging;
    struct nr_arrivals arrivals;
    nori_status rc = NORI_OK;
    context.admit_bytes = NULL; /* Flushes always get in, also when the engine closes. */
    context.note_entry = nr_arrivals_note;
    context.note_arg = &arrivals;
    NR_CHECK(nr_arrivals_begin(&arrivals, view->version, err));
    for (size_t i = 0; i < count; i++) memtables[i] = view->layers[first + i].memtable;
    NR_CHECK(nr_moments_collect(engine, &moments, &moment_count, err));
    NR_CHECK(nr_flush_execute(&context, memtables, count, moments, moment_count, nr_engine_now_ms(engine), &run, &bytes,
                              err));
    atomic_fetch_add_explicit(&engine->flush_bytes_written, bytes, memory_order_relaxed);
    NR_CHECK(install_flush(engine, view, count, run, bytes, begun_us, err));
    nr_epoch_collect(&engine->epoch);
    nr_arrivals_count(&arrivals, run ? run->bytes : 0);
    nr_learn_flush(engine, run);
out:
    nr_arrivals_clear(&arrivals);
    nr_free(moments);
    nr_run_unref(run);
    return rc;
}

static bool begin_flush(struct nori_engine *engine)
{
    nr_mutex_lock(&engine->lock);
    bool may = !engine->is_flushing && !atomic_load(&engine->is_poisoned);
    if (may) engine->is_flushing = true;
    nr_mutex_unlock(&engine->lock);
    return may;
}

static void end_flush(struct nori_engine *engine, nori_status status, const struct nori_error *error)
{
    if (status != NORI_OK) nr_event_failure(engine, "flush", error);
    nr_mutex_lock(&engine->lock);
    engine->is_flushing = false;
    engine->flush_attempts++;
    engine->flush_status = status;
    engine->unsplittable_count = engine->unsplittable_next = 0; /* New data may bring keys to cut at. */
    if (status != NORI_OK)
        engine->flush_error = *error;
    else
        nr_pressure_work_ended(engine);
    nr_pressure_note_space(engine, status, error);
    engine->flush_retry_us = status == NORI_OK ? 0 : nr_env_monotonic_us(engine->env) + RETRY_US;
    if (atomic_load(&engine->flushed_sequence) >= engine->recovered_sequence)
        atomic_store(&engine->is_recovery_pending, false);
    nr_cond_broadcast(&engine->done_cond);
    nr_mutex_unlock(&engine->lock);
}

nori_status nr_flush_once(struct nori_engine *engine, bool *done_out, struct nori_error *err)
{
    struct nori_error own;
    nori_status rc = NORI_OK;
    *done_out = false;
    if (!err) err = &own;
    if (!begin_flush(engine)) return NORI_OK;
    struct nr_view *view = nr_view_acquire(engine);
    if (view->layer_count > 1) {
        rc = flush_layers(engine, view, choose_layers(engine, view), err);
        *done_out = rc == NORI_OK;
        nr_view_release(view);
        end_flush(engine, rc, err);
        if (rc != NORI_OK) return rc;
        nr_log_collect(engine);
        return NORI_OK;
    }
    nr_view_release(view);
    nr_mutex_lock(&engine->lock);
    engine->is_flushing = false;
    nr_cond_broadcast(&engine->done_cond);
    nr_mutex_unlock(&engine->lock);
    return NORI_OK;
}

nori_status nr_flush_wait(struct nori_engine *engine, uint64_t sequence, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    nr_mutex_lock(&engine->lock);
    uint64_t attempts = engine->flush_attempts + engine->is_flushing; /* One that began before does not speak for us. */
    engine->flush_retry_us = 0;
    nr_mutex_unlock(&engine->lock);
    nr_workers_kick(engine);
    nr_mutex_lock(&engine->lock);
    while (rc == NORI_OK && atomic_load(&engine->flushed_sequence) < sequence) {
        if (atomic_load(&engine->is_poisoned)) {
            rc = nr_fail_poisoned(engine, err);
        } else if (engine->flush_attempts > attempts && engine->flush_status != NORI_OK) {
            if (err) *err = engine->flush_error;
            rc = engine->flush_status;
        } else {
            rc = nr_workers_wait_turn(engine, 1000000, err);
        }
    }
    nr_mutex_unlock(&engine->lock);
    nr_pressure_update(engine); /* The flush may not have ended yet: its caller finds the pressure that it leaves. */
    return rc;
}

nori_status nori_flush(struct nori_engine *engine, struct nori_error *err)
{
    unsigned stripe;
    uint64_t last_sequence;
    nori_status rc = nr_call_enter(engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    if (engine->is_read_only)
        rc = NR_FAIL(err, NORI_READ_ONLY, "%s is open for reading only", engine->path);
    else if (atomic_load(&engine->is_poisoned))
        rc = nr_fail_poisoned(engine, err);
    if (rc == NORI_OK) rc = nr_engine_rotate(engine, &last_sequence, err);
    if (rc == NORI_OK) rc = nr_flush_wait(engine, last_sequence, err);
    nr_call_leave(engine);
    return rc;
}

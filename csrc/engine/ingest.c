/* Ingest: a bulk load, which becomes the next write when it is committed.
 *
 * From the second batch on a thread of its own writes the tables, one batch, while the caller gathers the next. What it
 * fails with is the result of the next call.
 *
 * Its tables are written while others read and write, without sequences (compact/bulk.h). To commit, writers wait at
 * the gate, what they have written is flushed, and the tables get the sequence that comes next: so they are newer than
 * everything in the tree, older than what comes, and a snapshot or a reader sees all of them or none. The edit is
 * durable before the sequence is published; all before it is in tables, so that no crash leaves a hole (P2). */
#include "engine/engine.h"

#include "base/alloc.h"
#include "compact/bulk.h"

struct nori_ingest {
    struct nori_engine *engine;
    struct nr_merge_context context;
    struct nr_bulk bulk; /* The writing thread's while has_batch. */
    struct nr_mutex lock;
    struct nr_cond changed;
    struct nr_buffer batch NR_GUARDED; /* By lock; the writing thread's while has_batch. Operations. */
    bool has_batch NR_GUARDED;         /* By lock, as all up to 'error'. */
    bool is_ending NR_GUARDED;         /* The thread is to end. */
    nori_status status NR_GUARDED;     /* What it failed with, */
    struct nori_error error NR_GUARDED;
    struct nr_thread *thread; /* Of who adds; once the ingest is off the list, of who took it off. NULL: none. */
    bool has_added;           /* Of who adds. */
    struct nori_ingest *previous, *next NR_GUARDED; /* By pin_lock. */
    bool is_listed NR_GUARDED;                      /* By pin_lock; else the bulk was given back. */
    bool is_failed;                                 /* Or committed: nothing more is taken. */
};

/* ---------------------------------------------------------------- life */

static void list(struct nori_ingest *ingest)
{
    struct nori_engine *engine = ingest->engine;
    nr_mutex_lock(&engine->pin_lock);
    ingest->next = engine->ingests;
    if (ingest->next) ingest->next->previous = ingest;
    engine->ingests = ingest;
    ingest->is_listed = true;
    nr_mutex_unlock(&engine->pin_lock);
}

/* False if another did. Who takes it off the list gives its bulk back. */
static bool unlist(struct nori_ingest *ingest)
{
    struct nori_engine *engine = ingest->engine;
    nr_mutex_lock(&engine->pin_lock);
    bool was_listed = ingest->is_listed;
    if (was_listed) {
        if (ingest->previous)
            ingest->previous->next = ingest->next;
        else
            engine->ingests = ingest->next;
        if (ingest->next) ingest->next->previous = ingest->previous;
        ingest->previous = ingest->next = NULL;
        ingest->is_listed = false;
    }
    nr_mutex_unlock(&engine->pin_lock);
    return was_listed;
}

/* By who took it off the list. */
static void give_back(struct nori_ingest *ingest)
{
    nr_mutex_lock(&ingest->lock);
    ingest->is_ending = true;
    nr_cond_broadcast(&ingest->changed);
    nr_mutex_unlock(&ingest->lock);
    if (ingest->thread) nr_thread_join(ingest->thread);
    ingest->thread = NULL;
    nr_bulk_clear(&ingest->bulk);
}

void nr_ingests_release(struct nori_engine *engine)
{
    for (;;) {
        nr_mutex_lock(&engine->pin_lock);
        struct nori_ingest *ingest = engine->ingests;
        nr_mutex_unlock(&engine->pin_lock);
        if (!ingest) return;
        if (unlist(ingest)) give_back(ingest);
    }
}

static void destroy(struct nori_ingest *ingest)
{
    nr_buffer_clear(&ingest->batch);
    nr_cond_destroy(&ingest->changed);
    nr_mutex_destroy(&ingest->lock);
    nr_free(ingest);
}

/* Where its tables will end up. */
static uint32_t choose_level(struct nori_engine *engine)
{
    struct nr_view *view = nr_view_acquire(engine);
    size_t level = view->version->level_count - 1;
    while (level > 1 && view->version->levels[level]->max_run_count == 0) level--;
    nr_view_release(view);
    return (uint32_t)level;
}

nori_status nori_ingest_create(struct nori_engine *engine, bool sorted, struct nori_ingest **ingest_out,
                               struct nori_error *err)
{
    unsigned stripe;
    struct nori_ingest *ingest = NULL;
    *ingest_out = NULL;
    nori_status rc = nr_call_enter(engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    if (engine->is_read_only) NR_CHECK(NR_FAIL(err, NORI_READ_ONLY, "%s is open for reading only", engine->path));
    ingest = nr_calloc(1, sizeof *ingest);
    if (!ingest) {
        rc = nr_fail_memory(err, sizeof *ingest);
        goto out;
    }
    nr_mutex_init(&ingest->lock, NR_RANK_LEAF);
    nr_cond_init(&ingest->changed);
    ingest->engine = engine;
    ingest->context = engine->merging;
    ingest->context.admit_bytes = NULL; /* The rate limit is compaction's. */
    const struct nr_bulk_params params = {
        .context = &ingest->context,
        .level = choose_level(engine),
        .pile_bytes = engine->options.memtable.flush_trigger_bytes,
        .created_ms = nr_engine_now_ms(engine),
        .must_ascend = sorted,
    };
    NR_CHECK(nr_bulk_init(&ingest->bulk, &params, err));
    list(ingest);
    *ingest_out = ingest;
    ingest = NULL;
out:
    if (ingest) destroy(ingest);
    nr_call_leave(engine);
    return rc;
}

void nori_ingest_destroy(struct nori_ingest *ingest)
{
    if (!ingest) return;
    struct nori_engine *engine = ingest->engine;
    if (engine->fork_generation != nr_fork_generation()) return; /* The parent's; its locks may be taken. */
    /* Inside whatever the engine's state is: close() waits until nothing of its own is held here. */
    unsigned stripe = nr_call_hold(engine);
    if (unlist(ingest)) {
        give_back(ingest);
        nr_workers_kick(engine); /* Its tables are to be unlinked. */
    }
    nr_call_release(engine, stripe);
    destroy(ingest);
}

/* ---------------------------------------------------------------- taking pairs */

static nori_status check_usable(const struct nori_ingest *ingest, struct nori_error *err)
{
    if (atomic_load(&ingest->engine->is_poisoned)) return nr_fail_poisoned(ingest->engine, err);
    if (ingest->is_failed) return NR_FAIL(err, NORI_INVALID, "the ingest has ended");
    return NORI_OK;
}

static void write_batches(void *arg)
{
    struct nori_ingest *ingest = arg;
    struct nori_error error;
    nr_mutex_lock(&ingest->lock);
    while (!ingest->is_ending) {
        if (!ingest->has_batch) {
            nr_cond_wait(&ingest->changed, &ingest->lock);
            continue;
        }
        nr_mutex_unlock(&ingest->lock);
        nori_status rc = nr_bulk_add(&ingest->bulk, nr_buffer_slice(&ingest->batch), &error);
        nr_mutex_lock(&ingest->lock);
        ingest->has_batch = false;
        if (rc != NORI_OK) {
            ingest->status = rc;
            ingest->error = error;
        }
        nr_cond_broadcast(&ingest->changed);
    }
    nr_mutex_unlock(&ingest->lock);
}

/* Until nothing is left to write. The thread's hook may be asked, and may close the engine: NORI_CLOSED. */
static nori_status wait_for_thread(struct nori_ingest *ingest, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    nr_mutex_lock(&ingest->lock);
    while (ingest->has_batch && rc == NORI_OK) rc = nr_cond_wait_turn(&ingest->changed, &ingest->lock, 1000000, err);
    if (rc == NORI_OK && ingest->status != NORI_OK) {
        rc = ingest->status;
        if (err) *err = ingest->error;
    }
    nr_mutex_unlock(&ingest->lock);
    return rc;
}

static nori_status hand_over(struct nori_ingest *ingest, nori_slice operations, struct nori_error *err)
{
    nori_status rc = wait_for_thread(ingest, err);
    if (rc != NORI_OK) return rc;
    nr_mutex_lock(&ingest->lock);
    rc = nr_buffer_assign(&ingest->batch, operations, err);
    ingest->has_batch = rc == NORI_OK;
    nr_cond_broadcast(&ingest->changed);
    nr_mutex_unlock(&ingest->lock);
    return rc;
}

/* Not for one batch, and not where there are no threads. */
static bool has_thread(struct nori_ingest *ingest)
{
    struct nori_env *env = ingest->engine->env;
    if (!ingest->thread && ingest->has_added && !env->inline_background &&
        nr_thread_start(env, "nori-ingest", write_batches, ingest, &ingest->thread, NULL) != NORI_OK)
        ingest->thread = NULL;
    ingest->has_added = true;
    return ingest->thread != NULL;
}

nori_status nori_ingest_add(struct nori_ingest *ingest, const struct nori_batch *batch, struct nori_error *err)
{
    struct nori_engine *engine = ingest->engine;
    unsigned stripe;
    nori_status rc = nr_call_enter(engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    rc = check_usable(ingest, err);
    if (rc == NORI_OK && has_thread(ingest))
        rc = hand_over(ingest, nr_buffer_slice(&batch->payload), err);
    else if (rc == NORI_OK)
        rc = nr_bulk_add(&ingest->bulk, nr_buffer_slice(&batch->payload), err);
    if (rc != NORI_OK) ingest->is_failed = true;
    nr_call_leave(engine);
    return rc;
}

/* ---------------------------------------------------------------- commit */

/* Behind the gate, with nothing in memtables. */
static nori_status install(struct nori_engine *engine, struct nr_run *run, uint64_t sequence, struct nori_error *err)
{
    struct nr_edit *edit = NULL;
    struct nr_run *stamped = NULL;
    uint64_t first_number = 0, begun_us = nr_env_monotonic_us(engine->env);
    nori_status rc = NORI_OK;
    NR_CHECK(nr_bulk_stamp(run, sequence, engine->merging.next_run_id(engine), &stamped, err));
    NR_CHECK(nr_edit_create(&edit, err));
    NR_CHECK(nr_edit_add_files(engine, edit, stamped, &first_number, err));
    NR_CHECK(nr_edit_push_l0(edit, stamped, err));
    nr_edit_set_counters(edit, &(struct nr_counters){.flushed_sequence = sequence});
    nr_turn_take(engine);
    rc = nr_install_stamped(engine, edit, sequence, err);
    if (rc == NORI_OK)
        NR_EVENT_EMIT(engine, NORI_EVENT_FLUSH, NULL, nr_slice(NULL, 0), (double)stamped->bytes,
                      (double)stamped->entries, 0, (double)(nr_env_monotonic_us(engine->env) - begun_us));
    nr_turn_give(engine);
    if (rc == NORI_OK) nr_learn_flush(engine, stamped);
out:
    nr_edit_destroy(edit);
    nr_run_unref(stamped);
    return rc;
}

static nori_status become_next_write(struct nori_engine *engine, struct nr_run *run, uint64_t *sequence_out,
                                     struct nori_error *err)
{
    uint64_t last_sequence, charge;
    /* Before the gate: most of what waits is flushed while writers go on, and level 0 has room. */
    nori_status rc = nr_engine_rotate(engine, &last_sequence, err);
    if (rc == NORI_OK) rc = nr_flush_wait(engine, last_sequence, err);
    if (rc == NORI_OK) rc = nr_pressure_admit(engine, 0, true, false, &charge, err);
    if (rc == NORI_OK) rc = nr_commit_gate(engine, &last_sequence, err);
    if (rc != NORI_OK) return rc;
    /* What the thread's hook writes would wait for the gate, which only this thread opens. */
    bool was_held = nr_interrupt_hold(true);
    rc = nr_flush_wait(engine, last_sequence, err);
    bool is_flushed = rc == NORI_OK;
    if (is_flushed) rc = install(engine, run, last_sequence + 1, err);
    /* What the manifest could not be told for sure may be found when the database is opened again. */
    if (rc != NORI_OK && err)
        err->outcome = is_flushed && atomic_load(&engine->is_poisoned) ? NORI_INDETERMINATE : NORI_NOT_APPLIED;
    *sequence_out = last_sequence + (rc == NORI_OK);
    nr_commit_ungate(engine, *sequence_out);
    (void)nr_interrupt_hold(was_held);
    nr_workers_kick(engine);
    nr_pressure_update(engine);
    return rc;
}

static void count(struct nori_engine *engine, const struct nr_bulk *bulk)
{
    atomic_fetch_add_explicit(&engine->user_bytes_written, bulk->user_bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&engine->puts, bulk->pair_count, memory_order_relaxed);
    atomic_fetch_add_explicit(&engine->flush_bytes_written, bulk->bytes_written, memory_order_relaxed);
}

nori_status nori_ingest_commit(struct nori_ingest *ingest, struct nori_ingest_result *result_out,
                               struct nori_error *err)
{
    struct nori_engine *engine = ingest->engine;
    struct nr_run *run = NULL;
    unsigned stripe;
    nori_status rc = nr_call_enter(engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    NR_CHECK(check_usable(ingest, err));
    ingest->is_failed = true;
    NR_CHECK(wait_for_thread(ingest, err));
    NR_CHECK(nr_bulk_finish(&ingest->bulk, &run, err));
    *result_out = (struct nori_ingest_result){ingest->bulk.pair_count, atomic_load(&engine->published_sequence)};
    if (!run) goto out;
    NR_CHECK(become_next_write(engine, run, &result_out->sequence, err));
    count(engine, &ingest->bulk);
    nr_workers_run_inline(engine);
out:
    nr_run_unref(run);
    nr_call_leave(engine);
    return rc;
}

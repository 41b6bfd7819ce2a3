/* Point reads: memtables, then level 0, then each level's slot, newest first (design 6). */
#include "engine/engine.h"

/* One run: its slice over the key, that slice's table. */
static nori_status search_run(struct nori_engine *engine, const struct nr_run *run, struct nr_lookup *lookup,
                              struct nr_read *read, struct nori_error *err)
{
    struct nr_table *table = NULL;
    const struct nr_table_slice *slice = nr_run_find(run, lookup->key);
    if (!slice) return NORI_OK;
    read->runs_probed++;
    nori_status rc = nr_table_cache_find(engine->tables, &slice->file->handle, read, &table, err);
    return rc == NORI_OK ? nr_table_get(table, lookup, read, err) : rc;
}

static nori_status search_slot(struct nori_engine *engine, const struct nr_slot *slot, struct nr_lookup *lookup,
                               struct nr_read *read, struct nori_error *err)
{
    for (size_t i = 0; i < slot->run_count; i++) {
        nori_status rc = search_run(engine, slot->runs[i], lookup, read, err);
        if (rc != NORI_OK || nr_lookup_decided(lookup)) return rc;
    }
    return NORI_OK;
}

/* A read that ended above level 1 knows no slot. One in so many looks for its own, and stands for the others. */
#define SHELTERED_PER_SAMPLE 64

static void count_sheltered(struct nori_engine *engine, const struct nr_version *version, nori_slice key)
{
    unsigned index = nr_epoch_stripe_of_thread();
    _Atomic uint64_t *counter = &engine->stripes[index].sheltered;
    uint64_t nth = atomic_load_explicit(counter, memory_order_relaxed) + 1;
    atomic_store_explicit(counter, nth, memory_order_relaxed);
    if (NR_LIKELY(nth % SHELTERED_PER_SAMPLE != 0) || version->level_count < 2) return;
    nr_activity_count_sheltered(nr_level_find(version->levels[1], key)->activity, index, SHELTERED_PER_SAMPLE);
}

nori_status nr_view_search(struct nori_engine *engine, const struct nr_view *view, struct nr_lookup *lookup,
                           struct nr_read *read, struct nori_error *err)
{
    const struct nr_version *version = view->version;
    for (size_t i = 0; i < view->layer_count; i++) {
        nr_memtable_get(view->layers[i].memtable, lookup);
        if (!nr_lookup_decided(lookup)) continue;
        count_sheltered(engine, version, lookup->key);
        return NORI_OK;
    }
    nr_learn_search(engine, lookup->key);
    for (size_t level = 0; level < version->level_count; level++) {
        if (version->levels[level]->max_run_count == 0) continue;
        const struct nr_slot *slot = nr_level_find(version->levels[level], lookup->key);
        uint64_t probed_before = read->runs_probed;
        nori_status rc = search_slot(engine, slot, lookup, read, err);
        if (level > 0 && rc != NORI_AGAIN)
            nr_activity_count_search(slot->activity, nr_epoch_stripe_of_thread(), read->runs_probed - probed_before);
        if (level == 0 && rc == NORI_OK && nr_lookup_decided(lookup)) count_sheltered(engine, version, lookup->key);
        if (rc != NORI_OK || nr_lookup_decided(lookup)) return rc;
    }
    return NORI_OK;
}

static void add(_Atomic uint64_t *counter, uint64_t more)
{
    if (more) atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

void nr_read_account(struct nori_engine *engine, unsigned stripe, struct nr_read *read)
{
    struct nr_stripe *counters = &engine->stripes[stripe];
    add(&counters->runs_probed, read->runs_probed);
    add(&counters->blocks_read, read->blocks_read);
    add(&counters->cache_hits, read->cache_hits);
    add(&counters->cache_misses, read->cache_misses);
    add(&counters->filter_negatives, read->filter_negatives);
    add(&counters->filter_false_positives, read->filter_false_positives);
    nr_read_clear(read);
    *read = (struct nr_read){
        .no_wait = read->no_wait,
        .is_scan = read->is_scan,
        .held_bytes = read->held_bytes,
        .accounted_bytes = read->accounted_bytes,
    };
}

/* The epoch stands for the call: close() waits for it, too. */
static nori_status enter(struct nori_engine *engine, unsigned *stripe_out, struct nori_error *err)
{
    if (NR_UNLIKELY(nr_is_gone(engine))) return nr_fail_gone(engine, err);
    *stripe_out = nr_epoch_enter(&engine->epoch);
    if (NR_LIKELY(atomic_load_explicit(&engine->state, memory_order_seq_cst) == NR_STATE_OPEN)) return NORI_OK;
    nr_epoch_leave(&engine->epoch, *stripe_out);
    return nr_fail_closed(engine, err);
}

nori_status nori_get(struct nori_engine *engine, const struct nori_snapshot *snapshot, nori_slice key, unsigned flags,
                     nori_value_fn fn, void *arg, bool *found_out, struct nori_error *err)
{
    unsigned stripe = 0;
    struct nr_read read = {.no_wait = flags & NORI_NO_WAIT};
    nori_slice value;
    bool has_missed = false;
    *found_out = false;
    nori_status rc = enter(engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    bool was_try_only = nr_try_only(read.no_wait);
    uint64_t nth = atomic_load_explicit(&engine->stripes[stripe].gets, memory_order_relaxed);
    uint64_t begun_ns = nr_is_timed(nth) ? nr_clock_ns() : 0;
    /* The view first, then the sequence: all that the view lacks was written after the call began. */
    struct nr_view *view = nr_view_peek(engine);
    struct nr_moment moment;
    if (snapshot)
        moment = nr_snapshot_moment(snapshot);
    else
        moment = (struct nr_moment){atomic_load_explicit(&engine->published_sequence, memory_order_acquire), 0};
    struct nr_lookup lookup = {.key = key, .hash = nr_hash_key(key), .sequence = moment.sequence};
    NR_CHECK(nr_judge_read(engine, nr_view_search(engine, view, &lookup, &read, err), err));
    if (lookup.found) {
        if (!snapshot && nr_tag_type(lookup.tag) == NR_TYPE_PUT_EXPIRING) moment.now_ms = nr_engine_now_ms(engine);
        *found_out = nr_lookup_value(&lookup, moment.now_ms, &value);
        if (*found_out && fn && !fn(arg, value)) rc = nr_fail_memory(err, value.size);
    }
    atomic_fetch_add_explicit(&engine->stripes[stripe].gets, 1, memory_order_relaxed);
    if (begun_ns) nr_histogram_record(&engine->latency[NORI_LATENCY_GET], nr_clock_ns() - begun_ns);
out:
    has_missed = read.blocks_read + read.tables_opened > 0;
    if (rc == NORI_AGAIN)
        nr_read_clear(&read); /* Asked again, and counted then. */
    else
        nr_read_account(engine, stripe, &read);
    nr_epoch_leave(&engine->epoch, stripe);
    /* Blocks evicted by a read cannot be freed while it is inside. */
    if (has_missed) nr_epoch_sweep(&engine->epoch);
    nr_try_only(was_try_only);
    return rc;
}

nori_status nori_get_many(struct nori_engine *engine, const struct nori_snapshot *snapshot, const nori_slice *keys,
                          size_t count, unsigned flags, nori_values_fn fn, void *arg, struct nori_error *err)
{
    unsigned call, stripe;
    struct nr_view *view = NULL;
    struct nr_read read = {.no_wait = flags & NORI_NO_WAIT};
    nori_status rc = nr_call_enter(engine, &call, err);
    if (rc != NORI_OK) return rc;
    bool was_try_only = nr_try_only(read.no_wait);
    /* Who may not wait must not be the last to hold a view, which takes locks: one section around all. */
    unsigned around = nr_epoch_enter(&engine->epoch);
    view = read.no_wait ? nr_view_peek(engine) : nr_view_acquire(engine);
    if (!read.no_wait) nr_epoch_leave(&engine->epoch, around);
    uint64_t missed = 0;
    struct nr_moment moment = {atomic_load_explicit(&engine->published_sequence, memory_order_seq_cst),
                               nr_engine_now_ms(engine)};
    if (snapshot) moment = nr_snapshot_moment(snapshot);
    for (size_t i = 0; i < count && rc == NORI_OK; i++) {
        struct nr_lookup lookup = {.key = keys[i], .hash = nr_hash_key(keys[i]), .sequence = moment.sequence};
        nori_slice value;
        /* A section for each key: values live as long as it. */
        stripe = nr_epoch_enter(&engine->epoch);
        rc = nr_judge_read(engine, nr_view_search(engine, view, &lookup, &read, err), err);
        if (rc == NORI_OK && nr_lookup_value(&lookup, moment.now_ms, &value) && !fn(arg, i, value))
            rc = nr_fail_memory(err, value.size);
        nr_read_clear(&read);
        nr_epoch_leave(&engine->epoch, stripe);
        if (read.blocks_read + read.tables_opened != missed) nr_epoch_sweep(&engine->epoch);
        missed = read.blocks_read + read.tables_opened;
        if (rc == NORI_OK && !read.no_wait) rc = nr_interrupt_poll(err);
    }
    if (rc != NORI_AGAIN) {
        atomic_fetch_add_explicit(&engine->stripes[call].gets, count, memory_order_relaxed);
        nr_read_account(engine, call, &read);
    }
    if (read.no_wait)
        nr_epoch_leave(&engine->epoch, around);
    else
        nr_view_release(view);
    nr_try_only(was_try_only);
    nr_call_leave(engine);
    return rc;
}

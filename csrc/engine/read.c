/* Point reads: one key, many keys. search.c has the way through the sources. */
#include "engine/search.h"

static void add(_Atomic uint64_t *counter, uint64_t more, bool is_alone)
{
    if (more == 0) return;
    if (is_alone)
        atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more,
                              memory_order_relaxed);
    else
        atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

static void count(struct nr_stripe *stripe, uint64_t gets, const struct nr_read *read, bool is_alone)
{
    struct nr_read_counts *counts = is_alone ? &stripe->alone : &stripe->shared;
    add(&counts->gets, gets, is_alone);
    add(&counts->runs_probed, read->runs_probed, is_alone);
    add(&counts->blocks_read, read->blocks_read, is_alone);
    add(&counts->cache_hits, read->cache_hits, is_alone);
    add(&counts->cache_misses, read->cache_misses, is_alone);
    add(&counts->filter_negatives, read->filter_negatives, is_alone);
    add(&counts->filter_false_positives, read->filter_false_positives, is_alone);
}

/* From here on gets take the index first. A filter that says no spares the index, but has to be waited for. */
#define EXPECTED_MAYBES (NR_MOST_MAYBES / 2)

/* A lookup in the index costs less than waiting: of three filters one that says maybe is enough. */
static void learn_maybes(struct nr_stripe *stripe, const struct nr_read *read)
{
    uint8_t maybes = atomic_load_explicit(&stripe->maybes, memory_order_relaxed);
    bool is_one = 3 * read->filter_negatives <= 2 * read->runs_probed;
    if (read->runs_probed == 0 || maybes == (is_one ? NR_MOST_MAYBES : 0)) return;
    atomic_store_explicit(&stripe->maybes, (uint8_t)(is_one ? maybes + 1 : maybes - 1), memory_order_relaxed);
}

void nr_read_account(struct nori_engine *engine, unsigned stripe, struct nr_read *read)
{
    count(&engine->stripes[stripe], 0, read, false);
    nr_read_clear(read);
    *read = (struct nr_read){
        .no_wait = read->no_wait,
        .is_scan = read->is_scan,
        .held_bytes = read->held_bytes,
        .accounted_bytes = read->accounted_bytes,
    };
}

void nr_read_sweep(struct nori_engine *engine)
{
    nr_epoch_sweep(&engine->epoch);
    if (nr_epoch_is_behind(&engine->epoch) && nr_engine_has_threads(engine)) nr_workers_hint(engine);
}

static void sum(struct nr_read_totals *totals, const struct nr_read_counts *counts)
{
    totals->gets += atomic_load_explicit(&counts->gets, memory_order_relaxed);
    totals->runs_probed += atomic_load_explicit(&counts->runs_probed, memory_order_relaxed);
    totals->blocks_read += atomic_load_explicit(&counts->blocks_read, memory_order_relaxed);
    totals->cache_hits += atomic_load_explicit(&counts->cache_hits, memory_order_relaxed);
    totals->cache_misses += atomic_load_explicit(&counts->cache_misses, memory_order_relaxed);
    totals->filter_negatives += atomic_load_explicit(&counts->filter_negatives, memory_order_relaxed);
    totals->filter_false_positives += atomic_load_explicit(&counts->filter_false_positives, memory_order_relaxed);
}

struct nr_read_totals nr_read_sum(const struct nori_engine *engine)
{
    struct nr_read_totals totals = {0};
    for (unsigned i = 0; i < NR_EPOCH_STRIPES; i++) {
        sum(&totals, &engine->stripes[i].shared);
        sum(&totals, &engine->stripes[i].alone);
    }
    return totals;
}

/* The epoch stands for the call: close() waits for it, too. */
static nori_status enter(struct nori_engine *engine, unsigned *stripe_out, bool *is_alone_out, struct nori_error *err)
{
    if (NR_UNLIKELY(nr_is_gone(engine))) return nr_fail_gone(engine, err);
    *stripe_out = nr_epoch_enter_alone(&engine->epoch, is_alone_out);
    if (NR_LIKELY(atomic_load_explicit(&engine->state, memory_order_seq_cst) == NR_STATE_OPEN)) return NORI_OK;
    nr_epoch_leave(&engine->epoch, *stripe_out);
    return nr_fail_closed(engine, err);
}

static nori_status get(struct nori_engine *engine, const struct nori_snapshot *snapshot, nori_slice key,
                       struct nr_read *read, nori_value_fn fn, void *arg, bool *found_out, struct nori_error *err)
{
    unsigned index = 0;
    nori_slice value;
    bool has_missed = false, is_alone = false;
    *found_out = false;
    nori_status rc = enter(engine, &index, &is_alone, err);
    if (rc != NORI_OK) return rc;
    bool was_try_only = nr_try_only(read->no_wait);
    struct nr_stripe *stripe = &engine->stripes[index];
    uint64_t nth = atomic_load_explicit(is_alone ? &stripe->alone.gets : &stripe->shared.gets, memory_order_relaxed);
    uint64_t begun_ns = nr_is_timed(nth) ? nr_clock_ns() : 0;
    read->index_first = atomic_load_explicit(&stripe->maybes, memory_order_relaxed) >= EXPECTED_MAYBES;
    /* The view first, then the sequence: all that the view lacks was written after the call began. */
    struct nr_view *view = nr_view_peek(engine);
    struct nr_moment moment;
    if (snapshot)
        moment = nr_snapshot_moment(snapshot);
    else
        moment = (struct nr_moment){atomic_load_explicit(&engine->published_sequence, memory_order_acquire), 0};
    struct nr_lookup lookup = {.key = key, .hash = nr_hash_key(key), .sequence = moment.sequence};
    NR_CHECK(nr_judge_read(engine, nr_view_search(engine, view, &lookup, read, err), err));
    if (lookup.found) {
        if (!snapshot && nr_tag_type(lookup.tag) == NR_TYPE_PUT_EXPIRING) moment.now_ms = nr_engine_now_ms(engine);
        *found_out = nr_lookup_value(&lookup, moment.now_ms, &value);
        if (*found_out && fn && !fn(arg, value)) rc = nr_fail_memory(err, value.size);
    }
    if (begun_ns) nr_histogram_record(&engine->latency[NORI_LATENCY_GET], nr_clock_ns() - begun_ns);
out:
    has_missed = read->blocks_read + read->tables_opened > 0;
    if (rc != NORI_AGAIN) count(stripe, rc == NORI_OK, read, is_alone); /* Else asked again, and counted then. */
    learn_maybes(stripe, read);
    nr_read_clear(read);
    nr_epoch_leave(&engine->epoch, index);
    /* Blocks evicted by a read cannot be freed while it is inside. */
    if (has_missed) nr_read_sweep(engine);
    nr_try_only(was_try_only);
    return rc;
}

nori_status nori_get(struct nori_engine *engine, const struct nori_snapshot *snapshot, nori_slice key, unsigned flags,
                     nori_value_fn fn, void *arg, bool *found_out, struct nori_error *err)
{
    struct nr_read read = {.no_wait = flags & NORI_NO_WAIT};
    return get(engine, snapshot, key, &read, fn, arg, found_out, err);
}

nori_status nori_get_patient(struct nori_engine *engine, const struct nori_snapshot *snapshot, nori_slice key,
                             void (*waiting)(void *arg), nori_value_fn fn, void *arg, bool *found_out,
                             struct nori_error *err)
{
    struct nr_read read = {.no_wait = true, .waiting = waiting, .waiting_arg = arg};
    return get(engine, snapshot, key, &read, fn, arg, found_out, err);
}

/* Many keys of one moment. */
struct group {
    struct nori_engine *engine;
    struct nr_view *view;
    struct nr_moment moment;
    struct nr_read read;
    nori_values_fn fn;
    void *arg;
    size_t first; /* Position of the first key of those under way. */
    size_t count; /* Of these. */
    struct nr_lookup lookups[NR_SEARCHES_TOGETHER];
    struct nr_search searches[NR_SEARCHES_TOGETHER];
};

static nori_status hand_out(struct group *group, size_t index, struct nori_error *err)
{
    nori_slice value;
    if (!nr_lookup_value(&group->lookups[index], group->moment.now_ms, &value)) return NORI_OK;
    return group->fn(group->arg, group->first + index, value) ? NORI_OK : nr_fail_memory(err, value.size);
}

/* Those that what is in memory answers. The others' steps are not NULL. */
static nori_status search_memory(struct group *group, const nori_slice *keys, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    bool no_wait = group->read.no_wait;
    group->read.no_wait = true;
    unsigned stripe = nr_epoch_enter(&group->engine->epoch);
    for (size_t i = 0; i < group->count; i++) {
        group->lookups[i] =
            (struct nr_lookup){.key = keys[i], .hash = nr_hash_key(keys[i]), .sequence = group->moment.sequence};
        nr_search_begin(&group->searches[i], group->engine, group->view, &group->lookups[i], &group->read);
    }
    nr_search_together(group->searches, group->count);
    for (size_t i = 0; i < group->count && rc == NORI_OK; i++) {
        if (!group->searches[i].step) rc = hand_out(group, i, err);
    }
    nr_epoch_leave(&group->engine->epoch, stripe);
    group->read.no_wait = no_wait;
    return rc;
}

/* One that has to wait, in a section of its own: values live as long as it, and it may last as long as a disk read. */
static nori_status search_disk(struct group *group, size_t index, struct nori_error *err)
{
    struct nr_epoch *epoch = &group->engine->epoch;
    uint64_t missed_before = group->read.blocks_read + group->read.tables_opened;
    unsigned stripe = nr_epoch_enter(epoch);
    nori_status rc = nr_judge_read(group->engine, nr_search_finish(&group->searches[index], err), err);
    if (rc == NORI_OK) rc = hand_out(group, index, err);
    nr_read_clear(&group->read);
    nr_epoch_leave(epoch, stripe);
    if (group->read.blocks_read + group->read.tables_opened != missed_before) nr_read_sweep(group->engine);
    if (rc == NORI_OK && !group->read.no_wait) rc = nr_interrupt_poll(err);
    return rc;
}

static nori_status get_group(struct group *group, const nori_slice *keys, struct nori_error *err)
{
    nori_status rc = search_memory(group, keys, err);
    for (size_t i = 0; i < group->count && rc == NORI_OK; i++) {
        if (group->searches[i].step) rc = search_disk(group, i, err);
    }
    if (rc == NORI_OK && !group->read.no_wait) rc = nr_interrupt_poll(err);
    return rc;
}

nori_status nori_get_many(struct nori_engine *engine, const struct nori_snapshot *snapshot, const nori_slice *keys,
                          size_t key_count, unsigned flags, nori_values_fn fn, void *arg, struct nori_error *err)
{
    unsigned call;
    struct group group;
    nori_status rc = nr_call_enter(engine, &call, err);
    if (rc != NORI_OK) return rc;
    bool no_wait = flags & NORI_NO_WAIT;
    bool was_try_only = nr_try_only(no_wait);
    group.engine = engine;
    group.read = (struct nr_read){.no_wait = no_wait};
    group.fn = fn;
    group.arg = arg;
    /* Who may not wait must not be the last to hold a view, which takes locks: one section around all. */
    unsigned around = nr_epoch_enter(&engine->epoch);
    group.view = no_wait ? nr_view_peek(engine) : nr_view_acquire(engine);
    if (!no_wait) nr_epoch_leave(&engine->epoch, around);
    group.moment = (struct nr_moment){atomic_load_explicit(&engine->published_sequence, memory_order_seq_cst),
                                      nr_engine_now_ms(engine)};
    if (snapshot) group.moment = nr_snapshot_moment(snapshot);
    for (group.first = 0; group.first < key_count && rc == NORI_OK; group.first += group.count) {
        group.count = NR_MIN(key_count - group.first, (size_t)NR_SEARCHES_TOGETHER);
        rc = get_group(&group, keys + group.first, err);
    }
    if (rc != NORI_AGAIN) {
        count(&engine->stripes[call], key_count, &group.read, false);
        nr_read_clear(&group.read);
    }
    if (no_wait)
        nr_epoch_leave(&engine->epoch, around);
    else
        nr_view_release(group.view);
    nr_try_only(was_try_only);
    nr_call_leave(engine);
    return rc;
}

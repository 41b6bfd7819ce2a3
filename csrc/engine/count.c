/* How many keys there are: exactly, by going through them; about, from what the tables say. */
#include "engine/engine.h"

#define ENTRIES_BETWEEN_POLLS 256

/* Inside a call. */
static nori_status count_visible(struct nori_engine *engine, unsigned stripe, struct nr_moment moment,
                                 struct nr_view *view, uint64_t *count_out, struct nori_error *err)
{
    struct nr_read read = {.is_scan = true};
    struct nr_iter *iter = NULL;
    uint64_t count = 0, polled = 0;
    nori_status rc = NORI_OK;
    NR_CHECK(nr_view_iter_create(engine, view, moment, nr_slice(NULL, 0), nr_bound_infinite(), &read, &iter, err));
    NR_CHECK(nr_iter_seek_first(iter, err));
    while (iter->entry) { /* Window by window. */
        count += (uint64_t)(iter->last - iter->entry) + 1;
        iter->entry = iter->last;
        NR_CHECK(nr_iter_next(iter, err));
        if (count - polled < ENTRIES_BETWEEN_POLLS) continue;
        polled = count;
        NR_CHECK(nr_interrupt_poll(err));
        if (atomic_load(&engine->state) != NR_STATE_OPEN) NR_CHECK(nr_fail_closed(engine, err));
    }
    *count_out = count;
out:
    nr_iter_destroy(iter);
    nr_read_account(engine, stripe, &read);
    return rc;
}

static bool recall(struct nori_engine *engine, uint64_t sequence, uint64_t *count_out)
{
    nr_mutex_lock(&engine->pin_lock);
    bool known =
        engine->counted.is_known && engine->counted.sequence == sequence && !atomic_load(&engine->has_expiring);
    *count_out = engine->counted.count;
    nr_mutex_unlock(&engine->pin_lock);
    return known;
}

static void remember(struct nori_engine *engine, uint64_t sequence, uint64_t count)
{
    nr_mutex_lock(&engine->pin_lock);
    engine->counted.sequence = sequence;
    engine->counted.count = count;
    engine->counted.is_known = true;
    nr_mutex_unlock(&engine->pin_lock);
}

nori_status nori_count(struct nori_engine *engine, const struct nori_snapshot *snapshot, uint64_t *count_out,
                       struct nori_error *err)
{
    unsigned stripe;
    *count_out = 0;
    nori_status rc = nr_call_enter(engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    struct nr_view *view = nr_view_acquire(engine);
    struct nr_moment moment = {atomic_load(&engine->published_sequence), nr_engine_now_ms(engine)};
    if (snapshot) moment = nr_snapshot_moment(snapshot);
    if (snapshot || !recall(engine, moment.sequence, count_out)) {
        rc = nr_judge_read(engine, count_visible(engine, stripe, moment, view, count_out, err), err);
        /* A view that was rotated away from under the sequence shows less than the sequence says. */
        bool is_whole = nr_memtable_last_sequence(view->layers[0].memtable) >= moment.sequence ||
                        (nr_memtable_is_empty(view->layers[0].memtable) && view->layer_count == 1 &&
                         atomic_load(&engine->flushed_sequence) >= moment.sequence);
        if (rc == NORI_OK && !snapshot && is_whole) remember(engine, moment.sequence, *count_out);
    }
    nr_view_release(view);
    nr_call_leave(engine);
    return rc;
}

nori_status nori_estimate_count(struct nori_engine *engine, uint64_t *count_out, struct nori_error *err)
{
    unsigned stripe;
    uint64_t entries = 0, deletes = 0;
    *count_out = 0;
    nori_status rc = nr_call_enter(engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    struct nr_view *view = nr_view_acquire(engine);
    for (size_t i = 0; i < view->layer_count; i++) {
        entries += nr_memtable_entry_count(view->layers[i].memtable);
        deletes += nr_memtable_delete_count(view->layers[i].memtable);
    }
    for (size_t level = 0; level < view->version->level_count; level++)
        entries += view->version->levels[level]->entries;
    const struct nr_slot *level0 = nr_version_level0(view->version);
    for (size_t i = 0; i < level0->run_count; i++) deletes += level0->runs[i]->deletes;
    nr_view_release(view);
    nr_call_leave(engine);
    /* Each delete is an entry itself, and hides one. */
    *count_out = entries > 2 * deletes ? entries - 2 * deletes : 0;
    return rc;
}

/* pop, setdefault, popitem: read, then write on the condition that nothing newer was written to what was read; else
 * again. Each round that fails is another writer's success. */
#include "engine/engine.h"

/* The newest value of the key, copied, and a sequence above which nothing was seen of it for certain. Inside a call. */
static nori_status read_copy(struct nori_engine *engine, nori_slice key, bool no_wait, struct nr_buffer *value,
                             bool *found_out, uint64_t *sequence_out, struct nori_error *err)
{
    struct nr_read read = {.no_wait = no_wait};
    struct nr_lookup lookup = {.key = key, .hash = nr_hash_key(key)};
    nori_slice found;
    nori_status rc = NORI_OK;
    *found_out = false;
    bool was_try_only = nr_try_only(no_wait);
    unsigned stripe = nr_epoch_enter(&engine->epoch);
    /* Before the view: what was written between the two loads may be missing in it, and must count as newer. */
    *sequence_out = atomic_load_explicit(&engine->published_sequence, memory_order_seq_cst);
    struct nr_view *view = nr_view_peek(engine);
    lookup.sequence = atomic_load_explicit(&engine->published_sequence, memory_order_seq_cst);
    NR_CHECK(nr_view_search(engine, view, &lookup, &read, err));
    if (nr_lookup_value(&lookup, nr_engine_now_ms(engine), &found)) {
        *found_out = true;
        NR_CHECK(nr_buffer_assign(value, found, err));
    }
out:
    nr_read_account(engine, stripe, &read);
    nr_epoch_leave(&engine->epoch, stripe);
    nr_try_only(was_try_only);
    return rc;
}

struct handover {
    nori_value_fn fn;
    void *arg;
    nori_slice value;
};

static int call_it(void *arg)
{
    struct handover *handover = arg;
    return handover->fn(handover->arg, handover->value) ? 0 : 1;
}

/* Outside of the call, and of the epoch: the function may wait for its interpreter. One of a caller that may not wait
 * has its interpreter, and does not wait either. */
static nori_status hand_over(nori_value_fn fn, void *arg, const struct nr_buffer *value, bool no_wait,
                             struct nori_error *err)
{
    struct handover handover = {fn, arg, nr_buffer_slice(value)};
    nori_status rc = NORI_OK;
    if (fn && no_wait)
        rc = call_it(&handover) == 0 ? NORI_OK : NORI_INTERRUPTED;
    else if (fn)
        rc = nr_outside_run(call_it, &handover, err);
    return rc == NORI_INTERRUPTED ? nr_fail_memory(err, value->size) : rc;
}

nori_status nori_pop(struct nori_engine *engine, nori_slice key, const struct nori_write_options *options,
                     nori_value_fn fn, void *arg, bool *found_out, struct nori_error *err)
{
    unsigned stripe;
    struct nr_buffer value = {0};
    bool no_wait = options && (options->flags & NORI_NO_WAIT);
    *found_out = false;
    nori_status rc = nr_check_key(key, err);
    if (rc == NORI_OK) rc = nr_call_enter(engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    if (engine->is_read_only) NR_CHECK(NR_FAIL(err, NORI_READ_ONLY, "%s is open for reading only", engine->path));
    for (;;) {
        bool found;
        struct nr_condition condition = {.first = key, .last = &key};
        struct nr_commit commit = {.count = 1, .type = NR_TYPE_DELETE, .key = key, .condition = &condition};
        commit.delete_count = 1;
        commit.user_bytes = key.size;
        NR_CHECK(read_copy(engine, key, no_wait, &value, &found, &condition.since, err));
        if (!found) break;
        /* Before the commit: what finds no memory here has lost nothing. */
        NR_CHECK(hand_over(fn, arg, &value, no_wait, err));
        NR_CHECK(nr_commit_run(engine, &commit, options, err));
        *found_out = commit.is_applied;
        if (commit.is_applied) break;
    }
out:
    nr_buffer_clear(&value);
    nr_call_leave(engine);
    return rc;
}

nori_status nori_set_default(struct nori_engine *engine, nori_slice key, nori_slice value,
                             const struct nori_write_options *options, nori_value_fn fn, void *arg, bool *found_out,
                             struct nori_error *err)
{
    unsigned stripe;
    struct nr_buffer old = {0};
    bool no_wait = options && (options->flags & NORI_NO_WAIT);
    *found_out = false;
    nori_status rc = nr_check_key(key, err);
    if (rc == NORI_OK) rc = nr_check_value(value, err);
    if (rc == NORI_OK) rc = nr_call_enter(engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    if (engine->is_read_only) NR_CHECK(NR_FAIL(err, NORI_READ_ONLY, "%s is open for reading only", engine->path));
    for (;;) {
        struct nr_condition condition = {.first = key, .last = &key};
        struct nr_commit commit = {
            .count = 1, .type = NR_TYPE_PUT, .key = key, .value = value, .condition = &condition};
        commit.put_count = 1;
        commit.user_bytes = key.size + value.size;
        NR_CHECK(read_copy(engine, key, no_wait, &old, found_out, &condition.since, err));
        if (*found_out) {
            NR_CHECK(hand_over(fn, arg, &old, no_wait, err));
            break;
        }
        commit.expires_at_ms = nori_expiry(engine, options ? options->ttl_secs : -1.0);
        if (commit.expires_at_ms != 0) atomic_store(&engine->has_expiring, true);
        NR_CHECK(nr_commit_run(engine, &commit, options, err));
        if (commit.is_applied) break;
    }
out:
    nr_buffer_clear(&old);
    nr_call_leave(engine);
    return rc;
}

/* The last visible entry, copied, and a sequence like read_copy's. */
static nori_status read_last(struct nori_engine *engine, struct nr_buffer *key, struct nr_buffer *value,
                             bool *found_out, uint64_t *sequence_out, struct nori_error *err)
{
    *sequence_out = atomic_load_explicit(&engine->published_sequence, memory_order_seq_cst); /* As in read_copy. */
    struct nr_view *view = nr_view_acquire(engine);
    struct nr_read read = {.is_scan = true};
    struct nr_iter *iter = NULL;
    struct nr_moment moment = {atomic_load_explicit(&engine->published_sequence, memory_order_seq_cst),
                               nr_engine_now_ms(engine)};
    nori_status rc = NORI_OK;
    *found_out = false;
    NR_CHECK(nr_view_iter_create(engine, view, moment, nr_slice(NULL, 0), nr_bound_infinite(), &read, &iter, err));
    NR_CHECK(nr_iter_seek_last(iter, err));
    if (iter->entry) {
        *found_out = true;
        NR_CHECK(nr_buffer_assign(key, iter->entry->key, err));
        NR_CHECK(nr_buffer_assign(value, iter->entry->value, err));
    }
out:
    nr_iter_destroy(iter);
    nr_read_account(engine, nr_epoch_stripe_of_thread(), &read);
    nr_view_release(view);
    return rc;
}

nori_status nori_pop_last(struct nori_engine *engine, const struct nori_write_options *options, nori_value_fn key_fn,
                          nori_value_fn value_fn, void *arg, bool *found_out, struct nori_error *err)
{
    unsigned stripe;
    struct nr_buffer key = {0}, value = {0};
    *found_out = false;
    if (options && (options->flags & NORI_NO_WAIT))
        return NR_FAIL(err, NORI_AGAIN, "finding the last key may read the disk");
    nori_status rc = nr_call_enter(engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    if (engine->is_read_only) NR_CHECK(NR_FAIL(err, NORI_READ_ONLY, "%s is open for reading only", engine->path));
    for (;;) {
        bool found;
        struct nr_condition condition = {0};
        struct nr_commit commit = {.count = 1, .type = NR_TYPE_DELETE, .condition = &condition, .delete_count = 1};
        NR_CHECK(read_last(engine, &key, &value, &found, &condition.since, err));
        if (!found) break;
        condition.first = commit.key = nr_buffer_slice(&key);
        commit.user_bytes = key.size;
        NR_CHECK(hand_over(key_fn, arg, &key, false, err));
        NR_CHECK(hand_over(value_fn, arg, &value, false, err));
        NR_CHECK(nr_commit_run(engine, &commit, options, err));
        *found_out = commit.is_applied;
        if (commit.is_applied) break;
    }
out:
    nr_buffer_clear(&key);
    nr_buffer_clear(&value);
    nr_call_leave(engine);
    return rc;
}

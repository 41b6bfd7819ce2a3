/* Calls of the API as the engine counts them: who is inside, whether it may be. */
#include "engine/engine.h"

#include <errno.h>

nori_status nr_fail_closed(struct nori_engine *engine, struct nori_error *err)
{
    return NR_FAIL(err, NORI_CLOSED, "%s is closed", engine->path);
}

nori_status nr_call_enter(struct nori_engine *engine, unsigned *stripe_out, struct nori_error *err)
{
    if (NR_UNLIKELY(engine->fork_generation != nr_fork_generation()))
        return NR_FAIL(err, NORI_FORKED, "%s was opened before fork(); open it anew in the child", engine->path);
    unsigned stripe = nr_epoch_stripe_of_thread();
    atomic_fetch_add_explicit(&engine->stripes[stripe].inside, 1, memory_order_seq_cst);
    if (NR_UNLIKELY(atomic_load_explicit(&engine->state, memory_order_seq_cst) != NR_STATE_OPEN)) {
        nr_call_leave(engine, stripe);
        return nr_fail_closed(engine, err);
    }
    *stripe_out = stripe;
    return NORI_OK;
}

void nr_call_leave(struct nori_engine *engine, unsigned stripe)
{
    atomic_fetch_sub_explicit(&engine->stripes[stripe].inside, 1, memory_order_seq_cst);
}

nori_status nr_judge_read(const struct nori_engine *engine, nori_status rc, struct nori_error *err)
{
    if (NR_LIKELY(rc != NORI_IO || !engine->is_read_only || !err || err->sys_errno != ENOENT)) return rc;
    char path[sizeof err->path];
    memcpy(path, err->path, sizeof path);
    rc = NR_FAIL(err, NORI_STALE, "the writer removed %s meanwhile; open the database again", path);
    memcpy(err->path, path, sizeof path);
    err->sys_errno = ESTALE;
    return rc;
}

void nr_engine_poison(struct nori_engine *engine, const struct nori_error *cause)
{
    nr_mutex_lock(&engine->lock);
    if (!atomic_load(&engine->is_poisoned)) {
        engine->poison = *cause;
        atomic_store(&engine->is_poisoned, true);
    }
    nr_cond_broadcast(&engine->done_cond);
    nr_cond_broadcast(&engine->work_cond);
    nr_mutex_unlock(&engine->lock);
}

nori_status nr_fail_poisoned(struct nori_engine *engine, struct nori_error *err)
{
    /* The cause does not change once is_poisoned was seen true. */
    const struct nori_error *cause = &engine->poison;
    nori_status code = NR_FAIL(err, NORI_POISONED, "writing stopped after a failure: %s", cause->text);
    if (err) {
        err->sys_errno = cause->sys_errno;
        memcpy(err->path, cause->path, sizeof err->path);
    }
    return code;
}

uint64_t nr_engine_now_ms(struct nori_engine *engine)
{
    uint64_t now = nr_env_wall_ms(engine->env);
    uint64_t seen = atomic_load_explicit(&engine->ttl_clock_ms, memory_order_relaxed);
    while (now > seen) {
        if (atomic_compare_exchange_weak_explicit(&engine->ttl_clock_ms, &seen, now, memory_order_relaxed,
                                                  memory_order_relaxed))
            return now;
    }
    return seen;
}

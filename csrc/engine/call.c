/* Calls of the API as the engine counts them: who is inside, whether it may be. */
#include "engine/engine.h"

#include <errno.h>

#include "io/path.h"

nori_status nr_fail_closed(struct nori_engine *engine, struct nori_error *err)
{
    return NR_FAIL(err, NORI_CLOSED, "%s is closed", engine->path);
}

static nori_status fail_forked(struct nori_engine *engine, struct nori_error *err)
{
    return NR_FAIL(err, NORI_FORKED, "%s was opened before fork(); open it anew in the child", engine->path);
}

nori_status nr_fail_gone(struct nori_engine *engine, struct nori_error *err)
{
    if (engine->fork_generation != nr_fork_generation()) return fail_forked(engine, err);
    return nr_path_fail(err, "use", engine->path, NULL, EIO);
}

/* Counted, if the engine is open. */
static nori_status count_in(struct nori_engine *engine, struct nori_error *err)
{
    if (NR_UNLIKELY(nr_is_gone(engine))) return nr_fail_gone(engine, err);
    _Atomic uint64_t *inside = &engine->stripes[nr_epoch_stripe_of_thread()].inside;
    atomic_fetch_add_explicit(inside, 1, memory_order_seq_cst);
    if (NR_LIKELY(atomic_load_explicit(&engine->state, memory_order_seq_cst) == NR_STATE_OPEN)) return NORI_OK;
    atomic_fetch_sub_explicit(inside, 1, memory_order_seq_cst);
    return nr_fail_closed(engine, err);
}

static void count_out(struct nori_engine *engine)
{
    atomic_fetch_sub_explicit(&engine->stripes[nr_epoch_stripe_of_thread()].inside, 1, memory_order_seq_cst);
}

/* Code that is not ours runs in the middle of a call: close() does not wait for it, but leaves in place what the call
 * still refers to. First outside, then no longer inside: close() sees one of them. */
static void step_out(void *arg)
{
    struct nori_engine *engine = arg;
    atomic_fetch_add(&engine->outside, 1);
    count_out(engine);
}

/* A call that finds the engine closed stays counted as outside until its end. */
static nori_status step_in(void *arg, struct nori_error *err)
{
    struct nori_engine *engine = arg;
    nori_status rc = count_in(engine, err);
    if (rc == NORI_OK)
        atomic_fetch_sub(&engine->outside, 1);
    else
        nr_inside_set((struct nr_inside){0});
    return rc;
}

nori_status nr_call_enter(struct nori_engine *engine, unsigned *stripe_out, struct nori_error *err)
{
    NR_ASSERT(!nr_inside_get().arg);
    nori_status rc = count_in(engine, err);
    if (NR_UNLIKELY(rc != NORI_OK)) return rc;
    nr_inside_set((struct nr_inside){step_out, step_in, engine});
    *stripe_out = nr_epoch_stripe_of_thread();
    return NORI_OK;
}

void nr_call_leave(struct nori_engine *engine)
{
    bool is_inside = nr_inside_get().arg == engine;
    nr_inside_set((struct nr_inside){0});
    if (NR_LIKELY(is_inside))
        count_out(engine);
    else if (engine->fork_generation == nr_fork_generation())
        nr_close_after(engine);
}

unsigned nr_call_hold(struct nori_engine *engine)
{
    unsigned stripe = nr_epoch_stripe_of_thread();
    atomic_fetch_add_explicit(&engine->stripes[stripe].inside, 1, memory_order_seq_cst);
    return stripe;
}

void nr_call_release(struct nori_engine *engine, unsigned stripe)
{
    atomic_fetch_sub_explicit(&engine->stripes[stripe].inside, 1, memory_order_seq_cst);
}

struct telling {
    nori_progress_fn fn;
    void *arg;
    const struct nori_progress *progress;
};

static int tell(void *arg)
{
    struct telling *telling = arg;
    return telling->fn(telling->arg, telling->progress);
}

nori_status nr_call_tell(nori_progress_fn fn, void *arg, const struct nori_progress *progress, struct nori_error *err)
{
    struct telling telling = {fn, arg, progress};
    if (!fn) return nr_interrupt_poll(err);
    nori_status rc = nr_outside_run(tell, &telling, err);
    if (rc == NORI_INTERRUPTED) return NR_FAIL(err, rc, "%s was stopped", progress->phase);
    return rc == NORI_OK ? nr_interrupt_poll(err) : rc;
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
    bool is_first = !atomic_load(&engine->is_poisoned);
    if (is_first) {
        engine->poison = *cause;
        atomic_store(&engine->is_poisoned, true);
    }
    nr_cond_broadcast(&engine->done_cond);
    nr_cond_broadcast(&engine->work_cond);
    nr_mutex_unlock(&engine->lock);
    if (is_first) nr_event_failure(engine, "writing stopped", cause);
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

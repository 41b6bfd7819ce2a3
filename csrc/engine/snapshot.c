/* Snapshots, and the moments that merges must respect. */
#include "engine/engine.h"

#include "base/alloc.h"

struct nori_snapshot {
    struct nori_engine *engine;
    struct nr_pin pin;
};

nori_status nr_pin_add(struct nori_engine *engine, struct nr_pin *pin, unsigned flags, struct nori_error *err)
{
    uint64_t now_ms = nr_engine_now_ms(engine);
    if (flags & NORI_NO_WAIT) {
        if (!nr_mutex_trylock(&engine->pin_lock)) return NR_FAIL(err, NORI_AGAIN, "the list of moments is busy");
    } else {
        nr_mutex_lock(&engine->pin_lock);
    }
    /* Read under the lock, so that the list rises, and a merge that does not see the pin began before it: what that
     * merge drops is hidden by entries that were published by then. */
    struct nr_pin *head = &engine->pins;
    pin->moment.sequence = atomic_load_explicit(&engine->published_sequence, memory_order_seq_cst);
    pin->moment.now_ms = NR_MAX(now_ms, head->previous->moment.now_ms);
    pin->previous = head->previous;
    pin->next = head;
    head->previous->next = pin;
    head->previous = pin;
    nr_mutex_unlock(&engine->pin_lock);
    return NORI_OK;
}

void nr_pin_copy(struct nori_engine *engine, const struct nori_snapshot *snapshot, struct nr_pin *pin)
{
    struct nr_pin *other = (struct nr_pin *)&snapshot->pin;
    nr_mutex_lock(&engine->pin_lock);
    pin->moment = other->moment;
    pin->previous = other;
    pin->next = other->next;
    other->next->previous = pin;
    other->next = pin;
    nr_mutex_unlock(&engine->pin_lock);
}

void nr_pin_remove(struct nori_engine *engine, struct nr_pin *pin)
{
    nr_mutex_lock(&engine->pin_lock);
    pin->previous->next = pin->next;
    pin->next->previous = pin->previous;
    pin->previous = pin->next = NULL;
    nr_mutex_unlock(&engine->pin_lock);
}

/* The pins' moments into 'moments' (NULL: only counts), each sequence once, with its oldest time. */
static size_t copy_moments(struct nori_engine *engine, struct nr_moment *moments, size_t capacity)
{
    size_t count = 0;
    uint64_t last_sequence = UINT64_MAX;
    for (struct nr_pin *pin = engine->pins.next; pin != &engine->pins; pin = pin->next) {
        if (pin->moment.sequence == last_sequence) continue;
        last_sequence = pin->moment.sequence;
        if (count < capacity) moments[count] = pin->moment;
        count++;
    }
    return count;
}

nori_status nr_moments_collect(struct nori_engine *engine, struct nr_moment **moments_out, size_t *count_out,
                               struct nori_error *err)
{
    struct nr_moment *moments = NULL;
    size_t capacity = 16, count = 0;
    *moments_out = NULL;
    for (;;) {
        nr_free(moments);
        moments = nr_alloc(capacity * sizeof *moments);
        if (!moments) return nr_fail_memory(err, capacity * sizeof *moments);
        nr_mutex_lock(&engine->pin_lock);
        count = copy_moments(engine, moments, capacity - 1);
        struct nr_moment present = {atomic_load_explicit(&engine->published_sequence, memory_order_seq_cst),
                                    nr_engine_now_ms(engine)};
        nr_mutex_unlock(&engine->pin_lock);
        if (count < capacity) {
            if (count == 0 || moments[count - 1].sequence != present.sequence) moments[count++] = present;
            break;
        }
        capacity = count + 16;
    }
    *moments_out = moments;
    *count_out = count;
    return NORI_OK;
}

struct nr_moment nr_moment_oldest(struct nori_engine *engine)
{
    struct nr_moment moment = {0, nr_engine_now_ms(engine)};
    nr_mutex_lock(&engine->pin_lock);
    if (engine->pins.next != &engine->pins)
        moment = engine->pins.next->moment;
    else
        moment.sequence = atomic_load(&engine->published_sequence);
    nr_mutex_unlock(&engine->pin_lock);
    return moment;
}

nori_status nori_snapshot_create(struct nori_engine *engine, unsigned flags, struct nori_snapshot **snapshot_out,
                                 struct nori_error *err)
{
    unsigned stripe;
    nori_status rc = nr_call_enter(engine, &stripe, err);
    *snapshot_out = NULL;
    if (rc != NORI_OK) return rc;
    struct nori_snapshot *snapshot = nr_calloc(1, sizeof *snapshot);
    if (!snapshot) {
        rc = nr_fail_memory(err, sizeof *snapshot);
        goto out;
    }
    snapshot->engine = engine;
    rc = nr_pin_add(engine, &snapshot->pin, flags, err);
    if (rc != NORI_OK) {
        nr_free(snapshot);
        goto out;
    }
    *snapshot_out = snapshot;
out:
    nr_call_leave(engine);
    return rc;
}

uint64_t nori_snapshot_sequence(const struct nori_snapshot *snapshot)
{
    return snapshot->pin.moment.sequence;
}

struct nr_moment nr_snapshot_moment(const struct nori_snapshot *snapshot)
{
    return snapshot->pin.moment;
}

void nori_snapshot_destroy(struct nori_snapshot *snapshot)
{
    if (!snapshot) return;
    /* In a forked child the parent's threads may have left the lock taken. */
    if (snapshot->engine->fork_generation == nr_fork_generation()) nr_pin_remove(snapshot->engine, &snapshot->pin);
    nr_free(snapshot);
}

/* Expiry announces itself to nobody: the maintenance round looks for when it is due, and wakes the planner then. */
#include "engine/engine.h"

/* A flush may bring what expires sooner; what is due may have to wait for a snapshot. */
#define LOOK_US 15000000u
#define WAIT_US 1000000u

/* When the first table is a reason to merge. UINT64_MAX: none will be. */
static uint64_t first_due_ms(const struct nr_version *version)
{
    uint64_t first_ms = UINT64_MAX;
    for (size_t level = 0; level < version->level_count; level++)
        for (size_t i = 0; i < version->levels[level]->chunk_count; i++)
            first_ms = NR_MIN(first_ms, version->levels[level]->chunks[i]->due_ms);
    return first_ms;
}

void nr_expire_maintain(struct nori_engine *engine, uint64_t now_us)
{
    if (!atomic_load(&engine->has_expiring) || now_us < engine->expiry_us) return;
    struct nr_view *view = nr_view_acquire(engine);
    uint64_t due_ms = first_due_ms(view->version), now_ms = nr_engine_now_ms(engine);
    nr_view_release(view);
    engine->expiry_us = now_us + LOOK_US;
    if (due_ms <= now_ms) {
        engine->expiry_us = now_us + WAIT_US;
        nr_workers_kick(engine);
    } else if (due_ms - now_ms < LOOK_US / 1000) {
        engine->expiry_us = now_us + (due_ms - now_ms) * 1000;
    }
}

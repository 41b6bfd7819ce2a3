#include "engine/decisions.h"

#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "compact/linear_ucb.h"
#include "engine/engine.h"

_Static_assert(NORI_DECISION_FEATURES == NR_FEATURE_COUNT, "decisions show the scheduler's features");

const char *nori_decision_feature(unsigned index)
{
    static const char *const names[NORI_DECISION_FEATURES] = {
        [NR_FEATURE_L0_DEPTH] = "l0_depth",       [NR_FEATURE_PRESSURE] = "pressure",
        [NR_FEATURE_RUNS_OVER_K] = "runs_over_k", [NR_FEATURE_SIZE] = "size",
        [NR_FEATURE_READ_HEAT] = "read_heat",     [NR_FEATURE_WRITE_HEAT] = "write_heat",
        [NR_FEATURE_SCAN_HEAT] = "scan_heat",     [NR_FEATURE_TOMBSTONES] = "tombstone_density"};
    return index < NORI_DECISION_FEATURES ? names[index] : NULL;
}

bool nr_decisions_init(struct nr_decisions *decisions)
{
    nr_mutex_init(&decisions->lock, NR_RANK_LEAF);
    decisions->ring = nr_calloc(NR_DECISION_RING, sizeof *decisions->ring);
    if (!decisions->ring) nr_mutex_destroy(&decisions->lock);
    return decisions->ring != NULL;
}

void nr_decisions_clear(struct nr_decisions *decisions)
{
    nr_free(decisions->ring);
    nr_mutex_destroy(&decisions->lock);
}

/* NULL if the ring has gone past it. */
static struct nori_decision *find_locked(struct nr_decisions *decisions, uint64_t id)
{
    if (id == 0 || id > decisions->count || decisions->count - id >= NR_DECISION_RING) return NULL;
    return &decisions->ring[(id - 1) % NR_DECISION_RING];
}

uint64_t nr_decision_begin(struct nori_engine *engine, const struct nr_decision_start *choice)
{
    struct nr_decisions *decisions = &engine->decisions;
    struct nori_decision decision = {
        .monotonic_us = nr_env_monotonic_us(engine->env),
        .slot_id = choice->slot_id,
        .level = choice->level,
        .is_explored = choice->is_explored,
        .predicted_reward = choice->predicted_reward,
        .realised_reward = NAN,
    };
    snprintf(decision.action, sizeof decision.action, "%s", choice->action);
    decision.start_bytes = (uint32_t)NR_MIN(choice->start.size, sizeof decision.start);
    if (decision.start_bytes > 0) memcpy(decision.start, choice->start.data, decision.start_bytes);
    memcpy(decision.context, choice->context, sizeof decision.context);
    nr_mutex_lock(&decisions->lock);
    decision.id = ++decisions->count;
    decisions->ring[(decision.id - 1) % NR_DECISION_RING] = decision;
    nr_mutex_unlock(&decisions->lock);
    NR_EVENT_EMIT(engine, NORI_EVENT_BANDIT_SELECTION, choice->action, choice->start, (double)decision.id,
                  choice->level, (double)choice->slot_id, choice->is_explored, choice->predicted_reward);
    return decision.id;
}

void nr_decision_end(struct nori_engine *engine, uint64_t id, uint64_t bytes, uint64_t micros)
{
    struct nr_decisions *decisions = &engine->decisions;
    nr_mutex_lock(&decisions->lock);
    struct nori_decision *decision = find_locked(decisions, id);
    if (decision) {
        decision->bytes = bytes;
        decision->micros = micros;
        decision->is_done = true;
    }
    nr_mutex_unlock(&decisions->lock);
}

void nr_decision_reward(struct nori_engine *engine, uint64_t id, double realised)
{
    struct nr_decisions *decisions = &engine->decisions;
    struct nori_decision copy = {.id = 0};
    nr_mutex_lock(&decisions->lock);
    struct nori_decision *decision = find_locked(decisions, id);
    if (decision) {
        decision->realised_reward = realised;
        copy = *decision;
    }
    nr_mutex_unlock(&decisions->lock);
    if (copy.id == 0) return;
    NR_EVENT_EMIT(engine, NORI_EVENT_BANDIT_REWARD, copy.action, nr_slice(copy.start, copy.start_bytes),
                  (double)copy.id, copy.level, (double)copy.slot_id, copy.predicted_reward, realised);
}

_Static_assert((int)NORI_DECISION_FEATURES == NR_FEATURE_COUNT, "a decision's context is the scheduler's features");

uint64_t nr_decision_begin_of(struct nori_engine *engine, const struct nr_plan *plan,
                              const struct nr_candidate *candidate, const struct nr_choice *choice)
{
    struct nr_decision_start noted = {
        .action = nr_action_name(plan->action),
        .level = plan->source_level,
        .slot_id = candidate->slot_id,
        .start = plan->start,
        .is_explored = choice->explored,
        .predicted_reward = candidate->predicted,
    };
    memcpy(noted.context, candidate->features, sizeof noted.context);
    return nr_decision_begin(engine, &noted);
}

nori_status nori_decisions(struct nori_engine *engine, struct nori_decision **decisions_out, size_t *count_out,
                           struct nori_error *err)
{
    struct nr_decisions *decisions = &engine->decisions;
    unsigned stripe;
    *decisions_out = NULL;
    *count_out = 0;
    nori_status rc = nr_call_enter(engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    struct nori_decision *copy = nr_alloc(NR_DECISION_RING * sizeof *copy);
    if (!copy) {
        rc = nr_fail_memory(err, NR_DECISION_RING * sizeof *copy);
        goto out;
    }
    nr_mutex_lock(&decisions->lock);
    uint64_t first = decisions->count > NR_DECISION_RING ? decisions->count - NR_DECISION_RING : 0;
    for (uint64_t i = first; i < decisions->count; i++) copy[(*count_out)++] = decisions->ring[i % NR_DECISION_RING];
    nr_mutex_unlock(&decisions->lock);
    *decisions_out = copy;
out:
    nr_call_leave(engine);
    return rc;
}

/* Decisions: the last choices of what to compact next, what was expected of them and what came of them.
 *
 * A choice is noted when its job begins, completed when the job ends, and rewarded later, when its effect was measured;
 * by then the ring may have gone past it: such calls do nothing. */
#ifndef NR_ENGINE_DECISIONS_H
#define NR_ENGINE_DECISIONS_H

#include "base/lock.h"
#include "base/slice.h"

#define NR_DECISION_RING 1000

struct nr_decisions {
    struct nr_mutex lock;
    struct nori_decision *ring; /* NR_DECISION_RING places. Owned. */
    uint64_t count NR_GUARDED;  /* By lock. Decisions so far; id n lies at (n - 1) % NR_DECISION_RING. */
};

/* False without memory. */
bool nr_decisions_init(struct nr_decisions *decisions);
void nr_decisions_clear(struct nr_decisions *decisions);

struct nr_decision_start {
    const char *action;
    uint32_t level; /* Of the source. */
    uint64_t slot_id;
    nori_slice start; /* Where the job's range begins. Cut to fit. */
    bool is_explored; /* Drawn by chance, not because it promised most. */
    double predicted_reward;
    double context[NORI_DECISION_FEATURES]; /* By enum nr_feature, each 0..1. */
};

/* Notes a choice, and its event; returns its id. No leaf mutex may be held, engine.lock may. */
uint64_t nr_decision_begin(struct nori_engine *engine, const struct nr_decision_start *choice);
void nr_decision_end(struct nori_engine *engine, uint64_t id, uint64_t bytes, uint64_t micros);
/* What it brought, in the unit of what was predicted; and its event. */
void nr_decision_reward(struct nori_engine *engine, uint64_t id, double realised);

struct nr_plan;
struct nr_candidate;
struct nr_choice;
/* Notes what the scheduler chose. */
uint64_t nr_decision_begin_of(struct nori_engine *engine, const struct nr_plan *plan,
                              const struct nr_candidate *candidate, const struct nr_choice *choice);

#endif

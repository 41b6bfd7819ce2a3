/* What the scheduler's tests share: options, candidates, and a tree whose predictions are wrong by a factor per arm. */
#ifndef NR_TESTS_SCHEDULER_MODEL_H
#define NR_TESTS_SCHEDULER_MODEL_H

#include "compact/scheduler.h"
#include "harness.h"

#define MODEL_KINDS 6
#define MODEL_DELAY 8 /* So many choices later a reward is known. */

static inline struct nori_options model_options(int policy)
{
    struct nori_options options;
    memset(&options, 0, sizeof options);
    options.scheduler = policy;
    options.compaction_epsilon = 0.1;
    options.compaction_ucb_c = 2;
    options.compaction_reward_alpha = 0.1;
    return options;
}

static inline void model_init(struct nr_scheduler *scheduler, int policy)
{
    struct nori_options options = model_options(policy);
    memset(scheduler, 0, sizeof *scheduler); /* Padding too: states are compared as bytes. */
    nr_scheduler_init(scheduler, &options);
}

/* One kind of candidate per arm: the worse it really is, the better it is predicted to be. */
static inline struct nr_candidate model_candidate(struct nr_random *random, size_t kind)
{
    static const enum nr_action actions[MODEL_KINDS] = {NR_ACTION_TIER,    NR_ACTION_TIER,  NR_ACTION_PROMOTE,
                                                        NR_ACTION_PROMOTE, NR_ACTION_CLEAN, NR_ACTION_ADMIT};
    struct nr_candidate candidate = {.action = actions[kind],
                                     .level = 1 + (uint32_t)(kind % 2),
                                     .slot_id = 100 * kind + nr_random_below(random, 20),
                                     .bytes = 1000 + nr_random_below(random, 1000),
                                     .predicted = 0.5 + nr_random_unit(random) + 0.1 * (double)kind};
    for (size_t i = 0; i < NR_FEATURE_COUNT; i++) candidate.features[i] = nr_random_unit(random);
    candidate.features[NR_FEATURE_READ_HEAT] = 0.2;
    candidate.features[NR_FEATURE_RUNS_OVER_K] = 0;
    return candidate;
}

struct model_world {
    double factors[MODEL_KINDS]; /* Realised to predicted. */
    double write_heat_slope;     /* Beside: the factor's part that goes with write heat. */
    struct nr_random random;     /* The world's, not the scheduler's. */
    struct nr_choice_record late[MODEL_DELAY];
    double late_reward[MODEL_DELAY];
    uint64_t steps;
    uint64_t chosen[MODEL_KINDS];
};

static inline void model_world_init(struct model_world *world, uint64_t seed)
{
    static const double factors[MODEL_KINDS] = {1.5, 1.2, 0.6, 0.3, 0.1, 0.05};
    memset(world, 0, sizeof *world);
    memcpy(world->factors, factors, sizeof factors);
    nr_random_init(&world->random, seed);
}

/* 'count' choices of a scheduler; the sum of what they really bring. Every kind has a candidate each time. */
static inline double model_run(struct model_world *world, struct nr_scheduler *scheduler, struct nr_random *random,
                               uint64_t count)
{
    double total = 0;
    for (uint64_t step = 0; step < count; step++, world->steps++) {
        struct nr_candidate candidates[MODEL_KINDS];
        size_t late = world->steps % MODEL_DELAY;
        for (size_t kind = 0; kind < MODEL_KINDS; kind++) candidates[kind] = model_candidate(&world->random, kind);
        double noise = 0.5 + nr_random_unit(&world->random);
        struct nr_choice choice = nr_scheduler_choose(scheduler, candidates, MODEL_KINDS, random);
        EXPECT(choice.index < MODEL_KINDS);
        const struct nr_candidate *chosen = &candidates[choice.index];
        double factor =
            world->factors[choice.index] + world->write_heat_slope * chosen->features[NR_FEATURE_WRITE_HEAT];
        double realised = chosen->predicted * factor * noise;
        if (world->steps >= MODEL_DELAY) nr_scheduler_reward(scheduler, &world->late[late], world->late_reward[late]);
        world->late[late] = nr_scheduler_record(chosen, &choice);
        world->late_reward[late] = realised;
        world->chosen[choice.index]++;
        total += realised;
    }
    return total;
}

#endif

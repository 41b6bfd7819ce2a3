#include "compact/bandit.h"

#include <math.h>
#include <string.h>

/* Keeps bonuses finite. So small that it outweighs any ratio the scheduler admits. */
#define LEAST_TRIALS 1e-9
/* What faded below this is gone; denormal numbers are slow. */
#define LEAST_KEPT 1e-12

void nr_bandit_init(struct nr_bandit *bandit)
{
    memset(bandit, 0, sizeof *bandit);
}

uint32_t nr_bandit_arm(enum nr_action action, uint32_t level, uint32_t context)
{
    uint32_t row = (uint32_t)action;
    NR_ASSERT(row < NR_ACTION_COUNT);
    level = NR_MIN(level, NORI_MAX_LEVELS - 1u);
    context = NR_MIN(context, NR_ARM_CONTEXTS - 1u);
    return (row * NORI_MAX_LEVELS + level) * NR_ARM_CONTEXTS + context;
}

enum nr_action nr_bandit_arm_action(uint32_t arm)
{
    NR_ASSERT(arm < NR_ARM_COUNT);
    return (enum nr_action)(arm / (NORI_MAX_LEVELS * NR_ARM_CONTEXTS));
}

double nr_bandit_ratio(const struct nr_bandit *bandit, uint32_t arm, double prior)
{
    NR_ASSERT(arm < NR_ARM_COUNT);
    return bandit->arms[arm].weight > 0 ? bandit->arms[arm].ratio : prior;
}

double nr_bandit_bonus(const struct nr_bandit *bandit, uint32_t arm)
{
    NR_ASSERT(arm < NR_ARM_COUNT);
    return sqrt(log1p(bandit->trials) / NR_MAX(bandit->arms[arm].trials, LEAST_TRIALS));
}

static double fade(double value)
{
    value *= NR_BANDIT_KEEP;
    return value < LEAST_KEPT ? 0 : value;
}

void nr_bandit_try(struct nr_bandit *bandit, uint32_t arm)
{
    NR_ASSERT(arm < NR_ARM_COUNT);
    for (size_t i = 0; i < NR_ARM_COUNT; i++) {
        struct nr_arm *faded = &bandit->arms[i];
        faded->trials = fade(faded->trials);
        faded->weight = fade(faded->weight);
        if (faded->weight == 0) faded->ratio = 0;
    }
    bandit->trials = fade(bandit->trials) + 1;
    bandit->arms[arm].trials += 1;
}

void nr_bandit_learn(struct nr_bandit *bandit, uint32_t arm, double prior, double ratio, double alpha)
{
    struct nr_arm *learned;
    double step;
    NR_ASSERT(arm < NR_ARM_COUNT);
    learned = &bandit->arms[arm];
    /* Weight fades too: an arm not seen for long believes its next reward as a new one does. */
    step = NR_MAX(alpha, 1.0 / (2.0 + learned->weight));
    if (learned->weight == 0) learned->ratio = prior;
    learned->ratio += step * (ratio - learned->ratio);
    learned->weight += 1;
}

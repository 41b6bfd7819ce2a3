/* Linear UCB: the ratio of realised to predicted reward as a linear function of what is known of a candidate.
 *
 * One ridge regression per action (Li, Chu, Langford, Schapire, "A contextual-bandit approach to personalized news
 * article recommendation", 2010, disjoint models): with A = I + sum of x x', b = sum of ratio x, the estimate is
 * x' A^-1 b and its width sqrt(x' A^-1 x). The sums fade as the arms' counts do. The ridge does not fade, and pulls
 * towards the prior ratio instead of 0: a model that knows nothing believes the predictions as they are on average.
 *
 * Pure: fixed size, no clock, no allocation, no lock. */
#ifndef NR_COMPACT_LINEAR_UCB_H
#define NR_COMPACT_LINEAR_UCB_H

#include "base/status.h"

enum nr_feature { /* Each 0..1. */
                  NR_FEATURE_L0_DEPTH,
                  NR_FEATURE_PRESSURE,
                  NR_FEATURE_RUNS_OVER_K,
                  NR_FEATURE_SIZE, /* Of the slot, to its share. */
                  NR_FEATURE_READ_HEAT,
                  NR_FEATURE_WRITE_HEAT,
                  NR_FEATURE_SCAN_HEAT,
                  NR_FEATURE_TOMBSTONES,
};
#define NR_FEATURE_COUNT (NR_FEATURE_TOMBSTONES + 1)

#define NR_LINEAR_TERMS (NR_FEATURE_COUNT + 1) /* A constant comes first. */
#define NR_LINEAR_PAIRS (NR_LINEAR_TERMS * (NR_LINEAR_TERMS + 1) / 2)

struct nr_linear_model {
    double pairs[NR_LINEAR_PAIRS];     /* Faded sum of x x', without the ridge: the lower triangle, by rows. */
    double responses[NR_LINEAR_TERMS]; /* Faded sum of ratio x. */
};

struct nr_linear_estimate {
    double ratio; /* Not below 0. */
    double width; /* 0..sqrt(NR_LINEAR_TERMS): how little is known here. */
};

void nr_linear_init(struct nr_linear_model *model);
/* Multiplies what was learned with 'keep', 0..1. */
void nr_linear_fade(struct nr_linear_model *model, double keep);
/* Features are 0..1, 'ratio' is finite. */
void nr_linear_learn(struct nr_linear_model *model, const double features[NR_FEATURE_COUNT], double ratio);
struct nr_linear_estimate nr_linear_estimate(const struct nr_linear_model *model,
                                             const double features[NR_FEATURE_COUNT], double prior);
/* Whether the sums can be such (they came from disk): finite, and the matrix with its ridge positive definite. */
bool nr_linear_is_sound(const struct nr_linear_model *model);

#endif

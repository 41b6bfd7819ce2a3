#include "compact/linear_ucb.h"
#include "harness.h"

#include <math.h>

#include "base/random.h"

static void draw_features(struct nr_random *random, double features[NR_FEATURE_COUNT])
{
    for (size_t i = 0; i < NR_FEATURE_COUNT; i++) features[i] = nr_random_unit(random);
}

static double truth(const double features[NR_FEATURE_COUNT])
{
    return 0.2 + 1.5 * features[NR_FEATURE_WRITE_HEAT] + 0.3 * features[NR_FEATURE_SIZE];
}

TEST(a_model_that_knows_nothing_expects_the_prior_where_only_the_constant_speaks)
{
    struct nr_linear_model model;
    double features[NR_FEATURE_COUNT] = {0};
    nr_linear_init(&model);
    struct nr_linear_estimate estimate = nr_linear_estimate(&model, features, 0.7);
    EXPECT(fabs(estimate.ratio - 0.7) < 1e-12);
    EXPECT(fabs(estimate.width - 1) < 1e-12);
}

TEST(a_linear_truth_is_learned)
{
    struct nr_linear_model model;
    struct nr_random random;
    double features[NR_FEATURE_COUNT];
    nr_linear_init(&model);
    nr_random_init(&random, 1);
    for (int i = 0; i < 2000; i++) {
        draw_features(&random, features);
        nr_linear_learn(&model, features, truth(features));
    }
    for (int i = 0; i < 100; i++) {
        draw_features(&random, features);
        EXPECT(fabs(nr_linear_estimate(&model, features, 1).ratio - truth(features)) < 0.02);
    }
}

TEST(width_falls_where_there_was_a_reward_and_stays_bounded)
{
    struct nr_linear_model model;
    struct nr_random random;
    double seen[NR_FEATURE_COUNT], other[NR_FEATURE_COUNT];
    nr_linear_init(&model);
    nr_random_init(&random, 2);
    draw_features(&random, seen);
    for (size_t i = 0; i < NR_FEATURE_COUNT; i++) other[i] = 1 - seen[i];
    double first = nr_linear_estimate(&model, seen, 1).width;
    EXPECT(first <= sqrt(NR_LINEAR_TERMS) + 1e-9);
    for (int i = 0; i < 50; i++) {
        double before = nr_linear_estimate(&model, seen, 1).width;
        nr_linear_learn(&model, seen, 1);
        EXPECT(nr_linear_estimate(&model, seen, 1).width < before);
    }
    EXPECT(nr_linear_estimate(&model, seen, 1).width < nr_linear_estimate(&model, other, 1).width);
}

TEST(estimates_are_never_negative)
{
    struct nr_linear_model model;
    double low[NR_FEATURE_COUNT] = {0}, middle[NR_FEATURE_COUNT] = {0}, high[NR_FEATURE_COUNT] = {0};
    middle[0] = 0.5;
    high[0] = 1;
    nr_linear_init(&model);
    for (int i = 0; i < 100; i++) {
        nr_linear_learn(&model, low, 2);
        nr_linear_learn(&model, middle, 0);
    }
    EXPECT(nr_linear_estimate(&model, high, 1).ratio == 0);
}

TEST(what_faded_gives_way_to_the_prior_and_what_is_new_wins)
{
    struct nr_linear_model model;
    double features[NR_FEATURE_COUNT] = {0};
    nr_linear_init(&model);
    for (int i = 0; i < 200; i++) nr_linear_learn(&model, features, 0);
    EXPECT(nr_linear_estimate(&model, features, 1).ratio < 0.1);
    nr_linear_fade(&model, 0.01);
    for (int i = 0; i < 20; i++) nr_linear_learn(&model, features, 1);
    EXPECT(nr_linear_estimate(&model, features, 1).ratio > 0.9);
    for (int i = 0; i < 100; i++) nr_linear_fade(&model, 0.5);
    EXPECT(fabs(nr_linear_estimate(&model, features, 0.3).ratio - 0.3) < 1e-9);
    EXPECT(model.pairs[0] == 0);
}

TEST(a_model_stays_sound_over_many_steps_of_any_features)
{
    struct nr_linear_model model;
    struct nr_random random;
    double features[NR_FEATURE_COUNT];
    nr_linear_init(&model);
    nr_random_init(&random, 3);
    for (int i = 0; i < 5000; i++) {
        /* Often the same corner, so that the matrix is nearly singular without its ridge. */
        for (size_t f = 0; f < NR_FEATURE_COUNT; f++) features[f] = nr_random_below(&random, 10) ? 1 : 0;
        nr_linear_fade(&model, 0.995);
        nr_linear_learn(&model, features, 1024 * nr_random_unit(&random));
        struct nr_linear_estimate estimate = nr_linear_estimate(&model, features, 1);
        EXPECT(nr_linear_is_sound(&model));
        EXPECT(isfinite(estimate.ratio) && estimate.width > 0 && estimate.width <= 3.001);
    }
}

TEST(a_matrix_that_no_rewards_can_give_is_not_sound)
{
    struct nr_linear_model model;
    nr_linear_init(&model);
    EXPECT(nr_linear_is_sound(&model));
    model.pairs[1] = 5; /* Off the diagonal, with nothing on it. */
    EXPECT(!nr_linear_is_sound(&model));
    double features[NR_FEATURE_COUNT] = {0};
    EXPECT(nr_linear_estimate(&model, features, 0.4).ratio == 0.4);
    nr_linear_init(&model);
    model.responses[2] = NAN;
    EXPECT(!nr_linear_is_sound(&model));
}

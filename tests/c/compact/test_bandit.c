#include "compact/bandit.h"
#include "harness.h"

#include <math.h>

TEST(each_action_level_and_context_has_an_arm_of_its_own)
{
    bool is_seen[NR_ARM_COUNT] = {false};
    for (uint32_t action = 0; action < NR_ACTION_COUNT; action++)
        for (uint32_t level = 0; level < NORI_MAX_LEVELS; level++)
            for (uint32_t context = 0; context < NR_ARM_CONTEXTS; context++) {
                uint32_t arm = nr_bandit_arm((enum nr_action)action, level, context);
                EXPECT(arm < NR_ARM_COUNT && !is_seen[arm]);
                EXPECT_EQ(nr_bandit_arm_action(arm), action);
                is_seen[arm] = true;
            }
}

TEST(levels_and_contexts_beyond_the_last_count_as_the_last)
{
    EXPECT_EQ(nr_bandit_arm(NR_ACTION_TIER, 1000, 0), nr_bandit_arm(NR_ACTION_TIER, NORI_MAX_LEVELS - 1, 0));
    EXPECT_EQ(nr_bandit_arm(NR_ACTION_TIER, 1, 77), nr_bandit_arm(NR_ACTION_TIER, 1, NR_ARM_CONTEXTS - 1));
}

TEST(an_arm_that_learned_nothing_has_the_prior_and_no_bonus_before_anything_was_tried)
{
    struct nr_bandit bandit;
    nr_bandit_init(&bandit);
    EXPECT(nr_bandit_ratio(&bandit, 3, 0.25) == 0.25);
    EXPECT(nr_bandit_bonus(&bandit, 3) == 0);
}

TEST(the_first_rewards_are_averaged_with_the_prior)
{
    struct nr_bandit bandit;
    nr_bandit_init(&bandit);
    nr_bandit_learn(&bandit, 0, 1, 3, 0.1);
    EXPECT(fabs(nr_bandit_ratio(&bandit, 0, 1) - 2) < 1e-12);
    nr_bandit_learn(&bandit, 0, 1, 5, 0.1);
    EXPECT(fabs(nr_bandit_ratio(&bandit, 0, 1) - 3) < 1e-12);
}

TEST(later_rewards_move_the_ratio_by_alpha)
{
    struct nr_bandit bandit;
    nr_bandit_init(&bandit);
    for (int i = 0; i < 100; i++) nr_bandit_learn(&bandit, 0, 1, 1, 0.1);
    nr_bandit_learn(&bandit, 0, 1, 2, 0.1);
    EXPECT(fabs(nr_bandit_ratio(&bandit, 0, 1) - 1.1) < 1e-12);
}

TEST(a_tried_arm_has_a_smaller_bonus_than_one_passed_by)
{
    struct nr_bandit bandit;
    nr_bandit_init(&bandit);
    for (int i = 0; i < 10; i++) nr_bandit_try(&bandit, 0);
    nr_bandit_try(&bandit, 1);
    EXPECT(nr_bandit_bonus(&bandit, 0) < nr_bandit_bonus(&bandit, 1));
    EXPECT(nr_bandit_bonus(&bandit, 1) < nr_bandit_bonus(&bandit, 2));
    EXPECT(nr_bandit_bonus(&bandit, 2) > 1e4);
}

TEST(the_bonus_of_an_arm_passed_by_grows_without_end_and_stays_finite)
{
    struct nr_bandit bandit;
    double before = 0;
    nr_bandit_init(&bandit);
    for (int i = 0; i < 50; i++) nr_bandit_try(&bandit, 1);
    for (int i = 0; i < 3000; i++) {
        nr_bandit_try(&bandit, 0);
        double bonus = nr_bandit_bonus(&bandit, 1);
        EXPECT(bonus > before && isfinite(bonus));
        before = bonus;
    }
    for (int i = 0; i < 20000; i++) nr_bandit_try(&bandit, 0);
    EXPECT(isfinite(nr_bandit_bonus(&bandit, 1)) && nr_bandit_bonus(&bandit, 1) >= before);
}

TEST(counts_fade_so_the_total_stays_bounded)
{
    struct nr_bandit bandit;
    nr_bandit_init(&bandit);
    for (uint32_t i = 0; i < 10000; i++) nr_bandit_try(&bandit, i % 7);
    EXPECT(bandit.trials < 1 / (1 - NR_BANDIT_KEEP) + 1e-6);
    EXPECT(bandit.trials > 0.99 / (1 - NR_BANDIT_KEEP));
}

TEST(an_arm_forgotten_altogether_has_the_prior_again)
{
    struct nr_bandit bandit;
    nr_bandit_init(&bandit);
    nr_bandit_learn(&bandit, 5, 1, 9, 0.1);
    for (int i = 0; i < 10000; i++) nr_bandit_try(&bandit, 0);
    EXPECT(nr_bandit_ratio(&bandit, 5, 0.5) == 0.5);
}

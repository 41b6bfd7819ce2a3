#include "compact/scheduler.h"

#include <math.h>
#include <string.h>

#define HOT 0.5
/* No prediction counts for less than this share of the best one's, so that one of nothing can be found wrong. */
#define LEAST_SHARE (1.0 / 64)
/* Ratios are cut at so many times their mean: one measurement gone astray must not rule an arm. */
#define OUTLIER 16.0
#define MAX_PREDICTED 1e150 /* Far from overflow when multiplied. */
#define FIRST_DEVIATION 0.5
#define LEAST_DEVIATION 0.1 /* Of the mean. */

void nr_scheduler_init(struct nr_scheduler *scheduler, const struct nori_options *options)
{
    scheduler->policy = options->scheduler;
    scheduler->epsilon = options->compaction_epsilon;
    scheduler->ucb_c = options->compaction_ucb_c;
    scheduler->alpha = options->compaction_reward_alpha;
    nr_scheduler_reset(scheduler);
}

void nr_scheduler_reset(struct nr_scheduler *scheduler)
{
    nr_bandit_init(&scheduler->bandit);
    for (size_t i = 0; i < NR_ACTION_COUNT; i++) nr_linear_init(&scheduler->models[i]);
    scheduler->spread = (struct nr_ratio_spread){.mean = 1, .variance = FIRST_DEVIATION * FIRST_DEVIATION};
    scheduler->cursor_level = 0;
    scheduler->cursor_slot_id = 0;
    scheduler->cursor_action = 0;
}

double nr_ratio_spread_deviation(const struct nr_ratio_spread *spread)
{
    return NR_MAX(sqrt(spread->variance), LEAST_DEVIATION * spread->mean);
}

static void spread_learn(struct nr_ratio_spread *spread, double ratio, double alpha)
{
    double step = NR_MAX(alpha, 1.0 / (2.0 + spread->weight));
    double off = ratio - spread->mean;
    spread->variance += step * (off * off - spread->variance);
    spread->mean = NR_MAX(spread->mean + step * off, NR_RATIO_LEAST_MEAN);
    spread->weight = spread->weight * NR_BANDIT_KEEP + 1;
}

/* A number of the caller's brought to 0..max; what is no number is 0. */
static double within(double value, double max)
{
    return value > 0 ? NR_MIN(value, max) : 0;
}

static void clean_features(const double features[NR_FEATURE_COUNT], double out[NR_FEATURE_COUNT])
{
    for (size_t i = 0; i < NR_FEATURE_COUNT; i++) out[i] = within(features[i], 1);
}

static uint32_t arm_of(const struct nr_candidate *candidate)
{
    uint32_t is_hot = candidate->features[NR_FEATURE_READ_HEAT] >= HOT;
    uint32_t is_over_k = candidate->features[NR_FEATURE_RUNS_OVER_K] > 0;
    return nr_bandit_arm(candidate->action, candidate->level, is_hot << 1 | is_over_k);
}

/* Better by score; among equals the greater prediction, then the one that writes less; else the earlier stays. */
static bool is_better(const struct nr_candidate *a, double a_score, const struct nr_candidate *b, double b_score)
{
    double a_predicted = within(a->predicted, MAX_PREDICTED), b_predicted = within(b->predicted, MAX_PREDICTED);
    if (a_score != b_score) return a_score > b_score;
    if (a_predicted != b_predicted) return a_predicted > b_predicted;
    return a->bytes < b->bytes;
}

/* The ratio expected, and how little is known of it. */
static struct nr_linear_estimate estimate(const struct nr_scheduler *scheduler, const struct nr_candidate *candidate)
{
    double features[NR_FEATURE_COUNT], prior = scheduler->spread.mean;
    uint32_t arm = arm_of(candidate);
    if (scheduler->policy != NORI_SCHEDULER_CONTEXTUAL)
        return (struct nr_linear_estimate){.ratio = nr_bandit_ratio(&scheduler->bandit, arm, prior),
                                           .width = nr_bandit_bonus(&scheduler->bandit, arm)};
    clean_features(candidate->features, features);
    return nr_linear_estimate(&scheduler->models[candidate->action], features, prior);
}

static struct nr_choice best_urgent(const struct nr_candidate *candidates, size_t count)
{
    struct nr_choice best = {.index = NR_CHOICE_NONE};
    for (size_t i = 0; i < count; i++) {
        double urgency = candidates[i].urgency;
        if (!(urgency >= 1)) continue; /* A NaN is not urgent. */
        if (best.index == NR_CHOICE_NONE || is_better(&candidates[i], urgency, &candidates[best.index], best.score))
            best.index = i, best.score = urgency;
    }
    return best;
}

static struct nr_choice best_predicted(const struct nr_candidate *candidates, size_t count)
{
    struct nr_choice best = {.index = NR_CHOICE_NONE};
    for (size_t i = 0; i < count; i++) {
        double predicted = within(candidates[i].predicted, MAX_PREDICTED);
        if (best.index == NR_CHOICE_NONE || is_better(&candidates[i], predicted, &candidates[best.index], best.score))
            best.index = i, best.score = predicted;
    }
    return best;
}

static struct nr_choice best_learned(const struct nr_scheduler *scheduler, const struct nr_candidate *candidates,
                                     size_t count)
{
    struct nr_choice best = {.index = NR_CHOICE_NONE};
    double least = LEAST_SHARE * best_predicted(candidates, count).score;
    double scale = scheduler->ucb_c * nr_ratio_spread_deviation(&scheduler->spread);
    if (!(least > 0)) least = 1; /* All predict nothing: what was learned decides. */
    for (size_t i = 0; i < count; i++) {
        double predicted = NR_MAX(within(candidates[i].predicted, MAX_PREDICTED), least);
        struct nr_linear_estimate known = estimate(scheduler, &candidates[i]);
        double score = predicted * (known.ratio + scale * known.width);
        if (best.index == NR_CHOICE_NONE || is_better(&candidates[i], score, &candidates[best.index], best.score))
            best.index = i, best.score = score;
    }
    return best;
}

/* Draws among the arms that have candidates, each alike, and takes the arm's best prediction. Drawing candidates would
 * try the arms of many slots often and those of few hardly ever, and waste a try on a poor candidate. */
static struct nr_choice draw(const struct nr_candidate *candidates, size_t count, struct nr_random *random)
{
    bool is_seen[NR_ARM_COUNT] = {false};
    struct nr_choice best = {.index = NR_CHOICE_NONE, .explored = true};
    uint64_t arms = 0, drawn;
    for (size_t i = 0; i < count; i++) {
        uint32_t arm = arm_of(&candidates[i]);
        arms += !is_seen[arm];
        is_seen[arm] = true;
    }
    drawn = nr_random_below(random, arms);
    /* Arms by number, so that the order of candidates has no say. */
    for (uint32_t arm = 0; arm < NR_ARM_COUNT; arm++)
        if (is_seen[arm] && drawn-- == 0) best.arm = arm;
    for (size_t i = 0; i < count; i++) {
        double predicted = within(candidates[i].predicted, MAX_PREDICTED);
        if (arm_of(&candidates[i]) != best.arm) continue;
        if (best.index == NR_CHOICE_NONE || is_better(&candidates[i], predicted, &candidates[best.index], best.score))
            best.index = i, best.score = predicted;
    }
    return best;
}

/* By (level, slot, action). */
static int rotation_compare(const struct nr_candidate *candidate, uint32_t level, uint64_t slot_id, uint32_t action)
{
    if (candidate->level != level) return candidate->level < level ? -1 : 1;
    if (candidate->slot_id != slot_id) return candidate->slot_id < slot_id ? -1 : 1;
    return ((uint32_t)candidate->action > action) - ((uint32_t)candidate->action < action);
}

/* The first candidate behind the cursor, or else the first of all. */
static struct nr_choice next_in_turn(struct nr_scheduler *scheduler, const struct nr_candidate *candidates,
                                     size_t count)
{
    struct nr_choice choice = {.index = 0};
    bool is_behind = false;
    for (size_t i = 0; i < count; i++) {
        const struct nr_candidate *best = &candidates[choice.index];
        bool i_behind = rotation_compare(&candidates[i], scheduler->cursor_level, scheduler->cursor_slot_id,
                                         scheduler->cursor_action) > 0;
        bool is_before = rotation_compare(&candidates[i], best->level, best->slot_id, (uint32_t)best->action) < 0;
        if (i_behind == is_behind ? is_before : i_behind) choice.index = i, is_behind = i_behind;
    }
    scheduler->cursor_level = candidates[choice.index].level;
    scheduler->cursor_slot_id = candidates[choice.index].slot_id;
    scheduler->cursor_action = (uint32_t)candidates[choice.index].action;
    return choice;
}

static struct nr_choice choose_by_policy(struct nr_scheduler *scheduler, const struct nr_candidate *candidates,
                                         size_t count, struct nr_random *random)
{
    switch (scheduler->policy) {
    case NORI_SCHEDULER_GREEDY:
        return best_predicted(candidates, count);
    case NORI_SCHEDULER_ROUND_ROBIN:
        return next_in_turn(scheduler, candidates, count);
    default:
        if (nr_random_unit(random) < scheduler->epsilon) return draw(candidates, count, random);
        return best_learned(scheduler, candidates, count);
    }
}

struct nr_choice nr_scheduler_choose(struct nr_scheduler *scheduler, const struct nr_candidate *candidates,
                                     size_t count, struct nr_random *random)
{
    struct nr_choice choice = best_urgent(candidates, count);
    if (count == 0) return choice;
    if (choice.index == NR_CHOICE_NONE) choice = choose_by_policy(scheduler, candidates, count, random);
    choice.arm = arm_of(&candidates[choice.index]);
    choice.ratio = estimate(scheduler, &candidates[choice.index]).ratio;
    nr_bandit_try(&scheduler->bandit, choice.arm);
    for (size_t i = 0; i < NR_ACTION_COUNT; i++) nr_linear_fade(&scheduler->models[i], NR_BANDIT_KEEP);
    return choice;
}

struct nr_choice_record nr_scheduler_record(const struct nr_candidate *candidate, const struct nr_choice *choice)
{
    struct nr_choice_record record = {.arm = choice->arm, .predicted = within(candidate->predicted, MAX_PREDICTED)};
    clean_features(candidate->features, record.features);
    return record;
}

void nr_scheduler_reward(struct nr_scheduler *scheduler, const struct nr_choice_record *record, double realised)
{
    double prior = scheduler->spread.mean;
    double limit = NR_MIN(OUTLIER * prior, NR_RATIO_MAX);
    double features[NR_FEATURE_COUNT], ratio;
    realised = within(realised, MAX_PREDICTED);
    /* Nothing was predicted and nothing came: true, whatever the ratio. */
    if (!(record->predicted > 0) && realised == 0) return;
    /* A product instead of a quotient, which a tiny prediction would overflow. */
    ratio = realised >= limit * within(record->predicted, MAX_PREDICTED) ? limit : realised / record->predicted;
    clean_features(record->features, features);
    nr_bandit_learn(&scheduler->bandit, record->arm, prior, ratio, scheduler->alpha);
    nr_linear_learn(&scheduler->models[nr_bandit_arm_action(record->arm)], features, ratio);
    spread_learn(&scheduler->spread, ratio, scheduler->alpha);
}

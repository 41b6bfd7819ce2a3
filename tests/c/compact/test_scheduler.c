/* Cases stand in tests/c/data/scheduler: candidates, rewards, and the slots chosen one after the other.
 *
 *     case NAME
 *     policy bandit|contextual|greedy|round_robin
 *     options epsilon=N c=N alpha=N          0, 2 and 0.1 otherwise
 *     candidate ACTION level=N slot=N bytes=N predicted=N urgency=N FEATURE=N ...
 *     reward SLOT realised=N times=N         of the candidate of that slot, as if it had been chosen so often
 *     clear                                  no candidates
 *     => SLOT SLOT ... | none */
#include "scheduler_model.h"

#include <dirent.h>
#include <math.h>

#define MAX_CANDIDATES 16

struct parser {
    const char *path;
    int line;
    char name[80];
    struct nr_scheduler scheduler;
    struct nr_random random;
    struct nr_candidate candidates[MAX_CANDIDATES];
    size_t count;
};

#define PARSE_FAIL(parser, text) FAIL("%s:%d (case %s): %s", (parser)->path, (parser)->line, (parser)->name, text)

static const char *const policies[] = {"bandit", "contextual", "greedy", "round_robin"};
static const int policy_numbers[] = {NORI_SCHEDULER_BANDIT, NORI_SCHEDULER_CONTEXTUAL, NORI_SCHEDULER_GREEDY,
                                     NORI_SCHEDULER_ROUND_ROBIN};
static const char *const features[NR_FEATURE_COUNT] = {"l0",        "pressure",   "over_k",    "size",
                                                       "read_heat", "write_heat", "scan_heat", "tombstones"};

static void parse_policy(struct parser *parser, const char *word)
{
    for (size_t i = 0; i < NR_ARRAY_LEN(policies); i++) {
        if (strcmp(word, policies[i]) != 0) continue;
        model_init(&parser->scheduler, policy_numbers[i]);
        parser->scheduler.epsilon = 0;
        nr_random_init(&parser->random, 1);
        return;
    }
    PARSE_FAIL(parser, "no such policy");
}

/* "name=number": the number, or fails. */
static double parse_pair(struct parser *parser, char *word)
{
    char *equals = strchr(word, '='), *end;
    if (!equals) PARSE_FAIL(parser, "name=number expected");
    *equals = 0;
    double value = strtod(equals + 1, &end);
    if (*end || end == equals + 1) PARSE_FAIL(parser, "not a number");
    return value;
}

static void parse_option(struct parser *parser, char *word)
{
    double value = parse_pair(parser, word);
    if (strcmp(word, "epsilon") == 0)
        parser->scheduler.epsilon = value;
    else if (strcmp(word, "c") == 0)
        parser->scheduler.ucb_c = value;
    else if (strcmp(word, "alpha") == 0)
        parser->scheduler.alpha = value;
    else
        PARSE_FAIL(parser, "no such option");
}

static void parse_field(struct parser *parser, struct nr_candidate *candidate, char *word)
{
    double value = parse_pair(parser, word);
    if (strcmp(word, "level") == 0)
        candidate->level = (uint32_t)value;
    else if (strcmp(word, "slot") == 0)
        candidate->slot_id = (uint64_t)value;
    else if (strcmp(word, "bytes") == 0)
        candidate->bytes = (uint64_t)value;
    else if (strcmp(word, "predicted") == 0)
        candidate->predicted = value;
    else if (strcmp(word, "urgency") == 0)
        candidate->urgency = value;
    else {
        for (size_t i = 0; i < NR_FEATURE_COUNT; i++)
            if (strcmp(word, features[i]) == 0) {
                candidate->features[i] = value;
                return;
            }
        PARSE_FAIL(parser, "no such field");
    }
}

static void parse_candidate(struct parser *parser, char **rest)
{
    char *word = strtok_r(NULL, " ", rest);
    struct nr_candidate candidate = {.level = 1};
    if (!word || parser->count == MAX_CANDIDATES) PARSE_FAIL(parser, "an action, and room for it");
    for (uint32_t action = 1; action < NR_ACTION_COUNT; action++)
        if (strcmp(word, nr_action_name((enum nr_action)action)) == 0) candidate.action = (enum nr_action)action;
    if (candidate.action == NR_ACTION_NONE) PARSE_FAIL(parser, "no such action");
    while ((word = strtok_r(NULL, " ", rest)) != NULL) parse_field(parser, &candidate, word);
    parser->candidates[parser->count++] = candidate;
}

static void parse_reward(struct parser *parser, char **rest)
{
    char *word = strtok_r(NULL, " ", rest);
    double realised = 0, times = 1;
    uint64_t slot_id = word ? strtoull(word, NULL, 10) : 0;
    while ((word = strtok_r(NULL, " ", rest)) != NULL) {
        double value = parse_pair(parser, word);
        if (strcmp(word, "realised") == 0)
            realised = value;
        else if (strcmp(word, "times") == 0)
            times = value;
        else
            PARSE_FAIL(parser, "no such field");
    }
    for (size_t i = 0; i < parser->count; i++) {
        struct nr_candidate alone = parser->candidates[i];
        if (alone.slot_id != slot_id) continue;
        for (int n = 0; n < (int)times; n++) {
            struct nr_choice choice = nr_scheduler_choose(&parser->scheduler, &alone, 1, &parser->random);
            struct nr_choice_record record = nr_scheduler_record(&alone, &choice);
            nr_scheduler_reward(&parser->scheduler, &record, realised);
        }
        return;
    }
    PARSE_FAIL(parser, "no such slot");
}

static void expect_choices(struct parser *parser, char **rest)
{
    for (char *word = strtok_r(NULL, " ", rest); word; word = strtok_r(NULL, " ", rest)) {
        char chosen[32] = "none";
        struct nr_choice choice =
            nr_scheduler_choose(&parser->scheduler, parser->candidates, parser->count, &parser->random);
        if (choice.index != NR_CHOICE_NONE)
            snprintf(chosen, sizeof chosen, "%" PRIu64, parser->candidates[choice.index].slot_id);
        if (strcmp(word, chosen) != 0)
            FAIL("%s:%d (case %s): chose %s, expected %s", parser->path, parser->line, parser->name, chosen, word);
    }
}

static void parse_line(struct parser *parser, char *text)
{
    char *rest = NULL, *word = strtok_r(text, " \n", &rest);
    if (!word || *word == '#') return;
    if (rest) rest[strcspn(rest, "\n")] = 0;
    if (strcmp(word, "case") == 0) {
        snprintf(parser->name, sizeof parser->name, "%s", rest ? rest : "");
        parser->count = 0;
        parse_policy(parser, (char[]){"bandit"});
    } else if (strcmp(word, "policy") == 0) {
        parse_policy(parser, rest);
    } else if (strcmp(word, "options") == 0) {
        while ((word = strtok_r(NULL, " ", &rest)) != NULL) parse_option(parser, word);
    } else if (strcmp(word, "candidate") == 0) {
        parse_candidate(parser, &rest);
    } else if (strcmp(word, "reward") == 0) {
        parse_reward(parser, &rest);
    } else if (strcmp(word, "clear") == 0) {
        parser->count = 0;
    } else if (strcmp(word, "=>") == 0) {
        expect_choices(parser, &rest);
    } else {
        PARSE_FAIL(parser, "unknown line");
    }
}

TEST(the_tables_choices_come_out)
{
    static struct parser parser;
    char directory[512], path[1024], text[512];
    size_t files = 0;
    const char *data = getenv("NR_TEST_DATA");
    EXPECT(data);
    snprintf(directory, sizeof directory, "%s/scheduler", data);
    DIR *dir = opendir(directory);
    EXPECT(dir);
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        if (!strstr(entry->d_name, ".txt")) continue;
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        FILE *file = fopen(path, "r");
        EXPECT(file);
        parser.path = path;
        for (parser.line = 1; fgets(text, sizeof text, file); parser.line++) parse_line(&parser, text);
        fclose(file);
        files++;
    }
    closedir(dir);
    EXPECT(files > 0);
}

/* ---------------------------------------------------------------- properties */

static double numbers[] = {0, 1, -1, 0.3, 1e-320, 1e-9, 7, 1e9, 1e300, INFINITY, -INFINITY, NAN};

static double odd_number(struct nr_random *random)
{
    return numbers[nr_random_below(random, NR_ARRAY_LEN(numbers))];
}

TEST(whatever_numbers_come_in_choices_are_valid_and_what_is_learned_stays_in_bounds)
{
    static struct nr_scheduler scheduler;
    struct nr_random random;
    nr_random_init(&random, 5);
    for (size_t p = 0; p < NR_ARRAY_LEN(policy_numbers); p++) {
        model_init(&scheduler, policy_numbers[p]);
        for (int step = 0; step < 3000; step++) {
            struct nr_candidate candidates[8];
            size_t count = 1 + nr_random_below(&random, 8);
            for (size_t i = 0; i < count; i++) {
                candidates[i] =
                    (struct nr_candidate){.action = (enum nr_action)(1 + nr_random_below(&random, NR_ACTION_COUNT - 1)),
                                          .level = (uint32_t)nr_random_below(&random, NORI_MAX_LEVELS),
                                          .slot_id = nr_random_below(&random, 50),
                                          .predicted = odd_number(&random),
                                          .urgency = nr_random_below(&random, 4) ? 0 : odd_number(&random)};
                for (size_t f = 0; f < NR_FEATURE_COUNT; f++) candidates[i].features[f] = odd_number(&random);
            }
            struct nr_choice choice = nr_scheduler_choose(&scheduler, candidates, count, &random);
            EXPECT(choice.index < count && choice.arm < NR_ARM_COUNT);
            EXPECT(choice.ratio >= 0 && isfinite(choice.ratio) && choice.score >= 0);
            struct nr_choice_record record = nr_scheduler_record(&candidates[choice.index], &choice);
            nr_scheduler_reward(&scheduler, &record, odd_number(&random));
            EXPECT(scheduler.spread.mean >= NR_RATIO_LEAST_MEAN && scheduler.spread.mean <= NR_RATIO_MAX);
            EXPECT(isfinite(scheduler.spread.variance) && nr_ratio_spread_deviation(&scheduler.spread) > 0);
            double ratio = nr_bandit_ratio(&scheduler.bandit, choice.arm, 1);
            EXPECT(ratio >= 0 && ratio <= NR_RATIO_MAX);
            EXPECT(nr_linear_is_sound(&scheduler.models[nr_bandit_arm_action(choice.arm)]));
        }
    }
}

TEST(the_most_urgent_comes_first_under_every_policy_whatever_was_learned)
{
    static struct nr_scheduler scheduler;
    static struct model_world world;
    struct nr_random random;
    for (size_t p = 0; p < NR_ARRAY_LEN(policy_numbers); p++) {
        nr_random_init(&random, 6);
        model_init(&scheduler, policy_numbers[p]);
        model_world_init(&world, 6);
        model_run(&world, &scheduler, &random, 200);
        scheduler.epsilon = 1;
        for (int step = 0; step < 200; step++) {
            struct nr_candidate candidates[MODEL_KINDS];
            for (size_t kind = 0; kind < MODEL_KINDS; kind++) {
                candidates[kind] = model_candidate(&world.random, kind);
                candidates[kind].urgency = 2 * nr_random_unit(&world.random);
            }
            size_t urgent = nr_random_below(&world.random, MODEL_KINDS);
            candidates[urgent].urgency = 2;
            candidates[urgent].predicted = 0;
            struct nr_choice choice = nr_scheduler_choose(&scheduler, candidates, MODEL_KINDS, &random);
            EXPECT_EQ(choice.index, urgent);
            EXPECT(!choice.explored);
        }
    }
}

TEST(the_same_seed_gives_the_same_choices)
{
    static struct nr_scheduler first, second;
    static struct model_world first_world, second_world;
    for (size_t p = 0; p < NR_ARRAY_LEN(policy_numbers); p++) {
        struct nr_random first_random, second_random;
        nr_random_init(&first_random, 9);
        nr_random_init(&second_random, 9);
        model_init(&first, policy_numbers[p]);
        model_init(&second, policy_numbers[p]);
        model_world_init(&first_world, 4);
        model_world_init(&second_world, 4);
        for (int step = 0; step < 500; step++) {
            double a = model_run(&first_world, &first, &first_random, 1);
            EXPECT(a == model_run(&second_world, &second, &second_random, 1));
        }
        EXPECT(memcmp(&first, &second, sizeof first) == 0);
    }
}

static void expect_no_starvation(int policy, double epsilon, uint64_t window, int windows)
{
    static struct nr_scheduler scheduler;
    static struct model_world world;
    struct nr_random random;
    nr_random_init(&random, 11);
    model_init(&scheduler, policy);
    scheduler.epsilon = epsilon;
    model_world_init(&world, 12);
    for (int i = 0; i < windows; i++) {
        memset(world.chosen, 0, sizeof world.chosen);
        model_run(&world, &scheduler, &random, window);
        for (size_t kind = 0; kind < MODEL_KINDS; kind++)
            if (world.chosen[kind] == 0) FAIL("kind %zu starves in window %d under policy %d", kind, i, policy);
    }
}

TEST(every_arm_is_tried_again_and_again)
{
    expect_no_starvation(NORI_SCHEDULER_BANDIT, 0.1, 1000, 10);
    expect_no_starvation(NORI_SCHEDULER_CONTEXTUAL, 0.1, 1000, 10);
    expect_no_starvation(NORI_SCHEDULER_ROUND_ROBIN, 0, 1000, 10);
}

TEST(the_bonus_alone_keeps_every_arm_of_the_bandit_from_starving)
{
    expect_no_starvation(NORI_SCHEDULER_BANDIT, 0, 3000, 5);
}

TEST(an_arm_of_one_slot_is_explored_as_often_as_an_arm_of_many)
{
    static struct nr_scheduler scheduler;
    struct nr_random random;
    struct nr_candidate candidates[21];
    int lonely = 0;
    nr_random_init(&random, 3);
    model_init(&scheduler, NORI_SCHEDULER_BANDIT);
    scheduler.epsilon = 1;
    for (size_t i = 0; i < NR_ARRAY_LEN(candidates); i++)
        candidates[i] = (struct nr_candidate){
            .action = i ? NR_ACTION_TIER : NR_ACTION_CLEAN, .level = 1, .slot_id = i, .predicted = i ? 1 : 0};
    for (int step = 0; step < 1000; step++) {
        struct nr_choice choice = nr_scheduler_choose(&scheduler, candidates, NR_ARRAY_LEN(candidates), &random);
        EXPECT(choice.explored);
        lonely += choice.index == 0;
    }
    EXPECT(lonely > 400 && lonely < 600);
}

/* ---------------------------------------------------------------- learning */

static double total_reward(int policy, uint64_t seed, double slope, uint64_t *chosen_out)
{
    static struct nr_scheduler scheduler;
    static struct model_world world;
    struct nr_random random;
    nr_random_init(&random, seed + 100);
    model_init(&scheduler, policy);
    model_world_init(&world, seed);
    world.write_heat_slope = slope;
    double total = model_run(&world, &scheduler, &random, 2000);
    if (chosen_out) memcpy(chosen_out, world.chosen, sizeof world.chosen);
    return total;
}

TEST(where_predictions_are_wrong_by_a_factor_per_arm_learning_beats_greedy_and_round_robin)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        double greedy = total_reward(NORI_SCHEDULER_GREEDY, seed, 0, NULL);
        double round_robin = total_reward(NORI_SCHEDULER_ROUND_ROBIN, seed, 0, NULL);
        double bandit = total_reward(NORI_SCHEDULER_BANDIT, seed, 0, NULL);
        double contextual = total_reward(NORI_SCHEDULER_CONTEXTUAL, seed, 0, NULL);
        if (getenv("NR_TEST_SHOW"))
            printf("greedy %.0f, round robin %.0f, bandit %.0f, contextual %.0f\n", greedy, round_robin, bandit,
                   contextual);
        EXPECT(bandit > 1.5 * greedy);
        EXPECT(bandit > 1.5 * round_robin);
        EXPECT(contextual > 1.5 * greedy);
        EXPECT(contextual > 1.5 * round_robin);
    }
}

TEST(where_rewards_go_with_a_feature_the_contextual_policy_beats_the_bandit)
{
    double bandit = 0, contextual = 0;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        bandit += total_reward(NORI_SCHEDULER_BANDIT, seed, 3, NULL);
        contextual += total_reward(NORI_SCHEDULER_CONTEXTUAL, seed, 3, NULL);
    }
    if (getenv("NR_TEST_SHOW")) printf("slope: bandit %.0f, contextual %.0f\n", bandit, contextual);
    EXPECT(contextual > 1.1 * bandit);
}

static void expect_adapts(int policy)
{
    static struct nr_scheduler scheduler;
    static struct model_world world;
    struct nr_random random;
    nr_random_init(&random, 21);
    model_init(&scheduler, policy);
    model_world_init(&world, 22);
    double before = model_run(&world, &scheduler, &random, 1500);
    for (size_t i = 0; i < MODEL_KINDS / 2; i++) {
        double swapped = world.factors[i];
        world.factors[i] = world.factors[MODEL_KINDS - 1 - i];
        world.factors[MODEL_KINDS - 1 - i] = swapped;
    }
    model_run(&world, &scheduler, &random, 300);
    memset(world.chosen, 0, sizeof world.chosen);
    double after = model_run(&world, &scheduler, &random, 1500);
    if (getenv("NR_TEST_SHOW")) printf("policy %d: before %.0f, after %.0f\n", policy, before, after);
    EXPECT(after > 0.9 * before);
    EXPECT(world.chosen[5] + world.chosen[4] > 1000);
}

TEST(after_a_change_the_arms_that_are_better_now_are_found_within_300_choices)
{
    expect_adapts(NORI_SCHEDULER_BANDIT);
    expect_adapts(NORI_SCHEDULER_CONTEXTUAL);
}

TEST(a_poor_arm_that_became_the_best_is_found_by_the_bonus_alone)
{
    static struct nr_scheduler scheduler;
    static struct model_world world;
    struct nr_random random;
    nr_random_init(&random, 23);
    model_init(&scheduler, NORI_SCHEDULER_BANDIT);
    scheduler.epsilon = 0;
    model_world_init(&world, 24);
    model_run(&world, &scheduler, &random, 20000);
    /* What was chosen so far stays as good as it was: only counts that fade send the bandit elsewhere. */
    world.factors[5] = 3;
    model_run(&world, &scheduler, &random, 500);
    memset(world.chosen, 0, sizeof world.chosen);
    model_run(&world, &scheduler, &random, 1000);
    if (getenv("NR_TEST_SHOW")) printf("the new best: %" PRIu64 " of 1000\n", world.chosen[5]);
    EXPECT(world.chosen[5] > 700);
}

TEST(the_unit_of_rewards_does_not_matter)
{
    static struct nr_scheduler scheduler;
    static struct model_world world;
    for (int exponent = -6; exponent <= 6; exponent += 6) {
        struct nr_random random;
        double unit = pow(2, exponent);
        nr_random_init(&random, 31);
        model_init(&scheduler, NORI_SCHEDULER_BANDIT);
        model_world_init(&world, 32);
        for (size_t i = 0; i < MODEL_KINDS; i++) world.factors[i] *= unit;
        double total = model_run(&world, &scheduler, &random, 2000) / unit;
        if (getenv("NR_TEST_SHOW")) printf("unit 2^%d: %.0f\n", exponent, total);
        EXPECT(total > 1.3 * total_reward(NORI_SCHEDULER_GREEDY, 32, 0, NULL));
        EXPECT(world.chosen[0] + world.chosen[1] > 1200);
    }
}

TEST(one_measurement_gone_astray_does_not_rule_an_arm)
{
    static struct nr_scheduler scheduler;
    static struct model_world world;
    struct nr_random random;
    nr_random_init(&random, 41);
    model_init(&scheduler, NORI_SCHEDULER_BANDIT);
    model_world_init(&world, 42);
    model_run(&world, &scheduler, &random, 500);
    struct nr_candidate poor = model_candidate(&world.random, 5);
    struct nr_choice choice = nr_scheduler_choose(&scheduler, &poor, 1, &random);
    struct nr_choice_record record = nr_scheduler_record(&poor, &choice);
    nr_scheduler_reward(&scheduler, &record, 1e30);
    memset(world.chosen, 0, sizeof world.chosen);
    model_run(&world, &scheduler, &random, 300);
    if (getenv("NR_TEST_SHOW")) printf("gone astray: %" PRIu64 " of 300\n", world.chosen[5]);
    EXPECT(world.chosen[5] < 45);
}

TEST(a_prediction_of_nothing_that_brings_something_raises_its_arm)
{
    static struct nr_scheduler scheduler;
    struct nr_random random;
    struct nr_candidate candidate = {.action = NR_ACTION_TIER, .level = 1};
    nr_random_init(&random, 1);
    model_init(&scheduler, NORI_SCHEDULER_BANDIT);
    struct nr_choice choice = nr_scheduler_choose(&scheduler, &candidate, 1, &random);
    struct nr_choice_record record = nr_scheduler_record(&candidate, &choice);
    nr_scheduler_reward(&scheduler, &record, 0);
    EXPECT(nr_bandit_ratio(&scheduler.bandit, choice.arm, 1) == 1);
    nr_scheduler_reward(&scheduler, &record, 0.001);
    EXPECT(nr_bandit_ratio(&scheduler.bandit, choice.arm, 1) > 4);
}

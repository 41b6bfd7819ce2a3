/* The ring itself, below the API: ids, ends and rewards, and what happens when the ring has gone past a choice. */
#include "fixture.h"

#include <math.h>

#include "engine/engine.h"

static struct nori_engine *open_one(struct nori_env **env_out)
{
    struct nori_engine *engine;
    struct nori_error error;
    EXPECT_OK(nori_simdisk_create(1, 512, false, env_out, &error), &error);
    EXPECT_OK(open_small(*env_out, "/db", &engine, &error), &error);
    return engine;
}

static uint64_t choose(struct nori_engine *engine, const char *start)
{
    struct nr_decision_start choice = {.action = "tier",
                                       .level = 2,
                                       .slot_id = 77,
                                       .start = nr_slice_text(start),
                                       .is_explored = true,
                                       .predicted_reward = 1.5,
                                       .context = {1, 2, 3, 4, 5, 6, 7, 8}};
    return nr_decision_begin(engine, &choice);
}

TEST(a_choice_is_ended_and_rewarded_by_its_id)
{
    struct nori_env *env;
    struct nori_engine *engine = open_one(&env);
    struct nori_decision *decisions;
    struct nori_error error;
    struct nori_event events[8];
    uint64_t cursor = UINT64_MAX, dropped;
    size_t count;
    EXPECT_OK(nori_events_read(engine, &cursor, events, 0, &count, &dropped, &error), &error);
    uint64_t first = choose(engine, "a key that is longer than what a decision keeps of it");
    uint64_t second = choose(engine, "b");
    nr_decision_end(engine, first, 4096, 12);
    nr_decision_reward(engine, first, 0.25);
    EXPECT_OK(nori_decisions(engine, &decisions, &count, &error), &error);
    EXPECT_EQ(count, 2);
    EXPECT_EQ(decisions[1].id, second);
    EXPECT(!decisions[1].is_done && isnan(decisions[1].realised_reward));
    EXPECT(decisions[0].is_done && decisions[0].is_explored && decisions[0].realised_reward == 0.25);
    EXPECT_EQ(decisions[0].start_bytes, 32);
    EXPECT_EQ(decisions[0].bytes, 4096);
    EXPECT_EQ(decisions[0].context[7], 8);
    nori_free(decisions);
    EXPECT_OK(nori_events_read(engine, &cursor, events, 8, &count, &dropped, &error), &error);
    EXPECT_EQ(count, 3);
    EXPECT_EQ(events[0].kind, NORI_EVENT_BANDIT_SELECTION);
    EXPECT_EQ(events[0].values[2], 77);
    EXPECT_EQ(events[2].kind, NORI_EVENT_BANDIT_REWARD);
    EXPECT(events[2].values[3] == 1.5 && events[2].values[4] == 0.25);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

TEST(the_last_thousand_are_kept_and_what_concerns_older_ones_is_ignored)
{
    struct nori_env *env;
    struct nori_engine *engine = open_one(&env);
    struct nori_decision *decisions;
    struct nori_error error;
    size_t count;
    uint64_t first = choose(engine, "first"), last = 0;
    for (int i = 0; i < 1000; i++) last = choose(engine, "later");
    nr_decision_end(engine, first, 1, 1);
    nr_decision_reward(engine, first, 1);
    nr_decision_end(engine, 0, 1, 1);
    nr_decision_end(engine, last + 1, 1, 1);
    EXPECT_OK(nori_decisions(engine, &decisions, &count, &error), &error);
    EXPECT_EQ(count, 1000);
    EXPECT_EQ(decisions[0].id, first + 1);
    EXPECT_EQ(decisions[999].id, last);
    for (size_t i = 0; i < count; i++) EXPECT(!decisions[i].is_done && isnan(decisions[i].realised_reward));
    nori_free(decisions);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

TEST(texts_are_cut_between_characters)
{
    struct nori_env *env;
    struct nori_engine *engine = open_one(&env);
    struct nori_event event;
    struct nori_error error;
    char text[200];
    uint64_t cursor = UINT64_MAX, dropped;
    size_t count;
    for (size_t i = 0; i + 3 < sizeof text; i += 3) memcpy(text + i, "\xe2\x82\xac", 4);
    EXPECT_OK(nori_events_read(engine, &cursor, &event, 0, &count, &dropped, &error), &error);
    NR_EVENT_EMIT(engine, NORI_EVENT_BACKGROUND_ERROR, text, nr_slice(NULL, 0), 5);
    EXPECT_OK(nori_events_read(engine, &cursor, &event, 1, &count, &dropped, &error), &error);
    EXPECT_EQ(count, 1);
    EXPECT_EQ(strlen(event.text), 117);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

TEST(a_reader_that_falls_behind_loses_the_oldest_events_and_learns_how_many)
{
    struct nori_env *env;
    struct nori_engine *engine = open_one(&env);
    struct nori_event event;
    struct nori_error error;
    uint64_t cursor = 0, dropped, newest = UINT64_MAX;
    size_t count;
    for (int i = 0; i < NR_EVENT_RING + 10; i++) NR_EVENT_EMIT(engine, NORI_EVENT_CACHE, NULL, nr_slice(NULL, 0), i, 0);
    EXPECT_OK(nori_events_read(engine, &newest, &event, 0, &count, &dropped, &error), &error);
    EXPECT_EQ(dropped, 0);
    EXPECT_OK(nori_events_read(engine, &cursor, &event, 1, &count, &dropped, &error), &error);
    EXPECT_EQ(count, 1);
    EXPECT_EQ(dropped, newest - NR_EVENT_RING);
    EXPECT_EQ(event.number, dropped + 1);
    EXPECT_EQ(cursor, dropped + 1);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

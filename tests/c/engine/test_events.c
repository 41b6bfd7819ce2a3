#include "fixture.h"

#include <errno.h>
#include <math.h>

struct world {
    struct nori_env *env;
    struct nori_engine *engine;
};

static struct world begin(uint64_t seed)
{
    struct world world;
    struct nori_error error;
    EXPECT_OK(nori_simdisk_create(seed, 512, false, &world.env, &error), &error);
    EXPECT_OK(open_small(world.env, "/db", &world.engine, &error), &error);
    return world;
}

static void end(struct world *world)
{
    nori_destroy(world->engine);
    nori_simdisk_destroy(world->env);
}

static void fill(struct nori_engine *engine, int count)
{
    struct nori_error error;
    char key[32], value[400];
    uint64_t state = 1;
    value[sizeof value - 1] = 0;
    for (int i = 0; i < count; i++) {
        /* Nothing that compresses. */
        for (size_t j = 0; j + 1 < sizeof value; j++)
            value[j] = (char)(33 + ((state = state * 6364136223846793005u + 1442695040888963407u) >> 57) % 90);
        snprintf(key, sizeof key, "key%05d", i * 7919 % count);
        EXPECT_OK(put_text(engine, key, value, &error), &error);
    }
}

/* All events from '*cursor' on, counted by kind; the last of 'kind' goes to '*last'. */
static size_t count_events(struct nori_engine *engine, uint64_t *cursor, int kind, struct nori_event *last)
{
    static struct nori_event events[100];
    struct nori_error error;
    uint64_t dropped;
    size_t found = 0, count;
    do {
        EXPECT_OK(nori_events_read(engine, cursor, events, NR_ARRAY_LEN(events), &count, &dropped, &error), &error);
        for (size_t i = 0; i < count; i++) {
            if (events[i].kind != kind) continue;
            found++;
            *last = events[i];
        }
    } while (count > 0);
    return found;
}

TEST(every_kind_has_a_name_and_names_for_its_values)
{
    EXPECT(nori_event_shape(-1) == NULL);
    EXPECT(nori_event_shape(NORI_EVENT_KINDS) == NULL);
    for (int kind = 0; kind < NORI_EVENT_KINDS; kind++) {
        const struct nori_event_shape *shape = nori_event_shape(kind);
        EXPECT(shape->name && shape->values[0].name);
        for (int i = 1; i < NORI_EVENT_VALUES; i++) EXPECT(!shape->values[i].name || shape->values[i - 1].name);
    }
}

TEST(flushes_admissions_and_guard_moves_are_events_with_their_numbers)
{
    struct world world = begin(1);
    struct nori_event event;
    struct nori_error error;
    fill(world.engine, 1500);
    EXPECT_OK(nori_flush(world.engine, &error), &error);
    EXPECT_OK(nori_compact(world.engine, NULL, NULL, NULL, NULL, &error), &error);
    uint64_t cursor = 0;
    EXPECT(count_events(world.engine, &cursor, NORI_EVENT_FLUSH, &event) > 10);
    EXPECT(event.values[0] > 0 && event.values[1] > 0 && event.values[2] >= 1);
    cursor = 0;
    EXPECT(count_events(world.engine, &cursor, NORI_EVENT_ADMISSION, &event) > 0);
    EXPECT(strcmp(event.text, "admit") == 0);
    EXPECT_EQ(event.values[1], 1);
    cursor = 0;
    EXPECT(count_events(world.engine, &cursor, NORI_EVENT_GUARD_MOVE, &event) > 0);
    EXPECT(strcmp(event.text, "split") == 0);
    cursor = 0;
    EXPECT(count_events(world.engine, &cursor, NORI_EVENT_WAL_SEGMENT, &event) > 0);
    EXPECT_OK(nori_close(world.engine, &error), &error);
    end(&world);
}

TEST(events_are_numbered_without_a_gap_and_can_be_read_after_close)
{
    struct world world = begin(2);
    struct nori_event events[64];
    struct nori_error error;
    uint64_t cursor = 0, dropped, number = 0, newest = UINT64_MAX, behind;
    size_t count;
    fill(world.engine, 300);
    EXPECT_OK(nori_events_read(world.engine, &newest, events, 1, &count, &dropped, &error), &error);
    EXPECT_EQ(count, 0);
    EXPECT(newest > 0);
    behind = newest;
    fill(world.engine, 10);
    EXPECT_OK(nori_close(world.engine, &error), &error);
    do {
        EXPECT_OK(nori_events_read(world.engine, &cursor, events, 64, &count, &dropped, &error), &error);
        EXPECT_EQ(dropped, 0);
        for (size_t i = 0; i < count; i++) EXPECT_EQ(events[i].number, ++number);
    } while (count > 0);
    EXPECT_EQ(cursor, number);
    EXPECT(number > behind); /* The flush of close. */
    end(&world);
}

TEST(failed_background_work_and_poison_are_events_with_their_errno)
{
    struct world world = begin(4);
    struct nori_event event;
    struct nori_error error;
    uint64_t cursor = 0;
    EXPECT_OK(put_text(world.engine, "key", "value", &error), &error);
    EXPECT_OK(nori_simdisk_fail(world.env, "any", 1, EIO, false, &error), &error);
    nori_status rc = nori_flush(world.engine, &error);
    EXPECT(rc != NORI_OK);
    EXPECT(count_events(world.engine, &cursor, NORI_EVENT_BACKGROUND_ERROR, &event) >= 1);
    EXPECT_EQ(event.values[0], EIO);
    EXPECT(strlen(event.text) > 8);
    end(&world);
}

TEST(every_plan_is_a_decision_that_knows_what_it_cost)
{
    struct world world = begin(5);
    struct nori_decision *decisions;
    struct nori_error error;
    size_t count, writing = 0;
    fill(world.engine, 1500);
    EXPECT_OK(nori_decisions(world.engine, &decisions, &count, &error), &error);
    EXPECT(count > 5 && count <= 1000);
    for (size_t i = 0; i < count; i++) {
        EXPECT_EQ(decisions[i].id, decisions[0].id + i);
        EXPECT(decisions[i].is_done);
        EXPECT(isnan(decisions[i].realised_reward) && decisions[i].predicted_reward >= 0);
        EXPECT(decisions[i].action[0]);
        writing += decisions[i].bytes > 0;
    }
    EXPECT(writing > 0);
    nori_free(decisions);
    EXPECT_EQ(strcmp(nori_decision_feature(0), "l0_depth"), 0);
    EXPECT(nori_decision_feature(NORI_DECISION_FEATURES) == NULL);
    EXPECT_OK(nori_close(world.engine, &error), &error);
    EXPECT_STATUS(nori_decisions(world.engine, &decisions, &count, &error), NORI_CLOSED, &error);
    end(&world);
}

TEST(copying_decisions_out_without_memory_says_so)
{
    struct world world = begin(6);
    struct nori_decision *decisions;
    struct nori_error error;
    size_t count;
    nr_alloc_fail_at(1);
    EXPECT_STATUS(nori_decisions(world.engine, &decisions, &count, &error), NORI_NO_MEMORY, &error);
    nr_alloc_fail_at(0);
    EXPECT(decisions == NULL && count == 0);
    end(&world);
}

TEST(latencies_are_counted_by_bound)
{
    struct world world = begin(7);
    uint64_t counts[NORI_LATENCY_BUCKETS + 1], sum = 0;
    struct nori_error error;
    fill(world.engine, 50);
    const double *bounds = nori_latency_bounds();
    for (int i = 1; i < NORI_LATENCY_BUCKETS; i++) EXPECT(bounds[i] > bounds[i - 1]);
    EXPECT_OK(nori_latency_counts(world.engine, NORI_LATENCY_PUT, counts, &error), &error);
    for (int i = 0; i <= NORI_LATENCY_BUCKETS; i++) sum += counts[i];
    EXPECT_EQ(sum, 50);
    EXPECT_STATUS(nori_latency_counts(world.engine, 99, counts, &error), NORI_INVALID, &error);
    end(&world);
}

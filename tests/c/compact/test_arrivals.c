/* What is expected to arrive, level by level. */
#include <math.h>

#include "compact/arrivals.h"
#include "planner_model.h"

static double expected(const struct nr_version *version, uint32_t level, size_t index)
{
    return nr_level_slot(version->levels[level], index)->activity->state.arrival_rate;
}

TEST(what_a_slot_gets_goes_on_to_those_below_by_their_trees)
{
    struct nori_error err;
    struct nr_version *version;
    EXPECT_OK(nr_version_create(5, &version, &err), &err);
    model_set_level(version, 1,
                    (struct nr_slot *[]){model_slot_of(1, 11, "", "m", 10), model_slot_of(1, 12, "m", NULL, 10)}, 2);
    model_set_level(version, 2,
                    (struct nr_slot *[]){model_slot_of(2, 21, "", "c", 100), model_slot_of(2, 22, "c", "m", 100),
                                         model_slot_of(2, 23, "m", NULL, 7)},
                    3);
    model_set_level(version, 3,
                    (struct nr_slot *[]){model_slot_of(3, 31, "", "b", 1000), model_slot_of(3, 32, "b", "c", 1900),
                                         model_slot_of(3, 33, "c", "m", 900), model_slot_of(3, 34, "m", NULL, 70)},
                    4);
    nr_level_slot(version->levels[1], 0)->activity->state.write_rate = 400;
    nr_level_slot(version->levels[1], 1)->activity->state.write_rate = 50;
    /* A burst that was measured there, and is not what is expected. */
    nr_level_slot(version->levels[3], 3)->activity->state.mean_write_rate = 9000;
    for (int round = 0; round < 2; round++) {
        nr_arrivals_expect(version, 600);
        EXPECT(expected(version, 1, 0) == 400 && expected(version, 1, 1) == 50);
        EXPECT(expected(version, 2, 0) == 300 && expected(version, 2, 1) == 100 && expected(version, 2, 2) == 50);
        EXPECT(fabs(expected(version, 3, 0) - 300.0 * 1000 / 2900) < 1e-9);
        EXPECT(fabs(expected(version, 3, 1) - 300.0 * 1900 / 2900) < 1e-9);
        EXPECT(expected(version, 3, 2) == 100 && expected(version, 3, 3) == 50);
    }
    EXPECT(nr_arrivals_rate(&nr_level_slot(version->levels[3], 3)->activity->state) == 9000);
    EXPECT(nr_arrivals_rate(&nr_level_slot(version->levels[3], 2)->activity->state) == 100);
    nr_version_unref(version);
}

TEST(what_vanishes_on_the_way_does_not_arrive)
{
    struct nori_error err;
    struct nr_version *version;
    EXPECT_OK(nr_version_create(4, &version, &err), &err);
    model_set_level(version, 1, (struct nr_slot *[]){model_slot_of(1, 11, "", NULL, 6000)}, 1);
    model_set_level(version, 2,
                    (struct nr_slot *[]){model_slot_of(2, 21, "", "m", 500), model_slot_of(2, 22, "m", NULL, 500)}, 2);
    struct nr_activity_state *above = &nr_level_slot(version->levels[1], 0)->activity->state;
    above->write_rate = above->mean_write_rate = 100;
    nr_level_slot(version->levels[2], 0)->activity->state.mean_write_rate = 20;
    nr_level_slot(version->levels[2], 1)->activity->state.mean_write_rate = 30;
    /* Of 100 a second for 600 s half went on; the 6,000 bytes that are still there may. */
    nr_arrivals_expect(version, 600);
    EXPECT(fabs(expected(version, 2, 0) - 30) < 1e-9 && fabs(expected(version, 2, 1) - 30) < 1e-9);
    nr_arrivals_expect(version, 60); /* What came in so short a time is all still there. */
    EXPECT(expected(version, 2, 0) == 50 && expected(version, 2, 1) == 50);
    nr_version_unref(version);
}

TEST(levels_that_are_empty_let_it_through)
{
    struct nori_error err;
    struct nr_version *version;
    EXPECT_OK(nr_version_create(5, &version, &err), &err);
    model_set_level(version, 1,
                    (struct nr_slot *[]){model_slot_of(1, 11, "", "m", 10), model_slot_of(1, 12, "m", NULL, 10)}, 2);
    /* Level 2 was not cut yet. Level 3 has been, and has handed down all it had. */
    model_set_level(
        version, 3,
        (struct nr_slot *[]){model_slot_create(3, 31, nr_slice_text(""), nr_bound_key(nr_slice_text("m")), 0, NULL, 0),
                             model_slot_create(3, 32, nr_slice_text("m"), nr_bound_infinite(), 0, NULL, 0)},
        2);
    model_set_level(version, 4,
                    (struct nr_slot *[]){model_slot_of(4, 41, "", "c", 300), model_slot_of(4, 42, "c", "m", 100),
                                         model_slot_of(4, 43, "m", NULL, 70)},
                    3);
    nr_level_slot(version->levels[1], 0)->activity->state.write_rate = 400;
    nr_level_slot(version->levels[1], 1)->activity->state.write_rate = 50;
    nr_arrivals_expect(version, 600);
    EXPECT(expected(version, 3, 0) == 400 && expected(version, 3, 1) == 50);
    EXPECT(expected(version, 4, 0) == 300 && expected(version, 4, 1) == 100 && expected(version, 4, 2) == 50);
    nr_version_unref(version);
}

TEST(nothing_is_expected_where_nothing_is)
{
    struct nori_error err;
    struct nr_version *version;
    EXPECT_OK(nr_version_create(3, &version, &err), &err);
    nr_level_slot(version->levels[1], 0)->activity->state.write_rate = 400;
    nr_arrivals_expect(version, 600);
    EXPECT(expected(version, 1, 0) == 400 && expected(version, 2, 0) == 0);
    nr_version_unref(version);
}

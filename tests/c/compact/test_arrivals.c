/* What is expected to arrive, level by level. */
#include <math.h>

#include "compact/arrivals.h"
#include "planner_model.h"

static struct nr_slot *make(uint32_t level, uint64_t id, const char *start, const char *end, uint64_t bytes)
{
    struct nori_error err;
    struct model_run model = {.run_id = 100 * level + id, .bytes = bytes, .entries = 1};
    struct nr_bound bound = end ? nr_bound_key(nr_slice_text(end)) : nr_bound_infinite();
    struct nr_table_slice slice = model_slice(&model, model.run_id, nr_slice_text(start), bound, 1);
    struct nr_run *run = NULL;
    EXPECT_OK(nr_run_create(model.run_id, &slice, 1, &run, &err), &err);
    nr_table_file_unref(slice.file);
    return model_slot_create(level, id, nr_slice_text(start), bound, 0, &run, 1);
}

static double expected(const struct nr_version *version, uint32_t level, size_t index)
{
    return nr_level_slot(version->levels[level], index)->activity->state.arrival_rate;
}

TEST(what_a_slot_gets_goes_on_to_those_below_by_their_trees)
{
    struct nori_error err;
    struct nr_version *version;
    EXPECT_OK(nr_version_create(5, &version, &err), &err);
    model_set_level(version, 1, (struct nr_slot *[]){make(1, 11, "", "m", 10), make(1, 12, "m", NULL, 10)}, 2);
    model_set_level(
        version, 2,
        (struct nr_slot *[]){make(2, 21, "", "c", 100), make(2, 22, "c", "m", 100), make(2, 23, "m", NULL, 7)}, 3);
    model_set_level(version, 3,
                    (struct nr_slot *[]){make(3, 31, "", "b", 1000), make(3, 32, "b", "c", 1900),
                                         make(3, 33, "c", "m", 900), make(3, 34, "m", NULL, 70)},
                    4);
    nr_level_slot(version->levels[1], 0)->activity->state.write_rate = 400;
    nr_level_slot(version->levels[1], 1)->activity->state.write_rate = 50;
    /* A burst that was measured there, and is not what is expected. */
    nr_level_slot(version->levels[3], 3)->activity->state.write_rate = 9000;
    for (int round = 0; round < 2; round++) {
        nr_arrivals_expect(version);
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

TEST(nothing_is_expected_where_nothing_is)
{
    struct nori_error err;
    struct nr_version *version;
    EXPECT_OK(nr_version_create(3, &version, &err), &err);
    nr_level_slot(version->levels[1], 0)->activity->state.write_rate = 400;
    nr_arrivals_expect(version);
    EXPECT(expected(version, 1, 0) == 400 && expected(version, 2, 0) == 0);
    nr_version_unref(version);
}

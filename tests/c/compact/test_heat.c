/* Folding and normalising, driven from tables. */
#include "compact/heat.h"
#include "harness.h"

#define EXPECT_ABOUT(actual, expected)                                                                                 \
    do {                                                                                                               \
        double about_actual = (actual), about_expected = (expected);                                                   \
        if (about_actual < about_expected * 0.999 - 1e-9 || about_actual > about_expected * 1.001 + 1e-9)              \
            FAIL("%s is %g, expected about %g", #actual, about_actual, about_expected);                                \
    } while (0)

#define SECOND 1000000ull

static struct nori_error err;

static struct nr_activity *make_activity(void)
{
    struct nr_activity *activity;
    EXPECT_OK(nr_activity_create(&activity, &err), &err);
    return activity;
}

static void search(struct nr_activity *activity, int reads, uint64_t probes)
{
    for (int i = 0; i < reads; i++) nr_activity_count_search(activity, (unsigned)i, probes);
}

TEST(a_weight_depends_on_the_time_passed_not_on_the_number_of_folds)
{
    static const struct {
        double seconds, alpha, interval, weight;
    } cases[] = {
        {60, 0.1, 60, 0.1}, {0, 0.1, 60, 0},    {120, 0.1, 60, 0.19}, {30, 0.1, 60, 0.051317},
        {1, 1.0, 60, 1},    {60, 0.5, 60, 0.5}, {1e9, 0.1, 60, 1},    {6, 0.1, 60, 0.010481},
    };
    for (size_t i = 0; i < NR_ARRAY_LEN(cases); i++)
        EXPECT_ABOUT(nr_heat_weight((uint64_t)(cases[i].seconds * 1e6), cases[i].alpha, cases[i].interval),
                     cases[i].weight);
    double kept = 1;
    for (int i = 0; i < 10; i++) kept *= 1 - nr_heat_weight(6 * SECOND, 0.1, 60);
    EXPECT_ABOUT(kept, 1 - nr_heat_weight(60 * SECOND, 0.1, 60));
}

TEST(a_rate_rises_four_times_as_fast_as_it_falls)
{
    static const struct {
        double before;
        int reads; /* In 60 s. */
        double alpha, after;
    } cases[] = {
        {0, 600, 0.1, 4},                      /* 0 + 0.4 (10 - 0) */
        {20, 600, 0.1, 19},                    /* 20 + 0.1 (10 - 20) */
        {10, 600, 0.1, 10}, {0, 600, 0.5, 10}, /* At most all of it. */
        {20, 0, 0.1, 18},
    };
    for (size_t i = 0; i < NR_ARRAY_LEN(cases); i++) {
        struct nr_activity *activity = make_activity();
        activity->state.read_rate = cases[i].before;
        activity->state.folded_at_us = 5 * SECOND;
        search(activity, cases[i].reads, 2);
        EXPECT(nr_heat_fold(activity, 1, 65 * SECOND, cases[i].alpha, 60));
        EXPECT_ABOUT(activity->state.read_rate, cases[i].after);
        EXPECT_EQ(activity->state.folded_at_us, 65 * SECOND);
        EXPECT_EQ(activity->state.searches, cases[i].reads);
        EXPECT_EQ(nr_activity_peek(activity).searches, 0);
        nr_activity_unref(activity);
    }
}

TEST(bytes_that_come_in_few_large_parts_have_their_mean)
{
    struct nr_activity *activity = make_activity();
    activity->state.folded_at_us = SECOND;
    double sum = 0;
    for (uint64_t second = 2; second <= 4001; second++) {
        if (second % 40 == 0) nr_activity_count_arrived(activity, 0, 4000);
        EXPECT(nr_heat_fold(activity, 1, second * SECOND, 0.1, 1));
        if (second > 2001) sum += activity->state.mean_write_rate;
    }
    EXPECT_ABOUT(sum / 2000, 100); /* As an average over parts; the rate that rises fast is above it. */
    nr_activity_unref(activity);
}

TEST(few_accesses_are_carried_over_until_there_are_more_or_the_interval_is_over)
{
    struct nr_activity *activity = make_activity();
    EXPECT(!nr_heat_fold(activity, 1, 10 * SECOND, 0.1, 60)); /* Begins here. */
    search(activity, 5, 1);
    nr_activity_count_scan(activity, 0);
    EXPECT(!nr_heat_fold(activity, 1, 20 * SECOND, 0.1, 60));
    EXPECT_EQ(activity->state.folded_at_us, 10 * SECOND);
    EXPECT_EQ(nr_activity_peek(activity).searches, 5);
    search(activity, 5, 1);
    EXPECT(nr_heat_fold(activity, 1, 30 * SECOND, 1.0, 60));
    EXPECT_ABOUT(activity->state.read_rate, 0.5); /* Ten in the 20 s since it began. */
    EXPECT(!nr_heat_fold(activity, 1, 40 * SECOND, 1.0, 60));
    EXPECT_ABOUT(activity->state.read_rate, 0.5);
    EXPECT(nr_heat_fold(activity, 1, 90 * SECOND, 1.0, 60));
    EXPECT_ABOUT(activity->state.read_rate, 0);
    EXPECT(!nr_heat_fold(activity, 1, 90 * SECOND, 1.0, 60));
    nr_activity_unref(activity);
}

TEST(each_kind_has_its_rate_and_probes_are_those_of_reads_that_searched)
{
    struct nr_activity *activity = make_activity();
    activity->state.folded_at_us = 1;
    search(activity, 100, 3);
    nr_activity_count_sheltered(activity, 0, 64);
    nr_activity_count_scan(activity, 3);
    nr_activity_count_arrived(activity, 1, 5000);
    EXPECT(nr_heat_fold(activity, 1, 1 + 10 * SECOND, 1.0, 60));
    EXPECT_ABOUT(activity->state.read_rate, 16.4);
    EXPECT_ABOUT(activity->state.scan_rate, 0.1);
    EXPECT_ABOUT(activity->state.write_rate, 500);
    EXPECT_ABOUT(activity->state.mean_write_rate, 500);
    EXPECT_ABOUT(activity->state.probes_per_read, 3);
    EXPECT_EQ(activity->state.searches, 100);
    EXPECT_EQ(activity->state.bytes_arrived, 5000);
    search(activity, 100, 1);
    EXPECT(nr_heat_fold(activity, 1, 1 + 70 * SECOND, 0.5, 60));
    EXPECT_ABOUT(activity->state.probes_per_read, 2);
    nr_activity_unref(activity);
}

/* Reads and bytes of up to eight slots, and their heat. */
TEST(heat_is_accesses_per_byte_over_the_95th_percentile_of_the_bytes)
{
    static const struct {
        const char *name;
        size_t count;
        struct nr_heat_rates slots[8];
        double heats[8];
    } cases[] = {
        {"none", 0, {{0}}, {0}},
        {"one alone is hot", 1, {{100, 5, 0, 0}}, {1}},
        {"nothing happens", 3, {{100, 0, 0, 0}, {200, 0, 0, 0}, {0, 0, 0, 0}}, {0, 0, 0}},
        {"one of four", 4, {{100, 90, 0, 0}, {100, 9, 0, 0}, {100, 0, 0, 0}, {100, 45, 0, 0}}, {1, 0.1, 0, 0.5}},
        {"per byte", 2, {{1000, 10, 0, 0}, {100, 10, 0, 0}}, {0.1, 1}},
        /* The hot keys are 2 % of the bytes: others are measured by the rest. */
        {"a hot key does not make the others cold",
         3,
         {{20, 1e6, 0, 0}, {490, 49, 0, 0}, {490, 98, 0, 0}},
         {1, 0.5, 1}},
        {"all but a little is idle", 2, {{10, 7, 0, 0}, {990, 0, 0, 0}}, {1, 0}},
        {"an empty slot is of mean size", 3, {{100, 10, 0, 0}, {200, 0, 0, 0}, {0, 10, 0, 0}}, {1, 0, 1}},
        {"all are empty", 2, {{0, 1, 0, 0}, {0, 4, 0, 0}}, {0.25, 1}},
    };
    for (size_t i = 0; i < NR_ARRAY_LEN(cases); i++) {
        struct nr_heat_density scratch[8];
        struct nr_heat heats[8];
        nr_heat_normalise(cases[i].slots, cases[i].count, scratch, heats);
        for (size_t j = 0; j < cases[i].count; j++) {
            double heat = heats[j].read, expected = cases[i].heats[j];
            if (heat < expected - 1e-6 || heat > expected + 1e-6)
                FAIL("%s: slot %zu is %g, expected %g", cases[i].name, j, heat, expected);
            if (heats[j].heat != heat || heats[j].write != 0 || heats[j].scan != 0)
                FAIL("%s: slot %zu has heat of other kinds", cases[i].name, j);
        }
    }
}

TEST(heat_is_the_greater_of_reads_and_scans_and_writes_stand_apart)
{
    static const struct nr_heat_rates slots[] = {{100, 10, 1, 0}, {100, 5, 100, 3}, {100, 0, 50, 6}};
    struct nr_heat_density scratch[3];
    struct nr_heat heats[3];
    nr_heat_normalise(slots, 3, scratch, heats);
    EXPECT_ABOUT(heats[0].heat, 1);
    EXPECT_ABOUT(heats[0].write, 0.01);
    EXPECT_ABOUT(heats[1].read, 0.5);
    EXPECT_ABOUT(heats[1].heat, 0.5);
    EXPECT_ABOUT(heats[1].write, 1);
    EXPECT_ABOUT(heats[2].scan, 1);
    EXPECT_ABOUT(heats[2].heat, 1);
}

static double probed_part(const struct nr_activity *activity)
{
    return nr_heat_probed_part(&activity->state, 2);
}

TEST(the_part_of_the_runs_that_gets_look_into_is_that_of_late)
{
    struct nr_activity *activity = make_activity();
    activity->state.folded_at_us = 5 * SECOND;
    EXPECT_ABOUT(probed_part(activity), 0.5); /* Nothing is known. */
    search(activity, 100, 1);
    EXPECT(nr_heat_fold(activity, 1, 6 * SECOND, 0.1, 60));
    EXPECT_ABOUT(probed_part(activity), 0.5); /* Of one run nothing is learned. */
    search(activity, 100, 2);
    EXPECT(nr_heat_fold(activity, 4, 7 * SECOND, 0.1, 60));
    EXPECT_ABOUT(probed_part(activity), 110.0 / 320); /* A third, but for what was not known. */
    search(activity, 100, 0);                         /* The bounds of none cover the keys. */
    EXPECT(nr_heat_fold(activity, 4, 8 * SECOND, 0.1, 60));
    EXPECT(probed_part(activity) < 0.2);
    search(activity, 100, 4);
    EXPECT(nr_heat_fold(activity, 4, 600 * SECOND, 0.1, 60)); /* What was before is forgotten. */
    EXPECT(probed_part(activity) > 0.95);
    nr_activity_unref(activity);
}

TEST(what_gets_look_into_is_remembered_and_counts_half_while_there_is_one_run)
{
    struct nr_activity *activity = make_activity();
    activity->state.folded_at_us = 5 * SECOND;
    search(activity, 100, 1);
    EXPECT(nr_heat_fold(activity, 3, 6 * SECOND, 0.1, 60));
    EXPECT_ABOUT(probed_part(activity), 10.0 / 220);
    search(activity, 100, 1);
    EXPECT(nr_heat_fold(activity, 1, 3600 * SECOND, 0.1, 60));
    EXPECT_ABOUT(probed_part(activity), 10.0 / 220);
    EXPECT_ABOUT(nr_heat_probed_part(&activity->state, 1), (1 + 10.0 / 220) / 2);
    nr_activity_unref(activity);
}

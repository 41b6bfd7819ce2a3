#include "harness.h"

#include "compact/shape.h"

static const struct nr_shape_costs costs = {.probe_ns = 500, .scan_ns = 5000, .byte_ns = 10};

/* With a fan-out of 10 and at most 4 runs. */
static uint32_t by_cost(struct nr_shape_slot slot)
{
    slot.ratio = 10;
    if (slot.probed_part == 0) slot.probed_part = 1;
    return nr_shape_by_cost(&slot, &costs, 4);
}

static uint32_t by_heat(double heat, uint32_t k)
{
    struct nr_shape_slot slot = {.bytes = 1000, .run_count = 1, .k = k, .heat = heat};
    return nr_shape_by_heat(&slot, 4);
}

TEST(what_nobody_reads_may_hold_as_many_runs_as_there_may_be)
{
    EXPECT_EQ(by_cost((struct nr_shape_slot){.bytes = 1 << 20, .run_count = 1}), 4);
    EXPECT_EQ(by_cost((struct nr_shape_slot){.bytes = 1 << 20, .run_count = 4, .k = 1, .write_rate = 1e6}), 4);
}

TEST(what_is_only_read_becomes_one_run)
{
    EXPECT_EQ(by_cost((struct nr_shape_slot){.bytes = 1 << 20, .run_count = 4, .read_rate = 10000}), 1);
    EXPECT_EQ(by_cost((struct nr_shape_slot){.bytes = 1 << 20, .run_count = 4, .scan_rate = 1000}), 1);
}

TEST(reads_and_writes_are_weighed)
{
    /* One run costs 2.5 times the rewriting of two: worth it above some ratio of reads to bytes. */
    struct nr_shape_slot slot = {.bytes = 1 << 20, .run_count = 1, .write_rate = 1e5};
    uint32_t last = 4;
    bool seen[5] = {false};
    for (slot.read_rate = 1; slot.read_rate < 1e6; slot.read_rate *= 1.1) {
        uint32_t k = by_cost(slot);
        EXPECT(k <= last && k >= 1);
        seen[k] = true;
        last = k;
    }
    EXPECT(seen[1] && seen[2] && seen[4]);
}

TEST(a_level_that_has_little_more_than_what_arrives_rewrites_little)
{
    static const uint64_t bytes[] = {300, 0, 1500, 60000, 1000};
    double ratios[5];
    nr_shape_ratios(bytes, 5, 100, 10, ratios);
    EXPECT(ratios[0] == 3 && ratios[1] == 1 && ratios[2] == 5);
    EXPECT(ratios[3] == 10); /* At most the fan-out. */
    EXPECT(ratios[4] == 1);
    nr_shape_ratios(bytes, 1, 0, 10, ratios);
    EXPECT(ratios[0] == 10);
    /* One run instead of two costs a quarter of the ratio: worth it where that is small. */
    struct nr_shape_slot slot = {.bytes = 1 << 20, .read_rate = 1000, .probed_part = 1, .write_rate = 5e4};
    slot.ratio = 10;
    EXPECT(nr_shape_by_cost(&slot, &costs, 4) > 1);
    slot.ratio = 1.5;
    EXPECT_EQ(nr_shape_by_cost(&slot, &costs, 4), 1);
}

static bool is_worth(struct nr_shape_slot slot)
{
    slot.ratio = 10;
    if (slot.probed_part == 0) slot.probed_part = 1;
    return nr_shape_is_worth_merging(&slot, &costs, 1, slot.bytes, 60);
}

TEST(k_falls_whatever_there_is_to_merge)
{
    /* It rewrites nothing: what arrives next finds one run, or makes one of all. */
    struct nr_shape_slot slot = {.bytes = 1 << 20, .run_count = 4, .k = 4, .read_rate = 100};
    EXPECT_EQ(by_cost(slot), 1);
}

TEST(runs_are_merged_at_once_only_where_the_reads_of_an_interval_pay_for_it)
{
    struct nr_shape_slot slot = {.bytes = 1 << 20, .run_count = 4, .read_rate = 100};
    EXPECT(!is_worth(slot)); /* 60 s x 100 x 3 x 500 ns are 9 ms, the merge 10.5 ms. */
    slot.read_rate = 1000;
    EXPECT(is_worth(slot));
    slot.run_count = 1;
    EXPECT(!is_worth(slot));
}

TEST(runs_that_the_next_arrival_merges_anyway_are_left_to_it)
{
    struct nr_shape_slot slot = {.bytes = 1 << 20, .run_count = 4, .read_rate = 1000};
    slot.write_rate = 1e3; /* A tenth of the slot comes after 105 s. */
    EXPECT(is_worth(slot));
    slot.write_rate = 1e5; /* After one. */
    EXPECT(!is_worth(slot));
}

TEST(reads_that_begin_count_at_once_for_k_and_as_they_were_for_a_merge)
{
    /* The folded rate is far below what is seen: a K by it would stay for an interval. */
    struct nr_shape_slot slot = {.bytes = 1 << 20, .run_count = 4, .read_rate = 1000, .write_rate = 2e5};
    EXPECT_EQ(by_cost(slot), 4);
    slot.recent_reads = 200000;
    slot.recent_secs = 5;
    EXPECT_EQ(by_cost(slot), 1);
    slot.write_rate = 0;
    slot.read_rate = 0;
    EXPECT(is_worth(slot));
    slot.recent_reads = 5000; /* What was read does not pay for the merge yet. */
    slot.recent_secs = 0.25;
    EXPECT_EQ(by_cost(slot), 1);
    EXPECT(!is_worth(slot));
}

TEST(gets_count_for_the_runs_they_look_into)
{
    struct nr_shape_slot slot = {.bytes = 1 << 20, .run_count = 4, .read_rate = 1000, .write_rate = 5e3};
    EXPECT_EQ(by_cost(slot), 1);
    slot.probed_part = 0.1;
    EXPECT(by_cost(slot) > 2);
    slot.scan_rate = 100; /* Scans open them all. */
    EXPECT_EQ(by_cost(slot), 1);
    slot = (struct nr_shape_slot){.bytes = 1 << 20, .run_count = 4, .read_rate = 1000};
    EXPECT(is_worth(slot));
    slot.probed_part = 0.1;
    EXPECT(!is_worth(slot));
}

TEST(heat_decides_by_its_formula)
{
    static const struct {
        double heat;
        uint32_t k;
    } cases[] = {{0, 4}, {0.2, 4}, {0.35, 3}, {0.55, 2}, {0.8, 1}, {1, 1}};
    for (size_t i = 0; i < NR_ARRAY_LEN(cases); i++) EXPECT_EQ(by_heat(cases[i].heat, 0), cases[i].k);
}

TEST(a_margin_keeps_k_from_flickering)
{
    /* The step from 2 to 1 lies at 0.7. */
    EXPECT_EQ(by_heat(0.69, 1), 1);
    EXPECT_EQ(by_heat(0.71, 2), 2);
    EXPECT_EQ(by_heat(0.64, 1), 2);
    EXPECT_EQ(by_heat(0.76, 2), 1);
}

TEST(k_is_looked_at_sooner_the_more_is_read)
{
    struct nr_shape_watch watch = {.round_us = 15e6, .look_us = 300, .many_hints = 100};
    EXPECT(nr_shape_due_us(&watch) == 15e6);
    watch.hints = 1;
    EXPECT(nr_shape_due_us(&watch) == 1e6);
    watch.hints = 99;
    EXPECT(nr_shape_due_us(&watch) == 1e6);
    watch.hints = 100;
    EXPECT(nr_shape_due_us(&watch) == 0.2e6);
    watch.many_hints = 0; /* Nothing was looked at yet. */
    watch.hints = 31;
    EXPECT(nr_shape_due_us(&watch) == 1e6);
    watch.hints = 32;
    EXPECT(nr_shape_due_us(&watch) == 0.2e6);
    watch.look_us = 50000; /* A large tree. */
    EXPECT(nr_shape_due_us(&watch) == 5e6);
    watch.round_us = 1e5; /* Hints do not defer a round. */
    EXPECT(nr_shape_due_us(&watch) == 1e5);
}

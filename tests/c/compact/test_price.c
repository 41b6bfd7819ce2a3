#include "harness.h"

#include "compact/price.h"

enum { SLOTS = 64, K_GLOBAL = 4 };
#define FAN_OUT 10

static const struct nr_shape_costs dear = {.probe_ns = 1e6, .scan_ns = 1e7, .byte_ns = 10};

/* Each with a little more to write than the one before, so that K changes in one after the other. */
static void fill(struct nr_shape_slot *slots, size_t count, double reads)
{
    for (size_t i = 0; i < count; i++) {
        slots[i] = (struct nr_shape_slot){.bytes = 1 << 20, .run_count = 1, .k = 1, .ratio = FAN_OUT, .probed_part = 1};
        slots[i].read_rate = reads;
        slots[i].write_rate = 1e5 * (double)(i + 1);
    }
}

static double find_price(struct nr_shape_slot *slots, size_t count, const struct nr_shape_costs *costs)
{
    struct nr_price_level level = {slots, count, 1};
    struct nr_price price = {.probes_per_get = 1};
    nr_price_follow(&price, &level, 1, costs, K_GLOBAL, 0);
    return price.part;
}

/* Runs beyond the first that a get is to look into, of slots that have half of their K on average. */
static double mean_extra(const struct nr_shape_slot *slots, size_t count, struct nr_shape_costs costs, double part)
{
    struct nr_price price = {.part = part};
    double extra = 0;
    costs = nr_price_costs(&price, costs);
    for (size_t i = 0; i < count; i++) extra += (double)(nr_shape_by_cost(&slots[i], &costs, K_GLOBAL) - 1) / 2;
    return extra / (double)count;
}

TEST(what_nobody_reads_has_the_full_price)
{
    struct nr_shape_slot slots[SLOTS];
    fill(slots, SLOTS, 0);
    EXPECT(find_price(slots, SLOTS, &dear) == 1);
    EXPECT(find_price(slots, 0, &dear) == 1);
}

TEST(the_price_is_the_lowest_with_which_gets_look_into_few_runs_more)
{
    struct nr_shape_slot slots[SLOTS];
    fill(slots, SLOTS, 1000);
    double part = find_price(slots, SLOTS, &dear);
    EXPECT(part < 0.9 && part > 0.1);
    EXPECT(mean_extra(slots, SLOTS, dear, part) <= 0.07);
    EXPECT(mean_extra(slots, SLOTS, dear, part * 0.97) > 0.05);
}

TEST(it_does_not_hang_on_what_a_probe_takes)
{
    struct nr_shape_slot slots[SLOTS];
    struct nr_shape_costs dearer = {.probe_ns = 2e6, .scan_ns = 2e7, .byte_ns = 10};
    fill(slots, SLOTS, 1000);
    double part = find_price(slots, SLOTS, &dear), dearer_part = find_price(slots, SLOTS, &dearer);
    EXPECT(dearer_part * 2 > part * 0.95 && dearer_part * 2 < part * 1.05);
}

TEST(few_reads_have_no_more_than_the_full_price)
{
    struct nr_shape_slot slots[SLOTS];
    fill(slots, SLOTS, 1);
    EXPECT(find_price(slots, SLOTS, &dear) == 1);
    EXPECT(mean_extra(slots, SLOTS, dear, 1) > 0.5);
}

TEST(what_is_hardly_read_has_no_say)
{
    struct nr_shape_slot hot[SLOTS], all[SLOTS * 4];
    fill(hot, SLOTS, 1000);
    fill(all, SLOTS * 4, 20); /* 6 % of all, in slots of four runs. */
    memcpy(all, hot, sizeof hot);
    double of_hot = find_price(hot, SLOTS, &dear), of_all = find_price(all, SLOTS * 4, &dear);
    EXPECT(of_all > of_hot * 0.8 && of_all < of_hot * 1.05);
}

TEST(runs_that_are_there_beyond_k_raise_it)
{
    struct nr_shape_slot slots[SLOTS];
    struct nr_price_level level = {slots, SLOTS, 1};
    fill(slots, SLOTS, 1000);
    struct nr_price price = {.part = find_price(slots, SLOTS, &dear), .probes_per_get = 4};
    for (size_t i = 0; i < SLOTS; i++) slots[i].run_count = 3;
    double before = price.part;
    nr_price_follow(&price, &level, 1, &dear, K_GLOBAL, 0);
    EXPECT(price.part > before);
}

TEST(it_moves_by_parts_and_not_without_end)
{
    struct nr_shape_slot slots[SLOTS];
    struct nr_price_level level = {slots, SLOTS, 1};
    struct nr_price price = {.part = 1, .probes_per_get = 1};
    fill(slots, SLOTS, 1000);
    double wanted = find_price(slots, SLOTS, &dear), last = 1;
    for (int i = 0; i < 30; i++) {
        nr_price_follow(&price, &level, 1, &dear, K_GLOBAL, 0);
        EXPECT(price.part <= last);
        if (i == 0) EXPECT(price.part > wanted * 1.1);
        last = price.part;
    }
    EXPECT(mean_extra(slots, SLOTS, dear, price.part) <= 0.15);
}

TEST(what_was_too_much_is_made_good_for_some_time)
{
    struct nr_shape_slot slots[SLOTS];
    struct nr_price_level level = {slots, SLOTS, 1};
    fill(slots, SLOTS, 1000);
    struct nr_price price = {.part = find_price(slots, SLOTS, &dear), .probes_per_get = 4}, calm = price;
    for (size_t i = 0; i < SLOTS; i++) slots[i].run_count = 2;
    for (int i = 0; i < 10; i++) nr_price_follow(&price, &level, 1, &dear, K_GLOBAL, 1);
    for (size_t i = 0; i < SLOTS; i++) slots[i].run_count = 1;
    for (int i = 0; i < 10; i++) nr_price_follow(&price, &level, 1, &dear, K_GLOBAL, 0.1);
    for (int i = 0; i < 10; i++) nr_price_follow(&calm, &level, 1, &dear, K_GLOBAL, 0.1);
    EXPECT(price.part > calm.part * 1.2);
    for (int i = 0; i < 60; i++) nr_price_follow(&price, &level, 1, &dear, K_GLOBAL, 1);
    EXPECT(price.part < calm.part * 1.05);
}

TEST(scans_count_for_all_runs_that_they_open)
{
    struct nr_shape_slot slots[SLOTS];
    fill(slots, SLOTS, 0);
    for (size_t i = 0; i < SLOTS; i++) slots[i].scan_rate = 100;
    double part = find_price(slots, SLOTS, &dear);
    EXPECT(part < 0.9);
    EXPECT(mean_extra(slots, SLOTS, dear, part) <= 0.07);
}

TEST(samples_stand_for_the_slots_between_them)
{
    struct nr_shape_slot slots[SLOTS];
    struct nr_price_level level = {slots, SLOTS, 10};
    struct nr_price price = {.probes_per_get = 1};
    fill(slots, SLOTS, 1000);
    nr_price_follow(&price, &level, 1, &dear, K_GLOBAL, 0);
    double sampled = price.part;
    fill(slots, SLOTS, 1000);
    EXPECT(sampled == find_price(slots, SLOTS, &dear));
}

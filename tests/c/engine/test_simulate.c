/* The simulation's own promises. Every edit's version is checked in these builds (engine/install.c). */
#include "harness.h"

#include "base/alloc.h"
#include "nori_simulate.h"

static struct nori_error err;

/* Three levels: memtables of 1,000 entries, level 1 of ten. */
static void options_init(struct nori_options *options, int strategy)
{
    nori_options_init(options);
    options->strategy = strategy;
    options->level1_bytes = 1200000;
    options->table_bytes = 150000;
    options->l1_slot_count = 8;
    options->heat_decay_interval_secs = 1;
    options->memtable.flush_trigger_bytes = 256 << 10;
    options->memtable.wal_age_trigger_sec = 0;
    options->resources.memtables_mib = 4;
    options->io.max_background_jobs = 2;
}

static void simulation_init(struct nori_simulation *simulation, const struct nori_options *options)
{
    nori_simulation_init(simulation);
    simulation->options = options;
    simulation->keys = 50000;
    simulation->memtable_entries = 1000;
    simulation->write_bytes = 2 * 50000 * 116;
    simulation->reads_per_sec = 40000;
    simulation->wait_at_depth = 4;
    simulation->seed = 7;
}

static struct nori_simulation_report report, again;

TEST(leveled_compaction_writes_what_theory_says)
{
    struct nori_options options;
    struct nori_simulation simulation;
    options_init(&options, NORI_STRATEGY_LEVELED);
    simulation_init(&simulation, &options);
    EXPECT_OK(nori_simulate(&simulation, &report, &err), &err);
    /* A flush, level 1 at a few times itself, and half a fan-out and itself below. */
    EXPECT(report.write_amp > 3 && report.write_amp < 14);
    EXPECT(report.flush_bytes * 10 >= report.user_bytes * 9 && report.flush_bytes * 10 <= report.user_bytes * 11);
    EXPECT(report.space_amp >= 1 && report.space_amp < 1.5);
    EXPECT(report.read_amp > 1 && report.read_amp < 8);
    EXPECT(report.max_write_amp >= report.write_amp);
}

TEST(tiered_compaction_writes_less_and_is_looked_into_more)
{
    struct nori_options options;
    struct nori_simulation simulation;
    options_init(&options, NORI_STRATEGY_LEVELED);
    simulation_init(&simulation, &options);
    EXPECT_OK(nori_simulate(&simulation, &report, &err), &err);
    options.strategy = NORI_STRATEGY_TIERED;
    EXPECT_OK(nori_simulate(&simulation, &again, &err), &err);
    EXPECT(again.write_amp < report.write_amp);
    EXPECT(again.read_amp > report.read_amp);
    EXPECT(again.space_amp > report.space_amp);
}

TEST(the_same_simulation_is_the_same_report)
{
    struct nori_options options;
    struct nori_simulation simulation;
    options_init(&options, NORI_STRATEGY_ATLL);
    simulation_init(&simulation, &options);
    simulation.delete_share = 0.1;
    EXPECT_OK(nori_simulate(&simulation, &report, &err), &err);
    EXPECT_OK(nori_simulate(&simulation, &again, &err), &err);
    report.wall_seconds = again.wall_seconds = report.open_seconds = again.open_seconds = 0;
    report.planning_seconds = again.planning_seconds = 0;
    report.installing_seconds = again.installing_seconds = 0;
    EXPECT(memcmp(&report, &again, sizeof report) == 0);
    simulation.seed = 8;
    EXPECT_OK(nori_simulate(&simulation, &again, &err), &err);
    EXPECT(memcmp(report.samples, again.samples, sizeof report.samples) != 0);
}

TEST(ranges_of_their_own_heat_keep_the_space_bound_and_end)
{
    static const struct nori_simulated_range ranges[] = {{0.4, 0.4, 0.04}, {0.05, 0.05, 0.9}, {0.55, 0.55, 0.06}};
    struct nori_options options;
    struct nori_simulation simulation;
    options_init(&options, NORI_STRATEGY_ATLL);
    simulation_init(&simulation, &options);
    simulation.ranges = ranges;
    simulation.range_count = 3;
    simulation.delete_share = 0.3;
    EXPECT_OK(nori_simulate(&simulation, &report, &err), &err);
    EXPECT(report.max_space_amp < 2.2);
    EXPECT(report.range_read_amp[1] > 0);
    EXPECT(report.action_count > 2);
}

TEST(a_placed_tree_takes_writes)
{
    struct nori_options options;
    struct nori_simulation simulation;
    options_init(&options, NORI_STRATEGY_ATLL);
    simulation_init(&simulation, &options);
    simulation.start = NORI_START_PLACED;
    simulation.warm_up_bytes = simulation.write_bytes / 4;
    for (int guards = NORI_GUARDS_LEARNED; guards <= NORI_GUARDS_UNIFORM; guards++) {
        options.guards = guards;
        EXPECT_OK(nori_simulate(&simulation, &report, &err), &err);
        EXPECT(report.write_amp > 1.5 && report.write_amp < 14);
        EXPECT(report.sample_count > NORI_SIMULATED_SAMPLES / 2);
    }
}

TEST(writers_faster_than_merges_stall)
{
    struct nori_options options;
    struct nori_simulation simulation;
    options_init(&options, NORI_STRATEGY_LEVELED);
    simulation_init(&simulation, &options);
    simulation.wait_at_depth = 0;
    simulation.write_bytes_per_sec = 100e6;
    simulation.merge_bytes_per_sec = 10e6;
    EXPECT_OK(nori_simulate(&simulation, &report, &err), &err);
    EXPECT(report.stall_share > 0.5 && report.stall_share <= 1);
}

TEST(a_bad_field_is_named)
{
    static const struct nori_simulated_range half = {0.5, 1, 1};
    struct nori_simulation simulation;
    nori_simulation_init(&simulation);
    simulation.keys = 1;
    EXPECT(nori_simulate(&simulation, &report, &err) == NORI_INVALID && strstr(err.text, "keys"));
    nori_simulation_init(&simulation);
    simulation.delete_share = 1;
    EXPECT(nori_simulate(&simulation, &report, &err) == NORI_INVALID && strstr(err.text, "delete_share"));
    nori_simulation_init(&simulation);
    simulation.write_bytes_per_sec = 0.0 / 0.0;
    EXPECT(nori_simulate(&simulation, &report, &err) == NORI_INVALID && strstr(err.text, "write_bytes_per_sec"));
    nori_simulation_init(&simulation);
    simulation.ranges = &half;
    simulation.range_count = 1;
    EXPECT(nori_simulate(&simulation, &report, &err) == NORI_INVALID && strstr(err.text, "ranges"));
}

TEST(every_failed_allocation_is_an_error_and_leaves_nothing)
{
    struct nori_options options;
    struct nori_simulation simulation;
    options_init(&options, NORI_STRATEGY_ATLL);
    simulation_init(&simulation, &options);
    simulation.keys = 4000;
    simulation.memtable_entries = 500;
    simulation.write_bytes = 4000 * 116;
    options.level1_bytes = 100000;
    options.table_bytes = 20000;
    size_t failures = 0;
    for (uint64_t nth = 1; nth < 20000; nth += 1 + nth / 12) {
        nr_alloc_fail_at(nth);
        nori_status rc = nori_simulate(&simulation, &report, &err);
        nr_alloc_fail_at(0);
        /* Some are nothing to fail for: a second move that is not made, a shape that stays. */
        EXPECT(rc == NORI_OK || rc == NORI_NO_MEMORY);
        failures += rc != NORI_OK;
    }
    EXPECT(failures > 60);
}

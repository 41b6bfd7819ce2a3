/* Lives of an engine under many sets of options: random calls until the disk stops at some operation, then the power
 * cut or the process killed, recovery (which may be stopped, too), a look at everything, and on with what was found.
 *
 *     make crashes [CYCLES=1000000] [SEED=1]
 *
 * runs it for long. A life is a few hundred cycles on one disk, the same for the same seed. */
#include <errno.h>
#include <time.h>

#include "base/random.h"
#include "environment.h"
#define SCRIPT_KEYS 160 /* Enough for trees of three levels whose slots hold several runs. */
#include "script.h"

#define CYCLES_OF_A_LIFE 250
/* From here on the next cycle ends in a power cut, which empties the model. */
#define MAX_PENDING (SCRIPT_STEPS - 110)

struct option_set {
    const char *name;
    struct nori_override overrides[6];
};

static const struct option_set option_sets[] = {
    {"default", {{"memtable.wal_age_trigger_sec", "30"}}},
    {"sync", {{"wal.durability", "sync"}, {"wal.mapped", "true"}}},
    {"os, written", {{"wal.durability", "os"}, {"wal.mapped", "false"}, {"wal.retain_bytes", "200000"}}},
    {"leveled", {{"strategy", "leveled"}, {"fanout", "2"}, {"level1_bytes", "16384"}, {"table_bytes", "4096"}}},
    {"tiered", {{"strategy", "tiered"}, {"guards", "uniform"}, {"fanout", "2"}, {"level1_bytes", "16384"}}},
    {"ribbon",
     {{"filters.kind", "ribbon"}, {"table_bytes", "4096"}, {"level1_bytes", "16384"}, {"l1_slot_count", "8"}}},
    {"shallow", {{"max_levels", "3"}, {"l1_slot_count", "1"}, {"memtable.wal_age_trigger_sec", "0"}}},
    {"crowded", {{"l0.max_files", "4"}, {"l0.soft_throttle_threshold", "2"}, {"k_global", "2"}, {"fanout", "3"}}},
    {"contextual", {{"scheduler", "contextual"}, {"max_space_amp", "1.1"}, {"level1_bytes", "16384"}, {"fanout", "2"}}},
};

struct campaign {
    uint64_t cycles, power_cuts, kills, stopped_recoveries, faulty_cycles, writes, closes, failed_calls;
};

struct life {
    uint64_t seed, cycle;
    struct nr_random random;
    struct nori_env *env;
    const struct option_set *options;
    bool is_always_synced;
    struct nori_engine *engine;
    struct model model;
    struct campaign *campaign;
};

static nori_status open_engine(struct life *life, struct nori_error *err)
{
    struct nori_options options = small_options();
    size_t count = 0;
    while (count < NR_ARRAY_LEN(life->options->overrides) && life->options->overrides[count].name) count++;
    struct nori_open_params params = {
        .options = &options, .overrides = life->options->overrides, .override_count = count, .env = life->env};
    return nori_open("/db", &params, &life->engine, err);
}

/* ---------------------------------------------------------------- work */

static nori_status note_durable(struct life *life, nori_status rc)
{
    if (rc == NORI_OK) life->model.durable = life->model.acknowledged;
    return rc;
}

static nori_status close_and_open(struct life *life, struct nori_error *err)
{
    nori_status rc = note_durable(life, nori_close(life->engine, err));
    nori_destroy(life->engine);
    life->engine = NULL;
    if (rc != NORI_OK) return rc;
    life->campaign->closes++;
    return open_engine(life, err);
}

/* Up to three operations of the disk are to fail. */
static void plant_faults(struct life *life)
{
    static const char *const ops[] = {"any",   "log_publish", "log_sync", "log_reserve", "create", "rename",
                                      "write", "sync",        "sync",     "dir_sync",    "read",   "unlink"};
    struct nori_error error;
    for (uint64_t i = nr_random_below(&life->random, 3); i < 3; i++) {
        const char *op = ops[nr_random_below(&life->random, NR_ARRAY_LEN(ops))];
        uint64_t nth = 1 + nr_random_below(&life->random, 6);
        int code = nr_random_below(&life->random, 2) ? EIO : ENOSPC;
        bool is_short = nr_random_below(&life->random, 2);
        EXPECT_OK(nori_simdisk_fail(life->env, op, nth, code, is_short, &error), &error);
    }
    life->campaign->faulty_cycles++;
}

/* Calls until the disk has stopped, or it is not known what a call has done, or for a while, or the model is full. */
static void work(struct life *life, bool is_faulty)
{
    struct nori_error error;
    for (int i = 0; i < 100 && life->model.count < SCRIPT_STEPS && !nori_simdisk_stopped(life->env); i++) {
        nori_status rc;
        uint64_t kind = nr_random_below(&life->random, 40);
        int written = life->model.written;
        error.text[0] = 0;
        error.outcome = NORI_NOT_APPLIED;
        if (kind == 0)
            rc = note_durable(life, nori_sync(life->engine, &error));
        else if (kind == 1)
            rc = nori_flush(life->engine, &error);
        else if (kind == 2 && nr_random_below(&life->random, 4) == 0)
            rc = close_and_open(life, &error);
        else
            rc = script_step(life->engine, &life->model, (int)nr_random_below(&life->random, 1 << 20), &error);
        bool has_written = life->model.written > written;
        if (rc == NORI_OK && life->is_always_synced && has_written) life->model.durable = life->model.acknowledged;
        life->campaign->writes += (uint64_t)(life->model.written - written);
        life->campaign->failed_calls += rc != NORI_OK;
        bool may_fail = is_faulty || nori_simdisk_stopped(life->env);
        if (rc != NORI_OK && !may_fail) FAIL("a call fails on a sound disk: %s", error.text);
        if (!life->engine || (rc != NORI_OK && error.outcome == NORI_INDETERMINATE)) return;
        if (nr_random_below(&life->random, 20) == 0) nori_simdisk_advance(life->env, 40000000, 40000);
    }
}

/* ---------------------------------------------------------------- judgement */

/* What the engine holds; no value but those that were written. */
static struct state read_state(struct life *life)
{
    struct state state;
    for (int i = 0; i < SCRIPT_KEYS; i++) {
        char key[16], expected[SCRIPT_VALUE_BYTES + 1];
        struct text_value value;
        struct nori_error error;
        bool found;
        script_key(i, key);
        nori_status rc = get_text(life->engine, NULL, key, &value, &found, &error);
        EXPECT_OK(rc, &error);
        state.from[i] = found ? atoi(value.text) : 0;
        if (!found) continue;
        script_value(state.from[i], expected);
        if (state.from[i] <= 0 || state.from[i] > life->model.written || strcmp(value.text, expected) != 0)
            FAIL("%s has a value that was never written: %.20s", key, value.text);
    }
    return state;
}

static void expect_whole(struct life *life, const struct state *state)
{
    struct nori_error error;
    uint64_t count, expected = 0;
    for (int i = 0; i < SCRIPT_KEYS; i++) expected += state->from[i] != 0;
    for (int reverse = 0; reverse < 2; reverse++) EXPECT_OK(script_scan(life->engine, state, reverse, &error), &error);
    EXPECT_OK(nori_count(life->engine, NULL, &count, &error), &error);
    EXPECT_EQ(count, expected);
    if (nr_random_below(&life->random, 4) == 0) expect_sound(life->engine);
}

/* The engine holds a state of the model that is not older than promised: the newest such is where life goes on. */
static void judge(struct life *life, bool is_power_cut)
{
    struct model *model = &life->model;
    struct state found = read_state(life);
    int oldest = is_power_cut ? model->durable : model->acknowledged, at = model->count - 1;
    while (at >= oldest && memcmp(&model->states[at], &found, sizeof found) != 0) at--;
    if (at < oldest) {
        model_describe(life->engine, &model->states[oldest]);
        FAIL("no state from %d to %d", oldest, model->count - 1);
    }
    expect_whole(life, &found);
    model->count = at + 1;
    model->acknowledged = at;
    if (!is_power_cut) return;
    model->states[0] = found;
    model->count = 1;
    model->acknowledged = model->durable = 0;
}

static void cut(struct life *life, bool is_power_cut)
{
    struct nori_error error;
    double keeps[] = {0.0, 0.5, 1.0, -1.0};
    if (is_power_cut)
        EXPECT_OK(nori_simdisk_crash(life->env, keeps[nr_random_below(&life->random, 4)], &error), &error);
    else
        nori_simdisk_kill(life->env);
    nori_destroy(life->engine);
    life->engine = NULL;
    life->campaign->cycles++;
    life->campaign->power_cuts += is_power_cut;
    life->campaign->kills += !is_power_cut;
    life->cycle++;
}

static void recover(struct life *life, bool is_power_cut)
{
    struct nori_error error;
    while (nr_random_below(&life->random, 4) == 0) {
        uint64_t count;
        nori_simdisk_stop_at(life->env, 1 + nr_random_below(&life->random, 60));
        if (open_engine(life, &error) == NORI_OK && nori_count(life->engine, NULL, &count, &error) == NORI_OK)
            life->campaign->failed_calls += nori_flush(life->engine, &error) != NORI_OK;
        cut(life, is_power_cut);
        life->campaign->stopped_recoveries++;
    }
    EXPECT_OK(open_engine(life, &error), &error);
    judge(life, is_power_cut);
}

static void live(uint64_t seed, struct campaign *campaign)
{
    struct nori_error error;
    struct life *life = &(struct life){.seed = seed, .campaign = campaign};
    nr_random_init(&life->random, seed);
    life->options = &option_sets[seed % NR_ARRAY_LEN(option_sets)];
    life->is_always_synced = strcmp(life->options->name, "sync") == 0;
    life->model.count = 1;
    EXPECT_OK(nori_simdisk_create(seed, nr_random_below(&life->random, 2) ? 512 : 4096, false, &life->env, &error),
              &error);
    EXPECT_OK(open_engine(life, &error), &error);
    while (life->cycle < CYCLES_OF_A_LIFE) {
        char what[128];
        snprintf(what, sizeof what, "seed %" PRIu64 ", options %s, cycle %" PRIu64, seed, life->options->name,
                 life->cycle);
        test_doing(what);
        bool is_power_cut = life->model.count > MAX_PENDING || nr_random_below(&life->random, 3) != 0;
        uint64_t most = nr_random_below(&life->random, 4) == 0 ? 400 : 40;
        bool is_faulty = nr_random_below(&life->random, 4) == 0;
        nori_simdisk_stop_at(life->env, 1 + nr_random_below(&life->random, most));
        if (is_faulty) plant_faults(life);
        work(life, is_faulty);
        nori_simdisk_clear_faults(life->env);
        cut(life, is_power_cut);
        recover(life, is_power_cut);
    }
    test_doing(NULL);
    EXPECT_OK(nori_close(life->engine, &error), &error);
    nori_destroy(life->engine);
    nori_simdisk_destroy(life->env);
}

TEST(whatever_was_promised_survives_crash_after_crash)
{
    uint64_t cycles = environment_number("NR_CYCLES", 4000), seed = environment_number("NR_SEED", 1);
    struct campaign campaign = {0};
    struct timespec begun, ended;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    while (campaign.cycles < cycles) live(seed++, &campaign);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    EXPECT(campaign.power_cuts > 0 && campaign.kills > 0 && campaign.stopped_recoveries > 0);
    if (!getenv("NR_CYCLES")) return;
    double seconds = (double)(ended.tv_sec - begun.tv_sec) + (double)(ended.tv_nsec - begun.tv_nsec) / 1e9;
    printf("%" PRIu64 " crashes and recoveries, %.0f a second: %" PRIu64 " power cuts, %" PRIu64 " kills, %" PRIu64
           " of them during recovery, %" PRIu64 " after faults of the disk; %" PRIu64 " writes, %" PRIu64
           " closes, %" PRIu64 " calls that failed; seeds up to %" PRIu64 "\n",
           campaign.cycles, (double)campaign.cycles / seconds, campaign.power_cuts, campaign.kills,
           campaign.stopped_recoveries, campaign.faulty_cycles, campaign.writes, campaign.closes, campaign.failed_calls,
           seed - 1);
}

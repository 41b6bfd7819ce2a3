/* The script, stopped at every operation of the disk, then the power cut or the process killed: P1 to P6. */
#include "script.h"

/* Runs the script until something fails. The engine is not closed. */
static void run_script(struct nori_env *env, struct model *model, struct nori_engine **engine_out)
{
    struct nori_error error;
    memset(model, 0, sizeof *model);
    model->count = 1;
    *engine_out = NULL;
    if (open_small(env, "/db", engine_out, &error) != NORI_OK) return;
    for (int step = 0; step < SCRIPT_STEPS; step++) {
        if (script_step(*engine_out, model, step, &error) != NORI_OK) return;
        /* Twice: the second session writes nothing. */
        for (int i = 0; i < 2 && step == SCRIPT_STEPS / 2; i++) {
            if (nori_close(*engine_out, &error) == NORI_OK) model->durable = model->acknowledged;
            nori_destroy(*engine_out);
            if (open_small(env, "/db", engine_out, &error) != NORI_OK) return;
        }
    }
}

static uint64_t count_operations(uint64_t seed)
{
    struct nori_env *env;
    struct nori_error error;
    struct nori_engine *engine;
    struct model model;
    EXPECT_OK(nori_simdisk_create(seed, 512, false, &env, &error), &error);
    run_script(env, &model, &engine);
    EXPECT_EQ(model.acknowledged, model.count - 1);
    uint64_t operations = nori_simdisk_operations(env, NULL);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
    return operations;
}

/* What is found is a state of the model; then life goes on, is synced, and survives another cut. */
static void expect_recovers(struct nori_env *env, struct model *model, int oldest, uint64_t at)
{
    struct nori_engine *engine;
    struct nori_error error;
    nori_status rc = open_small(env, "/db", &engine, &error);
    if (rc != NORI_OK) FAIL("stopped at %" PRIu64 ": open says %s", at, error.text);
    int found = model_find(engine, model, oldest);
    if (found < 0) {
        model_describe(engine, &model->states[oldest]);
        FAIL("stopped at %" PRIu64 ": no state from %d to %d", at, oldest, model->count - 1);
    }
    expect_sound(engine);
    EXPECT_OK(put_text(engine, "after", "the crash", &error), &error);
    EXPECT_OK(nori_sync(engine, &error), &error);
    EXPECT_OK(nori_simdisk_crash(env, 0.5, &error), &error);
    nori_destroy(engine);
    rc = open_small(env, "/db", &engine, &error);
    if (rc != NORI_OK) FAIL("stopped at %" PRIu64 ": the second open says %s", at, error.text);
    if (!model_matches(engine, NULL, &model->states[found]))
        FAIL("stopped at %" PRIu64 ": the second crash changed state %d", at, found);
    EXPECT_VALUE(engine, NULL, "after", "the crash");
    nori_status closed = nori_close(engine, &error);
    nori_destroy(engine);
    EXPECT_OK(closed, &error);
}

static void stop_at(uint64_t seed, uint64_t at, bool is_power_cut, uint64_t recovery_stop)
{
    struct nori_env *env;
    struct nori_error error;
    struct nori_engine *engine;
    struct model model;
    EXPECT_OK(nori_simdisk_create(seed, seed % 2 ? 512 : 4096, false, &env, &error), &error);
    nori_simdisk_stop_at(env, at);
    run_script(env, &model, &engine);
    int oldest = is_power_cut ? model.durable : model.acknowledged;
    if (is_power_cut)
        EXPECT_OK(nori_simdisk_crash(env, -1.0, &error), &error);
    else
        nori_simdisk_kill(env);
    nori_destroy(engine);
    if (recovery_stop) {
        /* The recovery is interrupted, too. */
        nori_simdisk_stop_at(env, recovery_stop);
        if (open_small(env, "/db", &engine, &error) == NORI_OK) {
            uint64_t count;
            if (nori_count(engine, NULL, &count, &error) != NORI_OK) count = 0;
            if (nori_flush(engine, &error) != NORI_OK) count = 0;
        }
        if (is_power_cut)
            EXPECT_OK(nori_simdisk_crash(env, -1.0, &error), &error);
        else
            nori_simdisk_kill(env);
        nori_destroy(engine);
    }
    expect_recovers(env, &model, oldest, at);
    nori_simdisk_destroy(env);
}

TEST(a_power_cut_at_any_operation_keeps_what_was_promised_and_a_prefix)
{
    uint64_t operations = count_operations(1);
    for (uint64_t at = 1; at <= operations; at++) stop_at(at, at, true, 0);
}

TEST(a_kill_at_any_operation_loses_no_acknowledged_write)
{
    uint64_t operations = count_operations(1);
    for (uint64_t at = 1; at <= operations; at++) stop_at(at, at, false, 0);
}

TEST(recovery_may_be_cut_short_anywhere)
{
    uint64_t operations = count_operations(1);
    for (uint64_t at = 7; at <= operations; at += 13)
        for (uint64_t recovery_stop = 1; recovery_stop < 60; recovery_stop += 1 + at % 5)
            stop_at(at + recovery_stop, at, at % 3 != 0, recovery_stop);
}

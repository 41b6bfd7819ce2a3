/* Checkpoints on a disk that fails: complete or absent. */
#include "fixture.h"

#include <errno.h>

#include "io/env.h"

#define KEYS 40

static struct nori_error error;

/* Tables, and a log beside them. */
static struct nori_engine *open_filled(struct nori_env *env)
{
    struct nori_engine *engine;
    char key[16];
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    for (int i = 0; i < KEYS; i++) {
        if (i == KEYS / 2) EXPECT_OK(nori_flush(engine, &error), &error);
        snprintf(key, sizeof key, "key%02d", i);
        EXPECT_OK(put_text(engine, key, key, &error), &error);
    }
    return engine;
}

static void expect_filled(struct nori_env *env, const char *path)
{
    struct nori_engine *engine;
    char key[16];
    EXPECT_OK(open_small(env, path, &engine, &error), &error);
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "key%02d", i);
        EXPECT_VALUE(engine, NULL, key, key);
    }
    expect_sound(engine);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
}

struct root_names {
    unsigned copies, others; /* "/copy", and what is neither it nor the database. */
};

static void note_name(void *arg, const char *name)
{
    struct root_names *names = arg;
    if (strcmp(name, "copy") == 0)
        names->copies++;
    else if (strcmp(name, "db") != 0)
        names->others++;
}

static struct root_names look(struct nori_env *env)
{
    struct root_names names = {0, 0};
    EXPECT_OK(nori_simdisk_list(env, "/", note_name, &names, &error), &error);
    return names;
}

static nori_status checkpoint(struct nori_engine *engine)
{
    struct nori_checkpoint result;
    return nori_checkpoint(engine, "/copy", NULL, NULL, &result, &error);
}

/* How many of 'op' a checkpoint takes. */
static uint64_t count_operations(const char *op)
{
    struct nori_env *env;
    EXPECT_OK(nori_simdisk_create(1, 512, false, &env, &error), &error);
    struct nori_engine *engine = open_filled(env);
    uint64_t before = nori_simdisk_operations(env, op);
    EXPECT_OK(checkpoint(engine), &error);
    uint64_t count = nori_simdisk_operations(env, op) - before;
    nori_destroy(engine);
    nori_simdisk_destroy(env);
    return count;
}

TEST(a_checkpoint_that_fails_leaves_nothing_and_can_be_made_again)
{
    static const char *const ops[] = {"write", "sync", "create", "mkdir", "rename", "dir_sync", "read"};
    for (size_t i = 0; i < NR_ARRAY_LEN(ops); i++) {
        uint64_t operations = count_operations(ops[i]);
        EXPECT(operations > 0);
        for (uint64_t nth = 1; nth <= operations; nth++) {
            struct nori_env *env;
            EXPECT_OK(nori_simdisk_create(nth, 512, false, &env, &error), &error);
            struct nori_engine *engine = open_filled(env);
            EXPECT_OK(nori_simdisk_fail(env, ops[i], nth, ENOSPC, false, &error), &error);
            if (checkpoint(engine) != NORI_OK) {
                EXPECT_EQ(error.sys_errno, ENOSPC);
                struct root_names names = look(env);
                EXPECT_EQ(names.copies + names.others, 0);
                EXPECT_OK(checkpoint(engine), &error);
            }
            expect_filled(env, "/copy");
            EXPECT_OK(nori_close(engine, &error), &error);
            nori_destroy(engine);
            nori_simdisk_destroy(env);
        }
    }
}

/* The last sync of the parent fails, and 'more' after it; then the power goes. */
static struct root_names lose_power_after(uint64_t seed, uint64_t last_sync, uint64_t more)
{
    struct nori_env *env;
    EXPECT_OK(nori_simdisk_create(seed, 512, false, &env, &error), &error);
    struct nori_engine *engine = open_filled(env);
    for (uint64_t nth = last_sync; nth <= last_sync + more; nth++)
        EXPECT_OK(nori_simdisk_fail(env, "dir_sync", nth, EIO, false, &error), &error);
    EXPECT_STATUS(checkpoint(engine), NORI_IO, &error);
    EXPECT_EQ(look(env).copies, 0);
    EXPECT_OK(nori_simdisk_crash(env, 0.5, &error), &error);
    nori_destroy(engine);
    nori_simdisk_clear_faults(env);
    struct root_names names = look(env);
    if (names.copies > 0) expect_filled(env, "/copy");
    expect_filled(env, "/db");
    nori_simdisk_destroy(env);
    return names;
}

TEST(a_checkpoint_whose_name_may_come_back_with_the_power_is_complete)
{
    uint64_t last_sync = count_operations("dir_sync");
    unsigned come_back = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        EXPECT_EQ(lose_power_after(seed, last_sync, 0).copies, 0);
        come_back += lose_power_after(seed, last_sync, 1).copies;
    }
    EXPECT(come_back > 0);
}

/* An engine whose checkpoint could neither sync its name nor take it back. */
static struct nori_engine *open_with_unsynced_copy(struct nori_env **env_out)
{
    uint64_t last_sync = count_operations("dir_sync"), last_rename = count_operations("rename");
    EXPECT_OK(nori_simdisk_create(1, 512, false, env_out, &error), &error);
    struct nori_engine *engine = open_filled(*env_out);
    EXPECT_OK(nori_simdisk_fail(*env_out, "dir_sync", last_sync, EIO, false, &error), &error);
    EXPECT_OK(nori_simdisk_fail(*env_out, "rename", last_rename + 1, EIO, false, &error), &error);
    EXPECT_STATUS(checkpoint(engine), NORI_IO, &error);
    return engine;
}

TEST(a_checkpoint_that_cannot_be_taken_back_stays_complete)
{
    struct nori_env *env;
    struct nori_engine *engine = open_with_unsynced_copy(&env);
    EXPECT_EQ(look(env).copies, 1);
    expect_filled(env, "/copy");
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

TEST(what_is_written_to_a_checkpoint_whose_name_was_never_synced_lasts)
{
    for (int must_exist = 0; must_exist < 2; must_exist++) {
        struct nori_env *env;
        struct nori_engine *engine = open_with_unsynced_copy(&env);
        struct nori_open_params params = {.env = env, .must_exist = must_exist};
        nori_simdisk_kill(env);
        nori_simdisk_clear_faults(env);
        nori_destroy(engine);
        EXPECT_OK(nori_open("/copy", &params, &engine, &error), &error);
        EXPECT_OK(put_text(engine, "new", "kept", &error), &error);
        EXPECT_OK(nori_sync(engine, &error), &error);
        EXPECT_OK(nori_simdisk_crash(env, 0, &error), &error);
        nori_destroy(engine);
        params.must_exist = true;
        EXPECT_OK(nori_open("/copy", &params, &engine, &error), &error);
        EXPECT_VALUE(engine, NULL, "new", "kept");
        EXPECT_OK(nori_close(engine, &error), &error);
        nori_destroy(engine);
        nori_simdisk_destroy(env);
    }
}

/* What a killed process left of checkpoints under the next numbers: tables, as they are named in the database. */
struct leaving {
    struct nori_env *env;
    unsigned number;
};

static void leave_table(void *arg, const char *name)
{
    const struct leaving *leaving = arg;
    char path[96];
    if (!strstr(name, ".sst")) return;
    snprintf(path, sizeof path, "/copy.partial-%u/%s", leaving->number, name);
    EXPECT_OK(nori_simdisk_write_file(leaving->env, path, nr_slice_text("stale"), &error), &error);
}

TEST(a_checkpoint_keeps_clear_of_what_killed_ones_left)
{
    struct leaving leaving = {0};
    EXPECT_OK(nori_simdisk_create(1, 512, false, &leaving.env, &error), &error);
    struct nori_engine *engine = open_filled(leaving.env);
    for (; leaving.number < 20; leaving.number++) {
        char path[64];
        struct nr_dir *dir;
        snprintf(path, sizeof path, "/copy.partial-%u", leaving.number);
        EXPECT_OK(nr_dir_open(leaving.env, path, true, &dir, &error), &error);
        nr_dir_close(dir);
        EXPECT_OK(nori_simdisk_list(leaving.env, "/db", leave_table, &leaving, &error), &error);
    }
    EXPECT_OK(checkpoint(engine), &error);
    expect_filled(leaving.env, "/copy");
    EXPECT_EQ(look(leaving.env).others, 20);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(leaving.env);
}

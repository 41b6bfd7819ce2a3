/* A small engine on a simulated disk, and ingests of it. */
#ifndef NR_TEST_INGEST_FIXTURE_H
#define NR_TEST_INGEST_FIXTURE_H

#include "fixture.h"

static struct nori_env *make_disk(bool threads, struct nori_engine **engine_out)
{
    struct nori_env *env;
    struct nori_error error;
    EXPECT_OK(nori_simdisk_create(1, 512, threads, &env, &error), &error);
    EXPECT_OK(open_small(env, "/db", engine_out, &error), &error);
    return env;
}

static void end(struct nori_env *env, struct nori_engine *engine)
{
    struct nori_error error;
    expect_sound(engine);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

static struct nori_ingest *begin(struct nori_engine *engine, bool sorted)
{
    struct nori_ingest *ingest;
    struct nori_error error;
    EXPECT_OK(nori_ingest_create(engine, sorted, &ingest, &error), &error);
    return ingest;
}

static void count_table(void *arg, const char *name)
{
    size_t length = strlen(name);
    if (length > 4 && strcmp(name + length - 4, ".sst") == 0) ++*(int *)arg;
}

static int count_tables(struct nori_env *env)
{
    struct nori_error error;
    int count = 0;
    EXPECT_OK(nori_simdisk_list(env, "/db", count_table, &count, &error), &error);
    return count;
}

#endif

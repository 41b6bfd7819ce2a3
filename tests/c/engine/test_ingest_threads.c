/* A bulk load whose tables a thread of its own writes: what it fails with, who ends it, and who may come between. */
#include "ingest_fixture.h"

#include <errno.h>
#include <unistd.h>

#define BATCHES 60
#define PAIRS 100 /* In a batch. */

static void name_pair(int number, char key[16], char value[160])
{
    snprintf(key, 16, "key-%05d", number);
    memset(value, 'a' + number % 26, 150);
    value[150] = 0;
    value[snprintf(value, 12, "%d.", number)] = 'z';
}

/* Batch 'nth': its keys ascend, behind those of the batch before or, 'falls', before them. */
static nori_status add_batch(struct nori_ingest *ingest, int nth, bool falls, struct nori_error *err)
{
    char key[16], value[160];
    struct nori_batch *batch;
    EXPECT_OK(nori_batch_create(&batch, err), err);
    for (int i = 0; i < PAIRS; i++) {
        name_pair((falls ? BATCHES - 1 - nth : nth) * PAIRS + i, key, value);
        EXPECT_OK(nori_batch_put(batch, nr_slice_text(key), nr_slice_text(value), 0, err), err);
    }
    nori_status rc = nori_ingest_add(ingest, batch, err);
    nori_batch_clear(batch); /* It was copied: what becomes of it is of no consequence. */
    nori_batch_destroy(batch);
    return rc;
}

/* The status of the first batch that is not taken, else of the commit. */
static nori_status ingest_all(struct nori_ingest *ingest, bool falls, struct nori_error *err)
{
    struct nori_ingest_result result;
    nori_status rc = NORI_OK;
    for (int i = 0; i < BATCHES && rc == NORI_OK; i++) rc = add_batch(ingest, i, falls, err);
    if (rc == NORI_OK) rc = nori_ingest_commit(ingest, &result, err);
    if (rc == NORI_OK) EXPECT_EQ(result.pairs, BATCHES * PAIRS);
    return rc;
}

static void expect_all(struct nori_engine *engine)
{
    char key[16], value[160];
    struct nori_error error;
    uint64_t found;
    EXPECT_OK(nori_count(engine, NULL, &found, &error), &error);
    EXPECT_EQ(found, BATCHES * PAIRS);
    for (int i = 0; i < BATCHES * PAIRS; i += 7) {
        name_pair(i, key, value);
        EXPECT_VALUE(engine, NULL, key, value);
    }
}

static void expect_none(struct nori_engine *engine)
{
    struct nori_error error;
    uint64_t found;
    EXPECT_OK(nori_count(engine, NULL, &found, &error), &error);
    EXPECT_EQ(found, 0);
}

TEST(what_a_thread_writes_is_what_was_added)
{
    for (int falls = 0; falls < 2; falls++) {
        struct nori_engine *engine;
        struct nori_error error;
        struct nori_env *env = make_disk(true, &engine);
        struct nori_ingest *ingest = begin(engine, !falls);
        EXPECT_OK(ingest_all(ingest, falls, &error), &error);
        nori_ingest_destroy(ingest);
        expect_all(engine);
        end(env, engine);
    }
}

TEST(what_the_thread_fails_with_is_told_and_nothing_is_left)
{
    struct nori_engine *engine;
    struct nori_error error;
    struct nori_ingest_result result;
    struct nori_env *env = make_disk(true, &engine);
    struct nori_ingest *ingest = begin(engine, true);
    EXPECT_STATUS(ingest_all(ingest, true, &error), NORI_INVALID, &error); /* They do not ascend. */
    EXPECT(strstr(error.text, "pair 100"));
    EXPECT_STATUS(add_batch(ingest, 0, false, &error), NORI_INVALID, &error);
    EXPECT_STATUS(nori_ingest_commit(ingest, &result, &error), NORI_INVALID, &error);
    nori_ingest_destroy(ingest);
    expect_none(engine);
    EXPECT_EQ(count_tables(env), 0);
    end(env, engine);
}

TEST(a_disk_that_fails_under_the_thread_fails_the_ingest_and_nothing_else)
{
    for (unsigned nth = 1; nth < 10; nth++) {
        struct nori_engine *engine;
        struct nori_error error;
        struct nori_env *env = make_disk(true, &engine);
        struct nori_ingest *ingest = begin(engine, true);
        EXPECT_OK(nori_simdisk_fail(env, "write", nth, EIO, false, &error), &error); /* The manifest's come later. */
        EXPECT_STATUS(ingest_all(ingest, false, &error), NORI_IO, &error);
        EXPECT_EQ(error.sys_errno, EIO);
        nori_simdisk_clear_faults(env);
        nori_ingest_destroy(ingest);
        expect_none(engine);
        ingest = begin(engine, true);
        EXPECT_OK(ingest_all(ingest, false, &error), &error);
        nori_ingest_destroy(ingest);
        expect_all(engine);
        end(env, engine);
    }
}

TEST(an_ingest_ends_while_its_thread_writes)
{
    struct nori_engine *engine;
    struct nori_error error;
    struct nori_env *env = make_disk(true, &engine);
    for (int batches = 1; batches < 12; batches++) {
        struct nori_ingest *ingest = begin(engine, false);
        for (int i = 0; i < batches; i++) EXPECT_OK(add_batch(ingest, i, batches % 2, &error), &error);
        nori_ingest_destroy(ingest);
    }
    expect_none(engine);
    for (int i = 0; i < 500 && count_tables(env) > 0; i++) usleep(10000); /* Unlinked in the background. */
    EXPECT_EQ(count_tables(env), 0);
    end(env, engine);
}

TEST(a_close_ends_the_thread_of_an_ingest)
{
    for (int batches = 1; batches < 8; batches++) {
        struct nori_engine *engine;
        struct nori_error error;
        struct nori_ingest_result result;
        struct nori_env *env = make_disk(true, &engine);
        struct nori_ingest *ingest = begin(engine, true);
        for (int i = 0; i < batches; i++) EXPECT_OK(add_batch(ingest, i, false, &error), &error);
        EXPECT_OK(nori_close(engine, &error), &error);
        EXPECT_EQ(count_tables(env), 0);
        EXPECT_STATUS(add_batch(ingest, batches, false, &error), NORI_CLOSED, &error);
        EXPECT_STATUS(nori_ingest_commit(ingest, &result, &error), NORI_CLOSED, &error);
        nori_ingest_destroy(ingest);
        nori_destroy(engine);
        nori_simdisk_destroy(env);
    }
}

TEST(two_ingests_and_writes_go_on_side_by_side)
{
    struct nori_engine *engine;
    struct nori_error error;
    struct nori_ingest_result result;
    struct nori_env *env = make_disk(true, &engine);
    struct nori_ingest *first = begin(engine, true), *second = begin(engine, false);
    nori_slice others = nr_slice_text("put-");
    char key[16];
    for (int i = 0; i < BATCHES; i++) {
        EXPECT_OK(add_batch(first, i, false, &error), &error);
        EXPECT_OK(add_batch(second, i, true, &error), &error);
        snprintf(key, sizeof key, "put-%05d", i);
        EXPECT_OK(put_text(engine, key, "1", &error), &error);
    }
    EXPECT_OK(nori_ingest_commit(first, &result, &error), &error);
    EXPECT_OK(nori_ingest_commit(second, &result, &error), &error);
    nori_ingest_destroy(first);
    nori_ingest_destroy(second);
    EXPECT_OK(nori_delete_range(engine, &others, NULL, NULL, &error), &error);
    expect_all(engine);
    end(env, engine);
}

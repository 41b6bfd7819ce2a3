/* put seq|random|batch|overwrite [count] [directory]: puts of 16-byte keys and 100-byte values into a fresh database.
 *
 * BENCH_MAPPED=true|false chooses how the log is written. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define BATCH_PUTS 1000

static __attribute__((noinline)) void put_all(struct bench *bench, bool random)
{
    struct nori_error error;
    char key[BENCH_KEY_BYTES];
    for (uint64_t i = 0; i < bench->count; i++) {
        uint64_t number = random ? bench_permute(bench, i) : i;
        bench_check(nori_put(bench->engine, bench_key(key, number), bench_value(bench, number), NULL, &error), &error);
    }
}

static __attribute__((noinline)) void put_batches(struct bench *bench)
{
    struct nori_error error;
    struct nori_batch *batch = NULL;
    char key[BENCH_KEY_BYTES];
    bench_check(nori_batch_create(&batch, &error), &error);
    for (uint64_t i = 0; i < bench->count; i++) {
        uint64_t number = bench_permute(bench, i), sequence;
        bench_check(nori_batch_put(batch, bench_key(key, number), bench_value(bench, number), 0, &error), &error);
        if ((i + 1) % BATCH_PUTS != 0 && i + 1 != bench->count) continue;
        bench_check(nori_write(bench->engine, batch, NULL, &sequence, &error), &error);
        nori_batch_clear(batch);
    }
    nori_batch_destroy(batch);
}

int main(int argc, char **argv)
{
    static struct bench bench;
    bench_init(&bench, argc, argv, "seq|random|batch|overwrite");
    bool batches = strcmp(bench.mode, "batch") == 0;
    bool random = strcmp(bench.mode, "seq") != 0;
    if (strcmp(bench.mode, "overwrite") == 0)
        bench_load(&bench);
    else
        bench_open(&bench);
    bench_start(&bench);
    if (batches)
        put_batches(&bench);
    else
        put_all(&bench, random);
    char name[32];
    snprintf(name, sizeof name, "put %s", bench.mode);
    bench_stop(&bench, name, bench.count);
    bench_clear(&bench);
    return 0;
}

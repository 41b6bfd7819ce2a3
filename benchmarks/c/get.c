/* get table|memtable|missing|many [count] [directory]: point reads, in random order.
 *
 * "table" and "missing" read a database that was loaded, closed and opened again, once every block is in the cache;
 * "many" too, a hundred keys a call; "memtable" reads what was just written (at most 200,000 keys, so that they fit).
 * BENCH_ROUNDS repeats the measured loop. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define MEMTABLE_KEYS 200000
#define MANY_KEYS 100

static bool take_value(void *arg, nori_slice value)
{
    *(uint64_t *)arg += value.data[0];
    return true;
}

static __attribute__((noinline)) uint64_t get_all(struct bench *bench, bool missing)
{
    struct nori_error error;
    char key[BENCH_KEY_BYTES];
    uint64_t found_count = 0, sum = 0;
    for (uint64_t i = 0; i < bench->count; i++) {
        bool found;
        nori_slice slice = bench_key(key, bench_permute(bench, i));
        if (missing) key[BENCH_KEY_BYTES - 1] = 'x';
        bench_check(nori_get(bench->engine, NULL, slice, 0, take_value, &sum, &found, &error), &error);
        found_count += found;
    }
    return found_count;
}

static bool take_one(void *arg, size_t position, nori_slice value)
{
    uint64_t *counts = arg;
    counts[0]++;
    counts[1] += position + value.data[0];
    return true;
}

static __attribute__((noinline)) uint64_t get_groups(struct bench *bench)
{
    struct nori_error error;
    char bytes[MANY_KEYS][BENCH_KEY_BYTES];
    nori_slice keys[MANY_KEYS];
    uint64_t counts[2] = {0, 0};
    for (uint64_t i = 0; i < bench->count;) {
        size_t count = 0;
        for (; count < MANY_KEYS && i < bench->count; i++, count++)
            keys[count] = bench_key(bytes[count], bench_permute(bench, i));
        bench_check(nori_get_many(bench->engine, NULL, keys, count, 0, take_one, counts, &error), &error);
    }
    return counts[0];
}

int main(int argc, char **argv)
{
    static struct bench bench;
    const char *rounds_text = getenv("BENCH_ROUNDS");
    int rounds = rounds_text ? atoi(rounds_text) : 1;
    bench_init(&bench, argc, argv, "table|memtable|missing|many");
    bool missing = strcmp(bench.mode, "missing") == 0, many = strcmp(bench.mode, "many") == 0;
    if (strcmp(bench.mode, "memtable") == 0) {
        struct nori_error error;
        char key[BENCH_KEY_BYTES];
        if (bench.count > MEMTABLE_KEYS) bench.count = MEMTABLE_KEYS;
        bench_open(&bench);
        for (uint64_t i = 0; i < bench.count; i++)
            bench_check(
                nori_put(bench.engine, bench_key(key, bench_permute(&bench, i)), bench_value(&bench, i), NULL, &error),
                &error);
    } else
        bench_load(&bench);
    uint64_t warm = get_all(&bench, false), found = 0;
    char name[32];
    snprintf(name, sizeof name, "get %s", bench.mode);
    for (int i = 0; i < rounds; i++) {
        bench_start(&bench);
        found = many ? get_groups(&bench) : get_all(&bench, missing);
        bench_stop(&bench, name, bench.count);
    }
    if (warm != bench.count || found != (missing ? 0 : bench.count)) {
        fprintf(stderr, "%llu of the keys were found\n", (unsigned long long)found);
        return 1;
    }
    bench_clear(&bench);
    return 0;
}

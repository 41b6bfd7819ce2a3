/* scan forward|reverse|hundred|hundred-reverse [count] [directory]: scans of a loaded database with every block in the
 * cache.
 *
 * "forward" and "reverse" read all pairs and count pairs; "hundred" and "hundred-reverse" begin at random keys, read
 * 100 pairs each time and count scans. BENCH_ROUNDS repeats the measured loop. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define CHUNK_ENTRIES 1024
#define CHUNK_BYTES (1 << 20)
#define HUNDREDS 20000

static uint64_t drain(struct bench *bench, const struct nori_scan_params *params, size_t chunk)
{
    struct nori_error error;
    struct nori_scan *scan = NULL;
    uint64_t total = 0;
    size_t count;
    bench_check(nori_scan_open(bench->engine, params, &scan, &error), &error);
    do {
        const struct nori_entry *entries;
        bench_check(nori_scan_next(scan, chunk, CHUNK_BYTES, &entries, &count, &error), &error);
        total += count;
    } while (count > 0 && total < params->limit);
    nori_scan_destroy(scan);
    return total;
}

static __attribute__((noinline)) uint64_t scan_all(struct bench *bench, bool reverse)
{
    struct nori_scan_params params = {.reverse = reverse, .limit = UINT64_MAX};
    return drain(bench, &params, CHUNK_ENTRIES);
}

static __attribute__((noinline)) uint64_t scan_hundreds(struct bench *bench, bool reverse)
{
    uint64_t total = 0;
    char key[BENCH_KEY_BYTES];
    for (uint64_t i = 0; i < HUNDREDS; i++) {
        nori_slice bound = bench_key(key, bench_permute(bench, i % bench->count));
        struct nori_scan_params params = {.reverse = reverse, .limit = 100};
        if (reverse)
            params.stop = &bound;
        else
            params.start = &bound;
        total += drain(bench, &params, 100);
    }
    return total;
}

int main(int argc, char **argv)
{
    static struct bench bench;
    const char *rounds_text = getenv("BENCH_ROUNDS");
    int rounds = rounds_text ? atoi(rounds_text) : 1;
    bench_init(&bench, argc, argv, "forward|reverse|hundred|hundred-reverse");
    bool hundred = strncmp(bench.mode, "hundred", 7) == 0, reverse = strstr(bench.mode, "reverse") != NULL;
    bench_load(&bench);
    uint64_t warm = scan_all(&bench, false);
    char name[32];
    snprintf(name, sizeof name, "scan %s", bench.mode);
    for (int i = 0; i < rounds; i++) {
        bench_start(&bench);
        uint64_t read = hundred ? scan_hundreds(&bench, reverse) : scan_all(&bench, reverse);
        bench_stop(&bench, name, hundred ? HUNDREDS : read);
    }
    if (warm != bench.count) {
        fprintf(stderr, "%llu keys were read\n", (unsigned long long)warm);
        return 1;
    }
    bench_clear(&bench);
    return 0;
}

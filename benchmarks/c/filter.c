/* filter bloom|ribbon [count]: one kind of filter, for tables of 'count' keys (300,000: what 32 MiB hold of 116 bytes).
 *
 * Prints bits per key and false positives; building, by key; asking for keys that are there and that are not, of one
 * filter (it stays in the cache) and of 48 in turn (they do not). BENCH_BITS: bits per key, 10. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "table/filter.h"
#include "table/ribbon.h"

#define FILTERS 48
#define ASKED 4000000

static struct nr_filter filters[FILTERS];
static struct nr_ribbon ribbons[FILTERS];

static uint64_t hash_of(uint64_t number)
{
    uint64_t x = number * 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static size_t build(struct bench *bench, bool is_ribbon, size_t which, double bits)
{
    struct nori_error error;
    struct nr_buffer section;
    uint64_t *hashes = malloc(bench->count * sizeof(*hashes));
    bool is_built = true;
    nr_buffer_init(&section);
    for (uint64_t i = 0; i < bench->count; i++) hashes[i] = hash_of(which * bench->count + i);
    if (which == 0) bench_start(bench);
    if (is_ribbon)
        bench_check(nr_ribbon_build(hashes, bench->count, bits, &section, &is_built, &error), &error);
    else
        bench_check(nr_filter_build(hashes, bench->count, bits, &section, &error), &error);
    if (which == 0) bench_stop(bench, "build", bench->count);
    if (is_ribbon)
        bench_check(nr_ribbon_init(&ribbons[which], nr_buffer_slice(&section), &is_built, &error), &error);
    else
        bench_check(nr_filter_init(&filters[which], nr_buffer_slice(&section), &is_built, &error), &error);
    size_t bytes = section.size;
    nr_buffer_clear(&section);
    free(hashes);
    if (!is_built) {
        fprintf(stderr, "not built\n");
        exit(1);
    }
    return bytes;
}

static __attribute__((noinline)) uint64_t ask_bloom(uint64_t first, uint64_t modulus, uint64_t filter_count)
{
    uint64_t passed = 0;
    for (uint64_t i = 0; i < ASKED; i++) {
        uint64_t which = filter_count == 1 ? 0 : i % FILTERS;
        passed += nr_filter_may_hold(&filters[which], hash_of(first + which * modulus + i % modulus));
    }
    return passed;
}

static __attribute__((noinline)) uint64_t ask_ribbon(uint64_t first, uint64_t modulus, uint64_t filter_count)
{
    uint64_t passed = 0;
    for (uint64_t i = 0; i < ASKED; i++) {
        uint64_t which = filter_count == 1 ? 0 : i % FILTERS;
        passed += nr_ribbon_may_hold(&ribbons[which], hash_of(first + which * modulus + i % modulus));
    }
    return passed;
}

static void ask(struct bench *bench, bool is_ribbon, bool is_missing, uint64_t filter_count)
{
    char name[32];
    uint64_t first = is_missing ? FILTERS * bench->count : 0;
    snprintf(name, sizeof name, "%s, %s", is_missing ? "missing" : "there", filter_count == 1 ? "one" : "48");
    bench_start(bench);
    uint64_t passed = (is_ribbon ? ask_ribbon : ask_bloom)(first, bench->count, filter_count);
    bench_stop(bench, name, ASKED);
    if (!is_missing && passed != ASKED) exit(1);
    if (is_missing) printf("%-20s %9.3f %%\n", "false positives", 100.0 * (double)passed / ASKED);
}

int main(int argc, char **argv)
{
    static struct bench bench;
    char *given[] = {argv[0], argc > 1 ? argv[1] : NULL, argc > 2 ? argv[2] : "300000", NULL};
    const char *bits_text = getenv("BENCH_BITS");
    double bits = bits_text ? atof(bits_text) : 10;
    bench_init(&bench, argc > 1 ? 3 : 1, given, "bloom|ribbon");
    bool is_ribbon = strcmp(bench.mode, "ribbon") == 0;
    size_t bytes = 0;
    for (size_t i = 0; i < FILTERS; i++) bytes = build(&bench, is_ribbon, i, bits);
    printf("%-20s %9.2f bits per key\n", bench.mode, 8.0 * (double)bytes / (double)bench.count);
    for (int missing = 0; missing < 2; missing++) {
        ask(&bench, is_ribbon, missing, 1);
        ask(&bench, is_ribbon, missing, FILTERS);
    }
    for (size_t i = 0; i < FILTERS; i++) {
        nr_filter_clear(&filters[i]);
        nr_ribbon_clear(&ribbons[i]);
    }
    bench_clear(&bench);
    return 0;
}

#include "bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static void fill_values(struct bench *bench)
{
    for (uint64_t i = 0; i < BENCH_VALUE_COUNT; i++) {
        uint8_t *value = bench->values[i];
        for (size_t j = 0; j < BENCH_VALUE_BYTES / 2; j++) value[j] = (uint8_t)(mix(i * 64 + j + 1) >> 40);
        memcpy(value + BENCH_VALUE_BYTES / 2, value, BENCH_VALUE_BYTES / 2);
    }
}

/* BENCH_TEXT: a file whose bytes, one behind the other, are the values instead. */
static void read_values(struct bench *bench, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fread(bench->values, sizeof bench->values, 1, file) != 1) {
        fprintf(stderr, "%s: no %zu bytes\n", path, sizeof bench->values);
        exit(1);
    }
    fclose(file);
}

void bench_init(struct bench *bench, int argc, char **argv, const char *usage)
{
    const char *parent = argc > 3 ? argv[3] : getenv("TMPDIR");
    memset(bench, 0, sizeof *bench);
    if (argc < 2 || argc > 4) {
        fprintf(stderr, "usage: %s %s [count] [directory]\n", argv[0], usage);
        exit(2);
    }
    bench->mode = argv[1];
    bench->count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    if (bench->count == 0) bench->count = 1;
    bench->mask = 1;
    while (bench->mask < bench->count) bench->mask = bench->mask * 2 + 1;
    snprintf(bench->path, sizeof bench->path - 8, "%s/nori-bench-XXXXXX", parent ? parent : "/tmp");
    if (!mkdtemp(bench->path)) {
        perror(bench->path);
        exit(1);
    }
    strcat(bench->path, "/db");
    fill_values(bench);
    if (getenv("BENCH_TEXT")) read_values(bench, getenv("BENCH_TEXT"));
}

void bench_check(nori_status rc, const struct nori_error *error)
{
    if (rc == NORI_OK) return;
    fprintf(stderr, "%s: %s\n", nori_status_name(rc), error->text);
    exit(1);
}

void bench_options(struct nori_options *options)
{
    struct nori_error error;
    const char *given = getenv("BENCH_OPTIONS");
    char text[1024], *rest = text, *name;
    nori_options_init(options);
    snprintf(text, sizeof text, "%s", given ? given : "");
    while ((name = strsep(&rest, " "))) {
        char *value = strchr(name, '=');
        if (!value) continue;
        *value++ = 0;
        bench_check(nori_options_set(options, name, value, &error), &error);
    }
}

void bench_open(struct bench *bench)
{
    struct nori_error error;
    struct nori_options options;
    struct nori_open_params params = {.options = &options};
    const char *mapped = getenv("BENCH_MAPPED");
    bench_options(&options);
    if (mapped) bench_check(nori_options_set(&options, "wal.mapped", mapped, &error), &error);
    bench_check(nori_open(bench->path, &params, &bench->engine, &error), &error);
}

void bench_close(struct bench *bench)
{
    struct nori_error error;
    if (!bench->engine) return;
    bench_check(nori_close(bench->engine, &error), &error);
    nori_destroy(bench->engine);
    bench->engine = NULL;
}

void bench_clear(struct bench *bench)
{
    char command[sizeof bench->path + 16];
    bench_close(bench);
    *strrchr(bench->path, '/') = 0;
    snprintf(command, sizeof command, "rm -rf '%s'", bench->path);
    if (system(command) != 0) fprintf(stderr, "%s is left behind\n", bench->path);
}

void bench_load(struct bench *bench)
{
    struct nori_error error;
    char key[BENCH_KEY_BYTES];
    bench_open(bench);
    for (uint64_t i = 0; i < bench->count; i++) {
        uint64_t number = bench_permute(bench, i);
        bench_check(nori_put(bench->engine, bench_key(key, number), bench_value(bench, number), NULL, &error), &error);
    }
    bench_close(bench);
    bench_open(bench);
}

nori_slice bench_key(char out[BENCH_KEY_BYTES], uint64_t number)
{
    for (size_t i = BENCH_KEY_BYTES; i-- > 0; number /= 10) out[i] = (char)('0' + number % 10);
    return (nori_slice){(const uint8_t *)out, BENCH_KEY_BYTES};
}

nori_slice bench_value(const struct bench *bench, uint64_t number)
{
    return (nori_slice){bench->values[number % BENCH_VALUE_COUNT], BENCH_VALUE_BYTES};
}

/* A bijection of 0..mask, walked until it falls below 'count'. */
uint64_t bench_permute(const struct bench *bench, uint64_t position)
{
    uint64_t x = position, mask = bench->mask;
    unsigned shift = 1;
    while ((mask >> shift) > 1024 && shift < 32) shift++;
    do {
        x = (x * 0x9e3779b97f4a7c15u + 0x632be59bd9b4e019u) & mask;
        x ^= x >> shift;
        x = (x * 0xd6e8feb86659fd93u) & mask;
        x ^= x >> (shift + 1);
    } while (x >= bench->count);
    return x;
}

static double clock_secs(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

double bench_now_secs(void)
{
    return clock_secs(CLOCK_MONOTONIC);
}

double bench_cpu_secs(void)
{
    return clock_secs(CLOCK_THREAD_CPUTIME_ID);
}

void bench_start(struct bench *bench)
{
    bench->begun_secs = bench_now_secs();
    bench->begun_cpu_secs = bench_cpu_secs();
}

void bench_stop(struct bench *bench, const char *name, uint64_t operations)
{
    double cpu_secs = bench_cpu_secs() - bench->begun_cpu_secs;
    double secs = bench_now_secs() - bench->begun_secs;
    double count = operations ? (double)operations : 1;
    printf("%-20s %10.0f k/s  %8.1f ns/op  %8.1f ns/op on the processor\n", name, count / secs / 1e3,
           secs / count * 1e9, cpu_secs / count * 1e9);
    fflush(stdout);
}

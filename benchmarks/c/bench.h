/* What the micro-benchmarks share: keys and values like those of the Python runner, a database to measure on, a clock.
 *
 * Keys are 16 decimal digits. Values are 100 bytes, the second half a copy of the first, so that they compress to a
 * half; or text, with BENCH_TEXT. Random order is a permutation, so that every key is met once, computed rather than
 * stored, so that the benchmark's own memory does not miss the cache. */
#ifndef NORI_BENCH_H
#define NORI_BENCH_H

#include "nori.h"

#define BENCH_KEY_BYTES 16
#define BENCH_VALUE_BYTES 100
#define BENCH_VALUE_COUNT 4096

struct bench {
    const char *mode;
    uint64_t count;
    char path[4096];
    struct nori_engine *engine;
    uint8_t values[BENCH_VALUE_COUNT][BENCH_VALUE_BYTES];
    uint64_t mask; /* Of the permutation: a power of two above 'count', less one. */
    double begun_secs, begun_cpu_secs;
};

/* Reads "<mode> [count] [directory]"; the directory defaults to $TMPDIR or /tmp. Makes a fresh database path in it. */
void bench_init(struct bench *bench, int argc, char **argv, const char *usage);
/* Closes the engine, if open, and removes its files. */
void bench_clear(struct bench *bench);
/* BENCH_OPTIONS changes options: "filters.kind=ribbon level1_bytes=4000000". */
void bench_options(struct nori_options *options);
void bench_open(struct bench *bench);
void bench_close(struct bench *bench);
/* Every key once, in random order, then closed and opened again: all data is in tables. */
void bench_load(struct bench *bench);

/* Ends the program with the error's text unless 'rc' is NORI_OK. */
void bench_check(nori_status rc, const struct nori_error *error);

nori_slice bench_key(char out[BENCH_KEY_BYTES], uint64_t number);
nori_slice bench_value(const struct bench *bench, uint64_t number);
/* The position-th key number of a pseudo-random permutation of 0..count-1. */
uint64_t bench_permute(const struct bench *bench, uint64_t position);

void bench_start(struct bench *bench);
/* Prints one line: name, rate, time an operation, processor time of this thread an operation. */
void bench_stop(struct bench *bench, const char *name, uint64_t operations);
double bench_now_secs(void);
double bench_cpu_secs(void); /* Of the calling thread. */

#endif

/* merge lz4|none|zstd [count] [directory]: how many bytes a second one core merges.
 *
 * Four runs whose keys interleave, 'count' entries in all, are merged into one: the work of a compaction, without an
 * engine around it, as for level BENCH_LEVEL (1). Counted are the bytes of keys and values that go in, and beside them
 * the bytes of files. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "compact/merge.h"

#define RUNS 4

struct merger {
    struct nr_dir *dir;
    struct nr_epoch epoch;
    struct nr_block_cache *blocks;
    struct nr_table_cache *tables;
    struct nori_options options;
    struct nr_merge_context context;
    struct nr_run *runs[RUNS];
    uint64_t next_number, next_run_id;
};

static uint64_t take_number(void *arg)
{
    return ((struct merger *)arg)->next_number++;
}

static uint64_t take_run_id(void *arg)
{
    return ((struct merger *)arg)->next_run_id++;
}

static void drop_file(void *arg, struct nr_table_file *file)
{
    nr_table_cache_drop(((struct merger *)arg)->tables, &file->handle, true);
    nr_table_file_free(file);
}

static void merger_init(struct merger *merger, const struct bench *bench)
{
    struct nori_error error;
    char levels[64];
    bench_options(&merger->options);
    snprintf(levels, sizeof levels, "%s/4096/none", bench->mode);
    bench_check(nori_options_set(&merger->options, "levels", levels, &error), &error);
    bench_check(nr_dir_open(nori_env_default(), bench->path, true, &merger->dir, &error), &error);
    nr_epoch_init(&merger->epoch);
    bench_check(nr_block_cache_create(&merger->epoch, 64 << 20, &merger->blocks, &error), &error);
    struct nr_table_cache_params params = {.epoch = &merger->epoch,
                                           .dir = merger->dir,
                                           .blocks = merger->blocks,
                                           .database_id = 1,
                                           .max_open_files = 1000,
                                           .index_budget_bytes = 64 << 20,
                                           .filter_budget_bytes = 64 << 20};
    bench_check(nr_table_cache_create(&params, &merger->tables, &error), &error);
    merger->next_number = merger->next_run_id = 1;
    merger->context = (struct nr_merge_context){.env = nori_env_default(),
                                                .dir = merger->dir,
                                                .database_id = 1,
                                                .epoch = &merger->epoch,
                                                .tables = merger->tables,
                                                .options = &merger->options,
                                                .next_number = take_number,
                                                .next_run_id = take_run_id,
                                                .on_unreferenced = drop_file,
                                                .arg = merger};
}

/* Run r holds the keys whose number is r modulo RUNS: neighbours never come from one run. */
static void fill_run(struct merger *merger, struct bench *bench, uint64_t which)
{
    struct nori_error error;
    struct nr_memtable *memtable = NULL;
    struct nr_moment now = {NR_MAX_SEQUENCE, 1};
    uint64_t bytes = 0, sequence = which * bench->count + 1;
    char key[BENCH_KEY_BYTES];
    bench_check(nr_memtable_create(&merger->epoch, bench->count / RUNS * 160, &memtable, &error), &error);
    for (uint64_t i = which; i < bench->count; i += RUNS) {
        nori_slice key_slice = bench_key(key, i), value = bench_value(bench, i);
        bench_check(nr_memtable_reserve_one(memtable, key_slice, value, &error), &error);
        nr_memtable_insert_one(memtable, NR_TYPE_PUT, key_slice, value, sequence++);
    }
    bench_start(bench);
    bench_check(nr_flush_execute(&merger->context, &memtable, 1, &now, 1, 1, &merger->runs[which], &bytes, &error),
                &error);
    bench_stop(bench, "flush", bench->count / RUNS);
    nr_memtable_unref(memtable);
}

static __attribute__((noinline)) void merge_runs(struct merger *merger, struct nr_merge_job *job)
{
    struct nori_error error;
    bench_check(nr_merge_execute(&merger->context, job, &error), &error);
}

static void merge_all(struct merger *merger, struct bench *bench)
{
    struct nr_merge_input inputs[RUNS];
    struct nr_merge_target target = {1, {(const uint8_t *)"", 0}, nr_bound_infinite(), NULL};
    struct nr_moment now = {NR_MAX_SEQUENCE, 1};
    const char *level = getenv("BENCH_LEVEL");
    struct nr_merge_job job = {.inputs = inputs,
                               .input_count = RUNS,
                               .targets = &target,
                               .target_count = 1,
                               .level = level ? (uint32_t)atoi(level) : 1,
                               .moments = &now,
                               .moment_count = 1,
                               .created_ms = 1};
    for (size_t i = 0; i < RUNS; i++)
        inputs[i] = (struct nr_merge_input){merger->runs[RUNS - 1 - i], {(const uint8_t *)"", 0}, nr_bound_infinite()};
    bench_start(bench);
    merge_runs(merger, &job);
    double cpu_secs = bench_cpu_secs() - bench->begun_cpu_secs, secs = bench_now_secs() - bench->begun_secs;
    bench_stop(bench, "merge", job.entries_read);
    double raw = (double)job.entries_read * (BENCH_KEY_BYTES + BENCH_VALUE_BYTES) / 1e6;
    printf("%-20s %10.0f MB/s  %8.0f MB/s of processor time (files: %.0f MB read, %.0f MB written)\n", bench->mode,
           raw / secs, raw / cpu_secs, (double)job.bytes_read / 1e6, (double)job.bytes_written / 1e6);
    nr_run_unref(target.run);
}

int main(int argc, char **argv)
{
    static struct bench bench;
    static struct merger merger;
    bench_init(&bench, argc, argv, "lz4|none|zstd");
    merger_init(&merger, &bench);
    for (uint64_t i = 0; i < RUNS; i++) fill_run(&merger, &bench, i);
    merge_all(&merger, &bench);
    for (size_t i = 0; i < RUNS; i++) nr_run_unref(merger.runs[i]);
    nr_table_cache_destroy(merger.tables);
    nr_block_cache_destroy(merger.blocks);
    nr_epoch_destroy(&merger.epoch);
    nr_dir_close(merger.dir);
    bench_clear(&bench);
    return 0;
}

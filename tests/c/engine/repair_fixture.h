/* What the tests of repair share: a database on a simulated disk whose history is known write by write, and what a
 * repaired one may hold of it. */
#ifndef NR_TESTS_ENGINE_REPAIR_FIXTURE_H
#define NR_TESTS_ENGINE_REPAIR_FIXTURE_H

#include "fixture.h"

#include "base/random.h"
#include "format/format.h"
#include "io/env.h"

#define KEYS 60
#define MAX_WRITES 4000

static struct nori_error error;

/* A write; sequences count from 1. */
struct write {
    uint64_t sequence;
    int first, last; /* Keys; more than one in a range delete. */
    bool is_put;
    unsigned value; /* Of a put. */
};

struct history {
    struct write writes[MAX_WRITES];
    size_t count;
    uint64_t sequence;
};

static inline void key_text(char out[16], int key)
{
    snprintf(out, 16, "key%03d", key);
}

/* Values are long enough for several blocks, and no two are alike. */
static inline void value_text(char out[128], unsigned value)
{
    snprintf(out, 128, "%08u-%056u", value, value * 2654435761u);
}

static inline void note_write(struct history *history, struct write write)
{
    EXPECT(history->count < MAX_WRITES);
    write.sequence = ++history->sequence;
    history->writes[history->count++] = write;
}

static inline void put_key(struct nori_engine *engine, struct history *history, int key)
{
    char name[16], value[128];
    unsigned number = (unsigned)history->count + 1;
    key_text(name, key);
    value_text(value, number);
    EXPECT_OK(put_text(engine, name, value, &error), &error);
    note_write(history, (struct write){.first = key, .last = key, .is_put = true, .value = number});
}

static inline void delete_keys(struct nori_engine *engine, struct history *history, int first, int last)
{
    char start[16], stop[16];
    key_text(start, first);
    key_text(stop, last + 1);
    nori_slice from = nr_slice_text(start), to = nr_slice_text(stop);
    if (first == last)
        EXPECT_OK(nori_delete(engine, from, NULL, &error), &error);
    else
        EXPECT_OK(nori_delete_range(engine, &from, &to, NULL, &error), &error);
    note_write(history, (struct write){.first = first, .last = last});
}

static inline void ingest_keys(struct nori_engine *engine, struct history *history, int first, int last)
{
    struct nori_ingest *ingest;
    struct nori_ingest_result result;
    struct nori_batch *batch;
    char name[16], value[128];
    uint64_t sequence = history->sequence + 1;
    EXPECT_OK(nori_ingest_create(engine, true, &ingest, &error), &error);
    EXPECT_OK(nori_batch_create(&batch, &error), &error);
    for (int key = first; key <= last; key++) {
        unsigned number = (unsigned)history->count + 1;
        key_text(name, key);
        value_text(value, number);
        EXPECT_OK(nori_batch_put(batch, nr_slice_text(name), nr_slice_text(value), 0, &error), &error);
        history->sequence = sequence - 1;
        note_write(history, (struct write){.first = key, .last = key, .is_put = true, .value = number});
    }
    EXPECT_OK(nori_ingest_add(ingest, batch, &error), &error);
    EXPECT_OK(nori_ingest_commit(ingest, &result, &error), &error);
    EXPECT_EQ(result.sequence, sequence);
    nori_batch_destroy(batch);
    nori_ingest_destroy(ingest);
}

/* The value of a key after the write of 'sequence'; 0: there is none. */
static inline unsigned value_at(const struct history *history, int key, uint64_t sequence)
{
    unsigned value = 0;
    for (size_t i = 0; i < history->count && history->writes[i].sequence <= sequence; i++) {
        const struct write *write = &history->writes[i];
        if (write->first <= key && key <= write->last) value = write->is_put ? write->value : 0;
    }
    return value;
}

static inline bool ever_had(const struct history *history, int key, unsigned value)
{
    for (size_t i = 0; i < history->count; i++) {
        const struct write *write = &history->writes[i];
        if (write->is_put && write->value == value && write->first == key) return true;
    }
    return false;
}

static inline struct nori_options repair_options(void)
{
    struct nori_options options = small_options();
    for (int64_t i = 0; i < options.level_count; i++) options.levels[i].block_bytes = 256;
    options.table_bytes = 4096;
    options.level1_bytes = 8192;
    return options;
}

static inline struct nori_engine *open_writer(struct nori_env *env, const char *path)
{
    struct nori_engine *engine;
    struct nori_options options = repair_options();
    struct nori_open_params params = {.options = &options, .env = env};
    EXPECT_OK(nori_open(path, &params, &engine, &error), &error);
    return engine;
}

/* Levels of tables with values, deletes and range deletes over each other, and a log beside them, as a kill leaves it.
 */
static inline void write_history(struct nori_env *env, struct history *history, uint64_t seed, bool with_ingest,
                                 int rounds)
{
    struct nori_engine *engine = open_writer(env, "/db");
    struct nr_random random;
    nr_random_init(&random, seed);
    memset(history, 0, sizeof *history);
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < 60; i++) {
            int key = (int)nr_random_below(&random, KEYS);
            uint64_t die = nr_random_below(&random, 100);
            if (die < 75)
                put_key(engine, history, key);
            else if (die < 95)
                delete_keys(engine, history, key, key);
            else
                delete_keys(engine, history, key, NR_MIN(key + 5, KEYS - 1));
        }
        if (with_ingest && round == 3) ingest_keys(engine, history, 10, 30);
        if (round + 1 < rounds) EXPECT_OK(nori_flush(engine, &error), &error);
        if (round == 1) EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &error), &error);
    }
    EXPECT_OK(nori_sync(engine, &error), &error);
    put_key(engine, history, 0);
    nori_simdisk_kill(env);
    nori_destroy(engine);
}

/* ---------------------------------------------------------------- files of the disk */

#define MAX_FILES 128

struct disk_file {
    char path[64];
    uint8_t *data; /* Owned. */
    size_t size;
};

struct disk_files {
    struct nori_env *env;
    const char *directory;
    struct disk_file items[MAX_FILES];
    size_t count;
};

static inline void add_file(void *arg, const char *name)
{
    struct disk_files *files = arg;
    char path[64];
    uint8_t *data;
    size_t size;
    snprintf(path, sizeof path, "%s/%s", files->directory, name);
    if (nori_simdisk_read_file(files->env, path, &data, &size, NULL) != NORI_OK) return; /* A directory. */
    EXPECT(files->count < MAX_FILES);
    struct disk_file *file = &files->items[files->count++];
    memcpy(file->path, path, sizeof path);
    file->data = data;
    file->size = size;
}

/* All files of the database at /db. */
static inline void read_files(struct nori_env *env, struct disk_files *files)
{
    *files = (struct disk_files){.env = env, .directory = "/db"};
    EXPECT_OK(nori_simdisk_list(env, "/db", add_file, files, &error), &error);
    files->directory = "/db/wal";
    EXPECT_OK(nori_simdisk_list(env, "/db/wal", add_file, files, &error), &error);
}

static inline void clear_files(struct disk_files *files)
{
    for (size_t i = 0; i < files->count; i++) nori_free(files->items[i].data);
    files->count = 0;
}

static inline void expect_same_files(const struct disk_files *before)
{
    struct disk_files now;
    read_files(before->env, &now);
    EXPECT_EQ(now.count, before->count);
    for (size_t i = 0; i < now.count; i++) {
        EXPECT(strcmp(now.items[i].path, before->items[i].path) == 0);
        EXPECT_EQ(now.items[i].size, before->items[i].size);
        if (now.items[i].size > 0 && memcmp(now.items[i].data, before->items[i].data, now.items[i].size) != 0)
            FAIL("%s was changed", now.items[i].path);
    }
    clear_files(&now);
}

struct removal {
    struct nr_dir *dir;
};

static inline void remove_name(void *arg, const char *name)
{
    struct removal *removal = arg;
    struct nr_dir *below;
    if (nr_dir_unlink(removal->dir, name, NULL) == NORI_OK) return;
    EXPECT_OK(nr_dir_open_at(removal->dir, name, false, &below, &error), &error);
    struct removal deeper = {below};
    EXPECT_OK(nr_dir_list(below, remove_name, &deeper, &error), &error);
    nr_dir_close(below);
    EXPECT_OK(nr_dir_remove(removal->dir, name, &error), &error);
}

static inline void remove_tree(struct nori_env *env, const char *name)
{
    struct removal removal;
    EXPECT_OK(nr_dir_open(env, "/", false, &removal.dir, &error), &error);
    remove_name(&removal, name);
    nr_dir_close(removal.dir);
}

static inline void remove_other(void *arg, const char *name)
{
    if (strcmp(name, "db") != 0) remove_name(arg, name);
}

/* All beside /db, and so that no loss of power brings it back. */
static inline void remove_others(struct nori_env *env)
{
    struct removal removal;
    EXPECT_OK(nr_dir_open(env, "/", false, &removal.dir, &error), &error);
    EXPECT_OK(nr_dir_list(removal.dir, remove_other, &removal, &error), &error);
    nr_dir_close(removal.dir);
    EXPECT_OK(nori_simdisk_crash(env, 1.0, &error), &error);
}

struct names {
    size_t others; /* Beside /db. */
};

static inline void count_name(void *arg, const char *name)
{
    if (strcmp(name, "db") != 0) ((struct names *)arg)->others++;
}

static inline size_t names_beside(struct nori_env *env)
{
    struct names names = {0};
    EXPECT_OK(nori_simdisk_list(env, "/", count_name, &names, &error), &error);
    return names.others;
}

/* ---------------------------------------------------------------- what a repaired database may hold */

static inline bool is_reported(const struct nori_repair_report *report, const char *key)
{
    nori_slice name = nr_slice_text(key);
    for (size_t i = 0; i < report->finding_count; i++) {
        const struct nori_repair_finding *finding = &report->findings[i];
        if (finding->has_range && nr_slice_compare(finding->start, name) <= 0 &&
            (!finding->stop.data || nr_slice_compare(name, finding->stop) < 0))
            return true;
    }
    return false;
}

/* How many of the report's findings are of a kind. */
static inline size_t count_findings(const struct nori_repair_report *report, const char *kind)
{
    size_t count = 0;
    for (size_t i = 0; i < report->finding_count; i++) count += strcmp(report->findings[i].what.kind, kind) == 0;
    return count;
}

/* Each key as it was at the report's sequence; within reported ranges so or not at all. Without a manifest only what
 * each key had once. Returns how many keys are there. */
static inline size_t expect_history(struct nori_env *env, const char *path, const struct history *history,
                                    const struct nori_repair_report *report, const char *what)
{
    struct nori_engine *engine;
    struct nori_open_params params = {.env = env, .read_only = true};
    struct text_value value;
    char name[16], expected[128];
    size_t there = 0;
    bool found;
    EXPECT_OK(nori_open(path, &params, &engine, &error), &error);
    expect_sound(engine);
    for (int key = 0; key < KEYS; key++) {
        key_text(name, key);
        EXPECT_OK(get_text(engine, NULL, name, &value, &found, &error), &error);
        there += found;
        unsigned number = found ? (unsigned)strtoul(value.text, NULL, 10) : 0;
        value_text(expected, number);
        if (found && strcmp(value.text, expected) != 0) FAIL("%s: %s is \"%s\"", what, name, value.text);
        if (found && !ever_had(history, key, number)) FAIL("%s: %s never was %u", what, name, number);
        if (report->basis == NORI_REPAIR_TABLES) continue;
        unsigned right = value_at(history, key, report->sequence);
        if (number != right && !(number == 0 && is_reported(report, name)))
            FAIL("%s: %s is %u, and was %u at sequence %" PRIu64 " (reported: %d)", what, name, number, right,
                 report->sequence, is_reported(report, name));
    }
    uint64_t count;
    EXPECT_OK(nori_count(engine, NULL, &count, &error), &error);
    EXPECT_EQ(count, there);
    nori_destroy(engine);
    return there;
}

#endif

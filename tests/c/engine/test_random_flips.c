/* A database with files of each kind, of which one bit is flipped: all that is read is right, or an error of damage.
 *
 *     make flips [FLIPS=100000] [SEED=1]
 *
 * runs it for long. What was not synced when the process was killed may be taken for a torn tail; nothing else may. */
#include <time.h>

#include "base/random.h"
#include "engine/engine.h"
#include "environment.h"
#include "format/format.h"
#include "io/env.h"
#include "script.h"

#define MAX_FILES 64
#define FLIPS_OF_A_DATABASE 400
#define LIVED_STEPS 180

enum kind { CURRENT, MANIFEST, TABLE, SEGMENT, HEAT, KIND_COUNT };
static const char *const kind_names[KIND_COUNT] = {"CURRENT", "manifest", "table", "log segment", "HEAT"};

struct image_file {
    char path[64];
    enum kind kind;
    uint8_t *data; /* Owned. */
    size_t size;
};

/* The files of a killed engine, and what they held. */
struct image {
    struct image_file files[MAX_FILES];
    size_t count;
    struct model model;
};

struct campaign {
    uint64_t flips[KIND_COUNT], refused[KIND_COUNT], damaged_reads[KIND_COUNT], torn_tails[KIND_COUNT];
};

/* ---------------------------------------------------------------- the image */

static void open_engine(struct nori_env *env, uint64_t seed, struct nori_engine **engine_out)
{
    struct nori_error error;
    struct nori_options options = small_options();
    struct nori_override overrides[] = {{"filters.kind", seed % 2 ? "bloom" : "ribbon"},
                                        {"table_bytes", "8192"},
                                        {"fanout", "2"},
                                        {"wal.durability", seed % 4 ? "interval" : "os"}};
    for (int64_t i = 0; i < options.level_count; i++) options.levels[i].compression = (int)(seed % 3);
    struct nori_open_params params = {
        .options = &options, .overrides = overrides, .override_count = NR_ARRAY_LEN(overrides), .env = env};
    EXPECT_OK(nori_open("/db", &params, engine_out, &error), &error);
}

static void note_durable(struct model *model, nori_status rc, struct nori_error *error)
{
    EXPECT_OK(rc, error);
    model->durable = model->acknowledged;
}

/* A life with an orderly close in it, which leaves HEAT, and some synced writes and a few more behind that. */
static void live(struct nori_env *env, uint64_t seed, struct model *model)
{
    struct nori_error error;
    struct nori_engine *engine;
    struct nr_random random;
    nr_random_init(&random, seed);
    memset(model, 0, sizeof *model);
    model->count = 1;
    open_engine(env, seed, &engine);
    for (int i = 0; i < LIVED_STEPS; i++) {
        EXPECT_OK(script_step(engine, model, (int)nr_random_below(&random, 1 << 20), &error), &error);
        if (i != LIVED_STEPS / 2) continue;
        note_durable(model, nori_close(engine, &error), &error);
        nori_destroy(engine);
        open_engine(env, seed, &engine);
    }
    note_durable(model, nori_sync(engine, &error), &error);
    for (uint64_t i = nr_random_below(&random, 3); i > 0; i--) {
        int step = 1 + 504 * (int)nr_random_below(&random, 1000); /* Single puts, not synced. */
        EXPECT_OK(script_step(engine, model, step, &error), &error);
    }
    nori_simdisk_kill(env);
    nori_destroy(engine);
}

struct listing {
    struct nori_env *env;
    struct image *image;
    const char *folder;
};

static bool kind_of(const char *name, enum kind *kind_out)
{
    uint64_t number;
    switch (nr_name_parse(name, &number)) {
    case NR_FILE_MANIFEST:
        *kind_out = MANIFEST;
        return true;
    case NR_FILE_TABLE:
        *kind_out = TABLE;
        return true;
    case NR_FILE_SEGMENT:
        *kind_out = SEGMENT;
        return true;
    default:
        *kind_out = strcmp(name, "HEAT") == 0 ? HEAT : CURRENT;
        return *kind_out == HEAT || strcmp(name, "CURRENT") == 0;
    }
}

static void take_file(void *arg, const char *name)
{
    struct listing *listing = arg;
    struct image_file *file = &listing->image->files[listing->image->count];
    struct nori_error error;
    if (!kind_of(name, &file->kind)) return;
    EXPECT(listing->image->count < MAX_FILES);
    snprintf(file->path, sizeof file->path, "%s/%s", listing->folder, name);
    EXPECT_OK(nori_simdisk_read_file(listing->env, file->path, &file->data, &file->size, &error), &error);
    listing->image->count++;
}

static void make_image(uint64_t seed, struct image *image)
{
    struct nori_env *env;
    struct nori_error error;
    image->count = 0;
    EXPECT_OK(nori_simdisk_create(seed, 512, false, &env, &error), &error);
    live(env, seed, &image->model);
    struct listing top = {env, image, "/db"}, log = {env, image, "/db/wal"};
    EXPECT_OK(nori_simdisk_list(env, "/db", take_file, &top, &error), &error);
    EXPECT_OK(nori_simdisk_list(env, "/db/wal", take_file, &log, &error), &error);
    nori_simdisk_destroy(env);
}

static void clear_image(struct image *image)
{
    for (size_t i = 0; i < image->count; i++) nori_free(image->files[i].data);
    image->count = 0;
}

static struct nori_env *make_disk(const struct image *image, uint64_t seed)
{
    struct nori_env *env;
    struct nr_dir *dir, *wal;
    struct nori_error error;
    EXPECT_OK(nori_simdisk_create(seed, 512, false, &env, &error), &error);
    EXPECT_OK(nr_dir_open(env, "/db", true, &dir, &error), &error);
    EXPECT_OK(nr_dir_open_at(dir, "wal", true, &wal, &error), &error);
    nr_dir_close(wal);
    nr_dir_close(dir);
    for (size_t i = 0; i < image->count; i++) {
        const struct image_file *file = &image->files[i];
        EXPECT_OK(nori_simdisk_write_file(env, file->path, nr_slice(file->data, file->size), &error), &error);
    }
    return env;
}

/* ---------------------------------------------------------------- judgement */

static bool is_damage(nori_status rc)
{
    return rc == NORI_CORRUPTION || rc == NORI_FORMAT;
}

/* Reads all keys one by one and in both directions. Every answer is that of one state, not older than what was synced,
 * or an error of damage. Returns how many errors there were. */
static unsigned expect_right_or_damage(struct nori_engine *engine, const struct model *model, bool *is_torn_out)
{
    struct nori_error error;
    bool is_known[SCRIPT_KEYS];
    struct state found;
    unsigned errors = 0;
    for (int i = 0; i < SCRIPT_KEYS; i++) {
        char key[16], expected[SCRIPT_VALUE_BYTES + 1];
        struct text_value value;
        bool is_found;
        script_key(i, key);
        nori_status rc = get_text(engine, NULL, key, &value, &is_found, &error);
        is_known[i] = rc == NORI_OK;
        if (rc != NORI_OK && !is_damage(rc)) FAIL("get(%s): %s", key, error.text);
        if (is_damage(rc) && !error.path[0]) FAIL("get(%s): no path in: %s", key, error.text);
        errors += rc != NORI_OK;
        found.from[i] = is_found ? atoi(value.text) : 0;
        if (rc != NORI_OK || !is_found) continue;
        script_value(found.from[i], expected);
        if (strcmp(value.text, expected) != 0) FAIL("%s has a value that was never written: %.20s", key, value.text);
    }
    int at = model->count;
    for (bool is_same = false; !is_same;) {
        if (--at < model->durable) FAIL("a wrong or missing value: no state from %d on", model->durable);
        is_same = true;
        for (int i = 0; i < SCRIPT_KEYS; i++)
            is_same = is_same && (!is_known[i] || found.from[i] == model->states[at].from[i]);
    }
    *is_torn_out = at < model->count - 1;
    for (int reverse = 0; reverse < 2; reverse++) {
        nori_status rc = script_scan(engine, &model->states[at], reverse, &error);
        if (rc != NORI_OK && !is_damage(rc)) FAIL("scan: %s", error.text);
        errors += rc != NORI_OK;
    }
    return errors;
}

static size_t count_findings(struct nori_engine *engine)
{
    struct nori_verify_report report;
    struct nori_error error;
    EXPECT_OK(nori_verify(engine, NULL, NULL, &report, &error), &error);
    size_t count = report.finding_count;
    nori_free(report.findings);
    return count;
}

struct name_search {
    const char *path;
    bool is_found;
};

static nori_status compare_name(void *arg, struct nr_table_file *table, struct nori_error *err)
{
    struct name_search *search = arg;
    char name[NR_FILE_NAME_BYTES];
    (void)err;
    nr_name_table(name, table->number);
    search->is_found = search->is_found || strcmp(strrchr(search->path, '/') + 1, name) == 0;
    return NORI_OK;
}

/* A table that no version names was about to be unlinked when the process was killed. */
static bool is_named(struct nori_engine *engine, const struct image_file *file)
{
    struct name_search search = {file->path, false};
    struct nori_error error;
    EXPECT_OK(nr_version_each_file(nr_view_peek(engine)->version, compare_name, &search, &error), &error);
    return search.is_found;
}

static void judge(struct nori_engine *engine, const struct image *image, const struct image_file *file, bool read_only,
                  struct campaign *campaign)
{
    struct nori_error error;
    bool is_torn;
    unsigned errors = expect_right_or_damage(engine, &image->model, &is_torn);
    size_t findings = count_findings(engine);
    if (errors > 0 && findings == 0) FAIL("verify overlooks what %u reads have met", errors);
    /* Checksums cover all of a table, and a reader merges none away. */
    if (read_only && file->kind == TABLE && findings == 0 && is_named(engine, file)) FAIL("verify overlooks it");
    if (is_torn && file->kind != SEGMENT) FAIL("what was acknowledged is gone");
    campaign->damaged_reads[file->kind] += errors > 0;
    campaign->torn_tails[file->kind] += is_torn;
    nori_status rc = nori_close(engine, &error);
    if (rc != NORI_OK && !is_damage(rc)) FAIL("close: %s", error.text);
}

/* Opens what is on the disk, and looks at all of it. */
static void expect_noticed_or_harmless(struct nori_env *env, const struct image *image, const struct image_file *file,
                                       bool read_only, struct campaign *campaign)
{
    struct nori_error error;
    struct nori_engine *engine;
    struct nori_open_params params = {.env = env, .must_exist = true, .read_only = read_only};
    nori_status rc = nori_open("/db", &params, &engine, &error);
    if (rc == NORI_OK) {
        judge(engine, image, file, read_only, campaign);
        nori_destroy(engine);
        return;
    }
    if (!is_damage(rc) || !error.path[0]) FAIL("open: %s", error.text);
    campaign->refused[file->kind]++;
}

/* A bit of a file of this kind, if there is one; of a segment mostly where something was written. */
static bool choose(const struct image *image, enum kind kind, struct nr_random *random, size_t *file_out,
                   uint64_t *bit_out)
{
    size_t chosen = 0, seen = 0;
    for (size_t i = 0; i < image->count; i++) {
        if (image->files[i].kind != kind || image->files[i].size == 0) continue;
        if (nr_random_below(random, ++seen) == 0) chosen = i;
    }
    if (seen == 0) return false;
    size_t used = image->files[chosen].size;
    while (used > 1 && kind == SEGMENT && image->files[chosen].data[used - 1] == 0) used--;
    if (nr_random_below(random, 16) == 0) used = image->files[chosen].size;
    *file_out = chosen;
    *bit_out = nr_random_below(random, (uint64_t)used * 8);
    return true;
}

static void flip(uint64_t seed, uint64_t nth, struct image *image, struct nr_random *random, struct campaign *campaign)
{
    enum kind kind = (enum kind)(nth % KIND_COUNT);
    size_t index;
    uint64_t bit;
    bool read_only = nr_random_below(random, 2);
    if (!choose(image, kind, random, &index, &bit)) return;
    struct image_file *file = &image->files[index];
    file->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    struct nori_env *env = make_disk(image, seed);
    char what[128];
    snprintf(what, sizeof what, "seed %" PRIu64 ": bit %" PRIu64 " of %s, %s", seed, bit, file->path,
             read_only ? "read only" : "writable");
    test_doing(what);
    expect_noticed_or_harmless(env, image, file, read_only, campaign);
    test_doing(NULL);
    nori_simdisk_destroy(env);
    file->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    campaign->flips[kind]++;
}

TEST(a_flipped_bit_is_noticed_or_harmless_in_every_kind_of_file)
{
    uint64_t flips = environment_number("NR_FLIPS", 2000), seed = environment_number("NR_SEED", 1), done = 0;
    struct campaign campaign = {0};
    static struct image image;
    struct timespec begun, ended;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    for (; done < flips; seed++) {
        struct nr_random random;
        nr_random_init(&random, seed);
        make_image(seed, &image);
        for (uint64_t i = 0; i < FLIPS_OF_A_DATABASE; i++) flip(seed, i, &image, &random, &campaign);
        clear_image(&image);
        done = 0;
        for (int kind = 0; kind < KIND_COUNT; kind++) done += campaign.flips[kind];
    }
    clock_gettime(CLOCK_MONOTONIC, &ended);
    for (int kind = 0; kind < KIND_COUNT; kind++) EXPECT(campaign.flips[kind] > 0);
    if (!getenv("NR_FLIPS")) return;
    double seconds = (double)(ended.tv_sec - begun.tv_sec) + (double)(ended.tv_nsec - begun.tv_nsec) / 1e9;
    printf("%" PRIu64 " flipped bits, %.0f a second; seeds up to %" PRIu64 "\n", done, (double)done / seconds,
           seed - 1);
    for (int kind = 0; kind < KIND_COUNT; kind++)
        printf("  %-12s %7" PRIu64 ": %7" PRIu64 " refused by open, %7" PRIu64 " by reads, %6" PRIu64 " torn tails\n",
               kind_names[kind], campaign.flips[kind], campaign.refused[kind], campaign.damaged_reads[kind],
               campaign.torn_tails[kind]);
}

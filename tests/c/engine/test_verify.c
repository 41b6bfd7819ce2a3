/* What verify() compares: tables whose checksums are right, and a manifest that says something else of them. */
#include "fixture.h"

#include <stddef.h>

#include "version/manifest.h"

static struct nori_error error;

static struct nori_env *make_database(void)
{
    struct nori_env *env;
    struct nori_engine *engine;
    char key[16];
    EXPECT_OK(nori_simdisk_create(1, 512, false, &env, &error), &error);
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "key%02d", i);
        EXPECT_OK(put_text(engine, key, key, &error), &error);
    }
    EXPECT_OK(nori_delete(engine, nr_slice_text("key05"), NULL, &error), &error);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    return env;
}

static nori_status take_first(void *arg, struct nr_table_file *file, struct nori_error *err)
{
    struct nr_table_file **first = arg;
    (void)err;
    if (!*first) *first = file;
    return NORI_OK;
}

/* The database's manifest anew, after 'change' had its way with what it says of a table. */
static void rewrite_manifest(struct nori_env *env, void (*change)(struct nr_table_file *file, size_t at), size_t at)
{
    struct nr_dir *dir;
    struct nr_manifest_state state;
    struct nr_table_file *file = NULL;
    struct nr_edit *snapshot;
    struct nr_manifest *manifest;
    EXPECT_OK(nr_dir_open(env, "/db", false, &dir, &error), &error);
    EXPECT_OK(nr_manifest_recover(dir, 2, NULL, NULL, &state, &error), &error);
    EXPECT_OK(nr_version_each_file(state.version, take_first, &file, &error), &error);
    change(file, at);
    EXPECT_OK(nr_edit_snapshot(state.version, &state.counters, nr_buffer_slice(&state.options), &snapshot, &error),
              &error);
    EXPECT_OK(nr_manifest_create(dir, state.database_id, state.counters.next_file_number, state.number, snapshot,
                                 &manifest, &error),
              &error);
    nr_manifest_close(manifest);
    nr_edit_destroy(snapshot);
    nr_manifest_state_clear(&state);
    nr_dir_close(dir);
}

static const size_t numbers[] = {
    offsetof(struct nr_table_properties, largest_sequence),  offsetof(struct nr_table_properties, entry_count),
    offsetof(struct nr_table_properties, delete_count),      offsetof(struct nr_table_properties, range_count),
    offsetof(struct nr_table_properties, key_bytes),         offsetof(struct nr_table_properties, value_bytes),
    offsetof(struct nr_table_properties, unexpiring_count),  offsetof(struct nr_table_properties, smallest_expiry_ms),
    offsetof(struct nr_table_properties, largest_expiry_ms), offsetof(struct nr_table_properties, block_count),
    offsetof(struct nr_table_properties, slot_id),           offsetof(struct nr_table_properties, created_ms),
    offsetof(struct nr_table_properties, lifetime_ms),       offsetof(struct nr_table_properties, smallest_sequence),
};

static void raise_number(struct nr_table_file *file, size_t at)
{
    uint64_t *number = (uint64_t *)(void *)((char *)&file->properties + numbers[at]);
    ++*number;
}

static void raise_fresh_count(struct nr_table_file *file, size_t at)
{
    (void)at;
    file->properties.fresh_count = 1;
}

static void raise_level(struct nr_table_file *file, size_t at)
{
    (void)at;
    file->properties.level++;
}

static void leave(struct nr_table_file *file, size_t at)
{
    (void)file;
    (void)at;
}

/* Keys belong to the file object; a byte of one is as good as another key. */
static void lower_first_key(struct nr_table_file *file, size_t at)
{
    (void)at;
    ((uint8_t *)(uintptr_t)file->properties.smallest.data)[0]--;
}

static void raise_end(struct nr_table_file *file, size_t at)
{
    (void)at;
    ((uint8_t *)(uintptr_t)file->properties.end.key.data)[0]++;
}

static void expect_findings(void (*change)(struct nr_table_file *file, size_t at), size_t at, bool is_expected)
{
    struct nori_env *env = make_database();
    struct nori_engine *engine;
    struct nori_verify_report report;
    struct nori_open_params params = {.env = env, .read_only = true};
    rewrite_manifest(env, change, at);
    EXPECT_OK(nori_open("/db", &params, &engine, &error), &error);
    EXPECT_OK(nori_verify(engine, NULL, NULL, &report, &error), &error);
    size_t found = 0;
    for (size_t i = 0; i < report.finding_count; i++)
        found += strcmp(report.findings[i].kind, "properties") == 0 && strstr(report.findings[i].path, ".sst") != NULL;
    nori_free(report.findings);
    if ((found > 0) != is_expected) FAIL("change %zu: %zu findings", at, found);
    if (!is_expected) EXPECT_EQ(report.finding_count, 0);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

TEST(verify_finds_every_disagreement_of_table_and_manifest)
{
    expect_findings(leave, 0, false);
    for (size_t i = 0; i < NR_ARRAY_LEN(numbers); i++) expect_findings(raise_number, i, true);
    expect_findings(raise_level, 100, true);
    expect_findings(raise_fresh_count, 101, true);
    expect_findings(lower_first_key, 102, true);
    expect_findings(raise_end, 103, true);
}

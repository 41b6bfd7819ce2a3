/* What the manifest's tests share: a script of edits on a simulated disk, and what each of them must leave.
 *
 * State i of the script is known beforehand: level 0 holds the tables live_at(i). Edit i is the i-th; counters carry
 * its number as flushed_sequence, so that a recovery tells how far it came. */
#ifndef NR_TESTS_VERSION_MANIFEST_FIXTURE_H
#define NR_TESTS_VERSION_MANIFEST_FIXTURE_H

#include <errno.h>

#include "fixture.h"
#include "version/current.h"
#include "version/manifest.h"

#define DATABASE_ID 0x0102030405060708ull

/* Edit i adds table TABLE_BASE + i. Each third edit merges all of level 0 into the table it adds. */
#define TABLE_BASE 1000
#define MANIFEST_BASE 10

struct script {
    struct nori_env *env;
    struct nr_dir *dir;
    struct nr_manifest *manifest;
    struct nr_version *version;
    uint64_t manifest_number;
    uint64_t done;         /* Edits acknowledged. */
    uint64_t started;      /* And one that may be under way. */
    bool is_created;       /* A manifest was. */
    uint64_t obsolete[16]; /* Released, to be unlinked. */
    size_t obsolete_count;
};

static inline size_t table_bytes(uint64_t number)
{
    return 50 + number % 37;
}

static inline void note_obsolete(void *arg, struct nr_table_file *file)
{
    struct script *script = arg;
    if (script->obsolete_count < NR_ARRAY_LEN(script->obsolete))
        script->obsolete[script->obsolete_count++] = file->number;
    nr_table_file_free(file);
}

static inline nori_status write_table(struct script *script, uint64_t number, struct nori_error *error)
{
    nori_status rc;
    struct nr_file *file = NULL;
    char name[NR_FILE_NAME_BYTES];
    uint8_t zeros[128] = {0};
    nr_name_table(name, number);
    NR_CHECK(nr_file_open(script->dir, name, NR_OPEN_CREATE, &file, error));
    NR_CHECK(nr_file_append(file, nr_slice(zeros, table_bytes(number)), error));
    NR_CHECK(nr_file_sync(file, error));
    NR_CHECK(nr_dir_sync(script->dir, error));
out:
    nr_file_close(file);
    return rc;
}

static inline nori_status make_table_run(struct script *script, uint64_t number, struct nr_run **run_out,
                                         struct nori_error *error)
{
    struct nr_table_file *file;
    struct nr_table_properties properties = {.smallest = key_at(1),
                                             .end = nr_bound_key(key_at(9)),
                                             .smallest_sequence = number * 10,
                                             .largest_sequence = number * 10 + 9};
    nori_status rc =
        nr_table_file_create(number, table_bytes(number), &properties, note_obsolete, script, &file, error);
    if (rc != NORI_OK) return rc;
    struct nr_table_slice slice = slice_of(file, 1, 9);
    rc = nr_run_create(number, &slice, 1, run_out, error);
    nr_table_file_unref(file);
    return rc;
}

static inline nori_status append_durably(struct nr_manifest *manifest, const struct nr_edit *edit,
                                         struct nori_error *error)
{
    nori_status rc = nr_manifest_append(manifest, edit, error);
    return rc == NORI_OK ? nr_manifest_sync(manifest, error) : rc;
}

/* The edit after 'done', durable and installed; then what it released is unlinked, in this order. */
static inline nori_status script_edit(struct script *script, struct nori_error *error)
{
    nori_status rc;
    struct nr_edit *edit = NULL;
    struct nr_run *run = NULL;
    struct nr_version *next = NULL;
    uint64_t number = TABLE_BASE + script->done + 1;
    struct nr_counters counters = {.flushed_sequence = script->done + 1, .next_file_number = number + 1};
    const struct nr_slot *level0 = nr_version_level0(script->version);

    NR_CHECK(write_table(script, number, error));
    NR_CHECK(make_table_run(script, number, &run, error));
    NR_CHECK(nr_edit_create(&edit, error));
    nr_edit_set_counters(edit, &counters);
    NR_CHECK(nr_edit_add_file(edit, run->slices[0].file, error));
    if ((script->done + 1) % 3 == 0) {
        NR_CHECK(
            nr_edit_merge_l0(edit, level0->runs[0]->run_id, level0->runs[level0->run_count - 1]->run_id, run, error));
    } else {
        NR_CHECK(nr_edit_push_l0(edit, run, error));
    }
    NR_CHECK(nr_edit_apply(edit, script->version, &next, error));
    script->started = script->done + 1;
    rc = append_durably(script->manifest, edit, error);
    if (rc == NORI_NO_MEMORY) script->started = script->done;
    if (rc != NORI_OK) goto out;
    script->done = script->started;
    nr_version_unref(script->version);
    script->version = nr_version_ref(next);
out:
    nr_edit_destroy(edit);
    nr_run_unref(run);
    nr_version_unref(next);
    return rc;
}

static inline nori_status script_unlink(struct script *script, struct nori_error *error)
{
    nori_status rc;
    char name[NR_FILE_NAME_BYTES];

    NR_CHECK(nr_manifest_settle(script->manifest, error));
    while (script->obsolete_count > 0) {
        nr_name_table(name, script->obsolete[script->obsolete_count - 1]);
        NR_CHECK(nr_dir_unlink(script->dir, name, error));
        script->obsolete_count--;
    }
out:
    return rc;
}

/* A new manifest, from the script's version. */
static inline nori_status script_roll(struct script *script, struct nori_error *error)
{
    nori_status rc;
    struct nr_edit *snapshot = NULL;
    struct nr_manifest *manifest;
    struct nr_counters counters = {.flushed_sequence = script->done, .next_file_number = TABLE_BASE + script->done + 1};
    uint64_t number = script->manifest_number + 1, old = script->manifest ? script->manifest_number : 0;

    NR_CHECK(nr_edit_snapshot(script->version, &counters, nr_slice_text("opts"), &snapshot, error));
    NR_CHECK(nr_manifest_create(script->dir, DATABASE_ID, number, old, snapshot, &manifest, error));
    nr_manifest_close(script->manifest);
    script->manifest = manifest;
    script->manifest_number = number;
    script->is_created = true;
out:
    nr_edit_destroy(snapshot);
    return rc;
}

static inline void script_init(struct script *script, uint64_t seed)
{
    *script = (struct script){.manifest_number = MANIFEST_BASE};
    EXPECT_OK(nori_simdisk_create(seed, 512, false, &script->env, &err), &err);
    EXPECT_OK(nr_dir_open(script->env, "/db", true, &script->dir, &err), &err);
    EXPECT_OK(nr_version_create(3, &script->version, &err), &err);
}

/* After a crash: the handles are dead. The version goes; nothing is unlinked. */
static inline void script_drop(struct script *script)
{
    nr_manifest_close(script->manifest);
    nr_version_unref(script->version);
    nr_dir_close(script->dir);
    script->manifest = NULL;
    script->version = NULL;
    script->dir = NULL;
    script->obsolete_count = 0;
}

static inline void script_clear(struct script *script)
{
    script_drop(script);
    nori_simdisk_destroy(script->env);
}

/* Edits, unlinking, a roll in the middle. Ends at the first failure. */
static inline nori_status script_run(struct script *script, uint64_t edits, struct nori_error *error)
{
    nori_status rc;

    NR_CHECK(script_roll(script, error));
    for (uint64_t i = 0; i < edits; i++) {
        NR_CHECK(script_edit(script, error));
        if (i % 2 == 1) NR_CHECK(script_unlink(script, error));
        if (i == edits / 2) NR_CHECK(script_roll(script, error));
    }
    NR_CHECK(script_unlink(script, error));
out:
    return rc;
}

/* Whether level 0 is what 'edits' edits leave. */
static inline void expect_state(const struct nr_version *version, uint64_t edits)
{
    const struct nr_slot *level0 = nr_version_level0(version);
    uint64_t oldest = edits < 3 ? 1 : edits - edits % 3;
    EXPECT_EQ(level0->run_count, edits - oldest + 1);
    for (size_t i = 0; i < level0->run_count; i++) {
        EXPECT_EQ(level0->runs[i]->slices[0].file->number, TABLE_BASE + edits - i);
    }
}

/* Recovers. '*edits_out': how far the script is found to have come. */
static inline nori_status recover_edits(struct nr_dir *dir, uint64_t *edits_out, struct nori_error *error)
{
    struct nr_manifest_state state;
    nori_status rc = nr_manifest_recover(dir, 3, NULL, NULL, &state, error);
    if (rc != NORI_OK) {
        EXPECT(state.version == NULL && state.options.data == NULL);
        return rc;
    }
    *edits_out = state.counters.flushed_sequence;
    expect_state(state.version, *edits_out);
    EXPECT_EQ(state.database_id, DATABASE_ID);
    EXPECT_SLICE(nr_buffer_slice(&state.options), "opts");
    nr_manifest_state_clear(&state);
    return NORI_OK;
}

#endif

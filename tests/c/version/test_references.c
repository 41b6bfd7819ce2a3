#include "version/references.h"

#include "model.h"

static struct model model;

static struct nr_version *apply(const struct nr_edit *edit, struct nr_version *base)
{
    struct nr_version *version;
    EXPECT_OK(nr_edit_apply(edit, base, &version, &err), &err);
    nr_references_update(base, version);
    nr_version_unref(base);
    return version;
}

static void count_run(const struct nr_run *run, uint64_t *referenced)
{
    for (size_t i = 0; i < run->slice_count; i++) referenced[run->slices[i].file->number] += run->slices[i].bytes;
}

/* As if the version were the first. */
static void expect_counted(const struct nr_version *version)
{
    static uint64_t referenced[FILE_LIMIT];
    memset(referenced, 0, sizeof referenced);
    for (size_t level = 0; level < version->level_count; level++)
        for (size_t i = 0; i < version->levels[level]->slot_count; i++) {
            const struct nr_slot *slot = nr_level_slot(version->levels[level], i);
            for (size_t j = 0; j < slot->run_count; j++) count_run(slot->runs[j], referenced);
        }
    for (size_t i = 0; i < FILE_LIMIT; i++)
        if (model.universe.files[i]) EXPECT_EQ(model.universe.files[i]->referenced_bytes, referenced[i]);
}

static void expect_chunks_summed_up(const struct nr_level *level)
{
    for (size_t i = 0; i < level->chunk_count; i++) {
        const struct nr_slot_chunk *chunk = level->chunks[i];
        uint64_t held_bytes = 0;
        double part = 0;
        for (size_t j = 0; j < chunk->count; j++) {
            held_bytes += chunk->slots[j]->held_bytes;
            part = NR_MAX(part, nr_slot_newer_part(chunk->slots[j]));
        }
        EXPECT_EQ(chunk->held_bytes, held_bytes);
        EXPECT(chunk->max_newer_part == part);
    }
}

TEST(what_the_newest_version_refers_to_is_counted_whatever_changes)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct nr_version *version;
        model_init(&model, seed);
        EXPECT_OK(nr_version_create(MODEL_LEVELS, &version, &err), &err);
        nr_references_update(NULL, version);
        for (int step = 0; step < 60; step++) {
            struct nr_edit *edit = model_step(&model, version);
            version = apply(edit, version);
            nr_edit_destroy(edit);
            expect_model(&model, version);
            expect_counted(version);
            for (size_t level = 1; level < version->level_count; level++)
                expect_chunks_summed_up(version->levels[level]);
        }
        nr_version_unref(version);
    }
}

/* Two slots of level 1 with the halves of one file of 20 keys. */
TEST(what_one_slot_gives_up_of_a_file_is_held_by_the_others)
{
    struct nr_version *version;
    struct nr_edit *edit;
    nori_slice guard = key_at(10);
    model_init(&model, 1);
    struct nr_table_file *file = make_file(&model.universe, 0, 20, 1, 9, 1);
    struct nr_table_slice left = slice_of(file, 0, 10), right = slice_of(file, 10, 20);
    struct nr_run *runs[2], *anew = make_run(&model.universe, 3, 0, 10, 1, 9, 1);
    EXPECT_OK(nr_run_create(1, &left, 1, &runs[0], &err), &err);
    EXPECT_OK(nr_run_create(2, &right, 1, &runs[1], &err), &err);
    EXPECT_OK(nr_version_create(MODEL_LEVELS, &version, &err), &err);
    nr_references_update(NULL, version);

    EXPECT_OK(nr_edit_create(&edit, &err), &err);
    EXPECT_OK(nr_edit_add_file(edit, file, &err), &err);
    EXPECT_OK(nr_edit_set_guards(edit, 1, &guard, 1, 100, 1, &err), &err);
    EXPECT_OK(nr_edit_set_guards(edit, 2, &guard, 1, 200, 1, &err), &err);
    EXPECT_OK(nr_edit_set_guards(edit, 3, &guard, 1, 300, 1, &err), &err);
    EXPECT_OK(nr_edit_set_slot(edit, 1, guard_at(0), 1, &runs[0], 1, &err), &err);
    EXPECT_OK(nr_edit_set_slot(edit, 1, guard, 1, &runs[1], 1, &err), &err);
    version = apply(edit, version);
    nr_edit_destroy(edit);
    EXPECT_EQ(nr_level_slot(version->levels[1], 0)->held_bytes, 1000);
    EXPECT_EQ(nr_level_slot(version->levels[1], 1)->held_bytes, 1000);
    EXPECT(nr_slot_newer_part(nr_level_slot(version->levels[1], 1)) == 0);

    EXPECT_OK(nr_edit_create(&edit, &err), &err);
    EXPECT_OK(nr_edit_add_file(edit, anew->slices[0].file, &err), &err);
    EXPECT_OK(nr_edit_set_slot(edit, 1, guard_at(0), 1, &anew, 1, &err), &err);
    version = apply(edit, version);
    nr_edit_destroy(edit);
    EXPECT_EQ(nr_level_slot(version->levels[1], 0)->held_bytes, 1000);
    EXPECT_EQ(nr_level_slot(version->levels[1], 1)->held_bytes, 2000);
    EXPECT(nr_slot_newer_part(nr_level_slot(version->levels[1], 1)) == 1);
    EXPECT(version->levels[1]->chunks[0]->max_newer_part == 1);

    nr_version_unref(version);
    for (size_t i = 0; i < 2; i++) nr_run_unref(runs[i]);
    nr_run_unref(anew);
    nr_table_file_unref(file);
}

#include "model.h"

#define SEED_COUNT 40
#define STEP_COUNT 60

static struct model model;

static struct nr_version *apply(const struct nr_edit *edit, struct nr_version *base)
{
    struct nr_version *version;
    EXPECT_OK(nr_edit_apply(edit, base, &version, &err), &err);
    return version;
}

static struct nr_edit *recode(const struct nr_edit *edit)
{
    struct nr_buffer bytes, again;
    struct nr_edit *decoded;
    nr_buffer_init(&bytes);
    nr_buffer_init(&again);
    EXPECT_OK(nr_edit_encode(edit, &bytes, &err), &err);
    EXPECT_OK(nr_edit_decode(nr_buffer_slice(&bytes), find_in_universe, &model.universe, &decoded, &err), &err);
    EXPECT_OK(nr_edit_encode(decoded, &again, &err), &err);
    EXPECT(nr_slice_equal(nr_buffer_slice(&bytes), nr_buffer_slice(&again)));
    nr_buffer_clear(&bytes);
    nr_buffer_clear(&again);
    return decoded;
}

static void expect_snapshot_reproduces(struct nr_version *version)
{
    struct nr_version *empty, *again;
    struct nr_edit *snapshot, *decoded;
    struct nr_counters counters = {.next_file_number = 7};
    EXPECT_OK(nr_version_create(version->level_count, &empty, &err), &err);
    EXPECT_OK(nr_edit_snapshot(version, &counters, nr_slice_text("options"), &snapshot, &err), &err);
    decoded = recode(snapshot);
    again = apply(decoded, empty);
    EXPECT(same_versions(version, again));
    EXPECT_EQ(nr_edit_counters(decoded)->next_file_number, 7);
    EXPECT_SLICE(nr_edit_options(decoded), "options");
    nr_version_unref(empty);
    nr_version_unref(again);
    nr_edit_destroy(snapshot);
    nr_edit_destroy(decoded);
}

static void expect_files_counted(const struct nr_version *version)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < FILE_LIMIT; i++) {
        if (model.universe.files[i]) bytes += model.universe.files[i]->file_bytes;
    }
    EXPECT_EQ(nr_version_bytes_on_disk(version), bytes);
}

static size_t model_depth(void)
{
    size_t deepest = 0;
    const struct model_slot *level0 = &model.slots[0][0];
    for (size_t key = 0; key < KEY_COUNT; key++) {
        size_t depth = 0;
        for (size_t i = 0; i < level0->run_count; i++) depth += level0->runs[i].files[key] != 0;
        deepest = NR_MAX(deepest, depth);
    }
    return deepest;
}

TEST(random_edits_make_the_tree_that_brute_force_makes_also_when_they_come_from_their_bytes)
{
    size_t join_count = 0;
    for (uint64_t seed = 1; seed <= SEED_COUNT; seed++) {
        struct nr_version *version;
        model_init(&model, seed);
        EXPECT_OK(nr_version_create(MODEL_LEVELS, &version, &err), &err);
        for (int step = 0; step < STEP_COUNT; step++) {
            struct nr_edit *edit = model_step(&model, version), *decoded = recode(edit);
            struct nr_version *next = apply(edit, version), *again = apply(decoded, version);
            nr_edit_destroy(edit);
            nr_edit_destroy(decoded);
            nr_version_unref(version);
            version = next;
            EXPECT(same_versions(next, again));
            nr_version_unref(again);
            expect_model(&model, version);
            EXPECT_OK(nr_version_check(version, &err), &err);
            expect_files_counted(version);
            EXPECT_EQ(nr_version_l0_depth(version), model_depth());
            if (step % 8 == 0) expect_snapshot_reproduces(version);
        }
        nr_version_unref(version);
        EXPECT_EQ(model.universe.live_count, 0);
        join_count += model.join_count;
    }
    EXPECT(join_count > 50);
}

/* Edits and snapshots of a grown tree, without memory at the n-th allocation. */
static nori_status work(struct nr_version *version, const struct nr_edit *edit, struct nori_error *error)
{
    nori_status rc;
    struct nr_buffer bytes;
    struct nr_edit *decoded = NULL, *snapshot = NULL;
    struct nr_version *next = NULL;
    struct nr_counters counters = {0};
    nr_buffer_init(&bytes);
    NR_CHECK(nr_edit_encode(edit, &bytes, error));
    NR_CHECK(nr_edit_decode(nr_buffer_slice(&bytes), find_in_universe, &model.universe, &decoded, error));
    NR_CHECK(nr_edit_apply(decoded, version, &next, error));
    NR_CHECK(nr_edit_snapshot(next, &counters, nr_slice_text("o"), &snapshot, error));
out:
    nr_buffer_clear(&bytes);
    nr_edit_destroy(decoded);
    nr_edit_destroy(snapshot);
    nr_version_unref(next);
    return rc;
}

TEST(without_memory_at_any_point_an_edit_fails_and_the_version_stays)
{
    struct nr_version *version, *empty, *copy;
    struct nr_edit *snapshot;
    struct nr_counters counters = {0};
    model_init(&model, 77);
    EXPECT_OK(nr_version_create(MODEL_LEVELS, &version, &err), &err);
    EXPECT_OK(nr_version_create(MODEL_LEVELS, &empty, &err), &err);
    for (int step = 0; step < 30; step++) {
        struct nr_edit *edit = model_step(&model, version);
        EXPECT_OK(nr_edit_snapshot(version, &counters, nr_slice(NULL, 0), &snapshot, &err), &err);
        copy = apply(snapshot, empty);
        nr_edit_destroy(snapshot);
        nori_status rc = NORI_NO_MEMORY;
        for (uint64_t nth = 1; rc == NORI_NO_MEMORY; nth++) {
            uint64_t live = nr_alloc_live();
            nr_alloc_fail_at(nth);
            rc = work(version, edit, &err);
            nr_alloc_fail_at(0);
            EXPECT_EQ(nr_alloc_live(), live);
            EXPECT(same_versions(version, copy));
        }
        EXPECT_OK(rc, &err);
        nr_version_unref(copy);
        struct nr_version *next = apply(edit, version);
        nr_version_unref(version);
        version = next;
        nr_edit_destroy(edit);
        expect_model(&model, version);
    }
    nr_version_unref(empty);
    nr_version_unref(version);
}

TEST(building_an_edit_without_memory_leaves_it_as_it_was)
{
    static struct universe universe;
    struct nr_run *run = make_run(&universe, 1, 0, 4, 1, 2, 0);
    const nori_slice guards[] = {key_at(1), key_at(2)};
    for (uint64_t nth = 1;; nth++) {
        struct nr_edit *edit;
        struct nr_buffer bytes;
        nr_buffer_init(&bytes);
        nr_alloc_fail_at(nth);
        nori_status rc = nr_edit_create(&edit, &err);
        if (rc == NORI_OK) rc = nr_edit_add_file(edit, run->slices[0].file, &err);
        if (rc == NORI_OK) rc = nr_edit_push_l0(edit, run, &err);
        if (rc == NORI_OK) rc = nr_edit_subtract_l0(edit, 1, key_at(1), bound_at(2), &err);
        if (rc == NORI_OK) rc = nr_edit_merge_l0(edit, 1, 1, run, &err);
        if (rc == NORI_OK) rc = nr_edit_set_slot(edit, 1, key_at(0), 1, &run, 1, &err);
        if (rc == NORI_OK) rc = nr_edit_set_guards(edit, 1, guards, 2, 20, 1, &err);
        if (rc == NORI_OK) rc = nr_edit_add_guards(edit, 1, guards, 2, 20, &err);
        if (rc == NORI_OK) rc = nr_edit_remove_guards(edit, 1, guards, 2, &err);
        if (rc == NORI_OK) rc = nr_edit_set_options(edit, nr_slice_text("x"), &err);
        nr_alloc_fail_at(0);
        if (edit) EXPECT_OK(nr_edit_encode(edit, &bytes, &err), &err);
        nr_buffer_clear(&bytes);
        nr_edit_destroy(edit);
        EXPECT_EQ(atomic_load(&run->refs), 1);
        if (rc == NORI_OK) break;
        EXPECT_EQ(rc, NORI_NO_MEMORY);
    }
    nr_run_unref(run);
}

TEST(bytes_that_are_cut_off_or_changed_are_corruption_or_some_other_edit_but_nothing_worse)
{
    struct nr_version *version;
    struct nr_random random;
    uint64_t corrupt_count = 0;
    nr_random_init(&random, 5);
    model_init(&model, 9);
    EXPECT_OK(nr_version_create(MODEL_LEVELS, &version, &err), &err);
    for (int step = 0; step < 40; step++) {
        struct nr_edit *edit = model_step(&model, version), *decoded;
        struct nr_version *next = apply(edit, version), *other;
        struct nr_buffer bytes;
        expect_model(&model, next);
        nr_buffer_init(&bytes);
        EXPECT_OK(nr_edit_encode(edit, &bytes, &err), &err);
        for (size_t i = 0; i < bytes.size * 2; i++) {
            uint8_t bit = (uint8_t)(1u << nr_random_below(&random, 8));
            /* A copy of the exact size: reading beyond it is an error that tools see. */
            size_t size = i < bytes.size ? bytes.size : i - bytes.size;
            uint8_t *copy = nr_alloc(size);
            memcpy(copy, bytes.data, size);
            if (i < bytes.size) copy[i] ^= bit;
            nori_status rc = nr_edit_decode(nr_slice(copy, size), find_in_universe, &model.universe, &decoded, &err);
            if (rc == NORI_OK) {
                rc = nr_edit_apply(decoded, version, &other, &err);
                nr_version_unref(other);
                nr_edit_destroy(decoded);
            }
            EXPECT(rc == NORI_OK || rc == NORI_CORRUPTION);
            corrupt_count += rc == NORI_CORRUPTION;
            nr_free(copy);
        }
        nr_buffer_clear(&bytes);
        nr_edit_destroy(edit);
        nr_version_unref(version);
        version = next;
    }
    EXPECT(corrupt_count > 1000);
    nr_version_unref(version);
}

TEST(an_edit_that_does_not_fit_is_corruption)
{
    static struct universe universe;
    struct nr_version *version, *next;
    struct nr_edit *edit;
    struct nr_run *run = make_run(&universe, 1, 0, 9, 1, 2, 0);
    const nori_slice one[] = {key_at(5)}, falling[] = {key_at(5), key_at(4)};
    EXPECT_OK(nr_version_create(3, &version, &err), &err);
    for (int wrong = 0; wrong < 8; wrong++) {
        EXPECT_OK(nr_edit_create(&edit, &err), &err);
        nori_status rc = NORI_OK;
        switch (wrong) {
        case 0:
            rc = nr_edit_subtract_l0(edit, 4, key_at(0), bound_at(2), &err);
            break;
        case 1:
            rc = nr_edit_merge_l0(edit, 4, 4, run, &err);
            break;
        case 2:
            rc = nr_edit_set_slot(edit, 1, key_at(5), 1, NULL, 0, &err);
            break;
        case 3:
            rc = nr_edit_set_slot(edit, 3, guard_at(0), 1, NULL, 0, &err);
            break;
        case 4:
            rc = nr_edit_set_slot(edit, 0, guard_at(0), 1, NULL, 0, &err);
            break;
        case 5:
            rc = nr_edit_set_guards(edit, 1, falling, 2, 20, 1, &err);
            break;
        case 6:
            rc = nr_edit_push_l0(edit, run, &err);
            if (rc == NORI_OK) rc = nr_edit_push_l0(edit, run, &err);
            break;
        case 7: /* The run leaves the slot. */
            rc = nr_edit_set_guards(edit, 1, one, 1, 20, 1, &err);
            if (rc == NORI_OK) rc = nr_edit_set_slot(edit, 1, guard_at(0), 1, &run, 1, &err);
            break;
        }
        EXPECT_OK(rc, &err);
        EXPECT_STATUS(nr_edit_apply(edit, version, &next, &err), NORI_CORRUPTION, &err);
        EXPECT(next == NULL);
        nr_edit_destroy(edit);
    }
    nr_run_unref(run);
    nr_version_unref(version);
}

/* A level 1 of slots [0, 5) with runs 1 (newer) and 2, [5, 9) without, [9, 48) with runs 3, 4 and 5. */
static struct nr_version *cut_level(struct universe *universe)
{
    struct nr_version *version, *next;
    struct nr_edit *edit;
    const nori_slice guards[] = {key_at(5), key_at(9)};
    struct nr_run *left[] = {make_run(universe, 1, 0, 4, 41, 42, 1), make_run(universe, 2, 2, 5, 33, 34, 1)};
    struct nr_run *right[] = {make_run(universe, 3, 9, 20, 51, 52, 1), make_run(universe, 4, 12, 30, 31, 32, 1),
                              make_run(universe, 5, 10, 40, 1, 2, 1)};
    EXPECT_OK(nr_version_create(2, &version, &err), &err);
    EXPECT_OK(nr_edit_create(&edit, &err), &err);
    EXPECT_OK(nr_edit_set_guards(edit, 1, guards, 2, 20, 3, &err), &err);
    EXPECT_OK(nr_edit_set_slot(edit, 1, guard_at(0), 3, left, 2, &err), &err);
    EXPECT_OK(nr_edit_set_slot(edit, 1, key_at(9), 3, right, 3, &err), &err);
    next = apply(edit, version);
    for (size_t i = 0; i < 2; i++) nr_run_unref(left[i]);
    for (size_t i = 0; i < 3; i++) nr_run_unref(right[i]);
    nr_edit_destroy(edit);
    nr_version_unref(version);
    return next;
}

static struct nr_version *set_guards(struct nr_version *version, const nori_slice *guards, size_t count, uint64_t id)
{
    struct nr_edit *edit;
    EXPECT_OK(nr_edit_create(&edit, &err), &err);
    EXPECT_OK(nr_edit_set_guards(edit, 1, guards, count, id, 2, &err), &err);
    struct nr_version *next = apply(edit, version);
    EXPECT_OK(nr_version_check(next, &err), &err);
    nr_edit_destroy(edit);
    nr_version_unref(version);
    return next;
}

TEST(slots_with_runs_are_joined_oldest_to_oldest)
{
    memset(&model, 0, sizeof(model));
    struct nr_version *version = set_guards(cut_level(&model.universe), NULL, 0, 30);
    EXPECT_EQ(version->levels[1]->slot_count, 1);
    const struct nr_slot *slot = nr_level_slot(version->levels[1], 0);
    EXPECT_EQ(slot->slot_id, 1);
    EXPECT_EQ(slot->run_count, 3);
    EXPECT_EQ(slot->bytes, 700 + 1100 + 1800 + 3000);
    EXPECT_EQ(slot->runs[0]->run_id, 3);
    EXPECT_EQ(slot->runs[0]->slice_count, 1);
    EXPECT_EQ(slot->runs[1]->run_id, 1);
    EXPECT_EQ(slot->runs[1]->slice_count, 2);
    EXPECT_SLICE(slot->runs[1]->slices[1].start, "tenant/user/0084");
    EXPECT_EQ(slot->runs[2]->run_id, 2);
    EXPECT_EQ(slot->runs[2]->slice_count, 2);
    EXPECT_EQ(slot->runs[2]->smallest_sequence, 1);
    EXPECT_EQ(slot->runs[2]->largest_sequence, 34);
    nr_version_unref(version);
    EXPECT_EQ(model.universe.live_count, 0);
}

TEST(a_slot_that_is_cut_and_joined_again_is_as_it_was)
{
    memset(&model, 0, sizeof(model));
    const nori_slice more[] = {key_at(5), key_at(9), key_at(15), key_at(25)}, old[] = {key_at(5), key_at(9)};
    struct nr_version *version = set_guards(cut_level(&model.universe), more, 4, 30);
    EXPECT_EQ(version->levels[1]->slot_count, 5);
    version = set_guards(version, old, 2, 40);
    const struct nr_slot *slot = nr_level_slot(version->levels[1], 2);
    EXPECT_EQ(slot->run_count, 3);
    for (size_t i = 0; i < 3; i++) {
        static const uint64_t keys[] = {11, 18, 30};
        EXPECT_EQ(slot->runs[i]->bytes, keys[i] * 100);
        EXPECT_EQ(slot->runs[i]->entries, keys[i] * 10);
    }
    nr_version_unref(version);
}

/* The edit, from its bytes, on a cut level; the tree as a snapshot's bytes. */
static void snapshot_after(struct nr_edit *edit, struct nr_buffer *out)
{
    struct nr_version *version = cut_level(&model.universe), *next;
    struct nr_edit *decoded, *snapshot;
    struct nr_buffer bytes;
    const struct nr_counters counters = {0};
    nr_buffer_init(&bytes);
    EXPECT_OK(nr_edit_encode(edit, &bytes, &err), &err);
    EXPECT_OK(nr_edit_decode(nr_buffer_slice(&bytes), find_in_universe, &model.universe, &decoded, &err), &err);
    next = apply(decoded, version);
    EXPECT_OK(nr_version_check(next, &err), &err);
    EXPECT_OK(nr_edit_snapshot(next, &counters, nr_slice(NULL, 0), &snapshot, &err), &err);
    EXPECT_OK(nr_edit_encode(snapshot, out, &err), &err);
    nr_buffer_clear(&bytes);
    nr_edit_destroy(edit);
    nr_edit_destroy(decoded);
    nr_edit_destroy(snapshot);
    nr_version_unref(version);
    nr_version_unref(next);
}

TEST(guards_added_or_removed_by_name_are_the_whole_list_set)
{
    const nori_slice lists[][4] = {{key_at(3), key_at(5), key_at(9), key_at(15)}, {key_at(9)}, {key_at(5), key_at(9)}};
    const size_t list_counts[] = {4, 1, 2};
    const nori_slice more[] = {key_at(3), key_at(9), key_at(15)}, gone[] = {key_at(5)};
    for (size_t i = 0; i < 3; i++) {
        struct nr_edit *whole, *named;
        struct nr_buffer expected, found;
        memset(&model, 0, sizeof(model));
        nr_buffer_init(&expected);
        nr_buffer_init(&found);
        EXPECT_OK(nr_edit_create(&whole, &err), &err);
        EXPECT_OK(nr_edit_create(&named, &err), &err);
        EXPECT_OK(nr_edit_set_guards(whole, 1, lists[i], list_counts[i], 30, 0, &err), &err);
        if (i == 0) EXPECT_OK(nr_edit_add_guards(named, 1, more, 3, 30, &err), &err);
        if (i == 1) EXPECT_OK(nr_edit_remove_guards(named, 1, gone, 1, &err), &err);
        if (i == 2) EXPECT_OK(nr_edit_add_guards(named, 1, more, 0, 30, &err), &err);
        snapshot_after(whole, &expected);
        memset(&model, 0, sizeof(model));
        snapshot_after(named, &found);
        EXPECT(nr_slice_equal(nr_buffer_slice(&expected), nr_buffer_slice(&found)));
        nr_buffer_clear(&expected);
        nr_buffer_clear(&found);
    }
}

TEST(a_guard_that_is_not_there_cannot_go)
{
    const nori_slice absent[][2] = {{key_at(3), key_at(5)}, {key_at(5), key_at(6)}, {key_at(9), key_at(20)}};
    for (size_t i = 0; i < 3; i++) {
        struct nr_edit *edit;
        memset(&model, 0, sizeof(model));
        struct nr_version *version = cut_level(&model.universe), *next;
        EXPECT_OK(nr_edit_create(&edit, &err), &err);
        EXPECT_OK(nr_edit_remove_guards(edit, 1, absent[i], 2, &err), &err);
        EXPECT_STATUS(nr_edit_apply(edit, version, &next, &err), NORI_CORRUPTION, &err);
        nr_edit_destroy(edit);
        nr_version_unref(version);
    }
}

TEST(slots_are_joined_only_where_all_of_them_is_newer_than_what_is_below_any_of_them)
{
    memset(&model, 0, sizeof(model));
    struct nr_version *version = cut_level(&model.universe);
    EXPECT(!nr_version_may_join(version, 1, guard_at(0), nr_bound_infinite())); /* 31..32 would stand over 33..34. */
    EXPECT(nr_version_may_join(version, 1, guard_at(0), bound_at(9)));
    EXPECT(nr_version_may_join(version, 1, key_at(5), nr_bound_infinite()));
    struct nr_run *level0 = make_run(&model.universe, 9, 6, 7, 52, 60, 0);
    struct nr_version *next;
    struct nr_edit *edit;
    EXPECT_OK(nr_edit_create(&edit, &err), &err);
    EXPECT_OK(nr_edit_push_l0(edit, level0, &err), &err);
    next = apply(edit, version);
    EXPECT(nr_version_may_join(next, 1, guard_at(0), bound_at(9)));
    EXPECT(!nr_version_may_join(next, 1, key_at(5), nr_bound_infinite())); /* 52 is not above 52. */
    nr_run_unref(level0);
    nr_edit_destroy(edit);
    nr_version_unref(next);
    nr_version_unref(version);
}

TEST(parts_joined_in_a_new_slot_have_ids_of_their_own)
{
    memset(&model, 0, sizeof(model));
    const nori_slice across[] = {key_at(3), key_at(13)};
    struct nr_version *version = set_guards(cut_level(&model.universe), across, 2, 30);
    const struct nr_level *level = version->levels[1];
    EXPECT_EQ(nr_level_slot(level, 1)->slot_id, 30);
    EXPECT_EQ(nr_level_slot(level, 1)->run_count, 3);
    EXPECT_EQ(nr_level_slot(level, 2)->run_count, 3);
    for (size_t i = 0; i < level->slot_count; i++) {
        for (size_t j = 0; j < nr_level_slot(level, i)->run_count; j++) {
            uint64_t id = nr_level_slot(level, i)->runs[j]->run_id;
            for (size_t k = 0; k < level->slot_count; k++) {
                for (size_t l = 0; l < nr_level_slot(level, k)->run_count; l++) {
                    if (i != k || j != l) EXPECT(nr_level_slot(level, k)->runs[l]->run_id != id);
                }
            }
        }
    }
    nr_version_unref(version);
}

TEST(counters_only_rise)
{
    struct nr_edit *edit;
    EXPECT_OK(nr_edit_create(&edit, &err), &err);
    nr_edit_set_counters(edit, &(struct nr_counters){5, 1, 9, 4, 3, 2});
    nr_edit_set_counters(edit, &(struct nr_counters){4, 2, 8, 6, 0, 7});
    const struct nr_counters *counters = nr_edit_counters(edit);
    EXPECT_EQ(counters->next_file_number, 5);
    EXPECT_EQ(counters->next_run_id, 2);
    EXPECT_EQ(counters->next_slot_id, 9);
    EXPECT_EQ(counters->flushed_sequence, 6);
    EXPECT_EQ(counters->log_number, 3);
    EXPECT_EQ(counters->ttl_clock_ms, 7);
    EXPECT(nr_edit_options(edit).data == NULL);
    nr_edit_destroy(edit);
}

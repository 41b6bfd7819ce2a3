#include "fixture.h"

#define MANY_SLOTS 1000

static struct universe universe;

/* A guard of the large level. */
static nori_slice guard_of(size_t i)
{
    static char text[24];
    snprintf(text, sizeof(text), "guard/%06zu", i);
    return i == 0 ? nr_slice("", 0) : nr_slice_text(text);
}

static struct nr_slot *make_slot(uint32_t level, uint64_t slot_id, nori_slice start, struct nr_bound end,
                                 struct nr_run *run)
{
    struct nr_slot *slot;
    EXPECT_OK(nr_slot_create(level, slot_id, start, end, 1, &run, run ? 1 : 0, &slot, &err), &err);
    return slot;
}

static struct nr_level *make_large_level(void)
{
    static struct nr_slot *slots[MANY_SLOTS];
    static char starts[MANY_SLOTS + 1][24];
    struct nr_level *level;
    for (size_t i = 0; i <= MANY_SLOTS; i++) {
        nori_slice guard = guard_of(i);
        memcpy(starts[i], guard.data, guard.size);
        starts[i][guard.size] = '\0';
    }
    for (size_t i = 0; i < MANY_SLOTS; i++) {
        struct nr_bound end = i + 1 < MANY_SLOTS ? nr_bound_key(nr_slice_text(starts[i + 1])) : nr_bound_infinite();
        slots[i] = make_slot(1, 100 + i, nr_slice_text(starts[i]), end, NULL);
    }
    EXPECT_OK(nr_level_create(slots, MANY_SLOTS, &level, &err), &err);
    for (size_t i = 0; i < MANY_SLOTS; i++) nr_slot_unref(slots[i]);
    return level;
}

TEST(replacing_a_slot_copies_one_chunk_and_shares_the_rest)
{
    struct nr_level *old = make_large_level(), *level = nr_level_ref(old);
    struct nr_slot *was = nr_level_slot(old, 500), *last = nr_level_slot(old, 501);
    struct nr_slot *slot = make_slot(1, 600, was->start, was->end, NULL);
    uint64_t before = nr_alloc_count();
    EXPECT_OK(nr_level_replace(&level, 500, slot, &err), &err);
    EXPECT_EQ(nr_alloc_count() - before, 2);
    EXPECT(level != old && nr_level_slot(level, 500) == slot && nr_level_slot(old, 500) == was);
    for (size_t i = 0; i < old->chunk_count; i++) {
        EXPECT((level->chunks[i] == old->chunks[i]) == (i != 500 / NR_SLOT_CHUNK));
    }
    EXPECT(level->guards == old->guards);
    struct nr_level *same = level;
    EXPECT_OK(nr_level_replace(&level, 501, last, &err), &err);
    EXPECT_EQ(nr_alloc_count() - before, 2);
    EXPECT(level == same);
    for (size_t i = 0; i < MANY_SLOTS; i++) {
        EXPECT_EQ(nr_level_seek(level, guard_of(i)), i);
        EXPECT_EQ(nr_level_find(old, guard_of(i))->slot_id, 100 + i);
    }
    nr_level_unref(old);
    EXPECT_EQ(nr_level_seek(level, nr_slice_text("guard/0004995")), 499);
    EXPECT_EQ(nr_level_seek(level, nr_slice_text("a")), 0);
    EXPECT_EQ(nr_level_seek(level, nr_slice_text("z")), MANY_SLOTS - 1);
    nr_slot_unref(slot);
    nr_level_unref(level);
}

static struct nr_version *make_version(size_t level_count)
{
    struct nr_version *version;
    EXPECT_OK(nr_version_create(level_count, &version, &err), &err);
    return version;
}

/* Puts 'slots' (taken) in the place of a level. */
static void put_level(struct nr_version *version, uint32_t number, struct nr_slot **slots, size_t count)
{
    nr_level_unref(version->levels[number]);
    version->levels[number] = NULL;
    EXPECT_OK(nr_level_create(slots, count, &version->levels[number], &err), &err);
    for (size_t i = 0; i < count; i++) nr_slot_unref(slots[i]);
}

static void put_runs(struct nr_version *version, uint32_t number, struct nr_run **runs, size_t count)
{
    struct nr_slot *slot;
    EXPECT_OK(nr_slot_create(number, number, nr_slice("", 0), nr_bound_infinite(), 9, runs, count, &slot, &err), &err);
    put_level(version, number, &slot, 1);
    for (size_t i = 0; i < count; i++) nr_run_unref(runs[i]);
}

static void expect_finding(struct nr_version *version, const char *text)
{
    EXPECT_STATUS(nr_version_check(version, &err), NORI_CORRUPTION, &err);
    if (!strstr(err.text, text)) FAIL("\"%s\" does not say \"%s\"", err.text, text);
    nr_version_unref(version);
}

TEST(check_finds_slots_that_leave_a_gap_or_are_out_of_order)
{
    struct nr_version *version = make_version(2);
    struct nr_slot *gap[] = {make_slot(1, 1, guard_at(0), bound_at(3), NULL),
                             make_slot(1, 2, key_at(4), bound_at(KEY_COUNT), NULL)};
    put_level(version, 1, gap, 2);
    expect_finding(version, "gap");
    version = make_version(2);
    struct nr_slot *closed[] = {make_slot(1, 1, guard_at(0), bound_at(3), NULL)};
    put_level(version, 1, closed, 1);
    expect_finding(version, "end");
}

TEST(check_finds_guards_that_a_deeper_level_lacks_unless_it_is_bare)
{
    struct nr_version *version = make_version(4);
    struct nr_slot *cut[] = {make_slot(1, 20, guard_at(0), bound_at(3), NULL),
                             make_slot(1, 21, key_at(3), bound_at(KEY_COUNT), NULL)};
    put_level(version, 1, cut, 2);
    EXPECT_OK(nr_version_check(version, &err), &err);
    struct nr_slot *other[] = {make_slot(3, 30, guard_at(0), bound_at(5), NULL),
                               make_slot(3, 31, key_at(5), bound_at(KEY_COUNT), NULL)};
    put_level(version, 3, other, 2);
    expect_finding(version, "lacks guard");
}

TEST(check_finds_runs_outside_of_their_slot_or_file_and_wrong_sums)
{
    struct nr_version *version = make_version(2);
    struct nr_run *run = make_run(&universe, 1, 0, 9, 1, 2, 1);
    struct nr_slot *slots[] = {make_slot(1, 1, guard_at(0), bound_at(3), run),
                               make_slot(1, 2, key_at(3), bound_at(KEY_COUNT), NULL)};
    put_level(version, 1, slots, 2);
    nr_run_unref(run);
    expect_finding(version, "leaves slot");

    struct nr_table_file *file = make_file(&universe, 2, 6, 1, 2, 1);
    struct nr_table_slice wide = slice_of(file, 1, 6), crossed[] = {slice_of(file, 2, 4), slice_of(file, 3, 6)};
    version = make_version(2);
    EXPECT_OK(nr_run_create(1, &wide, 1, &run, &err), &err);
    put_runs(version, 1, &run, 1);
    expect_finding(version, "leaves the bounds");
    version = make_version(2);
    EXPECT_OK(nr_run_create(1, crossed, 2, &run, &err), &err);
    put_runs(version, 1, &run, 1);
    expect_finding(version, "out of order");
    nr_table_file_unref(file);

    version = make_version(2);
    run = make_run(&universe, 1, 0, 9, 1, 2, 1);
    run->entries++;
    put_runs(version, 1, &run, 1);
    expect_finding(version, "sums");
}

TEST(check_finds_runs_in_the_wrong_order_of_age)
{
    struct nr_version *version = make_version(3);
    struct nr_run *fine[] = {make_run(&universe, 1, 0, 5, 11, 20, 0), make_run(&universe, 2, 5, 9, 1, 30, 0)};
    put_runs(version, 0, fine, 2);
    EXPECT_OK(nr_version_check(version, &err), &err);
    struct nr_run *older = make_run(&universe, 3, 8, 9, 1, 40, 2);
    put_runs(version, 2, &older, 1);
    expect_finding(version, "age order");

    version = make_version(2);
    struct nr_run *wrong[] = {make_run(&universe, 4, 0, 5, 1, 30, 1), make_run(&universe, 5, 4, 9, 10, 20, 1)};
    put_runs(version, 1, wrong, 2);
    expect_finding(version, "age order");

    /* Merged inside level 0 after the older file was admitted elsewhere, then moved: only the greatest counts. */
    version = make_version(2);
    struct nr_run *mixed[] = {make_run(&universe, 6, 0, 5, 1, 30, 0), make_run(&universe, 7, 4, 9, 10, 20, 1)};
    put_runs(version, 1, mixed, 2);
    EXPECT_OK(nr_version_check(version, &err), &err);
    nr_version_unref(version);
    EXPECT_EQ(universe.live_count, 0);
}

static nori_status count_file(void *arg, struct nr_table_file *file, struct nori_error *error)
{
    (void)file;
    (void)error;
    ++*(size_t *)arg;
    return NORI_OK;
}

TEST(a_file_in_many_slices_counts_once_and_roughly_when_there_is_no_memory_to_tell)
{
    struct nr_version *version = make_version(2);
    struct nr_run *run = make_run(&universe, 1, 0, 30, 1, 2, 1), *left, *right;
    EXPECT_OK(nr_run_clip(run, guard_at(0), bound_at(10), 2, &left, &err), &err);
    EXPECT_OK(nr_run_clip(run, guard_at(10), bound_at(KEY_COUNT), 3, &right, &err), &err);
    uint64_t bytes = run->slices[0].file->file_bytes;
    nr_run_unref(run);
    struct nr_slot *slots[] = {make_slot(1, 1, guard_at(0), bound_at(10), left),
                               make_slot(1, 2, key_at(10), bound_at(KEY_COUNT), right)};
    put_level(version, 1, slots, 2);
    size_t count = 0;
    EXPECT_OK(nr_version_each_file(version, count_file, &count, &err), &err);
    EXPECT_EQ(count, 1);
    EXPECT_EQ(nr_version_bytes_on_disk(version), bytes);
    nr_alloc_fail_at(1);
    EXPECT_EQ(nr_version_bytes_on_disk(version), left->bytes + right->bytes);
    nr_run_unref(left);
    nr_run_unref(right);
    nr_version_unref(version);
}

/* A tenth of what the fixture's runs hold are deletes. */
static uint64_t bottom_bytes_of(struct nr_run **newest_first, size_t count)
{
    struct nr_slot *slot;
    EXPECT_OK(nr_slot_create(1, 30, guard_at(0), bound_at(KEY_COUNT), 4, newest_first, count, &slot, &err), &err);
    uint64_t bytes = slot->bottom_bytes;
    nr_slot_unref(slot);
    return bytes;
}

TEST(what_lies_beside_all_that_is_older_hides_nothing)
{
    struct nr_run *low = make_run(&universe, 1, 0, 10, 1, 2, 1), *high = make_run(&universe, 2, 10, 20, 3, 4, 1);
    struct nr_run *across = make_run(&universe, 3, 9, 12, 5, 6, 1), *pieces[2], *parts;
    EXPECT_EQ(bottom_bytes_of(&low, 1), 1000);
    EXPECT_EQ(bottom_bytes_of((struct nr_run *[]){high, low}, 2), 1000 + 900);
    EXPECT_EQ(bottom_bytes_of((struct nr_run *[]){across, low}, 2), 1000);
    EXPECT_EQ(bottom_bytes_of((struct nr_run *[]){across, high, low}, 3), 1000 + 900);
    /* Slice by slice, beside each of the older runs. */
    pieces[0] = make_run(&universe, 4, 5, 8, 7, 8, 1);
    pieces[1] = make_run(&universe, 5, 30, 32, 7, 8, 1);
    EXPECT_OK(nr_run_concatenate(pieces, 2, 6, &parts, &err), &err);
    EXPECT_EQ(bottom_bytes_of((struct nr_run *[]){parts, high, low}, 3), 1000 + 900 + 180);
    EXPECT_EQ(bottom_bytes_of((struct nr_run *[]){parts, high}, 2), 1000 + 270 + 180);
    struct nr_run *all[] = {low, high, across, pieces[0], pieces[1], parts};
    for (size_t i = 0; i < NR_ARRAY_LEN(all); i++) nr_run_unref(all[i]);
}

TEST(new_levels_are_cut_like_the_deepest_and_have_ids_of_their_own)
{
    struct nr_version *version = make_version(2), *deeper;
    uint64_t next_slot_id = 40;
    struct nr_slot *cut[] = {make_slot(1, 20, guard_at(0), bound_at(3), NULL),
                             make_slot(1, 21, key_at(3), bound_at(KEY_COUNT), NULL)};
    put_level(version, 1, cut, 2);
    for (uint64_t nth = 1;; nth++) {
        nr_alloc_fail_at(nth);
        nori_status rc = nr_version_deepen(version, 4, &next_slot_id, &deeper, &err);
        nr_alloc_fail_at(0);
        if (rc == NORI_OK) break;
        EXPECT_EQ(rc, NORI_NO_MEMORY);
        next_slot_id = 40;
    }
    EXPECT_EQ(deeper->level_count, 4);
    EXPECT_EQ(next_slot_id, 44);
    EXPECT_EQ(nr_level_slot(deeper->levels[3], 1)->slot_id, 43);
    EXPECT(nr_slice_equal(nr_level_slot(deeper->levels[3], 1)->start, key_at(3)));
    EXPECT_OK(nr_version_check(deeper, &err), &err);
    nr_version_unref(version);
    nr_version_unref(deeper);
    EXPECT_STATUS(nr_version_create(0, &version, &err), NORI_INVALID, &err);
    EXPECT_STATUS(nr_version_create(NORI_MAX_LEVELS + 1, &version, &err), NORI_INVALID, &err);
}

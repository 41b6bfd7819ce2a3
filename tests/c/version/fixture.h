/* What the tests of versions share: keys of a small universe, table files that exist in name only, and comparison of
 * whole trees. */
#ifndef NR_TESTS_VERSION_FIXTURE_H
#define NR_TESTS_VERSION_FIXTURE_H

#include "base/random.h"
#include "harness.h"
#include "version/edit.h"
#include "version/level.h"

#define KEY_COUNT 48
#define FILE_LIMIT 8192

static struct nori_error err;

/* Key i of the universe; KEY_COUNT is the key above all of them. Keys share a long beginning, as real ones do. */
static inline nori_slice key_at(size_t i)
{
    static char texts[KEY_COUNT + 1][24];
    snprintf(texts[i], sizeof(texts[i]), "tenant/user/%04zu", i * 7);
    return nr_slice_text(texts[i]);
}

/* The first slot begins at the empty key. */
static inline nori_slice guard_at(size_t i)
{
    return i == 0 ? nr_slice("", 0) : key_at(i);
}

static inline struct nr_bound bound_at(size_t i)
{
    return i == KEY_COUNT ? nr_bound_infinite() : nr_bound_key(key_at(i));
}

/* All files alive, by number. Not refed: they leave when nothing refers to them. */
struct universe {
    struct nr_table_file *files[FILE_LIMIT];
    uint64_t next_number;
    size_t live_count;
};

static inline void forget_file(void *arg, struct nr_table_file *file)
{
    struct universe *universe = arg;
    EXPECT(universe->files[file->number] == file);
    universe->files[file->number] = NULL;
    universe->live_count--;
    nr_table_file_free(file);
}

/* A file of keys [first, last), of 100 bytes and 10 entries a key. One reference. NULL if memory runs out. */
static inline struct nr_table_file *make_file(struct universe *universe, size_t first, size_t last, uint64_t smallest,
                                              uint64_t largest, uint32_t level)
{
    struct nr_table_file *file;
    uint64_t keys = last - first, number = ++universe->next_number;
    struct nr_table_properties properties = {.smallest = key_at(first),
                                             .end = nr_bound_key(key_at(last)),
                                             .smallest_sequence = smallest,
                                             .largest_sequence = largest,
                                             .entry_count = keys * 10,
                                             .level = level};
    if (number >= FILE_LIMIT) FAIL("too many files");
    if (nr_table_file_create(number, keys * 100, &properties, forget_file, universe, &file, &err) != NORI_OK)
        return NULL;
    universe->files[number] = file;
    universe->live_count++;
    return file;
}

static inline struct nr_table_slice slice_of(struct nr_table_file *file, size_t first, size_t last)
{
    return (struct nr_table_slice){.file = file,
                                   .start = key_at(first),
                                   .end = nr_bound_key(key_at(last)),
                                   .bytes = (last - first) * 100,
                                   .entries = (last - first) * 10,
                                   .deletes = last - first,
                                   .ranges = (last - first) / 2};
}

/* A run of one new file with keys [first, last). */
static inline struct nr_run *make_run(struct universe *universe, uint64_t run_id, size_t first, size_t last,
                                      uint64_t smallest, uint64_t largest, uint32_t level)
{
    struct nr_run *run;
    struct nr_table_file *file = make_file(universe, first, last, smallest, largest, level);
    struct nr_table_slice slice = slice_of(file, first, last);
    EXPECT_OK(nr_run_create(run_id, &slice, 1, &run, &err), &err);
    nr_table_file_unref(file);
    return run;
}

/* An nr_find_file_fn over the universe. */
static inline nori_status find_in_universe(void *arg, uint64_t number, uint64_t file_bytes,
                                           const struct nr_table_properties *properties,
                                           struct nr_table_file **file_out, struct nori_error *error)
{
    struct universe *universe = arg;
    struct nr_table_file *file = number < FILE_LIMIT ? universe->files[number] : NULL;
    *file_out = NULL;
    if (!file || (properties && file->file_bytes != file_bytes))
        return NR_FAIL(error, NORI_CORRUPTION, "table %" PRIu64 " is not known", number);
    *file_out = nr_table_file_ref(file);
    return NORI_OK;
}

/* ---------------------------------------------------------------- comparison */

static inline bool same_runs(const struct nr_run *a, const struct nr_run *b)
{
    if (a->run_id != b->run_id || a->bytes != b->bytes || a->entries != b->entries || a->deletes != b->deletes ||
        a->ranges != b->ranges || a->largest_sequence != b->largest_sequence ||
        a->smallest_sequence != b->smallest_sequence || a->slice_count != b->slice_count)
        return false;
    for (size_t i = 0; i < a->slice_count; i++) {
        const struct nr_table_slice *left = &a->slices[i], *right = &b->slices[i];
        if (left->file->number != right->file->number || !nr_slice_equal(left->start, right->start) ||
            nr_bound_compare(left->end, right->end) != 0 || left->bytes != right->bytes ||
            left->entries != right->entries || left->deletes != right->deletes || left->ranges != right->ranges)
            return false;
    }
    return true;
}

static inline bool same_slots(const struct nr_slot *a, const struct nr_slot *b)
{
    if (a->level != b->level || a->slot_id != b->slot_id || a->k_max != b->k_max || a->bytes != b->bytes ||
        a->entries != b->entries || a->run_count != b->run_count || !nr_slice_equal(a->start, b->start) ||
        nr_bound_compare(a->end, b->end) != 0)
        return false;
    for (size_t i = 0; i < a->run_count; i++) {
        if (!same_runs(a->runs[i], b->runs[i])) return false;
    }
    return true;
}

static inline bool same_versions(const struct nr_version *a, const struct nr_version *b)
{
    if (a->level_count != b->level_count) return false;
    for (size_t i = 0; i < a->level_count; i++) {
        const struct nr_level *left = a->levels[i], *right = b->levels[i];
        if (left->slot_count != right->slot_count || left->bytes != right->bytes ||
            left->max_run_count != right->max_run_count)
            return false;
        for (size_t j = 0; j < left->slot_count; j++) {
            if (!same_slots(nr_level_slot(left, j), nr_level_slot(right, j))) return false;
        }
    }
    return true;
}

#endif

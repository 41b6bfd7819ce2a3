#include "version/version.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "version/level.h"

/* ---------------------------------------------------------------- life */

static nori_status fill_levels(struct nr_version *version, size_t level_count, struct nori_error *err)
{
    while (version->level_count < level_count) {
        uint32_t number = (uint32_t)version->level_count;
        nori_status rc = nr_level_create_empty(number, &version->levels[number], err);
        if (rc != NORI_OK) return rc;
        version->level_count++;
    }
    return NORI_OK;
}

static struct nr_version *allocate_version(void)
{
    struct nr_version *version = nr_calloc(1, sizeof(*version));
    if (version) atomic_init(&version->refs, 1);
    return version;
}

nori_status nr_version_create(size_t level_count, struct nr_version **version_out, struct nori_error *err)
{
    *version_out = NULL;
    if (level_count < 1 || level_count > NORI_MAX_LEVELS)
        return NR_FAIL(err, NORI_INVALID, "a tree has 1 to %d levels, not %zu", NORI_MAX_LEVELS, level_count);
    struct nr_version *version = allocate_version();
    if (!version) return nr_fail_memory(err, sizeof(*version));
    nori_status rc = fill_levels(version, level_count, err);
    if (rc == NORI_OK)
        *version_out = version;
    else
        nr_version_unref(version);
    return rc;
}

nori_status nr_version_copy(const struct nr_version *version, size_t level_count, struct nr_version **version_out,
                            struct nori_error *err)
{
    *version_out = NULL;
    struct nr_version *copy = allocate_version();
    if (!copy) return nr_fail_memory(err, sizeof(*copy));
    copy->number = version->number + 1;
    for (size_t i = 0; i < version->level_count; i++) copy->levels[i] = nr_level_ref(version->levels[i]);
    copy->level_count = version->level_count;
    nori_status rc = fill_levels(copy, NR_MIN(level_count, (size_t)NORI_MAX_LEVELS), err);
    if (rc == NORI_OK)
        *version_out = copy;
    else
        nr_version_unref(copy);
    return rc;
}

/* An empty level with the guards of 'like'. */
static nori_status cut_level(uint32_t number, const struct nr_level *like, uint64_t *next_slot_id,
                             struct nr_level **level_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    size_t count = 0;
    uint64_t slot_id = *next_slot_id;
    struct nr_slot **slots = nr_calloc(like->slot_count, sizeof(*slots));

    if (!slots) return nr_fail_memory(err, like->slot_count * sizeof(*slots));
    for (; count < like->slot_count; count++) {
        const struct nr_slot *slot = nr_level_slot(like, count);
        NR_CHECK(nr_slot_create(number, slot_id++, slot->start, slot->end, slot->k_max, NULL, 0, &slots[count], err));
    }
    NR_CHECK(nr_level_create(slots, count, level_out, err));
    *next_slot_id = slot_id;
out:
    for (size_t i = 0; i < count; i++) nr_slot_unref(slots[i]);
    nr_free(slots);
    return rc;
}

nori_status nr_version_deepen(const struct nr_version *version, size_t level_count, uint64_t *next_slot_id,
                              struct nr_version **version_out, struct nori_error *err)
{
    nori_status rc;
    struct nr_version *deeper = NULL;
    const struct nr_level *deepest = version->levels[version->level_count - 1];

    *version_out = NULL;
    level_count = NR_MIN(level_count, (size_t)NORI_MAX_LEVELS);
    NR_CHECK(nr_version_copy(version, version->level_count, &deeper, err));
    while (deeper->level_count < level_count && deepest->slot_count > 1) {
        uint32_t number = (uint32_t)deeper->level_count;
        NR_CHECK(cut_level(number, deepest, next_slot_id, &deeper->levels[number], err));
        deeper->level_count++;
    }
    NR_CHECK(fill_levels(deeper, level_count, err));
    *version_out = deeper;
    deeper = NULL;
out:
    nr_version_unref(deeper);
    return rc;
}

struct nr_version *nr_version_ref(struct nr_version *version)
{
    atomic_fetch_add_explicit(&version->refs, 1, memory_order_relaxed);
    return version;
}

void nr_version_unref(struct nr_version *version)
{
    if (!version || atomic_fetch_sub_explicit(&version->refs, 1, memory_order_acq_rel) != 1) return;
    for (size_t i = 0; i < version->level_count; i++) nr_level_unref(version->levels[i]);
    nr_free(version);
}

struct nr_slot *nr_version_level0(const struct nr_version *version)
{
    return version->levels[0]->chunks[0]->slots[0];
}

/* ---------------------------------------------------------------- files */

/* Calls 'fn' for every slice of the tree. */
static void each_slice(const struct nr_version *version, void (*fn)(void *arg, const struct nr_table_slice *slice),
                       void *arg)
{
    for (size_t i = 0; i < version->level_count; i++) {
        const struct nr_level *level = version->levels[i];
        for (size_t j = 0; j < level->slot_count; j++) {
            const struct nr_slot *slot = nr_level_slot(level, j);
            for (size_t k = 0; k < slot->run_count; k++) {
                const struct nr_run *run = slot->runs[k];
                for (size_t m = 0; m < run->slice_count; m++) fn(arg, &run->slices[m]);
            }
        }
    }
}

struct file_list {
    struct nr_table_file **files; /* NULL: they are only counted. */
    struct nr_table_file *last;   /* Slices of a file mostly stand side by side. */
    size_t count;
};

static void list_file(void *arg, const struct nr_table_slice *slice)
{
    struct file_list *list = arg;
    if (slice->file == list->last) return;
    list->last = slice->file;
    if (list->files) list->files[list->count] = slice->file;
    list->count++;
}

static int compare_files(const void *a, const void *b)
{
    uint64_t left = (*(struct nr_table_file *const *)a)->number, right = (*(struct nr_table_file *const *)b)->number;
    return left < right ? -1 : left > right;
}

nori_status nr_version_each_file(const struct nr_version *version,
                                 nori_status (*fn)(void *arg, struct nr_table_file *file, struct nori_error *err),
                                 void *arg, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct file_list list = {0};

    each_slice(version, list_file, &list);
    if (list.count == 0) goto out;
    list.files = nr_calloc(list.count, sizeof(*list.files));
    if (!list.files) {
        rc = nr_fail_memory(err, list.count * sizeof(*list.files));
        goto out;
    }
    list.count = 0;
    list.last = NULL;
    each_slice(version, list_file, &list);
    qsort(list.files, list.count, sizeof(*list.files), compare_files);
    for (size_t i = 0; i < list.count; i++) {
        if (i == 0 || list.files[i] != list.files[i - 1]) NR_CHECK(fn(arg, list.files[i], err));
    }
out:
    nr_free(list.files);
    return rc;
}

static nori_status add_file_bytes(void *arg, struct nr_table_file *file, struct nori_error *err)
{
    (void)err;
    *(uint64_t *)arg += file->file_bytes;
    return NORI_OK;
}

static void add_slice_bytes(void *arg, const struct nr_table_slice *slice)
{
    *(uint64_t *)arg += slice->bytes;
}

uint64_t nr_version_bytes_on_disk(const struct nr_version *version)
{
    uint64_t bytes = 0;
    if (nr_version_each_file(version, add_file_bytes, &bytes, NULL) != NORI_OK) {
        /* No memory to tell files apart: what slices refer to is the nearest there is. */
        bytes = 0;
        each_slice(version, add_slice_bytes, &bytes);
    }
    return bytes;
}

/* ---------------------------------------------------------------- level 0 */

/* The deepest place is where some slice begins. */
size_t nr_version_l0_depth(const struct nr_version *version)
{
    const struct nr_slot *slot = nr_version_level0(version);
    size_t deepest = 0;

    for (size_t i = 0; i < slot->run_count; i++) {
        const struct nr_run *run = slot->runs[i];
        for (size_t j = 0; j < run->slice_count && deepest < slot->run_count; j++) {
            size_t depth = 0;
            for (size_t k = 0; k < slot->run_count; k++) {
                if (nr_run_find(slot->runs[k], run->slices[j].start)) depth++;
            }
            deepest = NR_MAX(deepest, depth);
        }
    }
    return deepest;
}

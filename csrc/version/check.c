/* What must hold of a version. Each finding says where it is; keys are shown up to a few bytes. */
#include "version/version.h"

#include <stdio.h>

struct name {
    char text[72];
};

static struct name show(nori_slice key)
{
    static const char digits[] = "0123456789abcdef";
    struct name name;
    size_t at = 0, i = 0;

    for (; i < key.size && at + 8 < sizeof(name.text); i++) {
        uint8_t byte = key.data[i];
        if (byte > 0x20 && byte < 0x7f && byte != '\\') {
            name.text[at++] = (char)byte;
        } else {
            name.text[at++] = '\\';
            name.text[at++] = 'x';
            name.text[at++] = digits[byte >> 4];
            name.text[at++] = digits[byte & 15];
        }
    }
    memcpy(name.text + at, i < key.size ? "..." : "", i < key.size ? 4 : 1);
    return name;
}

/* ---------------------------------------------------------------- shape */

static nori_status check_run(const struct nr_run *run, const struct nr_slot *slot, struct nori_error *err)
{
    uint64_t bytes = 0, entries = 0, deletes = 0, ranges = 0;
    struct nr_bound covered = nr_bound_key(slot->start);

    if (run->slice_count == 0) return NR_FAIL(err, NORI_CORRUPTION, "run %" PRIu64 " has no slices", run->run_id);
    for (size_t i = 0; i < run->slice_count; i++) {
        const struct nr_table_slice *slice = &run->slices[i];
        const struct nr_table_properties *properties = &slice->file->properties;
        if (nr_bound_above(covered, slice->start) || !nr_bound_above(slice->end, slice->start))
            return NR_FAIL(err, NORI_CORRUPTION, "run %" PRIu64 " of level %" PRIu32 ": slice at %s is out of order",
                           run->run_id, slot->level, show(slice->start).text);
        if (nr_slice_compare(slice->start, properties->smallest) < 0 ||
            nr_bound_compare(slice->end, properties->end) > 0)
            return NR_FAIL(err, NORI_CORRUPTION,
                           "run %" PRIu64 " of level %" PRIu32 ": slice at %s leaves the bounds of table %" PRIu64,
                           run->run_id, slot->level, show(slice->start).text, slice->file->number);
        covered = slice->end;
        bytes += slice->bytes;
        entries += slice->entries;
        deletes += slice->deletes;
        ranges += slice->ranges;
    }
    if (nr_bound_compare(covered, slot->end) > 0)
        return NR_FAIL(err, NORI_CORRUPTION, "run %" PRIu64 " of level %" PRIu32 " leaves slot %s", run->run_id,
                       slot->level, show(slot->start).text);
    if (bytes != run->bytes || entries != run->entries || deletes != run->deletes || ranges != run->ranges)
        return NR_FAIL(err, NORI_CORRUPTION, "run %" PRIu64 " of level %" PRIu32 ": sums are wrong", run->run_id,
                       slot->level);
    return NORI_OK;
}

static nori_status check_slot(const struct nr_slot *slot, uint32_t level, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    uint64_t bytes = 0, entries = 0;

    for (size_t i = 0; i < slot->run_count; i++) {
        NR_CHECK(check_run(slot->runs[i], slot, err));
        bytes += slot->runs[i]->bytes;
        entries += slot->runs[i]->entries;
    }
    if (slot->level != level || slot->bytes != bytes || slot->entries != entries)
        rc = NR_FAIL(err, NORI_CORRUPTION, "slot %s of level %" PRIu32 ": level or sums are wrong",
                     show(slot->start).text, level);
out:
    return rc;
}

static nori_status check_level(const struct nr_level *level, uint32_t number, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    uint64_t bytes = 0, entries = 0;
    size_t most = 0, count = 0;
    struct nr_bound covered = nr_bound_key(nr_slice(NULL, 0));

    for (size_t i = 0; i < level->chunk_count; i++) count += level->chunks[i]->count;
    if (count != level->slot_count || level->guards->index.count + 1 != count) {
        rc = NR_FAIL(err, NORI_CORRUPTION, "level %" PRIu32 ": its slots are miscounted", number);
        goto out;
    }
    for (size_t i = 0; i < count; i++) {
        const struct nr_slot *slot = nr_level_slot(level, i);
        if (covered.infinite || !nr_slice_equal(covered.key, slot->start) || !nr_bound_above(slot->end, slot->start) ||
            nr_level_seek(level, slot->start) != i) {
            rc = NR_FAIL(err, NORI_CORRUPTION, "level %" PRIu32 ": gap, overlap or disorder at slot %s", number,
                         show(slot->start).text);
            goto out;
        }
        NR_CHECK(check_slot(slot, number, err));
        covered = slot->end;
        bytes += slot->bytes;
        entries += slot->entries;
        most = NR_MAX(most, slot->run_count);
    }
    if (!covered.infinite || bytes != level->bytes || entries != level->entries || most != level->max_run_count)
        rc = NR_FAIL(err, NORI_CORRUPTION, "level %" PRIu32 ": its end or its sums are wrong", number);
out:
    return rc;
}

/* A level with one slot and no data has not been cut yet: it neither gives guards nor needs any. */
static bool is_bare(const struct nr_level *level)
{
    return level->slot_count == 1 && level->max_run_count == 0;
}

static nori_status check_nesting(const struct nr_version *version, struct nori_error *err)
{
    const struct nr_level *above = NULL;

    for (size_t i = 1; i < version->level_count; i++) {
        const struct nr_level *level = version->levels[i];
        if (is_bare(level)) continue;
        for (size_t j = 1; above && j < above->slot_count; j++) {
            nori_slice guard = nr_level_slot(above, j)->start;
            if (!nr_slice_equal(nr_level_find(level, guard)->start, guard))
                return NR_FAIL(err, NORI_CORRUPTION, "level %zu lacks guard %s of a level above", i, show(guard).text);
        }
        above = level;
    }
    return NORI_OK;
}

/* ---------------------------------------------------------------- age order */

struct aged {
    const struct nr_run *run;
    uint32_t level;
};

static nori_status compare_slices(const struct nr_table_slice *newer, uint32_t newer_level,
                                  const struct nr_table_slice *older, uint32_t older_level, struct nori_error *err)
{
    const struct nr_table_properties *above = &newer->file->properties, *below = &older->file->properties;
    bool is_mixed = above->level == 0 && older_level > 0;
    bool is_right = is_mixed ? above->largest_sequence > below->largest_sequence
                             : above->smallest_sequence > below->largest_sequence;

    if (is_right) return NORI_OK;
    return NR_FAIL(err, NORI_CORRUPTION,
                   "age order at %s: table %" PRIu64 " (%" PRIu64 "..%" PRIu64 ") of level %" PRIu32
                   " stands before table %" PRIu64 " (%" PRIu64 "..%" PRIu64 ") of level %" PRIu32,
                   show(nr_slice_compare(newer->start, older->start) > 0 ? newer->start : older->start).text,
                   newer->file->number, above->smallest_sequence, above->largest_sequence, newer_level,
                   older->file->number, below->smallest_sequence, below->largest_sequence, older_level);
}

static nori_status compare_runs(struct aged newer, struct aged older, struct nori_error *err)
{
    size_t i = nr_run_seek(newer.run, older.run->slices[0].start);
    size_t j = nr_run_seek(older.run, newer.run->slices[0].start);

    while (i < newer.run->slice_count && j < older.run->slice_count) {
        const struct nr_table_slice *a = &newer.run->slices[i], *b = &older.run->slices[j];
        if (nr_bound_above(a->end, b->start) && nr_bound_above(b->end, a->start)) {
            nori_status rc = compare_slices(a, newer.level, b, older.level, err);
            if (rc != NORI_OK) return rc;
        }
        if (nr_bound_compare(a->end, b->end) <= 0)
            i++;
        else
            j++;
    }
    return NORI_OK;
}

/* Against all that is older: the later runs of its slot, and the slots below it. */
static nori_status check_age(const struct nr_version *version, const struct nr_slot *slot, size_t index,
                             struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct aged newer = {slot->runs[index], slot->level};
    const struct nr_run *run = newer.run;
    struct nr_bound end = run->slices[run->slice_count - 1].end;

    for (size_t i = index + 1; i < slot->run_count; i++) {
        NR_CHECK(compare_runs(newer, (struct aged){slot->runs[i], slot->level}, err));
    }
    for (uint32_t i = slot->level + 1; i < version->level_count; i++) {
        const struct nr_level *level = version->levels[i];
        for (size_t j = nr_level_seek(level, run->slices[0].start); j < level->slot_count; j++) {
            const struct nr_slot *below = nr_level_slot(level, j);
            if (!nr_bound_above(end, below->start)) break;
            for (size_t k = 0; k < below->run_count; k++) {
                NR_CHECK(compare_runs(newer, (struct aged){below->runs[k], i}, err));
            }
        }
    }
out:
    return rc;
}

nori_status nr_version_check(const struct nr_version *version, struct nori_error *err)
{
    nori_status rc = NORI_OK;

    for (uint32_t i = 0; i < version->level_count; i++) NR_CHECK(check_level(version->levels[i], i, err));
    if (version->levels[0]->slot_count != 1) {
        rc = NR_FAIL(err, NORI_CORRUPTION, "level 0 has %zu slots", version->levels[0]->slot_count);
        goto out;
    }
    NR_CHECK(check_nesting(version, err));
    for (size_t i = 0; i < version->level_count; i++) {
        const struct nr_level *level = version->levels[i];
        for (size_t j = 0; j < level->slot_count; j++) {
            const struct nr_slot *slot = nr_level_slot(level, j);
            for (size_t k = 0; k < slot->run_count; k++) NR_CHECK(check_age(version, slot, k, err));
        }
    }
out:
    return rc;
}

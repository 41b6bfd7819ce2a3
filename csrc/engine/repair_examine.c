/* What of the tables is whole, and of which keys something is lost. */
#include "engine/repair.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"

/* ---------------------------------------------------------------- what is lost */

/* Copies the key. */
static nori_status keep_key(struct nr_repair *repair, nori_slice key, nori_slice *kept_out, struct nori_error *err)
{
    uint8_t *copy = nr_arena_alloc(&repair->arena, key.size + 1);
    if (!copy) return nr_fail_memory(err, key.size + 1);
    if (key.size > 0) memcpy(copy, key.data, key.size);
    *kept_out = nr_slice(copy, key.size);
    return NORI_OK;
}

static nori_status add_range(struct nr_repair *repair, struct nr_repair_table *table, struct nr_repair_range range,
                             struct nori_error *err)
{
    nori_status rc = nr_repair_grow((void **)&repair->ranges, repair->range_count, &repair->range_capacity,
                                    sizeof *repair->ranges, err);
    if (rc != NORI_OK) return rc;
    if (table->range_count++ == 0) {
        table->first_range = repair->range_count;
        table->finding = range.finding;
    }
    repair->ranges[repair->range_count++] = range;
    return NORI_OK;
}

/* All that the table may hold is lost. */
static nori_status lose_table(struct nr_repair *repair, struct nr_repair_table *table, const struct nori_error *why,
                              struct nori_error *err)
{
    const struct nr_table_properties *properties = &table->file->properties;
    struct nr_repair_range range = {properties->smallest, properties->end, NR_REPAIR_NO_FINDING};
    nori_status rc = NORI_OK;
    NR_CHECK(nr_repair_note_range(repair, why, range.start, range.end, &range.finding, err));
    NR_CHECK(add_range(repair, table, range, err));
out:
    return rc;
}

/* The blocks [first, last] are lost. */
static nori_status lose_blocks(struct nr_repair *repair, struct nr_repair_table *table, struct nr_table *open,
                               size_t first, size_t last, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_buffer start = {0}, end = {0};
    struct nr_repair_range range = {.finding = NR_REPAIR_NO_FINDING};
    struct nori_error why;
    char path[NR_REPAIR_PATH_BYTES];
    uint64_t offset = nr_table_block_offset(open, first), behind = nr_table_block_offset(open, last + 1);

    nr_repair_table_path(repair, table->file->number, path);
    nr_fail_corrupt(&why, path, (int64_t)offset, "block", "what stood there, up to byte %" PRIu64 ", is lost", behind);
    NR_CHECK(nr_table_block_span(open, first, last, &start, &end, err));
    if (nr_slice_compare(nr_buffer_slice(&start), nr_buffer_slice(&end)) > 0) start.size = 0;
    NR_CHECK(keep_key(repair, nr_buffer_slice(&start), &range.start, err));
    NR_CHECK(keep_key(repair, nr_buffer_slice(&end), &range.end.key, err));
    NR_CHECK(nr_repair_note_range(repair, &why, range.start, range.end, &range.finding, err));
    NR_CHECK(add_range(repair, table, range, err));
out:
    nr_buffer_clear(&start);
    nr_buffer_clear(&end);
    return rc;
}

/* Neighbours are one range. What is kept of a table stays within bounds: the last range covers what is left. */
static nori_status lose_damaged_blocks(struct nr_repair *repair, struct nr_repair_table *table, struct nr_table *open,
                                       struct nori_error *err)
{
    const struct nr_table_damage *damage = &table->damage;
    size_t kept_bytes = 0, last_damaged = damage->block_count;
    nori_status rc = NORI_OK;

    while (last_damaged > 0 && !nr_table_damage_has(damage, last_damaged - 1)) last_damaged--;
    for (size_t first = 0; first < last_damaged; first++) {
        if (!nr_table_damage_has(damage, first)) continue;
        size_t last = first;
        while (last + 1 < last_damaged && nr_table_damage_has(damage, last + 1)) last++;
        bool is_too_much = table->range_count + 1 == NR_REPAIR_TABLE_RANGES || kept_bytes > nr_table_file_bytes(open);
        if (is_too_much) last = last_damaged - 1;
        NR_CHECK(lose_blocks(repair, table, open, first, last, err));
        const struct nr_repair_range *range = &repair->ranges[repair->range_count - 1];
        kept_bytes += range->start.size + range->end.key.size;
        first = last;
    }
    repair->report->lost_blocks += damage->damaged_count;
out:
    return rc;
}

/* ---------------------------------------------------------------- one table */

/* An nr_salvage note. Blocks are told by range, once all are known. */
static nori_status note_damage(void *arg, const struct nori_error *damage, struct nori_error *err)
{
    if (strcmp(damage->kind, "block") == 0) return NORI_OK;
    return nr_repair_note(arg, damage, NULL, err);
}

static nori_status note_difference(struct nr_repair *repair, const struct nr_repair_table *table,
                                   const struct nr_table *open, struct nori_error *err)
{
    const char *difference = nr_properties_difference(nr_table_properties(open), &table->file->properties);
    struct nori_error why;
    char path[NR_REPAIR_PATH_BYTES];
    if (!difference && nr_table_file_bytes(open) != table->file->file_bytes) difference = "size";
    if (!difference) return NORI_OK;
    nr_repair_table_path(repair, table->file->number, path);
    nr_fail_corrupt(&why, path, -1, "properties", "the table and the manifest differ in its %s", difference);
    return nr_repair_note(repair, &why, NULL, err);
}

static nori_status read_table(struct nr_repair *repair, struct nr_repair_table *table, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_table *open = NULL;
    const struct nr_salvage salvage = {.note = note_damage, .arg = repair, .known = &table->file->properties};
    const struct nr_table_params params = {.dir = repair->source,
                                           .database_id = repair->database_id,
                                           .number = table->file->number,
                                           .largest_sequence = table->file->handle.largest_sequence,
                                           .salvage = &salvage};

    NR_CHECK(nr_table_open(&params, &open, err));
    if (repair->has_manifest) NR_CHECK(note_difference(repair, table, open, err));
    NR_CHECK(nr_table_examine(open, &salvage, &table->damage, &repair->report->blocks, &repair->entries_seen, err));
    table->tombstones = nr_tombstones_ref(nr_table_tombstones(open));
    NR_CHECK(lose_damaged_blocks(repair, table, open, err));
out:
    nr_table_unref(open);
    return rc;
}

static nori_status examine_table(struct nr_repair *repair, struct nr_repair_table *table, struct nori_error *err)
{
    struct nori_error why;
    repair->report->files++;
    nr_error_clear(&why);
    nori_status rc = read_table(repair, table, &why);
    bool is_missing = rc == NORI_IO && why.sys_errno == ENOENT;
    if (rc == NORI_CORRUPTION || is_missing) {
        if (is_missing) snprintf(why.kind, sizeof why.kind, "table");
        nr_table_damage_clear(&table->damage);
        rc = lose_table(repair, table, &why, err);
    } else if (rc != NORI_OK && err) {
        *err = why;
    }
    return rc;
}

/* ---------------------------------------------------------------- all */

static int compare_lost(const void *a, const void *b)
{
    const struct nr_repair_lost *x = a, *y = b;
    int order = nr_slice_compare(x->start, y->start);
    return order != 0 ? order : x->finding < y->finding ? -1 : x->finding > y->finding;
}

/* The tables' ranges, as far as they lie in pieces that count. */
static nori_status clip_ranges(struct nr_repair *repair, struct nori_error *err)
{
    size_t capacity = 0;
    nori_status rc = NORI_OK;
    for (size_t i = 0; i < repair->piece_count; i++) {
        const struct nr_repair_piece *piece = &repair->pieces[i];
        const struct nr_repair_table *table = &repair->tables[piece->table];
        for (size_t j = 0; j < table->range_count; j++) {
            const struct nr_repair_range *range = &repair->ranges[table->first_range + j];
            struct nr_repair_lost lost = {.start = range->start,
                                          .end = range->end,
                                          .table = piece->table,
                                          .rank = piece->rank,
                                          .largest_sequence = table->file->properties.largest_sequence,
                                          .finding = range->finding};
            if (nr_slice_compare(lost.start, piece->start) < 0) lost.start = piece->start;
            if (nr_bound_compare(lost.end, piece->end) > 0) lost.end = piece->end;
            if (!nr_bound_above(lost.end, lost.start)) continue;
            NR_CHECK(nr_repair_grow((void **)&repair->lost, repair->lost_count, &capacity, sizeof lost, err));
            repair->lost[repair->lost_count++] = lost;
        }
    }
    if (repair->lost_count > 0) qsort(repair->lost, repair->lost_count, sizeof *repair->lost, compare_lost);
out:
    return rc;
}

nori_status nr_repair_examine(struct nr_repair *repair, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    repair->progress = (struct nori_progress){0, 0, "bytes", "examine"};
    for (size_t i = 0; i < repair->table_count; i++) repair->progress.total += repair->tables[i].file->file_bytes;
    for (size_t i = 0; i < repair->table_count; i++) {
        NR_CHECK(examine_table(repair, &repair->tables[i], err));
        repair->progress.done += repair->tables[i].file->file_bytes;
        NR_CHECK(nr_repair_tell(repair, err));
    }
    NR_CHECK(clip_ranges(repair, err));
out:
    return rc;
}

#include "compact/cover.h"

#include <stdlib.h>

#include "base/alloc.h"

static int compare_starts(const void *a, const void *b)
{
    return nr_slice_compare(((const struct nr_cover_range *)a)->start, ((const struct nr_cover_range *)b)->start);
}

/* Joins ranges that overlap or touch; they are sorted by start. */
static size_t join_ranges(struct nr_cover_range *ranges, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        struct nr_cover_range *last = kept > 0 ? &ranges[kept - 1] : NULL;
        bool touches = last && (last->end.infinite || nr_slice_compare(ranges[i].start, last->end.key) <= 0);
        if (!touches)
            ranges[kept++] = ranges[i];
        else if (nr_bound_compare(last->end, ranges[i].end) < 0)
            last->end = ranges[i].end;
    }
    return kept;
}

nori_status nr_cover_init(struct nr_cover *cover, struct nr_run *const *runs, size_t run_count, nori_slice start,
                          struct nr_bound end, struct nori_error *err)
{
    size_t capacity = 0, count = 0;
    *cover = (struct nr_cover){0};
    for (size_t i = 0; i < run_count; i++) capacity += runs[i]->slice_count;
    if (capacity == 0) return NORI_OK;
    cover->ranges = nr_calloc(capacity, sizeof(*cover->ranges));
    if (!cover->ranges) return nr_fail_memory(err, capacity * sizeof(*cover->ranges));
    for (size_t i = 0; i < run_count; i++) {
        for (size_t j = nr_run_seek(runs[i], start); j < runs[i]->slice_count; j++) {
            const struct nr_table_slice *slice = &runs[i]->slices[j];
            if (!nr_bound_above(end, slice->start)) break;
            cover->ranges[count++] = (struct nr_cover_range){slice->start, slice->end};
        }
    }
    qsort(cover->ranges, count, sizeof(*cover->ranges), compare_starts);
    cover->count = join_ranges(cover->ranges, count);
    return NORI_OK;
}

void nr_cover_clear(struct nr_cover *cover)
{
    nr_free(cover->ranges);
    *cover = (struct nr_cover){0};
}

bool nr_cover_has_key(struct nr_cover *cover, nori_slice key)
{
    while (cover->cursor < cover->count && !nr_bound_above(cover->ranges[cover->cursor].end, key)) cover->cursor++;
    return cover->cursor < cover->count && nr_slice_compare(cover->ranges[cover->cursor].start, key) <= 0;
}

bool nr_cover_overlaps(const struct nr_cover *cover, nori_slice start, struct nr_bound end)
{
    size_t low = 0, high = cover->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (nr_bound_above(cover->ranges[middle].end, start))
            high = middle;
        else
            low = middle + 1;
    }
    return low < cover->count && nr_bound_above(end, cover->ranges[low].start);
}

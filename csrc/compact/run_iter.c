/* A run's entries in order: its slices one after the other, with one table open at a time. */
#include "compact/merge.h"

#include "base/alloc.h"

struct run_iter {
    struct nr_iter base;
    struct nr_run *run; /* Counted. */
    nori_slice start;   /* Borrowed, like all below that is not said to be owned. */
    struct nr_bound end;
    struct nr_table_cache *tables;
    struct nr_epoch *epoch;
    struct nr_read *read;
    size_t first, last;         /* Slices that overlap [start, end): [first, last). */
    size_t current;             /* Of 'table_iter'. */
    struct nr_iter *table_iter; /* Owned. NULL: no slice is open. */
};

/* The part of a slice within [start, end), in 'start_out' and 'end_out'. */
static void clip_slice(const struct nr_table_slice *slice, nori_slice start, struct nr_bound end, nori_slice *start_out,
                       struct nr_bound *end_out)
{
    *start_out = nr_slice_compare(slice->start, start) < 0 ? start : slice->start;
    *end_out = nr_bound_compare(slice->end, end) < 0 ? slice->end : end;
}

/* The slices of the run that overlap [start, end): [*first_out, *last_out). */
static void find_slices(const struct nr_run *run, nori_slice start, struct nr_bound end, size_t *first_out,
                        size_t *last_out)
{
    size_t first = nr_run_seek(run, start);
    size_t last = end.infinite ? run->slice_count : nr_run_seek(run, end.key);
    if (last < run->slice_count && nr_bound_above(end, run->slices[last].start)) last++;
    *first_out = first;
    *last_out = NR_MAX(first, last);
}

static nori_status open_slice(struct run_iter *iter, size_t index, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    if (iter->table_iter && iter->current == index) return NORI_OK;
    nr_iter_destroy(iter->table_iter);
    iter->table_iter = NULL;

    const struct nr_table_slice *slice = &iter->run->slices[index];
    struct nr_table *table = NULL;
    nori_slice start;
    struct nr_bound end;
    clip_slice(slice, iter->start, iter->end, &start, &end);
    unsigned stripe = nr_epoch_enter(iter->epoch);
    NR_CHECK(nr_table_cache_find(iter->tables, &slice->file->handle, iter->read, &table, err));
    NR_CHECK(nr_table_iter_create(table, start, end, iter->read, &iter->table_iter, err));
    iter->current = index;
out:
    nr_epoch_leave(iter->epoch, stripe);
    return rc;
}

/* Stands on the table iterator's entry; if it has none, on the first of the slices behind it. */
static nori_status settle_forward(struct run_iter *iter, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    while (!iter->table_iter->entry) {
        if (iter->current + 1 >= iter->last) goto out;
        NR_CHECK(open_slice(iter, iter->current + 1, err));
        NR_CHECK(nr_iter_seek_first(iter->table_iter, err));
    }
    nr_iter_show_same(&iter->base, iter->table_iter);
out:
    return rc;
}

static nori_status settle_backward(struct run_iter *iter, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    while (!iter->table_iter->entry) {
        if (iter->current <= iter->first) goto out;
        NR_CHECK(open_slice(iter, iter->current - 1, err));
        NR_CHECK(nr_iter_seek_last(iter->table_iter, err));
    }
    nr_iter_show_same(&iter->base, iter->table_iter);
out:
    return rc;
}

static nori_status run_iter_seek(struct nr_iter *base, nori_slice key, uint64_t tag, struct nori_error *err)
{
    struct run_iter *iter = (struct run_iter *)base;
    nori_status rc = NORI_OK;
    base->entry = NULL;
    size_t index = NR_MAX(nr_run_seek(iter->run, key), iter->first);
    if (index >= iter->last) goto out;
    NR_CHECK(open_slice(iter, index, err));
    NR_CHECK(nr_iter_seek(iter->table_iter, key, tag, err));
    NR_CHECK(settle_forward(iter, err));
out:
    return rc;
}

static nori_status run_iter_seek_back(struct nr_iter *base, nori_slice key, uint64_t tag, struct nori_error *err)
{
    struct run_iter *iter = (struct run_iter *)base;
    nori_status rc = NORI_OK;
    base->entry = NULL;
    if (iter->first == iter->last) goto out;
    size_t index = NR_MIN(nr_run_seek(iter->run, key), iter->last - 1);
    if (index < iter->first) goto out;
    NR_CHECK(open_slice(iter, index, err));
    NR_CHECK(nr_iter_seek_back(iter->table_iter, key, tag, err));
    NR_CHECK(settle_backward(iter, err));
out:
    return rc;
}

static nori_status run_iter_seek_first(struct nr_iter *base, struct nori_error *err)
{
    struct run_iter *iter = (struct run_iter *)base;
    nori_status rc = NORI_OK;
    base->entry = NULL;
    if (iter->first == iter->last) goto out;
    NR_CHECK(open_slice(iter, iter->first, err));
    NR_CHECK(nr_iter_seek_first(iter->table_iter, err));
    NR_CHECK(settle_forward(iter, err));
out:
    return rc;
}

static nori_status run_iter_seek_last(struct nr_iter *base, struct nori_error *err)
{
    struct run_iter *iter = (struct run_iter *)base;
    nori_status rc = NORI_OK;
    base->entry = NULL;
    if (iter->first == iter->last) goto out;
    NR_CHECK(open_slice(iter, iter->last - 1, err));
    NR_CHECK(nr_iter_seek_last(iter->table_iter, err));
    NR_CHECK(settle_backward(iter, err));
out:
    return rc;
}

static nori_status run_iter_next(struct nr_iter *base, struct nori_error *err)
{
    struct run_iter *iter = (struct run_iter *)base;
    nori_status rc = NORI_OK;
    iter->table_iter->entry = base->entry;
    base->entry = NULL;
    NR_CHECK(nr_iter_next(iter->table_iter, err));
    NR_CHECK(settle_forward(iter, err));
out:
    return rc;
}

static nori_status run_iter_prev(struct nr_iter *base, struct nori_error *err)
{
    struct run_iter *iter = (struct run_iter *)base;
    nori_status rc = NORI_OK;
    iter->table_iter->entry = base->entry;
    base->entry = NULL;
    NR_CHECK(nr_iter_prev(iter->table_iter, err));
    NR_CHECK(settle_backward(iter, err));
out:
    return rc;
}

static void run_iter_destroy(struct nr_iter *base)
{
    struct run_iter *iter = (struct run_iter *)base;
    nr_iter_destroy(iter->table_iter);
    nr_run_unref(iter->run);
    nr_free(iter);
}

static const struct nr_iter_ops run_iter_ops = {
    .seek = run_iter_seek,
    .seek_back = run_iter_seek_back,
    .seek_first = run_iter_seek_first,
    .seek_last = run_iter_seek_last,
    .next = run_iter_next,
    .prev = run_iter_prev,
    .destroy = run_iter_destroy,
};

nori_status nr_run_iter_create(struct nr_run *run, nori_slice start, struct nr_bound end, struct nr_table_cache *tables,
                               struct nr_epoch *epoch, struct nr_read *read, struct nr_iter **iter_out,
                               struct nori_error *err)
{
    struct run_iter *iter = nr_calloc(1, sizeof(*iter));
    *iter_out = NULL;
    if (!iter) return nr_fail_memory(err, sizeof(*iter));
    iter->base.ops = &run_iter_ops;
    iter->run = nr_run_ref(run);
    iter->start = start;
    iter->end = end;
    iter->tables = tables;
    iter->epoch = epoch;
    iter->read = read;
    find_slices(run, start, end, &iter->first, &iter->last);
    *iter_out = &iter->base;
    return NORI_OK;
}

nori_status nr_run_tombstones(struct nr_run *run, nori_slice start, struct nr_bound end, struct nr_table_cache *tables,
                              struct nr_epoch *epoch, struct nr_tombstones **set_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_read read = {.is_scan = true, .skip_cache = true};
    struct nr_tombstones **sets = NULL;
    struct nr_clip *clips = NULL;
    size_t first, last, with_ranges = 0, count = 0;

    *set_out = NULL;
    find_slices(run, start, end, &first, &last);
    for (size_t i = first; i < last; i++) with_ranges += run->slices[i].file->properties.range_count > 0;
    if (with_ranges == 0) goto out;
    sets = nr_calloc(with_ranges, sizeof(*sets));
    clips = nr_calloc(with_ranges, sizeof(*clips));
    if (!sets || !clips) {
        rc = nr_fail_memory(err, with_ranges * sizeof(*clips));
        goto out;
    }
    for (size_t i = first; i < last; i++) {
        struct nr_table *table = NULL;
        if (run->slices[i].file->properties.range_count == 0) continue;
        clip_slice(&run->slices[i], start, end, &clips[count].start, &clips[count].end);
        unsigned stripe = nr_epoch_enter(epoch);
        rc = nr_table_cache_find(tables, &run->slices[i].file->handle, &read, &table, err);
        if (rc == NORI_OK) sets[count++] = nr_tombstones_ref(nr_table_tombstones(table));
        nr_epoch_leave(epoch, stripe);
        if (rc != NORI_OK) goto out;
    }
    NR_CHECK(nr_tombstones_merge(sets, clips, count, NR_MAX_SEQUENCE, set_out, err));
out:
    for (size_t i = 0; i < count; i++) nr_tombstones_unref(sets[i]);
    nr_free(sets);
    nr_free(clips);
    nr_read_clear(&read);
    return rc;
}

/* A level as one iterator: its slots one after the other, each a merge of its runs, opened when it is entered. */
#include "engine/engine.h"

#include "base/alloc.h"
#include "iter/merge.h"

struct level_iter {
    struct nr_iter base;
    struct nori_engine *engine; /* Borrowed. */
    struct nr_level *level;     /* Borrowed from the view that its owner refs. */
    nori_slice start;
    struct nr_bound end;
    size_t first_slot, last_slot; /* That overlap [start, end). */
    size_t slot_index;
    struct nr_read *read;
    struct nr_iter *child; /* Over slot_index; NULL: none. */
};

static void close_slot(struct level_iter *iter)
{
    nr_iter_destroy(iter->child);
    iter->child = NULL;
    iter->base.entry = NULL;
}

static nori_status open_slot(struct level_iter *iter, size_t index, struct nori_error *err)
{
    struct nr_iter **children = NULL;
    size_t count = 0;
    nori_status rc = NORI_OK;
    if (iter->child && iter->slot_index == index) return NORI_OK;
    close_slot(iter);
    iter->slot_index = index;
    struct nr_slot *slot = nr_level_slot(iter->level, index);
    children = nr_calloc(slot->run_count + 1, sizeof *children);
    if (!children) return nr_fail_memory(err, slot->run_count * sizeof *children);
    for (size_t i = 0; i < slot->run_count; i++) {
        if (!nr_run_overlaps(slot->runs[i], iter->start, iter->end)) continue;
        rc = nr_run_iter_create(slot->runs[i], iter->start, iter->end, iter->engine->tables, &iter->engine->epoch,
                                iter->read, &children[count], err);
        if (rc != NORI_OK) break;
        count++;
    }
    if (rc == NORI_OK) {
        if (count > 0) nr_activity_count_scan(slot->activity, nr_epoch_stripe_of_thread());
        rc = nr_merge_iter_create(children, count, &iter->child, err);
    } else {
        for (size_t i = 0; i < count; i++) nr_iter_destroy(children[i]);
    }
    nr_free(children);
    return rc;
}

/* Shows what the child does; if it stands nowhere, goes on to the next slot that has something. */
static nori_status go_forward(struct level_iter *iter, struct nori_error *err)
{
    while (!iter->child->entry && iter->slot_index < iter->last_slot) {
        nori_status rc = open_slot(iter, iter->slot_index + 1, err);
        if (rc == NORI_OK) rc = nr_iter_seek_first(iter->child, err);
        if (rc != NORI_OK) return rc;
    }
    nr_iter_show_same(&iter->base, iter->child);
    return NORI_OK;
}

static nori_status go_back(struct level_iter *iter, struct nori_error *err)
{
    while (!iter->child->entry && iter->slot_index > iter->first_slot) {
        nori_status rc = open_slot(iter, iter->slot_index - 1, err);
        if (rc == NORI_OK) rc = nr_iter_seek_last(iter->child, err);
        if (rc != NORI_OK) return rc;
    }
    nr_iter_show_same(&iter->base, iter->child);
    return NORI_OK;
}

/* The slot of the level that covers the key, kept within those of the range. */
static size_t slot_for(const struct level_iter *iter, nori_slice key)
{
    size_t index = nr_level_seek(iter->level, key);
    return NR_MIN(NR_MAX(index, iter->first_slot), iter->last_slot);
}

static nori_status level_seek(struct nr_iter *base, nori_slice key, uint64_t tag, struct nori_error *err)
{
    struct level_iter *iter = (struct level_iter *)base;
    base->entry = NULL;
    nori_status rc = open_slot(iter, slot_for(iter, key), err);
    if (rc == NORI_OK) rc = nr_iter_seek(iter->child, key, tag, err);
    return rc == NORI_OK ? go_forward(iter, err) : rc;
}

static nori_status level_seek_back(struct nr_iter *base, nori_slice key, uint64_t tag, struct nori_error *err)
{
    struct level_iter *iter = (struct level_iter *)base;
    base->entry = NULL;
    nori_status rc = open_slot(iter, slot_for(iter, key), err);
    if (rc == NORI_OK) rc = nr_iter_seek_back(iter->child, key, tag, err);
    return rc == NORI_OK ? go_back(iter, err) : rc;
}

static nori_status level_seek_first(struct nr_iter *base, struct nori_error *err)
{
    struct level_iter *iter = (struct level_iter *)base;
    base->entry = NULL;
    nori_status rc = open_slot(iter, iter->first_slot, err);
    if (rc == NORI_OK) rc = nr_iter_seek_first(iter->child, err);
    return rc == NORI_OK ? go_forward(iter, err) : rc;
}

static nori_status level_seek_last(struct nr_iter *base, struct nori_error *err)
{
    struct level_iter *iter = (struct level_iter *)base;
    base->entry = NULL;
    nori_status rc = open_slot(iter, iter->last_slot, err);
    if (rc == NORI_OK) rc = nr_iter_seek_last(iter->child, err);
    return rc == NORI_OK ? go_back(iter, err) : rc;
}

static nori_status level_next(struct nr_iter *base, struct nori_error *err)
{
    struct level_iter *iter = (struct level_iter *)base;
    iter->child->entry = base->entry;
    base->entry = NULL;
    nori_status rc = nr_iter_next(iter->child, err);
    return rc == NORI_OK ? go_forward(iter, err) : rc;
}

static nori_status level_prev(struct nr_iter *base, struct nori_error *err)
{
    struct level_iter *iter = (struct level_iter *)base;
    iter->child->entry = base->entry;
    base->entry = NULL;
    nori_status rc = nr_iter_prev(iter->child, err);
    return rc == NORI_OK ? go_back(iter, err) : rc;
}

static void level_destroy(struct nr_iter *base)
{
    struct level_iter *iter = (struct level_iter *)base;
    nr_iter_destroy(iter->child);
    nr_free(iter);
}

static const struct nr_iter_ops level_ops = {
    .seek = level_seek,
    .seek_back = level_seek_back,
    .seek_first = level_seek_first,
    .seek_last = level_seek_last,
    .next = level_next,
    .prev = level_prev,
    .destroy = level_destroy,
};

nori_status nr_level_iter_create(struct nori_engine *engine, struct nr_level *level, nori_slice start,
                                 struct nr_bound end, struct nr_read *read, struct nr_iter **iter_out,
                                 struct nori_error *err)
{
    struct level_iter *iter = nr_calloc(1, sizeof *iter);
    *iter_out = NULL;
    if (!iter) return nr_fail_memory(err, sizeof *iter);
    iter->base.ops = &level_ops;
    iter->engine = engine;
    iter->level = level;
    iter->start = start;
    iter->end = end;
    iter->read = read;
    iter->first_slot = nr_level_seek(level, start);
    iter->last_slot = end.infinite ? level->slot_count - 1 : nr_level_seek(level, end.key);
    if (iter->last_slot < iter->first_slot) iter->last_slot = iter->first_slot;
    *iter_out = &iter->base;
    return NORI_OK;
}

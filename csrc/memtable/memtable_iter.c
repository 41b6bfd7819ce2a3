/* The memtable's iterator, over what was written before it. It holds a node; going back is a search, going on follows
 * the bottom level. A window is one entry: the next node, which is no neighbour in memory, is on its way while this one
 * is worked on. */
#include "base/alloc.h"
#include "memtable/memtable_state.h"

struct memtable_iter {
    struct nr_iter base;
    struct nr_memtable *memtable; /* One reference. */
    const struct nr_node *node;   /* NULL: nowhere. */
    struct nr_entry entry;
};

static struct memtable_iter *self_of(struct nr_iter *iter)
{
    return (struct memtable_iter *)iter;
}

static nori_status stand_on(struct memtable_iter *self, const struct nr_node *node)
{
    self->node = node;
    self->base.entry = NULL;
    if (!node) return NORI_OK;
    self->entry = (struct nr_entry){nr_node_key(node), node->tag, nr_node_value(node)};
    nr_iter_show_one(&self->base, &self->entry);
    return NORI_OK;
}

static nori_status iter_seek(struct nr_iter *iter, nori_slice key, uint64_t tag, struct nori_error *err NR_UNUSED)
{
    struct memtable_iter *self = self_of(iter);
    return stand_on(self, nr_skiplist_seek(nr_order_list(&self->memtable->order), key, tag));
}

static nori_status iter_seek_back(struct nr_iter *iter, nori_slice key, uint64_t tag, struct nori_error *err NR_UNUSED)
{
    struct memtable_iter *self = self_of(iter);
    return stand_on(self, nr_skiplist_seek_back(nr_order_list(&self->memtable->order), key, tag, true));
}

static nori_status iter_seek_first(struct nr_iter *iter, struct nori_error *err NR_UNUSED)
{
    struct memtable_iter *self = self_of(iter);
    return stand_on(self, nr_skiplist_first(nr_order_list(&self->memtable->order)));
}

static nori_status iter_seek_last(struct nr_iter *iter, struct nori_error *err NR_UNUSED)
{
    struct memtable_iter *self = self_of(iter);
    return stand_on(self, nr_skiplist_last(nr_order_list(&self->memtable->order)));
}

static nori_status iter_next(struct nr_iter *iter, struct nori_error *err NR_UNUSED)
{
    struct memtable_iter *self = self_of(iter);
    const struct nr_node *node = nr_node_next(self->node);
    if (node) __builtin_prefetch(nr_node_next(node));
    return stand_on(self, node);
}

static nori_status iter_prev(struct nr_iter *iter, struct nori_error *err NR_UNUSED)
{
    struct memtable_iter *self = self_of(iter);
    return stand_on(self, nr_skiplist_seek_back(nr_order_list(&self->memtable->order), nr_node_key(self->node),
                                                self->node->tag, false));
}

static void iter_destroy(struct nr_iter *iter)
{
    struct memtable_iter *self = self_of(iter);
    nr_memtable_unref(self->memtable);
    nr_free(self);
}

static const struct nr_iter_ops iter_ops = {
    .seek = iter_seek,
    .seek_back = iter_seek_back,
    .seek_first = iter_seek_first,
    .seek_last = iter_seek_last,
    .next = iter_next,
    .prev = iter_prev,
    .destroy = iter_destroy,
};

nori_status nr_memtable_iter_create(struct nr_memtable *memtable, struct nr_iter **iter_out, struct nori_error *err)
{
    struct memtable_iter *self = nr_alloc(sizeof *self);
    *iter_out = NULL;
    if (!self) return nr_fail_memory(err, sizeof *self);
    nr_memtable_ordered(memtable);
    self->base = (struct nr_iter){.ops = &iter_ops};
    self->memtable = nr_memtable_ref(memtable);
    *iter_out = &self->base;
    return NORI_OK;
}

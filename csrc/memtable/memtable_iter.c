/* The memtable's iterator, over what was written before it. Going on follows the bottom level, a few nodes ahead; going
 * back is a search. */
#include "base/alloc.h"
#include "memtable/memtable_state.h"

#define WINDOW_ENTRIES 16

struct memtable_iter {
    struct nr_iter base;
    struct nr_memtable *memtable;    /* One reference. */
    const struct nr_node *last_node; /* Of the window. */
    unsigned wanted;                 /* Entries of the next window: more, the further it goes on. */
    struct nr_entry window[WINDOW_ENTRIES];
};

static struct memtable_iter *self_of(struct nr_iter *iter)
{
    return (struct memtable_iter *)iter;
}

/* Shows the node and those behind it. */
static nori_status show_from(struct memtable_iter *self, const struct nr_node *node)
{
    unsigned count = 0;
    for (; node && count < self->wanted; node = nr_node_next(node)) {
        /* The neighbour in order is not one in memory. */
        __builtin_prefetch(nr_node_next(node));
        self->window[count++] = (struct nr_entry){nr_node_key(node), node->tag, nr_node_value(node)};
        self->last_node = node;
    }
    if (count == 0)
        self->base.entry = NULL;
    else
        nr_iter_show_window(&self->base, self->window, self->window, self->window + count - 1);
    return NORI_OK;
}

static nori_status show_one(struct memtable_iter *self, const struct nr_node *node)
{
    self->wanted = 1;
    return show_from(self, node);
}

static nori_status iter_seek(struct nr_iter *iter, nori_slice key, uint64_t tag, struct nori_error *err NR_UNUSED)
{
    struct memtable_iter *self = self_of(iter);
    return show_one(self, nr_skiplist_seek(nr_order_list(&self->memtable->order), key, tag));
}

static nori_status iter_seek_back(struct nr_iter *iter, nori_slice key, uint64_t tag, struct nori_error *err NR_UNUSED)
{
    struct memtable_iter *self = self_of(iter);
    return show_one(self, nr_skiplist_seek_back(nr_order_list(&self->memtable->order), key, tag, true));
}

static nori_status iter_seek_first(struct nr_iter *iter, struct nori_error *err NR_UNUSED)
{
    struct memtable_iter *self = self_of(iter);
    return show_one(self, nr_skiplist_first(nr_order_list(&self->memtable->order)));
}

static nori_status iter_seek_last(struct nr_iter *iter, struct nori_error *err NR_UNUSED)
{
    struct memtable_iter *self = self_of(iter);
    return show_one(self, nr_skiplist_last(nr_order_list(&self->memtable->order)));
}

static nori_status iter_next(struct nr_iter *iter, struct nori_error *err NR_UNUSED)
{
    struct memtable_iter *self = self_of(iter);
    self->wanted = NR_MIN(self->wanted * 2, WINDOW_ENTRIES);
    return show_from(self, nr_node_next(self->last_node));
}

static nori_status iter_prev(struct nr_iter *iter, struct nori_error *err NR_UNUSED)
{
    struct memtable_iter *self = self_of(iter);
    const struct nr_entry *entry = iter->entry;
    return show_one(self, nr_skiplist_seek_back(nr_order_list(&self->memtable->order), entry->key, entry->tag, false));
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

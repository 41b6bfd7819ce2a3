/* The iterator over entries: (key, tag, value), keys ascending, tags of one key descending.
 *
 * After a call that returns NORI_OK, 'entry' is where it stands, or NULL: nowhere. The entry and its bytes are borrowed
 * until the next call. After a failure it stands nowhere, and a seek may be tried again. 'next' and 'prev' need an
 * entry. Iterators are for one thread at a time.
 *
 * Entries come in windows: neighbours that are at hand at once, so that most steps are no call. An iterator over others
 * may show their windows, or parts of them; before it moves one on, it puts that on the entry it left. */
#ifndef NR_ITER_ITER_H
#define NR_ITER_ITER_H

#include "base/slice.h"
#include "format/format.h"

struct nr_entry {
    nori_slice key;
    uint64_t tag;
    nori_slice value; /* With NR_TYPE_PUT_EXPIRING the expiry stands in front. */
};

struct nr_iter;

struct nr_iter_ops {
    /* The first entry at or after (key, tag). */
    nori_status (*seek)(struct nr_iter *iter, nori_slice key, uint64_t tag, struct nori_error *err);
    /* The last entry at or before (key, tag). */
    nori_status (*seek_back)(struct nr_iter *iter, nori_slice key, uint64_t tag, struct nori_error *err);
    nori_status (*seek_first)(struct nr_iter *iter, struct nori_error *err);
    nori_status (*seek_last)(struct nr_iter *iter, struct nori_error *err);
    /* From the window's last entry on, from its first one back. */
    nori_status (*next)(struct nr_iter *iter, struct nori_error *err);
    nori_status (*prev)(struct nr_iter *iter, struct nori_error *err);
    void (*destroy)(struct nr_iter *iter);
};

struct nr_iter {
    const struct nr_iter_ops *ops;
    const struct nr_entry *entry;        /* Within the window; NULL: it stands nowhere. */
    const struct nr_entry *first, *last; /* The window: all the entries between its ends, in order. */
};

static inline nori_status nr_iter_seek(struct nr_iter *iter, nori_slice key, uint64_t tag, struct nori_error *err)
{
    return iter->ops->seek(iter, key, tag, err);
}
static inline nori_status nr_iter_seek_back(struct nr_iter *iter, nori_slice key, uint64_t tag, struct nori_error *err)
{
    return iter->ops->seek_back(iter, key, tag, err);
}
static inline nori_status nr_iter_seek_first(struct nr_iter *iter, struct nori_error *err)
{
    return iter->ops->seek_first(iter, err);
}
static inline nori_status nr_iter_seek_last(struct nr_iter *iter, struct nori_error *err)
{
    return iter->ops->seek_last(iter, err);
}
static inline nori_status nr_iter_next(struct nr_iter *iter, struct nori_error *err)
{
    if (NR_UNLIKELY(iter->entry == iter->last)) return iter->ops->next(iter, err);
    iter->entry++;
    return NORI_OK;
}
static inline nori_status nr_iter_prev(struct nr_iter *iter, struct nori_error *err)
{
    if (NR_UNLIKELY(iter->entry == iter->first)) return iter->ops->prev(iter, err);
    iter->entry--;
    return NORI_OK;
}
static inline void nr_iter_destroy(struct nr_iter *iter)
{
    if (iter) iter->ops->destroy(iter);
}

/* For those that implement one. */

static inline void nr_iter_show_window(struct nr_iter *iter, const struct nr_entry *first, const struct nr_entry *entry,
                                       const struct nr_entry *last)
{
    iter->first = first;
    iter->entry = entry;
    iter->last = last;
}
static inline void nr_iter_show_one(struct nr_iter *iter, const struct nr_entry *entry)
{
    nr_iter_show_window(iter, entry, entry, entry);
}
/* Shows what the other one does. */
static inline void nr_iter_show_same(struct nr_iter *iter, const struct nr_iter *other)
{
    nr_iter_show_window(iter, other->first, other->entry, other->last);
}

#endif

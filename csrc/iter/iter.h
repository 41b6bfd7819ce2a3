/* The iterator over entries: (key, tag, value), keys ascending, tags of one key descending.
 *
 * After a call that returns NORI_OK, 'valid' says whether it stands on an entry; then key, tag and value are that
 * entry's, borrowed until the next call. After a failure it stands nowhere, and a seek may be tried again. 'next' and
 * 'prev' need valid. Iterators are for one thread at a time. */
#ifndef NR_ITER_ITER_H
#define NR_ITER_ITER_H

#include "base/slice.h"
#include "format/format.h"

struct nr_iter;

struct nr_iter_ops {
    /* The first entry at or after (key, tag). */
    nori_status (*seek)(struct nr_iter *iter, nori_slice key, uint64_t tag, struct nori_error *err);
    /* The last entry at or before (key, tag). */
    nori_status (*seek_back)(struct nr_iter *iter, nori_slice key, uint64_t tag, struct nori_error *err);
    nori_status (*seek_first)(struct nr_iter *iter, struct nori_error *err);
    nori_status (*seek_last)(struct nr_iter *iter, struct nori_error *err);
    nori_status (*next)(struct nr_iter *iter, struct nori_error *err);
    nori_status (*prev)(struct nr_iter *iter, struct nori_error *err);
    void (*destroy)(struct nr_iter *iter);
};

struct nr_iter {
    const struct nr_iter_ops *ops;
    bool valid;
    nori_slice key;
    uint64_t tag;
    nori_slice value; /* With NR_TYPE_PUT_EXPIRING the expiry stands in front. */
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
    return iter->ops->next(iter, err);
}
static inline nori_status nr_iter_prev(struct nr_iter *iter, struct nori_error *err)
{
    return iter->ops->prev(iter, err);
}
static inline void nr_iter_destroy(struct nr_iter *iter)
{
    if (iter) iter->ops->destroy(iter);
}

#endif

/* A tree of losers. Leaf i is child i; the inner node n plays the winners of nodes 2n and 2n + 1 and keeps the loser,
 * so after the winner moved only the nodes on its way to the root are played again.
 *
 * The runner-up is the best loser on that way. Once a child has won twice in a row the runner-up is kept, and as long
 * as the child stays ahead of it a step costs one comparison, whatever the number of children.
 *
 * Ranks: the key's prefix going forward, its complement going back, all ones for a child that ran out: the smaller rank
 * wins, equal ranks are looked at in full. */
#include "iter/merge.h"

#include "base/alloc.h"

struct node {
    uint64_t rank;
    uint32_t child;
};

enum { NO_CHILD = UINT32_MAX };

struct merge_iter {
    struct nr_iter base;
    bool is_backward;
    struct node winner;
    struct node runner_up;     /* child is NO_CHILD: not known. */
    bool has_won_twice;        /* The winner also won the step before. */
    uint32_t count;            /* >= 2 */
    struct nr_iter **children; /* Owned; 'count'. */
    struct node *losers;       /* 'count'; the first is not used. */
    struct node *winners;      /* Scratch of 'rebuild'; 2 * count. */
};

static struct node node_of(const struct merge_iter *merge, uint32_t child)
{
    const struct nr_iter *iter = merge->children[child];
    if (!iter->valid) return (struct node){UINT64_MAX, child};
    uint64_t prefix = nr_slice_prefix(iter->key);
    return (struct node){merge->is_backward ? ~prefix : prefix, child};
}

static __attribute__((noinline)) bool wins_tie(const struct merge_iter *merge, uint32_t a, uint32_t b)
{
    const struct nr_iter *first = merge->children[a], *second = merge->children[b];
    if (!first->valid || !second->valid) return first->valid;
    int order = nr_entry_compare(first->key, first->tag, second->key, second->tag);
    return merge->is_backward ? order > 0 : order < 0;
}

static inline bool wins(const struct merge_iter *merge, struct node a, struct node b)
{
    if (NR_LIKELY(a.rank != b.rank)) return a.rank < b.rank;
    return wins_tie(merge, a.child, b.child);
}

static inline void show_winner(struct merge_iter *merge)
{
    const struct nr_iter *iter = merge->children[merge->winner.child];
    merge->base.valid = iter->valid;
    merge->base.key = iter->key;
    merge->base.tag = iter->tag;
    merge->base.value = iter->value;
}

/* Plays all the games anew. */
static void rebuild(struct merge_iter *merge)
{
    uint32_t count = merge->count;
    struct node *winners = merge->winners;
    for (uint32_t i = 0; i < count; i++) winners[count + i] = node_of(merge, i);
    for (uint32_t n = count - 1; n >= 1; n--) {
        struct node left = winners[2 * n], right = winners[2 * n + 1];
        bool is_right = wins(merge, right, left);
        winners[n] = is_right ? right : left;
        merge->losers[n] = is_right ? left : right;
    }
    merge->winner = winners[1];
    merge->runner_up.child = NO_CHILD;
    merge->has_won_twice = false;
    show_winner(merge);
}

static void find_runner_up(struct merge_iter *merge)
{
    uint32_t n = (merge->winner.child + merge->count) / 2;
    struct node best = merge->losers[n];
    for (n /= 2; n >= 1; n /= 2) {
        if (wins(merge, merge->losers[n], best)) best = merge->losers[n];
    }
    merge->runner_up = best;
}

/* The winner has moved. */
static inline void replay(struct merge_iter *merge)
{
    struct node winner = node_of(merge, merge->winner.child);
    if (merge->has_won_twice) {
        if (merge->runner_up.child == NO_CHILD) find_runner_up(merge);
        if (wins(merge, winner, merge->runner_up)) {
            merge->winner = winner;
            show_winner(merge);
            return;
        }
        merge->runner_up.child = NO_CHILD;
    }
    for (uint32_t n = (winner.child + merge->count) / 2; n >= 1; n /= 2) {
        struct node loser = merge->losers[n];
        if (wins(merge, loser, winner)) {
            merge->losers[n] = winner;
            winner = loser;
        }
    }
    merge->has_won_twice = winner.child == merge->winner.child;
    merge->winner = winner;
    show_winner(merge);
}

static nori_status merge_seek(struct nr_iter *base, nori_slice key, uint64_t tag, struct nori_error *err)
{
    struct merge_iter *merge = (struct merge_iter *)base;
    nori_status rc = NORI_OK;
    base->valid = false;
    merge->is_backward = false;
    for (uint32_t i = 0; i < merge->count; i++) NR_CHECK(nr_iter_seek(merge->children[i], key, tag, err));
    rebuild(merge);
out:
    return rc;
}

static nori_status merge_seek_back(struct nr_iter *base, nori_slice key, uint64_t tag, struct nori_error *err)
{
    struct merge_iter *merge = (struct merge_iter *)base;
    nori_status rc = NORI_OK;
    base->valid = false;
    merge->is_backward = true;
    for (uint32_t i = 0; i < merge->count; i++) NR_CHECK(nr_iter_seek_back(merge->children[i], key, tag, err));
    rebuild(merge);
out:
    return rc;
}

static nori_status merge_seek_first(struct nr_iter *base, struct nori_error *err)
{
    struct merge_iter *merge = (struct merge_iter *)base;
    nori_status rc = NORI_OK;
    base->valid = false;
    merge->is_backward = false;
    for (uint32_t i = 0; i < merge->count; i++) NR_CHECK(nr_iter_seek_first(merge->children[i], err));
    rebuild(merge);
out:
    return rc;
}

static nori_status merge_seek_last(struct nr_iter *base, struct nori_error *err)
{
    struct merge_iter *merge = (struct merge_iter *)base;
    nori_status rc = NORI_OK;
    base->valid = false;
    merge->is_backward = true;
    for (uint32_t i = 0; i < merge->count; i++) NR_CHECK(nr_iter_seek_last(merge->children[i], err));
    rebuild(merge);
out:
    return rc;
}

/* Turns around: the winner takes one step the other way, the others go to that side of the entry it leaves. They go
 * first, since the key they look for is the winner's. */
static nori_status turn(struct merge_iter *merge, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_iter *current = merge->children[merge->winner.child];
    bool is_backward = !merge->is_backward;
    merge->base.valid = false;
    for (uint32_t i = 0; i < merge->count; i++) {
        struct nr_iter *child = merge->children[i];
        if (child == current) continue;
        if (is_backward)
            NR_CHECK(nr_iter_seek_back(child, current->key, current->tag, err));
        else
            NR_CHECK(nr_iter_seek(child, current->key, current->tag, err));
    }
    NR_CHECK(is_backward ? nr_iter_prev(current, err) : nr_iter_next(current, err));
    merge->is_backward = is_backward;
    rebuild(merge);
out:
    return rc;
}

static nori_status merge_next(struct nr_iter *base, struct nori_error *err)
{
    struct merge_iter *merge = (struct merge_iter *)base;
    NR_ASSERT(base->valid);
    if (NR_UNLIKELY(merge->is_backward)) return turn(merge, err);
    nori_status rc = nr_iter_next(merge->children[merge->winner.child], err);
    if (NR_UNLIKELY(rc != NORI_OK))
        base->valid = false;
    else
        replay(merge);
    return rc;
}

static nori_status merge_prev(struct nr_iter *base, struct nori_error *err)
{
    struct merge_iter *merge = (struct merge_iter *)base;
    NR_ASSERT(base->valid);
    if (NR_UNLIKELY(!merge->is_backward)) return turn(merge, err);
    nori_status rc = nr_iter_prev(merge->children[merge->winner.child], err);
    if (NR_UNLIKELY(rc != NORI_OK))
        base->valid = false;
    else
        replay(merge);
    return rc;
}

static void merge_destroy(struct nr_iter *base)
{
    struct merge_iter *merge = (struct merge_iter *)base;
    for (uint32_t i = 0; i < merge->count; i++) nr_iter_destroy(merge->children[i]);
    nr_free(merge);
}

static const struct nr_iter_ops merge_ops = {
    .seek = merge_seek,
    .seek_back = merge_seek_back,
    .seek_first = merge_seek_first,
    .seek_last = merge_seek_last,
    .next = merge_next,
    .prev = merge_prev,
    .destroy = merge_destroy,
};

nori_status nr_merge_iter_create(struct nr_iter **children, size_t count, struct nr_iter **iter_out,
                                 struct nori_error *err)
{
    *iter_out = NULL;
    if (count == 0) return nr_empty_iter_create(iter_out, err);
    if (count == 1) {
        *iter_out = children[0];
        return NORI_OK;
    }
    NR_ASSERT(count < NO_CHILD / 2);
    size_t bytes = sizeof(struct merge_iter) + count * (3 * sizeof(struct node) + sizeof(struct nr_iter *));
    struct merge_iter *merge = nr_alloc(bytes);
    if (!merge) {
        for (size_t i = 0; i < count; i++) nr_iter_destroy(children[i]);
        return nr_fail_memory(err, bytes);
    }
    memset(merge, 0, sizeof(*merge));
    merge->base.ops = &merge_ops;
    merge->count = (uint32_t)count;
    merge->runner_up.child = NO_CHILD;
    merge->losers = (struct node *)(merge + 1);
    merge->winners = merge->losers + count;
    merge->children = (struct nr_iter **)(merge->winners + 2 * count);
    memcpy(merge->children, children, count * sizeof(*children));
    *iter_out = &merge->base;
    return NORI_OK;
}

static nori_status empty_seek(struct nr_iter *iter, nori_slice key NR_UNUSED, uint64_t tag NR_UNUSED,
                              struct nori_error *err NR_UNUSED)
{
    iter->valid = false;
    return NORI_OK;
}

static nori_status empty_move(struct nr_iter *iter, struct nori_error *err NR_UNUSED)
{
    iter->valid = false;
    return NORI_OK;
}

static void empty_destroy(struct nr_iter *iter)
{
    nr_free(iter);
}

static const struct nr_iter_ops empty_ops = {
    .seek = empty_seek,
    .seek_back = empty_seek,
    .seek_first = empty_move,
    .seek_last = empty_move,
    .next = empty_move,
    .prev = empty_move,
    .destroy = empty_destroy,
};

nori_status nr_empty_iter_create(struct nr_iter **iter_out, struct nori_error *err)
{
    struct nr_iter *iter = nr_calloc(1, sizeof(*iter));
    *iter_out = iter;
    if (!iter) return nr_fail_memory(err, sizeof(*iter));
    iter->ops = &empty_ops;
    return NORI_OK;
}

/* A tree of losers. Leaf i is child i; the inner node n plays the winners of nodes 2n and 2n + 1 and keeps the loser,
 * so after the winner moved only the nodes on its way to the root are played again.
 *
 * The runner-up is the best loser on that way. Once a child has won twice in a row the runner-up is kept, and as long
 * as the child stays ahead of it a step costs one comparison, whatever the number of children.
 *
 * Ranks: eight bytes of the key behind those that all keys at hand have in common, their complement going back, all
 * ones for a child that ran out: the smaller rank wins, equal ranks are looked at in full. The common bytes are made
 * sure of where a child's window changes: if its two ends begin with them, so does all between.
 *
 * What is shown is a window, too: entries of children in their merged order, up to where one of them has to be moved by
 * a call, or a child's own where all of it comes before anything else. */
#include "iter/merge.h"

#include "base/alloc.h"
#include "base/buffer.h"
#include "base/coding.h"

struct node {
    uint64_t rank;
    uint32_t child;
};

enum { NO_CHILD = UINT32_MAX, WINDOW_ENTRIES = 16, MOST_COMMON_BYTES = 64 };

struct merge_iter {
    struct nr_iter base;
    bool is_backward;
    bool is_shown;      /* The winner's entry: it has to move before anything else. */
    bool has_won_twice; /* The winner also won the step before. */
    struct node winner;
    struct node runner_up;     /* child is NO_CHILD: not known. */
    uint32_t count;            /* >= 2 */
    struct nr_iter **children; /* Owned; 'count'. */
    struct node *losers;       /* 'count'; the first is not used. */
    struct node *winners;      /* Scratch of 'rebuild'; 2 * count. */
    size_t common_bytes;
    uint8_t common[MOST_COMMON_BYTES];
    struct nr_buffer turning_key;
    struct nr_entry window[WINDOW_ENTRIES];
};

/* ---------------------------------------------------------------- ranks */

/* The end of a child's window in the merge's direction. */
static inline const struct nr_entry *far_end(const struct merge_iter *merge, const struct nr_iter *iter)
{
    return merge->is_backward ? iter->first : iter->last;
}

static inline uint64_t rank_of(const struct merge_iter *merge, nori_slice key)
{
    uint64_t prefix = nr_slice_prefix(nr_slice_behind(key, merge->common_bytes));
    return merge->is_backward ? ~prefix : prefix;
}

static inline struct node node_of(const struct merge_iter *merge, uint32_t child)
{
    const struct nr_iter *iter = merge->children[child];
    return (struct node){iter->entry ? rank_of(merge, iter->entry->key) : UINT64_MAX, child};
}

static bool begins_with_common(const struct merge_iter *merge, nori_slice key)
{
    return key.size >= merge->common_bytes && memcmp(key.data, merge->common, merge->common_bytes) == 0;
}

/* Of all that the children have at hand. Eight bytes are left to keys that have them: short ranks cost more. */
static void find_common(struct merge_iter *merge)
{
    nori_slice base = {0};
    size_t common = MOST_COMMON_BYTES;
    for (uint32_t i = 0; i < merge->count; i++) {
        const struct nr_iter *iter = merge->children[i];
        if (!iter->entry) continue;
        nori_slice near = iter->entry->key, far = far_end(merge, iter)->key;
        size_t shorter = NR_MIN(near.size, far.size);
        if (!base.data) base = near;
        common = NR_MIN(common, shorter > 8 ? shorter - 8 : 0);
        common = nr_common_prefix(base.data, near.data, common);
        common = nr_common_prefix(base.data, far.data, common);
    }
    merge->common_bytes = base.data ? common : 0;
    if (merge->common_bytes > 0) memcpy(merge->common, base.data, common);
}

static __attribute__((noinline)) bool wins_tie(const struct merge_iter *merge, uint32_t a, uint32_t b)
{
    const struct nr_entry *first = merge->children[a]->entry, *second = merge->children[b]->entry;
    if (!first || !second) return first != NULL;
    int order = nr_entry_compare(first->key, first->tag, second->key, second->tag);
    return merge->is_backward ? order > 0 : order < 0;
}

static inline bool wins(const struct merge_iter *merge, struct node a, struct node b)
{
    if (NR_LIKELY(a.rank != b.rank)) return a.rank < b.rank;
    return wins_tie(merge, a.child, b.child);
}

/* ---------------------------------------------------------------- the tree */

/* Plays all the games anew. */
static void rebuild(struct merge_iter *merge)
{
    uint32_t count = merge->count;
    struct node *winners = merge->winners;
    find_common(merge);
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
}

/* Moves the winner out of its window. */
static nori_status move_on(struct merge_iter *merge, struct nori_error *err)
{
    struct nr_iter *iter = merge->children[merge->winner.child];
    nori_status rc = merge->is_backward ? nr_iter_prev(iter, err) : nr_iter_next(iter, err);
    if (NR_UNLIKELY(rc != NORI_OK)) return rc;
    if (iter->entry &&
        !(begins_with_common(merge, iter->entry->key) && begins_with_common(merge, far_end(merge, iter)->key)))
        rebuild(merge);
    else
        replay(merge);
    return NORI_OK;
}

/* ---------------------------------------------------------------- what is shown */

/* All that the winner has at hand comes before the others' entries. */
static bool shows_all_of(struct merge_iter *merge, struct nr_iter *iter)
{
    if (!merge->has_won_twice || merge->runner_up.child == NO_CHILD) return false;
    const struct nr_entry *end = far_end(merge, iter);
    return rank_of(merge, end->key) < merge->runner_up.rank;
}

static void show_forward(struct merge_iter *merge)
{
    struct nr_iter *iter = merge->children[merge->winner.child];
    size_t count = 0;
    if (shows_all_of(merge, iter)) {
        nr_iter_show_window(&merge->base, iter->entry, iter->entry, iter->last);
        iter->entry = iter->last;
        merge->is_shown = true;
        return;
    }
    for (;;) {
        merge->window[count++] = *iter->entry;
        if ((merge->is_shown = iter->entry == iter->last)) break;
        iter->entry++;
        replay(merge);
        iter = merge->children[merge->winner.child];
        if (count == WINDOW_ENTRIES) break;
    }
    nr_iter_show_window(&merge->base, merge->window, merge->window, merge->window + count - 1);
}

static void show_backward(struct merge_iter *merge)
{
    struct nr_iter *iter = merge->children[merge->winner.child];
    struct nr_entry *last = merge->window + WINDOW_ENTRIES - 1, *first = last;
    if (shows_all_of(merge, iter)) {
        nr_iter_show_window(&merge->base, iter->first, iter->entry, iter->entry);
        iter->entry = iter->first;
        merge->is_shown = true;
        return;
    }
    for (;; first--) {
        *first = *iter->entry;
        if ((merge->is_shown = iter->entry == iter->first)) break;
        iter->entry--;
        replay(merge);
        iter = merge->children[merge->winner.child];
        if (first == merge->window) break;
    }
    nr_iter_show_window(&merge->base, first, last, last);
}

static void show(struct merge_iter *merge)
{
    if (!merge->children[merge->winner.child]->entry)
        merge->base.entry = NULL;
    else if (merge->is_backward)
        show_backward(merge);
    else
        show_forward(merge);
}

/* ---------------------------------------------------------------- the iterator */

/* Goes forward to (key, tag) within the window, where that reaches so far. */
static bool is_in_window(struct merge_iter *merge, nori_slice key, uint64_t tag)
{
    const struct nr_entry *entry = merge->base.entry, *last = merge->base.last;
    if (nr_entry_compare(last->key, last->tag, key, tag) < 0) return false;
    while (nr_entry_compare(entry->key, entry->tag, key, tag) < 0) entry++;
    merge->base.entry = entry;
    return true;
}

static nori_status merge_seek(struct nr_iter *base, nori_slice key, uint64_t tag, struct nori_error *err)
{
    struct merge_iter *merge = (struct merge_iter *)base;
    nori_status rc = NORI_OK;
    /* On the way forward, children that are there already stay. */
    bool goes_on =
        base->entry && !merge->is_backward && nr_entry_compare(base->entry->key, base->entry->tag, key, tag) <= 0;
    if (goes_on && is_in_window(merge, key, tag)) return NORI_OK;
    base->entry = NULL;
    merge->is_backward = false;
    for (uint32_t i = 0; i < merge->count; i++) {
        const struct nr_entry *at = merge->children[i]->entry;
        if (goes_on && (!at || nr_entry_compare(at->key, at->tag, key, tag) >= 0)) continue;
        NR_CHECK(nr_iter_seek(merge->children[i], key, tag, err));
    }
    rebuild(merge);
    show(merge);
out:
    return rc;
}

static nori_status merge_seek_back(struct nr_iter *base, nori_slice key, uint64_t tag, struct nori_error *err)
{
    struct merge_iter *merge = (struct merge_iter *)base;
    nori_status rc = NORI_OK;
    base->entry = NULL;
    merge->is_backward = true;
    for (uint32_t i = 0; i < merge->count; i++) NR_CHECK(nr_iter_seek_back(merge->children[i], key, tag, err));
    rebuild(merge);
    show(merge);
out:
    return rc;
}

static nori_status merge_seek_first(struct nr_iter *base, struct nori_error *err)
{
    struct merge_iter *merge = (struct merge_iter *)base;
    nori_status rc = NORI_OK;
    base->entry = NULL;
    merge->is_backward = false;
    for (uint32_t i = 0; i < merge->count; i++) NR_CHECK(nr_iter_seek_first(merge->children[i], err));
    rebuild(merge);
    show(merge);
out:
    return rc;
}

static nori_status merge_seek_last(struct nr_iter *base, struct nori_error *err)
{
    struct merge_iter *merge = (struct merge_iter *)base;
    nori_status rc = NORI_OK;
    base->entry = NULL;
    merge->is_backward = true;
    for (uint32_t i = 0; i < merge->count; i++) NR_CHECK(nr_iter_seek_last(merge->children[i], err));
    rebuild(merge);
    show(merge);
out:
    return rc;
}

/* Turns around: all children go to that side of the entry it leaves. */
static nori_status turn(struct merge_iter *merge, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    const struct nr_entry *left = merge->base.entry;
    uint64_t tag = left->tag;
    bool is_backward = !merge->is_backward;
    merge->base.entry = NULL;
    NR_CHECK(nr_buffer_assign(&merge->turning_key, left->key, err)); /* It may lie where a child's next window will. */
    nori_slice key = nr_buffer_slice(&merge->turning_key);
    for (uint32_t i = 0; i < merge->count; i++) {
        struct nr_iter *child = merge->children[i];
        NR_CHECK(is_backward ? nr_iter_seek_back(child, key, tag, err) : nr_iter_seek(child, key, tag, err));
        if (!child->entry || child->entry->tag != tag || !nr_slice_equal(child->entry->key, key)) continue;
        NR_CHECK(is_backward ? nr_iter_prev(child, err) : nr_iter_next(child, err));
    }
    merge->is_backward = is_backward;
    rebuild(merge);
    show(merge);
out:
    return rc;
}

/* The next window in the merge's direction. */
static nori_status go_on(struct merge_iter *merge, struct nori_error *err)
{
    if (merge->is_shown) {
        nori_status rc = move_on(merge, err);
        if (NR_UNLIKELY(rc != NORI_OK)) {
            merge->base.entry = NULL;
            return rc;
        }
    }
    show(merge);
    return NORI_OK;
}

static nori_status merge_next(struct nr_iter *base, struct nori_error *err)
{
    struct merge_iter *merge = (struct merge_iter *)base;
    NR_ASSERT(base->entry);
    return NR_UNLIKELY(merge->is_backward) ? turn(merge, err) : go_on(merge, err);
}

static nori_status merge_prev(struct nr_iter *base, struct nori_error *err)
{
    struct merge_iter *merge = (struct merge_iter *)base;
    NR_ASSERT(base->entry);
    return NR_UNLIKELY(!merge->is_backward) ? turn(merge, err) : go_on(merge, err);
}

static void merge_destroy(struct nr_iter *base)
{
    struct merge_iter *merge = (struct merge_iter *)base;
    for (uint32_t i = 0; i < merge->count; i++) nr_iter_destroy(merge->children[i]);
    nr_buffer_clear(&merge->turning_key);
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
    memset(merge, 0, offsetof(struct merge_iter, common));
    nr_buffer_init(&merge->turning_key);
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
    iter->entry = NULL;
    return NORI_OK;
}

static nori_status empty_move(struct nr_iter *iter, struct nori_error *err NR_UNUSED)
{
    iter->entry = NULL;
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

/* Random steps and seeks of an iterator, beside an array of what it is to show. */
#ifndef NR_TESTS_ITER_WALK_H
#define NR_TESTS_ITER_WALK_H

#include "vector_iter.h"

struct shown {
    const struct nr_entry *entries; /* In order. */
    size_t count;
    bool is_by_key; /* Seeks go by keys, whatever tag they give; else by both. */
};

/* 'at' outside the entries: nowhere. */
static inline void expect_at(const struct shown *shown, const struct nr_iter *iter, size_t at)
{
    EXPECT_EQ(iter->entry != NULL, at < shown->count);
    if (!iter->entry) return;
    EXPECT(nr_slice_equal(iter->entry->key, shown->entries[at].key));
    EXPECT(nr_slice_equal(iter->entry->value, shown->entries[at].value));
    EXPECT_EQ(iter->entry->tag, shown->entries[at].tag);
}

static inline int compare_to(const struct shown *shown, size_t at, nori_slice key, uint64_t tag)
{
    return nr_entry_compare(shown->entries[at].key, shown->entries[at].tag, key, tag);
}

static inline nori_status seek_somewhere(const struct shown *shown, struct nr_iter *iter, struct nr_random *random,
                                         size_t *at_out, struct nori_error *err)
{
    nori_slice key = universe_key(nr_random_below(random, UNIVERSE_KEY_COUNT));
    uint64_t tag = nr_random_below(random, 8) ? nr_tag_seek(nr_random_below(random, shown->count + 2))
                                              : nr_random_below(random, 2) * UINT64_MAX;
    size_t at = 0;
    switch (nr_random_below(random, 6)) {
    case 0:
        *at_out = 0;
        return nr_iter_seek_first(iter, err);
    case 1:
        *at_out = shown->count - 1;
        return nr_iter_seek_last(iter, err);
    case 2:
    case 3:
        while (at < shown->count && compare_to(shown, at, key, shown->is_by_key ? UINT64_MAX : tag) < 0) at++;
        *at_out = at;
        return nr_iter_seek(iter, key, tag, err);
    default:
        at = shown->count;
        while (at > 0 && compare_to(shown, at - 1, key, shown->is_by_key ? 0 : tag) > 0) at--;
        *at_out = at - 1;
        return nr_iter_seek_back(iter, key, tag, err);
    }
}

static inline void walk(struct shown shown, struct nr_iter *iter, struct nr_random *random, int steps)
{
    struct nori_error err;
    size_t at = SIZE_MAX;
    uint64_t turn = 1 + nr_random_below(random, 20);
    bool is_backward = false;
    for (int i = 0; i < steps; i++) {
        if (i == 0 || !iter->entry || nr_random_below(random, 25) == 0) {
            EXPECT_OK(seek_somewhere(&shown, iter, random, &at, &err), &err);
        } else {
            if (nr_random_below(random, turn) == 0) is_backward = !is_backward;
            at += is_backward ? SIZE_MAX : 1;
            EXPECT_OK(is_backward ? nr_iter_prev(iter, &err) : nr_iter_next(iter, &err), &err);
        }
        expect_at(&shown, iter, at);
    }
}

#endif

/* An iterator over an array of entries, for tests. What it shows is a window of fresh copies, of whatever extent, that
 * goes when the next one comes, so that a sanitizer sees any use of bytes that were borrowed too long. It can be made
 * to fail. */
#ifndef NR_TESTS_ITER_VECTOR_ITER_H
#define NR_TESTS_ITER_VECTOR_ITER_H

#include "universe.h"

#include "iter/iter.h"

struct vector_iter {
    struct nr_iter base;
    const struct nr_entry *entries; /* Borrowed; sorted. */
    size_t count, begin;            /* Of the window. */
    struct nr_entry *window;        /* Owned; what its entries point to follows them. */
    struct nr_random random;
};

/* Windows of one of all vector iterators that come before one fails, once; 0: none will. */
static uint64_t vector_fail_countdown;
static int64_t vector_live_count;

static void vector_copy(struct vector_iter *vector, size_t end)
{
    size_t count = end - vector->begin, bytes = count * sizeof(struct nr_entry) + 1;
    for (size_t i = vector->begin; i < end; i++) bytes += vector->entries[i].key.size + vector->entries[i].value.size;
    vector->window = malloc(bytes);
    uint8_t *to = (uint8_t *)(vector->window + count);
    for (size_t i = 0; i < count; i++) {
        const struct nr_entry *from = &vector->entries[vector->begin + i];
        vector->window[i] =
            (struct nr_entry){nr_slice(to, from->key.size), from->tag, nr_slice(to + from->key.size, from->value.size)};
        if (from->key.size) memcpy(to, from->key.data, from->key.size);
        to += from->key.size;
        if (from->value.size) memcpy(to, from->value.data, from->value.size);
        to += from->value.size;
    }
}

static nori_status vector_show(struct vector_iter *vector, size_t at, struct nori_error *err)
{
    free(vector->window);
    vector->window = NULL;
    vector->base.first = vector->base.last = vector->base.entry = NULL;
    if (vector_fail_countdown && --vector_fail_countdown == 0) return nr_fail_io(err, "read", "vector", 5);
    if (at >= vector->count) return NORI_OK;
    size_t before = nr_random_below(&vector->random, 4), end = at + 1 + nr_random_below(&vector->random, 8);
    vector->begin = at - NR_MIN(at, before);
    end = NR_MIN(end, vector->count);
    vector_copy(vector, end);
    nr_iter_show_window(&vector->base, vector->window, vector->window + (at - vector->begin),
                        vector->window + (end - vector->begin - 1));
    return NORI_OK;
}

static size_t vector_at(const struct vector_iter *vector)
{
    if (!vector->base.entry) FAIL("a step of an iterator that stands nowhere");
    if (vector->base.entry < vector->base.first || vector->base.entry > vector->base.last)
        FAIL("an iterator that was put outside of its window");
    return vector->begin + (size_t)(vector->base.entry - vector->window);
}

static nori_status vector_seek(struct nr_iter *iter, nori_slice key, uint64_t tag, struct nori_error *err)
{
    struct vector_iter *vector = (struct vector_iter *)iter;
    size_t at = 0;
    while (at < vector->count && nr_entry_compare(vector->entries[at].key, vector->entries[at].tag, key, tag) < 0) at++;
    return vector_show(vector, at, err);
}

static nori_status vector_seek_back(struct nr_iter *iter, nori_slice key, uint64_t tag, struct nori_error *err)
{
    struct vector_iter *vector = (struct vector_iter *)iter;
    size_t at = vector->count;
    while (at > 0 && nr_entry_compare(vector->entries[at - 1].key, vector->entries[at - 1].tag, key, tag) > 0) at--;
    return vector_show(vector, at - 1, err);
}

static nori_status vector_seek_first(struct nr_iter *iter, struct nori_error *err)
{
    return vector_show((struct vector_iter *)iter, 0, err);
}

static nori_status vector_seek_last(struct nr_iter *iter, struct nori_error *err)
{
    struct vector_iter *vector = (struct vector_iter *)iter;
    return vector_show(vector, vector->count - 1, err);
}

static nori_status vector_next(struct nr_iter *iter, struct nori_error *err)
{
    struct vector_iter *vector = (struct vector_iter *)iter;
    if (iter->entry != iter->last) FAIL("a call for a step within the window");
    return vector_show(vector, vector_at(vector) + 1, err);
}

static nori_status vector_prev(struct nr_iter *iter, struct nori_error *err)
{
    struct vector_iter *vector = (struct vector_iter *)iter;
    if (iter->entry != iter->first) FAIL("a call for a step within the window");
    return vector_show(vector, vector_at(vector) - 1, err);
}

static void vector_destroy(struct nr_iter *iter)
{
    free(((struct vector_iter *)iter)->window);
    free(iter);
    vector_live_count--;
}

static const struct nr_iter_ops vector_ops = {
    .seek = vector_seek,
    .seek_back = vector_seek_back,
    .seek_first = vector_seek_first,
    .seek_last = vector_seek_last,
    .next = vector_next,
    .prev = vector_prev,
    .destroy = vector_destroy,
};

static struct nr_iter *vector_create(const struct nr_entry *entries, size_t count)
{
    struct vector_iter *vector = calloc(1, sizeof(*vector));
    vector->base.ops = &vector_ops;
    vector->entries = entries;
    vector->count = count;
    nr_random_init(&vector->random, count);
    vector_live_count++;
    return &vector->base;
}

static int compare_entries(const void *a, const void *b)
{
    const struct nr_entry *first = a, *second = b;
    return nr_entry_compare(first->key, first->tag, second->key, second->tag);
}

#endif

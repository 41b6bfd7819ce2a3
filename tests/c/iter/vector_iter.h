/* An iterator over an array of entries, for tests. What it shows is a fresh copy that goes at the next call, so that a
 * sanitizer sees any use of bytes that were borrowed too long. It can be made to fail. */
#ifndef NR_TESTS_ITER_VECTOR_ITER_H
#define NR_TESTS_ITER_VECTOR_ITER_H

#include "universe.h"

#include "iter/iter.h"

struct entry {
    nori_slice key;
    uint64_t tag;
    nori_slice value;
};

struct vector_iter {
    struct nr_iter base;
    const struct entry *entries; /* Borrowed; sorted. */
    size_t count, at;
    uint8_t *shown; /* Owned: key and value. */
};

/* Steps until one of all vector iterators fails, once; 0: none will. */
static uint64_t vector_fail_countdown;
static int64_t vector_live_count;

static nori_status vector_show(struct vector_iter *vector, size_t at, struct nori_error *err)
{
    free(vector->shown);
    vector->shown = NULL;
    vector->base.valid = false;
    vector->base.key = vector->base.value = nr_slice(NULL, 0);
    if (vector_fail_countdown && --vector_fail_countdown == 0) return nr_fail_io(err, "read", "vector", 5);
    vector->at = at;
    if (at >= vector->count) return NORI_OK;
    const struct entry *entry = &vector->entries[at];
    vector->shown = malloc(entry->key.size + entry->value.size + 1);
    if (entry->key.size) memcpy(vector->shown, entry->key.data, entry->key.size);
    if (entry->value.size) memcpy(vector->shown + entry->key.size, entry->value.data, entry->value.size);
    vector->base.valid = true;
    vector->base.key = nr_slice(vector->shown, entry->key.size);
    vector->base.tag = entry->tag;
    vector->base.value = nr_slice(vector->shown + entry->key.size, entry->value.size);
    return NORI_OK;
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
    if (!iter->valid) FAIL("next of an iterator that stands nowhere");
    return vector_show(vector, vector->at + 1, err);
}

static nori_status vector_prev(struct nr_iter *iter, struct nori_error *err)
{
    struct vector_iter *vector = (struct vector_iter *)iter;
    if (!iter->valid) FAIL("prev of an iterator that stands nowhere");
    return vector_show(vector, vector->at - 1, err);
}

static void vector_destroy(struct nr_iter *iter)
{
    free(((struct vector_iter *)iter)->shown);
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

static struct nr_iter *vector_create(const struct entry *entries, size_t count)
{
    struct vector_iter *vector = calloc(1, sizeof(*vector));
    vector->base.ops = &vector_ops;
    vector->entries = entries;
    vector->count = count;
    vector_live_count++;
    return &vector->base;
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *first = a, *second = b;
    return nr_entry_compare(first->key, first->tag, second->key, second->tag);
}

#endif

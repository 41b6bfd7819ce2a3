/* Runs of random writes, and whether readers see the same over two lists of runs. */
#ifndef NR_TESTS_MERGE_SCRIPT_H
#define NR_TESTS_MERGE_SCRIPT_H

#include "merge_fixture.h"

#define KEYS 400

static inline nori_slice make_key(char out[16], unsigned number)
{
    return nr_slice(out, (size_t)snprintf(out, 16, "key%05u", number));
}

/* Writes of all kinds, values telling their sequence. */
static inline void fill(struct nr_memtable *memtable, struct nr_random *random, uint64_t *sequence, size_t operations)
{
    for (size_t i = 0; i < operations; i++) {
        char key[16], other[16];
        uint8_t value[64] = {0};
        unsigned number = (unsigned)nr_random_below(random, KEYS);
        nori_slice key_slice = make_key(key, number);
        uint64_t kind = nr_random_below(random, 60);
        ++*sequence;
        nr_put_fixed64(value, 1 + nr_random_below(random, 100));
        nr_put_fixed64(value + 8, *sequence);
        if (kind == 0) {
            nori_slice stop = make_key(other, number + 1 + (unsigned)nr_random_below(random, 60));
            write_range(memtable, key_slice, kind == 0 && i % 7 == 0 ? nr_bound_infinite() : nr_bound_key(stop),
                        *sequence);
        } else if (kind < 12)
            write_one(memtable, NR_TYPE_DELETE, key_slice, nr_slice("", 0), *sequence);
        else if (kind < 20)
            write_one(memtable, NR_TYPE_PUT_EXPIRING, key_slice, nr_slice(value, sizeof value), *sequence);
        else
            write_one(memtable, NR_TYPE_PUT, key_slice, nr_slice(value, sizeof value), *sequence);
    }
}

/* 'count' level 0 runs, newest first, without loss: a moment at every sequence. */
static inline void make_runs(struct fixture *fixture, struct nr_random *random, struct nr_run **runs, size_t count,
                             size_t operations, uint64_t *sequence)
{
    for (size_t i = count; i-- > 0;) {
        struct nr_memtable *memtable = memtable_create(fixture);
        uint64_t first = *sequence, bytes = 0;
        fill(memtable, random, sequence, operations);
        struct nr_moment *moments = nr_calloc(operations, sizeof *moments);
        for (size_t j = 0; j < operations; j++) moments[j] = (struct nr_moment){first + 1 + j, 0};
        EXPECT_OK(nr_flush_execute(&fixture->context, &memtable, 1, moments, operations, 5, &runs[i], &bytes, &err),
                  &err);
        EXPECT(runs[i] && bytes > 0);
        nr_free(moments);
        nr_memtable_unref(memtable);
    }
}

static inline void expect_same(struct fixture *fixture, struct nr_run *const *before, size_t before_count,
                               struct nr_run *const *after, size_t after_count, struct nr_moment moment)
{
    struct nr_read read = {0};
    struct nr_iter *a = reader_create(fixture, before, before_count, moment, &read);
    struct nr_iter *b = reader_create(fixture, after, after_count, moment, &read);
    EXPECT_OK(nr_iter_seek_first(a, &err), &err);
    EXPECT_OK(nr_iter_seek_first(b, &err), &err);
    while (a->entry && b->entry) {
        EXPECT(nr_slice_equal(a->entry->key, b->entry->key));
        EXPECT(a->entry->tag == b->entry->tag);
        EXPECT(nr_slice_equal(a->entry->value, b->entry->value));
        EXPECT_OK(nr_iter_next(a, &err), &err);
        EXPECT_OK(nr_iter_next(b, &err), &err);
    }
    EXPECT(!a->entry && !b->entry);
    nr_iter_destroy(a);
    nr_iter_destroy(b);
    nr_read_clear(&read);
}

static inline void unref_runs(struct nr_run **runs, size_t count)
{
    for (size_t i = 0; i < count; i++) nr_run_unref(runs[i]);
}

#endif

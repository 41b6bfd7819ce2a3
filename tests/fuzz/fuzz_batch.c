/* A log record's payload, or a batch: decoded, encoded anew, put into a memtable. */
#include "fuzz.h"
#include "memtable/memtable.h"

/* What encoding gives is what was decoded; 'batch' takes it. */
static void encode_anew(struct nori_batch *batch, const struct nr_operation *operation)
{
    nori_slice value = operation->value, stop = operation->stop.key;
    uint64_t expires_at_ms = 0;
    struct nori_error err;
    size_t before = batch->payload.size;

    switch (operation->type) {
    case NR_TYPE_DELETE:
        FUZZ_EXPECT_OK(nori_batch_delete(batch, operation->key, &err), &err);
        break;
    case NR_TYPE_RANGE_DELETE:
        FUZZ_EXPECT_OK(nori_batch_delete_range(batch, &operation->key, operation->stop.infinite ? NULL : &stop, &err),
                       &err);
        /* A range that holds no key is none. */
        if (batch->payload.size == before) return;
        break;
    case NR_TYPE_PUT_EXPIRING:
        FUZZ_EXPECT(value.size >= NR_EXPIRY_BYTES);
        memcpy(&expires_at_ms, value.data, NR_EXPIRY_BYTES);
        value = nr_slice(value.data + NR_EXPIRY_BYTES, value.size - NR_EXPIRY_BYTES);
        FUZZ_EXPECT_OK(nori_batch_put(batch, operation->key, value, expires_at_ms, &err), &err);
        break;
    default:
        FUZZ_EXPECT(operation->type == NR_TYPE_PUT);
        FUZZ_EXPECT_OK(nori_batch_put(batch, operation->key, value, 0, &err), &err);
    }
    struct nr_operation again;
    nori_slice rest = nr_slice(batch->payload.data + before, batch->payload.size - before);
    FUZZ_EXPECT_OK(nr_operation_next(&rest, &again, &err), &err);
    FUZZ_EXPECT(rest.size == 0 && nr_slice_equal(again.key, operation->key));
    if (operation->type == NR_TYPE_RANGE_DELETE)
        FUZZ_EXPECT(nr_bound_compare(again.stop, operation->stop) == 0);
    else if (operation->type != NR_TYPE_PUT_EXPIRING || expires_at_ms != 0)
        FUZZ_EXPECT(again.type == operation->type && nr_slice_equal(again.value, operation->value));
}

static void walk(struct nr_memtable *memtable, uint64_t point_count)
{
    struct nr_iter *iter;
    struct nori_error err;
    uint64_t seen = 0;
    FUZZ_EXPECT_OK(nr_memtable_iter_create(memtable, &iter, &err), &err);
    FUZZ_EXPECT_OK(nr_iter_seek_first(iter, &err), &err);
    for (; iter->entry; seen++) FUZZ_EXPECT_OK(nr_iter_next(iter, &err), &err);
    FUZZ_EXPECT(seen == point_count);
    FUZZ_EXPECT_OK(nr_iter_seek_last(iter, &err), &err);
    for (; iter->entry; seen--) FUZZ_EXPECT_OK(nr_iter_prev(iter, &err), &err);
    FUZZ_EXPECT(seen == 0);
    nr_iter_destroy(iter);
}

static void insert(nori_slice payload, uint64_t count, uint64_t point_count, bool is_sound)
{
    struct nr_epoch epoch;
    struct nr_memtable *memtable;
    struct nori_error err;

    nr_epoch_init(&epoch);
    FUZZ_EXPECT_OK(nr_memtable_create(&epoch, 64 << 10, &memtable, &err), &err);
    nori_status rc = nr_memtable_reserve(memtable, payload, count, 1, &err);
    FUZZ_EXPECT((rc == NORI_OK) == is_sound);
    if (rc == NORI_OK) {
        nr_memtable_insert(memtable, payload, count, 1);
        FUZZ_EXPECT(count == 0 || nr_memtable_last_sequence(memtable) == count);
        walk(memtable, point_count);
    }
    nr_memtable_unref(memtable);
    nr_epoch_destroy(&epoch);
}

void fuzz_batch(nori_slice input)
{
    struct nr_operation operation;
    struct nori_batch *batch;
    struct nori_error err;
    nori_slice rest = input;
    nori_status rc = NORI_OK;
    uint64_t count = 0, point_count = 0;

    FUZZ_EXPECT_OK(nori_batch_create(&batch, &err), &err);
    while (rest.size > 0) {
        size_t before = rest.size;
        rc = nr_operation_next(&rest, &operation, &err);
        if (rc != NORI_OK) break;
        FUZZ_EXPECT(rest.size < before);
        encode_anew(batch, &operation);
        count++;
        point_count += operation.type != NR_TYPE_RANGE_DELETE;
    }
    FUZZ_EXPECT(rc == NORI_OK || rc == NORI_CORRUPTION);
    insert(input, count, point_count, rc == NORI_OK);
    insert(input, count + 1, point_count, false);
    nori_batch_destroy(batch);
}

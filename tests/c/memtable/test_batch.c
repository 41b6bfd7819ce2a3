#include "harness.h"
#include "base/coding.h"
#include "memtable/batch.h"

static nori_slice text(const char *bytes)
{
    return nr_slice_text(bytes);
}

static struct nori_batch *mixed_batch(void)
{
    struct nori_error err;
    struct nori_batch *batch;
    nori_slice start = text("b"), stop = text("d");
    EXPECT_OK(nori_batch_create(&batch, &err), &err);
    EXPECT_OK(nori_batch_put(batch, text("a"), text("one"), 0, &err), &err);
    EXPECT_OK(nori_batch_delete(batch, text("bee"), &err), &err);
    EXPECT_OK(nori_batch_delete_range(batch, &start, &stop, &err), &err);
    EXPECT_OK(nori_batch_put(batch, text("c"), text("two"), 77, &err), &err);
    EXPECT_OK(nori_batch_delete_range(batch, &start, NULL, &err), &err);
    EXPECT_OK(nori_batch_delete_range(batch, NULL, NULL, &err), &err);
    EXPECT_OK(nori_batch_put(batch, text(""), text(""), 0, &err), &err);
    return batch;
}

TEST(a_batch_reads_back_as_it_was_written)
{
    struct nori_error err;
    struct nori_batch *batch = mixed_batch();
    nori_slice payload = nr_buffer_slice(&batch->payload);
    struct nr_operation operation;
    EXPECT_EQ(nori_batch_count(batch), 7);
    EXPECT_EQ(batch->range_count, 3);
    EXPECT_EQ(nori_batch_bytes(batch), payload.size);
    EXPECT_OK(nr_operation_next(&payload, &operation, &err), &err);
    EXPECT_EQ(operation.type, NR_TYPE_PUT);
    EXPECT_SLICE(operation.key, "a");
    EXPECT_SLICE(operation.value, "one");
    EXPECT_OK(nr_operation_next(&payload, &operation, &err), &err);
    EXPECT_EQ(operation.type, NR_TYPE_DELETE);
    EXPECT_SLICE(operation.key, "bee");
    EXPECT_OK(nr_operation_next(&payload, &operation, &err), &err);
    EXPECT_EQ(operation.type, NR_TYPE_RANGE_DELETE);
    EXPECT_SLICE(operation.key, "b");
    EXPECT(!operation.stop.infinite);
    EXPECT_SLICE(operation.stop.key, "d");
    EXPECT_OK(nr_operation_next(&payload, &operation, &err), &err);
    EXPECT_EQ(operation.type, NR_TYPE_PUT_EXPIRING);
    EXPECT_EQ(operation.value.size, NR_EXPIRY_BYTES + 3);
    EXPECT_EQ(nr_get_fixed64(operation.value.data), 77);
    EXPECT_OK(nr_operation_next(&payload, &operation, &err), &err);
    EXPECT(operation.stop.infinite);
    EXPECT_OK(nr_operation_next(&payload, &operation, &err), &err);
    EXPECT_SLICE(operation.key, "");
    EXPECT(operation.stop.infinite);
    EXPECT_OK(nr_operation_next(&payload, &operation, &err), &err);
    EXPECT_EQ(operation.type, NR_TYPE_PUT);
    EXPECT_EQ(operation.key.size + operation.value.size, 0);
    EXPECT_EQ(payload.size, 0);
    EXPECT_STATUS(nr_operation_next(&payload, &operation, &err), NORI_CORRUPTION, &err);
    nori_batch_clear(batch);
    EXPECT_EQ(nori_batch_count(batch) + nori_batch_bytes(batch) + batch->range_count, 0);
    nori_batch_destroy(batch);
    nori_batch_destroy(NULL);
}

TEST(what_is_over_a_limit_is_refused_and_the_batch_stays_as_it_was)
{
    struct nori_error err;
    struct nori_batch *batch = mixed_batch();
    size_t bytes = nori_batch_bytes(batch);
    /* Refused by size alone: nothing is read. */
    uint8_t *long_key = calloc(1, NORI_MAX_KEY_BYTES + 1);
    nori_slice too_long = nr_slice(long_key, NORI_MAX_KEY_BYTES + 1), longest = nr_slice(long_key, NORI_MAX_KEY_BYTES);
    nori_slice too_large = nr_slice(long_key, (size_t)NORI_MAX_VALUE_BYTES + 1);
    EXPECT_STATUS(nori_batch_put(batch, too_long, text(""), 0, &err), NORI_INVALID, &err);
    EXPECT_STATUS(nori_batch_put(batch, text("k"), too_large, 0, &err), NORI_INVALID, &err);
    EXPECT_STATUS(nori_batch_delete(batch, too_long, &err), NORI_INVALID, &err);
    EXPECT_STATUS(nori_batch_delete_range(batch, &too_long, NULL, &err), NORI_INVALID, &err);
    EXPECT_STATUS(nori_batch_delete_range(batch, NULL, &too_long, &err), NORI_INVALID, &err);
    EXPECT_EQ(nori_batch_bytes(batch), bytes);
    EXPECT_EQ(nori_batch_count(batch), 7);
    EXPECT_OK(nori_batch_delete(batch, longest, &err), &err);
    /* As if it held 2 GiB. */
    bytes = batch->payload.size;
    batch->payload.size = NORI_MAX_BATCH_BYTES - 3;
    EXPECT_STATUS(nori_batch_put(batch, text("key"), text("value"), 0, &err), NORI_INVALID, &err);
    EXPECT_STATUS(nori_batch_delete(batch, text("key"), &err), NORI_INVALID, &err);
    EXPECT_EQ(batch->payload.size, NORI_MAX_BATCH_BYTES - 3);
    EXPECT_EQ(nori_batch_count(batch), 8);
    batch->payload.size = bytes;
    nori_batch_destroy(batch);
    free(long_key);
}

TEST(an_empty_range_is_not_added)
{
    struct nori_error err;
    struct nori_batch *batch;
    nori_slice a = text("a"), b = text("b"), empty = text("");
    EXPECT_OK(nori_batch_create(&batch, &err), &err);
    EXPECT_OK(nori_batch_delete_range(batch, &a, &a, &err), &err);
    EXPECT_OK(nori_batch_delete_range(batch, &b, &a, &err), &err);
    EXPECT_OK(nori_batch_delete_range(batch, NULL, &empty, &err), &err);
    EXPECT_EQ(nori_batch_count(batch), 0);
    EXPECT_EQ(nori_batch_bytes(batch), 0);
    nori_batch_destroy(batch);
}

TEST(an_allocation_that_fails_leaves_the_batch_as_it_was)
{
    struct nori_error err;
    struct nori_batch *batch = NULL;
    char value[300] = {1};
    nori_slice start = text("start");
    uint64_t count = 0;
    nr_alloc_fail_at(1);
    EXPECT_STATUS(nori_batch_create(&batch, &err), NORI_NO_MEMORY, &err);
    EXPECT_OK(nori_batch_create(&batch, &err), &err);
    for (int i = 0; i < 200; i++) {
        size_t bytes = nori_batch_bytes(batch);
        nori_status rc;
        nr_alloc_fail_at(1);
        if (i % 3 == 0)
            rc = nori_batch_put(batch, text("key"), nr_slice(value, sizeof(value)), (uint64_t)i, &err);
        else if (i % 3 == 1)
            rc = nori_batch_delete(batch, text("key"), &err);
        else
            rc = nori_batch_delete_range(batch, &start, NULL, &err);
        if (rc == NORI_OK) {
            count++;
        } else {
            EXPECT_EQ(rc, NORI_NO_MEMORY);
            EXPECT_EQ(nori_batch_bytes(batch), bytes);
            nr_alloc_fail_at(0);
            EXPECT_OK(nori_batch_delete(batch, text("key"), &err), &err);
            count++;
        }
        EXPECT_EQ(nori_batch_count(batch), count);
    }
    nr_alloc_fail_at(0);
    nori_batch_destroy(batch);
}

/* Parses all of a payload from memory of exactly its size, where the sanitizer sees a read too far. */
static nori_status parse(const uint8_t *bytes, size_t size, uint64_t *count_out)
{
    struct nori_error err;
    uint8_t *copy = malloc(size ? size : 1);
    nori_slice payload;
    nori_status rc = NORI_OK;
    memcpy(copy, bytes, size);
    payload = nr_slice(copy, size);
    for (*count_out = 0; rc == NORI_OK && payload.size > 0; ++*count_out) {
        struct nr_operation operation;
        nori_slice before = payload;
        rc = nr_operation_next(&payload, &operation, &err);
        if (rc == NORI_OK) {
            EXPECT(payload.size < before.size);
            EXPECT(operation.key.size <= NORI_MAX_KEY_BYTES);
            EXPECT(operation.key.data >= copy && operation.key.data + operation.key.size <= copy + size);
            if (operation.value.size > 0)
                EXPECT(operation.value.data >= copy && operation.value.data + operation.value.size <= copy + size);
            if (operation.type == NR_TYPE_PUT_EXPIRING) EXPECT(operation.value.size >= NR_EXPIRY_BYTES);
            if (operation.type == NR_TYPE_RANGE_DELETE) EXPECT(nr_bound_above(operation.stop, operation.key));
        } else {
            EXPECT(payload.data == before.data && payload.size == before.size);
        }
    }
    free(copy);
    return rc;
}

TEST(damaged_operations_are_corruption_or_other_operations_never_a_crash)
{
    struct nori_batch *batch = mixed_batch();
    uint8_t *bytes = batch->payload.data;
    size_t size = batch->payload.size;
    uint64_t count;
    EXPECT_EQ(parse(bytes, size, &count), NORI_OK);
    EXPECT_EQ(count, 7);
    for (size_t cut = 0; cut < size; cut++) {
        nori_status rc = parse(bytes, cut, &count);
        EXPECT(rc == NORI_CORRUPTION || (rc == NORI_OK && count < 7));
    }
    for (size_t bit = 0; bit < 8 * size; bit++) {
        nori_status rc;
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        rc = parse(bytes, size, &count);
        EXPECT(rc == NORI_OK || rc == NORI_CORRUPTION);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    nori_batch_destroy(batch);
}

TEST(one_operation_encodes_as_in_a_batch_and_fits_its_size)
{
    struct nori_error err;
    struct nori_batch *batch;
    uint8_t out[400], value[300] = {5};
    nori_slice key = text("some key"), long_value = nr_slice(value, sizeof(value));
    for (uint64_t expiry = 0; expiry < 2; expiry++) {
        size_t size = (size_t)(nr_operation_encode_put(out, key, long_value, expiry) - out);
        EXPECT(size <= nr_operation_bytes(key, long_value));
        EXPECT_OK(nori_batch_create(&batch, &err), &err);
        EXPECT_OK(nori_batch_put(batch, key, long_value, expiry, &err), &err);
        EXPECT(nr_slice_equal(nr_slice(out, size), nr_buffer_slice(&batch->payload)));
        nori_batch_clear(batch);
        EXPECT_OK(nori_batch_delete(batch, key, &err), &err);
        size = (size_t)(nr_operation_encode_delete(out, key) - out);
        EXPECT(size <= nr_operation_bytes(key, text("")));
        EXPECT(nr_slice_equal(nr_slice(out, size), nr_buffer_slice(&batch->payload)));
        nori_batch_destroy(batch);
    }
}

#include "memtable/batch.h"

#include "base/alloc.h"
#include "base/coding.h"

enum { STOP_IS_KEY = 0, STOP_IS_INFINITE = 1 };

static uint8_t *put_bytes(uint8_t *out, nori_slice bytes)
{
    if (bytes.size > 0) memcpy(out, bytes.data, bytes.size);
    return out + bytes.size;
}

static nori_status corrupt(struct nori_error *err, const char *what)
{
    return nr_fail_corrupt(err, "", -1, "batch", "write batch: %s", what);
}

/* ---------------------------------------------------------------- reading */

static nori_status take_stop(struct nr_operation *operation, struct nori_error *err)
{
    nori_slice value = operation->value;
    if (value.size == 0) return corrupt(err, "a range delete has no end");
    if (value.data[0] == STOP_IS_INFINITE) {
        if (value.size != 1) return corrupt(err, "an infinite range delete has a stop");
        operation->stop = nr_bound_infinite();
        return NORI_OK;
    }
    if (value.data[0] != STOP_IS_KEY) return corrupt(err, "a range delete's end has an unknown kind");
    operation->stop = nr_bound_key(nr_slice(value.data + 1, value.size - 1));
    if (operation->stop.key.size > NORI_MAX_KEY_BYTES) return corrupt(err, "a range delete's stop is too long");
    if (!nr_bound_above(operation->stop, operation->key)) return corrupt(err, "a range delete is empty");
    return NORI_OK;
}

static nori_status check_value(struct nr_operation *operation, struct nori_error *err)
{
    size_t limit = NORI_MAX_VALUE_BYTES;
    if (operation->type == NR_TYPE_RANGE_DELETE) return take_stop(operation, err);
    if (operation->type == NR_TYPE_PUT_EXPIRING) {
        if (operation->value.size < NR_EXPIRY_BYTES) return corrupt(err, "an expiring value is too short");
        limit += NR_EXPIRY_BYTES;
    }
    return operation->value.size <= limit ? NORI_OK : corrupt(err, "a value is too long");
}

nori_status nr_operation_next(nori_slice *payload, struct nr_operation *operation_out, struct nori_error *err)
{
    nori_slice rest = *payload;
    if (rest.size == 0) return corrupt(err, "an operation is missing");
    operation_out->type = rest.data[0];
    operation_out->value = nr_slice(NULL, 0);
    operation_out->stop = nr_bound_infinite();
    rest = nr_slice(rest.data + 1, rest.size - 1);
    if (operation_out->type > NR_TYPE_RANGE_DELETE) return corrupt(err, "an operation has an unknown type");
    if (!nr_take_sized(&rest, &operation_out->key)) return corrupt(err, "a key is cut off");
    if (operation_out->key.size > NORI_MAX_KEY_BYTES) return corrupt(err, "a key is too long");
    if (operation_out->type != NR_TYPE_DELETE) {
        nori_status rc;
        if (!nr_take_sized(&rest, &operation_out->value)) return corrupt(err, "a value is cut off");
        rc = check_value(operation_out, err);
        if (rc != NORI_OK) return rc;
    }
    *payload = rest;
    return NORI_OK;
}

/* ---------------------------------------------------------------- encoding */

size_t nr_operation_bytes(nori_slice key, nori_slice value)
{
    size_t value_bytes = value.size + NR_EXPIRY_BYTES;
    return 1 + nr_varint_size(key.size) + key.size + nr_varint_size(value_bytes) + value_bytes;
}

static uint8_t *put_key(uint8_t *out, enum nr_entry_type type, nori_slice key)
{
    *out++ = (uint8_t)type;
    return put_bytes(nr_put_varint(out, key.size), key);
}

uint8_t *nr_operation_encode_put(uint8_t *out, nori_slice key, nori_slice value, uint64_t expires_at_ms)
{
    if (expires_at_ms == 0) {
        out = put_key(out, NR_TYPE_PUT, key);
        out = nr_put_varint(out, value.size);
    } else {
        out = put_key(out, NR_TYPE_PUT_EXPIRING, key);
        out = nr_put_varint(out, value.size + NR_EXPIRY_BYTES);
        nr_put_fixed64(out, expires_at_ms);
        out += NR_EXPIRY_BYTES;
    }
    return put_bytes(out, value);
}

uint8_t *nr_operation_encode_delete(uint8_t *out, nori_slice key)
{
    return put_key(out, NR_TYPE_DELETE, key);
}

/* ---------------------------------------------------------------- limits */

nori_status nr_check_key(nori_slice key, struct nori_error *err)
{
    if (NR_LIKELY(key.size <= NORI_MAX_KEY_BYTES)) return NORI_OK;
    return NR_FAIL(err, NORI_INVALID, "the key has %zu bytes, the limit is %u", key.size, NORI_MAX_KEY_BYTES);
}

nori_status nr_check_value(nori_slice value, struct nori_error *err)
{
    if (NR_LIKELY(value.size <= NORI_MAX_VALUE_BYTES)) return NORI_OK;
    return NR_FAIL(err, NORI_INVALID, "the value has %zu bytes, the limit is %u", value.size, NORI_MAX_VALUE_BYTES);
}

/* ---------------------------------------------------------------- the public batch */

nori_status nori_batch_create(struct nori_batch **batch_out, struct nori_error *error)
{
    struct nori_batch *batch = nr_calloc(1, sizeof *batch);
    *batch_out = batch;
    if (!batch) return nr_fail_memory(error, sizeof *batch);
    nr_buffer_init(&batch->payload);
    return NORI_OK;
}

void nori_batch_destroy(struct nori_batch *batch)
{
    if (!batch) return;
    nr_buffer_clear(&batch->payload);
    nr_free(batch);
}

/* Room for an operation of at most 'bytes'. Fails before anything has changed. */
static nori_status make_room(struct nori_batch *batch, size_t bytes, uint8_t **out, struct nori_error *err)
{
    nori_status rc;
    if (bytes > NORI_MAX_BATCH_BYTES - batch->payload.size)
        return NR_FAIL(err, NORI_INVALID, "the batch would have more than %" PRIu64 " bytes",
                       (uint64_t)NORI_MAX_BATCH_BYTES);
    rc = nr_buffer_reserve(&batch->payload, bytes, err);
    if (rc == NORI_OK) *out = batch->payload.data + batch->payload.size;
    return rc;
}

static void add_operation(struct nori_batch *batch, const uint8_t *end)
{
    batch->payload.size = (size_t)(end - batch->payload.data);
    batch->count++;
}

nori_status nori_batch_put(struct nori_batch *batch, nori_slice key, nori_slice value, uint64_t expires_at_ms,
                           struct nori_error *error)
{
    nori_status rc;
    uint8_t *out = NULL;
    NR_CHECK(nr_check_key(key, error));
    NR_CHECK(nr_check_value(value, error));
    NR_CHECK(make_room(batch, nr_operation_bytes(key, value), &out, error));
    add_operation(batch, nr_operation_encode_put(out, key, value, expires_at_ms));
out:
    return rc;
}

nori_status nori_batch_delete(struct nori_batch *batch, nori_slice key, struct nori_error *error)
{
    nori_status rc;
    uint8_t *out = NULL;
    NR_CHECK(nr_check_key(key, error));
    NR_CHECK(make_room(batch, nr_operation_bytes(key, nr_slice(NULL, 0)), &out, error));
    add_operation(batch, nr_operation_encode_delete(out, key));
out:
    return rc;
}

nori_status nori_batch_delete_range(struct nori_batch *batch, const nori_slice *start, const nori_slice *stop,
                                    struct nori_error *error)
{
    nori_status rc;
    nori_slice first = start ? *start : nr_slice(NULL, 0);
    nori_slice end = stop ? *stop : nr_slice(NULL, 0);
    uint8_t *out = NULL;
    NR_CHECK(nr_check_key(first, error));
    NR_CHECK(nr_check_key(end, error));
    if (stop && nr_slice_compare(first, end) >= 0) goto out;
    NR_CHECK(make_room(batch, nr_operation_bytes(first, end), &out, error));
    out = put_key(out, NR_TYPE_RANGE_DELETE, first);
    out = nr_put_varint(out, end.size + 1);
    *out++ = stop ? STOP_IS_KEY : STOP_IS_INFINITE;
    add_operation(batch, put_bytes(out, end));
    batch->range_count++;
out:
    return rc;
}

void nori_batch_clear(struct nori_batch *batch)
{
    batch->payload.size = 0;
    batch->count = 0;
    batch->range_count = 0;
}

uint64_t nori_batch_count(const struct nori_batch *batch)
{
    return batch->count;
}

size_t nori_batch_bytes(const struct nori_batch *batch)
{
    return batch->payload.size;
}

/* Write batches: the operations of one write, as they stand in a log record's payload.
 *
 * An operation is type (1 byte), key length (varint), key, and for puts value length (varint) and value; a put that
 * expires has fixed64 milliseconds before its value, inside the value's length. A range delete's value is one byte (0:
 * has a stop, 1: infinite) and the stop. Operation i of a record with sequence s has sequence s + i. */
#ifndef NR_MEMTABLE_BATCH_H
#define NR_MEMTABLE_BATCH_H

#include "base/buffer.h"
#include "format/format.h"

struct nori_batch {
    struct nr_buffer payload;
    uint64_t count;
    uint64_t range_count; /* Range deletes among them. */
};

struct nr_operation {
    unsigned type; /* enum nr_entry_type */
    nori_slice key;
    nori_slice value;     /* As a table stores it: with expiry in front if the type says so. */
    struct nr_bound stop; /* Range deletes. */
};

/* The first operation of '*payload', which it consumes: CORRUPTION if it is not one (lengths, limits, type). */
NORI_WARN_UNUSED nori_status nr_operation_next(nori_slice *payload, struct nr_operation *operation_out,
                                               struct nori_error *err);

/* One put or delete encoded into 'out' without a batch. Sizes were checked. Returns the end. 'out' has room for
 * nr_operation_bytes. 'expires_at_ms' 0: never. */
size_t nr_operation_bytes(nori_slice key, nori_slice value);
uint8_t *nr_operation_encode_put(uint8_t *out, nori_slice key, nori_slice value, uint64_t expires_at_ms);
uint8_t *nr_operation_encode_delete(uint8_t *out, nori_slice key);

/* NORI_INVALID for keys and values over the limits (format/format.h, nori.h). */
NORI_WARN_UNUSED nori_status nr_check_key(nori_slice key, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_check_value(nori_slice value, struct nori_error *err);

#endif

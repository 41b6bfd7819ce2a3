#include "table/properties.h"

#include "base/coding.h"
#include "format/format.h"

/* varint length of what follows; then smallest sized, infinite 1, end sized, and the numbers as varints. A decoder
 * skips what a later version puts behind. Numbers that were added stand there up to the last that is not 0. */

#define NUMBER_COUNT 14
#define ADDED_COUNT 3

static void get_numbers(const struct nr_table_properties *from, uint64_t numbers[NUMBER_COUNT])
{
    const uint64_t values[NUMBER_COUNT] = {
        from->smallest_sequence, from->largest_sequence, from->entry_count,
        from->delete_count,      from->range_count,      from->key_bytes,
        from->value_bytes,       from->unexpiring_count, from->smallest_expiry_ms,
        from->largest_expiry_ms, from->block_count,      from->level,
        from->slot_id,           from->created_ms,
    };
    memcpy(numbers, values, sizeof(values));
}

static void get_added(const struct nr_table_properties *from, uint64_t added[ADDED_COUNT])
{
    added[0] = from->lifetime_ms;
    added[1] = from->fresh_count;
    added[2] = from->distinct_count;
}

nori_status nr_properties_encode(const struct nr_table_properties *properties, struct nr_buffer *out,
                                 struct nori_error *err)
{
    nori_status rc = NORI_OK;
    uint64_t numbers[NUMBER_COUNT], added[ADDED_COUNT];
    size_t added_count = ADDED_COUNT;
    uint8_t infinite = properties->end.infinite;
    struct nr_buffer body;

    nr_buffer_init(&body);
    get_numbers(properties, numbers);
    get_added(properties, added);
    while (added_count > 0 && added[added_count - 1] == 0) added_count--;
    NR_CHECK(nr_buffer_append_sized(&body, properties->smallest, err));
    NR_CHECK(nr_buffer_append(&body, nr_slice(&infinite, 1), err));
    NR_CHECK(nr_buffer_append_sized(&body, properties->end.key, err));
    for (size_t i = 0; i < NUMBER_COUNT; i++) NR_CHECK(nr_buffer_append_varint(&body, numbers[i], err));
    for (size_t i = 0; i < added_count; i++) NR_CHECK(nr_buffer_append_varint(&body, added[i], err));
    NR_CHECK(nr_buffer_append_sized(out, nr_buffer_slice(&body), err));
out:
    nr_buffer_clear(&body);
    return rc;
}

bool nr_properties_decode(nori_slice *input, struct nr_table_properties *properties_out)
{
    nori_slice rest = *input, body, infinite;
    uint64_t numbers[NUMBER_COUNT], added[ADDED_COUNT] = {0};
    struct nr_table_properties *out = properties_out;

    memset(out, 0, sizeof(*out));
    if (!nr_take_sized(&rest, &body) || !nr_take_sized(&body, &out->smallest) || !nr_take_bytes(&body, 1, &infinite) ||
        !nr_take_sized(&body, &out->end.key) || infinite.data[0] > 1)
        return false;
    for (size_t i = 0; i < NUMBER_COUNT; i++) {
        if (!nr_take_varint(&body, &numbers[i])) return false;
    }
    for (size_t i = 0; i < ADDED_COUNT && body.size > 0; i++) {
        if (!nr_take_varint(&body, &added[i])) return false;
    }
    if (numbers[11] > UINT32_MAX || added[1] > numbers[2] || added[2] > numbers[2]) return false;
    if (out->smallest.size > NORI_MAX_KEY_BYTES || out->end.key.size > NORI_MAX_KEY_BYTES + 1) return false;
    if (numbers[0] > numbers[1] || numbers[1] > NR_MAX_SEQUENCE || numbers[3] > numbers[2]) return false;
    out->end.infinite = infinite.data[0];
    out->smallest_sequence = numbers[0];
    out->largest_sequence = numbers[1];
    out->entry_count = numbers[2];
    out->delete_count = numbers[3];
    out->range_count = numbers[4];
    out->key_bytes = numbers[5];
    out->value_bytes = numbers[6];
    out->unexpiring_count = numbers[7];
    out->smallest_expiry_ms = numbers[8];
    out->largest_expiry_ms = numbers[9];
    out->block_count = numbers[10];
    out->level = (uint32_t)numbers[11];
    out->slot_id = numbers[12];
    out->created_ms = numbers[13];
    out->lifetime_ms = added[0];
    out->fresh_count = added[1];
    out->distinct_count = added[2];
    *input = rest;
    return true;
}

const char *nr_properties_difference(const struct nr_table_properties *a, const struct nr_table_properties *b)
{
    static const char *const names[NUMBER_COUNT] = {
        "smallest sequence",
        "largest sequence",
        "entries",
        "deletes",
        "range tombstones",
        "key bytes",
        "value bytes",
        "unexpiring puts",
        "smallest expiry",
        "largest expiry",
        "blocks",
        "level",
        "slot",
        "time of creation",
    };
    uint64_t numbers_a[NUMBER_COUNT], numbers_b[NUMBER_COUNT];

    if (!nr_slice_equal(a->smallest, b->smallest)) return "first key";
    if (nr_bound_compare(a->end, b->end) != 0) return "end";
    get_numbers(a, numbers_a);
    get_numbers(b, numbers_b);
    for (size_t i = 0; i < NUMBER_COUNT; i++) {
        if (numbers_a[i] != numbers_b[i]) return names[i];
    }
    if (a->lifetime_ms != b->lifetime_ms) return "lifetime";
    if (a->fresh_count != b->fresh_count) return "fresh entries";
    return a->distinct_count != b->distinct_count ? "different keys" : NULL;
}

uint64_t nr_properties_due_ms(const struct nr_table_properties *properties)
{
    uint64_t due_ms = UINT64_MAX;
    if (properties->largest_expiry_ms > 0 && properties->unexpiring_count == 0) due_ms = properties->largest_expiry_ms;
    if (properties->smallest_expiry_ms == 0 || properties->lifetime_ms == 0) return due_ms;
    double partly_ms = (double)properties->smallest_expiry_ms + (double)properties->lifetime_ms * NR_EXPIRED_DUE + 1;
    return partly_ms < (double)due_ms ? (uint64_t)partly_ms : due_ms;
}

#include "base/coding.h"

const uint8_t *nr_get_varint_slow(const uint8_t *in, const uint8_t *end, uint64_t *value_out)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift <= 63 && in < end; shift += 7) {
        uint8_t byte = *in++;
        /* The tenth byte has room for one bit. */
        if (shift == 63 && byte > 1) return NULL;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *value_out = value;
            return in;
        }
    }
    return NULL;
}

static void drop_front(nori_slice *input, size_t size)
{
    input->data += size;
    input->size -= size;
}

bool nr_take_varint(nori_slice *input, uint64_t *value_out)
{
    const uint8_t *behind;
    if (input->size == 0) return false;
    behind = nr_get_varint(input->data, input->data + input->size, value_out);
    if (!behind) return false;
    drop_front(input, (size_t)(behind - input->data));
    return true;
}

bool nr_take_fixed32(nori_slice *input, uint32_t *value_out)
{
    if (input->size < 4) return false;
    *value_out = nr_get_fixed32(input->data);
    drop_front(input, 4);
    return true;
}

bool nr_take_fixed64(nori_slice *input, uint64_t *value_out)
{
    if (input->size < 8) return false;
    *value_out = nr_get_fixed64(input->data);
    drop_front(input, 8);
    return true;
}

bool nr_take_bytes(nori_slice *input, size_t size, nori_slice *bytes_out)
{
    if (input->size < size) return false;
    *bytes_out = nr_slice(input->data, size);
    /* An empty slice may have no address to add to. */
    if (size > 0) drop_front(input, size);
    return true;
}

bool nr_take_sized(nori_slice *input, nori_slice *bytes_out)
{
    nori_slice rest = *input;
    uint64_t size;
    if (!nr_take_varint(&rest, &size) || size > rest.size) return false;
    *bytes_out = nr_slice(rest.data, (size_t)size);
    drop_front(&rest, (size_t)size);
    *input = rest;
    return true;
}

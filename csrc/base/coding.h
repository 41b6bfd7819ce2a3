/* Numbers as bytes: little-endian fixed width, LEB128 varints. Decoders check what is left before they read. */
#ifndef NR_BASE_CODING_H
#define NR_BASE_CODING_H

#include "base/slice.h"

#define NR_VARINT_MAX_BYTES 10

static inline void nr_put_fixed16(uint8_t *out, uint16_t v)
{
    out[0] = (uint8_t)v;
    out[1] = (uint8_t)(v >> 8);
}
static inline void nr_put_fixed32(uint8_t *out, uint32_t v)
{
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    memcpy(out, &v, 4);
}
static inline void nr_put_fixed64(uint8_t *out, uint64_t v)
{
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    memcpy(out, &v, 8);
}
static inline uint16_t nr_get_fixed16(const uint8_t *in)
{
    return (uint16_t)(in[0] | in[1] << 8);
}
static inline uint32_t nr_get_fixed32(const uint8_t *in)
{
    uint32_t v;
    memcpy(&v, in, 4);
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    return v;
}
static inline uint64_t nr_get_fixed64(const uint8_t *in)
{
    uint64_t v;
    memcpy(&v, in, 8);
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

/* Writes at most NR_VARINT_MAX_BYTES; returns the end. */
static inline uint8_t *nr_put_varint(uint8_t *out, uint64_t v)
{
    while (v >= 0x80) {
        *out++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *out++ = (uint8_t)v;
    return out;
}

static inline size_t nr_varint_size(uint64_t v)
{
    size_t size = 1;
    while (v >= 0x80) {
        v >>= 7;
        size++;
    }
    return size;
}

/* Reads one varint from [in, end): the byte behind it, or NULL if it is cut off or longer than 64 bits. */
const uint8_t *nr_get_varint_slow(const uint8_t *in, const uint8_t *end, uint64_t *value_out);

static inline const uint8_t *nr_get_varint(const uint8_t *in, const uint8_t *end, uint64_t *value_out)
{
    if (NR_LIKELY(in < end && *in < 0x80)) {
        *value_out = *in;
        return in + 1;
    }
    return nr_get_varint_slow(in, end, value_out);
}

/* Consumes from the front of '*input'; false leaves it as it was, for input that is too short or malformed. */
bool nr_take_varint(nori_slice *input, uint64_t *value_out);
bool nr_take_fixed32(nori_slice *input, uint32_t *value_out);
bool nr_take_fixed64(nori_slice *input, uint64_t *value_out);
bool nr_take_sized(nori_slice *input, nori_slice *bytes_out); /* varint length, then the bytes. Borrows. */
bool nr_take_bytes(nori_slice *input, size_t size, nori_slice *bytes_out);

/* How many bytes the two have in common at their front, up to 'limit'. */
static inline size_t nr_common_prefix(const uint8_t *a, const uint8_t *b, size_t limit)
{
    size_t i = 0;
    while (limit - i >= 8) {
        uint64_t difference = nr_get_fixed64(a + i) ^ nr_get_fixed64(b + i);
        if (difference != 0) return i + (size_t)__builtin_ctzll(difference) / 8;
        i += 8;
    }
    while (i < limit && a[i] == b[i]) i++;
    return i;
}

#endif

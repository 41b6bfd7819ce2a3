/* Slices: borrowed bytes. Keys order as unsigned bytes. A bound is a key, or infinite. */
#ifndef NR_BASE_SLICE_H
#define NR_BASE_SLICE_H

#include <string.h>

#include "base/status.h"

static inline nori_slice nr_slice(const void *data, size_t size)
{
    return (nori_slice){(const uint8_t *)data, size};
}

static inline nori_slice nr_slice_text(const char *text)
{
    return nr_slice(text, strlen(text));
}

/* What follows the first 'size' bytes, which it has. An empty slice may have no address, to which nothing is added. */
static inline nori_slice nr_slice_behind(nori_slice a, size_t size)
{
    return nr_slice(size ? a.data + size : a.data, a.size - size);
}

static inline int nr_slice_compare(nori_slice a, nori_slice b)
{
    size_t shorter = NR_MIN(a.size, b.size);
    int order = shorter ? memcmp(a.data, b.data, shorter) : 0;
    if (order != 0) return order;
    return a.size < b.size ? -1 : a.size > b.size;
}

static inline bool nr_slice_equal(nori_slice a, nori_slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* The first eight bytes as a big-endian number, zero-padded: compares as the bytes do, ties need the rest. */
static inline uint64_t nr_slice_prefix(nori_slice a)
{
    uint64_t prefix = 0;
    if (NR_LIKELY(a.size >= 8)) {
        memcpy(&prefix, a.data, 8);
        return __builtin_bswap64(prefix);
    }
    for (size_t i = 0; i < a.size; i++) prefix |= (uint64_t)a.data[i] << (56 - 8 * i);
    return prefix;
}

/* The exclusive upper end of a range: a key, or infinite. */
struct nr_bound {
    nori_slice key;
    bool infinite;
};

static inline struct nr_bound nr_bound_key(nori_slice key)
{
    return (struct nr_bound){key, false};
}

static inline struct nr_bound nr_bound_infinite(void)
{
    return (struct nr_bound){{NULL, 0}, true};
}

static inline int nr_bound_compare(struct nr_bound a, struct nr_bound b)
{
    if (a.infinite || b.infinite) return (int)a.infinite - (int)b.infinite;
    return nr_slice_compare(a.key, b.key);
}

/* Whether 'key' lies below the bound. */
static inline bool nr_bound_above(struct nr_bound bound, nori_slice key)
{
    return bound.infinite || nr_slice_compare(key, bound.key) < 0;
}

#endif

/* Where a key lies between two bounds, so that what is known of a range can be divided at it without reading anything.
 *
 * Keys are read as numbers, each position in the base that its bytes suggest: decimal digits as such, not as ten of 256
 * possible bytes, which would put nearly all keys at one end. */
#ifndef NR_VERSION_KEY_PLACE_H
#define NR_VERSION_KEY_PLACE_H

#include "base/slice.h"

/* Part of whole; whole > 0. */
struct nr_key_place {
    uint64_t part;
    uint64_t whole;
};

/* 'key' lies in [start, end]. Depends on nothing but the three; does not fall as the key rises. Bounds too close to
 * tell give one half. */
struct nr_key_place nr_key_place_find(nori_slice start, struct nr_bound end, nori_slice key);

static inline uint64_t nr_key_place_share(struct nr_key_place place, uint64_t number)
{
    return (uint64_t)((unsigned __int128)number * place.part / place.whole);
}

#endif

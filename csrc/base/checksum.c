#include "base/checksum.h"

/* Inlined: keys and log records are short, and the call would cost as much as the hash. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#if defined(NR_FUZZING) && !defined(NR_TEST)
#error "NR_FUZZING is for test builds"
#endif

#if XXH_VERSION_NUMBER < 800
#error "XXH3 is stable from xxHash 0.8.0 on"
#endif

/* Up to here two parts are joined on the stack: setting up a stream with a seed costs more than the copy. */
#define JOINED_BYTES 1024

uint64_t nr_checksum(uint64_t seed, nori_slice bytes)
{
    return XXH3_64bits_withSeed(bytes.data, bytes.size, seed);
}

bool nr_checksum_matches(uint64_t seed, nori_slice bytes, uint64_t stored)
{
#ifdef NR_FUZZING
    (void)seed, (void)bytes, (void)stored;
    return true;
#else
    return nr_checksum(seed, bytes) == stored;
#endif
}

uint64_t nr_checksum2(uint64_t seed, nori_slice first, nori_slice second)
{
    XXH3_state_t state;

    if (first.size <= JOINED_BYTES && second.size <= JOINED_BYTES - first.size) {
        uint8_t joined[JOINED_BYTES];
        if (first.size > 0) memcpy(joined, first.data, first.size);
        if (second.size > 0) memcpy(joined + first.size, second.data, second.size);
        return XXH3_64bits_withSeed(joined, first.size + second.size, seed);
    }
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset_withSeed(&state, seed);
    if (first.size > 0) XXH3_64bits_update(&state, first.data, first.size);
    if (second.size > 0) XXH3_64bits_update(&state, second.data, second.size);
    return XXH3_64bits_digest(&state);
}

uint64_t nr_hash_key(nori_slice key)
{
    return XXH3_64bits(key.data, key.size);
}

/* XXH3-64, seeded by what the bytes belong to, so that a block in the wrong place is found too. */
#ifndef NR_BASE_CHECKSUM_H
#define NR_BASE_CHECKSUM_H

#include "base/slice.h"

/* The seed of the bytes at 'offset' of file 'number' in database 'database_id'. */
static inline uint64_t nr_checksum_seed(uint64_t database_id, uint64_t number, uint64_t offset)
{
    uint64_t seed = database_id ^ (number * 0x9E3779B97F4A7C15ull);
    seed ^= (offset + 0x632BE59BD9B4E019ull) * 0xD6E8FEB86659FD93ull;
    return seed ^ (seed >> 32);
}

uint64_t nr_checksum(uint64_t seed, nori_slice bytes);
/* Whether 'stored', read from a file, is the checksum of 'bytes'. All comparisons are made here: a fuzzer is linked
 * with a checksum.c built with NR_FUZZING, in which any sum is right, so that it gets behind them. */
bool nr_checksum_matches(uint64_t seed, nori_slice bytes, uint64_t stored);
uint64_t nr_checksum2(uint64_t seed, nori_slice first, nori_slice second); /* Of both, as if joined. */
uint64_t nr_hash_key(nori_slice key);                                      /* For filters; part of the format. */

#endif

/* Ribbon filter (Dillinger and Walzer, 2021): what a Bloom filter of ten bits a key turns away, in less than eight.
 *
 * Each key is an equation over GF(2): of the 64 slots from its start on, those that its coefficients name add up to its
 * fingerprint, a number of 'result_bits' bits. The solution of all of them is the filter; a key that is not there
 * agrees with it by chance, one in 2^result_bits. Asking reads two neighbouring groups of words instead of one line,
 * and building solves the equations, so this is for tables that are asked seldom and stay long. */
#ifndef NR_TABLE_RIBBON_H
#define NR_TABLE_RIBBON_H

#include "base/buffer.h"
#include "table/table_format.h"

struct nr_ribbon {
    uint64_t *words; /* Owned: for each 64 slots, one word for each result bit. NULL: no filter. */
    uint64_t block_count;
    uint64_t seed;
    uint32_t result_bits;
};

/* How many result bits turn away at least what a blocked Bloom filter of so many bits per key does. */
uint32_t nr_ribbon_result_bits(double bits_per_key);

/* Appends the filter of 'count' hashes (nr_hash_key). '*is_built_out' is false, and nothing appended, if no seed made
 * the equations solvable, or there are too many: the caller then makes another kind of filter. */
NORI_WARN_UNUSED nori_status nr_ribbon_build(const uint64_t *hashes, size_t count, double bits_per_key,
                                             struct nr_buffer *out, bool *is_built_out, struct nori_error *err);

/* Copies a section. '*valid_out' is false if it makes no sense. */
NORI_WARN_UNUSED nori_status nr_ribbon_init(struct nr_ribbon *ribbon, nori_slice section, bool *valid_out,
                                            struct nori_error *err);
void nr_ribbon_clear(struct nr_ribbon *ribbon);

static inline size_t nr_ribbon_bytes(const struct nr_ribbon *ribbon)
{
    return (size_t)ribbon->block_count * ribbon->result_bits * sizeof(uint64_t);
}

/* ---------------------------------------------------------------- asking */

struct nr_ribbon_row {
    uint64_t start;        /* A slot. */
    uint64_t coefficients; /* Bit i: slot start + i. Bit 0 is set. */
    uint64_t mixed;        /* Its upper bits are the fingerprint. */
};

static inline struct nr_ribbon_row nr_ribbon_row(uint64_t hash, uint64_t seed, uint64_t block_count)
{
    uint64_t base = (hash ^ seed) * 0x9E3779B97F4A7C15ull;
    uint64_t place, coefficients;

    base ^= base >> 32;
    place = (base * 0xD6E8FEB86659FD93ull) >> 32;
    coefficients = base * 0xBF58476D1CE4E5B9ull;
    coefficients ^= coefficients >> 32;
    /* No start lies in the last block, so that the next one is always there. */
    return (struct nr_ribbon_row){.start = (place * ((block_count - 1) * NR_RIBBON_BLOCK_SLOTS)) >> 32,
                                  .coefficients = coefficients | 1,
                                  .mixed = coefficients * 0xA24BAED4963EE407ull};
}

static inline void nr_ribbon_prefetch(const struct nr_ribbon *ribbon, uint64_t hash)
{
    struct nr_ribbon_row row = nr_ribbon_row(hash, ribbon->seed, ribbon->block_count);
    const uint64_t *words = ribbon->words + row.start / NR_RIBBON_BLOCK_SLOTS * ribbon->result_bits;
    __builtin_prefetch(words);
    __builtin_prefetch(words + 2 * ribbon->result_bits - 1);
}

static inline bool nr_ribbon_may_hold(const struct nr_ribbon *ribbon, uint64_t hash)
{
    struct nr_ribbon_row row = nr_ribbon_row(hash, ribbon->seed, ribbon->block_count);
    uint32_t bits = ribbon->result_bits;
    unsigned shift = row.start % NR_RIBBON_BLOCK_SLOTS;
    uint64_t low = row.coefficients << shift, high = row.coefficients >> 1 >> (63 - shift);
    const uint64_t *words = ribbon->words + row.start / NR_RIBBON_BLOCK_SLOTS * bits;
    uint64_t fingerprint = row.mixed >> (64 - bits);

    uint64_t differing = 0;
    for (uint32_t i = 0; i < bits; i++) {
        uint64_t sum = (words[i] & low) ^ (words[i + bits] & high);
        differing |= (uint64_t)__builtin_parityll(sum) ^ fingerprint >> i;
    }
    return (differing & 1) == 0;
}

#endif

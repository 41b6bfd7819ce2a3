/* Blocked Bloom filter: all bits of a key lie in one line of 64 bytes, so that asking costs one cache miss. */
#ifndef NR_TABLE_FILTER_H
#define NR_TABLE_FILTER_H

#include "base/buffer.h"
#include "table/table_format.h"

/* Appends the filter of 'count' hashes (nr_hash_key). */
NORI_WARN_UNUSED nori_status nr_filter_build(const uint64_t *hashes, size_t count, double bits_per_key,
                                             struct nr_buffer *out, struct nori_error *err);

struct nr_filter {
    uint8_t *lines; /* Owned, aligned to a line. NULL: no filter, every key may be there. */
    uint64_t line_count;
    uint32_t probe_count;
};

/* Copies the bytes of a section. CORRUPTION is left to the caller to tell: '*valid_out' is false. */
NORI_WARN_UNUSED nori_status nr_filter_init(struct nr_filter *filter, nori_slice section, bool *valid_out,
                                            struct nori_error *err);
void nr_filter_clear(struct nr_filter *filter);

/* Seven positions of nine bits come out of one mixed word. The line is chosen by the upper half of the hash, so the
 * word is led by the lower. */
#define NR_FILTER_MIX 0x9E3779B97F4A7C15ull
#define NR_FILTER_PROBES_PER_WORD 7

static inline uint64_t nr_filter_line(uint64_t hash, uint64_t line_count)
{
    return ((hash >> 32) * line_count) >> 32; /* line_count is below 2^32. */
}

static inline uint64_t nr_filter_next_word(uint64_t word)
{
    word = (word ^ word >> 32) * NR_FILTER_MIX;
    return word ^ word >> 32;
}

static inline void nr_filter_prefetch(const struct nr_filter *filter, uint64_t hash)
{
    __builtin_prefetch(filter->lines + NR_FILTER_LINE_BYTES * nr_filter_line(hash, filter->line_count));
}

static inline bool nr_filter_may_hold(const struct nr_filter *filter, uint64_t hash)
{
    const uint8_t *line;
    uint64_t word = nr_filter_next_word(hash);
    uint64_t all = 1;

    line = filter->lines + NR_FILTER_LINE_BYTES * nr_filter_line(hash, filter->line_count);
    for (uint32_t left = filter->probe_count;;) {
        uint64_t bits = word;
        for (uint32_t n = NR_MIN(left, NR_FILTER_PROBES_PER_WORD); n > 0; n--, bits >>= 9)
            all &= (uint64_t)line[(bits & 511) >> 3] >> (bits & 7);
        if (left <= NR_FILTER_PROBES_PER_WORD || all == 0) return all != 0;
        left -= NR_FILTER_PROBES_PER_WORD;
        word = nr_filter_next_word(word);
    }
}

#endif

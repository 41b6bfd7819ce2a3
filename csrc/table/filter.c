#include "table/filter.h"

#include "base/alloc.h"
#include "base/coding.h"

/* Hashes are taken this far ahead of their lines. */
#define PREFETCH_AHEAD 16

/* Lines fill unevenly. This much more room than was asked for takes ten bits a key from 0.96 % false positives to 0.85.
 */
#define ROOM 1.03

/* The best count for whole filters is 0.69 bits; lines fill unevenly, and the fuller ones, which give most of the false
 * positives, want fewer. */
static uint32_t choose_probe_count(double bits_per_key)
{
    double probes = bits_per_key * 0.62;
    if (probes < 1) return 1;
    if (probes > NR_FILTER_MAX_PROBES) return NR_FILTER_MAX_PROBES;
    return (uint32_t)(probes + 0.5);
}

static void set_bits(uint8_t *line, uint64_t hash, uint32_t probe_count)
{
    uint64_t word = nr_filter_next_word(hash);
    for (uint32_t left = probe_count;;) {
        uint64_t bits = word;
        for (uint32_t n = NR_MIN(left, NR_FILTER_PROBES_PER_WORD); n > 0; n--, bits >>= 9)
            line[(bits & 511) >> 3] |= (uint8_t)(1u << (bits & 7));
        if (left <= NR_FILTER_PROBES_PER_WORD) return;
        left -= NR_FILTER_PROBES_PER_WORD;
        word = nr_filter_next_word(word);
    }
}

nori_status nr_filter_build(const uint64_t *hashes, size_t count, double bits_per_key, struct nr_buffer *out,
                            struct nori_error *err)
{
    nori_status rc = NORI_OK;
    uint32_t probe_count = choose_probe_count(bits_per_key);
    double line_count_wanted = (double)count * bits_per_key * ROOM / (8 * NR_FILTER_LINE_BYTES);
    uint64_t line_count = line_count_wanted >= UINT32_MAX / NR_FILTER_LINE_BYTES ? UINT32_MAX / NR_FILTER_LINE_BYTES - 1
                                                                                 : (uint64_t)line_count_wanted + 1;
    size_t line_bytes = (size_t)line_count * NR_FILTER_LINE_BYTES;
    uint8_t *lines;

    NR_CHECK(nr_buffer_reserve(out, line_bytes + NR_FILTER_END_BYTES + NR_TRAILER_BYTES, err));
    lines = out->data + out->size;
    memset(lines, 0, line_bytes);
    for (size_t i = 0; i < count; i++) {
        if (i + PREFETCH_AHEAD < count) {
            uint64_t ahead = nr_filter_line(hashes[i + PREFETCH_AHEAD], line_count);
            __builtin_prefetch(lines + NR_FILTER_LINE_BYTES * ahead, 1);
        }
        set_bits(lines + NR_FILTER_LINE_BYTES * nr_filter_line(hashes[i], line_count), hashes[i], probe_count);
    }
    nr_put_fixed32(lines + line_bytes + NR_FILTER_KIND_AT, NR_FILTER_BLOCKED_BLOOM);
    nr_put_fixed32(lines + line_bytes + NR_FILTER_PROBES_AT, probe_count);
    nr_put_fixed64(lines + line_bytes + NR_FILTER_LINES_AT, line_count);
    out->size += line_bytes + NR_FILTER_END_BYTES;
out:
    return rc;
}

nori_status nr_filter_init(struct nr_filter *filter, nori_slice section, bool *valid_out, struct nori_error *err)
{
    const uint8_t *end;
    size_t line_bytes;

    *filter = (struct nr_filter){NULL, 0, 0};
    *valid_out = false;
    if (section.size < NR_FILTER_END_BYTES) return NORI_OK;
    line_bytes = section.size - NR_FILTER_END_BYTES;
    end = section.data + line_bytes;
    filter->probe_count = nr_get_fixed32(end + NR_FILTER_PROBES_AT);
    filter->line_count = nr_get_fixed64(end + NR_FILTER_LINES_AT);
    if (nr_get_fixed32(end + NR_FILTER_KIND_AT) != NR_FILTER_BLOCKED_BLOOM || filter->probe_count == 0 ||
        filter->probe_count > NR_FILTER_MAX_PROBES || filter->line_count == 0 ||
        line_bytes % NR_FILTER_LINE_BYTES != 0 || filter->line_count != line_bytes / NR_FILTER_LINE_BYTES ||
        filter->line_count > UINT32_MAX)
        return NORI_OK;
    filter->lines = nr_alloc_aligned(NR_FILTER_LINE_BYTES, line_bytes);
    if (!filter->lines) return nr_fail_memory(err, line_bytes);
    memcpy(filter->lines, section.data, line_bytes);
    *valid_out = true;
    return NORI_OK;
}

void nr_filter_clear(struct nr_filter *filter)
{
    nr_free(filter->lines);
    *filter = (struct nr_filter){NULL, 0, 0};
}

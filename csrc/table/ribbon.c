#include "table/ribbon.h"

#include "base/alloc.h"
#include "base/coding.h"

/* Rows are taken this far ahead of their slots. */
#define PREFETCH_AHEAD 16
#define MAX_ATTEMPTS 64
/* Attempts before a little more room is given. */
#define ATTEMPTS_PER_ROOM 2
#define ROOM_STEP 0.01

/* An equation, its first unknown the slot that it stands at. */
struct row {
    uint64_t coefficients; /* 0: none. */
    uint64_t fingerprint;
};

/* Bits per key of a blocked Bloom filter, times this, is about the logarithm of its false positives: 6.6 of ten (one in
 * 100 is promised), 7.9 of twelve. */
#define RESULT_BITS_PER_BIT 0.66

uint32_t nr_ribbon_result_bits(double bits_per_key)
{
    double bits = bits_per_key * RESULT_BITS_PER_BIT;
    uint32_t whole = bits >= NR_RIBBON_MAX_RESULT_BITS ? NR_RIBBON_MAX_RESULT_BITS : (uint32_t)bits;
    if (whole < NR_RIBBON_MAX_RESULT_BITS && (double)whole < bits) whole++;
    return NR_MAX(whole, 1u);
}

/* Slots for each key. What solves most sets of equations at the first or second attempt grows with the logarithm of
 * their count: measured, 1.05 of 10,000 keys, 1.09 of 100,000, 1.12 of a million. */
static double room_for(size_t count, unsigned attempt)
{
    double room = 0.93 + attempt / ATTEMPTS_PER_ROOM * ROOM_STEP;
    for (size_t rest = count; rest > 1; rest /= 2) room += 0.01;
    return NR_MAX(room, 1.0);
}

/* False: too many for 32 bits of place. */
static bool choose_block_count(size_t count, unsigned attempt, uint64_t *blocks_out)
{
    double slots = (double)count * room_for(count, attempt);
    if (slots >= (double)(UINT32_MAX - 4 * NR_RIBBON_BLOCK_SLOTS)) return false;
    *blocks_out = ((uint64_t)slots + NR_RIBBON_BLOCK_SLOTS - 1) / NR_RIBBON_BLOCK_SLOTS + 1;
    if (*blocks_out < 2) *blocks_out = 2;
    return true;
}

static uint64_t seed_of(uint32_t attempt)
{
    return attempt * 0x94D049BB133111EBull;
}

/* Eliminates as equations come. False: two of them contradict each other. */
static bool add_rows(const uint64_t *hashes, size_t count, uint32_t attempt, uint64_t block_count, uint32_t bits,
                     struct row *rows)
{
    uint64_t seed = seed_of(attempt);
    for (size_t i = 0; i < count; i++) {
        struct nr_ribbon_row key = nr_ribbon_row(hashes[i], seed, block_count);
        struct row row = {key.coefficients, key.mixed >> (64 - bits)};
        uint64_t at = key.start;
        if (i + PREFETCH_AHEAD < count)
            __builtin_prefetch(&rows[nr_ribbon_row(hashes[i + PREFETCH_AHEAD], seed, block_count).start], 1);
        while (rows[at].coefficients) {
            row.coefficients ^= rows[at].coefficients;
            row.fingerprint ^= rows[at].fingerprint;
            if (row.coefficients == 0) break;
            int zeros = __builtin_ctzll(row.coefficients);
            row.coefficients >>= zeros;
            at += (unsigned)zeros;
        }
        if (row.coefficients)
            rows[at] = row;
        else if (row.fingerprint) /* Else it said what is known already: the same hash. */
            return false;
    }
    return true;
}

/* From the last slot to the first: each row says its slot's bits, given those behind it. */
static void solve(const struct row *rows, uint64_t block_count, uint32_t bits, uint8_t *out)
{
    uint64_t behind[NR_RIBBON_MAX_RESULT_BITS] = {0}; /* By result bit: those of the 64 slots from the last one on. */
    for (uint64_t block = block_count; block-- > 0;) {
        for (unsigned slot = NR_RIBBON_BLOCK_SLOTS; slot-- > 0;) {
            struct row row = rows[block * NR_RIBBON_BLOCK_SLOTS + slot];
            for (uint32_t i = 0; i < bits; i++) {
                uint64_t next = behind[i] << 1;
                behind[i] = next | (((uint64_t)__builtin_parityll(next & row.coefficients) ^ row.fingerprint >> i) & 1);
            }
        }
        for (uint32_t i = 0; i < bits; i++) nr_put_fixed64(out + (block * bits + i) * sizeof(uint64_t), behind[i]);
    }
}

nori_status nr_ribbon_build(const uint64_t *hashes, size_t count, double bits_per_key, struct nr_buffer *out,
                            bool *is_built_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    uint32_t bits = nr_ribbon_result_bits(bits_per_key), attempt = 0;
    uint64_t block_count = 0, capacity = 0;
    struct row *rows = NULL;
    uint8_t *end;

    *is_built_out = false;
    for (;; attempt++) {
        if (attempt == MAX_ATTEMPTS || !choose_block_count(count, attempt, &block_count)) goto out;
        size_t row_bytes = (size_t)block_count * NR_RIBBON_BLOCK_SLOTS * sizeof(*rows);
        if (block_count > capacity) {
            nr_free(rows);
            rows = nr_alloc(row_bytes);
            if (!rows) {
                rc = nr_fail_memory(err, row_bytes);
                goto out;
            }
            capacity = block_count;
        }
        memset(rows, 0, row_bytes);
        if (add_rows(hashes, count, attempt, block_count, bits, rows)) break;
    }
    size_t word_bytes = (size_t)block_count * bits * sizeof(uint64_t);
    NR_CHECK(nr_buffer_reserve(out, word_bytes + NR_RIBBON_END_BYTES + NR_TRAILER_BYTES, err));
    solve(rows, block_count, bits, out->data + out->size);
    end = out->data + out->size + word_bytes;
    nr_put_fixed32(end + NR_RIBBON_BITS_AT, bits);
    nr_put_fixed32(end + NR_RIBBON_SEED_AT, attempt);
    nr_put_fixed64(end + NR_RIBBON_BLOCKS_AT, block_count);
    out->size += word_bytes + NR_RIBBON_END_BYTES;
    *is_built_out = true;
out:
    nr_free(rows);
    return rc;
}

nori_status nr_ribbon_init(struct nr_ribbon *ribbon, nori_slice section, bool *valid_out, struct nori_error *err)
{
    const uint8_t *end;
    size_t word_bytes;
    uint64_t *words;

    *ribbon = (struct nr_ribbon){.words = NULL};
    *valid_out = false;
    if (section.size < NR_RIBBON_END_BYTES) return NORI_OK;
    word_bytes = section.size - NR_RIBBON_END_BYTES;
    end = section.data + word_bytes;
    uint32_t bits = nr_get_fixed32(end + NR_RIBBON_BITS_AT);
    uint64_t block_count = nr_get_fixed64(end + NR_RIBBON_BLOCKS_AT);
    if (bits == 0 || bits > NR_RIBBON_MAX_RESULT_BITS || block_count < 2 ||
        block_count > UINT32_MAX / NR_RIBBON_BLOCK_SLOTS || word_bytes % (bits * sizeof(uint64_t)) != 0 ||
        block_count != word_bytes / (bits * sizeof(uint64_t)))
        return NORI_OK;
    words = nr_alloc_aligned(64, word_bytes);
    if (!words) return nr_fail_memory(err, word_bytes);
    for (size_t i = 0; i < word_bytes / sizeof(*words); i++)
        words[i] = nr_get_fixed64(section.data + i * sizeof(*words));
    *ribbon = (struct nr_ribbon){.words = words,
                                 .block_count = block_count,
                                 .seed = seed_of(nr_get_fixed32(end + NR_RIBBON_SEED_AT)),
                                 .result_bits = bits};
    *valid_out = true;
    return NORI_OK;
}

void nr_ribbon_clear(struct nr_ribbon *ribbon)
{
    nr_free(ribbon->words);
    *ribbon = (struct nr_ribbon){.words = NULL};
}

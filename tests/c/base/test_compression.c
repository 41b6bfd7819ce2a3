#include "harness.h"

#include "base/compression.h"
#include "base/random.h"

#define INPUT_BYTES 4096

static const int kinds[] = {NORI_COMPRESSION_LZ4, NORI_COMPRESSION_ZSTD};

/* Compresses 'size' bytes of a text that repeats itself; the caller owns the result. */
static uint8_t *compress_text(int kind, uint8_t *input, size_t size, size_t *size_out)
{
    struct nori_error err;
    size_t capacity = nr_compress_bound(kind, size);
    uint8_t *out = nr_alloc(capacity);
    for (size_t i = 0; i < size; i++) input[i] = (uint8_t)("the quick brown fox "[i % 20] + (i / 500));
    EXPECT(out != NULL);
    EXPECT_OK(nr_compress(kind, nr_slice(input, size), out, capacity, size_out, &err), &err);
    EXPECT(*size_out > 0 && *size_out < size);
    return out;
}

TEST(blocks_survive_a_round_trip)
{
    for (size_t i = 0; i < NR_ARRAY_LEN(kinds); i++) {
        uint8_t input[INPUT_BYTES], output[INPUT_BYTES];
        size_t size;
        uint8_t *packed = compress_text(kinds[i], input, sizeof(input), &size);
        EXPECT(nr_decompress(kinds[i], nr_slice(packed, size), output, sizeof(output)));
        EXPECT(memcmp(input, output, sizeof(input)) == 0);
        nr_free(packed);
    }
}

/* What packs best: one byte again and again. */
TEST(nothing_decompresses_to_more_than_its_bound)
{
    for (size_t i = 0; i < NR_ARRAY_LEN(kinds); i++) {
        for (size_t size = 64; size <= (8u << 20); size *= 2) {
            struct nori_error err;
            size_t packed_size, capacity = nr_compress_bound(kinds[i], size);
            uint8_t *input = nr_calloc(1, size), *packed = nr_alloc(capacity);
            EXPECT(input && packed);
            EXPECT_OK(nr_compress(kinds[i], nr_slice(input, size), packed, capacity, &packed_size, &err), &err);
            EXPECT(packed_size > 0 && size <= nr_decompress_bound(kinds[i], packed_size));
            nr_free(input);
            nr_free(packed);
        }
    }
    EXPECT_EQ(nr_decompress_bound(NORI_COMPRESSION_LZ4, 100), 25500);
    EXPECT_EQ(nr_decompress_bound(NORI_COMPRESSION_ZSTD, 100), 25 * (128 << 10));
    EXPECT_EQ(nr_decompress_bound(NORI_COMPRESSION_NONE, 100), 100);
    EXPECT_EQ(nr_decompress_bound(200, 100), 0);
}

TEST(what_does_not_shrink_by_an_eighth_is_left_raw)
{
    struct nr_random random;
    uint8_t input[INPUT_BYTES], output[2 * INPUT_BYTES];
    struct nori_error err;
    size_t size = 1;

    nr_random_init(&random, 1);
    for (size_t i = 0; i < sizeof(input); i++) input[i] = (uint8_t)nr_random_next(&random);
    for (size_t i = 0; i < NR_ARRAY_LEN(kinds); i++) {
        EXPECT_OK(nr_compress(kinds[i], nr_slice(input, sizeof(input)), output, sizeof(output), &size, &err), &err);
        EXPECT_EQ(size, 0);
        EXPECT_OK(nr_compress(kinds[i], nr_slice("", 0), output, sizeof(output), &size, &err), &err);
        EXPECT_EQ(size, 0);
    }
    memset(input, 0, sizeof(input));
    EXPECT_OK(nr_compress(NORI_COMPRESSION_NONE, nr_slice(input, 100), output, sizeof(output), &size, &err), &err);
    EXPECT_EQ(size, 0);
}

TEST(output_that_is_too_small_means_raw)
{
    struct nori_error err;
    uint8_t input[INPUT_BYTES] = {0}, output[4];
    for (size_t i = 0; i < NR_ARRAY_LEN(kinds); i++) {
        size_t size = 1;
        EXPECT_OK(nr_compress(kinds[i], nr_slice(input, sizeof(input)), output, sizeof(output), &size, &err), &err);
        EXPECT_EQ(size, 0);
    }
}

TEST(a_block_of_another_size_is_refused_and_nothing_beyond_is_written)
{
    for (size_t i = 0; i < NR_ARRAY_LEN(kinds); i++) {
        uint8_t input[INPUT_BYTES];
        size_t size;
        uint8_t *packed = compress_text(kinds[i], input, sizeof(input), &size);
        static const size_t wrong[] = {0, 1, INPUT_BYTES - 1, INPUT_BYTES + 1, 2 * INPUT_BYTES};
        for (size_t j = 0; j < NR_ARRAY_LEN(wrong); j++) {
            uint8_t *output = nr_alloc(wrong[j] + 64); /* What follows the size must stay. */
            memset(output, 0xa5, wrong[j] + 64);
            EXPECT(!nr_decompress(kinds[i], nr_slice(packed, size), output, wrong[j]));
            for (size_t k = 0; k < 64; k++) EXPECT_EQ(output[wrong[j] + k], 0xa5);
            nr_free(output);
        }
        EXPECT(!nr_decompress(kinds[i], nr_slice(packed, size), NULL, 0));
        EXPECT(!nr_decompress(kinds[i], nr_slice(NULL, 0), NULL, 0));
        EXPECT(!nr_decompress(kinds[i], nr_slice(NULL, 0), input, 10));
        nr_free(packed);
    }
}

/* A flipped literal decodes to other bytes of the right size, which is for the checksum to find. */
TEST(damaged_input_never_writes_out_of_bounds)
{
    for (size_t i = 0; i < NR_ARRAY_LEN(kinds); i++) {
        uint8_t input[1000];
        size_t size;
        uint8_t *packed = compress_text(kinds[i], input, sizeof(input), &size);
        uint8_t *output = nr_alloc(sizeof(input));
        for (size_t bit = 0; bit < size * 8; bit++) {
            packed[bit / 8] ^= (uint8_t)(1u << bit % 8);
            nr_decompress(kinds[i], nr_slice(packed, size), output, sizeof(input));
            packed[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        for (size_t cut = 0; cut < size; cut++) {
            uint8_t *part = nr_alloc(cut);
            memcpy(part, packed, cut);
            EXPECT(!nr_decompress(kinds[i], nr_slice(part, cut), output, sizeof(input)));
            nr_free(part);
        }
        EXPECT(nr_decompress(kinds[i], nr_slice(packed, size), output, sizeof(input)));
        nr_free(output);
        nr_free(packed);
    }
}

TEST(raw_and_unknown_kinds_are_checked_too)
{
    uint8_t output[3];
    EXPECT(nr_decompress(NORI_COMPRESSION_NONE, nr_slice_text("abc"), output, 3));
    EXPECT(memcmp(output, "abc", 3) == 0);
    EXPECT(!nr_decompress(NORI_COMPRESSION_NONE, nr_slice_text("abcd"), output, 3));
    EXPECT(nr_decompress(NORI_COMPRESSION_NONE, nr_slice(NULL, 0), NULL, 0));
    EXPECT(!nr_decompress(99, nr_slice_text("abc"), output, 3));
    EXPECT_EQ(nr_compress_bound(NORI_COMPRESSION_NONE, 100), 0);
    EXPECT(nr_compress_bound(NORI_COMPRESSION_LZ4, 100) >= 100);
}

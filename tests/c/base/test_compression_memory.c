/* zstd without memory: this program's own definitions stand in for the library's. */
#include "harness.h"

#include <zstd.h>

#include "base/compression.h"

ZSTD_CCtx *ZSTD_createCCtx(void)
{
    return NULL;
}

ZSTD_DCtx *ZSTD_createDCtx(void)
{
    return NULL;
}

/* 1000 times 'a', a frame made by hand: magic, descriptor (single segment, two bytes of size), size - 256, last
 * block of repeats. */
static const uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd, 0x60, 0xe8, 0x02, 0x43, 0x1f, 0x00, 'a'};

TEST(want_of_memory_does_not_pass_for_damage)
{
    uint8_t output[1000];
    EXPECT(nr_decompress(NORI_COMPRESSION_ZSTD, nr_slice(frame, sizeof(frame)), output, sizeof(output)));
    for (size_t i = 0; i < sizeof(output); i++) EXPECT_EQ(output[i], 'a');
    EXPECT(!nr_decompress(NORI_COMPRESSION_ZSTD, nr_slice(frame, sizeof(frame)), output, 999));
    EXPECT(!nr_decompress(NORI_COMPRESSION_ZSTD, nr_slice(frame, sizeof(frame) - 1), output, 1000));
}

TEST(compressing_without_memory_says_so)
{
    uint8_t input[1000] = {0}, output[2000];
    struct nori_error err;
    size_t size = 1;
    EXPECT_STATUS(
        nr_compress(NORI_COMPRESSION_ZSTD, nr_slice(input, sizeof(input)), output, sizeof(output), &size, &err),
        NORI_NO_MEMORY, &err);
    EXPECT_EQ(size, 0);
}

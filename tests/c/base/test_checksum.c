#include "harness.h"

#include "base/checksum.h"

TEST(checksums_are_xxh3_and_stay_so)
{
    EXPECT(nr_checksum(0, nr_slice(NULL, 0)) == 0x2D06800538D394C2ull);
    EXPECT(nr_hash_key(nr_slice(NULL, 0)) == 0x2D06800538D394C2ull);
    EXPECT(nr_hash_key(nr_slice_text("key")) == nr_checksum(0, nr_slice_text("key")));
}

TEST(two_parts_have_the_checksum_of_the_whole)
{
    static uint8_t bytes[5000];
    static const size_t sizes[] = {0, 1, 16, 17, 128, 129, 240, 241, 1023, 1024, 1025, 5000};
    for (size_t i = 0; i < sizeof(bytes); i++) bytes[i] = (uint8_t)(i * 131 >> 3);
    for (size_t i = 0; i < NR_ARRAY_LEN(sizes); i++) {
        uint64_t whole = nr_checksum(77, nr_slice(bytes, sizes[i]));
        for (size_t cut = 0; cut <= sizes[i]; cut += 1 + sizes[i] / 13) {
            uint64_t joined = nr_checksum2(77, nr_slice(bytes, cut), nr_slice(bytes + cut, sizes[i] - cut));
            EXPECT(joined == whole);
        }
    }
    EXPECT(nr_checksum2(5, nr_slice(NULL, 0), nr_slice(bytes, 2000)) == nr_checksum(5, nr_slice(bytes, 2000)));
    EXPECT(nr_checksum2(5, nr_slice(bytes, 2000), nr_slice(NULL, 0)) == nr_checksum(5, nr_slice(bytes, 2000)));
}

TEST(every_flipped_bit_and_every_other_place_changes_the_checksum)
{
    uint8_t bytes[96] = {1, 2, 3};
    uint64_t seed = nr_checksum_seed(1, 2, 3), whole = nr_checksum(seed, nr_slice(bytes, sizeof(bytes)));
    for (size_t bit = 0; bit < sizeof(bytes) * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        EXPECT(nr_checksum(seed, nr_slice(bytes, sizeof(bytes))) != whole);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    EXPECT(nr_checksum(nr_checksum_seed(2, 2, 3), nr_slice(bytes, sizeof(bytes))) != whole);
    EXPECT(nr_checksum(nr_checksum_seed(1, 3, 3), nr_slice(bytes, sizeof(bytes))) != whole);
    EXPECT(nr_checksum(nr_checksum_seed(1, 2, 4), nr_slice(bytes, sizeof(bytes))) != whole);
}

TEST(a_checksum_matches_its_own_bytes_and_seed_alone)
{
    uint8_t bytes[40] = {9, 8, 7};
    uint64_t sum = nr_checksum(5, nr_slice(bytes, sizeof(bytes)));
    EXPECT(nr_checksum_matches(5, nr_slice(bytes, sizeof(bytes)), sum));
    EXPECT(!nr_checksum_matches(5, nr_slice(bytes, sizeof(bytes)), sum ^ 1));
    EXPECT(!nr_checksum_matches(6, nr_slice(bytes, sizeof(bytes)), sum));
    EXPECT(!nr_checksum_matches(5, nr_slice(bytes, sizeof(bytes) - 1), sum));
}

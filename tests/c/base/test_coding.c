#include "harness.h"

#include "base/coding.h"

TEST(varints_survive_a_round_trip_and_no_truncation)
{
    for (unsigned bits = 0; bits <= 64; bits++) {
        uint64_t edge = bits == 64 ? 0 : 1ull << bits;
        for (uint64_t value = edge - 1, n = 0; n < 3; n++, value++) {
            uint8_t bytes[NR_VARINT_MAX_BYTES];
            size_t size = (size_t)(nr_put_varint(bytes, value) - bytes);
            uint64_t read;
            EXPECT_EQ(size, nr_varint_size(value));
            EXPECT(nr_get_varint(bytes, bytes + size, &read) == bytes + size);
            EXPECT_EQ(read, value);
            for (size_t cut = 0; cut < size; cut++) EXPECT(nr_get_varint(bytes, bytes + cut, &read) == NULL);
        }
    }
}

TEST(varints_longer_than_64_bits_are_refused)
{
    uint8_t bytes[11];
    uint64_t value;
    memset(bytes, 0xff, sizeof(bytes));
    bytes[9] = 0x01;
    EXPECT(nr_get_varint(bytes, bytes + 11, &value) == bytes + 10);
    EXPECT(value == UINT64_MAX);
    bytes[9] = 0x02;
    EXPECT(nr_get_varint(bytes, bytes + 11, &value) == NULL);
    bytes[9] = 0x81;
    bytes[10] = 0x00;
    EXPECT(nr_get_varint(bytes, bytes + 11, &value) == NULL);
}

TEST(fixed_numbers_are_little_endian)
{
    uint8_t bytes[8];
    nr_put_fixed64(bytes, 0x0807060504030201ull);
    for (size_t i = 0; i < 8; i++) EXPECT_EQ(bytes[i], i + 1);
    EXPECT_EQ(nr_get_fixed64(bytes), 0x0807060504030201ll);
    EXPECT_EQ(nr_get_fixed32(bytes), 0x04030201);
    EXPECT_EQ(nr_get_fixed16(bytes), 0x0201);
}

TEST(a_take_that_fails_leaves_its_input_as_it_was)
{
    const uint8_t bytes[] = {0x05, 'a', 'b', 'c', 'd'};
    nori_slice input = nr_slice(bytes, sizeof(bytes)), taken;
    uint64_t value64;
    EXPECT(!nr_take_sized(&input, &taken));
    EXPECT(!nr_take_fixed64(&input, &value64));
    EXPECT(!nr_take_bytes(&input, 6, &taken));
    EXPECT(!nr_take_bytes(&input, SIZE_MAX, &taken));
    EXPECT(input.data == bytes);
    EXPECT_EQ(input.size, sizeof(bytes));
}

TEST(a_length_near_the_largest_number_is_refused)
{
    uint8_t bytes[NR_VARINT_MAX_BYTES + 3];
    nori_slice input, taken;
    nr_put_varint(bytes, UINT64_MAX);
    input = nr_slice(bytes, sizeof(bytes));
    EXPECT(!nr_take_sized(&input, &taken));
    EXPECT_EQ(input.size, sizeof(bytes));
}

TEST(nothing_is_taken_from_nothing)
{
    nori_slice input = nr_slice(NULL, 0), taken;
    uint64_t value64;
    uint32_t value32;
    EXPECT(!nr_take_varint(&input, &value64));
    EXPECT(!nr_take_fixed32(&input, &value32));
    EXPECT(!nr_take_fixed64(&input, &value64));
    EXPECT(!nr_take_sized(&input, &taken));
    EXPECT(nr_take_bytes(&input, 0, &taken));
    EXPECT_EQ(taken.size, 0);
}

TEST(prefixes_order_as_the_bytes_do)
{
    static const char *const keys[] = {"", "a", "a\x01", "ab", "abcdefgh", "abcdefghi", "b", "\xff"};
    for (size_t i = 0; i < NR_ARRAY_LEN(keys); i++) {
        for (size_t j = 0; j < NR_ARRAY_LEN(keys); j++) {
            nori_slice a = nr_slice_text(keys[i]), b = nr_slice_text(keys[j]);
            int order = nr_slice_compare(a, b);
            EXPECT_EQ(order < 0, i < j);
            EXPECT_EQ(order == 0, i == j);
            EXPECT_EQ(nr_slice_equal(a, b), i == j);
            if (nr_slice_prefix(a) < nr_slice_prefix(b)) EXPECT(order < 0);
            if (nr_slice_prefix(a) > nr_slice_prefix(b)) EXPECT(order > 0);
        }
    }
}

TEST(the_infinite_bound_lies_above_every_key)
{
    struct nr_bound infinite = nr_bound_infinite(), key = nr_bound_key(nr_slice_text("m"));
    EXPECT(nr_bound_compare(key, infinite) < 0);
    EXPECT(nr_bound_compare(infinite, key) > 0);
    EXPECT_EQ(nr_bound_compare(infinite, infinite), 0);
    EXPECT(nr_bound_above(infinite, nr_slice_text("\xff\xff")));
    EXPECT(nr_bound_above(key, nr_slice_text("l")));
    EXPECT(!nr_bound_above(key, nr_slice_text("m")));
}

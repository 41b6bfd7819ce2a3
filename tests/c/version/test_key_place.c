#include "base/random.h"
#include "harness.h"
#include "version/key_place.h"

static double find(const char *start, const char *end, const char *key)
{
    struct nr_bound bound = end ? nr_bound_key(nr_slice_text(end)) : nr_bound_infinite();
    struct nr_key_place place = nr_key_place_find(nr_slice_text(start), bound, nr_slice_text(key));
    EXPECT(place.whole > 0 && place.part <= place.whole);
    return (double)place.part / (double)place.whole;
}

static void expect_near(double actual, double expected)
{
    if (actual < expected - 0.02 || actual > expected + 0.02) FAIL("%f is not near %f", actual, expected);
}

TEST(keys_of_common_kinds_lie_where_their_numbers_do)
{
    expect_near(find("user0000", "user1000", "user0250"), 0.25);
    expect_near(find("key:00017", "key:98000", "key:49000"), 0.5);
    expect_near(find("t/0000/x", "t/0400/x", "t/0300/b"), 0.75);
    expect_near(find("00a0", "ff00", "7f81"), 0.5);
    expect_near(find("", NULL, "\x40"), 0.25);
    expect_near(find("\x10\x20", "\x30\x20", "\x20\x20"), 0.5);
    expect_near(find("apple", "zebra", "mango"), 0.48);
}

TEST(a_place_never_falls_as_the_key_rises_and_stays_within_the_bounds)
{
    static const uint8_t alphabet[] = {0, ' ', '/', '0', '5', '9', ':', 'A', 'F', 'Z', 'a', 'f', 'z', '~', 0xff};
    struct nr_random random;
    nr_random_init(&random, 3);
    for (int round = 0; round < 200000; round++) {
        uint8_t bytes[4][12];
        nori_slice keys[4];
        for (int i = 0; i < 4; i++) {
            size_t size = (size_t)nr_random_below(&random, 12);
            for (size_t j = 0; j < size; j++) bytes[i][j] = alphabet[nr_random_below(&random, sizeof(alphabet))];
            keys[i] = nr_slice(bytes[i], size);
            for (int j = i; j > 0 && nr_slice_compare(keys[j], keys[j - 1]) < 0; j--) {
                nori_slice other = keys[j];
                keys[j] = keys[j - 1];
                keys[j - 1] = other;
            }
        }
        struct nr_bound end = round % 5 ? nr_bound_key(keys[3]) : nr_bound_infinite();
        struct nr_key_place low = nr_key_place_find(keys[0], end, keys[1]);
        struct nr_key_place high = nr_key_place_find(keys[0], end, keys[2]);
        EXPECT_EQ(low.whole, high.whole);
        EXPECT(low.part <= high.part && high.part <= high.whole);
    }
}

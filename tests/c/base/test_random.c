#include "harness.h"

#include "base/random.h"

TEST(the_same_seed_is_the_same_run_everywhere)
{
    static const uint64_t expected[] = {0x99EC5F36CB75F2B4ull, 0xBF6E1F784956452Aull, 0x1A5F849D4933E6E0ull};
    struct nr_random random;
    nr_random_init(&random, 0);
    for (size_t i = 0; i < NR_ARRAY_LEN(expected); i++) EXPECT(nr_random_next(&random) == expected[i]);
}

TEST(below_and_unit_stay_within_their_limits_and_are_even)
{
    struct nr_random random;
    unsigned counts[10] = {0};
    double sum = 0;
    nr_random_init(&random, 42);
    for (int i = 0; i < 100000; i++) {
        double unit = nr_random_unit(&random);
        uint64_t drawn = nr_random_below(&random, 10);
        EXPECT(unit >= 0 && unit < 1);
        EXPECT(drawn < 10);
        sum += unit;
        counts[drawn]++;
    }
    EXPECT(sum > 49000 && sum < 51000);
    for (size_t i = 0; i < 10; i++) EXPECT(counts[i] > 9500 && counts[i] < 10500);
    for (int i = 0; i < 100; i++) {
        EXPECT_EQ(nr_random_below(&random, 1), 0);
        EXPECT(nr_random_below(&random, (1ull << 63) + 1) <= 1ull << 63);
    }
}

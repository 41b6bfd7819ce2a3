#include "base/random.h"
#include "harness.h"
#include "version/key_index.h"

#define MAX_KEYS 40

static int compare_keys(const void *a, const void *b)
{
    return nr_slice_compare(*(const nori_slice *)a, *(const nori_slice *)b);
}

static nori_slice random_key(struct nr_random *random, uint8_t *out, size_t common)
{
    static const uint8_t alphabet[] = {0, 1, 'a', 0xff};
    size_t size = common + (size_t)nr_random_below(random, 12);
    for (size_t i = 0; i < size; i++) out[i] = i < common ? 'p' : alphabet[nr_random_below(random, 4)];
    return nr_slice(out, size);
}

TEST(rank_counts_the_keys_at_or_below_whatever_they_have_in_common)
{
    struct nr_random random;
    static uint8_t bytes[MAX_KEYS][32];
    uint64_t memory[MAX_KEYS * 3];
    nr_random_init(&random, 1);
    for (int round = 0; round < 3000; round++) {
        struct nr_key_index index;
        size_t common = (size_t)nr_random_below(&random, 3) * 5, drawn = (size_t)nr_random_below(&random, MAX_KEYS);
        nori_slice drawn_keys[MAX_KEYS];
        for (size_t i = 0; i < drawn; i++) drawn_keys[i] = random_key(&random, bytes[i], common);
        qsort(drawn_keys, drawn, sizeof(*drawn_keys), compare_keys);
        size_t count = 0;
        for (size_t i = 0; i < drawn; i++) {
            if (count == 0 || compare_keys(&drawn_keys[count - 1], &drawn_keys[i])) drawn_keys[count++] = drawn_keys[i];
        }
        if (count > 0) memcpy(nr_key_index_keys(memory, count), drawn_keys, count * sizeof(*drawn_keys));
        nr_key_index_init(&index, memory, count);
        for (int probe = 0; probe < 40; probe++) {
            uint8_t out[32];
            nori_slice key = random_key(&random, out, nr_random_below(&random, 4) ? common : 0);
            if (count > 0 && probe % 4 == 0) key = drawn_keys[nr_random_below(&random, count)];
            size_t expected = 0;
            while (expected < count && nr_slice_compare(drawn_keys[expected], key) <= 0) expected++;
            EXPECT_EQ(nr_key_index_rank(&index, key), expected);
        }
        EXPECT_EQ(nr_key_index_rank(&index, nr_slice(NULL, 0)), count > 0 && drawn_keys[0].size == 0);
    }
}

#include "compact/sketch.h"

#include "base/coding.h"
#include "base/random.h"
#include "harness.h"

#define DOMAIN 20000
#define MAX_RANK_ERROR 0.02

static struct nori_error err;
static uint64_t weights[DOMAIN]; /* What was added, by key. */

static nori_slice key_of(uint64_t number)
{
    static char text[4][32];
    static int next;
    char *out = text[next++ % 4];
    snprintf(out, 32, "user/%08" PRIu64, number);
    return nr_slice_text(out);
}

static uint64_t number_of(nori_slice key)
{
    char text[32] = "";
    memcpy(text, key.data, NR_MIN(key.size, sizeof(text) - 1));
    return strtoull(text + 5, NULL, 10);
}

static struct nr_sketch *create(uint64_t seed)
{
    struct nr_sketch *sketch;
    EXPECT_OK(nr_sketch_create(seed, &sketch, &err), &err);
    return sketch;
}

static void add(struct nr_sketch *sketch, uint64_t number, uint64_t weight)
{
    nr_sketch_add(sketch, key_of(number), weight);
    weights[number] += weight;
}

/* Ranks and quantiles against what was added. */
static void expect_close(struct nr_sketch *sketch, const char *what)
{
    double total = 0, below = 0, worst = 0;
    for (size_t i = 0; i < DOMAIN; i++) total += (double)weights[i];
    double kept = (double)nr_sketch_total(sketch);
    if (kept < 0.97 * total || kept > 1.03 * total) FAIL("%s: total %f of %f", what, kept, total);
    for (size_t i = 0; i < DOMAIN; i++) {
        double error = (double)nr_sketch_rank(sketch, key_of(i)) / kept - below / total;
        worst = NR_MAX(worst, error < 0 ? -error : error);
        below += (double)weights[i];
    }
    if (worst > MAX_RANK_ERROR) FAIL("%s: rank error %f", what, worst);
    for (int step = 1; step < 20; step++) {
        uint64_t number = number_of(nr_sketch_quantile(sketch, step / 20.0));
        double first = 0;
        for (size_t i = 0; i < number; i++) first += (double)weights[i];
        double last = first + (double)weights[number];
        if (first / total > step / 20.0 + MAX_RANK_ERROR || last / total < step / 20.0 - MAX_RANK_ERROR)
            FAIL("%s: quantile %d/20 is %" PRIu64, what, step, number);
    }
}

enum input { UNIFORM, RISING, FALLING, ZIPF, FEW_KEYS, INPUT_COUNT };
static const char *const input_names[] = {"uniform", "rising", "falling", "zipf", "few keys"};

static uint64_t draw(enum input input, struct nr_random *random, uint64_t i, uint64_t count)
{
    double unit = nr_random_unit(random);
    switch (input) {
    case RISING:
        return i * DOMAIN / count;
    case FALLING:
        return DOMAIN - 1 - i * DOMAIN / count;
    case ZIPF: { /* Densities that fall with the rank, ranks spread over the domain. */
        uint64_t rank = 1;
        while (rank < DOMAIN && unit < 0.5) rank *= 2, unit *= 2;
        return nr_random_below(random, NR_MIN(rank, (uint64_t)DOMAIN)) * 7919 % DOMAIN;
    }
    case FEW_KEYS:
        return nr_random_below(random, 7) * 1000;
    default:
        return nr_random_below(random, DOMAIN);
    }
}

TEST(ranks_are_right_within_two_percent_whatever_the_order_and_the_skew)
{
    for (enum input input = UNIFORM; input < INPUT_COUNT; input++) {
        for (uint64_t seed = 1; seed <= 3; seed++) {
            struct nr_random random;
            struct nr_sketch *sketch = create(seed);
            nr_random_init(&random, seed + 100);
            memset(weights, 0, sizeof(weights));
            for (uint64_t i = 0; i < 60000; i++) add(sketch, draw(input, &random, i, 60000), 1);
            expect_close(sketch, input_names[input]);
            nr_sketch_destroy(sketch);
        }
    }
}

TEST(weights_count_as_so_many_keys)
{
    for (enum input input = UNIFORM; input < INPUT_COUNT; input++) {
        struct nr_random random;
        struct nr_sketch *sketch = create(5);
        nr_random_init(&random, 7);
        memset(weights, 0, sizeof(weights));
        for (uint64_t i = 0; i < 20000; i++) {
            uint64_t weight = 1 + nr_random_below(&random, 1u << nr_random_below(&random, 20));
            add(sketch, draw(input, &random, i, 20000), weight);
        }
        expect_close(sketch, input_names[input]);
        nr_sketch_destroy(sketch);
    }
}

TEST(few_keys_are_known_exactly)
{
    struct nr_sketch *sketch = create(1);
    EXPECT(nr_sketch_quantile(sketch, 0.5).data == NULL);
    EXPECT_EQ(nr_sketch_total(sketch), 0);
    EXPECT_EQ(nr_sketch_rank(sketch, nr_slice_text("a")), 0);
    nr_sketch_add(sketch, nr_slice_text("c"), 300);
    nr_sketch_add(sketch, nr_slice_text("a"), 100);
    nr_sketch_add(sketch, nr_slice_text("b"), 0);
    nr_sketch_add(sketch, nr_slice_text(""), 7);
    EXPECT_EQ(nr_sketch_total(sketch), 407);
    EXPECT_EQ(nr_sketch_rank(sketch, nr_slice_text("a")), 7);
    EXPECT_EQ(nr_sketch_rank(sketch, nr_slice_text("b")), 107);
    EXPECT_EQ(nr_sketch_rank(sketch, nr_slice_text("d")), 407);
    EXPECT_EQ(nr_sketch_between(sketch, nr_slice_text("a"), nr_bound_infinite()), 400);
    EXPECT_EQ(nr_sketch_between(sketch, nr_slice_text("a"), nr_bound_key(nr_slice_text("c"))), 100);
    EXPECT_SLICE(nr_sketch_quantile(sketch, 0.2), "a");
    EXPECT_SLICE(nr_sketch_quantile(sketch, 0.9), "c");
    nr_sketch_destroy(sketch);
}

TEST(long_keys_are_kept_as_prefixes)
{
    uint8_t key[200];
    struct nr_sketch *sketch = create(1);
    memset(key, 'k', sizeof(key));
    nr_sketch_add(sketch, nr_slice(key, sizeof(key)), 9);
    EXPECT_EQ(nr_sketch_quantile(sketch, 1).size, NR_SKETCH_KEY_BYTES);
    nr_sketch_destroy(sketch);
}

TEST(extreme_weights_neither_overflow_nor_hang)
{
    struct nr_sketch *sketch = create(1);
    for (uint64_t i = 0; i < 5000; i++) nr_sketch_add(sketch, key_of(i), UINT64_MAX >> (i % 64));
    EXPECT(nr_sketch_total(sketch) > 0);
    for (uint64_t i = 0; i < 5000; i++) nr_sketch_add(sketch, key_of(i), UINT64_MAX);
    double rank = (double)nr_sketch_rank(sketch, key_of(2500)) / (double)nr_sketch_total(sketch);
    EXPECT(rank > 0.45 && rank < 0.55);
    nr_sketch_destroy(sketch);
}

TEST(merged_sketches_stand_for_both)
{
    struct nr_random random;
    struct nr_sketch *into = create(1), *from = create(2);
    nr_random_init(&random, 3);
    memset(weights, 0, sizeof(weights));
    for (uint64_t i = 0; i < 30000; i++) add(into, nr_random_below(&random, DOMAIN / 2), 3);
    for (uint64_t i = 0; i < 10000; i++) add(from, DOMAIN / 2 + nr_random_below(&random, DOMAIN / 2), 50);
    nr_sketch_merge(into, from);
    expect_close(into, "merged");
    nr_sketch_destroy(into);
    nr_sketch_destroy(from);
}

TEST(decay_halves_all_weights)
{
    struct nr_random random;
    struct nr_sketch *sketch = create(1);
    nr_random_init(&random, 3);
    memset(weights, 0, sizeof(weights));
    for (uint64_t i = 0; i < 20000; i++) add(sketch, nr_random_below(&random, DOMAIN), 4);
    for (int times = 0; times < 5; times++) {
        uint64_t total = nr_sketch_total(sketch);
        nr_sketch_decay(sketch);
        double part = (double)nr_sketch_total(sketch) / (double)total;
        EXPECT(part > 0.49 && part < 0.51);
    }
    double half = (double)nr_sketch_rank(sketch, key_of(DOMAIN / 2)) / (double)nr_sketch_total(sketch);
    EXPECT(half > 0.47 && half < 0.53);
    for (int times = 0; times < 40; times++) nr_sketch_decay(sketch);
    EXPECT(nr_sketch_total(sketch) <= 2);
    nr_sketch_destroy(sketch);
}

TEST(the_same_seed_gives_the_same_sketch)
{
    struct nr_buffer bytes[2] = {0};
    for (int i = 0; i < 2; i++) {
        struct nr_sketch *sketch = create(9);
        for (uint64_t j = 0; j < 9000; j++) nr_sketch_add(sketch, key_of(j * 7919 % 9000), j % 100);
        EXPECT_OK(nr_sketch_encode(sketch, &bytes[i], &err), &err);
        nr_sketch_destroy(sketch);
    }
    EXPECT(nr_slice_equal(nr_buffer_slice(&bytes[0]), nr_buffer_slice(&bytes[1])));
    nr_buffer_clear(&bytes[0]);
    nr_buffer_clear(&bytes[1]);
}

TEST(distance_tells_how_differently_two_lie_in_a_range)
{
    struct nr_sketch *even = create(1), *hot = create(2);
    for (uint64_t i = 0; i < 1000; i++) nr_sketch_add(even, key_of(i), 8);
    EXPECT(nr_sketch_distance(even, hot, nr_slice_text(""), nr_bound_infinite()) == 0);
    for (uint64_t i = 0; i < 1000; i++) nr_sketch_add(hot, key_of(i < 900 ? 900 : i), 1);
    EXPECT(nr_sketch_distance(even, hot, nr_slice_text(""), nr_bound_infinite()) > 0.85);
    EXPECT(nr_sketch_distance(even, hot, nr_slice_text(""), nr_bound_key(key_of(900))) == 0);
    EXPECT(nr_sketch_distance(even, even, nr_slice_text(""), nr_bound_infinite()) == 0);
    EXPECT(nr_sketch_distance(hot, even, key_of(901), nr_bound_infinite()) < 0.1);
    nr_sketch_destroy(even);
    nr_sketch_destroy(hot);
}

TEST(its_bytes_give_it_back_and_damaged_ones_are_refused_or_harmless)
{
    struct nr_buffer bytes = {0};
    struct nr_sketch *sketch = create(1), *again;
    size_t corrupt_count = 0;
    for (uint64_t i = 0; i < 3000; i++) nr_sketch_add(sketch, key_of(i), i);
    EXPECT_OK(nr_sketch_encode(sketch, &bytes, &err), &err);
    EXPECT_OK(nr_sketch_decode(nr_buffer_slice(&bytes), 1, &again, &err), &err);
    EXPECT_EQ(nr_sketch_total(again), nr_sketch_total(sketch));
    EXPECT_EQ(nr_sketch_rank(again, key_of(777)), nr_sketch_rank(sketch, key_of(777)));
    nr_sketch_destroy(again);
    for (size_t i = 0; i < bytes.size * 2; i += 3) {
        size_t size = i < bytes.size ? bytes.size : i - bytes.size;
        uint8_t *copy = nr_alloc(size);
        memcpy(copy, bytes.data, size);
        if (i < bytes.size) copy[i] ^= (uint8_t)(1u << i % 8);
        nori_status rc = nr_sketch_decode(nr_slice(copy, size), 1, &again, &err);
        EXPECT(rc == NORI_OK || rc == NORI_CORRUPTION);
        if (i >= bytes.size) EXPECT(rc == NORI_CORRUPTION);
        corrupt_count += rc == NORI_CORRUPTION;
        if (rc == NORI_OK) {
            for (uint64_t j = 0; j < 40; j++) nr_sketch_add(again, key_of(j), UINT64_MAX >> j);
            EXPECT(nr_sketch_total(again) > 0);
        }
        nr_sketch_destroy(again);
        nr_free(copy);
    }
    EXPECT(corrupt_count > 1000);
    uint8_t many[] = {0, 0x80, 0x10}; /* More keys than it can hold. */
    EXPECT_STATUS(nr_sketch_decode(nr_slice(many, sizeof(many)), 1, &again, &err), NORI_CORRUPTION, &err);
    uint8_t heavy[2 + 9 * 2] = {48, 9}; /* More weight than sums can hold. */
    for (size_t i = 0; i < 9; i++) heavy[2 + 2 * i] = 11;
    EXPECT_STATUS(nr_sketch_decode(nr_slice(heavy, sizeof(heavy)), 1, &again, &err), NORI_CORRUPTION, &err);
    nr_alloc_fail_at(1);
    EXPECT_STATUS(nr_sketch_decode(nr_buffer_slice(&bytes), 1, &again, &err), NORI_NO_MEMORY, &err);
    nr_alloc_fail_at(0);
    EXPECT(again == NULL);
    nr_buffer_clear(&bytes);
    nr_sketch_destroy(sketch);
}

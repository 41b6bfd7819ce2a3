#include "harness.h"

#include "base/checksum.h"
#include "base/coding.h"
#include "base/random.h"
#include "table/ribbon.h"

static struct nori_error err;

static uint64_t *make_hashes(size_t count)
{
    uint64_t *hashes = malloc((count + 1) * sizeof(*hashes));
    char text[32];
    for (size_t i = 0; i < count; i++)
        hashes[i] = nr_hash_key(nr_slice(text, (size_t)snprintf(text, sizeof(text), "user%012zu", i)));
    return hashes;
}

static void build(const uint64_t *hashes, size_t count, double bits, struct nr_buffer *section)
{
    bool is_built;
    nr_buffer_init(section);
    EXPECT_OK(nr_ribbon_build(hashes, count, bits, section, &is_built, &err), &err);
    EXPECT(is_built);
}

static struct nr_ribbon load(nori_slice section)
{
    struct nr_ribbon ribbon;
    bool is_valid;
    EXPECT_OK(nr_ribbon_init(&ribbon, section, &is_valid, &err), &err);
    EXPECT(is_valid);
    return ribbon;
}

TEST(ribbons_turn_away_what_bloom_filters_do_in_three_quarters_of_the_bits)
{
    static const struct {
        double bits, most_bits, limit;
    } cases[] = {{10, 7.8, 0.010},   {12, 8.9, 0.005}, {8, 6.7, 0.027},
                 {16, 12.3, 0.0012}, {1, 1.2, 0.51},   {0.1, 1.2, 0.51}};
    size_t count = 100000;
    uint64_t *hashes = make_hashes(count);
    char text[32];

    for (size_t i = 0; i < NR_ARRAY_LEN(cases); i++) {
        struct nr_buffer section;
        unsigned passed = 0, asked = 200000;
        build(hashes, count, cases[i].bits, &section);
        double bits = 8.0 * (double)section.size / (double)count;
        if (bits > cases[i].most_bits) FAIL("%g bits became %g", cases[i].bits, bits);
        struct nr_ribbon ribbon = load(nr_buffer_slice(&section));
        EXPECT(nr_ribbon_bytes(&ribbon) <= section.size);
        for (size_t j = 0; j < count; j++) EXPECT(nr_ribbon_may_hold(&ribbon, hashes[j]));
        for (unsigned j = 0; j < asked; j++) {
            nori_slice key = nr_slice(text, (size_t)snprintf(text, sizeof(text), "user%012zu", count + j));
            passed += nr_ribbon_may_hold(&ribbon, nr_hash_key(key));
        }
        if (passed > cases[i].limit * asked) FAIL("%g bits let %u of %u pass", cases[i].bits, passed, asked);
        nr_ribbon_clear(&ribbon);
        nr_buffer_clear(&section);
    }
    free(hashes);
}

TEST(every_key_is_known_however_many_there_are)
{
    static const size_t counts[] = {1, 2, 3, 63, 64, 65, 127, 128, 129, 500, 1000, 3000, 20000};
    uint64_t *hashes = make_hashes(20000);

    for (size_t i = 0; i < NR_ARRAY_LEN(counts); i++) {
        for (double bits = 1; bits <= 64; bits *= 4) {
            struct nr_buffer section;
            build(hashes, counts[i], bits, &section);
            struct nr_ribbon ribbon = load(nr_buffer_slice(&section));
            for (size_t j = 0; j < counts[i]; j++) EXPECT(nr_ribbon_may_hold(&ribbon, hashes[j]));
            nr_ribbon_clear(&ribbon);
            nr_buffer_clear(&section);
        }
    }
    free(hashes);
}

TEST(keys_of_the_same_hash_do_no_harm)
{
    size_t count = 5000;
    uint64_t *hashes = make_hashes(count);
    struct nr_buffer section;
    for (size_t i = count / 2; i < count; i++) hashes[i] = hashes[i % 7];
    build(hashes, count, 10, &section);
    struct nr_ribbon ribbon = load(nr_buffer_slice(&section));
    for (size_t i = 0; i < count; i++) EXPECT(nr_ribbon_may_hold(&ribbon, hashes[i]));
    nr_ribbon_clear(&ribbon);
    nr_buffer_clear(&section);
    free(hashes);
}

/* Part of the format: these bytes must come out of these keys for ever. */
TEST(the_same_keys_make_the_same_bytes)
{
    uint64_t *hashes = make_hashes(1000);
    struct nr_buffer section;
    build(hashes, 1000, 10, &section);
    EXPECT_EQ(section.size, 17 * 7 * 8 + 16);
    EXPECT_EQ(nr_checksum(0, nr_buffer_slice(&section)), 0x8edda62da7900dbaull);
    nr_buffer_clear(&section);
    free(hashes);
}

/* Whatever the bytes, asking stays within them. */
TEST(sections_that_make_no_sense_are_refused_and_others_do_no_harm)
{
    struct nr_buffer section;
    struct nr_random random;
    uint64_t *hashes = make_hashes(300);
    uint8_t *bytes;

    nr_random_init(&random, 3);
    build(hashes, 300, 10, &section);
    for (unsigned round = 0; round < 20000; round++) {
        size_t size = round % 2 ? section.size : nr_random_below(&random, section.size);
        bool is_valid;
        struct nr_ribbon ribbon;
        bytes = malloc(size + 1); /* Of its own, so that a sanitizer sees its end. */
        memcpy(bytes, section.data, size);
        /* Mostly of the last 16 bytes, which say how many there are. */
        for (size_t i = nr_random_below(&random, 3); size > 0 && i > 0; i--) {
            size_t at = nr_random_below(&random, NR_MIN(size, 16u + (round % 8 == 0 ? size : 0)));
            bytes[size - 1 - NR_MIN(at, size - 1)] = (uint8_t)nr_random_below(&random, 256);
        }
        EXPECT_OK(nr_ribbon_init(&ribbon, nr_slice(bytes, size), &is_valid, &err), &err);
        EXPECT_EQ(is_valid, ribbon.words != NULL);
        if (is_valid)
            for (size_t i = 0; i < 50; i++) (void)nr_ribbon_may_hold(&ribbon, hashes[i] ^ round);
        nr_ribbon_clear(&ribbon);
        free(bytes);
    }
    nr_buffer_clear(&section);
    free(hashes);
}

TEST(every_failed_allocation_is_an_error)
{
    uint64_t *hashes = make_hashes(1000);
    nori_status rc = NORI_NO_MEMORY;
    for (uint64_t nth = 1; rc != NORI_OK; nth++) {
        struct nr_buffer section;
        struct nr_ribbon ribbon = {.words = NULL};
        bool is_built, is_valid;
        nr_buffer_init(&section);
        nr_alloc_fail_at(nth);
        rc = nr_ribbon_build(hashes, 1000, 10, &section, &is_built, &err);
        if (rc == NORI_OK) rc = nr_ribbon_init(&ribbon, nr_buffer_slice(&section), &is_valid, &err);
        nr_alloc_fail_at(0);
        EXPECT(rc == NORI_OK || rc == NORI_NO_MEMORY);
        nr_ribbon_clear(&ribbon);
        nr_buffer_clear(&section);
        EXPECT(nth < 20);
    }
    free(hashes);
}

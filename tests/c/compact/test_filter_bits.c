#include "harness.h"

#include <math.h>

#include "compact/filter_bits.h"

#define LEVELS 4
#define BYTES_PER_BIT 0.125 /* So that a budget of so many bits is entries times bits. */

struct filter_case {
    const char *what;
    uint64_t entries[LEVELS];
    double probes[LEVELS];
    double fixed[LEVELS];
    double configured;
    double budget_bits; /* In all, over 8. */
    double expected[LEVELS];
};

#define FREE                                                                                                           \
    {                                                                                                                  \
        -1, -1, -1, -1                                                                                                 \
    }

static const struct filter_case cases[] = {
    {"the budget does not bind", {10, 100, 1000, 10000}, {4, 1, 1, 1}, FREE, 10, 111100, {10, 10, 10, 10}},
    {"it binds not at all where there is nothing", {0, 0, 0, 0}, {0, 0, 0, 0}, FREE, 10, 0, {10, 10, 10, 10}},
    {"no filters are configured", {10, 100, 1000, 10000}, {1, 1, 1, 1}, FREE, 0, 100, {0, 0, 0, 0}},
    /* What is asked as often and is a tenth of the size gets ln(10) / 0.475 = 4.85 bits more, or as many as may be. */
    {"upper levels keep most", {10, 100, 1000, 10000}, {1, 1, 1, 1}, FREE, 10, 78955, {12, 12, 11.46, 6.62}},
    {"and all within what is configured and two",
     {10, 100, 1000, 10000},
     {1, 1, 1, 1},
     FREE,
     10,
     100000,
     {12, 12, 12, 8.67}},
    {"a level that is asked ten times as often gets more",
     {0, 1000, 1000, 0},
     {0, 10, 1, 0},
     FREE,
     10,
     10000,
     {10, 7.42, 2.58, 10}},
    {"levels alike share alike", {1000, 1000, 1000, 1000}, {1, 1, 1, 1}, FREE, 10, 20000, {5, 5, 5, 5}},
    {"the largest goes without before the others do",
     {0, 100, 1000, 100000},
     {0, 1, 1, 1},
     FREE,
     10,
     8000,
     {10, 11.68, 6.83, 0}},
    {"a level's own option stays and is paid first",
     {0, 1000, 1000, 0},
     {0, 1, 1, 0},
     {-1, 8, -1, -1},
     10,
     12000,
     {10, 8, 4, 10}},
    {"even where that takes it all", {0, 1000, 1000, 0}, {0, 1, 1, 0}, {-1, 20, -1, -1}, 10, 12000, {10, 20, 0, 10}},
    {"a level nobody asks gives nothing away", {0, 1000, 1000, 0}, {0, 1, 0, 0}, FREE, 10, 19000, {10, 12, 10, 10}},
};

TEST(bits_go_where_they_turn_away_most)
{
    for (size_t i = 0; i < NR_ARRAY_LEN(cases); i++) {
        const struct filter_case *at = &cases[i];
        struct nr_filter_level levels[LEVELS];
        double bits[LEVELS];
        for (size_t j = 0; j < LEVELS; j++)
            levels[j] = (struct nr_filter_level){at->entries[j], at->probes[j], at->fixed[j], BYTES_PER_BIT};
        nr_filter_bits_choose(levels, LEVELS, at->configured, (uint64_t)ceil(at->budget_bits / 8), bits);
        for (size_t j = 0; j < LEVELS; j++)
            if (fabs(bits[j] - at->expected[j]) > 0.05)
                FAIL("%s: level %zu gets %.2f bits, not %.2f", at->what, j, bits[j], at->expected[j]);
    }
}

/* Over budgets: what is chosen fits, and no shift of a bit from one level to another would turn away more. */
TEST(chosen_bits_fit_and_are_the_best)
{
    static const uint64_t entries[LEVELS] = {300, 2000, 30000, 200000};
    static const double probes[LEVELS] = {3, 1, 0.8, 0.5};
    for (double share = 0.05; share < 1.0; share += 0.05) {
        struct nr_filter_level levels[LEVELS];
        double bits[LEVELS], total = 0;
        uint64_t budget = (uint64_t)(share * 10 * (300 + 2000 + 30000 + 200000) / 8);
        for (size_t i = 0; i < LEVELS; i++)
            levels[i] = (struct nr_filter_level){entries[i], probes[i], -1, BYTES_PER_BIT};
        nr_filter_bits_choose(levels, LEVELS, 10, budget, bits);
        for (size_t i = 0; i < LEVELS; i++) {
            total += bits[i] * (double)entries[i] * BYTES_PER_BIT;
            EXPECT(bits[i] == 0 || bits[i] >= NR_FILTER_BITS_LEAST);
            EXPECT(bits[i] <= 12);
            if (i > 0) EXPECT(bits[i] <= bits[i - 1] + 1e-6);
        }
        EXPECT(total <= (double)budget + 1);
        for (size_t from = 0; from < LEVELS; from++) {
            for (size_t to = 0; to < LEVELS; to++) {
                double moved = 0.1, given = moved * (double)entries[from] / (double)entries[to];
                if (from == to || bits[from] < 1.2 || bits[to] < 1 || bits[to] + given > 12) continue;
                double before = probes[from] * exp(-0.475 * bits[from]) + probes[to] * exp(-0.475 * bits[to]);
                double after =
                    probes[from] * exp(-0.475 * (bits[from] - moved)) + probes[to] * exp(-0.475 * (bits[to] + given));
                EXPECT(after >= before);
            }
        }
    }
}

TEST(ribbons_are_for_what_lies_deep)
{
    EXPECT_EQ(nr_filter_kind_of(NORI_FILTER_RIBBON, 0), NORI_FILTER_BLOOM);
    EXPECT_EQ(nr_filter_kind_of(NORI_FILTER_RIBBON, 1), NORI_FILTER_BLOOM);
    EXPECT_EQ(nr_filter_kind_of(NORI_FILTER_RIBBON, 2), NORI_FILTER_RIBBON);
    EXPECT_EQ(nr_filter_kind_of(NORI_FILTER_BLOOM, 5), NORI_FILTER_BLOOM);
    EXPECT(nr_filter_bytes_per_bit(NORI_FILTER_RIBBON) < nr_filter_bytes_per_bit(NORI_FILTER_BLOOM));
}

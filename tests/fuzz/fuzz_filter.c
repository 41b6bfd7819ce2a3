/* A filter section, of either kind: the first byte says which. What it answers is not known, only that it does. */
#include "fuzz.h"
#include "table/filter.h"
#include "table/ribbon.h"

#define HASHES 64

static uint64_t hash_at(uint64_t i)
{
    static const uint64_t edges[] = {0, UINT64_MAX, 1ull << 63, UINT32_MAX, 1ull << 32};
    return i < NR_ARRAY_LEN(edges) ? edges[i] : i * 0x9E3779B97F4A7C15ull;
}

static void ask_bloom(nori_slice section)
{
    struct nr_filter filter;
    struct nori_error err;
    bool is_valid;
    FUZZ_EXPECT_OK(nr_filter_init(&filter, section, &is_valid, &err), &err);
    FUZZ_EXPECT(is_valid == (filter.lines != NULL));
    for (uint64_t i = 0; is_valid && i < HASHES; i++) (void)nr_filter_may_hold(&filter, hash_at(i));
    nr_filter_clear(&filter);
}

static void ask_ribbon(nori_slice section)
{
    struct nr_ribbon ribbon;
    struct nori_error err;
    bool is_valid;
    FUZZ_EXPECT_OK(nr_ribbon_init(&ribbon, section, &is_valid, &err), &err);
    FUZZ_EXPECT(is_valid == (ribbon.words != NULL));
    for (uint64_t i = 0; is_valid && i < HASHES; i++) (void)nr_ribbon_may_hold(&ribbon, hash_at(i));
    nr_ribbon_clear(&ribbon);
}

void fuzz_filter(nori_slice input)
{
    if (input.size == 0) return;
    nori_slice section = nr_slice(input.data + 1, input.size - 1);
    if (input.data[0] == NORI_FILTER_RIBBON)
        ask_ribbon(section);
    else
        ask_bloom(section);
}

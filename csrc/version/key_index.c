#include "version/key_index.h"

size_t nr_key_common_bytes(nori_slice a, nori_slice b)
{
    size_t shorter = NR_MIN(a.size, b.size), common = 0;
    while (common < shorter && a.data[common] == b.data[common]) common++;
    return common;
}

nori_slice *nr_key_index_keys(void *memory, size_t count)
{
    return (nori_slice *)(void *)((uint64_t *)memory + count);
}

static uint64_t prefix_behind(nori_slice key, size_t skip)
{
    return key.size <= skip ? 0 : nr_slice_prefix(nr_slice_behind(key, skip));
}

void nr_key_index_init(struct nr_key_index *index, void *memory, size_t count)
{
    uint64_t *prefixes = memory;
    nori_slice *keys = nr_key_index_keys(memory, count);

    *index = (struct nr_key_index){.count = count, .prefixes = prefixes, .keys = keys};
    if (count == 0) return;
    index->common_bytes = nr_key_common_bytes(keys[0], keys[count - 1]);
    for (size_t i = 0; i < count; i++) prefixes[i] = prefix_behind(keys[i], index->common_bytes);
}

/* The first of 'count' numbers that is at or above 'limit'. */
static size_t lower_bound(const uint64_t *numbers, size_t count, uint64_t limit)
{
    const uint64_t *base = numbers;
    while (count > 0) {
        size_t half = count / 2;
        bool is_below = base[half] < limit;
        base = is_below ? base + half + 1 : base;
        count = is_below ? count - half - 1 : half;
    }
    return (size_t)(base - numbers);
}

size_t nr_key_index_rank(const struct nr_key_index *index, nori_slice key)
{
    size_t common = index->common_bytes;

    if (index->count == 0) return 0;
    if (common > 0) {
        int order = memcmp(key.size ? key.data : (const uint8_t *)"", index->keys[0].data, NR_MIN(common, key.size));
        if (order < 0 || (order == 0 && key.size < common)) return 0;
        if (order > 0) return index->count;
    }
    uint64_t prefix = prefix_behind(key, common);
    size_t low = lower_bound(index->prefixes, index->count, prefix), high = index->count;
    if (low == high || index->prefixes[low] != prefix) return low;
    if (prefix != UINT64_MAX) high = low + lower_bound(index->prefixes + low, index->count - low, prefix + 1);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (nr_slice_compare(index->keys[middle], key) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

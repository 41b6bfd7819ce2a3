#include "version/key_place.h"

#include "version/key_index.h"

/* Enough decimal digits to fill 64 bits. */
#define MAX_POSITIONS 19

/* Up to two runs of bytes, the second directly above the first in rank. */
struct alphabet {
    uint8_t first, last;
    uint8_t more_first, more_last; /* Zero: none. */
};

/* The first that has both bytes is taken. */
static const struct alphabet alphabets[] = {
    {'0', '9', 0, 0},     {'0', '9', 'a', 'f'}, {'0', '9', 'A', 'F'}, {'a', 'z', 0, 0}, {'A', 'Z', 0, 0},
    {'0', '9', 'a', 'z'}, {'0', '9', 'A', 'Z'}, {'A', 'Z', 'a', 'z'}, {' ', '~', 0, 0}, {0, 255, 0, 0},
};

static bool has(const struct alphabet *alphabet, uint8_t byte)
{
    return (byte >= alphabet->first && byte <= alphabet->last) ||
           (alphabet->more_first && byte >= alphabet->more_first && byte <= alphabet->more_last);
}

static uint64_t radix_of(const struct alphabet *alphabet)
{
    uint64_t radix = (uint64_t)alphabet->last - alphabet->first + 1;
    if (alphabet->more_first) radix += (uint64_t)alphabet->more_last - alphabet->more_first + 1;
    return radix;
}

/* A byte between or beyond the alphabet's stands directly below the next that has a rank; '*is_exact_out' says so. */
static uint64_t rank_of(const struct alphabet *alphabet, uint8_t byte, bool *is_exact_out)
{
    uint64_t size = (uint64_t)alphabet->last - alphabet->first + 1;
    *is_exact_out = has(alphabet, byte);
    if (byte < alphabet->first) return 0;
    if (byte <= alphabet->last) return (uint64_t)byte - alphabet->first;
    if (!alphabet->more_first || byte < alphabet->more_first) return size;
    return byte <= alphabet->more_last ? size + byte - alphabet->more_first : radix_of(alphabet);
}

/* The alphabet of position 'at': that of both bounds' bytes there. A zero byte ends a key's successor, and tells
 * nothing. */
static const struct alphabet *choose(nori_slice start, nori_slice end, size_t at)
{
    uint8_t low = at < start.size ? start.data[at] : 0, high = at < end.size ? end.data[at] : 0;
    const struct alphabet *alphabet = alphabets;
    if (low == 0) low = high;
    if (high == 0) high = low;
    while (!has(alphabet, low) || !has(alphabet, high)) alphabet++;
    return alphabet;
}

static nori_slice behind(nori_slice key, size_t skip)
{
    return key.size > skip ? nr_slice_behind(key, skip) : nr_slice("", 0);
}

/* 'key' as a number of 'count' positions. A byte without a rank settles all behind it. */
static uint64_t number_of(nori_slice key, const struct alphabet *const *chosen, size_t count)
{
    uint64_t number = 0;
    bool is_exact = true;
    for (size_t i = 0; i < count; i++) {
        uint64_t rank = 0;
        if (is_exact && i < key.size) rank = rank_of(chosen[i], key.data[i], &is_exact);
        number = number * radix_of(chosen[i]) + rank;
    }
    return number;
}

struct nr_key_place nr_key_place_find(nori_slice start, struct nr_bound end, nori_slice key)
{
    static const uint8_t highest[MAX_POSITIONS] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
                                                   255, 255, 255, 255, 255, 255, 255, 255, 255};
    const struct alphabet *chosen[MAX_POSITIONS];
    nori_slice top = end.infinite ? nr_slice(highest, sizeof(highest)) : end.key;
    size_t skip = nr_key_common_bytes(start, top), count = 0;
    uint64_t capacity = 1;

    start = behind(start, skip);
    top = behind(top, skip);
    key = behind(key, skip);
    while (count < MAX_POSITIONS) {
        chosen[count] = choose(start, top, count);
        uint64_t radix = radix_of(chosen[count]);
        /* One rank above the highest may stand at each position. */
        if (capacity > (UINT64_MAX >> 1) / radix) break;
        capacity *= radix;
        count++;
    }
    uint64_t low = number_of(start, chosen, count), high = number_of(top, chosen, count);
    uint64_t at = number_of(key, chosen, count);
    if (high <= low) return (struct nr_key_place){1, 2};
    at = NR_MIN(NR_MAX(at, low), high);
    return (struct nr_key_place){at - low, high - low};
}

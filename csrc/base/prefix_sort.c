#include "base/prefix_sort.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS 8
#define DIGIT_VALUES 256
/* Fewer are inserted one by one. */
#define FEW_ITEMS 48

typedef int compare_fn(const struct nr_sort_item *a, const struct nr_sort_item *b);

static inline unsigned digit_of(const struct nr_sort_item *item, unsigned digit)
{
    return (unsigned)(item->prefix >> 8 * digit) & (DIGIT_VALUES - 1);
}

static void insertion_sort(struct nr_sort_item *items, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct nr_sort_item item = items[i];
        size_t at = i;
        for (; at > 0 && items[at - 1].prefix > item.prefix; at--) items[at] = items[at - 1];
        items[at] = item;
    }
}

/* From the last digit to the first; digits that are the same everywhere take no pass. */
void nr_prefix_sort(struct nr_sort_item *items, struct nr_sort_item *scratch, size_t count)
{
    size_t counts[DIGITS][DIGIT_VALUES] = {{0}};
    struct nr_sort_item *from = items, *to = scratch;
    if (count <= FEW_ITEMS) {
        insertion_sort(items, count);
        return;
    }
    for (size_t i = 0; i < count; i++)
        for (unsigned digit = 0; digit < DIGITS; digit++) counts[digit][digit_of(&items[i], digit)]++;
    for (unsigned digit = 0; digit < DIGITS; digit++) {
        size_t sum = 0;
        if (counts[digit][digit_of(items, digit)] == count) continue;
        for (size_t value = 0; value < DIGIT_VALUES; value++) {
            size_t more = counts[digit][value];
            counts[digit][value] = sum;
            sum += more;
        }
        for (size_t i = 0; i < count; i++) to[counts[digit][digit_of(&from[i], digit)]++] = from[i];
        struct nr_sort_item *other = from;
        from = to;
        to = other;
    }
    if (from != items) memcpy(items, from, count * sizeof *items);
}

/* 1: in order; -1: in reverse; 0: neither. */
static int direction_of(const struct nr_sort_item *items, size_t count, compare_fn *compare)
{
    bool rises = true, falls = true;
    for (size_t i = 1; i < count && (rises || falls); i++) {
        int order = compare(&items[i - 1], &items[i]);
        rises = rises && order < 0;
        falls = falls && order > 0;
    }
    return rises ? 1 : falls ? -1 : 0;
}

static void sort_tie(struct nr_sort_item *items, size_t count, compare_fn *compare)
{
    int direction = direction_of(items, count, compare);
    if (direction > 0) return;
    if (direction < 0) {
        for (size_t i = 0; i < count / 2; i++) {
            struct nr_sort_item item = items[i];
            items[i] = items[count - 1 - i];
            items[count - 1 - i] = item;
        }
        return;
    }
    qsort(items, count, sizeof *items, (int (*)(const void *, const void *))compare);
}

void nr_prefix_sort_ties(struct nr_sort_item *items, size_t count, compare_fn *compare)
{
    for (size_t first = 0, end; first < count; first = end) {
        for (end = first + 1; end < count && items[end].prefix == items[first].prefix;) end++;
        if (end - first > 1) sort_tie(items + first, end - first, compare);
    }
}

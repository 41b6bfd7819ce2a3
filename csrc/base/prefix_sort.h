/* Sorting what is ordered by a number first: the prefix of its key. A radix sort, which takes no comparisons. */
#ifndef NR_BASE_PREFIX_SORT_H
#define NR_BASE_PREFIX_SORT_H

#include <stddef.h>
#include <stdint.h>

struct nr_sort_item {
    uint64_t prefix;
    union {
        size_t offset;
        const void *pointer;
    };
};

/* Sorts by prefix; items of one prefix stay in the order in which they are. 'scratch' has room for as many. */
void nr_prefix_sort(struct nr_sort_item *items, struct nr_sort_item *scratch, size_t count);
/* Of items sorted by prefix, those of one prefix by 'compare', which never answers 0. It costs one comparison an item
 * where they are in order already, or in the reverse of it. */
void nr_prefix_sort_ties(struct nr_sort_item *items, size_t count,
                         int (*compare)(const struct nr_sort_item *a, const struct nr_sort_item *b));

#endif

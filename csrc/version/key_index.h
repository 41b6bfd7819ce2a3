/* A searchable array of ascending keys.
 *
 * Guards and table bounds share long prefixes, so a search compares the common bytes once, then numbers made of the
 * eight bytes behind them, which lie side by side; keys themselves are only followed on a tie. */
#ifndef NR_VERSION_KEY_INDEX_H
#define NR_VERSION_KEY_INDEX_H

#include "base/slice.h"

struct nr_key_index {
    size_t count;
    size_t common_bytes;      /* That all keys begin with. */
    const uint64_t *prefixes; /* Of what follows the common bytes. Borrowed, as are the keys. */
    const nori_slice *keys;   /* Ascending. */
};

/* Memory for an index of 'count' keys, without the keys' bytes; to be aligned to 8. */
static inline size_t nr_key_index_bytes(size_t count)
{
    return count * (sizeof(uint64_t) + sizeof(nori_slice));
}
/* The array of keys in such memory, to be filled in before nr_key_index_init. */
nori_slice *nr_key_index_keys(void *memory, size_t count);
void nr_key_index_init(struct nr_key_index *index, void *memory, size_t count);
/* How many of the keys are at or below 'key'. */
size_t nr_key_index_rank(const struct nr_key_index *index, nori_slice key);

/* How many bytes two keys begin with alike. */
size_t nr_key_common_bytes(nori_slice a, nori_slice b);

#endif

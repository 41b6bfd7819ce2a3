/* The memtable's key index: a hash table from keys to their newest entries, and the filter before the search.
 *
 * A line is one cache line: seven slots of 16 bits of hash and a pointer, and a word of Bloom bits for the keys that
 * found the slots taken. A lookup of a key that is not there costs this line; of one that is, this line and the entry,
 * where a search of the list misses the cache seven times. Keys that found no room are searched for in the list.
 *
 * One thread adds, any number ask. An entry is added after it is linked into the list; a reader that knows of it by its
 * published sequence happens after both, so it never misses it. A slot always holds the newest entry; older ones follow
 * it in the list. */
#ifndef NR_MEMTABLE_HASH_INDEX_H
#define NR_MEMTABLE_HASH_INDEX_H

#include "memtable/skiplist.h"

#define NR_HASH_INDEX_LINE_WORDS 8   /* One cache line; word 0 has the Bloom bits. */
#define NR_HASH_INDEX_LINE_ENTRIES 4 /* As many are meant to be in one line. */

struct nr_hash_index {
    _Atomic uint64_t *words; /* In 'memory', at a cache line. */
    void *memory;            /* Owned. */
    uint64_t line_count;
};

enum nr_key_answer {
    NR_KEY_ABSENT,
    NR_KEY_PRESENT,
    NR_KEY_UNKNOWN, /* Ask the list. */
};

/* For about 'entry_count' entries. */
NORI_WARN_UNUSED nori_status nr_hash_index_init(struct nr_hash_index *index, uint64_t entry_count,
                                                struct nori_error *err);
void nr_hash_index_clear(struct nr_hash_index *index);
size_t nr_hash_index_bytes(const struct nr_hash_index *index);

/* The writer's. 'node' is newer than all entries of its key so far, and linked. */
void nr_hash_index_add(struct nr_hash_index *index, uint64_t hash, struct nr_node *node);

static inline _Atomic uint64_t *nr_hash_index_line(const struct nr_hash_index *index, uint64_t hash)
{
    return index->words + ((hash >> 32) * index->line_count >> 32) * NR_HASH_INDEX_LINE_WORDS;
}

static inline void nr_hash_index_prefetch(const struct nr_hash_index *index, uint64_t hash)
{
    __builtin_prefetch((const void *)nr_hash_index_line(index, hash));
}

/* Asks for the key's newest entry; '*node_out' if present. */
enum nr_key_answer nr_hash_index_find(const struct nr_hash_index *index, uint64_t hash, nori_slice key,
                                      const struct nr_node **node_out);

#endif

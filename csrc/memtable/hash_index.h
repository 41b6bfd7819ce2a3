/* The memtable's key index: a hash table from keys to their newest entries. It answers for every key.
 *
 * A line is one cache line: seven slots of 16 bits of hash and a pointer to a node, and a word that leads to another
 * line for those who found the slots taken, with 16 bits that say who may be there. A lookup of a key that is not there
 * costs this line; of one that is, this line and the entry, where a search by order misses the cache seven times.
 *
 * One thread adds, any number ask. A slot always holds the newest entry; 'older' of that one leads to the version
 * before. A reader that knows of an entry by its published sequence happens after it was added, so it never misses it.
 */
#ifndef NR_MEMTABLE_HASH_INDEX_H
#define NR_MEMTABLE_HASH_INDEX_H

#include "base/arena.h"
#include "memtable/node.h"

#define NR_HASH_INDEX_LINE_WORDS 8   /* One cache line; word 0 leads on. */
#define NR_HASH_INDEX_LINE_ENTRIES 4 /* As many are meant to be in one line. */

struct nr_hash_index {
    _Atomic uint64_t *words; /* In 'memory', at a cache line. */
    void *memory;            /* Owned. */
    uint64_t line_count;
    _Atomic size_t bytes; /* Of all its memory. Relaxed. */
    /* The writer's. */
    struct nr_arena more; /* Further lines. */
    uint8_t *spare;       /* Those of them that are not used yet. */
    size_t spare_count;
};

/* For about 'entry_count' entries. 'index' is all zeros. */
NORI_WARN_UNUSED nori_status nr_hash_index_init(struct nr_hash_index *index, uint64_t entry_count,
                                                struct nori_error *err);
void nr_hash_index_clear(struct nr_hash_index *index);
static inline size_t nr_hash_index_bytes(const struct nr_hash_index *index) /* Any thread, at any time. */
{
    return atomic_load_explicit(&index->bytes, memory_order_relaxed);
}

/* The writer's. Memory for 'count' additions. */
NORI_WARN_UNUSED nori_status nr_hash_index_grow(struct nr_hash_index *index, uint64_t count, struct nori_error *err);
static inline nori_status nr_hash_index_reserve(struct nr_hash_index *index, uint64_t count, struct nori_error *err)
{
    return NR_LIKELY(count <= index->spare_count) ? NORI_OK : nr_hash_index_grow(index, count, err);
}
/* The writer's, within what was reserved. 'node' is newer than all entries of its key so far. */
void nr_hash_index_add(struct nr_hash_index *index, uint64_t hash, struct nr_node *node);

static inline _Atomic uint64_t *nr_hash_index_line(const struct nr_hash_index *index, uint64_t hash)
{
    return index->words + ((hash >> 32) * index->line_count >> 32) * NR_HASH_INDEX_LINE_WORDS;
}

static inline void nr_hash_index_prefetch(const struct nr_hash_index *index, uint64_t hash)
{
    __builtin_prefetch((const void *)nr_hash_index_line(index, hash));
}
/* The writer's: for an addition. */
static inline void nr_hash_index_prefetch_add(const struct nr_hash_index *index, uint64_t hash)
{
    __builtin_prefetch((const void *)nr_hash_index_line(index, hash), 1);
}

/* The entries that may be the key's newest, as far as its first line knows of them. */
void nr_hash_index_prefetch_entry(const struct nr_hash_index *index, uint64_t hash);
/* The key's newest entry; NULL if there is none. */
const struct nr_node *nr_hash_index_find(const struct nr_hash_index *index, uint64_t hash, nori_slice key);

#endif

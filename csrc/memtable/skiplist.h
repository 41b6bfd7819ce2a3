/* A skiplist of entries ordered by (key, tag descending). One writer, any number of readers, no locks.
 *
 * A link holds, beside the pointer to the next node, the prefix of that node's key, so that most steps of a search are
 * decided without touching the next node: a cache miss each. The two words are not written together. The writer stores
 * the pointer, then the prefix; a reader loads the prefix, then the pointer. As the prefixes of a link only ever fall
 * (nodes are put before the one it led to), the node a reader gets has at most the prefix it saw:
 *   - prefix below the target's: the node is before the target, no look at it is needed;
 *   - prefix above: when it was read, nothing was linked between here and the target. What the reader knows to be
 *     published was linked earlier, so it misses nothing it has to see;
 *   - equal: the node itself decides.
 *
 * A node's bytes are final before a pointer to it is stored (release); levels are linked from the bottom up. Nodes are
 * never unlinked.
 *
 * Keys of one database tend to begin alike. A list is made with the bytes its keys are expected to have in common, and
 * its prefixes are the eight bytes behind those; keys that begin otherwise have the least or greatest prefix. So
 * prefixes always order as keys do, and a wrong guess costs time only. */
#ifndef NR_MEMTABLE_SKIPLIST_H
#define NR_MEMTABLE_SKIPLIST_H

#include <stdatomic.h>

#include "base/slice.h"

/* Half of the nodes of a level stand in the next: fewer steps, which are cache misses, than with a quarter, for eleven
 * bytes more per entry. */
#define NR_SKIPLIST_MAX_HEIGHT 20

struct nr_node;

struct nr_node_link {
    _Atomic uint64_t prefix; /* Of the node at 'next'; UINT64_MAX at the end. */
    struct nr_node *_Atomic next;
};

/* The key follows the tower, the value the key. */
struct nr_node {
    uint64_t tag;
    uint32_t value_bytes;
    uint16_t key_bytes;
    uint16_t height;
    struct nr_node_link tower[];
};

static inline nori_slice nr_node_key(const struct nr_node *node)
{
    return nr_slice(&node->tower[node->height], node->key_bytes);
}
static inline nori_slice nr_node_value(const struct nr_node *node)
{
    return nr_slice((const uint8_t *)&node->tower[node->height] + node->key_bytes, node->value_bytes);
}

/* Memory of a node; a multiple of 16, so that links do not straddle cache lines. */
static inline size_t nr_node_bytes(size_t key_bytes, size_t value_bytes, unsigned height)
{
    return (sizeof(struct nr_node) + height * sizeof(struct nr_node_link) + key_bytes + value_bytes + 15) & ~(size_t)15;
}

/* The height of the entry with this sequence: the same for every asker, so that memory can be reserved exactly. */
static inline unsigned nr_node_height(uint64_t sequence)
{
    uint64_t bits = sequence * 0x9E3779B97F4A7C15ull;
    bits = (bits ^ bits >> 32) * 0xD6E8FEB86659FD93ull;
    bits ^= bits >> 32;
    return 1 + (unsigned)__builtin_ctzll(bits | 1ull << (NR_SKIPLIST_MAX_HEIGHT - 1));
}

/* Fills 'memory', of nr_node_bytes. */
struct nr_node *nr_node_create(void *memory, nori_slice key, uint64_t tag, nori_slice value, unsigned height);

/* A place in the list: for each level the node before it. */
struct nr_splice {
    struct nr_node *before[NR_SKIPLIST_MAX_HEIGHT]; /* The head, or a node */
    uint64_t prefix[NR_SKIPLIST_MAX_HEIGHT];        /* with this prefix. */
};

struct nr_skiplist {
    struct nr_node *head;    /* Full height, no key. */
    nori_slice common;       /* What keys are expected to begin with. Borrowed. */
    _Atomic unsigned height; /* Levels in use. Relaxed. */
    /* The writer's. */
    _Alignas(64) struct nr_splice splice; /* Where the last insertion took place. */
    uint64_t appended_count;              /* Nodes that came in behind all others. */
};

#define NR_SKIPLIST_HEAD_BYTES (sizeof(struct nr_node) + NR_SKIPLIST_MAX_HEIGHT * sizeof(struct nr_node_link))

/* An empty list. Borrows 'head_memory', NR_SKIPLIST_HEAD_BYTES, and 'common'. */
void nr_skiplist_init(struct nr_skiplist *list, void *head_memory, nori_slice common);
/* The writer's. (key, tag) is not in the list yet. Rising or falling keys cost the same however long the list is. */
void nr_skiplist_insert(struct nr_skiplist *list, struct nr_node *node);
/* The same for several, in any order: searches of keys far apart wait for memory together. */
#define NR_SKIPLIST_GROUP 16
void nr_skiplist_insert_group(struct nr_skiplist *list, struct nr_node *const *nodes, size_t count);

/* The newest entry of the key at or below the tag; NULL if there is none. */
const struct nr_node *nr_skiplist_find(const struct nr_skiplist *list, nori_slice key, uint64_t tag);
/* The first entry at or after (key, tag); NULL at the end. */
const struct nr_node *nr_skiplist_seek(const struct nr_skiplist *list, nori_slice key, uint64_t tag);
/* The last entry before (key, tag), or at it if 'inclusive'; NULL if there is none. */
const struct nr_node *nr_skiplist_seek_back(const struct nr_skiplist *list, nori_slice key, uint64_t tag,
                                            bool inclusive);
const struct nr_node *nr_skiplist_first(const struct nr_skiplist *list);
const struct nr_node *nr_skiplist_last(const struct nr_skiplist *list);

static inline const struct nr_node *nr_node_next(const struct nr_node *node)
{
    return atomic_load_explicit(&node->tower[0].next, memory_order_acquire);
}

#endif

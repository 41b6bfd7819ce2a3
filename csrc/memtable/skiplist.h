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

#include "memtable/node.h"

/* A place in the list: for each level the node before it. */
struct nr_splice {
    struct nr_node *before[NR_NODE_MAX_HEIGHT]; /* The head, or a node */
    uint64_t prefix[NR_NODE_MAX_HEIGHT];        /* with this prefix. */
};

struct nr_skiplist {
    struct nr_node *head;    /* Full height, no key. */
    nori_slice common;       /* What keys are expected to begin with. Borrowed. */
    _Atomic unsigned height; /* Levels in use. Relaxed. */
    /* The writer's. */
    _Alignas(64) struct nr_splice splice; /* Where the last insertion took place. */
};

#define NR_SKIPLIST_HEAD_BYTES (sizeof(struct nr_node) + NR_NODE_MAX_HEIGHT * sizeof(struct nr_node_link))

/* An empty list. Borrows 'head_memory', NR_SKIPLIST_HEAD_BYTES, and 'common'. */
void nr_skiplist_init(struct nr_skiplist *list, void *head_memory, nori_slice common);
/* What links to a node of this key hold. Orders as keys do; equal ones are to be compared in full. */
uint64_t nr_skiplist_prefix(const struct nr_skiplist *list, nori_slice key);
/* The writer's. (key, tag) is not in the list yet. Rising or falling keys cost the same however long the list is. */
void nr_skiplist_insert(struct nr_skiplist *list, struct nr_node *node);
/* The same; 'prefix' is the key's. */
void nr_skiplist_insert_prefixed(struct nr_skiplist *list, struct nr_node *node, uint64_t prefix);
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

/* An entry in memory: a node, which three structures lead through. The hash index finds the newest of a key, from which
 * 'older' leads to its other versions; 'written_next' is the queue in which nodes wait for their place in order; the
 * tower is that place, in a skiplist. All but the towers of nodes before it is final when a node is published. */
#ifndef NR_MEMTABLE_NODE_H
#define NR_MEMTABLE_NODE_H

#include <stdatomic.h>

#include "base/slice.h"

/* Half of the nodes of a level stand in the next: fewer steps, which are cache misses, than with a quarter, for eleven
 * bytes more per entry. */
#define NR_NODE_MAX_HEIGHT 20
/* A pointer to a node has no more bits: the others are the hash index's. */
#define NR_NODE_POINTER_BITS 48

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
    struct nr_node *_Atomic older;        /* The version of its key before it; NULL: none in this memtable. */
    struct nr_node *_Atomic written_next; /* The node that was written after it. */
    struct nr_node_link tower[];          /* Filled when it is linked. */
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
    return 1 + (unsigned)__builtin_ctzll(bits | 1ull << (NR_NODE_MAX_HEIGHT - 1));
}

/* Fills 'memory', of nr_node_bytes. */
struct nr_node *nr_node_create(void *memory, nori_slice key, uint64_t tag, nori_slice value, unsigned height);

#endif

/* The memtable's memory for nodes: reserved in sum before a write, then handed out without failing.
 *
 * Two regions: an allocation takes from the current one, or from the spare one if it does not fit. A reservation makes
 * the spare region hold what will not fit into the current one; so the tail of a region is used up to less than one
 * node, however large the writes are. The writer's alone; nr_node_pool_bytes may be read by any thread. */
#ifndef NR_MEMTABLE_NODE_POOL_H
#define NR_MEMTABLE_NODE_POOL_H

#include "base/arena.h"

struct nr_node_region {
    uint8_t *next;
    size_t left_bytes;
};

struct nr_node_pool {
    struct nr_arena arena;
    struct nr_node_region current, spare; /* In the arena. */
};

void nr_node_pool_init(struct nr_node_pool *pool);
void nr_node_pool_clear(struct nr_node_pool *pool);
size_t nr_node_pool_bytes(const struct nr_node_pool *pool);

/* A reservation for several allocations, named in the order in which they will be made. */
struct nr_node_plan {
    size_t current_left_bytes;
    size_t spare_bytes;
};
void nr_node_pool_plan(struct nr_node_pool *pool, struct nr_node_plan *plan_out);
NORI_WARN_UNUSED nori_status nr_node_pool_reserve(struct nr_node_pool *pool, const struct nr_node_plan *plan,
                                                  struct nori_error *err);
/* For one allocation. */
NORI_WARN_UNUSED nori_status nr_node_pool_reserve_one(struct nr_node_pool *pool, size_t bytes, struct nori_error *err);

static inline void nr_node_plan_add(struct nr_node_plan *plan, size_t bytes)
{
    if (bytes <= plan->current_left_bytes)
        plan->current_left_bytes -= bytes;
    else
        plan->spare_bytes += bytes;
}

/* What was reserved; 'bytes' a multiple of 8. */
static inline void *nr_node_pool_alloc(struct nr_node_pool *pool, size_t bytes)
{
    struct nr_node_region *region = bytes <= pool->current.left_bytes ? &pool->current : &pool->spare;
    void *memory = region->next;
    NR_ASSERT(bytes <= region->left_bytes);
    region->next += bytes;
    region->left_bytes -= bytes;
    return memory;
}

#endif

#include "memtable/node_pool.h"

#include "memtable/node.h"

#define MIN_REGION_BYTES ((size_t)16 << 10)
#define MAX_REGION_BYTES NR_ARENA_LARGE_BYTES
/* A pool of this size goes on in large pages. */
#define LARGE_POOL_BYTES ((size_t)4 << 20)

void nr_node_pool_init(struct nr_node_pool *pool)
{
    /* Regions are chunks of their own: the arena's own chunk size is below every region's. */
    nr_arena_init(&pool->arena, MIN_REGION_BYTES / 4);
    pool->current = pool->spare = (struct nr_node_region){NULL, 0};
}

void nr_node_pool_clear(struct nr_node_pool *pool)
{
    nr_arena_clear(&pool->arena);
    pool->current = pool->spare = (struct nr_node_region){NULL, 0};
}

size_t nr_node_pool_bytes(const struct nr_node_pool *pool)
{
    return nr_arena_bytes(&pool->arena);
}

/* The region with more room becomes the current one: the spare one may be given up for a larger. */
static void put_larger_first(struct nr_node_pool *pool)
{
    struct nr_node_region spare = pool->spare;
    if (spare.left_bytes <= pool->current.left_bytes) return;
    pool->spare = pool->current;
    pool->current = spare;
}

void nr_node_pool_plan(struct nr_node_pool *pool, struct nr_node_plan *plan_out)
{
    put_larger_first(pool);
    plan_out->current_left_bytes = pool->current.left_bytes;
    plan_out->spare_bytes = 0;
}

/* Regions grow with the memtable, so that a small one stays small. What is large next to a region gets one that fits
 * exactly. */
static size_t region_bytes(const struct nr_node_pool *pool, size_t bytes)
{
    size_t usual = NR_MAX(nr_node_pool_bytes(pool) / 8, MIN_REGION_BYTES);
    usual = nr_node_pool_bytes(pool) < LARGE_POOL_BYTES ? usual & ~(MIN_REGION_BYTES - 1) : MAX_REGION_BYTES;
    return bytes > usual / 4 ? bytes : usual;
}

nori_status nr_node_pool_reserve(struct nr_node_pool *pool, const struct nr_node_plan *plan, struct nori_error *err)
{
    size_t bytes;
    uint8_t *memory;
    if (plan->spare_bytes <= pool->spare.left_bytes) return NORI_OK;
    bytes = region_bytes(pool, plan->spare_bytes);
    memory = nr_arena_alloc(&pool->arena, bytes);
    if (!memory || (uint64_t)(uintptr_t)memory >> NR_NODE_POINTER_BITS) return nr_fail_memory(err, bytes);
    pool->spare = (struct nr_node_region){memory, bytes};
    return NORI_OK;
}

nori_status nr_node_pool_reserve_one(struct nr_node_pool *pool, size_t bytes, struct nori_error *err)
{
    struct nr_node_plan plan;
    if (NR_LIKELY(bytes <= pool->current.left_bytes)) return NORI_OK;
    nr_node_pool_plan(pool, &plan);
    nr_node_plan_add(&plan, bytes);
    return nr_node_pool_reserve(pool, &plan, err);
}

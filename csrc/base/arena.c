#include "base/arena.h"

#include "base/alloc.h"

struct nr_arena_chunk {
    struct nr_arena_chunk *next; /* Older. */
    size_t bytes;                /* Of 'data'. */
    _Alignas(16) uint8_t data[];
};
_Static_assert(sizeof(struct nr_arena_chunk) + NR_ARENA_LARGE_BYTES <= (size_t)2 << 20, "a large page holds it");

static inline size_t left(const struct nr_arena *arena)
{
    return (size_t)(arena->end - arena->next);
}

void nr_arena_init(struct nr_arena *arena, size_t chunk_bytes)
{
    arena->chunks = NULL;
    arena->next = arena->end = NULL;
    arena->chunk_bytes = chunk_bytes;
    atomic_init(&arena->total_bytes, 0);
}

void nr_arena_clear(struct nr_arena *arena)
{
    struct nr_arena_chunk *chunk = arena->chunks;
    while (chunk) {
        struct nr_arena_chunk *older = chunk->next;
        nr_free(chunk);
        chunk = older;
    }
    arena->chunks = NULL;
    arena->next = arena->end = NULL;
    atomic_store_explicit(&arena->total_bytes, 0, memory_order_relaxed);
}

/* Opens a chunk with room for 'bytes'. What is left of the newest so far stays unused. */
static bool add_chunk(struct nr_arena *arena, size_t bytes)
{
    size_t data_bytes = NR_MAX(bytes, arena->chunk_bytes);
    struct nr_arena_chunk *chunk;

    if (data_bytes > SIZE_MAX - sizeof(*chunk)) return false;
    chunk = nr_alloc_large(sizeof(*chunk) + data_bytes);
    if (!chunk) return false;
    chunk->next = arena->chunks;
    chunk->bytes = data_bytes;
    arena->chunks = chunk;
    arena->next = chunk->data;
    arena->end = chunk->data + data_bytes;
    atomic_fetch_add_explicit(&arena->total_bytes, sizeof(*chunk) + data_bytes, memory_order_relaxed);
    return true;
}

/* To a multiple of eight; SIZE_MAX, which no chunk can hold, on overflow. */
static inline size_t round_up(size_t bytes)
{
    return bytes > SIZE_MAX - 7 ? SIZE_MAX : (bytes + 7) & ~(size_t)7;
}

nori_status nr_arena_reserve(struct nr_arena *arena, size_t bytes, struct nori_error *err)
{
    size_t rounded = round_up(bytes);
    if (NR_LIKELY(rounded <= left(arena))) return NORI_OK;
    return add_chunk(arena, rounded) ? NORI_OK : nr_fail_memory(err, bytes);
}

void *nr_arena_alloc(struct nr_arena *arena, size_t bytes)
{
    size_t rounded = round_up(NR_MAX(bytes, (size_t)1));
    uint8_t *memory;
    if (NR_UNLIKELY(rounded > left(arena)) && !add_chunk(arena, rounded)) return NULL;
    memory = arena->next;
    arena->next = memory + rounded;
    return memory;
}

size_t nr_arena_bytes(const struct nr_arena *arena)
{
    return atomic_load_explicit(&arena->total_bytes, memory_order_relaxed);
}

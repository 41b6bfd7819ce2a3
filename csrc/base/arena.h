/* Arena: memory freed all at once. One thread allocates; nr_arena_bytes may be read by any.
 *
 * nr_arena_reserve makes the following allocations, up to the reserved sum, unable to fail: a write takes its memory
 * before it touches the log. */
#ifndef NR_BASE_ARENA_H
#define NR_BASE_ARENA_H

#include <stdatomic.h>

#include "base/status.h"

/* An allocation of so many bytes makes a chunk of one large page. */
#define NR_ARENA_LARGE_BYTES (((size_t)2 << 20) - 32)

struct nr_arena_chunk;

struct nr_arena {
    struct nr_arena_chunk *chunks; /* Owned; newest first. */
    uint8_t *next;                 /* Free bytes of the newest chunk. */
    uint8_t *end;
    size_t chunk_bytes;         /* Usual size of a chunk. */
    _Atomic size_t total_bytes; /* Of all chunks. Relaxed. */
};

void nr_arena_init(struct nr_arena *arena, size_t chunk_bytes);
void nr_arena_clear(struct nr_arena *arena);
/* At least 'bytes' contiguous, 8-byte aligned, in the newest chunk. */
NORI_WARN_UNUSED nori_status nr_arena_reserve(struct nr_arena *arena, size_t bytes, struct nori_error *err);
/* 8-byte aligned; NULL on failure. Cannot fail within what was reserved (sizes rounded up to 8 count). */
void *nr_arena_alloc(struct nr_arena *arena, size_t bytes);
size_t nr_arena_bytes(const struct nr_arena *arena);

#endif

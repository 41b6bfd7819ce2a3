#include "base/slab.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "base/lock.h"

/* Classes are steps of an eighth and less of their size: as much is wasted at most. */
#define SMALLEST_BYTES 2048
#define STEP_BYTES 256
#define LARGEST_BYTES 16384
#define CLASS_COUNT ((LARGEST_BYTES - SMALLEST_BYTES) / STEP_BYTES + 1)
#define CELLS_AT 64                            /* In a chunk; as good as aligned to a cache line. */
#define CHUNK_BYTES (NR_LARGE_PAGE_BYTES - 64) /* With what the allocator notes of it, a large page. */

struct cell {
    struct cell *next; /* Free, too. */
};

struct chunk {
    struct nr_slab *slab;
    struct chunk *next, *previous; /* Of its class, with a free cell. */
    struct cell *free;             /* Given back. */
    size_t cell_bytes;
    size_t fresh_at; /* From here on nothing was ever taken. */
    size_t used_count;
};
_Static_assert(sizeof(struct chunk) <= CELLS_AT, "a chunk's head lies before its cells");

struct nr_slab {
    struct nr_mutex lock;
    size_t most_bytes;
    struct chunk *classes[CLASS_COUNT] NR_GUARDED; /* By lock: chunks with a free cell. */
    struct chunk *spare NR_GUARDED;                /* By lock: an empty one, for whatever class needs one next. */
    _Atomic size_t bytes;                          /* Written under lock. */
    _Atomic(struct cell *) given;                  /* Back, and not found yet. */
    _Atomic size_t held_count;                     /* Cells that are out, and the owner. */
};

static struct chunk *chunk_of(const void *cell)
{
    return (struct chunk *)((uintptr_t)cell & ~(uintptr_t)(NR_LARGE_PAGE_BYTES - 1));
}

struct nr_slab *nr_slab_create(size_t most_bytes)
{
    struct nr_slab *slab = nr_calloc(1, sizeof *slab);
    if (!slab) return NULL;
    nr_mutex_init(&slab->lock, NR_RANK_LEAF);
    slab->most_bytes = most_bytes;
    atomic_init(&slab->held_count, 1);
    return slab;
}

static struct chunk **class_of(struct nr_slab *slab, size_t cell_bytes)
{
    return &slab->classes[(cell_bytes - SMALLEST_BYTES) / STEP_BYTES];
}

static bool is_full(const struct chunk *chunk)
{
    return !chunk->free && chunk->fresh_at + chunk->cell_bytes > CHUNK_BYTES;
}

static void link_locked(struct chunk *chunk)
{
    struct chunk **class = class_of(chunk->slab, chunk->cell_bytes);
    chunk->previous = NULL;
    chunk->next = *class;
    if (*class) (*class)->previous = chunk;
    *class = chunk;
}

static void unlink_locked(struct chunk *chunk)
{
    struct chunk **class = class_of(chunk->slab, chunk->cell_bytes);
    if (chunk->previous)
        chunk->previous->next = chunk->next;
    else
        *class = chunk->next;
    if (chunk->next) chunk->next->previous = chunk->previous;
}

static struct chunk *add_chunk_locked(struct nr_slab *slab, size_t cell_bytes)
{
    size_t bytes = atomic_load_explicit(&slab->bytes, memory_order_relaxed) + NR_LARGE_PAGE_BYTES;
    struct chunk *chunk = slab->spare;
    slab->spare = NULL;
    if (!chunk) {
        if (bytes > slab->most_bytes) return NULL;
        chunk = nr_alloc_large(CHUNK_BYTES);
        if (!chunk) return NULL;
        atomic_store_explicit(&slab->bytes, bytes, memory_order_relaxed);
    }
    *chunk = (struct chunk){.slab = slab, .cell_bytes = cell_bytes, .fresh_at = CELLS_AT};
    link_locked(chunk);
    return chunk;
}

static void empty_locked(struct nr_slab *slab, struct chunk *chunk)
{
    unlink_locked(chunk);
    if (!slab->spare) {
        slab->spare = chunk;
        return;
    }
    atomic_fetch_sub_explicit(&slab->bytes, NR_LARGE_PAGE_BYTES, memory_order_relaxed);
    nr_free(chunk);
}

/* Sorts what was given back into its chunks, and frees chunks that are empty now. */
static void collect_locked(struct nr_slab *slab)
{
    struct cell *cell = atomic_exchange_explicit(&slab->given, NULL, memory_order_acquire);
    while (cell) {
        struct cell *next = cell->next;
        struct chunk *chunk = chunk_of(cell);
        if (is_full(chunk)) link_locked(chunk);
        cell->next = chunk->free;
        chunk->free = cell;
        if (--chunk->used_count == 0) empty_locked(slab, chunk);
        cell = next;
    }
}

void *nr_slab_take(struct nr_slab *slab, size_t bytes)
{
    struct cell *cell = NULL;
    if (bytes > LARGEST_BYTES || bytes <= SMALLEST_BYTES - STEP_BYTES) return NULL;
    size_t cell_bytes = (bytes + STEP_BYTES - 1) / STEP_BYTES * STEP_BYTES;
    nr_mutex_lock(&slab->lock);
    if (atomic_load_explicit(&slab->given, memory_order_relaxed)) collect_locked(slab);
    struct chunk *chunk = *class_of(slab, cell_bytes);
    if (!chunk) chunk = add_chunk_locked(slab, cell_bytes);
    if (chunk) {
        cell = chunk->free;
        if (cell) {
            chunk->free = cell->next;
        } else {
            cell = (struct cell *)((uint8_t *)chunk + chunk->fresh_at);
            chunk->fresh_at += cell_bytes;
        }
        chunk->used_count++;
        if (is_full(chunk)) unlink_locked(chunk);
        atomic_fetch_add_explicit(&slab->held_count, 1, memory_order_relaxed);
    }
    nr_mutex_unlock(&slab->lock);
    return cell;
}

static void let_go(struct nr_slab *slab)
{
    if (atomic_fetch_sub_explicit(&slab->held_count, 1, memory_order_acq_rel) != 1) return;
    collect_locked(slab); /* Nobody else has it: all chunks are empty. */
    nr_free(slab->spare);
    nr_mutex_destroy(&slab->lock);
    nr_free(slab);
}

void nr_slab_give(void *memory)
{
    struct cell *cell = memory;
    struct nr_slab *slab = chunk_of(cell)->slab;
    cell->next = atomic_load_explicit(&slab->given, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&slab->given, &cell->next, cell, memory_order_release,
                                                  memory_order_relaxed)) {
    }
    let_go(slab);
}

void nr_slab_release(struct nr_slab *slab)
{
    if (slab) let_go(slab);
}

size_t nr_slab_bytes(struct nr_slab *slab)
{
    return atomic_load_explicit(&slab->bytes, memory_order_relaxed);
}

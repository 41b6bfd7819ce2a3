#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/status.h"

#define LARGE_PAGE_SLACK_BYTES ((size_t)64)

#ifdef NR_TEST
#include <stdatomic.h>

static _Atomic uint64_t allocation_count;
static _Atomic uint64_t live_count;
static _Atomic uint64_t failing_number; /* In terms of allocation_count; 0: none. */
static _Thread_local bool is_spared;

void nr_alloc_fail_at(uint64_t nth)
{
    atomic_store(&failing_number, nth ? atomic_load(&allocation_count) + nth : 0);
}

uint64_t nr_alloc_count(void)
{
    return atomic_load(&allocation_count);
}

uint64_t nr_alloc_live(void)
{
    return atomic_load(&live_count);
}

/* Counts an allocation; whether it is to fail. */
static bool must_fail(void)
{
    if (is_spared) return false;
    uint64_t number = atomic_fetch_add(&allocation_count, 1) + 1;
    return number == atomic_load(&failing_number);
}

static void *note_new(void *memory)
{
    if (memory) atomic_fetch_add(&live_count, 1);
    return memory;
}

static void note_freed(void)
{
    atomic_fetch_sub(&live_count, 1);
}

static void spare(bool spared)
{
    is_spared = spared;
}
#else
static inline bool must_fail(void)
{
    return false;
}

static inline void *note_new(void *memory)
{
    return memory;
}

static inline void note_freed(void)
{
}

static inline void spare(bool spared)
{
    (void)spared;
}
#endif

/* NULL always means failure, so an empty block has an address too. */
static inline size_t at_least_one(size_t bytes)
{
    return bytes ? bytes : 1;
}

void *nr_alloc(size_t bytes)
{
    if (must_fail()) return NULL;
    return note_new(malloc(at_least_one(bytes)));
}

void *nr_calloc(size_t count, size_t bytes)
{
    if (must_fail()) return NULL;
    if (bytes > 0 && count > SIZE_MAX / bytes) return NULL;
    return note_new(calloc(1, at_least_one(count * bytes)));
}

void *nr_realloc(void *memory, size_t bytes)
{
    void *moved;
    if (must_fail()) return NULL;
    moved = realloc(memory, at_least_one(bytes));
    return memory ? moved : note_new(moved);
}

void *nr_alloc_aligned(size_t alignment, size_t bytes)
{
    void *memory = NULL;
    NR_ASSERT(alignment != 0 && (alignment & (alignment - 1)) == 0);
    if (must_fail()) return NULL;
    if (posix_memalign(&memory, NR_MAX(alignment, sizeof(void *)), at_least_one(bytes)) != 0) return NULL;
    return note_new(memory);
}

void *nr_alloc_large(size_t bytes)
{
    /* What is short of a page by the allocator's own note, and so lies in it side by side with others, counts as one.
     */
    size_t page_count = (bytes + LARGE_PAGE_SLACK_BYTES) / NR_LARGE_PAGE_BYTES;
    if (page_count == 0) return nr_alloc(bytes);
    void *memory = nr_alloc_aligned(NR_LARGE_PAGE_BYTES, bytes);
#ifdef MADV_HUGEPAGE
    if (memory) madvise(memory, page_count * NR_LARGE_PAGE_BYTES, MADV_HUGEPAGE); /* A wish. */
#endif
    return memory;
}

void nr_free(void *memory)
{
    if (!memory) return;
    note_freed();
    free(memory);
}

char *nr_strdup(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = nr_alloc(bytes);
    if (copy) memcpy(copy, text, bytes);
    return copy;
}

void nori_free(void *memory)
{
    nr_free(memory);
}

void *nr_calloc_spared(size_t count, size_t bytes)
{
    spare(true);
    void *memory = nr_calloc(count, bytes);
    spare(false);
    return memory;
}

void *nr_realloc_spared(void *memory, size_t bytes)
{
    spare(true);
    memory = nr_realloc(memory, bytes);
    spare(false);
    return memory;
}

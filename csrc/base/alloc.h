/* Memory. Everything the core allocates comes from here, and every failure is returned: NULL.
 *
 * Test builds (NR_TEST) can make the n-th allocation fail; all allocations of all threads count. */
#ifndef NR_BASE_ALLOC_H
#define NR_BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

void *nr_alloc(size_t bytes);
void *nr_calloc(size_t count, size_t bytes); /* Checks the product. */
void *nr_realloc(void *memory, size_t bytes);
void *nr_alloc_aligned(size_t alignment, size_t bytes); /* A power of two; nr_free releases it. */
/* For memory that is filled at once: where it is large, in large pages if the system has them, and aligned to them. */
#define NR_LARGE_PAGE_BYTES ((size_t)2 << 20)
void *nr_alloc_large(size_t bytes);
void nr_free(void *memory); /* NULL is fine. */
char *nr_strdup(const char *text);

/* The same, for memory that stands for a disk's blocks (the simulated disk): a test's failing allocation passes it by.
 */
void *nr_calloc_spared(size_t count, size_t bytes);
void *nr_realloc_spared(void *memory, size_t bytes);

#ifdef NR_TEST
/* The n-th allocation from now fails, once (n >= 1); 0: none. */
void nr_alloc_fail_at(uint64_t nth);
uint64_t nr_alloc_count(void); /* Allocations so far. */
uint64_t nr_alloc_live(void);  /* Blocks not yet freed. */
#endif

#endif

/* Memory for many blocks of like sizes, in large pages: what is read from all over costs fewer walks of the page
 * tables.
 *
 * Sizes are rounded up to one of some classes; a chunk of NR_LARGE_PAGE_BYTES holds cells of one class. Taking a cell
 * locks; giving it back does not, whatever thread does it, so what was given back is found again, and empty chunks
 * freed, when the next cell is taken. The slab itself goes with its owner and the last cell. */
#ifndef NR_BASE_SLAB_H
#define NR_BASE_SLAB_H

#include <stddef.h>

struct nr_slab;

/* Takes at most 'most_bytes' from the system. NULL when memory runs out. */
struct nr_slab *nr_slab_create(size_t most_bytes);
/* The owner is done with it: nobody takes cells any more. NULL is fine. */
void nr_slab_release(struct nr_slab *slab);
/* NULL where there is no room, no memory, or no class for the size: another allocator has to do. */
void *nr_slab_take(struct nr_slab *slab, size_t bytes);
void nr_slab_give(void *cell);
/* Bytes taken from the system. */
size_t nr_slab_bytes(struct nr_slab *slab);

#endif

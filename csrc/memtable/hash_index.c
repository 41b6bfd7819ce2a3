#include "memtable/hash_index.h"

#include "base/alloc.h"

#define LINE_BYTES ((size_t)NR_HASH_INDEX_LINE_WORDS * 8)
#define MAX_LINE_COUNT (1u << 19)
#define POINTER_BITS 48

nori_status nr_hash_index_init(struct nr_hash_index *index, uint64_t entry_count, struct nori_error *err)
{
    uint64_t lines = entry_count / NR_HASH_INDEX_LINE_ENTRIES + 1;
    size_t bytes;
    index->line_count = NR_MIN(lines, (uint64_t)MAX_LINE_COUNT);
    bytes = nr_hash_index_bytes(index);
    index->memory = nr_calloc(1, bytes);
    if (!index->memory) return nr_fail_memory(err, bytes);
    index->words = (_Atomic uint64_t *)(((uintptr_t)index->memory + LINE_BYTES - 1) & ~(uintptr_t)(LINE_BYTES - 1));
    return NORI_OK;
}

void nr_hash_index_clear(struct nr_hash_index *index)
{
    nr_free(index->memory);
    index->memory = NULL;
}

size_t nr_hash_index_bytes(const struct nr_hash_index *index)
{
    return (size_t)(index->line_count + 1) * LINE_BYTES; /* One more: the memory need not begin at a line. */
}

/* The line is chosen by the upper half of the hash, these by the lower. */
static inline uint64_t slot_tag(uint64_t hash)
{
    return hash & 0xffff;
}
static inline uint64_t overflow_bits(uint64_t hash)
{
    return 1ull << (hash >> 16 & 63) | 1ull << (hash >> 22 & 63);
}

static inline struct nr_node *slot_node(uint64_t slot)
{
    return (struct nr_node *)(uintptr_t)(slot & ((1ull << POINTER_BITS) - 1));
}
static inline bool slot_has_tag(uint64_t slot, uint64_t tag)
{
    return slot >> POINTER_BITS == tag;
}

void nr_hash_index_add(struct nr_hash_index *index, uint64_t hash, struct nr_node *node)
{
    _Atomic uint64_t *line = nr_hash_index_line(index, hash);
    uint64_t pointer = (uint64_t)(uintptr_t)node;
    uint64_t bits = atomic_load_explicit(line, memory_order_relaxed);
    for (int i = 1; i < NR_HASH_INDEX_LINE_WORDS && pointer >> POINTER_BITS == 0; i++) {
        uint64_t slot = atomic_load_explicit(&line[i], memory_order_relaxed);
        if (slot == 0 ||
            (slot_has_tag(slot, slot_tag(hash)) && nr_slice_equal(nr_node_key(slot_node(slot)), nr_node_key(node)))) {
            atomic_store_explicit(&line[i], slot_tag(hash) << POINTER_BITS | pointer, memory_order_release);
            return;
        }
    }
    atomic_store_explicit(line, bits | overflow_bits(hash), memory_order_relaxed);
}

enum nr_key_answer nr_hash_index_find(const struct nr_hash_index *index, uint64_t hash, nori_slice key,
                                      const struct nr_node **node_out)
{
    const _Atomic uint64_t *line = nr_hash_index_line(index, hash);
    uint64_t bits = overflow_bits(hash);
    for (int i = 1; i < NR_HASH_INDEX_LINE_WORDS; i++) {
        uint64_t slot = atomic_load_explicit(&line[i], memory_order_acquire);
        if (slot == 0) break;
        if (slot_has_tag(slot, slot_tag(hash)) && nr_slice_equal(nr_node_key(slot_node(slot)), key)) {
            *node_out = slot_node(slot);
            return NR_KEY_PRESENT;
        }
    }
    return (atomic_load_explicit(line, memory_order_relaxed) & bits) == bits ? NR_KEY_UNKNOWN : NR_KEY_ABSENT;
}

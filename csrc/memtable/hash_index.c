#include "memtable/hash_index.h"

#include "base/alloc.h"

#define LINE_BYTES ((size_t)NR_HASH_INDEX_LINE_WORDS * 8)
#define LINE_SLOTS (NR_HASH_INDEX_LINE_WORDS - 1)
#define MAX_LINE_COUNT (1u << 26)
#define POINTER_BITS NR_NODE_POINTER_BITS
#define MIN_SPARE_LINES 16
#define MAX_SPARE_LINES 1024
/* Of a node: its header, a usual tower, a key, and the beginning of the value. */
#define NODE_LINES 4

nori_status nr_hash_index_init(struct nr_hash_index *index, uint64_t entry_count, struct nori_error *err)
{
    uint64_t lines = entry_count / NR_HASH_INDEX_LINE_ENTRIES + 1;
    size_t bytes;
    nr_arena_init(&index->more, 0);
    index->line_count = NR_MIN(lines, (uint64_t)MAX_LINE_COUNT);
    /* One more: the memory need not begin at a line. */
    bytes = (size_t)(index->line_count + 1) * LINE_BYTES;
    index->memory = nr_alloc_large(bytes);
    if (!index->memory) return nr_fail_memory(err, bytes);
    /* Now, in one go: pages of zeros that are read before they are written to fault twice, the second time with word to
     * all processors. */
    memset(index->memory, 0, bytes);
    atomic_store_explicit(&index->bytes, bytes, memory_order_relaxed);
    index->words = (_Atomic uint64_t *)(((uintptr_t)index->memory + LINE_BYTES - 1) & ~(uintptr_t)(LINE_BYTES - 1));
    return NORI_OK;
}

void nr_hash_index_clear(struct nr_hash_index *index)
{
    nr_free(index->memory);
    nr_arena_clear(&index->more);
    index->memory = NULL;
    index->spare_count = 0;
    atomic_store_explicit(&index->bytes, 0, memory_order_relaxed);
}

/* What is spare already is given up: a few lines. */
nori_status nr_hash_index_grow(struct nr_hash_index *index, uint64_t count, struct nori_error *err)
{
    /* Each addition may find its line full; but no line gets another before it has as many entries as slots. */
    uint64_t most = NR_MIN(count, index->line_count + count / LINE_SLOTS + 1);
    uint64_t usual = nr_arena_bytes(&index->more) / LINE_BYTES;
    size_t bytes;
    if (most <= index->spare_count) return NORI_OK;
    usual = NR_MAX(NR_MIN(usual, (uint64_t)MAX_SPARE_LINES), (uint64_t)MIN_SPARE_LINES);
    most = NR_MAX(most, usual);
    bytes = (size_t)(most + 1) * LINE_BYTES;
    uint8_t *memory = nr_arena_alloc(&index->more, bytes);
    if (!memory || (uint64_t)(uintptr_t)memory >> POINTER_BITS) return nr_fail_memory(err, bytes);
    memset(memory, 0, bytes);
    index->spare = (uint8_t *)(((uintptr_t)memory + LINE_BYTES - 1) & ~(uintptr_t)(LINE_BYTES - 1));
    index->spare_count = (size_t)most;
    atomic_fetch_add_explicit(&index->bytes, bytes, memory_order_relaxed);
    return NORI_OK;
}

/* The line is chosen by the upper half of the hash, these by the lower. */
static inline uint64_t slot_tag(uint64_t hash)
{
    return hash & 0xffff;
}
static inline uint64_t beyond_bit(uint64_t hash)
{
    return 1ull << (POINTER_BITS + (hash >> 16 & 15));
}

static inline void *pointer_of(uint64_t word)
{
    return (void *)(uintptr_t)(word & ((1ull << POINTER_BITS) - 1));
}

/* What a search of the node looks at, all at once: where its key and value begin stands in its header. */
static inline void prefetch_node(const void *node)
{
    for (int i = 0; i < NODE_LINES; i++) __builtin_prefetch((const uint8_t *)node + 64 * i);
}

/* Whether the slot is of this key. */
static inline bool slot_has(uint64_t slot, uint64_t tag, nori_slice key)
{
    return slot >> POINTER_BITS == tag && nr_slice_equal(nr_node_key(pointer_of(slot)), key);
}

/* The line behind a full one, for whoever has this hash. */
static _Atomic uint64_t *line_beyond(struct nr_hash_index *index, _Atomic uint64_t *line, uint64_t hash)
{
    uint64_t word = atomic_load_explicit(line, memory_order_relaxed);
    if (!pointer_of(word)) {
        NR_ASSERT(index->spare_count > 0);
        word |= (uint64_t)(uintptr_t)index->spare;
        index->spare += LINE_BYTES;
        index->spare_count--;
    }
    /* Before the entry is there: a reader that has to see the entry sees this. */
    atomic_store_explicit(line, word | beyond_bit(hash), memory_order_release);
    return pointer_of(word);
}

void nr_hash_index_add(struct nr_hash_index *index, uint64_t hash, struct nr_node *node)
{
    _Atomic uint64_t *line = nr_hash_index_line(index, hash);
    nori_slice key = nr_node_key(node);
    uint64_t tag = slot_tag(hash), entry = tag << POINTER_BITS | (uint64_t)(uintptr_t)node;
    NR_ASSERT((uint64_t)(uintptr_t)node >> POINTER_BITS == 0);
    for (;;) {
        for (int i = 1; i <= LINE_SLOTS; i++) {
            uint64_t slot = atomic_load_explicit(&line[i], memory_order_relaxed);
            if (slot != 0 && !slot_has(slot, tag, key)) continue;
            atomic_store_explicit(&node->older, pointer_of(slot), memory_order_relaxed);
            atomic_store_explicit(&line[i], entry, memory_order_release);
            return;
        }
        line = line_beyond(index, line, hash);
    }
}

const struct nr_node *nr_hash_index_find(const struct nr_hash_index *index, uint64_t hash, nori_slice key)
{
    const _Atomic uint64_t *line = nr_hash_index_line(index, hash);
    uint64_t tag = slot_tag(hash);
    for (;;) {
        uint64_t word;
        for (int i = 1; i <= LINE_SLOTS; i++) {
            uint64_t slot = atomic_load_explicit(&line[i], memory_order_acquire);
            if (slot == 0) return NULL;
            if (slot >> POINTER_BITS != tag) continue;
            prefetch_node(pointer_of(slot));
            if (slot_has(slot, tag, key)) return pointer_of(slot);
        }
        word = atomic_load_explicit(line, memory_order_acquire);
        if (!(word & beyond_bit(hash))) return NULL;
        line = pointer_of(word);
    }
}

void nr_hash_index_prefetch_entry(const struct nr_hash_index *index, uint64_t hash)
{
    const _Atomic uint64_t *line = nr_hash_index_line(index, hash);
    for (int i = 1; i <= LINE_SLOTS; i++) {
        uint64_t slot = atomic_load_explicit(&line[i], memory_order_acquire);
        if (slot == 0) return;
        if (slot >> POINTER_BITS == slot_tag(hash)) prefetch_node(pointer_of(slot));
    }
}

/* The second view: made once there are entries enough to show that the memtable is in use and how its keys begin. */
#include "base/alloc.h"
#include "base/checksum.h"
#include "memtable/memtable_state.h"

/* More than this is not copied: with large values the list stays short and the search is not what takes time. */
#define SAMPLE_MAX_BYTES ((size_t)1 << 20)
/* Rising keys have more in common so far than they will have: they count on in the bytes before those that vary. */
#define RISING_RESERVE_BYTES 4

/* Of the list's keys; nothing if they do not differ, which tells nothing about others. */
static nori_slice common_of(const struct nr_skiplist *list)
{
    const struct nr_node *first_node = nr_skiplist_first(list), *last_node = nr_skiplist_last(list);
    nori_slice first = first_node ? nr_node_key(first_node) : nr_slice(NULL, 0);
    nori_slice last = last_node ? nr_node_key(last_node) : nr_slice(NULL, 0);
    size_t limit = NR_MIN(first.size, last.size), common = 0;
    if (nr_slice_equal(first, last)) return nr_slice(NULL, 0);
    while (common < limit && first.data[common] == last.data[common]) common++;
    if (list->appended_count > NR_MEMTABLE_SAMPLE_COUNT / 2)
        common = common > RISING_RESERVE_BYTES ? common - RISING_RESERVE_BYTES : 0;
    return nr_slice(first.data, common);
}

/* Copies the first list into the second, whose prefixes lie behind 'common'. */
static nori_status copy_list(struct nr_memtable *memtable, nori_slice common, struct nori_error *err)
{
    struct nr_skiplist *list = &memtable->lists[1];
    const struct nr_node *node;
    size_t bytes = NR_SKIPLIST_HEAD_BYTES;
    uint8_t *memory;
    for (node = nr_skiplist_first(&memtable->lists[0]); node; node = nr_node_next(node))
        bytes += nr_node_bytes(node->key_bytes, node->value_bytes, node->height);
    memory = nr_arena_alloc(&memtable->pool.arena, bytes);
    if (!memory) return nr_fail_memory(err, bytes);
    nr_skiplist_init(list, memory, common);
    memory += NR_SKIPLIST_HEAD_BYTES;
    for (node = nr_skiplist_first(&memtable->lists[0]); node; node = nr_node_next(node)) {
        nr_skiplist_insert(list,
                           nr_node_create(memory, nr_node_key(node), node->tag, nr_node_value(node), node->height));
        memory += nr_node_bytes(node->key_bytes, node->value_bytes, node->height);
    }
    return NORI_OK;
}

static void index_list(struct nr_memtable_view *view)
{
    const struct nr_node *node = nr_skiplist_first(view->list);
    nori_slice last_key = nr_slice(NULL, 0);
    for (bool is_first = true; node; node = nr_node_next(node), is_first = false) {
        nori_slice key = nr_node_key(node);
        /* The newest entry of a key comes first. */
        if (is_first || !nr_slice_equal(key, last_key))
            nr_hash_index_add(&view->index, nr_hash_key(key), (struct nr_node *)(uintptr_t)node);
        last_key = key;
    }
}

nori_status nr_memtable_settle(struct nr_memtable *memtable, struct nori_error *err)
{
    nori_status rc;
    struct nr_memtable_view *view = &memtable->views[1];
    nori_slice common = common_of(&memtable->lists[0]);
    uint64_t entries = memtable->expected_bytes / NR_MEMTABLE_ENTRY_BYTES;
    view->list = &memtable->lists[0];
    NR_CHECK(nr_hash_index_init(&view->index, NR_MAX(entries, (uint64_t)NR_MEMTABLE_SAMPLE_COUNT), err));
    if (common.size > 0 && nr_node_pool_bytes(&memtable->pool) <= SAMPLE_MAX_BYTES) {
        NR_CHECK(copy_list(memtable, common, err));
        view->list = &memtable->lists[1];
    }
    index_list(view);
    atomic_store_explicit(&memtable->index_bytes,
                          nr_hash_index_bytes(&memtable->views[0].index) + nr_hash_index_bytes(&view->index),
                          memory_order_relaxed);
    atomic_store_explicit(&memtable->view, view, memory_order_release);
    memtable->is_settled = true;
out:
    if (rc != NORI_OK) nr_hash_index_clear(&view->index);
    return rc;
}

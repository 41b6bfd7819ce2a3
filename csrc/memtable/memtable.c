#include "memtable/memtable.h"

#include "base/alloc.h"
#include "base/checksum.h"
#include "memtable/memtable_state.h"

/* Newer versions of a key to step over before a search is cheaper. */
#define NEWEST_STEPS 8

static inline uint64_t load_count(const _Atomic uint64_t *count)
{
    return atomic_load_explicit(count, memory_order_relaxed);
}

/* One writer: no need for a read-modify-write. */
static inline void add_count(_Atomic uint64_t *count, uint64_t more)
{
    atomic_store_explicit(count, load_count(count) + more, memory_order_relaxed);
}

/* ---------------------------------------------------------------- life */

static void destroy(struct nr_memtable *memtable)
{
    nr_range_stack_destroy(atomic_load_explicit(&memtable->ranges, memory_order_acquire));
    nr_range_stack_destroy(memtable->pending_ranges);
    nr_epoch_release_own(&memtable->retired_ranges);
    nr_hash_index_clear(&memtable->views[0].index);
    nr_hash_index_clear(&memtable->views[1].index);
    nr_node_pool_clear(&memtable->pool);
    nr_free(memtable);
}

nori_status nr_memtable_create(struct nr_epoch *epoch, size_t expected_bytes, struct nr_memtable **memtable_out,
                               struct nori_error *err)
{
    nori_status rc;
    struct nr_memtable *memtable = nr_alloc_aligned(64, sizeof *memtable);
    struct nr_memtable *created = memtable;
    *memtable_out = NULL;
    if (!memtable) return nr_fail_memory(err, sizeof *memtable);
    memset(memtable, 0, sizeof *memtable);
    atomic_init(&memtable->refs, 1);
    memtable->epoch = epoch;
    memtable->expected_bytes = expected_bytes;
    nr_node_pool_init(&memtable->pool);
    NR_CHECK(nr_hash_index_init(&memtable->views[0].index,
                                NR_MIN(expected_bytes / NR_MEMTABLE_ENTRY_BYTES, (size_t)NR_MEMTABLE_SAMPLE_COUNT),
                                err));
    atomic_init(&memtable->index_bytes, nr_hash_index_bytes(&memtable->views[0].index));
    NR_CHECK(nr_node_pool_reserve_one(&memtable->pool, NR_SKIPLIST_HEAD_BYTES, err));
    nr_skiplist_init(&memtable->lists[0], nr_node_pool_alloc(&memtable->pool, NR_SKIPLIST_HEAD_BYTES),
                     nr_slice(NULL, 0));
    memtable->views[0].list = &memtable->lists[0];
    atomic_init(&memtable->view, &memtable->views[0]);
    *memtable_out = memtable;
    created = NULL;
out:
    if (created) destroy(created);
    return rc;
}

struct nr_memtable *nr_memtable_ref(struct nr_memtable *memtable)
{
    atomic_fetch_add_explicit(&memtable->refs, 1, memory_order_relaxed);
    return memtable;
}

void nr_memtable_unref(struct nr_memtable *memtable)
{
    if (memtable && atomic_fetch_sub_explicit(&memtable->refs, 1, memory_order_acq_rel) == 1) destroy(memtable);
}

/* ---------------------------------------------------------------- writing */

static inline nori_status settle_in_time(struct nr_memtable *memtable, struct nori_error *err)
{
    if (NR_LIKELY(memtable->is_settled || load_count(&memtable->entry_count) < NR_MEMTABLE_SAMPLE_COUNT))
        return NORI_OK;
    return nr_memtable_settle(memtable, err);
}

nori_status nr_memtable_reserve_one(struct nr_memtable *memtable, nori_slice key, nori_slice value,
                                    struct nori_error *err)
{
    nori_status rc = settle_in_time(memtable, err);
    if (rc != NORI_OK) return rc;
    return nr_node_pool_reserve_one(&memtable->pool, nr_node_bytes(key.size, value.size, NR_SKIPLIST_MAX_HEIGHT), err);
}

/* Checks the operations and sums up what they need. */
static nori_status plan_operations(nori_slice payload, uint64_t count, uint64_t first_sequence,
                                   struct nr_node_plan *plan, size_t *range_count_out, struct nori_error *err)
{
    struct nr_operation operation;
    *range_count_out = 0;
    if (first_sequence > NR_MAX_SEQUENCE || count > NR_MAX_SEQUENCE - first_sequence)
        return nr_fail_corrupt(err, "", -1, "batch", "write batch: sequence %" PRIu64 " is too large", first_sequence);
    for (uint64_t i = 0; i < count; i++) {
        nori_status rc = nr_operation_next(&payload, &operation, err);
        if (rc != NORI_OK) return rc;
        if (operation.type == NR_TYPE_RANGE_DELETE)
            ++*range_count_out;
        else
            nr_node_plan_add(
                plan, nr_node_bytes(operation.key.size, operation.value.size, nr_node_height(first_sequence + i)));
    }
    if (payload.size != 0)
        return nr_fail_corrupt(err, "", -1, "batch", "write batch: %zu bytes follow its %" PRIu64 " operations",
                               payload.size, count);
    return NORI_OK;
}

/* The stack that insert will publish, with the payload's range deletes on top. */
static nori_status prepare_ranges(struct nr_memtable *memtable, nori_slice payload, size_t range_count,
                                  uint64_t first_sequence, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_range *ranges = nr_alloc(range_count * sizeof *ranges);
    struct nr_operation operation;
    size_t filled = 0;
    if (!ranges) return nr_fail_memory(err, range_count * sizeof *ranges);
    for (uint64_t sequence = first_sequence; filled < range_count; sequence++) {
        NR_CHECK(nr_operation_next(&payload, &operation, err));
        if (operation.type == NR_TYPE_RANGE_DELETE)
            ranges[filled++] = (struct nr_range){operation.key, operation.stop, sequence};
    }
    NR_CHECK(nr_range_stack_push(atomic_load_explicit(&memtable->ranges, memory_order_relaxed), ranges, range_count,
                                 &memtable->pending_ranges, err));
out:
    nr_free(ranges);
    return rc;
}

nori_status nr_memtable_reserve(struct nr_memtable *memtable, nori_slice payload, uint64_t count,
                                uint64_t first_sequence, struct nori_error *err)
{
    nori_status rc;
    struct nr_node_plan plan;
    size_t range_count;
    nr_range_stack_destroy(memtable->pending_ranges); /* Of a write that came to nothing. */
    memtable->pending_ranges = NULL;
    NR_CHECK(settle_in_time(memtable, err));
    nr_node_pool_plan(&memtable->pool, &plan);
    NR_CHECK(plan_operations(payload, count, first_sequence, &plan, &range_count, err));
    NR_CHECK(nr_node_pool_reserve(&memtable->pool, &plan, err));
    if (range_count > 0) NR_CHECK(prepare_ranges(memtable, payload, range_count, first_sequence, err));
out:
    return rc;
}

/* Entries on their way in. */
struct group {
    struct nr_node *nodes[NR_SKIPLIST_GROUP];
    uint64_t hashes[NR_SKIPLIST_GROUP];
    size_t count;
};

/* The index's line is fetched while the list is searched. */
static inline void add_to_group(struct nr_memtable *memtable, struct group *group, unsigned type, nori_slice key,
                                nori_slice value, uint64_t sequence)
{
    const struct nr_memtable_view *view = atomic_load_explicit(&memtable->view, memory_order_relaxed);
    unsigned height = nr_node_height(sequence);
    void *memory = nr_node_pool_alloc(&memtable->pool, nr_node_bytes(key.size, value.size, height));
    uint64_t hash = nr_hash_key(key);
    nr_hash_index_prefetch(&view->index, hash);
    group->nodes[group->count] = nr_node_create(memory, key, nr_tag(sequence, (enum nr_entry_type)type), value, height);
    group->hashes[group->count++] = hash;
    if (type == NR_TYPE_DELETE) add_count(&memtable->delete_count, 1);
}

static void insert_group(struct nr_memtable *memtable, struct group *group)
{
    struct nr_memtable_view *view = atomic_load_explicit(&memtable->view, memory_order_relaxed);
    nr_skiplist_insert_group(view->list, group->nodes, group->count);
    for (size_t i = 0; i < group->count; i++) nr_hash_index_add(&view->index, group->hashes[i], group->nodes[i]);
    group->count = 0;
}

static void count_operations(struct nr_memtable *memtable, uint64_t first_sequence, uint64_t count)
{
    if (load_count(&memtable->entry_count) == 0)
        atomic_store_explicit(&memtable->first_sequence, first_sequence, memory_order_relaxed);
    atomic_store_explicit(&memtable->last_sequence, first_sequence + count - 1, memory_order_relaxed);
    add_count(&memtable->entry_count, count);
}

void nr_memtable_insert_one(struct nr_memtable *memtable, unsigned type, nori_slice key, nori_slice value,
                            uint64_t sequence)
{
    struct nr_memtable_view *view = atomic_load_explicit(&memtable->view, memory_order_relaxed);
    struct group group;
    NR_ASSERT(type != NR_TYPE_RANGE_DELETE);
    NR_ASSERT(type != NR_TYPE_PUT_EXPIRING || value.size >= NR_EXPIRY_BYTES);
    group.count = 0;
    add_to_group(memtable, &group, type, key, value, sequence);
    nr_skiplist_insert(view->list, group.nodes[0]);
    nr_hash_index_add(&view->index, group.hashes[0], group.nodes[0]);
    count_operations(memtable, sequence, 1);
}

static void publish_ranges(struct nr_memtable *memtable)
{
    struct nr_range_stack *ranges = memtable->pending_ranges;
    struct nr_range_stack *replaced;
    NR_ASSERT(ranges != NULL);
    memtable->pending_ranges = NULL;
    atomic_store_explicit(&memtable->range_bytes, ranges->bytes, memory_order_relaxed);
    replaced = atomic_exchange_explicit(&memtable->ranges, ranges, memory_order_seq_cst);
    if (replaced) nr_epoch_retire_own(memtable->epoch, &memtable->retired_ranges, &replaced->link);
}

void nr_memtable_insert(struct nr_memtable *memtable, nori_slice payload, uint64_t count, uint64_t first_sequence)
{
    struct nr_operation operation;
    struct group group;
    uint64_t range_count = 0;
    group.count = 0;
    for (uint64_t i = 0; i < count; i++) {
        nori_status rc = nr_operation_next(&payload, &operation, NULL);
        NR_ASSERT(rc == NORI_OK); /* Reserve has checked them. */
        if (rc != NORI_OK) break;
        if (operation.type == NR_TYPE_RANGE_DELETE)
            range_count++;
        else
            add_to_group(memtable, &group, operation.type, operation.key, operation.value, first_sequence + i);
        if (group.count == NR_SKIPLIST_GROUP) insert_group(memtable, &group);
    }
    insert_group(memtable, &group);
    if (range_count > 0) {
        publish_ranges(memtable);
        add_count(&memtable->delete_count, range_count);
    }
    if (count > 0) count_operations(memtable, first_sequence, count);
}

/* ---------------------------------------------------------------- reading */

/* The newest entry of the key at or below the tag. */
static const struct nr_node *find_entry(const struct nr_memtable *memtable, nori_slice key, uint64_t hash, uint64_t tag)
{
    const struct nr_memtable_view *view = nr_memtable_view(memtable);
    const struct nr_node *node = NULL;
    enum nr_key_answer answer = nr_hash_index_find(&view->index, hash, key, &node);
    if (answer == NR_KEY_ABSENT) return NULL;
    for (int step = 0; answer == NR_KEY_PRESENT && step < NEWEST_STEPS; step++) {
        if (node->tag <= tag) return node;
        node = nr_node_next(node);
        if (!node || !nr_slice_equal(nr_node_key(node), key)) return NULL;
    }
    return nr_skiplist_find(view->list, key, tag);
}

void nr_memtable_get(const struct nr_memtable *memtable, struct nr_lookup *lookup)
{
    const struct nr_range_stack *ranges = atomic_load_explicit(&memtable->ranges, memory_order_seq_cst);
    const struct nr_node *node;
    if (NR_UNLIKELY(ranges != NULL)) {
        uint64_t covering = nr_range_stack_covering(ranges, lookup->key, lookup->sequence);
        lookup->tombstone_sequence = NR_MAX(lookup->tombstone_sequence, covering);
    }
    node = find_entry(memtable, lookup->key, lookup->hash, nr_tag_seek(lookup->sequence));
    if (!node) return;
    lookup->found = true;
    lookup->tag = node->tag;
    lookup->value = nr_node_value(node);
}

static bool entries_touched(const struct nr_memtable *memtable, nori_slice first, const nori_slice *last,
                            uint64_t since)
{
    uint64_t newest = nr_tag_seek(NR_MAX_SEQUENCE);
    const struct nr_node *node;
    if (last && nr_slice_equal(first, *last)) {
        node = find_entry(memtable, first, nr_hash_key(first), newest);
        return node && nr_tag_sequence(node->tag) > since;
    }
    node = nr_skiplist_seek(nr_memtable_list(memtable), first, newest);
    for (; node; node = nr_node_next(node)) {
        if (last && nr_slice_compare(nr_node_key(node), *last) > 0) return false;
        if (nr_tag_sequence(node->tag) > since) return true;
    }
    return false;
}

bool nr_memtable_touched(const struct nr_memtable *memtable, nori_slice first, const nori_slice *last, uint64_t since)
{
    const struct nr_range_stack *ranges;
    if (nr_memtable_last_sequence(memtable) <= since) return false;
    ranges = atomic_load_explicit(&memtable->ranges, memory_order_seq_cst);
    if (ranges && nr_range_stack_touched(ranges, first, last, since)) return true;
    return entries_touched(memtable, first, last, since);
}

nori_status nr_memtable_tombstones(struct nr_memtable *memtable, struct nr_tombstones **set_out, struct nori_error *err)
{
    struct nr_range_stack *ranges = atomic_load_explicit(&memtable->ranges, memory_order_seq_cst);
    *set_out = NULL;
    return ranges ? nr_range_stack_merged(ranges, set_out, err) : NORI_OK;
}

/* ---------------------------------------------------------------- counts */

size_t nr_memtable_bytes(const struct nr_memtable *memtable)
{
    return sizeof *memtable + nr_node_pool_bytes(&memtable->pool) +
           atomic_load_explicit(&memtable->index_bytes, memory_order_relaxed) +
           atomic_load_explicit(&memtable->range_bytes, memory_order_relaxed);
}

uint64_t nr_memtable_entry_count(const struct nr_memtable *memtable)
{
    return load_count(&memtable->entry_count);
}

uint64_t nr_memtable_delete_count(const struct nr_memtable *memtable)
{
    return load_count(&memtable->delete_count);
}

bool nr_memtable_is_empty(const struct nr_memtable *memtable)
{
    return nr_memtable_entry_count(memtable) == 0;
}

uint64_t nr_memtable_first_sequence(const struct nr_memtable *memtable)
{
    return load_count(&memtable->first_sequence);
}

uint64_t nr_memtable_last_sequence(const struct nr_memtable *memtable)
{
    return load_count(&memtable->last_sequence);
}

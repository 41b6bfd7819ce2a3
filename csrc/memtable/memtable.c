#include "memtable/memtable.h"

#include "base/alloc.h"
#include "base/checksum.h"
#include "memtable/memtable_state.h"

/* Newer versions of a key to step over before a search by order is cheaper, where it is to be had; and before it is
 * worth putting entries in order for it. */
#define SEARCHED_STEPS 8
#define ORDERED_STEPS 64

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
    nr_hash_index_clear(&memtable->indexes[0]);
    nr_hash_index_clear(&memtable->indexes[1]);
    nr_order_clear(&memtable->order);
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
    nr_order_init(&memtable->order);
    NR_CHECK(nr_hash_index_init(
        &memtable->indexes[0], NR_MIN(expected_bytes / NR_MEMTABLE_ENTRY_BYTES, (size_t)NR_MEMTABLE_SMALL_COUNT), err));
    atomic_init(&memtable->index, &memtable->indexes[0]);
    /* What the first entries take is not counted as theirs: a small memtable would be full at once. */
    NR_CHECK(nr_hash_index_reserve(&memtable->indexes[0], 1, err));
    NR_CHECK(nr_node_pool_reserve_one(&memtable->pool, 1, err));
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

/* Makes the second index, with room for 'count' more at least, the newest. */
static nori_status settle(struct nr_memtable *memtable, uint64_t count, struct nori_error *err)
{
    nori_status rc;
    struct nr_hash_index *index = &memtable->indexes[1];
    uint64_t expected = memtable->expected_bytes / NR_MEMTABLE_ENTRY_BYTES,
             entries = load_count(&memtable->entry_count);
    struct nr_node *node = atomic_load_explicit(&memtable->order.first, memory_order_relaxed);
    NR_CHECK(nr_hash_index_init(index, NR_MAX(expected, entries + count), err));
    NR_CHECK(nr_hash_index_reserve(index, entries, err));
    for (; node; node = atomic_load_explicit(&node->written_next, memory_order_relaxed))
        nr_hash_index_add(index, nr_hash_key(nr_node_key(node)), node);
    atomic_store_explicit(&memtable->index, index, memory_order_release);
    memtable->is_settled = true;
out:
    if (rc != NORI_OK) nr_hash_index_clear(index);
    return rc;
}

/* Room for 'count' more in the index. */
static inline nori_status reserve_index(struct nr_memtable *memtable, uint64_t count, struct nori_error *err)
{
    if (NR_UNLIKELY(!memtable->is_settled && load_count(&memtable->entry_count) + count >= NR_MEMTABLE_SMALL_COUNT)) {
        nori_status rc = settle(memtable, count, err);
        if (rc != NORI_OK) return rc;
    }
    return nr_hash_index_reserve(&memtable->indexes[memtable->is_settled], count, err);
}

nori_status nr_memtable_reserve_one(struct nr_memtable *memtable, nori_slice key, nori_slice value,
                                    struct nori_error *err)
{
    nori_status rc = reserve_index(memtable, 1, err);
    if (rc != NORI_OK) return rc;
    /* Fetched while the log is written. */
    nr_hash_index_prefetch_add(&memtable->indexes[memtable->is_settled], nr_hash_key(key));
    return nr_node_pool_reserve_one(&memtable->pool, nr_node_bytes(key.size, value.size, NR_NODE_MAX_HEIGHT), err);
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
    nr_node_pool_plan(&memtable->pool, &plan);
    NR_CHECK(plan_operations(payload, count, first_sequence, &plan, &range_count, err));
    NR_CHECK(reserve_index(memtable, count, err));
    NR_CHECK(nr_node_pool_reserve(&memtable->pool, &plan, err));
    if (range_count > 0) NR_CHECK(prepare_ranges(memtable, payload, range_count, first_sequence, err));
out:
    return rc;
}

/* Entries on their way in: their lines of the index are fetched while the next ones are copied. */
#define GROUP_NODES 16
struct group {
    struct nr_hash_index *index;
    struct nr_node *nodes[GROUP_NODES];
    uint64_t hashes[GROUP_NODES];
    size_t count;
};

static void begin_group(struct nr_memtable *memtable, struct group *group)
{
    group->index = &memtable->indexes[memtable->is_settled];
    group->count = 0;
}

static inline void add_to_group(struct nr_memtable *memtable, struct group *group, unsigned type, nori_slice key,
                                nori_slice value, uint64_t sequence)
{
    unsigned height = nr_node_height(sequence);
    void *memory = nr_node_pool_alloc(&memtable->pool, nr_node_bytes(key.size, value.size, height));
    uint64_t hash = nr_hash_key(key);
    nr_hash_index_prefetch_add(group->index, hash);
    group->nodes[group->count] = nr_node_create(memory, key, nr_tag(sequence, (enum nr_entry_type)type), value, height);
    group->hashes[group->count++] = hash;
    if (type == NR_TYPE_DELETE) add_count(&memtable->delete_count, 1);
}

static inline void insert_group(struct nr_memtable *memtable, struct group *group)
{
    for (size_t i = 0; i < group->count; i++) {
        nr_order_push(&memtable->order, group->nodes[i]);
        nr_hash_index_add(group->index, group->hashes[i], group->nodes[i]);
    }
    group->count = 0;
}

static void count_operations(struct nr_memtable *memtable, uint64_t first_sequence, uint64_t count)
{
    if (load_count(&memtable->entry_count) == 0)
        atomic_store_explicit(&memtable->first_sequence, first_sequence, memory_order_relaxed);
    atomic_store_explicit(&memtable->last_sequence, first_sequence + count - 1, memory_order_release);
    add_count(&memtable->entry_count, count);
}

void nr_memtable_insert_one(struct nr_memtable *memtable, unsigned type, nori_slice key, nori_slice value,
                            uint64_t sequence)
{
    struct group group;
    NR_ASSERT(type != NR_TYPE_RANGE_DELETE);
    NR_ASSERT(type != NR_TYPE_PUT_EXPIRING || value.size >= NR_EXPIRY_BYTES);
    begin_group(memtable, &group);
    add_to_group(memtable, &group, type, key, value, sequence);
    insert_group(memtable, &group);
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
    begin_group(memtable, &group);
    for (uint64_t i = 0; i < count; i++) {
        nori_status rc = nr_operation_next(&payload, &operation, NULL);
        NR_ASSERT(rc == NORI_OK); /* Reserve has checked them. */
        if (rc != NORI_OK) break;
        if (operation.type == NR_TYPE_RANGE_DELETE)
            range_count++;
        else
            add_to_group(memtable, &group, operation.type, operation.key, operation.value, first_sequence + i);
        if (group.count == GROUP_NODES) insert_group(memtable, &group);
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
static const struct nr_node *find_entry(struct nr_memtable *memtable, nori_slice key, uint64_t hash, uint64_t tag)
{
    const struct nr_node *node = nr_hash_index_find(nr_memtable_index(memtable), hash, key);
    for (int step = 0; node && node->tag > tag; step++) {
        bool is_ordered = step >= SEARCHED_STEPS && nr_order_is_linked(&memtable->order, nr_tag_sequence(tag));
        if (step == ORDERED_STEPS && !is_ordered)
            is_ordered = nr_order_link(&memtable->order, nr_memtable_last_sequence(memtable), false);
        if (is_ordered) return nr_skiplist_find(nr_order_list(&memtable->order), key, tag);
        node = atomic_load_explicit(&node->older, memory_order_acquire);
    }
    return node;
}

void nr_memtable_prefetch(struct nr_memtable *memtable, uint64_t hash)
{
    nr_hash_index_prefetch(nr_memtable_index(memtable), hash);
}

void nr_memtable_prefetch_entry(struct nr_memtable *memtable, uint64_t hash)
{
    nr_hash_index_prefetch_entry(nr_memtable_index(memtable), hash);
}

void nr_memtable_get(struct nr_memtable *memtable, struct nr_lookup *lookup)
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

static bool entries_touched(struct nr_memtable *memtable, nori_slice first, const nori_slice *last, uint64_t since)
{
    uint64_t newest = nr_tag_seek(NR_MAX_SEQUENCE);
    const struct nr_node *node;
    if (last && nr_slice_equal(first, *last)) {
        node = find_entry(memtable, first, nr_hash_key(first), newest);
        return node && nr_tag_sequence(node->tag) > since;
    }
    node = nr_skiplist_seek(nr_memtable_ordered(memtable), first, newest);
    for (; node; node = nr_node_next(node)) {
        if (last && nr_slice_compare(nr_node_key(node), *last) > 0) return false;
        if (nr_tag_sequence(node->tag) > since) return true;
    }
    return false;
}

bool nr_memtable_touched(struct nr_memtable *memtable, nori_slice first, const nori_slice *last, uint64_t since)
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
    return sizeof *memtable + nr_node_pool_bytes(&memtable->pool) + nr_arena_bytes(&memtable->order.arena) +
           nr_hash_index_bytes(&memtable->indexes[0]) + nr_hash_index_bytes(&memtable->indexes[1]) +
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
    return atomic_load_explicit(&memtable->last_sequence, memory_order_acquire);
}

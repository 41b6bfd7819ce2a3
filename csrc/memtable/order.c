#include "memtable/order.h"

#include "base/alloc.h"
#include "base/prefix_sort.h"
#include "format/format.h"

/* How many entries show what keys have in common. Few enough that to copy them costs nothing. */
#define SAMPLE_COUNT 1024
/* More than this is not copied: with large values the list stays short and the search is not what takes time. */
#define SAMPLE_MAX_BYTES ((size_t)1 << 20)
/* Rising keys have more in common so far than they will have: they count on in the bytes before those that vary. */
#define RISING_RESERVE_BYTES 4
/* As many sequences may stand for as many nodes. */
#define UNCOUNTED_MAX ((uint64_t)1 << 20)
/* Nodes are fetched so many ahead. */
#define AHEAD_COUNT 8

void nr_order_init(struct nr_order *order)
{
    memset(order, 0, sizeof *order);
    nr_mutex_init(&order->lock, NR_RANK_LEAF);
    nr_arena_init(&order->arena, 0);
    nr_skiplist_init(&order->lists[0], order->heads[0], nr_slice(NULL, 0));
    atomic_init(&order->list, &order->lists[0]);
}

void nr_order_clear(struct nr_order *order)
{
    nr_arena_clear(&order->arena);
    nr_mutex_destroy(&order->lock);
}

void nr_order_push(struct nr_order *order, struct nr_node *node)
{
    struct nr_node *before = order->newest;
    order->newest = node;
    atomic_store_explicit(before ? &before->written_next : &order->first, node, memory_order_release);
}

/* ---------------------------------------------------------------- what waits */

/* The next in the queue, up to the sequence; NULL at its end. */
static struct nr_node *next_waiting(const struct nr_order *order, struct nr_node *node, uint64_t sequence)
{
    struct nr_node *next = atomic_load_explicit(node ? &node->written_next : &order->first, memory_order_acquire);
    return next && nr_tag_sequence(next->tag) <= sequence ? next : NULL;
}

/* No more than these wait: range deletes have sequences and no nodes. Where it makes a difference they are counted. */
static uint64_t count_waiting(const struct nr_order *order, uint64_t sequence)
{
    struct nr_node *node = next_waiting(order, order->linked_end, sequence);
    uint64_t most = node ? sequence - nr_tag_sequence(node->tag) + 1 : 0, count = 0;
    if (most <= UNCOUNTED_MAX) return most;
    for (; node; node = next_waiting(order, node, sequence)) count++;
    return count;
}

/* ---------------------------------------------------------------- the second list */

/* What keys are seen to have in common. */
struct sample {
    nori_slice common, last;
    uint64_t count, rising_count;
    bool differs;
};

static void add_to_sample(struct sample *sample, nori_slice key)
{
    if (sample->count++ == 0) {
        sample->common = key;
    } else {
        size_t limit = NR_MIN(sample->common.size, key.size), common = 0;
        int order = nr_slice_compare(sample->last, key);
        while (common < limit && sample->common.data[common] == key.data[common]) common++;
        sample->common.size = common;
        sample->differs |= order != 0;
        sample->rising_count += order < 0;
    }
    sample->last = key;
}

/* Nothing if they do not differ, which tells nothing about others. */
static nori_slice common_of(const struct sample *sample)
{
    nori_slice common = sample->common;
    if (!sample->differs) return nr_slice(NULL, 0);
    if (sample->rising_count > sample->count / 2)
        common.size = common.size > RISING_RESERVE_BYTES ? common.size - RISING_RESERVE_BYTES : 0;
    return common;
}

/* Copies what is linked into the second list, whose prefixes lie behind 'common'. False without memory. */
static bool copy_list(struct nr_order *order, nori_slice common)
{
    struct nr_skiplist *list = &order->lists[1];
    const struct nr_node *node;
    size_t bytes = 0;
    uint8_t *memory = NULL;
    for (node = nr_skiplist_first(&order->lists[0]); node; node = nr_node_next(node))
        bytes += nr_node_bytes(node->key_bytes, node->value_bytes, node->height);
    if (bytes > SAMPLE_MAX_BYTES) return false;
    if (bytes > 0) {
        memory = nr_arena_alloc(&order->arena, bytes + 8);
        if (!memory) return false;
        memory += (uintptr_t)memory & 8; /* Links do not straddle cache lines. */
    }
    nr_skiplist_init(list, order->heads[1], common);
    for (node = nr_skiplist_first(&order->lists[0]); node; node = nr_node_next(node)) {
        nr_skiplist_insert(list,
                           nr_node_create(memory, nr_node_key(node), node->tag, nr_node_value(node), node->height));
        memory += nr_node_bytes(node->key_bytes, node->value_bytes, node->height);
    }
    return true;
}

/* Once there are entries enough to show that the memtable is in use, and how its keys begin. */
static void settle_in_time(struct nr_order *order, uint64_t waiting_count, uint64_t sequence)
{
    struct sample sample = {0};
    struct nr_node *waiting = order->linked_end;
    if (order->is_settled || order->linked_count + waiting_count < SAMPLE_COUNT) return;
    for (const struct nr_node *node = nr_skiplist_first(&order->lists[0]); node; node = nr_node_next(node))
        add_to_sample(&sample, nr_node_key(node));
    while (sample.count < SAMPLE_COUNT && (waiting = next_waiting(order, waiting, sequence)) != NULL)
        add_to_sample(&sample, nr_node_key(waiting));
    if (sample.count < SAMPLE_COUNT) return; /* Range deletes were among them. */
    order->is_settled = true;
    if (copy_list(order, common_of(&sample)))
        atomic_store_explicit(&order->list, &order->lists[1], memory_order_release);
}

/* ---------------------------------------------------------------- linking */

static int compare_nodes(const struct nr_sort_item *a, const struct nr_sort_item *b)
{
    const struct nr_node *x = a->pointer, *y = b->pointer;
    return nr_entry_compare(nr_node_key(x), x->tag, nr_node_key(y), y->tag);
}

/* A few, or all of them where there is no memory to sort them. */
static void link_in_groups(struct nr_order *order, struct nr_skiplist *list, uint64_t sequence)
{
    struct nr_node *nodes[NR_SKIPLIST_GROUP], *node = order->linked_end;
    size_t count;
    do {
        for (count = 0; count < NR_SKIPLIST_GROUP; count++) {
            struct nr_node *next = next_waiting(order, node, sequence);
            if (!next) break;
            nodes[count] = node = next;
        }
        nr_skiplist_insert_group(list, nodes, count);
        order->linked_count += count;
    } while (count == NR_SKIPLIST_GROUP);
    order->linked_end = node;
}

/* The queue as items, with prefixes; whether they rise already. */
static bool gather(struct nr_order *order, const struct nr_skiplist *list, uint64_t sequence,
                   struct nr_sort_item *items, size_t *count_out)
{
    struct nr_node *node;
    bool rises = true;
    size_t count = 0;
    while ((node = next_waiting(order, order->linked_end, sequence)) != NULL) {
        items[count] = (struct nr_sort_item){.prefix = nr_skiplist_prefix(list, nr_node_key(node)), .pointer = node};
        if (rises && count > 0)
            rises =
                items[count - 1].prefix < items[count].prefix ||
                (items[count - 1].prefix == items[count].prefix && compare_nodes(&items[count - 1], &items[count]) < 0);
        count++;
        order->linked_end = node;
    }
    *count_out = count;
    return rises;
}

static bool link_sorted(struct nr_order *order, struct nr_skiplist *list, uint64_t sequence, uint64_t most)
{
    struct nr_sort_item *items = most <= SIZE_MAX / 2 / sizeof *items ? nr_alloc(2 * most * sizeof *items) : NULL;
    size_t count;
    if (!items) return false;
    if (!gather(order, list, sequence, items, &count)) {
        nr_prefix_sort(items, items + most, count);
        nr_prefix_sort_ties(items, count, compare_nodes);
    }
    for (size_t i = 0; i < count; i++) {
        if (i + AHEAD_COUNT < count) __builtin_prefetch(items[i + AHEAD_COUNT].pointer, 1);
        nr_skiplist_insert_prefixed(list, (struct nr_node *)(uintptr_t)items[i].pointer, items[i].prefix);
    }
    order->linked_count += count;
    nr_free(items);
    return true;
}

bool nr_order_link(struct nr_order *order, uint64_t sequence, bool may_wait)
{
    if (NR_LIKELY(nr_order_is_linked(order, sequence))) return true;
    if (may_wait)
        nr_mutex_lock(&order->lock);
    else if (!nr_mutex_trylock(&order->lock))
        return false;
    if (!nr_order_is_linked(order, sequence)) {
        uint64_t most = count_waiting(order, sequence);
        settle_in_time(order, most, sequence);
        struct nr_skiplist *list = atomic_load_explicit(&order->list, memory_order_relaxed);
        if (most <= NR_SKIPLIST_GROUP || !link_sorted(order, list, sequence, most))
            link_in_groups(order, list, sequence);
        atomic_store_explicit(&order->linked_sequence, sequence, memory_order_release);
    }
    nr_mutex_unlock(&order->lock);
    return true;
}

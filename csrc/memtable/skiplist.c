#include "memtable/skiplist.h"

_Static_assert(NORI_MAX_KEY_BYTES <= UINT16_MAX, "a node's key length has 16 bits");
_Static_assert(NORI_MAX_VALUE_BYTES + 8ull <= UINT32_MAX, "a node's value length has 32 bits");

static inline uint64_t load_prefix(const struct nr_node_link *link)
{
    return atomic_load_explicit(&link->prefix, memory_order_acquire);
}
static inline struct nr_node *load_next(const struct nr_node_link *link)
{
    return atomic_load_explicit(&link->next, memory_order_acquire);
}

struct nr_node *nr_node_create(void *memory, nori_slice key, uint64_t tag, nori_slice value, unsigned height)
{
    struct nr_node *node = memory;
    uint8_t *bytes;
    node->tag = tag;
    node->value_bytes = (uint32_t)value.size;
    node->key_bytes = (uint16_t)key.size;
    node->height = (uint16_t)height;
    atomic_init(&node->older, NULL);
    atomic_init(&node->written_next, NULL);
    bytes = (uint8_t *)&node->tower[height];
    if (key.size > 0) memcpy(bytes, key.data, key.size);
    if (value.size > 0) memcpy(bytes + key.size, value.data, value.size);
    return node;
}

void nr_skiplist_init(struct nr_skiplist *list, void *head_memory, nori_slice common)
{
    nori_slice none = nr_slice(NULL, 0);
    list->head = nr_node_create(head_memory, none, 0, none, NR_NODE_MAX_HEIGHT);
    list->common = common;
    atomic_init(&list->height, 1);
    for (unsigned level = 0; level < NR_NODE_MAX_HEIGHT; level++) {
        atomic_init(&list->head->tower[level].prefix, UINT64_MAX);
        atomic_init(&list->head->tower[level].next, NULL);
        list->splice.before[level] = list->head;
        list->splice.prefix[level] = 0;
    }
}

/* ---------------------------------------------------------------- order */

static inline uint64_t prefix_of(const struct nr_skiplist *list, nori_slice key)
{
    size_t common = list->common.size;
    int order;
    if (common == 0) return nr_slice_prefix(key);
    order = memcmp(key.data ? key.data : list->common.data, list->common.data, NR_MIN(key.size, common));
    if (order > 0) return UINT64_MAX;
    if (order < 0 || key.size < common) return 0;
    return nr_slice_prefix(nr_slice_behind(key, common));
}

uint64_t nr_skiplist_prefix(const struct nr_skiplist *list, nori_slice key)
{
    return prefix_of(list, key);
}

/* Whether the node stands before (key, tag), or at it if 'inclusive'. */
static inline bool is_before(const struct nr_node *node, nori_slice key, uint64_t tag, bool inclusive)
{
    int order = nr_slice_compare(nr_node_key(node), key);
    if (order != 0) return order < 0;
    return node->tag > tag || (inclusive && node->tag == tag);
}

/* ---------------------------------------------------------------- searching */

struct place {
    struct nr_node *before; /* The last node before the target; or the head. */
    struct nr_node *at;     /* The node behind it, where its prefix is the target's; else NULL. */
};

/* Searches from 'node', which is before the target, downwards from 'level'. With a splice, notes the way in it. */
static inline struct place descend(struct nr_node *node, unsigned level, nori_slice key, uint64_t prefix, uint64_t tag,
                                   bool inclusive, struct nr_splice *splice)
{
    struct nr_node *bound = NULL; /* Known not to be before the target. */
    uint64_t node_prefix = splice ? splice->prefix[level] : 0;
    for (;;) {
        const struct nr_node_link *link = &node->tower[level];
        uint64_t next_prefix = load_prefix(link);
        struct nr_node *at = NULL;
        if (next_prefix <= prefix) {
            at = load_next(link);
            if (at != bound && at && (next_prefix < prefix || is_before(at, key, tag, inclusive))) {
                node = at;
                node_prefix = next_prefix;
                continue;
            }
            bound = at;
        }
        if (splice) {
            splice->before[level] = node;
            splice->prefix[level] = node_prefix;
        }
        if (level == 0) return (struct place){node, at};
        level--;
    }
}

static inline struct place find_place(const struct nr_skiplist *list, nori_slice key, uint64_t tag, bool inclusive)
{
    unsigned height = atomic_load_explicit(&list->height, memory_order_relaxed);
    return descend(list->head, height - 1, key, prefix_of(list, key), tag, inclusive, NULL);
}

const struct nr_node *nr_skiplist_find(const struct nr_skiplist *list, nori_slice key, uint64_t tag)
{
    const struct nr_node *at = find_place(list, key, tag, false).at;
    return at && nr_slice_equal(nr_node_key(at), key) ? at : NULL;
}

const struct nr_node *nr_skiplist_seek(const struct nr_skiplist *list, nori_slice key, uint64_t tag)
{
    struct place place = find_place(list, key, tag, false);
    const struct nr_node *node = place.at;
    if (node) return node;
    /* Entries that came in during the search may stand between. */
    node = nr_node_next(place.before);
    while (node && is_before(node, key, tag, false)) node = nr_node_next(node);
    return node;
}

const struct nr_node *nr_skiplist_seek_back(const struct nr_skiplist *list, nori_slice key, uint64_t tag,
                                            bool inclusive)
{
    const struct nr_node *node = find_place(list, key, tag, inclusive).before;
    return node == list->head ? NULL : node;
}

const struct nr_node *nr_skiplist_first(const struct nr_skiplist *list)
{
    return nr_node_next(list->head);
}

const struct nr_node *nr_skiplist_last(const struct nr_skiplist *list)
{
    const struct nr_node *node = list->head;
    unsigned level = atomic_load_explicit(&list->height, memory_order_relaxed);
    while (level-- > 0) {
        const struct nr_node *next;
        while ((next = load_next(&node->tower[level])) != NULL) node = next;
    }
    return node == list->head ? NULL : node;
}

/* ---------------------------------------------------------------- inserting */

/* Whether the splice's place on this level is where (key, tag) belongs. */
static inline bool splice_fits(const struct nr_skiplist *list, unsigned level, nori_slice key, uint64_t prefix,
                               uint64_t tag)
{
    const struct nr_node *before = list->splice.before[level];
    const struct nr_node_link *link = &before->tower[level];
    uint64_t next_prefix = load_prefix(link);
    if (next_prefix < prefix) return false;
    if (before != list->head) {
        if (list->splice.prefix[level] > prefix) return false;
        if (list->splice.prefix[level] == prefix && !is_before(before, key, tag, false)) return false;
    }
    if (next_prefix == prefix) {
        const struct nr_node *next = load_next(link);
        return !next || !is_before(next, key, tag, false);
    }
    return true;
}

/* Moves the splice to (key, tag). Its places nest, so from the lowest level that fits all above do. */
static void move_splice(struct nr_skiplist *list, nori_slice key, uint64_t prefix, uint64_t tag)
{
    unsigned height = atomic_load_explicit(&list->height, memory_order_relaxed);
    unsigned level = 0;
    while (level < height && !splice_fits(list, level, key, prefix, tag)) level++;
    if (level == 0) return;
    if (level == height) {
        level--;
        list->splice.before[level] = list->head;
        list->splice.prefix[level] = 0;
    }
    descend(list->splice.before[level], level, key, prefix, tag, false, &list->splice);
}

/* Links the node behind the splice's places, and moves them onto it. */
static void link_node(struct nr_skiplist *list, struct nr_node *node, uint64_t prefix, struct nr_splice *splice)
{
    for (unsigned level = 0; level < node->height; level++) {
        struct nr_node_link *link = &splice->before[level]->tower[level];
        atomic_init(&node->tower[level].next, atomic_load_explicit(&link->next, memory_order_relaxed));
        atomic_init(&node->tower[level].prefix, atomic_load_explicit(&link->prefix, memory_order_relaxed));
        atomic_store_explicit(&link->next, node, memory_order_release);
        atomic_store_explicit(&link->prefix, prefix, memory_order_release);
        splice->before[level] = node;
        splice->prefix[level] = prefix;
    }
    if (node->height > atomic_load_explicit(&list->height, memory_order_relaxed))
        atomic_store_explicit(&list->height, node->height, memory_order_relaxed);
}

void nr_skiplist_insert_prefixed(struct nr_skiplist *list, struct nr_node *node, uint64_t prefix)
{
    move_splice(list, nr_node_key(node), prefix, node->tag);
    link_node(list, node, prefix, &list->splice);
}

void nr_skiplist_insert(struct nr_skiplist *list, struct nr_node *node)
{
    nr_skiplist_insert_prefixed(list, node, prefix_of(list, nr_node_key(node)));
}

/* One of several searches under way at once. */
struct search {
    struct nr_node *node; /* The entry to find a place for, */
    nori_slice key;
    uint64_t prefix;
    struct nr_node *before; /* and how far the search has come. */
    uint64_t before_prefix;
    struct nr_node *bound; /* Known not to be before the entry. */
    struct nr_node *asked; /* Fetched, to be compared in full; else NULL. */
    unsigned level;
    struct nr_splice splice;
};

static void begin_search(struct search *search, const struct nr_skiplist *list, struct nr_node *node)
{
    search->node = node;
    search->key = nr_node_key(node);
    search->prefix = prefix_of(list, search->key);
    search->before = list->head;
    search->before_prefix = 0;
    search->bound = search->asked = NULL;
    search->level = atomic_load_explicit(&list->height, memory_order_relaxed) - 1;
    for (unsigned level = search->level + 1; level < NR_NODE_MAX_HEIGHT; level++) {
        search->splice.before[level] = list->head;
        search->splice.prefix[level] = 0;
    }
}

/* Goes on until memory has to be fetched, which it asks for: true; or to the end: false. As 'descend' otherwise. */
static bool continue_search(struct search *search)
{
    for (;;) {
        struct nr_node_link *link = &search->before->tower[search->level];
        uint64_t next_prefix = load_prefix(link);
        if (next_prefix <= search->prefix) {
            struct nr_node *at = load_next(link);
            if (at && at != search->bound) {
                bool is_asked = at == search->asked;
                if (next_prefix == search->prefix && !is_asked) {
                    search->asked = at;
                    __builtin_prefetch(at);
                    __builtin_prefetch((const uint8_t *)at + 64);
                    return true;
                }
                if (next_prefix < search->prefix || is_before(at, search->key, search->node->tag, false)) {
                    search->before = at;
                    search->before_prefix = next_prefix;
                    if (is_asked) continue;
                    __builtin_prefetch(&at->tower[search->level]);
                    return true;
                }
            }
            search->bound = at;
        }
        search->splice.before[search->level] = search->before;
        search->splice.prefix[search->level] = search->before_prefix;
        if (search->level == 0) return false;
        search->level--;
    }
}

/* Entries linked since the search may stand between its places and the entry. */
static void refresh_places(struct search *search, unsigned height)
{
    struct nr_splice *splice = &search->splice;
    for (unsigned level = 0; level < height; level++) {
        for (;;) {
            struct nr_node_link *link = &splice->before[level]->tower[level];
            uint64_t next_prefix = load_prefix(link);
            struct nr_node *next = load_next(link);
            if (!next || next_prefix > search->prefix) break;
            if (next_prefix == search->prefix && !is_before(next, search->key, search->node->tag, false)) break;
            splice->before[level] = next;
            splice->prefix[level] = next_prefix;
        }
    }
}

static void insert_searched(struct nr_skiplist *list, struct nr_node *const *nodes, size_t count)
{
    struct search searches[NR_SKIPLIST_GROUP];
    struct search *active[NR_SKIPLIST_GROUP];
    size_t active_count = count;
    for (size_t i = 0; i < count; i++) {
        begin_search(&searches[i], list, nodes[i]);
        active[i] = &searches[i];
    }
    while (active_count > 0) {
        for (size_t i = 0; i < active_count;) {
            if (continue_search(active[i]))
                i++;
            else
                active[i] = active[--active_count];
        }
    }
    for (size_t i = 0; i < count; i++) {
        bool is_last = i + 1 == count;
        refresh_places(&searches[i], is_last ? NR_NODE_MAX_HEIGHT : nodes[i]->height);
        link_node(list, nodes[i], searches[i].prefix, &searches[i].splice);
    }
    list->splice = searches[count - 1].splice;
}

void nr_skiplist_insert_group(struct nr_skiplist *list, struct nr_node *const *nodes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        nori_slice key = nr_node_key(nodes[i]);
        uint64_t prefix = prefix_of(list, key);
        /* Rising keys need no search. */
        if (!splice_fits(list, 0, key, prefix, nodes[i]->tag)) {
            insert_searched(list, nodes + i, count - i);
            return;
        }
        link_node(list, nodes[i], prefix, &list->splice);
    }
}

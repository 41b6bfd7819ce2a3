/* Building: every range is an open and a close, sorted by key and swept with the sequences open at the moment.
 *
 * The sequences of all fragments are windows into one pool that grows at both ends; the open sequences are the newest
 * window. A sequence that goes at an end of the window, or comes at an end that is also the pool's, costs no copy:
 * ranges that nest, or that trim ever more of one end of the key space, share their sequences, where a list for each
 * fragment would take the square of their number. Any other change of a window that a fragment uses copies it first. */
#include "iter/tombstones.h"

#include <stdlib.h>

#include "base/alloc.h"

struct event {
    nori_slice key; /* Borrowed. */
    uint64_t sequence;
    bool opens;
};

/* Positions do not move when the pool grows: position p is values[p - origin]. */
struct pool {
    uint64_t *values; /* Owned. */
    int64_t capacity;
    int64_t origin;
    int64_t low, high;  /* Used: [low, high). */
    int64_t begin, end; /* The open sequences, descending. */
    bool is_shared;     /* A fragment uses the window, or a part of it. */
};

/* A fragment to be; its sequences are a window. */
struct draft {
    nori_slice start;
    struct nr_bound end;
    int64_t position;
    size_t sequence_count;
};

struct builder {
    struct event *events; /* Owned. */
    size_t event_count, event_capacity;
    struct draft *drafts; /* Owned. */
    size_t draft_count;
    struct pool pool;
};

static uint64_t *pool_at(struct pool *pool, int64_t position)
{
    return pool->values + (position - pool->origin);
}

/* Makes room for 'more' values at both ends. */
static nori_status pool_reserve(struct pool *pool, int64_t more, struct nori_error *err)
{
    int64_t used = pool->high - pool->low;
    if (pool->low - pool->origin >= more && pool->origin + pool->capacity - pool->high >= more) return NORI_OK;
    int64_t margin = used / 2 + more + 16, capacity = used + 2 * margin;
    uint64_t *values = nr_alloc((size_t)capacity * sizeof(*values));
    if (!values) return nr_fail_memory(err, (size_t)capacity * sizeof(*values));
    if (used) memcpy(values + margin, pool_at(pool, pool->low), (size_t)used * sizeof(*values));
    nr_free(pool->values);
    pool->values = values;
    pool->capacity = capacity;
    pool->origin = pool->low - margin;
    return NORI_OK;
}

/* Position of the first open sequence that is not above 'sequence'. */
static int64_t pool_find(struct pool *pool, uint64_t sequence)
{
    int64_t low = pool->begin, high = pool->end;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (*pool_at(pool, middle) > sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void move_values(struct pool *pool, int64_t to, int64_t from, int64_t count)
{
    if (count > 0) memmove(pool_at(pool, to), pool_at(pool, from), (size_t)count * sizeof(uint64_t));
}

/* Copies the window to a place of its own at the pool's front. Returns how far it moved. */
static int64_t pool_detach(struct pool *pool)
{
    int64_t count = pool->end - pool->begin, shift = pool->low - count - pool->begin;
    move_values(pool, pool->low - count, pool->begin, count);
    pool->begin += shift;
    pool->end += shift;
    pool->low = pool->begin;
    pool->is_shared = false;
    return shift;
}

static nori_status pool_insert(struct pool *pool, uint64_t sequence, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    NR_CHECK(pool_reserve(pool, pool->end - pool->begin + 1, err));
    if (pool->begin == pool->end) {
        pool->begin = pool->end = pool->low;
        pool->is_shared = false;
    }
    int64_t position = pool_find(pool, sequence);
    bool at_front = pool->begin == pool->low && (position == pool->begin || !pool->is_shared);
    bool at_back = pool->end == pool->high && (position == pool->end || !pool->is_shared);
    if (!at_front && !at_back) {
        position += pool_detach(pool);
        at_front = true;
    }
    if (at_back && (!at_front || pool->end - position < position - pool->begin)) {
        move_values(pool, position + 1, position, pool->end - position);
        pool->high = ++pool->end;
    } else {
        pool->low = --pool->begin;
        move_values(pool, pool->begin, pool->begin + 1, --position - pool->begin);
    }
    *pool_at(pool, position) = sequence;
out:
    return rc;
}

static nori_status pool_remove(struct pool *pool, uint64_t sequence, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    int64_t position = pool_find(pool, sequence);
    NR_ASSERT(position < pool->end && *pool_at(pool, position) == sequence);
    if (pool->is_shared && position != pool->begin && position != pool->end - 1) {
        NR_CHECK(pool_reserve(pool, pool->end - pool->begin, err));
        position += pool_detach(pool);
    }
    if (position == pool->begin) {
        if (!pool->is_shared && pool->low == pool->begin) pool->low++;
        pool->begin++;
    } else {
        move_values(pool, position, position + 1, pool->end - position - 1);
        if (!pool->is_shared && pool->high == pool->end) pool->high--;
        pool->end--;
    }
out:
    return rc;
}

static nori_status add_event(struct builder *builder, nori_slice key, uint64_t sequence, bool opens,
                             struct nori_error *err)
{
    if (builder->event_count == builder->event_capacity) {
        size_t capacity = NR_MAX(builder->event_capacity * 2, (size_t)16);
        struct event *events = nr_realloc(builder->events, capacity * sizeof(*events));
        if (!events) return nr_fail_memory(err, capacity * sizeof(*events));
        builder->events = events;
        builder->event_capacity = capacity;
    }
    builder->events[builder->event_count++] = (struct event){key, sequence, opens};
    return NORI_OK;
}

static int compare_numbers(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

/* By sequence, then key; opens first, so that ranges of one sequence that touch become one. */
static int compare_in_sequence(const void *first, const void *second)
{
    const struct event *a = first, *b = second;
    int order = compare_numbers(a->sequence, b->sequence);
    if (order == 0) order = nr_slice_compare(a->key, b->key);
    return order ? order : (int)b->opens - (int)a->opens;
}

/* By key; closes before opens, and each in the order that changes the ends of the window. */
static int compare_in_sweep(const void *first, const void *second)
{
    const struct event *a = first, *b = second;
    int order = nr_slice_compare(a->key, b->key);
    if (order == 0) order = (int)a->opens - (int)b->opens;
    if (order == 0) order = compare_numbers(a->sequence, b->sequence) * (a->opens ? -1 : 1);
    return order;
}

/* Leaves, for each sequence, the events that begin and end what its ranges cover together. So a sequence is open at
 * most once, has at most one event at a key, and neighbouring fragments always differ. */
static void join_ranges(struct builder *builder)
{
    struct event *events = builder->events;
    size_t kept = 0, depth = 0;
    qsort(events, builder->event_count, sizeof(*events), compare_in_sequence);
    for (size_t i = 0; i < builder->event_count; i++) {
        if (i == 0 || events[i].sequence != events[i - 1].sequence) depth = 0;
        bool keeps = events[i].opens ? depth++ == 0 : --depth == 0;
        if (keeps) events[kept++] = events[i]; /* kept <= i: the event before stays readable. */
    }
    builder->event_count = kept;
}

static void add_draft(struct builder *builder, nori_slice start, struct nr_bound end)
{
    struct pool *pool = &builder->pool;
    size_t count = (size_t)(pool->end - pool->begin);
    if (count == 0) return;
    builder->drafts[builder->draft_count++] = (struct draft){start, end, pool->begin, count};
    pool->is_shared = true;
}

static nori_status sweep(struct builder *builder, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct event *events = builder->events;
    size_t count = builder->event_count;
    nori_slice at = {NULL, 0};
    qsort(events, count, sizeof(*events), compare_in_sweep);
    builder->drafts = nr_calloc(count, sizeof(*builder->drafts));
    if (!builder->drafts) {
        rc = nr_fail_memory(err, count * sizeof(*builder->drafts));
        goto out;
    }
    for (size_t i = 0; i < count;) {
        if (i > 0) add_draft(builder, at, nr_bound_key(events[i].key));
        at = events[i].key;
        do {
            if (events[i].opens)
                NR_CHECK(pool_insert(&builder->pool, events[i].sequence, err));
            else
                NR_CHECK(pool_remove(&builder->pool, events[i].sequence, err));
            i++;
        } while (i < count && nr_slice_equal(events[i].key, at));
    }
    add_draft(builder, at, nr_bound_infinite());
out:
    return rc;
}

static nori_slice put_key(uint8_t **next, nori_slice key)
{
    nori_slice copy = nr_slice(*next, key.size);
    if (key.size) memcpy(*next, key.data, key.size);
    *next += key.size;
    return copy;
}

/* Whether a fragment begins with the very key that the one before it ends with. */
static bool begins_at_end(const struct draft *draft)
{
    return !draft[-1].end.infinite && draft[-1].end.key.data == draft->start.data &&
           draft[-1].end.key.size == draft->start.size;
}

/* The set in one block: header, fragments, sequences, keys. */
static nori_status assemble(struct builder *builder, struct nr_tombstones **set_out, struct nori_error *err)
{
    struct pool *pool = &builder->pool;
    const struct draft *drafts = builder->drafts;
    size_t count = builder->draft_count, key_bytes = 0;
    size_t sequence_bytes = (size_t)(pool->high - pool->low) * sizeof(uint64_t);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || !begins_at_end(&drafts[i])) key_bytes += drafts[i].start.size;
        if (!drafts[i].end.infinite) key_bytes += drafts[i].end.key.size;
    }
    size_t bytes = sizeof(struct nr_tombstones) + count * sizeof(struct nr_fragment) + sequence_bytes + key_bytes;
    struct nr_tombstones *set = nr_alloc(bytes);
    if (!set) return nr_fail_memory(err, bytes);
    struct nr_fragment *fragments = (struct nr_fragment *)(set + 1);
    uint64_t *sequences = (uint64_t *)(fragments + count);
    uint8_t *next = (uint8_t *)sequences + sequence_bytes;
    memcpy(sequences, pool_at(pool, pool->low), sequence_bytes);
    for (size_t i = 0; i < count; i++) {
        struct nr_fragment *fragment = &fragments[i];
        fragment->start =
            i > 0 && begins_at_end(&drafts[i]) ? fragments[i - 1].end.key : put_key(&next, drafts[i].start);
        fragment->end = drafts[i].end;
        if (!fragment->end.infinite) fragment->end.key = put_key(&next, drafts[i].end.key);
        fragment->sequences = sequences + (drafts[i].position - pool->low);
        fragment->sequence_count = drafts[i].sequence_count;
    }
    atomic_init(&set->refs, 1);
    set->fragment_count = count;
    set->fragments = fragments;
    set->bytes = bytes;
    *set_out = set;
    return NORI_OK;
}

static nori_status finish(struct builder *builder, struct nr_tombstones **set_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    if (builder->event_count == 0) goto out;
    join_ranges(builder);
    NR_CHECK(sweep(builder, err));
    NR_CHECK(assemble(builder, set_out, err));
out:
    return rc;
}

static void clear(struct builder *builder)
{
    nr_free(builder->events);
    nr_free(builder->drafts);
    nr_free(builder->pool.values);
}

nori_status nr_tombstones_build(const struct nr_range *ranges, size_t count, struct nr_tombstones **set_out,
                                struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct builder builder = {0};
    *set_out = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct nr_range *range = &ranges[i];
        if (!nr_bound_above(range->end, range->start)) continue;
        NR_CHECK(add_event(&builder, range->start, range->sequence, true, err));
        if (!range->end.infinite) NR_CHECK(add_event(&builder, range->end.key, range->sequence, false, err));
    }
    NR_CHECK(finish(&builder, set_out, err));
out:
    clear(&builder);
    return rc;
}

/* Events at 'key' for the sequences of 'from' that 'other' lacks. Both are descending. Windows of one set that overlap
 * have exactly the overlap in common, which spares a look at each sequence. */
static nori_status add_difference(struct builder *builder, nori_slice key, const struct nr_fragment *from,
                                  const struct nr_fragment *other, bool opens, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    const uint64_t *first = from->sequences, *last = first + from->sequence_count;
    const uint64_t *other_next = other->sequences, *other_last = other_next + other->sequence_count;
    const uint64_t *same = NR_MAX(first, other_next), *same_end = NR_MIN(last, other_last);
    bool overlaps = same < same_end;
    for (const uint64_t *sequence = first; sequence < last; sequence++) {
        if (overlaps) {
            if (sequence == same) sequence = same_end;
            if (sequence == last) break;
        } else {
            while (other_next<other_last && * other_next> * sequence) other_next++;
            if (other_next < other_last && *other_next == *sequence) continue;
        }
        NR_CHECK(add_event(builder, key, *sequence, opens, err));
    }
out:
    return rc;
}

/* Clips a fragment and drops sequences above 'max_sequence'. False if nothing remains. */
static bool clip_fragment(struct nr_fragment *fragment, const struct nr_clip *clip, uint64_t max_sequence)
{
    if (clip) {
        if (nr_slice_compare(fragment->start, clip->start) < 0) fragment->start = clip->start;
        if (nr_bound_compare(fragment->end, clip->end) > 0) fragment->end = clip->end;
    }
    while (fragment->sequence_count > 0 && fragment->sequences[0] > max_sequence) {
        fragment->sequences++;
        fragment->sequence_count--;
    }
    return fragment->sequence_count > 0 && nr_bound_above(fragment->end, fragment->start);
}

/* Turns fragments back into ranges: only where neighbours differ does a sequence open or close. */
static nori_status add_set(struct builder *builder, const struct nr_tombstones *set, const struct nr_clip *clip,
                           uint64_t max_sequence, struct nori_error *err)
{
    static const uint64_t no_sequences[1]; /* An address: nothing may be added to NULL, not even 0. */
    static const struct nr_fragment none = {.sequences = no_sequences, .sequence_count = 0};
    nori_status rc = NORI_OK;
    struct nr_fragment before = none;
    for (size_t i = clip ? nr_tombstones_seek(set, clip->start, NULL) : 0; i < set->fragment_count; i++) {
        struct nr_fragment fragment = set->fragments[i];
        if (clip && !nr_bound_above(clip->end, fragment.start)) break;
        if (!clip_fragment(&fragment, clip, max_sequence)) continue;
        bool touches = before.sequence_count > 0 && nr_slice_equal(before.end.key, fragment.start);
        if (before.sequence_count > 0) {
            NR_CHECK(add_difference(builder, before.end.key, &before, touches ? &fragment : &none, false, err));
        }
        NR_CHECK(add_difference(builder, fragment.start, &fragment, touches ? &before : &none, true, err));
        before = fragment;
    }
    if (before.sequence_count > 0 && !before.end.infinite) {
        NR_CHECK(add_difference(builder, before.end.key, &before, &none, false, err));
    }
out:
    return rc;
}

static bool is_kept_whole(const struct nr_tombstones *set, const struct nr_clip *clip, uint64_t max_sequence)
{
    for (size_t i = 0; i < set->fragment_count; i++) {
        if (set->fragments[i].sequences[0] > max_sequence) return false;
    }
    return !clip || (nr_slice_compare(clip->start, set->fragments[0].start) <= 0 &&
                     nr_bound_compare(set->fragments[set->fragment_count - 1].end, clip->end) <= 0);
}

nori_status nr_tombstones_merge(struct nr_tombstones *const *sets, const struct nr_clip *clips, size_t count,
                                uint64_t max_sequence, struct nr_tombstones **set_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct builder builder = {0};
    size_t set_count = 0, only = 0;
    *set_out = NULL;
    for (size_t i = 0; i < count; i++) {
        if (!sets[i]) continue;
        only = i;
        set_count++;
    }
    if (set_count == 0) goto out;
    if (set_count == 1 && is_kept_whole(sets[only], clips ? &clips[only] : NULL, max_sequence)) {
        *set_out = nr_tombstones_ref(sets[only]);
        goto out;
    }
    for (size_t i = 0; i < count; i++) {
        if (sets[i]) NR_CHECK(add_set(&builder, sets[i], clips ? &clips[i] : NULL, max_sequence, err));
    }
    NR_CHECK(finish(&builder, set_out, err));
out:
    clear(&builder);
    return rc;
}

struct nr_tombstones *nr_tombstones_ref(struct nr_tombstones *set)
{
    if (set) atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    return set;
}

void nr_tombstones_unref(struct nr_tombstones *set)
{
    if (set && atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) == 1) nr_free(set);
}

/* The first of the fragments [low, high) that ends above the key; 'high' if none does. */
static size_t find_fragment(const struct nr_fragment *fragments, size_t low, size_t high, nori_slice key)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (nr_bound_above(fragments[middle].end, key))
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

size_t nr_tombstones_seek(const struct nr_tombstones *set, nori_slice key, size_t *hint)
{
    if (!set) return 0;
    size_t count = set->fragment_count;
    const struct nr_fragment *fragments = set->fragments;
    if (!hint) return find_fragment(fragments, 0, count, key);
    size_t at = NR_MIN(*hint, count - 1);
    if (nr_bound_above(fragments[at].end, key)) {
        if (nr_slice_compare(key, fragments[at].start) < 0) {
            if (at > 0 && nr_bound_above(fragments[at - 1].end, key)) at--;
            if (at > 0 && nr_bound_above(fragments[at - 1].end, key)) at = find_fragment(fragments, 0, at - 1, key);
        }
    } else {
        at++;
        if (at < count && !nr_bound_above(fragments[at].end, key)) at = find_fragment(fragments, at + 1, count, key);
    }
    *hint = at;
    return at;
}

static uint64_t covering_in(const struct nr_tombstones *set, size_t at, nori_slice key, uint64_t max_sequence)
{
    if (at == set->fragment_count || nr_slice_compare(key, set->fragments[at].start) < 0) return 0;
    const struct nr_fragment *fragment = &set->fragments[at];
    size_t low = 0, high = fragment->sequence_count;
    if (NR_LIKELY(fragment->sequences[0] <= max_sequence)) return fragment->sequences[0];
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (fragment->sequences[middle] > max_sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low < fragment->sequence_count ? fragment->sequences[low] : 0;
}

uint64_t nr_tombstones_covering(const struct nr_tombstones *set, nori_slice key, uint64_t max_sequence)
{
    if (!set) return 0;
    return covering_in(set, nr_tombstones_seek(set, key, NULL), key, max_sequence);
}

uint64_t nr_tombstones_covering_near(const struct nr_tombstones *set, nori_slice key, uint64_t max_sequence,
                                     size_t *hint)
{
    if (!set) return 0;
    return covering_in(set, nr_tombstones_seek(set, key, hint), key, max_sequence);
}

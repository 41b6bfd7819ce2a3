#include "compact/sketch.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/coding.h"
#include "base/random.h"

#define LEVELS 12
#define MAX_SHIFT 48
#define SLACK 64
/* Bytes that say more than this are not those of a sketch: sums stay far from the end of their type. */
#define MAX_TOTAL (1ull << 62)
#define POOL (774 + SLACK) /* The sum of the capacities, and room so that levels are compacted in batches. */

/* From the highest level, the last here, down by a third each; below 8 a compaction would hardly make room. */
static const uint16_t capacities[LEVELS] = {8, 8, 8, 10, 15, 23, 34, 51, 76, 114, 171, 256};

struct item {
    uint8_t size;
    uint8_t key[NR_SKETCH_KEY_BYTES];
};

struct nr_sketch {
    struct nr_random random;
    uint32_t shift; /* The unit is 1 << shift. */
    size_t count;
    size_t counts[LEVELS];
    uint8_t coins[LEVELS]; /* 0: to be tossed; else 1 + the side that comes next, the other one than the last. */
    uint8_t levels[POOL];  /* Of the items. */
    struct item items[POOL];
    bool is_sorted;
    const struct item *sorted[POOL]; /* By key. Scratch of compactions, too. */
    uint64_t below[POOL + 1];        /* The weight before the sorted item. */
};

nori_status nr_sketch_create(uint64_t seed, struct nr_sketch **sketch_out, struct nori_error *err)
{
    struct nr_sketch *sketch = nr_calloc(1, sizeof(*sketch));
    *sketch_out = sketch;
    if (!sketch) return nr_fail_memory(err, sizeof(*sketch));
    nr_random_init(&sketch->random, seed);
    return NORI_OK;
}

void nr_sketch_destroy(struct nr_sketch *sketch)
{
    nr_free(sketch);
}

/* ---------------------------------------------------------------- compaction */

static nori_slice key_of(const struct item *item)
{
    return nr_slice(item->key, item->size);
}

/* Items of equal keys stand in the order of the pool, so that runs of the same calls are the same. */
static int compare_items(const void *a, const void *b)
{
    const struct item *left = *(const struct item *const *)a, *right = *(const struct item *const *)b;
    int order = nr_slice_compare(key_of(left), key_of(right));
    return order != 0 ? order : left < right ? -1 : left > right;
}

static bool toss(struct nr_sketch *sketch)
{
    return nr_random_next(&sketch->random) >> 63;
}

/* Coins come in pairs of opposite sides: the second compaction takes back part of what the first one moved. */
static bool toss_for(struct nr_sketch *sketch, size_t level)
{
    bool side = sketch->coins[level] ? sketch->coins[level] - 1 : toss(sketch);
    sketch->coins[level] = sketch->coins[level] ? 0 : (uint8_t)(1 + !side);
    return side;
}

#define DROPPED 0xff

/* Takes the dropped items out; the others keep their order. */
static void sweep(struct nr_sketch *sketch)
{
    size_t kept = 0;
    for (size_t i = 0; i < sketch->count; i++) {
        if (sketch->levels[i] == DROPPED) continue;
        if (kept < i) {
            sketch->levels[kept] = sketch->levels[i];
            sketch->items[kept] = sketch->items[i];
        }
        kept++;
    }
    sketch->count = kept;
}

/* Half of the items of a level go up, the others are dropped; an odd one stays. The dropped are not swept yet. */
static void halve(struct nr_sketch *sketch, size_t level)
{
    size_t count = 0;
    for (size_t i = 0; i < sketch->count; i++) {
        if (sketch->levels[i] == level) sketch->sorted[count++] = &sketch->items[i];
    }
    qsort(sketch->sorted, count, sizeof(sketch->sorted[0]), compare_items);
    size_t first = count % 2 == 1 && toss(sketch) ? 1 : 0;
    bool side = toss_for(sketch, level);
    for (size_t i = first; i + 1 < count; i += 2) {
        sketch->levels[sketch->sorted[i + side] - sketch->items] = (uint8_t)(level + 1);
        sketch->levels[sketch->sorted[i + !side] - sketch->items] = DROPPED;
        sketch->counts[level + 1]++;
        sketch->counts[level] -= 2;
    }
}

/* The lowest level goes into the next one, then all are one lower: an item counts half of what it did, in units. */
static void lower(struct nr_sketch *sketch)
{
    halve(sketch, 0);
    for (size_t i = 0; i < sketch->count; i++) {
        uint8_t *level = &sketch->levels[i];
        if (*level == DROPPED) continue;
        if (*level > 0)
            *level -= 1;
        else if (toss(sketch)) /* The odd one: half a unit. */
            sketch->counts[1]++;
        else
            *level = DROPPED;
    }
    memmove(&sketch->counts[0], &sketch->counts[1], (LEVELS - 1) * sizeof(sketch->counts[0]));
    sketch->counts[LEVELS - 1] = 0;
    sweep(sketch);
}

static void raise_unit(struct nr_sketch *sketch)
{
    lower(sketch);
    sketch->shift++;
}

/* Makes room. Capacities count from the highest level in use; all together are less than the pool, so that one level at
 * least is over its own. The lowest such levels go first: their items weigh least. */
static void compact(struct nr_sketch *sketch)
{
    size_t top = LEVELS - 1, freed = 0;
    while (top > 0 && sketch->counts[top] == 0) top--;
    for (size_t level = 0; level <= top && freed < SLACK / 2; level++) {
        size_t count = sketch->counts[level];
        if (count < capacities[LEVELS - 1 - (top - level)]) continue;
        if (level == LEVELS - 1) {
            sweep(sketch);
            raise_unit(sketch);
            halve(sketch, LEVELS - 2);
            break;
        }
        halve(sketch, level);
        freed += count / 2;
    }
    sweep(sketch);
    NR_ASSERT(sketch->count < POOL);
}

/* ---------------------------------------------------------------- weights */

static void insert(struct nr_sketch *sketch, nori_slice key, size_t level)
{
    if (sketch->count == POOL) compact(sketch);
    struct item *item = &sketch->items[sketch->count];
    item->size = (uint8_t)NR_MIN(key.size, (size_t)NR_SKETCH_KEY_BYTES);
    if (item->size > 0) memcpy(item->key, key.data, item->size);
    sketch->levels[sketch->count++] = (uint8_t)level;
    sketch->counts[level]++;
}

void nr_sketch_add(struct nr_sketch *sketch, nori_slice key, uint64_t weight)
{
    weight = NR_MIN(weight, NR_SKETCH_MAX_WEIGHT);
    sketch->is_sorted = false;
    while ((weight >> sketch->shift) + 1 >= 1u << LEVELS) raise_unit(sketch);
    uint64_t rest = weight & ((1ull << sketch->shift) - 1), units = weight >> sketch->shift;
    if (rest > 0 && nr_random_below(&sketch->random, 1ull << sketch->shift) < rest) units++;
    for (size_t level = 0; level < LEVELS; level++) {
        if (units >> level & 1) insert(sketch, key, level);
    }
    if (sketch->shift > MAX_SHIFT) nr_sketch_decay(sketch); /* Sums stay far from the end of their type. */
}

void nr_sketch_merge(struct nr_sketch *into, const struct nr_sketch *from)
{
    for (size_t i = 0; i < from->count; i++) {
        nr_sketch_add(into, key_of(&from->items[i]), 1ull << (from->shift + from->levels[i]));
    }
}

void nr_sketch_decay(struct nr_sketch *sketch)
{
    sketch->is_sorted = false;
    if (sketch->shift > 0)
        sketch->shift--;
    else
        lower(sketch);
}

uint64_t nr_sketch_total(const struct nr_sketch *sketch)
{
    uint64_t units = 0;
    for (size_t level = 0; level < LEVELS; level++) units += (uint64_t)sketch->counts[level] << level;
    return units << sketch->shift;
}

/* ---------------------------------------------------------------- asking */

static void sort(struct nr_sketch *sketch)
{
    uint64_t below = 0;
    if (sketch->is_sorted) return;
    for (size_t i = 0; i < sketch->count; i++) sketch->sorted[i] = &sketch->items[i];
    qsort(sketch->sorted, sketch->count, sizeof(sketch->sorted[0]), compare_items);
    for (size_t i = 0; i < sketch->count; i++) {
        sketch->below[i] = below;
        below += 1ull << (sketch->shift + sketch->levels[sketch->sorted[i] - sketch->items]);
    }
    sketch->below[sketch->count] = below;
    sketch->is_sorted = true;
}

/* Index of the first sorted item at or above the key. */
static size_t seek(struct nr_sketch *sketch, nori_slice key)
{
    size_t low = 0, high = sketch->count;
    sort(sketch);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (nr_slice_compare(key_of(sketch->sorted[middle]), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint64_t nr_sketch_rank(struct nr_sketch *sketch, nori_slice key)
{
    return sketch->below[seek(sketch, key)];
}

uint64_t nr_sketch_between(struct nr_sketch *sketch, nori_slice start, struct nr_bound end)
{
    uint64_t first = nr_sketch_rank(sketch, start);
    uint64_t last = end.infinite ? sketch->below[sketch->count] : nr_sketch_rank(sketch, end.key);
    return last > first ? last - first : 0;
}

nori_slice nr_sketch_quantile(struct nr_sketch *sketch, double fraction)
{
    size_t low = 0, high = sketch->count;
    if (sketch->count == 0) return nr_slice(NULL, 0);
    sort(sketch);
    double wanted = fraction * (double)sketch->below[sketch->count];
    while (low + 1 < high) { /* The last item with less than that before it. */
        size_t middle = low + (high - low) / 2;
        if ((double)sketch->below[middle] < wanted)
            low = middle;
        else
            high = middle;
    }
    return key_of(sketch->sorted[low]);
}

/* The greatest difference below one of the keys of 'a'. */
static double distance_at(struct nr_sketch *a, struct nr_sketch *b, nori_slice start, struct nr_bound end)
{
    double all_a = (double)nr_sketch_between(a, start, end), all_b = (double)nr_sketch_between(b, start, end);
    double most = 0;
    if (all_a <= 0 || all_b <= 0) return 0;
    uint64_t first_b = nr_sketch_rank(b, start);
    size_t first = seek(a, start), last = end.infinite ? a->count : seek(a, end.key);
    for (size_t i = first; i < last; i++) {
        nori_slice key = key_of(a->sorted[i]);
        double part_a = (double)(nr_sketch_rank(a, key) - a->below[first]) / all_a;
        double part_b = (double)(nr_sketch_rank(b, key) - first_b) / all_b;
        double difference = part_a > part_b ? part_a - part_b : part_b - part_a;
        most = NR_MAX(most, difference);
    }
    return most;
}

double nr_sketch_distance(struct nr_sketch *a, struct nr_sketch *b, nori_slice start, struct nr_bound end)
{
    double first = distance_at(a, b, start, end), second = distance_at(b, a, start, end);
    return NR_MAX(first, second);
}

/* ---------------------------------------------------------------- bytes */

nori_status nr_sketch_encode(struct nr_sketch *sketch, struct nr_buffer *out, struct nori_error *err)
{
    nori_status rc;
    NR_CHECK(nr_buffer_append_varint(out, sketch->shift, err));
    NR_CHECK(nr_buffer_append_varint(out, sketch->count, err));
    for (size_t i = 0; i < sketch->count; i++) {
        NR_CHECK(nr_buffer_append_varint(out, sketch->levels[i], err));
        NR_CHECK(nr_buffer_append_sized(out, key_of(&sketch->items[i]), err));
    }
out:
    return rc;
}

nori_status nr_sketch_decode(nori_slice bytes, uint64_t seed, struct nr_sketch **sketch_out, struct nori_error *err)
{
    nori_status rc;
    struct nr_sketch *sketch = NULL;
    uint64_t shift, count, level, total = 0;
    nori_slice key;

    *sketch_out = NULL;
    if (!nr_take_varint(&bytes, &shift) || !nr_take_varint(&bytes, &count) || shift > MAX_SHIFT || count > POOL)
        return NR_FAIL(err, NORI_CORRUPTION, "a sketch's beginning is damaged");
    NR_CHECK(nr_sketch_create(seed, &sketch, err));
    sketch->shift = (uint32_t)shift;
    for (uint64_t i = 0; i < count; i++) {
        if (!nr_take_varint(&bytes, &level) || !nr_take_sized(&bytes, &key) || level >= LEVELS ||
            key.size > NR_SKETCH_KEY_BYTES) {
            rc = NR_FAIL(err, NORI_CORRUPTION, "a sketch's key %" PRIu64 " of %" PRIu64 " is damaged", i, count);
            goto out;
        }
        uint64_t weight = 1ull << (sketch->shift + level); /* At most 2^59. */
        if (weight > MAX_TOTAL - total) {
            rc = NR_FAIL(err, NORI_CORRUPTION, "a sketch's weights are too large");
            goto out;
        }
        total += weight;
        insert(sketch, key, (size_t)level);
    }
    if (bytes.size > 0) {
        rc = NR_FAIL(err, NORI_CORRUPTION, "a sketch has %zu bytes too many", bytes.size);
        goto out;
    }
    *sketch_out = sketch;
    sketch = NULL;
out:
    nr_sketch_destroy(sketch);
    return rc;
}

#include "compact/guards.h"

#include <stdlib.h>

#define SPLIT_SHARES 2
/* A slot this small is not cut for its heat, and a group stays below it. */
#define SMALL_DIVISOR 2
#define TINY_DIVISOR 4
/* From here on the inside is unequally hot: half of the reads lie elsewhere than half of the bytes. */
#define MIN_SKEW 0.5

/* ---------------------------------------------------------------- whether */

size_t nr_guards_parts(const struct nr_guard_slot *slot, const struct nr_guard_share *share)
{
    if (slot->is_busy) return 0;
    if (slot->bytes / SPLIT_SHARES > share->bytes)
        return (size_t)NR_MIN(slot->bytes / share->bytes, (uint64_t)NR_GUARDS_MAX_PARTS);
    bool is_large = slot->bytes >= share->bytes / SMALL_DIVISOR;
    bool is_hot = slot->heat >= NR_MAX(share->heat, NR_GUARDS_LEAST_HEAT);
    return is_large && is_hot && slot->skew >= MIN_SKEW ? 2 : 0;
}

static bool is_tiny(const struct nr_guard_slot *slot, const struct nr_guard_share *share)
{
    return slot->bytes < share->bytes / TINY_DIVISOR && slot->heat * TINY_DIVISOR < share->heat;
}

bool nr_guards_begin(struct nr_guard_group *group, const struct nr_guard_slot *slot, const struct nr_guard_share *share)
{
    *group = (struct nr_guard_group){0};
    if (slot->is_busy || !is_tiny(slot, share)) return false;
    *group = (struct nr_guard_group){1, slot->start, slot->end, slot->bytes, slot->heat};
    return true;
}

bool nr_guards_extend(struct nr_guard_group *group, const struct nr_guard_slot *slot,
                      const struct nr_guard_share *share)
{
    if (group->count == 0 || group->count == NR_GUARDS_MAX_PARTS) return false;
    if (slot->is_fixed || slot->is_busy || !is_tiny(slot, share)) return false;
    if (group->bytes + slot->bytes >= share->bytes / SMALL_DIVISOR) return false;
    if ((group->heat + slot->heat) * SMALL_DIVISOR >= share->heat) return false;
    group->count++;
    group->end = slot->end;
    group->bytes += slot->bytes;
    group->heat += slot->heat;
    return true;
}

/* ---------------------------------------------------------------- where */

static int compare_samples(const void *a, const void *b)
{
    return nr_slice_compare(((const struct nr_guard_sample *)a)->key, ((const struct nr_guard_sample *)b)->key);
}

void nr_guards_weigh(struct nr_guard_sample *samples, size_t count, nori_slice start, struct nr_bound end,
                     struct nr_sketch *reads)
{
    uint64_t all_bytes = 0, all_reads = reads ? nr_sketch_between(reads, start, end) : 0;
    nori_slice before = start;

    if (count > 0) qsort(samples, count, sizeof(*samples), compare_samples);
    for (size_t i = 0; i < count; i++) all_bytes += samples[i].bytes;
    for (size_t i = 0; i < count; i++) {
        samples[i].work = (double)samples[i].bytes / (double)NR_MAX(all_bytes, (uint64_t)1);
        if (all_reads == 0) continue;
        uint64_t here = nr_sketch_between(reads, before, nr_bound_key(samples[i].key));
        samples[i].work += (double)here / (double)all_reads;
        before = samples[i].key;
    }
}

size_t nr_guards_cut(const struct nr_guard_sample *samples, size_t count, size_t parts, nori_slice *guards_out)
{
    double total = 0, seen = 0;
    size_t chosen = 0;

    for (size_t i = 0; i < count; i++) total += samples[i].work;
    for (size_t i = 0; i < count && chosen + 1 < parts; i++) {
        seen += samples[i].work;
        /* Sums of fractions: a step is met though rounding left it a trifle short. */
        if (seen * (double)parts < total * ((double)(chosen + 1) - 1e-9)) continue;
        if (chosen > 0 && nr_slice_equal(guards_out[chosen - 1], samples[i].key)) continue;
        guards_out[chosen++] = samples[i].key;
    }
    return chosen;
}

static size_t count_common(nori_slice a, nori_slice b)
{
    size_t count = 0, shorter = NR_MIN(a.size, b.size);
    while (count < shorter && a.data[count] == b.data[count]) count++;
    return count;
}

size_t nr_guards_uniform_bytes(nori_slice smallest, nori_slice largest)
{
    return count_common(smallest, largest) + 8;
}

size_t nr_guards_uniform(nori_slice smallest, nori_slice largest, size_t parts, uint8_t *memory, nori_slice *guards_out)
{
    size_t common = count_common(smallest, largest), chosen = 0;
    uint64_t first = nr_slice_prefix(nr_slice(smallest.data + common, smallest.size - common));
    uint64_t last = nr_slice_prefix(nr_slice(largest.data + common, largest.size - common)), before = first;

    for (size_t i = 1; i < parts && last > first; i++) {
        uint64_t width = last - first; /* In two steps, so that the product fits. */
        uint64_t at = first + width / parts * i + width % parts * i / parts;
        if (at <= before) continue;
        if (common > 0) memcpy(memory, smallest.data, common);
        for (size_t j = 0; j < 8; j++) memory[common + j] = (uint8_t)(at >> (56 - 8 * j));
        size_t size = common + 8;
        while (size > common + 1 && memory[size - 1] == 0) size--; /* Short guards; the order stays. */
        guards_out[chosen++] = nr_slice(memory, size);
        memory += common + 8;
        before = at;
    }
    return chosen;
}

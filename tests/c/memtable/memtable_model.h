/* What a memtable should hold: every write in a sorted array, every range delete in a list. */
#ifndef NR_TESTS_MEMTABLE_MODEL_H
#define NR_TESTS_MEMTABLE_MODEL_H

#include "harness.h"
#include "base/checksum.h"
#include "base/random.h"
#include "memtable/memtable.h"

#define MODEL_KEY_BYTES 40

struct model_entry {
    uint8_t key[MODEL_KEY_BYTES];
    size_t key_bytes;
    uint64_t tag;
    uint64_t value; /* Stored as these eight bytes. */
};

struct model {
    struct model_entry *entries; /* Sorted. */
    size_t count;
    struct {
        uint8_t start[MODEL_KEY_BYTES], stop[MODEL_KEY_BYTES];
        size_t start_bytes, stop_bytes;
        bool infinite;
        uint64_t sequence;
    } ranges[4096];
    size_t range_count;
};

static inline nori_slice model_key(const struct model_entry *entry)
{
    return nr_slice(entry->key, entry->key_bytes);
}

/* The first entry at or after (key, tag). */
static inline size_t model_seek(const struct model *model, nori_slice key, uint64_t tag)
{
    size_t low = 0, high = model->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct model_entry *entry = &model->entries[middle];
        if (nr_entry_compare(model_key(entry), entry->tag, key, tag) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static inline void model_add(struct model *model, nori_slice key, uint64_t tag, uint64_t value)
{
    size_t at = model_seek(model, key, tag);
    struct model_entry *entry = &model->entries[at];
    memmove(entry + 1, entry, (model->count++ - at) * sizeof(*entry));
    memcpy(entry->key, key.data, key.size);
    entry->key_bytes = key.size;
    entry->tag = tag;
    entry->value = value;
}

static inline void model_add_range(struct model *model, nori_slice start, const nori_slice *stop, uint64_t sequence)
{
    size_t at = model->range_count++;
    memcpy(model->ranges[at].start, start.data, start.size);
    model->ranges[at].start_bytes = start.size;
    model->ranges[at].infinite = stop == NULL;
    if (stop) memcpy(model->ranges[at].stop, stop->data, stop->size);
    model->ranges[at].stop_bytes = stop ? stop->size : 0;
    model->ranges[at].sequence = sequence;
}

static inline struct nr_bound model_stop(const struct model *model, size_t at)
{
    if (model->ranges[at].infinite) return nr_bound_infinite();
    return nr_bound_key(nr_slice(model->ranges[at].stop, model->ranges[at].stop_bytes));
}

static inline uint64_t model_covering(const struct model *model, nori_slice key, uint64_t sequence)
{
    uint64_t covering = 0;
    for (size_t i = 0; i < model->range_count; i++) {
        nori_slice start = nr_slice(model->ranges[i].start, model->ranges[i].start_bytes);
        if (model->ranges[i].sequence > sequence || nr_slice_compare(key, start) < 0) continue;
        if (nr_bound_above(model_stop(model, i), key)) covering = NR_MAX(covering, model->ranges[i].sequence);
    }
    return covering;
}

static inline bool model_touched(const struct model *model, nori_slice first, const nori_slice *last, uint64_t since)
{
    for (size_t i = model_seek(model, first, UINT64_MAX); i < model->count; i++) {
        if (last && nr_slice_compare(model_key(&model->entries[i]), *last) > 0) break;
        if (nr_tag_sequence(model->entries[i].tag) > since) return true;
    }
    for (size_t i = 0; i < model->range_count; i++) {
        nori_slice start = nr_slice(model->ranges[i].start, model->ranges[i].start_bytes);
        if (model->ranges[i].sequence <= since || !nr_bound_above(model_stop(model, i), first)) continue;
        if (!last || nr_slice_compare(start, *last) <= 0) return true;
    }
    return false;
}

#endif

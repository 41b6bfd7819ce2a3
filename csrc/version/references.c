#include "version/references.h"

typedef void (*slice_fn)(struct nr_table_slice *slice);

static void add(struct nr_table_slice *slice)
{
    slice->file->referenced_bytes += slice->bytes;
}

static void subtract(struct nr_table_slice *slice)
{
    slice->file->referenced_bytes -= NR_MIN(slice->bytes, slice->file->referenced_bytes);
}

static void each_slice(const struct nr_slot *slot, slice_fn fn)
{
    for (size_t i = 0; i < slot->run_count; i++)
        for (size_t j = 0; j < slot->runs[i]->slice_count; j++) fn(&slot->runs[i]->slices[j]);
}

static uint64_t held_by(const struct nr_table_slice *slice)
{
    const struct nr_table_file *file = slice->file;
    if (slice->bytes >= file->referenced_bytes) return file->file_bytes;
    return (uint64_t)((double)slice->bytes / (double)file->referenced_bytes * (double)file->file_bytes);
}

static void measure_slot(struct nr_slot *slot)
{
    slot->held_bytes = 0;
    for (size_t i = 0; i < slot->run_count; i++)
        for (size_t j = 0; j < slot->runs[i]->slice_count; j++) slot->held_bytes += held_by(&slot->runs[i]->slices[j]);
}

/* Slots of two levels side by side. */
struct walk {
    const struct nr_level *old, *new; /* 'old' NULL: there is none. */
    size_t at_old, at_new;
};

static bool is_at_same_chunk(const struct walk *walk)
{
    size_t old = walk->at_old / NR_SLOT_CHUNK, new = walk->at_new / NR_SLOT_CHUNK;
    return walk->old && walk->at_old % NR_SLOT_CHUNK == 0 && walk->at_new % NR_SLOT_CHUNK == 0 &&
           old < walk->old->chunk_count && new < walk->new->chunk_count &&
           walk->old->chunks[old] == walk->new->chunks[new];
}

static const struct nr_slot *next_old(const struct walk *walk)
{
    return walk->old && walk->at_old < walk->old->slot_count ? nr_level_slot(walk->old, walk->at_old) : NULL;
}

/* The slot, or the two of the same guard, that come next. False at the end. */
static bool step(struct walk *walk)
{
    while (is_at_same_chunk(walk)) {
        size_t count = walk->new->chunks[walk->at_new / NR_SLOT_CHUNK]->count;
        walk->at_old += count;
        walk->at_new += count;
    }
    const struct nr_slot *old = next_old(walk);
    struct nr_slot *new = walk->at_new < walk->new->slot_count ? nr_level_slot(walk->new, walk->at_new) : NULL;
    if (!old && !new) return false;
    int order = !old ? 1 : !new ? -1 : old == new ? 0 : nr_slice_compare(old->start, new->start);
    if (order <= 0) {
        if (old != new) each_slice(old, subtract);
        walk->at_old++;
    }
    if (order >= 0) {
        struct nr_slot_chunk *chunk = walk->new->chunks[walk->at_new / NR_SLOT_CHUNK];
        if (old != new) each_slice(new, add);
        chunk->has_new_slot |= old != new;
        walk->at_new++;
    }
    return true;
}

static void measure_chunk(struct nr_slot_chunk *chunk)
{
    if (chunk->is_measured) return;
    chunk->is_measured = true;
    chunk->held_bytes = 0;
    chunk->max_newer_part = 0;
    for (size_t i = 0; i < chunk->count; i++) {
        if (chunk->has_new_slot) measure_slot(chunk->slots[i]);
        chunk->held_bytes += chunk->slots[i]->held_bytes;
        chunk->max_newer_part = NR_MAX(chunk->max_newer_part, nr_slot_newer_part(chunk->slots[i]));
    }
}

void nr_references_update(const struct nr_version *before, struct nr_version *after)
{
    for (size_t level = 0; level < after->level_count; level++) {
        struct walk walk = {.new = after->levels[level]};
        if (before && level < before->level_count) walk.old = before->levels[level];
        while (walk.old != walk.new &&step(&walk)) {
        }
    }
    for (size_t level = 1; level < after->level_count; level++)
        for (size_t i = 0; i < after->levels[level]->chunk_count; i++) measure_chunk(after->levels[level]->chunks[i]);
}

#include "version/level.h"

#include "base/alloc.h"

/* ---------------------------------------------------------------- slots */

nori_status nr_slot_create(uint32_t level, uint64_t slot_id, nori_slice start, struct nr_bound end, uint32_t k_max,
                           struct nr_run *const *runs, size_t run_count, struct nr_slot **slot_out,
                           struct nori_error *err)
{
    nori_status rc;
    struct nr_activity *activity = NULL;

    *slot_out = NULL;
    if (level > 0) NR_CHECK(nr_activity_create(&activity, err));
    NR_CHECK(nr_slot_create_with(activity, level, slot_id, start, end, k_max, runs, run_count, slot_out, err));
out:
    nr_activity_unref(activity);
    return rc;
}

static bool is_over_any(const struct nr_table_slice *slice, struct nr_run *const *runs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (nr_run_overlaps(runs[i], slice->start, slice->end)) return true;
    return false;
}

/* What of a run is of keys of which the older ones have nothing: those counted as fresh when its tables were written,
 * and all of tables that lie beside what is older, as where keys rise; tombstones there hide nothing. */
static uint64_t sum_bottom_bytes(const struct nr_run *run, struct nr_run *const *older, size_t older_count)
{
    uint64_t bytes = 0;
    if (older_count == 0) return run->bytes;
    for (size_t i = 0; i < run->slice_count; i++) {
        const struct nr_table_slice *slice = &run->slices[i];
        if (is_over_any(slice, older, older_count))
            bytes += nr_table_slice_fresh_bytes(slice);
        else if (slice->entries > 0)
            bytes +=
                (uint64_t)((double)slice->bytes * (double)(slice->entries - NR_MIN(slice->deletes, slice->entries)) /
                           (double)slice->entries);
    }
    return bytes;
}

nori_status nr_slot_create_with(struct nr_activity *activity, uint32_t level, uint64_t slot_id, nori_slice start,
                                struct nr_bound end, uint32_t k_max, struct nr_run *const *runs, size_t run_count,
                                struct nr_slot **slot_out, struct nori_error *err)
{
    size_t head_bytes = sizeof(struct nr_slot) + run_count * sizeof(struct nr_run *);
    size_t bytes = head_bytes + start.size + (end.infinite ? 0 : end.key.size);

    *slot_out = NULL;
    struct nr_slot *slot = nr_alloc(bytes);
    if (!slot) return nr_fail_memory(err, bytes);
    memset(slot, 0, sizeof(*slot));
    atomic_init(&slot->refs, 1);
    slot->level = level;
    slot->slot_id = slot_id;
    slot->k_max = k_max;
    slot->activity = activity ? nr_activity_ref(activity) : NULL;
    slot->run_count = run_count;
    slot->due_ms = UINT64_MAX;
    for (size_t i = 0; i < run_count; i++) {
        slot->runs[i] = nr_run_ref(runs[i]);
        slot->bytes += runs[i]->bytes;
        slot->entries += runs[i]->entries;
        slot->tombstones += runs[i]->deletes + runs[i]->ranges;
        slot->due_ms = NR_MIN(slot->due_ms, runs[i]->due_ms);
        slot->bottom_bytes += sum_bottom_bytes(runs[i], runs + i + 1, run_count - i - 1);
    }
    slot->held_bytes = slot->bytes;
    uint8_t *keys = (uint8_t *)slot + head_bytes;
    if (start.size > 0) memcpy(keys, start.data, start.size);
    slot->start = nr_slice(keys, start.size);
    keys += start.size;
    slot->end = nr_bound_infinite();
    if (!end.infinite) {
        if (end.key.size > 0) memcpy(keys, end.key.data, end.key.size);
        slot->end = nr_bound_key(nr_slice(keys, end.key.size));
    }
    *slot_out = slot;
    return NORI_OK;
}

struct nr_slot *nr_slot_ref(struct nr_slot *slot)
{
    atomic_fetch_add_explicit(&slot->refs, 1, memory_order_relaxed);
    return slot;
}

void nr_slot_unref(struct nr_slot *slot)
{
    if (!slot || atomic_fetch_sub_explicit(&slot->refs, 1, memory_order_acq_rel) != 1) return;
    for (size_t i = 0; i < slot->run_count; i++) nr_run_unref(slot->runs[i]);
    nr_activity_unref(slot->activity);
    nr_free(slot);
}

/* ---------------------------------------------------------------- chunks and guards */

static void summarise(struct nr_slot_chunk *chunk)
{
    chunk->max_run_count = 0;
    chunk->empty_count = 0;
    chunk->is_over_k = false;
    chunk->bytes = chunk->max_bytes = chunk->bottom_bytes = 0;
    chunk->tombstones = 0;
    chunk->due_ms = UINT64_MAX;
    for (size_t i = 0; i < chunk->count; i++) {
        const struct nr_slot *slot = chunk->slots[i];
        chunk->max_run_count = NR_MAX(chunk->max_run_count, slot->run_count);
        chunk->empty_count += slot->run_count == 0;
        if (slot->k_max > 0 && slot->run_count > slot->k_max) chunk->is_over_k = true;
        chunk->bytes += slot->bytes;
        chunk->max_bytes = NR_MAX(chunk->max_bytes, slot->bytes);
        chunk->bottom_bytes += slot->bottom_bytes;
        chunk->tombstones += slot->tombstones;
        chunk->due_ms = NR_MIN(chunk->due_ms, slot->due_ms);
    }
}

static struct nr_slot_chunk *create_chunk(struct nr_slot *const *slots, size_t count)
{
    struct nr_slot_chunk *chunk = nr_calloc(1, sizeof(*chunk));
    if (!chunk) return NULL;
    atomic_init(&chunk->refs, 1);
    chunk->count = count;
    for (size_t i = 0; i < count; i++) chunk->slots[i] = nr_slot_ref(slots[i]);
    summarise(chunk);
    return chunk;
}

static void unref_chunk(struct nr_slot_chunk *chunk)
{
    if (!chunk || atomic_fetch_sub_explicit(&chunk->refs, 1, memory_order_acq_rel) != 1) return;
    for (size_t i = 0; i < chunk->count; i++) nr_slot_unref(chunk->slots[i]);
    nr_free(chunk);
}

/* The guards own their keys: the slot that a guard was copied from may go before them. */
static nori_status create_guards(struct nr_slot *const *slots, size_t count, struct nr_guards **guards_out,
                                 struct nori_error *err)
{
    size_t guard_count = count - 1, key_bytes = 0;

    *guards_out = NULL;
    for (size_t i = 1; i < count; i++) key_bytes += slots[i]->start.size;
    size_t bytes = sizeof(struct nr_guards) + nr_key_index_bytes(guard_count) + key_bytes;
    struct nr_guards *guards = nr_alloc(bytes);
    if (!guards) return nr_fail_memory(err, bytes);
    atomic_init(&guards->refs, 1);
    void *memory = guards + 1;
    nori_slice *keys = nr_key_index_keys(memory, guard_count);
    uint8_t *out = (uint8_t *)memory + nr_key_index_bytes(guard_count);
    for (size_t i = 0; i < guard_count; i++) {
        nori_slice guard = slots[i + 1]->start;
        if (guard.size > 0) memcpy(out, guard.data, guard.size);
        keys[i] = nr_slice(out, guard.size);
        out += guard.size;
    }
    nr_key_index_init(&guards->index, memory, guard_count);
    *guards_out = guards;
    return NORI_OK;
}

static void unref_guards(struct nr_guards *guards)
{
    if (!guards || atomic_fetch_sub_explicit(&guards->refs, 1, memory_order_acq_rel) != 1) return;
    nr_free(guards);
}

/* ---------------------------------------------------------------- levels */

static struct nr_level *allocate_level(size_t chunk_count)
{
    struct nr_level *level = nr_calloc(1, sizeof(*level) + chunk_count * sizeof(struct nr_slot_chunk *));
    if (level) atomic_init(&level->refs, 1);
    return level;
}

nori_status nr_level_create(struct nr_slot *const *slots, size_t count, struct nr_level **level_out,
                            struct nori_error *err)
{
    nori_status rc = NORI_OK;
    size_t chunk_count = (count + NR_SLOT_CHUNK - 1) / NR_SLOT_CHUNK;

    *level_out = NULL;
    NR_ASSERT(count > 0);
    struct nr_level *level = allocate_level(chunk_count);
    if (!level) return nr_fail_memory(err, sizeof(*level));
    NR_CHECK(create_guards(slots, count, &level->guards, err));
    level->slot_count = count;
    for (size_t i = 0; i < chunk_count; i++) {
        size_t first = i * NR_SLOT_CHUNK;
        struct nr_slot_chunk *chunk = create_chunk(slots + first, NR_MIN((size_t)NR_SLOT_CHUNK, count - first));
        if (!chunk) {
            rc = nr_fail_memory(err, sizeof(*chunk));
            goto out;
        }
        level->chunks[level->chunk_count++] = chunk;
        level->max_run_count = NR_MAX(level->max_run_count, chunk->max_run_count);
    }
    for (size_t i = 0; i < count; i++) {
        level->bytes += slots[i]->bytes;
        level->entries += slots[i]->entries;
    }
    *level_out = level;
    level = NULL;
out:
    nr_level_unref(level);
    return rc;
}

nori_status nr_level_create_empty(uint32_t number, struct nr_level **level_out, struct nori_error *err)
{
    nori_status rc;
    struct nr_slot *slot = NULL;

    *level_out = NULL;
    NR_CHECK(nr_slot_create(number, number, nr_slice(NULL, 0), nr_bound_infinite(), 0, NULL, 0, &slot, err));
    NR_CHECK(nr_level_create(&slot, 1, level_out, err));
out:
    nr_slot_unref(slot);
    return rc;
}

struct nr_level *nr_level_ref(struct nr_level *level)
{
    atomic_fetch_add_explicit(&level->refs, 1, memory_order_relaxed);
    return level;
}

void nr_level_unref(struct nr_level *level)
{
    if (!level || atomic_fetch_sub_explicit(&level->refs, 1, memory_order_acq_rel) != 1) return;
    for (size_t i = 0; i < level->chunk_count; i++) unref_chunk(level->chunks[i]);
    unref_guards(level->guards);
    nr_free(level);
}

static nori_status own_level(struct nr_level **level, struct nori_error *err)
{
    struct nr_level *old = *level;
    if (atomic_load_explicit(&old->refs, memory_order_acquire) == 1) return NORI_OK;
    struct nr_level *copy = allocate_level(old->chunk_count);
    if (!copy) return nr_fail_memory(err, sizeof(*copy));
    copy->guards = old->guards;
    atomic_fetch_add_explicit(&copy->guards->refs, 1, memory_order_relaxed);
    copy->bytes = old->bytes;
    copy->entries = old->entries;
    copy->slot_count = old->slot_count;
    copy->max_run_count = old->max_run_count;
    copy->chunk_count = old->chunk_count;
    for (size_t i = 0; i < old->chunk_count; i++) {
        copy->chunks[i] = old->chunks[i];
        atomic_fetch_add_explicit(&copy->chunks[i]->refs, 1, memory_order_relaxed);
    }
    nr_level_unref(old);
    *level = copy;
    return NORI_OK;
}

static nori_status own_chunk(struct nr_slot_chunk **chunk, struct nori_error *err)
{
    struct nr_slot_chunk *old = *chunk;
    if (atomic_load_explicit(&old->refs, memory_order_acquire) == 1) return NORI_OK;
    struct nr_slot_chunk *copy = create_chunk(old->slots, old->count);
    if (!copy) return nr_fail_memory(err, sizeof(*copy));
    unref_chunk(old);
    *chunk = copy;
    return NORI_OK;
}

nori_status nr_level_replace(struct nr_level **level_io, size_t index, struct nr_slot *slot, struct nori_error *err)
{
    nori_status rc;

    NR_CHECK(own_level(level_io, err));
    struct nr_level *level = *level_io;
    struct nr_slot_chunk **chunk_io = &level->chunks[index / NR_SLOT_CHUNK];
    NR_CHECK(own_chunk(chunk_io, err));
    struct nr_slot_chunk *chunk = *chunk_io;
    struct nr_slot *old = chunk->slots[index % NR_SLOT_CHUNK];
    chunk->slots[index % NR_SLOT_CHUNK] = nr_slot_ref(slot);
    level->bytes += slot->bytes - old->bytes;
    level->entries += slot->entries - old->entries;
    size_t former = chunk->max_run_count;
    summarise(chunk);
    /* A fall is the level's only where no other chunk has as many. */
    bool may_fall = former == level->max_run_count && chunk->max_run_count < former;
    level->max_run_count = may_fall ? chunk->max_run_count : NR_MAX(level->max_run_count, chunk->max_run_count);
    for (size_t i = 0; i < level->chunk_count && may_fall && level->max_run_count < former; i++)
        level->max_run_count = NR_MAX(level->max_run_count, level->chunks[i]->max_run_count);
    nr_slot_unref(old);
out:
    return rc;
}

struct nr_slot *nr_level_slot(const struct nr_level *level, size_t index)
{
    return level->chunks[index / NR_SLOT_CHUNK]->slots[index % NR_SLOT_CHUNK];
}

size_t nr_level_seek(const struct nr_level *level, nori_slice key)
{
    return nr_key_index_rank(&level->guards->index, key);
}

struct nr_slot *nr_level_find(const struct nr_level *level, nori_slice key)
{
    return nr_level_slot(level, nr_level_seek(level, key));
}

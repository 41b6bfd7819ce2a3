/* Iterating a table.
 *
 * Forward, entries are decoded one by one where they lie; the key is put together in a buffer. Backward, the restart
 * interval that holds the entry is decoded into 'interval' as a whole. The iterator holds a reference on its block and
 * is inside the epoch only while it looks one up. */
#include "base/alloc.h"
#include "table/table_internal.h"

/* Keys are copied in steps of this many bytes, so the buffer has as many to spare. */
#define KEY_SLACK 16
#define SMALLEST_RUN_BYTES (32u << 10)
#define LARGEST_RUN_BYTES (256u << 10)
/* How far ahead of the entry its block is brought near. */
#define PREFETCH_AHEAD_BYTES 512
/* Blocks read one after the other before more than one is read at a time. */
#define SEQUENTIAL_AFTER 2

struct interval_entry {
    size_t key_at; /* In interval_keys. */
    size_t key_size;
    const uint8_t *next; /* Behind the entry. */
    uint64_t tag;
    nori_slice value;
};

struct table_iter {
    struct nr_iter base;
    struct nr_table *table; /* Refs; its file is acquired. */
    struct nr_read *read;   /* Borrowed. */
    nori_slice start;       /* Borrowed. */
    struct nr_bound end;    /* Borrowed. */
    size_t first_block; /* The first that may hold a key at or above start, and the last that may hold one below end. */
    size_t last_block;  /* Below first_block: there is nothing. */
    bool is_empty;

    struct nr_cached_block *block; /* Refs; NULL: stands nowhere. */
    size_t block_index;
    struct nr_block_view view;
    bool checks_end;      /* The block may hold keys at or above end. */
    const uint8_t *next;  /* Behind the current entry. */
    struct nr_buffer key; /* With KEY_SLACK bytes to spare. */

    bool is_backward; /* The current entry is interval[at]. */
    uint32_t restart; /* Whose interval that is. */
    unsigned interval_count, interval_at;
    struct interval_entry interval[NR_RESTART_INTERVAL];
    struct nr_buffer interval_keys;

    struct nr_buffer run; /* Stored bytes read at once, from run_offset on. */
    uint64_t run_offset;
    size_t run_bytes; /* How much the next run is to have. */
    unsigned sequential_count;

    uint64_t held_bytes; /* The most that block and run took at a time; part of read->held_bytes. */
};

/* ---------------------------------------------------------------- blocks */

static void leave_block(struct table_iter *iter)
{
    nr_block_unref(iter->block);
    iter->block = NULL;
    iter->base.valid = false;
    iter->is_backward = false;
}

/* Only what grows is told, so that blocks of slightly different sizes do not keep the accounts busy. */
static void note_held(struct table_iter *iter)
{
    uint64_t bytes = iter->run.capacity + (iter->block ? sizeof(*iter->block) + iter->block->size : 0);
    if (NR_LIKELY(bytes <= iter->held_bytes)) return;
    iter->read->held_bytes += bytes - iter->held_bytes;
    iter->held_bytes = bytes;
}

static nori_status damaged(struct table_iter *iter, struct nori_error *err)
{
    nori_status rc = nr_table_fail_block(iter->table, iter->block_index, "its entries make no sense", err);
    leave_block(iter);
    return rc;
}

/* Reads whole blocks from 'block' on in one go. */
static nori_status read_run(struct table_iter *iter, size_t block, struct nori_error *err)
{
    const struct nr_index *index = &iter->table->sections.index;
    uint64_t offset = nr_index_block_offset(index, block);
    size_t behind = block + 1, size;
    nori_status rc = NORI_OK;

    while (behind <= iter->last_block && nr_index_block_offset(index, behind + 1) - offset <= iter->run_bytes) behind++;
    size = (size_t)(nr_index_block_offset(index, behind) - offset);
    iter->run.size = 0;
    NR_CHECK(nr_buffer_reserve(&iter->run, size, err));
    NR_CHECK(nr_sections_read(iter->table->file, offset, iter->run.data, size, err));
    iter->run.size = size;
    iter->run_offset = offset;
    iter->read->bytes_read += size;
    if (iter->run_bytes < LARGEST_RUN_BYTES) iter->run_bytes *= 2;
    if (behind <= iter->last_block) nr_file_readahead(iter->table->file, offset + size, iter->run_bytes);
out:
    return rc;
}

static nori_status read_block(struct table_iter *iter, size_t block, struct nr_cached_block **block_out,
                              struct nori_error *err)
{
    const struct nr_index *index = &iter->table->sections.index;
    uint64_t offset = nr_index_block_offset(index, block);
    size_t size = nr_index_block_bytes(index, block);
    nori_status rc = NORI_OK;
    bool is_in_run =
        iter->run.size >= size && offset >= iter->run_offset && offset - iter->run_offset <= iter->run.size - size;

    if (!is_in_run &&
        (size >= LARGEST_RUN_BYTES || (!iter->read->skip_cache && iter->sequential_count < SEQUENTIAL_AFTER))) {
        NR_CHECK(nr_table_block_read(iter->table, block, iter->read, block_out, err));
        goto out;
    }
    if (!is_in_run) NR_CHECK(read_run(iter, block, err));
    iter->read->blocks_read++;
    NR_CHECK(nr_table_block_create(iter->table, block, nr_slice(iter->run.data + (offset - iter->run_offset), size),
                                   iter->read->skip_cache, block_out, err));
out:
    return rc;
}

static struct nr_cached_block *find_cached(struct table_iter *iter, size_t block)
{
    struct nr_table *table = iter->table;
    struct nr_cached_block *found;
    unsigned stripe;

    if (!table->blocks) return NULL;
    stripe = nr_epoch_enter(table->epoch);
    found = nr_block_cache_find(table->blocks, table->number, nr_index_block_offset(&table->sections.index, block),
                                iter->read->is_scan || iter->read->skip_cache);
    if (found) nr_block_ref(found);
    nr_epoch_leave(table->epoch, stripe);
    return found;
}

static nori_status enter_block(struct table_iter *iter, size_t block, struct nori_error *err)
{
    struct nr_table *table = iter->table;
    struct nr_read *read = iter->read;
    nori_status rc = NORI_OK;
    struct nr_cached_block *found = NULL;

    iter->base.valid = false;
    iter->is_backward = false;
    if (iter->block && iter->block_index == block) goto out;
    iter->sequential_count = iter->block && block == iter->block_index + 1 ? iter->sequential_count + 1 : 0;
    leave_block(iter);
    found = find_cached(iter, block);
    if (found) {
        read->cache_hits++;
    } else if (read->no_wait) {
        rc = NR_FAIL(err, NORI_AGAIN, "the block is not in the cache");
        goto out;
    } else {
        read->cache_misses++;
        NR_CHECK(read_block(iter, block, &found, err));
        if (table->blocks && !read->skip_cache) nr_block_cache_insert(table->blocks, found, read->is_scan);
    }
    iter->block = found;
    iter->block_index = block;
    note_held(iter);
    iter->checks_end = !iter->end.infinite && block >= iter->last_block;
    if (!nr_block_view_summarized(&iter->view, found->data, found->size)) rc = damaged(iter, err);
out:
    return rc;
}

/* ---------------------------------------------------------------- forward */

/* The key buffer gets 'unshared' bytes behind 'shared' of those it has. */
static inline bool put_key_together(struct nr_buffer *key, const struct nr_block_entry *entry, const uint8_t *limit,
                                    bool *has_memory)
{
    if (NR_UNLIKELY(entry->shared > key->size || entry->unshared > NORI_MAX_KEY_BYTES - entry->shared)) return false;
    if (NR_UNLIKELY(key->capacity < entry->shared + entry->unshared + KEY_SLACK)) {
        if (nr_buffer_reserve(key, entry->unshared + KEY_SLACK, NULL) != NORI_OK) {
            *has_memory = false;
            return false;
        }
    }
    if (NR_LIKELY(entry->unshared <= KEY_SLACK && limit - entry->suffix >= KEY_SLACK)) {
        memcpy(key->data + entry->shared, entry->suffix, KEY_SLACK);
    } else {
        memcpy(key->data + entry->shared, entry->suffix, entry->unshared);
    }
    key->size = entry->shared + entry->unshared;
    return true;
}

/* Makes the entry at 'at' the current one; the buffer holds the key of the one before. The restarts behind the entries
 * may be read as part of a key's last step. */
static inline nori_status take_entry(struct table_iter *iter, const uint8_t *at, struct nori_error *err)
{
    struct nr_block_entry entry;
    bool has_memory = true;
    const uint8_t *next = nr_block_entry_decode(at, iter->view.limit, &entry);

    if (NR_UNLIKELY(!next || !nr_block_entry_is_known(entry.tag, entry.value_size) ||
                    !put_key_together(&iter->key, &entry, iter->view.limit, &has_memory))) {
        if (has_memory) return damaged(iter, err);
        leave_block(iter);
        return nr_fail_memory(err, NORI_MAX_KEY_BYTES);
    }
    __builtin_prefetch(next + PREFETCH_AHEAD_BYTES);
    iter->next = next;
    iter->base.key = nr_slice(iter->key.data, iter->key.size);
    iter->base.tag = entry.tag;
    iter->base.value = nr_block_entry_value(&entry);
    iter->base.valid = !NR_UNLIKELY(iter->checks_end) || nr_bound_above(iter->end, iter->base.key);
    return NORI_OK;
}

static nori_status enter_first_of(struct table_iter *iter, size_t block, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    NR_CHECK(enter_block(iter, block, err));
    iter->key.size = 0;
    if (iter->view.limit == iter->view.data) {
        rc = damaged(iter, err);
        goto out;
    }
    NR_CHECK(take_entry(iter, iter->view.data, err));
out:
    return rc;
}

/* Puts the key at 'place' together, from its restart on. */
static nori_status take_place(struct table_iter *iter, const struct nr_block_place *place, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    const uint8_t *at = nr_block_restart(&iter->view, place->restart);

    iter->key.size = 0;
    while (at && at < place->at) {
        NR_CHECK(take_entry(iter, at, err));
        at = iter->next;
    }
    iter->base.valid = false;
    rc = at == place->at ? take_entry(iter, at, err) : damaged(iter, err);
out:
    return rc;
}

static nori_status table_seek(struct nr_iter *base, nori_slice key, uint64_t tag, struct nori_error *err)
{
    struct table_iter *iter = (struct table_iter *)base;
    nori_status rc = NORI_OK;
    struct nr_block_place place;
    size_t block;

    base->valid = false;
    if (iter->is_empty) goto out;
    if (nr_slice_compare(key, iter->start) < 0) {
        key = iter->start;
        tag = UINT64_MAX;
    }
    block = nr_index_find(&iter->table->sections.index, key, tag);
    if (block > iter->last_block) goto out;
    NR_CHECK(enter_block(iter, block, err));
    switch (nr_block_search(&iter->view, key, tag, &place)) {
    case NR_BLOCK_SAME_KEY:
    case NR_BLOCK_GREATER:
        NR_CHECK(take_place(iter, &place, err));
        break;
    case NR_BLOCK_END:
        if (block < iter->last_block) NR_CHECK(enter_first_of(iter, block + 1, err));
        break;
    case NR_BLOCK_DAMAGED:
        rc = damaged(iter, err);
        break;
    }
out:
    return rc;
}

static nori_status table_seek_first(struct nr_iter *base, struct nori_error *err)
{
    struct table_iter *iter = (struct table_iter *)base;
    return table_seek(base, iter->start, UINT64_MAX, err);
}

static nori_status table_next(struct nr_iter *base, struct nori_error *err)
{
    struct table_iter *iter = (struct table_iter *)base;
    nori_status rc = NORI_OK;

    NR_ASSERT(base->valid);
    if (NR_UNLIKELY(iter->is_backward)) {
        const struct interval_entry *entry = &iter->interval[iter->interval_at];
        base->valid = false;
        iter->is_backward = false;
        NR_CHECK(
            nr_buffer_assign(&iter->key, nr_slice(iter->interval_keys.data + entry->key_at, entry->key_size), err));
        iter->next = entry->next;
    }
    if (NR_LIKELY(iter->next < iter->view.limit)) return take_entry(iter, iter->next, err);
    base->valid = false;
    if (iter->block_index < iter->last_block) NR_CHECK(enter_first_of(iter, iter->block_index + 1, err));
out:
    return rc;
}

/* ---------------------------------------------------------------- backward */

static void show_interval_entry(struct table_iter *iter, unsigned at)
{
    const struct interval_entry *entry = &iter->interval[at];
    iter->is_backward = true;
    iter->interval_at = at;
    iter->base.key = nr_slice(iter->interval_keys.data + entry->key_at, entry->key_size);
    iter->base.tag = entry->tag;
    iter->base.value = entry->value;
    iter->base.valid = iter->block_index > iter->first_block || nr_slice_compare(iter->base.key, iter->start) >= 0;
}

/* Decodes one restart interval. */
static nori_status load_interval(struct table_iter *iter, uint32_t restart, struct nori_error *err)
{
    const struct nr_block_view *view = &iter->view;
    const uint8_t *at = nr_block_restart(view, restart);
    const uint8_t *end = restart + 1 < view->restart_count ? nr_block_restart(view, restart + 1) : view->limit;
    size_t previous_at = 0, previous_size = 0;
    nori_status rc = NORI_OK;

    iter->base.valid = false;
    iter->is_backward = false;
    iter->interval_count = 0;
    iter->interval_keys.size = 0;
    if (!at || !end || at >= end) return damaged(iter, err);
    while (at < end) {
        struct interval_entry *to;
        struct nr_block_entry entry;
        struct nr_buffer *keys = &iter->interval_keys;
        const uint8_t *next = nr_block_entry_decode(at, end, &entry);
        if (!next || iter->interval_count == NR_RESTART_INTERVAL || entry.shared > previous_size ||
            entry.unshared > NORI_MAX_KEY_BYTES - entry.shared ||
            !nr_block_entry_is_known(entry.tag, entry.value_size)) {
            rc = damaged(iter, err);
            goto out;
        }
        NR_CHECK(nr_buffer_reserve(keys, entry.shared + entry.unshared, err));
        to = &iter->interval[iter->interval_count++];
        *to = (struct interval_entry){keys->size, entry.shared + entry.unshared, next, entry.tag,
                                      nr_block_entry_value(&entry)};
        if (entry.shared > 0) memcpy(keys->data + keys->size, keys->data + previous_at, entry.shared);
        if (entry.unshared > 0) memcpy(keys->data + keys->size + entry.shared, entry.suffix, entry.unshared);
        previous_at = to->key_at;
        previous_size = to->key_size;
        keys->size += to->key_size;
        at = next;
    }
    iter->restart = restart;
out:
    return rc;
}

static nori_status enter_last_of(struct table_iter *iter, size_t block, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    NR_CHECK(enter_block(iter, block, err));
    NR_CHECK(load_interval(iter, iter->view.restart_count - 1, err));
    show_interval_entry(iter, iter->interval_count - 1);
out:
    return rc;
}

/* The entry before interval[at]. */
static nori_status step_back(struct table_iter *iter, unsigned at, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    iter->base.valid = false;
    if (at > 0) {
        show_interval_entry(iter, at - 1);
    } else if (iter->restart > 0) {
        NR_CHECK(load_interval(iter, iter->restart - 1, err));
        show_interval_entry(iter, iter->interval_count - 1);
    } else if (iter->block_index > iter->first_block) {
        NR_CHECK(enter_last_of(iter, iter->block_index - 1, err));
    }
out:
    return rc;
}

static nori_status table_seek_back(struct nr_iter *base, nori_slice key, uint64_t tag, struct nori_error *err)
{
    struct table_iter *iter = (struct table_iter *)base;
    nori_status rc = NORI_OK;
    uint32_t restart;
    unsigned at = 0;
    size_t block;
    bool found;

    base->valid = false;
    if (iter->is_empty) goto out;
    if (!nr_bound_above(iter->end, key)) {
        /* No entry has this tag: the last one below the end is meant. */
        key = iter->end.key;
        tag = UINT64_MAX;
    }
    if (nr_slice_compare(key, iter->start) < 0) goto out;
    block = nr_index_find(&iter->table->sections.index, key, tag);
    if (block > iter->last_block) {
        NR_CHECK(enter_last_of(iter, iter->last_block, err));
        goto out;
    }
    NR_CHECK(enter_block(iter, block, err));
    if (!nr_block_find_restart(&iter->view, key, tag, true, &restart, &found)) {
        rc = damaged(iter, err);
        goto out;
    }
    NR_CHECK(load_interval(iter, restart, err));
    while (at < iter->interval_count) {
        const struct interval_entry *entry = &iter->interval[at];
        nori_slice entry_key = nr_slice(iter->interval_keys.data + entry->key_at, entry->key_size);
        if (nr_entry_compare(entry_key, entry->tag, key, tag) > 0) break;
        at++;
    }
    NR_CHECK(step_back(iter, at, err));
out:
    return rc;
}

static nori_status table_seek_last(struct nr_iter *base, struct nori_error *err)
{
    struct table_iter *iter = (struct table_iter *)base;
    nori_status rc = NORI_OK;
    base->valid = false;
    if (iter->is_empty) goto out;
    if (iter->end.infinite) {
        NR_CHECK(enter_last_of(iter, iter->last_block, err));
    } else {
        NR_CHECK(table_seek_back(base, iter->end.key, UINT64_MAX, err));
    }
out:
    return rc;
}

static nori_status table_prev(struct nr_iter *base, struct nori_error *err)
{
    struct table_iter *iter = (struct table_iter *)base;
    nori_status rc = NORI_OK;

    NR_ASSERT(base->valid);
    base->valid = false;
    if (!iter->is_backward) {
        const uint8_t *next = iter->next;
        NR_CHECK(load_interval(iter, nr_block_restart_of(&iter->view, base->value.data - 1), err));
        for (iter->interval_at = 0; iter->interval[iter->interval_at].next != next; iter->interval_at++) {
            if (iter->interval_at + 1 == iter->interval_count) {
                rc = damaged(iter, err);
                goto out;
            }
        }
    }
    NR_CHECK(step_back(iter, iter->interval_at, err));
out:
    return rc;
}

/* ---------------------------------------------------------------- life */

static void table_iter_destroy(struct nr_iter *base)
{
    struct table_iter *iter = (struct table_iter *)base;
    iter->read->held_bytes -= iter->held_bytes;
    nr_block_unref(iter->block);
    nr_buffer_clear(&iter->key);
    nr_buffer_clear(&iter->interval_keys);
    nr_buffer_clear(&iter->run);
    nr_table_release_file(iter->table);
    nr_table_unref(iter->table);
    nr_free(iter);
}

static const struct nr_iter_ops table_iter_ops = {
    .seek = table_seek,
    .seek_back = table_seek_back,
    .seek_first = table_seek_first,
    .seek_last = table_seek_last,
    .next = table_next,
    .prev = table_prev,
    .destroy = table_iter_destroy,
};

nori_status nr_table_iter_create(struct nr_table *table, nori_slice start, struct nr_bound end, struct nr_read *read,
                                 struct nr_iter **iter_out, struct nori_error *err)
{
    const struct nr_index *index = &table->sections.index;
    nori_status rc = NORI_OK;
    struct table_iter *iter;

    *iter_out = NULL;
    if (nr_slice_compare(start, table->sections.properties.smallest) < 0) start = table->sections.properties.smallest;
    NR_CHECK(nr_table_acquire_file(table, err));
    iter = nr_calloc(1, sizeof(*iter));
    if (!iter) {
        nr_table_release_file(table);
        rc = nr_fail_memory(err, sizeof(*iter));
        goto out;
    }
    iter->base.ops = &table_iter_ops;
    iter->table = nr_table_ref(table);
    iter->read = read;
    iter->start = start;
    iter->end = end;
    iter->run_bytes = read->skip_cache ? LARGEST_RUN_BYTES : SMALLEST_RUN_BYTES;
    nr_buffer_init(&iter->key);
    nr_buffer_init(&iter->interval_keys);
    nr_buffer_init(&iter->run);
    iter->first_block = nr_index_find(index, start, UINT64_MAX);
    iter->is_empty = iter->first_block >= index->block_count || !nr_bound_above(end, start);
    if (!iter->is_empty) {
        size_t last = end.infinite ? index->block_count : nr_index_find(index, end.key, UINT64_MAX);
        iter->last_block = NR_MIN(last, index->block_count - 1);
    }
    *iter_out = &iter->base;
out:
    return rc;
}

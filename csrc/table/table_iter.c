/* Iterating a table.
 *
 * Entries are decoded a few restart intervals at a time, for both directions: that is the window. Their keys are put
 * together in a buffer, their values stay where they lie. The iterator holds a reference on its block and is inside the
 * epoch only while it looks one up. */
#include "base/alloc.h"
#include "table/table_internal.h"

/* Keys are copied in steps of this many bytes, so the buffer has as many to spare. */
#define KEY_SLACK 16
/* Room for keys that needs no allocation. */
#define FIRST_KEY_BYTES 1024
/* Intervals of the first window behind a seek, of which little may be wanted, and of those it goes on with. */
#define SOUGHT_INTERVALS 2
#define WINDOW_INTERVALS 4
#define WINDOW_ENTRIES (WINDOW_INTERVALS * NR_RESTART_INTERVAL)
/* Where a window's keys took more than this, the next ones are of one interval. */
#define LONG_KEYS_BYTES (64u << 10)
#define SMALLEST_RUN_BYTES (32u << 10)
#define LARGEST_RUN_BYTES (256u << 10)
/* How far ahead of the entry its block is brought near: going back, where the next window is decoded. An entry at a
 * time: many lines asked for at once keep each other waiting. */
#define PREFETCH_AHEAD_BYTES 512
#define PREFETCH_BACK_BYTES (WINDOW_INTERVALS * NR_RESTART_BYTES)
/* Blocks read one after the other before more than one is read at a time. */
#define SEQUENTIAL_AFTER 2

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
    bool checks_end;  /* The block may hold keys at or above end. */
    bool is_backward; /* The way it goes, as far as is known. */

    uint32_t first_restart, end_restart; /* Whose intervals the window holds. */
    bool is_cut_below, is_cut_above;     /* It reaches start, or end. */
    uint8_t *keys;                       /* Of the window; owned, if they do not fit into first_keys. */
    size_t keys_capacity;                /* With KEY_SLACK bytes to spare. */

    struct nr_buffer run; /* Stored bytes read at once, from run_offset on. */
    uint64_t run_offset;
    size_t run_bytes; /* How much the next run is to have. */
    unsigned sequential_count;

    uint64_t held_bytes; /* The most that block and run took at a time; part of read->held_bytes. */
    struct nr_entry window[WINDOW_ENTRIES];
    uint8_t first_keys[FIRST_KEY_BYTES];
};

/* ---------------------------------------------------------------- blocks */

static void leave_block(struct table_iter *iter)
{
    nr_block_unref(iter->block);
    iter->block = NULL;
    iter->base.entry = NULL;
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
    found = nr_block_shortcut_follow(table->shortcut, block);
    if (!found) found = nr_table_block_find(table, block, iter->read);
    if (found) nr_block_ref(found);
    nr_epoch_leave(table->epoch, stripe);
    return found;
}

/* Brings the next block near, if it is in the cache, while this one's entries are gone through. */
static void look_ahead(const struct table_iter *iter)
{
    struct nr_block_shortcut *shortcut = iter->table->shortcut;
    if (!shortcut || iter->block_index == (iter->is_backward ? iter->first_block : iter->last_block)) return;
    /* It is not looked at, so it may be gone. */
    nr_block_prefetch(nr_block_shortcut_follow(shortcut, iter->block_index + (iter->is_backward ? -1 : 1)));
}

static nori_status enter_block(struct table_iter *iter, size_t block, struct nori_error *err)
{
    struct nr_table *table = iter->table;
    struct nr_read *read = iter->read;
    nori_status rc = NORI_OK;
    struct nr_cached_block *found = NULL;

    iter->base.entry = NULL;
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
        if (table->blocks && !read->skip_cache)
            nr_block_cache_insert(table->blocks, found, read->is_scan, table->shortcut, block);
    }
    iter->block = found;
    iter->block_index = block;
    note_held(iter);
    iter->checks_end = !iter->end.infinite && block >= iter->last_block;
    if (!nr_block_view_summarized(&iter->view, found->data, found->size)) rc = damaged(iter, err);
out:
    return rc;
}

/* ---------------------------------------------------------------- windows */

/* Copies in one step where it may read as much. */
static inline void copy_short(uint8_t *to, const uint8_t *from, size_t size, bool has_slack)
{
    if (NR_LIKELY(size <= KEY_SLACK && has_slack))
        memmove(to, from, KEY_SLACK);
    else
        memcpy(to, from, size);
}

static void free_keys(struct table_iter *iter)
{
    if (iter->keys != iter->first_keys) nr_free(iter->keys);
}

/* Room for so many bytes, of which 'used' are there: the keys of 'count' entries, which move along. */
static __attribute__((noinline)) nori_status grow_keys(struct table_iter *iter, size_t bytes, size_t used, size_t count,
                                                       struct nori_error *err)
{
    size_t capacity = NR_MAX(bytes, 2 * iter->keys_capacity);
    uint8_t *keys = nr_alloc(capacity);
    if (!keys) return nr_fail_memory(err, capacity);
    memcpy(keys, iter->keys, used);
    for (size_t i = 0; i < count; i++) {
        nori_slice *key = &iter->window[i].key;
        key->data = keys + (key->data - iter->keys);
    }
    free_keys(iter);
    iter->keys = keys;
    iter->keys_capacity = capacity;
    return NORI_OK;
}

/* Decodes the entries in [at, limit): '*count_out' of them. */
static nori_status decode(struct table_iter *iter, const uint8_t *at, const uint8_t *limit, size_t *count_out,
                          struct nori_error *err)
{
    nori_status rc = NORI_OK;
    size_t count = 0, used = 0, previous_size = 0;
    ptrdiff_t ahead_bytes = iter->is_backward ? -(ptrdiff_t)PREFETCH_BACK_BYTES : PREFETCH_AHEAD_BYTES;
    while (at < limit) {
        struct nr_block_entry entry;
        const uint8_t *next = nr_block_entry_decode(at, limit, &entry);
        if (NR_UNLIKELY(!next || count == WINDOW_ENTRIES || entry.shared > previous_size ||
                        entry.unshared > NORI_MAX_KEY_BYTES - entry.shared ||
                        !nr_block_entry_is_known(entry.tag, entry.value_size))) {
            rc = damaged(iter, err);
            goto out;
        }
        __builtin_prefetch(next + ahead_bytes);
        size_t size = entry.shared + entry.unshared;
        if (NR_UNLIKELY(iter->keys_capacity < used + size + KEY_SLACK))
            NR_CHECK(grow_keys(iter, used + size + KEY_SLACK, used, count, err));
        uint8_t *key = iter->keys + used;
        copy_short(key, key - previous_size, entry.shared, true);
        copy_short(key + entry.shared, entry.suffix, entry.unshared, iter->view.limit - entry.suffix >= KEY_SLACK);
        iter->window[count++] = (struct nr_entry){nr_slice(key, size), entry.tag, nr_block_entry_value(&entry)};
        used += size;
        previous_size = size;
        at = next;
    }
    *count_out = count;
out:
    return rc;
}

/* Makes the intervals [first, end) the window, as far as they lie within the iterator's bounds, and stands nowhere.
 * It is ['*first_out', '*behind_out'). */
static nori_status load(struct table_iter *iter, uint32_t first, uint32_t end, const struct nr_entry **first_out,
                        const struct nr_entry **behind_out, struct nori_error *err)
{
    const struct nr_block_view *view = &iter->view;
    const uint8_t *at = nr_block_restart(view, first);
    const uint8_t *limit = end < view->restart_count ? nr_block_restart(view, end) : view->limit;
    const struct nr_entry *from = iter->window, *behind;
    size_t count = 0;
    nori_status rc = NORI_OK;

    iter->base.entry = NULL;
    if (!at || !limit || at >= limit) return damaged(iter, err);
    NR_CHECK(decode(iter, at, limit, &count, err));
    iter->first_restart = first;
    iter->end_restart = end;
    iter->is_cut_below = iter->is_cut_above = false;
    behind = from + count;
    if (NR_UNLIKELY(iter->checks_end)) {
        while (behind > from && !nr_bound_above(iter->end, behind[-1].key)) behind--;
        iter->is_cut_above = behind != from + count;
    }
    if (NR_UNLIKELY(iter->block_index == iter->first_block)) {
        while (from < behind && nr_slice_compare(from->key, iter->start) < 0) from++;
        iter->is_cut_below = from != iter->window;
    }
    *first_out = from;
    *behind_out = behind;
out:
    return rc;
}

static uint32_t window_intervals(const struct table_iter *iter)
{
    return NR_LIKELY(iter->keys_capacity <= LONG_KEYS_BYTES) ? WINDOW_INTERVALS : 1;
}

/* Stands on the first entry of the intervals from 'restart' on, if there is one within bounds. */
static nori_status load_forward(struct table_iter *iter, uint32_t restart, struct nori_error *err)
{
    const struct nr_entry *first, *behind;
    nori_status rc = NORI_OK;
    uint32_t end = NR_MIN(restart + window_intervals(iter), iter->view.restart_count);
    NR_CHECK(load(iter, restart, end, &first, &behind, err));
    if (first < behind) nr_iter_show_window(&iter->base, first, first, behind - 1);
out:
    return rc;
}

/* Stands on the last entry of the intervals before 'end'. */
static nori_status load_backward(struct table_iter *iter, uint32_t end, struct nori_error *err)
{
    const struct nr_entry *first, *behind;
    nori_status rc = NORI_OK;
    uint32_t first_restart = end - NR_MIN(end, window_intervals(iter));
    NR_CHECK(load(iter, first_restart, end, &first, &behind, err));
    if (first < behind) nr_iter_show_window(&iter->base, first, behind - 1, behind - 1);
out:
    return rc;
}

static nori_status enter_first_of(struct table_iter *iter, size_t block, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    NR_CHECK(enter_block(iter, block, err));
    NR_CHECK(load_forward(iter, 0, err));
out:
    return rc;
}

static nori_status enter_last_of(struct table_iter *iter, size_t block, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    NR_CHECK(enter_block(iter, block, err));
    NR_CHECK(load_backward(iter, iter->view.restart_count, err));
out:
    return rc;
}

/* What lies behind the window. */
static nori_status go_forward(struct table_iter *iter, struct nori_error *err)
{
    iter->base.entry = NULL;
    iter->is_backward = false;
    if (iter->is_cut_above) return NORI_OK;
    if (iter->end_restart < iter->view.restart_count) {
        look_ahead(iter);
        return load_forward(iter, iter->end_restart, err);
    }
    if (iter->block_index < iter->last_block) return enter_first_of(iter, iter->block_index + 1, err);
    return NORI_OK;
}

/* What lies before it. A window that begins at or above the end is empty, and not the last one. */
static nori_status go_back(struct table_iter *iter, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    iter->base.entry = NULL;
    iter->is_backward = true;
    while (!iter->base.entry && !iter->is_cut_below) {
        if (iter->first_restart > 0) {
            look_ahead(iter);
            NR_CHECK(load_backward(iter, iter->first_restart, err));
        } else if (iter->block_index > iter->first_block) {
            NR_CHECK(enter_last_of(iter, iter->block_index - 1, err));
        } else {
            break;
        }
    }
out:
    return rc;
}

/* ---------------------------------------------------------------- the iterator */

/* The window's entry at 'place', which a search of the block found. */
static nori_status stand_on(struct table_iter *iter, const struct nr_block_place *place, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    const struct nr_entry *first, *behind;
    const uint8_t *value = nr_block_entry_value(&place->entry).data;
    uint32_t end = NR_MIN(place->restart + SOUGHT_INTERVALS, iter->view.restart_count);

    NR_CHECK(load(iter, place->restart, end, &first, &behind, err));
    for (const struct nr_entry *entry = first; entry < behind; entry++) {
        if (entry->value.data != value) continue;
        nr_iter_show_window(&iter->base, first, entry, behind - 1);
        goto out;
    }
    /* It is at or above the end; or the block's restarts lie. */
    if (!iter->is_cut_above) rc = damaged(iter, err);
out:
    return rc;
}

static nori_status table_seek(struct nr_iter *base, nori_slice key, uint64_t tag, struct nori_error *err)
{
    struct table_iter *iter = (struct table_iter *)base;
    nori_status rc = NORI_OK;
    struct nr_block_place place;
    size_t block;

    base->entry = NULL;
    iter->is_backward = false;
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
        NR_CHECK(stand_on(iter, &place, err));
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

static nori_status table_seek_back(struct nr_iter *base, nori_slice key, uint64_t tag, struct nori_error *err)
{
    struct table_iter *iter = (struct table_iter *)base;
    const struct nr_entry *first, *behind;
    nori_status rc = NORI_OK;
    uint32_t restart;
    size_t block;
    bool found;

    base->entry = NULL;
    iter->is_backward = true;
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
    } else {
        NR_CHECK(enter_block(iter, block, err));
        if (!nr_block_find_restart(&iter->view, key, tag, true, &restart, &found)) {
            rc = damaged(iter, err);
            goto out;
        }
        NR_CHECK(load(iter, restart + 1 > SOUGHT_INTERVALS ? restart + 1 - SOUGHT_INTERVALS : 0, restart + 1, &first,
                      &behind, err));
        const struct nr_entry *after = behind;
        while (after > first && nr_entry_compare(after[-1].key, after[-1].tag, key, tag) > 0) after--;
        if (after > first) nr_iter_show_window(base, first, after - 1, behind - 1);
    }
    if (!base->entry) NR_CHECK(go_back(iter, err));
out:
    return rc;
}

static nori_status table_seek_last(struct nr_iter *base, struct nori_error *err)
{
    struct table_iter *iter = (struct table_iter *)base;
    nori_status rc = NORI_OK;
    base->entry = NULL;
    iter->is_backward = true;
    if (iter->is_empty) goto out;
    if (iter->end.infinite) {
        NR_CHECK(enter_last_of(iter, iter->last_block, err));
    } else {
        NR_CHECK(table_seek_back(base, iter->end.key, UINT64_MAX, err));
    }
out:
    return rc;
}

static nori_status table_next(struct nr_iter *base, struct nori_error *err)
{
    NR_ASSERT(base->entry);
    return go_forward((struct table_iter *)base, err);
}

static nori_status table_prev(struct nr_iter *base, struct nori_error *err)
{
    NR_ASSERT(base->entry);
    return go_back((struct table_iter *)base, err);
}

/* ---------------------------------------------------------------- life */

static void table_iter_destroy(struct nr_iter *base)
{
    struct table_iter *iter = (struct table_iter *)base;
    iter->read->held_bytes -= iter->held_bytes;
    nr_block_unref(iter->block);
    free_keys(iter);
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
    iter = nr_alloc(sizeof(*iter));
    if (!iter) {
        nr_table_release_file(table);
        rc = nr_fail_memory(err, sizeof(*iter));
        goto out;
    }
    memset(iter, 0, offsetof(struct table_iter, window));
    iter->base.ops = &table_iter_ops;
    iter->table = nr_table_ref(table);
    iter->read = read;
    iter->start = start;
    iter->end = end;
    iter->run_bytes = read->skip_cache ? LARGEST_RUN_BYTES : SMALLEST_RUN_BYTES;
    iter->keys = iter->first_keys;
    iter->keys_capacity = FIRST_KEY_BYTES;
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

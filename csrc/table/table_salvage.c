/* What is whole of a damaged table: its undamaged blocks, and the keys that were in the others.
 *
 * The index says of each block which keys it can hold, so what is lost is known by its range. Where versions of one key
 * straddle two blocks, those behind a damaged block are older than what it held. */
#include "base/alloc.h"
#include "table/table_internal.h"

/* Blocks are read one by one; the system is told so far ahead. */
#define AHEAD_BYTES (1u << 20)

struct salvage_iter {
    struct nr_iter base;
    struct nr_table *table;               /* Refs; its file is acquired. */
    const struct nr_table_damage *damage; /* Borrowed, as are the next four. */
    nori_slice start;
    struct nr_bound end;
    struct nr_read *read;
    uint64_t *dropped;             /* NULL: nothing is passed over. */
    size_t next_block;             /* To be entered. */
    size_t gap;                    /* The last damaged block passed by. */
    bool is_behind_gap;            /* Of its last key older versions may follow. */
    struct nr_cached_block *block; /* Refs; NULL: stands nowhere. */
    struct nr_block_view view;
    const uint8_t *next;   /* Behind the current entry. */
    struct nr_entry entry; /* The current one, or one passed over. */
    struct nr_buffer key;  /* Its. */
    uint64_t told_ahead;   /* The system knows of bytes up to here. */
};

/* ---------------------------------------------------------------- keys of blocks */

static nori_status append_separator(const struct nr_index *index, size_t block, struct nr_buffer *out,
                                    struct nori_error *err)
{
    nori_status rc = NORI_OK;
    out->size = 0;
    NR_CHECK(nr_buffer_append(out, nr_slice(index->common, index->common_size), err));
    NR_CHECK(nr_buffer_append(out, nr_index_suffix(index, block), err));
out:
    return rc;
}

static bool has_tag(const struct nr_index *index, size_t block)
{
    return index->tags && index->tags[block] != 0;
}

uint64_t nr_table_block_offset(const struct nr_table *table, size_t block)
{
    return nr_index_block_offset(&table->sections.index, block);
}

nori_status nr_table_block_span(const struct nr_table *table, size_t first, size_t last, struct nr_buffer *start,
                                struct nr_buffer *end, struct nori_error *err)
{
    const struct nr_index *index = &table->sections.index;
    const struct nr_table_properties *properties = &table->sections.properties;
    nori_status rc = NORI_OK;

    if (first == 0) {
        NR_CHECK(nr_buffer_assign(start, properties->smallest, err));
    } else {
        NR_CHECK(append_separator(index, first - 1, start, err));
        /* A separator with a tag is an entry, of which older versions may follow. */
        if (!has_tag(index, first - 1)) NR_CHECK(nr_buffer_append(start, nr_slice("", 1), err));
    }
    NR_CHECK(append_separator(index, last, end, err));
    NR_CHECK(nr_buffer_append(end, nr_slice("", 1), err));
    if (last + 1 == index->block_count && !properties->end.infinite &&
        nr_slice_compare(properties->end.key, nr_buffer_slice(end)) < 0)
        NR_CHECK(nr_buffer_assign(end, properties->end.key, err));
out:
    return rc;
}

/* ---------------------------------------------------------------- iterating */

static void leave_block(struct salvage_iter *iter)
{
    nr_block_unref(iter->block);
    iter->block = NULL;
    iter->base.entry = NULL;
}

static nori_status damaged(struct salvage_iter *iter, struct nori_error *err)
{
    leave_block(iter);
    return nr_table_fail_block(iter->table, iter->next_block - 1, "its entries make no sense", err);
}

static void read_ahead(struct salvage_iter *iter, size_t block)
{
    const struct nr_index *index = &iter->table->sections.index;
    uint64_t offset = nr_index_block_offset(index, block);
    if (offset + AHEAD_BYTES / 2 < iter->told_ahead) return;
    nr_file_readahead(iter->table->file, offset, AHEAD_BYTES);
    iter->told_ahead = offset + AHEAD_BYTES;
}

/* Stands before the first entry of the next whole block; iter->block is NULL if there is none. */
static nori_status enter_next(struct salvage_iter *iter, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    size_t count = iter->damage->block_count, block = iter->next_block;

    leave_block(iter);
    for (; block < count && nr_table_damage_has(iter->damage, block); block++) {
        iter->gap = block;
        iter->is_behind_gap = has_tag(&iter->table->sections.index, block);
    }
    if (block < count) {
        read_ahead(iter, block);
        NR_CHECK(nr_table_block_read(iter->table, block, iter->read, &iter->block, err));
    }
    iter->next_block = NR_MIN(block + 1, count);
    if (!iter->block) goto out;
    if (!nr_block_view_summarized(&iter->view, iter->block->data, iter->block->size)) {
        rc = damaged(iter, err);
        goto out;
    }
    iter->next = iter->view.data;
    iter->key.size = 0;
out:
    return rc;
}

/* The entry at iter->next, whether it is to be shown or not. */
static nori_status decode(struct salvage_iter *iter, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_block_entry entry;
    const uint8_t *next = nr_block_entry_decode(iter->next, iter->view.limit, &entry);

    if (!next || !nr_block_entry_is_known(entry.tag, entry.value_size) || entry.shared > iter->key.size ||
        entry.unshared > NORI_MAX_KEY_BYTES - entry.shared) {
        rc = damaged(iter, err);
        goto out;
    }
    iter->key.size = entry.shared;
    NR_CHECK(nr_buffer_append(&iter->key, nr_slice(entry.suffix, entry.unshared), err));
    iter->next = next;
    iter->entry = (struct nr_entry){nr_buffer_slice(&iter->key), entry.tag, nr_block_entry_value(&entry)};
out:
    return rc;
}

/* Whether a damaged block before this one may have held a newer version. */
static bool is_older_than_lost(struct salvage_iter *iter)
{
    const struct nr_index *index = &iter->table->sections.index;
    if (!iter->is_behind_gap) return false;
    /* Of the separator's key: below it there is nothing here. */
    iter->is_behind_gap = nr_index_compare(index, iter->gap, iter->entry.key, UINT64_MAX) >= 0;
    return iter->is_behind_gap;
}

static nori_status salvage_next(struct nr_iter *base, struct nori_error *err)
{
    struct salvage_iter *iter = (struct salvage_iter *)base;
    nori_status rc = NORI_OK;

    base->entry = NULL;
    for (;;) {
        if (!iter->block || iter->next == iter->view.limit) {
            NR_CHECK(enter_next(iter, err));
            if (!iter->block) goto out;
            if (iter->next == iter->view.limit) continue;
        }
        NR_CHECK(decode(iter, err));
        if (!nr_bound_above(iter->end, iter->entry.key)) {
            leave_block(iter);
            iter->next_block = iter->damage->block_count;
            goto out;
        }
        if (nr_slice_compare(iter->entry.key, iter->start) < 0) continue;
        if (!iter->dropped || !is_older_than_lost(iter)) break;
        ++*iter->dropped;
    }
    nr_iter_show_one(base, &iter->entry);
out:
    return rc;
}

static nori_status salvage_seek_first(struct nr_iter *base, struct nori_error *err)
{
    struct salvage_iter *iter = (struct salvage_iter *)base;
    leave_block(iter);
    iter->next_block = nr_index_find(&iter->table->sections.index, iter->start, UINT64_MAX);
    iter->is_behind_gap = false;
    return salvage_next(base, err);
}

static void salvage_destroy(struct nr_iter *base)
{
    struct salvage_iter *iter = (struct salvage_iter *)base;
    leave_block(iter);
    nr_table_release_file(iter->table);
    nr_table_unref(iter->table);
    nr_buffer_clear(&iter->key);
    nr_free(iter);
}

static const struct nr_iter_ops salvage_ops = {
    .seek_first = salvage_seek_first,
    .next = salvage_next,
    .destroy = salvage_destroy,
};

nori_status nr_table_salvage_iter_create(struct nr_table *table, const struct nr_table_damage *damage, nori_slice start,
                                         struct nr_bound end, struct nr_read *read, uint64_t *dropped,
                                         struct nr_iter **iter_out, struct nori_error *err)
{
    *iter_out = NULL;
    struct salvage_iter *iter = nr_calloc(1, sizeof(*iter));
    if (!iter) return nr_fail_memory(err, sizeof(*iter));
    nori_status rc = nr_table_acquire_file(table, err);
    if (rc != NORI_OK) {
        nr_free(iter);
        return rc;
    }
    iter->base.ops = &salvage_ops;
    iter->table = nr_table_ref(table);
    iter->damage = damage;
    iter->start = start;
    iter->end = end;
    iter->read = read;
    iter->dropped = dropped;
    *iter_out = &iter->base;
    return NORI_OK;
}

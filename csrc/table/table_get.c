/* A point lookup in one table, step by step. */
#include "table/table_internal.h"

void nr_probe_begin(struct nr_probe *probe, struct nr_table *table, const struct nr_lookup *lookup)
{
    probe->table = table;
    nr_sections_prefetch_filter(&table->sections, lookup->hash);
}

/* The block; false: the table's bounds rule the key out. */
static bool find_in_index(struct nr_probe *probe, const struct nr_lookup *lookup)
{
    const struct nr_sections *sections = &probe->table->sections;
    probe->block = nr_index_find(&sections->index, lookup->key, nr_tag_seek(lookup->sequence));
    return probe->block < sections->index.block_count &&
           (probe->block > 0 || nr_slice_compare(lookup->key, sections->properties.smallest) >= 0);
}

bool nr_probe_seek(struct nr_probe *probe, struct nr_lookup *lookup, struct nr_read *read)
{
    const struct nr_sections *sections = &probe->table->sections;
    bool is_covered = true;

    if (NR_UNLIKELY(sections->tombstones)) {
        uint64_t covering = nr_tombstones_covering(sections->tombstones, lookup->key, lookup->sequence);
        lookup->tombstone_sequence = NR_MAX(lookup->tombstone_sequence, covering);
    }
    if (read->index_first) is_covered = find_in_index(probe, lookup);
    if (!nr_sections_may_hold(sections, lookup->hash)) {
        read->filter_negatives++;
        return false;
    }
    if (!read->index_first) is_covered = find_in_index(probe, lookup);
    if (!is_covered) read->filter_false_positives += nr_sections_have_filter(sections);
    return is_covered;
}

void nr_probe_fetch(struct nr_probe *probe)
{
    struct nr_block_shortcut *shortcut = probe->table->shortcut;
    probe->cached = shortcut ? nr_block_shortcut_follow(shortcut, probe->block) : NULL;
    nr_block_prefetch(probe->cached);
}

/* From the file. Who has to tell before it waits tries first without: what others wait for, Python's lock, say, changes
 * hands at each read else, though the system has most of what is read in its memory. */
static nori_status read_block(struct nr_probe *probe, struct nr_read *read, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_table *table = probe->table;
    bool is_read = false;

    if (read->no_wait && read->waiting && nr_table_acquire_file(table, NULL) == NORI_OK) {
        is_read = nr_table_block_read_now(table, probe->block, read, &probe->cached);
        nr_table_release_file(table);
    }
    if (is_read) return NORI_OK;
    if (!nr_read_may_wait(read)) return NR_FAIL(err, NORI_AGAIN, "the block is not in the cache");
    NR_CHECK(nr_table_acquire_file(table, err));
    rc = nr_table_block_read(table, probe->block, read, &probe->cached, err);
    nr_table_release_file(table);
out:
    return rc;
}

/* Without a shortcut: the block, from the cache or the file; then read->pinned has it. */
static nori_status find_block(struct nr_probe *probe, struct nr_read *read, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_table *table = probe->table;

    if (table->blocks) probe->cached = nr_table_block_find(table, probe->block, read);
    if (probe->cached) {
        read->cache_hits++;
        return NORI_OK;
    }
    NR_CHECK(read_block(probe, read, err));
    read->cache_misses++;
    if (table->blocks && !read->skip_cache)
        nr_block_cache_offer(table->blocks, probe->cached, read->is_scan, table->shortcut, probe->block);
    nr_block_unref(read->pinned);
    read->pinned = probe->cached;
out:
    return rc;
}

nori_status nr_probe_open(struct nr_probe *probe, const struct nr_lookup *lookup, struct nr_read *read,
                          struct nori_error *err)
{
    uint32_t restart;
    if (NR_LIKELY(probe->cached)) {
        read->cache_hits++;
        if (!read->is_scan && !read->skip_cache) nr_block_heat(probe->cached);
    } else {
        nori_status rc = find_block(probe, read, err);
        if (rc != NORI_OK) return rc;
    }
    bool is_block = nr_block_view_summarized(&probe->view, probe->cached->data, probe->cached->size);
    probe->view.keys_differ = probe->table->keys_differ;
    probe->at = is_block ? nr_block_seek(&probe->view, lookup->key, nr_tag_seek(lookup->sequence), &restart) : NULL;
    return NORI_OK;
}

nori_status nr_probe_take(struct nr_probe *probe, struct nr_lookup *lookup, struct nr_read *read,
                          struct nori_error *err)
{
    const struct nr_table *table = probe->table;
    struct nr_block_place place;
    enum nr_block_verdict verdict = NR_BLOCK_DAMAGED;

    if (NR_LIKELY(probe->at))
        verdict = nr_block_search_from(&probe->view, probe->at, lookup->key, nr_tag_seek(lookup->sequence), &place);
    if (NR_UNLIKELY(verdict == NR_BLOCK_GREATER && place.at == probe->at && probe->view.keys_differ)) {
        probe->view.keys_differ = false;
        verdict = nr_block_search(&probe->view, lookup->key, nr_tag_seek(lookup->sequence), &place);
    }
    if (NR_LIKELY(verdict == NR_BLOCK_SAME_KEY)) {
        if (NR_UNLIKELY(!nr_block_entry_is_known(place.entry.tag, place.entry.value_size)))
            return nr_table_fail_block(table, probe->block, "an entry is of no known type", err);
        lookup->found = true;
        lookup->tag = place.entry.tag;
        lookup->value = nr_block_entry_value(&place.entry);
    } else if (verdict == NR_BLOCK_DAMAGED) {
        return nr_table_fail_block(table, probe->block, "its entries make no sense", err);
    } else {
        read->filter_false_positives += nr_sections_have_filter(&table->sections) && !place.key_was_seen;
    }
    return NORI_OK;
}

nori_status nr_table_get(struct nr_table *table, struct nr_lookup *lookup, struct nr_read *read, struct nori_error *err)
{
    struct nr_probe probe;
    nr_probe_begin(&probe, table, lookup);
    if (!nr_probe_seek(&probe, lookup, read)) return NORI_OK;
    nr_probe_fetch(&probe);
    nori_status rc = nr_probe_open(&probe, lookup, read, err);
    return rc == NORI_OK ? nr_probe_take(&probe, lookup, read, err) : rc;
}

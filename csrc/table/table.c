#include "table/table_internal.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/compression.h"

/* Stored blocks up to this are read onto the stack. */
#define STACK_BYTES 16384
#define FILE_GIVEN_BACK (1u << 31)
/* Keys that cut a table are as good when they are cut themselves. */
#define SAMPLE_KEY_BYTES 1024

void nr_read_clear(struct nr_read *read)
{
    nr_block_unref(read->pinned);
    read->pinned = NULL;
}

bool nr_read_may_wait(struct nr_read *read)
{
    if (NR_LIKELY(!read->no_wait)) return true;
    if (!read->waiting) return false;
    read->waiting(read->waiting_arg);
    read->no_wait = false;
    nr_try_only(false);
    return true;
}

/* ---------------------------------------------------------------- life */

static void release_link(struct nr_epoch_link *link)
{
    nr_table_unref(nr_table_of_link(link));
}

nori_status nr_table_open(const struct nr_table_params *params, struct nr_table **table_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_table *table = nr_calloc(1, sizeof(*table));
    char name[NR_FILE_NAME_BYTES];

    *table_out = NULL;
    if (!table) return nr_fail_memory(err, sizeof(*table));
    atomic_init(&table->refs, 1);
    atomic_init(&table->file_users, 0);
    table->link.release = release_link;
    table->blocks = params->blocks;
    table->epoch = params->epoch;
    table->database_id = params->database_id;
    table->number = params->number;
    nr_buffer_init(&table->sections.properties_bytes);
    nr_name_table(name, params->number);
    NR_CHECK(nr_file_open(params->dir, name, NR_OPEN_READ, &table->file, err));
    table->path = nr_strdup(table->file->path);
    if (!table->path) {
        rc = nr_fail_memory(err, strlen(table->file->path));
        goto out;
    }
    NR_CHECK(nr_sections_load(&table->sections, table->file, table->database_id, table->number,
                              params->largest_sequence, params->salvage, err));
    table->keys_differ = nr_properties_keys_differ(&table->sections.properties);
    if (params->salvage) nr_table_drop_filter(table);
    if (params->blocks && !params->salvage) {
        table->shortcut = nr_block_shortcut_create(table->sections.index.block_count);
        if (!table->shortcut) {
            rc = nr_fail_memory(err, table->sections.index.block_count * sizeof(table->shortcut->blocks[0]));
            goto out;
        }
        table->sections.index.beside = table->shortcut->blocks;
    }
    *table_out = table;
    table = NULL;
out:
    nr_table_unref(table);
    return rc;
}

struct nr_table *nr_table_ref(struct nr_table *table)
{
    atomic_fetch_add_explicit(&table->refs, 1, memory_order_relaxed);
    return table;
}

void nr_table_unref(struct nr_table *table)
{
    if (!table || atomic_fetch_sub_explicit(&table->refs, 1, memory_order_acq_rel) != 1) return;
    nr_file_close(table->file);
    nr_sections_clear(&table->sections);
    nr_block_shortcut_unref(table->shortcut);
    nr_free(table->path);
    nr_free(table);
}

struct nr_epoch_link *nr_table_link(struct nr_table *table)
{
    return &table->link;
}

nori_status nr_table_acquire_file(struct nr_table *table, struct nori_error *err)
{
    uint32_t users = atomic_fetch_add_explicit(&table->file_users, 1, memory_order_acquire);
    if (NR_LIKELY(!(users & FILE_GIVEN_BACK))) return NORI_OK;
    atomic_fetch_sub_explicit(&table->file_users, 1, memory_order_relaxed);
    return nr_fail_io(err, "read", table->path, EMFILE);
}

void nr_table_release_file(struct nr_table *table)
{
    atomic_fetch_sub_explicit(&table->file_users, 1, memory_order_release);
}

bool nr_table_give_back_file(struct nr_table *table)
{
    uint32_t none = 0;
    if (!atomic_compare_exchange_strong_explicit(&table->file_users, &none, FILE_GIVEN_BACK, memory_order_acq_rel,
                                                 memory_order_relaxed))
        return false;
    nr_file_close(table->file);
    table->file = NULL;
    return true;
}

const struct nr_table_properties *nr_table_properties(const struct nr_table *table)
{
    return &table->sections.properties;
}

struct nr_tombstones *nr_table_tombstones(const struct nr_table *table)
{
    return table->sections.tombstones;
}

uint64_t nr_table_file_bytes(const struct nr_table *table)
{
    return table->sections.file_bytes;
}

size_t nr_table_index_bytes(const struct nr_table *table)
{
    const struct nr_sections *sections = &table->sections;
    const struct nr_block_shortcut *shortcut = table->shortcut;
    return sizeof(*table) + sections->index.bytes + sections->properties_bytes.capacity +
           (sections->tombstones ? sections->tombstones->bytes : 0) +
           (shortcut ? sizeof(*shortcut) + shortcut->block_count * sizeof(shortcut->blocks[0]) : 0);
}

size_t nr_table_filter_bytes(const struct nr_table *table)
{
    const struct nr_sections *sections = &table->sections;
    return (size_t)sections->filter.line_count * NR_FILTER_LINE_BYTES + nr_ribbon_bytes(&sections->ribbon);
}

void nr_table_drop_filter(struct nr_table *table)
{
    nr_filter_clear(&table->sections.filter);
    nr_ribbon_clear(&table->sections.ribbon);
}

bool nr_table_may_hold(const struct nr_table *table, uint64_t hash)
{
    return nr_sections_may_hold(&table->sections, hash);
}

/* ---------------------------------------------------------------- blocks */

nori_status nr_table_fail_block(const struct nr_table *table, size_t block, const char *problem, struct nori_error *err)
{
    uint64_t offset = nr_index_block_offset(&table->sections.index, block);
    return nr_fail_corrupt(err, table->path, (int64_t)offset, "block", "%s: the block at %" PRIu64 " is damaged: %s",
                           table->path, offset, problem);
}

/* What all keys between the neighbouring separators begin with; so does every key sought in this block, for iterators
 * begin no lower than the table, and gets go no lower. */
static uint32_t count_skipped(const struct nr_table *table, size_t block)
{
    const struct nr_index *index = &table->sections.index;
    nori_slice low, high = nr_index_suffix(index, block);
    if (block == 0) {
        low = table->sections.properties.smallest;
        if (low.size < index->common_size || memcmp(low.data, index->common, index->common_size) != 0) return 0;
        low = nr_slice(low.data + index->common_size, low.size - index->common_size);
    } else {
        low = nr_index_suffix(index, block - 1);
    }
    return (uint32_t)(index->common_size + nr_common_prefix(low.data, high.data, NR_MIN(low.size, high.size)));
}

struct nr_cached_block *nr_table_block_find(const struct nr_table *table, size_t block, const struct nr_read *read)
{
    uint64_t offset = nr_index_block_offset(&table->sections.index, block);
    bool is_passing = read->is_scan || read->skip_cache;
    struct nr_cached_block *found = nr_block_cache_find(table->blocks, table->number, offset, is_passing);
    if (found && !read->skip_cache) nr_block_cache_shorten(table->blocks, found, table->shortcut, block);
    return found;
}

/* A block with a summary of 'restart_count' restarts, for 'size' bytes behind it; in memory of 'cache', NULL: not. */
static struct nr_cached_block *allocate_block(const struct nr_table *table, struct nr_block_cache *cache, size_t block,
                                              uint32_t restart_count, size_t size)
{
    size_t summary_bytes = nr_block_summary_bytes(restart_count);
    struct nr_cached_block *result = nr_block_create(
        cache, table->number, nr_index_block_offset(&table->sections.index, block), summary_bytes + size);
    if (result) memset(result->data, 0, sizeof(struct nr_block_summary));
    return result;
}

/* The entries behind a summary of 'summary_bytes' get the table's sequence, if it has one for all. */
static nori_status stamp(const struct nr_table *table, size_t block, struct nr_cached_block *cached,
                         size_t summary_bytes, struct nori_error *err)
{
    if (NR_LIKELY(table->sections.stamp == 0)) return NORI_OK;
    if (nr_block_stamp(cached->data + summary_bytes, cached->size - summary_bytes, table->sections.stamp))
        return NORI_OK;
    return nr_table_fail_block(table, block, "its entries make no sense", err);
}

/* Copies a block of bytes behind a summary of them. */
static nori_status summarize(const struct nr_table *table, size_t block, nori_slice bytes,
                             struct nr_cached_block **block_out, struct nori_error *err)
{
    struct nr_block_view view;
    struct nr_cached_block *result;

    if (!nr_block_view_init(&view, bytes.data, bytes.size))
        return nr_table_fail_block(table, block, "its restarts make no sense", err);
    result = allocate_block(table, table->blocks, block, view.restart_count, bytes.size);
    if (!result) return nr_fail_memory(err, bytes.size);
    if (!nr_block_summary_make(&view, count_skipped(table, block), result->data)) {
        nr_block_unref(result);
        return nr_table_fail_block(table, block, "its restarts make no sense", err);
    }
    memcpy(result->data + nr_block_summary_bytes(view.restart_count), bytes.data, bytes.size);
    nori_status rc = stamp(table, block, result, nr_block_summary_bytes(view.restart_count), err);
    if (rc == NORI_OK)
        *block_out = result;
    else
        nr_block_unref(result);
    return rc;
}

static nori_status decompress(const struct nr_table *table, size_t block, int compression, nori_slice payload,
                              uint8_t *out, size_t size, struct nori_error *err)
{
    if (!nr_decompress(compression, payload, out, size))
        return nr_table_fail_block(table, block, "it cannot be decompressed", err);
    return NORI_OK;
}

nori_status nr_table_block_create(const struct nr_table *table, size_t block, nori_slice stored, bool is_passing,
                                  struct nr_cached_block **block_out, struct nori_error *err)
{
    uint64_t offset = nr_index_block_offset(&table->sections.index, block);
    uint64_t seed = nr_checksum_seed(table->database_id, table->number, offset);
    nori_slice payload = nr_slice(stored.data, stored.size - NR_TRAILER_BYTES);
    nori_status rc = NORI_OK;
    int compression = NORI_COMPRESSION_NONE;
    uint32_t size = 0;
    struct nr_cached_block *result = NULL;
    const char *problem = nr_trailer_check(stored, seed, &compression, &size);
    uint8_t unpacked[NR_BLOCK_SUMMARIZED_BYTES];

    *block_out = NULL;
    if (problem) return nr_table_fail_block(table, block, problem, err);
    if (!is_passing && size <= NR_BLOCK_SUMMARIZED_BYTES) {
        if (compression != NORI_COMPRESSION_NONE) {
            NR_CHECK(decompress(table, block, compression, payload, unpacked, size, err));
            payload = nr_slice(unpacked, size);
        }
        NR_CHECK(summarize(table, block, payload, block_out, err));
        goto out;
    }
    result = allocate_block(table, is_passing ? NULL : table->blocks, block, 0, size);
    if (!result) {
        rc = nr_fail_memory(err, size);
        goto out;
    }
    NR_CHECK(decompress(table, block, compression, payload, result->data + nr_block_summary_bytes(0), size, err));
    NR_CHECK(stamp(table, block, result, nr_block_summary_bytes(0), err));
    *block_out = result;
    result = NULL;
out:
    nr_block_unref(result);
    return rc;
}

/* Reads large stored bytes to where they stay if they are raw. */
static nori_status read_large(const struct nr_table *table, size_t block, struct nr_read *read,
                              struct nr_cached_block **block_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    uint64_t offset = nr_index_block_offset(&table->sections.index, block);
    size_t size = nr_index_block_bytes(&table->sections.index, block);
    struct nr_cached_block *whole = allocate_block(table, NULL, block, 0, size);
    uint8_t *bytes;
    int compression = NORI_COMPRESSION_NONE;
    uint32_t raw_size = 0;

    if (!whole) return nr_fail_memory(err, size);
    bytes = whole->data + nr_block_summary_bytes(0);
    NR_CHECK(nr_sections_read(table->file, offset, bytes, size, err));
    if (bytes[size - NR_TRAILER_BYTES + NR_TRAILER_COMPRESSION_AT] == NORI_COMPRESSION_NONE) {
        uint64_t seed = nr_checksum_seed(table->database_id, table->number, offset);
        const char *problem = nr_trailer_check(nr_slice(bytes, size), seed, &compression, &raw_size);
        if (problem) {
            rc = nr_table_fail_block(table, block, problem, err);
            goto out;
        }
        whole->size = nr_block_summary_bytes(0) + raw_size;
        NR_CHECK(stamp(table, block, whole, nr_block_summary_bytes(0), err));
        *block_out = whole;
        whole = NULL;
    } else {
        NR_CHECK(nr_table_block_create(table, block, nr_slice(bytes, size), read->skip_cache, block_out, err));
    }
out:
    nr_block_unref(whole);
    return rc;
}

static nori_status read_small(const struct nr_table *table, size_t block, struct nr_read *read,
                              struct nr_cached_block **block_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    uint8_t stored[STACK_BYTES];
    size_t size = nr_index_block_bytes(&table->sections.index, block);
    NR_CHECK(nr_sections_read(table->file, nr_index_block_offset(&table->sections.index, block), stored, size, err));
    NR_CHECK(nr_table_block_create(table, block, nr_slice(stored, size), read->skip_cache, block_out, err));
out:
    return rc;
}

bool nr_table_block_read_now(const struct nr_table *table, size_t block, struct nr_read *read,
                             struct nr_cached_block **block_out)
{
    uint8_t stored[STACK_BYTES];
    size_t size = nr_index_block_bytes(&table->sections.index, block);
    uint64_t offset = nr_index_block_offset(&table->sections.index, block);
    *block_out = NULL;
    if (size > STACK_BYTES || !nr_file_read_now(table->file, offset, stored, size)) return false;
    nr_try_only(false);
    if (nr_table_block_create(table, block, nr_slice(stored, size), read->skip_cache, block_out, NULL) != NORI_OK)
        return false;
    read->blocks_read++;
    read->bytes_read += size;
    return true;
}

nori_status nr_table_block_read(const struct nr_table *table, size_t block, struct nr_read *read,
                                struct nr_cached_block **block_out, struct nori_error *err)
{
    size_t size = nr_index_block_bytes(&table->sections.index, block);
    *block_out = NULL;
    read->blocks_read++;
    read->bytes_read += size;
    return size <= STACK_BYTES ? read_small(table, block, read, block_out, err)
                               : read_large(table, block, read, block_out, err);
}

/* ---------------------------------------------------------------- measures */

void nr_table_measure(const struct nr_table *table, nori_slice start, struct nr_bound end, uint64_t *bytes_out,
                      uint64_t *entries_out)
{
    const struct nr_sections *sections = &table->sections;
    const struct nr_table_properties *properties = &sections->properties;
    uint64_t low = 0, high = sections->data_end;
    bool has_all, has_none;

    *bytes_out = 0;
    *entries_out = 0;
    has_none = !nr_bound_above(end, start) || !nr_bound_above(end, properties->smallest) ||
               !nr_bound_above(properties->end, start);
    if (has_none) return;
    has_all = nr_slice_compare(start, properties->smallest) <= 0 && nr_bound_compare(end, properties->end) >= 0;
    if (!has_all && sections->data_end > 0) {
        if (nr_slice_compare(start, properties->smallest) > 0) low = nr_index_position(&sections->index, start);
        if (!end.infinite) high = nr_index_position(&sections->index, end.key);
    }
    if (sections->data_end == 0) {
        *bytes_out = sections->file_bytes;
    } else if (high > low) {
        double part = (double)(high - low) / (double)sections->data_end;
        *bytes_out = (uint64_t)(part * (double)sections->file_bytes);
        *entries_out = (uint64_t)(part * (double)properties->entry_count + 0.5);
    }
}

void nr_table_sample(const struct nr_table *table, size_t count, void (*fn)(void *arg, nori_slice key, uint64_t bytes),
                     void *arg)
{
    const struct nr_index *index = &table->sections.index;
    uint64_t part = count > 0 ? table->sections.data_end / count : 0;
    uint8_t key[SAMPLE_KEY_BYTES];
    size_t common = NR_MIN(index->common_size, sizeof(key));
    size_t block = 0;

    if (index->block_count == 0) return;
    if (common > 0) memcpy(key, index->common, common);
    for (size_t i = 1; i < count; i++) {
        nori_slice suffix;
        size_t size;
        while (block + 1 < index->block_count && index->blocks[block + 1].offset < i * part) block++;
        suffix = nr_index_suffix(index, block);
        size = NR_MIN(suffix.size, sizeof(key) - common);
        if (size > 0) memcpy(key + common, suffix.data, size);
        fn(arg, nr_slice(key, common + size), part);
    }
}

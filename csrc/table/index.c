#include "table/index.h"

#include "base/alloc.h"
#include "base/coding.h"

/* ---------------------------------------------------------------- writing */

void nr_index_writer_init(struct nr_index_writer *writer)
{
    nr_buffer_init(&writer->entries);
    nr_buffer_init(&writer->last);
    writer->shared = 0;
    writer->block_count = 0;
    writer->key_bytes = 0;
}

void nr_index_writer_clear(struct nr_index_writer *writer)
{
    nr_buffer_clear(&writer->entries);
    nr_buffer_clear(&writer->last);
}

static size_t common_size_of(nori_slice a, nori_slice b)
{
    size_t limit = NR_MIN(a.size, b.size), i = 0;
    while (i < limit && a.data[i] == b.data[i]) i++;
    return i;
}

/* The shortest key in [last, next) that is easily had: 'size_out' bytes of last or of next, the final one raised by
 * 'raise_out'. */
static nori_slice shorten(nori_slice last, nori_slice next, unsigned *raise_out)
{
    size_t common = common_size_of(last, next);

    *raise_out = 0;
    if (next.size > common + 1) return nr_slice(next.data, common + 1);
    for (size_t i = common; i + 1 < last.size; i++) {
        /* At the first difference the byte may rise only if it stays below next's. */
        unsigned limit = i == common ? next.data[i] : 256u;
        if (last.data[i] + 1u < limit) {
            *raise_out = 1;
            return nr_slice(last.data, i + 1);
        }
    }
    return last;
}

nori_status nr_index_writer_add(struct nr_index_writer *writer, uint64_t stored_bytes, nori_slice last,
                                uint64_t last_tag, const nori_slice *next, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_buffer *entries = &writer->entries;
    nori_slice separator = last;
    bool has_tag = next && nr_slice_equal(last, *next);
    unsigned raise = 0;
    size_t shared;

    if (next && !has_tag) separator = shorten(last, *next, &raise);
    shared = common_size_of(nr_buffer_slice(&writer->last), separator);
    if (raise && shared == separator.size) shared--;
    NR_CHECK(nr_buffer_append_varint(entries, stored_bytes, err));
    NR_CHECK(nr_buffer_append_varint(entries, shared * 2 + has_tag, err));
    NR_CHECK(nr_buffer_append_varint(entries, separator.size - shared, err));
    NR_CHECK(nr_buffer_append(entries, nr_slice(separator.data + shared, separator.size - shared), err));
    if (raise) entries->data[entries->size - 1]++;
    if (has_tag) NR_CHECK(nr_buffer_append_fixed64(entries, last_tag, err));
    NR_CHECK(nr_buffer_assign(&writer->last, separator, err));
    if (raise) writer->last.data[writer->last.size - 1]++;
    writer->shared = shared;
    writer->block_count++;
    writer->key_bytes += separator.size;
out:
    return rc;
}

nori_status nr_index_writer_finish(const struct nr_index_writer *writer, struct nr_buffer *out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    NR_CHECK(nr_buffer_append_varint(out, writer->block_count, err));
    NR_CHECK(nr_buffer_append(out, nr_buffer_slice(&writer->entries), err));
out:
    return rc;
}

/* ---------------------------------------------------------------- reading */

struct index_entry {
    uint64_t stored_bytes;
    size_t shared;
    nori_slice unshared;
    bool has_tag;
    uint64_t tag;
};

static bool take_entry(nori_slice *input, struct index_entry *entry)
{
    uint64_t shared_and_flag;
    entry->tag = 0;
    if (!nr_take_varint(input, &entry->stored_bytes) || !nr_take_varint(input, &shared_and_flag) ||
        !nr_take_sized(input, &entry->unshared))
        return false;
    entry->has_tag = shared_and_flag & 1;
    if (shared_and_flag / 2 > NORI_MAX_KEY_BYTES) return false;
    entry->shared = (size_t)(shared_and_flag / 2);
    if (entry->unshared.size > NORI_MAX_KEY_BYTES - entry->shared) return false;
    if (entry->stored_bytes <= NR_MIN_STORED_BYTES) return false;
    return !entry->has_tag || nr_take_fixed64(input, &entry->tag);
}

/* What the first pass finds out. */
struct index_shape {
    size_t block_count;
    size_t common_size; /* What all separators begin with. */
    size_t key_bytes;   /* Of all separators, whole. */
    bool has_tags;
};

static bool measure(nori_slice input, uint64_t data_end, struct index_shape *shape)
{
    uint64_t block_count, left = data_end;
    size_t previous_size = 0;

    *shape = (struct index_shape){0};
    /* The count is bounded by the file before anything is allocated. */
    if (!nr_take_varint(&input, &block_count) || block_count > data_end / NR_MIN_STORED_BYTES) return false;
    shape->block_count = (size_t)block_count;
    for (size_t i = 0; i < shape->block_count; i++) {
        struct index_entry entry;
        size_t size;
        if (!take_entry(&input, &entry) || entry.shared > previous_size || entry.stored_bytes > left) return false;
        left -= entry.stored_bytes;
        size = entry.shared + entry.unshared.size;
        shape->common_size = i == 0 ? size : NR_MIN(shape->common_size, entry.shared);
        shape->key_bytes += size;
        shape->has_tags |= entry.has_tag;
        previous_size = size;
    }
    return input.size == 0 && left == 0;
}

static nori_status allocate(struct nr_index *index, const struct index_shape *shape, size_t key_bytes,
                            struct nori_error *err)
{
    size_t count = shape->block_count, lines = count, total_lines = 0;

    index->block_count = count;
    index->common_size = shape->common_size;
    do {
        lines = (lines + NR_INDEX_FANOUT - 1) / NR_INDEX_FANOUT;
        index->level_at[index->level_count] = total_lines * NR_INDEX_FANOUT;
        index->level_lines[index->level_count++] = lines;
        total_lines += lines;
    } while (lines > 1);
    index->blocks = nr_calloc(count + 1, sizeof(*index->blocks));
    index->keys = nr_alloc(NR_MAX(key_bytes, (size_t)1));
    index->common = nr_alloc(NR_MAX(index->common_size, (size_t)1));
    index->prefixes = nr_alloc_aligned(64, NR_MAX(total_lines, (size_t)1) * 64);
    if (shape->has_tags) index->tags = nr_calloc(count, sizeof(*index->tags));
    index->bytes = (count + 1) * sizeof(*index->blocks) + key_bytes + index->common_size + total_lines * 64 +
                   (shape->has_tags ? count * sizeof(*index->tags) : 0);
    if (!index->blocks || !index->keys || !index->common || !index->prefixes || (shape->has_tags && !index->tags))
        return nr_fail_memory(err, index->bytes);
    memset(index->prefixes, 0xff, total_lines * 64);
    return NORI_OK;
}

/* The second pass. False if the separators do not rise. */
static bool fill(struct nr_index *index, nori_slice input)
{
    uint64_t offset = 0, ignored;
    uint32_t at = 0;

    if (!nr_take_varint(&input, &ignored)) return false;
    for (size_t i = 0; i < index->block_count; i++) {
        struct index_entry entry;
        nori_slice suffix, previous = nr_slice(NULL, 0);
        size_t common = index->common_size;
        if (!take_entry(&input, &entry)) return false;
        index->blocks[i] = (struct nr_index_block){offset, at};
        offset += entry.stored_bytes;
        if (i == 0) {
            memcpy(index->common, entry.unshared.data, common);
            suffix = nr_slice(index->keys, entry.unshared.size - common);
            memcpy(index->keys, entry.unshared.data + common, suffix.size);
        } else {
            uint32_t previous_at = index->blocks[i - 1].key_at;
            size_t shared = entry.shared - common;
            previous = nr_slice(index->keys + previous_at, at - previous_at);
            suffix = nr_slice(index->keys + at, shared + entry.unshared.size);
            memcpy(index->keys + at, previous.data, shared);
            memcpy(index->keys + at + shared, entry.unshared.data, entry.unshared.size);
        }
        at += (uint32_t)suffix.size;
        if (index->tags) index->tags[i] = entry.tag;
        if (i > 0 && nr_entry_compare(previous, index->tags ? index->tags[i - 1] : 0, suffix, entry.tag) >= 0)
            return false;
        index->prefixes[i] = nr_slice_prefix(suffix);
    }
    index->blocks[index->block_count] = (struct nr_index_block){offset, at};
    return true;
}

static void build_levels(struct nr_index *index)
{
    for (unsigned level = 1; level < index->level_count; level++) {
        const uint64_t *below = index->prefixes + index->level_at[level - 1];
        uint64_t *here = index->prefixes + index->level_at[level];
        for (size_t i = 0; i < index->level_lines[level - 1]; i++)
            here[i] = below[i * NR_INDEX_FANOUT + NR_INDEX_FANOUT - 1];
    }
}

nori_status nr_index_init(struct nr_index *index, nori_slice section, uint64_t data_end, bool *valid_out,
                          struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct index_shape shape;
    size_t key_bytes;

    memset(index, 0, sizeof(*index));
    *valid_out = false;
    if (!measure(section, data_end, &shape)) goto out;
    key_bytes = shape.key_bytes - shape.common_size * shape.block_count;
    if (key_bytes > UINT32_MAX || key_bytes > data_end + NR_INDEX_ALLOWANCE_BYTES) goto out;
    NR_CHECK(allocate(index, &shape, key_bytes, err));
    if (!fill(index, section)) goto out;
    build_levels(index);
    *valid_out = true;
out:
    if (rc != NORI_OK || !*valid_out) nr_index_clear(index);
    return rc;
}

void nr_index_clear(struct nr_index *index)
{
    nr_free(index->blocks);
    nr_free(index->keys);
    nr_free(index->tags);
    nr_free(index->common);
    nr_free(index->prefixes);
    memset(index, 0, sizeof(*index));
}

/* ---------------------------------------------------------------- searching */

/* The first block whose prefix is at least 'prefix'; block_count or more if none. */
static size_t find_prefix(const struct nr_index *index, uint64_t prefix)
{
    size_t line = 0;
    for (unsigned level = index->level_count; level-- > 0;) {
        const uint64_t *at = index->prefixes + index->level_at[level] + line * NR_INDEX_FANOUT;
        size_t below = 0;
        if (level == 0 && index->beside)
            __builtin_prefetch((const uint8_t *)index->beside + 8 * NR_INDEX_FANOUT * line);
        for (unsigned i = 0; i < NR_INDEX_FANOUT; i++) below += at[i] < prefix;
        line = line * NR_INDEX_FANOUT + below;
        /* All are smaller, or only padding is not. */
        if (level > 0 && NR_UNLIKELY(line >= index->level_lines[level - 1])) return index->block_count;
    }
    return line;
}

static int compare_suffix(const struct nr_index *index, size_t block, nori_slice suffix, uint64_t tag)
{
    return nr_entry_compare(nr_index_suffix(index, block), index->tags ? index->tags[block] : 0, suffix, tag);
}

/* How 'key' compares to all separators by what they begin with; 0: it begins so too. */
static int compare_common(const struct nr_index *index, nori_slice key)
{
    size_t shorter = NR_MIN(key.size, index->common_size);
    int order = shorter > 0 ? memcmp(key.data, index->common, shorter) : 0;
    if (order != 0) return order;
    return key.size < index->common_size ? -1 : 0;
}

size_t nr_index_find(const struct nr_index *index, nori_slice key, uint64_t tag)
{
    size_t low, high;
    uint64_t prefix;
    int order;

    if (index->block_count == 0) return 0;
    order = compare_common(index, key);
    if (order != 0) return order < 0 ? 0 : index->block_count;
    key = nr_slice_behind(key, index->common_size);
    prefix = nr_slice_prefix(key);
    low = find_prefix(index, prefix);
    if (NR_UNLIKELY(low >= index->block_count)) return index->block_count;
    if (NR_LIKELY(index->prefixes[low] != prefix)) return low;
    if (compare_suffix(index, low, key, tag) >= 0) return low;
    low++;
    high = prefix == UINT64_MAX ? index->block_count : find_prefix(index, prefix + 1);
    high = NR_MIN(high, index->block_count);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_suffix(index, middle, key, tag) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

int nr_index_compare(const struct nr_index *index, size_t block, nori_slice key, uint64_t tag)
{
    int order = compare_common(index, key);
    if (order != 0) return -order;
    return compare_suffix(index, block, nr_slice_behind(key, index->common_size), tag);
}

uint64_t nr_index_position(const struct nr_index *index, nori_slice key)
{
    size_t block = nr_index_find(index, key, UINT64_MAX);
    uint64_t offset = index->blocks[NR_MIN(block, index->block_count)].offset;
    double low, high, at, part;

    if (block >= index->block_count || compare_common(index, key) != 0) return offset;
    low = block > 0 ? (double)index->prefixes[block - 1] : 0;
    high = (double)index->prefixes[block];
    at = (double)nr_slice_prefix(nr_slice_behind(key, index->common_size));
    part = high > low ? (at - low) / (high - low) : 0.5;
    part = part < 0 ? 0 : part > 1 ? 1 : part;
    return offset + (uint64_t)(part * (double)nr_index_block_bytes(index, block));
}

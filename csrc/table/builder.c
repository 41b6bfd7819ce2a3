#include "table/builder.h"

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/compression.h"
#include "iter/visible.h"
#include "table/block.h"
#include "table/filter.h"
#include "table/index.h"
#include "table/ribbon.h"
#include "table/sections.h"

/* Stored blocks are gathered up to this before they are written. */
#define WRITE_BYTES (256u << 10)
/* Raw blocks from this size on are written from where they lie. */
#define DIRECT_BYTES (128u << 10)
#define BEHIND_BYTES (1u << 20)
#define MAX_BLOCK_BYTES (16u << 20)

struct nr_table_builder {
    struct nr_table_builder_params params; /* Immutable; bytes limited. */
    char name[NR_FILE_NAME_BYTES];
    struct nr_file *file; /* Owned; NULL once closed or never created. */
    bool is_finished;
    struct nr_buffer output; /* Stored, not yet written. */
    uint64_t written_bytes;  /* In the file. */
    uint64_t behind_bytes;   /* Of these, what the disk was given ahead of the sync. */
    struct nr_block_writer block;
    struct nr_index_writer index;
    bool keeps, has_kept;         /* Blocks in the cache: those that end now, any. */
    struct nr_cached_block *kept; /* Refs: the last one, whose summary waits for its separator. NULL: it is not kept. */
    uint64_t pending_bytes;       /* Stored bytes of the last block, whose separator waits for the next key; 0: none. */
    struct nr_buffer last_key;
    uint64_t last_tag;
    uint64_t *hashes; /* Owned; one for each key. */
    size_t hash_count;
    size_t hash_capacity;
    struct nr_tombstones *tombstones; /* Owned, clipped; NULL: none. */
    struct nr_table_properties properties;
    struct nr_buffer smallest; /* What the properties' keys borrow from. */
    struct nr_buffer end_key;
    struct nr_buffer directory;
};

nori_status nr_table_builder_create(const struct nr_table_builder_params *params, struct nr_table_builder **builder_out,
                                    struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_table_builder *builder = nr_calloc(1, sizeof(*builder));

    *builder_out = NULL;
    if (!builder) return nr_fail_memory(err, sizeof(*builder));
    builder->params = *params;
    builder->params.block_bytes = NR_MAX(NR_MIN(params->block_bytes, MAX_BLOCK_BYTES), 64u);
    builder->properties.smallest_sequence = UINT64_MAX;
    builder->properties.level = params->level;
    builder->properties.slot_id = params->slot_id;
    builder->properties.created_ms = params->created_ms;
    nr_buffer_init(&builder->output);
    nr_block_writer_init(&builder->block);
    nr_index_writer_init(&builder->index);
    nr_buffer_init(&builder->last_key);
    nr_buffer_init(&builder->smallest);
    nr_buffer_init(&builder->end_key);
    nr_buffer_init(&builder->directory);
    nr_name_table(builder->name, params->number);
    NR_CHECK(nr_file_open(params->dir, builder->name, NR_OPEN_CREATE, &builder->file, err));
    *builder_out = builder;
    builder = NULL;
out:
    nr_table_builder_destroy(builder);
    return rc;
}

void nr_table_builder_destroy(struct nr_table_builder *builder)
{
    if (!builder) return;
    if (builder->file) {
        nr_file_close(builder->file);
        if (!builder->is_finished) {
            /* Should it stay behind, it is a file that no manifest names. */
            nori_status ignored = nr_dir_unlink(builder->params.dir, builder->name, NULL);
            (void)ignored;
        }
    }
    nr_block_unref(builder->kept);
    if (builder->has_kept && !builder->is_finished)
        nr_block_cache_drop_file(builder->params.blocks, builder->params.number);
    nr_buffer_clear(&builder->output);
    nr_block_writer_clear(&builder->block);
    nr_index_writer_clear(&builder->index);
    nr_buffer_clear(&builder->last_key);
    nr_free(builder->hashes);
    nr_tombstones_unref(builder->tombstones);
    nr_buffer_clear(&builder->smallest);
    nr_buffer_clear(&builder->end_key);
    nr_buffer_clear(&builder->directory);
    nr_free(builder);
}

static nori_status flush_output(struct nr_table_builder *builder, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    if (builder->output.size == 0) goto out;
    NR_CHECK(nr_file_append(builder->file, nr_buffer_slice(&builder->output), err));
    builder->written_bytes += builder->output.size;
    builder->output.size = 0;
    if (builder->params.writes_behind && builder->written_bytes - builder->behind_bytes >= BEHIND_BYTES) {
        nr_file_write_behind(builder->file, builder->behind_bytes, builder->written_bytes - builder->behind_bytes);
        builder->behind_bytes = builder->written_bytes;
    }
out:
    return rc;
}

/* Stores 'bytes', which has room for a trailer behind it, raw or compressed. */
static nori_status store(struct nr_table_builder *builder, struct nr_buffer *bytes, int compression,
                         uint64_t *stored_bytes_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_buffer *output = &builder->output;
    uint64_t offset = builder->written_bytes + output->size;
    uint64_t seed = nr_checksum_seed(builder->params.database_id, builder->params.number, offset);
    size_t bound, size = 0;

    if (bytes->size > UINT32_MAX) return NR_FAIL(err, NORI_INVALID, "%s: a section is too large", builder->name);
    bound = bytes->size <= NR_MAX_COMPRESSED_BLOCK_BYTES ? nr_compress_bound(compression, bytes->size) : 0;
    if (bound > 0) {
        NR_CHECK(nr_buffer_reserve(output, bound + NR_TRAILER_BYTES, err));
        NR_CHECK(nr_compress(compression, nr_buffer_slice(bytes), output->data + output->size, bound, &size, err));
    }
    *stored_bytes_out = (size > 0 ? size : bytes->size) + NR_TRAILER_BYTES;
    if (size > 0) {
        nr_trailer_put(output->data + output->size, size, compression, (uint32_t)bytes->size, seed);
        output->size += size + NR_TRAILER_BYTES;
    } else {
        NR_CHECK(nr_buffer_reserve(bytes, NR_TRAILER_BYTES, err));
        nr_trailer_put(bytes->data, bytes->size, NORI_COMPRESSION_NONE, (uint32_t)bytes->size, seed);
        nori_slice stored = nr_slice(bytes->data, bytes->size + NR_TRAILER_BYTES);
        if (stored.size >= DIRECT_BYTES) {
            NR_CHECK(flush_output(builder, err));
            NR_CHECK(nr_file_append(builder->file, stored, err));
            builder->written_bytes += stored.size;
        } else {
            NR_CHECK(nr_buffer_append(output, stored, err));
        }
    }
    if (output->size >= WRITE_BYTES) NR_CHECK(flush_output(builder, err));
out:
    return rc;
}

/* ---------------------------------------------------------------- blocks that stay in the cache */

void nr_table_builder_keep(struct nr_table_builder *builder, bool is_kept)
{
    builder->keeps = is_kept && builder->params.blocks && !builder->params.is_stamped;
}

/* Of the block that is about to be stored. Without memory it is read like others. */
static void keep_block(struct nr_table_builder *builder)
{
    nori_slice bytes = nr_buffer_slice(&builder->block.bytes);
    uint64_t offset = builder->written_bytes + builder->output.size;
    struct nr_block_view view;
    if (bytes.size > NR_BLOCK_SUMMARIZED_BYTES || !nr_block_view_init(&view, bytes.data, bytes.size)) return;
    size_t summary_bytes = nr_block_summary_bytes(view.restart_count);
    struct nr_cached_block *kept =
        nr_block_create(builder->params.blocks, builder->params.number, offset, summary_bytes + bytes.size);
    if (!kept) return;
    ((struct nr_block_summary *)(void *)kept->data)->restart_count = view.restart_count;
    memcpy(kept->data + summary_bytes, bytes.data, bytes.size);
    builder->kept = kept;
}

/* What all keys sought in the last block begin with, which lie between its separator and the one before it. Of those
 * sought in the first nothing is known yet: range tombstones may begin below all entries. */
static uint32_t count_skipped(const struct nr_table_builder *builder)
{
    return builder->index.block_count > 1 ? (uint32_t)builder->index.shared : 0;
}

/* Now that its separator is known. */
static void insert_kept(struct nr_table_builder *builder)
{
    struct nr_cached_block *kept = builder->kept;
    struct nr_block_view view;
    if (!kept) return;
    size_t summary_bytes = nr_block_summary_bytes(((const struct nr_block_summary *)(void *)kept->data)->restart_count);
    if (nr_block_view_init(&view, kept->data + summary_bytes, kept->size - summary_bytes) &&
        nr_block_summary_make(&view, count_skipped(builder), kept->data)) {
        nr_block_cache_insert(builder->params.blocks, kept, false, NULL, 0);
        builder->has_kept = true;
    }
    nr_block_unref(kept);
    builder->kept = NULL;
}

/* 'next': the key behind the block that waits, NULL at the end. */
static nori_status settle_pending(struct nr_table_builder *builder, const nori_slice *next, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    if (builder->pending_bytes == 0) goto out;
    NR_CHECK(nr_index_writer_add(&builder->index, builder->pending_bytes, nr_buffer_slice(&builder->last_key),
                                 builder->last_tag, next, err));
    builder->pending_bytes = 0;
    insert_kept(builder);
out:
    return rc;
}

static nori_status end_block(struct nr_table_builder *builder, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    int compression = builder->params.compression;
    if (builder->block.entry_count == 0) goto out;
    NR_CHECK(nr_block_writer_finish(&builder->block, err));
    /* A reader holds separators whole, but no more than the file takes and an allowance. A raw block is as large as the
     * separator behind it, so from here on they do not gain on the file. */
    if (builder->index.key_bytes > builder->written_bytes + builder->output.size + NR_INDEX_ALLOWANCE_BYTES / 2)
        compression = NORI_COMPRESSION_NONE;
    if (builder->keeps) keep_block(builder);
    NR_CHECK(store(builder, &builder->block.bytes, compression, &builder->pending_bytes, err));
    nr_block_writer_reset(&builder->block);
out:
    return rc;
}

static nori_status add_hash(struct nr_table_builder *builder, nori_slice key, struct nori_error *err)
{
    if (builder->hash_count == builder->hash_capacity) {
        size_t capacity = builder->hash_capacity ? builder->hash_capacity * 2 : 1024;
        uint64_t *hashes = nr_realloc(builder->hashes, capacity * sizeof(*hashes));
        if (!hashes) return nr_fail_memory(err, capacity * sizeof(*hashes));
        builder->hashes = hashes;
        builder->hash_capacity = capacity;
    }
    builder->hashes[builder->hash_count++] = nr_hash_key(key);
    return NORI_OK;
}

static nori_status check_entry(nori_slice key, uint64_t tag, nori_slice value, struct nori_error *err)
{
    size_t limit = NORI_MAX_VALUE_BYTES + (nr_tag_type(tag) == NR_TYPE_PUT_EXPIRING ? NR_EXPIRY_BYTES : 0);
    if (key.size > NORI_MAX_KEY_BYTES || value.size > limit)
        return NR_FAIL(err, NORI_INVALID, "an entry of %zu and %zu bytes is too large", key.size, value.size);
    if (!nr_block_entry_is_known(tag, value.size))
        return NR_FAIL(err, NORI_INVALID, "an entry of type %u is not for tables", nr_tag_type(tag));
    return NORI_OK;
}

static void count_entry(struct nr_table_properties *properties, nori_slice key, uint64_t tag, nori_slice value)
{
    uint64_t sequence = nr_tag_sequence(tag);
    unsigned type = nr_tag_type(tag);

    properties->entry_count++;
    properties->key_bytes += key.size;
    properties->value_bytes += value.size;
    properties->smallest_sequence = NR_MIN(properties->smallest_sequence, sequence);
    properties->largest_sequence = NR_MAX(properties->largest_sequence, sequence);
    if (type == NR_TYPE_DELETE) properties->delete_count++;
    if (type == NR_TYPE_PUT) properties->unexpiring_count++;
    if (type == NR_TYPE_PUT_EXPIRING) {
        uint64_t expiry = nr_get_fixed64(value.data);
        if (properties->smallest_expiry_ms == 0 || expiry < properties->smallest_expiry_ms)
            properties->smallest_expiry_ms = expiry;
        properties->largest_expiry_ms = NR_MAX(properties->largest_expiry_ms, expiry);
    }
}

/* The last key becomes 'key', of which it already has 'shared' bytes. */
static nori_status keep_key(struct nr_buffer *last, size_t shared, nori_slice key, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    if (NR_UNLIKELY(last->capacity < key.size)) NR_CHECK(nr_buffer_reserve(last, key.size - last->size + 64, err));
    if (key.size > shared) memcpy(last->data + shared, key.data + shared, key.size - shared);
    last->size = key.size;
out:
    return rc;
}

nori_status nr_table_builder_add(struct nr_table_builder *builder, nori_slice key, uint64_t tag, nori_slice value,
                                 struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_buffer *last = &builder->last_key;
    size_t shared = 0, block_bytes, entry_bytes = key.size + value.size + NR_MIN_ENTRY_BYTES;
    bool is_new_key = true;

    NR_CHECK(check_entry(key, tag, value, err));
    if (NR_LIKELY(builder->properties.entry_count > 0)) {
        shared = nr_common_prefix(last->data, key.data, NR_MIN(last->size, key.size));
        is_new_key = shared < key.size || shared < last->size;
        /* What comes out of order was damaged where it was read. */
        if (NR_UNLIKELY(is_new_key
                            ? shared == key.size || (shared < last->size && key.data[shared] < last->data[shared])
                            : tag >= builder->last_tag)) {
            rc = NR_FAIL(err, NORI_CORRUPTION, "the entries of table %" PRIu64 " come out of order",
                         builder->params.number);
            goto out;
        }
    }
    /* A block ends before an entry that would make it much too large, so that large values have their own. */
    block_bytes = nr_block_writer_bytes(&builder->block);
    if (builder->block.entry_count > 0 &&
        (block_bytes >= builder->params.block_bytes ||
         (entry_bytes > builder->params.block_bytes / 2 && block_bytes + entry_bytes > builder->params.block_bytes)))
        NR_CHECK(end_block(builder, err));
    NR_CHECK(settle_pending(builder, &key, err));
    NR_CHECK(nr_block_writer_add(&builder->block, builder->block.entry_count > 0 ? shared : 0, key, tag, value, err));
    if (is_new_key && builder->params.bits_per_key > 0) NR_CHECK(add_hash(builder, key, err));
    if (builder->properties.entry_count == 0) NR_CHECK(nr_buffer_assign(&builder->smallest, key, err));
    NR_CHECK(keep_key(last, shared, key, err));
    builder->last_tag = tag;
    count_entry(&builder->properties, key, tag, value);
    builder->properties.distinct_count += is_new_key;
out:
    return rc;
}

nori_status nr_table_builder_add_tombstones(struct nr_table_builder *builder, struct nr_tombstones *set,
                                            nori_slice start, struct nr_bound end, struct nori_error *err)
{
    struct nr_clip clip = {start, end};
    NR_ASSERT(!builder->tombstones);
    return nr_tombstones_merge(&set, &clip, 1, NR_MAX_SEQUENCE, &builder->tombstones, err);
}

uint64_t nr_table_builder_bytes(const struct nr_table_builder *builder)
{
    /* The separators are counted whole: what a reader has to hold bounds the size of tables too. */
    return builder->written_bytes + builder->output.size + nr_block_writer_bytes(&builder->block) +
           builder->index.key_bytes + (uint64_t)((double)builder->hash_count * builder->params.bits_per_key / 8);
}

size_t nr_table_builder_memory(const struct nr_table_builder *builder)
{
    return sizeof(*builder) + builder->output.capacity + builder->block.bytes.capacity +
           builder->index.entries.capacity + builder->hash_capacity * sizeof(*builder->hashes);
}

uint64_t nr_table_builder_entry_count(const struct nr_table_builder *builder)
{
    return builder->properties.entry_count;
}

void nr_table_builder_note_fresh(struct nr_table_builder *builder)
{
    builder->properties.fresh_count++;
}

bool nr_table_builder_is_empty(const struct nr_table_builder *builder)
{
    return builder->properties.entry_count == 0 && !builder->tombstones;
}

static nori_status add_section(struct nr_table_builder *builder, enum nr_section_kind kind, struct nr_buffer *payload,
                               struct nori_error *err)
{
    nori_status rc = NORI_OK;
    uint64_t offset = builder->written_bytes + builder->output.size, stored_bytes = 0;
    NR_CHECK(store(builder, payload, NORI_COMPRESSION_NONE, &stored_bytes, err));
    NR_CHECK(nr_buffer_append_fixed32(&builder->directory, kind, err));
    NR_CHECK(nr_buffer_append_fixed32(&builder->directory, kind == NR_SECTION_RIBBON ? NR_SECTION_IGNORABLE : 0, err));
    NR_CHECK(nr_buffer_append_fixed64(&builder->directory, offset, err));
    NR_CHECK(nr_buffer_append_fixed64(&builder->directory, stored_bytes, err));
out:
    payload->size = 0;
    return rc;
}

static nori_status complete_properties(struct nr_table_builder *builder, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_table_properties *properties = &builder->properties;
    const struct nr_tombstones *set = builder->tombstones;
    bool has_entries = properties->entry_count > 0;

    properties->block_count = builder->index.block_count;
    if (properties->largest_expiry_ms > 0) {
        uint64_t largest_ms = properties->largest_expiry_ms, now_ms = properties->created_ms;
        properties->lifetime_ms = builder->params.lifetime_ms;
        if (properties->lifetime_ms == NR_LIFETIME_FROM_NOW)
            properties->lifetime_ms = largest_ms - NR_MIN(now_ms, largest_ms);
    }
    if (has_entries) {
        uint8_t zero = 0;
        NR_CHECK(nr_buffer_assign(&builder->end_key, nr_buffer_slice(&builder->last_key), err));
        NR_CHECK(nr_buffer_append(&builder->end_key, nr_slice(&zero, 1), err));
    }
    if (set) {
        const struct nr_fragment *first = &set->fragments[0], *last = &set->fragments[set->fragment_count - 1];
        for (size_t i = 0; i < set->fragment_count; i++) {
            const struct nr_fragment *at = &set->fragments[i];
            properties->range_count += at->sequence_count;
            properties->largest_sequence = NR_MAX(properties->largest_sequence, at->sequences[0]);
            properties->smallest_sequence =
                NR_MIN(properties->smallest_sequence, at->sequences[at->sequence_count - 1]);
        }
        if (!has_entries || nr_slice_compare(first->start, nr_buffer_slice(&builder->smallest)) < 0)
            NR_CHECK(nr_buffer_assign(&builder->smallest, first->start, err));
        properties->end.infinite = last->end.infinite;
        if (!last->end.infinite &&
            (!has_entries || nr_slice_compare(last->end.key, nr_buffer_slice(&builder->end_key)) > 0))
            NR_CHECK(nr_buffer_assign(&builder->end_key, last->end.key, err));
    }
    if (properties->end.infinite) builder->end_key.size = 0;
    if (properties->smallest_sequence == UINT64_MAX) properties->smallest_sequence = 0;
    properties->smallest = nr_buffer_slice(&builder->smallest);
    properties->end.key = nr_buffer_slice(&builder->end_key);
out:
    return rc;
}

static nori_status add_filter(struct nr_table_builder *builder, struct nr_buffer *payload, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    double bits = builder->params.bits_per_key;
    enum nr_section_kind kind = NR_SECTION_FILTER;
    bool is_built = false;

    if (builder->params.filter_kind == NORI_FILTER_RIBBON) {
        NR_CHECK(nr_ribbon_build(builder->hashes, builder->hash_count, bits, payload, &is_built, err));
        if (is_built) kind = NR_SECTION_RIBBON;
    }
    if (!is_built) NR_CHECK(nr_filter_build(builder->hashes, builder->hash_count, bits, payload, err));
    NR_CHECK(add_section(builder, kind, payload, err));
out:
    return rc;
}

static nori_status add_sections(struct nr_table_builder *builder, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_buffer payload;

    nr_buffer_init(&payload);
    if (builder->hash_count > 0) NR_CHECK(add_filter(builder, &payload, err));
    if (builder->tombstones) {
        NR_CHECK(nr_tombstones_encode(builder->tombstones, &payload, err));
        NR_CHECK(add_section(builder, NR_SECTION_TOMBSTONES, &payload, err));
    }
    NR_CHECK(nr_index_writer_finish(&builder->index, &payload, err));
    NR_CHECK(add_section(builder, NR_SECTION_INDEX, &payload, err));
    NR_CHECK(nr_properties_encode(&builder->properties, &payload, err));
    NR_CHECK(add_section(builder, NR_SECTION_PROPERTIES, &payload, err));
out:
    nr_buffer_clear(&payload);
    return rc;
}

nori_status nr_table_builder_finish(struct nr_table_builder *builder, const struct nr_table_properties **properties_out,
                                    uint64_t *file_bytes_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_file_header footer = {.magic = NR_MAGIC_TABLE,
                                    .read_features = builder->params.is_stamped ? NR_READ_FEATURE_STAMPED : 0,
                                    .database_id = builder->params.database_id,
                                    .number = builder->params.number};
    uint8_t footer_bytes[NR_FILE_HEADER_BYTES];

    NR_CHECK(end_block(builder, err));
    NR_CHECK(settle_pending(builder, NULL, err));
    if (builder->index.key_bytes > UINT32_MAX) {
        rc = NR_FAIL(err, NORI_INVALID, "table %" PRIu64 ": the index is too large", builder->params.number);
        goto out;
    }
    NR_CHECK(complete_properties(builder, err));
    footer.extra[NR_FOOTER_DATA_END] = builder->written_bytes + builder->output.size;
    NR_CHECK(add_sections(builder, err));
    footer.extra[NR_FOOTER_DIRECTORY_OFFSET] = builder->written_bytes + builder->output.size;
    NR_CHECK(store(builder, &builder->directory, NORI_COMPRESSION_NONE, &footer.extra[NR_FOOTER_DIRECTORY_SIZE], err));
    nr_file_header_encode(&footer, footer_bytes);
    NR_CHECK(nr_buffer_append(&builder->output, nr_slice(footer_bytes, sizeof(footer_bytes)), err));
    NR_CHECK(flush_output(builder, err));
    NR_CHECK(nr_file_sync(builder->file, err));
    builder->is_finished = true;
    *properties_out = &builder->properties;
    *file_bytes_out = builder->written_bytes;
out:
    return rc;
}

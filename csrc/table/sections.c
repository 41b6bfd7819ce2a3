#include "table/sections.h"

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/coding.h"
#include "base/compression.h"

void nr_trailer_put(uint8_t *payload, size_t payload_size, int compression, uint32_t size, uint64_t seed)
{
    uint8_t *trailer = payload + payload_size;
    trailer[NR_TRAILER_COMPRESSION_AT] = (uint8_t)compression;
    nr_put_fixed32(trailer + NR_TRAILER_SIZE_AT, size);
    nr_put_fixed64(trailer + NR_TRAILER_CHECKSUM_AT,
                   nr_checksum(seed, nr_slice(payload, payload_size + NR_TRAILER_CHECKSUM_AT)));
}

const char *nr_trailer_check(nori_slice stored, uint64_t seed, int *compression_out, uint32_t *size_out)
{
    const uint8_t *trailer;
    size_t payload_size;

    if (stored.size < NR_TRAILER_BYTES) return "it is too short";
    payload_size = stored.size - NR_TRAILER_BYTES;
    trailer = stored.data + payload_size;
    if (!nr_checksum_matches(seed, nr_slice(stored.data, payload_size + NR_TRAILER_CHECKSUM_AT),
                             nr_get_fixed64(trailer + NR_TRAILER_CHECKSUM_AT)))
        return "its checksum does not match";
    *compression_out = trailer[NR_TRAILER_COMPRESSION_AT];
    *size_out = nr_get_fixed32(trailer + NR_TRAILER_SIZE_AT);
    switch (*compression_out) {
    case NORI_COMPRESSION_NONE:
        return *size_out == payload_size ? NULL : "its length does not match";
    case NORI_COMPRESSION_LZ4:
    case NORI_COMPRESSION_ZSTD:
        if (*size_out > NR_MAX_COMPRESSED_BLOCK_BYTES) return "it claims to be too large";
        return *size_out <= nr_decompress_bound(*compression_out, payload_size) ? NULL
                                                                                : "it claims what cannot be in it";
    default:
        return "its compression is not known";
    }
}

/* ---------------------------------------------------------------- range tombstones */

/* Fragment count varint; per fragment start sized, infinite 1, end sized, sequence count varint, sequences fixed64. */
nori_status nr_tombstones_encode(const struct nr_tombstones *set, struct nr_buffer *out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    NR_CHECK(nr_buffer_append_varint(out, set->fragment_count, err));
    for (size_t i = 0; i < set->fragment_count; i++) {
        const struct nr_fragment *fragment = &set->fragments[i];
        uint8_t infinite = fragment->end.infinite;
        NR_CHECK(nr_buffer_append_sized(out, fragment->start, err));
        NR_CHECK(nr_buffer_append(out, nr_slice(&infinite, 1), err));
        NR_CHECK(nr_buffer_append_sized(out, infinite ? nr_slice(NULL, 0) : fragment->end.key, err));
        NR_CHECK(nr_buffer_append_varint(out, fragment->sequence_count, err));
        for (size_t j = 0; j < fragment->sequence_count; j++)
            NR_CHECK(nr_buffer_append_fixed64(out, fragment->sequences[j], err));
    }
out:
    return rc;
}

/* Walks the section; 'ranges' NULL only counts. */
static bool take_ranges(nori_slice input, struct nr_range *ranges, uint64_t *count_out)
{
    uint64_t fragment_count, count = 0;

    if (!nr_take_varint(&input, &fragment_count)) return false;
    for (uint64_t i = 0; i < fragment_count; i++) {
        struct nr_range range = {.sequence = 0};
        nori_slice infinite;
        uint64_t sequence_count;
        if (!nr_take_sized(&input, &range.start) || !nr_take_bytes(&input, 1, &infinite) || infinite.data[0] > 1 ||
            !nr_take_sized(&input, &range.end.key) || !nr_take_varint(&input, &sequence_count) ||
            sequence_count > input.size / 8 || sequence_count == 0 || range.start.size > NORI_MAX_KEY_BYTES ||
            range.end.key.size > NORI_MAX_KEY_BYTES + 1)
            return false;
        range.end.infinite = infinite.data[0];
        for (uint64_t j = 0; j < sequence_count; j++) {
            if (!nr_take_fixed64(&input, &range.sequence) || range.sequence > NR_MAX_SEQUENCE) return false;
            if (ranges) ranges[count] = range;
            count++;
        }
    }
    *count_out = count;
    return input.size == 0;
}

nori_status nr_tombstones_decode(nori_slice section, struct nr_tombstones **set_out, uint64_t *range_count_out,
                                 bool *valid_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_range *ranges = NULL;
    uint64_t count = 0;

    *set_out = NULL;
    *valid_out = false;
    if (!take_ranges(section, NULL, &count)) goto out;
    *range_count_out = count;
    *valid_out = true;
    if (count == 0) goto out;
    ranges = nr_calloc((size_t)count, sizeof(*ranges));
    if (!ranges) {
        rc = nr_fail_memory(err, (size_t)count * sizeof(*ranges));
        goto out;
    }
    *valid_out = take_ranges(section, ranges, &count);
    NR_CHECK(nr_tombstones_build(ranges, (size_t)count, set_out, err));
out:
    nr_free(ranges);
    return rc;
}

/* ---------------------------------------------------------------- loading */

/* Where a load stands: the file's end from data_end on, and how to blame it. */
struct loader {
    struct nr_sections *out;
    struct nr_file *file;
    uint64_t database_id;
    uint64_t number;
    uint64_t largest_sequence;        /* As given. */
    const struct nr_salvage *salvage; /* Borrowed. NULL: none. */
    uint64_t directory_offset;
    uint8_t *tail; /* Owned: the file from out->data_end up to the footer. */
    bool is_footer_lost;
    bool has_index;
    bool has_properties;
    bool has_tombstones;
    uint64_t range_count;
};

nori_status nr_sections_read(struct nr_file *file, uint64_t offset, uint8_t *data, size_t size, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    size_t got;
    NR_CHECK(nr_file_read_at(file, offset, data, size, &got, err));
    if (got < size) {
        rc = nr_fail_corrupt(err, file->path, (int64_t)offset, "table", "%s: the file ends at %" PRIu64, file->path,
                             offset + got);
    }
out:
    return rc;
}

static nori_status load_footer(struct loader *loader, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    uint8_t bytes[NR_FILE_HEADER_BYTES];
    struct nr_file_header footer;
    const char *path = loader->file->path;
    uint64_t at, size = 0;
    enum nr_header_verdict verdict;

    NR_CHECK(nr_file_size(loader->file, &size, err));
    loader->out->file_bytes = size;
    if (size < NR_FILE_HEADER_BYTES + NR_TRAILER_BYTES) {
        rc = nr_fail_corrupt(err, path, 0, "footer", "%s: %" PRIu64 " bytes are too few for a table", path, size);
        goto out;
    }
    at = size - NR_FILE_HEADER_BYTES;
    NR_CHECK(nr_sections_read(loader->file, at, bytes, sizeof(bytes), err));
    verdict = nr_file_header_decode(nr_slice(bytes, sizeof(bytes)), NR_MAGIC_TABLE, &footer);
    if (verdict == NR_HEADER_UNREADABLE) {
        rc = NR_FAIL(err, NORI_FORMAT, "%s: a table of a newer version", path);
        goto out;
    }
    if (verdict == NR_HEADER_DAMAGED) {
        rc = nr_fail_corrupt(err, path, (int64_t)at, "footer", "%s: the footer is damaged", path);
        goto out;
    }
    loader->directory_offset = footer.extra[NR_FOOTER_DIRECTORY_OFFSET];
    loader->out->data_end = footer.extra[NR_FOOTER_DATA_END];
    if (footer.read_features & NR_READ_FEATURE_STAMPED) loader->out->stamp = loader->largest_sequence;
    if (footer.database_id != loader->database_id || footer.number != loader->number || loader->directory_offset > at ||
        footer.extra[NR_FOOTER_DIRECTORY_SIZE] != at - loader->directory_offset ||
        loader->out->data_end > loader->directory_offset) {
        rc = nr_fail_corrupt(err, path, (int64_t)at, "footer", "%s: the footer is not this file's", path);
    }
out:
    return rc;
}

/* Without the footer: the directory ends where it begins, and its length is one of few. The checksum is of this
 * database, table and place, so nothing else passes for it. '*found_out' false: there is none that is whole. */
static nori_status find_directory(struct loader *loader, bool *found_out, struct nori_error *err)
{
    uint8_t bytes[NR_MAX_SECTIONS * NR_DIRECTORY_ENTRY_BYTES + NR_TRAILER_BYTES];
    uint64_t file_bytes = loader->out->file_bytes;
    nori_status rc = NORI_OK;

    *found_out = false;
    if (file_bytes < NR_FILE_HEADER_BYTES) goto out;
    uint64_t end = file_bytes - NR_FILE_HEADER_BYTES;
    for (size_t count = 1; count <= NR_MAX_SECTIONS && !*found_out; count++) {
        size_t stored_bytes = count * NR_DIRECTORY_ENTRY_BYTES + NR_TRAILER_BYTES;
        int compression;
        uint32_t size;
        if (stored_bytes > end) break;
        uint64_t offset = end - stored_bytes;
        NR_CHECK(nr_sections_read(loader->file, offset, bytes, stored_bytes, err));
        *found_out =
            !nr_trailer_check(nr_slice(bytes, stored_bytes),
                              nr_checksum_seed(loader->database_id, loader->number, offset), &compression, &size) &&
            nr_get_fixed64(bytes + NR_DIRECTORY_OFFSET_AT) <= offset;
        loader->directory_offset = offset;
        loader->out->data_end = nr_get_fixed64(bytes + NR_DIRECTORY_OFFSET_AT);
    }
out:
    return rc;
}

/* The footer, or what can be found without, where the manifest knows the table: it also tells whether it is stamped,
 * which else the footer does alone. */
static nori_status load_end(struct loader *loader, struct nori_error *err)
{
    struct nori_error damage;
    nr_error_clear(&damage);
    nori_status rc = load_footer(loader, &damage);
    if (rc == NORI_CORRUPTION && loader->salvage && loader->salvage->known) {
        NR_CHECK(find_directory(loader, &loader->is_footer_lost, err));
        rc = damage.code;
        if (loader->is_footer_lost) rc = loader->salvage->note(loader->salvage->arg, &damage, err);
    }
    if (rc != NORI_OK && !loader->is_footer_lost && err) *err = damage;
out:
    return rc;
}

/* Whether a table that lost its footer is stamped: then its own sequences mean nothing, and the manifest knows one for
 * all. Its own properties must be there to tell by. */
static nori_status judge_stamp(struct loader *loader, bool has_own_properties, struct nori_error *err)
{
    const struct nr_table_properties *own = &loader->out->properties, *known = loader->salvage->known;
    bool is_same =
        own->smallest_sequence == known->smallest_sequence && own->largest_sequence == known->largest_sequence;
    if (has_own_properties && is_same) return NORI_OK;
    if (!has_own_properties || known->smallest_sequence != known->largest_sequence)
        return nr_fail_corrupt(err, loader->file->path, (int64_t)loader->directory_offset, "footer",
                               "%s: without its footer it is not known which sequences count", loader->file->path);
    loader->out->stamp = known->largest_sequence;
    return NORI_OK;
}

static nori_status load_known(struct loader *loader, uint32_t kind, nori_slice payload, bool *valid_out,
                              struct nori_error *err)
{
    struct nr_sections *out = loader->out;
    nori_status rc = NORI_OK;

    *valid_out = false;
    switch (kind) {
    case NR_SECTION_FILTER:
        if (!nr_sections_have_filter(out)) NR_CHECK(nr_filter_init(&out->filter, payload, valid_out, err));
        break;
    case NR_SECTION_RIBBON:
        if (!nr_sections_have_filter(out)) NR_CHECK(nr_ribbon_init(&out->ribbon, payload, valid_out, err));
        break;
    case NR_SECTION_TOMBSTONES:
        if (loader->has_tombstones) break;
        loader->has_tombstones = true;
        NR_CHECK(nr_tombstones_decode(payload, &out->tombstones, &loader->range_count, valid_out, err));
        break;
    case NR_SECTION_INDEX:
        if (loader->has_index) break;
        loader->has_index = true;
        NR_CHECK(nr_index_init(&out->index, payload, out->data_end, valid_out, err));
        break;
    case NR_SECTION_PROPERTIES: {
        nori_slice input;
        if (loader->has_properties) break;
        loader->has_properties = true;
        NR_CHECK(nr_buffer_assign(&out->properties_bytes, payload, err));
        input = nr_buffer_slice(&out->properties_bytes);
        *valid_out = nr_properties_decode(&input, &out->properties) && input.size == 0;
        break;
    }
    }
out:
    return rc;
}

/* Whether the table is of use without the section: blocks can be read without a filter, and what the properties say,
 * others may know. */
static bool can_do_without(const struct loader *loader, uint32_t kind)
{
    if (!loader->salvage) return false;
    if (kind == NR_SECTION_FILTER || kind == NR_SECTION_RIBBON) return true;
    return kind == NR_SECTION_PROPERTIES && loader->salvage->known;
}

static nori_status fail_section(const struct loader *loader, uint32_t kind, uint64_t offset, const char *problem,
                                struct nori_error *err)
{
    static const char *const kinds[] = {"section", "filter", "tombstones", "index", "properties", "filter"};
    const char *path = loader->file->path, *name = kinds[kind <= NR_SECTION_RIBBON ? kind : 0];
    struct nori_error damage;
    nori_status rc = nr_fail_corrupt(&damage, path, (int64_t)offset, name, "%s: the %s at %" PRIu64 " is damaged: %s",
                                     path, name, offset, problem);
    if (can_do_without(loader, kind)) return loader->salvage->note(loader->salvage->arg, &damage, err);
    if (err) *err = damage;
    return rc;
}

/* The properties that are known otherwise, in place of those that could not be read. */
static nori_status adopt_known(struct loader *loader, struct nori_error *err)
{
    struct nr_sections *out = loader->out;
    struct nr_buffer *bytes = &out->properties_bytes;
    nori_status rc = NORI_OK;

    bytes->size = 0;
    NR_CHECK(nr_properties_encode(loader->salvage->known, bytes, err));
    nori_slice input = nr_buffer_slice(bytes);
    loader->has_properties = nr_properties_decode(&input, &out->properties);
out:
    return rc;
}

static nori_status load_section(struct loader *loader, const uint8_t *entry, uint64_t *at, struct nori_error *err)
{
    const char *path = loader->file->path;
    uint32_t kind = nr_get_fixed32(entry + NR_DIRECTORY_KIND_AT);
    uint32_t flags = nr_get_fixed32(entry + NR_DIRECTORY_FLAGS_AT);
    uint64_t offset = nr_get_fixed64(entry + NR_DIRECTORY_OFFSET_AT);
    uint64_t size = nr_get_fixed64(entry + NR_DIRECTORY_SIZE_AT);
    nori_status rc = NORI_OK;
    int compression = NORI_COMPRESSION_NONE;
    const char *problem;
    uint32_t payload_size;
    nori_slice stored;
    bool is_valid = false;

    if (offset != *at || size > loader->directory_offset - offset) {
        return nr_fail_corrupt(err, path, (int64_t)loader->directory_offset, "directory",
                               "%s: a section lies outside its place", path);
    }
    *at = offset + size;
    stored = nr_slice(loader->tail + (offset - loader->out->data_end), (size_t)size);
    problem = nr_trailer_check(stored, nr_checksum_seed(loader->database_id, loader->number, offset), &compression,
                               &payload_size);
    if (!problem && (kind < NR_SECTION_FILTER || kind > NR_SECTION_RIBBON)) {
        if (flags & NR_SECTION_IGNORABLE) goto out;
        rc = NR_FAIL(err, NORI_FORMAT, "%s: needs section kind %" PRIu32 ", which this version does not know", path,
                     kind);
        goto out;
    }
    if (!problem && compression != NORI_COMPRESSION_NONE) problem = "it is compressed";
    if (!problem) {
        NR_CHECK(load_known(loader, kind, nr_slice(stored.data, payload_size), &is_valid, err));
        if (!is_valid) problem = "it makes no sense";
    }
    if (problem) {
        if (kind == NR_SECTION_PROPERTIES) loader->has_properties = false;
        rc = fail_section(loader, kind, offset, problem, err);
    }
out:
    return rc;
}

static nori_status load_directory(struct loader *loader, struct nori_error *err)
{
    const char *path = loader->file->path;
    uint64_t data_end = loader->out->data_end, at = data_end;
    uint64_t tail_bytes = loader->out->file_bytes - NR_FILE_HEADER_BYTES - data_end;
    nori_status rc = NORI_OK;
    int compression = NORI_COMPRESSION_NONE;
    const char *problem;
    const uint8_t *directory;
    uint32_t size = 0;

    loader->tail = nr_alloc((size_t)tail_bytes);
    if (!loader->tail) {
        rc = nr_fail_memory(err, (size_t)tail_bytes);
        goto out;
    }
    NR_CHECK(nr_sections_read(loader->file, data_end, loader->tail, (size_t)tail_bytes, err));
    directory = loader->tail + (loader->directory_offset - data_end);
    problem = nr_trailer_check(nr_slice(directory, (size_t)(tail_bytes - (loader->directory_offset - data_end))),
                               nr_checksum_seed(loader->database_id, loader->number, loader->directory_offset),
                               &compression, &size);
    if (!problem && (compression != NORI_COMPRESSION_NONE || size % NR_DIRECTORY_ENTRY_BYTES != 0 ||
                     size / NR_DIRECTORY_ENTRY_BYTES > NR_MAX_SECTIONS))
        problem = "it makes no sense";
    if (problem) {
        rc = nr_fail_corrupt(err, path, (int64_t)loader->directory_offset, "directory",
                             "%s: the directory is damaged: %s", path, problem);
        goto out;
    }
    for (uint32_t i = 0; i < size; i += NR_DIRECTORY_ENTRY_BYTES)
        NR_CHECK(load_section(loader, directory + i, &at, err));
    if (loader->is_footer_lost) NR_CHECK(judge_stamp(loader, loader->has_properties, err));
    if (!loader->has_properties && loader->salvage && loader->salvage->known) NR_CHECK(adopt_known(loader, err));
    if (at != loader->directory_offset || !loader->has_index || !loader->has_properties ||
        loader->out->properties.block_count != loader->out->index.block_count ||
        loader->out->properties.range_count != loader->range_count) {
        rc = nr_fail_corrupt(err, path, (int64_t)loader->directory_offset, "directory",
                             "%s: its sections do not fit together", path);
    }
out:
    return rc;
}

nori_status nr_sections_load(struct nr_sections *sections, struct nr_file *file, uint64_t database_id, uint64_t number,
                             uint64_t largest_sequence, const struct nr_salvage *salvage, struct nori_error *err)
{
    struct loader loader = {.out = sections,
                            .file = file,
                            .database_id = database_id,
                            .number = number,
                            .largest_sequence = largest_sequence,
                            .salvage = salvage};
    nori_status rc = NORI_OK;

    memset(sections, 0, sizeof(*sections));
    nr_buffer_init(&sections->properties_bytes);
    NR_CHECK(load_end(&loader, err));
    NR_CHECK(load_directory(&loader, err));
    if (sections->stamp > 0)
        sections->properties.smallest_sequence = sections->properties.largest_sequence = sections->stamp;
out:
    nr_free(loader.tail);
    if (rc != NORI_OK) nr_sections_clear(sections);
    return rc;
}

void nr_sections_clear(struct nr_sections *sections)
{
    nr_filter_clear(&sections->filter);
    nr_ribbon_clear(&sections->ribbon);
    nr_index_clear(&sections->index);
    nr_tombstones_unref(sections->tombstones);
    nr_buffer_clear(&sections->properties_bytes);
    memset(sections, 0, sizeof(*sections));
}

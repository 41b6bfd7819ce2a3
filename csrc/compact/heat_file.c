#include "compact/heat_file.h"

#include <math.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/coding.h"
#include "format/file_header.h"
#include "format/format.h"

/* Level, guard's length, four rates, two counts. */
#define SMALLEST_ENTRY_BYTES (1 + 1 + 4 * 8 + 1 + 1)

/* ---------------------------------------------------------------- writing */

static nori_status append_double(struct nr_buffer *out, double value, struct nori_error *err)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return nr_buffer_append_fixed64(out, bits, err);
}

static nori_status append_entry(struct nr_buffer *out, const struct nr_heat_entry *entry, struct nori_error *err)
{
    nori_status rc;
    NR_CHECK(nr_buffer_append_varint(out, entry->level, err));
    NR_CHECK(nr_buffer_append_sized(out, entry->start, err));
    NR_CHECK(append_double(out, entry->read_rate, err));
    NR_CHECK(append_double(out, entry->write_rate, err));
    NR_CHECK(append_double(out, entry->scan_rate, err));
    NR_CHECK(append_double(out, entry->probes_per_read, err));
    NR_CHECK(nr_buffer_append_varint(out, entry->bytes_arrived, err));
    NR_CHECK(nr_buffer_append_varint(out, entry->bytes_rewritten, err));
out:
    return rc;
}

/* 'bytes' stand at 'offset' of the file. */
static uint64_t seed_of(uint64_t database_id, size_t offset)
{
    return nr_checksum_seed(database_id, 0, offset);
}

/* What lies from 'start' to the end, and its checksum. */
static nori_status seal(struct nr_buffer *out, size_t start, uint64_t database_id, struct nori_error *err)
{
    nori_slice sealed = nr_slice(out->data + start, out->size - start);
    return nr_buffer_append_fixed64(out, nr_checksum(seed_of(database_id, start), sealed), err);
}

static nori_status append_section(struct nr_buffer *out, uint64_t kind, nori_slice bytes, uint64_t database_id,
                                  struct nori_error *err)
{
    nori_status rc = NORI_OK;
    size_t start = out->size;
    if (!bytes.data || bytes.size > NR_HEAT_SECTION_MAX_BYTES) goto out;
    NR_CHECK(nr_buffer_append_varint(out, kind, err));
    NR_CHECK(nr_buffer_append_sized(out, bytes, err));
    NR_CHECK(seal(out, start, database_id, err));
out:
    return rc;
}

static nori_status append_content(struct nr_buffer *out, const struct nr_heat_content *content, uint64_t database_id,
                                  struct nori_error *err)
{
    nori_status rc;
    size_t start = out->size;
    NR_CHECK(nr_buffer_append_varint(out, content->count, err));
    for (size_t i = 0; i < content->count; i++) NR_CHECK(append_entry(out, &content->entries[i], err));
    NR_CHECK(nr_buffer_append_sized(out, content->blob, err));
    NR_CHECK(seal(out, start, database_id, err));
    for (uint64_t kind = 1; kind < NR_HEAT_SECTION_COUNT; kind++)
        NR_CHECK(append_section(out, kind, content->sections[kind], database_id, err));
out:
    return rc;
}

nori_status nr_heat_file_write(struct nr_dir *dir, uint64_t database_id, const struct nr_heat_content *content,
                               struct nori_error *err)
{
    nori_status rc;
    struct nr_buffer bytes;
    uint8_t header[NR_FILE_HEADER_BYTES];
    struct nr_file_header fields = {.magic = NR_MAGIC_HEAT, .database_id = database_id};

    nr_buffer_init(&bytes);
    nr_file_header_encode(&fields, header);
    NR_CHECK(nr_buffer_append(&bytes, nr_slice(header, sizeof(header)), err));
    NR_CHECK(append_content(&bytes, content, database_id, err));
    if (bytes.size > NR_HEAT_FILE_MAX_BYTES) {
        rc = NR_FAIL(err, NORI_INVALID, "%s would have %zu bytes", NR_HEAT_NAME, bytes.size);
        goto out;
    }
    NR_CHECK(nr_file_replace_unsynced(dir, NR_HEAT_TEMPORARY_NAME, NR_HEAT_NAME, nr_buffer_slice(&bytes), err));
out:
    nr_buffer_clear(&bytes);
    return rc;
}

/* ---------------------------------------------------------------- reading */

static bool take_double(nori_slice *input, double *value_out)
{
    uint64_t bits;
    if (!nr_take_fixed64(input, &bits)) return false;
    memcpy(value_out, &bits, sizeof(bits));
    return isfinite(*value_out) && *value_out >= 0;
}

static bool take_entry(nori_slice *input, struct nr_heat_entry *entry)
{
    uint64_t level;
    if (!nr_take_varint(input, &level) || level < 1 || level >= NORI_MAX_LEVELS) return false;
    entry->level = (uint32_t)level;
    return nr_take_sized(input, &entry->start) && take_double(input, &entry->read_rate) &&
           take_double(input, &entry->write_rate) && take_double(input, &entry->scan_rate) &&
           take_double(input, &entry->probes_per_read) && nr_take_varint(input, &entry->bytes_arrived) &&
           nr_take_varint(input, &entry->bytes_rewritten);
}

static nori_status damaged(const struct nr_dir *dir, const char *what, struct nori_error *err)
{
    return nr_fail_corrupt(err, dir->path, -1, "heat", "%s/%s: %s", dir->path, NR_HEAT_NAME, what);
}

/* Whether what was taken since 'start', where 'before' began, is followed by its checksum, which is taken, too. */
static bool take_seal(nori_slice *rest, nori_slice before, size_t start, uint64_t database_id)
{
    uint64_t checksum;
    nori_slice sealed = nr_slice(before.data, before.size - rest->size);
    return nr_take_fixed64(rest, &checksum) && nr_checksum_matches(seed_of(database_id, start), sealed, checksum);
}

static nori_status take_body(const struct nr_dir *dir, uint64_t database_id, nori_slice *rest,
                             struct nr_heat_content *content, struct nori_error *err)
{
    uint64_t count;
    nori_slice body = *rest;
    if (!nr_take_varint(rest, &count) || count > rest->size / SMALLEST_ENTRY_BYTES)
        return damaged(dir, "a count that cannot be right", err);
    content->entries = nr_calloc((size_t)count + 1, sizeof(*content->entries));
    if (!content->entries) return nr_fail_memory(err, (size_t)count * sizeof(*content->entries));
    for (; content->count < count; content->count++)
        if (!take_entry(rest, &content->entries[content->count]))
            return damaged(dir, "a slot that cannot be right", err);
    if (!nr_take_sized(rest, &content->blob)) return damaged(dir, "it is cut off", err);
    if (!take_seal(rest, body, NR_FILE_HEADER_BYTES, database_id)) return damaged(dir, "the checksum differs", err);
    return NORI_OK;
}

/* Up to the first that is damaged. 'rest' ends where the file of 'file_bytes' does. */
static void take_sections(nori_slice rest, size_t file_bytes, uint64_t database_id, struct nr_heat_content *content)
{
    uint64_t kind;
    nori_slice bytes;
    while (rest.size > 0) {
        nori_slice before = rest;
        if (!nr_take_varint(&rest, &kind) || !nr_take_sized(&rest, &bytes)) return;
        if (!take_seal(&rest, before, file_bytes - before.size, database_id)) return;
        bool is_known = kind >= 1 && kind < NR_HEAT_SECTION_COUNT && bytes.size <= NR_HEAT_SECTION_MAX_BYTES;
        if (is_known) content->sections[kind] = bytes;
    }
}

static nori_status take_file(const struct nr_dir *dir, uint64_t database_id, struct nr_heat_file *file,
                             struct nori_error *err)
{
    nori_slice bytes = nr_buffer_slice(&file->bytes);
    struct nr_file_header header;
    enum nr_header_verdict verdict = nr_file_header_decode(bytes, NR_MAGIC_HEAT, &header);
    if (verdict == NR_HEADER_UNREADABLE)
        return NR_FAIL(err, NORI_FORMAT, "%s/%s was written by a newer version", dir->path, NR_HEAT_NAME);
    if (verdict != NR_HEADER_VALID || header.database_id != database_id || header.number != 0)
        return damaged(dir, "the header is not that of this database", err);
    if (bytes.size < NR_FILE_HEADER_BYTES) return damaged(dir, "it is cut off", err);
    nori_slice rest = nr_slice(bytes.data + NR_FILE_HEADER_BYTES, bytes.size - NR_FILE_HEADER_BYTES);
    nori_status rc = take_body(dir, database_id, &rest, &file->content, err);
    if (rc == NORI_OK) take_sections(rest, bytes.size, database_id, &file->content);
    return rc;
}

nori_status nr_heat_file_read(struct nr_dir *dir, uint64_t database_id, struct nr_heat_file *file_out,
                              struct nori_error *err)
{
    *file_out = (struct nr_heat_file){0};
    nori_status rc = nr_file_read_all(dir, NR_HEAT_NAME, NR_HEAT_FILE_MAX_BYTES, &file_out->bytes, err);
    if (rc == NORI_OK) rc = take_file(dir, database_id, file_out, err);
    return rc;
}

void nr_heat_file_clear(struct nr_heat_file *file)
{
    nr_free(file->content.entries);
    nr_buffer_clear(&file->bytes);
    *file = (struct nr_heat_file){0};
}

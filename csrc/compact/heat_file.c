#include "compact/heat_file.h"

#include <math.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/coding.h"
#include "format/file_header.h"
#include "format/format.h"

#define CHECKSUM_BYTES 8
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

static uint64_t checksum_of(uint64_t database_id, nori_slice body)
{
    return nr_checksum(nr_checksum_seed(database_id, 0, NR_FILE_HEADER_BYTES), body);
}

nori_status nr_heat_file_write(struct nr_dir *dir, uint64_t database_id, const struct nr_heat_entry *entries,
                               size_t count, nori_slice blob, struct nori_error *err)
{
    nori_status rc;
    struct nr_buffer bytes;
    uint8_t header[NR_FILE_HEADER_BYTES];
    struct nr_file_header fields = {.magic = NR_MAGIC_HEAT, .database_id = database_id};

    nr_buffer_init(&bytes);
    nr_file_header_encode(&fields, header);
    NR_CHECK(nr_buffer_append(&bytes, nr_slice(header, sizeof(header)), err));
    NR_CHECK(nr_buffer_append_varint(&bytes, count, err));
    for (size_t i = 0; i < count; i++) NR_CHECK(append_entry(&bytes, &entries[i], err));
    NR_CHECK(nr_buffer_append_sized(&bytes, blob, err));
    nori_slice body = nr_slice(bytes.data + sizeof(header), bytes.size - sizeof(header));
    NR_CHECK(nr_buffer_append_fixed64(&bytes, checksum_of(database_id, body), err));
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

static nori_status take_body(const struct nr_dir *dir, nori_slice rest, struct nr_heat_file *file,
                             struct nori_error *err)
{
    uint64_t count;
    if (!nr_take_varint(&rest, &count) || count > rest.size / SMALLEST_ENTRY_BYTES)
        return damaged(dir, "a count that cannot be right", err);
    file->entries = nr_calloc((size_t)count + 1, sizeof(*file->entries));
    if (!file->entries) return nr_fail_memory(err, (size_t)count * sizeof(*file->entries));
    for (; file->count < count; file->count++)
        if (!take_entry(&rest, &file->entries[file->count])) return damaged(dir, "a slot that cannot be right", err);
    if (!nr_take_sized(&rest, &file->blob) || rest.size > 0) return damaged(dir, "its end is not where it says", err);
    return NORI_OK;
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
    if (bytes.size < NR_FILE_HEADER_BYTES + CHECKSUM_BYTES) return damaged(dir, "it is cut off", err);
    nori_slice body = nr_slice(bytes.data + NR_FILE_HEADER_BYTES, bytes.size - NR_FILE_HEADER_BYTES - CHECKSUM_BYTES);
    if (nr_get_fixed64(body.data + body.size) != checksum_of(database_id, body))
        return damaged(dir, "the checksum differs", err);
    return take_body(dir, body, file, err);
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
    nr_free(file->entries);
    nr_buffer_clear(&file->bytes);
    *file = (struct nr_heat_file){0};
}

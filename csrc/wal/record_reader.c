/* Reads in two ways. In order: a record that is not whole and right ends what is valid. Then, searching: every fragment
 * that carries a promise, wherever one stands; one damaged record must not hide the promises behind it in its block. */
#include "wal/record_format.h"

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/lock.h"
#include "format/format.h"

#define CHUNK_BYTES (4 * NR_RECORD_BLOCK_BYTES)

struct nr_record_reader {
    struct nr_file *file; /* Borrowed. */
    uint64_t database_id;
    uint64_t number;
    uint8_t *chunk;         /* CHUNK_BYTES. */
    uint64_t chunk_offset;  /* In the file; a multiple of CHUNK_BYTES. */
    size_t chunk_size;      /* Less than CHUNK_BYTES at the file's end; 0: nothing read yet. */
    uint64_t end;           /* Behind the last valid record. */
    uint64_t last_sequence; /* Of the last one that is no mark; 0: none. */
    bool is_ended;
    struct nr_position promise;
    struct nr_buffer joined; /* The payload of a record of several fragments. */
};

struct fragment {
    enum nr_fragment_type type;
    nori_slice body;
    uint64_t end;
};

struct head {
    uint64_t sequence;
    uint32_t count;
    struct nr_position promise;
};

nori_status nr_record_reader_create(struct nr_file *file, uint64_t database_id, uint64_t number, uint64_t start_offset,
                                    struct nr_record_reader **reader_out, struct nori_error *err)
{
    *reader_out = NULL;
    struct nr_record_reader *reader = nr_calloc(1, sizeof(*reader));
    if (!reader) return nr_fail_memory(err, sizeof(*reader));
    reader->file = file;
    reader->database_id = database_id;
    reader->number = number;
    reader->end = start_offset;
    reader->chunk = nr_alloc(CHUNK_BYTES);
    if (!reader->chunk) {
        nr_free(reader);
        return nr_fail_memory(err, CHUNK_BYTES);
    }
    *reader_out = reader;
    return NORI_OK;
}

void nr_record_reader_destroy(struct nr_record_reader *reader)
{
    if (!reader) return;
    nr_buffer_clear(&reader->joined);
    nr_free(reader->chunk);
    nr_free(reader);
}

uint64_t nr_record_reader_end(const struct nr_record_reader *reader)
{
    return reader->end;
}

struct nr_position nr_record_reader_promise(const struct nr_record_reader *reader)
{
    return reader->promise;
}

/* The bytes from 'offset' to the end of its block, or of the file if that comes first. */
static nori_status read_block(struct nr_record_reader *reader, uint64_t offset, nori_slice *bytes_out,
                              struct nori_error *err)
{
    uint64_t chunk_offset = offset - offset % CHUNK_BYTES;
    *bytes_out = nr_slice(NULL, 0);
    if (reader->chunk_size == 0 || chunk_offset != reader->chunk_offset) {
        reader->chunk_size = 0;
        /* A file's size proves nothing, least of all that its end is near. */
        nori_status rc = nr_interrupt_poll(err);
        if (rc == NORI_OK)
            rc = nr_file_read_at(reader->file, chunk_offset, reader->chunk, CHUNK_BYTES, &reader->chunk_size, err);
        if (rc != NORI_OK) return rc;
        reader->chunk_offset = chunk_offset;
    }
    size_t at = (size_t)(offset - chunk_offset);
    if (at < reader->chunk_size)
        *bytes_out = nr_slice(reader->chunk + at, NR_MIN((size_t)nr_block_left(offset), reader->chunk_size - at));
    return NORI_OK;
}

/* The fragment at the front of 'bytes', which begin at 'offset'. */
static bool parse_fragment(const struct nr_record_reader *reader, uint64_t offset, nori_slice bytes,
                           struct fragment *fragment_out)
{
    if (bytes.size < NR_FRAGMENT_HEADER_BYTES) return false;
    size_t length = nr_get_fixed16(bytes.data + NR_FRAGMENT_LENGTH_AT);
    uint8_t type = bytes.data[NR_FRAGMENT_TYPE_AT];
    if (type < NR_FRAGMENT_FULL || type > NR_FRAGMENT_NEXT) return false;
    if (length > bytes.size - NR_FRAGMENT_HEADER_BYTES) return false;

    uint64_t seed = nr_checksum_seed(reader->database_id, reader->number, offset);
    if (type == NR_FRAGMENT_NEXT) seed = nr_next_seed(seed, reader->last_sequence + 1);
    nori_slice covered =
        nr_slice(bytes.data + NR_FRAGMENT_LENGTH_AT, NR_FRAGMENT_HEADER_BYTES - NR_FRAGMENT_LENGTH_AT + length);
    if (!nr_checksum_matches(seed, covered, nr_get_fixed64(bytes.data))) return false;
    fragment_out->type = (enum nr_fragment_type)type;
    fragment_out->body = nr_slice(bytes.data + NR_FRAGMENT_HEADER_BYTES, length);
    fragment_out->end = offset + NR_FRAGMENT_HEADER_BYTES + length;
    return true;
}

/* Takes the head off a body that has one. */
static bool take_head(enum nr_fragment_type type, nori_slice *body, struct head *head_out)
{
    *head_out = (struct head){0};
    if (type == NR_FRAGMENT_MIDDLE || type == NR_FRAGMENT_LAST || type == NR_FRAGMENT_NEXT) return false;
    if (type != NR_FRAGMENT_MARK &&
        (!nr_take_fixed64(body, &head_out->sequence) || !nr_take_fixed32(body, &head_out->count)))
        return false;
    return nr_take_varint(body, &head_out->promise.segment) && nr_take_varint(body, &head_out->promise.offset);
}

/* Of the record that a fragment begins; false if it begins none. */
static bool begin_record(const struct nr_record_reader *reader, enum nr_fragment_type type, nori_slice *body,
                         struct head *head_out)
{
    if (type != NR_FRAGMENT_NEXT) return take_head(type, body, head_out);
    *head_out = (struct head){.sequence = reader->last_sequence + 1, .count = 1};
    return reader->last_sequence != 0;
}

static void note_promise(struct nr_record_reader *reader, struct nr_position promise)
{
    if (nr_position_compare(promise, reader->promise) > 0) reader->promise = promise;
}

/* The fragments after a first one, from the block at 'offset' on. '*end_out' 0: they are not all there. */
static nori_status read_rest(struct nr_record_reader *reader, uint64_t offset, uint64_t *end_out,
                             struct nori_error *err)
{
    nori_status rc = NORI_OK;
    nori_slice bytes;
    struct fragment fragment = {0};

    *end_out = 0;
    do {
        NR_CHECK(read_block(reader, offset, &bytes, err));
        if (!parse_fragment(reader, offset, bytes, &fragment)) goto out;
        bool is_last = fragment.type == NR_FRAGMENT_LAST;
        if (!is_last && (fragment.type != NR_FRAGMENT_MIDDLE || nr_block_left(fragment.end) != NR_RECORD_BLOCK_BYTES))
            goto out;
        NR_CHECK(nr_buffer_append(&reader->joined, fragment.body, err));
        offset = fragment.end;
    } while (fragment.type != NR_FRAGMENT_LAST);
    *end_out = offset;
out:
    return rc;
}

nori_status nr_record_reader_next(struct nr_record_reader *reader, struct nr_record *record_out, bool *found_out,
                                  struct nori_error *err)
{
    nori_status rc = NORI_OK;
    uint64_t offset = nr_record_start(reader->end);
    nori_slice bytes, payload;
    struct fragment fragment;
    struct head head;

    *found_out = false;
    if (reader->is_ended) goto out;
    NR_CHECK(read_block(reader, offset, &bytes, err));
    reader->is_ended = true;
    if (!parse_fragment(reader, offset, bytes, &fragment)) goto out;
    payload = fragment.body;
    if (!begin_record(reader, fragment.type, &payload, &head)) goto out;
    note_promise(reader, head.promise);

    uint64_t end = fragment.end;
    if (fragment.type == NR_FRAGMENT_FIRST) {
        if (nr_block_left(end) != NR_RECORD_BLOCK_BYTES) goto out;
        reader->joined.size = 0;
        NR_CHECK(nr_buffer_append(&reader->joined, payload, err));
        NR_CHECK(read_rest(reader, end, &end, err));
        if (end == 0) goto out;
        payload = nr_buffer_slice(&reader->joined);
    }
    if (fragment.type == NR_FRAGMENT_MARK && payload.size > 0) goto out;
    *record_out = (struct nr_record){.sequence = head.sequence,
                                     .count = head.count,
                                     .is_mark = fragment.type == NR_FRAGMENT_MARK,
                                     .payload = payload,
                                     .offset = offset,
                                     .end_offset = end};
    *found_out = true;
    reader->end = end;
    if (!record_out->is_mark) reader->last_sequence = head.sequence - 1 + head.count;
    reader->is_ended = false;
out:
    if (rc != NORI_OK) reader->is_ended = false;
    return rc;
}

/* Whether it is worth checking the sum at the front of 'bytes'. A checksum costs the length it claims, at each of a
 * block's bytes; what no writer writes is ruled out first. */
static bool may_carry_promise(const struct nr_record_reader *reader, nori_slice bytes)
{
    size_t length = nr_get_fixed16(bytes.data + NR_FRAGMENT_LENGTH_AT);
    uint8_t type = bytes.data[NR_FRAGMENT_TYPE_AT];
    struct head head;

    if (length > bytes.size - NR_FRAGMENT_HEADER_BYTES) return false;
    if (type != NR_FRAGMENT_FULL && type != NR_FRAGMENT_FIRST && type != NR_FRAGMENT_MARK) return false;
    if (type == NR_FRAGMENT_FIRST && length != bytes.size - NR_FRAGMENT_HEADER_BYTES) return false;
    if (type == NR_FRAGMENT_MARK && length > NR_MARK_BODY_MAX_BYTES) return false;
    nori_slice body = nr_slice(bytes.data + NR_FRAGMENT_HEADER_BYTES, length);
    if (!take_head((enum nr_fragment_type)type, &body, &head)) return false;
    return head.sequence <= NR_MAX_SEQUENCE && head.promise.segment <= reader->number;
}

/* How many bytes at the front cannot begin a fragment, because what would be its type is zero. */
static size_t count_zeros(nori_slice bytes)
{
    const uint8_t *types = bytes.data + NR_FRAGMENT_TYPE_AT;
    size_t limit = bytes.size - NR_FRAGMENT_TYPE_AT, i = 0;
    for (; limit - i >= 8 && nr_get_fixed64(types + i) == 0; i += 8) {
    }
    for (; i < limit && types[i] == 0; i++) {
    }
    return i;
}

static void search_block(struct nr_record_reader *reader, uint64_t offset, nori_slice bytes)
{
    struct fragment fragment;
    struct head head;

    while (bytes.size >= NR_FRAGMENT_HEADER_BYTES) {
        size_t step = count_zeros(bytes);
        if (step == 0) {
            step = 1;
            if (may_carry_promise(reader, bytes) && parse_fragment(reader, offset, bytes, &fragment)) {
                nori_slice body = fragment.body;
                if (take_head(fragment.type, &body, &head)) note_promise(reader, head.promise);
                step = (size_t)(fragment.end - offset);
            }
        }
        step = NR_MIN(step, bytes.size);
        offset += step;
        bytes = nr_slice(bytes.data + step, bytes.size - step);
    }
}

nori_status nr_record_reader_finish(struct nr_record_reader *reader, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    uint64_t offset = reader->end;
    nori_slice bytes;

    for (;;) {
        NR_CHECK(read_block(reader, offset, &bytes, err));
        if (bytes.size == 0) break;
        search_block(reader, offset, bytes);
        if (bytes.size < nr_block_left(offset)) break;
        offset += bytes.size;
    }
    reader->is_ended = true;
out:
    return rc;
}

#include "wal/record_format.h"

#include "base/checksum.h"

uint64_t nr_record_end(uint64_t offset, size_t payload_bytes)
{
    uint64_t body = (uint64_t)payload_bytes + NR_RECORD_HEAD_MAX_BYTES;
    uint64_t start = nr_record_start(offset);
    uint64_t room = nr_block_left(start) - NR_FRAGMENT_HEADER_BYTES;

    if (body <= room) return start + NR_FRAGMENT_HEADER_BYTES + body;
    body -= room;
    uint64_t end = start + NR_FRAGMENT_HEADER_BYTES + room;
    end += body / NR_FRAGMENT_BODY_MAX_BYTES * NR_RECORD_BLOCK_BYTES;
    body %= NR_FRAGMENT_BODY_MAX_BYTES;
    return body == 0 ? end : end + NR_FRAGMENT_HEADER_BYTES + body;
}

void nr_record_writer_init(struct nr_record_writer *writer, struct nr_record_place place, uint64_t sequence,
                           uint32_t count, struct nr_position promise, nori_slice payload)
{
    *writer = (struct nr_record_writer){
        .place = place, .sequence = sequence, .count = count, .promise = promise, .payload = payload};
}

void nr_record_writer_init_next(struct nr_record_writer *writer, struct nr_record_place place, uint64_t sequence,
                                nori_slice payload)
{
    *writer = (struct nr_record_writer){
        .place = place, .sequence = sequence, .count = 1, .payload = payload, .is_next = true};
}

bool nr_record_fits_next(uint64_t offset, size_t payload_bytes)
{
    return payload_bytes <= nr_block_left(nr_record_start(offset)) - NR_FRAGMENT_HEADER_BYTES;
}

void nr_record_writer_init_mark(struct nr_record_writer *writer, struct nr_record_place place,
                                struct nr_position promise)
{
    *writer = (struct nr_record_writer){.place = place, .promise = promise, .is_mark = true};
}

static uint8_t *put_head(const struct nr_record_writer *writer, uint8_t *out)
{
    if (writer->is_next) return out;
    if (!writer->is_mark) {
        nr_put_fixed64(out, writer->sequence);
        nr_put_fixed32(out + 8, writer->count);
        out += NR_RECORD_HEAD_FIXED_BYTES;
    }
    out = nr_put_varint(out, writer->promise.segment);
    return nr_put_varint(out, writer->promise.offset);
}

static enum nr_fragment_type type_of(const struct nr_record_writer *writer, bool is_first, bool is_last)
{
    if (writer->is_mark) return NR_FRAGMENT_MARK;
    if (writer->is_next) return NR_FRAGMENT_NEXT;
    if (is_first) return is_last ? NR_FRAGMENT_FULL : NR_FRAGMENT_FIRST;
    return is_last ? NR_FRAGMENT_LAST : NR_FRAGMENT_MIDDLE;
}

bool nr_record_writer_next(struct nr_record_writer *writer, uint8_t *out, size_t *size_out)
{
    bool is_first = !writer->is_begun;
    size_t padding = 0;

    if (is_first) {
        uint64_t start = nr_record_start(writer->place.offset);
        padding = (size_t)(start - writer->place.offset);
        if (padding > 0) memset(out, 0, padding);
        writer->place.offset = start;
        writer->is_begun = true;
    } else if (writer->payload.size == 0) {
        return false;
    }

    uint8_t *fragment = out + padding;
    uint8_t *body = fragment + NR_FRAGMENT_HEADER_BYTES;
    uint8_t *data = is_first ? put_head(writer, body) : body;
    size_t room = nr_block_left(writer->place.offset) - (size_t)(data - fragment);
    size_t taken = NR_MIN(room, writer->payload.size);
    if (taken > 0) {
        memcpy(data, writer->payload.data, taken);
        writer->payload = nr_slice(writer->payload.data + taken, writer->payload.size - taken);
    }

    size_t size = (size_t)(data - fragment) + taken;
    nr_put_fixed16(fragment + NR_FRAGMENT_LENGTH_AT, (uint16_t)(size - NR_FRAGMENT_HEADER_BYTES));
    fragment[NR_FRAGMENT_TYPE_AT] = (uint8_t)type_of(writer, is_first, writer->payload.size == 0);
    uint64_t seed = nr_checksum_seed(writer->place.database_id, writer->place.number, writer->place.offset);
    if (writer->is_next) seed = nr_next_seed(seed, writer->sequence);
    nr_put_fixed64(fragment,
                   nr_checksum(seed, nr_slice(fragment + NR_FRAGMENT_LENGTH_AT, size - NR_FRAGMENT_LENGTH_AT)));
    writer->place.offset += size;
    *size_out = padding + size;
    return true;
}

nori_status nr_record_encode(struct nr_record_writer *writer, struct nr_buffer *out, struct nori_error *err)
{
    size_t before = out->size, size;

    /* The whole record's room first: a failure in its middle would leave the writer nowhere. */
    uint64_t bound = nr_record_end(writer->place.offset, writer->payload.size) - writer->place.offset;
    nori_status rc = nr_buffer_reserve(out, (size_t)bound, err);
    if (rc != NORI_OK) return rc;
    while (nr_record_writer_next(writer, out->data + out->size, &size)) out->size += size;
    NR_ASSERT(out->size - before <= bound);
    (void)before;
    return NORI_OK;
}

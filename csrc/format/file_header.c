#include "format/file_header.h"

#include "base/checksum.h"
#include "base/coding.h"
#include "format/format.h"

/* magic 8, version 4, zero 4, read features 8, write features 8, database id 8, number 8, extra 4 x 8, zero 8, checksum
 * 8 */
enum { VERSION_AT = 8, FEATURES_AT = 16, ID_AT = 32, NUMBER_AT = 40, EXTRA_AT = 48, CHECKSUM_AT = 88 };
_Static_assert(EXTRA_AT + 8 * NR_FILE_HEADER_EXTRA <= CHECKSUM_AT, "extra fields fit");
_Static_assert(CHECKSUM_AT + 8 == NR_FILE_HEADER_BYTES, "the checksum is last");

void nr_file_header_encode(const struct nr_file_header *header, uint8_t out[NR_FILE_HEADER_BYTES])
{
    memset(out, 0, NR_FILE_HEADER_BYTES);
    nr_put_fixed64(out, header->magic);
    nr_put_fixed32(out + VERSION_AT, NR_FORMAT_VERSION);
    nr_put_fixed64(out + FEATURES_AT, header->read_features);
    nr_put_fixed64(out + FEATURES_AT + 8, header->write_features);
    nr_put_fixed64(out + ID_AT, header->database_id);
    nr_put_fixed64(out + NUMBER_AT, header->number);
    for (int i = 0; i < NR_FILE_HEADER_EXTRA; i++) nr_put_fixed64(out + EXTRA_AT + 8 * i, header->extra[i]);
    nr_put_fixed64(out + CHECKSUM_AT, nr_checksum(header->magic, nr_slice(out, CHECKSUM_AT)));
}

/* Each kind of file has features of its own. */
static uint64_t known_read_features(uint64_t magic)
{
    if (magic == NR_MAGIC_TABLE) return NR_READ_FEATURE_STAMPED;
    return magic == NR_MAGIC_SEGMENT ? NR_READ_FEATURE_HEADLESS : 0;
}

enum nr_header_verdict nr_file_header_decode(nori_slice bytes, uint64_t magic, struct nr_file_header *header_out)
{
    const uint8_t *in = bytes.data;
    if (bytes.size < NR_FILE_HEADER_BYTES || nr_get_fixed64(in) != magic) return NR_HEADER_DAMAGED;
    if (!nr_checksum_matches(magic, nr_slice(in, CHECKSUM_AT), nr_get_fixed64(in + CHECKSUM_AT)))
        return NR_HEADER_DAMAGED;
    header_out->magic = magic;
    header_out->read_features = nr_get_fixed64(in + FEATURES_AT);
    header_out->write_features = nr_get_fixed64(in + FEATURES_AT + 8);
    header_out->database_id = nr_get_fixed64(in + ID_AT);
    header_out->number = nr_get_fixed64(in + NUMBER_AT);
    for (int i = 0; i < NR_FILE_HEADER_EXTRA; i++) header_out->extra[i] = nr_get_fixed64(in + EXTRA_AT + 8 * i);
    if (nr_get_fixed32(in + VERSION_AT) != NR_FORMAT_VERSION ||
        (header_out->read_features & ~known_read_features(magic)))
        return NR_HEADER_UNREADABLE;
    return NR_HEADER_VALID;
}

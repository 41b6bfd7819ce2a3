/* The bytes of framed records. FORMAT.md is the specification.
 *
 * A fragment: checksum fixed64 (of all that follows in it), length fixed16 (of the body), type, body. The body of a
 * first or full fragment begins with the record's head: sequence fixed64, count fixed32, promise segment and offset as
 * varints. A mark's body is the two varints. A promise never names a later file than the one it stands in.
 *
 * A record begins only where the longest head fits; what is left of a block before that is zeros. Whether it fits
 * depends on the offset alone, so reader and writer agree without looking. A record's later fragments begin at blocks'
 * starts, and all but its last end at blocks' ends.
 *
 * A next fragment is a whole record without a head: of one operation, with the sequence that follows on the record
 * before it. What it leaves out its checksum's seed has. */
#ifndef NR_WAL_RECORD_FORMAT_H
#define NR_WAL_RECORD_FORMAT_H

#include "base/coding.h"
#include "format/file_header.h"
#include "wal/record.h"

/* Zero is no type: zeros are not a fragment. */
enum nr_fragment_type {
    NR_FRAGMENT_FULL = 1,
    NR_FRAGMENT_FIRST = 2,
    NR_FRAGMENT_MIDDLE = 3,
    NR_FRAGMENT_LAST = 4,
    NR_FRAGMENT_MARK = 5,
    NR_FRAGMENT_NEXT = 6,
};

enum {
    NR_FRAGMENT_LENGTH_AT = 8,
    NR_FRAGMENT_TYPE_AT = 10,
    NR_FRAGMENT_HEADER_BYTES = 11,
    NR_MARK_BODY_MAX_BYTES = 2 * NR_VARINT_MAX_BYTES,
    NR_RECORD_HEAD_FIXED_BYTES = 8 + 4,
    NR_RECORD_HEAD_MAX_BYTES = NR_RECORD_HEAD_FIXED_BYTES + NR_MARK_BODY_MAX_BYTES,
    /* With fewer bytes left in a block, a record begins in the next. */
    NR_RECORD_START_BYTES = NR_FRAGMENT_HEADER_BYTES + NR_RECORD_HEAD_MAX_BYTES,
    NR_FRAGMENT_BODY_MAX_BYTES = (int)NR_RECORD_BLOCK_BYTES - NR_FRAGMENT_HEADER_BYTES,
    /* A mark with the padding before it takes at most this. */
    NR_MARK_MAX_BYTES = NR_RECORD_START_BYTES - 1 + NR_FRAGMENT_HEADER_BYTES + NR_MARK_BODY_MAX_BYTES,
};

_Static_assert(NR_FRAGMENT_TYPE_AT == NR_FRAGMENT_LENGTH_AT + 2, "the type follows the length");
_Static_assert(NR_FRAGMENT_HEADER_BYTES == NR_FRAGMENT_TYPE_AT + 1, "the body follows the type");
_Static_assert(NR_FRAGMENT_BODY_MAX_BYTES <= UINT16_MAX, "a body's length fits its field");
_Static_assert(NR_FILE_HEADER_BYTES + NR_RECORD_START_BYTES <= NR_RECORD_BLOCK_BYTES, "block 0 holds a record");
_Static_assert((NR_RECORD_BLOCK_BYTES & (NR_RECORD_BLOCK_BYTES - 1)) == 0, "offsets are masked");

/* A segment's header: extra fields. */
enum { NR_SEGMENT_PREVIOUS_NUMBER = 0, NR_SEGMENT_PREVIOUS_END = 1, NR_SEGMENT_PREVIOUS_SEQUENCE = 2 };
_Static_assert(NR_SEGMENT_PREVIOUS_SEQUENCE < NR_FILE_HEADER_EXTRA, "the link fits");

static inline uint32_t nr_block_left(uint64_t offset)
{
    return NR_RECORD_BLOCK_BYTES - (uint32_t)(offset & (NR_RECORD_BLOCK_BYTES - 1));
}

/* The seed of a next fragment's checksum, by that of its place: what follows on another record is not right. */
static inline uint64_t nr_next_seed(uint64_t place_seed, uint64_t sequence)
{
    return place_seed ^ sequence;
}

/* Where a record written at 'offset' begins. */
static inline uint64_t nr_record_start(uint64_t offset)
{
    uint32_t left = nr_block_left(offset);
    return left < NR_RECORD_START_BYTES ? offset + left : offset;
}

#endif

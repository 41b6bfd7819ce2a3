/* The bytes of a table file. FORMAT.md is the specification.
 *
 *     data blocks, one behind the other from offset 0
 *     sections: filter (of either kind), range tombstones, index, properties, in the directory's order, without gaps
 *     directory: per section kind fixed32, flags fixed32, offset fixed64, stored bytes fixed64
 *     footer: a file header (format/file_header.h)
 *
 * Blocks, sections and the directory each end in a trailer: compression 1, bytes before compression fixed32, checksum
 * fixed64 over all before it, seeded by database, file and offset.
 *
 * A data block: entries, then the offsets of its restarts (fixed32 each), then their count (fixed32). An entry: shared
 * varint, unshared varint, value bytes varint, the unshared part of the key, tag fixed64, value. At a restart nothing
 * is shared. */
#ifndef NR_TABLE_TABLE_FORMAT_H
#define NR_TABLE_TABLE_FORMAT_H

#include "format/file_header.h"
#include "format/format.h"

enum { NR_TRAILER_COMPRESSION_AT = 0, NR_TRAILER_SIZE_AT = 1, NR_TRAILER_CHECKSUM_AT = 5, NR_TRAILER_BYTES = 13 };
_Static_assert(NR_TRAILER_CHECKSUM_AT + 8 == NR_TRAILER_BYTES, "the checksum is last");

/* No more entries than this from one restart to the next; a writer also restarts when it has come this far. */
#define NR_RESTART_INTERVAL 16
#define NR_RESTART_BYTES 512
/* Three varints, an empty key, a tag, an empty value. */
#define NR_MIN_ENTRY_BYTES (3 + NR_TAG_BYTES)
/* One entry, its restart, their count. */
#define NR_MIN_BLOCK_BYTES (NR_MIN_ENTRY_BYTES + 4 + 4)
/* A stored block is larger than this: its trailer and whatever it was compressed to. */
#define NR_MIN_STORED_BYTES 16

enum nr_section_kind {
    NR_SECTION_FILTER = 1,
    NR_SECTION_TOMBSTONES = 2,
    NR_SECTION_INDEX = 3,
    NR_SECTION_PROPERTIES = 4,
    NR_SECTION_RIBBON = 5, /* Ignorable. */
};
/* A reader that does not know the kind may go on without it. */
#define NR_SECTION_IGNORABLE 1u

enum {
    NR_DIRECTORY_KIND_AT = 0,
    NR_DIRECTORY_FLAGS_AT = 4,
    NR_DIRECTORY_OFFSET_AT = 8,
    NR_DIRECTORY_SIZE_AT = 16,
    NR_DIRECTORY_ENTRY_BYTES = 24
};
#define NR_MAX_SECTIONS 64
/* The separators of an index, written out, take at most this much more than the data blocks. */
#define NR_INDEX_ALLOWANCE_BYTES (64u << 20)

/* The footer's extra fields. */
enum { NR_FOOTER_DIRECTORY_OFFSET = 0, NR_FOOTER_DIRECTORY_SIZE = 1, NR_FOOTER_DATA_END = 2 };
_Static_assert(NR_FOOTER_DATA_END < NR_FILE_HEADER_EXTRA, "the footer's fields fit");

/* The filter: lines of 64 bytes, then kind fixed32, probes fixed32, line count fixed64. */
#define NR_FILTER_LINE_BYTES 64
#define NR_FILTER_BLOCKED_BLOOM 1
enum { NR_FILTER_KIND_AT = 0, NR_FILTER_PROBES_AT = 4, NR_FILTER_LINES_AT = 8, NR_FILTER_END_BYTES = 16 };
#define NR_FILTER_MAX_PROBES 30

/* The ribbon filter: blocks of one fixed64 for each result bit, then result bits fixed32, seed fixed32, block count
 * fixed64. */
#define NR_RIBBON_BLOCK_SLOTS 64
enum { NR_RIBBON_BITS_AT = 0, NR_RIBBON_SEED_AT = 4, NR_RIBBON_BLOCKS_AT = 8, NR_RIBBON_END_BYTES = 16 };
#define NR_RIBBON_MAX_RESULT_BITS 32

#endif

/* Framed records: the bytes of log segments and manifests behind their header.
 *
 * A file is cut into blocks of 32 KiB. A record is one fragment, or several, none crossing a block; a fragment begins
 * with a checksum seeded by database, file number and offset, so stale bytes of a recycled file are never valid. Behind
 * damage a reader finds its footing again at the next block. The first fragment of a record carries its sequence, count
 * and the greatest position known to be synced when it was written: the promise. A mark is a record that carries
 * nothing else, a next record one that carries neither: of one operation, and behind a record of the same file, on
 * whose sequence it follows. FORMAT.md has the bytes. */
#ifndef NR_WAL_RECORD_H
#define NR_WAL_RECORD_H

#include "base/buffer.h"
#include "io/env.h"

#define NR_RECORD_BLOCK_BYTES 32768u

/* A place in a chain of files; ordered by file, then offset. */
struct nr_position {
    uint64_t segment;
    uint64_t offset;
};

static inline int nr_position_compare(struct nr_position a, struct nr_position b)
{
    if (a.segment != b.segment) return a.segment < b.segment ? -1 : 1;
    return a.offset < b.offset ? -1 : a.offset > b.offset;
}

struct nr_record_place {
    uint64_t database_id;
    uint64_t number; /* Of the file. */
    uint64_t offset; /* In the file. */
};

/* Where a record of 'payload_bytes' written at 'offset' ends at the latest: how long it is depends a little on what it
 * promises. A block's tail too short for a record's longest head is skipped (zero-filled). */
uint64_t nr_record_end(uint64_t offset, size_t payload_bytes);

/* Encodes a record fragment by fragment, so that a large one needs no copy of its whole. */
struct nr_record_writer {
    struct nr_record_place place; /* Of the next fragment. */
    uint64_t sequence;
    uint32_t count;
    struct nr_position promise;
    nori_slice payload; /* What is left. */
    bool is_begun;
    bool is_mark;
    bool is_next;
};
void nr_record_writer_init(struct nr_record_writer *writer, struct nr_record_place place, uint64_t sequence,
                           uint32_t count, struct nr_position promise, nori_slice payload);
/* For what nr_record_fits_next says yes to. */
void nr_record_writer_init_next(struct nr_record_writer *writer, struct nr_record_place place, uint64_t sequence,
                                nori_slice payload);
/* Whether a record written at 'offset' has room in its block as a next one, which is one fragment. */
bool nr_record_fits_next(uint64_t offset, size_t payload_bytes);
void nr_record_writer_init_mark(struct nr_record_writer *writer, struct nr_record_place place,
                                struct nr_position promise);
/* Writes the next fragment (with the padding before it, if any) to 'out', at most 2 * NR_RECORD_BLOCK_BYTES; false when
 * there was none left. */
bool nr_record_writer_next(struct nr_record_writer *writer, uint8_t *out, size_t *size_out);
/* The whole record appended to 'out'. */
NORI_WARN_UNUSED nori_status nr_record_encode(struct nr_record_writer *writer, struct nr_buffer *out,
                                              struct nori_error *err);

struct nr_record {
    uint64_t sequence;
    uint32_t count;
    bool is_mark;
    nori_slice payload;  /* Borrowed from the reader until its next call. */
    uint64_t offset;     /* Where the record begins, */
    uint64_t end_offset; /* and ends. */
};

/* Reads a file's records in order up to the first position that is not valid, and all promises up to its physical
 * end. Memory is bounded by what the file really holds. */
struct nr_record_reader;
/* Borrows 'file'. Begins at 'start_offset'. */
NORI_WARN_UNUSED nori_status nr_record_reader_create(struct nr_file *file, uint64_t database_id, uint64_t number,
                                                     uint64_t start_offset, struct nr_record_reader **reader_out,
                                                     struct nori_error *err);
void nr_record_reader_destroy(struct nr_record_reader *reader);
/* The next record (marks included). '*found_out' false: the end of what is valid, at nr_record_reader_end. Fails only
 * if reading does: a damaged record is an end, not an error. */
NORI_WARN_UNUSED nori_status nr_record_reader_next(struct nr_record_reader *reader, struct nr_record *record_out,
                                                   bool *found_out, struct nori_error *err);
uint64_t nr_record_reader_end(const struct nr_record_reader *reader);
/* Reads on to the physical end (zeros, stale and bad bytes are skipped). */
NORI_WARN_UNUSED nori_status nr_record_reader_finish(struct nr_record_reader *reader, struct nori_error *err);
/* The greatest promise seen so far, in valid first fragments anywhere; {0, 0} if none. */
struct nr_position nr_record_reader_promise(const struct nr_record_reader *reader);

#endif

/* Limits, versions and names that the formats share. FORMAT.md is the specification. */
#ifndef NR_FORMAT_FORMAT_H
#define NR_FORMAT_FORMAT_H

#include "base/slice.h"

#define NR_FORMAT_VERSION 1

/* Feature bits: a reader that does not know a bit of the first kind must not read; one that does not know a bit of the
 * second kind must not write. Version 1 defines two. */
#define NR_READ_FEATURE_STAMPED 1ull  /* Of a table: all its entries have the sequence that the manifest says. */
#define NR_READ_FEATURE_HEADLESS 2ull /* Of a segment: it may have records without a head. */
#define NR_WRITE_FEATURES_KNOWN 0ull

/* Blocks above this are stored raw: no allocation is larger than its file plus this. */
#define NR_MAX_COMPRESSED_BLOCK_BYTES (64u << 20)

/* Entry types: the low byte of a tag. 0x10 (merge operand) and 0x20 (pointer into a value file) are reserved. */
enum nr_entry_type {
    NR_TYPE_DELETE = 0x00,
    NR_TYPE_PUT = 0x01,
    NR_TYPE_PUT_EXPIRING = 0x02, /* The value begins with its expiry, fixed64 TTL-clock milliseconds. */
    NR_TYPE_RANGE_DELETE = 0x03, /* In batches and logs only; key is the start, value the stop. */
};

/* A tag is sequence << 8 | type. For one key, newer entries (greater tags) come first. */
#define NR_MAX_SEQUENCE ((1ull << 56) - 1)
#define NR_TAG_BYTES 8
#define NR_EXPIRY_BYTES 8

static inline uint64_t nr_tag(uint64_t sequence, enum nr_entry_type type)
{
    return sequence << 8 | (uint64_t)type;
}
static inline uint64_t nr_tag_sequence(uint64_t tag)
{
    return tag >> 8;
}
static inline unsigned nr_tag_type(uint64_t tag)
{
    return (unsigned)(tag & 0xff);
}
/* The tag to seek for the newest entry at or below a sequence. */
static inline uint64_t nr_tag_seek(uint64_t sequence)
{
    return sequence << 8 | 0xff;
}
static inline int nr_entry_compare(nori_slice a, uint64_t a_tag, nori_slice b, uint64_t b_tag)
{
    int order = nr_slice_compare(a, b);
    if (order != 0) return order;
    return a_tag > b_tag ? -1 : a_tag < b_tag;
}

/* No file, run or slot of ours has a number as large: counting on from any of them never comes to an end. Names have no
 * number above INT64_MAX. */
#define NR_NUMBER_LIMIT (1ull << 62)

/* File names. Generated from numbers, parsed strictly: at least six digits, no more zeros than that takes. */
enum nr_file_kind {
    NR_FILE_OTHER, /* Not ours; never touched. */
    NR_FILE_CURRENT,
    NR_FILE_CURRENT_TEMPORARY,
    NR_FILE_HEAT,
    NR_FILE_HEAT_TEMPORARY,
    NR_FILE_LOCK,
    NR_FILE_MANIFEST,
    NR_FILE_TABLE,
    NR_FILE_SEGMENT, /* In wal/. */
};
#define NR_FILE_NAME_BYTES 40
#define NR_CURRENT_NAME "CURRENT"
#define NR_CURRENT_TEMPORARY_NAME "CURRENT.tmp"
#define NR_HEAT_NAME "HEAT"
#define NR_HEAT_TEMPORARY_NAME "HEAT.tmp"
#define NR_LOCK_NAME "LOCK"
#define NR_WAL_DIRECTORY "wal"

void nr_name_manifest(char out[NR_FILE_NAME_BYTES], uint64_t number); /* MANIFEST-000001 */
void nr_name_table(char out[NR_FILE_NAME_BYTES], uint64_t number);    /* 000001.sst */
void nr_name_segment(char out[NR_FILE_NAME_BYTES], uint64_t number);  /* 000001.log */
enum nr_file_kind nr_name_parse(const char *name, uint64_t *number_out);

#endif

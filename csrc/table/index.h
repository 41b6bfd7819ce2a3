/* The index: for each data block where it lies and a separator, (key, tag), that is at or behind its last entry and
 * before the first of the next block.
 *
 * Separators are as short as their neighbours allow, with tag 0; where the versions of one key straddle two blocks the
 * separator is the last entry itself. In memory the bytes that all separators begin with are kept once. What follows
 * them is searched by its first eight bytes: a tree of cache lines, each level the greatest of every eight of the level
 * below. Only where these tie are keys compared.
 *
 * The section: block count varint; per block stored bytes varint, shared * 2 + 'has a tag' varint, unshared varint, the
 * unshared part of the separator's key, its tag fixed64 if it has one. */
#ifndef NR_TABLE_INDEX_H
#define NR_TABLE_INDEX_H

#include "base/buffer.h"
#include "table/table_format.h"

struct nr_index_writer {
    struct nr_buffer entries;
    struct nr_buffer last; /* The separator added last, */
    size_t shared;         /* and how many bytes it has in common with the one before. */
    uint64_t block_count;
    uint64_t key_bytes; /* Of all separators, whole: what a reader may have to hold. */
};

void nr_index_writer_init(struct nr_index_writer *writer);
void nr_index_writer_clear(struct nr_index_writer *writer);
/* A block of 'stored_bytes' whose last entry is (last, last_tag); 'next' is the first key behind it, NULL at the end.
 */
NORI_WARN_UNUSED nori_status nr_index_writer_add(struct nr_index_writer *writer, uint64_t stored_bytes, nori_slice last,
                                                 uint64_t last_tag, const nori_slice *next, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_index_writer_finish(const struct nr_index_writer *writer, struct nr_buffer *out,
                                                    struct nori_error *err);

#define NR_INDEX_FANOUT 8
#define NR_INDEX_MAX_LEVELS 11 /* 8^11 > 2^32 */

struct nr_index_block {
    uint64_t offset; /* In the file. */
    uint32_t key_at; /* In keys; the next one's is its end. */
};

struct nr_index {
    size_t block_count;
    struct nr_index_block *blocks; /* block_count + 1; the last holds the ends. */
    uint8_t *keys;                 /* Of the separators, without what is common. */
    uint64_t *tags;                /* NULL: all are 0. */
    uint8_t *common;
    size_t common_size;
    uint64_t *prefixes; /* All levels, each rounded up to whole lines, padded with the greatest value. */
    size_t level_at[NR_INDEX_MAX_LEVELS]; /* In prefixes. */
    size_t level_lines[NR_INDEX_MAX_LEVELS];
    unsigned level_count;
    size_t bytes; /* Memory. */
    /* Of whoever has more to know of a block: eight bytes for each, aligned to a line. A search has those fetched that
     * it comes to. Borrowed; NULL: none. */
    const void *beside;
};

/* 'data_end' is where the blocks must end together. '*valid_out' is false if the section makes no sense. */
NORI_WARN_UNUSED nori_status nr_index_init(struct nr_index *index, nori_slice section, uint64_t data_end,
                                           bool *valid_out, struct nori_error *err);
void nr_index_clear(struct nr_index *index);

/* The first block whose separator is at or behind (key, tag): the only one that can hold the first entry there, but for
 * the block behind it. block_count if none. */
size_t nr_index_find(const struct nr_index *index, nori_slice key, uint64_t tag);

static inline uint64_t nr_index_block_offset(const struct nr_index *index, size_t block)
{
    return index->blocks[block].offset;
}
static inline size_t nr_index_block_bytes(const struct nr_index *index, size_t block)
{
    return (size_t)(index->blocks[block + 1].offset - index->blocks[block].offset);
}
/* The separator behind what is common. */
static inline nori_slice nr_index_suffix(const struct nr_index *index, size_t block)
{
    uint32_t at = index->blocks[block].key_at;
    return nr_slice(index->keys + at, index->blocks[block + 1].key_at - at);
}
/* How the separator compares to (key, tag). */
int nr_index_compare(const struct nr_index *index, size_t block, nori_slice key, uint64_t tag);
/* About how many bytes of blocks lie before 'key', by taking keys for evenly spread within a block. */
uint64_t nr_index_position(const struct nr_index *index, nori_slice key);

#endif

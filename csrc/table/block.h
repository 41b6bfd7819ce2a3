/* Data blocks: written entry by entry, searched and decoded where they lie.
 *
 * A verified checksum says that a block is what was written, not that it makes sense: every decoder stays inside the
 * block whatever its bytes are, and says so when they cannot be right. */
#ifndef NR_TABLE_BLOCK_H
#define NR_TABLE_BLOCK_H

#include "base/buffer.h"
#include "base/coding.h"
#include "table/table_format.h"

struct nr_block_writer {
    struct nr_buffer bytes;
    struct nr_buffer restarts; /* As they go behind the entries. */
    uint32_t entry_count;
    uint32_t since_restart; /* Entries. */
    size_t restart_at;
};

void nr_block_writer_init(struct nr_block_writer *writer);
void nr_block_writer_clear(struct nr_block_writer *writer);
/* 'shared': bytes that the key has in common with the one before; ignored at restarts. */
NORI_WARN_UNUSED nori_status nr_block_writer_add(struct nr_block_writer *writer, size_t shared, nori_slice key,
                                                 uint64_t tag, nori_slice value, struct nori_error *err);
/* What the block comes to if it ends here. */
size_t nr_block_writer_bytes(const struct nr_block_writer *writer);
/* Completes writer->bytes, with room for a trailer behind. */
NORI_WARN_UNUSED nori_status nr_block_writer_finish(struct nr_block_writer *writer, struct nori_error *err);
void nr_block_writer_reset(struct nr_block_writer *writer);

struct nr_block_view {
    const uint8_t *data;
    const uint8_t *limit;     /* End of the entries. */
    const uint8_t *restarts;  /* Offsets, fixed32. */
    uint32_t restart_count;   /* >= 1 */
    uint32_t skipped;         /* What every key sought in this block begins with as its own keys do; for prefixes. */
    const uint64_t *prefixes; /* Of the restarts' keys behind 'skipped' bytes; NULL: none. */
    bool keys_differ;         /* No key has two entries. False until somebody who knows sets it. */
};

/* False if the bytes cannot be a block. */
bool nr_block_view_init(struct nr_block_view *view, const uint8_t *data, size_t size);

/* A block in memory may have a summary in front, made when it was read: its restarts' offsets and the first bytes of
 * their keys, so that a search goes from the block's head to the right interval at once. */
struct nr_block_summary {
    uint32_t restart_count; /* 0: the block follows right behind these eight bytes. */
    uint32_t skipped;
    uint64_t prefixes[]; /* Then offsets fixed32, one for each, up to a multiple of eight bytes. */
};

/* Larger blocks have none: what a search of them touches counts for little. */
#define NR_BLOCK_SUMMARIZED_BYTES 16384
static inline size_t nr_block_summary_bytes(uint32_t restart_count)
{
    return sizeof(struct nr_block_summary) + 8 * (size_t)restart_count + 8 * (((size_t)restart_count + 1) / 2);
}
/* Into 'out', eight-byte aligned, nr_block_summary_bytes(view->restart_count) of them. False if damaged. */
bool nr_block_summary_make(const struct nr_block_view *view, uint32_t skipped, void *out);
/* The view of a block with its summary. */
bool nr_block_view_summarized(struct nr_block_view *view, const uint8_t *data, size_t size);

struct nr_block_entry {
    size_t shared;
    size_t unshared;
    size_t value_size;
    const uint8_t *suffix; /* The unshared part of the key; the tag and the value follow. */
    uint64_t tag;
};

static inline nori_slice nr_block_entry_value(const struct nr_block_entry *entry)
{
    return nr_slice(entry->suffix + entry->unshared + NR_TAG_BYTES, entry->value_size);
}

bool nr_block_entry_decode_slow(const uint8_t *at, const uint8_t *limit, struct nr_block_entry *entry_out);

/* The entry at 'at': the byte behind it, or NULL if it does not lie within 'limit'. */
static inline const uint8_t *nr_block_entry_decode(const uint8_t *at, const uint8_t *limit,
                                                   struct nr_block_entry *entry_out)
{
    size_t left;
    if (NR_LIKELY(limit - at >= NR_MIN_ENTRY_BYTES && (at[0] | at[1] | at[2]) < 0x80)) {
        entry_out->shared = at[0];
        entry_out->unshared = at[1];
        entry_out->value_size = at[2];
        entry_out->suffix = at + 3;
    } else if (!nr_block_entry_decode_slow(at, limit, entry_out)) {
        return NULL;
    }
    left = (size_t)(limit - entry_out->suffix);
    if (NR_UNLIKELY(left < NR_TAG_BYTES || left - NR_TAG_BYTES < entry_out->unshared ||
                    left - NR_TAG_BYTES - entry_out->unshared < entry_out->value_size))
        return NULL;
    entry_out->tag = nr_get_fixed64(entry_out->suffix + entry_out->unshared);
    return entry_out->suffix + entry_out->unshared + NR_TAG_BYTES + entry_out->value_size;
}

/* Gives all entries of the block the sequence. False if they make no sense. */
bool nr_block_stamp(uint8_t *data, size_t size, uint64_t sequence);

/* Whether the entry is one a table may hold. */
static inline bool nr_block_entry_is_known(uint64_t tag, size_t value_size)
{
    unsigned type = nr_tag_type(tag);
    return type <= NR_TYPE_PUT || (type == NR_TYPE_PUT_EXPIRING && value_size >= NR_EXPIRY_BYTES);
}

/* Where restart 'index' begins, or NULL if that is not in the block. */
static inline const uint8_t *nr_block_restart(const struct nr_block_view *view, uint32_t index)
{
    uint32_t offset = nr_get_fixed32(view->restarts + 4 * (size_t)index);
    return offset < (size_t)(view->limit - view->data) ? view->data + offset : NULL;
}

enum nr_block_verdict {
    NR_BLOCK_SAME_KEY, /* The entry has the key. */
    NR_BLOCK_GREATER,  /* The entry has a greater key. */
    NR_BLOCK_END,      /* No such entry. */
    NR_BLOCK_DAMAGED,
};

struct nr_block_place {
    struct nr_block_entry entry;
    const uint8_t *at;   /* The entry. */
    const uint8_t *next; /* Behind it. */
    uint32_t restart;    /* Its interval. */
    bool key_was_seen;   /* The key is in the block, in whatever version. */
};

/* The first entry at or after (key, tag). */
enum nr_block_verdict nr_block_search(const struct nr_block_view *view, nori_slice key, uint64_t tag,
                                      struct nr_block_place *place_out);
/* The same in two steps: where the interval begins in which to search, NULL if damaged, which is fetched from memory;
 * and the search from there on, which leaves place->restart as it is. Where keys differ and one restart's key has the
 * first bytes of the one sought, the interval is that restart's: its entry is the one, or smaller. If it is greater,
 * the first step was wrong, and is to be made again without. */
const uint8_t *nr_block_seek(const struct nr_block_view *view, nori_slice key, uint64_t tag, uint32_t *restart_out);
enum nr_block_verdict nr_block_search_from(const struct nr_block_view *view, const uint8_t *at, nori_slice key,
                                           uint64_t tag, struct nr_block_place *place);
/* The last restart whose entry lies before (key, tag), or at it with 'or_at'. False if damaged; '*found_out' is false
 * where all lie behind. */
bool nr_block_find_restart(const struct nr_block_view *view, nori_slice key, uint64_t tag, bool or_at,
                           uint32_t *restart_out, bool *found_out);

#endif

/* What a table says about itself; kept in the table and, copied, in the manifest. */
#ifndef NR_TABLE_PROPERTIES_H
#define NR_TABLE_PROPERTIES_H

#include "base/buffer.h"

struct nr_table_properties {
    nori_slice smallest; /* First key, of entries and range tombstones. */
    struct nr_bound end; /* Exclusive end of both: the last key's successor (a zero byte appended), or a range's end. */
    uint64_t smallest_sequence;
    uint64_t largest_sequence;
    uint64_t entry_count;  /* Point entries, deletes too. */
    uint64_t delete_count; /* Point deletes among them. */
    uint64_t range_count;  /* Range tombstones, counted by fragment and sequence. */
    uint64_t key_bytes;    /* Of entries, user keys. */
    uint64_t value_bytes;
    uint64_t unexpiring_count;   /* Puts without an expiry. */
    uint64_t smallest_expiry_ms; /* 0 when no entry has one. */
    uint64_t largest_expiry_ms;
    uint64_t block_count;
    uint32_t level;      /* It was written for. */
    uint64_t slot_id;    /* It was written for; 0: level 0. */
    uint64_t created_ms; /* TTL clock. */
    /* How long what expires was to live, the longest, as the flush saw it; merges take the longest of their inputs. 0:
     * not known, or nothing expires. */
    uint64_t lifetime_ms;
    /* Puts of keys of which there was nothing older, no two of one key. That stays true: what is older only becomes
     * less. 0: not counted. */
    uint64_t fresh_count;
    uint64_t distinct_count; /* Different keys of entries. 0: not counted, by an earlier version. */
};

/* Expired entries are to be gone a tenth of their lifetime after they expired. From this part on they are a reason to
 * merge. */
#define NR_EXPIRED_DUE 0.09
/* When the table becomes one: when all of it has expired, or its first entry so long ago; UINT64_MAX: it does not. */
uint64_t nr_properties_due_ms(const struct nr_table_properties *properties);

/* Whether it is known that no key has two entries. */
static inline bool nr_properties_keys_differ(const struct nr_table_properties *properties)
{
    return properties->entry_count > 0 && properties->distinct_count == properties->entry_count;
}

/* The name of something that the two do not say alike; NULL: they agree. */
const char *nr_properties_difference(const struct nr_table_properties *a, const struct nr_table_properties *b);

/* Appends / consumes an encoding with room for fields to come. Decoded slices borrow from the input. */
NORI_WARN_UNUSED nori_status nr_properties_encode(const struct nr_table_properties *properties, struct nr_buffer *out,
                                                  struct nori_error *err);
bool nr_properties_decode(nori_slice *input, struct nr_table_properties *properties_out);

#endif

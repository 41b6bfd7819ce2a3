/* A point lookup on its way through the sources, newest to oldest.
 *
 * Each source that is asked adds what it knows: a range tombstone over the key, an entry. By the age order every
 * sequence in an older source is smaller, so the first source that adds anything decides. */
#ifndef NR_ITER_LOOKUP_H
#define NR_ITER_LOOKUP_H

#include "iter/tombstones.h"
#include "iter/visible.h"

struct nr_lookup {
    nori_slice key;
    uint64_t hash;               /* nr_hash_key(key) */
    uint64_t sequence;           /* What lies above is not seen. */
    uint64_t tombstone_sequence; /* Greatest visible range tombstone over the key so far; 0: none. */
    bool found;                  /* An entry was found: tag and value. */
    uint64_t tag;
    nori_slice value; /* Borrowed from the source; with its expiry if the type has one. */
};

static inline bool nr_lookup_decided(const struct nr_lookup *lookup)
{
    return lookup->found || lookup->tombstone_sequence != 0;
}

/* After the search: whether the key has a value at 'now_ms'; '*value_out' comes without expiry. A value too short for
 * its type is no value: sources check that before they hand it over. */
static inline bool nr_lookup_value(const struct nr_lookup *lookup, uint64_t now_ms, nori_slice *value_out)
{
    uint64_t expires_at_ms = 0;
    unsigned type = nr_tag_type(lookup->tag);
    nori_slice value = lookup->value;
    if (!lookup->found || nr_tag_sequence(lookup->tag) < lookup->tombstone_sequence) return false;
    if (type != NR_TYPE_PUT && type != NR_TYPE_PUT_EXPIRING) return false;
    if (!nr_entry_expiry(type, &value, &expires_at_ms)) return false;
    *value_out = value;
    return expires_at_ms == 0 || expires_at_ms > now_ms;
}

#endif

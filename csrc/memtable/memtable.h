/* The memtable: entries not yet in a table, found by key at once, and in order by whoever asks for order (order.h).
 *
 * One writer at a time (engine.commit_lock), any number of readers, who take no lock but to put entries in order.
 * Entries are never changed or removed; nodes are freed with the memtable. A node's bytes are final before its pointer
 * is published (release); readers follow pointers with acquire. What is above the sequence a reader asks for is not
 * seen.
 *
 * A write first reserves memory for all of its operations, which may fail, and later inserts them, which cannot. */
#ifndef NR_MEMTABLE_MEMTABLE_H
#define NR_MEMTABLE_MEMTABLE_H

#include "base/epoch.h"
#include "iter/iter.h"
#include "iter/lookup.h"
#include "memtable/batch.h"

struct nr_memtable;

/* One reference for the caller. 'expected_bytes': its usual size, for the filter. 'epoch': where replaced tombstone
 * sets are retired; borrowed. */
NORI_WARN_UNUSED nori_status nr_memtable_create(struct nr_epoch *epoch, size_t expected_bytes,
                                                struct nr_memtable **memtable_out, struct nori_error *err);
struct nr_memtable *nr_memtable_ref(struct nr_memtable *memtable);
void nr_memtable_unref(struct nr_memtable *memtable); /* NULL is fine. */

/* The writer's. Memory for the operations of 'payload'; also checks them (CORRUPTION). 'count' is how many there must
 * be. What was reserved and not used is used by the next. */
NORI_WARN_UNUSED nori_status nr_memtable_reserve(struct nr_memtable *memtable, nori_slice payload, uint64_t count,
                                                 uint64_t first_sequence, struct nori_error *err);
/* The writer's, after reserve with the same payload. Cannot fail. */
void nr_memtable_insert(struct nr_memtable *memtable, nori_slice payload, uint64_t count, uint64_t first_sequence);
/* The fast path for one put or delete: reserve, then insert. 'value' with expiry in front if the type says so. */
NORI_WARN_UNUSED nori_status nr_memtable_reserve_one(struct nr_memtable *memtable, nori_slice key, nori_slice value,
                                                     struct nori_error *err);
void nr_memtable_insert_one(struct nr_memtable *memtable, unsigned type, nori_slice key, nori_slice value,
                            uint64_t sequence);

/* Ahead of nr_memtable_get, in this order, other work in between: what it looks at first comes from memory meanwhile.
 */
void nr_memtable_prefetch(struct nr_memtable *memtable, uint64_t hash);
void nr_memtable_prefetch_entry(struct nr_memtable *memtable, uint64_t hash);
/* Readers, inside the epoch. Fills 'lookup' with the newest entry at or below its sequence, and with range tombstones.
 */
void nr_memtable_get(struct nr_memtable *memtable, struct nr_lookup *lookup);
/* Whether a write above 'since' touched a key in [first, last] (last NULL: to the end): point entries and range
 * deletes. The writer's, or readers'. */
bool nr_memtable_touched(struct nr_memtable *memtable, nori_slice first, const nori_slice *last, uint64_t since);
/* Iterates the point entries; refs the memtable. */
NORI_WARN_UNUSED nori_status nr_memtable_iter_create(struct nr_memtable *memtable, struct nr_iter **iter_out,
                                                     struct nori_error *err);
/* Its range tombstones at this moment, one reference for the caller; NULL if there are none. Inside the epoch. */
NORI_WARN_UNUSED nori_status nr_memtable_tombstones(struct nr_memtable *memtable, struct nr_tombstones **set_out,
                                                    struct nori_error *err);

/* Any thread; relaxed. */
size_t nr_memtable_bytes(const struct nr_memtable *memtable); /* Memory used, all of it. */
uint64_t nr_memtable_entry_count(const struct nr_memtable *memtable);
uint64_t nr_memtable_delete_count(const struct nr_memtable *memtable); /* Point and range deletes. */
bool nr_memtable_is_empty(const struct nr_memtable *memtable);
uint64_t nr_memtable_first_sequence(const struct nr_memtable *memtable); /* 0 when empty. */
uint64_t nr_memtable_last_sequence(const struct nr_memtable *memtable);

#endif

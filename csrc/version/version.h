/* Versions: the shape of the tree at one moment. Immutable and counted, down to the slot: an edit copies what it
 * changes and the path to it, and shares the rest.
 *
 *     version > level > slot > run > slice > table file
 *
 * Level 0 is one slot over all keys whose runs, newest first, are the flushed tables (or what admission has left of
 * them); its run count is not bounded by k_max. Each deeper level that has data is cut into slots by guard keys: slot i
 * covers [guard i, guard i+1), the first from the empty key, the last without end. A level without guards has one slot.
 * Deeper levels' guards include the shallower ones'.
 *
 * Only a slot's activity (activity.h) is not of one moment: the versions of a slot share it.
 *
 * A run is sorted slices that do not overlap; a slice is the part [start, end) of a table file. A file may be in
 * several slices, of several slots. Age order: for each key sequences fall strictly from level 0's newest run to its
 * oldest, then level 1's newest run, and so on down. */
#ifndef NR_VERSION_VERSION_H
#define NR_VERSION_VERSION_H

#include <stdatomic.h>

#include "format/format.h"
#include "table/table_cache.h"
#include "version/activity.h"
#include "version/key_index.h"

/* A table file that some version, or a running job, refers to. The last reference gone calls 'on_unreferenced'. */
struct nr_table_file {
    _Atomic uint32_t refs;
    uint64_t number;
    uint64_t file_bytes;
    struct nr_table_properties properties; /* Keys owned by this. */
    struct nr_table_handle handle;
    /* Called instead of freeing, so that the engine closes and unlinks it without holding anything: nr_table_file_free.
     */
    void (*on_unreferenced)(void *arg, struct nr_table_file *file);
    void *arg;
    bool is_new;                /* No edit names it yet. */
    uint64_t referenced_bytes;  /* By the newest version: references.h. */
    struct nr_table_file *next; /* For whoever took it over in on_unreferenced. */
};

/* Copies the properties' keys. One reference. on_unreferenced NULL: freed at once. */
NORI_WARN_UNUSED nori_status nr_table_file_create(uint64_t number, uint64_t file_bytes,
                                                  const struct nr_table_properties *properties,
                                                  void (*on_unreferenced)(void *arg, struct nr_table_file *file),
                                                  void *arg, struct nr_table_file **file_out, struct nori_error *err);
/* All entries of a file whose table is stamped get the sequence. No version knows it yet, and its table is not open. */
void nr_table_file_stamp(struct nr_table_file *file, uint64_t sequence);
struct nr_table_file *nr_table_file_ref(struct nr_table_file *file);
void nr_table_file_unref(struct nr_table_file *file);
void nr_table_file_free(struct nr_table_file *file);

struct nr_table_slice {
    struct nr_table_file *file; /* Refs. */
    nori_slice start;           /* Inclusive. Owned by the run. Within the file's bounds. */
    struct nr_bound end;        /* Exclusive. Owned by the run. */
    uint64_t bytes;             /* Of the file's, pro rata. */
    uint64_t entries;           /* Pro rata; so are the next two. */
    uint64_t deletes;
    uint64_t ranges;
};

struct nr_run {
    _Atomic uint32_t refs;
    uint64_t run_id; /* Unique in the database's life. */
    uint64_t bytes;  /* Sums over the slices. */
    uint64_t entries;
    uint64_t deletes;
    uint64_t ranges;
    uint64_t fresh_bytes;      /* Of keys of which there is nothing older, as far as that was counted. */
    uint64_t largest_sequence; /* Bound from the files. */
    uint64_t smallest_sequence;
    uint64_t due_ms;          /* When the first of its tables becomes a reason to merge: nr_properties_due_ms. */
    struct nr_key_index ends; /* Of the finite ends, to search the slices by. */
    size_t slice_count;
    struct nr_table_slice slices[]; /* Ascending, not overlapping. Keys and the index live behind the array. */
};

/* Of keys of which there was nothing older when the table was written, as far as that was counted. Pro rata. */
uint64_t nr_table_slice_fresh_bytes(const struct nr_table_slice *slice);

/* 'slices' are copied, their files refed, their keys copied. Bytes and counts as given. At least one slice. */
NORI_WARN_UNUSED nori_status nr_run_create(uint64_t run_id, const struct nr_table_slice *slices, size_t count,
                                           struct nr_run **run_out, struct nori_error *err);
struct nr_run *nr_run_ref(struct nr_run *run);
void nr_run_unref(struct nr_run *run); /* NULL is fine. */
/* The slice that covers the key, or NULL. */
const struct nr_table_slice *nr_run_find(const struct nr_run *run, nori_slice key);
/* Index of the first slice that ends above the key; slice_count if none. */
size_t nr_run_seek(const struct nr_run *run, nori_slice key);
/* What of the run lies in [start, end): '*run_out' NULL if nothing, the same run (refed) if all, else a new one with
 * 'run_id' whose numbers are pro rata: by where the cut lies between a slice's bounds (key_place.h). That needs no I/O,
 * comes out the same at every replay, and the parts of a slice add up to it. */
NORI_WARN_UNUSED nori_status nr_run_clip(struct nr_run *run, nori_slice start, struct nr_bound end, uint64_t run_id,
                                         struct nr_run **run_out, struct nori_error *err);
/* What of the run lies outside of [start, end); keeps run->run_id, refs the same run if that is all. NULL if nothing.
 */
NORI_WARN_UNUSED nori_status nr_run_subtract(struct nr_run *run, nori_slice start, struct nr_bound end,
                                             struct nr_run **run_out, struct nori_error *err);
/* Runs in key order, none of which begins below the end of the one before, as one run. Where two touch in the same
 * table, their slices there become one again. The same run (refed) if there is but one. */
NORI_WARN_UNUSED nori_status nr_run_concatenate(struct nr_run *const *runs, size_t count, uint64_t run_id,
                                                struct nr_run **run_out, struct nori_error *err);
bool nr_run_overlaps(const struct nr_run *run, nori_slice start, struct nr_bound end);
/* About how many of its bytes lie in [start, end): what nr_run_clip would say. */
uint64_t nr_run_bytes_in(const struct nr_run *run, nori_slice start, struct nr_bound end);

/* The id of a part that a new guard cut off: the 'index'-th run of the new slot. Made from the slot's id, which is new
 * itself; ids that are counted stay below the bit. */
#define NR_CUT_RUN_BIT (1ull << 63)
#define NR_MAX_CUT_SLOT_ID ((1ull << 47) - 1)
#define NR_MAX_CUT_RUN_INDEX 0xffffull

/* The slots of an empty tree have their level as id; ids are counted from here. */
#define NR_FIRST_SLOT_ID NORI_MAX_LEVELS

struct nr_slot {
    _Atomic uint32_t refs;
    uint32_t level;
    uint64_t slot_id;    /* Unique in the database's life; level 0's is 0. */
    nori_slice start;    /* Its guard. Owned. */
    struct nr_bound end; /* The next guard, or infinite. Owned. */
    uint32_t k_max;      /* Most runs aimed at; 0: not decided yet. */
    uint64_t bytes;      /* Sums over the runs. */
    uint64_t entries;
    uint64_t bottom_bytes;        /* Of keys of which the slot has nothing older, as far as that is known. */
    uint64_t held_bytes;          /* Of files, by its slices: references.h. */
    uint64_t tombstones;          /* Deletes and ranges, likewise summed. */
    uint64_t due_ms;              /* The runs' first. */
    struct nr_activity *activity; /* Refs; changes while all else stays. NULL in level 0. */
    size_t run_count;
    struct nr_run *runs[]; /* Refs. Newest first. */
};
/* 'runs' are refed. An activity of its own, from level 1 on. */
NORI_WARN_UNUSED nori_status nr_slot_create(uint32_t level, uint64_t slot_id, nori_slice start, struct nr_bound end,
                                            uint32_t k_max, struct nr_run *const *runs, size_t run_count,
                                            struct nr_slot **slot_out, struct nori_error *err);
struct nr_slot *nr_slot_ref(struct nr_slot *slot);
void nr_slot_unref(struct nr_slot *slot); /* NULL is fine. */

/* Slots in chunks, so that replacing one copies one chunk and the array of chunks, never the level. */
#define NR_SLOT_CHUNK 64
struct nr_slot_chunk {
    _Atomic uint32_t refs;
    size_t count;
    /* Summed up, so that what looks for slots in which something is to be done passes by chunks without. */
    size_t max_run_count; /* Of any slot of the chunk. */
    size_t empty_count;   /* Slots without a run. */
    bool is_over_k;       /* Some slot has more runs than its k_max. */
    uint64_t bytes;       /* Of all. */
    uint64_t max_bytes;   /* Of any slot. */
    uint64_t bottom_bytes;
    bool has_new_slot, is_measured;       /* For references.h, which fills in the next two. */
    uint64_t held_bytes;                  /* Of all slots. */
    double max_newer_part;                /* Of any: nr_slot_newer_part. */
    uint64_t tombstones;                  /* Of all. */
    uint64_t due_ms;                      /* The slots' first. */
    struct nr_slot *slots[NR_SLOT_CHUNK]; /* Refs. */
};
/* The guards of a level but the empty first one. Levels share it as long as guards do not move. */
struct nr_guards {
    _Atomic uint32_t refs;
    struct nr_key_index index; /* Its memory, keys too, lives behind. */
};
struct nr_level {
    _Atomic uint32_t refs;
    struct nr_guards *guards; /* Refs. */
    uint64_t bytes;
    uint64_t entries;
    size_t slot_count;
    size_t max_run_count; /* Of any slot. */
    size_t chunk_count;
    struct nr_slot_chunk *chunks[]; /* Refs. Ascending; all but the last are full, none is empty. */
};
struct nr_level *nr_level_ref(struct nr_level *level);
void nr_level_unref(struct nr_level *level); /* NULL is fine. */

struct nr_version {
    _Atomic uint32_t refs;
    uint64_t number;                          /* Rises with each edit; for tests and events. */
    size_t level_count;                       /* max_levels of the options; empty levels have one empty slot. */
    struct nr_level *levels[NORI_MAX_LEVELS]; /* Refs; [0, level_count). */
};

/* An empty tree. */
NORI_WARN_UNUSED nori_status nr_version_create(size_t level_count, struct nr_version **version_out,
                                               struct nori_error *err);
/* 'version' with at least 'level_count' levels: the new ones below, empty, cut like the deepest there was. Their slots'
 * ids count on from '*next_slot_id'. */
NORI_WARN_UNUSED nori_status nr_version_deepen(const struct nr_version *version, size_t level_count,
                                               uint64_t *next_slot_id, struct nr_version **version_out,
                                               struct nori_error *err);
struct nr_version *nr_version_ref(struct nr_version *version);
void nr_version_unref(struct nr_version *version); /* NULL is fine. */

struct nr_slot *nr_level_slot(const struct nr_level *level, size_t index); /* Borrowed. */
size_t nr_level_seek(const struct nr_level *level, nori_slice key);        /* Index of the slot that covers the key. */
struct nr_slot *nr_level_find(const struct nr_level *level, nori_slice key); /* That slot. Borrowed. */
struct nr_slot *nr_version_level0(const struct nr_version *version);         /* Borrowed. */

/* Calls 'fn' for each table file referred to, once each. */
NORI_WARN_UNUSED nori_status nr_version_each_file(const struct nr_version *version,
                                                  nori_status (*fn)(void *arg, struct nr_table_file *file,
                                                                    struct nori_error *err),
                                                  void *arg, struct nori_error *err);
uint64_t nr_version_bytes_on_disk(const struct nr_version *version); /* Of the files, whole. */
/* Design 5's invariants: guards ascending and nested (a level with one slot and no data apart), no gap or overlap,
 * sums, slices ascending within their slot and file, age order by the files' sequences where bounds overlap. CORRUPTION
 * names what is wrong. Debug builds call it on every edit.
 *
 * Age order: of two slices that overlap, all sequences of the newer one's file are above the older one's. A merge
 * inside level 0 may join files of which some slots have been admitted; so against deeper levels, or once it was moved
 * there, the file of a slice written for level 0 only needs the greater largest sequence. */
NORI_WARN_UNUSED nori_status nr_version_check(const struct nr_version *version, struct nori_error *err);
/* Whether the slots of the level in [start, end), which they fill, may become one without breaking the age order for
 * the merges to come: older runs, run by run from the oldest, and all levels below have older sequences throughout. */
bool nr_version_may_join(const struct nr_version *version, uint32_t level, nori_slice start, struct nr_bound end);
/* The deepest stack of level 0 runs over any key. */
size_t nr_version_l0_depth(const struct nr_version *version);

#endif

/* The inside of an edit, for the files that build, apply and code it. */
#ifndef NR_VERSION_EDIT_OPS_H
#define NR_VERSION_EDIT_OPS_H

#include "version/edit.h"
#include "version/slot_list.h"

/* In the record, too. Counters and options are coded as operations. */
enum nr_edit_kind {
    NR_EDIT_COUNTERS = 1,
    NR_EDIT_OPTIONS = 2,
    NR_EDIT_ADD_FILE = 3,
    NR_EDIT_PUSH_L0 = 4,
    NR_EDIT_SUBTRACT_L0 = 5,
    NR_EDIT_MERGE_L0 = 6,
    NR_EDIT_SET_SLOT = 7,
    NR_EDIT_SET_GUARDS = 8,
    NR_EDIT_SET_SHAPE = 9, /* The slots of a level without data, with their ids: a snapshot's. */
    NR_EDIT_ADD_GUARDS = 10,
    NR_EDIT_REMOVE_GUARDS = 11,
};

struct nr_edit_shape {
    nori_slice start; /* Owned by the operation. */
    uint64_t slot_id;
    uint32_t k_max;
};

/* Which members count depends on the kind. */
struct nr_edit_op {
    enum nr_edit_kind kind;
    uint32_t level;
    uint32_t k_max;
    uint64_t first_id;          /* A run's; the newest run's; the first slot's. */
    uint64_t last_id;           /* The oldest run's. */
    nori_slice start;           /* Owned. */
    struct nr_bound end;        /* Owned. */
    struct nr_table_file *file; /* Refs. */
    struct nr_run **runs;       /* Owned array of refs. PUSH and MERGE: one, or none. */
    size_t run_count;
    struct nr_edit_shape *shape; /* Owned. But for SET_SHAPE only the starts are used. */
    size_t shape_count;
    uint8_t *keys;       /* Owned: what start and end point to. */
    uint8_t *shape_keys; /* Owned: what the shape's starts point to. */
};

struct nr_edit {
    struct nr_counters counters;
    struct nr_buffer options;
    bool has_options;
    size_t level_count; /* A snapshot's; else 0. */
    struct nr_edit_op *ops;
    size_t op_count;
    size_t op_capacity;
};

/* For snapshots. 'shape' is copied. */
NORI_WARN_UNUSED nori_status nr_edit_set_shape(struct nr_edit *edit, uint32_t level, const struct nr_edit_shape *shape,
                                               size_t count, struct nori_error *err);
void nr_counters_merge(struct nr_counters *into, const struct nr_counters *from);
/* One more than the deepest level the operations name, and at least 1. */
size_t nr_edit_levels_needed(const struct nr_edit *edit);

/* edit_guards.c. New slots in the list, which after a failure can only be destroyed; */
NORI_WARN_UNUSED nori_status nr_guards_apply(const struct nr_edit_op *op, struct nr_slot_list *list,
                                             struct nori_error *err);
/* and a new level in the place of '*level'. */
NORI_WARN_UNUSED nori_status nr_shape_apply(const struct nr_edit_op *op, struct nr_level **level,
                                            struct nori_error *err);

#endif

/* What the planner's tests share: options, runs with made-up files, trees put together from slots, plans as text. */
#ifndef NR_TESTS_PLANNER_MODEL_H
#define NR_TESTS_PLANNER_MODEL_H

#include "compact/planner.h"
#include "harness.h"
#include "version/level.h"
#include "version/references.h"

struct model_run {
    uint64_t run_id;
    uint64_t bytes;
    uint64_t entries, deletes, ranges;
    uint64_t smallest_sequence, largest_sequence;
    uint64_t smallest_expiry_ms, largest_expiry_ms; /* 0: entries do not expire. */
    uint64_t lifetime_ms;
    uint64_t unexpiring; /* Of a run whose entries expire. */
    uint64_t fresh;
    uint64_t file_bytes; /* Of each slice's; 0: the slice is all of it. */
};

static inline void model_options(struct nori_options *options)
{
    memset(options, 0, sizeof *options);
    options->fanout = 10;
    options->l1_slot_count = 4;
    options->level1_bytes = 4000;
    options->table_bytes = 1000;
    options->k_global = 4;
    options->l0.max_files = 12;
    options->strategy = NORI_STRATEGY_ATLL;
    options->heat_decay_interval_secs = 60;
    options->max_space_amp = 1000; /* Cases of the space bound set it. */
    options->memtable.flush_trigger_bytes = 400;
    options->tombstones.density_threshold = 0.5;
}

/* A slice of a new file that holds just that. */
static inline struct nr_table_slice model_slice(const struct model_run *model, uint64_t number, nori_slice start,
                                                struct nr_bound end, size_t parts)
{
    struct nori_error err;
    struct nr_table_properties properties = {
        .smallest = start,
        .end = end,
        .smallest_sequence = model->smallest_sequence,
        .largest_sequence = model->largest_sequence,
        .entry_count = model->entries / parts,
        .delete_count = model->deletes / parts,
        .range_count = model->ranges / parts,
        .unexpiring_count = (model->largest_expiry_ms ? model->unexpiring : model->entries) / parts,
        .smallest_expiry_ms = model->smallest_expiry_ms,
        .largest_expiry_ms = model->largest_expiry_ms,
        .lifetime_ms = model->lifetime_ms,
        .fresh_count = model->fresh / parts,
    };
    struct nr_table_slice slice = {.start = start,
                                   .end = end,
                                   .bytes = model->bytes / parts,
                                   .entries = properties.entry_count,
                                   .deletes = properties.delete_count,
                                   .ranges = properties.range_count};
    EXPECT_OK(nr_table_file_create(number, NR_MAX(slice.bytes, model->file_bytes), &properties, NULL, NULL, &slice.file,
                                   &err),
              &err);
    return slice;
}

static inline struct nr_run *model_run_create(uint64_t run_id, struct nr_table_slice *slices, size_t count)
{
    struct nori_error err;
    struct nr_run *run = NULL;
    EXPECT_OK(nr_run_create(run_id, slices, count, &run, &err), &err);
    for (size_t i = 0; i < count; i++) nr_table_file_unref(slices[i].file);
    return run;
}

/* Takes the references on the runs. */
static inline struct nr_slot *model_slot_create(uint32_t level, uint64_t slot_id, nori_slice start, struct nr_bound end,
                                                uint32_t k_max, struct nr_run **runs, size_t count)
{
    struct nori_error err;
    struct nr_slot *slot = NULL;
    EXPECT_OK(nr_slot_create(level, slot_id, start, end, k_max, runs, count, &slot, &err), &err);
    for (size_t i = 0; i < count; i++) nr_run_unref(runs[i]);
    return slot;
}

/* A slot of one run that fills it. 'end' NULL: without end. */
static inline struct nr_slot *model_slot_of(uint32_t level, uint64_t id, const char *start, const char *end,
                                            uint64_t bytes)
{
    struct nori_error err;
    struct model_run model = {.run_id = 100000 * level + id, .bytes = bytes, .entries = 1};
    struct nr_bound bound = end ? nr_bound_key(nr_slice_text(end)) : nr_bound_infinite();
    struct nr_table_slice slice = model_slice(&model, model.run_id, nr_slice_text(start), bound, 1);
    struct nr_run *run = NULL;
    EXPECT_OK(nr_run_create(model.run_id, &slice, 1, &run, &err), &err);
    nr_table_file_unref(slice.file);
    return model_slot_create(level, id, nr_slice_text(start), bound, 0, &run, 1);
}

/* Puts the slots, whose references it takes, in the place of a level of a version that nobody shares. */
static inline void model_set_level(struct nr_version *version, uint32_t level, struct nr_slot **slots, size_t count)
{
    struct nori_error err;
    struct nr_level *made = NULL;
    EXPECT_OK(nr_level_create(slots, count, &made, &err), &err);
    for (size_t i = 0; i < count; i++) nr_slot_unref(slots[i]);
    struct nr_version before = *version;
    version->levels[level] = made;
    nr_references_update(&before, version);
    nr_level_unref(before.levels[level]);
}

static inline void model_describe(const struct nr_plan *plan, char *text, size_t capacity)
{
    size_t used = (size_t)snprintf(text, capacity, "%s", nr_action_name(plan->action));
    if (plan->action == NR_ACTION_NONE) return;
    if (plan->action != NR_ACTION_MERGE_L0) {
        used += (size_t)snprintf(text + used, capacity - used, " slot %" PRIu64, plan->slot->slot_id);
    }
    if (plan->action == NR_ACTION_SHIFT) {
        snprintf(text + used, capacity - used, " leaves %zu", plan->split_count);
        return;
    }
    if (plan->action == NR_ACTION_SPLIT) {
        snprintf(text + used, capacity - used, " parts %zu", plan->split_count);
        return;
    }
    if (plan->action == NR_ACTION_JOIN) {
        snprintf(text + used, capacity - used, " count %zu", plan->join_count);
        return;
    }
    used += (size_t)snprintf(text + used, capacity - used, " runs %zu..%zu", plan->first_run,
                             plan->first_run + plan->run_count - 1);
    if (plan->l0_count > 0)
        used += (size_t)snprintf(text + used, capacity - used, " with l0 %zu..%zu", plan->l0_first,
                                 plan->l0_first + plan->l0_count - 1);
    if (plan->action == NR_ACTION_ADMIT) {
        used += (size_t)snprintf(text + used, capacity - used, " join %zu", plan->targets[0].join_count);
    }
    for (size_t i = 0; plan->action == NR_ACTION_PROMOTE && i < plan->target_count; i++) {
        used += (size_t)snprintf(text + used, capacity - used, "%s %" PRIu64 "+%zu", i == 0 ? " to" : "",
                                 plan->targets[i].slot->slot_id, plan->targets[i].join_count);
    }
    if (plan->is_move) snprintf(text + used, capacity - used, " move");
}

#endif

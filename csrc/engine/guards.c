/* New guards: a slot is cut into parts of about equal work, or neighbours become one. No data is rewritten; the
 * manifest edit clips or joins the runs. Where to cut is sampled from the tables' indexes and from what reads ask for.
 */
#include "engine/engine.h"

#include "base/alloc.h"
#include "compact/guards.h"
#include "compact/shift.h"

#define SAMPLES_PER_TABLE 64

struct sampling {
    nori_slice start;
    struct nr_bound end;
    struct nr_guard_sample *samples; /* Owned, and their keys. */
    size_t count, capacity;
    bool is_out_of_memory;
};

static void sampling_clear(struct sampling *sampling)
{
    for (size_t i = 0; i < sampling->count; i++) nr_free((void *)sampling->samples[i].key.data);
    nr_free(sampling->samples);
}

/* A key that may become a guard: strictly inside the slot. */
static void add_sample(void *arg, nori_slice key, uint64_t bytes)
{
    struct sampling *sampling = arg;
    if (nr_slice_compare(key, sampling->start) <= 0 || !nr_bound_above(sampling->end, key)) return;
    if (sampling->count == sampling->capacity) {
        size_t capacity = sampling->capacity * 2 + 64;
        void *grown = nr_realloc(sampling->samples, capacity * sizeof *sampling->samples);
        if (!grown) goto failed;
        sampling->samples = grown;
        sampling->capacity = capacity;
    }
    uint8_t *copy = nr_alloc(key.size + 1);
    if (!copy) goto failed;
    memcpy(copy, key.data, key.size);
    sampling->samples[sampling->count++] = (struct nr_guard_sample){nr_slice(copy, key.size), bytes, 0};
    return;
failed:
    sampling->is_out_of_memory = true;
}

static nori_status sample_run(struct nori_engine *engine, const struct nr_run *run, struct sampling *sampling,
                              struct nori_error *err)
{
    nori_status rc = NORI_OK;
    for (size_t i = nr_run_seek(run, sampling->start); i < run->slice_count && rc == NORI_OK; i++) {
        if (!nr_bound_above(sampling->end, run->slices[i].start)) break;
        rc = nr_learn_sample(engine, run->slices[i].file, SAMPLES_PER_TABLE, add_sample, sampling, err);
        add_sample(sampling, run->slices[i].start, 1);
    }
    if (rc == NORI_OK && sampling->is_out_of_memory) rc = nr_fail_memory(err, sizeof(struct nr_guard_sample));
    return rc;
}

/* The runs whose data the slot's guards divide: its own, and for level 1 what is about to be admitted. */
static const struct nr_run *run_at(const struct nr_version *version, const struct nr_slot *slot, size_t index)
{
    const struct nr_slot *level0 = nr_version_level0(version);
    if (index < slot->run_count) return slot->runs[index];
    index -= slot->run_count;
    return slot->level == 1 && index < level0->run_count ? level0->runs[index] : NULL;
}

/* By the tables' indexes. Learned guards weigh what reads ask for as much as bytes. A slot that is too large is then
 * cut in three at least: one of two parts could have nearly all bytes. */
static nori_status sample_slot(struct nori_engine *engine, const struct nr_version *version, const struct nr_slot *slot,
                               struct sampling *sampling, size_t *parts, struct nori_error *err)
{
    const struct nr_run *run;
    for (size_t i = 0; (run = run_at(version, slot, i)) != NULL; i++) {
        nori_status rc = sample_run(engine, run, sampling, err);
        if (rc != NORI_OK) return rc;
    }
    nr_mutex_lock(&engine->lock);
    bool are_reads_known = nr_sketch_total(engine->reads) >= NR_GUARDS_MIN_READS;
    nr_guards_weigh(sampling->samples, sampling->count, sampling->start, sampling->end,
                    are_reads_known ? engine->reads : NULL);
    nr_mutex_unlock(&engine->lock);
    bool is_large = slot->bytes / 2 > nr_planner_slot_share(&engine->options, slot->level);
    if (are_reads_known && is_large) *parts = NR_MAX(*parts, 3);
    return NORI_OK;
}

/* Equal steps between the smallest and the largest key of the slot, as far as the runs' bounds tell. '*memory_out',
 * owned by the caller, holds the guards. */
static nori_status step_slot(const struct nr_version *version, const struct nr_slot *slot, size_t parts,
                             nori_slice *guards, size_t *count_out, uint8_t **memory_out, struct nori_error *err)
{
    nori_slice smallest = {NULL, 0}, largest = {NULL, 0};
    const struct nr_run *run;
    bool has_keys = false;
    for (size_t i = 0; (run = run_at(version, slot, i)) != NULL; i++) {
        for (size_t j = nr_run_seek(run, slot->start); j < run->slice_count; j++) {
            nori_slice first = run->slices[j].start, last = first;
            if (!nr_bound_above(slot->end, first)) break;
            if (nr_slice_compare(first, slot->start) < 0) first = slot->start;
            struct nr_bound end = run->slices[j].end;
            if (nr_bound_compare(slot->end, end) < 0) end = slot->end;
            if (!end.infinite) last = end.key;
            if (!has_keys || nr_slice_compare(first, smallest) < 0) smallest = first;
            if (!has_keys || nr_slice_compare(last, largest) > 0) largest = last;
            has_keys = true;
        }
    }
    *count_out = 0;
    size_t bytes = nr_guards_uniform_bytes(smallest, largest) * parts;
    *memory_out = nr_alloc(bytes);
    if (!*memory_out) return nr_fail_memory(err, bytes);
    if (has_keys) *count_out = nr_guards_uniform(smallest, largest, parts, *memory_out, guards);
    return NORI_OK;
}

static void note_unsplittable(struct nori_engine *engine, uint64_t slot_id)
{
    nr_mutex_lock(&engine->lock);
    engine->unsplittable[engine->unsplittable_next++ % NR_ARRAY_LEN(engine->unsplittable)] = slot_id;
    if (engine->unsplittable_count < NR_ARRAY_LEN(engine->unsplittable)) engine->unsplittable_count++;
    nr_mutex_unlock(&engine->lock);
}

/* Below it levels are empty, and not cut before data comes to them. */
static uint32_t deepest_cut(const struct nr_version *version)
{
    uint32_t level = (uint32_t)version->level_count - 1;
    while (level > 0 && version->levels[level]->max_run_count == 0 && version->levels[level]->slot_count == 1) level--;
    return level;
}

/* What is read of tables is read before the turn, so that no flush waits for it: the slots are locked, on all levels
 * from theirs down. */
nori_status nr_split_install(struct nori_engine *engine, const struct nr_plan *plan, struct nori_error *err)
{
    struct sampling sampling = {.start = plan->slot->start, .end = plan->slot->end};
    struct nr_view *view = nr_view_acquire(engine);
    struct nr_version *version = view->version;
    size_t parts = NR_MAX(plan->split_count, 2), count = 0;
    nori_slice *guards = nr_alloc((parts + 1) * sizeof *guards);
    uint8_t *memory = NULL;
    struct nr_edit *edit = NULL;
    nori_status rc = NORI_OK;

    if (!guards) NR_CHECK(nr_fail_memory(err, parts * sizeof *guards));
    if (engine->options.guards == NORI_GUARDS_UNIFORM) {
        NR_CHECK(step_slot(version, plan->slot, parts, guards, &count, &memory, err));
    } else {
        NR_CHECK(sample_slot(engine, version, plan->slot, &sampling, &parts, err));
        count = nr_guards_cut(sampling.samples, sampling.count, parts, guards);
    }
    if (count == 0) {
        note_unsplittable(engine, plan->slot->slot_id);
        goto out;
    }
    NR_CHECK(nr_edit_create(&edit, err));
    uint32_t deepest = deepest_cut(version);
    for (uint32_t level = plan->source_level; level <= NR_MAX(deepest, plan->source_level); level++)
        NR_CHECK(
            nr_edit_add_guards(edit, level, guards, count, atomic_fetch_add(&engine->next_slot_id, count + 1), err));
    NR_CHECK(nr_recount_slots(engine, version, plan->slot->start, plan->slot->end, edit, err));
    nr_turn_take(engine);
    rc = nr_install(engine, edit, 0, err);
    nr_turn_give(engine);
out:
    nr_edit_destroy(edit);
    nr_free(guards);
    nr_free(memory);
    sampling_clear(&sampling);
    nr_view_release(view);
    return rc;
}

nori_status nr_join_install(struct nori_engine *engine, const struct nr_plan *plan, struct nori_error *err)
{
    struct nr_view *view = nr_view_acquire(engine);
    const struct nr_version *version = view->version;
    const struct nr_level *old = version->levels[plan->source_level];
    size_t count = 0, first = nr_level_seek(old, plan->start);
    nori_slice *guards = nr_alloc(plan->join_count * sizeof *guards);
    struct nr_edit *edit = NULL;
    nori_status rc = NORI_OK;

    if (!guards) NR_CHECK(nr_fail_memory(err, plan->join_count * sizeof *guards));
    /* What was installed since the plan was made touched none of these slots, but level 0 may stand otherwise. */
    if (!nr_version_may_join(version, plan->source_level, plan->start, plan->end)) goto out;
    for (size_t i = first + 1; i < first + plan->join_count; i++) guards[count++] = nr_level_slot(old, i)->start;
    NR_CHECK(nr_edit_create(&edit, err));
    NR_CHECK(nr_edit_remove_guards(edit, plan->source_level, guards, count, err));
    NR_CHECK(nr_install(engine, edit, 0, err));
out:
    nr_edit_destroy(edit);
    nr_free(guards);
    nr_view_release(view);
    return rc;
}

static uint64_t next_run_id(void *arg)
{
    struct nori_engine *engine = arg;
    return engine->merging.next_run_id(engine);
}

nori_status nr_shift_install(struct nori_engine *engine, const struct nr_plan *plan, struct nori_error *err)
{
    struct nr_view *view = nr_view_acquire(engine);
    struct nr_edit *edit = NULL;
    nori_status rc = NORI_OK;
    NR_CHECK(nr_edit_create(&edit, err));
    size_t slot_count = view->version->levels[plan->source_level]->slot_count;
    NR_CHECK(nr_shift_edit(edit, view->version, plan->source_level, plan->split_count,
                           atomic_fetch_add(&engine->next_slot_id, slot_count), next_run_id, engine, err));
    NR_CHECK(nr_install(engine, edit, 0, err));
out:
    nr_edit_destroy(edit);
    nr_view_release(view);
    return rc;
}

/* New guards for a slot that outgrew its share: keys that cut its data into parts of about equal bytes, sampled from
 * the tables' indexes. No data is rewritten; the manifest edit clips the runs. */
#include "engine/engine.h"

#include <stdlib.h>

#include "base/alloc.h"

#define SAMPLES_PER_TABLE 64

struct sample {
    nori_slice key; /* Owned. */
    uint64_t bytes;
};

struct sampling {
    nori_slice start;
    struct nr_bound end;
    struct sample *samples;
    size_t count, capacity;
    uint64_t total_bytes;
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
    sampling->samples[sampling->count++] = (struct sample){nr_slice(copy, key.size), bytes};
    sampling->total_bytes += bytes;
    return;
failed:
    sampling->is_out_of_memory = true;
}

static nori_status sample_run(struct nori_engine *engine, const struct nr_run *run, struct sampling *sampling,
                              struct nori_error *err)
{
    struct nr_read read = {0};
    nori_status rc = NORI_OK;
    for (size_t i = nr_run_seek(run, sampling->start); i < run->slice_count && rc == NORI_OK; i++) {
        struct nr_table *table = NULL;
        if (!nr_bound_above(sampling->end, run->slices[i].start)) break;
        unsigned stripe = nr_epoch_enter(&engine->epoch);
        rc = nr_table_cache_find(engine->tables, &run->slices[i].file->handle, &read, &table, err);
        if (rc == NORI_OK) nr_table_sample(table, SAMPLES_PER_TABLE, add_sample, sampling);
        nr_epoch_leave(&engine->epoch, stripe);
        add_sample(sampling, run->slices[i].start, 1);
    }
    if (rc == NORI_OK && sampling->is_out_of_memory) rc = nr_fail_memory(err, sizeof(struct sample));
    return rc;
}

static int compare_samples(const void *a, const void *b)
{
    return nr_slice_compare(((const struct sample *)a)->key, ((const struct sample *)b)->key);
}

/* Keys at equal steps of bytes into 'guards' (borrowed from the samples). */
static size_t choose_guards(struct sampling *sampling, size_t parts, nori_slice *guards)
{
    uint64_t seen = 0;
    size_t count = 0;
    qsort(sampling->samples, sampling->count, sizeof *sampling->samples, compare_samples);
    for (size_t i = 0; i < sampling->count && count + 1 < parts; i++) {
        seen += sampling->samples[i].bytes;
        if (seen * parts < sampling->total_bytes * (count + 1)) continue;
        if (count > 0 && nr_slice_equal(guards[count - 1], sampling->samples[i].key)) continue;
        guards[count++] = sampling->samples[i].key;
    }
    return count;
}

/* The level's guards with the new ones among them, into the edit. */
static nori_status edit_level(struct nori_engine *engine, struct nr_edit *edit, const struct nr_version *version,
                              uint32_t level, const nori_slice *more, size_t more_count, struct nori_error *err)
{
    const struct nr_level *old = version->levels[level];
    size_t count = 0, next_more = 0;
    nori_slice *guards = nr_alloc((old->slot_count + more_count) * sizeof *guards);
    if (!guards) return nr_fail_memory(err, (old->slot_count + more_count) * sizeof *guards);
    for (size_t i = 1; i <= old->slot_count; i++) {
        bool is_last = i == old->slot_count;
        nori_slice guard = is_last ? nr_slice(NULL, 0) : nr_level_slot(old, i)->start;
        while (next_more < more_count && (is_last || nr_slice_compare(more[next_more], guard) < 0))
            guards[count++] = more[next_more++];
        if (is_last) break;
        if (next_more < more_count && nr_slice_equal(more[next_more], guard)) next_more++;
        guards[count++] = guard;
    }
    uint64_t first_slot_id = atomic_fetch_add(&engine->next_slot_id, more_count + 1);
    nori_status rc = nr_edit_set_guards(edit, level, guards, count, first_slot_id, 0, err);
    nr_free(guards);
    return rc;
}

static void note_unsplittable(struct nori_engine *engine, uint64_t slot_id)
{
    nr_mutex_lock(&engine->lock);
    engine->unsplittable[engine->unsplittable_next++ % NR_ARRAY_LEN(engine->unsplittable)] = slot_id;
    if (engine->unsplittable_count < NR_ARRAY_LEN(engine->unsplittable)) engine->unsplittable_count++;
    nr_mutex_unlock(&engine->lock);
}

nori_status nr_split_install(struct nori_engine *engine, const struct nr_plan *plan, struct nori_error *err)
{
    struct sampling sampling = {.start = plan->slot->start, .end = plan->slot->end};
    struct nr_view *view = nr_view_acquire(engine);
    struct nr_version *version = view->version;
    const struct nr_slot *level0 = nr_version_level0(version);
    size_t parts = NR_MAX(plan->split_count, 2);
    nori_slice *guards = nr_alloc(parts * sizeof *guards);
    struct nr_edit *edit = NULL;
    nori_status rc = NORI_OK;

    if (!guards) NR_CHECK(nr_fail_memory(err, parts * sizeof *guards));
    for (size_t i = 0; i < plan->slot->run_count; i++)
        NR_CHECK(sample_run(engine, plan->slot->runs[i], &sampling, err));
    for (size_t i = 0; i < level0->run_count && plan->source_level == 1; i++)
        NR_CHECK(sample_run(engine, level0->runs[i], &sampling, err));
    size_t count = choose_guards(&sampling, parts, guards);
    if (count == 0) {
        note_unsplittable(engine, plan->slot->slot_id);
        goto out;
    }
    NR_CHECK(nr_edit_create(&edit, err));
    for (uint32_t level = plan->source_level; level < version->level_count; level++)
        NR_CHECK(edit_level(engine, edit, version, level, guards, count, err));
    NR_CHECK(nr_install(engine, edit, 0, err));
out:
    nr_edit_destroy(edit);
    nr_free(guards);
    sampling_clear(&sampling);
    nr_view_release(view);
    return rc;
}

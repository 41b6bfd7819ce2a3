/* What a slice that was cut off has, as the index of its table tells. The version divides by where a key lies between
 * two bounds, which is wrong where keys are not spread evenly; and on what slots have rests which of them are merged.
 * Numbers from here are in the edit, so a replay needs no table. */
#include "engine/engine.h"

#include "base/alloc.h"

static bool is_whole(const struct nr_table_slice *slice)
{
    const struct nr_table_properties *properties = &slice->file->properties;
    return nr_slice_compare(slice->start, properties->smallest) <= 0 &&
           nr_bound_compare(properties->end, slice->end) <= 0;
}

/* A table that cannot be read leaves the numbers as they are: whoever reads its data will tell. */
static void measure(struct nori_engine *engine, struct nr_table_slice *slice)
{
    const struct nr_table_properties *properties = &slice->file->properties;
    struct nr_read read = {0};
    struct nr_table *table = NULL;
    struct nori_error error;
    uint64_t bytes = slice->bytes, entries = slice->entries;
    unsigned stripe = nr_epoch_enter(&engine->epoch);
    if (nr_table_cache_find(engine->tables, &slice->file->handle, &read, &table, &error) == NORI_OK)
        nr_table_measure(table, slice->start, slice->end, &bytes, &entries);
    nr_epoch_leave(&engine->epoch, stripe);
    nr_read_clear(&read);
    if (!table || properties->entry_count == 0) return; /* Range tombstones alone: there is nothing to measure. */
    double part = (double)entries / (double)properties->entry_count;
    slice->bytes = bytes;
    slice->entries = entries;
    slice->deletes = NR_MIN((uint64_t)(part * (double)properties->delete_count), entries);
}

nori_status nr_recount_run(struct nori_engine *engine, struct nr_run **run, struct nori_error *err)
{
    struct nr_run *old = *run, *counted = NULL;
    size_t cut_count = 0;
    nori_status rc = NORI_OK;
    if (!old || engine->merging.model) return NORI_OK;
    struct nr_table_slice *slices = nr_alloc(old->slice_count * sizeof *slices);
    if (!slices) return nr_fail_memory(err, old->slice_count * sizeof *slices);
    for (size_t i = 0; i < old->slice_count; i++) {
        slices[i] = old->slices[i];
        if (is_whole(&slices[i])) continue;
        measure(engine, &slices[i]);
        cut_count++;
    }
    if (cut_count > 0) {
        NR_CHECK(nr_run_create(old->run_id, slices, old->slice_count, &counted, err));
        nr_run_unref(old);
        *run = counted;
    }
out:
    nr_free(slices);
    return rc;
}

static nori_status recount_slot(struct nori_engine *engine, const struct nr_slot *slot, struct nr_edit *edit,
                                struct nori_error *err)
{
    nori_status rc = NORI_OK;
    size_t count = 0;
    struct nr_run **runs = nr_calloc(slot->run_count, sizeof *runs);
    if (!runs) return nr_fail_memory(err, slot->run_count * sizeof *runs);
    while (count < slot->run_count) {
        runs[count] = nr_run_ref(slot->runs[count]);
        NR_CHECK(nr_recount_run(engine, &runs[count++], err));
    }
    NR_CHECK(nr_edit_set_slot(edit, slot->level, slot->start, slot->k_max, runs, count, err));
out:
    for (size_t i = 0; i < count; i++) nr_run_unref(runs[i]);
    nr_free(runs);
    return rc;
}

nori_status nr_recount_slots(struct nori_engine *engine, struct nr_version *version, nori_slice start,
                             struct nr_bound end, struct nr_edit *edit, struct nori_error *err)
{
    struct nr_version *next = NULL;
    if (engine->merging.model) return NORI_OK;
    nr_mutex_lock(&engine->lock);
    nori_status rc = nr_edit_apply(edit, version, &next, err);
    nr_mutex_unlock(&engine->lock);
    if (rc != NORI_OK) return rc;
    for (size_t i = 1; i < next->level_count; i++) {
        const struct nr_level *level = next->levels[i];
        if (level == version->levels[i] || level->max_run_count == 0) continue;
        for (size_t j = nr_level_seek(level, start); j < level->slot_count; j++) {
            const struct nr_slot *slot = nr_level_slot(level, j);
            if (!nr_bound_above(end, slot->start)) break;
            bool is_same = slot == nr_level_find(version->levels[i], slot->start);
            if (!is_same && slot->run_count > 0) NR_CHECK(recount_slot(engine, slot, edit, err));
        }
    }
out:
    nr_version_unref(next);
    return rc;
}

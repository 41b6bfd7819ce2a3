/* All that a view shows in a range: memtables, level 0 and levels merged, then made visible. */
#include "engine/engine.h"

#include "base/alloc.h"
#include "iter/merge.h"

/* What is gathered for one iterator. */
struct parts {
    struct nr_iter **iters; /* Owned, newest first. */
    size_t iter_count;
    struct nr_tombstones **sets; /* One reference each. */
    size_t set_count, set_capacity;
};

static nori_status add_set(struct parts *parts, struct nr_tombstones *set, struct nori_error *err)
{
    if (!set) return NORI_OK;
    if (parts->set_count == parts->set_capacity) {
        size_t capacity = parts->set_capacity * 2 + 8;
        void *grown = nr_realloc(parts->sets, capacity * sizeof *parts->sets);
        if (!grown) {
            nr_tombstones_unref(set);
            return nr_fail_memory(err, capacity * sizeof *parts->sets);
        }
        parts->sets = grown;
        parts->set_capacity = capacity;
    }
    parts->sets[parts->set_count++] = set;
    return NORI_OK;
}

static nori_status add_memtables(struct nori_engine *engine, struct nr_view *view, struct parts *parts,
                                 struct nori_error *err)
{
    for (size_t i = 0; i < view->layer_count; i++) {
        struct nr_tombstones *set = NULL;
        unsigned stripe = nr_epoch_enter(&engine->epoch);
        nori_status rc = nr_memtable_tombstones(view->layers[i].memtable, &set, err);
        nr_epoch_leave(&engine->epoch, stripe);
        if (rc == NORI_OK) rc = add_set(parts, set, err);
        if (rc != NORI_OK) return rc;
        if (nr_memtable_is_empty(view->layers[i].memtable)) continue;
        rc = nr_memtable_iter_create(view->layers[i].memtable, &parts->iters[parts->iter_count], err);
        if (rc != NORI_OK) return rc;
        parts->iter_count++;
    }
    return NORI_OK;
}

static nori_status add_run_tombstones(struct nori_engine *engine, struct nr_run *run, nori_slice start,
                                      struct nr_bound end, struct parts *parts, struct nori_error *err)
{
    struct nr_tombstones *set = NULL;
    nori_status rc = nr_run_tombstones(run, start, end, engine->tables, &engine->epoch, &set, err);
    return rc == NORI_OK ? add_set(parts, set, err) : rc;
}

static nori_status add_level0(struct nori_engine *engine, struct nr_slot *slot, nori_slice start, struct nr_bound end,
                              struct nr_read *read, struct parts *parts, struct nori_error *err)
{
    for (size_t i = 0; i < slot->run_count; i++) {
        if (!nr_run_overlaps(slot->runs[i], start, end)) continue;
        nori_status rc = add_run_tombstones(engine, slot->runs[i], start, end, parts, err);
        if (rc == NORI_OK)
            rc = nr_run_iter_create(slot->runs[i], start, end, engine->tables, &engine->epoch, read,
                                    &parts->iters[parts->iter_count], err);
        if (rc != NORI_OK) return rc;
        parts->iter_count++;
    }
    return NORI_OK;
}

static nori_status add_level(struct nori_engine *engine, struct nr_level *level, nori_slice start, struct nr_bound end,
                             struct nr_read *read, struct parts *parts, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    if (level->max_run_count == 0) return NORI_OK;
    for (size_t i = nr_level_seek(level, start); i < level->slot_count && rc == NORI_OK; i++) {
        struct nr_slot *slot = nr_level_slot(level, i);
        if (!nr_bound_above(end, slot->start)) break;
        for (size_t j = 0; j < slot->run_count && rc == NORI_OK; j++)
            rc = add_run_tombstones(engine, slot->runs[j], start, end, parts, err);
    }
    if (rc == NORI_OK)
        rc = nr_level_iter_create(engine, level, start, end, read, &parts->iters[parts->iter_count], err);
    if (rc == NORI_OK) parts->iter_count++;
    return rc;
}

nori_status nr_view_iter_create(struct nori_engine *engine, struct nr_view *view, struct nr_moment moment,
                                nori_slice start, struct nr_bound end, struct nr_read *read, struct nr_iter **iter_out,
                                struct nori_error *err)
{
    struct parts parts = {0};
    struct nr_tombstones *tombstones = NULL;
    struct nr_iter *merged = NULL;
    struct nr_version *version = view->version;
    size_t capacity = view->layer_count + nr_version_level0(version)->run_count + version->level_count;
    nori_status rc = NORI_OK;
    *iter_out = NULL;

    parts.iters = nr_calloc(capacity, sizeof *parts.iters);
    if (!parts.iters) return nr_fail_memory(err, capacity * sizeof *parts.iters);
    NR_CHECK(add_memtables(engine, view, &parts, err));
    NR_CHECK(add_level0(engine, nr_version_level0(version), start, end, read, &parts, err));
    for (size_t level = 1; level < version->level_count; level++)
        NR_CHECK(add_level(engine, version->levels[level], start, end, read, &parts, err));
    NR_CHECK(nr_tombstones_merge(parts.sets, NULL, parts.set_count, moment.sequence, &tombstones, err));
    size_t count = parts.iter_count;
    parts.iter_count = 0; /* The merge owns them, whatever happens. */
    NR_CHECK(nr_merge_iter_create(parts.iters, count, &merged, err));
    NR_CHECK(nr_visible_iter_create(merged, tombstones, moment.sequence, moment.now_ms, iter_out, err));
out:
    for (size_t i = 0; i < parts.iter_count; i++) nr_iter_destroy(parts.iters[i]);
    for (size_t i = 0; i < parts.set_count; i++) nr_tombstones_unref(parts.sets[i]);
    nr_tombstones_unref(tombstones);
    nr_free(parts.iters);
    nr_free(parts.sets);
    return rc;
}

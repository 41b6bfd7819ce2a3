#include "engine/search.h"

/* A read that ended above level 1 knows no slot. One in so many looks for its own, and stands for the others. */
#define SHELTERED_PER_SAMPLE 64

static void count_sheltered(const struct nr_search *search)
{
    const struct nr_version *version = search->view->version;
    unsigned index = nr_epoch_stripe_of_thread();
    _Atomic uint64_t *counter = &search->engine->stripes[index].sheltered;
    uint64_t nth = atomic_load_explicit(counter, memory_order_relaxed) + 1;
    atomic_store_explicit(counter, nth, memory_order_relaxed);
    if (NR_LIKELY(nth % SHELTERED_PER_SAMPLE != 0) || version->level_count < 2) return;
    const struct nr_slot *slot = nr_level_find(version->levels[1], search->lookup->key);
    nr_activity_count_sheltered(slot->activity, index, SHELTERED_PER_SAMPLE);
}

/* ---------------------------------------------------------------- levels */

static nori_status open_table(struct nr_search *search, struct nori_error *err);
static nori_status next_run(struct nr_search *search, struct nori_error *err);

/* The slot of the first level from search->level on that holds anything. */
static nori_status enter_level(struct nr_search *search, struct nori_error *err)
{
    const struct nr_version *version = search->view->version;
    while (search->level < version->level_count && version->levels[search->level]->max_run_count == 0) search->level++;
    search->step = NULL;
    if (search->level == version->level_count) return NORI_OK;
    search->slot = nr_level_find(version->levels[search->level], search->lookup->key);
    search->run = 0;
    search->runs_probed = 0;
    return next_run(search, err);
}

static void leave_slot(struct nr_search *search)
{
    search->read->runs_probed += search->runs_probed;
    if (search->level > 0)
        nr_activity_count_search(search->slot->activity, nr_epoch_stripe_of_thread(), search->runs_probed);
    else if (nr_lookup_decided(search->lookup))
        count_sheltered(search);
}

/* The next run of the slot whose bounds cover the key, or the next level's slot. */
static nori_status next_run(struct nr_search *search, struct nori_error *err)
{
    const struct nr_slot *slot = search->slot;
    const struct nr_table_slice *slice = NULL;
    if (!nr_lookup_decided(search->lookup)) {
        while (!slice && search->run < slot->run_count)
            slice = nr_run_find(slot->runs[search->run++], search->lookup->key);
    }
    if (slice) {
        search->runs_probed++;
        search->file = slice->file;
        search->step = open_table;
        return open_table(search, err);
    }
    leave_slot(search);
    search->step = NULL;
    if (nr_lookup_decided(search->lookup)) return NORI_OK;
    search->level++;
    return enter_level(search, err);
}

/* ---------------------------------------------------------------- a table */

static nori_status take_entry(struct nr_search *search, struct nori_error *err)
{
    nori_status rc = nr_probe_take(&search->probe, search->lookup, search->read, err);
    return rc == NORI_OK ? next_run(search, err) : rc;
}

static nori_status open_block(struct nr_search *search, struct nori_error *err)
{
    nori_status rc = nr_probe_open(&search->probe, search->lookup, search->read, err);
    search->step = take_entry;
    return rc;
}

static nori_status fetch_block(struct nr_search *search, NR_UNUSED struct nori_error *err)
{
    nr_probe_fetch(&search->probe);
    search->step = open_block;
    return NORI_OK;
}

static nori_status seek_block(struct nr_search *search, struct nori_error *err)
{
    if (!nr_probe_seek(&search->probe, search->lookup, search->read)) return next_run(search, err);
    search->step = fetch_block;
    return NORI_OK;
}

static nori_status open_table(struct nr_search *search, struct nori_error *err)
{
    struct nr_table *table;
    nori_status rc = nr_table_cache_find(search->engine->tables, &search->file->handle, search->read, &table, err);
    if (rc != NORI_OK) return rc;
    nr_probe_begin(&search->probe, table, search->lookup);
    search->step = seek_block;
    return NORI_OK;
}

/* ---------------------------------------------------------------- memtables */

static nori_status ask_memtables(struct nr_search *search, struct nori_error *err)
{
    const struct nr_view *view = search->view;
    for (size_t i = 0; i < view->layer_count; i++) {
        nr_memtable_get(view->layers[i].memtable, search->lookup);
        if (!nr_lookup_decided(search->lookup)) continue;
        count_sheltered(search);
        search->step = NULL;
        return NORI_OK;
    }
    nr_learn_search(search->engine, search->lookup->key);
    search->level = 0;
    return enter_level(search, err);
}

static nori_status fetch_entries(struct nr_search *search, NR_UNUSED struct nori_error *err)
{
    const struct nr_view *view = search->view;
    for (size_t i = 0; i < view->layer_count; i++)
        nr_memtable_prefetch_entry(view->layers[i].memtable, search->lookup->hash);
    search->step = ask_memtables;
    return NORI_OK;
}

/* ---------------------------------------------------------------- searches */

void nr_search_begin(struct nr_search *search, struct nori_engine *engine, const struct nr_view *view,
                     struct nr_lookup *lookup, struct nr_read *read)
{
    search->engine = engine;
    search->view = view;
    search->lookup = lookup;
    search->read = read;
    search->step = ask_memtables;
}

/* All steps behind the one that returned 'rc'. */
static nori_status go_on(struct nr_search *search, nori_status rc, struct nori_error *err)
{
    while (search->step && rc == NORI_OK) rc = search->step(search, err);
    if (NR_UNLIKELY(rc != NORI_OK && rc != NORI_AGAIN)) leave_slot(search);
    return rc;
}

nori_status nr_search_finish(struct nr_search *search, struct nori_error *err)
{
    return go_on(search, NORI_OK, err);
}

void nr_search_together(struct nr_search *searches, size_t count)
{
    struct nr_search *turns[NR_SEARCHES_TOGETHER];
    size_t left = count;
    NR_ASSERT(count <= NR_SEARCHES_TOGETHER);
    for (size_t i = 0; i < count; i++) {
        turns[i] = &searches[i];
        for (size_t j = 0; j < searches[i].view->layer_count; j++)
            nr_memtable_prefetch(searches[i].view->layers[j].memtable, searches[i].lookup->hash);
        searches[i].step = fetch_entries;
    }
    while (left > 0) {
        size_t kept = 0;
        for (size_t i = 0; i < left; i++) {
            struct nr_search *search = turns[i];
            /* Whatever fails is in a table, which is to be found anew in another section of the epoch. */
            if (NR_UNLIKELY(search->step(search, NULL) != NORI_OK))
                search->step = open_table;
            else if (search->step)
                turns[kept++] = search;
        }
        left = kept;
    }
}

nori_status nr_view_search(struct nori_engine *engine, const struct nr_view *view, struct nr_lookup *lookup,
                           struct nr_read *read, struct nori_error *err)
{
    struct nr_search search;
    nr_search_begin(&search, engine, view, lookup, read);
    return go_on(&search, ask_memtables(&search, err), err);
}

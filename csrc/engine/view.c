#include "engine/engine.h"

#include "base/alloc.h"
#include "version/references.h"

static struct nr_view *view_of_link(struct nr_epoch_link *link)
{
    return (struct nr_view *)((char *)link - offsetof(struct nr_view, link));
}

static struct nr_view *view_create(void)
{
    struct nr_view *view = nr_calloc(1, sizeof *view + NR_MAX_LAYERS * sizeof view->layers[0]);
    if (view) atomic_init(&view->refs, 1);
    return view;
}

void nr_view_release(struct nr_view *view)
{
    if (!view || atomic_fetch_sub_explicit(&view->refs, 1, memory_order_acq_rel) != 1) return;
    for (size_t i = 0; i < view->layer_count; i++) nr_memtable_unref(view->layers[i].memtable);
    nr_version_unref(view->version);
    nr_free(view);
}

static void release_retired(struct nr_epoch_link *link)
{
    nr_view_release(view_of_link(link));
}

struct nr_view *nr_view_acquire(struct nori_engine *engine)
{
    unsigned stripe = nr_epoch_enter(&engine->epoch);
    struct nr_view *view = nr_view_peek(engine);
    atomic_fetch_add_explicit(&view->refs, 1, memory_order_relaxed);
    nr_epoch_leave(&engine->epoch, stripe);
    return view;
}

/* Under view_lock: 'next' becomes current. Returns the former view, to be retired outside of the lock. */
static struct nr_view *exchange(struct nori_engine *engine, struct nr_view *next)
{
    struct nr_view *former = atomic_load(&engine->view);
    next->number = former ? former->number + 1 : 1;
    return atomic_exchange_explicit(&engine->view, next, memory_order_seq_cst);
}

/* Releasing it may free whole memtables, so it is not for a writer or a reader to do. */
static void retire(struct nori_engine *engine, struct nr_view *former)
{
    if (!former) return;
    former->link.release = release_retired;
    nr_epoch_defer(&engine->epoch, &former->link);
}

static void copy_layers(struct nr_view *to, size_t at, const struct nr_view *from, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        to->layers[at + i] = from->layers[i];
        nr_memtable_ref(from->layers[i].memtable);
    }
    to->layer_count = at + count;
}

nori_status nr_view_begin(struct nori_engine *engine, struct nr_version *version, uint64_t log_segment,
                          struct nori_error *err)
{
    struct nr_memtable *memtable = NULL;
    struct nr_view *view = view_create();
    nori_status rc = NORI_OK;
    if (!view) return nr_fail_memory(err, sizeof *view);
    rc = nr_memtable_create(&engine->epoch, nr_pressure_memtable_bytes(&engine->options), &memtable, err);
    if (rc != NORI_OK) {
        nr_view_release(view);
        return rc;
    }
    nr_references_update(NULL, version);
    view->version = nr_version_ref(version);
    view->flushed_sequence = atomic_load(&engine->flushed_sequence);
    view->layers[0] = (struct nr_layer){memtable, log_segment};
    view->layer_count = 1;
    nr_mutex_lock(&engine->view_lock);
    retire(engine, exchange(engine, view));
    nr_mutex_unlock(&engine->view_lock);
    return NORI_OK;
}

nori_status nr_view_push(struct nori_engine *engine, uint64_t log_segment, struct nori_error *err)
{
    struct nr_memtable *memtable = NULL;
    struct nr_view *view = view_create(), *former = NULL;
    if (!view) return nr_fail_memory(err, sizeof *view);
    nori_status rc = nr_memtable_create(&engine->epoch, nr_pressure_memtable_bytes(&engine->options), &memtable, err);
    if (rc != NORI_OK) {
        nr_view_release(view);
        return rc;
    }
    nr_mutex_lock(&engine->view_lock);
    former = atomic_load(&engine->view);
    NR_ASSERT(former->layer_count < NR_MAX_LAYERS);
    view->version = nr_version_ref(former->version);
    view->flushed_sequence = former->flushed_sequence;
    view->layers[0] = (struct nr_layer){memtable, log_segment};
    copy_layers(view, 1, former, former->layer_count);
    exchange(engine, view);
    nr_mutex_unlock(&engine->view_lock);
    retire(engine, former);
    return NORI_OK;
}

nori_status nr_view_prepare(struct nr_view **spare_out, struct nori_error *err)
{
    *spare_out = view_create();
    return *spare_out ? NORI_OK : nr_fail_memory(err, sizeof **spare_out);
}

void nr_view_install(struct nori_engine *engine, struct nr_view *spare, struct nr_version *version,
                     uint64_t flushed_sequence, size_t flushed_layers)
{
    nr_mutex_lock(&engine->view_lock);
    struct nr_view *former = atomic_load(&engine->view);
    NR_ASSERT(flushed_layers < former->layer_count);
    spare->version = nr_version_ref(version);
    spare->flushed_sequence = flushed_sequence;
    copy_layers(spare, 0, former, former->layer_count - flushed_layers);
    exchange(engine, spare);
    nr_mutex_unlock(&engine->view_lock);
    retire(engine, former);
}

void nr_view_end(struct nori_engine *engine)
{
    struct nr_view *view = atomic_exchange(&engine->view, NULL);
    nr_epoch_collect(&engine->epoch);
    nr_view_release(view);
}

size_t nr_view_memtable_bytes(const struct nr_view *view, size_t first)
{
    size_t bytes = 0;
    for (size_t i = first; i < view->layer_count; i++) bytes += nr_memtable_bytes(view->layers[i].memtable);
    return bytes;
}

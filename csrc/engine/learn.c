/* What the engine learns of its keys, for guards: where writes and where reads lie. It is kept in two sketches, so that
 * reads count as much as bytes whatever there are more of. HEAT keeps them from session to session; losing all of it
 * costs nothing but the next guards. */
#include "engine/engine.h"

#define SAMPLES_PER_FLUSH 64
/* Sketches halve when they hold so much: what was long ago fades. */
#define WRITES_LEVELS 8 /* Fills of level 1. */
#define WRITES_FLUSHES 32
#define READS_SAMPLES 16384

nori_status nr_learn_open(struct nori_engine *engine, struct nori_error *err)
{
    nori_status rc = nr_sketch_create(nr_random_next(&engine->random), &engine->writes, err);
    if (rc == NORI_OK) rc = nr_sketch_create(nr_random_next(&engine->random), &engine->reads, err);
    return rc;
}

void nr_learn_close(struct nori_engine *engine)
{
    nr_sketch_destroy(engine->writes);
    nr_sketch_destroy(engine->reads);
    engine->writes = engine->reads = NULL;
}

nori_status nr_learn_sample(struct nori_engine *engine, struct nr_table_file *file, size_t count,
                            void (*fn)(void *arg, nori_slice key, uint64_t bytes), void *arg, struct nori_error *err)
{
    struct nr_read read = {0};
    struct nr_table *table = NULL;
    if (engine->merging.model) {
        engine->merging.model->sample(file, count, fn, arg);
        return NORI_OK;
    }
    unsigned stripe = nr_epoch_enter(&engine->epoch);
    nori_status rc = nr_table_cache_find(engine->tables, &file->handle, &read, &table, err);
    if (rc == NORI_OK) nr_table_sample(table, count, fn, arg);
    nr_epoch_leave(&engine->epoch, stripe);
    nr_read_clear(&read);
    return rc;
}

nori_status nr_learn_encode(struct nori_engine *engine, struct nr_buffer *writes, struct nr_buffer *reads,
                            struct nori_error *err)
{
    nori_status rc = NORI_OK;
    if (!engine->writes) goto out;
    if (nr_sketch_total(engine->writes) > 0) NR_CHECK(nr_sketch_encode(engine->writes, writes, err));
    if (nr_sketch_total(engine->reads) > 0) NR_CHECK(nr_sketch_encode(engine->reads, reads, err));
out:
    return rc;
}

/* What the sketch has learned since open, of the log's replay, is added. */
static void take_up(struct nori_engine *engine, struct nr_sketch **sketch, nori_slice bytes)
{
    struct nr_sketch *kept = NULL;
    struct nori_error error;
    if (!bytes.data || nr_sketch_decode(bytes, nr_random_next(&engine->random), &kept, &error) != NORI_OK) return;
    nr_sketch_merge(kept, *sketch);
    nr_sketch_destroy(*sketch);
    *sketch = kept;
}

void nr_learn_decode(struct nori_engine *engine, nori_slice writes, nori_slice reads)
{
    nr_mutex_lock(&engine->lock);
    if (engine->writes) {
        take_up(engine, &engine->writes, writes);
        take_up(engine, &engine->reads, reads);
    }
    nr_mutex_unlock(&engine->lock);
}

/* Under engine.lock. */
static void add_write(void *arg, nori_slice key, uint64_t bytes)
{
    struct nori_engine *engine = arg;
    nr_mutex_lock(&engine->lock);
    nr_sketch_add(engine->writes, key, bytes);
    nr_mutex_unlock(&engine->lock);
}

void nr_learn_flush(struct nori_engine *engine, const struct nr_run *run)
{
    struct nori_error error;
    const struct nori_options *options = &engine->options;
    uint64_t limit =
        NR_MAX(options->level1_bytes * WRITES_LEVELS, options->memtable.flush_trigger_bytes * WRITES_FLUSHES);
    if (!run || !engine->writes) return;
    for (size_t i = 0; i < run->slice_count; i++) {
        if (nr_learn_sample(engine, run->slices[i].file, SAMPLES_PER_FLUSH, add_write, engine, &error) != NORI_OK)
            continue;
        nr_mutex_lock(&engine->lock);
        if (nr_sketch_total(engine->writes) > limit) nr_sketch_decay(engine->writes);
        nr_mutex_unlock(&engine->lock);
    }
}

void nr_learn_read(struct nori_engine *engine, nori_slice key)
{
    /* A reader does not wait: one sample more or less is nothing. */
    if (!engine->reads || !nr_mutex_trylock(&engine->lock)) return;
    nr_sketch_add(engine->reads, key, 1);
    if (nr_sketch_total(engine->reads) > READS_SAMPLES) nr_sketch_decay(engine->reads);
    nr_mutex_unlock(&engine->lock);
}

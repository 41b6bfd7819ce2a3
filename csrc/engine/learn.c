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
    nr_sketch_add(((struct nori_engine *)arg)->writes, key, bytes);
}

void nr_learn_flush(struct nori_engine *engine, const struct nr_run *run)
{
    struct nori_error error;
    struct nr_read read = {0};
    const struct nori_options *options = &engine->options;
    uint64_t limit =
        NR_MAX(options->level1_bytes * WRITES_LEVELS, options->memtable.flush_trigger_bytes * WRITES_FLUSHES);
    if (!run || !engine->writes) return;
    for (size_t i = 0; i < run->slice_count; i++) {
        struct nr_table *table = NULL;
        unsigned stripe = nr_epoch_enter(&engine->epoch);
        if (nr_table_cache_find(engine->tables, &run->slices[i].file->handle, &read, &table, &error) == NORI_OK) {
            nr_mutex_lock(&engine->lock);
            nr_table_sample(table, SAMPLES_PER_FLUSH, add_write, engine);
            if (nr_sketch_total(engine->writes) > limit) nr_sketch_decay(engine->writes);
            nr_mutex_unlock(&engine->lock);
        }
        nr_epoch_leave(&engine->epoch, stripe);
    }
    nr_read_clear(&read);
}

void nr_learn_read(struct nori_engine *engine, nori_slice key)
{
    /* A reader does not wait: one sample more or less is nothing. */
    if (!engine->reads || !nr_mutex_trylock(&engine->lock)) return;
    nr_sketch_add(engine->reads, key, 1);
    if (nr_sketch_total(engine->reads) > READS_SAMPLES) nr_sketch_decay(engine->reads);
    nr_mutex_unlock(&engine->lock);
}

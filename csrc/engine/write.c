/* put, delete, delete_range, and batches. */
#include "engine/engine.h"

#include <math.h>

uint64_t nori_expiry(struct nori_engine *engine, double ttl_secs)
{
    if (ttl_secs < 0) ttl_secs = engine->options.tombstones.ttl_default_secs;
    if (ttl_secs <= 0 || isinf(ttl_secs)) return 0;
    double milliseconds = ttl_secs * 1000.0;
    uint64_t now_ms = nr_engine_now_ms(engine);
    if (milliseconds >= 9.0e18) return 0; /* Beyond what the format can say is never. */
    return now_ms + NR_MAX((uint64_t)milliseconds, 1);
}

static double ttl_of(const struct nori_write_options *options)
{
    return options ? options->ttl_secs : -1.0;
}

/* Puts that expire make counts change by themselves. */
static void note_expiry(struct nori_engine *engine, uint64_t expires_at_ms)
{
    if (expires_at_ms != 0 && !atomic_load_explicit(&engine->has_expiring, memory_order_relaxed))
        atomic_store(&engine->has_expiring, true);
}

nori_status nori_put(struct nori_engine *engine, nori_slice key, nori_slice value,
                     const struct nori_write_options *options, struct nori_error *err)
{
    unsigned stripe;
    nori_status rc = nr_check_key(key, err);
    if (rc == NORI_OK) rc = nr_check_value(value, err);
    if (rc == NORI_OK) rc = nr_call_enter(engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    struct nr_commit commit = {.count = 1, .type = NR_TYPE_PUT, .key = key, .value = value, .put_count = 1};
    commit.expires_at_ms = nori_expiry(engine, ttl_of(options));
    commit.user_bytes = key.size + value.size;
    note_expiry(engine, commit.expires_at_ms);
    rc = nr_commit_run(engine, &commit, options, err);
    nr_call_leave(engine);
    return rc;
}

nori_status nori_delete(struct nori_engine *engine, nori_slice key, const struct nori_write_options *options,
                        struct nori_error *err)
{
    unsigned stripe;
    nori_status rc = nr_check_key(key, err);
    if (rc == NORI_OK) rc = nr_call_enter(engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    struct nr_commit commit = {
        .count = 1, .type = NR_TYPE_DELETE, .key = key, .delete_count = 1, .user_bytes = key.size};
    rc = nr_commit_run(engine, &commit, options, err);
    nr_call_leave(engine);
    return rc;
}

/* User bytes, puts and deletes of a payload. */
static nori_status measure(struct nori_engine *engine, struct nr_commit *commit, struct nori_error *err)
{
    nori_slice rest = commit->payload;
    struct nr_operation operation;
    while (rest.size > 0) {
        nori_status rc = nr_operation_next(&rest, &operation, err);
        if (rc != NORI_OK) return rc;
        commit->user_bytes += operation.key.size;
        if (operation.type == NR_TYPE_PUT || operation.type == NR_TYPE_PUT_EXPIRING) {
            commit->put_count++;
            commit->user_bytes += operation.value.size;
            if (operation.type == NR_TYPE_PUT_EXPIRING) {
                commit->user_bytes -= NR_EXPIRY_BYTES;
                note_expiry(engine, 1);
            }
        } else {
            commit->delete_count++;
        }
    }
    return NORI_OK;
}

/* A write of nothing: what was written before is on disk, if it asks for that. */
static nori_status write_nothing(struct nori_engine *engine, const struct nori_write_options *options,
                                 struct nori_error *err)
{
    if (engine->is_read_only) return NR_FAIL(err, NORI_READ_ONLY, "%s is open for reading only", engine->path);
    if (!nr_commit_wants_sync(engine, options)) return NORI_OK;
    struct nr_position end = nr_wal_end(engine->wal, NULL);
    if (nr_position_compare(end, nr_wal_synced(engine->wal, NULL)) <= 0) return NORI_OK;
    if (options && (options->flags & NORI_NO_WAIT)) return NR_FAIL(err, NORI_AGAIN, "the write waits for the disk");
    return atomic_load(&engine->is_poisoned) ? nr_fail_poisoned(engine, err) : nr_engine_sync(engine, end, err);
}

/* Inside a call. */
static nori_status write_batch(struct nori_engine *engine, const struct nori_batch *batch,
                               const struct nori_write_options *options, uint64_t *sequence_out, struct nori_error *err)
{
    if (batch->count == 0) {
        *sequence_out = atomic_load(&engine->published_sequence);
        return write_nothing(engine, options, err);
    }
    struct nr_commit commit = {.payload = nr_buffer_slice(&batch->payload), .count = batch->count};
    nori_status rc = measure(engine, &commit, err);
    if (rc != NORI_OK) return rc;
    rc = nr_commit_run(engine, &commit, options, err);
    if (rc == NORI_OK) *sequence_out = commit.sequence;
    return rc;
}

nori_status nori_write(struct nori_engine *engine, const struct nori_batch *batch,
                       const struct nori_write_options *options, uint64_t *sequence_out, struct nori_error *err)
{
    unsigned stripe;
    nori_status rc = nr_call_enter(engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    rc = write_batch(engine, batch, options, sequence_out, err);
    nr_call_leave(engine);
    return rc;
}

nori_status nori_delete_range(struct nori_engine *engine, const nori_slice *start, const nori_slice *stop,
                              const struct nori_write_options *options, struct nori_error *err)
{
    unsigned stripe;
    uint64_t sequence;
    struct nori_batch *batch = NULL;
    nori_status rc = nr_call_enter(engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    NR_CHECK(nori_batch_create(&batch, err));
    NR_CHECK(nori_batch_delete_range(batch, start, stop, err));
    NR_CHECK(write_batch(engine, batch, options, &sequence, err));
out:
    nori_batch_destroy(batch);
    nr_call_leave(engine);
    return rc;
}

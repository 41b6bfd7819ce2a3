#include "compact/merge.h"

#include "base/alloc.h"
#include "compact/output.h"
#include "iter/merge.h"

struct flush {
    struct nr_iter *iter;                  /* Owned. */
    struct nr_tombstones *tombstones;      /* Counted; of all memtables. */
    struct nr_tombstones *kept_tombstones; /* Counted. */
    struct nr_survive survive;
    struct nr_output output;
};

static bool always_below(void *arg NR_UNUSED, nori_slice key NR_UNUSED)
{
    return true;
}

static bool always_overlaps(void *arg NR_UNUSED, nori_slice start NR_UNUSED, struct nr_bound end NR_UNUSED)
{
    return true;
}

static nori_status open_memtables(struct flush *flush, struct nr_memtable *const *memtables, size_t count,
                                  struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_iter **children = nr_calloc(count + 1, sizeof(struct nr_iter *));
    size_t opened = 0;
    if (!children) return nr_fail_memory(err, (count + 1) * sizeof(struct nr_iter *));
    for (; opened < count; opened++) NR_CHECK(nr_memtable_iter_create(memtables[opened], &children[opened], err));
    rc = nr_merge_iter_create(children, count, &flush->iter, err);
    opened = 0; /* It owns them, or has destroyed them. */
out:
    for (size_t i = 0; i < opened; i++) nr_iter_destroy(children[i]);
    nr_free(children);
    return rc;
}

static nori_status open_tombstones(struct flush *flush, const struct nr_merge_context *context,
                                   struct nr_memtable *const *memtables, size_t count, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_tombstones **sets = nr_calloc(count + 1, sizeof(struct nr_tombstones *));
    if (!sets) return nr_fail_memory(err, (count + 1) * sizeof(struct nr_tombstones *));
    for (size_t i = 0; i < count; i++) {
        unsigned stripe = nr_epoch_enter(context->epoch);
        rc = nr_memtable_tombstones(memtables[i], &sets[i], err);
        nr_epoch_leave(context->epoch, stripe);
        if (rc != NORI_OK) goto out;
    }
    NR_CHECK(nr_tombstones_merge(sets, NULL, count, NR_MAX_SEQUENCE, &flush->tombstones, err));
out:
    for (size_t i = 0; i < count; i++) nr_tombstones_unref(sets[i]);
    nr_free(sets);
    return rc;
}

static nori_status write_entries(struct flush *flush, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_iter *iter = flush->iter;
    const struct nr_merge_context *context = flush->output.context;
    NR_CHECK(nr_iter_seek_first(iter, err));
    while (iter->entry) {
        bool keep = false;
        uint64_t bytes = iter->entry->key.size + NR_TAG_BYTES + iter->entry->value.size;
        NR_CHECK(nr_survive_judge(&flush->survive, iter->entry->key, iter->entry->tag, iter->entry->value, &keep, err));
        if (keep) NR_CHECK(nr_output_add(&flush->output, iter->entry->key, iter->entry->tag, iter->entry->value, err));
        if (keep && context->note_entry) context->note_entry(context->note_arg, iter->entry->key, bytes);
        NR_CHECK(nr_output_admit(&flush->output, bytes, err));
        NR_CHECK(nr_iter_next(iter, err));
    }
out:
    return rc;
}

nori_status nr_flush_execute(const struct nr_merge_context *context, struct nr_memtable *const *memtables,
                             size_t memtable_count, const struct nr_moment *moments, size_t moment_count,
                             uint64_t created_ms, struct nr_run **run_out, uint64_t *bytes_written_out,
                             struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct flush flush = {0};
    flush.output.first_number = UINT64_MAX;
    *run_out = NULL;
    *bytes_written_out = 0;

    NR_CHECK(open_memtables(&flush, memtables, memtable_count, err));
    NR_CHECK(open_tombstones(&flush, context, memtables, memtable_count, err));
    NR_CHECK(nr_survive_tombstones(flush.tombstones, moments, moment_count, always_overlaps, NULL,
                                   &flush.kept_tombstones, err));
    nr_survive_init(&flush.survive, moments, moment_count, flush.tombstones, always_below, NULL);
    nr_output_init(&flush.output, context, flush.kept_tombstones, 0, UINT64_MAX, created_ms);

    NR_CHECK(nr_output_begin(&flush.output, 0, nr_slice("", 0), nr_bound_infinite(), err));
    NR_CHECK(write_entries(&flush, err));
    NR_CHECK(nr_output_end(&flush.output, run_out, err));
    if (*run_out) NR_CHECK(nr_dir_sync(context->dir, err));
    *bytes_written_out = flush.output.bytes_written;
out:
    if (rc != NORI_OK) {
        nr_output_discard(context, *run_out, flush.output.first_number);
        *run_out = NULL;
    }
    nr_output_clear(&flush.output);
    nr_survive_clear(&flush.survive);
    nr_iter_destroy(flush.iter);
    nr_tombstones_unref(flush.tombstones);
    nr_tombstones_unref(flush.kept_tombstones);
    return rc;
}

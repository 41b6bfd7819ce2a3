#include "compact/fresh.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/checksum.h"

/* Of each stretch of keys the first ones are asked for, and the others only if so many of those were fresh. */
#define STRETCH_KEYS 4096
#define SAMPLE_KEYS 256
#define WORTHWHILE_PART 0.25

struct nr_fresh_run {
    struct nr_run *run;     /* Borrowed. */
    size_t at;              /* The slice that the keys have come to. */
    struct nr_table *table; /* Counted: its table. NULL: it was not asked for yet. */
    bool is_unknown;        /* It cannot be opened. */
};

static int compare_starts(const void *a, const void *b)
{
    const struct nr_fresh_run *left = a, *right = b;
    return nr_slice_compare(left->run->slices[left->at].start, right->run->slices[right->at].start);
}

nori_status nr_fresh_init(struct nr_fresh *fresh, const struct nr_merge_context *context,
                          const struct nr_merge_job *job, nori_slice start, struct nr_bound end, struct nori_error *err)
{
    *fresh = (struct nr_fresh){.context = context, .read = {.is_scan = true, .skip_cache = true}};
    fresh->runs = nr_calloc(job->older_count + 1, sizeof *fresh->runs);
    fresh->over = nr_calloc(job->older_count + 1, sizeof(struct nr_fresh_run *));
    if (!fresh->runs || !fresh->over) return nr_fail_memory(err, (job->older_count + 1) * sizeof *fresh->runs);
    for (size_t i = 0; i < job->older_count; i++) {
        struct nr_run *run = job->older[i];
        if (!nr_run_overlaps(run, start, end)) continue;
        fresh->runs[fresh->run_count++] = (struct nr_fresh_run){.run = run, .at = nr_run_seek(run, start)};
    }
    qsort(fresh->runs, fresh->run_count, sizeof *fresh->runs, compare_starts);
    return NORI_OK;
}

void nr_fresh_clear(struct nr_fresh *fresh)
{
    for (size_t i = 0; i < fresh->run_count; i++) nr_table_unref(fresh->runs[i].table);
    nr_free(fresh->runs);
    nr_free(fresh->over);
    nr_read_clear(&fresh->read);
    *fresh = (struct nr_fresh){0};
}

/* Goes on to the slice that the key is in, or before. False: there is none left. */
static bool advance(struct nr_fresh_run *older, nori_slice key)
{
    const struct nr_run *run = older->run;
    size_t at = older->at;
    while (at < run->slice_count && !nr_bound_above(run->slices[at].end, key)) at++;
    if (at == older->at) return true;
    nr_table_unref(older->table);
    older->table = NULL;
    older->is_unknown = false;
    older->at = at;
    return at < run->slice_count;
}

static void open_table(struct nr_fresh *fresh, struct nr_fresh_run *older)
{
    const struct nr_merge_context *context = fresh->context;
    struct nr_table_handle *handle = &older->run->slices[older->at].file->handle;
    struct nr_table *table = NULL;
    struct nori_error error;
    unsigned stripe = nr_epoch_enter(context->epoch);
    if (nr_table_cache_find(context->tables, handle, &fresh->read, &table, &error) == NORI_OK)
        older->table = nr_table_ref(table);
    else
        older->is_unknown = true;
    nr_epoch_leave(context->epoch, stripe);
}

static bool may_hold(struct nr_fresh *fresh, struct nr_fresh_run *older, nori_slice key, uint64_t hash)
{
    if (nr_slice_compare(older->run->slices[older->at].start, key) > 0) return false;
    if (!older->table && !older->is_unknown) open_table(fresh, older);
    return older->is_unknown || nr_table_may_hold(older->table, hash);
}

static bool is_fresh(struct nr_fresh *fresh, nori_slice key)
{
    uint64_t hash = nr_hash_key(key);
    while (fresh->next < fresh->run_count) {
        struct nr_fresh_run *older = &fresh->runs[fresh->next];
        if (nr_slice_compare(older->run->slices[older->at].start, key) > 0) break;
        fresh->over[fresh->over_count++] = older;
        fresh->next++;
    }
    for (size_t i = 0; i < fresh->over_count;) {
        if (!advance(fresh->over[i], key)) {
            fresh->over[i] = fresh->over[--fresh->over_count];
            continue;
        }
        if (may_hold(fresh, fresh->over[i], key, hash)) return false;
        i++;
    }
    return true;
}

bool nr_fresh_ask(struct nr_fresh *fresh, nori_slice key)
{
    if (fresh->run_count == 0) return true;
    if (fresh->key_count == STRETCH_KEYS) fresh->key_count = fresh->found_count = 0;
    bool is_passed_by =
        fresh->key_count >= SAMPLE_KEYS && (double)fresh->found_count < WORTHWHILE_PART * (double)fresh->key_count;
    if (fresh->key_count < SAMPLE_KEYS || !is_passed_by) {
        fresh->key_count++;
        if (!is_fresh(fresh, key)) return false;
        fresh->found_count++;
        return true;
    }
    fresh->key_count++;
    return false;
}

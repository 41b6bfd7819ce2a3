#include "compact/bulk.h"

#include "base/alloc.h"
#include "base/coding.h"
#include "iter/merge.h"

/* Entries between two questions of the thread's hook. */
#define POLL_ENTRIES 1024
/* Operations are fetched so many ahead. */
#define AHEAD_COUNT 8
/* At most, of the varint for a key's size. */
#define KEY_SIZE_BYTES 3

/* ---------------------------------------------------------------- runs */

static nori_status begin_run(struct nr_bulk *bulk, struct nori_error *err)
{
    const struct nr_bulk_params *params = &bulk->params;
    nr_output_init(&bulk->output, params->context, NULL, params->level, params->context->options->table_bytes,
                   params->created_ms);
    bulk->output.is_stamped = bulk->output.writes_behind = true;
    bulk->next_number++;
    return nr_output_begin(&bulk->output, 0, nr_slice("", 0), nr_bound_infinite(), err);
}

static nori_status write_entry(struct nr_bulk *bulk, nori_slice key, uint64_t tag, nori_slice value,
                               struct nori_error *err)
{
    nori_status rc = NORI_OK;
    if (NR_UNLIKELY(bulk->output.is_full)) NR_CHECK(nr_output_cut(&bulk->output, key, err));
    NR_CHECK(nr_output_add(&bulk->output, key, tag, value, err));
    NR_CHECK(nr_output_admit(&bulk->output, key.size + NR_TAG_BYTES + value.size, err));
out:
    return rc;
}

static nori_status write_operation(struct nr_bulk *bulk, const struct nr_operation *operation, struct nori_error *err)
{
    uint64_t tag = nr_tag(bulk->next_number, (enum nr_entry_type)operation->type);
    return write_entry(bulk, operation->key, tag, operation->value, err);
}

static nori_status reserve_run(struct nr_bulk *bulk, struct nori_error *err)
{
    if (bulk->run_count < bulk->run_capacity) return NORI_OK;
    size_t capacity = bulk->run_capacity * 2 + 8;
    struct nr_bulk_run *runs = nr_realloc(bulk->runs, capacity * sizeof *runs);
    if (!runs) return nr_fail_memory(err, capacity * sizeof *runs);
    bulk->runs = runs;
    bulk->run_capacity = capacity;
    return NORI_OK;
}

/* What is under way is the newest run. */
static nori_status end_run(struct nr_bulk *bulk, unsigned tier, struct nori_error *err)
{
    struct nr_run *run = NULL;
    nori_status rc = NORI_OK;
    NR_CHECK(reserve_run(bulk, err));
    NR_CHECK(nr_output_end(&bulk->output, &run, err));
    bulk->bytes_written += bulk->output.bytes_written;
    nr_output_clear(&bulk->output);
    if (run) bulk->runs[bulk->run_count++] = (struct nr_bulk_run){run, tier};
out:
    return rc;
}

/* ---------------------------------------------------------------- merging */

static nori_status open_runs(struct nr_bulk *bulk, size_t first, struct nr_read *read, struct nr_iter **iter_out,
                             struct nori_error *err)
{
    const struct nr_merge_context *context = bulk->params.context;
    size_t count = bulk->run_count - first, opened = 0;
    nori_status rc = NORI_OK;
    struct nr_iter **children = nr_calloc(count, sizeof(struct nr_iter *));
    if (!children) return nr_fail_memory(err, count * sizeof(struct nr_iter *));
    for (; opened < count; opened++) {
        struct nr_run *run = bulk->runs[bulk->run_count - 1 - opened].run;
        NR_CHECK(nr_run_iter_create(run, nr_slice("", 0), nr_bound_infinite(), context->tables, context->epoch, read,
                                    &children[opened], err));
    }
    rc = nr_merge_iter_create(children, count, iter_out, err);
    opened = 0; /* It owns them, or has destroyed them. */
out:
    for (size_t i = 0; i < opened; i++) nr_iter_destroy(children[i]);
    nr_free(children);
    return rc;
}

/* The newest of each key. */
static nori_status write_merged(struct nr_bulk *bulk, struct nr_iter *iter, struct nori_error *err)
{
    struct nr_buffer last = {0};
    bool has_last = false;
    nori_status rc = NORI_OK;
    NR_CHECK(nr_iter_seek_first(iter, err));
    for (uint64_t i = 1; iter->entry; i++) {
        if (i % POLL_ENTRIES == 0) NR_CHECK(nr_interrupt_poll(err));
        if (!has_last || !nr_slice_equal(nr_buffer_slice(&last), iter->entry->key)) {
            NR_CHECK(write_entry(bulk, iter->entry->key, iter->entry->tag, iter->entry->value, err));
            NR_CHECK(nr_buffer_assign(&last, iter->entry->key, err));
            has_last = true;
        }
        NR_CHECK(nr_iter_next(iter, err));
    }
out:
    nr_buffer_clear(&last);
    return rc;
}

/* The runs from the 'first' on become one. */
static nori_status merge_runs(struct nr_bulk *bulk, size_t first, unsigned tier, struct nori_error *err)
{
    struct nr_read read = {.skip_cache = true};
    struct nr_iter *iter = NULL;
    size_t end = bulk->run_count;
    nori_status rc = NORI_OK;
    NR_CHECK(open_runs(bulk, first, &read, &iter, err));
    NR_CHECK(begin_run(bulk, err));
    bulk->output.input = &read;
    NR_CHECK(write_merged(bulk, iter, err));
    NR_CHECK(end_run(bulk, tier, err));
    nr_iter_destroy(iter);
    iter = NULL;
    for (size_t i = first; i < end; i++) nr_run_unref(bulk->runs[i].run);
    memmove(&bulk->runs[first], &bulk->runs[end], (bulk->run_count - end) * sizeof *bulk->runs);
    bulk->run_count -= end - first;
out:
    nr_iter_destroy(iter);
    nr_read_clear(&read);
    return rc;
}

static nori_status merge_full_tiers(struct nr_bulk *bulk, struct nori_error *err)
{
    for (;;) {
        size_t count = 0;
        unsigned tier = bulk->run_count > 0 ? bulk->runs[bulk->run_count - 1].tier : 0;
        while (count < bulk->run_count && bulk->runs[bulk->run_count - 1 - count].tier == tier) count++;
        if (count < NR_BULK_FAN_IN) return NORI_OK;
        nori_status rc = merge_runs(bulk, bulk->run_count - count, tier + 1, err);
        if (rc != NORI_OK) return rc;
    }
}

/* ---------------------------------------------------------------- the pile */

/* What the pile holds was checked when it came. */
static struct nr_operation decode(const uint8_t *at, const uint8_t *end)
{
    struct nr_operation operation = {0};
    nori_slice rest = nr_slice(at, (size_t)(end - at));
    nori_status rc = nr_operation_next(&rest, &operation, NULL);
    NR_ASSERT(rc == NORI_OK);
    (void)rc;
    return operation;
}

static nori_slice key_of(const struct nr_sort_item *entry)
{
    const uint8_t *operation = entry->pointer;
    uint64_t size = 0;
    const uint8_t *key = nr_get_varint(operation + 1, operation + 1 + KEY_SIZE_BYTES, &size);
    return nr_slice(key, (size_t)size);
}

/* By key, then by age. */
static int compare_entries(const struct nr_sort_item *a, const struct nr_sort_item *b)
{
    int order = nr_slice_compare(key_of(a), key_of(b));
    return order != 0 ? order : (const uint8_t *)a->pointer < (const uint8_t *)b->pointer ? -1 : 1;
}

static nori_status note_entry(struct nr_bulk *bulk, struct nori_error *err)
{
    if (bulk->entry_count == bulk->entry_capacity) {
        size_t capacity = bulk->entry_capacity * 2 + 1024;
        struct nr_sort_item *entries = nr_realloc(bulk->entries, capacity * sizeof *entries);
        if (!entries) return nr_fail_memory(err, capacity * sizeof *entries);
        bulk->entries = entries;
        bulk->entry_capacity = capacity;
    }
    bulk->entries[bulk->entry_count++] = (struct nr_sort_item){.offset = bulk->pile.size};
    return NORI_OK;
}

/* Prefixes are of what follows on the bytes that all keys of the pile begin with. */
static nori_status sort_pile(struct nr_bulk *bulk, struct nori_error *err)
{
    size_t count = bulk->entry_count, common = SIZE_MAX;
    struct nr_sort_item *scratch = nr_alloc(count * sizeof *scratch);
    if (!scratch) return nr_fail_memory(err, count * sizeof *scratch);
    for (size_t i = 0; i < count; i++) {
        bulk->entries[i].pointer = bulk->pile.data + bulk->entries[i].offset;
        nori_slice first = key_of(&bulk->entries[0]), key = key_of(&bulk->entries[i]);
        size_t limit = NR_MIN(NR_MIN(common, first.size), key.size);
        for (common = 0; common < limit && first.data[common] == key.data[common];) common++;
    }
    for (size_t i = 0; i < count; i++) {
        nori_slice key = key_of(&bulk->entries[i]);
        bulk->entries[i].prefix = nr_slice_prefix(nr_slice_behind(key, common));
    }
    nr_prefix_sort(bulk->entries, scratch, count);
    nr_prefix_sort_ties(bulk->entries, count, compare_entries);
    nr_free(scratch);
    return NORI_OK;
}

/* The pile as a run. */
static nori_status write_pile(struct nr_bulk *bulk, struct nori_error *err)
{
    const uint8_t *end = bulk->pile.data + bulk->pile.size;
    nori_status rc = NORI_OK;
    if (bulk->entry_count == 0) return NORI_OK;
    NR_CHECK(nr_interrupt_poll(err));
    NR_CHECK(sort_pile(bulk, err));
    NR_CHECK(begin_run(bulk, err));
    struct nr_operation operation = decode(bulk->entries[0].pointer, end);
    for (size_t i = 0; i < bulk->entry_count; i++) {
        struct nr_operation next = {0};
        bool is_last = i + 1 == bulk->entry_count;
        if (i + AHEAD_COUNT < bulk->entry_count) __builtin_prefetch(bulk->entries[i + AHEAD_COUNT].pointer);
        if (!is_last) next = decode(bulk->entries[i + 1].pointer, end);
        if (is_last || !nr_slice_equal(next.key, operation.key)) NR_CHECK(write_operation(bulk, &operation, err));
        operation = next;
    }
    NR_CHECK(end_run(bulk, 0, err));
    bulk->pile.size = 0;
    bulk->entry_count = 0;
    NR_CHECK(merge_full_tiers(bulk, err));
out:
    return rc;
}

/* ---------------------------------------------------------------- taking pairs */

static nori_status write_last(struct nr_bulk *bulk, struct nori_error *err)
{
    if (!bulk->has_last) return NORI_OK;
    bulk->has_last = false;
    return write_operation(bulk, &bulk->last, err);
}

/* A pair while keys ascend. '*is_taken_out' false: they do not any more. */
static nori_status take_ascending(struct nr_bulk *bulk, const struct nr_operation *operation, bool *is_taken_out,
                                  struct nori_error *err)
{
    int order = bulk->has_last ? nr_slice_compare(operation->key, bulk->last.key) : 1;
    if (order < 0 && bulk->params.must_ascend)
        return NR_FAIL(err, NORI_INVALID, "the keys do not ascend: that of pair %" PRIu64 " is below the one before",
                       bulk->pair_count - 1);
    nori_status rc = order != 0 ? write_last(bulk, err) : NORI_OK;
    *is_taken_out = order >= 0;
    if (!*is_taken_out) return rc;
    bulk->last = *operation;
    bulk->has_last = true;
    return rc;
}

/* The pair taken last outlives the payload it came in. */
static nori_status keep_last(struct nr_bulk *bulk, struct nori_error *err)
{
    nori_slice key = bulk->last.key, value = bulk->last.value;
    if (!bulk->has_last || key.data == bulk->kept.data) return NORI_OK;
    bulk->kept.size = 0;
    nori_status rc = nr_buffer_append(&bulk->kept, key, err);
    if (rc == NORI_OK) rc = nr_buffer_append(&bulk->kept, value, err);
    if (rc != NORI_OK) return rc;
    bulk->last.key = nr_slice(bulk->kept.data, key.size);
    bulk->last.value = nr_slice(bulk->kept.data + key.size, value.size);
    return NORI_OK;
}

static nori_status take(struct nr_bulk *bulk, const struct nr_operation *operation, nori_slice bytes,
                        struct nori_error *err)
{
    nori_status rc = NORI_OK;
    bool is_taken = false;
    if (operation->type != NR_TYPE_PUT && operation->type != NR_TYPE_PUT_EXPIRING)
        return NR_FAIL(err, NORI_INVALID, "only puts can be ingested");
    bulk->pair_count++;
    bulk->user_bytes += operation->key.size + operation->value.size;
    if (operation->type == NR_TYPE_PUT_EXPIRING) bulk->user_bytes -= NR_EXPIRY_BYTES;
    if (bulk->is_ascending) {
        NR_CHECK(take_ascending(bulk, operation, &is_taken, err));
        if (is_taken) goto out;
        NR_CHECK(end_run(bulk, 0, err));
        bulk->is_ascending = false;
    }
    if (bulk->pile.size > 0 && bulk->pile.size + bytes.size > bulk->params.pile_bytes) NR_CHECK(write_pile(bulk, err));
    NR_CHECK(note_entry(bulk, err));
    NR_CHECK(nr_buffer_append(&bulk->pile, bytes, err));
out:
    return rc;
}

nori_status nr_bulk_add(struct nr_bulk *bulk, nori_slice payload, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    while (payload.size > 0) {
        const uint8_t *at = payload.data;
        struct nr_operation operation;
        NR_CHECK(nr_operation_next(&payload, &operation, err));
        NR_CHECK(take(bulk, &operation, nr_slice(at, (size_t)(payload.data - at)), err));
    }
    NR_CHECK(keep_last(bulk, err));
out:
    return rc;
}

/* ---------------------------------------------------------------- life */

nori_status nr_bulk_init(struct nr_bulk *bulk, const struct nr_bulk_params *params, struct nori_error *err)
{
    *bulk = (struct nr_bulk){.params = *params, .is_ascending = true};
    return begin_run(bulk, err);
}

void nr_bulk_clear(struct nr_bulk *bulk)
{
    nr_output_clear(&bulk->output);
    for (size_t i = 0; i < bulk->run_count; i++) nr_run_unref(bulk->runs[i].run);
    bulk->run_count = 0;
    nr_free(bulk->runs);
    nr_free(bulk->entries);
    nr_buffer_clear(&bulk->kept);
    nr_buffer_clear(&bulk->pile);
    bulk->runs = NULL;
    bulk->entries = NULL;
}

nori_status nr_bulk_finish(struct nr_bulk *bulk, struct nr_run **run_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    *run_out = NULL;
    if (bulk->is_ascending) {
        NR_CHECK(write_last(bulk, err));
        NR_CHECK(end_run(bulk, 0, err));
    } else {
        NR_CHECK(write_pile(bulk, err));
    }
    if (bulk->run_count > 1) NR_CHECK(merge_runs(bulk, 0, 0, err));
    if (bulk->run_count == 0) goto out;
    NR_CHECK(nr_dir_sync(bulk->params.context->dir, err));
    *run_out = bulk->runs[0].run;
    bulk->run_count = 0;
out:
    return rc;
}

nori_status nr_bulk_stamp(struct nr_run *run, uint64_t sequence, uint64_t run_id, struct nr_run **stamped_out,
                          struct nori_error *err)
{
    for (size_t i = 0; i < run->slice_count; i++) nr_table_file_stamp(run->slices[i].file, sequence);
    return nr_run_create(run_id, run->slices, run->slice_count, stamped_out, err);
}

#include "compact/output.h"

#include "base/alloc.h"
#include "compact/filter_bits.h"

#define ADMIT_BYTES (256u << 10)
#define FIRST_SLICES 8
/* Warmth is of about so many blocks. */
#define WARMTH_BLOCKS 8

static const struct nori_level_options *level_options(const struct nori_options *options, uint32_t level)
{
    return &options->levels[NR_MIN((size_t)level, (size_t)options->level_count - 1)];
}

static double choose_bits(const struct nr_merge_context *context, uint32_t level)
{
    double bits = level_options(context->options, level)->bloom_bits_per_key;
    if (bits >= 0) return bits;
    if (context->filter_bits) return context->filter_bits(context->arg, level);
    return context->options->filters.bloom_bits_per_key;
}

void nr_output_init(struct nr_output *output, const struct nr_merge_context *context, struct nr_tombstones *tombstones,
                    uint32_t level, uint64_t table_bytes, uint64_t created_ms)
{
    *output = (struct nr_output){
        .context = context,
        .tombstones = tombstones,
        .level = level,
        .bits_per_key = choose_bits(context, level),
        .table_bytes = table_bytes,
        .created_ms = created_ms,
        .lifetime_ms = NR_LIFETIME_FROM_NOW,
        .first_number = UINT64_MAX,
    };
    nr_buffer_init(&output->span_start);
}

/* The file is in no version: who refs it gives it up now. A failed unlink leaves an orphan for the next open to
 * collect. */
static void discard_file(const struct nr_merge_context *context, struct nr_table_file *file)
{
    char name[NR_FILE_NAME_BYTES];
    nr_name_table(name, file->number);
    nr_table_cache_drop(context->tables, &file->handle, true);
    nori_status rc NR_UNUSED = nr_dir_unlink(context->dir, name, NULL);
    file->on_unreferenced = NULL;
}

static void release_slices(struct nr_output *output, bool is_discarded)
{
    for (size_t i = 0; i < output->slice_count; i++) {
        struct nr_table_file *file = output->slices[i].file;
        if (is_discarded && file->number >= output->first_number) discard_file(output->context, file);
        nr_table_file_unref(file);
    }
    output->slice_count = 0;
}

/* Brings context->job_bytes to what the job takes now. */
static void hold(struct nr_output *output, uint64_t bytes)
{
    if (!output->context || !output->context->job_bytes || bytes == output->held_bytes) return;
    atomic_fetch_add_explicit(output->context->job_bytes, bytes - output->held_bytes, memory_order_relaxed);
    output->held_bytes = bytes;
}

void nr_output_clear(struct nr_output *output)
{
    hold(output, 0);
    nr_table_builder_destroy(output->builder);
    output->builder = NULL;
    release_slices(output, true);
    nr_free(output->slices);
    output->slices = NULL;
    nr_buffer_clear(&output->span_start);
}

void nr_output_discard(const struct nr_merge_context *context, struct nr_run *run, uint64_t first_number)
{
    if (!run) return;
    for (size_t i = 0; i < run->slice_count; i++) {
        if (run->slices[i].file->number >= first_number) discard_file(context, run->slices[i].file);
    }
    nr_run_unref(run);
}

static nori_status reserve_slice(struct nr_output *output, struct nori_error *err)
{
    if (output->slice_count < output->slice_capacity) return NORI_OK;
    size_t capacity = output->slice_capacity ? output->slice_capacity * 2 : FIRST_SLICES;
    struct nr_table_slice *slices = nr_realloc(output->slices, capacity * sizeof(*slices));
    if (!slices) return nr_fail_memory(err, capacity * sizeof(*slices));
    output->slices = slices;
    output->slice_capacity = capacity;
    return NORI_OK;
}

static nori_status open_table(struct nr_output *output, struct nori_error *err)
{
    const struct nr_merge_context *context = output->context;
    const struct nori_options *options = context->options;
    const struct nori_level_options *level = level_options(options, output->level);

    output->number = context->next_number(context->arg);
    output->first_number = NR_MIN(output->first_number, output->number);
    struct nr_table_builder_params params = {
        .dir = context->dir,
        .database_id = context->database_id,
        .number = output->number,
        .compression = level->compression,
        .block_bytes = level->block_bytes,
        .bits_per_key = output->bits_per_key,
        .filter_kind = nr_filter_kind_of(options->filters.kind, output->level),
        .level = output->level,
        .slot_id = output->slot_id,
        .created_ms = output->created_ms,
        .lifetime_ms = output->lifetime_ms,
        .blocks = nr_table_cache_blocks(context->tables),
        .writes_behind = output->writes_behind,
        .is_stamped = output->is_stamped,
    };
    nori_status rc = nr_table_builder_create(&params, &output->builder, err);
    if (rc == NORI_OK) nr_table_builder_keep(output->builder, output->warmth > 0.5);
    return rc;
}

/* What is written takes the place of what was read: where that was in the cache, readers go on finding it there. */
static void judge_warmth(struct nr_output *output)
{
    const struct nr_read *input = output->input;
    uint64_t hits = input->cache_hits - output->seen_hits, blocks = hits + input->cache_misses - output->seen_misses;
    double weight =
        output->seen_hits + output->seen_misses == 0 ? 1 : (double)blocks / (double)(blocks + WARMTH_BLOCKS);
    output->warmth += weight * ((double)hits / (double)blocks - output->warmth);
    output->seen_hits = input->cache_hits;
    output->seen_misses = input->cache_misses;
    nr_table_builder_keep(output->builder, output->warmth > 0.5);
}

static bool has_tombstones_before(const struct nr_output *output, struct nr_bound end)
{
    const struct nr_tombstones *set = output->tombstones;
    if (!set) return false;
    size_t index = nr_tombstones_seek(set, nr_buffer_slice(&output->span_start), NULL);
    return index < set->fragment_count && nr_bound_above(end, set->fragments[index].start);
}

static void drop_blocks(const struct nr_merge_context *context, uint64_t number)
{
    struct nr_block_cache *blocks = nr_table_cache_blocks(context->tables);
    if (blocks) nr_block_cache_drop_file(blocks, number);
}

static void drop_builder(struct nr_output *output)
{
    nr_table_builder_destroy(output->builder);
    output->builder = NULL;
    output->is_full = false;
}

/* Completes the table under way as the target's next slice. Room for the slice is reserved. */
static nori_status complete_table(struct nr_output *output, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    const struct nr_table_properties *properties = NULL;
    struct nr_table_file *file = NULL;
    uint64_t file_bytes = 0;

    NR_CHECK(nr_table_builder_finish(output->builder, &properties, &file_bytes, err));
    rc = nr_table_file_create(output->number, file_bytes, properties, output->context->on_unreferenced,
                              output->context->arg, &file, err);
    if (rc != NORI_OK) {
        char name[NR_FILE_NAME_BYTES];
        nr_name_table(name, output->number);
        nori_status unlink_rc NR_UNUSED = nr_dir_unlink(output->context->dir, name, NULL);
        drop_blocks(output->context, output->number);
        goto out;
    }
    file->is_new = true;
    output->slices[output->slice_count++] = (struct nr_table_slice){
        .file = file,
        .start = file->properties.smallest,
        .end = file->properties.end,
        .bytes = file_bytes,
        .entries = properties->entry_count,
        .deletes = properties->delete_count,
        .ranges = properties->range_count,
    };
    output->bytes_written += file_bytes;
    output->entries_written += properties->entry_count;
out:
    drop_builder(output);
    return rc;
}

/* Ends the table under way, whose span ends at 'end'. Makes one where only tombstones lie in the span. */
static nori_status finish_span(struct nr_output *output, struct nr_bound end, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    bool has_tombstones = has_tombstones_before(output, end);
    if (!output->builder && !has_tombstones) goto out;
    NR_CHECK(reserve_slice(output, err));
    if (!output->builder) NR_CHECK(open_table(output, err));
    if (has_tombstones) {
        NR_CHECK(nr_table_builder_add_tombstones(output->builder, output->tombstones,
                                                 nr_buffer_slice(&output->span_start), end, err));
    }
    if (nr_table_builder_is_empty(output->builder))
        drop_builder(output);
    else
        NR_CHECK(complete_table(output, err));
out:
    return rc;
}

nori_status nr_output_begin(struct nr_output *output, uint64_t slot_id, nori_slice start, struct nr_bound end,
                            struct nori_error *err)
{
    NR_ASSERT(!output->builder && output->slice_count == 0);
    output->slot_id = slot_id;
    output->end = end;
    return nr_buffer_assign(&output->span_start, start, err);
}

static nori_status take_run(struct nr_output *output, struct nr_run **run_out, struct nori_error *err)
{
    if (output->slice_count == 0) return NORI_OK;
    nori_status rc = nr_run_create(output->context->next_run_id(output->context->arg), output->slices,
                                   output->slice_count, run_out, err);
    if (rc == NORI_OK) release_slices(output, false); /* The run refs the files. */
    return rc;
}

nori_status nr_output_end(struct nr_output *output, struct nr_run **run_out, struct nori_error *err)
{
    *run_out = NULL;
    nori_status rc = finish_span(output, output->end, err);
    return rc == NORI_OK ? take_run(output, run_out, err) : rc;
}

nori_status nr_output_cut(struct nr_output *output, nori_slice key, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    NR_CHECK(finish_span(output, nr_bound_key(key), err));
    NR_CHECK(nr_buffer_assign(&output->span_start, key, err));
out:
    return rc;
}

bool nr_output_is_large(const struct nr_output *output)
{
    return output->builder && nr_table_builder_bytes(output->builder) >= output->table_bytes / 2;
}

nori_status nr_output_stop(struct nr_output *output, nori_slice key, struct nr_run **run_out, struct nori_error *err)
{
    *run_out = NULL;
    nori_status rc = nr_output_cut(output, key, err);
    return rc == NORI_OK ? take_run(output, run_out, err) : rc;
}

nori_status nr_output_adopt(struct nr_output *output, const struct nr_table_slice *slice, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    NR_CHECK(nr_output_cut(output, slice->start, err));
    NR_CHECK(reserve_slice(output, err));
    if (!slice->end.infinite) NR_CHECK(nr_buffer_assign(&output->span_start, slice->end.key, err));
    output->slices[output->slice_count] = *slice;
    output->slices[output->slice_count++].file = nr_table_file_ref(slice->file);
out:
    return rc;
}

nori_status nr_output_add(struct nr_output *output, nori_slice key, uint64_t tag, nori_slice value,
                          struct nori_error *err)
{
    nori_status rc = NORI_OK;
    if (NR_UNLIKELY(!output->builder)) NR_CHECK(open_table(output, err));
    if (output->input &&
        output->input->cache_hits + output->input->cache_misses != output->seen_hits + output->seen_misses)
        judge_warmth(output);
    NR_CHECK(nr_table_builder_add(output->builder, key, tag, value, err));
    output->is_full = nr_table_builder_bytes(output->builder) >= output->table_bytes;
out:
    return rc;
}

nori_status nr_output_admit(struct nr_output *output, uint64_t bytes, struct nori_error *err)
{
    const struct nr_merge_context *context = output->context;
    output->unadmitted_bytes += bytes;
    if (NR_LIKELY(output->unadmitted_bytes < ADMIT_BYTES)) return NORI_OK;
    output->unadmitted_bytes = 0;
    hold(output, (output->input ? output->input->held_bytes : 0) +
                     (output->builder ? nr_table_builder_memory(output->builder) : 0));
    nr_epoch_sweep(context->epoch); /* Blocks that others had to give way to. */
    if (!context->admit_bytes) return NORI_OK;
    uint64_t written = output->bytes_written + (output->builder ? nr_table_builder_bytes(output->builder) : 0);
    uint64_t more = written > output->admitted_bytes ? written - output->admitted_bytes : 0;
    output->admitted_bytes += more;
    return context->admit_bytes(context->arg, more, err);
}

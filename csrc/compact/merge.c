/* Slices of the inputs that nothing else overlaps, and in which a merge has nothing to drop, are taken over as they
 * are: keys that arrive in order are written once. */
#include "compact/merge.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "compact/cover.h"
#include "compact/expired.h"
#include "compact/fences.h"
#include "compact/fresh.h"
#include "iter/merge.h"

/* Slices below this part of table_bytes are rewritten, so that small tables do not stay small. */
#define ADOPT_DIVISOR 8

struct merge {
    const struct nr_merge_context *context; /* Borrowed. */
    struct nr_merge_job *job;
    struct nr_read read;
    struct nr_iter *iter;                  /* Owned. */
    struct nr_tombstones *tombstones;      /* Counted; of all inputs. */
    struct nr_tombstones *kept_tombstones; /* Counted; what the outputs carry. */
    struct nr_run **runs; /* Owned, of refs: the inputs', without what need not be read. NULL: nothing. */
    struct nr_cover older;
    struct nr_survive survive;
    struct nr_fresh fresh; /* If the job counts it. */
    struct nr_output output;
    struct nr_fences fences;
    const struct nr_table_slice **adoptions; /* Owned; ascending. */
    size_t adoption_count, adoption_next;
    bool is_done; /* A slice without end was taken over. */
};

static bool may_be_below(void *arg, nori_slice key)
{
    return nr_cover_has_key(arg, key);
}

static bool may_overlap_below(void *arg, nori_slice start, struct nr_bound end)
{
    return nr_cover_overlaps(arg, start, end);
}

static nori_status open_inputs(struct merge *merge, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    const struct nr_merge_context *context = merge->context;
    const struct nr_merge_job *job = merge->job;
    struct nr_iter **children = nr_calloc(job->input_count + 1, sizeof(struct nr_iter *));
    size_t count = 0;
    if (!children) return nr_fail_memory(err, (job->input_count + 1) * sizeof(struct nr_iter *));
    for (size_t i = 0; i < job->input_count; i++) {
        const struct nr_merge_input *input = &job->inputs[i];
        if (!merge->runs[i]) continue;
        NR_CHECK(nr_run_iter_create(merge->runs[i], input->start, input->end, context->tables, context->epoch,
                                    &merge->read, &children[count], err));
        count++;
    }
    rc = nr_merge_iter_create(children, count, &merge->iter, err);
    count = 0; /* It owns them, or has destroyed them. */
out:
    for (size_t i = 0; i < count; i++) nr_iter_destroy(children[i]);
    nr_free(children);
    return rc;
}

static nori_status open_tombstones(struct merge *merge, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    const struct nr_merge_context *context = merge->context;
    const struct nr_merge_job *job = merge->job;
    struct nr_tombstones **sets = nr_calloc(job->input_count + 1, sizeof(struct nr_tombstones *));
    if (!sets) return nr_fail_memory(err, (job->input_count + 1) * sizeof(struct nr_tombstones *));
    for (size_t i = 0; i < job->input_count; i++) {
        const struct nr_merge_input *input = &job->inputs[i];
        if (!merge->runs[i]) continue;
        NR_CHECK(nr_run_tombstones(merge->runs[i], input->start, input->end, context->tables, context->epoch, &sets[i],
                                   err));
    }
    NR_CHECK(nr_tombstones_merge(sets, NULL, job->input_count, NR_MAX_SEQUENCE, &merge->tombstones, err));
    NR_CHECK(nr_survive_tombstones(merge->tombstones, job->moments, job->moment_count, may_overlap_below, &merge->older,
                                   &merge->kept_tombstones, err));
out:
    for (size_t i = 0; i < job->input_count; i++) nr_tombstones_unref(sets[i]);
    nr_free(sets);
    return rc;
}

static bool is_in_one_target(const struct nr_merge_job *job, const struct nr_table_slice *slice)
{
    size_t low = 0, high = job->target_count;
    while (low < high) { /* The first target that ends above the slice's start. */
        size_t middle = low + (high - low) / 2;
        if (nr_bound_above(job->targets[middle].end, slice->start))
            high = middle;
        else
            low = middle + 1;
    }
    return low < job->target_count && nr_slice_compare(job->targets[low].start, slice->start) <= 0 &&
           nr_bound_compare(slice->end, job->targets[low].end) <= 0;
}

/* Whether what has expired in a table is not worth rewriting the rest for. */
static bool may_wait(const struct nr_merge_job *job, const struct nr_table_properties *properties)
{
    uint64_t now_ms = job->moment_count > 0 ? job->moments[job->moment_count - 1].now_ms : 0;
    if (properties->smallest_expiry_ms == 0 || properties->smallest_expiry_ms > now_ms) return true;
    return properties->lifetime_ms > 0 && !nr_expired_whole(properties, now_ms) &&
           nr_expired_overdue(properties, now_ms) <= NR_EXPIRED_TOLERATED;
}

/* Whether the output is to have entries of all sequences in [smallest, largest]. */
static bool are_wanted(const struct nr_merge_job *job, uint64_t smallest, uint64_t largest)
{
    return job->to_sequence == 0 || (smallest >= job->from_sequence && largest <= job->to_sequence);
}

/* Whether 'slice' of input 'index' can be taken over as it is. */
static bool is_adoptable(const struct merge *merge, size_t index, const struct nr_table_slice *slice)
{
    const struct nr_merge_job *job = merge->job;
    const struct nr_merge_input *input = &job->inputs[index];
    const struct nr_table_properties *properties = &slice->file->properties;
    if (slice->bytes < merge->context->options->table_bytes / ADOPT_DIVISOR || !nr_merge_leaves(job, slice))
        return false;
    if (properties->delete_count > 0 || properties->range_count > 0 || !may_wait(job, properties)) return false;
    if (!are_wanted(job, properties->smallest_sequence, properties->largest_sequence)) return false;
    if (nr_slice_compare(slice->start, input->start) < 0 || nr_bound_compare(slice->end, input->end) > 0) return false;
    if (!is_in_one_target(job, slice)) return false;
    if (merge->tombstones) {
        size_t fragment = nr_tombstones_seek(merge->tombstones, slice->start, NULL);
        if (fragment < merge->tombstones->fragment_count &&
            nr_bound_above(slice->end, merge->tombstones->fragments[fragment].start)) {
            return false;
        }
    }
    for (size_t i = 0; i < job->input_count; i++) {
        if (i != index && nr_run_overlaps(job->inputs[i].run, slice->start, slice->end)) return false;
    }
    return true;
}

static int compare_slices(const void *a, const void *b)
{
    return nr_slice_compare((*(const struct nr_table_slice *const *)a)->start,
                            (*(const struct nr_table_slice *const *)b)->start);
}

static nori_status find_adoptions(struct merge *merge, struct nori_error *err)
{
    const struct nr_merge_job *job = merge->job;
    size_t capacity = 0;
    for (size_t i = 0; i < job->input_count; i++) capacity += job->inputs[i].run->slice_count;
    if (capacity == 0) return NORI_OK;
    merge->adoptions = nr_calloc(capacity, sizeof(struct nr_table_slice *));
    if (!merge->adoptions) return nr_fail_memory(err, capacity * sizeof(struct nr_table_slice *));
    for (size_t i = 0; i < job->input_count; i++) {
        const struct nr_run *run = job->inputs[i].run;
        for (size_t j = nr_run_seek(run, job->inputs[i].start); j < run->slice_count; j++) {
            if (!nr_bound_above(job->inputs[i].end, run->slices[j].start)) break;
            if (is_adoptable(merge, i, &run->slices[j])) merge->adoptions[merge->adoption_count++] = &run->slices[j];
        }
    }
    qsort(merge->adoptions, merge->adoption_count, sizeof(struct nr_table_slice *), compare_slices);
    return NORI_OK;
}

/* Takes over the slice that the current entry lies in, and stands behind it, if there is such a slice. */
static nori_status adopt(struct merge *merge, bool *is_adopted_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    nori_slice key = merge->iter->entry->key;
    *is_adopted_out = false;
    while (merge->adoption_next < merge->adoption_count &&
           !nr_bound_above(merge->adoptions[merge->adoption_next]->end, key)) {
        merge->adoption_next++; /* Nothing was in it. */
    }
    if (merge->adoption_next == merge->adoption_count) goto out;
    const struct nr_table_slice *slice = merge->adoptions[merge->adoption_next];
    if (nr_slice_compare(key, slice->start) < 0) goto out;
    NR_CHECK(nr_fences_pass(&merge->fences, &merge->output, &slice->start, err));
    NR_CHECK(nr_output_adopt(&merge->output, slice, err));
    merge->adoption_next++;
    *is_adopted_out = true;
    if (slice->end.infinite)
        merge->is_done = true;
    else
        NR_CHECK(nr_iter_seek(merge->iter, slice->end.key, nr_tag_seek(NR_MAX_SEQUENCE), err));
out:
    return rc;
}

/* Whether enough is written for the merge to end here. */
static bool is_part_written(const struct merge *merge)
{
    return merge->job->part_bytes > 0 && merge->output.bytes_written >= merge->job->part_bytes;
}

static nori_status end_part(struct merge *merge, nori_slice key, struct nori_error *err)
{
    merge->job->is_part = true;
    return nr_buffer_assign(&merge->job->part_end, key, err);
}

/* Cuts the output before the current entry, if that is due: never between entries of one key, of which the newer one
 * may have been dropped while it hides the older. */
static nori_status cut_if_due(struct merge *merge, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    nori_slice key = merge->iter->entry->key;
    if (nr_slice_equal(nr_buffer_slice(&merge->survive.key), key)) goto out;
    if (merge->output.is_full) NR_CHECK(nr_output_cut(&merge->output, key, err));
    if (!merge->output.builder && is_part_written(merge)) NR_CHECK(end_part(merge, key, err));
out:
    return rc;
}

static nori_status merge_entry(struct merge *merge, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_iter *iter = merge->iter;
    bool keep = false;
    NR_CHECK(nr_fences_pass(&merge->fences, &merge->output, &iter->entry->key, err));
    if (NR_UNLIKELY(merge->output.is_full || !merge->output.builder)) {
        NR_CHECK(cut_if_due(merge, err));
        if (merge->job->is_part) goto out;
    }
    NR_CHECK(nr_survive_judge(&merge->survive, iter->entry->key, iter->entry->tag, iter->entry->value, &keep, err));
    merge->job->entries_read++;
    keep = keep && are_wanted(merge->job, nr_tag_sequence(iter->entry->tag), nr_tag_sequence(iter->entry->tag));
    if (keep) {
        NR_CHECK(nr_output_add(&merge->output, iter->entry->key, iter->entry->tag, iter->entry->value, err));
        if (merge->job->counts_fresh && merge->survive.is_newest && nr_tag_type(iter->entry->tag) != NR_TYPE_DELETE &&
            nr_fresh_ask(&merge->fresh, iter->entry->key))
            nr_table_builder_note_fresh(merge->output.builder);
    }
    NR_CHECK(nr_output_admit(&merge->output, iter->entry->key.size + NR_TAG_BYTES + iter->entry->value.size, err));
    NR_CHECK(nr_iter_next(iter, err));
out:
    return rc;
}

static nori_status merge_target(struct merge *merge, const struct nr_merge_target *target, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_iter *iter = merge->iter;
    if (!merge->is_done && iter->entry && nr_slice_compare(iter->entry->key, target->start) < 0) {
        rc = NR_FAIL(err, NORI_CORRUPTION, "an entry of the merge lies before its target");
        goto out;
    }
    while (!merge->is_done && !merge->job->is_part && iter->entry && nr_bound_above(target->end, iter->entry->key)) {
        bool is_adopted = false;
        if (merge->adoption_next < merge->adoption_count) NR_CHECK(adopt(merge, &is_adopted, err));
        if (!is_adopted) NR_CHECK(merge_entry(merge, err));
    }
    /* What is left of tombstones. */
    if (!merge->job->is_part)
        NR_CHECK(nr_fences_pass(&merge->fences, &merge->output, target->end.infinite ? NULL : &target->end.key, err));
out:
    return rc;
}

/* How much had been written at the end of a target. */
struct mark {
    uint64_t bytes, entries;
};

static struct mark mark_now(const struct nr_output *output)
{
    struct mark mark = {output->bytes_written, output->entries_written};
    if (output->builder) {
        mark.bytes += nr_table_builder_bytes(output->builder);
        mark.entries += nr_table_builder_entry_count(output->builder);
    }
    return mark;
}

static uint64_t scale(uint64_t count, uint64_t total, uint64_t sum, uint64_t most)
{
    double scaled = sum > 0 ? (double)count * (double)total / (double)sum : (double)total;
    return scaled < (double)most ? (uint64_t)scaled : most;
}

/* The same run with the numbers of what was counted. A clip takes keys for evenly spread, which those of a slot's end
 * need not be. */
static nori_status correct(struct nr_run **run, struct mark counted, struct nori_error *err)
{
    struct nr_run *old = *run, *corrected = NULL;
    nori_status rc = NORI_OK;
    struct nr_table_slice *slices = nr_alloc(old->slice_count * sizeof *slices);
    if (!slices) return nr_fail_memory(err, old->slice_count * sizeof *slices);
    for (size_t i = 0; i < old->slice_count; i++) {
        const struct nr_table_file *file = old->slices[i].file;
        slices[i] = old->slices[i];
        slices[i].bytes = scale(old->slices[i].bytes, counted.bytes, old->bytes, file->file_bytes);
        slices[i].entries = scale(old->slices[i].entries, counted.entries, old->entries, file->properties.entry_count);
        slices[i].deletes = NR_MIN(slices[i].deletes, slices[i].entries);
    }
    NR_CHECK(nr_run_create(old->run_id, slices, old->slice_count, &corrected, err));
    nr_run_unref(old);
    *run = corrected;
out:
    nr_free(slices);
    return rc;
}

static bool has_adopted(const struct merge *merge, const struct nr_run *run)
{
    for (size_t i = 0; i < run->slice_count; i++)
        if (run->slices[i].file->number < merge->output.first_number) return true;
    return false;
}

/* Gives each target its part of a run over all of them. 'marks': one before the first, and one behind each that is
 * reached. */
static nori_status share_out(const struct merge *merge, struct nr_run *run, const struct mark *marks,
                             struct nr_merge_target *targets, size_t count, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    for (size_t i = 0; i < count; i++) {
        NR_CHECK(nr_run_clip(run, targets[i].start, targets[i].end, merge->context->next_run_id(merge->context->arg),
                             &targets[i].run, err));
        if (!targets[i].run || targets[i].run == run || has_adopted(merge, targets[i].run)) continue;
        struct mark counted = {marks[i + 1].bytes - marks[i].bytes, marks[i + 1].entries - marks[i].entries};
        NR_CHECK(correct(&targets[i].run, counted, err));
    }
out:
    return rc;
}

/* Targets whose entries go into tables together; between two of them a table ends if it is not small. */
static nori_status merge_group(struct merge *merge, struct nr_merge_target *targets, size_t count,
                               struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_merge_job *job = merge->job;
    struct nr_output *output = &merge->output;
    struct nr_run *run = NULL;
    struct mark *marks = nr_alloc((count + 1) * sizeof *marks);
    if (!marks) return nr_fail_memory(err, (count + 1) * sizeof *marks);
    marks[0] = mark_now(output);
    NR_CHECK(nr_output_begin(output, targets[0].slot_id, targets[0].start, targets[count - 1].end, err));
    for (size_t i = 0; i < count && !job->is_part; i++) {
        NR_CHECK(merge_target(merge, &targets[i], err));
        marks[i + 1] = mark_now(output);
        if (i + 1 == count || job->is_part || merge->is_done || !nr_output_is_large(output)) continue;
        NR_CHECK(nr_output_cut(output, targets[i].end.key, err));
    }
    if (job->is_part)
        NR_CHECK(nr_output_stop(output, nr_buffer_slice(&job->part_end), &run, err));
    else
        NR_CHECK(nr_output_end(output, &run, err));
    if (run && count == 1)
        targets[0].run = nr_run_ref(run);
    else if (run)
        NR_CHECK(share_out(merge, run, marks, targets, count, err));
out:
    if (rc != NORI_OK)
        nr_output_discard(merge->context, run, output->first_number);
    else
        nr_run_unref(run);
    nr_free(marks);
    return rc;
}

/* Small parts for many slots are no tables of their own: each takes a file and a sync. */
static bool has_small_parts(const struct merge *merge)
{
    const struct nr_merge_job *job = merge->job;
    uint64_t bytes = 0;
    if (job->target_count < 2) return false;
    for (size_t i = 0; i < job->input_count; i++)
        bytes += nr_run_bytes_in(job->inputs[i].run, job->inputs[i].start, job->inputs[i].end);
    return bytes / job->target_count < (uint64_t)merge->context->options->table_bytes / 2;
}

/* How many targets from the 'first' on share tables through slices: as many as may, unless that would take what one of
 * them has in its inputs for the age of another's. */
static size_t count_sharing(const struct nr_merge_job *job, size_t first)
{
    size_t left = job->target_count - first, count = 1;
    if (!nr_fences_are_between(job, first, left)) return left;
    if (nr_fences_are_between(job, first, 1)) return 1;
    while (count + 1 < left && !nr_fences_are_between(job, first, count + 1)) count++;
    return count;
}

static nori_status merge_targets(struct merge *merge, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_merge_job *job = merge->job;
    bool may_share = has_small_parts(merge);
    for (size_t i = 0, count; i < job->target_count && !job->is_part; i += count) {
        count = may_share ? count_sharing(job, i) : 1;
        NR_CHECK(merge_group(merge, &job->targets[i], count, err));
        bool is_left = i + count < job->target_count && !merge->is_done && merge->iter->entry;
        if (is_left && !job->is_part && is_part_written(merge))
            NR_CHECK(end_part(merge, job->targets[i + count].start, err));
    }
    /* A table that holds its entries out of order can come to this. */
    if (!job->is_part && !merge->is_done && merge->iter->entry)
        rc = NR_FAIL(err, NORI_CORRUPTION, "an entry of the merge lies behind its last target");
out:
    return rc;
}

static nori_status choose_runs(struct merge *merge, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    const struct nr_merge_job *job = merge->job;
    merge->runs = nr_calloc(job->input_count + 1, sizeof(struct nr_run *));
    if (!merge->runs) return nr_fail_memory(err, (job->input_count + 1) * sizeof(struct nr_run *));
    for (size_t i = 0; i < job->input_count && rc == NORI_OK; i++)
        rc = nr_expired_skip(job, i, &merge->older, &merge->runs[i], err);
    return rc;
}

static nori_status prepare(struct merge *merge, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_merge_job *job = merge->job;
    nori_slice start = job->target_count ? job->targets[0].start : nr_slice(NULL, 0);
    struct nr_bound end = job->target_count ? job->targets[job->target_count - 1].end : nr_bound_infinite();
    NR_CHECK(nr_cover_init(&merge->older, job->older, job->older_count, start, end, err));
    if (job->counts_fresh) NR_CHECK(nr_fresh_init(&merge->fresh, merge->context, job, start, end, err));
    NR_CHECK(nr_fences_init(&merge->fences, job, err));
    NR_CHECK(choose_runs(merge, err));
    NR_CHECK(open_tombstones(merge, err));
    NR_CHECK(find_adoptions(merge, err));
    NR_CHECK(open_inputs(merge, err));
    nr_survive_init(&merge->survive, job->moments, job->moment_count, merge->tombstones, may_be_below, &merge->older);
    nr_output_init(&merge->output, merge->context, merge->kept_tombstones, job->level,
                   merge->context->options->table_bytes, job->created_ms);
    merge->output.input = &merge->read;
    merge->output.lifetime_ms = nr_expired_lifetime_ms(job->inputs, job->input_count);
    NR_CHECK(nr_iter_seek_first(merge->iter, err));
out:
    return rc;
}

/* Whether a run, spanning [start, end), would stand in the order of age where it should not: before what is newer, or
 * behind what is older. */
static bool would_disturb(const struct nr_merge_job *job, const struct nr_run *run, nori_slice start,
                          struct nr_bound end)
{
    for (size_t i = 0; i < job->older_count; i++)
        if (job->older[i]->largest_sequence >= run->smallest_sequence && nr_run_overlaps(job->older[i], start, end))
            return true;
    for (size_t i = 0; i < job->newer_count; i++)
        if (job->newer[i]->smallest_sequence <= run->largest_sequence && nr_run_overlaps(job->newer[i], start, end))
            return true;
    return false;
}

/* Admissions and promotions of parts leave holes in runs, below which newer data may lie already. A run merged of such
 * must not span them: it is cut to what the inputs cover. In level 0 always, where newer data may be admitted to below
 * a hole while the merge goes on. */
nori_status nr_merge_cut_to_inputs(const struct nr_merge_job *job, struct nr_run **run, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_cover cover = {0};
    struct nr_run **runs = nr_calloc(job->input_count + 1, sizeof(struct nr_run *));
    if (!runs) return nr_fail_memory(err, (job->input_count + 1) * sizeof(struct nr_run *));
    for (size_t i = 0; i < job->input_count; i++) runs[i] = job->inputs[i].run;
    NR_CHECK(nr_cover_init(&cover, runs, job->input_count, nr_slice("", 0), nr_bound_infinite(), err));
    for (size_t i = 1; i < cover.count; i++) {
        struct nr_run *rest = NULL;
        nori_slice start = cover.ranges[i - 1].end.key;
        struct nr_bound end = nr_bound_key(cover.ranges[i].start);
        if (job->level > 0 && !would_disturb(job, *run, start, end)) continue;
        NR_CHECK(nr_run_subtract(*run, start, end, &rest, err));
        if (!rest) continue;
        nr_run_unref(*run);
        *run = rest;
    }
out:
    nr_cover_clear(&cover);
    nr_free(runs);
    return rc;
}

/* Gives the runs of the targets back and unlinks their files. */
static void discard(const struct nr_merge_context *context, struct nr_merge_job *job)
{
    for (size_t i = 0; i < job->target_count; i++) {
        nr_output_discard(context, job->targets[i].run, job->first_number);
        job->targets[i].run = NULL;
    }
}

nori_status nr_merge_execute(const struct nr_merge_context *context, struct nr_merge_job *job, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct merge merge = {.context = context, .job = job, .read = {.is_scan = true, .skip_cache = true}};
    if (context->model) return context->model->execute(context, job, err);
    merge.output.first_number = UINT64_MAX;
    job->bytes_read = job->bytes_written = job->entries_read = job->entries_written = 0;
    job->is_part = false;
    for (size_t i = 0; i < job->target_count; i++) job->targets[i].run = NULL;

    NR_CHECK(prepare(&merge, err));
    NR_CHECK(merge_targets(&merge, err));
    for (size_t i = 0; i < job->target_count; i++) {
        if (job->targets[i].run) NR_CHECK(nr_merge_cut_to_inputs(job, &job->targets[i].run, err));
    }
    if (merge.output.first_number != UINT64_MAX) NR_CHECK(nr_dir_sync(context->dir, err));
out:
    job->first_number = merge.output.first_number;
    job->bytes_read = merge.read.bytes_read;
    job->bytes_written = merge.output.bytes_written;
    job->entries_written = merge.output.entries_written;
    nr_output_clear(&merge.output);
    if (rc != NORI_OK) discard(context, job);
    nr_survive_clear(&merge.survive);
    nr_fresh_clear(&merge.fresh);
    nr_fences_clear(&merge.fences);
    nr_iter_destroy(merge.iter);
    nr_tombstones_unref(merge.tombstones);
    nr_tombstones_unref(merge.kept_tombstones);
    nr_cover_clear(&merge.older);
    for (size_t i = 0; merge.runs && i < job->input_count; i++) nr_run_unref(merge.runs[i]);
    nr_free(merge.runs);
    nr_free(merge.adoptions);
    nr_read_clear(&merge.read);
    return rc;
}

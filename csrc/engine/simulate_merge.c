/* What a merge leaves, from the profiles of its inputs.
 *
 * The inputs' slices cut a target into stretches in which each input is alike all over. In a stretch, going from the
 * newest input to the oldest, the chance that a key has been met grows by what is left of it times the input's part;
 * loaded parts add up. The result is one more stretch of the output. */
#include <stdlib.h>

#include "base/alloc.h"
#include "compact/cover.h"
#include "engine/simulate.h"

/* As in compact/merge.c. */
#define ADOPT_DIVISOR 8

/* A stretch of one input. */
struct piece {
    uint64_t from, to;
    const struct nr_sim_part *part;
    const struct nr_table_slice *slice;
    bool is_adoptable;
};

/* What lies over one target, input by input, each ascending. */
struct stack {
    struct piece *pieces; /* Owned, as is all here. */
    size_t count, capacity;
    size_t *cursors, *ends; /* Into 'pieces', of each input. */
    uint64_t *bounds;
    size_t bound_count;
    nori_slice start; /* Borrowed: of the first slice, and of the last, within the target. */
    struct nr_bound end;
};

static void stack_clear(struct stack *stack)
{
    nr_free(stack->pieces);
    nr_free(stack->cursors);
    nr_free(stack->ends);
    nr_free(stack->bounds);
}

static nori_status add_piece(struct stack *stack, const struct piece *piece, struct nori_error *err)
{
    if (stack->count == stack->capacity) {
        size_t capacity = stack->capacity * 2 + 64;
        struct piece *grown = nr_realloc(stack->pieces, capacity * sizeof *grown);
        if (grown) stack->pieces = grown;
        uint64_t *bounds = grown ? nr_realloc(stack->bounds, 2 * capacity * sizeof *bounds) : NULL;
        if (!bounds) return nr_fail_memory(err, capacity * sizeof *grown);
        stack->bounds = bounds;
        stack->capacity = capacity;
    }
    stack->pieces[stack->count++] = *piece;
    stack->bounds[stack->bound_count++] = piece->from;
    stack->bounds[stack->bound_count++] = piece->to;
    return NORI_OK;
}

/* ---------------------------------------------------------------- gathering */

/* Whether it can be taken over as it is: see compact/merge.c. */
static bool is_adoptable(const struct nr_merge_context *context, const struct nr_merge_job *job, size_t index,
                         const struct nr_table_slice *slice, const struct nr_merge_target *target)
{
    const struct nr_merge_input *input = &job->inputs[index];
    if (slice->bytes < context->options->table_bytes / ADOPT_DIVISOR || !nr_merge_leaves(job, slice)) return false;
    if (slice->file->properties.delete_count > 0) return false;
    if (nr_slice_compare(slice->start, input->start) < 0 || nr_bound_compare(slice->end, input->end) > 0) return false;
    if (nr_slice_compare(slice->start, target->start) < 0 || nr_bound_compare(slice->end, target->end) > 0)
        return false;
    for (size_t i = 0; i < job->input_count; i++)
        if (i != index && nr_run_overlaps(job->inputs[i].run, slice->start, slice->end)) return false;
    return true;
}

static nori_status add_slice(struct stack *stack, const struct nr_table_slice *slice, uint64_t from, uint64_t to,
                             bool is_adopted, struct nori_error *err)
{
    const struct nr_sim_profile *profile = slice->file->arg;
    from = NR_MAX(from, nr_sim_position(slice->start));
    to = NR_MIN(to, nr_sim_end(slice->end));
    for (size_t i = 0; i < profile->count && profile->parts[i].start < to; i++) {
        uint64_t end = i + 1 < profile->count ? profile->parts[i + 1].start : profile->end;
        struct piece piece = {NR_MAX(from, profile->parts[i].start), NR_MIN(to, end), &profile->parts[i], slice,
                              is_adopted};
        if (piece.to <= piece.from) continue;
        nori_status rc = add_piece(stack, &piece, err);
        if (rc != NORI_OK) return rc;
    }
    return NORI_OK;
}

static int compare_positions(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static void widen(struct stack *stack, const struct nr_table_slice *slice, const struct nr_merge_target *target)
{
    nori_slice start = nr_slice_compare(slice->start, target->start) < 0 ? target->start : slice->start;
    struct nr_bound end = nr_bound_compare(slice->end, target->end) < 0 ? slice->end : target->end;
    if (!stack->start.data || nr_slice_compare(start, stack->start) < 0) stack->start = start;
    if (nr_bound_compare(end, stack->end) > 0) stack->end = end;
}

static nori_status gather(const struct nr_merge_context *context, const struct nr_merge_job *job,
                          const struct nr_merge_target *target, struct stack *stack, uint64_t *bytes_read,
                          struct nori_error *err)
{
    uint64_t from = nr_sim_position(target->start), to = nr_sim_end(target->end);
    stack->count = stack->bound_count = 0;
    stack->start = nr_slice(NULL, 0);
    stack->end = nr_bound_key(nr_slice(NULL, 0));
    for (size_t i = 0; i < job->input_count; i++) {
        const struct nr_run *run = job->inputs[i].run;
        uint64_t first = NR_MAX(from, nr_sim_position(job->inputs[i].start));
        uint64_t last = NR_MIN(to, nr_sim_end(job->inputs[i].end));
        stack->cursors[i] = stack->count;
        for (size_t j = nr_run_seek(run, target->start); j < run->slice_count; j++) {
            if (!nr_bound_above(target->end, run->slices[j].start)) break;
            widen(stack, &run->slices[j], target);
            bool is_adopted = is_adoptable(context, job, i, &run->slices[j], target);
            nori_status rc = add_slice(stack, &run->slices[j], first, last, is_adopted, err);
            if (rc != NORI_OK) return rc;
        }
        stack->ends[i] = stack->count;
        *bytes_read += nr_run_bytes_in(run, target->start, target->end);
    }
    if (stack->bound_count > 0) qsort(stack->bounds, stack->bound_count, sizeof *stack->bounds, compare_positions);
    return NORI_OK;
}

/* ---------------------------------------------------------------- merging */

/* What the inputs leave of the stretch that begins at 'from'; '*adopted_out' is the slice that it is, if that is taken
 * over. */
static struct nr_sim_part merge_stretch(const struct stack *stack, size_t input_count, uint64_t from,
                                        const struct nr_table_slice **adopted_out)
{
    struct nr_sim_part merged = {.smallest_sequence = UINT64_MAX};
    double deleted = 0;
    *adopted_out = NULL;
    for (size_t i = 0; i < input_count; i++) {
        while (stack->cursors[i] < stack->ends[i] && stack->pieces[stack->cursors[i]].to <= from) stack->cursors[i]++;
        if (stack->cursors[i] == stack->ends[i] || stack->pieces[stack->cursors[i]].from > from) continue;
        const struct piece *piece = &stack->pieces[stack->cursors[i]];
        const struct nr_sim_part *part = piece->part;
        if (piece->is_adoptable) *adopted_out = piece->slice;
        if (nr_sim_density(part) <= 0) continue;
        deleted += (1 - merged.updated) * part->updated * part->deleted;
        merged.updated += (1 - merged.updated) * part->updated;
        merged.loaded = NR_MIN(merged.loaded + part->loaded, 1);
        merged.smallest_sequence = NR_MIN(merged.smallest_sequence, part->smallest_sequence);
        merged.largest_sequence = NR_MAX(merged.largest_sequence, part->largest_sequence);
    }
    if (merged.updated > 0) merged.deleted = NR_MIN(deleted / merged.updated, 1);
    return merged;
}

/* Nothing older may have the keys: tombstones go, and what was loaded stays hidden under them. */
static void drop_deletes(struct nr_sim_part *part)
{
    double kept = part->updated * (1 - part->deleted);
    if (kept < 1) part->loaded = NR_MIN((1 - part->updated) * part->loaded / (1 - kept), 1);
    part->updated = kept;
    part->deleted = 0;
}

static bool has_older(const struct nr_cover *older, uint64_t from, uint64_t to)
{
    uint8_t start[NR_SIM_KEY_BYTES], end[NR_SIM_KEY_BYTES];
    nr_sim_key(start, from);
    nr_sim_key(end, to);
    return nr_cover_overlaps(older, nr_slice(start, sizeof start), nr_bound_key(nr_slice(end, sizeof end)));
}

static nori_status merge_target(struct nr_merge_job *job, struct nr_merge_target *target, struct stack *stack,
                                const struct nr_cover *older, struct nr_sim_output *output, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    uint64_t done = 0;
    nr_sim_output_begin(output, target->slot_id, stack->start, stack->end);
    for (size_t i = 0; i + 1 < stack->bound_count; i++) {
        uint64_t from = stack->bounds[i], to = stack->bounds[i + 1];
        if (from == to || from < done) continue;
        const struct nr_table_slice *adopted;
        struct nr_sim_part part = merge_stretch(stack, job->input_count, from, &adopted);
        if (adopted) {
            NR_CHECK(nr_sim_output_adopt(output, adopted, err));
            done = nr_sim_end(adopted->end);
            job->bytes_read -= NR_MIN(job->bytes_read, adopted->bytes);
            continue;
        }
        if (part.deleted > 0 && !has_older(older, from, to)) drop_deletes(&part);
        NR_CHECK(nr_sim_output_add(output, from, to, &part, err));
    }
    NR_CHECK(nr_sim_output_end(output, &target->run, err));
    if (target->run) NR_CHECK(nr_merge_cut_to_inputs(job, &target->run, err));
out:
    return rc;
}

static struct nr_simulation *simulation_of(const struct nr_merge_job *job)
{
    return ((const struct nr_sim_profile *)job->inputs[0].run->slices[0].file->arg)->simulation;
}

static nori_status execute(const struct nr_merge_context *context, struct nr_merge_job *job, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct stack stack = {0};
    struct nr_cover older = {0};
    struct nr_sim_output output = {.first_number = UINT64_MAX};
    job->bytes_read = job->bytes_written = job->entries_read = job->entries_written = 0;
    job->first_number = UINT64_MAX;
    if (job->input_count == 0) return NORI_OK;
    stack.cursors = nr_calloc(job->input_count, sizeof *stack.cursors);
    stack.ends = nr_calloc(job->input_count, sizeof *stack.ends);
    if (!stack.cursors || !stack.ends) NR_CHECK(nr_fail_memory(err, job->input_count * sizeof *stack.ends));
    NR_CHECK(nr_cover_init(&older, job->older, job->older_count, job->targets[0].start,
                           job->targets[job->target_count - 1].end, err));
    nr_sim_output_init(&output, simulation_of(job), job->level, (double)context->options->table_bytes);
    for (size_t i = 0; i < job->target_count; i++) {
        NR_CHECK(gather(context, job, &job->targets[i], &stack, &job->bytes_read, err));
        NR_CHECK(merge_target(job, &job->targets[i], &stack, &older, &output, err));
    }
out:
    job->first_number = output.first_number;
    job->bytes_written = output.bytes_written;
    nr_sim_output_clear(&output);
    nr_cover_clear(&older);
    stack_clear(&stack);
    return rc; /* The runs of a failed job are given back with it. */
}

/* ---------------------------------------------------------------- samples */

static void sample(const struct nr_table_file *file, size_t count,
                   void (*fn)(void *arg, nori_slice key, uint64_t bytes), void *arg)
{
    const struct nr_sim_profile *profile = file->arg;
    double total = nr_sim_entries(file, 0, NR_SIM_END), step = total / (double)count, seen = 0;
    size_t next = 1;
    for (size_t i = 0; i < profile->count; i++) {
        uint64_t from = profile->parts[i].start;
        uint64_t to = i + 1 < profile->count ? profile->parts[i + 1].start : profile->end;
        double here = nr_sim_keys(profile->simulation, from, to) * nr_sim_density(&profile->parts[i]);
        for (; next < count && here > 0 && (double)next * step <= seen + here; next++) {
            uint8_t key[NR_SIM_KEY_BYTES];
            double place = ((double)next * step - seen) / here;
            nr_sim_key(key, from + (uint64_t)((double)(to - from) * NR_MIN(NR_MAX(place, 0), 1)));
            fn(arg, nr_slice(key, sizeof key), file->file_bytes / count);
        }
        seen += here;
    }
}

const struct nr_merge_model nr_sim_model = {.execute = execute, .sample = sample};

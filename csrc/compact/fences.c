#include "compact/fences.h"

#include <stdlib.h>

#include "base/alloc.h"

/* The sequences of what is merged. */
struct age {
    uint64_t smallest, largest;
};

/* Of the part in [start, end). */
static struct age age_of(const struct nr_merge_job *job, nori_slice start, struct nr_bound end)
{
    struct age age = {UINT64_MAX, 0};
    for (size_t i = 0; i < job->input_count; i++) {
        const struct nr_merge_input *input = &job->inputs[i];
        nori_slice first = nr_slice_compare(input->start, start) < 0 ? start : input->start;
        struct nr_bound last = nr_bound_compare(input->end, end) < 0 ? input->end : end;
        for (size_t j = nr_run_seek(input->run, first); j < input->run->slice_count; j++) {
            const struct nr_table_slice *slice = &input->run->slices[j];
            if (!nr_bound_above(last, slice->start)) break;
            age.smallest = NR_MIN(age.smallest, slice->file->properties.smallest_sequence);
            age.largest = NR_MAX(age.largest, slice->file->properties.largest_sequence);
        }
    }
    return age;
}

/* Notes the ends of those slices of a run that a table of this age could not stand over, or under. Without 'keys' only
 * counts them. */
static size_t note_run(const struct nr_run *run, bool is_older, struct age age, nori_slice start, struct nr_bound end,
                       nori_slice *keys)
{
    size_t count = 0;
    bool is_in_order = is_older ? run->largest_sequence < age.smallest : run->smallest_sequence > age.largest;
    if (is_in_order) return 0;
    for (size_t i = nr_run_seek(run, start); i < run->slice_count; i++) {
        const struct nr_table_slice *slice = &run->slices[i];
        const struct nr_table_properties *properties = &slice->file->properties;
        if (!nr_bound_above(end, slice->start)) break;
        if (is_older ? properties->largest_sequence < age.smallest : properties->smallest_sequence > age.largest)
            continue;
        if (keys) keys[count] = slice->start;
        count++;
        if (slice->end.infinite) continue;
        if (keys) keys[count] = slice->end.key;
        count++;
    }
    return count;
}

static int compare_keys(const void *a, const void *b)
{
    return nr_slice_compare(*(const nori_slice *)a, *(const nori_slice *)b);
}

/* For tables of what is merged in [start, end). */
static size_t note_range(const struct nr_merge_job *job, nori_slice start, struct nr_bound end, nori_slice *keys)
{
    struct age age = age_of(job, start, end);
    size_t count = 0;
    if (age.smallest > age.largest) return 0; /* Nothing is. */
    for (size_t i = 0; i < job->older_count; i++)
        count += note_run(job->older[i], true, age, start, end, keys ? keys + count : NULL);
    for (size_t i = 0; i < job->newer_count; i++)
        count += note_run(job->newer[i], false, age, start, end, keys ? keys + count : NULL);
    return count;
}

/* Target by target: what one of them has in its inputs says nothing of the age of another's. */
static size_t note_all(const struct nr_merge_job *job, nori_slice *keys)
{
    size_t count = 0;
    for (size_t i = 0; i < job->target_count; i++)
        count += note_range(job, job->targets[i].start, job->targets[i].end, keys ? keys + count : NULL);
    return count;
}

nori_status nr_fences_init(struct nr_fences *fences, const struct nr_merge_job *job, struct nori_error *err)
{
    size_t count = note_all(job, NULL);
    if (count == 0) return NORI_OK;
    fences->keys = nr_alloc(count * sizeof *fences->keys);
    if (!fences->keys) return nr_fail_memory(err, count * sizeof *fences->keys);
    fences->count = note_all(job, fences->keys);
    qsort(fences->keys, fences->count, sizeof *fences->keys, compare_keys);
    return NORI_OK;
}

bool nr_fences_are_between(const struct nr_merge_job *job, size_t first, size_t count)
{
    return note_range(job, job->targets[first].start, job->targets[first + count - 1].end, NULL) > 0;
}

void nr_fences_clear(struct nr_fences *fences)
{
    nr_free(fences->keys);
    *fences = (struct nr_fences){0};
}

nori_status nr_fences_pass_slow(struct nr_fences *fences, struct nr_output *output, const nori_slice *key,
                                struct nori_error *err)
{
    for (; fences->next < fences->count; fences->next++) {
        nori_slice fence = fences->keys[fences->next];
        if (key && nr_slice_compare(fence, *key) > 0) break;
        if (nr_slice_compare(fence, nr_buffer_slice(&output->span_start)) <= 0) continue;
        nori_status rc = nr_output_cut(output, fence, err);
        if (rc != NORI_OK) return rc;
    }
    return NORI_OK;
}

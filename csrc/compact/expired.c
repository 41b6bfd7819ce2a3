#include "compact/expired.h"

#include "base/alloc.h"
#include "compact/cover.h"

bool nr_expired_whole(const struct nr_table_properties *properties, uint64_t now_ms)
{
    return properties->largest_expiry_ms > 0 && properties->largest_expiry_ms <= now_ms &&
           properties->unexpiring_count == 0;
}

double nr_expired_overdue(const struct nr_table_properties *properties, uint64_t now_ms)
{
    uint64_t since_ms = properties->smallest_expiry_ms;
    if (since_ms == 0 || since_ms > now_ms || properties->lifetime_ms == 0) return 0;
    return (double)(now_ms - since_ms) / (double)properties->lifetime_ms;
}

bool nr_expired_soon(const struct nr_run *run, uint64_t now_ms, double part)
{
    uint64_t entries = 0, unexpiring = 0;
    bool is_soon = false;
    for (size_t i = 0; i < run->slice_count; i++) {
        const struct nr_table_properties *properties = &run->slices[i].file->properties;
        double first_ms = (double)properties->smallest_expiry_ms;
        entries += properties->entry_count;
        unexpiring += properties->unexpiring_count + properties->delete_count;
        if (properties->lifetime_ms > 0 && first_ms > 0 &&
            first_ms <= (double)now_ms + part * (double)properties->lifetime_ms)
            is_soon = true;
    }
    return is_soon && unexpiring <= entries / 2;
}

uint64_t nr_expired_lifetime_ms(const struct nr_merge_input *inputs, size_t count)
{
    uint64_t lifetime_ms = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < inputs[i].run->slice_count; j++)
            lifetime_ms = NR_MAX(lifetime_ms, inputs[i].run->slices[j].file->properties.lifetime_ms);
    return lifetime_ms;
}

/* Every moment sees all of the slice, and nothing of it. A put that has expired hides what is older: where there is
 * such, it has to be read. */
static bool is_skipped(const struct nr_merge_job *job, size_t index, const struct nr_cover *older,
                       const struct nr_table_slice *slice)
{
    const struct nr_table_properties *properties = &slice->file->properties;
    if (properties->delete_count > 0 || properties->range_count > 0 || job->moment_count == 0) return false;
    if (properties->largest_sequence > job->moments[0].sequence) return false;
    for (size_t i = 0; i < job->moment_count; i++)
        if (!nr_expired_whole(properties, job->moments[i].now_ms)) return false;
    for (size_t i = index + 1; i < job->input_count; i++)
        if (nr_run_overlaps(job->inputs[i].run, slice->start, slice->end)) return false;
    return !nr_cover_overlaps(older, slice->start, slice->end);
}

nori_status nr_expired_skip(const struct nr_merge_job *job, size_t index, const struct nr_cover *older,
                            struct nr_run **run_out, struct nori_error *err)
{
    struct nr_run *run = job->inputs[index].run;
    nori_status rc = NORI_OK;
    size_t count = 0;
    *run_out = NULL;
    struct nr_table_slice *slices = nr_alloc(run->slice_count * sizeof *slices);
    if (!slices) return nr_fail_memory(err, run->slice_count * sizeof *slices);
    for (size_t i = 0; i < run->slice_count; i++)
        if (!is_skipped(job, index, older, &run->slices[i])) slices[count++] = run->slices[i];
    if (count == run->slice_count)
        *run_out = nr_run_ref(run);
    else if (count > 0)
        rc = nr_run_create(run->run_id, slices, count, run_out, err);
    nr_free(slices);
    return rc;
}

#include "version/version.h"

#include "base/alloc.h"
#include "version/key_place.h"

/* ---------------------------------------------------------------- life */

static nori_slice copy_key(uint8_t **out, nori_slice key)
{
    nori_slice copy = nr_slice(*out, key.size);
    if (key.size > 0) memcpy(*out, key.data, key.size);
    *out += key.size;
    return copy;
}

uint64_t nr_table_slice_fresh_bytes(const struct nr_table_slice *slice)
{
    const struct nr_table_properties *properties = &slice->file->properties;
    if (properties->fresh_count == 0) return 0;
    return (uint64_t)((double)slice->bytes * (double)properties->fresh_count / (double)properties->entry_count);
}

static void add_slice(struct nr_run *run, size_t index, const struct nr_table_slice *slice, uint8_t **keys)
{
    const struct nr_table_properties *properties = &slice->file->properties;
    struct nr_table_slice *copy = &run->slices[index];

    *copy = *slice;
    nr_table_file_ref(copy->file);
    copy->start = copy_key(keys, slice->start);
    copy->end = slice->end.infinite ? nr_bound_infinite() : nr_bound_key(copy_key(keys, slice->end.key));
    run->bytes += slice->bytes;
    run->entries += slice->entries;
    run->deletes += slice->deletes;
    run->ranges += slice->ranges;
    run->fresh_bytes += nr_table_slice_fresh_bytes(slice);
    run->due_ms = NR_MIN(run->due_ms, nr_properties_due_ms(properties));
    if (index == 0 || properties->largest_sequence > run->largest_sequence)
        run->largest_sequence = properties->largest_sequence;
    if (index == 0 || properties->smallest_sequence < run->smallest_sequence)
        run->smallest_sequence = properties->smallest_sequence;
}

nori_status nr_run_create(uint64_t run_id, const struct nr_table_slice *slices, size_t count, struct nr_run **run_out,
                          struct nori_error *err)
{
    size_t key_bytes = 0, finite_count = count;

    *run_out = NULL;
    NR_ASSERT(count > 0);
    for (size_t i = 0; i < count; i++) {
        key_bytes += slices[i].start.size + (slices[i].end.infinite ? 0 : slices[i].end.key.size);
    }
    if (slices[count - 1].end.infinite) finite_count--;
    size_t head_bytes = sizeof(struct nr_run) + count * sizeof(struct nr_table_slice);
    size_t bytes = head_bytes + nr_key_index_bytes(finite_count) + key_bytes;
    struct nr_run *run = nr_alloc(bytes);
    if (!run) return nr_fail_memory(err, bytes);
    memset(run, 0, sizeof(*run));
    atomic_init(&run->refs, 1);
    run->run_id = run_id;
    run->slice_count = count;
    run->due_ms = UINT64_MAX;

    uint8_t *index_memory = (uint8_t *)run + head_bytes;
    uint8_t *keys = index_memory + nr_key_index_bytes(finite_count);
    for (size_t i = 0; i < count; i++) add_slice(run, i, &slices[i], &keys);
    nori_slice *ends = nr_key_index_keys(index_memory, finite_count);
    for (size_t i = 0; i < finite_count; i++) ends[i] = run->slices[i].end.key;
    nr_key_index_init(&run->ends, index_memory, finite_count);
    *run_out = run;
    return NORI_OK;
}

struct nr_run *nr_run_ref(struct nr_run *run)
{
    atomic_fetch_add_explicit(&run->refs, 1, memory_order_relaxed);
    return run;
}

void nr_run_unref(struct nr_run *run)
{
    if (!run || atomic_fetch_sub_explicit(&run->refs, 1, memory_order_acq_rel) != 1) return;
    for (size_t i = 0; i < run->slice_count; i++) nr_table_file_unref(run->slices[i].file);
    nr_free(run);
}

/* ---------------------------------------------------------------- search */

size_t nr_run_seek(const struct nr_run *run, nori_slice key)
{
    return nr_key_index_rank(&run->ends, key);
}

const struct nr_table_slice *nr_run_find(const struct nr_run *run, nori_slice key)
{
    size_t index = nr_run_seek(run, key);
    if (index == run->slice_count || nr_slice_compare(run->slices[index].start, key) > 0) return NULL;
    return &run->slices[index];
}

bool nr_run_overlaps(const struct nr_run *run, nori_slice start, struct nr_bound end)
{
    size_t index = nr_run_seek(run, start);
    return index < run->slice_count && nr_bound_above(end, run->slices[index].start) && nr_bound_above(end, start);
}

/* ---------------------------------------------------------------- cutting */

/* Of 'slice' what lies in [start, end), which it overlaps. Borrows all keys. */
static struct nr_table_slice cut(const struct nr_table_slice *slice, nori_slice start, struct nr_bound end)
{
    struct nr_table_slice part = *slice;

    if (nr_bound_compare(end, slice->end) < 0) {
        struct nr_key_place place = nr_key_place_find(slice->start, slice->end, end.key);
        part.end = end;
        part.bytes = nr_key_place_share(place, slice->bytes);
        part.entries = nr_key_place_share(place, slice->entries);
        part.deletes = nr_key_place_share(place, slice->deletes);
        part.ranges = nr_key_place_share(place, slice->ranges);
    }
    if (nr_slice_compare(start, slice->start) > 0) {
        struct nr_key_place place = nr_key_place_find(slice->start, slice->end, start);
        part.start = start;
        part.bytes -= nr_key_place_share(place, slice->bytes);
        part.entries -= nr_key_place_share(place, slice->entries);
        part.deletes -= nr_key_place_share(place, slice->deletes);
        part.ranges -= nr_key_place_share(place, slice->ranges);
    }
    return part;
}

/* What of all slices lies in [start, end); 'parts' has room. */
static size_t cut_all(const struct nr_run *run, nori_slice start, struct nr_bound end, struct nr_table_slice *parts)
{
    size_t count = 0;
    if (!nr_bound_above(end, start)) return 0;
    for (size_t i = nr_run_seek(run, start); i < run->slice_count && nr_bound_above(end, run->slices[i].start); i++) {
        parts[count++] = cut(&run->slices[i], start, end);
    }
    return count;
}

uint64_t nr_run_bytes_in(const struct nr_run *run, nori_slice start, struct nr_bound end)
{
    uint64_t bytes = 0;
    if (!nr_bound_above(end, start)) return 0;
    for (size_t i = nr_run_seek(run, start); i < run->slice_count && nr_bound_above(end, run->slices[i].start); i++) {
        bytes += cut(&run->slices[i], start, end).bytes;
    }
    return bytes;
}

nori_status nr_run_clip(struct nr_run *run, nori_slice start, struct nr_bound end, uint64_t run_id,
                        struct nr_run **run_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_table_slice *parts = NULL;

    *run_out = NULL;
    if (!nr_run_overlaps(run, start, end)) goto out;
    if (nr_slice_compare(start, run->slices[0].start) <= 0 &&
        nr_bound_compare(run->slices[run->slice_count - 1].end, end) <= 0) {
        *run_out = nr_run_ref(run);
        goto out;
    }
    parts = nr_calloc(run->slice_count, sizeof(*parts));
    if (!parts) {
        rc = nr_fail_memory(err, run->slice_count * sizeof(*parts));
        goto out;
    }
    size_t count = cut_all(run, start, end, parts);
    NR_CHECK(nr_run_create(run_id, parts, count, run_out, err));
out:
    nr_free(parts);
    return rc;
}

nori_status nr_run_subtract(struct nr_run *run, nori_slice start, struct nr_bound end, struct nr_run **run_out,
                            struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_table_slice *parts = NULL;

    *run_out = NULL;
    if (!nr_run_overlaps(run, start, end)) {
        *run_out = nr_run_ref(run);
        goto out;
    }
    /* One slice may be cut in two; the others give one each at most. */
    parts = nr_calloc(run->slice_count + 1, sizeof(*parts));
    if (!parts) {
        rc = nr_fail_memory(err, (run->slice_count + 1) * sizeof(*parts));
        goto out;
    }
    size_t count = cut_all(run, nr_slice(NULL, 0), nr_bound_key(start), parts);
    if (!end.infinite) count += cut_all(run, end.key, nr_bound_infinite(), parts + count);
    if (count > 0) NR_CHECK(nr_run_create(run->run_id, parts, count, run_out, err));
out:
    nr_free(parts);
    return rc;
}

/* ---------------------------------------------------------------- joining */

/* Whether 'slice' goes on where 'last' ends, in the same table. */
static bool continues(const struct nr_table_slice *last, const struct nr_table_slice *slice)
{
    return last->file == slice->file && !last->end.infinite && nr_slice_equal(last->end.key, slice->start);
}

nori_status nr_run_concatenate(struct nr_run *const *runs, size_t count, uint64_t run_id, struct nr_run **run_out,
                               struct nori_error *err)
{
    size_t total = 0, used = 0;

    *run_out = NULL;
    NR_ASSERT(count > 0);
    if (count == 1 && runs[0]->run_id == run_id) {
        *run_out = nr_run_ref(runs[0]);
        return NORI_OK;
    }
    for (size_t i = 0; i < count; i++) total += runs[i]->slice_count;
    struct nr_table_slice *slices = nr_calloc(total, sizeof(*slices));
    if (!slices) return nr_fail_memory(err, total * sizeof(*slices));
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < runs[i]->slice_count; j++) {
            const struct nr_table_slice *slice = &runs[i]->slices[j];
            struct nr_table_slice *last = used > 0 ? &slices[used - 1] : NULL;
            if (!last || j > 0 || !continues(last, slice)) {
                slices[used++] = *slice;
                continue;
            }
            last->end = slice->end;
            last->bytes += slice->bytes;
            last->entries += slice->entries;
            last->deletes += slice->deletes;
            last->ranges += slice->ranges;
        }
    }
    nori_status rc = nr_run_create(run_id, slices, used, run_out, err);
    nr_free(slices);
    return rc;
}

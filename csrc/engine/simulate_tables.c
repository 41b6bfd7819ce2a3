/* Tables as profiles: keys and positions, what lies where, and the tables that a target is cut into. */
#include "base/alloc.h"
#include "engine/simulate.h"
#include "version/key_place.h"

/* Neighbours of the same sequences become one part if they differ by less than one in so many. A table with more parts
 * is cut. */
#define MAX_PARTS 4096
#define ALIKE 128.0

/* ---------------------------------------------------------------- keys */

void nr_sim_key(uint8_t out[NR_SIM_KEY_BYTES], uint64_t position)
{
    for (size_t i = NR_SIM_KEY_BYTES; i-- > 0; position /= 10) out[i] = (uint8_t)('0' + position % 10);
}

/* Guards at equal steps of bytes are no digits: they lie where the engine's arithmetic on keys says. */
static uint64_t place_of(nori_slice key)
{
    uint8_t last[NR_SIM_KEY_BYTES];
    nr_sim_key(last, NR_SIM_END);
    struct nr_key_place place =
        nr_key_place_find(nr_slice("000000000000", NR_SIM_KEY_BYTES), nr_bound_key(nr_slice(last, sizeof last)), key);
    return nr_key_place_share(place, NR_SIM_END);
}

uint64_t nr_sim_position(nori_slice key)
{
    uint64_t position = 0;
    for (size_t i = 0; i < NR_SIM_KEY_BYTES; i++) {
        uint8_t digit = i < key.size ? (uint8_t)(key.data[i] - '0') : 0;
        if (digit > 9) return place_of(key);
        position = position * 10 + digit;
    }
    return NR_MIN(position, NR_SIM_END);
}

uint64_t nr_sim_end(struct nr_bound bound)
{
    return bound.infinite ? NR_SIM_END : nr_sim_position(bound.key);
}

double nr_sim_keys(const struct nr_simulation *simulation, uint64_t from, uint64_t to)
{
    return to > from ? (double)simulation->params.keys * (double)(to - from) / (double)NR_SIM_END : 0;
}

/* ---------------------------------------------------------------- profiles */

static uint64_t part_end(const struct nr_sim_profile *profile, size_t index)
{
    return index + 1 < profile->count ? profile->parts[index + 1].start : profile->end;
}

double nr_sim_entries(const struct nr_table_file *file, uint64_t from, uint64_t to)
{
    const struct nr_sim_profile *profile = file->arg;
    double entries = 0;
    for (size_t i = 0; i < profile->count && profile->parts[i].start < to; i++) {
        uint64_t first = NR_MAX(from, profile->parts[i].start), last = NR_MIN(to, part_end(profile, i));
        if (last > first) entries += nr_sim_keys(profile->simulation, first, last) * nr_sim_density(&profile->parts[i]);
    }
    return entries;
}

static void unreferenced(void *arg, struct nr_table_file *file)
{
    struct nr_sim_profile *profile = arg;
    struct nr_simulation *simulation = profile->simulation;
    simulation->file_count--;
    atomic_fetch_sub(&simulation->engine->file_bytes, file->file_bytes);
    nr_free(profile);
    nr_table_file_free(file);
}

/* ---------------------------------------------------------------- outputs */

void nr_sim_output_init(struct nr_sim_output *output, struct nr_simulation *simulation, uint32_t level,
                        double table_bytes)
{
    *output = (struct nr_sim_output){
        .simulation = simulation, .level = level, .table_bytes = table_bytes, .first_number = UINT64_MAX};
}

static void release_slices(struct nr_sim_output *output)
{
    for (size_t i = 0; i < output->slice_count; i++) nr_table_file_unref(output->slices[i].file);
    output->slice_count = 0;
}

void nr_sim_output_clear(struct nr_sim_output *output)
{
    release_slices(output);
    nr_free(output->slices);
    nr_free(output->parts);
}

void nr_sim_output_begin(struct nr_sim_output *output, uint64_t slot_id, nori_slice start, struct nr_bound end)
{
    output->slot_id = slot_id;
    output->start = start;
    output->end = end;
}

static nori_status reserve_slice(struct nr_sim_output *output, struct nori_error *err)
{
    if (output->slice_count < output->slice_capacity) return NORI_OK;
    size_t capacity = output->slice_capacity * 2 + 8;
    void *grown = nr_realloc(output->slices, capacity * sizeof *output->slices);
    if (!grown) return nr_fail_memory(err, capacity * sizeof *output->slices);
    output->slices = grown;
    output->slice_capacity = capacity;
    return NORI_OK;
}

/* The target's own bound where the position is its: it may be a key that no position is. */
static nori_slice start_key(const struct nr_sim_output *output, uint64_t position, uint8_t *digits)
{
    nr_sim_key(digits, position);
    nori_slice key = nr_slice(digits, NR_SIM_KEY_BYTES);
    return nr_slice_compare(key, output->start) < 0 ? output->start : key;
}

static struct nr_bound end_key(const struct nr_sim_output *output, uint64_t position, uint8_t *digits)
{
    nr_sim_key(digits, position);
    struct nr_bound end = nr_bound_key(nr_slice(digits, NR_SIM_KEY_BYTES));
    return nr_bound_compare(end, output->end) > 0 ? output->end : end;
}

static nori_status make_file(struct nr_sim_output *output, struct nr_table_file **file_out, struct nori_error *err)
{
    struct nr_simulation *simulation = output->simulation;
    const struct nr_merge_context *merging = &simulation->engine->merging;
    uint8_t start[NR_SIM_KEY_BYTES], end[NR_SIM_KEY_BYTES];
    uint64_t entries = (uint64_t)(output->entries + 0.5), deletes = (uint64_t)(output->deletes + 0.5);
    uint64_t number = merging->next_number(merging->arg), file_bytes = NR_MAX((uint64_t)(output->bytes + 0.5), 1);
    size_t bytes = sizeof(struct nr_sim_profile) + output->part_count * sizeof *output->parts;
    struct nr_sim_profile *profile = nr_alloc(bytes);
    if (!profile) return nr_fail_memory(err, bytes);
    *profile = (struct nr_sim_profile){simulation, output->table_end, output->part_count};
    memcpy(profile->parts, output->parts, output->part_count * sizeof *output->parts);
    struct nr_table_properties properties = {
        .smallest = start_key(output, output->parts[0].start, start),
        .end = end_key(output, output->table_end, end),
        .smallest_sequence = output->smallest_sequence,
        .largest_sequence = output->largest_sequence,
        .entry_count = entries,
        .delete_count = deletes,
        .key_bytes = entries * simulation->params.key_bytes,
        .value_bytes = (entries - NR_MIN(entries, deletes)) * simulation->params.value_bytes,
        .unexpiring_count = entries - NR_MIN(entries, deletes),
        .block_count = file_bytes / simulation->options.levels[0].block_bytes + 1,
        .level = output->level,
        .slot_id = output->slot_id,
        .distinct_count = entries,
    };
    nori_status rc = nr_table_file_create(number, file_bytes, &properties, unreferenced, profile, file_out, err);
    if (rc != NORI_OK) {
        nr_free(profile);
        return rc;
    }
    output->first_number = NR_MIN(output->first_number, number);
    output->bytes_written += file_bytes;
    simulation->file_count++;
    return NORI_OK;
}

/* Ends the table under way. One with less than half an entry is none. */
static nori_status cut(struct nr_sim_output *output, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_table_file *file = NULL;
    if (output->part_count > 0 && output->entries >= 0.5 && output->table_end > output->parts[0].start) {
        NR_CHECK(reserve_slice(output, err));
        NR_CHECK(make_file(output, &file, err));
        output->slices[output->slice_count++] = (struct nr_table_slice){
            .file = file,
            .start = file->properties.smallest,
            .end = file->properties.end,
            .bytes = file->file_bytes,
            .entries = file->properties.entry_count,
            .deletes = file->properties.delete_count,
        };
    }
    output->part_count = 0;
    output->entries = output->deletes = output->bytes = 0;
out:
    return rc;
}

static bool is_alike(double a, double b)
{
    double larger = NR_MAX(a, b);
    return larger - NR_MIN(a, b) <= larger / ALIKE;
}

static double blend(double a, double b, double part)
{
    return a + (b - a) * part;
}

/* Joins the part to the last one, if it is alike. */
static bool extend(struct nr_sim_output *output, uint64_t from, uint64_t to, const struct nr_sim_part *part)
{
    if (output->part_count == 0) return false;
    struct nr_sim_part *last = &output->parts[output->part_count - 1];
    bool is_same = is_alike(last->loaded, part->loaded) && is_alike(last->updated, part->updated) &&
                   is_alike(last->updated * last->deleted, part->updated * part->deleted);
    is_same = is_same && last->smallest_sequence == part->smallest_sequence &&
              last->largest_sequence == part->largest_sequence;
    if (!is_same) return false;
    double share = (double)(to - from) / (double)(to - last->start);
    double updated = blend(last->updated, part->updated, share);
    double deleted = blend(last->updated * last->deleted, part->updated * part->deleted, share);
    last->loaded = blend(last->loaded, part->loaded, share);
    last->updated = updated;
    last->deleted = updated > 0 ? deleted / updated : 0;
    return true;
}

static nori_status append(struct nr_sim_output *output, uint64_t from, uint64_t to, const struct nr_sim_part *part,
                          struct nori_error *err)
{
    const struct nr_simulation *simulation = output->simulation;
    double keys = nr_sim_keys(simulation, from, to), entries = keys * nr_sim_density(part);
    double deletes = keys * part->updated * part->deleted;
    if (output->part_count == 0 && entries <= 0) return NORI_OK;
    /* A hole in the table under way has a part, too, so that what follows is in its place. */
    if (!extend(output, from, to, part)) {
        if (output->part_count == output->part_capacity) {
            size_t capacity = output->part_capacity * 2 + 8;
            void *grown = nr_realloc(output->parts, capacity * sizeof *output->parts);
            if (!grown) return nr_fail_memory(err, capacity * sizeof *output->parts);
            output->parts = grown;
            output->part_capacity = capacity;
        }
        output->parts[output->part_count] = *part;
        output->parts[output->part_count++].start = from;
    }
    if (entries > 0) output->table_end = to;
    if (entries > 0) {
        bool is_first = output->entries <= 0;
        output->smallest_sequence =
            is_first ? part->smallest_sequence : NR_MIN(output->smallest_sequence, part->smallest_sequence);
        output->largest_sequence =
            is_first ? part->largest_sequence : NR_MAX(output->largest_sequence, part->largest_sequence);
    }
    output->entries += entries;
    output->deletes += deletes;
    output->bytes += (entries - deletes) * simulation->stored_bytes + deletes * simulation->tombstone_bytes;
    return NORI_OK;
}

nori_status nr_sim_output_add(struct nr_sim_output *output, uint64_t from, uint64_t to, const struct nr_sim_part *part,
                              struct nori_error *err)
{
    const struct nr_simulation *simulation = output->simulation;
    nori_status rc = NORI_OK;
    double deletes = part->updated * part->deleted;
    double key_bytes =
        (nr_sim_density(part) - deletes) * simulation->stored_bytes + deletes * simulation->tombstone_bytes;
    if (output->part_count == MAX_PARTS) NR_CHECK(cut(output, err));
    while (from < to) {
        double bytes = nr_sim_keys(simulation, from, to) * key_bytes, room = output->table_bytes - output->bytes;
        uint64_t until = to;
        if (bytes > room) until = from + (uint64_t)((double)(to - from) * NR_MAX(room, 0) / bytes);
        if (until == from && output->part_count == 0) until = from + 1;
        if (until > from) NR_CHECK(append(output, from, until, part, err));
        if (until == to) break;
        NR_CHECK(cut(output, err));
        from = until;
    }
out:
    return rc;
}

nori_status nr_sim_output_adopt(struct nr_sim_output *output, const struct nr_table_slice *slice,
                                struct nori_error *err)
{
    nori_status rc = NORI_OK;
    NR_CHECK(cut(output, err));
    NR_CHECK(reserve_slice(output, err));
    output->slices[output->slice_count] = *slice;
    output->slices[output->slice_count++].file = nr_table_file_ref(slice->file);
out:
    return rc;
}

nori_status nr_sim_output_end(struct nr_sim_output *output, struct nr_run **run_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    const struct nr_merge_context *merging = &output->simulation->engine->merging;
    *run_out = NULL;
    NR_CHECK(cut(output, err));
    if (output->slice_count == 0) goto out;
    NR_CHECK(nr_run_create(merging->next_run_id(merging->arg), output->slices, output->slice_count, run_out, err));
    release_slices(output);
out:
    return rc;
}

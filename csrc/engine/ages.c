/* Cleaning by age. What expired in a run is gone only when the run is written again, and a tenth of a lifetime later
 * more has: a run over a whole lifetime is written five times until nothing is left. So a run that is cleaned becomes
 * two where its slot has room: what expires soon, which is what is written again next, and the rest, which is left
 * alone meanwhile.
 *
 * Entries go by sequence, so the two stand in the order of age. No key is in both: what is cleaned lies below every
 * snapshot, so of each key only the newest entry is kept. */
#include "engine/engine.h"

/* In lifetimes: what the older of the two holds; and what has to be left for the newer one. Of slots with four runs to
 * which five to nine arrive in a lifetime a quarter writes the least, a fifth as little. */
#define SOON 0.25
#define WORTHWHILE 0.2

/* What all tables of the plan's runs say together. */
struct ages {
    uint64_t smallest_sequence, largest_sequence;
    uint64_t smallest_expiry_ms, largest_expiry_ms;
    uint64_t lifetime_ms; /* The longest. */
    bool are_known;       /* All is puts that expire. */
};

static struct ages find_ages(const struct nr_slot *slot, size_t first, size_t count)
{
    struct ages ages = {.smallest_sequence = UINT64_MAX, .smallest_expiry_ms = UINT64_MAX, .are_known = true};
    for (size_t i = first; i < first + count; i++) {
        for (size_t j = 0; j < slot->runs[i]->slice_count; j++) {
            const struct nr_table_properties *properties = &slot->runs[i]->slices[j].file->properties;
            if (properties->delete_count > 0 || properties->range_count > 0 || properties->unexpiring_count > 0 ||
                properties->smallest_expiry_ms == 0 || properties->lifetime_ms == 0)
                ages.are_known = false;
            ages.smallest_sequence = NR_MIN(ages.smallest_sequence, properties->smallest_sequence);
            ages.largest_sequence = NR_MAX(ages.largest_sequence, properties->largest_sequence);
            ages.smallest_expiry_ms = NR_MIN(ages.smallest_expiry_ms, properties->smallest_expiry_ms);
            ages.largest_expiry_ms = NR_MAX(ages.largest_expiry_ms, properties->largest_expiry_ms);
            ages.lifetime_ms = NR_MAX(ages.lifetime_ms, properties->lifetime_ms);
        }
    }
    return ages;
}

uint64_t nr_ages_split(struct nori_engine *engine, const struct nr_job *job)
{
    const struct nr_plan *plan = &job->plan;
    if (plan->action != NR_ACTION_CLEAN || engine->merging.model) return 0;
    uint32_t k_max = nr_planner_arrival_k(&engine->options, plan->slot);
    bool is_whole = nr_slice_equal(plan->start, plan->slot->start) && plan->input_bytes <= engine->merging.part_bytes;
    if (!is_whole || plan->slot->run_count - plan->run_count + 2 > k_max) return 0;
    struct ages ages = find_ages(plan->slot, plan->first_run, plan->run_count);
    if (!ages.are_known || ages.smallest_expiry_ms >= ages.largest_expiry_ms) return 0;
    double lifetime_ms = (double)ages.lifetime_ms;
    double until_ms = (double)nr_engine_now_ms(engine) + SOON * lifetime_ms;
    if (until_ms + WORTHWHILE * lifetime_ms > (double)ages.largest_expiry_ms) return 0;
    /* As if they had been written evenly. */
    double part =
        (until_ms - (double)ages.smallest_expiry_ms) / (double)(ages.largest_expiry_ms - ages.smallest_expiry_ms);
    double sequences = (double)(ages.largest_sequence - ages.smallest_sequence);
    return part > 0 ? ages.smallest_sequence + (uint64_t)(NR_MIN(part, 1) * sequences) : 0;
}

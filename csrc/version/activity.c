#include "version/activity.h"

#include "base/alloc.h"

nori_status nr_activity_create(struct nr_activity **activity_out, struct nori_error *err)
{
    *activity_out = NULL;
    struct nr_activity *activity = nr_alloc_aligned(64, sizeof(*activity));
    if (!activity) return nr_fail_memory(err, sizeof(*activity));
    memset(activity, 0, sizeof(*activity));
    atomic_init(&activity->refs, 1);
    *activity_out = activity;
    return NORI_OK;
}

struct nr_activity *nr_activity_ref(struct nr_activity *activity)
{
    atomic_fetch_add_explicit(&activity->refs, 1, memory_order_relaxed);
    return activity;
}

void nr_activity_unref(struct nr_activity *activity)
{
    if (!activity || atomic_fetch_sub_explicit(&activity->refs, 1, memory_order_acq_rel) != 1) return;
    nr_free(activity);
}

static void add_stripe(struct nr_activity_counts *counts, uint64_t searches, uint64_t sheltered, uint64_t scans,
                       uint64_t bytes_arrived)
{
    counts->searches += searches & ((1ull << NR_ACTIVITY_PROBES_SHIFT) - 1);
    counts->runs_probed += searches >> NR_ACTIVITY_PROBES_SHIFT;
    counts->sheltered += sheltered;
    counts->scans += scans;
    counts->bytes_arrived += bytes_arrived;
}

struct nr_activity_counts nr_activity_peek(const struct nr_activity *activity)
{
    struct nr_activity_counts counts = {0};
    for (size_t i = 0; i < NR_ACTIVITY_STRIPES; i++) {
        const struct nr_activity_stripe *stripe = &activity->stripes[i];
        add_stripe(&counts, atomic_load_explicit(&stripe->searches, memory_order_relaxed),
                   atomic_load_explicit(&stripe->sheltered, memory_order_relaxed),
                   atomic_load_explicit(&stripe->scans, memory_order_relaxed),
                   atomic_load_explicit(&stripe->bytes_arrived, memory_order_relaxed));
    }
    return counts;
}

static uint64_t take(_Atomic uint64_t *counter)
{
    /* Most are 0: a line that nobody counts on is not written. */
    if (atomic_load_explicit(counter, memory_order_relaxed) == 0) return 0;
    return atomic_exchange_explicit(counter, 0, memory_order_relaxed);
}

struct nr_activity_counts nr_activity_take(struct nr_activity *activity)
{
    struct nr_activity_counts counts = {0};
    for (size_t i = 0; i < NR_ACTIVITY_STRIPES; i++) {
        struct nr_activity_stripe *stripe = &activity->stripes[i];
        add_stripe(&counts, take(&stripe->searches), take(&stripe->sheltered), take(&stripe->scans),
                   take(&stripe->bytes_arrived));
    }
    return counts;
}

static uint64_t share_of(uint64_t number, double part)
{
    return (uint64_t)((double)number * part + 0.5);
}

void nr_activity_share(struct nr_activity *into, const struct nr_activity *from, double part)
{
    const struct nr_activity_state *old = &from->state;
    struct nr_activity_state *state = &into->state;
    struct nr_activity_stripe *stripe = &into->stripes[0];
    struct nr_activity_counts counts = nr_activity_peek(from);
    double reads = state->read_rate, more = old->read_rate * part;

    if (state->probes_per_read == 0)
        state->probes_per_read = old->probes_per_read;
    else if (old->probes_per_read > 0 && reads + more > 0)
        state->probes_per_read = (state->probes_per_read * reads + old->probes_per_read * more) / (reads + more);
    state->read_rate += more;
    state->sheltered_rate += old->sheltered_rate * part;
    state->write_rate += old->write_rate * part;
    state->mean_write_rate += old->mean_write_rate * part;
    state->scan_rate += old->scan_rate * part;
    state->arrival_rate += old->arrival_rate * part;
    if (state->wanted_k == 0) state->wanted_k = old->wanted_k;
    state->recent_reads += old->recent_reads * part;
    state->recent_scans += old->recent_scans * part;
    state->recent_secs = NR_MAX(state->recent_secs, old->recent_secs);
    state->extra_probes += old->extra_probes * part;
    state->extra_runs += old->extra_runs * part;
    state->folded_at_us = NR_MAX(state->folded_at_us, old->folded_at_us);
    state->k_changed_at_us = NR_MAX(state->k_changed_at_us, old->k_changed_at_us);
    state->searches += share_of(old->searches, part);
    state->bytes_arrived += share_of(old->bytes_arrived, part);
    state->bytes_rewritten += share_of(old->bytes_rewritten, part);
    uint64_t searches = share_of(counts.searches, part), probes = share_of(counts.runs_probed, part);
    atomic_fetch_add_explicit(&stripe->searches, searches + (probes << NR_ACTIVITY_PROBES_SHIFT), memory_order_relaxed);
    nr_activity_count_sheltered(into, 0, share_of(counts.sheltered, part));
    atomic_fetch_add_explicit(&stripe->scans, share_of(counts.scans, part), memory_order_relaxed);
    nr_activity_count_arrived(into, 0, share_of(counts.bytes_arrived, part));
}

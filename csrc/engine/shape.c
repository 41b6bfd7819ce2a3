/* K per slot: looked at four times in a heat interval, sooner where much is read, and changed by one edit that rewrites
 * nothing. Merges that bring a slot to its new K are proposed by the planner. */
#include "engine/engine.h"

#include "base/alloc.h"
#include "compact/arrivals.h"
#include "compact/shape.h"

/* What a get takes beside looking into runs, in probes: the call, the memtables, the block that has the key. */
#define OTHER_PROBES 5.0
#define SCAN_PROBES 10.0
/* A caller waits for its reads, nobody for merges: its time counts at most so many times as much as theirs, and for
 * less where reads come to their aim by less (compact/price.h). */
#define CALLER_WEIGHT 60.0
/* Of that, what counts for merging before the next arrival would: the bytes are written once more for it. Whatever the
 * price is: where all that is read is leveled at next to none, what is read from now on is to be, too. */
#define EAGER_PART 0.4
/* What is read now is taken to go on for a heat interval, and for at least so long: the interval says how soon shapes
 * are to follow, not that what they follow is as short. */
#define LEAST_HORIZON_SECS 5.0
#define MAX_BYTE_NS 100.0
#define REST_INTERVALS 10
/* Of a slot, on average: what is read less says little of where. */
#define SEARCHES_PER_LOOK 256
/* Slots of a level by which the price of reads is found; and gets by which the runs that they look into are. */
#define MOST_SAMPLES 2048
#define LEAST_GETS 256

/* Gets by where they end: what those that end above level 1 take says nothing of what a run more would. */
struct gets {
    double above;           /* The part that ends there: the quickest of all. */
    double probes_per_deep; /* Runs that one of the others looks into. */
};

static struct gets measure_gets(const struct nori_engine *engine)
{
    uint64_t sheltered = 0;
    for (size_t i = 0; i < NR_ARRAY_LEN(engine->stripes); i++)
        sheltered += atomic_load_explicit(&engine->stripes[i].sheltered, memory_order_relaxed);
    struct nr_read_totals totals = nr_read_sum(engine);
    uint64_t gets = totals.gets, probes = totals.runs_probed;
    if (gets == 0) return (struct gets){0};
    /* Gets are counted at their ends, and by others meanwhile. */
    double deep = (double)(gets - NR_MIN(sheltered, gets - 1));
    return (struct gets){1 - deep / (double)gets, (double)probes / deep};
}

/* Measured, but on the simulated disk, where the same seed is to be the same run. */
static struct nr_shape_costs measure_costs(struct nori_engine *engine)
{
    struct nr_shape_costs costs = engine->shape_costs;
    if (engine->env->inline_background) return costs;
    struct gets gets = measure_gets(engine);
    /* The median of those that come to the levels: most find what they need in caches, or all of them do not. */
    double median_ns = nr_histogram_quantile_ns(&engine->latency[NORI_LATENCY_GET], (1 + gets.above) / 2);
    uint64_t merged = atomic_load_explicit(&engine->compaction_bytes_written, memory_order_relaxed);
    uint64_t cpu_ns = atomic_load_explicit(&engine->compaction_cpu_ns, memory_order_relaxed);
    double probe_ns = median_ns / (gets.probes_per_deep + OTHER_PROBES);
    if (median_ns > 0) costs.probe_ns = CALLER_WEIGHT * NR_MIN(NR_MAX(probe_ns, 20), 1e6);
    costs.scan_ns = costs.probe_ns * SCAN_PROBES;
    /* Of small merges most time goes to waiting for the disk, which nobody else does meanwhile. */
    if (merged > (1u << 20)) costs.byte_ns = NR_MIN(NR_MAX((double)cpu_ns / (double)merged, 1), MAX_BYTE_NS);
    return costs;
}

/* What looking at a level takes. */
struct looking {
    struct nr_shape_costs costs, eager_costs;
    struct nr_heat_rates *rates; /* Owned, like the next two; room for the slots of any level. */
    struct nr_heat_density *scratch;
    struct nr_heat *heats;
    struct nr_shape_slot *samples; /* Owned, of all levels; from level 1 on they are 'sampled'. */
    struct nr_price_level sampled[NORI_MAX_LEVELS];
    double ratios[NORI_MAX_LEVELS]; /* From level 1 on. */
};

static void looking_clear(struct looking *looking)
{
    nr_free(looking->rates);
    nr_free(looking->scratch);
    nr_free(looking->heats);
    nr_free(looking->samples);
}

static nori_status looking_init(struct looking *looking, const struct nr_version *version, struct nori_error *err)
{
    size_t most = 0, samples = 0;
    for (size_t level = 1; level < version->level_count; level++) {
        most = NR_MAX(most, version->levels[level]->slot_count);
        samples += NR_MIN(version->levels[level]->slot_count, MOST_SAMPLES);
    }
    looking->rates = nr_alloc(most * sizeof *looking->rates);
    looking->scratch = nr_alloc(most * sizeof *looking->scratch);
    looking->heats = nr_alloc(most * sizeof *looking->heats);
    looking->samples = nr_alloc(samples * sizeof *looking->samples);
    if (looking->rates && looking->scratch && looking->heats && looking->samples) return NORI_OK;
    looking_clear(looking);
    return nr_fail_memory(err, most * sizeof *looking->rates);
}

/* In the turn. Level 1 gets as many files as are admitted at a time. */
static void find_ratios(struct nori_engine *engine, const struct nr_version *version, struct looking *looking)
{
    const struct nori_options *options = &engine->options;
    const struct nr_slot *level0 = nr_version_level0(version);
    uint64_t level_bytes[NORI_MAX_LEVELS], file_bytes = 0;
    /* Of the others a part may have been admitted. */
    for (size_t i = 0; i < level0->run_count; i++) file_bytes = NR_MAX(file_bytes, level0->runs[i]->bytes);
    if (file_bytes > 0) engine->shape_file_bytes = file_bytes;
    if (engine->shape_file_bytes == 0) engine->shape_file_bytes = (uint64_t)options->memtable.flush_trigger_bytes;
    for (size_t level = 1; level < version->level_count; level++)
        level_bytes[level - 1] = version->levels[level]->bytes;
    nr_shape_ratios(level_bytes, version->level_count - 1, NR_L0_ADMIT_DEPTH * engine->shape_file_bytes,
                    (double)options->fanout, looking->ratios);
}

static struct nr_shape_slot describe(const struct nr_slot *slot, const struct looking *looking)
{
    const struct nr_activity_state *state = &slot->activity->state;
    return (struct nr_shape_slot){
        .bytes = slot->bytes,
        .run_count = slot->run_count,
        .k = slot->k_max,
        .read_rate = NR_MAX(state->read_rate - state->sheltered_rate, 0),
        .sheltered_rate = state->sheltered_rate,
        .scan_rate = state->scan_rate,
        .write_rate = nr_arrivals_rate(state),
        .recent_reads = state->recent_reads,
        .recent_scans = state->recent_scans,
        .recent_secs = state->recent_secs,
        .probed_part = nr_heat_probed_part(state, slot->run_count),
        .ratio = looking->ratios[slot->level - 1],
    };
}

/* Under engine.lock. Of many slots each nth. */
static void take_samples(const struct nr_version *version, struct looking *looking)
{
    struct nr_shape_slot *sample = looking->samples;
    for (size_t number = 1; number < version->level_count; number++) {
        const struct nr_level *level = version->levels[number];
        size_t count = NR_MIN(level->slot_count, MOST_SAMPLES);
        looking->sampled[number - 1] =
            (struct nr_price_level){sample, count, (double)level->slot_count / (double)NR_MAX(count, 1)};
        for (size_t i = 0; i < count; i++)
            *sample++ = describe(nr_level_slot(level, i * level->slot_count / count), looking);
    }
}

/* In the turn. */
static void set_price(struct nori_engine *engine, const struct nr_version *version, uint64_t now_us,
                      struct looking *looking)
{
    double elapsed_us = engine->shape_priced_us > 0 ? (double)(now_us - engine->shape_priced_us) : 0;
    struct nr_read_totals totals = nr_read_sum(engine);
    uint64_t gets = totals.gets - engine->shape_gets;
    if (gets >= LEAST_GETS) {
        engine->shape_price.probes_per_get = (double)(totals.runs_probed - engine->shape_probes) / (double)gets;
        engine->shape_gets = totals.gets;
        engine->shape_probes = totals.runs_probed;
    }
    nr_price_follow(&engine->shape_price, looking->sampled, version->level_count - 1, &looking->costs,
                    (uint32_t)engine->options.k_global, elapsed_us / 1e6 / engine->options.heat_decay_interval_secs);
    engine->shape_priced_us = now_us;
    struct nr_price eager = {.part = EAGER_PART};
    looking->eager_costs = nr_price_costs(&eager, looking->costs);
    looking->costs = nr_price_costs(&engine->shape_price, looking->costs);
}

static uint32_t wanted_k(const struct nori_engine *engine, const struct looking *looking, const struct nr_slot *slot,
                         double heat)
{
    const struct nori_options *options = &engine->options;
    struct nr_shape_slot shape = describe(slot, looking);
    shape.heat = heat;
    if (options->k_policy == NORI_K_HEAT) return nr_shape_by_heat(&shape, (uint32_t)options->k_global);
    return nr_shape_by_cost(&shape, &looking->costs, (uint32_t)options->k_global);
}

/* Runs over K are merged at once: that has to be worth it, or there is nothing to merge. */
static bool may_fall(const struct nori_engine *engine, const struct looking *looking, const struct nr_slot *slot,
                     uint32_t k)
{
    const struct nori_options *options = &engine->options;
    uint64_t bytes = 0;
    if (slot->run_count <= k || options->k_policy == NORI_K_HEAT) return true;
    for (size_t i = 0; i + k <= slot->run_count; i++) bytes += slot->runs[i]->bytes;
    struct nr_shape_slot shape = describe(slot, looking);
    double horizon_secs = NR_MAX(options->heat_decay_interval_secs, LEAST_HORIZON_SECS);
    return nr_shape_is_worth_merging(&shape, &looking->eager_costs, k, bytes, horizon_secs);
}

/* Under engine.lock. A slot that a job has locked is left for the next time: the job would undo it. */
static nori_status edit_level(struct nori_engine *engine, const struct nr_level *level, uint32_t number,
                              uint64_t now_us, struct looking *looking, struct nr_edit *edit, size_t *changed,
                              struct nori_error *err)
{
    uint64_t interval_us = (uint64_t)(engine->options.heat_decay_interval_secs * 1e6);
    nr_heat_level_locked(level, looking->rates, looking->scratch, looking->heats);
    for (size_t i = 0; i < level->slot_count; i++) {
        struct nr_slot *slot = nr_level_slot(level, i);
        struct nr_activity_state *state = &slot->activity->state;
        uint32_t k = nr_planner_slot_k(&engine->options, slot),
                 wanted = wanted_k(engine, looking, slot, looking->heats[i].heat);
        if (engine->options.k_policy == NORI_K_COST) state->wanted_k = wanted;
        if (wanted == k || nr_job_is_busy(engine, slot) || (wanted < k && !may_fall(engine, looking, slot, wanted)))
            continue;
        /* Where arrivals have brought it about, K only says so: that is not its change of the interval. */
        bool is_so = wanted < k && slot->run_count <= wanted;
        if (!is_so && state->k_changed_at_us != 0 && now_us - state->k_changed_at_us < interval_us) continue;
        if (!is_so) state->k_changed_at_us = now_us;
        nori_status rc = nr_edit_set_slot(edit, number, slot->start, wanted, slot->runs, slot->run_count, err);
        if (rc != NORI_OK) return rc;
        nr_event_note_shape(engine, slot, wanted, &looking->heats[i]);
        ++*changed;
    }
    return NORI_OK;
}

/* In the turn, so that the version rests. */
static nori_status update(struct nori_engine *engine, const struct nr_version *version, uint64_t now_us,
                          struct nori_error *err)
{
    struct looking looking;
    struct nr_edit *edit = NULL;
    size_t changed = 0, slots = 0;
    nori_status rc = looking_init(&looking, version, err);
    if (rc != NORI_OK) return rc;
    NR_CHECK(nr_edit_create(&edit, err));
    nr_mutex_lock(&engine->lock);
    nr_heat_fold_now_locked(engine, version);
    looking.costs = measure_costs(engine);
    find_ratios(engine, version, &looking);
    take_samples(version, &looking);
    nr_mutex_unlock(&engine->lock);
    set_price(engine, version, now_us, &looking);
    nr_mutex_lock(&engine->lock);
    for (uint32_t level = 1; level < version->level_count && rc == NORI_OK; level++) {
        slots += version->levels[level]->slot_count;
        rc = edit_level(engine, version->levels[level], level, now_us, &looking, edit, &changed, err);
    }
    nr_mutex_unlock(&engine->lock);
    atomic_store(&engine->shape_many_hints, slots * SEARCHES_PER_LOOK / NR_SEARCHES_PER_HINT);
    if (rc == NORI_OK && changed > 0) rc = nr_install(engine, edit, 0, err);
out:
    nr_edit_destroy(edit);
    looking_clear(&looking);
    return rc;
}

static bool is_due(struct nori_engine *engine, uint64_t now_us, uint32_t hints)
{
    struct nr_shape_watch watch = {
        .round_us = engine->options.heat_decay_interval_secs * 1e6 / 4,
        .look_us = (double)atomic_load(&engine->shape_look_us),
        .hints = hints,
        .many_hints = atomic_load(&engine->shape_many_hints),
    };
    return (double)(now_us - atomic_load(&engine->shaped_us)) >= nr_shape_due_us(&watch);
}

void nr_shape_hint(struct nori_engine *engine)
{
    if (!nr_engine_has_threads(engine) || atomic_load(&engine->is_poisoned)) return;
    if (engine->options.strategy != NORI_STRATEGY_ATLL) return;
    uint32_t hints = atomic_fetch_add(&engine->shape_hints, 1) + 1;
    if (is_due(engine, nr_env_monotonic_us(engine->env), hints)) nr_workers_hint(engine);
}

/* Whether nothing has been read, written or merged for so long that all rates are next to nothing. What they say of
 * each other then is no reason to edit anything. */
static bool is_at_rest(struct nori_engine *engine, uint64_t now_us)
{
    if (engine->merging.model) return false; /* Simulated writes are counted elsewhere. */
    uint64_t done = nr_read_sum(engine).gets + atomic_load(&engine->published_sequence) +
                    atomic_load_explicit(&engine->compaction_bytes_written, memory_order_relaxed);
    for (size_t i = 0; i < NR_ARRAY_LEN(engine->stripes); i++)
        done += atomic_load_explicit(&engine->stripes[i].scans, memory_order_relaxed);
    if (done != engine->shape_done) {
        engine->shape_done = done;
        engine->shape_done_us = now_us;
    }
    return (double)(now_us - engine->shape_done_us) > REST_INTERVALS * engine->options.heat_decay_interval_secs * 1e6;
}

void nr_shape_update_due(struct nori_engine *engine)
{
    uint64_t now_us = nr_env_monotonic_us(engine->env);
    if (engine->options.strategy != NORI_STRATEGY_ATLL || atomic_load(&engine->is_poisoned)) return;
    if (!is_due(engine, now_us, atomic_load(&engine->shape_hints))) return;
    atomic_store(&engine->shaped_us, now_us);
    atomic_store(&engine->shape_hints, 0);
    if (is_at_rest(engine, now_us)) return;
    nr_turn_take(engine);
    struct nr_view *view = nr_view_acquire(engine);
    if (update(engine, view->version, now_us, NULL) != NORI_OK) {
        /* The next round tries again, or the engine is poisoned. */
    }
    nr_view_release(view);
    nr_turn_give(engine);
    atomic_store(&engine->shape_look_us, nr_env_monotonic_us(engine->env) - now_us);
    nr_workers_kick(engine);
}

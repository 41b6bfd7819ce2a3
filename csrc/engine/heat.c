/* Heat in the engine: when activity is folded, where writes are counted, and HEAT, which carries it from one session to
 * the next. What the counts mean is compact/heat.h's. */
#include "engine/engine.h"

#include "base/alloc.h"
#include "compact/arrivals.h"
#include "compact/heat_file.h"

/* So many rounds of folding in an interval at most. */
#define FOLDS_PER_INTERVAL 10
/* Who asks for the latest of all gets a round that is older than this. */
#define LEAST_FOLD_US 500000.0
#define SAVE_INTERVAL_US (300 * 1000000ull)

/* ---------------------------------------------------------------- folding */

static void fold_all(struct nori_engine *engine, const struct nr_version *version, uint64_t now_us)
{
    const struct nori_options *options = &engine->options;
    for (size_t level = 1; level < version->level_count; level++) {
        for (size_t i = 0; i < version->levels[level]->slot_count; i++) {
            const struct nr_slot *slot = nr_level_slot(version->levels[level], i);
            struct nr_activity *activity = slot->activity;
            /* New since the last round: what it has counted, it has counted since then. */
            if (activity->state.folded_at_us == 0) activity->state.folded_at_us = engine->heat_folded_us;
            nr_heat_fold(activity, slot->run_count, now_us, options->heat_alpha, options->heat_decay_interval_secs);
        }
    }
    nr_arrivals_expect(version, options->heat_decay_interval_secs / NR_MAX(options->heat_alpha, 1e-3));
    engine->heat_folded_us = now_us;
}

static void fold_since_locked(struct nori_engine *engine, const struct nr_version *version, double due_us)
{
    uint64_t now_us = nr_env_monotonic_us(engine->env);
    if ((double)(now_us - engine->heat_folded_us) < due_us) return;
    fold_all(engine, version, now_us);
    nr_rewards_measure_locked(engine, now_us);
}

void nr_heat_fold_locked(struct nori_engine *engine, const struct nr_version *version)
{
    fold_since_locked(engine, version, engine->options.heat_decay_interval_secs * 1e6 / FOLDS_PER_INTERVAL);
}

void nr_heat_fold_now_locked(struct nori_engine *engine, const struct nr_version *version)
{
    double round_us = engine->options.heat_decay_interval_secs * 1e6 / FOLDS_PER_INTERVAL;
    fold_since_locked(engine, version, NR_MIN(round_us, LEAST_FOLD_US));
}

void nr_heat_fold_due(struct nori_engine *engine)
{
    struct nr_view *view = nr_view_acquire(engine);
    nr_mutex_lock(&engine->lock);
    nr_heat_fold_locked(engine, view->version);
    nr_mutex_unlock(&engine->lock);
    nr_view_release(view);
}

void nr_heat_level_locked(const struct nr_level *level, struct nr_heat_rates *rates, struct nr_heat_density *scratch,
                          struct nr_heat *heats_out)
{
    for (size_t i = 0; i < level->slot_count; i++) {
        const struct nr_slot *slot = nr_level_slot(level, i);
        rates[i] = nr_heat_rates_of(&slot->activity->state, slot->bytes);
    }
    nr_heat_normalise(rates, level->slot_count, scratch, heats_out);
}

/* ---------------------------------------------------------------- counting writes */

nori_status nr_arrivals_begin(struct nr_arrivals *arrivals, const struct nr_version *version, struct nori_error *err)
{
    *arrivals = (struct nr_arrivals){0};
    if (version->level_count < 2) return NORI_OK;
    arrivals->level = version->levels[1];
    arrivals->bytes = nr_calloc(arrivals->level->slot_count, sizeof *arrivals->bytes);
    if (!arrivals->bytes) return nr_fail_memory(err, arrivals->level->slot_count * sizeof *arrivals->bytes);
    return NORI_OK;
}

void nr_arrivals_note(void *arg, nori_slice key, uint64_t bytes)
{
    struct nr_arrivals *arrivals = arg;
    if (!arrivals->level) return;
    /* Keys ascend: mostly it is the slot of the key before. */
    if (!nr_bound_above(nr_level_slot(arrivals->level, arrivals->slot_index)->end, key))
        arrivals->slot_index = nr_level_seek(arrivals->level, key);
    arrivals->bytes[arrivals->slot_index] += bytes;
    arrivals->total += bytes;
}

void nr_arrivals_count(const struct nr_arrivals *arrivals, uint64_t file_bytes)
{
    unsigned stripe = nr_epoch_stripe_of_thread();
    if (arrivals->total == 0) return;
    double scale = (double)file_bytes / (double)arrivals->total;
    for (size_t i = 0; i < arrivals->level->slot_count; i++) {
        uint64_t bytes = (uint64_t)((double)arrivals->bytes[i] * scale + 0.5);
        if (bytes) nr_activity_count_arrived(nr_level_slot(arrivals->level, i)->activity, stripe, bytes);
    }
}

void nr_arrivals_clear(struct nr_arrivals *arrivals)
{
    nr_free(arrivals->bytes);
}

static uint64_t new_bytes(const struct nr_run *run, uint64_t first_number)
{
    uint64_t bytes = 0;
    for (size_t i = 0; run && i < run->slice_count; i++)
        if (run->slices[i].file->number >= first_number) bytes += run->slices[i].bytes;
    return bytes;
}

/* What came down to a slot from the level above. To level 1 it came by the flush. */
static void count_arrived(const struct nr_version *version, const struct nr_plan *plan, struct nr_slot *target)
{
    const struct nr_slot *level0 = nr_version_level0(version);
    nori_slice start = nr_slice_compare(target->start, plan->start) < 0 ? plan->start : target->start;
    struct nr_bound end = nr_bound_compare(target->end, plan->end) < 0 ? target->end : plan->end;
    uint64_t bytes = 0;
    if (plan->action != NR_ACTION_PROMOTE) return;
    for (size_t i = 0; i < plan->run_count; i++)
        bytes += nr_run_bytes_in(plan->slot->runs[plan->first_run + i], start, end);
    for (size_t i = 0; i < plan->l0_count; i++) bytes += nr_run_bytes_in(level0->runs[plan->l0_first + i], start, end);
    nr_activity_count_arrived(target->activity, nr_epoch_stripe_of_thread(), bytes);
}

void nr_heat_note_job(struct nori_engine *engine, const struct nr_job *job, const struct nr_merge_target *results,
                      size_t result_count, uint64_t first_number)
{
    const struct nr_plan *plan = &job->plan;
    if (plan->action == NR_ACTION_MERGE_L0) return; /* Level 0 is no slot of its own. */
    nr_mutex_lock(&engine->lock);
    for (size_t i = 0; i < result_count && plan->target_count == 0; i++)
        plan->slot->activity->state.bytes_rewritten += new_bytes(results[i].run, first_number);
    for (size_t i = 0; i < plan->target_count; i++) {
        plan->targets[i].slot->activity->state.bytes_rewritten += new_bytes(results[i].run, first_number);
        count_arrived(job->version, plan, plan->targets[i].slot);
    }
    nr_mutex_unlock(&engine->lock);
}

void nr_heat_note_move(struct nori_engine *engine, const struct nr_version *version, const struct nr_plan *plan)
{
    nr_mutex_lock(&engine->lock);
    for (size_t i = 0; i < plan->target_count; i++) count_arrived(version, plan, plan->targets[i].slot);
    nr_mutex_unlock(&engine->lock);
}

/* ---------------------------------------------------------------- HEAT */

static bool has_state(const struct nr_activity_state *state)
{
    return state->read_rate > 0 || state->write_rate > 0 || state->scan_rate > 0 || state->bytes_arrived > 0 ||
           state->bytes_rewritten > 0;
}

static size_t count_slots(const struct nr_version *version)
{
    size_t count = 0;
    for (size_t level = 1; level < version->level_count; level++) count += version->levels[level]->slot_count;
    return count;
}

/* Under the engine's lock. 'entries' has room for all slots; guards are borrowed from the version. */
static size_t list_entries(const struct nr_version *version, struct nr_heat_entry *entries)
{
    size_t count = 0;
    for (size_t level = 1; level < version->level_count; level++) {
        for (size_t i = 0; i < version->levels[level]->slot_count; i++) {
            const struct nr_slot *slot = nr_level_slot(version->levels[level], i);
            const struct nr_activity_state *state = &slot->activity->state;
            if (!has_state(state)) continue;
            entries[count++] =
                (struct nr_heat_entry){(uint32_t)level,      slot->start,           state->read_rate,
                                       state->write_rate,    state->scan_rate,      state->probes_per_read,
                                       state->bytes_arrived, state->bytes_rewritten};
        }
    }
    return count;
}

/* What is to be in HEAT, with the bytes that it borrows. */
struct saving {
    struct nr_heat_content content; /* Entries owned. */
    struct nr_buffer learned, writes, reads;
};

static void saving_clear(struct saving *saving)
{
    nr_free(saving->content.entries);
    nr_buffer_clear(&saving->learned);
    nr_buffer_clear(&saving->writes);
    nr_buffer_clear(&saving->reads);
}

/* Under the engine's lock. */
static nori_status gather(struct nori_engine *engine, const struct nr_version *version, struct saving *saving,
                          struct nori_error *err)
{
    nori_status rc = NORI_OK;
    fold_all(engine, version, nr_env_monotonic_us(engine->env));
    saving->content.count = list_entries(version, saving->content.entries);
    if (engine->scheduler.spread.weight > 0) NR_CHECK(nr_scheduler_encode(&engine->scheduler, &saving->learned, err));
    NR_CHECK(nr_learn_encode(engine, &saving->writes, &saving->reads, err));
    saving->content.blob = nr_buffer_slice(&saving->learned);
    if (saving->writes.size > 0) saving->content.sections[NR_HEAT_WRITES] = nr_buffer_slice(&saving->writes);
    if (saving->reads.size > 0) saving->content.sections[NR_HEAT_READS] = nr_buffer_slice(&saving->reads);
out:
    return rc;
}

static nori_status save(struct nori_engine *engine, const struct nr_version *version, struct nori_error *err)
{
    struct saving saving = {0};
    nori_status rc = NORI_OK;
    size_t capacity = count_slots(version);
    saving.content.entries = nr_alloc((capacity + 1) * sizeof *saving.content.entries);
    if (!saving.content.entries) return nr_fail_memory(err, capacity * sizeof *saving.content.entries);
    nr_mutex_lock(&engine->lock);
    rc = gather(engine, version, &saving, err);
    nr_mutex_unlock(&engine->lock);
    bool is_empty = saving.content.count == 0 && saving.learned.size + saving.writes.size + saving.reads.size == 0;
    if (rc == NORI_OK && !is_empty) rc = nr_heat_file_write(engine->dir, engine->database_id, &saving.content, err);
    saving_clear(&saving);
    return rc;
}

void nr_heat_save(struct nori_engine *engine)
{
    if (engine->is_read_only || atomic_load(&engine->is_poisoned)) return;
    struct nr_view *view = nr_view_acquire(engine);
    engine->heat_saved_us = nr_env_monotonic_us(engine->env);
    if (save(engine, view->version, NULL) != NORI_OK) {
        /* What is lost is learned anew. */
    }
    nr_view_release(view);
}

void nr_heat_maintain(struct nori_engine *engine, uint64_t now_us)
{
    nr_heat_fold_due(engine);
    if (now_us - engine->heat_saved_us >= SAVE_INTERVAL_US) nr_heat_save(engine);
}

static void restore(const struct nr_version *version, const struct nr_heat_entry *entry)
{
    if (entry->level >= version->level_count) return;
    struct nr_slot *slot = nr_level_find(version->levels[entry->level], entry->start);
    if (!nr_slice_equal(slot->start, entry->start)) return; /* Its guard went before the end. */
    struct nr_activity_state *state = &slot->activity->state;
    state->read_rate = entry->read_rate;
    state->write_rate = entry->write_rate;
    state->scan_rate = entry->scan_rate;
    state->probes_per_read = entry->probes_per_read;
    /* The log was replayed before: what that flushed is counted already. */
    state->bytes_arrived += entry->bytes_arrived;
    state->bytes_rewritten += entry->bytes_rewritten;
}

void nr_heat_load(struct nori_engine *engine)
{
    struct nr_heat_file file;
    const struct nr_version *version = nr_view_peek(engine)->version;
    engine->heat_folded_us = engine->heat_saved_us = nr_env_monotonic_us(engine->env);
    nori_status rc = nr_heat_file_read(engine->dir, engine->database_id, &file, NULL);
    if (rc == NORI_OK) { /* Else there is none, or a damaged one: all is learned anew. */
        for (size_t i = 0; i < file.content.count; i++) restore(version, &file.content.entries[i]);
        (void)nr_scheduler_decode(&engine->scheduler, file.content.blob);
        nr_learn_decode(engine, file.content.sections[NR_HEAT_WRITES], file.content.sections[NR_HEAT_READS]);
    }
    nr_heat_file_clear(&file);
}

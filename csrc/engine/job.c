/* Jobs: what is compacted next, which slots it locks, and what came of it.
 *
 * The planner proposes, the scheduler chooses, under engine.lock. What a choice brought is measured an interval later:
 * runs that a read of the slot looks at before and after, times its reads, by byte written (design 5). */
#include "engine/engine.h"

#include "base/alloc.h"

#define RETRY_US 200000
/* A scan looks into every run of a slot, whatever filters say. */
#define SCAN_WEIGHT 4.0
/* What an edit costs, as bytes: a proposal that writes nothing else is not for free. */
#define EDIT_BYTES 4096.0

/* ---------------------------------------------------------------- locks */

static bool add_busy(struct nr_job *job, uint32_t level, const struct nr_slot *slot)
{
    struct nr_busy_slot *grown = nr_realloc(job->busy, (job->busy_count + 1) * sizeof *grown);
    if (!grown) return false;
    job->busy = grown;
    job->busy[job->busy_count++] = (struct nr_busy_slot){level, slot->slot_id, slot->start, slot->end};
    return true;
}

/* The slots a plan reads or replaces. New guards touch the slots below, too. */
static bool list_busy(struct nr_job *job, const struct nr_plan *plan)
{
    if (plan->action == NR_ACTION_MERGE_L0) return true;
    if (nr_action_moves_guards(plan->action)) {
        job->range = (struct nr_busy_range){plan->source_level, plan->start, plan->end};
        job->has_range = true;
        return true;
    }
    if (!add_busy(job, plan->action == NR_ACTION_ADMIT ? 1 : plan->source_level, plan->slot)) return false;
    for (size_t i = 0; i < plan->target_count && plan->action == NR_ACTION_PROMOTE; i++)
        if (!add_busy(job, plan->target_level, plan->targets[i].slot)) return false;
    return true;
}

static bool is_in(const struct nr_busy_slot *list, size_t count, uint32_t level, uint64_t slot_id)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].level == level && list[i].slot_id == slot_id) return true;
    return false;
}

static bool has_locked(const struct nr_job *job, const struct nr_busy_slot *slot)
{
    return is_in(job->busy, job->busy_count, slot->level, slot->slot_id) ||
           (job->has_range && nr_busy_range_covers(&job->range, slot->level, slot->start, slot->end));
}

static bool is_locked(const struct nori_engine *engine, const struct nr_busy_slot *slot)
{
    for (const struct nr_job *job = engine->jobs; job; job = job->next)
        if (has_locked(job, slot)) return true;
    return false;
}

bool nr_job_is_busy(const struct nori_engine *engine, const struct nr_slot *slot)
{
    return is_locked(engine, &(struct nr_busy_slot){slot->level, slot->slot_id, slot->start, slot->end});
}

static bool takes_from_l0(const struct nr_plan *plan)
{
    return plan->action == NR_ACTION_ADMIT || plan->l0_count > 0;
}

/* Whether a running job has locked what the plan would touch. A merge inside level 0 and admissions keep out of each
 * other's time: its run may span gaps between its inputs only while nothing newer is admitted below them. */
static bool conflicts(const struct nori_engine *engine, const struct nr_job *job)
{
    for (const struct nr_job *other = engine->jobs; other; other = other->next) {
        bool merges = other->plan.action == NR_ACTION_MERGE_L0;
        if (job->plan.action == NR_ACTION_MERGE_L0 && (merges || takes_from_l0(&other->plan))) return true;
        if (takes_from_l0(&job->plan) && merges) return true;
    }
    for (size_t i = 0; i < job->busy_count; i++)
        if (is_locked(engine, &job->busy[i])) return true;
    for (const struct nr_job *other = engine->jobs; other && job->has_range; other = other->next) {
        for (size_t i = 0; i < other->busy_count; i++)
            if (has_locked(job, &other->busy[i])) return true;
        /* Both go down to the last level. */
        if (other->has_range && nr_busy_range_covers(&other->range, NORI_MAX_LEVELS, job->range.start, job->range.end))
            return true;
    }
    return false;
}

/* What running jobs have locked: '*memory_out' holds it, slots sorted. */
static nori_status collect_busy(const struct nori_engine *engine, struct nr_plan_view *view, void **memory_out,
                                struct nori_error *err)
{
    size_t slot_count = 0, job_count = 0;
    for (const struct nr_job *job = engine->jobs; job; job = job->next, job_count++) slot_count += job->busy_count;
    size_t bytes = (slot_count + 1) * sizeof(struct nr_busy_slot) + job_count * sizeof(struct nr_busy_range);
    struct nr_busy_slot *slots = nr_alloc(bytes);
    if (!slots) return nr_fail_memory(err, bytes);
    struct nr_busy_range *ranges = (struct nr_busy_range *)(slots + slot_count + 1);
    view->busy_count = view->range_count = 0;
    for (const struct nr_job *job = engine->jobs; job; job = job->next) {
        if (job->busy_count) memcpy(slots + view->busy_count, job->busy, job->busy_count * sizeof *slots);
        view->busy_count += job->busy_count;
        if (job->has_range) ranges[view->range_count++] = job->range;
    }
    nr_busy_sort(slots, view->busy_count);
    view->busy = slots;
    view->ranges = ranges;
    *memory_out = slots;
    return NORI_OK;
}

/* ---------------------------------------------------------------- candidates */

/* How a level's accesses lie on its bytes. */
struct level_rates {
    double bytes, reads, writes, scans;
};

static struct level_rates measure_level(const struct nr_level *level)
{
    struct level_rates rates = {.bytes = 1};
    for (size_t i = 0; i < level->slot_count; i++) {
        const struct nr_slot *slot = nr_level_slot(level, i);
        const struct nr_activity_state *state = &slot->activity->state;
        rates.bytes += (double)slot->bytes;
        rates.reads += state->read_rate;
        rates.writes += state->write_rate;
        rates.scans += state->scan_rate;
    }
    return rates;
}

/* 0 to 1: one half where the slot's bytes are accessed like the level's on the whole. */
static double relative_heat(double rate, double bytes, double level_rate, double level_bytes)
{
    double here = rate * level_bytes, mean = level_rate * bytes;
    return here + mean > 0 ? here / (here + mean) : 0;
}

static double clamp(double value)
{
    return value < 0 ? 0 : value > 1 ? 1 : value;
}

/* What the proposals of one choice share. 'rates' of a level that has bytes were measured. */
struct outlook {
    const struct nr_plan_view *view;
    size_t l0_depth;
    struct level_rates rates[NORI_MAX_LEVELS];
};

static const struct level_rates *rates_of(struct outlook *outlook, uint32_t level)
{
    struct level_rates *rates = &outlook->rates[level];
    if (rates->bytes <= 0) *rates = measure_level(outlook->view->version->levels[level]);
    return rates;
}

static void describe(const struct nori_engine *engine, struct outlook *outlook, const struct nr_proposal *proposal,
                     struct nr_candidate *candidate)
{
    const struct nori_options *options = &engine->options;
    const struct nr_slot *slot = proposal->slot;
    double *features = candidate->features, reads = 0;
    uint64_t deletes = 0;
    *candidate = (struct nr_candidate){.action = proposal->action, .level = slot->level, .slot_id = slot->slot_id};
    candidate->bytes = proposal->bytes;
    /* Among equally urgent ones what gains the most comes first. */
    candidate->urgency = proposal->urgency + (proposal->urgency >= 1 ? 0.01 * clamp(proposal->gain / 2) : 0);
    features[NR_FEATURE_L0_DEPTH] = clamp((double)outlook->l0_depth / (double)options->l0.max_files);
    features[NR_FEATURE_PRESSURE] = clamp(engine->pressure_score);
    if (slot->level > 0) {
        uint32_t k_max = nr_planner_slot_k(options, slot);
        const struct level_rates *rates = rates_of(outlook, slot->level);
        const struct nr_activity_state *state = &slot->activity->state;
        double bytes = (double)slot->bytes + 1;
        reads = state->read_rate + SCAN_WEIGHT * state->scan_rate;
        for (size_t i = 0; i < slot->run_count; i++) deletes += slot->runs[i]->deletes + slot->runs[i]->ranges;
        features[NR_FEATURE_RUNS_OVER_K] =
            slot->run_count > k_max ? clamp((double)(slot->run_count - k_max) / (double)options->k_global) : 0;
        features[NR_FEATURE_SIZE] = clamp(bytes / 2 / (double)nr_planner_slot_share(options, slot->level));
        features[NR_FEATURE_READ_HEAT] = relative_heat(state->read_rate, bytes, rates->reads, rates->bytes);
        features[NR_FEATURE_WRITE_HEAT] = relative_heat(state->write_rate, bytes, rates->writes, rates->bytes);
        features[NR_FEATURE_SCAN_HEAT] = relative_heat(state->scan_rate, bytes, rates->scans, rates->bytes);
        features[NR_FEATURE_TOMBSTONES] = slot->entries ? clamp((double)deletes / (double)slot->entries) : 0;
    }
    candidate->predicted = (double)proposal->probes * reads / ((double)proposal->bytes + EDIT_BYTES);
}

/* ---------------------------------------------------------------- choosing */

/* The job's other moves: as many as do not touch each other, by one edit. Without memory it stays at what there is. */
static void add_moves(const struct nori_engine *engine, const struct nr_plan_view *view, struct nr_job *job,
                      const struct nr_proposal *proposals, size_t count, size_t chosen)
{
    struct nr_plan *plan = NULL;
    if (!proposals[chosen].is_move) return;
    for (size_t i = 0; i < count; i++) {
        size_t busy_count = job->busy_count;
        bool is_free = true;
        if (i == chosen || !proposals[i].is_move || proposals[i].action != proposals[chosen].action) continue;
        struct nr_plan *grown = nr_realloc(job->more, (job->more_count + 1) * sizeof *grown);
        if (!grown) return;
        job->more = grown;
        plan = &job->more[job->more_count];
        nr_planner_build(view, &proposals[i], plan);
        if (!list_busy(job, plan)) is_free = false;
        for (size_t j = busy_count; j < job->busy_count && is_free; j++) {
            is_free = !is_in(job->busy, busy_count, job->busy[j].level, job->busy[j].slot_id) &&
                      !is_locked(engine, &job->busy[j]);
        }
        if (is_free)
            job->more_count++;
        else
            job->busy_count = busy_count;
    }
}

/* Whether another proposal does the same at the same level for a greater gain: where no reads speak for one or the
 * other, that one goes first. */
static bool is_outdone(const struct nr_proposal *proposals, const struct nr_candidate *candidates, size_t count,
                       size_t index)
{
    const struct nr_proposal *proposal = &proposals[index];
    if (proposal->urgency >= 1 || candidates[index].predicted > 0) return false;
    for (size_t i = 0; i < count; i++) {
        const struct nr_proposal *other = &proposals[i];
        bool is_alike = other->action == proposal->action && other->slot->level == proposal->slot->level;
        if (is_alike && (other->gain > proposal->gain || (!(other->gain < proposal->gain) && i < index))) return true;
    }
    return false;
}

/* Chooses among what is proposed; job->plan is of NR_ACTION_NONE if that is nothing, or nothing that may run. */
static nori_status choose_for(struct nori_engine *engine, const struct nr_plan_view *view, struct nr_job *job,
                              struct nori_error *err)
{
    struct nr_proposal proposals[NR_PLAN_MAX_PROPOSALS];
    struct nr_candidate candidates[NR_PLAN_MAX_PROPOSALS];
    size_t count = nr_planner_propose(view, proposals);
    struct outlook outlook = {.view = view, .l0_depth = nr_version_l0_depth(view->version)};
    for (size_t i = 0; i < count; i++) describe(engine, &outlook, &proposals[i], &candidates[i]);
    for (size_t i = count; i-- > 0;) {
        if (!is_outdone(proposals, candidates, count, i)) continue;
        count--;
        proposals[i] = proposals[count];
        candidates[i] = candidates[count];
    }
    if (count == 0) return NORI_OK;
    struct nr_choice choice = nr_scheduler_choose(&engine->scheduler, candidates, count, &engine->random);
    const struct nr_proposal *proposal = &proposals[choice.index];
    nr_planner_build(view, proposal, &job->plan);
    if (!list_busy(job, &job->plan)) return nr_fail_memory(err, sizeof *job->busy);
    if (conflicts(engine, job)) {
        job->plan.action = NR_ACTION_NONE;
        job->busy_count = 0;
        job->has_range = false;
        return NORI_OK;
    }
    add_moves(engine, view, job, proposals, count, choice.index);
    job->record = nr_scheduler_record(&candidates[choice.index], &choice);
    job->is_rewarded = candidates[choice.index].predicted > 0;
    job->decision_id = nr_decision_begin_of(engine, &job->plan, &candidates[choice.index], &choice);
    return NORI_OK;
}

static void look(struct nori_engine *engine, const struct nr_version *version, struct nr_plan_view *view)
{
    struct nr_moment oldest = nr_moment_oldest(engine);
    uint64_t referenced = 0, file_bytes = atomic_load_explicit(&engine->file_bytes, memory_order_relaxed);
    for (size_t level = 0; level < version->level_count; level++) referenced += version->levels[level]->bytes;
    view->now_ms = oldest.now_ms;
    view->oldest_moment_sequence = oldest.sequence;
    view->unreferenced_bytes = file_bytes - NR_MIN(file_bytes, referenced);
    view->unsplittable = engine->unsplittable;
    view->unsplittable_count = engine->unsplittable_count;
    view->random = nr_random_next(&engine->random);
    if (engine->options.guards == NORI_GUARDS_LEARNED) {
        view->writes = engine->writes;
        view->reads = engine->reads;
    }
    for (const struct nr_job *other = engine->jobs; other; other = other->next) {
        if (other->plan.action != NR_ACTION_MERGE_L0) continue;
        const struct nr_slot *level0 = nr_version_level0(other->version);
        view->is_l0_merge_running = true;
        view->l0_merge_newest_id = level0->runs[other->plan.first_run]->run_id;
        view->l0_merge_oldest_id = level0->runs[other->plan.first_run + other->plan.run_count - 1]->run_id;
    }
}

nori_status nr_job_look_locked(struct nori_engine *engine, struct nr_version *version, struct nr_plan_view *view,
                               void **busy_out, struct nori_error *err)
{
    *busy_out = NULL;
    *view = (struct nr_plan_view){.version = version, .options = &engine->options};
    nori_status rc = collect_busy(engine, view, busy_out, err);
    if (rc != NORI_OK) return rc;
    look(engine, version, view);
    return NORI_OK;
}

/* Manual compactions first. */
static nori_status choose(struct nori_engine *engine, struct nr_job *job, struct nori_error *err)
{
    struct nr_plan_view view;
    void *busy = NULL;
    nori_status rc = nr_job_look_locked(engine, job->version, &view, &busy, err);
    if (rc != NORI_OK) return rc;
    job->plan.action = NR_ACTION_NONE;
    view.is_manual = true;
    for (struct nr_manual *manual = engine->manuals; manual && job->plan.action == NR_ACTION_NONE && rc == NORI_OK;
         manual = manual->next) {
        view.manual_start = manual->start;
        view.manual_end = manual->end;
        rc = choose_for(engine, &view, job, err);
    }
    view.is_manual = false;
    if (job->plan.action == NR_ACTION_NONE && rc == NORI_OK) rc = choose_for(engine, &view, job, err);
    nr_free(busy);
    return rc;
}

/* ---------------------------------------------------------------- beginning and end */

static void job_destroy(struct nr_job *job)
{
    if (!job) return;
    nr_version_unref(job->version);
    nr_free(job->busy);
    nr_free(job->more);
    nr_buffer_clear(&job->from);
    nr_free(job);
}

nori_status nr_job_begin(struct nori_engine *engine, struct nr_job **job_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    *job_out = NULL;
    struct nr_job *job = nr_calloc(1, sizeof *job);
    if (!job) return nr_fail_memory(err, sizeof *job);
    nr_mutex_lock(&engine->lock);
    bool may = !engine->is_stopping && !engine->is_compaction_paused && !atomic_load(&engine->is_poisoned);
    may = may && nr_env_monotonic_us(engine->env) >= engine->compaction_retry_us;
    if (may) {
        struct nr_view *view = nr_view_acquire(engine);
        job->version = nr_version_ref(view->version);
        nr_view_release(view);
        nr_heat_fold_locked(engine, job->version);
        rc = choose(engine, job, err);
        if (rc == NORI_OK && job->plan.action != NR_ACTION_NONE) *job_out = job;
    }
    if (*job_out) {
        job->begun_us = nr_env_monotonic_us(engine->env);
        job->next = engine->jobs;
        engine->jobs = job;
    }
    nr_mutex_unlock(&engine->lock);
    if (!*job_out) job_destroy(job);
    return rc;
}

/* Under engine.lock. Its reward is measured an interval from now. */
static void expect_reward(struct nori_engine *engine, const struct nr_job *job)
{
    const struct nr_slot *slot = job->plan.slot;
    struct nr_reward *reward = &engine->rewards[engine->reward_next];
    if (!job->is_rewarded || slot->level == 0) return;
    engine->reward_next = (engine->reward_next + 1) % NR_MAX_REWARDS;
    nr_activity_unref(reward->activity); /* One that was never measured, because there were too many. */
    *reward = (struct nr_reward){.activity = nr_activity_ref(slot->activity), .record = job->record};
    reward->decision_id = job->decision_id;
    reward->probes_before = slot->activity->state.probes_per_read;
    reward->bytes = (double)job->bytes_out + EDIT_BYTES;
    reward->due_us = nr_env_monotonic_us(engine->env) + (uint64_t)(engine->options.heat_decay_interval_secs * 1e6);
}

void nr_rewards_measure_locked(struct nori_engine *engine, uint64_t now_us)
{
    for (size_t i = 0; i < NR_MAX_REWARDS; i++) {
        struct nr_reward *reward = &engine->rewards[i];
        if (!reward->activity || now_us < reward->due_us) continue;
        const struct nr_activity_state *state = &reward->activity->state;
        double fallen = reward->probes_before - state->probes_per_read;
        double realised = NR_MAX(fallen, 0) * (state->read_rate + SCAN_WEIGHT * state->scan_rate) / reward->bytes;
        nr_scheduler_reward(&engine->scheduler, &reward->record, realised);
        nr_decision_reward(engine, reward->decision_id, realised);
        nr_activity_unref(reward->activity);
        reward->activity = NULL;
    }
}

void nr_rewards_drop(struct nori_engine *engine)
{
    for (size_t i = 0; i < NR_MAX_REWARDS; i++) {
        nr_activity_unref(engine->rewards[i].activity);
        engine->rewards[i].activity = NULL;
    }
}

void nr_job_end(struct nori_engine *engine, struct nr_job *job, nori_status status, const struct nori_error *error)
{
    if (status == NORI_OK)
        nr_event_note_job(engine, job);
    else if (status != NORI_CLOSED)
        nr_event_failure(engine, nr_action_name(job->plan.action), error);
    nr_mutex_lock(&engine->lock);
    struct nr_job **link = &engine->jobs;
    while (*link != job) link = &(*link)->next;
    *link = job->next;
    if (status != NORI_OK && status != NORI_CLOSED) {
        engine->compaction_attempts++;
        engine->compaction_error = *error;
        engine->compaction_retry_us = nr_env_monotonic_us(engine->env) + RETRY_US;
        engine->idle_round = 0; /* There is work. */
    }
    nr_pressure_note_space(engine, status, error);
    if (status == NORI_OK) {
        expect_reward(engine, job);
        nr_pressure_work_ended(engine);
    }
    nr_cond_broadcast(&engine->done_cond);
    nr_mutex_unlock(&engine->lock);
    job_destroy(job);
}

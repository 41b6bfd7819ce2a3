/* Carrying out the planner's plans: inputs and what lies below gathered, merged, installed. */
#include "engine/engine.h"

#include "base/alloc.h"

#define RETRY_US 200000

/* ---------------------------------------------------------------- choosing */

static bool add_busy(struct nr_job *job, uint32_t level, const struct nr_slot *slot)
{
    struct nr_busy_slot *grown = nr_realloc(job->busy, (job->busy_count + 1) * sizeof *grown);
    if (!grown) return false;
    job->busy = grown;
    job->busy[job->busy_count++] = (struct nr_busy_slot){level, slot->slot_id};
    return true;
}

/* The slots a plan reads or replaces. New guards touch the slots below, too. */
static bool list_busy(struct nr_job *job)
{
    const struct nr_plan *plan = &job->plan;
    const struct nr_version *version = job->version;
    if (plan->action == NR_ACTION_MERGE_L0) return true;
    if (!add_busy(job, plan->action == NR_ACTION_ADMIT ? 1 : plan->source_level, plan->slot)) return false;
    for (size_t i = 0; i < plan->target_count && plan->action == NR_ACTION_PROMOTE; i++)
        if (!add_busy(job, plan->target_level, plan->targets[i].slot)) return false;
    if (plan->action != NR_ACTION_SPLIT && plan->action != NR_ACTION_JOIN) return true;
    for (size_t level = plan->source_level; level < version->level_count; level++) {
        const struct nr_level *below = version->levels[level];
        for (size_t i = nr_level_seek(below, plan->start); i < below->slot_count; i++) {
            struct nr_slot *slot = nr_level_slot(below, i);
            if (!nr_bound_above(plan->end, slot->start)) break;
            if (slot == plan->slot) continue; /* Listed. */
            if (!add_busy(job, (uint32_t)level, slot)) return false;
        }
    }
    return true;
}

static bool is_taken(const struct nori_engine *engine, const struct nr_busy_slot *slot)
{
    for (const struct nr_job *job = engine->jobs; job; job = job->next)
        for (size_t i = 0; i < job->busy_count; i++)
            if (job->busy[i].level == slot->level && job->busy[i].slot_id == slot->slot_id) return true;
    return false;
}

/* Whether a running job has locked what the plan would touch. A merge inside level 0 and admissions keep out of each
 * other's time: its run may span gaps between its inputs only while nothing newer is admitted below them. */
static bool conflicts(const struct nori_engine *engine, const struct nr_job *job)
{
    for (const struct nr_job *other = engine->jobs; other; other = other->next) {
        bool merges = other->plan.action == NR_ACTION_MERGE_L0, admits = other->plan.action == NR_ACTION_ADMIT;
        if (job->plan.action == NR_ACTION_MERGE_L0 && (merges || admits)) return true;
        if (job->plan.action == NR_ACTION_ADMIT && merges) return true;
    }
    for (size_t i = 0; i < job->busy_count; i++)
        if (is_taken(engine, &job->busy[i])) return true;
    return false;
}

/* Under engine.lock. The slots of running jobs, in one array. */
static nori_status collect_busy(const struct nori_engine *engine, struct nr_busy_slot **busy_out, size_t *count_out,
                                struct nori_error *err)
{
    size_t count = 0;
    for (const struct nr_job *job = engine->jobs; job; job = job->next) count += job->busy_count;
    struct nr_busy_slot *busy = nr_alloc((count + 1) * sizeof *busy);
    if (!busy) return nr_fail_memory(err, count * sizeof *busy);
    *count_out = 0;
    for (const struct nr_job *job = engine->jobs; job; job = job->next) {
        if (job->busy_count) memcpy(busy + *count_out, job->busy, job->busy_count * sizeof *busy);
        *count_out += job->busy_count;
    }
    *busy_out = busy;
    return NORI_OK;
}

/* Under engine.lock: the best plan, into job->plan. */
static nori_status choose(struct nori_engine *engine, struct nr_job *job, struct nori_error *err)
{
    struct nr_plan_view view = {.version = job->version, .options = &engine->options};
    struct nr_busy_slot *busy = NULL;
    nori_status rc = collect_busy(engine, &busy, &view.busy_count, err);
    if (rc != NORI_OK) return rc;
    view.busy = busy;
    struct nr_moment oldest = nr_moment_oldest(engine);
    view.now_ms = oldest.now_ms;
    view.oldest_moment_sequence = oldest.sequence;
    uint64_t referenced = 0, file_bytes = atomic_load_explicit(&engine->file_bytes, memory_order_relaxed);
    for (size_t level = 0; level < job->version->level_count; level++) referenced += job->version->levels[level]->bytes;
    view.unreferenced_bytes = file_bytes - NR_MIN(file_bytes, referenced);
    view.unsplittable = engine->unsplittable;
    view.unsplittable_count = engine->unsplittable_count;
    view.random = nr_random_next(&engine->random);
    if (engine->options.guards == NORI_GUARDS_LEARNED) {
        view.writes = engine->writes;
        view.reads = engine->reads;
    }
    for (const struct nr_job *other = engine->jobs; other; other = other->next) {
        if (other->plan.action != NR_ACTION_MERGE_L0) continue;
        const struct nr_slot *level0 = nr_version_level0(other->version);
        view.is_l0_merge_running = true;
        view.l0_merge_newest_id = level0->runs[other->plan.first_run]->run_id;
        view.l0_merge_oldest_id = level0->runs[other->plan.first_run + other->plan.run_count - 1]->run_id;
    }
    job->plan.action = NR_ACTION_NONE;
    for (struct nr_manual *manual = engine->manuals; manual && job->plan.action == NR_ACTION_NONE;
         manual = manual->next) {
        view.is_manual = true;
        view.manual_start = manual->start;
        view.manual_end = manual->end;
        nr_planner_choose(&view, &job->plan);
    }
    if (job->plan.action == NR_ACTION_NONE) {
        view.is_manual = false;
        nr_planner_choose(&view, &job->plan);
    }
    nr_free(busy);
    return NORI_OK;
}

static void job_destroy(struct nr_job *job)
{
    if (!job) return;
    nr_version_unref(job->version);
    nr_free(job->busy);
    nr_free(job);
}

/* A job that nobody else interferes with, listed as running; NULL if there is nothing to do. */
static nori_status begin_job(struct nori_engine *engine, struct nr_job **job_out, struct nori_error *err)
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
        if (rc == NORI_OK && job->plan.action != NR_ACTION_NONE) {
            if (!list_busy(job))
                rc = nr_fail_memory(err, sizeof *job->busy);
            else if (!conflicts(engine, job))
                *job_out = job;
        }
    }
    if (*job_out) {
        job->next = engine->jobs;
        engine->jobs = job;
    }
    nr_mutex_unlock(&engine->lock);
    if (!*job_out) job_destroy(job);
    return rc;
}

static void end_job(struct nori_engine *engine, struct nr_job *job, nori_status status, const struct nori_error *error)
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
    if (status == NORI_OK) nr_pressure_work_ended(engine);
    nr_cond_broadcast(&engine->done_cond);
    nr_mutex_unlock(&engine->lock);
    job_destroy(job);
}

/* ---------------------------------------------------------------- gathering */

/* What a merge needs, owned for its time. */
struct work {
    struct nr_merge_input *inputs;
    size_t input_count;
    struct nr_merge_target *targets;
    size_t target_count;
    struct nr_run **older; /* Borrowed runs. */
    size_t older_count, older_capacity;
    struct nr_moment *moments;
    size_t moment_count;
};

static void work_clear(struct work *work)
{
    for (size_t i = 0; i < work->target_count; i++) nr_run_unref(work->targets[i].run);
    nr_free(work->inputs);
    nr_free(work->targets);
    nr_free(work->older);
    nr_free(work->moments);
}

static struct nr_slot *source_slot(const struct nr_job *job)
{
    const struct nr_plan *plan = &job->plan;
    bool from_l0 = plan->action == NR_ACTION_ADMIT || plan->action == NR_ACTION_MERGE_L0;
    return from_l0 ? nr_version_level0(job->version) : plan->slot;
}

static nori_status add_older(struct work *work, struct nr_run *run, struct nori_error *err)
{
    if (work->older_count == work->older_capacity) {
        size_t capacity = work->older_capacity * 2 + 32;
        void *grown = nr_realloc(work->older, capacity * sizeof *work->older);
        if (!grown) return nr_fail_memory(err, capacity * sizeof *work->older);
        work->older = grown;
        work->older_capacity = capacity;
    }
    work->older[work->older_count++] = run;
    return NORI_OK;
}

/* All runs of the levels from 'level' on that overlap the range. */
static nori_status add_below(struct work *work, const struct nr_version *version, size_t level, nori_slice start,
                             struct nr_bound end, struct nori_error *err)
{
    for (; level < version->level_count; level++) {
        const struct nr_level *below = version->levels[level];
        for (size_t i = nr_level_seek(below, start); i < below->slot_count; i++) {
            struct nr_slot *slot = nr_level_slot(below, i);
            if (!nr_bound_above(end, slot->start)) break;
            for (size_t j = 0; j < slot->run_count; j++) {
                if (!nr_run_overlaps(slot->runs[j], start, end)) continue;
                nori_status rc = add_older(work, slot->runs[j], err);
                if (rc != NORI_OK) return rc;
            }
        }
    }
    return NORI_OK;
}

static void add_input(struct work *work, struct nr_run *run, nori_slice start, struct nr_bound end)
{
    if (nr_run_overlaps(run, start, end)) work->inputs[work->input_count++] = (struct nr_merge_input){run, start, end};
}

/* The merge's outputs: one per target slot; TIER, CLEAN and MERGE_L0 have one, the job's own range. */
static nori_status gather_targets(const struct nr_job *job, struct work *work, struct nori_error *err)
{
    const struct nr_plan *plan = &job->plan;
    nori_status rc = NORI_OK;
    work->targets = nr_calloc(plan->target_count + 1, sizeof *work->targets);
    if (!work->targets) return nr_fail_memory(err, plan->target_count * sizeof *work->targets);
    for (size_t i = 0; i < plan->target_count; i++) {
        struct nr_slot *slot = plan->targets[i].slot;
        size_t join = plan->targets[i].join_count;
        work->targets[work->target_count++] = (struct nr_merge_target){slot->slot_id, slot->start, slot->end, NULL};
        for (size_t j = 0; j < join; j++) add_input(work, slot->runs[j], slot->start, slot->end);
        for (size_t j = join; j < slot->run_count; j++) NR_CHECK(add_older(work, slot->runs[j], err));
    }
    if (plan->target_count == 0) {
        uint64_t slot_id = plan->action == NR_ACTION_MERGE_L0 ? 0 : plan->slot->slot_id;
        work->targets[work->target_count++] = (struct nr_merge_target){slot_id, plan->start, plan->end, NULL};
    }
out:
    return rc;
}

static nori_status gather(struct nori_engine *engine, const struct nr_job *job, struct work *work,
                          struct nori_error *err)
{
    const struct nr_plan *plan = &job->plan;
    struct nr_slot *source = source_slot(job);
    size_t behind = plan->first_run + plan->run_count, input_limit = plan->run_count;
    bool stays = plan->target_level == plan->source_level;
    nori_status rc = NORI_OK;
    for (size_t i = 0; i < plan->target_count; i++) input_limit += plan->targets[i].join_count;
    work->inputs = nr_calloc(input_limit + 1, sizeof *work->inputs);
    if (!work->inputs) return nr_fail_memory(err, input_limit * sizeof *work->inputs);
    for (size_t i = plan->first_run; i < behind; i++) add_input(work, source->runs[i], plan->start, plan->end);
    NR_CHECK(gather_targets(job, work, err));
    for (size_t i = behind; i < source->run_count && stays; i++) NR_CHECK(add_older(work, source->runs[i], err));
    NR_CHECK(add_below(work, job->version, plan->target_level + 1, plan->start, plan->end, err));
    NR_CHECK(nr_moments_collect(engine, &work->moments, &work->moment_count, err));
out:
    return rc;
}

/* ---------------------------------------------------------------- the edit */

/* A slot's runs with [first, first + count) replaced by 'run' (NULL: nothing). */
static nori_status set_runs(struct nr_edit *edit, const struct nr_slot *slot, size_t first, size_t count,
                            struct nr_run *run, struct nori_error *err)
{
    size_t new_count = 0;
    struct nr_run **runs = nr_alloc((slot->run_count + 1) * sizeof *runs);
    if (!runs) return nr_fail_memory(err, slot->run_count * sizeof *runs);
    for (size_t i = 0; i < first; i++) runs[new_count++] = slot->runs[i];
    if (run) runs[new_count++] = run;
    for (size_t i = first + count; i < slot->run_count; i++) runs[new_count++] = slot->runs[i];
    nori_status rc = nr_edit_set_slot(edit, slot->level, slot->start, slot->k_max, runs, new_count, err);
    nr_free(runs);
    return rc;
}

/* A slot's runs without what lies in the job's range of those the job takes. */
static nori_status cut_runs(const struct nr_job *job, struct nr_edit *edit, const struct nr_slot *slot,
                            struct nori_error *err)
{
    const struct nr_plan *plan = &job->plan;
    size_t count = 0, behind = plan->first_run + plan->run_count;
    nori_status rc = NORI_OK;
    struct nr_run **runs = nr_calloc(slot->run_count + 1, sizeof *runs);
    if (!runs) return nr_fail_memory(err, slot->run_count * sizeof *runs);
    for (size_t i = 0; i < slot->run_count; i++) {
        struct nr_run *rest = NULL;
        if (i < plan->first_run || i >= behind)
            rest = nr_run_ref(slot->runs[i]);
        else
            NR_CHECK(nr_run_subtract(slot->runs[i], plan->start, plan->end, &rest, err));
        if (rest) runs[count++] = rest;
    }
    NR_CHECK(nr_edit_set_slot(edit, slot->level, slot->start, slot->k_max, runs, count, err));
out:
    for (size_t i = 0; i < count; i++) nr_run_unref(runs[i]);
    nr_free(runs);
    return rc;
}

/* What the job takes away from where it was. */
static nori_status edit_source(const struct nr_job *job, struct nr_edit *edit, struct nr_run *merged,
                               struct nori_error *err)
{
    const struct nr_plan *plan = &job->plan;
    struct nr_slot *source = source_slot(job);
    struct nr_run **taken = &source->runs[plan->first_run];
    nori_status rc = NORI_OK;
    switch (plan->action) {
    case NR_ACTION_MERGE_L0:
        return nr_edit_merge_l0(edit, taken[0]->run_id, taken[plan->run_count - 1]->run_id, merged, err);
    case NR_ACTION_ADMIT:
        for (size_t i = 0; i < plan->run_count && rc == NORI_OK; i++) {
            if (nr_run_overlaps(taken[i], plan->start, plan->end))
                rc = nr_edit_subtract_l0(edit, taken[i]->run_id, plan->start, plan->end, err);
        }
        return rc;
    case NR_ACTION_PROMOTE:
        return cut_runs(job, edit, source, err);
    default:
        return set_runs(edit, source, plan->first_run, plan->run_count, merged, err);
    }
}

/* 'results': one run (or NULL) per target slot, or the one merged run of a job without target slots. */
static nori_status install_job(struct nori_engine *engine, const struct nr_job *job,
                               const struct nr_merge_target *results, size_t result_count, uint64_t first_number,
                               struct nori_error *err)
{
    const struct nr_plan *plan = &job->plan;
    struct nr_edit *edit = NULL;
    nori_status rc = NORI_OK;
    NR_CHECK(nr_edit_create(&edit, err));
    for (size_t i = 0; i < result_count; i++)
        NR_CHECK(nr_edit_add_files(engine, edit, results[i].run, first_number, err));
    NR_CHECK(edit_source(job, edit, plan->target_count == 0 ? results[0].run : NULL, err));
    for (size_t i = 0; i < plan->target_count; i++)
        NR_CHECK(set_runs(edit, plan->targets[i].slot, 0, plan->targets[i].join_count, results[i].run, err));
    nr_turn_take(engine);
    rc = nr_install(engine, edit, 0, err);
    nr_turn_give(engine);
    if (rc == NORI_OK) nr_heat_note_job(engine, plan, results, first_number);
out:
    nr_edit_destroy(edit);
    return rc;
}

/* ---------------------------------------------------------------- carrying out */

/* The one source run, clipped to each target, as it is. */
static nori_status move(struct nori_engine *engine, const struct nr_job *job, struct nori_error *err)
{
    const struct nr_plan *plan = &job->plan;
    struct nr_slot *source = source_slot(job);
    struct nr_run *run = NULL;
    struct work work = {0};
    nori_status rc = NORI_OK;
    for (size_t i = plan->first_run; i < plan->first_run + plan->run_count && !run; i++)
        if (nr_run_overlaps(source->runs[i], plan->start, plan->end)) run = source->runs[i];
    NR_CHECK(gather_targets(job, &work, err));
    for (size_t i = 0; i < work.target_count && run; i++) {
        struct nr_merge_target *target = &work.targets[i];
        NR_CHECK(nr_run_clip(run, target->start, target->end, engine->merging.next_run_id(engine), &target->run, err));
    }
    NR_CHECK(install_job(engine, job, work.targets, work.target_count, UINT64_MAX, err));
out:
    work_clear(&work);
    return rc;
}

static nori_status merge(struct nori_engine *engine, struct nr_job *job, struct nori_error *err)
{
    struct work work = {0};
    struct nr_merge_job merging = {0};
    nori_status rc = NORI_OK;
    NR_CHECK(gather(engine, job, &work, err));
    merging.inputs = work.inputs;
    merging.input_count = work.input_count;
    merging.targets = work.targets;
    merging.target_count = work.target_count;
    merging.level = job->plan.target_level;
    merging.older = work.older;
    merging.older_count = work.older_count;
    merging.moments = work.moments;
    merging.moment_count = work.moment_count;
    merging.created_ms = nr_engine_now_ms(engine);
    NR_CHECK(nr_merge_execute(&engine->merging, &merging, err));
    job->bytes_in = merging.bytes_read;
    job->bytes_out = merging.bytes_written;
    atomic_fetch_add_explicit(&engine->compaction_bytes_written, merging.bytes_written, memory_order_relaxed);
    atomic_fetch_add_explicit(&engine->compaction_bytes_read, merging.bytes_read, memory_order_relaxed);
    NR_CHECK(install_job(engine, job, work.targets, work.target_count, merging.first_number, err));
out:
    /* Outputs that were not installed become unreferenced here: unlinked, unless the manifest may name them after all.
     */
    work_clear(&work);
    return rc;
}

static nori_status move_guards(struct nori_engine *engine, const struct nr_job *job, struct nori_error *err)
{
    bool is_join = job->plan.action == NR_ACTION_JOIN;
    nr_turn_take(engine);
    nori_status rc = is_join ? nr_join_install(engine, &job->plan, err) : nr_split_install(engine, &job->plan, err);
    nr_turn_give(engine);
    return rc;
}

nori_status nr_compact_once(struct nori_engine *engine, bool *done_out, struct nori_error *err)
{
    struct nr_job *job = NULL;
    struct nori_error own;
    if (!err) err = &own;
    *done_out = false;
    nori_status rc = begin_job(engine, &job, err);
    if (rc != NORI_OK || !job) return rc;
    job->begun_us = nr_env_monotonic_us(engine->env);
    job->decision_id = nr_decision_of_plan(engine, &job->plan);
    if (job->plan.action == NR_ACTION_SPLIT || job->plan.action == NR_ACTION_JOIN)
        rc = move_guards(engine, job, err);
    else
        rc = job->plan.is_move ? move(engine, job, err) : merge(engine, job, err);
    end_job(engine, job, rc, err);
    if (rc != NORI_OK) return rc;
    *done_out = true;
    nr_obsolete_unlink(engine);
    return NORI_OK;
}

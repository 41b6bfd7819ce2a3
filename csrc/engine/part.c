/* Merges in parts: how a job goes on behind what it has installed, and when it does not. */
#include "engine/engine.h"

#include "base/alloc.h"

/* Slots that a job has locked keep their guards and ids. */
static struct nr_slot *find_again(const struct nr_version *version, const struct nr_slot *slot)
{
    struct nr_slot *found = nr_level_find(version->levels[slot->level], slot->start);
    NR_ASSERT(found->slot_id == slot->slot_id);
    return found;
}

/* How many are left of 'count' runs of a slot of which nobody else changes any. */
static size_t count_left(const struct nr_slot *old, size_t count, const struct nr_slot *slot)
{
    return slot->run_count - (old->run_count - count);
}

/* Level 0 is not locked: flushes put runs before the plan's, other admissions take some away. */
static void find_l0_runs(const struct nr_slot *old, const struct nr_slot *level0, size_t *first_run, size_t *run_count)
{
    size_t first = 0, count = 0;
    for (size_t i = 0; i < level0->run_count; i++) {
        bool is_of_plan = false;
        for (size_t j = *first_run; j < *first_run + *run_count && !is_of_plan; j++)
            is_of_plan = old->runs[j]->run_id == level0->runs[i]->run_id;
        if (!is_of_plan) continue;
        if (count == 0) first = i;
        count = i + 1 - first;
    }
    *first_run = first;
    *run_count = count;
}

/* Under engine.lock. */
static void plan_rest(const struct nr_version *version, struct nr_job *job)
{
    struct nr_plan *plan = &job->plan;
    struct nr_slot *slot = find_again(version, plan->slot);
    size_t kept = 0;
    const struct nr_slot *before = nr_version_level0(job->version), *level0 = nr_version_level0(version);
    find_l0_runs(before, level0, &plan->l0_first, &plan->l0_count);
    if (plan->action == NR_ACTION_ADMIT)
        find_l0_runs(before, level0, &plan->first_run, &plan->run_count);
    else
        plan->run_count = count_left(plan->slot, plan->run_count, slot);
    plan->slot = slot;
    plan->start = nr_buffer_slice(&job->from);
    plan->end = slot->end;
    for (size_t i = 0; i < plan->target_count; i++) {
        struct nr_plan_target target = plan->targets[i];
        struct nr_slot *found = find_again(version, target.slot);
        if (!nr_bound_above(found->end, plan->start)) continue; /* It is done. */
        target.join_count = count_left(target.slot, target.join_count, found);
        target.slot = found;
        plan->targets[kept++] = target;
    }
    plan->target_count = kept;
}

/* The ranges of what is locked are the version's. Under engine.lock. */
static void borrow_anew(const struct nr_version *version, struct nr_job *job)
{
    for (size_t i = 0; i < job->busy_count; i++) {
        struct nr_busy_slot *busy = &job->busy[i];
        const struct nr_slot *slot = nr_level_find(version->levels[busy->level], busy->start);
        NR_ASSERT(slot->slot_id == busy->slot_id);
        busy->start = slot->start;
        busy->end = slot->end;
    }
}

void nr_part_advance(struct nori_engine *engine, struct nr_job *job, struct nr_buffer *end)
{
    struct nr_buffer old = job->from;
    struct nr_view *view = nr_view_acquire(engine);
    struct nr_version *before = job->version;
    nr_mutex_lock(&engine->lock);
    job->from = *end;
    plan_rest(view->version, job);
    borrow_anew(view->version, job);
    job->version = nr_version_ref(view->version);
    nr_mutex_unlock(&engine->lock);
    *end = old; /* For the caller to free. */
    nr_version_unref(before);
    nr_view_release(view);
}

static bool is_of_job(const struct nr_job *job, uint32_t level, uint64_t slot_id)
{
    for (size_t i = 0; i < job->busy_count; i++)
        if (job->busy[i].level == level && job->busy[i].slot_id == slot_id) return true;
    return false;
}

/* Whether something is proposed that helps a deep level 0, and is more urgent than the job. */
static bool has_relief(const struct nr_plan_view *view, const struct nr_job *job)
{
    struct nr_proposal proposals[NR_PLAN_MAX_PROPOSALS];
    size_t count = nr_planner_propose(view, proposals);
    for (size_t i = 0; i < count; i++) {
        const struct nr_proposal *proposal = &proposals[i];
        bool is_promote = proposal->action == NR_ACTION_PROMOTE && proposal->slot->level == 1;
        bool is_same = proposal->action == job->plan.action && proposal->slot->slot_id == job->plan.slot->slot_id;
        bool helps = proposal->action == NR_ACTION_ADMIT || proposal->action == NR_ACTION_MERGE_L0 || is_promote;
        if (helps && !is_same && proposal->urgency >= 1 && proposal->urgency > job->plan.score) return true;
    }
    return false;
}

/* Whether level 0 is as deep as slows writers down, and what helps waits for the job's worker, or for its slots. What
 * gives way has to be merged again with what arrives meanwhile: nothing less is worth that. Under engine.lock. */
static bool is_in_the_way(struct nori_engine *engine, const struct nr_job *job)
{
    struct nr_plan_view view;
    void *memory = NULL;
    size_t soft_depth = (size_t)NR_MIN(engine->options.l0.soft_throttle_threshold, engine->options.l0.max_files);
    size_t running = 0, others = 0;
    bool found = false;
    if (job->plan.action == NR_ACTION_ADMIT || nr_version_l0_depth(job->version) < soft_depth) return false;
    for (const struct nr_job *other = engine->jobs; other; other = other->next) running++;
    if (nr_job_look_locked(engine, job->version, &view, &memory, NULL) != NORI_OK) goto out;
    if (running < nr_workers_compaction_count(engine) && has_relief(&view, job)) goto out; /* Another takes it. */
    struct nr_busy_slot *busy = memory;
    for (size_t i = 0; i < view.busy_count; i++)
        if (!is_of_job(job, busy[i].level, busy[i].slot_id)) busy[others++] = busy[i];
    view.busy_count = others;
    found = has_relief(&view, job);
out:
    nr_free(memory);
    return found;
}

bool nr_part_gives_way(struct nori_engine *engine, const struct nr_job *job)
{
    nr_mutex_lock(&engine->lock);
    bool gives_way = engine->is_stopping || engine->is_compaction_paused || is_in_the_way(engine, job);
    nr_mutex_unlock(&engine->lock);
    return gives_way;
}

/* Carrying out the planner's plans: inputs and what lies below gathered, merged, installed.
 *
 * A merge is installed in parts, from one key to the next: what a part wrote takes the place of the inputs there, in
 * the run of the oldest of them, whose other keys stay beside it; the newer inputs lose these keys. So for each key the
 * runs of a slot stand in order of age after any part, and no slot has more of them than before or after the whole. */
#include "engine/engine.h"

#include "base/alloc.h"
#include "compact/output.h"

/* ---------------------------------------------------------------- gathering */

/* Borrowed runs. */
struct runs {
    struct nr_run **list; /* Owned. */
    size_t count, capacity;
};

/* What a merge needs and what came of it, owned until it is installed. */
struct nr_work {
    struct nr_merge_input *inputs;
    size_t input_count;
    struct nr_merge_target *targets;
    size_t target_count;
    struct runs older, newer;
    struct nr_moment *moments;
    size_t moment_count;
    uint64_t first_number; /* As in nr_merge_job. */
    bool is_part;          /* Likewise. */
    struct nr_buffer part_end;
};

void nr_job_release(struct nr_job *job)
{
    struct nr_work *work = job->work;
    if (!work) return;
    for (size_t i = 0; i < work->target_count; i++) nr_run_unref(work->targets[i].run);
    nr_free(work->inputs);
    nr_free(work->targets);
    nr_free(work->older.list);
    nr_free(work->newer.list);
    nr_free(work->moments);
    nr_buffer_clear(&work->part_end);
    nr_free(work);
    job->work = NULL;
}

static struct nr_slot *source_slot(const struct nr_version *version, const struct nr_plan *plan)
{
    bool from_l0 = plan->action == NR_ACTION_ADMIT || plan->action == NR_ACTION_MERGE_L0;
    return from_l0 ? nr_version_level0(version) : plan->slot;
}

static nori_status add_run(struct runs *runs, struct nr_run *run, struct nori_error *err)
{
    if (runs->count == runs->capacity) {
        size_t capacity = runs->capacity * 2 + 32;
        void *grown = nr_realloc(runs->list, capacity * sizeof *runs->list);
        if (!grown) return nr_fail_memory(err, capacity * sizeof *runs->list);
        runs->list = grown;
        runs->capacity = capacity;
    }
    runs->list[runs->count++] = run;
    return NORI_OK;
}

/* All runs of levels [first, last) that overlap the range. */
static nori_status add_levels(struct runs *runs, const struct nr_version *version, size_t first, size_t last,
                              nori_slice start, struct nr_bound end, struct nori_error *err)
{
    for (size_t level = first; level < last; level++) {
        const struct nr_level *slots = version->levels[level];
        for (size_t i = nr_level_seek(slots, start); i < slots->slot_count; i++) {
            struct nr_slot *slot = nr_level_slot(slots, i);
            if (!nr_bound_above(end, slot->start)) break;
            for (size_t j = 0; j < slot->run_count; j++) {
                if (!nr_run_overlaps(slot->runs[j], start, end)) continue;
                nori_status rc = add_run(runs, slot->runs[j], err);
                if (rc != NORI_OK) return rc;
            }
        }
    }
    return NORI_OK;
}

static void add_input(struct nr_work *work, struct nr_run *run, nori_slice start, struct nr_bound end)
{
    if (nr_run_overlaps(run, start, end)) work->inputs[work->input_count++] = (struct nr_merge_input){run, start, end};
}

/* The merge's outputs: one per target slot; TIER, CLEAN and MERGE_L0 have one, the job's own range, or two by age. */
static nori_status gather_targets(const struct nr_plan *plan, struct nr_work *work, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    work->targets = nr_calloc(plan->target_count + 2, sizeof *work->targets);
    if (!work->targets) return nr_fail_memory(err, plan->target_count * sizeof *work->targets);
    for (size_t i = 0; i < plan->target_count; i++) {
        struct nr_slot *slot = plan->targets[i].slot;
        size_t join = plan->targets[i].join_count;
        bool is_begun = nr_slice_compare(slot->start, plan->start) < 0;
        nori_slice start = is_begun ? plan->start : slot->start;
        work->targets[work->target_count++] = (struct nr_merge_target){slot->slot_id, start, slot->end, NULL};
        for (size_t j = 0; j < join; j++) add_input(work, slot->runs[j], start, slot->end);
        for (size_t j = join; j < slot->run_count; j++) NR_CHECK(add_run(&work->older, slot->runs[j], err));
    }
    if (plan->target_count == 0) {
        uint64_t slot_id = plan->action == NR_ACTION_MERGE_L0 ? 0 : plan->slot->slot_id;
        work->targets[work->target_count++] = (struct nr_merge_target){slot_id, plan->start, plan->end, NULL};
    }
out:
    return rc;
}

static nori_status gather(struct nori_engine *engine, const struct nr_job *job, struct nr_work *work,
                          struct nori_error *err)
{
    const struct nr_plan *plan = &job->plan;
    struct nr_slot *source = source_slot(job->version, plan);
    size_t behind = plan->first_run + plan->run_count, input_limit = plan->run_count;
    bool stays = plan->target_level == plan->source_level;
    nori_status rc = NORI_OK;
    for (size_t i = 0; i < plan->target_count; i++) input_limit += plan->targets[i].join_count;
    struct nr_slot *level0 = nr_version_level0(job->version);
    input_limit += plan->l0_count;
    work->inputs = nr_calloc(input_limit + 1, sizeof *work->inputs);
    if (!work->inputs) return nr_fail_memory(err, input_limit * sizeof *work->inputs);
    for (size_t i = 0; i < plan->l0_count; i++)
        add_input(work, level0->runs[plan->l0_first + i], plan->start, plan->end);
    for (size_t i = plan->first_run; i < behind; i++) add_input(work, source->runs[i], plan->start, plan->end);
    NR_CHECK(gather_targets(plan, work, err));
    for (size_t i = behind; i < source->run_count && stays; i++) NR_CHECK(add_run(&work->older, source->runs[i], err));
    NR_CHECK(add_levels(&work->older, job->version, plan->target_level + 1, job->version->level_count, plan->start,
                        plan->end, err));
    for (size_t i = 0; i < plan->first_run; i++) NR_CHECK(add_run(&work->newer, source->runs[i], err));
    /* What goes along is the oldest of level 0 over the range. */
    for (size_t i = 0; i < plan->l0_first && plan->l0_count > 0; i++)
        if (nr_run_overlaps(level0->runs[i], plan->start, plan->end))
            NR_CHECK(add_run(&work->newer, level0->runs[i], err));
    NR_CHECK(
        add_levels(&work->newer, job->version, plan->l0_count > 0, plan->source_level, plan->start, plan->end, err));
    NR_CHECK(nr_moments_collect(engine, &work->moments, &work->moment_count, err));
out:
    return rc;
}

/* ---------------------------------------------------------------- the edit */

/* What of 'old' lies outside of [start, end), and 'run', which lies inside. */
static nori_status put_beside(struct nori_engine *engine, struct nr_run *old, nori_slice start, struct nr_bound end,
                              struct nr_run *run, struct nr_run **run_out, struct nori_error *err)
{
    struct nr_run *parts[3] = {NULL, run, NULL}, *list[3];
    size_t count = 0;
    nori_status rc = NORI_OK;
    NR_CHECK(nr_run_clip(old, nr_slice("", 0), nr_bound_key(start), old->run_id, &parts[0], err));
    if (!end.infinite) NR_CHECK(nr_run_clip(old, end.key, nr_bound_infinite(), old->run_id, &parts[2], err));
    NR_CHECK(nr_recount_run(engine, &parts[0], err));
    NR_CHECK(nr_recount_run(engine, &parts[2], err));
    for (size_t i = 0; i < NR_ARRAY_LEN(parts); i++)
        if (parts[i]) list[count++] = parts[i];
    NR_CHECK(nr_run_concatenate(list, count, run->run_id, run_out, err));
out:
    nr_run_unref(parts[0]);
    nr_run_unref(parts[2]);
    return rc;
}

/* What of 'old' lies outside of [start, end). */
static nori_status cut_out(struct nori_engine *engine, struct nr_run *old, nori_slice start, struct nr_bound end,
                           struct nr_run **run_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_run *rest = NULL;
    NR_CHECK(nr_run_subtract(old, start, end, &rest, err));
    NR_CHECK(nr_recount_run(engine, &rest, err));
    *run_out = rest;
    rest = NULL;
out:
    nr_run_unref(rest);
    return rc;
}

/* A slot's runs, of which [first, first + count) lose what lies in [start, end); 'run' (NULL: nothing) takes its place,
 * with what is left of the oldest of them. */
static nori_status set_runs(struct nori_engine *engine, struct nr_edit *edit, const struct nr_slot *slot, size_t first,
                            size_t count, nori_slice start, struct nr_bound end, struct nr_run *run,
                            struct nori_error *err)
{
    size_t new_count = 0;
    nori_status rc = NORI_OK;
    struct nr_run **runs = nr_calloc(slot->run_count + 1, sizeof *runs);
    if (!runs) return nr_fail_memory(err, slot->run_count * sizeof *runs);
    for (size_t i = 0; i <= slot->run_count; i++) {
        if (i == first && count == 0 && run) runs[new_count++] = nr_run_ref(run);
        if (i == slot->run_count) break;
        if (i < first || i >= first + count)
            runs[new_count] = nr_run_ref(slot->runs[i]);
        else if (run && i + 1 == first + count)
            NR_CHECK(put_beside(engine, slot->runs[i], start, end, run, &runs[new_count], err));
        else
            NR_CHECK(cut_out(engine, slot->runs[i], start, end, &runs[new_count], err));
        new_count += runs[new_count] != NULL;
    }
    NR_CHECK(nr_edit_set_slot(edit, slot->level, slot->start, slot->k_max, runs, new_count, err));
out:
    for (size_t i = 0; i < new_count; i++) nr_run_unref(runs[i]);
    nr_free(runs);
    return rc;
}

/* The range out of level 0 runs. */
static nori_status edit_level0(const struct nr_slot *level0, size_t first, size_t count, const struct nr_plan *plan,
                               struct nr_edit *edit, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    for (size_t i = first; i < first + count && rc == NORI_OK; i++)
        if (nr_run_overlaps(level0->runs[i], plan->start, plan->end))
            rc = nr_edit_subtract_l0(edit, level0->runs[i]->run_id, plan->start, plan->end, err);
    return rc;
}

/* What the plan takes away from where it was. */
static nori_status edit_source(struct nori_engine *engine, const struct nr_version *version, const struct nr_plan *plan,
                               struct nr_edit *edit, struct nr_run *merged, struct nori_error *err)
{
    struct nr_slot *source = source_slot(version, plan);
    struct nr_run **taken = &source->runs[plan->first_run];
    nori_status rc = NORI_OK;
    switch (plan->action) {
    case NR_ACTION_MERGE_L0:
        return nr_edit_merge_l0(edit, taken[0]->run_id, taken[plan->run_count - 1]->run_id, merged, err);
    case NR_ACTION_ADMIT:
        return edit_level0(source, plan->first_run, plan->run_count, plan, edit, err);
    case NR_ACTION_PROMOTE:
        rc = edit_level0(nr_version_level0(version), plan->l0_first, plan->l0_count, plan, edit, err);
        if (rc != NORI_OK) return rc;
        return set_runs(engine, edit, source, plan->first_run, plan->run_count, plan->start, plan->end, NULL, err);
    default:
        return set_runs(engine, edit, source, plan->first_run, plan->run_count, plan->start, plan->end, merged, err);
    }
}

/* The newer and the older run in the place of those that both were merged of. */
static nori_status set_by_age(struct nr_edit *edit, const struct nr_plan *plan, const struct nr_merge_target *results,
                              struct nori_error *err)
{
    const struct nr_slot *slot = plan->slot;
    size_t count = 0, behind = plan->first_run + plan->run_count;
    struct nr_run **runs = nr_calloc(slot->run_count + 2, sizeof *runs); /* Borrowed. */
    if (!runs) return nr_fail_memory(err, slot->run_count * sizeof *runs);
    for (size_t i = 0; i < plan->first_run; i++) runs[count++] = slot->runs[i];
    for (size_t i = 0; i < 2; i++)
        if (results[i].run) runs[count++] = results[i].run;
    for (size_t i = behind; i < slot->run_count; i++) runs[count++] = slot->runs[i];
    nori_status rc = nr_edit_set_slot(edit, slot->level, slot->start, slot->k_max, runs, count, err);
    nr_free(runs);
    return rc;
}

/* What the results of a merge of [plan->start, plan->end) change. 'results': one run (or NULL) per target slot, or the
 * one merged run of a plan without target slots. */
static nori_status edit_plan(struct nori_engine *engine, const struct nr_version *version, const struct nr_plan *plan,
                             struct nr_edit *edit, const struct nr_merge_target *results, size_t result_count,
                             uint64_t first_number, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    for (size_t i = 0; i < result_count; i++)
        NR_CHECK(nr_edit_add_files(engine, edit, results[i].run, &first_number, err));
    if (plan->target_count == 0 && result_count == 2) return set_by_age(edit, plan, results, err);
    NR_CHECK(edit_source(engine, version, plan, edit, plan->target_count == 0 ? results[0].run : NULL, err));
    for (size_t i = 0; i < plan->target_count; i++) {
        const struct nr_plan_target *target = &plan->targets[i];
        if (!nr_bound_above(plan->end, target->slot->start)) break; /* Of a part to come. */
        NR_CHECK(
            set_runs(engine, edit, target->slot, 0, target->join_count, plan->start, plan->end, results[i].run, err));
    }
out:
    return rc;
}

static nori_status install(struct nori_engine *engine, struct nr_edit *edit, struct nori_error *err)
{
    nr_turn_take(engine);
    nori_status rc = nr_install(engine, edit, 0, err);
    nr_turn_give(engine);
    return rc;
}

/* ---------------------------------------------------------------- carrying out */

/* What of the source runs lies in the target becomes its newest runs. */
static nori_status edit_moved(struct nori_engine *engine, const struct nr_plan *plan, const struct nr_slot *source,
                              const struct nr_slot *target, struct nr_edit *edit, struct nori_error *err)
{
    size_t count = 0, moved = 0;
    nori_status rc = NORI_OK;
    struct nr_run **runs = nr_calloc(plan->run_count + target->run_count + 1, sizeof *runs);
    if (!runs) return nr_fail_memory(err, plan->run_count * sizeof *runs);
    for (size_t i = plan->first_run; i < plan->first_run + plan->run_count; i++) {
        NR_CHECK(nr_run_clip(source->runs[i], target->start, target->end, engine->merging.next_run_id(engine),
                             &runs[count], err));
        if (!runs[count]) continue;
        moved = ++count;
        NR_CHECK(nr_recount_run(engine, &runs[count - 1], err));
    }
    for (size_t i = 0; i < target->run_count; i++) runs[count++] = target->runs[i];
    NR_CHECK(nr_edit_set_slot(edit, target->level, target->start, target->k_max, runs, count, err));
out:
    for (size_t i = 0; i < moved; i++) nr_run_unref(runs[i]);
    nr_free(runs);
    return rc;
}

/* The source runs, clipped to each target, as they are. */
static nori_status edit_move(struct nori_engine *engine, const struct nr_version *version, const struct nr_plan *plan,
                             struct nr_edit *edit, struct nori_error *err)
{
    struct nr_slot *source = source_slot(version, plan);
    nori_status rc = NORI_OK;
    NR_CHECK(edit_source(engine, version, plan, edit, NULL, err));
    for (size_t i = 0; i < plan->target_count; i++)
        NR_CHECK(edit_moved(engine, plan, source, plan->targets[i].slot, edit, err));
    nr_heat_note_move(engine, version, plan);
out:
    return rc;
}

/* All moves of the job by one edit. */
static nori_status move(struct nori_engine *engine, const struct nr_job *job, struct nori_error *err)
{
    struct nr_edit *edit = NULL;
    nori_status rc = NORI_OK;
    NR_CHECK(nr_edit_create(&edit, err));
    NR_CHECK(edit_move(engine, job->version, &job->plan, edit, err));
    for (size_t i = 0; i < job->more_count; i++) NR_CHECK(edit_move(engine, job->version, &job->more[i], edit, err));
    NR_CHECK(install(engine, edit, err));
out:
    nr_edit_destroy(edit);
    return rc;
}

static nori_status install_merged(struct nori_engine *engine, const struct nr_job *job, struct nori_error *err)
{
    struct nr_work *work = job->work;
    struct nr_edit *edit = NULL;
    nori_status rc = NORI_OK;
    NR_CHECK(nr_edit_create(&edit, err));
    NR_CHECK(
        edit_plan(engine, job->version, &job->plan, edit, work->targets, work->target_count, work->first_number, err));
    NR_CHECK(install(engine, edit, err));
    nr_heat_note_job(engine, job, work->targets, work->target_count, work->first_number);
out:
    nr_edit_destroy(edit);
    return rc;
}

static nori_status move_guards(struct nori_engine *engine, const struct nr_job *job, struct nori_error *err)
{
    const struct nr_plan *plan = &job->plan;
    if (plan->action == NR_ACTION_SPLIT) return nr_split_install(engine, plan, err);
    nr_turn_take(engine);
    nori_status rc =
        plan->action == NR_ACTION_JOIN ? nr_join_install(engine, plan, err) : nr_shift_install(engine, plan, err);
    nr_turn_give(engine);
    return rc;
}

static void count_merged(struct nori_engine *engine, struct nr_job *job, const struct nr_merge_job *merging,
                         uint64_t cpu_ns)
{
    job->bytes_in += merging->bytes_read;
    job->bytes_out += merging->bytes_written;
    atomic_fetch_add_explicit(&engine->compaction_cpu_ns, cpu_ns, memory_order_relaxed);
    atomic_fetch_add_explicit(&engine->compaction_bytes_written, merging->bytes_written, memory_order_relaxed);
    atomic_fetch_add_explicit(&engine->compaction_bytes_read, merging->bytes_read, memory_order_relaxed);
}

static nori_status execute(struct nori_engine *engine, struct nr_job *job, struct nr_merge_job *merging,
                           struct nori_error *err)
{
    uint64_t begun_ns = nr_clock_thread_ns();
    nori_status rc = nr_merge_execute(&engine->merging, merging, err);
    if (rc != NORI_OK) return rc;
    count_merged(engine, job, merging, nr_clock_thread_ns() - begun_ns);
    job->work->first_number = NR_MIN(job->work->first_number, merging->first_number);
    return NORI_OK;
}

/* The inputs are read twice, for the newer and for the older run. */
static nori_status execute_by_age(struct nori_engine *engine, struct nr_job *job, uint64_t split_sequence,
                                  struct nr_merge_job *merging, struct nori_error *err)
{
    struct nr_work *work = job->work;
    work->targets[1] = work->targets[0];
    merging->part_bytes = 0;
    merging->from_sequence = split_sequence + 1;
    merging->to_sequence = NR_MAX_SEQUENCE;
    nori_status rc = execute(engine, job, merging, err);
    if (rc != NORI_OK) return rc;
    merging->targets = &work->targets[1];
    merging->from_sequence = 0;
    merging->to_sequence = split_sequence;
    rc = execute(engine, job, merging, err);
    if (rc == NORI_OK) {
        work->target_count = 2;
        return NORI_OK;
    }
    nr_output_discard(&engine->merging, work->targets[0].run, work->first_number);
    work->targets[0].run = NULL;
    return rc;
}

/* From plan->start to plan->end or, of a large merge, to a key in between. */
nori_status nr_job_merge(struct nori_engine *engine, struct nr_job *job, struct nori_error *err)
{
    struct nr_merge_job merging = {.level = job->plan.target_level};
    nori_status rc = NORI_OK;
    if (nr_action_moves_guards(job->plan.action) || job->plan.is_move) return NORI_OK;
    struct nr_work *work = job->work = nr_calloc(1, sizeof *work);
    if (!work) return nr_fail_memory(err, sizeof *work);
    nr_buffer_init(&merging.part_end);
    NR_CHECK(gather(engine, job, work, err));
    merging.inputs = work->inputs;
    merging.input_count = work->input_count;
    merging.targets = work->targets;
    merging.target_count = work->target_count;
    merging.older = work->older.list;
    merging.older_count = work->older.count;
    merging.newer = work->newer.list;
    merging.newer_count = work->newer.count;
    merging.moments = work->moments;
    merging.moment_count = work->moment_count;
    merging.created_ms = nr_engine_now_ms(engine);
    merging.is_for_space = job->plan.action == NR_ACTION_SPACE;
    merging.counts_fresh = job->plan.counts_fresh;
    merging.part_bytes = job->plan.action == NR_ACTION_MERGE_L0 ? 0 : engine->merging.part_bytes;
    work->first_number = UINT64_MAX;
    uint64_t split_sequence = nr_ages_split(engine, job);
    NR_CHECK(split_sequence > 0 ? execute_by_age(engine, job, split_sequence, &merging, err)
                                : execute(engine, job, &merging, err));
    work->is_part = merging.is_part;
out:
    work->part_end = merging.part_end;
    return rc;
}

/* Of a part the job's plan ends where it does, and is then what is left. */
nori_status nr_job_install(struct nori_engine *engine, struct nr_job *job, bool *is_part_out, struct nori_error *err)
{
    struct nr_work *work = job->work;
    *is_part_out = false;
    if (nr_action_moves_guards(job->plan.action)) return move_guards(engine, job, err);
    if (job->plan.is_move) return move(engine, job, err);
    if (work->is_part) job->plan.end = nr_bound_key(nr_buffer_slice(&work->part_end));
    nori_status rc = install_merged(engine, job, err);
    if (rc != NORI_OK || !work->is_part) return rc;
    nr_part_advance(engine, job, &work->part_end);
    *is_part_out = true;
    return NORI_OK;
}

/* Between two parts the inputs' files go that are not needed any more, and so does the job, if others are waiting that
 * are more urgent: what it left is planned again. */
static nori_status carry_out(struct nori_engine *engine, struct nr_job *job, struct nori_error *err)
{
    struct nr_plan *plan = &job->plan;
    size_t run_count = plan->run_count;
    bool is_part = true;
    nori_status rc = NORI_OK;
    while (is_part && rc == NORI_OK) {
        rc = nr_job_merge(engine, job, err);
        if (rc == NORI_OK) rc = nr_job_install(engine, job, &is_part, err);
        /* Outputs that were not installed become unreferenced here: unlinked, unless the manifest may name them after
         * all. */
        nr_job_release(job);
        if (rc != NORI_OK || !is_part) break;
        nr_obsolete_unlink(engine);
        if (nr_part_gives_way(engine, job)) break;
    }
    /* For what is told of the whole. Others look at the plan. */
    nr_mutex_lock(&engine->lock);
    if (plan->slot && !nr_action_moves_guards(plan->action)) plan->start = plan->slot->start;
    plan->run_count = run_count;
    nr_mutex_unlock(&engine->lock);
    return rc;
}

nori_status nr_compact_once(struct nori_engine *engine, bool *done_out, struct nori_error *err)
{
    struct nr_job *job = NULL;
    struct nori_error own;
    if (!err) err = &own;
    *done_out = false;
    nori_status rc = nr_job_begin(engine, &job, err);
    if (rc != NORI_OK || !job) return rc;
    rc = carry_out(engine, job, err);
    nr_job_end(engine, job, rc, err);
    if (rc != NORI_OK) return rc;
    *done_out = true;
    nr_obsolete_unlink_due(engine);
    return NORI_OK;
}

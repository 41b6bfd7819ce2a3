/* The clock of a simulation: what ends next, and what may then begin. Writers fill memtables step by step, so that what
 * pressure asks of them counts at once; one worker flushes, others merge. */
#include "base/clock.h"
#include "engine/simulate.h"

/* Steps in which a memtable is filled. */
#define WRITE_STEPS 16

struct run {
    struct nr_simulation *simulation;
    double left, step; /* Entries still to be written, and of the step under way. */
    double bytes_per_sec;
    uint64_t step_done_us; /* 0: no step is under way. */
    bool is_load;
    bool is_patient;
    bool is_blocked, is_waiting; /* By pressure; of itself. */
};

static uint64_t now_of(const struct nr_simulation *simulation)
{
    return nr_env_monotonic_us(simulation->env);
}

static uint64_t interval_us(const struct nr_simulation *simulation)
{
    return NR_MAX((uint64_t)(simulation->options.heat_decay_interval_secs * 1e6), 1000);
}

/* What a worker takes for so many bytes, and the edit. */
static uint64_t work_us(const struct nr_simulation *simulation, uint64_t bytes)
{
    const struct nori_simulation *params = &simulation->params;
    return (uint64_t)((params->edit_secs + (double)bytes / params->merge_bytes_per_sec) * 1e6) + 1;
}

static double since(uint64_t begun_ns)
{
    return (double)(nr_clock_ns() - begun_ns) / 1e9;
}

/* ---------------------------------------------------------------- work */

static nori_status count_reads(struct nr_simulation *simulation, struct nori_error *err)
{
    uint64_t now_us = now_of(simulation), elapsed_us = now_us - simulation->read_us;
    if (elapsed_us < interval_us(simulation) / 10) return NORI_OK;
    simulation->read_us = now_us;
    if (simulation->is_loading) return NORI_OK; /* Traffic comes after it. */
    if (simulation->params.reads_per_sec <= 0 && simulation->params.scans_per_sec <= 0) return NORI_OK;
    return nr_sim_read(simulation, (double)elapsed_us / 1e6, err);
}

static nori_status begin_job(struct nr_simulation *simulation, struct nr_sim_worker *worker, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    uint64_t begun_ns = nr_clock_ns();
    simulation->plans++;
    NR_CHECK(nr_job_begin(simulation->engine, &worker->job, err));
    simulation->planning_seconds += since(begun_ns);
    if (!worker->job) {
        simulation->is_work_known = true;
        goto out;
    }
    rc = nr_job_merge(simulation->engine, worker->job, err);
    worker->done_us = now_of(simulation) + work_us(simulation, worker->job->bytes_in);
out:
    return rc;
}

static nori_status begin_work(struct nr_simulation *simulation, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    if (!simulation->is_flushing && simulation->waiting_count > 0) {
        NR_CHECK(nr_sim_flush_begin(simulation, err));
        simulation->flush_done_us = now_of(simulation) + work_us(simulation, simulation->flushed_bytes);
    }
    for (size_t i = 0; i < simulation->worker_count && !simulation->is_work_known; i++) {
        if (simulation->workers[i].job) continue;
        NR_CHECK(count_reads(simulation, err));
        NR_CHECK(begin_job(simulation, &simulation->workers[i], err));
    }
out:
    return rc;
}

/* The tree is another: there may be work, and what was replaced can go. */
static void note_change(struct nr_simulation *simulation)
{
    struct nr_view *view = nr_view_acquire(simulation->engine);
    size_t slots = 0;
    for (size_t level = 1; level < view->version->level_count; level++)
        slots += view->version->levels[level]->slot_count;
    nr_view_release(view);
    simulation->peak_slots = NR_MAX(simulation->peak_slots, slots);
    simulation->peak_files = NR_MAX(simulation->peak_files, simulation->file_count);
    simulation->edits++;
    simulation->is_work_known = false;
    nr_epoch_collect(&simulation->engine->epoch);
}

static nori_status end_job(struct nr_simulation *simulation, struct nr_sim_worker *worker, struct nori_error *err)
{
    struct nr_job *job = worker->job;
    uint64_t begun_ns = nr_clock_ns();
    simulation->action_counts[job->plan.action] += 1 + job->more_count;
    simulation->action_bytes[job->plan.action] += job->bytes_out;
    bool is_part; /* Tables that are described are merged at once. */
    nori_status rc = nr_job_install(simulation->engine, job, &is_part, err);
    nr_job_release(job);
    nr_job_end(simulation->engine, job, rc, err);
    worker->job = NULL;
    simulation->installing_seconds += since(begun_ns);
    note_change(simulation);
    return rc;
}

static nori_status maintain(struct nr_simulation *simulation, struct nori_error *err)
{
    uint64_t now_us = now_of(simulation);
    if (now_us - simulation->maintained_us < interval_us(simulation) / 4) return NORI_OK;
    simulation->maintained_us = now_us;
    nori_status rc = count_reads(simulation, err);
    if (rc != NORI_OK) return rc;
    nr_heat_fold_due(simulation->engine);
    nr_shape_update_due(simulation->engine);
    note_change(simulation);
    return NORI_OK;
}

static void rotate(struct nr_simulation *simulation)
{
    if (simulation->active.entries < 1 || simulation->waiting_count == NR_MAX_LAYERS) return;
    simulation->waiting[simulation->waiting_count++] = simulation->active;
    simulation->active = (struct nr_sim_memtable){0};
}

static nori_status end_flush(struct nr_simulation *simulation, struct nori_error *err)
{
    uint64_t begun_ns = nr_clock_ns();
    nori_status rc = nr_sim_flush_end(simulation, err);
    simulation->installing_seconds += since(begun_ns);
    simulation->waiting_count--;
    memmove(simulation->waiting, simulation->waiting + 1, simulation->waiting_count * sizeof simulation->waiting[0]);
    note_change(simulation);
    return rc;
}

/* ---------------------------------------------------------------- writers */

static size_t l0_depth(struct nr_simulation *simulation)
{
    struct nr_view *view = nr_view_acquire(simulation->engine);
    if (view->version != simulation->depth_of || view->version->number != simulation->depth_number) {
        simulation->depth = nr_version_l0_depth(view->version);
        simulation->depth_of = view->version;
        simulation->depth_number = view->version->number;
    }
    nr_view_release(view);
    return simulation->depth;
}

static bool is_merging(const struct nr_simulation *simulation)
{
    for (size_t i = 0; i < simulation->worker_count; i++)
        if (simulation->workers[i].job) return true;
    return false;
}

static void judge(struct nr_simulation *simulation, struct nr_pressure *pressure_out)
{
    double full = (double)nr_pressure_memtable_bytes(&simulation->options), waiting = 0;
    for (size_t i = 0; i < simulation->waiting_count; i++) waiting += simulation->waiting[i].entries;
    struct nr_pressure_input input = {
        .l0_depth = l0_depth(simulation),
        .waiting_bytes = (uint64_t)(full * waiting / simulation->memtable_entries),
        .waiting_count = simulation->waiting_count,
        .active_bytes = (uint64_t)(full * simulation->active.entries / simulation->memtable_entries),
        .is_compaction_pending = is_merging(simulation) || !simulation->is_work_known,
    };
    input.memory_bytes = input.active_bytes + input.waiting_bytes;
    nr_pressure_judge(&simulation->options, &input, pressure_out);
}

/* The next step of writing, if writers may go on. */
static void begin_step(struct run *run)
{
    struct nr_simulation *simulation = run->simulation;
    struct nr_pressure pressure;
    if (run->left <= 0 || run->step_done_us > 0) return;
    judge(simulation, &pressure);
    if (pressure.stall == NR_STALL_MEMTABLES && pressure.wants_rotation) rotate(simulation);
    size_t patience = (size_t)simulation->params.wait_at_depth;
    run->is_blocked = pressure.stall != NR_STALL_NONE || simulation->waiting_count == NR_MAX_LAYERS;
    run->is_waiting = !run->is_blocked && run->is_patient && patience > 0 && l0_depth(simulation) > patience;
    if (run->is_blocked || run->is_waiting) return;
    run->step = NR_MIN(run->left, simulation->memtable_entries / WRITE_STEPS);
    double bytes = run->step * simulation->entry_bytes;
    double delay_us = (double)pressure.delay_us_per_mib * bytes / (1 << 20);
    if (simulation->active.entries <= 0) simulation->write_began_us = now_of(simulation);
    simulation->stall_us += (uint64_t)delay_us;
    run->step_done_us = now_of(simulation) + (uint64_t)(bytes / run->bytes_per_sec * 1e6 + delay_us) + 1;
}

static void end_step(struct run *run)
{
    struct nr_simulation *simulation = run->simulation;
    run->step_done_us = 0;
    run->left -= run->step;
    if (run->left < 0.5) run->left = 0;
    simulation->active.entries += run->step;
    simulation->active.is_load = run->is_load;
    if (!run->is_load) simulation->user_bytes += run->step * simulation->entry_bytes;
    if (simulation->active.entries >= simulation->memtable_entries * (1 - 1e-9)) rotate(simulation);
}

/* ---------------------------------------------------------------- events */

static uint64_t age_us(const struct nr_simulation *simulation)
{
    double age_secs = simulation->options.memtable.wal_age_trigger_sec;
    bool is_due = simulation->active.entries > 0 && age_secs > 0 && simulation->waiting_count < NR_MAX_LAYERS;
    return is_due ? simulation->write_began_us + (uint64_t)(age_secs * 1e6) : UINT64_MAX;
}

/* When the next thing ends; UINT64_MAX: nothing is under way. */
static uint64_t next_us(const struct run *run)
{
    const struct nr_simulation *simulation = run->simulation;
    uint64_t next = run->step_done_us > 0 ? run->step_done_us : UINT64_MAX;
    if (simulation->is_flushing) next = NR_MIN(next, simulation->flush_done_us);
    for (size_t i = 0; i < simulation->worker_count; i++)
        if (simulation->workers[i].job) next = NR_MIN(next, simulation->workers[i].done_us);
    if (run->left > 0) next = NR_MIN(next, age_us(simulation));
    if (run->left > 0 && next != UINT64_MAX)
        next = NR_MIN(next, simulation->maintained_us + interval_us(simulation) / 4);
    return next;
}

static void advance(const struct run *run, uint64_t to_us)
{
    struct nr_simulation *simulation = run->simulation;
    uint64_t now_us = now_of(simulation), by_us = to_us > now_us ? to_us - now_us : 0;
    if (run->left > 0 && run->step_done_us == 0 && run->is_blocked) simulation->stall_us += by_us;
    if (run->left > 0 && run->step_done_us == 0 && run->is_waiting) simulation->waited_us += by_us;
    nori_simdisk_advance(simulation->env, (int64_t)by_us, (int64_t)(to_us / 1000 - now_us / 1000));
}

static nori_status end_due(struct run *run, uint64_t now_us, struct nori_error *err)
{
    struct nr_simulation *simulation = run->simulation;
    nori_status rc = NORI_OK;
    if (run->step_done_us > 0 && run->step_done_us <= now_us) end_step(run);
    if (age_us(simulation) <= now_us) rotate(simulation);
    if (simulation->is_flushing && simulation->flush_done_us <= now_us) NR_CHECK(end_flush(simulation, err));
    for (size_t i = 0; i < simulation->worker_count; i++)
        if (simulation->workers[i].job && simulation->workers[i].done_us <= now_us)
            NR_CHECK(end_job(simulation, &simulation->workers[i], err));
    NR_CHECK(maintain(simulation, err));
out:
    return rc;
}

nori_status nr_sim_run(struct nr_simulation *simulation, double entries, double bytes_per_sec, bool is_load, bool drain,
                       nori_status (*fn)(void *arg, struct nori_error *err), void *arg, struct nori_error *err)
{
    struct run run = {.simulation = simulation,
                      .left = entries,
                      .bytes_per_sec = bytes_per_sec,
                      .is_load = is_load,
                      .is_patient = true};
    nori_status rc = NORI_OK;
    simulation->is_loading = is_load;
    for (;;) {
        if (run.left <= 0 && !drain) break;
        if (run.left <= 0) rotate(simulation);
        NR_CHECK(begin_work(simulation, err));
        begin_step(&run);
        uint64_t next = next_us(&run);
        if (next == UINT64_MAX && run.left <= 0) break;
        if (next == UINT64_MAX && run.is_blocked) {
            rc = NR_FAIL(err, NORI_BACKPRESSURE, "writers stall, and nothing is left to be merged");
            goto out;
        }
        run.is_patient = next != UINT64_MAX; /* Nobody is at work that they could wait for. */
        if (!run.is_patient) continue;
        advance(&run, next);
        NR_CHECK(end_due(&run, next, err));
        NR_CHECK(fn(arg, err));
    }
out:
    return rc;
}

/* Plans carried out on a tree of made-up tables, flush after flush: the tree stays sound, planning comes to an end, and
 * then all is within bounds. */
#include "planner_model.h"

#include "base/random.h"
#include "compact/cover.h"
#include "compact/shift.h"
#include "version/edit.h"

#define LEVELS 5
#define KEY_BYTES 4
#define MAX_PLANS_PER_FLUSH 400
#define MAX_UNSPLITTABLE 64
#define MAX_JOINED 64

struct world {
    struct nori_options options;
    struct nr_version *version;
    struct nr_random random;
    struct nr_plan plan;
    uint64_t next_number, next_run_id, next_slot_id, next_sequence;
    uint64_t unsplittable[MAX_UNSPLITTABLE];
    size_t unsplittable_count;
    uint64_t shifts;
    uint64_t moved, merged, joins, splits;
    struct nr_sketch *writes, *reads; /* NULL: nothing is learned. */
};

static struct nori_error err;

static void put_key(uint8_t out[KEY_BYTES], uint64_t number)
{
    for (size_t i = 0; i < KEY_BYTES; i++) out[i] = (uint8_t)(number >> (8 * (KEY_BYTES - 1 - i)));
}

static uint64_t key_number(nori_slice key)
{
    return nr_slice_prefix(key) >> 32;
}

static void world_init(struct world *world, int strategy, uint64_t seed)
{
    memset(world, 0, sizeof *world);
    model_options(&world->options);
    world->options.fanout = 4;
    world->options.strategy = strategy;
    world->options.max_space_amp = 1.3;
    world->next_slot_id = 100;
    world->next_run_id = world->next_number = world->next_sequence = 1;
    nr_random_init(&world->random, seed);
    EXPECT_OK(nr_version_create(LEVELS, &world->version, &err), &err);
}

static void world_apply(struct world *world, struct nr_edit *edit)
{
    struct nr_version *next = NULL;
    EXPECT_OK(nr_edit_apply(edit, world->version, &next, &err), &err);
    nr_references_update(world->version, next);
    nr_edit_destroy(edit);
    nr_version_unref(world->version);
    world->version = next;
    EXPECT_OK(nr_version_check(next, &err), &err);
}

static struct nr_edit *edit_create(void)
{
    struct nr_edit *edit = NULL;
    EXPECT_OK(nr_edit_create(&edit, &err), &err);
    return edit;
}

static struct nr_run *make_run(struct world *world, struct nr_edit *edit, const struct model_run *model,
                               nori_slice start, struct nr_bound end)
{
    struct nr_table_slice slice = model_slice(model, world->next_number++, start, end, 1);
    struct nr_run *run = model_run_create(world->next_run_id++, &slice, 1);
    EXPECT_OK(nr_edit_add_file(edit, run->slices[0].file, &err), &err);
    return run;
}

/* What the engine would: samples of the flush, and reads that keep to a few keys. */
static void learn(struct world *world, uint64_t from, uint64_t width, uint64_t bytes)
{
    uint8_t key[KEY_BYTES];
    if (!world->writes) return;
    for (uint64_t i = 0; i < 16; i++) {
        put_key(key, from + width * i / 16);
        nr_sketch_add(world->writes, nr_slice(key, KEY_BYTES), bytes / 16 + 1);
        put_key(key, nr_random_below(&world->random, 4) * 1000 + 77);
        nr_sketch_add(world->reads, nr_slice(key, KEY_BYTES), 1);
    }
    if (nr_sketch_total(world->writes) > 8 * world->options.level1_bytes) nr_sketch_decay(world->writes);
}

static void flush(struct world *world, size_t step)
{
    uint8_t start[KEY_BYTES], end[KEY_BYTES];
    struct nr_random *random = &world->random;
    uint64_t from = 0, width = 1u << 20;
    if (nr_random_below(random, 3) == 0)
        from = nr_random_below(random, 1u << 20), width = 1 + nr_random_below(random, 5000);
    else if (nr_random_below(random, 4) == 0)
        from = (1u << 20) + step * 100, width = 100;
    put_key(start, from);
    put_key(end, from + width);
    struct model_run model = {.bytes = 50 + nr_random_below(random, 600),
                              .entries = 100,
                              .deletes = nr_random_below(random, 100),
                              .smallest_sequence = world->next_sequence,
                              .largest_sequence = world->next_sequence + 9};
    world->next_sequence += 10;
    struct nr_edit *edit = edit_create();
    struct nr_run *run =
        make_run(world, edit, &model, nr_slice(start, KEY_BYTES), nr_bound_key(nr_slice(end, KEY_BYTES)));
    learn(world, from, width, model.bytes);
    EXPECT_OK(nr_edit_push_l0(edit, run, &err), &err);
    nr_run_unref(run);
    world_apply(world, edit);
}

/* What a merge gathers for one target. */
struct gathered {
    struct model_run model;
    nori_slice start;
    struct nr_bound end;
    struct nr_run *parts[NR_PLAN_MAX_RUNS]; /* Clipped. */
    size_t count;
};

static void gather(struct gathered *gathered, struct nr_run *run, nori_slice start, struct nr_bound end)
{
    struct nr_run *part = NULL;
    struct model_run *model = &gathered->model;
    EXPECT_OK(nr_run_clip(run, start, end, 1, &part, &err), &err);
    if (!part) return;
    struct nr_bound last = part->slices[part->slice_count - 1].end;
    bool is_first = gathered->count == 0;
    if (is_first || nr_slice_compare(part->slices[0].start, gathered->start) < 0)
        gathered->start = part->slices[0].start;
    if (is_first || nr_bound_compare(last, gathered->end) > 0) gathered->end = last;
    model->bytes += part->bytes;
    model->entries += part->entries;
    model->deletes += part->deletes;
    model->smallest_sequence =
        is_first ? part->smallest_sequence : NR_MIN(model->smallest_sequence, part->smallest_sequence);
    model->largest_sequence = NR_MAX(model->largest_sequence, part->largest_sequence);
    gathered->parts[gathered->count++] = part;
}

/* As a merge leaves it where it has to: cut to what its inputs cover. */
static struct nr_run *cut_to_inputs(struct nr_run *run, struct nr_run *const *inputs, size_t count)
{
    struct nr_cover cover;
    EXPECT_OK(nr_cover_init(&cover, inputs, count, nr_slice("", 0), nr_bound_infinite(), &err), &err);
    for (size_t i = 1; i < cover.count; i++) {
        struct nr_run *rest = NULL;
        EXPECT_OK(nr_run_subtract(run, cover.ranges[i - 1].end.key, nr_bound_key(cover.ranges[i].start), &rest, &err),
                  &err);
        nr_run_unref(run);
        run = rest;
    }
    nr_cover_clear(&cover);
    return run;
}

static struct nr_run *merge(struct world *world, struct nr_edit *edit, struct gathered *gathered, bool drops_deletes)
{
    struct nr_run *run = NULL;
    if (drops_deletes) gathered->model.deletes = 0;
    if (gathered->count > 0) run = make_run(world, edit, &gathered->model, gathered->start, gathered->end);
    if (run) run = cut_to_inputs(run, gathered->parts, gathered->count);
    for (size_t i = 0; i < gathered->count; i++) nr_run_unref(gathered->parts[i]);
    world->merged += gathered->model.bytes;
    return run;
}

/* The slot's runs with [first, first + count) replaced by 'run', whose reference is taken. */
static void set_runs(struct nr_edit *edit, const struct nr_slot *slot, size_t first, size_t count, struct nr_run *run)
{
    struct nr_run *runs[NR_PLAN_MAX_RUNS + 1];
    size_t total = 0;
    for (size_t i = 0; i < first; i++) runs[total++] = slot->runs[i];
    if (run) runs[total++] = run;
    for (size_t i = first + count; i < slot->run_count; i++) runs[total++] = slot->runs[i];
    EXPECT_OK(nr_edit_set_slot(edit, slot->level, slot->start, slot->k_max, runs, total, &err), &err);
    nr_run_unref(run);
}

static struct nr_run *fill_target(struct world *world, struct nr_edit *edit, const struct nr_slot *source, size_t index)
{
    const struct nr_plan *plan = &world->plan;
    const struct nr_plan_target *target = &plan->targets[index];
    const struct nr_slot *level0 = nr_version_level0(world->version);
    struct gathered gathered = {0};
    for (size_t i = plan->l0_first; i < plan->l0_first + plan->l0_count; i++)
        gather(&gathered, level0->runs[i], target->slot->start, target->slot->end);
    for (size_t i = plan->first_run; i < plan->first_run + plan->run_count; i++)
        gather(&gathered, source->runs[i], target->slot->start, target->slot->end);
    for (size_t i = 0; i < target->join_count; i++)
        gather(&gathered, target->slot->runs[i], target->slot->start, target->slot->end);
    return merge(world, edit, &gathered, plan->target_level + 1 == LEVELS);
}

/* The source runs, clipped, in front of the target's. */
static void move_to(struct world *world, struct nr_edit *edit, const struct nr_slot *source,
                    const struct nr_slot *target)
{
    const struct nr_plan *plan = &world->plan;
    struct nr_run *runs[2 * NR_PLAN_MAX_RUNS];
    size_t count = 0, moved;
    for (size_t i = plan->first_run; i < plan->first_run + plan->run_count; i++) {
        EXPECT_OK(nr_run_clip(source->runs[i], target->start, target->end, world->next_run_id++, &runs[count], &err),
                  &err);
        if (!runs[count]) continue;
        world->moved += runs[count++]->bytes;
    }
    moved = count;
    for (size_t i = 0; i < target->run_count; i++) runs[count++] = target->runs[i];
    EXPECT_OK(nr_edit_set_slot(edit, target->level, target->start, target->k_max, runs, count, &err), &err);
    for (size_t i = 0; i < moved; i++) nr_run_unref(runs[i]);
}

/* The plan's range out of level 0 runs. */
static void subtract(struct nr_edit *edit, const struct nr_plan *plan, const struct nr_slot *level0, size_t first,
                     size_t count)
{
    for (size_t i = first; i < first + count; i++) {
        if (!nr_run_overlaps(level0->runs[i], plan->start, plan->end)) continue;
        EXPECT_OK(nr_edit_subtract_l0(edit, level0->runs[i]->run_id, plan->start, plan->end, &err), &err);
    }
}

static void carry_out_handover(struct world *world)
{
    const struct nr_plan *plan = &world->plan;
    struct nr_edit *edit = edit_create();
    const struct nr_slot *level0 = nr_version_level0(world->version);
    const struct nr_slot *source = plan->action == NR_ACTION_ADMIT ? level0 : plan->slot;
    struct nr_run *results[NR_PLAN_MAX_TARGETS];
    for (size_t i = 0; i < plan->target_count && !plan->is_move; i++) results[i] = fill_target(world, edit, source, i);
    if (plan->action == NR_ACTION_ADMIT) {
        subtract(edit, plan, level0, plan->first_run, plan->run_count);
    } else {
        subtract(edit, plan, level0, plan->l0_first, plan->l0_count);
        set_runs(edit, source, plan->first_run, plan->run_count, NULL);
    }
    for (size_t i = 0; i < plan->target_count; i++) {
        if (plan->is_move)
            move_to(world, edit, source, plan->targets[i].slot);
        else
            set_runs(edit, plan->targets[i].slot, 0, plan->targets[i].join_count, results[i]);
    }
    world_apply(world, edit);
}

static void carry_out_join(struct world *world)
{
    const struct nr_plan *plan = &world->plan;
    struct nr_edit *edit = edit_create();
    struct gathered gathered = {0};
    struct nr_run *const *taken = &plan->slot->runs[plan->first_run];
    for (size_t i = 0; i < plan->run_count; i++) gather(&gathered, taken[i], plan->start, plan->end);
    struct nr_run *run = merge(world, edit, &gathered, plan->action == NR_ACTION_CLEAN);
    if (plan->action != NR_ACTION_MERGE_L0)
        set_runs(edit, plan->slot, plan->first_run, plan->run_count, run);
    else {
        EXPECT_OK(nr_edit_merge_l0(edit, taken[0]->run_id, taken[plan->run_count - 1]->run_id, run, &err), &err);
        nr_run_unref(run);
    }
    world_apply(world, edit);
}

/* The level's guards and the new ones, ascending. */
static void set_guards(struct world *world, struct nr_edit *edit, uint32_t level, const nori_slice *more, size_t count)
{
    const struct nr_level *slots = world->version->levels[level];
    nori_slice *guards = nr_calloc(slots->slot_count + count, sizeof *guards);
    size_t total = 0, next = 0;
    for (size_t i = 1; i < slots->slot_count; i++) {
        nori_slice guard = nr_level_slot(slots, i)->start;
        while (next < count && nr_slice_compare(more[next], guard) < 0) guards[total++] = more[next++];
        if (next < count && nr_slice_equal(more[next], guard)) next++;
        guards[total++] = guard;
    }
    while (next < count) guards[total++] = more[next++];
    EXPECT_OK(nr_edit_set_guards(edit, level, guards, total, world->next_slot_id, 0, &err), &err);
    world->next_slot_id += total + 1;
    nr_free(guards);
}

static void widen(const struct nr_slot *slot, const struct nr_slot *from, uint64_t *low, uint64_t *high)
{
    for (size_t i = 0; i < from->run_count; i++) {
        const struct nr_run *run = from->runs[i];
        for (size_t j = nr_run_seek(run, slot->start); j < run->slice_count; j++) {
            if (!nr_bound_above(slot->end, run->slices[j].start)) break;
            *low = NR_MIN(*low, NR_MAX(key_number(run->slices[j].start), key_number(slot->start)));
            uint64_t end = key_number(run->slices[j].end.key);
            *high = NR_MAX(*high, slot->end.infinite ? end : NR_MIN(end, key_number(slot->end.key)));
        }
    }
}

static void carry_out_split(struct world *world)
{
    const struct nr_plan *plan = &world->plan;
    uint64_t low = UINT64_MAX, high = 0, last = key_number(plan->slot->start);
    uint8_t bytes[64][KEY_BYTES];
    nori_slice guards[64];
    size_t count = 0;
    widen(plan->slot, plan->slot, &low, &high);
    if (plan->slot->level == 1) widen(plan->slot, nr_version_level0(world->version), &low, &high);
    for (size_t i = 1; i < plan->split_count && low < high; i++) {
        uint64_t at = low + (high - low) * i / plan->split_count;
        if (at <= last) continue;
        put_key(bytes[count], at);
        guards[count] = nr_slice(bytes[count], KEY_BYTES);
        count++;
        last = at;
    }
    if (count == 0) {
        EXPECT(world->unsplittable_count < MAX_UNSPLITTABLE);
        world->unsplittable[world->unsplittable_count++] = plan->slot->slot_id;
        return;
    }
    struct nr_edit *edit = edit_create();
    /* Levels below all data are cut when it comes to them. */
    uint32_t deepest = LEVELS - 1;
    while (deepest > plan->source_level && world->version->levels[deepest]->slot_count == 1 &&
           world->version->levels[deepest]->max_run_count == 0)
        deepest--;
    for (uint32_t level = plan->source_level; level <= deepest; level++) set_guards(world, edit, level, guards, count);
    world_apply(world, edit);
}

/* Slots are joined that fit, and not cut at once. */
static void carry_out_joined_slots(struct world *world)
{
    const struct nr_plan *plan = &world->plan;
    const struct nr_level *slots = world->version->levels[plan->source_level];
    nori_slice *guards = nr_calloc(slots->slot_count, sizeof *guards);
    size_t total = 0;
    for (size_t i = 1; i < slots->slot_count; i++) {
        nori_slice guard = nr_level_slot(slots, i)->start;
        if (nr_slice_compare(guard, plan->start) <= 0 || !nr_bound_above(plan->end, guard)) guards[total++] = guard;
    }
    EXPECT_EQ(slots->slot_count - 1 - total, plan->join_count - 1);
    struct nr_edit *edit = edit_create();
    EXPECT_OK(nr_edit_set_guards(edit, plan->source_level, guards, total, world->next_slot_id, 1, &err), &err);
    nr_free(guards);
    world_apply(world, edit);
    world->joins++;
}

static uint64_t next_run_id(void *arg)
{
    return ((struct world *)arg)->next_run_id++;
}

static void carry_out_shift(struct world *world)
{
    struct nr_edit *edit = edit_create();
    uint64_t first_slot_id = world->next_slot_id;
    world->next_slot_id += world->version->levels[world->plan.source_level]->slot_count;
    EXPECT_OK(nr_shift_edit(edit, world->version, world->plan.source_level, world->plan.split_count, first_slot_id,
                            next_run_id, world, &err),
              &err);
    world_apply(world, edit);
    EXPECT_EQ(world->version->levels[world->plan.source_level]->bytes, 0);
    world->shifts++;
}

static struct nr_plan_view world_view(struct world *world)
{
    return (struct nr_plan_view){.version = world->version,
                                 .options = &world->options,
                                 .oldest_moment_sequence = world->next_sequence,
                                 .random = nr_random_next(&world->random),
                                 .writes = world->writes,
                                 .reads = world->reads,
                                 .unsplittable = world->unsplittable,
                                 .unsplittable_count = world->unsplittable_count};
}

static void expect_free(const struct nr_plan_view *view, uint32_t level, const struct nr_slot *slot)
{
    for (size_t i = 0; i < view->busy_count; i++) {
        EXPECT(view->busy[i].level != level || view->busy[i].slot_id != slot->slot_id);
    }
}

static bool has_data_below(const struct nr_version *version, const struct nr_slot *slot)
{
    for (uint32_t level = slot->level + 1; level < version->level_count; level++) {
        for (size_t i = 0; i < version->levels[level]->slot_count; i++) {
            const struct nr_slot *below = nr_level_slot(version->levels[level], i);
            if (below->run_count > 0 && nr_bound_above(slot->end, below->start) &&
                nr_bound_above(below->end, slot->start))
                return true;
        }
    }
    return false;
}

static bool touches(const struct nr_table_slice *slice, const struct nr_run *run)
{
    for (size_t i = 0; i < run->slice_count; i++) {
        if (nr_bound_above(run->slices[i].end, slice->start) && nr_bound_above(slice->end, run->slices[i].start))
            return true;
    }
    return false;
}

/* What of a slot's runs hides nothing; no merge here counts fresh keys. */
static uint64_t bottom_of(const struct nr_slot *slot)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < slot->run_count; i++) {
        for (size_t j = 0; j < slot->runs[i]->slice_count; j++) {
            const struct nr_table_slice *slice = &slot->runs[i]->slices[j];
            bool hides = false;
            for (size_t older = i + 1; older < slot->run_count; older++)
                hides = hides || touches(slice, slot->runs[older]);
            if (i + 1 == slot->run_count)
                bytes += slice->bytes;
            else if (!hides && slice->entries > 0)
                bytes += (uint64_t)((double)slice->bytes * (double)(slice->entries - slice->deletes) /
                                    (double)slice->entries);
        }
    }
    return bytes;
}

/* What is summed up is what comes of asking each slot. */
static void check_space(const struct nr_plan_view *view)
{
    const struct nr_version *version = view->version;
    struct nr_space space;
    uint64_t bottom = 0, total = nr_version_level0(version)->bytes;
    nr_planner_measure_space(view, &space);
    for (uint32_t level = 1; level < version->level_count; level++) {
        for (size_t i = 0; i < version->levels[level]->slot_count; i++) {
            const struct nr_slot *slot = nr_level_slot(version->levels[level], i);
            bool is_busy = false;
            for (size_t j = 0; j < view->busy_count; j++)
                is_busy = is_busy || (view->busy[j].level == level && view->busy[j].slot_id == slot->slot_id);
            total += slot->bytes;
            if (slot->run_count > 0 && !has_data_below(version, slot))
                bottom += is_busy ? slot->bytes : bottom_of(slot);
        }
    }
    EXPECT_EQ(space.bottom_bytes, bottom);
    EXPECT_EQ(space.above_bytes, total - bottom);
}

/* With some slots busy, no plan touches them. */
static void check_busy(struct world *world)
{
    static struct nr_plan plan;
    struct nr_busy_slot busy[12];
    size_t busy_count = 0;
    struct nr_plan_view view = world_view(world);
    check_space(&view);
    for (size_t i = 0, tries = 0; i < NR_ARRAY_LEN(busy) && tries < 4 * NR_ARRAY_LEN(busy); tries++) {
        uint32_t level = 1 + (uint32_t)nr_random_below(&world->random, LEVELS - 1);
        const struct nr_level *slots = world->version->levels[level];
        const struct nr_slot *slot = nr_level_slot(slots, nr_random_below(&world->random, slots->slot_count));
        bool is_listed = false;
        for (size_t j = 0; j < i; j++) is_listed = is_listed || busy[j].slot_id == slot->slot_id;
        if (!is_listed) busy[i++] = (struct nr_busy_slot){level, slot->slot_id, slot->start, slot->end};
        busy_count = i;
    }
    nr_busy_sort(busy, busy_count);
    view.busy = busy;
    view.busy_count = busy_count;
    check_space(&view);
    nr_planner_choose(&view, &plan);
    if (plan.action == NR_ACTION_NONE) return;
    if (plan.action != NR_ACTION_MERGE_L0) expect_free(&view, plan.slot->level, plan.slot);
    for (size_t i = 0; i < plan.target_count; i++) expect_free(&view, plan.target_level, plan.targets[i].slot);
}

static void compact(struct world *world)
{
    uint64_t joined[MAX_JOINED];
    size_t joined_count = 0;
    for (size_t i = 0;; i++) {
        char text[512];
        struct nr_plan_view view = world_view(world);
        check_busy(world);
        nr_planner_choose(&view, &world->plan);
        if (world->plan.action == NR_ACTION_NONE) return;
        if (i > MAX_PLANS_PER_FLUSH) {
            world->plan.target_count = NR_MIN(world->plan.target_count, 4);
            model_describe(&world->plan, text, sizeof text);
            FAIL("no end of plans: %s", text);
        }
        EXPECT(world->plan.score > 0);
        switch (world->plan.action) {
        case NR_ACTION_ADMIT:
        case NR_ACTION_PROMOTE:
            carry_out_handover(world);
            break;
        case NR_ACTION_SPLIT:
            /* What was joined is not cut again before something new is flushed. */
            for (size_t j = 0; j < joined_count; j++) EXPECT(world->plan.slot->slot_id != joined[j]);
            carry_out_split(world);
            world->splits++;
            break;
        case NR_ACTION_SHIFT:
            carry_out_shift(world);
            break;
        case NR_ACTION_JOIN:
            EXPECT(joined_count < MAX_JOINED);
            joined[joined_count++] = world->plan.slot->slot_id;
            carry_out_joined_slots(world);
            break;
        default:
            carry_out_join(world);
        }
    }
}

static bool is_unsplittable(const struct world *world, uint64_t slot_id)
{
    for (size_t i = 0; i < world->unsplittable_count; i++) {
        if (world->unsplittable[i] == slot_id) return true;
    }
    return false;
}

static void check_bounds(const struct world *world)
{
    const struct nr_version *version = world->version;
    const struct nr_slot *level0 = nr_version_level0(version);
    EXPECT(nr_version_l0_depth(version) < NR_L0_ADMIT_DEPTH);
    EXPECT(level0->run_count <= 4 * NR_L0_ADMIT_DEPTH);
    for (uint32_t level = 1; level < LEVELS; level++) {
        const struct nr_level *slots = version->levels[level];
        uint64_t share = nr_planner_slot_share(&world->options, level);
        double slack = world->options.strategy == NORI_STRATEGY_ATLL ? world->options.max_space_amp : 1;
        uint64_t target = nr_planner_level_target(version, &world->options, level);
        if (level + 1 < LEVELS) EXPECT((double)slots->bytes <= slack * (double)target);
        for (size_t i = 0; i < slots->slot_count; i++) {
            const struct nr_slot *slot = nr_level_slot(slots, i);
            EXPECT(slot->run_count <= nr_planner_slot_k(&world->options, slot));
            bool is_fine = slots->slot_count >= 2 * (target / share) + 2; /* Cut as finely as it is to be. */
            EXPECT(slot->bytes < 2 * share + 2 || is_fine || is_unsplittable(world, slot->slot_id));
        }
    }
    struct nr_plan_view view = {.version = world->version, .options = &world->options};
    struct nr_space space;
    nr_planner_measure_space(&view, &space);
    EXPECT(space.above_bytes - level0->bytes <= space.bound_bytes);
}

static void run_world(int strategy, uint64_t seed, size_t flushes, bool learns, uint64_t *joins)
{
    static struct world world;
    world_init(&world, strategy, seed);
    if (learns) EXPECT_OK(nr_sketch_create(seed, &world.writes, &err), &err);
    if (learns) EXPECT_OK(nr_sketch_create(seed, &world.reads, &err), &err);
    for (size_t i = 0; i < flushes; i++) {
        flush(&world, i);
        if (nr_random_below(&world.random, 3) == 0) continue; /* Level 0 grows deep at times. */
        compact(&world);
        check_bounds(&world);
    }
    EXPECT(world.merged > 0);
    EXPECT(world.moved > 0);
    EXPECT(world.shifts > 0);
    EXPECT(learns || world.joins == 0);
    *joins += world.joins;
    nr_sketch_destroy(world.writes);
    nr_sketch_destroy(world.reads);
    nr_version_unref(world.version);
}

TEST(adaptive_plans_end_with_all_within_bounds)
{
    run_world(NORI_STRATEGY_ATLL, 1, 250, false, &(uint64_t){0});
}

TEST(leveled_plans_end_with_all_within_bounds)
{
    run_world(NORI_STRATEGY_LEVELED, 2, 250, false, &(uint64_t){0});
}

TEST(plans_with_learned_guards_end_too_and_never_cut_what_they_joined)
{
    uint64_t joins = 0;
    run_world(NORI_STRATEGY_ATLL, 3, 250, true, &joins);
    run_world(NORI_STRATEGY_LEVELED, 4, 250, true, &joins);
    EXPECT(joins > 0);
}

TEST(tiered_plans_end_with_all_within_bounds)
{
    run_world(NORI_STRATEGY_TIERED, 3, 250, false, &(uint64_t){0});
}

TEST(a_manual_compaction_comes_to_its_end)
{
    static struct world world;
    world_init(&world, NORI_STRATEGY_ATLL, 4);
    for (size_t i = 0; i < 40; i++) flush(&world, i);
    for (size_t i = 0;; i++) {
        struct nr_plan_view view = world_view(&world);
        view.is_manual = true;
        view.manual_end = nr_bound_infinite();
        if (!nr_planner_manual_pending(&view)) break;
        nr_planner_choose(&view, &world.plan);
        EXPECT(world.plan.action != NR_ACTION_NONE);
        EXPECT(i < 1000);
        if (world.plan.action == NR_ACTION_ADMIT || world.plan.action == NR_ACTION_PROMOTE)
            carry_out_handover(&world);
        else if (world.plan.action == NR_ACTION_SPLIT)
            carry_out_split(&world);
        else
            carry_out_join(&world);
    }
    EXPECT_EQ(nr_version_level0(world.version)->run_count, 0);
    nr_version_unref(world.version);
}

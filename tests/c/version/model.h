/* A tree by brute force: for each run, which file each key of the universe is in. Random edits change it and say
 * themselves as nr_edit. */
#ifndef NR_TESTS_VERSION_MODEL_H
#define NR_TESTS_VERSION_MODEL_H

#include "fixture.h"

#define MODEL_LEVELS 4
#define MODEL_RUNS 16

struct model_run {
    uint64_t run_id;
    uint64_t files[KEY_COUNT]; /* 0: not covered. */
    uint64_t low[KEY_COUNT];   /* Sequences of the key's entries. */
    uint64_t high[KEY_COUNT];
};

struct model_slot {
    size_t first, last; /* Keys. */
    uint64_t slot_id;
    uint32_t k_max;
    size_t run_count;
    struct model_run runs[MODEL_RUNS]; /* Newest first. */
};

struct model {
    struct universe universe;
    struct nr_random random;
    uint64_t next_run_id;
    uint64_t next_slot_id;
    uint64_t next_sequence;
    size_t join_count; /* Guards that went. */
    size_t slot_counts[MODEL_LEVELS];
    struct model_slot slots[MODEL_LEVELS][KEY_COUNT];
};

static inline size_t below(struct model *model, size_t limit)
{
    return (size_t)nr_random_below(&model->random, limit);
}

static inline void model_init(struct model *model, uint64_t seed)
{
    memset(model, 0, sizeof(*model));
    nr_random_init(&model->random, seed);
    model->next_slot_id = NR_FIRST_SLOT_ID;
    model->next_sequence = model->next_run_id = 1;
    for (size_t i = 0; i < MODEL_LEVELS; i++) {
        model->slot_counts[i] = 1;
        model->slots[i][0].last = KEY_COUNT;
        model->slots[i][0].slot_id = i;
        model->slots[i][0].k_max = 0;
    }
}

static inline bool covers_any(const struct model_run *run, size_t first, size_t last)
{
    for (size_t i = first; i < last; i++) {
        if (run->files[i]) return true;
    }
    return false;
}

/* Takes the run's keys in [first, last) away, or those outside. */
static inline void mask(struct model_run *run, size_t first, size_t last, bool inside)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if ((i >= first && i < last) == inside) run->files[i] = 0;
    }
}

/* A new file with all that 'run' covers, a slice for each stretch. The model's run becomes the new one. */
static inline struct nr_run *write_run(struct model *model, struct nr_edit *edit, struct model_run *run, uint32_t level)
{
    struct nr_table_slice slices[KEY_COUNT];
    size_t first = 0, last = KEY_COUNT, count = 0;
    uint64_t low = UINT64_MAX, high = 0;
    struct nr_run *made;
    while (!run->files[first]) first++;
    while (!run->files[last - 1]) last--;
    for (size_t i = first; i < last; i++) {
        if (!run->files[i]) continue;
        low = NR_MIN(low, run->low[i]);
        high = NR_MAX(high, run->high[i]);
    }
    struct nr_table_file *file = make_file(&model->universe, first, last, low, high, level);
    run->run_id = model->next_run_id++;
    for (size_t i = first; i < last; i++) {
        size_t begin = i;
        while (i < last && run->files[i]) run->files[i++] = file->number;
        if (i > begin) slices[count++] = slice_of(file, begin, i);
    }
    EXPECT_OK(nr_run_create(run->run_id, slices, count, &made, &err), &err);
    EXPECT_OK(nr_edit_add_file(edit, file, &err), &err);
    nr_table_file_unref(file);
    return made;
}

/* The run of neighbours merged: every key in the sequences of all. */
static inline void join_runs(struct model_run *into, const struct model_run *run, size_t first, size_t last)
{
    for (size_t i = first; i < last; i++) {
        if (!run->files[i]) continue;
        into->low[i] = into->files[i] ? NR_MIN(into->low[i], run->low[i]) : run->low[i];
        into->high[i] = into->files[i] ? NR_MAX(into->high[i], run->high[i]) : run->high[i];
        into->files[i] = 1;
    }
}

/* Replaces runs [first, first + count) of a slot by 'run' (NULL: by nothing). */
static inline void splice(struct model_slot *slot, size_t first, size_t count, const struct model_run *run)
{
    size_t added = run ? 1 : 0;
    memmove(&slot->runs[first + added], &slot->runs[first + count],
            (slot->run_count - first - count) * sizeof(*slot->runs));
    if (run) slot->runs[first] = *run;
    slot->run_count = slot->run_count - count + added;
}

/* Tells 'edit' what the model's slot holds. 'fresh': the newest run, where it is not in the version yet. */
static inline void set_slot(struct model *model, struct nr_version *version, struct nr_edit *edit, uint32_t level,
                            struct model_slot *slot, struct nr_run *const *fresh, size_t fresh_count)
{
    struct nr_run *runs[MODEL_RUNS];
    const struct nr_slot *old = nr_level_find(version->levels[level], guard_at(slot->first));
    for (size_t i = 0; i < slot->run_count; i++) {
        runs[i] = NULL;
        for (size_t j = 0; j < old->run_count; j++) {
            if (old->runs[j]->run_id == slot->runs[i].run_id) runs[i] = old->runs[j];
        }
        for (size_t j = 0; j < fresh_count; j++) {
            if (fresh[j]->run_id == slot->runs[i].run_id) runs[i] = fresh[j];
        }
        EXPECT(runs[i] != NULL);
    }
    slot->k_max = (uint32_t)below(model, 4) + 1;
    EXPECT_OK(nr_edit_set_slot(edit, level, guard_at(slot->first), slot->k_max, runs, slot->run_count, &err), &err);
}

static inline void flush(struct model *model, struct nr_edit *edit)
{
    struct model_slot *level0 = &model->slots[0][0];
    struct model_run run = {0};
    size_t first = below(model, KEY_COUNT), last = first + 1 + below(model, KEY_COUNT - first);
    if (level0->run_count >= 6) return;
    for (size_t i = first; i < last; i++) {
        run.low[i] = model->next_sequence + below(model, 5);
        run.high[i] = run.low[i] + below(model, 5);
        run.files[i] = 1;
    }
    model->next_sequence += 10;
    struct nr_run *made = write_run(model, edit, &run, 0);
    splice(level0, 0, 0, &run);
    EXPECT_OK(nr_edit_push_l0(edit, made, &err), &err);
    nr_run_unref(made);
}

static inline void merge_l0(struct model *model, struct nr_edit *edit)
{
    struct model_slot *level0 = &model->slots[0][0];
    struct model_run joined = {0};
    if (level0->run_count == 0) return;
    size_t first = below(model, level0->run_count), count = 1 + below(model, level0->run_count - first);
    uint64_t newest = level0->runs[first].run_id, oldest = level0->runs[first + count - 1].run_id;
    for (size_t i = first; i < first + count; i++) join_runs(&joined, &level0->runs[i], 0, KEY_COUNT);
    bool is_nothing_left = below(model, 8) == 0;
    struct nr_run *made = is_nothing_left ? NULL : write_run(model, edit, &joined, 0);
    splice(level0, first, count, is_nothing_left ? NULL : &joined);
    EXPECT_OK(nr_edit_merge_l0(edit, newest, oldest, made, &err), &err);
    nr_run_unref(made);
}

/* Takes the oldest level 0 slices over a slot of level 1; they join its newest runs, or a single one is moved. */
static inline void admit(struct model *model, struct nr_version *version, struct nr_edit *edit)
{
    struct model_slot *level0 = &model->slots[0][0], *slot = &model->slots[1][below(model, model->slot_counts[1])];
    struct model_run joined = {0}, moved = {0};
    struct nr_run *made = NULL;
    size_t wanted = 1 + below(model, 3), taken = 0;
    for (size_t i = level0->run_count; i-- > 0 && taken < wanted;) {
        struct model_run *run = &level0->runs[i];
        if (!covers_any(run, slot->first, slot->last)) continue;
        moved = *run;
        mask(&moved, slot->first, slot->last, false);
        join_runs(&joined, run, slot->first, slot->last);
        struct nr_bound end = bound_at(slot->last);
        struct nr_run *whole = nr_version_level0(version)->runs[i];
        EXPECT_EQ(whole->run_id, run->run_id);
        if (taken++ == 0) {
            moved.run_id = model->next_run_id;
            EXPECT_OK(nr_run_clip(whole, guard_at(slot->first), end, moved.run_id, &made, &err), &err);
            moved.run_id = made->run_id;
        }
        EXPECT_OK(nr_edit_subtract_l0(edit, run->run_id, guard_at(slot->first), end, &err), &err);
        mask(run, slot->first, slot->last, true);
        if (!covers_any(run, 0, KEY_COUNT)) splice(level0, i, 1, NULL);
    }
    if (taken == 0) return;
    size_t join_count = slot->run_count >= 6 ? slot->run_count : below(model, slot->run_count + 1);
    if (taken == 1 && join_count == 0) {
        model->next_run_id++;
        splice(slot, 0, 0, &moved);
    } else {
        nr_run_unref(made);
        for (size_t i = 0; i < join_count; i++) join_runs(&joined, &slot->runs[i], slot->first, slot->last);
        made = write_run(model, edit, &joined, 1);
        splice(slot, 0, join_count, &joined);
    }
    set_slot(model, version, edit, 1, slot, &made, 1);
    nr_run_unref(made);
}

static inline void tier(struct model *model, struct nr_version *version, struct nr_edit *edit)
{
    uint32_t level = 1 + (uint32_t)below(model, MODEL_LEVELS - 1);
    struct model_slot *slot = &model->slots[level][below(model, model->slot_counts[level])];
    struct model_run joined = {0};
    if (slot->run_count == 0) return;
    size_t first = below(model, slot->run_count), count = 1 + below(model, slot->run_count - first);
    for (size_t i = first; i < first + count; i++) join_runs(&joined, &slot->runs[i], slot->first, slot->last);
    struct nr_run *made = write_run(model, edit, &joined, level);
    splice(slot, first, count, &joined);
    set_slot(model, version, edit, level, slot, &made, 1);
    nr_run_unref(made);
}

/* The oldest run of a slot goes to the slots below, each part joined with the newest run there. */
static inline void promote(struct model *model, struct nr_version *version, struct nr_edit *edit)
{
    uint32_t level = 1 + (uint32_t)below(model, MODEL_LEVELS - 2);
    struct model_slot *slot = &model->slots[level][below(model, model->slot_counts[level])];
    if (slot->run_count == 0) return;
    struct model_run source = slot->runs[slot->run_count - 1];
    for (size_t i = 0; i < model->slot_counts[level + 1]; i++) {
        struct model_slot *target = &model->slots[level + 1][i];
        struct model_run joined = {0};
        if (target->last <= slot->first || target->first >= slot->last) continue;
        if (!covers_any(&source, target->first, target->last)) continue;
        size_t join_count = target->run_count >= 4 ? target->run_count : below(model, target->run_count + 1);
        join_runs(&joined, &source, target->first, target->last);
        for (size_t j = 0; j < join_count; j++) join_runs(&joined, &target->runs[j], target->first, target->last);
        struct nr_run *made = write_run(model, edit, &joined, level + 1);
        splice(target, 0, join_count, &joined);
        set_slot(model, version, edit, level + 1, target, &made, 1);
        nr_run_unref(made);
    }
    splice(slot, slot->run_count - 1, 1, NULL);
    set_slot(model, version, edit, level, slot, NULL, 0);
}

/* What 'old' has in [first, last) beside what 'slot' has already, oldest beside oldest. */
static inline void put_beside(struct model_slot *slot, const struct model_slot *old, size_t first, size_t last)
{
    struct model_run parts[MODEL_RUNS];
    size_t count = 0;
    for (size_t j = 0; j < old->run_count; j++) {
        if (covers_any(&old->runs[j], first, last)) parts[count++] = old->runs[j];
    }
    for (size_t j = 0; j < count; j++) mask(&parts[j], old->first, old->last, false);
    for (; slot->run_count < count; slot->run_count++) {
        memmove(&slot->runs[1], &slot->runs[0], slot->run_count * sizeof(*slot->runs));
        memset(&slot->runs[0], 0, sizeof(slot->runs[0]));
    }
    for (size_t j = 0; j < count; j++) {
        struct model_run *into = &slot->runs[slot->run_count - count + j];
        if (!covers_any(into, 0, KEY_COUNT)) into->run_id = parts[j].run_id;
        for (size_t key = old->first; key < old->last; key++) {
            if (!parts[j].files[key]) continue;
            into->files[key] = parts[j].files[key];
            into->low[key] = parts[j].low[key];
            into->high[key] = parts[j].high[key];
        }
    }
}

/* The slots of one level cut anew: those in [cuts) are guards. Mirrors nr_edit_set_guards. */
static inline void recut(struct model *model, struct nr_edit *edit, uint32_t level, const bool cuts[KEY_COUNT])
{
    static struct model_slot made[KEY_COUNT];
    nori_slice guards[KEY_COUNT];
    size_t count = 0, guard_count = 0;
    uint64_t first_slot_id = model->next_slot_id;
    for (size_t first = 0, last; first < KEY_COUNT; first = last) {
        struct model_slot *slot = &made[count++];
        last = first + 1;
        while (last < KEY_COUNT && !cuts[last]) last++;
        if (first > 0) guards[guard_count++] = guard_at(first);
        memset(slot, 0, sizeof(*slot));
        slot->k_max = 3;
        bool is_new = true;
        for (size_t i = 0; i < model->slot_counts[level]; i++) {
            const struct model_slot *old = &model->slots[level][i];
            if (old->first >= last || old->last <= first) continue;
            if (old->first == first) {
                is_new = false;
                slot->slot_id = old->slot_id;
                if (old->last == last) slot->k_max = old->k_max;
            }
            put_beside(slot, old, first, last);
        }
        if (is_new) slot->slot_id = model->next_slot_id++;
        slot->first = first;
        slot->last = last;
        for (size_t j = 0; j < slot->run_count; j++) mask(&slot->runs[j], first, last, false);
    }
    memcpy(model->slots[level], made, count * sizeof(*made));
    model->slot_counts[level] = count;
    EXPECT_OK(nr_edit_set_guards(edit, level, guards, guard_count, first_slot_id, 3, &err), &err);
}

/* New guards on a level and all deeper ones; old ones of that level go where no level above has them and age allows. */
static inline void move_guards(struct model *model, const struct nr_version *version, struct nr_edit *edit)
{
    uint32_t level = 1 + (uint32_t)below(model, MODEL_LEVELS - 1);
    size_t fresh = below(model, 4), key = 0, joined = 0;
    bool cuts[KEY_COUNT] = {false};
    for (size_t i = 1; i < model->slot_counts[level]; i++) {
        const struct model_slot *right = &model->slots[level][i];
        bool is_above = false;
        for (size_t j = 0; j < model->slot_counts[level - 1]; j++)
            is_above |= level > 1 && model->slots[level - 1][j].first == right->first;
        bool may_go = nr_version_may_join(version, level, guard_at(joined), bound_at(right->last));
        cuts[right->first] = is_above || !may_go || below(model, 3) == 0;
        if (cuts[right->first]) joined = right->first;
        if (!cuts[right->first]) model->join_count++;
    }
    for (size_t i = 0; i < fresh; i++) cuts[1 + below(model, KEY_COUNT - 1)] = true;
    recut(model, edit, level, cuts);
    for (uint32_t deeper = level + 1; deeper < MODEL_LEVELS; deeper++) {
        for (size_t i = 0; i < model->slot_counts[deeper]; i++) {
            key = model->slots[deeper][i].first;
            cuts[key] |= key > 0;
        }
        recut(model, edit, deeper, cuts);
    }
}

/* The next random edit; the model is ahead of 'version' by it. */
static inline struct nr_edit *model_step(struct model *model, struct nr_version *version)
{
    struct nr_edit *edit;
    EXPECT_OK(nr_edit_create(&edit, &err), &err);
    switch (below(model, 10)) {
    case 0:
        merge_l0(model, edit);
        break;
    case 1:
        move_guards(model, version, edit);
        break;
    case 2:
        tier(model, version, edit);
        break;
    case 3:
    case 4:
        promote(model, version, edit);
        break;
    case 5:
    case 6:
    case 7:
        admit(model, version, edit);
        break;
    default:
        flush(model, edit);
    }
    return edit;
}

/* Whether the version is the tree of the model. Ids of parts that guards cut off are not the model's to know. */
static inline void expect_model(struct model *model, const struct nr_version *version)
{
    for (size_t i = 0; i < MODEL_LEVELS; i++) {
        EXPECT_EQ(version->levels[i]->slot_count, model->slot_counts[i]);
        for (size_t j = 0; j < model->slot_counts[i]; j++) {
            struct model_slot *expected = &model->slots[i][j];
            const struct nr_slot *slot = nr_level_slot(version->levels[i], j);
            EXPECT(nr_slice_equal(slot->start, guard_at(expected->first)));
            EXPECT(nr_bound_compare(slot->end, bound_at(expected->last)) == 0);
            EXPECT_EQ(slot->slot_id, expected->slot_id);
            EXPECT_EQ(slot->k_max, expected->k_max);
            EXPECT_EQ(slot->run_count, expected->run_count);
            for (size_t k = 0; k < slot->run_count; k++) {
                for (size_t key = 0; key < KEY_COUNT; key++) {
                    const struct nr_table_slice *slice = nr_run_find(slot->runs[k], key_at(key));
                    EXPECT_EQ(slice ? slice->file->number : 0, expected->runs[k].files[key]);
                }
                if (expected->runs[k].run_id != slot->runs[k]->run_id) EXPECT(slot->runs[k]->run_id & NR_CUT_RUN_BIT);
                expected->runs[k].run_id = slot->runs[k]->run_id;
            }
        }
    }
}

#endif

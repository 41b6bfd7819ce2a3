#include "version/slot_list.h"

#include "base/alloc.h"
#include "version/level.h"

#define PART_SLOTS 128
#define SMALLEST_CAPACITY 8

/* Not empty. */
struct part {
    size_t count;
    struct nr_slot *slots[PART_SLOTS]; /* Refs. Ascending. */
};

struct nr_slot_list {
    struct part **parts; /* Owned, and what it points to. Ascending. */
    size_t part_count, part_capacity;
    size_t slot_count;
};

/* ---------------------------------------------------------------- parts */

/* A new part in front of part 'at'; it is empty yet. */
static nori_status insert_part(struct nr_slot_list *list, size_t at, struct nori_error *err)
{
    if (list->part_count == list->part_capacity) {
        size_t capacity = NR_MAX(list->part_capacity * 2, (size_t)SMALLEST_CAPACITY);
        struct part **parts = nr_realloc(list->parts, capacity * sizeof(*parts));
        if (!parts) return nr_fail_memory(err, capacity * sizeof(*parts));
        list->parts = parts;
        list->part_capacity = capacity;
    }
    struct part *part = nr_alloc(sizeof(*part));
    if (!part) return nr_fail_memory(err, sizeof(*part));
    part->count = 0;
    memmove(list->parts + at + 1, list->parts + at, (list->part_count - at) * sizeof(*list->parts));
    list->parts[at] = part;
    list->part_count++;
    return NORI_OK;
}

static void remove_part(struct nr_slot_list *list, size_t at)
{
    nr_free(list->parts[at]);
    list->part_count--;
    memmove(list->parts + at, list->parts + at + 1, (list->part_count - at) * sizeof(*list->parts));
}

/* The greater half of a full part becomes the next one. */
static nori_status split_part(struct nr_slot_list *list, size_t at, struct nori_error *err)
{
    nori_status rc = insert_part(list, at + 1, err);
    if (rc != NORI_OK) return rc;
    struct part *part = list->parts[at], *greater = list->parts[at + 1];
    greater->count = part->count - part->count / 2;
    part->count -= greater->count;
    memcpy(greater->slots, part->slots + part->count, greater->count * sizeof(part->slots[0]));
    return NORI_OK;
}

/* In front of '*place', which is behind it then. */
static nori_status insert_slot(struct nr_slot_list *list, struct nr_slot_place *place, struct nr_slot *slot,
                               struct nori_error *err)
{
    if (list->parts[place->part]->count == PART_SLOTS) {
        nori_status rc = split_part(list, place->part, err);
        if (rc != NORI_OK) return rc;
        size_t kept = list->parts[place->part]->count;
        if (place->index > kept) *place = (struct nr_slot_place){place->part + 1, place->index - kept};
    }
    struct part *part = list->parts[place->part];
    memmove(part->slots + place->index + 1, part->slots + place->index,
            (part->count - place->index) * sizeof(part->slots[0]));
    part->slots[place->index++] = nr_slot_ref(slot);
    part->count++;
    list->slot_count++;
    return NORI_OK;
}

/* From 'place' on, which may be behind a part's last. */
static void remove_slots(struct nr_slot_list *list, struct nr_slot_place place, size_t count)
{
    list->slot_count -= count;
    while (count > 0) {
        struct part *part = list->parts[place.part];
        size_t gone = NR_MIN(part->count - place.index, count);
        for (size_t i = 0; i < gone; i++) nr_slot_unref(part->slots[place.index + i]);
        part->count -= gone;
        memmove(part->slots + place.index, part->slots + place.index + gone,
                (part->count - place.index) * sizeof(part->slots[0]));
        count -= gone;
        if (part->count == 0)
            remove_part(list, place.part);
        else
            place.part++;
        place.index = 0;
    }
}

/* ---------------------------------------------------------------- the list */

nori_status nr_slot_list_create(const struct nr_level *level, struct nr_slot_list **list_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    *list_out = NULL;
    struct nr_slot_list *list = nr_calloc(1, sizeof(*list));
    if (!list) return nr_fail_memory(err, sizeof(*list));
    for (size_t i = 0; i < level->slot_count; i++) {
        /* Half full, so that there is room for more. */
        if (i % (PART_SLOTS / 2) == 0) NR_CHECK(insert_part(list, list->part_count, err));
        struct part *part = list->parts[list->part_count - 1];
        part->slots[part->count++] = nr_slot_ref(nr_level_slot(level, i));
        list->slot_count++;
    }
    *list_out = list;
    list = NULL;
out:
    nr_slot_list_destroy(list);
    return rc;
}

void nr_slot_list_destroy(struct nr_slot_list *list)
{
    if (!list) return;
    for (size_t i = 0; i < list->part_count; i++) {
        for (size_t j = 0; j < list->parts[i]->count; j++) nr_slot_unref(list->parts[i]->slots[j]);
        nr_free(list->parts[i]);
    }
    nr_free(list->parts);
    nr_free(list);
}

struct nr_slot_place nr_slot_list_find(const struct nr_slot_list *list, nori_slice key)
{
    /* The last that begins at or below the key: of parts, then of slots. The first begins below all keys. */
    size_t low = 0, high = list->part_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        bool is_above = nr_slice_compare(list->parts[middle]->slots[0]->start, key) > 0;
        *(is_above ? &high : &low) = middle;
    }
    struct nr_slot_place place = {low, 0};
    const struct part *part = list->parts[low];
    high = part->count;
    while (high - place.index > 1) {
        size_t middle = place.index + (high - place.index) / 2;
        bool is_above = nr_slice_compare(part->slots[middle]->start, key) > 0;
        *(is_above ? &high : &place.index) = middle;
    }
    return place;
}

struct nr_slot *nr_slot_list_at(const struct nr_slot_list *list, struct nr_slot_place place)
{
    return place.part < list->part_count ? list->parts[place.part]->slots[place.index] : NULL;
}

struct nr_slot_place nr_slot_list_next(const struct nr_slot_list *list, struct nr_slot_place place)
{
    if (place.index + 1 < list->parts[place.part]->count) return (struct nr_slot_place){place.part, place.index + 1};
    return (struct nr_slot_place){place.part + 1, 0};
}

struct nr_slot_place nr_slot_list_previous(const struct nr_slot_list *list, struct nr_slot_place place)
{
    if (place.index > 0) return (struct nr_slot_place){place.part, place.index - 1};
    NR_ASSERT(place.part > 0);
    return (struct nr_slot_place){place.part - 1, list->parts[place.part - 1]->count - 1};
}

nori_status nr_slot_list_replace(struct nr_slot_list *list, struct nr_slot_place place, size_t old_count,
                                 struct nr_slot *const *slots, size_t count, struct nori_error *err)
{
    NR_ASSERT(count > 0);
    for (size_t i = 0; i < count; i++) {
        nori_status rc = insert_slot(list, &place, slots[i], err);
        if (rc != NORI_OK) return rc;
    }
    remove_slots(list, place, old_count);
    return NORI_OK;
}

nori_status nr_slot_list_store(const struct nr_slot_list *list, struct nr_level **level, struct nori_error *err)
{
    nori_status rc;
    struct nr_level *made;
    size_t count = 0;
    struct nr_slot **slots = nr_calloc(list->slot_count, sizeof(*slots));

    if (!slots) return nr_fail_memory(err, list->slot_count * sizeof(*slots));
    for (size_t i = 0; i < list->part_count; i++) {
        memcpy(slots + count, list->parts[i]->slots, list->parts[i]->count * sizeof(*slots));
        count += list->parts[i]->count;
    }
    NR_CHECK(nr_level_create(slots, count, &made, err));
    nr_level_unref(*level);
    *level = made;
out:
    nr_free(slots);
    return rc;
}

/* Slots in a list, against an array of where they begin. */
#include "version/slot_list.h"

#include "fixture.h"
#include "version/level.h"

#define STEPS 3000
#define MOST_SLOTS 2000
#define KEY_LIMIT 100000000u

/* Where the slots begin, ascending, as numbers; the first is 0, the empty key. */
struct starts {
    uint32_t items[MOST_SLOTS];
    size_t count;
};

static nori_slice key_of(uint32_t number, char out[16])
{
    return number == 0 ? nr_slice("", 0) : nr_slice(out, (size_t)snprintf(out, 16, "%08" PRIu32, number));
}

/* Slot 'i' of those that begin at 'starts'; 'end' is where the last of them does. 0: nowhere. */
static struct nr_slot *make_slot(const uint32_t *starts, size_t count, size_t i, uint32_t end)
{
    struct nr_slot *slot;
    char start_text[16], end_text[16];
    uint32_t end_number = i + 1 < count ? starts[i + 1] : end;
    struct nr_bound bound = end_number ? nr_bound_key(key_of(end_number, end_text)) : nr_bound_infinite();
    EXPECT_OK(nr_slot_create(1, starts[i], key_of(starts[i], start_text), bound, 1, NULL, 0, &slot, &err), &err);
    return slot;
}

static struct nr_slot_list *make_list(void)
{
    struct nr_level *level;
    struct nr_slot_list *list;
    EXPECT_OK(nr_level_create_empty(1, &level, &err), &err);
    EXPECT_OK(nr_slot_list_create(level, &list, &err), &err);
    nr_level_unref(level);
    return list;
}

/* 'old' slots from the one at 'at' on become 'count' that begin at 'items', the first of them where the first of those
 * did. */
static void replace(struct nr_slot_list *list, struct starts *starts, size_t at, size_t old, const uint32_t *items,
                    size_t count)
{
    struct nr_slot *slots[64];
    char text[16];
    uint32_t end = at + old < starts->count ? starts->items[at + old] : 0;
    for (size_t i = 0; i < count; i++) slots[i] = make_slot(items, count, i, end);
    struct nr_slot_place place = nr_slot_list_find(list, key_of(items[0], text));
    EXPECT_OK(nr_slot_list_replace(list, place, old, slots, count, &err), &err);
    for (size_t i = 0; i < count; i++) nr_slot_unref(slots[i]);
    size_t behind = starts->count - at - old;
    memmove(&starts->items[at + count], &starts->items[at + old], behind * sizeof(starts->items[0]));
    memcpy(&starts->items[at], items, count * sizeof(items[0]));
    starts->count += count - old;
}

/* Some neighbours become as many, more or fewer. */
static void change_some(struct nr_slot_list *list, struct starts *starts, struct nr_random *random)
{
    uint32_t items[64];
    size_t at = (size_t)nr_random_below(random, starts->count);
    bool is_many = nr_random_below(random, 50) == 0;
    size_t old = 1 + (size_t)nr_random_below(random, NR_MIN(starts->count - at, is_many ? (size_t)400 : (size_t)4));
    size_t wanted = 1 + (size_t)nr_random_below(random, starts->count < MOST_SLOTS - 64 ? 8 : 1), count = 1;
    uint32_t low = starts->items[at], high = at + old < starts->count ? starts->items[at + old] : KEY_LIMIT;
    items[0] = low;
    while (count < wanted && high - items[count - 1] > 1) {
        items[count] =
            items[count - 1] + 1 + (uint32_t)nr_random_below(random, (high - items[count - 1] - 1 + 1) / 2 + 1);
        if (items[count] >= high) break;
        count++;
    }
    replace(list, starts, at, old, items, count);
}

static void expect_slots(const struct nr_slot_list *list, const struct starts *starts, struct nr_random *random)
{
    struct nr_slot_place place = {0, 0}, previous = place;
    for (size_t i = 0; i < starts->count; i++) {
        const struct nr_slot *slot = nr_slot_list_at(list, place);
        EXPECT_EQ(slot->slot_id, starts->items[i]);
        if (i > 0) {
            struct nr_slot_place back = nr_slot_list_previous(list, place);
            EXPECT(back.part == previous.part && back.index == previous.index);
        }
        previous = place;
        place = nr_slot_list_next(list, place);
    }
    EXPECT(nr_slot_list_at(list, place) == NULL);
    for (int i = 0; i < 20; i++) {
        char text[16];
        uint32_t key = (uint32_t)nr_random_below(random, KEY_LIMIT);
        size_t covering = starts->count - 1;
        while (starts->items[covering] > key) covering--;
        place = nr_slot_list_find(list, key_of(key, text));
        EXPECT_EQ(nr_slot_list_at(list, place)->slot_id, starts->items[covering]);
    }
}

TEST(the_list_holds_the_slots_that_an_array_would_hold_whatever_is_done)
{
    static struct starts starts;
    struct nr_random random;
    struct nr_slot_list *list = make_list();
    size_t most = 0;
    nr_random_init(&random, 11);
    starts.count = 1;
    for (int step = 0; step < STEPS; step++) {
        change_some(list, &starts, &random);
        most = NR_MAX(most, starts.count);
        if (step % 16 == 0) expect_slots(list, &starts, &random);
    }
    EXPECT(most > 500);
    struct nr_level *level;
    EXPECT_OK(nr_level_create_empty(1, &level, &err), &err);
    EXPECT_OK(nr_slot_list_store(list, &level, &err), &err);
    EXPECT_EQ(level->slot_count, starts.count);
    for (size_t i = 0; i < starts.count; i++) EXPECT_EQ(nr_level_slot(level, i)->slot_id, starts.items[i]);
    nr_slot_list_destroy(list);
    nr_level_unref(level);
}

TEST(without_memory_at_any_point_a_list_can_still_be_destroyed)
{
    struct nr_level *level;
    nori_status rc = NORI_NO_MEMORY;
    for (uint64_t nth = 1; rc == NORI_NO_MEMORY; nth++) {
        uint64_t live = nr_alloc_live();
        struct nr_slot_list *list = NULL;
        uint32_t start = 0;
        struct nr_slot *slot = make_slot(&start, 1, 0, 0);
        EXPECT_OK(nr_level_create_empty(1, &level, &err), &err);
        nr_alloc_fail_at(nth);
        rc = nr_slot_list_create(level, &list, &err);
        for (int i = 0; i < 2000 && rc == NORI_OK; i++)
            rc = nr_slot_list_replace(list, (struct nr_slot_place){0, 0}, 0, &slot, 1, &err);
        if (rc == NORI_OK) rc = nr_slot_list_store(list, &level, &err);
        nr_alloc_fail_at(0);
        nr_slot_list_destroy(list);
        nr_level_unref(level);
        nr_slot_unref(slot);
        EXPECT_EQ(nr_alloc_live(), live);
    }
    EXPECT_OK(rc, &err);
}

#include "walk.h"

#include "base/coding.h"
#include "iter/merge.h"
#include "iter/visible.h"

enum { MAX_ENTRIES = 400, MAX_CHILDREN = 4, MAX_RANGES = 8, VALUE_BYTES = 12 };

/* Entries spread over children, ranges, and what a reader must see of them. */
struct world {
    struct nr_entry all[MAX_ENTRIES];
    uint8_t values[MAX_ENTRIES][VALUE_BYTES];
    struct nr_entry parts[MAX_CHILDREN][MAX_ENTRIES];
    size_t sizes[MAX_CHILDREN];
    struct nr_range ranges[MAX_RANGES];
    size_t count, child_count, range_count;
    uint64_t sequence, now_ms;
    struct nr_entry shown[MAX_ENTRIES];
    size_t shown_count;
};

static void fill(struct world *world, struct nr_random *random, size_t count)
{
    memset(world, 0, sizeof(*world));
    world->count = count;
    world->child_count = 1 + nr_random_below(random, MAX_CHILDREN);
    world->range_count = nr_random_below(random, 2) * nr_random_below(random, MAX_RANGES + 1);
    /* Few keys have many entries each, enough for jumps. */
    uint64_t key_count = nr_random_below(random, 2) ? UNIVERSE_KEY_COUNT : 6;
    for (size_t i = 0; i < count; i++) {
        enum nr_entry_type type = (enum nr_entry_type)(nr_random_below(random, 3));
        size_t size = type == NR_TYPE_PUT_EXPIRING ? 8 + nr_random_below(random, 5) : nr_random_below(random, 12);
        world->values[i][11] = world->values[i][5] = (uint8_t)i;
        if (type == NR_TYPE_PUT_EXPIRING) nr_put_fixed64(world->values[i], nr_random_below(random, 20));
        if (type == NR_TYPE_DELETE) size = 0;
        world->all[i] = (struct nr_entry){universe_key(nr_random_below(random, key_count)), nr_tag(i, type),
                                          nr_slice(world->values[i], size)};
    }
    qsort(world->all, count, sizeof(struct nr_entry), compare_entries);
    for (size_t i = 0; i < count; i++) {
        size_t child = nr_random_below(random, world->child_count);
        world->parts[child][world->sizes[child]++] = world->all[i];
    }
    for (size_t i = 0; i < world->range_count; i++) {
        uint64_t end = nr_random_below(random, UNIVERSE_KEY_COUNT + 4);
        world->ranges[i].start = universe_key(nr_random_below(random, UNIVERSE_KEY_COUNT));
        world->ranges[i].end = end < UNIVERSE_KEY_COUNT ? nr_bound_key(universe_key(end)) : nr_bound_infinite();
        world->ranges[i].sequence = nr_random_below(random, count + 10);
    }
    world->sequence = nr_random_below(random, 2) ? NR_MAX_SEQUENCE : nr_random_below(random, count + 1);
    world->now_ms = nr_random_below(random, 25);
}

static bool is_covered(const struct world *world, const struct nr_entry *entry)
{
    for (size_t i = 0; i < world->range_count; i++) {
        const struct nr_range *range = &world->ranges[i];
        if (range->sequence > world->sequence || range->sequence <= nr_tag_sequence(entry->tag)) continue;
        if (nr_slice_compare(range->start, entry->key) <= 0 && nr_bound_above(range->end, entry->key)) return true;
    }
    return false;
}

static void find_shown(struct world *world)
{
    const struct nr_entry *decided = NULL;
    for (size_t i = 0; i < world->count; i++) {
        struct nr_entry entry = world->all[i];
        if (nr_tag_sequence(entry.tag) > world->sequence) continue;
        if (decided && nr_slice_equal(decided->key, entry.key)) continue;
        decided = &world->all[i];
        if (nr_tag_type(entry.tag) == NR_TYPE_DELETE || is_covered(world, &entry)) continue;
        if (nr_tag_type(entry.tag) == NR_TYPE_PUT_EXPIRING) {
            uint64_t expires_at_ms = nr_get_fixed64(entry.value.data);
            if (expires_at_ms != 0 && expires_at_ms <= world->now_ms) continue;
            entry.value = nr_slice(entry.value.data + 8, entry.value.size - 8);
        }
        world->shown[world->shown_count++] = entry;
    }
}

/* With ranges, and a few keys to see. */
static void fill_busy(struct world *world, struct nr_random *random)
{
    do {
        fill(world, random, 150);
        find_shown(world);
    } while (world->shown_count < 5 || world->range_count == 0);
}

static nori_status create(const struct world *world, struct nr_iter **iter_out, struct nori_error *err)
{
    struct nr_iter *children[MAX_CHILDREN], *merged;
    struct nr_tombstones *tombstones = NULL;
    nori_status rc = NORI_OK;
    *iter_out = NULL;
    NR_CHECK(nr_tombstones_build(world->ranges, world->range_count, &tombstones, err));
    for (size_t i = 0; i < world->child_count; i++) children[i] = vector_create(world->parts[i], world->sizes[i]);
    NR_CHECK(nr_merge_iter_create(children, world->child_count, &merged, err));
    NR_CHECK(nr_visible_iter_create(merged, tombstones, world->sequence, world->now_ms, iter_out, err));
out:
    nr_tombstones_unref(tombstones);
    return rc;
}

static struct shown shown_of(const struct world *world)
{
    return (struct shown){world->shown, world->shown_count, true};
}

TEST(a_reader_sees_the_newest_live_put_of_each_key_in_both_directions)
{
    struct nr_random random;
    struct nori_error err;
    static struct world world;
    nr_random_init(&random, 1);
    for (int round = 0; round < 250; round++) {
        struct nr_iter *iter;
        fill(&world, &random, nr_random_below(&random, round % 2 ? 100 : MAX_ENTRIES));
        find_shown(&world);
        EXPECT_OK(create(&world, &iter, &err), &err);
        walk(shown_of(&world), iter, &random, 150);
        nr_iter_destroy(iter);
        EXPECT_EQ(vector_live_count, 0);
    }
}

/* A script of moves that stops at the first failure. */
static nori_status run_script(struct nr_iter *iter, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    NR_CHECK(nr_iter_seek_first(iter, err));
    for (int i = 0; iter->entry; i++) NR_CHECK(i % 7 == 6 ? nr_iter_prev(iter, err) : nr_iter_next(iter, err));
    NR_CHECK(nr_iter_seek_last(iter, err));
    for (int i = 0; iter->entry; i++) NR_CHECK(i % 7 == 6 ? nr_iter_next(iter, err) : nr_iter_prev(iter, err));
    NR_CHECK(nr_iter_seek(iter, universe_key(20), 0, err));
    NR_CHECK(nr_iter_seek_back(iter, universe_key(20), 0, err));
out:
    return rc;
}

TEST(an_error_of_the_source_is_reported_and_a_seek_may_follow)
{
    struct nr_random random;
    struct nori_error err;
    static struct world world;
    nr_random_init(&random, 2);
    for (int round = 0; round < 4; round++) {
        struct nr_iter *iter;
        fill_busy(&world, &random);
        EXPECT_OK(create(&world, &iter, &err), &err);
        for (uint64_t nth = 1;; nth += 1 + nth / 100) {
            vector_fail_countdown = nth;
            nori_status status = run_script(iter, &err);
            if (vector_fail_countdown) break;
            EXPECT_EQ(status, NORI_IO);
            EXPECT(!iter->entry);
            walk(shown_of(&world), iter, &random, 10);
        }
        vector_fail_countdown = 0;
        nr_iter_destroy(iter);
    }
}

TEST(failed_allocations_are_reported_and_a_seek_may_follow)
{
    struct nr_random random;
    struct nori_error err;
    static struct world world;
    nr_random_init(&random, 3);
    fill_busy(&world, &random);
    bool is_done = false;
    for (uint64_t nth = 1; !is_done; nth++) {
        struct nr_iter *iter;
        nr_alloc_fail_at(nth);
        nori_status status = create(&world, &iter, &err);
        if (status == NORI_OK) {
            status = run_script(iter, &err);
            is_done = status == NORI_OK;
            nr_alloc_fail_at(0);
            EXPECT(is_done || !iter->entry);
            walk(shown_of(&world), iter, &random, 50);
        }
        EXPECT(is_done || status == NORI_NO_MEMORY);
        nr_iter_destroy(iter);
        EXPECT_EQ(vector_live_count, 0);
    }
}

static void expect_corrupt(struct nr_entry entry)
{
    struct nori_error err;
    struct nr_iter *iter;
    EXPECT_OK(nr_visible_iter_create(vector_create(&entry, 1), NULL, NR_MAX_SEQUENCE, 0, &iter, &err), &err);
    EXPECT_STATUS(nr_iter_seek_first(iter, &err), NORI_CORRUPTION, &err);
    EXPECT(!iter->entry);
    EXPECT_STATUS(nr_iter_seek_last(iter, &err), NORI_CORRUPTION, &err);
    EXPECT(!iter->entry);
    nr_iter_destroy(iter);
}

TEST(a_value_shorter_than_its_expiry_or_of_unknown_type_is_corruption)
{
    expect_corrupt((struct nr_entry){nr_slice_text("k"), nr_tag(3, NR_TYPE_PUT_EXPIRING), nr_slice_text("1234567")});
    expect_corrupt((struct nr_entry){nr_slice_text("k"), nr_tag(3, NR_TYPE_RANGE_DELETE), nr_slice_text("z")});
    expect_corrupt((struct nr_entry){nr_slice_text("k"), 3 << 8 | 0x10, nr_slice_text("z")});
}

/* Deletes without end, in both directions. */
struct endless_iter {
    struct nr_iter base;
    uint8_t key[8];
    struct nr_entry entry;
    uint64_t number;
};

static nori_status endless_move(struct nr_iter *iter, struct nori_error *err NR_UNUSED)
{
    struct endless_iter *endless = (struct endless_iter *)iter;
    nr_put_fixed64(endless->key, ++endless->number);
    endless->entry = (struct nr_entry){.key = nr_slice(endless->key, 8), .tag = nr_tag(1, NR_TYPE_DELETE)};
    nr_iter_show_one(iter, &endless->entry);
    return NORI_OK;
}

static void endless_destroy(struct nr_iter *iter NR_UNUSED)
{
}

static int stop_third_time(void *arg)
{
    return ++*(int *)arg >= 3;
}

TEST(skipping_asks_the_interrupt_hook)
{
    static const struct nr_iter_ops ops = {.seek_first = endless_move,
                                           .seek_last = endless_move,
                                           .next = endless_move,
                                           .prev = endless_move,
                                           .destroy = endless_destroy};
    struct endless_iter source = {.base = {.ops = &ops}};
    struct nr_iter *iter;
    struct nori_error err;
    int ask_count = 0;
    EXPECT_OK(nr_visible_iter_create(&source.base, NULL, NR_MAX_SEQUENCE, 0, &iter, &err), &err);
    nori_set_interrupt(stop_third_time, &ask_count);
    nori_status forward = nr_iter_seek_first(iter, &err);
    bool is_valid = iter->entry;
    ask_count = 0;
    nori_status backward = nr_iter_seek_last(iter, &err);
    nori_set_interrupt(NULL, NULL);
    EXPECT_EQ(forward, NORI_INTERRUPTED);
    EXPECT(!is_valid);
    EXPECT_EQ(backward, NORI_INTERRUPTED);
    EXPECT(!iter->entry);
    nr_iter_destroy(iter);
}

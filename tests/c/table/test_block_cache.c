#include "fixture.h"

static void insert(struct fixture *fixture, uint64_t file, uint64_t offset, size_t size, bool is_scan)
{
    struct nr_cached_block *block = nr_block_create(fixture->blocks, file, offset, size);
    EXPECT(block);
    memset(block->data, (int)(file * 31 + offset), size);
    nr_block_cache_insert(fixture->blocks, block, is_scan, NULL, 0);
    nr_block_unref(block);
}

static bool has(struct fixture *fixture, uint64_t file, uint64_t offset, bool is_scan)
{
    unsigned stripe = nr_epoch_enter(&fixture->epoch);
    struct nr_cached_block *block = nr_block_cache_find(fixture->blocks, file, offset, is_scan);
    bool found = block != NULL;
    if (found) EXPECT(block->data[0] == (uint8_t)(file * 31 + offset) && block->offset == offset);
    nr_epoch_leave(&fixture->epoch, stripe);
    return found;
}

TEST(cache_stays_within_its_budget_and_uses_it)
{
    static const size_t budgets[] = {0, 5000, 300000, 1 << 20, 5 << 20, 40 << 20};
    for (size_t i = 0; i < NR_ARRAY_LEN(budgets); i++) {
        struct fixture fixture;
        fixture_init(&fixture, budgets[i]);
        for (unsigned j = 0; j < 12000; j++) {
            insert(&fixture, 1 + j % 3, j * 4096, 100 + j * 37 % 8000, j % 2);
            EXPECT(nr_block_cache_bytes(fixture.blocks) <= budgets[i]);
        }
        if (i >= 2) EXPECT(nr_block_cache_bytes(fixture.blocks) >= budgets[i] - budgets[i] / 4);
        fixture_clear(&fixture);
    }
}

TEST(block_that_does_not_fit_is_left_out_and_a_second_copy_too)
{
    struct fixture fixture;
    fixture_init(&fixture, 1 << 20);
    insert(&fixture, 1, 0, 2 << 20, false);
    EXPECT(!has(&fixture, 1, 0, false));
    insert(&fixture, 1, 0, 100, false);
    size_t bytes = nr_block_cache_bytes(fixture.blocks);
    insert(&fixture, 1, 0, 100, false);
    EXPECT_EQ(nr_block_cache_bytes(fixture.blocks), bytes);
    EXPECT(has(&fixture, 1, 0, false));
    fixture_clear(&fixture);
}

TEST(long_scan_leaves_what_is_read_often)
{
    struct fixture fixture;
    unsigned kept = 0;
    fixture_init(&fixture, 4 << 20);
    for (unsigned i = 0; i < 500; i++) insert(&fixture, 1, i * 4096, 4096, false);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 500; i++) has(&fixture, 1, i * 4096, false);
    }
    for (unsigned i = 0; i < 50000; i++) insert(&fixture, 2, i * 4096, 4096, true);
    for (unsigned i = 0; i < 500; i++) kept += has(&fixture, 1, i * 4096, true);
    EXPECT(kept >= 480);
    fixture_clear(&fixture);
}

static void offer(struct fixture *fixture, uint64_t file, uint64_t offset, bool is_scan)
{
    struct nr_cached_block *block = nr_block_create(fixture->blocks, file, offset, 4096);
    EXPECT(block);
    memset(block->data, (int)(file * 31 + offset), 4096);
    nr_block_cache_offer(fixture->blocks, block, is_scan, NULL, 0);
    nr_block_unref(block);
}

TEST(what_is_offered_once_is_taken_while_there_is_room)
{
    struct fixture fixture;
    fixture_init(&fixture, 4 << 20);
    for (unsigned i = 0; i < 500; i++) offer(&fixture, 1, i * 4096, false);
    for (unsigned i = 0; i < 500; i++) EXPECT(has(&fixture, 1, i * 4096, false));
    fixture_clear(&fixture);
}

TEST(what_is_offered_to_a_full_cache_is_taken_the_second_time)
{
    struct fixture fixture;
    unsigned once = 0, twice = 0, kept = 0;
    fixture_init(&fixture, 4 << 20);
    for (unsigned i = 0; i < 2000; i++) insert(&fixture, 1, i * 4096, 4096, false);
    for (unsigned i = 0; i < 100; i++) {
        offer(&fixture, 2, i * 4096, false);
        once += has(&fixture, 2, i * 4096, true);
        offer(&fixture, 2, i * 4096, false);
        twice += has(&fixture, 2, i * 4096, true);
    }
    EXPECT_EQ(once, 0);
    EXPECT_EQ(twice, 100);
    /* Those that come and do not come back leave the others alone, and only a mark for a while. */
    for (unsigned i = 0; i < 20000; i++) offer(&fixture, 3, i * 4096, false);
    for (unsigned i = 0; i < 100; i++) kept += has(&fixture, 2, i * 4096, true);
    EXPECT_EQ(kept, 100);
    offer(&fixture, 3, 0, false);
    EXPECT(!has(&fixture, 3, 0, true));
    offer(&fixture, 3, 4096, true); /* Scans have a queue of their own. */
    EXPECT(has(&fixture, 3, 4096, true));
    fixture_clear(&fixture);
}

TEST(blocks_of_a_dropped_file_are_gone_and_others_stay)
{
    struct fixture fixture;
    fixture_init(&fixture, 16 << 20);
    for (unsigned i = 0; i < 1000; i++) insert(&fixture, 1 + i % 2, i * 4096, 100, i % 3 == 0);
    nr_block_cache_drop_file(fixture.blocks, 2);
    for (unsigned i = 0; i < 1000; i++) EXPECT_EQ(has(&fixture, 1 + i % 2, i * 4096, false), i % 2 == 0);
    nr_block_cache_drop_file(fixture.blocks, 1);
    EXPECT_EQ(nr_block_cache_bytes(fixture.blocks), 0);
    fixture_clear(&fixture);
}

TEST(block_found_inside_the_epoch_outlives_its_eviction)
{
    struct fixture fixture;
    fixture_init(&fixture, 1 << 20);
    insert(&fixture, 1, 8192, 5000, false);
    unsigned stripe = nr_epoch_enter(&fixture.epoch);
    struct nr_cached_block *block = nr_block_cache_find(fixture.blocks, 1, 8192, false);
    EXPECT(block);
    for (unsigned i = 0; i < 2000; i++) insert(&fixture, 2, i * 4096, 4096, false);
    nr_block_cache_drop_file(fixture.blocks, 1);
    EXPECT(!nr_block_cache_find(fixture.blocks, 1, 8192, false));
    EXPECT_EQ(block->data[4999], (uint8_t)(31 + 8192));
    nr_block_ref(block);
    nr_epoch_leave(&fixture.epoch, stripe);
    nr_epoch_collect(&fixture.epoch);
    EXPECT_EQ(block->data[4999], (uint8_t)(31 + 8192));
    nr_block_unref(block);
    fixture_clear(&fixture);
}

/* Looks the block up, and leaves the shortcut to others. */
static void shorten(struct fixture *fixture, uint64_t offset, struct nr_block_shortcut *shortcut)
{
    unsigned stripe = nr_epoch_enter(&fixture->epoch);
    struct nr_cached_block *block = nr_block_cache_find(fixture->blocks, 1, offset, false);
    EXPECT(block);
    nr_block_cache_shorten(fixture->blocks, block, shortcut, offset / 4096);
    EXPECT(nr_block_shortcut_follow(shortcut, offset / 4096) == block);
    nr_epoch_leave(&fixture->epoch, stripe);
}

TEST(shortcut_leads_to_what_is_cached_and_to_nothing_that_is_not)
{
    struct fixture fixture;
    struct nr_block_shortcut *shortcut, *reopened;
    fixture_init(&fixture, 1 << 20);
    shortcut = nr_block_shortcut_create(3);
    reopened = nr_block_shortcut_create(3);
    EXPECT(shortcut && reopened);
    for (size_t i = 0; i < 3; i++) {
        EXPECT(!nr_block_shortcut_follow(shortcut, i));
        insert(&fixture, 1, i * 4096, 4096, i == 1);
        shorten(&fixture, i * 4096, shortcut);
    }
    /* The table's next opening takes it over. */
    shorten(&fixture, 8192, reopened);
    EXPECT(!nr_block_shortcut_follow(shortcut, 2));
    nr_block_shortcut_unref(shortcut); /* Two blocks have it still. */
    for (unsigned i = 0; i < 2000; i++) insert(&fixture, 2, i * 4096, 4096, false);
    EXPECT(!has(&fixture, 1, 8192, false));
    EXPECT(!nr_block_shortcut_follow(reopened, 2));
    insert(&fixture, 1, 0, 4096, false);
    shorten(&fixture, 0, reopened);
    nr_block_cache_drop_file(fixture.blocks, 1);
    EXPECT(!nr_block_shortcut_follow(reopened, 0));
    insert(&fixture, 1, 0, 4096, false);
    shorten(&fixture, 0, reopened);
    fixture_clear(&fixture); /* While it leads somewhere. */
    EXPECT(!nr_block_shortcut_follow(reopened, 0));
    nr_block_shortcut_unref(reopened);
}

TEST(block_that_was_evicted_meanwhile_gets_no_shortcut)
{
    struct fixture fixture;
    struct nr_block_shortcut *shortcut = nr_block_shortcut_create(1);
    fixture_init(&fixture, 1 << 20);
    insert(&fixture, 1, 0, 4096, false);
    unsigned stripe = nr_epoch_enter(&fixture.epoch);
    struct nr_cached_block *block = nr_block_cache_find(fixture.blocks, 1, 0, false);
    EXPECT(shortcut && block);
    nr_block_cache_drop_file(fixture.blocks, 1);
    nr_block_cache_shorten(fixture.blocks, block, shortcut, 0);
    EXPECT(!nr_block_shortcut_follow(shortcut, 0));
    nr_epoch_leave(&fixture.epoch, stripe);
    nr_block_shortcut_unref(shortcut);
    fixture_clear(&fixture);
}

struct worker {
    struct fixture *fixture;
    struct nr_block_shortcut **shortcuts; /* Of the three files. */
    uint64_t seed;
    unsigned wrong;
    unsigned followed;
};

static void *work(void *arg)
{
    struct worker *worker = arg;
    struct fixture *fixture = worker->fixture;
    struct nr_random random;
    nr_random_init(&random, worker->seed);
    for (unsigned i = 0; i < 6000; i++) {
        uint64_t file = 1 + nr_random_below(&random, 3), offset = nr_random_below(&random, 300) * 4096;
        unsigned stripe = nr_epoch_enter(&fixture->epoch);
        struct nr_block_shortcut *shortcut = worker->shortcuts[file - 1];
        struct nr_cached_block *block = nr_block_shortcut_follow(shortcut, offset / 4096);
        if (block) {
            worker->wrong += block->file_number != file || block->offset != offset;
            worker->followed++;
        } else {
            block = nr_block_cache_find(fixture->blocks, file, offset, i % 4 == 0);
            if (block) nr_block_cache_shorten(fixture->blocks, block, shortcut, offset / 4096);
        }
        if (block) {
            worker->wrong += block->data[1999] != (uint8_t)(file * 31 + offset);
        } else {
            block = nr_block_create(fixture->blocks, file, offset, 2000);
            if (block) {
                memset(block->data, (int)(file * 31 + offset), 2000);
                nr_block_cache_insert(fixture->blocks, block, i % 4 == 0, NULL, 0);
                worker->wrong += block->data[1999] != (uint8_t)(file * 31 + offset);
                nr_block_unref(block);
            }
        }
        nr_epoch_leave(&fixture->epoch, stripe);
        if (i % 1000 == 999) nr_block_cache_drop_file(fixture->blocks, file);
    }
    return NULL;
}

TEST(threads_that_find_insert_and_evict_never_see_a_wrong_byte)
{
    struct fixture fixture;
    struct worker workers[4];
    struct nr_block_shortcut *shortcuts[3];
    pthread_t threads[4];
    fixture_init(&fixture, 300000);
    for (unsigned i = 0; i < 3; i++) EXPECT((shortcuts[i] = nr_block_shortcut_create(300)) != NULL);
    for (unsigned i = 0; i < 4; i++) {
        workers[i] = (struct worker){&fixture, shortcuts, i + 1, 0, 0};
        EXPECT(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        EXPECT_EQ(workers[i].wrong, 0);
        EXPECT(workers[i].followed > 0);
    }
    for (unsigned i = 0; i < 3; i++) nr_block_shortcut_unref(shortcuts[i]);
    EXPECT(nr_block_cache_bytes(fixture.blocks) <= 300000);
    fixture_clear(&fixture);
}

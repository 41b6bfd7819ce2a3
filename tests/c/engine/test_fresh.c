/* Fresh entries: what tables count stays true while merges, moves, guards, deletes, snapshots and reopens go on. */
#include "base/random.h"
#include "compact/merge.h"
#include "engine/engine.h"
#include "fixture.h"

#define KEYS 3000
#define ROUNDS 12
#define LIFE_MS 100000

static struct nori_error err;

static int number_of(nori_slice key)
{
    return atoi((const char *)key.data + 3);
}

/* Which keys a run has anything of; of those in [start, end) whose newest entry is a put, how many are not in 'older'.
 */
static uint64_t read_run(struct nori_engine *engine, struct nr_run *run, nori_slice start, struct nr_bound end,
                         bool held[KEYS], const bool older[KEYS])
{
    struct nr_read read = {.is_scan = true};
    struct nr_iter *iter = NULL;
    uint64_t fresh = 0;
    int last = -1;
    EXPECT_OK(nr_run_iter_create(run, start, end, engine->tables, &engine->epoch, &read, &iter, &err), &err);
    EXPECT_OK(nr_iter_seek_first(iter, &err), &err);
    while (iter->entry) {
        int number = number_of(iter->entry->key);
        fresh += number != last && nr_tag_type(iter->entry->tag) != NR_TYPE_DELETE && !older[number];
        last = number;
        held[number] = true;
        EXPECT_OK(nr_iter_next(iter, &err), &err);
    }
    nr_iter_destroy(iter);
    nr_read_clear(&read);
    return fresh;
}

/* What all tables count as fresh, having looked whether each of them may. */
static uint64_t check_fresh(struct nori_engine *engine)
{
    static bool below[KEYS], older[KEYS], none[KEYS], here[KEYS];
    struct nr_view *view = nr_view_acquire(engine);
    uint64_t counted = 0;
    memset(below, 0, sizeof below);
    for (size_t level = view->version->level_count; level-- > 1;) {
        const struct nr_level *slots = view->version->levels[level];
        memset(here, 0, sizeof here);
        for (size_t i = 0; i < slots->slot_count; i++) {
            const struct nr_slot *slot = nr_level_slot(slots, i);
            memcpy(older, below, sizeof older);
            for (size_t j = slot->run_count; j-- > 0;) {
                struct nr_run *run = slot->runs[j];
                for (size_t k = 0; k < run->slice_count; k++) {
                    const struct nr_table_slice *slice = &run->slices[k];
                    const struct nr_table_properties *properties = &slice->file->properties;
                    uint64_t most = read_run(engine, run, slice->start, slice->end, none, older);
                    bool is_whole = nr_slice_equal(slice->start, properties->smallest) &&
                                    nr_bound_compare(slice->end, properties->end) == 0;
                    if (is_whole) EXPECT(properties->fresh_count <= most);
                    counted += is_whole ? properties->fresh_count : 0;
                }
                (void)read_run(engine, run, slot->start, slot->end, older, none);
                (void)read_run(engine, run, slot->start, slot->end, here, none);
            }
        }
        for (size_t i = 0; i < KEYS; i++) below[i] |= here[i];
        memset(none, 0, sizeof none);
    }
    nr_view_release(view);
    return counted;
}

/* Half of the writes are of new keys, the others of any. */
static void write_some(struct nori_engine *engine, struct nr_random *random, int *next)
{
    char key[16], value[101] = {0};
    struct nori_write_options expiring = {.sync = 0, .ttl_secs = LIFE_MS / 1000};
    for (int i = 0; i < 300; i++) {
        bool is_new = *next < KEYS && nr_random_below(random, 2) == 0;
        int number = is_new ? (*next)++ * 7 % KEYS : (int)nr_random_below(random, KEYS);
        uint64_t kind = is_new ? 50 : nr_random_below(random, 60);
        snprintf(key, sizeof key, "key%05d", number);
        for (size_t j = 0; j < 100; j++) value[j] = (char)('0' + nr_random_below(random, 75));
        if (kind == 0) {
            char stop_text[16];
            snprintf(stop_text, sizeof stop_text, "key%05d", number + 20);
            nori_slice start = nr_slice_text(key), stop = nr_slice_text(stop_text);
            EXPECT_OK(nori_delete_range(engine, &start, &stop, NULL, &err), &err);
        } else if (kind < 10) {
            EXPECT_OK(nori_delete(engine, nr_slice_text(key), NULL, &err), &err);
        } else {
            const struct nori_write_options *options = kind < 25 ? &expiring : NULL;
            EXPECT_OK(nori_put(engine, nr_slice_text(key), nr_slice_text(value), options, &err), &err);
        }
    }
}

TEST(what_tables_count_as_fresh_is_fresh_whatever_happens_to_them)
{
    uint64_t counted = 0;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct nori_env *env;
        struct nori_engine *engine;
        struct nori_snapshot *snapshot = NULL;
        struct nr_random random;
        int next = 0;
        nr_random_init(&random, seed);
        EXPECT_OK(nori_simdisk_create(seed, 4096, false, &env, &err), &err);
        EXPECT_OK(open_small(env, "/db", &engine, &err), &err);
        for (int round = 0; round < ROUNDS; round++) {
            write_some(engine, &random, &next);
            counted += check_fresh(engine);
            nori_simdisk_advance(env, (int64_t)LIFE_MS * 300, LIFE_MS * 3 / 10);
            if (round % 3 == 0) {
                nori_snapshot_destroy(snapshot);
                EXPECT_OK(nori_snapshot_create(engine, 0, &snapshot, &err), &err);
            }
            if (round % 4 != 3) continue;
            nori_snapshot_destroy(snapshot);
            snapshot = NULL;
            EXPECT_OK(nori_close(engine, &err), &err);
            nori_destroy(engine);
            EXPECT_OK(open_small(env, "/db", &engine, &err), &err);
        }
        nori_snapshot_destroy(snapshot);
        expect_sound(engine);
        EXPECT_OK(nori_close(engine, &err), &err);
        nori_destroy(engine);
        nori_simdisk_destroy(env);
    }
    EXPECT(counted > 0);
}

/* Bytes that merges wrote for 'count' writes, new keys each, or to keys that are there. */
static uint64_t merged_bytes(bool are_new)
{
    struct nori_env *env;
    struct nori_engine *engine;
    struct nori_stats stats;
    struct nr_random random;
    char key[16], value[101] = {0};
    struct nori_options options = small_options();
    struct nori_open_params params = {.options = &options};
    options.table_bytes = 4096; /* Slots have tables of their own. */
    nr_random_init(&random, 5);
    EXPECT_OK(nori_simdisk_create(5, 4096, false, &env, &err), &err);
    params.env = env;
    EXPECT_OK(nori_open("/db", &params, &engine, &err), &err);
    uint64_t before = 0;
    for (int i = 0; i < 2 * KEYS; i++) {
        if (i == KEYS) {
            EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &err), &err);
            EXPECT_OK(nori_stats(engine, &stats, &err), &err);
            before = stats.compaction_bytes_written;
        }
        bool is_new = i < KEYS || are_new;
        snprintf(key, sizeof key, "key%05d", i * 7 % KEYS * 2 + (is_new && i >= KEYS));
        for (size_t j = 0; j < 100; j++) value[j] = (char)('0' + nr_random_below(&random, 75));
        EXPECT_OK(put_text(engine, key, value, &err), &err);
    }
    EXPECT_OK(nori_stats(engine, &stats, &err), &err);
    EXPECT_OK(nori_close(engine, &err), &err);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
    return stats.compaction_bytes_written - before;
}

TEST(new_keys_are_not_merged_for_space)
{
    EXPECT(merged_bytes(true) * 10 < merged_bytes(false) * 7); /* Measured 0.56. */
}

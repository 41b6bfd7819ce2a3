#include "fixture.h"

static struct nori_env *make_disk(uint64_t seed)
{
    struct nori_env *env;
    struct nori_error error;
    EXPECT_OK(nori_simdisk_create(seed, 512, false, &env, &error), &error);
    return env;
}

TEST(what_is_put_is_read_back_before_and_after_flush_compaction_and_reopening)
{
    struct nori_env *env = make_disk(1);
    struct nori_engine *engine;
    struct nori_error error;
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    EXPECT_OK(put_text(engine, "b", "two", &error), &error);
    EXPECT_OK(put_text(engine, "a", "one", &error), &error);
    EXPECT_VALUE(engine, NULL, "a", "one");
    EXPECT_ABSENT(engine, NULL, "c");
    EXPECT_OK(nori_flush(engine, &error), &error);
    EXPECT_VALUE(engine, NULL, "a", "one");
    EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &error), &error);
    EXPECT_VALUE(engine, NULL, "b", "two");
    EXPECT_OK(nori_delete(engine, nr_slice_text("a"), NULL, &error), &error);
    EXPECT_ABSENT(engine, NULL, "a");
    expect_sound(engine);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    EXPECT_ABSENT(engine, NULL, "a");
    EXPECT_VALUE(engine, NULL, "b", "two");
    EXPECT_OK(nori_close(engine, &error), &error);
    EXPECT_STATUS(put_text(engine, "x", "y", &error), NORI_CLOSED, &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

TEST(a_kill_loses_no_acknowledged_write)
{
    struct nori_env *env = make_disk(2);
    struct nori_engine *engine;
    struct nori_error error;
    char key[32], value[700];
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = 0;
    for (int i = 0; i < 300; i++) {
        snprintf(key, sizeof key, "key%05d", i * 7919 % 300);
        EXPECT_OK(put_text(engine, key, value, &error), &error);
    }
    nori_simdisk_kill(env);
    nori_destroy(engine);
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    for (int i = 0; i < 300; i++) {
        snprintf(key, sizeof key, "key%05d", i);
        EXPECT_VALUE(engine, NULL, key, value);
    }
    uint64_t count;
    EXPECT_OK(nori_count(engine, NULL, &count, &error), &error);
    EXPECT_EQ(count, 300);
    expect_sound(engine);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

TEST(snapshots_and_scans_do_not_move)
{
    struct nori_env *env = make_disk(3);
    struct nori_engine *engine;
    struct nori_error error;
    struct nori_snapshot *snapshot;
    struct nori_scan *scan;
    const struct nori_entry *entries;
    char key[32];
    size_t count, total = 0;
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "key%03d", i);
        EXPECT_OK(put_text(engine, key, "old", &error), &error);
    }
    EXPECT_OK(nori_snapshot_create(engine, 0, &snapshot, &error), &error);
    struct nori_scan_params params = {.limit = UINT64_MAX};
    EXPECT_OK(nori_scan_open(engine, &params, &scan, &error), &error);
    EXPECT_OK(nori_scan_next(scan, 10, SIZE_MAX, &entries, &count, &error), &error);
    EXPECT_EQ(count, 10);
    total += count;
    EXPECT_OK(nori_delete_range(engine, NULL, NULL, NULL, &error), &error);
    for (int i = 50; i < 150; i++) {
        snprintf(key, sizeof key, "key%03d", i);
        EXPECT_OK(put_text(engine, key, "new", &error), &error);
        if (i % 20 == 0) EXPECT_OK(nori_flush(engine, &error), &error);
    }
    EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &error), &error);
    EXPECT_VALUE(engine, snapshot, "key010", "old");
    EXPECT_ABSENT(engine, NULL, "key010");
    EXPECT_VALUE(engine, NULL, "key060", "new");
    EXPECT_VALUE(engine, snapshot, "key060", "old");
    EXPECT_ABSENT(engine, snapshot, "key120");
    do {
        EXPECT_OK(nori_scan_next(scan, 7, SIZE_MAX, &entries, &count, &error), &error);
        for (size_t i = 0; i < count; i++) {
            snprintf(key, sizeof key, "key%03zu", total + i);
            EXPECT_SLICE(entries[i].key, key);
            EXPECT_SLICE(entries[i].value, "old");
        }
        total += count;
    } while (count > 0);
    EXPECT_EQ(total, 100);
    nori_scan_destroy(scan);
    nori_snapshot_destroy(snapshot);
    EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &error), &error);
    expect_sound(engine);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

TEST(scans_respect_bounds_direction_limit_and_seek)
{
    struct nori_env *env = make_disk(4);
    struct nori_engine *engine;
    struct nori_error error;
    struct nori_scan *scan;
    const struct nori_entry *entries;
    size_t count;
    uint64_t left;
    char key[2] = "a";
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    for (char c = 'a'; c <= 'j'; c++) {
        key[0] = c;
        EXPECT_OK(put_text(engine, key, key, &error), &error);
        if (c == 'e') EXPECT_OK(nori_flush(engine, &error), &error);
    }
    nori_slice start = nr_slice_text("b"), stop = nr_slice_text("h");
    struct nori_scan_params params = {
        .start = &start, .stop = &stop, .exclude_start = true, .include_stop = true, .limit = 4};
    EXPECT_OK(nori_scan_open(engine, &params, &scan, &error), &error);
    EXPECT_OK(nori_scan_count(scan, &left, &error), &error);
    EXPECT_EQ(left, 4);
    EXPECT_OK(nori_scan_next(scan, 2, SIZE_MAX, &entries, &count, &error), &error);
    EXPECT_EQ(count, 2);
    EXPECT_SLICE(entries[0].key, "c");
    EXPECT_OK(nori_scan_seek(scan, nr_slice_text("g"), &error), &error);
    EXPECT_OK(nori_scan_next(scan, 5, SIZE_MAX, &entries, &count, &error), &error);
    EXPECT_EQ(count, 2);
    EXPECT_SLICE(entries[1].key, "h");
    nori_scan_destroy(scan);
    params.reverse = true;
    params.limit = UINT64_MAX;
    EXPECT_OK(nori_scan_open(engine, &params, &scan, &error), &error);
    EXPECT_OK(nori_scan_next(scan, 100, SIZE_MAX, &entries, &count, &error), &error);
    EXPECT_EQ(count, 6);
    EXPECT_SLICE(entries[0].key, "h");
    EXPECT_SLICE(entries[5].key, "c");
    EXPECT_OK(nori_scan_seek(scan, nr_slice_text("d"), &error), &error);
    EXPECT_OK(nori_scan_count(scan, &left, &error), &error);
    EXPECT_EQ(left, 2);
    nori_scan_destroy(scan);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

TEST(a_scan_begins_and_ends_at_keys_that_are_there_as_it_is_told)
{
    struct nori_env *env = make_disk(7);
    struct nori_engine *engine;
    struct nori_error error;
    char key[2] = "a";
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    for (key[0] = 'a'; key[0] <= 'j'; key[0]++) {
        EXPECT_OK(put_text(engine, key, key, &error), &error);
        if (key[0] == 'e') EXPECT_OK(nori_flush(engine, &error), &error);
    }
    nori_slice start = nr_slice_text("b"), stop = nr_slice_text("h");
    for (int choice = 0; choice < 8; choice++) {
        struct nori_scan *scan;
        const struct nori_entry *entries;
        size_t count;
        uint64_t left;
        struct nori_scan_params params = {.start = &start, .stop = &stop, .limit = UINT64_MAX};
        params.exclude_start = choice & 1;
        params.include_stop = choice & 2;
        params.reverse = choice & 4;
        const char *first = params.exclude_start ? "c" : "b", *last = params.include_stop ? "h" : "g";
        EXPECT_OK(nori_scan_open(engine, &params, &scan, &error), &error);
        EXPECT_OK(nori_scan_count(scan, &left, &error), &error);
        EXPECT_OK(nori_scan_next(scan, 100, SIZE_MAX, &entries, &count, &error), &error);
        EXPECT_EQ(count, last[0] - first[0] + 1);
        EXPECT_EQ(left, count);
        EXPECT_SLICE(entries[0].key, params.reverse ? last : first);
        EXPECT_SLICE(entries[count - 1].key, params.reverse ? first : last);
        nori_scan_destroy(scan);
    }
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

TEST(pop_setdefault_and_pop_last_see_what_is_there)
{
    struct nori_env *env = make_disk(5);
    struct nori_engine *engine;
    struct nori_error error;
    struct text_value value;
    bool found;
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    EXPECT_OK(put_text(engine, "a", "1", &error), &error);
    EXPECT_OK(put_text(engine, "b", "2", &error), &error);
    EXPECT_OK(nori_flush(engine, &error), &error);
    EXPECT_OK(nori_pop(engine, nr_slice_text("a"), NULL, take_text, &value, &found, &error), &error);
    EXPECT(found);
    EXPECT(strcmp(value.text, "1") == 0);
    EXPECT_OK(nori_pop(engine, nr_slice_text("a"), NULL, take_text, &value, &found, &error), &error);
    EXPECT(!found);
    EXPECT_OK(nori_set_default(engine, nr_slice_text("b"), nr_slice_text("x"), NULL, take_text, &value, &found, &error),
              &error);
    EXPECT(found && strcmp(value.text, "2") == 0);
    EXPECT_OK(nori_set_default(engine, nr_slice_text("c"), nr_slice_text("3"), NULL, take_text, &value, &found, &error),
              &error);
    EXPECT(!found);
    EXPECT_OK(nori_pop_last(engine, NULL, NULL, take_text, &value, &found, &error), &error);
    EXPECT(found && strcmp(value.text, "3") == 0);
    EXPECT_ABSENT(engine, NULL, "c");
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

struct meddling {
    struct nori_engine *engine;
    struct text_value value;
    int calls;
};

/* Takes the value, and at first writes another key and value behind the back of who looks. */
static bool take_and_write(void *arg, nori_slice value)
{
    struct meddling *meddling = arg;
    struct nori_error error;
    take_text(&meddling->value, value);
    if (++meddling->calls > 1) return true;
    EXPECT_OK(put_text(meddling->engine, "a", "newer", &error), &error);
    EXPECT_OK(put_text(meddling->engine, "z", "newest", &error), &error);
    return true;
}

TEST(what_is_written_between_look_and_removal_is_not_removed_unseen)
{
    struct nori_env *env = make_disk(6);
    struct meddling meddling = {0};
    struct nori_error error;
    bool found;
    EXPECT_OK(open_small(env, "/db", &meddling.engine, &error), &error);
    for (int is_flushed = 0; is_flushed < 2; is_flushed++) {
        EXPECT_OK(put_text(meddling.engine, "a", "old", &error), &error);
        if (is_flushed) EXPECT_OK(nori_flush(meddling.engine, &error), &error);
        meddling.calls = 0;
        EXPECT_OK(nori_pop(meddling.engine, nr_slice_text("a"), NULL, take_and_write, &meddling, &found, &error),
                  &error);
        EXPECT(found && strcmp(meddling.value.text, "newer") == 0);
        EXPECT_EQ(meddling.calls, 2);
        EXPECT_ABSENT(meddling.engine, NULL, "a");
        EXPECT_OK(put_text(meddling.engine, "y", "old", &error), &error);
        EXPECT_OK(nori_delete(meddling.engine, nr_slice_text("z"), NULL, &error), &error);
        if (is_flushed) EXPECT_OK(nori_flush(meddling.engine, &error), &error);
        meddling.calls = 0;
        EXPECT_OK(nori_pop_last(meddling.engine, NULL, NULL, take_and_write, &meddling, &found, &error), &error);
        EXPECT(found && strcmp(meddling.value.text, "newest") == 0);
        EXPECT_VALUE(meddling.engine, NULL, "y", "old");
    }
    EXPECT_OK(nori_close(meddling.engine, &error), &error);
    nori_destroy(meddling.engine);
    nori_simdisk_destroy(env);
}

static bool take_nothing(void *arg, nori_slice value)
{
    ++*(int *)arg;
    (void)value;
    return false;
}

TEST(what_cannot_be_taken_is_not_removed)
{
    struct nori_env *env;
    struct nori_engine *engine;
    struct nori_error error;
    bool found;
    int calls = 0;
    EXPECT_OK(nori_simdisk_create(1, 512, false, &env, &error), &error);
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    EXPECT_OK(put_text(engine, "a", "1", &error), &error);
    uint64_t appended = nori_simdisk_operations(env, "log_publish");
    EXPECT_STATUS(nori_pop(engine, nr_slice_text("a"), NULL, take_nothing, &calls, &found, &error), NORI_NO_MEMORY,
                  &error);
    EXPECT_EQ(error.outcome, NORI_NOT_APPLIED);
    EXPECT_STATUS(nori_pop_last(engine, NULL, take_nothing, NULL, &calls, &found, &error), NORI_NO_MEMORY, &error);
    EXPECT_STATUS(nori_pop_last(engine, NULL, NULL, take_nothing, &calls, &found, &error), NORI_NO_MEMORY, &error);
    EXPECT_EQ(calls, 3);
    EXPECT_EQ(nori_simdisk_operations(env, "log_publish"), appended);
    EXPECT_VALUE(engine, NULL, "a", "1");
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

TEST(a_put_expires_by_the_clock_that_never_goes_back)
{
    struct nori_env *env = make_disk(6);
    struct nori_engine *engine;
    struct nori_error error;
    struct nori_snapshot *snapshot;
    struct nori_write_options ttl = {.sync = -1, .ttl_secs = 10};
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    EXPECT_OK(put_text(engine, "k", "older", &error), &error);
    EXPECT_OK(nori_put(engine, nr_slice_text("k"), nr_slice_text("short"), &ttl, &error), &error);
    EXPECT_OK(nori_snapshot_create(engine, 0, &snapshot, &error), &error);
    nori_simdisk_advance(env, 0, 11000);
    EXPECT_ABSENT(engine, NULL, "k");
    EXPECT_VALUE(engine, snapshot, "k", "short");
    nori_simdisk_advance(env, 0, -60000);
    EXPECT_ABSENT(engine, NULL, "k");
    EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &error), &error);
    EXPECT_VALUE(engine, snapshot, "k", "short");
    nori_snapshot_destroy(snapshot);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    EXPECT_ABSENT(engine, NULL, "k");
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

TEST(a_second_opener_is_turned_away_and_a_reader_is_not)
{
    struct nori_env *env = make_disk(7);
    struct nori_engine *engine, *other;
    struct nori_error error;
    struct nori_open_params params = {.env = env, .read_only = true};
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    EXPECT_OK(put_text(engine, "k", "v", &error), &error);
    EXPECT_STATUS(open_small(env, "/db", &other, &error), NORI_LOCKED, &error);
    uint64_t written = nori_simdisk_operations(env, "write");
    EXPECT_OK(nori_open("/db", &params, &other, &error), &error);
    EXPECT_VALUE(other, NULL, "k", "v");
    EXPECT_STATUS(put_text(other, "k", "w", &error), NORI_READ_ONLY, &error);
    EXPECT_EQ(nori_simdisk_operations(env, "write"), written);
    EXPECT_OK(nori_close(other, &error), &error);
    nori_destroy(other);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

TEST(a_checkpoint_is_a_database_of_its_moment)
{
    struct nori_env *env = make_disk(8);
    struct nori_engine *engine, *copy;
    struct nori_error error;
    struct nori_checkpoint checkpoint;
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    EXPECT_OK(put_text(engine, "a", "flushed", &error), &error);
    EXPECT_OK(nori_flush(engine, &error), &error);
    EXPECT_OK(put_text(engine, "b", "logged", &error), &error);
    EXPECT_OK(nori_checkpoint(engine, "/copy", NULL, NULL, &checkpoint, &error), &error);
    EXPECT(checkpoint.linked == 1);
    EXPECT_STATUS(nori_checkpoint(engine, "/copy", NULL, NULL, &checkpoint, &error), NORI_IO, &error);
    EXPECT_OK(put_text(engine, "c", "later", &error), &error);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    EXPECT_OK(nori_simdisk_crash(env, 0.0, &error), &error);
    EXPECT_OK(open_small(env, "/copy", &copy, &error), &error);
    EXPECT_VALUE(copy, NULL, "a", "flushed");
    EXPECT_VALUE(copy, NULL, "b", "logged");
    EXPECT_ABSENT(copy, NULL, "c");
    expect_sound(copy);
    EXPECT_OK(nori_close(copy, &error), &error);
    nori_destroy(copy);
    nori_simdisk_destroy(env);
}

TEST(options_are_kept_and_overrides_win)
{
    struct nori_env *env = make_disk(9);
    struct nori_engine *engine;
    struct nori_error error;
    struct nori_override overrides[] = {{"fanout", "7"}, {"max_levels", "6"}};
    struct nori_open_params params = {.env = env};
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    EXPECT_OK(put_text(engine, "a", "1", &error), &error);
    EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &error), &error);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    EXPECT_OK(nori_open("/db", &params, &engine, &error), &error);
    EXPECT_EQ(nori_options_of(engine)->l1_slot_count, 4);
    EXPECT_EQ(nori_options_of(engine)->wal.segment_bytes, 64 << 20);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    params.overrides = overrides;
    params.override_count = 2;
    EXPECT_OK(nori_open("/db", &params, &engine, &error), &error);
    EXPECT_EQ(nori_options_of(engine)->fanout, 7);
    EXPECT_VALUE(engine, NULL, "a", "1");
    expect_sound(engine);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

TEST(a_deleted_range_stays_deleted_in_scans_however_its_tables_are_cut)
{
    struct nori_env *env = make_disk(10);
    struct nori_engine *engine;
    struct nori_error error;
    struct nori_scan *scan;
    const struct nori_entry *entries;
    char key[32];
    size_t count;
    EXPECT_OK(open_small(env, "/db", &engine, &error), &error);
    for (int i = 0; i < 6000; i++) {
        int chosen = i * 7919 % 6000;
        snprintf(key, sizeof key, "%c%05d", 'a' + chosen % 26, chosen);
        EXPECT_OK(put_text(engine, key, "a value of some length, so that tables fill", &error), &error);
    }
    nori_slice start = nr_slice_text("q"), stop = nr_slice_text("r");
    EXPECT_OK(nori_delete_range(engine, &start, &stop, NULL, &error), &error);
    for (int i = 0; i < 1500; i++) {
        snprintf(key, sizeof key, "%c%05d", 'a' + i % 26 == 'q' ? 'r' : 'a' + i % 26, i);
        EXPECT_OK(put_text(engine, key, "newer", &error), &error);
    }
    for (int round = 0; round < 2; round++) {
        struct nori_scan_params params = {.start = &start, .stop = &stop, .limit = UINT64_MAX};
        EXPECT_OK(nori_scan_open(engine, &params, &scan, &error), &error);
        EXPECT_OK(nori_scan_next(scan, 10, SIZE_MAX, &entries, &count, &error), &error);
        EXPECT_EQ(count, 0);
        nori_scan_destroy(scan);
        EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &error), &error);
    }
    expect_sound(engine);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

TEST(a_reader_whose_table_the_writer_removed_is_stale_and_not_wrong)
{
    struct nori_env *env = make_disk(11);
    struct nori_engine *engine, *reader;
    struct nori_error error;
    struct text_value value;
    bool found;
    struct nori_open_params params = {.env = env, .read_only = true};
    struct nori_options options = small_options();
    struct nori_open_params writing = {.env = env, .options = &options};
    options.strategy = NORI_STRATEGY_LEVELED; /* What comes in is merged with what is there. */
    EXPECT_OK(nori_open("/db", &writing, &engine, &error), &error);
    EXPECT_OK(put_text(engine, "k", "old", &error), &error);
    EXPECT_OK(nori_flush(engine, &error), &error);
    EXPECT_OK(nori_open("/db", &params, &reader, &error), &error);
    EXPECT_OK(put_text(engine, "k", "new", &error), &error);
    EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &error), &error);
    EXPECT_OK(put_text(engine, "k", "newer", &error), &error);
    EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &error), &error);
    EXPECT_OK(nori_sync(engine, &error), &error);
    EXPECT_STATUS(get_text(reader, NULL, "k", &value, &found, &error), NORI_STALE, &error);
    EXPECT_OK(nori_close(reader, &error), &error);
    nori_destroy(reader);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    nori_simdisk_destroy(env);
}

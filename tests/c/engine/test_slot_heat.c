/* Heat by slot, as the engine counts it, shows it and carries it over to the next session. */
#include "base/random.h"
#include "engine/engine.h"
#include "fixture.h"

#include <errno.h>

#define KEYS 600
#define MINUTE_US (60 * 1000000)
#define IN_BODY 120 /* Behind HEAT's header, in the first slots' numbers. */

static struct nori_error err;

static void key_of(int key, char out[16])
{
    snprintf(out, 16, "key-%04d", key);
}

/* Text that does not compress: bytes are to make slots. */
static void value_of(uint64_t seed, char *out, size_t size)
{
    struct nr_random random;
    nr_random_init(&random, seed);
    for (size_t i = 0; i + 1 < size; i++) out[i] = (char)('!' + nr_random_below(&random, 90));
    out[size - 1] = 0;
}

static void put_range(struct nori_engine *engine, int first, int last)
{
    char key[16], value[600];
    for (int i = first; i < last; i++) {
        value_of((uint64_t)i, value, sizeof value);
        key_of(i * 7919 % KEYS, key);
        EXPECT_OK(put_text(engine, key, value, &err), &err);
    }
}

static void get_range(struct nori_engine *engine, int first, int last, int rounds)
{
    char key[16];
    struct text_value value;
    bool found;
    for (int i = 0; i < rounds * (last - first); i++) {
        key_of(first + i % (last - first), key);
        EXPECT_OK(get_text(engine, NULL, key, &value, &found, &err), &err);
    }
}

/* A tree of several slots whose memtable is empty. Its operations of the disk are the same each time. */
static struct nori_engine *fill_levels(struct nori_env **env_out, int64_t max_levels)
{
    struct nori_options options = small_options();
    struct nori_open_params params = {.options = &options};
    struct nori_engine *engine;
    EXPECT_OK(nori_simdisk_create(1, 512, false, env_out, &err), &err);
    options.max_levels = max_levels;
    params.env = *env_out;
    EXPECT_OK(nori_open("/db", &params, &engine, &err), &err);
    for (int round = 0; round < 3; round++) put_range(engine, 0, KEYS);
    EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &err), &err);
    EXPECT_OK(nori_flush(engine, &err), &err);
    return engine;
}

static struct nori_engine *fill(struct nori_env **env_out)
{
    return fill_levels(env_out, 4);
}

static struct nori_slot *slots_of(struct nori_engine *engine, size_t *count_out)
{
    struct nori_slot *slots;
    EXPECT_OK(nori_slots(engine, &slots, count_out, &err), &err);
    EXPECT(*count_out >= 4);
    return slots;
}

static bool overlaps(const struct nori_slot *slot, int first, int last)
{
    char low[16], high[16];
    key_of(first, low);
    key_of(last, high);
    return nr_slice_compare(slot->start, nr_slice_text(high)) < 0 &&
           (!slot->stop.data || nr_slice_compare(slot->stop, nr_slice_text(low)) > 0);
}

/* Of the slots with data inside and outside of the range: the least and the greatest of what 'field' is. */
struct contrast {
    double coldest_inside, hottest_inside, hottest_outside;
    size_t inside, outside;
};

static double read_heat(const struct nori_slot *slot)
{
    return slot->read_heat;
}
static double scan_heat(const struct nori_slot *slot)
{
    return slot->scan_heat;
}

static struct contrast contrast_of(struct nori_engine *engine, int first, int last,
                                   double (*field)(const struct nori_slot *slot))
{
    struct contrast contrast = {.coldest_inside = 1};
    size_t count;
    struct nori_slot *slots = slots_of(engine, &count);
    for (size_t i = 0; i < count; i++) {
        double heat = field(&slots[i]);
        EXPECT(heat >= 0 && heat <= 1);
        EXPECT(slots[i].heat == NR_MAX(slots[i].read_heat, slots[i].scan_heat));
        if (slots[i].bytes == 0) continue;
        if (overlaps(&slots[i], first, last)) {
            contrast.coldest_inside = NR_MIN(contrast.coldest_inside, heat);
            contrast.hottest_inside = NR_MAX(contrast.hottest_inside, heat);
            contrast.inside++;
        } else {
            contrast.hottest_outside = NR_MAX(contrast.hottest_outside, heat);
            contrast.outside++;
        }
    }
    nori_free(slots);
    return contrast;
}

TEST(reads_of_one_range_make_its_slots_hot_and_leave_others_cold)
{
    struct nori_env *env;
    struct nori_engine *engine = fill(&env);
    nori_simdisk_advance(env, MINUTE_US, 0);
    get_range(engine, 10, 20, 50);
    struct contrast contrast = contrast_of(engine, 10, 20, read_heat);
    EXPECT(contrast.inside > 0 && contrast.outside > 0);
    EXPECT(contrast.coldest_inside > 0.1);
    EXPECT(contrast.hottest_outside < 0.01);
    contrast = contrast_of(engine, 10, 20, scan_heat);
    EXPECT(contrast.hottest_outside == 0 && contrast.coldest_inside == 0);
    close_it(engine);
    nori_simdisk_destroy(env);
}

TEST(heat_moves_with_the_reads)
{
    struct nori_env *env;
    struct nori_engine *engine = fill(&env);
    for (int minute = 0; minute < 10; minute++) {
        nori_simdisk_advance(env, MINUTE_US, 0);
        get_range(engine, 10, 20, 20);
    }
    EXPECT(contrast_of(engine, 10, 20, read_heat).hottest_outside < 0.01);
    for (int minute = 0; minute < 60; minute++) {
        nori_simdisk_advance(env, MINUTE_US, 0);
        get_range(engine, 500, 570, 20); /* More than 5 % of the bytes, which the percentile leaves out. */
        size_t count;
        nori_free(slots_of(engine, &count));
    }
    struct contrast contrast = contrast_of(engine, 500, 570, read_heat);
    EXPECT(contrast.hottest_inside > 0.1); /* Not all: in some slots lie older versions, which reads do not come to. */
    EXPECT(contrast.hottest_outside < 0.02);
    close_it(engine);
    nori_simdisk_destroy(env);
}

static size_t count_tiered(struct nori_engine *engine)
{
    size_t count, tiered = 0;
    struct nori_slot *slots = slots_of(engine, &count);
    for (size_t i = 0; i < count; i++) tiered += slots[i].runs > 1;
    nori_free(slots);
    return tiered;
}

/* Shapes that are to follow within half a second are worth what is read in the next five. */
TEST(a_short_heat_interval_does_not_make_merging_for_reads_look_worthless)
{
    struct nori_options options = small_options();
    struct nori_open_params params = {.options = &options};
    struct nori_engine *engine;
    options.heat_decay_interval_secs = 0.5;
    EXPECT_OK(nori_simdisk_create(1, 512, false, &params.env, &err), &err);
    EXPECT_OK(nori_open("/db", &params, &engine, &err), &err);
    for (int round = 0; round < 3; round++) put_range(engine, 0, KEYS);
    EXPECT_OK(nori_flush(engine, &err), &err);
    nori_simdisk_advance(params.env, 30 * MINUTE_US, 0);
    EXPECT(count_tiered(engine) > 0);
    for (int round = 0; round < 6; round++) {
        get_range(engine, 0, KEYS, 30);
        nori_simdisk_advance(params.env, 500000, 0);
        EXPECT_OK(put_text(engine, "zz", "v", &err), &err); /* There are no threads: work is done beside a write. */
    }
    EXPECT(count_tiered(engine) <= 1); /* One is within the aim of reads (compact/price.c). */
    close_it(engine);
    nori_simdisk_destroy(params.env);
}

TEST(a_scan_heats_the_slots_it_enters)
{
    struct nori_env *env;
    struct nori_engine *engine = fill(&env);
    nori_simdisk_advance(env, MINUTE_US, 0);
    for (int i = 0; i < 20; i++) {
        nori_slice start = nr_slice_text("key-0010"), stop = nr_slice_text("key-0020");
        struct nori_scan_params params = {.start = &start, .stop = &stop, .limit = UINT64_MAX};
        const struct nori_entry *found;
        struct nori_scan *scan;
        size_t entries;
        EXPECT_OK(nori_scan_open(engine, &params, &scan, &err), &err);
        EXPECT_OK(nori_scan_next(scan, 100, 1 << 20, &found, &entries, &err), &err);
        nori_scan_destroy(scan);
        EXPECT_EQ(entries, 10);
    }
    struct contrast contrast = contrast_of(engine, 10, 20, scan_heat);
    EXPECT(contrast.coldest_inside > 0.1);
    EXPECT(contrast.hottest_outside == 0);
    close_it(engine);
    nori_simdisk_destroy(env);
}

TEST(writes_count_where_they_go_though_level_0_still_has_them)
{
    struct nori_env *env;
    char key[16], value[400];
    size_t count;
    struct nori_engine *engine = fill(&env);
    /* The writes of fill fade. */
    for (int hour = 0; hour < 3; hour++) {
        nori_simdisk_advance(env, 60ll * MINUTE_US, 0);
        nori_free(slots_of(engine, &count));
    }
    for (int i = 0; i < 300; i++) {
        value_of((uint64_t)i, value, sizeof value);
        key_of(5 + i % 10, key);
        EXPECT_OK(put_text(engine, key, value, &err), &err);
    }
    EXPECT_OK(put_text(engine, "key-0599", "one, far away", &err), &err);
    EXPECT_OK(nori_flush(engine, &err), &err);
    nori_simdisk_advance(env, MINUTE_US, 0);
    struct nori_slot *slots = slots_of(engine, &count);
    double inside = 0, outside = 0;
    for (size_t i = 0; i < count; i++) {
        if (slots[i].level != 1) continue;
        if (overlaps(&slots[i], 5, 15))
            inside = NR_MAX(inside, slots[i].write_heat);
        else
            outside = NR_MAX(outside, slots[i].write_heat);
    }
    EXPECT(inside == 1);
    EXPECT(outside < 0.1);
    nori_free(slots);
    close_it(engine);
    nori_simdisk_destroy(env);
}

TEST(gets_that_end_in_the_memtable_are_sampled)
{
    struct nori_env *env;
    char key[16];
    struct nori_engine *engine = fill_levels(&env, 2); /* So that level 1 has something. */
    for (int i = 0; i < 5; i++) {
        key_of(40 + i, key);
        EXPECT_OK(put_text(engine, key, "in memory", &err), &err);
    }
    nori_simdisk_advance(env, MINUTE_US, 0);
    get_range(engine, 40, 45, 2000);
    struct contrast contrast = contrast_of(engine, 40, 45, read_heat);
    size_t count, hot = 0;
    struct nori_slot *slots = slots_of(engine, &count);
    for (size_t i = 0; i < count; i++) {
        if (slots[i].level == 1 && overlaps(&slots[i], 40, 45)) hot += slots[i].read_heat > 0.5;
        EXPECT_EQ(slots[i].reads, 0);
        EXPECT(slots[i].read_amp == 0);
    }
    nori_free(slots);
    EXPECT(hot > 0);
    EXPECT(contrast.hottest_outside == 0);
    close_it(engine);
    nori_simdisk_destroy(env);
}

TEST(amplifications_by_slot_are_those_that_were_measured)
{
    struct nori_env *env;
    size_t count;
    struct nori_engine *engine = fill(&env);
    get_range(engine, 0, KEYS, 1);
    struct nori_slot *slots = slots_of(engine, &count);
    double rewritten = 0, probed = 0;
    for (size_t i = 0; i < count; i++) {
        EXPECT(slots[i].write_amp >= 0 && slots[i].write_amp < 100);
        EXPECT(slots[i].read_amp >= 0 && slots[i].read_amp <= (double)slots[i].runs);
        if (slots[i].reads == 0) EXPECT(slots[i].read_amp == 0);
        rewritten = NR_MAX(rewritten, slots[i].write_amp);
        probed = NR_MAX(probed, slots[i].read_amp);
    }
    EXPECT(rewritten > 0);
    EXPECT(probed >= 1);
    nori_free(slots);
    close_it(engine);
    nori_simdisk_destroy(env);
}

/* ---------------------------------------------------------------- from session to session */

static struct nori_engine *fill_and_heat(struct nori_env **env_out)
{
    struct nori_engine *engine = fill(env_out);
    nori_simdisk_advance(*env_out, MINUTE_US, 0);
    get_range(engine, 10, 20, 50);
    return engine;
}

TEST(heat_survives_a_reopen)
{
    struct nori_env *env;
    struct nori_engine *engine = fill_and_heat(&env);
    double before = contrast_of(engine, 10, 20, read_heat).coldest_inside;
    close_it(engine);
    for (int is_read_only = 1; is_read_only >= 0; is_read_only--) {
        struct nori_open_params params = {.env = env, .read_only = is_read_only};
        EXPECT_OK(nori_open("/db", &params, &engine, &err), &err);
        struct contrast contrast = contrast_of(engine, 10, 20, read_heat);
        EXPECT(contrast.coldest_inside > before * 0.5);
        EXPECT(contrast.hottest_outside < 0.01);
        close_it(engine);
    }
    nori_simdisk_destroy(env);
}

TEST(heat_is_saved_every_few_minutes_so_that_a_kill_loses_little)
{
    struct nori_env *env;
    struct nori_engine *engine = fill_and_heat(&env);
    nori_simdisk_advance(env, 6ll * MINUTE_US, 0);
    EXPECT_OK(put_text(engine, "key-0000", "a maintenance round", &err), &err);
    nori_simdisk_kill(env);
    nori_destroy(engine);
    engine = open_again(env);
    EXPECT(contrast_of(engine, 10, 20, read_heat).coldest_inside > 0.1);
    close_it(engine);
    nori_simdisk_destroy(env);
}

TEST(without_a_whole_heat_file_the_engine_begins_anew)
{
    for (int kind = 0; kind < 4; kind++) {
        struct nori_env *env;
        struct nori_engine *engine = fill_and_heat(&env);
        uint8_t *bytes;
        size_t size;
        close_it(engine);
        EXPECT_OK(nori_simdisk_read_file(env, "/db/HEAT", &bytes, &size, &err), &err);
        if (kind == 0) EXPECT_OK(nori_simdisk_remove_file(env, "/db/HEAT", &err), &err);
        if (kind == 1) bytes[IN_BODY] ^= 1;
        if (kind == 2) size = IN_BODY;
        if (kind == 3) size = 0;
        if (kind > 0) EXPECT_OK(nori_simdisk_write_file(env, "/db/HEAT", nr_slice(bytes, size), &err), &err);
        nori_free(bytes);
        engine = open_again(env);
        struct contrast contrast = contrast_of(engine, 10, 20, read_heat);
        EXPECT(contrast.coldest_inside == 0 && contrast.hottest_outside == 0);
        nori_simdisk_advance(env, MINUTE_US, 0);
        get_range(engine, 10, 20, 50);
        EXPECT(contrast_of(engine, 10, 20, read_heat).coldest_inside > 0.1);
        close_it(engine);
        nori_simdisk_destroy(env);
    }
}

/* What the guards learn from: bytes by key, and reads. */
static uint64_t sketched(struct nori_engine *engine, int first, int last, bool of_reads)
{
    char low[16], high[16];
    key_of(first, low);
    key_of(last, high);
    nr_mutex_lock(&engine->lock);
    uint64_t weight = nr_sketch_between(of_reads ? engine->reads : engine->writes, nr_slice_text(low),
                                        nr_bound_key(nr_slice_text(high)));
    nr_mutex_unlock(&engine->lock);
    return weight;
}

TEST(what_guards_are_learned_from_survives_a_restart_and_damage_loses_only_that)
{
    struct nori_env *env;
    struct nori_engine *engine = fill_and_heat(&env);
    get_range(engine, 10, 20, 50 * NR_READ_SAMPLING);
    uint64_t writes = sketched(engine, 0, KEYS, false), reads = sketched(engine, 10, 20, true);
    EXPECT(writes > 0 && reads > 0);
    close_it(engine);
    engine = open_again(env);
    EXPECT(sketched(engine, 0, KEYS, false) >= writes * 9 / 10);
    EXPECT_EQ(sketched(engine, 10, 20, true), reads);
    close_it(engine);
    uint8_t *bytes;
    size_t size;
    EXPECT_OK(nori_simdisk_read_file(env, "/db/HEAT", &bytes, &size, &err), &err);
    bytes[size - 1] ^= 1; /* Of the reads' checksum. */
    EXPECT_OK(nori_simdisk_write_file(env, "/db/HEAT", nr_slice(bytes, size), &err), &err);
    nori_free(bytes);
    engine = open_again(env);
    EXPECT(sketched(engine, 0, KEYS, false) >= writes * 9 / 10);
    EXPECT_EQ(sketched(engine, 10, 20, true), 0);
    EXPECT(contrast_of(engine, 10, 20, read_heat).coldest_inside > 0);
    close_it(engine);
    nori_simdisk_destroy(env);
}

static uint64_t renames(struct nori_env *env)
{
    return nori_simdisk_operations(env, "rename");
}

TEST(a_disk_that_takes_no_more_keeps_nobody_from_closing)
{
    struct nori_env *env;
    struct nori_engine *engine = fill_and_heat(&env);
    uint64_t before = renames(env);
    EXPECT_OK(nori_close(engine, &err), &err);
    uint64_t last = renames(env) - before; /* The last one of close is HEAT's. */
    nori_destroy(engine);
    nori_simdisk_destroy(env);
    engine = fill_and_heat(&env);
    EXPECT_OK(nori_simdisk_fail(env, "rename", last, ENOSPC, false, &err), &err);
    close_it(engine);
    nori_simdisk_clear_faults(env);
    engine = open_again(env);
    EXPECT(contrast_of(engine, 10, 20, read_heat).coldest_inside == 0);
    close_it(engine);
    nori_simdisk_destroy(env);
}

TEST(a_read_only_engine_writes_no_heat)
{
    struct nori_env *env;
    struct nori_engine *engine = fill_and_heat(&env);
    struct nori_open_params params = {.env = env, .read_only = true};
    close_it(engine);
    EXPECT_OK(nori_simdisk_remove_file(env, "/db/HEAT", &err), &err);
    EXPECT_OK(nori_open("/db", &params, &engine, &err), &err);
    nori_simdisk_advance(env, 10ll * MINUTE_US, 0);
    get_range(engine, 10, 20, 50);
    EXPECT(contrast_of(engine, 10, 20, read_heat).coldest_inside > 0.1);
    close_it(engine);
    uint8_t *bytes;
    size_t size;
    EXPECT_STATUS(nori_simdisk_read_file(env, "/db/HEAT", &bytes, &size, &err), NORI_IO, &err);
    nori_simdisk_destroy(env);
}

TEST(the_same_calls_give_the_same_heat)
{
    uint8_t *bytes[2];
    size_t sizes[2];
    for (int i = 0; i < 2; i++) {
        struct nori_env *env;
        close_it(fill_and_heat(&env));
        EXPECT_OK(nori_simdisk_read_file(env, "/db/HEAT", &bytes[i], &sizes[i], &err), &err);
        nori_simdisk_destroy(env);
    }
    EXPECT(nr_slice_equal(nr_slice(bytes[0], sizes[0]), nr_slice(bytes[1], sizes[1])));
    for (int i = 0; i < 2; i++) nori_free(bytes[i]);
}

/* What is left of rates that fade moves to and fro: an engine at rest does not follow it. */
TEST(shapes_rest_once_nothing_has_been_done_for_ten_intervals)
{
    struct nori_env *env;
    struct nori_engine *engine = fill_levels(&env, 4);
    struct nr_view *view = nr_view_acquire(engine);
    struct nr_activity_state *state = &nr_level_slot(view->version->levels[1], 0)->activity->state;
    get_range(engine, 0, KEYS, 1);
    nori_simdisk_advance(env, MINUTE_US, 0);
    nr_shape_update_due(engine);
    for (int minute = 1; minute <= 12; minute++) {
        state->wanted_k = 0;
        nori_simdisk_advance(env, MINUTE_US, 0);
        nr_shape_update_due(engine);
        EXPECT_EQ(state->wanted_k > 0, minute <= 10);
    }
    get_range(engine, 0, 1, 1);
    nori_simdisk_advance(env, MINUTE_US, 0);
    nr_shape_update_due(engine);
    EXPECT(state->wanted_k > 0);
    nr_view_release(view);
    close_it(engine);
    nori_simdisk_destroy(env);
}

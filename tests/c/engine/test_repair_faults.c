/* Repair on a disk that fails, without memory, and of files damaged in many places: whole or not there, and the source
 * untouched. */
#include "repair_fixture.h"

#include <errno.h>

static struct history history;

static struct nori_env *make_disk(uint64_t seed, int rounds)
{
    struct nori_env *env;
    EXPECT_OK(nori_simdisk_create(seed, 512, false, &env, &error), &error);
    write_history(env, &history, seed, true, rounds);
    /* From here on all that is there is on the disk. */
    EXPECT_OK(nori_simdisk_crash(env, 1.0, &error), &error);
    return env;
}

static nori_status repair(struct nori_env *env, struct nori_repair_report *report)
{
    return nori_repair(env, "/db", "/new", false, NULL, NULL, report, &error);
}

static bool is_there(struct nori_env *env)
{
    uint8_t *data = NULL;
    size_t size;
    bool found = nori_simdisk_read_file(env, "/new/CURRENT", &data, &size, NULL) == NORI_OK;
    nori_free(data);
    return found;
}

/* A table in the middle is damaged, so that there is a finding to keep. */
static void damage_a_table(struct nori_env *env)
{
    struct disk_files files;
    read_files(env, &files);
    for (size_t i = 0; i < files.count; i++) {
        if (!strstr(files.items[i].path, ".sst")) continue;
        files.items[i].data[10] ^= 1;
        EXPECT_OK(nori_simdisk_write_file(env, files.items[i].path, nr_slice(files.items[i].data, files.items[i].size),
                                          &error),
                  &error);
        break;
    }
    clear_files(&files);
}

TEST(a_repair_without_power_is_whole_or_not_there_and_can_be_made_again)
{
    struct nori_env *env = make_disk(1, 3);
    struct nori_repair_report report;
    struct disk_files files;
    size_t whole = 0, stops = 0;
    damage_a_table(env);
    read_files(env, &files);
    for (uint64_t nth = 1;; nth++) {
        nori_simdisk_stop_at(env, nth);
        nori_status rc = repair(env, &report);
        bool is_stopped = nori_simdisk_stopped(env) != NULL;
        nori_simdisk_stop_at(env, 0);
        if (is_stopped) EXPECT_OK(nori_simdisk_crash(env, nth % 3 == 0 ? -1.0 : (double)(nth % 3 - 1), &error), &error);
        if (!is_stopped && rc != NORI_OK) FAIL("operation %" PRIu64 ": %s", nth, error.text);
        nori_repair_report_clear(&report);
        if (is_there(env)) {
            struct nori_engine *engine;
            const struct nori_open_params params = {.env = env, .read_only = true};
            EXPECT_OK(nori_open("/new", &params, &engine, &error), &error);
            expect_sound(engine);
            nori_destroy(engine);
            whole++;
        }
        stops += is_stopped;
        remove_others(env);
        if (nth % 8 == 0) {
            EXPECT_OK(repair(env, &report), &error);
            expect_history(env, "/new", &history, &report, "again");
            nori_repair_report_clear(&report);
            remove_others(env);
            expect_same_files(&files);
        }
        if (!is_stopped) break;
    }
    EXPECT(stops > 100 && whole >= 1);
    clear_files(&files);
    nori_simdisk_destroy(env);
}

TEST(a_repair_whose_disk_fails_says_so_and_leaves_nothing)
{
    struct nori_env *env = make_disk(2, 3);
    struct nori_repair_report report;
    struct disk_files files;
    damage_a_table(env);
    read_files(env, &files);
    for (uint64_t nth = 1;; nth++) {
        uint64_t before = nori_simdisk_operations(env, NULL);
        EXPECT_OK(nori_simdisk_fail(env, "any", nth, EIO, false, &error), &error);
        nori_status rc = repair(env, &report);
        bool is_reached = nori_simdisk_operations(env, NULL) - before >= nth;
        nori_simdisk_clear_faults(env);
        if (rc == NORI_OK) {
            /* What only tidies up may fail. */
            expect_history(env, "/new", &history, &report, "after a fault");
            nori_repair_report_clear(&report);
            remove_tree(env, "new");
            if (!is_reached) break;
        } else {
            EXPECT_STATUS(rc, NORI_IO, &error);
            EXPECT_EQ(error.sys_errno, EIO);
            EXPECT(!is_there(env));
        }
        if (names_beside(env) > 0) FAIL("operation %" PRIu64 " leaves something", nth);
    }
    expect_same_files(&files);
    clear_files(&files);
    nori_simdisk_destroy(env);
}

TEST(a_repair_without_memory_says_so_and_leaves_nothing)
{
    struct nori_env *env = make_disk(3, 3);
    struct nori_repair_report report;
    damage_a_table(env);
    /* Each of the first, then one in more and more: what is done for each entry is done often. */
    for (uint64_t nth = 1;; nth += 1 + nth / 64) {
        uint64_t before = nr_alloc_count();
        nr_alloc_fail_at(nth);
        nori_status rc = repair(env, &report);
        bool is_reached = nr_alloc_count() - before >= nth;
        nr_alloc_fail_at(0);
        if (rc == NORI_OK) {
            expect_history(env, "/new", &history, &report, "without memory");
            nori_repair_report_clear(&report);
            remove_tree(env, "new");
            if (!is_reached) break;
        } else if (rc != NORI_NO_MEMORY && !(rc == NORI_IO && error.sys_errno == ENOMEM)) {
            FAIL("allocation %" PRIu64 ": %s: %s", nth, nori_status_name(rc), error.text);
        }
        if (names_beside(env) > 0) FAIL("allocation %" PRIu64 " leaves something", nth);
    }
    nori_simdisk_destroy(env);
}

/* ---------------------------------------------------------------- much damage */

static void damage(struct nori_env *env, struct disk_file *file, struct nr_random *random)
{
    uint8_t *copy = nr_alloc(file->size + 1);
    size_t size = file->size;
    EXPECT(copy != NULL);
    memcpy(copy, file->data, size);
    switch (nr_random_below(random, 6)) {
    case 0: /* Gone. */
        EXPECT_OK(nori_simdisk_remove_file(env, file->path, &error), &error);
        nr_free(copy);
        return;
    case 1: /* Cut off. */
        size = (size_t)nr_random_below(random, size + 1);
        break;
    case 2: /* A stretch of zeros. */
        for (size_t at = (size_t)nr_random_below(random, size), n = 0; n < 600 && at + n < size; n++) copy[at + n] = 0;
        break;
    default:
        for (uint64_t n = 1 + nr_random_below(random, 20); n > 0; n--)
            copy[nr_random_below(random, size)] = (uint8_t)nr_random_next(random);
    }
    EXPECT_OK(nori_simdisk_write_file(env, file->path, nr_slice(copy, size), &error), &error);
    nr_free(copy);
}

static void restore(struct nori_env *env, const struct disk_files *files)
{
    for (size_t i = 0; i < files->count; i++)
        EXPECT_OK(nori_simdisk_write_file(env, files->items[i].path,
                                          nr_slice(files->items[i].data, files->items[i].size), &error),
                  &error);
}

TEST(files_damaged_in_many_places_come_back_as_far_as_is_reported)
{
    size_t done[3] = {0, 0, 0}, failed = 0, kept = 0;
    for (uint64_t seed = 21; seed <= 23; seed++) {
        struct nori_env *env = make_disk(seed, 6);
        struct disk_files files, damaged;
        struct nr_random random;
        nr_random_init(&random, seed);
        read_files(env, &files);
        for (int round = 0; round < 150; round++) {
            struct nori_repair_report report;
            char what[64];
            snprintf(what, sizeof what, "seed %d, round %d", (int)seed, round);
            for (uint64_t n = 1 + nr_random_below(&random, 5); n > 0; n--) {
                struct disk_file *file = &files.items[nr_random_below(&random, files.count)];
                uint8_t *there = NULL;
                size_t size;
                bool exists = nori_simdisk_read_file(env, file->path, &there, &size, NULL) == NORI_OK;
                nori_free(there);
                if (exists && file->size > 0) damage(env, file, &random);
            }
            read_files(env, &damaged);
            nori_status rc = repair(env, &report);
            if (rc == NORI_OK) {
                kept += expect_history(env, "/new", &history, &report, what);
                done[report.basis]++;
                nori_repair_report_clear(&report);
                remove_tree(env, "new");
            } else if (rc != NORI_CORRUPTION) {
                FAIL("%s: %s: %s", what, nori_status_name(rc), error.text);
            } else {
                failed++;
            }
            EXPECT_EQ(names_beside(env), 0);
            expect_same_files(&damaged);
            clear_files(&damaged);
            restore(env, &files);
        }
        clear_files(&files);
        nori_simdisk_destroy(env);
    }
    EXPECT(done[0] > 100 && done[2] > 20 && failed < 45 && kept > 4000);
}

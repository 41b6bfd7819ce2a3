/* Repair: what is whole comes back as it was, what is lost is reported, and nothing is invented. */
#include "repair_fixture.h"

#include <errno.h>

static nori_status repair(struct nori_env *env, bool keep_doubtful, struct nori_repair_report *report)
{
    return nori_repair(env, "/db", "/new", keep_doubtful, NULL, NULL, report, &error);
}

static struct nori_env *make_disk(struct history *history, uint64_t seed, bool with_ingest)
{
    struct nori_env *env;
    EXPECT_OK(nori_simdisk_create(seed, 512, false, &env, &error), &error);
    write_history(env, history, seed, with_ingest, 6);
    return env;
}

TEST(a_whole_database_comes_back_whole_and_can_be_written_to)
{
    static struct history history;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct nori_env *env = make_disk(&history, seed, seed % 2 == 0);
        struct nori_repair_report report;
        struct disk_files files;
        read_files(env, &files);
        EXPECT_OK(repair(env, false, &report), &error);
        if (report.finding_count > 0) FAIL("found: %s", report.findings[0].what.message);
        EXPECT_EQ(report.sequence, history.sequence);
        EXPECT_EQ(report.basis, NORI_REPAIR_MANIFEST);
        EXPECT_EQ(report.dropped + report.lost_blocks + report.unlisted, 0);
        EXPECT_EQ(expect_history(env, "/new", &history, &report, "whole"), report.entries);
        EXPECT(report.entries > KEYS / 3 && report.blocks > 20);
        expect_same_files(&files);
        clear_files(&files);
        nori_repair_report_clear(&report);

        struct nori_engine *engine = open_writer(env, "/new");
        EXPECT_OK(put_text(engine, "key000", "new", &error), &error);
        EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &error), &error);
        EXPECT_VALUE(engine, NULL, "key000", "new");
        expect_sound(engine);
        EXPECT_OK(nori_close(engine, &error), &error);
        nori_destroy(engine);
        nori_simdisk_destroy(env);
    }
}

/* Damages a byte, repairs, and puts it back. */
static size_t repair_with_flip(struct nori_env *env, const struct history *history, const struct disk_files *files,
                               size_t at, size_t byte, size_t *kept)
{
    struct disk_file *file = (struct disk_file *)&files->items[at];
    struct nori_repair_report report;
    char what[96];
    size_t findings = 0;
    snprintf(what, sizeof what, "%s, byte %zu", file->path, byte);
    file->data[byte] ^= 0x10;
    EXPECT_OK(nori_simdisk_write_file(env, file->path, nr_slice(file->data, file->size), &error), &error);
    nori_status rc = repair(env, false, &report);
    if (rc == NORI_OK) {
        *kept += expect_history(env, "/new", history, &report, what);
        findings = report.finding_count + report.unlisted;
        nori_repair_report_clear(&report);
        remove_tree(env, "new");
    } else if (rc != NORI_CORRUPTION) {
        FAIL("%s: %s: %s", what, nori_status_name(rc), error.text);
    }
    EXPECT_EQ(names_beside(env), 0);
    if (byte % 16 == 0) expect_same_files(files);
    file->data[byte] ^= 0x10;
    EXPECT_OK(nori_simdisk_write_file(env, file->path, nr_slice(file->data, file->size), &error), &error);
    return findings;
}

#define FLIPS_PER_FILE 60

TEST(a_flipped_byte_anywhere_loses_no_more_than_is_reported)
{
    static struct history history;
    size_t flips = 0, findings = 0, kept = 0;
    for (uint64_t seed = 11; seed <= 14; seed++) {
        struct nori_env *env = make_disk(&history, seed, seed % 2 == 0);
        struct disk_files files;
        struct nr_random random;
        nr_random_init(&random, seed);
        read_files(env, &files);
        for (size_t i = 0; i < files.count; i++) {
            for (int n = 0; n < FLIPS_PER_FILE && files.items[i].size > 0; n++) {
                size_t byte = (size_t)nr_random_below(&random, NR_MIN(files.items[i].size, (size_t)12000));
                findings += repair_with_flip(env, &history, &files, i, byte, &kept) > 0;
                flips++;
            }
        }
        clear_files(&files);
        nori_simdisk_destroy(env);
    }
    EXPECT(flips > 1000 && findings > flips / 3 && kept > flips * 5);
}

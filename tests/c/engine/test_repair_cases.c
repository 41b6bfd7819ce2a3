/* Repair where the manifest, the log or time decide what counts. */
#include "repair_fixture.h"

#include <errno.h>

#include "base/coding.h"
#include "format/file_header.h"

static struct history history;

static nori_status repair(struct nori_env *env, bool keep_doubtful, struct nori_repair_report *report)
{
    return nori_repair(env, "/db", "/new", keep_doubtful, NULL, NULL, report, &error);
}

static struct nori_env *make_disk(void)
{
    struct nori_env *env;
    EXPECT_OK(nori_simdisk_create(1, 512, false, &env, &error), &error);
    memset(&history, 0, sizeof history);
    return env;
}

static struct nori_engine *open_repaired(struct nori_env *env)
{
    struct nori_engine *engine;
    const struct nori_open_params params = {.env = env, .read_only = true};
    EXPECT_OK(nori_open("/new", &params, &engine, &error), &error);
    expect_sound(engine);
    return engine;
}

static bool is_of_manifest(const char *path)
{
    return strstr(path, "MANIFEST-") || strstr(path, "CURRENT");
}

/* Removes all files whose paths contain the text. */
static void remove_files(struct nori_env *env, const char *text)
{
    struct disk_files files;
    read_files(env, &files);
    for (size_t i = 0; i < files.count; i++) {
        if (strstr(files.items[i].path, text))
            EXPECT_OK(nori_simdisk_remove_file(env, files.items[i].path, &error), &error);
    }
    clear_files(&files);
}

/* A log of many memtables, as the manifest's options count them: that of a session before. */
TEST(a_log_larger_than_a_memtable_is_replayed_in_parts)
{
    struct nori_env *env = make_disk();
    struct nori_engine *engine = open_writer(env, "/db");
    struct nori_options options = repair_options();
    struct nori_open_params params = {.options = &options, .env = env};
    struct nori_repair_report report;
    struct disk_files files;
    struct nr_random random;
    nr_random_init(&random, 5);
    put_key(engine, &history, 1);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    read_files(env, &files);
    options.memtable.flush_trigger_bytes = 4 << 20;
    options.resources.memtables_mib = 64;
    EXPECT_OK(nori_open("/db", &params, &engine, &error), &error);
    for (int i = 0; i < 1500; i++) {
        int key = (int)nr_random_below(&random, KEYS);
        if (i % 50 == 49)
            delete_keys(engine, &history, key, NR_MIN(key + 3, KEYS - 1));
        else if (i % 5 == 4)
            delete_keys(engine, &history, key, key);
        else
            put_key(engine, &history, key);
    }
    nori_simdisk_kill(env);
    nori_destroy(engine);
    remove_files(env, "MANIFEST-");
    for (size_t i = 0; i < files.count; i++) {
        if (is_of_manifest(files.items[i].path))
            EXPECT_OK(nori_simdisk_write_file(env, files.items[i].path,
                                              nr_slice(files.items[i].data, files.items[i].size), &error),
                      &error);
    }
    clear_files(&files);
    EXPECT_OK(repair(env, false, &report), &error);
    EXPECT_EQ(report.finding_count, 0);
    EXPECT_EQ(report.sequence, history.sequence);
    EXPECT_EQ(expect_history(env, "/new", &history, &report, "long log"), report.entries);
    EXPECT_EQ(names_beside(env), 1);
    nori_repair_report_clear(&report);
    nori_simdisk_destroy(env);
}

TEST(what_can_be_read_of_a_manifest_counts_if_its_tables_are_there)
{
    struct nori_env *env = make_disk();
    struct nori_engine *engine = open_writer(env, "/db");
    struct nori_repair_report report;
    struct disk_files files;
    for (int flush = 0; flush < 3; flush++) {
        for (int key = 0; key < 20; key++) put_key(engine, &history, key + flush * 10);
        delete_keys(engine, &history, flush, flush);
        EXPECT_OK(nori_flush(engine, &error), &error);
    }
    nori_simdisk_kill(env);
    nori_destroy(engine);
    read_files(env, &files);
    size_t parts = 0;
    for (size_t i = 0; i < files.count; i++) {
        struct disk_file *file = &files.items[i];
        if (!strstr(file->path, "MANIFEST-")) continue;
        for (size_t byte = 96; byte < file->size; byte += 5) {
            file->data[byte] ^= 4;
            EXPECT_OK(nori_simdisk_write_file(env, file->path, nr_slice(file->data, file->size), &error), &error);
            EXPECT_OK(repair(env, false, &report), &error);
            expect_history(env, "/new", &history, &report, "part of a manifest");
            if (report.basis == NORI_REPAIR_PREFIX) {
                parts++;
                EXPECT(report.sequence <= history.sequence && count_findings(&report, "manifest") >= 1);
            }
            nori_repair_report_clear(&report);
            remove_tree(env, "new");
            file->data[byte] ^= 4;
        }
    }
    EXPECT(parts > 10);
    clear_files(&files);
    nori_simdisk_destroy(env);
}

/* Keys 0..19 are put, 10..29 loaded after them, 5 and 15 deleted after that. */
static struct nori_env *make_loaded(void)
{
    struct nori_env *env = make_disk();
    struct nori_engine *engine = open_writer(env, "/db");
    for (int key = 0; key < 20; key++) put_key(engine, &history, key);
    EXPECT_OK(nori_flush(engine, &error), &error);
    ingest_keys(engine, &history, 10, 29);
    delete_keys(engine, &history, 5, 5);
    delete_keys(engine, &history, 15, 15);
    EXPECT_OK(nori_flush(engine, &error), &error);
    nori_simdisk_kill(env);
    nori_destroy(engine);
    return env;
}

TEST(without_a_manifest_what_a_bulk_load_put_beside_other_versions_is_left_out)
{
    struct nori_env *env = make_loaded();
    struct nori_repair_report report;
    struct text_value value;
    char name[16], expected[128];
    bool found;
    remove_files(env, "MANIFEST-");
    for (int keep = 0; keep < 2; keep++) {
        EXPECT_OK(repair(env, keep, &report), &error);
        EXPECT_EQ(report.basis, NORI_REPAIR_TABLES);
        expect_history(env, "/new", &history, &report, "tables");
        EXPECT(is_reported(&report, "key010") && is_reported(&report, "key029") && !is_reported(&report, "key009"));
        struct nori_engine *engine = open_repaired(env);
        for (int key = 0; key < 30; key++) {
            key_text(name, key);
            EXPECT_OK(get_text(engine, NULL, name, &value, &found, &error), &error);
            bool is_doubtful = key >= 10 && key < 20;
            EXPECT_EQ(found, key != 5 && key != 15 && (keep || !is_doubtful));
            /* Of a doubtful key, if it is wanted, the version whose age is known. */
            value_text(expected, is_doubtful ? (unsigned)key + 1 : value_at(&history, key, history.sequence));
            if (found) EXPECT(strcmp(value.text, expected) == 0);
        }
        nori_destroy(engine);
        nori_repair_report_clear(&report);
        remove_tree(env, "new");
    }
    nori_simdisk_destroy(env);
}

TEST(what_expires_goes_on_to_expire_and_what_has_expired_hides_what_was_before)
{
    struct nori_env *env = make_disk();
    struct nori_engine *engine = open_writer(env, "/db");
    struct nori_repair_report report;
    const struct nori_write_options soon = {.sync = -1, .ttl_secs = 10}, late = {.sync = -1, .ttl_secs = 1000};
    EXPECT_OK(put_text(engine, "hidden", "old", &error), &error);
    EXPECT_OK(put_text(engine, "stays", "value", &error), &error);
    EXPECT_OK(nori_flush(engine, &error), &error);
    EXPECT_OK(nori_put(engine, nr_slice_text("hidden"), nr_slice_text("new"), &soon, &error), &error);
    EXPECT_OK(nori_put(engine, nr_slice_text("later"), nr_slice_text("value"), &late, &error), &error);
    EXPECT_OK(nori_flush(engine, &error), &error);
    nori_simdisk_kill(env);
    nori_destroy(engine);
    nori_simdisk_advance(env, 100000000, 100000);
    EXPECT_OK(repair(env, false, &report), &error);
    EXPECT_EQ(report.finding_count, 0);
    nori_repair_report_clear(&report);
    for (int round = 0; round < 2; round++) {
        engine = open_repaired(env);
        EXPECT_ABSENT(engine, NULL, "hidden");
        EXPECT_VALUE(engine, NULL, "stays", "value");
        if (round == 0)
            EXPECT_VALUE(engine, NULL, "later", "value");
        else
            EXPECT_ABSENT(engine, NULL, "later");
        nori_destroy(engine);
        nori_simdisk_advance(env, 1000000000, 1000000);
    }
    nori_simdisk_destroy(env);
}

TEST(what_a_newer_version_wrote_is_refused)
{
    struct nori_env *env = make_loaded();
    struct nori_repair_report report;
    struct disk_files files;
    size_t refused = 0;
    read_files(env, &files);
    for (size_t i = 0; i < files.count; i++) {
        struct disk_file *file = &files.items[i];
        bool is_table = strstr(file->path, ".sst") != NULL, is_manifest = strstr(file->path, "MANIFEST-") != NULL;
        for (int feature = 0; feature < 2 && (is_table || is_manifest); feature++) {
            uint8_t *at = is_table ? file->data + file->size - NR_FILE_HEADER_BYTES : file->data;
            uint8_t before[NR_FILE_HEADER_BYTES];
            struct nr_file_header header;
            memcpy(before, at, sizeof before);
            EXPECT_EQ(nr_file_header_decode(nr_slice(at, sizeof before), nr_get_fixed64(at), &header), NR_HEADER_VALID);
            if (feature == 0) header.read_features |= 1u << 9;
            if (feature == 1) header.write_features |= 1u << 9;
            nr_file_header_encode(&header, at);
            EXPECT_OK(nori_simdisk_write_file(env, file->path, nr_slice(file->data, file->size), &error), &error);
            nori_status rc = repair(env, false, &report);
            /* A table is not written to: what it asks of writers is all the same. */
            EXPECT_EQ(rc, is_table && feature == 1 ? NORI_OK : NORI_FORMAT);
            refused += rc == NORI_FORMAT;
            nori_repair_report_clear(&report);
            if (rc == NORI_OK) remove_tree(env, "new");
            memcpy(at, before, sizeof before);
            EXPECT_OK(nori_simdisk_write_file(env, file->path, nr_slice(file->data, file->size), &error), &error);
        }
    }
    EXPECT(refused > 3);
    clear_files(&files);
    nori_simdisk_destroy(env);
}

TEST(a_database_in_use_is_locked_and_a_target_within_one_is_refused)
{
    struct nori_env *env = make_loaded();
    struct nori_engine *engine = open_writer(env, "/db");
    struct nori_repair_report report;
    EXPECT_STATUS(repair(env, false, &report), NORI_LOCKED, &error);
    EXPECT_OK(nori_close(engine, &error), &error);
    nori_destroy(engine);
    static const char *const within[] = {"/db/new", "/db//new/", "/db/wal/new"};
    for (size_t i = 0; i < NR_ARRAY_LEN(within); i++) {
        nori_status rc = nori_repair(env, "/db", within[i], false, NULL, NULL, &report, &error);
        EXPECT_STATUS(rc, NORI_INVALID, &error);
    }
    /* Of another database, too. */
    EXPECT_OK(repair(env, false, &report), &error);
    nori_repair_report_clear(&report);
    EXPECT_STATUS(nori_repair(env, "/db", "/new/other", false, NULL, NULL, &report, &error), NORI_INVALID, &error);
    EXPECT_STATUS(repair(env, false, &report), NORI_IO, &error);
    EXPECT_EQ(error.sys_errno, EEXIST);
    EXPECT_STATUS(nori_repair(env, "/none", "/more", false, NULL, NULL, &report, &error), NORI_IO, &error);
    EXPECT_EQ(error.sys_errno, ENOENT);
    nori_simdisk_destroy(env);
}

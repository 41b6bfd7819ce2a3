/* Files whose checksums are right and whose content is not: repair comes to an end, and what it makes is a database. */
#include "repair_fixture.h"

#include "base/checksum.h"
#include "base/coding.h"
#include "format/file_header.h"
#include "table/sections.h"
#include "table/table.h"
#include "wal/record.h"

#define ROUNDS 120

static struct history history;

static struct disk_file *find_file(struct disk_files *files, const char *text, struct nr_random *random)
{
    for (;;) {
        struct disk_file *file = &files->items[nr_random_below(random, files->count)];
        if (strstr(file->path, text) && file->size > NR_FILE_HEADER_BYTES) return file;
    }
}

static void change(uint8_t *bytes, size_t size, struct nr_random *random)
{
    for (uint64_t n = 1 + nr_random_below(random, 3); n > 0 && size > 0; n--)
        bytes[nr_random_below(random, size)] = (uint8_t)nr_random_next(random);
}

/* The file's records anew, one of them with other bytes. */
static void forge_records(struct nr_dir *dir, const struct disk_file *file, struct nr_random *random,
                          struct nr_buffer *out)
{
    struct nr_file *open;
    struct nr_file_header header;
    struct nr_record_reader *reader;
    struct nr_record record;
    struct nr_record_writer writer;
    struct nr_buffer payload = {0};
    bool found;
    const char *name = strrchr(file->path, '/') + 1;
    EXPECT_OK(nr_buffer_assign(out, nr_slice(file->data, NR_FILE_HEADER_BYTES), &error), &error);
    uint64_t magic = nr_get_fixed64(file->data);
    if (nr_file_header_decode(nr_buffer_slice(out), magic, &header) != NR_HEADER_VALID) {
        /* A segment made ahead: zeros. */
        change(out->data, out->size, random);
        return;
    }
    EXPECT_OK(nr_file_open(dir, name, NR_OPEN_READ, &open, &error), &error);
    EXPECT_OK(nr_record_reader_create(open, header.database_id, header.number, NR_FILE_HEADER_BYTES, &reader, &error),
              &error);
    for (;;) {
        EXPECT_OK(nr_record_reader_next(reader, &record, &found, &error), &error);
        if (!found) break;
        if (record.is_mark) continue;
        EXPECT_OK(nr_buffer_assign(&payload, record.payload, &error), &error);
        if (nr_random_below(random, 3) == 0) change(payload.data, payload.size, random);
        if (nr_random_below(random, 20) == 0) record.count = (uint32_t)nr_random_below(random, 5);
        struct nr_record_place place = {header.database_id, header.number, out->size};
        nr_record_writer_init(&writer, place, record.sequence, record.count, (struct nr_position){0, 0},
                              nr_buffer_slice(&payload));
        EXPECT_OK(nr_record_encode(&writer, out, &error), &error);
    }
    nr_record_reader_destroy(reader);
    nr_file_close(open);
    nr_buffer_clear(&payload);
}

/* Some of the table's blocks with other bytes. */
static void forge_blocks(struct nr_dir *dir, const struct disk_file *file, struct nr_random *random,
                         struct nr_buffer *out)
{
    struct nr_file_header footer;
    struct nr_table *table;
    EXPECT_OK(nr_buffer_assign(out, nr_slice(file->data, file->size), &error), &error);
    nori_slice end = nr_slice(out->data + out->size - NR_FILE_HEADER_BYTES, NR_FILE_HEADER_BYTES);
    EXPECT_EQ(nr_file_header_decode(end, NR_MAGIC_TABLE, &footer), NR_HEADER_VALID);
    const struct nr_table_params params = {
        .dir = dir, .database_id = footer.database_id, .number = footer.number, .largest_sequence = 1};
    EXPECT_OK(nr_table_open(&params, &table, &error), &error);
    size_t count = (size_t)nr_table_properties(table)->block_count;
    for (size_t block = 0; block < count; block++) {
        uint64_t offset = nr_table_block_offset(table, block);
        size_t size = (size_t)(nr_table_block_offset(table, block + 1) - offset) - NR_TRAILER_BYTES;
        uint8_t *payload = out->data + offset;
        if (nr_random_below(random, 4) > 0) continue;
        change(payload, size, random);
        nr_trailer_put(payload, size, payload[size], nr_get_fixed32(payload + size + 1),
                       nr_checksum_seed(footer.database_id, footer.number, offset));
    }
    nr_table_unref(table);
}

/* Returns whether something was made of it. */
static bool expect_no_harm(struct nori_env *env, const char *what)
{
    struct nori_repair_report report;
    struct nori_engine *engine;
    const struct nori_open_params params = {.env = env, .read_only = true};
    uint64_t count;
    nori_status rc = nori_repair(env, "/db", "/new", false, NULL, NULL, &report, &error);
    if (rc == NORI_OK) {
        EXPECT_OK(nori_open("/new", &params, &engine, &error), &error);
        expect_sound(engine);
        EXPECT_OK(nori_count(engine, NULL, &count, &error), &error);
        EXPECT_EQ(count, report.entries);
        nori_destroy(engine);
        nori_repair_report_clear(&report);
        remove_tree(env, "new");
    } else if (rc != NORI_CORRUPTION) {
        FAIL("%s: %s: %s", what, nori_status_name(rc), error.text);
    }
    EXPECT_EQ(names_beside(env), 0);
    return rc == NORI_OK;
}

static void forge_many(const char *text, const char *directory,
                       void (*forge)(struct nr_dir *dir, const struct disk_file *file, struct nr_random *random,
                                     struct nr_buffer *out))
{
    struct nori_env *env;
    struct disk_files files;
    struct nr_random random;
    struct nr_dir *dir;
    struct nr_buffer forged = {0};
    size_t made = 0;
    nr_random_init(&random, 31);
    EXPECT_OK(nori_simdisk_create(31, 512, false, &env, &error), &error);
    write_history(env, &history, 31, true, 6);
    read_files(env, &files);
    EXPECT_OK(nr_dir_open(env, directory, false, &dir, &error), &error);
    for (int round = 0; round < ROUNDS; round++) {
        char what[96];
        struct disk_file *file = find_file(&files, text, &random);
        snprintf(what, sizeof what, "%s, round %d", file->path, round);
        forge(dir, file, &random, &forged);
        EXPECT_OK(nori_simdisk_write_file(env, file->path, nr_buffer_slice(&forged), &error), &error);
        made += expect_no_harm(env, what);
        EXPECT_OK(nori_simdisk_write_file(env, file->path, nr_slice(file->data, file->size), &error), &error);
    }
    EXPECT(made > ROUNDS / 2);
    nr_buffer_clear(&forged);
    nr_dir_close(dir);
    clear_files(&files);
    nori_simdisk_destroy(env);
}

TEST(a_manifest_of_senseless_edits_does_no_harm)
{
    forge_many("MANIFEST-", "/db", forge_records);
}

TEST(a_log_of_senseless_records_does_no_harm)
{
    forge_many(".log", "/db/wal", forge_records);
}

TEST(tables_of_senseless_blocks_do_no_harm)
{
    forge_many(".sst", "/db", forge_blocks);
}

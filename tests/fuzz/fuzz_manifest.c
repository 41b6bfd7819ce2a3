/* A manifest: recovered, with the tables that it names beside it; what was recovered, as a snapshot, gives itself. */
#include "fuzz.h"
#include "version/current.h"
#include "version/file_map.h"
#include "version/manifest.h"

#define MAX_TABLES 64
#define MAX_TABLE_BYTES (64u << 10)

/* ---------------------------------------------------------------- the tables it names */

struct tables {
    struct nr_dir *dir;
    size_t count;
};

/* An nr_find_file_fn: writes a file of zeros for each table that is added. */
static nori_status write_table(void *arg, uint64_t number, uint64_t file_bytes,
                               const struct nr_table_properties *properties, struct nr_table_file **file_out,
                               struct nori_error *err)
{
    static const uint8_t zeros[MAX_TABLE_BYTES];
    static const struct nr_table_properties none = {0};
    struct tables *tables = arg;
    struct fuzz_file table = {.kind = NR_FILE_TABLE, .bytes = nr_slice(zeros, (size_t)file_bytes)};
    struct fuzz_disk disk = {.dir = tables->dir};
    table.header.number = number;
    if (properties && file_bytes <= MAX_TABLE_BYTES && tables->count++ < MAX_TABLES) fuzz_write_file(&disk, &table);
    return nr_table_file_create(number, file_bytes, properties ? properties : &none, NULL, NULL, file_out, err);
}

static void write_tables(struct fuzz_disk *disk, const char *name, const struct nr_file_header *header)
{
    struct tables tables = {.dir = disk->dir};
    struct nr_file *file;
    struct nr_record_reader *reader;
    struct nr_record record;
    struct nori_error err;
    bool is_found = true;

    FUZZ_EXPECT_OK(nr_file_open(disk->dir, name, NR_OPEN_READ, &file, &err), &err);
    FUZZ_EXPECT_OK(
        nr_record_reader_create(file, header->database_id, header->number, NR_FILE_HEADER_BYTES, &reader, &err), &err);
    while (is_found) {
        struct nr_edit *edit = NULL;
        FUZZ_EXPECT_OK(nr_record_reader_next(reader, &record, &is_found, &err), &err);
        if (!is_found || record.is_mark) continue;
        nori_status rc = nr_edit_decode(record.payload, write_table, &tables, &edit, &err);
        FUZZ_EXPECT(rc == NORI_OK || rc == NORI_CORRUPTION);
        nr_edit_destroy(edit);
    }
    nr_record_reader_destroy(reader);
    nr_file_close(file);
}

/* ---------------------------------------------------------------- what was recovered */

static void encode_snapshot(const struct nr_version *version, const struct nr_manifest_state *state,
                            struct nr_buffer *out)
{
    struct nr_edit *edit;
    struct nori_error err;
    FUZZ_EXPECT_OK(nr_edit_snapshot(version, &state->counters, nr_buffer_slice(&state->options), &edit, &err), &err);
    FUZZ_EXPECT_OK(nr_edit_encode(edit, out, &err), &err);
    nr_edit_destroy(edit);
}

/* An nr_find_file_fn over a map. */
static nori_status find_file(void *arg, uint64_t number, uint64_t file_bytes,
                             const struct nr_table_properties *properties, struct nr_table_file **file_out,
                             struct nori_error *err)
{
    struct nr_table_file *known = nr_file_map_find(arg, number);
    if (known) {
        *file_out = nr_table_file_ref(known);
        return NORI_OK;
    }
    FUZZ_EXPECT(properties);
    FUZZ_EXPECT_OK(nr_table_file_create(number, file_bytes, properties, NULL, NULL, file_out, err), err);
    FUZZ_EXPECT_OK(nr_file_map_add(arg, *file_out, err), err);
    return NORI_OK;
}

/* The snapshot of a version, applied to an empty tree, is that version. */
static void expect_snapshot(const struct nr_manifest_state *state)
{
    struct nr_file_map files = {0};
    struct nr_buffer first, second;
    struct nr_edit *edit;
    struct nr_version *empty, *again;
    struct nori_error err;

    nr_buffer_init(&first);
    nr_buffer_init(&second);
    encode_snapshot(state->version, state, &first);
    FUZZ_EXPECT_OK(nr_edit_decode(nr_buffer_slice(&first), find_file, &files, &edit, &err), &err);
    FUZZ_EXPECT_OK(nr_version_create(state->version->level_count, &empty, &err), &err);
    FUZZ_EXPECT_OK(nr_edit_apply(edit, empty, &again, &err), &err);
    FUZZ_EXPECT_OK(nr_version_check(again, &err), &err);
    encode_snapshot(again, state, &second);
    FUZZ_EXPECT(nr_slice_equal(nr_buffer_slice(&first), nr_buffer_slice(&second)));
    nr_version_unref(again);
    nr_version_unref(empty);
    nr_edit_destroy(edit);
    nr_file_map_clear(&files);
    nr_buffer_clear(&first);
    nr_buffer_clear(&second);
}

void fuzz_manifest(nori_slice input)
{
    struct fuzz_disk disk;
    struct nr_file_header header = {0};
    struct nr_manifest_state state;
    struct nori_error err;
    char name[NR_FILE_NAME_BYTES];

    (void)nr_file_header_decode(input, NR_MAGIC_MANIFEST, &header);
    if (header.number == 0) return; /* CURRENT cannot name it. */
    fuzz_disk_init(&disk);
    nr_name_manifest(name, header.number);
    fuzz_write(disk.dir, name, input);
    FUZZ_EXPECT_OK(nr_current_write(disk.dir, header.number, &err), &err);
    write_tables(&disk, name, &header);
    nori_status rc = nr_manifest_recover(disk.dir, 3, NULL, NULL, &state, &err);
    FUZZ_EXPECT(rc == NORI_OK || rc == NORI_CORRUPTION || rc == NORI_FORMAT);
    if (rc == NORI_OK) {
        if (nr_version_check(state.version, &err) == NORI_OK) expect_snapshot(&state);
        nr_manifest_state_clear(&state);
    }
    fuzz_disk_clear(&disk);
}

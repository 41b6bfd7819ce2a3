/* First inputs for the fuzzers: make_corpus folder. Real files, written by the engine on the simulated disk, with all
 * that the formats know: every compression and filter, range tombstones, expiries, stamped and shared tables, guards,
 * records of several fragments, several segments, a session's HEAT. Folders are named as targets. Linked with true
 * checksums. */
#include "fuzz.h"

#include <sys/stat.h>

#include "memtable/batch.h"
#include "table/filter.h"
#include "table/ribbon.h"
#include "wal/record.h"

#define PATH_BYTES 1024
#define MAX_INPUT_BYTES (192u << 10)

static const char *folder;
static struct nori_error err;

static void emit(const char *target, const char *name, nori_slice bytes)
{
    char path[PATH_BYTES];
    if (bytes.size > MAX_INPUT_BYTES) return;
    snprintf(path, sizeof path, "%s/%s", folder, target);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s/%s", folder, target, name);
    FILE *file = fopen(path, "wb");
    FUZZ_EXPECT(file && fwrite(bytes.data, 1, bytes.size, file) == bytes.size);
    fclose(file);
}

/* ---------------------------------------------------------------- loads */

struct load {
    const char *name;
    int keys;
    int value_bytes;
    bool has_ranges, has_expiries, has_ingest, has_large_record, is_closed, is_compacted;
    struct nori_options options;
};

static nori_slice make_key(char out[16], int i)
{
    return nr_slice(out, (size_t)snprintf(out, 16, "key-%04d", i));
}

static nori_slice make_value(char *out, const struct load *load, int i)
{
    int size = 1 + (i * 37) % load->value_bytes;
    memset(out, 'a' + i % 26, (size_t)size);
    return nr_slice(out, (size_t)size);
}

static void ingest(struct nori_engine *engine, const struct load *load)
{
    struct nori_ingest *bulk;
    struct nori_batch *batch;
    struct nori_ingest_result result;
    char key[16], value[256];
    FUZZ_EXPECT_OK(nori_ingest_create(engine, false, &bulk, &err), &err);
    FUZZ_EXPECT_OK(nori_batch_create(&batch, &err), &err);
    for (int i = 0; i < load->keys; i += 3)
        FUZZ_EXPECT_OK(nori_batch_put(batch, make_key(key, i), make_value(value, load, i + 1), 0, &err), &err);
    FUZZ_EXPECT_OK(nori_ingest_add(bulk, batch, &err), &err);
    FUZZ_EXPECT_OK(nori_ingest_commit(bulk, &result, &err), &err);
    nori_batch_destroy(batch);
    nori_ingest_destroy(bulk);
}

static void write_batch(struct nori_engine *engine, const struct load *load, int i)
{
    struct nori_batch *batch;
    char key[16], value[256], stop_key[16];
    uint64_t sequence;
    nori_slice start = make_key(key, i), stop = make_key(stop_key, i + 4);
    FUZZ_EXPECT_OK(nori_batch_create(&batch, &err), &err);
    FUZZ_EXPECT_OK(nori_batch_put(batch, start, make_value(value, load, i), nori_expiry(engine, 60), &err), &err);
    FUZZ_EXPECT_OK(nori_batch_delete(batch, stop, &err), &err);
    if (load->has_ranges) FUZZ_EXPECT_OK(nori_batch_delete_range(batch, &start, i % 2 ? &stop : NULL, &err), &err);
    FUZZ_EXPECT_OK(nori_batch_put(batch, stop, make_value(value, load, i), 0, &err), &err);
    FUZZ_EXPECT_OK(nori_write(engine, batch, NULL, &sequence, &err), &err);
    nori_batch_destroy(batch);
}

static void write_one(struct nori_engine *engine, const struct load *load, int i)
{
    struct nori_write_options options = {.sync = i % 16 == 0 ? 1 : -1,
                                         .ttl_secs = load->has_expiries && i % 3 == 0 ? 100.0 + i : -1};
    char key[16], value[256], stop_key[16];
    nori_slice start = make_key(key, i * 7 % load->keys), stop = make_key(stop_key, i * 7 % load->keys + 3);
    if (i % 11 == 5)
        FUZZ_EXPECT_OK(nori_delete(engine, start, &options, &err), &err);
    else if (load->has_ranges && i % 13 == 6)
        FUZZ_EXPECT_OK(nori_delete_range(engine, &start, &stop, &options, &err), &err);
    else
        FUZZ_EXPECT_OK(nori_put(engine, start, make_value(value, load, i), &options, &err), &err);
}

static void write_load(struct nori_engine *engine, const struct load *load)
{
    static uint8_t large[90000];
    for (int i = 0; i < load->keys; i++) {
        write_one(engine, load, i);
        if (i % 40 == 39) write_batch(engine, load, i);
        if (i % 120 == 60) FUZZ_EXPECT_OK(nori_flush(engine, &err), &err);
    }
    if (load->has_ingest) ingest(engine, load);
    if (load->is_compacted) FUZZ_EXPECT_OK(nori_compact(engine, NULL, NULL, NULL, NULL, &err), &err);
    memset(large, 'L', sizeof large);
    if (load->has_large_record)
        FUZZ_EXPECT_OK(nori_put(engine, nr_slice_text("large"), nr_slice(large, sizeof large), NULL, &err), &err);
    for (int i = 0; i < 20; i++) write_one(engine, load, i * 5);
    write_batch(engine, load, 2);
}

/* ---------------------------------------------------------------- files */

static void append(struct nr_buffer *out, nori_slice bytes)
{
    FUZZ_EXPECT_OK(nr_buffer_append(out, bytes, &err), &err);
}

/* The payloads of a segment's records. */
static void emit_batches(struct nr_dir *dir, const char *name, const char *load)
{
    uint8_t bytes[NR_FILE_HEADER_BYTES];
    struct nr_file_header header;
    struct nr_file *file;
    struct nr_record_reader *reader;
    struct nr_record record;
    bool is_found;
    size_t got;
    char input[80];

    FUZZ_EXPECT_OK(nr_file_open(dir, name, NR_OPEN_READ, &file, &err), &err);
    FUZZ_EXPECT_OK(nr_file_read_at(file, 0, bytes, sizeof bytes, &got, &err), &err);
    if (nr_file_header_decode(nr_slice(bytes, got), NR_MAGIC_SEGMENT, &header) != NR_HEADER_VALID) goto out;
    FUZZ_EXPECT_OK(nr_record_reader_create(file, header.database_id, header.number, sizeof bytes, &reader, &err), &err);
    for (;;) {
        FUZZ_EXPECT_OK(nr_record_reader_next(reader, &record, &is_found, &err), &err);
        if (!is_found) break;
        snprintf(input, sizeof input, "%s-%" PRIu64 "-%" PRIu64, load, header.number, record.offset);
        if (!record.is_mark && record.payload.size < 1024) emit("batch", input, record.payload);
    }
    nr_record_reader_destroy(reader);
out:
    nr_file_close(file);
}

struct names {
    char names[256][NR_FILE_NAME_BYTES];
    size_t count;
};

static void note_name(void *arg, const char *name)
{
    struct names *names = arg;
    if (names->count < NR_ARRAY_LEN(names->names) && strlen(name) < NR_FILE_NAME_BYTES)
        strcpy(names->names[names->count++], name);
}

/* Appends the files of one kind to the images that they belong to. */
static void gather(struct nr_dir *dir, enum nr_file_kind kind, const char *load, struct nr_buffer *image,
                   struct nr_buffer *log)
{
    static const char *const targets[] = {
        [NR_FILE_TABLE] = "table", [NR_FILE_MANIFEST] = "manifest", [NR_FILE_HEAT] = "heat"};
    struct names names = {.count = 0};
    struct nr_buffer data;
    uint64_t number;
    char input[80];

    nr_buffer_init(&data);
    FUZZ_EXPECT_OK(nr_dir_list(dir, note_name, &names, &err), &err);
    for (size_t i = 0; i < names.count; i++) {
        if (nr_name_parse(names.names[i], &number) != kind) continue;
        FUZZ_EXPECT_OK(nr_file_read_all(dir, names.names[i], 64 << 20, &data, &err), &err);
        if (kind == NR_FILE_SEGMENT) {
            while (data.size > 0 && data.data[data.size - 1] == 0) data.size--;
            append(log, nr_buffer_slice(&data));
            emit_batches(dir, names.names[i], load);
        } else {
            snprintf(input, sizeof input, "%s-%s", load, names.names[i]);
            emit(targets[kind], input, nr_buffer_slice(&data));
        }
        append(image, nr_buffer_slice(&data));
    }
    nr_buffer_clear(&data);
}

static void emit_files(struct nori_env *env, const char *load)
{
    struct nr_dir *dir, *wal;
    struct nr_buffer image, log;

    nr_buffer_init(&image);
    nr_buffer_init(&log);
    FUZZ_EXPECT_OK(nr_dir_open(env, "/db", false, &dir, &err), &err);
    FUZZ_EXPECT_OK(nr_dir_open_at(dir, NR_WAL_DIRECTORY, false, &wal, &err), &err);
    gather(dir, NR_FILE_TABLE, load, &image, &log);
    gather(dir, NR_FILE_MANIFEST, load, &image, &log);
    gather(dir, NR_FILE_HEAT, load, &image, &log);
    gather(wal, NR_FILE_SEGMENT, load, &image, &log);
    emit("database", load, nr_buffer_slice(&image));
    emit("wal", load, nr_buffer_slice(&log));
    nr_dir_close(wal);
    nr_dir_close(dir);
    nr_buffer_clear(&image);
    nr_buffer_clear(&log);
}

/* Two sessions: the first is closed if the load says so, which leaves HEAT; the second is left as by a kill. */
static void run(struct load *load)
{
    struct nori_env *env;
    struct nori_engine *engine;
    bool is_found;

    FUZZ_EXPECT_OK(nori_simdisk_create(1, 512, false, &env, &err), &err);
    struct nori_open_params params = {.options = &load->options, .env = env};
    for (int session = load->is_closed ? 0 : 1; session < 2; session++) {
        char key[16];
        FUZZ_EXPECT_OK(nori_open("/db", &params, &engine, &err), &err);
        write_load(engine, load);
        for (int i = 0; i < load->keys; i++)
            FUZZ_EXPECT_OK(nori_get(engine, NULL, make_key(key, i), 0, NULL, NULL, &is_found, &err), &err);
        nori_simdisk_advance(env, 120000000, 120000);
        FUZZ_EXPECT_OK(nori_sync(engine, &err), &err);
        if (session == 0) FUZZ_EXPECT_OK(nori_close(engine, &err), &err);
        if (session == 1) emit_files(env, load->name);
        nori_destroy(engine);
    }
    nori_simdisk_destroy(env);
}

/* ---------------------------------------------------------------- what needs no engine */

static void emit_filters(void)
{
    uint64_t hashes[500];
    char name[32];
    for (uint64_t i = 0; i < NR_ARRAY_LEN(hashes); i++) hashes[i] = i * 0xD6E8FEB86659FD93ull;
    for (size_t count = 0; count <= NR_ARRAY_LEN(hashes); count += 125) {
        for (int bits = 2; bits <= 16; bits += 7) {
            uint8_t kind = NORI_FILTER_BLOOM;
            struct nr_buffer out;
            bool is_built = true;
            nr_buffer_init(&out);
            append(&out, nr_slice(&kind, 1));
            FUZZ_EXPECT_OK(nr_filter_build(hashes, count, bits, &out, &err), &err);
            snprintf(name, sizeof name, "bloom-%zu-%d", count, bits);
            emit("filter", name, nr_buffer_slice(&out));
            out.size = 0;
            kind = NORI_FILTER_RIBBON;
            append(&out, nr_slice(&kind, 1));
            FUZZ_EXPECT_OK(nr_ribbon_build(hashes, count, bits, &out, &is_built, &err), &err);
            snprintf(name, sizeof name, "ribbon-%zu-%d", count, bits);
            if (is_built) emit("filter", name, nr_buffer_slice(&out));
            nr_buffer_clear(&out);
        }
    }
}

static void append_line(void *arg, const char *name, const char *value)
{
    append(arg, nr_slice_text(name));
    append(arg, nr_slice_text("="));
    append(arg, nr_slice_text(value));
    append(arg, nr_slice_text("\n"));
}

static void emit_options(const struct load *load)
{
    struct nr_buffer text;
    nr_buffer_init(&text);
    nori_options_each(&load->options, append_line, &text);
    emit("options", load->name, nr_buffer_slice(&text));
    nr_buffer_clear(&text);
}

/* ---------------------------------------------------------------- all of it */

static struct load make_load(const char *name, int keys, int value_bytes, int compression, int filter_kind)
{
    struct load load = {.name = name, .keys = keys, .value_bytes = value_bytes};
    struct nori_options *options = &load.options;
    nori_options_init(options);
    options->memtable.flush_trigger_bytes = 16 << 10;
    options->wal.segment_bytes = 64 << 10;
    options->level1_bytes = 8 << 10;
    options->table_bytes = 4 << 10;
    options->l1_slot_count = 4;
    options->max_levels = 4;
    options->fanout = 4;
    options->filters.kind = filter_kind;
    options->resources.block_cache_mib = options->resources.index_cache_mib = 1;
    options->resources.filters_mib = options->resources.memtables_mib = 1;
    for (int64_t i = 0; i < options->level_count; i++) {
        options->levels[i].compression = compression;
        options->levels[i].block_bytes = 512;
    }
    return load;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s folder\n", argv[0]);
        return 2;
    }
    folder = argv[1];
    mkdir(folder, 0777);
    struct load loads[] = {
        make_load("plain", 50, 20, NORI_COMPRESSION_NONE, NORI_FILTER_BLOOM),
        make_load("lz4", 150, 60, NORI_COMPRESSION_LZ4, NORI_FILTER_BLOOM),
        make_load("zstd", 150, 60, NORI_COMPRESSION_ZSTD, NORI_FILTER_RIBBON),
        make_load("ranges", 200, 30, NORI_COMPRESSION_NONE, NORI_FILTER_BLOOM),
        make_load("expiring", 200, 30, NORI_COMPRESSION_LZ4, NORI_FILTER_RIBBON),
        make_load("stamped", 200, 30, NORI_COMPRESSION_NONE, NORI_FILTER_BLOOM),
        make_load("guards", 900, 90, NORI_COMPRESSION_LZ4, NORI_FILTER_RIBBON),
        make_load("large", 40, 90, NORI_COMPRESSION_NONE, NORI_FILTER_BLOOM),
    };
    loads[2].is_compacted = loads[4].is_compacted = loads[6].is_compacted = true;
    loads[3].has_ranges = loads[6].has_ranges = true;
    loads[4].has_expiries = loads[6].has_expiries = true;
    loads[5].has_ingest = loads[6].has_ingest = true;
    loads[7].has_large_record = true;
    loads[1].is_closed = loads[4].is_closed = loads[6].is_closed = true;
    loads[1].options.scheduler = NORI_SCHEDULER_CONTEXTUAL;
    for (size_t i = 0; i < NR_ARRAY_LEN(loads); i++) {
        run(&loads[i]);
        emit_options(&loads[i]);
    }
    emit_filters();
    return 0;
}

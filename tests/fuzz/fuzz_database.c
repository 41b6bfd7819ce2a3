/* A whole database: opened, read, written to, verified, closed, and opened again. */
#include "fuzz.h"
#include "version/current.h"

#define MAX_ENTRIES 100000

static bool is_expected(nori_status rc)
{
    return rc == NORI_OK || rc == NORI_CORRUPTION || rc == NORI_FORMAT || rc == NORI_POISONED || rc == NORI_READ_ONLY;
}

static nori_status open_database(struct nori_env *env, bool read_only, struct nori_engine **engine_out)
{
    /* What is kept may ask for more memory and more waiting than a fuzzer has. */
    static const struct nori_override overrides[] = {
        {"wal.segment_bytes", "65536"},      {"resources.block_cache_mib", "1"}, {"resources.index_cache_mib", "1"},
        {"resources.memtables_mib", "1"},    {"resources.filters_mib", "1"},     {"resources.max_open_files", "16"},
        {"pressure.stall_timeout_secs", "1"}};
    struct nori_open_params params = {.overrides = overrides,
                                      .override_count = NR_ARRAY_LEN(overrides),
                                      .must_exist = true,
                                      .read_only = read_only,
                                      .env = env};
    struct nori_error err;
    nori_status rc = nori_open("/db", &params, engine_out, &err);
    /* Options that do not go together are refused. */
    FUZZ_EXPECT(is_expected(rc) || rc == NORI_INVALID || rc == NORI_IO);
    return rc;
}

static uint64_t scan(struct nori_engine *engine, bool reverse, bool is_sound)
{
    struct nori_scan_params params = {.reverse = reverse, .limit = MAX_ENTRIES};
    const struct nori_entry *entries;
    struct nori_scan *scan;
    struct nori_error err;
    uint64_t total = 0;
    size_t count;
    nori_status rc = nori_scan_open(engine, &params, &scan, &err);
    if (is_sound) FUZZ_EXPECT_OK(rc, &err);
    if (rc != NORI_OK) return 0;
    do {
        rc = nori_scan_next(scan, 100, 1 << 20, &entries, &count, &err);
        FUZZ_EXPECT(is_expected(rc));
        if (is_sound) FUZZ_EXPECT_OK(rc, &err);
        if (rc != NORI_OK) break;
        total += count;
    } while (count > 0);
    nori_scan_destroy(scan);
    return total;
}

static bool verify(struct nori_engine *engine)
{
    struct nori_verify_report report;
    struct nori_error err;
    nori_status rc = nori_verify(engine, NULL, NULL, &report, &err);
    FUZZ_EXPECT(is_expected(rc));
    if (rc != NORI_OK) return false;
    bool is_sound = report.finding_count == 0;
    nori_free(report.findings);
    return is_sound;
}

static void read_all(struct nori_engine *engine)
{
    bool is_sound = verify(engine), is_found;
    struct nori_error err;
    uint64_t count = scan(engine, false, is_sound);
    FUZZ_EXPECT(!is_sound || scan(engine, true, true) == count);
    nori_status rc = nori_get(engine, NULL, nr_slice_text("key-0007"), 0, NULL, NULL, &is_found, &err);
    FUZZ_EXPECT(is_expected(rc));
}

static void write_some(struct nori_engine *engine)
{
    struct nori_error err;
    struct nori_write_options options = {.sync = 1, .ttl_secs = -1};
    nori_slice start = nr_slice_text("key-0003"), stop = nr_slice_text("key-0009");
    nori_status rc = nori_put(engine, start, nr_slice_text("new"), &options, &err);
    if (rc == NORI_OK) rc = nori_delete_range(engine, &start, &stop, NULL, &err);
    if (rc == NORI_OK) rc = nori_flush(engine, &err);
    if (rc == NORI_OK) rc = nori_compact(engine, NULL, NULL, NULL, NULL, &err);
    /* A clock or a sequence at its end leaves no room for writes. */
    FUZZ_EXPECT(is_expected(rc) || rc == NORI_INVALID || rc == NORI_BACKPRESSURE || rc == NORI_IO);
}

void fuzz_database(nori_slice input)
{
    struct fuzz_file files[FUZZ_MAX_FILES];
    size_t count = fuzz_split(input, files);
    struct fuzz_disk disk;
    struct nori_engine *engine;
    struct nori_error err;
    uint64_t manifest = 0;

    fuzz_disk_init(&disk);
    for (size_t i = 0; i < count; i++) {
        fuzz_write_file(&disk, &files[i]);
        if (files[i].kind == NR_FILE_MANIFEST && manifest == 0) manifest = files[i].header.number;
    }
    if (manifest > 0) FUZZ_EXPECT_OK(nr_current_write(disk.dir, manifest, &err), &err);
    if (open_database(disk.env, true, &engine) == NORI_OK) {
        read_all(engine);
        FUZZ_EXPECT(is_expected(nori_close(engine, &err)));
        nori_destroy(engine);
    }
    for (int round = 0; round < 2; round++) {
        if (open_database(disk.env, false, &engine) != NORI_OK) break;
        read_all(engine);
        if (round == 0) write_some(engine);
        if (round == 0) read_all(engine);
        FUZZ_EXPECT(is_expected(nori_close(engine, &err)));
        nori_destroy(engine);
    }
    fuzz_disk_clear(&disk);
}

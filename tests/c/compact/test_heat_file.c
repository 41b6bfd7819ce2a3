#include "compact/heat_file.h"

#include <errno.h>
#include <math.h>

#include "format/format.h"
#include "harness.h"

#define DATABASE_ID 4711

static struct nori_error err;

static const struct nr_heat_entry samples[] = {
    {1, {(const uint8_t *)"", 0}, 1.5, 2e6, 0.25, 1.75, 1000, 3000},
    {1, {(const uint8_t *)"guard", 5}, 0, 0, 0, 0, 0, UINT64_MAX},
    {15, {(const uint8_t *)"\0\xff", 2}, 1e-300, 1e300, 3, 4, 1ull << 40, 7},
};

static struct nr_dir *make_dir(struct nori_env **env_out)
{
    struct nr_dir *dir;
    EXPECT_OK(nori_simdisk_create(1, 512, false, env_out, &err), &err);
    EXPECT_OK(nr_dir_open(*env_out, "/db", true, &dir, &err), &err);
    return dir;
}

static void drop(struct nori_env *env, struct nr_dir *dir)
{
    nr_dir_close(dir);
    nori_simdisk_destroy(env);
}

static nori_status write_content(struct nr_dir *dir, const struct nr_heat_entry *entries, size_t count,
                                 const char *blob)
{
    struct nr_heat_content content = {.count = count, .blob = nr_slice_text(blob)};
    struct nr_heat_entry copies[4];
    for (size_t i = 0; i < count; i++) copies[i] = entries[i];
    content.entries = copies;
    return nr_heat_file_write(dir, DATABASE_ID, &content, &err);
}

static nori_status write_samples(struct nr_dir *dir)
{
    return write_content(dir, samples, NR_ARRAY_LEN(samples), "what was learned");
}

/* Two sections behind the samples. */
static nori_status write_sections(struct nr_dir *dir)
{
    struct nr_heat_entry copies[NR_ARRAY_LEN(samples)];
    struct nr_heat_content content = {.entries = copies, .count = NR_ARRAY_LEN(samples)};
    memcpy(copies, samples, sizeof copies);
    content.blob = nr_slice_text("what was learned");
    content.sections[NR_HEAT_WRITES] = nr_slice_text("where writes lie");
    content.sections[NR_HEAT_READS] = nr_slice_text("reads");
    return nr_heat_file_write(dir, DATABASE_ID, &content, &err);
}

static void expect_content(const struct nr_heat_content *content)
{
    EXPECT_EQ(content->count, NR_ARRAY_LEN(samples));
    for (size_t i = 0; i < content->count; i++) {
        const struct nr_heat_entry *found = &content->entries[i], *expected = &samples[i];
        EXPECT_EQ(found->level, expected->level);
        EXPECT(nr_slice_equal(found->start, expected->start));
        EXPECT(found->read_rate == expected->read_rate && found->write_rate == expected->write_rate);
        EXPECT(found->scan_rate == expected->scan_rate && found->probes_per_read == expected->probes_per_read);
        EXPECT(found->bytes_arrived == expected->bytes_arrived);
        EXPECT(found->bytes_rewritten == expected->bytes_rewritten);
    }
    EXPECT_SLICE(content->blob, "what was learned");
}

static void expect_samples(struct nr_dir *dir)
{
    struct nr_heat_file file;
    EXPECT_OK(nr_heat_file_read(dir, DATABASE_ID, &file, &err), &err);
    expect_content(&file.content);
    EXPECT(!file.content.sections[NR_HEAT_WRITES].data && !file.content.sections[NR_HEAT_READS].data);
    nr_heat_file_clear(&file);
}

static nori_status read_it(struct nr_dir *dir, uint64_t database_id)
{
    struct nr_heat_file file;
    nori_status rc = nr_heat_file_read(dir, database_id, &file, &err);
    nr_heat_file_clear(&file);
    return rc;
}

TEST(what_is_written_is_read_back_and_replaced_by_the_next)
{
    struct nori_env *env;
    struct nr_dir *dir = make_dir(&env);
    struct nr_heat_file file;
    EXPECT_STATUS(read_it(dir, DATABASE_ID), NORI_IO, &err);
    EXPECT_OK(write_samples(dir), &err);
    expect_samples(dir);
    EXPECT_OK(write_content(dir, NULL, 0, ""), &err);
    EXPECT_OK(nr_heat_file_read(dir, DATABASE_ID, &file, &err), &err);
    EXPECT_EQ(file.content.count, 0);
    EXPECT_EQ(file.content.blob.size, 0);
    nr_heat_file_clear(&file);
    drop(env, dir);
}

TEST(another_databases_file_is_refused)
{
    struct nori_env *env;
    struct nr_dir *dir = make_dir(&env);
    EXPECT_OK(write_samples(dir), &err);
    EXPECT_STATUS(read_it(dir, DATABASE_ID + 1), NORI_CORRUPTION, &err);
    drop(env, dir);
}

TEST(any_flipped_bit_and_any_truncation_is_refused)
{
    struct nori_env *env;
    struct nr_dir *dir = make_dir(&env);
    uint8_t *bytes, changed[1024];
    size_t size;
    EXPECT_OK(write_samples(dir), &err);
    EXPECT_OK(nori_simdisk_read_file(env, "/db/" NR_HEAT_NAME, &bytes, &size, &err), &err);
    EXPECT(size + 1 < sizeof changed);
    for (size_t bit = 0; bit < size * 8; bit++) {
        memcpy(changed, bytes, size);
        changed[bit / 8] ^= (uint8_t)(1u << bit % 8);
        EXPECT_OK(nori_simdisk_write_file(env, "/db/" NR_HEAT_NAME, nr_slice(changed, size), &err), &err);
        if (read_it(dir, DATABASE_ID) == NORI_OK) FAIL("bit %zu flipped is not found", bit);
    }
    for (size_t kept = 0; kept <= size; kept++) {
        EXPECT_OK(nori_simdisk_write_file(env, "/db/" NR_HEAT_NAME, nr_slice(bytes, kept), &err), &err);
        if ((read_it(dir, DATABASE_ID) == NORI_OK) != (kept == size)) FAIL("%zu of %zu bytes", kept, size);
    }
    nori_free(bytes);
    drop(env, dir);
}

/* What of a damaged file is read: all before the damage, and nothing that was not written. */
static void expect_sections(struct nr_dir *dir, bool has_writes, bool has_reads)
{
    struct nr_heat_file file;
    EXPECT_OK(nr_heat_file_read(dir, DATABASE_ID, &file, &err), &err);
    expect_content(&file.content);
    const nori_slice *sections = file.content.sections;
    EXPECT_EQ(sections[NR_HEAT_WRITES].data != NULL, has_writes);
    EXPECT_EQ(sections[NR_HEAT_READS].data != NULL, has_reads);
    if (has_writes) EXPECT_SLICE(sections[NR_HEAT_WRITES], "where writes lie");
    if (has_reads) EXPECT_SLICE(sections[NR_HEAT_READS], "reads");
    nr_heat_file_clear(&file);
}

TEST(a_damaged_section_is_lost_with_those_behind_it_and_nothing_else)
{
    struct nori_env *env;
    struct nr_dir *dir = make_dir(&env);
    uint8_t *bytes, changed[1024];
    size_t size, body, writes;
    EXPECT_OK(write_samples(dir), &err);
    EXPECT_OK(nori_simdisk_read_file(env, "/db/" NR_HEAT_NAME, &bytes, &body, &err), &err);
    nori_free(bytes);
    EXPECT_OK(write_sections(dir), &err);
    EXPECT_OK(nori_simdisk_read_file(env, "/db/" NR_HEAT_NAME, &bytes, &size, &err), &err);
    expect_sections(dir, true, true);
    writes = body + 1 + 1 + strlen("where writes lie") + 8;
    EXPECT_EQ(size, writes + 1 + 1 + strlen("reads") + 8);
    for (size_t bit = 0; bit < size * 8; bit++) {
        memcpy(changed, bytes, size);
        changed[bit / 8] ^= (uint8_t)(1u << bit % 8);
        EXPECT_OK(nori_simdisk_write_file(env, "/db/" NR_HEAT_NAME, nr_slice(changed, size), &err), &err);
        if (bit < body * 8)
            EXPECT(read_it(dir, DATABASE_ID) != NORI_OK);
        else
            expect_sections(dir, bit >= writes * 8, false);
    }
    for (size_t kept = body; kept < size; kept++) {
        EXPECT_OK(nori_simdisk_write_file(env, "/db/" NR_HEAT_NAME, nr_slice(bytes, kept), &err), &err);
        expect_sections(dir, kept >= writes, false);
    }
    memcpy(changed, bytes, size);
    changed[size] = 0;
    EXPECT_OK(nori_simdisk_write_file(env, "/db/" NR_HEAT_NAME, nr_slice(changed, size + 1), &err), &err);
    expect_sections(dir, true, true);
    nori_free(bytes);
    drop(env, dir);
}

TEST(a_section_that_is_too_long_is_not_written)
{
    struct nori_env *env;
    struct nr_dir *dir = make_dir(&env);
    static uint8_t long_bytes[NR_HEAT_SECTION_MAX_BYTES + 1];
    struct nr_heat_content content = {0};
    for (size_t over = 0; over < 2; over++) {
        struct nr_heat_file file;
        content.sections[NR_HEAT_READS] = nr_slice(long_bytes, NR_HEAT_SECTION_MAX_BYTES + over);
        EXPECT_OK(nr_heat_file_write(dir, DATABASE_ID, &content, &err), &err);
        EXPECT_OK(nr_heat_file_read(dir, DATABASE_ID, &file, &err), &err);
        EXPECT_EQ(file.content.sections[NR_HEAT_READS].size, over ? 0 : NR_HEAT_SECTION_MAX_BYTES);
        nr_heat_file_clear(&file);
    }
    drop(env, dir);
}

TEST(numbers_that_no_rate_can_be_are_refused_though_the_checksum_is_right)
{
    static const double wrong[] = {-1, NAN, INFINITY, -INFINITY};
    struct nori_env *env;
    struct nr_dir *dir = make_dir(&env);
    struct nr_heat_entry entry = samples[0];
    for (size_t i = 0; i < NR_ARRAY_LEN(wrong); i++) {
        entry.scan_rate = wrong[i];
        EXPECT_OK(write_content(dir, &entry, 1, ""), &err);
        EXPECT_STATUS(read_it(dir, DATABASE_ID), NORI_CORRUPTION, &err);
    }
    entry = samples[0];
    for (uint32_t level = 0; level <= NORI_MAX_LEVELS; level += NORI_MAX_LEVELS) {
        entry.level = level;
        EXPECT_OK(write_content(dir, &entry, 1, ""), &err);
        EXPECT_STATUS(read_it(dir, DATABASE_ID), NORI_CORRUPTION, &err);
    }
    drop(env, dir);
}

TEST(a_failed_write_leaves_the_old_file)
{
    struct nori_env *env;
    struct nr_dir *dir = make_dir(&env);
    EXPECT_OK(write_samples(dir), &err);
    for (uint64_t nth = 1;; nth++) {
        EXPECT_OK(nori_simdisk_fail(env, "any", nth, ENOSPC, nth % 2, &err), &err);
        nori_status rc = write_content(dir, samples, 1, "");
        nori_simdisk_clear_faults(env);
        if (rc == NORI_OK) break;
        EXPECT_STATUS(rc, NORI_IO, &err);
        expect_samples(dir);
        EXPECT(nth < 20);
    }
    EXPECT_OK(read_it(dir, DATABASE_ID), &err);
    drop(env, dir);
}

TEST(memory_may_run_out_anywhere)
{
    struct nori_env *env;
    struct nr_dir *dir = make_dir(&env);
    nori_status rc = NORI_NO_MEMORY;
    for (uint64_t nth = 1; rc != NORI_OK; nth++) {
        nr_alloc_fail_at(nth);
        rc = write_sections(dir);
        nr_alloc_fail_at(0);
        if (rc != NORI_OK) EXPECT_STATUS(rc, NORI_NO_MEMORY, &err);
    }
    rc = NORI_NO_MEMORY;
    for (uint64_t nth = 1; rc != NORI_OK; nth++) {
        nr_alloc_fail_at(nth);
        rc = read_it(dir, DATABASE_ID);
        nr_alloc_fail_at(0);
        if (rc != NORI_OK) EXPECT_STATUS(rc, NORI_NO_MEMORY, &err);
    }
    expect_sections(dir, true, true);
    drop(env, dir);
}

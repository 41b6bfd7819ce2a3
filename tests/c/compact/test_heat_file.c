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

static nori_status write_samples(struct nr_dir *dir)
{
    return nr_heat_file_write(dir, DATABASE_ID, samples, NR_ARRAY_LEN(samples), nr_slice_text("what was learned"),
                              &err);
}

static void expect_samples(struct nr_dir *dir)
{
    struct nr_heat_file file;
    EXPECT_OK(nr_heat_file_read(dir, DATABASE_ID, &file, &err), &err);
    EXPECT_EQ(file.count, NR_ARRAY_LEN(samples));
    for (size_t i = 0; i < file.count; i++) {
        const struct nr_heat_entry *found = &file.entries[i], *expected = &samples[i];
        EXPECT_EQ(found->level, expected->level);
        EXPECT(nr_slice_equal(found->start, expected->start));
        EXPECT(found->read_rate == expected->read_rate && found->write_rate == expected->write_rate);
        EXPECT(found->scan_rate == expected->scan_rate && found->probes_per_read == expected->probes_per_read);
        EXPECT(found->bytes_arrived == expected->bytes_arrived);
        EXPECT(found->bytes_rewritten == expected->bytes_rewritten);
    }
    EXPECT_SLICE(file.blob, "what was learned");
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
    EXPECT_OK(nr_heat_file_write(dir, DATABASE_ID, NULL, 0, nr_slice(NULL, 0), &err), &err);
    EXPECT_OK(nr_heat_file_read(dir, DATABASE_ID, &file, &err), &err);
    EXPECT_EQ(file.count, 0);
    EXPECT_EQ(file.blob.size, 0);
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

TEST(any_flipped_bit_and_any_truncation_and_any_byte_behind_is_refused)
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
    memcpy(changed, bytes, size);
    changed[size] = 0;
    for (size_t kept = 0; kept <= size + 1; kept++) {
        EXPECT_OK(nori_simdisk_write_file(env, "/db/" NR_HEAT_NAME, nr_slice(changed, kept), &err), &err);
        if ((read_it(dir, DATABASE_ID) == NORI_OK) != (kept == size)) FAIL("%zu of %zu bytes", kept, size);
    }
    nori_free(bytes);
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
        EXPECT_OK(nr_heat_file_write(dir, DATABASE_ID, &entry, 1, nr_slice(NULL, 0), &err), &err);
        EXPECT_STATUS(read_it(dir, DATABASE_ID), NORI_CORRUPTION, &err);
    }
    entry = samples[0];
    for (uint32_t level = 0; level <= NORI_MAX_LEVELS; level += NORI_MAX_LEVELS) {
        entry.level = level;
        EXPECT_OK(nr_heat_file_write(dir, DATABASE_ID, &entry, 1, nr_slice(NULL, 0), &err), &err);
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
        nori_status rc = nr_heat_file_write(dir, DATABASE_ID, samples, 1, nr_slice(NULL, 0), &err);
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
        rc = write_samples(dir);
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
    expect_samples(dir);
    drop(env, dir);
}

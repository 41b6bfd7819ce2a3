/* What the tests of the simulated disk share: a disk, a directory on it, files of text. */
#ifndef NR_TESTS_IO_SIM_H
#define NR_TESTS_IO_SIM_H

#include "harness.h"

#include <errno.h>

#include "io/env.h"

static struct nori_error err;

static inline struct nori_env *make_disk(uint64_t seed)
{
    struct nori_env *env;
    EXPECT_OK(nori_simdisk_create(seed, 512, false, &env, &err), &err);
    return env;
}

static inline struct nr_dir *enter(struct nori_env *env)
{
    struct nr_dir *dir;
    EXPECT_OK(nr_dir_open(env, "/db", true, &dir, &err), &err);
    return dir;
}

static inline struct nr_file *create(struct nr_dir *dir, const char *name, const char *text)
{
    struct nr_file *file;
    EXPECT_OK(nr_file_open(dir, name, NR_OPEN_CREATE, &file, &err), &err);
    EXPECT_OK(nr_file_append(file, nr_slice_text(text), &err), &err);
    return file;
}

/* Synced, but for its name. */
static inline void create_synced(struct nr_dir *dir, const char *name, const char *text)
{
    struct nr_file *file = create(dir, name, text);
    EXPECT_OK(nr_file_sync(file, &err), &err);
    nr_file_close(file);
}

/* Closes 'dir', cuts the power, opens it again. */
static inline struct nr_dir *crash(struct nr_dir *dir, double keep)
{
    struct nori_env *env = dir->env;
    nr_dir_close(dir);
    EXPECT_OK(nori_simdisk_crash(env, keep, &err), &err);
    return enter(env);
}

static inline bool has(struct nr_dir *dir, const char *name)
{
    bool exists;
    EXPECT_OK(nr_dir_exists(dir, name, &exists, &err), &err);
    return exists;
}

static inline void expect_file(struct nr_dir *dir, const char *name, const char *text)
{
    struct nr_buffer data;
    nr_buffer_init(&data);
    EXPECT_OK(nr_file_read_all(dir, name, 1u << 20, &data, &err), &err);
    EXPECT_SLICE(nr_buffer_slice(&data), text);
    nr_buffer_clear(&data);
}

#endif

/* Fuzz targets: each is handed bytes as a file might hold them, and expects of the core what design and format promise
 * of any bytes: an answer or an error, no crash, no leak; and where it accepts them, that what it read agrees with
 * itself. They are linked with a checksum.c in which any sum is right (base/checksum.h).
 *
 * libfuzzer.c searches, replay.c runs the kept corpus, make_corpus.c writes first inputs. */
#ifndef NR_TESTS_FUZZ_H
#define NR_TESTS_FUZZ_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "format/file_header.h"
#include "format/format.h"
#include "io/env.h"

struct fuzz_target {
    const char *name; /* NULL past the last. */
    void (*run)(nori_slice input);
};
extern const struct fuzz_target fuzz_targets[];
const struct fuzz_target *fuzz_find(const char *name); /* NULL if none. */
/* Expects all memory freed. */
void fuzz_run(const struct fuzz_target *target, nori_slice input);

/* Names the place, and aborts. */
#define FUZZ_EXPECT(condition)                                                                                         \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition);                                   \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)
#define FUZZ_EXPECT_OK(call, error)                                                                                    \
    do {                                                                                                               \
        nori_status actual_status = (call);                                                                            \
        if (actual_status != NORI_OK) {                                                                                \
            fprintf(stderr, "%s:%d: %s is %s (%s)\n", __FILE__, __LINE__, #call, nori_status_name(actual_status),      \
                    (error)->text);                                                                                    \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* A disk with the directory /db, and wal below it. */
struct fuzz_disk {
    struct nori_env *env;
    struct nr_dir *dir;
    struct nr_dir *wal;
};
void fuzz_disk_init(struct fuzz_disk *disk);
void fuzz_disk_clear(struct fuzz_disk *disk);
void fuzz_write(struct nr_dir *dir, const char *name, nori_slice bytes);

/* The files that stand in an input one behind the other: tables, each up to the end of its footer; then manifests,
 * segments and HEAT, each from its magic on. No lengths, so that a mutation of one file leaves the others whole. */
struct fuzz_file {
    enum nr_file_kind kind;
    nori_slice bytes;
    struct nr_file_header header; /* As it stands there. */
};
#define FUZZ_MAX_FILES 48
size_t fuzz_split(nori_slice input, struct fuzz_file files[FUZZ_MAX_FILES]);
/* Writes one where it belongs; a name that is taken stays as it is. */
void fuzz_write_file(struct fuzz_disk *disk, const struct fuzz_file *file);

void fuzz_batch(nori_slice input);
void fuzz_database(nori_slice input);
void fuzz_filter(nori_slice input);
void fuzz_heat(nori_slice input);
void fuzz_manifest(nori_slice input);
void fuzz_options(nori_slice input);
void fuzz_table(nori_slice input);
void fuzz_wal(nori_slice input);

#endif

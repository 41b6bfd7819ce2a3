/* HEAT: the slots' rates, and what the scheduler and the guards learned, from one session to the next (FORMAT.md, 17).
 *
 * Nothing depends on it. It is written without any sync; what is missing, damaged, of another database or of another
 * version is an error here, which the engine answers by beginning anew. Its sections have checksums of their own: one
 * that is damaged is lost with those behind it, and nothing else. */
#ifndef NR_COMPACT_HEAT_FILE_H
#define NR_COMPACT_HEAT_FILE_H

#include "base/buffer.h"
#include "io/env.h"
#include "version/activity.h"

#define NR_HEAT_FILE_MAX_BYTES (64u << 20)

/* Of one slot. */
struct nr_heat_entry {
    uint32_t level;
    nori_slice start; /* Its guard. Borrowed. */
    double read_rate, write_rate, scan_rate, probes_per_read;
    uint64_t bytes_arrived, bytes_rewritten;
};

/* In the file, too: never given another meaning. */
enum nr_heat_section {
    NR_HEAT_WRITES = 1, /* Sketches: of what was flushed, */
    NR_HEAT_READS = 2,  /* and of what was read. */
};
#define NR_HEAT_SECTION_COUNT 3
/* Longer ones are neither written nor read. */
#define NR_HEAT_SECTION_MAX_BYTES (64u << 10)

struct nr_heat_content {
    struct nr_heat_entry *entries;
    size_t count;
    nori_slice blob;                            /* The scheduler's, opaque. */
    nori_slice sections[NR_HEAT_SECTION_COUNT]; /* By kind. data NULL: none. */
};

struct nr_heat_file {
    struct nr_heat_content content; /* Entries owned; the bytes in it are borrowed from 'bytes'. */
    struct nr_buffer bytes;         /* Owned. */
};

/* Puts the file in the place of the old one. INVALID if it were too large. Borrows all of 'content'. */
NORI_WARN_UNUSED nori_status nr_heat_file_write(struct nr_dir *dir, uint64_t database_id,
                                                const struct nr_heat_content *content, struct nori_error *err);
/* '*file_out' is to be cleared, also after a failure. Rates are finite and not negative. */
NORI_WARN_UNUSED nori_status nr_heat_file_read(struct nr_dir *dir, uint64_t database_id, struct nr_heat_file *file_out,
                                               struct nori_error *err);
void nr_heat_file_clear(struct nr_heat_file *file);

#endif

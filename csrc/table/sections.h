/* What a table holds beside its blocks, as it is read from the file's end: footer, directory, filter, range tombstones,
 * index, properties. */
#ifndef NR_TABLE_SECTIONS_H
#define NR_TABLE_SECTIONS_H

#include "io/env.h"
#include "iter/tombstones.h"
#include "table/filter.h"
#include "table/index.h"
#include "table/properties.h"
#include "table/ribbon.h"
#include "table/table.h"

/* The trailer of 'payload', which begins at 'offset' in the file and has been compressed from 'size' bytes; written
 * right behind it. */
void nr_trailer_put(uint8_t *payload, size_t payload_size, int compression, uint32_t size, uint64_t seed);
/* Judges stored bytes by their trailer: NULL, or what is wrong. */
const char *nr_trailer_check(nori_slice stored, uint64_t seed, int *compression_out, uint32_t *size_out);

NORI_WARN_UNUSED nori_status nr_tombstones_encode(const struct nr_tombstones *set, struct nr_buffer *out,
                                                  struct nori_error *err);
/* '*valid_out' is false if the section makes no sense. */
NORI_WARN_UNUSED nori_status nr_tombstones_decode(nori_slice section, struct nr_tombstones **set_out,
                                                  uint64_t *range_count_out, bool *valid_out, struct nori_error *err);

/* Fills 'data'; CORRUPTION if the file ends before. */
NORI_WARN_UNUSED nori_status nr_sections_read(struct nr_file *file, uint64_t offset, uint8_t *data, size_t size,
                                              struct nori_error *err);

struct nr_sections {
    uint64_t file_bytes;
    uint64_t data_end;       /* Blocks lie below. */
    uint64_t stamp;          /* The sequence of all entries, whatever stands there; 0: what stands there. */
    struct nr_filter filter; /* A table has one of the two, or none. */
    struct nr_ribbon ribbon;
    struct nr_index index;
    struct nr_tombstones *tombstones;      /* NULL: none. */
    struct nr_table_properties properties; /* Borrows from properties_bytes. */
    struct nr_buffer properties_bytes;
};

/* Reads and checks all of it. 'largest_sequence' is what the manifest says, for tables that are stamped. 'salvage'
 * (NULL: none) makes the best of damage. On failure 'sections' is empty. */
NORI_WARN_UNUSED nori_status nr_sections_load(struct nr_sections *sections, struct nr_file *file, uint64_t database_id,
                                              uint64_t number, uint64_t largest_sequence,
                                              const struct nr_salvage *salvage, struct nori_error *err);
void nr_sections_clear(struct nr_sections *sections);

static inline bool nr_sections_have_filter(const struct nr_sections *sections)
{
    return sections->filter.lines || sections->ribbon.words;
}

/* Ahead of asking. */
static inline void nr_sections_prefetch_filter(const struct nr_sections *sections, uint64_t hash)
{
    if (NR_LIKELY(sections->filter.lines))
        nr_filter_prefetch(&sections->filter, hash);
    else if (sections->ribbon.words)
        nr_ribbon_prefetch(&sections->ribbon, hash);
}

/* Whether entries of the key may be there. Without a filter any may. */
static inline bool nr_sections_may_hold(const struct nr_sections *sections, uint64_t hash)
{
    if (NR_LIKELY(sections->filter.lines)) return nr_filter_may_hold(&sections->filter, hash);
    return !sections->ribbon.words || nr_ribbon_may_hold(&sections->ribbon, hash);
}

#endif

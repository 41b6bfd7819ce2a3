/* The header that manifests and log segments begin with; tables carry the same fields in their footer.
 *
 * Its checksum is seeded by nothing but the kind, so that a header can be judged before the database is known. */
#ifndef NR_FORMAT_FILE_HEADER_H
#define NR_FORMAT_FILE_HEADER_H

#include "base/slice.h"

#define NR_FILE_HEADER_BYTES 96

/* Read as little-endian text. */
#define NR_MAGIC_SEGMENT 0x474f4c2d49524f4eull  /* NORI-LOG */
#define NR_MAGIC_MANIFEST 0x4e414d2d49524f4eull /* NORI-MAN */
#define NR_MAGIC_TABLE 0x5453532d49524f4eull    /* NORI-SST */
#define NR_MAGIC_HEAT 0x4145482d49524f4eull     /* NORI-HEA */
#define NR_FILE_HEADER_EXTRA 4

struct nr_file_header {
    uint64_t magic;
    uint64_t read_features;
    uint64_t write_features;
    uint64_t database_id;
    uint64_t number;                      /* Of the file; must be that of its name. */
    uint64_t extra[NR_FILE_HEADER_EXTRA]; /* The kind's own. */
};

void nr_file_header_encode(const struct nr_file_header *header, uint8_t out[NR_FILE_HEADER_BYTES]);

enum nr_header_verdict {
    NR_HEADER_VALID,
    NR_HEADER_DAMAGED,    /* Wrong magic, checksum or length. */
    NR_HEADER_UNREADABLE, /* Valid, but a newer version or an unknown read feature. */
};
/* Judges bytes read from a file. '*header_out' is filled unless damaged. */
enum nr_header_verdict nr_file_header_decode(nori_slice bytes, uint64_t magic, struct nr_file_header *header_out);

#endif

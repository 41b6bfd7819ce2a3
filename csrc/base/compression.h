/* Block compression: none, LZ4, zstd (of the system's libraries). */
#ifndef NR_BASE_COMPRESSION_H
#define NR_BASE_COMPRESSION_H

#include "base/slice.h"

/* Largest output of nr_compress for 'size' input bytes; 0 for 'none'. */
size_t nr_compress_bound(int compression, size_t size);
/* Compresses into 'out'. '*size_out' is 0 when it does not shrink by at least an eighth: store it raw. */
NORI_WARN_UNUSED nori_status nr_compress(int compression, nori_slice input, uint8_t *out, size_t capacity,
                                         size_t *size_out, struct nori_error *err);
/* No 'size' bytes decompress to more: what claims to is refused before it is given memory. */
uint64_t nr_decompress_bound(int compression, size_t size);
/* Exactly 'size' bytes into 'out'. False if the input is not that. */
bool nr_decompress(int compression, nori_slice input, uint8_t *out, size_t size);

#endif

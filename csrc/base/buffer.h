/* A growing run of bytes. Zeroed is empty; clear gives the memory back. */
#ifndef NR_BASE_BUFFER_H
#define NR_BASE_BUFFER_H

#include "base/slice.h"

struct nr_buffer {
    uint8_t *data; /* Owned. */
    size_t size;
    size_t capacity;
};

void nr_buffer_init(struct nr_buffer *buffer);
void nr_buffer_clear(struct nr_buffer *buffer); /* Frees; the buffer is empty and usable. */
/* Makes room for 'more' bytes behind the current end. */
NORI_WARN_UNUSED nori_status nr_buffer_reserve(struct nr_buffer *buffer, size_t more, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_buffer_append(struct nr_buffer *buffer, nori_slice bytes, struct nori_error *err);
/* Replaces the content. */
NORI_WARN_UNUSED nori_status nr_buffer_assign(struct nr_buffer *buffer, nori_slice bytes, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_buffer_append_format(struct nr_buffer *buffer, struct nori_error *err,
                                                     const char *format, ...) NR_PRINTF(3, 4);
/* varint; fixed little-endian; varint length and bytes */
NORI_WARN_UNUSED nori_status nr_buffer_append_varint(struct nr_buffer *buffer, uint64_t value, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_buffer_append_fixed32(struct nr_buffer *buffer, uint32_t value, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_buffer_append_fixed64(struct nr_buffer *buffer, uint64_t value, struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_buffer_append_sized(struct nr_buffer *buffer, nori_slice bytes, struct nori_error *err);

static inline nori_slice nr_buffer_slice(const struct nr_buffer *buffer)
{
    return nr_slice(buffer->data, buffer->size);
}

#endif

#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/coding.h"

#define SMALLEST_CAPACITY_BYTES 64

void nr_buffer_init(struct nr_buffer *buffer)
{
    *buffer = (struct nr_buffer){NULL, 0, 0};
}

void nr_buffer_clear(struct nr_buffer *buffer)
{
    nr_free(buffer->data);
    nr_buffer_init(buffer);
}

static nori_status grow(struct nr_buffer *buffer, size_t more, struct nori_error *err)
{
    size_t needed, capacity;
    uint8_t *data;

    if (more > SIZE_MAX - buffer->size) return nr_fail_memory(err, SIZE_MAX);
    needed = buffer->size + more;
    capacity = NR_MAX(buffer->capacity, (size_t)SMALLEST_CAPACITY_BYTES);
    while (capacity < needed) capacity = capacity > SIZE_MAX / 2 ? needed : capacity * 2;
    data = nr_realloc(buffer->data, capacity);
    if (!data) return nr_fail_memory(err, capacity);
    buffer->data = data;
    buffer->capacity = capacity;
    return NORI_OK;
}

nori_status nr_buffer_reserve(struct nr_buffer *buffer, size_t more, struct nori_error *err)
{
    if (NR_LIKELY(more <= buffer->capacity - buffer->size)) return NORI_OK;
    return grow(buffer, more, err);
}

nori_status nr_buffer_append(struct nr_buffer *buffer, nori_slice bytes, struct nori_error *err)
{
    nori_status rc;
    if (bytes.size == 0) return NORI_OK;
    NR_CHECK(nr_buffer_reserve(buffer, bytes.size, err));
    memcpy(buffer->data + buffer->size, bytes.data, bytes.size);
    buffer->size += bytes.size;
out:
    return rc;
}

/* On failure the old content stays. */
nori_status nr_buffer_assign(struct nr_buffer *buffer, nori_slice bytes, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    if (bytes.size > buffer->capacity) NR_CHECK(nr_buffer_reserve(buffer, bytes.size - buffer->size, err));
    if (bytes.size > 0) memmove(buffer->data, bytes.data, bytes.size);
    buffer->size = bytes.size;
out:
    return rc;
}

nori_status nr_buffer_append_format(struct nr_buffer *buffer, struct nori_error *err, const char *format, ...)
{
    va_list arguments;
    nori_status rc;
    int length;

    va_start(arguments, format);
    length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) return NR_FAIL(err, NORI_INVALID, "cannot format \"%s\"", format);
    /* vsnprintf ends what it writes with a zero, which is not part of the content. */
    NR_CHECK(nr_buffer_reserve(buffer, (size_t)length + 1, err));
    va_start(arguments, format);
    vsnprintf((char *)buffer->data + buffer->size, (size_t)length + 1, format, arguments);
    va_end(arguments);
    buffer->size += (size_t)length;
out:
    return rc;
}

nori_status nr_buffer_append_varint(struct nr_buffer *buffer, uint64_t value, struct nori_error *err)
{
    nori_status rc;
    NR_CHECK(nr_buffer_reserve(buffer, NR_VARINT_MAX_BYTES, err));
    buffer->size = (size_t)(nr_put_varint(buffer->data + buffer->size, value) - buffer->data);
out:
    return rc;
}

nori_status nr_buffer_append_fixed32(struct nr_buffer *buffer, uint32_t value, struct nori_error *err)
{
    nori_status rc;
    NR_CHECK(nr_buffer_reserve(buffer, 4, err));
    nr_put_fixed32(buffer->data + buffer->size, value);
    buffer->size += 4;
out:
    return rc;
}

nori_status nr_buffer_append_fixed64(struct nr_buffer *buffer, uint64_t value, struct nori_error *err)
{
    nori_status rc;
    NR_CHECK(nr_buffer_reserve(buffer, 8, err));
    nr_put_fixed64(buffer->data + buffer->size, value);
    buffer->size += 8;
out:
    return rc;
}

/* Length and bytes are reserved together: on failure neither is there. */
nori_status nr_buffer_append_sized(struct nr_buffer *buffer, nori_slice bytes, struct nori_error *err)
{
    nori_status rc;
    if (bytes.size > SIZE_MAX - NR_VARINT_MAX_BYTES) return nr_fail_memory(err, bytes.size);
    NR_CHECK(nr_buffer_reserve(buffer, NR_VARINT_MAX_BYTES + bytes.size, err));
    buffer->size = (size_t)(nr_put_varint(buffer->data + buffer->size, bytes.size) - buffer->data);
    if (bytes.size > 0) memcpy(buffer->data + buffer->size, bytes.data, bytes.size);
    buffer->size += bytes.size;
out:
    return rc;
}

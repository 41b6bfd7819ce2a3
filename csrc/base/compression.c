#include "base/compression.h"

#include <limits.h>
#include <pthread.h>

#include <lz4.h>
#define ZSTD_STATIC_LINKING_ONLY /* ZSTD_initStaticDCtx. */
#include <zstd.h>
#include <zstd_errors.h>

#define ZSTD_LEVEL 3
#define LZ4_MOST_PER_BYTE 255u    /* A byte of a length. */
#define ZSTD_LEAST_BLOCK_BYTES 4u /* The header, and the byte that is repeated. */

/* zstd contexts are large and dear to set up, so each thread keeps its own until it ends. They come from zstd's own
 * malloc: they outlive every engine and are nobody's to count. */
static pthread_once_t keys_once = PTHREAD_ONCE_INIT;
static bool keys_made; /* Final after keys_once. */
static pthread_key_t compressor_key;
static pthread_key_t decompressor_key;

static void free_compressor(void *context)
{
    ZSTD_freeCCtx(context);
}

static void free_decompressor(void *context)
{
    ZSTD_freeDCtx(context);
}

static void make_keys(void)
{
    if (pthread_key_create(&compressor_key, free_compressor) != 0) return;
    if (pthread_key_create(&decompressor_key, free_decompressor) != 0) {
        pthread_key_delete(compressor_key);
        return;
    }
    keys_made = true;
}

static bool have_keys(void)
{
    return pthread_once(&keys_once, make_keys) == 0 && keys_made;
}

/* The thread's context, or NULL without memory. */
static ZSTD_CCtx *find_compressor(void)
{
    ZSTD_CCtx *context;
    if (!have_keys()) return NULL;
    context = pthread_getspecific(compressor_key);
    if (context) return context;
    context = ZSTD_createCCtx();
    if (context && pthread_setspecific(compressor_key, context) != 0) {
        ZSTD_freeCCtx(context);
        context = NULL;
    }
    return context;
}

static ZSTD_DCtx *find_decompressor(void)
{
    ZSTD_DCtx *context;
    if (!have_keys()) return NULL;
    context = pthread_getspecific(decompressor_key);
    if (context) return context;
    context = ZSTD_createDCtx();
    if (context && pthread_setspecific(decompressor_key, context) != 0) {
        ZSTD_freeDCtx(context);
        context = NULL;
    }
    return context;
}

/* Serves threads that got no context, one at a time: want of memory must not pass for a damaged block. */
static bool decompress_in_reserve(nori_slice input, uint8_t *out, size_t size)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static _Alignas(64) uint8_t memory[256 << 10];
    ZSTD_DCtx *context;
    bool is_right = false;

    pthread_mutex_lock(&lock);
    context = ZSTD_initStaticDCtx(memory, sizeof(memory));
    if (context) is_right = ZSTD_decompressDCtx(context, out, size, input.data, input.size) == size;
    pthread_mutex_unlock(&lock);
    return is_right;
}

size_t nr_compress_bound(int compression, size_t size)
{
    switch (compression) {
    case NORI_COMPRESSION_LZ4:
        return size > LZ4_MAX_INPUT_SIZE ? 0 : (size_t)LZ4_compressBound((int)size);
    case NORI_COMPRESSION_ZSTD:
        return size > LZ4_MAX_INPUT_SIZE ? 0 : ZSTD_compressBound(size);
    default:
        return 0;
    }
}

static nori_status compress_zstd(nori_slice input, uint8_t *out, size_t capacity, size_t *size_out,
                                 struct nori_error *err)
{
    ZSTD_CCtx *context = find_compressor();
    size_t size;

    if (!context) return nr_fail_memory(err, ZSTD_estimateCCtxSize(ZSTD_LEVEL));
    size = ZSTD_compressCCtx(context, out, capacity, input.data, input.size, ZSTD_LEVEL);
    if (!ZSTD_isError(size)) {
        *size_out = size;
        return NORI_OK;
    }
    if (ZSTD_getErrorCode(size) == ZSTD_error_memory_allocation) {
        return nr_fail_memory(err, ZSTD_estimateCCtxSize(ZSTD_LEVEL));
    }
    /* It does not fit: raw it is. */
    *size_out = 0;
    return NORI_OK;
}

nori_status nr_compress(int compression, nori_slice input, uint8_t *out, size_t capacity, size_t *size_out,
                        struct nori_error *err)
{
    nori_status rc = NORI_OK;
    size_t saved_at_least = input.size / 8 + (input.size % 8 != 0);

    *size_out = 0;
    if (input.size == 0 || input.size > LZ4_MAX_INPUT_SIZE) goto out;
    if (compression == NORI_COMPRESSION_LZ4) {
        int size = LZ4_compress_default((const char *)input.data, (char *)out, (int)input.size,
                                        (int)NR_MIN(capacity, (size_t)INT_MAX));
        *size_out = size > 0 ? (size_t)size : 0;
    } else if (compression == NORI_COMPRESSION_ZSTD) {
        NR_CHECK(compress_zstd(input, out, capacity, size_out, err));
    }
    if (*size_out > input.size - saved_at_least) *size_out = 0;
out:
    return rc;
}

uint64_t nr_decompress_bound(int compression, size_t size)
{
    switch (compression) {
    case NORI_COMPRESSION_NONE:
        return size;
    case NORI_COMPRESSION_LZ4:
        return (uint64_t)size * LZ4_MOST_PER_BYTE;
    case NORI_COMPRESSION_ZSTD:
        return (uint64_t)size / ZSTD_LEAST_BLOCK_BYTES * ZSTD_BLOCKSIZE_MAX;
    default:
        return 0;
    }
}

static bool decompress_lz4(nori_slice input, uint8_t *out, size_t size)
{
    int result;
    if (input.size > INT_MAX || size > INT_MAX) return false;
    result = LZ4_decompress_safe((const char *)input.data, (char *)out, (int)input.size, (int)size);
    return result >= 0 && (size_t)result == size;
}

bool nr_decompress(int compression, nori_slice input, uint8_t *out, size_t size)
{
    uint8_t nothing;
    if (!out) {
        if (size > 0) return false;
        out = &nothing; /* The libraries want an address. */
    }
    switch (compression) {
    case NORI_COMPRESSION_NONE:
        if (input.size != size) return false;
        if (size > 0) memcpy(out, input.data, size);
        return true;
    case NORI_COMPRESSION_LZ4:
        return input.size > 0 && decompress_lz4(input, out, size);
    case NORI_COMPRESSION_ZSTD: {
        ZSTD_DCtx *context;
        if (input.size == 0) return false;
        context = find_decompressor();
        if (!context) return decompress_in_reserve(input, out, size);
        return ZSTD_decompressDCtx(context, out, size, input.data, input.size) == size;
    }
    default:
        return false;
    }
}

/* The keys of the model tests. */
#ifndef NR_TESTS_ITER_UNIVERSE_H
#define NR_TESTS_ITER_UNIVERSE_H

#include "harness.h"
#include "base/random.h"

/* Few keys, so that they meet: the empty key, short ones, zero bytes, long ones that differ behind the prefix. */
#define UNIVERSE_KEY_COUNT 40
static nori_slice universe_key(size_t i)
{
    static uint8_t bytes[UNIVERSE_KEY_COUNT][24];
    static size_t sizes[UNIVERSE_KEY_COUNT];
    uint8_t *key = bytes[i];
    if (i > 0 && sizes[i] == 0) {
        if (i < 8)
            sizes[i] = i; /* Only zeros. */
        else if (i < 16)
            sizes[i] = (size_t)snprintf((char *)key, 24, "k%zu", i);
        else if (i < 30)
            sizes[i] = (size_t)snprintf((char *)key, 24, "tenant/0000/%zu", i);
        else if (i < 36)
            sizes[i] = (size_t)snprintf((char *)key, 24, "abcdefgh%.*s", (int)i - 30, "zzzzzzz");
        else
            sizes[i] = i - 30, memset(key, 0xff, sizes[i]);
    }
    return nr_slice(key, sizes[i]);
}

#endif

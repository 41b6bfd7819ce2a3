/* Numbers that a campaign is started with: environment variables, or what the tests of every change take. */
#ifndef NR_TESTS_ENVIRONMENT_H
#define NR_TESTS_ENVIRONMENT_H

#include <stdint.h>
#include <stdlib.h>

static inline uint64_t environment_number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

#endif

/* The processor's own time, for measuring durations only; what the engine decides by comes from the environment. */
#ifndef NR_BASE_CLOCK_H
#define NR_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t nr_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* What the calling thread has had of a processor. */
static inline uint64_t nr_clock_thread_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#endif

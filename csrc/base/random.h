/* xoshiro256**: small, seeded, the same everywhere. Not for secrets. */
#ifndef NR_BASE_RANDOM_H
#define NR_BASE_RANDOM_H

#include "base/status.h"

struct nr_random {
    uint64_t state[4];
};

void nr_random_init(struct nr_random *random, uint64_t seed);
uint64_t nr_random_next(struct nr_random *random);
uint64_t nr_random_below(struct nr_random *random, uint64_t limit); /* limit >= 1. */
double nr_random_unit(struct nr_random *random);                    /* [0, 1). */

#endif

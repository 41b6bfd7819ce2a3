#include "base/random.h"

static inline uint64_t rotate_left(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

/* splitmix64 spreads the seed, so that seeds next to each other give unrelated runs and no state is all zero. */
void nr_random_init(struct nr_random *random, uint64_t seed)
{
    for (size_t i = 0; i < NR_ARRAY_LEN(random->state); i++) {
        uint64_t z;
        seed += 0x9E3779B97F4A7C15ull;
        z = seed;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
        random->state[i] = z ^ (z >> 31);
    }
}

uint64_t nr_random_next(struct nr_random *random)
{
    uint64_t *state = random->state;
    uint64_t result = rotate_left(state[1] * 5, 7) * 9;
    uint64_t shifted = state[1] << 17;

    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotate_left(state[3], 45);
    return result;
}

/* Unbiased: the numbers that would favour the low results are drawn again. */
uint64_t nr_random_below(struct nr_random *random, uint64_t limit)
{
    uint64_t unfair, drawn;
    NR_ASSERT(limit >= 1);
    unfair = (0 - limit) % limit;
    do {
        drawn = nr_random_next(random);
    } while (drawn < unfair);
    return drawn % limit;
}

double nr_random_unit(struct nr_random *random)
{
    return (double)(nr_random_next(random) >> 11) * 0x1.0p-53;
}

#include "compact/filter_bits.h"

#include <math.h>

/* Logarithm of a blocked Bloom filter's false positives, by bit per key: measured from 8 to 12 bits. */
#define RATE 0.475
/* Halvings of the interval in which the price of a bit is sought. */
#define HALVINGS 60

int nr_filter_kind_of(int configured_kind, uint32_t level)
{
    return level >= NR_FILTER_RIBBON_LEVEL ? configured_kind : NORI_FILTER_BLOOM;
}

double nr_filter_bytes_per_bit(int kind)
{
    /* Measured at ten bits: 10.3 of a Bloom filter; 7.8 of a ribbon of 300,000 keys. */
    return (kind == NORI_FILTER_RIBBON ? 0.78 : 1.03) / 8;
}

static double bytes_of(const struct nr_filter_level *level, double bits)
{
    return (double)level->entries * bits * level->bytes_per_bit;
}

/* What the level gets where a byte of filter has to save 'price' (a logarithm) of a false positive. */
static double bits_at(const struct nr_filter_level *level, double price, double most)
{
    double bits = (log(level->probes / ((double)level->entries * level->bytes_per_bit)) - price) / RATE;
    return bits < NR_FILTER_BITS_LEAST ? 0 : NR_MIN(bits, most);
}

static bool is_chosen(const struct nr_filter_level *level)
{
    return level->fixed_bits < 0 && level->entries > 0 && level->probes > 0;
}

static double total_at(const struct nr_filter_level *levels, size_t count, double price, double most)
{
    double bytes = 0;
    for (size_t i = 0; i < count; i++)
        if (is_chosen(&levels[i])) bytes += bytes_of(&levels[i], bits_at(&levels[i], price, most));
    return bytes;
}

void nr_filter_bits_choose(const struct nr_filter_level *levels, size_t count, double configured_bits,
                           uint64_t budget_bytes, double *bits_out)
{
    double most = configured_bits + NR_FILTER_BITS_ABOVE, wanted = 0, rest = (double)budget_bytes;
    double low = -100, high = 100; /* Beyond what any level's logarithm can be. */

    for (size_t i = 0; i < count; i++) {
        bool is_fixed = levels[i].fixed_bits >= 0;
        bits_out[i] = is_fixed ? levels[i].fixed_bits : configured_bits;
        wanted += bytes_of(&levels[i], bits_out[i]);
        if (is_fixed) rest -= bytes_of(&levels[i], bits_out[i]);
    }
    if (wanted <= (double)budget_bytes || configured_bits <= 0) return;
    for (int i = 0; i < HALVINGS; i++) {
        double middle = (low + high) / 2;
        if (total_at(levels, count, middle, most) <= rest)
            high = middle;
        else
            low = middle;
    }
    for (size_t i = 0; i < count; i++)
        if (is_chosen(&levels[i])) bits_out[i] = bits_at(&levels[i], high, most);
}

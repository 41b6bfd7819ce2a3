/* Which filter an output table gets: what compact/filter_bits.h says of the tree as it is. */
#include "engine/engine.h"

#include "compact/filter_bits.h"

/* Of the budget: tables stand beside those that replace them, and grow before they are written anew. */
#define BUDGET_SHARE 0.9
/* Levels that few reads have reached count as if this share of the reads did. */
#define LEAST_READ_SHARE 0.1

static double fixed_bits_of(const struct nori_options *options, size_t level)
{
    return options->levels[NR_MIN(level, (size_t)options->level_count - 1)].bloom_bits_per_key;
}

/* Of the level that is read most, which share of the reads comes to each. */
static void observe_reads(struct nori_engine *engine, const struct nr_version *version, double *shares)
{
    double most = 0;

    nr_mutex_lock(&engine->lock);
    for (size_t i = 0; i < version->level_count; i++) {
        const struct nr_level *level = version->levels[i];
        shares[i] = 0;
        for (size_t j = 0; i > 0 && j < level->slot_count; j++)
            shares[i] += nr_level_slot(level, j)->activity->state.read_rate;
        most = NR_MAX(most, shares[i]);
    }
    nr_mutex_unlock(&engine->lock);
    /* Every read that no memtable answers comes to level 0, where nobody counts. */
    for (size_t i = 0; i < version->level_count; i++)
        shares[i] = i == 0 || most <= 0 ? 1 : NR_MAX(shares[i] / most, LEAST_READ_SHARE);
}

/* Tables count for the level that they were written for, wherever they have been moved since: that is what a choice of
 * bits decided. A read asks each run of its slot, there one table. */
static void count_slot(const struct nr_slot *slot, double reads, struct nr_filter_level *levels)
{
    for (size_t i = 0; i < slot->run_count; i++) {
        const struct nr_run *run = slot->runs[i];
        for (size_t j = 0; j < run->slice_count && run->entries > 0; j++) {
            const struct nr_table_slice *slice = &run->slices[j];
            uint64_t written_for = NR_MIN(slice->file->properties.level, (uint64_t)NORI_MAX_LEVELS - 1);
            levels[written_for].entries += slice->entries;
            levels[written_for].probes += reads * (double)slice->entries / (double)run->entries;
        }
    }
}

static void count_tables(const struct nr_version *version, const double *shares, struct nr_filter_level *levels)
{
    for (size_t i = 0; i < version->level_count; i++) {
        const struct nr_level *level = version->levels[i];
        for (size_t j = 0; j < level->slot_count; j++)
            count_slot(nr_level_slot(level, j), shares[i] / (double)level->slot_count, levels);
    }
}

/* The first tables of a level are about to be written: of what was written for one above, so there may be as much. */
static void expect_entries(struct nr_filter_level *levels, uint32_t level)
{
    levels[level].entries = levels[level].probes = 1;
    for (uint32_t i = 0; i < level; i++) levels[level].entries = NR_MAX(levels[level].entries, levels[i].entries);
}

double nr_filters_bits(void *arg, uint32_t level)
{
    struct nori_engine *engine = arg;
    const struct nori_options *options = &engine->options;
    struct nr_filter_level levels[NORI_MAX_LEVELS] = {0};
    double bits[NORI_MAX_LEVELS], shares[NORI_MAX_LEVELS];
    struct nr_view *view = nr_view_acquire(engine);

    for (uint32_t i = 0; i < NORI_MAX_LEVELS; i++) {
        levels[i].fixed_bits = fixed_bits_of(options, i);
        levels[i].bytes_per_bit = nr_filter_bytes_per_bit(nr_filter_kind_of(options->filters.kind, i));
    }
    observe_reads(engine, view->version, shares);
    count_tables(view->version, shares, levels);
    nr_view_release(view);
    if (levels[level].entries == 0) expect_entries(levels, level);
    nr_filter_bits_choose(levels, NORI_MAX_LEVELS, options->filters.bloom_bits_per_key,
                          (uint64_t)((double)options->resources.filters_mib * (1 << 20) * BUDGET_SHARE), bits);
    return bits[level];
}

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

/* Reads that come to the level, a second, and runs that they find there over a key. */
static void observe_locked(const struct nr_level *level, double *reads_out, double *runs_out)
{
    double reads = 0, probes = 0, runs = 0;
    for (size_t i = 0; i < level->slot_count; i++) {
        const struct nr_slot *slot = nr_level_slot(level, i);
        double rate = slot->activity ? slot->activity->state.read_rate : 0;
        reads += rate;
        probes += rate * (double)slot->run_count;
        runs += (double)slot->run_count;
    }
    *reads_out = reads;
    *runs_out = reads > 0 ? probes / reads : runs / (double)level->slot_count;
}

static void observe_probes(struct nori_engine *engine, const struct nr_version *version, struct nr_filter_level *levels)
{
    double reads[NORI_MAX_LEVELS], most = 0;

    nr_mutex_lock(&engine->lock);
    for (size_t i = 0; i < version->level_count; i++) {
        observe_locked(version->levels[i], &reads[i], &levels[i].probes);
        most = NR_MAX(most, reads[i]);
    }
    nr_mutex_unlock(&engine->lock);
    for (size_t i = 0; i < version->level_count; i++) {
        /* Every read that is not answered by a memtable comes to level 0, where nobody counts. */
        double share = i == 0 || most <= 0 ? 1.0 : reads[i] / most;
        levels[i].probes *= NR_MAX(share, LEAST_READ_SHARE);
    }
}

/* An empty level is about to be filled: from one above, so it may become as large as that one. */
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
    double bits[NORI_MAX_LEVELS];
    struct nr_view *view = nr_view_acquire(engine);
    const struct nr_version *version = view->version;
    double result = options->filters.bloom_bits_per_key;

    if (level < version->level_count) {
        for (size_t i = 0; i < version->level_count; i++) {
            int kind = nr_filter_kind_of(options->filters.kind, (uint32_t)i);
            levels[i] = (struct nr_filter_level){.entries = version->levels[i]->entries,
                                                 .fixed_bits = fixed_bits_of(options, i),
                                                 .bytes_per_bit = nr_filter_bytes_per_bit(kind)};
        }
        observe_probes(engine, version, levels);
        if (levels[level].entries == 0) expect_entries(levels, level);
        nr_filter_bits_choose(levels, version->level_count, options->filters.bloom_bits_per_key,
                              (uint64_t)((double)options->resources.filters_mib * (1 << 20) * BUDGET_SHARE), bits);
        result = bits[level];
    }
    nr_view_release(view);
    return result;
}

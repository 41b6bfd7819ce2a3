/* A point lookup's way through a view, source by source, newest first: memtables, level 0's runs, then of each level
 * the slot's runs.
 *
 * It goes in steps. Each works on what the step before has fetched from memory and ends by fetching what the next one
 * needs. One lookup takes its steps one after the other; of many each takes one in turn, so that they wait for memory
 * at the same time. Either way the steps are the same. */
#ifndef NR_ENGINE_SEARCH_H
#define NR_ENGINE_SEARCH_H

#include "engine/engine.h"

struct nr_search {
    struct nori_engine *engine; /* Borrowed, all. */
    const struct nr_view *view; /* */
    struct nr_lookup *lookup;   /* Filled in. */
    struct nr_read *read;       /* Counts; says whether a step may wait. */
    /* The next one; NULL at the end. */
    nori_status (*step)(struct nr_search *search, struct nori_error *err);
    size_t level;               /* Which is searched. */
    const struct nr_slot *slot; /* Of it. */
    size_t run;                 /* Of the slot: the next one. */
    uint64_t runs_probed;       /* In the slot. */
    struct nr_table_file *file; /* Of the run: where the key may be. */
    struct nr_probe probe;      /* In its table. */
};

/* Inside the epoch, as all steps; the view may have been held over an earlier section. */
void nr_search_begin(struct nr_search *search, struct nori_engine *engine, const struct nr_view *view,
                     struct nr_lookup *lookup, struct nr_read *read);
/* All steps that are left. A failure, NORI_AGAIN too, ends the search. */
NORI_WARN_UNUSED nori_status nr_search_finish(struct nr_search *search, struct nori_error *err);

#define NR_SEARCHES_TOGETHER 32
/* Takes steps of up to NR_SEARCHES_TOGETHER searches in turn, until each has ended, or cannot go on without waiting or
 * with an error. Then its 'step' is not NULL, and nr_search_finish, in this section of the epoch or a later one, goes
 * on from the table it came to, or says which error. */
void nr_search_together(struct nr_search *searches, size_t count);

#endif

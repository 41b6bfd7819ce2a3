/* Epochs: reading shared structures without a reference count on them.
 *
 * A reader enters, loads a shared pointer, uses what it points to, and leaves. A writer first unlinks the object (so
 * that nobody who enters from then on can find it), then retires it: it is freed once every stripe has been seen
 * without a reader at some moment after that. Readers count themselves in a stripe of their own cache line, chosen by
 * thread, so readers of different threads share nothing. Entering is one atomic add; sections nest.
 *
 * A section may last as long as one disk read. What must live longer takes a reference while inside.
 *
 * Some objects take long to release: a table closes its file, and when it was the last to have it the file system frees
 * it; a view may free a memtable. They are deferred, for the threads that work in the background to release; who only
 * reads sweeps up what is light. */
#ifndef NR_BASE_EPOCH_H
#define NR_BASE_EPOCH_H

#include <stdatomic.h>

#include "base/lock.h"

#define NR_EPOCH_STRIPES 32

struct nr_epoch_stripe {
    _Alignas(64) _Atomic uint64_t active; /* Readers inside. Sequentially consistent. */
    char pad[56];
};

/* What an object embeds to be retired; so retiring never allocates and never fails. */
struct nr_epoch_link {
    struct nr_epoch_link *next;
    void (*release)(
        struct nr_epoch_link *link); /* Frees the object around the link. Must not retire or lock below LEAF. */
    uint32_t waiting;                /* Bit i: stripe i has not been seen empty yet. */
};

struct nr_epoch {
    struct nr_epoch_stripe stripes[NR_EPOCH_STRIPES];
    struct nr_mutex lock;
    struct nr_epoch_link *retired NR_GUARDED;  /* By lock. */
    struct nr_epoch_link *deferred NR_GUARDED; /* By lock. */
    _Atomic uint64_t retired_count;            /* Of each list. */
    _Atomic uint64_t deferred_count;
    uint64_t most_deferred; /* Set before there are readers. More than so many are swept by them, too. */
};

void nr_epoch_init(struct nr_epoch *epoch);
void nr_epoch_destroy(struct nr_epoch *epoch); /* No reader inside: releases all that is retired. */

unsigned nr_epoch_stripe_of_thread(void); /* 0..NR_EPOCH_STRIPES-1, fixed for a thread. */

/* Returns the stripe to hand to leave. */
static inline unsigned nr_epoch_enter(struct nr_epoch *epoch)
{
    unsigned stripe = nr_epoch_stripe_of_thread();
    atomic_fetch_add_explicit(&epoch->stripes[stripe].active, 1, memory_order_seq_cst);
    return stripe;
}

/* The same; '*is_alone_out': nobody else is inside the stripe. There is one such section of a stripe at a time, from
 * its begin to its end. */
static inline unsigned nr_epoch_enter_alone(struct nr_epoch *epoch, bool *is_alone_out)
{
    unsigned stripe = nr_epoch_stripe_of_thread();
    *is_alone_out = atomic_fetch_add_explicit(&epoch->stripes[stripe].active, 1, memory_order_seq_cst) == 0;
    return stripe;
}

static inline void nr_epoch_leave(struct nr_epoch *epoch, unsigned stripe)
{
    atomic_fetch_sub_explicit(&epoch->stripes[stripe].active, 1, memory_order_release);
}

/* The object was unlinked before (with a sequentially consistent store or exchange). Calls link->release when no reader
 * can have it any more: now, or in a later retire or collect. Never waits for readers; may wait for the epoch's lock.
 */
void nr_epoch_retire(struct nr_epoch *epoch, struct nr_epoch_link *link);
/* The same for what takes long to release: a later collect does. */
void nr_epoch_defer(struct nr_epoch *epoch, struct nr_epoch_link *link);
/* Releases all that can be released. */
void nr_epoch_collect(struct nr_epoch *epoch);
/* For readers that have left: what was deferred stays, unless nobody seems to collect it. */
void nr_epoch_sweep(struct nr_epoch *epoch);
/* There are threads that collect what is deferred, and are woken where that is much (nr_epoch_is_behind): readers leave
 * it to them as long as these keep up. */
void nr_epoch_leave_to_others(struct nr_epoch *epoch);
bool nr_epoch_is_behind(const struct nr_epoch *epoch);

/* Retires to a list of the caller's own, which only it touches, and releases what of that list can be released. Takes
 * no lock. */
void nr_epoch_retire_own(struct nr_epoch *epoch, struct nr_epoch_link **own, struct nr_epoch_link *link);
/* The list's end: no reader can have any of it. */
void nr_epoch_release_own(struct nr_epoch_link **own);

#endif

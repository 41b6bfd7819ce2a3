#include "base/epoch.h"

/* Why it is safe. The writer's unlinking, the reader's count and its load of the pointer, and the look at the counts
 * below are sequentially consistent, so they have one order. A reader that got the object counted itself before it was
 * unlinked, hence before any look taken after the object was retired; until it leaves, its stripe is not seen empty.
 * Readers that enter later keep the stripe busy but cannot find the object, and it is enough to have seen the stripe
 * empty once. */

#if NR_EPOCH_STRIPES != 32
#error "nr_epoch_link.waiting has a bit for each stripe"
#endif
#define ALL_STRIPES UINT32_MAX
/* Readers release what was deferred, too, once it is more than this: soon where there are no threads in the background
 * (an engine that only reads), else where these do not keep up. A merge that ends leaves a dozen tables at once. */
#define MUCH_DEFERRED 16
#define MOST_DEFERRED 128

#ifdef __GLIBC__
/* Spares each read a call into the dynamic linker. Other C libraries refuse it in a library loaded late. */
#define FAST_THREAD_LOCAL __attribute__((tls_model("initial-exec")))
#else
#define FAST_THREAD_LOCAL
#endif

static _Thread_local unsigned own_stripe_plus_one FAST_THREAD_LOCAL; /* 0: none yet. */
static _Atomic unsigned next_stripe;

unsigned nr_epoch_stripe_of_thread(void)
{
    if (NR_UNLIKELY(own_stripe_plus_one == 0)) {
        unsigned turn = atomic_fetch_add_explicit(&next_stripe, 1, memory_order_relaxed);
        own_stripe_plus_one = turn % NR_EPOCH_STRIPES + 1;
    }
    return own_stripe_plus_one - 1;
}

void nr_epoch_init(struct nr_epoch *epoch)
{
    epoch->most_deferred = MUCH_DEFERRED;
    for (unsigned i = 0; i < NR_EPOCH_STRIPES; i++) atomic_init(&epoch->stripes[i].active, 0);
    nr_mutex_init(&epoch->lock, NR_RANK_EPOCH);
    epoch->retired = epoch->deferred = NULL;
    atomic_init(&epoch->retired_count, 0);
    atomic_init(&epoch->deferred_count, 0);
}

/* Takes the list. The link goes with its object. */
static void release_all(struct nr_epoch_link *link)
{
    while (link) {
        struct nr_epoch_link *next = link->next;
        link->release(link);
        link = next;
    }
}

void nr_epoch_destroy(struct nr_epoch *epoch)
{
    for (unsigned i = 0; i < NR_EPOCH_STRIPES; i++) NR_ASSERT(atomic_load(&epoch->stripes[i].active) == 0);
    release_all(epoch->retired);
    release_all(epoch->deferred);
    epoch->retired = epoch->deferred = NULL;
    atomic_store(&epoch->retired_count, 0);
    atomic_store(&epoch->deferred_count, 0);
    nr_mutex_destroy(&epoch->lock);
}

static uint32_t find_empty_stripes(struct nr_epoch *epoch)
{
    uint32_t empty = 0;
    for (unsigned i = 0; i < NR_EPOCH_STRIPES; i++) {
        if (atomic_load_explicit(&epoch->stripes[i].active, memory_order_seq_cst) == 0) empty |= 1u << i;
    }
    return empty;
}

/* Cuts out what nobody can have any more. All on the list were retired before the look at the stripes. */
static struct nr_epoch_link *take_unreachable(struct nr_epoch *epoch, struct nr_epoch_link **list, uint64_t *count_out)
{
    struct nr_epoch_link **at = list, *taken = NULL;
    uint32_t empty = find_empty_stripes(epoch);
    uint64_t count = 0;

    while (*at) {
        struct nr_epoch_link *link = *at;
        link->waiting &= ~empty;
        if (link->waiting != 0) {
            at = &link->next;
            continue;
        }
        *at = link->next;
        link->next = taken;
        taken = link;
        count++;
    }
    *count_out = count;
    return taken;
}

static struct nr_epoch_link *take_unreachable_locked(struct nr_epoch *epoch, struct nr_epoch_link **list,
                                                     _Atomic uint64_t *list_count)
{
    uint64_t count;
    struct nr_epoch_link *taken = take_unreachable(epoch, list, &count);
    atomic_fetch_sub_explicit(list_count, count, memory_order_relaxed);
    return taken;
}

static void add_retired(struct nr_epoch_link **list, struct nr_epoch_link *link)
{
    link->waiting = ALL_STRIPES;
    link->next = *list;
    *list = link;
}

void nr_epoch_retire(struct nr_epoch *epoch, struct nr_epoch_link *link)
{
    struct nr_epoch_link *unreachable;

    nr_mutex_lock(&epoch->lock);
    add_retired(&epoch->retired, link);
    atomic_fetch_add_explicit(&epoch->retired_count, 1, memory_order_relaxed);
    unreachable = take_unreachable_locked(epoch, &epoch->retired, &epoch->retired_count);
    nr_mutex_unlock(&epoch->lock);
    release_all(unreachable);
}

void nr_epoch_defer(struct nr_epoch *epoch, struct nr_epoch_link *link)
{
    nr_mutex_lock(&epoch->lock);
    add_retired(&epoch->deferred, link);
    atomic_fetch_add_explicit(&epoch->deferred_count, 1, memory_order_relaxed);
    nr_mutex_unlock(&epoch->lock);
}

static void release_list(struct nr_epoch *epoch, struct nr_epoch_link **list, _Atomic uint64_t *count)
{
    struct nr_epoch_link *unreachable;

    if (atomic_load_explicit(count, memory_order_relaxed) == 0) return;
    nr_mutex_lock(&epoch->lock);
    unreachable = take_unreachable_locked(epoch, list, count);
    nr_mutex_unlock(&epoch->lock);
    release_all(unreachable);
}

void nr_epoch_collect(struct nr_epoch *epoch)
{
    release_list(epoch, &epoch->retired, &epoch->retired_count);
    release_list(epoch, &epoch->deferred, &epoch->deferred_count);
}

void nr_epoch_sweep(struct nr_epoch *epoch)
{
    release_list(epoch, &epoch->retired, &epoch->retired_count);
    if (NR_UNLIKELY(atomic_load_explicit(&epoch->deferred_count, memory_order_relaxed) > epoch->most_deferred))
        release_list(epoch, &epoch->deferred, &epoch->deferred_count);
}

void nr_epoch_leave_to_others(struct nr_epoch *epoch)
{
    epoch->most_deferred = MOST_DEFERRED;
}

bool nr_epoch_is_behind(const struct nr_epoch *epoch)
{
    return atomic_load_explicit(&epoch->deferred_count, memory_order_relaxed) > MUCH_DEFERRED;
}

void nr_epoch_retire_own(struct nr_epoch *epoch, struct nr_epoch_link **own, struct nr_epoch_link *link)
{
    uint64_t count;
    add_retired(own, link);
    release_all(take_unreachable(epoch, own, &count));
}

void nr_epoch_release_own(struct nr_epoch_link **own)
{
    release_all(*own);
    *own = NULL;
}

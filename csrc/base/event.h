/* Waking one thread: one sets an event, one waits for it. Where many are woken together a condition makes them wait for
 * its mutex one after the other; these share nothing. */
#ifndef NR_BASE_EVENT_H
#define NR_BASE_EVENT_H

#include <stdatomic.h>

#include "base/lock.h"

#if defined(__linux__) && !defined(NR_PORTABLE_EVENTS)
#define NR_FUTEX_EVENTS
#endif

struct nr_event {
#ifdef NR_FUTEX_EVENTS
    _Atomic uint32_t is_set;
#else
    struct nr_mutex mutex;
    struct nr_cond cond;
    bool is_set; /* By mutex. */
#endif
};

void nr_event_init(struct nr_event *event);
/* By its waiter: once it was woken, or when nobody is going to set it. */
void nr_event_destroy(struct nr_event *event);
/* Once for each wait. The waiter may be gone when this returns. */
void nr_event_set(struct nr_event *event);
/* Until it is set, which it is not any more then. Who waits holds no mutex: who sets it may want one. */
void nr_event_wait(struct nr_event *event);
/* At most so long, of real time that no clock's step changes; false when it ran out. */
bool nr_event_wait_for(struct nr_event *event, uint64_t timeout_us);
/* Until it is set; false before that, once the thread's interrupt hook is due: whoever called has to ask it. */
bool nr_event_wait_until_due(struct nr_event *event);

#endif

/* What events are made of where there are no futexes, compiled into this program in the library's place. */
#define NR_PORTABLE_EVENTS

#include "base/event.c"

#include "event_cases.h"

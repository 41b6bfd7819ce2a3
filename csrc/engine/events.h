/* Events: what the engine did, in a ring that outlives nobody but the engine.
 *
 * Workers and writers append, readers copy out by number; neither waits for the other longer than a copy takes (the
 * mutex is a leaf). The ring does not grow: a reader that falls behind loses the oldest, and learns how many. Which
 * values a kind has stands in one table, in events.c. */
#ifndef NR_ENGINE_EVENTS_H
#define NR_ENGINE_EVENTS_H

#include "base/lock.h"
#include "base/slice.h"

#define NR_EVENT_RING 2048

struct nr_events {
    struct nr_mutex lock;
    struct nori_event *ring;   /* NR_EVENT_RING places. Owned. */
    uint64_t count NR_GUARDED; /* By lock, as all below. Events so far; number n lies at (n - 1) % NR_EVENT_RING. */
    uint64_t stall_begun_us NR_GUARDED; /* By engine.lock. */
    uint64_t noted_segment NR_GUARDED;  /* The log segment last seen to be written. */
    uint64_t noted_hits NR_GUARDED, noted_misses NR_GUARDED;
};

/* False without memory. */
bool nr_events_init(struct nr_events *events);
void nr_events_clear(struct nr_events *events);

/* Appends. 'values' are those of the kind, in the table's order; 'text' (may be NULL) and 'key' are cut to fit. No leaf
 * mutex may be held. */
void nr_event_emit(struct nori_engine *engine, enum nori_event_kind kind, const double *values, size_t count,
                   const char *text, nori_slice key);
#define NR_EVENT_EMIT(engine, kind, text, key, ...)                                                                    \
    nr_event_emit(engine, kind, (const double[]){__VA_ARGS__}, sizeof((double[]){__VA_ARGS__}) / sizeof(double), text, \
                  key)

/* Background work failed: 'what' did. */
void nr_event_failure(struct nori_engine *engine, const char *what, const struct nori_error *error);
struct nr_job;
/* A compaction was carried out; completes its decision. */
void nr_event_note_job(struct nori_engine *engine, const struct nr_job *job);
struct nr_slot;
struct nr_heat;
/* A slot gets another K, for its heat. Under engine.lock. */
void nr_event_note_shape(struct nori_engine *engine, const struct nr_slot *slot, uint32_t k,
                         const struct nr_heat *heat);
struct nr_pressure;
/* Under engine.lock, after pressure was judged: a zone entered (engine.zone is the former one), a stall begun or ended.
 */
void nr_event_note_pressure(struct nori_engine *engine, const struct nr_pressure *now, uint32_t former_stall);
/* A log segment begun since the last look. */
void nr_event_note_log(struct nori_engine *engine);
/* What the block cache did since the last look. */
void nr_event_note_cache(struct nori_engine *engine);

#endif

#include "engine/events.h"

#include <stdio.h>

#include "base/alloc.h"
#include "engine/engine.h"

/* ---------------------------------------------------------------- what kinds say */

#define COUNT NORI_VALUE_COUNT
#define REAL NORI_VALUE_REAL
#define FLAG NORI_VALUE_FLAG

static const struct nori_event_shape shapes[NORI_EVENT_KINDS] = {
    [NORI_EVENT_FLUSH] = {"flush",
                          NULL,
                          false,
                          {{"bytes", COUNT}, {"entries", COUNT}, {"memtables", COUNT}, {"micros", COUNT}}},
    [NORI_EVENT_COMPACTION] = {"compaction",
                               "action",
                               true,
                               {{"level", COUNT},
                                {"target_level", COUNT},
                                {"slot_id", COUNT},
                                {"bytes_in", COUNT},
                                {"bytes_out", COUNT},
                                {"runs", COUNT},
                                {"micros", COUNT},
                                {"decision", COUNT}}},
    [NORI_EVENT_ADMISSION] = {"admission",
                              "action",
                              true,
                              {{"level", COUNT},
                               {"target_level", COUNT},
                               {"slot_id", COUNT},
                               {"bytes_in", COUNT},
                               {"bytes_out", COUNT},
                               {"runs", COUNT},
                               {"micros", COUNT},
                               {"decision", COUNT}}},
    [NORI_EVENT_GUARD_MOVE] = {"guard_move",
                               "action",
                               true,
                               {{"level", COUNT}, {"slot_id", COUNT}, {"parts", COUNT}, {"micros", COUNT}}},
    [NORI_EVENT_BANDIT_SELECTION] =
        {"bandit_selection",
         "action",
         true,
         {{"decision", COUNT}, {"level", COUNT}, {"slot_id", COUNT}, {"explored", FLAG}, {"predicted_reward", REAL}}},
    [NORI_EVENT_BANDIT_REWARD] = {"bandit_reward",
                                  "action",
                                  true,
                                  {{"decision", COUNT},
                                   {"level", COUNT},
                                   {"slot_id", COUNT},
                                   {"predicted_reward", REAL},
                                   {"realised_reward", REAL}}},
    [NORI_EVENT_SLOT_HEAT] = {"slot_heat",
                              "mode",
                              true,
                              {{"level", COUNT},
                               {"slot_id", COUNT},
                               {"heat", REAL},
                               {"read_heat", REAL},
                               {"write_heat", REAL},
                               {"scan_heat", REAL},
                               {"k_max", COUNT}}},
    [NORI_EVENT_PRESSURE_ZONE] = {"pressure_zone",
                                  "zone",
                                  false,
                                  {{"score", REAL}, {"l0_fill", REAL}, {"memory_fill", REAL}, {"memtable_fill", REAL}}},
    [NORI_EVENT_WAL_SEGMENT] = {"wal_segment",
                                "action",
                                false,
                                {{"segments", COUNT}, {"count", COUNT}, {"micros", COUNT}}},
    [NORI_EVENT_CACHE] = {"cache", NULL, false, {{"hits", COUNT}, {"misses", COUNT}}},
    [NORI_EVENT_STALL] = {"stall", "reason", false, {{"begun", FLAG}, {"micros", COUNT}}},
    [NORI_EVENT_BACKGROUND_ERROR] = {"background_error", "message", false, {{"errno", COUNT}}},
};

const struct nori_event_shape *nori_event_shape(int kind)
{
    return kind >= 0 && kind < NORI_EVENT_KINDS ? &shapes[kind] : NULL;
}

/* ---------------------------------------------------------------- the ring */

bool nr_events_init(struct nr_events *events)
{
    nr_mutex_init(&events->lock, NR_RANK_LEAF);
    events->ring = nr_calloc(NR_EVENT_RING, sizeof *events->ring);
    if (!events->ring) nr_mutex_destroy(&events->lock);
    return events->ring != NULL;
}

void nr_events_clear(struct nr_events *events)
{
    nr_free(events->ring);
    nr_mutex_destroy(&events->lock);
}

/* Whole characters only: a cut one is dropped. */
static void copy_text(char *out, size_t room, const char *text)
{
    size_t size = strlen(text);
    if (size >= room) {
        size = room - 1;
        while (size > 0 && ((unsigned char)text[size] & 0xc0) == 0x80) size--;
    }
    memcpy(out, text, size);
    out[size] = 0;
}

void nr_event_emit(struct nori_engine *engine, enum nori_event_kind kind, const double *values, size_t count,
                   const char *text, nori_slice key)
{
    struct nr_events *events = &engine->events;
    struct nori_event event = {.kind = kind, .monotonic_us = nr_env_monotonic_us(engine->env)};
    memcpy(event.values, values, NR_MIN(count, NORI_EVENT_VALUES) * sizeof *values);
    if (text) copy_text(event.text, sizeof event.text, text);
    event.key_bytes = (uint32_t)NR_MIN(key.size, sizeof event.key);
    if (event.key_bytes > 0) memcpy(event.key, key.data, event.key_bytes);
    nr_mutex_lock(&events->lock);
    event.number = ++events->count;
    events->ring[(event.number - 1) % NR_EVENT_RING] = event;
    nr_mutex_unlock(&events->lock);
}

nori_status nori_events_read(struct nori_engine *engine, uint64_t *cursor, struct nori_event *events_out, size_t max,
                             size_t *count_out, uint64_t *dropped_out, struct nori_error *err)
{
    struct nr_events *events = &engine->events;
    *count_out = 0;
    *dropped_out = 0;
    if (engine->fork_generation != nr_fork_generation())
        return NR_FAIL(err, NORI_FORKED, "%s was opened before fork(); open it anew in the child", engine->path);
    nr_mutex_lock(&events->lock);
    uint64_t oldest = events->count > NR_EVENT_RING ? events->count - NR_EVENT_RING : 0;
    *cursor = NR_MIN(*cursor, events->count);
    if (*cursor < oldest) {
        *dropped_out = oldest - *cursor;
        *cursor = oldest;
    }
    while (*count_out < max && *cursor < events->count)
        events_out[(*count_out)++] = events->ring[(*cursor)++ % NR_EVENT_RING];
    nr_mutex_unlock(&events->lock);
    return NORI_OK;
}

/* ---------------------------------------------------------------- noticing */

void nr_event_failure(struct nori_engine *engine, const char *what, const struct nori_error *error)
{
    char text[sizeof error->text + 64];
    snprintf(text, sizeof text, "%.60s: %s", what, error->text);
    NR_EVENT_EMIT(engine, NORI_EVENT_BACKGROUND_ERROR, text, nr_slice(NULL, 0), (double)error->sys_errno);
}

void nr_event_note_job(struct nori_engine *engine, const struct nr_job *job)
{
    const struct nr_plan *plan = &job->plan;
    const char *action = nr_action_name(plan->action);
    double slot_id = plan->slot ? (double)plan->slot->slot_id : 0;
    uint64_t micros = nr_env_monotonic_us(engine->env) - job->begun_us;
    nr_decision_end(engine, job->decision_id, job->bytes_out, micros);
    if (nr_action_moves_guards(plan->action)) {
        size_t parts = plan->action == NR_ACTION_JOIN ? plan->join_count : plan->split_count;
        NR_EVENT_EMIT(engine, NORI_EVENT_GUARD_MOVE, action, plan->start, plan->source_level, slot_id, (double)parts,
                      (double)micros);
        return;
    }
    enum nori_event_kind kind = plan->action == NR_ACTION_ADMIT ? NORI_EVENT_ADMISSION : NORI_EVENT_COMPACTION;
    NR_EVENT_EMIT(engine, kind, action, plan->start, plan->source_level, plan->target_level, slot_id,
                  (double)job->bytes_in, (double)job->bytes_out, (double)plan->run_count, (double)micros,
                  (double)job->decision_id);
}

void nr_event_note_shape(struct nori_engine *engine, const struct nr_slot *slot, uint32_t k, const struct nr_heat *heat)
{
    const char *mode = k <= 1 ? "leveled" : k >= (uint32_t)engine->options.k_global ? "tiered" : "hybrid";
    NR_EVENT_EMIT(engine, NORI_EVENT_SLOT_HEAT, mode, slot->start, slot->level, (double)slot->slot_id, heat->heat,
                  heat->read, heat->write, heat->scan, k);
}

static const char *stall_name(uint32_t stall)
{
    return stall == NR_STALL_L0 ? "l0_files" : "memtables";
}

void nr_event_note_pressure(struct nori_engine *engine, const struct nr_pressure *now, uint32_t former_stall)
{
    static const char *const zones[] = {[NORI_ZONE_GREEN] = "green",
                                        [NORI_ZONE_YELLOW] = "yellow",
                                        [NORI_ZONE_ORANGE] = "orange",
                                        [NORI_ZONE_RED] = "red"};
    nori_slice no_key = nr_slice(NULL, 0);
    if (now->zone != engine->zone)
        NR_EVENT_EMIT(engine, NORI_EVENT_PRESSURE_ZONE, zones[now->zone], no_key, now->score, now->l0_fill,
                      now->memory_fill, now->memtable_fill);
    if (now->stall == former_stall) return;
    uint64_t now_us = nr_env_monotonic_us(engine->env), begun_us = engine->events.stall_begun_us;
    engine->events.stall_begun_us = now_us;
    if (former_stall != NR_STALL_NONE)
        NR_EVENT_EMIT(engine, NORI_EVENT_STALL, stall_name(former_stall), no_key, 0, (double)(now_us - begun_us));
    if (now->stall != NR_STALL_NONE) NR_EVENT_EMIT(engine, NORI_EVENT_STALL, stall_name(now->stall), no_key, 1, 0);
}

void nr_event_note_log(struct nori_engine *engine)
{
    struct nr_events *events = &engine->events;
    struct nr_wal_stats wal;
    if (!engine->wal) return;
    uint64_t segment = nr_wal_end(engine->wal, NULL).segment, begun = 0;
    nr_mutex_lock(&events->lock);
    if (events->noted_segment == 0) events->noted_segment = segment;
    if (segment > events->noted_segment) {
        begun = segment - events->noted_segment;
        events->noted_segment = segment;
    }
    nr_mutex_unlock(&events->lock);
    if (begun == 0) return;
    nr_wal_stats(engine->wal, &wal);
    NR_EVENT_EMIT(engine, NORI_EVENT_WAL_SEGMENT, "created", nr_slice(NULL, 0), (double)wal.segments, (double)begun, 0);
}

void nr_event_note_cache(struct nori_engine *engine)
{
    struct nr_events *events = &engine->events;
    struct nr_read_totals totals = nr_read_sum(engine);
    uint64_t hits = totals.cache_hits, misses = totals.cache_misses;
    nr_mutex_lock(&events->lock);
    uint64_t new_hits = hits - events->noted_hits, new_misses = misses - events->noted_misses;
    events->noted_hits = hits;
    events->noted_misses = misses;
    nr_mutex_unlock(&events->lock);
    if (new_hits + new_misses > 0)
        NR_EVENT_EMIT(engine, NORI_EVENT_CACHE, NULL, nr_slice(NULL, 0), (double)new_hits, (double)new_misses);
}

/* A fixed script of operations and the model that judges what is left of it after a failure.
 *
 * The model is the list of states that the committed writes went through. What a database holds must be one of them:
 * not older than what was promised, not newer than what was tried. */
#ifndef NR_TESTS_ENGINE_SCRIPT_H
#define NR_TESTS_ENGINE_SCRIPT_H

#include "fixture.h"

#ifndef SCRIPT_KEYS
#define SCRIPT_KEYS 24
#endif
#define SCRIPT_STEPS 230
#define SCRIPT_VALUE_BYTES 700

/* For each key the number of the write that its value comes from; 0: absent. */
struct state {
    int from[SCRIPT_KEYS];
};

struct model {
    struct state states[SCRIPT_STEPS + 8]; /* [0] is empty; each tried write adds one. */
    int count;
    int acknowledged; /* The newest state a call has returned from. */
    int durable;      /* The newest one promised to survive the power. */
    int written;      /* Writes so far: the numbers that values come from. */
};

static inline void script_key(int key, char out[16])
{
    snprintf(out, 16, "key-%03d", key);
}

static inline void script_value(int from, char out[SCRIPT_VALUE_BYTES + 1])
{
    int size = 40 + from * 37 % (SCRIPT_VALUE_BYTES - 40);
    memset(out, 'a' + from % 26, (size_t)size);
    out[size] = 0;
    snprintf(out, 16, "%d.", from);
    out[strlen(out)] = 'z';
}

static inline struct state *model_next(struct model *model)
{
    EXPECT(model->count < (int)NR_ARRAY_LEN(model->states));
    model->states[model->count] = model->states[model->count - 1];
    return &model->states[model->count++];
}

/* Whether what the engine holds is 'state'; fails the test on a value that was never written. */
static inline bool model_matches(struct nori_engine *engine, const struct nori_snapshot *snapshot,
                                 const struct state *state)
{
    char key[16], expected[SCRIPT_VALUE_BYTES + 1];
    struct text_value value;
    struct nori_error error;
    for (int i = 0; i < SCRIPT_KEYS; i++) {
        bool found;
        script_key(i, key);
        EXPECT_OK(get_text(engine, snapshot, key, &value, &found, &error), &error);
        if (found != (state->from[i] != 0)) return false;
        if (!found) continue;
        script_value(state->from[i], expected);
        if (strcmp(value.text, expected) != 0) return false;
    }
    return true;
}

/* How what the engine holds differs from a state, on stderr. */
static inline void model_describe(struct nori_engine *engine, const struct state *state)
{
    char key[16];
    struct text_value value;
    struct nori_error error;
    for (int i = 0; i < SCRIPT_KEYS; i++) {
        bool found;
        script_key(i, key);
        EXPECT_OK(get_text(engine, NULL, key, &value, &found, &error), &error);
        int from = found ? atoi(value.text) : 0;
        if (from != state->from[i]) fprintf(stderr, "%s is from write %d, expected %d\n", key, from, state->from[i]);
    }
}

/* The state that the engine holds, at least 'oldest'; -1 if it holds none of them. */
static inline int model_find(struct nori_engine *engine, const struct model *model, int oldest)
{
    for (int i = model->count - 1; i >= oldest; i--)
        if (model_matches(engine, NULL, &model->states[i])) return i;
    return -1;
}

/* A whole scan in one direction agrees with the state. */
static inline nori_status script_scan(struct nori_engine *engine, const struct state *state, bool reverse,
                                      struct nori_error *err)
{
    struct nori_scan_params params = {.reverse = reverse, .limit = UINT64_MAX};
    struct nori_scan *scan = NULL;
    const struct nori_entry *entries;
    size_t count;
    char key[16];
    int next = reverse ? SCRIPT_KEYS - 1 : 0;
    nori_status rc = nori_scan_open(engine, &params, &scan, err);
    while (rc == NORI_OK) {
        rc = nori_scan_next(scan, 5, SIZE_MAX, &entries, &count, err);
        if (rc != NORI_OK || count == 0) break;
        for (size_t i = 0; i < count; i++) {
            while (next >= 0 && next < SCRIPT_KEYS && state->from[next] == 0) next += reverse ? -1 : 1;
            EXPECT(next >= 0 && next < SCRIPT_KEYS);
            script_key(next, key);
            EXPECT_SLICE(entries[i].key, key);
            next += reverse ? -1 : 1;
        }
    }
    nori_scan_destroy(scan);
    return rc;
}

/* A get agrees with the state. */
static inline nori_status script_get(struct nori_engine *engine, const struct state *state, int chosen,
                                     struct nori_error *err)
{
    char key[16], expected[SCRIPT_VALUE_BYTES + 1];
    struct text_value value;
    bool found;
    script_key(chosen, key);
    nori_status rc = get_text(engine, NULL, key, &value, &found, err);
    if (rc != NORI_OK) return rc;
    EXPECT_EQ(found, state->from[chosen] != 0);
    if (!found) return NORI_OK;
    script_value(state->from[chosen], expected);
    EXPECT(strcmp(value.text, expected) == 0);
    return NORI_OK;
}

/* Two batches of pairs that do not ascend, all of the write 'number'. */
static inline nori_status script_ingest(struct nori_engine *engine, struct state *state, int chosen, int number,
                                        struct nori_error *err)
{
    char key[16], value[SCRIPT_VALUE_BYTES + 1];
    struct nori_ingest *ingest = NULL;
    struct nori_batch *batch = NULL;
    struct nori_ingest_result result;
    nori_status rc = nori_ingest_create(engine, false, &ingest, err);
    if (rc == NORI_OK) rc = nori_batch_create(&batch, err);
    script_value(number, value);
    for (int i = 0; i < 6 && rc == NORI_OK; i++) {
        int other = (chosen + i * 5) % SCRIPT_KEYS;
        script_key(other, key);
        state->from[other] = number;
        rc = nori_batch_put(batch, nr_slice_text(key), nr_slice_text(value), 0, err);
        if (rc != NORI_OK || i % 3 != 2) continue;
        rc = nori_ingest_add(ingest, batch, err);
        nori_batch_clear(batch);
    }
    if (rc != NORI_OK)
        err->outcome = NORI_NOT_APPLIED;
    else
        rc = nori_ingest_commit(ingest, &result, err);
    nori_batch_destroy(batch);
    nori_ingest_destroy(ingest);
    return rc;
}

/* Step 'step' of the script. Writes are noted in the model before they are tried. */
static inline nori_status script_step(struct nori_engine *engine, struct model *model, int step, struct nori_error *err)
{
    char key[16], value[SCRIPT_VALUE_BYTES + 1];
    struct nori_write_options options = {.sync = step % 9 == 0 ? 1 : -1, .ttl_secs = -1};
    nori_status rc = NORI_OK;
    int chosen = step * 7 % SCRIPT_KEYS;
    script_key(chosen, key);
    if (step % 23 == 11) return nori_flush(engine, err);
    if (step % 37 == 20) return nori_compact(engine, NULL, NULL, NULL, NULL, err);
    if (step % 29 == 13) return script_scan(engine, &model->states[model->acknowledged], step % 2, err);
    if (step % 19 == 7) return script_get(engine, &model->states[model->acknowledged], step % SCRIPT_KEYS, err);
    if (step % 31 == 17) {
        struct nori_snapshot *snapshot;
        rc = nori_snapshot_create(engine, 0, &snapshot, err);
        nori_snapshot_destroy(rc == NORI_OK ? snapshot : NULL);
        return rc;
    }
    struct state *state = model_next(model);
    int number = ++model->written;
    if (step % 13 == 5) {
        state->from[chosen] = 0;
        rc = nori_delete(engine, nr_slice_text(key), &options, err);
    } else if (step % 41 == 30) {
        char stop[16];
        int last = chosen + 5 < SCRIPT_KEYS ? chosen + 5 : SCRIPT_KEYS;
        script_key(last, stop);
        for (int i = chosen; i < last; i++) state->from[i] = 0;
        nori_slice from = nr_slice_text(key), to = nr_slice_text(stop);
        rc = nori_delete_range(engine, &from, &to, &options, err);
    } else if (step % 43 == 25) {
        rc = script_ingest(engine, state, chosen, number, err);
        options.sync = 1; /* It always is. */
    } else if (step % 7 == 3) {
        struct nori_batch *batch = NULL;
        uint64_t sequence;
        script_value(number, value);
        rc = nori_batch_create(&batch, err);
        for (int i = 0; i < 3 && rc == NORI_OK; i++) {
            int other = (chosen + i * 5) % SCRIPT_KEYS;
            script_key(other, key);
            state->from[other] = number;
            rc = nori_batch_put(batch, nr_slice_text(key), nr_slice_text(value), 0, err);
        }
        if (rc == NORI_OK)
            rc = nori_write(engine, batch, &options, &sequence, err);
        else
            err->outcome = NORI_NOT_APPLIED;
        nori_batch_destroy(batch);
    } else {
        script_value(number, value);
        state->from[chosen] = number;
        rc = nori_put(engine, nr_slice_text(key), nr_slice_text(value), &options, err);
    }
    if (rc == NORI_OK) {
        model->acknowledged = model->count - 1;
        if (options.sync > 0) model->durable = model->acknowledged;
    } else if (err->outcome == NORI_NOT_APPLIED) {
        model->count--; /* It must not show. */
    }
    return rc;
}

#endif

/* A new database, or an old one brought back: options, manifest, log (design 3).
 *
 * The order for a writer: the manifest is read; the log is examined, which decides where it ends; the log is replayed
 * into memtables; a new segment whose header names the log's end is made durable; a new manifest, a snapshot of the old
 * one, takes its place, or the old one goes on where it is just that. Every step can be interrupted and begun again.
 * What was replayed counts as unsynced until it is in tables: the page cache it was read from is not trusted. */
#include "engine/engine.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/coding.h"

#define READ_ONLY_TRIES 10

/* ---------------------------------------------------------------- options */

/* wal, io and resources are the session's; all else is the database's. */
static bool is_kept(const char *name)
{
    return strncmp(name, "wal.", 4) != 0 && strncmp(name, "io.", 3) != 0 && strncmp(name, "resources.", 10) != 0;
}

struct text_sink {
    struct nr_buffer *text;
    nori_status rc;
    struct nori_error *err;
};

static void append_option(void *arg, const char *name, const char *value)
{
    struct text_sink *sink = arg;
    if (sink->rc == NORI_OK && is_kept(name))
        sink->rc = nr_buffer_append_format(sink->text, sink->err, "%s=%s\n", name, value);
}

nori_status nr_options_parse_kept(struct nori_options *options, nori_slice text, const char *path,
                                  struct nori_error *err)
{
    nori_status rc = NORI_OK;
    char *copy = nr_alloc(text.size + 1);
    if (!copy) return nr_fail_memory(err, text.size);
    memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    for (char *line = copy, *next; *line && rc == NORI_OK; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        else
            next = line + strlen(line);
        char *value = strchr(line, '=');
        if (!value)
            rc = nr_fail_corrupt(err, path, -1, "options", "the kept options have a line without '='");
        else
            *value++ = 0;
        /* A name that this build does not know is a later release's; this one does without. */
        if (rc == NORI_OK && is_kept(line) && nori_options_set(options, line, value, NULL) != NORI_OK) continue;
    }
    nr_free(copy);
    struct nori_error why = {0};
    if (rc == NORI_OK && nori_options_check(options, &why) != NORI_OK)
        rc = nr_fail_corrupt(err, path, -1, "options", "the kept options do not fit together: %s", why.text);
    return rc;
}

/* What was given, else what was kept, else the defaults; overrides above all. */
static nori_status resolve_options(struct nori_engine *engine, const struct nori_open_params *params, nori_slice kept,
                                   struct nori_error *err)
{
    struct nori_options *options = &engine->options;
    nori_status rc = NORI_OK;
    nori_options_init(options);
    if (params->options)
        *options = *params->options;
    else if (kept.size > 0)
        NR_CHECK(nr_options_parse_kept(options, kept, engine->path, err));
    for (size_t i = 0; i < params->override_count; i++)
        NR_CHECK(nori_options_set(options, params->overrides[i].name, params->overrides[i].value, err));
    NR_CHECK(nori_options_check(options, err));
    struct text_sink sink = {&engine->options_text, NORI_OK, err};
    nori_options_each(options, append_option, &sink);
    rc = sink.rc;
out:
    return rc;
}

/* ---------------------------------------------------------------- the log */

static nori_status begin_log(struct nori_engine *engine, uint64_t first_segment, struct nr_position previous,
                             struct nori_error *err)
{
    int mapped = engine->options.wal.mapped;
    struct nr_wal_params params = {
        .env = engine->env,
        .root = engine->dir,
        .append_lock = &engine->commit_lock,
        .database_id = engine->database_id,
        .segment_bytes = engine->options.wal.segment_bytes,
        .mapped = mapped == NORI_MAPPED_AUTO ? nr_dir_can_map(engine->dir) : mapped == NORI_MAPPED_TRUE,
        .first_segment = first_segment,
        .previous = previous,
        .last_sequence = engine->last_sequence,
        .retain_bytes = engine->options.wal.retain_bytes,
    };
    return nr_wal_open(&params, &engine->wal, err);
}

static void note_operations(struct nori_engine *engine, nori_slice payload)
{
    struct nr_operation operation;
    while (!atomic_load_explicit(&engine->has_expiring, memory_order_relaxed) && payload.size > 0 &&
           nr_operation_next(&payload, &operation, NULL) == NORI_OK)
        if (operation.type == NR_TYPE_PUT_EXPIRING) atomic_store(&engine->has_expiring, true);
}

static nori_status replay_record(void *arg, const struct nr_record *record, struct nr_position position,
                                 struct nori_error *err)
{
    struct nori_engine *engine = arg;
    uint64_t last_sequence = record->sequence + record->count - 1;
    if (last_sequence <= engine->last_sequence) return NORI_OK; /* In tables. */
    if (record->sequence != engine->last_sequence + 1)
        return nr_fail_corrupt(err, engine->path, (int64_t)position.offset, "log",
                               "log segment %" PRIu64 ": sequence %" PRIu64 " follows %" PRIu64, position.segment,
                               record->sequence, engine->last_sequence);
    if (nr_engine_is_full(engine) && !nr_memtable_is_empty(engine->active) && !engine->is_read_only) {
        nori_status rc = nr_view_push(engine, position.segment, err);
        if (rc != NORI_OK) return rc;
        nr_engine_activate(engine);
        bool done = nr_view_peek(engine)->layer_count > NR_STALL_LAYERS;
        /* More than memory should hold: what came first goes into tables now, by a manifest of this session. */
        if (done && !engine->manifest) rc = nr_manifest_renew(engine, nr_view_peek(engine)->version, err);
        if (done && rc == NORI_OK) rc = nr_flush_once(engine, &done, err);
        if (rc != NORI_OK) return rc;
    }
    nori_status rc = nr_memtable_reserve(engine->active, record->payload, record->count, record->sequence, err);
    if (rc != NORI_OK) return rc;
    nr_memtable_insert(engine->active, record->payload, record->count, record->sequence);
    note_operations(engine, record->payload);
    engine->last_sequence = last_sequence;
    return nr_interrupt_poll(err);
}

/* ---------------------------------------------------------------- a new database */

uint64_t nr_database_id_make(struct nori_env *env, const char *path, const void *owner)
{
    uint8_t seed[24];
    nr_put_fixed64(seed, nr_env_wall_ms(env));
    nr_put_fixed64(seed + 8, nr_env_monotonic_us(env));
    /* Addresses differ from process to process; a simulated run is to be the same each time. */
    nr_put_fixed64(seed + 16, env->inline_background ? 0 : (uint64_t)(uintptr_t)owner ^ nr_clock_ns());
    return nr_checksum(nr_checksum(0, nr_slice_text(path)), nr_slice(seed, sizeof seed));
}

nori_status nr_database_create(struct nori_engine *engine, const struct nori_open_params *params,
                               struct nori_error *err)
{
    struct nr_version *version = NULL;
    nori_status rc = NORI_OK;
    NR_CHECK(resolve_options(engine, params, nr_slice(NULL, 0), err));
    engine->database_id = nr_database_id_make(engine->env, engine->path, engine);
    atomic_store(&engine->next_file_number, 1);
    atomic_store(&engine->next_run_id, 1);
    /* Slots of an empty tree have the ids of their levels. */
    atomic_store(&engine->next_slot_id, NORI_MAX_LEVELS + 1);
    engine->counters.log_number = 1;
    NR_CHECK(nr_caches_open(engine, err));
    NR_CHECK(nr_version_create((size_t)engine->options.max_levels, &version, err));
    NR_CHECK(nr_manifest_renew(engine, version, err));
    NR_CHECK(nr_view_begin(engine, version, 1, err));
    nr_engine_activate(engine);
    NR_CHECK(begin_log(engine, 1, (struct nr_position){0, 0}, err));
    NR_CHECK(nr_dir_sync(engine->dir, err));
out:
    nr_version_unref(version);
    return rc;
}

/* ---------------------------------------------------------------- an old one */

static nori_status note_file(void *arg, struct nr_table_file *file, struct nori_error *err)
{
    struct nori_engine *engine = arg;
    (void)err;
    if (file->properties.smallest_expiry_ms != 0) atomic_store(&engine->has_expiring, true);
    return NORI_OK;
}

static nori_status adopt_state(struct nori_engine *engine, const struct nr_manifest_state *state,
                               struct nori_error *err)
{
    const struct nr_counters *counters = &state->counters;
    engine->database_id = state->database_id;
    engine->counters = *counters;
    atomic_store(&engine->next_file_number, counters->next_file_number);
    atomic_store(&engine->next_run_id, counters->next_run_id);
    atomic_store(&engine->next_slot_id, NR_MAX(counters->next_slot_id, NORI_MAX_LEVELS + 1));
    atomic_store(&engine->ttl_clock_ms, counters->ttl_clock_ms);
    atomic_store(&engine->flushed_sequence, counters->flushed_sequence);
    engine->last_sequence = counters->flushed_sequence;
    atomic_store(&engine->file_bytes, nr_version_bytes_on_disk(state->version));
    return nr_version_each_file(state->version, note_file, engine, err);
}

/* As many levels as the options want: new ones below, cut like the deepest there is. */
static nori_status deepen(struct nori_engine *engine, struct nr_version **version, struct nori_error *err)
{
    struct nr_version *deeper = NULL;
    uint64_t slot_id = atomic_load(&engine->next_slot_id);
    if ((*version)->level_count >= (size_t)engine->options.max_levels) return NORI_OK;
    nori_status rc = nr_version_deepen(*version, (size_t)engine->options.max_levels, &slot_id, &deeper, err);
    if (rc != NORI_OK) return rc;
    atomic_store(&engine->next_slot_id, slot_id);
    nr_version_unref(*version);
    *version = deeper;
    return NORI_OK;
}

/* The table files of the directory that 'version' does not name. */
struct strays {
    uint64_t *live; /* Sorted numbers. */
    size_t live_count;
    uint64_t *numbers; /* Owned. */
    size_t count, capacity;
};

static nori_status add_live(void *arg, struct nr_table_file *file, struct nori_error *err)
{
    struct strays *strays = arg;
    if (strays->live_count % 64 == 0) {
        void *grown = nr_realloc(strays->live, (strays->live_count + 64) * sizeof *strays->live);
        if (!grown) return nr_fail_memory(err, strays->live_count * sizeof *strays->live);
        strays->live = grown;
    }
    strays->live[strays->live_count++] = file->number;
    return NORI_OK;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void add_stray(void *arg, const char *name)
{
    struct strays *strays = arg;
    uint64_t number;
    if (nr_name_parse(name, &number) != NR_FILE_TABLE) return;
    if (strays->live_count && bsearch(&number, strays->live, strays->live_count, sizeof number, compare_numbers))
        return;
    if (strays->count == strays->capacity) {
        size_t capacity = strays->capacity * 2 + 16;
        void *grown = nr_realloc(strays->numbers, capacity * sizeof *strays->numbers);
        if (!grown) return; /* They stay until the next open. */
        strays->numbers = grown;
        strays->capacity = capacity;
    }
    strays->numbers[strays->count++] = number;
}

/* Tables that were written and never named go. Failure leaves them to the next open. Those of now count: what was
 * flushed while the log was replayed is among them. */
static void remove_strays(struct nori_engine *engine)
{
    struct strays strays = {0};
    char name[NR_FILE_NAME_BYTES];
    struct nr_view *view = nr_view_acquire(engine);
    if (nr_version_each_file(view->version, add_live, &strays, NULL) == NORI_OK) {
        if (strays.live_count) qsort(strays.live, strays.live_count, sizeof *strays.live, compare_numbers);
        if (nr_dir_list(engine->dir, add_stray, &strays, NULL) != NORI_OK) strays.count = 0;
        for (size_t i = 0; i < strays.count; i++) {
            nr_name_table(name, strays.numbers[i]);
            if (nr_dir_unlink(engine->dir, name, NULL) != NORI_OK) break;
        }
    }
    nr_view_release(view);
    nr_free(strays.live);
    nr_free(strays.numbers);
}

/* Replays what the log holds, and puts a fresh memtable in front for what comes. */
static nori_status replay(struct nori_engine *engine, const struct nr_wal_log *log, uint64_t next_log_segment,
                          struct nori_error *err)
{
    nori_status rc = nr_wal_replay(engine->env, engine->dir, engine->database_id, log, replay_record, engine, err);
    if (rc != NORI_OK) return rc;
    atomic_store(&engine->published_sequence, engine->last_sequence);
    engine->recovered_sequence = engine->last_sequence;
    if (engine->is_read_only || nr_memtable_is_empty(engine->active)) return NORI_OK;
    atomic_store(&engine->is_recovery_pending, true);
    rc = nr_view_push(engine, next_log_segment, err);
    nr_engine_activate(engine);
    return rc;
}

/* Whether the session before has closed in order and left nothing to be written anew: a manifest that is a snapshot, as
 * this session would write it, and no log. Its close unlinks the log only once all syncs of that manifest have
 * succeeded, and an open that fails to sync one leaves the log's first segment. Without that manifest's close none of
 * this holds: a new database has log number 1. Where no file can be made, making the manifest says so. */
static bool may_adopt(const struct nori_engine *engine, const struct nr_manifest_state *state,
                      const struct nr_wal_log *log)
{
    return state->snapshot_bytes > 0 && log->file_count == 0 && state->counters.log_number > 1 &&
           nr_slice_equal(nr_buffer_slice(&state->options), nr_buffer_slice(&engine->options_text)) &&
           nr_dir_may_create(engine->dir);
}

/* The manifest of this session. What cannot be synced now is not to be trusted later. */
static nori_status begin_manifest(struct nori_engine *engine, const struct nr_manifest_state *state, bool is_adopted,
                                  struct nori_error *err)
{
    nori_status rc = NORI_OK;
    if (engine->manifest) return nr_dir_sync(engine->dir, err);
    if (is_adopted) rc = nr_manifest_adopt(engine->dir, state, &engine->manifest, err);
    if (rc != NORI_OK && rc != NORI_NO_MEMORY) nr_engine_poison(engine, err);
    if (rc == NORI_OK && !engine->manifest) rc = nr_manifest_renew(engine, state->version, err);
    return rc;
}

static nori_status recover_once(struct nori_engine *engine, const struct nori_open_params *params,
                                struct nori_error *err)
{
    struct nr_manifest_state state = {0};
    struct nr_wal_log log = {0};
    nori_status rc = NORI_OK;
    engine->options_text.size = 0;
    NR_CHECK(nr_manifest_recover(engine->dir, 2, nr_file_unreferenced, engine, &state, err));
    if (!engine->is_read_only && (state.write_features & ~NR_WRITE_FEATURES_KNOWN))
        NR_CHECK(NR_FAIL(err, NORI_FORMAT, "%s was written by a newer version; it can be read only", engine->path));
    NR_CHECK(resolve_options(engine, params, nr_buffer_slice(&state.options), err));
    NR_CHECK(adopt_state(engine, &state, err));
    size_t level_count = state.version->level_count;
    NR_CHECK(deepen(engine, &state.version, err));
    NR_CHECK(nr_wal_examine(engine->env, engine->dir, state.database_id, state.counters.log_number,
                            state.counters.flushed_sequence, engine->is_read_only, &log, err));
    NR_CHECK(nr_caches_open(engine, err));
    bool is_empty = log.last_sequence <= state.counters.flushed_sequence;
    struct nr_position previous = log.part_count > 0 ? log.end : (struct nr_position){0, 0};
    uint64_t next_segment = NR_MAX(log.next_segment, state.counters.log_number);
    NR_CHECK(nr_view_begin(engine, state.version, is_empty ? next_segment : engine->counters.log_number, err));
    nr_engine_activate(engine);
    NR_CHECK(replay(engine, &log, next_segment, err));
    if (engine->is_read_only) goto out;
    /* The log's space first: on a full disk open fails here, and has changed nothing. */
    NR_CHECK(begin_log(engine, next_segment, previous, err));
    bool is_adopted = may_adopt(engine, &state, &log) && level_count == state.version->level_count;
    if (is_empty && !is_adopted) engine->counters.log_number = next_segment;
    /* Syncs the directory in any case, and with it the name of wal/. */
    NR_CHECK(begin_manifest(engine, &state, is_adopted, err));
    remove_strays(engine);
    if (is_empty) nr_log_collect(engine);
out:
    nr_wal_log_clear(&log);
    if (rc != NORI_OK) atomic_store(&engine->is_releasing, true);
    nr_manifest_state_clear(&state);
    return rc;
}

/* Back to before recover_once. */
static void undo(struct nori_engine *engine)
{
    if (atomic_load(&engine->view)) nr_view_end(engine);
    nr_table_cache_destroy(engine->tables);
    engine->tables = NULL;
    if (engine->blocks) nr_block_cache_destroy(engine->blocks);
    engine->blocks = NULL;
    atomic_store(&engine->is_releasing, false);
}

nori_status nr_database_recover(struct nori_engine *engine, const struct nori_open_params *params,
                                struct nori_error *err)
{
    struct nori_error own;
    if (!err) err = &own;
    for (int attempt = 1;; attempt++) {
        nori_status rc = recover_once(engine, params, err);
        /* Beside a live writer files may vanish between their name and their opening: CURRENT has moved on then. */
        bool may_be_moving = rc == NORI_CORRUPTION || (rc == NORI_IO && err->sys_errno == ENOENT);
        if (!engine->is_read_only || !may_be_moving || attempt == READ_ONLY_TRIES) return rc;
        undo(engine);
        nr_env_sleep_us(engine->env, 1000);
    }
}

#include "version/manifest.h"

#include <errno.h>
#include <stdio.h>

#include "format/file_header.h"
#include "io/path.h"
#include "version/current.h"
#include "version/draft.h"
#include "version/edit_ops.h"
#include "version/file_map.h"
#include "version/level.h"

/* A live writer may append while its manifest is read. */
#define MAX_READINGS 16

struct recovery {
    struct nr_dir *dir; /* Borrowed. */
    struct nr_file *file;
    struct nr_record_reader *reader;
    struct nr_draft *draft;   /* What the edits so far have made; state.version is it at the end. */
    struct nr_file_map files; /* All that were ever named. Freed silently until they are handed over. */
    struct nr_manifest_state state;
    struct nori_error *damage; /* Borrowed. Where edits end that can be read is told here; NULL: it is a failure. */
    uint64_t good_count;       /* Of the edits before it, then; else 0. */
    uint64_t limit;            /* Of the edits to read. */
};

void nr_manifest_state_clear(struct nr_manifest_state *state)
{
    nr_version_unref(state->version);
    nr_buffer_clear(&state->options);
    *state = (struct nr_manifest_state){0};
}

static nori_status refuse(struct nr_dir *dir, const char *name, int sys_errno, const char *kind, const char *reason,
                          struct nori_error *err)
{
    nori_status rc = nr_path_refuse(err, NORI_CORRUPTION, dir->path, name, sys_errno, reason);
    if (err) snprintf(err->kind, sizeof(err->kind), "%s", kind);
    return rc;
}

/* ---------------------------------------------------------------- the file */

static nori_status open_file(struct recovery *recovery, struct nori_error *err)
{
    char name[NR_FILE_NAME_BYTES];
    struct nori_error why;

    nr_error_clear(&why);
    nr_name_manifest(name, recovery->state.number);
    nori_status rc = nr_file_open(recovery->dir, name, NR_OPEN_READ, &recovery->file, &why);
    if (rc == NORI_IO && why.sys_errno == ENOENT)
        return refuse(recovery->dir, name, ENOENT, "manifest", "is missing, though CURRENT names it", err);
    if (rc != NORI_OK && err) *err = why;
    return rc;
}

static nori_status read_header(struct recovery *recovery, size_t level_count, struct nori_error *err)
{
    nori_status rc;
    uint8_t bytes[NR_FILE_HEADER_BYTES];
    struct nr_file_header header = {0};
    size_t got;
    const char *path = recovery->file->path;
    struct nr_manifest_state *state = &recovery->state;

    NR_CHECK(nr_file_read_at(recovery->file, 0, bytes, sizeof(bytes), &got, err));
    enum nr_header_verdict verdict = nr_file_header_decode(nr_slice(bytes, got), NR_MAGIC_MANIFEST, &header);
    if (verdict == NR_HEADER_UNREADABLE) {
        rc = NR_FAIL(err, NORI_FORMAT, "%s was written by a newer version", path);
    } else if (verdict == NR_HEADER_DAMAGED) {
        rc = nr_fail_corrupt(err, path, 0, "manifest", "its header is not valid");
    } else if (header.number != state->number) {
        rc = nr_fail_corrupt(err, path, 0, "manifest", "its header is that of manifest %" PRIu64, header.number);
    } else if (header.extra[0] > NORI_MAX_LEVELS) {
        rc = nr_fail_corrupt(err, path, 0, "manifest", "it has %" PRIu64 " levels", header.extra[0]);
    } else {
        state->database_id = header.database_id;
        state->write_features = header.write_features;
        NR_CHECK(nr_version_create(NR_MAX(level_count, (size_t)header.extra[0]), &state->version, err));
        NR_CHECK(nr_record_reader_create(recovery->file, header.database_id, header.number, NR_FILE_HEADER_BYTES,
                                         &recovery->reader, err));
    }
out:
    return rc;
}

/* ---------------------------------------------------------------- edits */

/* An nr_find_file_fn. */
static nori_status find_file(void *arg, uint64_t number, uint64_t file_bytes,
                             const struct nr_table_properties *properties, struct nr_table_file **file_out,
                             struct nori_error *err)
{
    struct nr_file_map *files = arg;
    struct nr_table_file *known = nr_file_map_find(files, number), *file;

    *file_out = NULL;
    if (!properties) {
        if (!known) return nr_fail_corrupt(err, NULL, -1, "manifest", "table %" PRIu64 " was never added", number);
        *file_out = nr_table_file_ref(known);
        return NORI_OK;
    }
    if (known) return nr_fail_corrupt(err, NULL, -1, "manifest", "table %" PRIu64 " is added twice", number);
    nori_status rc = nr_table_file_create(number, file_bytes, properties, NULL, NULL, &file, err);
    if (rc != NORI_OK) return rc;
    rc = nr_file_map_add(files, file, err);
    if (rc == NORI_OK)
        *file_out = file;
    else
        nr_table_file_unref(file);
    return rc;
}

static nori_status replay_edit(struct recovery *recovery, nori_slice payload, struct nori_error *err)
{
    nori_status rc;
    struct nr_manifest_state *state = &recovery->state;
    struct nr_edit *edit = NULL;

    NR_CHECK(nr_edit_decode(payload, find_file, &recovery->files, &edit, err));
    /* It may name a level that the caller did not ask for. */
    NR_CHECK(nr_draft_deepen(recovery->draft, nr_edit_levels_needed(edit), err));
    NR_CHECK(nr_draft_apply(recovery->draft, edit, err));
    nr_counters_merge(&state->counters, nr_edit_counters(edit));
    if (edit->has_options) NR_CHECK(nr_buffer_assign(&state->options, nr_edit_options(edit), err));
out:
    nr_edit_destroy(edit);
    return rc;
}

static nori_status finish_replay(struct recovery *recovery, struct nori_error *err)
{
    nr_version_unref(recovery->state.version);
    return nr_draft_finish(recovery->draft, &recovery->state.version, err);
}

/* An edit that cannot be applied ends what is read, if something was. */
static nori_status end_replay(struct recovery *recovery, uint64_t sequence, const struct nori_error *why,
                              struct nori_error *err)
{
    if (recovery->damage && sequence > 0 && why->code == NORI_CORRUPTION) {
        *recovery->damage = *why;
        recovery->good_count = sequence;
        return NORI_OK;
    }
    if (err) *err = *why;
    return why->code;
}

static nori_status replay_record(struct recovery *recovery, const struct nr_record *record, uint64_t expected,
                                 struct nori_error *err)
{
    struct nori_error why;
    const char *path = recovery->file->path;

    if (record->sequence != expected || record->count != 1)
        return nr_fail_corrupt(err, path, (int64_t)record->offset, "manifest",
                               "record %" PRIu64 " stands where record %" PRIu64 " belongs", record->sequence,
                               expected);
    nori_status rc = replay_edit(recovery, record->payload, &why);
    if (rc == NORI_CORRUPTION) return nr_fail_corrupt(err, path, (int64_t)record->offset, "manifest", "%s", why.text);
    if (rc != NORI_OK && err) *err = why;
    return rc;
}

/* Records up to the first that is not valid, then promises up to the physical end. */
static nori_status replay(struct recovery *recovery, struct nori_error *err)
{
    nori_status rc;
    struct nr_record record;
    struct nori_error why;
    bool found;
    uint64_t sequence = 0, file_bytes;
    bool has_mark = false;
    const char *path = recovery->file->path;

    NR_CHECK(nr_draft_create(recovery->state.version, &recovery->draft, err));
    for (;;) {
        if (sequence == recovery->limit) goto out;
        NR_CHECK(nr_record_reader_next(recovery->reader, &record, &found, err));
        if (!found) break;
        has_mark = has_mark || record.is_mark;
        if (record.is_mark) continue;
        if (replay_record(recovery, &record, sequence + 1, &why) != NORI_OK) {
            rc = end_replay(recovery, sequence, &why, err);
            goto out;
        }
        sequence++;
    }
    NR_CHECK(nr_record_reader_finish(recovery->reader, err));
    struct nr_position end = {recovery->state.number, nr_record_reader_end(recovery->reader)};
    struct nr_position promise = nr_record_reader_promise(recovery->reader);
    if (sequence == 0) {
        rc = nr_fail_corrupt(err, path, NR_FILE_HEADER_BYTES, "manifest", "its first record is not valid");
    } else if (nr_position_compare(promise, end) > 0) {
        nr_fail_corrupt(&why, path, (int64_t)end.offset, "manifest", "all up to byte %" PRIu64 " was on disk once",
                        promise.offset);
        rc = end_replay(recovery, sequence, &why, err);
    } else if (sequence == 1 && !has_mark) {
        NR_CHECK(nr_file_size(recovery->file, &file_bytes, err));
        if (end.offset == file_bytes) recovery->state.snapshot_bytes = file_bytes;
    }
out:
    return rc;
}

/* ---------------------------------------------------------------- tables */

static nori_status check_table(void *arg, struct nr_table_file *table, struct nori_error *err)
{
    nori_status rc;
    struct nr_dir *dir = arg;
    struct nr_file *file = NULL;
    struct nori_error why;
    char name[NR_FILE_NAME_BYTES];
    uint64_t size;

    nr_error_clear(&why);
    nr_name_table(name, table->number);
    rc = nr_file_open(dir, name, NR_OPEN_READ, &file, &why);
    if (rc == NORI_OK) rc = nr_file_size(file, &size, &why);
    if (rc == NORI_IO && why.sys_errno == ENOENT) {
        rc = refuse(dir, name, ENOENT, "table", "is missing, though the manifest names it", err);
    } else if (rc != NORI_OK) {
        if (err) *err = why;
    } else if (size != table->file_bytes) {
        rc = nr_fail_corrupt(err, file->path, -1, "table", "it is %" PRIu64 " bytes, not %" PRIu64, size,
                             table->file_bytes);
    }
    nr_file_close(file);
    return rc;
}

static void raise_number(void *arg, const char *name)
{
    uint64_t *next = arg, number;
    enum nr_file_kind kind = nr_name_parse(name, &number);
    if ((kind == NR_FILE_TABLE || kind == NR_FILE_MANIFEST) && number >= *next && number < NR_NUMBER_LIMIT - 1)
        *next = number + 1;
}

/* What the version does not refer to goes with the map; the rest gets its owner. */
static void hand_over(struct recovery *recovery, void (*on_unreferenced)(void *arg, struct nr_table_file *file),
                      void *arg)
{
    for (size_t i = 0; i < recovery->files.capacity; i++) {
        struct nr_table_file *file = recovery->files.slots[i];
        if (!file || atomic_load_explicit(&file->refs, memory_order_relaxed) == 1) continue;
        file->on_unreferenced = on_unreferenced;
        file->arg = arg;
    }
}

/* ---------------------------------------------------------------- all of it */

static void end_recovery(struct recovery *recovery)
{
    nr_draft_destroy(recovery->draft);
    nr_record_reader_destroy(recovery->reader);
    nr_file_close(recovery->file);
    nr_manifest_state_clear(&recovery->state);
    nr_file_map_clear(&recovery->files);
    recovery->draft = NULL;
    recovery->reader = NULL;
    recovery->file = NULL;
}

/* '*may_retry_out': it failed while the file grew, which a live writer's does. */
static nori_status read_once(struct recovery *recovery, size_t level_count, bool *may_retry_out, struct nori_error *err)
{
    nori_status rc;
    uint64_t size_before, size_after;

    *may_retry_out = false;
    NR_CHECK(nr_current_read(recovery->dir, &recovery->state.number, err));
    NR_CHECK(open_file(recovery, err));
    NR_CHECK(nr_file_size(recovery->file, &size_before, err));
    NR_CHECK(read_header(recovery, level_count, err));
    rc = replay(recovery, err);
    if (rc == NORI_OK) rc = finish_replay(recovery, err);
    if (rc == NORI_CORRUPTION && nr_file_size(recovery->file, &size_after, NULL) == NORI_OK)
        *may_retry_out = size_after != size_before;
out:
    return rc;
}

nori_status nr_manifest_recover(struct nr_dir *dir, size_t level_count,
                                void (*on_unreferenced)(void *arg, struct nr_table_file *file), void *arg,
                                struct nr_manifest_state *state_out, struct nori_error *err)
{
    nori_status rc;
    struct recovery recovery = {.dir = dir, .limit = UINT64_MAX};
    struct nr_counters *counters = &recovery.state.counters;
    bool may_retry;
    int readings = 0;

    *state_out = (struct nr_manifest_state){0};
    rc = read_once(&recovery, level_count, &may_retry, err);
    while (rc != NORI_OK && may_retry && ++readings < MAX_READINGS) {
        end_recovery(&recovery);
        rc = read_once(&recovery, level_count, &may_retry, err);
    }
    if (rc != NORI_OK) goto out;
    NR_CHECK(nr_version_each_file(recovery.state.version, check_table, dir, err));
    NR_CHECK(nr_dir_list(dir, raise_number, &counters->next_file_number, err));
    counters->next_slot_id = NR_MAX(counters->next_slot_id, (uint64_t)NR_FIRST_SLOT_ID);
    hand_over(&recovery, on_unreferenced, arg);
    *state_out = recovery.state;
    recovery.state = (struct nr_manifest_state){0};
out:
    end_recovery(&recovery);
    return rc;
}

static nori_status salvage_once(struct recovery *recovery, struct nori_error *err)
{
    nori_status rc;
    NR_CHECK(open_file(recovery, err));
    NR_CHECK(read_header(recovery, 2, err));
    NR_CHECK(replay(recovery, err));
out:
    return rc;
}

nori_status nr_manifest_salvage(struct nr_dir *dir, uint64_t number, struct nr_manifest_state *state_out,
                                struct nori_error *damage_out, struct nori_error *err)
{
    nori_status rc;
    struct recovery recovery = {.dir = dir, .state = {.number = number}, .damage = damage_out, .limit = UINT64_MAX};

    *state_out = (struct nr_manifest_state){0};
    nr_error_clear(damage_out);
    NR_CHECK(salvage_once(&recovery, err));
    if (recovery.good_count > 0) {
        /* The edit that could not be applied may have changed something before it failed: once more, without it. */
        recovery.limit = recovery.good_count;
        end_recovery(&recovery);
        recovery.state.number = number;
        NR_CHECK(salvage_once(&recovery, err));
    }
    NR_CHECK(finish_replay(&recovery, err));
    *state_out = recovery.state;
    recovery.state = (struct nr_manifest_state){0};
out:
    end_recovery(&recovery);
    return rc;
}

#include "version/manifest.h"

#include <errno.h>

#include "base/alloc.h"
#include "format/file_header.h"
#include "version/current.h"
#include "version/edit_ops.h"
#include "wal/record_format.h"

#define SMALLEST_LARGE_BYTES (4ull << 20)

struct nr_manifest {
    struct nr_file *file; /* Owned. */
    uint64_t database_id;
    uint64_t number;
    uint64_t offset; /* Its end. */
    uint64_t next_sequence;
    uint64_t snapshot_bytes;
    uint64_t adopted_bytes;    /* Were there. */
    struct nr_position synced; /* Known to be on disk: what marks promise. */
    bool is_edit_unsynced;     /* Edits were appended since the last sync. */
    bool is_mark_due;          /* The mark of the last sync is not written, */
    bool is_mark_unsynced;     /* or not on disk. */
    bool is_torn;              /* The disk was full: what is beyond 'offset' is part of a record. */
    bool has_failed;           /* For good. */
    struct nori_error cause;   /* Once either. */
};

/* ---------------------------------------------------------------- detect */

static void find_data(void *arg, const char *name)
{
    uint64_t number;
    enum nr_file_kind kind = nr_name_parse(name, &number);
    if (kind == NR_FILE_TABLE || kind == NR_FILE_SEGMENT) *(bool *)arg = true;
}

static nori_status find_segments(struct nr_dir *dir, bool *found_out, struct nori_error *err)
{
    nori_status rc;
    struct nr_dir *wal = NULL;
    struct nori_error why;

    nr_error_clear(&why);
    rc = nr_dir_open_at(dir, NR_WAL_DIRECTORY, false, &wal, &why);
    if (rc != NORI_OK) {
        if (rc == NORI_IO && why.sys_errno == ENOENT) return NORI_OK;
        if (err) *err = why;
        return rc;
    }
    rc = nr_dir_list(wal, find_data, found_out, err);
    nr_dir_close(wal);
    return rc;
}

nori_status nr_manifest_detect(struct nr_dir *dir, enum nr_manifest_presence *presence_out, struct nori_error *err)
{
    nori_status rc;
    bool has_current, has_data = false;
    uint64_t number;

    *presence_out = NR_MANIFEST_ABSENT;
    NR_CHECK(nr_dir_exists(dir, NR_CURRENT_NAME, &has_current, err));
    if (has_current) {
        *presence_out = NR_MANIFEST_PRESENT;
        goto out;
    }
    NR_CHECK(nr_dir_list(dir, find_data, &has_data, err));
    if (!has_data) NR_CHECK(find_segments(dir, &has_data, err));
    /* It is missing beside data: reading it says so. */
    if (has_data) NR_CHECK(nr_current_read(dir, &number, err));
    if (has_data) *presence_out = NR_MANIFEST_PRESENT;
out:
    return rc;
}

/* ---------------------------------------------------------------- create */

/* Header and snapshot, as they stand in the file. */
static nori_status encode_file(const struct nr_manifest *manifest, const struct nr_edit *snapshot,
                               struct nr_buffer *out, struct nori_error *err)
{
    nori_status rc;
    struct nr_buffer payload;
    struct nr_record_writer writer;
    struct nr_record_place place = {manifest->database_id, manifest->number, NR_FILE_HEADER_BYTES};
    struct nr_file_header header = {.magic = NR_MAGIC_MANIFEST,
                                    .database_id = manifest->database_id,
                                    .number = manifest->number,
                                    .extra = {snapshot->level_count}};

    nr_buffer_init(&payload);
    NR_CHECK(nr_edit_encode(snapshot, &payload, err));
    NR_CHECK(nr_buffer_reserve(out, NR_FILE_HEADER_BYTES, err));
    nr_file_header_encode(&header, out->data);
    out->size = NR_FILE_HEADER_BYTES;
    nr_record_writer_init(&writer, place, 1, 1, (struct nr_position){0, 0}, nr_buffer_slice(&payload));
    NR_CHECK(nr_record_encode(&writer, out, err));
out:
    nr_buffer_clear(&payload);
    return rc;
}

/* A file of this name that CURRENT does not name is what a crash left of an attempt. */
static nori_status create_anew(struct nr_dir *dir, const char *name, struct nr_file **file_out, struct nori_error *err)
{
    struct nori_error why;

    nr_error_clear(&why);
    nori_status rc = nr_file_open(dir, name, NR_OPEN_CREATE, file_out, &why);
    if (rc == NORI_IO && why.sys_errno == EEXIST) {
        NR_CHECK(nr_dir_unlink(dir, name, err));
        NR_CHECK(nr_file_open(dir, name, NR_OPEN_CREATE, file_out, err));
    } else if (rc != NORI_OK && err) {
        *err = why;
    }
out:
    return rc;
}

struct strays {
    uint64_t kept;
    uint64_t numbers[64]; /* What is left over goes next time. */
    size_t count;
};

static void note_stray(void *arg, const char *name)
{
    struct strays *strays = arg;
    uint64_t number;
    if (nr_name_parse(name, &number) == NR_FILE_MANIFEST && number != strays->kept &&
        strays->count < NR_ARRAY_LEN(strays->numbers))
        strays->numbers[strays->count++] = number;
}

/* Failures leave files that do no harm. */
static void unlink_others(struct nr_dir *dir, uint64_t kept)
{
    struct strays strays = {.kept = kept};
    char name[NR_FILE_NAME_BYTES];

    if (nr_dir_list(dir, note_stray, &strays, NULL) != NORI_OK) return;
    for (size_t i = 0; i < strays.count; i++) {
        nr_name_manifest(name, strays.numbers[i]);
        if (nr_dir_unlink(dir, name, NULL) != NORI_OK) return;
    }
}

/* After CURRENT could not be written: whether it surely does not name the new manifest. */
static bool is_current_as_before(struct nr_dir *dir, uint64_t number)
{
    struct nori_error why;
    uint64_t named;

    nr_error_clear(&why);
    nori_status rc = nr_current_read(dir, &named, &why);
    if (rc == NORI_OK) return named != number;
    return rc == NORI_CORRUPTION && why.sys_errno == ENOENT;
}

nori_status nr_manifest_create(struct nr_dir *dir, uint64_t database_id, uint64_t number, uint64_t old_number,
                               const struct nr_edit *snapshot, struct nr_manifest **manifest_out,
                               struct nori_error *err)
{
    nori_status rc;
    struct nr_manifest *manifest = NULL;
    struct nr_buffer bytes;
    char name[NR_FILE_NAME_BYTES];
    bool is_created = false;

    *manifest_out = NULL;
    nr_buffer_init(&bytes);
    nr_name_manifest(name, number);
    if (number == 0 || number == old_number)
        return NR_FAIL(err, NORI_INVALID, "%s cannot take the place of itself", name);
    manifest = nr_calloc(1, sizeof(*manifest));
    if (!manifest) return nr_fail_memory(err, sizeof(*manifest));
    manifest->database_id = database_id;
    manifest->number = number;
    NR_CHECK(encode_file(manifest, snapshot, &bytes, err));
    NR_CHECK(create_anew(dir, name, &manifest->file, err));
    is_created = true;
    NR_CHECK(nr_file_append(manifest->file, nr_buffer_slice(&bytes), err));
    NR_CHECK(nr_file_sync(manifest->file, err));
    /* The manifest's name, before CURRENT's: nothing orders the two in the directory otherwise. */
    NR_CHECK(nr_dir_sync(dir, err));
    rc = nr_current_write(dir, number, err);
    if (rc != NORI_OK) {
        is_created = is_current_as_before(dir, number);
        if (!is_created && err) err->outcome = NORI_INDETERMINATE;
        goto out;
    }
    is_created = false;
    unlink_others(dir, number);
    manifest->offset = manifest->snapshot_bytes = bytes.size;
    manifest->synced = (struct nr_position){number, bytes.size};
    manifest->next_sequence = 2;
    *manifest_out = manifest;
    manifest = NULL;
out:
    nr_manifest_close(manifest);
    if (is_created) {
        /* If this fails, the next manifest takes it away. */
        nori_status ignored = nr_dir_unlink(dir, name, NULL);
        (void)ignored;
    }
    nr_buffer_clear(&bytes);
    return rc;
}

nori_status nr_manifest_adopt(struct nr_dir *dir, const struct nr_manifest_state *state,
                              struct nr_manifest **manifest_out, struct nori_error *err)
{
    nori_status rc;
    char name[NR_FILE_NAME_BYTES];

    *manifest_out = NULL;
    NR_ASSERT(state->snapshot_bytes > 0);
    struct nr_manifest *manifest = nr_calloc(1, sizeof(*manifest));
    if (!manifest) return nr_fail_memory(err, sizeof(*manifest));
    manifest->database_id = state->database_id;
    manifest->number = state->number;
    manifest->offset = manifest->snapshot_bytes = manifest->adopted_bytes = state->snapshot_bytes;
    manifest->synced = (struct nr_position){state->number, state->snapshot_bytes};
    manifest->next_sequence = 2;
    nr_name_manifest(name, state->number);
    rc = nr_file_open(dir, name, NR_OPEN_APPEND, &manifest->file, err);
    if (rc == NORI_IO) rc = NORI_OK;
    if (rc != NORI_OK || !manifest->file) goto out;
    NR_CHECK(nr_file_sync(manifest->file, err));
    NR_CHECK(nr_current_sync(dir, err));
    NR_CHECK(nr_dir_sync(dir, err));
    unlink_others(dir, state->number);
    *manifest_out = manifest;
    manifest = NULL;
out:
    nr_manifest_close(manifest);
    return rc;
}

/* ---------------------------------------------------------------- append */

static nori_status fail_poisoned(const struct nr_manifest *manifest, struct nori_error *err)
{
    const struct nori_error *cause = &manifest->cause;
    nori_status rc = NR_FAIL(err, NORI_POISONED, "the manifest failed earlier: %s", cause->text);
    if (err) {
        err->sys_errno = cause->sys_errno;
        memcpy(err->path, cause->path, sizeof(err->path));
    }
    return rc;
}

static nori_status fail_unwritable(const struct nr_manifest *manifest, struct nori_error *err)
{
    if (manifest->has_failed) return fail_poisoned(manifest, err);
    if (err) *err = manifest->cause;
    return NORI_IO;
}

/* The first failure of I/O is the last: what the file holds is not known any more. Without memory nothing was tried. */
static nori_status note_failure(struct nr_manifest *manifest, nori_status rc, struct nori_error *cause)
{
    if (rc == NORI_OK || rc == NORI_NO_MEMORY) return rc;
    cause->outcome = NORI_INDETERMINATE;
    manifest->has_failed = true;
    manifest->cause = *cause;
    return rc;
}

static nori_status write_bytes(struct nr_manifest *manifest, nori_slice bytes, struct nori_error *err)
{
    struct nori_error why;

    nr_error_clear(&why);
    nori_status rc = nr_file_append(manifest->file, bytes, &why);
    if (nr_error_is_of_space(rc, &why)) {
        /* Less than the record stands there, and recovery drops it. Another manifest can go on. */
        manifest->is_torn = true;
        manifest->cause = why;
    } else {
        rc = note_failure(manifest, rc, &why);
    }
    if (rc == NORI_OK)
        manifest->offset += bytes.size;
    else if (err)
        *err = why;
    return rc;
}

static nori_status sync_file(struct nr_manifest *manifest, struct nori_error *err)
{
    struct nori_error why;

    nr_error_clear(&why);
    nori_status rc = note_failure(manifest, nr_file_sync(manifest->file, &why), &why);
    if (rc == NORI_OK)
        manifest->is_mark_unsynced = false;
    else if (err)
        *err = why;
    return rc;
}

static struct nr_record_place place_of(const struct nr_manifest *manifest)
{
    return (struct nr_record_place){manifest->database_id, manifest->number, manifest->offset};
}

static nori_status write_mark(struct nr_manifest *manifest, struct nori_error *err)
{
    struct nr_record_writer writer;
    uint8_t mark[NR_MARK_MAX_BYTES];
    size_t size = 0;

    nr_record_writer_init_mark(&writer, place_of(manifest), manifest->synced);
    bool is_there = nr_record_writer_next(&writer, mark, &size);
    NR_ASSERT(is_there && size <= sizeof(mark));
    (void)is_there;
    nori_status rc = write_bytes(manifest, nr_slice(mark, size), err);
    manifest->is_mark_due = rc != NORI_OK;
    if (rc == NORI_OK) manifest->is_mark_unsynced = true;
    return rc;
}

nori_status nr_manifest_append(struct nr_manifest *manifest, const struct nr_edit *edit, struct nori_error *err)
{
    nori_status rc;
    struct nr_buffer payload, bytes;
    struct nr_record_writer writer;

    if (manifest->has_failed || manifest->is_torn) return fail_unwritable(manifest, err);
    nr_buffer_init(&payload);
    nr_buffer_init(&bytes);
    NR_CHECK(nr_edit_encode(edit, &payload, err));
    nr_record_writer_init(&writer, place_of(manifest), manifest->next_sequence, 1, manifest->synced,
                          nr_buffer_slice(&payload));
    NR_CHECK(nr_record_encode(&writer, &bytes, err));
    NR_CHECK(write_bytes(manifest, nr_buffer_slice(&bytes), err));
    manifest->next_sequence++;
    manifest->is_edit_unsynced = true;
out:
    nr_buffer_clear(&payload);
    nr_buffer_clear(&bytes);
    return rc;
}

nori_status nr_manifest_sync(struct nr_manifest *manifest, struct nori_error *err)
{
    if (manifest->has_failed || manifest->is_torn) return fail_unwritable(manifest, err);
    if (!manifest->is_edit_unsynced) return NORI_OK;
    nori_status rc = sync_file(manifest, err);
    if (rc != NORI_OK) return rc;
    manifest->is_edit_unsynced = false;
    manifest->synced.offset = manifest->offset;
    /* The edits are durable: what becomes of their mark is for later calls to tell. */
    nori_status ignored = write_mark(manifest, NULL);
    (void)ignored;
    return NORI_OK;
}

nori_status nr_manifest_settle(struct nr_manifest *manifest, struct nori_error *err)
{
    nori_status rc = NORI_OK;

    NR_CHECK(nr_manifest_sync(manifest, err));
    /* Its mark failed: another would stand behind a part of it. */
    if (manifest->has_failed || manifest->is_torn) NR_CHECK(fail_unwritable(manifest, err));
    if (manifest->is_mark_due) NR_CHECK(write_mark(manifest, err));
    if (manifest->is_mark_unsynced) NR_CHECK(sync_file(manifest, err));
out:
    return rc;
}

bool nr_manifest_is_large(const struct nr_manifest *manifest)
{
    return manifest->offset > NR_MAX(SMALLEST_LARGE_BYTES, 2 * manifest->snapshot_bytes);
}

bool nr_manifest_failure(const struct nr_manifest *manifest, struct nori_error *cause_out)
{
    return manifest->has_failed && fail_poisoned(manifest, cause_out) != NORI_OK;
}

bool nr_manifest_is_torn(const struct nr_manifest *manifest)
{
    return manifest->is_torn && !manifest->has_failed;
}

bool nr_manifest_has_edits(const struct nr_manifest *manifest)
{
    return manifest->offset > manifest->snapshot_bytes;
}

uint64_t nr_manifest_number(const struct nr_manifest *manifest)
{
    return manifest->number;
}

uint64_t nr_manifest_bytes_written(const struct nr_manifest *manifest)
{
    return manifest->offset - manifest->adopted_bytes;
}

void nr_manifest_close(struct nr_manifest *manifest)
{
    if (!manifest) return;
    nr_file_close(manifest->file);
    nr_free(manifest);
}

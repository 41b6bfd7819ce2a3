/* Examining a log: which segments make it up, and where it ends.
 *
 * Each segment's header links it to the end of the one it follows. A recovery that dropped a tail began a segment that
 * links to where it cut; that segment is newer than any there was. So the newest valid header speaks for the whole
 * chain behind it: what it does not reach was dropped. A link that leads to no valid header breaks the chain there, and
 * all above is beyond the end; the newest header below the break speaks next. Whether anything that was promised is
 * lost by that is for the promises to say, which are looked for everywhere. */
#include "wal/recover.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/lock.h"
#include "format/format.h"
#include "wal/record_format.h"

#define POLL_RECORDS 256

struct segment {
    uint64_t number;
    bool is_valid;           /* It has a header of this database and number. */
    struct nr_position link; /* The end of its predecessor, */
    uint64_t link_sequence;  /* and the last sequence there. */
};

struct examination {
    struct nr_dir *dir; /* wal/ */
    uint64_t database_id;
    uint64_t log_number;
    uint64_t last_sequence; /* As given. */
    bool is_live;
    bool is_open_ended;        /* The chain begins wherever it does. */
    struct nori_error *damage; /* Borrowed; the first met. NULL: damage is a failure. */

    struct segment *segments; /* Ascending; those from log_number on. */
    size_t count;
    size_t capacity;
    uint64_t greatest; /* Of all numbers in the directory. */
    bool is_out_of_memory;

    size_t *chain; /* Indices of segments, in the log's order. */
    size_t chain_count;
};

static void note_name(void *arg, const char *name)
{
    struct examination *examination = arg;
    uint64_t number;

    if (nr_name_parse(name, &number) != NR_FILE_SEGMENT) return;
    examination->greatest = NR_MAX(examination->greatest, number);
    if (number < examination->log_number || examination->is_out_of_memory) return;
    if (examination->count == examination->capacity) {
        size_t capacity = NR_MAX((size_t)16, examination->capacity * 2);
        struct segment *grown = nr_realloc(examination->segments, capacity * sizeof(*grown));
        examination->is_out_of_memory = !grown;
        if (!grown) return;
        examination->segments = grown;
        examination->capacity = capacity;
    }
    examination->segments[examination->count++] = (struct segment){.number = number};
}

static int compare_segments(const void *a, const void *b)
{
    const struct segment *left = a, *right = b;
    return left->number < right->number ? -1 : left->number > right->number;
}

/* '*file_out' NULL: a writer at work has collected it since. */
static nori_status open_segment(const struct examination *examination, uint64_t number, struct nr_file **file_out,
                                struct nori_error *err)
{
    char name[NR_FILE_NAME_BYTES];
    struct nori_error own;

    nr_name_segment(name, number);
    *file_out = NULL;
    nr_error_clear(&own);
    nori_status rc = nr_file_open(examination->dir, name, NR_OPEN_READ, file_out, &own);
    if (rc == NORI_IO && own.sys_errno == ENOENT && examination->is_live) return NORI_OK;
    if (rc != NORI_OK && err) *err = own;
    return rc;
}

/* Of a log that is salvaged damage is no failure. */
static nori_status note_damage(const struct examination *examination, const struct nori_error *why,
                               struct nori_error *err)
{
    if (examination->damage) {
        if (examination->damage->code == NORI_OK) *examination->damage = *why;
        return NORI_OK;
    }
    if (err) *err = *why;
    return why->code;
}

static nori_status read_header(const struct examination *examination, struct segment *segment, struct nori_error *err)
{
    nori_status rc;
    struct nr_file *file = NULL;
    uint8_t bytes[NR_FILE_HEADER_BYTES];
    size_t got = 0;
    struct nr_file_header header;

    NR_CHECK(open_segment(examination, segment->number, &file, err));
    if (!file) goto out;
    NR_CHECK(nr_file_read_at(file, 0, bytes, sizeof(bytes), &got, err));
    enum nr_header_verdict verdict = nr_file_header_decode(nr_slice(bytes, got), NR_MAGIC_SEGMENT, &header);
    if (verdict == NR_HEADER_DAMAGED) goto out;
    /* A spare or recycled file has the header of another segment of ours, or none. */
    if (header.database_id != examination->database_id) {
        struct nori_error why;
        nr_fail_corrupt(&why, file->path, 0, "log", "the log segment belongs to another database");
        rc = note_damage(examination, &why, err);
        goto out;
    }
    if (header.number != segment->number) goto out;
    if (verdict == NR_HEADER_UNREADABLE) {
        rc = NR_FAIL(err, NORI_FORMAT, "%s was written by a newer version", file->path);
        goto out;
    }
    segment->link.segment = header.extra[NR_SEGMENT_PREVIOUS_NUMBER];
    segment->link.offset = header.extra[NR_SEGMENT_PREVIOUS_END];
    segment->link_sequence = header.extra[NR_SEGMENT_PREVIOUS_SEQUENCE];
    segment->is_valid = segment->link.segment < segment->number && segment->link_sequence <= NR_MAX_SEQUENCE;
out:
    nr_file_close(file);
    return rc;
}

/* The newest valid segment numbered below 'number'; count if there is none. */
static size_t find_below(const struct examination *examination, uint64_t number)
{
    size_t i = examination->count;
    while (i > 0) {
        const struct segment *segment = &examination->segments[--i];
        if (segment->number < number && segment->is_valid) return i;
    }
    return examination->count;
}

static size_t find_segment(const struct examination *examination, uint64_t number)
{
    const struct segment key = {.number = number};
    const struct segment *found = examination->count == 0 ? NULL
                                                          : bsearch(&key, examination->segments, examination->count,
                                                                    sizeof(key), compare_segments);
    return found && found->is_valid ? (size_t)(found - examination->segments) : examination->count;
}

/* Whether nothing that is needed comes before the segment: the tables hold it all. */
static bool is_chain_start(const struct examination *examination, const struct segment *segment)
{
    if (segment->link.segment < examination->log_number) return true;
    return segment->link.segment == examination->log_number && segment->link.offset == 0;
}

static void find_chain(struct examination *examination)
{
    uint64_t below = UINT64_MAX;
    for (;;) {
        size_t at = find_below(examination, below);
        examination->chain_count = 0;
        while (at < examination->count) {
            const struct segment *segment = &examination->segments[at];
            examination->chain[examination->chain_count++] = at;
            if (is_chain_start(examination, segment)) goto reverse;
            below = segment->link.segment;
            at = find_segment(examination, below);
        }
        if (examination->is_open_ended && examination->chain_count > 0) goto reverse;
        if (examination->chain_count == 0) return;
    }
reverse:
    for (size_t i = 0, j = examination->chain_count; i + 1 < j; i++) {
        size_t index = examination->chain[i];
        examination->chain[i] = examination->chain[--j];
        examination->chain[j] = index;
    }
}

/* Whether nothing is missing between the last sequence so far and the next: what lies between, the tables hold. */
static bool is_continued(const struct examination *examination, uint64_t last, uint64_t next_last)
{
    return next_last == last || (next_last > last && next_last <= examination->last_sequence);
}

/* Reads the records of a segment up to 'limit', where its successor begins. */
static nori_status read_records(const struct examination *examination, struct nr_record_reader *reader, uint64_t limit,
                                uint64_t *end_out, uint64_t *last_sequence, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_record record;
    bool found;

    for (uint64_t n = 1; *end_out < limit; n++) {
        if (n % POLL_RECORDS == 0) NR_CHECK(nr_interrupt_poll(err));
        NR_CHECK(nr_record_reader_next(reader, &record, &found, err));
        if (!found || record.end_offset > limit) break;
        if (!record.is_mark) {
            if (record.sequence == 0 || record.sequence > NR_MAX_SEQUENCE ||
                record.count > NR_MAX_SEQUENCE - record.sequence)
                break;
            if (!is_continued(examination, *last_sequence, record.sequence - 1)) break;
            *last_sequence = record.sequence - 1 + record.count;
        }
        *end_out = record.end_offset;
    }
out:
    return rc;
}

/* What is known while the segments are read in order. */
struct progress {
    size_t next;    /* In the chain. */
    bool is_at_end; /* The log has ended. */
    uint64_t last_sequence;
};

static nori_status examine_segment(const struct examination *examination, size_t index, struct progress *progress,
                                   struct nr_wal_log *log, struct nori_error *err)
{
    nori_status rc;
    struct nr_file *file = NULL;
    struct nr_record_reader *reader = NULL;
    const struct segment *segment = &examination->segments[index];
    bool is_next = progress->next < examination->chain_count && examination->chain[progress->next] == index;

    NR_CHECK(nr_interrupt_poll(err));
    NR_CHECK(open_segment(examination, segment->number, &file, err));
    if (is_next) progress->next++;
    if (is_next && !progress->is_at_end &&
        (!file || !is_continued(examination, progress->last_sequence, segment->link_sequence)))
        progress->is_at_end = true;
    if (!file) goto out;
    NR_CHECK(
        nr_record_reader_create(file, examination->database_id, segment->number, NR_FILE_HEADER_BYTES, &reader, err));
    if (is_next && !progress->is_at_end) {
        uint64_t limit = UINT64_MAX, end = NR_FILE_HEADER_BYTES;
        if (progress->next < examination->chain_count)
            limit = examination->segments[examination->chain[progress->next]].link.offset;
        progress->last_sequence = segment->link_sequence;
        NR_CHECK(read_records(examination, reader, limit, &end, &progress->last_sequence, err));
        if (end != limit) progress->is_at_end = true;
        log->parts[log->part_count++] = (struct nr_wal_part){segment->number, NR_FILE_HEADER_BYTES, end};
        log->end = (struct nr_position){segment->number, end};
    }
    NR_CHECK(nr_record_reader_finish(reader, err));
    struct nr_position promise = nr_record_reader_promise(reader);
    if (nr_position_compare(promise, log->promise) > 0) log->promise = promise;
out:
    nr_record_reader_destroy(reader);
    nr_file_close(file);
    return rc;
}

static nori_status examine(struct examination *examination, struct nr_wal_log *log, struct nori_error *err)
{
    nori_status rc;
    struct progress progress = {0};

    NR_CHECK(nr_dir_list(examination->dir, note_name, examination, err));
    if (examination->is_out_of_memory) {
        rc = nr_fail_memory(err, examination->capacity * 2 * sizeof(struct segment));
        goto out;
    }
    if (examination->greatest >= NR_NUMBER_LIMIT && !examination->damage) {
        rc = nr_fail_corrupt(err, examination->dir->path, -1, "log", "no segment number is left");
        goto out;
    }
    log->next_segment = NR_MAX(examination->greatest, examination->log_number) + 1;
    if (examination->count == 0) goto out;
    qsort(examination->segments, examination->count, sizeof(struct segment), compare_segments);
    for (size_t i = 0; i < examination->count; i++) NR_CHECK(read_header(examination, &examination->segments[i], err));

    examination->chain = nr_calloc(examination->count, sizeof(*examination->chain));
    log->parts = nr_calloc(examination->count, sizeof(*log->parts));
    if (!examination->chain || !log->parts) {
        rc = nr_fail_memory(err, examination->count * sizeof(*log->parts));
        goto out;
    }
    find_chain(examination);
    if (examination->chain_count > 0)
        progress.last_sequence = examination->segments[examination->chain[0]].link_sequence;
    /* The tables must reach to where the log begins. */
    progress.is_at_end = progress.last_sequence > examination->last_sequence;
    for (size_t i = 0; i < examination->count; i++) NR_CHECK(examine_segment(examination, i, &progress, log, err));
    if (log->part_count > 0) log->last_sequence = NR_MAX(log->last_sequence, progress.last_sequence);
out:
    return rc;
}

/* One look at the whole log; makes '*log' anew. */
static nori_status examine_once(struct examination examination, struct nr_wal_log *log, struct nori_error *err)
{
    uint64_t log_number = examination.log_number;

    nr_wal_log_clear(log);
    *log = (struct nr_wal_log){
        .end = {log_number, 0}, .last_sequence = examination.last_sequence, .next_segment = log_number + 1};
    nori_status rc = examine(&examination, log, err);
    log->file_count = examination.count;
    nr_free(examination.segments);
    nr_free(examination.chain);
    return rc;
}

static nori_status fail_beyond_end(struct nr_dir *dir, const struct nr_wal_log *log, struct nr_position promise,
                                   struct nori_error *err)
{
    char name[NR_FILE_NAME_BYTES], path[sizeof(err->path)];

    nr_name_segment(name, log->end.segment);
    snprintf(path, sizeof(path), "%s/%s", dir->path, name);
    return nr_fail_corrupt(err, path, (int64_t)log->end.offset, "log",
                           "the log ends here, but was synced up to byte %" PRIu64 " of segment %" PRIu64,
                           promise.offset, promise.segment);
}

/* '*dir_out' NULL: there is none, and so no log. */
static nori_status open_directory(struct nr_dir *root, struct nr_dir **dir_out, struct nori_error *err)
{
    struct nori_error own;

    *dir_out = NULL;
    nr_error_clear(&own);
    nori_status rc = nr_dir_open_at(root, NR_WAL_DIRECTORY, false, dir_out, &own);
    if (rc == NORI_IO && own.sys_errno == ENOENT) return NORI_OK;
    if (rc != NORI_OK && err) *err = own;
    return rc;
}

nori_status nr_wal_examine(struct nori_env *env, struct nr_dir *root, uint64_t database_id, uint64_t log_number,
                           uint64_t last_sequence, bool is_live, struct nr_wal_log *log_out, struct nori_error *err)
{
    nori_status rc;
    struct nr_dir *dir = NULL;
    struct examination examination = {
        .database_id = database_id, .log_number = log_number, .last_sequence = last_sequence, .is_live = is_live};
    (void)env;

    *log_out =
        (struct nr_wal_log){.end = {log_number, 0}, .last_sequence = last_sequence, .next_segment = log_number + 1};
    NR_CHECK(open_directory(root, &dir, err));
    if (!dir) goto out;
    examination.dir = dir;
    NR_CHECK(examine_once(examination, log_out, err));
    struct nr_position promise = log_out->promise;
    if (is_live && nr_position_compare(promise, log_out->end) > 0) {
        /* The writer may have gone on between the reading of a record and that of the promise behind it. What was
         * promised then is all there by now. */
        NR_CHECK(examine_once(examination, log_out, err));
        log_out->promise = promise;
    }
    if (nr_position_compare(promise, log_out->end) > 0) rc = fail_beyond_end(dir, log_out, promise, err);
out:
    nr_dir_close(dir);
    if (rc != NORI_OK) nr_wal_log_clear(log_out);
    return rc;
}

nori_status nr_wal_salvage(struct nr_dir *root, uint64_t database_id, uint64_t log_number, uint64_t last_sequence,
                           bool is_open_ended, struct nr_wal_log *log_out, struct nori_error *damage_out,
                           struct nori_error *err)
{
    nori_status rc;
    struct nr_dir *dir = NULL;
    struct examination examination = {.database_id = database_id,
                                      .log_number = log_number,
                                      .last_sequence = last_sequence,
                                      .is_open_ended = is_open_ended,
                                      .damage = damage_out};
    struct nori_error why;

    nr_error_clear(damage_out);
    *log_out = (struct nr_wal_log){.end = {log_number, 0}, .last_sequence = last_sequence};
    NR_CHECK(open_directory(root, &dir, err));
    if (!dir) goto out;
    examination.dir = dir;
    NR_CHECK(examine_once(examination, log_out, err));
    if (nr_position_compare(log_out->promise, log_out->end) > 0) {
        fail_beyond_end(dir, log_out, log_out->promise, &why);
        NR_CHECK(note_damage(&examination, &why, err));
    }
out:
    nr_dir_close(dir);
    if (rc != NORI_OK) nr_wal_log_clear(log_out);
    return rc;
}

void nr_wal_log_clear(struct nr_wal_log *log)
{
    nr_free(log->parts);
    *log = (struct nr_wal_log){0};
}

static nori_status replay_part(struct nr_dir *dir, uint64_t database_id, const struct nr_wal_part *part,
                               nr_wal_replay_fn fn, void *arg, struct nori_error *err)
{
    nori_status rc;
    struct nr_file *file = NULL;
    struct nr_record_reader *reader = NULL;
    struct nr_record record;
    bool found;
    char name[NR_FILE_NAME_BYTES];

    nr_name_segment(name, part->number);
    NR_CHECK(nr_file_open(dir, name, NR_OPEN_READ, &file, err));
    NR_CHECK(nr_record_reader_create(file, database_id, part->number, part->start_offset, &reader, err));
    for (uint64_t n = 1; nr_record_reader_end(reader) < part->end_offset; n++) {
        if (n % POLL_RECORDS == 0) NR_CHECK(nr_interrupt_poll(err));
        NR_CHECK(nr_record_reader_next(reader, &record, &found, err));
        if (!found || record.end_offset > part->end_offset) {
            rc = nr_fail_corrupt(err, file->path, (int64_t)nr_record_reader_end(reader), "log",
                                 "a record that was there a moment ago cannot be read");
            goto out;
        }
        if (!record.is_mark) NR_CHECK(fn(arg, &record, (struct nr_position){part->number, record.end_offset}, err));
    }
out:
    nr_record_reader_destroy(reader);
    nr_file_close(file);
    return rc;
}

nori_status nr_wal_replay(struct nori_env *env, struct nr_dir *root, uint64_t database_id, const struct nr_wal_log *log,
                          nr_wal_replay_fn fn, void *arg, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_dir *dir = NULL;
    (void)env;

    if (log->part_count == 0) return NORI_OK;
    NR_CHECK(nr_dir_open_at(root, NR_WAL_DIRECTORY, false, &dir, err));
    for (size_t i = 0; i < log->part_count; i++) {
        NR_CHECK(nr_interrupt_poll(err));
        NR_CHECK(replay_part(dir, database_id, &log->parts[i], fn, arg, err));
    }
out:
    nr_dir_close(dir);
    return rc;
}

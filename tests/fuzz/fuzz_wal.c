/* Segments of a log: their records, where the log ends, and its replay into a memtable. */
#include "fuzz.h"
#include "memtable/memtable.h"
#include "wal/recover.h"

struct replay {
    struct nr_memtable *memtable;
    uint64_t count;
    struct nr_position position;
};

static nori_status replay_record(void *arg, const struct nr_record *record, struct nr_position position,
                                 struct nori_error *err)
{
    struct replay *replay = arg;
    FUZZ_EXPECT(nr_position_compare(position, replay->position) > 0 && !record->is_mark);
    replay->position = position;
    replay->count++;
    if (record->sequence == 0 || record->sequence > NR_MAX_SEQUENCE - record->count) return NORI_OK;
    if (record->sequence <= nr_memtable_last_sequence(replay->memtable)) return NORI_OK;
    if (nr_memtable_reserve(replay->memtable, record->payload, record->count, record->sequence, err) == NORI_OK)
        nr_memtable_insert(replay->memtable, record->payload, record->count, record->sequence);
    return NORI_OK;
}

static void read_records(struct nr_dir *dir, const struct fuzz_file *segment)
{
    char name[NR_FILE_NAME_BYTES];
    struct nr_file *file;
    struct nr_record_reader *reader;
    struct nr_record record;
    struct nori_error err;
    bool is_found = true;
    uint64_t end = NR_FILE_HEADER_BYTES;

    nr_name_segment(name, segment->header.number);
    FUZZ_EXPECT_OK(nr_file_open(dir, name, NR_OPEN_READ, &file, &err), &err);
    FUZZ_EXPECT_OK(
        nr_record_reader_create(file, segment->header.database_id, segment->header.number, end, &reader, &err), &err);
    while (is_found) {
        FUZZ_EXPECT_OK(nr_record_reader_next(reader, &record, &is_found, &err), &err);
        if (!is_found) break;
        FUZZ_EXPECT(record.offset >= end && record.end_offset > record.offset);
        FUZZ_EXPECT(record.payload.size < record.end_offset - record.offset);
        end = record.end_offset;
    }
    FUZZ_EXPECT(nr_record_reader_end(reader) == end);
    FUZZ_EXPECT_OK(nr_record_reader_finish(reader, &err), &err);
    nr_record_reader_destroy(reader);
    nr_file_close(file);
}

/* 'count_out': the records that are replayed. */
static nori_status recover(const struct fuzz_disk *disk, const struct nr_file_header *first, bool is_live,
                           uint64_t *count_out, struct nr_position *end_out)
{
    struct nr_wal_log log;
    struct nr_epoch epoch;
    struct nori_error err;
    struct replay replay = {0};
    nori_status rc = nr_wal_examine(disk->env, disk->dir, first->database_id, first->number, 0, is_live, &log, &err);
    *count_out = 0;
    if (rc != NORI_OK) return rc;
    *end_out = log.end;
    nr_epoch_init(&epoch);
    FUZZ_EXPECT_OK(nr_memtable_create(&epoch, 64 << 10, &replay.memtable, &err), &err);
    rc = nr_wal_replay(disk->env, disk->dir, first->database_id, &log, replay_record, &replay, &err);
    FUZZ_EXPECT(rc == NORI_OK || rc == NORI_CORRUPTION);
    *count_out = replay.count;
    nr_memtable_unref(replay.memtable);
    nr_epoch_destroy(&epoch);
    nr_wal_log_clear(&log);
    return rc;
}

void fuzz_wal(nori_slice input)
{
    struct fuzz_file files[FUZZ_MAX_FILES];
    size_t count = fuzz_split(input, files);
    const struct fuzz_file *first = NULL;
    struct fuzz_disk disk;
    uint64_t records, again;
    struct nr_position end = {0, 0}, end_again = {0, 0};

    fuzz_disk_init(&disk);
    for (size_t i = 0; i < count; i++) {
        if (files[i].kind != NR_FILE_SEGMENT) continue;
        if (!first) first = &files[i];
        fuzz_write_file(&disk, &files[i]);
        read_records(disk.wal, &files[i]);
    }
    if (first) {
        nori_status rc = recover(&disk, &first->header, false, &records, &end);
        FUZZ_EXPECT(rc == NORI_OK || rc == NORI_CORRUPTION || rc == NORI_FORMAT);
        FUZZ_EXPECT(recover(&disk, &first->header, false, &again, &end_again) == rc && again == records);
        FUZZ_EXPECT(nr_position_compare(end, end_again) == 0);
        /* Beside a live writer more is forgiven, never less. */
        nori_status live = recover(&disk, &first->header, true, &again, &end_again);
        if (rc == NORI_OK) FUZZ_EXPECT(live == NORI_OK && again == records);
    }
    fuzz_disk_clear(&disk);
}

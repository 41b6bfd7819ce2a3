/* What the log's tests share: a log on a simulated or a real disk, and a model of what it must still hold.
 *
 * A record's payload says its sequence and the session that wrote it, so that a record which was dropped and comes back
 * is told from the one written in its place. */
#ifndef NR_TESTS_WAL_FIXTURE_H
#define NR_TESTS_WAL_FIXTURE_H

#include <errno.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/random.h"
#include "format/format.h"
#include "harness.h"
#include "io/env.h"
#include "wal/record_format.h"
#include "wal/recover.h"
#include "wal/wal.h"

#define DATABASE_ID 0x1122334455667788ull
#define SMALL_SEGMENT_BYTES (2 * NR_RECORD_BLOCK_BYTES)
#define MODEL_LIMIT 4096

struct fixture {
    struct nori_env *env;
    struct nr_dir *root;
    struct nr_mutex append_lock;
    struct nr_wal *wal;
    bool mapped;
    uint64_t segment_bytes;
    uint64_t retain_bytes;
    uint64_t session;

    /* The model. */
    uint64_t next_sequence;
    uint64_t sessions[MODEL_LIMIT]; /* Who wrote the sequence. */
    uint64_t synced;                /* Acknowledged as durable. */
    uint64_t appended;              /* Acknowledged at all. */
    uint64_t log_number;            /* What a manifest would hold. */
    uint64_t flushed;
    struct nr_position end; /* Of the last append. */

    /* What the last recovery found. */
    uint64_t found;
    bool is_wrong;
};

static inline size_t payload_size(uint64_t sequence, uint64_t session)
{
    uint64_t mixed = (sequence * 0x9E3779B97F4A7C15ull) ^ (session << 7);
    if ((mixed >> 60) == 0) return 30000 + (mixed >> 20) % 50000;
    if ((mixed >> 60) < 4) return 2000 + (mixed >> 20) % 9000;
    return 24 + (mixed >> 20) % 200;
}

static inline void payload_fill(uint8_t *out, size_t size, uint64_t sequence, uint64_t session)
{
    uint8_t numbers[16];
    nr_put_fixed64(numbers, sequence);
    nr_put_fixed64(numbers + 8, session);
    for (size_t i = 0; i < size; i++) out[i] = i < 16 ? numbers[i] : (uint8_t)(sequence * 31 + session * 7 + i * i);
}

static inline bool payload_is(nori_slice payload, uint64_t sequence, uint64_t session)
{
    if (payload.size < 16 || nr_get_fixed64(payload.data) != sequence) return false;
    if (nr_get_fixed64(payload.data + 8) != session) return false;
    for (size_t i = 16; i < payload.size; i++)
        if (payload.data[i] != (uint8_t)(sequence * 31 + session * 7 + i * i)) return false;
    return true;
}

static inline void fixture_open_root(struct fixture *f, const char *path)
{
    struct nori_error err;
    EXPECT_OK(nr_dir_open(f->env, path, true, &f->root, &err), &err);
}

static inline void fixture_init_sim(struct fixture *f, uint64_t seed, bool mapped, bool threads)
{
    struct nori_error err;
    memset(f, 0, sizeof(*f));
    EXPECT_OK(nori_simdisk_create(seed, 512, threads, &f->env, &err), &err);
    nr_mutex_init(&f->append_lock, NR_RANK_COMMIT);
    f->mapped = mapped;
    f->segment_bytes = SMALL_SEGMENT_BYTES;
    f->next_sequence = 1;
    fixture_open_root(f, "/db");
    EXPECT_OK(nr_dir_sync(f->root, &err), &err);
    struct nr_dir *top;
    EXPECT_OK(nr_dir_open(f->env, "/", false, &top, &err), &err);
    EXPECT_OK(nr_dir_sync(top, &err), &err);
    nr_dir_close(top);
}

static inline void fixture_close_log(struct fixture *f)
{
    nr_wal_close(f->wal, false);
    f->wal = NULL;
}

static inline void fixture_clear(struct fixture *f)
{
    fixture_close_log(f);
    nr_dir_close(f->root);
    nori_simdisk_destroy(f->env);
    nr_mutex_destroy(&f->append_lock);
}

/* Checks one record against the model. */
static inline nori_status note_record(void *arg, const struct nr_record *record, struct nr_position position,
                                      struct nori_error *err)
{
    struct fixture *f = arg;
    (void)err, (void)position;
    if (record->sequence <= f->flushed) return NORI_OK;
    if (record->sequence != f->found + 1 || record->sequence >= MODEL_LIMIT || record->count != 1 ||
        !payload_is(record->payload, record->sequence, f->sessions[record->sequence])) {
        f->is_wrong = true;
        return NORI_OK;
    }
    f->found = record->sequence;
    return NORI_OK;
}

/* Examines and replays: 'found' is the last sequence there is. */
static inline nori_status fixture_recover(struct fixture *f, struct nr_wal_log *log, struct nori_error *err)
{
    f->is_wrong = false;
    f->found = f->flushed;
    nori_status rc = nr_wal_examine(f->env, f->root, DATABASE_ID, f->log_number, f->flushed, false, log, err);
    if (rc != NORI_OK) return rc;
    rc = nr_wal_replay(f->env, f->root, DATABASE_ID, log, note_record, f, err);
    if (rc != NORI_OK) nr_wal_log_clear(log);
    return rc;
}

static inline nori_status fixture_begin(struct fixture *f, const struct nr_wal_log *log, struct nori_error *err)
{
    struct nr_wal_params params = {.env = f->env,
                                   .root = f->root,
                                   .append_lock = &f->append_lock,
                                   .database_id = DATABASE_ID,
                                   .segment_bytes = f->segment_bytes,
                                   .mapped = f->mapped,
                                   .first_segment = log->next_segment,
                                   .previous = log->end,
                                   .last_sequence = log->last_sequence,
                                   .retain_bytes = f->retain_bytes};
    nori_status rc = nr_wal_open(&params, &f->wal, err);
    if (rc != NORI_OK) return rc;
    rc = nr_dir_sync(f->root, err);
    if (rc != NORI_OK) {
        nr_wal_close(f->wal, false);
        f->wal = NULL;
        return rc;
    }
    f->session++;
    f->next_sequence = log->last_sequence + 1;
    f->appended = log->last_sequence;
    f->end = nr_wal_end(f->wal, NULL);
    return NORI_OK;
}

/* Recovery, then a new session. */
static inline nori_status fixture_open(struct fixture *f, struct nori_error *err)
{
    struct nr_wal_log log;
    nori_status rc = fixture_recover(f, &log, err);
    if (rc != NORI_OK) return rc;
    rc = fixture_begin(f, &log, err);
    nr_wal_log_clear(&log);
    return rc;
}

static inline nori_status fixture_append_use(struct fixture *f, size_t size, enum nr_wal_use use,
                                             struct nori_error *err)
{
    static uint8_t payload[128 << 10];
    uint64_t sequence = f->next_sequence;

    payload_fill(payload, size, sequence, f->session);
    nr_mutex_lock(&f->append_lock);
    nori_status rc = nr_wal_reserve(f->wal, size, use, true, err);
    if (rc == NORI_OK) {
        uint64_t before = f->sessions[sequence];
        f->sessions[sequence] = f->session;
        rc = nr_wal_append(f->wal, sequence, 1, nr_slice(payload, size), &f->end, err);
        if (rc == NORI_POISONED) f->sessions[sequence] = before;
        if (rc == NORI_OK) {
            f->next_sequence++;
            f->appended = sequence;
        }
    }
    nr_mutex_unlock(&f->append_lock);
    return rc;
}

static inline nori_status fixture_append_size(struct fixture *f, size_t size, struct nori_error *err)
{
    return fixture_append_use(f, size, NR_WAL_PUTS, err);
}

static inline nori_status fixture_append(struct fixture *f, struct nori_error *err)
{
    return fixture_append_size(f, payload_size(f->next_sequence, f->session), err);
}

static inline nori_status fixture_sync(struct fixture *f, struct nori_error *err)
{
    uint64_t appended = f->appended;
    nori_status rc = nr_wal_sync(f->wal, f->end, &(bool){false}, err);
    if (rc == NORI_OK && appended > f->synced) f->synced = appended;
    return rc;
}

/* As if the tables held all that was appended, and a manifest said so. */
static inline nori_status fixture_flush(struct fixture *f, struct nori_error *err)
{
    f->flushed = f->appended;
    f->log_number = nr_wal_end(f->wal, NULL).segment;
    return nr_wal_collect(f->wal, f->log_number, err);
}

static inline void fixture_append_many(struct fixture *f, unsigned count, size_t size)
{
    struct nori_error err;
    for (unsigned i = 0; i < count; i++) EXPECT_OK(fixture_append_size(f, size, &err), &err);
}

/* The power goes; handles are opened anew. 'keep' as in nori_simdisk_crash. */
static inline void fixture_crash(struct fixture *f, double keep)
{
    struct nori_error err;
    fixture_close_log(f);
    nr_dir_close(f->root);
    f->root = NULL;
    EXPECT_OK(nori_simdisk_crash(f->env, keep, &err), &err);
    fixture_open_root(f, "/db");
}

static inline void fixture_kill(struct fixture *f)
{
    fixture_close_log(f);
    nr_dir_close(f->root);
    f->root = NULL;
    nori_simdisk_kill(f->env);
    fixture_open_root(f, "/db");
}

static inline void segment_path(char out[64], uint64_t number)
{
    snprintf(out, 64, "/db/wal/%06" PRIu64 ".log", number);
}

struct bytes {
    uint8_t *data;
    size_t size;
};

static inline struct bytes read_segment(struct fixture *f, uint64_t number)
{
    struct bytes bytes;
    struct nori_error err;
    char path[64];
    segment_path(path, number);
    EXPECT_OK(nori_simdisk_read_file(f->env, path, &bytes.data, &bytes.size, &err), &err);
    return bytes;
}

static inline void write_segment(struct fixture *f, uint64_t number, const uint8_t *data, size_t size)
{
    struct nori_error err;
    char path[64];
    segment_path(path, number);
    EXPECT_OK(nori_simdisk_write_file(f->env, path, nr_slice(data, size), &err), &err);
}

static inline void damage_segment(struct fixture *f, uint64_t number, size_t offset, uint8_t bits)
{
    struct bytes bytes = read_segment(f, number);
    EXPECT(offset < bytes.size);
    bytes.data[offset] ^= bits;
    write_segment(f, number, bytes.data, bytes.size);
    nori_free(bytes.data);
}

#endif

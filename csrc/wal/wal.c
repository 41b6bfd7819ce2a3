#include "wal/wal.h"

#include "base/alloc.h"
#include "format/format.h"
#include "wal/wal_internal.h"

/* Reservations go ahead of the record by this much where that costs nothing, so that most need no call. */
#define RESERVE_STEP_BYTES (64u << 10)
#define PAGE_BYTES 4096u

/* ---------------------------------------------------------------- failure */

void nr_wal_poison(struct nr_wal *wal, const struct nori_error *cause)
{
    nr_mutex_lock(&wal->lock);
    if (!nr_wal_has_failed(wal)) {
        wal->cause = *cause;
        atomic_store_explicit(&wal->has_failed, true, memory_order_release);
    }
    nr_mutex_unlock(&wal->lock);
}

nori_status nr_wal_fail_poisoned(struct nr_wal *wal, struct nori_error *err)
{
    NR_FAIL(err, NORI_POISONED, "the log has failed: %s", wal->cause.text);
    if (err) {
        err->sys_errno = wal->cause.sys_errno;
        memcpy(err->path, wal->cause.path, sizeof(err->path));
    }
    return NORI_POISONED;
}

bool nr_wal_failure(struct nr_wal *wal, struct nori_error *cause_out)
{
    return nr_wal_has_failed(wal) && nr_wal_fail_poisoned(wal, cause_out) != NORI_OK;
}

/* ---------------------------------------------------------------- opening and closing */

static void destroy(struct nr_wal *wal)
{
    if (!wal) return;
    nr_dir_close(wal->dir);
    nr_free(wal->scratch);
    nr_cond_destroy(&wal->created);
    nr_mutex_destroy(&wal->lock);
    nr_mutex_destroy(&wal->sync_lock);
    nr_free(wal);
}

static nori_status create(const struct nr_wal_params *params, struct nr_wal **wal_out, struct nori_error *err)
{
    struct nr_wal *wal = nr_alloc_aligned(_Alignof(struct nr_wal), sizeof(*wal));
    *wal_out = NULL;
    if (!wal) return nr_fail_memory(err, sizeof(*wal));
    memset(wal, 0, sizeof(*wal));
    nr_mutex_init(&wal->sync_lock, NR_RANK_WAL_SYNC);
    nr_mutex_init(&wal->lock, NR_RANK_WAL);
    nr_cond_init(&wal->created);
    wal->append_lock = params->append_lock;
    wal->database_id = params->database_id;
    wal->segment_bytes = params->segment_bytes;
    wal->retain_bytes = params->retain_bytes;
    wal->mapped = params->mapped;
    wal->next_number = params->first_segment;
    wal->last_sequence = params->last_sequence;
    wal->scratch = nr_alloc(2 * NR_RECORD_BLOCK_BYTES);
    if (!wal->scratch) {
        destroy(wal);
        return nr_fail_memory(err, 2 * NR_RECORD_BLOCK_BYTES);
    }
    *wal_out = wal;
    return NORI_OK;
}

/* Makes the segment the one that is written; the caller has published its header. */
static void make_current(struct nr_wal *wal, struct nr_segment *segment)
{
    nr_mutex_lock(&wal->lock);
    nr_segment_list_locked(wal, segment);
    wal->current = segment;
    nr_mutex_unlock(&wal->lock);
    wal->log = segment->log;
    wal->reserved_bytes = NR_FILE_HEADER_BYTES + NR_MARKS_ROOM_BYTES;
    wal->head_offset = UINT64_MAX;
    atomic_store_explicit(&wal->write_offset, NR_FILE_HEADER_BYTES, memory_order_relaxed);
    uint64_t appended = atomic_load_explicit(&wal->appended_bytes, memory_order_relaxed) + NR_FILE_HEADER_BYTES;
    atomic_store_explicit(&wal->appended_bytes, appended, memory_order_relaxed);
    atomic_store_explicit(&wal->prepare_at_bytes, 0, memory_order_relaxed);
}

static nori_status begin_first_segment(struct nr_wal *wal, const struct nr_wal_params *params, struct nori_error *err)
{
    nori_status rc;
    struct nr_segment *segment = NULL;

    nr_segment_begin_creating(wal, UINT32_MAX);
    rc = nr_segment_create(wal, wal->segment_bytes, NR_FILE_HEADER_BYTES + NR_MARKS_ROOM_BYTES, &segment, err);
    nr_segment_end_creating(wal);
    NR_CHECK(rc);
    NR_CHECK(nr_segment_begin(wal, segment, params->previous, params->last_sequence, err));
    NR_CHECK(nr_log_sync(segment->log, err));
    NR_CHECK(nr_dir_sync(wal->dir, err));
    wal->durable_name = segment->number;
    nr_wal_mark_store(&wal->end, (struct nr_position){segment->number, NR_FILE_HEADER_BYTES}, params->last_sequence);
    make_current(wal, segment);
    segment = NULL;
out:
    if (segment) nr_segment_abandon(wal, segment);
    return rc;
}

nori_status nr_wal_open(const struct nr_wal_params *params, struct nr_wal **wal_out, struct nori_error *err)
{
    nori_status rc;
    struct nr_wal *wal = NULL;

    *wal_out = NULL;
    if (params->segment_bytes < NR_RECORD_BLOCK_BYTES)
        return NR_FAIL(err, NORI_INVALID, "wal.segment_bytes is less than %u", NR_RECORD_BLOCK_BYTES);
    NR_CHECK(create(params, &wal, err));
    NR_CHECK(nr_dir_open_at(params->root, NR_WAL_DIRECTORY, true, &wal->dir, err));
    NR_CHECK(nr_segment_find_former(wal, err));
    NR_CHECK(begin_first_segment(wal, params, err));
    *wal_out = wal;
    wal = NULL;
out:
    if (wal) nr_segment_clear_all(wal, false);
    destroy(wal);
    return rc;
}

void nr_wal_close(struct nr_wal *wal, bool remove_segments)
{
    if (!wal) return;
    nr_segment_clear_all(wal, remove_segments);
    destroy(wal);
}

/* ---------------------------------------------------------------- reserving */

/* Spares that a larger segment has overtaken: their numbers are too small now, their files still serve. */
static void give_up_spares(struct nr_wal *wal, uint64_t overtaken_by)
{
    struct nr_segment *spare;
    do {
        nr_mutex_lock(&wal->lock);
        spare = wal->spares && wal->spares->number < overtaken_by ? nr_segment_take_spare_locked(wal) : NULL;
        nr_mutex_unlock(&wal->lock);
        if (spare && nr_segment_retire(wal, spare, NULL) != NORI_OK) nr_segment_abandon(wal, spare);
    } while (spare);
}

static nori_status create_large(struct nr_wal *wal, uint64_t bound, struct nr_segment **segment_out,
                                struct nori_error *err)
{
    uint64_t size_bytes = (bound + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    nr_segment_begin_creating(wal, UINT32_MAX);
    nori_status rc = nr_segment_create(wal, size_bytes, bound, segment_out, err);
    nr_segment_end_creating(wal);
    return rc;
}

/* The segment that takes a record ending at 'bound' in it: the spare, which stays the spare, or one of its own. Puts
 * leave another spare behind. */
static nori_status find_next(struct nr_wal *wal, uint64_t bound, enum nr_wal_use use, struct nr_segment **segment_out,
                             struct nori_error *err)
{
    bool is_large = bound > wal->segment_bytes;
    uint32_t needed = is_large ? 0 : 1, wanted = needed + (use == NR_WAL_PUTS);
    struct nori_error own;

    *segment_out = NULL;
    nr_mutex_lock(&wal->lock);
    uint32_t count = wal->spare_count;
    nr_mutex_unlock(&wal->lock);
    if (count < wanted) {
        nr_error_clear(&own);
        nori_status rc = nr_segment_make_spares(wal, wanted, use == NR_WAL_PUTS ? NR_SPARE_READY_BYTES : bound, &own);
        nr_mutex_lock(&wal->lock);
        count = wal->spare_count;
        nr_mutex_unlock(&wal->lock);
        /* Another failure than of space says nothing of what deletes will find. */
        if (rc != NORI_OK && (count < needed || nr_error_is_of_space(rc, &own))) {
            if (err) *err = own;
            return rc;
        }
    }
    if (is_large) return create_large(wal, bound, segment_out, err);
    nr_mutex_lock(&wal->lock);
    *segment_out = wal->spares;
    nr_mutex_unlock(&wal->lock);
    return NORI_OK;
}

/* Goes on in the next segment. */
static nori_status switch_segment(struct nr_wal *wal, size_t payload_bytes, enum nr_wal_use use, struct nori_error *err)
{
    nori_status rc;
    struct nr_segment *segment = NULL;
    uint64_t bound = nr_record_end(NR_FILE_HEADER_BYTES, payload_bytes) + NR_MARKS_ROOM_BYTES;
    bool is_large = bound > wal->segment_bytes;
    struct nr_position previous = {wal->current->number,
                                   atomic_load_explicit(&wal->write_offset, memory_order_relaxed)};
    struct nori_error own;

    NR_CHECK(find_next(wal, bound, use, &segment, err));
    NR_CHECK(nr_log_reserve(segment->log, bound, true, err));
    nr_error_clear(&own);
    rc = nr_segment_begin(wal, segment, previous, wal->last_sequence, &own);
    if (rc != NORI_OK) {
        /* Part of a header may stand there, and cut the log where it went on. */
        nr_wal_poison(wal, &own);
        if (err) *err = own;
        goto out;
    }
    if (is_large) {
        give_up_spares(wal, segment->number);
    } else {
        nr_mutex_lock(&wal->lock);
        nr_segment_take_spare_locked(wal);
        nr_mutex_unlock(&wal->lock);
    }
    make_current(wal, segment);
    wal->reserved_bytes = bound;
    segment = NULL;
out:
    if (segment && is_large) nr_segment_abandon(wal, segment);
    return rc;
}

static bool is_kept_from(const struct nr_wal *wal, enum nr_wal_use use)
{
    return use == NR_WAL_PUTS && atomic_load_explicit(&wal->is_for_deletes, memory_order_relaxed);
}

/* What is ready ahead, if the log goes on where it is. */
static bool reserve_ahead(struct nr_wal *wal, uint64_t bound)
{
    if (bound > wal->current->size_bytes) return false;
    uint64_t ahead = NR_MIN(bound + RESERVE_STEP_BYTES, wal->current->size_bytes);
    if (nr_log_reserve(wal->log, ahead, false, NULL) != NORI_OK) return false;
    wal->reserved_bytes = ahead;
    return true;
}

static nori_status reserve_slow(struct nr_wal *wal, uint64_t bound, size_t payload_bytes, enum nr_wal_use use,
                                bool may_wait, struct nori_error *err)
{
    bool is_kept = is_kept_from(wal, use);
    if (!is_kept && reserve_ahead(wal, bound)) return NORI_OK;
    if (!may_wait) return NR_FAIL(err, NORI_AGAIN, "the log must be extended");
    if (is_kept) {
        nori_status made = nr_segment_make_spares(wal, 1, NR_SPARE_READY_BYTES, err);
        if (made != NORI_OK) return made;
        if (bound <= wal->reserved_bytes) return NORI_OK;
    }
    if (bound > wal->current->size_bytes) return switch_segment(wal, payload_bytes, use, err);
    if (is_kept && reserve_ahead(wal, bound)) return NORI_OK;
    nori_status rc = nr_log_reserve(wal->log, bound, true, err);
    if (rc == NORI_OK) {
        wal->reserved_bytes = bound;
    } else if (rc == NORI_IO) {
        /* A full disk: what the spare segments have is ours already. */
        nr_mutex_lock(&wal->lock);
        bool has_spare = wal->spares != NULL;
        nr_mutex_unlock(&wal->lock);
        if (has_spare && switch_segment(wal, payload_bytes, use, NULL) == NORI_OK) rc = NORI_OK;
    }
    return rc;
}

nori_status nr_wal_reserve(struct nr_wal *wal, size_t payload_bytes, enum nr_wal_use use, bool may_wait,
                           struct nori_error *err)
{
    if (NR_UNLIKELY(nr_wal_has_failed(wal))) return nr_wal_fail_poisoned(wal, err);
    uint64_t offset = atomic_load_explicit(&wal->write_offset, memory_order_relaxed);
    uint64_t bound = nr_record_end(offset, payload_bytes) + NR_MARKS_ROOM_BYTES;
    if (NR_LIKELY(bound <= wal->reserved_bytes && !is_kept_from(wal, use))) return NORI_OK;
    return reserve_slow(wal, bound, payload_bytes, use, may_wait, err);
}

/* ---------------------------------------------------------------- appending */

static nori_status publish(struct nr_wal *wal, struct nr_record_writer *writer, struct nori_error *err)
{
    uint64_t begin = atomic_load_explicit(&wal->write_offset, memory_order_relaxed), offset = begin;
    size_t size;
    struct nori_error own;

    while (nr_record_writer_next(writer, wal->scratch, &size)) {
        NR_ASSERT(size <= wal->reserved_bytes - offset);
        nori_status rc = nr_log_publish(wal->log, offset, nr_slice(wal->scratch, size), nr_slice(NULL, 0), &own);
        if (NR_UNLIKELY(rc != NORI_OK)) {
            own.outcome = NORI_INDETERMINATE;
            nr_wal_poison(wal, &own);
            if (err) *err = own;
            return rc;
        }
        offset += size;
    }
    atomic_store_explicit(&wal->write_offset, offset, memory_order_relaxed);
    uint64_t appended = atomic_load_explicit(&wal->appended_bytes, memory_order_relaxed) + (offset - begin);
    atomic_store_explicit(&wal->appended_bytes, appended, memory_order_relaxed);
    return NORI_OK;
}

/* Whether a record needs no head. One in each page has one: damage that takes what was synced last shall not take all
 * that says so. */
static bool may_follow(const struct nr_wal *wal, uint64_t sequence, uint32_t count, size_t payload_bytes,
                       struct nr_position promise, uint64_t offset)
{
    return count == 1 && sequence == wal->last_sequence + 1 &&
           nr_record_start(offset) / PAGE_BYTES == wal->head_offset / PAGE_BYTES &&
           nr_position_compare(wal->written_promise, promise) >= 0 && nr_record_fits_next(offset, payload_bytes);
}

nori_status nr_wal_append(struct nr_wal *wal, uint64_t sequence, uint32_t count, nori_slice payload,
                          struct nr_position *end_out, struct nori_error *err)
{
    struct nr_record_writer writer;

    if (NR_UNLIKELY(nr_wal_has_failed(wal))) return nr_wal_fail_poisoned(wal, err);
    uint64_t offset = atomic_load_explicit(&wal->write_offset, memory_order_relaxed);
    struct nr_record_place place = {wal->database_id, wal->current->number, offset};
    struct nr_position promise = nr_wal_mark_load(&wal->synced, NULL);
    if (may_follow(wal, sequence, count, payload.size, promise, offset)) {
        nr_record_writer_init_next(&writer, place, sequence, payload);
    } else {
        nr_record_writer_init(&writer, place, sequence, count, promise, payload);
        wal->head_offset = nr_record_start(offset);
        wal->written_promise = promise;
    }
    nori_status rc = publish(wal, &writer, err);
    if (NR_UNLIKELY(rc != NORI_OK)) return rc;
    *end_out = (struct nr_position){place.number, writer.place.offset};
    wal->last_sequence = sequence - 1 + count;
    nr_wal_mark_store(&wal->end, *end_out, wal->last_sequence);
    return NORI_OK;
}

void nr_wal_append_mark(struct nr_wal *wal)
{
    struct nr_record_writer writer;
    struct nr_position promise = nr_wal_mark_load(&wal->synced, NULL);
    uint64_t offset = atomic_load_explicit(&wal->write_offset, memory_order_relaxed);

    if (nr_wal_has_failed(wal) || nr_position_compare(wal->written_promise, promise) >= 0) return;
    if (NR_MARK_MAX_BYTES > wal->reserved_bytes - offset) return;
    struct nr_record_place place = {wal->database_id, wal->current->number, offset};
    nr_record_writer_init_mark(&writer, place, promise);
    wal->written_promise = promise;
    /* A failure has poisoned the log (nr_wal_failure); what was synced is synced. */
    (void)!publish(wal, &writer, NULL);
}

/* ---------------------------------------------------------------- looking */

bool nr_wal_is_mapped(const struct nr_wal *wal)
{
    return nr_log_is_mapped(wal->log);
}

struct nr_position nr_wal_end(struct nr_wal *wal, uint64_t *sequence_out)
{
    return nr_wal_mark_load(&wal->end, sequence_out);
}

uint64_t nr_wal_appended_bytes(const struct nr_wal *wal)
{
    return atomic_load_explicit(&wal->appended_bytes, memory_order_relaxed);
}

uint64_t nr_wal_next_segment(struct nr_wal *wal)
{
    nr_mutex_lock(&wal->lock);
    uint64_t number = wal->next_number;
    nr_mutex_unlock(&wal->lock);
    return number;
}

struct nr_position nr_wal_synced(struct nr_wal *wal, uint64_t *sequence_out)
{
    return nr_wal_mark_load(&wal->synced, sequence_out);
}

bool nr_wal_wants_prepare(const struct nr_wal *wal)
{
    return atomic_load_explicit(&wal->appended_bytes, memory_order_relaxed) >=
           atomic_load_explicit(&wal->prepare_at_bytes, memory_order_relaxed);
}

void nr_wal_stats(struct nr_wal *wal, struct nr_wal_stats *stats_out)
{
    *stats_out = (struct nr_wal_stats){
        .bytes_appended = atomic_load_explicit(&wal->appended_bytes, memory_order_relaxed),
        .syncs = atomic_load_explicit(&wal->sync_count, memory_order_relaxed),
    };
    nr_mutex_lock(&wal->lock);
    for (const struct nr_segment *segment = wal->segments; segment; segment = segment->next) stats_out->segments++;
    stats_out->segments += wal->spare_count + (wal->recyclable != NULL);
    stats_out->segments_deleted = wal->deleted_count;
    nr_mutex_unlock(&wal->lock);
}

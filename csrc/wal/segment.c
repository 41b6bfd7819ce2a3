#include "base/alloc.h"
#include "format/format.h"
#include "wal/wal_internal.h"

/* How far ahead of the writer blocks and pages are made; doubled by each round. What lies ahead when a sync comes is
 * written once more for that, and the writer's right to store to its pages is taken away again, one by one. */
#define LEAST_AHEAD_BYTES (1u << 20)
#define GREATEST_AHEAD_BYTES (2u << 20)
/* After a failed round: how much is appended before the next. */
#define RETRY_BYTES (64u << 10)

/* ---------------------------------------------------------------- pins */

struct nr_segment *nr_segment_pin(struct nr_wal *wal, uint64_t least, uint64_t greatest)
{
    nr_mutex_lock(&wal->lock);
    struct nr_segment *segment = wal->segments;
    while (segment && (segment->number < least || !segment->is_open)) segment = segment->next;
    if (segment && segment->number > greatest) segment = NULL;
    if (segment) segment->pins++;
    nr_mutex_unlock(&wal->lock);
    return segment;
}

void nr_segment_unpin(struct nr_wal *wal, struct nr_segment *segment)
{
    struct nr_log *log = NULL;
    bool is_last = false;

    nr_mutex_lock(&wal->lock);
    if (--segment->pins == 0) {
        log = segment->log;
        segment->log = NULL;
        is_last = segment->is_detached;
    }
    nr_mutex_unlock(&wal->lock);
    nr_log_close(log);
    if (is_last) nr_free(segment);
}

static void end_use_locked(struct nr_segment *segment)
{
    if (segment->is_open) segment->pins--;
    segment->is_open = false;
}

void nr_segment_end_use(struct nr_wal *wal, struct nr_segment *segment)
{
    nr_mutex_lock(&wal->lock);
    end_use_locked(segment);
    nr_mutex_unlock(&wal->lock);
}

/* ---------------------------------------------------------------- creating */

static void note_room_locked(struct nr_wal *wal)
{
    atomic_store_explicit(&wal->is_for_deletes, wal->is_short && !wal->spares, memory_order_relaxed);
}

bool nr_segment_begin_creating(struct nr_wal *wal, uint32_t enough)
{
    nr_mutex_lock(&wal->lock);
    while (wal->is_creating) nr_cond_wait(&wal->created, &wal->lock);
    bool is_needed = wal->spare_count < enough;
    if (is_needed) wal->is_creating = true;
    nr_mutex_unlock(&wal->lock);
    return is_needed;
}

/* 'spare' NULL: none was made, for want of space if 'is_of_space'. */
static void end_creating(struct nr_wal *wal, struct nr_segment *spare, bool is_of_space)
{
    nr_mutex_lock(&wal->lock);
    if (spare) {
        struct nr_segment **link = &wal->spares;
        while (*link) link = &(*link)->next;
        *link = spare;
        wal->spare_count++;
    }
    wal->is_short = !spare && (wal->is_short || is_of_space); /* Another failure says nothing of space. */
    note_room_locked(wal);
    wal->is_creating = false;
    nr_cond_broadcast(&wal->created);
    nr_mutex_unlock(&wal->lock);
}

void nr_segment_end_creating(struct nr_wal *wal)
{
    end_creating(wal, NULL, false);
}

struct nr_segment *nr_segment_take_spare_locked(struct nr_wal *wal)
{
    struct nr_segment *spare = wal->spares;
    wal->spares = spare->next;
    wal->spare_count--;
    spare->next = NULL;
    note_room_locked(wal);
    return spare;
}

/* Only our own memory goes: whoever calls has dealt with the file. */
static void free_segment(struct nr_segment *segment)
{
    if (!segment) return;
    nr_log_close(segment->log);
    nr_free(segment);
}

nori_status nr_segment_create(struct nr_wal *wal, uint64_t size_bytes, uint64_t ready_bytes,
                              struct nr_segment **segment_out, struct nori_error *err)
{
    nori_status rc;
    struct nr_segment *recycled = NULL;
    char name[NR_FILE_NAME_BYTES], recycled_name[NR_FILE_NAME_BYTES];

    *segment_out = NULL;
    struct nr_segment *segment = nr_calloc(1, sizeof(*segment));
    if (!segment) return nr_fail_memory(err, sizeof(*segment));
    nr_mutex_lock(&wal->lock);
    segment->number = wal->next_number++;
    if (size_bytes == wal->segment_bytes) {
        recycled = wal->recyclable;
        wal->recyclable = NULL;
    }
    nr_mutex_unlock(&wal->lock);
    segment->size_bytes = size_bytes;
    segment->is_ours = true;
    segment->is_open = true;
    segment->pins = 1;

    nr_name_segment(name, segment->number);
    if (recycled) nr_name_segment(recycled_name, recycled->number);
    rc = nr_log_create(wal->dir, name, recycled ? recycled_name : NULL, size_bytes, wal->mapped, &segment->log, err);
    if (rc != NORI_OK) {
        /* A file that cannot be recycled now is not tried again. */
        if (recycled) (void)!nr_dir_unlink(wal->dir, recycled_name, NULL);
        goto out;
    }
    rc = nr_log_reserve(segment->log, ready_bytes, true, err);
    if (rc != NORI_OK) {
        (void)!nr_dir_unlink(wal->dir, name, NULL);
        goto out;
    }
    *segment_out = segment;
    segment = NULL;
out:
    nr_free(recycled);
    free_segment(segment);
    return rc;
}

nori_status nr_segment_make_spares(struct nr_wal *wal, uint32_t count, uint64_t ready_bytes, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_segment *spare;
    struct nori_error own;

    while (rc == NORI_OK && nr_segment_begin_creating(wal, count)) {
        nr_error_clear(&own);
        rc = nr_segment_create(wal, wal->segment_bytes, NR_MIN(wal->segment_bytes, ready_bytes), &spare, &own);
        end_creating(wal, spare, nr_error_is_of_space(rc, &own));
    }
    if (rc != NORI_OK && err) *err = own;
    return rc;
}

nori_status nr_segment_begin(struct nr_wal *wal, struct nr_segment *segment, struct nr_position previous,
                             uint64_t last_sequence, struct nori_error *err)
{
    uint8_t bytes[NR_FILE_HEADER_BYTES];
    struct nr_file_header header = {.magic = NR_MAGIC_SEGMENT,
                                    .read_features = NR_READ_FEATURE_HEADLESS,
                                    .database_id = wal->database_id,
                                    .number = segment->number};
    header.extra[NR_SEGMENT_PREVIOUS_NUMBER] = previous.segment;
    header.extra[NR_SEGMENT_PREVIOUS_END] = previous.offset;
    header.extra[NR_SEGMENT_PREVIOUS_SEQUENCE] = last_sequence;
    nr_file_header_encode(&header, bytes);
    return nr_log_publish(segment->log, 0, nr_slice(bytes, sizeof(bytes)), nr_slice(NULL, 0), err);
}

void nr_segment_list_locked(struct nr_wal *wal, struct nr_segment *segment)
{
    struct nr_segment **link = &wal->segments;
    while (*link && (*link)->number < segment->number) link = &(*link)->next;
    segment->next = *link;
    *link = segment;
}

/* ---------------------------------------------------------------- retiring */

static void detach(struct nr_wal *wal, struct nr_segment *segment)
{
    nr_mutex_lock(&wal->lock);
    segment->is_detached = true;
    nr_mutex_unlock(&wal->lock);
    nr_segment_unpin(wal, segment);
}

nori_status nr_segment_retire(struct nr_wal *wal, struct nr_segment *segment, struct nori_error *err)
{
    struct nr_log *log = NULL;
    char name[NR_FILE_NAME_BYTES];

    /* Only a file of this session is recycled: it holds nothing but numbers of this session, all smaller than the new
     * one, so nothing in it can ever be taken for the new segment's. A crash ends the session. */
    nr_mutex_lock(&wal->lock);
    bool is_recycled =
        !wal->recyclable && segment->pins == 1 && segment->is_ours && segment->size_bytes == wal->segment_bytes;
    if (is_recycled) {
        log = segment->log;
        segment->log = NULL;
        segment->pins = 0;
        segment->is_open = false;
        segment->next = NULL;
        wal->recyclable = segment;
    }
    nr_mutex_unlock(&wal->lock);
    nr_log_close(log);
    if (is_recycled) return NORI_OK;

    nr_name_segment(name, segment->number);
    nori_status rc = nr_dir_unlink(wal->dir, name, err);
    if (rc == NORI_OK) detach(wal, segment);
    return rc;
}

void nr_segment_abandon(struct nr_wal *wal, struct nr_segment *segment)
{
    char name[NR_FILE_NAME_BYTES];
    nr_name_segment(name, segment->number);
    (void)!nr_dir_unlink(wal->dir, name, NULL);
    detach(wal, segment);
}

/* Takes the segments to collect out of the list, the newest first, each with a pin. */
static struct nr_segment *take_unneeded(struct nr_wal *wal, uint64_t oldest_needed)
{
    struct nr_segment *unneeded = NULL, *next;
    uint64_t total_bytes = 0;

    nr_mutex_lock(&wal->lock);
    for (const struct nr_segment *segment = wal->segments; segment; segment = segment->next)
        if (segment->number < oldest_needed) total_bytes += segment->size_bytes;
    struct nr_segment **link = &wal->segments;
    while (*link && (*link)->number < oldest_needed && *link != wal->current && total_bytes > wal->retain_bytes) {
        struct nr_segment *segment = *link;
        next = segment->next;
        total_bytes -= segment->size_bytes;
        segment->pins++;
        end_use_locked(segment);
        segment->next = unneeded;
        unneeded = segment;
        *link = next;
    }
    nr_mutex_unlock(&wal->lock);
    return unneeded;
}

nori_status nr_wal_collect(struct nr_wal *wal, uint64_t oldest_needed, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_segment *next;

    for (struct nr_segment *segment = take_unneeded(wal, oldest_needed); segment; segment = next) {
        next = segment->next;
        nori_status retired = nr_segment_retire(wal, segment, rc == NORI_OK ? err : NULL);
        nr_mutex_lock(&wal->lock);
        if (retired == NORI_OK)
            wal->deleted_count++;
        else
            nr_segment_list_locked(wal, segment);
        nr_mutex_unlock(&wal->lock);
        if (retired != NORI_OK) nr_segment_unpin(wal, segment);
        if (rc == NORI_OK) rc = retired;
    }
    return rc;
}

/* ---------------------------------------------------------------- preparing */

/* One spare; two once the segment being written is half full, so that a put that takes one leaves one. '*half_out' is
 * how many bytes there are until then. */
static uint32_t count_wanted(struct nr_wal *wal, uint64_t *half_out)
{
    nr_mutex_lock(&wal->lock);
    uint64_t used_bytes = atomic_load_explicit(&wal->write_offset, memory_order_relaxed);
    uint64_t half_bytes = wal->current->size_bytes / 2;
    nr_mutex_unlock(&wal->lock);
    *half_out = used_bytes < half_bytes ? half_bytes - used_bytes : UINT64_MAX / 2;
    return used_bytes < half_bytes ? 1 : 2;
}

/* Pins what is to be made ready: the segment being written, and the spare once that one is half full. */
static void choose_targets(struct nr_wal *wal, struct nr_segment **current_out, struct nr_segment **spare_out)
{
    nr_mutex_lock(&wal->lock);
    uint64_t used_bytes = atomic_load_explicit(&wal->write_offset, memory_order_relaxed);
    *current_out = wal->current;
    *spare_out = used_bytes >= wal->current->size_bytes / 2 ? wal->spares : NULL;
    (*current_out)->pins++;
    if (*spare_out) (*spare_out)->pins++;
    nr_mutex_unlock(&wal->lock);
}

static nori_status prepare_ahead(struct nr_wal *wal, uint64_t ahead_bytes, struct nori_error *err)
{
    nori_status rc;
    struct nr_segment *current, *spare;
    struct nori_error second;

    choose_targets(wal, &current, &spare);
    uint64_t used_bytes = atomic_load_explicit(&wal->write_offset, memory_order_relaxed);
    rc = nr_log_prepare(current->log, NR_MIN(current->size_bytes, used_bytes + ahead_bytes), err);
    if (spare) {
        nori_status spare_rc = nr_log_prepare(spare->log, NR_MIN(spare->size_bytes, ahead_bytes), &second);
        if (rc == NORI_OK && spare_rc != NORI_OK) {
            rc = spare_rc;
            if (err) *err = second;
        }
        nr_segment_unpin(wal, spare);
    }
    nr_segment_unpin(wal, current);
    return rc;
}

nori_status nr_wal_prepare(struct nr_wal *wal, struct nori_error *err)
{
    nori_status rc;
    uint64_t half_bytes;

    if (nr_wal_has_failed(wal)) {
        atomic_store_explicit(&wal->prepare_at_bytes, UINT64_MAX, memory_order_relaxed);
        return NORI_OK;
    }
    nr_mutex_lock(&wal->lock);
    bool is_mine = !wal->is_preparing;
    wal->is_preparing = true;
    uint64_t ahead_bytes = NR_MAX(wal->prepare_ahead_bytes, (uint64_t)LEAST_AHEAD_BYTES);
    if (is_mine) wal->prepare_ahead_bytes = NR_MIN(ahead_bytes * 2, (uint64_t)GREATEST_AHEAD_BYTES);
    nr_mutex_unlock(&wal->lock);
    if (!is_mine) return NORI_OK;

    /* Set first: a switch meanwhile asks for the next round. */
    uint64_t appended = atomic_load_explicit(&wal->appended_bytes, memory_order_relaxed);
    uint32_t count = count_wanted(wal, &half_bytes);
    atomic_store_explicit(&wal->prepare_at_bytes, appended + NR_MIN(ahead_bytes / 2, half_bytes), memory_order_relaxed);
    NR_CHECK(nr_segment_make_spares(wal, count, NR_SPARE_READY_BYTES, err));
    NR_CHECK(prepare_ahead(wal, ahead_bytes, err));
out:
    if (rc != NORI_OK) atomic_store_explicit(&wal->prepare_at_bytes, appended + RETRY_BYTES, memory_order_relaxed);
    nr_mutex_lock(&wal->lock);
    wal->is_preparing = false;
    nr_mutex_unlock(&wal->lock);
    return rc;
}

/* ---------------------------------------------------------------- opening and closing */

struct former {
    struct nr_wal *wal;
    bool is_out_of_memory;
};

static void note_former(void *arg, const char *name)
{
    struct former *former = arg;
    uint64_t number;

    if (nr_name_parse(name, &number) != NR_FILE_SEGMENT || former->is_out_of_memory) return;
    struct nr_segment *segment = nr_calloc(1, sizeof(*segment));
    former->is_out_of_memory = !segment;
    if (!segment) return;
    segment->number = number;
    nr_segment_list_locked(former->wal, segment);
}

static nori_status measure(struct nr_wal *wal, struct nr_segment *segment, struct nori_error *err)
{
    nori_status rc;
    struct nr_file *file = NULL;
    char name[NR_FILE_NAME_BYTES];

    nr_name_segment(name, segment->number);
    NR_CHECK(nr_file_open(wal->dir, name, NR_OPEN_READ, &file, err));
    NR_CHECK(nr_file_size(file, &segment->size_bytes, err));
out:
    nr_file_close(file);
    return rc;
}

nori_status nr_segment_find_former(struct nr_wal *wal, struct nori_error *err)
{
    nori_status rc;
    struct former former = {wal, false};

    NR_CHECK(nr_dir_list(wal->dir, note_former, &former, err));
    if (former.is_out_of_memory) {
        rc = nr_fail_memory(err, sizeof(struct nr_segment));
        goto out;
    }
    /* Sizes matter only to what is kept beyond need. */
    for (struct nr_segment *segment = wal->segments; segment; segment = segment->next) {
        segment->size_bytes = 1;
        if (wal->retain_bytes > 0) NR_CHECK(measure(wal, segment, err));
    }
out:
    return rc;
}

static void clear(struct nr_wal *wal, struct nr_segment *segment, bool remove)
{
    char name[NR_FILE_NAME_BYTES];

    if (!segment) return;
    nr_name_segment(name, segment->number);
    /* Whatever stays is found and collected by the next session. */
    if (remove) (void)!nr_dir_unlink(wal->dir, name, NULL);
    free_segment(segment);
}

static void clear_list(struct nr_wal *wal, struct nr_segment *segment, bool remove)
{
    struct nr_segment *next;
    for (; segment; segment = next) {
        next = segment->next;
        clear(wal, segment, remove);
    }
}

void nr_segment_clear_all(struct nr_wal *wal, bool remove)
{
    clear_list(wal, wal->segments, remove);
    clear_list(wal, wal->spares, remove);
    clear(wal, wal->recyclable, remove);
    wal->segments = wal->spares = wal->recyclable = NULL;
}

/* ---------------------------------------------------------------- resting */

bool nr_wal_is_at_rest(struct nr_wal *wal)
{
    nr_mutex_lock(&wal->lock);
    bool is_at_rest = !wal->recyclable && wal->spare_count <= 1;
    nr_mutex_unlock(&wal->lock);
    return is_at_rest;
}

void nr_wal_rest(struct nr_wal *wal)
{
    struct nr_segment *next, *spare = NULL;

    if (nr_wal_is_at_rest(wal)) return;
    nr_segment_begin_creating(wal, UINT32_MAX);
    nr_mutex_lock(&wal->lock);
    struct nr_segment *recyclable = wal->recyclable;
    wal->recyclable = NULL;
    if (wal->spares) { /* A writer may be about to take the first. */
        spare = wal->spares->next;
        wal->spares->next = NULL;
        wal->spare_count = 1;
    }
    nr_mutex_unlock(&wal->lock);
    clear(wal, recyclable, true);
    for (; spare; spare = next) {
        next = spare->next;
        nr_segment_abandon(wal, spare);
    }
    nr_segment_end_creating(wal);
}

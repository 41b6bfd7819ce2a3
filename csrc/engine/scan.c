/* Scans: a range of one moment, read in chunks.
 *
 * A scan pins its moment and refs a view. When the engine has moved on to another view it moves, too, at its own
 * moment, at its next chunk: so it does not hold memtables and files that were flushed and merged meanwhile. */
#include "engine/engine.h"

#include "base/alloc.h"

#define ENTRIES_BETWEEN_POLLS 256
#define MOST_FORESEEN 1024 /* Entries of a chunk. */
#define MOST_SHOWN 64      /* Entries at a time. */

enum place {
    PLACE_FRONT, /* Before the first entry in the scan's direction. */
    PLACE_AFTER, /* Behind 'place_key': it was handed out. */
    PLACE_SEEK,  /* At 'place_key' or behind. */
    PLACE_END,
};

struct nori_scan {
    struct nori_engine *engine;
    struct nori_scan *previous, *next; /* By engine->pin_lock. */
    struct nr_pin pin;                 /* Registered, unless a snapshot's moment is used. */
    bool is_pinned;
    bool is_held NR_GUARDED; /* By engine->pin_lock: close() is giving back what it held. */
    bool is_reverse;
    struct nr_moment moment;
    struct nr_buffer start, end_key;
    struct nr_bound end; /* Borrows from end_key. */
    uint64_t left;       /* Of the limit. */
    struct nr_view *view;
    struct nr_iter *iter; /* Over 'view'; NULL: to be made. */
    bool is_positioned;   /* The iterator stands where 'place' says, */
    bool is_step_due;     /* or, as it was handed out, one before that. */
    struct nr_read read;
    enum place place;
    struct nr_buffer place_key;
    struct nr_buffer bytes; /* Of the chunk. */
    struct nori_entry *entries;
    size_t entry_capacity;
};

static void drop_iter(struct nori_scan *scan)
{
    nr_iter_destroy(scan->iter);
    scan->iter = NULL;
    scan->is_positioned = false;
}

static void release(struct nori_scan *scan)
{
    drop_iter(scan);
    nr_read_clear(&scan->read);
    nr_view_release(scan->view);
    scan->view = NULL;
}

/* An inclusive bound as the exclusive one behind it, and the other way round: the key with a zero byte appended. */
static nori_status copy_bound(struct nr_buffer *to, nori_slice key, bool behind, struct nori_error *err)
{
    nori_status rc = nr_buffer_assign(to, key, err);
    return rc == NORI_OK && behind ? nr_buffer_append(to, nr_slice("", 1), err) : rc;
}

static nori_status set_bounds(struct nori_scan *scan, const struct nori_scan_params *params, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    if (params->start) NR_CHECK(copy_bound(&scan->start, *params->start, params->exclude_start, err));
    scan->end = nr_bound_infinite();
    if (params->stop) {
        NR_CHECK(copy_bound(&scan->end_key, *params->stop, params->include_stop, err));
        scan->end = nr_bound_key(nr_buffer_slice(&scan->end_key));
    }
    if (!nr_bound_above(scan->end, nr_buffer_slice(&scan->start))) scan->place = PLACE_END;
    if (scan->left == 0) scan->place = PLACE_END;
out:
    return rc;
}

static void link_scan(struct nori_scan *scan)
{
    struct nori_engine *engine = scan->engine;
    nr_mutex_lock(&engine->pin_lock);
    scan->next = engine->scans;
    if (scan->next) scan->next->previous = scan;
    engine->scans = scan;
    nr_mutex_unlock(&engine->pin_lock);
}

/* Under pin_lock. */
static void unlink_locked(struct nori_scan *scan)
{
    struct nori_engine *engine = scan->engine;
    if (scan->previous)
        scan->previous->next = scan->next;
    else if (engine->scans == scan)
        engine->scans = scan->next;
    if (scan->next) scan->next->previous = scan->previous;
    scan->previous = scan->next = NULL;
}

nori_status nori_scan_open(struct nori_engine *engine, const struct nori_scan_params *params,
                           struct nori_scan **scan_out, struct nori_error *err)
{
    unsigned stripe;
    *scan_out = NULL;
    nori_status rc = nr_call_enter(engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    struct nori_scan *scan = nr_calloc(1, sizeof *scan);
    if (!scan) {
        rc = nr_fail_memory(err, sizeof *scan);
        goto out;
    }
    scan->engine = engine;
    scan->left = params->limit;
    scan->is_reverse = params->reverse;
    scan->read.is_scan = true;
    NR_CHECK(set_bounds(scan, params, err));
    /* Also with a snapshot: it may be closed before the scan. Its own pin is older, so what it sees stays until then,
     * and the copy made here takes over. */
    if (params->snapshot) {
        scan->moment = nr_snapshot_moment(params->snapshot);
        nr_pin_copy(engine, params->snapshot, &scan->pin);
    } else {
        NR_CHECK(nr_pin_add(engine, &scan->pin, 0, err));
        scan->moment = scan->pin.moment;
    }
    scan->is_pinned = true;
    link_scan(scan);
    uint64_t nth = atomic_fetch_add_explicit(&engine->stripes[stripe].scans, 1, memory_order_relaxed);
    if (NR_UNLIKELY((nth + 1) % NR_SCANS_PER_HINT == 0)) nr_shape_hint(engine);
    *scan_out = scan;
    scan = NULL;
out:
    nori_scan_destroy(scan);
    nr_call_leave(engine);
    return rc;
}

/* The engine's current view, with an iterator over it. */
static nori_status refresh_view(struct nori_scan *scan, struct nori_error *err)
{
    struct nori_engine *engine = scan->engine;
    unsigned stripe = nr_epoch_enter(&engine->epoch);
    bool is_current = scan->view == nr_view_peek(engine);
    nr_epoch_leave(&engine->epoch, stripe);
    if (scan->iter && is_current) return NORI_OK;
    drop_iter(scan);
    if (!is_current) {
        nr_view_release(scan->view);
        scan->view = nr_view_acquire(engine);
    }
    return nr_view_iter_create(engine, scan->view, scan->moment, nr_buffer_slice(&scan->start), scan->end, &scan->read,
                               &scan->iter, err);
}

static bool is_in_bounds(const struct nori_scan *scan, nori_slice key)
{
    return nr_slice_compare(key, nr_buffer_slice(&scan->start)) >= 0 && nr_bound_above(scan->end, key);
}

static nori_status step(struct nori_scan *scan, struct nr_iter *iter, struct nori_error *err)
{
    return scan->is_reverse ? nr_iter_prev(iter, err) : nr_iter_next(iter, err);
}

static nori_status seek_front(struct nori_scan *scan, struct nr_iter *iter, struct nori_error *err)
{
    if (!scan->is_reverse) return nr_iter_seek(iter, nr_buffer_slice(&scan->start), UINT64_MAX, err);
    if (scan->end.infinite) return nr_iter_seek_last(iter, err);
    nori_status rc = nr_iter_seek_back(iter, scan->end.key, 0, err);
    if (rc == NORI_OK && iter->entry && !nr_bound_above(scan->end, iter->entry->key)) rc = nr_iter_prev(iter, err);
    return rc;
}

/* Takes 'iter' to the next entry to hand out. */
static nori_status find_place(struct nori_scan *scan, struct nr_iter *iter, struct nori_error *err)
{
    nori_slice key = nr_buffer_slice(&scan->place_key);
    if (scan->place == PLACE_FRONT) return seek_front(scan, iter, err);
    nori_status rc = scan->is_reverse ? nr_iter_seek_back(iter, key, 0, err) : nr_iter_seek(iter, key, UINT64_MAX, err);
    if (rc == NORI_OK && scan->place == PLACE_AFTER && iter->entry && nr_slice_equal(iter->entry->key, key))
        rc = step(scan, iter, err);
    return rc;
}

/* How many entries of the iterator's window are to be handed out, 'most' at most: those within bounds, the scan's way.
 */
static size_t count_at_hand(const struct nori_scan *scan, const struct nr_iter *iter, size_t most)
{
    size_t count = (size_t)(scan->is_reverse ? iter->entry - iter->first : iter->last - iter->entry) + 1;
    const struct nr_entry *end = scan->is_reverse ? iter->first : iter->last;
    if (NR_UNLIKELY(!is_in_bounds(scan, end->key))) count = is_in_bounds(scan, iter->entry->key) ? 1 : 0;
    return NR_MIN(count, most);
}

/* Takes scan->iter, over the current view, to the next entry to hand out. It counts as standing elsewhere until the
 * chunk is complete. */
static nori_status take_position(struct nori_scan *scan, struct nori_error *err)
{
    bool is_positioned = scan->is_positioned;
    scan->is_positioned = false;
    if (!is_positioned) return find_place(scan, scan->iter, err);
    return scan->is_step_due ? step(scan, scan->iter, err) : NORI_OK;
}

static nori_status reserve_entries(struct nori_scan *scan, size_t count, struct nori_error *err)
{
    if (count <= scan->entry_capacity) return NORI_OK;
    size_t capacity = NR_MAX(count, NR_MAX(scan->entry_capacity * 2, 16));
    struct nori_entry *grown = nr_realloc(scan->entries, capacity * sizeof *grown);
    if (!grown) return nr_fail_memory(err, capacity * sizeof *grown);
    scan->entries = grown;
    scan->entry_capacity = capacity;
    return NORI_OK;
}

/* Copies an entry into scan->bytes. Its slices hold sizes only, until the buffer has come to rest. */
static inline nori_status copy_entry(struct nori_scan *scan, const struct nr_entry *entry, struct nori_entry *copy,
                                     struct nori_error *err)
{
    struct nr_buffer *bytes = &scan->bytes;
    size_t size = entry->key.size + entry->value.size;
    if (NR_UNLIKELY(bytes->capacity - bytes->size < size)) {
        nori_status rc = nr_buffer_reserve(bytes, size, err);
        if (rc != NORI_OK) return rc;
    }
    uint8_t *to = bytes->data + bytes->size;
    if (entry->key.size) memcpy(to, entry->key.data, entry->key.size);
    if (entry->value.size) memcpy(to + entry->key.size, entry->value.data, entry->value.size);
    bytes->size += size;
    copy->key.size = entry->key.size;
    copy->value.size = entry->value.size;
    return NORI_OK;
}

/* Room for a chunk at once, were all entries like this one. */
static nori_status reserve_chunk(struct nori_scan *scan, const struct nr_entry *entry, size_t max_count,
                                 size_t max_bytes, struct nori_error *err)
{
    size_t count = NR_MIN(max_count, MOST_FORESEEN);
    nori_status rc = reserve_entries(scan, count, err);
    if (rc != NORI_OK) return rc;
    return nr_buffer_reserve(&scan->bytes, NR_MIN(count * (entry->key.size + entry->value.size), max_bytes), err);
}

/* Window by window. */
static nori_status fill(struct nori_scan *scan, size_t max_count, size_t max_bytes, size_t *count_out,
                        struct nori_error *err)
{
    struct nr_iter *iter = scan->iter;
    size_t count = 0, polled = 0;
    nori_status rc = NORI_OK;
    if (iter->entry) NR_CHECK(reserve_chunk(scan, iter->entry, max_count, max_bytes, err));
    while (iter->entry && count < max_count && (count == 0 || scan->bytes.size < max_bytes)) {
        size_t end = count + count_at_hand(scan, iter, max_count - count);
        if (NR_UNLIKELY(end == count)) break;
        NR_CHECK(reserve_entries(scan, end, err));
        for (;;) {
            NR_CHECK(copy_entry(scan, iter->entry, &scan->entries[count++], err));
            if (count == end || scan->bytes.size >= max_bytes) break;
            iter->entry += scan->is_reverse ? -1 : 1;
        }
        if (count == max_count) break;
        NR_CHECK(step(scan, iter, err));
        if (count - polled < ENTRIES_BETWEEN_POLLS) continue;
        NR_CHECK(nr_interrupt_poll(err));
        polled = count;
    }
    scan->is_step_due = count == max_count;
out:
    *count_out = count;
    return rc;
}

static void point_entries(struct nori_scan *scan, size_t count)
{
    const uint8_t *next = scan->bytes.data;
    for (size_t i = 0; i < count; i++) {
        scan->entries[i].key.data = next;
        next += scan->entries[i].key.size;
        scan->entries[i].value.data = next;
        next += scan->entries[i].value.size;
    }
}

static void note_place(struct nori_scan *scan, enum place place, size_t count)
{
    scan->is_positioned = true;
    scan->place = place;
    scan->left -= count;
    if (place != PLACE_END && scan->left > 0) return;
    scan->place = PLACE_END;
    release(scan); /* Nothing more to read: memtables and files are let go early. */
}

/* Inside a call. A failure leaves the place as it was: the next call tries again. */
static nori_status next_chunk(struct nori_scan *scan, size_t max_count, size_t max_bytes, size_t *count_out,
                              struct nori_error *err)
{
    size_t count = 0;
    nori_status rc = NORI_OK;
    scan->bytes.size = 0;
    if (max_count > scan->left) max_count = (size_t)scan->left;
    if (scan->place == PLACE_END || max_count == 0) goto out;
    NR_CHECK(refresh_view(scan, err));
    NR_CHECK(take_position(scan, err));
    NR_CHECK(fill(scan, max_count, max_bytes, &count, err));
    point_entries(scan, count);
    if (count > 0) NR_CHECK(nr_buffer_assign(&scan->place_key, scan->entries[count - 1].key, err));
    note_place(scan, count > 0 ? PLACE_AFTER : PLACE_END, count);
out:
    *count_out = rc == NORI_OK ? count : 0;
    return rc;
}

/* To whom entries are shown, and what came of it. */
struct showing {
    nori_entries_fn fn;
    void *arg;
    size_t count;    /* Taken. */
    bool is_refused; /* The iterator stands at the first that was not. */
    struct nori_entry entries[MOST_SHOWN];
};

/* Up to 'most' of the iterator's window; at the last that was taken it is left. */
static void show_window(struct nori_scan *scan, struct nr_iter *iter, size_t most, struct showing *showing)
{
    ptrdiff_t way = scan->is_reverse ? -1 : 1;
    for (size_t i = 0; i < most; i++) {
        const struct nr_entry *entry = iter->entry + (ptrdiff_t)i * way;
        showing->entries[i] = (struct nori_entry){entry->key, entry->value};
    }
    size_t taken = showing->fn(showing->arg, showing->entries, most);
    showing->count += taken;
    showing->is_refused = taken < most;
    iter->entry += (ptrdiff_t)(showing->is_refused ? taken : most - 1) * way;
}

/* '*place_out': where the iterator is then; at its end or out of bounds, PLACE_END. */
static nori_status show(struct nori_scan *scan, size_t max_count, struct showing *showing, enum place *place_out,
                        struct nori_error *err)
{
    struct nr_iter *iter = scan->iter;
    size_t polled = 0;
    nori_status rc = NORI_OK;
    *place_out = PLACE_END;
    while (iter->entry) {
        size_t count = count_at_hand(scan, iter, NR_MIN(max_count - showing->count, (size_t)MOST_SHOWN));
        if (count == 0) break;
        show_window(scan, iter, count, showing);
        *place_out = showing->is_refused ? PLACE_SEEK : PLACE_AFTER;
        if (showing->is_refused || showing->count == max_count) break;
        *place_out = PLACE_END;
        NR_CHECK(step(scan, iter, err));
        if (showing->count - polled < ENTRIES_BETWEEN_POLLS) continue;
        NR_CHECK(nr_interrupt_poll(err));
        polled = showing->count;
    }
    if (*place_out != PLACE_END) NR_CHECK(nr_buffer_assign(&scan->place_key, iter->entry->key, err));
    scan->is_step_due = *place_out == PLACE_AFTER;
out:
    return rc;
}

static nori_status show_next(struct nori_scan *scan, size_t max_count, struct showing *showing, struct nori_error *err)
{
    enum place place;
    nori_status rc = NORI_OK;
    if (max_count > scan->left) max_count = (size_t)scan->left;
    if (scan->place == PLACE_END || max_count == 0) goto out;
    NR_CHECK(refresh_view(scan, err));
    NR_CHECK(take_position(scan, err));
    NR_CHECK(show(scan, max_count, showing, &place, err));
    note_place(scan, place, showing->count);
out:
    return rc;
}

/* A call that reads entries, and what it counts. */
struct reading {
    unsigned stripe;
    uint64_t begun_ns; /* 0: not timed. */
};

static nori_status begin_reading(struct nori_scan *scan, struct reading *reading, struct nori_error *err)
{
    nori_status rc = nr_call_enter(scan->engine, &reading->stripe, err);
    if (rc != NORI_OK) return rc;
    struct nr_histogram *latency = &scan->engine->latency[NORI_LATENCY_SCAN];
    uint64_t nth = atomic_fetch_add_explicit(&latency->count, 1, memory_order_relaxed);
    reading->begun_ns = nr_is_timed(nth) ? nr_clock_ns() : 0;
    return NORI_OK;
}

static nori_status end_reading(struct nori_scan *scan, const struct reading *reading, nori_status rc,
                               struct nori_error *err)
{
    struct nori_engine *engine = scan->engine;
    rc = nr_judge_read(engine, rc, err);
    if (reading->begun_ns) nr_histogram_record(&engine->latency[NORI_LATENCY_SCAN], nr_clock_ns() - reading->begun_ns);
    if (scan->read.blocks_read + scan->read.tables_opened > 0) nr_read_sweep(engine);
    nr_read_account(engine, reading->stripe, &scan->read);
    nr_scan_account(engine, &scan->read);
    nr_call_leave(engine);
    return rc;
}

nori_status nori_scan_next(struct nori_scan *scan, size_t max_count, size_t max_bytes,
                           const struct nori_entry **entries_out, size_t *count_out, struct nori_error *err)
{
    struct reading reading;
    *count_out = 0;
    nori_status rc = begin_reading(scan, &reading, err);
    if (rc != NORI_OK) return rc;
    rc = next_chunk(scan, max_count, max_bytes, count_out, err);
    *entries_out = scan->entries;
    return end_reading(scan, &reading, rc, err);
}

nori_status nori_scan_show(struct nori_scan *scan, size_t max_count, nori_entries_fn fn, void *arg, size_t *count_out,
                           struct nori_error *err)
{
    struct reading reading;
    struct showing showing = {.fn = fn, .arg = arg};
    *count_out = 0;
    nori_status rc = begin_reading(scan, &reading, err);
    if (rc != NORI_OK) return rc;
    rc = show_next(scan, max_count, &showing, err);
    if (rc == NORI_OK) *count_out = showing.count;
    return end_reading(scan, &reading, rc, err);
}

nori_status nori_scan_seek(struct nori_scan *scan, nori_slice key, struct nori_error *err)
{
    unsigned stripe;
    nori_status rc = nr_call_enter(scan->engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    bool is_empty = !nr_bound_above(scan->end, nr_buffer_slice(&scan->start)) || scan->left == 0;
    rc = nr_buffer_assign(&scan->place_key, key, err);
    if (rc == NORI_OK) {
        bool before = scan->is_reverse ? !nr_bound_above(scan->end, key)
                                       : nr_slice_compare(key, nr_buffer_slice(&scan->start)) < 0;
        scan->place = is_empty ? PLACE_END : before ? PLACE_FRONT : PLACE_SEEK;
        scan->is_positioned = false;
    }
    nr_call_leave(scan->engine);
    return rc;
}

nori_status nori_scan_count(struct nori_scan *scan, uint64_t *count_out, struct nori_error *err)
{
    unsigned stripe;
    uint64_t count = 0, polled = 0;
    *count_out = 0;
    nori_status rc = nr_call_enter(scan->engine, &stripe, err);
    if (rc != NORI_OK) return rc;
    if (scan->place == PLACE_END) goto out;
    NR_CHECK(refresh_view(scan, err));
    scan->is_positioned = false; /* The cursor's place stays; its iterator goes through what is left. */
    NR_CHECK(find_place(scan, scan->iter, err));
    while (scan->iter->entry && count < scan->left) {
        size_t at_hand = count_at_hand(scan, scan->iter, (size_t)NR_MIN(scan->left - count, (uint64_t)SIZE_MAX));
        if (at_hand == 0) break;
        count += at_hand;
        scan->iter->entry += (ptrdiff_t)(at_hand - 1) * (scan->is_reverse ? -1 : 1);
        NR_CHECK(step(scan, scan->iter, err));
        if (count - polled < ENTRIES_BETWEEN_POLLS) continue;
        NR_CHECK(nr_interrupt_poll(err));
        polled = count;
    }
    *count_out = count;
out:
    rc = nr_judge_read(scan->engine, rc, err);
    nr_read_account(scan->engine, stripe, &scan->read);
    nr_call_leave(scan->engine);
    return rc;
}

/* What a scan holds of the engine, taken out of it so that only one thread gives it back. */
struct holdings {
    struct nr_iter *iter;
    struct nr_view *view;
};

/* Under pin_lock. */
static struct holdings take_holdings(struct nori_scan *scan)
{
    struct holdings holdings = {scan->iter, scan->view};
    scan->iter = NULL;
    scan->view = NULL;
    scan->is_positioned = false;
    return holdings;
}

static void give_back(struct holdings holdings)
{
    nr_iter_destroy(holdings.iter);
    nr_view_release(holdings.view);
}

void nr_scans_release(struct nori_engine *engine)
{
    nr_mutex_lock(&engine->pin_lock);
    while (engine->scans) {
        struct nori_scan *scan = engine->scans;
        struct holdings holdings = take_holdings(scan);
        unlink_locked(scan);
        scan->is_held = true; /* Its iterator still counts into scan->read. */
        nr_mutex_unlock(&engine->pin_lock);
        give_back(holdings);
        nr_scan_account(engine, &scan->read);
        nr_mutex_lock(&engine->pin_lock);
        scan->is_held = false;
    }
    nr_mutex_unlock(&engine->pin_lock);
}

void nori_scan_destroy(struct nori_scan *scan)
{
    if (!scan) return;
    struct nori_engine *engine = scan->engine;
    if (engine->fork_generation != nr_fork_generation()) return; /* The parent's; its locks may be taken. */
    /* Inside whatever the engine's state is: close() waits until nothing of its own is held here. */
    unsigned stripe = nr_call_hold(engine);
    if (scan->is_pinned) {
        nr_mutex_lock(&engine->pin_lock);
        while (scan->is_held) {
            nr_mutex_unlock(&engine->pin_lock);
            nr_env_sleep_us(engine->env, 50);
            nr_mutex_lock(&engine->pin_lock);
        }
        struct holdings holdings = take_holdings(scan);
        unlink_locked(scan);
        nr_mutex_unlock(&engine->pin_lock);
        give_back(holdings);
        nr_pin_remove(engine, &scan->pin);
    }
    nr_scan_account(engine, &scan->read);
    nr_read_clear(&scan->read);
    nr_call_release(engine, stripe);
    nr_buffer_clear(&scan->start);
    nr_buffer_clear(&scan->end_key);
    nr_buffer_clear(&scan->place_key);
    nr_buffer_clear(&scan->bytes);
    nr_free(scan->entries);
    nr_free(scan);
}

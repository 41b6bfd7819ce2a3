/* Most entries are the only one of their key, and puts the reader may see: as many of them as follow one another in the
 * source's window are shown as they lie there. The source stands on one of those that are shown.
 *
 * Where there is more to a key: going forward, the key left last is kept in a buffer, so that its older entries are
 * known when they come. Going back, the entries of a key come oldest first: key and value of the best so far are kept
 * in buffers, and the source stands on the next key's side of the entry that is shown. */
#include "iter/visible.h"

#include "base/alloc.h"
#include "base/buffer.h"
#include "base/coding.h"
#include "base/lock.h"

/* After so many entries of one key a seek is cheaper than more steps. */
#define STEPS_BEFORE_SEEK 16
/* A power of two. */
#define SKIPS_BETWEEN_POLLS 1024

struct visible_iter {
    struct nr_iter base;
    struct nr_iter *source;           /* Owned. */
    struct nr_tombstones *tombstones; /* Counted; NULL: none. */
    size_t hint;                      /* Fragment near the current key. */
    uint64_t sequence;
    uint64_t now_ms;
    uint64_t skip_count;    /* Entries passed over since the iterator was made. */
    bool is_backward;       /* How it came to what is shown. */
    bool is_gathered;       /* What is shown was put together from the key's entries; the source is past them. */
    struct nr_entry shown;  /* Where what is shown does not lie in the source's window like that. */
    struct nr_buffer key;   /* Forward: the key left last. Gathered: the key shown. */
    struct nr_buffer value; /* Gathered: the stored value of the entry shown. */
};

bool nr_entry_expiry(unsigned type, nori_slice *value, uint64_t *expires_at_ms_out)
{
    *expires_at_ms_out = 0;
    if (type != NR_TYPE_PUT_EXPIRING) return true;
    if (value->size < NR_EXPIRY_BYTES) return false;
    *expires_at_ms_out = nr_get_fixed64(value->data);
    *value = nr_slice(value->data + NR_EXPIRY_BYTES, value->size - NR_EXPIRY_BYTES);
    return true;
}

/* Neighbouring keys are mostly of one size and differ at the end. */
static inline bool is_same_key(nori_slice a, nori_slice b)
{
    if (a.size != b.size) return false;
    if (a.size < 8) return a.size == 0 || memcmp(a.data, b.data, a.size) == 0;
    uint64_t a_end, b_end;
    memcpy(&a_end, a.data + a.size - 8, 8);
    memcpy(&b_end, b.data + b.size - 8, 8);
    return a_end == b_end && memcmp(a.data, b.data, a.size - 8) == 0;
}

static inline nori_status keep(struct nr_buffer *buffer, nori_slice bytes, struct nori_error *err)
{
    if (NR_LIKELY(bytes.size > 0 && bytes.size <= buffer->capacity)) {
        memcpy(buffer->data, bytes.data, bytes.size);
        buffer->size = bytes.size;
        return NORI_OK;
    }
    return nr_buffer_assign(buffer, bytes, err);
}

static inline nori_status count_skip(struct visible_iter *visible, struct nori_error *err)
{
    if (NR_LIKELY(++visible->skip_count % SKIPS_BETWEEN_POLLS != 0)) return NORI_OK;
    return nr_interrupt_poll(err);
}

/* Whether the newest entry of a key is a value to show; '*value' loses its expiry. */
static inline nori_status judge(struct visible_iter *visible, nori_slice key, uint64_t tag, nori_slice *value,
                                bool *is_shown_out, struct nori_error *err)
{
    unsigned type = nr_tag_type(tag);
    *is_shown_out = false;
    if (type != NR_TYPE_PUT) {
        uint64_t expires_at_ms = 0;
        if (type == NR_TYPE_DELETE) return NORI_OK;
        if (type != NR_TYPE_PUT_EXPIRING) {
            return nr_fail_corrupt(err, "", -1, "entry", "an entry has the unknown type %u", type);
        }
        if (!nr_entry_expiry(type, value, &expires_at_ms)) {
            return nr_fail_corrupt(err, "", -1, "entry", "a value of %zu bytes is too short for its expiry",
                                   value->size);
        }
        if (expires_at_ms != 0 && expires_at_ms <= visible->now_ms) return NORI_OK;
    }
    *is_shown_out = !visible->tombstones || nr_tombstones_covering_near(visible->tombstones, key, visible->sequence,
                                                                        &visible->hint) <= nr_tag_sequence(tag);
    return NORI_OK;
}

/* Shown whatever comes before and behind it, if that is of other keys. */
static inline bool is_plain(const struct visible_iter *visible, const struct nr_entry *entry)
{
    return nr_tag_type(entry->tag) == NR_TYPE_PUT && nr_tag_sequence(entry->tag) <= visible->sequence;
}

/* Shows the source's entry, and those behind it in its window that are plain. */
static inline void show_forward(struct visible_iter *visible, nori_slice value)
{
    const struct nr_iter *source = visible->source;
    const struct nr_entry *first = source->entry, *last = first;
    visible->is_backward = visible->is_gathered = false;
    if (NR_UNLIKELY(value.data != first->value.data)) {
        visible->shown = (struct nr_entry){first->key, first->tag, value};
        nr_iter_show_one(&visible->base, &visible->shown);
        return;
    }
    if (!visible->tombstones) {
        while (last != source->last && is_plain(visible, last + 1) && !is_same_key(last->key, last[1].key)) last++;
    }
    nr_iter_show_window(&visible->base, first, first, last);
}

/* The same going back. The window's first entry is left out: newer ones of its key may lie before it. */
static inline bool show_backward(struct visible_iter *visible)
{
    struct nr_iter *source = visible->source;
    const struct nr_entry *last = source->entry, *first = last + 1;
    if (visible->tombstones) return false;
    while (first - 1 != source->first && is_plain(visible, first - 1) && !is_same_key(first[-1].key, first[-2].key))
        first--;
    if (first > last) return false;
    visible->is_backward = true;
    visible->is_gathered = false;
    nr_iter_show_window(&visible->base, first, last, last);
    return true;
}

/* Puts the source on the entry that is shown, which is not a gathered one. */
static inline void come_along(struct visible_iter *visible)
{
    if (visible->base.entry != &visible->shown) visible->source->entry = visible->base.entry;
}

/* Steps over the source's entry; after many of one key jumps to where the next one that matters can be: behind them, or
 * at the newest entry the reader may see. */
static inline nori_status skip_forward(struct visible_iter *visible, unsigned *step_count, bool is_too_new,
                                       struct nori_error *err)
{
    struct nr_iter *source = visible->source;
    nori_status rc = NORI_OK;
    NR_CHECK(count_skip(visible, err));
    if (NR_LIKELY(++*step_count < STEPS_BEFORE_SEEK)) {
        NR_CHECK(nr_iter_next(source, err));
    } else {
        *step_count = 0;
        NR_CHECK(keep(&visible->key, source->entry->key, err));
        NR_CHECK(
            nr_iter_seek(source, nr_buffer_slice(&visible->key), is_too_new ? nr_tag_seek(visible->sequence) : 0, err));
    }
out:
    return rc;
}

/* From the source's entry to the first that is to be shown. 'is_behind': older entries of the key in the buffer may
 * come first, and count for nothing. */
static nori_status settle_forward(struct visible_iter *visible, bool is_behind, struct nori_error *err)
{
    struct nr_iter *source = visible->source;
    const struct nr_entry *entry;
    nori_status rc = NORI_OK;
    unsigned old_count = 0, new_count = 0;
    visible->base.entry = NULL;
    while ((entry = source->entry)) {
        bool is_shown = false;
        if (is_behind && is_same_key(entry->key, nr_buffer_slice(&visible->key))) {
            /* An entry that has the least tag there is would be found by the jump again. */
            if (entry->tag == 0) old_count = 0;
            NR_CHECK(skip_forward(visible, &old_count, false, err));
            continue;
        }
        old_count = 0;
        if (NR_UNLIKELY(nr_tag_sequence(entry->tag) > visible->sequence)) {
            if (new_count == 0 || !is_same_key(entry->key, nr_buffer_slice(&visible->key))) {
                new_count = 0;
                is_behind = false;
                NR_CHECK(keep(&visible->key, entry->key, err));
            }
            NR_CHECK(skip_forward(visible, &new_count, true, err));
            continue;
        }
        new_count = 0;
        nori_slice value = entry->value;
        NR_CHECK(judge(visible, entry->key, entry->tag, &value, &is_shown, err));
        if (NR_LIKELY(is_shown)) {
            show_forward(visible, value);
            break;
        }
        NR_CHECK(keep(&visible->key, entry->key, err));
        is_behind = true;
        NR_CHECK(count_skip(visible, err));
        NR_CHECK(nr_iter_next(source, err));
    }
out:
    return rc;
}

/* With the source on the oldest entry of a key: the key, and the newest entry that the reader may see, go into the
 * buffers, and the source to the key before. '*tag_out' is of type delete where there is nothing to show. */
static nori_status gather_key(struct visible_iter *visible, uint64_t *tag_out, struct nori_error *err)
{
    struct nr_iter *source = visible->source;
    nori_status rc = NORI_OK;
    unsigned step_count = 0;
    *tag_out = nr_tag(0, NR_TYPE_DELETE);
    NR_CHECK(keep(&visible->key, source->entry->key, err));
    do {
        if (NR_UNLIKELY(++step_count > STEPS_BEFORE_SEEK)) {
            nori_slice key = nr_buffer_slice(&visible->key);
            NR_CHECK(nr_iter_seek(source, key, nr_tag_seek(visible->sequence), err));
            if (source->entry && is_same_key(source->entry->key, key)) {
                *tag_out = source->entry->tag;
                NR_CHECK(keep(&visible->value, source->entry->value, err));
            }
            NR_CHECK(nr_iter_seek_back(source, key, UINT64_MAX, err));
            break;
        }
        if (nr_tag_sequence(source->entry->tag) <= visible->sequence) {
            *tag_out = source->entry->tag;
            if (nr_tag_type(source->entry->tag) != NR_TYPE_DELETE)
                NR_CHECK(keep(&visible->value, source->entry->value, err));
        }
        if (step_count > 1) NR_CHECK(count_skip(visible, err));
        NR_CHECK(nr_iter_prev(source, err));
    } while (source->entry && is_same_key(source->entry->key, nr_buffer_slice(&visible->key)));
out:
    return rc;
}

static nori_status settle_backward(struct visible_iter *visible, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    visible->base.entry = NULL;
    while (visible->source->entry) {
        uint64_t tag;
        bool is_shown;
        if (NR_LIKELY(show_backward(visible))) break;
        NR_CHECK(gather_key(visible, &tag, err));
        nori_slice value = nr_buffer_slice(&visible->value);
        NR_CHECK(judge(visible, nr_buffer_slice(&visible->key), tag, &value, &is_shown, err));
        if (is_shown) {
            visible->shown = (struct nr_entry){nr_buffer_slice(&visible->key), tag, value};
            visible->is_backward = visible->is_gathered = true;
            nr_iter_show_one(&visible->base, &visible->shown);
            break;
        }
        NR_CHECK(count_skip(visible, err));
    }
out:
    return rc;
}

static nori_status visible_seek(struct nr_iter *base, nori_slice key, uint64_t tag NR_UNUSED, struct nori_error *err)
{
    struct visible_iter *visible = (struct visible_iter *)base;
    nori_status rc = NORI_OK;
    base->entry = NULL;
    NR_CHECK(nr_iter_seek(visible->source, key, nr_tag_seek(visible->sequence), err));
    NR_CHECK(settle_forward(visible, false, err));
out:
    return rc;
}

static nori_status visible_seek_back(struct nr_iter *base, nori_slice key, uint64_t tag NR_UNUSED,
                                     struct nori_error *err)
{
    struct visible_iter *visible = (struct visible_iter *)base;
    nori_status rc = NORI_OK;
    base->entry = NULL;
    NR_CHECK(nr_iter_seek_back(visible->source, key, 0, err));
    NR_CHECK(settle_backward(visible, err));
out:
    return rc;
}

static nori_status visible_seek_first(struct nr_iter *base, struct nori_error *err)
{
    struct visible_iter *visible = (struct visible_iter *)base;
    nori_status rc = NORI_OK;
    base->entry = NULL;
    NR_CHECK(nr_iter_seek_first(visible->source, err));
    NR_CHECK(settle_forward(visible, false, err));
out:
    return rc;
}

static nori_status visible_seek_last(struct nr_iter *base, struct nori_error *err)
{
    struct visible_iter *visible = (struct visible_iter *)base;
    nori_status rc = NORI_OK;
    base->entry = NULL;
    NR_CHECK(nr_iter_seek_last(visible->source, err));
    NR_CHECK(settle_backward(visible, err));
out:
    return rc;
}

static nori_status visible_next(struct nr_iter *base, struct nori_error *err)
{
    struct visible_iter *visible = (struct visible_iter *)base;
    nori_status rc = NORI_OK;
    NR_ASSERT(base->entry);
    if (NR_UNLIKELY(visible->is_gathered)) {
        NR_CHECK(nr_iter_seek(visible->source, nr_buffer_slice(&visible->key), 0, err));
    } else {
        come_along(visible);
        NR_CHECK(keep(&visible->key, visible->source->entry->key, err));
        NR_CHECK(nr_iter_next(visible->source, err));
    }
    NR_CHECK(settle_forward(visible, true, err));
out:
    if (rc != NORI_OK) base->entry = NULL;
    return rc;
}

static nori_status visible_prev(struct nr_iter *base, struct nori_error *err)
{
    struct visible_iter *visible = (struct visible_iter *)base;
    nori_status rc = NORI_OK;
    NR_ASSERT(base->entry);
    if (!visible->is_gathered) {
        come_along(visible);
        if (NR_LIKELY(visible->is_backward)) {
            NR_CHECK(nr_iter_prev(visible->source, err));
        } else {
            NR_CHECK(keep(&visible->key, visible->source->entry->key, err));
            NR_CHECK(nr_iter_seek_back(visible->source, nr_buffer_slice(&visible->key), UINT64_MAX, err));
        }
    }
    NR_CHECK(settle_backward(visible, err));
out:
    if (rc != NORI_OK) base->entry = NULL;
    return rc;
}

static void visible_destroy(struct nr_iter *base)
{
    struct visible_iter *visible = (struct visible_iter *)base;
    nr_iter_destroy(visible->source);
    nr_tombstones_unref(visible->tombstones);
    nr_buffer_clear(&visible->key);
    nr_buffer_clear(&visible->value);
    nr_free(visible);
}

static const struct nr_iter_ops visible_ops = {
    .seek = visible_seek,
    .seek_back = visible_seek_back,
    .seek_first = visible_seek_first,
    .seek_last = visible_seek_last,
    .next = visible_next,
    .prev = visible_prev,
    .destroy = visible_destroy,
};

nori_status nr_visible_iter_create(struct nr_iter *source, struct nr_tombstones *tombstones, uint64_t sequence,
                                   uint64_t now_ms, struct nr_iter **iter_out, struct nori_error *err)
{
    struct visible_iter *visible = nr_calloc(1, sizeof(*visible));
    *iter_out = NULL;
    if (!visible) {
        nr_iter_destroy(source);
        return nr_fail_memory(err, sizeof(*visible));
    }
    visible->base.ops = &visible_ops;
    visible->source = source;
    visible->tombstones = nr_tombstones_ref(tombstones);
    visible->sequence = sequence;
    visible->now_ms = now_ms;
    nr_buffer_init(&visible->key);
    nr_buffer_init(&visible->value);
    *iter_out = &visible->base;
    return NORI_OK;
}

#include "table/block.h"

#define LONG_INTERVAL_BYTES (NR_RESTART_BYTES + 256)
#define FETCHED_BYTES 1280

void nr_block_writer_init(struct nr_block_writer *writer)
{
    nr_buffer_init(&writer->bytes);
    nr_buffer_init(&writer->restarts);
    writer->entry_count = 0;
    writer->since_restart = 0;
    writer->restart_at = 0;
}

void nr_block_writer_clear(struct nr_block_writer *writer)
{
    nr_buffer_clear(&writer->bytes);
    nr_buffer_clear(&writer->restarts);
    writer->entry_count = 0;
}

nori_status nr_block_writer_add(struct nr_block_writer *writer, size_t shared, nori_slice key, uint64_t tag,
                                nori_slice value, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_buffer *bytes = &writer->bytes;
    uint8_t *out;

    NR_CHECK(nr_buffer_reserve(bytes, 3 * NR_VARINT_MAX_BYTES + key.size + NR_TAG_BYTES + value.size, err));
    if (writer->entry_count == 0 || writer->since_restart == NR_RESTART_INTERVAL ||
        bytes->size - writer->restart_at >= NR_RESTART_BYTES) {
        shared = 0;
        writer->since_restart = 0;
        writer->restart_at = bytes->size;
        NR_CHECK(nr_buffer_append_fixed32(&writer->restarts, (uint32_t)bytes->size, err));
    }
    out = bytes->data + bytes->size;
    out = nr_put_varint(out, shared);
    out = nr_put_varint(out, key.size - shared);
    out = nr_put_varint(out, value.size);
    if (key.size > shared) memcpy(out, key.data + shared, key.size - shared);
    out += key.size - shared;
    nr_put_fixed64(out, tag);
    out += NR_TAG_BYTES;
    if (value.size > 0) memcpy(out, value.data, value.size);
    bytes->size = (size_t)(out - bytes->data) + value.size;
    writer->entry_count++;
    writer->since_restart++;
out:
    return rc;
}

size_t nr_block_writer_bytes(const struct nr_block_writer *writer)
{
    return writer->bytes.size + writer->restarts.size + 4;
}

nori_status nr_block_writer_finish(struct nr_block_writer *writer, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    uint32_t restart_count = (uint32_t)(writer->restarts.size / 4);
    NR_CHECK(nr_buffer_reserve(&writer->bytes, writer->restarts.size + 4 + NR_TRAILER_BYTES, err));
    NR_CHECK(nr_buffer_append(&writer->bytes, nr_buffer_slice(&writer->restarts), err));
    NR_CHECK(nr_buffer_append_fixed32(&writer->bytes, restart_count, err));
out:
    return rc;
}

void nr_block_writer_reset(struct nr_block_writer *writer)
{
    /* One large value must not pin its memory until the table is done. */
    if (writer->bytes.capacity > (8u << 20)) nr_buffer_clear(&writer->bytes);
    writer->bytes.size = 0;
    writer->restarts.size = 0;
    writer->entry_count = 0;
}

bool nr_block_view_init(struct nr_block_view *view, const uint8_t *data, size_t size)
{
    uint32_t restart_count;
    if (size < NR_MIN_BLOCK_BYTES) return false;
    restart_count = nr_get_fixed32(data + size - 4);
    if (restart_count == 0 || restart_count > (size - 4) / 4) return false;
    view->data = data;
    view->limit = data + (size - 4 - 4 * (size_t)restart_count);
    view->restarts = view->limit;
    view->restart_count = restart_count;
    view->skipped = 0;
    view->prefixes = NULL;
    view->keys_differ = false;
    return true;
}

bool nr_block_summary_make(const struct nr_block_view *view, uint32_t skipped, void *out)
{
    struct nr_block_summary *summary = out;
    summary->restart_count = view->restart_count;
    summary->skipped = skipped;
    for (uint32_t i = 0; i < view->restart_count; i++) {
        const uint8_t *at = nr_block_restart(view, i);
        struct nr_block_entry entry;
        size_t size;
        if (!at || !nr_block_entry_decode(at, view->limit, &entry) || entry.shared != 0) return false;
        size = entry.unshared;
        summary->prefixes[i] = size > skipped ? nr_slice_prefix(nr_slice(entry.suffix + skipped, size - skipped)) : 0;
    }
    memcpy(summary->prefixes + view->restart_count, view->restarts, 4 * (size_t)view->restart_count);
    return true;
}

bool nr_block_view_summarized(struct nr_block_view *view, const uint8_t *data, size_t size)
{
    const struct nr_block_summary *summary = (const void *)data;
    size_t summary_bytes = nr_block_summary_bytes(summary->restart_count);

    data += summary_bytes;
    size -= summary_bytes;
    if (summary->restart_count == 0) return nr_block_view_init(view, data, size);
    /* It was looked at when the summary was made. */
    view->data = data;
    view->limit = data + (size - 4 - 4 * (size_t)summary->restart_count);
    view->restarts = (const uint8_t *)(summary->prefixes + summary->restart_count);
    view->restart_count = summary->restart_count;
    view->skipped = summary->skipped;
    view->prefixes = summary->prefixes;
    view->keys_differ = false;
    return true;
}

bool nr_block_stamp(uint8_t *data, size_t size, uint64_t sequence)
{
    struct nr_block_view view;
    struct nr_block_entry entry;
    if (!nr_block_view_init(&view, data, size)) return false;
    for (const uint8_t *at = view.data; at < view.limit;) {
        at = nr_block_entry_decode(at, view.limit, &entry);
        if (!at || !nr_block_entry_is_known(entry.tag, entry.value_size)) return false;
        uint8_t *tag = data + (entry.suffix + entry.unshared - view.data);
        nr_put_fixed64(tag, nr_tag(sequence, (enum nr_entry_type)nr_tag_type(entry.tag)));
    }
    return true;
}

bool nr_block_entry_decode_slow(const uint8_t *at, const uint8_t *limit, struct nr_block_entry *entry_out)
{
    uint64_t shared, unshared, value_size;
    at = nr_get_varint(at, limit, &shared);
    if (at) at = nr_get_varint(at, limit, &unshared);
    if (at) at = nr_get_varint(at, limit, &value_size);
    if (!at || shared > NORI_MAX_KEY_BYTES || unshared > NORI_MAX_KEY_BYTES - shared || value_size > SIZE_MAX / 2)
        return false;
    entry_out->shared = (size_t)shared;
    entry_out->unshared = (size_t)unshared;
    entry_out->value_size = (size_t)value_size;
    entry_out->suffix = at;
    return true;
}

/* Restarts below '*low' have smaller keys than the one sought, as their first bytes tell, those from '*high' on have
 * greater ones. False: nothing is known of first bytes. */
static inline bool narrow(const struct nr_block_view *view, nori_slice key, uint32_t *low, uint32_t *high)
{
    uint32_t count = view->restart_count, below = 0;
    *low = 0;
    *high = count;
    if (!view->prefixes || key.size < view->skipped) return false;
    uint64_t prefix = nr_slice_prefix(nr_slice_behind(key, view->skipped));
    while (count > 0) {
        uint32_t half = (count + 1) / 2;
        below = view->prefixes[below + half - 1] < prefix ? below + half : below;
        count -= half;
    }
    *low = below;
    for (*high = below; *high < view->restart_count && view->prefixes[*high] == prefix;) ++*high;
    return true;
}

/* As nr_block_find_restart, where the answer lies from low - 1 up to high - 1. */
static inline bool find_between(const struct nr_block_view *view, nori_slice key, uint64_t tag, bool or_at,
                                uint32_t low, uint32_t high, uint32_t *restart_out, bool *found_out)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const uint8_t *at = nr_block_restart(view, middle);
        struct nr_block_entry entry;
        int order;
        if (!at || !nr_block_entry_decode(at, view->limit, &entry) || entry.shared != 0) return false;
        order = nr_entry_compare(nr_slice(entry.suffix, entry.unshared), entry.tag, key, tag);
        if (order < 0 || (order == 0 && or_at)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *found_out = low > 0;
    *restart_out = low > 0 ? low - 1 : 0;
    return true;
}

bool nr_block_find_restart(const struct nr_block_view *view, nori_slice key, uint64_t tag, bool or_at,
                           uint32_t *restart_out, bool *found_out)
{
    uint32_t low, high;
    (void)narrow(view, key, &low, &high);
    return find_between(view, key, tag, or_at, low, high, restart_out, found_out);
}

/* Goes through the entries from a restart on without putting their keys together: 'matched' is how many bytes the key
 * sought shares with the entry last seen, which is smaller. The next entry's shared count alone often tells how it
 * compares: above 'matched' it has the same smaller byte there; below, it has risen above the key. */
enum nr_block_verdict nr_block_search_from(const struct nr_block_view *view, const uint8_t *at, nori_slice key,
                                           uint64_t tag, struct nr_block_place *place)
{
    struct nr_block_entry *entry = &place->entry;
    size_t matched = 0;

    place->key_was_seen = false;
    if (*at != 0) return NR_BLOCK_DAMAGED; /* A restart shares nothing. */
    for (; at != view->limit; at = place->next) {
        place->at = at;
        place->next = nr_block_entry_decode(at, view->limit, entry);
        if (NR_UNLIKELY(!place->next)) return NR_BLOCK_DAMAGED;
        if (entry->shared > matched) continue;
        if (entry->shared < matched) {
            /* A restart shares nothing, whatever its key. */
            if (entry->shared != 0) return NR_BLOCK_GREATER;
            matched = 0;
        }
        nori_slice rest = nr_slice_behind(key, matched);
        size_t limit = NR_MIN(rest.size, entry->unshared);
        size_t same = nr_common_prefix(entry->suffix, rest.data, limit);
        if (same < limit) {
            if (entry->suffix[same] > rest.data[same]) return NR_BLOCK_GREATER;
        } else if (entry->unshared > rest.size) {
            return NR_BLOCK_GREATER;
        } else if (entry->unshared == rest.size) {
            place->key_was_seen = true;
            if (entry->tag <= tag) return NR_BLOCK_SAME_KEY;
        }
        matched += same;
    }
    return NR_BLOCK_END;
}

/* Whether the interval is longer than entries of a usual size make it: it ends with a large one. */
static inline bool is_long(const struct nr_block_view *view, const uint8_t *at, uint32_t restart)
{
    const uint8_t *end = restart + 1 < view->restart_count ? nr_block_restart(view, restart + 1) : view->limit;
    return end > at && (size_t)(end - at) >= LONG_INTERVAL_BYTES;
}

const uint8_t *nr_block_seek(const struct nr_block_view *view, nori_slice key, uint64_t tag, uint32_t *restart_out)
{
    bool found;
    uint32_t low, high;
    bool is_by_prefix = narrow(view, key, &low, &high);
    if (is_by_prefix && view->keys_differ && high == low + 1)
        *restart_out = low;
    else if (!find_between(view, key, tag, false, low, high, restart_out, &found))
        return NULL;
    const uint8_t *at = nr_block_restart(view, *restart_out);
    if (!at) return NULL;
    /* Here and not in a function that does nothing else: a compiler may take that for one without effect. */
    for (size_t i = 0; i < NR_RESTART_BYTES; i += 64) __builtin_prefetch(at + i);
    if (is_long(view, at, *restart_out))
        for (size_t i = NR_RESTART_BYTES; i < FETCHED_BYTES; i += 64) __builtin_prefetch(at + i);
    return at;
}

enum nr_block_verdict nr_block_search(const struct nr_block_view *view, nori_slice key, uint64_t tag,
                                      struct nr_block_place *place_out)
{
    const uint8_t *at = nr_block_seek(view, key, tag, &place_out->restart);
    place_out->key_was_seen = false;
    if (!at) return NR_BLOCK_DAMAGED;
    enum nr_block_verdict verdict = nr_block_search_from(view, at, key, tag, place_out);
    /* Where the search ran on into the next interval, its first entry is the one. */
    if (verdict != NR_BLOCK_DAMAGED && verdict != NR_BLOCK_END && place_out->restart + 1 < view->restart_count &&
        place_out->at >= nr_block_restart(view, place_out->restart + 1))
        place_out->restart++;
    return verdict;
}

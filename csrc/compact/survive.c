/* What a moment sees of a key is the newest version at or below its sequence, unless a range tombstone between the two
 * covers it. So a version is of use only if the first moment that could see it does: what hides it there hides it at
 * every later one. A dropped version changes nothing for older ones, because what hid it hides them as well.
 *
 * A tombstone is dropped only if every moment lies at or above it: then all older versions in the inputs go, and it
 * hides nothing but what may be below. */
#include "compact/survive.h"

#include "base/alloc.h"
#include "base/coding.h"

void nr_survive_init(struct nr_survive *survive, const struct nr_moment *moments, size_t moment_count,
                     const struct nr_tombstones *tombstones, bool (*may_be_below)(void *arg, nori_slice key), void *arg)
{
    NR_ASSERT(moment_count > 0);
    *survive = (struct nr_survive){
        .moments = moments,
        .moment_count = moment_count,
        .tombstones = tombstones,
        .may_be_below = may_be_below,
        .arg = arg,
        .newer_sequence = NR_MAX_SEQUENCE + 1,
    };
    nr_buffer_init(&survive->key);
}

void nr_survive_clear(struct nr_survive *survive)
{
    nr_buffer_clear(&survive->key);
    survive->has_key = false;
}

/* The index of the first moment at or above the sequence; 'count' if there is none. */
static inline size_t first_moment(const struct nr_moment *moments, size_t count, uint64_t sequence)
{
    if (NR_LIKELY(sequence <= moments[0].sequence)) return 0;
    size_t low = 1, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (moments[middle].sequence < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static inline nori_status keep_key(struct nr_buffer *buffer, nori_slice key, struct nori_error *err)
{
    if (NR_LIKELY(key.size > 0 && key.size <= buffer->capacity)) {
        memcpy(buffer->data, key.data, key.size);
        buffer->size = key.size;
        return NORI_OK;
    }
    return nr_buffer_assign(buffer, key, err);
}

static bool is_below(struct nr_survive *survive, nori_slice key)
{
    if (!survive->is_below_known) {
        survive->is_below = survive->may_be_below(survive->arg, key);
        survive->is_below_known = true;
    }
    return survive->is_below;
}

/* Whether the put has expired for all that see it: moments below 'newer', and, if there is none newer, later readers,
 * whose clocks are not behind that of the present. */
static bool is_expired(const struct nr_survive *survive, size_t first, uint64_t newer, uint64_t expires_at_ms)
{
    for (size_t i = first; i < survive->moment_count && survive->moments[i].sequence < newer; i++) {
        if (survive->moments[i].now_ms < expires_at_ms) return false;
    }
    return true;
}

/* Whether the version, which some moment sees, hides older ones and shows nothing. */
static bool is_tombstone(const struct nr_survive *survive, uint64_t tag, nori_slice value, size_t first, uint64_t newer)
{
    unsigned type = nr_tag_type(tag);
    if (type == NR_TYPE_DELETE) return true;
    if (type != NR_TYPE_PUT_EXPIRING) return false;
    uint64_t expires_at_ms = nr_get_fixed64(value.data);
    return expires_at_ms != 0 && is_expired(survive, first, newer, expires_at_ms);
}

nori_status nr_survive_judge(struct nr_survive *survive, nori_slice key, uint64_t tag, nori_slice value, bool *keep_out,
                             struct nori_error *err)
{
    uint64_t sequence = nr_tag_sequence(tag), newer = survive->newer_sequence;
    nori_status rc = NORI_OK;

    if (NR_UNLIKELY(nr_tag_type(tag) == NR_TYPE_PUT_EXPIRING && value.size < NR_EXPIRY_BYTES)) {
        return nr_fail_corrupt(err, "", -1, "entry", "a value of %zu bytes is too short for its expiry", value.size);
    }
    if (!survive->has_key || !nr_slice_equal(nr_buffer_slice(&survive->key), key)) {
        NR_CHECK(keep_key(&survive->key, key, err));
        survive->has_key = true;
        survive->is_below_known = false;
        newer = NR_MAX_SEQUENCE + 1;
    }
    survive->is_newest = newer > NR_MAX_SEQUENCE;
    survive->newer_sequence = sequence;
    *keep_out = true;

    size_t first = first_moment(survive->moments, survive->moment_count, sequence);
    if (NR_UNLIKELY(first == survive->moment_count)) goto out; /* Newer than the present: only later readers see it. */
    uint64_t seen_at = survive->moments[first].sequence;
    if (newer <= seen_at)
        *keep_out = false;
    else if (survive->tombstones &&
             nr_tombstones_covering_near(survive->tombstones, key, seen_at, &survive->tombstone_hint) > sequence) {
        *keep_out = false;
    } else if (nr_tag_type(tag) != NR_TYPE_PUT && first == 0 && is_tombstone(survive, tag, value, first, newer)) {
        *keep_out = is_below(survive, key);
    }
out:
    return rc;
}

/* The ranges of one fragment that the outputs need: of each moment the newest sequence at or below it. Returns how
 * many; 'ranges' may be NULL. 'may_overlap' says whether older data lies below the fragment. */
static size_t select_ranges(const struct nr_fragment *fragment, const struct nr_moment *moments, size_t moment_count,
                            bool may_overlap, struct nr_range *ranges)
{
    size_t count = 0, index = 0;
    while (index < fragment->sequence_count) {
        uint64_t sequence = fragment->sequences[index];
        size_t first = first_moment(moments, moment_count, sequence);
        if (first > 0 || may_overlap) {
            if (ranges) ranges[count] = (struct nr_range){fragment->start, fragment->end, sequence};
            count++;
        }
        if (first == 0) break;
        index++;
        if (first == moment_count && index < fragment->sequence_count &&
            fragment->sequences[index] > moments[moment_count - 1].sequence) {
            continue;
        }
        size_t low = index, high = fragment->sequence_count; /* On to what the moment before sees. */
        while (low < high) {
            size_t middle = low + (high - low) / 2;
            if (fragment->sequences[middle] > moments[first - 1].sequence)
                low = middle + 1;
            else
                high = middle;
        }
        index = low;
    }
    return count;
}

nori_status nr_survive_tombstones(const struct nr_tombstones *set, const struct nr_moment *moments, size_t moment_count,
                                  bool (*may_overlap_below)(void *arg, nori_slice start, struct nr_bound end),
                                  void *arg, struct nr_tombstones **set_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_range *ranges = NULL;
    size_t total = 0, count = 0;

    *set_out = NULL;
    for (size_t i = 0; set && i < set->fragment_count; i++) {
        const struct nr_fragment *fragment = &set->fragments[i];
        bool may_overlap = may_overlap_below(arg, fragment->start, fragment->end);
        total += select_ranges(fragment, moments, moment_count, may_overlap, NULL);
    }
    if (total == 0) goto out;
    ranges = nr_calloc(total, sizeof(*ranges));
    if (!ranges) {
        rc = nr_fail_memory(err, total * sizeof(*ranges));
        goto out;
    }
    for (size_t i = 0; i < set->fragment_count; i++) {
        const struct nr_fragment *fragment = &set->fragments[i];
        bool may_overlap = may_overlap_below(arg, fragment->start, fragment->end);
        count += select_ranges(fragment, moments, moment_count, may_overlap, ranges + count);
    }
    NR_CHECK(nr_tombstones_build(ranges, count, set_out, err));
out:
    nr_free(ranges);
    return rc;
}

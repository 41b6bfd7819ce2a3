/* A model keeps all that was ever written; after a merge every reader must see the same over outputs and older data as
 * over inputs and older data. */
#include "compact/survive.h"

#include "base/coding.h"
#include "base/random.h"
#include "harness.h"

#define KEYS 5
#define MAX_ENTRIES 24
#define MAX_RANGES 6
#define MAX_MOMENTS 5

struct entry {
    unsigned key; /* 0..KEYS-1 */
    uint64_t tag;
    uint64_t expires_at_ms;
};
struct range {
    unsigned start, end; /* [start, end) */
    bool infinite;
    uint64_t sequence;
};
struct data {
    struct entry entries[MAX_ENTRIES];
    size_t entry_count;
    struct range ranges[MAX_RANGES * 4 * MAX_MOMENTS];
    size_t range_count;
};

static const char key_bytes[] = "abcdefgh";

static nori_slice key_slice(unsigned key)
{
    return nr_slice(&key_bytes[key], 1);
}

static bool is_covered(const struct range *range, unsigned key)
{
    return range->start <= key && (range->infinite || key < range->end);
}

/* What a reader sees of the key: the tag of the put, 0 for nothing. */
static uint64_t see(const struct data *first, const struct data *second, unsigned key, struct nr_moment moment)
{
    const struct data *parts[2] = {first, second};
    const struct entry *newest = NULL;
    uint64_t covered = 0;
    for (size_t p = 0; p < 2; p++) {
        for (size_t i = 0; i < parts[p]->entry_count; i++) {
            const struct entry *entry = &parts[p]->entries[i];
            if (entry->key != key || nr_tag_sequence(entry->tag) > moment.sequence) continue;
            if (!newest || entry->tag > newest->tag) newest = entry;
        }
        for (size_t i = 0; i < parts[p]->range_count; i++) {
            const struct range *range = &parts[p]->ranges[i];
            if (range->sequence <= moment.sequence && is_covered(range, key))
                covered = NR_MAX(covered, range->sequence);
        }
    }
    if (!newest || covered > nr_tag_sequence(newest->tag) || nr_tag_type(newest->tag) == NR_TYPE_DELETE) return 0;
    if (newest->expires_at_ms != 0 && newest->expires_at_ms <= moment.now_ms) return 0;
    return newest->tag;
}

static void fill(struct data *data, struct nr_random *random, uint64_t *sequence, size_t operations)
{
    for (size_t i = 0; i < operations; i++) {
        ++*sequence;
        if (nr_random_below(random, 6) == 0 && data->range_count < MAX_RANGES) {
            unsigned start = (unsigned)nr_random_below(random, KEYS);
            data->ranges[data->range_count++] =
                (struct range){start, start + 1 + (unsigned)nr_random_below(random, KEYS - start),
                               nr_random_below(random, 5) == 0, *sequence};
        } else if (data->entry_count < MAX_ENTRIES) {
            static const enum nr_entry_type types[] = {NR_TYPE_PUT, NR_TYPE_PUT, NR_TYPE_DELETE, NR_TYPE_PUT_EXPIRING,
                                                       NR_TYPE_PUT_EXPIRING};
            enum nr_entry_type type = types[nr_random_below(random, NR_ARRAY_LEN(types))];
            uint64_t expires_at_ms = type == NR_TYPE_PUT_EXPIRING ? nr_random_below(random, 50) : 0;
            data->entries[data->entry_count++] =
                (struct entry){(unsigned)nr_random_below(random, KEYS), nr_tag(*sequence, type), expires_at_ms};
        }
    }
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return nr_entry_compare(key_slice(x->key), x->tag, key_slice(y->key), y->tag);
}

static bool entry_may_be_below(void *arg, nori_slice key)
{
    const struct data *older = arg;
    unsigned at = (unsigned)(key.data[0] - 'a');
    for (size_t i = 0; i < older->entry_count; i++) {
        if (older->entries[i].key == at) return true;
    }
    return false;
}

static bool range_may_be_below(void *arg, nori_slice start, struct nr_bound end)
{
    const struct data *older = arg;
    for (size_t i = 0; i < older->entry_count; i++) {
        nori_slice key = key_slice(older->entries[i].key);
        if (nr_slice_compare(start, key) <= 0 && nr_bound_above(end, key)) return true;
    }
    return false;
}

static struct nr_tombstones *build_set(const struct data *data)
{
    struct nr_range ranges[MAX_RANGES];
    struct nr_tombstones *set = NULL;
    struct nori_error err;
    for (size_t i = 0; i < data->range_count; i++) {
        const struct range *range = &data->ranges[i];
        ranges[i] = (struct nr_range){key_slice(range->start),
                                      range->infinite ? nr_bound_infinite() : nr_bound_key(key_slice(range->end)),
                                      range->sequence};
    }
    EXPECT_OK(nr_tombstones_build(ranges, data->range_count, &set, &err), &err);
    return set;
}

static void keep_ranges(const struct nr_tombstones *set, struct data *output)
{
    for (size_t i = 0; set && i < set->fragment_count; i++) {
        const struct nr_fragment *fragment = &set->fragments[i];
        for (size_t j = 0; j < fragment->sequence_count; j++) {
            EXPECT(output->range_count < NR_ARRAY_LEN(output->ranges));
            output->ranges[output->range_count++] =
                (struct range){(unsigned)(fragment->start.data[0] - 'a'),
                               fragment->end.infinite ? 0 : (unsigned)(fragment->end.key.data[0] - 'a'),
                               fragment->end.infinite, fragment->sequences[j]};
        }
    }
}

/* Merges 'input' (sorted) over 'older'. */
static void merge(const struct data *input, const struct data *older, const struct nr_moment *moments,
                  size_t moment_count, struct data *output)
{
    struct nr_survive survive;
    struct nori_error err;
    struct nr_tombstones *set = build_set(input), *kept = NULL;
    output->entry_count = output->range_count = 0;
    nr_survive_init(&survive, moments, moment_count, set, entry_may_be_below, (void *)older);
    for (size_t i = 0; i < input->entry_count; i++) {
        const struct entry *entry = &input->entries[i];
        uint8_t value[NR_EXPIRY_BYTES];
        bool keep = false;
        nr_put_fixed64(value, entry->expires_at_ms);
        EXPECT_OK(
            nr_survive_judge(&survive, key_slice(entry->key), entry->tag, nr_slice(value, sizeof value), &keep, &err),
            &err);
        if (keep) output->entries[output->entry_count++] = *entry;
    }
    EXPECT_OK(nr_survive_tombstones(set, moments, moment_count, range_may_be_below, (void *)older, &kept, &err), &err);
    keep_ranges(kept, output);
    nr_survive_clear(&survive);
    nr_tombstones_unref(set);
    nr_tombstones_unref(kept);
}

static size_t draw_moments(struct nr_random *random, uint64_t last_sequence, struct nr_moment *moments)
{
    size_t count = 1 + nr_random_below(random, MAX_MOMENTS);
    uint64_t sequence = 0, now_ms = nr_random_below(random, 20);
    for (size_t i = 0; i < count; i++) {
        uint64_t left = last_sequence - sequence;
        sequence += nr_random_below(random, left / (count - i) * 2 + 1);
        sequence = i + 1 == count ? last_sequence : NR_MIN(sequence, last_sequence);
        now_ms += nr_random_below(random, 15);
        moments[i] = (struct nr_moment){sequence, now_ms};
    }
    return count;
}

TEST(every_reader_sees_the_same_after_a_merge)
{
    struct nr_random random;
    nr_random_init(&random, 7);
    size_t dropped = 0, kept = 0;
    for (size_t round = 0; round < 60000; round++) {
        static struct data older, input, output;
        struct nr_moment moments[MAX_MOMENTS + 2];
        uint64_t sequence = 0;
        older.entry_count = older.range_count = input.entry_count = input.range_count = 0;
        fill(&older, &random, &sequence, nr_random_below(&random, 8));
        fill(&input, &random, &sequence, 1 + nr_random_below(&random, 16));
        qsort(input.entries, input.entry_count, sizeof(struct entry), compare_entries);
        size_t count = draw_moments(&random, sequence, moments);
        merge(&input, &older, moments, count, &output);
        dropped += input.entry_count - output.entry_count;
        kept += output.entry_count;
        /* Later readers: clocks only go on. */
        moments[count] = (struct nr_moment){sequence, moments[count - 1].now_ms + 1 + nr_random_below(&random, 20)};
        moments[count + 1] = (struct nr_moment){sequence + 1, 1000};
        for (size_t i = 0; i < count + 2; i++) {
            for (unsigned key = 0; key < KEYS; key++) {
                uint64_t before = see(&input, &older, key, moments[i]), after = see(&output, &older, key, moments[i]);
                if (before != after) {
                    FAIL("round %zu key %u moment %" PRIu64 "/%" PRIu64 ": %" PRIu64 " became %" PRIu64, round, key,
                         moments[i].sequence, moments[i].now_ms, before, after);
                }
            }
        }
    }
    EXPECT(dropped * 2 > kept); /* The rules do drop. */
}

static bool judge(struct nr_survive *survive, const char *key, uint64_t sequence, enum nr_entry_type type,
                  uint64_t expires_at_ms)
{
    struct nori_error err;
    uint8_t value[NR_EXPIRY_BYTES];
    bool keep = false;
    nr_put_fixed64(value, expires_at_ms);
    EXPECT_OK(nr_survive_judge(survive, nr_slice_text(key), nr_tag(sequence, type), nr_slice(value, sizeof value),
                               &keep, &err),
              &err);
    return keep;
}

static bool key_is_below(void *arg, nori_slice key)
{
    return key.size == 1 && key.data[0] == *(const char *)arg;
}

TEST(a_tombstone_goes_where_nothing_older_is_and_stays_where_something_may_be)
{
    struct nr_survive survive;
    struct nr_moment present = {100, 0};
    nr_survive_init(&survive, &present, 1, NULL, key_is_below, (void *)"b");
    EXPECT(!judge(&survive, "a", 5, NR_TYPE_DELETE, 0));
    EXPECT(!judge(&survive, "a", 4, NR_TYPE_PUT, 0));
    EXPECT(judge(&survive, "b", 6, NR_TYPE_DELETE, 0));
    EXPECT(!judge(&survive, "b", 3, NR_TYPE_PUT, 0));
    nr_survive_clear(&survive);
}

TEST(a_snapshot_keeps_what_it_sees_and_the_tombstone_over_it)
{
    struct nr_survive survive;
    struct nr_moment moments[] = {{4, 0}, {100, 0}};
    nr_survive_init(&survive, moments, 2, NULL, key_is_below, (void *)"-");
    EXPECT(judge(&survive, "a", 5, NR_TYPE_DELETE, 0));
    EXPECT(judge(&survive, "a", 4, NR_TYPE_PUT, 0));
    EXPECT(!judge(&survive, "a", 3, NR_TYPE_PUT, 0));
    EXPECT(!judge(&survive, "b", 2, NR_TYPE_DELETE, 0));
    nr_survive_clear(&survive);
}

TEST(an_expired_put_hides_older_puts_and_goes_only_where_a_tombstone_may)
{
    struct nr_survive survive;
    struct nr_moment present = {100, 1000};
    nr_survive_init(&survive, &present, 1, NULL, key_is_below, (void *)"b");
    EXPECT(!judge(&survive, "a", 5, NR_TYPE_PUT_EXPIRING, 1000));
    EXPECT(!judge(&survive, "a", 4, NR_TYPE_PUT, 0));
    EXPECT(judge(&survive, "b", 5, NR_TYPE_PUT_EXPIRING, 1000));
    EXPECT(!judge(&survive, "b", 4, NR_TYPE_PUT, 0));
    EXPECT(judge(&survive, "c", 5, NR_TYPE_PUT_EXPIRING, 1001));
    EXPECT(judge(&survive, "d", 5, NR_TYPE_PUT_EXPIRING, 0)); /* 0: never. */
    nr_survive_clear(&survive);
}

TEST(a_put_that_an_open_snapshot_sees_alive_stays_though_it_has_expired_since)
{
    struct nr_survive survive;
    struct nr_moment moments[] = {{50, 900}, {100, 2000}};
    nr_survive_init(&survive, moments, 2, NULL, key_is_below, (void *)"-");
    EXPECT(judge(&survive, "a", 5, NR_TYPE_PUT_EXPIRING, 1000));
    EXPECT(!judge(&survive, "b", 5, NR_TYPE_PUT_EXPIRING, 900));
    nr_survive_clear(&survive);
}

TEST(a_value_too_short_for_its_expiry_is_corruption)
{
    struct nr_survive survive;
    struct nr_moment present = {100, 0};
    struct nori_error err;
    bool keep;
    nr_survive_init(&survive, &present, 1, NULL, key_is_below, (void *)"-");
    EXPECT_STATUS(nr_survive_judge(&survive, nr_slice_text("a"), nr_tag(1, NR_TYPE_PUT_EXPIRING),
                                   nr_slice("1234567", 7), &keep, &err),
                  NORI_CORRUPTION, &err);
    nr_survive_clear(&survive);
}

static bool nothing_overlaps(void *arg NR_UNUSED, nori_slice start NR_UNUSED, struct nr_bound end NR_UNUSED)
{
    return false;
}

TEST(range_tombstones_over_nothing_older_go_and_each_moment_keeps_one)
{
    struct nori_error err;
    struct nr_tombstones *set = NULL, *kept = NULL;
    struct nr_range ranges[20];
    struct nr_moment moments[] = {{7, 0}, {12, 0}, {30, 0}};
    for (size_t i = 0; i < 20; i++) ranges[i] = (struct nr_range){nr_slice_text("a"), nr_bound_infinite(), i + 1};
    EXPECT_OK(nr_tombstones_build(ranges, 20, &set, &err), &err);
    EXPECT_OK(nr_survive_tombstones(set, moments + 2, 1, nothing_overlaps, NULL, &kept, &err), &err);
    EXPECT(!kept);
    EXPECT_OK(nr_survive_tombstones(set, moments, 3, nothing_overlaps, NULL, &kept, &err), &err);
    EXPECT_EQ(kept->fragment_count, 1);
    EXPECT_EQ(kept->fragments[0].sequence_count, 2); /* 7's own goes: nothing is below it. */
    EXPECT_EQ(kept->fragments[0].sequences[0], 20);
    EXPECT_EQ(kept->fragments[0].sequences[1], 12);
    nr_tombstones_unref(set);
    nr_tombstones_unref(kept);
}

TEST(tombstones_survive_the_failure_of_any_allocation)
{
    struct nori_error err;
    struct nr_tombstones *set = NULL;
    struct nr_range ranges[] = {{nr_slice_text("a"), nr_bound_infinite(), 3},
                                {nr_slice_text("b"), nr_bound_infinite(), 5}};
    struct nr_moment moments[] = {{1, 0}, {30, 0}};
    EXPECT_OK(nr_tombstones_build(ranges, 2, &set, &err), &err);
    for (uint64_t nth = 1;; nth++) {
        struct nr_tombstones *kept = NULL;
        nr_alloc_fail_at(nth);
        nori_status rc = nr_survive_tombstones(set, moments, 2, nothing_overlaps, NULL, &kept, &err);
        nr_alloc_fail_at(0);
        nr_tombstones_unref(kept);
        if (rc == NORI_OK) break;
        EXPECT_EQ(rc, NORI_NO_MEMORY);
        EXPECT(!kept);
    }
    nr_tombstones_unref(set);
}

#include "fixture.h"

#include "table/table_internal.h"

#define MODEL_MAX 1500

/* Keys that share, contain and repeat each other, in several versions, of all types. */
static size_t make_model(struct nr_random *random, struct entry *entries, size_t count)
{
    static const char *const forms[] = {"user%012u", "a/rather/long/prefix/that/all/of/these/have/%u", "%c", "z%u"};
    for (size_t i = 0; i < count; i++) {
        const char *form = forms[nr_random_below(random, NR_ARRAY_LEN(forms))];
        unsigned number = (unsigned)nr_random_below(random, count / 3 + 3);
        uint64_t sequence = 1 + nr_random_below(random, 100);
        enum nr_entry_type type = (enum nr_entry_type)nr_random_below(random, 3);
        nori_slice key = keep_text(form, form[1] == 'c' ? number % 256 : number);
        nori_slice value = keep_text("expires!and this is the value %u", number * 7);
        if (nr_random_below(random, 20) == 0) value = nr_slice(keep_text("%0400u", number).data, 400);
        if (type == NR_TYPE_DELETE) value = nr_slice(NULL, 0);
        /* One type for one sequence, or the same entry would come twice in two guises. */
        entries[i] = (struct entry){key, nr_tag(sequence * 3 + type, type), value};
    }
    return sort_entries(entries, count);
}

/* One version a key: the newest. */
static size_t keep_newest(struct entry *entries, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || !nr_slice_equal(entries[kept - 1].key, entries[i].key)) entries[kept++] = entries[i];
    return kept;
}

static void expect_gets(struct fixture *fixture, struct nr_table *table, struct nr_random *random,
                        const struct entry *entries, size_t count)
{
    for (int i = 0; i < 300; i++) {
        nori_slice key = entries[nr_random_below(random, count)].key;
        uint64_t sequence = nr_random_below(random, 320);
        struct nr_read read = {.index_first = i & 1}, other = {.index_first = !read.index_first};
        if (i % 8 == 0) key = keep_text("user%011u", (unsigned)nr_random_below(random, 500));
        struct nr_lookup lookup = make_lookup(key, sequence);
        const struct entry *expected = find_entry(entries, count, key, sequence);
        unsigned stripe = nr_epoch_enter(&fixture->epoch);
        EXPECT_OK(nr_table_get(table, &lookup, &read, &err), &err);
        EXPECT_EQ(lookup.found, expected != NULL);
        if (expected) {
            EXPECT_EQ(lookup.tag, expected->tag);
            EXPECT(nr_slice_equal(lookup.value, expected->value));
        }
        lookup = make_lookup(key, sequence);
        EXPECT_OK(nr_table_get(table, &lookup, &other, &err), &err);
        EXPECT_EQ(lookup.found, expected != NULL);
        nr_epoch_leave(&fixture->epoch, stripe);
        EXPECT_EQ(read.filter_negatives, other.filter_negatives);
        EXPECT_EQ(read.filter_false_positives, other.filter_false_positives);
        nr_read_clear(&read);
        nr_read_clear(&other);
    }
}

/* Random walks within random bounds, against the sorted entries. */
static void expect_walks(struct nr_table *table, struct nr_random *random, const struct entry *entries, size_t count,
                         const struct nr_read *how)
{
    nori_slice start = nr_random_below(random, 3) ? entries[nr_random_below(random, count)].key : nr_slice(NULL, 0);
    struct nr_bound end =
        nr_random_below(random, 3) ? nr_bound_key(entries[nr_random_below(random, count)].key) : nr_bound_infinite();
    struct nr_read read = *how;
    struct nr_iter *iter;
    int64_t low = 0, high = (int64_t)count, at = -1; /* at: where it stands, outside [low, high): nowhere. */

    while (low < high && nr_slice_compare(entries[low].key, start) < 0) low++;
    while (high > low && !nr_bound_above(end, entries[high - 1].key)) high--;
    EXPECT_OK(nr_table_iter_create(table, start, end, &read, &iter, &err), &err);
    for (int i = 0; i < 200; i++) {
        unsigned turn = (unsigned)nr_random_below(random, 16);
        bool stands = at >= low && at < high;
        const struct entry *target = &entries[nr_random_below(random, count)];
        uint64_t tag = target->tag + nr_random_below(random, 3) - 1;
        if (turn == 0) {
            EXPECT_OK(nr_iter_seek(iter, target->key, tag, &err), &err);
            for (at = low; at < high && nr_entry_compare(entries[at].key, entries[at].tag, target->key, tag) < 0;) at++;
        } else if (turn == 1) {
            EXPECT_OK(nr_iter_seek_back(iter, target->key, tag, &err), &err);
            for (at = high - 1; at >= low && nr_entry_compare(entries[at].key, entries[at].tag, target->key, tag) > 0;)
                at--;
        } else if (turn == 2 || (!stands && turn < 9)) {
            EXPECT_OK(nr_iter_seek_first(iter, &err), &err);
            at = low;
        } else if (turn == 3 || !stands) {
            EXPECT_OK(nr_iter_seek_last(iter, &err), &err);
            at = high - 1;
        } else if (turn < 12) {
            EXPECT_OK(nr_iter_next(iter, &err), &err);
            at++;
        } else {
            EXPECT_OK(nr_iter_prev(iter, &err), &err);
            at--;
        }
        EXPECT_EQ(iter->entry != NULL, at >= low && at < high);
        if (iter->entry) EXPECT(is_entry(iter, &entries[at]));
    }
    nr_iter_destroy(iter);
}

static void expect_table(struct fixture *fixture, struct nr_table *table, struct nr_random *random,
                         const struct entry *entries, size_t count)
{
    const struct nr_read ways[] = {{.no_wait = false}, {.is_scan = true}, {.skip_cache = true}};
    uint64_t blocks = 0, verified = 0;
    expect_gets(fixture, table, random, entries, count);
    for (size_t i = 0; i < 12; i++) expect_walks(table, random, entries, count, &ways[i % NR_ARRAY_LEN(ways)]);
    EXPECT_OK(nr_table_verify(table, &blocks, &verified, &err), &err);
    EXPECT_EQ(verified, count);
    EXPECT_EQ(blocks, nr_table_properties(table)->block_count);
}

TEST(gets_and_walks_agree_with_a_model_whatever_the_blocks_and_compression)
{
    static const uint32_t block_bytes[] = {64, 256, 4096, 20000, 1 << 20};
    static struct entry entries[MODEL_MAX];
    struct nr_random random;
    struct fixture fixture;

    nr_random_init(&random, 5);
    for (unsigned round = 0; round < 20; round++) {
        fixture_init(&fixture, round % 4 == 0 ? 0 : 1 << 20);
        size_t count = make_model(&random, entries, round < 5 ? 1 + round * 3 : MODEL_MAX);
        if (round % 7 > 3) count = keep_newest(entries, count);
        struct nr_table_builder_params params = builder_params(&fixture, round + 1);
        params.block_bytes = block_bytes[round % NR_ARRAY_LEN(block_bytes)];
        params.compression = (int)(round % 3);
        params.bits_per_key = round % 2 ? 10 : 0;
        params.filter_kind = round % 4 == 1 ? NORI_FILTER_RIBBON : NORI_FILTER_BLOOM;
        if (round % 3 == 2) params.blocks = fixture.blocks;
        build(&params, entries, count);
        struct nr_table *table = open_table(&fixture, round + 1);
        if (round >= 5) EXPECT_EQ(table->keys_differ, round % 7 > 3);
        expect_table(&fixture, table, &random, entries, count);
        nr_table_unref(table);
        fixture_clear(&fixture);
    }
}

/* Each has an interval of its own, and what is sought begins as its key does. */
TEST(keys_that_begin_alike_are_told_apart_where_a_search_begins)
{
    static char value[600];
    struct entry entries[64];
    struct nr_random random;
    struct fixture fixture;
    size_t count = 0;

    nr_random_init(&random, 8);
    fixture_init(&fixture, 1 << 20);
    memset(value, 'v', sizeof value);
    for (unsigned i = 0; i < 64; i++)
        entries[count++] = (struct entry){keep_text(i % 2 ? "key %04u abcdefgh 5" : "key %04u abcdefgh", i),
                                          nr_tag(7, NR_TYPE_PUT), nr_slice(value, sizeof value)};
    struct nr_table_builder_params params = builder_params(&fixture, 1);
    params.bits_per_key = 0;
    params.block_bytes = 8192;
    build(&params, entries, count);
    struct nr_table *table = open_table(&fixture, 1);
    EXPECT(table->keys_differ);
    expect_table(&fixture, table, &random, entries, count);
    for (unsigned i = 0; i < 64; i++) {
        static const char *const absent[] = {"key %04u", "key %04u abcdefgh 1", "key %04u abcdefgh 6"};
        for (size_t j = 0; j < NR_ARRAY_LEN(absent); j++) {
            struct nr_lookup lookup = make_lookup(keep_text(absent[j], i), 7);
            struct nr_read read = {0};
            unsigned stripe = nr_epoch_enter(&fixture.epoch);
            EXPECT_OK(nr_table_get(table, &lookup, &read, &err), &err);
            nr_epoch_leave(&fixture.epoch, stripe);
            EXPECT(!lookup.found);
            nr_read_clear(&read);
        }
    }
    nr_table_unref(table);
    fixture_clear(&fixture);
}

TEST(versions_of_one_key_that_straddle_blocks_are_found)
{
    static struct entry entries[900];
    struct nr_random random;
    struct fixture fixture;
    size_t count = 0;

    nr_random_init(&random, 6);
    fixture_init(&fixture, 1 << 20);
    for (unsigned key = 0; key < 3; key++) {
        for (unsigned i = 300; i > 0; i--)
            entries[count++] =
                (struct entry){keep_text("key%u", key), nr_tag(i, NR_TYPE_PUT), keep_text("value %u", i)};
    }
    struct nr_table_builder_params params = builder_params(&fixture, 1);
    params.block_bytes = 256;
    build(&params, entries, count);
    struct nr_table *table = open_table(&fixture, 1);
    EXPECT(nr_table_properties(table)->block_count > 20);
    expect_table(&fixture, table, &random, entries, count);
    nr_table_unref(table);
    fixture_clear(&fixture);
}

TEST(properties_tell_what_the_table_holds)
{
    struct fixture fixture;
    struct nr_range ranges[] = {{nr_slice_text("aa"), nr_bound_key(nr_slice_text("b")), 50},
                                {nr_slice_text("x"), nr_bound_infinite(), 3}};
    struct entry entries[] = {
        {nr_slice_text("k"), nr_tag(9, NR_TYPE_PUT_EXPIRING), nr_slice("\x05\0\0\0\0\0\0\0value", 13)},
        {nr_slice_text("k"), nr_tag(8, NR_TYPE_PUT_EXPIRING), nr_slice("\x03\0\0\0\0\0\0\0", 8)},
        {nr_slice_text("k"), nr_tag(7, NR_TYPE_DELETE), nr_slice(NULL, 0)},
        {nr_slice_text("l"), nr_tag(20, NR_TYPE_PUT), nr_slice_text("four")},
    };
    fixture_init(&fixture, 0);
    struct nr_table_builder_params params = builder_params(&fixture, 8);
    EXPECT_OK(try_build(&params, entries, 4, ranges, 2, &err), &err);
    struct nr_table *table = open_table(&fixture, 8);
    const struct nr_table_properties *properties = nr_table_properties(table);
    EXPECT_SLICE(properties->smallest, "aa");
    EXPECT(properties->end.infinite);
    EXPECT_EQ(properties->smallest_sequence, 3);
    EXPECT_EQ(properties->largest_sequence, 50);
    EXPECT_EQ(properties->entry_count, 4);
    EXPECT_EQ(properties->delete_count, 1);
    EXPECT_EQ(properties->range_count, 2);
    EXPECT_EQ(properties->key_bytes, 4);
    EXPECT_EQ(properties->value_bytes, 25);
    EXPECT_EQ(properties->unexpiring_count, 1);
    EXPECT_EQ(properties->smallest_expiry_ms, 3);
    EXPECT_EQ(properties->largest_expiry_ms, 5);
    EXPECT_EQ(properties->block_count, 1);
    EXPECT_EQ(properties->level, 3);
    EXPECT_EQ(properties->slot_id, 77);
    EXPECT_EQ(properties->created_ms, 1234);
    EXPECT_EQ(properties->distinct_count, 2);
    nr_table_unref(table);
    fixture_clear(&fixture);
}

TEST(end_is_the_last_keys_successor)
{
    struct fixture fixture;
    struct entry entry = {nr_slice_text("k"), nr_tag(9, NR_TYPE_PUT), nr_slice_text("v")};
    fixture_init(&fixture, 0);
    struct nr_table_builder_params params = builder_params(&fixture, 8);
    build(&params, &entry, 1);
    struct nr_table *table = open_table(&fixture, 8);
    EXPECT(nr_slice_equal(nr_table_properties(table)->end.key, nr_slice("k\0", 2)));
    EXPECT_SLICE(nr_table_properties(table)->smallest, "k");
    nr_table_unref(table);
    fixture_clear(&fixture);
}

TEST(table_of_range_tombstones_alone_answers_gets_and_iterates_over_nothing)
{
    struct fixture fixture;
    struct nr_range ranges[] = {{nr_slice_text("b"), nr_bound_key(nr_slice_text("m")), 50},
                                {nr_slice_text("d"), nr_bound_infinite(), 60}};
    struct nr_read read = {0};
    struct nr_iter *iter;
    uint64_t blocks = 0, entries = 0, bytes;

    fixture_init(&fixture, 1 << 20);
    struct nr_table_builder_params params = builder_params(&fixture, 8);
    EXPECT_OK(try_build(&params, NULL, 0, ranges, 2, &err), &err);
    struct nr_table *table = open_table(&fixture, 8);
    struct nr_lookup lookup = make_lookup(nr_slice_text("c"), 100);
    EXPECT_OK(nr_table_get(table, &lookup, &read, &err), &err);
    EXPECT_EQ(lookup.tombstone_sequence, 50);
    EXPECT(!lookup.found);
    lookup = make_lookup(nr_slice_text("e"), 55);
    EXPECT_OK(nr_table_get(table, &lookup, &read, &err), &err);
    EXPECT_EQ(lookup.tombstone_sequence, 50);
    lookup = make_lookup(nr_slice_text("\xff\xff"), 70);
    EXPECT_OK(nr_table_get(table, &lookup, &read, &err), &err);
    EXPECT_EQ(lookup.tombstone_sequence, 60);
    lookup = make_lookup(nr_slice_text("a"), 70);
    EXPECT_OK(nr_table_get(table, &lookup, &read, &err), &err);
    EXPECT(!nr_lookup_decided(&lookup));
    EXPECT_OK(nr_table_iter_create(table, nr_slice(NULL, 0), nr_bound_infinite(), &read, &iter, &err), &err);
    EXPECT_OK(nr_iter_seek_first(iter, &err), &err);
    EXPECT(!iter->entry);
    EXPECT_OK(nr_iter_seek_last(iter, &err), &err);
    EXPECT(!iter->entry);
    EXPECT_OK(nr_iter_seek(iter, nr_slice_text("c"), 0, &err), &err);
    EXPECT(!iter->entry);
    EXPECT_OK(nr_iter_seek_back(iter, nr_slice_text("c"), 0, &err), &err);
    EXPECT(!iter->entry);
    nr_iter_destroy(iter);
    nr_table_measure(table, nr_slice_text("c"), nr_bound_infinite(), &bytes, &entries);
    EXPECT_EQ(bytes, nr_table_file_bytes(table));
    EXPECT_EQ(entries, 0);
    EXPECT_OK(nr_table_verify(table, &blocks, &entries, &err), &err);
    EXPECT_SLICE(nr_table_properties(table)->smallest, "b");
    nr_table_unref(table);
    fixture_clear(&fixture);
}

TEST(tombstones_are_clipped_to_the_bounds_given)
{
    struct fixture fixture;
    struct nr_range range = {nr_slice_text("b"), nr_bound_infinite(), 50};
    struct nr_table_builder *builder;
    struct nr_tombstones *set;
    const struct nr_table_properties *properties;
    uint64_t file_bytes;

    fixture_init(&fixture, 0);
    struct nr_table_builder_params params = builder_params(&fixture, 8);
    EXPECT_OK(nr_tombstones_build(&range, 1, &set, &err), &err);
    EXPECT_OK(nr_table_builder_create(&params, &builder, &err), &err);
    EXPECT(nr_table_builder_is_empty(builder));
    EXPECT_OK(nr_table_builder_add_tombstones(builder, set, nr_slice_text("f"), nr_bound_key(nr_slice_text("h")), &err),
              &err);
    nr_tombstones_unref(set);
    EXPECT(!nr_table_builder_is_empty(builder));
    EXPECT_OK(nr_table_builder_finish(builder, &properties, &file_bytes, &err), &err);
    EXPECT_SLICE(properties->smallest, "f");
    EXPECT_SLICE(properties->end.key, "h");
    EXPECT_EQ(properties->range_count, 1);
    nr_table_builder_destroy(builder);
    fixture_clear(&fixture);
}

TEST(largest_keys_and_values_beyond_any_block_come_back)
{
    static uint8_t keys[4][NORI_MAX_KEY_BYTES];
    size_t value_bytes = 3u << 20;
    uint8_t *value = malloc(value_bytes);
    struct entry entries[4];
    struct nr_random random;
    struct fixture fixture;

    nr_random_init(&random, 9);
    for (size_t i = 0; i < value_bytes; i++) value[i] = (uint8_t)nr_random_next(&random);
    fixture_init(&fixture, 64 << 20);
    for (size_t i = 0; i < 4; i++) {
        memset(keys[i], 'k', sizeof(keys[i]));
        keys[i][i < 2 ? 0 : NORI_MAX_KEY_BYTES - 1] = (uint8_t)(i < 2 ? 'a' + i : 'l' + i);
        entries[i] = (struct entry){nr_slice(keys[i], NORI_MAX_KEY_BYTES), nr_tag(i + 1, NR_TYPE_PUT),
                                    nr_slice(value, i == 1 ? value_bytes : 200000 * i)};
    }
    struct nr_table_builder_params params = builder_params(&fixture, 1);
    build(&params, entries, 4);
    struct nr_table *table = open_table(&fixture, 1);
    EXPECT_EQ(nr_table_properties(table)->block_count, 4);
    expect_table(&fixture, table, &random, entries, 4);
    nr_table_unref(table);

    struct nr_table_builder *builder;
    params = builder_params(&fixture, 2);
    EXPECT_OK(nr_table_builder_create(&params, &builder, &err), &err);
    EXPECT_STATUS(nr_table_builder_add(builder, nr_slice(value, NORI_MAX_KEY_BYTES + 1), nr_tag(1, NR_TYPE_PUT),
                                       nr_slice(NULL, 0), &err),
                  NORI_INVALID, &err);
    EXPECT_STATUS(
        nr_table_builder_add(builder, nr_slice(value, 5), nr_tag(1, NR_TYPE_RANGE_DELETE), nr_slice(NULL, 0), &err),
        NORI_INVALID, &err);
    nr_table_builder_destroy(builder);
    fixture_clear(&fixture);
    free(value);
}

TEST(entries_out_of_order_are_refused)
{
    struct fixture fixture;
    struct nr_table_builder *builder;
    bool exists;

    fixture_init(&fixture, 0);
    struct nr_table_builder_params params = builder_params(&fixture, 2);
    EXPECT_OK(nr_table_builder_create(&params, &builder, &err), &err);
    EXPECT_OK(nr_table_builder_add(builder, nr_slice_text("bb"), nr_tag(5, NR_TYPE_PUT), nr_slice(NULL, 0), &err),
              &err);
    EXPECT_STATUS(nr_table_builder_add(builder, nr_slice_text("bb"), nr_tag(5, NR_TYPE_PUT), nr_slice(NULL, 0), &err),
                  NORI_CORRUPTION, &err);
    EXPECT_STATUS(nr_table_builder_add(builder, nr_slice_text("b"), nr_tag(1, NR_TYPE_PUT), nr_slice(NULL, 0), &err),
                  NORI_CORRUPTION, &err);
    EXPECT_STATUS(nr_table_builder_add(builder, nr_slice_text("az"), nr_tag(1, NR_TYPE_PUT), nr_slice(NULL, 0), &err),
                  NORI_CORRUPTION, &err);
    EXPECT_OK(nr_table_builder_add(builder, nr_slice_text("bb"), nr_tag(4, NR_TYPE_PUT), nr_slice(NULL, 0), &err),
              &err);
    EXPECT_OK(nr_table_builder_add(builder, nr_slice_text("bba"), nr_tag(9, NR_TYPE_PUT), nr_slice(NULL, 0), &err),
              &err);
    nr_table_builder_destroy(builder);
    EXPECT_OK(nr_dir_exists(fixture.dir, "000002.sst", &exists, &err), &err);
    EXPECT(!exists);
    fixture_clear(&fixture);
}

TEST(a_read_that_must_not_wait_says_so_and_works_once_the_block_is_cached)
{
    struct fixture fixture;
    struct entry entry = {nr_slice_text("k"), nr_tag(9, NR_TYPE_PUT), nr_slice_text("v")};
    struct nr_read read = {.no_wait = true};
    struct nr_iter *iter;

    fixture_init(&fixture, 1 << 20);
    struct nr_table_builder_params params = builder_params(&fixture, 1);
    build(&params, &entry, 1);
    struct nr_table *table = open_table(&fixture, 1);
    struct nr_lookup lookup = make_lookup(entry.key, 100);
    unsigned stripe = nr_epoch_enter(&fixture.epoch);
    EXPECT_STATUS(nr_table_get(table, &lookup, &read, &err), NORI_AGAIN, &err);
    EXPECT_OK(nr_table_iter_create(table, nr_slice(NULL, 0), nr_bound_infinite(), &read, &iter, &err), &err);
    EXPECT_STATUS(nr_iter_seek_first(iter, &err), NORI_AGAIN, &err);
    EXPECT(!iter->entry);
    read.no_wait = false;
    EXPECT_OK(nr_table_get(table, &lookup, &read, &err), &err);
    EXPECT_SLICE(lookup.value, "v");
    nr_read_clear(&read);
    EXPECT_EQ(read.blocks_read, 1);
    read.no_wait = true;
    EXPECT_OK(nr_table_get(table, &lookup, &read, &err), &err);
    EXPECT_SLICE(lookup.value, "v");
    EXPECT(!read.pinned);
    EXPECT_OK(nr_iter_seek_first(iter, &err), &err);
    EXPECT(iter->entry);
    nr_epoch_leave(&fixture.epoch, stripe);
    nr_iter_destroy(iter);
    nr_table_unref(table);
    fixture_clear(&fixture);
}

TEST(long_scans_read_many_blocks_at_once_and_leave_the_cache_as_compaction_must)
{
    static struct entry entries[20000];
    struct fixture fixture;
    struct nr_read read = {.skip_cache = true};
    struct nr_iter *iter;
    size_t count = 0;

    fixture_init(&fixture, 8 << 20);
    for (unsigned i = 0; i < 20000; i++)
        entries[i] = (struct entry){keep_text("key%08u", i), nr_tag(1, NR_TYPE_PUT), keep_text("%060u", i * 7919)};
    struct nr_table_builder_params params = builder_params(&fixture, 1);
    params.compression = NORI_COMPRESSION_NONE;
    build(&params, entries, 20000);
    struct nr_table *table = open_table(&fixture, 1);
    uint64_t reads_before = nori_simdisk_operations(fixture.env, "read");
    EXPECT_OK(nr_table_iter_create(table, nr_slice(NULL, 0), nr_bound_infinite(), &read, &iter, &err), &err);
    EXPECT_OK(nr_iter_seek_first(iter, &err), &err);
    for (; iter->entry; count++) {
        EXPECT(is_entry(iter, &entries[count]));
        EXPECT_OK(nr_iter_next(iter, &err), &err);
    }
    nr_iter_destroy(iter);
    EXPECT_EQ(count, 20000);
    EXPECT(nori_simdisk_operations(fixture.env, "read") - reads_before < 2 + nr_table_file_bytes(table) / (200 << 10));
    EXPECT_EQ(read.blocks_read, nr_table_properties(table)->block_count);
    EXPECT_EQ(nr_block_cache_bytes(fixture.blocks), 0);

    read = (struct nr_read){.is_scan = true};
    reads_before = nori_simdisk_operations(fixture.env, "read");
    EXPECT_OK(nr_table_iter_create(table, nr_slice_text("key00000100"), nr_bound_key(nr_slice_text("key00000200")),
                                   &read, &iter, &err),
              &err);
    EXPECT_OK(nr_iter_seek_first(iter, &err), &err);
    for (count = 0; iter->entry; count++) EXPECT_OK(nr_iter_next(iter, &err), &err);
    nr_iter_destroy(iter);
    EXPECT_EQ(count, 100);
    EXPECT(read.bytes_read < 6 * 4200);
    nr_table_unref(table);
    fixture_clear(&fixture);
}

struct samples {
    nori_slice last;
    uint8_t bytes[64];
    size_t count;
};

static void take_sample(void *arg, nori_slice key, uint64_t bytes)
{
    struct samples *samples = arg;
    EXPECT(nr_slice_compare(samples->last, key) <= 0);
    EXPECT(key.size <= sizeof(samples->bytes) && bytes > 0);
    memcpy(samples->bytes, key.data, key.size);
    samples->last = nr_slice(samples->bytes, key.size);
    samples->count++;
}

TEST(measures_are_about_right_and_samples_cut_evenly)
{
    static struct entry entries[10000];
    struct fixture fixture;
    struct samples samples = {.count = 0};
    uint64_t bytes, count;

    fixture_init(&fixture, 0);
    for (unsigned i = 0; i < 10000; i++)
        entries[i] = (struct entry){keep_text("key%08u", i), nr_tag(1, NR_TYPE_PUT), keep_text("%060u", i * 7919)};
    struct nr_table_builder_params params = builder_params(&fixture, 1);
    build(&params, entries, 10000);
    struct nr_table *table = open_table(&fixture, 1);
    nr_table_measure(table, nr_slice(NULL, 0), nr_bound_infinite(), &bytes, &count);
    EXPECT_EQ(bytes, nr_table_file_bytes(table));
    EXPECT_EQ(count, 10000);
    nr_table_measure(table, nr_slice_text("key00002500"), nr_bound_key(nr_slice_text("key00005000")), &bytes, &count);
    EXPECT(count > 2450 && count < 2550);
    EXPECT(bytes > nr_table_file_bytes(table) / 5 && bytes < nr_table_file_bytes(table) / 3);
    nr_table_measure(table, nr_slice_text("key00002500"), nr_bound_key(nr_slice_text("key00002510")), &bytes, &count);
    EXPECT(count < 60);
    nr_table_measure(table, nr_slice_text("x"), nr_bound_infinite(), &bytes, &count);
    EXPECT_EQ(bytes + count, 0);
    nr_table_sample(table, 4, take_sample, &samples);
    EXPECT_EQ(samples.count, 3);
    EXPECT(nr_slice_compare(samples.last, nr_slice_text("key000074")) > 0);
    EXPECT(nr_slice_compare(samples.last, nr_slice_text("key000077")) < 0);
    nr_table_unref(table);
    fixture_clear(&fixture);
}

TEST(filters_turn_away_all_but_one_in_a_hundred_keys_at_ten_bits)
{
    static const double bits[] = {10, 12, 8, 16, 40};
    static const double limits[] = {0.010, 0.005, 0.027, 0.0012, 0.0003};
    struct nr_buffer section;
    size_t count = 200000;
    uint64_t *hashes = malloc(count * sizeof(*hashes));
    char text[32];

    for (unsigned i = 0; i < count; i++)
        hashes[i] = nr_hash_key(nr_slice(text, (size_t)snprintf(text, sizeof(text), "user%012u", i)));
    for (size_t i = 0; i < NR_ARRAY_LEN(bits); i++) {
        struct nr_filter filter;
        unsigned passed = 0, asked = 300000;
        bool is_valid;
        nr_buffer_init(&section);
        EXPECT_OK(nr_filter_build(hashes, count, bits[i], &section, &err), &err);
        EXPECT(section.size <= (size_t)(bits[i] * 1.04 * (double)count / 8) + 128);
        EXPECT_OK(nr_filter_init(&filter, nr_buffer_slice(&section), &is_valid, &err), &err);
        EXPECT(is_valid);
        for (size_t j = 0; j < count; j++) EXPECT(nr_filter_may_hold(&filter, hashes[j]));
        for (unsigned j = 0; j < asked; j++) {
            nori_slice key = nr_slice(text, (size_t)snprintf(text, sizeof(text), "user%012u", (unsigned)count + j));
            passed += nr_filter_may_hold(&filter, nr_hash_key(key));
        }
        if (passed > limits[i] * asked) FAIL("%g bits let %u of %u pass", bits[i], passed, asked);
        nr_filter_clear(&filter);
        nr_buffer_clear(&section);
    }
    free(hashes);
}

/* Pairs of keys that have 60,000 bytes in common: what parts them is as long, and compressed they take nearly nothing.
 */
TEST(a_table_of_long_keys_that_compress_well_can_be_read_again)
{
    static uint8_t key[60001];
    struct fixture fixture;
    struct nr_table_builder *builder;
    const struct nr_table_properties *properties;
    struct nr_table_builder_params params;
    unsigned pair_count = 1300;
    uint64_t file_bytes;

    fixture_init(&fixture, 0);
    params = builder_params(&fixture, 1);
    memset(key, 'x', sizeof(key));
    EXPECT_OK(nr_table_builder_create(&params, &builder, &err), &err);
    for (unsigned i = 0; i < pair_count * 2; i++) {
        memcpy(key, keep_text("%05u", i / 2).data, 5);
        key[sizeof(key) - 1] = i % 2 ? 'b' : 'a';
        EXPECT_OK(nr_table_builder_add(builder, nr_slice(key, sizeof(key)), nr_tag(1 + i, NR_TYPE_PUT),
                                       nr_slice_text("value"), &err),
                  &err);
    }
    EXPECT_OK(nr_table_builder_finish(builder, &properties, &file_bytes, &err), &err);
    EXPECT(file_bytes < sizeof(key) * pair_count * 2);
    nr_table_builder_destroy(builder);
    struct nr_table *table = open_table(&fixture, 1);
    struct nr_read read = {0};
    struct nr_lookup lookup = make_lookup(nr_slice(key, sizeof(key)), NR_MAX_SEQUENCE);
    EXPECT_OK(nr_table_get(table, &lookup, &read, &err), &err);
    EXPECT(lookup.found);
    nr_read_clear(&read);
    nr_table_unref(table);
    fixture_clear(&fixture);
}

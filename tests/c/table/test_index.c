#include "fixture.h"

#include "table/index.h"

static nori_slice random_key(struct nr_random *random, unsigned style, uint8_t *bytes)
{
    size_t size = 0;
    if (style % 3 == 1) {
        memcpy(bytes, "user0000000000", 14);
        size = 14;
    }
    if (style % 3 == 2) {
        bytes[size++] = (uint8_t)('a' + nr_random_below(random, 2));
        memset(bytes + size, 'x', 20);
        size += 20;
    }
    for (size_t more = nr_random_below(random, 5); more > 0; more--) {
        static const uint8_t alphabet[] = {0, 1, 0xfe, 0xff, 'a', 'b'};
        bytes[size++] = alphabet[nr_random_below(random, sizeof(alphabet))];
    }
    return nr_slice(bytes, size);
}

#define ENTRY_MAX 600

TEST(find_gives_the_block_that_holds_the_first_entry_at_or_behind_any_place)
{
    static struct entry entries[ENTRY_MAX];
    static uint8_t keys[ENTRY_MAX][40];
    static size_t block_of[ENTRY_MAX];
    struct nr_random random;

    nr_random_init(&random, 4);
    for (unsigned round = 0; round < 60; round++) {
        struct nr_index_writer writer;
        struct nr_index index;
        struct nr_buffer section;
        bool is_valid;
        size_t count = 1 + nr_random_below(&random, ENTRY_MAX), block_count = 0;
        for (size_t i = 0; i < count; i++)
            entries[i] =
                (struct entry){random_key(&random, round, keys[i]), 1 + nr_random_below(&random, 30), {NULL, 0}};
        count = sort_entries(entries, count);
        nr_index_writer_init(&writer);
        for (size_t i = 0; i < count; i++) {
            block_of[i] = block_count;
            if (i + 1 < count && nr_random_below(&random, 2)) continue;
            EXPECT_OK(nr_index_writer_add(&writer, 100, entries[i].key, entries[i].tag,
                                          i + 1 < count ? &entries[i + 1].key : NULL, &err),
                      &err);
            block_count++;
        }
        nr_buffer_init(&section);
        EXPECT_OK(nr_index_writer_finish(&writer, &section, &err), &err);
        EXPECT_OK(nr_index_init(&index, nr_buffer_slice(&section), block_count * 100, &is_valid, &err), &err);
        EXPECT(is_valid);
        EXPECT_EQ(index.block_count, block_count);
        for (size_t i = 0; i < count + 200; i++) {
            uint8_t bytes[40];
            nori_slice key = i < count ? entries[i].key : random_key(&random, round, bytes);
            uint64_t tag = i < count ? entries[i].tag : nr_random_below(&random, 32);
            size_t first = 0, found = nr_index_find(&index, key, tag);
            while (first < count && nr_entry_compare(entries[first].key, entries[first].tag, key, tag) < 0) first++;
            /* In that block, or it ends before and the next begins with it. */
            if (first == count) {
                EXPECT(found >= block_count - 1);
            } else {
                EXPECT(found == block_of[first] || (found + 1 == block_of[first] && block_of[first - 1] == found));
                if (i < count) EXPECT_EQ(found, block_of[first]);
            }
        }
        nr_index_clear(&index);
        nr_index_writer_clear(&writer);
        nr_buffer_clear(&section);
    }
}

TEST(separators_are_short_and_positions_rise_with_the_keys)
{
    struct nr_index_writer writer;
    struct nr_index index;
    struct nr_buffer section;
    bool is_valid;
    uint64_t last = 0;
    unsigned count = 3000;

    nr_index_writer_init(&writer);
    nr_buffer_init(&section);
    for (unsigned i = 0; i < count; i++) {
        nori_slice next = keep_text("user%012u/profile/picture", i * 30 + 30);
        EXPECT_OK(nr_index_writer_add(&writer, 4000, keep_text("user%012u/profile/picture", i * 30 + 29), 5,
                                      i + 1 < count ? &next : NULL, &err),
                  &err);
    }
    EXPECT_OK(nr_index_writer_finish(&writer, &section, &err), &err);
    EXPECT(section.size < count * 8);
    EXPECT_OK(nr_index_init(&index, nr_buffer_slice(&section), count * 4000ull, &is_valid, &err), &err);
    EXPECT(is_valid);
    EXPECT(index.common_size >= 11);
    EXPECT(index.bytes < count * 36);
    for (unsigned i = 0; i < count * 30; i += 7) {
        uint64_t position = nr_index_position(&index, keep_text("user%012u/profile/picture", i));
        EXPECT(position >= last && position <= count * 4000ull);
        EXPECT(position + 8000 >= i * 4000ull / 30 && position <= i * 4000ull / 30 + 8000);
        last = position;
    }
    nr_index_clear(&index);
    nr_index_writer_clear(&writer);
    nr_buffer_clear(&section);
}

static bool code_and_decode(const struct nr_table_properties *properties, struct nr_buffer *bytes,
                            struct nr_table_properties *decoded_out)
{
    bytes->size = 0;
    EXPECT_OK(nr_properties_encode(properties, bytes, &err), &err);
    nori_slice input = nr_buffer_slice(bytes);
    return nr_properties_decode(&input, decoded_out);
}

TEST(properties_come_back_and_every_truncation_is_refused)
{
    struct nr_table_properties properties = {.smallest = nr_slice_text("first"),
                                             .end = nr_bound_key(nr_slice_text("last")),
                                             .smallest_sequence = 1,
                                             .largest_sequence = NR_MAX_SEQUENCE,
                                             .entry_count = 1ull << 40,
                                             .delete_count = 5,
                                             .range_count = 6,
                                             .key_bytes = 7,
                                             .value_bytes = 8,
                                             .unexpiring_count = 9,
                                             .smallest_expiry_ms = 10,
                                             .largest_expiry_ms = UINT64_MAX,
                                             .block_count = 12,
                                             .level = 13,
                                             .slot_id = 14,
                                             .created_ms = 15};
    struct nr_table_properties decoded;
    struct nr_buffer bytes;
    nori_slice input;

    nr_buffer_init(&bytes);
    EXPECT(code_and_decode(&properties, &bytes, &decoded));
    EXPECT(decoded.lifetime_ms == 0 && decoded.fresh_count == 0 && decoded.distinct_count == 0);
    properties.fresh_count = properties.entry_count + 1;
    EXPECT(!code_and_decode(&properties, &bytes, &decoded));
    properties.fresh_count = 77;
    EXPECT(code_and_decode(&properties, &bytes, &decoded) && decoded.lifetime_ms == 0 && decoded.fresh_count == 77);
    properties.distinct_count = properties.entry_count + 1;
    EXPECT(!code_and_decode(&properties, &bytes, &decoded));
    properties.distinct_count = 78;
    properties.lifetime_ms = 1ull << 50;
    EXPECT(code_and_decode(&properties, &bytes, &decoded));
    for (size_t size = 0; size < bytes.size; size++) {
        input = nr_slice(bytes.data, size);
        EXPECT(!nr_properties_decode(&input, &decoded));
    }
    EXPECT_OK(nr_buffer_append(&bytes, nr_slice_text("rest"), &err), &err);
    input = nr_buffer_slice(&bytes);
    EXPECT(nr_properties_decode(&input, &decoded));
    EXPECT_SLICE(input, "rest");
    EXPECT_SLICE(decoded.smallest, "first");
    EXPECT_SLICE(decoded.end.key, "last");
    EXPECT(decoded.largest_sequence == NR_MAX_SEQUENCE && decoded.entry_count == 1ull << 40);
    EXPECT(decoded.lifetime_ms == 1ull << 50 && decoded.fresh_count == 77 && decoded.distinct_count == 78);
    EXPECT(decoded.largest_expiry_ms == UINT64_MAX && decoded.created_ms == 15 && decoded.level == 13);
    nr_buffer_clear(&bytes);
}

/* A few bytes each, for separators of 60 KB. */
TEST(separators_that_would_take_much_more_memory_than_the_file_are_refused)
{
    struct nr_index index;
    struct nr_buffer section;
    size_t count = 1400, long_size = 60000;
    bool is_valid;

    nr_buffer_init(&section);
    EXPECT_OK(nr_buffer_append_varint(&section, count + 1, &err), &err);
    for (size_t i = 0; i <= count; i++) {
        uint8_t digits[2] = {(uint8_t)(i / 100), (uint8_t)(i % 100)};
        static uint8_t bytes[60000];
        EXPECT_OK(nr_buffer_append_varint(&section, 100, &err), &err);
        EXPECT_OK(nr_buffer_append_varint(&section, (i < 2 ? 0 : long_size) * 2, &err), &err);
        /* The first is short, so that there is nothing in common. */
        EXPECT_OK(nr_buffer_append_varint(&section, i == 0 ? 0 : i == 1 ? long_size : 2, &err), &err);
        if (i == 1) EXPECT_OK(nr_buffer_append(&section, nr_slice(bytes, long_size), &err), &err);
        if (i > 1) EXPECT_OK(nr_buffer_append(&section, nr_slice(digits, 2), &err), &err);
    }
    EXPECT_OK(nr_index_init(&index, nr_buffer_slice(&section), (count + 1) * 100, &is_valid, &err), &err);
    EXPECT(!is_valid);
    nr_buffer_clear(&section);
}

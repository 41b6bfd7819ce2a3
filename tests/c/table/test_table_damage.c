#include "fixture.h"

#include "table/block.h"
#include "table/index.h"
#include "table/sections.h"
#include "table/table_internal.h"

#define PATH "/db/000001.sst"

static struct entry entries[60];
static size_t entry_count;

static const struct nr_range ranges[] = {{{(const uint8_t *)"key3", 4}, {{(const uint8_t *)"key4", 4}, false}, 200}};

static void make_entries(void)
{
    entry_count = 0;
    for (unsigned i = 0; i < 50; i++) {
        enum nr_entry_type type = i % 7 == 3 ? NR_TYPE_DELETE : i % 5 == 2 ? NR_TYPE_PUT_EXPIRING : NR_TYPE_PUT;
        nori_slice value = type == NR_TYPE_DELETE ? nr_slice(NULL, 0) : keep_text("expires!%03u valuevalue", i);
        entries[entry_count++] = (struct entry){keep_text("key%03u", i / 2), nr_tag(100 - i, type), value};
    }
    entry_count = sort_entries(entries, entry_count);
}

/* The bytes of a small table with all sections, its filter of either kind. Freed with nori_free. */
static size_t make_table(struct fixture *fixture, int compression, uint8_t **bytes_out)
{
    struct nr_table_builder_params params = builder_params(fixture, 1);
    size_t size;
    make_entries();
    params.block_bytes = 300;
    params.compression = compression;
    params.filter_kind = compression == NORI_COMPRESSION_LZ4 ? NORI_FILTER_RIBBON : NORI_FILTER_BLOOM;
    EXPECT_OK(try_build(&params, entries, entry_count, ranges, 1, &err), &err);
    EXPECT_OK(nori_simdisk_read_file(fixture->env, PATH, bytes_out, &size, &err), &err);
    return size;
}

static bool is_finding(nori_status rc)
{
    return rc == NORI_CORRUPTION || rc == NORI_FORMAT;
}

static bool all_gets_are_right_or_findings(struct nr_table *table, unsigned *findings)
{
    bool is_right = true;
    for (size_t i = 0; i < entry_count && is_right; i++) {
        struct nr_read read = {0};
        struct nr_lookup lookup = make_lookup(entries[i].key, nr_tag_sequence(entries[i].tag));
        nori_status rc = nr_table_get(table, &lookup, &read, &err);
        if (rc == NORI_OK) {
            is_right = lookup.found && lookup.tag == entries[i].tag && nr_slice_equal(lookup.value, entries[i].value);
        } else {
            is_right = is_finding(rc) && err.path[0] != '\0' && err.offset >= 0;
            ++*findings;
        }
        nr_read_clear(&read);
    }
    return is_right;
}

static bool walk_is_right_or_finding(struct nr_table *table, bool is_backward, unsigned *findings)
{
    struct nr_read read = {0};
    struct nr_iter *iter;
    size_t seen = 0;
    bool is_right = true;
    nori_status rc;

    EXPECT_OK(nr_table_iter_create(table, nr_slice(NULL, 0), nr_bound_infinite(), &read, &iter, &err), &err);
    rc = is_backward ? nr_iter_seek_last(iter, &err) : nr_iter_seek_first(iter, &err);
    while (rc == NORI_OK && iter->entry && is_right) {
        is_right = seen < entry_count && is_entry(iter, &entries[is_backward ? entry_count - 1 - seen : seen]);
        seen++;
        rc = is_backward ? nr_iter_prev(iter, &err) : nr_iter_next(iter, &err);
    }
    if (rc == NORI_OK) {
        is_right = is_right && seen == entry_count;
    } else {
        is_right = is_right && is_finding(rc);
        ++*findings;
    }
    nr_iter_destroy(iter);
    return is_right;
}

/* Replaces the file and looks at all of it. */
static void expect_right_or_finding(struct fixture *fixture, nori_slice bytes, bool must_find, const char *what,
                                    size_t at)
{
    struct nr_table *table;
    uint64_t blocks = 0, verified = 0;
    unsigned findings = 0;
    nori_status rc;

    EXPECT_OK(nori_simdisk_write_file(fixture->env, PATH, bytes, &err), &err);
    rc = try_open(fixture, 1, &table, &err);
    if (rc != NORI_OK) {
        if (!is_finding(rc) || err.text[0] == '\0') FAIL("%s %zu: open is %s", what, at, nori_status_name(rc));
        return;
    }
    if (!all_gets_are_right_or_findings(table, &findings)) FAIL("%s %zu: a get is wrong", what, at);
    if (!walk_is_right_or_finding(table, false, &findings)) FAIL("%s %zu: the walk is wrong", what, at);
    if (!walk_is_right_or_finding(table, true, &findings)) FAIL("%s %zu: the walk back is wrong", what, at);
    rc = nr_table_verify(table, &blocks, &verified, &err);
    if (must_find && !is_finding(rc)) FAIL("%s %zu: verify is %s", what, at, nori_status_name(rc));
    if (findings > 0 && !is_finding(rc)) FAIL("%s %zu: verify overlooks it", what, at);
    nr_table_unref(table);
}

TEST(every_flipped_bit_is_found_or_harmless)
{
    struct fixture fixture;
    for (int compression = NORI_COMPRESSION_NONE; compression <= NORI_COMPRESSION_ZSTD; compression++) {
        uint8_t *bytes;
        fixture_init(&fixture, 0);
        size_t size = make_table(&fixture, compression, &bytes);
        for (size_t bit = 0; bit < size * 8; bit += compression == NORI_COMPRESSION_LZ4 ? 1 : 5) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            expect_right_or_finding(&fixture, nr_slice(bytes, size), true, "bit", bit);
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        nori_free(bytes);
        fixture_clear(&fixture);
    }
}

TEST(every_truncation_is_found)
{
    struct fixture fixture;
    uint8_t *bytes;
    fixture_init(&fixture, 0);
    size_t size = make_table(&fixture, NORI_COMPRESSION_LZ4, &bytes);
    for (size_t kept = 0; kept < size; kept++)
        expect_right_or_finding(&fixture, nr_slice(bytes, kept), true, "kept", kept);
    nori_free(bytes);
    fixture_clear(&fixture);
}

TEST(file_cut_off_while_it_is_open_is_corruption_not_absence)
{
    struct fixture fixture;
    uint8_t *bytes;
    struct nr_table *table;
    struct nr_read read = {0};
    fixture_init(&fixture, 0);
    size_t size = make_table(&fixture, NORI_COMPRESSION_NONE, &bytes);
    nori_free(bytes);
    table = open_table(&fixture, 1);
    EXPECT(size > 40);
    struct nr_lookup lookup = make_lookup(entries[0].key, NR_MAX_SEQUENCE);
    /* Damage below what is in memory already. */
    EXPECT_OK(nori_simdisk_fail(fixture.env, "read", 1, EIO, false, &err), &err);
    EXPECT_STATUS(nr_table_get(table, &lookup, &read, &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, EIO);
    EXPECT_OK(nr_table_get(table, &lookup, &read, &err), &err);
    EXPECT(lookup.found);
    nr_read_clear(&read);
    nr_table_unref(table);
    fixture_clear(&fixture);
}

TEST(table_of_another_database_or_number_is_found)
{
    struct fixture fixture;
    uint8_t *bytes;
    struct nr_table *table;
    fixture_init(&fixture, 0);
    size_t size = make_table(&fixture, NORI_COMPRESSION_LZ4, &bytes);
    EXPECT_OK(nori_simdisk_write_file(fixture.env, "/db/000002.sst", nr_slice(bytes, size), &err), &err);
    EXPECT_STATUS(try_open(&fixture, 2, &table, &err), NORI_CORRUPTION, &err);
    EXPECT(!table);
    EXPECT_STATUS(try_open(&fixture, 3, &table, &err), NORI_IO, &err);
    EXPECT_EQ(err.sys_errno, ENOENT);
    nori_free(bytes);
    fixture_clear(&fixture);
}

#define ALIKE 64

/* A table of raw blocks of the same size, its entries in 'alike'. */
static struct nr_table *make_alike(struct fixture *fixture, uint64_t number, char letter, struct entry alike[ALIKE])
{
    struct nr_table_builder_params params = builder_params(fixture, number);
    params.compression = NORI_COMPRESSION_NONE;
    params.block_bytes = 300;
    for (unsigned i = 0; i < ALIKE; i++)
        alike[i] = (struct entry){keep_text("key%03u", i + 100), nr_tag(i + 1, NR_TYPE_PUT),
                                  keep_text(letter == 'a' ? "a value%03u" : "b value%03u", i)};
    build(&params, alike, ALIKE);
    return open_table(fixture, number);
}

/* Replaces a table by 'bytes' and looks for all entries: each is right or damage, and some are damage. */
static void expect_some_damage(struct fixture *fixture, nori_slice bytes, const struct entry alike[ALIKE])
{
    unsigned findings = 0;
    EXPECT_OK(nori_simdisk_write_file(fixture->env, PATH, bytes, &err), &err);
    struct nr_table *table = open_table(fixture, 1);
    for (unsigned i = 0; i < ALIKE; i++) {
        struct nr_read read = {0};
        struct nr_lookup lookup = make_lookup(alike[i].key, NR_MAX_SEQUENCE);
        nori_status rc = nr_table_get(table, &lookup, &read, &err);
        if (rc == NORI_OK) EXPECT(lookup.found && nr_slice_equal(lookup.value, alike[i].value));
        findings += rc == NORI_CORRUPTION;
        nr_read_clear(&read);
    }
    EXPECT(findings > 0);
    nr_table_unref(table);
}

TEST(blocks_that_changed_places_are_found)
{
    struct fixture fixture;
    struct entry alike[ALIKE];
    uint8_t *bytes, moved[1024];
    size_t size;
    fixture_init(&fixture, 0);
    struct nr_table *table = make_alike(&fixture, 1, 'a', alike);
    const struct nr_index *index = &table->sections.index;
    EXPECT(index->block_count >= 4);
    uint64_t first = nr_index_block_offset(index, 1), second = nr_index_block_offset(index, 2);
    size_t block_bytes = nr_index_block_bytes(index, 1);
    EXPECT_EQ(block_bytes, nr_index_block_bytes(index, 2));
    EXPECT(block_bytes <= sizeof moved);
    nr_table_unref(table);
    EXPECT_OK(nori_simdisk_read_file(fixture.env, PATH, &bytes, &size, &err), &err);
    memcpy(moved, bytes + first, block_bytes);
    memcpy(bytes + first, bytes + second, block_bytes);
    memcpy(bytes + second, moved, block_bytes);
    expect_some_damage(&fixture, nr_slice(bytes, size), alike);
    nori_free(bytes);
    fixture_clear(&fixture);
}

TEST(a_block_of_another_table_in_the_same_place_is_found)
{
    struct fixture fixture;
    struct entry alike[ALIKE], others[ALIKE];
    uint8_t *bytes, *other_bytes;
    size_t size, other_size;
    fixture_init(&fixture, 0);
    struct nr_table *other = make_alike(&fixture, 2, 'b', others), *table = make_alike(&fixture, 1, 'a', alike);
    uint64_t offset = nr_index_block_offset(&table->sections.index, 1);
    size_t block_bytes = nr_index_block_bytes(&table->sections.index, 1);
    EXPECT_EQ(offset, nr_index_block_offset(&other->sections.index, 1));
    EXPECT_EQ(block_bytes, nr_index_block_bytes(&other->sections.index, 1));
    nr_table_unref(table);
    nr_table_unref(other);
    EXPECT_OK(nori_simdisk_read_file(fixture.env, PATH, &bytes, &size, &err), &err);
    EXPECT_OK(nori_simdisk_read_file(fixture.env, "/db/000002.sst", &other_bytes, &other_size, &err), &err);
    memcpy(bytes + offset, other_bytes + offset, block_bytes);
    expect_some_damage(&fixture, nr_slice(bytes, size), alike);
    nori_free(bytes);
    nori_free(other_bytes);
    fixture_clear(&fixture);
}

/* ---------------------------------------------------------------- forged files: valid checksums, senseless content */

struct forgery {
    struct nr_buffer file;
    struct nr_buffer directory;
    uint64_t data_end;
};

static uint64_t seal(struct forgery *forgery, nori_slice payload)
{
    uint64_t offset = forgery->file.size;
    EXPECT_OK(nr_buffer_append(&forgery->file, payload, &err), &err);
    EXPECT_OK(nr_buffer_reserve(&forgery->file, NR_TRAILER_BYTES, &err), &err);
    nr_trailer_put(forgery->file.data + offset, payload.size, NORI_COMPRESSION_NONE, (uint32_t)payload.size,
                   nr_checksum_seed(DATABASE_ID, 1, offset));
    forgery->file.size += NR_TRAILER_BYTES;
    return offset;
}

static void forge_section(struct forgery *forgery, uint32_t kind, uint32_t flags, nori_slice payload)
{
    uint64_t offset = seal(forgery, payload);
    EXPECT_OK(nr_buffer_append_fixed32(&forgery->directory, kind, &err), &err);
    EXPECT_OK(nr_buffer_append_fixed32(&forgery->directory, flags, &err), &err);
    EXPECT_OK(nr_buffer_append_fixed64(&forgery->directory, offset, &err), &err);
    EXPECT_OK(nr_buffer_append_fixed64(&forgery->directory, payload.size + NR_TRAILER_BYTES, &err), &err);
}

static void forge_end(struct forgery *forgery, struct fixture *fixture, uint64_t read_features)
{
    struct nr_file_header footer = {
        .magic = NR_MAGIC_TABLE, .read_features = read_features, .database_id = DATABASE_ID, .number = 1};
    uint8_t bytes[NR_FILE_HEADER_BYTES];
    footer.extra[NR_FOOTER_DIRECTORY_OFFSET] = seal(forgery, nr_buffer_slice(&forgery->directory));
    footer.extra[NR_FOOTER_DIRECTORY_SIZE] = forgery->file.size - footer.extra[NR_FOOTER_DIRECTORY_OFFSET];
    footer.extra[NR_FOOTER_DATA_END] = forgery->data_end;
    nr_file_header_encode(&footer, bytes);
    EXPECT_OK(nr_buffer_append(&forgery->file, nr_slice(bytes, sizeof(bytes)), &err), &err);
    EXPECT_OK(nori_simdisk_write_file(fixture->env, PATH, nr_buffer_slice(&forgery->file), &err), &err);
    nr_buffer_clear(&forgery->file);
    nr_buffer_clear(&forgery->directory);
}

/* A table of these blocks (all of 'sizes' bytes one behind the other), each up to the separator "key099". */
static void forge_table(struct fixture *fixture, nori_slice block, uint32_t extra_kind, uint32_t extra_flags,
                        uint64_t read_features)
{
    struct forgery forgery = {.data_end = 0};
    struct nr_index_writer index;
    struct nr_buffer payload;
    struct nr_table_properties properties = {.smallest = nr_slice_text("key000"),
                                             .end = nr_bound_key(nr_slice_text("key100")),
                                             .largest_sequence = NR_MAX_SEQUENCE,
                                             .entry_count = 12,
                                             .block_count = 1};
    nr_index_writer_init(&index);
    nr_buffer_init(&payload);
    seal(&forgery, block);
    forgery.data_end = forgery.file.size;
    EXPECT_OK(nr_index_writer_add(&index, forgery.data_end, nr_slice_text("key099"), 1, NULL, &err), &err);
    EXPECT_OK(nr_index_writer_finish(&index, &payload, &err), &err);
    forge_section(&forgery, NR_SECTION_INDEX, 0, nr_buffer_slice(&payload));
    payload.size = 0;
    EXPECT_OK(nr_properties_encode(&properties, &payload, &err), &err);
    forge_section(&forgery, NR_SECTION_PROPERTIES, 0, nr_buffer_slice(&payload));
    if (extra_kind) forge_section(&forgery, extra_kind, extra_flags, nr_slice_text("of a later version"));
    forge_end(&forgery, fixture, read_features);
    nr_index_writer_clear(&index);
    nr_buffer_clear(&payload);
}

/* Whatever comes out, it must come to an end within bounds; verify must not be content. */
static void expect_no_harm(struct fixture *fixture, size_t block_size)
{
    struct nr_table *table = open_table(fixture, 1);
    uint64_t blocks = 0, verified = 0;
    for (unsigned i = 0; i < 14; i++) {
        struct nr_read read = {.skip_cache = i % 2};
        struct nr_lookup lookup = make_lookup(keep_text("key%03u", i), 40 + i);
        nori_status rc = nr_table_get(table, &lookup, &read, &err);
        EXPECT(rc == NORI_OK || rc == NORI_CORRUPTION);
        if (rc == NORI_OK && lookup.found && nr_tag_type(lookup.tag) == NR_TYPE_PUT_EXPIRING)
            EXPECT(lookup.value.size >= 8);
        nr_read_clear(&read);
        struct nr_iter *iter;
        EXPECT_OK(nr_table_iter_create(table, nr_slice(NULL, 0), nr_bound_infinite(), &read, &iter, &err), &err);
        bool is_backward = i % 4 >= 2;
        size_t steps = 0;
        rc = i < 4         ? is_backward ? nr_iter_seek_last(iter, &err) : nr_iter_seek_first(iter, &err)
                     : is_backward ? nr_iter_seek_back(iter, lookup.key, 0, &err)
                           : nr_iter_seek(iter, lookup.key, UINT64_MAX, &err);
        while (rc == NORI_OK && iter->entry && steps++ < block_size) {
            /* Now and then the other way. */
            bool turns = steps % 5 == 4 && steps < 50;
            rc = is_backward != turns ? nr_iter_prev(iter, &err) : nr_iter_next(iter, &err);
        }
        EXPECT(rc == NORI_OK || rc == NORI_CORRUPTION);
        EXPECT(steps < block_size || block_size == 0);
        nr_iter_destroy(iter);
    }
    EXPECT_STATUS(nr_table_verify(table, &blocks, &verified, &err), NORI_CORRUPTION, &err);
    nr_table_unref(table);
}

static size_t make_block(struct nr_block_writer *writer)
{
    nr_block_writer_init(writer);
    for (unsigned i = 0; i < 40; i++) {
        EXPECT_OK(nr_block_writer_add(writer,
                                      i > 0 && i / 10 == (i - 1) / 10 ? 5
                                      : i > 0                         ? 4
                                                                      : 0,
                                      keep_text("key%03u", i), nr_tag(50, NR_TYPE_PUT), nr_slice_text("value"), &err),
                  &err);
    }
    EXPECT_OK(nr_block_writer_finish(writer, &err), &err);
    return writer->bytes.size;
}

TEST(blocks_of_senseless_bytes_do_no_harm_and_verify_finds_them)
{
    struct fixture fixture;
    struct nr_block_writer writer;
    struct nr_random random;
    size_t size;

    nr_random_init(&random, 3);
    fixture_init(&fixture, 1 << 20);
    size = make_block(&writer);
    for (unsigned round = 0; round < 400; round++) {
        uint8_t block[2048];
        size_t used = size;
        EXPECT(size <= sizeof(block));
        memcpy(block, writer.bytes.data, size);
        if (round < 8) used = NR_MIN_BLOCK_BYTES - 8 + round;
        for (uint64_t changes = 1 + nr_random_below(&random, 4); changes > 0; changes--) {
            /* Half of them in the restarts. */
            size_t at = nr_random_below(&random, 2) ? nr_random_below(&random, used)
                                                    : used - 1 - nr_random_below(&random, NR_MIN(used, (size_t)16));
            block[at] ^= (uint8_t)(1 + nr_random_below(&random, 255));
        }
        forge_table(&fixture, nr_slice(block, used), 0, 0, 0);
        expect_no_harm(&fixture, used);
        nr_block_cache_drop_file(fixture.blocks, 1);
    }
    nr_block_writer_clear(&writer);
    fixture_clear(&fixture);
}

TEST(keys_out_of_order_under_valid_checksums_are_found_by_verify)
{
    struct fixture fixture;
    struct nr_block_writer writer;
    static const char *const keys[] = {"key001", "key000", "key007", "key003", "key003", "key090"};

    fixture_init(&fixture, 1 << 20);
    nr_block_writer_init(&writer);
    for (size_t i = 0; i < NR_ARRAY_LEN(keys); i++)
        EXPECT_OK(nr_block_writer_add(&writer, 0, nr_slice_text(keys[i]), nr_tag(50, NR_TYPE_PUT),
                                      nr_slice_text("value"), &err),
                  &err);
    EXPECT_OK(nr_block_writer_finish(&writer, &err), &err);
    forge_table(&fixture, nr_buffer_slice(&writer.bytes), 0, 0, 0);
    expect_no_harm(&fixture, writer.bytes.size);
    EXPECT(strstr(err.text, "out of order"));
    nr_block_writer_clear(&writer);
    fixture_clear(&fixture);
}

TEST(entry_that_shares_less_than_its_key_has_in_common_is_found_by_verify)
{
    /* A search for key012 stops at key011: sharing less than what matched it must lie behind what is sought. */
    static const char *const keys[] = {"key001", "key010", "key011", "key012"};
    static const size_t shared[] = {0, 4, 4, 5};
    struct fixture fixture;
    struct nr_block_writer writer;

    fixture_init(&fixture, 1 << 20);
    nr_block_writer_init(&writer);
    for (size_t i = 0; i < NR_ARRAY_LEN(keys); i++)
        EXPECT_OK(nr_block_writer_add(&writer, shared[i], nr_slice_text(keys[i]), nr_tag(50, NR_TYPE_PUT),
                                      nr_slice_text("value"), &err),
                  &err);
    EXPECT_OK(nr_block_writer_finish(&writer, &err), &err);
    forge_table(&fixture, nr_buffer_slice(&writer.bytes), 0, 0, 0);
    expect_no_harm(&fixture, writer.bytes.size);
    EXPECT(strstr(err.text, "in common"));
    nr_block_writer_clear(&writer);
    fixture_clear(&fixture);
}

TEST(sections_of_later_versions_are_ignored_or_refused_as_they_ask)
{
    struct fixture fixture;
    struct nr_block_writer writer;
    struct nr_table *table;

    fixture_init(&fixture, 0);
    make_block(&writer);
    forge_table(&fixture, nr_buffer_slice(&writer.bytes), 9, NR_SECTION_IGNORABLE, 0);
    EXPECT_OK(try_open(&fixture, 1, &table, &err), &err);
    nr_table_unref(table);
    forge_table(&fixture, nr_buffer_slice(&writer.bytes), 9, 0, 0);
    EXPECT_STATUS(try_open(&fixture, 1, &table, &err), NORI_FORMAT, &err);
    forge_table(&fixture, nr_buffer_slice(&writer.bytes), 0, 0, 1ull << 40);
    EXPECT_STATUS(try_open(&fixture, 1, &table, &err), NORI_FORMAT, &err);
    nr_block_writer_clear(&writer);
    fixture_clear(&fixture);
}

static void forge_senseless_sections(int compression)
{
    struct fixture fixture;
    uint8_t *bytes;
    struct nr_random random;
    nr_random_init(&random, 8);
    fixture_init(&fixture, 0);
    size_t size = make_table(&fixture, compression, &bytes);
    struct nr_file_header footer;
    EXPECT_EQ(nr_file_header_decode(nr_slice(bytes + size - NR_FILE_HEADER_BYTES, NR_FILE_HEADER_BYTES), NR_MAGIC_TABLE,
                                    &footer),
              NR_HEADER_VALID);
    uint64_t directory_at = footer.extra[NR_FOOTER_DIRECTORY_OFFSET];
    uint8_t *copy = malloc(size);
    for (unsigned round = 0; round < 3000; round++) {
        size_t section_count = (footer.extra[NR_FOOTER_DIRECTORY_SIZE] - NR_TRAILER_BYTES) / NR_DIRECTORY_ENTRY_BYTES;
        size_t pick = nr_random_below(&random, section_count + 1);
        uint64_t offset = directory_at, stored = footer.extra[NR_FOOTER_DIRECTORY_SIZE];
        struct nr_table *table;
        memcpy(copy, bytes, size);
        if (pick < section_count) {
            const uint8_t *entry = copy + directory_at + pick * NR_DIRECTORY_ENTRY_BYTES;
            offset = nr_get_fixed64(entry + NR_DIRECTORY_OFFSET_AT);
            stored = nr_get_fixed64(entry + NR_DIRECTORY_SIZE_AT);
        }
        size_t payload = (size_t)stored - NR_TRAILER_BYTES;
        copy[offset + nr_random_below(&random, NR_MIN(payload, 1 + nr_random_below(&random, payload)))] ^=
            (uint8_t)(1 + nr_random_below(&random, 255));
        nr_trailer_put(copy + offset, payload, NORI_COMPRESSION_NONE, (uint32_t)payload,
                       nr_checksum_seed(DATABASE_ID, 1, offset));
        EXPECT_OK(nori_simdisk_write_file(fixture.env, PATH, nr_slice(copy, size), &err), &err);
        nori_status rc = try_open(&fixture, 1, &table, &err);
        EXPECT(rc == NORI_OK || is_finding(rc));
        if (rc != NORI_OK) continue;
        unsigned findings = 0;
        (void)all_gets_are_right_or_findings(table, &findings);
        (void)walk_is_right_or_finding(table, round % 2, &findings);
        nr_table_unref(table);
    }
    free(copy);
    nori_free(bytes);
    fixture_clear(&fixture);
}

TEST(sections_of_senseless_bytes_are_refused)
{
    forge_senseless_sections(NORI_COMPRESSION_LZ4);
    forge_senseless_sections(NORI_COMPRESSION_NONE);
}

TEST(filters_of_senseless_bytes_are_refused)
{
    struct fixture fixture;
    struct nr_block_writer writer;
    struct nr_table *table;

    fixture_init(&fixture, 0);
    make_block(&writer);
    forge_table(&fixture, nr_buffer_slice(&writer.bytes), NR_SECTION_RIBBON, NR_SECTION_IGNORABLE, 0);
    EXPECT_STATUS(try_open(&fixture, 1, &table, &err), NORI_CORRUPTION, &err);
    forge_table(&fixture, nr_buffer_slice(&writer.bytes), NR_SECTION_FILTER, 0, 0);
    EXPECT_STATUS(try_open(&fixture, 1, &table, &err), NORI_CORRUPTION, &err);
    nr_block_writer_clear(&writer);
    fixture_clear(&fixture);
}

/* ---------------------------------------------------------------- failures of the system */

static int live_filter_kind;

/* One life of a table: built, opened, read, walked both ways, verified. */
static nori_status live(struct fixture *fixture)
{
    struct nr_table_builder_params params = builder_params(fixture, 1);
    struct nr_table *table = NULL;
    struct nr_iter *iter = NULL;
    struct nr_read read = {0}, scan = {.is_scan = true};
    struct nr_lookup lookup = make_lookup(entries[entry_count / 2].key, NR_MAX_SEQUENCE);
    uint64_t blocks = 0, verified = 0;
    nori_status rc = NORI_OK;
    size_t seen = 0;

    params.block_bytes = 300;
    params.filter_kind = live_filter_kind;
    NR_CHECK(try_build(&params, entries, entry_count, ranges, 1, &err));
    NR_CHECK(try_open(fixture, 1, &table, &err));
    NR_CHECK(nr_table_get(table, &lookup, &read, &err));
    EXPECT(lookup.found);
    NR_CHECK(nr_table_iter_create(table, nr_slice(NULL, 0), nr_bound_infinite(), &scan, &iter, &err));
    NR_CHECK(nr_iter_seek_first(iter, &err));
    while (iter->entry) {
        EXPECT(is_entry(iter, &entries[seen++]));
        NR_CHECK(nr_iter_next(iter, &err));
    }
    EXPECT_EQ(seen, entry_count);
    NR_CHECK(nr_iter_seek_last(iter, &err));
    while (iter->entry) {
        EXPECT(is_entry(iter, &entries[--seen]));
        NR_CHECK(nr_iter_prev(iter, &err));
    }
    EXPECT_EQ(seen, 0);
    NR_CHECK(nr_table_verify(table, &blocks, &verified, &err));
out:
    nr_read_clear(&read);
    nr_iter_destroy(iter);
    nr_table_unref(table);
    if (rc != NORI_OK) EXPECT_EQ(err.code, rc);
    return rc;
}

static void remove_table(struct fixture *fixture)
{
    nori_status ignored = nr_dir_unlink(fixture->dir, "000001.sst", NULL);
    (void)ignored;
}

static void live_without_memory(int filter_kind)
{
    nori_status rc = NORI_NO_MEMORY;
    live_filter_kind = filter_kind;
    make_entries();
    for (uint64_t nth = 1; rc != NORI_OK; nth++) {
        struct fixture fixture;
        fixture_init(&fixture, nth % 2 ? 1 << 20 : 0);
        nr_alloc_fail_at(nth);
        rc = live(&fixture);
        nr_alloc_fail_at(0);
        EXPECT(rc == NORI_OK || rc == NORI_NO_MEMORY);
        fixture_clear(&fixture);
        EXPECT(nth < 2000);
    }
}

TEST(every_failed_allocation_is_an_error_and_leaks_nothing)
{
    live_without_memory(NORI_FILTER_RIBBON);
    live_without_memory(NORI_FILTER_BLOOM);
}

TEST(every_failed_operation_on_the_disk_is_an_error_and_drops_the_unfinished_file)
{
    nori_status rc = NORI_IO;
    make_entries();
    for (uint64_t nth = 1; rc != NORI_OK; nth++) {
        struct fixture fixture;
        bool exists;
        fixture_init(&fixture, 0);
        EXPECT_OK(nori_simdisk_fail(fixture.env, "any", nth, ENOSPC, nth % 2, &err), &err);
        rc = live(&fixture);
        nori_simdisk_clear_faults(fixture.env);
        EXPECT(rc == NORI_OK || (rc == NORI_IO && err.sys_errno == ENOSPC));
        EXPECT_OK(nr_dir_exists(fixture.dir, "000001.sst", &exists, &err), &err);
        if (nth <= 3) EXPECT(!exists);
        remove_table(&fixture);
        EXPECT_OK(live(&fixture), &err);
        fixture_clear(&fixture);
        EXPECT(nth < 200);
    }
}

/* Blocks that a builder puts into the cache are those that a reader would make of the file. */
#include "fixture.h"
#include "table/table_internal.h"

#define ENTRIES 3000

static size_t make_entries(struct entry *entries)
{
    struct nr_random random;
    nr_random_init(&random, 21);
    for (size_t i = 0; i < ENTRIES; i++) {
        unsigned number = (unsigned)nr_random_below(&random, 200000);
        entries[i] = (struct entry){keep_text(i % 3 ? "tenant/%08u" : "tenant/%u/long", number),
                                    nr_tag(1 + nr_random_below(&random, 50), NR_TYPE_PUT),
                                    keep_text("value %u of some length", number)};
    }
    return sort_entries(entries, ENTRIES);
}

static struct nr_cached_block *find_kept(struct fixture *fixture, const struct nr_table *table, size_t block)
{
    return nr_block_cache_find(fixture->blocks, table->number, nr_index_block_offset(&table->sections.index, block),
                               true);
}

/* The first block's summary leaves nothing out: what is sought there is not known while it is written. */
static void expect_same(const struct nr_cached_block *kept, const struct nr_cached_block *from_file, bool is_first)
{
    struct nr_block_view a, b;
    EXPECT_EQ(kept->size, from_file->size);
    EXPECT(nr_block_view_summarized(&a, kept->data, kept->size));
    EXPECT(nr_block_view_summarized(&b, from_file->data, from_file->size));
    EXPECT_EQ(a.restart_count, b.restart_count);
    EXPECT_EQ(a.skipped, is_first ? 0 : b.skipped);
    EXPECT(a.prefixes && (is_first || memcmp(a.prefixes, b.prefixes, 8 * (size_t)a.restart_count) == 0));
    EXPECT(memcmp(a.restarts, b.restarts, 4 * (size_t)a.restart_count) == 0);
    EXPECT(a.limit - a.data == b.limit - b.data && memcmp(a.data, b.data, (size_t)(a.limit - a.data)) == 0);
}

TEST(a_kept_block_is_what_is_read)
{
    static struct entry entries[ENTRIES];
    static const uint32_t block_bytes[] = {64, 512, 4096, 12000};
    size_t count = make_entries(entries);
    for (unsigned round = 0; round < 2 * NR_ARRAY_LEN(block_bytes); round++) {
        struct fixture fixture;
        struct nr_read read = {0};
        fixture_init(&fixture, 4 << 20);
        struct nr_table_builder_params params = builder_params(&fixture, 1);
        params.blocks = fixture.blocks;
        params.block_bytes = block_bytes[round / 2];
        params.compression = round % 2 ? NORI_COMPRESSION_LZ4 : NORI_COMPRESSION_NONE;
        build(&params, entries, count);
        struct nr_table *table = open_table(&fixture, 1);
        EXPECT_OK(nr_table_acquire_file(table, &err), &err);
        for (size_t block = 0; block < nr_table_properties(table)->block_count; block++) {
            const struct nr_cached_block *kept = find_kept(&fixture, table, block);
            struct nr_cached_block *from_file;
            EXPECT_OK(nr_table_block_read(table, block, &read, &from_file, &err), &err);
            EXPECT(kept);
            expect_same(kept, from_file, block == 0);
            nr_block_unref(from_file);
        }
        nr_table_release_file(table);
        nr_table_unref(table);
        fixture_clear(&fixture);
    }
}

TEST(a_walk_from_a_range_tombstone_below_all_entries_finds_the_first_of_them)
{
    static const char *const starts[] = {"a", "m", "mmmmmmmmmmmmmmmmmmmmmmzzzzzzzz", "tenant", "tenant/", "tenant/0"};
    static struct entry entries[200];
    struct nr_range range = {nr_slice_text("a"), nr_bound_key(nr_slice_text("tenant/1")), 90};
    struct fixture fixture;
    fixture_init(&fixture, 4 << 20);
    for (unsigned i = 0; i < NR_ARRAY_LEN(entries); i++)
        entries[i] = (struct entry){keep_text("tenant/5/%08u", i), nr_tag(1, NR_TYPE_PUT), keep_text("value %u", i)};
    struct nr_table_builder_params params = builder_params(&fixture, 1);
    params.blocks = fixture.blocks;
    EXPECT_OK(try_build(&params, entries, NR_ARRAY_LEN(entries), &range, 1, &err), &err);
    struct nr_table *table = open_table(&fixture, 1);
    EXPECT(find_kept(&fixture, table, 0));
    for (size_t i = 0; i < NR_ARRAY_LEN(starts); i++) {
        struct nr_read read = {0};
        struct nr_iter *iter;
        nori_slice start = nr_slice_text(starts[i]);
        EXPECT_OK(nr_table_iter_create(table, start, nr_bound_infinite(), &read, &iter, &err), &err);
        EXPECT_OK(nr_iter_seek(iter, start, nr_tag_seek(NR_MAX_SEQUENCE), &err), &err);
        EXPECT(iter->entry && is_entry(iter, &entries[0]));
        nr_iter_destroy(iter);
        nr_read_clear(&read);
    }
    nr_table_unref(table);
    fixture_clear(&fixture);
}

TEST(only_blocks_that_end_while_it_is_on_are_kept)
{
    static struct entry entries[ENTRIES];
    size_t count = make_entries(entries), kept = 0;
    struct fixture fixture;
    struct nr_table_builder *builder;
    const struct nr_table_properties *properties;
    uint64_t file_bytes;
    fixture_init(&fixture, 4 << 20);
    struct nr_table_builder_params params = builder_params(&fixture, 1);
    params.blocks = fixture.blocks;
    EXPECT_OK(nr_table_builder_create(&params, &builder, &err), &err);
    for (size_t i = 0; i < count; i++) {
        nr_table_builder_keep(builder, i >= count / 3 && i < count * 2 / 3);
        EXPECT_OK(nr_table_builder_add(builder, entries[i].key, entries[i].tag, entries[i].value, &err), &err);
    }
    EXPECT_OK(nr_table_builder_finish(builder, &properties, &file_bytes, &err), &err);
    nr_table_builder_destroy(builder);
    struct nr_table *table = open_table(&fixture, 1);
    size_t blocks = (size_t)nr_table_properties(table)->block_count;
    for (size_t block = 0; block < blocks; block++) kept += find_kept(&fixture, table, block) != NULL;
    EXPECT(!find_kept(&fixture, table, 0) && !find_kept(&fixture, table, blocks - 1));
    EXPECT(find_kept(&fixture, table, blocks / 2) && kept >= blocks / 3 - 1 && kept <= blocks / 3 + 2);
    nr_table_unref(table);
    fixture_clear(&fixture);
}

TEST(a_table_that_is_given_up_leaves_nothing_in_the_cache)
{
    static struct entry entries[ENTRIES];
    size_t count = make_entries(entries);
    struct fixture fixture;
    struct nr_table_builder *builder;
    fixture_init(&fixture, 4 << 20);
    struct nr_table_builder_params params = builder_params(&fixture, 1);
    params.blocks = fixture.blocks;
    EXPECT_OK(nr_table_builder_create(&params, &builder, &err), &err);
    nr_table_builder_keep(builder, true);
    for (size_t i = 0; i < count; i++)
        EXPECT_OK(nr_table_builder_add(builder, entries[i].key, entries[i].tag, entries[i].value, &err), &err);
    EXPECT(nr_block_cache_bytes(fixture.blocks) > 0);
    nr_table_builder_destroy(builder);
    EXPECT_EQ(nr_block_cache_bytes(fixture.blocks), 0);
    fixture_clear(&fixture);
}

TEST(stamped_tables_and_large_blocks_are_not_kept)
{
    static struct entry entries[ENTRIES];
    size_t count = make_entries(entries);
    struct fixture fixture;
    fixture_init(&fixture, 4 << 20);
    struct nr_table_builder_params params = builder_params(&fixture, 1);
    params.blocks = fixture.blocks;
    params.is_stamped = true;
    for (size_t i = 0; i < count; i++) entries[i].tag = nr_tag(0, NR_TYPE_PUT);
    size_t distinct = sort_entries(entries, count);
    build(&params, entries, distinct);
    EXPECT_EQ(nr_block_cache_bytes(fixture.blocks), 0);
    params = builder_params(&fixture, 2);
    params.blocks = fixture.blocks;
    params.block_bytes = 40000;
    build(&params, entries, distinct);
    EXPECT(nr_block_cache_bytes(fixture.blocks) < 40000); /* The last one may be small. */
    fixture_clear(&fixture);
}

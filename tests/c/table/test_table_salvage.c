/* What is whole of a damaged table, against what was written to it. */
#include "fixture.h"

#define ENTRIES 1500

struct salvaged {
    size_t notes, block_notes;
};

static nori_status take_note(void *arg, const struct nori_error *damage, struct nori_error *error)
{
    struct salvaged *salvaged = arg;
    (void)error;
    EXPECT_EQ(damage->code, NORI_CORRUPTION);
    salvaged->notes++;
    salvaged->block_notes += strcmp(damage->kind, "block") == 0;
    return NORI_OK;
}

/* Keys of many versions, so that some straddle blocks. */
static size_t make_entries(struct entry *entries, struct nr_random *random)
{
    for (size_t i = 0; i < ENTRIES; i++) {
        unsigned key = (unsigned)nr_random_below(random, 60);
        entries[i] = (struct entry){.key = keep_text("key%04u", key * key),
                                    .tag = nr_tag(1 + nr_random_below(random, 100000), NR_TYPE_PUT),
                                    .value = keep_text("value %u", (unsigned)i)};
    }
    return sort_entries(entries, ENTRIES);
}

static void flip(struct fixture *fixture, const char *path, uint64_t at)
{
    uint8_t *data;
    size_t size;
    EXPECT_OK(nori_simdisk_read_file(fixture->env, path, &data, &size, &err), &err);
    data[at] ^= 1;
    EXPECT_OK(nori_simdisk_write_file(fixture->env, path, nr_slice(data, size), &err), &err);
    nori_free(data);
}

static struct nr_table *open_damaged(struct fixture *fixture, const struct nr_table_properties *known,
                                     struct salvaged *salvaged)
{
    const struct nr_salvage salvage = {take_note, salvaged, known};
    const struct nr_table_params params = {
        .dir = fixture->dir, .database_id = DATABASE_ID, .number = 7, .salvage = &salvage};
    struct nr_table *table;
    EXPECT_OK(nr_table_open(&params, &table, &err), &err);
    return table;
}

static void examine(struct nr_table *table, struct salvaged *salvaged, struct nr_table_damage *damage, uint64_t *blocks,
                    uint64_t *seen)
{
    const struct nr_salvage salvage = {take_note, salvaged, NULL};
    *blocks = *seen = 0;
    EXPECT_OK(nr_table_examine(table, &salvage, damage, blocks, seen, &err), &err);
}

/* Whether the entry lies in the blocks' span of keys. */
static bool is_in_span(const struct nr_table *table, size_t first, size_t last, nori_slice key)
{
    struct nr_buffer start = {0}, end = {0};
    EXPECT_OK(nr_table_block_span(table, first, last, &start, &end, &err), &err);
    bool is_in =
        nr_slice_compare(nr_buffer_slice(&start), key) <= 0 && nr_slice_compare(key, nr_buffer_slice(&end)) < 0;
    nr_buffer_clear(&start);
    nr_buffer_clear(&end);
    return is_in;
}

static bool is_in_damage(const struct nr_table *table, const struct nr_table_damage *damage, nori_slice key)
{
    for (size_t i = 0; i < damage->block_count; i++) {
        if (nr_table_damage_has(damage, i) && is_in_span(table, i, i, key)) return true;
    }
    return false;
}

/* Every entry comes out, or lies in a damaged block's span; those passed over for doubt are older than one that is
 * lost. */
static size_t compare(struct nr_table *table, const struct nr_table_damage *damage, const struct entry *entries,
                      size_t count, bool drops)
{
    struct nr_iter *iter;
    struct nr_read read = {.skip_cache = true};
    uint64_t dropped = 0;
    size_t shown = 0, first_missing = count;
    EXPECT_OK(nr_table_salvage_iter_create(table, damage, nr_slice("", 0), nr_bound_infinite(), &read,
                                           drops ? &dropped : NULL, &iter, &err),
              &err);
    EXPECT_OK(nr_iter_seek_first(iter, &err), &err);
    for (size_t i = 0; i < count; i++) {
        bool is_same_key = first_missing < count && nr_slice_equal(entries[first_missing].key, entries[i].key);
        if (iter->entry && is_entry(iter, &entries[i])) {
            /* Nothing older than something lost of its key. */
            EXPECT(!drops || !is_same_key);
            EXPECT_OK(nr_iter_next(iter, &err), &err);
            shown++;
        } else {
            if (!is_same_key) first_missing = i;
            EXPECT(is_in_damage(table, damage, entries[i].key));
        }
    }
    EXPECT(!iter->entry);
    nr_iter_destroy(iter);
    EXPECT(drops || dropped == 0);
    return shown + (size_t)dropped;
}

TEST(of_damaged_blocks_nothing_is_read_and_of_all_others_everything)
{
    static struct entry entries[ENTRIES];
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct fixture fixture;
        struct nr_random random;
        struct salvaged salvaged = {0};
        struct nr_table_damage damage;
        uint64_t blocks, seen;
        nr_random_init(&random, seed);
        fixture_init(&fixture, 1 << 20);
        struct nr_table_builder_params params = builder_params(&fixture, 7);
        params.block_bytes = 300;
        size_t count = make_entries(entries, &random);
        build(&params, entries, count);
        struct nr_table *table = open_damaged(&fixture, NULL, &salvaged);
        size_t block_count = (size_t)nr_table_properties(table)->block_count;
        bool is_hit[512] = {false};
        EXPECT(block_count > 30 && block_count < NR_ARRAY_LEN(is_hit));
        for (size_t n = nr_random_below(&random, block_count / 2); n > 0; n--) {
            size_t block = (size_t)nr_random_below(&random, block_count);
            if (!is_hit[block]) flip(&fixture, "/db/000007.sst", nr_table_block_offset(table, block) + 3);
            is_hit[block] = true;
        }
        examine(table, &salvaged, &damage, &blocks, &seen);
        EXPECT_EQ(damage.damaged_count, salvaged.block_notes);
        EXPECT_EQ(salvaged.notes, salvaged.block_notes);
        EXPECT_EQ(blocks + damage.damaged_count, block_count);
        for (size_t i = 0; i < block_count; i++) EXPECT_EQ(nr_table_damage_has(&damage, i), is_hit[i]);
        EXPECT_EQ(compare(table, &damage, entries, count, false), seen);
        EXPECT_EQ(compare(table, &damage, entries, count, true), seen);
        nr_table_damage_clear(&damage);
        nr_table_unref(table);
        fixture_clear(&fixture);
    }
}

/* Where a section of the kind begins, by what opening the table without salvage says of it when it is damaged. */
static uint64_t find_section(struct fixture *fixture, const char *kind)
{
    uint8_t *data;
    size_t size;
    EXPECT_OK(nori_simdisk_read_file(fixture->env, "/db/000007.sst", &data, &size, &err), &err);
    nori_free(data);
    for (uint64_t at = size - 97;; at--) {
        struct nr_table *table = NULL;
        flip(fixture, "/db/000007.sst", at);
        nori_status rc = try_open(fixture, 7, &table, &err);
        flip(fixture, "/db/000007.sst", at);
        nr_table_unref(table);
        if (rc == NORI_CORRUPTION && strcmp(err.kind, kind) == 0) return at;
    }
}

TEST(a_table_can_do_without_its_filter_and_with_properties_that_are_known_otherwise)
{
    static struct entry entries[ENTRIES];
    static const char *const kinds[] = {"filter", "properties"};
    for (size_t i = 0; i < NR_ARRAY_LEN(kinds); i++) {
        struct fixture fixture;
        struct nr_random random;
        struct salvaged salvaged = {0};
        struct nr_table_damage damage;
        uint64_t blocks, seen;
        nr_random_init(&random, i);
        fixture_init(&fixture, 1 << 20);
        struct nr_table_builder_params params = builder_params(&fixture, 7);
        size_t count = make_entries(entries, &random);
        build(&params, entries, count);
        struct nr_table *whole = open_table(&fixture, 7);
        flip(&fixture, "/db/000007.sst", find_section(&fixture, kinds[i]));
        struct nr_table *table = open_damaged(&fixture, nr_table_properties(whole), &salvaged);
        EXPECT_EQ(salvaged.notes, 1);
        EXPECT(!nr_properties_difference(nr_table_properties(whole), nr_table_properties(table)));
        examine(table, &salvaged, &damage, &blocks, &seen);
        EXPECT_EQ(salvaged.notes, 1);
        EXPECT_EQ(seen, count);
        EXPECT_EQ(compare(table, &damage, entries, count, true), count);
        nr_table_damage_clear(&damage);
        nr_table_unref(table);
        nr_table_unref(whole);
        fixture_clear(&fixture);
    }
}

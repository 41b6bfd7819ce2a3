/* A table: opened, iterated both ways, searched, verified. If it verifies, all of these agree. */
#include "fuzz.h"
#include "base/checksum.h"
#include "table/block_cache.h"
#include "table/table.h"

#define STAMP 1000000
/* Entries looked up one by one. */
#define MAX_GETS 200

struct setting {
    struct nr_table *table;
    struct nr_epoch epoch;
    struct nr_block_cache *blocks;
    bool is_sound; /* By nr_table_verify. */
    uint64_t entry_count;
};

static void ask(struct setting *setting, nori_slice key, uint64_t tag, bool is_newest)
{
    struct nr_lookup lookup = {.key = key, .hash = nr_hash_key(key), .sequence = NR_MAX_SEQUENCE};
    struct nr_read read = {0};
    struct nori_error err;
    unsigned stripe = nr_epoch_enter(&setting->epoch);
    nori_status rc = nr_table_get(setting->table, &lookup, &read, &err);
    FUZZ_EXPECT(rc == NORI_OK || rc == NORI_CORRUPTION);
    if (setting->is_sound) {
        FUZZ_EXPECT_OK(rc, &err);
        if (is_newest) FUZZ_EXPECT(lookup.found && lookup.tag == tag);
    }
    nr_read_clear(&read);
    nr_epoch_leave(&setting->epoch, stripe);
}

static void walk_back(struct setting *setting, struct nr_iter *iter, uint64_t expected)
{
    struct nori_error err;
    uint64_t count = 0;
    nori_status rc = nr_iter_seek_last(iter, &err);
    for (; rc == NORI_OK && iter->entry && count <= setting->entry_count; count++) rc = nr_iter_prev(iter, &err);
    FUZZ_EXPECT(rc == NORI_OK || rc == NORI_CORRUPTION);
    if (setting->is_sound) FUZZ_EXPECT(rc == NORI_OK && count == expected);
}

static void walk(struct setting *setting)
{
    struct nr_iter *iter;
    struct nr_read read = {0};
    struct nr_buffer key;
    struct nori_error err;
    uint64_t count = 0, tag = 0;

    nr_buffer_init(&key);
    FUZZ_EXPECT_OK(nr_table_iter_create(setting->table, nr_slice(NULL, 0), nr_bound_infinite(), &read, &iter, &err),
                   &err);
    nori_status rc = nr_iter_seek_first(iter, &err);
    for (; rc == NORI_OK && iter->entry && count <= setting->entry_count; count++) {
        bool is_newest = count == 0 || !nr_slice_equal(nr_buffer_slice(&key), iter->entry->key);
        if (setting->is_sound && count > 0)
            FUZZ_EXPECT(nr_entry_compare(nr_buffer_slice(&key), tag, iter->entry->key, iter->entry->tag) < 0);
        FUZZ_EXPECT_OK(nr_buffer_assign(&key, iter->entry->key, &err), &err);
        tag = iter->entry->tag;
        if (count < MAX_GETS) ask(setting, nr_buffer_slice(&key), tag, is_newest);
        rc = nr_iter_next(iter, &err);
    }
    FUZZ_EXPECT(rc == NORI_OK || rc == NORI_CORRUPTION);
    if (setting->is_sound) FUZZ_EXPECT(rc == NORI_OK && count == setting->entry_count);
    walk_back(setting, iter, count);
    rc = nr_iter_seek(iter, nr_buffer_slice(&key), tag, &err);
    if (setting->is_sound && count > 0) FUZZ_EXPECT(rc == NORI_OK && iter->entry && iter->entry->tag == tag);
    rc = nr_iter_seek_back(iter, nr_slice_text("m"), UINT64_MAX, &err);
    FUZZ_EXPECT(rc == NORI_OK || rc == NORI_CORRUPTION);
    nr_iter_destroy(iter);
    nr_read_clear(&read);
    nr_buffer_clear(&key);
}

static void take_key(void *arg, nori_slice key, uint64_t bytes)
{
    size_t *count = arg;
    (void)key, (void)bytes;
    ++*count;
}

static void use(struct setting *setting)
{
    uint64_t blocks = 0, bytes, entries;
    size_t samples = 0;
    struct nori_error err;
    const struct nr_table_properties *properties = nr_table_properties(setting->table);

    setting->entry_count = 0;
    nori_status rc = nr_table_verify(setting->table, &blocks, &setting->entry_count, &err);
    FUZZ_EXPECT(rc == NORI_OK || rc == NORI_CORRUPTION || rc == NORI_FORMAT);
    setting->is_sound = rc == NORI_OK;
    if (!setting->is_sound) setting->entry_count = 100000;
    walk(setting);
    ask(setting, nr_slice_text("no such key"), 0, false);
    nr_table_measure(setting->table, properties->smallest, properties->end, &bytes, &entries);
    nr_table_sample(setting->table, 5, take_key, &samples);
    FUZZ_EXPECT(samples <= 4);
}

void fuzz_table(nori_slice input)
{
    struct fuzz_file files[FUZZ_MAX_FILES];
    struct fuzz_disk disk;
    struct setting setting = {0};
    struct nori_error err;

    if (fuzz_split(input, files) == 0 || files[0].kind != NR_FILE_TABLE) return;
    fuzz_disk_init(&disk);
    fuzz_write_file(&disk, &files[0]);
    nr_epoch_init(&setting.epoch);
    FUZZ_EXPECT_OK(nr_block_cache_create(&setting.epoch, 1 << 20, &setting.blocks, &err), &err);
    struct nr_table_params params = {.dir = disk.dir,
                                     .blocks = setting.blocks,
                                     .epoch = &setting.epoch,
                                     .database_id = files[0].header.database_id,
                                     .number = files[0].header.number,
                                     .largest_sequence = STAMP};
    nori_status rc = nr_table_open(&params, &setting.table, &err);
    FUZZ_EXPECT(rc == NORI_OK || rc == NORI_CORRUPTION || rc == NORI_FORMAT);
    if (rc == NORI_OK) use(&setting);
    if (rc == NORI_OK) nr_table_unref(setting.table);
    nr_block_cache_destroy(setting.blocks);
    nr_epoch_destroy(&setting.epoch);
    fuzz_disk_clear(&disk);
}

#include "memtable_model.h"

static struct nr_epoch epoch;
static struct model model;
static struct nr_random dice;

/* How keys of a round look: what they begin with, how many differ, whether they rise. */
struct shape {
    const char *begin;
    uint64_t distinct;
    bool rises;
    bool is_binary;
};

static const struct shape shapes[] = {
    {"", 300, false, true},
    {"", 1u << 30, false, true},
    {"customer/key0000", 100000, false, false},
    {"customer/key0000", 2000000, true, false},
    {"\xff\xff\xff\xff\xff\xff\xff\xff", 500, false, true},
};

static void set_up(void)
{
    nr_epoch_init(&epoch);
    nr_random_init(&dice, 7);
    memset(&model, 0, sizeof(model));
    model.entries = calloc(20000, sizeof(*model.entries));
}

static void tear_down(struct nr_memtable *memtable)
{
    nr_memtable_unref(memtable);
    nr_epoch_destroy(&epoch);
    free(model.entries);
}

static struct nr_memtable *new_memtable(void)
{
    struct nori_error err;
    struct nr_memtable *memtable;
    EXPECT_OK(nr_memtable_create(&epoch, 1 << 20, &memtable, &err), &err);
    return memtable;
}

static nori_slice draw_key(const struct shape *shape, uint8_t out[MODEL_KEY_BYTES])
{
    static uint64_t risen;
    uint64_t number =
        shape->rises && nr_random_below(&dice, 20) ? (risen += 3) : nr_random_below(&dice, shape->distinct);
    size_t size = strlen(shape->begin);
    memcpy(out, shape->begin, size);
    if (nr_random_below(&dice, 50) == 0) { /* One that begins otherwise, or is cut short. */
        size = nr_random_below(&dice, size + 1);
        if (size > 0 && nr_random_below(&dice, 2)) out[size - 1] = (uint8_t)nr_random_next(&dice);
    }
    if (shape->is_binary) {
        size_t more = nr_random_below(&dice, 9);
        for (size_t i = 0; i < more; i++) out[size++] = number >> 8 * i & 1 ? 0xff : (uint8_t)(number >> 8 * i & 0x81);
    } else {
        size += (size_t)snprintf((char *)out + size, MODEL_KEY_BYTES - size, "%07" PRIu64, number);
    }
    return nr_slice(out, size);
}

static void write_one(struct nr_memtable *memtable, const struct shape *shape, uint64_t sequence)
{
    struct nori_error err;
    uint8_t key_bytes[MODEL_KEY_BYTES];
    nori_slice key = draw_key(shape, key_bytes);
    uint64_t number = nr_random_next(&dice);
    bool is_put = nr_random_below(&dice, 5) != 0;
    unsigned type = is_put ? (unsigned)(NR_TYPE_PUT + nr_random_below(&dice, 2)) : (unsigned)NR_TYPE_DELETE;
    nori_slice value = nr_slice(&number, is_put ? 8 : 0);
    EXPECT_OK(nr_memtable_reserve_one(memtable, key, value, &err), &err);
    nr_memtable_insert_one(memtable, type, key, value, sequence);
    model_add(&model, key, nr_tag(sequence, (enum nr_entry_type)type), is_put ? number : 0);
}

/* A batch of up to 'most' operations; returns how many. */
static uint64_t write_batch(struct nr_memtable *memtable, const struct shape *shape, uint64_t most, uint64_t sequence)
{
    struct nori_error err;
    struct nori_batch *batch;
    uint64_t count = 1 + nr_random_below(&dice, most);
    EXPECT_OK(nori_batch_create(&batch, &err), &err);
    for (uint64_t i = 0; i < count; i++) {
        uint8_t bytes[2][MODEL_KEY_BYTES];
        nori_slice a = draw_key(shape, bytes[0]), b = draw_key(shape, bytes[1]);
        uint64_t number = nr_random_next(&dice), drawn = nr_random_below(&dice, 40), before = batch->count;
        bool is_infinite = nr_random_below(&dice, 8) == 0;
        if (drawn == 0 && model.range_count < NR_ARRAY_LEN(model.ranges)) {
            if (nr_slice_compare(a, b) > 0) {
                nori_slice other = a;
                a = b;
                b = other;
            }
            EXPECT_OK(nori_batch_delete_range(batch, &a, is_infinite ? NULL : &b, &err), &err);
            if (batch->count > before) model_add_range(&model, a, is_infinite ? NULL : &b, sequence + before);
        } else if (drawn < 8) {
            EXPECT_OK(nori_batch_delete(batch, a, &err), &err);
            model_add(&model, a, nr_tag(sequence + before, NR_TYPE_DELETE), 0);
        } else {
            EXPECT_OK(nori_batch_put(batch, a, nr_slice(&number, 8), 0, &err), &err);
            model_add(&model, a, nr_tag(sequence + before, NR_TYPE_PUT), number);
        }
    }
    count = batch->count;
    EXPECT_OK(nr_memtable_reserve(memtable, nr_buffer_slice(&batch->payload), count, sequence, &err), &err);
    nr_memtable_insert(memtable, nr_buffer_slice(&batch->payload), count, sequence);
    nori_batch_destroy(batch);
    return count;
}

static void check_get(struct nr_memtable *memtable, nori_slice key, uint64_t sequence)
{
    struct nr_lookup lookup = {.key = key, .hash = nr_hash_key(key), .sequence = sequence};
    size_t at = model_seek(&model, key, nr_tag_seek(sequence));
    bool is_there = at < model.count && nr_slice_equal(model_key(&model.entries[at]), key);
    nr_memtable_get(memtable, &lookup);
    EXPECT_EQ(lookup.found, is_there);
    EXPECT_EQ(lookup.tombstone_sequence, model_covering(&model, key, sequence));
    if (!is_there) return;
    EXPECT_EQ(lookup.tag, model.entries[at].tag);
    if (nr_tag_type(lookup.tag) == NR_TYPE_DELETE)
        EXPECT_EQ(lookup.value.size, 0);
    else
        EXPECT(nr_slice_equal(lookup.value, nr_slice(&model.entries[at].value, 8)));
}

static void check_reads(struct nr_memtable *memtable, const struct shape *shape, uint64_t last_sequence)
{
    for (int i = 0; i < 20; i++) {
        uint8_t bytes[2][MODEL_KEY_BYTES];
        nori_slice a = draw_key(shape, bytes[0]), b = draw_key(shape, bytes[1]);
        uint64_t sequence = nr_random_below(&dice, last_sequence + 2);
        const nori_slice *last = i % 3 == 0 ? NULL : i % 3 == 1 ? &a : &b;
        if (i % 2 && model.count) a = model_key(&model.entries[nr_random_below(&dice, model.count)]);
        check_get(memtable, a, sequence);
        check_get(memtable, a, NR_MAX_SEQUENCE);
        if (last && nr_slice_compare(a, *last) > 0) continue;
        if (i % 2) sequence = last_sequence - nr_random_below(&dice, NR_MIN(last_sequence, 4));
        EXPECT_EQ(nr_memtable_touched(memtable, a, last, sequence), model_touched(&model, a, last, sequence));
    }
}

static void expect_at(const struct nr_iter *iter, size_t at)
{
    EXPECT_EQ(iter->entry != NULL, at < model.count);
    if (!iter->entry) return;
    EXPECT(nr_slice_equal(iter->entry->key, model_key(&model.entries[at])));
    EXPECT_EQ(iter->entry->tag, model.entries[at].tag);
    if (iter->entry->value.size) EXPECT(nr_slice_equal(iter->entry->value, nr_slice(&model.entries[at].value, 8)));
}

static void check_iteration(struct nr_memtable *memtable, const struct shape *shape)
{
    struct nori_error err;
    struct nr_iter *iter;
    size_t at = 0;
    EXPECT_OK(nr_memtable_iter_create(memtable, &iter, &err), &err);
    EXPECT(!iter->entry);
    EXPECT_OK(nr_iter_seek_first(iter, &err), &err);
    for (expect_at(iter, at); iter->entry; expect_at(iter, ++at)) EXPECT_OK(nr_iter_next(iter, &err), &err);
    EXPECT_OK(nr_iter_seek_last(iter, &err), &err);
    for (at = model.count - 1; iter->entry; expect_at(iter, --at)) {
        expect_at(iter, at);
        EXPECT_OK(nr_iter_prev(iter, &err), &err);
    }
    EXPECT_EQ(at, SIZE_MAX);
    for (int i = 0; i < 500; i++) {
        uint8_t bytes[MODEL_KEY_BYTES];
        nori_slice key = draw_key(shape, bytes);
        uint64_t tag = i % 4 == 0 ? 0 : i % 4 == 1 ? UINT64_MAX : nr_tag_seek(nr_random_below(&dice, 5000));
        if (i % 3 == 0) { /* Exactly at an entry. */
            const struct model_entry *entry = &model.entries[nr_random_below(&dice, model.count)];
            key = model_key(entry);
            if (i % 2) tag = entry->tag;
        }
        at = model_seek(&model, key, tag);
        EXPECT_OK(nr_iter_seek(iter, key, tag, &err), &err);
        expect_at(iter, at);
        if (at == model.count || model.entries[at].tag != tag || !nr_slice_equal(model_key(&model.entries[at]), key))
            at--;
        EXPECT_OK(nr_iter_seek_back(iter, key, tag, &err), &err);
        expect_at(iter, at);
    }
    nr_iter_destroy(iter);
}

static void check_counts(const struct nr_memtable *memtable, uint64_t last_sequence)
{
    uint64_t deletes = model.range_count;
    for (size_t i = 0; i < model.count; i++) deletes += nr_tag_type(model.entries[i].tag) == NR_TYPE_DELETE;
    EXPECT_EQ(nr_memtable_entry_count(memtable), model.count + model.range_count);
    EXPECT_EQ(nr_memtable_delete_count(memtable), deletes);
    EXPECT_EQ(nr_memtable_first_sequence(memtable), 1);
    EXPECT_EQ(nr_memtable_last_sequence(memtable), last_sequence);
    EXPECT(!nr_memtable_is_empty(memtable));
}

static void check_tombstones(struct nr_memtable *memtable, const struct shape *shape)
{
    struct nori_error err;
    struct nr_tombstones *set, *again;
    EXPECT_OK(nr_memtable_tombstones(memtable, &set, &err), &err);
    EXPECT_OK(nr_memtable_tombstones(memtable, &again, &err), &err);
    EXPECT(set == again);
    EXPECT_EQ(set == NULL, model.range_count == 0);
    for (int i = 0; i < 200; i++) {
        uint8_t bytes[MODEL_KEY_BYTES];
        nori_slice key = draw_key(shape, bytes);
        uint64_t sequence = nr_random_below(&dice, 5000);
        EXPECT_EQ(nr_tombstones_covering(set, key, sequence), model_covering(&model, key, sequence));
    }
    nr_tombstones_unref(set);
    nr_tombstones_unref(again);
}

TEST(reads_and_iterators_agree_with_a_sorted_array_for_all_shapes_of_keys)
{
    for (size_t round = 0; round < 2 * NR_ARRAY_LEN(shapes); round++) {
        const struct shape *shape = &shapes[round / 2];
        uint64_t sequence = 1;
        struct nr_memtable *memtable;
        set_up();
        memtable = new_memtable();
        EXPECT(nr_memtable_is_empty(memtable));
        while (sequence < 4000) {
            if (round % 2) {
                sequence += write_batch(memtable, shape, 60, sequence);
            } else {
                write_one(memtable, shape, sequence++);
            }
            if (sequence % 16 == 0) check_reads(memtable, shape, sequence - 1);
        }
        check_iteration(memtable, shape);
        check_counts(memtable, sequence - 1);
        check_tombstones(memtable, shape);
        tear_down(memtable);
    }
}

TEST(an_old_version_is_found_behind_many_newer_ones)
{
    struct nori_error err;
    struct nr_memtable *memtable;
    nori_slice key = nr_slice_text("counter");
    set_up();
    memtable = new_memtable();
    for (uint64_t sequence = 1; sequence <= 3000; sequence++) {
        EXPECT_OK(nr_memtable_reserve_one(memtable, key, nr_slice(&sequence, 8), &err), &err);
        nr_memtable_insert_one(memtable, NR_TYPE_PUT, key, nr_slice(&sequence, 8), sequence);
        model_add(&model, key, nr_tag(sequence, NR_TYPE_PUT), sequence);
    }
    for (uint64_t sequence = 0; sequence <= 3001; sequence++) check_get(memtable, key, sequence);
    tear_down(memtable);
}

TEST(a_hash_index_with_far_too_many_entries_still_finds_all)
{
    struct nori_error err;
    struct nr_memtable *memtable;
    set_up();
    EXPECT_OK(nr_memtable_create(&epoch, 0, &memtable, &err), &err);
    for (uint64_t sequence = 1; sequence <= 15000; sequence++) {
        uint64_t number = __builtin_bswap64(sequence * 7919 % 15013 * 2);
        nori_slice key = nr_slice(&number, 8);
        EXPECT_OK(nr_memtable_reserve_one(memtable, key, key, &err), &err);
        nr_memtable_insert_one(memtable, NR_TYPE_PUT, key, key, sequence);
    }
    for (uint64_t i = 1; i <= 15000; i++) {
        for (uint64_t odd = 0; odd < 2; odd++) {
            uint64_t number = __builtin_bswap64(i * 7919 % 15013 * 2 + odd);
            nori_slice key = nr_slice(&number, 8);
            struct nr_lookup lookup = {.key = key, .hash = nr_hash_key(key), .sequence = NR_MAX_SEQUENCE};
            nr_memtable_get(memtable, &lookup);
            EXPECT_EQ(lookup.found, odd == 0);
            if (lookup.found) EXPECT_EQ(nr_tag_sequence(lookup.tag), i);
        }
    }
    tear_down(memtable);
}

TEST(a_failed_allocation_applies_nothing_and_the_retry_succeeds)
{
    struct nori_error err;
    struct nr_memtable *memtable = NULL;
    const struct shape *shape = &shapes[2];
    uint64_t sequence = 1, failures = 0;
    set_up();
    for (uint64_t nth = 1; !memtable; nth++) {
        nori_status rc;
        nr_alloc_fail_at(nth);
        rc = nr_memtable_create(&epoch, 1 << 20, &memtable, &err);
        nr_alloc_fail_at(0);
        EXPECT(rc == NORI_OK ? memtable != NULL : rc == NORI_NO_MEMORY && memtable == NULL);
    }
    while (sequence < 3000) {
        struct nori_batch *batch;
        uint64_t count = 1 + nr_random_below(&dice, 30);
        bool is_reserved = false;
        EXPECT_OK(nori_batch_create(&batch, &err), &err);
        for (uint64_t i = 0; i < count; i++) {
            uint8_t bytes[MODEL_KEY_BYTES];
            nori_slice key = draw_key(shape, bytes);
            if (i % 9 == 4) {
                EXPECT_OK(nori_batch_delete_range(batch, &key, NULL, &err), &err);
                model_add_range(&model, key, NULL, sequence + i);
            } else {
                EXPECT_OK(nori_batch_put(batch, key, nr_slice(&i, 8), 0, &err), &err);
                model_add(&model, key, nr_tag(sequence + i, NR_TYPE_PUT), i);
            }
        }
        for (uint64_t nth = 1; !is_reserved; nth++) {
            nori_status rc;
            nr_alloc_fail_at(nth);
            rc = nr_memtable_reserve(memtable, nr_buffer_slice(&batch->payload), count, sequence, &err);
            nr_alloc_fail_at(0);
            EXPECT(rc == NORI_OK || rc == NORI_NO_MEMORY);
            EXPECT_EQ(nr_memtable_last_sequence(memtable), sequence - 1);
            is_reserved = rc == NORI_OK;
            failures += rc != NORI_OK;
        }
        nr_alloc_fail_at(1); /* Insert allocates nothing. */
        nr_memtable_insert(memtable, nr_buffer_slice(&batch->payload), count, sequence);
        nr_alloc_fail_at(0);
        nori_batch_destroy(batch);
        sequence += count;
        if (sequence % 4 == 0) check_reads(memtable, shape, sequence - 1);
    }
    EXPECT(failures > 100);
    check_iteration(memtable, shape);
    nr_alloc_fail_at(1);
    struct nr_iter *iter;
    EXPECT_STATUS(nr_memtable_iter_create(memtable, &iter, &err), NORI_NO_MEMORY, &err);
    nr_alloc_fail_at(0);
    check_tombstones(memtable, shape);
    tear_down(memtable);
}

TEST(a_damaged_payload_is_refused_by_reserve_and_leaves_the_memtable_as_it_was)
{
    struct nori_error err;
    struct nr_memtable *memtable;
    struct nori_batch *batch;
    nori_slice start = nr_slice_text("a"), payload;
    set_up();
    memtable = new_memtable();
    EXPECT_OK(nori_batch_create(&batch, &err), &err);
    EXPECT_OK(nori_batch_put(batch, nr_slice_text("key"), nr_slice_text("value"), 5, &err), &err);
    EXPECT_OK(nori_batch_delete_range(batch, &start, NULL, &err), &err);
    payload = nr_buffer_slice(&batch->payload);
    EXPECT_STATUS(nr_memtable_reserve(memtable, payload, 1, 1, &err), NORI_CORRUPTION, &err);
    EXPECT_STATUS(nr_memtable_reserve(memtable, payload, 3, 1, &err), NORI_CORRUPTION, &err);
    EXPECT_STATUS(nr_memtable_reserve(memtable, payload, UINT64_MAX, 1, &err), NORI_CORRUPTION, &err);
    EXPECT_STATUS(nr_memtable_reserve(memtable, payload, 2, NR_MAX_SEQUENCE, &err), NORI_CORRUPTION, &err);
    for (size_t cut = 0; cut < payload.size; cut++)
        EXPECT_STATUS(nr_memtable_reserve(memtable, nr_slice(payload.data, cut), 2, 1, &err), NORI_CORRUPTION, &err);
    for (size_t bit = 0; bit < 8 * payload.size; bit++) {
        nori_status rc;
        batch->payload.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        rc = nr_memtable_reserve(memtable, payload, 2, 1, &err);
        EXPECT(rc == NORI_OK || rc == NORI_CORRUPTION);
        batch->payload.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    EXPECT(nr_memtable_is_empty(memtable));
    EXPECT_OK(nr_memtable_reserve(memtable, payload, 0 + 2, 1, &err), &err);
    nr_memtable_insert(memtable, payload, 2, 1);
    EXPECT_EQ(nr_memtable_entry_count(memtable), 2);
    nori_batch_destroy(batch);
    tear_down(memtable);
}

TEST(large_values_and_batches_waste_little_memory)
{
    struct nori_error err;
    struct nr_memtable *memtable;
    uint8_t *value = calloc(1, 700000);
    size_t put_bytes = 0;
    set_up();
    memtable = new_memtable();
    for (uint64_t sequence = 1; sequence <= 60; sequence++) {
        size_t size = sequence % 3 == 0 ? 700000 : 9000 * (sequence % 7);
        nori_slice key = nr_slice(&sequence, 8);
        EXPECT_OK(nr_memtable_reserve_one(memtable, key, nr_slice(value, size), &err), &err);
        nr_memtable_insert_one(memtable, NR_TYPE_PUT, key, nr_slice(value, size), sequence);
        put_bytes += size;
    }
    EXPECT(nr_memtable_bytes(memtable) > put_bytes);
    EXPECT(nr_memtable_bytes(memtable) < put_bytes + put_bytes / 5);
    free(value);
    tear_down(memtable);
}

TEST(an_iterator_outlives_the_memtables_other_references)
{
    struct nori_error err;
    struct nr_memtable *memtable;
    struct nr_iter *iter;
    set_up();
    memtable = new_memtable();
    for (uint64_t sequence = 1; sequence <= 100; sequence++) write_one(memtable, &shapes[2], sequence);
    EXPECT_OK(nr_memtable_iter_create(memtable, &iter, &err), &err);
    tear_down(memtable);
    EXPECT_OK(nr_iter_seek_first(iter, &err), &err);
    for (int i = 0; i < 100; i++) EXPECT_OK(nr_iter_next(iter, &err), &err);
    EXPECT(!iter->entry);
    nr_iter_destroy(iter);
}

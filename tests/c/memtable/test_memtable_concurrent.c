/* Readers beside the writer. A reader takes the published sequence, and must then see exactly the writes up to it. */
#include "harness.h"
#include "base/checksum.h"
#include "base/random.h"
#include "memtable/memtable.h"

#define READERS 3
#define KEYS 700
#define WRITES 12000

static struct nr_epoch epoch;
static struct nr_memtable *memtable;
static _Atomic uint64_t published;
static _Atomic uint64_t mistakes;
static bool is_batched;

/* Write 's' puts key s * 911 % KEYS, so that the write of a key at or below a sequence can be computed; every 512th
 * write deletes all keys. 911 and KEYS have no common factor. */
static uint64_t number_of(uint64_t sequence)
{
    return sequence * 911 % KEYS;
}
static bool is_range(uint64_t sequence)
{
    return sequence % 512 == 0;
}

static nori_slice format_key(uint64_t number, uint8_t out[24])
{
    return nr_slice(out, (size_t)snprintf((char *)out, 24, "table/%08" PRIu64, number));
}

/* The newest write of the key at or below 'sequence'; 0 if none. Writes of a key are KEYS apart. */
static uint64_t newest_write(uint64_t number, uint64_t sequence)
{
    uint64_t last = sequence;
    while (last > 0 && number_of(last) != number) last--;
    while (last > 0 && is_range(last)) last = last > KEYS ? last - KEYS : 0;
    return last;
}

static uint64_t count_keys(uint64_t sequence)
{
    uint64_t count = 0;
    if (sequence > 4 * KEYS) return KEYS;
    for (uint64_t number = 0; number < KEYS; number++) count += newest_write(number, sequence) != 0;
    return count;
}

static void mistake(void)
{
    atomic_fetch_add(&mistakes, 1);
}

static void check_key(uint64_t number, uint64_t sequence)
{
    uint8_t bytes[24];
    nori_slice key = format_key(number, bytes);
    struct nr_lookup lookup = {.key = key, .hash = nr_hash_key(key), .sequence = sequence};
    uint64_t expected = newest_write(number, sequence);
    unsigned stripe = nr_epoch_enter(&epoch);
    nr_memtable_get(memtable, &lookup);
    nr_epoch_leave(&epoch, stripe);
    if (lookup.found != (expected != 0)) mistake();
    if (lookup.found && nr_tag_sequence(lookup.tag) != expected) mistake();
    if (lookup.found && memcmp(lookup.value.data, &expected, 8) != 0) mistake();
    if (lookup.tombstone_sequence != sequence / 512 * 512) mistake();
}

/* All keys at a sequence, forwards or backwards. */
static void check_scan(uint64_t sequence, bool forwards)
{
    struct nr_iter *iter;
    uint64_t seen = 0, expected = count_keys(sequence), last_tag = 0;
    uint8_t last_key[24] = "";
    size_t last_bytes = 0;
    nori_status rc;
    if (nr_memtable_iter_create(memtable, &iter, NULL) != NORI_OK) return mistake();
    rc = forwards ? nr_iter_seek_first(iter, NULL) : nr_iter_seek_last(iter, NULL);
    while (rc == NORI_OK && iter->entry) {
        nori_slice last = nr_slice(last_key, last_bytes);
        int order = last_bytes ? nr_entry_compare(last, last_tag, iter->entry->key, iter->entry->tag)
                    : forwards ? -1
                               : 1;
        if (forwards ? order >= 0 : order <= 0) mistake();
        if (nr_tag_sequence(iter->entry->tag) <= sequence && !nr_slice_equal(last, iter->entry->key)) seen++;
        /* Only the visible ones count, so the last visible key is the one to remember. */
        if (nr_tag_sequence(iter->entry->tag) <= sequence) {
            memcpy(last_key, iter->entry->key.data, iter->entry->key.size);
            last_bytes = iter->entry->key.size;
            last_tag = iter->entry->tag;
        }
        rc = forwards ? nr_iter_next(iter, NULL) : nr_iter_prev(iter, NULL);
    }
    if (seen != expected) mistake();
    nr_iter_destroy(iter);
}

static void *read_along(void *arg)
{
    struct nr_random dice;
    uint64_t sequence;
    nr_random_init(&dice, (uint64_t)(uintptr_t)arg);
    do {
        sequence = atomic_load_explicit(&published, memory_order_acquire);
        for (int i = 0; i < 50; i++) check_key(nr_random_below(&dice, KEYS), sequence);
        check_key(number_of(sequence), sequence);
        check_key(number_of(sequence + 1), sequence);
        for (int i = 0; i < 5 && sequence > 0; i++)
            check_key(nr_random_below(&dice, KEYS), nr_random_below(&dice, sequence));
        if (nr_random_below(&dice, 8) == 0) check_scan(sequence, nr_random_below(&dice, 4) != 0);
        if (nr_random_below(&dice, 8) == 0) {
            struct nr_tombstones *set = NULL;
            unsigned stripe = nr_epoch_enter(&epoch);
            if (nr_memtable_tombstones(memtable, &set, NULL) != NORI_OK) mistake();
            nr_epoch_leave(&epoch, stripe);
            if (nr_tombstones_covering(set, nr_slice_text("table/1"), sequence) != sequence / 512 * 512) mistake();
            nr_tombstones_unref(set);
        }
    } while (sequence < WRITES);
    return NULL;
}

static void write_up_to(uint64_t first, uint64_t last)
{
    struct nori_error err;
    struct nori_batch *batch;
    EXPECT_OK(nori_batch_create(&batch, &err), &err);
    for (uint64_t sequence = first; sequence <= last; sequence++) {
        uint8_t bytes[24];
        nori_slice key = format_key(number_of(sequence), bytes);
        if (is_range(sequence))
            EXPECT_OK(nori_batch_delete_range(batch, NULL, NULL, &err), &err);
        else
            EXPECT_OK(nori_batch_put(batch, key, nr_slice(&sequence, 8), 0, &err), &err);
    }
    EXPECT_OK(nr_memtable_reserve(memtable, nr_buffer_slice(&batch->payload), batch->count, first, &err), &err);
    nr_memtable_insert(memtable, nr_buffer_slice(&batch->payload), batch->count, first);
    nori_batch_destroy(batch);
    atomic_store_explicit(&published, last, memory_order_release);
}

static void write_one(uint64_t sequence)
{
    struct nori_error err;
    uint8_t bytes[24];
    nori_slice key = format_key(number_of(sequence), bytes), value = nr_slice(&sequence, 8);
    EXPECT_OK(nr_memtable_reserve_one(memtable, key, value, &err), &err);
    nr_memtable_insert_one(memtable, NR_TYPE_PUT, key, value, sequence);
    atomic_store_explicit(&published, sequence, memory_order_release);
}

static void run_together(void)
{
    struct nori_error err;
    pthread_t readers[READERS];
    nr_epoch_init(&epoch);
    atomic_store(&published, 0);
    atomic_store(&mistakes, 0);
    EXPECT_OK(nr_memtable_create(&epoch, 1 << 20, &memtable, &err), &err);
    for (uintptr_t i = 0; i < READERS; i++)
        EXPECT_EQ(pthread_create(&readers[i], NULL, read_along, (void *)(i + 1)), 0);
    for (uint64_t sequence = 1; sequence <= WRITES;) {
        uint64_t last = NR_MIN(sequence + (is_batched ? 40 : 0), (uint64_t)WRITES);
        if (is_batched || is_range(sequence))
            write_up_to(sequence, last);
        else
            write_one(sequence);
        sequence = last + 1;
    }
    for (int i = 0; i < READERS; i++) pthread_join(readers[i], NULL);
    nr_memtable_unref(memtable);
    nr_epoch_destroy(&epoch);
    EXPECT_EQ(atomic_load(&mistakes), 0);
}

TEST(readers_beside_single_writes_see_all_that_was_published)
{
    is_batched = false;
    for (int round = 0; round < 3; round++) run_together();
}

TEST(readers_beside_batches_see_all_that_was_published)
{
    is_batched = true;
    for (int round = 0; round < 3; round++) run_together();
}

#include "harness.h"
#include "base/checksum.h"
#include "base/random.h"
#include "format/format.h"
#include "memtable/hash_index.h"

#define KEYS 3000

/* Node memory, for keys of eight bytes without values. */
static uint8_t memory[4 * KEYS][128] __attribute__((aligned(16)));
static size_t used;

static nori_slice key_of(uint64_t *number)
{
    return nr_slice(number, sizeof *number);
}

static struct nr_node *make_node(uint64_t number, uint64_t sequence)
{
    return nr_node_create(memory[used++], key_of(&number), nr_tag(sequence, NR_TYPE_PUT), nr_slice(NULL, 0), 1);
}

/* Hashes of which so many bits differ: few lines, few tags. */
static uint64_t hash_of(uint64_t number, uint64_t mask)
{
    return nr_hash_key(key_of(&number)) & mask;
}

static void add(struct nr_hash_index *index, uint64_t number, uint64_t sequence, uint64_t mask)
{
    struct nori_error err;
    EXPECT_OK(nr_hash_index_reserve(index, 1, &err), &err);
    nr_hash_index_add(index, hash_of(number, mask), make_node(number, sequence));
}

static const struct nr_node *find(const struct nr_hash_index *index, uint64_t number, uint64_t mask)
{
    return nr_hash_index_find(index, hash_of(number, mask), key_of(&number));
}

TEST(every_key_is_found_with_all_its_versions_however_many_share_lines_and_tags)
{
    static const uint64_t masks[] = {UINT64_MAX, 0xffffffff00000000, 0x00000000ffffffff, 0x8000000000000003};
    for (size_t round = 0; round < NR_ARRAY_LEN(masks); round++) {
        struct nori_error err;
        struct nr_hash_index index = {0};
        uint64_t mask = masks[round], keys = round < 1 ? KEYS : 200;
        used = 0;
        EXPECT_OK(nr_hash_index_init(&index, keys / 3, &err), &err);
        for (uint64_t sequence = 1; sequence <= 3 * keys; sequence++) add(&index, sequence % keys, sequence, mask);
        for (uint64_t number = 0; number < keys; number++) {
            const struct nr_node *node = find(&index, number, mask);
            uint64_t sequence = number == 0 ? 3 * keys : 2 * keys + number;
            for (int version = 0; version < 3; version++, sequence -= keys) {
                EXPECT(node != NULL);
                EXPECT_EQ(nr_tag_sequence(node->tag), sequence);
                node = atomic_load(&node->older);
            }
            EXPECT(node == NULL);
            EXPECT(find(&index, number + keys, mask) == NULL);
        }
        nr_hash_index_clear(&index);
    }
}

TEST(what_was_reserved_is_enough_for_the_worst_distribution)
{
    struct nori_error err;
    for (uint64_t entries = 0; entries < 40; entries += 13) {
        struct nr_hash_index index = {0};
        used = 0;
        EXPECT_OK(nr_hash_index_init(&index, entries, &err), &err);
        for (uint64_t number = 0; number < 2000;) {
            uint64_t count = 1 + number / 10;
            EXPECT_OK(nr_hash_index_reserve(&index, count, &err), &err);
            nr_alloc_fail_at(1); /* An addition allocates nothing. */
            for (uint64_t end = number + count; number < end; number++)
                nr_hash_index_add(&index, number % 2 ? number << 16 : hash_of(number, UINT64_MAX),
                                  make_node(number, number + 1));
            nr_alloc_fail_at(0);
        }
        EXPECT(nr_hash_index_bytes(&index) > 2000 / 7 * 64);
        EXPECT(nr_hash_index_bytes(&index) < 2000 * 64 * 2);
        nr_hash_index_clear(&index);
    }
}

TEST(a_reservation_without_memory_fails_and_changes_nothing)
{
    struct nori_error err;
    struct nr_hash_index index = {0};
    size_t bytes;
    used = 0;
    EXPECT_OK(nr_hash_index_init(&index, 4, &err), &err);
    for (uint64_t number = 0; number < 100; number++) add(&index, number, number + 1, UINT64_MAX);
    bytes = nr_hash_index_bytes(&index);
    nr_alloc_fail_at(1);
    EXPECT_STATUS(nr_hash_index_reserve(&index, 100000, &err), NORI_NO_MEMORY, &err);
    nr_alloc_fail_at(0);
    EXPECT_EQ(nr_hash_index_bytes(&index), bytes);
    for (uint64_t number = 0; number < 100; number++) EXPECT(find(&index, number, UINT64_MAX) != NULL);
    nr_hash_index_clear(&index);
}

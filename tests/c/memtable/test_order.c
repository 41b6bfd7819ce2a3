#include "harness.h"
#include "base/random.h"
#include "memtable/order.h"

#include "format/format.h"

#define NODES 20000

static uint8_t *memory;
static size_t used;
static struct nr_order order;
static uint64_t pushed_sequence;
static size_t pushed_count;

static void set_up(void)
{
    memory = aligned_alloc(16, (size_t)NODES * 2048);
    used = 0;
    pushed_sequence = pushed_count = 0;
    nr_order_init(&order);
}

static void tear_down(void)
{
    nr_order_clear(&order);
    free(memory);
}

/* 'value_bytes' of nothing in particular behind the key. */
static void push(nori_slice key, size_t value_bytes)
{
    static const uint8_t zeros[1500];
    uint64_t sequence = ++pushed_sequence;
    unsigned height = nr_node_height(sequence);
    struct nr_node *node =
        nr_node_create(memory + used, key, nr_tag(sequence, NR_TYPE_PUT), nr_slice(zeros, value_bytes), height);
    used += nr_node_bytes(key.size, value_bytes, height);
    nr_order_push(&order, node);
    pushed_count++;
}

static nori_slice text_key(char text[32], const char *format, uint64_t number)
{
    return nr_slice(text, (size_t)snprintf(text, 32, format, number));
}

/* The list is in order, and holds all that was pushed up to the sequence. */
static void check_list(uint64_t sequence)
{
    const struct nr_node *node = nr_skiplist_first(nr_order_list(&order)), *before = NULL;
    size_t count = 0;
    for (; node; before = node, node = nr_node_next(node)) {
        EXPECT(!before || nr_entry_compare(nr_node_key(before), before->tag, nr_node_key(node), node->tag) < 0);
        count += nr_tag_sequence(node->tag) <= sequence;
        EXPECT(nr_skiplist_seek(nr_order_list(&order), nr_node_key(node), node->tag) == node);
    }
    EXPECT_EQ(count, pushed_count);
}

TEST(links_of_any_size_put_any_keys_in_order)
{
    static const char *const formats[] = {"%" PRIu64, "customer/%010" PRIu64, "%020" PRIu64, "same"};
    static const size_t steps[] = {1, 5, 40, 900, 3000};
    struct nr_random dice;
    nr_random_init(&dice, 11);
    for (size_t format = 0; format < NR_ARRAY_LEN(formats); format++) {
        for (size_t step = 0; step < NR_ARRAY_LEN(steps); step++) {
            char text[32];
            set_up();
            while (pushed_count < 5000) {
                size_t count = 1 + nr_random_below(&dice, 2 * steps[step]);
                for (size_t i = 0; i < count; i++)
                    push(text_key(text, formats[format], nr_random_below(&dice, step % 2 ? 100 : 1 << 30)), 8);
                EXPECT(nr_order_link(&order, pushed_sequence, step % 2));
                EXPECT(nr_order_is_linked(&order, pushed_sequence));
                if (step > 1) check_list(pushed_sequence);
            }
            check_list(pushed_sequence);
            tear_down();
        }
    }
}

TEST(rising_and_falling_keys_are_put_in_order)
{
    for (int falls = 0; falls < 2; falls++) {
        char text[32];
        set_up();
        for (uint64_t i = 0; i < 5000; i++) {
            push(text_key(text, "series/%09" PRIu64, falls ? 5000 - i : i), 8);
            if (i % 1700 == 3) nr_order_link(&order, pushed_sequence, true);
        }
        nr_order_link(&order, pushed_sequence, true);
        check_list(pushed_sequence);
        tear_down();
    }
}

TEST(what_was_written_after_the_sequence_waits_for_the_next_link)
{
    char text[32];
    set_up();
    for (uint64_t i = 0; i < 300; i++) push(text_key(text, "%" PRIu64, i * 7919 % 300), 8);
    for (uint64_t sequence = 1; sequence <= 300; sequence += 23) {
        const struct nr_node *node;
        uint64_t count = 0;
        nr_order_link(&order, sequence, true);
        for (node = nr_skiplist_first(nr_order_list(&order)); node; node = nr_node_next(node)) count++;
        EXPECT_EQ(count, sequence);
    }
    nr_order_link(&order, 300, true);
    check_list(300);
    tear_down();
}

TEST(sequences_without_nodes_are_linked_too_and_gaps_take_no_memory)
{
    char text[32];
    set_up();
    pushed_sequence = 7; /* Range deletes. */
    EXPECT(nr_order_link(&order, 7, true));
    EXPECT(nr_order_is_linked(&order, 7));
    push(text_key(text, "%" PRIu64, 5), 8);
    pushed_sequence += (uint64_t)1 << 50;
    for (uint64_t i = 0; i < 40; i++) push(text_key(text, "%" PRIu64, i * 7919 % 100), 8);
    pushed_sequence += 3;
    EXPECT(nr_order_link(&order, pushed_sequence, true));
    EXPECT(nr_order_is_linked(&order, pushed_sequence));
    check_list(pushed_sequence);
    tear_down();
}

TEST(without_memory_links_are_made_all_the_same)
{
    for (uint64_t nth = 1; nth <= 4; nth++) {
        char text[32];
        set_up();
        for (uint64_t i = 0; i < 4000; i++) {
            push(text_key(text, "customer/%06" PRIu64, i * 7919 % 4001), 8);
            if (i != 500 && i != 3000) continue;
            nr_alloc_fail_at(nth);
            EXPECT(nr_order_link(&order, pushed_sequence, true));
            nr_alloc_fail_at(0);
            check_list(pushed_sequence);
        }
        tear_down();
    }
}

TEST(large_values_are_not_copied)
{
    char text[32];
    set_up();
    for (uint64_t i = 0; i < 2000; i++) {
        push(text_key(text, "customer/%06" PRIu64, i * 7919 % 2003), 1500);
        if (i % 1000 == 900) nr_order_link(&order, pushed_sequence, true);
    }
    nr_order_link(&order, pushed_sequence, true);
    check_list(pushed_sequence);
    EXPECT_EQ(nr_arena_bytes(&order.arena), 0);
    tear_down();
}

TEST(who_may_not_wait_does_not)
{
    char text[32];
    set_up();
    push(text_key(text, "%" PRIu64, 1), 8);
    nr_mutex_lock(&order.lock);
    EXPECT(!nr_order_link(&order, 1, false));
    nr_mutex_unlock(&order.lock);
    EXPECT(nr_order_link(&order, 1, false));
    nr_mutex_lock(&order.lock);
    EXPECT(nr_order_link(&order, 1, false)); /* Nothing is to be done. */
    nr_mutex_unlock(&order.lock);
    tear_down();
}

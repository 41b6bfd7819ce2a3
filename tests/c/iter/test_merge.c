#include "walk.h"

#include "iter/merge.h"

enum { MAX_ENTRIES = 120, MAX_CHILDREN = 11 };

/* Entries spread over children, and all of them in order. */
struct split {
    struct nr_entry all[MAX_ENTRIES];
    struct nr_entry parts[MAX_CHILDREN][MAX_ENTRIES];
    size_t sizes[MAX_CHILDREN];
    size_t count, child_count;
};

static void fill(struct split *split, struct nr_random *random, size_t child_count, size_t count)
{
    memset(split, 0, sizeof(*split));
    split->child_count = child_count;
    split->count = child_count ? count : 0;
    /* Long stretches from one child, or well mixed. */
    uint64_t stay = nr_random_below(random, 2) ? 12 : 1;
    for (size_t i = 0; i < split->count; i++) {
        nori_slice key = universe_key(nr_random_below(random, UNIVERSE_KEY_COUNT));
        split->all[i] = (struct nr_entry){key, nr_tag(i + 1, NR_TYPE_PUT), key};
    }
    qsort(split->all, split->count, sizeof(struct nr_entry), compare_entries);
    size_t child = 0;
    for (size_t i = 0; i < split->count; i++) {
        if (nr_random_below(random, stay) == 0) child = nr_random_below(random, child_count);
        split->parts[child][split->sizes[child]++] = split->all[i];
    }
}

static nori_status create(const struct split *split, struct nr_iter **iter_out, struct nori_error *err)
{
    struct nr_iter *children[MAX_CHILDREN];
    for (size_t i = 0; i < split->child_count; i++) children[i] = vector_create(split->parts[i], split->sizes[i]);
    return nr_merge_iter_create(children, split->child_count, iter_out, err);
}

static struct shown all_of(const struct split *split)
{
    return (struct shown){split->all, split->count, false};
}

TEST(merge_shows_all_entries_in_order_in_both_directions)
{
    struct nr_random random;
    struct nori_error err;
    static struct split split;
    nr_random_init(&random, 1);
    for (size_t round = 0; round < 220; round++) {
        struct nr_iter *iter;
        fill(&split, &random, round % (MAX_CHILDREN + 1), nr_random_below(&random, MAX_ENTRIES + 1));
        EXPECT_OK(create(&split, &iter, &err), &err);
        walk(all_of(&split), iter, &random, 300);
        nr_iter_destroy(iter);
        EXPECT_EQ(vector_live_count, 0);
    }
}

TEST(merge_reports_a_childs_error_stands_nowhere_and_can_seek_again)
{
    struct nr_random random;
    struct nori_error err;
    static struct split split;
    nr_random_init(&random, 2);
    for (uint64_t nth = 1; nth < 150; nth++) {
        struct nr_iter *iter;
        fill(&split, &random, 2 + nth % 5, 60);
        EXPECT_OK(create(&split, &iter, &err), &err);
        vector_fail_countdown = nth;
        nori_status status = nr_iter_seek_first(iter, &err);
        for (size_t i = 0; status == NORI_OK; i++) {
            bool is_backward = i % 8 >= 5;
            if (!iter->entry)
                status = nr_iter_seek_first(iter, &err);
            else
                status = is_backward ? nr_iter_prev(iter, &err) : nr_iter_next(iter, &err);
        }
        EXPECT_EQ(status, NORI_IO);
        EXPECT(!iter->entry);
        EXPECT_EQ(vector_fail_countdown, 0);
        walk(all_of(&split), iter, &random, 50);
        nr_iter_destroy(iter);
    }
}

TEST(merge_destroys_its_children_when_memory_runs_out)
{
    struct nr_random random;
    struct nori_error err;
    static struct split split;
    nr_random_init(&random, 3);
    for (size_t child_count = 0; child_count < 5; child_count++) {
        struct nr_iter *iter;
        fill(&split, &random, child_count, 20);
        nr_alloc_fail_at(1);
        nori_status status = create(&split, &iter, &err);
        nr_alloc_fail_at(0);
        if (child_count == 1) {
            EXPECT_EQ(status, NORI_OK);
            nr_iter_destroy(iter);
        } else {
            EXPECT_EQ(status, NORI_NO_MEMORY);
            EXPECT(!iter);
        }
        EXPECT_EQ(vector_live_count, 0);
    }
}

TEST(one_child_is_returned_as_it_is)
{
    struct nori_error err;
    struct nr_iter *child = vector_create(NULL, 0), *iter;
    EXPECT_OK(nr_merge_iter_create(&child, 1, &iter, &err), &err);
    EXPECT(iter == child);
    nr_iter_destroy(iter);
}

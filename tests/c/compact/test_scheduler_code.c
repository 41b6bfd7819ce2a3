/* What the scheduler learned, written and read back, whole and damaged. */
#include "scheduler_model.h"

#include "base/checksum.h"
#include "base/coding.h"

static struct nori_error err;
static struct nr_scheduler scheduler, fresh, decoded;

static void learn_something(uint64_t choices)
{
    static struct model_world world;
    struct nr_random random;
    nr_random_init(&random, 2);
    model_init(&scheduler, NORI_SCHEDULER_BANDIT);
    model_init(&fresh, NORI_SCHEDULER_BANDIT);
    model_world_init(&world, 1);
    model_run(&world, &scheduler, &random, choices);
    scheduler.cursor_level = 3;
    scheduler.cursor_slot_id = UINT64_MAX;
    scheduler.cursor_action = NR_ACTION_CLEAN;
}

static bool decode(const uint8_t *bytes, size_t size)
{
    /* Of its own size, so that a sanitizer sees a byte read behind the end. */
    uint8_t *copy = malloc(size ? size : 1);
    EXPECT(copy);
    if (size) memcpy(copy, bytes, size);
    model_init(&decoded, NORI_SCHEDULER_BANDIT);
    decoded.bandit.trials = 77; /* Not what it was before, either. */
    bool is_read = nr_scheduler_decode(&decoded, nr_slice(copy, size));
    free(copy);
    return is_read;
}

static bool decoded_is(const struct nr_scheduler *other)
{
    return memcmp(&decoded, other, sizeof decoded) == 0;
}

TEST(what_was_learned_comes_back_the_same)
{
    uint64_t choices[] = {0, 1, 9, 300, 9000};
    for (size_t i = 0; i < NR_ARRAY_LEN(choices); i++) {
        struct nr_buffer bytes = {0};
        learn_something(choices[i]);
        EXPECT_OK(nr_scheduler_encode(&scheduler, &bytes, &err), &err);
        EXPECT(decode(bytes.data, bytes.size));
        EXPECT(decoded_is(&scheduler));
        nr_buffer_clear(&bytes);
    }
}

TEST(options_are_not_what_was_learned)
{
    struct nr_buffer bytes = {0};
    struct nori_options options = model_options(NORI_SCHEDULER_CONTEXTUAL);
    options.compaction_epsilon = 0.25;
    learn_something(100);
    EXPECT_OK(nr_scheduler_encode(&scheduler, &bytes, &err), &err);
    nr_scheduler_init(&decoded, &options);
    EXPECT(nr_scheduler_decode(&decoded, nr_buffer_slice(&bytes)));
    EXPECT_EQ(decoded.policy, NORI_SCHEDULER_CONTEXTUAL);
    EXPECT(decoded.epsilon == 0.25);
    EXPECT(memcmp(&decoded.bandit, &scheduler.bandit, sizeof decoded.bandit) == 0);
    nr_buffer_clear(&bytes);
}

TEST(the_bytes_are_appended_and_few)
{
    struct nr_buffer bytes = {0};
    learn_something(300);
    EXPECT_OK(nr_buffer_append(&bytes, nr_slice_text("before"), &err), &err);
    EXPECT_OK(nr_scheduler_encode(&scheduler, &bytes, &err), &err);
    EXPECT(bytes.size < 4096);
    EXPECT_SLICE(nr_slice(bytes.data, 6), "before");
    EXPECT(decode(bytes.data + 6, bytes.size - 6));
    EXPECT(decoded_is(&scheduler));
    nr_buffer_clear(&bytes);
}

TEST(every_cut_gives_a_fresh_state)
{
    struct nr_buffer bytes = {0};
    learn_something(100);
    EXPECT_OK(nr_scheduler_encode(&scheduler, &bytes, &err), &err);
    for (size_t size = 0; size < bytes.size; size++) {
        EXPECT(!decode(bytes.data, size));
        EXPECT(decoded_is(&fresh));
    }
    nr_buffer_clear(&bytes);
}

TEST(every_flipped_bit_gives_a_fresh_state)
{
    struct nr_buffer bytes = {0};
    learn_something(20);
    EXPECT_OK(nr_scheduler_encode(&scheduler, &bytes, &err), &err);
    for (size_t bit = 0; bit < 8 * bytes.size; bit++) {
        bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        EXPECT(!decode(bytes.data, bytes.size));
        EXPECT(decoded_is(&fresh));
        bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    nr_buffer_clear(&bytes);
}

static void seal(uint8_t *bytes, size_t size)
{
    nr_put_fixed64(bytes + size - 8, nr_checksum(nr_get_fixed32(bytes), nr_slice(bytes, size - 8)));
}

TEST(damage_under_a_right_checksum_gives_a_fresh_state_or_a_usable_one)
{
    struct nr_buffer bytes = {0};
    struct nr_random random;
    struct nr_candidate candidates[MODEL_KINDS];
    nr_random_init(&random, 8);
    for (size_t kind = 0; kind < MODEL_KINDS; kind++) candidates[kind] = model_candidate(&random, kind);
    learn_something(20);
    EXPECT_OK(nr_scheduler_encode(&scheduler, &bytes, &err), &err);
    for (size_t bit = 32; bit < 8 * (bytes.size - 8); bit++) {
        bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        seal(bytes.data, bytes.size);
        if (!decode(bytes.data, bytes.size)) EXPECT(decoded_is(&fresh));
        decoded.policy = bit % 2 ? NORI_SCHEDULER_BANDIT : NORI_SCHEDULER_CONTEXTUAL;
        struct nr_choice choice = nr_scheduler_choose(&decoded, candidates, MODEL_KINDS, &random);
        EXPECT(choice.index < MODEL_KINDS);
        EXPECT(choice.ratio >= 0 && choice.ratio < 1e12);
        bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    nr_buffer_clear(&bytes);
}

TEST(a_matrix_that_no_rewards_can_give_is_read_as_nothing)
{
    struct nr_buffer bytes = {0};
    learn_something(20);
    scheduler.models[NR_ACTION_TIER].pairs[1] = 1000;
    EXPECT_OK(nr_scheduler_encode(&scheduler, &bytes, &err), &err);
    EXPECT(!decode(bytes.data, bytes.size));
    EXPECT(decoded_is(&fresh));
    nr_buffer_clear(&bytes);
}

TEST(another_version_or_more_bytes_than_are_known_give_a_fresh_state)
{
    struct nr_buffer bytes = {0};
    learn_something(20);
    EXPECT_OK(nr_scheduler_encode(&scheduler, &bytes, &err), &err);
    bytes.data[4] = 2;
    seal(bytes.data, bytes.size);
    EXPECT(!decode(bytes.data, bytes.size));
    EXPECT(decoded_is(&fresh));
    bytes.data[4] = 1;
    EXPECT_OK(nr_buffer_append(&bytes, nr_slice_text("x"), &err), &err);
    seal(bytes.data, bytes.size);
    EXPECT(!decode(bytes.data, bytes.size));
    EXPECT(decoded_is(&fresh));
    nr_buffer_clear(&bytes);
}

TEST(encoding_that_runs_out_of_memory_says_so_and_appends_nothing)
{
    learn_something(300);
    for (uint64_t n = 1;; n++) {
        struct nr_buffer bytes = {0};
        nr_alloc_fail_at(n);
        nori_status rc = nr_scheduler_encode(&scheduler, &bytes, &err);
        nr_alloc_fail_at(0);
        EXPECT(rc == NORI_OK || (rc == NORI_NO_MEMORY && bytes.size == 0));
        nr_buffer_clear(&bytes);
        if (rc == NORI_OK) break;
    }
}

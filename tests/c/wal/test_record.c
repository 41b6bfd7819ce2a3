#include "fixture.h"

#define NUMBER 7

static struct nori_env *make_disk(struct nr_dir **root_out)
{
    struct nori_env *env;
    struct nori_error err;
    EXPECT_OK(nori_simdisk_create(1, 512, false, &env, &err), &err);
    EXPECT_OK(nr_dir_open(env, "/db", true, root_out, &err), &err);
    return env;
}

static struct nr_file *make_file(struct nori_env *env, struct nr_dir *root, nori_slice content)
{
    struct nr_file *file;
    struct nori_error err;
    EXPECT_OK(nori_simdisk_write_file(env, "/db/file", content, &err), &err);
    EXPECT_OK(nr_file_open(root, "file", NR_OPEN_READ, &file, &err), &err);
    return file;
}

static struct nr_record_place place_at(uint64_t offset)
{
    return (struct nr_record_place){DATABASE_ID, NUMBER, offset};
}

static void add_record(struct nr_buffer *out, uint64_t sequence, nori_slice payload, struct nr_position promise)
{
    struct nr_record_writer writer;
    struct nori_error err;
    uint64_t bound = nr_record_end(out->size, payload.size);
    nr_record_writer_init(&writer, place_at(out->size), sequence, 1, promise, payload);
    EXPECT_OK(nr_record_encode(&writer, out, &err), &err);
    EXPECT(out->size <= bound);
    EXPECT(bound - out->size <= NR_RECORD_BLOCK_BYTES);
    EXPECT_EQ(writer.place.offset, out->size);
}

static void add_mark(struct nr_buffer *out, struct nr_position promise)
{
    struct nr_record_writer writer;
    struct nori_error err;
    nr_record_writer_init_mark(&writer, place_at(out->size), promise);
    EXPECT_OK(nr_record_encode(&writer, out, &err), &err);
}

static void add_next(struct nr_buffer *out, uint64_t sequence, nori_slice payload)
{
    struct nr_record_writer writer;
    struct nori_error err;
    EXPECT(nr_record_fits_next(out->size, payload.size));
    nr_record_writer_init_next(&writer, place_at(out->size), sequence, payload);
    EXPECT_OK(nr_record_encode(&writer, out, &err), &err);
}

static void add_header(struct nr_buffer *out)
{
    uint8_t zeros[NR_FILE_HEADER_BYTES] = {0};
    struct nori_error err;
    EXPECT_OK(nr_buffer_append(out, nr_slice(zeros, sizeof(zeros)), &err), &err);
}

TEST(records_of_every_size_around_a_block_come_back_at_every_distance_from_its_end)
{
    enum { BASE = NR_RECORD_BLOCK_BYTES };
    static const size_t sizes[] = {0, 1, 2, 24, 43, 130, BASE - 300, BASE, 2 * BASE, 3 * BASE + 5};
    static uint8_t payload[4 * BASE];
    static const struct nr_position promises[] = {{0, 0}, {NUMBER, 70000}, {UINT64_MAX, UINT64_MAX}};
    struct nr_dir *root;
    struct nori_env *env = make_disk(&root);
    struct nori_error err;

    payload_fill(payload, sizeof(payload), 1, 1);
    for (size_t s = 0; s < NR_ARRAY_LEN(sizes); s++) {
        for (int delta = -50; delta <= 50; delta++) {
            struct nr_buffer out = {0};
            struct nr_record record;
            struct nr_record_reader *reader;
            bool found;
            /* The first record ends 'delta' from the second block's end, give or take its head. */
            size_t first = (size_t)(2 * BASE - NR_FILE_HEADER_BYTES - 2 * 40 + delta);
            struct nr_position promise = promises[s % NR_ARRAY_LEN(promises)];
            add_header(&out);
            add_record(&out, 1, nr_slice(payload, first), promise);
            add_record(&out, 2, nr_slice(payload, sizes[s]), promise);
            add_record(&out, 3, nr_slice(payload, 60), promise);
            struct nr_file *file = make_file(env, root, nr_buffer_slice(&out));
            EXPECT_OK(nr_record_reader_create(file, DATABASE_ID, NUMBER, NR_FILE_HEADER_BYTES, &reader, &err), &err);
            size_t expected[] = {first, sizes[s], 60};
            for (uint64_t i = 0; i < 3; i++) {
                EXPECT_OK(nr_record_reader_next(reader, &record, &found, &err), &err);
                EXPECT(found);
                EXPECT_EQ(record.sequence, i + 1);
                EXPECT_EQ(record.count, 1);
                EXPECT_EQ(record.payload.size, expected[i]);
                EXPECT(expected[i] == 0 || memcmp(record.payload.data, payload, expected[i]) == 0);
                EXPECT_EQ(record.end_offset, nr_record_reader_end(reader));
            }
            EXPECT_OK(nr_record_reader_next(reader, &record, &found, &err), &err);
            EXPECT(!found);
            EXPECT_EQ(nr_record_reader_end(reader), out.size);
            EXPECT(nr_position_compare(nr_record_reader_promise(reader), promise) == 0);
            nr_record_reader_destroy(reader);
            nr_file_close(file);
            nr_buffer_clear(&out);
        }
    }
    nr_dir_close(root);
    nori_simdisk_destroy(env);
}

TEST(marks_are_found_as_records_that_carry_only_a_promise)
{
    struct nr_dir *root;
    struct nori_env *env = make_disk(&root);
    struct nori_error err;
    struct nr_buffer out = {0};
    struct nr_record_reader *reader;
    struct nr_record record;
    bool found;

    add_mark(&out, (struct nr_position){3, 99});
    struct nr_file *file = make_file(env, root, nr_buffer_slice(&out));
    EXPECT_OK(nr_record_reader_create(file, DATABASE_ID, NUMBER, 0, &reader, &err), &err);
    EXPECT_OK(nr_record_reader_next(reader, &record, &found, &err), &err);
    EXPECT(found && record.is_mark);
    EXPECT_EQ(nr_record_reader_promise(reader).offset, 99);
    nr_record_reader_destroy(reader);
    nr_file_close(file);
    nr_buffer_clear(&out);
    nr_dir_close(root);
    nori_simdisk_destroy(env);
}

/* What is read, in order: sequences, 0 for a mark. */
static void expect_sequences(const struct nr_buffer *bytes, const uint64_t *sequences, size_t count)
{
    struct nr_dir *root;
    struct nori_env *env = make_disk(&root);
    struct nori_error err;
    struct nr_record_reader *reader;
    struct nr_record record;
    bool found;

    struct nr_file *file = make_file(env, root, nr_buffer_slice(bytes));
    EXPECT_OK(nr_record_reader_create(file, DATABASE_ID, NUMBER, NR_FILE_HEADER_BYTES, &reader, &err), &err);
    for (size_t i = 0; i < count; i++) {
        EXPECT_OK(nr_record_reader_next(reader, &record, &found, &err), &err);
        EXPECT(found);
        EXPECT_EQ(record.is_mark, sequences[i] == 0);
        EXPECT_EQ(record.sequence, sequences[i]);
        EXPECT(record.is_mark || record.count == 1);
    }
    EXPECT_OK(nr_record_reader_next(reader, &record, &found, &err), &err);
    EXPECT(!found);
    nr_record_reader_destroy(reader);
    nr_file_close(file);
    nr_dir_close(root);
    nori_simdisk_destroy(env);
}

TEST(a_record_without_a_head_follows_on_the_one_before_it)
{
    static const uint64_t sequences[] = {5, 6, 0, 7, 9, 10};
    struct nr_buffer out = {0};
    nori_slice payload = nr_slice_text("an operation");
    add_header(&out);
    add_record(&out, 5, payload, (struct nr_position){0, 0});
    size_t before = out.size;
    add_next(&out, 6, payload);
    EXPECT_EQ(out.size - before, payload.size + NR_FRAGMENT_HEADER_BYTES);
    add_mark(&out, (struct nr_position){3, 99});
    add_next(&out, 7, payload);
    add_record(&out, 9, payload, (struct nr_position){3, 99});
    add_next(&out, 10, payload);
    expect_sequences(&out, sequences, NR_ARRAY_LEN(sequences));
    nr_buffer_clear(&out);
}

TEST(a_record_without_a_head_is_none_behind_another_sequence_or_none)
{
    static const uint64_t sequences[] = {5, 6};
    nori_slice payload = nr_slice_text("an operation");
    for (uint64_t first = 3; first <= 7; first++) {
        struct nr_buffer out = {0};
        add_header(&out);
        add_record(&out, first, payload, (struct nr_position){0, 0});
        add_next(&out, 6, payload);
        expect_sequences(&out, first == 5 ? sequences : &first, first == 5 ? 2 : 1);
        nr_buffer_clear(&out);
    }
    for (uint64_t sequence = 0; sequence < 3; sequence++) {
        struct nr_buffer out = {0};
        add_header(&out);
        if (sequence == 2) add_mark(&out, (struct nr_position){3, 99});
        add_next(&out, sequence, payload);
        expect_sequences(&out, &(uint64_t){0}, sequence == 2);
        nr_buffer_clear(&out);
    }
}

TEST(a_record_without_a_head_is_whole_at_every_distance_from_a_blocks_end)
{
    enum { BASE = NR_RECORD_BLOCK_BYTES };
    static const size_t sizes[] = {0, 1, 31, 32, 33, 60};
    static const uint64_t sequences[] = {1, 2, 3};
    static uint8_t payload[BASE];
    for (size_t s = 0; s < NR_ARRAY_LEN(sizes); s++) {
        for (size_t left = 0; left <= 120; left++) {
            struct nr_buffer out = {0};
            size_t head = NR_FRAGMENT_HEADER_BYTES + NR_RECORD_HEAD_FIXED_BYTES + 2;
            add_header(&out);
            add_record(&out, 1, nr_slice(payload, BASE - NR_FILE_HEADER_BYTES - head - left),
                       (struct nr_position){0, 0});
            EXPECT_EQ(out.size, BASE - left);
            bool begins_here = left >= NR_RECORD_START_BYTES;
            bool fits = !begins_here || sizes[s] + NR_FRAGMENT_HEADER_BYTES <= left;
            EXPECT_EQ(nr_record_fits_next(out.size, sizes[s]), fits);
            if (fits) {
                add_next(&out, 2, nr_slice(payload, sizes[s]));
                EXPECT_EQ(out.size, (begins_here ? BASE - left : BASE) + NR_FRAGMENT_HEADER_BYTES + sizes[s]);
            } else {
                add_record(&out, 2, nr_slice(payload, sizes[s]), (struct nr_position){0, 0});
            }
            bool is_third = nr_record_fits_next(out.size, 50);
            if (is_third) add_next(&out, 3, nr_slice(payload, 50));
            expect_sequences(&out, sequences, is_third ? 3 : 2);
            nr_buffer_clear(&out);
        }
    }
}

TEST(a_promise_is_found_behind_damage_in_the_same_block_and_in_later_ones)
{
    struct nr_dir *root;
    struct nori_env *env = make_disk(&root);
    struct nori_error err;
    struct nr_record_reader *reader;
    struct nr_record record;
    static uint8_t payload[NR_RECORD_BLOCK_BYTES];
    bool found;

    for (size_t gap = 10; gap < sizeof(payload); gap += 3000) {
        struct nr_buffer out = {0};
        memset(payload, 1, sizeof(payload));
        add_header(&out);
        add_record(&out, 1, nr_slice(payload, 50), (struct nr_position){0, 0});
        size_t damaged = out.size;
        add_record(&out, 2, nr_slice(payload, gap), (struct nr_position){0, 0});
        add_mark(&out, (struct nr_position){NUMBER, 1234});
        out.data[damaged + 20] ^= 4;
        struct nr_file *file = make_file(env, root, nr_buffer_slice(&out));
        EXPECT_OK(nr_record_reader_create(file, DATABASE_ID, NUMBER, NR_FILE_HEADER_BYTES, &reader, &err), &err);
        EXPECT_OK(nr_record_reader_next(reader, &record, &found, &err), &err);
        EXPECT(found);
        EXPECT_OK(nr_record_reader_next(reader, &record, &found, &err), &err);
        EXPECT(!found);
        EXPECT_EQ(nr_record_reader_end(reader), damaged);
        EXPECT_OK(nr_record_reader_finish(reader, &err), &err);
        EXPECT_EQ(nr_record_reader_promise(reader).offset, 1234);
        EXPECT_EQ(nr_record_reader_end(reader), damaged);
        nr_record_reader_destroy(reader);
        nr_file_close(file);
        nr_buffer_clear(&out);
    }
    nr_dir_close(root);
    nori_simdisk_destroy(env);
}

TEST(bytes_of_another_database_file_or_offset_are_no_record)
{
    struct nr_dir *root;
    struct nori_env *env = make_disk(&root);
    struct nori_error err;
    struct nr_buffer out = {0};
    struct nr_record record;
    bool found;

    add_record(&out, 1, nr_slice_text("payload of the record"), (struct nr_position){1, 1});
    add_record(&out, 2, nr_slice_text("payload of the record"), (struct nr_position){1, 1});
    for (int variant = 0; variant < 4; variant++) {
        struct nr_record_reader *reader;
        nori_slice content = nr_buffer_slice(&out);
        if (variant == 3) content = nr_slice(out.data + out.size / 2, out.size / 2);
        struct nr_file *file = make_file(env, root, content);
        EXPECT_OK(
            nr_record_reader_create(file, DATABASE_ID + (variant == 1), NUMBER + (variant == 2), 0, &reader, &err),
            &err);
        EXPECT_OK(nr_record_reader_next(reader, &record, &found, &err), &err);
        EXPECT_EQ(found, variant == 0);
        EXPECT_OK(nr_record_reader_finish(reader, &err), &err);
        EXPECT_EQ(nr_record_reader_promise(reader).segment, variant == 0);
        nr_record_reader_destroy(reader);
        nr_file_close(file);
    }
    nr_buffer_clear(&out);
    nr_dir_close(root);
    nori_simdisk_destroy(env);
}

TEST(random_bytes_are_read_to_their_end_without_a_record)
{
    struct nr_dir *root;
    struct nori_env *env = make_disk(&root);
    struct nori_error err;
    struct nr_random random;
    struct nr_record record;
    static uint8_t bytes[5 * NR_RECORD_BLOCK_BYTES + 77];
    bool found;

    nr_random_init(&random, 5);
    for (int round = 0; round < 4; round++) {
        struct nr_record_reader *reader;
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (uint8_t)(round == 0 ? nr_random_next(&random) : round == 1 ? 1 : nr_random_below(&random, 3));
        struct nr_file *file = make_file(env, root, nr_slice(bytes, sizeof(bytes)));
        EXPECT_OK(nr_record_reader_create(file, DATABASE_ID, NUMBER, 0, &reader, &err), &err);
        EXPECT_OK(nr_record_reader_next(reader, &record, &found, &err), &err);
        EXPECT(!found);
        EXPECT_OK(nr_record_reader_finish(reader, &err), &err);
        EXPECT_EQ(nr_record_reader_promise(reader).segment, 0);
        nr_record_reader_destroy(reader);
        nr_file_close(file);
    }
    nr_dir_close(root);
    nori_simdisk_destroy(env);
}

TEST(a_failing_allocation_or_read_is_an_error_and_not_an_end)
{
    struct nr_dir *root;
    struct nori_env *env = make_disk(&root);
    struct nori_error err;
    struct nr_buffer out = {0};
    static uint8_t payload[3 * NR_RECORD_BLOCK_BYTES];

    add_record(&out, 1, nr_slice(payload, sizeof(payload)), (struct nr_position){0, 0});
    struct nr_file *file = make_file(env, root, nr_buffer_slice(&out));
    for (uint64_t nth = 1; nth < 12; nth++) {
        struct nr_record_reader *reader = NULL;
        struct nr_record record;
        bool found = false;
        nr_alloc_fail_at(nth);
        nori_status rc = nr_record_reader_create(file, DATABASE_ID, NUMBER, 0, &reader, &err);
        if (rc == NORI_OK) rc = nr_record_reader_next(reader, &record, &found, &err);
        nr_alloc_fail_at(0);
        EXPECT(rc == NORI_NO_MEMORY || (rc == NORI_OK && found));
        nr_record_reader_destroy(reader);

        EXPECT_OK(nr_record_reader_create(file, DATABASE_ID, NUMBER, 0, &reader, &err), &err);
        EXPECT_OK(nori_simdisk_fail(env, "any", 1, EIO, false, &err), &err);
        EXPECT_STATUS(nr_record_reader_next(reader, &record, &found, &err), NORI_IO, &err);
        EXPECT_EQ(err.sys_errno, EIO);
        EXPECT_OK(nr_record_reader_next(reader, &record, &found, &err), &err);
        EXPECT(found);
        nr_record_reader_destroy(reader);
    }
    nr_file_close(file);
    nr_buffer_clear(&out);
    nr_dir_close(root);
    nori_simdisk_destroy(env);
}

/* HEAT: read, and what is in it decoded; what was read is written and read back the same. */
#include "compact/heat_file.h"
#include "compact/scheduler.h"
#include "compact/sketch.h"
#include "fuzz.h"

static void encode_scheduler(const struct nr_scheduler *scheduler, struct nr_buffer *out)
{
    struct nori_error err;
    FUZZ_EXPECT_OK(nr_scheduler_encode(scheduler, out, &err), &err);
}

static void try_scheduler(nori_slice blob)
{
    struct nori_options options;
    struct nr_scheduler scheduler, again;
    struct nr_buffer first, second;

    nori_options_init(&options);
    nr_scheduler_init(&scheduler, &options);
    nr_scheduler_init(&again, &options);
    nr_buffer_init(&first);
    nr_buffer_init(&second);
    (void)nr_scheduler_decode(&scheduler, blob);
    encode_scheduler(&scheduler, &first);
    FUZZ_EXPECT(nr_scheduler_decode(&again, nr_buffer_slice(&first)));
    encode_scheduler(&again, &second);
    FUZZ_EXPECT(nr_slice_equal(nr_buffer_slice(&first), nr_buffer_slice(&second)));
    nr_buffer_clear(&first);
    nr_buffer_clear(&second);
}

static void try_sketch(nori_slice bytes)
{
    struct nr_sketch *sketch, *again;
    struct nr_buffer encoded;
    struct nori_error err;
    if (!bytes.data) return;
    nori_status rc = nr_sketch_decode(bytes, 1, &sketch, &err);
    FUZZ_EXPECT(rc == NORI_OK || rc == NORI_CORRUPTION);
    if (rc != NORI_OK) return;
    nori_slice middle = nr_sketch_quantile(sketch, 0.5);
    uint64_t total = nr_sketch_total(sketch);
    if (middle.data) FUZZ_EXPECT(nr_sketch_rank(sketch, middle) <= total);
    nr_buffer_init(&encoded);
    FUZZ_EXPECT_OK(nr_sketch_encode(sketch, &encoded, &err), &err);
    FUZZ_EXPECT_OK(nr_sketch_decode(nr_buffer_slice(&encoded), 1, &again, &err), &err);
    FUZZ_EXPECT(nr_sketch_total(again) == total);
    nr_sketch_add(again, nr_slice_text("key"), 1000);
    nr_sketch_merge(again, sketch);
    nr_sketch_decay(again);
    nr_sketch_destroy(again);
    nr_sketch_destroy(sketch);
    nr_buffer_clear(&encoded);
}

static void expect_same(const struct nr_heat_content *a, const struct nr_heat_content *b)
{
    FUZZ_EXPECT(a->count == b->count && nr_slice_equal(a->blob, b->blob));
    for (size_t i = 0; i < a->count; i++) {
        FUZZ_EXPECT(a->entries[i].level == b->entries[i].level);
        FUZZ_EXPECT(nr_slice_equal(a->entries[i].start, b->entries[i].start));
        FUZZ_EXPECT(memcmp(&a->entries[i].read_rate, &b->entries[i].read_rate, sizeof(double)) == 0);
        FUZZ_EXPECT(a->entries[i].bytes_arrived == b->entries[i].bytes_arrived);
    }
    for (size_t i = 0; i < NR_HEAT_SECTION_COUNT; i++) FUZZ_EXPECT(nr_slice_equal(a->sections[i], b->sections[i]));
}

void fuzz_heat(nori_slice input)
{
    struct fuzz_disk disk;
    struct nr_heat_file file, again;
    struct nr_file_header header = {0};
    struct nori_error err;

    fuzz_disk_init(&disk);
    fuzz_write(disk.dir, NR_HEAT_NAME, input);
    (void)nr_file_header_decode(input, NR_MAGIC_HEAT, &header);
    nori_status rc = nr_heat_file_read(disk.dir, header.database_id, &file, &err);
    FUZZ_EXPECT(rc == NORI_OK || rc == NORI_CORRUPTION || rc == NORI_FORMAT);
    if (rc == NORI_OK) {
        try_scheduler(file.content.blob);
        try_sketch(file.content.sections[NR_HEAT_WRITES]);
        try_sketch(file.content.sections[NR_HEAT_READS]);
        FUZZ_EXPECT_OK(nr_heat_file_write(disk.dir, header.database_id, &file.content, &err), &err);
        FUZZ_EXPECT_OK(nr_heat_file_read(disk.dir, header.database_id, &again, &err), &err);
        expect_same(&file.content, &again.content);
        nr_heat_file_clear(&again);
    }
    nr_heat_file_clear(&file);
    fuzz_disk_clear(&disk);
}

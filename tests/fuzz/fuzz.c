#include "fuzz.h"

const struct fuzz_target fuzz_targets[] = {
    {"batch", fuzz_batch}, {"database", fuzz_database}, {"filter", fuzz_filter},
    {"heat", fuzz_heat},   {"manifest", fuzz_manifest}, {"options", fuzz_options},
    {"table", fuzz_table}, {"wal", fuzz_wal},           {NULL, NULL},
};

const struct fuzz_target *fuzz_find(const char *name)
{
    for (const struct fuzz_target *target = fuzz_targets; target->name; target++)
        if (strcmp(target->name, name) == 0) return target;
    return NULL;
}

void fuzz_run(const struct fuzz_target *target, nori_slice input)
{
    uint64_t live = nr_alloc_live();
    target->run(input);
    FUZZ_EXPECT(nr_alloc_live() == live);
}

/* ---------------------------------------------------------------- a disk */

void fuzz_disk_init(struct fuzz_disk *disk)
{
    struct nori_error err;
    FUZZ_EXPECT_OK(nori_simdisk_create(1, 512, false, &disk->env, &err), &err);
    FUZZ_EXPECT_OK(nr_dir_open(disk->env, "/db", true, &disk->dir, &err), &err);
    FUZZ_EXPECT_OK(nr_dir_open_at(disk->dir, NR_WAL_DIRECTORY, true, &disk->wal, &err), &err);
}

void fuzz_disk_clear(struct fuzz_disk *disk)
{
    nr_dir_close(disk->wal);
    nr_dir_close(disk->dir);
    nori_simdisk_destroy(disk->env);
}

void fuzz_write(struct nr_dir *dir, const char *name, nori_slice bytes)
{
    struct nori_error err;
    struct nr_file *file;
    FUZZ_EXPECT_OK(nr_file_open(dir, name, NR_OPEN_CREATE, &file, &err), &err);
    FUZZ_EXPECT_OK(nr_file_append(file, bytes, &err), &err);
    nr_file_close(file);
}

/* ---------------------------------------------------------------- files in an input */

#define MAGIC_BYTES 8

/* The next magic at or after 'at': where it stands; the input's size if there is none. */
static size_t find_magic(nori_slice input, size_t at, uint64_t *magic_out)
{
    static const uint64_t magics[] = {NR_MAGIC_SEGMENT, NR_MAGIC_MANIFEST, NR_MAGIC_TABLE, NR_MAGIC_HEAT};
    for (; at + MAGIC_BYTES <= input.size; at++) {
        if (input.data[at] != 'N') continue;
        memcpy(magic_out, input.data + at, MAGIC_BYTES);
        for (size_t i = 0; i < NR_ARRAY_LEN(magics); i++)
            if (*magic_out == magics[i]) return at;
    }
    *magic_out = 0;
    return input.size;
}

static enum nr_file_kind kind_of(uint64_t magic)
{
    if (magic == NR_MAGIC_SEGMENT) return NR_FILE_SEGMENT;
    if (magic == NR_MAGIC_MANIFEST) return NR_FILE_MANIFEST;
    return magic == NR_MAGIC_TABLE ? NR_FILE_TABLE : NR_FILE_HEAT;
}

static void read_header(struct fuzz_file *file, size_t at, uint64_t magic)
{
    uint8_t header[NR_FILE_HEADER_BYTES] = {0};
    memcpy(header, file->bytes.data + at, NR_MIN(file->bytes.size - at, sizeof header));
    file->header = (struct nr_file_header){0};
    (void)nr_file_header_decode(nr_slice(header, sizeof header), magic, &file->header);
}

size_t fuzz_split(nori_slice input, struct fuzz_file files[FUZZ_MAX_FILES])
{
    size_t count = 0, start = 0;
    uint64_t magic, next;
    size_t at = find_magic(input, 0, &magic);

    for (; magic == NR_MAGIC_TABLE && count < FUZZ_MAX_FILES; count++) {
        size_t end = NR_MIN(at + NR_FILE_HEADER_BYTES, input.size);
        files[count] = (struct fuzz_file){.kind = NR_FILE_TABLE, .bytes = nr_slice(input.data + start, end - start)};
        read_header(&files[count], at - start, magic);
        start = end;
        at = find_magic(input, end, &magic);
    }
    for (; at < input.size && count < FUZZ_MAX_FILES; count++) {
        size_t end = at;
        do {
            end = find_magic(input, end + MAGIC_BYTES, &next);
        } while (next == NR_MAGIC_TABLE);
        files[count] = (struct fuzz_file){.kind = kind_of(magic), .bytes = nr_slice(input.data + at, end - at)};
        read_header(&files[count], 0, magic);
        at = end;
        magic = next;
    }
    return count;
}

void fuzz_write_file(struct fuzz_disk *disk, const struct fuzz_file *file)
{
    char name[NR_FILE_NAME_BYTES] = NR_HEAT_NAME;
    struct nr_dir *dir = file->kind == NR_FILE_SEGMENT ? disk->wal : disk->dir;
    struct nori_error err;
    bool exists;

    if (file->kind == NR_FILE_SEGMENT) nr_name_segment(name, file->header.number);
    if (file->kind == NR_FILE_MANIFEST) nr_name_manifest(name, file->header.number);
    if (file->kind == NR_FILE_TABLE) nr_name_table(name, file->header.number);
    FUZZ_EXPECT_OK(nr_dir_exists(dir, name, &exists, &err), &err);
    if (!exists) fuzz_write(dir, name, file->bytes);
}

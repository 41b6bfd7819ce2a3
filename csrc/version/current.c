#include "version/current.h"

#include <errno.h>
#include <stdio.h>

#include "base/checksum.h"
#include "format/format.h"
#include "io/path.h"

#define LINE_MAX_BYTES 128
#define CHECKSUM_DIGITS 16
#define MAGIC "nori "

/* Returns the line's length. */
static size_t format_line(char out[LINE_MAX_BYTES], uint64_t number)
{
    char name[NR_FILE_NAME_BYTES];

    nr_name_manifest(name, number);
    int length = snprintf(out, LINE_MAX_BYTES, MAGIC "%d %s ", NR_FORMAT_VERSION, name);
    uint64_t checksum = nr_checksum(0, nr_slice(out, (size_t)length));
    length += snprintf(out + length, LINE_MAX_BYTES - (size_t)length, "%016" PRIx64 "\n", checksum);
    return (size_t)length;
}

/* The number of the manifest that a line of this version names; 0 if it names none. */
static uint64_t find_number(const char *line)
{
    char name[NR_FILE_NAME_BYTES] = "", prefix[16];
    uint64_t number = 0;

    int length = snprintf(prefix, sizeof(prefix), MAGIC "%d ", NR_FORMAT_VERSION);
    if (strncmp(line, prefix, (size_t)length) != 0) return 0;
    const char *end = strchr(line + length, ' ');
    size_t size = end ? (size_t)(end - line) - (size_t)length : 0;
    if (size == 0 || size >= sizeof(name)) return 0;
    memcpy(name, line + length, size);
    return nr_name_parse(name, &number) == NR_FILE_MANIFEST ? number : 0;
}

/* A line that is whole, but not of this version. */
static bool is_foreign(const char *line, size_t size)
{
    char digits[CHECKSUM_DIGITS + 2];

    if (strncmp(line, MAGIC, strlen(MAGIC)) != 0 || size < strlen(MAGIC) + CHECKSUM_DIGITS + 1) return false;
    size_t covered = size - CHECKSUM_DIGITS - 1;
    snprintf(digits, sizeof(digits), "%016" PRIx64 "\n", nr_checksum(0, nr_slice(line, covered)));
    return memcmp(line + covered, digits, CHECKSUM_DIGITS + 1) == 0;
}

static nori_status judge(struct nr_dir *dir, const struct nr_buffer *data, uint64_t *number_out, struct nori_error *err)
{
    char line[LINE_MAX_BYTES + 1] = "", expected[LINE_MAX_BYTES];

    if (data->size > 0) memcpy(line, data->data, data->size);
    uint64_t number = find_number(line);
    if (number > 0 && data->size == format_line(expected, number) && memcmp(line, expected, data->size) == 0) {
        *number_out = number;
        return NORI_OK;
    }
    if (number == 0 && is_foreign(line, data->size))
        return nr_path_refuse(err, NORI_FORMAT, dir->path, NR_CURRENT_NAME, 0, "was written by another version");
    nori_status rc = nr_path_refuse(err, NORI_CORRUPTION, dir->path, NR_CURRENT_NAME, EBADMSG,
                                    "does not hold the line that names the manifest");
    if (err) snprintf(err->kind, sizeof(err->kind), "current");
    return rc;
}

nori_status nr_current_read(struct nr_dir *dir, uint64_t *number_out, struct nori_error *err)
{
    nori_status rc;
    struct nr_buffer data;
    struct nori_error why;

    *number_out = 0;
    nr_error_clear(&why);
    nr_buffer_init(&data);
    rc = nr_file_read_all(dir, NR_CURRENT_NAME, LINE_MAX_BYTES, &data, &why);
    if (rc == NORI_OK) {
        rc = judge(dir, &data, number_out, err);
    } else if (rc == NORI_IO && why.sys_errno == ENOENT) {
        rc = nr_path_refuse(err, NORI_CORRUPTION, dir->path, NR_CURRENT_NAME, ENOENT, "is missing beside data");
        if (err) snprintf(err->kind, sizeof(err->kind), "current");
    } else if (err) {
        *err = why;
    }
    nr_buffer_clear(&data);
    return rc;
}

nori_status nr_current_write(struct nr_dir *dir, uint64_t number, struct nori_error *err)
{
    char line[LINE_MAX_BYTES];
    size_t size = format_line(line, number);
    return nr_file_replace(dir, NR_CURRENT_TEMPORARY_NAME, NR_CURRENT_NAME, nr_slice(line, size), err);
}

nori_status nr_current_sync(struct nr_dir *dir, struct nori_error *err)
{
    struct nr_file *file = NULL;
    nori_status rc = nr_file_open(dir, NR_CURRENT_NAME, NR_OPEN_READ, &file, err);
    if (rc == NORI_OK) rc = nr_file_sync(file, err);
    nr_file_close(file);
    return rc;
}

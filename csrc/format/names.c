#include "format/format.h"

#include <stdio.h>

#define FEWEST_DIGITS 6
#define MANIFEST_PREFIX "MANIFEST-"

void nr_name_manifest(char out[NR_FILE_NAME_BYTES], uint64_t number)
{
    snprintf(out, NR_FILE_NAME_BYTES, MANIFEST_PREFIX "%06" PRIu64, number);
}

void nr_name_table(char out[NR_FILE_NAME_BYTES], uint64_t number)
{
    snprintf(out, NR_FILE_NAME_BYTES, "%06" PRIu64 ".sst", number);
}

void nr_name_segment(char out[NR_FILE_NAME_BYTES], uint64_t number)
{
    snprintf(out, NR_FILE_NAME_BYTES, "%06" PRIu64 ".log", number);
}

/* Only what a name above writes: the text behind the digits, or NULL. */
static const char *parse_number(const char *text, uint64_t *number_out)
{
    uint64_t number = 0;
    size_t count = 0;

    for (; text[count] >= '0' && text[count] <= '9'; count++) {
        uint64_t digit = (uint64_t)(text[count] - '0');
        if (number > (UINT64_MAX - digit) / 10) return NULL;
        number = number * 10 + digit;
    }
    if (number > INT64_MAX) return NULL;
    if (count < FEWEST_DIGITS || (count > FEWEST_DIGITS && text[0] == '0')) return NULL;
    *number_out = number;
    return text + count;
}

enum nr_file_kind nr_name_parse(const char *name, uint64_t *number_out)
{
    enum nr_file_kind kind = NR_FILE_OTHER;
    uint64_t number = 0;
    const char *rest;

    *number_out = 0;
    if (strcmp(name, NR_CURRENT_NAME) == 0) return NR_FILE_CURRENT;
    if (strcmp(name, NR_CURRENT_TEMPORARY_NAME) == 0) return NR_FILE_CURRENT_TEMPORARY;
    if (strcmp(name, NR_HEAT_NAME) == 0) return NR_FILE_HEAT;
    if (strcmp(name, NR_HEAT_TEMPORARY_NAME) == 0) return NR_FILE_HEAT_TEMPORARY;
    if (strcmp(name, NR_LOCK_NAME) == 0) return NR_FILE_LOCK;
    if (strncmp(name, MANIFEST_PREFIX, sizeof(MANIFEST_PREFIX) - 1) == 0) {
        rest = parse_number(name + sizeof(MANIFEST_PREFIX) - 1, &number);
        if (rest && *rest == '\0') kind = NR_FILE_MANIFEST;
    } else {
        rest = parse_number(name, &number);
        if (rest && strcmp(rest, ".sst") == 0) kind = NR_FILE_TABLE;
        if (rest && strcmp(rest, ".log") == 0) kind = NR_FILE_SEGMENT;
    }
    if (kind != NR_FILE_OTHER) *number_out = number;
    return kind;
}

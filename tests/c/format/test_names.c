#include "harness.h"

#include "format/format.h"

static enum nr_file_kind kind_of(const char *name)
{
    uint64_t number = 99;
    enum nr_file_kind kind = nr_name_parse(name, &number);
    if (kind == NR_FILE_OTHER) EXPECT_EQ(number, 0);
    return kind;
}

TEST(names_made_from_numbers_are_parsed_to_them)
{
    static const uint64_t numbers[] = {0, 1, 42, 999999, 1000000, 1ull << 40, INT64_MAX};
    for (size_t i = 0; i < NR_ARRAY_LEN(numbers); i++) {
        char name[NR_FILE_NAME_BYTES];
        uint64_t number;
        nr_name_manifest(name, numbers[i]);
        EXPECT_EQ(nr_name_parse(name, &number), NR_FILE_MANIFEST);
        EXPECT(number == numbers[i]);
        nr_name_table(name, numbers[i]);
        EXPECT_EQ(nr_name_parse(name, &number), NR_FILE_TABLE);
        EXPECT(number == numbers[i]);
        nr_name_segment(name, numbers[i]);
        EXPECT_EQ(nr_name_parse(name, &number), NR_FILE_SEGMENT);
        EXPECT(number == numbers[i]);
    }
}

TEST(names_are_spelled_as_in_the_specification)
{
    char name[NR_FILE_NAME_BYTES];
    nr_name_manifest(name, 1);
    EXPECT(strcmp(name, "MANIFEST-000001") == 0);
    nr_name_table(name, 12);
    EXPECT(strcmp(name, "000012.sst") == 0);
    nr_name_segment(name, 1234567);
    EXPECT(strcmp(name, "1234567.log") == 0);
    EXPECT_EQ(kind_of("CURRENT"), NR_FILE_CURRENT);
    EXPECT_EQ(kind_of("CURRENT.tmp"), NR_FILE_CURRENT_TEMPORARY);
    EXPECT_EQ(kind_of("HEAT"), NR_FILE_HEAT);
    EXPECT_EQ(kind_of("HEAT.tmp"), NR_FILE_HEAT_TEMPORARY);
    EXPECT_EQ(kind_of("LOCK"), NR_FILE_LOCK);
}

TEST(anything_else_is_not_ours)
{
    static const char *const names[] = {
        "",
        ".",
        "..",
        "wal",
        "current",
        "CURRENT ",
        "LOCK2",
        "MANIFEST-",
        "MANIFEST",
        "MANIFEST-1",
        "MANIFEST-0000001",
        "MANIFEST-000001x",
        "1.sst",
        "00001.sst",
        "0000001.sst",
        "000001.SST",
        "000001.sst~",
        "000001.sstx",
        "000001.ldb",
        "-00001.sst",
        "+00001.log",
        " 00001.log",
        "000001",
        "000001.",
        ".sst",
        "0x0001.sst",
        "9223372036854775808.sst",
        "18446744073709551616.sst",
        "99999999999999999999.log",
        "MANIFEST-18446744073709551616",
    };
    for (size_t i = 0; i < NR_ARRAY_LEN(names); i++) EXPECT_EQ(kind_of(names[i]), NR_FILE_OTHER);
}

TEST(newer_entries_of_a_key_come_first)
{
    nori_slice a = nr_slice_text("a"), b = nr_slice_text("b");
    EXPECT(nr_entry_compare(a, nr_tag(2, NR_TYPE_PUT), a, nr_tag(1, NR_TYPE_PUT)) < 0);
    EXPECT(nr_entry_compare(a, nr_tag(1, NR_TYPE_PUT), b, nr_tag(9, NR_TYPE_PUT)) < 0);
    EXPECT_EQ(nr_entry_compare(a, nr_tag(1, NR_TYPE_PUT), a, nr_tag(1, NR_TYPE_PUT)), 0);
    EXPECT(nr_entry_compare(a, nr_tag_seek(5), a, nr_tag(5, NR_TYPE_RANGE_DELETE)) < 0);
    EXPECT(nr_entry_compare(a, nr_tag_seek(5), a, nr_tag(6, NR_TYPE_DELETE)) > 0);
    EXPECT(nr_tag_sequence(nr_tag(NR_MAX_SEQUENCE, NR_TYPE_PUT)) == NR_MAX_SEQUENCE);
    EXPECT_EQ(nr_tag_type(nr_tag(NR_MAX_SEQUENCE, NR_TYPE_PUT)), NR_TYPE_PUT);
}

#include "harness.h"

#include <errno.h>

TEST(every_status_has_a_name_of_its_own)
{
    for (int i = NORI_OK; i <= NORI_AGAIN; i++) {
        EXPECT(strcmp(nori_status_name((nori_status)i), "unknown") != 0);
        for (int j = NORI_OK; j < i; j++) {
            EXPECT(strcmp(nori_status_name((nori_status)i), nori_status_name((nori_status)j)) != 0);
        }
    }
    EXPECT(strcmp(nori_status_name((nori_status)(NORI_AGAIN + 1)), "unknown") == 0);
    EXPECT(strcmp(nori_status_name((nori_status)-1), "unknown") == 0);
}

TEST(a_failure_replaces_all_of_the_error)
{
    struct nori_error err;
    memset(&err, 0x55, sizeof(err));
    EXPECT_EQ(NR_FAIL(&err, NORI_INVALID, "no option %s", "x"), NORI_INVALID);
    EXPECT_EQ(err.code, NORI_INVALID);
    EXPECT_EQ(err.sys_errno, 0);
    EXPECT_EQ(err.outcome, NORI_NOT_APPLIED);
    EXPECT_EQ(err.offset, -1);
    EXPECT(strcmp(err.text, "no option x") == 0);
    EXPECT(err.path[0] == '\0' && err.kind[0] == '\0');
}

TEST(an_error_is_optional)
{
    EXPECT_EQ(NR_FAIL(NULL, NORI_CLOSED, "closed"), NORI_CLOSED);
    EXPECT_EQ(nr_fail_memory(NULL, 7), NORI_NO_MEMORY);
    EXPECT_EQ(nr_fail_io(NULL, "read", "a", EIO), NORI_IO);
    EXPECT_EQ(nr_fail_corrupt(NULL, "a", 3, "block", "bad"), NORI_CORRUPTION);
    nr_error_clear(NULL);
}

TEST(an_error_can_be_made_from_itself)
{
    struct nori_error err;
    NR_FAIL(&err, NORI_IO, "inner");
    NR_FAIL(&err, NORI_POISONED, "outer: %s", err.text);
    EXPECT(strcmp(err.text, "outer: inner") == 0);
    nr_fail_corrupt(&err, "000001.sst", 4096, "block", "bad checksum");
    nr_fail_corrupt(&err, err.path, err.offset, err.kind, "again: %s", "worse");
    EXPECT(strcmp(err.path, "000001.sst") == 0);
    EXPECT(strcmp(err.kind, "block") == 0);
    EXPECT_EQ(err.offset, 4096);
    EXPECT(strcmp(err.text, "damaged block at byte 4096 of 000001.sst: again: worse") == 0);
    nr_fail_io(&err, "sync", err.path, EIO);
    EXPECT(strcmp(err.path, "000001.sst") == 0);
    EXPECT_EQ(err.sys_errno, EIO);
}

TEST(failures_carry_errno_and_place)
{
    struct nori_error err;
    EXPECT_EQ(nr_fail_memory(&err, 100), NORI_NO_MEMORY);
    EXPECT_EQ(err.sys_errno, ENOMEM);
    EXPECT_EQ(nr_fail_io(&err, "read", "wal/000001.log", ENOSPC), NORI_IO);
    EXPECT(strstr(err.text, "cannot read wal/000001.log: ") == err.text);
    EXPECT_EQ(nr_fail_corrupt(&err, "CURRENT", -1, "name", "not a manifest"), NORI_CORRUPTION);
    EXPECT_EQ(err.sys_errno, EBADMSG);
    EXPECT_EQ(err.offset, -1);
    EXPECT(strcmp(err.text, "damaged name in CURRENT: not a manifest") == 0);
}

TEST(long_texts_and_paths_are_cut)
{
    struct nori_error err;
    char path[2000];
    memset(path, 'p', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    EXPECT_EQ(nr_fail_io(&err, "open", path, ENAMETOOLONG), NORI_IO);
    EXPECT_EQ(strlen(err.path), sizeof(err.path) - 1);
    EXPECT_EQ(strlen(err.text), sizeof(err.text) - 1);
    EXPECT_EQ(nr_fail_corrupt(&err, path, 1, path, "%s", path), NORI_CORRUPTION);
    EXPECT_EQ(strlen(err.kind), sizeof(err.kind) - 1);
}

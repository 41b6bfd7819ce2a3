/* The C tests' harness: tests register themselves, a failed expectation names its place and fails its test.
 *
 *     TEST(torn_last_record_is_dropped_and_earlier_records_survive)
 *     {
 *         EXPECT_EQ(count, 3);
 *         EXPECT_OK(nr_file_sync(file, &err), &err);
 *     }
 *
 * Programs link tests/c/harness.c, which has main(): runs all tests, or those whose names contain argv[1]. After each
 * test it expects every allocation of the core freed. */
#ifndef NR_TESTS_HARNESS_H
#define NR_TESTS_HARNESS_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/slice.h"

struct test_case {
    const char *name;
    void (*run)(void);
    struct test_case *next;
};
void test_register(struct test_case *test);
void test_fail(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* What the test is about, said with its failure; NULL: nothing special. Copied. */
void test_doing(const char *what);
/* Leaves the running test, failed. */
__attribute__((noreturn)) void test_abandon(void);

#define TEST(test_name)                                                                                                \
    static void test_name(void);                                                                                       \
    static struct test_case test_name##_case = {#test_name, test_name, NULL};                                          \
    __attribute__((constructor)) static void test_name##_register(void)                                                \
    {                                                                                                                  \
        test_register(&test_name##_case);                                                                              \
    }                                                                                                                  \
    static void test_name(void)

#define FAIL(...)                                                                                                      \
    do {                                                                                                               \
        test_fail(__FILE__, __LINE__, __VA_ARGS__);                                                                    \
        test_abandon();                                                                                                \
    } while (0)
#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) FAIL("expected %s", #condition);                                                             \
    } while (0)
#define EXPECT_EQ(actual, expected)                                                                                    \
    do {                                                                                                               \
        long long actual_value = (long long)(actual), expected_value = (long long)(expected);                          \
        if (actual_value != expected_value)                                                                            \
            FAIL("%s is %lld, expected %s = %lld", #actual, actual_value, #expected, expected_value);                  \
    } while (0)
#define EXPECT_STATUS(call, status, error)                                                                             \
    do {                                                                                                               \
        nori_status actual_status = (call);                                                                            \
        if (actual_status != (status))                                                                                 \
            FAIL("%s is %s (%s), expected %s", #call, nori_status_name(actual_status),                                 \
                 actual_status == NORI_OK ? "" : (error)->text, nori_status_name(status));                             \
    } while (0)
#define EXPECT_OK(call, error) EXPECT_STATUS(call, NORI_OK, error)
#define EXPECT_SLICE(actual, text)                                                                                     \
    do {                                                                                                               \
        nori_slice actual_slice = (actual), expected_slice = nr_slice_text(text);                                      \
        if (!nr_slice_equal(actual_slice, expected_slice))                                                             \
            FAIL("%s is \"%.*s\", expected \"%s\"", #actual, (int)actual_slice.size, (const char *)actual_slice.data,  \
                 (const char *)expected_slice.data);                                                                   \
    } while (0)

#endif

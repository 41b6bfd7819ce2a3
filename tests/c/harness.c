#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>

static struct test_case *first_case;
static struct test_case **last_link = &first_case;
static jmp_buf leave;
static int is_failed;
static char doing[256];

void test_register(struct test_case *test)
{
    *last_link = test;
    last_link = &test->next;
}

void test_doing(const char *what)
{
    snprintf(doing, sizeof doing, "%s", what ? what : "");
}

void test_fail(const char *file, int line, const char *format, ...)
{
    va_list arguments;
    is_failed = 1;
    fprintf(stderr, "%s:%d: ", file, line);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    if (doing[0]) fprintf(stderr, " (%s)", doing);
    fputc('\n', stderr);
}

void test_abandon(void)
{
    longjmp(leave, 1);
}

static int run_case(const struct test_case *test)
{
    uint64_t live_before = nr_alloc_live();
    is_failed = 0;
    test_doing(NULL);
    if (setjmp(leave) == 0) test->run();
    nr_alloc_fail_at(0);
    if (!is_failed && nr_alloc_live() != live_before) {
        test_fail(__FILE__, __LINE__, "%s leaks %" PRId64 " allocations", test->name,
                  (int64_t)(nr_alloc_live() - live_before));
    }
    if (is_failed) fprintf(stderr, "FAILED %s\n", test->name);
    return is_failed;
}

int main(int argc, char **argv)
{
    int passed = 0, failed = 0;
    for (const struct test_case *test = first_case; test; test = test->next) {
        if (argc > 1 && !strstr(test->name, argv[1])) continue;
        if (run_case(test))
            failed++;
        else
            passed++;
    }
    printf("%s: %d passed, %d failed\n", strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0], passed, failed);
    return failed != 0;
}

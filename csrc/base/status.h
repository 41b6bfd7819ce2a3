/* Statuses and the error that goes with them.
 *
 * A function that can fail returns nori_status and takes 'struct nori_error *err' last; err may be NULL. NR_FAIL fills
 * the error and yields the code; NR_CHECK leaves through the function's one 'out:' label. */
#ifndef NR_BASE_STATUS_H
#define NR_BASE_STATUS_H

#include <inttypes.h>

#include "nori.h"

#define NR_PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))
#define NR_UNUSED __attribute__((unused))
#define NR_LIKELY(x) __builtin_expect(!!(x), 1)
#define NR_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define NR_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define NR_MIN(a, b) ((a) < (b) ? (a) : (b))
#define NR_MAX(a, b) ((a) > (b) ? (a) : (b))
/* Documents which lock guards a member; the argument stands in the member's comment. */
#define NR_GUARDED

/* An assertion about our own code, never about bytes from a disk. On in debug and test builds. */
#ifdef NR_DEBUG
#include <assert.h>
#define NR_ASSERT(x) assert(x)
#else
#define NR_ASSERT(x) ((void)sizeof(x))
#endif

/* Leaves for 'out' with the failure in 'rc'. */
#define NR_CHECK(expression)                                                                                           \
    do {                                                                                                               \
        rc = (expression);                                                                                             \
        if (NR_UNLIKELY(rc != NORI_OK)) goto out;                                                                      \
    } while (0)

/* Fills '*err' (NULL is fine) and returns 'code'. Path empty, offset -1, sys_errno 0, outcome NOT_APPLIED. */
nori_status nr_fail(struct nori_error *err, nori_status code, const char *format, ...) NR_PRINTF(3, 4);
#define NR_FAIL(err, code, ...) nr_fail((err), (code), __VA_ARGS__)

/* NORI_NO_MEMORY, sys_errno ENOMEM. */
nori_status nr_fail_memory(struct nori_error *err, size_t bytes);
/* NORI_IO: 'verb' ("read", "sync") of 'path' failed with 'sys_errno'. */
nori_status nr_fail_io(struct nori_error *err, const char *verb, const char *path, int sys_errno);
/* NORI_CORRUPTION with path, offset (-1: none) and kind, sys_errno EBADMSG. */
nori_status nr_fail_corrupt(struct nori_error *err, const char *path, int64_t offset, const char *kind,
                            const char *format, ...) NR_PRINTF(5, 6);

void nr_error_clear(struct nori_error *err);
/* Whether a call that returned 'rc' failed for want of space on the disk. */
bool nr_error_is_of_space(nori_status rc, const struct nori_error *err);

#endif

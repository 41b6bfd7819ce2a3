#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const status_names[] = {
    [NORI_OK] = "ok",
    [NORI_INVALID] = "invalid",
    [NORI_NO_MEMORY] = "no memory",
    [NORI_IO] = "io",
    [NORI_CORRUPTION] = "corruption",
    [NORI_FORMAT] = "format",
    [NORI_LOCKED] = "locked",
    [NORI_READ_ONLY] = "read only",
    [NORI_CLOSED] = "closed",
    [NORI_POISONED] = "poisoned",
    [NORI_STALE] = "stale",
    [NORI_BACKPRESSURE] = "backpressure",
    [NORI_FORKED] = "forked",
    [NORI_INTERRUPTED] = "interrupted",
    [NORI_AGAIN] = "again",
};

const char *nori_status_name(nori_status status)
{
    size_t index = (size_t)status;
    return index < NR_ARRAY_LEN(status_names) ? status_names[index] : "unknown";
}

const char *nori_version(void)
{
    return "0.1.0";
}

void nr_error_clear(struct nori_error *err)
{
    if (!err) return;
    err->code = NORI_OK;
    err->sys_errno = 0;
    err->outcome = NORI_NOT_APPLIED;
    err->offset = -1;
    err->kind[0] = err->path[0] = err->text[0] = '\0';
}

static void copy_text(char *out, size_t capacity, const char *text)
{
    size_t size = strnlen(text, capacity - 1);
    memcpy(out, text, size);
    out[size] = '\0';
}

/* Texts are made in memory of their own before the error is touched: the arguments may lie in the error itself, where
 * one error is wrapped in another. */
nori_status nr_fail(struct nori_error *err, nori_status code, const char *format, ...)
{
    char text[sizeof(err->text)];
    va_list arguments;

    if (!err) return code;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    nr_error_clear(err);
    err->code = code;
    copy_text(err->text, sizeof(err->text), text);
    return code;
}

nori_status nr_fail_memory(struct nori_error *err, size_t bytes)
{
    nr_fail(err, NORI_NO_MEMORY, "out of memory: cannot allocate %zu bytes", bytes);
    if (err) err->sys_errno = ENOMEM;
    return NORI_NO_MEMORY;
}

static const char *describe_errno(int sys_errno, char *out, size_t capacity)
{
#if defined(__GLIBC__) && defined(_GNU_SOURCE)
    return strerror_r(sys_errno, out, capacity);
#else
    if (strerror_r(sys_errno, out, capacity) != 0) snprintf(out, capacity, "error %d", sys_errno);
    return out;
#endif
}

nori_status nr_fail_io(struct nori_error *err, const char *verb, const char *path, int sys_errno)
{
    char reason[128], own_path[sizeof(err->path)];

    if (!err) return NORI_IO;
    copy_text(own_path, sizeof(own_path), path ? path : "");
    nr_fail(err, NORI_IO, "cannot %s %s: %s", verb, own_path, describe_errno(sys_errno, reason, sizeof(reason)));
    copy_text(err->path, sizeof(err->path), own_path);
    err->sys_errno = sys_errno;
    return NORI_IO;
}

nori_status nr_fail_corrupt(struct nori_error *err, const char *path, int64_t offset, const char *kind,
                            const char *format, ...)
{
    char detail[256], own_path[sizeof(err->path)], own_kind[sizeof(err->kind)];
    va_list arguments;

    if (!err) return NORI_CORRUPTION;
    va_start(arguments, format);
    vsnprintf(detail, sizeof(detail), format, arguments);
    va_end(arguments);
    copy_text(own_path, sizeof(own_path), path ? path : "");
    copy_text(own_kind, sizeof(own_kind), kind);
    if (offset >= 0) {
        nr_fail(err, NORI_CORRUPTION, "damaged %s at byte %" PRId64 " of %s: %s", own_kind, offset, own_path, detail);
    } else {
        nr_fail(err, NORI_CORRUPTION, "damaged %s in %s: %s", own_kind, own_path, detail);
    }
    err->sys_errno = EBADMSG;
    err->offset = offset >= 0 ? offset : -1;
    copy_text(err->kind, sizeof(err->kind), own_kind);
    copy_text(err->path, sizeof(err->path), own_path);
    return NORI_CORRUPTION;
}

bool nr_error_is_of_space(nori_status rc, const struct nori_error *err)
{
    return rc == NORI_IO && (err->sys_errno == ENOSPC || err->sys_errno == EDQUOT);
}

#include "io/path.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

static const char *separator(const char *directory)
{
    size_t size = strlen(directory);
    return size > 0 && directory[size - 1] == '/' ? "" : "/";
}

char *nr_path_join(const char *directory, const char *name)
{
    size_t bytes = strlen(directory) + strlen(name) + 2;
    char *path = nr_alloc(bytes);
    if (path) snprintf(path, bytes, "%s%s%s", directory, separator(directory), name);
    return path;
}

/* Cuts what is longer than an error holds. */
static void format_path(char *path, size_t bytes, const char *directory, const char *name)
{
    if (name)
        snprintf(path, bytes, "%s%s%s", directory, separator(directory), name);
    else
        snprintf(path, bytes, "%s", directory);
}

nori_status nr_path_fail(struct nori_error *err, const char *verb, const char *directory, const char *name,
                         int sys_errno)
{
    char path[sizeof(((struct nori_error *)0)->path)];
    format_path(path, sizeof(path), directory, name);
    return nr_fail_io(err, verb, path, sys_errno);
}

nori_status nr_path_refuse(struct nori_error *err, nori_status code, const char *directory, const char *name,
                           int sys_errno, const char *reason)
{
    char path[sizeof(((struct nori_error *)0)->path)];
    format_path(path, sizeof(path), directory, name);
    nori_status rc = NR_FAIL(err, code, "%s %s", path, reason);
    if (err) {
        err->sys_errno = sys_errno;
        memcpy(err->path, path, sizeof(path));
    }
    return rc;
}

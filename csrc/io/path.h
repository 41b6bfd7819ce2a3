/* Paths in messages, and the failures of I/O that name one. */
#ifndef NR_IO_PATH_H
#define NR_IO_PATH_H

#include "base/status.h"

/* "directory/name"; the caller owns it, NULL when memory runs out. */
char *nr_path_join(const char *directory, const char *name);
/* As nr_fail_io, for 'name' in 'directory' (name NULL: for the directory itself). Allocates nothing. */
nori_status nr_path_fail(struct nori_error *err, const char *verb, const char *directory, const char *name,
                         int sys_errno);
/* A failure with a sentence of its own: "'directory/name' 'reason'". */
nori_status nr_path_refuse(struct nori_error *err, nori_status code, const char *directory, const char *name,
                           int sys_errno, const char *reason);

#endif

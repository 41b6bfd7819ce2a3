/* CURRENT: one line of text that names the manifest.
 *
 *     nori 1 MANIFEST-000005 0123456789abcdef
 *
 * The digits are a checksum of all before them. */
#ifndef NR_VERSION_CURRENT_H
#define NR_VERSION_CURRENT_H

#include "io/env.h"

/* CORRUPTION unless the file is exactly what nr_current_write writes (missing: with sys_errno ENOENT); FORMAT for the
 * line of a later version. */
NORI_WARN_UNUSED nori_status nr_current_read(struct nr_dir *dir, uint64_t *number_out, struct nori_error *err);
/* Temporary, sync, rename, sync of the directory. */
NORI_WARN_UNUSED nori_status nr_current_write(struct nr_dir *dir, uint64_t number, struct nori_error *err);
/* What it says is on disk then; the name of it takes a sync of the directory. */
NORI_WARN_UNUSED nori_status nr_current_sync(struct nr_dir *dir, struct nori_error *err);

#endif

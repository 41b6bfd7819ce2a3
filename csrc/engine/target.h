/* A database made beside its name: built under a temporary one, and renamed when it is complete and durable. After a
 * failure, and after a crash, there is none of that name. */
#ifndef NR_ENGINE_TARGET_H
#define NR_ENGINE_TARGET_H

#include "io/env.h"

#define NR_TARGET_NAME_BYTES 512

struct nr_target {
    struct nr_dir *parent;                     /* Owned, as is the next. */
    struct nr_dir *dir;                        /* NULL until it is begun. */
    char name[NR_TARGET_NAME_BYTES];           /* In the parent, */
    char temporary[NR_TARGET_NAME_BYTES + 64]; /* and until it is complete. */
    bool is_begun;                             /* There is something of it to take away. */
};

/* Splits the path, opens the parent, refuses what is there: IO with EEXIST. 'verb' is for that message. */
NORI_WARN_UNUSED nori_status nr_target_find(struct nr_target *target, struct nori_env *env, const char *verb,
                                            const char *path, struct nori_error *err);
/* Makes the directory, under a temporary name of 'number', or of the next that is free. Who may be making the same one
 * at the same time has another number. */
NORI_WARN_UNUSED nori_status nr_target_begin(struct nr_target *target, uint64_t number, struct nori_error *err);
/* All files are there and synced: syncs the directory, gives it its name, and syncs that. */
NORI_WARN_UNUSED nori_status nr_target_commit(struct nr_target *target, struct nori_error *err);
/* Takes an unfinished one away, and closes the directories. Zeroed is fine. */
void nr_target_clear(struct nr_target *target);

#endif

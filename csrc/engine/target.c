#include "engine/target.h"

#include <errno.h>
#include <stdio.h>

#include "base/alloc.h"
#include "format/format.h"

nori_status nr_target_find(struct nr_target *target, struct nori_env *env, const char *verb, const char *path,
                           struct nori_error *err)
{
    nori_status rc = NORI_OK;
    bool exists;
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/') size--;
    size_t name_at = size;
    while (name_at > 0 && path[name_at - 1] != '/') name_at--;
    if (size - name_at == 0 || size - name_at > NR_TARGET_NAME_BYTES - 64)
        return NR_FAIL(err, NORI_INVALID, "%s names no directory to make", path);
    memcpy(target->name, path + name_at, size - name_at);
    char *parent = nr_alloc(name_at + 2);
    if (!parent) return nr_fail_memory(err, name_at + 2);
    memcpy(parent, name_at ? path : ".", name_at ? name_at : 1);
    parent[name_at ? name_at : 1] = 0;
    NR_CHECK(nr_dir_open(env, parent, false, &target->parent, err));
    NR_CHECK(nr_dir_exists(target->parent, target->name, &exists, err));
    if (exists) rc = nr_fail_io(err, verb, path, EEXIST);
out:
    nr_free(parent);
    return rc;
}

nori_status nr_target_begin(struct nr_target *target, uint64_t number, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    bool exists = true;
    /* What a crash left of another attempt is not this one's. */
    for (; exists; number++) {
        snprintf(target->temporary, sizeof target->temporary, "%s.partial-%" PRIu64, target->name, number);
        NR_CHECK(nr_dir_exists(target->parent, target->temporary, &exists, err));
    }
    NR_CHECK(nr_dir_open_at(target->parent, target->temporary, true, &target->dir, err));
    target->is_begun = true;
out:
    return rc;
}

/* Whether the target's name is on the disk is not known. It is taken back, so that after a failure there is none; but
 * what it leads to goes only once the name is surely gone: a power loss must not bring back a name with half a
 * database. What cannot be taken back stays complete, under whichever name. */
static void take_back(struct nr_target *target)
{
    target->is_begun =
        nr_dir_rename(target->parent, target->name, target->parent, target->temporary, NULL) == NORI_OK &&
        nr_dir_sync(target->parent, NULL) == NORI_OK;
}

nori_status nr_target_commit(struct nr_target *target, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    NR_CHECK(nr_dir_sync(target->dir, err));
    NR_CHECK(nr_dir_rename(target->parent, target->temporary, target->parent, target->name, err));
    target->is_begun = false;
    rc = nr_dir_sync(target->parent, err);
    if (rc != NORI_OK) take_back(target);
out:
    return rc;
}

struct emptying {
    struct nr_dir *dir;
};

static void remove_one(void *arg, const char *name)
{
    if (nr_dir_unlink(((struct emptying *)arg)->dir, name, NULL) != NORI_OK) {
        /* A directory, or gone already. */
    }
}

static void empty(struct nr_dir *dir)
{
    struct emptying emptying = {dir};
    if (dir && nr_dir_list(dir, remove_one, &emptying, NULL) != NORI_OK) {
        /* What cannot be listed stays. */
    }
}

static void remove_partial(struct nr_target *target)
{
    struct nr_dir *log = NULL;
    if (nr_dir_open_at(target->dir, NR_WAL_DIRECTORY, false, &log, NULL) == NORI_OK) empty(log);
    nr_dir_close(log);
    if (nr_dir_remove(target->dir, NR_WAL_DIRECTORY, NULL) != NORI_OK) {
        /* It was not made. */
    }
    empty(target->dir);
    if (nr_dir_remove(target->parent, target->temporary, NULL) != NORI_OK) {
        /* Left behind under a name that says what it is. */
    }
}

void nr_target_clear(struct nr_target *target)
{
    if (target->is_begun) remove_partial(target);
    nr_dir_close(target->dir);
    nr_dir_close(target->parent);
    *target = (struct nr_target){0};
}

/* Whole files, for tests that look at them or damage them. No operations: they are not counted, and never fail by a
 * fault. What they write is durable at once, with the names that lead to it. */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "io/simdisk.h"

static int find_file(struct nr_sim_disk *disk, const char *path, struct nr_sim_inode **inode_out)
{
    int code = nr_sim_resolve(disk, path, NULL, inode_out);
    if (code == 0 && (*inode_out)->is_dir) code = EISDIR;
    return code;
}

static int read_whole(struct nr_sim_disk *disk, const char *path, uint8_t **data_out, size_t *size_out)
{
    struct nr_sim_inode *inode;
    int code = find_file(disk, path, &inode);
    if (code != 0) return code;
    uint8_t *data = inode->size_bytes < SIZE_MAX ? nr_alloc((size_t)inode->size_bytes + 1) : NULL;
    if (!data) return ENOMEM;
    nr_sim_inode_read(inode, 0, data, (size_t)inode->size_bytes);
    *data_out = data;
    *size_out = (size_t)inode->size_bytes;
    return 0;
}

nori_status nori_simdisk_read_file(struct nori_env *env, const char *path, uint8_t **data_out, size_t *size_out,
                                   struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(env);
    *data_out = NULL;
    *size_out = 0;
    nr_mutex_lock(&disk->mutex);
    int code = read_whole(disk, path, data_out, size_out);
    nr_mutex_unlock(&disk->mutex);
    return nr_sim_result(err, code, "read", path, NULL);
}

/* Up to the root: a name is worth no more than its directory's. */
static void make_path_durable(struct nr_sim_disk *disk, const char *path)
{
    char name[256];
    struct nr_sim_inode *dir = disk->root;
    while (dir && dir->is_dir) {
        nr_sim_dir_make_durable(disk, dir);
        path += strspn(path, "/");
        size_t size = strcspn(path, "/");
        if (size == 0 || size >= sizeof(name)) return;
        memcpy(name, path, size);
        name[size] = '\0';
        path += size;
        if (strcmp(name, ".") != 0) dir = nr_sim_find(dir, name);
    }
}

/* Into an inode of its own first, so that memory running out changes nothing. */
static int replace_content(struct nr_sim_disk *disk, struct nr_sim_inode *inode, nori_slice data)
{
    struct nr_sim_inode *fresh = nr_sim_inode_create(disk, false);
    if (!fresh) return ENOMEM;
    int code = nr_sim_pages_prepare(&fresh->pages, 0, data.size, false);
    if (code == 0) {
        nr_sim_inode_write(disk, fresh, 0, data);
        code = nr_sim_inode_sync(disk, fresh);
    }
    if (code == 0) {
        struct nr_sim_pages before = inode->pages;
        inode->pages = fresh->pages;
        fresh->pages = before;
        inode->size_bytes = inode->durable_size_bytes = data.size;
    }
    nr_sim_inode_unref(disk, fresh);
    return code;
}

static int write_whole(struct nr_sim_disk *disk, const char *path, nori_slice data)
{
    char last[256];
    struct nr_sim_inode *dir, *inode;
    int code = nr_sim_resolve(disk, path, last, &dir);
    if (code != 0) return code;
    if (last[0] == '\0') return EISDIR;
    inode = nr_sim_find(dir, last);
    if (inode && inode->is_dir) return EISDIR;
    bool is_new = !inode;
    if (is_new) code = nr_sim_create(disk, dir, last, false, &inode);
    if (code != 0) return code;
    code = replace_content(disk, inode, data);
    if (code != 0 && is_new) {
        /* Made a moment ago: there is room in the journal, or the name stays, empty. */
        int undone = nr_sim_remove(disk, dir, last, false);
        (void)undone;
        return code;
    }
    if (code == 0) make_path_durable(disk, path);
    return code;
}

nori_status nori_simdisk_write_file(struct nori_env *env, const char *path, nori_slice data, struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(env);
    nr_mutex_lock(&disk->mutex);
    int code = write_whole(disk, path, data);
    nr_mutex_unlock(&disk->mutex);
    return nr_sim_result(err, code, "write", path, NULL);
}

nori_status nori_simdisk_remove_file(struct nori_env *env, const char *path, struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(env);
    char last[256];
    struct nr_sim_inode *dir;
    nr_mutex_lock(&disk->mutex);
    int code = nr_sim_resolve(disk, path, last, &dir);
    if (code == 0) code = nr_sim_remove(disk, dir, last, false);
    if (code == 0) make_path_durable(disk, path);
    nr_mutex_unlock(&disk->mutex);
    return nr_sim_result(err, code, "unlink", path, NULL);
}

nori_status nori_simdisk_list(struct nori_env *env, const char *path, void (*fn)(void *arg, const char *name),
                              void *arg, struct nori_error *err)
{
    struct nr_sim_disk *disk = nr_sim_disk_of(env);
    struct nr_sim_inode *dir;
    char *names = NULL;
    size_t count = 0;
    nr_mutex_lock(&disk->mutex);
    int code = nr_sim_resolve(disk, path, NULL, &dir);
    if (code == 0 && !dir->is_dir) code = ENOTDIR;
    if (code == 0) code = nr_sim_names_of(dir, &names, &count);
    nr_mutex_unlock(&disk->mutex);
    for (const char *name = names; count > 0; count--, name += strlen(name) + 1) fn(arg, name);
    nr_free(names);
    return nr_sim_result(err, code, "list", path, NULL);
}

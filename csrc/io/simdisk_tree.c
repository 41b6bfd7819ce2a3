/* Inodes, directories, and the journal of what happened to names since their directories were synced. */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "io/simdisk.h"

#define MAX_NAME_BYTES 255

static uint32_t hash_of(const char *text)
{
    uint32_t hash = 2166136261u;
    for (; *text; text++) hash = (hash ^ (uint8_t)*text) * 16777619u;
    return hash;
}

static struct nr_sim_name *name_create(const char *text)
{
    size_t size = strlen(text) + 1;
    struct nr_sim_name *name = nr_calloc_spared(1, sizeof(*name) + size);
    if (!name) return NULL;
    name->refs = 1;
    name->hash = hash_of(text);
    memcpy(name->text, text, size);
    return name;
}

static struct nr_sim_name *name_ref(struct nr_sim_name *name)
{
    name->refs++;
    return name;
}

static void name_unref(struct nr_sim_name *name)
{
    if (name && --name->refs == 0) nr_free(name);
}

struct nr_sim_inode *nr_sim_inode_create(struct nr_sim_disk *disk, bool is_dir)
{
    struct nr_sim_inode *inode = nr_calloc_spared(1, sizeof(*inode));
    if (!inode) return NULL;
    inode->refs = 1;
    inode->is_dir = is_dir;
    inode->next = disk->inodes;
    if (disk->inodes) disk->inodes->previous = inode;
    disk->inodes = inode;
    return inode;
}

struct nr_sim_inode *nr_sim_inode_ref(struct nr_sim_inode *inode)
{
    inode->refs++;
    return inode;
}

static void entries_clear(struct nr_sim_disk *disk, struct nr_sim_entries *entries)
{
    for (size_t i = 0; i < entries->count; i++) {
        name_unref(entries->items[i].name);
        nr_sim_inode_unref(disk, entries->items[i].inode);
    }
    entries->count = 0;
}

void nr_sim_inode_unref(struct nr_sim_disk *disk, struct nr_sim_inode *inode)
{
    if (!inode || --inode->refs > 0) return;
    if (inode->previous)
        inode->previous->next = inode->next;
    else
        disk->inodes = inode->next;
    if (inode->next) inode->next->previous = inode->previous;
    entries_clear(disk, &inode->current);
    entries_clear(disk, &inode->durable);
    nr_free(inode->current.items);
    nr_free(inode->durable.items);
    nr_sim_pages_clear(&inode->pages);
    nr_free(inode);
}

static size_t position_of(const struct nr_sim_entries *entries, const char *text, uint32_t hash)
{
    size_t i = 0;
    while (i < entries->count && (entries->items[i].name->hash != hash || strcmp(entries->items[i].name->text, text)))
        i++;
    return i;
}

struct nr_sim_inode *nr_sim_find(const struct nr_sim_inode *dir, const char *name)
{
    size_t at = position_of(&dir->current, name, hash_of(name));
    return at < dir->current.count ? dir->current.items[at].inode : NULL;
}

static int entries_reserve(struct nr_sim_entries *entries, size_t count)
{
    if (count <= entries->capacity) return 0;
    size_t capacity = NR_MAX(count, 2 * entries->capacity);
    struct nr_sim_entry *items = nr_realloc_spared(entries->items, NR_MAX(capacity, 8) * sizeof(*items));
    if (!items) return ENOMEM;
    entries->items = items;
    entries->capacity = NR_MAX(capacity, 8);
    return 0;
}

/* There is room. Replaces what the name led to. */
static void entries_set(struct nr_sim_disk *disk, struct nr_sim_entries *entries, struct nr_sim_name *name,
                        struct nr_sim_inode *inode)
{
    size_t at = position_of(entries, name->text, name->hash);
    nr_sim_inode_ref(inode);
    if (at < entries->count) {
        struct nr_sim_inode *before = entries->items[at].inode;
        entries->items[at].inode = inode;
        nr_sim_inode_unref(disk, before);
        return;
    }
    entries->items[entries->count++] = (struct nr_sim_entry){name_ref(name), inode};
}

static void entries_remove(struct nr_sim_disk *disk, struct nr_sim_entries *entries, const struct nr_sim_name *name,
                           const struct nr_sim_inode *inode)
{
    size_t at = position_of(entries, name->text, name->hash);
    if (at == entries->count || entries->items[at].inode != inode) return;
    struct nr_sim_entry removed = entries->items[at];
    entries->count--;
    memmove(entries->items + at, entries->items + at + 1, (entries->count - at) * sizeof(removed));
    name_unref(removed.name);
    nr_sim_inode_unref(disk, removed.inode);
}

/* Room for one more insertion into 'dir', now and when it becomes durable, and for its change. */
static int make_room(struct nr_sim_disk *disk, struct nr_sim_inode *dir)
{
    size_t most = NR_MAX(dir->current.count, dir->durable.count + dir->pending_inserts) + 1;
    int code = entries_reserve(&dir->current, most);
    if (code == 0) code = entries_reserve(&dir->durable, most);
    if (code != 0 || disk->change_count < disk->change_capacity) return code;
    size_t capacity = NR_MAX(2 * disk->change_capacity, 16);
    struct nr_sim_change *changes = nr_realloc_spared(disk->changes, capacity * sizeof(*changes));
    if (!changes) return ENOMEM;
    disk->changes = changes;
    disk->change_capacity = capacity;
    return 0;
}

static void record(struct nr_sim_disk *disk, struct nr_sim_change change)
{
    nr_sim_inode_ref(change.dir);
    nr_sim_inode_ref(change.inode);
    name_ref(change.name);
    if (change.to_dir) {
        nr_sim_inode_ref(change.to_dir);
        name_ref(change.to_name);
    }
    if (change.kind == NR_SIM_INSERT) change.dir->pending_inserts++;
    if (change.kind == NR_SIM_RENAME) change.to_dir->pending_inserts++;
    disk->changes[disk->change_count++] = change;
}

/* To the durable entries. */
static void apply(struct nr_sim_disk *disk, const struct nr_sim_change *change)
{
    if (change->kind != NR_SIM_INSERT) entries_remove(disk, &change->dir->durable, change->name, change->inode);
    if (change->kind == NR_SIM_INSERT) entries_set(disk, &change->dir->durable, change->name, change->inode);
    if (change->kind == NR_SIM_RENAME) entries_set(disk, &change->to_dir->durable, change->to_name, change->inode);
}

static void change_clear(struct nr_sim_disk *disk, struct nr_sim_change *change)
{
    if (change->kind == NR_SIM_INSERT) change->dir->pending_inserts--;
    if (change->kind == NR_SIM_RENAME) change->to_dir->pending_inserts--;
    name_unref(change->name);
    name_unref(change->to_name);
    nr_sim_inode_unref(disk, change->inode);
    nr_sim_inode_unref(disk, change->dir);
    nr_sim_inode_unref(disk, change->to_dir);
}

int nr_sim_insert(struct nr_sim_disk *disk, struct nr_sim_inode *dir, const char *text, struct nr_sim_inode *inode)
{
    if (strlen(text) > MAX_NAME_BYTES) return ENAMETOOLONG;
    if (dir->links == 0) return ENOENT;
    if (nr_sim_find(dir, text)) return EEXIST;
    int code = make_room(disk, dir);
    if (code != 0) return code;
    struct nr_sim_name *name = name_create(text);
    if (!name) return ENOMEM;
    entries_set(disk, &dir->current, name, inode);
    inode->links++;
    record(disk, (struct nr_sim_change){.kind = NR_SIM_INSERT, .dir = dir, .name = name, .inode = inode});
    name_unref(name);
    return 0;
}

int nr_sim_create(struct nr_sim_disk *disk, struct nr_sim_inode *dir, const char *name, bool is_dir,
                  struct nr_sim_inode **inode_out)
{
    struct nr_sim_inode *inode = nr_sim_inode_create(disk, is_dir);
    if (!inode) return ENOMEM;
    int code = nr_sim_insert(disk, dir, name, inode);
    *inode_out = code == 0 ? inode : NULL;
    nr_sim_inode_unref(disk, inode);
    return code;
}

int nr_sim_remove(struct nr_sim_disk *disk, struct nr_sim_inode *dir, const char *text, bool is_dir)
{
    size_t at = position_of(&dir->current, text, hash_of(text));
    if (at == dir->current.count) return ENOENT;
    struct nr_sim_entry entry = dir->current.items[at];
    if (is_dir && !entry.inode->is_dir) return ENOTDIR;
    if (!is_dir && entry.inode->is_dir) return EISDIR;
    if (entry.inode->current.count > 0) return ENOTEMPTY;
    int code = make_room(disk, dir);
    if (code != 0) return code;
    record(disk, (struct nr_sim_change){.kind = NR_SIM_REMOVE, .dir = dir, .name = entry.name, .inode = entry.inode});
    entry.inode->links--;
    entries_remove(disk, &dir->current, entry.name, entry.inode);
    return 0;
}

static int check_rename(const struct nr_sim_inode *from, const struct nr_sim_inode *to, const char *to_name,
                        const struct nr_sim_inode *inode, const struct nr_sim_inode *target, bool replace)
{
    if (!inode || to->links == 0) return ENOENT;
    if (strlen(to_name) > MAX_NAME_BYTES) return ENAMETOOLONG;
    if (target && (!replace || inode->is_dir)) return EEXIST;
    if (target && target->is_dir) return EISDIR;
    return inode->is_dir && from != to ? EXDEV : 0;
}

int nr_sim_rename(struct nr_sim_disk *disk, struct nr_sim_inode *from, const char *from_text, struct nr_sim_inode *to,
                  const char *to_text, bool replace)
{
    struct nr_sim_inode *inode = nr_sim_find(from, from_text), *target = nr_sim_find(to, to_text);
    int code = check_rename(from, to, to_text, inode, target, replace);
    if (code == 0 && inode == target) return 0; /* Two links of one file: POSIX leaves both. */
    if (code == 0) code = make_room(disk, to);
    if (code != 0) return code;
    struct nr_sim_name *to_name = name_create(to_text);
    if (!to_name) return ENOMEM;

    struct nr_sim_name *name = from->current.items[position_of(&from->current, from_text, hash_of(from_text))].name;
    record(disk,
           (struct nr_sim_change){
               .kind = NR_SIM_RENAME, .dir = from, .to_dir = to, .name = name, .to_name = to_name, .inode = inode});
    if (target) target->links--;
    entries_set(disk, &to->current, to_name, inode);
    entries_remove(disk, &from->current, name, inode);
    name_unref(to_name);
    return 0;
}

int nr_sim_resolve(struct nr_sim_disk *disk, const char *path, char *last_out, struct nr_sim_inode **inode_out)
{
    char name[MAX_NAME_BYTES + 1] = "";
    struct nr_sim_inode *at = disk->root;
    for (;;) {
        path += strspn(path, "/");
        size_t size = strcspn(path, "/");
        if (size == 0) break;
        if (size > MAX_NAME_BYTES) return ENAMETOOLONG;
        /* One behind: only now is the name before known not to be the last. */
        if (name[0] != '\0') at = nr_sim_find(at, name);
        if (!at) return ENOENT;
        if (!at->is_dir) return ENOTDIR;
        bool is_self = size == 1 && path[0] == '.';
        memcpy(name, path, is_self ? 0 : size);
        name[is_self ? 0 : size] = '\0';
        path += size;
    }
    if (last_out)
        memcpy(last_out, name, sizeof(name));
    else if (name[0] != '\0')
        at = nr_sim_find(at, name);
    *inode_out = at;
    return at ? 0 : ENOENT;
}

static bool touches(const struct nr_sim_change *change, const struct nr_sim_inode *dir)
{
    return change->dir == dir || change->to_dir == dir;
}

/* A rename that becomes durable in one directory does in the other, and what happened there before it with it. */
static bool join_renames(struct nr_sim_disk *disk, struct nr_sim_inode *dir, size_t *end)
{
    for (size_t i = *end; i-- > 0;) {
        struct nr_sim_change *change = &disk->changes[i];
        if (!touches(change, dir) || !change->to_dir || change->to_dir == change->dir) continue;
        *end = i + 1;
        return true;
    }
    return false;
}

/* Applies the changes of 'dir' among the first 'end', in order, and takes them out of the journal. */
static void apply_of(struct nr_sim_disk *disk, struct nr_sim_inode *dir, size_t end)
{
    size_t kept = 0, count = disk->change_count;
    for (size_t i = 0; i < count; i++) {
        struct nr_sim_change change = disk->changes[i];
        if (i < end && touches(&change, dir)) {
            apply(disk, &change);
            change_clear(disk, &change);
        } else {
            disk->changes[kept++] = change;
        }
    }
    disk->change_count = kept;
}

void nr_sim_dir_make_durable(struct nr_sim_disk *disk, struct nr_sim_inode *dir)
{
    size_t end = disk->change_count;
    if (join_renames(disk, dir, &end)) {
        /* Files move between directories rarely: keep the order of all, rather than find out which depend. */
        size_t rest = disk->change_count - end;
        for (size_t i = 0; i < end; i++) apply(disk, &disk->changes[i]);
        for (size_t i = 0; i < end; i++) change_clear(disk, &disk->changes[i]);
        memmove(disk->changes, disk->changes + end, rest * sizeof(*disk->changes));
        disk->change_count = rest;
    }
    apply_of(disk, dir, disk->change_count);
}

/* There is room, as there was for every change. */
static void restore_current(struct nr_sim_disk *disk, struct nr_sim_inode *dir)
{
    entries_clear(disk, &dir->current);
    for (size_t i = 0; i < dir->durable.count; i++) {
        struct nr_sim_entry entry = dir->durable.items[i];
        entry.inode->links++;
        nr_sim_inode_ref(entry.inode);
        dir->current.items[dir->current.count++] = (struct nr_sim_entry){name_ref(entry.name), entry.inode};
    }
}

void nr_sim_tree_crash(struct nr_sim_disk *disk, double keep)
{
    for (size_t i = 0; i < disk->change_count; i++)
        if (nr_random_unit(&disk->random) < keep) apply(disk, &disk->changes[i]);
    for (size_t i = 0; i < disk->change_count; i++) change_clear(disk, &disk->changes[i]);
    disk->change_count = 0;

    /* A reference to each, so that none goes while the list is walked. */
    for (struct nr_sim_inode *inode = disk->inodes; inode; inode = inode->next) {
        nr_sim_inode_ref(inode);
        inode->links = inode == disk->root;
    }
    for (struct nr_sim_inode *inode = disk->inodes; inode; inode = inode->next)
        if (inode->is_dir) restore_current(disk, inode);
    for (struct nr_sim_inode *inode = disk->inodes, *next; inode; inode = next) {
        next = inode->next;
        nr_sim_inode_unref(disk, inode);
    }
}

void nr_sim_tree_clear(struct nr_sim_disk *disk)
{
    for (size_t i = 0; i < disk->change_count; i++) change_clear(disk, &disk->changes[i]);
    nr_free(disk->changes);
    disk->changes = NULL;
    disk->change_count = 0;
    nr_sim_inode_unref(disk, disk->root);
    disk->root = NULL;
}

/* The simulated disk: a file system in memory that keeps, apart, what a power loss would leave.
 *
 * A file is pages, made when first written; a missing page is zeros. A page is its current bytes, the bytes on the disk
 * where they differ, and which of its sectors they may differ in. Sync makes the current bytes those of the disk; a
 * sync that fails by a fault leaves its sectors 'lost', as an operating system does: they read back as written, but no
 * later sync writes them. A crash keeps or drops every dirty or lost sector by chance.
 *
 * A directory has its current entries and those on the disk. Each operation on a name is also a change in the disk's
 * journal until a sync of its directory applies it to the durable entries; a crash applies or drops each by chance.
 * Room for applying is made when the change is recorded, so neither sync nor crash can run out of memory.
 *
 * Directories are renamed only within their parent, so they always form a tree and counted references free them.
 *
 * Everything is guarded by disk.mutex but the clocks. Functions below are called with it held where they say 'locked',
 * and return 0 or an errno; ENOMEM stands for our own memory. */
#ifndef NR_IO_SIMDISK_H
#define NR_IO_SIMDISK_H

#include "base/lock.h"
#include "base/random.h"
#include "io/env.h"

#define NR_SIM_PAGE_BYTES 4096u
/* A log grows by this much when it is reserved. */
#define NR_SIM_LOG_STEP_BYTES (32u << 10)

struct nr_sim_page {
    uint8_t *current; /* NULL: zeros. */
    uint8_t *durable; /* Meaningful while dirty or lost; NULL then: zeros. Else a spare buffer of a log's, or NULL. */
    uint8_t dirty;    /* One bit per sector: written since the last sync. */
    uint8_t lost;     /* One bit per sector: a sync of it failed. Disjoint from dirty. */
};

struct nr_sim_pages {
    struct nr_sim_page *items; /* Page i is bytes [i * 4096, (i + 1) * 4096). */
    uint32_t *touched;         /* Those with a bit in dirty or lost, each once. Room for all. */
    size_t capacity;           /* Of both. */
    size_t touched_count;
};

/* A name in a directory, shared by all that hold it. */
struct nr_sim_name {
    uint32_t refs;
    uint32_t hash;
    char text[];
};

struct nr_sim_entry {
    struct nr_sim_name *name;   /* Refs. */
    struct nr_sim_inode *inode; /* Refs. */
};

struct nr_sim_entries {
    struct nr_sim_entry *items; /* In order of creation. */
    size_t count;
    size_t capacity;
};

struct nr_sim_inode {
    struct nr_sim_inode *next, *previous; /* All of the disk's. */
    uint32_t refs;                        /* Entries, changes and handles. */
    uint32_t links;                       /* Current entries that lead here. */
    bool is_dir;
    uint64_t locked_by;    /* The generation whose handles hold the lock; 0: none. */
    uint32_t shared_count; /* Of those handles; 0: it is exclusive. */

    /* Files. */
    uint64_t size_bytes;
    uint64_t durable_size_bytes;
    bool keeps_buffers; /* A log: pages keep their spare buffers, so that publishing needs no memory. */
    struct nr_sim_pages pages;

    /* Directories. Both have room for 'durable.count' and all pending insertions. */
    struct nr_sim_entries current;
    struct nr_sim_entries durable;
    size_t pending_inserts;
};

enum nr_sim_change_kind {
    NR_SIM_INSERT, /* create, link, mkdir */
    NR_SIM_REMOVE, /* unlink, rmdir */
    NR_SIM_RENAME,
};

struct nr_sim_change {
    enum nr_sim_change_kind kind;
    struct nr_sim_inode *dir;    /* Refs. */
    struct nr_sim_inode *to_dir; /* Refs. A rename's; else NULL. */
    struct nr_sim_name *name;    /* Refs. */
    struct nr_sim_name *to_name; /* Refs. A rename's; else NULL. */
    struct nr_sim_inode *inode;  /* Refs. */
};

struct nr_sim_fault {
    enum nr_io_op op; /* NR_IO_OP_COUNT: any. */
    uint64_t left;    /* Fires when it comes to 0. */
    int sys_errno;
    bool is_short;
};

struct nr_sim_disk {
    struct nori_env env;
    struct nr_mutex mutex;
    uint32_t sector_bytes; /* Immutable. */
    struct nr_random random;
    struct nr_sim_inode *inodes;
    struct nr_sim_inode *root; /* Refs. */
    struct nr_sim_change *changes;
    size_t change_count;
    size_t change_capacity;
    struct nr_sim_fault *faults;
    size_t fault_count;
    size_t fault_capacity;
    uint64_t operations[NR_IO_OP_COUNT];
    uint64_t operation_count;
    uint64_t stop_count;       /* Operations that come to this count or beyond fail. UINT64_MAX: none. */
    enum nr_io_op stopped_by;  /* The first of these. Meaningful once it came. */
    uint64_t started_us;       /* Real time at creation. Immutable. */
    _Atomic uint64_t slept_us; /* Moves both clocks. These three are not under the mutex. */
    _Atomic uint64_t monotonic_ahead_us;
    _Atomic int64_t wall_ahead_ms;
};

struct nr_sim_dir {
    struct nr_dir base;
    struct nr_sim_inode *inode; /* Refs. */
    uint64_t generation;
};

struct nr_sim_file {
    struct nr_file base;
    struct nr_sim_inode *inode; /* Refs. */
    uint64_t generation;
};

struct nr_sim_log {
    struct nr_log base;
    struct nr_sim_inode *inode; /* Refs. */
    uint64_t generation;
    bool mapped;
    uint64_t ready_bytes;  /* Reserved on the disk. */
    uint64_t memory_bytes; /* Publishing below this needs no memory. */
};

static inline struct nr_sim_disk *nr_sim_disk_of(struct nori_env *env)
{
    return (struct nr_sim_disk *)env;
}

/* simdisk.c */

/* What becomes of an operation: 0 and it goes on. */
struct nr_sim_verdict {
    int sys_errno;
    bool is_fault; /* An armed fault, not a dead handle or a stopped disk. */
    bool is_short; /* Part of the transfer comes first. */
};
/* Counts one operation of a handle of 'generation' and asks the faults. Locked. */
struct nr_sim_verdict nr_sim_begin(struct nr_sim_disk *disk, uint64_t generation, enum nr_io_op op);
/* For what is no operation: EIO if the handle is dead or the disk stopped. Locked. */
int nr_sim_look(const struct nr_sim_disk *disk, uint64_t generation);
/* How much of 'size' a short transfer lets through. Locked. */
size_t nr_sim_part(struct nr_sim_disk *disk, size_t size);
/* The status of an errno, and its error. */
NORI_WARN_UNUSED nori_status nr_sim_result(struct nori_error *err, int code, const char *verb, const char *directory,
                                           const char *name);

/* simdisk_pages.c: all locked */

/* Memory for writing [offset, offset + size); 'spare': and for all later writes there. */
int nr_sim_pages_prepare(struct nr_sim_pages *pages, uint64_t offset, uint64_t size, bool spare);
/* Prepared. Raises the inode's size. */
void nr_sim_inode_write(const struct nr_sim_disk *disk, struct nr_sim_inode *inode, uint64_t offset, nori_slice data);
void nr_sim_inode_read(const struct nr_sim_inode *inode, uint64_t offset, uint8_t *data, size_t size);
int nr_sim_inode_sync(const struct nr_sim_disk *disk, struct nr_sim_inode *inode);
void nr_sim_inode_lose(struct nr_sim_inode *inode); /* Its sync failed. */
/* Keeps each unsynced sector, and the size, with chance 'keep'; all is durable then. */
void nr_sim_inode_crash(struct nr_sim_disk *disk, struct nr_sim_inode *inode, double keep);
void nr_sim_pages_clear(struct nr_sim_pages *pages);

/* simdisk_tree.c: all locked */

struct nr_sim_inode *nr_sim_inode_create(struct nr_sim_disk *disk, bool is_dir); /* One reference; NULL. */
struct nr_sim_inode *nr_sim_inode_ref(struct nr_sim_inode *inode);
void nr_sim_inode_unref(struct nr_sim_disk *disk, struct nr_sim_inode *inode);      /* NULL is fine. */
struct nr_sim_inode *nr_sim_find(const struct nr_sim_inode *dir, const char *name); /* Borrowed; NULL if none. */
/* Makes 'name' lead to 'inode'. EEXIST; ENOENT if the directory is removed. */
int nr_sim_insert(struct nr_sim_disk *disk, struct nr_sim_inode *dir, const char *name, struct nr_sim_inode *inode);
int nr_sim_remove(struct nr_sim_disk *disk, struct nr_sim_inode *dir, const char *name, bool is_dir);
/* 'replace' false: EEXIST where the new name is taken. */
int nr_sim_rename(struct nr_sim_disk *disk, struct nr_sim_inode *from, const char *from_name, struct nr_sim_inode *to,
                  const char *to_name, bool replace);
/* A new inode under a new name. '*inode_out' is borrowed. */
int nr_sim_create(struct nr_sim_disk *disk, struct nr_sim_inode *dir, const char *name, bool is_dir,
                  struct nr_sim_inode **inode_out);
/* Follows 'path' from the root. With 'last_out': all but its last name, which is copied there (256 bytes; "" for the
 * root itself). Borrowed. */
int nr_sim_resolve(struct nr_sim_disk *disk, const char *path, char *last_out, struct nr_sim_inode **inode_out);
void nr_sim_dir_make_durable(struct nr_sim_disk *disk, struct nr_sim_inode *dir);
/* Applies each pending change with chance 'keep', and makes the durable entries the current ones. */
void nr_sim_tree_crash(struct nr_sim_disk *disk, double keep);
void nr_sim_tree_clear(struct nr_sim_disk *disk); /* Before the disk goes. */

/* simdisk_dir.c, simdisk_file.c, simdisk_log.c: the operations */
nori_status nr_sim_dir_open(struct nori_env *env, const char *path, bool create, struct nr_dir **dir_out,
                            struct nori_error *err);
nori_status nr_sim_dir_open_at(struct nr_dir *parent, const char *name, bool create, struct nr_dir **dir_out,
                               struct nori_error *err);
nori_status nr_sim_dir_sync(struct nr_dir *dir, struct nori_error *err);
nori_status nr_sim_dir_list(struct nr_dir *dir, void (*fn)(void *arg, const char *name), void *arg,
                            struct nori_error *err);
void nr_sim_dir_close(struct nr_dir *dir);
nori_status nr_sim_dir_remove(struct nr_dir *parent, const char *name, struct nori_error *err);
nori_status nr_sim_dir_rename(struct nr_dir *from, const char *from_name, struct nr_dir *to, const char *to_name,
                              struct nori_error *err);
nori_status nr_sim_dir_link(struct nr_dir *from, const char *from_name, struct nr_dir *to, const char *to_name,
                            struct nori_error *err);
nori_status nr_sim_dir_unlink(struct nr_dir *dir, const char *name, struct nori_error *err);
nori_status nr_sim_dir_exists(struct nr_dir *dir, const char *name, bool *exists_out, struct nori_error *err);
bool nr_sim_dir_can_map(struct nr_dir *dir);
bool nr_sim_dir_may_create(struct nr_dir *dir);
/* The names of a directory, joined, each with its zero; freed by the caller. Locked. */
int nr_sim_names_of(const struct nr_sim_inode *dir, char **names_out, size_t *count_out);

nori_status nr_sim_lock(struct nr_dir *dir, const char *name, bool is_shared, struct nr_file **lock_out,
                        struct nori_error *err);
void nr_sim_unlock(struct nr_file *lock);
nori_status nr_sim_file_open(struct nr_dir *dir, const char *name, enum nr_open_mode mode, struct nr_file **file_out,
                             struct nori_error *err);
nori_status nr_sim_file_read_at(struct nr_file *file, uint64_t offset, uint8_t *data, size_t size, size_t *got_out,
                                struct nori_error *err);
nori_status nr_sim_file_append(struct nr_file *file, nori_slice data, struct nori_error *err);
nori_status nr_sim_file_sync(struct nr_file *file, struct nori_error *err);
nori_status nr_sim_file_size(struct nr_file *file, uint64_t *size_out, struct nori_error *err);
void nr_sim_file_readahead(struct nr_file *file, uint64_t offset, size_t size);
void nr_sim_file_write_behind(struct nr_file *file, uint64_t offset, uint64_t size);
void nr_sim_file_close(struct nr_file *file);

nori_status nr_sim_log_create(struct nr_dir *dir, const char *name, const char *recycle, uint64_t size_bytes,
                              bool mapped, struct nr_log **log_out, struct nori_error *err);
nori_status nr_sim_log_reserve(struct nr_log *log, uint64_t end, bool may_wait, struct nori_error *err);
nori_status nr_sim_log_publish(struct nr_log *log, uint64_t offset, nori_slice first, nori_slice second,
                               struct nori_error *err);
nori_status nr_sim_log_sync(struct nr_log *log, struct nori_error *err);
nori_status nr_sim_log_prepare(struct nr_log *log, uint64_t end, struct nori_error *err);
bool nr_sim_log_is_mapped(const struct nr_log *log);
void nr_sim_log_close(struct nr_log *log);

#endif

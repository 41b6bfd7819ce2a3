/* The manifest: the record of edits that makes the tree; CURRENT names it.
 *
 * A manifest file is a header and framed records (wal/record.h), the first one a whole snapshot. An edit is durable
 * before it is installed. Nothing that an edit releases is unlinked before the mark that promises the edit is durable,
 * too. A manifest whose tail is damaged beyond every promise loses that tail, provided that all files the rest names
 * exist. */
#ifndef NR_VERSION_MANIFEST_H
#define NR_VERSION_MANIFEST_H

#include "version/edit.h"
#include "wal/record.h"

/* What recovery finds. Counters and options as of the last edit. */
struct nr_manifest_state {
    uint64_t database_id;
    uint64_t number;             /* Of the manifest file. */
    uint64_t write_features;     /* Of its header: with unknown bits the database must not be written to. */
    struct nr_counters counters; /* next_file_number is above every manifest and table file in the directory. */
    uint64_t snapshot_bytes;     /* The whole file, if it is a snapshot and nothing else. 0: there is more. */
    struct nr_version *version;  /* One reference, the caller's. */
    struct nr_buffer options;
};
void nr_manifest_state_clear(struct nr_manifest_state *state);

enum nr_manifest_presence {
    NR_MANIFEST_ABSENT, /* No database here: no CURRENT, and no table or log segment either. */
    NR_MANIFEST_PRESENT,
};
/* Whether there is a database: CORRUPTION when CURRENT is missing beside tables or log segments. */
NORI_WARN_UNUSED nori_status nr_manifest_detect(struct nr_dir *dir, enum nr_manifest_presence *presence_out,
                                                struct nori_error *err);

/* Reads CURRENT and the manifest; checks that every table named exists with its size. Files get 'on_unreferenced' and
 * 'arg'. Writes nothing. CORRUPTION (sys_errno ENOENT where a file is missing, so that a reader beside a live writer
 * can start again), FORMAT. 'level_count' levels at least. */
NORI_WARN_UNUSED nori_status nr_manifest_recover(struct nr_dir *dir, size_t level_count,
                                                 void (*on_unreferenced)(void *arg, struct nr_table_file *file),
                                                 void *arg, struct nr_manifest_state *state_out,
                                                 struct nori_error *err);

/* Manifest 'number' by itself, whatever CURRENT says, and whether its tables are there or not: up to the edit behind
 * which it is damaged, for which '*damage_out' is other than NORI_OK then. CORRUPTION where not even its snapshot can
 * be read; IO with ENOENT. */
NORI_WARN_UNUSED nori_status nr_manifest_salvage(struct nr_dir *dir, uint64_t number,
                                                 struct nr_manifest_state *state_out, struct nori_error *damage_out,
                                                 struct nori_error *err);

/* The writer. One call at a time (engine: by the manifest turn). */
struct nr_manifest;
/* Writes a new manifest 'number' with a snapshot: complete, synced; CURRENT's temporary synced, renamed, directory
 * synced; then the old manifest (0: none) and stray manifests go. On failure before the rename nothing has changed; a
 * failure that leaves open which manifest a crash would find has outcome INDETERMINATE: neither may be written to any
 * more. */
NORI_WARN_UNUSED nori_status nr_manifest_create(struct nr_dir *dir, uint64_t database_id, uint64_t number,
                                                uint64_t old_number, const struct nr_edit *snapshot,
                                                struct nr_manifest **manifest_out, struct nori_error *err);
/* Goes on in the manifest that CURRENT names, of which 'state' knows that it is a snapshot and nothing else: as if it
 * had just been created. It was synced before CURRENT named it; it is synced once more, and so are CURRENT and the
 * directory, for what a copy of a database has not done. NULL and NORI_OK: it cannot be opened for writing. A failure
 * leaves open which manifest a crash would find. */
NORI_WARN_UNUSED nori_status nr_manifest_adopt(struct nr_dir *dir, const struct nr_manifest_state *state,
                                               struct nr_manifest **manifest_out, struct nori_error *err);
/* Appends the edit. It may come to be on disk at any time, and is once nr_manifest_sync returns; a crash before that
 * finds the edits up to one of them. On failure of I/O (outcome INDETERMINATE: no file that the edit names may be
 * unlinked) the manifest has failed: later calls NORI_POISONED with the first cause. NO_MEMORY has changed nothing.
 * Where it is a full disk that keeps record or mark from being written, nothing is known to be lost: the manifest is
 * torn, says so (NORI_IO, NOT_APPLIED) to all later calls, and another one has to take its place. */
NORI_WARN_UNUSED nori_status nr_manifest_append(struct nr_manifest *manifest, const struct nr_edit *edit,
                                                struct nori_error *err);
/* Makes all edits durable, by one fsync, which when it fails is never tried again; failure as above. Then writes the
 * mark, unsynced; when that fails the edits stand, and the manifest has failed for later calls. */
NORI_WARN_UNUSED nori_status nr_manifest_sync(struct nr_manifest *manifest, struct nori_error *err);
/* Makes the edits and their mark durable: to be called before unlinking what they released. Cheap when they are. */
NORI_WARN_UNUSED nori_status nr_manifest_settle(struct nr_manifest *manifest, struct nori_error *err);
/* Whether it has outgrown the greater of 4 MiB and twice its snapshot: time for nr_manifest_create anew. */
bool nr_manifest_is_large(const struct nr_manifest *manifest);
/* Whether it has failed; '*cause_out' is the error that later calls give. A sync may succeed and its mark fail. */
bool nr_manifest_failure(const struct nr_manifest *manifest, struct nori_error *cause_out);
/* Whether a full disk has cut a record short: nr_manifest_create anew before anything else. */
bool nr_manifest_is_torn(const struct nr_manifest *manifest);
/* Whether edits were appended to its snapshot. */
bool nr_manifest_has_edits(const struct nr_manifest *manifest);
uint64_t nr_manifest_number(const struct nr_manifest *manifest);
uint64_t nr_manifest_bytes_written(const struct nr_manifest *manifest);
void nr_manifest_close(struct nr_manifest *manifest); /* NULL is fine. */

#endif

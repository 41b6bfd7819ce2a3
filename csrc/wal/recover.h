/* Where the log ends, and what is in it (design 3, "The log's end").
 *
 * Every segment from the manifest's log number on is read to its physical end. The log ends at the first position that
 * is not valid; a promise beyond it, or a missing segment before the newest promised one, is NORI_CORRUPTION. A segment
 * whose header names an earlier end of its predecessor cuts that one there: what an earlier recovery dropped stays
 * dropped. */
#ifndef NR_WAL_RECOVER_H
#define NR_WAL_RECOVER_H

#include "wal/record.h"

struct nr_wal_part {
    uint64_t number;
    uint64_t start_offset;
    uint64_t end_offset;
};

struct nr_wal_log {
    struct nr_wal_part *parts; /* Owned. What to replay, in order. */
    size_t part_count;
    struct nr_position end; /* {log_number, 0} if there is nothing. */
    uint64_t last_sequence; /* Of the last record before the end, or as given, whichever is greater. */
    uint64_t next_segment;  /* Above every segment file there is, and the log number. */
    struct nr_position promise;
    size_t file_count; /* Of segments from the log number on, whatever is in them. */
};

/* Reads wal/ below 'root' (which may be missing: an empty log). 'log_number': the first segment needed;
 * 'last_sequence': what the tables hold already. 'is_live': a writer may be at work (read-only open beside it): an
 * unfinished tail is the end. Writes nothing. */
NORI_WARN_UNUSED nori_status nr_wal_examine(struct nori_env *env, struct nr_dir *root, uint64_t database_id,
                                            uint64_t log_number, uint64_t last_sequence, bool is_live,
                                            struct nr_wal_log *log_out, struct nori_error *err);
/* The same of a damaged log, none of whose segments is being written: '*log_out' is what can be read, from its
 * beginning without a hole, and '*damage_out' other than NORI_OK where there was more. 'is_open_ended': what the tables
 * hold is not known, and neither is where the log must begin: it is read from where its newest segment leads back to.
 */
NORI_WARN_UNUSED nori_status nr_wal_salvage(struct nr_dir *root, uint64_t database_id, uint64_t log_number,
                                            uint64_t last_sequence, bool is_open_ended, struct nr_wal_log *log_out,
                                            struct nori_error *damage_out, struct nori_error *err);
void nr_wal_log_clear(struct nr_wal_log *log);

/* Called for each record in order, marks left out. 'position' is its end, as nr_wal_append gave it. */
typedef nori_status (*nr_wal_replay_fn)(void *arg, const struct nr_record *record, struct nr_position position,
                                        struct nori_error *err);
NORI_WARN_UNUSED nori_status nr_wal_replay(struct nori_env *env, struct nr_dir *root, uint64_t database_id,
                                           const struct nr_wal_log *log, nr_wal_replay_fn fn, void *arg,
                                           struct nori_error *err);

#endif

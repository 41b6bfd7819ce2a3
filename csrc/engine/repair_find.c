/* Which tables count: those of the newest version that a manifest tells, or all there are.
 *
 * A whole manifest is believed, whether its tables are there or not: what is missing is lost. Part of one, or one that
 * is not the newest, is believed only if all of its tables are there, as recovery does: else it tells of tables that
 * were merged into others long ago. Without a manifest entries are told apart by sequences alone. */
#include "engine/repair.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "format/file_header.h"
#include "io/path.h"
#include "version/current.h"

struct numbers {
    uint64_t *items; /* Owned. */
    size_t count, capacity;
};

struct listing {
    struct numbers manifests, tables; /* Descending; ascending. */
    struct numbers segments;
    bool has_current;
    nori_status rc;
    struct nori_error *err;
};

static void note_number(struct listing *listing, struct numbers *numbers, uint64_t number)
{
    if (listing->rc == NORI_OK)
        listing->rc = nr_repair_grow((void **)&numbers->items, numbers->count, &numbers->capacity,
                                     sizeof *numbers->items, listing->err);
    if (listing->rc == NORI_OK) numbers->items[numbers->count++] = number;
}

static void note_name(void *arg, const char *name)
{
    struct listing *listing = arg;
    uint64_t number = 0;
    enum nr_file_kind kind = nr_name_parse(name, &number);
    listing->has_current |= kind == NR_FILE_CURRENT;
    if (kind == NR_FILE_MANIFEST) note_number(listing, &listing->manifests, number);
    if (kind == NR_FILE_TABLE) note_number(listing, &listing->tables, number);
    if (kind == NR_FILE_SEGMENT) note_number(listing, &listing->segments, number);
}

static int compare_rising(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static int compare_falling(const void *a, const void *b)
{
    return compare_rising(b, a);
}

static nori_status list_log(struct nr_repair *repair, struct listing *listing, struct nori_error *err)
{
    struct nr_dir *log = NULL;
    struct nori_error own;
    nr_error_clear(&own);
    nori_status rc = nr_dir_open_at(repair->source, NR_WAL_DIRECTORY, false, &log, &own);
    if (rc == NORI_IO && own.sys_errno == ENOENT) return NORI_OK;
    if (rc == NORI_OK)
        rc = nr_dir_list(log, note_name, listing, err);
    else if (err)
        *err = own;
    nr_dir_close(log);
    return rc;
}

static nori_status list_source(struct nr_repair *repair, struct listing *listing, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    listing->err = err;
    NR_CHECK(nr_dir_list(repair->source, note_name, listing, err));
    /* Segments are those of the directory of the log alone. */
    listing->segments.count = 0;
    NR_CHECK(list_log(repair, listing, err));
    NR_CHECK(listing->rc);
    if (!listing->has_current && listing->manifests.count + listing->tables.count + listing->segments.count == 0) {
        rc = nr_fail_io(err, "find database", repair->path, ENOENT);
        goto out;
    }
    if (listing->manifests.count > 0)
        qsort(listing->manifests.items, listing->manifests.count, sizeof(uint64_t), compare_falling);
    if (listing->tables.count > 0)
        qsort(listing->tables.items, listing->tables.count, sizeof(uint64_t), compare_rising);
out:
    return rc;
}

/* ---------------------------------------------------------------- by a manifest */

/* Refs the file. */
static nori_status add_table(void *arg, struct nr_table_file *file, struct nori_error *err)
{
    struct nr_repair *repair = arg;
    nori_status rc = nr_repair_grow((void **)&repair->tables, repair->table_count, &repair->table_capacity,
                                    sizeof *repair->tables, err);
    if (rc != NORI_OK) return rc;
    repair->tables[repair->table_count++] =
        (struct nr_repair_table){.file = nr_table_file_ref(file), .finding = NR_REPAIR_NO_FINDING};
    return NORI_OK;
}

static nori_status add_piece(struct nr_repair *repair, struct nr_repair_piece piece, struct nori_error *err)
{
    nori_status rc = nr_repair_grow((void **)&repair->pieces, repair->piece_count, &repair->piece_capacity,
                                    sizeof *repair->pieces, err);
    if (rc == NORI_OK) repair->pieces[repair->piece_count++] = piece;
    return rc;
}

static int compare_tables(const void *a, const void *b)
{
    const struct nr_repair_table *x = a, *y = b;
    return compare_rising(&x->file->number, &y->file->number);
}

static nori_status take_run(struct nr_repair *repair, const struct nr_run *run, uint64_t rank, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    for (size_t i = 0; i < run->slice_count; i++) {
        const struct nr_table_slice *slice = &run->slices[i];
        const struct nr_repair_table key = {.file = slice->file};
        const struct nr_repair_table *table =
            bsearch(&key, repair->tables, repair->table_count, sizeof key, compare_tables);
        NR_CHECK(add_piece(
            repair, (struct nr_repair_piece){(size_t)(table - repair->tables), rank, slice->start, slice->end}, err));
    }
out:
    return rc;
}

/* For each key the runs of lower rank are the newer ones. */
static nori_status take_version(struct nr_repair *repair, struct nori_error *err)
{
    const struct nr_version *version = repair->state.version;
    nori_status rc = NORI_OK;
    NR_CHECK(nr_version_each_file(version, add_table, repair, err));
    if (repair->table_count > 0) qsort(repair->tables, repair->table_count, sizeof *repair->tables, compare_tables);
    for (size_t level = 0; level < version->level_count; level++) {
        for (size_t i = 0; i < version->levels[level]->slot_count; i++) {
            const struct nr_slot *slot = nr_level_slot(version->levels[level], i);
            for (size_t run = 0; run < slot->run_count; run++)
                NR_CHECK(take_run(repair, slot->runs[run], (uint64_t)level << 32 | run, err));
        }
    }
out:
    return rc;
}

struct presence {
    struct nr_dir *dir;
    bool is_whole;
};

static nori_status look_for_table(void *arg, struct nr_table_file *table, struct nori_error *err)
{
    struct presence *presence = arg;
    struct nr_file *file = NULL;
    struct nori_error own;
    char name[NR_FILE_NAME_BYTES];
    uint64_t size = 0;
    nr_error_clear(&own);
    nr_name_table(name, table->number);
    nori_status rc = nr_file_open(presence->dir, name, NR_OPEN_READ, &file, &own);
    if (rc == NORI_OK) rc = nr_file_size(file, &size, &own);
    nr_file_close(file);
    bool is_missing = rc == NORI_IO && own.sys_errno == ENOENT;
    if (is_missing || (rc == NORI_OK && size != table->file_bytes)) presence->is_whole = false;
    if (rc == NORI_OK || is_missing) return NORI_OK;
    if (err) *err = own;
    return rc;
}

/* Tables of the directory that the part of the manifest which can be read does not know. */
static nori_status find_unknown(struct nr_repair *repair, const struct listing *listing, struct nori_error *err)
{
    struct nori_error damage;
    uint64_t known = repair->state.counters.next_file_number;
    size_t unknown = 0;
    for (size_t i = 0; i < listing->tables.count; i++) unknown += listing->tables.items[i] >= known;
    if (unknown == 0) return NORI_OK;
    nr_fail_corrupt(&damage, repair->source->path, -1, "manifest",
                    "%zu tables were made after the last edit that can be read; they are left out", unknown);
    return nr_repair_note(repair, &damage, NULL, err);
}

/* Believes the manifest, or not: then why is a finding. */
static nori_status try_manifest(struct nr_repair *repair, const struct listing *listing, uint64_t number,
                                bool is_newest, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_manifest_state state;
    struct nori_error damage, why;
    struct presence presence = {repair->source, true};

    rc = nr_manifest_salvage(repair->source, number, &state, &damage, &why);
    if (rc == NORI_CORRUPTION) return nr_repair_note(repair, &why, NULL, err);
    if (rc != NORI_OK) {
        if (err) *err = why;
        return rc;
    }
    if (damage.code != NORI_OK) NR_CHECK(nr_repair_note(repair, &damage, NULL, err));
    if (!is_newest || damage.code != NORI_OK) {
        NR_CHECK(nr_version_each_file(state.version, look_for_table, &presence, err));
        repair->report->basis = NORI_REPAIR_PREFIX;
    }
    if (!presence.is_whole) {
        nr_fail_corrupt(&why, repair->source->path, -1, "manifest",
                        "what can be read of manifest %" PRIu64 " names tables that are gone", number);
        NR_CHECK(nr_repair_note(repair, &why, NULL, err));
        goto out;
    }
    repair->state = state;
    state = (struct nr_manifest_state){0};
    repair->has_manifest = true;
    if (repair->report->basis == NORI_REPAIR_PREFIX) NR_CHECK(find_unknown(repair, listing, err));
out:
    nr_manifest_state_clear(&state);
    return rc;
}

static nori_status choose_manifest(struct nr_repair *repair, const struct listing *listing, struct nori_error *err)
{
    nori_status rc;
    struct nori_error why;
    uint64_t current = 0;

    nr_error_clear(&why);
    rc = nr_current_read(repair->source, &current, &why);
    if (rc == NORI_CORRUPTION) {
        NR_CHECK(nr_repair_note(repair, &why, NULL, err));
        if (listing->manifests.count > 0) current = listing->manifests.items[0];
    } else if (rc != NORI_OK) {
        if (err) *err = why;
        goto out;
    }
    /* Without CURRENT the newest of several may be what is left of an attempt to write one. */
    bool is_newest = why.code == NORI_OK || listing->manifests.count == 1;
    if (current > 0) NR_CHECK(try_manifest(repair, listing, current, is_newest, err));
    for (size_t i = 0; i < listing->manifests.count && !repair->has_manifest; i++) {
        if (listing->manifests.items[i] == current) continue;
        NR_CHECK(try_manifest(repair, listing, listing->manifests.items[i], false, err));
    }
out:
    return rc;
}

static nori_status adopt_manifest(struct nr_repair *repair, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nori_error why;
    nori_slice text = nr_buffer_slice(&repair->state.options);

    /* What it asks of writers, the new database would not keep. */
    if (repair->state.write_features & ~NR_WRITE_FEATURES_KNOWN)
        return NR_FAIL(err, NORI_FORMAT, "%s was written by a newer version", repair->path);
    repair->database_id = repair->state.database_id;
    repair->flushed_sequence = NR_MIN(repair->state.counters.flushed_sequence, NR_MAX_SEQUENCE);
    rc = text.size > 0 ? nr_options_parse_kept(&repair->options, text, repair->path, &why) : NORI_OK;
    if (rc == NORI_OK && text.size > 0) rc = nori_options_check(&repair->options, &why);
    if (rc == NORI_CORRUPTION || rc == NORI_INVALID) {
        nori_options_init(&repair->options);
        repair->state.options.size = 0;
        why.code = NORI_CORRUPTION;
        snprintf(why.kind, sizeof why.kind, "options");
        rc = nr_repair_note(repair, &why, NULL, err);
    } else if (rc != NORI_OK && err) {
        *err = why;
    }
    return rc == NORI_OK ? take_version(repair, err) : rc;
}

/* ---------------------------------------------------------------- without one */

/* '*header_out' without an id if it cannot be read. 'at_end': where tables have it. */
static nori_status read_header(struct nr_dir *dir, const char *name, uint64_t magic, bool at_end,
                               struct nr_file_header *header_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_file *file = NULL;
    uint8_t bytes[NR_FILE_HEADER_BYTES];
    uint64_t size = 0;
    size_t got = 0;

    *header_out = (struct nr_file_header){0};
    NR_CHECK(nr_file_open(dir, name, NR_OPEN_READ, &file, err));
    NR_CHECK(nr_file_size(file, &size, err));
    if (size < sizeof bytes) goto out;
    NR_CHECK(nr_file_read_at(file, at_end ? size - sizeof bytes : 0, bytes, sizeof bytes, &got, err));
    if (nr_file_header_decode(nr_slice(bytes, got), magic, header_out) != NR_HEADER_VALID)
        *header_out = (struct nr_file_header){0};
out:
    nr_file_close(file);
    return rc;
}

/* The id that most tables have; of segments, if there is no table. */
static nori_status choose_database_id(struct nr_repair *repair, const struct listing *listing, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_dir *log = NULL;
    struct nr_file_header header;
    char name[NR_FILE_NAME_BYTES];
    size_t votes = 0;

    /* By majority: a vote for another takes one away. */
    for (size_t i = 0; i < listing->tables.count; i++) {
        nr_name_table(name, listing->tables.items[i]);
        NR_CHECK(read_header(repair->source, name, NR_MAGIC_TABLE, true, &header, err));
        if (header.database_id == 0) continue;
        if (votes == 0) repair->database_id = header.database_id;
        votes += header.database_id == repair->database_id ? 1 : (size_t)-1;
    }
    if (repair->database_id != 0 || listing->segments.count == 0) goto out;
    NR_CHECK(nr_dir_open_at(repair->source, NR_WAL_DIRECTORY, false, &log, err));
    for (size_t i = 0; i < listing->segments.count; i++) {
        nr_name_segment(name, listing->segments.items[i]);
        NR_CHECK(read_header(log, name, NR_MAGIC_SEGMENT, false, &header, err));
        if (header.database_id != 0 && header.number == listing->segments.items[i])
            repair->database_id = header.database_id;
    }
out:
    nr_dir_close(log);
    return rc;
}

/* What the table says of itself is all that is known of it. */
static nori_status take_table(struct nr_repair *repair, uint64_t number, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_table *table = NULL;
    struct nr_table_file *file = NULL;
    struct nr_file_header header;
    struct nori_error why;
    char name[NR_FILE_NAME_BYTES], path[NR_REPAIR_PATH_BYTES];
    const struct nr_salvage salvage = {.note = nr_repair_pass_by};
    /* Where it has no sequences of its own, it is given the smallest. */
    const struct nr_table_params params = {.dir = repair->source,
                                           .database_id = repair->database_id,
                                           .number = number,
                                           .largest_sequence = 1,
                                           .salvage = &salvage};

    nr_name_table(name, number);
    NR_CHECK(read_header(repair->source, name, NR_MAGIC_TABLE, true, &header, err));
    rc = nr_table_open(&params, &table, &why);
    if (rc == NORI_CORRUPTION) {
        /* Nothing is known of its keys, either. */
        rc = nr_repair_note(repair, &why, NULL, err);
        goto out;
    } else if (rc != NORI_OK) {
        if (err) *err = why;
        goto out;
    }
    const struct nr_table_properties *properties = nr_table_properties(table);
    NR_CHECK(nr_table_file_create(number, nr_table_file_bytes(table), properties, NULL, NULL, &file, err));
    NR_CHECK(add_table(repair, file, err));
    bool is_unplaced = header.read_features & NR_READ_FEATURE_STAMPED;
    NR_CHECK(add_piece(repair,
                       (struct nr_repair_piece){repair->table_count - 1, is_unplaced ? NR_REPAIR_RANK_UNPLACED : 0,
                                                file->properties.smallest, file->properties.end},
                       err));
    repair->state.counters.ttl_clock_ms = NR_MAX(repair->state.counters.ttl_clock_ms, properties->created_ms);
    if (is_unplaced) {
        nr_repair_table_path(repair, number, path);
        nr_fail_corrupt(&why, path, -1, "manifest", "a bulk load, whose age only the manifest told");
        NR_CHECK(nr_repair_note_range(repair, &why, file->properties.smallest, file->properties.end,
                                      &repair->tables[repair->table_count - 1].finding, err));
    } else {
        uint64_t largest = NR_MIN(properties->largest_sequence, NR_MAX_SEQUENCE);
        repair->flushed_sequence = NR_MAX(repair->flushed_sequence, largest);
    }
out:
    nr_table_file_unref(file);
    nr_table_unref(table);
    return rc;
}

static nori_status take_all_tables(struct nr_repair *repair, const struct listing *listing, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nori_error why;

    repair->report->basis = NORI_REPAIR_TABLES;
    NR_CHECK(choose_database_id(repair, listing, err));
    if (repair->database_id == 0) {
        rc = nr_fail_corrupt(err, repair->path, -1, "database", "nothing of it can be read");
        goto out;
    }
    nr_fail_corrupt(&why, repair->source->path, -1, "manifest",
                    "no manifest can be read; all tables are taken, and values that were replaced or deleted may be "
                    "among theirs");
    NR_CHECK(nr_repair_note(repair, &why, NULL, err));
    for (size_t i = 0; i < listing->tables.count; i++) {
        NR_CHECK(take_table(repair, listing->tables.items[i], err));
        NR_CHECK(nr_interrupt_poll(err));
    }
out:
    return rc;
}

nori_status nr_repair_find_tables(struct nr_repair *repair, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct listing listing = {.rc = NORI_OK};

    NR_CHECK(list_source(repair, &listing, err));
    NR_CHECK(choose_manifest(repair, &listing, err));
    if (repair->has_manifest)
        NR_CHECK(adopt_manifest(repair, err));
    else
        NR_CHECK(take_all_tables(repair, &listing, err));
    repair->sequence = repair->flushed_sequence;
out:
    nr_free(listing.manifests.items);
    nr_free(listing.tables.items);
    nr_free(listing.segments.items);
    return rc;
}

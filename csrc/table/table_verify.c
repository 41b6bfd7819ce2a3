/* Everything a table promises, read from the file anew: every checksum, and what checksums cannot tell: order,
 * restarts, separators, counts, bounds, and that the filter knows every key. */
#include "base/alloc.h"
#include "base/lock.h"
#include "table/table_internal.h"

#define RUN_BYTES (256u << 10)

struct verifier {
    struct nr_table *table;             /* Borrowed; its file is acquired. */
    const struct nr_sections *sections; /* As they are in the file now. */
    size_t block;
    bool has_last;
    struct nr_buffer last_key;
    uint64_t last_tag;
    struct nr_buffer key;
    struct nr_table_properties seen; /* Its keys are not used. */
    /* Of an examination, which goes on behind damage. */
    const struct nr_salvage *salvage; /* Borrowed. NULL: damage is a failure. */
    struct nr_table_damage *damage;   /* Borrowed. */
    struct nr_buffer former_key;      /* As last_key was before the block. */
};

static void count_entry(struct nr_table_properties *seen, size_t key_size, uint64_t tag, nori_slice value)
{
    uint64_t sequence = nr_tag_sequence(tag);
    seen->entry_count++;
    seen->key_bytes += key_size;
    seen->value_bytes += value.size;
    seen->delete_count += nr_tag_type(tag) == NR_TYPE_DELETE;
    seen->unexpiring_count += nr_tag_type(tag) == NR_TYPE_PUT;
    seen->smallest_sequence = NR_MIN(seen->smallest_sequence, sequence);
    seen->largest_sequence = NR_MAX(seen->largest_sequence, sequence);
    if (nr_tag_type(tag) == NR_TYPE_PUT_EXPIRING) {
        uint64_t expiry = nr_get_fixed64(value.data);
        if (seen->smallest_expiry_ms == 0 || expiry < seen->smallest_expiry_ms) seen->smallest_expiry_ms = expiry;
        seen->largest_expiry_ms = NR_MAX(seen->largest_expiry_ms, expiry);
    }
}

/* What is wrong with verifier->key as the next entry, or NULL. */
static const char *check_entry(struct verifier *verifier, const struct nr_block_entry *entry)
{
    const struct nr_sections *sections = verifier->sections;
    nori_slice key = nr_buffer_slice(&verifier->key);

    if (!nr_block_entry_is_known(entry->tag, entry->value_size)) return "an entry is of no known type";
    if (verifier->has_last &&
        nr_entry_compare(nr_buffer_slice(&verifier->last_key), verifier->last_tag, key, entry->tag) >= 0)
        return "its entries are out of order";
    if (verifier->block > 0 && nr_index_compare(&sections->index, verifier->block - 1, key, entry->tag) >= 0)
        return "an entry belongs into an earlier block";
    if (nr_slice_compare(key, sections->properties.smallest) < 0 || !nr_bound_above(sections->properties.end, key))
        return "an entry lies outside the table's bounds";
    if (!nr_sections_may_hold(sections, nr_hash_key(key))) return "the filter does not know a key";
    return NULL;
}

/* Whether the entry shares all that its key has in common with the one before. Searches go by the counts alone: one
 * that is too small hides entries. */
static bool shares_all(nori_slice before, const struct nr_block_entry *entry)
{
    return entry->shared == before.size || entry->unshared == 0 || before.data[entry->shared] != entry->suffix[0];
}

static nori_status check_block(struct verifier *verifier, const struct nr_cached_block *block, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_block_view view;
    const char *problem = NULL;
    uint32_t restart = 0, since_restart = 0;
    const uint8_t *at;

    if (!nr_block_view_summarized(&view, block->data, block->size)) {
        rc = nr_table_fail_block(verifier->table, verifier->block, "its restarts make no sense", err);
        goto out;
    }
    verifier->key.size = 0;
    for (at = view.data; at != view.limit && !problem;) {
        struct nr_block_entry entry;
        const uint8_t *next = nr_block_entry_decode(at, view.limit, &entry);
        bool is_restart = restart < view.restart_count && nr_block_restart(&view, restart) == at;
        if (!next || entry.shared > verifier->key.size || entry.unshared > NORI_MAX_KEY_BYTES - entry.shared) {
            problem = "its entries make no sense";
            break;
        }
        since_restart = is_restart ? 1 : since_restart + 1;
        if (is_restart ? entry.shared != 0 : at == view.data || since_restart > NR_RESTART_INTERVAL) {
            problem = "its restarts are not where they should be";
            break;
        }
        restart += is_restart;
        bool is_cut_right = is_restart || shares_all(nr_buffer_slice(&verifier->key), &entry);
        verifier->key.size = entry.shared;
        NR_CHECK(nr_buffer_append(&verifier->key, nr_slice(entry.suffix, entry.unshared), err));
        problem = check_entry(verifier, &entry);
        if (!problem && !is_cut_right)
            problem = "an entry does not share what its key has in common with the one before";
        if (problem) break;
        count_entry(&verifier->seen, verifier->key.size, entry.tag, nr_block_entry_value(&entry));
        verifier->seen.distinct_count += !verifier->has_last || !nr_slice_equal(nr_buffer_slice(&verifier->last_key),
                                                                                nr_buffer_slice(&verifier->key));
        NR_CHECK(nr_buffer_assign(&verifier->last_key, nr_buffer_slice(&verifier->key), err));
        verifier->last_tag = entry.tag;
        verifier->has_last = true;
        at = next;
    }
    if (!problem && restart != view.restart_count) problem = "its restarts are not where they should be";
    if (!problem && nr_index_compare(&verifier->sections->index, verifier->block, nr_buffer_slice(&verifier->last_key),
                                     verifier->last_tag) < 0)
        problem = "an entry belongs into a later block";
    if (problem) rc = nr_table_fail_block(verifier->table, verifier->block, problem, err);
out:
    return rc;
}

static nori_status check_properties(struct verifier *verifier, struct nori_error *err)
{
    const struct nr_table_properties *said = &verifier->sections->properties, *seen = &verifier->seen;
    const struct nr_tombstones *set = verifier->sections->tombstones;
    const char *path = verifier->table->path;

    for (size_t i = 0; set && i < set->fragment_count; i++) {
        const struct nr_fragment *fragment = &set->fragments[i];
        verifier->seen.largest_sequence = NR_MAX(seen->largest_sequence, fragment->sequences[0]);
        verifier->seen.smallest_sequence =
            NR_MIN(seen->smallest_sequence, fragment->sequences[fragment->sequence_count - 1]);
        if (nr_slice_compare(fragment->start, said->smallest) < 0 || nr_bound_compare(fragment->end, said->end) > 0)
            return nr_fail_corrupt(err, path, -1, "tombstones", "%s: a range tombstone lies outside the bounds", path);
    }
    if (seen->smallest_sequence == UINT64_MAX) verifier->seen.smallest_sequence = 0;
    if (seen->entry_count != said->entry_count || seen->delete_count != said->delete_count ||
        seen->key_bytes != said->key_bytes || seen->value_bytes != said->value_bytes ||
        seen->unexpiring_count != said->unexpiring_count || seen->smallest_expiry_ms != said->smallest_expiry_ms ||
        seen->largest_expiry_ms != said->largest_expiry_ms || seen->smallest_sequence != said->smallest_sequence ||
        seen->largest_sequence != said->largest_sequence ||
        (said->distinct_count != 0 && seen->distinct_count != said->distinct_count))
        return nr_fail_corrupt(err, path, -1, "properties", "%s: the properties do not tell what the table holds",
                               path);
    return NORI_OK;
}

static nori_status check_stored(struct verifier *verifier, nori_slice stored, struct nori_error *err)
{
    struct nr_cached_block *block;
    nori_status rc = nr_table_block_create(verifier->table, verifier->block, stored, true, &block, err);
    if (rc != NORI_OK) return rc;
    rc = check_block(verifier, block, err);
    nr_block_unref(block);
    return rc;
}

/* The same, where damage is noted. Entries of a damaged block count for nothing. */
static nori_status examine_stored(struct verifier *verifier, nori_slice stored, uint64_t *blocks_out,
                                  struct nori_error *err)
{
    const struct nr_table_properties seen = verifier->seen;
    uint64_t last_tag = verifier->last_tag;
    bool had_last = verifier->has_last;
    struct nori_error damage;
    nori_status rc = NORI_OK;

    NR_CHECK(nr_buffer_assign(&verifier->former_key, nr_buffer_slice(&verifier->last_key), err));
    rc = check_stored(verifier, stored, &damage);
    if (rc == NORI_CORRUPTION) {
        verifier->damage->bits[verifier->block / 8] |= (uint8_t)(1u << (verifier->block % 8));
        verifier->damage->damaged_count++;
        verifier->seen = seen;
        verifier->last_tag = last_tag;
        verifier->has_last = had_last;
        NR_CHECK(nr_buffer_assign(&verifier->last_key, nr_buffer_slice(&verifier->former_key), err));
        rc = verifier->salvage->note(verifier->salvage->arg, &damage, err);
    } else if (rc == NORI_OK) {
        ++*blocks_out;
    } else if (err) {
        *err = damage;
    }
out:
    return rc;
}

/* The blocks from verifier->block on that fit into 'run', one at least. */
static nori_status check_run(struct verifier *verifier, struct nr_buffer *run, uint64_t *blocks_out,
                             struct nori_error *err)
{
    const struct nr_index *index = &verifier->sections->index;
    uint64_t offset = nr_index_block_offset(index, verifier->block);
    size_t behind = verifier->block + 1, size;
    nori_status rc = NORI_OK;

    while (behind < index->block_count && nr_index_block_offset(index, behind + 1) - offset <= RUN_BYTES) behind++;
    size = (size_t)(nr_index_block_offset(index, behind) - offset);
    run->size = 0;
    NR_CHECK(nr_buffer_reserve(run, size, err));
    NR_CHECK(nr_sections_read(verifier->table->file, offset, run->data, size, err));
    for (; verifier->block < behind; verifier->block++) {
        nori_slice stored = nr_slice(run->data + (nr_index_block_offset(index, verifier->block) - offset),
                                     nr_index_block_bytes(index, verifier->block));
        if (verifier->salvage) {
            NR_CHECK(examine_stored(verifier, stored, blocks_out, err));
        } else {
            NR_CHECK(check_stored(verifier, stored, err));
            ++*blocks_out;
        }
    }
out:
    return rc;
}

nori_status nr_table_verify(struct nr_table *table, uint64_t *blocks_out, uint64_t *entries_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_sections sections = {.tombstones = NULL};
    struct verifier verifier = {.table = table, .sections = &sections, .seen = {.smallest_sequence = UINT64_MAX}};
    struct nr_buffer run;
    bool has_file = false;

    nr_buffer_init(&run);
    NR_CHECK(nr_table_acquire_file(table, err));
    has_file = true;
    NR_CHECK(
        nr_sections_load(&sections, table->file, table->database_id, table->number, table->sections.stamp, NULL, err));
    if (sections.index.block_count != table->sections.index.block_count ||
        sections.data_end != table->sections.data_end) {
        rc = nr_fail_corrupt(err, table->path, -1, "index", "%s: the file is not the one that was opened", table->path);
        goto out;
    }
    while (verifier.block < sections.index.block_count) {
        NR_CHECK(check_run(&verifier, &run, blocks_out, err));
        NR_CHECK(nr_interrupt_poll(err));
    }
    NR_CHECK(check_properties(&verifier, err));
    *entries_out += verifier.seen.entry_count;
out:
    if (has_file) nr_table_release_file(table);
    nr_buffer_clear(&run);
    nr_buffer_clear(&verifier.key);
    nr_buffer_clear(&verifier.last_key);
    nr_sections_clear(&sections);
    return rc;
}

void nr_table_damage_clear(struct nr_table_damage *damage)
{
    nr_free(damage->bits);
    *damage = (struct nr_table_damage){0};
}

nori_status nr_table_examine(struct nr_table *table, const struct nr_salvage *salvage,
                             struct nr_table_damage *damage_out, uint64_t *blocks_out, uint64_t *entries_out,
                             struct nori_error *err)
{
    nori_status rc = NORI_OK;
    size_t block_count = table->sections.index.block_count;
    struct verifier verifier = {.table = table,
                                .sections = &table->sections,
                                .seen = {.smallest_sequence = UINT64_MAX},
                                .salvage = salvage,
                                .damage = damage_out};
    struct nr_buffer run;
    struct nori_error damage;
    bool has_file = false;

    nr_buffer_init(&run);
    *damage_out = (struct nr_table_damage){.bits = nr_calloc(block_count / 8 + 1, 1), .block_count = block_count};
    if (!damage_out->bits) {
        rc = nr_fail_memory(err, block_count / 8 + 1);
        goto out;
    }
    NR_CHECK(nr_table_acquire_file(table, err));
    has_file = true;
    while (verifier.block < block_count) {
        NR_CHECK(check_run(&verifier, &run, blocks_out, err));
        NR_CHECK(nr_interrupt_poll(err));
    }
    if (damage_out->damaged_count == 0 && check_properties(&verifier, &damage) != NORI_OK)
        NR_CHECK(salvage->note(salvage->arg, &damage, err));
    *entries_out += verifier.seen.entry_count;
out:
    if (has_file) nr_table_release_file(table);
    nr_buffer_clear(&run);
    nr_buffer_clear(&verifier.key);
    nr_buffer_clear(&verifier.last_key);
    nr_buffer_clear(&verifier.former_key);
    return rc;
}

/* Reading what is whole: chains of pieces, one table open at a time, without the entries that are doubtful.
 *
 * With a manifest an entry is doubtful where a piece of smaller rank has lost something: every entry there was newer.
 * Without one, where what a table has lost may have been of a greater sequence. */
#include "engine/repair.h"

#include <stdlib.h>

#include "base/alloc.h"

/* ---------------------------------------------------------------- chains */

static int compare_pieces(const void *a, const void *b)
{
    const struct nr_repair_piece *x = a, *y = b;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    int order = nr_slice_compare(x->start, y->start);
    return order != 0 ? order : x->table < y->table ? -1 : x->table > y->table;
}

/* A chain of the rank that ends at or below the piece; a new one if there is none. */
static nori_status choose_chain(struct nr_repair *repair, const struct nr_repair_piece *piece, size_t *chain_out,
                                struct nori_error *err)
{
    for (size_t i = repair->chain_count; i-- > 0 && repair->chains[i].rank == piece->rank;) {
        const struct nr_repair_chain *chain = &repair->chains[i];
        if (nr_bound_above(repair->pieces[chain->pieces[chain->count - 1]].end, piece->start)) continue;
        *chain_out = i;
        return NORI_OK;
    }
    nori_status rc = nr_repair_grow((void **)&repair->chains, repair->chain_count, &repair->chain_capacity,
                                    sizeof *repair->chains, err);
    if (rc != NORI_OK) return rc;
    repair->chains[repair->chain_count] = (struct nr_repair_chain){.rank = piece->rank};
    *chain_out = repair->chain_count++;
    return NORI_OK;
}

nori_status nr_repair_link(struct nr_repair *repair, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    if (repair->piece_count > 0) qsort(repair->pieces, repair->piece_count, sizeof *repair->pieces, compare_pieces);
    for (size_t i = 0; i < repair->piece_count; i++) {
        size_t at;
        if (!repair->tables[repair->pieces[i].table].damage.bits) continue;
        NR_CHECK(choose_chain(repair, &repair->pieces[i], &at, err));
        struct nr_repair_chain *chain = &repair->chains[at];
        NR_CHECK(nr_repair_grow((void **)&chain->pieces, chain->count, &chain->capacity, sizeof *chain->pieces, err));
        chain->pieces[chain->count++] = i;
    }
out:
    return rc;
}

/* ---------------------------------------------------------------- iterating */

struct chain_iter {
    struct nr_iter base;
    struct nr_repair *repair; /* Borrowed, as is the next. */
    const struct nr_repair_chain *chain;
    size_t next_piece;
    size_t table;           /* The current one's. */
    struct nr_iter *pieces; /* Owned. Of the current piece; NULL: none is open. */
    struct nr_read read;
    /* What is lost, as keys rise. */
    size_t next_lost;
    const struct nr_repair_lost *reach; /* Of those that begin at or below the key, the one that ends last. */
    uint64_t reach_sequence;            /* The largest of all that 'reach' stands for. */
};

static nori_status open_piece(struct chain_iter *iter, struct nori_error *err)
{
    struct nr_repair *repair = iter->repair;
    const struct nr_repair_piece *piece = &repair->pieces[iter->chain->pieces[iter->next_piece++]];
    struct nr_repair_table *table = &repair->tables[piece->table];
    struct nr_table *open = NULL;
    nori_status rc = NORI_OK;
    /* All of this was noted when the table was examined. */
    const struct nr_salvage salvage = {.note = nr_repair_pass_by, .known = &table->file->properties};
    const struct nr_table_params params = {.dir = repair->source,
                                           .database_id = repair->database_id,
                                           .number = table->file->number,
                                           .largest_sequence = table->file->handle.largest_sequence,
                                           .salvage = &salvage};

    nr_iter_destroy(iter->pieces);
    iter->pieces = NULL;
    iter->table = piece->table;
    NR_CHECK(nr_table_open(&params, &open, err));
    NR_CHECK(nr_table_salvage_iter_create(open, &table->damage, piece->start, piece->end, &iter->read,
                                          repair->keeps_doubtful ? NULL : &table->dropped, &iter->pieces, err));
    NR_CHECK(nr_iter_seek_first(iter->pieces, err));
out:
    nr_table_unref(open);
    return rc;
}

/* Whether what is lost there could hide the chain's entries. */
static bool may_hide(const struct chain_iter *iter, const struct nr_repair_lost *lost)
{
    if (iter->repair->has_manifest) return lost->rank < iter->chain->rank;
    return lost->table != iter->table;
}

static bool is_doubtful(struct chain_iter *iter, nori_slice key, uint64_t tag)
{
    const struct nr_repair *repair = iter->repair;
    if (iter->reach && !nr_bound_above(iter->reach->end, key)) iter->reach = NULL;
    for (; iter->next_lost < repair->lost_count; iter->next_lost++) {
        const struct nr_repair_lost *lost = &repair->lost[iter->next_lost];
        if (nr_slice_compare(lost->start, key) > 0) break;
        if (!may_hide(iter, lost) || !nr_bound_above(lost->end, key)) continue;
        iter->reach_sequence = NR_MAX(iter->reach ? iter->reach_sequence : 0, lost->largest_sequence);
        if (!iter->reach || nr_bound_compare(lost->end, iter->reach->end) > 0) iter->reach = lost;
    }
    return iter->reach && (repair->has_manifest || nr_tag_sequence(tag) <= iter->reach_sequence);
}

/* Shows the first entry from where the piece stands that is not doubtful. */
static nori_status settle(struct chain_iter *iter, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    iter->base.entry = NULL;
    for (;;) {
        while (!iter->pieces || !iter->pieces->entry) {
            if (iter->next_piece == iter->chain->count) goto out;
            NR_CHECK(open_piece(iter, err));
        }
        if (iter->repair->keeps_doubtful || !is_doubtful(iter, iter->pieces->entry->key, iter->pieces->entry->tag))
            break;
        nr_repair_drop(iter->repair, iter->reach->finding, 1);
        NR_CHECK(nr_iter_next(iter->pieces, err));
    }
    nr_iter_show_one(&iter->base, iter->pieces->entry);
out:
    return rc;
}

static nori_status chain_seek_first(struct nr_iter *base, struct nori_error *err)
{
    struct chain_iter *iter = (struct chain_iter *)base;
    nr_iter_destroy(iter->pieces);
    iter->pieces = NULL;
    iter->next_piece = iter->next_lost = 0;
    iter->reach = NULL;
    return settle(iter, err);
}

static nori_status chain_next(struct nr_iter *base, struct nori_error *err)
{
    struct chain_iter *iter = (struct chain_iter *)base;
    nori_status rc = nr_iter_next(iter->pieces, err);
    base->entry = NULL;
    return rc == NORI_OK ? settle(iter, err) : rc;
}

static void chain_destroy(struct nr_iter *base)
{
    struct chain_iter *iter = (struct chain_iter *)base;
    nr_iter_destroy(iter->pieces);
    nr_read_clear(&iter->read);
    nr_free(iter);
}

static const struct nr_iter_ops chain_ops = {
    .seek_first = chain_seek_first,
    .next = chain_next,
    .destroy = chain_destroy,
};

nori_status nr_repair_chain_iter_create(struct nr_repair *repair, const struct nr_repair_chain *chain,
                                        struct nr_iter **iter_out, struct nori_error *err)
{
    *iter_out = NULL;
    struct chain_iter *iter = nr_calloc(1, sizeof *iter);
    if (!iter) return nr_fail_memory(err, sizeof *iter);
    iter->base.ops = &chain_ops;
    iter->repair = repair;
    iter->chain = chain;
    iter->read = (struct nr_read){.is_scan = true, .skip_cache = true};
    *iter_out = &iter->base;
    return NORI_OK;
}

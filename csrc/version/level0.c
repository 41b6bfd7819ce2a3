#include "version/level0.h"

#include "base/alloc.h"
#include "base/checksum.h"
#include "version/level.h"

#define NONE UINT32_MAX
#define SMALLEST_CAPACITY 32

/* A run's place in the list, and in the chain of its bucket; of a free one only 'next' counts. */
struct node {
    struct nr_run *run; /* Refs. */
    uint32_t newer, older;
    uint32_t next;
};

struct nr_level0 {
    struct node *nodes;
    uint32_t *buckets; /* As many as there is room for nodes. */
    size_t capacity;   /* A power of two. */
    size_t used_count; /* Nodes that were ever in use. */
    size_t run_count;
    uint32_t newest, oldest;
    uint32_t free; /* Nodes that are not in use any more. */
};

/* Ids come from files: which of them share a bucket is not to be known beforehand, so the place in memory counts. */
static uint32_t *bucket_of(const struct nr_level0 *level0, uint64_t run_id)
{
    uint64_t hash = nr_checksum((uintptr_t)level0, nr_slice(&run_id, sizeof(run_id)));
    return &level0->buckets[hash & (level0->capacity - 1)];
}

static uint32_t find(const struct nr_level0 *level0, uint64_t run_id)
{
    uint32_t at = *bucket_of(level0, run_id);
    while (at != NONE && level0->nodes[at].run->run_id != run_id) at = level0->nodes[at].next;
    return at;
}

static void chain(struct nr_level0 *level0, uint32_t at)
{
    uint32_t *bucket = bucket_of(level0, level0->nodes[at].run->run_id);
    level0->nodes[at].next = *bucket;
    *bucket = at;
}

/* Only while no node is free, so that all are in use. */
static nori_status grow(struct nr_level0 *level0, size_t capacity, struct nori_error *err)
{
    struct node *nodes = nr_realloc(level0->nodes, capacity * sizeof(*nodes));
    if (!nodes) return nr_fail_memory(err, capacity * sizeof(*nodes));
    level0->nodes = nodes;
    uint32_t *buckets = nr_alloc(capacity * sizeof(*buckets));
    if (!buckets) return nr_fail_memory(err, capacity * sizeof(*buckets));
    nr_free(level0->buckets);
    level0->buckets = buckets;
    level0->capacity = capacity;
    for (size_t i = 0; i < capacity; i++) buckets[i] = NONE;
    for (size_t i = 0; i < level0->used_count; i++) chain(level0, (uint32_t)i);
    return NORI_OK;
}

/* Puts the run between two neighbours; NONE: at the end. */
static nori_status insert(struct nr_level0 *level0, struct nr_run *run, uint32_t newer, uint32_t older,
                          struct nori_error *err)
{
    nori_status rc = NORI_OK;
    uint32_t at = level0->free;

    if (find(level0, run->run_id) != NONE)
        return NR_FAIL(err, NORI_CORRUPTION, "level 0 has run %" PRIu64 " already", run->run_id);
    if (at != NONE) {
        level0->free = level0->nodes[at].next;
    } else {
        if (level0->used_count == level0->capacity) NR_CHECK(grow(level0, level0->capacity * 2, err));
        at = (uint32_t)level0->used_count++;
    }
    level0->nodes[at] = (struct node){.run = nr_run_ref(run), .newer = newer, .older = older};
    *(newer == NONE ? &level0->newest : &level0->nodes[newer].older) = at;
    *(older == NONE ? &level0->oldest : &level0->nodes[older].newer) = at;
    chain(level0, at);
    level0->run_count++;
out:
    return rc;
}

static void take_out(struct nr_level0 *level0, uint32_t at)
{
    struct node *node = &level0->nodes[at];
    uint32_t *link = bucket_of(level0, node->run->run_id);
    while (*link != at) link = &level0->nodes[*link].next;
    *link = node->next;
    *(node->newer == NONE ? &level0->newest : &level0->nodes[node->newer].older) = node->older;
    *(node->older == NONE ? &level0->oldest : &level0->nodes[node->older].newer) = node->newer;
    nr_run_unref(node->run);
    *node = (struct node){.next = level0->free};
    level0->free = at;
    level0->run_count--;
}

nori_status nr_level0_create(const struct nr_version *version, struct nr_level0 **level0_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    const struct nr_slot *slot = nr_version_level0(version);
    struct nr_level0 *level0 = nr_calloc(1, sizeof(*level0));

    *level0_out = NULL;
    if (!level0) return nr_fail_memory(err, sizeof(*level0));
    level0->newest = level0->oldest = level0->free = NONE;
    NR_CHECK(grow(level0, SMALLEST_CAPACITY, err));
    for (size_t i = 0; i < slot->run_count; i++) NR_CHECK(insert(level0, slot->runs[i], level0->oldest, NONE, err));
    *level0_out = level0;
    level0 = NULL;
out:
    nr_level0_destroy(level0);
    return rc;
}

void nr_level0_destroy(struct nr_level0 *level0)
{
    if (!level0) return;
    for (uint32_t at = level0->newest; at != NONE; at = level0->nodes[at].older) nr_run_unref(level0->nodes[at].run);
    nr_free(level0->nodes);
    nr_free(level0->buckets);
    nr_free(level0);
}

nori_status nr_level0_push(struct nr_level0 *level0, struct nr_run *run, struct nori_error *err)
{
    return insert(level0, run, NONE, level0->newest, err);
}

nori_status nr_level0_subtract(struct nr_level0 *level0, uint64_t run_id, nori_slice start, struct nr_bound end,
                               struct nori_error *err)
{
    struct nr_run *rest;
    uint32_t at = find(level0, run_id);

    if (at == NONE) return NR_FAIL(err, NORI_CORRUPTION, "level 0 has no run %" PRIu64 " to take from", run_id);
    struct node *node = &level0->nodes[at];
    nori_status rc = nr_run_subtract(node->run, start, end, &rest, err);
    if (rc != NORI_OK) return rc;
    if (!rest) {
        take_out(level0, at);
    } else {
        nr_run_unref(node->run); /* Its id stays, and so does its place. */
        node->run = rest;
    }
    return NORI_OK;
}

nori_status nr_level0_merge(struct nr_level0 *level0, uint64_t newest_id, uint64_t oldest_id, struct nr_run *run,
                            struct nori_error *err)
{
    uint32_t at = find(level0, newest_id), oldest = find(level0, oldest_id);
    uint32_t newer = at == NONE ? NONE : level0->nodes[at].newer;
    bool is_last = oldest == NONE;

    while (!is_last && at != NONE) {
        uint32_t older = level0->nodes[at].older;
        is_last = at == oldest;
        take_out(level0, at);
        at = older;
    }
    if (oldest == NONE || !is_last)
        return NR_FAIL(err, NORI_CORRUPTION, "level 0 has no runs %" PRIu64 " to %" PRIu64 " to replace", newest_id,
                       oldest_id);
    return run ? insert(level0, run, newer, at, err) : NORI_OK;
}

nori_status nr_level0_store(const struct nr_level0 *level0, struct nr_version *version, struct nori_error *err)
{
    nori_status rc;
    const struct nr_slot *old = nr_version_level0(version);
    struct nr_slot *slot = NULL;
    size_t count = 0, bytes = NR_MAX(level0->run_count, (size_t)1) * sizeof(struct nr_run *);
    struct nr_run **runs = nr_alloc(bytes);

    if (!runs) return nr_fail_memory(err, bytes);
    for (uint32_t at = level0->newest; at != NONE; at = level0->nodes[at].older) runs[count++] = level0->nodes[at].run;
    NR_CHECK(
        nr_slot_create_with(old->activity, 0, old->slot_id, old->start, old->end, old->k_max, runs, count, &slot, err));
    NR_CHECK(nr_level_replace(&version->levels[0], 0, slot, err));
out:
    nr_slot_unref(slot);
    nr_free(runs);
    return rc;
}

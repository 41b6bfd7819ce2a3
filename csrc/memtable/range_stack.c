#include "memtable/range_stack.h"

#include "base/alloc.h"
#include "format/format.h"

static void release(struct nr_epoch_link *link)
{
    nr_range_stack_destroy((struct nr_range_stack *)((char *)link - offsetof(struct nr_range_stack, link)));
}

void nr_range_stack_destroy(struct nr_range_stack *stack)
{
    if (!stack) return;
    for (size_t i = 0; i < stack->count; i++) nr_tombstones_unref(stack->layers[i].set);
    nr_tombstones_unref(atomic_load_explicit(&stack->merged, memory_order_acquire));
    nr_free(stack);
}

static nori_status create(size_t count, struct nr_range_stack **stack_out, struct nori_error *err)
{
    size_t bytes = sizeof(struct nr_range_stack) + count * sizeof(struct nr_range_layer);
    struct nr_range_stack *stack = nr_calloc(1, bytes);
    *stack_out = stack;
    if (!stack) return nr_fail_memory(err, bytes);
    stack->link.release = release;
    atomic_init(&stack->merged, NULL);
    stack->count = count;
    return NORI_OK;
}

/* How many layers stay as they are under a new one; the weight of those that do not is added to '*weight'. */
static size_t count_kept(const struct nr_range_stack *stack, uint64_t *weight)
{
    size_t kept = stack ? stack->count : 0;
    while (kept > 0 && stack->layers[kept - 1].weight < 2 * *weight) *weight += stack->layers[--kept].weight;
    return kept;
}

/* Merges the layers from 'kept' up with 'set', which it takes on success. */
static nori_status merge_above(const struct nr_range_stack *stack, size_t kept, struct nr_tombstones *set,
                               struct nr_tombstones **set_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    size_t count = (stack ? stack->count : 0) - kept + 1;
    struct nr_tombstones **sets = NULL;
    struct nr_tombstones *merged = NULL;
    if (count == 1) {
        *set_out = set;
        return NORI_OK;
    }
    sets = nr_alloc(count * sizeof(*sets));
    if (!sets) return nr_fail_memory(err, count * sizeof(*sets));
    for (size_t i = 0; i + 1 < count; i++) sets[i] = stack->layers[kept + i].set;
    sets[count - 1] = set;
    NR_CHECK(nr_tombstones_merge(sets, NULL, count, NR_MAX_SEQUENCE, &merged, err));
    nr_tombstones_unref(set);
    *set_out = merged;
out:
    nr_free(sets);
    return rc;
}

nori_status nr_range_stack_push(const struct nr_range_stack *stack, const struct nr_range *ranges, size_t count,
                                struct nr_range_stack **stack_out, struct nori_error *err)
{
    nori_status rc;
    struct nr_range_stack *result = NULL;
    struct nr_tombstones *set = NULL;
    uint64_t weight = count;
    size_t kept = count_kept(stack, &weight);
    *stack_out = NULL;
    NR_CHECK(nr_tombstones_build(ranges, count, &set, err));
    NR_CHECK(merge_above(stack, kept, set, &set, err));
    NR_CHECK(create(kept + 1, &result, err));
    for (size_t i = 0; i < kept; i++) {
        result->layers[i] = stack->layers[i];
        nr_tombstones_ref(result->layers[i].set);
        result->bytes += result->layers[i].set->bytes;
    }
    result->layers[kept] = (struct nr_range_layer){set, weight};
    result->bytes += set->bytes;
    if (kept > 0) result->bytes *= 2; /* Their union. */
    result->bytes += sizeof(*result) + result->count * sizeof(result->layers[0]);
    set = NULL; /* The stack owns it now. */
    *stack_out = result;
out:
    nr_tombstones_unref(set);
    return rc;
}

uint64_t nr_range_stack_covering(const struct nr_range_stack *stack, nori_slice key, uint64_t max_sequence)
{
    for (size_t i = stack->count; i-- > 0;) {
        uint64_t sequence = nr_tombstones_covering(stack->layers[i].set, key, max_sequence);
        if (sequence != 0) return sequence; /* Layers below are older. */
    }
    return 0;
}

bool nr_range_stack_touched(const struct nr_range_stack *stack, nori_slice first, const nori_slice *last,
                            uint64_t since)
{
    for (size_t i = stack->count; i-- > 0;) {
        const struct nr_tombstones *set = stack->layers[i].set;
        for (size_t f = nr_tombstones_seek(set, first, NULL); f < set->fragment_count; f++) {
            const struct nr_fragment *fragment = &set->fragments[f];
            if (last && nr_slice_compare(fragment->start, *last) > 0) break;
            if (fragment->sequences[0] > since) return true;
        }
    }
    return false;
}

nori_status nr_range_stack_merged(struct nr_range_stack *stack, struct nr_tombstones **set_out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    struct nr_tombstones *merged = atomic_load_explicit(&stack->merged, memory_order_acquire);
    struct nr_tombstones **sets = NULL;
    struct nr_tombstones *other = NULL;
    *set_out = NULL;
    if (stack->count == 1) merged = stack->layers[0].set;
    if (merged) {
        *set_out = nr_tombstones_ref(merged);
        return NORI_OK;
    }
    sets = nr_alloc(stack->count * sizeof(*sets));
    if (!sets) return nr_fail_memory(err, stack->count * sizeof(*sets));
    for (size_t i = 0; i < stack->count; i++) sets[i] = stack->layers[i].set;
    NR_CHECK(nr_tombstones_merge(sets, NULL, stack->count, NR_MAX_SEQUENCE, &merged, err));
    /* Of several threads that merge at once, one leaves its set for the others. */
    if (atomic_compare_exchange_strong_explicit(&stack->merged, &other, merged, memory_order_acq_rel,
                                                memory_order_acquire)) {
        *set_out = nr_tombstones_ref(merged);
    } else {
        *set_out = nr_tombstones_ref(other);
        nr_tombstones_unref(merged);
    }
out:
    nr_free(sets);
    return rc;
}

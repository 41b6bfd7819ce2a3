/* What a compaction does. The numbers stand in what the scheduler writes down (FORMAT.md, 18): they are never given
 * another meaning. */
#ifndef NR_COMPACT_ACTION_H
#define NR_COMPACT_ACTION_H

#include <stdbool.h>

enum nr_action {
    NR_ACTION_NONE,
    NR_ACTION_MERGE_L0, /* Small neighbouring level 0 runs into one, inside level 0. */
    NR_ACTION_ADMIT,    /* Level 0 slices over one slot of level 1 into it. */
    NR_ACTION_TIER,     /* Neighbouring runs of a slot into one. */
    NR_ACTION_PROMOTE,  /* All runs of a slot to the slots below. */
    NR_ACTION_CLEAN,    /* All runs of a slot into one, for its tombstones or expired entries. */
    NR_ACTION_SPLIT,    /* New guards in a slot that outgrew its share (a manifest edit, no rewriting). */
    NR_ACTION_LEVEL,    /* All runs of a slot that turned hot into one, for its reads. */
    NR_ACTION_SPACE,    /* All runs of a slot into one: what is not in bottom runs takes too much space. */
    NR_ACTION_JOIN,     /* Neighbouring slots that shrank become one (a manifest edit, as a split is). */
    NR_ACTION_SHIFT,    /* The bottom level outgrew its number: all of it one level down (likewise). */
};
#define NR_ACTION_COUNT (NR_ACTION_SHIFT + 1)

const char *nr_action_name(enum nr_action action);

/* An edit alone, which locks a range of keys. */
static inline bool nr_action_moves_guards(enum nr_action action)
{
    return action == NR_ACTION_SPLIT || action == NR_ACTION_JOIN || action == NR_ACTION_SHIFT;
}

#endif

/* Arms: what is learned of each (action, level, context), so that it outlives the slots it was learned on.
 *
 * An arm's value is the ratio of realised to predicted reward, a moving average. Its bonus is UCB1's, sqrt(ln n /
 * n_arm) (Auer, Cesa-Bianchi, Fischer, "Finite-time analysis of the multiarmed bandit problem", 2002), over counts that
 * fade with each choice (Garivier, Moulines, "On upper-confidence bound policies for switching bandit problems", 2011):
 * an arm passed by loses its count, so its bonus grows without bound and it is tried again, however poor it was. The
 * bonus is without unit; the scheduler scales it by the spread of the ratios seen (design 5).
 *
 * Pure: no clock, no allocation, no lock. */
#ifndef NR_COMPACT_BANDIT_H
#define NR_COMPACT_BANDIT_H

#include "base/status.h"
#include "compact/action.h"

#define NR_ARM_CONTEXTS 4
#define NR_ARM_COUNT (NR_ACTION_COUNT * NORI_MAX_LEVELS * NR_ARM_CONTEXTS)

/* What stays of counts and weights at each choice: a memory of about 200 choices. Shorter, and a few dozen arms would
 * spend most choices on finding out again what they knew. */
#define NR_BANDIT_KEEP 0.995

struct nr_arm {
    double trials; /* Faded count of choices; counted when chosen, as the reward comes an interval later. */
    double weight; /* Faded count of rewards. 0: 'ratio' means nothing. */
    double ratio;  /* Realised to predicted reward. */
};

struct nr_bandit {
    struct nr_arm arms[NR_ARM_COUNT];
    double trials; /* Faded count over all arms: n. */
};

void nr_bandit_init(struct nr_bandit *bandit);

/* Levels and contexts beyond the last count as the last. */
uint32_t nr_bandit_arm(enum nr_action action, uint32_t level, uint32_t context);
enum nr_action nr_bandit_arm_action(uint32_t arm);

/* The learned ratio; 'prior' where nothing was learned. */
double nr_bandit_ratio(const struct nr_bandit *bandit, uint32_t arm, double prior);
/* sqrt(ln(1 + n) / n_arm), finite; 0 while nothing at all was tried. Above 10^4 for an arm never tried. */
double nr_bandit_bonus(const struct nr_bandit *bandit, uint32_t arm);

/* Fades all counts, then counts one choice of 'arm'. */
void nr_bandit_try(struct nr_bandit *bandit, uint32_t arm);
/* One reward. The first few are averaged with the prior, later ones move the ratio by 'alpha'. */
void nr_bandit_learn(struct nr_bandit *bandit, uint32_t arm, double prior, double ratio, double alpha);

#endif

#include "compact/linear_ucb.h"

#include <math.h>
#include <string.h>

#define RIDGE 1.0
#define LEAST_KEPT 1e-12

static size_t pair(size_t row, size_t column)
{
    return row * (row + 1) / 2 + column;
}

static void terms(const double features[NR_FEATURE_COUNT], double x[NR_LINEAR_TERMS])
{
    x[0] = 1;
    memcpy(x + 1, features, NR_FEATURE_COUNT * sizeof *features);
}

void nr_linear_init(struct nr_linear_model *model)
{
    memset(model, 0, sizeof *model);
}

static void fade(double *values, size_t count, double keep)
{
    for (size_t i = 0; i < count; i++) {
        values[i] *= keep;
        if (fabs(values[i]) < LEAST_KEPT) values[i] = 0;
    }
}

void nr_linear_fade(struct nr_linear_model *model, double keep)
{
    if (model->pairs[0] == 0) return;
    fade(model->pairs, NR_LINEAR_PAIRS, keep);
    fade(model->responses, NR_LINEAR_TERMS, keep);
    if (model->pairs[0] == 0) nr_linear_init(model);
}

void nr_linear_learn(struct nr_linear_model *model, const double features[NR_FEATURE_COUNT], double ratio)
{
    double x[NR_LINEAR_TERMS];
    terms(features, x);
    for (size_t row = 0; row < NR_LINEAR_TERMS; row++) {
        for (size_t column = 0; column <= row; column++) model->pairs[pair(row, column)] += x[row] * x[column];
        model->responses[row] += ratio * x[row];
    }
}

/* Cholesky: the lower factor of the matrix with its ridge. False if the matrix is not positive definite; each pivot of
 * one that was learned is at least the ridge, up to rounding. */
static bool factor(const struct nr_linear_model *model, double lower[NR_LINEAR_PAIRS])
{
    for (size_t row = 0; row < NR_LINEAR_TERMS; row++) {
        for (size_t column = 0; column <= row; column++) {
            double sum = model->pairs[pair(row, column)] + (row == column ? RIDGE : 0);
            for (size_t i = 0; i < column; i++) sum -= lower[pair(row, i)] * lower[pair(column, i)];
            if (row != column)
                lower[pair(row, column)] = sum / lower[pair(column, column)];
            else if (sum >= RIDGE / 2) /* False for a NaN too. */
                lower[pair(row, row)] = sqrt(sum);
            else
                return false;
        }
    }
    return true;
}

/* Solves L y = v in place. */
static void substitute(const double lower[NR_LINEAR_PAIRS], double v[NR_LINEAR_TERMS])
{
    for (size_t row = 0; row < NR_LINEAR_TERMS; row++) {
        for (size_t i = 0; i < row; i++) v[row] -= lower[pair(row, i)] * v[i];
        v[row] /= lower[pair(row, row)];
    }
}

struct nr_linear_estimate nr_linear_estimate(const struct nr_linear_model *model,
                                             const double features[NR_FEATURE_COUNT], double prior)
{
    double lower[NR_LINEAR_PAIRS], x[NR_LINEAR_TERMS], target[NR_LINEAR_TERMS], ratio = 0, square = 0;
    terms(features, x);
    memcpy(target, model->responses, sizeof target);
    target[0] += RIDGE * prior;
    if (!factor(model, lower)) return (struct nr_linear_estimate){.ratio = prior, .width = 1};
    /* x' A^-1 b = (L^-1 x)' (L^-1 b): one forward substitution each, no inverse. */
    substitute(lower, x);
    substitute(lower, target);
    for (size_t i = 0; i < NR_LINEAR_TERMS; i++) {
        ratio += x[i] * target[i];
        square += x[i] * x[i];
    }
    return (struct nr_linear_estimate){.ratio = NR_MAX(ratio, 0), .width = sqrt(square)};
}

bool nr_linear_is_sound(const struct nr_linear_model *model)
{
    double lower[NR_LINEAR_PAIRS];
    for (size_t i = 0; i < NR_LINEAR_PAIRS; i++)
        if (!isfinite(model->pairs[i])) return false;
    for (size_t i = 0; i < NR_LINEAR_TERMS; i++)
        if (!isfinite(model->responses[i])) return false;
    return factor(model, lower);
}

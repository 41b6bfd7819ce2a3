/* What the scheduler learned, as bytes (FORMAT.md, 18), and back. Arms and models that learned nothing are left out. */
#include "base/checksum.h"
#include "base/coding.h"
#include "compact/scheduler.h"

#define MAGIC 0x4E53434Cu
#define VERSION 1u
#define CHECKSUM_BYTES 8
#define MAX_COUNT 1e6 /* Of faded counts, which stay near 200. */

_Static_assert(NR_ACTION_MERGE_L0 == 1 && NR_ACTION_ADMIT == 2 && NR_ACTION_TIER == 3 && NR_ACTION_PROMOTE == 4 &&
                   NR_ACTION_CLEAN == 5 && NR_ACTION_SPLIT == 6 && NR_ACTION_LEVEL == 7 && NR_ACTION_SPACE == 8 &&
                   NR_ACTION_JOIN == 9 && NR_ACTION_SHIFT == 10,
               "actions are written by number");
_Static_assert(NORI_MAX_LEVELS == 16 && NR_ARM_CONTEXTS == 4, "arms are written by number");
_Static_assert(NR_LINEAR_TERMS == 9 && NR_LINEAR_PAIRS == 45, "models are written whole");

static nori_status put_real(struct nr_buffer *out, double value, struct nori_error *err)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return nr_buffer_append_fixed64(out, bits, err);
}

static nori_status put_reals(struct nr_buffer *out, const double *values, size_t count, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    for (size_t i = 0; i < count; i++) NR_CHECK(put_real(out, values[i], err));
out:
    return rc;
}

static bool arm_is_known(const struct nr_arm *arm)
{
    return arm->trials > 0 || arm->weight > 0;
}

static bool model_is_known(const struct nr_linear_model *model)
{
    return model->pairs[0] > 0;
}

static nori_status put_arms(const struct nr_bandit *bandit, struct nr_buffer *out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    uint64_t count = 0;
    for (size_t i = 0; i < NR_ARM_COUNT; i++) count += arm_is_known(&bandit->arms[i]);
    NR_CHECK(put_real(out, bandit->trials, err));
    NR_CHECK(nr_buffer_append_varint(out, count, err));
    for (size_t i = 0; i < NR_ARM_COUNT; i++) {
        const struct nr_arm *arm = &bandit->arms[i];
        double values[] = {arm->trials, arm->weight, arm->ratio};
        if (!arm_is_known(arm)) continue;
        NR_CHECK(nr_buffer_append_varint(out, i, err));
        NR_CHECK(put_reals(out, values, NR_ARRAY_LEN(values), err));
    }
out:
    return rc;
}

static nori_status put_models(const struct nr_linear_model *models, struct nr_buffer *out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    uint64_t count = 0;
    for (size_t i = 0; i < NR_ACTION_COUNT; i++) count += model_is_known(&models[i]);
    NR_CHECK(nr_buffer_append_varint(out, count, err));
    for (size_t i = 0; i < NR_ACTION_COUNT; i++) {
        if (!model_is_known(&models[i])) continue;
        NR_CHECK(nr_buffer_append_varint(out, i, err));
        NR_CHECK(put_reals(out, models[i].pairs, NR_LINEAR_PAIRS, err));
        NR_CHECK(put_reals(out, models[i].responses, NR_LINEAR_TERMS, err));
    }
out:
    return rc;
}

nori_status nr_scheduler_encode(const struct nr_scheduler *scheduler, struct nr_buffer *out, struct nori_error *err)
{
    nori_status rc = NORI_OK;
    size_t start = out->size;
    double spread[] = {scheduler->spread.weight, scheduler->spread.mean, scheduler->spread.variance};
    NR_CHECK(nr_buffer_append_fixed32(out, MAGIC, err));
    NR_CHECK(nr_buffer_append_fixed32(out, VERSION, err));
    NR_CHECK(put_reals(out, spread, NR_ARRAY_LEN(spread), err));
    NR_CHECK(nr_buffer_append_varint(out, scheduler->cursor_level, err));
    NR_CHECK(nr_buffer_append_varint(out, scheduler->cursor_slot_id, err));
    NR_CHECK(nr_buffer_append_varint(out, scheduler->cursor_action, err));
    NR_CHECK(put_arms(&scheduler->bandit, out, err));
    NR_CHECK(put_models(scheduler->models, out, err));
    NR_CHECK(nr_buffer_append_fixed64(out, nr_checksum(MAGIC, nr_slice(out->data + start, out->size - start)), err));
out:
    if (rc != NORI_OK) out->size = start;
    return rc;
}

/* In [least, most]; not a NaN. */
static bool take_real(nori_slice *input, double least, double most, double *value_out)
{
    uint64_t bits;
    if (!nr_take_fixed64(input, &bits)) return false;
    memcpy(value_out, &bits, sizeof bits);
    return *value_out >= least && *value_out <= most;
}

/* Numbers rise from 'least', so that none comes twice. */
static bool take_number(nori_slice *input, uint64_t least, uint64_t limit, uint64_t *number_out)
{
    return nr_take_varint(input, number_out) && *number_out >= least && *number_out < limit;
}

static bool take_spread(nori_slice *input, struct nr_ratio_spread *spread)
{
    return take_real(input, 0, MAX_COUNT, &spread->weight) &&
           take_real(input, NR_RATIO_LEAST_MEAN, NR_RATIO_MAX, &spread->mean) &&
           take_real(input, 0, NR_RATIO_MAX * NR_RATIO_MAX, &spread->variance);
}

static bool take_cursor(nori_slice *input, struct nr_scheduler *scheduler)
{
    uint64_t level, action;
    if (!take_number(input, 0, NORI_MAX_LEVELS, &level) || !nr_take_varint(input, &scheduler->cursor_slot_id) ||
        !take_number(input, 0, NR_ACTION_COUNT, &action))
        return false;
    scheduler->cursor_level = (uint32_t)level;
    scheduler->cursor_action = (uint32_t)action;
    return true;
}

static bool take_arms(nori_slice *input, struct nr_bandit *bandit)
{
    uint64_t count, number, least = 0;
    if (!take_real(input, 0, MAX_COUNT, &bandit->trials)) return false;
    if (!take_number(input, 0, NR_ARM_COUNT + 1, &count)) return false;
    for (uint64_t i = 0; i < count; i++, least = number + 1) {
        struct nr_arm arm;
        if (!take_number(input, least, NR_ARM_COUNT, &number) || !take_real(input, 0, MAX_COUNT, &arm.trials) ||
            !take_real(input, 0, MAX_COUNT, &arm.weight) || !take_real(input, 0, NR_RATIO_MAX, &arm.ratio))
            return false;
        bandit->arms[number] = arm;
    }
    return true;
}

static bool take_models(nori_slice *input, struct nr_linear_model *models)
{
    uint64_t count, number, least = 0;
    double most = MAX_COUNT * NR_RATIO_MAX;
    if (!take_number(input, 0, NR_ACTION_COUNT + 1, &count)) return false;
    for (uint64_t i = 0; i < count; i++, least = number + 1) {
        struct nr_linear_model *model;
        if (!take_number(input, least, NR_ACTION_COUNT, &number)) return false;
        model = &models[number];
        for (size_t p = 0; p < NR_LINEAR_PAIRS; p++)
            if (!take_real(input, 0, MAX_COUNT, &model->pairs[p])) return false;
        for (size_t t = 0; t < NR_LINEAR_TERMS; t++)
            if (!take_real(input, 0, most, &model->responses[t])) return false;
        if (!nr_linear_is_sound(model)) return false;
    }
    return true;
}

static bool take_learned(struct nr_scheduler *scheduler, nori_slice input)
{
    uint32_t magic, version;
    return nr_take_fixed32(&input, &magic) && magic == MAGIC && nr_take_fixed32(&input, &version) &&
           version == VERSION && take_spread(&input, &scheduler->spread) && take_cursor(&input, scheduler) &&
           take_arms(&input, &scheduler->bandit) && take_models(&input, scheduler->models) && input.size == 0;
}

bool nr_scheduler_decode(struct nr_scheduler *scheduler, nori_slice bytes)
{
    nr_scheduler_reset(scheduler);
    if (bytes.size < CHECKSUM_BYTES) return false;
    bytes.size -= CHECKSUM_BYTES;
    if (!nr_checksum_matches(MAGIC, bytes, nr_get_fixed64(bytes.data + bytes.size))) return false;
    if (take_learned(scheduler, bytes)) return true;
    nr_scheduler_reset(scheduler);
    return false;
}

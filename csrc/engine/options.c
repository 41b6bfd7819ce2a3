/* The options: one table says of each its name, where it lies, its default and what it may be. Setting, checking and
 * listing all read it, and so does the Python Config, by way of nori_options_each.
 *
 * Text is the same under every locale: "." is the only decimal point that is read or written. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"

enum option_kind {
    OPTION_INTEGER, /* int64_t or uint64_t; every bound fits both. */
    OPTION_REAL,    /* double */
    OPTION_TRIPLE,  /* double[3], the bounds are each one's. */
    OPTION_CHOICE,  /* int, an index into the choices. */
    OPTION_LEVELS,  /* level_count and levels, as a list. */
};

enum {
    ABOVE_MIN = 1u << 0, /* The minimum itself is too small. */
    OR_NONE = 1u << 1,   /* "none" is a value: the field is then none_value. */
};

struct option_spec {
    const char *name;
    size_t offset; /* In struct nori_options. */
    enum option_kind kind;
    unsigned flags;
    int64_t integer, integer_min, integer_max; /* Default and bounds, inclusive. */
    double real, real_min, real_max;
    double none_value;
    const char *const *choices; /* Ended by NULL. */
};

static const char *const k_policy_names[] = {"cost", "heat", NULL};
static const char *const strategy_names[] = {"atll", "leveled", "tiered", NULL};
static const char *const guards_names[] = {"learned", "uniform", NULL};
static const char *const scheduler_names[] = {"bandit", "contextual", "greedy", "round_robin", NULL};
static const char *const durability_names[] = {"sync", "interval", "os", NULL};
static const char *const mapped_names[] = {"auto", "true", "false", NULL};
static const char *const filter_kind_names[] = {"bloom", "ribbon", NULL};
static const char *const compression_names[] = {"none", "lz4", "zstd", NULL};

#define KIB ((int64_t)1 << 10)
#define MIB ((int64_t)1 << 20)
#define GIB ((int64_t)1 << 30)
#define PIB ((int64_t)1 << 50)
#define MAX_SECONDS 1e9
#define MIN_BLOCK_BYTES 256
#define MAX_BLOCK_BYTES (16 << 20)
#define MAX_BITS_PER_KEY 64.0
#define DEFAULT_BLOCK_BYTES 4096
/* From here on zstd: 25 GiB and more, where a block comes from a disk that takes longer than zstd does, and a quarter
 * less of it to store and cache counts (benchmarks/README.md). */
#define DEFAULT_ZSTD_LEVEL 3

/* An option's name is its member's path. */
#define NAMED(member) .name = #member, .offset = offsetof(struct nori_options, member)
#define INTEGER(member, initial, least, most)                                                                          \
    {                                                                                                                  \
        NAMED(member), .kind = OPTION_INTEGER, .integer = initial, .integer_min = least, .integer_max = most           \
    }
#define REAL(member, initial, least, most, bits)                                                                       \
    {                                                                                                                  \
        NAMED(member), .kind = OPTION_REAL, .real = initial, .real_min = least, .real_max = most, .flags = bits        \
    }
#define TRIPLE(member, bits)                                                                                           \
    {                                                                                                                  \
        NAMED(member), .kind = OPTION_TRIPLE, .real_min = 0.0, .real_max = 1.0, .flags = bits                          \
    }
#define CHOICE(member, names, initial)                                                                                 \
    {                                                                                                                  \
        NAMED(member), .kind = OPTION_CHOICE, .choices = names, .integer = initial                                     \
    }

static const struct option_spec specs[] = {
    INTEGER(fanout, 10, 2, 1000),
    INTEGER(max_levels, 7, 2, NORI_MAX_LEVELS),
    INTEGER(l1_slot_count, 32, 1, 65536),
    INTEGER(level1_bytes, 256 * MIB, 4 * KIB, PIB),
    INTEGER(table_bytes, 32 * MIB, 4 * KIB, 4 * GIB),
    INTEGER(k_global, 4, 1, 64),
    CHOICE(k_policy, k_policy_names, NORI_K_COST),
    CHOICE(strategy, strategy_names, NORI_STRATEGY_ATLL),
    CHOICE(guards, guards_names, NORI_GUARDS_LEARNED),
    REAL(max_space_amp, 1.3, 1.0, 100.0, ABOVE_MIN),
    REAL(heat_alpha, 0.1, 0.0, 1.0, ABOVE_MIN),
    REAL(heat_decay_interval_secs, 60.0, 0.0, MAX_SECONDS, ABOVE_MIN),
    CHOICE(scheduler, scheduler_names, NORI_SCHEDULER_BANDIT),
    REAL(compaction_epsilon, 0.1, 0.0, 1.0, 0),
    REAL(compaction_ucb_c, 2.0, 0.0, 1e6, 0),
    REAL(compaction_reward_alpha, 0.1, 0.0, 1.0, ABOVE_MIN),
    CHOICE(wal.durability, durability_names, NORI_DURABILITY_INTERVAL),
    INTEGER(wal.sync_interval_ms, 100, 1, 86400000),
    INTEGER(wal.segment_bytes, 64 * MIB, 64 * KIB, 4 * GIB),
    CHOICE(wal.mapped, mapped_names, NORI_MAPPED_AUTO),
    REAL(wal.gc_interval_secs, 60.0, 0.0, MAX_SECONDS, ABOVE_MIN),
    INTEGER(wal.retain_bytes, 0, 0, PIB),
    INTEGER(memtable.flush_trigger_bytes, 64 * MIB, 16 * KIB, 1024 * GIB),
    REAL(memtable.wal_age_trigger_sec, 30.0, 0.0, MAX_SECONDS, 0),
    INTEGER(l0.max_files, 12, 1, 10000),
    INTEGER(l0.soft_throttle_threshold, 6, 0, 9999),
    REAL(l0.soft_throttle_base_delay_ms, 1.0, 0.0, 60000.0, 0),
    TRIPLE(pressure.weights, 0),
    TRIPLE(pressure.zones, ABOVE_MIN),
    REAL(pressure.stall_timeout_secs, 60.0, 0.0, MAX_SECONDS, 0),
    REAL(filters.bloom_bits_per_key, 10.0, 0.0, MAX_BITS_PER_KEY, 0),
    CHOICE(filters.kind, filter_kind_names, NORI_FILTER_BLOOM),
    {.name = "levels", .kind = OPTION_LEVELS},
    INTEGER(resources.block_cache_mib, 1024, 1, GIB),
    INTEGER(resources.index_cache_mib, 128, 1, GIB),
    INTEGER(resources.memtables_mib, 512, 1, GIB),
    INTEGER(resources.filters_mib, 256, 1, GIB),
    INTEGER(resources.max_open_files, 4096, 1, GIB),
    INTEGER(io.max_background_jobs, 4, 1, 1024),
    REAL(io.rate_limit_mib_s, 0.0, 0.0, 1e9, ABOVE_MIN | OR_NONE),
    INTEGER(io.compaction_slice_mib, 64, 1, MIB),
    REAL(tombstones.density_threshold, 0.15, 0.0, 1.0, ABOVE_MIN),
    REAL(tombstones.ttl_default_secs, 0.0, 0.0, 1e12, ABOVE_MIN | OR_NONE),
};

/* The bits of one level, as an option of its own: none is the filters' setting. */
static const struct option_spec level_bits_spec = {
    .kind = OPTION_REAL, .flags = OR_NONE, .real_max = MAX_BITS_PER_KEY, .none_value = -1.0};

static const void *field_of(const struct nori_options *options, const struct option_spec *spec)
{
    return (const char *)options + spec->offset;
}

static void *field_to_set(struct nori_options *options, const struct option_spec *spec)
{
    return (char *)options + spec->offset;
}

void nori_options_init(struct nori_options *options)
{
    static const double weights[3] = {0.4, 0.4, 0.2}, zones[3] = {0.50, 0.75, 0.90};

    memset(options, 0, sizeof(*options));
    for (size_t i = 0; i < NR_ARRAY_LEN(specs); i++) {
        const struct option_spec *spec = &specs[i];
        int choice = (int)spec->integer;
        if (spec->kind == OPTION_INTEGER) memcpy(field_to_set(options, spec), &spec->integer, sizeof(int64_t));
        if (spec->kind == OPTION_REAL) memcpy(field_to_set(options, spec), &spec->real, sizeof(double));
        if (spec->kind == OPTION_CHOICE) memcpy(field_to_set(options, spec), &choice, sizeof(int));
    }
    memcpy(options->pressure.weights, weights, sizeof(weights));
    memcpy(options->pressure.zones, zones, sizeof(zones));
    options->level_count = DEFAULT_ZSTD_LEVEL + 1;
    for (int i = 0; i <= DEFAULT_ZSTD_LEVEL; i++) {
        options->levels[i] = (struct nori_level_options){
            i < DEFAULT_ZSTD_LEVEL ? NORI_COMPRESSION_LZ4 : NORI_COMPRESSION_ZSTD, DEFAULT_BLOCK_BYTES, -1.0};
    }
}

/* ---------------------------------------------------------------- text of numbers */

#define REAL_TEXT_BYTES 40

/* The shortest of 15 to 17 digits that reads back as the same number. */
static void print_real(double value, char out[REAL_TEXT_BYTES])
{
    char *in = out;

    for (int digits = 15; digits <= 17; digits++) {
        snprintf(out, REAL_TEXT_BYTES, "%.*g", digits, value);
        if (strtod(out, NULL) == value) break;
    }
    /* The locale's decimal point, of whatever length, becomes ".". */
    for (const char *from = out; *from;) {
        if (strchr("0123456789+-einfa", *from)) {
            *in++ = *from++;
            continue;
        }
        *in++ = '.';
        while (*from && !strchr("0123456789e", *from)) from++;
    }
    *in = '\0';
}

static bool parse_integer(const char *text, int64_t *value_out)
{
    char *end;
    long long value;

    if (text[strspn(text, "-0123456789")] != '\0' || text[0] == '\0') return false;
    errno = 0;
    value = strtoll(text, &end, 10); /* Beyond 64 bits it is the greatest, which is out of range everywhere. */
    *value_out = value;
    return *end == '\0';
}

/* Decimal, finite, the whole text. strtod reads the locale's decimal point, which printing shows. */
static bool parse_real(const char *text, double *value_out)
{
    char localized[128], probe[16];
    const char *point = strchr(text, '.');
    char *end;

    if (text[strspn(text, "+-.0123456789eE")] != '\0' || text[0] == '\0') return false;
    if (strlen(text) > sizeof(localized) - sizeof(probe)) return false;
    snprintf(probe, sizeof(probe), "%.1f", 0.5); /* "0", the point, "5" */
    probe[strlen(probe) - 1] = '\0';
    if (point) {
        snprintf(localized, sizeof(localized), "%.*s%s%s", (int)(point - text), text, probe + 1, point + 1);
    } else {
        snprintf(localized, sizeof(localized), "%s", text);
    }
    *value_out = strtod(localized, &end);
    return *end == '\0' && isfinite(*value_out);
}

/* ---------------------------------------------------------------- one value against its bounds */

static nori_status check_integer(const char *name, int64_t value, int64_t min, int64_t max, struct nori_error *err)
{
    if (value >= min && value <= max) return NORI_OK;
    return NR_FAIL(err, NORI_INVALID, "%s is %" PRId64 ", must be from %" PRId64 " to %" PRId64, name, value, min, max);
}

static nori_status check_real(const char *name, const struct option_spec *spec, double value, struct nori_error *err)
{
    char text[REAL_TEXT_BYTES], min[REAL_TEXT_BYTES], max[REAL_TEXT_BYTES];
    bool is_large_enough = spec->flags & ABOVE_MIN ? value > spec->real_min : value >= spec->real_min;

    if (is_large_enough && value <= spec->real_max) return NORI_OK;
    print_real(value, text);
    print_real(spec->real_min, min);
    print_real(spec->real_max, max);
    return NR_FAIL(err, NORI_INVALID, "%s is %s, must be %s%s %s and at most %s", name, text,
                   spec->flags & OR_NONE ? "none, or " : "", spec->flags & ABOVE_MIN ? "above" : "at least", min, max);
}

static nori_status check_choice(const char *name, const char *const *choices, int value, struct nori_error *err)
{
    int count = 0;
    while (choices[count]) count++;
    if (value >= 0 && value < count) return NORI_OK;
    return NR_FAIL(err, NORI_INVALID, "%s is %d, must be from 0 to %d", name, value, count - 1);
}

static nori_status check_levels(const struct nori_options *options, struct nori_error *err)
{
    char name[64];
    nori_status rc;

    NR_CHECK(check_integer("the count of levels", options->level_count, 1, NORI_MAX_LEVELS, err));
    for (int64_t i = 0; i < options->level_count; i++) {
        const struct nori_level_options *level = &options->levels[i];
        snprintf(name, sizeof(name), "levels[%" PRId64 "].compression", i);
        NR_CHECK(check_choice(name, compression_names, level->compression, err));
        snprintf(name, sizeof(name), "levels[%" PRId64 "].block_bytes", i);
        NR_CHECK(check_integer(name, level->block_bytes, MIN_BLOCK_BYTES, MAX_BLOCK_BYTES, err));
        snprintf(name, sizeof(name), "levels[%" PRId64 "].bloom_bits_per_key", i);
        if (!(level->bloom_bits_per_key < 0.0))
            NR_CHECK(check_real(name, &level_bits_spec, level->bloom_bits_per_key, err));
    }
out:
    return rc;
}

static nori_status check_field(const struct nori_options *options, const struct option_spec *spec,
                               struct nori_error *err)
{
    const void *field = field_of(options, spec);
    nori_status rc = NORI_OK;
    double reals[3];
    int64_t integer;
    int choice;

    switch (spec->kind) {
    case OPTION_INTEGER:
        memcpy(&integer, field, sizeof(integer));
        return check_integer(spec->name, integer, spec->integer_min, spec->integer_max, err);
    case OPTION_REAL:
        memcpy(reals, field, sizeof(double));
        if ((spec->flags & OR_NONE) && reals[0] == spec->none_value) return NORI_OK;
        return check_real(spec->name, spec, reals[0], err);
    case OPTION_TRIPLE:
        memcpy(reals, field, sizeof(reals));
        for (int i = 0; i < 3 && rc == NORI_OK; i++) rc = check_real(spec->name, spec, reals[i], err);
        return rc;
    case OPTION_CHOICE:
        memcpy(&choice, field, sizeof(choice));
        return check_choice(spec->name, spec->choices, choice, err);
    case OPTION_LEVELS:
        return check_levels(options, err);
    }
    return NR_FAIL(err, NORI_INVALID, "%s is of no known kind", spec->name);
}

nori_status nori_options_check(const struct nori_options *options, struct nori_error *err)
{
    const double *zones = options->pressure.zones, *weights = options->pressure.weights;
    nori_status rc = NORI_OK;

    for (size_t i = 0; i < NR_ARRAY_LEN(specs); i++) NR_CHECK(check_field(options, &specs[i], err));
    if (options->l0.max_files <= options->l0.soft_throttle_threshold) {
        rc = NR_FAIL(err, NORI_INVALID,
                     "l0.max_files is %" PRId64 ", must be above l0.soft_throttle_threshold, which is %" PRId64,
                     options->l0.max_files, options->l0.soft_throttle_threshold);
        goto out;
    }
    if (!(zones[0] < zones[1] && zones[1] < zones[2])) {
        rc = NR_FAIL(err, NORI_INVALID, "pressure.zones must ascend: yellow, orange, red");
        goto out;
    }
    if (!(weights[0] + weights[1] + weights[2] > 0.0))
        rc = NR_FAIL(err, NORI_INVALID, "pressure.weights are all 0, one must be above it");
out:
    return rc;
}

/* ---------------------------------------------------------------- from text */

static nori_status fail_text(const char *name, const char *text, const char *wanted, struct nori_error *err)
{
    return NR_FAIL(err, NORI_INVALID, "%s is \"%.80s\", must be %s", name, text, wanted);
}

static nori_status set_integer(const char *name, const char *text, int64_t min, int64_t max, int64_t *value_out,
                               struct nori_error *err)
{
    if (!parse_integer(text, value_out)) return fail_text(name, text, "a whole number", err);
    return check_integer(name, *value_out, min, max, err);
}

static nori_status set_real(const char *name, const struct option_spec *spec, const char *text, double *value_out,
                            struct nori_error *err)
{
    if ((spec->flags & OR_NONE) && strcmp(text, "none") == 0) {
        *value_out = spec->none_value;
        return NORI_OK;
    }
    if (!parse_real(text, value_out)) return fail_text(name, text, "a finite number", err);
    return check_real(name, spec, *value_out, err);
}

static nori_status set_choice(const char *name, const char *const *choices, const char *text, int *value_out,
                              struct nori_error *err)
{
    char wanted[128] = "one of";

    for (int i = 0; choices[i]; i++) {
        if (strcmp(choices[i], text) == 0) {
            *value_out = i;
            return NORI_OK;
        }
        size_t size = strlen(wanted);
        snprintf(wanted + size, sizeof(wanted) - size, "%s %s", i > 0 ? "," : "", choices[i]);
    }
    return fail_text(name, text, wanted, err);
}

/* Copies the part of '*text' in front of 'separator' or its end into 'out', and moves '*text' behind it; NULL at the
 * end. False if it is longer than any value. */
static bool take_part(const char **text, char separator, char *out, size_t capacity)
{
    const char *end = strchr(*text, separator);
    size_t size = end ? (size_t)(end - *text) : strlen(*text);

    if (size >= capacity) return false;
    memcpy(out, *text, size);
    out[size] = '\0';
    *text = end ? end + 1 : NULL;
    return true;
}

static nori_status set_triple(const struct option_spec *spec, const char *text, double values_out[3],
                              struct nori_error *err)
{
    const char *rest = text;
    char part[REAL_TEXT_BYTES];
    nori_status rc = NORI_OK;

    for (int i = 0; i < 3; i++) {
        if (!rest || !take_part(&rest, ',', part, sizeof(part)))
            return fail_text(spec->name, text, "three numbers between commas", err);
        NR_CHECK(set_real(spec->name, spec, part, &values_out[i], err));
    }
    if (rest) rc = fail_text(spec->name, text, "three numbers between commas", err);
out:
    return rc;
}

/* "lz4/4096/none": compression, block bytes, bits per key. */
static nori_status set_level(int64_t index, const char *text, struct nori_level_options *level, struct nori_error *err)
{
    const char *rest = text;
    char parts[3][REAL_TEXT_BYTES], name[64];
    int64_t block_bytes = 0;
    nori_status rc;

    snprintf(name, sizeof(name), "levels[%" PRId64 "]", index);
    for (int i = 0; i < 3; i++)
        if (!rest || !take_part(&rest, '/', parts[i], sizeof(parts[i])))
            return fail_text(name, text, "compression/block_bytes/bloom_bits_per_key", err);
    if (rest) return fail_text(name, text, "compression/block_bytes/bloom_bits_per_key", err);

    snprintf(name, sizeof(name), "levels[%" PRId64 "].compression", index);
    NR_CHECK(set_choice(name, compression_names, parts[0], &level->compression, err));
    snprintf(name, sizeof(name), "levels[%" PRId64 "].block_bytes", index);
    NR_CHECK(set_integer(name, parts[1], MIN_BLOCK_BYTES, MAX_BLOCK_BYTES, &block_bytes, err));
    level->block_bytes = (uint32_t)block_bytes;
    snprintf(name, sizeof(name), "levels[%" PRId64 "].bloom_bits_per_key", index);
    NR_CHECK(set_real(name, &level_bits_spec, parts[2], &level->bloom_bits_per_key, err));
out:
    return rc;
}

static nori_status set_levels(struct nori_options *options, const char *text, struct nori_error *err)
{
    struct nori_level_options levels[NORI_MAX_LEVELS];
    const char *rest = text;
    char part[3 * REAL_TEXT_BYTES];
    nori_status rc = NORI_OK;
    int64_t count = 0;

    memset(levels, 0, sizeof(levels));
    for (; rest; count++) {
        if (count == NORI_MAX_LEVELS) return fail_text("levels", text, "a list of at most 16", err);
        if (!take_part(&rest, ',', part, sizeof(part))) return fail_text("levels", text, "a list of levels", err);
        NR_CHECK(set_level(count, part, &levels[count], err));
    }
    memcpy(options->levels, levels, sizeof(levels));
    options->level_count = count;
out:
    return rc;
}

nori_status nori_options_set(struct nori_options *options, const char *name, const char *value, struct nori_error *err)
{
    const struct option_spec *spec = NULL;
    nori_status rc = NORI_OK;
    double reals[3];
    int64_t integer;
    int choice;

    for (size_t i = 0; i < NR_ARRAY_LEN(specs) && !spec; i++)
        if (strcmp(specs[i].name, name) == 0) spec = &specs[i];
    if (!spec) return NR_FAIL(err, NORI_INVALID, "there is no option \"%.80s\"", name);

    switch (spec->kind) {
    case OPTION_INTEGER:
        NR_CHECK(set_integer(name, value, spec->integer_min, spec->integer_max, &integer, err));
        memcpy(field_to_set(options, spec), &integer, sizeof(integer));
        break;
    case OPTION_REAL:
        NR_CHECK(set_real(name, spec, value, &reals[0], err));
        memcpy(field_to_set(options, spec), reals, sizeof(double));
        break;
    case OPTION_TRIPLE:
        NR_CHECK(set_triple(spec, value, reals, err));
        memcpy(field_to_set(options, spec), reals, sizeof(reals));
        break;
    case OPTION_CHOICE:
        NR_CHECK(set_choice(name, spec->choices, value, &choice, err));
        memcpy(field_to_set(options, spec), &choice, sizeof(choice));
        break;
    case OPTION_LEVELS:
        NR_CHECK(set_levels(options, value, err));
        break;
    }
out:
    return rc;
}

/* ---------------------------------------------------------------- to text */

#define OPTION_TEXT_BYTES (NORI_MAX_LEVELS * 2 * REAL_TEXT_BYTES)

static void print_levels(const struct nori_options *options, char out[OPTION_TEXT_BYTES])
{
    size_t size = 0;

    out[0] = '\0';
    for (int64_t i = 0; i < options->level_count && i < NORI_MAX_LEVELS; i++) {
        const struct nori_level_options *level = &options->levels[i];
        char bits[REAL_TEXT_BYTES] = "none";
        int compression = NR_MAX(0, NR_MIN(level->compression, NORI_COMPRESSION_ZSTD));
        if (!(level->bloom_bits_per_key < 0.0)) print_real(level->bloom_bits_per_key, bits);
        size += (size_t)snprintf(out + size, OPTION_TEXT_BYTES - size, "%s%s/%" PRIu32 "/%s", i > 0 ? "," : "",
                                 compression_names[compression], level->block_bytes, bits);
    }
}

static void print_field(const struct nori_options *options, const struct option_spec *spec, char out[OPTION_TEXT_BYTES])
{
    const void *field = field_of(options, spec);
    char texts[3][REAL_TEXT_BYTES];
    double reals[3];
    int64_t integer;
    int choice;

    out[0] = '\0';
    switch (spec->kind) {
    case OPTION_INTEGER:
        memcpy(&integer, field, sizeof(integer));
        snprintf(out, OPTION_TEXT_BYTES, "%" PRId64, integer);
        break;
    case OPTION_REAL:
        memcpy(reals, field, sizeof(double));
        print_real(reals[0], out);
        if ((spec->flags & OR_NONE) && reals[0] == spec->none_value) snprintf(out, OPTION_TEXT_BYTES, "none");
        break;
    case OPTION_TRIPLE:
        memcpy(reals, field, sizeof(reals));
        for (int i = 0; i < 3; i++) print_real(reals[i], texts[i]);
        snprintf(out, OPTION_TEXT_BYTES, "%s,%s,%s", texts[0], texts[1], texts[2]);
        break;
    case OPTION_CHOICE:
        memcpy(&choice, field, sizeof(choice));
        if (check_choice(spec->name, spec->choices, choice, NULL) == NORI_OK)
            snprintf(out, OPTION_TEXT_BYTES, "%s", spec->choices[choice]);
        break;
    case OPTION_LEVELS:
        print_levels(options, out);
        break;
    }
}

void nori_options_each(const struct nori_options *options, void (*fn)(void *arg, const char *name, const char *value),
                       void *arg)
{
    char text[OPTION_TEXT_BYTES];

    for (size_t i = 0; i < NR_ARRAY_LEN(specs); i++) {
        print_field(options, &specs[i], text);
        fn(arg, specs[i].name, text);
    }
}

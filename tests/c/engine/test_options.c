#include <locale.h>
#include <math.h>

#include "harness.h"

static struct nori_options fresh(void)
{
    struct nori_options options;
    nori_options_init(&options);
    return options;
}

static nori_status set(const char *name, const char *value, struct nori_error *err)
{
    struct nori_options options = fresh();
    return nori_options_set(&options, name, value, err);
}

struct text {
    char bytes[8192];
    size_t size;
};

static void append_line(void *arg, const char *name, const char *value)
{
    struct text *text = arg;
    text->size += (size_t)snprintf(text->bytes + text->size, sizeof(text->bytes) - text->size, "%s=%s\n", name, value);
}

static void copy_option(void *arg, const char *name, const char *value)
{
    struct nori_error err;
    EXPECT_OK(nori_options_set(arg, name, value, &err), &err);
}

TEST(defaults_pass_the_check_and_are_what_is_documented)
{
    struct nori_options options = fresh();
    struct nori_error err;

    EXPECT_OK(nori_options_check(&options, &err), &err);
    EXPECT_EQ(options.fanout, 10);
    EXPECT_EQ(options.level1_bytes, 256ull << 20);
    EXPECT_EQ(options.wal.durability, NORI_DURABILITY_INTERVAL);
    EXPECT_EQ(options.l0.max_files, 12);
    EXPECT(options.pressure.zones[2] == 0.90);
    EXPECT_EQ(options.level_count, 4);
    for (int i = 0; i < 4; i++) {
        EXPECT_EQ(options.levels[i].compression, i < 3 ? NORI_COMPRESSION_LZ4 : NORI_COMPRESSION_ZSTD);
        EXPECT_EQ(options.levels[i].block_bytes, 4096);
        EXPECT(options.levels[i].bloom_bits_per_key < 0);
    }
    EXPECT(options.io.rate_limit_mib_s == 0.0);
}

TEST(text_form_reads_back_as_the_same_options)
{
    struct nori_options options = fresh(), copy;
    struct text first = {.size = 0}, second = {.size = 0};
    struct nori_error err;

    EXPECT_OK(nori_options_set(&options, "heat_alpha", "0.30000000000000004", &err), &err);
    EXPECT_OK(nori_options_set(&options, "levels", "lz4/4096/none,zstd/16384/8,none/256/0", &err), &err);
    EXPECT_OK(nori_options_set(&options, "pressure.zones", "0.1,0.2,1", &err), &err);
    EXPECT_OK(nori_options_set(&options, "io.rate_limit_mib_s", "12.5", &err), &err);
    EXPECT_OK(nori_options_set(&options, "wal.mapped", "false", &err), &err);
    EXPECT_OK(nori_options_set(&options, "tombstones.ttl_default_secs", "1e-3", &err), &err);
    nori_options_init(&copy);
    nori_options_each(&options, copy_option, &copy);
    nori_options_each(&options, append_line, &first);
    nori_options_each(&copy, append_line, &second);
    EXPECT_EQ(strcmp(first.bytes, second.bytes), 0);
    EXPECT(strstr(first.bytes, "heat_alpha=0.30000000000000004\n") != NULL);
    EXPECT(strstr(first.bytes, "max_space_amp=1.3\n") != NULL);
    EXPECT(strstr(first.bytes, "levels=lz4/4096/none,zstd/16384/8,none/256/0\n") != NULL);
    EXPECT(copy.heat_alpha == 0.1 + 0.2);
    EXPECT_EQ(copy.level_count, 3);
}

TEST(none_is_the_text_of_what_is_not_set)
{
    struct nori_options options = fresh();
    struct nori_error err;

    EXPECT_OK(nori_options_set(&options, "io.rate_limit_mib_s", "3", &err), &err);
    EXPECT_OK(nori_options_set(&options, "io.rate_limit_mib_s", "none", &err), &err);
    EXPECT(options.io.rate_limit_mib_s == 0.0);
    EXPECT_STATUS(nori_options_set(&options, "io.rate_limit_mib_s", "0", &err), NORI_INVALID, &err);
    EXPECT_STATUS(nori_options_set(&options, "tombstones.ttl_default_secs", "-1", &err), NORI_INVALID, &err);
    EXPECT_STATUS(nori_options_set(&options, "heat_alpha", "none", &err), NORI_INVALID, &err);
    EXPECT_STATUS(nori_options_set(&options, "levels", "lz4/4096/-1", &err), NORI_INVALID, &err);
    EXPECT_OK(nori_options_check(&options, &err), &err);
}

TEST(every_bad_value_is_refused_and_its_option_named)
{
    static const char *const cases[][2] = {
        {"fanout", "1"},
        {"fanout", "1001"},
        {"fanout", ""},
        {"fanout", "ten"},
        {"fanout", "10.0"},
        {"fanout", "1-0"},
        {"fanout", " 10"},
        {"fanout", "99999999999999999999999"},
        {"fanout", "-99999999999999999999999"},
        {"max_levels", "17"},
        {"l1_slot_count", "0"},
        {"k_global", "0"},
        {"k_policy", "warm"},
        {"strategy", ""},
        {"scheduler", "Bandit"},
        {"max_space_amp", "1.0"},
        {"max_space_amp", "nan"},
        {"max_space_amp", "inf"},
        {"max_space_amp", "1e999"},
        {"max_space_amp", "0x1.8p0"},
        {"max_space_amp", "1,5"},
        {"max_space_amp", "1.5 "},
        {"max_space_amp", "1.5.5"},
        {"heat_alpha", "0"},
        {"heat_alpha", "1.01"},
        {"compaction_epsilon", "-0.1"},
        {"wal.durability", "always"},
        {"wal.segment_bytes", "65535"},
        {"wal.segment_bytes", "4294967297"},
        {"wal.mapped", "True"},
        {"memtable.flush_trigger_bytes", "16383"},
        {"memtable.wal_age_trigger_sec", "-1"},
        {"l0.max_files", "0"},
        {"pressure.weights", "0.4,0.4"},
        {"pressure.weights", "0.4,0.4,0.1,0.1"},
        {"pressure.weights", "0.4,0.4,-0.1"},
        {"pressure.weights", "0.4,0.4,"},
        {"pressure.zones", "0,0.5,0.9"},
        {"pressure.zones", "0.5,0.75,1.5"},
        {"filters.bloom_bits_per_key", "-1"},
        {"filters.kind", "xor"},
        {"levels", ""},
        {"levels", "lz4"},
        {"levels", "lz4/4096/none,"},
        {"levels", "lz4/4096/none/1"},
        {"levels", "gzip/4096/none"},
        {"levels", "lz4/255/none"},
        {"levels", "lz4/4096/65"},
        {"resources.block_cache_mib", "0"},
        {"resources.max_open_files", "0"},
        {"io.max_background_jobs", "0"},
        {"io.rate_limit_mib_s", "-1"},
        {"tombstones.density_threshold", "0"},
        {"", "1"},
        {"l0", "1"},
        {"wal.", "1"},
        {"fanouts", "10"},
    };
    struct nori_error err;

    for (size_t i = 0; i < NR_ARRAY_LEN(cases); i++) {
        EXPECT_STATUS(set(cases[i][0], cases[i][1], &err), NORI_INVALID, &err);
        if (!strstr(err.text, cases[i][0])) FAIL("\"%s\" does not name %s", err.text, cases[i][0]);
    }
}

TEST(a_refused_value_leaves_the_options_as_they_were)
{
    struct nori_options options = fresh(), before = fresh();
    struct nori_error err;

    EXPECT_STATUS(nori_options_set(&options, "levels", "zstd/4096/none,lz4/1/none", &err), NORI_INVALID, &err);
    EXPECT_STATUS(nori_options_set(&options, "pressure.zones", "0.1,0.2,7", &err), NORI_INVALID, &err);
    EXPECT_STATUS(nori_options_set(&options, "fanout", "0", &err), NORI_INVALID, &err);
    EXPECT_EQ(memcmp(&options, &before, sizeof(options)), 0);
}

TEST(levels_are_at_most_sixteen)
{
    char text[1024] = "lz4/4096/none";
    struct nori_error err;

    for (int i = 1; i < NORI_MAX_LEVELS; i++) strcat(text, ",zstd/16777216/12.345678901234567");
    EXPECT_OK(set("levels", text, &err), &err);
    strcat(text, ",lz4/4096/none");
    EXPECT_STATUS(set("levels", text, &err), NORI_INVALID, &err);
}

TEST(options_that_contradict_each_other_are_refused)
{
    struct nori_options options = fresh();
    struct nori_error err;

    EXPECT_OK(nori_options_set(&options, "l0.max_files", "6", &err), &err);
    EXPECT_STATUS(nori_options_check(&options, &err), NORI_INVALID, &err);
    EXPECT(strstr(err.text, "l0.max_files") != NULL);

    options = fresh();
    EXPECT_OK(nori_options_set(&options, "pressure.zones", "0.5,0.5,0.9", &err), &err);
    EXPECT_STATUS(nori_options_check(&options, &err), NORI_INVALID, &err);
    EXPECT(strstr(err.text, "pressure.zones") != NULL);

    options = fresh();
    EXPECT_OK(nori_options_set(&options, "pressure.weights", "0,0,0", &err), &err);
    EXPECT_STATUS(nori_options_check(&options, &err), NORI_INVALID, &err);
}

TEST(the_check_finds_what_was_written_into_the_struct)
{
    struct nori_options options = fresh();
    struct nori_error err;

    options.heat_alpha = NAN;
    EXPECT_STATUS(nori_options_check(&options, &err), NORI_INVALID, &err);
    EXPECT(strstr(err.text, "heat_alpha") != NULL);
    options = fresh();
    options.wal.segment_bytes = UINT64_MAX;
    EXPECT_STATUS(nori_options_check(&options, &err), NORI_INVALID, &err);
    options = fresh();
    options.strategy = 3;
    EXPECT_STATUS(nori_options_check(&options, &err), NORI_INVALID, &err);
    options = fresh();
    options.level_count = 0;
    EXPECT_STATUS(nori_options_check(&options, &err), NORI_INVALID, &err);
    options = fresh();
    options.levels[0].bloom_bits_per_key = NAN;
    EXPECT_STATUS(nori_options_check(&options, &err), NORI_INVALID, &err);
    EXPECT_STATUS(nori_options_check(&options, NULL), NORI_INVALID, &err);
}

TEST(text_is_the_same_under_a_locale_with_a_decimal_comma)
{
    static const char *const locales[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "ps_AF.UTF-8"};
    struct text plain = {.size = 0};
    struct nori_options options = fresh();
    struct nori_error err;

    nori_options_each(&options, append_line, &plain);
    for (size_t i = 0; i < NR_ARRAY_LEN(locales); i++) {
        struct text localized = {.size = 0};
        if (!setlocale(LC_ALL, locales[i])) continue; /* Not installed here. */
        nori_options_each(&options, append_line, &localized);
        EXPECT_EQ(strcmp(plain.bytes, localized.bytes), 0);
        EXPECT_OK(nori_options_set(&options, "heat_alpha", "0.25", &err), &err);
        EXPECT(options.heat_alpha == 0.25);
        EXPECT_STATUS(nori_options_set(&options, "heat_alpha", "0,25", &err), NORI_INVALID, &err);
        options = fresh();
    }
    setlocale(LC_ALL, "C");
}

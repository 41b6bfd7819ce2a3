/* Cases stand in tests/c/data/planner: a tree, what is busy, and the plan expected.
 *
 *     case NAME
 *     options NAME=NUMBER ...            beside those of planner_model.h
 *     levels COUNT
 *     level NUMBER                       the slots and runs that follow are its
 *     slot ID [KEY..KEY) k=K wanted=K rate=N
 *                                        in order; an empty first or last key: without bound; bytes arriving a second
 *     run ID [KEY..KEY)... bytes=N entries=N deletes=N ranges=N seq=N..N expiry=N since=N life=N unexpiring=N fresh=N
 *         file=N                         newest first; the smallest expiry is that of 'since'
 *     busy LEVEL:ID                      a locked slot
 *     moving LEVEL [KEY..KEY)            guards that move, from that level down
 *     merging NEWEST..OLDEST   oldest SEQUENCE   now MS   manual [KEY..KEY)   unsplittable ID   pending 0|1
 *     unreferenced BYTES
 *     written KEY:WEIGHT ...             what the sketch of writes has seen, and the one of reads
 *     read KEY:WEIGHT ...
 *     => PLAN */
#include "planner_model.h"

#include <dirent.h>

#define MAX_SLOTS 64
#define MAX_RUNS 64
#define MAX_BUSY 16

struct parser {
    const char *path;
    int line;
    char name[80];
    struct nori_options options;
    struct nr_version *version;
    struct nr_plan_view view;
    struct nr_busy_slot busy[MAX_BUSY];
    struct nr_busy_range range;
    char range_text[64];
    uint64_t unsplittable;
    int pending; /* -1: not asked for. */
    char manual[64];
    uint32_t level;
    struct nr_slot *slots[MAX_SLOTS]; /* Of the level under way. */
    size_t slot_count;
    uint64_t slot_id;
    uint32_t slot_k;
    uint32_t slot_wanted;
    uint64_t slot_rate;
    nori_slice slot_start;
    struct nr_bound slot_end;
    char slot_text[64];
    struct nr_run *runs[MAX_RUNS]; /* Of the slot under way. */
    size_t run_count;
    bool has_slot, has_level;
    uint64_t next_number;
};

#define PARSE_FAIL(parser, text) FAIL("%s:%d (case %s): %s", (parser)->path, (parser)->line, (parser)->name, text)

/* "[a..m)", in place; '*text' moves behind it. */
static void parse_range(struct parser *parser, char **text, nori_slice *start, struct nr_bound *end)
{
    char *dots = strstr(*text, ".."), *close = strchr(*text, ')');
    if (**text != '[' || !dots || !close || dots > close) PARSE_FAIL(parser, "a range is [a..m)");
    *start = nr_slice(*text + 1, (size_t)(dots - *text - 1));
    *end = close == dots + 2 ? nr_bound_infinite() : nr_bound_key(nr_slice(dots + 2, (size_t)(close - dots - 2)));
    *text = close + 1;
}

static void parse_sketch(struct parser *parser, char *text, struct nr_sketch **sketch)
{
    struct nori_error err;
    if (!*sketch) EXPECT_OK(nr_sketch_create(1, sketch, &err), &err);
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
        char *colon = strchr(word, ':');
        if (!colon) PARSE_FAIL(parser, "a sketch is key:weight");
        nr_sketch_add(*sketch, nr_slice(word, (size_t)(colon - word)), strtoull(colon + 1, NULL, 10));
    }
}

static void clear_sketches(struct parser *parser)
{
    nr_sketch_destroy(parser->view.writes);
    nr_sketch_destroy(parser->view.reads);
    parser->view.writes = parser->view.reads = NULL;
}

static void end_slot(struct parser *parser)
{
    if (!parser->has_slot) return;
    parser->slots[parser->slot_count++] =
        model_slot_create(parser->level, parser->slot_id, parser->slot_start, parser->slot_end, parser->slot_k,
                          parser->runs, parser->run_count);
    if (parser->level > 0) {
        struct nr_activity_state *state = &parser->slots[parser->slot_count - 1]->activity->state;
        state->mean_write_rate = (double)parser->slot_rate;
        state->wanted_k = parser->slot_wanted;
    }
    parser->run_count = 0;
    parser->has_slot = false;
}

static void end_level(struct parser *parser)
{
    end_slot(parser);
    if (parser->has_level) model_set_level(parser->version, parser->level, parser->slots, parser->slot_count);
    parser->slot_count = 0;
    parser->has_level = false;
}

static void begin_case(struct parser *parser, size_t level_count)
{
    struct nori_error err;
    nr_version_unref(parser->version);
    EXPECT_OK(nr_version_create(level_count, &parser->version, &err), &err);
    parser->view.version = parser->version;
}

static void reset(struct parser *parser, const char *name)
{
    snprintf(parser->name, sizeof parser->name, "%s", name);
    model_options(&parser->options);
    begin_case(parser, 4);
    clear_sketches(parser);
    parser->view = (struct nr_plan_view){.version = parser->version,
                                         .options = &parser->options,
                                         .busy = parser->busy,
                                         .oldest_moment_sequence = NR_MAX_SEQUENCE};
    parser->pending = -1;
}

static void parse_option(struct parser *parser, const char *name, double value)
{
    struct nori_options *options = &parser->options;
    if (!strcmp(name, "l0_max_files"))
        options->l0.max_files = (int64_t)value;
    else if (!strcmp(name, "level1_bytes"))
        options->level1_bytes = (uint64_t)value;
    else if (!strcmp(name, "l1_slot_count"))
        options->l1_slot_count = (int64_t)value;
    else if (!strcmp(name, "table_bytes"))
        options->table_bytes = (uint64_t)value;
    else if (!strcmp(name, "k_global"))
        options->k_global = (int64_t)value;
    else if (!strcmp(name, "fanout"))
        options->fanout = (int64_t)value;
    else if (!strcmp(name, "strategy"))
        options->strategy = (int)value;
    else if (!strcmp(name, "flush_trigger_bytes"))
        options->memtable.flush_trigger_bytes = (uint64_t)value;
    else if (!strcmp(name, "space"))
        options->max_space_amp = value;
    else if (!strcmp(name, "density"))
        options->tombstones.density_threshold = value;
    else
        PARSE_FAIL(parser, "unknown option");
}

static void parse_options(struct parser *parser, char *text)
{
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
        char *equals = strchr(word, '=');
        if (!equals) PARSE_FAIL(parser, "an option is name=number");
        *equals = 0;
        parse_option(parser, word, strtod(equals + 1, NULL));
    }
}

static uint64_t parse_count(const char *text, const char *name, uint64_t otherwise)
{
    const char *found = strstr(text, name);
    return found ? strtoull(found + strlen(name), NULL, 10) : otherwise;
}

static void parse_run(struct parser *parser, char *text)
{
    struct nr_table_slice slices[8];
    nori_slice starts[8];
    struct nr_bound ends[8];
    size_t count = 0;
    struct model_run run = {.run_id = strtoull(text, &text, 10)};
    while (*text == ' ') text++;
    while (*text == '[' && count < 8) {
        parse_range(parser, &text, &starts[count], &ends[count]);
        count++;
    }
    run.bytes = parse_count(text, "bytes=", 100);
    run.entries = parse_count(text, "entries=", 100);
    run.deletes = parse_count(text, "deletes=", 0);
    run.ranges = parse_count(text, "ranges=", 0);
    run.largest_expiry_ms = parse_count(text, "expiry=", 0);
    run.smallest_expiry_ms = parse_count(text, "since=", run.largest_expiry_ms);
    run.lifetime_ms = parse_count(text, "life=", 0);
    run.unexpiring = parse_count(text, "unexpiring=", 0);
    run.fresh = parse_count(text, "fresh=", 0);
    run.file_bytes = parse_count(text, "file=", 0);
    run.smallest_sequence = parse_count(text, "seq=", 1);
    const char *dots = strstr(text, "seq=") ? strstr(strstr(text, "seq="), "..") : NULL;
    run.largest_sequence = dots ? strtoull(dots + 2, NULL, 10) : run.smallest_sequence;
    for (size_t i = 0; i < count; i++) slices[i] = model_slice(&run, ++parser->next_number, starts[i], ends[i], count);
    parser->runs[parser->run_count++] = model_run_create(run.run_id, slices, count);
}

static void parse_slot(struct parser *parser, const char *text)
{
    char *rest;
    end_slot(parser);
    snprintf(parser->slot_text, sizeof parser->slot_text, "%s", text);
    parser->slot_id = strtoull(parser->slot_text, &rest, 10);
    while (*rest == ' ') rest++;
    parse_range(parser, &rest, &parser->slot_start, &parser->slot_end);
    parser->slot_k = (uint32_t)parse_count(rest, "k=", 0);
    parser->slot_rate = parse_count(rest, "rate=", 0);
    parser->slot_wanted = (uint32_t)parse_count(rest, "wanted=", 0);
    parser->has_slot = true;
}

/* Cases name busy slots by their ids. */
static void place_busy(struct parser *parser)
{
    for (size_t i = 0; i < parser->view.busy_count; i++) {
        struct nr_busy_slot *busy = &parser->busy[i];
        const struct nr_level *level = parser->version->levels[busy->level];
        for (size_t j = 0; j < level->slot_count; j++) {
            const struct nr_slot *slot = nr_level_slot(level, j);
            if (slot->slot_id != busy->slot_id) continue;
            busy->start = slot->start;
            busy->end = slot->end;
        }
    }
}

static void check_plan(struct parser *parser, const char *expected)
{
    static struct nr_plan plan;
    char text[1024];
    place_busy(parser);
    nr_planner_choose(&parser->view, &plan);
    model_describe(&plan, text, sizeof text);
    if (strcmp(text, expected) != 0) {
        test_fail(parser->path, parser->line, "case %s: planned \"%s\", expected \"%s\"", parser->name, text, expected);
    }
    if (parser->pending >= 0 && nr_planner_manual_pending(&parser->view) != (parser->pending == 1)) {
        test_fail(parser->path, parser->line, "case %s: pending is not %d", parser->name, parser->pending);
    }
}

static void parse_level(struct parser *parser, const char *text)
{
    end_level(parser);
    parser->level = (uint32_t)strtoul(text, NULL, 10);
    parser->has_level = true;
    if (parser->level == 0) parse_slot(parser, "0 [..)");
}

static void parse_view(struct parser *parser, const char *word, char *text)
{
    struct nr_plan_view *view = &parser->view;
    if (!strcmp(word, "busy")) {
        struct nr_busy_slot *busy = &parser->busy[view->busy_count++];
        busy->level = (uint32_t)strtoul(text, &text, 10);
        busy->slot_id = strtoull(text + 1, NULL, 10);
        nr_busy_sort(parser->busy, view->busy_count);
    } else if (!strcmp(word, "moving")) {
        parser->range.level = (uint32_t)strtoul(text, &text, 10);
        snprintf(parser->range_text, sizeof parser->range_text, "%s", text + 1);
        text = parser->range_text;
        parse_range(parser, &text, &parser->range.start, &parser->range.end);
        view->ranges = &parser->range;
        view->range_count = 1;
    } else if (!strcmp(word, "merging")) {
        view->is_l0_merge_running = true;
        view->l0_merge_newest_id = strtoull(text, &text, 10);
        view->l0_merge_oldest_id = strtoull(text + 2, NULL, 10);
    } else if (!strcmp(word, "manual")) {
        char *range = parser->manual;
        snprintf(parser->manual, sizeof parser->manual, "%s", text);
        view->is_manual = true;
        parse_range(parser, &range, &view->manual_start, &view->manual_end);
    } else if (!strcmp(word, "unsplittable")) {
        parser->unsplittable = strtoull(text, NULL, 10);
        view->unsplittable = &parser->unsplittable;
        view->unsplittable_count = 1;
    } else if (!strcmp(word, "written"))
        parse_sketch(parser, text, &view->writes);
    else if (!strcmp(word, "read"))
        parse_sketch(parser, text, &view->reads);
    else if (!strcmp(word, "unreferenced"))
        view->unreferenced_bytes = strtoull(text, NULL, 10);
    else if (!strcmp(word, "oldest"))
        view->oldest_moment_sequence = strtoull(text, NULL, 10);
    else if (!strcmp(word, "now"))
        view->now_ms = strtoull(text, NULL, 10);
    else if (!strcmp(word, "pending"))
        parser->pending = atoi(text);
    else
        PARSE_FAIL(parser, "unknown line");
}

static void parse_line(struct parser *parser, char *line)
{
    char *text = line + strcspn(line, " ");
    if (*text) *text++ = 0;
    while (*text == ' ') text++;
    if (!strcmp(line, "case"))
        reset(parser, text);
    else if (!strcmp(line, "options"))
        parse_options(parser, text);
    else if (!strcmp(line, "levels"))
        begin_case(parser, strtoul(text, NULL, 10));
    else if (!strcmp(line, "level"))
        parse_level(parser, text);
    else if (!strcmp(line, "slot"))
        parse_slot(parser, text);
    else if (!strcmp(line, "run"))
        parse_run(parser, text);
    else if (!strcmp(line, "=>")) {
        end_level(parser);
        check_plan(parser, text);
    } else
        parse_view(parser, line, text);
}

static void run_file(const char *path)
{
    static struct parser parser;
    char line[512];
    FILE *file = fopen(path, "r");
    EXPECT(file);
    memset(&parser, 0, sizeof parser);
    parser.path = path;
    while (fgets(line, sizeof line, file)) {
        parser.line++;
        line[strcspn(line, "#\n")] = 0;
        size_t size = strlen(line);
        while (size > 0 && line[size - 1] == ' ') line[--size] = 0;
        if (size > 0) parse_line(&parser, line);
    }
    fclose(file);
    clear_sketches(&parser);
    nr_version_unref(parser.version);
}

TEST(every_case_of_the_tables_gives_its_plan)
{
    char directory[512], path[1024];
    const char *data = getenv("NR_TEST_DATA");
    size_t files = 0;
    snprintf(directory, sizeof directory, "%s/planner", data ? data : "data");
    DIR *dir = opendir(directory);
    EXPECT(dir);
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        if (!strstr(entry->d_name, ".txt")) continue;
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        run_file(path);
        files++;
    }
    closedir(dir);
    EXPECT(files > 0);
}

/* ---------------------------------------------------------------- sizes */

static struct nr_version *tree_with_bytes(const uint64_t *level_bytes, size_t level_count)
{
    struct nori_error err;
    struct nr_version *version = NULL;
    EXPECT_OK(nr_version_create(level_count, &version, &err), &err);
    for (uint32_t level = 1; level < level_count; level++) {
        if (level_bytes[level] == 0) continue;
        struct model_run model = {.bytes = level_bytes[level], .entries = 1};
        struct nr_table_slice slice = model_slice(&model, level, nr_slice_text("a"), nr_bound_infinite(), 1);
        struct nr_run *run = model_run_create(level, &slice, 1);
        struct nr_slot *slot = model_slot_create(level, level, nr_slice_text(""), nr_bound_infinite(), 0, &run, 1);
        model_set_level(version, level, &slot, 1);
    }
    return version;
}

TEST(level_targets_derive_from_the_bottom)
{
    struct nori_options options;
    model_options(&options);
    struct nr_version *version = tree_with_bytes((uint64_t[]){0, 4000, 0, 9000000, 0}, 5);
    EXPECT_EQ(nr_planner_level_target(version, &options, 1), 90000);
    EXPECT_EQ(nr_planner_level_target(version, &options, 2), 900000);
    EXPECT_EQ(nr_planner_level_target(version, &options, 3), 900000); /* Above it hands down to level 4. */
    nr_version_unref(version);
    version = tree_with_bytes((uint64_t[]){0, 4000, 100, 0}, 4);
    EXPECT_EQ(nr_planner_level_target(version, &options, 1), 4000);
    EXPECT_EQ(nr_planner_level_target(version, &options, 2), 40000);
    nr_version_unref(version);
    version = tree_with_bytes((uint64_t[]){0, 0, 0, 9000000}, 4);
    EXPECT_EQ(nr_planner_level_target(version, &options, 3), 9000000); /* The last level takes whatever comes. */
    nr_version_unref(version);
}

TEST(k_is_the_strategys_or_what_was_decided_for_the_slot)
{
    struct nori_options options;
    model_options(&options);
    struct nr_version *version = tree_with_bytes((uint64_t[]){0, 10, 10, 0}, 4);
    struct nr_slot *slot = nr_level_slot(version->levels[1], 0);
    EXPECT_EQ(nr_planner_slot_k(&options, slot), 4); /* Not decided. */
    slot->k_max = 2;
    EXPECT_EQ(nr_planner_slot_k(&options, slot), 2);
    slot->k_max = 9;
    EXPECT_EQ(nr_planner_slot_k(&options, slot), 4);
    options.strategy = NORI_STRATEGY_LEVELED;
    EXPECT_EQ(nr_planner_slot_k(&options, slot), 1);
    options.strategy = NORI_STRATEGY_TIERED;
    slot->k_max = 1;
    EXPECT_EQ(nr_planner_slot_k(&options, slot), 4);
    nr_version_unref(version);
}

/* Only the last slots of a large level have shrunk. */
TEST(guards_of_a_large_level_are_looked_at_part_by_part)
{
    enum { COUNT = 3000, SMALL = 20 };
    static char keys[COUNT][8];
    static struct nr_slot *slots[COUNT];
    struct nori_error err;
    struct nori_options options;
    struct nr_version *version;
    struct nr_sketch *writes;
    size_t found = 0, tries = 200;
    model_options(&options);
    EXPECT_OK(nr_version_create(2, &version, &err), &err);
    EXPECT_OK(nr_sketch_create(1, &writes, &err), &err);
    nr_sketch_add(writes, nr_slice_text("00000"), 2 * options.level1_bytes);
    for (size_t i = 0; i < COUNT; i++) snprintf(keys[i], sizeof keys[i], "%05zu", i);
    keys[0][0] = 0;
    for (size_t i = 0; i < COUNT; i++)
        slots[i] = model_slot_of(1, i + 10, keys[i], i + 1 < COUNT ? keys[i + 1] : NULL, i < COUNT - SMALL ? 900 : 10);
    model_set_level(version, 1, slots, COUNT);
    struct nr_plan_view view = {.version = version, .options = &options, .oldest_moment_sequence = NR_MAX_SEQUENCE};
    view.writes = writes;
    for (size_t i = 0; i < tries; i++) {
        struct nr_plan plan;
        view.random = i * 37;
        nr_planner_choose(&view, &plan);
        if (plan.action == NR_ACTION_NONE) continue;
        EXPECT_EQ(plan.action, NR_ACTION_JOIN);
        EXPECT(nr_slice_compare(plan.start, nr_slice_text(keys[COUNT - SMALL])) >= 0);
        found++;
    }
    EXPECT(found > 0 && found < tries);
    nr_sketch_destroy(writes);
    nr_version_unref(version);
}

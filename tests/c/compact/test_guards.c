/* Cases stand in tests/c/data/guards: slots and what is done with them, samples and the keys chosen.
 *
 *     case NAME
 *     share BYTES HEAT
 *     slot bytes=N heat=X skew=X fixed busy         in key order
 *     => join FIRST..LAST | cut SLOT PARTS | none    the first that is to be done
 *
 *     slot START END                                 where samples are: its bounds
 *     samples KEY:BYTES ...    reads KEY:WEIGHT ...    uniform SMALLEST LARGEST    parts N
 *     => KEY ... | none                              the guards */
#include "compact/guards.h"

#include <dirent.h>

#include "base/random.h"
#include "harness.h"

#define MAX_SLOTS 32
#define MAX_SAMPLES 64

struct parser {
    const char *path;
    int line;
    char name[80];
    struct nr_guard_share share;
    struct nr_guard_slot slots[MAX_SLOTS];
    size_t slot_count;
    char start[32], end[32], smallest[32], largest[32];
    char keys[MAX_SAMPLES][32];
    struct nr_guard_sample samples[MAX_SAMPLES];
    size_t sample_count, parts;
    struct nr_sketch *reads;
};

static struct nori_error err;

static void reset(struct parser *parser, const char *name)
{
    const char *path = parser->path;
    int line = parser->line;
    nr_sketch_destroy(parser->reads);
    memset(parser, 0, sizeof *parser);
    parser->path = path;
    parser->line = line;
    snprintf(parser->name, sizeof parser->name, "%s", name);
}

static double parse_number(const char *text, const char *name)
{
    const char *found = strstr(text, name);
    return found ? strtod(found + strlen(name), NULL) : 0;
}

static void parse_slot(struct parser *parser, const char *text)
{
    static const char keys[] = "abcdefghijklmnopqrstuvwxyz";
    if (!strchr(text, '=')) {
        EXPECT(sscanf(text, "%31s %31s", parser->start, parser->end) == 2);
        return;
    }
    size_t i = parser->slot_count++;
    parser->slots[i] = (struct nr_guard_slot){
        .start = nr_slice(keys + i, 1),
        .end = nr_bound_key(nr_slice(keys + i + 1, 1)),
        .bytes = (uint64_t)parse_number(text, "bytes="),
        .heat = parse_number(text, "heat="),
        .skew = parse_number(text, "skew="),
        .is_fixed = strstr(text, "fixed"),
        .is_busy = strstr(text, "busy"),
    };
}

static void parse_pairs(struct parser *parser, char *text, bool is_read)
{
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
        char *colon = strchr(word, ':');
        EXPECT(colon);
        *colon = 0;
        uint64_t number = strtoull(colon + 1, NULL, 10);
        if (is_read) {
            nr_sketch_add(parser->reads, nr_slice_text(word), number);
            continue;
        }
        char *key = parser->keys[parser->sample_count];
        snprintf(key, sizeof parser->keys[0], "%s", word);
        parser->samples[parser->sample_count++] = (struct nr_guard_sample){nr_slice_text(key), number, 0};
    }
}

static void decide(struct parser *parser, char *text, size_t capacity)
{
    struct nr_guard_group group = {0};
    size_t first = 0;
    for (size_t i = 0; i < parser->slot_count; i++) {
        size_t parts = nr_guards_parts(&parser->slots[i], &parser->share);
        if (parts > 0) {
            snprintf(text, capacity, "cut %zu %zu", i, parts);
            return;
        }
    }
    for (size_t i = 0; i < parser->slot_count; i++) {
        if (nr_guards_extend(&group, &parser->slots[i], &parser->share)) continue;
        if (group.count > 1) break;
        first = i;
        (void)nr_guards_begin(&group, &parser->slots[i], &parser->share);
    }
    snprintf(text, capacity, "none");
    if (group.count < 2) return;
    EXPECT(nr_slice_equal(group.start, parser->slots[first].start));
    EXPECT(nr_bound_compare(group.end, parser->slots[first + group.count - 1].end) == 0);
    snprintf(text, capacity, "join %zu..%zu", first, first + group.count - 1);
}

static void choose(struct parser *parser, char *text, size_t capacity)
{
    nori_slice guards[NR_GUARDS_MAX_PARTS];
    uint8_t memory[NR_GUARDS_MAX_PARTS * 64];
    nori_slice smallest = nr_slice_text(parser->smallest), largest = nr_slice_text(parser->largest);
    size_t count, used = 0;
    if (largest.size > 0) {
        EXPECT(nr_guards_uniform_bytes(smallest, largest) <= 64);
        count = nr_guards_uniform(smallest, largest, parser->parts, memory, guards);
    } else {
        struct nr_bound end = *parser->end ? nr_bound_key(nr_slice_text(parser->end)) : nr_bound_infinite();
        nr_guards_weigh(parser->samples, parser->sample_count, nr_slice_text(parser->start), end, parser->reads);
        count = nr_guards_cut(parser->samples, parser->sample_count, parser->parts, guards);
    }
    snprintf(text, capacity, "none");
    for (size_t i = 0; i < count; i++) {
        if (i > 0) used += (size_t)snprintf(text + used, capacity - used, " ");
        for (size_t j = 0; j < guards[i].size; j++) {
            uint8_t byte = guards[i].data[j];
            used += (size_t)snprintf(text + used, capacity - used, byte < 0x7f ? "%c" : "\\x%02x", byte);
        }
    }
}

static void parse_line(struct parser *parser, char *line)
{
    char result[512], *text = line + strcspn(line, " ");
    if (*text) *text++ = 0;
    if (!strcmp(line, "case"))
        reset(parser, text);
    else if (!strcmp(line, "share"))
        EXPECT(sscanf(text, "%" SCNu64 " %lf", &parser->share.bytes, &parser->share.heat) == 2);
    else if (!strcmp(line, "slot"))
        parse_slot(parser, text);
    else if (!strcmp(line, "samples"))
        parse_pairs(parser, text, false);
    else if (!strcmp(line, "reads")) {
        EXPECT_OK(nr_sketch_create(1, &parser->reads, &err), &err);
        parse_pairs(parser, text, true);
    } else if (!strcmp(line, "uniform"))
        EXPECT(sscanf(text, "%31s %31s", parser->smallest, parser->largest) == 2);
    else if (!strcmp(line, "parts"))
        parser->parts = strtoul(text, NULL, 10);
    else if (!strcmp(line, "=>")) {
        if (parser->parts > 0)
            choose(parser, result, sizeof result);
        else
            decide(parser, result, sizeof result);
        if (strcmp(result, text) != 0)
            test_fail(parser->path, parser->line, "case %s: \"%s\", expected \"%s\"", parser->name, result, text);
    } else
        FAIL("%s:%d: unknown line", parser->path, parser->line);
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
    nr_sketch_destroy(parser.reads);
}

TEST(every_case_of_the_tables_gives_its_guards)
{
    char directory[512], path[1024];
    const char *data = getenv("NR_TEST_DATA");
    size_t files = 0;
    snprintf(directory, sizeof directory, "%s/guards", data ? data : "data");
    DIR *dir = opendir(directory);
    EXPECT(dir);
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        if (!strstr(entry->d_name, ".txt")) continue;
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        run_file(path);
        files++;
    }
    closedir(dir);
    EXPECT(files == 2);
}

/* Whatever the numbers: what was joined is not cut, and the parts of a cut are not joined again. */
TEST(cuts_and_joins_never_undo_each_other)
{
    struct nr_random random;
    nr_random_init(&random, 1);
    for (int round = 0; round < 20000; round++) {
        struct nr_guard_share share = {1 + nr_random_below(&random, 5000), nr_random_unit(&random)};
        struct nr_guard_group group = {0};
        struct nr_guard_slot slot = {0};
        for (int i = 0; i < 8; i++) {
            slot.bytes = nr_random_below(&random, share.bytes / 3 + 1);
            slot.heat = nr_random_unit(&random) * share.heat / 3;
            if (!nr_guards_extend(&group, &slot, &share) && group.count < 2)
                (void)nr_guards_begin(&group, &slot, &share);
        }
        struct nr_guard_slot joined = {.bytes = group.bytes, .heat = group.heat, .skew = 1};
        if (group.count > 1) EXPECT_EQ(nr_guards_parts(&joined, &share), 0);
        /* A cut by bytes. */
        slot.bytes = nr_random_below(&random, share.bytes * 100);
        size_t parts = nr_guards_parts(&slot, &share);
        if (parts == 0 || parts == NR_GUARDS_MAX_PARTS) continue;
        struct nr_guard_slot part = {.bytes = slot.bytes / parts};
        EXPECT(!nr_guards_begin(&group, &part, &share));
        /* One for heat, into equal work: cold bytes and hot reads apart. */
        slot = (struct nr_guard_slot){.bytes = share.bytes, .heat = share.heat, .skew = 1};
        EXPECT_EQ(nr_guards_parts(&slot, &share), share.heat >= NR_GUARDS_LEAST_HEAT ? 2 : 0);
        double bytes = nr_random_unit(&random), heat = 1 - bytes;
        struct nr_guard_slot left = {.bytes = (uint64_t)(bytes * (double)share.bytes), .heat = heat * share.heat};
        struct nr_guard_slot right = {.bytes = share.bytes - left.bytes, .heat = share.heat - left.heat};
        if (nr_guards_begin(&group, &left, &share)) EXPECT(!nr_guards_extend(&group, &right, &share));
    }
}

/* Runs the kept inputs: replay corpus [target]. Any compiler, no fuzzer. The folders of 'corpus' are named as targets.
 */
#include "fuzz.h"

#include <dirent.h>

#define PATH_BYTES 1024
#define MAX_INPUT_BYTES (4u << 20)

static void replay_file(const struct fuzz_target *target, const char *path)
{
    uint8_t *data = malloc(MAX_INPUT_BYTES);
    FILE *file = fopen(path, "rb");
    FUZZ_EXPECT(data && file);
    size_t size = fread(data, 1, MAX_INPUT_BYTES, file);
    FUZZ_EXPECT(size < MAX_INPUT_BYTES);
    fclose(file);
    /* Exactly as long, so that a read beyond the end is one. */
    uint8_t *exact = malloc(size > 0 ? size : 1);
    FUZZ_EXPECT(exact);
    memcpy(exact, data, size);
    free(data);
    fuzz_run(target, nr_slice(exact, size));
    free(exact);
}

static int replay_target(const struct fuzz_target *target, const char *corpus)
{
    char folder[PATH_BYTES], path[2 * PATH_BYTES];
    const struct dirent *entry;
    int count = 0;
    snprintf(folder, sizeof folder, "%s/%s", corpus, target->name);
    DIR *directory = opendir(folder);
    if (!directory) return 0;
    while ((entry = readdir(directory))) {
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (getenv("NR_FUZZ_VERBOSE")) fprintf(stderr, "%s\n", path);
        replay_file(target, path);
        count++;
    }
    closedir(directory);
    return count;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s corpus [target]\n", argv[0]);
        return 2;
    }
    for (const struct fuzz_target *target = fuzz_targets; target->name; target++) {
        if (argc > 2 && strcmp(argv[2], target->name) != 0) continue;
        int count = replay_target(target, argv[1]);
        printf("fuzz %s: %d inputs\n", target->name, count);
        if (count == 0) return 1; /* A target without a corpus proves nothing. */
    }
    return 0;
}

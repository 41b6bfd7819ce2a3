/* Options as the manifest keeps them: lines of name=value. What is accepted has a text form that gives the same. */
#include "fuzz.h"

#define LINE_BYTES 1024

static void set_again(void *arg, const char *name, const char *value)
{
    struct nori_error err;
    FUZZ_EXPECT_OK(nori_options_set(arg, name, value, &err), &err);
}

struct text {
    char bytes[8192];
    size_t size;
};

static void append(void *arg, const char *name, const char *value)
{
    struct text *text = arg;
    int size = snprintf(text->bytes + text->size, sizeof text->bytes - text->size, "%s=%s\n", name, value);
    FUZZ_EXPECT(size > 0 && (size_t)size < sizeof text->bytes - text->size);
    text->size += (size_t)size;
}

static void apply_line(struct nori_options *options, nori_slice line)
{
    char name[LINE_BYTES];
    struct nori_error err;
    if (line.size >= sizeof name) return;
    if (line.size > 0) memcpy(name, line.data, line.size);
    name[line.size] = 0;
    char *value = strchr(name, '=');
    if (!value) return;
    *value++ = 0;
    nori_status rc = nori_options_set(options, name, value, &err);
    FUZZ_EXPECT(rc == NORI_OK || rc == NORI_INVALID);
}

void fuzz_options(nori_slice input)
{
    struct nori_options options, again;
    struct nori_error err;
    struct text text = {.size = 0}, text_again = {.size = 0};

    nori_options_init(&options);
    for (size_t at = 0; at < input.size;) {
        const uint8_t *end = memchr(input.data + at, '\n', input.size - at);
        size_t size = end ? (size_t)(end - input.data) - at : input.size - at;
        apply_line(&options, nr_slice(input.data + at, size));
        at += size + 1;
    }
    nori_options_init(&again);
    nori_options_each(&options, set_again, &again);
    nori_options_each(&options, append, &text);
    nori_options_each(&again, append, &text_again);
    FUZZ_EXPECT(strcmp(text.bytes, text_again.bytes) == 0);
    FUZZ_EXPECT(nori_options_check(&options, &err) == nori_options_check(&again, &err));
}

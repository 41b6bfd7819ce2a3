/* Code that is not the engine's, run in the middle of a call: interrupt hooks and progress functions. The call does not
 * count as inside meanwhile, so another thread that the code waits for may close the engine. */
#include "fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define KEYS 2000

struct scene {
    char path[64];
    struct nori_engine *engine;
    struct nori_engine *again; /* Opened in the middle of the call, once the first was closed. */
    nori_status close_status, open_status;
    int asked;
};

static void *close_in_thread(void *arg)
{
    struct scene *scene = arg;
    scene->close_status = nori_close(scene->engine, NULL);
    return NULL;
}

/* Waits for another thread that closes the engine; its lock is free then. */
static int let_another_close(void *arg)
{
    struct scene *scene = arg;
    pthread_t thread;
    if (scene->asked++ > 0) return 0;
    EXPECT_EQ(pthread_create(&thread, NULL, close_in_thread, scene), 0);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    scene->open_status = open_small(NULL, scene->path, &scene->again, NULL);
    return 0;
}

static int let_another_close_at(void *arg, const struct nori_progress *progress)
{
    (void)progress;
    return let_another_close(arg);
}

static int close_itself(void *arg)
{
    struct scene *scene = arg;
    if (scene->asked++ == 0) close_in_thread(scene);
    return 0;
}

static void begin(struct scene *scene)
{
    char key[32], value[64];
    struct nori_error error;
    *scene = (struct scene){.close_status = NORI_AGAIN};
    snprintf(scene->path, sizeof scene->path, "/tmp/nori-outside-XXXXXX");
    EXPECT(mkdtemp(scene->path) != NULL);
    EXPECT_OK(open_small(NULL, scene->path, &scene->engine, &error), &error);
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "key%06d", i);
        snprintf(value, sizeof value, "value%d of some length", i);
        EXPECT_OK(put_text(scene->engine, key, value, &error), &error);
    }
    EXPECT_OK(nori_flush(scene->engine, &error), &error);
    EXPECT_OK(put_text(scene->engine, "last", "unflushed", &error), &error);
    usleep(110000); /* The hook of the test before may have the same address: this one is due all the same. */
}

static void end(struct scene *scene)
{
    char command[192];
    struct nori_error error;
    nori_set_interrupt(NULL, NULL);
    EXPECT(scene->asked > 0);
    EXPECT_EQ(scene->close_status, NORI_OK);
    nori_destroy(scene->engine);
    if (!scene->again) {
        EXPECT_OK(open_small(NULL, scene->path, &scene->again, &error), &error);
    } else {
        EXPECT_EQ(scene->open_status, NORI_OK);
    }
    EXPECT_VALUE(scene->again, NULL, "key000007", "value7 of some length");
    EXPECT_VALUE(scene->again, NULL, "last", "unflushed");
    expect_sound(scene->again);
    EXPECT_OK(nori_close(scene->again, &error), &error);
    nori_destroy(scene->again);
    snprintf(command, sizeof command, "rm -rf '%s' '%s-copy'", scene->path, scene->path);
    EXPECT_EQ(system(command), 0);
}

TEST(a_hook_in_a_count_may_wait_for_a_thread_that_closes)
{
    struct scene scene;
    uint64_t count;
    begin(&scene);
    nori_set_interrupt(let_another_close, &scene);
    EXPECT_EQ(nori_count(scene.engine, NULL, &count, NULL), NORI_CLOSED);
    end(&scene);
}

TEST(a_hook_in_a_count_may_close)
{
    struct scene scene;
    uint64_t count;
    begin(&scene);
    nori_set_interrupt(close_itself, &scene);
    EXPECT_EQ(nori_count(scene.engine, NULL, &count, NULL), NORI_CLOSED);
    end(&scene);
}

TEST(a_hook_in_a_scan_may_wait_for_a_thread_that_closes)
{
    struct scene scene;
    struct nori_scan *scan = NULL, *other = NULL;
    const struct nori_entry *entries;
    struct nori_scan_params params = {.limit = UINT64_MAX};
    struct nori_error error;
    uint64_t left;
    size_t count;
    begin(&scene);
    EXPECT_OK(nori_scan_open(scene.engine, &params, &scan, &error), &error);
    EXPECT_OK(nori_scan_open(scene.engine, &params, &other, &error), &error);
    EXPECT_OK(nori_scan_next(scan, 10, SIZE_MAX, &entries, &count, &error), &error);
    EXPECT_OK(nori_scan_next(other, 10, SIZE_MAX, &entries, &count, &error), &error);
    nori_set_interrupt(let_another_close, &scene);
    EXPECT_EQ(nori_scan_count(scan, &left, NULL), NORI_CLOSED);
    nori_set_interrupt(NULL, NULL);
    EXPECT_EQ(nori_scan_next(other, 10, SIZE_MAX, &entries, &count, NULL), NORI_CLOSED);
    nori_scan_destroy(scan);
    nori_scan_destroy(other);
    end(&scene);
}

static bool take_nothing(void *arg, size_t index, nori_slice value)
{
    (void)arg;
    (void)index;
    (void)value;
    return true;
}

TEST(a_hook_in_get_many_may_wait_for_a_thread_that_closes)
{
    struct scene scene;
    nori_slice keys[2] = {nr_slice_text("key000001"), nr_slice_text("key000002")};
    begin(&scene);
    nori_set_interrupt(let_another_close, &scene);
    EXPECT_EQ(nori_get_many(scene.engine, NULL, keys, 2, 0, take_nothing, NULL, NULL), NORI_CLOSED);
    end(&scene);
}

TEST(progress_functions_may_wait_for_a_thread_that_closes)
{
    struct scene scene;
    struct nori_verify_report report;
    struct nori_checkpoint checkpoint;
    char copy[128];
    begin(&scene);
    EXPECT_EQ(nori_verify(scene.engine, let_another_close_at, &scene, &report, NULL), NORI_CLOSED);
    end(&scene);

    begin(&scene);
    snprintf(copy, sizeof copy, "%s-copy", scene.path);
    EXPECT_EQ(nori_checkpoint(scene.engine, copy, let_another_close_at, &scene, &checkpoint, NULL), NORI_CLOSED);
    EXPECT(access(copy, F_OK) != 0);
    end(&scene);

    begin(&scene);
    EXPECT_EQ(nori_compact(scene.engine, NULL, NULL, let_another_close_at, &scene, NULL), NORI_CLOSED);
    end(&scene);
}

struct nested {
    struct scene *scene;
    uint64_t count;
};

static int count_inside(void *arg)
{
    struct nested *nested = arg;
    if (nested->scene->asked > 0) return 0;
    nori_set_interrupt(let_another_close, nested->scene);
    EXPECT_EQ(nori_count(nested->scene->engine, NULL, &nested->count, NULL), NORI_CLOSED);
    return 0;
}

TEST(calls_of_the_hook_itself_may_be_left_in_the_same_way)
{
    struct scene scene;
    struct nested nested = {&scene, 0};
    uint64_t count;
    begin(&scene);
    nori_set_interrupt(count_inside, &nested);
    EXPECT_EQ(nori_count(scene.engine, NULL, &count, NULL), NORI_CLOSED);
    end(&scene);
}

static int close_while_closing(void *arg)
{
    struct scene *scene = arg;
    if (scene->asked++ == 0) EXPECT_EQ(nori_close(scene->engine, NULL), NORI_OK);
    return 0;
}

struct counting {
    struct scene *scene;
    _Atomic bool is_asked, may_end;
};

static int hold_on(void *arg)
{
    struct counting *counting = arg;
    atomic_store(&counting->is_asked, true);
    while (!atomic_load(&counting->may_end)) usleep(1000);
    return 0;
}

static void *count_slowly(void *arg)
{
    struct counting *counting = arg;
    uint64_t count;
    nori_set_interrupt(hold_on, counting);
    EXPECT_EQ(nori_count(counting->scene->engine, NULL, &count, NULL), NORI_CLOSED);
    nori_set_interrupt(NULL, NULL);
    return NULL;
}

TEST(close_does_not_wait_for_a_hook_and_memory_goes_with_the_last_call)
{
    struct scene scene;
    struct counting counting = {.scene = &scene};
    pthread_t thread;
    begin(&scene);
    EXPECT_EQ(pthread_create(&thread, NULL, count_slowly, &counting), 0);
    while (!atomic_load(&counting.is_asked)) usleep(1000);
    EXPECT_EQ(nori_close(scene.engine, NULL), NORI_OK);
    EXPECT(nori_is_closed(scene.engine));
    EXPECT_EQ(open_small(NULL, scene.path, &scene.again, NULL), NORI_OK);
    atomic_store(&counting.may_end, true);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    scene.asked = 1;
    scene.close_status = NORI_OK;
    end(&scene);
}

struct put_call {
    struct scene *scene;
    _Atomic bool is_over;
};

static void *put_for_a_while(void *arg)
{
    struct put_call *call = arg;
    char value[3000];
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = 0;
    while (put_text(call->scene->engine, "busy", value, NULL) == NORI_OK) continue;
    atomic_store(&call->is_over, true);
    return NULL;
}

TEST(a_hook_of_close_may_close)
{
    struct scene scene;
    struct put_call call = {.scene = &scene};
    pthread_t thread;
    begin(&scene);
    EXPECT_EQ(pthread_create(&thread, NULL, put_for_a_while, &call), 0);
    usleep(20000);
    nori_set_interrupt(close_while_closing, &scene);
    EXPECT_EQ(nori_close(scene.engine, NULL), NORI_OK);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    EXPECT(atomic_load(&call.is_over));
    scene.asked++; /* Nobody may have been inside at that moment. */
    scene.close_status = NORI_OK;
    end(&scene);
}

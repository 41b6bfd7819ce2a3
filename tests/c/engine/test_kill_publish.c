/* Killed at a publication. A mapped log is written by stores, which no tracer of system calls sees; so the
 * environment's publish is put in the place of itself by one that kills its process at the n-th, before it, in the
 * middle of its bytes, or behind it. A child runs the script; its model lies in memory that the parent shares. */
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/env.h"
#include "script.h"

static struct nori_error err;

/* How much of a publication's bytes are stored before the kill. */
enum moment { BEFORE, FIRST_BYTE, HALF, ALL_BUT_ONE, BEHIND, MOMENTS };

/* ---------------------------------------------------------------- the environment */

static struct nr_env_ops killing_ops;
static struct nori_env killing_env;
static _Atomic uint64_t publications;
static uint64_t kill_at; /* 0: never. */
static enum moment kill_moment;

static nori_status publish_and_die(struct nr_log *log, uint64_t offset, nori_slice first, nori_slice second,
                                   struct nori_error *error)
{
    const struct nr_env_ops *real = nori_env_default()->ops;
    size_t size = first.size + second.size;
    size_t parts[MOMENTS] = {0, NR_MIN(size, (size_t)1), size / 2, size > 0 ? size - 1 : 0, size};
    if (atomic_fetch_add(&publications, 1) + 1 != kill_at) return real->log_publish(log, offset, first, second, error);
    size_t left = parts[kill_moment];
    nori_slice some = nr_slice(first.data, NR_MIN(first.size, left));
    nori_status rc = real->log_publish(log, offset, some, nr_slice(second.data, left - some.size), error);
    if (rc == NORI_OK) kill(getpid(), SIGKILL);
    return rc;
}

static void arm(uint64_t nth, enum moment moment)
{
    killing_ops = *nori_env_default()->ops;
    killing_ops.log_publish = publish_and_die;
    killing_env.ops = &killing_ops;
    kill_at = nth;
    kill_moment = moment;
    atomic_store(&publications, 0);
}

/* ---------------------------------------------------------------- the child */

static struct nori_engine *open_with(struct nori_env *env, const char *path, bool is_mapped)
{
    struct nori_override mapped = {"wal.mapped", is_mapped ? "true" : "false"};
    struct nori_options options = small_options();
    struct nori_open_params params = {.options = &options, .overrides = &mapped, .override_count = 1, .env = env};
    struct nori_engine *engine;
    EXPECT_OK(nori_open(path, &params, &engine, &err), &err);
    return engine;
}

static void run_script(const char *path, bool is_mapped, struct model *model)
{
    struct nori_engine *engine = open_with(&killing_env, path, is_mapped);
    for (int step = 0; step < SCRIPT_STEPS; step++) EXPECT_OK(script_step(engine, model, step, &err), &err);
    EXPECT_OK(nori_close(engine, &err), &err);
    nori_destroy(engine);
}

/* Whether the child was killed; else it came to the script's end. */
static bool run_child(const char *path, bool is_mapped, struct model *model)
{
    int status;
    fflush(NULL);
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        alarm(60);
        run_script(path, is_mapped, model);
        _exit(0);
    }
    EXPECT_EQ(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status)) {
        EXPECT_EQ(WTERMSIG(status), SIGKILL);
        return true;
    }
    EXPECT_EQ(WEXITSTATUS(status), 0);
    return false;
}

/* ---------------------------------------------------------------- the parent */

static void remove_tree(const char *path)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    EXPECT_EQ(system(command), 0);
}

/* What was acknowledged is there, at most the step under way besides; then the log goes on. */
static void judge(const char *path, bool is_mapped, struct model *model, uint64_t nth)
{
    struct stat status;
    char current[96];
    snprintf(current, sizeof current, "%s/CURRENT", path);
    if (stat(current, &status) != 0) {
        EXPECT_EQ(model->acknowledged, 0);
        return;
    }
    struct nori_engine *engine = open_with(NULL, path, is_mapped);
    int found = model_find(engine, model, model->acknowledged);
    if (found < 0) {
        model_describe(engine, &model->states[model->acknowledged]);
        FAIL("killed at publication %" PRIu64 ", moment %d: no state from %d on", nth, kill_moment,
             model->acknowledged);
    }
    expect_sound(engine);
    EXPECT_OK(put_text(engine, "later", "it goes on", &err), &err);
    EXPECT_OK(nori_close(engine, &err), &err);
    nori_destroy(engine);
}

/* One child killed at a publication, and what it leaves. False once the script comes to its end before that. */
static bool kill_and_judge(const char *folder, bool is_mapped, struct model *model, uint64_t nth, enum moment moment)
{
    char path[64];
    snprintf(path, sizeof path, "%s/db", folder);
    memset(model, 0, sizeof *model);
    model->count = 1;
    arm(nth, moment);
    bool was_killed = run_child(path, is_mapped, model);
    judge(path, is_mapped, model, nth);
    remove_tree(path);
    return was_killed;
}

/* Every 'stride'-th publication, at one of the moments; with NR_KILL_ALL every one, at all of them. */
static void kill_at_publications(bool is_mapped, uint64_t stride)
{
    /* A kill spares the page cache, so a disk in memory does as well. */
    char folder[40];
    snprintf(folder, sizeof folder, "%s/nori_kill_XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    struct model *model = mmap(NULL, sizeof *model, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bool takes_all = getenv("NR_KILL_ALL") != NULL, was_killed = true;
    uint64_t kills = 0, nth = 1;

    EXPECT(model != MAP_FAILED && mkdtemp(folder));
    if (takes_all) stride = 1;
    for (; was_killed; nth += stride) {
        unsigned first = (unsigned)(nth / stride % MOMENTS), last = takes_all ? first + MOMENTS - 1 : first;
        for (unsigned moment = first; moment <= last && was_killed; moment++) {
            was_killed = kill_and_judge(folder, is_mapped, model, nth, (enum moment)(moment % MOMENTS));
            kills += was_killed;
        }
    }
    /* The script has some 200 writes. */
    EXPECT(nth > 150);
    if (takes_all) fprintf(stderr, "%" PRIu64 " kills at %" PRIu64 " publications\n", kills, nth - 2);
    munmap(model, sizeof *model);
    remove_tree(folder);
}

TEST(killed_at_any_publication_of_a_mapped_log_leaves_what_was_acknowledged)
{
    kill_at_publications(true, 7);
}

TEST(killed_at_any_publication_of_a_written_log_leaves_what_was_acknowledged)
{
    kill_at_publications(false, 23);
}

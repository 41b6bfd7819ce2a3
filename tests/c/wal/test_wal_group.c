/* What happens while a sync of the log is under way: the disk's own log_sync, with something before and behind it. */
#include <pthread.h>

#include "fixture.h"
#include "wal/wal_internal.h"

static struct fixture *watched;
static struct nr_env_ops ops;
static nori_status (*sync_of_disk)(struct nr_log *log, struct nori_error *err);

static void watch(struct fixture *f, nori_status (*sync)(struct nr_log *log, struct nori_error *err))
{
    watched = f;
    ops = *f->env->ops;
    sync_of_disk = ops.log_sync;
    ops.log_sync = sync;
    f->env->ops = &ops;
}

static nori_status sync_then_append(struct nr_log *log, struct nori_error *err)
{
    struct nori_error own;
    nori_status rc = sync_of_disk(log, err);
    if (rc == NORI_OK) EXPECT_OK(fixture_append_size(watched, 100, &own), &own);
    return rc;
}

TEST(a_sync_speaks_for_what_was_complete_when_it_began)
{
    struct fixture f;
    struct nori_error err;
    struct nr_wal_log log;
    fixture_init_sim(&f, 1, true, false);
    EXPECT_OK(fixture_open(&f, &err), &err);
    EXPECT_OK(fixture_append_size(&f, 100, &err), &err);
    struct nr_position first = f.end;
    watch(&f, sync_then_append);
    EXPECT_OK(nr_wal_sync(f.wal, first, &(bool){false}, &err), &err);
    EXPECT(nr_position_compare(f.end, first) > 0);
    EXPECT(nr_position_compare(nr_wal_synced(f.wal, NULL), first) == 0);
    fixture_crash(&f, 0.0);
    EXPECT_OK(fixture_recover(&f, &log, &err), &err);
    EXPECT(!f.is_wrong);
    EXPECT_EQ(f.found, 1);
    nr_wal_log_clear(&log);
    fixture_clear(&f);
}

/* One who syncs, and one who waits for that. */
struct syncer {
    pthread_t thread;
    struct nr_position end;
    nori_status rc;
    struct nori_error err;
};

static _Atomic bool is_under_way, may_end;

static nori_status sync_when_told(struct nr_log *log, struct nori_error *err)
{
    atomic_store(&is_under_way, true);
    while (!atomic_load(&may_end)) nr_thread_yield();
    return sync_of_disk(log, err);
}

static void *sync_to_end(void *arg)
{
    struct syncer *syncer = arg;
    syncer->rc = nr_wal_sync(watched->wal, syncer->end, &(bool){false}, &syncer->err);
    return NULL;
}

TEST(who_waits_for_a_sync_that_fails_is_told)
{
    struct fixture f;
    struct nori_error err;
    struct syncer leader, follower;
    atomic_store(&is_under_way, false);
    atomic_store(&may_end, false);
    fixture_init_sim(&f, 2, true, true);
    EXPECT_OK(fixture_open(&f, &err), &err);
    EXPECT_OK(fixture_append_size(&f, 100, &err), &err);
    leader.end = f.end;
    EXPECT_OK(fixture_append_size(&f, 100, &err), &err);
    follower.end = f.end;
    EXPECT_OK(nori_simdisk_fail(f.env, "log_sync", 1, EIO, false, &err), &err);
    watch(&f, sync_when_told);
    EXPECT_EQ(pthread_create(&leader.thread, NULL, sync_to_end, &leader), 0);
    while (!atomic_load(&is_under_way)) nr_thread_yield();
    EXPECT_EQ(pthread_create(&follower.thread, NULL, sync_to_end, &follower), 0);
    while (atomic_load(&f.wal->arrivals) < 2) nr_thread_yield();
    /* It has arrived; some turns later it waits. Should it be slower than that, it finds the failure at once. */
    for (int i = 0; i < 20; i++) usleep(500);
    atomic_store(&may_end, true);
    pthread_join(leader.thread, NULL);
    pthread_join(follower.thread, NULL);
    EXPECT_EQ(leader.rc, NORI_IO);
    EXPECT_EQ(leader.err.outcome, NORI_INDETERMINATE);
    EXPECT(follower.rc == NORI_IO || follower.rc == NORI_POISONED);
    EXPECT_EQ(follower.err.sys_errno, EIO);
    EXPECT(nr_position_compare(nr_wal_synced(f.wal, NULL), leader.end) < 0);
    fixture_clear(&f);
}

#define WRITERS 12
#define WRITES 60

/* Some take longer than a writer waits before its interrupt hook is due. */
static nori_status sync_at_some_length(struct nr_log *log, struct nori_error *err)
{
    static _Atomic unsigned count;
    usleep(atomic_fetch_add(&count, 1) % 40 == 7 ? 130000 : 300);
    return sync_of_disk(log, err);
}

struct writer {
    pthread_t thread;
    unsigned count; /* Writes that were called synced. */
    unsigned asked; /* Of its interrupt hook. */
    bool has_failed;
};

static int count_asked(void *arg)
{
    ((struct writer *)arg)->asked++;
    return 0;
}

static nori_status write_synced(struct nr_position *end_out, struct nori_error *err)
{
    static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
    bool has_waited = false;
    pthread_mutex_lock(&turn);
    nori_status rc = fixture_append_size(watched, 100, err);
    *end_out = watched->end;
    pthread_mutex_unlock(&turn);
    if (rc != NORI_OK) return rc;
    while ((rc = nr_wal_sync(watched->wal, *end_out, &has_waited, err)) == NORI_AGAIN) {
        rc = nr_interrupt_ask(err);
        if (rc != NORI_OK) break;
    }
    return rc;
}

static void *write_many(void *arg)
{
    struct writer *writer = arg;
    struct nr_position end;
    struct nori_error own;
    nori_set_interrupt(count_asked, writer);
    while (writer->count < WRITES && !writer->has_failed) {
        nori_status rc = write_synced(&end, &own);
        writer->has_failed = rc != NORI_OK;
        if (writer->has_failed) continue;
        EXPECT(nr_position_compare(nr_wal_synced(watched->wal, NULL), end) >= 0);
        writer->count++;
    }
    nori_set_interrupt(NULL, NULL);
    return NULL;
}

/* Returns how many writes were called synced. 'failing': which 'op' of the disk fails, counted from 1; 0: none. */
static unsigned run_writers(struct fixture *f, const char *op, uint64_t failing, unsigned *asked_out,
                            unsigned *failed_out)
{
    struct nori_error err;
    static struct writer writers[WRITERS];
    unsigned count = 0;
    memset(writers, 0, sizeof(writers));
    *asked_out = *failed_out = 0;
    EXPECT_OK(fixture_open(f, &err), &err);
    if (failing) EXPECT_OK(nori_simdisk_fail(f->env, op, failing, EIO, false, &err), &err);
    watch(f, sync_at_some_length);
    for (size_t i = 0; i < WRITERS; i++)
        EXPECT_EQ(pthread_create(&writers[i].thread, NULL, write_many, &writers[i]), 0);
    for (size_t i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
        count += writers[i].count;
        *asked_out += writers[i].asked;
        *failed_out += writers[i].has_failed;
    }
    EXPECT(f->wal->waiters == NULL);
    EXPECT(!f->wal->is_syncing);
    return count;
}

TEST(of_many_writers_each_returns_once_its_record_is_on_disk)
{
    struct fixture f;
    unsigned asked, failed;
    fixture_init_sim(&f, 3, true, true);
    EXPECT_EQ(run_writers(&f, NULL, 0, &asked, &failed), WRITERS * WRITES);
    EXPECT(asked > 0);
    EXPECT_EQ(failed, 0);
    fixture_clear(&f);
}

static void expect_all_told(bool mapped, const char *op, uint64_t failing)
{
    struct fixture f;
    struct nori_error err;
    struct nr_wal_log log;
    unsigned asked, failed;
    fixture_init_sim(&f, failing, mapped, true);
    unsigned count = run_writers(&f, op, failing, &asked, &failed);
    EXPECT_EQ(failed, WRITERS);
    fixture_crash(&f, 0.0);
    EXPECT_OK(fixture_recover(&f, &log, &err), &err);
    EXPECT(!f.is_wrong);
    EXPECT(f.found >= count);
    nr_wal_log_clear(&log);
    fixture_clear(&f);
}

TEST(of_many_writers_all_are_told_of_a_log_that_failed_and_none_is_left_waiting)
{
    for (uint64_t failing = 1; failing <= 12; failing++) expect_all_told(true, "log_sync", failing);
    /* In an append, while others wait for a sync, or for one of them to begin it. */
    for (uint64_t failing = 1; failing <= 120; failing++) expect_all_told(false, "log_publish", failing);
}

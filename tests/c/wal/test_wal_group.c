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

/* Random scripts, stopped at each of their operations: what comes back is a prefix of what was written (P2), holds all
 * that was acknowledged as durable (P1), and nothing that was dropped before. */
#include "fixture.h"

static bool is_power_cut; /* Whether the session before this one ended so. */

/* One session's work until it fails or is over. */
static void run_session(struct fixture *f, struct nr_random *random, unsigned steps)
{
    bool may_sync = is_power_cut && nr_random_below(random, 2) == 0;
    nori_status rc = fixture_open(f, NULL);

    for (unsigned i = 0; i < steps && rc == NORI_OK; i++) {
        switch (nr_random_below(random, 10)) {
        case 0:
        case 1:
            /* What a kill left in the page cache must be in tables before anything is acknowledged as durable. */
            if (!may_sync) rc = fixture_flush(f, NULL);
            may_sync = true;
            if (rc == NORI_OK) rc = fixture_sync(f, NULL);
            break;
        case 2:
            rc = nr_wal_prepare(f->wal, NULL);
            if (nr_random_below(random, 3) == 0) nr_wal_rest(f->wal);
            break;
        case 3:
            if (nr_random_below(random, 4) == 0) rc = fixture_flush(f, NULL);
            break;
        default:
            rc = fixture_append(f, NULL);
            break;
        }
    }
}

static void end_session(struct fixture *f, struct nr_random *random)
{
    nori_simdisk_clear_faults(f->env);
    is_power_cut = nr_random_below(random, 3) != 0;
    if (is_power_cut)
        fixture_crash(f, -1);
    else
        fixture_kill(f);
}

static void expect_promises_kept(struct fixture *f, uint64_t seed, uint64_t at)
{
    struct nr_wal_log log;
    struct nori_error err;
    nori_status rc = fixture_recover(f, &log, &err);
    if (rc != NORI_OK) FAIL("seed %" PRIu64 " at %" PRIu64 ": %s", seed, at, err.text);
    if (f->is_wrong) FAIL("seed %" PRIu64 " at %" PRIu64 ": wrong record after %" PRIu64, seed, at, f->found);
    uint64_t least = is_power_cut ? f->synced : NR_MAX(f->synced, f->appended);
    if (f->found < least) FAIL("seed %" PRIu64 " at %" PRIu64 ": %" PRIu64 " of %" PRIu64, seed, at, f->found, least);
    f->appended = f->found;
    if (is_power_cut) f->synced = f->found;
    nr_wal_log_clear(&log);
}

enum how { STOP, FAIL_ONE, FAIL_ALLOCATION };

/* Three sessions, of which the second is disturbed at its 'at'-th operation. False when it has fewer. */
static bool run_script(uint64_t seed, uint64_t at, enum how how)
{
    struct fixture f;
    struct nr_random random;
    struct nori_error err;
    bool was_reached;

    is_power_cut = false;
    nr_random_init(&random, seed);
    fixture_init_sim(&f, seed * 1000 + at, seed % 2 == 0, false);
    if (seed % 3 == 0) f.retain_bytes = 2 * SMALL_SEGMENT_BYTES;
    run_session(&f, &random, 30);
    end_session(&f, &random);
    expect_promises_kept(&f, seed, at);

    uint64_t operations = nori_simdisk_operations(f.env, NULL), allocations = nr_alloc_count();
    if (how == STOP) nori_simdisk_stop_at(f.env, at);
    if (how == FAIL_ONE) EXPECT_OK(nori_simdisk_fail(f.env, "any", at, at % 2 ? EIO : ENOSPC, at % 3 == 0, &err), &err);
    if (how == FAIL_ALLOCATION) nr_alloc_fail_at(at);
    run_session(&f, &random, 40);
    nr_alloc_fail_at(0);
    was_reached = how == FAIL_ALLOCATION ? nr_alloc_count() - allocations >= at
                                         : nori_simdisk_operations(f.env, NULL) - operations >= at;
    end_session(&f, &random);
    expect_promises_kept(&f, seed, at);

    run_session(&f, &random, 20);
    end_session(&f, &random);
    expect_promises_kept(&f, seed, at);
    fixture_clear(&f);
    return was_reached;
}

static void run_scripts(uint64_t seeds, uint64_t stride, enum how how)
{
    for (uint64_t seed = 1; seed <= seeds; seed++)
        for (uint64_t at = 1 + seed % stride; run_script(seed, at, how); at += stride) {
        }
}

TEST(acknowledged_records_survive_a_stop_at_any_operation)
{
    run_scripts(9, 1, STOP);
}

TEST(acknowledged_records_survive_a_failure_of_any_operation)
{
    run_scripts(8, 1, FAIL_ONE);
}

TEST(acknowledged_records_survive_a_failure_of_any_allocation)
{
    run_scripts(6, 7, FAIL_ALLOCATION);
}

TEST(recovery_can_be_stopped_anywhere_and_repeated)
{
    for (uint64_t seed = 1; seed < 30; seed++) {
        struct fixture f;
        struct nr_random random;
        is_power_cut = false;
        nr_random_init(&random, seed);
        fixture_init_sim(&f, seed, seed % 2 == 0, false);
        for (int session = 0; session < 8; session++) {
            nori_simdisk_stop_at(f.env, session % 2 == 0 ? 1 + nr_random_below(&random, 60) : 0);
            run_session(&f, &random, (unsigned)nr_random_below(&random, 20));
            end_session(&f, &random);
            expect_promises_kept(&f, seed, (uint64_t)session);
        }
        fixture_clear(&f);
    }
}

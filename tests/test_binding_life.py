"""Threads, signals, re-entrancy, fork, garbage and the interpreter's exit."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
import weakref

import pytest

import nori_lsm
from nori_lsm.testing import SimDisk
from tests_support import in_threads


def run_python(code: str, *args: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """A process of its own; its end must come within `timeout`."""
    options = [] if "-W" in args else ["-W", "always"]
    command = [sys.executable, "-X", "faulthandler", *options, "-c", textwrap.dedent(code), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


# ---------------------------------------------------------------- threads


def test_readers_and_writers_do_not_disturb_each_other(db):
    stop = threading.Event()

    def write():
        for i in range(3000):
            with db.batch() as batch:
                batch[b"left"] = b"%d" % i
                batch[b"right"] = b"%d" % i
            if i % 1000 == 0:
                db.flush()
        stop.set()

    def read():
        while not stop.is_set():
            left, right = db.get_many([b"left", b"right"])
            assert left == right
            assert len({value for _, value in db.scan()}) <= 1

    assert in_threads(write, read, read) == []


def test_pop_and_setdefault_are_atomic(db):
    won = []

    def work(name):
        for i in range(300):
            if db.setdefault(b"%d" % i, name) == name:
                won.append(i)

    in_threads(lambda: work(b"a"), lambda: work(b"b"), lambda: work(b"c"))
    assert sorted(won) == list(range(300))
    popped = []

    def pop():
        while True:
            try:
                popped.append(db.popitem()[0])
            except KeyError:
                return

    assert in_threads(pop, pop) == []
    assert len(popped) == len(set(popped)) == 300


def test_one_scan_may_serve_several_threads(db):
    db.update((b"%06d" % i, b"") for i in range(20000))
    scan = db.scan()
    taken: list[bytes] = []

    def take():
        for key, _ in scan:
            taken.append(key)

    def count():
        for _ in range(5):
            scan.count()

    assert in_threads(take, take, count) == []
    assert sorted(taken) == list(db)


def test_one_batch_may_serve_several_threads(db):
    batch = db.batch()

    def work(name):
        for i in range(500):
            batch[b"%s-%d" % (name, i)] = b""
            if i % 100 == 0:
                batch.commit()

    assert in_threads(*(lambda n=name: work(n) for name in (b"a", b"b", b"c"))) == []
    batch.commit()
    assert len(db) == 1500


def test_close_with_work_in_flight(path):
    for _ in range(5):
        db = nori_lsm.open(path)

        def read(db=db):
            while True:
                list(db.scan(limit=100))
                db.get_many([b"%d" % i for i in range(50)])

        def write(db=db):
            i = 0
            while True:
                db.put(b"%d" % i, bytes(100), sync=i % 50 == 0)
                i += 1

        def close(db=db):
            time.sleep(0.1)
            db.close()

        errors = in_threads(read, write, write, close)
        assert len(errors) == 3 and all(isinstance(error, nori_lsm.ClosedError) for error in errors)
        assert db.closed


def test_two_threads_may_close(path):
    db = nori_lsm.open(path)
    db.update((b"%d" % i, bytes(100)) for i in range(10000))
    assert in_threads(db.close, db.close, db.close) == []
    assert db.closed
    nori_lsm.open(path).close()


# ---------------------------------------------------------------- re-entrancy


def test_close_from_an_iterator_being_read(db):
    def items():
        yield b"a", b"1"
        db.close()
        yield b"b", b"2"

    with pytest.raises(nori_lsm.ClosedError):
        db.update(items())
    assert db.closed


def test_close_from_a_progress_callback(path):
    db = nori_lsm.open(path)
    db.update((b"%06d" % i, bytes(100)) for i in range(20000))
    db.flush()
    with pytest.raises(nori_lsm.ClosedError):
        db.compact(progress=lambda _: db.close())
    assert db.closed
    with nori_lsm.open(path) as again:
        assert len(again) == 20000


def test_a_progress_callback_may_raise_and_may_use_the_engine(db):
    db.update((b"%06d" % i, bytes(100)) for i in range(20000))
    seen = []

    def look(progress):
        seen.append((progress.phase, progress.done, progress.total, progress.unit, db[b"000001"]))

    db.compact(progress=look)
    assert seen and seen[-1][1] <= seen[-1][2]

    def stop(progress):
        raise LookupError("enough")

    db[b"x"] = b""
    db.flush()
    for call in (db.verify, db.compact):
        with pytest.raises(LookupError, match="enough"):
            call(progress=stop)
    assert db.verify(progress=lambda p: None).ok


# ---------------------------------------------------------------- signals


needs_main = pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals")


@needs_main
def test_a_handlers_exception_ends_a_wait(db):
    class Mine(Exception):
        pass

    def handler(*_):
        raise Mine

    old = signal.signal(signal.SIGALRM, handler)
    try:
        begun = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(Mine):
            nori_lsm.open(db.path, wait=30)
        assert time.monotonic() - begun < 5
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


@needs_main
def test_a_handler_that_closes_during_a_loop_does_not_hang(path):
    db = nori_lsm.open(path)
    db.update((b"%08d" % i, b"") for i in range(300000))
    old = signal.signal(signal.SIGALRM, lambda *_: db.close())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(nori_lsm.ClosedError):
            while True:
                db.scan().count()
        assert db.closed
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    with nori_lsm.open(path) as again:
        assert len(again) == 300000


@needs_main
def test_a_handler_may_wait_for_a_thread_that_closes(path):
    db = nori_lsm.open(path)
    db.update((b"%08d" % i, b"") for i in range(300000))

    def handler(*_):
        closer = threading.Thread(target=db.close)
        closer.start()
        closer.join()
        nori_lsm.open(path).close()  # The lock is free, though the interrupted call has yet to end.

    old = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(nori_lsm.ClosedError):
            while True:
                db.scan().count()
        assert db.closed
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    with nori_lsm.open(path) as again:
        assert len(again) == 300000


@pytest.mark.parametrize("call", ["compact", "verify", "checkpoint"])
def test_a_progress_callback_may_wait_for_a_thread_that_closes(path, tmp_path, call):
    db = nori_lsm.open(path)
    db.update((b"%06d" % i, bytes(100)) for i in range(20000))
    db.flush()

    def progress(_):
        closer = threading.Thread(target=db.close)
        closer.start()
        closer.join()

    arguments = [tmp_path / "copy"] if call == "checkpoint" else []
    with pytest.raises(nori_lsm.ClosedError):
        getattr(db, call)(*arguments, progress=progress)
    assert db.closed
    assert not (tmp_path / "copy").exists()
    with nori_lsm.open(path) as again:
        assert len(again) == 20000


# ---------------------------------------------------------------- garbage


def test_children_keep_the_engine(path):
    def scan():
        db = nori_lsm.open(path)
        db.update({b"a": b"1", b"b": b"2"})
        return db.scan()

    with pytest.warns(ResourceWarning, match="unclosed"):
        entries = scan()
        assert list(entries) == [(b"a", b"1"), (b"b", b"2")]
        del entries
        gc.collect()
    with nori_lsm.open(path) as db:
        assert len(db) == 2


def test_a_forgotten_engine_warns_and_is_closed_in_order(path):
    db = nori_lsm.open(path)
    db[b"a"] = b"1"
    reference = weakref.ref(db)
    with pytest.warns(ResourceWarning, match="unclosed"):
        del db
        gc.collect()
    assert reference() is None
    with nori_lsm.open(path) as db:
        assert db[b"a"] == b"1"


def test_a_closed_engine_is_collected_without_a_word(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        db = nori_lsm.open(path)
        things = [db.snapshot(), db.scan(), db.batch(), db.keys(), iter(db)]
        references = [weakref.ref(thing) for thing in things[:3]]
        db.close()
        del db, things
        gc.collect()
        assert [reference() for reference in references] == [None] * 3


def test_the_disk_lives_as_long_as_its_engines():
    disk = SimDisk()
    reference = weakref.ref(disk)
    db = nori_lsm.open("/db", env=disk)
    del disk
    gc.collect()
    db[b"a"] = b"1"
    assert reference() is not None
    db.close()
    del db
    gc.collect()
    assert reference() is None


# ---------------------------------------------------------------- fork


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_touches_nothing(path):
    result = run_python(
        """
        import os, sys, nori_lsm
        db = nori_lsm.open(sys.argv[1])
        db[b"a"] = b"1"
        snapshot, scan, batch = db.snapshot(), db.scan(), db.batch()
        pid = os.fork()
        if pid == 0:
            uses = [lambda: db[b"a"], lambda: db.put(b"x", b""), lambda: len(db), lambda: snapshot[b"a"],
                    lambda: next(scan), lambda: batch.put(b"x", b""), lambda: batch.commit(), lambda: list(db),
                    db.flush, db.stats, db.batch, db.snapshot, lambda: db.update({b"x": b""}), db.__enter__]
            for use in uses:
                try:
                    use()
                except nori_lsm.ForkedError:
                    continue
                print("no ForkedError from", use)
            db.close(); db.__exit__(None, None, None); scan.close(); snapshot.close()
            del snapshot, scan, batch, db, uses, use
            other = nori_lsm.open(sys.argv[1] + "-child")
            other[b"c"] = b"2"
            other.close()
            sys.exit(0)
        _, status = os.waitpid(pid, 0)
        assert status == 0, status
        assert db[b"a"] == b"1" and next(scan) == (b"a", b"1")
        db[b"b"] = b"2"
        db.close()
        print("parent", dict(nori_lsm.open(sys.argv[1], read_only=True)))
        """,
        path,
        "-W",
        "ignore",
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "parent {b'a': b'1', b'b': b'2'}\n"


# ---------------------------------------------------------------- the interpreter's exit


def test_the_exit_closes_what_is_open_and_warns(path):
    result = run_python(
        """
        import sys, nori_lsm
        db = nori_lsm.open(sys.argv[1])
        db[b"a"] = b"1"
        scan = db.scan()
        """,
        path,
    )
    assert result.returncode == 0, result.stderr
    assert "ResourceWarning: unclosed" in result.stderr
    with nori_lsm.open(path) as db:
        assert db[b"a"] == b"1"


def test_daemon_threads_inside_do_not_hang_the_exit(path):
    result = run_python(
        """
        import sys, threading, time, nori_lsm
        db = nori_lsm.open(sys.argv[1])
        def work(n):
            i = 0
            while True:
                db.put(b"%d-%d" % (n, i), bytes(100), sync=i % 10 == 0)
                list(db.scan(limit=50))
                db.get_many([b"%d" % k for k in range(20)])
                i += 1
        for n in range(4):
            threading.Thread(target=work, args=[n], daemon=True).start()
        time.sleep(0.5)
        """,
        path,
        "-W",
        "ignore",
    )
    assert result.returncode == 0, result.stderr
    nori_lsm.open(path).close()


@pytest.mark.skipif(not hasattr(os, "kill"), reason="POSIX")
def test_sigint_while_closing_at_exit_is_no_crash(path):
    result = run_python(
        """
        import os, signal, sys, threading, time, nori_lsm
        db = nori_lsm.open(sys.argv[1])
        db.update((b"%08d" % i, bytes(100)) for i in range(50000))
        threading.Thread(target=lambda: (time.sleep(0.05), os.kill(os.getpid(), signal.SIGINT)), daemon=True).start()
        try:
            db.close()
        except KeyboardInterrupt:
            db.close()
        """,
        path,
    )
    assert result.returncode in (0, 1, -signal.SIGINT), result.stderr
    with nori_lsm.open(path) as db:
        assert len(db) == 50000


@pytest.mark.skipif(sys.version_info < (3, 12), reason="subinterpreters with a GIL of their own")
def test_subinterpreters_have_their_own_state(path):
    result = run_python(
        """
        import sys
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        code = '''
        import nori_lsm
        with nori_lsm.open({!r}) as db:
            db[b"a"] = b"1"
        left_open = nori_lsm.open({!r})
        '''.replace("\\n        ", "\\n")
        for n in range(3):
            other = interpreters.create()
            path = sys.argv[1] + str(n)
            failed = interpreters.run_string(other, code.format(path, path + "x"))
            assert not failed, failed
            interpreters.destroy(other)
        import nori_lsm
        print([nori_lsm.open(sys.argv[1] + str(n))[b"a"] for n in range(3)])
        """,
        path,
        "-W",
        "ignore",
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "[b'1', b'1', b'1']\n"

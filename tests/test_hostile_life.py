"""Interrupts, processes, interpreters and want of memory around every call: nothing crashes or hangs, what was acknowledged is
there, and close() works."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import nori_lsm
import refleak
from python_calls import ITEMS


@pytest.fixture(autouse=True)
def watchdog() -> Iterator[None]:
    """A hang ends the whole run, and says where."""
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def run_python(code: str, *arguments: object, timeout: float = 100) -> str:
    """What a process of its own prints. It must end by itself, and in order."""
    command = [sys.executable, "-X", "faulthandler", "-W", "ignore", "-c", textwrap.dedent(code), *map(str, arguments)]
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here}:{Path(nori_lsm.__file__).parents[1]}"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


# ---------------------------------------------------------------- interrupts


class Interrupted(Exception):
    pass


class Alarm:
    """Raises Interrupted within after(), at most once, and never behind it: a signal that Python notices late is dropped."""

    def __init__(self) -> None:
        self.armed = False

    def __enter__(self) -> Alarm:
        self.old = signal.signal(signal.SIGALRM, self.ring)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGALRM, self.old)

    def ring(self, *_: object) -> None:
        if self.armed:
            self.armed = False
            raise Interrupted

    @contextmanager
    def after(self, seconds: float) -> Iterator[None]:
        try:
            self.armed = True
            signal.setitimer(signal.ITIMER_REAL, seconds)
            yield
        finally:
            self.armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals")
@pytest.mark.parametrize("durability", ["os", "sync"])
def test_a_storm_of_interrupts_loses_and_invents_nothing(path: Path, durability: str) -> None:
    """Each write that raises says whether it may have happened; each that returned did."""
    options: Any = {"wal__durability": durability, "memtable__flush_trigger_bytes": 64 << 10, "level1_bytes": 64 << 10}
    options |= {"wal__segment_bytes": 64 << 10, "l0__max_files": 4, "l0__soft_throttle_threshold": 2}
    maybe: dict[bytes, set[bytes | None]] = {}
    hits = 0
    db = nori_lsm.open(path, **options)
    deadline = time.monotonic() + 3
    number = 0
    with Alarm() as alarm:
        while time.monotonic() < deadline or hits < 50:
            assert time.monotonic() < deadline + 60
            number += 1
            key, value = b"%03d" % (number % 400), b"%d" % number + bytes(number % 7 * 300)
            before = maybe.get(key, {None})
            after: bytes | None = value
            try:
                with alarm.after(0.0001 + number % 13 * 0.0001):
                    if number % 5 == 0:
                        after = None
                        db.delete(key)
                    elif number % 7 == 0:
                        with db.batch() as batch:
                            batch[key] = value
                    elif number % 11 == 0:
                        db.update({key: value})
                    else:
                        db.put(key, value)
                    maybe[key] = {after}
                    if number % 50 == 0:
                        len(db), list(db.scan(limit=20)), db.flush(), db.compact()
            except Interrupted as error:
                hits += 1
                if maybe.get(key) != {after}:
                    # Outside of our call there is no outcome: before it, or behind it.
                    outcome = getattr(error, "outcome", None)
                    maybe[key] = before if outcome == "not_applied" else before | {after}
        assert db.stats().poisoned is None
        check(dict(db), maybe)
        db.close()
    with nori_lsm.open(path) as db:
        check(dict(db), maybe)
        assert db.verify().ok


def check(found: dict[bytes, bytes], maybe: dict[bytes, set[bytes | None]]) -> None:
    assert found.keys() <= maybe.keys()
    for key, values in maybe.items():
        assert found.get(key) in values, key


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals")
def test_close_may_be_interrupted_and_repeated(path: Path) -> None:
    with Alarm() as alarm:
        for turn in range(20):
            db = nori_lsm.open(path, memtable__flush_trigger_bytes=1 << 20)
            db.update((b"%06d" % number, bytes(100)) for number in range(3000))
            while not db.closed:
                with suppress(Interrupted), alarm.after(0.0002 + turn * 0.0003):
                    db.close()
            db.close()
    with nori_lsm.open(path) as db:
        assert len(db) == 3000


# ---------------------------------------------------------------- processes, interpreters


def test_forks_in_threads_while_others_are_in_calls(path: Path) -> None:
    printed = run_python(
        """
        import os, sys, threading, nori_lsm
        from python_calls import CALLS, ITEMS, filled
        db = filled(path=sys.argv[1])
        stop = threading.Event()
        def use():
            while not stop.is_set():
                for name, call in CALLS.items():
                    if name not in ("ingest", "compact", "verify"):
                        call(db)
        failed = []
        def fork():
            for _ in range(10):
                child = os.fork()
                if child == 0:
                    try:
                        db.get(b"0001")
                    except nori_lsm.ForkedError:
                        db.close()
                        with nori_lsm.open(sys.argv[1] + f"-{os.getpid()}") as other:
                            other[b"a"] = b"b"
                        os._exit(0)
                    os._exit(1)
                if os.waitpid(child, 0)[1]:
                    failed.append(child)
        users = [threading.Thread(target=use, daemon=True) for _ in range(2)]
        forkers = [threading.Thread(target=fork) for _ in range(2)]
        for thread in users + forkers:
            thread.start()
        for thread in forkers:
            thread.join()
        stop.set()
        for thread in users:
            thread.join()
        assert not failed
        assert dict(db) == ITEMS and db.verify().ok
        db.close()
        print("done")
        """,
        path,
    )
    assert printed == "done\n"


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="test_binding_life.py has those of Python 3.12 and later")
def test_subinterpreters_that_share_the_lock_of_the_first(path: Path) -> None:
    pytest.importorskip("_xxsubinterpreters")
    printed = run_python(
        """
        import sys, _xxsubinterpreters as interpreters
        import nori_lsm
        code = '''
        import sys
        sys.path[:0] = {path!r}
        import nori_lsm
        with nori_lsm.open({name!r}) as db:
            db[b"a"] = b"1"
            assert dict(db) == {{b"a": b"1"}}
        try:
            nori_lsm.open("/no/such/parent")
        except nori_lsm.Error as error:
            raise SystemExit("of the wrong kind") from error
        except FileNotFoundError:
            pass
        left_open = nori_lsm.open({name!r})
        '''.replace("\\n        ", "\\n")
        for number in range(3):
            other = interpreters.create()
            name = sys.argv[1] + str(number)
            interpreters.run_string(other, code.format(name=name, path=sys.path))
            interpreters.destroy(other)
            print(dict(nori_lsm.open(name)))
        """,
        path,
    )
    assert printed == "{b'a': b'1'}\n" * 3


@pytest.mark.parametrize("how", ["sys.exit()", "os.kill(os.getpid(), signal.SIGINT)", "raise ValueError"])
def test_the_end_with_threads_in_calls(path: Path, how: str) -> None:
    code = f"""
        import os, signal, sys, threading, time
        from python_calls import CALLS, filled
        db = filled(path=sys.argv[1])
        scan, snapshot = db.scan(), db.snapshot()
        unsubscribe = db.subscribe(lambda event: db.get(b"0001"))
        def use(begin):
            calls = list(CALLS.values())
            while True:
                for call in calls[begin:] + calls[:begin]:
                    call(db)
        for begin in range(0, 30, 6):
            threading.Thread(target=use, args=[begin], daemon=True).start()
        time.sleep(0.4)
        {how}
    """
    command = [sys.executable, "-X", "faulthandler", "-W", "ignore", "-c", textwrap.dedent(code), str(path)]
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parent}:{Path(nori_lsm.__file__).parents[1]}"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert result.returncode in (0, 1, -signal.SIGINT), result.stderr
    with nori_lsm.open(path) as db:
        assert dict(db) == ITEMS and db.verify().ok


# ---------------------------------------------------------------- memory


# Without this package: CPython 3.12 and 3.13 crash of themselves where an allocation fails in what Python code does.
FAILING_ALLOCATIONS = """
import _testcapi
from dataclasses import dataclass, fields

@dataclass
class Pair:
    a: int = 1
    b: int = 2

def numbers():
    for number in range(50):
        yield number

def use():
    return fields(Pair), tuple(numbers()), dict(a=[*numbers()])

for _ in range(20):
    nth = misses = 0
    while misses < 20:
        try:
            _testcapi.set_nomemory(nth, nth + 1)
            try:
                use()
            finally:
                _testcapi.remove_mem_hooks()
            misses += 1
        except (MemoryError, SystemError):
            misses = 0
        nth += 1
"""


@pytest.fixture(scope="module")
def survives_failing_allocations() -> bool:
    return subprocess.run([sys.executable, "-c", FAILING_ALLOCATIONS], capture_output=True, timeout=60).returncode >= 0


@pytest.fixture
def no_memory(request: pytest.FixtureRequest) -> None:
    pytest.importorskip("_testcapi")
    import _testcapi

    if not hasattr(_testcapi, "set_nomemory"):
        pytest.skip("this interpreter has no set_nomemory")
    if hasattr(sys, "gettotalrefcount"):
        pytest.skip("a debug build aborts where CPython itself loses an exception for want of memory")
    if not request.getfixturevalue("survives_failing_allocations"):
        pytest.skip("this interpreter crashes of itself where an allocation fails")


@pytest.mark.usefixtures("no_memory")
@pytest.mark.parametrize("count", [1, 0], ids=["one allocation", "all from one on"])
def test_calls_without_memory_say_so_and_change_nothing(count: int) -> None:
    """CPython's allocations fail, one at a time, or all from the n-th on, in every call."""
    printed = run_python(
        """
        import sys, nori_lsm
        from nori_lsm.testing import SimDisk
        from python_calls import CALLS, ITEMS, filled, without_memory
        disk = SimDisk(seed=1)
        db = filled(path="/db", env=disk)
        failures = 0
        for name, call in CALLS.items():
            call(db)
            failures += without_memory(lambda: call(db), int(sys.argv[1]))
            if dict(db) != ITEMS:
                raise AssertionError(f"{name}: {len(dict(db))}")
        assert db.stats().poisoned is None and db.verify().ok
        db.close()
        assert dict(nori_lsm.open("/db", env=disk)) == ITEMS
        print(failures)
        """,
        count,
    )
    assert int(printed) > 200


@pytest.mark.usefixtures("no_memory")
@pytest.mark.parametrize("count", [1, 20], ids=["one allocation", "some in a row"])
def test_what_changes_an_engine_or_needs_none_without_memory(count: int) -> None:
    """What was written in part is whole, and the lock is free, however the call ended. Not without any more memory: CPython
    3.11 never leaves a `with` then."""
    printed = run_python(
        """
        import gc, sys, nori_lsm
        from nori_lsm.testing import SimDisk
        from python_calls import ASIDE, without_memory
        WRITTEN = {b"a": b"1", b"b": b"2", b"c": b"3", b"d": b"4"}
        disk = None
        def begin():
            global disk
            disk = SimDisk(seed=1)
        def look():
            gc.collect()
            if "db" in disk.list("/") and name in ("change", "checkpoint and repair", "read only"):
                with nori_lsm.open("/db", env=disk) as db:
                    assert dict(db).items() <= WRITTEN.items() and db.verify().ok
            begin()
        failures = 0
        for name, call in ASIDE.items():
            if name in ("config", "simulate") and sys.argv[1] != "1":
                continue  # Most of that is Python's own.
            begin()
            call(disk)
            begin()
            failed = without_memory(lambda: call(disk), int(sys.argv[1]), look)
            assert failed > 3, name
            failures += failed
        print(failures)
        """,
        count,
    )
    assert int(printed) > 100


@pytest.mark.usefixtures("no_memory")
def test_open_and_close_without_memory(tmp_path: Path) -> None:
    printed = run_python(
        """
        import sys, _testcapi, gc, nori_lsm
        from nori_lsm.testing import SimDisk
        nori_lsm.open("/db", env=SimDisk()).close()
        failures = misses = nth = 0
        disk = SimDisk(seed=1)
        while misses < 20:
            db = None
            try:
                _testcapi.set_nomemory(nth, nth + 1)
                try:
                    db = nori_lsm.open("/db", env=disk)
                    db[b"a"] = b"1"
                    db.close()
                finally:
                    _testcapi.remove_mem_hooks()
                misses += 1
            except MemoryError:
                failures, misses = failures + 1, 0
            if db is not None:
                db.close()
            gc.collect()
            nth += 1
            nori_lsm.open("/db", env=disk).close()  # The lock is free.
        print(failures)
        """
    )
    assert int(printed) > 4


def test_calls_keep_no_references() -> None:
    """Nor blocks, which is what an interpreter that is no debug build can count: in a process that does nothing else."""
    done = subprocess.run([sys.executable, refleak.__file__], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_reference_that_is_kept_is_found() -> None:
    kept: list[object] = []
    assert refleak.growth_of(lambda: kept.append(object()), 6) >= 1

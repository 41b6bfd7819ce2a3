"""Whatever Python code does around a call, or in the middle of one: buffers that change, objects that call back, exceptions at
any moment, no memory. Nothing crashes or hangs, what was acknowledged is there, and close() works."""

from __future__ import annotations

import array
import copy
import faulthandler
import gc
import mmap
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import nori_lsm
import refleak
from nori_lsm.testing import SimDisk
from python_calls import CALLS, ITEMS, filled


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


def in_threads(*functions: Callable[[], object]) -> list[BaseException]:
    errors: list[BaseException] = []

    def run(function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=[function], daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread hangs"
    return errors


# ---------------------------------------------------------------- buffers


def test_buffers_that_other_threads_change_are_taken_as_of_one_moment(db: nori_lsm.Engine) -> None:
    """No value is half of what it was and half of what it became, whether a call waits or not."""
    value, stop = bytearray(50_000), threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number = (number + 1) % 256
            value[:] = bytes([number]) * len(value)

    def write(sync: bool) -> None:
        try:
            for number in range(100):
                db.put(b"%d" % number, value, sync=sync)
                with db.batch(sync=sync) as batch:
                    batch.put(b"b%d" % number, value)
                db.update([(b"u%d" % number, value)])
        finally:
            stop.set()

    assert in_threads(change, lambda: write(True), lambda: write(False)) == []
    assert len(db) == 300
    for stored in db.values():
        assert len(stored) == len(value) and stored.count(stored[:1]) == len(stored)


def test_buffers_that_other_threads_resize_and_close_do_no_harm(db: nori_lsm.Engine, tmp_path: Path) -> None:
    (tmp_path / "mapped").write_bytes(bytes(20_000))
    stop = threading.Event()
    shared: dict[str, Any] = {"bytearray": bytearray(20_000), "array": array.array("I", range(5000))}

    def make_map() -> None:
        with open(tmp_path / "mapped", "r+b") as file:
            shared["mmap"] = mmap.mmap(file.fileno(), 0)

    make_map()

    def disturb() -> None:
        while not stop.is_set():
            for use in (
                lambda: shared["bytearray"].extend(b"more"),
                shared["bytearray"].clear,
                lambda: shared["bytearray"].extend(bytes(20_000)),
                lambda: shared["array"].append(1),
                shared["mmap"].close,
            ):
                with suppress(BufferError):  # It is being read just now.
                    use()
            if shared["mmap"].closed:
                make_map()

    def write() -> None:
        try:
            for number in range(300):
                for name in ("bytearray", "array", "mmap"):
                    with suppress(ValueError):  # The map is closed.
                        db.put(b"%d" % number, shared[name], sync=number % 20 == 0)
                        db.get_many([memoryview(shared[name])[:4], b"1"])
        finally:
            stop.set()

    assert in_threads(disturb, write) == []
    assert all(len(value) in (0, 4, 20_000) or len(value) % 4 == 0 for value in db.values())
    assert db.verify().ok


@pytest.mark.skipif(sys.version_info < (3, 12), reason="__buffer__ is of Python 3.12")
def test_buffers_made_in_python_may_close_the_engine_and_raise(path: Path) -> None:
    class Buffer:
        def __init__(self, does: Callable[[], object]) -> None:
            self.does = does

        def __buffer__(self, flags: int) -> memoryview:
            self.does()
            return memoryview(b"key")

    for use in (
        lambda db, key: db.get(key),
        lambda db, key: db.put(key, b""),
        lambda db, key: db.put(b"a", key),
        lambda db, key: db.get_many([b"a", key, key]),
        lambda db, key: db.scan(key, key),
        lambda db, key: db.batch().put(key, key),
        lambda db, key: db.delete_range(key, None),
        lambda db, key: key in db,
    ):
        db = nori_lsm.open(path)
        with pytest.raises(ZeroDivisionError):
            use(db, Buffer(lambda: 1 // 0))
        with pytest.raises(nori_lsm.ClosedError):
            use(db, Buffer(db.close))
        nori_lsm.open(path).close()


# ---------------------------------------------------------------- objects that call back


class Number:
    """Is one wherever a number is asked for, and does something first."""

    def __init__(self, does: Callable[[], object]) -> None:
        self.does = does

    def __index__(self) -> int:
        self.does()
        return 3

    def __float__(self) -> float:
        self.does()
        return 3.0

    def __bool__(self) -> bool:
        self.does()
        return True


def raises() -> None:
    raise ZeroDivisionError


NUMBERS: dict[str, Callable[[nori_lsm.Engine, Any], object]] = {
    "limit": lambda db, number: db.scan(limit=number),
    "size": lambda db, number: db.scan().batches(number),
    "ttl": lambda db, number: db.put(b"a", b"b", ttl=number),
    "batch ttl": lambda db, number: db.batch().put(b"a", b"b", ttl=number),
    "sync": lambda db, number: db.put(b"a", b"b", sync=number),
    "reverse": lambda db, number: db.scan(reverse=number),
    "include": lambda db, number: db.scan(include_start=number),
    "batch sync": lambda db, number: db.batch(sync=number),
    "sorted": lambda db, number: db.ingest([(b"a", b"b")], sorted=number),
}


@pytest.mark.parametrize("what", NUMBERS)
def test_numbers_may_raise_and_use_and_close_the_engine(path: Path, what: str) -> None:
    use = NUMBERS[what]
    with nori_lsm.open(path) as db:
        use(db, 1)
        with suppress(ZeroDivisionError):  # It may be refused for what it is before it is asked.
            with suppress(TypeError):
                use(db, Number(raises))
        with suppress(TypeError):
            use(db, Number(lambda: (db.put(b"inner", b""), db.flush(), list(db))))
        with suppress(TypeError, nori_lsm.ClosedError):
            use(db, Number(db.close))
    with nori_lsm.open(path) as db:
        assert db.verify().ok


class Hostile:
    """An iterable, a mapping, pairs: all of it does something at each turn."""

    def __init__(self, does: Callable[[int], object]) -> None:
        self.does = does

    def __iter__(self) -> Iterator[Any]:
        for number in range(20):
            self.does(number)
            yield b"%d" % number, b"value"

    def keys(self) -> Iterator[bytes]:
        for number in range(20):
            self.does(number)
            yield b"%d" % number

    def __getitem__(self, key: bytes) -> bytes:
        self.does(int(key))
        return b"value"

    def __len__(self) -> int:
        self.does(0)
        return 20


ITERATING: dict[str, Callable[[nori_lsm.Engine, Any], object]] = {
    "update": lambda db, them: db.update(them),
    "update of pairs": lambda db, them: db.update(iter(them)),
    "or": lambda db, them: db.__ior__(iter(them)),
    "ingest": lambda db, them: db.ingest(iter(them)),
    "get_many": lambda db, them: db.get_many(them.keys()),
    "keys and": lambda db, them: db.keys() & them.keys(),
    "items or": lambda db, them: db.items() | iter(them),
    "keys isdisjoint": lambda db, them: db.keys().isdisjoint(them.keys()),
    "equal": lambda db, them: db == FakeMapping(them),
}


class FakeMapping(dict):  # type: ignore[type-arg]
    """Equal to what it does not hold, for as long as nobody looks closer."""

    def __init__(self, hostile: Hostile) -> None:
        super().__init__({b"%d" % number: b"value" for number in range(20)})
        self.hostile = hostile

    def __getitem__(self, key: bytes) -> bytes:
        return self.hostile[key]

    def __len__(self) -> int:
        return len(self.hostile)


@pytest.mark.parametrize("what", ITERATING)
@pytest.mark.parametrize("does", ["close", "raise", "write", "nest", "collect"])
def test_iterators_may_do_anything_at_each_turn(path: Path, what: str, does: str) -> None:
    db = nori_lsm.open(path, memtable__flush_trigger_bytes=16 << 10)
    db.update({b"%d" % number: b"value" for number in range(20)})
    use = ITERATING[what]

    def act(number: int) -> None:
        if number != 10:
            return
        if does == "close":
            db.close()
        elif does == "raise":
            raise ZeroDivisionError
        elif does == "write":
            db.put(b"inner", bytes(20_000))
            db.flush()
        elif does == "nest":
            use(db, Hostile(lambda _: None))
        else:
            gc.collect()

    try:
        use(db, Hostile(act))
    except nori_lsm.ClosedError:
        assert does == "close"
    except ZeroDivisionError:
        assert does == "raise"
    db.close()
    with nori_lsm.open(path) as db:
        found = dict(db)
        found.pop(b"inner", None)
        assert found == {b"%d" % number: b"value" for number in range(20)}
        assert db.verify().ok


@pytest.mark.parametrize("does", ["close", "raise", "commit", "nest"])
def test_the_body_of_a_batch_may_do_anything(path: Path, does: str) -> None:
    db = nori_lsm.open(path)
    expected: set[bytes] = {b"committed"} if does == "commit" else set()
    with pytest.raises((ZeroDivisionError, RuntimeError, nori_lsm.ClosedError)):
        with db.batch() as batch:
            batch.put(b"committed", b"")
            if does == "close":
                db.close()
            elif does == "commit":
                batch.commit()
            elif does == "nest":
                with batch:
                    pass
            batch.put(b"dropped", b"")
            raise ZeroDivisionError
    db.close()
    with nori_lsm.open(path) as db:
        assert set(db) == expected


def test_paths_and_callbacks_may_do_anything(path: Path) -> None:
    class Path_:
        def __fspath__(self) -> str:
            db.close()
            return str(path) + "-copy"

    db = nori_lsm.open(path)
    db[b"a"] = b"1"
    with pytest.raises(nori_lsm.ClosedError):
        db.checkpoint(Path_())
    assert not Path(str(path) + "-copy").exists()
    with nori_lsm.open(path) as db:
        assert db[b"a"] == b"1"


def test_engines_in_collections_callbacks_and_traces(path: Path) -> None:
    """Garbage collections and traces come in the middle of calls, and use the engine that is in one."""
    turns = [0]
    is_inside = False

    def use(*_: object) -> None:
        nonlocal is_inside
        if is_inside:
            return
        is_inside = True
        turns[0] += 1
        try:
            db.get(b"0001")
            db.put(b"0001", ITEMS[b"0001"])
            list(db.scan(limit=3))
        finally:
            is_inside = False

    with filled(path=path) as db:
        thresholds = gc.get_threshold()
        gc.callbacks.append(use)
        gc.set_threshold(1)
        try:
            for name, call in CALLS.items():
                before = turns[0]
                call(db)
                if name in ("iter", "batches"):
                    assert turns[0] > before
        finally:
            gc.set_threshold(*thresholds)
            gc.callbacks.remove(use)
        old = sys.gettrace()
        sys.settrace(lambda *_: use())
        try:
            for call in CALLS.values():
                call(db)
        finally:
            sys.settrace(old)
        assert dict(db) == ITEMS and db.verify().ok


def test_calls_at_the_end_of_the_stack(disk: SimDisk) -> None:
    def deeper(call: Callable[[], object]) -> bool:
        """Whether the call met the end. It is made at every depth on the way back."""
        try:
            met = deeper(call)
        except RecursionError:
            met = False
        try:
            call()
        except RecursionError:
            return True
        return met

    limit = sys.getrecursionlimit()
    with filled(path="/db", env=disk) as db:
        for call in CALLS.values():
            call(db)
        depth, frame = 0, sys._getframe()
        while frame:
            depth, frame = depth + 1, frame.f_back
        sys.setrecursionlimit(depth + 40)
        try:
            met = [name for name, call in CALLS.items() if deeper(lambda call=call: call(db))]
        finally:
            sys.setrecursionlimit(limit)
        assert len(met) > 5
        assert dict(db) == ITEMS


# ---------------------------------------------------------------- what may not be done


def test_children_are_final_weakly_referenced_and_not_copied(db: nori_lsm.Engine) -> None:
    with pytest.raises(TypeError):
        nori_lsm.Engine()
    db[b"a"] = b""
    things = [db, db.snapshot(), db.batch(), db.scan(), iter(db), db.keys(), SimDisk()]
    for thing in things:
        kind = type(thing)
        with pytest.raises(TypeError):
            type("Mine", (kind,), {})
        with pytest.raises((TypeError, AttributeError)):
            kind.get = None
        with pytest.raises((TypeError, AttributeError)):
            object.__setattr__(thing, "anything", 1)
        with pytest.raises(TypeError):
            object.__new__(kind)
        for how in (pickle.dumps, copy.copy, copy.deepcopy, lambda thing: thing.__reduce_ex__(4)):
            with pytest.raises(TypeError, match="pickle|copy"):
                how(thing)
    for thing in things[:4]:
        assert weakref.ref(thing)() is thing
        with pytest.raises(TypeError):
            hash(thing) if thing is db else {}[[]]


def test_cycles_with_scans_snapshots_and_subscribers_are_collected(path: Path) -> None:
    class Owner:
        pass

    @contextmanager
    def silent() -> Iterator[None]:
        with pytest.warns(ResourceWarning, match="unclosed"):
            yield

    with silent():
        owner = Owner()
        owner.db = nori_lsm.open(path)
        owner.db.update(ITEMS)
        owner.scan, owner.snapshot, owner.batch = owner.db.scan(), owner.db.snapshot(), owner.db.batch()
        owner.iterators = [iter(owner.db), owner.scan.only_keys(), owner.snapshot.items(), owner.db.events(follow=False)]
        owner.self = owner
        reference = weakref.ref(owner)
        del owner
        gc.collect()
        assert reference() is None
    with nori_lsm.open(path) as db:
        assert dict(db) == ITEMS


# ---------------------------------------------------------------- interrupts


class Interrupted(Exception):
    pass


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals")
@pytest.mark.parametrize("durability", ["os", "sync"])
def test_a_storm_of_interrupts_loses_and_invents_nothing(path: Path, durability: str) -> None:
    """Each write that raises says whether it may have happened; each that returned did."""
    options: Any = {"wal__durability": durability, "memtable__flush_trigger_bytes": 64 << 10, "level1_bytes": 64 << 10}
    options |= {"wal__segment_bytes": 64 << 10, "l0__max_files": 4, "l0__soft_throttle_threshold": 2}
    certain: dict[bytes, bytes | None] = {}
    maybe: dict[bytes, set[bytes | None]] = {}
    hits = 0

    def interrupt(*_: object) -> None:
        raise Interrupted

    db = nori_lsm.open(path, **options)
    old = signal.signal(signal.SIGALRM, interrupt)
    deadline = time.monotonic() + 3
    number = 0
    try:
        while time.monotonic() < deadline or hits < 50:
            assert time.monotonic() < deadline + 60
            number += 1
            key, value = b"%03d" % (number % 400), b"%d" % number + bytes(number % 7 * 300)
            before = maybe.get(key, {certain.get(key)})
            after: bytes | None = value
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0001 + number % 13 * 0.0001)
                try:
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
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupted as error:
                hits += 1
                if maybe.get(key) != {after}:
                    # Outside of our call there is no outcome: before it, or behind it.
                    outcome = getattr(error, "outcome", None)
                    maybe[key] = before if outcome == "not_applied" else before | {after}
        assert db.stats().poisoned is None
        check(dict(db), maybe)
        db.close()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    with nori_lsm.open(path) as db:
        check(dict(db), maybe)
        assert db.verify().ok


def check(found: dict[bytes, bytes], maybe: dict[bytes, set[bytes | None]]) -> None:
    assert found.keys() <= maybe.keys()
    for key, values in maybe.items():
        assert found.get(key) in values, key


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals")
def test_close_may_be_interrupted_and_repeated(path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise Interrupted

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        for turn in range(20):
            db = nori_lsm.open(path, memtable__flush_trigger_bytes=1 << 20)
            db.update((b"%06d" % number, bytes(100)) for number in range(3000))
            while not db.closed:
                with suppress(Interrupted):
                    signal.setitimer(signal.ITIMER_REAL, 0.0002 + turn * 0.0003)
                    try:
                        db.close()
                    finally:
                        signal.setitimer(signal.ITIMER_REAL, 0)
            db.close()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
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


@pytest.mark.parametrize("forever", [False, True], ids=["one allocation", "all from one on"])
def test_calls_without_memory_say_so_and_change_nothing(forever: bool) -> None:
    """CPython's allocations fail, one at a time, or all from the n-th on, in every call."""
    pytest.importorskip("_testcapi")
    import _testcapi

    if not hasattr(_testcapi, "set_nomemory"):
        pytest.skip("this interpreter has no set_nomemory")
    printed = run_python(
        """
        import sys, _testcapi, nori_lsm
        from nori_lsm.testing import SimDisk
        from python_calls import CALLS, ITEMS, filled
        disk = SimDisk(seed=1)
        db = filled(path="/db", env=disk)
        failures = 0
        for name, call in CALLS.items():
            call(db)
            misses = 0
            for nth in range(2000):
                try:
                    _testcapi.set_nomemory(nth, 0 if sys.argv[1] == "True" else nth + 1)
                    try:
                        call(db)
                    finally:
                        _testcapi.remove_mem_hooks()
                    misses += 1
                except MemoryError:
                    failures += 1
                    misses = 0
                except Exception as error:
                    # CPython's own: a dict's KeyError, too, gets lost where there is no memory for its traceback.
                    if "error return without exception set" not in str(error):
                        raise AssertionError(f"{name}, {nth}") from error
                    failures, misses = failures + 1, 0
                if misses == 20:
                    break
            if dict(db) != ITEMS:
                raise AssertionError(f"{name}: {len(dict(db))}")
        assert db.stats().poisoned is None and db.verify().ok
        db.close()
        assert dict(nori_lsm.open("/db", env=disk)) == ITEMS
        print(failures)
        """,
        forever,
    )
    assert int(printed) > 200


def test_open_and_close_without_memory(tmp_path: Path) -> None:
    pytest.importorskip("_testcapi")
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


@pytest.mark.parametrize("name", [*CALLS, *refleak.lives()])
def test_calls_keep_no_references(disk: SimDisk, name: str) -> None:
    """Nor blocks, which is what an interpreter that is no debug build can count. For longer: `make refleak`."""
    with filled(path="/db", env=disk, memtable__flush_trigger_bytes=1 << 20) as db:
        use = refleak.lives().get(name) or (lambda: CALLS[name](db))
        assert refleak.growth_of(use, 6) < 1


def test_a_reference_that_is_kept_is_found() -> None:
    kept: list[object] = []
    assert refleak.growth_of(lambda: kept.append(object()), 6) >= 1

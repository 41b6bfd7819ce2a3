"""Whatever Python code does around a call, or in the middle of one: buffers that change, objects that call back, exceptions.
Nothing crashes or hangs, and what was acknowledged is there. Interrupts and the rest: test_hostile_life.py."""

from __future__ import annotations

import array
import copy
import faulthandler
import gc
import mmap
import pickle
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import nori_lsm
from nori_lsm.testing import SimDisk
from python_calls import CALLS, ITEMS, filled
from tests_support import in_threads


@pytest.fixture(autouse=True)
def watchdog() -> Iterator[None]:
    """A hang ends the whole run, and says where."""
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


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
                # From 3.12 on a collection waits for the next bytecode, and so comes between calls from C.
                if name in ("iter", "batches") and sys.version_info < (3, 12):
                    assert turns[0] > before
        finally:
            gc.set_threshold(*thresholds)
            gc.callbacks.remove(use)
        assert turns[0] > 0
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

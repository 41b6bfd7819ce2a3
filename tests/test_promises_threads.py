"""Many at once: readers while tables are flushed and merged, writers that stall, and those who close amid it."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

import nori_lsm
from nori_lsm.testing import SimDisk
from tests_support import in_threads

SMALL = {
    "memtable__flush_trigger_bytes": 64 << 10,
    "level1_bytes": 128 << 10,
    "table_bytes": 32 << 10,
    "l1_slot_count": 8,
    "wal__segment_bytes": 256 << 10,
}
# Level 0 may not grow, and nothing may leave it quickly: writers are at its limit all the time.
AT_THE_LIMIT = {
    "l0__max_files": 2,
    "l0__soft_throttle_threshold": 1,
    "io__max_background_jobs": 1,
    "pressure__stall_timeout_secs": 10.0,
}


# ---------------------------------------------------------------- reads beside flushes and merges


class Counters:
    """Keys whose values are how often they were written. One writer per key: what it wrote last is a floor for readers, and
    what it is about to write the ceiling."""

    def __init__(self, count: int) -> None:
        self.keys = [b"%c:%06d" % (97 + number % 26, number) for number in range(count)]
        self.floor = [0] * count
        self.ceiling = [0] * count

    def write(self, db: nori_lsm.Engine, numbers: range, until: float, chance: random.Random) -> None:
        while time.monotonic() < until:
            number = chance.choice(numbers)
            self.ceiling[number] += 1
            db[self.keys[number]] = b"%d" % self.ceiling[number] + bytes(100)
            self.floor[number] = self.ceiling[number]

    @staticmethod
    def parse(value: bytes) -> int:
        return int(value.rstrip(b"\0"))

    def check(self, number: int, floor: int, value: bytes | None) -> None:
        found = 0 if value is None else self.parse(value)
        assert floor <= found <= self.ceiling[number], (self.keys[number], floor, found, self.ceiling[number])

    def read_points(self, db: nori_lsm.Engine, until: float, chance: random.Random) -> None:
        while time.monotonic() < until:
            number = chance.randrange(len(self.keys))
            floor = self.floor[number]
            self.check(number, floor, db.get(self.keys[number]))
            some = chance.sample(range(len(self.keys)), 20)
            floors = [self.floor[number] for number in some]
            values = db.get_many([self.keys[number] for number in some])
            for number, floor, value in zip(some, floors, values, strict=True):
                self.check(number, floor, value)

    def read_scans(self, db: nori_lsm.Engine, until: float, chance: random.Random) -> None:
        by_key = {key: number for number, key in enumerate(self.keys)}
        while time.monotonic() < until:
            floors = list(self.floor)
            prefix = b"%c:" % chance.randrange(97, 123)
            reverse = chance.random() < 0.5
            found = list(db.scan(prefix=prefix, reverse=reverse))
            assert [key for key, _ in found] == sorted((key for key, _ in found), reverse=reverse)
            values = dict(found)
            for key, number in by_key.items():
                if key.startswith(prefix):
                    self.check(number, floors[number], values.get(key))

    def read_snapshots(self, db: nori_lsm.Engine, until: float) -> None:
        while time.monotonic() < until:
            floors = list(self.floor)
            with db.snapshot() as snapshot:
                first = dict(snapshot)
                time.sleep(0.05)
                assert dict(snapshot) == first
            for number, key in enumerate(self.keys):
                self.check(number, floors[number], first.get(key))


@pytest.mark.parametrize("limits", [{}, AT_THE_LIMIT], ids=["roomy", "at the limit of level 0"])
def test_reads_are_right_while_tables_are_flushed_and_merged(path: Path, limits: dict[str, int]) -> None:
    counters = Counters(2_000)
    until = time.monotonic() + 4

    def settle() -> None:
        while time.monotonic() < until:
            db.flush()
            db.compact(b"c", b"p")
            time.sleep(0.02)

    with nori_lsm.open(path, **{**SMALL, **limits}) as db:
        errors = in_threads(
            lambda: counters.write(db, range(0, 1_000), until, random.Random(1)),
            lambda: counters.write(db, range(1_000, 2_000), until, random.Random(2)),
            lambda: counters.read_points(db, until, random.Random(3)),
            lambda: counters.read_scans(db, until, random.Random(4)),
            lambda: counters.read_snapshots(db, until),
            settle,
        )
        assert errors == []
        assert db.verify().ok
        expected = {key: floor for key, floor in zip(counters.keys, counters.floor, strict=True) if floor}
        assert {key: Counters.parse(value) for key, value in db.scan()} == expected
    with nori_lsm.open(path) as db:
        assert {key: Counters.parse(value) for key, value in db.scan()} == expected


def test_deleted_ranges_stay_away_while_tables_are_merged(path: Path) -> None:
    until = time.monotonic() + 3
    dead = threading.Event()

    def write() -> None:
        number = 0
        while time.monotonic() < until:
            with db.batch() as batch:
                for _ in range(100):
                    batch[b"live:%06d" % (number % 5_000)] = bytes(100)
                    number += 7
            if number % 2_100 == 0:
                db.flush()

    def look() -> None:
        while time.monotonic() < until:
            assert list(db.scan(prefix=b"dead:")) == []
            assert db.get_many([b"dead:%06d" % number for number in range(0, 5_000, 50)]) == [None] * 100

    with nori_lsm.open(path, **SMALL) as db:
        db.update((b"dead:%06d" % number, bytes(100)) for number in range(5_000))
        db.delete_range(b"dead:", b"dead;")
        dead.set()
        assert in_threads(write, look, look) == []
        db.compact()
        assert list(db.scan(prefix=b"dead:")) == []
        assert db.verify().ok


# ---------------------------------------------------------------- pops


@pytest.mark.parametrize("settled", ["memtable", "levels"])
def test_of_eight_threads_popping_a_thousand_keys_each_is_won_once(path: Path, settled: str) -> None:
    keys = [b"%04d" % number for number in range(1_000)]
    won: list[list[bytes]] = [[] for _ in range(8)]

    def pop(mine: list[bytes], seed: int) -> None:
        for key in random.Random(seed).sample(keys, len(keys)):
            value = db.pop(key, None)
            if value is not None:
                assert value == key * 2
                mine.append(key)

    with nori_lsm.open(path) as db:
        db.update((key, key * 2) for key in keys)
        if settled == "levels":
            db.compact()
        assert in_threads(*(lambda mine=mine, seed=seed: pop(mine, seed) for seed, mine in enumerate(won))) == []
        assert sorted(key for mine in won for key in mine) == keys
        assert len(db) == 0


def test_dict_of_a_scan_and_of_an_engine(path: Path) -> None:
    items = {b"%05d" % number: b"%d" % number for number in range(5_000)}
    with nori_lsm.open(path, **SMALL) as db:
        db.update(items)
        assert dict(db.scan()) == dict(db) == dict(db.items()) == {**db} == items
        with db.snapshot() as snapshot:
            assert dict(snapshot.scan()) == dict(snapshot) == items


# ---------------------------------------------------------------- level 0 at its limit, and closing


def test_twelve_files_in_level_0_and_close(disk: SimDisk) -> None:
    """Close flushes, though level 0 is full, and does not wait for it to be emptied."""
    db = nori_lsm.open("/db", env=disk)
    for turn in range(12):
        db.update((b"%05d" % number, b"%d" % turn * 50) for number in range(0, 5_000, 11))
        db.flush()
    db[b"last"] = b"in the memtable"
    db.close()
    with nori_lsm.open("/db", env=disk) as db:
        assert db[b"last"] == b"in the memtable" and db[b"00011"] == b"11" * 50
        assert db.verify().ok


def stalled(path: Path) -> nori_lsm.Engine:
    """An engine whose writers must soon wait: every flush fills level 0, merges are slow, and no delay keeps writers from
    the limits."""
    slow = {"io__rate_limit_mib_s": 0.01, "pressure__stall_timeout_secs": 50.0, "pressure__zones": (0.97, 0.98, 0.99)}
    return nori_lsm.open(path, **{**SMALL, **AT_THE_LIMIT, **slow})


def write_until_told(db: nori_lsm.Engine, acknowledged: list[int], told: list[BaseException]) -> None:
    number = 0
    while True:
        try:
            db[b"%08d" % number] = os.urandom(500)
        except nori_lsm.Error as error:
            told.append(error)
            return
        acknowledged.append(number)
        number += 1


def test_close_during_a_stall_wakes_the_writer(path: Path) -> None:
    db = stalled(path)
    acknowledged: list[int] = []
    told: list[BaseException] = []
    writer = threading.Thread(target=write_until_told, args=[db, acknowledged, told], daemon=True)
    writer.start()
    deadline = time.monotonic() + 8
    while db.stats().zone != "red" and time.monotonic() < deadline:
        time.sleep(0.01)
    begun = time.monotonic()
    db.close()
    assert time.monotonic() - begun < 20
    writer.join(10)
    assert not writer.is_alive()
    assert isinstance(told[0], nori_lsm.ClosedError)
    with nori_lsm.open(path) as db:
        assert list(db) == [b"%08d" % number for number in acknowledged]


def test_a_stall_that_lasts_too_long_is_told_and_nothing_is_written(disk: SimDisk) -> None:
    """Tables cannot be written at all: memory fills, writers wait, and are told."""
    db = nori_lsm.open(
        "/db", env=disk, **SMALL, resources__memtables_mib=1, pressure__stall_timeout_secs=1.0
    )
    for nth in range(1, 3_000):
        disk.fail("sync", nth, 28)
    written = 0
    with pytest.raises((nori_lsm.BackpressureError, OSError)) as caught:
        for written in range(100_000):
            db[b"%08d" % written] = bytes(1_000)
    assert isinstance(caught.value, nori_lsm.BackpressureError), caught.value
    assert isinstance(caught.value, TimeoutError) and caught.value.outcome == "not_applied"
    assert list(db) == [b"%08d" % number for number in range(written)]
    disk.clear_faults()
    disk.advance(60)
    db[b"after"] = b""
    db.close()
    with nori_lsm.open("/db", env=disk) as db:
        assert len(db) == written + 1


# ---------------------------------------------------------------- close from where it is awkward


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals")
@pytest.mark.parametrize("work", ["put", "put sync", "update", "scan", "compact", "len", "get_many"])
def test_close_from_a_signal_handler(path: Path, work: str) -> None:
    db = nori_lsm.open(path, **SMALL)
    db.update((b"%06d" % number, bytes(100)) for number in range(20_000))
    keys = list(db)

    def use() -> None:
        if work.startswith("put"):
            for number in range(1_000):
                db.put(b"%06d" % number, bytes(100), sync=work == "put sync")
        elif work == "update":
            db.update((b"%06d" % number, bytes(100)) for number in range(20_000))
        elif work == "scan":
            assert len(list(db.scan())) == 20_000
        elif work == "compact":
            db[b"000000"] = bytes(100)
            db.compact()
        elif work == "get_many":
            db.get_many(keys)
        else:
            assert len(db) == 20_000

    old = signal.signal(signal.SIGALRM, lambda *_: db.close())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.15)
        begun = time.monotonic()
        with pytest.raises(nori_lsm.ClosedError):
            while time.monotonic() < begun + 30:
                use()
        assert db.closed
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    with nori_lsm.open(path) as db:
        assert list(db) == keys


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals")
def test_close_from_a_signal_handler_during_a_stall(path: Path) -> None:
    db = stalled(path)
    acknowledged: list[int] = []
    told: list[BaseException] = []
    old = signal.signal(signal.SIGALRM, lambda *_: db.close())
    try:
        signal.setitimer(signal.ITIMER_REAL, 3)
        begun = time.monotonic()
        write_until_told(db, acknowledged, told)
        assert isinstance(told[0], nori_lsm.ClosedError)
        assert db.closed and time.monotonic() - begun < 30
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    with nori_lsm.open(path) as db:
        assert list(db) == [b"%08d" % number for number in acknowledged]


@pytest.mark.parametrize("batch_bytes", [10, 400_000])
def test_close_from_an_iterator_given_to_update(path: Path, batch_bytes: int) -> None:
    """What update has committed is there, the open batch is not."""
    db = nori_lsm.open(path)

    def items():
        for number in range(10):
            yield b"%02d" % number, bytes(batch_bytes)
        db.close()
        yield b"after", b""

    with pytest.raises(nori_lsm.ClosedError):
        db.update(items())
    assert db.closed
    with nori_lsm.open(path) as db:
        left = list(db)
        assert left == [b"%02d" % number for number in range(len(left))]
        assert b"after" not in db and (batch_bytes == 10) == (not left)


def test_close_from_a_buffer_and_from_an_iterator_of_keys(path: Path) -> None:
    def keys():
        yield b"a"
        db.close()
        yield b"b"

    db = nori_lsm.open(path)
    db[b"a"] = b"1"
    with pytest.raises(nori_lsm.ClosedError):
        db.get_many(keys())
    assert db.closed
    db = nori_lsm.open(path)
    with pytest.raises(nori_lsm.ClosedError):
        db.checkpoint(path.with_name("copy"), progress=lambda _: db.close())
    assert db.closed and not path.with_name("copy").exists()
    db = nori_lsm.open(path)
    with pytest.raises(nori_lsm.ClosedError):
        db.verify(progress=lambda _: db.close())
    assert db.closed
    with nori_lsm.open(path) as db:
        assert dict(db) == {b"a": b"1"}

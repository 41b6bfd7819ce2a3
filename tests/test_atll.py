"""The shape follows use: what is read a lot becomes one run, what is not may hold several."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

import nori_lsm
from nori_lsm.testing import SimDisk
from tests_support import work

SHAPE = {
    "level1_bytes": 64 << 10,
    "table_bytes": 16 << 10,
    "l1_slot_count": 4,
    "max_levels": 4,
    "fanout": 4,
    "memtable__flush_trigger_bytes": 16 << 10,
    "wal__segment_bytes": 64 << 10,
    "heat_decay_interval_secs": 10.0,
}
KEYS = 1500


def key(number: int) -> bytes:
    return b"%06d" % number


def overlaps(slot: nori_lsm.Slot, low: int, high: int) -> bool:
    return slot.start < key(high) and (slot.stop is None or slot.stop > key(low))


def part_within(slot: nori_lsm.Slot, low: int, high: int) -> float:
    """How much of the slot's keys lie there."""
    start = int(slot.start.ljust(6, b"0"))
    stop = KEYS if slot.stop is None else int(slot.stop.ljust(6, b"0"))
    return max(min(stop, high) - max(start, low), 0) / max(stop - start, 1)


def use(db: nori_lsm.Engine, disk: SimDisk, source: random.Random, low: int, high: int, rounds: int) -> None:
    """Writes everywhere, reads from `low` to `high`."""
    for _ in range(rounds):
        for _ in range(150):
            db[key(source.randrange(KEYS))] = source.randbytes(100)
        for _ in range(4000):
            db.get(key(source.randrange(low, high)))
        disk.advance(5.0)


@pytest.mark.parametrize("k_policy", ["cost", "heat"])
def test_a_range_that_is_read_turns_leveled_and_the_others_stay_as_they_are(k_policy: str) -> None:
    disk = SimDisk(seed=1)
    source = random.Random(1)
    with nori_lsm.open("/db", env=disk, k_policy=k_policy, **SHAPE) as db:
        db.update((key(number), source.randbytes(100)) for number in range(KEYS))
        use(db, disk, source, 200, 350, 12)
        slots = [slot for slot in db.slots() if slot.bytes]
        hot = [slot for slot in slots if part_within(slot, 200, 350) > 0.5]  # One that only begins there is not.
        cold = [slot for slot in slots if not overlaps(slot, 150, 400)]
        assert hot and cold
        assert sum(slot.mode == "leveled" for slot in hot) >= len(hot) / 2, hot
        assert sum(slot.mode == "tiered" for slot in cold) > len(cold) * 0.8
        assert all(1 <= slot.k_max <= 4 for slot in slots)
        assert any(event.name == "slot_heat" for event in db.events(follow=False))
        assert db.verify().ok
        before = {(slot.level, slot.start): slot.k_max for slot in db.slots() if slot.mode == "leveled"}
    with nori_lsm.open("/db", env=disk) as db:
        after = {(slot.level, slot.start): slot.k_max for slot in db.slots()}
        kept = [place for place in before if after.get(place) == 1]
        assert len(kept) > len(before) / 2  # The last flush may have moved some guards.


def runs_of(db: nori_lsm.Engine) -> list[int]:
    return [slot.runs for slot in db.slots()] or [0]


@pytest.mark.parametrize("verb", ["get", "scan"])
def test_what_is_read_a_lot_does_not_wait_for_the_heat_interval(tmp_path: Path, verb: str) -> None:
    count, source = 16_000, random.Random(2)
    wide = SHAPE | {"level1_bytes": 4 << 20, "table_bytes": 256 << 10, "memtable__flush_trigger_bytes": 256 << 10}
    wide |= {"l1_slot_count": 8, "wal__segment_bytes": 1 << 20, "heat_decay_interval_secs": 3600.0}
    with nori_lsm.open(tmp_path / "db", **wide) as db:
        deadline, runs = time.monotonic() + 60, [0]
        while max(runs) < 2 or runs != runs_of(db):
            assert time.monotonic() < deadline, db.slots()
            if max(runs) < 2:
                for number in source.sample(range(count), count):
                    db[key(number)] = source.randbytes(100)
            time.sleep(0.3)  # What is under way comes to its end.
            runs = runs_of(db)
            time.sleep(0.3)
        while max(runs_of(db)) > 1:
            assert time.monotonic() < deadline, db.slots()
            for number in source.sample(range(count), 1000):
                if verb == "get":
                    db.get(key(number))
                else:
                    list(db.scan(key(number), limit=2))


@pytest.mark.parametrize("strategy", ["leveled", "tiered"])
def test_the_baselines_keep_their_shape(strategy: str) -> None:
    disk = SimDisk(seed=2)
    source = random.Random(2)
    with nori_lsm.open("/db", env=disk, strategy=strategy, **SHAPE) as db:
        db.update((key(number), source.randbytes(100)) for number in range(KEYS))
        use(db, disk, source, 200, 350, 3)
        slots = [slot for slot in db.slots() if slot.bytes]
        assert slots and all(slot.mode == strategy for slot in slots)
        assert strategy == "tiered" or all(slot.runs == 1 for slot in slots)


@pytest.mark.parametrize("scheduler", ["bandit", "contextual", "greedy", "round_robin"])
def test_every_scheduler_keeps_all_data_and_all_bounds(scheduler: str) -> None:
    disk = SimDisk(seed=3)
    source = random.Random(3)
    model: dict[bytes, bytes] = {}
    with nori_lsm.open("/db", env=disk, scheduler=scheduler, **SHAPE) as db:
        for _ in range(6):
            for _ in range(500):
                name, value = key(source.randrange(KEYS)), source.randbytes(60)
                db[name] = model[name] = value
            for _ in range(500):
                name = key(source.randrange(KEYS))
                assert db.get(name) == model.get(name)
            disk.advance(5.0)
        assert dict(db) == model
        assert all(slot.runs <= 4 for slot in db.slots())
        assert db.decisions() and db.verify().ok
    with nori_lsm.open("/db", env=disk) as db:
        assert dict(db) == model


def test_space_stays_within_its_bound() -> None:
    disk = SimDisk(seed=4)
    source = random.Random(4)
    with nori_lsm.open("/db", env=disk, max_space_amp=1.3, **SHAPE) as db:
        db.update((key(number), source.randbytes(100)) for number in range(KEYS))
        for _ in range(8000):
            db[key(source.randrange(KEYS))] = source.randbytes(100)
        db.flush()
        # Level 0 may hold its four files whatever the size below is.
        least = KEYS * 108
        assert db.stats().bytes_on_disk <= 1.3 * least * 1.1 + 5 * (16 << 10)


@pytest.mark.parametrize("scheduler", ["bandit", "contextual", "greedy", "round_robin"])
def test_what_is_merged_for_space_is_merged_once(scheduler: str) -> None:
    """A merge that left a slot as it was would be planned again, for ever: a write comes to few operations."""
    small = SHAPE | {"fanout": 2, "max_levels": 7, "heat_decay_interval_secs": 60.0}
    numbers, disk = random.Random(1), SimDisk(seed=3)
    with nori_lsm.open("/db", env=disk, scheduler=scheduler, **small) as db:
        for _ in range(10):
            before = disk.operations
            work(db, numbers, 300)
            for _ in range(300):
                db.get(b"k%05d" % numbers.randrange(4000))
            disk.advance(30)
            assert disk.operations - before < 10_000
        assert db.verify().ok

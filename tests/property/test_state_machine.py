"""Whatever is done to an engine, in any order, it holds what a dict would; after a crash, what one held before.

HYPOTHESIS_PROFILE=soak runs it for much longer, and differently each time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from hashlib import shake_128
from itertools import count, islice
from typing import Any

import engine_model as model
from engine_model import Bounds, Commit, Model
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

import nori_lsm
from nori_lsm.testing import SimDisk

settings.register_profile(
    "ci",
    max_examples=1800,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
settings.register_profile(
    "soak", settings.get_profile("ci"), derandomize=False, max_examples=20000, stateful_step_count=120
)

PATH = "/db"
# Keys that are prefixes of each other, at the ends of the order, and amid those that bulk writes make.
KEYS = [b"", b"\x00", b"a", b"a\x00", b"ab", b"a" * 300, b"k", b"k\xff", b"\xff", b"\xff\xff", b"\xff\xff\x00"]
KEYS += [b"k%04d" % number for number in range(0, 1000, 83)]
keys = st.sampled_from(KEYS)
bounds_of_ranges = st.none() | keys
value_sizes = st.sampled_from([0, 1, 100, 700, 5000])
ttls = st.none() | st.sampled_from([1000.0, 2000.0, 3000.0])
syncs = st.sampled_from([None, None, True, False])
scan_bounds = st.builds(
    Bounds,
    start=bounds_of_ranges,
    stop=bounds_of_ranges,
    prefix=st.none() | st.sampled_from([b"", b"a", b"k", b"k00", b"k08", b"\xff", b"\xff\xff", b"none"]),
    reverse=st.booleans(),
    limit=st.none() | st.integers(0, 200),
    include_start=st.booleans(),
    include_stop=st.booleans(),
)

SMALL: dict[str, Any] = {
    "memtable__flush_trigger_bytes": 16 << 10,
    "wal__segment_bytes": 64 << 10,
    "level1_bytes": 64 << 10,
    "table_bytes": 16 << 10,
    "fanout": 2,
    "l1_slot_count": 4,
}
VARIATIONS: list[dict[str, Any]] = [
    {},
    {"memtable__flush_trigger_bytes": 48 << 10},
    {"wal__durability": "sync", "wal__mapped": True},
    {"wal__durability": "os", "wal__mapped": False, "k_global": 1},
    {"levels": (nori_lsm.LevelConfig(compression="zstd", block_bytes=1024),), "l1_slot_count": 8},
    {"levels": (nori_lsm.LevelConfig(compression="none"), nori_lsm.LevelConfig(bloom_bits_per_key=0.0)), "fanout": 4},
    {"strategy": "leveled", "l0__max_files": 4, "l0__soft_throttle_threshold": 2},
    {"strategy": "tiered", "resources__block_cache_mib": 1, "guards": "uniform"},
    {"max_levels": 3, "memtable__wal_age_trigger_sec": 0.0, "l1_slot_count": 1},
]


def operation_on(engine: nori_lsm.Engine | nori_lsm.Batch, kind: str, key: bytes, other: bytes, value: bytes) -> model.Operation:
    """One blind write, to an engine or a batch; and what it does to a model."""
    if kind == "put":
        engine.put(key, value)
        return model.put(key, value)
    if kind == "delete":
        engine.delete(key)
        return model.delete(key)
    engine.delete_range(key, other)
    return model.delete_range(key, other)


class EngineMachine(RuleBasedStateMachine):
    snapshots = Bundle("snapshots")

    def __init__(self) -> None:
        super().__init__()
        self.numbers = count()
        self.model = Model()
        self.synced_always = False
        self.generation = 0  # Snapshots of an earlier one are closed.
        self.checkpoints: list[tuple[str, model.State]] = []

    @initialize(seed=st.integers(0, 1 << 32), variation=st.sampled_from(VARIATIONS), sector=st.sampled_from([512, 4096]))
    def begin(self, seed: int, variation: dict[str, Any], sector: int) -> None:
        self.disk = SimDisk(seed, sector=sector)
        self.open(variation)

    # ------------------------------------------------------------ helpers

    def open(self, variation: dict[str, Any]) -> None:
        self.variation = variation
        self.db = nori_lsm.open(PATH, env=self.disk, **{**SMALL, **variation})
        self.synced_always = variation.get("wal__durability") == "sync"

    def value(self, size: int) -> bytes:
        """Of this size or a little more; no two are the same, and half of each cannot be compressed."""
        number = b"%d." % next(self.numbers)
        return (number + shake_128(number).digest(size // 2)).ljust(size, b"v")

    def commit(self, *operations: model.Operation, sync: bool | None = None) -> None:
        self.model.commit(operations, synced=self.synced_always if sync is None else sync)

    def expiry(self, ttl: float | None) -> float | None:
        return None if ttl is None else self.model.now + ttl

    def die(self, cut: Callable[[], None]) -> None:
        cut()
        self.generation += 1
        with suppress(OSError):
            self.db.close()

    def recover(self, variation: dict[str, Any], *, least: int = 0, maybe: Commit | None = None) -> None:
        self.open(variation)
        found = dict(self.db.scan())
        before = self.model.items()
        assert self.model.adopt(found, lost_nothing_before=least, maybe=maybe), (
            "not a prefix of the commits, or too short a one",
            {key: (found.get(key), before.get(key)) for key in found.keys() | before.keys() if found.get(key) != before.get(key)},
        )
        assert self.db.verify().ok

    # ------------------------------------------------------------ writes

    @rule(key=keys, size=value_sizes, ttl=ttls, sync=syncs)
    def put(self, key: bytes, size: int, ttl: float | None, sync: bool | None) -> None:
        value = self.value(size)
        self.db.put(key, value, ttl=ttl, sync=sync)
        self.commit(model.put(key, value, self.expiry(ttl)), sync=sync)

    @rule(key=keys, sync=syncs)
    def delete(self, key: bytes, sync: bool | None) -> None:
        self.db.delete(key, sync=sync)
        self.commit(model.delete(key), sync=sync)

    @rule(start=bounds_of_ranges, stop=bounds_of_ranges, sync=syncs)
    def delete_range(self, start: bytes | None, stop: bytes | None, sync: bool | None) -> None:
        self.db.delete_range(start, stop, sync=sync)
        self.commit(model.delete_range(start, stop), sync=sync)

    @rule(first=st.integers(0, 999), many=st.integers(1, 120), step=st.sampled_from([1, 1, 7, 83]), size=st.sampled_from([50, 200, 400]))
    def fill(self, first: int, many: int, step: int, size: int) -> None:
        for number in range(many):
            key, value = b"k%04d" % ((first + number * step) % 1000), self.value(size)
            self.db[key] = value
            self.commit(model.put(key, value))

    @rule(
        steps=st.lists(st.tuples(st.sampled_from(["put", "put", "delete", "delete_range"]), keys, keys, value_sizes, ttls), max_size=12),
        sync=syncs,
    )
    def batch(self, steps: list[tuple[str, bytes, bytes, int, float | None]], sync: bool | None) -> None:
        operations = []
        with self.db.batch(sync=sync) as batch:
            for kind, key, other, size, ttl in steps:
                value = self.value(size)
                if ttl is None or kind != "put":
                    operations.append(operation_on(batch, kind, key, other, value))
                else:
                    batch.put(key, value, ttl=ttl)
                    operations.append(model.put(key, value, self.expiry(ttl)))
            empty_ranges = sum(kind == "delete_range" and key >= other for kind, key, other, _, _ in steps)
            assert len(batch) == len(steps) - empty_ranges
        if operations:
            self.commit(*operations, sync=sync)

    @rule(key=keys, has_default=st.booleans())
    def pop(self, key: bytes, has_default: bool) -> None:
        expected = self.model.items().get(key)
        try:
            found = self.db.pop(key, None) if has_default else self.db.pop(key)
        except KeyError:
            assert expected is None and not has_default
            return
        assert found == expected
        if found is not None:
            self.commit(model.delete(key))

    @rule(key=keys)
    def del_item(self, key: bytes) -> None:
        expected = key in self.model.items()
        try:
            del self.db[key]
        except KeyError:
            assert not expected
            return
        assert expected
        self.commit(model.delete(key))

    @rule(key=keys)
    def setdefault(self, key: bytes) -> None:
        value, expected = self.value(30), self.model.items().get(key)
        assert self.db.setdefault(key, value) == (value if expected is None else expected)
        if expected is None:
            self.commit(model.put(key, value))

    @rule()
    def popitem(self) -> None:
        items = self.model.items()
        try:
            found = self.db.popitem()
        except KeyError:
            assert not items
            return
        assert found == max(items.items())
        self.commit(model.delete(found[0]))

    @rule(seconds=st.sampled_from([500, 1000, 2500]))
    def wait(self, seconds: int) -> None:
        self.disk.advance(seconds)
        self.model.now += seconds

    # ------------------------------------------------------------ the tree

    @rule()
    def sync(self) -> None:
        self.db.sync()
        self.model.sync()

    @rule()
    def flush(self) -> None:
        self.db.flush()

    @rule(start=bounds_of_ranges, stop=bounds_of_ranges)
    def compact(self, start: bytes | None, stop: bytes | None) -> None:
        self.db.compact(start, stop)

    @rule(start=keys, stop=keys)
    def flush_a_range_delete_alone(self, start: bytes, stop: bytes) -> None:
        self.db.flush()
        self.db.delete_range(start, stop)
        self.commit(model.delete_range(start, stop))
        self.db.flush()

    # ------------------------------------------------------------ reads

    @rule(wanted=st.lists(keys, max_size=20))
    def get_many(self, wanted: list[bytes]) -> None:
        items = self.model.items()
        assert self.db.get_many(wanted) == [items.get(key) for key in wanted]
        for key in wanted:
            assert self.db.get(key) == items.get(key)
            assert (key in self.db) == (key in items)

    @rule(bounds=scan_bounds)
    def scan(self, bounds: Bounds) -> None:
        expected = model.select(self.model.items(), bounds)
        assert list(self.db.scan(**bounds.arguments())) == expected
        scan = self.db.scan(**bounds.arguments())
        assert scan.count() == len(expected)
        assert list(scan.only_keys()) == [key for key, _ in expected]

    @rule(bounds=scan_bounds, goals=st.lists(keys, min_size=1, max_size=4), steps=st.integers(0, 5))
    def seek(self, bounds: Bounds, goals: list[bytes], steps: int) -> None:
        unlimited = Bounds(**{**bounds.arguments(), "limit": None})
        within = model.select(self.model.items(), unlimited)
        with self.db.scan(**unlimited.arguments()) as scan:
            for goal in goals:
                scan.seek(goal)
                left = [item for item in within if (item[0] <= goal if bounds.reverse else item[0] >= goal)]
                assert scan.count() == len(left)
                assert [next(scan, None) for _ in range(min(steps, len(left)))] == left[:steps]
            assert list(scan) == left[steps:]

    @rule(target=snapshots)
    def take_snapshot(self) -> tuple[nori_lsm.Snapshot, dict[bytes, bytes], int]:
        return self.db.snapshot(), self.model.items(), self.generation

    @rule(held=snapshots, bounds=scan_bounds, wanted=st.lists(keys, max_size=8))
    def look_at_snapshot(self, held: tuple[nori_lsm.Snapshot, dict[bytes, bytes], int], bounds: Bounds, wanted: list[bytes]) -> None:
        snapshot, items, generation = held
        if generation != self.generation:
            return
        assert dict(snapshot) == items and len(snapshot) == len(items)
        assert list(snapshot.scan(**bounds.arguments())) == model.select(items, bounds)
        assert snapshot.get_many(wanted) == [items.get(key) for key in wanted]

    @rule(held=consumes(snapshots))
    def close_snapshot(self, held: tuple[nori_lsm.Snapshot, dict[bytes, bytes], int]) -> None:
        snapshot, items, generation = held
        if generation == self.generation:
            assert dict(snapshot) == items
        snapshot.close()

    @rule(size=st.integers(1, 40))
    def write_while_scanning(self, size: int) -> None:
        """A scan is one moment, whatever is written, flushed and merged while it is read."""
        expected = sorted(self.model.items().items())
        forwards, backwards = self.db.scan(), self.db.scan(reverse=True)
        got: list[tuple[bytes, bytes]] = []
        tog: list[tuple[bytes, bytes]] = []
        for turn in range(4):
            got += islice(forwards, size)
            tog += islice(backwards, size)
            self.fill(turn * 250, 40, 3, 200)
            if turn % 2:
                self.db.compact()
        assert got + list(forwards) == expected
        assert tog + list(backwards) == expected[::-1]

    @rule()
    def look_read_only(self) -> None:
        operations = self.disk.count("write")
        with nori_lsm.open(PATH, env=self.disk, read_only=True) as reader:
            assert dict(reader) == self.model.items()
        assert self.disk.count("write") == operations

    # ------------------------------------------------------------ ends and beginnings

    @rule(variation=st.sampled_from(VARIATIONS))
    def reopen(self, variation: dict[str, Any]) -> None:
        self.db.close()
        self.generation += 1
        self.model.sync()
        self.open(variation)

    @rule()
    def checkpoint(self) -> None:
        path = f"/checkpoint{len(self.checkpoints)}"
        self.db.checkpoint(path)
        self.checkpoints.append((path, dict(self.model.current)))

    @precondition(lambda self: self.checkpoints)
    @rule()
    def open_checkpoint(self) -> None:
        path, state = self.checkpoints[-1]
        with nori_lsm.open(path, env=self.disk, create=False) as other:
            assert dict(other) == model.visible(state, self.model.now)
            assert other.verify().ok

    @rule(keep=st.sampled_from([0.0, 0.5, 1.0, None]), variation=st.sampled_from(VARIATIONS))
    def crash(self, keep: float | None, variation: dict[str, Any]) -> None:
        self.die(lambda: self.disk.crash(keep))
        self.recover(variation)
        self.model.sync()  # What is on the disk after a power cut is durable.

    @rule(variation=st.sampled_from(VARIATIONS))
    def kill(self, variation: dict[str, Any]) -> None:
        self.die(self.disk.kill)
        self.recover(variation, least=len(self.model.pending))

    @rule(
        stop=st.integers(1, 60),
        work=st.lists(
            st.tuples(st.sampled_from(["put", "put", "batch", "delete_range", "sync", "flush", "compact", "fill"]), keys, keys, value_sizes),
            min_size=1,
            max_size=8,
        ),
        recovery_stop=st.just(0) | st.integers(1, 40),
        is_power_cut=st.booleans(),
        keep=st.sampled_from([0.0, 0.5, 1.0, None]),
        variation=st.sampled_from(VARIATIONS),
    )
    def stop_in_the_middle(
        self,
        stop: int,
        work: list[tuple[str, bytes, bytes, int]],
        recovery_stop: int,
        is_power_cut: bool,
        keep: float | None,
        variation: dict[str, Any],
    ) -> None:
        """Everything ends at the n-th operation of the disk, whatever was under way; and once more in recovery."""
        self.disk.stop_at(stop)
        self.under_way: Commit | None = None
        with suppress(OSError):
            for step in work:
                self.do(*step)
        cut: Callable[[], None] = (lambda: self.disk.crash(keep)) if is_power_cut else self.disk.kill
        self.die(cut)
        if recovery_stop:
            self.disk.stop_at(recovery_stop)
            with suppress(OSError):
                self.db = nori_lsm.open(PATH, env=self.disk, **{**SMALL, **variation})
                self.db.flush()
            self.die(cut)
        self.recover(variation, least=0 if is_power_cut else len(self.model.pending), maybe=self.under_way)
        if is_power_cut:
            self.model.sync()

    def do(self, kind: str, key: bytes, other: bytes, size: int) -> None:
        if kind == "fill":
            for number in range(40):
                self.do("put", b"k%04d" % (number * 23), b"", 300)
        elif kind in ("sync", "flush", "compact"):
            getattr(self.db, kind)()
            if kind == "sync":
                self.model.sync()
        elif kind == "batch":
            values = [self.value(size) for _ in range(3)]
            self.under_way = [model.put(key, values[0]), model.delete_range(key, other), model.put(other, values[1])]
            batch = self.db.batch()
            batch.put(key, values[0])
            batch.delete_range(key, other)
            batch.put(other, values[1])
            batch.commit()
            self.commit(*self.under_way)
        else:
            value = self.value(size)
            self.under_way = [model.put(key, value) if kind == "put" else model.delete_range(key, other)]
            operation_on(self.db, kind, key, other, value)
            self.commit(*self.under_way)
        self.under_way = None

    # ------------------------------------------------------------ always

    @invariant()
    def the_engine_holds_what_the_model_holds(self) -> None:
        if not hasattr(self, "db"):
            return
        items = self.model.items()
        assert dict(self.db.scan()) == items
        assert len(self.db) == len(items)

    def teardown(self) -> None:
        if not hasattr(self, "db") or self.db.closed:
            return
        assert self.db.verify().ok
        self.db.close()
        with nori_lsm.open(PATH, env=self.disk) as db:
            assert dict(db) == self.model.items()
            assert dict(db.scan(reverse=True)) == self.model.items()
            assert db.verify().ok


TestEngine = EngineMachine.TestCase
TestEngine.settings = settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

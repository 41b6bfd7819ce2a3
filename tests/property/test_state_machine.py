"""Whatever is done to an engine, in any order, it holds what a dict would; after a crash, what one held before.

HYPOTHESIS_PROFILE=soak runs it for much longer, and differently each time.
"""

from __future__ import annotations

import os
from itertools import islice
from typing import Any

from engine_model import Bounds, select
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

import nori_lsm
from nori_lsm._history import State, visible
from nori_lsm.testing import EngineMachine

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

# Keys that are prefixes of each other, at the ends of the order, and amid those that bulk writes make.
KEYS = [b"", b"\x00", b"a", b"a\x00", b"ab", b"a" * 300, b"k", b"k\xff", b"\xff", b"\xff\xff", b"\xff\xff\x00"]
KEYS += [b"k%04d" % number for number in range(0, 1000, 83)]
keys = st.sampled_from(KEYS)
bounds_of_ranges = st.none() | keys
values = st.builds(lambda machine, size: machine.new_value(size), st.runner(), st.sampled_from([0, 1, 100, 700, 5000]))
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


class TreeMachine(EngineMachine):
    """The public machine, with deep trees, all kinds of reads and configs that change."""

    keys = keys
    off = ("wait",)  # `pass_time` of its own, in steps that fit the lifetimes.

    @initialize(seed=st.integers(0, 1 << 32), variation=st.sampled_from(VARIATIONS), sector=st.sampled_from([512, 4096]))
    def begin(self, seed: int, variation: dict[str, Any], sector: int) -> None:
        self.checkpoints: list[tuple[str, State]] = []
        self.sector = sector
        self.overrides = {**SMALL, **variation}
        self._begin(seed)

    def opened(self, db: nori_lsm.Engine) -> None:
        assert db.verify().ok

    @rule(variation=st.sampled_from(VARIATIONS))
    def vary(self, variation: dict[str, Any]) -> None:
        """From the next open on."""
        self.overrides = {**SMALL, **variation}

    @rule(seconds=st.sampled_from([1.0, 10.0, 500.0, 1000.0, 2500.0]))
    def pass_time(self, seconds: float) -> None:
        self.disk.advance(seconds)

    # ------------------------------------------------------------ writes

    @rule(key=keys, value=values, ttl=ttls | st.sampled_from([10.0, 100.0]), sync=syncs)
    def do_put_expiring(self, key: bytes, value: bytes, ttl: float | None, sync: bool | None) -> None:
        with self.attempt():
            self.db.put(key, value, ttl=ttl, sync=sync)

    @rule(
        steps=st.lists(st.tuples(st.sampled_from(["put", "put", "delete", "delete_range"]), keys, keys, values, ttls), max_size=12),
        sync=syncs,
    )
    def do_batch(self, steps: list[tuple[str, bytes, bytes, bytes, float | None]], sync: bool | None) -> None:
        with self.attempt(), self.db.batch(sync=sync) as batch:
            for kind, key, other, value, ttl in steps:
                if kind == "put":
                    batch.put(key, value, ttl=ttl)
                elif kind == "delete":
                    batch.delete(key)
                else:
                    batch.delete_range(key, other)
            empty_ranges = sum(kind == "delete_range" and key >= other for kind, key, other, _, _ in steps)
            assert len(batch) == len(steps) - empty_ranges

    @rule(start=bounds_of_ranges, stop=bounds_of_ranges, sync=syncs)
    def do_delete_range(self, start: bytes | None, stop: bytes | None, sync: bool | None) -> None:
        with self.attempt():
            self.db.delete_range(start, stop, sync=sync)

    @rule(first=st.integers(0, 999), many=st.integers(1, 120), step=st.sampled_from([1, 1, 7, 83]), size=st.sampled_from([50, 200, 400]))
    def fill(self, first: int, many: int, step: int, size: int) -> None:
        with self.attempt():
            self.fill_now(first, many, step, size)

    def fill_now(self, first: int, many: int, step: int, size: int) -> None:
        for number in range(many):
            self.db[b"k%04d" % ((first + number * step) % 1000)] = self.new_value(size)

    @rule(first=st.integers(0, 999), many=st.integers(1, 300), size=st.sampled_from([50, 400]))
    def ingest_many(self, first: int, many: int, size: int) -> None:
        with self.attempt():
            self.db.ingest([(b"k%04d" % ((first + number * 7) % 1000), self.new_value(size)) for number in range(many)])

    @rule(key=keys, has_default=st.booleans())
    def pop(self, key: bytes, has_default: bool) -> None:
        expected = self.model.get(key)
        with self.attempt():
            try:
                found = self.db.pop(key, None) if has_default else self.db.pop(key)
            except KeyError:
                assert expected is None and not has_default
                return
            assert found == expected

    @rule(key=keys)
    def del_item(self, key: bytes) -> None:
        expected = key in self.model
        with self.attempt():
            try:
                del self.db[key]
            except KeyError:
                assert not expected
                return
            assert expected

    @rule(key=keys)
    def setdefault(self, key: bytes) -> None:
        value, expected = self.new_value(30), self.model.get(key)
        with self.attempt():
            assert self.db.setdefault(key, value) == (value if expected is None else expected)

    @rule()
    def popitem(self) -> None:
        items = self.model
        with self.attempt():
            try:
                found = self.db.popitem()
            except KeyError:
                assert not items
                return
            assert found == max(items.items())

    @rule(start=keys, stop=keys)
    def flush_a_range_delete_alone(self, start: bytes, stop: bytes) -> None:
        with self.attempt():
            self.db.flush()
            self.db.delete_range(start, stop)
            self.db.flush()

    # ------------------------------------------------------------ reads

    @rule(wanted=st.lists(keys, max_size=20))
    def get_many(self, wanted: list[bytes]) -> None:
        items = self.model
        with self.attempt():
            assert self.db.get_many(wanted) == [items.get(key) for key in wanted]
            for key in wanted:
                assert self.db.get(key) == items.get(key)
                assert (key in self.db) == (key in items)

    @rule(bounds=scan_bounds)
    def do_scan(self, bounds: Bounds) -> None:
        expected = select(self.model, bounds)
        with self.attempt():
            assert list(self.db.scan(**bounds.arguments())) == expected
            scan = self.db.scan(**bounds.arguments())
            assert scan.count() == len(expected)
            assert list(scan.only_keys()) == [key for key, _ in expected]

    @rule(bounds=scan_bounds, goals=st.lists(keys, min_size=1, max_size=4), steps=st.integers(0, 5))
    def seek(self, bounds: Bounds, goals: list[bytes], steps: int) -> None:
        unlimited = Bounds(**{**bounds.arguments(), "limit": None})
        within = select(self.model, unlimited)
        with self.db.scan(**unlimited.arguments()) as scan:
            for goal in goals:
                scan.seek(goal)
                left = [item for item in within if (item[0] <= goal if bounds.reverse else item[0] >= goal)]
                assert scan.count() == len(left)
                assert [next(scan, None) for _ in range(min(steps, len(left)))] == left[:steps]
            assert list(scan) == left[steps:]

    @rule(which=st.integers(0, 3), bounds=scan_bounds, wanted=st.lists(keys, max_size=8))
    def do_look_at_snapshot(self, which: int, bounds: Bounds, wanted: list[bytes]) -> None:
        for snapshot, items in self._snapshots[which : which + 1]:
            assert dict(snapshot) == items and len(snapshot) == len(items)
            assert list(snapshot.scan(**bounds.arguments())) == select(items, bounds)
            assert snapshot.get_many(wanted) == [items.get(key) for key in wanted]

    @precondition(lambda self: self._snapshots)
    @rule(which=st.integers(0, 3))
    def close_snapshot(self, which: int) -> None:
        """What it alone held goes with it, and no sooner."""
        snapshot, items = self._snapshots.pop(which % len(self._snapshots))
        assert dict(snapshot) == items
        snapshot.close()

    @rule(size=st.integers(1, 40))
    def write_while_scanning(self, size: int) -> None:
        """A scan is one moment, whatever is written, flushed and merged while it is read."""
        expected = sorted(self.model.items())
        forwards, backwards = self.db.scan(), self.db.scan(reverse=True)
        got: list[tuple[bytes, bytes]] = []
        tog: list[tuple[bytes, bytes]] = []
        for turn in range(4):
            got += islice(forwards, size)
            tog += islice(backwards, size)
            self.fill_now(turn * 250, 40, 3, 200)
            if turn % 2:
                self.db.compact()
        assert got + list(forwards) == expected
        assert tog + list(backwards) == expected[::-1]

    @rule()
    def look_read_only(self) -> None:
        operations = self.disk.count("write")
        with nori_lsm.open(self.path, env=self.disk, read_only=True) as reader:
            assert dict(reader) == self.model
        assert self.disk.count("write") == operations

    @rule()
    def checkpoint(self) -> None:
        path = f"/checkpoint{len(self.checkpoints)}"
        self.db.checkpoint(path)
        self.checkpoints.append((path, dict(self._history.current)))

    @precondition(lambda self: self.checkpoints)
    @rule()
    def open_checkpoint(self) -> None:
        path, state = self.checkpoints[-1]
        with nori_lsm.open(path, env=self.disk, create=False) as other:
            assert dict(other) == visible(state, self._now_ms())
            assert other.verify().ok

    # ------------------------------------------------------------ always

    @invariant()
    def it_counts_what_it_holds(self) -> None:
        assert len(self.db) == len(self.model)

    def teardown(self) -> None:
        if hasattr(self, "checkpoints") and not self._engine.closed:
            assert dict(self.db.scan(reverse=True)) == self.model
            self.overrides = {}  # The last open is one with another config.
        super().teardown()


TestEngine = TreeMachine.TestCase
TestEngine.settings = settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

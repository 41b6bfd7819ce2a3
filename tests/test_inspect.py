"""The reader that is independent of the engine reads what the engine wrote, and nothing else."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nori_lsm
from nori_lsm import inspect
from nori_lsm.testing import SimDisk

SMALL: dict[str, Any] = {
    "memtable__flush_trigger_bytes": 16 << 10,
    "wal__segment_bytes": 64 << 10,
    "level1_bytes": 64 << 10,
    "table_bytes": 16 << 10,
    "fanout": 2,
    "l1_slot_count": 4,
}
RICH: dict[str, Any] = {
    **SMALL,
    "filters__kind": "ribbon",
    "levels": tuple(
        nori_lsm.LevelConfig(compression=name, block_bytes=1024) for name in ("none", "lz4", "zstd", "lz4") * 2
    ),
}


class Memory:
    """Files in a dict, to be damaged."""

    def __init__(self, files: inspect.Files) -> None:
        self.data = {name: files.read(name) for name in files.list()}

    def list(self) -> dict[str, int]:
        return {name: len(data) for name, data in self.data.items()}

    def read(self, name: str) -> bytes:
        try:
            return self.data[name]
        except KeyError:
            raise FileNotFoundError(name) from None


def files_of(disk: SimDisk, path: str = "/db") -> inspect.Files:
    return inspect.SimDiskFiles(disk, path)


def read(disk: SimDisk, path: str = "/db") -> inspect.Database:
    return inspect.read_database(files_of(disk, path))


def pairs(database: inspect.Database) -> dict[bytes, bytes]:
    """Of a database whose clock has not gone on since it was opened."""
    return database.to_dict(now_ms=database.tree.counters.ttl_clock_ms)


def work(db: nori_lsm.Engine, numbers: random.Random, count: int) -> None:
    """Writes of all kinds."""

    def key() -> bytes:
        return b"k%05d" % numbers.randrange(4000)

    for _ in range(count):
        kind, at = numbers.random(), key()
        if kind < 0.7:
            db.put(at, numbers.randbytes(numbers.randrange(100)) + b"x" * numbers.randrange(300))
        elif kind < 0.8:
            db.put(at, b"expires", ttl=numbers.choice([10.0, 10000.0]))
        elif kind < 0.9:
            db.delete(at)
        elif kind < 0.92:
            db.delete_range(at, at + b"\xff" if kind < 0.905 else b"k%05d" % (int(at[1:]) + 20))
        elif kind < 0.925:
            db.ingest([(key(), b"ingested") for _ in range(20)])
        elif kind < 0.927:
            db.put(at, numbers.randbytes(100_000))
        else:
            with db.batch() as batch:
                for _ in range(5):
                    batch.put(key(), b"batch")
                batch.delete(key())
                batch.delete_range(at, at + b"0")


@pytest.fixture(scope="module")
def rich() -> SimDisk:
    """A database with all that there is, its engine dead."""
    disk = SimDisk(seed=5)
    db = nori_lsm.open("/db", env=disk, **RICH)
    work(db, random.Random(5), 4000)
    db.ingest((b"k%05d" % number, b"stamped %d" % number) for number in range(0, 4000, 3))
    db.delete_range(b"k01", b"k02")
    db.flush()
    db.checkpoint("/copy")
    work(db, random.Random(6), 50)
    db.sync()
    disk.kill()
    return disk


# ---------------------------------------------------------------- what the engine reads


@pytest.mark.parametrize("path", ["/db", "/copy"])
def test_it_reads_what_the_engine_reads(rich: SimDisk, path: str) -> None:
    database = read(rich, path)
    with nori_lsm.open(path, env=rich, read_only=True) as db:
        assert pairs(database) == dict(db)
        assert list(database.items(now_ms=0)) == sorted(database.items(now_ms=0))
        assert database.sequence == db.stats().sequence
    database.check()


def test_what_was_written_has_all_that_there_is(rich: SimDisk) -> None:
    database = read(rich)
    tables = [database.table(number) for number in database.tree.table_numbers]
    assert {type(table.filter) for table in tables if table.properties.entries} == {inspect.BloomFilter, inspect.RibbonFilter}
    assert {block.compression for table in tables for block in table.blocks()} == {0, 1, 2}
    assert any(table.is_stamped for table in tables)
    assert any(table.range_deletes for table in tables)
    assert sum(any(slot.runs for slot in slots) for slots in database.tree.levels) >= 3
    assert {entry.type for table in tables for entry in table.entries()} == {0, 1, 2}
    assert database.log.commits


def test_filters_know_all_keys_of_their_tables_and_few_others(rich: SimDisk) -> None:
    database = read(rich)
    asked, wrong = {"bloom": 0, "ribbon": 0}, {"bloom": 0, "ribbon": 0}
    for number in database.tree.table_numbers:
        table = database.table(number)
        if table.filter is None:
            assert not table.properties.entries
            continue
        assert all(table.filter.may_hold(entry.key) for entry in table.entries())
        kind = table.filter.to_dict()["kind"]
        for other in range(200):
            asked[kind] += 1
            wrong[kind] += table.filter.may_hold(b"other-%d" % other)
    for kind, count in asked.items():
        assert count and wrong[kind] / count < 0.05


def test_a_table_gives_each_of_its_keys(rich: SimDisk) -> None:
    database = read(rich)
    table = database.table(max(database.tree.table_numbers))
    newest: dict[bytes, inspect.Entry] = {}
    for entry in table.entries():
        newest.setdefault(entry.key, entry)
    assert all(table.get(key) == entry for key, entry in newest.items())
    assert table.get(b"other") is None


def test_the_tree_is_the_one_that_slots_tell(rich: SimDisk) -> None:
    tree = read(rich).tree
    with nori_lsm.open("/db", env=rich, read_only=True) as db:
        slots, stats = db.slots(), db.stats()
    # Levels without runs are left out there.
    filled = [level for level, slots_ in enumerate(tree.levels) if level and any(slot.runs for slot in slots_)]
    mine = [(level, slot) for level in filled for slot in tree.levels[level]]
    assert [(slot.level, slot.slot_id, slot.start, slot.stop, slot.runs) for slot in slots] == [
        (level, slot.id, slot.start, slot.end, len(slot.runs)) for level, slot in mine
    ]
    # What is not decided in the tree is told as what it is taken for.
    assert all(told.k_max == slot.k_max for told, (_, slot) in zip(slots, mine, strict=True) if slot.k_max)
    assert [(slot.bytes, slot.entries) for slot in slots] == [
        tuple(sum(getattr(piece, name) for run in slot.runs for piece in run.slices) for name in ("bytes", "entries"))
        for _, slot in mine
    ]
    assert stats.l0_files == sum(len(run.slices) for run in tree.levels[0][0].runs)


@pytest.mark.parametrize("seed", range(3))
def test_edits_replayed_make_the_tree_that_the_engine_writes_down(seed: int) -> None:
    """A new session's manifest begins with a snapshot of the tree: run ids, cut slices and their shares included."""
    numbers = random.Random(seed)
    disk = SimDisk(seed=seed)
    db = nori_lsm.open("/db", env=disk, **SMALL)
    words = [numbers.choice([b"", b"user/", b"0", b"\xff\xff", b"A"]) + numbers.randbytes(3).hex().encode() for _ in range(500)]
    for _ in range(6000):
        key = numbers.choice(words) if numbers.random() < 0.5 else numbers.randbytes(numbers.randrange(12))
        db.put(key, b"v" * numbers.randrange(300))
    disk.kill()
    replayed = read(disk)
    nori_lsm.open("/db", env=disk)
    disk.kill()
    snapshot = read(disk).manifest.tree(1)
    assert snapshot.levels[1:] == replayed.tree.levels[1:]
    # What recovery flushes is in the snapshot, too.
    kept = replayed.tree.levels[0][0].runs
    flushed = snapshot.levels[0][0].runs[: len(snapshot.levels[0][0].runs) - len(kept)]
    assert snapshot.levels[0][0].runs == flushed + kept
    assert set(snapshot.tables) == replayed.tree.table_numbers | {p.table for run in flushed for p in run.slices}
    assert snapshot.options == replayed.tree.options
    used = {operation.name for edit in replayed.manifest.edits for operation in edit.operations}
    assert {"push", "subtract", "set slot", "add guards"} <= used


def test_a_database_in_a_directory_is_read_beside_its_writer(path: Path) -> None:
    with nori_lsm.open(path, **SMALL) as db:
        work(db, random.Random(1), 2000)
        wanted = dict(db)
        for _ in range(100):
            try:
                assert inspect.read_database(path).to_dict() == wanted
                break
            except nori_lsm.StaleError:
                continue
    assert inspect.read_database(path).to_dict() == wanted
    assert not inspect.read_database(path).log.commits


def test_expiry_is_as_of_the_time_given(disk: SimDisk) -> None:
    db = nori_lsm.open("/db", env=disk)
    db.put(b"a", b"1", ttl=10.0)
    db.put(b"b", b"2")
    disk.kill()
    database = read(disk)
    (expires_at_ms,) = [entry.expires_at_ms for entry in database.versions() if entry.expires_at_ms]
    assert database.to_dict(now_ms=expires_at_ms - 1) == {b"a": b"1", b"b": b"2"}
    assert database.to_dict(now_ms=expires_at_ms) == {b"b": b"2"}


def test_older_sequences_are_read_while_they_are_there(disk: SimDisk) -> None:
    db = nori_lsm.open("/db", env=disk)
    db[b"a"] = b"1"
    db[b"a"] = b"2"
    db.delete_range(None, None)
    disk.kill()
    assert [read(disk).to_dict(sequence=sequence) for sequence in range(4)] == [{}, {b"a": b"1"}, {b"a": b"2"}, {}]


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "put", "put", "ttl", "delete", "range", "flush", "sync", "compact", "batch", "crash"]),
            st.sampled_from([b"", b"\0", b"a", b"a\0", b"ab", b"k" * 300, b"k1", b"k2", b"\xff", b"\xff\xff"]),
            st.sampled_from([b"", b"a\0", b"b", b"k2", b"\xff\xff\xff", None]),
            st.sampled_from([0, 1, 100, 5000, 40000]),
        ),
        max_size=40,
    ),
    st.integers(0, 1 << 20),
    st.booleans(),
)
def test_after_a_crash_it_reads_what_recovery_recovers(operations: list[Any], seed: int, is_ribbon: bool) -> None:
    disk = SimDisk(seed=seed)
    options = {**SMALL, "filters__kind": "ribbon" if is_ribbon else "bloom"}
    db = nori_lsm.open("/db", env=disk, **options)

    def crash() -> None:
        disk.crash()
        try:
            found = pairs(read(disk))
        except FileNotFoundError:
            found = {}
        with nori_lsm.open("/db", env=disk, **options) as again:
            assert found == dict(again)
            wanted = dict(again)
        assert pairs(read(disk)) == wanted

    for kind, key, other, size in operations:
        if kind == "put":
            db.put(key, b"v" * size)
        elif kind == "ttl":
            db.put(key, b"t" * size, ttl=1000.0)
        elif kind == "delete":
            db.delete(key)
        elif kind == "range" and (other is None or other > key):
            db.delete_range(key, other)
        elif kind == "batch":
            with db.batch() as batch:
                batch.put(key, b"b" * size)
                batch.delete_range(None, other)
                batch.put(key + b"+", b"")
        elif kind == "crash":
            crash()
            db = nori_lsm.open("/db", env=disk, **options)
        elif kind in ("flush", "sync", "compact"):
            getattr(db, kind)()
    crash()

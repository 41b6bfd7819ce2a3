"""The reader that is independent of the engine reads what the engine wrote, and nothing else."""

from __future__ import annotations

import json
import os
import random
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nori_lsm
from nori_lsm import cli, inspect
from nori_lsm.inspect import _bytes, _heat, _tree
from nori_lsm.inspect.dump import dump_file
from nori_lsm.inspect._edits import AddTable, Counters, Edit, EditRun, EditSlice, SetGuards, SetSlot
from nori_lsm.testing import SimDisk
from tests_support import work

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
    return database.pairs(now_ms=database.tree.counters.ttl_clock_ms)


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
    pieces = [piece for run in tree.levels[0][0].runs for piece in run.slices]
    over = [sum(p.start <= q.start and (p.end is None or q.start < p.end) for p in pieces) for q in pieces]
    assert stats.l0_files == max(over)


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
                assert inspect.read_database(path).pairs() == wanted
                break
            except nori_lsm.StaleError:
                continue
    assert inspect.read_database(path).pairs() == wanted
    assert not inspect.read_database(path).log.commits


def test_what_a_recycled_segment_held_before_is_no_part_of_the_log(disk: SimDisk, tmp_path: Path) -> None:
    db = nori_lsm.open("/db", env=disk, **SMALL)
    numbers = random.Random(1)

    def remains() -> tuple[list[str], list[str]]:
        """Segments in use with something behind their end; recycled ones that wait for their use."""
        used, spare = [], []
        for name in files_of(disk).list():
            data = files_of(disk).read(name)
            if name.startswith("wal/") and any(data[:96]):
                segment = inspect.read_segment(data, name)
                is_own = segment.header.number == int(name[4:10])
                if not is_own:
                    spare.append(name)
                elif any(data[segment.framed.end :]):
                    used.append(name)
        return used, spare

    copy: Path | None = None
    for _ in range(400):
        work(db, numbers, 50)
        used, spare = remains()
        if spare and copy is None:
            copy = tmp_path / os.path.basename(spare[0])
            copy.write_bytes(files_of(disk).read(spare[0]))
        if used and copy is not None:
            break
    else:
        pytest.fail("no segment was recycled")
    assert copy is not None
    (line,) = dump_file(copy)
    assert line.startswith("spare ")
    disk.crash(keep=0.5)
    found = pairs(read(disk))
    with nori_lsm.open("/db", env=disk) as again:
        assert found == dict(again)


def test_expiry_is_as_of_the_time_given(disk: SimDisk) -> None:
    db = nori_lsm.open("/db", env=disk)
    db.put(b"a", b"1", ttl=10.0)
    db.put(b"b", b"2")
    disk.kill()
    database = read(disk)
    (expires_at_ms,) = [entry.expires_at_ms for entry in database.versions() if entry.expires_at_ms]
    assert database.pairs(now_ms=expires_at_ms - 1) == {b"a": b"1", b"b": b"2"}
    assert database.pairs(now_ms=expires_at_ms) == {b"b": b"2"}


def test_older_sequences_are_read_while_they_are_there(disk: SimDisk) -> None:
    db = nori_lsm.open("/db", env=disk)
    db[b"a"] = b"1"
    db[b"a"] = b"2"
    db.delete_range(None, None)
    disk.kill()
    assert [read(disk).pairs(sequence=sequence) for sequence in range(4)] == [{}, {b"a": b"1"}, {b"a": b"2"}, {}]


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


# ---------------------------------------------------------------- single rules of the text


def test_runs_that_a_new_slot_cuts_are_named_after_their_place_among_all_runs() -> None:
    properties = inspect.Properties(b"a", b"z", *[0] * 14)
    whole, low = EditSlice(1, 3, None, None, 100, 10, 0, 0), EditSlice(1, 1, None, b"c", 10, 1, 0, 0)
    builder = _tree.TreeBuilder(2, "MANIFEST-000001")
    runs = (EditRun(7, (low,)), EditRun(8, (whole,)))
    operations = (Counters(), AddTable(1, 100, properties), SetSlot(1, 2, b"", runs), SetGuards(1, 0, 40, (b"m",)))
    builder.apply(Edit(0, 1, operations))
    first, second = builder.tree().levels[1]
    assert [run.id for run in first.runs] == [7, 8] and first.id == 1
    assert [run.id for run in second.runs] == [1 << 63 | 40 << 16 | 1] and (second.id, second.k_max) == (40, 2)
    assert sum(run.slices[0].bytes for run in (first.runs[1], second.runs[0])) == 100


def test_numbers_are_read_in_forms_longer_than_needed_and_no_longer_ones() -> None:
    place = _bytes.Place("x", 0, "x")
    assert _bytes.Cursor(b"\x80" * 9 + b"\x00", place).varint() == 0
    assert _bytes.Cursor(b"\xff" * 9 + b"\x01", place).varint() == (1 << 64) - 1
    for wrong in (b"", b"\x80", b"\x80" * 10 + b"\x00", b"\xff" * 9 + b"\x02"):
        with pytest.raises(nori_lsm.CorruptionError):
            _bytes.Cursor(wrong, place).varint()


@pytest.fixture(scope="module")
def heated() -> SimDisk:
    """A database whose engine has learned something, closed."""
    disk = SimDisk(seed=1)
    with nori_lsm.open("/db", env=disk, **SMALL) as db:
        numbers = random.Random(1)
        for _ in range(5):
            work(db, numbers, 300)
            for _ in range(300):
                db.get(b"k%05d" % numbers.randrange(4000))
            disk.advance(30)
        db.compact()
        disk.advance(100)
    return disk


def test_heat_tells_rates_arms_and_sketches(heated: SimDisk) -> None:
    disk = heated
    heat = inspect.read_heat(disk.read_file("/db/HEAT"), database_id=read(disk).database_id)
    starts = {(level, slot.start) for level, slots in enumerate(read(disk).tree.levels) for slot in slots}
    assert heat.slots and {(slot.level, slot.guard) for slot in heat.slots} <= starts
    assert any(slot.reads_per_sec for slot in heat.slots) and any(slot.merged_bytes for slot in heat.slots)
    assert heat.learned is not None and heat.learned.arms and heat.learned.rewards
    assert [section.kind for section in heat.sections] == [1, 2] and heat.lost_at is None
    assert all(section.sketch and section.sketch.items for section in heat.sections)
    data = disk.read_file("/db/HEAT")
    cut = inspect.read_heat(data[:-1])
    assert len(cut.sections) == 1 and cut.lost_at == heat.sections[1].offset and cut.slots == heat.slots
    for at in range(0, len(data) - 1, 101):
        flipped = flip(data, at, at % 8)
        try:
            found = inspect.read_heat(flipped)
        except nori_lsm.Error:
            continue
        assert found.slots == heat.slots and found.learned == heat.learned and found.lost_at is not None
        assert found.sections == heat.sections[: len(found.sections)]


def test_matrices_that_are_not_positive_definite_are_none() -> None:
    assert _heat._is_positive_definite((0.0,) * 45)
    assert not _heat._is_positive_definite((0.0, 5.0) + (0.0,) * 43)


# ---------------------------------------------------------------- damage


def flip(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def small_files() -> tuple[Memory, dict[bytes, bytes]]:
    """A database of all kinds of files, and what it holds: all of it synced, and said to be."""
    disk = SimDisk(seed=2)
    db = nori_lsm.open("/db", env=disk, levels=(nori_lsm.LevelConfig(block_bytes=512),), wal__segment_bytes=64 << 10)
    for number in range(60):
        db[b"key-%03d" % number] = b"value %d" % number * 5
    db.delete_range(b"key-010", b"key-020")
    db.flush()
    db.ingest((b"key-%03d" % number, b"ingested") for number in range(50, 70))
    for number in range(30, 40):
        db.put(b"key-%03d" % number, b"newer", ttl=1000.0)
    db.sync()
    del db[b"key-000"]
    with db.batch(sync=True) as batch:
        batch.delete_range(b"key-055", None)
        batch.put(b"key-056", b"back")
    db.sync()
    disk.kill()
    files = Memory(files_of(disk))
    return files, pairs(inspect.read_database(files))


def test_a_bit_that_flips_never_gives_a_wrong_value() -> None:
    files, wanted = small_files()
    assert wanted[b"key-056"] == b"back" and b"key-057" not in wanted and b"key-000" not in wanted
    whole = dict(files.data)
    numbers = random.Random(1)
    detected = 0
    for name, data in whole.items():
        used = len(data.rstrip(b"\0"))
        for at in sorted(numbers.sample(range(used), min(used, 150))):
            files.data[name] = flip(data, at, numbers.randrange(8))
            try:
                assert pairs(inspect.read_database(files)) == wanted, (name, at)
            except (nori_lsm.CorruptionError, nori_lsm.FormatError) as error:
                detected += 1
                assert error.filename is not None
                if isinstance(error, nori_lsm.CorruptionError):
                    assert error.path and error.kind
        files.data[name] = data
    assert detected > 500


def test_every_bit_of_a_table_is_watched() -> None:
    files, _ = small_files()
    for name in files.data:
        if not name.endswith(".sst"):
            continue
        data = files.data[name]
        for at in range(len(data)):
            with pytest.raises((nori_lsm.CorruptionError, nori_lsm.FormatError)):
                inspect.read_table(flip(data, at, at % 8), name).check()
        for size in range(0, len(data), 7):
            with pytest.raises(nori_lsm.CorruptionError):
                inspect.read_table(data[:size], name).check()


def with_header(data: bytes, offset: int, at: int, value: int) -> bytes:
    """A file whose header says something else, with a right checksum."""
    head = bytearray(data[offset : offset + 96])
    head[at : at + 8] = value.to_bytes(8, "little")
    magic = int.from_bytes(head[:8], "little")
    head[88:] = _bytes.checksum(bytes(head[:88]), magic).to_bytes(8, "little")
    return data[:offset] + bytes(head) + data[offset + 96 :]


def name_of(files: Memory, pattern: str) -> str:
    return max(name for name in files.data if re.fullmatch(pattern, name))


TABLE, MANIFEST, SEGMENT = r".*\.sst", "MANIFEST-.*", r"wal/.*"


@pytest.mark.parametrize(
    ("pattern", "at", "value", "error"),
    [
        (TABLE, 8, 2, nori_lsm.FormatError),
        (TABLE, 16, 2, nori_lsm.FormatError),
        (TABLE, 32, 7, nori_lsm.CorruptionError),
        (TABLE, 40, 7, nori_lsm.CorruptionError),
        (TABLE, 48, 1 << 63, nori_lsm.CorruptionError),
        (TABLE, 56, 1 << 63, nori_lsm.CorruptionError),
        (TABLE, 64, 1 << 63, nori_lsm.CorruptionError),
        (MANIFEST, 8, 2, nori_lsm.FormatError),
        (MANIFEST, 16, 1, nori_lsm.FormatError),
        (MANIFEST, 40, 7, nori_lsm.CorruptionError),
        (MANIFEST, 48, 17, nori_lsm.CorruptionError),
        (r"wal/000001\.log", 8, 2, nori_lsm.FormatError),
        (r"wal/000001\.log", 32, 7, nori_lsm.CorruptionError),
    ],
)
def test_headers_that_say_something_else_are_refused(pattern: str, at: int, value: int, error: type[Exception]) -> None:
    files, _ = small_files()
    if pattern.startswith("wal"):
        pattern = re.escape(next(name for name, data in files.data.items() if name.startswith("wal") and any(data)))
    name = name_of(files, pattern)
    data = files.data[name]
    offset = len(data) - 96 if pattern == TABLE else 0
    files.data[name] = with_header(data, offset, at, value)
    with pytest.raises(error):
        pairs(inspect.read_database(files))


def test_write_features_that_are_not_known_do_not_stop_a_reader() -> None:
    files, wanted = small_files()
    name = name_of(files, MANIFEST)
    files.data[name] = with_header(files.data[name], 0, 24, 1 << 40)
    assert pairs(inspect.read_database(files)) == wanted


def current_of(text: bytes) -> bytes:
    return b"%s%016x\n" % (text, _bytes.checksum(text))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", nori_lsm.CorruptionError),
        (current_of(b"nori 1 MANIFEST-000001 ") + b"\n", nori_lsm.CorruptionError),
        (current_of(b"nori 2 whatever comes "), nori_lsm.FormatError),
        (current_of(b"nori 1 ../MANIFEST-000001 "), nori_lsm.CorruptionError),
        (current_of(b"nori 1 MANIFEST-000009 "), nori_lsm.CorruptionError),
        (current_of(b"nori 1 MANIFEST-1 "), nori_lsm.CorruptionError),
        (current_of(b"nori 1 MANIFEST-000001 " + b" " * 200), nori_lsm.CorruptionError),
    ],
)
def test_current_that_names_no_manifest_is_refused(data: bytes, error: type[Exception]) -> None:
    files, _ = small_files()
    files.data["CURRENT"] = data
    with pytest.raises(error):
        inspect.read_database(files)


def test_what_is_missing_is_damage() -> None:
    files, _ = small_files()
    for pattern in ("CURRENT", TABLE, MANIFEST):
        name = name_of(files, pattern)
        data = files.data.pop(name)
        with pytest.raises(nori_lsm.CorruptionError) as caught:
            inspect.read_database(files)
        assert caught.value.path == name
        if pattern == TABLE:
            files.data[name] = data + b"\0"
            with pytest.raises(nori_lsm.CorruptionError):
                inspect.read_database(files)
        files.data[name] = data
    for name in [name for name in files.data if name.startswith("wal/")]:
        del files.data[name]
    inspect.read_database(files)  # No segment, no promise: an orderly close leaves none, either.


def test_there_is_no_database_where_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        inspect.read_database(tmp_path)


def test_no_link_is_followed_and_no_other_name_is_read(path: Path) -> None:
    with nori_lsm.open(path) as db:
        db[b"a"] = b"1"
    files = inspect.DirectoryFiles(path)
    for name in ("../x", "/etc/passwd", "wal/../CURRENT", "LOCK", "wal"):
        with pytest.raises(ValueError):
            files.read(name)
    assert inspect.read_database(path).pairs() == {b"a": b"1"}
    (path / "CURRENT").rename(path / "elsewhere")
    (path / "CURRENT").symlink_to(path / "elsewhere")
    with pytest.raises(OSError):
        files.read("CURRENT")
    with pytest.raises(OSError):
        inspect.read_database(path)


def sealed(payload: bytes, compression: int, size: int, offset: int) -> bytes:
    """A stored unit with a right checksum, of database 1 and table 2."""
    body = payload + bytes([compression]) + size.to_bytes(4, "little")
    return body + _bytes.checksum(body, _bytes.place_seed(1, 2, offset)).to_bytes(8, "little")


@pytest.mark.parametrize("compression", [1, 2, 3])
def test_sizes_that_are_made_up_allocate_nothing(compression: int) -> None:
    import tracemalloc

    from nori_lsm.inspect import _table

    zstandard = pytest.importorskip("zstandard")
    # A frame of zeros that says how large it gets, and units that say something else.
    payload = zstandard.ZstdCompressor().compress(bytes(200 << 20))
    tracemalloc.start()
    try:
        for size in (10, 64 << 20, (64 << 20) + 1, (1 << 32) - 1):
            data = sealed(payload, compression, size, 0)
            with pytest.raises(nori_lsm.CorruptionError):
                _table.read_unit(data, _bytes.Place("x", 0, "block"), len(data), 1, 2, may_be_compressed=True)
        assert tracemalloc.get_traced_memory()[1] < 65 << 20
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------- the command line


def run_dump(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str], str]:
    code = cli.main(["dump", *map(str, arguments)])
    output, errors = capsys.readouterr()
    return code, output.splitlines(), errors


@pytest.fixture
def written(tmp_path: Path, heated: SimDisk) -> Path:
    """A directory with a file of each kind."""
    top = tmp_path / "db"
    (top / "wal").mkdir(parents=True)
    files, _ = small_files()
    files.data["HEAT"] = heated.read_file("/db/HEAT")
    for name, data in files.data.items():
        (top / name).write_bytes(data)
    return top


def test_dump_prints_each_kind_of_file(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted: dict[str, list[str]] = {
        "CURRENT": ["current"],
        "HEAT": ["header", "slot", "learned", "section", "item"],
        "MANIFEST": ["header", "edit", "counters", "options", "add table", "push"],
        "sst": ["header", "section", "properties", "block", "filter"],
        "log": ["header", "link", "record", "delete", "range delete", "put", "put expiring", "mark", "end"],
    }
    seen: dict[str, set[str]] = {}
    for file in sorted(path for path in written.rglob("*") if path.is_file()):
        code, lines, errors = run_dump(capsys, file)
        assert (code, errors) == (0, "") and lines
        code, objects, _ = run_dump(capsys, file, "--json")
        assert code == 0 and len(objects) == len(lines)
        kind = next(kind for kind in wanted if kind in file.name)
        seen.setdefault(kind, set()).update(json.loads(line)["what"] for line in objects)
        assert len(run_dump(capsys, file, "--limit", 1)[1]) == 1
    for kind, whats in wanted.items():
        assert {*whats} <= seen[kind], kind


def test_dump_shows_keys_as_text_and_escapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk = SimDisk(seed=1)
    db = nori_lsm.open("/db", env=disk)
    db["é\n".encode() + b"\xff"] = b'say "a"'
    disk.kill()
    (tmp_path / "copy").write_bytes(disk.read_file("/db/wal/000001.log"))
    code, lines, _ = run_dump(capsys, tmp_path / "copy")
    assert code == 0
    assert '  put key="é\\n\\xff" sequence=1 value="say \\x22a\\x22"' in lines


def test_dump_ends_with_1_and_says_what_is_damaged(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in sorted(path for path in written.rglob("*") if path.is_file()):
        data = file.read_bytes()
        if not any(data):
            continue
        file.write_bytes(flip(data, 40 if len(data) > 40 else 10, 0))
        code, _, errors = run_dump(capsys, file)
        assert code == 1 and errors.startswith("nori-lsm: ") and file.name in errors
    other = written / "other"
    other.write_bytes(b"something else")
    assert run_dump(capsys, other)[0] == 1
    assert run_dump(capsys, written / "nothing")[0] == 1


def test_results_become_dicts(rich: SimDisk) -> None:
    database = read(rich)
    table = database.table(max(database.tree.table_numbers))
    for result in (database, database.manifest, database.log, table, *table.blocks()):
        assert json.loads(json.dumps(result.to_dict(), default=repr))


def test_a_package_that_is_missing_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xxhash", None)
    _bytes.load_extra.cache_clear()
    with pytest.raises(ImportError, match=r"nori-lsm\[inspect\]"):
        inspect.read_current(b"nori 1 MANIFEST-000001 0123456789abcdef\n")

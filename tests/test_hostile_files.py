"""Files made to do harm: right checksums, and content that no engine writes. They may be refused or read; nothing hangs,
nothing crashes, no allocation is out of proportion, and nothing outside of the directory is touched."""

from __future__ import annotations

import faulthandler
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import pytest

pytest.importorskip("xxhash")

import nori_lsm
from forge import (
    Forge,
    add_table,
    block_of,
    counters,
    current_of,
    entry_of,
    fixed32,
    fixed64,
    framed,
    header,
    index_of,
    properties_of,
    push,
    put,
    run_of,
    set_slot,
    sized,
    slice_of,
    varint,
)
from forge_changes import changed_databases, on_disk
from nori_lsm import inspect
from nori_lsm.testing import SimDisk

FINDINGS = (nori_lsm.CorruptionError, nori_lsm.FormatError)
SMALL: dict[str, Any] = {
    "memtable__flush_trigger_bytes": 64 << 10,
    "level1_bytes": 64 << 10,
    "wal__segment_bytes": 64 << 10,
    "resources__block_cache_mib": 8,
    "resources__memtables_mib": 8,
}
ALLOWANCE_BYTES = 32 << 20
BLOCK_BYTES = 64 << 20  # What one that is packed well may claim to become.


@pytest.fixture(autouse=True)
def watchdog() -> Iterator[None]:
    """A hang ends the whole run, and says where."""
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@contextmanager
def bounded_memory(file_bytes: int) -> Iterator[None]:
    """No more address space than there is now, what the files take, and the allowance: an allocation beyond is refused,
    and becomes a MemoryError, which no test here takes for an answer."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + file_bytes + ALLOWANCE_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def read_all(db: nori_lsm.Engine) -> list[Callable[[], object]]:
    return [
        lambda: list(db.items()),
        lambda: list(reversed(db)),
        lambda: [db.get(key) for key in (b"", b"a", b"b", b"k001", b"k005", b"k009", b"zz")],
        lambda: db.get_many([b"a", b"k003", b"zz"]),
        lambda: len(db),
        lambda: db.scan(b"a", b"k005", reverse=True).count(),
        db.verify,
        db.stats,
        db.slots,
        db.estimate_len,
    ]


def write_all(db: nori_lsm.Engine) -> list[Callable[[], object]]:
    return [
        lambda: db.put(b"new", b"value"),
        lambda: db.put(b"k0015", b"value", ttl=1000.0),
        lambda: db.pop(b"k003", None),
        lambda: db.delete_range(b"k004", b"k006"),
        db.sync,
        db.flush,
        db.compact,
        lambda: db.ingest([(b"k1", b""), (b"k2", b"")]),
        lambda: list(db.items()),
        db.verify,
    ]


def judge(disk: SimDisk, path: str = "/db", *, more_bytes: int = 0) -> list[str]:
    """Uses a database in all ways, as a reader and as a writer. What it refused, by kind."""
    refused: list[str] = []
    files = inspect.SimDiskFiles(disk, path)
    file_bytes = sum(files.list().values())
    with bounded_memory(file_bytes + more_bytes):
        for read_only in (True, False):
            try:
                db = nori_lsm.open(path, env=disk, read_only=read_only, **SMALL)
            except FINDINGS as error:
                assert error.errno and error.filename, error
                refused.append("open")
                continue
            for use in read_all(db) + (write_all(db) if not read_only else []):
                try:
                    result = use()
                    if isinstance(result, nori_lsm.VerifyReport) and not result.ok:
                        refused.append("verify")
                except FINDINGS as error:
                    assert error.errno and error.filename, error
                    refused.append("use")
                except nori_lsm.PoisonedError:
                    refused.append("poisoned")
            with suppress(*FINDINGS):
                db.close()
    with suppress(*FINDINGS):
        inspect.read_database(files).check()
    return refused


KEYS = [b"k%03d" % number for number in range(10)]
ENTRIES = [(key, 1 + place, b"value of " + key) for place, key in enumerate(KEYS)]
FLUSHED = counters(flushed=10)
PROPERTIES = ["entries", "blocks", "deletes", "ranges", "key_bytes", "value_bytes", "forever", "first_expiry", "last_expiry"]
PROPERTIES += ["level", "slot", "created", "lifetime", "fresh", "distinct"]
HUGE = [1 << 31, (1 << 32) - 1, 1 << 32, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]


# ---------------------------------------------------------------- manifests


def judged(forge: Forge, *, more_bytes: int = 0) -> list[str]:
    disk = SimDisk(seed=1)
    forge.put_on(disk)
    return judge(disk, more_bytes=more_bytes)


def honest(**other: Any) -> Forge:
    forge = Forge()
    forge.table(1, ENTRIES, **other)
    return forge


def with_manifest(*operations: bytes, **other: Any) -> Forge:
    forge = honest()
    forge.manifest(*operations, first=FLUSHED, **other)
    return forge


def test_what_is_forged_is_read_where_it_is_right() -> None:
    disk = SimDisk(seed=1)
    forge = honest()
    forge.manifest(push(1, [1]), first=FLUSHED)
    forge.segment(1, [(11, 1, put(b"logged", b"value"))], link=(0, 0, 10))
    forge.put_on(disk)
    with nori_lsm.open("/db", env=disk) as db:
        assert dict(db) == {**{key: value for key, _, value in ENTRIES}, b"logged": b"value"}
        assert db.verify().ok
    assert judged(forge) == []


@pytest.mark.parametrize("name", ["next_file", "next_run", "next_slot", "flushed", "log"])
@pytest.mark.parametrize("value", [1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_counters_that_leave_nothing_to_count_on_are_refused(name: str, value: int) -> None:
    forge = honest()
    forge.manifest(push(1, [1]), first=counters(**{"flushed": 10, name: value}))
    assert judged(forge) == ["open", "open"]


def test_sequences_that_are_used_up_are_told(disk: SimDisk) -> None:
    forge = honest()
    forge.manifest(push(1, [1]), first=counters(flushed=(1 << 56) - 1))
    forge.put_on(disk)
    with nori_lsm.open("/db", env=disk) as db:
        with pytest.raises(ValueError, match="used up"):
            db[b"one too many"] = b""
        assert list(db) == KEYS


def test_numbers_of_slices_and_tables_that_are_huge_do_no_harm() -> None:
    for value in HUGE:
        for place in range(4):
            numbers = [100, 10, 0, 0]
            numbers[place] = value
            piece = slice_of(1, numbers=numbers)
            expected = ["open", "open"] if value > 1 << 62 else []
            assert judged(with_manifest(push(1, [piece]))) == expected
            assert judged(with_manifest(set_slot(1, b"", [run_of(1, [piece])]))) == expected
            judged(with_manifest(set_slot(1, b"", [run_of(1, [piece])]), push(2, [piece])))
        for name in PROPERTIES:
            forge = honest(**{name: value})
            forge.manifest(push(1, [1]), first=FLUSHED)
            judged(forge)
        forge = honest(entries=value, fresh=value, forever=0, first_expiry=1, last_expiry=value, lifetime=value)
        forge.manifest(set_slot(1, b"", [run_of(1, [slice_of(1, numbers=[1 << 62] * 4)])]), first=FLUSHED)
        judged(forge)
        forge = honest(sequences=(value, value))
        forge.manifest(push(1, [1]), first=FLUSHED)
        assert ("open" in judged(forge)) == (value >= 1 << 56)


def test_sums_that_overflow_do_no_harm() -> None:
    """Eight slices of 2^62 bytes are none in 64 bits."""
    pieces = [slice_of(1, KEYS[n], KEYS[n + 1], numbers=[1 << 62] * 4) for n in range(8)]
    for operations in ([push(1, pieces)], [set_slot(1, b"", [run_of(1, pieces)])]):
        assert judged(with_manifest(*operations)) == []


def test_counts_that_are_made_up_allocate_nothing() -> None:
    for value in HUGE:
        for operation in (
            varint(4) + varint(value),
            varint(4) + varint(1) + varint(1) + varint(value),
            varint(7) + varint(1) + varint(1) + sized(b"") + varint(value),
            varint(8) + varint(1) + varint(1) + varint(50) + varint(value),
            varint(9) + varint(1) + varint(value),
            varint(10) + varint(1) + varint(50) + varint(value),
            varint(11) + varint(1) + varint(value),
            varint(2) + varint(value),
            varint(3) + varint(2) + varint(100) + varint(value),
            varint(5) + varint(1) + varint(value),
        ):
            assert judged(with_manifest(operation)) == ["open", "open"], operation


CONTRADICTIONS = {
    "a table that nobody added": [push(1, [2])],
    "a run twice": [push(1, [1]), push(1, [1])],
    "a guard twice": [varint(8) + varint(1) + varint(4) + varint(50) + varint(2) + sized(b"k005") * 2],
    "a guard twice among those added": [varint(10) + varint(1) + varint(50) + varint(2) + sized(b"k005") * 2],
    "guards that descend": [varint(8) + varint(1) + varint(4) + varint(50) + varint(2) + sized(b"k5") + sized(b"k4")],
    "an empty guard": [varint(10) + varint(1) + varint(50) + varint(1) + sized(b"")],
    "a guard longer than a key": [varint(10) + varint(1) + varint(50) + varint(1) + sized(bytes(65536))],
    "a guard removed that is not there": [varint(11) + varint(1) + varint(1) + sized(b"k005")],
    "a slot that is not there": [set_slot(1, b"k005", [run_of(1, [slice_of(1)])])],
    "a shape without the first slot": [varint(9) + varint(1) + varint(1) + sized(b"k005") + varint(50) + varint(1)],
    "a shape of one slot twice": [varint(9) + varint(1) + varint(2) + (sized(b"") + varint(50) + varint(1)) * 2],
    "a shape over data": [
        set_slot(1, b"", [run_of(1, [slice_of(1)])]),
        varint(9) + varint(1) + varint(1) + sized(b"") + varint(50) + varint(1),
    ],
    "a run that leaves its slot": [
        varint(8) + varint(1) + varint(4) + varint(50) + varint(1) + sized(b"k005"),
        set_slot(1, b"k005", [run_of(1, [slice_of(1)])]),
    ],
    "level 0 as a slot": [set_slot(0, b"", [])],
    "level 16": [set_slot(16, b"", [])],
    "slices that overlap": [push(1, [slice_of(1, b"k000", b"k005"), slice_of(1, b"k004", b"k008")])],
    "the same slice twice": [push(1, [1, 1])],
    "slices that descend": [push(1, [slice_of(1, b"k005", b"k008"), slice_of(1, b"k000", b"k003")])],
    "an empty slice": [push(1, [slice_of(1, b"k005", b"k005")])],
    "a slice upside down": [push(1, [slice_of(1, b"k007", b"k005")])],
    "a slice below its table": [push(1, [slice_of(1, b"a", b"k005")])],
    "a slice beyond its table": [push(1, [slice_of(1, b"k005", b"z")])],
    "a slice without end of a table that has one": [push(1, [slice_of(1, flags=5)])],
    "slice flags that are not known": [push(1, [slice_of(1, flags=8)])],
    "a run of nothing": [varint(4) + varint(1) + run_of(1, [])],
    "two runs in a push": [varint(4) + varint(2) + run_of(1, [slice_of(1)]) + run_of(2, [slice_of(1)])],
    "a merge of runs that are not there": [varint(6) + varint(1) + varint(2) + varint(0)],
    "a merge from old to new": [push(1, [1]), push(2, [1]), varint(6) + varint(1) + varint(2) + varint(0)],
    "a run that is taken from and is not there": [varint(5) + varint(9) + sized(b"") + varint(1)],
    "an operation that is not known": [varint(12)],
    "an operation that is cut off": [varint(7) + varint(1)],
    "options without an equals sign": [varint(2) + sized(b"fanout")],
    "options that contradict each other": [varint(2) + sized(b"l0.max_files=2\nl0.soft_throttle_threshold=6\n")],
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_a_manifest_that_contradicts_itself_is_refused(what: str) -> None:
    assert judged(with_manifest(*CONTRADICTIONS[what])) == ["open", "open"]


def test_a_table_that_is_added_twice_or_has_no_possible_number_is_refused() -> None:
    for numbers in ([1, 1], [1 << 62], [(1 << 64) - 1]):
        forge = honest()
        size = len(forge.files["000001.sst"])
        said = properties_of(b"k000", b"k009\0", entries=10, blocks=1)
        forge.tables = [add_table(number, size, said) for number in numbers]
        forge.manifest(push(1, [numbers[0]]), first=FLUSHED)
        assert judged(forge) == ["open", "open"]


@pytest.mark.parametrize("size", [0, 1, 1 << 31, 1 << 62, (1 << 64) - 1])
def test_a_table_of_another_size_than_the_manifest_says_is_refused(size: int) -> None:
    forge = honest()
    forge.tables = [add_table(1, size, properties_of(b"k000", b"k009\0", entries=10, blocks=1))]
    forge.manifest(push(1, [1]), first=FLUSHED)
    assert judged(forge) == ["open", "open"]


@pytest.mark.parametrize("distinct", [1, 9, 10])
def test_a_wrong_count_of_different_keys_is_found_by_verify(disk: SimDisk, distinct: int) -> None:
    forge = honest(distinct=distinct)
    forge.manifest(push(1, [1]), first=FLUSHED)
    forge.put_on(disk)
    with nori_lsm.open("/db", env=disk) as db:
        assert dict(db) == {key: value for key, _, value in ENTRIES}
        assert [finding.kind for finding in db.verify().findings] == ["properties"] * (distinct != 10)
    table = inspect.read_table(forge.files["000001.sst"], "000001.sst")
    with nullcontext() if distinct == 10 else pytest.raises(nori_lsm.CorruptionError, match="properties"):
        table.check()


def test_two_runs_of_one_table_over_the_same_keys_are_found_by_verify(disk: SimDisk) -> None:
    forge = with_manifest(push(1, [1]), push(2, [slice_of(1, b"k002", b"k006")]))
    assert judged(forge).count("open") == 0
    forge.put_on(disk)
    with nori_lsm.open("/db", env=disk) as db:
        report = db.verify()
        assert not report.ok and "age order" in report.findings[0].message


@pytest.mark.parametrize("sequences", [[1, 1], [1, 3], [2], [0], [(1 << 64) - 1]])
def test_records_of_a_manifest_count_on(sequences: list[int]) -> None:
    forge = honest()
    name = "MANIFEST-000001"
    edits = [FLUSHED + b"".join(forge.tables), FLUSHED + push(1, [1])]
    records = [(sequence, 1, edit) for sequence, edit in zip(sequences, edits, strict=False)]
    forge.manifest()
    forge.files[name] = framed(header("manifest", 1, 3), 1, records)
    assert judged(forge) == ["open", "open"]


@pytest.mark.parametrize("promise", [(1, 1 << 63), (1, 40_000), (2, 0), ((1 << 64) - 1, (1 << 64) - 1)])
def test_a_promise_that_a_file_cannot_keep_is_damage(promise: tuple[int, int]) -> None:
    assert judged(with_manifest(push(1, [1]), promise=promise)) == ["open", "open"]
    assert judged(with_manifest(push(1, [1]), mark=promise)) == ["open", "open"]
    forge = with_manifest(push(1, [1]))
    forge.segment(1, [(11, 1, put(b"a", b"b"))], link=(0, 0, 10), promise=promise)
    assert judged(forge) == ["open", "open"]


def test_options_of_a_session_are_not_taken_from_a_file(disk: SimDisk) -> None:
    """Nobody who makes a file decides when a write is durable, or how much memory is used."""
    text = b"wal.durability=os\nresources.block_cache_mib=1048576\nio.max_background_jobs=999\nfanout=7\n"
    forge = with_manifest(varint(2) + sized(text), push(1, [1]))
    forge.put_on(disk)
    with nori_lsm.open("/db", env=disk) as db:
        assert (db.config.wal, db.config.resources, db.config.io) == (
            nori_lsm.WalConfig(),
            nori_lsm.ResourceConfig(),
            nori_lsm.IoConfig(),
        )
        assert db.config.fanout == 7


@pytest.mark.parametrize(
    "name",
    [b"../MANIFEST-000001", b"/etc/passwd", b"wal/000001.log", b"CURRENT", b"LOCK", b"000001.sst", b"MANIFEST-1", b"", b"."]
    + [b"MANIFEST-000001\0", b"MANIFEST-000001/", b"MANIFEST-000002", b"MANIFEST-9223372036854775808", b"M" * 200, b"\xff"],
)
def test_current_names_a_manifest_and_nothing_else(name: bytes) -> None:
    forge = with_manifest(push(1, [1]))
    forge.files["CURRENT"] = current_of(b"nori 1 " + name + b" ")
    assert judged(forge) == ["open", "open"]


# ---------------------------------------------------------------- logs


@pytest.mark.parametrize(
    ("number", "link"),
    [
        (1, (1, 96, 10)),  # To itself,
        (1, (2, 96, 10)),  # to a later one,
        (2, (1, (1 << 64) - 1, 10)),  # to an end that cannot be,
        (2, (1, 1 << 63, 10)),
        (1, (0, 0, 1 << 56)),  # to a sequence that cannot be,
        (1, (0, 0, (1 << 64) - 1)),
        (1, (0, 0, 11)),  # to one that the tables do not reach.
    ],
)
def test_links_that_lead_nowhere_end_the_log(number: int, link: tuple[int, int, int]) -> None:
    forge = with_manifest(push(1, [1]))
    forge.segment(number, [(11, 1, put(b"logged", b""))], link=link)
    disk = SimDisk(seed=1)
    forge.put_on(disk)
    with nori_lsm.open("/db", env=disk, read_only=True) as db:
        assert list(db) == KEYS
    assert judged(forge) == []


def test_segments_that_link_to_each_other_in_turn_are_no_log() -> None:
    forge = with_manifest(push(1, [1]))
    for number, other in ((1, 2), (2, 3), (3, 1)):
        forge.segment(number, [(10 + number, 1, put(b"logged", b""))], link=(other, 200, 10))
    assert judged(forge) == []


def test_a_segment_of_another_database_and_one_without_a_successor_are_refused() -> None:
    forge = with_manifest(push(1, [1]))
    forge.files["wal/000001.log"] = header("segment", 1, 0, 0, 10, database_id=7)
    assert judged(forge) == ["open", "open"]
    forge = with_manifest(push(1, [1]))
    number = (1 << 63) - 1
    forge.segment(number, link=(0, 0, 10))
    assert judged(forge) == ["open", "open"]


@pytest.mark.parametrize(
    ("first", "count"),
    [(12, 1), (1 << 56, 1), ((1 << 64) - 1, 1), (0, 1), ((1 << 56) - 2, 1 << 31), (11, 0), (5, 3)],
)
def test_sequences_of_a_log_that_do_not_go_on_end_it(first: int, count: int) -> None:
    forge = with_manifest(push(1, [1]))
    forge.segment(1, [(first, count, put(b"logged", b"") * min(count, 5))], link=(0, 0, 10))
    disk = SimDisk(seed=1)
    forge.put_on(disk)
    with nori_lsm.open("/db", env=disk, read_only=True) as db:
        assert list(db) == KEYS
    assert judged(forge) == []


@pytest.mark.parametrize(
    ("records", "sequence", "is_there"),
    [
        ([(11, 1)], 12, True),
        ([(11, 3)], 14, True),
        ([(10, 1), (11, 1)], 12, True),  # The first is in the tables.
        ([(11, 1)], 11, False),
        ([(11, 1)], 13, False),
        ([(11, 3)], 12, False),
        ([(11, 1)], 0, False),
        ([(11, 1)], (1 << 64) - 1, False),
        ([((1 << 64) - 1, 1)], 0, False),
        ([((1 << 64) - 1, (1 << 32) - 1)], (1 << 32) - 2, False),
        ([], 11, False),
        ([], 1, False),
        ([], 0, False),
    ],
)
def test_a_record_without_a_head_counts_where_it_follows(
    records: list[tuple[int, int]], sequence: int, is_there: bool
) -> None:
    forge = with_manifest(push(1, [1]))
    whole = [(first, count, put(b"logged", b"") * min(count, 5)) for first, count in records]
    forge.segment(1, whole, link=(0, 0, 9 if records[:1] == [(10, 1)] else 10), follows=[(sequence, put(b"next", b""))])
    disk = SimDisk(seed=1)
    forge.put_on(disk)
    with nori_lsm.open("/db", env=disk, read_only=True) as db:
        assert (b"next" in db) == is_there
    assert judged(forge) == []


def test_what_stands_in_a_record_without_a_head_is_checked() -> None:
    for payload in (b"", put(b"a", b"b") * 2, b"\x10" + sized(b"a") + sized(b"")):
        forge = with_manifest(push(1, [1]))
        forge.segment(1, [(11, 1, put(b"logged", b""))], link=(0, 0, 10), follows=[(12, payload)])
        assert judged(forge) == ["open", "open"]


@pytest.mark.parametrize(
    ("count", "payload"),
    [
        (2, put(b"a", b"b")),
        (1, put(b"a", b"b") * 2),
        (1, b""),
        ((1 << 32) - 1, put(b"a", b"b")),
        (1, b"\x01" + varint((1 << 64) - 1) + b"a"),
        (1, b"\x01" + sized(b"a") + varint((1 << 64) - 1)),
        (1, b"\x01" + sized(b"a") + varint(1 << 63) + b"b"),
        (1, b"\x01" + sized(bytes(65_536)) + sized(b"")),
        (1, b"\x02" + sized(b"a") + sized(b"short")),
        (1, b"\x03" + sized(b"a") + sized(b"")),
        (1, b"\x03" + sized(b"a") + sized(b"\x02z")),
        (1, b"\x03" + sized(b"a") + sized(b"\x01z")),
        (1, b"\x04" + sized(b"a") + sized(b"")),
        (1, b"\x10" + sized(b"a") + sized(b"")),
    ],
)
def test_batches_that_make_no_sense_are_damage(count: int, payload: bytes) -> None:
    forge = with_manifest(push(1, [1]))
    forge.segment(1, [(11, count, payload)], link=(0, 0, 10))
    assert judged(forge) == ["open", "open"]


def test_deleted_ranges_that_are_empty_or_upside_down_do_no_harm() -> None:
    for start, stop in ((b"k005", b"k005"), (b"k007", b"k003")):
        forge = with_manifest(push(1, [1]))
        forge.segment(1, [(11, 1, b"\x03" + sized(start) + sized(b"\0" + stop))], link=(0, 0, 10))
        judged(forge)


# ---------------------------------------------------------------- tables


def with_table(change: Callable[[Any], object], **other: Any) -> Forge:
    """A database whose table was changed, and whose manifest knows it so."""
    forge = Forge()
    table = forge.table(1, ENTRIES, **other)
    change(table)
    forge.add(table)
    forge.manifest(push(1, [1]), first=FLUSHED)
    return forge


def of_block(block: bytes, compression: int = 0, size: int | None = None) -> Forge:
    return with_table(lambda table: setattr(table, "blocks", [(block, compression, size)]))


@pytest.mark.parametrize(
    "restarts",
    [[], [5], [0, 50, 25], [0, 25, 25], [25, 0], [0, 1 << 31], [0, (1 << 32) - 1], [0, 3], list(range(100)), [0] * 100],
)
def test_restarts_that_are_out_of_order_are_found(restarts: list[int]) -> None:
    assert {"use", "verify"} & {*judged(of_block(block_of(ENTRIES, restarts)))}


def test_counts_of_restarts_that_are_made_up_are_found() -> None:
    for count in (0, 1 << 31, (1 << 32) - 1, len(block_of(ENTRIES)) // 4):
        assert {"use", "verify"} & {*judged(of_block(block_of(ENTRIES)[:-4] + fixed32(count)))}


ODD_BLOCKS = {
    "keys that descend": block_of(ENTRIES[::-1]),
    "a key twice": block_of([*ENTRIES[:5], ENTRIES[4], *ENTRIES[6:]]),
    "a key below the table": block_of([(b"a", 1, b""), *ENTRIES[1:]]),
    "a key beyond the table": block_of([*ENTRIES[:-1], (b"z", 1, b"")]),
    "a key beyond its separator": block_of([*ENTRIES, (b"k009\0", 1, b"")]),
    "a sequence that cannot be": block_of([*ENTRIES[:-1], (b"k009", (1 << 56) - 1, b"")]),
    "a type that is not known": entry_of(b"k000", 1, b"", 0x10) + fixed32(0) + fixed32(1),
    "a range delete among entries": entry_of(b"k000", 1, b"", 3) + fixed32(0) + fixed32(1),
    "an expiry that is cut off": entry_of(b"k000", 1, b"short", 2) + fixed32(0) + fixed32(1),
    "a restart that shares": varint(3) + entry_of(b"k000", 1, b"")[1:] + fixed32(0) + fixed32(1),
    "more in common than there is": entry_of(b"k000", 1, b"")
    + varint(60_000) + varint(1) + varint(0) + b"x" + fixed64(1) + fixed32(0) + fixed32(1),
    "a value beyond the block": varint(0) + varint(1) + varint(1 << 63) + b"k" + fixed64(1) + fixed32(0) + fixed32(1),
    "a value whose length overflows": varint(0) + varint(1) + varint((1 << 64) - 1) + b"k" + fixed64(1) + fixed32(0) * 2,
    "a key whose length overflows": varint(1) + varint((1 << 64) - 1) + varint(0) + b"k" + fixed64(1) + fixed32(0) + fixed32(1),
    "no entry": fixed32(0) + fixed32(1),
    "no restart": bytes(30) + fixed32(0),
    "zeros": bytes(100),
    "nothing": b"\0" * 8,
}


@pytest.mark.parametrize("what", ODD_BLOCKS)
def test_blocks_that_make_no_sense_do_no_harm_and_are_found(what: str) -> None:
    assert {"use", "verify"} & {*judged(of_block(ODD_BLOCKS[what]))}, what


def bombs() -> Iterator[tuple[str, bytes, int, int]]:
    """What unpacks to much more than it says, or than there may be."""
    lz4, zstandard = pytest.importorskip("lz4.block"), pytest.importorskip("zstandard")
    for mib in (1, 65):
        data = bytes(mib << 20)
        for name, compression, packed in (
            ("lz4", 1, lz4.compress(data, store_size=False)),
            ("zstd", 2, zstandard.ZstdCompressor().compress(data)),
            ("zstd without a size", 2, zstandard.ZstdCompressor(write_content_size=False).compress(data)),
        ):
            for size in (1, 4096, len(data) - 1, len(data), 64 << 20, (1 << 32) - 1):
                yield f"{name} {mib} MiB as {size}", packed, compression, size & (1 << 32) - 1


def test_what_unpacks_to_too_much_is_refused_and_takes_no_memory() -> None:
    for name, packed, compression, size in bombs():
        assert "use" in judged(of_block(packed, compression, size), more_bytes=BLOCK_BYTES), name


def test_what_only_claims_to_be_packed_is_refused() -> None:
    plain = block_of(ENTRIES)
    for compression in (1, 2, 3, 255):
        for size in (0, 1, len(plain), 64 << 20, (1 << 32) - 1):
            assert "use" in judged(of_block(plain, compression, size))
    for size in (0, len(plain) - 1, len(plain) + 1, (1 << 32) - 1):
        assert "use" in judged(of_block(plain, 0, size))


def refused_table(change: Callable[[Any], object]) -> None:
    refused = judged(with_table(change))
    assert refused.count("use") >= 4 and "open" not in refused, refused  # The tree is as it was; its table is not read.


def test_footers_that_point_outside_are_refused() -> None:
    for place in range(3):
        for value in (0, 1, -1, 1 << 31, 1 << 62, 1 << 63, (1 << 64) - 1, (1 << 64) - 96):
            refused_table(lambda table, place=place, value=value: table.footer.__setitem__(place, value))


@pytest.mark.parametrize("offset", [0, 1, 1 << 31, 1 << 63, (1 << 64) - 1, (1 << 64) - 13])
@pytest.mark.parametrize("size", [0, 12, 1 << 31, 1 << 63, (1 << 64) - 1])
def test_directories_that_point_outside_are_refused(offset: int, size: int) -> None:
    line = fixed32(3) + fixed32(0) + fixed64(offset) + fixed64(size)
    for directory in (line, line * 2, line * 65, line[:-1], b""):
        refused_table(lambda table, directory=directory: setattr(table, "directory", directory))


def test_sections_that_are_missing_or_there_twice_are_refused() -> None:
    for kinds in ((), (3,), (4,), (3, 3, 4), (3, 4, 4)):
        refused_table(lambda table, kinds=kinds: setattr(table, "kinds", kinds))
    ranges = varint(0)
    for extra in (
        [(1, 0, bytes(64) + fixed32(1) + fixed32(6) + fixed64(1))] * 2,
        [(2, 0, ranges)] * 2,
        [(9, 0, b"of a later version")],
        [(1, 0, fixed32(1) + fixed32(31) + fixed64(1))],
        [(1, 0, bytes(64) + fixed32(1) + fixed32(6) + fixed64((1 << 64) - 1))],
        [(1, 0, bytes(64) + fixed32(1) + fixed32(6) + fixed64(1 << 58))],
        [(1, 0, bytes(64) + fixed32(1) + fixed32(0) + fixed64(1))],
        [(5, 1, bytes(64) + fixed32(33) + fixed32(0) + fixed64(2))],
        [(5, 1, bytes(64) + fixed32(8) + fixed32(0) + fixed64((1 << 64) - 1))],
        [(5, 1, bytes(64) + fixed32(8) + fixed32(0) + fixed64(1 << 58))],
    ):
        refused_table(lambda table, extra=extra: setattr(table, "extra", extra))


RANGES = {
    "a count that is made up": varint((1 << 64) - 1),
    "sequences that are made up": varint(1) + sized(b"k001") + b"\0" + sized(b"k002") + varint((1 << 64) - 1),
    "no sequence": varint(1) + sized(b"k001") + b"\0" + sized(b"k002") + varint(0),
    "a sequence that cannot be": varint(1) + sized(b"k001") + b"\0" + sized(b"k002") + varint(1) + fixed64(1 << 56),
    "a bound of another kind": varint(1) + sized(b"k001") + b"\2" + sized(b"k002") + varint(1) + fixed64(1),
    "a bound that is too long": varint(1) + sized(b"k001") + b"\0" + sized(bytes(65_537)) + varint(1) + fixed64(1),
    "a length that overflows": varint(1) + varint((1 << 64) - 1) + b"k001",
    "more than the properties say": varint(1) + sized(b"k001") + b"\0" + sized(b"k002") + varint(1) + fixed64(1),
    "bytes too many": varint(0) + b"\0",
}


@pytest.mark.parametrize("what", RANGES)
def test_range_tombstones_that_make_no_sense_are_refused(what: str) -> None:
    refused_table(lambda table: setattr(table, "extra", [(2, 0, RANGES[what])]))


def test_range_tombstones_outside_of_their_table_do_no_harm() -> None:
    for start, end in ((b"a", b"z"), (b"k007", b"k003"), (b"k005", b"k005"), (b"", b"\xff")):
        section = varint(1) + sized(start) + b"\0" + sized(end) + varint(1) + fixed64(5)
        judged(with_table(lambda table, section=section: setattr(table, "extra", [(2, 0, section)]), ranges=1))


STORED = len(block_of(ENTRIES)) + 13
INDEXES = {
    "nothing": b"",
    "a count that is made up": varint((1 << 64) - 1),
    "no block": varint(0),
    "a block too many": index_of([(STORED, b"k005"), (STORED, b"k009")]),
    "blocks that end early": index_of([(STORED - 1, b"k009")]),
    "blocks that overflow": index_of([((1 << 64) - STORED, b"k005"), (2 * STORED, b"k009")]),
    "a block of nothing": index_of([(0, b"k005"), (STORED, b"k009")]),
    "a block of only a trailer": index_of([(13, b"k005"), (STORED - 13, b"k009")]),
    "separators that descend": index_of([(100, b"k009"), (STORED - 100, b"k005")]),
    "a separator twice": index_of([(100, b"k009"), (STORED - 100, b"k009")]),
    "more in common than there is": varint(1) + varint(STORED) + varint(60_000 * 2) + sized(b"k"),
    "a separator that is too long": varint(1) + varint(STORED) + varint(0) + sized(bytes(65_536)),
    "a length that overflows": varint(1) + varint(STORED) + varint((1 << 64) - 1) + varint((1 << 64) - 1),
    "a tag that is cut off": varint(1) + varint(STORED) + varint(1) + sized(b"k009"),
    "bytes too many": index_of([(STORED, b"k009")]) + b"\0",
}


@pytest.mark.parametrize("what", INDEXES)
def test_an_index_that_makes_no_sense_is_refused(what: str) -> None:
    refused_table(lambda table: setattr(table, "index", INDEXES[what]))


def test_separators_that_unpack_to_too_much_are_refused_and_take_no_memory() -> None:
    """Each a few bytes behind what it shares with the one before: 100 KB that stand for 780 MB."""
    count = 12_000
    first = varint(20) + varint(0) + sized(b"a") + varint(20) + varint(0) + sized(b"b" * 65_000)
    rest = b"".join(varint(20) + varint(65_000 * 2) + sized(number.to_bytes(2, "big")) for number in range(count))

    def change(table: Any) -> None:
        table.blocks, table.separators = [(bytes(20 * (count + 2) - 13), 0, None)], [b""]
        table.index = varint(count + 2) + first + rest

    refused_table(lambda table: change(table))


# ---------------------------------------------------------------- anything


def test_real_databases_with_changes_under_right_checksums_do_no_harm() -> None:
    """More of them: `make hostile`."""
    found: dict[str, int] = {"open": 0, "use": 0, "nothing": 0}
    for seed, files in changed_databases(0, 150):
        try:
            refused = judge(on_disk(files))
        except BaseException as error:
            raise AssertionError(f"python tests/forge_changes.py {seed} 1") from error
        found["open" if "open" in refused else "use" if refused else "nothing"] += 1
    assert min(found.values()) > 15, found

"""Scans as Arrow streams: the C interface itself, by a consumer of its own, and libraries where they are."""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest

import nori_lsm
from arrow_support import (
    RELEASE_SCHEMA,
    Array,
    Consumer,
    Schema,
    StreamError,
    capsule_of,
    column_of,
    move,
    rows_of,
    stream_in,
)

ARRAY_ROWS = 64 << 10
ARRAY_BYTES = 8 << 20


def fill(db: nori_lsm.Engine, count: int = 1000) -> list[tuple[bytes, bytes]]:
    pairs = [(b"key-%06d" % n, b"v" * (n % 40)) for n in range(count)]
    db.update(pairs)
    return pairs


def rows_through(scan: nori_lsm.Scan, requested: Any = None) -> list[tuple[bytes, bytes]]:
    consumer = Consumer(scan.__arrow_c_stream__(requested))
    rows = consumer.rows()
    consumer.release()
    return rows


def request(formats: dict[str, str], format: str = "+s") -> tuple[Any, Any]:
    """A capsule for requested_schema, and what must live as long as it."""
    nothing = RELEASE_SCHEMA(lambda schema: None)
    children = [
        ctypes.pointer(Schema(format=text.encode(), name=name.encode(), release=nothing))
        for name, text in formats.items()
    ]
    schema = Schema(format=format.encode(), n_children=len(children), release=nothing)
    schema.children = (ctypes.POINTER(Schema) * max(len(children), 1))(*children)
    name = b"arrow_schema"
    return capsule_of(schema, name), (nothing, children, schema, name)


# ---------------------------------------------------------------- what is in a stream


def test_the_schema_is_two_columns_that_are_never_null(db):
    consumer = Consumer(db.scan().__arrow_c_stream__())
    schema = consumer.schema()
    assert (schema.format, schema.n_children, schema.flags) == (b"+s", 2, 0)
    columns = [schema.children[i].contents for i in range(2)]
    assert [(column.name, column.format, column.flags) for column in columns] == [(b"key", b"z", 0), (b"value", b"z", 0)]
    schema.release(schema)
    assert not schema.release and not columns[0].release and not columns[1].release
    consumer.release()


def test_all_rows_come_in_order(db):
    pairs = fill(db)
    assert rows_through(db.scan()) == pairs
    with db.snapshot() as then:
        db.clear()
        assert rows_through(then.scan()) == pairs
    assert rows_through(db.scan()) == []


@pytest.mark.parametrize("bounds", [
    {"reverse": True},
    {"limit": 10},
    {"limit": 10, "reverse": True},
    {"limit": 0},
    {"start": b"key-000100", "stop": b"key-000900", "include_stop": True},
    {"prefix": b"key-0002"},
    {"start": b"z"},
])  # fmt: skip
def test_the_scan_s_bounds_direction_and_limit_hold(db, bounds):
    fill(db)
    assert rows_through(db.scan(**bounds)) == list(db.scan(**bounds))


def test_deleted_and_expired_entries_are_not_shown(disk):
    with nori_lsm.open("db", env=disk) as db:
        pairs = fill(db, 100)
        del db[pairs[3][0]]
        db.delete_range(pairs[50][0], pairs[60][0])
        db.put(pairs[7][0], b"gone soon", ttl=5)
        disk.advance(10)
        expected = [pair for n, pair in enumerate(pairs) if n not in (3, 7) and not 50 <= n < 60]
        assert rows_through(db.scan()) == expected


def test_an_empty_scan_has_a_schema_and_no_arrays(db):
    consumer = Consumer(db.scan().__arrow_c_stream__())
    schema = consumer.schema()
    assert schema.n_children == 2
    schema.release(schema)
    assert consumer.next() is None
    assert consumer.next() is None
    consumer.release()


def test_values_of_no_bytes_and_of_many(db):
    large = os.urandom(5 << 20)
    pairs = [(b"", b""), (b"a", large), (b"b", b""), (b"c", os.urandom(12)), (b"d", os.urandom(13)), (b"e" * 65535, b"")]
    db.update(pairs)
    for formats in ({}, {"value": "Z"}, {"value": "vz", "key": "vz"}):
        capsule, kept = request(formats)
        assert rows_through(db.scan(), capsule) == pairs, formats
        del kept


def test_nothing_but_empty_keys_and_values(db):
    db[b""] = b""
    for formats in ({}, {"key": "Z", "value": "Z"}, {"key": "vz", "value": "vz"}):
        capsule, kept = request(formats)
        assert rows_through(db.scan(), capsule) == [(b"", b"")]
        del kept


def test_arrays_end_at_their_most_rows(db):
    db.ingest(((b"%08d" % n, b"") for n in range(ARRAY_ROWS * 2 + 1)), sorted=True)
    arrays = list(Consumer(db.scan().__arrow_c_stream__()))
    assert [array.length for array in arrays] == [ARRAY_ROWS, ARRAY_ROWS, 1]
    for array in arrays:
        array.release(array)


def test_arrays_end_before_their_most_bytes(db):
    size = 1 << 20
    for n in range(16):
        db[b"%02d" % n] = bytes(size)
    db[b"99"] = bytes(ARRAY_BYTES + size)
    arrays = list(Consumer(db.scan().__arrow_c_stream__()))
    assert [array.length for array in arrays] == [7, 7, 2, 1]
    assert sum((rows_of(array, [b"z", b"z"]) for array in arrays), []) == list(db.scan())
    for array in arrays:
        array.release(array)


# ---------------------------------------------------------------- the cursor


def test_a_stream_moves_the_scan_s_one_cursor(db):
    pairs = fill(db, 3000)
    scan = db.scan()
    taken = [next(scan) for _ in range(5)] + next(scan.batches(7))
    assert taken == pairs[:12]
    assert rows_through(scan) == pairs[12:]
    assert next(scan, None) is None
    scan.seek(pairs[2990][0])
    assert scan.count() == 10
    assert rows_through(scan) == pairs[2990:]


def test_entries_counted_in_the_middle_are_not_lost(db):
    pairs = fill(db, 3000)
    with db.scan(limit=2000) as scan:
        assert next(scan) == pairs[0]
        assert scan.count() == 1999
        assert rows_through(scan) == pairs[1:2000]
        assert rows_through(scan) == []


def test_two_streams_and_threads_share_a_scan(db):
    count = ARRAY_ROWS * 3
    db.ingest(((b"%08d" % n, b"x") for n in range(count)), sorted=True)
    scan = db.scan()
    parts: list[list[Any]] = [[], [], []]

    def read_stream(part: list[Any]) -> None:
        part += rows_through(scan)

    threads = [threading.Thread(target=read_stream, args=(parts[i],)) for i in range(2)]
    threads.append(threading.Thread(target=lambda: parts[2].extend(scan)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sum(parts, [])) == list(db.scan())


# ---------------------------------------------------------------- what is asked for


@pytest.mark.parametrize("asked, given", [
    ({"key": "z", "value": "z"}, [b"z", b"z"]),
    ({"key": "Z", "value": "Z"}, [b"Z", b"Z"]),
    ({"value": "vz", "key": "Z"}, [b"Z", b"vz"]),
    ({"key": "u", "value": "Z"}, [b"z", b"Z"]),
    ({"value": "Z"}, [b"z", b"Z"]),
    ({"something": "l", "else": "Z", "more": "Z"}, [b"z", b"z"]),
    ({}, [b"z", b"z"]),
])  # fmt: skip
def test_a_requested_schema_is_followed_where_it_can_be(db, asked, given):
    pairs = fill(db, 50)
    capsule, kept = request(asked)
    scan = db.scan()
    consumer = Consumer(scan.__arrow_c_stream__(requested_schema=capsule))
    schema = consumer.schema()
    assert [schema.children[i].contents.format for i in range(2)] == given
    assert consumer.rows() == pairs
    consumer.release()
    del kept


def test_a_requested_schema_that_is_no_struct_is_passed_over(db):
    capsule, kept = request({"key": "Z", "value": "Z"}, format="+m")
    schema = Consumer(db.scan().__arrow_c_stream__(capsule)).schema()
    assert schema.children[0].contents.format == b"z"
    del kept


def test_a_malformed_requested_schema_is_a_value_error(db):
    with pytest.raises(ValueError):
        db.scan().__arrow_c_stream__(object())
    capsule, (_, _, schema, name) = request({"key": "Z"})
    for field, value in (("release", RELEASE_SCHEMA()), ("format", None), ("n_children", -1)):
        before = getattr(schema, field)
        setattr(schema, field, value)
        with pytest.raises(ValueError, match="malformed"):
            db.scan().__arrow_c_stream__(capsule)
        setattr(schema, field, before)
    schema.children[0].contents.format = None
    with pytest.raises(ValueError, match="malformed"):
        db.scan().__arrow_c_stream__(capsule)
    schema.children = ctypes.POINTER(ctypes.POINTER(Schema))()
    with pytest.raises(ValueError, match="malformed"):
        db.scan().__arrow_c_stream__(capsule)
    wrong = b"arrow_array"
    with pytest.raises(ValueError):
        db.scan().__arrow_c_stream__(capsule_of(schema, wrong))
    assert name
    with pytest.raises(TypeError):
        db.scan().__arrow_c_stream__(None, None)


# ---------------------------------------------------------------- who holds what


def test_arrays_outlive_stream_scan_and_engine(path):
    db = nori_lsm.open(path)
    pairs = fill(db)
    consumer = Consumer(db.scan().__arrow_c_stream__())
    array = consumer.next()
    consumer.release()
    db.close()
    del db, consumer
    gc.collect()
    assert rows_of(array, [b"z", b"z"]) == pairs
    array.release(array)
    assert not array.release


def test_a_column_that_was_moved_outlives_its_parent(db):
    pairs = fill(db)
    array = Consumer(db.scan().__arrow_c_stream__()).next()
    keys = move(array.children[0].contents)
    array.release(array)
    assert column_of(keys, b"z") == [key for key, _ in pairs]
    keys.release(keys)
    assert not keys.release


def test_an_array_is_moved_and_released_where_it_is(db):
    pairs = fill(db)
    array = Consumer(db.scan().__arrow_c_stream__()).next()
    moved: Array = move(array)
    assert not array.release
    assert rows_of(moved, [b"z", b"z"]) == pairs
    moved.release(moved)


def test_a_stream_holds_its_scan_until_it_is_released(path):
    db = nori_lsm.open(path)
    fill(db)
    scan = db.scan()
    alive = weakref.ref(scan)
    consumer = Consumer(scan.__arrow_c_stream__())
    del scan
    gc.collect()
    assert alive() is not None
    consumer.release()
    gc.collect()
    assert alive() is None
    db.close()


def test_a_capsule_that_nobody_consumes_releases_its_stream(db):
    fill(db)
    scan = db.scan()
    alive = weakref.ref(scan)
    capsule = scan.__arrow_c_stream__()
    del scan
    assert alive() is not None
    del capsule
    gc.collect()
    assert alive() is None


def test_a_stream_given_up_in_the_middle_lets_the_scan_be(db):
    count = ARRAY_ROWS + 100
    db.ingest(((b"%08d" % n, b"x") for n in range(count)), sorted=True)
    scan = db.scan()
    capsule = scan.__arrow_c_stream__()
    consumer = Consumer(capsule)
    array = consumer.next()
    array.release(array)
    consumer.release()
    del capsule, consumer
    gc.collect()
    assert len(list(scan)) == 100


def test_a_stream_that_was_taken_is_not_released_with_its_capsule(db):
    pairs = fill(db)
    capsule = db.scan().__arrow_c_stream__()
    consumer = Consumer(capsule)
    assert not stream_in(capsule).release
    del capsule
    gc.collect()
    assert consumer.rows() == pairs
    consumer.release()


def test_streams_are_released_by_other_threads(db):
    fill(db)
    consumer = Consumer(db.scan().__arrow_c_stream__())
    array = consumer.next()

    def release() -> None:
        array.release(array)
        consumer.release()

    thread = threading.Thread(target=release)
    thread.start()
    thread.join()
    assert not array.release


# ---------------------------------------------------------------- errors


def test_a_closed_scan_or_engine_is_known_at_the_call(path):
    db = nori_lsm.open(path)
    scan = db.scan()
    closed = db.scan()
    closed.close()
    with pytest.raises(nori_lsm.ClosedError, match="scan is closed"):
        closed.__arrow_c_stream__()
    db.close()
    with pytest.raises(nori_lsm.ClosedError):
        scan.__arrow_c_stream__()


def test_an_engine_closed_in_the_middle_ends_the_stream_with_an_error(path):
    db = nori_lsm.open(path)
    db.ingest(((b"%08d" % n, b"x") for n in range(ARRAY_ROWS * 2)), sorted=True)
    consumer = Consumer(db.scan().__arrow_c_stream__())
    array = consumer.next()
    db.close()
    for _ in range(2):
        with pytest.raises(StreamError) as raised:
            consumer.next()
        number, text = raised.value.args
        assert number == errno.EINVAL
        assert text.startswith("ClosedError: ") and str(path) in text
    schema = consumer.schema()
    assert not consumer.stream.get_last_error(consumer.stream)
    schema.release(schema)
    assert array.length == ARRAY_ROWS
    array.release(array)
    consumer.release()


def test_a_scan_closed_in_the_middle_ends_the_stream_with_an_error(db):
    fill(db)
    scan = db.scan()
    consumer = Consumer(scan.__arrow_c_stream__())
    scan.close()
    with pytest.raises(StreamError, match="ClosedError: the scan is closed"):
        consumer.next()
    consumer.release()


def test_a_disk_that_fails_in_the_middle_ends_the_stream_where_it_failed(disk):
    with nori_lsm.open("db", env=disk) as db:
        pairs = [(b"%06d" % n, os.urandom(100)) for n in range(20_000)]
        db.ingest(pairs, sorted=True)
    with nori_lsm.open("db", env=disk, resources__block_cache_mib=1) as db:
        consumer = Consumer(db.scan().__arrow_c_stream__())
        disk.fail("read", 12, errno.EIO)
        array = consumer.next()
        rows = rows_of(array, [b"z", b"z"])
        assert 0 < len(rows) < len(pairs)
        array.release(array)
        rows += consumer.rows()  # The fault was of one read: the next one succeeds.
        consumer.release()
        assert rows == pairs


def test_a_disk_that_fails_at_the_first_read_tells_its_error(disk):
    with nori_lsm.open("db", env=disk) as db:
        db.ingest([(b"a", b"1")])
    with nori_lsm.open("db", env=disk) as db:
        consumer = Consumer(db.scan().__arrow_c_stream__())
        disk.fail("read", 1, errno.EIO)
        with pytest.raises(StreamError) as raised:
            consumer.next()
        assert raised.value.args[0] == errno.EIO
        assert raised.value.args[1].startswith("OSError: ")
        assert consumer.rows() == [(b"a", b"1")]
        consumer.release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_gets_an_error_and_may_release(db):
    fill(db)
    consumer = Consumer(db.scan().__arrow_c_stream__())
    child = os.fork()
    if child == 0:
        try:
            consumer.next()
        except StreamError as error:
            consumer.release()
            os._exit(0 if "ForkedError" in error.args[1] else 2)
        finally:
            os._exit(3)
    assert os.waitpid(child, 0)[1] == 0
    assert len(consumer.rows()) == 1000
    consumer.release()


@pytest.mark.parametrize("ending", ["capsule", "stream", "nothing"])
def test_the_interpreter_exits_with_a_stream_open(path: Path, ending: str) -> None:
    program = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
import nori_lsm
from arrow_support import Consumer
db = nori_lsm.open({str(path)!r})
db.update((b"%d" % n, b"x") for n in range(1000))
capsule = db.scan().__arrow_c_stream__()
if {ending!r} != "capsule":
    consumer = Consumer(capsule)
    array = consumer.next()
    if {ending!r} == "stream":
        consumer.release()
sys.modules["kept"] = capsule
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


# ---------------------------------------------------------------- libraries


def test_pyarrow_reads_a_scan(db):
    pyarrow = pytest.importorskip("pyarrow")
    pairs = fill(db)
    table = pyarrow.table(db.scan())
    table.validate(full=True)
    assert table.schema == pyarrow.schema(
        [pyarrow.field(name, pyarrow.binary(), nullable=False) for name in ("key", "value")]
    )
    assert list(zip(table["key"].to_pylist(), table["value"].to_pylist(), strict=True)) == pairs
    assert pyarrow.table(db.scan(start=b"z")).num_rows == 0


@pytest.mark.parametrize("kind", ["binary", "large_binary", "binary_view"])
def test_pyarrow_s_types_are_followed(db, kind):
    pyarrow = pytest.importorskip("pyarrow")
    fill(db)
    kind = getattr(pyarrow, kind)()
    schema = pyarrow.schema([pyarrow.field(name, kind, nullable=False) for name in ("key", "value")])
    reader = pyarrow.RecordBatchReader.from_stream(db.scan(), schema=schema)
    assert reader.schema == schema
    table = reader.read_all()
    table.validate(full=True)
    assert table["key"].to_pylist() == list(db)


def test_pyarrow_tells_why_a_stream_ended(path):
    pyarrow = pytest.importorskip("pyarrow")
    db = nori_lsm.open(path)
    fill(db)
    reader = pyarrow.RecordBatchReader.from_stream(db.scan())
    db.close()
    with pytest.raises(ValueError, match="ClosedError"):
        reader.read_all()


def test_polars_reads_a_scan(db):
    polars = pytest.importorskip("polars")
    pairs = fill(db)
    frame = polars.DataFrame(db.scan(prefix=b"key-"))
    assert frame.schema == {"key": polars.Binary, "value": polars.Binary}
    assert frame.rows() == pairs
    assert polars.DataFrame(db.scan(limit=0)).shape == (0, 2)

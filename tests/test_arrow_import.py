"""Tables into ingest() and update(): Arrow streams of libraries, and of producers that do not keep to the rules."""

from __future__ import annotations

import errno
import re
import struct
from typing import Any

import pytest

import nori_lsm
from arrow_support import Producer, binary_column

KEYS = [b"a", b"b" * 13, b"", b"d" * 12]
VALUES = [b"1", b"", b"3" * 100, b"44"]
PAIRS = sorted(zip(KEYS, VALUES, strict=True))


def table(keys: list[Any] = KEYS, values: list[Any] = VALUES, **changed: Any) -> Producer:
    return Producer([(binary_column(keys), binary_column(values))], **changed)


def view_column(items: list[bytes], buffers: int = 1, **changed: Any) -> dict[str, Any]:
    """Views; what is longer than 12 bytes stands in one buffer after the other."""
    views, data = b"", [b""] * buffers
    for n, item in enumerate(items):
        if len(item) <= 12:
            views += struct.pack("=i12s", len(item), item)
        else:
            views += struct.pack("=i4sii", len(item), item[:4], n % buffers, len(data[n % buffers]))
            data[n % buffers] += item
    sizes = struct.pack(f"={buffers}q", *map(len, data))
    return {"buffers": [None, views, *data, sizes], "length": len(items), **changed}


# ---------------------------------------------------------------- what is taken


@pytest.mark.parametrize("key, value", [("z", "z"), ("Z", "z"), ("u", "U"), ("U", "Z")])
def test_binary_and_string_columns_are_taken(db, key, value):
    source = Producer([(binary_column(KEYS, key), binary_column(VALUES, value))], (key, value))
    assert db.ingest(source) == 4
    source.check_released()
    assert list(db.items()) == PAIRS


def test_views_are_taken(db):
    source = Producer([(view_column(KEYS), view_column(VALUES, buffers=3)), (view_column([]), view_column([]))], ("vz", "vu"))
    assert db.ingest(source) == 4
    source.check_released()
    assert list(db.items()) == PAIRS


def test_fixed_sizes_are_taken(db):
    keys = {"buffers": [None, b"aabbcc"], "length": 3}
    values = {"buffers": [None, None], "length": 3}
    source = Producer([(keys, values)], ("w:2", "w:0"))
    assert db.ingest(source) == 3
    source.check_released()
    assert list(db.items()) == [(b"aa", b""), (b"bb", b""), (b"cc", b"")]


def test_update_takes_tables_too(db):
    source = table()
    db.update(source)
    db |= table([b"more"], [b"x"])
    source.check_released()
    assert list(db.items()) == sorted([*PAIRS, (b"more", b"x")])


@pytest.mark.parametrize("names, swapped", [
    (("key", "value"), False),
    (("value", "key"), True),
    (("value", "name"), False),
    (("", None), False),
    ((None, "key"), False),
])  # fmt: skip
def test_columns_are_found_by_name_or_place(db, names, swapped):
    db.ingest(table([b"1"], [b"2"], names=names))
    assert dict(db) == ({b"2": b"1"} if swapped else {b"1": b"2"})


def test_arrays_of_no_rows_and_streams_of_no_arrays_are_taken(db):
    assert db.ingest(Producer([])) == 0
    nothing = {"buffers": [None, None, None], "length": 0}
    source = Producer([(nothing, nothing), ({"buffers": None, "length": 0},) * 2, (binary_column(KEYS), binary_column(VALUES))])
    assert db.ingest(source) == 4
    source.check_released()
    assert list(db.items()) == PAIRS


def test_empty_rows_need_no_data(db):
    empty = {"buffers": [None, bytes(8), None], "length": 1}
    assert db.ingest(Producer([(empty, empty)])) == 1
    assert dict(db) == {b"": b""}


def test_offsets_of_arrays_and_of_their_columns_count(db):
    keys = binary_column([b"x", b"x", b"x", b"a", b"b", b"x"], offset=1, length=5)
    values = binary_column([b"x", b"x", b"1", b"2", b"x"], length=5)
    source = Producer([(keys, values)], parent={"offset": 2, "length": 2})
    assert db.ingest(source) == 2
    assert dict(db) == {b"a": b"1", b"b": b"2"}


def test_much_is_handed_on_in_parts(db):
    calls = []
    keys = [b"%08d" % n for n in range(30_000)]
    arrays = [(binary_column(keys[at : at + 15_000]), binary_column([b"v" * 100] * 15_000)) for at in (0, 15_000)]
    source = Producer(arrays)
    assert db.ingest(source, sorted=True, progress=calls.append) == 30_000
    assert [call.phase for call in calls].count("read") >= 3
    assert list(db) == keys


def test_a_scan_is_ingested_as_it_is(db, tmp_path):
    db.update((b"%06d" % n, b"x" * (n % 50)) for n in range(10_000))
    with nori_lsm.open(tmp_path / "other") as other:
        assert other.ingest(db.scan(b"001"), sorted=True) == 9_000
        assert list(other.items()) == list(db.scan(b"001"))
        assert db.ingest(db.scan(limit=10)) == 10


# ---------------------------------------------------------------- what is refused


def refused(db: nori_lsm.Engine, source: Producer, kind: type[BaseException], match: str) -> None:
    with pytest.raises(kind, match=match):
        db.ingest(source)
    source.check_released()
    assert len(db) == 0


@pytest.mark.parametrize("format, found", [("l", "int64"), ("ts:", "timestamp"), ("+l", "list"), ("w:", "unknown"),
                                           ("w:-1", "unknown"), ("w:1x", "unknown"), ("w:99999999999999999999", "unknown"),
                                           ("q", "unknown"), ("", "unknown")])  # fmt: skip
def test_other_types_are_named(db, format, found):
    refused(db, table(formats=("z", format)), TypeError, rf"column 'value' is {found} \(Arrow format '{re.escape(format)}'\)")


def test_what_is_no_table_of_two_columns_is_named(db):
    refused(db, table(format="z"), TypeError, "column of unknown")
    refused(db, table(format="l"), TypeError, "column of int64")
    three = Producer([], ("z", "z", "z"), ("a", "b", "c"))
    refused(db, three, TypeError, "not of 3")
    refused(db, Producer([], (), ()), TypeError, "not of 0")
    refused(db, table(dictionary=True), TypeError, "column 'key' is dictionary")


def test_nulls_are_named_by_row_and_column(db):
    rows = binary_column([b"x"] * 20)
    for column in range(2):
        for count in (1, -1):
            columns = [rows, rows]
            columns[column] = binary_column([b"x"] * 11 + [None] + [b"x"] * 8, null_count=count)
            source = Producer([(rows, rows), columns])
            refused(db, source, ValueError, f"row 31 of column '{['key', 'value'][column]}' is null")


def test_a_bitmap_without_nulls_in_the_array_s_rows_is_fine(db):
    column = binary_column([None, b"a", b"b"], offset=1, length=2, null_count=-1)
    assert db.ingest(Producer([(column, column)])) == 2
    without = binary_column([b"c"], null_count=-1)
    assert db.ingest(Producer([(without, without)], parent={"null_count": -1})) == 1
    assert set(db) == {b"a", b"b", b"c"}


def test_rows_that_are_null_as_a_whole_are_named(db):
    refused(db, table(parent={"null_count": 1, "bitmap": b"\x0d"}), ValueError, "row 1 is null")
    refused(db, table(parent={"null_count": 1}), ValueError, "nulls and no bitmap")


@pytest.mark.parametrize("changed", [
    {"length": -1}, {"length": 1}, {"length": 1 << 62}, {"offset": -1}, {"offset": (1 << 63) - 1},
    {"n_buffers": 2}, {"n_buffers": 4}, {"n_buffers": -1}, {"n_buffers": 0}, {"buffers": None, "n_buffers": 3},
    {"buffers": [None, None, b"data"]},
    {"buffers": [None, struct.pack("=5i", 0, 1, 2, 3, 4), None]},
    {"buffers": [None, struct.pack("=5i", 0, 2, 1, 3, 4), b"data"]},
    {"buffers": [None, struct.pack("=5i", -4, 1, 2, 3, 4), b"data"]},
    {"null_count": 2},
])  # fmt: skip
@pytest.mark.parametrize("column", [0, 1])
def test_malformed_columns_are_refused(db, changed, column):
    good, bad = binary_column([b"x"] * 4), binary_column([b"x"] * 4, **changed)
    columns = [bad, good] if column == 0 else [good, bad]
    source = Producer([columns], parent={"length": 4})
    refused(db, source, ValueError, "malformed Arrow data")


@pytest.mark.parametrize("changed", [{"length": -1}, {"length": 5}, {"offset": -1}, {"offset": 3}, {"n_children": 1},
                                     {"n_children": 3}, {"n_children": -1}, {"length": 1 << 62, "offset": 1 << 62}])  # fmt: skip
def test_malformed_arrays_are_refused(db, changed):
    refused(db, table(parent=changed), ValueError, "malformed Arrow data")


@pytest.mark.parametrize("view", [
    struct.pack("=i12x", -1),
    struct.pack("=i4xii", 13, 1, 0),
    struct.pack("=i4xii", 13, -1, 0),
    struct.pack("=i4xii", 13, 0, -1),
    struct.pack("=i4xii", 13, 0, 8),
    struct.pack("=i4xii", 2**31 - 1, 0, 2**31 - 1),
])  # fmt: skip
def test_views_outside_of_their_buffers_are_refused(db, view):
    good = view_column([b"x" * 20])
    bad = {"buffers": [None, view, b"x" * 20, struct.pack("=q", 20)], "length": 1}
    refused(db, Producer([(good, bad)], ("vz", "vz")), ValueError, "malformed Arrow data: row 0 of column 'value'")
    no_sizes = {"buffers": [None, view, b"x" * 20, None], "length": 1}
    refused(db, Producer([(good, no_sizes)], ("vz", "vz")), ValueError, "malformed")
    too_few = {"buffers": [None, view], "length": 1}
    refused(db, Producer([(good, too_few)], ("vz", "vz")), ValueError, "malformed")


def test_keys_and_values_that_are_too_large_are_refused(db):
    refused(db, table([b"x" * 65536], [b""]), ValueError, "key has 65536 bytes")
    fixed = {"buffers": [None, b""], "length": 1}
    refused(db, Producer([(fixed, fixed)], ("w:1073741825", "w:0")), ValueError, "limit")
    refused(db, Producer([(fixed, fixed)], ("w:9223372036854775807", "w:0")), ValueError, "limit")


# ---------------------------------------------------------------- streams that fail


@pytest.mark.parametrize("number, kind", [(errno.EIO, OSError), (errno.EINVAL, ValueError), (errno.ENOMEM, MemoryError)])
def test_a_stream_s_error_is_raised_and_nothing_is_stored(db, number, kind):
    refused(db, Producer([(binary_column(KEYS), binary_column(VALUES)), number]), kind, "out of order")
    refused(db, table(schema_errno=number), kind, "out of order")


def test_an_os_error_has_its_errno(db):
    with pytest.raises(OSError) as raised:
        db.ingest(Producer([errno.EIO]))
    assert raised.value.errno == errno.EIO


def test_what_is_no_stream_is_refused(db):
    class Nothing:
        def __arrow_c_stream__(self, requested_schema=None):
            return None

    class Raises:
        def __arrow_c_stream__(self, requested_schema=None):
            raise LookupError("no table")

    with pytest.raises(ValueError):
        db.ingest(Nothing())
    with pytest.raises(LookupError, match="no table"):
        db.ingest(Raises())
    source = table()
    capsule = source.__arrow_c_stream__()
    again = type("Again", (), {"__arrow_c_stream__": lambda self: capsule})()
    assert db.ingest(again) == 4
    with pytest.raises(ValueError, match="consumed already"):
        db.ingest(again)


def test_an_exception_of_progress_releases_the_stream(db):
    def stop(report):
        raise RuntimeError("enough")

    source = table([b"%08d" % n for n in range(20_000)], [b"v" * 100] * 20_000)
    with pytest.raises(RuntimeError, match="enough"):
        db.ingest(source, progress=stop)
    source.check_released()
    assert len(db) == 0


def test_an_engine_closed_by_its_own_ingest_releases_the_stream(path):
    db = nori_lsm.open(path)
    source = table([b"%08d" % n for n in range(20_000)], [b"v" * 100] * 20_000)
    with pytest.raises(nori_lsm.ClosedError):
        db.ingest(source, progress=lambda report: db.close())
    source.check_released()


def test_rows_that_descend_fail_a_sorted_ingest(db):
    refusing = table([b"a", b"c", b"b"], [b""] * 3)
    with pytest.raises(ValueError, match=r"pair 2 .*below"):
        db.ingest(refusing, sorted=True)
    refusing.check_released()


# ---------------------------------------------------------------- libraries


@pytest.mark.parametrize("kind", ["binary", "large_binary", "binary_view", "string", "large_string", "string_view"])
def test_pyarrow_s_tables_are_taken(db, kind):
    pyarrow = pytest.importorskip("pyarrow")
    kind = getattr(pyarrow, kind)()
    keys = pyarrow.chunked_array([pyarrow.array(KEYS[:2], kind), pyarrow.array(["skipped", *KEYS[2:]], kind).slice(1)])
    assert db.ingest(pyarrow.table({"k": keys, "v": pyarrow.array(VALUES, kind)})) == 4
    assert list(db.items()) == PAIRS


def test_pyarrow_s_slices_and_nulls(db):
    pyarrow = pytest.importorskip("pyarrow")
    rows = pyarrow.table({"value": [b"0", None, b"2", b"3"], "key": pyarrow.array([b"aa", b"bb", b"cc", b"dd"], pyarrow.binary(2))})
    assert db.ingest(rows.slice(2)) == 2
    assert dict(db) == {b"cc": b"2", b"dd": b"3"}
    with pytest.raises(ValueError, match="row 1 of column 'value' is null"):
        db.ingest(rows)
    with pytest.raises(TypeError, match="column 'key' is int64"):
        db.ingest(pyarrow.table({"key": [1], "value": [b""]}))


def test_polars_frames_are_taken(db):
    polars = pytest.importorskip("polars")
    assert db.ingest(polars.DataFrame({"key": KEYS, "value": VALUES})) == 4
    assert db.ingest(polars.DataFrame({"word": ["eins", "ein langes Wort"], "text": ["1", "zwölf"]})) == 2
    assert dict(db) == {**dict(PAIRS), b"eins": b"1", b"ein langes Wort": "zwölf".encode()}
    frame = polars.DataFrame(db.scan())
    db.clear()
    db.update(frame)
    assert polars.DataFrame(db.scan()).equals(frame)


def test_pandas_frames_are_taken(db):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    assert db.ingest(pandas.DataFrame({"key": KEYS, "value": VALUES})) == 4
    assert list(db.items()) == PAIRS

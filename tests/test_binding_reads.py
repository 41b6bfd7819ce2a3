"""Reading through the binding: the manners of a dict, scans, views, comparisons."""

from __future__ import annotations

import array
import gc
import random
import sys
from collections import OrderedDict
from collections.abc import ItemsView, Iterator, KeysView, Mapping, MutableMapping, ValuesView

import pytest

import nori_lsm

N = 5000


def key(i: int) -> bytes:
    return b"key-%05d" % i


@pytest.fixture
def full(db: nori_lsm.Engine) -> nori_lsm.Engine:
    """Entries in level 0 and in the memtable."""
    db.update((key(i), b"value-%d" % i) for i in range(0, N, 2))
    db.flush()
    db.update((key(i), b"value-%d" % i) for i in range(1, N, 2))
    return db


def test_absent_keys_behave_as_in_a_dict(db):
    with pytest.raises(KeyError) as caught:
        db[b"none"]
    assert caught.value.args == (b"none",)
    assert db.get(b"none") is None
    assert db.get(b"none", 7) == 7
    assert db.get(b"none", default="x") == "x"
    assert b"none" not in db
    with pytest.raises(KeyError):
        del db[b"none"]
    with pytest.raises(KeyError):
        db.pop(b"none")
    assert db.pop(b"none", 3) == 3
    with pytest.raises(KeyError):
        db.popitem()


def test_every_contiguous_buffer_is_a_key(db):
    for form in (bytes, bytearray, memoryview, lambda b: array.array("B", b), lambda b: memoryview(bytearray(b))):
        db[form(b"abc")] = form(b"def")
        assert db[form(b"abc")] == b"def"
        assert type(db[form(b"abc")]) is bytes
        assert form(b"abc") in db
        assert db.get_many([form(b"abc")]) == [b"def"]
        assert db.pop(form(b"abc")) == b"def"


@pytest.mark.parametrize("bad", ["text", None, 3, object(), ["a"]])
def test_what_is_no_buffer_is_a_type_error_everywhere(db, bad):
    for use in (
        lambda: db[bad],
        lambda: bad in db,
        lambda: db.get(bad),
        lambda: db.get(bad, 1),
        lambda: db.get_many([b"a", bad]),
        lambda: db.put(bad, b""),
        lambda: db.put(b"", bad),
        lambda: db.delete(bad),
        lambda: db.pop(bad, None),
        lambda: db.setdefault(b"k", bad),
        lambda: db.scan().seek(bad),
        lambda: db.batch().put(bad, b""),
        lambda: bad in db.keys(),
    ):
        with pytest.raises(TypeError):
            use()
    assert not db


def test_buffers_that_are_not_contiguous_are_buffer_errors(db):
    strided = memoryview(b"abcdef")[::2]
    for use in (lambda: db.get(strided), lambda: strided in db, lambda: db.put(b"k", strided)):
        with pytest.raises(BufferError):
            use()
    numpy = pytest.importorskip("numpy")
    with pytest.raises(BufferError):
        db.get(numpy.arange(10, dtype="u1")[::2])
    db[numpy.frombuffer(b"xyz", dtype="u1")] = numpy.arange(4, dtype="u1")
    assert db[b"xyz"] == bytes(range(4))


def test_an_exporters_own_value_error_stays_one(db):
    released = memoryview(b"abc")
    released.release()
    with pytest.raises(ValueError, match="released"):
        db.get(released)


def test_sizes_are_checked_before_anything_is_written(db):
    db[b"k" * 65535] = b"most"
    assert db[b"k" * 65535] == b"most"
    for use in (
        lambda: db.put(b"k" * 65536, b""),
        lambda: db.get(b"k" * 65536),
        lambda: db.batch().put(b"k" * 65536, b""),
        lambda: db.update({b"fine": b"", b"k" * 65536: b""}),
    ):
        with pytest.raises(ValueError, match="65535"):
            use()
    assert len(db) == 1
    db[b""] = b""
    assert db[b""] == b"" and b"" in db


def test_get_many_is_in_order_and_keeps_the_gil_or_not(full):
    wanted = [key(i) for i in (5, 4, 5, N, 0)]
    expected = [b"value-5", b"value-4", b"value-5", None, b"value-0"]
    assert full.get_many(wanted) == expected
    assert full.get_many(iter(wanted * 10)) == expected * 10
    assert full.get_many([]) == []
    assert full.get_many({key(1): 0}) == [b"value-1"]


def test_counts(full):
    assert len(full) == N
    assert bool(full)
    assert full.estimate_len() > 0
    full.clear()
    assert len(full) == 0 and not full


def test_scan_bounds(full):
    all_keys = [key(i) for i in range(N)]
    keys = lambda *a, **k: list(full.scan(*a, **k).only_keys())  # noqa: E731
    assert keys() == all_keys
    assert keys(reverse=True) == all_keys[::-1]
    assert keys(key(10), key(20)) == all_keys[10:20]
    assert keys(key(10), key(20), include_start=False, include_stop=True) == all_keys[11:21]
    assert keys(key(10), key(20), reverse=True) == all_keys[10:20][::-1]
    assert keys(key(20), key(10)) == []
    assert keys(key(10), key(10)) == []
    assert keys(key(10), key(10), include_stop=True) == [key(10)]
    assert keys(prefix=b"key-000") == all_keys[:100]
    assert keys(key(50), prefix=b"key-000", limit=3) == all_keys[50:53]
    assert keys(stop=key(50), prefix=b"key-0000") == all_keys[:10]
    assert keys(prefix=b"") == all_keys
    assert keys(prefix=b"\xff\xff") == []
    assert keys(limit=0) == []
    assert keys(limit=10**30) == all_keys
    with pytest.raises(ValueError):
        full.scan(limit=-1)
    with pytest.raises(TypeError):
        full.scan(limit=1.5)
    with pytest.raises(TypeError):
        full.scan(b"", b"", b"")


def test_prefix_of_ff_bytes_has_no_upper_bound(db):
    for k in (b"\xfe", b"\xff", b"\xff\x00", b"\xff\xff", b"a\xff", b"a\xff\xff\x01", b"b"):
        db[k] = b""
    assert list(db.scan(prefix=b"\xff").only_keys()) == [b"\xff", b"\xff\x00", b"\xff\xff"]
    assert list(db.scan(prefix=b"a\xff").only_keys()) == [b"a\xff", b"a\xff\xff\x01"]


def test_scan_against_a_model(full):
    """next, seek, count and batches in any order, with and without a limit, as a list would do it."""
    rng = random.Random(5)
    model = [(key(i), b"value-%d" % i) for i in range(N)]
    for _ in range(60):
        reverse = rng.random() < 0.5
        limit = rng.choice([None, 0, 1, 7, 16, 17, 100, 3000, N, N + 5])
        lower, upper = sorted((rng.randrange(N), rng.randrange(N)))
        entries = model[lower:upper]
        if reverse:
            entries.reverse()
        place, left = 0, limit if limit is not None else N * 10
        scan = full.scan(key(lower), key(upper), reverse=reverse, limit=limit)
        for _ in range(25):
            step = rng.randrange(4)
            if step == 0:
                for _ in range(rng.choice([1, 3, 20, 400])):
                    expected = entries[place] if place < len(entries) and left > 0 else None
                    assert next(scan, None) == expected
                    if expected:
                        place, left = place + 1, left - 1
            elif step == 1:
                assert scan.count() == min(left, len(entries) - place)
            elif step == 2:
                target = rng.randrange(N)
                scan.seek(key(target))
                place = sum((k > key(target)) if reverse else (k < key(target)) for k, _ in entries)
            else:
                size = rng.choice([1, 10, 1500])
                expected = entries[place : place + min(size, left)]
                assert next(scan.batches(size), []) == expected
                place, left = place + len(expected), left - len(expected)


def test_parts_of_a_scan_share_its_cursor(full):
    scan = full.scan()
    assert next(scan) == (key(0), b"value-0")
    assert next(scan.only_keys()) == key(1)
    assert next(scan.only_values()) == b"value-2"
    assert next(scan.batches(2)) == [(key(3), b"value-3"), (key(4), b"value-4")]
    assert next(scan) == (key(5), b"value-5")
    with pytest.raises(ValueError):
        scan.batches(0)
    assert sum(map(len, full.scan().batches())) == N


def test_pairs_are_reused_only_when_nobody_can_tell(full):
    kept = list(full.scan(limit=50))
    assert kept == [(key(i), b"value-%d" % i) for i in range(50)]
    hashes = {hash(pair) for pair in full.scan(limit=50)}
    assert len(hashes) == 50
    assert hashes == {hash(pair) for pair in kept}


def test_dict_of_a_scan(full):
    assert dict(full.scan(limit=3)) == {key(i): b"value-%d" % i for i in range(3)}
    assert not hasattr(full.scan(), "keys")


def test_a_scan_is_one_moment(full):
    scan, keys = full.scan(), iter(full)
    next(scan)
    full.clear()
    full[b"new"] = b""
    assert sum(1 for _ in scan) == N - 1
    assert sum(1 for _ in keys) == N


def test_closed_scans_and_snapshots_say_so(full):
    with full.scan() as scan:
        next(scan)
    for use in (lambda: next(scan), scan.count, lambda: scan.seek(b""), lambda: next(scan.only_keys()), scan.__enter__):
        with pytest.raises(nori_lsm.ClosedError):
            use()
    scan.close()
    with full.snapshot() as snapshot:
        assert not snapshot.closed
    assert snapshot.closed
    for use in (
        lambda: snapshot[b"a"],
        lambda: b"a" in snapshot,
        lambda: len(snapshot),
        lambda: bool(snapshot),
        lambda: iter(snapshot),
        snapshot.keys,
        snapshot.scan,
        lambda: snapshot.get_many([b"a"]),
        snapshot.__enter__,
    ):
        with pytest.raises(nori_lsm.ClosedError):
            use()
    assert "closed" in repr(snapshot)


def test_a_scan_outlives_its_snapshot(full):
    snapshot = full.snapshot()
    full.clear()
    scan = snapshot.scan()
    snapshot.close()
    full.compact()
    assert sum(1 for _ in scan) == N


def test_snapshot_is_a_mapping_of_its_moment(db):
    db[b"a"] = b"1"
    snapshot = db.snapshot()
    db[b"a"] = b"2"
    db[b"b"] = b"3"
    assert dict(snapshot) == {b"a": b"1"} == snapshot
    assert snapshot.sequence == 1
    assert snapshot[b"a"] == b"1" and snapshot.get(b"b") is None and len(snapshot) == 1
    assert not hasattr(snapshot, "put")


def test_views_are_live_and_have_set_operations(db):
    keys, values, items = db.keys(), db.values(), db.items()
    db.update({b"a": b"1", b"b": b"2"})
    model = {b"a": b"1", b"b": b"2"}
    assert list(keys) == [b"a", b"b"] and list(reversed(keys)) == [b"b", b"a"]
    assert list(values) == [b"1", b"2"] and list(reversed(values)) == [b"2", b"1"]
    assert list(items) == list(model.items()) and list(reversed(items)) == list(reversed(model.items()))
    assert b"a" in keys and b"z" not in keys
    assert b"2" in values and b"3" not in values
    assert (b"a", b"1") in items and (b"a", b"2") not in items and b"a" not in items
    other = {b"b", b"c"}
    assert keys & other == {b"b"} and other & keys == {b"b"}
    assert keys | other == {b"a", b"b", b"c"} and keys - other == {b"a"} and other - keys == {b"c"}
    assert keys ^ other == {b"a", b"c"} and keys & [b"b"] == {b"b"}
    assert items & {(b"a", b"1")} == {(b"a", b"1")}
    assert keys == {b"a", b"b"} and keys == model.keys() and model.keys() == keys and keys != {b"a"}
    assert keys <= {b"a", b"b", b"c"} and keys > {b"a"} and not keys < {b"a"}
    assert items == model.items()
    assert keys.isdisjoint([b"x"]) and not keys.isdisjoint([b"a"])
    with pytest.raises(TypeError):
        len(keys)
    with pytest.raises(TypeError):
        hash(keys)
    assert isinstance(keys, KeysView) and isinstance(values, ValuesView) and isinstance(items, ItemsView)


def test_equality_with_mappings(db):
    db.update({b"a": b"1", b"b": b"2"})
    assert db == {b"b": b"2", b"a": b"1"} and {b"a": b"1", b"b": b"2"} == db
    assert db == OrderedDict([(b"b", b"2"), (b"a", b"1")])
    assert db != {b"a": b"1"} and db != {b"a": b"1", b"b": b"3"} and db != {b"a": b"1", b"b": b"2", b"c": b""}
    assert db != {"a": b"1", "b": b"2"} and db != {"a": 1, b"b": 2} and db != {}
    assert db == db.snapshot() and db.snapshot() == db.snapshot()
    assert db != [(b"a", b"1")] and db != None  # noqa: E711
    snapshot = db.snapshot()
    db[b"c"] = b""
    assert db != snapshot and snapshot != db
    with pytest.raises(TypeError):
        db < snapshot  # noqa: B015
    with pytest.raises(TypeError):
        hash(db)


def test_types_are_registered_and_final(db):
    assert isinstance(db, MutableMapping) and isinstance(db.snapshot(), Mapping)
    assert not isinstance(db.snapshot(), MutableMapping)
    assert isinstance(db.scan(), Iterator) and isinstance(iter(db), Iterator)
    for kind in (nori_lsm.Engine, nori_lsm.Snapshot, nori_lsm.Batch, nori_lsm.Scan):
        with pytest.raises(TypeError):
            kind()
        with pytest.raises(TypeError):
            type("Derived", (kind,), {})
        with pytest.raises(TypeError):
            kind.get = None
    match db:
        case {b"nothing": _}:
            raise AssertionError
        case {}:
            pass
        case _:
            raise AssertionError("an engine is a mapping to match")


def test_signatures_are_there(db):
    import inspect

    for thing in (db, db.snapshot(), db.batch(), db.scan(), db.keys(), db.values(), db.items()):
        for name in dir(thing):
            if name.startswith("__") or name in ("path", "config", "closed", "read_only", "sequence", "_watcher"):
                continue
            assert inspect.signature(getattr(thing, name)) is not None, name
    assert str(inspect.signature(nori_lsm.Engine.put)) == "(self, key, value, /, *, sync=None, ttl=None)"


def test_references_are_balanced(full):
    """Each operation many times over: no object is left behind."""
    values = [b"v%d" % i for i in range(10)]

    def work():
        for v in values:
            full.put(v, v)
            full[v]
            full.get(v)
            full.get_many([v] * 20)
            full.setdefault(v, b"")
            full.pop(v)
            full.pop(v, None)
            full.get(bytearray(v))
            list(full.scan(limit=40))
            list(full.scan(limit=40).batches(7))
            full.keys() & {v}
            assert full != {}
            with full.batch() as batch:
                batch[v] = v
            with pytest.raises(KeyError):
                full[b"none"]

    work()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(5):
        work()
    gc.collect()
    assert sys.getallocatedblocks() - before < 300

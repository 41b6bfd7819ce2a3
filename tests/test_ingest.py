"""ingest(): a bulk load, whole or not at all."""

import random
import threading

import pytest

import nori_lsm
from nori_lsm.testing import SimDisk


def pairs_of(count, seed=None):
    numbers = list(range(count))
    if seed is not None:
        random.Random(seed).shuffle(numbers)
    return [(b"key-%08d" % n, b"value of %d" % n) for n in numbers]


@pytest.fixture
def db(tmp_path):
    with nori_lsm.open(tmp_path / "db", memtable__flush_trigger_bytes=64 << 10) as db:
        yield db


@pytest.mark.parametrize("seed", [None, 1])
def test_all_pairs_are_there_whatever_their_order(db, tmp_path, seed):
    pairs = pairs_of(20_000, seed)
    assert db.ingest(pairs) == 20_000
    assert list(db.items()) == sorted(pairs)
    assert db.verify().ok
    db.close()
    with nori_lsm.open(tmp_path / "db") as again:
        assert list(again.items()) == sorted(pairs)


def test_mappings_generators_engines_and_any_buffers_are_taken(db, tmp_path):
    assert db.ingest({b"a": b"1", b"b": b"2"}) == 2
    assert db.ingest((bytearray(b"c"), memoryview(b"3")) for _ in range(1)) == 1
    with nori_lsm.open(tmp_path / "other") as other:
        assert other.ingest(db, sorted=True) == 3
        assert dict(other) == {b"a": b"1", b"b": b"2", b"c": b"3"}
    assert db.ingest([]) == 0


def test_an_ingest_is_one_write_and_not_logged(db):
    before = db.stats()
    db.ingest(pairs_of(10_000), sorted=True)
    done = db.stats() - before
    assert done.sequence - before.sequence == 1
    assert done.puts == 10_000
    assert done.wal_bytes_written < 100  # Marks of what is synced, at most.
    assert 0 < done.flush_bytes_written <= done.user_bytes_written
    db.compact()
    assert (db.stats() - before).compaction_bytes_written == 0


def test_the_last_of_equal_keys_counts(db):
    assert db.ingest([(b"k", b"%d" % i) for i in range(100)], sorted=True) == 100
    assert dict(db) == {b"k": b"99"}


def test_snapshots_and_scans_of_before_do_not_see_it(db):
    db[b"key-00000003"] = b"old"
    with db.snapshot() as then, db.scan() as scan:
        db.ingest(pairs_of(10))
        assert dict(then) == dict(scan) == {b"key-00000003": b"old"}
    assert len(db) == 10


def test_keys_that_descend_fail_a_sorted_ingest_by_their_place(db):
    with pytest.raises(ValueError, match=r"pair 2 .*below"):
        db.ingest([(b"a", b""), (b"c", b""), (b"b", b"")], sorted=True)
    assert len(db) == 0


def test_an_exception_on_the_way_leaves_nothing(db, tmp_path):
    def broken():
        yield from pairs_of(50_000)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        db.ingest(broken())
    assert len(db) == 0
    db.close()
    assert not list((tmp_path / "db").glob("*.sst"))


@pytest.mark.parametrize("items", [5, [1], [(b"a",)], [("a", b"b")], [(b"a", None)], "ab", {"a": b"b"}])
def test_what_is_no_pairs_of_bytes_is_refused(db, items):
    with pytest.raises((TypeError, ValueError)):
        db.ingest(items)
    assert len(db) == 0


def test_arguments_are_checked(db):
    with pytest.raises(TypeError):
        db.ingest()
    with pytest.raises(TypeError, match="progress"):
        db.ingest([], progress=5)
    with pytest.raises(TypeError):
        db.ingest([], True)
    with pytest.raises(ValueError, match="key"):
        db.ingest([(b"k" * 65_536, b"")])


def test_progress_tells_how_far_it_is_and_may_stop_it(db):
    told = []
    db.ingest(pairs_of(100_000), progress=told.append)
    assert [p.done for p in told] == sorted(p.done for p in told)
    assert len(told) > 2 and told[-1].done == told[-1].total == 100_000
    assert {p.unit for p in told} == {"pairs"}

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        db.ingest([(b"other", b"")] * 100_000, progress=stop)
    assert b"other" not in db


def test_an_iterator_may_write_ingest_and_close(db, tmp_path):
    def writing():
        db[b"a"] = b"before"
        yield b"a", b"ingested"
        db[b"b"] = b"before"
        db.ingest([(b"c", b"inner")])

    assert db.ingest(writing()) == 1
    assert dict(db) == {b"a": b"ingested", b"b": b"before", b"c": b"inner"}

    def closing():
        yield from pairs_of(50_000)
        db.close()
        yield b"d", b""

    with pytest.raises(nori_lsm.ClosedError):
        db.ingest(closing())
    assert not [path for path in (tmp_path / "db").glob("*.sst") if path.stat().st_size > 100_000]
    with nori_lsm.open(tmp_path / "db") as again:
        assert len(again) == 3


def test_closed_and_read_only_engines_refuse(db, tmp_path):
    db[b"a"] = b"1"
    db.close()
    with pytest.raises(nori_lsm.ClosedError):
        db.ingest([])
    with nori_lsm.open(tmp_path / "db", read_only=True) as reader, pytest.raises(nori_lsm.ReadOnlyError):
        reader.ingest([(b"b", b"2")])


def test_the_default_ttl_applies():
    disk = SimDisk(seed=1)
    with nori_lsm.open("/db", env=disk, tombstones__ttl_default_secs=10) as db:
        db.ingest([(b"a", b"1")])
        assert db[b"a"] == b"1"
        disk.advance(11)
        assert b"a" not in db


def test_it_is_durable_when_it_returns():
    disk = SimDisk(seed=1)
    db = nori_lsm.open("/db", env=disk, wal__durability="os")
    db[b"a"] = b"not synced"
    db.ingest(pairs_of(1000, seed=2))
    db[b"b"] = b"not synced"
    disk.crash(keep=0)
    with nori_lsm.open("/db", env=disk) as again:
        assert dict(again) == {b"a": b"not synced", **dict(pairs_of(1000))}


def test_other_threads_go_on_meanwhile(db):
    over = threading.Event()
    counts = []

    def write():
        n = 0
        while not over.is_set():
            n += 1
            db[b"mine"] = b"%d" % n
        counts.append(n)

    thread = threading.Thread(target=write)
    thread.start()
    for seed in range(5):
        db.ingest(pairs_of(20_000, seed))
    over.set()
    thread.join()
    assert db[b"mine"] == b"%d" % counts[0]
    assert len(db) == 20_001

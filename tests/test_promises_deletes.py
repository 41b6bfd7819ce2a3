"""What was deleted or has expired stays away, whatever lies in tables, in snapshots, and beneath."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

import nori_lsm
from nori_lsm.testing import SimDisk

LETTERS = [b"%c" % letter for letter in range(ord("a"), ord("z") + 1)]
SMALL = {
    "memtable__flush_trigger_bytes": 64 << 10,
    "level1_bytes": 128 << 10,
    "l1_slot_count": 8,
    "table_bytes": 32 << 10,
}


def words(count: int) -> list[bytes]:
    """Keys under 26 prefixes, in no order."""
    keys = [b"w:%s%05d" % (LETTERS[number % 26], number) for number in range(count)]
    random.Random(1).shuffle(keys)
    return keys


def assert_absent(db: nori_lsm.Engine | nori_lsm.Snapshot, prefix: bytes, keys: list[bytes]) -> None:
    gone = [key for key in keys if key.startswith(prefix)]
    assert list(db.scan(prefix=prefix)) == []
    assert list(db.scan(prefix=prefix, reverse=True)) == []
    assert db.scan(prefix=prefix).count() == 0
    assert db.get_many(gone) == [None] * len(gone)


# ---------------------------------------------------------------- ranges


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_deleted_range_over_partly_compacted_data_does_not_come_back(path: Path, on_disk: bool) -> None:
    """The range's keys lie in the memtable, in level 0, moved and merged slots, with tables that reach over its ends."""
    keys = words(20_000)
    env = None if on_disk else SimDisk(1)
    left = set(keys)
    with nori_lsm.open(path if on_disk else "/db", env=env, **SMALL) as db:
        db.update((key, key * 3) for key in keys)
        for letter, following in zip(LETTERS[16:25:2], LETTERS[17:26:2], strict=True):
            prefix = b"w:" + letter
            db.delete_range(prefix, b"w:" + following)
            left -= {key for key in keys if key.startswith(prefix)}
            assert_absent(db, prefix, keys)
            db.flush()
            assert_absent(db, prefix, keys)
            db.compact()
            assert_absent(db, prefix, keys)
        assert list(db) == sorted(left)
        assert db.verify().ok


@pytest.mark.parametrize("seed", range(6))
def test_ranges_deleted_between_writes_of_the_same_keys(seed: int) -> None:
    """Put again, deleted again, flushed and compacted between: each key is as its last write left it."""
    chance = random.Random(seed)
    model: dict[bytes, bytes] = {}
    keys = words(2_000)
    with nori_lsm.open("/db", env=SimDisk(seed), **SMALL) as db:
        for turn in range(40):
            for key in chance.sample(keys, 150):
                model[key] = db[key] = b"%d" % turn * 40
            start, stop = sorted(chance.sample(keys, 2)) if turn % 5 else (b"w:q", b"w:r")
            db.delete_range(start, stop)
            model = {key: value for key, value in model.items() if not start <= key < stop}
            chance.choice([db.flush, db.compact, lambda: None, lambda: db.compact(b"w:m", b"w:s")])()
            assert dict(db) == model
            assert db.get_many(keys) == [model.get(key) for key in keys]
        db.compact()
        assert dict(db) == model
        assert db.verify().ok


def test_a_range_deleted_over_filters_that_say_no(disk: SimDisk) -> None:
    """The table with the range delete holds none of its keys as points: its filter must not be asked."""
    keys = words(3_000)
    with nori_lsm.open("/db", env=disk, **SMALL) as db:
        db.update((key, b"value") for key in keys)
        db.compact()
        db.delete_range(b"w:c", b"w:f")
        db.flush()  # A table of nothing but the range.
        for prefix in (b"w:c", b"w:d", b"w:e"):
            assert_absent(db, prefix, keys)
        db.put(b"w:d00000", b"again")
        db.put(b"zzz", b"elsewhere")
        db.flush()
        assert list(db.scan(b"w:c", b"w:f")) == [(b"w:d00000", b"again")]
        db.compact()
        assert list(db.scan(b"w:c", b"w:f")) == [(b"w:d00000", b"again")]
        assert db.pop(b"w:c00002", None) is None and b"w:e00004" not in db
        assert len(db) == sum(not b"w:c" <= key < b"w:f" for key in keys) + 2


def test_a_range_deleted_under_a_snapshot_and_a_scan_is_still_theirs(disk: SimDisk) -> None:
    keys = sorted(words(3_000))
    with nori_lsm.open("/db", env=disk, **SMALL) as db:
        db.update((key, b"value") for key in keys)
        db.compact()
        scan = db.scan()
        first = [next(scan)[0] for _ in range(10)]
        with db.snapshot() as snapshot:
            db.clear()
            db.flush()
            db.compact()
            assert list(db) == []
            assert list(snapshot) == keys
            assert snapshot.get_many(keys) == [b"value"] * len(keys)
            assert first + list(scan.only_keys()) == keys
        db.compact()
        assert list(db) == [] and not db
        assert db.verify().ok


def test_bounds_of_deleted_ranges(db: nori_lsm.Engine) -> None:
    keys = [b"", b"\x00", b"a", b"a\x00", b"b", b"\xff", b"\xff\xff"]
    for start in [None, *keys]:
        for stop in [None, *keys]:
            db.clear()
            db.update(dict.fromkeys(keys, b""))
            db.flush()
            db.delete_range(start, stop)
            left = [key for key in keys if (start is not None and key < start) or (stop is not None and key >= stop)]
            assert list(db) == left
            db.flush()
            assert list(db) == left


# ---------------------------------------------------------------- expiry


def test_expiry_under_an_open_snapshot(disk: SimDisk) -> None:
    with nori_lsm.open("/db", env=disk, **SMALL) as db:
        for number in range(500):
            db.put(b"%04d" % number, bytes(100), ttl=100 if number % 2 else math.inf)
        snapshot, scan = db.snapshot(), db.scan()
        disk.advance(101)
        later = db.snapshot()
        for step in (lambda: None, db.flush, db.compact, lambda: db.put(b"x", b""), db.compact):
            step()
            assert len(snapshot) == 500 and snapshot[b"0001"] == bytes(100)
            assert b"0001" not in db and b"0000" in db
            assert len(later) == 250
        assert len(list(scan)) == 500
        snapshot.close()
        db.compact()
        assert len(later) == 250 and len(db) == 251


@pytest.mark.parametrize("order", ["memtable", "tables", "levels"])
def test_an_expired_put_does_not_bring_back_the_older_one(disk: SimDisk, order: str) -> None:
    settle = {"memtable": lambda db: None, "tables": lambda db: db.flush(), "levels": lambda db: db.compact()}[order]
    with nori_lsm.open("/db", env=disk, **SMALL) as db:
        db.update((b"%03d" % number, b"old") for number in range(300))
        settle(db)
        for number in range(0, 300, 3):
            db.put(b"%03d" % number, b"expires", ttl=10)
        settle(db)
        assert db[b"000"] == b"expires"
        disk.advance(11)
        expected = [b"%03d" % number for number in range(300) if number % 3]
        for step in (lambda: None, db.flush, db.compact, lambda: db.put(b"999", b""), db.compact):
            step()
            assert [key for key in db if key != b"999"] == expected
            assert b"000" not in db and db.get(b"003") is None
    with nori_lsm.open("/db", env=disk) as db:
        assert [key for key in db if key != b"999"] == expected
        db.compact()
        assert [key for key in db if key != b"999"] == expected


def test_a_later_put_without_ttl_ends_it(disk: SimDisk) -> None:
    with nori_lsm.open("/db", env=disk) as db:
        db.put(b"a", b"1", ttl=10)
        db.flush()
        db[b"a"] = b"2"
        disk.advance(20)
        db.compact()
        assert db[b"a"] == b"2"


def test_the_default_ttl_of_the_config(disk: SimDisk) -> None:
    with nori_lsm.open("/db", env=disk, tombstones__ttl_default_secs=10.0) as db:
        db[b"default"] = b""
        db.put(b"own", b"", ttl=100)
        db.put(b"never", b"", ttl=math.inf)
        with db.batch() as batch:
            batch[b"in a batch"] = b""
        disk.advance(50)
        assert list(db) == [b"never", b"own"]
        disk.advance(100)
        assert list(db) == [b"never"]


def test_the_clock_going_back_brings_nothing_back(disk: SimDisk) -> None:
    with nori_lsm.open("/db", env=disk) as db:
        db.put(b"a", b"1", ttl=100)
        db.put(b"b", b"1", ttl=10_000)
        disk.advance_wall(200)
        assert list(db) == [b"b"]
        disk.advance_wall(-100_000)
        assert list(db) == [b"b"] and b"a" not in db and db.get(b"a") is None
        db.flush()
        db.compact()
        assert list(db) == [b"b"]
        db.put(b"c", b"1", ttl=5)
        assert b"c" in db
    disk.advance_wall(-100_000)
    with nori_lsm.open("/db", env=disk) as db:
        assert list(db) == [b"b", b"c"]
        disk.advance_wall(300_000)
        assert list(db) == []


def test_a_table_whose_entries_have_all_expired_goes(disk: SimDisk) -> None:
    with nori_lsm.open("/db", env=disk, **SMALL) as db:
        for number in range(5_000):
            db.put(b"%05d" % number, bytes(50), ttl=10)
        db.flush()
        before = db.stats().bytes_on_disk
        disk.advance(11)
        db.compact()
        assert len(db) == 0 and db.estimate_len() < 5_000
        assert db.stats().bytes_on_disk < before / 4
        assert db.verify().ok

"""Where the log ends after a crash: what was promised is there or open says why not; what was dropped stays away."""

from __future__ import annotations

import errno
import threading
from contextlib import suppress
from pathlib import Path

import pytest

import nori_lsm
from nori_lsm.testing import SimDisk
from tests_support import wait_until

PATH = "/db"
SECTOR_BYTES = 512


def open_on(disk: SimDisk, **overrides: object) -> nori_lsm.Engine:
    return nori_lsm.open(PATH, env=disk, **{"wal__segment_bytes": 64 << 10, **overrides})


def end(db: nori_lsm.Engine) -> None:
    with suppress(OSError):
        db.close()


def segments(disk: SimDisk) -> list[str]:
    return sorted(f"{PATH}/wal/{name}" for name in disk.list(PATH + "/wal") if name.endswith(".log"))


def segment_with(disk: SimDisk, content: bytes) -> tuple[str, int]:
    found = [(name, disk.read_file(name).find(content)) for name in segments(disk)]
    ((name, offset),) = [(name, offset) for name, offset in found if offset >= 0]
    return name, offset


# ---------------------------------------------------------------- the tail


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_a_dropped_tail_never_comes_back(seed: int, mapped: bool) -> None:
    """Dropped, then synced writes, then a second crash, then a third: a hole would show old writes behind new ones."""
    disk = SimDisk(seed)
    db = open_on(disk, wal__durability="os", wal__mapped=mapped)
    db.put(b"first", b"", sync=True)
    for number in range(150):
        db[b"lost%03d" % number] = bytes(200)
    disk.crash(keep=0.5)
    end(db)

    db = open_on(disk, wal__durability="sync", wal__mapped=mapped)
    left = [key for key in db if key != b"first"]
    assert b"first" in db
    assert left == [b"lost%03d" % number for number in range(len(left))], "a hole"
    for number in range(1 + seed % 3):
        db[b"second%d" % number] = b"synced"
    expected = dict(db)
    for keep in (0.5, 0.0, 1.0):
        disk.crash(keep=keep)
        end(db)
        db = open_on(disk, wal__mapped=mapped)
        assert dict(db) == expected
        assert db.verify().ok
    db.close()


@pytest.mark.parametrize("seed", range(10))
def test_the_file_s_size_proves_nothing(seed: int) -> None:
    """Segments are as large as they may get, or hold what a recycled file held: only what is valid counts."""
    disk = SimDisk(seed)
    db = open_on(disk, wal__durability="os")
    for turn in range(6):  # Rotates and collects, so that segments are recycled.
        for number in range(300):
            db[b"%d.%03d" % (turn, number)] = bytes(300)
        db.flush()
    db.sync()
    expected = dict(db)
    db[b"unsynced"] = bytes(1000)
    disk.crash(keep=0.0)
    end(db)
    with open_on(disk) as db:
        assert dict(db) == expected


# ---------------------------------------------------------------- damage before a promise


def damaged_log(keep: float = 1.0) -> tuple[SimDisk, int]:
    """Ten synced writes, each larger than a sector, and a crash; and how many must survive."""
    disk = SimDisk(3)
    db = open_on(disk, wal__durability="sync")
    for number in range(10):
        db[b"key%d" % number] = (b"<%d>" % number) * 400
    disk.crash(keep=keep)
    end(db)
    return disk, 10


@pytest.mark.parametrize("how", ["zeroed", "flipped"])
@pytest.mark.parametrize("number", [0, 4, 8])
def test_a_damaged_sector_before_a_promise_is_corruption(how: str, number: int) -> None:
    disk, _ = damaged_log()
    name, offset = segment_with(disk, (b"<%d>" % number) * 100)
    data = bytearray(disk.read_file(name))
    sector = (offset + SECTOR_BYTES) // SECTOR_BYTES * SECTOR_BYTES
    if how == "zeroed":
        data[sector : sector + SECTOR_BYTES] = bytes(SECTOR_BYTES)
    else:
        data[sector + 7] ^= 0x10
    disk.write_file(name, data)
    names = disk.list(PATH)
    for read_only in (False, True, False):
        with pytest.raises(nori_lsm.CorruptionError) as caught:
            nori_lsm.open(PATH, env=disk, read_only=read_only)
        error = caught.value
        assert error.errno == errno.EBADMSG and error.path and "wal" in error.path
        assert isinstance(error.offset, int) and error.offset <= sector + SECTOR_BYTES
    assert set(names) <= set(disk.list(PATH))
    assert disk.read_file(name) == data, "open changed what it refused"


def test_damage_behind_every_promise_is_a_tail() -> None:
    disk = SimDisk(3)
    db = open_on(disk, wal__durability="os")
    db.put(b"synced", b"", sync=True)
    db[b"tail"] = b"<tail>" * 200
    disk.kill()
    end(db)
    name, offset = segment_with(disk, b"<tail>" * 20)
    data = bytearray(disk.read_file(name))
    data[offset + 50] ^= 1
    disk.write_file(name, data)
    with open_on(disk) as db:
        assert dict(db) == {b"synced": b""}


@pytest.mark.parametrize("which", ["first", "middle"])
def test_a_missing_segment_is_corruption(which: str) -> None:
    disk = SimDisk(5)
    db = open_on(disk, wal__durability="sync")
    for number in range(600):
        db[b"%04d" % number] = bytes(400)
    disk.kill()
    end(db)
    with_data = [name for name in segments(disk) if any(disk.read_file(name)[96:])]
    assert len(with_data) >= 3
    gone = with_data[0 if which == "first" else len(with_data) // 2]
    data = disk.read_file(gone)
    disk.remove_file(gone)
    for _ in range(2):
        with pytest.raises(nori_lsm.CorruptionError) as caught:
            open_on(disk)
        assert caught.value.path
    disk.write_file(gone, data)
    with open_on(disk) as db:
        assert len(db) == 600


def test_a_segment_of_another_database_is_not_taken_for_ours() -> None:
    disk = SimDisk(5)
    for path in ("/db", "/other"):
        db = nori_lsm.open(path, env=disk, wal__durability="sync")
        db[path.encode()] = path.encode() * 100
        disk.kill()
        end(db)
    (ours,) = [name for name in segments(disk) if b"/db" in disk.read_file(name)]
    disk.write_file(ours, disk.read_file(ours.replace("/db", "/other")))
    with pytest.raises(nori_lsm.Error):
        open_on(disk)


# ---------------------------------------------------------------- failed fsync


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_a_failed_fsync_then_reopening_then_a_power_cut(mapped: bool, keep: float) -> None:
    """The page cache shows what is not on the disk; what the next session acknowledges must not stand on it."""
    disk = SimDisk(9)
    db = open_on(disk, wal__durability="os", wal__mapped=mapped)
    db.put(b"before", b"1", sync=True)
    db[b"a"] = b"unsynced"
    disk.fail("log_sync", 1, errno.EIO)
    with pytest.raises(OSError) as caught:
        db.put(b"b", b"indeterminate", sync=True)
    assert (caught.value.errno, caught.value.outcome) == (errno.EIO, "indeterminate")
    assert caught.value.filename
    assert db[b"a"] == b"unsynced" and db[b"b"] == b"indeterminate", "reads go on"
    for write in (lambda: db.put(b"c", b""), db.sync, db.flush, lambda: db.delete(b"a"), db.clear, lambda: db.setdefault(b"d", b"")):
        with pytest.raises(nori_lsm.PoisonedError) as poisoned:
            write()
        assert poisoned.value.errno == errno.EIO and poisoned.value.filename == caught.value.filename
    assert db.stats().poisoned
    disk.kill()
    end(db)

    db = open_on(disk, wal__mapped=mapped)
    assert dict(db) == {b"before": b"1", b"a": b"unsynced", b"b": b"indeterminate"}
    db.put(b"after", b"2", sync=True)
    disk.crash(keep=keep)
    end(db)
    with open_on(disk) as db:
        found = dict(db)
    assert found == {b"before": b"1", b"a": b"unsynced", b"b": b"indeterminate", b"after": b"2"}


def test_a_mark_that_cannot_be_written_behind_a_sync_is_known_at_once() -> None:
    """What was synced is durable, so the sync succeeds. Nobody has to write to learn that the log has failed."""
    disk = SimDisk(9)
    db = open_on(disk, wal__durability="os", wal__mapped=False)
    db[b"a"] = b"1"
    disk.fail("log_publish", 1, errno.EIO)
    db.sync()
    assert "000001.log" in str(db.stats().poisoned)
    assert any(event.name == "background_error" for event in db.events(follow=False))
    with pytest.raises(nori_lsm.PoisonedError):
        db[b"b"] = b"2"
    disk.crash(keep=0.0)
    end(db)
    with open_on(disk) as db:
        assert dict(db) == {b"a": b"1"}


def test_a_poisoned_engine_closes_and_opens_again() -> None:
    disk = SimDisk(9)
    db = open_on(disk, wal__durability="sync")
    db[b"a"] = b"1"
    disk.fail("log_sync", 1, errno.EIO)
    with pytest.raises(OSError):
        db[b"b"] = b"2"
    with pytest.raises(nori_lsm.PoisonedError):
        db.close()
    assert db.closed
    db.close()
    with open_on(disk) as db:
        assert db[b"a"] == b"1"
        db[b"c"] = b"3"


def test_a_failed_sync_is_told_to_every_writer_of_its_group() -> None:
    disk = SimDisk(9, threads=True)
    db = open_on(disk, wal__durability="sync")
    db[b"a"] = b"1"
    told, acknowledged = [], []

    def work(name: int) -> None:
        number = 0
        while True:
            key = b"%d.%d" % (name, number)
            try:
                db[key] = bytes(50)
            except OSError as error:
                told.append(error)
                return
            acknowledged.append(key)
            number += 1

    threads = [threading.Thread(target=work, args=[name], daemon=True) for name in range(6)]
    for thread in threads:
        thread.start()
    disk.fail("log_sync", 20, errno.EIO)
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert {error.outcome for error in told} <= {"indeterminate", "not_applied"}
    assert all(error.errno == errno.EIO for error in told)
    disk.crash(keep=0.0)
    end(db)
    with open_on(disk) as db:
        assert set(acknowledged) <= set(db)


@pytest.mark.parametrize("nothing", ["delete_range", "batch"])
def test_a_synced_write_of_nothing_makes_what_was_before_durable(nothing: str) -> None:
    disk = SimDisk(seed=1)
    db = nori_lsm.open("/db", env=disk, wal__durability="os")
    db[b"a"] = b"1"
    if nothing == "delete_range":
        db.delete_range(b"z", b"b", sync=True)
    else:
        db.batch(sync=True).commit()
    db[b"b"] = b"2"
    disk.crash(keep=0.0)
    with nori_lsm.open("/db", env=disk) as again:
        assert dict(again) == {b"a": b"1"}


# ---------------------------------------------------------------- at rest


def test_a_log_nobody_writes_to_lets_go_of_the_files_it_keeps_ready(tmp_path: Path) -> None:
    log = tmp_path / "db" / "wal"
    with nori_lsm.open(tmp_path / "db", wal__segment_bytes=64 << 10) as db:
        for turn in range(2):
            for number in range(3000):
                db[b"%06d" % number] = b"%d" % turn * 100
            db.flush()
            wait_until(lambda: sum(1 for name in log.iterdir() if name.suffix == ".log") <= 2)  # Written to; a spare.
            assert db.stats().wal_segments <= 2
        assert db[b"000000"] == b"1" * 100
    with nori_lsm.open(tmp_path / "db") as db:
        assert len(db) == 3000

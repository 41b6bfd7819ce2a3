"""Delays and stalls: what writers owe, and that whoever waits can be told to stop."""

from __future__ import annotations

import errno
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import nori_lsm
from nori_lsm.testing import SimDisk

MIB = 1 << 20
TIGHT = {
    "memtable__flush_trigger_bytes": 32 << 10,
    "level1_bytes": 128 << 10,
    "table_bytes": 32 << 10,
    "l1_slot_count": 4,
    "wal__segment_bytes": 256 << 10,
    "resources__memtables_mib": 1,
    "l0__max_files": 5,
    "l0__soft_throttle_threshold": 2,
}


def delayed(where: Path | str, milliseconds: float, env: SimDisk | None = None) -> nori_lsm.Engine:
    """An engine with a file in level 0, for which each MiB written owes so much."""
    owing = {"l0__soft_throttle_threshold": 0, "l0__soft_throttle_base_delay_ms": milliseconds}
    db = nori_lsm.open(where, env=env, **owing)
    db[b"first"] = b""
    db.flush()
    return db


def stalled(timeout_secs: float = 50.0, code: int = errno.EIO) -> tuple[SimDisk, nori_lsm.Engine, int]:
    """An engine of threads whose tables cannot be written: so full of memtables that the next write waits. Unless
    `code` says that the disk is full: then deletes pass."""
    disk = SimDisk(seed=1, threads=True)
    db = nori_lsm.open("/db", env=disk, **TIGHT, pressure__stall_timeout_secs=timeout_secs)
    for nth in range(1, 3_000):
        disk.fail("sync", nth, code)
    written = 0
    while db.stats().zone != "red":
        db[b"%08d" % written] = bytes(1_000)
        written += 1
    return disk, db, written


# ---------------------------------------------------------------- delays


@pytest.mark.parametrize("sizes", [[MIB], [MIB // 64] * 64, [100] * 500])
def test_a_batch_and_its_single_puts_owe_alike(sizes: list[int]) -> None:
    def micros(batched: bool) -> int:
        disk = SimDisk(seed=1)
        with delayed("/db", 1_000, disk) as db:
            before = db.stats().stall_micros
            if batched:
                db.update((b"%08d" % number, bytes(size - 8)) for number, size in enumerate(sizes))
            else:
                for number, size in enumerate(sizes):
                    db[b"%08d" % number] = bytes(size - 8)
            return db.stats().stall_micros - before

    owed = sum(sizes) * 1_000_000 // MIB
    assert owed - 1_000 <= micros(batched=False) <= owed
    assert owed - 1_000 <= micros(batched=True) <= owed


def test_a_delay_takes_its_time_and_green_takes_none(path: Path) -> None:
    with delayed(path, 1_000) as db:
        begun = time.monotonic()
        for number in range(100):
            db[b"%d" % number] = bytes(2_000)
        assert 0.15 < time.monotonic() - begun < 5
        db.compact()
        assert db.stats().zone == "green"
        before = db.stats().stall_micros
        for number in range(1_000):
            db[b"%d" % number] = bytes(2_000)
        assert db.stats().stall_micros == before


def test_no_write_is_lost_under_pressure(path: Path) -> None:
    """Four writers, limits that are met all the time: all that was acknowledged is there, in the end nothing is owed."""

    def write(writer: int) -> None:
        for number in range(1_500):
            db[b"%d:%06d" % (writer, number)] = b"%d" % number * 40

    with nori_lsm.open(path, **TIGHT) as db:
        threads = [threading.Thread(target=write, args=[writer], daemon=True) for writer in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "a writer hangs"
        assert len(db) == 4 * 1_500
        db.compact()
        assert db.stats().zone == "green" and db.verify().ok
        db[b"after"] = b""


# ---------------------------------------------------------------- stalls


def test_red_recovers_by_itself() -> None:
    disk, db, written = stalled()
    threading.Timer(0.3, disk.clear_faults).start()
    for number in range(written, written + 100):
        db[b"%08d" % number] = bytes(1_000)
    assert db.stats().stall_micros > 100_000
    db.flush()
    assert db.stats().zone != "red"
    assert list(db) == [b"%08d" % number for number in range(written + 100)]
    db.close()


def test_a_stall_that_lasts_too_long_was_not_applied() -> None:
    disk, db, written = stalled(timeout_secs=0.3)
    sequence = db.stats().sequence
    for write in (
        lambda: db.put(b"x", b""),
        lambda: db.delete(b"00000000"),
        lambda: db.update({b"x": b"", b"y": b""}),
    ):
        begun = time.monotonic()
        with pytest.raises(nori_lsm.BackpressureError) as caught:
            write()
        assert 0.25 < time.monotonic() - begun < 5
        assert caught.value.outcome == "not_applied"
    assert db.stats().sequence == sequence
    assert len(db) == written and b"x" not in db
    disk.clear_faults()
    db.close()


# ---------------------------------------------------------------- told to stop


def hold(db: nori_lsm.Engine) -> None:
    """A write that waits for a long time: a minute's delay, or a stall."""
    db[b"held"] = bytes(MIB)


def held_up(path: Path, how: str) -> tuple[nori_lsm.Engine, Callable[[], None]]:
    if how == "delay":
        return delayed(path, 60_000), lambda: None
    disk, db, _ = stalled()
    return db, disk.clear_faults


@pytest.mark.parametrize("how", ["delay", "stall"])
def test_close_wakes_who_waits(path: Path, how: str) -> None:
    db, heal = held_up(path, how)
    told: list[BaseException] = []

    def write() -> None:
        try:
            hold(db)
        except BaseException as error:
            told.append(error)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    time.sleep(0.2)
    assert writer.is_alive()
    heal()
    begun = time.monotonic()
    db.close()
    writer.join(5)
    assert not writer.is_alive() and time.monotonic() - begun < 5
    if how == "delay":
        assert isinstance(told[0], nori_lsm.ClosedError)
        with nori_lsm.open(path) as db:
            assert list(db) == [b"first"]


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals")
@pytest.mark.parametrize("how", ["delay", "stall"])
def test_ctrl_c_ends_the_wait(path: Path, how: str) -> None:
    db, heal = held_up(path, how)
    old = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            hold(db)
        assert time.monotonic() - begun < 2
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert b"held" not in db
    heal()
    db.close()


def test_deletes_pass_a_stall_for_want_of_space() -> None:
    """What would end it needs space, and deletes may make some. The table that comes of them is written once there is."""
    disk, db, written = stalled(0.5, errno.ENOSPC)
    for number in range(100):
        db.delete(b"%08d" % number)
    with pytest.raises(nori_lsm.BackpressureError):
        db[b"refused"] = b""
    disk.clear_faults()
    db.flush()
    assert list(db) == [b"%08d" % number for number in range(100, written)]
    db.close()


def test_a_flush_that_failed_is_tried_again_by_itself() -> None:
    """Nobody asks for it: the workers come back to it when its time has come."""
    disk = SimDisk(seed=1)
    with nori_lsm.open("/db", env=disk, memtable__flush_trigger_bytes=64 << 10) as db:
        items: dict[bytes, bytes] = {}

        def put(value: bytes) -> None:
            key = b"%06d" % len(items)
            db[key] = items[key] = value

        disk.fail("write", 1, errno.EIO)  # The log's writes are publications: this is the first table's.
        while not any(event.name == "background_error" for event in db.events(follow=False)):
            put(bytes(1000))
            assert len(items) < 1000
        assert db.stats().flush_bytes_written == 0
        for _ in range(3):
            disk.advance(1)
            put(b"small")
        assert db.stats().flush_bytes_written > 0
        assert dict(db) == items and db.stats().poisoned is None

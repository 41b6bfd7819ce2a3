"""What slots() says of how often keys are read, written and scanned."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

import nori_lsm
from nori_lsm.testing import SimDisk

KEYS = 2000


def key_of(number: int) -> bytes:
    return b"key-%05d" % number


def open_small(disk: SimDisk) -> nori_lsm.Engine:
    return nori_lsm.open(
        "/db",
        env=disk,
        memtable__flush_trigger_bytes=64 << 10,
        wal__segment_bytes=256 << 10,
        level1_bytes=128 << 10,
        table_bytes=32 << 10,
        l1_slot_count=4,
    )


@pytest.fixture
def tree(disk: SimDisk) -> Iterator[nori_lsm.Engine]:
    """Several slots of keys in random order, all in tables."""
    numbers = random.Random(1)
    with open_small(disk) as db:
        for number in numbers.sample(range(KEYS), KEYS):
            db[key_of(number)] = numbers.randbytes(400)
        db.flush()
        db.compact()
        disk.advance(60)
        yield db


def covers(slot: nori_lsm.Slot, first: int, last: int) -> bool:
    return slot.start < key_of(last) and (slot.stop is None or slot.stop > key_of(first))


def filled(db: nori_lsm.Engine) -> list[nori_lsm.Slot]:
    slots = [slot for slot in db.slots() if slot.bytes]
    assert len(slots) >= 4
    for slot in slots:
        for heat in (slot.heat, slot.read_heat, slot.write_heat, slot.scan_heat):
            assert 0 <= heat <= 1
        assert slot.heat == max(slot.read_heat, slot.scan_heat)
    return slots


def test_slots_that_are_read_are_hot_and_others_cold(tree: nori_lsm.Engine) -> None:
    for number in range(100, 110):
        for _ in range(50):
            assert key_of(number) in tree
    slots = filled(tree)
    hot = [slot for slot in slots if covers(slot, 100, 110)]
    assert hot and len(hot) < len(slots)
    assert max(slot.read_heat for slot in hot) > 0.5
    assert all(slot.heat < 0.01 for slot in slots if slot not in hot)
    assert sum(slot.reads for slot in hot) >= 500
    assert any(slot.read_amp >= 1 for slot in hot)
    assert all(slot.read_amp <= slot.runs for slot in slots)
    assert any(slot.write_amp > 0 for slot in slots)


def test_slots_that_are_scanned_are_hot_and_others_cold(tree: nori_lsm.Engine) -> None:
    for _ in range(20):
        assert len(list(tree.scan(key_of(100), key_of(110)))) == 10
    slots = filled(tree)
    assert all((slot.scan_heat > 0) == covers(slot, 100, 110) for slot in slots)
    assert all(slot.read_heat == 0 for slot in slots)


def test_heat_is_kept_until_the_next_open_and_may_be_lost(tree: nori_lsm.Engine, disk: SimDisk) -> None:
    for _ in range(500):
        tree.get(key_of(105))
    before = max(slot.read_heat for slot in filled(tree))
    assert before > 0.1
    tree.close()
    assert "HEAT" in disk.list("/db")
    with open_small(disk) as again:
        assert max(slot.read_heat for slot in filled(again)) == pytest.approx(before, rel=0.5)
    disk.write_file("/db/HEAT", b"not heat at all")
    with open_small(disk) as again:
        assert max(slot.read_heat for slot in filled(again)) == 0

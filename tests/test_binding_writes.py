"""Writing through the binding: batches, update, ttl, arguments, outcomes."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest

import nori_lsm
from nori_lsm.testing import SimDisk


def test_single_writes(db):
    db[b"a"] = b"1"
    db.put(b"b", b"2", sync=True)
    db.put(b"c", b"3", sync=False, ttl=math.inf)
    assert db.setdefault(b"a", b"x") == b"1"
    assert db.setdefault(b"d", bytearray(b"4")) == b"4"
    assert dict(db) == {b"a": b"1", b"b": b"2", b"c": b"3", b"d": b"4"}
    assert db.popitem() == (b"d", b"4")
    assert db.pop(b"a") == b"1"
    del db[b"b"]
    db.delete(b"c")
    db.delete(b"none")
    assert not db


def test_large_values_come_back(db):
    for size in (511, 512, 513, 70_000, 300_000, 5_000_000):
        value = bytes(range(256)) * (size // 256 + 1)
        db[b"k"] = value
        db[b"view"] = memoryview(bytearray(value))
        assert db[b"k"] == value == db[b"view"]
        db.flush()
        assert db.get_many([b"k"] * 3) == [value] * 3
        assert db.pop(b"k") == value


def test_delete_range(db):
    db.update((bytes([i]), b"") for i in range(10))
    db.delete_range(b"\x03", b"\x05")
    assert list(db) == [bytes([i]) for i in (0, 1, 2, 5, 6, 7, 8, 9)]
    db.delete_range(b"\x08", None, sync=True)
    db.delete_range(None, b"\x01")
    db.delete_range(b"\x07", b"\x02")
    assert list(db) == [bytes([i]) for i in (1, 2, 5, 6, 7)]
    db.clear()
    assert not db
    with pytest.raises(TypeError):
        db.delete_range(b"a")


@pytest.mark.parametrize("ttl", [0, -1, -0.0, math.nan, -math.inf])
def test_ttl_must_be_above_zero(db, ttl):
    with pytest.raises(ValueError, match="ttl"):
        db.put(b"a", b"", ttl=ttl)
    with pytest.raises(ValueError, match="ttl"):
        db.batch().put(b"a", b"", ttl=ttl)
    assert not db


def test_ttl_expires_by_the_wall_clock(disk):
    db = nori_lsm.open("/db", env=disk)
    db.put(b"a", b"1", ttl=10)
    db.put(b"b", b"2", ttl=1e300)
    with db.batch() as batch:
        batch.put(b"c", b"3", ttl=5)
    snapshot = db.snapshot()
    assert list(db) == [b"a", b"b", b"c"]
    disk.advance_wall(7)
    assert list(db) == [b"a", b"b"]
    disk.advance(7)
    assert list(db) == [b"b"] and b"a" not in db
    assert list(snapshot) == [b"a", b"b", b"c"]
    db.close()


def test_wrong_arguments_raise_and_write_nothing(db):
    for use in (
        lambda: db.put(b"a"),
        lambda: db.put(b"a", b"b", True),
        lambda: db.put(b"a", b"b", nonsense=1),
        lambda: db.put(key=b"a", value=b"b"),
        lambda: db.put(b"a", b"b", ttl="x"),
        lambda: db.delete(),
        lambda: db.pop(),
        lambda: db.setdefault(b"a"),
        lambda: db.setdefault(b"a", None),
        lambda: db.update({}, {}),
        lambda: db.update(a=b"x"),
        lambda: db.get(),
        lambda: db.get(b"a", 1, 2),
        lambda: db.get(b"a", 1, default=2),
        lambda: db.compact(progress=3),
    ):
        with pytest.raises(TypeError):
            use()
    assert not db


class Pairs:
    def __init__(self, pairs):
        self.pairs = dict(pairs)

    def keys(self):
        return self.pairs.keys()

    def __getitem__(self, key):
        return self.pairs[key]


def test_update_takes_what_dict_update_takes(db):
    db.update({b"a": b"1"})
    db.update([(b"b", b"2"), [b"c", b"3"]])
    db.update(Pairs({b"d": b"4"}))
    db.update(iter([(b"e", bytearray(b"5"))]))
    db.update()
    db.update(db)
    db.update(db.snapshot())
    db |= {b"f": b"6"}
    assert dict(db) == {b"a": b"1", b"b": b"2", b"c": b"3", b"d": b"4", b"e": b"5", b"f": b"6"}
    for bad, error in ((None, TypeError), (3, TypeError), ([b"abc"], ValueError), ([5], TypeError), ([(b"x",)], ValueError)):
        with pytest.raises(error):
            db.update(bad)
    with pytest.raises(TypeError):
        db | {}


def test_update_is_in_atomic_batches_and_an_exception_drops_the_open_one(db):
    def items(count, then):
        for i in range(count):
            yield b"%06d" % i, bytes(1000)
        raise then

    with pytest.raises(RuntimeError, match="mine"):
        db.update(items(10, RuntimeError("mine")))
    assert not db
    with pytest.raises(RuntimeError):
        db.update(items(5000, RuntimeError("mine")))
    committed = len(db)
    assert 4000 <= committed < 5000
    assert list(db) == [b"%06d" % i for i in range(committed)]


def test_update_may_meet_an_iterator_that_writes(db):
    def items():
        for i in range(3000):
            db[b"other-%d" % i] = b""
            yield b"k%d" % i, bytes(1000)

    db.update(items())
    assert len(db) == 6000


def test_update_of_a_dict_that_changes_raises(db):
    source = {b"%d" % i: b"" for i in range(10)}

    class Meddling:
        def __init__(self):
            self.done = False

        def __buffer__(self, flags):
            source[b"new"] = b""
            return memoryview(b"v")

    import sys

    if sys.version_info < (3, 12):
        pytest.skip("no __buffer__ in Python")
    source[b"0"] = Meddling()
    with pytest.raises(RuntimeError):
        db.update(source)


def test_batch_commits_and_may_be_filled_again(db):
    batch = db.batch()
    assert len(batch) == 0 and batch.commit() == 0
    batch.put(b"a", b"1")
    batch[b"b"] = b"2"
    batch.delete(b"zz")
    del batch[b"b"]
    batch.delete_range(b"x", None)
    assert len(batch) == 5 and not db
    sequence = batch.commit()
    assert sequence == db.snapshot().sequence == 5
    assert len(batch) == 0 and dict(db) == {b"a": b"1"}
    batch[b"c"] = b"3"
    batch.clear()
    assert batch.commit() == sequence
    with pytest.raises(KeyError):
        with db.batch(sync=True) as batch:
            batch[b"d"] = b""
            raise KeyError
    assert b"d" not in db and len(batch) == 0


def test_nested_with_on_a_batch_is_an_error(db):
    with db.batch() as batch:
        batch[b"a"] = b"1"
        with pytest.raises(RuntimeError):
            with batch:
                pass
    assert db[b"a"] == b"1"
    with batch:
        batch[b"b"] = b"2"
    assert db[b"b"] == b"2"


def test_a_batch_made_by_a_buffer_that_uses_it(db):
    import sys

    if sys.version_info < (3, 12):
        pytest.skip("no __buffer__ in Python")
    batch = db.batch()

    class Value:
        def __buffer__(self, flags):
            batch[b"inner"] = b"1"
            db.sync()
            return memoryview(b"2")

    batch[b"outer"] = Value()
    batch.commit()
    assert dict(db) == {b"inner": b"1", b"outer": b"2"}


def test_a_failed_write_tells_its_outcome(disk):
    db = nori_lsm.open("/db", env=disk, wal__durability="sync", wal__mapped=False)
    db[b"a"] = b"1"
    batch = db.batch()
    batch[b"b"] = b"2"
    disk.stop_at(1)
    with pytest.raises(OSError) as caught:
        batch.commit()
    assert caught.value.outcome == "indeterminate"
    assert caught.value.errno and caught.value.filename
    assert len(batch) == 0
    with pytest.raises(nori_lsm.PoisonedError) as caught:
        db[b"c"] = b"3"
    assert caught.value.outcome == "not_applied"
    assert caught.value.errno and caught.value.filename
    batch[b"d"] = b"4"
    with pytest.raises(nori_lsm.PoisonedError):
        batch.commit()
    assert len(batch) == 1
    assert db[b"a"] == b"1"
    disk.kill()
    with suppress(OSError):
        db.close()
    assert db.closed


def test_read_only_engines_refuse_writes(path):
    nori_lsm.open(path).close()
    with nori_lsm.open(path, read_only=True) as db:
        assert db.read_only
        for use in (
            lambda: db.put(b"a", b""),
            lambda: db.delete(b"a"),
            lambda: db.update({b"a": b""}),
            lambda: db.pop(b"a", None),
            db.clear,
            db.popitem,
        ):
            with pytest.raises(nori_lsm.ReadOnlyError) as caught:
                use()
            assert caught.value.filename
            assert caught.value.outcome == "not_applied"


def test_engines_on_a_simulated_disk_die_with_its_power(disk):
    db = nori_lsm.open("/db", env=disk, wal__durability="sync")
    db[b"a"] = b"1"
    assert disk.operations == sum(disk.count(name) for name in disk.op_names) > 0
    disk.crash()
    with pytest.raises(OSError):
        db.flush()
    with suppress(OSError):
        db.close()
    assert db.closed
    with nori_lsm.open("/db", env=disk) as again:
        assert again[b"a"] == b"1"
    assert "CURRENT" in disk.list("/db")
    assert disk.read_file("/db/CURRENT")
    disk.write_file("/db/other", b"abc")
    assert disk.read_file("/db/other") == b"abc"
    disk.remove_file("/db/other")
    with pytest.raises(FileNotFoundError):
        disk.read_file("/db/other")
    with pytest.raises(ValueError):
        disk.count("nonsense")
    with pytest.raises(ValueError):
        disk.fail("nonsense", 1, 5)
    with pytest.raises(ValueError):
        disk.crash(keep=2)
    with pytest.raises(TypeError):
        nori_lsm.open("/db", env="disk")


def test_the_same_seed_is_the_same_run():
    def run():
        disk = SimDisk(seed=7)
        db = nori_lsm.open("/db", env=disk)
        for i in range(200):
            db[b"%d" % i] = bytes(i)
        disk.crash()
        with suppress(OSError):
            db.close()
        with nori_lsm.open("/db", env=disk) as db:
            return disk.operations, dict(db)

    assert run() == run()


@pytest.mark.parametrize("durability", ["os", "sync"])
@pytest.mark.parametrize("op", ["pop", "popitem", "setdefault"])
def test_what_finds_no_memory_for_its_result_has_not_been_applied(disk, durability, op):
    """With the GIL held all along, and without it (a sync waits): the result is made before the write."""
    testcapi = pytest.importorskip("_testcapi")
    value, new = b"v" * 2_000, bytearray(b"n" * 2_000)
    calls = {
        "pop": (lambda db: db.pop(b"k"), value),
        "popitem": (lambda db: db.popitem(), (b"k", value)),
        "setdefault": (lambda db: db.setdefault(b"new", new), bytes(new)),
    }
    call, expected = calls[op]
    failures = 0
    for nth in range(1, 200):
        with nori_lsm.open(f"/db{nth}", env=disk, wal__durability=durability) as db:
            db[b"k"] = value
            result = failure = None
            testcapi.set_nomemory(nth, nth + 1)
            try:
                result = call(db)
            except MemoryError as error:
                failure = error
            finally:
                testcapi.remove_mem_hooks()
            if failure is not None:
                failures += 1
                assert dict(db) == {b"k": value}, nth
                assert getattr(failure, "outcome", "not_applied") == "not_applied"
                assert call(db) == expected
            else:
                assert result == expected
            assert dict(db) == ({b"k": value, b"new": bytes(new)} if op == "setdefault" else {})
        if failure is None and nth > 50:
            break
    assert failures

"""Every call of the binding, by name: for tests that repeat all of them under a strain. CALLS leave the engine as it was;
ASIDE are what changes it, or is about no open engine, each on a disk of its own."""

from __future__ import annotations

import errno
import operator
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import nori_lsm
from nori_lsm import simulate
from nori_lsm.testing import SimDisk

__all__ = ["ASIDE", "CALLS", "ITEMS", "filled", "without_memory"]

ITEMS = {b"%04d" % number: b"value %d" % number * 8 for number in range(300)}
LOST = ("error return without exception set", "returned NULL without setting an exception")
SMALL: dict[str, Any] = {
    "memtable__flush_trigger_bytes": 64 << 10,
    "wal__segment_bytes": 64 << 10,
    "resources__block_cache_mib": 8,
}


def filled(**options: Any) -> nori_lsm.Engine:
    """An engine that holds ITEMS, half of them in a table. `path` and what else open() takes."""
    db = nori_lsm.open(**{**SMALL, **options})
    keys = list(ITEMS)
    db.update({key: ITEMS[key] for key in keys[:150]})
    db.flush()
    db.update({key: ITEMS[key] for key in keys[150:]})
    return db


def batch(db: nori_lsm.Engine) -> object:
    with db.batch() as writes:
        writes.put(b"0001", ITEMS[b"0001"])
        writes[b"0002"] = ITEMS[b"0002"]
        writes.delete(b"none")
        writes.delete_range(b"none", b"nonf")
    return writes.commit()


def dropped_batch(db: nori_lsm.Engine) -> None:
    with suppress(LookupError), db.batch() as writes:
        writes.put(b"never", b"there")
        raise LookupError


def snapshot(db: nori_lsm.Engine) -> object:
    with db.snapshot() as moment:
        return moment[b"0001"], list(moment.scan(limit=3)), len(moment), moment.get_many([b"0007", b"none"])


def scan(db: nori_lsm.Engine) -> object:
    with db.scan(b"0010", b"0100", reverse=True) as entries:
        first = next(entries)
        entries.seek(b"0050")
        return first, list(entries.only_keys()), entries.count()


def views(db: nori_lsm.Engine) -> object:
    return b"0001" in db.keys(), {b"0001", b"none"} & db.keys(), next(iter(db.values())), (b"0001", b"x") in db.items()


def snapshot_views(db: nori_lsm.Engine) -> object:
    with db.snapshot() as moment:
        things = bool(moment), b"0001" in moment, moment.estimate_len(), moment.sequence, moment == ITEMS, repr(moment)
        return things, list(moment.keys()), list(reversed(moment.items())), next(iter(moment.values()))


def refused(db: nori_lsm.Engine) -> None:
    for use in (lambda: db.put("text", b""), lambda: db.scan(limit=-1), lambda: db.update([1]), lambda: db.get_many([1])):
        with suppress(TypeError, ValueError):
            use()
            raise AssertionError("it was taken")


def reports(db: nori_lsm.Engine) -> object:
    return db.stats(), db.slots(), repr(db), db._repr_html_(), db.decisions(), list(db.events(follow=False))


def expect_key_error(call: Callable[[], object]) -> None:
    with suppress(KeyError):
        call()
        raise AssertionError("it was there")


CALLS: dict[str, Callable[[nori_lsm.Engine], object]] = {
    "getitem": lambda db: db[b"0001"],
    "getitem of what is not there": lambda db: expect_key_error(lambda: db[b"none"]),
    "get": lambda db: (db.get(bytearray(b"0001")), db.get(b"none", 1)),
    "get_many": lambda db: db.get_many([b"0001", b"none", bytearray(b"0200")]),
    "contains": lambda db: b"0001" in db,
    "len": len,
    "bool": bool,
    "iter": list,
    "reversed": lambda db: list(reversed(db)),
    "equal": lambda db: db == ITEMS,
    "scan": scan,
    "batches": lambda db: list(db.scan().batches(7)),
    "views": views,
    "snapshot": snapshot,
    "setitem": lambda db: db.__setitem__(b"0001", ITEMS[b"0001"]),
    "put": lambda db: db.put(b"0001", bytearray(ITEMS[b"0001"]), sync=True, ttl=1e6),
    "delete": lambda db: db.delete(b"none"),
    "delitem": lambda db: expect_key_error(lambda: db.__delitem__(b"none")),
    "delete_range": lambda db: db.delete_range(b"none", b"nonf"),
    "pop": lambda db: db.pop(b"none", None),
    "setdefault": lambda db: db.setdefault(b"0001", b"other"),
    "update": lambda db: db.update(ITEMS),
    "update of pairs": lambda db: db.update(zip(ITEMS, ITEMS.values(), strict=True)),
    "batch": batch,
    "batch that is dropped": dropped_batch,
    "ingest": lambda db: db.ingest(ITEMS.items()),
    "sync": lambda db: db.sync(),
    "flush": lambda db: db.flush(),
    "compact": lambda db: db.compact(progress=lambda _: None),
    "verify": lambda db: db.verify(progress=lambda _: None),
    "snapshot's views": snapshot_views,
    "scan's arrow stream": lambda db: db.scan(limit=3).__arrow_c_stream__(),
    "refused": refused,
    "reports": reports,
    "config": lambda db: (db.config, db.path, db.closed, db.estimate_len()),
}


def made(disk: SimDisk) -> nori_lsm.Engine:
    return nori_lsm.open("/db", env=disk, **SMALL)


def change(disk: SimDisk) -> object:
    """What takes away, and what it takes away from."""
    with made(disk) as db:
        operator.ior(db, {b"a": b"1", b"b": b"2", b"c": b"3"})
        taken = db.pop(b"a"), db.popitem(), db.setdefault(b"d", b"4")
        db.ingest(db.scan())  # By way of Arrow.
        db.update(db.scan())
        db.clear()
        return taken, len(db)


def copy_and_mend(disk: SimDisk) -> object:
    with made(disk) as db:
        db[b"a"] = b"1"
        done = db.checkpoint("/copy")
    return done, nori_lsm.repair("/copy", "/mended", env=disk)


def be_read_only(disk: SimDisk) -> object:
    made(disk).close()
    with nori_lsm.open("/db", env=disk, read_only=True) as db:
        with suppress(nori_lsm.ReadOnlyError):
            db[b"a"] = b"1"
        return db.read_only, len(db)


def meet_failures(disk: SimDisk) -> None:
    """An exception of each kind that has attributes of its own."""
    with suppress(nori_lsm.PoisonedError), made(disk) as db:  # Also when something else has ended it.
        with suppress(nori_lsm.LockedError):
            made(disk)
        disk.fail("log_sync", 1, errno.EIO)
        with suppress(OSError):
            db.put(b"a", b"1", sync=True)
        with suppress(nori_lsm.PoisonedError):
            db.put(b"a", b"1")
    with suppress(nori_lsm.ClosedError):
        db.get(b"a")
    disk.clear_faults()
    disk.write_file("/db/CURRENT", b"nothing")
    with suppress(nori_lsm.CorruptionError):
        made(disk)


def use_disk(disk: SimDisk) -> object:
    made(disk).close()
    names = disk.list("/db")
    data = disk.read_file("/db/CURRENT")
    disk.write_file("/db/other", data)
    disk.remove_file("/db/other")
    disk.advance(1.0)
    disk.advance_wall(-1.0)
    disk.stop_at(1)
    with suppress(OSError):
        made(disk)
    stopped = disk.stopped
    disk.stop_at(0)
    disk.crash(0.5)
    disk.kill()
    with suppress(OSError):
        disk.read_file("/db/none")
    return names, stopped, disk.operations, disk.count("sync"), disk.op_names, disk.now, repr(disk)


ASIDE: dict[str, Callable[[SimDisk], object]] = {
    "change": change,
    "checkpoint and repair": copy_and_mend,
    "read only": be_read_only,
    "failures": meet_failures,
    "disk": use_disk,
    "config": lambda _: nori_lsm.Config(wal=nori_lsm.WalConfig(durability="os")),
    "simulate": lambda _: simulate.run(simulate.Workload(keys=2000, memtable_entries=500, write_bytes=200_000)),
}


def without_memory(call: Callable[[], object], count: int, after: Callable[[], object] = lambda: None) -> int:
    """Makes CPython's first allocation in the call fail, then the second, and so on until the call needs no more; `count` in a
    row, or, if it is 0, all from it on. `after` runs behind each. How often the call failed; it must say so by MemoryError."""
    import _testcapi

    failures = misses = nth = 0
    while misses < 20:
        try:
            _testcapi.set_nomemory(nth, nth + count if count else 0)
            try:
                call()
            finally:
                _testcapi.remove_mem_hooks()
            misses += 1
        except MemoryError:
            failures, misses = failures + 1, 0
        except Exception as error:
            # CPython's own: an exception gets lost in a Python function where there is no memory for its traceback.
            if not str(error).endswith(LOST) or str(error).startswith("<built-in"):
                raise AssertionError(f"allocation {nth}") from error
            failures, misses = failures + 1, 0
        after()
        nth += 1
    return failures

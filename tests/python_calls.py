"""Every call of the binding, by name, each leaving the engine as it was: for tests that repeat all of them under a strain."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import nori_lsm

__all__ = ["CALLS", "ITEMS", "filled"]

ITEMS = {b"%04d" % number: b"value %d" % number * 8 for number in range(300)}
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
    "reports": reports,
    "config": lambda db: (db.config, db.path, db.closed, db.estimate_len()),
}

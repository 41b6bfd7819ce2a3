"""Whether calls keep references: `make refleak`, which takes a debug build of CPython where there is one.

Each call of python_calls.py is made in rounds. Any interpreter counts the blocks that CPython has allocated; a debug build all
references besides (sys.gettotalrefcount). What grows by one or more with each call, in every round, is a leak.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable

import nori_lsm
from nori_lsm.testing import SimDisk
from python_calls import ASIDE, CALLS, filled

__all__ = ["growth_of", "main"]

ROUNDS = 20  # At most: what is kept by every call grows in each of them, what the interpreter caches does not.


def counters() -> dict[str, Callable[[], int]]:
    """What this interpreter counts, by name."""
    references = getattr(sys, "gettotalrefcount", None)
    return {"blocks": sys.getallocatedblocks, **({"references": references} if references else {})}


def growth_of(call: Callable[[], object], count: int, held: Callable[[], int] = sys.getallocatedblocks) -> float:
    """By how much what is held grows with each call, at the least."""
    grown = []
    for turn in range(ROUNDS + 1):
        gc.collect()
        before = held()
        for _ in range(count):
            call()
        gc.collect()
        if turn:  # The first fills what is filled once.
            grown.append(held() - before)
            if grown[-1] <= 0:
                break
    return min(grown) / count


def lives() -> dict[str, Callable[[], object]]:
    """Objects from their birth to their end, in the orders that differ."""
    disk = SimDisk(seed=1)
    filled(path="/db", env=disk).close()

    def open_and_close() -> None:
        with nori_lsm.open("/db", env=disk):
            pass

    def close_first() -> None:
        db = nori_lsm.open("/db", env=disk)
        things = db.scan(), db.snapshot(), db.batch(), iter(db), db.keys()
        db.close()
        del things

    def fail() -> None:
        with nori_lsm.open("/db", env=disk) as db:
            for use in (lambda: db[b"none"], lambda: db.put("text", b""), lambda: db.scan(limit=-1), lambda: db.update([1])):
                try:
                    use()
                except (KeyError, TypeError, ValueError):
                    pass

    def be_refused() -> None:
        with nori_lsm.open("/db", env=disk):
            try:
                nori_lsm.open("/db", env=disk)
            except nori_lsm.LockedError:
                pass

    return {"open and close": open_and_close, "close first": close_first, "fail": fail, "be refused": be_refused}


def main() -> int:
    leaks = 0
    with filled(path="/calls", env=SimDisk(seed=1), memtable__flush_trigger_bytes=1 << 20) as db:
        uses = {name: (lambda call=call: call(db)) for name, call in CALLS.items()}
        aside = {name: (lambda call=call: call(SimDisk(seed=1))) for name, call in ASIDE.items()}
        for name, use in {**uses, **aside, **lives()}.items():
            grown = {what: growth_of(use, 50, held) for what, held in counters().items()}
            leaks += any(growth >= 1 for growth in grown.values())
            figures = "  ".join(f"{what} {growth:6.2f}" for what, growth in grown.items())
            print(f"{name:32} {figures} {'LEAK' if max(grown.values()) >= 1 else ''}")
    print(f"{leaks} leaks, by {' and '.join(counters())}")
    return 1 if leaks else 0


if __name__ == "__main__":
    sys.exit(main())

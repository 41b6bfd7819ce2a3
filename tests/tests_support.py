"""What several test modules share: small engines, waiting, writes of all kinds."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import nori_lsm

# So small that some thousand writes flush, compact and split.
SMALL: dict[str, Any] = {
    "memtable__flush_trigger_bytes": 64 << 10,
    "level1_bytes": 256 << 10,
    "table_bytes": 64 << 10,
    "wal__segment_bytes": 64 << 10,
    "l1_slot_count": 4,
}


def fill(db: nori_lsm.Engine, count: int = 3000) -> None:
    for number in range(count):
        db[b"%08d" % (number * 7919 % count)] = os.urandom(200)


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)


def in_threads(*functions: Callable[[], object], timeout: float = 60) -> list[BaseException]:
    """Runs them to their end, each in a thread; what they raised, the first first."""
    errors: list[BaseException] = []

    def run(function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=[function], daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
        assert not thread.is_alive(), "a thread hangs"
    return errors


def flush_seen(db: nori_lsm.Engine) -> None:
    """A flush, and the wait for its event: flush() may return a moment before it."""
    before = sum(event.name == "flush" for event in db.events(follow=False))
    db.flush()
    wait_until(lambda: sum(event.name == "flush" for event in db.events(follow=False)) > before)


def work(db: nori_lsm.Engine, numbers: random.Random, count: int) -> None:
    """Writes of all kinds."""

    def key() -> bytes:
        return b"k%05d" % numbers.randrange(4000)

    for _ in range(count):
        kind, at = numbers.random(), key()
        if kind < 0.7:
            db.put(at, numbers.randbytes(numbers.randrange(100)) + b"x" * numbers.randrange(300))
        elif kind < 0.8:
            db.put(at, b"expires", ttl=numbers.choice([10.0, 10000.0]))
        elif kind < 0.9:
            db.delete(at)
        elif kind < 0.92:
            db.delete_range(at, at + b"\xff" if kind < 0.905 else b"k%05d" % (int(at[1:]) + 20))
        elif kind < 0.925:
            db.ingest([(key(), b"ingested") for _ in range(20)])
        elif kind < 0.927:
            db.put(at, numbers.randbytes(100_000))
        else:
            with db.batch() as batch:
                for _ in range(5):
                    batch.put(key(), b"batch")
                batch.delete(key())
                batch.delete_range(at, at + b"0")

"""What the tests of what is seen share: small engines, and waiting."""

from __future__ import annotations

import os
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


def flush_seen(db: nori_lsm.Engine) -> None:
    """A flush, and the wait for its event: flush() may return a moment before it."""
    before = sum(event.name == "flush" for event in db.events(follow=False))
    db.flush()
    wait_until(lambda: sum(event.name == "flush" for event in db.events(follow=False)) > before)

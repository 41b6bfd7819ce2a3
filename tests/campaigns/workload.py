"""A load that says what it did: several writers, each with keys of its own, whose n-th operation follows from n alone.

Run as a program it opens a database and goes on until it is killed. Each operation that returned is written to standard
output as a RECORD. Whoever reads these knows what must be there (judge.py), since an operation's effect is computed
anew from its number."""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import Any

TOP = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(TOP)]

import nori_lsm

KEYS = 300  # Of a writer.
MAX_VALUE_BYTES = 1500
LARGE_VALUE_BYTES = 70_000  # More than two blocks of the log.
SHORT_TTL_SECS = 0.001
SYNC_SHARES = (0.1, 0.005)  # Of the operations that may be synced: of even seeds, and of odd ones.
# Writer, number of its operation, sequence (0: not known), and whether it is durable. Less than PIPE_BUF: whole in a pipe.
RECORD = Struct("<BIQB")
NO_WRITER = 255  # Of a record that says up to which sequence the engine calls everything synced.
SYNCED_LOOK_SECS = 0.005
# So small that some thousand writes flush, merge, split and switch segments.
SMALL: dict[str, Any] = {
    "memtable__flush_trigger_bytes": 128 << 10,
    "level1_bytes": 256 << 10,
    "table_bytes": 64 << 10,
    "wal__segment_bytes": 128 << 10,
    "l1_slot_count": 4,
    "resources__block_cache_mib": 4,
}


@dataclass(frozen=True)
class Operation:
    """What one call does. A change is (key, value), (key, None) for a delete, or (start, stop, None) for a range."""

    kind: str
    changes: list[tuple[Any, ...]] = field(default_factory=list)
    sync: bool = False


def _key(writer: int, number: int) -> bytes:
    return b"w%d:%04d" % (writer, number)


def _value(numbers: random.Random) -> bytes:
    size = LARGE_VALUE_BYTES if numbers.random() < 0.01 else numbers.randrange(MAX_VALUE_BYTES)
    return numbers.randbytes(min(size, 64)) + b"v" * max(size - 64, 0)


def operation(seed: int, writer: int, number: int) -> Operation:
    """The writer's operation of that number, always the same."""
    numbers = random.Random(f"{seed}:{writer}:{number}")
    chosen = numbers.random()
    at = numbers.randrange(KEYS)
    key = _key(writer, at)
    sync = numbers.random() < SYNC_SHARES[seed % 2]
    if chosen < 0.48:
        return Operation("put", [(key, _value(numbers))], sync)
    if chosen < 0.54:
        return Operation("put_expiring", [(key, _value(numbers))], sync)
    if chosen < 0.56:
        return Operation("put_expired", [(key, None)], sync)
    if chosen < 0.64:
        return Operation("delete", [(key, None)], sync)
    if chosen < 0.68:
        return Operation("pop", [(key, None)])
    if chosen < 0.72:
        return Operation("setdefault", [(key, _value(numbers))])
    if chosen < 0.76:
        return Operation("delete_range", [(key, _key(writer, at + numbers.randrange(12)), None)], sync)
    if chosen < 0.93:
        changes: list[tuple[Any, ...]] = []
        for _ in range(numbers.randrange(2, 8)):
            other = numbers.randrange(KEYS)
            how = numbers.random()
            if how < 0.15:
                changes.append((_key(writer, other), _key(writer, other + 5), None))
            else:
                changes.append((_key(writer, other), None if how < 0.3 else _value(numbers)))
        return Operation("batch", changes, sync)
    if chosen < 0.94:
        first, count = numbers.randrange(KEYS), numbers.randrange(1, 60)
        return Operation("ingest", [(_key(writer, (first + i) % KEYS), _value(numbers)) for i in range(count)], True)
    if chosen < 0.97:
        return Operation("snapshot")
    if chosen < 0.98:
        return Operation("flush")
    if chosen < 0.985:
        return Operation("sync", sync=True)
    if chosen < 0.99:
        return Operation("compact")
    if chosen < 0.995:
        return Operation("checkpoint")
    return Operation("get", [(key, None)])


class Violation(Exception):
    """A promise that was broken."""


class Load:
    """The writers of one process."""

    def __init__(self, db: nori_lsm.Engine, seed: int, firsts: list[int], checkpoints: Path | None, out: int) -> None:
        self.db, self.seed, self.checkpoints, self.out = db, seed, checkpoints, out
        self.finished = [first - 1 for first in firsts]  # By writer: its last operation that returned,
        self.begun = list(self.finished)  # and that began.
        self.always_durable = db.config.wal.durability == "sync"

    def run(self, writer: int) -> None:
        held: list[tuple[int, nori_lsm.Snapshot, list[tuple[bytes, bytes]]]] = []
        number = self.finished[writer]
        while True:
            number += 1
            what = operation(self.seed, writer, number)
            self.begun[writer] = number
            sequence = self.apply(what, writer, number)
            self.finished[writer] = number
            durable = (what.sync or self.always_durable) and bool(what.changes or what.kind == "sync")
            os.write(self.out, RECORD.pack(writer, number, sequence, durable))
            if what.kind == "snapshot":
                snapshot = self.db.snapshot()
                held.append((number, snapshot, list(snapshot.scan(limit=150))))
            if held and held[0][0] + 40 < number:
                _, snapshot, seen = held.pop(0)
                if list(snapshot.scan(limit=150)) != seen:
                    raise Violation("P8: a snapshot does not hold what it held")
                snapshot.close()

    def watch_synced(self) -> None:
        """Tells what becomes durable by itself: with durability "interval" no call does."""
        told = 0
        while True:
            synced = self.db.stats().synced_sequence
            if synced > told:
                os.write(self.out, RECORD.pack(NO_WRITER, 0, synced, True))
                told = synced
            time.sleep(SYNCED_LOOK_SECS)

    def apply(self, what: Operation, writer: int, number: int) -> int:
        """Carries it out; the sequence of what it wrote, 0 where that is not told."""
        db, sync = self.db, what.sync or None
        if what.kind in ("put", "put_expiring"):
            db.put(*what.changes[0], sync=sync, ttl=3600.0 if what.kind == "put_expiring" else None)
        elif what.kind == "put_expired":
            db.put(what.changes[0][0], b"gone soon", sync=sync, ttl=SHORT_TTL_SECS)
            time.sleep(4 * SHORT_TTL_SECS)
        elif what.kind == "delete":
            db.delete(what.changes[0][0], sync=sync)
        elif what.kind == "pop":
            db.pop(what.changes[0][0], None)
        elif what.kind == "setdefault":
            db.setdefault(*what.changes[0])
        elif what.kind == "delete_range":
            db.delete_range(*what.changes[0][:2], sync=sync)
        elif what.kind == "batch":
            return self.write_batch(what)
        elif what.kind == "ingest":
            db.ingest(what.changes)
        elif what.kind in ("flush", "sync", "compact"):
            getattr(db, what.kind)()
        elif what.kind == "checkpoint" and self.checkpoints:
            self.checkpoint(self.checkpoints / f"{writer}-{number}")
        elif what.kind == "get":
            db.get(what.changes[0][0])
        return 0

    def write_batch(self, what: Operation) -> int:
        batch = self.db.batch(sync=what.sync or None)
        for change in what.changes:
            if len(change) == 3:
                batch.delete_range(*change[:2])
            elif change[1] is None:
                batch.delete(change[0])
            else:
                batch.put(*change)
        return batch.commit()

    def checkpoint(self, path: Path) -> None:
        finished = list(self.finished)
        self.db.checkpoint(path)
        path.with_suffix(".json").write_text(json.dumps([finished, list(self.begun)]))


def find_checkpoints(folder: Path) -> list[tuple[Path, list[int] | None, list[int] | None]]:
    """Those that are there, and the operations before and while they were made; None where a kill came before that."""
    found = []
    for path in sorted(folder.iterdir()):
        note = path.with_suffix(".json")
        if path.suffix or not (path / "CURRENT").exists():
            continue
        try:
            finished, begun = json.loads(note.read_text())
        except (FileNotFoundError, ValueError):
            finished = begun = None
        found.append((path, finished, begun))
    return found


def main() -> None:
    what = json.loads(sys.argv[1])
    db = nori_lsm.open(what["path"], **what["options"])
    checkpoints = Path(what["checkpoints"]) if what["checkpoints"] else None
    load = Load(db, what["seed"], what["firsts"], checkpoints, sys.stdout.fileno())

    def run(name: str, do: Callable[..., None], *arguments: int) -> None:
        try:
            do(*arguments)
        except BaseException as error:
            os.write(2, f"{name}: {type(error).__name__}: {error}\n".encode())
            os._exit(3)

    for writer in range(len(what["firsts"])):
        threading.Thread(target=run, args=[f"writer {writer}", load.run, writer]).start()
    threading.Thread(target=run, args=["who looks for syncs", load.watch_synced]).start()


if __name__ == "__main__":
    main()

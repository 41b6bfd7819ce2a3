"""Makes the golden databases of this version of the formats: `PYTHONPATH=tests python tests/golden/make.py`.

Done once for each archive, then never again: what stands in v1/ is what engines of version 1 wrote, and every later engine
opens it. Features that come later get archives of their own. All comes from a seed, on a simulated disk.

An archive holds a database's directory and expected.json: what it holds (`items`, keys and values as text), `sequence` of its
last commit, `features` it was made to have.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nori_lsm
from nori_lsm import inspect
from nori_lsm.testing import SimDisk

HERE = Path(__file__).parent
FOREVER = 3e9  # Seconds, some hundred years.
SMALL: dict[str, Any] = {
    "memtable__flush_trigger_bytes": 16 << 10,
    "wal__segment_bytes": 64 << 10,
    "level1_bytes": 8 << 10,
    "table_bytes": 8 << 10,
    "fanout": 2,
    "l1_slot_count": 4,
}
SESSION = {"wal__segment_bytes": 64 << 10}  # What is not kept.


def value(number: int) -> bytes:
    return b"value %d " % number * (1 + number % 20)


def change(db: nori_lsm.Engine, numbers: random.Random, count: int) -> None:
    """Writes of all kinds, of keys that are text."""
    for _ in range(count):
        how, at = numbers.random(), numbers.randrange(3000)
        key = b"key-%05d" % at
        if how < 0.7:
            db.put(key, value(at + numbers.randrange(100)))
        elif how < 0.75:
            db.put(key, b"expires soon", ttl=30.0)
        elif how < 0.8:
            db.put(key, b"expires late", ttl=FOREVER)
        elif how < 0.9:
            db.delete(key)
        elif how < 0.92:
            db.delete_range(key, b"key-%05d" % (at + 30))
        else:
            with db.batch() as batch:
                for step in range(4):
                    batch.put(b"key-%05d" % (at + step), b"batch")
                batch.delete(b"key-%05d" % (at + 4))
                batch.delete_range(b"key-%05d" % (at + 5), b"key-%05d" % (at + 7))


def grow(db: nori_lsm.Engine, disk: SimDisk, seed: int, turns: int = 6) -> None:
    numbers = random.Random(seed)
    for turn in range(turns):
        change(db, numbers, 400)
        db.ingest((b"key-%05d" % number, b"ingested in turn %d" % turn) for number in range(turn, 3000, 97))
        for _ in range(200):
            db.get(b"key-%05d" % numbers.randrange(1000))
        disk.advance(20)
    db.delete_range(b"key-00900", b"key-00950")
    db.flush()


def options_of(filters: str, *compressions: str) -> dict[str, Any]:
    levels = tuple(nori_lsm.LevelConfig(compression=name, block_bytes=1024) for name in compressions)
    return {**SMALL, "filters__kind": filters, "levels": levels}


def closed(disk: SimDisk) -> str:
    with nori_lsm.open("/db", env=disk, **options_of("bloom", "none", "lz4", "zstd", "zstd")) as db:
        grow(db, disk, 1)
    return "/db"


def killed(disk: SimDisk) -> str:
    """Not closed: recovery has a log of several segments, synced in part, and tables that nobody names."""
    with nori_lsm.open("/db", env=disk, **options_of("ribbon", "lz4", "none", "zstd", "lz4")) as db:
        grow(db, disk, 2, 3)
    db = nori_lsm.open("/db", env=disk, **SESSION)
    grow(db, disk, 9, 2)
    change(db, random.Random(3), 100)
    db.sync()
    change(db, random.Random(4), 100)
    disk.kill()
    return "/db"


def torn(disk: SimDisk) -> str:
    """The power was cut: what was not synced is there in part."""
    db = nori_lsm.open("/db", env=disk, **options_of("bloom", "lz4"), wal__mapped=True)
    grow(db, disk, 5, 2)
    for seed in (10, 11):
        change(db, random.Random(seed), 20)
        db.sync()
    change(db, random.Random(6), 20)
    disk.crash(keep=0.5)
    return "/db"


def checkpoint(disk: SimDisk) -> str:
    db = nori_lsm.open("/db", env=disk, **options_of("ribbon", "zstd"))
    grow(db, disk, 7, 3)
    change(db, random.Random(8), 40)
    db.checkpoint("/copy")
    disk.kill()
    return "/copy"


def headless(disk: SimDisk) -> str:
    """A log of many single puts, of which few records have a head."""
    db = nori_lsm.open("/db", env=disk, **options_of("bloom", "lz4"))
    grow(db, disk, 12, 1)
    for number in range(300):
        db.put(b"key-%05d" % (number * 7), value(number))
    db.sync()
    change(db, random.Random(13), 100)
    disk.kill()
    return "/db"


def distinct(disk: SimDisk) -> str:
    """Tables that count their keys: some of one version each, some of several, as a snapshot keeps them."""
    db = nori_lsm.open("/db", env=disk, **options_of("bloom", "lz4"))
    grow(db, disk, 14, 2)
    change(db, random.Random(15), 30)
    with db.snapshot():
        change(db, random.Random(15), 30)
        db.flush()
        disk.kill()
    return "/db"


def features_of(database: inspect.Database) -> list[str]:
    tables = [database.table(number) for number in sorted(database.tree.table_numbers)]
    names = {0: "none", 1: "lz4", 2: "zstd"}
    found = {f"blocks {names[block.compression]}" for table in tables for block in table.blocks()}
    found |= {f"filter {table.filter.to_dict()['kind']}" for table in tables if table.filter}
    found |= {"stamped" for table in tables if table.is_stamped}
    found |= {"range tombstones" for table in tables if table.range_deletes}
    found |= {f"entry {entry.type}" for table in tables for entry in table.entries()}
    counts = [(table.properties.distinct_keys, table.properties.entries) for table in tables]
    found |= {"keys counted" for keys, entries in counts if 0 < keys == entries}
    found |= {"versions counted" for keys, entries in counts if 0 < keys < entries}
    pieces = [piece.table for piece in database.tree.slices()]
    if len(pieces) > len(set(pieces)):
        found.add("shared tables")
    found.add(f"levels {sum(any(slot.runs for slot in slots) for slots in database.tree.levels)}")
    if any(len(slots) > 1 for slots in database.tree.levels):
        found.add("guards")
    if database.log.commits:
        found.add("log")
    if len({commit.path for commit in database.log.commits}) > 1:
        found.add("log of several segments")
    if not all(commit.record.has_head for commit in database.log.commits):
        found.add("records without a head")
    if "HEAT" in database.files.list():
        found.add("HEAT")
    return sorted(found)


def pack(name: str, make: Callable[[SimDisk], str]) -> None:
    disk = SimDisk(seed=1)
    path = make(disk)
    files = inspect.SimDiskFiles(disk, path)
    database = inspect.read_database(files)
    database.check()
    # What expires soon has expired for whoever opens this.
    items = database.pairs(now_ms=int(disk.now * 1000) + 3_600_000)
    expected = {
        "items": {key.decode(): content.decode() for key, content in items.items()},
        "sequence": database.sequence,
        "features": features_of(database),
    }
    content = {"expected.json": json.dumps(expected, indent=0).encode()}
    content |= {f"db/{file}": files.read(file) for file in sorted(files.list())}
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for folder in ("db", "db/wal"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o700
            archive.addfile(entry)
        for file, bytes_ in content.items():
            entry = tarfile.TarInfo(file)
            entry.size, entry.mode = len(bytes_), 0o600
            archive.addfile(entry, io.BytesIO(bytes_))
    packed = gzip.compress(data.getvalue(), 9, mtime=0)
    (HERE / "v1" / f"{name}.tar.gz").write_bytes(packed)
    print(f"{name}: {len(packed)} bytes, {len(items)} pairs, {', '.join(expected['features'])}")


if __name__ == "__main__":
    for made in (closed, killed, torn, checkpoint, headless, distinct):
        if not (HERE / "v1" / f"{made.__name__}.tar.gz").exists():
            pack(made.__name__, made)

"""Changes to real databases under right checksums: a few bytes of a record, a block, a section or a header are others, and
every checksum over them is made anew. From a seed; the same each time.

Run for long, and under sanitizers, as `python tests/forge_changes.py [first seed] [count]`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import nori_lsm
from forge import MASK, Forge, fixed32, fixed64, framed, header
from nori_lsm import inspect
from nori_lsm.inspect._bytes import checksum, place_seed
from nori_lsm.testing import SimDisk
from tests_support import work

__all__ = ["changed_databases", "on_disk"]

Files = dict[str, bytes]
BASE_EVERY = 50  # So many changed databases come from one real one.
NUMBERS = [b"\xff" * 9 + b"\1", b"\x80" * 10, b"\xff" * 8 + b"\x7f", b"\xff\xff\xff\xff\x0f", b"\xff" * 8, b"\0" * 8]


def real_database(seed: int) -> Files:
    """All kinds of files, several levels, compressions and filters; the log in use, the engine dead."""
    disk = SimDisk(seed=seed)
    names = ("none", "lz4", "zstd", "lz4") * 2
    options: dict[str, Any] = {
        "memtable__flush_trigger_bytes": 16 << 10,
        "wal__segment_bytes": 64 << 10,
        "level1_bytes": 32 << 10,
        "table_bytes": 16 << 10,
        "fanout": 2,
        "l1_slot_count": 4,
        "filters__kind": "ribbon" if seed % 2 else "bloom",
        "levels": tuple(nori_lsm.LevelConfig(compression=name, block_bytes=512) for name in names),
    }
    numbers = random.Random(seed)
    with nori_lsm.open("/db", env=disk, **options) as db:
        work(db, numbers, 600)
        db.ingest((b"k%05d" % number, b"stamped %d" % number) for number in range(0, 4000, 37))
        work(db, numbers, 100)
        for _ in range(300):
            db.get(b"k%05d" % numbers.randrange(4000))
        disk.advance(100)
    heat = disk.read_file("/db/HEAT")
    db = nori_lsm.open("/db", env=disk)
    work(db, numbers, 40)
    db.sync()
    work(db, numbers, 10)
    disk.kill()
    files = inspect.SimDiskFiles(disk, "/db")
    return {"HEAT": heat, **{name: files.read(name) for name in files.list()}}


def changed_bytes(numbers: random.Random, data: bytes, *, keep_size: bool = False) -> bytes:
    out = bytearray(data)
    for _ in range(numbers.choice([1, 1, 1, 2, 3, 8])):
        if not out:
            break
        how, at = numbers.random(), numbers.randrange(len(out))
        if how < 0.35:
            old = out[at]
            near = [0, 1, 2, 3, 4, 7, 8, 127, 128, 255, old ^ 1 << numbers.randrange(8), old + 1 & 255, old - 1 & 255]
            out[at] = numbers.choice(near)
        elif how < 0.5:
            out[at] = numbers.randrange(256)
        elif how < 0.65:
            other = numbers.choice(NUMBERS)[: len(out) - at]
            out[at : at + (len(other) if keep_size else numbers.choice([0, 1, len(other)]))] = other
        elif how < 0.8:
            begin = numbers.randrange(len(out))
            piece = out[begin : begin + numbers.randrange(1, 40)][: len(out) - at]
            out[at : at + len(piece)] = piece
        elif keep_size:
            out[at] = numbers.randrange(256)
        elif how < 0.9:
            del out[at : at + numbers.choice([1, 2, 8, 100])]
        else:
            begin = numbers.randrange(len(out))
            out[at:at] = out[begin : begin + numbers.randrange(1, 60)]
    return bytes(out)


def _changed_extra(numbers: random.Random, extra: tuple[int, ...]) -> list[int]:
    return [numbers.choice([word, word, word + 1, word - 1, 1 << 63, MASK, numbers.randrange(100)]) & MASK for word in extra]


def changed_records(numbers: random.Random, name: str, data: bytes) -> bytes:
    """A manifest or a segment."""
    kind = "manifest" if name.startswith("MANIFEST") else "segment"
    head = inspect.read_header(data, name, kind)
    records = [
        [record.sequence, record.count, bytes(record.payload)]
        for record in inspect.read_framed(data, name, head.database_id, head.number).records
    ]
    if numbers.random() < 0.15 or not records:
        extra = _changed_extra(numbers, head.extra)
        data = header(kind, head.number, *extra, database_id=head.database_id)
    else:
        how, at = numbers.random(), numbers.randrange(len(records))
        if how < 0.75:
            records[at][2] = changed_bytes(numbers, records[at][2])
        elif how < 0.8:
            records[at][1] = numbers.choice([0, 1, 1 << 31, (1 << 32) - 1])
        elif how < 0.85:
            records[at][0] = numbers.choice([0, 1, 1 << 56, MASK, records[at][0] + 1])
        elif how < 0.9:
            records.insert(at, list(numbers.choice(records)))
        elif how < 0.95:
            del records[at]
        else:
            other = numbers.randrange(len(records))
            records[at], records[other] = records[other], records[at]
    if kind == "manifest" and numbers.random() < 0.8:
        for place, record in enumerate(records, 1):
            record[0] = place
    promise = numbers.choice([(0, 0)] * 8 + [(head.number, 1 << 63), (1 << 63, 1)])
    return framed(data[:96], head.number, map(tuple, records), promise=promise, database_id=head.database_id)


def changed_table(numbers: random.Random, name: str, data: bytes) -> bytes:
    """A table of the same size, which the manifest knows."""
    table = inspect.read_table(data, name)
    head = table.header
    out = bytearray(data)
    if numbers.random() < 0.1:
        features = numbers.choice([head.read_features, head.read_features, 0, 1])
        extra = _changed_extra(numbers, head.extra)
        out[-96:] = header("table", head.number, *extra, database_id=head.database_id, read_features=features)
        return bytes(out)
    units = [(block.offset, block.bytes) for block in table.blocks()]
    units += [(section.offset, section.bytes) for section in table.sections] * 4 + [(head.extra[0], head.extra[1])] * 4
    offset, stored = numbers.choice(units)
    end = offset + stored - 13
    payload, compression, size = data[offset:end], data[end], int.from_bytes(data[end + 1 : end + 5], "little")
    how = numbers.random()
    if how < 0.1:
        compression = numbers.choice([0, 1, 2, 3, 255])
    elif how < 0.2:
        size = numbers.choice([0, 1, size - 1, size + 1, 64 << 20, (64 << 20) + 1, (1 << 32) - 1]) & (1 << 32) - 1
    else:
        payload = changed_bytes(numbers, payload, keep_size=True)
    body = payload + bytes([compression]) + fixed32(size)
    out[offset : offset + stored] = body + fixed64(checksum(body, place_seed(head.database_id, head.number, offset)))
    return bytes(out)


def changed_heat(numbers: random.Random, data: bytes) -> bytes:
    heat = inspect.read_heat(data)
    database_id = inspect.read_header(data, "HEAT", "heat").database_id
    ends = [section.offset for section in heat.sections] + [len(data)]
    out = data[:96]
    for begin, end in zip([96, *ends], ends, strict=False):
        content = data[begin : end - 8]
        if begin == 96 or numbers.random() < 0.7:
            content = changed_bytes(numbers, content)
        out += content + fixed64(checksum(content, place_seed(database_id, 0, len(out))))
    return out


def changed_databases(first: int, count: int) -> Iterator[tuple[int, Files]]:
    """The files of databases, by seed, each with one change, some with two. CURRENT is as it was."""
    base: Files = {}
    for seed in range(first, first + count):
        if not base or seed % BASE_EVERY == 0:
            base = real_database(seed // BASE_EVERY)
        numbers = random.Random(seed)
        files = dict(base)
        kinds = [name for name in files if name != "CURRENT" and any(files[name])]
        kinds += ["HEAT"] * 2 + [name for name in files if name.startswith("MANIFEST")] * 12
        for name in {numbers.choice(kinds) for _ in range(numbers.choice([1, 1, 1, 2]))}:
            if name == "HEAT":
                files[name] = changed_heat(numbers, files[name])
            elif name.endswith(".sst"):
                files[name] = changed_table(numbers, name, files[name])
            else:
                files[name] = changed_records(numbers, name, files[name])
        yield seed, files


def on_disk(files: Files, path: str = "/db") -> SimDisk:
    disk = SimDisk(seed=1)
    forge = Forge()
    forge.files = files
    forge.put_on(disk, path)
    return disk


if __name__ == "__main__":
    import sys

    from test_hostile_files import judge

    begin, many = (int(argument) for argument in (*sys.argv[1:], "0", "10000")[:2])
    for seed, files in changed_databases(begin, many):
        print(f"\r{seed}", end="", flush=True)
        judge(on_disk(files))
    print(f"\n{many} changed databases did no harm")

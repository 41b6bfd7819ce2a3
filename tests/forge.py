"""Databases that nobody's engine wrote: files with right checksums and whatever content, made from csrc/FORMAT.md.

>>> forge = Forge()
>>> forge.table(1, [(b"a", 1, b"value")])
>>> forge.manifest(push(1, [1]))
>>> forge.segment(1, [(2, 1, put(b"b", b"value"))])
>>> forge.put_on(disk, "/db")
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import nori_lsm
from nori_lsm.inspect._bytes import checksum, place_seed
from nori_lsm.inspect._header import HEADLESS, MAGICS
from nori_lsm.testing import SimDisk

__all__ = [
    "Forge",
    "Table",
    "add_table",
    "block_of",
    "counters",
    "current_of",
    "framed",
    "header",
    "index_of",
    "properties_of",
    "push",
    "put",
    "run_of",
    "sealed",
    "set_slot",
    "sized",
    "slice_of",
    "varint",
]

ID = 0x1234567890ABCDEF
HEADER_BYTES, BLOCK_BYTES, FRAGMENT_BYTES, RECORD_ROOM_BYTES = 96, 32768, 11, 43
MASK = (1 << 64) - 1


def varint(number: int) -> bytes:
    out = bytearray()
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def fixed32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def fixed64(number: int) -> bytes:
    return number.to_bytes(8, "little")


def sized(data: bytes) -> bytes:
    return varint(len(data)) + data


def header(
    kind: str,
    number: int,
    *extra: int,
    database_id: int = ID,
    version: int = 1,
    read_features: int = 0,
    write_features: int = 0,
) -> bytes:
    """FORMAT.md 4."""
    magic = MAGICS[kind]
    words = [read_features, write_features, database_id, number, *extra, *[0] * (5 - len(extra))]
    head = fixed64(magic) + fixed32(version) + fixed32(0) + b"".join(map(fixed64, words))
    return head + fixed64(checksum(head, magic))


def current_of(text: bytes) -> bytes:
    """FORMAT.md 9. The checksum of whatever text stands before it."""
    return b"%s%016x\n" % (text, checksum(text))


# ---------------------------------------------------------------- framed records (6)


def _fragment(kind: int, body: bytes, number: int, offset: int, database_id: int, sequence: int = 0) -> bytes:
    rest = len(body).to_bytes(2, "little") + bytes([kind]) + body
    return fixed64(checksum(rest, place_seed(database_id, number, offset) ^ sequence)) + rest


def framed(
    data: bytes,
    number: int,
    records: Iterable[tuple[int, int, bytes]],
    *,
    promise: tuple[int, int] = (0, 0),
    mark: tuple[int, int] | None = None,
    follows: Iterable[tuple[int, bytes]] = (),
    database_id: int = ID,
) -> bytes:
    """`data`, a header, and records of (sequence, count, payload) behind it, each with the promise; then perhaps a mark, and
    records of (sequence, payload) without a head."""
    out = bytearray(data)

    def align() -> int:
        left = BLOCK_BYTES - len(out) % BLOCK_BYTES
        if left < RECORD_ROOM_BYTES:
            out.extend(bytes(left))
        return BLOCK_BYTES - len(out) % BLOCK_BYTES - FRAGMENT_BYTES

    for sequence, count, payload in records:
        body = fixed64(sequence) + fixed32(count) + varint(promise[0]) + varint(promise[1]) + payload
        room = align()
        is_first = True
        while True:
            part, body = body[:room], body[room:]
            kind = (2 if body else 1) if is_first else (3 if body else 4)
            out += _fragment(kind, part, number, len(out), database_id)
            is_first = False
            if not body:
                break
            room = BLOCK_BYTES - FRAGMENT_BYTES
    if mark is not None:
        align()
        out += _fragment(5, varint(mark[0]) + varint(mark[1]), number, len(out), database_id)
    for sequence, payload in follows:
        align()
        out += _fragment(6, payload, number, len(out), database_id, sequence)
    return bytes(out)


# ---------------------------------------------------------------- batches (8)


def put(key: bytes, value: bytes) -> bytes:
    return b"\x01" + sized(key) + sized(value)


# ---------------------------------------------------------------- tables (11)


def sealed(payload: bytes, number: int, offset: int, compression: int = 0, size: int | None = None) -> bytes:
    """A stored unit. `size`: what it says of itself before compression."""
    body = payload + bytes([compression]) + fixed32(len(payload) if size is None else size)
    return body + fixed64(checksum(body, place_seed(ID, number, offset)))


def entry_of(key: bytes, sequence: int, value: bytes, kind: int = 1, shared: int = 0) -> bytes:
    head = varint(shared) + varint(len(key) - shared) + varint(len(value))
    return head + key[shared:] + fixed64(sequence << 8 & MASK | kind) + value


def block_of(entries: Sequence[tuple[bytes, int, bytes]], restarts: Sequence[int] | None = None) -> bytes:
    """A block in which each key stands whole. `restarts`: what its end says instead of where the entries begin."""
    out, begins = b"", []
    for key, sequence, value in entries:
        begins.append(len(out))
        out += entry_of(key, sequence, value)
    offsets = begins if restarts is None else restarts
    return out + b"".join(map(fixed32, offsets)) + fixed32(len(offsets))


def index_of(blocks: Sequence[tuple[int, bytes]]) -> bytes:
    """Of (stored bytes, separator)."""
    return varint(len(blocks)) + b"".join(varint(stored) + varint(0) + sized(key) for stored, key in blocks)


def properties_of(
    smallest: bytes, end: bytes | None, *, entries: int, blocks: int, sequences: tuple[int, int] = (1, 1), **other: int
) -> bytes:
    """Others by name: deletes, ranges, key_bytes, value_bytes, forever, first_expiry, last_expiry, level, slot, created."""
    names = ("deletes", "ranges", "key_bytes", "value_bytes", "forever", "first_expiry", "last_expiry")
    numbers = [*sequences, entries, *(other.get(name, 0) for name in names), blocks]
    numbers += [other.get(name, 0) for name in ("level", "slot", "created")]
    body = sized(smallest) + bytes([end is None]) + sized(end or b"") + b"".join(map(varint, numbers))
    added = ["lifetime", "fresh", "distinct"]
    while added and added[-1] not in other:
        added.pop()
    body += b"".join(varint(other.get(name, 0)) for name in added)
    return sized(body)


@dataclass
class Table:
    """A table under the forger's hands. What is None is made as an honest writer would."""

    number: int
    smallest: bytes
    end: bytes | None
    blocks: list[tuple[bytes, int, int | None]] = field(default_factory=list)  # Payload, compression, size.
    separators: list[bytes] = field(default_factory=list)
    properties: bytes = b""
    index: bytes | None = None
    extra: list[tuple[int, int, bytes]] = field(default_factory=list)  # Sections: kind, flags, payload.
    kinds: tuple[int, ...] = (3, 4)  # Of index and properties, in the file's order.
    read_features: int = 0
    footer: dict[int, int] = field(default_factory=dict)  # Extra fields that say something else.
    directory: bytes | None = None

    def build(self) -> bytes:
        out = bytearray()
        stored: list[tuple[int, bytes]] = []
        for (payload, compression, size), separator in zip(self.blocks, self.separators, strict=True):
            unit = sealed(payload, self.number, len(out), compression, size)
            out += unit
            stored.append((len(unit), separator))
        data_end = len(out)
        content = {3: index_of(stored) if self.index is None else self.index, 4: self.properties}
        directory = b""
        for kind, flags, payload in [*self.extra, *((kind, 0, content[kind]) for kind in self.kinds)]:
            offset = len(out)
            out += sealed(payload, self.number, offset)
            directory += fixed32(kind) + fixed32(flags) + fixed64(offset) + fixed64(len(out) - offset)
        at = len(out)
        out += sealed(directory if self.directory is None else self.directory, self.number, at)
        extra = [at, len(out) - at, data_end, 0]
        for place, value in self.footer.items():
            extra[place] = value & MASK
        return bytes(out) + header("table", self.number, *extra, read_features=self.read_features)


# ---------------------------------------------------------------- edits (10.2)


def counters(
    next_file: int = 1000, next_run: int = 1000, next_slot: int = 1000, flushed: int = 0, log: int = 1, clock: int = 0
) -> bytes:
    return varint(1) + b"".join(map(varint, (next_file, next_run, next_slot, flushed, log, clock)))


def add_table(number: int, size: int, properties: bytes) -> bytes:
    return varint(3) + varint(number) + varint(size) + properties


def slice_of(
    table: int, start: bytes | None = None, end: bytes | None = None, flags: int | None = None, numbers: Any = (100, 1, 0, 0)
) -> bytes:
    """Without bounds: all of the table."""
    flags = (1 if start is None else 0) | (2 if end is None else 0) if flags is None else flags
    bounds = (b"" if start is None else sized(start)) + (b"" if end is None else sized(end))
    return varint(table) + varint(flags) + bounds + b"".join(map(varint, numbers))


def run_of(number: int, slices: Sequence[bytes]) -> bytes:
    return varint(number) + varint(len(slices)) + b"".join(slices)


def push(number: int, tables: Sequence[int | bytes]) -> bytes:
    slices = [slice_of(table) if isinstance(table, int) else table for table in tables]
    return varint(4) + varint(1) + run_of(number, slices)


def set_slot(level: int, guard: bytes, runs: Sequence[bytes], k_max: int = 4) -> bytes:
    return varint(7) + varint(level) + varint(k_max) + sized(guard) + varint(len(runs)) + b"".join(runs)


# ---------------------------------------------------------------- databases


class Forge:
    """Files by name. Tables are known to the manifest as they are made."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.tables: list[bytes] = []

    def table(self, number: int, entries: Sequence[tuple[bytes, int, bytes]], /, **other: Any) -> Table:
        """An honest table of one block, of keys that ascend; to be changed, and added again by add()."""
        sequences = [sequence for _, sequence, _ in entries]
        end = entries[-1][0] + b"\0"
        said: dict[str, Any] = {"entries": len(entries), "blocks": 1, "sequences": (min(sequences), max(sequences))}
        said["key_bytes"] = sum(len(key) for key, _, _ in entries)
        said["value_bytes"] = sum(len(value) for _, _, value in entries)
        said["forever"] = len(entries)
        said.update(other)
        table = Table(number, entries[0][0], end)
        table.blocks, table.separators = [(block_of(entries), 0, None)], [entries[-1][0]]
        table.properties = properties_of(table.smallest, table.end, **said)
        self.add(table)
        return table

    def add(self, table: Table) -> None:
        name = f"{table.number:06d}.sst"
        data = table.build()
        if name in self.files:
            self.tables = [known for known in self.tables if not known.startswith(varint(3) + varint(table.number))]
        self.files[name] = data
        self.tables.append(add_table(table.number, len(data), table.properties))

    def manifest(self, *operations: bytes, first: bytes | None = None, number: int = 1, **other: Any) -> None:
        """CURRENT and a manifest of one edit: counters (or `first`), the tables, the operations."""
        edit = (counters() if first is None else first) + b"".join(self.tables) + b"".join(operations)
        self.manifest_of([edit], number, **other)

    def manifest_of(self, edits: Sequence[bytes], number: int = 1, levels: int = 3, **other: Any) -> None:
        name = f"MANIFEST-{number:06d}"
        records = [(place, 1, edit) for place, edit in enumerate(edits, 1)]
        self.files[name] = framed(header("manifest", number, levels), number, records, **other)
        self.files["CURRENT"] = current_of(b"nori 1 " + name.encode() + b" ")

    def segment(
        self,
        number: int,
        records: Iterable[tuple[int, int, bytes]] = (),
        *,
        link: tuple[int, int, int] = (0, 0, 0),
        **other: Any,
    ) -> None:
        """Records of (first sequence, count, operations). `link`: number, end and last sequence of the one before."""
        self.files[f"wal/{number:06d}.log"] = framed(
            header("segment", number, *link, read_features=HEADLESS), number, records, **other
        )

    def put_on(self, disk: SimDisk, path: str = "/db") -> None:
        """These files and no others. An engine makes the directories, and goes."""
        nori_lsm.open(path, env=disk).close()
        for name in disk.list(path):
            if name != "wal":
                disk.remove_file(f"{path}/{name}")
        for name, data in self.files.items():
            disk.write_file(f"{path}/{name}", data)

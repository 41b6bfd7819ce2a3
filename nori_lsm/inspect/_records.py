"""Framed records: what segments and manifests hold behind their header (FORMAT.md 6)."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from nori_lsm._core import CorruptionError
from nori_lsm.inspect._bytes import MASK, Cursor, Data, Place, checksum, place_seed
from nori_lsm.inspect._header import HEADER_BYTES

__all__ = ["NO_PROMISE", "Framed", "Mark", "Promise", "Record", "read_framed"]

BLOCK_BYTES = 32768
FRAGMENT_BYTES = 11
RECORD_ROOM_BYTES = 43  # What is left in its block where a record begins.
FULL, FIRST, MIDDLE, LAST, MARK, NEXT = 1, 2, 3, 4, 5, 6
_MIN_BODY_BYTES = {FULL: 14, FIRST: 14, MARK: 2}
_TYPES_WITH_PROMISE = re.compile(rb"[\x01\x02\x05]")


@dataclass(frozen=True, order=True)
class Promise:
    """A position of a chain of files, up to which it is known to be on disk; 0, 0 if nothing is known."""

    number: int
    offset: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


NO_PROMISE = Promise(0, 0)


@dataclass(frozen=True)
class Record:
    """A whole record, from byte `offset` up to byte `end`. One without a head says nothing of sequence, count and promise."""

    offset: int
    end: int
    sequence: int
    count: int
    promise: Promise
    payload: Data
    has_head: bool = True

    def to_dict(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in ("offset", "end", "sequence", "count", "has_head")}
        return {**fields, "promise": self.promise.to_dict(), "payload_bytes": len(self.payload)}


@dataclass(frozen=True)
class Mark:
    """A promise and nothing else."""

    offset: int
    end: int
    promise: Promise

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Framed:
    """What a file of records holds.

    items    what is valid, in order
    end      the byte behind the last item; what follows is no record
    size     bytes of the file
    promise  the greatest of the file, of what lies beyond the end too
    """

    items: tuple[Record | Mark, ...]
    end: int
    size: int
    promise: Promise

    def to_dict(self) -> dict[str, Any]:
        numbers = {"end": self.end, "size": self.size, "promise": self.promise.to_dict()}
        return {"items": [item.to_dict() for item in self.items], **numbers}

    @property
    def records(self) -> list[Record]:
        return [item for item in self.items if isinstance(item, Record)]


class _Reader:
    def __init__(self, data: Data, path: str, database_id: int, number: int) -> None:
        self.data = memoryview(data)
        self.path = path
        self.database_id = database_id
        self.number = number
        self.sequence = 0  # The last of the record before; 0: there is none.

    def fragment(self, offset: int, kind: int, length: int) -> memoryview | None:
        """The body of the fragment at `offset`, which fits its block; None if the file ends before or it is not right."""
        end = offset + FRAGMENT_BYTES + length
        if end > len(self.data):
            return None
        wanted = int.from_bytes(self.data[offset : offset + 8], "little")
        seed = place_seed(self.database_id, self.number, offset)
        if kind == NEXT:
            seed ^= self.sequence + 1 & MASK
        if checksum(self.data[offset + 8 : end], seed) != wanted:
            return None
        return self.data[offset + FRAGMENT_BYTES : end]

    def next_fragment(self, offset: int) -> tuple[int, memoryview, int] | None:
        """Type, body and end of what stands at `offset`; None if that is no fragment."""
        left = BLOCK_BYTES - offset % BLOCK_BYTES
        if left < FRAGMENT_BYTES or offset + FRAGMENT_BYTES > len(self.data):
            return None
        length = self.data[offset + 8] | self.data[offset + 9] << 8
        kind = self.data[offset + 10]
        if not FULL <= kind <= NEXT or length > left - FRAGMENT_BYTES:
            return None
        body = self.fragment(offset, kind, length)
        return None if body is None else (kind, body, offset + FRAGMENT_BYTES + length)

    def item(self, begin: int) -> Record | Mark | None:
        """The record or mark that begins there; None if none does."""
        found = self.next_fragment(begin)
        if found is None:
            return None
        kind, body, offset = found
        if kind == NEXT:
            sequence = self.sequence + 1 & MASK
            return Record(begin, offset, sequence, 1, NO_PROMISE, body, has_head=False) if self.sequence else None
        parts: list[Data] = []
        try:
            cursor = Cursor(body, Place(self.path, begin, "record"))
            if kind == MARK:
                promise = _read_promise(cursor)
                cursor.finish()
                return Mark(begin, offset, promise)
            sequence, count, promise = cursor.fixed(8), cursor.fixed(4), _read_promise(cursor)
        except CorruptionError:
            return None
        parts.append(body[cursor.position :])
        if kind == FULL:
            return Record(begin, offset, sequence, count, promise, parts[0])
        while kind in (FIRST, MIDDLE) and offset % BLOCK_BYTES == 0:
            found = self.next_fragment(offset)
            if found is None or found[0] not in (MIDDLE, LAST):
                return None
            kind, body, offset = found
            parts.append(body)
            if kind == LAST:
                return Record(begin, offset, sequence, count, promise, b"".join(parts))
        return None

    def promises_from(self, end: int) -> Promise:
        """The greatest promise of what might begin at any byte from `end` on."""
        greatest = NO_PROMISE
        for match in _TYPES_WITH_PROMISE.finditer(self.data, min(end + 10, len(self.data))):
            offset = match.start() - 10
            left = BLOCK_BYTES - offset % BLOCK_BYTES - FRAGMENT_BYTES
            length = self.data[offset + 8] | self.data[offset + 9] << 8
            kind = self.data[offset + 10]
            if length > left or length < _MIN_BODY_BYTES[kind] or (kind == FIRST and length != left):
                continue
            body = self.fragment(offset, kind, length)
            if body is None:
                continue
            try:
                cursor = Cursor(body, Place(self.path, offset, "record"), 0 if kind == MARK else 12)
                greatest = max(greatest, _read_promise(cursor))
            except CorruptionError:
                continue
        return greatest


def _read_promise(cursor: Cursor) -> Promise:
    return Promise(cursor.varint(), cursor.varint())


def read_framed(data: Data, path: str, database_id: int, number: int) -> Framed:
    """What is valid behind the header, and the promises of all the file (FORMAT.md 6). Raises nothing of its own: what
    is not valid is the end."""
    reader = _Reader(data, path, database_id, number)
    items: list[Record | Mark] = []
    end = HEADER_BYTES
    promise = NO_PROMISE
    while True:
        left = BLOCK_BYTES - end % BLOCK_BYTES
        item = reader.item(end if left >= RECORD_ROOM_BYTES else end + left)
        if item is None:
            break
        items.append(item)
        if isinstance(item, Record):
            reader.sequence = item.sequence + item.count - 1 & MASK
        end = item.end
        promise = max(promise, item.promise)
    return Framed(tuple(items), end, len(data), max(promise, reader.promises_from(end)))

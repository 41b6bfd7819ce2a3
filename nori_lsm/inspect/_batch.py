"""Entries, and the batches that the log keeps them in (FORMAT.md 5, 8)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from nori_lsm.inspect._bytes import MAX_RANGE_END_BYTES, MAX_VALUE_BYTES, Cursor, Place
from nori_lsm.inspect._records import Record

__all__ = ["DELETE", "PUT", "PUT_EXPIRING", "RANGE_DELETE", "Entry", "RangeDelete", "read_batch"]

DELETE, PUT, PUT_EXPIRING, RANGE_DELETE = 0, 1, 2, 3
_TYPE_NAMES = {DELETE: "delete", PUT: "put", PUT_EXPIRING: "put expiring"}


@dataclass(frozen=True)
class Entry:
    """A version of a key.

    type           0 delete, 1 put, 2 put that expires
    value          without the expiry; None of a delete
    expires_at_ms  milliseconds of the TTL clock, 0 or None: never
    """

    key: bytes
    sequence: int
    type: int
    value: bytes | None
    expires_at_ms: int | None = None

    @property
    def type_name(self) -> str:
        return _TYPE_NAMES[self.type]

    def is_value_at(self, now_ms: int) -> bool:
        """Whether a reader at that time finds a value here, were this the newest version (FORMAT.md 5)."""
        return self.value is not None and not 0 < (self.expires_at_ms or 0) <= now_ms

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class RangeDelete:
    """Deletes the versions below `sequence` of the keys in [start, end); end None: infinite."""

    start: bytes
    end: bytes | None
    sequence: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def split_expiry(cursor: Cursor, value: bytes) -> tuple[int, bytes]:
    """Expiry in milliseconds and value of a put that expires."""
    if len(value) < 8:
        raise cursor.fail("a value that expires is shorter than its expiry")
    return int.from_bytes(value[:8], "little"), value[8:]


def read_batch(record: Record, path: str) -> Iterator[Entry | RangeDelete]:
    """The operations of a record of the log, in order, with their sequences (FORMAT.md 7, 8). CorruptionError if they
    are not as many as the record says, or not understood."""
    cursor = Cursor(record.payload, Place(path, record.offset, "batch"))
    for index in range(record.count):
        sequence = record.sequence + index
        kind = cursor.byte()
        key = cursor.key()
        if kind == DELETE:
            yield Entry(key, sequence, kind, None)
        elif kind == PUT:
            yield Entry(key, sequence, kind, cursor.sized(MAX_VALUE_BYTES))
        elif kind == PUT_EXPIRING:
            expiry, value = split_expiry(cursor, cursor.sized(MAX_VALUE_BYTES + 8))
            yield Entry(key, sequence, kind, value, expiry)
        elif kind == RANGE_DELETE:
            yield RangeDelete(key, _range_end(cursor, key), sequence)
        else:
            raise cursor.fail(f"operation {kind:#x} is not known")
    cursor.finish()


def _range_end(cursor: Cursor, start: bytes) -> bytes | None:
    stop = cursor.sized(MAX_RANGE_END_BYTES + 1)
    if stop == b"\x01":
        return None
    if stop[:1] != b"\x00":
        raise cursor.fail("the end of a range is not understood")
    if stop[1:] <= start:
        raise cursor.fail("a range is empty")
    return stop[1:]

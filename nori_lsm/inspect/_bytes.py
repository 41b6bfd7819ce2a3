"""What all files are made of: numbers, strings, checksums, and the errors of what cannot be right (FORMAT.md 1, 3, 13)."""

from __future__ import annotations

import errno
from functools import cache
from typing import Any, NamedTuple

from nori_lsm._core import CorruptionError, FormatError

__all__ = ["MASK", "Cursor", "Data", "Place", "checksum", "damaged", "load_extra", "newer", "place_seed"]

Data = bytes | memoryview

MASK = (1 << 64) - 1
MAX_KEY_BYTES = 65535
MAX_RANGE_END_BYTES = 65536
MAX_VALUE_BYTES = 1 << 30
MAX_SEQUENCE = (1 << 56) - 1
NUMBER_LIMIT = 1 << 62  # No file, run or slot has a number as large.


class Place(NamedTuple):
    """Whom to blame: the file's name, the byte where the checksummed unit begins (None: none), what the unit is."""

    path: str
    offset: int | None
    kind: str


def damaged(place: Place, message: str) -> CorruptionError:
    """The error of a file that is damaged (FORMAT.md 13)."""
    error = CorruptionError(errno.EBADMSG, f"{place.kind}: {message}", place.path)
    error.path, error.offset, error.kind = place
    return error


def newer(path: str, message: str) -> FormatError:
    """The error of a file that a later version made (FORMAT.md 13)."""
    return FormatError(errno.EINVAL, message, path)


@cache
def load_extra(name: str) -> Any:
    """A module of the extra `inspect`. ImportError names the extra."""
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"nori_lsm.inspect needs {name}: pip install 'nori-lsm[inspect]'") from error


def checksum(data: Data, seed: int = 0) -> int:
    """XXH3-64 (FORMAT.md 3)."""
    return int(load_extra("xxhash").xxh3_64_intdigest(data, seed))


def place_seed(database_id: int, number: int, offset: int) -> int:
    """The seed of what begins at byte `offset` of file `number` (FORMAT.md 3)."""
    seed = database_id ^ (number * 0x9E3779B97F4A7C15 & MASK)
    seed ^= (offset + 0x632BE59BD9B4E019) * 0xD6E8FEB86659FD93 & MASK
    return seed ^ (seed >> 32)


class Cursor:
    """Reads numbers and strings one behind the other (FORMAT.md 1).

    Whatever goes beyond the end raises CorruptionError with `place`, before anything is allocated for it.
    """

    __slots__ = ("data", "end", "place", "position")

    def __init__(self, data: Data, place: Place, position: int = 0, end: int | None = None) -> None:
        self.data = data
        self.place = place
        self.position = position
        self.end = len(data) if end is None else end

    def fail(self, message: str) -> CorruptionError:
        return damaged(self.place, message)

    def take(self, count: int) -> bytes:
        """`bytes[count]`."""
        start = self.position
        if count > self.end - start:
            raise self.fail(f"{count} bytes are announced, {self.end - start} are left")
        self.position = start + count
        return bytes(self.data[start : start + count])

    def byte(self) -> int:
        return self.fixed(1)

    def fixed(self, count: int) -> int:
        """An unsigned number of `count` bytes, little-endian."""
        return int.from_bytes(self.take(count), "little")

    def varint(self) -> int:
        """Unsigned LEB128 of at most ten bytes, forms longer than needed included."""
        value = shift = 0
        position, data = self.position, self.data
        while True:
            if position >= self.end:
                raise self.fail("a number is cut off")
            byte = data[position]
            position += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
            if shift == 70:
                raise self.fail("a number has more than ten bytes")
        if value > MASK:
            raise self.fail("a number has more than 64 bits")
        self.position = position
        return value

    def sized(self, limit: int | None = None) -> bytes:
        """A length and so many bytes, at most `limit`."""
        count = self.varint()
        if limit is not None and count > limit:
            raise self.fail(f"a string of {count} bytes where {limit} are the most")
        return self.take(count)

    def key(self) -> bytes:
        return self.sized(MAX_KEY_BYTES)

    def flag(self) -> bool:
        """A byte that is 0 or 1."""
        value = self.byte()
        if value > 1:
            raise self.fail(f"{value} where only 0 and 1 may stand")
        return value == 1

    @property
    def left(self) -> int:
        return self.end - self.position

    def finish(self) -> None:
        if self.left:
            raise self.fail(f"{self.left} bytes too many")

"""The header of 96 bytes that files begin or end with (FORMAT.md 4)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from nori_lsm.inspect._bytes import Data, Place, checksum, damaged, newer

__all__ = ["HEADER_BYTES", "HEADLESS", "MAGICS", "STAMPED", "FileHeader", "header_is_right", "read_header"]

HEADER_BYTES = 96
VERSION = 1
STAMPED = 0x1  # Read feature of tables.
HEADLESS = 0x2  # Read feature of segments.
MAGICS = {
    "segment": 0x474F4C2D49524F4E,
    "manifest": 0x4E414D2D49524F4E,
    "table": 0x5453532D49524F4E,
    "heat": 0x4145482D49524F4E,
}
_READ_FEATURES = {"table": STAMPED, "segment": HEADLESS}


@dataclass(frozen=True)
class FileHeader:
    """What a file says of itself. `kind`: segment, manifest, table or heat. `extra`: four numbers of the kind's own."""

    kind: str
    version: int
    read_features: int
    write_features: int
    database_id: int
    number: int
    extra: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def header_is_right(data: Data, kind: str) -> bool:
    """Whether `data` begins with a header of that kind, of any version, whose checksum is right."""
    head = bytes(data[:HEADER_BYTES])
    magic = MAGICS[kind]
    if len(head) < HEADER_BYTES or int.from_bytes(head[:8], "little") != magic:
        return False
    return checksum(head[:88], magic) == int.from_bytes(head[88:], "little")


def read_header(
    data: Data,
    path: str,
    kind: str,
    *,
    offset: int = 0,
    number: int | None = None,
    database_id: int | None = None,
) -> FileHeader:
    """The header in the 96 bytes from `offset` on (FORMAT.md 4, 13).

    number, database_id  what they must be; None: anything

    CorruptionError if it is damaged or another file's; FormatError if a later version made it.
    """
    place = Place(path, offset, "footer" if kind == "table" else "header")
    head = bytes(data[offset : offset + HEADER_BYTES])
    if len(head) < HEADER_BYTES:
        raise damaged(place, f"the file has {len(data)} bytes, a header takes {HEADER_BYTES}")
    if not header_is_right(head, kind):
        raise damaged(place, f"not the header of a {kind}, or its checksum is wrong")
    words = [int.from_bytes(head[at : at + 8], "little") for at in range(16, 80, 8)]
    version = int.from_bytes(head[8:12], "little")
    header = FileHeader(kind, version, words[0], words[1], words[2], words[3], tuple(words[4:]))
    if header.version != VERSION:
        raise newer(path, f"format version {header.version}; known is {VERSION}")
    unknown = header.read_features & ~_READ_FEATURES.get(kind, 0)
    if unknown:
        raise newer(path, f"read features {unknown:#x} are not known")
    if number is not None and header.number != number:
        raise damaged(place, f"the file's number is {number}, its header says {header.number}")
    if database_id is not None and header.database_id != database_id:
        raise damaged(place, f"of database {header.database_id:016x}, not {database_id:016x}")
    return header

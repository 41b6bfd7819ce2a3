"""Tables: footer, directory, sections and data blocks (FORMAT.md 11)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from nori_lsm.inspect._batch import DELETE, PUT, PUT_EXPIRING, Entry, RangeDelete, split_expiry
from nori_lsm.inspect._bytes import (
    MAX_KEY_BYTES,
    MAX_RANGE_END_BYTES,
    MAX_VALUE_BYTES,
    Cursor,
    Data,
    Place,
    checksum,
    damaged,
    load_extra,
    newer,
    place_seed,
)
from nori_lsm.inspect._filters import Filter, read_bloom, read_ribbon
from nori_lsm.inspect._header import HEADER_BYTES, STAMPED, FileHeader, read_header
from nori_lsm.inspect._properties import Properties, read_properties
from nori_lsm.inspect._shares import is_below

__all__ = ["Block", "Section", "Table", "read_table"]

Key = bytes  # Block has a field of the name of the type.
TRAILER_BYTES = 13
MAX_BLOCK_BYTES = 64 << 20
BLOOM, RANGES, INDEX, PROPERTIES, RIBBON = 1, 2, 3, 4, 5
SECTION_NAMES = {
    BLOOM: "bloom filter",
    RANGES: "ranges",
    INDEX: "index",
    PROPERTIES: "properties",
    RIBBON: "ribbon filter",
}
COMPRESSION_NAMES = {0: "none", 1: "lz4", 2: "zstd"}
_IGNORABLE = 1
_MAX_RESTART_DISTANCE = 16
_INDEX_ALLOWANCE_BYTES = 64 << 20


@dataclass(frozen=True)
class Section:
    """A line of the directory. `bytes` are stored ones, trailer included."""

    kind: int
    flags: int
    offset: int
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "name": SECTION_NAMES.get(self.kind)}


class Position(NamedTuple):
    """Where an entry stands in the order of entries: its key, and its tag turned around so that the newest is first."""

    key: bytes
    reversed_tag: int

    @classmethod
    def of(cls, key: bytes, tag: int) -> Position:
        return cls(key, -tag)


@dataclass(frozen=True)
class Block:
    """A data block, as the index names it.

    offset, bytes        where it is stored, trailer included
    separator, tag       at or behind its last entry, before the next block's first
    compression          0 none, 1 LZ4, 2 zstd
    uncompressed_bytes   of its payload
    """

    offset: int
    bytes: int
    separator: Key
    tag: int
    compression: int
    uncompressed_bytes: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Table:
    """A table whose footer, directory and sections were read and are right; its blocks are read when they are asked for.

    sequence       the sequence that all entries have, of a stamped table; None: their own
    filter         None: the table has none
    range_deletes  one for each sequence of each fragment
    """

    path: str
    header: FileHeader
    sections: tuple[Section, ...]
    properties: Properties
    range_deletes: tuple[RangeDelete, ...]
    filter: Filter | None
    sequence: int | None
    data: Data = field(repr=False)
    index: bytes = field(repr=False)

    @property
    def is_stamped(self) -> bool:
        return bool(self.header.read_features & STAMPED)

    def to_dict(self) -> dict[str, Any]:
        """All but the blocks."""
        return {
            "path": self.path,
            "header": self.header.to_dict(),
            "sections": [section.to_dict() for section in self.sections],
            "properties": self.properties.to_dict(),
            "range_deletes": [delete.to_dict() for delete in self.range_deletes],
            "filter": self.filter.to_dict() if self.filter else None,
            "sequence": self.sequence,
        }

    def place(self, offset: int, kind: str = "block") -> Place:
        return Place(self.path, offset, kind)

    def blocks(self) -> Iterator[Block]:
        """The blocks as the index names them, in order (FORMAT.md 11.8). CorruptionError if it cannot be right."""
        section = next(section for section in self.sections if section.kind == INDEX)
        cursor = Cursor(self.index, self.place(section.offset, "index"))
        before = b""
        last: Position | None = None
        offset, end = 0, self.header.extra[2]
        written, common, count = 0, 0, 0  # Bytes of separators, what all begin with, how many.
        for _ in range(cursor.varint()):
            stored, shape = cursor.varint(), cursor.varint()
            if not TRAILER_BYTES < stored <= end - offset:
                raise cursor.fail(f"a block of {stored} bytes at {offset}, blocks end at {end}")
            if shape >> 1 > len(before):
                raise cursor.fail("a separator has more in common with the one before than that has")
            separator = before[: shape >> 1] + cursor.sized(MAX_KEY_BYTES)
            tag = cursor.fixed(8) if shape & 1 else 0
            position = Position.of(separator, tag)
            common = min(common, shape >> 1) if count else len(separator)
            written, count = written + len(separator), count + 1
            if len(separator) > MAX_KEY_BYTES or (last is not None and position <= last):
                raise cursor.fail("separators do not ascend")
            trailer = Cursor(self.data, self.place(offset), offset + stored - TRAILER_BYTES, offset + stored)
            yield Block(offset, stored, separator, tag, trailer.byte(), trailer.fixed(4))
            before, last = separator, position
            offset += stored
        if offset != end:
            raise cursor.fail(f"blocks end at {end}, by the index at {offset}")
        if written - common * count > min(end + _INDEX_ALLOWANCE_BYTES, (1 << 32) - 1):
            raise cursor.fail(f"separators of {written} bytes")
        cursor.finish()

    def block_entries(self, block: Block) -> Iterator[Entry]:
        """The entries of a block, in order (FORMAT.md 11.3). CorruptionError if it is damaged."""
        return (entry for _, entry in self._read_entries(self._payload(block), self.place(block.offset)))

    def _payload(self, block: Block) -> bytes:
        header = self.header
        place = self.place(block.offset)
        return read_unit(self.data, place, block.bytes, header.database_id, header.number, may_be_compressed=True)

    def restarts(self, block: Block) -> list[int]:
        """Offsets in the block's payload where a key stands whole."""
        payload = self._payload(block)
        end, count = _restarts_of(payload, self.place(block.offset))
        return [int.from_bytes(payload[end + 4 * i : end + 4 * i + 4], "little") for i in range(count)]

    def _read_entries(self, payload: bytes, place: Place) -> Iterator[tuple[Position, Entry]]:
        end, count = _restarts_of(payload, place)
        cursor = Cursor(payload, place, 0, end)
        key = b""
        restart, since_restart = 0, 0
        while cursor.left:
            is_restart = restart < count and cursor.position == int.from_bytes(
                payload[end + 4 * restart : end + 4 * restart + 4], "little"
            )
            shared, unshared, size = cursor.varint(), cursor.varint(), cursor.varint()
            if is_restart:
                restart, since_restart = restart + 1, 0
            since_restart += 1
            if since_restart > _MAX_RESTART_DISTANCE or (is_restart and shared) or restart == 0:
                raise cursor.fail("restarts are not where they must be")
            if shared > len(key) or shared + unshared > MAX_KEY_BYTES or size > MAX_VALUE_BYTES + 8:
                raise cursor.fail("an entry is larger than can be")
            key = key[:shared] + cursor.take(unshared)
            tag = cursor.fixed(8)
            yield Position.of(key, tag), self._entry(cursor, key, tag, cursor.take(size))
        if restart != count:
            raise cursor.fail("restarts do not begin entries")

    def _entry(self, cursor: Cursor, key: bytes, tag: int, value: bytes) -> Entry:
        kind = tag & 255
        sequence = tag >> 8 if self.sequence is None else self.sequence
        if kind == DELETE:
            return Entry(key, sequence, kind, None)
        if kind > PUT_EXPIRING:
            raise cursor.fail(f"an entry of type {kind:#x}, which is not known")
        if kind == PUT_EXPIRING:
            expiry, rest = split_expiry(cursor, value)
            return Entry(key, sequence, kind, rest, expiry)
        return Entry(key, sequence, kind, value)

    def entries(self, start: bytes = b"", end: bytes | None = None) -> Iterator[Entry]:
        """The entries with keys in [start, end), in order; end None: to the last (FORMAT.md 11.3, 11.8).

        CorruptionError if a block is damaged, or entries do not ascend, or stand where the index or the properties say
        that they do not.
        """
        floor: Position | None = None
        for block in self.blocks():
            ceiling = Position.of(block.separator, block.tag)
            if block.separator < start:
                floor = ceiling
                continue
            if end is not None and floor is not None and floor.key >= end:
                return
            last: Entry | None = None
            place = self.place(block.offset)
            for position, entry in self._read_entries(self._payload(block), place):
                if position > ceiling or (floor is not None and position <= floor):
                    raise damaged(place, "an entry outside of the separators around its block")
                self._check(place, last, entry)
                last = entry
                if entry.key >= start and (end is None or entry.key < end):
                    yield entry
            floor = ceiling

    def _check(self, place: Place, last: Entry | None, entry: Entry) -> None:
        properties = self.properties
        if last is not None and (last.key, -last.sequence) >= (entry.key, -entry.sequence):
            raise damaged(place, "entries do not ascend")
        if entry.key < properties.smallest or (properties.end is not None and entry.key >= properties.end):
            raise damaged(place, "a key outside of what the properties say")
        if self.sequence is None and not (
            properties.smallest_sequence <= entry.sequence <= properties.largest_sequence
        ):
            raise damaged(place, "a sequence outside of what the properties say")

    def get(self, key: bytes) -> Entry | None:
        """The newest entry of a key; None if there is none. Asks the filter."""
        if self.filter is not None and not self.filter.may_hold(key):
            return None
        return next(self.entries(key, key + b"\0"), None)

    def check(self) -> None:
        """Reads all of the table. CorruptionError if properties or filter do not fit its entries (FORMAT.md 11)."""
        entries = deletes = key_bytes = value_bytes = forever = distinct = 0
        last_key = None
        sequences = [delete.sequence for delete in self.range_deletes]
        low, high = min(sequences, default=None), max(sequences, default=0)
        first_expiry = last_expiry = 0
        for entry in self.entries():
            entries += 1
            distinct += entry.key != last_key
            last_key = entry.key
            deletes += entry.type == DELETE
            forever += entry.type == PUT
            key_bytes += len(entry.key)
            value_bytes += len(entry.value or b"")
            low, high = min(entry.sequence, entry.sequence if low is None else low), max(entry.sequence, high)
            if entry.expires_at_ms is not None:
                value_bytes += 8
                first_expiry = min(entry.expires_at_ms, first_expiry or entry.expires_at_ms)
                last_expiry = max(entry.expires_at_ms, last_expiry)
            if self.filter is not None and not self.filter.may_hold(entry.key):
                raise damaged(self.place(0, "filter"), f"denies {entry.key!r}, which the table holds")
        found = replace(
            self.properties,
            entries=entries,
            deletes=deletes,
            key_bytes=key_bytes,
            value_bytes=value_bytes,
            puts_without_expiry=forever,
            smallest_expiry_ms=first_expiry,
            largest_expiry_ms=last_expiry,
            data_blocks=sum(1 for _ in self.blocks()),
            range_tombstones=len(self.range_deletes),
            distinct_keys=distinct if self.properties.distinct_keys else 0,
        )
        if not self.is_stamped:
            found = replace(found, smallest_sequence=low or 0, largest_sequence=high)
        if found != self.properties:
            raise damaged(self.place(0, "properties"), f"say {self.properties}, the table holds {found}")


def _restarts_of(payload: bytes, place: Place) -> tuple[int, int]:
    """Where the restarts begin, and their count."""
    count = int.from_bytes(payload[-4:], "little")
    end = len(payload) - 4 * count - 4
    if count == 0 or end <= 0:
        raise damaged(place, f"{count} restarts in {len(payload)} bytes")
    return end, count


def read_unit(
    data: Data, place: Place, stored: int, database_id: int, number: int, *, may_be_compressed: bool = False
) -> bytes:
    """The payload of a block, section or directory (FORMAT.md 11.2). CorruptionError if it is damaged."""
    begin = place.offset or 0
    payload_end = begin + stored - TRAILER_BYTES
    if stored < TRAILER_BYTES or begin + stored > len(data):
        raise damaged(place, f"{stored} bytes at {begin} of {len(data)}")
    trailer = Cursor(data, place, payload_end, begin + stored)
    compression, size, wanted = trailer.byte(), trailer.fixed(4), trailer.fixed(8)
    if checksum(data[begin : payload_end + 5], place_seed(database_id, number, begin)) != wanted:
        raise damaged(place, "its checksum is wrong")
    payload = bytes(data[begin:payload_end])
    if compression == 0:
        if size != len(payload):
            raise damaged(place, f"says {size} bytes, has {len(payload)}")
        return payload
    if not may_be_compressed or compression not in COMPRESSION_NAMES:
        raise damaged(place, f"compression {compression} is not known here")
    if size > MAX_BLOCK_BYTES:
        raise damaged(place, f"{size} bytes before compression")
    return _decompress(payload, compression, size, place)


def _decompress(payload: bytes, compression: int, size: int, place: Place) -> bytes:
    if compression == 1:
        lz4 = load_extra("lz4.block")
        try:
            result = bytes(lz4.decompress(payload, uncompressed_size=size))
        except lz4.LZ4BlockError as error:
            raise damaged(place, str(error)) from error
    else:
        zstd = load_extra("zstandard")
        try:
            # The frame says itself how much it makes; that must not count before it is compared.
            claimed = zstd.get_frame_parameters(payload).content_size
            if claimed not in (size, zstd.CONTENTSIZE_UNKNOWN):
                raise damaged(place, f"says {size} bytes, its frame {claimed}")
            result = bytes(zstd.ZstdDecompressor().decompress(payload, max_output_size=size, allow_extra_data=False))
        except zstd.ZstdError as error:
            raise damaged(place, str(error)) from error
    if len(result) != size:
        raise damaged(place, f"says {size} bytes, has {len(result)}")
    return result


def _read_directory(data: Data, path: str, header: FileHeader) -> tuple[Section, ...]:
    offset, stored, blocks_end = header.extra[:3]
    place = Place(path, offset, "directory")
    if offset + stored + HEADER_BYTES != len(data):
        raise damaged(place, f"{stored} bytes at {offset} do not end where the footer begins")
    payload = read_unit(data, place, stored, header.database_id, header.number)
    if len(payload) % 24 or len(payload) // 24 > 64:
        raise damaged(place, f"a directory of {len(payload)} bytes")
    cursor = Cursor(payload, place)
    sections: list[Section] = []
    end = blocks_end
    while cursor.left:
        section = Section(cursor.fixed(4), cursor.fixed(4), cursor.fixed(8), cursor.fixed(8))
        if section.kind not in SECTION_NAMES and not section.flags & _IGNORABLE:
            raise newer(path, f"a section of kind {section.kind}, which is not known")
        if section.offset != end or section.bytes < TRAILER_BYTES:
            raise damaged(place, f"{section.bytes} bytes at {section.offset} do not follow what ends at {end}")
        end += section.bytes
        sections.append(section)
    kinds = [section.kind for section in sections]
    if end != offset or len(set(kinds)) != len(kinds) or not {INDEX, PROPERTIES} <= {*kinds} or {BLOOM, RIBBON} <= {*kinds}:
        raise damaged(place, f"sections {kinds} up to {end}, the directory begins at {offset}")
    return tuple(sections)


def _read_ranges(payload: bytes, place: Place) -> Iterator[RangeDelete]:
    """The fragments of a section of range tombstones, in order (FORMAT.md 11.6)."""
    cursor = Cursor(payload, place)
    before: bytes | None = b""
    for _ in range(cursor.varint()):
        start, infinite, stop = cursor.key(), cursor.flag(), cursor.sized(MAX_RANGE_END_BYTES)
        end = None if infinite else stop
        if before is None or start < before or (infinite and stop) or (end is not None and end <= start):
            raise cursor.fail("fragments overlap, or are empty")
        last: int | None = None
        count = cursor.varint()
        for _ in range(count):
            sequence = cursor.fixed(8)
            if last is not None and sequence >= last:
                raise cursor.fail("sequences do not descend")
            last = sequence
            yield RangeDelete(start, end, sequence)
        if not count:
            raise cursor.fail("a fragment without sequences")
        before = end
    cursor.finish()


def read_table(
    data: Data,
    path: str,
    *,
    number: int | None = None,
    database_id: int | None = None,
    sequence: int | None = None,
) -> Table:
    """A table; all but its data blocks is read and verified (FORMAT.md 11).

    number, database_id  what they must be; None: what the footer says
    sequence             what the manifest says of a stamped table; without it, entries have the sequence of their tag

    CorruptionError if it is damaged, FormatError if a later version made it.
    """
    header = read_header(data, path, "table", offset=max(len(data) - 96, 0), number=number, database_id=database_id)
    sections = _read_directory(data, path, header)
    payloads: dict[int, bytes] = {}
    places: dict[int, Place] = {}
    for section in sections:
        places[section.kind] = place = Place(path, section.offset, SECTION_NAMES.get(section.kind, "section"))
        payload = read_unit(data, place, section.bytes, header.database_id, header.number)
        if section.kind in SECTION_NAMES:
            payloads[section.kind] = payload
    cursor = Cursor(payloads[PROPERTIES], places[PROPERTIES])
    properties = read_properties(cursor)
    cursor.finish()
    found: Filter | None = None
    if BLOOM in payloads:
        found = read_bloom(payloads[BLOOM], places[BLOOM])
    elif RIBBON in payloads:
        found = read_ribbon(payloads[RIBBON], places[RIBBON])
    ranges = tuple(_read_ranges(payloads[RANGES], places[RANGES])) if RANGES in payloads else ()
    stamped = bool(header.read_features & STAMPED)
    if stamped and ranges:
        raise damaged(places[RANGES], "range tombstones in a stamped table")
    for delete in ranges:
        if delete.start < properties.smallest or is_below(properties.end, delete.end):
            raise damaged(places[RANGES], "a range tombstone outside of what the properties say")
    return Table(
        path, header, sections, properties, ranges, found, sequence if stamped else None, data, payloads[INDEX]
    )
